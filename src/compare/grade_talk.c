/* Judging a function from another box. The candidate's box loads the answer and answers calls over
 * a socket; the checker's box holds tests and reference, calls, compares, and hands the verdict
 * over a pipe that only it has. Neither tests nor verdict are ever where the answer runs. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/embed.h"
#include "compare/grade_impl.h"
#include "compare/json_text.h"

static const double call_s = 4, task_s = 60; // where the task says nothing of its time

/* The two sides and what connects them. */
struct talk {
    struct grading *g;
    const char *tool, *extension;
    struct buffer candidate, checker; // their programs
    char *job;
    char nonce[GRADE_NONCE];
    int socket[2], verdict[2];
    volatile bool stop; // ends the candidate's box
    struct box_result candidate_result, checker_result;
};

static bool is_javascript(const struct task *task) {
    return strcmp(task->language, "javascript") == 0;
}

static bool append_embedded(struct buffer *out, struct embedded text) {
    return buffer_append(out, text.begin, (size_t)(text.end - text.begin));
}

/* Tests in JavaScript run in it; those that are data are compared in Python. */
static bool checker_is_javascript(const struct task *task) {
    return is_javascript(task) && task->judge == JUDGE_CHECK;
}

static enum octet_status make_programs(struct talk *t) {
    const struct task *const task = t->g->task;
    const bool js = is_javascript(task), checker_js = checker_is_javascript(task);
    const bool done =
        append_embedded(&t->candidate, js ? embedded_wire_js() : embedded_wire_py()) &&
        append_embedded(&t->candidate, js ? embedded_candidate_js() : embedded_candidate_py()) &&
        append_embedded(&t->checker, checker_js ? embedded_wire_js() : embedded_wire_py()) &&
        append_embedded(&t->checker, checker_js ? embedded_checker_js() : embedded_checker_py());
    return done ? OCTET_OK : octet_fail_memory(t->g->err, "harness", 0);
}

static double call_seconds(const struct task *task) {
    return task->limits.wall_s > 0 ? task->limits.wall_s : call_s;
}

static double whole_seconds(const struct task *task) {
    const double calls_s = 4 * call_seconds(task);
    return calls_s > task_s ? calls_s : task_s;
}

/* What the checker needs to know, as JSON. */
static enum octet_status make_job(struct talk *t) {
    const struct task *const task = t->g->task;
    json_t *const job =
        json_pack("{s:s, s:s, s:f, s:f}", "nonce", t->nonce, "entry", task->entry, "call_seconds",
                  call_seconds(task), "seconds", whole_seconds(task));
    bool done =
        job && json_object_set_new(job, "reference",
                                   json_string(task->reference ? task->reference : "")) == 0;
    json_t *const evalplus = json_object_get(task->tests, "evalplus");
    json_t *const calls = json_object_get(task->tests, "calls");
    const char *const kind = evalplus ? "evalplus" : calls ? "calls" : "check";
    done = done && json_object_set_new(job, "kind", json_string(kind)) == 0;
    if (evalplus) {
        done = done && json_object_update(job, evalplus) == 0;
    } else if (calls) {
        done = done && json_object_set(job, "calls", calls) == 0;
    } else {
        json_t *const itself = json_object_get(task->tests, "calls_itself");
        done = done && json_object_set(job, "test", json_object_get(task->tests, "test")) == 0 &&
               json_object_set_new(job, "calls_itself", json_boolean(json_is_true(itself))) == 0;
    }
    t->job = done ? json_dumps(job, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(job);
    return t->job ? OCTET_OK : octet_fail_memory(t->g->err, "tests", 0);
}

static enum octet_status connect_boxes(struct talk *t) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t->socket) != 0 ||
        pipe2(t->verdict, O_CLOEXEC) != 0)
        return octet_fail(t->g->err, OCTET_EIO, "no pipe for a box");
    // The checker in JavaScript has no other way to stop waiting.
    const double limit_s = call_seconds(t->g->task);
    const struct timeval limit = {(time_t)limit_s,
                                  (suseconds_t)(1e6 * (limit_s - (double)(time_t)limit_s))};
    setsockopt(t->socket[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return OCTET_OK;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* ---- Boxes ----------------------------------------------------------------------------------- */

static const char *const python_argv[] = {"python3", "-I", "-B", "-u", "harness.py", NULL};
static const char *const node_argv[] = {"node", "harness.js", NULL};

static struct box_job side_job(const struct talk *t, bool javascript) {
    struct box_job job = grade_job(t->g, javascript ? node_argv : python_argv, task_s);
    job.limits.wall_s = whole_seconds(t->g->task) + 5;
    job.limits.cpu_s = job.limits.wall_s;
    return job;
}

static struct box_file text_file(const char *path, const char *text) {
    return (struct box_file){path, text, strlen(text), false};
}

static enum octet_status start_checker(struct talk *t, struct box **out) {
    const bool js = checker_is_javascript(t->g->task);
    struct box_job job = side_job(t, js);
    const struct box_file files[] = {
        {js ? "harness.js" : "harness.py", t->checker.bytes, t->checker.n, false},
        text_file("job.json", t->job),
    };
    job.files = files;
    job.n_files = sizeof files / sizeof *files;
    job.stdin_fd = t->socket[1];
    job.extra_fd = t->verdict[1];
    return box_start(&job, out, t->g->err);
}

static enum octet_status start_candidate(struct talk *t, struct box **out) {
    enum { N_OWN = 4 };
    const struct task *const task = t->g->task;
    const bool js = is_javascript(task);
    const struct embedded md5 = embedded_js_md5();
    const struct box_file own[N_OWN] = {
        {js ? "harness.js" : "harness.py", t->candidate.bytes, t->candidate.n, false},
        text_file("entry", task->entry),
        text_file(js ? "answer.js" : "answer.py", t->g->code),
        {"node_modules/js-md5.js", md5.begin, (size_t)(md5.end - md5.begin), false},
    };
    const size_t n_own = js ? N_OWN : N_OWN - 1;
    struct box_file *const files = mem_array(n_own + task->n_files, sizeof *files);
    if (!files) return octet_fail_memory(t->g->err, "files", 0);
    memcpy(files, own, n_own * sizeof *files);
    if (task->n_files) memcpy(files + n_own, task->files, task->n_files * sizeof *files);
    struct box_job job = side_job(t, js);
    job.files = files;
    job.n_files = n_own + task->n_files;
    job.extra_fd = t->socket[0];
    job.cancel = &t->stop;
    const enum octet_status status = box_start(&job, out, t->g->err);
    mem_free(files);
    return status;
}

/* Runs both until the checker is done. */
static enum octet_status run_boxes(struct talk *t) {
    struct box *checker = NULL, *candidate = NULL;
    enum octet_status status = start_checker(t, &checker);
    if (status == OCTET_OK) status = start_candidate(t, &candidate);
    for (int i = 0; i < 2; i++) close_fd(&t->socket[i]);
    close_fd(&t->verdict[1]);
    if (checker) {
        const enum octet_status finished = box_finish(checker, &t->checker_result, t->g->err);
        if (status == OCTET_OK) status = finished;
    }
    t->stop = true;
    if (candidate) {
        const enum octet_status finished = box_finish(candidate, &t->candidate_result, t->g->err);
        if (status == OCTET_OK) status = finished;
    }
    if (status == OCTET_OK && t->checker_result.end == BOX_CANCELLED)
        return octet_fail(t->g->err, OCTET_ECANCELLED, "cancelled");
    return status;
}

/* ---- Verdict --------------------------------------------------------------------------------- */

static enum grade grade_of(const char *name) {
    for (enum grade grade = GRADE_PASSES; grade < GRADE_NO_TOOL; grade++)
        if (name && strcmp(name, grade_name(grade)) == 0) return grade;
    return GRADE_FAILS;
}

static const char *last_line(char *text) {
    for (size_t n = strlen(text); n > 0 && text[n - 1] == '\n'; n--) text[n - 1] = '\0';
    const char *const newline = strrchr(text, '\n');
    return newline ? newline + 1 : text;
}

static enum octet_status no_verdict(struct talk *t) {
    const char *const end = grade_end_text(&t->checker_result);
    const enum grade grade = t->checker_result.end == BOX_TIME_OUT ? GRADE_TIMES_OUT : GRADE_FAILS;
    const char *why = t->checker_result.err ? last_line(t->checker_result.err) : "";
    return grade_say(t->g, grade, "the checker ended without a verdict: %s", end ? end : why);
}

/* What looks like an early end to the checker may have been a limit. */
static enum octet_status note_limits(struct talk *t) {
    struct verdict *const v = t->g->verdict;
    const enum box_end end = t->candidate_result.end;
    if (end != BOX_OUT_OF_MEMORY && end != BOX_OUT_OF_DISK && end != BOX_TIME_OUT) return OCTET_OK;
    const enum grade base = v->base;
    mem_free(v->detail);
    v->detail = NULL;
    const enum octet_status status =
        grade_say(t->g, end == BOX_TIME_OUT ? GRADE_TIMES_OUT : GRADE_FAILS, "%s",
                  grade_end_text(&t->candidate_result));
    if (base == GRADE_PASSES) v->base = base;
    return status;
}

static enum octet_status read_verdict(struct talk *t) {
    struct verdict *const v = t->g->verdict;
    char text[4096];
    grade_read_pipe(t->verdict[0], text, sizeof text);
    t->verdict[0] = -1;
    v->layers &= t->candidate_result.layers & t->checker_result.layers;
    v->seconds += t->checker_result.wall_s;
    v->has_plus = json_object_get(t->g->task->tests, "evalplus") != NULL;
    json_t *const told = json_text_parse(text, strlen(text));
    const char *const nonce = json_text_get(told, "nonce");
    enum octet_status status;
    if (!nonce || strcmp(nonce, t->nonce) != 0) {
        status = no_verdict(t);
    } else {
        const char *const detail = json_text_get(told, "detail");
        status = grade_say(t->g, GRADE_FAILS, "%s", detail ? detail : "");
        v->base = grade_of(json_text_get(told, "base"));
        v->plus = grade_of(json_text_get(told, "plus"));
        v->n_tests = (size_t)json_integer_value(json_object_get(told, "tests"));
        v->n_passed = (size_t)json_integer_value(json_object_get(told, "passed"));
    }
    json_decref(told);
    if (status == OCTET_OK && v->plus != GRADE_PASSES) status = note_limits(t);
    return status == OCTET_OK ? grade_keep_output(t->g, &t->candidate_result) : status;
}

enum octet_status grade_talk(struct grading *g) {
    if (!grade_has_tool(g, is_javascript(g->task) ? "node" : "python3")) return OCTET_OK;
    if (!checker_is_javascript(g->task) && !grade_has_tool(g, "python3")) return OCTET_OK;
    struct talk t = {.g = g, .socket = {-1, -1}, .verdict = {-1, -1}};
    enum octet_status status = grade_nonce(t.nonce, g->err);
    if (status == OCTET_OK) status = make_programs(&t);
    if (status == OCTET_OK) status = make_job(&t);
    if (status == OCTET_OK) status = connect_boxes(&t);
    if (status == OCTET_OK) status = run_boxes(&t);
    if (status == OCTET_OK) status = read_verdict(&t);
    for (int i = 0; i < 2; i++) {
        close_fd(&t.socket[i]);
        close_fd(&t.verdict[i]);
    }
    box_result_free(&t.candidate_result);
    box_result_free(&t.checker_result);
    buffer_free(&t.candidate);
    buffer_free(&t.checker);
    free(t.job);
    return status;
}
