/* Prefetches of a KV cache's blocks. Attention touches each once, computes for as long as memory
 * takes, and jumps; left alone, it alternates between the two instead of doing both. So while the
 * first queries meet the keys of a block, its values are fetched, and while values are summed up,
 * the keys of the next block. */
#ifndef OCTET_KERNELS_KV_FETCH_H
#define OCTET_KERNELS_KV_FETCH_H

#include "kernels/kernels.h"

/* What attend fetches; NULL: nothing. */
struct kv_fetch {
    const uint8_t *values, *next;
    size_t n_bytes; // of a block's keys, or of its values
};

/* For queries from I on; later ones find in the cache what the first ones fetched. */
static inline struct kv_fetch kv_fetch_for(const struct attend *a, size_t i, const void *v,
                                           bool f32) {
    size_t n_bytes = a->head_dim * KV_BLOCK * sizeof(uint16_t);
    if (i > 0) return (struct kv_fetch){NULL, NULL, n_bytes};
    return (struct kv_fetch){f32 ? NULL : v, a->next, n_bytes};
}

/* Bytes OFFSET .. OFFSET + N - 1 from FROM on. */
static inline void kv_fetch_part(const struct kv_fetch *f, const uint8_t *from, size_t offset,
                                 size_t n) {
    if (!from || offset >= f->n_bytes) return;
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch(from + offset + i);
}

#endif
