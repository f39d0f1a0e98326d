/* Keys and values of one sequence, in blocks of KV_BLOCK absolute positions per layer and head:
 * keys transposed (head_dim, KV_BLOCK), then values (KV_BLOCK, head_dim), of f16, f32 or int8. An
 * int8 block ends with its scales, x = q * scale: (n_groups, KV_BLOCK) of the keys, then of the
 * values, one per KV_GROUP numbers of a head. With a sliding window the blocks form a ring that
 * holds the window and one prefill chunk. Memory is touched only as it fills. */
#ifndef OCTET_MODEL_KV_H
#define OCTET_MODEL_KV_H

#include "kernels/kernels.h"
#include "model/model.h"

enum { KV_GROUP = 32 };

struct kv {
    uint8_t *base;
    size_t n_bytes;
    size_t n_blocks; // per layer and head
    size_t n_kv_heads, head_dim, window;
    enum octet_kv_type type;
    size_t block_bytes;
    size_t written; // one past the highest position stored since the last restart from 0
};

enum octet_status kv_open(struct kv *kv, const struct shape *shape, size_t n_ctx, size_t max_chunk,
                          enum octet_kv_type type, struct octet_err *err);
void kv_close(struct kv *kv);

static inline size_t kv_n_groups(size_t head_dim) { return (head_dim + KV_GROUP - 1) / KV_GROUP; }

/* Keys of the block that holds positions block * KV_BLOCK ...; values follow at + head_dim *
 * KV_BLOCK elements. */
static inline void *kv_block(const struct kv *kv, size_t layer, size_t head, size_t block) {
    size_t i = (layer * kv->n_kv_heads + head) * kv->n_blocks + block % kv->n_blocks;
    return kv->base + i * kv->block_bytes;
}

/* The first position that the query at POS sees. */
static inline size_t kv_first_visible(const struct kv *kv, size_t pos) {
    return kv->window && pos + 1 > kv->window ? pos + 1 - kv->window : 0;
}

/* Whether the sequence can go on at position POS: everything visible from there is still held. */
bool kv_can_resume(const struct kv *kv, size_t pos);

/* Stores key K and value V (head_dim) of position POS. HALF: scratch (head_dim). */
void kv_store(struct kv *kv, const struct kernels *kernels, size_t layer, size_t head, size_t pos,
              const float *k, const float *v, uint16_t *half);
/* Keys of a block in the form that attend takes, f16 or f32, values following; an int8 block is
 * expanded into SCRATCH (2 * head_dim * KV_BLOCK). */
const void *kv_load(const struct kv *kv, size_t layer, size_t head, size_t block, float *scratch);

#endif
