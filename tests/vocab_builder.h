/* GGUF metadata written into memory, and small vocabularies made of it: tests and fuzz entries use
 * them to load what no converter would write. Aborts when out of memory. */
#ifndef OCTET_TESTS_VOCAB_BUILDER_H
#define OCTET_TESTS_VOCAB_BUILDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/vocab.h"

struct builder {
    uint8_t *bytes;
    size_t n, cap;
    uint64_t n_pairs;
};

static inline void build_raw(struct builder *b, const void *data, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->bytes = realloc(b->bytes, b->cap);
        if (!b->bytes) abort();
    }
    if (n) memcpy(b->bytes + b->n, data, n);
    b->n += n;
}

static inline void build_u32(struct builder *b, uint32_t v) { build_raw(b, &v, sizeof v); }
static inline void build_u64(struct builder *b, uint64_t v) { build_raw(b, &v, sizeof v); }

static inline void build_text(struct builder *b, const char *text, size_t n) {
    build_u64(b, n);
    build_raw(b, text, n);
}

static inline void build_start(struct builder *b) {
    *b = (struct builder){NULL, 0, 0, 0};
    build_raw(b, "GGUF", 4);
    build_u32(b, 3);
    build_u64(b, 0); // tensors
    build_u64(b, 0); // pairs, set at the end
}

static inline void build_key(struct builder *b, const char *key, enum gguf_type type) {
    build_text(b, key, strlen(key));
    build_u32(b, type);
    b->n_pairs++;
}

static inline void build_string(struct builder *b, const char *key, const char *value, size_t n) {
    build_key(b, key, GGUF_STRING);
    build_text(b, value, n);
}

static inline void build_name(struct builder *b, const char *key, const char *value) {
    build_string(b, key, value, strlen(value));
}

static inline void build_int(struct builder *b, const char *key, uint32_t value) {
    build_key(b, key, GGUF_U32);
    build_u32(b, value);
}

static inline void build_bool(struct builder *b, const char *key, bool value) {
    build_key(b, key, GGUF_BOOL);
    build_raw(b, &value, 1);
}

static inline void build_array(struct builder *b, const char *key, enum gguf_type elem, size_t n) {
    build_key(b, key, GGUF_ARRAY);
    build_u32(b, elem);
    build_u64(b, n);
}

/* The file is complete; its bytes stay with B until build_free. */
static inline void build_finish(struct builder *b) {
    memcpy(b->bytes + 16, &b->n_pairs, sizeof b->n_pairs);
}

static inline void build_free(struct builder *b) { free(b->bytes); }

/* A list of tokens to be varied before it is written. */
struct vocab_list {
    char names[512][24];
    size_t n_name[512];
    float scores[512];
    int32_t types[512];
    size_t n;
};

static inline void list_add(struct vocab_list *l, const char *name, float score, int32_t type) {
    size_t i = l->n++;
    if (i >= 512) abort();
    snprintf(l->names[i], sizeof l->names[i], "%s", name);
    l->n_name[i] = strlen(l->names[i]);
    l->scores[i] = score;
    l->types[i] = type;
}

/* <unk>, <s>, </s>, the 256 bytes, then a few pieces from id 259 on. */
static inline void list_spm(struct vocab_list *l) {
    static const char *const pieces[] = {"\xe2\x96\x81", "a", "b", "c", "ab", "\xe2\x96\x81" "a",
                                         "\xe2\x96\x81" "ab", "abc"};
    l->n = 0;
    list_add(l, "<unk>", 0, 2);
    list_add(l, "<s>", 0, 3);
    list_add(l, "</s>", 0, 3);
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        list_add(l, name, 0, 6);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        list_add(l, pieces[i], -(float)i, 1);
}

/* The 256 characters of the byte alphabet (id = byte), then "ab", "abc" and <|endoftext|>. */
static inline void list_bpe(struct vocab_list *l) {
    l->n = 0;
    uint32_t shifted = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        bool prints = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        uint32_t c = prints ? b : shifted++;
        char name[3] = {(char)c, 0, 0};
        if (c >= 0x80) {
            name[0] = (char)(0xc0 | c >> 6);
            name[1] = (char)(0x80 | (c & 0x3f));
        }
        list_add(l, name, 0, 1);
    }
    list_add(l, "ab", 0, 1);
    list_add(l, "abc", 0, 1);
    list_add(l, "<|endoftext|>", 0, 3);
}

static inline void build_tokens(struct builder *b, const struct vocab_list *l) {
    build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, l->n);
    for (size_t i = 0; i < l->n; i++) build_text(b, l->names[i], l->n_name[i]);
}

static inline void build_types(struct builder *b, const struct vocab_list *l) {
    build_array(b, "tokenizer.ggml.token_type", GGUF_I32, l->n);
    build_raw(b, l->types, l->n * sizeof *l->types);
}

static inline void build_scores(struct builder *b, const struct vocab_list *l) {
    build_array(b, "tokenizer.ggml.scores", GGUF_F32, l->n);
    build_raw(b, l->scores, l->n * sizeof *l->scores);
}

static inline void build_spm(struct builder *b, const struct vocab_list *l) {
    build_name(b, "general.architecture", "llama");
    build_name(b, "tokenizer.ggml.model", "llama");
    build_tokens(b, l);
    build_types(b, l);
    build_scores(b, l);
}

static inline void build_merges(struct builder *b, const char *const *merges, size_t n) {
    build_array(b, "tokenizer.ggml.merges", GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) build_text(b, merges[i], strlen(merges[i]));
}

static inline void build_bpe(struct builder *b, const struct vocab_list *l, const char *pre) {
    static const char *const merges[] = {"a b", "ab c"};
    build_name(b, "general.architecture", "phi2");
    build_name(b, "tokenizer.ggml.model", "gpt2");
    if (pre) build_name(b, "tokenizer.ggml.pre", pre);
    build_tokens(b, l);
    build_types(b, l);
    build_merges(b, merges, 2);
}

#endif
