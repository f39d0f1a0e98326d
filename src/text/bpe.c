/* Byte-level BPE vocabularies ("gpt2"): token names are written in an alphabet of 256 printable
 * characters, one per byte, and a ranked list of merges says what is joined first.
 *
 * Merging works on pairs of token ids: single bytes have tokens, and so has every result. */
#include <string.h>

#include "text/vocab_impl.h"

/* Bytes that print are written as the character of the same number, the other 68 (00 to 20, 7F to
 * A0, AD) in order as U+0100 and following. */
enum { FIRST_SHIFTED = 0x100, N_LOW = 0x21, N_MIDDLE = 0x22, N_SHIFTED = N_LOW + N_MIDDLE + 1 };

static int32_t char_of_byte(int byte) {
    if (byte < N_LOW) return FIRST_SHIFTED + byte;
    if (byte >= 0x7f && byte <= 0xa0) return FIRST_SHIFTED + N_LOW + byte - 0x7f;
    return byte == 0xad ? FIRST_SHIFTED + N_LOW + N_MIDDLE : byte;
}

static int byte_of_char(int32_t c) { // -1: not in the alphabet
    if (c < 0 || c >= FIRST_SHIFTED + N_SHIFTED) return -1;
    if (c < FIRST_SHIFTED) return char_of_byte(c) == c ? c : -1;
    int32_t i = c - FIRST_SHIFTED;
    if (i < N_LOW) return i;
    return i < N_LOW + N_MIDDLE ? 0x7f + i - N_LOW : 0xad;
}

size_t bpe_token_bytes(const char *name, size_t n, char *out) {
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        int32_t code;
        size_t n_char = utf8_next(name + i, n - i, &code);
        int byte = byte_of_char(code);
        if (byte >= 0) {
            out[n_out++] = (char)byte;
        } else { // stands for itself
            memcpy(out + n_out, name + i, n_char);
            n_out += n_char;
        }
        i += n_char;
    }
    return n_out;
}

static void find_byte_tokens(struct vocab *v) {
    for (int b = 0; b < 256; b++) {
        utf8proc_uint8_t name[4];
        utf8proc_ssize_t n = utf8proc_encode_char(char_of_byte(b), name);
        v->byte_ids[b] = vocab_find_plain(v, (const char *)name, (size_t)n);
    }
}

static uint32_t *merge_slot(const struct vocab *v, int32_t left, int32_t right) {
    size_t i = (size_t)hash_pair(&v->hash, left, right) & v->merge_mask;
    for (;; i = (i + 1) & v->merge_mask) {
        uint32_t *slot = &v->merge_slots[i];
        if (!*slot) return slot;
        const struct bpe_merge *m = &v->merges[*slot - 1];
        if (m->left == left && m->right == right) return slot;
    }
}

/* "left right": the separator is the first space that is not the first byte. */
static bool parse_merge(const struct vocab *v, struct gguf_string s, char *joined,
                        struct bpe_merge *out) {
    const char *space = s.n > 1 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
    if (!space || s.n - 1 > v->plain_max) return false;
    size_t n_left = (size_t)(space - s.p), n_right = s.n - n_left - 1;
    memcpy(joined, s.p, n_left);
    memcpy(joined + n_left, space + 1, n_right);
    out->left = vocab_find_plain(v, joined, n_left);
    out->right = vocab_find_plain(v, joined + n_left, n_right);
    out->result = vocab_find_plain(v, joined, n_left + n_right);
    return out->left >= 0 && out->right >= 0 && out->result >= 0;
}

static enum octet_status read_merges(struct vocab *v, const struct gguf_kv *kv, char *joined,
                                     const char *path, struct octet_err *err) {
    for (size_t i = 0; i < v->n_merges; i++) {
        struct bpe_merge *m = &v->merges[i];
        struct gguf_string s = kv->strings[i];
        if (!parse_merge(v, s, joined, m))
            return octet_fail(err, OCTET_EFORMAT,
                              "%s: key '%s': element %zu: expected two tokens that join to a third,"
                              " found '%.*s'",
                              path, kv->key, i, (int)(s.n < 80 ? s.n : 80), s.p);
        uint32_t *slot = merge_slot(v, m->left, m->right);
        if (!*slot) *slot = (uint32_t)i + 1;
    }
    return OCTET_OK;
}

enum octet_status bpe_load(struct vocab *v, const struct gguf *g, struct octet_err *err) {
    const char *key = "tokenizer.ggml.merges", *path = gguf_path(g);
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return octet_fail(err, OCTET_EFORMAT, "%s: key '%s' is missing", path, key);
    if (kv->type != GGUF_ARRAY || kv->elem != GGUF_STRING)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected an array of strings, found "
                          "another type", path, key);
    if (kv->n >= INT32_MAX)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected fewer than 2^31 elements, "
                          "found %llu", path, key, (unsigned long long)kv->n);
    find_byte_tokens(v);
    v->n_merges = (size_t)kv->n;
    size_t n_slots = hash_table_size(v->n_merges);
    v->merge_mask = n_slots - 1;
    v->merges = mem_array(v->n_merges, sizeof *v->merges);
    v->merge_slots = mem_array(n_slots, sizeof *v->merge_slots);
    char *joined = mem_alloc(v->plain_max);
    enum octet_status status =
        v->merges && v->merge_slots && joined
            ? read_merges(v, kv, joined, path, err)
            : octet_fail_memory(err, "merges", v->n_merges * sizeof *v->merges);
    mem_free(joined);
    return status;
}

static bool find_pair(const struct encoder *e, const struct symbol *left,
                      const struct symbol *right, struct candidate *out) {
    if (left->id < 0 || right->id < 0) return false;
    uint32_t rank_plus_1 = *merge_slot(e->v, left->id, right->id);
    if (!rank_plus_1) return false;
    out->key = (int32_t)(rank_plus_1 - 1);
    out->id = e->v->merges[out->key].result;
    return true;
}

static enum octet_status encode_chunk(struct encoder *e, size_t start, size_t n) {
    e->n_symbols = 0;
    for (size_t i = start; i < start + n; i++) {
        int32_t id = e->v->byte_ids[(unsigned char)e->text[i]];
        enum octet_status status = encoder_add(e, i, 1, id);
        if (status) return status;
    }
    enum octet_status status = encoder_merge(e, find_pair);
    for (int32_t i = 0; !status && i >= 0; i = e->symbols[i].next) {
        const struct symbol *s = &e->symbols[i];
        // Without a token the symbol is still the single byte it began as.
        status = s->id >= 0 ? encoder_emit(e, s->id)
                            : encoder_emit_byte(e, (unsigned char)e->text[s->start]);
    }
    return status;
}

enum octet_status bpe_encode(struct encoder *e, const char *text, size_t n) {
    e->text = text;
    for (size_t from = 0; from < n;) {
        size_t end = pretokenize_next(text, n, from, e->v->split_digits);
        enum octet_status status = encode_chunk(e, from, end - from);
        if (status) return status;
        from = end;
    }
    return OCTET_OK;
}
