/* Scoring sets that need no code to run: choices by log-likelihood, and word problems whose answer
 * is a number. Follows the protocol of the common harness (lm-eval), so results can be compared row
 * by row. */
#ifndef OCTET_COMPARE_EVAL_H
#define OCTET_COMPARE_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octet.h"

/* ---- Rows ------------------------------------------------------------------------------------ */

enum eval_kind {
    EVAL_CHOICES,  // one context, several continuations
    EVAL_CONTEXTS, // several contexts, one continuation (WinoGrande)
    EVAL_NUMBER,   // the answer is a number (GSM8K)
};

struct eval_row {
    const char *context;        // EVAL_CHOICES, EVAL_NUMBER
    const char *const *options; // (n_options) continuations or contexts
    size_t n_options, gold;
    const char *continuation; // EVAL_CONTEXTS
    double number;            // EVAL_NUMBER
};

struct eval_set {
    char *name; // of the file, without folder and endings
    enum eval_kind kind;
    struct eval_row *rows;
    size_t n_rows;
    void *owner;
};

/* PATH: .jsonl, also .gz. Rows hold query, choices, gold; or context_options, continuation, gold;
 * or question, answer. */
enum octet_status eval_set_open(const char *path, struct eval_set *out, struct octet_err *err);
void eval_set_close(struct eval_set *set);

/* ---- Scores ---------------------------------------------------------------------------------- */

/* One row's outcome. */
struct eval_outcome {
    bool acc;       // the largest sum of log-probabilities
    bool acc_norm;  // the same per character of the choice
    bool acc_bytes; // per byte
    size_t picked;  // by acc; EVAL_NUMBER: 0
    double number;  // EVAL_NUMBER: what was answered, NAN: no number found
};

struct eval_options {
    size_t limit;                   // rows; 0: all
    int32_t max_tokens, n_parallel; // EVAL_NUMBER
    enum octet_kv_type kv_type;     // but EVAL_NUMBER
    volatile const bool *cancel;
    octet_progress_fn progress;
    void *user;
};

/* Fills OUT (n) for the first n rows, n from *N, which is lowered to what there is. MODEL_PATH
 * names the file again for EVAL_NUMBER, which generates. */
enum octet_status eval_choices(struct octet_model *model, const struct eval_set *set,
                               const struct eval_options *options, struct eval_outcome *out,
                               size_t n, struct octet_err *err);
enum octet_status eval_numbers(const char *model_path, const struct eval_set *set,
                               const struct eval_options *options, struct eval_outcome *out,
                               size_t n, struct octet_err *err);
/* The last number of TEXT, after "####" where that is there; NAN if there is none. */
double eval_last_number(const char *text);

/* ---- Numbers others published ---------------------------------------------------------------- */

struct published {
    const char *set, *model;
    double percent;
    const char *protocol, *source;
};
/* i-th published number of SET ("arc_easy"), NULL past the end. */
const struct published *published_score(const char *set, size_t i);

#endif
