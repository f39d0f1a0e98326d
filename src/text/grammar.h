/* Grammars: which texts an answer may be, compiled for masking tokens.
 *
 * A grammar is a set of rules over bytes, each a deterministic automaton whose edges read a byte or
 * call a rule. While a text is read, the places it may have got to are pairs of a node and a stack
 * of nodes to return to; sets of such pairs are numbered as they occur, and so become the states of
 * one automaton over bytes that is built as far as texts go (grammar_state.c). A mask of the
 * vocabulary is a walk of its trie along that automaton, kept with the state (grammar_mask.c).
 *
 * Every node knows how many tokens it takes at least to get from it to the end of its rule, an
 * upper bound of which is exact about one thing: there always is a token that shortens it by one.
 * So an answer that must not exceed a number of tokens is kept complete by never letting the way to
 * the end become longer than what is left. */
#ifndef OCTET_TEXT_GRAMMAR_H
#define OCTET_TEXT_GRAMMAR_H

#include "base/status.h"
#include "text/trie.h"

struct grammar;

/* SOURCE in GBNF. TRIE outlives the grammar; NULL: texts can be matched, tokens can not. EFORMAT:
 * no grammar, with the line; EUNSUPPORTED: larger than any that is of use. */
enum octet_status grammar_open(const char *source, size_t n_bytes, const struct trie *trie,
                               struct grammar **out, struct octet_err *err);
struct grammar *grammar_share(struct grammar *g); // one more owner, each of whom closes
void grammar_close(struct grammar *g);

/* A text on its way through a grammar. One thread at a time; many may share a grammar. */
struct matcher;

/* The text will have at most N_TOKENS tokens; < 0: any number. The matcher owns a share of G. */
enum octet_status matcher_open(struct grammar *g, int64_t n_tokens, struct matcher **out,
                               struct octet_err *err);
void matcher_close(struct matcher *m);
/* One bit per token id: those that may come next. Lives until the next call. Never empty, except
 * where the text is complete and the vocabulary has no end token. */
enum octet_status matcher_mask(struct matcher *m, const uint64_t **bits, struct octet_err *err);
/* EARG: not a token that may come next. */
enum octet_status matcher_accept(struct matcher *m, int32_t id, struct octet_err *err);
bool matcher_may_end(const struct matcher *m);  // the text so far is one of the grammar's
bool matcher_finished(const struct matcher *m); // and no longer one begins with it

/* How TEXT stands to G: 0: no text of G begins with it, 1: one does, 2: it is one itself. */
enum octet_status grammar_match(struct grammar *g, const char *text, size_t n_bytes, int *how,
                                struct octet_err *err);

#endif
