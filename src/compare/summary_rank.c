/* Models against each other: the order, paired tests, groups of ties, and the sentence that says
 * what may be concluded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/report_text.h"
#include "compare/summary.h"

static double rate(const struct summary_model *model) {
    return model->n_tasks > 0 ? (double)model->solved / (double)model->n_tasks : -1;
}

/* By rate; equal ones by money, then as they came. */
static int best_first(const void *a, const void *b) {
    const struct summary_model *const x = a;
    const struct summary_model *const y = b;
    const double rate_x = rate(x), rate_y = rate(y);
    if (rate_x > rate_y || rate_x < rate_y) return rate_x > rate_y ? -1 : 1;
    const double cost_x = x->per_solved.value, cost_y = y->per_solved.value;
    if (cost_x < cost_y || cost_x > cost_y) return cost_x < cost_y ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* ---- Pairs ----------------------------------------------------------------------------------- */

/* COLUMNS: 4 of summary->n_tasks. */
static enum octet_status compare_pair(const struct summary *summary, struct summary_pair *pair,
                                      double *columns, struct octet_err *err) {
    const struct summary_model *const a = &summary->models[pair->a];
    const struct summary_model *const b = &summary->models[pair->b];
    const size_t stride = summary->n_tasks;
    const double *const all[] = {columns, columns + stride, columns + 2 * stride,
                                 columns + 3 * stride};
    for (size_t i = 0; i < summary->n_tasks; i++) {
        const struct summary_cell *const x = summary_cell(summary, pair->a, i);
        const struct summary_cell *const y = summary_cell(summary, pair->b, i);
        if (!x->counts || !y->counts) continue;
        columns[pair->n_tasks] = x->cost;
        columns[stride + pair->n_tasks] = (double)x->n_solved;
        columns[2 * stride + pair->n_tasks] = y->cost;
        columns[3 * stride + pair->n_tasks] = (double)y->n_solved;
        pair->only_a += x->solved && !y->solved;
        pair->only_b += y->solved && !x->solved;
        pair->n_tasks++;
    }
    const double n = (double)pair->n_tasks;
    pair->gap = n > 0 ? ((double)pair->only_a - (double)pair->only_b) / n : NAN;
    pair->p = stats_mcnemar(pair->only_a, pair->only_b);
    pair->priced = a->currency[0] && strcmp(a->currency, b->currency) == 0;
    return stats_bootstrap(all, 4, pair->priced ? pair->n_tasks : 0, stats_ratio_difference,
                           STATS_SEED, &pair->money, err);
}

static enum octet_status compare_pairs(struct summary *summary, struct octet_err *err) {
    const size_t n = summary->n_models;
    summary->pairs = mem_array(n * n / 2 + 1, sizeof *summary->pairs);
    double *const columns = mem_array(4 * summary->n_tasks + 1, sizeof *columns);
    double *const p = mem_array(n * n / 2 + 1, sizeof *p);
    enum octet_status status = OCTET_OK;
    if (!summary->pairs || !columns || !p) status = octet_fail_memory(err, "pairs", n * n);
    for (size_t a = 0; a < n && status == OCTET_OK; a++) {
        for (size_t b = a + 1; b < n && status == OCTET_OK; b++) {
            struct summary_pair *const pair = &summary->pairs[summary->n_pairs++];
            *pair = (struct summary_pair){.a = a, .b = b};
            status = compare_pair(summary, pair, columns, err);
            p[summary->n_pairs - 1] = pair->p;
        }
    }
    if (status == OCTET_OK) status = stats_holm(p, summary->n_pairs, p, err);
    for (size_t i = 0; i < summary->n_pairs && status == OCTET_OK; i++) {
        summary->pairs[i].p_holm = p[i];
    }
    mem_free(columns);
    mem_free(p);
    return status;
}

const struct summary_pair *summary_find_pair(const struct summary *summary, size_t i, size_t j) {
    const size_t a = i < j ? i : j, b = i < j ? j : i;
    for (size_t k = 0; k < summary->n_pairs; k++) {
        if (summary->pairs[k].a == a && summary->pairs[k].b == b) return &summary->pairs[k];
    }
    return NULL;
}

static enum octet_status group_ties(struct summary *summary, struct octet_err *err) {
    const size_t n = summary->n_models;
    double *const p = mem_array(n * n + 1, sizeof *p);
    size_t *const group = mem_array(n + 1, sizeof *group);
    if (p && group) {
        for (size_t k = 0; k < summary->n_pairs; k++) {
            const struct summary_pair *const pair = &summary->pairs[k];
            p[pair->a * n + pair->b] = p[pair->b * n + pair->a] = pair->p_holm;
        }
        stats_tie_groups(p, n, group);
        for (size_t i = 0; i < n; i++) summary->models[i].group = group[i];
    }
    const bool fine = p && group;
    mem_free(p);
    mem_free(group);
    return fine ? OCTET_OK : octet_fail_memory(err, "groups", n * n);
}

/* ---- The sentence ---------------------------------------------------------------------------- */

/* The model of the first N with the cheapest solved task, N where none has a price or prices are in
 * several currencies. */
static size_t cheapest(const struct summary *summary, size_t n) {
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        const struct summary_model *const model = &summary->models[i];
        if (!model->currency[0] || !isfinite(model->per_solved.value)) continue;
        if (best < n && strcmp(model->currency, summary->models[best].currency) != 0) return n;
        if (best == n || model->per_solved.value < summary->models[best].per_solved.value) {
            best = i;
        }
    }
    return best;
}

static void say_score(struct report_text *text, const struct summary_model *model) {
    report_format(text, "%zu of %zu tasks (%.1f %%, 95 %% interval %.1f to %.1f)", model->solved,
                  model->n_tasks, 100 * rate(model), 100 * model->interval.low,
                  100 * model->interval.high);
}

static void say_money(struct report_text *text, const struct summary_model *model) {
    report_money(text, model->per_solved.value, model->currency);
    if (!isfinite(model->per_solved.low) || !isfinite(model->per_solved.high)) return;
    report_raw(text, " (95 % interval ");
    report_money(text, model->per_solved.low, "");
    report_raw(text, " to ");
    report_money(text, model->per_solved.high, "");
    report_raw(text, ")");
}

/* The first N tie: their names and rates. */
static void say_tie(const struct summary *summary, size_t n, struct report_text *text) {
    for (size_t i = 0; i < n; i++) {
        const struct summary_model *const model = &summary->models[i];
        if (i > 0) report_raw(text, i + 1 == n ? " and " : ", ");
        report_format(text, "%s (%zu, %.1f %%)", model->name, model->solved, 100 * rate(model));
    }
    const struct summary_pair *nearest = summary_find_pair(summary, 0, 1);
    for (size_t i = 2; i < n; i++) {
        const struct summary_pair *const pair = summary_find_pair(summary, 0, i);
        if (pair->p_holm < nearest->p_holm) nearest = pair;
    }
    report_format(text, " cannot be told apart by what they solved of %zu tasks (%s",
                  nearest->n_tasks, n > 2 ? "smallest " : "");
    report_p(text, nearest->p_holm);
    report_raw(text, ", paired)");
}

static void say_leader(const struct summary *summary, struct report_text *text) {
    const struct summary_model *const models = summary->models;
    report_format(text, "%s solved the most, ", models[0].name);
    say_score(text, &models[0]);
    const struct summary_pair *const next = summary_find_pair(summary, 0, 1);
    report_format(text, ", %.1f points more than the next, %s (", 100 * next->gap, models[1].name);
    report_p(text, next->p_holm);
    report_raw(text, ", paired)");
}

static void say_verdict(const struct summary *summary, size_t n, struct report_text *text) {
    const struct summary_model *const models = summary->models;
    size_t n_tied = 1;
    while (n_tied < n && models[n_tied].group == 0) n_tied++;
    const size_t among = n_tied > 1 ? n_tied : n, cheap = cheapest(summary, among);
    if (n == 1) {
        report_format(text, "%s solved ", models[0].name);
        say_score(text, &models[0]);
    } else if (n_tied > 1) {
        say_tie(summary, n_tied, text);
    } else {
        say_leader(summary, text);
    }
    if (cheap == among) {
        report_raw(text, "; what a solved task costs is not known.");
        return;
    }
    if (n == 1) {
        report_raw(text, "; a solved task costs ");
    } else if (n_tied > 1) {
        report_format(text, "; of these %s is the cheapest per solved task, ", models[cheap].name);
    } else if (cheap == 0) {
        report_raw(text, "; its solved tasks are the cheapest as well, ");
    } else {
        report_format(text, "; the cheapest per solved task is %s, ", models[cheap].name);
    }
    say_money(text, &models[cheap]);
    report_raw(text, ".");
}

enum octet_status summary_rank(struct summary *summary, struct octet_err *err) {
    qsort(summary->models, summary->n_models, sizeof *summary->models, best_first);
    enum octet_status status = compare_pairs(summary, err);
    if (status == OCTET_OK) status = group_ties(summary, err);
    if (status != OCTET_OK) return status;
    struct report_text text = {0};
    size_t n = 0; // models of which anything is known
    while (n < summary->n_models && summary->models[n].n_tasks > 0) n++;
    if (n > 0) {
        say_verdict(summary, n, &text);
    } else {
        report_raw(&text, "No answer has been judged yet.");
    }
    summary->verdict = report_take(&text);
    return summary->verdict ? OCTET_OK : octet_fail_memory(err, "verdict", 0);
}
