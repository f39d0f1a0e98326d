/* See probe.h. Numbers about the machine come from /proc and /sys, so a container's limits count;
 * speeds are timed here. */
#include "base/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/mem.h"

double probe_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1.0 + (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- Memory sizes ---------------------------------------------------------------------------- */

enum { TEXT_BYTES = 8192 };

/* The first TEXT_BYTES - 1 bytes of a file; false, and "", where it can not be read. */
static bool read_text(const char *path, char text[TEXT_BYTES]) {
    text[0] = '\0';
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t n = read(fd, text, TEXT_BYTES - 1);
    close(fd);
    if (n < 0) return false;
    text[n] = '\0';
    return true;
}

/* Points behind KEY at the start of a line of TEXT, or NULL. */
static const char *find_line(const char *text, const char *key) {
    const size_t n = strlen(key);
    while (text != NULL && strncmp(text, key, n) != 0) {
        text = strchr(text, '\n');
        if (text != NULL) text++;
    }
    return text == NULL ? NULL : text + n;
}

static uint64_t number_after(const char *text, const char *key) {
    const char *const value = find_line(text, key);
    return value == NULL ? 0 : strtoull(value, NULL, 10);
}

static uint64_t proc_kilobytes(const char *path, const char *key) {
    char text[TEXT_BYTES];
    return read_text(path, text) ? number_after(text, key) * 1024 : 0;
}

struct memory_limit {
    uint64_t bytes, used; // UINT64_MAX: no limit
};

static struct memory_limit limit_in(const char *folder, const char *limit_file,
                                    const char *used_key) {
    struct memory_limit limit = {UINT64_MAX, 0};
    char path[512], text[TEXT_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, limit_file);
    if (!read_text(path, text) || text[0] < '0' || text[0] > '9') return limit;
    limit.bytes = strtoull(text, NULL, 10);
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (read_text(path, text)) limit.used = number_after(text, used_key);
    return limit;
}

/* The control group's limit. Only anonymous memory counts as used: the kernel gives file pages back
 * before it refuses memory. */
static struct memory_limit group_limit(void) {
    char text[TEXT_BYTES], folder[400];
    if (read_text("/proc/self/cgroup", text)) {
        const char *const group = find_line(text, "0::");
        if (group != NULL) {
            snprintf(folder, sizeof folder, "/sys/fs/cgroup%.*s", (int)strcspn(group, "\n"), group);
            const struct memory_limit own = limit_in(folder, "memory.max", "anon ");
            if (own.bytes != UINT64_MAX) return own;
        }
    }
    const struct memory_limit top = limit_in("/sys/fs/cgroup", "memory.max", "anon ");
    if (top.bytes != UINT64_MAX) return top;
    return limit_in("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss ");
}

uint64_t probe_ram_total(void) {
    const uint64_t total = proc_kilobytes("/proc/meminfo", "MemTotal:");
    const uint64_t limit = group_limit().bytes;
    return limit < total ? limit : total;
}

uint64_t probe_ram_available(void) {
    const uint64_t available = proc_kilobytes("/proc/meminfo", "MemAvailable:");
    const struct memory_limit limit = group_limit();
    const uint64_t left = limit.used < limit.bytes ? limit.bytes - limit.used : 0;
    return left < available ? left : available;
}

uint64_t probe_rss_peak(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0) return 0;
    return (uint64_t)usage.ru_maxrss * 1024;
}

uint64_t probe_rss_anon(void) {
    return proc_kilobytes("/proc/self/status", "RssAnon:");
}

/* ---- Processor ------------------------------------------------------------------------------- */

void probe_cpu_name(char *name, size_t cap) {
    char text[TEXT_BYTES];
    name[0] = '\0';
    if (!read_text("/proc/cpuinfo", text)) return;
    const char *value = find_line(text, "model name");
    if (value == NULL) return;
    value += strspn(value, " \t:");
    snprintf(name, cap, "%.*s", (int)strcspn(value, "\n"), value);
}

static void append_word(char *text, size_t cap, const char *word) {
    const size_t n = strlen(text);
    snprintf(text + n, cap - n, "%s%s", n > 0 ? " " : "", word);
}

void probe_cpu_features(char *features, size_t cap) {
    features[0] = '\0';
#if defined(__x86_64__)
    // The builtin wants its name as a literal.
    if (__builtin_cpu_supports("sse4.2")) append_word(features, cap, "sse4.2");
    if (__builtin_cpu_supports("avx")) append_word(features, cap, "avx");
    if (__builtin_cpu_supports("avx2")) append_word(features, cap, "avx2");
    if (__builtin_cpu_supports("fma")) append_word(features, cap, "fma");
    if (__builtin_cpu_supports("avx512f")) append_word(features, cap, "avx512f");
    if (__builtin_cpu_supports("avx512bw")) append_word(features, cap, "avx512bw");
    if (__builtin_cpu_supports("avx512vl")) append_word(features, cap, "avx512vl");
    if (__builtin_cpu_supports("avx512vnni")) append_word(features, cap, "avx512vnni");
    if (__builtin_cpu_supports("avx512vbmi")) append_word(features, cap, "avx512vbmi");
    if (__builtin_cpu_supports("gfni")) append_word(features, cap, "gfni");
#elif defined(__aarch64__)
    static const struct {
        unsigned long bit; // of AT_HWCAP
        const char *name;
    } bits[] = {{1UL << 1, "asimd"}, {1UL << 10, "asimdhp"}, {1UL << 20, "asimddp"},
                {1UL << 22, "sve"}};
    const unsigned long have = getauxval(AT_HWCAP);
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        if (have & bits[i].bit) append_word(features, cap, bits[i].name);
    }
#endif
    if (features[0] == '\0') append_word(features, cap, "none known");
}

/* ---- Disk ------------------------------------------------------------------------------------ */

enum { DISK_BLOCK = 4 << 20, N_DISK_BLOCKS = 32 };

static enum octet_status disk_failed(struct octet_err *err, const char *folder, const char *what) {
    return octet_fail(err, OCTET_EIO, "%s: %s a temporary file failed: %s", folder, what,
                      strerror(errno));
}

static enum octet_status time_disk(const char *folder, int fd, uint8_t *block,
                                   double *bytes_per_second, struct octet_err *err) {
    for (size_t i = 0; i < DISK_BLOCK; i++) block[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int i = 0; i < N_DISK_BLOCKS; i++) {
        block[0] = (uint8_t)i; // no two blocks alike
        if (write(fd, block, DISK_BLOCK) != DISK_BLOCK) return disk_failed(err, folder, "writing");
    }
    if (fsync(fd) != 0) return disk_failed(err, folder, "writing");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const int direct = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (direct < 0) {
        return octet_fail(err, OCTET_EUNSUPPORTED,
                          "%s: the file system can not read past the page cache", folder);
    }
    const double start = probe_seconds();
    for (int i = 0; i < N_DISK_BLOCKS; i++) {
        if (read(direct, block, DISK_BLOCK) != DISK_BLOCK) {
            close(direct);
            return disk_failed(err, folder, "reading");
        }
    }
    *bytes_per_second = (double)DISK_BLOCK * N_DISK_BLOCKS / (probe_seconds() - start);
    close(direct);
    return OCTET_OK;
}

enum octet_status probe_disk_read(const char *folder, double *bytes_per_second,
                                  struct octet_err *err) {
    *bytes_per_second = 0;
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/octet-probe-XXXXXX", folder);
    if (n < 0 || (size_t)n >= sizeof path) {
        return octet_fail(err, OCTET_EARG, "%.80s...: the path is too long", folder);
    }
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) return disk_failed(err, folder, "making");
    unlink(path);
    // One page more, as direct reads want page-aligned memory.
    uint8_t *const memory = mem_aligned(DISK_BLOCK + 4096);
    enum octet_status status;
    if (memory == NULL) {
        status = octet_fail_memory(err, "the disk measurement", DISK_BLOCK);
    } else {
        uint8_t *const block = memory + (4096 - (uintptr_t)memory % 4096) % 4096;
        status = time_disk(folder, fd, block, bytes_per_second, err);
    }
    mem_free(memory);
    close(fd);
    return status;
}

/* ---- Sandbox layers -------------------------------------------------------------------------- */

int probe_landlock_abi(void) {
#ifdef SYS_landlock_create_ruleset
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* ask for the version */);
    return abi > 0 ? (int)abi : 0;
#else
    return 0;
#endif
}

static bool forbidden_by(const char *path, char forbidding) {
    char text[TEXT_BYTES];
    return read_text(path, text) && text[0] == forbidding;
}

bool probe_user_namespaces(void) {
    if (forbidden_by("/proc/sys/kernel/unprivileged_userns_clone", '0') ||
        forbidden_by("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1')) {
        return false;
    }
    const pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return false;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool probe_seccomp_filters(void) {
    // With no filter given a kernel that knows filters complains about the address.
    return prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, NULL, 0, 0) == -1 && errno == EFAULT;
}
