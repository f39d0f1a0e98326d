/* What runs in the clone: the keeper builds the box, gives its powers away, starts the candidate,
 * reaps, and tells the supervisor how the candidate ended; the candidate locks itself in and
 * becomes the program. Copies of a process with threads: no allocation, no stdio, no locks here. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare/box_impl.h"

enum { EXTRA_FD = 3, CONTROL_FD = 4, FIRST_FREE_FD = 5 };
enum { STACK_BYTES = 64 << 20, LOCKED_BYTES = 64 << 10, MAX_FILES = 512, MAX_SIGNALS = 1024 };

static double seconds(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

/* ---- Talking to the supervisor --------------------------------------------------------------- */

static void tell_failed(const char *step) {
    struct box_message message = {.kind = BOX_FAILED, .error = errno};
    strncpy(message.step, step, sizeof message.step - 1);
    send(CONTROL_FD, &message, sizeof message, MSG_NOSIGNAL);
}

static _Noreturn void fail(const char *step) {
    tell_failed(step);
    _exit(1);
}

static void tell_ready(int work_fd) {
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    struct box_message message = {.kind = BOX_READY,
                                  .own_cpu_s = seconds(own.ru_utime) + seconds(own.ru_stime)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {&message, sizeof message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control};
    struct cmsghdr *const passed = CMSG_FIRSTHDR(&header);
    passed->cmsg_level = SOL_SOCKET;
    passed->cmsg_type = SCM_RIGHTS;
    passed->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(passed), &work_fd, sizeof work_fd);
    if (sendmsg(CONTROL_FD, &header, MSG_NOSIGNAL) < 0) _exit(1);
}

static void wait_for_go(void) {
    struct box_message message;
    ssize_t n;
    do {
        n = recv(CONTROL_FD, &message, sizeof message, 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof message || message.kind != BOX_GO) _exit(1);
}

/* ---- Taking leave ---------------------------------------------------------------------------- */

/* Numbers 0 to 4 as promised, everything else of the supervisor closed. */
static void arrange_descriptors(const struct box_fds *fds) {
    const int from[] = {fds->in, fds->out, fds->err, fds->extra, fds->control};
    int high[FIRST_FREE_FD];
    for (int i = 0; i < FIRST_FREE_FD; i++) {
        high[i] = from[i] < 0 ? -1 : fcntl(from[i], F_DUPFD, 64);
    }
    for (int i = 0; i < FIRST_FREE_FD; i++) {
        if (high[i] < 0) {
            close(i);
        } else if (dup2(high[i], i) < 0) {
            _exit(1);
        }
    }
    if (syscall(SYS_close_range, FIRST_FREE_FD, ~0U, 0) != 0) _exit(1);
    fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
}

static void forget_signal_handlers(void) {
    for (int signal = 1; signal < NSIG; signal++) {
        if (signal != SIGKILL && signal != SIGSTOP) {
            sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        }
    }
}

/* By plain system calls: the C library would tell threads that only the supervisor has. */
static bool drop_powers(const struct box_plan *plan) {
    if (plan->drop && (syscall(SYS_setgroups, 0, NULL) != 0 ||
                       syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) != 0)) {
        return false;
    }
    for (int capability = 0; capability < 64; capability++) {
        prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); // EPERM where there is nothing to drop
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (plan->drop && syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) != 0) return false;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    const struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    return syscall(SYS_capset, &header, none) == 0 &&
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* ---- The candidate --------------------------------------------------------------------------- */

static bool limit(int what, uint64_t soft, uint64_t hard) {
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) != 0) return false;
    if (hard > now.rlim_max) hard = now.rlim_max;
    const struct rlimit wanted = {soft < hard ? soft : hard, hard};
    return setrlimit((__rlimit_resource_t)what, &wanted) == 0;
}

/* Only backstops for memory, which the supervisor measures over all processes: RLIMIT_DATA, because
 * RLIMIT_AS stops run-time systems that reserve addresses they never use. */
static bool set_limits(const struct box_plan *plan) {
    const struct box_limits *const limits = &plan->job->limits;
    const uint64_t cpu_s = (uint64_t)limits->cpu_s + 1;
    return limit(RLIMIT_CPU, cpu_s, cpu_s + 1) &&
           limit(RLIMIT_DATA, 2 * limits->memory_bytes, 2 * limits->memory_bytes) &&
           limit(RLIMIT_STACK, STACK_BYTES / 8, STACK_BYTES) && limit(RLIMIT_CORE, 0, 0) &&
           limit(RLIMIT_FSIZE, limits->disk_bytes, limits->disk_bytes) &&
           limit(RLIMIT_NOFILE, MAX_FILES, MAX_FILES) &&
           limit(RLIMIT_MEMLOCK, LOCKED_BYTES, LOCKED_BYTES) && limit(RLIMIT_MSGQUEUE, 0, 0) &&
           limit(RLIMIT_SIGPENDING, MAX_SIGNALS, MAX_SIGNALS) &&
           limit(RLIMIT_NPROC, plan->n_tasks, plan->n_tasks);
}

/* What has to be filtered because other walls are missing or older. */
static unsigned confinement(const struct box_plan *plan) {
    const int landlock = plan->layers & BOX_LANDLOCK ? plan->landlock_abi : 0;
    unsigned to = 0;
    if (!(plan->layers & BOX_PID_NS) && landlock < 6) to |= BOX_OWN_PROCESS;
    if (!(plan->layers & BOX_MOUNT_NS) && landlock < 3) to |= BOX_OWN_SIZES;
    // Landlock knows no rights for these; where the user owns nothing outside, it need not.
    if (!(plan->layers & BOX_MOUNT_NS) && !plan->drop) to |= BOX_OWN_ATTRIBUTES;
    return to;
}

/* NULL or what failed. */
static const char *lock_in(const struct box_plan *plan) {
    if (setsid() < 0) return "starting a session";
    if ((plan->layers & BOX_RLIMITS) && !set_limits(plan)) return "setting limits";
    if (plan->layers & BOX_LANDLOCK) {
        const char *const failed = box_landlock(plan);
        if (failed != NULL) return failed;
    }
    if ((plan->layers & BOX_SECCOMP) && (box_seccomp_confine(confinement(plan)) != 0 ||
                                         box_seccomp_load(plan->filter) != 0)) {
        return "filtering calls";
    }
    return NULL;
}

/* Returns the exit status of a program that could not be started. */
static int candidate(void *argument) {
    const struct box_plan *const plan = argument;
    const char *const failed = lock_in(plan);
    if (failed != NULL) {
        tell_failed(failed);
        return 1;
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(plan->program, (char *const *)(uintptr_t)plan->job->argv, plan->environ);
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    static const char not_found[] = "octet box: no such program\n";
    static const char not_run[] = "octet box: this is no program that can be run\n";
    const ssize_t told = missing ? write(STDERR_FILENO, not_found, sizeof not_found - 1)
                                 : write(STDERR_FILENO, not_run, sizeof not_run - 1);
    return told < 0 || missing ? 127 : 126;
}

/* In the keeper's memory until exec, while the keeper waits: a second copy of the supervisor would
 * cost as much time as the first. */
static pid_t start_candidate(const struct box_plan *plan) {
    static _Alignas(16) char stack[256 << 10]; // the keeper's own: every keeper is a copy
    return clone(candidate, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD,
                 (void *)(uintptr_t)plan);
}

/* ---- The keeper ------------------------------------------------------------------------------ */

static void tell_ended(int wait_status, const struct rusage *usage) {
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    const struct box_message message = {.kind = BOX_ENDED,
                                        .wait_status = wait_status,
                                        .own_kib = own.ru_maxrss,
                                        .candidate_kib = usage->ru_maxrss};
    send(CONTROL_FD, &message, sizeof message, MSG_NOSIGNAL);
}

/* Until the candidate ended, where the end of process 1 ends everybody; else until all did. */
static void reap(pid_t first, bool alone) {
    for (;;) {
        int wait_status;
        struct rusage usage;
        const pid_t pid = wait4(-1, &wait_status, WNOHANG | __WALL, &usage);
        if (pid == 0) return;
        if (pid < 0) _exit(0);
        if (pid != first) continue;
        tell_ended(wait_status, &usage);
        if (alone) _exit(0);
    }
}

static _Noreturn void keep(const struct box_plan *plan, pid_t first, int signals) {
    const bool alone = (plan->layers & BOX_PID_NS) != 0;
    struct pollfd waiting[] = {{CONTROL_FD, POLLIN, 0}, {signals, POLLIN, 0}};
    for (;;) {
        reap(first, alone);
        poll(waiting, 2, -1);
        // Nothing is ever sent: the supervisor is gone, and nobody would come to kill the box.
        if (waiting[0].revents != 0) {
            if (!alone) box_tree_kill(getpid());
            _exit(1);
        }
        struct signalfd_siginfo seen;
        if (read(signals, &seen, sizeof seen) < 0 && errno != EINTR) _exit(1);
    }
}

/* The work folder, open, with the job's files in it and the current folder. */
static int enter_work_folder(const struct box_plan *plan) {
    const int fd = open(plan->work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || chdir(plan->work) != 0) fail("entering the work folder");
    const char *const failed = box_put_files(fd, plan->job);
    if (failed != NULL) fail(failed);
    return fd;
}

_Noreturn void box_child(const struct box_plan *plan, const struct box_fds *fds) {
    arrange_descriptors(fds);
    forget_signal_handlers();
    umask(022);
    wait_for_go();
    if (plan->layers & BOX_MOUNT_NS) {
        const char *const failed = box_build_root(plan);
        if (failed != NULL) fail(failed);
    }
    if (!drop_powers(plan)) fail("dropping privileges");
    const int work_fd = enter_work_folder(plan);
    // What the supervisor had in memory is in here, too.
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!(plan->layers & BOX_PID_NS) && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        fail("adopting orphans");
    }
    tell_ready(work_fd);
    close(work_fd);
    const pid_t pid = start_candidate(plan);
    if (pid < 0) fail("starting the program");
    for (int fd = 0; fd <= EXTRA_FD; fd++) close(fd);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    const int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) _exit(1);
    keep(plan, pid, signals);
}
