/* Landlock: the candidate gives up every path that is not in the plan, TCP, and signals and
 * abstract sockets across its border. With namespaces it is the second wall, without them the
 * first. The numbers are the kernel's interface, written out because the headers of supported
 * systems know only part of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compare/box_impl.h"

enum {
    CREATE_RULESET_VERSION = 1,
    RULE_PATH_BENEATH = 1,
};

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REFER = 1 << 13,     // ABI 2
    FS_TRUNCATE = 1 << 14,  // ABI 3
    FS_IOCTL_DEV = 1 << 15, // ABI 5
    FS_ABI_1 = (1 << 13) - 1,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
    READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
    USE_DEVICE = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE,
    NET_TCP = 3,          // bind and connect, ABI 4
    SCOPE_EVERYTHING = 3, // abstract sockets and signals, ABI 6
};

struct ruleset {
    uint64_t fs, net, scoped;
};

struct path_beneath {
    uint64_t access;
    int32_t parent_fd;
} __attribute__((packed));

int box_landlock_abi(void) {
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

static uint64_t handled_access(int abi) {
    uint64_t access = FS_ABI_1;
    if (abi >= 2) access |= FS_REFER;
    if (abi >= 3) access |= FS_TRUNCATE;
    if (abi >= 5) access |= FS_IOCTL_DEV;
    return access;
}

/* A path that is not there needs no rule. */
static bool allow(int ruleset, const char *path, uint64_t access, bool directory) {
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT || errno == EACCES;
    const struct path_beneath rule = {directory ? access : access & FS_OF_FILES, fd};
    const long done = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    close(fd);
    return done == 0;
}

/* The new root holds nothing but what the plan put there. */
static bool allow_new_root(int ruleset, const struct box_plan *plan, uint64_t handled) {
    return allow(ruleset, "/", READ & handled, true) &&
           allow(ruleset, "/dev", USE_DEVICE & handled, true) &&
           allow(ruleset, "/box", handled & ~(uint64_t)FS_IOCTL_DEV, true) &&
           allow(ruleset, plan->work, handled & ~(uint64_t)FS_IOCTL_DEV, true);
}

static bool allow_of_host(int ruleset, const struct box_plan *plan, uint64_t handled) {
    static const char *const facts[] = {"/proc/meminfo", "/proc/cpuinfo", "/proc/stat",
                                        "/proc/version"};
    for (size_t i = 0; i < plan->n_views; i++) {
        const struct box_view *const view = &plan->views[i];
        const uint64_t access = view->device ? USE_DEVICE : READ;
        if (view->link == NULL && !allow(ruleset, view->path, access & handled, view->directory)) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (!allow(ruleset, facts[i], FS_READ_FILE, false)) return false;
    }
    return allow(ruleset, "/proc/self", READ & handled, true) &&
           allow(ruleset, plan->work, handled & ~(uint64_t)FS_IOCTL_DEV, true);
}

const char *box_landlock(const struct box_plan *plan) {
    const int abi = plan->landlock_abi;
    const struct ruleset attributes = {
        .fs = handled_access(abi),
        .net = abi >= 4 ? NET_TCP : 0,
        .scoped = abi >= 6 ? SCOPE_EVERYTHING : 0,
    };
    const size_t n_bytes = abi >= 6   ? sizeof attributes
                           : abi >= 4 ? offsetof(struct ruleset, scoped)
                                      : offsetof(struct ruleset, net);
    const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, n_bytes, 0);
    if (ruleset < 0) return "making Landlock rules";
    const bool allowed = plan->layers & BOX_MOUNT_NS
                             ? allow_new_root(ruleset, plan, attributes.fs)
                             : allow_of_host(ruleset, plan, attributes.fs);
    const bool done = allowed && syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    const int reason = errno;
    close(ruleset);
    errno = reason;
    return done ? NULL : "restricting by Landlock";
}
