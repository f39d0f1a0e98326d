/* The sandbox: runs one program that nobody vouches for, and brings back what it wrote and how it
 * ended. No network, no environment, no keys, no home, nothing of the host writable; limits on
 * time, memory, processes, files and output. Works as an ordinary user, as root and inside
 * containers with whatever layers the kernel grants; box_probe tells which, and box_start refuses
 * when they are too few. Boxes may be started from any number of threads. */
#ifndef OCTET_COMPARE_BOX_H
#define OCTET_COMPARE_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octet.h"

enum box_layer {
    BOX_USER_NS = 1 << 0,
    BOX_MOUNT_NS = 1 << 1,
    BOX_PID_NS = 1 << 2,
    BOX_NET_NS = 1 << 3,
    BOX_IPC_NS = 1 << 4,
    BOX_LANDLOCK = 1 << 5,
    BOX_SECCOMP = 1 << 6,
    BOX_RLIMITS = 1 << 7,
    BOX_CGROUP = 1 << 8,
    BOX_LAYERS = 9, // how many there are
};

/* What this machine grants, found out once per process by trying. */
struct box_layers {
    unsigned have;               // enum box_layer bits
    int landlock_abi;            // 0: none
    bool enough;                 // strong enough to run code nobody vouches for
    char missing[BOX_LAYERS][96]; // one line per layer not granted and why, "" past the end
};
const struct box_layers *box_probe(void);
const char *box_layer_name(unsigned layer);  // one bit; NULL: unknown
const char *box_layer_about(unsigned layer); // what it keeps out, in a few words; NULL: unknown

struct box_file {
    const char *path; // relative to the work folder, no "..", parents are made
    const void *bytes;
    size_t n_bytes;
    bool executable;
};
bool box_path_ok(const char *path); // relative, stays beneath, names a file

struct box_limits {
    double wall_s, cpu_s;  // 0: 10 s; CPU time is the sum over all processes
    uint64_t memory_bytes; // of all processes together; 0: 2 GiB
    uint64_t disk_bytes;   // of the work folder; 0: 256 MiB
    uint64_t output_bytes; // of each of stdout and stderr, the rest is dropped; 0: 1 MiB
    unsigned n_processes;  // and threads; 0: 64
};

struct box_job {
    /* NULL-terminated. A bare name in argv[0] is found by the caller's PATH and, where it lies
     * outside the system's folders, its installation becomes readable inside; "./name" is a file
     * of the work folder. */
    const char *const *argv;
    const struct box_file *files; // put into the work folder, which is the current one, /tmp's
    size_t n_files;               // stand-in, HOME and TMPDIR
    const char *const *keep; // NULL-terminated paths whose contents come back, or NULL
    const char *stdin_bytes; // NULL: empty
    size_t n_stdin;
    /* < 0: the above, and captured; otherwise passed through, such as pipes to another box. The
     * caller keeps its copies, and closes them after box_start to see the other end close. */
    int stdin_fd, stdout_fd;
    int extra_fd; // < 0: none; otherwise becomes fd 3 inside
    struct box_limits limits;
    bool unsafe_exec;            // run even when box_probe says the layers are not enough
    volatile const bool *cancel; // becomes true: the box is killed; NULL: never
};
#define BOX_JOB_DEFAULTS { .stdin_fd = -1, .stdout_fd = -1, .extra_fd = -1 }

enum box_end {
    BOX_EXITED,    // by itself, see status; 126 and 127: argv[0] is no program, is not there
    BOX_SIGNALLED, // see status
    BOX_TIME_OUT,  // wall or CPU
    BOX_OUT_OF_MEMORY,
    BOX_OUT_OF_DISK, // only without a mount namespace: else the program sees a full disk
    BOX_CANCELLED,
};

struct box_result {
    enum box_end end;
    int status;      // exit status or signal
    char *out, *err; // NUL-terminated, at most limits.output_bytes
    size_t n_out, n_err;
    uint64_t out_total, err_total; // bytes written, kept or not
    struct box_file *kept;         // (n_kept) those of job.keep that exist, in that order
    size_t n_kept;
    double wall_s, cpu_s;
    uint64_t peak_bytes; // of the largest process, as far as it lived long enough to be seen
    unsigned layers;     // enum box_layer bits that were on
};

/* A box that was started and not yet waited for, so that two can talk to each other. It is watched
 * from the start: limits hold and output is read whether or not anybody waits. What JOB points to
 * is copied, except for CANCEL, which must outlive the box. OCTET_EUNSUPPORTED: too few layers;
 * OCTET_EARG: a path that leaves the work folder; OCTET_EIO: no such program, or the box could not
 * be built. */
struct box;
enum octet_status box_start(const struct box_job *job, struct box **out, struct octet_err *err);
/* Waits, cleans up everything and frees BOX, whatever it returns. RESULT belongs to the caller and
 * is all zero after a failure. */
enum octet_status box_finish(struct box *box, struct box_result *result, struct octet_err *err);
enum octet_status box_run(const struct box_job *job, struct box_result *result,
                          struct octet_err *err);
void box_result_free(struct box_result *result);

#endif
