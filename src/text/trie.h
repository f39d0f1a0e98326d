/* The tokens of a vocabulary as a tree over their bytes, laid out in the order of a walk that goes
 * down first, so that cutting a subtree is a jump ahead. */
#ifndef OCTET_TEXT_TRIE_H
#define OCTET_TEXT_TRIE_H

#include "text/vocab.h"

/* Longer tokens are left out: no mask allows them. */
enum { TRIE_MAX_DEPTH = 255 };

struct trie_node {
    uint32_t next;        // the first node that is not below this one
    uint32_t first_token; // in TOKENS; they end where the next node's begin
    uint32_t kinds;       // of the bytes below it, a bit for each
    uint8_t byte, depth;  // depth: of the root's children it is 1
    uint8_t height;       // levels below it
};

enum { TRIE_N_KINDS = 32 }; // of bytes that grammars mostly treat alike

struct trie {
    const struct vocab *vocab; // outlives it
    struct trie_node *nodes; // (n_nodes + 1), the last one only ends the lists
    size_t n_nodes;
    int32_t *tokens; // (n_tokens) ids that can be generated and stand for at least one byte
    size_t n_tokens;
    size_t n_ids;        // length of the vocabulary
    int32_t *ends;       // (n_ends) tokens that end a generation
    size_t n_ends;
    bool has_byte[256];  // some token is this byte alone
    uint8_t of_kind[256];                 // bytes in the order of their kinds
    uint16_t kind_start[TRIE_N_KINDS + 1]; // where in OF_KIND
    uint32_t root[256];  // the root's child of that byte, n_nodes if there is none
};

enum octet_status trie_build(const struct vocab *v, struct trie **out, struct octet_err *err);
void trie_free(struct trie *t);

#endif
