/* Texts as vectors: the mean of the hidden states of a text's tokens. A job carries them instead of
 * text to be generated; its prompt holds the tokens of all the texts, one after the other. */
#ifndef OCTET_SERVER_VECTORS_H
#define OCTET_SERVER_VECTORS_H

#include "octet.h"

/* What is made of the mean: nothing, the largest value 32760 (as 16 bit numbers have it), or the
 * p-norm 1 for p > 0. */
enum { VECTORS_PLAIN = -1, VECTORS_MAX = 0, VECTORS_EUCLID = 2 };

struct vectors {
    size_t *ends; // (n) of each text's tokens in the prompt
    size_t n, cap;
    int norm;      // p, or one of the above
    float *values; // (n, d), those of the texts that are done; NULL before the first step
    size_t d;

    /* ---- The lane's -------------------------------------------------------------------------- */
    double *sum;   // (d) of the states of the text under way
    size_t n_done; // texts
    size_t n_told; // tokens of the text under way whose states are in SUM
};

struct vectors *vectors_new(void); // NULL: out of memory
void vectors_free(struct vectors *vectors);
/* Another text ends where the prompt now does. False: out of memory. */
bool vectors_add(struct vectors *vectors, size_t n_prompt);

/* Takes up to N_ROWS tokens of the next text that is not done into the sum, by way of SESSION,
 * which nobody else uses between two calls. */
enum octet_status vectors_step(struct vectors *vectors, const struct octet_model *model,
                               struct octet_session *session, const struct octet_tokens *prompt,
                               size_t n_rows, struct octet_err *err);

#endif
