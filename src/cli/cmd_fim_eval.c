/* octet fim-eval: how well each method fills the holes of a file of rows, through the very code
 * that the server answers with. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "cli/cli.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "compare/json_lines.h"
#include "compare/json_text.h"
#include "compare/stats.h"
#include "server/fim.h"
#include "server/seat.h"

enum { MAX_COMPARED = 4096 };

struct fim_args {
    int32_t limit, max_tokens, method; // METHOD: enum fim_method, 0: all
    const char *rows, *language;
    bool json;
};

static const struct fim_args defaults = {.max_tokens = 128, .language = "python"};

static const struct option_row option_rows[] = {
    {"limit", 0, OPTION_INT, "N", offsetof(struct fim_args, limit), 0, INT32_MAX, false,
     "only N rows, evenly spread over the file; 0: all"},
    {"max-tokens", 'n', OPTION_INT, "N", offsetof(struct fim_args, max_tokens), 1, 1 << 16, false,
     "longest filling"},
    {"method", 0, OPTION_CHOICE, "all|trained|instruct|prefix", offsetof(struct fim_args, method),
     0, 0, false, "only this one; all: those the model can do"},
    {"language", 0, OPTION_TEXT, "NAME", offsetof(struct fim_args, language), 0, 0, false,
     "what the rows are written in"},
    {"rows", 0, OPTION_TEXT, "FILE", offsetof(struct fim_args, rows), 0, 0, false,
     "write what was filled in for every row, as JSON lines"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct fim_args, json), 0, 0, false,
     "print one JSON object instead of the table"},
};

struct score {
    size_t n, n_exact, n_tokens;
    double similarity, seconds; // sums
};

struct eval {
    const struct fim_args *args;
    struct octet_model *model;
    struct seat seat;
    struct progress progress;
    FILE *file; // of --rows, or NULL
    size_t done, total;
};

/* ---- Comparing ------------------------------------------------------------------------------- */

struct span {
    const char *text;
    size_t n;
};

/* TEXT without blanks around it, as far as it is compared. */
static struct span stripped(const char *text) {
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r\n", text[n - 1])) n--;
    return (struct span){text, n};
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* 1 less the share of bytes to insert, delete or replace (Levenshtein 1966). */
static double similarity(struct span a, struct span b) {
    static size_t row[MAX_COMPARED + 1];
    const size_t n_a = least(a.n, MAX_COMPARED), n_b = least(b.n, MAX_COMPARED);
    if (n_a == 0 && n_b == 0) return 1;
    for (size_t j = 0; j <= n_b; j++) row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            const size_t replaced = diagonal + (a.text[i - 1] != b.text[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
        }
    }
    return 1 - (double)row[n_b] / (double)(n_a > n_b ? n_a : n_b);
}

/* ---- Filling --------------------------------------------------------------------------------- */

static enum octet_status generate_text(struct eval *e, struct hole *hole, struct job *job,
                                       struct buffer *text, struct octet_err *err) {
    struct seat *const seat = &e->seat;
    enum octet_status status = seat_take(seat, e->model, job, err);
    bool over = false;
    while (status == OCTET_OK && job->finish == FINISH_NONE && !over) {
        struct told told;
        status = octet_session_sync(seat->session, seat->tokens.ids, seat->tokens.n, err);
        seat->n_computed = octet_session_length(seat->session);
        if (status == OCTET_OK) status = seat_pick(seat, e->model, &told, err);
        if (status != OCTET_OK) break;
        if (!buffer_append(text, told.n_bytes ? told.text : "", told.n_bytes))
            return octet_fail_memory(err, "an answer", text->n);
        fim_cut(hole, text->bytes, text->n, false, &over);
    }
    return status;
}

/* Fills HOLE with the likeliest text. */
static enum octet_status fill(struct eval *e, struct hole *hole, struct buffer *text,
                              size_t *n_tokens, struct octet_err *err) {
    struct job *const job = job_new();
    if (!job) return octet_fail_memory(err, "a job", sizeof *job);
    job->sampling.temperature = 0;
    job->max_tokens = e->args->max_tokens;
    enum octet_status status = fim_prepare(
        e->model, hole, (size_t)octet_session_n_ctx(e->seat.session), job, err);
    if (status == OCTET_OK) status = generate_text(e, hole, job, text, err);
    if (status == OCTET_OK) fim_keep(hole, text);
    *n_tokens = job->n_generated;
    e->seat.job = NULL;
    job_free(job);
    return status;
}

static enum octet_status write_row(struct eval *e, size_t row, enum fim_method method,
                                   const struct buffer *text, bool exact, double similar,
                                   struct octet_err *err) {
    if (!e->file) return OCTET_OK;
    json_t *const json = json_pack("{s:I, s:s, s:o, s:b, s:f}", "row", (json_int_t)row, "method",
                                   fim_method_name(method), "text",
                                   json_out_text(text->bytes, text->n), "exact", exact,
                                   "similarity", similar);
    const bool fine = json && json_dumpf(json, e->file, JSON_COMPACT) == 0 &&
                      fputc('\n', e->file) != EOF;
    json_decref(json);
    return fine ? OCTET_OK : octet_fail(err, OCTET_EIO, "%s: cannot be written", e->args->rows);
}

static enum octet_status score_row(struct eval *e, size_t i, const json_t *row,
                                   enum fim_method method, struct score *score,
                                   struct octet_err *err) {
    const char *const prefix = json_text_get(row, "prompt"), *const suffix =
        json_text_get(row, "suffix"), *const wanted = json_text_get(row, "canonical_solution");
    if (!prefix || !suffix || !wanted)
        return octet_fail(err, OCTET_EFORMAT,
                          "row %zu: expected prompt, suffix and canonical_solution", i + 1);
    struct hole *const hole = hole_new(prefix, suffix);
    struct buffer text = {NULL, 0, 0};
    size_t n_tokens = 0;
    const double begun = probe_seconds();
    enum octet_status status;
    if (hole && hole_set_file(hole, NULL, e->args->language)) {
        hole->method = method;
        status = fill(e, hole, &text, &n_tokens, err);
    } else {
        status = octet_fail_memory(err, "a hole", strlen(prefix));
    }
    if (status == OCTET_OK) {
        const struct span a = stripped(text.bytes), b = stripped(wanted);
        const bool exact = a.n == b.n && memcmp(a.text, b.text, a.n) == 0;
        const double similar = similarity(a, b);
        score->n++;
        score->n_exact += exact;
        score->similarity += similar;
        score->n_tokens += n_tokens;
        score->seconds += probe_seconds() - begun;
        status = write_row(e, i, method, &text, exact, similar, err);
    }
    hole_free(hole);
    buffer_free(&text);
    return status;
}

/* ---- All rows, all methods ------------------------------------------------------------------- */

static bool can_do(const struct octet_model *model, enum fim_method method) {
    struct octet_err err;
    struct hole *const hole = hole_new("a", "b");
    struct job *const job = job_new();
    if (hole) hole->method = method;
    const bool can = hole && job && fim_prepare(model, hole, 1024, job, &err) == OCTET_OK;
    hole_free(hole);
    job_free(job);
    return can;
}

static enum octet_status score_method(struct eval *e, const json_t *rows, size_t n,
                                      enum fim_method method, struct score *score,
                                      struct octet_err *err) {
    const size_t n_all = json_array_size(rows);
    for (size_t i = 0; i < n; i++) {
        const size_t at = i * n_all / n;
        const enum octet_status status =
            score_row(e, at, json_array_get(rows, at), method, score, err);
        if (status != OCTET_OK) return status;
        if (!progress_step(&e->progress, ++e->done, e->total))
            return octet_fail(err, OCTET_ECANCELLED, "cancelled");
    }
    return OCTET_OK;
}

static void print_table(const struct score *scores, enum fim_method best) {
    output_printf("%-11s %6s  %-21s %10s %8s %8s\n", "method", "rows", "exact (95 %)", "similarity",
                  "tokens", "seconds");
    for (int m = FIM_TRAINED; m < N_FIM_METHODS; m++) {
        const struct score *const s = &scores[m];
        if (s->n == 0) continue;
        const double n = (double)s->n;
        const struct stats_interval w = stats_wilson(s->n_exact, s->n);
        output_printf("%-9s%s %6zu  %5.1f %% (%4.1f to %4.1f) %8.1f %% %8.1f %8.2f\n",
                      fim_method_name((enum fim_method)m), m == (int)best ? " *" : "  ", s->n,
                      100 * (double)s->n_exact / n, 100 * w.low, 100 * w.high,
                      100 * s->similarity / n, (double)s->n_tokens / n, s->seconds / n);
    }
    output_printf("\n* what octet serve takes for this model; tokens and seconds are per row\n");
}

static int print_json(const struct score *scores, enum fim_method best) {
    json_t *const methods = json_object();
    for (int m = FIM_TRAINED; m < N_FIM_METHODS; m++) {
        const struct score *const s = &scores[m];
        if (s->n == 0) continue;
        const double n = (double)s->n;
        const struct stats_interval w = stats_wilson(s->n_exact, s->n);
        json_object_set_new(
            methods, fim_method_name((enum fim_method)m),
            json_pack("{s:I, s:{s:f, s:f, s:f}, s:f, s:f, s:f}", "n", (json_int_t)s->n, "exact",
                      "value", (double)s->n_exact / n, "low", w.low, "high", w.high, "similarity",
                      s->similarity / n, "tokens", (double)s->n_tokens / n, "seconds",
                      s->seconds / n));
    }
    return json_out_print(
        json_pack("{s:s, s:o}", "auto", fim_method_name(best), "methods", methods));
}

static enum octet_status score_rows(struct eval *e, const json_t *rows, struct score *scores,
                                    struct octet_err *err) {
    const size_t n_all = json_array_size(rows), limit = (size_t)e->args->limit;
    const size_t n = limit > 0 && limit < n_all ? limit : n_all;
    bool wanted[N_FIM_METHODS] = {false};
    for (int m = FIM_TRAINED; m < N_FIM_METHODS; m++) {
        wanted[m] = (e->args->method == 0 && can_do(e->model, (enum fim_method)m)) ||
                    e->args->method == m;
        e->total += wanted[m] ? n : 0;
    }
    enum octet_status status = OCTET_OK;
    for (int m = FIM_TRAINED; m < N_FIM_METHODS && status == OCTET_OK; m++)
        if (wanted[m])
            status = score_method(e, rows, n, (enum fim_method)m, &scores[m], err);
    return status;
}

static int run_eval(const char *path, struct eval *e, const struct session_args *session) {
    struct octet_err err;
    struct score scores[N_FIM_METHODS] = {0};
    json_t *const rows = json_array();
    const struct octet_session_options options = {
        .n_ctx = session->n_ctx,
        .prefill_chunk = session->prefill_chunk,
        .kv_type = (enum octet_kv_type)session->kv_type,
    };
    progress_open(&e->progress, "holes", PROGRESS_RUNS);
    enum octet_status status =
        rows ? json_lines_read(path, rows, &err) : octet_fail_memory(&err, "rows", 0);
    if (status == OCTET_OK && json_array_size(rows) == 0)
        status = octet_fail(&err, OCTET_EFORMAT, "%s: no rows", path);
    if (status == OCTET_OK) status = seat_open(&e->seat, e->model, &options, NULL, &err);
    if (status == OCTET_OK) status = score_rows(e, rows, scores, &err);
    progress_close(&e->progress);
    seat_close(&e->seat);
    json_decref(rows);
    if (status != OCTET_OK) return output_failure(&err);
    const enum fim_method best = fim_best_method(e->model);
    if (e->args->json) return print_json(scores, best);
    print_table(scores, best);
    return EXIT_DONE;
}

static int open_and_run(const char *path, const struct model_args *model,
                        const struct session_args *session, const struct fim_args *args) {
    struct eval eval = {.args = args};
    int status = options_open_model(model, false, &eval.model);
    if (status != OPTIONS_RUN) return status;
    if (args->rows) eval.file = fopen(args->rows, "w");
    if (args->rows && !eval.file)
        status = output_error("%s: cannot be written", args->rows);
    else
        status = run_eval(path, &eval, session);
    if (eval.file && fclose(eval.file) != 0 && status == EXIT_DONE)
        status = output_error("%s: cannot be written", args->rows);
    octet_model_close(eval.model);
    return status;
}

static int run(const struct command *command, int argc, char **argv) {
    struct fim_args args;
    struct model_args model_args;
    struct session_args session_args;
    struct option_group groups[] = {
        options_model_group(&model_args),
        {"Fim-eval", option_rows, sizeof option_rows / sizeof *option_rows, &args, &defaults,
         sizeof args},
        options_session_group(&session_args),
    };
    struct arguments arguments;
    int status = options_parse(command, groups, 3, argc, argv, 1, 1, &arguments);
    if (status != OPTIONS_RUN) return status;
    status = open_and_run(arguments.items[0], &model_args, &session_args, &args);
    options_free(groups, 3);
    return status;
}

const struct command cmd_fim_eval = {
    "fim-eval",
    "how well a model fills holes in code, method by method",
    "ROWS -m MODEL",
    "Fills the holes of a file of rows (JSON lines, also gzipped, as HumanEval-Infilling has them: "
    "prompt, suffix, canonical_solution) with the likeliest text, by each method that octet serve "
    "has for the model, and compares with what stood there: how often it is the same but for "
    "blanks around it, and how similar it is (1 less the edit distance by the longer text).",
    "  octet fim-eval HumanEval-SingleLineInfilling.jsonl.gz -m model.gguf --limit 100\n"
    "  octet fim-eval rows.jsonl -m model.gguf --method instruct --rows filled.jsonl --json\n",
    run,
};
