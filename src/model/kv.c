/* The KV cache of one sequence. */
#include "model/kv.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

enum octet_status kv_open(struct kv *kv, const struct shape *shape, size_t n_ctx, size_t max_chunk,
                          bool f32, struct octet_err *err) {
    *kv = (struct kv){.n_kv_heads = shape->n_kv_heads,
                      .head_dim = shape->head_dim,
                      .window = shape->window,
                      .f32 = f32};
    size_t span = n_ctx;
    // One more block than the span fills, because the span rarely starts at a block's first
    // position.
    if (kv->window && kv->window < span && max_chunk < span - kv->window)
        span = kv->window + max_chunk + KV_BLOCK;
    kv->n_blocks = (span + KV_BLOCK - 1) / KV_BLOCK;
    uint64_t n_bytes = 2 * KV_BLOCK * kv_elem_bytes(kv);
    if (mul_overflows(n_bytes, kv->n_blocks, &n_bytes) ||
        mul_overflows(n_bytes, shape->n_layers * shape->n_kv_heads, &n_bytes) ||
        mul_overflows(n_bytes, shape->head_dim, &n_bytes) || n_bytes > SIZE_MAX / 2)
        return octet_fail(err, OCTET_EMEM, "a context of %zu tokens needs more memory than exists",
                          n_ctx);
    void *base = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return octet_fail(err, OCTET_EMEM,
                          "no memory for the KV cache: %.1f MB for a context of %zu tokens (%s); "
                          "ask for a smaller context",
                          (double)n_bytes / 1e6, n_ctx, strerror(errno));
    kv->base = base;
    kv->n_bytes = n_bytes;
    return OCTET_OK;
}

void kv_close(struct kv *kv) {
    if (kv->base) munmap(kv->base, kv->n_bytes);
    kv->base = NULL;
}

bool kv_can_resume(const struct kv *kv, size_t pos) {
    if (pos == 0 || kv->written == 0) return pos == 0;
    size_t oldest = kv_first_visible(kv, pos) / KV_BLOCK, newest = (kv->written - 1) / KV_BLOCK;
    return oldest + kv->n_blocks > newest;
}
