/* Kernels for aarch64 with the dot product extension: same bits as scalar.c. The 16 partial sums of
 * float products and norms are four registers. Quantised products: neon_matmul.h. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/kv_expand.h"
#include "kernels/kv_fetch.h"
#include "kernels/neon_matmul.h"

enum { LANES = 16 };

/* ---- Sums, functions ------------------------------------------------------------------------- */

struct lanes {
    float32x4_t v[4]; // lane i of the sum is lane i % 4 of v[i / 4]
};

static inline struct lanes no_lanes(void) {
    float32x4_t zero = vdupq_n_f32(0);
    return (struct lanes){{zero, zero, zero, zero}};
}

static inline float fold(const struct lanes *l) {
    float32x4_t v = vaddq_f32(vaddq_f32(l->v[0], l->v[2]), vaddq_f32(l->v[1], l->v[3]));
    float32x2_t pair = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
}

static inline struct lanes load_lanes(const float p[LANES]) {
    return (struct lanes){{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}

static inline void store_lanes(float p[LANES], const struct lanes *l) {
    for (size_t i = 0; i < 4; i++) vst1q_f32(p + 4 * i, l->v[i]);
}

/* kernel_exp of scalar.c, operation by operation. */
static inline float32x4_t exp4(float32x4_t x) {
    const float32x4_t one = vdupq_n_f32(1.0f), limit = vdupq_n_f32(88.0f);
    uint32x4_t normal = vcgeq_f32(x, vdupq_n_f32(-87.0f)), number = vceqq_f32(x, x);
    float32x4_t v = vbslq_f32(vcgtq_f32(x, limit), limit, x);
    v = vbslq_f32(normal, v, vdupq_n_f32(0));
    float32x4_t n = vrndnq_f32(vmulq_n_f32(v, 0x1.715476p+0f));
    float32x4_t r = vfmaq_f32(v, n, vdupq_n_f32(-0x1.62e400p-1f));
    r = vfmaq_f32(r, n, vdupq_n_f32(-0x1.7f7d1cp-20f));
    float32x4_t p = vdupq_n_f32(0x1.a01a02p-13f);
    p = vfmaq_f32(vdupq_n_f32(0x1.6c16c2p-10f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.111112p-7f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.555556p-5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.555556p-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.5f), p, r);
    p = vfmaq_f32(one, p, r);
    p = vfmaq_f32(one, p, r);
    int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    p = vmulq_f32(p, vreinterpretq_f32_s32(power));
    return vbslq_f32(number, vbslq_f32(normal, p, vdupq_n_f32(0)), x);
}

/* ---- Quantising activations ------------------------------------------------------------------ */

/* n: a multiple of 16. */
static void quantize_block(const float *x, size_t n, int8_t *q, float *d) {
    uint32x4_t max4 = vdupq_n_u32(0);
    for (size_t i = 0; i < n; i += WIDTH) {
        uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(x + i));
        max4 = vmaxq_u32(max4, vandq_u32(bits, vdupq_n_u32(0x7fffffff)));
    }
    uint32_t max_bits = vmaxvq_u32(max4);
    float max = f32_from_bits(max_bits);
    if (!(max >= 1e-30f && max_bits < 0x7f800000)) {
        *d = max < 1e-30f ? 0.0f : NAN;
        memset(q, 0, n);
        return;
    }
    *d = max / 127.0f;
    float inverse = 127.0f / max;
    for (size_t i = 0; i < n; i += 16) {
        int16x4_t v[4];
        for (size_t j = 0; j < 4; j++)
            v[j] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4 * j), inverse)));
        vst1q_s8(q + i, vcombine_s8(vmovn_s16(vcombine_s16(v[0], v[1])),
                                    vmovn_s16(vcombine_s16(v[2], v[3]))));
    }
}

static void quantize(const float *x, size_t i, struct act *a) {
    int8_t *q = a->q + i * a->k;
    int16_t *bsum = a->bsum + i * (a->k / QUANT_GROUP);
    float *d = a->d + i * (a->k / a->block);
    for (size_t b = 0; b < a->k / a->block; b++)
        quantize_block(x + b * a->block, a->block, q + b * a->block, d + b);
    for (size_t g = 0; g < a->k / QUANT_GROUP; g++) bsum[g] = vaddlvq_s8(vld1q_s8(q + g * 16));
}

/* ---- Float products -------------------------------------------------------------------------- */

/* Elements i..i+3 of a row. */
INLINE float32x4_t load_weights(uint32_t type_id, const uint8_t *row, size_t i) {
    if (type_id == QUANT_F32) return vreinterpretq_f32_u8(vld1q_u8(row + 4 * i));
    uint16x4_t bits = vreinterpret_u16_u8(vld1_u8(row + 2 * i));
    if (type_id == QUANT_F16) return vcvt_f32_f16(vreinterpret_f16_u16(bits));
    return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
}

static float weight_at(uint32_t type_id, const uint8_t *row, size_t i) {
    if (type_id == QUANT_F32) return f32_from_bits(load_u32(row + 4 * i));
    return type_id == QUANT_F16 ? load_f16(row + 2 * i) : bf16_to_f32(load_u16(row + 2 * i));
}

/* n_rows rows against n_tokens tokens. */
INLINE void float_tile(uint32_t type_id, const uint8_t *w, size_t row_bytes, size_t n_rows,
                       const float *x, size_t n_tokens, size_t k, float *y, size_t ldy) {
    struct lanes sum[4][2];
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) sum[r][t] = no_lanes();
    size_t i = 0;
    for (; i + LANES <= k; i += LANES)
        for (size_t j = 0; j < 4; j++)
            for (size_t r = 0; r < n_rows; r++) {
                float32x4_t v = load_weights(type_id, w + r * row_bytes, i + 4 * j);
                for (size_t t = 0; t < n_tokens; t++)
                    sum[r][t].v[j] = vfmaq_f32(sum[r][t].v[j], v, vld1q_f32(x + t * k + i + 4 * j));
            }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) {
            if (i < k) {
                float lane[LANES];
                store_lanes(lane, &sum[r][t]);
                for (size_t j = i; j < k; j++)
                    lane[j - i] =
                        fmaf(weight_at(type_id, w + r * row_bytes, j), x[t * k + j], lane[j - i]);
                sum[r][t] = load_lanes(lane);
            }
            y[t * ldy + r] = fold(&sum[r][t]);
        }
}

INLINE void float_rows(uint32_t type_id, const uint8_t *w, size_t n_rows, const float *x, size_t n,
                       size_t k, float *y, size_t ldy) {
    size_t row_bytes = k * (type_id == QUANT_F32 ? 4 : 2), r = 0;
    for (; n == 1 && r + 4 <= n_rows; r += 4)
        float_tile(type_id, w + r * row_bytes, row_bytes, 4, x, 1, k, y + r, ldy);
    for (; r + 2 <= n_rows; r += 2) {
        const uint8_t *rows = w + r * row_bytes;
        size_t t = 0;
        for (; t + 2 <= n; t += 2)
            float_tile(type_id, rows, row_bytes, 2, x + t * k, 2, k, y + t * ldy + r, ldy);
        if (t < n) float_tile(type_id, rows, row_bytes, 2, x + t * k, 1, k, y + t * ldy + r, ldy);
    }
    for (size_t t = 0; r < n_rows && t < n; t++)
        float_tile(type_id, w + r * row_bytes, row_bytes, 1, x + t * k, 1, k, y + t * ldy + r, ldy);
}

static void matmul_float(const struct quant_type *type, const void *w, size_t n_rows,
                         const float *x, size_t n, size_t k, float *y, size_t ldy, void *scratch) {
    (void)scratch;
    switch (type->id) {
    case QUANT_F32: float_rows(QUANT_F32, w, n_rows, x, n, k, y, ldy); break;
    case QUANT_F16: float_rows(QUANT_F16, w, n_rows, x, n, k, y, ldy); break;
    default: float_rows(QUANT_BF16, w, n_rows, x, n, k, y, ldy); break;
    }
}

/* ---- Element by element ---------------------------------------------------------------------- */

static inline size_t at_most_4(size_t n) { return n < WIDTH ? n : WIDTH; }

/* n: 1..4; the other lanes are 0. */
static inline float32x4_t load_n(const float *p, size_t n) {
    if (n == WIDTH) return vld1q_f32(p);
    float lane[WIDTH] = {0};
    for (size_t i = 0; i < n; i++) lane[i] = p[i];
    return vld1q_f32(lane);
}

/* Sum over lanes of fma(x - mean, x - mean, lane). */
static float sum_squares(const float *x, size_t n, float mean) {
    struct lanes sum = no_lanes();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < 4; j++) {
            float32x4_t v = vsubq_f32(vld1q_f32(x + i + 4 * j), vdupq_n_f32(mean));
            sum.v[j] = vfmaq_f32(sum.v[j], v, v);
        }
    float lane[LANES];
    store_lanes(lane, &sum);
    for (size_t j = i; j < n; j++) lane[j - i] = fmaf(x[j] - mean, x[j] - mean, lane[j - i]);
    sum = load_lanes(lane);
    return fold(&sum);
}

static float sum_floats(const float *x, size_t n) {
    struct lanes sum = no_lanes();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < 4; j++) sum.v[j] = vaddq_f32(sum.v[j], vld1q_f32(x + i + 4 * j));
    float lane[LANES];
    store_lanes(lane, &sum);
    for (size_t j = i; j < n; j++) lane[j - i] += x[j];
    sum = load_lanes(lane);
    return fold(&sum);
}

static void rms_norm(const float *x, const float *g, size_t n, float eps, float *y) {
    float scale = 1.0f / sqrtf(sum_squares(x, n, 0) / (float)n + eps);
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_4(n - i);
        float32x4_t v = vmulq_n_f32(load_n(x + i, m), scale);
        store_rows(y + i, vmulq_f32(v, load_n(g + i, m)), m);
    }
}

static void layer_norm(const float *x, const float *g, const float *b, size_t n, float eps,
                       float *y) {
    float mean = sum_floats(x, n) / (float)n;
    float scale = 1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps);
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_4(n - i);
        float32x4_t v = vmulq_n_f32(vsubq_f32(load_n(x + i, m), vdupq_n_f32(mean)), scale);
        store_rows(y + i, vfmaq_f32(load_n(b + i, m), v, load_n(g + i, m)), m);
    }
}

static void silu_mul(float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_4(n - i);
        float32x4_t v = load_n(gate + i, m);
        v = vdivq_f32(v, vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(v))));
        store_rows(gate + i, vmulq_f32(v, load_n(up + i, m)), m);
    }
}

static void gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_4(n - i);
        float32x4_t v = load_n(x + i, m), cube = vmulq_f32(vmulq_f32(v, v), v);
        float32x4_t z = vmulq_n_f32(vfmaq_f32(v, cube, vdupq_n_f32(0.044715f)), -1.5957691216f);
        store_rows(x + i, vdivq_f32(v, vaddq_f32(vdupq_n_f32(1.0f), exp4(z))), m);
    }
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_4(n - i);
        store_rows(y + i, vaddq_f32(load_n(y + i, m), load_n(x + i, m)), m);
    }
}

static void axpy(float *y, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_4(n - i);
        store_rows(y + i, vfmaq_f32(load_n(y + i, m), vdupq_n_f32(a), load_n(x + i, m)), m);
    }
}

static void to_f16(const float *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i += WIDTH) {
        size_t m = at_most_4(n - i);
        uint16_t half[WIDTH];
        vst1_u16(half, vreinterpret_u16_f16(vcvt_f16_f32(load_n(x + i, m))));
        memcpy(y + i, half, m * sizeof *y);
    }
}

/* ---- Attention ------------------------------------------------------------------------------- */

enum { ATTEND_QUERIES = 4 };

INLINE float32x4_t load_kv(const void *p, bool f32, size_t i) {
    if (f32) return vld1q_f32((const float *)p + i);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + i)));
}

/* Scores of queries i..i+n-1 with all keys whose group of 4 * WIDE keys touches lo..hi-1. Those of
 * invisible keys may come out as anything: each key has its own lane. */
INLINE void attend_scores(const struct attend *a, size_t i, size_t n, const void *k_t,
                          const void *values, bool f32, size_t lo, size_t hi, size_t wide) {
    const float *q = a->q + i * a->head_dim;
    size_t step = wide * WIDTH, n_passes = (hi - lo / step * step + step - 1) / step;
    struct kv_fetch fetch = kv_fetch_values(a, i, values, f32, lo, hi, n_passes * a->head_dim);
    for (size_t j = lo / step * step; j < hi; j += step) {
        float32x4_t s[ATTEND_QUERIES][16];
        for (size_t t = 0; t < n; t++)
            for (size_t v = 0; v < wide; v++) s[t][v] = vdupq_n_f32(0);
        for (size_t d = 0; d < a->head_dim; d++) {
            kv_fetch_some(&fetch);
            for (size_t v = 0; v < wide; v++) {
                float32x4_t k = load_kv(k_t, f32, d * KV_BLOCK + j + v * WIDTH);
                for (size_t t = 0; t < n; t++)
                    s[t][v] = vfmaq_f32(s[t][v], k, vdupq_n_f32(q[t * a->head_dim + d]));
            }
        }
        for (size_t t = 0; t < n; t++)
            for (size_t v = 0; v < wide; v++)
                vst1q_f32(a->scores + (i + t) * KV_BLOCK + j + v * WIDTH, s[t][v]);
    }
}

/* Lanes of keys j..j+3 that are visible. */
static inline uint32x4_t visible(size_t j, size_t lo, size_t hi) {
    static const uint32_t first[WIDTH] = {0, 1, 2, 3};
    uint32x4_t key = vaddq_u32(vld1q_u32(first), vdupq_n_u32((uint32_t)j));
    return vandq_u32(vcgeq_u32(key, vdupq_n_u32((uint32_t)lo)),
                     vcltq_u32(key, vdupq_n_u32((uint32_t)hi)));
}

/* Scores to weights; updates m and l and returns the correction of o. */
static float attend_softmax(const struct attend *a, size_t i, size_t lo, size_t hi) {
    float *p = a->scores + i * KV_BLOCK, max = a->m[i];
    size_t first = lo / LANES * LANES;
    float32x4_t max4 = vdupq_n_f32(max);
    for (size_t j = first; j < hi; j += WIDTH) {
        // Comparing, unlike the maximum instruction, lets a NaN score change nothing.
        float32x4_t s = vld1q_f32(p + j);
        max4 = vbslq_f32(vandq_u32(vcgtq_f32(s, max4), visible(j, lo, hi)), s, max4);
    }
    float lane[WIDTH];
    vst1q_f32(lane, max4);
    for (size_t j = 0; j < WIDTH; j++)
        if (lane[j] > max) max = lane[j];

    struct lanes sum = no_lanes();
    for (size_t j = first; j < hi; j += WIDTH) {
        float32x4_t v = exp4(vsubq_f32(vld1q_f32(p + j), vdupq_n_f32(max)));
        uint32x4_t bits = vandq_u32(vreinterpretq_u32_f32(v), visible(j, lo, hi));
        v = vreinterpretq_f32_u32(bits);
        sum.v[j / WIDTH % 4] = vaddq_f32(sum.v[j / WIDTH % 4], v);
        vst1q_f32(p + j, v);
    }
    float correction = vgetq_lane_f32(exp4(vdupq_n_f32(a->m[i] - max)), 0);
    a->m[i] = max;
    a->l[i] = fmaf(a->l[i], correction, fold(&sum));
    return correction;
}

/* Values d..d+4*wide-1 of queries i..i+n-1. */
INLINE void attend_values(const struct attend *a, size_t i, size_t n, const void *values, bool f32,
                          size_t lo, size_t hi, const float *correction, size_t d, size_t wide,
                          struct kv_fetch *fetch) {
    float *o = a->o + i * a->head_dim + d;
    const float *p = a->scores + i * KV_BLOCK;
    float32x4_t sum[ATTEND_QUERIES][16];
    for (size_t t = 0; t < n; t++)
        for (size_t v = 0; v < wide; v++)
            sum[t][v] = vmulq_n_f32(vld1q_f32(o + t * a->head_dim + v * WIDTH), correction[t]);
    for (size_t j = lo; j < hi; j++) {
        kv_fetch_some(fetch);
        for (size_t v = 0; v < wide; v++) {
            float32x4_t x = load_kv(values, f32, j * a->head_dim + d + v * WIDTH);
            for (size_t t = 0; t < n; t++)
                sum[t][v] = vfmaq_f32(sum[t][v], x, vdupq_n_f32(p[t * KV_BLOCK + j]));
        }
    }
    for (size_t t = 0; t < n; t++)
        for (size_t v = 0; v < wide; v++) vst1q_f32(o + t * a->head_dim + v * WIDTH, sum[t][v]);
}

/* Value d of query i. */
static void attend_value(const struct attend *a, size_t i, const void *values, bool f32, size_t lo,
                         size_t hi, float correction, size_t d) {
    float *o = a->o + i * a->head_dim + d, sum = *o * correction;
    for (size_t j = lo; j < hi; j++) {
        size_t at = j * a->head_dim + d;
        float v = f32 ? ((const float *)values)[at] : f16_to_f32(((const uint16_t *)values)[at]);
        sum = fmaf(a->scores[i * KV_BLOCK + j], v, sum);
    }
    *o = sum;
}

/* n (1 or 4) queries that see the same keys: as many sums at once as the registers hold. */
INLINE void attend_queries(const struct attend *a, size_t i, size_t n, const void *k_t,
                           const void *values, bool f32, size_t lo, size_t hi) {
    float correction[ATTEND_QUERIES];
    size_t wide = n == 1 ? 16 : 4, d = 0;
    size_t n_passes = (a->head_dim + wide * WIDTH - 1) / (wide * WIDTH);
    struct kv_fetch next = kv_fetch_next(a, i, n_passes * (hi - lo));
    attend_scores(a, i, n, k_t, values, f32, lo, hi, wide);
    for (size_t t = 0; t < n; t++) correction[t] = attend_softmax(a, i + t, lo, hi);
    for (; d + wide * WIDTH <= a->head_dim; d += wide * WIDTH)
        attend_values(a, i, n, values, f32, lo, hi, correction, d, wide, &next);
    for (; d + 4 * WIDTH <= a->head_dim; d += 4 * WIDTH)
        attend_values(a, i, n, values, f32, lo, hi, correction, d, 4, &next);
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

const struct kernels kernels_neon = {
    .name = "neon",
    .quantize = quantize,
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
