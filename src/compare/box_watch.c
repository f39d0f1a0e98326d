/* The supervisor's thread of one box: feeds and reads its pipes, measures, kills over the limits,
 * and leaves only when every process of the box is gone. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/box_impl.h"

enum { MIN_TICK_MS = 4, MAX_TICK_MS = 25, TEMP_FILES = 16384, TEMP_PAUSE = 10 };

double box_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- Killing --------------------------------------------------------------------------------- */

static bool has_ended(const struct box *box) { return box->report.kind == BOX_ENDED; }

/* Where processes can get away from one look at them, this is repeated until all are gone. */
static void kill_all(const struct box *box) {
    box_cgroup_kill(&box->cgroup);
    if (box->layers & BOX_PID_NS) {
        syscall(SYS_pidfd_send_signal, box->pidfd, SIGKILL, NULL, 0);
    } else {
        box_tree_kill(box->keeper);
    }
}

/* A candidate that already ended has its verdict. */
static void kill_for(struct box *box, enum box_end reason) {
    if (box->killed || has_ended(box)) return;
    box->killed = true;
    box->reason = reason;
}

void box_abandon(struct box *box) {
    syscall(SYS_pidfd_send_signal, box->pidfd, SIGSTOP, NULL, 0);
    if (!(box->layers & BOX_PID_NS)) box_tree_kill(box->keeper);
    syscall(SYS_pidfd_send_signal, box->pidfd, SIGKILL, NULL, 0);
    while (waitpid(box->keeper, NULL, __WALL) < 0 && errno == EINTR) {}
}

/* ---- Pipes ----------------------------------------------------------------------------------- */

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* One read; what is over the cap is counted and dropped. False: nothing there now, or no memory,
 * which closes the stream and is told in box->status. */
static bool read_some(struct box *box, struct box_stream *stream) {
    char bytes[1 << 16];
    const ssize_t n = read(stream->fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n <= 0) {
        close_fd(&stream->fd);
        return false;
    }
    stream->total += (uint64_t)n;
    const uint64_t room = box->limits.output_bytes - stream->n;
    const size_t n_kept = room < (uint64_t)n ? (size_t)room : (size_t)n;
    if (!mem_reserve((void **)&stream->bytes, &stream->cap, stream->n + n_kept + 1, 1)) {
        box->status = octet_fail_memory(&box->failure, "the output of a box", stream->n + n_kept);
        close_fd(&stream->fd);
        return false;
    }
    memcpy(stream->bytes + stream->n, bytes, n_kept);
    stream->n += n_kept;
    return true;
}

static void feed(struct box *box) {
    const ssize_t n = write(box->input_fd, box->input + box->n_input_sent,
                            box->n_input - box->n_input_sent);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0) box->n_input_sent += (size_t)n;
    if (n < 0 || box->n_input_sent == box->n_input) close_fd(&box->input_fd);
}

/* False: nothing was said. */
static bool hear(struct box *box) {
    struct box_message message;
    const ssize_t n = recv(box->control, &message, sizeof message, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n != (ssize_t)sizeof message) {
        close_fd(&box->control);
    } else if (message.kind == BOX_ENDED) {
        box->report = message;
    } else {
        box->status = octet_fail(&box->failure, OCTET_EIO, "building a box failed: %s: %s",
                                 message.step, strerror(message.error));
    }
    return true;
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static void measure(struct box *box) {
    struct box_usage usage;
    box_tree_usage(box->keeper, &usage);
    const double cpu_s = usage.cpu_s - box->own_cpu_s;
    if (usage.largest_bytes > box->largest_bytes) box->largest_bytes = usage.largest_bytes;
    if (cpu_s > box->cpu_s) box->cpu_s = cpu_s;
    if (cpu_s > box->limits.cpu_s) kill_for(box, BOX_TIME_OUT);
    // The exact size takes long to find out, and is never larger.
    if (usage.resident_bytes > box->limits.memory_bytes &&
        box_tree_exact_bytes(box->keeper) > box->limits.memory_bytes) {
        kill_for(box, BOX_OUT_OF_MEMORY);
    }
    if (usage.n_processes > box->limits.n_processes) kill_for(box, BOX_SIGNALLED);
}

static bool temp_within(const struct box *box) {
    return box->temp_path == NULL ||
           box_temp_within(box->work_fd, box->limits.disk_bytes, TEMP_FILES);
}

/* A folder on a disk has no limit of its own. Walking it takes a part of the time at most. */
static void measure_temp(struct box *box, double *next) {
    const double start = box_now();
    if (start < *next) return;
    if (!temp_within(box)) kill_for(box, BOX_OUT_OF_DISK);
    const double end = box_now();
    *next = end + TEMP_PAUSE * (end - start);
}

/* Often at first, so that short programs are measured, too. */
static int tick_ms(double elapsed) {
    const int quarter = (int)(elapsed * 1000 / 4);
    return quarter < MIN_TICK_MS ? MIN_TICK_MS : quarter > MAX_TICK_MS ? MAX_TICK_MS : quarter;
}

/* ---- The loop -------------------------------------------------------------------------------- */

/* False once the keeper, and with it everybody, is gone. */
static bool turn(struct box *box, int timeout_ms) {
    struct pollfd waiting[] = {
        {box->pidfd, POLLIN, 0},  {box->control, POLLIN, 0},   {box->out.fd, POLLIN, 0},
        {box->err.fd, POLLIN, 0}, {box->input_fd, POLLOUT, 0},
    };
    poll(waiting, sizeof waiting / sizeof waiting[0], timeout_ms);
    if (waiting[1].revents) hear(box);
    if (waiting[2].revents) read_some(box, &box->out);
    if (waiting[3].revents) read_some(box, &box->err);
    if (waiting[4].revents) feed(box);
    return !waiting[0].revents;
}

/* After the end: the last words, and what the kernel counted. */
static void settle(struct box *box) {
    while (box->control >= 0 && !has_ended(box) && box->status == OCTET_OK && hear(box)) {}
    while (box->out.fd >= 0 && read_some(box, &box->out)) {}
    while (box->err.fd >= 0 && read_some(box, &box->err)) {}
    struct rusage usage = {0};
    while (wait4(box->keeper, NULL, __WALL, &usage) < 0 && errno == EINTR) {}
    // Without those that process 1 took with it, which only measuring saw.
    const double cpu_s =
        (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6 - box->own_cpu_s;
    if (cpu_s > box->cpu_s) box->cpu_s = cpu_s;
    // However fast it was.
    if (!box->killed && !temp_within(box)) {
        box->killed = true;
        box->reason = BOX_OUT_OF_DISK;
    }
}

void *box_watch(void *argument) {
    struct box *const box = argument;
    double next_measure = 0, next_temp = 0;
    for (int timeout = MIN_TICK_MS; turn(box, timeout);) {
        const double now = box_now(), elapsed = now - box->started;
        timeout = tick_ms(elapsed);
        if (elapsed > box->limits.wall_s) kill_for(box, BOX_TIME_OUT);
        if (box->cancel != NULL && *box->cancel) kill_for(box, BOX_CANCELLED);
        // A flood of output wakes this loop far more often than there is something to measure.
        if (now >= next_measure) {
            next_measure = now + timeout * 1e-3;
            measure(box);
            measure_temp(box, &next_temp);
        }
        if (box->killed || has_ended(box) || box->status != OCTET_OK) kill_all(box);
    }
    box->wall_s = box_now() - box->started;
    settle(box);
    return NULL;
}
