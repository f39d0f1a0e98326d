/* Prefetches of a KV cache's blocks. Attention touches each once, computes for as long as memory
 * takes, and jumps; left alone, it alternates between the two instead of doing both. So while the
 * first queries meet the keys of a block, its values are fetched, and while values are summed up,
 * the keys of the next block. */
#ifndef OCTET_KERNELS_KV_FETCH_H
#define OCTET_KERNELS_KV_FETCH_H

#include "kernels/kernels.h"

/* What is left of a stretch of memory to be fetched in turns, TURN bytes in each: a line of every
 * GAP bytes. OUTER: see struct attend. */
struct kv_fetch {
    const uint8_t *at, *end;
    size_t turn, gap;
    bool outer;
};

static inline struct kv_fetch kv_fetch_in(struct stretch s, bool outer, size_t n_turns) {
    size_t lines = (s.n_bytes + s.gap - 1) / s.gap, turn = (lines + n_turns - 1) / n_turns;
    return (struct kv_fetch){s.at, (const uint8_t *)s.at + s.n_bytes, turn * s.gap, s.gap, outer};
}

/* A turn. */
static inline void kv_fetch_some(struct kv_fetch *f) {
    if (f->at >= f->end) return;
    for (size_t i = 0; i < f->turn; i += f->gap)
        if (f->outer)
            __builtin_prefetch(f->at + i, 0, 2);
        else
            __builtin_prefetch(f->at + i);
    f->at += f->turn;
}

/* In N_TURNS of the keys' loop: the values that queries from I on see. Later queries find in the
 * cache what the first ones fetched; F32 values that are expanded are there anyhow. */
static inline struct kv_fetch kv_fetch_values(const struct attend *a, size_t i, const void *v,
                                              bool f32, size_t lo, size_t hi, size_t n_turns) {
    size_t row_bytes = a->head_dim * sizeof(uint16_t);
    size_t n_bytes = i > 0 || f32 ? 0 : (hi - lo) * row_bytes;
    return kv_fetch_in((struct stretch){(const uint8_t *)v + lo * row_bytes, n_bytes, CACHE_LINE},
                       a->outer, n_turns);
}

/* In N_TURNS of the values' loop: what A names. */
static inline struct kv_fetch kv_fetch_next(const struct attend *a, size_t i, size_t n_turns) {
    struct stretch next = a->next;
    if (i > 0 || !next.at) next = (struct stretch){NULL, 0, CACHE_LINE};
    return kv_fetch_in(next, a->outer, n_turns);
}

#endif
