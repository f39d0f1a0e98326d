/* Keys and values of one sequence, in blocks of KV_BLOCK absolute positions per layer and head:
 * keys transposed (head_dim, KV_BLOCK), then values (KV_BLOCK, head_dim). With a sliding window the
 * blocks form a ring that holds the window and one prefill chunk. Memory is touched only as it
 * fills. */
#ifndef OCTET_MODEL_KV_H
#define OCTET_MODEL_KV_H

#include "kernels/kernels.h"
#include "model/model.h"

struct kv {
    uint8_t *base;
    size_t n_bytes;
    size_t n_blocks; // per layer and head
    size_t n_kv_heads, head_dim, window;
    bool f32;
    size_t written; // one past the highest position stored since the last restart from 0
};

enum octet_status kv_open(struct kv *kv, const struct shape *shape, size_t n_ctx, size_t max_chunk,
                          bool f32, struct octet_err *err);
void kv_close(struct kv *kv);

static inline size_t kv_elem_bytes(const struct kv *kv) { return kv->f32 ? 4 : 2; }

/* Keys of the block that holds positions block * KV_BLOCK ...; values follow at + head_dim *
 * KV_BLOCK elements. */
static inline void *kv_block(const struct kv *kv, size_t layer, size_t head, size_t block) {
    size_t i = (layer * kv->n_kv_heads + head) * kv->n_blocks + block % kv->n_blocks;
    return kv->base + i * (2 * kv->head_dim * KV_BLOCK * kv_elem_bytes(kv));
}

/* The first position that the query at POS sees. */
static inline size_t kv_first_visible(const struct kv *kv, size_t pos) {
    return kv->window && pos + 1 > kv->window ? pos + 1 - kv->window : 0;
}

/* Whether the sequence can go on at position POS: everything visible from there is still held. */
bool kv_can_resume(const struct kv *kv, size_t pos);

#endif
