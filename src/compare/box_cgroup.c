/* A control group per box, where the group that this process's own lies in is ours to divide: on
 * systems with cgroup v2 for root, and for users whose session manager delegates it. Exact memory
 * and process counts for the whole box, and one write that kills everything in it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "compare/box_impl.h"

/* Where cgroup v2 is mounted, and the group that contains this process's own. */
static bool parent_group(char *path, size_t size) {
    char line[512], mount[256] = "", own[256] = "";
    FILE *file = fopen("/proc/self/mounts", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char at[256], type[32];
        if (sscanf(line, "%*s %255s %31s", at, type) == 2 && strcmp(type, "cgroup2") == 0) {
            memcpy(mount, at, sizeof mount);
        }
    }
    if (file != NULL) fclose(file);
    file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        sscanf(line, "0::%255s", own);
    }
    if (file != NULL) fclose(file);
    char *const slash = strrchr(own, '/');
    if (mount[0] == '\0' || slash == NULL || slash[1] == '\0') return false;
    *slash = '\0';
    const int n = snprintf(path, size, "%s%s", mount, own);
    return n > 0 && (size_t)n < size;
}

static bool put(int group, const char *name, const char *text) {
    const int fd = openat(group, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

static bool put_number(int group, const char *name, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return put(group, name, text);
}

bool box_cgroup_make(struct box_cgroup *group, const struct box_limits *limits) {
    static atomic_uint n_made;
    char parent[448];
    group->fd = -1;
    if (!parent_group(parent, sizeof parent)) return false;
    snprintf(group->path, sizeof group->path, "%s/octet-box-%d-%u", parent, (int)getpid(),
             atomic_fetch_add(&n_made, 1));
    if (mkdir(group->path, 0755) != 0) return false;
    group->fd = open(group->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    // The work folder's pages count, too, and have a limit of their own. Not every kernel swaps.
    if (group->fd < 0 ||
        !put_number(group->fd, "memory.max", limits->memory_bytes + limits->disk_bytes) ||
        !put_number(group->fd, "pids.max", limits->n_processes + 1)) {
        box_cgroup_remove(group);
        return false;
    }
    put(group->fd, "memory.swap.max", "0");
    return true;
}

bool box_cgroup_add(const struct box_cgroup *group, pid_t pid) {
    return put_number(group->fd, "cgroup.procs", (uint64_t)pid);
}

void box_cgroup_kill(const struct box_cgroup *group) {
    if (group->fd >= 0) put(group->fd, "cgroup.kill", "1");
}

bool box_cgroup_out_of_memory(const struct box_cgroup *group) {
    if (group->fd < 0) return false;
    char text[512] = "";
    const int fd = openat(group->fd, "memory.events", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *const kills = n > 0 ? strstr(text, "oom_kill ") : NULL;
    return kills != NULL && strtoul(kills + 9, NULL, 10) > 0;
}

void box_cgroup_remove(struct box_cgroup *group) {
    if (group->fd >= 0) close(group->fd);
    group->fd = -1;
    if (group->path[0] == '\0') return;
    // The last process leaves its group a moment after it was reaped.
    for (int i = 0; i < 200 && rmdir(group->path) != 0 && errno == EBUSY; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    group->path[0] = '\0';
}
