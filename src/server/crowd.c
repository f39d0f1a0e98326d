/* See crowd.h. libevent does not tell when it frees a connection, so nothing here holds one: a
 * request under way is kept by its socket's number, and the socket is known again by its inode.
 * Sockets are numbered by the process, so one table serves all servers in it. */
#include "server/crowd.h"

#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/probe.h"

/* A request may take GRACE_SECONDS, and a second more for each LEAST_BYTES of it. */
enum { GRACE_SECONDS = 20, LEAST_BYTES = 16384 };
enum { BACKLOG = 4096 }; // as far as the system allows

struct pace {
    double since; // the first byte of a request; 0: none is under way
    size_t n_bytes;
    ino_t inode;
};

static struct {
    pthread_mutex_t lock;
    struct pace *at; // (n), by socket
    size_t n, cap;
} paces = {.lock = PTHREAD_MUTEX_INITIALIZER};

static ino_t inode_of(evutil_socket_t fd) {
    struct stat socket;
    return fstat(fd, &socket) == 0 ? socket.st_ino : 0;
}

/* Under the lock; NULL: out of memory, and then there is no limit. */
static struct pace *pace_of(evutil_socket_t fd) {
    const size_t i = (size_t)fd;
    void *at = paces.at;
    if (!mem_reserve(&at, &paces.cap, i + 1, sizeof *paces.at)) return NULL;
    paces.at = at;
    while (paces.n <= i) paces.at[paces.n++] = (struct pace){0, 0, 0};
    return &paces.at[i];
}

static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg) {
    (void)input;
    const evutil_socket_t fd = bufferevent_getfd(arg);
    if (info->n_added == 0 || fd < 0) return;
    pthread_mutex_lock(&paces.lock);
    struct pace *const pace = pace_of(fd);
    const ino_t inode = pace && pace->since > 0 ? inode_of(fd) : 0;
    if (pace && (pace->since <= 0 || pace->inode != inode))
        *pace = (struct pace){probe_seconds(), 0, inode_of(fd)};
    if (pace) pace->n_bytes += info->n_added;
    pthread_mutex_unlock(&paces.lock);
}

void crowd_watch(struct bufferevent *connection) {
    if (connection) evbuffer_add_cb(bufferevent_get_input(connection), on_input, connection);
}

void crowd_arrived(evutil_socket_t fd) {
    pthread_mutex_lock(&paces.lock);
    if (fd >= 0 && (size_t)fd < paces.n) paces.at[fd].since = 0;
    pthread_mutex_unlock(&paces.lock);
}

size_t crowd_sweep(double now) {
    size_t n_shut = 0;
    pthread_mutex_lock(&paces.lock);
    for (size_t i = 0; i < paces.n; i++) {
        struct pace *const pace = &paces.at[i];
        const double allowed = GRACE_SECONDS + (double)pace->n_bytes / LEAST_BYTES;
        if (pace->since <= 0 || now - pace->since < allowed) continue;
        if (inode_of((evutil_socket_t)i) == pace->inode) {
            shutdown((evutil_socket_t)i, SHUT_RDWR);
            n_shut++;
        }
        pace->since = 0;
    }
    pthread_mutex_unlock(&paces.lock);
    return n_shut;
}

/* ---- Too many -------------------------------------------------------------------------------- */

/* Thousands of idle editors are no reason to turn anybody away. */
static void allow_many_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int spare = -1; // a file number to refuse a connection with when there are no more

static void take_spare(void) {
    if (spare < 0) spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* A connection that is not accepted would be waited for in a busy loop. */
static void on_accept_failed(struct evconnlistener *listener, void *arg) {
    (void)arg;
    if (errno != EMFILE && errno != ENFILE) return;
    pthread_mutex_lock(&paces.lock);
    if (spare >= 0) close(spare);
    spare = -1;
    const int refused = accept(evconnlistener_get_fd(listener), NULL, NULL);
    if (refused >= 0) close(refused);
    take_spare();
    pthread_mutex_unlock(&paces.lock);
}

void crowd_listen(struct evconnlistener *listener) {
    allow_many_files();
    take_spare();
    listen(evconnlistener_get_fd(listener), BACKLOG);
    evconnlistener_set_error_cb(listener, on_accept_failed);
}
