/* Starting a box, waiting for it, and what is left of it afterwards: the result. */
#include "compare/box.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/box_impl.h"

enum { BUILD_MS = 20000, DEFAULT_PROCESSES = 64, SPARE_TASKS = 512 };

/* ---- The plan -------------------------------------------------------------------------------- */

static void fill_limits(struct box_limits *limits) {
    if (!(limits->wall_s > 0)) limits->wall_s = 10;
    if (!(limits->cpu_s > 0)) limits->cpu_s = 10;
    if (limits->memory_bytes == 0) limits->memory_bytes = 2ull << 30;
    if (limits->disk_bytes == 0) limits->disk_bytes = 256ull << 20;
    if (limits->output_bytes == 0) limits->output_bytes = 1 << 20;
    if (limits->n_processes == 0) limits->n_processes = DEFAULT_PROCESSES;
}

static enum octet_status check_job(const struct box_job *job, struct octet_err *err) {
    if (job->argv == NULL || job->argv[0] == NULL || job->argv[0][0] == '\0') {
        return octet_fail(err, OCTET_EARG, "a box needs a program to run");
    }
    for (size_t i = 0; i < job->n_files; i++) {
        if (!box_path_ok(job->files[i].path)) {
            return octet_fail(err, OCTET_EARG, "%s: leaves the work folder", job->files[i].path);
        }
    }
    for (size_t i = 0; job->keep != NULL && job->keep[i] != NULL; i++) {
        if (!box_path_ok(job->keep[i])) {
            return octet_fail(err, OCTET_EARG, "%s: leaves the work folder", job->keep[i]);
        }
    }
    const struct box_layers *const layers = box_probe();
    if (layers->enough || job->unsafe_exec) return OCTET_OK;
    char missing[400] = "";
    size_t n = 0;
    for (size_t i = 0; i < BOX_LAYERS && layers->missing[i][0] != '\0'; i++) {
        n += (size_t)snprintf(missing + n, sizeof missing - n, "%s%s", i > 0 ? "; " : "",
                              layers->missing[i]);
        if (n >= sizeof missing) n = sizeof missing - 1;
    }
    return octet_fail(err, OCTET_EUNSUPPORTED,
                      "this machine cannot lock a program in: %s (--unsafe-exec runs it unlocked)",
                      missing);
}

static void describe_work_folder(struct box_plan *plan) {
    const struct box_limits *const limits = &plan->job->limits;
    const uint64_t n_inodes = limits->disk_bytes / 4096;
    snprintf(plan->tmpfs, sizeof plan->tmpfs,
             "size=%" PRIu64 ",nr_inodes=%" PRIu64 ",mode=755,uid=%u,gid=%u", limits->disk_bytes,
             n_inodes < 1024 ? 1024 : n_inodes > 65536 ? 65536 : n_inodes, plan->uid, plan->gid);
    snprintf(plan->passwd, sizeof plan->passwd, "box:x:%u:%u:box:/box/work:/bin/sh\n", plan->uid,
             plan->gid);
    snprintf(plan->group, sizeof plan->group, "box:x:%u:\n", plan->gid);
}

static enum octet_status make_plan(struct box_plan *plan, struct box *box, struct octet_err *err) {
    plan->layers = box->layers;
    plan->landlock_abi = box_probe()->landlock_abi;
    plan->filter = plan->layers & BOX_SECCOMP ? box_seccomp_filter() : NULL;
    box_pick_ids(plan);
    // The keeper counts, too. Without a user of its own, everything else of the user does, and more
    // of that will come: then this stops a flood, and the supervisor counts.
    plan->n_tasks = box->limits.n_processes + 1;
    if (!(plan->layers & BOX_USER_NS) && !plan->drop) {
        plan->n_tasks += box_count_tasks_of(plan->host_uid) + SPARE_TASKS;
    }
    if (plan->layers & BOX_MOUNT_NS) {
        plan->work = mem_strdup("/box/work", strlen("/box/work"));
    } else {
        box->work_fd = box_temp_make(&box->temp_path, plan->host_uid, plan->host_gid);
        if (box->work_fd < 0) {
            return octet_fail(err, errno == ENOMEM ? OCTET_EMEM : OCTET_EIO,
                              "making a work folder: %s", strerror(errno));
        }
        plan->work = mem_strdup(box->temp_path, strlen(box->temp_path));
    }
    if (plan->work == NULL) return octet_fail_memory(err, "a path", 0);
    describe_work_folder(plan);
    return box_plan_tools(plan, err);
}

/* ---- The box itself -------------------------------------------------------------------------- */

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void box_free(struct box *box) {
    if (box->temp_path != NULL) box_temp_remove(box->work_fd, box->temp_path);
    int *const fds[] = {&box->pidfd,    &box->control, &box->work_fd,
                        &box->input_fd, &box->out.fd,  &box->err.fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) close_fd(fds[i]);
    box_cgroup_remove(&box->cgroup);
    for (size_t i = 0; box->keep != NULL && box->keep[i] != NULL; i++) mem_free(box->keep[i]);
    mem_free(box->keep);
    mem_free(box->temp_path);
    mem_free(box->input);
    mem_free(box->out.bytes);
    mem_free(box->err.bytes);
    mem_free(box);
}

static struct box *box_new(const struct box_job *job) {
    struct box *const box = mem_alloc(sizeof *box);
    if (box == NULL) return NULL;
    box->pidfd = box->control = box->work_fd = box->input_fd = box->out.fd = box->err.fd = -1;
    box->cgroup.fd = -1;
    box->layers = box_probe()->have;
    box->limits = job->limits;
    box->cancel = job->cancel;
    size_t n_keep = 0;
    while (job->keep != NULL && job->keep[n_keep] != NULL) n_keep++;
    box->keep = mem_array(n_keep + 1, sizeof *box->keep);
    bool done = box->keep != NULL;
    for (size_t i = 0; i < n_keep && done; i++) {
        box->keep[i] = mem_strdup(job->keep[i], strlen(job->keep[i]));
        done = box->keep[i] != NULL;
    }
    if (done && job->stdin_fd < 0 && job->stdin_bytes != NULL && job->n_stdin > 0) {
        box->input = mem_strdup(job->stdin_bytes, job->n_stdin);
        box->n_input = job->n_stdin;
        done = box->input != NULL;
    }
    if (done) return box;
    box_free(box);
    return NULL;
}

/* The child's ends of everything, of which OWNED have to be closed here afterwards. */
struct ends {
    struct box_fds fds;
    int owned[4];
    size_t n_owned;
};

/* OURS is the end that stays here, and does not block. */
static int new_pipe(struct ends *ends, int *ours, bool read_here) {
    int both[2];
    if (pipe2(both, O_CLOEXEC) != 0) return -1;
    *ours = both[read_here ? 0 : 1];
    const int theirs = both[read_here ? 1 : 0];
    ends->owned[ends->n_owned++] = theirs;
    return fcntl(*ours, F_SETFL, O_NONBLOCK) == 0 ? theirs : -1;
}

static bool open_ends(struct box *box, const struct box_job *job, struct ends *ends) {
    ends->fds.extra = job->extra_fd;
    ends->fds.in = job->stdin_fd;
    if (job->stdin_fd < 0 && box->n_input > 0) {
        ends->fds.in = new_pipe(ends, &box->input_fd, false);
    } else if (job->stdin_fd < 0) {
        ends->fds.in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (ends->fds.in >= 0) ends->owned[ends->n_owned++] = ends->fds.in;
    }
    ends->fds.out = job->stdout_fd < 0 ? new_pipe(ends, &box->out.fd, true) : job->stdout_fd;
    ends->fds.err = new_pipe(ends, &box->err.fd, true);
    int control[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) return false;
    box->control = control[0];
    ends->fds.control = ends->owned[ends->n_owned++] = control[1];
    return ends->fds.in >= 0 && ends->fds.out >= 0 && ends->fds.err >= 0;
}

static bool launch(struct box *box, const struct box_plan *plan, const struct ends *ends) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    box->keeper = box_clone(box->layers, &box->pidfd);
    const int reason = errno;
    if (box->keeper == 0) box_child(plan, &ends->fds);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return box->keeper > 0;
}

/* Receives READY with the work folder, or FAILED. */
static enum octet_status receive_ready(struct box *box, struct octet_err *err) {
    struct box_message message = {.kind = BOX_GO};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&message, sizeof message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control};
    struct pollfd waiting = {box->control, POLLIN, 0};
    if (poll(&waiting, 1, BUILD_MS) <= 0 ||
        recvmsg(box->control, &header, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof message) {
        return octet_fail(err, OCTET_EIO, "building a box failed: it ended early");
    }
    if (message.kind == BOX_FAILED) {
        return octet_fail(err, OCTET_EIO, "building a box failed: %s: %s", message.step,
                          strerror(message.error));
    }
    const struct cmsghdr *const passed = CMSG_FIRSTHDR(&header);
    int work_fd = -1;
    if (passed != NULL) memcpy(&work_fd, CMSG_DATA(passed), sizeof work_fd);
    if (box->work_fd < 0) {
        box->work_fd = work_fd;
    } else {
        close_fd(&work_fd);
    }
    box->own_cpu_s = message.own_cpu_s;
    box->started = box_now();
    return OCTET_OK;
}

/* From the clone to a box that is being built: what only the supervisor may do to it. */
static enum octet_status set_going(struct box *box, const struct box_plan *plan,
                                   struct octet_err *err) {
    const struct box_message go = {.kind = BOX_GO};
    if ((box->layers & BOX_USER_NS) && !box_write_maps(box->keeper, plan)) {
        return octet_fail(err, OCTET_EIO, "building a box failed: naming its user: %s",
                          strerror(errno));
    }
    if ((box->layers & BOX_CGROUP) && !box_cgroup_add(&box->cgroup, box->keeper)) {
        return octet_fail(err, OCTET_EIO, "building a box failed: joining its control group: %s",
                          strerror(errno));
    }
    if (send(box->control, &go, sizeof go, MSG_NOSIGNAL) != (ssize_t)sizeof go) {
        return octet_fail(err, OCTET_EIO, "building a box failed: %s", strerror(errno));
    }
    return receive_ready(box, err);
}

static enum octet_status start_watching(struct box *box, struct octet_err *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the caller's threads' business
    const int failed = pthread_create(&box->thread, NULL, box_watch, box);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0) return OCTET_OK;
    return octet_fail(err, OCTET_EIO, "starting a thread for a box: %s", strerror(failed));
}

static enum octet_status build(struct box *box, const struct box_plan *plan,
                               struct octet_err *err) {
    struct ends ends = {.n_owned = 0};
    enum octet_status status = OCTET_OK;
    if (!open_ends(box, plan->job, &ends) || !launch(box, plan, &ends)) {
        status = octet_fail(err, OCTET_EIO, "starting a box: %s", strerror(errno));
    }
    for (size_t i = 0; i < ends.n_owned; i++) close_fd(&ends.owned[i]);
    if (status != OCTET_OK) return status;
    status = set_going(box, plan, err);
    if (status == OCTET_OK) status = start_watching(box, err);
    if (status != OCTET_OK) box_abandon(box);
    return status;
}

enum octet_status box_start(const struct box_job *asked, struct box **out, struct octet_err *err) {
    *out = NULL;
    struct box_job job = *asked;
    fill_limits(&job.limits);
    enum octet_status status = check_job(&job, err);
    if (status != OCTET_OK) return status;
    struct box *const box = box_new(&job);
    struct box_plan *const plan = mem_alloc(sizeof *plan);
    if (box == NULL || plan == NULL) {
        status = octet_fail_memory(err, "a box", sizeof *box + job.n_stdin);
    } else {
        plan->job = &job;
        // Others may have used up what was there when it was tried.
        if ((box->layers & BOX_CGROUP) && !box_cgroup_make(&box->cgroup, &job.limits)) {
            box->layers &= ~(unsigned)BOX_CGROUP;
        }
        status = make_plan(plan, box, err);
        if (status == OCTET_OK) status = build(box, plan, err);
        box_plan_free(plan);
    }
    mem_free(plan);
    if (status == OCTET_OK) {
        *out = box;
    } else if (box != NULL) {
        box_free(box);
    }
    return status;
}

/* ---- The result ------------------------------------------------------------------------------ */

static void tell_end(const struct box *box, struct box_result *result) {
    const int wait_status = box->report.wait_status;
    if (box_cgroup_out_of_memory(&box->cgroup)) {
        result->end = BOX_OUT_OF_MEMORY;
    } else if (box->killed) {
        result->end = box->reason;
    } else if (box->report.kind == BOX_ENDED && WIFEXITED(wait_status)) {
        result->end = BOX_EXITED;
        result->status = WEXITSTATUS(wait_status);
        return;
    } else {
        result->end = BOX_SIGNALLED;
        result->status = box->report.kind == BOX_ENDED ? WTERMSIG(wait_status) : SIGKILL;
        // The kernel's own limit on time; at its end it stops asking.
        const bool late = result->status == SIGKILL && box->cpu_s >= box->limits.cpu_s;
        if (result->status == SIGXCPU || late) result->end = BOX_TIME_OUT;
        return;
    }
    result->status = SIGKILL;
}

/* The kernel's largest size of a process includes the time before exec, when it was a copy of this
 * one: it tells something only where it is larger than that. */
static uint64_t peak_of(const struct box *box) {
    const uint64_t copy = (uint64_t)box->report.own_kib * 1024;
    const uint64_t peak = (uint64_t)box->report.candidate_kib * 1024;
    return peak > copy && peak > box->largest_bytes ? peak : box->largest_bytes;
}

static enum octet_status take_kept(const struct box *box, struct box_result *result,
                                   struct octet_err *err) {
    size_t n = 0;
    while (box->keep[n] != NULL) n++;
    result->kept = mem_array(n, sizeof *result->kept);
    if (result->kept == NULL) return octet_fail_memory(err, "kept files", n);
    for (size_t i = 0; i < n; i++) {
        struct box_file *const file = &result->kept[result->n_kept];
        if (box_take_file(box->work_fd, box->keep[i], box->limits.disk_bytes, file)) {
            result->n_kept++;
        }
    }
    return OCTET_OK;
}

/* Moves what a stream holds to *BYTES. */
static enum octet_status take_stream(struct box_stream *stream, char **bytes, size_t *n,
                                     struct octet_err *err) {
    if (!mem_reserve((void **)&stream->bytes, &stream->cap, stream->n + 1, 1)) {
        return octet_fail_memory(err, "the output of a box", stream->n + 1);
    }
    stream->bytes[stream->n] = '\0';
    *bytes = stream->bytes;
    *n = stream->n;
    stream->bytes = NULL;
    return OCTET_OK;
}

enum octet_status box_finish(struct box *box, struct box_result *result, struct octet_err *err) {
    *result = (struct box_result){.end = BOX_EXITED};
    pthread_join(box->thread, NULL);
    enum octet_status status = box->status;
    if (status != OCTET_OK && err != NULL) *err = box->failure;
    if (status == OCTET_OK) status = take_stream(&box->out, &result->out, &result->n_out, err);
    if (status == OCTET_OK) status = take_stream(&box->err, &result->err, &result->n_err, err);
    if (status == OCTET_OK) status = take_kept(box, result, err);
    if (status == OCTET_OK) {
        tell_end(box, result);
        result->out_total = box->out.total;
        result->err_total = box->err.total;
        result->wall_s = box->wall_s;
        result->cpu_s = box->cpu_s;
        result->peak_bytes = peak_of(box);
        result->layers = box->layers;
    } else {
        box_result_free(result);
    }
    box_free(box);
    return status;
}

enum octet_status box_run(const struct box_job *job, struct box_result *result,
                          struct octet_err *err) {
    *result = (struct box_result){.end = BOX_EXITED};
    struct box *box;
    const enum octet_status status = box_start(job, &box, err);
    return status == OCTET_OK ? box_finish(box, result, err) : status;
}

void box_result_free(struct box_result *result) {
    for (size_t i = 0; i < result->n_kept; i++) {
        mem_free((void *)(uintptr_t)result->kept[i].path);
        mem_free((void *)(uintptr_t)result->kept[i].bytes);
    }
    mem_free(result->kept);
    mem_free(result->out);
    mem_free(result->err);
    *result = (struct box_result){.end = BOX_EXITED};
}
