/* Guesses at the tokens that follow a text: each with the evidence for it, which is the number of a
 * class of guesses that turn out right about equally often. */
#ifndef OCTET_ENGINE_GUESSES_H
#define OCTET_ENGINE_GUESSES_H

#include "engine/model.h"
#include "engine/ngrams.h"

enum { MAX_GUESSES = COST_ROWS - 1, N_EVIDENCE = 17 };

struct guesses {
    size_t n;
    int32_t ids[MAX_GUESSES];
    uint8_t evidence[MAX_GUESSES]; // below N_EVIDENCE, more is better
};

/* How a match goes on, up to MOST tokens; evidence: the tokens that agree so far. */
void guess_by_match(const struct ngrams *g, struct match match, size_t most, struct guesses *out);

/* A smaller model that writes on. */
struct guesser {
    struct octet_session *session;
    size_t n_vocab;          // ids that both models have
    double seconds_per_token; // it takes; 0: unknown
};
/* For what TARGET holds; whoever can cancel its steps can cancel those of the model. */
enum octet_status guesser_open(struct guesser *guesser, const struct octet_session *target,
                               struct octet_model *model, struct octet_err *err);
void guesser_close(struct guesser *guesser);
/* Adds its likeliest token after IDS (n), which has room for one more: evidence is its probability
 * in sixteenths. *READY false: it added none, since its context is full, or since it had more of
 * the text to read than goes into one call. */
enum octet_status guesser_next(struct guesser *guesser, int32_t *ids, size_t n, bool *ready,
                               struct guesses *out, struct octet_err *err);

#endif
