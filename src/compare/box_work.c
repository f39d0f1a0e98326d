/* The work folder: files go in, files come out, and where it lies on a disk it is measured and
 * removed. What a candidate left there is hostile: links, pipes, folders without rights, folders
 * deeper than any path. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "compare/box_impl.h"

bool box_path_ok(const char *path) {
    const char *part = path;
    for (;;) {
        const size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && memcmp(part, "..", 2) == 0)) {
            return false;
        }
        if (part[n] == '\0') return part - path + (ptrdiff_t)n < 1024;
        part += n + 1;
    }
}

static bool write_all(int fd, const char *bytes, size_t n_bytes) {
    while (n_bytes > 0) {
        const ssize_t n = write(fd, bytes, n_bytes);
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) {
            bytes += n;
            n_bytes -= (size_t)n;
        }
    }
    return true;
}

static bool make_parents(int work_fd, const char *path) {
    char parent[1024];
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const size_t n = (size_t)(slash - path);
        memcpy(parent, path, n);
        parent[n] = '\0';
        if (mkdirat(work_fd, parent, 0755) != 0 && errno != EEXIST) return false;
    }
    return true;
}

const char *box_put_files(int work_fd, const struct box_job *job) {
    for (size_t i = 0; i < job->n_files; i++) {
        const struct box_file *const file = &job->files[i];
        if (!make_parents(work_fd, file->path)) return "making a folder for files";
        const int fd = openat(work_fd, file->path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
                              file->executable ? 0755 : 0644);
        if (fd < 0) return "making a file";
        const bool done = write_all(fd, file->bytes, file->n_bytes);
        const int reason = errno;
        close(fd);
        errno = reason;
        if (!done) return "writing a file";
    }
    return NULL;
}

bool box_take_file(int work_fd, const char *path, uint64_t max, struct box_file *out) {
    const struct open_how how = {
        .flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    const int fd = (int)syscall(SYS_openat2, work_fd, path, &how, sizeof how);
    if (fd < 0) return false;
    struct stat stat;
    char *bytes = NULL;
    size_t n_bytes = 0;
    if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode)) {
        n_bytes = (uint64_t)stat.st_size < max ? (size_t)stat.st_size : (size_t)max;
        bytes = mem_alloc(n_bytes + 1);
    }
    size_t n_read = 0;
    while (bytes != NULL && n_read < n_bytes) {
        const ssize_t n = read(fd, bytes + n_read, n_bytes - n_read);
        if (n <= 0) break;
        n_read += (size_t)n;
    }
    close(fd);
    if (bytes == NULL) return false;
    *out = (struct box_file){mem_strdup(path, strlen(path)), bytes, n_read,
                             (stat.st_mode & S_IXUSR) != 0};
    if (out->path == NULL) mem_free(bytes);
    return out->path != NULL;
}

/* ---- On a disk ------------------------------------------------------------------------------- */

int box_temp_make(char **path, uid_t owner, gid_t group) {
    const char *const temp = getenv("TMPDIR");
    char name[512];
    const int n = snprintf(name, sizeof name, "%s/octet-box-XXXXXX",
                           temp != NULL && temp[0] == '/' ? temp : "/tmp");
    if (n < 0 || (size_t)n >= sizeof name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (mkdtemp(name) == NULL) return -1;
    int reason = 0;
    const int fd = open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (owner != geteuid() && fchown(fd, owner, group) != 0)) reason = errno;
    *path = reason == 0 ? mem_strdup(name, (size_t)n) : NULL;
    if (*path != NULL) return fd;
    if (fd >= 0) close(fd);
    rmdir(name);
    errno = reason == 0 ? ENOMEM : reason;
    return -1;
}

static DIR *list(int folder, const char *name) {
    const int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return NULL;
    DIR *const listing = fdopendir(fd);
    if (listing == NULL) close(fd);
    return listing;
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Empties the folder NAME of TOP: files go, folders move up into TOP under new names, so that no
 * depth can exhaust the stack or descriptors. Only for when nobody is left who could put a link in
 * a folder's place. */
static void flatten(int top, const char *name, unsigned long *n_moved) {
    fchmodat(top, name, 0700, 0);
    DIR *const listing = list(top, name);
    if (listing == NULL) return;
    const int folder = dirfd(listing);
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (is_dots(entry->d_name) || unlinkat(folder, entry->d_name, 0) == 0) continue;
        char moved[40];
        snprintf(moved, sizeof moved, ".octet-%lu", (*n_moved)++);
        // A folder can only be moved by who may write to it: its ".." changes.
        fchmodat(folder, entry->d_name, 0700, 0);
        renameat(folder, entry->d_name, top, moved);
    }
    closedir(listing);
}

void box_temp_remove(int fd, const char *path) {
    unsigned long n_moved = 0;
    fchmod(fd, 0700);
    for (bool again = true; again;) {
        again = false;
        DIR *const listing = list(fd, ".");
        if (listing == NULL) break;
        for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
            if (is_dots(entry->d_name) || unlinkat(fd, entry->d_name, 0) == 0) continue;
            flatten(fd, entry->d_name, &n_moved);
            again |= unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0;
        }
        closedir(listing);
    }
    rmdir(path);
}

struct tally {
    uint64_t bytes, files, max_bytes, max_files;
};

enum { MAX_DEPTH = 64 };

/* Folders deeper than anybody needs count as too much: below them all could be hidden. */
static bool measure(int folder, const char *name, int depth, struct tally *tally) {
    DIR *const listing = depth < MAX_DEPTH ? list(folder, name) : NULL;
    if (listing == NULL) return depth < MAX_DEPTH; // gone meanwhile
    bool within = true;
    for (const struct dirent *entry; within && (entry = readdir(listing)) != NULL;) {
        struct stat stat;
        if (is_dots(entry->d_name) ||
            fstatat(dirfd(listing), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        tally->bytes += (uint64_t)stat.st_blocks * 512;
        tally->files++;
        within = tally->bytes <= tally->max_bytes && tally->files <= tally->max_files;
        if (within && S_ISDIR(stat.st_mode)) {
            within = measure(dirfd(listing), entry->d_name, depth + 1, tally);
        }
    }
    closedir(listing);
    return within;
}

bool box_temp_within(int fd, uint64_t max_bytes, uint64_t max_files) {
    struct tally tally = {0, 0, max_bytes, max_files};
    return measure(fd, ".", 0, &tally);
}
