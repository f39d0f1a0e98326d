/* The file system inside: a new root that holds read-only what the plan lists, a few devices, a
 * fresh /proc where the kernel lets us, and the work folder in memory with a limit on its size.
 * Runs in the child. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compare/box_impl.h"

enum { DETACH = 2 }; // MNT_DETACH, whose header clashes with the one above

static int mount_at(const char *source, const char *target, const char *type, unsigned long flags,
                    const char *options) {
    return (int)syscall(SYS_mount, source, target, type, flags, options);
}

static int set_attributes(int fd, const char *path, unsigned flags, uint64_t attributes) {
    const struct mount_attr change = {.attr_set = attributes};
    return (int)syscall(SYS_mount_setattr, fd, path, flags, &change, sizeof change);
}

/* Makes the folders above PATH ("/usr/bin" has one), relative to the current one. */
static bool make_parents(const char *path) {
    char parent[1024];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const size_t n = (size_t)(slash - path) - 1;
        if (n >= sizeof parent) return false;
        memcpy(parent, path + 1, n);
        parent[n] = '\0';
        if (mkdir(parent, 0755) != 0 && errno != EEXIST) return false;
    }
    return true;
}

static bool make_file(const char *path, const char *text) {
    const int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    const bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

/* A copy of the mounts at PATH, attached nowhere yet, in which nothing can be changed; or -1. */
static int copy_tree(const struct box_view *view) {
    const int fd = (int)syscall(SYS_open_tree, AT_FDCWD, view->path,
                                OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    const uint64_t attributes =
        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | (view->device ? 0 : MOUNT_ATTR_NODEV);
    if (fd >= 0 && set_attributes(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes) != 0) {
        const int reason = errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

static bool show(const struct box_view *view, int new_root) {
    const char *const path = view->path + 1;
    if (!make_parents(view->path)) return false;
    if (view->link != NULL) return symlink(view->link, path) == 0;
    const int fd = copy_tree(view);
    if (fd < 0) return false;
    const bool made = view->directory ? mkdir(path, 0755) == 0 || errno == EEXIST
                                      : make_file(path, "");
    const bool done =
        made && syscall(SYS_move_mount, fd, "", new_root, path, MOVE_MOUNT_F_EMPTY_PATH) == 0;
    const int reason = errno;
    close(fd);
    errno = reason;
    return done;
}

/* An empty file system in memory, attached nowhere; -1. */
static int new_tmpfs(void) {
    const int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (context < 0) return -1;
    int fd = -1;
    if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "size", "1m", 0) == 0 &&
        syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "mode", "755", 0) == 0 &&
        syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    }
    const int reason = errno;
    close(context);
    errno = reason;
    return fd;
}

static bool make_system_folders(const struct box_plan *plan) {
    static const char *const folders[] = {"etc", "dev", "proc", "box"};
    static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"},        {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"},  {"/proc/self/fd/2", "dev/stderr"},
        {"/box/shm", "dev/shm"},
    };
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (mkdir(folders[i], 0755) != 0 && errno != EEXIST) return false;
    }
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        if (symlink(links[i][0], links[i][1]) != 0) return false;
    }
    return symlink(plan->work, "tmp") == 0 && make_file("etc/passwd", plan->passwd) &&
           make_file("etc/group", plan->group);
}

static bool make_work_folder(const struct box_plan *plan) {
    if (mount_at("box", "box", "tmpfs", MS_NOSUID | MS_NODEV, plan->tmpfs) != 0) return false;
    if (mkdir("box/work", 0755) != 0 || mkdir("box/shm", 0755) != 0) return false;
    return !plan->drop || (chown("box/work", plan->uid, plan->gid) == 0 &&
                           chown("box/shm", plan->uid, plan->gid) == 0);
}

const char *box_build_root(const struct box_plan *plan) {
    if (mount_at(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return "taking leave of mounts";
    const int root = new_tmpfs();
    if (root < 0) return "making a root";
    if (syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0 ||
        fchdir(root) != 0) {
        return "mounting a root";
    }
    if (!make_system_folders(plan)) return "filling the root";
    for (size_t i = 0; i < plan->n_views; i++) {
        if (!show(&plan->views[i], root)) return plan->views[i].path;
    }
    if (!make_work_folder(plan)) return "mounting the work folder";
    // Containers that hide parts of /proc get none: their kernel refuses a fresh one.
    if (plan->layers & BOX_PID_NS) {
        mount_at("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
                 "hidepid=2");
    }
    if (syscall(SYS_pivot_root, ".", ".") != 0) return "entering the root";
    if (syscall(SYS_umount2, ".", DETACH) != 0 || chdir("/") != 0) return "leaving the old root";
    if (set_attributes(root, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY) != 0) return "closing the root";
    close(root);
    return NULL;
}
