/* See trie.h. Tokens are sorted by their bytes; neighbours then share the path of their common
 * beginning. */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct entry {
    const char *bytes;
    uint32_t n;
    int32_t id;
};

static int compare(const void *a, const void *b) {
    const struct entry *const x = a, *const y = b;
    const uint32_t n = x->n < y->n ? x->n : y->n;
    const int order = memcmp(x->bytes, y->bytes, n);
    if (order != 0) return order;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Tokens with text, sorted; the end tokens go to T->ends. NULL: no memory. */
static struct entry *sort_tokens(const struct vocab *v, struct trie *t) {
    struct entry *const entries = mem_array(t->n_ids, sizeof *entries);
    t->ends = mem_array(t->n_ids, sizeof *t->ends);
    if (!entries || !t->ends) {
        mem_free(entries);
        return NULL;
    }
    for (size_t i = 0; i < t->n_ids; i++) {
        const int32_t id = (int32_t)i;
        const char *bytes;
        size_t n;
        if (!vocab_generable(v, id) || !vocab_bytes(v, id, false, &bytes, &n)) continue;
        if (vocab_ends(v, id))
            t->ends[t->n_ends++] = id;
        else if (n > 0 && n <= TRIE_MAX_DEPTH)
            entries[t->n_tokens++] = (struct entry){bytes, (uint32_t)n, id};
    }
    qsort(entries, t->n_tokens, sizeof *entries, compare);
    return entries;
}

static uint32_t n_common(const struct entry *a, const struct entry *b) {
    uint32_t i = 0;
    while (i < a->n && i < b->n && a->bytes[i] == b->bytes[i]) i++;
    return i;
}

/* Nodes that entry I adds to those of the entries before it. */
static uint32_t n_new(const struct entry *entries, size_t i) {
    return entries[i].n - (i > 0 ? n_common(&entries[i - 1], &entries[i]) : 0);
}

static void add_nodes(struct trie *t, const struct entry *entries) {
    uint32_t open[TRIE_MAX_DEPTH + 1], n_open = 0; // the path to the last node
    size_t n = 0;
    for (size_t i = 0; i < t->n_tokens; i++) {
        const struct entry *const e = &entries[i];
        const uint32_t shared = e->n - n_new(entries, i);
        while (n_open > shared) t->nodes[open[--n_open]].next = (uint32_t)n;
        for (uint32_t k = shared; k < e->n; k++) {
            t->nodes[n] = (struct trie_node){.first_token = (uint32_t)i,
                                             .byte = (uint8_t)e->bytes[k],
                                             .depth = (uint8_t)(k + 1)};
            if (k == 0) t->root[(uint8_t)e->bytes[0]] = (uint32_t)n;
            open[n_open++] = (uint32_t)n++;
        }
        if (e->n == 1) t->has_byte[(uint8_t)e->bytes[0]] = true;
        t->tokens[i] = e->id;
    }
    while (n_open > 0) t->nodes[open[--n_open]].next = (uint32_t)n;
    t->nodes[n] = (struct trie_node){.next = (uint32_t)n, .first_token = (uint32_t)t->n_tokens};
}

static unsigned kind_of(uint8_t byte) {
    static const char alone[] = " \"\\'/-_.,:;[]{}()<>=+*#";
    if (byte >= 0x80) return 0;
    if (byte < 0x20) return 1;
    if (byte >= 'a' && byte <= 'z') return 2;
    if (byte >= 'A' && byte <= 'Z') return 3;
    if (byte >= '0' && byte <= '9') return 4;
    const char *const at = strchr(alone, byte);
    return at ? 6 + (unsigned)(at - alone) : 5;
}

static void look_below(struct trie *t) {
    uint16_t n = 0;
    for (unsigned kind = 0; kind < TRIE_N_KINDS; kind++) {
        t->kind_start[kind] = n;
        for (int byte = 0; byte < 256; byte++)
            if (kind_of((uint8_t)byte) == kind) t->of_kind[n++] = (uint8_t)byte;
    }
    t->kind_start[TRIE_N_KINDS] = n;
    for (size_t i = t->n_nodes; i-- > 0;) {
        struct trie_node *const node = &t->nodes[i];
        for (uint32_t c = (uint32_t)i + 1; c < node->next; c = t->nodes[c].next) {
            const struct trie_node *const child = &t->nodes[c];
            node->kinds |= UINT32_C(1) << kind_of(child->byte) | child->kinds;
            if (node->height <= child->height) node->height = (uint8_t)(child->height + 1);
        }
    }
}

enum octet_status trie_build(const struct vocab *v, struct trie **out, struct octet_err *err) {
    *out = NULL;
    struct trie *const t = mem_alloc(sizeof *t);
    if (!t) return octet_fail_memory(err, "a tree of tokens", sizeof *t);
    t->vocab = v;
    t->n_ids = vocab_size(v);
    struct entry *const entries = sort_tokens(v, t);
    for (size_t i = 0; entries && i < t->n_tokens; i++) t->n_nodes += n_new(entries, i);
    if (t->n_nodes >= UINT32_MAX) { // and a file of several GB of tokens
        mem_free(entries);
        trie_free(t);
        return octet_fail(err, OCTET_EUNSUPPORTED, "the vocabulary is too large for grammars");
    }
    t->nodes = entries ? mem_array(t->n_nodes + 1, sizeof *t->nodes) : NULL;
    t->tokens = entries ? mem_array(t->n_tokens, sizeof *t->tokens) : NULL;
    if (!t->nodes || !t->tokens) {
        const size_t n_bytes = t->n_ids * sizeof *entries;
        mem_free(entries);
        trie_free(t);
        return octet_fail_memory(err, "a tree of tokens", n_bytes);
    }
    for (int b = 0; b < 256; b++) t->root[b] = (uint32_t)t->n_nodes;
    add_nodes(t, entries);
    look_below(t);
    mem_free(entries);
    *out = t;
    return OCTET_OK;
}

void trie_free(struct trie *t) {
    if (!t) return;
    mem_free(t->nodes);
    mem_free(t->tokens);
    mem_free(t->ends);
    mem_free(t);
}
