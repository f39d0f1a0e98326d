/* Reports for programs: one line of JSON, and CSV. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compare/report.h"
#include "compare/report_text.h"

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *interval(double low, double high) {
    return json_pack("[o, o]", number(low), number(high));
}

static json_t *funnel_json(const struct summary_model *model) {
    json_t *const object = json_object();
    for (int i = 0; i < N_FUNNEL; i++) {
        json_object_set_new(object, funnel_name((enum funnel)i),
                            json_integer((json_int_t)model->funnel[i]));
    }
    return object;
}

static json_t *model_json(const struct summary_model *model) {
    json_t *const object =
        json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "name", model->name, "tasks",
                  (json_int_t)model->n_tasks, "solved", (json_int_t)model->solved, "solved_plus",
                  (json_int_t)model->solved_plus, "prose_share", number(model->prose_share),
                  "hollow_share", number(model->hollow_share), "cost", number(model->cost),
                  "cost_per_solved", number(model->per_solved.value));
    json_t *const more = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "solved_interval",
        interval(model->interval.low, model->interval.high), "solved_plus_interval",
        interval(model->interval_plus.low, model->interval_plus.high), "pass_1",
        number(model->pass_1), "pass_k", number(model->pass_k), "wasted_share",
        number(model->wasted_share), "wasted_tokens", number(model->wasted_tokens), "comment_share",
        number(model->comment_share), "prompt_tokens", number(model->prompt_tokens),
        "completion_tokens", number(model->completion_tokens), "cost_per_1000_tokens",
        number(model->cost_per_1000), "cost_per_solved_interval",
        interval(model->per_solved.low, model->per_solved.high));
    json_t *const times =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:s}", "ttft_p50_s",
                  number(model->ttft_p50), "ttft_p90_s", number(model->ttft_p90), "gap_p50_s",
                  number(model->gap_p50), "gap_p90_s", number(model->gap_p90), "gap_p99_s",
                  number(model->gap_p99), "tokens_per_s", number(model->tokens_per_s), "funnel",
                  funnel_json(model), "errors", (json_int_t)model->n_errors, "unjudged",
                  (json_int_t)model->n_unjudged, "unpriced", (json_int_t)model->n_unpriced,
                  "tie_group", (json_int_t)model->group + 1, "currency", model->currency);
    const bool fine =
        json_object_update(object, more) == 0 && json_object_update(object, times) == 0;
    json_decref(more);
    json_decref(times);
    if (fine) return object;
    json_decref(object);
    return NULL;
}

static json_t *pair_json(const struct summary *summary, const struct summary_pair *pair) {
    return json_pack("{s:s, s:s, s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "a",
                     summary->models[pair->a].name, "b", summary->models[pair->b].name, "tasks",
                     (json_int_t)pair->n_tasks, "gap", number(pair->gap), "only_a",
                     (json_int_t)pair->only_a, "only_b", (json_int_t)pair->only_b, "p",
                     number(pair->p), "p_holm", number(pair->p_holm), "cost_per_solved_difference",
                     number(pair->money.value), "cost_per_solved_difference_interval",
                     interval(pair->money.low, pair->money.high));
}

char *report_json_line(const struct summary *summary) {
    json_t *const models = json_array();
    json_t *const pairs = json_array();
    bool fine = true;
    for (size_t i = 0; i < summary->n_models; i++) {
        fine = fine && json_array_append_new(models, model_json(&summary->models[i])) == 0;
    }
    for (size_t i = 0; i < summary->n_pairs; i++) {
        fine = fine && json_array_append_new(pairs, pair_json(summary, &summary->pairs[i])) == 0;
    }
    json_t *const line =
        json_pack("{s:o, s:o, s:s}", "models", models, "pairs", pairs, "verdict", summary->verdict);
    char *const text = fine ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    char *const copy = text ? mem_strdup(text, strlen(text)) : NULL;
    free(text); // jansson's
    return copy;
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static const char csv_head[] =
    "model,task,sample,state,solved,solved_plus,error,finish_reason,served_model,date,attempts,"
    "retries,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,tokens_estimated,"
    "cost,currency,bytes,code_bytes,comment_bytes,dropped_bytes,prose_before_bytes,"
    "prose_after_bytes,length_ratio,units,hollow_units,placeholders,tests,passed,same_process,"
    "detail,ttft_s,total_s\n";

static void csv_texts(struct report_text *text, const json_t *object, const char *const *keys) {
    for (; *keys; keys++) {
        report_raw(text, ",");
        const char *const value = summary_text(object, *keys);
        if (value[0]) report_csv_text(text, value);
    }
}

/* Numbers and truth values; what is unknown stays empty. */
static void csv_values(struct report_text *text, const json_t *object, const char *const *keys) {
    for (; *keys; keys++) {
        const json_t *const value = json_object_get(object, *keys);
        report_raw(text, ",");
        if (json_is_integer(value)) {
            report_format(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        } else if (json_is_real(value)) {
            report_format(text, "%.9g", json_real_value(value));
        } else if (json_is_boolean(value)) {
            report_raw(text, json_is_true(value) ? "1" : "0");
        }
    }
}

static void csv_row(struct report_text *text, const json_t *answer) {
    static const char *const about[] = {"error", "finish_reason", "served_model", "date", NULL};
    static const char *const tries[] = {"attempts", "retries", NULL};
    static const char *const tokens[] = {"prompt",    "cached",    "completion",
                                         "reasoning", "estimated", NULL};
    static const char *const cost[] = {"cost", NULL}, *const currency[] = {"currency", NULL};
    static const char *const bytes[] = {"bytes", NULL};
    static const char *const reading[] = {"code_bytes",
                                          "comment_bytes",
                                          "dropped_bytes",
                                          "prose_before_bytes",
                                          "prose_after_bytes",
                                          "length_ratio",
                                          "units",
                                          "hollow_units",
                                          NULL};
    static const char *const tests[] = {"tests", "passed", "same_process", NULL};
    static const char *const detail[] = {"detail", NULL};
    static const char *const times[] = {"ttft_s", "total_s", NULL};
    const json_t *const judged = json_object_get(answer, "judged");
    const json_t *const verdict = json_object_get(judged, "verdict");
    const char *const state = summary_text(judged, "state");
    const bool plus = strcmp(state, funnel_name(FUNNEL_PASSES_PLUS)) == 0;
    const bool solved = plus || strcmp(state, funnel_name(FUNNEL_PASSES_BASE)) == 0;
    report_csv_text(text, summary_text(answer, "model"));
    report_raw(text, ",");
    report_csv_text(text, summary_text(answer, "task"));
    report_format(text, ",%" JSON_INTEGER_FORMAT ",%s,%d,%d",
                  json_integer_value(json_object_get(answer, "sample")), state, solved, plus);
    csv_texts(text, answer, about);
    csv_values(text, answer, tries);
    csv_values(text, json_object_get(answer, "usage"), tokens);
    csv_values(text, judged, cost);
    csv_texts(text, judged, currency);
    csv_values(text, answer, bytes);
    csv_values(text, judged, reading);
    report_format(text, ",%zu", json_array_size(json_object_get(judged, "placeholders")));
    csv_values(text, verdict, tests);
    csv_texts(text, verdict, detail);
    csv_values(text, answer, times);
    report_raw(text, "\n");
}

char *report_csv_rows(const struct summary *summary) {
    struct report_text text = {0};
    report_raw(&text, csv_head);
    size_t i;
    const json_t *answer;
    json_array_foreach(json_object_get(summary->document, "answers"), i, answer) {
        csv_row(&text, answer);
    }
    return report_take(&text);
}
