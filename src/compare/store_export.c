/* Reading a run back, whole: the JSON document that every report is made of. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/box.h"
#include "compare/store_impl.h"
#include "compare/visible.h"

/* jansson's setters take NULL as a failure, which then is the statement's. */
static void set(struct query *query, json_t *object, const char *key, json_t *value) {
    if (json_object_set_new(object, key, value) != 0) query->rc = SQLITE_NOMEM;
}

static void set_text(struct query *query, json_t *object, const char *key, int column) {
    if (sqlite3_column_type(query->statement, column) == SQLITE_NULL) {
        set(query, object, key, json_null());
        return;
    }
    const char *const bytes = sqlite3_column_blob(query->statement, column);
    const size_t n = (size_t)sqlite3_column_bytes(query->statement, column);
    set(query, object, key, visible_json(n > 0 ? bytes : "", n, NULL));
}

static void set_int(struct query *query, json_t *object, const char *key, int column) {
    const bool unknown = sqlite3_column_type(query->statement, column) == SQLITE_NULL;
    const json_int_t value = sqlite3_column_int64(query->statement, column);
    set(query, object, key, unknown ? json_null() : json_integer(value));
}

static void set_bool(struct query *query, json_t *object, const char *key, int column) {
    set(query, object, key, json_boolean(sqlite3_column_int(query->statement, column) != 0));
}

static void set_real(struct query *query, json_t *object, const char *key, int column) {
    const double value = row_real(query, column);
    set(query, object, key, isfinite(value) ? json_real(value) : json_null());
}

/* ---- Run and tasks --------------------------------------------------------------------------- */

static enum octet_status export_run(struct store *store, int64_t id, json_t **out,
                                    struct octet_err *err) {
    struct store_run run;
    enum octet_status status = store_get_run(store, id, &run, err);
    if (status != OCTET_OK) return status;
    json_t *const object = *out =
        json_pack("{s:I, s:s, s:O, s:O}", "id", (json_int_t)id, "key", run.key, "models",
                  run.models, "settings", run.settings);
    store_run_free(&run);
    struct query query;
    // When it was asked, not when it was replayed: a report of a recording is always the same.
    query_open(&query, store,
               "SELECT task_set, set_version, license, source,"
               " coalesce((SELECT min(date) FROM answer WHERE run = run.id), started), finished"
               " FROM run WHERE id = ?");
    query_int(&query, id);
    if (query_step(&query)) {
        set_text(&query, object, "set", 0);
        set_text(&query, object, "set_version", 1);
        set_text(&query, object, "license", 2);
        set_text(&query, object, "source", 3);
        set_text(&query, object, "started", 4);
        set_bool(&query, object, "finished", 5);
    }
    return query_close(&query, err);
}

static enum octet_status export_tasks(struct store *store, int64_t run, json_t *list,
                                      struct octet_err *err) {
    static const char *const keys[] = {"id",     "language", "shape",     "prompt",
                                       "suffix", "entry",    "reference", "excluded"};
    struct query query;
    query_open(&query, store,
               "SELECT id, language, shape, prompt, suffix, entry, reference, excluded FROM task"
               " WHERE run = ? ORDER BY position");
    query_int(&query, run);
    while (query_step(&query)) {
        json_t *const task = json_object();
        for (int i = 0; i < 8; i++) set_text(&query, task, keys[i], i);
        if (json_array_append_new(list, task) != 0) query.rc = SQLITE_NOMEM;
    }
    return query_close(&query, err);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static json_t *gaps_json(const struct query *query, int column) {
    const char *const bytes = sqlite3_column_blob(query->statement, column);
    const int n = sqlite3_column_bytes(query->statement, column) / (int)sizeof(float);
    json_t *const list = json_array();
    for (int i = 0; i < n; i++) {
        float gap;
        memcpy(&gap, bytes + (size_t)i * sizeof gap, sizeof gap);
        const double rounded = round((double)gap * 1e6) / 1e6; // whole microseconds, in decimal too
        if (isfinite(rounded)) json_array_append_new(list, json_real(rounded));
    }
    return list;
}

/* The marks of the column, moved to where the text now has them. */
static json_t *marks_json(const struct query *query, int column,
                          const struct visible_moves *moves) {
    json_t *const list = json_loads(row_text(query, column), 0, NULL);
    size_t i;
    json_t *mark;
    json_array_foreach(list, i, mark) {
        for (size_t k = 0; k < 2; k++) {
            const json_int_t offset = json_integer_value(json_array_get(mark, k));
            const size_t moved = visible_moved(moves, offset > 0 ? (size_t)offset : 0);
            json_array_set_new(mark, k, json_integer((json_int_t)moved));
        }
    }
    return list;
}

enum { ANSWER_COLUMNS = 20 }; // and behind them those of judged

static json_t *judged_json(struct query *query, const struct visible_moves *moves) {
    enum { AT = ANSWER_COLUMNS };
    json_t *const judged = json_object();
    set_text(query, judged, "state", AT);
    set_real(query, judged, "cost", AT + 1);
    set_text(query, judged, "currency", AT + 2);
    set_bool(query, judged, "has_code", AT + 3);
    set_bool(query, judged, "truncated", AT + 4);
    set_bool(query, judged, "parses", AT + 5);
    set_bool(query, judged, "has_entry", AT + 6);
    set_int(query, judged, "units", AT + 7);
    set_int(query, judged, "hollow_units", AT + 8);
    set_int(query, judged, "code_bytes", AT + 9);
    set_int(query, judged, "comment_bytes", AT + 10);
    set_int(query, judged, "dropped_bytes", AT + 11);
    set_int(query, judged, "prose_before_bytes", AT + 12);
    set_int(query, judged, "prose_after_bytes", AT + 13);
    set_real(query, judged, "length_ratio", AT + 14);
    set(query, judged, "spans", marks_json(query, AT + 15, moves));
    set(query, judged, "placeholders", marks_json(query, AT + 16, moves));
    set(query, judged, "verdict", json_null());
    set(query, judged, "strict", json_null());
    return judged;
}

static json_t *answer_json(struct query *query) {
    json_t *const answer = json_object();
    json_t *const usage = json_object();
    struct visible_moves moves = {0};
    const char *const text = sqlite3_column_blob(query->statement, 4);
    const size_t n_bytes = (size_t)sqlite3_column_bytes(query->statement, 4);
    set_text(query, answer, "model", 0);
    set_text(query, answer, "task", 1);
    set_int(query, answer, "sample", 2);
    set_int(query, answer, "attempts", 3);
    set(query, answer, "text", visible_json(n_bytes > 0 ? text : "", n_bytes, &moves));
    set(query, answer, "bytes", json_integer((json_int_t)n_bytes));
    set_text(query, answer, "finish_reason", 5);
    set_text(query, answer, "served_model", 6);
    set_text(query, answer, "date", 7);
    set_int(query, usage, "prompt", 8);
    set_int(query, usage, "cached", 9);
    set_int(query, usage, "completion", 10);
    set_int(query, usage, "reasoning", 11);
    set_bool(query, usage, "estimated", 12);
    set_int(query, usage, "lost_prompt", 13);
    set_int(query, usage, "lost_completion", 14);
    set(query, answer, "usage", usage);
    set_real(query, answer, "ttft_s", 15);
    set_real(query, answer, "total_s", 16);
    set(query, answer, "gaps_s", gaps_json(query, 17));
    set_int(query, answer, "retries", 18);
    set_text(query, answer, "error", 19);
    const bool judged = sqlite3_column_type(query->statement, ANSWER_COLUMNS) != SQLITE_NULL;
    set(query, answer, "judged", judged ? judged_json(query, &moves) : json_null());
    visible_moves_free(&moves);
    return answer;
}

static enum octet_status export_answers(struct store *store, int64_t run, json_t *list,
                                        struct octet_err *err) {
    struct query query;
    query_open(&query, store,
               "SELECT a.model, a.task, a.sample, a.attempts, a.text, a.finish_reason,"
               " a.served_model, a.date, a.prompt_tokens, a.cached_tokens, a.completion_tokens,"
               " a.reasoning_tokens, a.tokens_estimated, a.lost_prompt_tokens,"
               " a.lost_completion_tokens, a.ttft_s, a.total_s, a.gaps, a.retries, a.error,"
               " j.state, j.cost, j.currency, j.has_code, j.truncated, j.parses, j.has_entry,"
               " j.units, j.hollow_units, j.code_bytes, j.comment_bytes, j.dropped_bytes,"
               " j.prose_before_bytes, j.prose_after_bytes, j.length_ratio, j.spans,"
               " j.placeholders"
               " FROM answer a JOIN model m ON m.run = a.run AND m.name = a.model"
               " JOIN task t ON t.run = a.run AND t.id = a.task"
               " LEFT JOIN judged j ON j.answer = a.id"
               " WHERE a.run = ? ORDER BY m.position, t.position, a.sample");
    query_int(&query, run);
    while (query_step(&query)) {
        if (json_array_append_new(list, answer_json(&query)) != 0) query.rc = SQLITE_NOMEM;
    }
    return query_close(&query, err);
}

/* ---- Verdicts -------------------------------------------------------------------------------- */

static json_t *layers_json(unsigned layers) {
    json_t *const list = json_array();
    for (unsigned i = 0; i < BOX_LAYERS; i++) {
        const char *const name = box_layer_name(1u << i);
        if ((layers & 1u << i) != 0 && name) json_array_append_new(list, json_string(name));
    }
    return list;
}

static json_t *verdict_json(struct query *query) {
    json_t *const verdict = json_object();
    set_text(query, verdict, "base", 2);
    set_text(query, verdict, "plus", 3);
    set_bool(query, verdict, "same_process", 4);
    set_int(query, verdict, "tests", 5);
    set_int(query, verdict, "passed", 6);
    set_text(query, verdict, "detail", 7);
    set_text(query, verdict, "output", 8);
    set_real(query, verdict, "seconds", 9);
    set(query, verdict, "layers", layers_json((unsigned)sqlite3_column_int(query->statement, 10)));
    return verdict;
}

/* Rows come in the order of LIST, at most two to each answer. */
static enum octet_status export_verdicts(struct store *store, int64_t run, const json_t *list,
                                         struct octet_err *err) {
    struct query query;
    query_open(&query, store,
               "SELECT i.place, v.reading, v.base, v.plus, v.same_process,"
               " v.tests, v.passed, v.detail, v.output, v.seconds, v.layers"
               " FROM (SELECT a.id AS id, row_number() OVER"
               "  (ORDER BY m.position, t.position, a.sample) - 1 AS place FROM answer a"
               "  JOIN model m ON m.run = a.run AND m.name = a.model"
               "  JOIN task t ON t.run = a.run AND t.id = a.task WHERE a.run = ?) i"
               " JOIN verdict v ON v.answer = i.id");
    query_int(&query, run);
    while (query_step(&query)) {
        const size_t place = (size_t)sqlite3_column_int64(query.statement, 0);
        json_t *const judged = json_object_get(json_array_get(list, place), "judged");
        const bool strict = strcmp(row_text(&query, 1), "strict") == 0;
        set(&query, judged, strict ? "strict" : "verdict", verdict_json(&query));
    }
    return query_close(&query, err);
}

enum octet_status store_export(struct store *store, int64_t run, json_t **out,
                               struct octet_err *err) {
    json_t *about = NULL, *const tasks = json_array(), *const answers = json_array();
    *out = NULL;
    // One transaction: what a run in progress adds meanwhile comes whole or not at all.
    int rc = sqlite3_exec(store->db, "BEGIN", NULL, NULL, NULL);
    enum octet_status status = rc == SQLITE_OK ? OCTET_OK : store_fail(store, rc, err);
    if (status == OCTET_OK) status = export_run(store, run, &about, err);
    if (status == OCTET_OK) status = export_tasks(store, run, tasks, err);
    if (status == OCTET_OK) status = export_answers(store, run, answers, err);
    if (status == OCTET_OK) status = export_verdicts(store, run, answers, err);
    status = store_end_change(store, status, err);
    if (status == OCTET_OK) {
        *out = json_pack("{s:O, s:O, s:O}", "run", about, "tasks", tasks, "answers", answers);
        if (!*out) status = octet_fail_memory(err, "run", 0);
    }
    json_decref(about);
    json_decref(tasks);
    json_decref(answers);
    return status;
}
