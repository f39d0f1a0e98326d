/* SentencePiece-style vocabularies ("llama"): pieces with scores, spaces written as U+2581, byte
 * pieces for what no piece covers.
 *
 * Bytes that are not valid UTF-8 become byte pieces, so that decoding gives them back; the original
 * SentencePiece replaces each by U+FFFD. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "text/vocab_impl.h"

static const char space_mark[] = "\xe2\x96\x81"; // U+2581
enum { N_SPACE_MARK = sizeof space_mark - 1 };

/* An integer that is the smaller the higher the score. */
static int32_t key_of_score(float score) {
    int32_t bits = (int32_t)f32_to_bits(score + 0.0f); // -0 becomes 0
    return bits < 0 ? bits & INT32_MAX : -bits;
}

enum octet_status spm_load(struct vocab *v, const struct gguf *g, struct octet_err *err) {
    const char *key = "tokenizer.ggml.scores";
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s' is missing", gguf_path(g), key);
    bool numbers = kv->type == GGUF_ARRAY && (kv->elem == GGUF_F32 || kv->elem == GGUF_F64 ||
                                              kv->elem == GGUF_I32);
    if (!numbers)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected an array of f32, found %s%s",
                          gguf_path(g), key, kv->type == GGUF_ARRAY ? "an array of " : "",
                          gguf_type_name(kv->type == GGUF_ARRAY ? kv->elem : kv->type));
    if (kv->n != v->n)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected %zu elements, found %llu",
                          gguf_path(g), key, v->n, (unsigned long long)kv->n);
    for (size_t i = 0; i < v->n; i++) {
        float score = (float)gguf_array_float(kv, i);
        if (!isfinite(score))
            return octet_fail(err, OCTET_EFORMAT,
                              "%s: key '%s': element %zu: expected a finite number, found %g",
                              gguf_path(g), key, i, (double)score);
        v->tokens[i].key = key_of_score(score);
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct token *t = &v->tokens[i];
        if (t->type != TOKEN_BYTE) continue;
        int32_t *id = &v->byte_ids[byte_token_value(t->name, t->n_name)];
        if (*id < 0) *id = (int32_t)i;
    }
    return OCTET_OK;
}

size_t spm_token_bytes(const char *name, size_t n, char *out) {
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        if (n - i >= N_SPACE_MARK && memcmp(name + i, space_mark, N_SPACE_MARK) == 0) {
            out[n_out++] = ' ';
            i += N_SPACE_MARK;
        } else {
            out[n_out++] = name[i++];
        }
    }
    return n_out;
}

static size_t escape_spaces(const char *text, size_t n, bool prefix, char *out) {
    char *p = out;
    if (prefix) p = mempcpy(p, space_mark, N_SPACE_MARK);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ')
            p = mempcpy(p, space_mark, N_SPACE_MARK);
        else
            *p++ = text[i];
    }
    return (size_t)(p - out);
}

static bool find_pair(const struct encoder *e, const struct symbol *left,
                      const struct symbol *right, struct candidate *out) {
    (void)right; // its text follows that of the left one
    out->id = vocab_find_plain(e->v, e->text + left->start, out->n);
    if (out->id < 0) return false;
    out->key = e->v->tokens[out->id].key;
    return true;
}

enum octet_status spm_encode(struct encoder *e, const char *text, size_t n) {
    size_t n_marks = e->v->space_prefix;
    for (size_t i = 0; i < n; i++) n_marks += text[i] == ' ';
    size_t n_most = n + n_marks * N_SPACE_MARK;
    if (!mem_reserve((void **)&e->escaped, &e->escaped_cap, n_most, 1))
        return octet_fail_memory(e->err, "text", n_most);
    size_t n_escaped = escape_spaces(text, n, e->v->space_prefix, e->escaped);
    e->text = e->escaped;

    e->n_symbols = 0;
    for (size_t i = 0; i < n_escaped;) {
        int32_t code;
        size_t n_char = utf8_next(e->text + i, n_escaped - i, &code);
        int32_t id = vocab_find_plain(e->v, e->text + i, n_char);
        enum octet_status status = encoder_add(e, i, n_char, id);
        if (status) return status;
        i += n_char;
    }
    enum octet_status status = encoder_merge(e, find_pair);
    for (int32_t i = 0; !status && i >= 0; i = e->symbols[i].next) {
        const struct symbol *s = &e->symbols[i];
        if (s->id >= 0) {
            status = encoder_emit(e, s->id);
            continue;
        }
        for (size_t k = 0; !status && k < s->n; k++)
            status = encoder_emit_byte(e, (unsigned char)e->text[s->start + k]);
    }
    return status;
}
