/* File mappings and the registry of them. A mapped file that shrinks or whose disk fails turns a
 * plain memory read into SIGBUS; the registry lets the handler below tell such a fault from a bug
 * and name the file. */
#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/* The signal handler walks the list without a lock, so entries are never unlinked or freed: a
 * closed one has start 0 and serves the next mapping. */
struct mapping {
    _Atomic uintptr_t start; // 0: free; set last
    size_t n_bytes;
    char *path;
    int fd; // -1: not kept
    struct mapping *next;
};

/* Of private ones there may be thousands, which map_read need not search. */
static struct mapping *_Atomic mappings, *_Atomic private_mappings;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool registry_add(struct mapping *_Atomic *list, const char *path, int fd,
                         const void *start, size_t n_bytes) {
    char *path_copy = mem_strdup(path, strlen(path));
    if (!path_copy) return false;
    pthread_mutex_lock(&lock);
    struct mapping *m = atomic_load(list);
    while (m && atomic_load(&m->start) != 0) m = m->next;
    bool is_new = !m;
    if (is_new) m = mem_alloc(sizeof *m);
    if (m) {
        m->path = path_copy;
        m->fd = fd;
        m->n_bytes = n_bytes;
        atomic_store(&m->start, (uintptr_t)start);
        if (is_new) {
            m->next = atomic_load(list);
            atomic_store(list, m);
        }
    }
    pthread_mutex_unlock(&lock);
    if (!m) mem_free(path_copy);
    return m != NULL;
}

static void registry_remove(struct mapping *_Atomic *list, const void *start) {
    pthread_mutex_lock(&lock);
    struct mapping *m = atomic_load(list);
    while (m && atomic_load(&m->start) != (uintptr_t)start) m = m->next;
    octet_assert(m != NULL);
    atomic_store(&m->start, 0);
    mem_free(m->path);
    m->path = NULL;
    if (m->fd >= 0) close(m->fd);
    pthread_mutex_unlock(&lock);
}

static enum octet_status check_kind(const char *path, const struct stat *st,
                                    struct octet_err *err) {
    if (S_ISDIR(st->st_mode))
        return octet_fail(err, OCTET_EIO, "%s: expected a file, found a directory", path);
    if (!S_ISREG(st->st_mode))
        return octet_fail(err, OCTET_EIO, "%s: expected a regular file, found a device or pipe",
                          path);
    if (st->st_size == 0) return octet_fail(err, OCTET_EFORMAT, "%s: file is empty", path);
    if ((uintmax_t)st->st_size > SIZE_MAX)
        return octet_fail(err, OCTET_EMEM, "%s: file is larger than the address space", path);
    return OCTET_OK;
}

static enum octet_status map_fd(const char *path, int fd, const uint8_t **bytes, size_t *n_bytes,
                                struct octet_err *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return octet_fail(err, OCTET_EIO, "%s: %s", path, strerror(errno));
    enum octet_status s = check_kind(path, &st, err);
    if (s) return s;
    size_t size = (size_t)st.st_size;
    void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return octet_fail(err, errno == ENOMEM ? OCTET_EMEM : OCTET_EIO,
                          "%s: can not be mapped: %s", path, strerror(errno));
    if (!registry_add(&mappings, path, fd, p, size)) {
        munmap(p, size);
        return octet_fail_memory(err, "the list of mapped files", sizeof(struct mapping));
    }
    *bytes = p;
    *n_bytes = size;
    return OCTET_OK;
}

enum octet_status map_open(const char *path, const uint8_t **bytes, size_t *n_bytes,
                           struct octet_err *err) {
    // O_NONBLOCK: opening a pipe must fail below, not wait for a writer.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return octet_fail(err, OCTET_EIO, "%s: %s", path, strerror(errno));
    enum octet_status s = map_fd(path, fd, bytes, n_bytes, err);
    if (s) close(fd);
    return s;
}

void map_close(const uint8_t *bytes, size_t n_bytes) {
    registry_remove(&mappings, bytes);
    munmap((void *)(uintptr_t)bytes, n_bytes);
}

uint8_t *map_private(int fd, const char *path, size_t n_bytes) {
    void *const p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return NULL;
    if (registry_add(&private_mappings, path, -1, p, n_bytes)) return p;
    munmap(p, n_bytes);
    return NULL;
}

void map_private_close(uint8_t *bytes, size_t n_bytes) {
    registry_remove(&private_mappings, bytes);
    munmap(bytes, n_bytes);
}

/* Linux 5.14; older headers lack it, older kernels refuse it. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

void map_populate(const uint8_t *bytes, size_t n_bytes, size_t next_bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)bytes;
    void *const first = (void *)(start / page * page);
    const size_t n = n_bytes + start % page;
    if (next_bytes > 0) madvise((uint8_t *)first + n / page * page, next_bytes, MADV_WILLNEED);
    if (madvise(first, n, MADV_POPULATE_READ) == 0) return;
    for (size_t i = 0; i < n_bytes; i += page) (void)*(const volatile uint8_t *)(bytes + i);
}

void map_release(const uint8_t *bytes, size_t n_bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)bytes + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)bytes + n_bytes) / page * page;
    if (first < end) madvise((void *)first, end - first, MADV_DONTNEED);
}

bool map_read(const uint8_t *bytes, size_t n_bytes, void *out) {
    const uintptr_t address = (uintptr_t)bytes;
    pthread_mutex_lock(&lock);
    const struct mapping *m = atomic_load(&mappings);
    while (m && address - atomic_load(&m->start) >= m->n_bytes) m = m->next;
    const int fd = m ? m->fd : -1;
    const off_t at = m ? (off_t)(address - atomic_load(&m->start)) : 0;
    pthread_mutex_unlock(&lock);
    return fd >= 0 && pread(fd, out, n_bytes, at) == (ssize_t)n_bytes;
}

static void write_stderr(const char *text) {
    size_t n = strlen(text);
    while (n > 0) {
        ssize_t written = write(STDERR_FILENO, text, n);
        if (written <= 0) return;
        text += written;
        n -= (size_t)written;
    }
}

/* Of the list from M on. */
static void explain_fault(const struct mapping *m, uintptr_t address) {
    for (; m; m = m->next) {
        uintptr_t start = atomic_load(&m->start);
        if (start == 0 || address < start || address - start >= m->n_bytes) continue;
        write_stderr("octet: ");
        write_stderr(m->path);
        write_stderr(": file was truncated or became unreadable while in use\n");
        _exit(1);
    }
}

/* Async-signal-safe: atomics, strlen, write, _exit, sigaction. */
static void on_bus_error(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    explain_fault(atomic_load(&mappings), (uintptr_t)info->si_addr);
    explain_fault(atomic_load(&private_mappings), (uintptr_t)info->si_addr);
    // Not ours: the instruction runs again and the fault takes its usual course.
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(signal_number, &action, NULL);
}

void octet_guard_mappings(void) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
