/* Keys and values of one sequence, in blocks of KV_BLOCK absolute positions per layer and head:
 * keys transposed (head_dim, KV_BLOCK), then values (KV_BLOCK, head_dim), of f16, f32 or int8. An
 * int8 block ends with its scales, x = q * scale: (n_groups, KV_BLOCK) of the keys, then of the
 * values, one per KV_GROUP numbers of a head. The blocks of the same positions in all layers and
 * heads (n_layers, n_kv_heads) make a page, which several sequences may share and which is copied
 * before a write while they do. With a sliding window the pages form a ring that holds the window
 * and one prefill chunk. */
#ifndef OCTET_MODEL_KV_H
#define OCTET_MODEL_KV_H

#include <stdatomic.h>

#include "kernels/kernels.h"
#include "model/model.h"

/* Freed with its last reference; written only while there is one. */
struct kv_page {
    atomic_size_t n_refs;
    uint8_t *data;    // (page_bytes), 64-byte aligned
    uint8_t *mapping; // of a file that DATA lies in; NULL: DATA is the page's own
    size_t mapping_bytes;
};

struct kv_page *kv_page_new(size_t page_bytes); // zeroed, one reference; NULL: out of memory
/* Takes over a private mapping (base/map.h), whose data begins AT bytes behind its start; NULL: out
 * of memory, and the mapping is still the caller's. */
struct kv_page *kv_page_mapped(uint8_t *mapping, size_t mapping_bytes, size_t at);
struct kv_page *kv_page_share(struct kv_page *page); // one reference more; returns PAGE
void kv_page_drop(struct kv_page *page);             // one less; NULL allowed

struct kv_slot {
    struct kv_page *page; // NULL: none yet
    size_t block;         // which KV_BLOCK positions it holds; KV_NOTHING: none
};
#define KV_NOTHING SIZE_MAX

struct kv {
    struct kv_slot *slots; // (n_blocks): block b is in slot b % n_blocks or nowhere
    size_t n_blocks;
    size_t n_kv_heads, head_dim, window;
    enum octet_kv_type type;
    size_t block_bytes, page_bytes;
};

enum octet_status kv_open(struct kv *kv, const struct shape *shape, size_t n_ctx, size_t max_chunk,
                          enum octet_kv_type type, struct octet_err *err);
void kv_close(struct kv *kv);
void kv_clear(struct kv *kv); // holds nothing afterwards; keeps pages of its own for the next use

/* Makes positions pos .. pos + n - 1 writable; false when out of memory. */
bool kv_prepare(struct kv *kv, size_t pos, size_t n);
/* The page of a block, NULL where it is not held; the sequence keeps its reference. */
struct kv_page *kv_page_of(const struct kv *kv, size_t block);
/* Takes over one reference to PAGE, which holds BLOCK. */
void kv_put_page(struct kv *kv, size_t block, struct kv_page *page);

/* Keys of the block that holds positions block * KV_BLOCK ...; values follow at + head_dim *
 * KV_BLOCK elements. */
static inline void *kv_block(const struct kv *kv, size_t layer, size_t head, size_t block) {
    size_t i = layer * kv->n_kv_heads + head;
    return kv->slots[block % kv->n_blocks].page->data + i * kv->block_bytes;
}

/* What attention reads of a block before its values, where no query sees positions from END on:
 * keys, or all that is to be expanded. */
static inline struct stretch kv_keys(const struct kv *kv, size_t layer, size_t head, size_t block,
                                     size_t end) {
    const void *keys = kv_block(kv, layer, head, block);
    size_t n_bytes = kv->block_bytes, half = KV_BLOCK / 2;
    if (kv->type == OCTET_KV_F16 || kv->type == OCTET_KV_F32) n_bytes /= 2;
    bool every_other = kv->type == OCTET_KV_F16 && end <= block * KV_BLOCK + half;
    return (struct stretch){keys, n_bytes, every_other ? 2 * CACHE_LINE : CACHE_LINE};
}

/* The first position that the query at POS sees. */
static inline size_t kv_first_visible(const struct kv *kv, size_t pos) {
    return kv->window && pos + 1 > kv->window ? pos + 1 - kv->window : 0;
}

/* Whether the sequence can go on at position POS: everything visible from there is held. */
bool kv_can_resume(const struct kv *kv, size_t pos);

/* Keys and values of a 4-bit cache are stored turned by an orthonormal map that is its own inverse;
 * queries are turned to meet them and what attend sums up is turned back. X (head_dim); others stay
 * as they are. */
void kv_turn(const struct kv *kv, float *x);
/* Stores key K and value V (head_dim) of position POS. HALF: scratch (head_dim). */
void kv_store(struct kv *kv, const struct kernels *kernels, size_t layer, size_t head, size_t pos,
              const float *k, const float *v, uint16_t *half);
/* Keys of a block in the form that attend takes, f16 or f32, values following; an integer block is
 * expanded into SCRATCH (2 * head_dim * KV_BLOCK). */
const void *kv_load(const struct kv *kv, const struct kernels *kernels, size_t layer, size_t head,
                    size_t block, float *scratch);

#endif
