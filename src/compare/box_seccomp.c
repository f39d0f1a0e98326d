/* The system calls a program may make inside: what interpreters, compilers and plain programs need.
 * Everything else answers ENOSYS, at which run-time systems fall back to older ways; a call by
 * another architecture's table kills. No sockets but socket pairs, no namespaces, no tracing, no
 * keys, no io_uring, no memory that belongs to no process (memfd, System V): limits could not see
 * it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "compare/box_impl.h"

#define NAMESPACE_FLAGS                                                                            \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

static const int allowed[] = {
    // files
    SCMP_SYS(access), SCMP_SYS(chdir), SCMP_SYS(chmod), SCMP_SYS(chown), SCMP_SYS(close),
    SCMP_SYS(close_range), SCMP_SYS(copy_file_range), SCMP_SYS(creat), SCMP_SYS(dup),
    SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(fadvise64),
    SCMP_SYS(fallocate), SCMP_SYS(fchdir), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(fchown),
    SCMP_SYS(fchownat), SCMP_SYS(fcntl), SCMP_SYS(fdatasync), SCMP_SYS(fgetxattr),
    SCMP_SYS(flistxattr), SCMP_SYS(flock), SCMP_SYS(fremovexattr), SCMP_SYS(fsetxattr),
    SCMP_SYS(fstat), SCMP_SYS(fstatfs), SCMP_SYS(fsync), SCMP_SYS(ftruncate), SCMP_SYS(futimesat),
    SCMP_SYS(getcwd), SCMP_SYS(getdents), SCMP_SYS(getdents64), SCMP_SYS(getxattr),
    SCMP_SYS(lchown), SCMP_SYS(lgetxattr), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(listxattr),
    SCMP_SYS(llistxattr), SCMP_SYS(lremovexattr), SCMP_SYS(lseek), SCMP_SYS(lsetxattr),
    SCMP_SYS(lstat), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(newfstatat), SCMP_SYS(pipe),
    SCMP_SYS(pipe2), SCMP_SYS(pread64),
    SCMP_SYS(preadv), SCMP_SYS(preadv2), SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(pwritev2),
    SCMP_SYS(read), SCMP_SYS(readahead), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(readv),
    SCMP_SYS(removexattr), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2),
    SCMP_SYS(rmdir), SCMP_SYS(sendfile), SCMP_SYS(setxattr), SCMP_SYS(splice), SCMP_SYS(stat),
    SCMP_SYS(statfs), SCMP_SYS(statx), SCMP_SYS(symlink), SCMP_SYS(symlinkat), SCMP_SYS(sync),
    SCMP_SYS(sync_file_range), SCMP_SYS(syncfs), SCMP_SYS(tee), SCMP_SYS(truncate),
    SCMP_SYS(umask), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(utime), SCMP_SYS(utimensat),
    SCMP_SYS(utimes), SCMP_SYS(vmsplice), SCMP_SYS(write), SCMP_SYS(writev),
    // waiting
    SCMP_SYS(clock_nanosleep), SCMP_SYS(epoll_create), SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_wait), SCMP_SYS(eventfd),
    SCMP_SYS(eventfd2), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_init),
    SCMP_SYS(inotify_init1), SCMP_SYS(inotify_rm_watch), SCMP_SYS(nanosleep), SCMP_SYS(pause),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(pselect6), SCMP_SYS(select), SCMP_SYS(signalfd),
    SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_gettime),
    SCMP_SYS(timerfd_settime),
    // memory
    SCMP_SYS(brk), SCMP_SYS(get_mempolicy), SCMP_SYS(madvise), SCMP_SYS(mbind),
    SCMP_SYS(membarrier), SCMP_SYS(mincore), SCMP_SYS(mlock), SCMP_SYS(mlock2),
    SCMP_SYS(mlockall), SCMP_SYS(mmap),
    SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(msync), SCMP_SYS(munlock), SCMP_SYS(munlockall),
    SCMP_SYS(munmap), SCMP_SYS(pkey_alloc), SCMP_SYS(pkey_free), SCMP_SYS(pkey_mprotect),
    SCMP_SYS(set_mempolicy),
    // processes and threads
    SCMP_SYS(arch_prctl), SCMP_SYS(capget), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(exit),
    SCMP_SYS(exit_group), SCMP_SYS(fork), SCMP_SYS(futex), SCMP_SYS(get_robust_list),
    SCMP_SYS(getcpu), SCMP_SYS(getegid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getgroups),
    SCMP_SYS(getpgid), SCMP_SYS(getpgrp), SCMP_SYS(getpid), SCMP_SYS(getppid),
    SCMP_SYS(getpriority), SCMP_SYS(getresgid), SCMP_SYS(getresuid), SCMP_SYS(getrlimit),
    SCMP_SYS(getrusage), SCMP_SYS(getsid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(kill),
    SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_send_signal), SCMP_SYS(prlimit64),
    SCMP_SYS(restart_syscall), SCMP_SYS(rseq), SCMP_SYS(sched_get_priority_max),
    SCMP_SYS(sched_get_priority_min), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getattr),
    SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(sched_rr_get_interval),
    SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_setattr), SCMP_SYS(sched_setparam),
    SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_yield),
    SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(set_thread_area),
    SCMP_SYS(setfsgid), SCMP_SYS(setfsuid), SCMP_SYS(setgid), SCMP_SYS(setgroups),
    SCMP_SYS(setpgid), SCMP_SYS(setpriority), SCMP_SYS(setregid), SCMP_SYS(setresgid),
    SCMP_SYS(setresuid), SCMP_SYS(setreuid), SCMP_SYS(setrlimit), SCMP_SYS(setsid),
    SCMP_SYS(setuid), SCMP_SYS(tgkill), SCMP_SYS(tkill), SCMP_SYS(vfork), SCMP_SYS(wait4),
    SCMP_SYS(waitid), SCMP_SYS(waitpid),
    // signals, time, the rest
    SCMP_SYS(alarm), SCMP_SYS(clock_getres), SCMP_SYS(clock_gettime), SCMP_SYS(getitimer),
    SCMP_SYS(getrandom), SCMP_SYS(gettimeofday), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigsuspend), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(rt_tgsigqueueinfo),
    SCMP_SYS(setitimer), SCMP_SYS(sigaltstack), SCMP_SYS(sysinfo), SCMP_SYS(time),
    SCMP_SYS(timer_create), SCMP_SYS(timer_delete), SCMP_SYS(timer_getoverrun),
    SCMP_SYS(timer_gettime), SCMP_SYS(timer_settime), SCMP_SYS(times), SCMP_SYS(uname),
    // what works on the sockets of a pair
    SCMP_SYS(getpeername), SCMP_SYS(getsockname), SCMP_SYS(getsockopt), SCMP_SYS(recvfrom),
    SCMP_SYS(recvmmsg), SCMP_SYS(recvmsg), SCMP_SYS(sendmmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
    SCMP_SYS(setsockopt), SCMP_SYS(shutdown),
};

/* Calls that are allowed where the bits MASK of an argument are VALUE. */
struct choice {
    int call;
    unsigned argument;
    uint32_t mask, value;
};

// The kernel ignores the upper half of these arguments, so the filter must, too.
#define WHOLE 0xffffffff
// Not to truncate what is opened only for reading: before its third version Landlock lets it pass.
#define OPEN_RULES(call, argument)                                                                 \
    {call, argument, O_TRUNC, 0}, {call, argument, O_TRUNC | O_ACCMODE, O_TRUNC | O_WRONLY},       \
        {call, argument, O_TRUNC | O_ACCMODE, O_TRUNC | O_RDWR}

static const struct choice choices[] = {
    {SCMP_SYS(socketpair), 0, WHOLE, AF_UNIX},
    {SCMP_SYS(personality), 0, WHOLE, PER_LINUX},
    {SCMP_SYS(personality), 0, WHOLE, 0xffffffff},
    {SCMP_SYS(ioctl), 1, WHOLE, TCGETS},
    {SCMP_SYS(ioctl), 1, WHOLE, TIOCGWINSZ},
    {SCMP_SYS(ioctl), 1, WHOLE, TIOCGPGRP},
    {SCMP_SYS(ioctl), 1, WHOLE, FIONREAD},
    {SCMP_SYS(ioctl), 1, WHOLE, FIONBIO},
    {SCMP_SYS(ioctl), 1, WHOLE, FIOCLEX},
    {SCMP_SYS(ioctl), 1, WHOLE, FIONCLEX},
    {SCMP_SYS(prctl), 0, WHOLE, PR_SET_NAME},
    {SCMP_SYS(prctl), 0, WHOLE, PR_GET_NAME},
    {SCMP_SYS(prctl), 0, WHOLE, PR_SET_PDEATHSIG},
    {SCMP_SYS(prctl), 0, WHOLE, PR_GET_PDEATHSIG},
    {SCMP_SYS(prctl), 0, WHOLE, PR_GET_DUMPABLE},
    {SCMP_SYS(prctl), 0, WHOLE, PR_GET_SECCOMP},
    {SCMP_SYS(prctl), 0, WHOLE, PR_GET_NO_NEW_PRIVS},
    {SCMP_SYS(prctl), 0, WHOLE, PR_SET_NO_NEW_PRIVS},
    {SCMP_SYS(prctl), 0, WHOLE, PR_CAPBSET_READ},
    {SCMP_SYS(prctl), 0, WHOLE, PR_SET_TIMERSLACK},
    {SCMP_SYS(prctl), 0, WHOLE, PR_SET_THP_DISABLE},
    {SCMP_SYS(prctl), 0, WHOLE, PR_SET_VMA},
    {SCMP_SYS(mknod), 1, S_IFMT, S_IFIFO},
    {SCMP_SYS(mknodat), 2, S_IFMT, S_IFIFO},
    {SCMP_SYS(clone), 0, NAMESPACE_FLAGS, 0},
    OPEN_RULES(SCMP_SYS(open), 1),
    OPEN_RULES(SCMP_SYS(openat), 2),
};

static bool add_rules(scmp_filter_ctx filter) {
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        // Calls this architecture does not have are skipped.
        if (allowed[i] >= 0 && seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0) != 0) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        if (choices[i].call < 0) continue;
        const struct scmp_arg_cmp is = SCMP_CMP(choices[i].argument, SCMP_CMP_MASKED_EQ,
                                                choices[i].mask, choices[i].value);
        if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, choices[i].call, 1, is) != 0) return false;
    }
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 0) == 0 &&
           seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ptrace), 0) == 0 &&
           seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 0) == 0;
}

/* The library can only print a filter to a file. */
static bool export(scmp_filter_ctx filter, struct sock_fprog *program) {
    const int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0) return false;
    struct stat stat;
    bool done = seccomp_export_bpf(filter, fd) == 0 && fstat(fd, &stat) == 0;
    if (done) {
        const size_t n_bytes = (size_t)stat.st_size;
        program->len = (unsigned short)(n_bytes / sizeof *program->filter);
        program->filter = mem_alloc(n_bytes);
        done = program->filter != NULL &&
               pread(fd, program->filter, n_bytes, 0) == (ssize_t)n_bytes;
    }
    close(fd);
    return done;
}

static struct sock_fprog program;
static bool made;

static void make_filter(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (filter == NULL) return;
    // A tree instead of a list: the filter runs at every call.
    made = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0 &&
           seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0 && add_rules(filter) &&
           export(filter, &program);
    seccomp_release(filter);
}

const struct sock_fprog *box_seccomp_filter(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_filter);
    return made ? &program : NULL;
}

int box_seccomp_load(const struct sock_fprog *filter) {
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter);
}

/* ---- More, where other walls are missing or older ------------------------------------------ */

/* Answers EPERM to the calls of a list; with OWN_ID they are allowed whose first argument is the
 * process itself or 0, its own group. */
static int forbid(const int *calls, size_t n_calls, bool own_id) {
    struct sock_filter code[40];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < n_calls; i++) {
        // To the instruction after the list and its "allow".
        const unsigned char to = (unsigned char)(n_calls - i);
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], to,
                                                 0);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (own_id) {
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                 offsetof(struct seccomp_data, args));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0);
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)getpid(), 1,
                                                 0);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog filter = {n, code};
    return box_seccomp_load(&filter);
}

int box_seccomp_confine(unsigned to) {
    static const int of_a_process[] = {
        SYS_kill,           SYS_tgkill,            SYS_rt_sigqueueinfo,
        SYS_prlimit64,      SYS_sched_setattr,     SYS_rt_tgsigqueueinfo,
        SYS_sched_setparam, SYS_sched_setaffinity, SYS_sched_setscheduler,
    };
    static const int of_any_process[] = {SYS_tkill, SYS_pidfd_send_signal, SYS_setpriority};
    static const int of_attributes[] = {
#ifdef SYS_chmod
        SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat,
#endif
        SYS_fchmodat, SYS_fchownat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr,
        SYS_removexattr, SYS_lremovexattr,
    };
    static const int of_sizes[] = {SYS_truncate};
    static const struct rule {
        unsigned confined_to;
        const int *calls;
        size_t n_calls;
        bool own_id;
    } rules[] = {
        {BOX_OWN_PROCESS, of_a_process, sizeof of_a_process / sizeof of_a_process[0], true},
        {BOX_OWN_PROCESS, of_any_process, sizeof of_any_process / sizeof of_any_process[0], false},
        {BOX_OWN_ATTRIBUTES, of_attributes, sizeof of_attributes / sizeof of_attributes[0], false},
        {BOX_OWN_SIZES, of_sizes, 1, false},
    };
    int done = 0;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && done == 0; i++) {
        if ((rules[i].confined_to & to) == 0) continue;
        done = forbid(rules[i].calls, rules[i].n_calls, rules[i].own_id);
    }
    return done;
}
