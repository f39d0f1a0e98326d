/* All numbers of a report, from the documents of one or several runs. Nothing here depends on the
 * time or the machine: the same documents give the same numbers. */
#ifndef OCTET_COMPARE_SUMMARY_H
#define OCTET_COMPARE_SUMMARY_H

#include <jansson.h>

#include "compare/score.h"
#include "compare/stats.h"

/* Makes one document {"runs":[...],"models":[...],"tasks":[...],"answers":[...]} of those of N runs
 * (store_export): the tasks that all of them asked in the same words, all models; a name that two
 * runs have gets the run's number behind it. OCTET_EARG: no common task. *OUT is the caller's. */
enum octet_status summary_join(json_t *const *documents, size_t n, json_t **out,
                               struct octet_err *err);

/* One model on one task, all samples together. */
struct summary_cell {
    const json_t *first; // answer of sample 0, NULL: none
    bool counts;         // sample 0 was answered and judged; SOLVED and STATE are about it
    bool solved, solved_plus;
    enum funnel state;
    size_t n, n_solved, n_plus; // samples that were judged, that solved
    double cost;                // of all samples; NAN: unpriced
};

struct summary_model {
    const char *name;           // as in the document: any characters
    const json_t *info;         // of the document
    size_t row;                 // of summary.cells
    size_t n_tasks;             // that count
    size_t solved, solved_plus; // tasks whose sample 0 passes the base tests, and all tests
    struct stats_interval interval, interval_plus; // of their rates
    double pass_1, pass_k, pass_k_plus;            // k: n_samples; means over tasks with that many
    size_t funnel[N_FUNNEL];                       // of all judged answers
    size_t n_answers, n_errors, n_unjudged, n_estimated, n_same_process, n_lost;
    double prose_share, comment_share, dropped_share;       // of the bytes of all answers
    double wasted_share;                                    // of the completion tokens
    double wasted_tokens, prompt_tokens, completion_tokens; // NAN: unknown for an answer
    double hollow_share;                                    // of functions
    size_t n_placeholders;
    const char *currency;       // "" if unpriced
    double cost, cost_per_1000; // NAN: an answer is unpriced
    size_t n_unpriced;
    struct stats_estimate per_solved; // money of all answers for each that is solved
    size_t n_ttft, n_gaps;
    double ttft_p50, ttft_p90, gap_p50, gap_p90, gap_p99; // seconds
    double tokens_per_s; // median over answers, from question to last token
    size_t group;        // of ties, from 0
};

/* A ranks before B. */
struct summary_pair {
    size_t a, b, n_tasks, only_a, only_b; // tasks that both judged, that one alone solved
    double gap;                           // of the rates, on those tasks
    double p, p_holm;
    bool priced;                 // both, in one currency
    struct stats_estimate money; // A's cost per solved task less B's
};

struct summary {
    const json_t *document;       // of summary_join, held
    struct summary_model *models; // (n_models) best first
    size_t n_models;
    const json_t **tasks; // (n_tasks) that count
    size_t n_tasks, n_excluded;
    struct summary_cell *cells; // n_models rows of n_tasks: summary_cell
    struct summary_pair *pairs; // (n_pairs) in order of A, then B
    size_t n_pairs;
    size_t n_samples; // the most of any task
    bool has_plus;
    char *verdict; // one sentence; holds names of models, so any characters
};

enum octet_status summary_make(const json_t *document, struct summary *out, struct octet_err *err);
void summary_free(struct summary *summary);

static inline const struct summary_cell *summary_cell(const struct summary *summary, size_t model,
                                                      size_t task) {
    return &summary->cells[summary->models[model].row * summary->n_tasks + task];
}
/* NULL for I == J. */
const struct summary_pair *summary_find_pair(const struct summary *summary, size_t i, size_t j);

/* ---- Parts ----------------------------------------------------------------------------------- */

/* summary_rank.c: order, pairs, groups, verdict. CELLS and models are filled. */
enum octet_status summary_rank(struct summary *summary, struct octet_err *err);

/* "" where OBJECT has no text of that name. */
const char *summary_text(const json_t *object, const char *key);
double summary_number(const json_t *object, const char *key); // NAN

#endif
