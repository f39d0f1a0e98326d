/* Writing what a run brings: tasks, answers, readings and verdicts. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/store_impl.h"

/* ---- Tasks ----------------------------------------------------------------------------------- */

static const char *shape_name(enum task_shape shape) {
    switch (shape) {
    case TASK_TEXT: return "text";
    case TASK_CODE: return "code";
    case TASK_HOLE: break;
    }
    return "hole";
}

static void put_task(struct query *query, int64_t run, size_t i, const struct task *task) {
    query_int(query, run);
    query_int(query, (int64_t)i);
    query_text(query, task->id);
    query_text(query, task->language);
    query_text(query, shape_name(task->shape));
    query_text(query, task->prompt);
    query_text(query, task->suffix);
    query_text(query, task->entry);
    query_text(query, task->reference);
    query_text(query, task->excluded);
    query_again(query);
}

enum octet_status store_put_tasks(struct store *store, int64_t run, const struct task_set *set,
                                  struct octet_err *err) {
    enum octet_status status = store_begin_change(store, err);
    if (status != OCTET_OK) return status;
    struct query query;
    query_open(&query, store, "UPDATE run SET license = ?, source = ? WHERE id = ?");
    query_text(&query, set->license);
    query_text(&query, set->source);
    query_int(&query, run);
    status = query_close(&query, err);
    if (status == OCTET_OK) {
        query_open(&query, store,
                   "INSERT INTO task (run, position, id, language, shape, prompt, suffix, entry,"
                   " reference, excluded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                   " ON CONFLICT DO NOTHING");
        for (size_t i = 0; i < set->n_tasks; i++) put_task(&query, run, i, &set->tasks[i]);
        status = query_close(&query, err);
    }
    return store_end_change(store, status, err);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void query_count(struct query *query, int64_t count) { // -1, unknown, becomes NULL
    if (count >= 0) {
        query_int(query, count);
    } else {
        query_text(query, NULL);
    }
}

static void bind_reply(struct query *query, const struct reply *reply) {
    query_blob(query, reply->text, reply->n_bytes);
    query_text(query, reply->finish_reason);
    query_text(query, reply->model);
    query_text(query, reply->date);
    query_count(query, reply->usage.prompt);
    query_count(query, reply->usage.cached);
    query_count(query, reply->usage.completion);
    query_count(query, reply->usage.reasoning);
    query_int(query, reply->usage.estimated);
    query_int(query, reply->lost.prompt > 0 ? reply->lost.prompt : 0);
    query_int(query, reply->lost.completion > 0 ? reply->lost.completion : 0);
    query_real(query, reply->ttft_s);
    query_real(query, reply->total_s);
    query_blob(query, reply->token_gaps_s, reply->n_gaps * sizeof *reply->token_gaps_s);
    query_int(query, reply->n_retries);
    query_text(query, reply->error);
}

enum octet_status store_put_answer(struct store *store, int64_t run, const char *model,
                                   const char *task, int sample, const struct reply *reply,
                                   struct octet_err *err) {
    struct query query;
    query_open(&query, store,
               "INSERT INTO answer (run, model, task, sample, text, finish_reason, served_model,"
               " date, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens,"
               " tokens_estimated, lost_prompt_tokens, lost_completion_tokens, ttft_s, total_s,"
               " gaps, retries, error)"
               " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
               " ON CONFLICT (run, model, task, sample) DO UPDATE SET attempts = attempts + 1,"
               " text = excluded.text, finish_reason = excluded.finish_reason,"
               " served_model = excluded.served_model, date = excluded.date,"
               " prompt_tokens = excluded.prompt_tokens, cached_tokens = excluded.cached_tokens,"
               " completion_tokens = excluded.completion_tokens,"
               " reasoning_tokens = excluded.reasoning_tokens,"
               " tokens_estimated = excluded.tokens_estimated,"
               " lost_prompt_tokens = lost_prompt_tokens + excluded.lost_prompt_tokens,"
               " lost_completion_tokens = lost_completion_tokens + excluded.lost_completion_tokens,"
               " ttft_s = excluded.ttft_s, total_s = excluded.total_s, gaps = excluded.gaps,"
               " retries = retries + excluded.retries, error = excluded.error"
               " WHERE answer.error IS NOT NULL");
    query_int(&query, run);
    query_text(&query, model);
    query_text(&query, task);
    query_int(&query, sample);
    bind_reply(&query, reply);
    query_again(&query);
    const bool taken = query.rc == SQLITE_OK && sqlite3_changes(store->db) == 0;
    const bool foreign = query.rc == SQLITE_CONSTRAINT_FOREIGNKEY;
    if (foreign) query.rc = SQLITE_OK;
    const enum octet_status status = query_close(&query, err);
    if (foreign) {
        return octet_fail(err, OCTET_EARG, "run %" PRId64 " has no model '%.100s' or task '%.100s'",
                          run, model, task);
    }
    if (taken) {
        return octet_fail(err, OCTET_EARG,
                          "run %" PRId64 " has an answer of '%.100s' to '%.100s' already", run,
                          model, task);
    }
    return status;
}

static int64_t row_count(const struct query *query, int column) {
    if (sqlite3_column_type(query->statement, column) == SQLITE_NULL) return -1;
    return sqlite3_column_int64(query->statement, column);
}

/* NULL for NULL and, with query->rc set, when out of memory. */
static char *row_copy(struct query *query, int column) {
    if (sqlite3_column_type(query->statement, column) == SQLITE_NULL) return NULL;
    const char *const text = row_text(query, column);
    char *const copy = mem_strdup(text, strlen(text));
    if (!copy) query->rc = SQLITE_NOMEM;
    return copy;
}

static void read_reply(struct query *query, struct reply *out) {
    const void *const text = sqlite3_column_blob(query->statement, 0);
    out->n_bytes = (size_t)sqlite3_column_bytes(query->statement, 0);
    out->text = mem_strdup(text ? text : "", out->n_bytes);
    out->finish_reason = row_copy(query, 1);
    out->model = row_copy(query, 2);
    out->date = row_copy(query, 3);
    out->usage = (struct usage){row_count(query, 4), row_count(query, 5), row_count(query, 6),
                                row_count(query, 7), sqlite3_column_int(query->statement, 8) != 0};
    out->lost.prompt = row_count(query, 9);
    out->lost.completion = row_count(query, 10);
    out->ttft_s = row_real(query, 11);
    out->total_s = row_real(query, 12);
    const void *const gaps = sqlite3_column_blob(query->statement, 13);
    out->n_gaps = (size_t)sqlite3_column_bytes(query->statement, 13) / sizeof *out->token_gaps_s;
    out->token_gaps_s = mem_array(out->n_gaps, sizeof *out->token_gaps_s);
    out->n_retries = sqlite3_column_int(query->statement, 14);
    if (!out->text || !out->token_gaps_s) {
        query->rc = SQLITE_NOMEM;
    } else if (out->n_gaps > 0) {
        memcpy(out->token_gaps_s, gaps, out->n_gaps * sizeof *out->token_gaps_s);
    }
}

enum octet_status store_get_answer(struct store *store, int64_t run, const char *model,
                                   const char *task, int sample, bool *found, struct reply *out,
                                   struct octet_err *err) {
    struct query query;
    *out = (struct reply){0};
    query_open(&query, store,
               "SELECT text, finish_reason, served_model, date, prompt_tokens, cached_tokens,"
               " completion_tokens, reasoning_tokens, tokens_estimated, lost_prompt_tokens,"
               " lost_completion_tokens, ttft_s, total_s, gaps, retries FROM answer"
               " WHERE run = ? AND model = ? AND task = ? AND sample = ? AND error IS NULL");
    query_int(&query, run);
    query_text(&query, model);
    query_text(&query, task);
    query_int(&query, sample);
    *found = query_step(&query);
    if (*found) read_reply(&query, out);
    const enum octet_status status = query_close(&query, err);
    if (status != OCTET_OK && *found) {
        reply_free(out);
        *found = false;
    }
    return status;
}

/* ---- Readings and verdicts ------------------------------------------------------------------- */

static const char *span_name(enum span_kind kind) {
    switch (kind) {
    case SPAN_PROSE_BEFORE: return "prose before";
    case SPAN_PROSE_AFTER: return "prose after";
    case SPAN_CODE: return "code";
    case SPAN_COMMENT: return "comment";
    case SPAN_DROPPED: break;
    }
    return "dropped";
}

/* [begin, end, label]; NULL when out of memory. */
static json_t *mark_json(size_t begin, size_t end, const char *label) {
    return json_pack("[I, I, s]", (json_int_t)begin, (json_int_t)end, label);
}

static json_t *spans_json(const struct reading *reading) {
    json_t *const list = json_array();
    for (size_t i = 0; i < reading->n_spans; i++) {
        const struct span *const span = &reading->spans[i];
        json_array_append_new(list, mark_json(span->begin, span->end, span_name(span->kind)));
    }
    return list;
}

static json_t *placeholders_json(const struct reading *reading) {
    json_t *const list = json_array();
    for (size_t i = 0; i < reading->n_placeholders; i++) {
        const struct placeholder *const mark = &reading->placeholders[i];
        json_array_append_new(list, mark_json(mark->begin, mark->end, mark->rule));
    }
    return list;
}

static enum octet_status put_reading(struct store *store, int64_t answer,
                                     const struct judged *judged, struct octet_err *err) {
    const struct reading *const reading = judged->reading;
    json_t *const spans = spans_json(reading);
    json_t *const placeholders = placeholders_json(reading);
    struct query query;
    query_open(&query, store,
               "INSERT INTO judged (answer, state, cost, currency, has_code, truncated, parses,"
               " has_entry, units, hollow_units, code_bytes, comment_bytes, dropped_bytes,"
               " prose_before_bytes, prose_after_bytes, length_ratio, spans, placeholders)"
               " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_int(&query, answer);
    query_text(&query, funnel_name(judged->state));
    query_real(&query, judged->cost);
    query_text(&query, judged->currency);
    query_int(&query, reading->has_code);
    query_int(&query, reading->truncated);
    query_int(&query, reading->parses);
    query_int(&query, reading->has_entry);
    query_int(&query, (int64_t)reading->n_units);
    query_int(&query, (int64_t)reading->n_hollow_units);
    query_int(&query, (int64_t)reading->code_bytes);
    query_int(&query, (int64_t)reading->comment_bytes);
    query_int(&query, (int64_t)reading->dropped_bytes);
    query_int(&query, (int64_t)reading->prose_before_bytes);
    query_int(&query, (int64_t)reading->prose_after_bytes);
    query_real(&query, reading->length_ratio);
    query_json(&query, spans);
    query_json(&query, placeholders);
    json_decref(spans);
    json_decref(placeholders);
    return query_close(&query, err);
}

static enum octet_status put_verdict(struct store *store, int64_t answer, const char *reading,
                                     const struct verdict *verdict, struct octet_err *err) {
    struct query query;
    query_open(&query, store,
               "INSERT INTO verdict (answer, reading, base, plus, same_process, tests, passed,"
               " detail, output, seconds, layers) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_int(&query, answer);
    query_text(&query, reading);
    query_text(&query, grade_name(verdict->base));
    query_text(&query, verdict->has_plus ? grade_name(verdict->plus) : NULL);
    query_int(&query, verdict->same_process);
    query_int(&query, (int64_t)verdict->n_tests);
    query_int(&query, (int64_t)verdict->n_passed);
    query_text(&query, verdict->detail);
    query_blob(&query, verdict->output, verdict->output ? strlen(verdict->output) : 0);
    query_real(&query, verdict->seconds);
    query_int(&query, verdict->layers);
    return query_close(&query, err);
}

static enum octet_status find_answer(struct store *store, int64_t run, const char *model,
                                     const char *task, int sample, int64_t *id,
                                     struct octet_err *err) {
    struct query query;
    query_open(&query, store,
               "SELECT id FROM answer WHERE run = ? AND model = ? AND task = ? AND sample = ?");
    query_int(&query, run);
    query_text(&query, model);
    query_text(&query, task);
    query_int(&query, sample);
    const bool found = query_step(&query);
    if (found) *id = sqlite3_column_int64(query.statement, 0);
    const enum octet_status status = query_close(&query, err);
    if (status != OCTET_OK || found) return status;
    return octet_fail(err, OCTET_EARG, "run %" PRId64 " has no answer of '%.100s' to '%.100s'", run,
                      model, task);
}

static enum octet_status forget_judged(struct store *store, int64_t answer, struct octet_err *err) {
    struct query query;
    query_open(&query, store, "DELETE FROM judged WHERE answer = ?"); // and its verdicts
    query_int(&query, answer);
    return query_close(&query, err);
}

enum octet_status store_put_judged(struct store *store, int64_t run, const char *model,
                                   const char *task, int sample, const struct judged *judged,
                                   struct octet_err *err) {
    int64_t answer = 0;
    enum octet_status status = store_begin_change(store, err);
    if (status != OCTET_OK) return status;
    status = find_answer(store, run, model, task, sample, &answer, err);
    if (status == OCTET_OK) status = forget_judged(store, answer, err);
    if (status == OCTET_OK) status = put_reading(store, answer, judged, err);
    if (status == OCTET_OK && judged->verdict) {
        status = put_verdict(store, answer, "lenient", judged->verdict, err);
    }
    if (status == OCTET_OK && judged->strict) {
        status = put_verdict(store, answer, "strict", judged->strict, err);
    }
    return store_end_change(store, status, err);
}
