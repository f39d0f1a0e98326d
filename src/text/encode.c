/* Text to tokens: cutting at special tokens, and joining symbols in order, which both families
 * share. Cost: n log n for n bytes of text. */
#include <string.h>

#include "text/vocab_impl.h"

static bool before(const struct candidate *a, const struct candidate *b) {
    return a->key != b->key ? a->key < b->key : a->left < b->left;
}

static enum octet_status heap_push(struct encoder *e, struct candidate c) {
    if (!mem_reserve((void **)&e->heap, &e->heap_cap, e->n_heap + 1, sizeof *e->heap))
        return octet_fail_memory(e->err, "joining text", (e->n_heap + 1) * sizeof *e->heap);
    size_t i = e->n_heap++;
    while (i > 0 && before(&c, &e->heap[(i - 1) / 2])) {
        e->heap[i] = e->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    e->heap[i] = c;
    return OCTET_OK;
}

static struct candidate heap_pop(struct encoder *e) {
    struct candidate top = e->heap[0], last = e->heap[--e->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < e->n_heap; child = 2 * i + 1) {
        if (child + 1 < e->n_heap && before(&e->heap[child + 1], &e->heap[child])) child++;
        if (!before(&e->heap[child], &last)) break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = last;
    return top;
}

enum octet_status encoder_add(struct encoder *e, size_t start, size_t n, int32_t id) {
    if (!mem_reserve((void **)&e->symbols, &e->symbols_cap, e->n_symbols + 1, sizeof *e->symbols))
        return octet_fail_memory(e->err, "symbols", (e->n_symbols + 1) * sizeof *e->symbols);
    int32_t i = (int32_t)e->n_symbols++;
    e->symbols[i] = (struct symbol){(uint32_t)start, (uint32_t)n, id, i - 1, -1};
    if (i > 0) e->symbols[i - 1].next = i;
    return OCTET_OK;
}

static enum octet_status push_pair(struct encoder *e, pair_fn find, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return OCTET_OK;
    const struct symbol *a = &e->symbols[left], *b = &e->symbols[right];
    struct candidate c = {0, a->n + b->n, left, right, -1};
    return find(e, a, b, &c) ? heap_push(e, c) : OCTET_OK;
}

enum octet_status encoder_merge(struct encoder *e, pair_fn find) {
    e->n_heap = 0;
    for (size_t i = 1; i < e->n_symbols; i++) {
        enum octet_status status = push_pair(e, find, (int32_t)i - 1, (int32_t)i);
        if (status) return status;
    }
    while (e->n_heap > 0) {
        struct candidate c = heap_pop(e);
        struct symbol *left = &e->symbols[c.left], *right = &e->symbols[c.right];
        // A symbol only ever grows to the right or vanishes, so the length tells whether both are
        // still the ones this candidate was made from.
        if (left->n == 0 || right->n == 0 || left->n + right->n != c.n) continue;
        left->n = c.n;
        left->id = c.id;
        left->next = right->next;
        right->n = 0;
        if (right->next >= 0) e->symbols[right->next].prev = c.left;
        enum octet_status status = push_pair(e, find, left->prev, c.left);
        if (!status) status = push_pair(e, find, c.left, left->next);
        if (status) return status;
    }
    return OCTET_OK;
}

enum octet_status encoder_emit(struct encoder *e, int32_t id) {
    enum octet_status status = octet_tokens_push(e->out, id);
    return status ? octet_fail_memory(e->err, "tokens", (e->out->n + 1) * sizeof id) : OCTET_OK;
}

/* Byte-level vocabularies may lack bytes that no valid text has, and some control characters. What
 * has neither a token nor the unknown token to stand for it is left out, as Hugging Face's
 * tokenizers do: any other token would give the text a meaning that its author did not write. */
enum octet_status encoder_emit_byte(struct encoder *e, unsigned char byte) {
    int32_t id = e->v->byte_ids[byte] >= 0 ? e->v->byte_ids[byte] : e->v->unk;
    return id >= 0 ? encoder_emit(e, id) : OCTET_OK;
}

static enum octet_status encode_segment(struct encoder *e, const char *text, size_t n) {
    if (n == 0) return OCTET_OK;
    return e->v->is_bpe ? bpe_encode(e, text, n) : spm_encode(e, text, n);
}

static enum octet_status encode_text(struct encoder *e, const struct special_set *specials,
                                     const char *text, size_t n) {
    const struct special *found;
    size_t from = 0, at;
    while (special_find(specials, text, n, from, &at, &found)) {
        enum octet_status status = encode_segment(e, text + from, at - from);
        if (!status) status = encoder_emit(e, found->id);
        if (status) return status;
        from = at + found->n;
    }
    return encode_segment(e, text + from, n - from);
}

enum octet_status vocab_encode(const struct vocab *v, const char *text, size_t n_bytes,
                               unsigned flags, struct octet_tokens *out, struct octet_err *err) {
    if (n_bytes > VOCAB_MAX_TEXT_BYTES)
        return octet_fail(err, OCTET_EARG, "text of %zu bytes: at most %d can be tokenised",
                          n_bytes, VOCAB_MAX_TEXT_BYTES);
    if (n_bytes == 0) text = ""; // may have been NULL
    struct encoder e = {.v = v, .out = out, .err = err};
    const struct special_set *specials =
        flags & OCTET_TOKENIZE_SPECIAL ? &v->control : &v->added;
    size_t n_before = out->n;
    bool bos = (flags & OCTET_TOKENIZE_BOS) && v->add_bos && v->bos >= 0;
    bool eos = (flags & OCTET_TOKENIZE_BOS) && v->add_eos && v->eos >= 0;

    enum octet_status status = encode_text(&e, specials, text, n_bytes);
    // A text that spells out BOS itself does not get a second one.
    if (!status && bos && (out->n == n_before || out->ids[n_before] != v->bos)) {
        status = encoder_emit(&e, v->bos);
        if (!status) {
            memmove(out->ids + n_before + 1, out->ids + n_before,
                    (out->n - n_before - 1) * sizeof *out->ids);
            out->ids[n_before] = v->bos;
        }
    }
    if (!status && eos) status = encoder_emit(&e, v->eos);
    if (status) out->n = n_before;
    mem_free(e.symbols);
    mem_free(e.heap);
    mem_free(e.escaped);
    return status;
}
