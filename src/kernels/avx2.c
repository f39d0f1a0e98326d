/* Kernels for x86-64 with AVX2, FMA and F16C: same bits as scalar.c. The 16 partial sums of float
 * products and norms are two registers. Products: avx2_matmul.h, avx2_float.h. */
#include <math.h>
#include <string.h>

#include "kernels/avx2_float.h"
#include "kernels/avx2_matmul.h"
#include "kernels/kernels.h"
#include "kernels/kv_expand.h"
#include "kernels/kv_fetch.h"

enum { LANES = 16 };

/* ---- Sums, functions ------------------------------------------------------------------------- */

/* kernel_exp of scalar.c, operation by operation. */
static inline __m256 exp8(__m256 x) {
    __m256 normal = _mm256_cmp_ps(x, _mm256_set1_ps(-87.0f), _CMP_GE_OQ);
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    __m256 v = _mm256_and_ps(_mm256_min_ps(x, _mm256_set1_ps(88.0f)), normal);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(v, _mm256_set1_ps(0x1.715476p+0f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.62e400p-1f), v);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.7f7d1cp-20f), r);
    __m256 p = _mm256_set1_ps(0x1.a01a02p-13f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.6c16c2p-10f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.111112p-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555556p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555556p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
    return _mm256_blendv_ps(_mm256_and_ps(p, normal), x, nan);
}

/* ---- Quantising activations ------------------------------------------------------------------ */

/* n: a multiple of 32. */
static void quantize_block(const float *x, size_t n, int8_t *q, float *d) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i max8 = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += WIDTH)
        max8 = _mm256_max_epi32(max8, _mm256_and_si256(load_256(x + i), magnitude));
    __m128i max4 = _mm_max_epi32(_mm256_castsi256_si128(max8), _mm256_extracti128_si256(max8, 1));
    max4 = _mm_max_epi32(max4, _mm_shuffle_epi32(max4, 0x4e));
    max4 = _mm_max_epi32(max4, _mm_shuffle_epi32(max4, 0xb1));
    uint32_t max_bits = (uint32_t)_mm_cvtsi128_si32(max4);
    float max = f32_from_bits(max_bits);
    if (!(max >= 1e-30f && max_bits < 0x7f800000)) {
        *d = max < 1e-30f ? 0.0f : NAN;
        memset(q, 0, n);
        return;
    }
    *d = max / 127.0f;
    __m256 inverse = _mm256_set1_ps(127.0f / max);
    for (size_t i = 0; i < n; i += 4 * WIDTH) {
        __m256i v[4];
        for (size_t j = 0; j < 4; j++)
            v[j] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + j * WIDTH), inverse));
        // Packing works within halves; the permutation restores the order.
        __m256i bytes =
            _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)(void *)(q + i), bytes);
    }
}

static void quantize(const float *x, size_t i, struct act *a) {
    int8_t *q = a->q + i * a->k;
    int16_t *bsum = a->bsum + i * (a->k / QUANT_GROUP);
    float *d = a->d + i * (a->k / a->block);
    for (size_t b = 0; b < a->k / a->block; b++)
        quantize_block(x + b * a->block, a->block, q + b * a->block, d + b);
    for (size_t g = 0; g < a->k / QUANT_GROUP; g++) {
        __m256i wide = _mm256_cvtepi8_epi16(load_128(q + g * QUANT_GROUP));
        __m128i sum =
            _mm_add_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
        sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
        sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
        sum = _mm_add_epi16(sum, _mm_srli_epi32(sum, 16));
        bsum[g] = (int16_t)_mm_extract_epi16(sum, 0);
    }
}

/* ---- Element by element ---------------------------------------------------------------------- */

static inline size_t at_most_8(size_t n) { return n < WIDTH ? n : WIDTH; }
static inline __m256 load_n(const float *p, size_t n) {
    return _mm256_maskload_ps(p, first_lanes(n));
}
static inline void store_n(float *p, __m256 v, size_t n) {
    _mm256_maskstore_ps(p, first_lanes(n), v);
}

/* Sum over lanes of fma(x - mean, x - mean, lane). */
static float sum_squares(const float *x, size_t n, float mean) {
    __m256 low = _mm256_setzero_ps(), high = low, mean8 = _mm256_set1_ps(mean);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 a = _mm256_sub_ps(_mm256_loadu_ps(x + i), mean8);
        __m256 b = _mm256_sub_ps(_mm256_loadu_ps(x + i + WIDTH), mean8);
        low = _mm256_fmadd_ps(a, a, low);
        high = _mm256_fmadd_ps(b, b, high);
    }
    float lane[LANES];
    _mm256_storeu_ps(lane, low);
    _mm256_storeu_ps(lane + WIDTH, high);
    for (size_t j = i; j < n; j++) lane[j - i] = fmaf(x[j] - mean, x[j] - mean, lane[j - i]);
    return fold(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + WIDTH));
}

static float sum_floats(const float *x, size_t n) {
    __m256 low = _mm256_setzero_ps(), high = low;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        low = _mm256_add_ps(low, _mm256_loadu_ps(x + i));
        high = _mm256_add_ps(high, _mm256_loadu_ps(x + i + WIDTH));
    }
    float lane[LANES];
    _mm256_storeu_ps(lane, low);
    _mm256_storeu_ps(lane + WIDTH, high);
    for (size_t j = i; j < n; j++) lane[j - i] += x[j];
    return fold(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + WIDTH));
}

static void rms_norm(const float *x, const float *g, size_t n, float eps, float *y) {
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(sum_squares(x, n, 0) / (float)n + eps));
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_8(n - i);
        store_n(y + i, _mm256_mul_ps(_mm256_mul_ps(load_n(x + i, m), scale), load_n(g + i, m)), m);
    }
}

static void layer_norm(const float *x, const float *g, const float *b, size_t n, float eps,
                       float *y) {
    float mean = sum_floats(x, n) / (float)n;
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps));
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_8(n - i);
        __m256 v = _mm256_sub_ps(load_n(x + i, m), _mm256_set1_ps(mean));
        v = _mm256_fmadd_ps(_mm256_mul_ps(v, scale), load_n(g + i, m), load_n(b + i, m));
        store_n(y + i, v, m);
    }
}

static void silu_mul(float *gate, const float *up, size_t n) {
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_8(n - i);
        __m256 v = load_n(gate + i, m);
        v = _mm256_div_ps(v, _mm256_add_ps(one, exp8(_mm256_xor_ps(v, sign))));
        store_n(gate + i, _mm256_mul_ps(v, load_n(up + i, m)), m);
    }
}

static void gelu(float *x, size_t n) {
    const __m256 one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_8(n - i);
        __m256 v = load_n(x + i, m);
        __m256 cube = _mm256_mul_ps(_mm256_mul_ps(v, v), v);
        __m256 z = _mm256_fmadd_ps(cube, _mm256_set1_ps(0.044715f), v);
        z = _mm256_mul_ps(z, _mm256_set1_ps(-1.5957691216f));
        store_n(x + i, _mm256_div_ps(v, _mm256_add_ps(one, exp8(z))), m);
    }
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_8(n - i);
        store_n(y + i, _mm256_add_ps(load_n(y + i, m), load_n(x + i, m)), m);
    }
}

static void axpy(float *y, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_8(n - i);
        store_n(y + i, _mm256_fmadd_ps(_mm256_set1_ps(a), load_n(x + i, m), load_n(y + i, m)), m);
    }
}

static void to_f16(const float *x, uint16_t *y, size_t n) {
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(y + i), half);
    }
    for (; i < n; i++) y[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

/* ---- Attention ------------------------------------------------------------------------------- */

enum { ATTEND_QUERIES = 4 };

INLINE __m256 load_kv(const void *p, bool f32, size_t i) {
    if (f32) return _mm256_loadu_ps((const float *)p + i);
    return _mm256_cvtph_ps(load_128((const uint16_t *)p + i));
}

/* Scores of queries i..i+n-1 with all keys whose group of 8 * WIDE keys touches lo..hi-1. Those of
 * invisible keys may come out as anything: each key has its own lane. */
INLINE void attend_scores(const struct attend *a, size_t i, size_t n, const void *k_t,
                          const void *values, bool f32, size_t lo, size_t hi, size_t wide) {
    const float *q = a->q + i * a->head_dim;
    size_t step = wide * WIDTH, n_passes = (hi - lo / step * step + step - 1) / step;
    struct kv_fetch fetch = kv_fetch_values(a, i, values, f32, lo, hi, n_passes * a->head_dim);
    for (size_t j = lo / step * step; j < hi; j += step) {
        __m256 s[ATTEND_QUERIES][8];
        for (size_t t = 0; t < n; t++)
            for (size_t v = 0; v < wide; v++) s[t][v] = _mm256_setzero_ps();
        for (size_t d = 0; d < a->head_dim; d++) {
            __m256 k[8];
            kv_fetch_some(&fetch);
            for (size_t v = 0; v < wide; v++)
                k[v] = load_kv(k_t, f32, d * KV_BLOCK + j + v * WIDTH);
            for (size_t t = 0; t < n; t++) {
                __m256 qd = _mm256_set1_ps(q[t * a->head_dim + d]);
                for (size_t v = 0; v < wide; v++) s[t][v] = _mm256_fmadd_ps(qd, k[v], s[t][v]);
            }
        }
        for (size_t t = 0; t < n; t++)
            for (size_t v = 0; v < wide; v++)
                _mm256_storeu_ps(a->scores + (i + t) * KV_BLOCK + j + v * WIDTH, s[t][v]);
    }
}

/* Lanes of keys j..j+7 that are visible. */
static inline __m256 visible(size_t j, size_t lo, size_t hi) {
    __m256i key =
        _mm256_add_epi32(_mm256_set1_epi32((int)j), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i above = _mm256_cmpgt_epi32(key, _mm256_set1_epi32((int)lo - 1));
    return _mm256_castsi256_ps(
        _mm256_and_si256(above, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), key)));
}

/* Scores to weights; updates m and l and returns the correction of o. */
static float attend_softmax(const struct attend *a, size_t i, size_t lo, size_t hi) {
    float *p = a->scores + i * KV_BLOCK;
    __m256 max8 = _mm256_set1_ps(a->m[i]);
    size_t first = lo / LANES * LANES;
    for (size_t j = first; j < hi; j += WIDTH) {
        // With equal or unordered operands max gives the second one, so a NaN score changes
        // nothing.
        __m256 larger = _mm256_max_ps(_mm256_loadu_ps(p + j), max8);
        max8 = _mm256_blendv_ps(max8, larger, visible(j, lo, hi));
    }
    __m128 max4 = _mm_max_ps(_mm256_castps256_ps128(max8), _mm256_extractf128_ps(max8, 1));
    max4 = _mm_max_ps(max4, _mm_movehl_ps(max4, max4));
    float max = _mm_cvtss_f32(_mm_max_ss(max4, _mm_movehdup_ps(max4)));

    __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t j = first; j < hi; j += WIDTH) {
        __m256 v = exp8(_mm256_sub_ps(_mm256_loadu_ps(p + j), _mm256_set1_ps(max)));
        v = _mm256_and_ps(v, visible(j, lo, hi));
        lanes[j / WIDTH % 2] = _mm256_add_ps(lanes[j / WIDTH % 2], v);
        _mm256_storeu_ps(p + j, v);
    }
    float correction = _mm256_cvtss_f32(exp8(_mm256_set1_ps(a->m[i] - max)));
    a->m[i] = max;
    a->l[i] = fmaf(a->l[i], correction, fold(lanes[0], lanes[1]));
    return correction;
}

/* Values d..d+8*wide-1 of queries i..i+n-1. */
INLINE void attend_values(const struct attend *a, size_t i, size_t n, const void *values, bool f32,
                          size_t lo, size_t hi, const float *correction, size_t d, size_t wide,
                          struct kv_fetch *fetch) {
    float *o = a->o + i * a->head_dim + d;
    const float *p = a->scores + i * KV_BLOCK;
    __m256 sum[ATTEND_QUERIES][8];
    for (size_t t = 0; t < n; t++)
        for (size_t v = 0; v < wide; v++)
            sum[t][v] = _mm256_mul_ps(_mm256_loadu_ps(o + t * a->head_dim + v * WIDTH),
                                      _mm256_set1_ps(correction[t]));
    for (size_t j = lo; j < hi; j++) {
        __m256 x[8];
        kv_fetch_some(fetch);
        for (size_t v = 0; v < wide; v++)
            x[v] = load_kv(values, f32, j * a->head_dim + d + v * WIDTH);
        for (size_t t = 0; t < n; t++) {
            __m256 weight = _mm256_set1_ps(p[t * KV_BLOCK + j]);
            for (size_t v = 0; v < wide; v++) sum[t][v] = _mm256_fmadd_ps(weight, x[v], sum[t][v]);
        }
    }
    for (size_t t = 0; t < n; t++)
        for (size_t v = 0; v < wide; v++)
            _mm256_storeu_ps(o + t * a->head_dim + v * WIDTH, sum[t][v]);
}

/* Value d of query i. */
static void attend_value(const struct attend *a, size_t i, const void *values, bool f32, size_t lo,
                         size_t hi, float correction, size_t d) {
    float *o = a->o + i * a->head_dim + d, sum = *o * correction;
    for (size_t j = lo; j < hi; j++) {
        size_t at = j * a->head_dim + d;
        float v = f32 ? ((const float *)values)[at] : _cvtsh_ss(((const uint16_t *)values)[at]);
        sum = fmaf(a->scores[i * KV_BLOCK + j], v, sum);
    }
    *o = sum;
}

/* n (1 or 4) queries that see the same keys: as many sums at once as the registers hold. */
INLINE void attend_queries(const struct attend *a, size_t i, size_t n, const void *k_t,
                           const void *values, bool f32, size_t lo, size_t hi) {
    float correction[ATTEND_QUERIES];
    size_t wide = n == 1 ? 8 : 2, d = 0;
    size_t n_passes = (a->head_dim + wide * WIDTH - 1) / (wide * WIDTH);
    struct kv_fetch next = kv_fetch_next(a, i, n_passes * (hi - lo));
    attend_scores(a, i, n, k_t, values, f32, lo, hi, wide);
    for (size_t t = 0; t < n; t++) correction[t] = attend_softmax(a, i + t, lo, hi);
    for (; d + wide * WIDTH <= a->head_dim; d += wide * WIDTH)
        attend_values(a, i, n, values, f32, lo, hi, correction, d, wide, &next);
    for (; d + WIDTH <= a->head_dim; d += WIDTH)
        attend_values(a, i, n, values, f32, lo, hi, correction, d, 1, &next);
    for (; d < a->head_dim; d++)
        for (size_t t = 0; t < n; t++)
            attend_value(a, i + t, values, f32, lo, hi, correction[t], d);
}

INLINE void attend_all(const struct attend *a, const void *k_t, const void *v, bool f32,
                       const int32_t *lo, const int32_t *hi) {
    for (size_t i = 0; i < a->n;) {
        size_t n = 1;
        while (n < ATTEND_QUERIES && i + n < a->n && lo[i + n] == lo[i] && hi[i + n] == hi[i]) n++;
        if (n < ATTEND_QUERIES) n = 1;
        if (lo[i] < hi[i]) {
            if (n == 1)
                attend_queries(a, i, 1, k_t, v, f32, (size_t)lo[i], (size_t)hi[i]);
            else
                attend_queries(a, i, ATTEND_QUERIES, k_t, v, f32, (size_t)lo[i], (size_t)hi[i]);
        }
        i += n;
    }
}

static void attend(const struct attend *a, const void *k_t, const void *v, bool f32,
                   const int32_t *lo, const int32_t *hi) {
    if (f32)
        attend_all(a, k_t, v, true, lo, hi);
    else
        attend_all(a, k_t, v, false, lo, hi);
}

const struct kernels kernels_avx2 = {
    .name = "avx2",
    .quantize = quantize,
    .prepare = prepare,
    .matmul = matmul,
    .matmul_float = matmul_float,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .silu_mul = silu_mul,
    .gelu = gelu,
    .add = add,
    .axpy = axpy,
    .to_f16 = to_f16,
    .attend = attend,
    .expand_q8 = expand_q8,
    .expand_q4 = expand_q4,
};
