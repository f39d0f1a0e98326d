/* Blocks of integer KV caches as floats. Included by every kernel table and compiled for its
 * instruction set; the loops are plain C, since each number is one conversion, at most one exact
 * subtraction and one product, which no vector width can change. */
#ifndef OCTET_KERNELS_KV_EXPAND_H
#define OCTET_KERNELS_KV_EXPAND_H

#include "base/half.h"
#include "kernels/kernels.h"

static void expand_q8(const void *block, size_t head_dim, float *y) {
    const int8_t *q = block;
    const float *scale = (const float *)(const void *)(q + 2 * head_dim * KV_BLOCK);
    for (size_t d = 0; d < head_dim; d++, q += KV_BLOCK, y += KV_BLOCK) {
        const float *s = scale + d / KV_GROUP * KV_BLOCK;
        for (size_t j = 0; j < KV_BLOCK; j++) y[j] = (float)q[j] * s[j];
    }
    scale += kv_n_groups(head_dim) * KV_BLOCK;
    for (size_t j = 0; j < KV_BLOCK; j++)
        for (size_t d = 0; d < head_dim; d += KV_GROUP) {
            const float s = scale[d / KV_GROUP * KV_BLOCK + j];
            const size_t n = head_dim - d < KV_GROUP ? head_dim - d : KV_GROUP;
            for (size_t i = 0; i < n; i++) *y++ = (float)*q++ * s;
        }
}

/* N bytes: their low halves become Y[0] ..., their high halves Y[N] ... */
static inline void expand_codes(const uint8_t *restrict q, size_t n, float scale,
                                float *restrict y) {
    for (size_t i = 0; i < n; i++) {
        int low = q[i] & 15, high = q[i] >> 4;
        y[i] = ((float)low - KV_Q4_ZERO) * scale;
        y[n + i] = ((float)high - KV_Q4_ZERO) * scale;
    }
}

static inline void expand_code_row(const uint8_t *restrict q, size_t n, const float *restrict scale,
                                   float *restrict y) {
    for (size_t j = 0; j < n; j++) {
        int low = q[j] & 15, high = q[j] >> 4;
        y[j] = ((float)low - KV_Q4_ZERO) * scale[j];
        y[n + j] = ((float)high - KV_Q4_ZERO) * scale[n + j];
    }
}

static void expand_q4(const void *block, size_t head_dim, float *y) {
    const uint8_t *q = block;
    const uint16_t *scale = (const uint16_t *)(const void *)(q + head_dim * KV_BLOCK);
    float s[KV_BLOCK];
    for (size_t d = 0; d < head_dim; d++, q += KV_BLOCK / 2, y += KV_BLOCK) {
        if (d % KV_GROUP == 0)
            for (size_t j = 0; j < KV_BLOCK; j++) s[j] = bf16_to_f32(*scale++);
        expand_code_row(q, KV_BLOCK / 2, s, y);
    }
    for (size_t j = 0; j < KV_BLOCK; j++)
        for (size_t d = 0; d < head_dim; d += KV_GROUP) {
            const float of_group = bf16_to_f32(scale[d / KV_GROUP * KV_BLOCK + j]);
            const size_t n = head_dim - d < KV_GROUP ? head_dim - d : KV_GROUP;
            expand_codes(q, n / 2, of_group, y);
            q += n / 2, y += n;
        }
}

#endif
