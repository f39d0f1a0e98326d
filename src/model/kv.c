/* The KV cache of one sequence. */
#include "model/kv.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/map.h"
#include "base/mem.h"

enum { BF16_NAN = 0x7fc0 };

static size_t block_bytes(enum octet_kv_type type, size_t head_dim) {
    size_t n = 2 * head_dim * KV_BLOCK, n_scales = 2 * kv_n_groups(head_dim) * KV_BLOCK;
    switch (type) {
    case OCTET_KV_F16: return n * sizeof(uint16_t);
    case OCTET_KV_F32: return n * sizeof(float);
    case OCTET_KV_Q8_0: return n + n_scales * sizeof(float);
    case OCTET_KV_Q4_0: return n / 2 + n_scales * sizeof(uint16_t);
    }
    return 0;
}

enum octet_status kv_open(struct kv *kv, const struct shape *shape, size_t n_ctx, size_t max_chunk,
                          enum octet_kv_type type, struct octet_err *err) {
    *kv = (struct kv){.n_kv_heads = shape->n_kv_heads,
                      .head_dim = shape->head_dim,
                      .window = shape->window,
                      .type = type};
    size_t span = n_ctx;
    // One more block than the span fills, because the span rarely starts at a block's first
    // position.
    if (kv->window && kv->window < span && max_chunk < span - kv->window)
        span = kv->window + max_chunk + KV_BLOCK;
    kv->n_blocks = (span + KV_BLOCK - 1) / KV_BLOCK;
    kv->block_bytes = block_bytes(type, shape->head_dim);
    uint64_t n_bytes = kv->block_bytes;
    if (mul_overflows(n_bytes, shape->n_layers * shape->n_kv_heads, &n_bytes) ||
        mul_overflows(n_bytes, kv->n_blocks, &n_bytes) || n_bytes > SIZE_MAX / 2)
        return octet_fail(err, OCTET_EMEM, "a context of %zu tokens needs more memory than exists",
                          n_ctx);
    kv->page_bytes = n_bytes / kv->n_blocks;
    kv->slots = mem_array(kv->n_blocks, sizeof *kv->slots);
    if (!kv->slots) return octet_fail_memory(err, "KV cache", kv->n_blocks * sizeof *kv->slots);
    kv_clear(kv);
    return OCTET_OK;
}

void kv_close(struct kv *kv) {
    for (size_t i = 0; kv->slots && i < kv->n_blocks; i++) kv_page_drop(kv->slots[i].page);
    mem_free(kv->slots);
    kv->slots = NULL;
}

/* ---- Pages ----------------------------------------------------------------------------------- */

struct kv_page *kv_page_new(size_t page_bytes) {
    struct kv_page *page = mem_alloc(sizeof *page);
    uint8_t *data = page ? mem_huge(page_bytes) : NULL;
    if (!data) {
        mem_free(page);
        return NULL;
    }
    atomic_init(&page->n_refs, 1);
    page->data = data;
    return page;
}

struct kv_page *kv_page_mapped(uint8_t *mapping, size_t mapping_bytes, size_t at) {
    struct kv_page *page = mem_alloc(sizeof *page);
    if (!page) return NULL;
    atomic_init(&page->n_refs, 1);
    page->data = mapping + at;
    page->mapping = mapping;
    page->mapping_bytes = mapping_bytes;
    return page;
}

struct kv_page *kv_page_share(struct kv_page *page) {
    atomic_fetch_add(&page->n_refs, 1);
    return page;
}

void kv_page_drop(struct kv_page *page) {
    if (!page || atomic_fetch_sub(&page->n_refs, 1) > 1) return;
    if (page->mapping)
        map_private_close(page->mapping, page->mapping_bytes);
    else
        mem_free(page->data);
    mem_free(page);
}

static bool is_shared(struct kv_page *page) { return atomic_load(&page->n_refs) > 1; }

void kv_clear(struct kv *kv) {
    for (size_t i = 0; i < kv->n_blocks; i++) {
        struct kv_slot *slot = &kv->slots[i];
        slot->block = KV_NOTHING;
        if (!slot->page || !is_shared(slot->page)) continue;
        kv_page_drop(slot->page);
        slot->page = NULL;
    }
}

struct kv_page *kv_page_of(const struct kv *kv, size_t block) {
    const struct kv_slot *slot = &kv->slots[block % kv->n_blocks];
    return slot->block == block ? slot->page : NULL;
}

void kv_put_page(struct kv *kv, size_t block, struct kv_page *page) {
    struct kv_slot *slot = &kv->slots[block % kv->n_blocks];
    kv_page_drop(slot->page);
    *slot = (struct kv_slot){page, block};
}

bool kv_prepare(struct kv *kv, size_t pos, size_t n) {
    for (size_t block = pos / KV_BLOCK; block * KV_BLOCK < pos + n; block++) {
        struct kv_slot *slot = &kv->slots[block % kv->n_blocks];
        if (!slot->page || is_shared(slot->page)) {
            struct kv_page *page = kv_page_new(kv->page_bytes);
            if (!page) return false;
            if (slot->block == block && block * KV_BLOCK < pos)
                memcpy(page->data, slot->page->data, kv->page_bytes);
            kv_page_drop(slot->page);
            slot->page = page;
        }
        slot->block = block;
    }
    return true;
}

bool kv_can_resume(const struct kv *kv, size_t pos) {
    for (size_t block = kv_first_visible(kv, pos) / KV_BLOCK; block * KV_BLOCK < pos; block++)
        if (!kv_page_of(kv, block)) return false;
    return true;
}

/* ---- Storing and loading -------------------------------------------------------------------- */

/* Fast Walsh-Hadamard transform of runs whose lengths are powers of two, orthonormal: an outlier is
 * spread over its run, so that four bits are enough for the rest. */
void kv_turn(const struct kv *kv, float *x) {
    if (kv->type != OCTET_KV_Q4_0) return;
    for (size_t left = kv->head_dim, n = 1; left > 0; left -= n, x += n, n = 1) {
        while (2 * n <= left) n *= 2;
        for (size_t width = 1; width < n; width *= 2)
            for (size_t i = 0; i < n; i += 2 * width)
                for (size_t j = i; j < i + width; j++) {
                    float a = x[j], b = x[j + width];
                    x[j] = a + b, x[j + width] = a - b;
                }
        float scale = 1.0f / sqrtf((float)n);
        for (size_t i = 0; i < n; i++) x[i] *= scale;
    }
}

/* The largest magnitude of N numbers, NaN where one is not finite, so that it shows in the logits
 * as it would with floats. */
static float largest(const float *x, size_t n) {
    float max = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        max = magnitude > max ? magnitude : max;
        finite &= isfinite(x[i]) != 0;
    }
    return finite ? max : NAN;
}

/* N numbers into Q, STRIDE apart; returns their scale. */
static float quantise8(const float *x, size_t n, int8_t *q, size_t stride) {
    float max = largest(x, n), inverse = max > 1e-30f ? 127.0f / max : 0.0f;
    for (size_t i = 0; i < n; i++) q[i * stride] = isnan(max) ? 1 : (int8_t)rintf(x[i] * inverse);
    return max / 127.0f;
}

/* N numbers as codes of four bits; returns their scale. The codes are made for it as it is kept. */
static uint16_t quantise4(const float *x, size_t n, uint8_t *codes) {
    float max = largest(x, n);
    uint16_t scale = isnan(max) ? BF16_NAN : f32_to_bf16(max / 8.0f);
    float kept = bf16_to_f32(scale), inverse = kept > 1e-30f ? 1.0f / kept : 0.0f;
    for (size_t i = 0; i < n; i++) {
        // Rounded to nearest; what rounding leaves below zero is cut to zero, too.
        int code = isnan(max) ? 0 : (int)(x[i] * inverse + (KV_Q4_ZERO + 0.5f));
        codes[i] = (uint8_t)(code < 15 ? code : 15);
    }
    return scale;
}

static void store_q8(const struct kv *kv, void *block, size_t j, const float *k, const float *v) {
    size_t head_dim = kv->head_dim, n_groups = kv_n_groups(head_dim);
    int8_t *k_t = block, *values = k_t + head_dim * KV_BLOCK + j * head_dim;
    float *k_scale = (float *)(void *)(k_t + 2 * head_dim * KV_BLOCK),
          *v_scale = k_scale + n_groups * KV_BLOCK;
    for (size_t g = 0; g < n_groups; g++) {
        size_t d = g * KV_GROUP, n = head_dim - d < KV_GROUP ? head_dim - d : KV_GROUP;
        k_scale[g * KV_BLOCK + j] = quantise8(k + d, n, k_t + d * KV_BLOCK + j, KV_BLOCK);
        v_scale[g * KV_BLOCK + j] = quantise8(v + d, n, values + d, 1);
    }
}

/* Leaves the other half of the byte as it is. */
static void put_code(uint8_t *byte, bool high, uint8_t code) {
    *byte = (uint8_t)(high ? (*byte & 15) | code << 4 : (*byte & 0xf0) | code);
}

static void store_q4(const struct kv *kv, void *block, size_t j, const float *k, const float *v) {
    size_t head_dim = kv->head_dim, n_groups = kv_n_groups(head_dim), row = KV_BLOCK / 2;
    uint8_t *k_t = block, *values = k_t + head_dim * row + j * head_dim / 2, codes[KV_GROUP];
    uint16_t *k_scale = (uint16_t *)(void *)(k_t + head_dim * KV_BLOCK),
             *v_scale = k_scale + n_groups * KV_BLOCK;
    for (size_t g = 0; g < n_groups; g++) {
        size_t d = g * KV_GROUP, n = head_dim - d < KV_GROUP ? head_dim - d : KV_GROUP;
        k_scale[g * KV_BLOCK + j] = quantise4(k + d, n, codes);
        for (size_t i = 0; i < n; i++) put_code(&k_t[(d + i) * row + j % row], j >= row, codes[i]);
        v_scale[g * KV_BLOCK + j] = quantise4(v + d, n, codes);
        for (size_t i = 0; i < n / 2; i++)
            values[d / 2 + i] = (uint8_t)(codes[i] | codes[n / 2 + i] << 4);
    }
}

void kv_store(struct kv *kv, const struct kernels *kernels, size_t layer, size_t head, size_t pos,
              const float *k, const float *v, uint16_t *half) {
    size_t head_dim = kv->head_dim, j = pos % KV_BLOCK;
    void *block = kv_block(kv, layer, head, pos / KV_BLOCK);
    if (kv->type == OCTET_KV_Q8_0) {
        store_q8(kv, block, j, k, v);
    } else if (kv->type == OCTET_KV_Q4_0) {
        store_q4(kv, block, j, k, v);
    } else if (kv->type == OCTET_KV_F32) {
        float *k_t = block, *values = k_t + head_dim * KV_BLOCK;
        for (size_t d = 0; d < head_dim; d++) k_t[d * KV_BLOCK + j] = k[d];
        memcpy(values + j * head_dim, v, head_dim * sizeof *v);
    } else {
        uint16_t *k_t = block, *values = k_t + head_dim * KV_BLOCK;
        kernels->to_f16(k, half, head_dim);
        for (size_t d = 0; d < head_dim; d++) k_t[d * KV_BLOCK + j] = half[d];
        kernels->to_f16(v, values + j * head_dim, head_dim);
    }
}

const void *kv_load(const struct kv *kv, const struct kernels *kernels, size_t layer, size_t head,
                    size_t block, float *scratch) {
    void *held = kv_block(kv, layer, head, block);
    if (kv->type == OCTET_KV_Q8_0)
        kernels->expand_q8(held, kv->head_dim, scratch);
    else if (kv->type == OCTET_KV_Q4_0)
        kernels->expand_q4(held, kv->head_dim, scratch);
    else
        return held;
    return scratch;
}
