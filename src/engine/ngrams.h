/* A growing text of tokens with an index: where did what its end says occur before, and what came
 * next? Every pair of tokens is in a chain of the earlier pairs with its hash, the latest first. */
#ifndef OCTET_ENGINE_NGRAMS_H
#define OCTET_ENGINE_NGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octet.h"

enum { NGRAM_MIN = 2, NGRAM_MAX = 32 }; // tokens that a match compares

struct ngrams {
    struct octet_tokens tokens;
    uint32_t *earlier; // (cap_earlier) of the pair that ends at a token: where one before ends
    size_t cap_earlier;
    uint32_t *latest; // (n_buckets), a power of two; 0: none, as no pair ends at token 0
    size_t n_buckets;
};

/* Where the text may go on as it did before. */
struct match {
    size_t at;     // of the token that is expected next
    size_t length; // tokens before it that are the same; 0: there is none
};

void ngrams_free(struct ngrams *g);
/* Makes it hold these tokens, keeping the beginning they share with what it held; *N_KEPT tells how
 * long that is. False: out of memory, and it may hold fewer tokens. */
bool ngrams_set(struct ngrams *g, const int32_t *ids, size_t n, size_t *n_kept);
/* Room for N tokens behind the text's end, which are no part of it. NULL: out of memory. */
int32_t *ngrams_spare(struct ngrams *g, size_t n);
/* The longest match of the end, and the most recent among equals, but BEFORE if the last token
 * continues it: the match before that token was added. */
struct match ngrams_match(const struct ngrams *g, struct match before);

#endif
