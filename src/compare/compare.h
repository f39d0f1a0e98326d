/* One comparison from beginning to end: every model answers every task, each answer is stored as it
 * comes, then all are read, run in boxes, priced and stored again. What is stored is all a report
 * needs; a run that was cut short goes on where it stopped. */
#ifndef OCTET_COMPARE_COMPARE_H
#define OCTET_COMPARE_COMPARE_H

#include "compare/prices.h"
#include "compare/provider.h"
#include "compare/store.h"
#include "compare/task.h"

enum prompt_style {
    PROMPT_AUTO, // as chat where the model has a chat format, else raw
    PROMPT_CHAT, // a user's message
    PROMPT_RAW,  // text to continue
};

struct compare_options {
    const char *tasks;         // see task_set_open
    const char *only;          // part of a task's id, or NULL: all
    int32_t limit;             // first tasks only; 0: all
    const char *const *models; // (n_models) provider specs, or "reference"
    size_t n_models;
    int32_t n_samples, max_tokens;
    float temperature, top_p;
    uint64_t seed;
    enum prompt_style style;
    struct provider_options provider; // max_cost counts for all models, in CURRENCY
    const char *store;                // file, NULL: the user's own
    const char *currency;             // of all money shown: "USD"
    struct local_terms local_terms;
    int32_t n_threads; // that grade; 0: one per core
    bool unsafe_exec;
    bool fresh; // do not go on with an unfinished run
    volatile const bool *cancel;

    /* Told now and then; LABEL is "asking NAME" or "running answers". NULL: nobody listens. */
    void (*progress)(void *user, const char *label, uint64_t done, uint64_t total);
    /* Asked once, before anything is spent on remote APIs; TEXT says what it may cost at most.
     * Returning false ends the run with OCTET_ECANCELLED. NULL: go on. */
    bool (*confirm)(void *user, const char *text);
    /* One line the user should see ("continuing run 7: 12 of 40 answers are there"). */
    void (*say)(void *user, const char *line);
    void *user;
};

/* *RUN is the run's number in the store, also after a failure that came later (0: before). */
enum octet_status compare_run(const struct compare_options *options, int64_t *run,
                              struct octet_err *err);

/* ---- Parts ------------------------------------------------------------------------------------
 */

/* What TASK is put as; strings to free with prompt_free. */
struct prompt {
    char *text;
    const char *const *stops; // NULL-terminated, static
};
enum octet_status prompt_make(const struct task *task, bool chat, struct prompt *out,
                              struct octet_err *err);
void prompt_free(struct prompt *prompt);
json_t *prompt_templates(void); // the wordings, for reports; the caller's

/* What an answer cost. */
struct money_terms {
    const struct price_book *book;
    const struct local_terms *local;
    const char *currency;
};
/* Who was asked, as far as money goes; MODEL of a run's models holds it. */
struct asked {
    const char *kind, *host, *model; // of the provider
};
struct asked asked_of(const json_t *model);
/* The price row that held on that day for short prompts; NULL: unpriced. */
const struct price *asked_price(const struct money_terms *terms, const struct asked *asked,
                                int32_t day);
/* In TERMS->currency; NAN: unpriced. */
double answer_cost(const struct money_terms *terms, const struct asked *asked,
                   const struct reply *reply);

/* Reads and runs all answers of the run. */
enum octet_status compare_judge(const struct compare_options *options, struct store *store,
                                const struct store_run *run, const struct task_set *set,
                                const struct money_terms *terms, struct octet_err *err);

#endif
