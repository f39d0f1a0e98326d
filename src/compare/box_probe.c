/* Which layers this machine grants, found out by trying each in a child that ends at once. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/status.h"
#include "compare/box_impl.h"

struct layer_row {
    unsigned layer;
    const char *name, *about;
};

static const struct layer_row layer_rows[] = {
    {BOX_USER_NS, "user namespace", "a user without rights on anything outside"},
    {BOX_MOUNT_NS, "mount namespace", "only the system's programs, no home, nothing to write to"},
    {BOX_PID_NS, "process namespace", "sees no process outside, and none survives the end"},
    {BOX_NET_NS, "network namespace", "no network, not even this machine's"},
    {BOX_IPC_NS, "ipc namespace", "no shared memory or queues with other programs"},
    {BOX_LANDLOCK, "Landlock", "files, TCP and signals only within the box"},
    {BOX_SECCOMP, "seccomp", "only the system calls plain programs need, no sockets"},
    {BOX_RLIMITS, "limits", "on time, processes, file sizes and memory of each process"},
    {BOX_CGROUP, "control group", "exact memory and process counts for the whole box"},
};

const char *box_layer_name(unsigned layer) {
    for (size_t i = 0; i < BOX_LAYERS; i++) {
        if (layer_rows[i].layer == layer) return layer_rows[i].name;
    }
    return NULL;
}

const char *box_layer_about(unsigned layer) {
    for (size_t i = 0; i < BOX_LAYERS; i++) {
        if (layer_rows[i].layer == layer) return layer_rows[i].about;
    }
    return NULL;
}

/* ---- Clones ---------------------------------------------------------------------------------- */

pid_t box_clone(unsigned layers, int *pidfd) {
    unsigned long flags = pidfd == NULL ? 0 : CLONE_PIDFD;
    if (layers & BOX_USER_NS) flags |= CLONE_NEWUSER;
    if (layers & BOX_MOUNT_NS) flags |= CLONE_NEWNS;
    if (layers & BOX_PID_NS) flags |= CLONE_NEWPID;
    if (layers & BOX_NET_NS) flags |= CLONE_NEWNET;
    if (layers & BOX_IPC_NS) flags |= CLONE_NEWIPC | CLONE_NEWUTS;
    return (pid_t)syscall(SYS_clone, flags, NULL, pidfd, NULL, NULL);
}

static bool put(pid_t pid, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

bool box_write_maps(pid_t pid, const struct box_plan *plan) {
    // Root keeps itself inside until the mounts are made. Others may map but themselves.
    const char *const root = plan->drop ? "0 0 1\n" : "";
    char users[64], groups[64];
    snprintf(users, sizeof users, "%s%u %u 1\n", root, plan->uid, plan->host_uid);
    snprintf(groups, sizeof groups, "%s%u %u 1\n", root, plan->gid, plan->host_gid);
    return (plan->drop || put(pid, "setgroups", "deny")) && put(pid, "gid_map", groups) &&
           put(pid, "uid_map", users);
}

static bool is_mapped(unsigned uid) {
    FILE *const file = fopen("/proc/self/uid_map", "re");
    if (file == NULL) return false;
    unsigned inside, outside, n;
    bool found = false;
    while (!found && fscanf(file, "%u %u %u", &inside, &outside, &n) == 3) {
        found = uid >= inside && uid - inside < n;
    }
    fclose(file);
    return found;
}

/* Above the ids that systemd and its containers hand out; several boxes at once differ. */
enum { UNUSED_IDS = 0x70000000, NOBODY = 65534, INSIDE_ID = 1000 };

void box_pick_ids(struct box_plan *plan) {
    static atomic_uint n_boxes;
    plan->host_uid = geteuid();
    plan->host_gid = getegid();
    plan->drop = geteuid() == 0;
    if (plan->drop) {
        const unsigned own = ((unsigned)getpid() % (1 << 20)) << 7;
        const unsigned unused = UNUSED_IDS + own + atomic_fetch_add(&n_boxes, 1) % 128;
        plan->host_uid = plan->host_gid = is_mapped(unused) ? unused : NOBODY;
    }
    const bool renamed = (plan->layers & BOX_USER_NS) != 0;
    plan->uid = renamed ? INSIDE_ID : plan->host_uid;
    plan->gid = renamed ? INSIDE_ID : plan->host_gid;
}

/* ---- Trying ---------------------------------------------------------------------------------- */

/* Runs TRY in a clone with LAYERS; 0, or the errno of what failed. */
static int attempt(unsigned layers, int (*try)(void)) {
    int control[2];
    if (pipe2(control, O_CLOEXEC) != 0) return errno;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t pid = box_clone(layers, NULL);
    const int reason = errno;
    if (pid == 0) {
        char go;
        close(control[1]);
        if (read(control[0], &go, 1) != 1) _exit(EPERM);
        _exit(try == NULL ? 0 : try());
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    int failed = pid < 0 ? reason : 0;
    if (pid > 0) {
        struct box_plan plan = {.layers = layers};
        box_pick_ids(&plan);
        const bool go = !(layers & BOX_USER_NS) || box_write_maps(pid, &plan);
        if (go && write(control[1], "", 1) != 1) failed = errno;
        close(control[1]);
        control[1] = -1;
        int status = 0;
        while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR) {}
        if (failed == 0) failed = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
    }
    if (control[1] >= 0) close(control[1]);
    close(control[0]);
    return failed;
}

/* Mounting something, and the call that makes trees read-only. */
static int try_mounts(void) {
    if (syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return errno;
    const int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/usr",
                                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0) return errno;
    const struct mount_attr change = {.attr_set = MOUNT_ATTR_RDONLY};
    return syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &change,
                   sizeof change) == 0 ? 0 : errno;
}

static int try_filter(void) {
    const struct sock_fprog *const filter = box_seccomp_filter();
    if (filter == NULL || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return EINVAL;
    return box_seccomp_load(filter) == 0 ? 0 : errno;
}

static void miss(struct box_layers *layers, size_t *n, unsigned layer, const char *why) {
    snprintf(layers->missing[(*n)++], sizeof layers->missing[0], "%s: %s", box_layer_name(layer),
             why);
}

/* Tests: what to do without. */
static unsigned masked;

static void find_namespaces(struct box_layers *layers, size_t *n_missing) {
    unsigned base = 0;
    for (size_t i = 0; layer_rows[i].layer <= BOX_IPC_NS; i++) {
        const unsigned layer = layer_rows[i].layer;
        const int failed = layer & masked ? EPERM
                                          : attempt(base | layer,
                                                    layer == BOX_MOUNT_NS ? try_mounts : NULL);
        if (failed == 0) {
            layers->have |= layer;
            if (layer == BOX_USER_NS) base = layer;
        } else {
            char why[64];
            snprintf(why, sizeof why, "not granted here (%s)", strerror(failed));
            miss(layers, n_missing, layer, why);
        }
    }
}

static void find_layers(struct box_layers *layers) {
    size_t n_missing = 0;
    *layers = (struct box_layers){.have = BOX_RLIMITS};
    find_namespaces(layers, &n_missing);
    layers->landlock_abi = masked & BOX_LANDLOCK ? 0 : box_landlock_abi();
    if (layers->landlock_abi > 0) {
        layers->have |= BOX_LANDLOCK;
    } else {
        miss(layers, &n_missing, BOX_LANDLOCK, "not in this kernel, or not enabled at its start");
    }
    if (!(masked & BOX_SECCOMP) && box_seccomp_filter() != NULL && attempt(0, try_filter) == 0) {
        layers->have |= BOX_SECCOMP;
    } else {
        miss(layers, &n_missing, BOX_SECCOMP, "this kernel takes no filters");
    }
    const struct box_limits small = {.memory_bytes = 1 << 20, .n_processes = 1};
    struct box_cgroup group;
    if (!(masked & BOX_CGROUP) && box_cgroup_make(&group, &small)) {
        layers->have |= BOX_CGROUP;
        box_cgroup_remove(&group);
    } else {
        miss(layers, &n_missing, BOX_CGROUP, "no cgroup v2 that this user may divide");
    }
    // Root has a user for every box even without a user namespace.
    const unsigned walls = BOX_MOUNT_NS | BOX_PID_NS | BOX_NET_NS;
    const bool own_user = (layers->have & BOX_USER_NS) || geteuid() == 0;
    const bool walled = (layers->have & walls) == walls && own_user;
    const bool fenced = (layers->have & BOX_LANDLOCK) && box_tree_works();
    layers->enough = (layers->have & BOX_SECCOMP) && (walled || fenced);
}

static struct box_layers found;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool known;

const struct box_layers *box_probe(void) {
    pthread_mutex_lock(&lock);
    if (!known) find_layers(&found);
    known = true;
    pthread_mutex_unlock(&lock);
    return &found;
}

void box_probe_mask(unsigned layers) {
    pthread_mutex_lock(&lock);
    masked = layers;
    known = false;
    pthread_mutex_unlock(&lock);
}
