/* From answers to numbers of one model. Where a task was answered several times, rates and tests
 * are about the first sample, so that tasks stay independent; pass@k and money are about all. */
#include "compare/summary.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/grade.h"

const char *summary_text(const json_t *object, const char *key) {
    const char *const text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

double summary_number(const json_t *object, const char *key) {
    const json_t *const value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static size_t count_of(const json_t *object, const char *key) {
    const json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (size_t)value : 0;
}

/* ---- One answer ------------------------------------------------------------------------------ */

/* The funnel state of JUDGED; N_FUNNEL where there is none because the code could not be run. */
static enum funnel state_of(const json_t *judged) {
    const char *const base = summary_text(json_object_get(judged, "verdict"), "base");
    if (strcmp(base, grade_name(GRADE_NO_TOOL)) == 0) return N_FUNNEL;
    const char *const name = summary_text(judged, "state");
    int state = 0;
    while (state < N_FUNNEL && strcmp(funnel_name((enum funnel)state), name) != 0) state++;
    return (enum funnel)state;
}

/* Sums over the answers of one model. */
struct sums {
    double bytes, prose, comments, dropped;
    double wasted, waste_base; // tokens, completion tokens of the answers that tell theirs
    double units, hollow;
    double *ttft, *speed, *gaps; // known values
    size_t n_ttft, n_speed, n_gaps, cap_ttft, cap_speed, cap_gaps;
    bool no_memory;
};

static void push(struct sums *sums, double **values, size_t *n, size_t *cap, double value) {
    if (!isfinite(value)) return;
    if (!mem_reserve((void **)values, cap, *n + 1, sizeof **values)) {
        sums->no_memory = true;
        return;
    }
    (*values)[(*n)++] = value;
}

static void add_times(struct sums *sums, const json_t *answer, double completion) {
    const double total = summary_number(answer, "total_s");
    push(sums, &sums->ttft, &sums->n_ttft, &sums->cap_ttft, summary_number(answer, "ttft_s"));
    if (total > 0) {
        push(sums, &sums->speed, &sums->n_speed, &sums->cap_speed, completion / total);
    }
    size_t i;
    const json_t *gap;
    json_array_foreach(json_object_get(answer, "gaps_s"), i, gap) {
        push(sums, &sums->gaps, &sums->n_gaps, &sums->cap_gaps, json_number_value(gap));
    }
}

static void add_reading(struct sums *sums, const json_t *answer, const json_t *judged,
                        double completion) {
    const double bytes = (double)count_of(answer, "bytes");
    const double comments = (double)count_of(judged, "comment_bytes");
    const double kept = (double)count_of(judged, "code_bytes") + comments;
    sums->bytes += bytes;
    sums->comments += comments;
    sums->dropped += (double)count_of(judged, "dropped_bytes");
    sums->prose += (double)count_of(judged, "prose_before_bytes") +
                   (double)count_of(judged, "prose_after_bytes");
    sums->units += (double)count_of(judged, "units");
    sums->hollow += (double)count_of(judged, "hollow_units");
    if (isfinite(completion)) {
        sums->wasted += completion * (bytes > 0 ? 1 - fmin(kept / bytes, 1) : 1);
        sums->waste_base += completion;
    }
}

static void add_judged(struct summary_cell *cell, struct summary_model *model, enum funnel state) {
    const bool solved = state >= FUNNEL_PASSES_BASE, plus = state == FUNNEL_PASSES_PLUS;
    model->funnel[state]++;
    cell->n++;
    cell->n_solved += solved;
    cell->n_plus += plus;
}

static void add_answer(struct summary *summary, struct summary_model *model,
                       struct summary_cell *cell, struct sums *sums, const json_t *answer) {
    const json_t *const judged = json_object_get(answer, "judged");
    const json_t *const verdict = json_object_get(judged, "verdict");
    const json_t *const usage = json_object_get(answer, "usage");
    const bool first = json_integer_value(json_object_get(answer, "sample")) == 0;
    if (first) cell->first = answer;
    model->n_answers++;
    model->n_lost += count_of(usage, "lost_prompt") + count_of(usage, "lost_completion") > 0;
    if (json_is_string(json_object_get(answer, "error"))) {
        model->n_errors++;
        return;
    }
    const enum funnel state = json_is_object(judged) ? state_of(judged) : N_FUNNEL;
    if (state == N_FUNNEL) {
        model->n_unjudged++;
        return;
    }
    const double completion = summary_number(usage, "completion"),
                 cost = summary_number(judged, "cost");
    add_judged(cell, model, state);
    if (first) {
        cell->counts = true;
        cell->state = state;
        cell->solved = state >= FUNNEL_PASSES_BASE;
        cell->solved_plus = state == FUNNEL_PASSES_PLUS;
    }
    if (json_is_string(json_object_get(verdict, "plus"))) summary->has_plus = true;
    model->n_same_process += json_is_true(json_object_get(verdict, "same_process"));
    model->n_estimated += json_is_true(json_object_get(usage, "estimated"));
    model->n_placeholders += json_array_size(json_object_get(judged, "placeholders"));
    model->prompt_tokens += summary_number(usage, "prompt");
    model->completion_tokens += completion;
    if (isnan(cost)) {
        model->n_unpriced++;
    } else {
        model->currency = summary_text(judged, "currency");
    }
    cell->cost += cost;
    model->cost += cost;
    add_reading(sums, answer, judged, completion);
    add_times(sums, answer, completion);
}

/* ---- One model ------------------------------------------------------------------------------- */

static double share(double part, double whole) { return whole > 0 ? part / whole : NAN; }

static void sum_up(struct summary_model *model, struct sums *sums) {
    model->prose_share = share(sums->prose, sums->bytes);
    model->comment_share = share(sums->comments, sums->bytes);
    model->dropped_share = share(sums->dropped, sums->bytes);
    model->wasted_share = share(sums->wasted, sums->waste_base);
    model->wasted_tokens = sums->waste_base > 0 ? sums->wasted : NAN;
    model->hollow_share = share(sums->hollow, sums->units);
    stats_sort(sums->ttft, sums->n_ttft);
    stats_sort(sums->gaps, sums->n_gaps);
    stats_sort(sums->speed, sums->n_speed);
    model->n_ttft = sums->n_ttft;
    model->n_gaps = sums->n_gaps;
    model->ttft_p50 = stats_percentile(sums->ttft, sums->n_ttft, 50);
    model->ttft_p90 = stats_percentile(sums->ttft, sums->n_ttft, 90);
    model->gap_p50 = stats_percentile(sums->gaps, sums->n_gaps, 50);
    model->gap_p90 = stats_percentile(sums->gaps, sums->n_gaps, 90);
    model->gap_p99 = stats_percentile(sums->gaps, sums->n_gaps, 99);
    model->tokens_per_s = stats_percentile(sums->speed, sums->n_speed, 50);
    if (model->n_answers == model->n_errors + model->n_unjudged) {
        model->cost = model->prompt_tokens = model->completion_tokens = NAN;
    }
    if (isnan(model->cost)) model->currency = "";
    model->cost_per_1000 =
        1000 * share(model->cost, model->prompt_tokens + model->completion_tokens);
}

static void count_tasks(const struct summary *summary, struct summary_model *model,
                        const struct summary_cell *cells) {
    double pass_1 = 0, pass_k = 0, plus_k = 0;
    size_t n_any = 0, n_all = 0;
    for (size_t i = 0; i < summary->n_tasks; i++) {
        const struct summary_cell *const cell = &cells[i];
        model->n_tasks += cell->counts;
        model->solved += cell->solved;
        model->solved_plus += cell->solved_plus;
        if (cell->n > 0) {
            pass_1 += stats_pass_at_k(cell->n, cell->n_solved, 1);
            n_any++;
        }
        if (cell->n >= summary->n_samples) {
            pass_k += stats_pass_at_k(cell->n, cell->n_solved, summary->n_samples);
            plus_k += stats_pass_at_k(cell->n, cell->n_plus, summary->n_samples);
            n_all++;
        }
    }
    model->pass_1 = n_any > 0 ? pass_1 / (double)n_any : NAN;
    model->pass_k = n_all > 0 ? pass_k / (double)n_all : NAN;
    model->pass_k_plus = n_all > 0 ? plus_k / (double)n_all : NAN;
    model->interval = stats_wilson(model->solved, model->n_tasks);
    model->interval_plus = stats_wilson(model->solved_plus, model->n_tasks);
}

/* Interval of the money per solved task: tasks are what is drawn. */
static enum octet_status price_solved(const struct summary *summary, struct summary_model *model,
                                      const struct summary_cell *cells, struct octet_err *err) {
    double *const columns = mem_array(2 * summary->n_tasks + 1, sizeof *columns);
    if (!columns) return octet_fail_memory(err, "summary", summary->n_tasks);
    double *const cost = columns;
    double *const solved = columns + summary->n_tasks;
    size_t n = 0;
    for (size_t i = 0; i < summary->n_tasks; i++) {
        if (cells[i].n == 0) continue;
        cost[n] = cells[i].cost;
        solved[n++] = (double)cells[i].n_solved;
    }
    if (isnan(model->cost)) n = 0; // all of the estimate becomes NAN
    const double *const both[] = {cost, solved};
    const enum octet_status status =
        stats_bootstrap(both, 2, n, stats_ratio, STATS_SEED, &model->per_solved, err);
    mem_free(columns);
    return status;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static bool is_excluded(const json_t *task) {
    return json_is_string(json_object_get(task, "excluded"));
}

static size_t task_index(const struct summary *summary, const char *id, size_t guess) {
    const size_t n = summary->n_tasks;
    for (size_t k = 0; k < n; k++) { // answers come in the order of tasks
        const size_t i = (guess + k) % n;
        if (strcmp(summary_text(summary->tasks[i], "id"), id) == 0) return i;
    }
    return n;
}

static enum octet_status fill_model(struct summary *summary, size_t i, struct octet_err *err) {
    struct summary_model *const model = &summary->models[i];
    struct summary_cell *const cells = summary->cells + i * summary->n_tasks;
    struct sums sums = {0};
    size_t k, at = 0;
    const json_t *answer;
    json_array_foreach(json_object_get(summary->document, "answers"), k, answer) {
        if (strcmp(summary_text(answer, "model"), model->name) != 0) continue;
        const size_t task = task_index(summary, summary_text(answer, "task"), at);
        if (task == summary->n_tasks) continue; // an excluded one
        at = task;
        add_answer(summary, model, &cells[task], &sums, answer);
    }
    sum_up(model, &sums);
    mem_free(sums.ttft);
    mem_free(sums.speed);
    mem_free(sums.gaps);
    if (sums.no_memory) return octet_fail_memory(err, "summary", 0);
    return OCTET_OK;
}

static enum octet_status list_parts(struct summary *summary, struct octet_err *err) {
    const json_t *const tasks = json_object_get(summary->document, "tasks");
    const json_t *const models = json_object_get(summary->document, "models");
    const size_t n_tasks = json_array_size(tasks), n_models = json_array_size(models);
    uint64_t n_cells;
    summary->tasks = mem_array(n_tasks + 1, sizeof *summary->tasks);
    summary->models = mem_array(n_models + 1, sizeof *summary->models);
    if (!mul_overflows(n_tasks, n_models, &n_cells)) {
        summary->cells = mem_array(n_cells + 1, sizeof *summary->cells);
    }
    if (!summary->tasks || !summary->models || !summary->cells) {
        return octet_fail_memory(err, "summary", n_tasks);
    }
    size_t i;
    const json_t *item;
    json_array_foreach(tasks, i, item) {
        if (!is_excluded(item)) summary->tasks[summary->n_tasks++] = item;
    }
    summary->n_excluded = n_tasks - summary->n_tasks;
    json_array_foreach(models, i, item) {
        summary->models[summary->n_models++] = (struct summary_model){
            .name = summary_text(item, "name"), .info = item, .row = i, .currency = ""};
    }
    return OCTET_OK;
}

static void count_samples(struct summary *summary) {
    summary->n_samples = 1;
    for (size_t i = 0; i < summary->n_models * summary->n_tasks; i++) {
        if (summary->cells[i].n > summary->n_samples) summary->n_samples = summary->cells[i].n;
    }
}

enum octet_status summary_make(const json_t *document, struct summary *out, struct octet_err *err) {
    *out = (struct summary){.document = document};
    json_incref((json_t *)(uintptr_t)document);
    enum octet_status status = list_parts(out, err);
    for (size_t i = 0; i < out->n_models && status == OCTET_OK; i++) {
        status = fill_model(out, i, err);
    }
    if (status == OCTET_OK) count_samples(out);
    for (size_t i = 0; i < out->n_models && status == OCTET_OK; i++) {
        const struct summary_cell *const cells = out->cells + i * out->n_tasks;
        count_tasks(out, &out->models[i], cells);
        status = price_solved(out, &out->models[i], cells, err);
    }
    if (status == OCTET_OK) status = summary_rank(out, err);
    if (status != OCTET_OK) summary_free(out);
    return status;
}

void summary_free(struct summary *summary) {
    mem_free(summary->models);
    mem_free(summary->tasks);
    mem_free(summary->cells);
    mem_free(summary->pairs);
    mem_free(summary->verdict);
    json_decref((json_t *)(uintptr_t)summary->document);
    *summary = (struct summary){0};
}
