/* What the parts of the sandbox share. Three processes take part: the supervisor (this process,
 * box.c and box_watch.c) outside; the keeper (box_child.c), a copy of it that builds the box, is
 * process 1 inside and reaps; and the candidate, the keeper's child, which gives up everything
 * and becomes the program. Keeper and candidate are copies of a process that may have threads, so
 * between clone and exec they call nothing that takes a lock: all text is made before, in a
 * plan. */
#ifndef OCTET_COMPARE_BOX_IMPL_H
#define OCTET_COMPARE_BOX_IMPL_H

#include <linux/filter.h>
#include <pthread.h>
#include <sys/types.h>

#include "compare/box.h"

/* Tests: as if the machine did not grant these layers; 0: as it is. */
void box_probe_mask(unsigned layers);

/* ---- The plan: what the child will do, in words it need not allocate ------------------------- */

/* A path of the host that is visible inside, under the same name. */
struct box_view {
    char *path;
    char *link;     // a symbolic link to this, or NULL
    bool directory;
    bool device;
};

enum { BOX_MAX_VIEWS = 96 };

struct box_plan {
    unsigned layers;
    int landlock_abi;
    const struct box_job *job; // with its limits filled in
    struct box_view views[BOX_MAX_VIEWS];
    size_t n_views;
    char *program;     // what is executed
    char *environ[8];  // NULL-terminated
    char *work;        // the work folder as the program sees it
    const struct sock_fprog *filter;
    uid_t uid, gid;    // inside
    uid_t host_uid, host_gid; // the same, outside
    bool drop;         // set the ids: the supervisor is root
    char tmpfs[128];   // mount options of the work folder
    char passwd[192], group[64];
    uint64_t n_tasks;  // RLIMIT_NPROC
};

/* box_tools.c: finds argv[0], fills program, environ and views. */
enum octet_status box_plan_tools(struct box_plan *plan, struct octet_err *err);
void box_plan_free(struct box_plan *plan);

/* ---- The child ------------------------------------------------------------------------------- */

enum box_message_kind { BOX_GO, BOX_READY, BOX_FAILED, BOX_ENDED };

/* Over the control socket. READY carries a descriptor of the work folder. */
struct box_message {
    enum box_message_kind kind;
    int error;           // FAILED: errno
    char step[48];       // FAILED: what was being done
    int wait_status;     // ENDED
    long own_kib, candidate_kib; // largest resident sizes
    double own_cpu_s;    // READY: what building cost
};

struct box_fds {
    int in, out, err, extra, control; // extra < 0: none
};

/* What runs in the clone. */
_Noreturn void box_child(const struct box_plan *plan, const struct box_fds *fds);
/* The two calls below return NULL, or what failed, with errno set; they run in the child. */
const char *box_build_root(const struct box_plan *plan); // the current folder becomes its "/"
const char *box_landlock(const struct box_plan *plan);
int box_landlock_abi(void); // 0: none

/* A filter for seccomp(2), made once; NULL when that failed. */
const struct sock_fprog *box_seccomp_filter(void);
/* What the candidate is confined to where other walls do not do it: its own process for signals,
 * priorities and limits; files it opened for rights, times and owners, and for sizes. */
enum box_confinement { BOX_OWN_PROCESS = 1, BOX_OWN_ATTRIBUTES = 2, BOX_OWN_SIZES = 4 };
int box_seccomp_confine(unsigned to); // in the child; 0, or -1 with errno
int box_seccomp_load(const struct sock_fprog *filter); // 0, or -1 with errno

/* clone(2) with enum box_layer namespaces, without a signal to the parent at its end; the pid, 0 in
 * the child, or -1. PIDFD may be NULL. */
pid_t box_clone(unsigned layers, int *pidfd);
/* The supervisor's side of a user namespace. */
bool box_write_maps(pid_t pid, const struct box_plan *plan);
/* Ids nobody else uses, where the supervisor may take others than its own. */
void box_pick_ids(struct box_plan *plan);

/* ---- Processes ------------------------------------------------------------------------------- */

struct box_usage {
    size_t n_processes;
    uint64_t resident_bytes; // of all, shared pages counted by each
    uint64_t largest_bytes;
    double cpu_s; // of all, with those already reaped
};

/* Of the descendants of KEEPER. Neither allocates. */
void box_tree_usage(pid_t keeper, struct box_usage *usage);
void box_tree_kill(pid_t keeper);
uint64_t box_tree_exact_bytes(pid_t keeper); // shared pages counted once; slower
bool box_tree_works(void);
uint64_t box_count_tasks_of(uid_t uid);

/* ---- Work folder ----------------------------------------------------------------------------- */

/* Runs in the child; NULL or what failed. */
const char *box_put_files(int work_fd, const struct box_job *job);
/* The contents of PATH beneath, at most MAX bytes; false: no regular file there, or no memory. */
bool box_take_file(int work_fd, const char *path, uint64_t max, struct box_file *out);
/* On a disk: an open folder, or -1 with errno. */
int box_temp_make(char **path, uid_t owner, gid_t group);
void box_temp_remove(int fd, const char *path);
bool box_temp_within(int fd, uint64_t max_bytes, uint64_t max_files);

/* ---- Control group --------------------------------------------------------------------------- */

struct box_cgroup {
    int fd; // < 0: none
    char path[512];
};
bool box_cgroup_make(struct box_cgroup *group, const struct box_limits *limits);
bool box_cgroup_add(const struct box_cgroup *group, pid_t pid);
void box_cgroup_kill(const struct box_cgroup *group);
bool box_cgroup_out_of_memory(const struct box_cgroup *group);
void box_cgroup_remove(struct box_cgroup *group);

/* ---- A running box --------------------------------------------------------------------------- */

struct box_stream {
    int fd; // < 0: closed or not captured
    char *bytes;
    size_t n, cap;
    uint64_t total;
};

struct box {
    pid_t keeper;
    int pidfd, control; // control < 0: the keeper closed its end
    unsigned layers;
    struct box_limits limits;
    volatile const bool *cancel;
    char **keep; // NULL-terminated
    int work_fd;
    char *temp_path; // of the work folder where it is on a disk
    struct box_cgroup cgroup;

    char *input;
    size_t n_input, n_input_sent;
    int input_fd;
    struct box_stream out, err;

    pthread_t thread;
    double started, own_cpu_s; // what building cost
    struct box_message report; // kind BOX_ENDED once the candidate ended
    bool killed;
    enum box_end reason; // for which it was killed
    uint64_t largest_bytes;
    double cpu_s, wall_s;
    enum octet_status status; // of watching
    struct octet_err failure;
};

double box_now(void); // seconds, monotonic
/* box_watch.c: the supervisor's thread, until every process of the box is gone. */
void *box_watch(void *box);
/* Kills and reaps without further ado. */
void box_abandon(struct box *box);

#endif
