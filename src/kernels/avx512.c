/* Kernels for AVX-512 with VNNI. The same bits as scalar.c: float operations keep the order given
 * in kernels.h, whatever the tile they are done in. Quantised products are in avx512_matmul.h. */
#include "kernels/avx512_float.h"
#include "kernels/avx512_matmul.h"
#include "kernels/kv_expand.h"
#include "kernels/kv_fetch.h"

#ifndef KERNELS_NAME // avx512_gfni.c has the same code
#define KERNELS kernels_avx512
#define KERNELS_NAME "avx512"
#endif

/* ---- Sums and functions ---------------------------------------------------------------------- */

INLINE __m512 exp_lanes(__m512 x) {
    __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_GE_OQ);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    __m512 v = _mm512_min_ps(x, _mm512_set1_ps(88.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(v, _mm512_set1_ps(0x1.715476p+0f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.62e400p-1f), v);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(0x1.a01a02p-13f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.6c16c2p-10f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.111112p-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555556p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555556p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
    return _mm512_mask_mov_ps(_mm512_maskz_mul_ps(normal, p, scale), nan, x);
}

static void silu_mul(float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 g = _mm512_maskz_loadu_ps(m, gate + i), u = _mm512_maskz_loadu_ps(m, up + i);
        __m512 minus_g = _mm512_xor_ps(g, _mm512_set1_ps(-0.0f));
        __m512 bottom = _mm512_add_ps(_mm512_set1_ps(1.0f), exp_lanes(minus_g));
        _mm512_mask_storeu_ps(gate + i, m, _mm512_mul_ps(_mm512_div_ps(g, bottom), u));
    }
}

static void gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 v = _mm512_maskz_loadu_ps(m, x + i);
        __m512 cube = _mm512_mul_ps(_mm512_mul_ps(v, v), v);
        __m512 cubic = _mm512_fmadd_ps(cube, _mm512_set1_ps(0.044715f), v);
        __m512 e = exp_lanes(_mm512_mul_ps(cubic, _mm512_set1_ps(-1.5957691216f)));
        __m512 bottom = _mm512_add_ps(_mm512_set1_ps(1.0f), e);
        _mm512_mask_storeu_ps(x + i, m, _mm512_div_ps(v, bottom));
    }
}

static void rms_norm(const float *x, const float *g, size_t n, float eps, float *y) {
    __m512 lane = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 v = _mm512_maskz_loadu_ps(m, x + i);
        lane = _mm512_mask3_fmadd_ps(v, v, lane, m);
    }
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf(fold(lane) / (float)n + eps));
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), scale);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, g + i)));
    }
}

static void layer_norm(const float *x, const float *g, const float *b, size_t n, float eps,
                       float *y) {
    __m512 lane = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        lane = _mm512_mask_add_ps(lane, m, lane, _mm512_maskz_loadu_ps(m, x + i));
    }
    __m512 mean = _mm512_set1_ps(fold(lane) / (float)n);
    lane = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 c = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), mean);
        lane = _mm512_mask3_fmadd_ps(c, c, lane, m);
    }
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf(fold(lane) / (float)n + eps));
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 v = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), mean);
        v = _mm512_fmadd_ps(_mm512_mul_ps(v, scale), _mm512_maskz_loadu_ps(m, g + i),
                            _mm512_maskz_loadu_ps(m, b + i));
        _mm512_mask_storeu_ps(y + i, m, v);
    }
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(m, y + i), _mm512_maskz_loadu_ps(m, x + i));
        _mm512_mask_storeu_ps(y + i, m, sum);
    }
}

static void axpy(float *y, float a, const float *x, size_t n) {
    const __m512 factor = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m512 sum = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(m, x + i),
                                     _mm512_maskz_loadu_ps(m, y + i));
        _mm512_mask_storeu_ps(y + i, m, sum);
    }
}

static void to_f16(const float *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 m = first_lanes(n - i);
        __m256i half = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(m, x + i),
                                       _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(y + i, m, half);
    }
}

/* ---- Activations ----------------------------------------------------------------------------- */

static void quantize_block(const float *x, size_t n, int8_t *q, float *d) {
    // As integers, so that a NaN or infinity is the maximum.
    __m512i largest = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += LANES)
        largest = _mm512_max_epu32(
            largest, _mm512_and_si512(_mm512_loadu_si512(x + i), _mm512_set1_epi32(0x7fffffff)));
    uint32_t max_bits = _mm512_reduce_max_epu32(largest);
    float max = f32_from_bits(max_bits);
    if (!(max >= 1e-30f && max_bits < 0x7f800000)) {
        *d = max < 1e-30f ? 0.0f : NAN;
        memset(q, 0, n);
        return;
    }
    *d = max / 127.0f;
    __m512 inverse = _mm512_set1_ps(127.0f / max);
    for (size_t i = 0; i < n; i += LANES) {
        __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), inverse);
        scaled = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((void *)(q + i), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(scaled)));
    }
}

static void quantize(const float *x, size_t i, struct act *a) {
    size_t n_blocks = a->k / a->block;
    int8_t *q = a->q + i * a->k;
    int16_t *bsum = a->bsum + i * (a->k / QUANT_GROUP);
    for (size_t b = 0; b < n_blocks; b++)
        quantize_block(x + b * a->block, a->block, q + b * a->block, &a->d[i * n_blocks + b]);
    for (size_t g = 0; g < a->k / QUANT_GROUP; g++) {
        __m128i group = _mm_loadu_si128((const void *)(q + g * QUANT_GROUP));
        bsum[g] = (int16_t)_mm512_reduce_add_epi32(_mm512_cvtepi8_epi32(group));
    }
}

/* ---- Attention ------------------------------------------------------------------------------- */

enum { MAX_QUERIES = 4, KEY_REGISTERS = KV_BLOCK / LANES };

INLINE __m512 load_kv(const void *p, bool f32, size_t i, __mmask16 m) {
    return load_floats_masked(f32 ? QUANT_F32 : QUANT_F16, (const uint8_t *)p + i * (f32 ? 4 : 2),
                              m);
}

/* The largest of each, where NaN is none, in the first four lanes. */
INLINE __m512 max_4(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 ab = _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_max_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512 v = _mm512_max_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    v = _mm512_max_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e));
    return _mm512_max_ps(v, _mm512_shuffle_f32x4(v, v, 0xb1));
}

/* Scores S of N queries from I on to weights in a->scores, the maxima and sums updated. Returns
 * the factors for what was summed before. */
INLINE __m512 weigh(const struct attend *a, size_t i, size_t n, __m512 s[][KEY_REGISTERS],
                    uint64_t visible) {
    const __mmask16 there = first_lanes(n);
    const __m512 before = _mm512_maskz_loadu_ps(there, a->m + i);
    __m512 most[MAX_QUERIES], sum[MAX_QUERIES];
    UNROLL
    for (size_t q = 0; q < MAX_QUERIES; q++)
        most[q] = _mm512_set1_ps(-INFINITY), sum[q] = _mm512_setzero_ps();
    UNROLL
    for (size_t z = 0; z < KEY_REGISTERS; z++) UNROLL
    for (size_t q = 0; q < n; q++)
        most[q] = _mm512_mask_max_ps(most[q], (__mmask16)(visible >> LANES * z), s[q][z], most[q]);
    const __m512 max = _mm512_max_ps(max_4(most[0], most[1], most[2], most[3]), before);
    UNROLL
    for (size_t q = 0; q < n; q++) {
        const __m512 of_all = _mm512_permutexvar_ps(_mm512_set1_epi32((int)q), max);
        UNROLL
        for (size_t z = 0; z < KEY_REGISTERS; z++) {
            __m512 p = exp_lanes(_mm512_sub_ps(s[q][z], of_all));
            p = _mm512_maskz_mov_ps((__mmask16)(visible >> LANES * z), p);
            _mm512_storeu_ps(a->scores + (i + q) * KV_BLOCK + z * LANES, p);
            sum[q] = _mm512_add_ps(sum[q], p);
        }
    }
    const __m512 correction = exp_lanes(_mm512_sub_ps(before, max));
    const __m512 more = _mm512_castps128_ps512(fold_4(sum[0], sum[1], sum[2], sum[3]));
    const __m512 l = _mm512_maskz_loadu_ps(there, a->l + i);
    _mm512_mask_storeu_ps(a->m + i, there, max);
    _mm512_mask_storeu_ps(a->l + i, there, _mm512_fmadd_ps(l, correction, more));
    return correction;
}

/* Elements from FIRST of the outputs, N_Z registers of them, the last one only where M is. */
INLINE void sum_values(const struct attend *a, size_t i, size_t n, const void *v, bool f32,
                       size_t lo, size_t hi, size_t first, size_t n_z, __mmask16 m,
                       const float *correction, struct kv_fetch *fetch) {
    __m512 o[MAX_QUERIES][4];
    UNROLL
    for (size_t q = 0; q < n; q++) UNROLL
    for (size_t z = 0; z < n_z; z++)
        o[q][z] = _mm512_mul_ps(
            _mm512_maskz_loadu_ps(m, a->o + (i + q) * a->head_dim + first + z * LANES),
            _mm512_set1_ps(correction[q]));
    for (size_t j = lo; j < hi; j++) {
        __m512 value[4];
        kv_fetch_some(fetch);
        UNROLL
        for (size_t z = 0; z < n_z; z++)
            value[z] = load_kv(v, f32, j * a->head_dim + first + z * LANES, m);
        UNROLL
        for (size_t q = 0; q < n; q++) {
            __m512 p = _mm512_set1_ps(a->scores[(i + q) * KV_BLOCK + j]);
            UNROLL
            for (size_t z = 0; z < n_z; z++) o[q][z] = _mm512_fmadd_ps(p, value[z], o[q][z]);
        }
    }
    UNROLL
    for (size_t q = 0; q < n; q++) UNROLL
    for (size_t z = 0; z < n_z; z++)
        _mm512_mask_storeu_ps(a->o + (i + q) * a->head_dim + first + z * LANES, m, o[q][z]);
}

/* N queries from I on, which see the same keys, all of them in the first N_KEYS registers. */
INLINE void attend_queries(const struct attend *a, size_t i, size_t n, size_t n_keys,
                           const void *k_t, const void *v, bool f32, size_t lo, size_t hi) {
    __m512 s[MAX_QUERIES][KEY_REGISTERS];
    UNROLL
    for (size_t q = 0; q < n; q++) UNROLL
    for (size_t z = 0; z < KEY_REGISTERS; z++) s[q][z] = _mm512_setzero_ps();
    struct kv_fetch values = kv_fetch_values(a, i, v, f32, lo, hi, a->head_dim);
    for (size_t d = 0; d < a->head_dim; d++) {
        __m512 key[KEY_REGISTERS];
        kv_fetch_some(&values);
        UNROLL
        for (size_t z = 0; z < n_keys; z++)
            key[z] = load_kv(k_t, f32, d * KV_BLOCK + z * LANES, 0xffff);
        UNROLL
        for (size_t q = 0; q < n; q++) {
            __m512 query = _mm512_set1_ps(a->q[(i + q) * a->head_dim + d]);
            UNROLL
            for (size_t z = 0; z < n_keys; z++) s[q][z] = _mm512_fmadd_ps(query, key[z], s[q][z]);
        }
    }
    float correction[LANES];
    uint64_t visible = ~0ull >> (KV_BLOCK - hi) & ~0ull << lo; // 0 <= lo < hi <= KV_BLOCK
    _mm512_storeu_ps(correction, weigh(a, i, n, s, visible));
    size_t d = 0, passes = (a->head_dim + 4 * LANES - 1) / (4 * LANES);
    struct kv_fetch next = kv_fetch_next(a, i, passes * (hi - lo));
    for (; d + 4 * LANES <= a->head_dim; d += 4 * LANES)
        sum_values(a, i, n, v, f32, lo, hi, d, 4, 0xffff, correction, &next);
    for (; d < a->head_dim; d += LANES)
        sum_values(a, i, n, v, f32, lo, hi, d, 1, first_lanes(a->head_dim - d), correction, &next);
}

/* Of a block that is half empty, only every other line of keys is read. */
INLINE void attend_some(const struct attend *a, size_t i, size_t n, const void *k_t, const void *v,
                        bool f32, size_t lo, size_t hi) {
    if (hi <= KV_BLOCK / 2)
        attend_queries(a, i, n, KEY_REGISTERS / 2, k_t, v, f32, lo, hi);
    else
        attend_queries(a, i, n, KEY_REGISTERS, k_t, v, f32, lo, hi);
}

INLINE void attend_all(const struct attend *a, const void *k_t, const void *v, bool f32,
                       const int32_t *lo, const int32_t *hi) {
    size_t n;
    for (size_t i = 0; i < a->n; i += n) {
        n = 1;
        if (lo[i] >= hi[i]) continue;
        while (i + n < a->n && n < MAX_QUERIES && lo[i + n] == lo[i] && hi[i + n] == hi[i]) n++;
        size_t from = (size_t)lo[i], to = (size_t)hi[i];
        switch (n) {
        case 4: attend_some(a, i, 4, k_t, v, f32, from, to); break;
        case 3: attend_some(a, i, 3, k_t, v, f32, from, to); break;
        case 2: attend_some(a, i, 2, k_t, v, f32, from, to); break;
        default: attend_some(a, i, 1, k_t, v, f32, from, to);
        }
    }
}

static void attend(const struct attend *a, const void *k_t, const void *v, bool f32,
                   const int32_t *lo, const int32_t *hi) {
    if (f32)
        attend_all(a, k_t, v, true, lo, hi);
    else
        attend_all(a, k_t, v, false, lo, hi);
}

const struct kernels KERNELS = {
    .name = KERNELS_NAME,
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
