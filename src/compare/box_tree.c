/* The processes of a box as /proc shows them: counted, measured, killed. Descends from the keeper,
 * to whom orphans come back, so nobody gets away by a second fork or a session of its own. Works in
 * fixed memory and with plain system calls, because the keeper uses it, too. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compare/box_impl.h"

enum {
    MAX_TREE = 2048,
    USER_HZ = 100, // part of the kernel's interface
};

struct tree {
    pid_t pids[MAX_TREE];
    size_t n;
};

/* NUL-terminated; the bytes read, 0 when there is no such file. */
static size_t read_small(int folder, const char *path, char *text, size_t size) {
    const int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(fd, text + n, size - 1 - n)) > 0;) {
        n += (size_t)got;
    }
    close(fd);
    text[n] = '\0';
    return n;
}

/* "/proc/PID" and the text after it. */
static void proc_path(char path[64], pid_t pid, const char *rest) {
    char digits[16];
    size_t n = 0, to = 6;
    for (unsigned left = (unsigned)pid; n == 0 || left > 0; left /= 10) {
        digits[n++] = (char)('0' + left % 10);
    }
    memcpy(path, "/proc/", 6);
    while (n > 0) path[to++] = digits[--n];
    strcpy(path + to, rest);
}

static uint64_t number(const char **text) {
    while (**text == ' ') (*text)++;
    uint64_t value = 0;
    while (isdigit((unsigned char)**text)) value = value * 10 + (uint64_t)(*(*text)++ - '0');
    return value;
}

static void add_children(struct tree *tree, const char *text) {
    while (tree->n < MAX_TREE) {
        const uint64_t pid = number(&text);
        if (pid == 0) return;
        tree->pids[tree->n++] = (pid_t)pid;
    }
}

struct kernel_dirent {
    uint64_t inode;
    int64_t offset;
    unsigned short n_bytes;
    unsigned char type;
    char name[];
};

/* The children of every thread of PID. */
static void add_children_of(struct tree *tree, pid_t pid) {
    char path[64], text[4096];
    proc_path(path, pid, "/task");
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    _Alignas(struct kernel_dirent) char entries[2048];
    for (long n; (n = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0;) {
        for (long at = 0; at < n;) {
            const struct kernel_dirent *const entry = (const void *)(entries + at);
            at += entry->n_bytes;
            if (!isdigit((unsigned char)entry->name[0])) continue;
            char name[32];
            const size_t n_name = strnlen(entry->name, 16);
            memcpy(name, entry->name, n_name);
            strcpy(name + n_name, "/children");
            if (read_small(fd, name, text, sizeof text) > 0) add_children(tree, text);
        }
    }
    close(fd);
}

/* Breadth first, without KEEPER itself. */
static void descend(struct tree *tree, pid_t keeper) {
    tree->n = 0;
    add_children_of(tree, keeper);
    for (size_t i = 0; i < tree->n; i++) add_children_of(tree, tree->pids[i]);
}

/* What "stat" tells of one process; its times are with those of its dead children. */
struct look {
    pid_t parent;
    double cpu_s;
    uint64_t resident;
};

static bool look_at(pid_t pid, struct look *look) {
    char path[64], text[1024];
    proc_path(path, pid, "/stat");
    if (read_small(AT_FDCWD, path, text, sizeof text) == 0) return false;
    const char *at = strrchr(text, ')'); // the name may hold anything
    if (at == NULL) return false;
    uint64_t values[25] = {0};
    at++;
    for (int field = 3; field <= 24; field++) {
        while (*at == ' ') at++;
        const char *digits = at;
        values[field] = number(&digits);
        while (*at != ' ' && *at != '\0') at++;
    }
    look->parent = (pid_t)values[4];
    look->cpu_s = (double)(values[14] + values[15] + values[16] + values[17]) / USER_HZ;
    look->resident = values[24] * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

void box_tree_usage(pid_t keeper, struct box_usage *usage) {
    struct tree tree;
    struct look look;
    descend(&tree, keeper);
    *usage = (struct box_usage){.n_processes = tree.n};
    if (look_at(keeper, &look)) usage->cpu_s = look.cpu_s;
    for (size_t i = 0; i < tree.n; i++) {
        if (!look_at(tree.pids[i], &look)) continue;
        usage->cpu_s += look.cpu_s;
        usage->resident_bytes += look.resident;
        if (look.resident > usage->largest_bytes) usage->largest_bytes = look.resident;
    }
}

static uint64_t kib_after(const char *text, const char *name) {
    const char *at = strstr(text, name);
    if (at == NULL) return 0;
    at += strlen(name);
    return number(&at);
}

uint64_t box_tree_exact_bytes(pid_t keeper) {
    struct tree tree;
    descend(&tree, keeper);
    uint64_t total = 0;
    for (size_t i = 0; i < tree.n; i++) {
        char path[64], text[2048];
        struct look look;
        proc_path(path, tree.pids[i], "/smaps_rollup");
        if (read_small(AT_FDCWD, path, text, sizeof text) > 0) {
            total += (kib_after(text, "\nPss:") + kib_after(text, "\nSwapPss:")) * 1024;
        } else if (look_at(tree.pids[i], &look)) {
            total += look.resident;
        }
    }
    return total;
}

/* A pid may name another process by now. Held by a descriptor it cannot change any more, so that it
 * is enough to see once that it still belongs to the tree. */
static void signal_member(const struct tree *tree, pid_t keeper, pid_t pid, int signal) {
    const int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) return;
    struct look look;
    bool ours = false;
    if (look_at(pid, &look)) {
        ours = look.parent == keeper;
        for (size_t i = 0; i < tree->n && !ours; i++) ours = look.parent == tree->pids[i];
    }
    if (ours) syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
    close(fd);
}

void box_tree_kill(pid_t keeper) {
    struct tree tree;
    // Stopped processes do not fork: stop until a round finds nobody new, then kill.
    size_t n_before = 0;
    for (int round = 0; round < 64; round++) {
        descend(&tree, keeper);
        for (size_t i = 0; i < tree.n; i++) {
            signal_member(&tree, keeper, tree.pids[i], SIGSTOP);
        }
        if (tree.n == n_before) break;
        n_before = tree.n;
    }
    for (size_t i = 0; i < tree.n; i++) signal_member(&tree, keeper, tree.pids[i], SIGKILL);
}

bool box_tree_works(void) {
    char path[64];
    proc_path(path, getpid(), "/task");
    char text[128];
    snprintf(text, sizeof text, "%s/%d/children", path, (int)getpid());
    return access(text, R_OK) == 0;
}

uint64_t box_count_tasks_of(uid_t uid) {
    DIR *const listing = opendir("/proc");
    if (listing == NULL) return 0;
    uint64_t n = 0;
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        char path[32], text[2048];
        struct stat stat;
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            fstatat(dirfd(listing), entry->d_name, &stat, 0) != 0) {
            continue;
        }
        snprintf(path, sizeof path, "%.20s/status", entry->d_name);
        if (read_small(dirfd(listing), path, text, sizeof text) == 0) continue;
        const char *uids = strstr(text, "\nUid:\t");
        if (uids == NULL || strtoul(uids + 6, NULL, 10) != uid) continue;
        const char *const threads = strstr(text, "\nThreads:\t");
        n += threads == NULL ? 1 : strtoul(threads + 10, NULL, 10);
    }
    closedir(listing);
    return n;
}
