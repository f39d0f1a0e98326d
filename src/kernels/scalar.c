/* The specification of all kernels, in plain C. Short rather than fast: used where nothing better
 * runs, and as the yardstick every other table is tested against, bit for bit. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kernels.h"
#include "kernels/kv_expand.h"

enum { LANES = 16 };

/* ---- Sums and functions -----------------------------------------------------------------------
 */

static float fold(float lane[LANES]) {
    for (size_t width = LANES / 2; width > 0; width /= 2)
        for (size_t j = 0; j < width; j++) lane[j] += lane[j + width];
    return lane[0];
}

/* Cody-Waite reduction to |r| <= ln(2)/2, then the Taylor polynomial of degree 7: relative error
 * below 2e-7. Below -87 (where the result would leave the normal range) 0; above 88 as at 88. */
float kernel_exp(float x) {
    if (!(x >= -87.0f)) return x == x ? 0.0f : x;
    if (x > 88.0f) x = 88.0f;
    float n = rintf(x * 0x1.715476p+0f);
    float r = fmaf(n, -0x1.62e400p-1f, x);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.a01a02p-13f; // 1/7!
    p = fmaf(p, r, 0x1.6c16c2p-10f);
    p = fmaf(p, r, 0x1.111112p-7f);
    p = fmaf(p, r, 0x1.555556p-5f);
    p = fmaf(p, r, 0x1.555556p-3f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p * f32_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

static void silu_mul(float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) gate[i] = gate[i] / (1.0f + kernel_exp(-gate[i])) * up[i];
}

/* 0.5 x (1 + tanh z) = x / (1 + exp(-2z)), z = sqrt(2/pi) (x + 0.044715 x^3). */
static void gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float v = x[i], cubic = fmaf(v * v * v, 0.044715f, v);
        x[i] = v / (1.0f + kernel_exp(cubic * -1.5957691216f));
    }
}

static void rms_norm(const float *x, const float *g, size_t n, float eps, float *y) {
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    float scale = 1.0f / sqrtf(fold(lane) / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * g[i];
}

static void layer_norm(const float *x, const float *g, const float *b, size_t n, float eps,
                       float *y) {
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) lane[i % LANES] += x[i];
    float mean = fold(lane) / (float)n;
    memset(lane, 0, sizeof lane);
    for (size_t i = 0; i < n; i++) {
        float c = x[i] - mean;
        lane[i % LANES] = fmaf(c, c, lane[i % LANES]);
    }
    float scale = 1.0f / sqrtf(fold(lane) / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = fmaf((x[i] - mean) * scale, g[i], b[i]);
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void axpy(float *y, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

static void to_f16(const float *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = f32_to_f16(x[i]);
}

/* ---- Quantised products -----------------------------------------------------------------------
 */

static void quantize_block(const float *x, size_t n, int8_t *q, float *d) {
    // Comparing magnitudes as integers lets a NaN win, so that it cannot hide.
    uint32_t max_bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = f32_to_bits(x[i]) & 0x7fffffff;
        if (bits > max_bits) max_bits = bits;
    }
    float max = f32_from_bits(max_bits);
    if (!(max >= 1e-30f && max_bits < 0x7f800000)) {
        *d = max < 1e-30f ? 0.0f : NAN;
        memset(q, 0, n);
        return;
    }
    *d = max / 127.0f;
    float inverse = 127.0f / max;
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)rintf(x[i] * inverse);
}

static void quantize(const float *x, size_t i, struct act *a) {
    int8_t *q = a->q + i * a->k;
    int16_t *bsum = a->bsum + i * (a->k / QUANT_GROUP);
    for (size_t b = 0; b < a->k / a->block; b++)
        quantize_block(x + b * a->block, a->block, q + b * a->block,
                       &a->d[i * (a->k / a->block) + b]);
    for (size_t g = 0; g < a->k / QUANT_GROUP; g++) {
        int sum = 0;
        for (size_t j = 0; j < QUANT_GROUP; j++) sum += q[g * QUANT_GROUP + j];
        bsum[g] = (int16_t)sum;
    }
}

static float dot_block(const struct quant_block *w, bool has_min, size_t n_groups, const int8_t *q,
                       const int16_t *bsum, float d, float acc) {
    int32_t isum = 0, msum = 0;
    for (size_t g = 0; g < n_groups; g++) {
        int32_t dot = 0;
        for (size_t j = 0; j < QUANT_GROUP; j++)
            dot += w->q[g * QUANT_GROUP + j] * q[g * QUANT_GROUP + j];
        isum += w->scale[g] * dot;
        msum += w->min[g] * bsum[g];
    }
    acc = fmaf((float)isum, w->d * d, acc);
    if (has_min) acc = fmaf(-(float)msum, w->dmin * d, acc);
    return acc;
}

static void matmul(const struct quant_type *type, const void *w, size_t n_rows, const struct act *a,
                   float *y, size_t ldy, void *scratch) {
    (void)scratch;
    size_t n_blocks = a->k / a->block, n_groups = a->block / QUANT_GROUP;
    const uint8_t *block = w;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t t = 0; t < a->n; t++) y[t * ldy + r] = 0;
        for (size_t b = 0; b < n_blocks; b++, block += type->block_bytes) {
            struct quant_block unpacked;
            type->unpack(block, &unpacked);
            for (size_t t = 0; t < a->n; t++) {
                float *out = &y[t * ldy + r];
                *out = dot_block(&unpacked, type->has_min, n_groups, a->q + t * a->k + b * a->block,
                                 a->bsum + t * (a->k / QUANT_GROUP) + b * n_groups,
                                 a->d[t * n_blocks + b], *out);
            }
        }
    }
}

static void matmul_float(const struct quant_type *type, const void *w, size_t n_rows,
                         const float *x, size_t n, size_t k, float *y, size_t ldy, void *scratch) {
    float *row = scratch; // (k)
    for (size_t r = 0; r < n_rows; r++) {
        quant_decode(type, (const uint8_t *)w + r * quant_row_bytes(type, k), row, k);
        for (size_t t = 0; t < n; t++) {
            float lane[LANES] = {0};
            for (size_t i = 0; i < k; i++)
                lane[i % LANES] = fmaf(row[i], x[t * k + i], lane[i % LANES]);
            y[t * ldy + r] = fold(lane);
        }
    }
}

/* ---- Attention --------------------------------------------------------------------------------
 */

static float kv_at(const void *p, bool f32, size_t i) {
    return f32 ? ((const float *)p)[i] : f16_to_f32(((const uint16_t *)p)[i]);
}

static void attend_query(const struct attend *a, size_t i, const void *k_t, const void *v, bool f32,
                         size_t lo, size_t hi) {
    const float *q = a->q + i * a->head_dim;
    float *o = a->o + i * a->head_dim, *p = a->scores + i * KV_BLOCK, max = a->m[i];
    for (size_t j = lo; j < hi; j++) {
        float s = 0;
        for (size_t d = 0; d < a->head_dim; d++)
            s = fmaf(q[d], kv_at(k_t, f32, d * KV_BLOCK + j), s);
        p[j] = s;
        if (s > max) max = s;
    }
    float lane[LANES] = {0}, correction = kernel_exp(a->m[i] - max);
    for (size_t j = lo; j < hi; j++) {
        p[j] = kernel_exp(p[j] - max);
        lane[j % LANES] += p[j];
    }
    a->m[i] = max;
    a->l[i] = fmaf(a->l[i], correction, fold(lane));
    for (size_t d = 0; d < a->head_dim; d++) {
        float sum = o[d] * correction;
        for (size_t j = lo; j < hi; j++) sum = fmaf(p[j], kv_at(v, f32, j * a->head_dim + d), sum);
        o[d] = sum;
    }
}

static void attend(const struct attend *a, const void *k_t, const void *v, bool f32,
                   const int32_t *lo, const int32_t *hi) {
    for (size_t i = 0; i < a->n; i++)
        if (lo[i] < hi[i]) attend_query(a, i, k_t, v, f32, (size_t)lo[i], (size_t)hi[i]);
}

const struct kernels kernels_scalar = {
    .name = "scalar",
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
