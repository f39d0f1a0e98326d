/* Products of F32, F16 and BF16 rows with float activations, for AVX-512; part of avx512.c. The 16
 * partial sums of an output are one register, and each step of 16 elements is one fma.
 *
 * A few tokens meet the rows one tile after the other, from the first element to the last, which
 * keeps up with memory. More are cut as float_blocks.h says. */
#ifndef OCTET_KERNELS_AVX512_FLOAT_H
#define OCTET_KERNELS_AVX512_FLOAT_H

#include "kernels/avx512_formats.h"
#include "kernels/float_blocks.h"

enum {
    FLOAT_TOKENS = 6,
    FEW_TOKENS = FLOAT_TOKENS,
    LEAST_AHEAD = 8192, // bytes
};

/* ---- Loading and folding --------------------------------------------------------------------- */

INLINE __m512 widen(uint32_t type, __m256i half) {
    if (type == QUANT_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* 16 floats out of F32, F16 or BF16. */
INLINE __m512 load_floats(uint32_t type, const uint8_t *p) {
    if (type == QUANT_F32) return _mm512_loadu_ps(p);
    return widen(type, _mm256_loadu_si256((const void *)p));
}

/* The same where M is, 0 elsewhere. */
INLINE __m512 load_floats_masked(uint32_t type, const uint8_t *p, __mmask16 m) {
    if (type == QUANT_F32) return _mm512_maskz_loadu_ps(m, p);
    return widen(type, _mm256_maskz_loadu_epi16(m, p));
}

INLINE float fold(__m512 v) {
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

/* Four at once. */
INLINE __m128 fold_4(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    __m512 v =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    v = _mm512_add_ps(v, _mm512_permute_ps(v, 0x4e));
    v = _mm512_add_ps(v, _mm512_permute_ps(v, 0xb1));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, v));
}

/* ---- Tiles ----------------------------------------------------------------------------------- */

/* Rows and tokens at some element, and how far apart they are. */
struct float_at {
    const uint8_t *w;
    size_t row_bytes;
    const float *x;
    size_t k;
};

INLINE void float_step(uint32_t type, struct float_at at, size_t n_rows, size_t n,
                       __m512 acc[FLOAT_ROWS][FLOAT_TOKENS]) {
    __m512 row[FLOAT_ROWS];
    UNROLL
    for (size_t r = 0; r < n_rows; r++) row[r] = load_floats(type, at.w + r * at.row_bytes);
    UNROLL
    for (size_t t = 0; t < n; t++) {
        __m512 v = _mm512_loadu_ps(at.x + t * at.k);
        UNROLL
        for (size_t r = 0; r < n_rows; r++) acc[r][t] = _mm512_fmadd_ps(row[r], v, acc[r][t]);
    }
}

/* The elements of M alone: what is not there leaves a sum as it is. */
INLINE void float_last_step(uint32_t type, struct float_at at, __mmask16 m, size_t n_rows, size_t n,
                            __m512 acc[FLOAT_ROWS][FLOAT_TOKENS]) {
    UNROLL
    for (size_t r = 0; r < n_rows; r++) {
        __m512 row = load_floats_masked(type, at.w + r * at.row_bytes, m);
        UNROLL
        for (size_t t = 0; t < n; t++)
            acc[r][t] =
                _mm512_mask3_fmadd_ps(row, _mm512_maskz_loadu_ps(m, at.x + t * at.k), acc[r][t], m);
    }
}

INLINE void float_tile(uint32_t type, const struct float_tile *p, size_t n) {
    const size_t size = float_bytes(type);
    struct float_at at = {p->w, p->row_bytes, p->x, p->k};
    __m512 acc[FLOAT_ROWS][FLOAT_TOKENS];
    UNROLL
    for (size_t r = 0; r < FLOAT_ROWS; r++) UNROLL
    for (size_t t = 0; t < n; t++)
        acc[r][t] = p->first ? _mm512_setzero_ps() : _mm512_loadu_ps(p->sums + (r * n + t) * LANES);
    size_t i = 0;
    for (; i + LANES <= p->n; i += LANES, at.w += LANES * size, at.x += LANES)
        float_step(type, at, FLOAT_ROWS, n, acc);
    if (i < p->n) float_last_step(type, at, first_lanes(p->n - i), FLOAT_ROWS, n, acc);
    if (p->last) {
        UNROLL
        for (size_t t = 0; t < n; t++)
            _mm_storeu_ps(p->y + t * p->ldy, fold_4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]));
        return;
    }
    UNROLL
    for (size_t r = 0; r < FLOAT_ROWS; r++) UNROLL
    for (size_t t = 0; t < n; t++) _mm512_storeu_ps(p->sums + (r * n + t) * LANES, acc[r][t]);
}

#define FLOAT_TILE(type, n)                                                                        \
    static void float_tile_##type##_##n(const struct float_tile *p) {                              \
        float_tile(QUANT_##type, p, n);                                                            \
    }
#define FLOAT_TILES(type)                                                                          \
    FLOAT_TILE(type, 1)                                                                            \
    FLOAT_TILE(type, 2)                                                                            \
    FLOAT_TILE(type, 3)                                                                            \
    FLOAT_TILE(type, 4)                                                                            \
    FLOAT_TILE(type, 5)                                                                            \
    FLOAT_TILE(type, 6)                                                                            \
    static float_tile_fn *const float_tiles_##type[FLOAT_TOKENS] = {                               \
        float_tile_##type##_1, float_tile_##type##_2, float_tile_##type##_3,                       \
        float_tile_##type##_4, float_tile_##type##_5, float_tile_##type##_6};
FLOAT_TILES(F32)
FLOAT_TILES(F16)
FLOAT_TILES(BF16)

/* ---- A few tokens ---------------------------------------------------------------------------- */

/* Prefetches go through memory in its order, a tile ahead, also where rows are read side by side.
 */
INLINE void few_tile(uint32_t type, struct float_at at, size_t n_rows, size_t n, float *y,
                     size_t ldy) {
    const size_t size = float_bytes(type), tile_bytes = n_rows * at.row_bytes;
    const size_t line = FLOAT_LINE_BYTES / size; // elements
    const uint8_t *ahead = at.w + (tile_bytes > LEAST_AHEAD ? tile_bytes : LEAST_AHEAD);
    __m512 acc[FLOAT_ROWS][FLOAT_TOKENS];
    UNROLL
    for (size_t r = 0; r < n_rows; r++) UNROLL
    for (size_t t = 0; t < n; t++) acc[r][t] = _mm512_setzero_ps();
    size_t left = at.k;
    for (; left >= line; left -= line, ahead += n_rows * FLOAT_LINE_BYTES) {
        UNROLL
        for (size_t r = 0; r < n_rows; r++)
            _mm_prefetch((const void *)(ahead + r * FLOAT_LINE_BYTES), _MM_HINT_T0);
        UNROLL
        for (size_t i = 0; i < line; i += LANES, at.w += LANES * size, at.x += LANES)
            float_step(type, at, n_rows, n, acc);
    }
    for (; left >= LANES; left -= LANES, at.w += LANES * size, at.x += LANES)
        float_step(type, at, n_rows, n, acc);
    if (left > 0) float_last_step(type, at, first_lanes(left), n_rows, n, acc);
    UNROLL
    for (size_t t = 0; t < n; t++)
        if (n_rows == FLOAT_ROWS)
            _mm_storeu_ps(y + t * ldy, fold_4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]));
        else
            y[t * ldy] = fold(acc[0][t]);
}

/* A token or two take row after row, as memory gives most to a single stream: one sum per token is
 * just enough to keep up with it. More are bound by arithmetic, and share what they load. */
INLINE void few_tokens(uint32_t type, const struct float_product *p, size_t n) {
    const size_t n_rows = n <= 2 ? 1 : FLOAT_ROWS;
    struct float_at at = {p->w, p->k * float_bytes(type), p->x, p->k};
    size_t r = 0;
    for (; r + n_rows <= p->n_rows; r += n_rows, at.w += n_rows * at.row_bytes)
        few_tile(type, at, n_rows, n, p->y + r, p->ldy);
    for (; r < p->n_rows; r++, at.w += at.row_bytes) few_tile(type, at, 1, n, p->y + r, p->ldy);
}

/* ---- All ------------------------------------------------------------------------------------- */

/* P's tokens, in parts that few_tokens takes. */
INLINE void in_few_tokens(uint32_t type, struct float_product p) {
    for (size_t left = p.n; left > 0;) {
        size_t n = left < FEW_TOKENS ? left : FEW_TOKENS;
        switch (n) {
        case 6: few_tokens(type, &p, 6); break;
        case 5: few_tokens(type, &p, 5); break;
        case 4: few_tokens(type, &p, 4); break;
        case 3: few_tokens(type, &p, 3); break;
        case 2: few_tokens(type, &p, 2); break;
        default: few_tokens(type, &p, 1);
        }
        p.x += n * p.k;
        p.y += n * p.ldy;
        left -= n;
    }
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
