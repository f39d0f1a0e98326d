/* Products of F32, F16 and BF16 rows with float activations, for AVX2; part of avx2.c. The 16
 * partial sums of an output are two registers.
 *
 * One token or two meet the rows from the first element to the last, which keeps up with memory.
 * More are cut as float_blocks.h says; a tile takes the lower sums of all its outputs first and
 * then the upper ones, since both at once leave room for too few outputs. */
#ifndef OCTET_KERNELS_AVX2_FLOAT_H
#define OCTET_KERNELS_AVX2_FLOAT_H

#include <math.h>

#include "kernels/avx2_blocks.h"
#include "kernels/float_blocks.h"

enum {
    FLOAT_TOKENS = 3,
    FEW_TOKENS = 2,
    FEW_ROWS = 2,
    LEAST_AHEAD = 16384, // bytes
};

/* ---- Loading and folding --------------------------------------------------------------------- */

/* 8 floats out of F32, F16 or BF16. */
INLINE __m256 load_floats(uint32_t type, const uint8_t *p) {
    if (type == QUANT_F32) return _mm256_loadu_ps((const float *)(const void *)p);
    if (type == QUANT_F16) return _mm256_cvtph_ps(load_128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_128(p)), 16));
}

static float float_at(uint32_t type, const uint8_t *p) {
    if (type == QUANT_F32) return f32_from_bits(load_u32(p));
    return type == QUANT_F16 ? load_f16(p) : bf16_to_f32(load_u16(p));
}

static inline float fold(__m256 low, __m256 high) {
    __m256 v8 = _mm256_add_ps(low, high);
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

/* From eight sums to four and then to one, for A in the lower lane and B in the upper one. */
INLINE __m256 fold_two(__m256 a, __m256 b) {
    __m256 v =
        _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    v = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4e));
    return _mm256_add_ps(v, _mm256_permute_ps(v, 0xb1));
}

/* ---- Tiles ----------------------------------------------------------------------------------- */

/* Sums lie as [half][row][token][8]. */
INLINE float *tile_sums(const struct float_tile *p, size_t half, size_t r, size_t n, size_t t) {
    return p->sums + ((half * FLOAT_ROWS + r) * n + t) * WIDTH;
}

/* One half of the sums of each output, through all whole steps of the segment. */
INLINE void tile_half(uint32_t type, const struct float_tile *p, size_t n, size_t half) {
    const size_t size = float_bytes(type);
    const uint8_t *w = p->w + half * WIDTH * size;
    const float *x = p->x + half * WIDTH;
    __m256 acc[FLOAT_ROWS][FLOAT_TOKENS];
    UNROLL
    for (size_t r = 0; r < FLOAT_ROWS; r++) UNROLL
    for (size_t t = 0; t < n; t++)
        acc[r][t] = p->first ? _mm256_setzero_ps() : _mm256_loadu_ps(tile_sums(p, half, r, n, t));
    for (size_t i = 0; i + FLOAT_LANES <= p->n; i += FLOAT_LANES) {
        __m256 v[FLOAT_TOKENS];
        UNROLL
        for (size_t t = 0; t < n; t++) v[t] = _mm256_loadu_ps(x + t * p->k);
        UNROLL
        for (size_t r = 0; r < FLOAT_ROWS; r++) {
            __m256 row = load_floats(type, w + r * p->row_bytes);
            UNROLL
            for (size_t t = 0; t < n; t++) acc[r][t] = _mm256_fmadd_ps(row, v[t], acc[r][t]);
        }
        w += FLOAT_LANES * size;
        x += FLOAT_LANES;
    }
    UNROLL
    for (size_t r = 0; r < FLOAT_ROWS; r++) UNROLL
    for (size_t t = 0; t < n; t++) _mm256_storeu_ps(tile_sums(p, half, r, n, t), acc[r][t]);
}

/* Elements past the whole steps. */
static void tile_rest(uint32_t type, const struct float_tile *p, size_t n) {
    const size_t from = p->n - p->n % FLOAT_LANES;
    for (size_t i = from; i < p->n; i++)
        for (size_t r = 0; r < FLOAT_ROWS; r++) {
            float w = float_at(type, p->w + r * p->row_bytes + i * float_bytes(type));
            for (size_t t = 0; t < n; t++) {
                float *sum = tile_sums(p, (i - from) / WIDTH, r, n, t) + (i - from) % WIDTH;
                *sum = fmaf(w, p->x[t * p->k + i], *sum);
            }
        }
}

INLINE void float_tile(uint32_t type, const struct float_tile *p, size_t n) {
    tile_half(type, p, n, 0);
    tile_half(type, p, n, 1);
    if (!p->last) return;
    if (p->n % FLOAT_LANES) tile_rest(type, p, n);
    UNROLL
    for (size_t t = 0; t < n; t++) {
        __m256 v[FLOAT_ROWS];
        UNROLL
        for (size_t r = 0; r < FLOAT_ROWS; r++)
            v[r] = _mm256_add_ps(_mm256_loadu_ps(tile_sums(p, 0, r, n, t)),
                                 _mm256_loadu_ps(tile_sums(p, 1, r, n, t)));
        // Lower lane: rows 0, 0, 2, 2; upper one: 1, 1, 3, 3.
        __m256 sums = _mm256_shuffle_ps(fold_two(v[0], v[1]), fold_two(v[2], v[3]), 0);
        _mm_storeu_ps(p->y + t * p->ldy, _mm_blend_ps(_mm256_castps256_ps128(sums),
                                                      _mm256_extractf128_ps(sums, 1), 0xa));
    }
}

#define FLOAT_TILE(type, n)                                                                        \
    static void float_tile_##type##_##n(const struct float_tile *p) {                              \
        float_tile(QUANT_##type, p, n);                                                            \
    }
#define FLOAT_TILES(type)                                                                          \
    FLOAT_TILE(type, 1)                                                                            \
    FLOAT_TILE(type, 2)                                                                            \
    FLOAT_TILE(type, 3)                                                                            \
    static float_tile_fn *const float_tiles_##type[FLOAT_TOKENS] = {                               \
        float_tile_##type##_1, float_tile_##type##_2, float_tile_##type##_3};
FLOAT_TILES(F32)
FLOAT_TILES(F16)
FLOAT_TILES(BF16)

/* ---- A few tokens ---------------------------------------------------------------------------- */

/* Prefetches go through memory in its order, also where rows are read side by side. */
INLINE void few_tile(uint32_t type, const uint8_t *w, size_t n_rows, const struct float_product *p,
                     size_t n, float *y) {
    const size_t size = float_bytes(type), row_bytes = p->k * size, k = p->k;
    const size_t step_bytes = FLOAT_LANES * size, tile_bytes = n_rows * row_bytes;
    const uint8_t *ahead = w + (tile_bytes > LEAST_AHEAD ? tile_bytes : LEAST_AHEAD);
    __m256 low[FEW_ROWS][FEW_TOKENS], high[FEW_ROWS][FEW_TOKENS];
    UNROLL
    for (size_t r = 0; r < n_rows; r++) UNROLL
    for (size_t t = 0; t < n; t++) low[r][t] = high[r][t] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + FLOAT_LANES <= k; i += FLOAT_LANES, w += step_bytes, ahead += n_rows * step_bytes) {
        UNROLL
        for (size_t b = 0; b < n_rows * step_bytes; b += FLOAT_LINE_BYTES)
            _mm_prefetch((const void *)(ahead + b), _MM_HINT_T0);
        UNROLL
        for (size_t r = 0; r < n_rows; r++) {
            __m256 w0 = load_floats(type, w + r * row_bytes);
            __m256 w1 = load_floats(type, w + r * row_bytes + WIDTH * size);
            UNROLL
            for (size_t t = 0; t < n; t++) {
                const float *at = p->x + t * k + i;
                low[r][t] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(at), low[r][t]);
                high[r][t] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(at + WIDTH), high[r][t]);
            }
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n; t++) {
            if (i < k) {
                float lane[FLOAT_LANES];
                _mm256_storeu_ps(lane, low[r][t]);
                _mm256_storeu_ps(lane + WIDTH, high[r][t]);
                for (size_t j = 0; i + j < k; j++)
                    lane[j] = fmaf(float_at(type, w + r * row_bytes + j * size),
                                   p->x[t * k + i + j], lane[j]);
                low[r][t] = _mm256_loadu_ps(lane);
                high[r][t] = _mm256_loadu_ps(lane + WIDTH);
            }
            y[t * p->ldy + r] = fold(low[r][t], high[r][t]);
        }
}

/* A token takes row after row, as memory gives most to a single stream, and its two sums are just
 * enough to keep up with it. Two are bound by arithmetic, and share what they load. */
INLINE void few_tokens(uint32_t type, const struct float_product *p, size_t n) {
    const size_t row_bytes = p->k * float_bytes(type), n_rows = n == 1 ? 1 : FEW_ROWS;
    size_t r = 0;
    for (; r + n_rows <= p->n_rows; r += n_rows)
        few_tile(type, p->w + r * row_bytes, n_rows, p, n, p->y + r);
    for (; r < p->n_rows; r++) few_tile(type, p->w + r * row_bytes, 1, p, n, p->y + r);
}

/* ---- All ------------------------------------------------------------------------------------- */

/* P's tokens, in parts that few_tokens takes. */
INLINE void in_few_tokens(uint32_t type, struct float_product p) {
    for (; p.n >= 2; p.n -= 2, p.x += 2 * p.k, p.y += 2 * p.ldy) few_tokens(type, &p, 2);
    if (p.n > 0) few_tokens(type, &p, 1);
}

static void few_F32(struct float_product p) { in_few_tokens(QUANT_F32, p); }
static void few_F16(struct float_product p) { in_few_tokens(QUANT_F16, p); }
static void few_BF16(struct float_product p) { in_few_tokens(QUANT_BF16, p); }

static const struct float_ways float_ways[] = {
    {QUANT_F32, float_tiles_F32, FLOAT_TOKENS, few_F32, FEW_TOKENS},
    {QUANT_F16, float_tiles_F16, FLOAT_TOKENS, few_F16, FEW_TOKENS},
    {QUANT_BF16, float_tiles_BF16, FLOAT_TOKENS, few_BF16, FEW_TOKENS},
};

static void matmul_float(const struct quant_type *type, const void *w, size_t n_rows,
                         const float *x, size_t n, size_t k, float *y, size_t ldy, void *scratch) {
    float_multiply(float_ways, type->id,
                   (struct float_product){w, n_rows, x, n, k, y, ldy, scratch, NULL});
}

#endif
