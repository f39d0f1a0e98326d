/* The frame around the judges: repeats of time-outs, what the code wrote, and what all of them need
 * of boxes. */
#include "compare/grade.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/grade_impl.h"

enum { MAX_OUTPUT = 16 << 10, MAX_DETAIL = 600 };

const char *grade_name(enum grade grade) {
    static const char *const names[] = {"passes",   "fails",        "times out",
                                        "no entry", "not compiled", "no tool"};
    const size_t i = (size_t)grade;
    return i < sizeof names / sizeof *names ? names[i] : "unknown";
}

/* ---- Verdict --------------------------------------------------------------------------------- */

enum octet_status grade_say(struct grading *g, enum grade grade, const char *fmt, ...) {
    g->verdict->base = g->verdict->plus = grade;
    if (g->verdict->detail) return OCTET_OK;
    char text[MAX_DETAIL];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = ' ';
    g->verdict->detail = mem_strdup(text, strlen(text));
    return g->verdict->detail ? OCTET_OK : octet_fail_memory(g->err, "verdict", MAX_DETAIL);
}

static bool append_text(struct buffer *out, const char *bytes, size_t n_bytes) {
    const size_t at = out->n;
    const size_t room = at < MAX_OUTPUT ? MAX_OUTPUT - at : 0;
    if (!buffer_append(out, bytes ? bytes : "", n_bytes < room ? n_bytes : room)) return false;
    for (size_t i = at; i < out->n; i++)
        if (out->bytes[i] == '\0') out->bytes[i] = ' ';
    return true;
}

enum octet_status grade_keep_output(struct grading *g, const struct box_result *result) {
    if (append_text(&g->output, result->out, result->n_out) &&
        append_text(&g->output, result->err, result->n_err))
        return OCTET_OK;
    return octet_fail_memory(g->err, "output", MAX_OUTPUT);
}

const char *grade_end_text(const struct box_result *result) {
    switch (result->end) {
    case BOX_EXITED: break;
    case BOX_SIGNALLED: return "killed by a signal";
    case BOX_TIME_OUT: return "no end within the time limit";
    case BOX_OUT_OF_MEMORY: return "out of memory";
    case BOX_OUT_OF_DISK: return "out of disk space";
    case BOX_CANCELLED: return "cancelled";
    }
    return NULL;
}

void grade_verdict_free(struct verdict *verdict) {
    mem_free(verdict->detail);
    mem_free(verdict->output);
    *verdict = (struct verdict){0};
}

/* ---- Boxes ----------------------------------------------------------------------------------- */

bool grade_has_tool(struct grading *g, const char *tool) {
    const char *path = getenv("PATH");
    if (!path) path = "/usr/local/bin:/usr/bin:/bin";
    while (*path) {
        char file[4096];
        struct stat stat_of;
        const int n = (int)strcspn(path, ":");
        if (snprintf(file, sizeof file, "%.*s/%s", n, path, tool) < (int)sizeof file &&
            stat(file, &stat_of) == 0 && S_ISREG(stat_of.st_mode) && access(file, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    grade_say(g, GRADE_NO_TOOL, "%s is not installed here", tool);
    return false;
}

struct box_job grade_job(const struct grading *g, const char *const *argv, double wall_s) {
    struct box_job job = BOX_JOB_DEFAULTS;
    job.argv = argv;
    job.limits = g->task->limits;
    if (job.limits.wall_s <= 0) job.limits.wall_s = wall_s;
    if (job.limits.cpu_s <= 0) job.limits.cpu_s = 2 * job.limits.wall_s;
    job.unsafe_exec = g->options->unsafe_exec;
    job.cancel = g->options->cancel;
    return job;
}

enum octet_status grade_run(struct grading *g, const struct box_job *job, bool answer,
                            struct box_result *result) {
    enum octet_status status = box_run(job, result, g->err);
    if (status != OCTET_OK) return status;
    if (result->end == BOX_CANCELLED) {
        box_result_free(result);
        return octet_fail(g->err, OCTET_ECANCELLED, "cancelled");
    }
    g->verdict->layers &= result->layers;
    if (answer) g->verdict->seconds += result->wall_s;
    return OCTET_OK;
}

enum octet_status grade_nonce(char nonce[GRADE_NONCE], struct octet_err *err) {
    unsigned char bytes[(GRADE_NONCE - 1) / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return octet_fail(err, OCTET_EIO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
    return OCTET_OK;
}

void grade_read_pipe(int fd, char *text, size_t cap) {
    size_t n = 0;
    // The writer is gone; a copy of its end in a child that another thread just made may linger.
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (n < cap - 1) {
        const ssize_t got = read(fd, text + n, cap - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    text[n] = '\0';
    close(fd);
}

/* ---- Grading --------------------------------------------------------------------------------- */

static enum octet_status grade_once(struct grading *g) {
    *g->verdict = (struct verdict){.layers = ~0U};
    enum octet_status status = OCTET_EARG;
    switch (g->task->judge) {
    case JUDGE_CALLS:
    case JUDGE_CHECK: status = grade_talk(g); break;
    case JUDGE_APPENDED: status = grade_appended(g); break;
    case JUDGE_PROGRAM: status = grade_program(g); break;
    }
    if (status == OCTET_OK && !buffer_append(&g->output, "", 0))
        status = octet_fail_memory(g->err, "output", 1);
    if (status == OCTET_OK && !g->verdict->detail)
        status = grade_say(g, g->verdict->base, "%s", "");
    if (status == OCTET_OK) {
        g->verdict->output = g->output.bytes;
        if (g->verdict->layers == ~0U) g->verdict->layers = 0;
    } else {
        buffer_free(&g->output);
        grade_verdict_free(g->verdict);
    }
    g->output = (struct buffer){NULL, 0, 0};
    return status;
}

static bool timed_out(const struct verdict *v) {
    return v->base == GRADE_TIMES_OUT || v->plus == GRADE_TIMES_OUT;
}

/* Held for reading by every grading and for writing by those that repeat, so that a repeat has the
 * machine to itself as far as we have a say. */
static pthread_rwlock_t quiet;
static pthread_once_t quiet_once = PTHREAD_ONCE_INIT;

/* Writers go first: a moment without any other grading may never come by itself. */
static void quiet_init(void) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&quiet, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

enum octet_status grade_code(const struct task *task, const char *code,
                             const struct grade_options *options, struct verdict *out,
                             struct octet_err *err) {
    struct grading g = {.task = task, .code = code, .options = options, .verdict = out, .err = err};
    pthread_once(&quiet_once, quiet_init);
    pthread_rwlock_rdlock(&quiet);
    enum octet_status status = grade_once(&g);
    pthread_rwlock_unlock(&quiet);
    if (status != OCTET_OK || !timed_out(out)) return status;
    grade_verdict_free(out);
    pthread_rwlock_wrlock(&quiet);
    status = grade_once(&g);
    pthread_rwlock_unlock(&quiet);
    return status;
}
