/* A vocabulary of all bytes and a few longer tokens, and picks of a model that knows nothing: what
 * the tests of grammars and schemas hold texts to. */
#ifndef OCTET_TESTS_GRAMMAR_MODEL_H
#define OCTET_TESTS_GRAMMAR_MODEL_H

#include <utf8proc.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "text/grammar.h"
#include "vocab_builder.h"

/* Tokens 0 to 255 are the bytes. */
struct model {
    struct builder b;
    struct gguf *g;
    struct vocab *v;
    struct trie *trie;
    int32_t end;
};

/* All of up to N more bytes of ALPHABET after BEGIN. */
static inline void add_words(struct vocab_list *list, const char *begin, const char *alphabet,
                             int n) {
    for (const char *c = alphabet; *c && n > 0; c++) {
        char word[24];
        snprintf(word, sizeof word, "%.8s%c", begin, *c);
        list_add(list, word, 0, 1);
        add_words(list, word, alphabet, n - 1);
    }
}

static inline void open_model(struct model *m) {
    static const char *const more[] = {"\"a",  "\":",    "\",\"", "{\"", "}}", "123",
                                       "(a",   "bc)",    "\"}",   "a\"", "[[", "]]",
                                       "\\u00", "true", "ull",   "-1",  "0."};
    struct vocab_list list;
    list_bpe(&list);
    add_words(&list, "y", "abc", 3); // below which bytes are alike to most grammars, and not
    add_words(&list, "x", "ab1\"-", 3);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) list_add(&list, more[i], 0, 1);
    build_start(&m->b);
    build_bpe(&m->b, &list, "gpt-2");
    build_finish(&m->b);
    struct octet_err err;
    if (gguf_parse("test.gguf", m->b.bytes, m->b.n, &m->g, &err) != OCTET_OK ||
        vocab_load(m->g, 0, &m->v, &err) != OCTET_OK ||
        trie_build(m->v, &m->trie, &err) != OCTET_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    m->end = vocab_find(m->v, "<|endoftext|>", 13);
}

static inline void close_model(struct model *m) {
    trie_free(m->trie);
    vocab_free(m->v);
    gguf_close(m->g);
    build_free(&m->b);
}

static inline uint64_t next_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* One of the tokens that are allowed, each as likely as the others; aborts where there are none. */
static inline int32_t pick_any(struct matcher *m, const struct model *model, uint64_t *random) {
    const uint64_t *bits;
    struct octet_err err;
    int32_t picked = -1;
    uint32_t n = 0;
    if (matcher_mask(m, &bits, &err) != OCTET_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    for (int32_t id = 0; id < (int32_t)vocab_size(model->v); id++)
        if (bits[id / 64] >> (id % 64) & 1 && next_random(random) % ++n == 0) picked = id;
    if (picked < 0) abort();
    return picked;
}

#endif
