// What a program has no business asking the kernel for. Each answer but a refusal is a breach.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void refused(const char *what, long answer) {
    if (answer >= 0) printf("BREACH %s\n", what);
    fflush(stdout);
}

/* Calls by other tables than the machine's own; the kernel may kill for them. */
static void foreign_calls(void) {
#ifdef __x86_64__
    for (int table = 0; table < 2; table++) {
        const pid_t pid = fork();
        if (pid == 0) {
            long answer = 20; // getpid of the 32-bit table
            if (table == 0) {
                __asm__ volatile("int $0x80" : "+a"(answer) : : "memory");
            } else {
                answer = syscall(0x40000000 | SYS_getpid);
            }
            _exit(answer > 0 ? 0 : 1);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) printf("BREACH table %d\n", table);
    }
#endif
}

int main(void) {
    static char buffer[4096];
    setvbuf(stdout, NULL, _IOLBF, 0);
    refused("ptrace parent", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
    refused("ptrace me", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    refused("process_vm_readv", syscall(SYS_process_vm_readv, getppid(), buffer, 1, buffer, 1, 0));
    refused("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    refused("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
    refused("request_key", syscall(SYS_request_key, "user", "x", NULL, 0));
    refused("io_uring_setup", syscall(425, 8, buffer));
    refused("bpf", syscall(SYS_bpf, 0, buffer, 64));
    refused("perf_event_open", syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0));
    refused("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
    refused("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, O_RDONLY));
    refused("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/", buffer, buffer, 0));
    refused("unshare user", unshare(CLONE_NEWUSER));
    refused("unshare mount", unshare(CLONE_NEWNS));
    refused("setns", setns(open("/proc/self/ns/user", O_RDONLY), 0));
    const long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    refused("clone user namespace", child);
    refused("clone3", syscall(435, buffer, 64));
    refused("mount", syscall(SYS_mount, "none", ".", "tmpfs", 0, ""));
    refused("umount", syscall(SYS_umount2, "/proc", 2));
    refused("pivot_root", syscall(SYS_pivot_root, ".", "."));
    refused("chroot", chroot("."));
    refused("fsopen", syscall(430, "tmpfs", 0));
    refused("open_tree", syscall(428, AT_FDCWD, "/", 1));
    refused("mount_setattr", syscall(442, AT_FDCWD, "/", 0, buffer, 32));
    refused("memfd_create", syscall(SYS_memfd_create, "x", 0));
    refused("personality", syscall(SYS_personality, 0x0040000));
    refused("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
    refused("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    refused("init_module", syscall(SYS_init_module, buffer, 1, ""));
    refused("swapon", syscall(SYS_swapon, "x", 0));
    refused("sethostname", sethostname("x", 1));
    refused("settimeofday", syscall(SYS_settimeofday, buffer, NULL));
    refused("syslog", syscall(SYS_syslog, 3, buffer, sizeof buffer));
    refused("acct", syscall(SYS_acct, "x"));
    refused("quotactl", syscall(SYS_quotactl, 0, "", 0, buffer));
    refused("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
    refused("pidfd_getfd", syscall(438, 0, 0, 0));
    refused("kcmp", syscall(SYS_kcmp, getpid(), getppid(), 0, 0, 0));
    refused("mq_open", syscall(SYS_mq_open, "/x", O_CREAT, 0600, NULL));
    refused("msgget", syscall(SYS_msgget, 0, 01666));
    refused("semget", syscall(SYS_semget, 0, 1, 01666));
    refused("seccomp off", prctl(PR_SET_SECCOMP, 0));
    refused("dumpable", prctl(PR_SET_DUMPABLE, 1));
    refused("TIOCSTI", ioctl(0, TIOCSTI, "x"));
    refused("TIOCSTI with a high half", syscall(SYS_ioctl, 0, 0x100000000ul | TIOCSTI, "x"));
    refused("TIOCLINUX", ioctl(0, 0x541c, "x"));
    refused("TIOCSCTTY", ioctl(0, TIOCSCTTY, 1));
    refused("controlling terminal", open("/dev/tty", O_RDWR));
    refused("setuid 0", setuid(0));
    refused("mknod", syscall(SYS_mknodat, AT_FDCWD, "node", 0060600, 0x0800));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{0, 0, 0}, {0, 0, 0}};
    syscall(SYS_capget, &header, sets);
    if ((sets[0].permitted | sets[1].permitted) != 0) puts("BREACH capabilities");
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) puts("BREACH new privileges");
    foreign_calls();
    puts("tried");
    return 0;
}
