/* Judging whole programs. Cases: what the program writes is compared here with what is expected,
 * which never enters a box. Check scripts: a generator's box makes the input, the answer's box
 * turns it into files, and the checker's box looks at them. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/embed.h"
#include "compare/grade_impl.h"
#include "compare/json_text.h"

static const double run_s = 10, script_s = 120; // where the task says nothing of its time

/* The answer, ready to run. */
struct program {
    struct grading *g;
    const char *const *run; // NULL-terminated
    struct box_file file;   // the answer or what it was compiled to
    struct box_result compiled;
    const char **own_run;
};

/* ---- Lists ----------------------------------------------------------------------------------- */

/* Files of the box of one run. */
struct file_list {
    struct box_file *files;
    size_t n, cap;
    bool failed;
};

static void add_file(struct file_list *list, struct box_file file) {
    list->failed = list->failed || !mem_reserve((void **)&list->files, &list->cap, list->n + 1,
                                                sizeof *list->files);
    if (!list->failed) list->files[list->n++] = file;
}

static void add_text(struct file_list *list, const char *path, const char *text) {
    if (text) add_file(list, (struct box_file){path, text, strlen(text), false});
}

static void add_files(struct file_list *list, const struct box_file *files, size_t n_files) {
    for (size_t i = 0; i < n_files; i++) add_file(list, files[i]);
}

static void add_text_map(struct file_list *list, json_t *map) {
    const char *name;
    json_t *text;
    json_object_foreach(map, name, text) add_text(list, name, json_string_value(text));
}

/* FIRST, then the texts of LIST, then NULL. The array is the caller's; NULL: out of memory. */
static const char **text_list(const char *const *first, const json_t *list) {
    size_t n = 0;
    while (first && first[n]) n++;
    const char **const texts = mem_array(n + json_array_size(list) + 1, sizeof *texts);
    if (!texts) return NULL;
    for (size_t i = 0; i < n; i++) texts[i] = first[i];
    for (size_t i = 0; i < json_array_size(list); i++)
        texts[n + i] = json_string_value(json_array_get(list, i));
    return texts;
}

static const char **key_list(json_t *object) {
    const char **const keys = mem_array(json_object_size(object) + 1, sizeof *keys);
    if (!keys) return NULL;
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) keys[n++] = key;
    return keys;
}

static json_t *field(const struct grading *g, const char *key) {
    return json_object_get(g->task->tests, key);
}

/* ---- Comparing ------------------------------------------------------------------------------- */

struct line {
    const char *text;
    size_t n;
};

/* The lines of a text without blanks at their ends and without empty ones at its end. */
struct lines {
    struct line *lines;
    size_t n;
};

static bool split_lines(const char *text, size_t n_bytes, struct lines *out) {
    size_t cap = 1, at = 0;
    for (size_t i = 0; i < n_bytes; i++) cap += text[i] == '\n';
    *out = (struct lines){mem_array(cap, sizeof *out->lines), 0};
    if (!out->lines) return false;
    while (at < n_bytes) {
        const char *const newline = memchr(text + at, '\n', n_bytes - at);
        size_t n = newline ? (size_t)(newline - text) - at : n_bytes - at;
        const size_t next = at + n + 1;
        while (n > 0 && strchr(" \t\r", text[at + n - 1]) && text[at + n - 1] != '\0') n--;
        out->lines[out->n++] = (struct line){text + at, n};
        at = next;
    }
    while (out->n > 0 && out->lines[out->n - 1].n == 0) out->n--;
    return true;
}

static int compare_lines(const void *a, const void *b) {
    const struct line *const x = a, *const y = b;
    const int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Says where the first difference is; WHAT: "output", "file x". */
static enum octet_status compare_split(struct grading *g, const char *what, size_t i_case,
                                       const struct lines *found, const struct lines *expected,
                                       bool *same) {
    size_t i = 0;
    while (i < found->n && i < expected->n &&
           compare_lines(&found->lines[i], &expected->lines[i]) == 0)
        i++;
    *same = i == found->n && i == expected->n;
    if (*same) return OCTET_OK;
    const struct line end = {"the end", 7};
    const struct line *const x = i < expected->n ? &expected->lines[i] : &end;
    const struct line *const y = i < found->n ? &found->lines[i] : &end;
    return grade_say(g, GRADE_FAILS, "case %zu: %s, line %zu: expected %.*s, found %.*s",
                     i_case + 1, what, i + 1, (int)(x->n < 200 ? x->n : 200), x->text,
                     (int)(y->n < 200 ? y->n : 200), y->text);
}

struct text {
    const char *bytes;
    size_t n;
};

static enum octet_status compare_text(struct grading *g, const char *what, size_t i_case,
                                      struct text found, struct text expected, bool unordered,
                                      bool *same) {
    struct lines a = {NULL, 0}, b = {NULL, 0};
    enum octet_status status = octet_fail_memory(g->err, "output", found.n);
    if (split_lines(found.bytes ? found.bytes : "", found.n, &a) &&
        split_lines(expected.bytes, expected.n, &b)) {
        if (unordered) {
            qsort(a.lines, a.n, sizeof *a.lines, compare_lines);
            qsort(b.lines, b.n, sizeof *b.lines, compare_lines);
        }
        status = compare_split(g, what, i_case, &a, &b, same);
    }
    mem_free(a.lines);
    mem_free(b.lines);
    return status;
}

static const struct box_file *find_kept(const struct box_result *result, const char *path) {
    for (size_t i = 0; i < result->n_kept; i++)
        if (strcmp(result->kept[i].path, path) == 0) return &result->kept[i];
    return NULL;
}

static enum octet_status compare_files(struct grading *g, size_t i_case, json_t *expected,
                                       const struct box_result *result, bool *same) {
    const char *name;
    json_t *text;
    json_object_foreach(expected, name, text) {
        const struct box_file *const file = find_kept(result, name);
        if (!file) {
            *same = false;
            return grade_say(g, GRADE_FAILS, "case %zu: file %s is not there", i_case + 1, name);
        }
        char what[80];
        snprintf(what, sizeof what, "file %.60s", name);
        const enum octet_status status = compare_text(
            g, what, i_case, (struct text){file->bytes, file->n_bytes},
            (struct text){json_string_value(text), json_string_length(text)}, false, same);
        if (status != OCTET_OK || !*same) return status;
    }
    return OCTET_OK;
}

/* The expected output as one text; NULL: none is expected. *OWNED is the caller's. */
static const char *expected_output(const json_t *one, char **owned) {
    *owned = NULL;
    const json_t *const lines = json_object_get(one, "expect_lines");
    if (!lines) return json_text_get(one, "expect");
    struct buffer joined = {NULL, 0, 0};
    bool done = buffer_append_text(&joined, "");
    for (size_t i = 0; done && i < json_array_size(lines); i++)
        done = buffer_append_text(&joined, json_string_value(json_array_get(lines, i))) &&
               buffer_append_text(&joined, "\n");
    if (!done) buffer_free(&joined);
    *owned = joined.bytes;
    return joined.bytes;
}

static bool is_unordered(const struct grading *g, const json_t *one) {
    const json_t *const ordered = json_object_get(one, "ordered");
    if (json_is_true(json_object_get(one, "unordered"))) return true;
    return ordered ? json_is_false(ordered) : json_is_false(field(g, "ordered"));
}

static enum octet_status judge_run(struct grading *g, json_t *one, size_t i_case,
                                   const struct box_result *result, bool *passed) {
    *passed = false;
    const char *const end = grade_end_text(result);
    if (end)
        return grade_say(g, result->end == BOX_TIME_OUT ? GRADE_TIMES_OUT : GRADE_FAILS,
                         "case %zu: %s", i_case + 1, end);
    const json_int_t wanted = json_integer_value(json_object_get(one, "status"));
    enum octet_status status = OCTET_OK;
    bool same = true;
    char *owned;
    const char *const expected = expected_output(one, &owned);
    if (result->status != wanted) {
        same = false;
        status = grade_say(g, GRADE_FAILS, "case %zu: expected exit status %lld, found %d",
                           i_case + 1, (long long)wanted, result->status);
    } else if (expected) {
        status =
            compare_text(g, "output", i_case, (struct text){result->out, result->n_out},
                         (struct text){expected, strlen(expected)}, is_unordered(g, one), &same);
    }
    mem_free(owned);
    if (status == OCTET_OK && same)
        status = compare_files(g, i_case, json_object_get(one, "expect_files"), result, &same);
    *passed = status == OCTET_OK && same;
    return status;
}

/* ---- Cases ----------------------------------------------------------------------------------- */

static void add_setup(const struct grading *g, const json_t *one, struct buffer *setup,
                      struct file_list *files) {
    if (strcmp(g->task->language, "sql") != 0) return;
    const char *const common = json_string_value(field(g, "setup"));
    const char *const more = json_text_get(one, "setup_more");
    files->failed = files->failed || !buffer_append_text(setup, common ? common : "") ||
                    !buffer_append_text(setup, "\n") ||
                    !buffer_append_text(setup, more ? more : "");
    if (!files->failed) add_text(files, "setup.sql", setup->bytes);
}

static enum octet_status run_case(const struct program *p, json_t *one, size_t i_case,
                                  bool *passed) {
    struct grading *const g = p->g;
    struct file_list files = {NULL, 0, 0, false};
    struct buffer setup = {NULL, 0, 0};
    add_file(&files, p->file);
    add_files(&files, g->task->files, g->task->n_files);
    add_text_map(&files, json_object_get(one, "files"));
    add_setup(g, one, &setup, &files);
    const char **const argv = text_list(p->run, json_object_get(one, "args"));
    const char **const keep = key_list(json_object_get(one, "expect_files"));
    enum octet_status status =
        argv && keep && !files.failed ? OCTET_OK : octet_fail_memory(g->err, "files", 0);
    struct box_result result = {0};
    if (status == OCTET_OK) {
        struct box_job job = grade_job(g, argv, run_s);
        job.files = files.files;
        job.n_files = files.n;
        job.keep = keep;
        job.stdin_bytes = json_text_get(one, "stdin");
        job.n_stdin = job.stdin_bytes ? strlen(job.stdin_bytes) : 0;
        status = grade_run(g, &job, true, &result);
    }
    if (status == OCTET_OK) {
        status = grade_keep_output(g, &result);
        if (status == OCTET_OK) status = judge_run(g, one, i_case, &result, passed);
        box_result_free(&result);
    }
    mem_free(files.files);
    buffer_free(&setup);
    mem_free(argv);
    mem_free(keep);
    return status;
}

static enum octet_status run_cases(const struct program *p, json_t *cases) {
    struct verdict *const v = p->g->verdict;
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < json_array_size(cases) && status == OCTET_OK; i++) {
        bool passed = false;
        status = run_case(p, json_array_get(cases, i), i, &passed);
        v->n_tests++;
        v->n_passed += passed;
        if (v->base == GRADE_TIMES_OUT) break;
    }
    return status;
}

/* ---- Check scripts --------------------------------------------------------------------------- */

/* One size of input on its way through three boxes. */
struct stage {
    const struct program *p;
    char size[24];
    struct box_result input, output; // their kept files
    double seconds;
    uint64_t peak_bytes;
};

static const char *const generate_argv[] = {"python3", "-B", "generate.py", NULL, NULL};
static const char *const check_argv[] = {"python3", "-B", "harness.py", NULL, NULL};

/* ARGV with the size put into its first empty place. */
static struct box_job script_job(const struct stage *s, const char *const *argv,
                                 const char *with_size[5]) {
    for (size_t i = 0; i < 5; i++) with_size[i] = i < 3 ? argv[i] : i == 3 ? s->size : NULL;
    struct box_job job = grade_job(s->p->g, with_size, script_s);
    if (job.limits.wall_s < script_s) job.limits.wall_s = job.limits.cpu_s = script_s;
    job.limits.memory_bytes = 0;
    return job;
}

static enum octet_status generate(struct stage *s) {
    struct grading *const g = s->p->g;
    const char *const script = json_string_value(field(g, "generate"));
    if (!script) return OCTET_OK;
    struct file_list files = {NULL, 0, 0, false};
    add_text(&files, "generate.py", script);
    add_files(&files, g->task->files, g->task->n_files);
    const char **const keep = text_list(NULL, field(g, "inputs"));
    enum octet_status status = octet_fail_memory(g->err, "files", 0);
    if (keep && !files.failed) {
        const char *argv[5];
        struct box_job job = script_job(s, generate_argv, argv);
        job.files = files.files;
        job.n_files = files.n;
        job.keep = keep;
        status = grade_run(g, &job, false, &s->input);
        if (status == OCTET_OK && (s->input.end != BOX_EXITED || s->input.status != 0))
            status = grade_say(g, GRADE_FAILS, "the task is broken: its generator failed: %s",
                               s->input.err);
    }
    mem_free(keep);
    mem_free(files.files);
    return status;
}

static enum octet_status run_answer(struct stage *s) {
    struct grading *const g = s->p->g;
    struct file_list files = {NULL, 0, 0, false};
    add_file(&files, s->p->file);
    add_files(&files, g->task->files, g->task->n_files);
    add_files(&files, s->input.kept, s->input.n_kept);
    const char **const keep = text_list(NULL, field(g, "keep"));
    enum octet_status status = octet_fail_memory(g->err, "files", 0);
    if (keep && !files.failed) {
        struct box_job job = grade_job(g, s->p->run, run_s);
        job.files = files.files;
        job.n_files = files.n;
        job.keep = keep;
        status = grade_run(g, &job, true, &s->output);
    }
    if (status == OCTET_OK) status = grade_keep_output(g, &s->output);
    mem_free(keep);
    mem_free(files.files);
    if (status != OCTET_OK) return status;
    s->seconds = s->output.wall_s;
    s->peak_bytes = s->output.peak_bytes;
    const char *const end = grade_end_text(&s->output);
    if (end)
        return grade_say(g, s->output.end == BOX_TIME_OUT ? GRADE_TIMES_OUT : GRADE_FAILS,
                         "size %s: %s", s->size, end);
    if (s->output.status != 0)
        return grade_say(g, GRADE_FAILS, "size %s: exit status %d", s->size, s->output.status);
    return OCTET_OK;
}

static enum octet_status read_check(struct stage *s, int fd, const char *nonce,
                                    const struct box_result *result, bool *passed) {
    char told[1024];
    grade_read_pipe(fd, told, sizeof told);
    *passed = strcmp(told, nonce) == 0;
    if (*passed) return OCTET_OK;
    const char *const end = grade_end_text(result);
    return grade_say(s->p->g, GRADE_FAILS, "size %s: %s", s->size,
                     end       ? end
                     : told[0] ? told
                               : "the check did not come to its end");
}

static enum octet_status check(struct stage *s, bool *passed) {
    struct grading *const g = s->p->g;
    const struct embedded harness = embedded_check_files_py();
    char nonce[GRADE_NONCE];
    int pipe_fds[2];
    enum octet_status status = grade_nonce(nonce, g->err);
    if (status != OCTET_OK) return status;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) return octet_fail(g->err, OCTET_EIO, "no pipe for a box");
    struct file_list files = {NULL, 0, 0, false};
    add_text(&files, "harness.py", harness.begin);
    add_text(&files, "check.py", json_string_value(field(g, "check")));
    add_text(&files, "nonce", nonce);
    add_file(&files, (struct box_file){"stdout.txt", s->output.out, s->output.n_out, false});
    add_files(&files, g->task->files, g->task->n_files);
    add_files(&files, s->input.kept, s->input.n_kept);
    add_files(&files, s->output.kept, s->output.n_kept);
    struct box_result result = {0};
    status = octet_fail_memory(g->err, "files", 0);
    if (!files.failed) {
        const char *argv[5];
        struct box_job job = script_job(s, check_argv, argv);
        job.files = files.files;
        job.n_files = files.n;
        job.extra_fd = pipe_fds[1];
        status = grade_run(g, &job, false, &result);
    }
    close(pipe_fds[1]);
    if (status == OCTET_OK)
        status = read_check(s, pipe_fds[0], nonce, &result, passed);
    else
        close(pipe_fds[0]);
    box_result_free(&result);
    mem_free(files.files);
    return status;
}

/* "10000: 0.12 s, 31 MB; 100000: ..." and, from the last two, how long a larger one would take. */
struct growth {
    struct buffer text;
    double size, seconds, earlier_size, earlier_seconds;
};

static bool note_growth(struct growth *growth, const struct stage *s) {
    char text[96];
    snprintf(text, sizeof text, "%s%s: %.3g s, %.0f MB", growth->text.n ? "; " : "", s->size,
             s->seconds, (double)s->peak_bytes / 1e6);
    growth->earlier_size = growth->size;
    growth->earlier_seconds = growth->seconds;
    growth->size = strtod(s->size, NULL);
    growth->seconds = s->seconds;
    return buffer_append_text(&growth->text, text);
}

static bool note_extrapolated(struct growth *growth, double target) {
    if (target <= 0 || growth->earlier_size <= 0 || growth->size <= growth->earlier_size)
        return true;
    const double power =
        log(growth->seconds / growth->earlier_seconds) / log(growth->size / growth->earlier_size);
    // Start-up hides growth in small inputs; less than linear is not believed.
    const double seconds = growth->seconds * pow(target / growth->size, power > 1 ? power : 1);
    char text[96];
    snprintf(text, sizeof text, "; %.0f: about %.3g s (extrapolated)", target, seconds);
    return buffer_append_text(&growth->text, text);
}

static enum octet_status run_size(const struct program *p, json_int_t size, struct growth *growth) {
    struct verdict *const v = p->g->verdict;
    struct stage s = {.p = p};
    snprintf(s.size, sizeof s.size, "%lld", (long long)size);
    bool passed = false;
    enum octet_status status = generate(&s);
    if (status == OCTET_OK && v->base == GRADE_PASSES) status = run_answer(&s);
    if (status == OCTET_OK && v->base == GRADE_PASSES) status = check(&s, &passed);
    v->n_tests++;
    v->n_passed += passed;
    if (status == OCTET_OK && size > 0 && !note_growth(growth, &s))
        status = octet_fail_memory(p->g->err, "sizes", 0);
    box_result_free(&s.input);
    box_result_free(&s.output);
    return status;
}

/* The first size that fails is the last that is tried. */
static enum octet_status run_sizes(const struct program *p) {
    struct grading *const g = p->g;
    json_t *const sizes = json_array();
    struct growth growth = {.text = {NULL, 0, 0}};
    enum octet_status status = octet_fail_memory(g->err, "sizes", 0);
    if (sizes && (!field(g, "sizes") || json_array_extend(sizes, field(g, "sizes")) == 0) &&
        (!g->options->full || !field(g, "sizes_full") ||
         json_array_extend(sizes, field(g, "sizes_full")) == 0))
        status = OCTET_OK;
    for (size_t i = 0; status == OCTET_OK && (i < json_array_size(sizes) || i == 0); i++) {
        status = run_size(p, json_integer_value(json_array_get(sizes, i)), &growth);
        if (g->verdict->base != GRADE_PASSES) break;
    }
    json_decref(sizes);
    if (status == OCTET_OK && g->verdict->base == GRADE_PASSES) {
        const bool noted = note_extrapolated(&growth, json_number_value(field(g, "extrapolate")));
        status = noted ? grade_say(g, GRADE_PASSES, "%s", growth.text.n ? growth.text.bytes : "")
                       : octet_fail_memory(g->err, "sizes", 0);
    }
    buffer_free(&growth.text);
    return status;
}

/* ---- Programs -------------------------------------------------------------------------------- */

/* Modules of Python without which the task cannot be judged. */
static enum octet_status has_modules(struct grading *g, bool *all) {
    static const char script[] = "import importlib.util, sys\n"
                                 "print(*[name for name in sys.argv[1:] "
                                 "if importlib.util.find_spec(name) is None])\n";
    static const char *const find_argv[] = {"python3", "-B", "-c", script, NULL};
    *all = true;
    json_t *const needs = field(g, "needs");
    if (json_array_size(needs) == 0) return OCTET_OK;
    *all = grade_has_tool(g, "python3");
    if (!*all) return OCTET_OK;
    const char **const argv = text_list(find_argv, needs);
    if (!argv) return octet_fail_memory(g->err, "modules", 0);
    const struct box_job job = grade_job(g, argv, run_s);
    struct box_result result;
    enum octet_status status = grade_run(g, &job, false, &result);
    mem_free(argv);
    if (status != OCTET_OK) return status;
    const size_t n = result.out ? strcspn(result.out, "\n") : 0;
    *all = n == 0 && result.end == BOX_EXITED && result.status == 0;
    if (!*all)
        status = grade_say(g, GRADE_NO_TOOL, "Python here lacks %.*s", (int)n,
                           result.out ? result.out : "");
    box_result_free(&result);
    return status;
}

static enum octet_status prepare(struct program *p, bool *ready) {
    struct grading *const g = p->g;
    const struct grade_language *const language = grade_language(g->task->language);
    *ready = false;
    if (!grade_has_tool(g, language->tool)) return OCTET_OK;
    enum octet_status status = has_modules(g, ready);
    if (status != OCTET_OK || !*ready) return status;
    p->run = language->run;
    if (field(g, "run")) {
        p->own_run = text_list(NULL, field(g, "run"));
        if (!p->own_run) return octet_fail_memory(g->err, "arguments", 0);
        p->run = p->own_run;
    }
    if (language->compile[0])
        return grade_compile(g, language, g->code, ready, &p->file, &p->compiled);
    p->file = (struct box_file){language->file, g->code, strlen(g->code), false};
    return OCTET_OK;
}

enum octet_status grade_program(struct grading *g) {
    struct program p = {.g = g};
    bool ready;
    enum octet_status status = prepare(&p, &ready);
    json_t *const cases = field(g, "cases");
    if (status == OCTET_OK && ready) status = cases ? run_cases(&p, cases) : run_sizes(&p);
    box_result_free(&p.compiled);
    mem_free(p.own_run);
    return status;
}
