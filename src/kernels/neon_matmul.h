/* Quantised products with NEON dot products. Part of neon.c alone.
 *
 * For a few tokens each weight block goes through registers once, 4 rows at a time, and meets all
 * the tokens there (gemv). For more, 4 rows are unpacked into a strip where one register holds 4
 * elements of each row (gemm); the strip stays in the cache while all tokens pass. Integers may be
 * summed in any order; the float chain per output is that of scalar.c in both. */
#ifndef OCTET_KERNELS_NEON_MATMUL_H
#define OCTET_KERNELS_NEON_MATMUL_H

#include "kernels/kernels.h"
#include "kernels/neon_blocks.h"

#define INLINE static inline __attribute__((always_inline))

enum { WIDTH = 4 };

struct job {
    const struct quant_type *type;
    const struct format *format;
    const uint8_t *w;
    size_t n_rows, row_bytes, n_blocks;
    const struct act *a;
    float *y;
    size_t ldy;
};

struct format {
    uint32_t id;
    void (*load)(const uint8_t *p, struct block *out);
    void (*gemv)(const struct job *job);
};

/* The first n (at most 4) lanes, or all. */
static inline void store_rows(float *y, float32x4_t v, size_t n) {
    if (n >= WIDTH) {
        vst1q_f32(y, v);
        return;
    }
    float lane[WIDTH];
    vst1q_f32(lane, v);
    for (size_t i = 0; i < n; i++) y[i] = lane[i];
}

/* ---- Few tokens ------------------------------------------------------------------------------ */

enum { GEMV_TOKENS = 4 };

struct rows_sums {
    int32x4_t isum[GEMV_TOKENS][WIDTH], msum[GEMV_TOKENS][WIDTH]; // to be summed over the lanes
    float d[WIDTH], dmin[WIDTH];
};

static inline int32x4_t sum_each(const int32x4_t v[WIDTH]) {
    return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

INLINE int32x4_t dot(int8x16_t w, const int8_t *q) {
    return vdotq_s32(vdupq_n_s32(0), w, vld1q_s8(q));
}

/* Row r of a block against one token, whose activations of this block are q. */
INLINE int32x4_t gemv_row(const struct block *w, size_t n_groups, const int8_t *q) {
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t g = 0; g < n_groups; g += 4) {
        int16x8_t half = w->scale[g / 8];
        int32x4_t scale = g % 8 == 0 ? vmovl_s16(vget_low_s16(half)) : vmovl_high_s16(half);
        const int8_t *at = q + g * QUANT_GROUP;
        sum = vmlaq_laneq_s32(sum, dot(w->w[g], at), scale, 0);
        sum = vmlaq_laneq_s32(sum, dot(w->w[g + 1], at + 16), scale, 1);
        if (n_groups == 2) break;
        sum = vmlaq_laneq_s32(sum, dot(w->w[g + 2], at + 32), scale, 2);
        sum = vmlaq_laneq_s32(sum, dot(w->w[g + 3], at + 48), scale, 3);
    }
    return sum;
}

INLINE int32x4_t min_row(const struct block *w, size_t n_groups, const int16_t *bsum) {
    if (n_groups == 2) {
        const int32_t pair[4] = {bsum[0], bsum[1], 0, 0};
        return vmulq_s32(vmovl_s16(vget_low_s16(w->min[0])), vld1q_s32(pair));
    }
    int16x8_t a = vld1q_s16(bsum), b = vld1q_s16(bsum + 8);
    int32x4_t sum = vmull_s16(vget_low_s16(w->min[0]), vget_low_s16(a));
    sum = vmlal_high_s16(sum, w->min[0], a);
    sum = vmlal_s16(sum, vget_low_s16(w->min[1]), vget_low_s16(b));
    return vmlal_high_s16(sum, w->min[1], b);
}

/* Rows row..row+3 against n_tokens tokens, which are all there are. */
INLINE void gemv_tile(const struct job *job, size_t n_groups, bool has_min,
                      void (*load)(const uint8_t *p, struct block *out), size_t row,
                      size_t n_tokens) {
    const struct act *a = job->a;
    size_t n_left = job->n_rows - row, block_bytes = job->type->block_bytes;
    float32x4_t acc[GEMV_TOKENS];
    for (size_t t = 0; t < n_tokens; t++) acc[t] = vdupq_n_f32(0);
    struct block w = {.unpack = job->type->unpack, .n_groups = n_groups};
    for (size_t b = 0; b < job->n_blocks; b++) {
        struct rows_sums sums;
        for (size_t r = 0; r < WIDTH; r++) {
            // Missing rows at the end repeat the last one.
            size_t from = row + (r < n_left ? r : n_left - 1);
            const uint8_t *p = job->w + from * job->row_bytes + b * block_bytes;
            // The next 4 rows are read next; the addresses may lie past the end of the weights.
            uintptr_t ahead = (uintptr_t)p + WIDTH * job->row_bytes;
            for (size_t i = 0; i < block_bytes; i += 64)
                __builtin_prefetch((const void *)(ahead + i));
            load(p, &w);
            for (size_t t = 0; t < n_tokens; t++) {
                size_t at = t * a->k + b * n_groups * QUANT_GROUP;
                sums.isum[t][r] = gemv_row(&w, n_groups, a->q + at);
                if (has_min) sums.msum[t][r] = min_row(&w, n_groups, a->bsum + at / QUANT_GROUP);
            }
            sums.d[r] = w.d;
            if (has_min) sums.dmin[r] = w.dmin;
        }
        float32x4_t d = vld1q_f32(sums.d);
        for (size_t t = 0; t < n_tokens; t++) {
            float da = a->d[t * job->n_blocks + b];
            float32x4_t isum = vcvtq_f32_s32(sum_each(sums.isum[t]));
            acc[t] = vfmaq_f32(acc[t], isum, vmulq_n_f32(d, da));
            if (!has_min) continue;
            float32x4_t msum = vcvtq_f32_s32(sum_each(sums.msum[t]));
            acc[t] = vfmsq_f32(acc[t], msum, vmulq_n_f32(vld1q_f32(sums.dmin), da));
        }
    }
    for (size_t t = 0; t < n_tokens; t++) store_rows(job->y + t * job->ldy + row, acc[t], n_left);
}

INLINE void gemv(const struct job *job, size_t n_groups, bool has_min,
                 void (*load)(const uint8_t *p, struct block *out)) {
    for (size_t row = 0; row < job->n_rows; row += WIDTH) switch (job->a->n) {
        case 1: gemv_tile(job, n_groups, has_min, load, row, 1); break;
        case 2: gemv_tile(job, n_groups, has_min, load, row, 2); break;
        case 3: gemv_tile(job, n_groups, has_min, load, row, 3); break;
        default: gemv_tile(job, n_groups, has_min, load, row, 4); break;
        }
}

static void gemv_q4_0(const struct job *job) { gemv(job, 2, false, load_q4_0); }
static void gemv_q4_1(const struct job *job) { gemv(job, 2, true, load_q4_1); }
static void gemv_q5_0(const struct job *job) { gemv(job, 2, false, load_q5_0); }
static void gemv_q5_1(const struct job *job) { gemv(job, 2, true, load_q5_1); }
static void gemv_q8_0(const struct job *job) { gemv(job, 2, false, load_q8_0); }
static void gemv_iq4_nl(const struct job *job) { gemv(job, 2, false, load_iq4_nl); }
static void gemv_mxfp4(const struct job *job) { gemv(job, 2, false, load_mxfp4); }
static void gemv_q2_k(const struct job *job) { gemv(job, 16, true, load_q2_k); }
static void gemv_q3_k(const struct job *job) { gemv(job, 16, false, load_q3_k); }
static void gemv_q4_k(const struct job *job) { gemv(job, 16, true, load_q4_k); }
static void gemv_q5_k(const struct job *job) { gemv(job, 16, true, load_q5_k); }
static void gemv_q6_k(const struct job *job) { gemv(job, 16, false, load_q6_k); }
static void gemv_iq4_xs(const struct job *job) { gemv(job, 16, false, load_iq4_xs); }
static void gemv_any(const struct job *job) {
    gemv(job, job->type->block_elems / QUANT_GROUP, job->type->has_min, load_any);
}

static const struct format formats[] = {
    {QUANT_Q4_0, load_q4_0, gemv_q4_0},       {QUANT_Q4_1, load_q4_1, gemv_q4_1},
    {QUANT_Q5_0, load_q5_0, gemv_q5_0},       {QUANT_Q5_1, load_q5_1, gemv_q5_1},
    {QUANT_Q8_0, load_q8_0, gemv_q8_0},       {QUANT_IQ4_NL, load_iq4_nl, gemv_iq4_nl},
    {QUANT_MXFP4, load_mxfp4, gemv_mxfp4},    {QUANT_Q2_K, load_q2_k, gemv_q2_k},
    {QUANT_Q3_K, load_q3_k, gemv_q3_k},       {QUANT_Q4_K, load_q4_k, gemv_q4_k},
    {QUANT_Q5_K, load_q5_k, gemv_q5_k},       {QUANT_Q6_K, load_q6_k, gemv_q6_k},
    {QUANT_IQ4_XS, load_iq4_xs, gemv_iq4_xs},
};
/* Works for every other format, from its `unpack` alone. */
static const struct format any_format = {0, load_any, gemv_any};

static const struct format *find_format(const struct quant_type *type) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].id == type->id) return &formats[i];
    return &any_format;
}

/* ---- Many tokens ----------------------------------------------------------------------------- */

enum { GEMM_TOKENS = 8, STRIP_ELEMS = 1024, STRIP_GROUPS = STRIP_ELEMS / QUANT_GROUP };

/* 4 rows by up to STRIP_ELEMS elements, one lane per row. The scales and mins of a block of 32 are
 * stored as if there were 8 groups: the next block overwrites the surplus, hence the room at the
 * end. */
struct strip {
    int8_t w[STRIP_ELEMS / 4][WIDTH][4];
    int32_t scale[STRIP_GROUPS + 8][WIDTH];
    int16_t min[STRIP_GROUPS + 8][WIDTH];
    float d[STRIP_GROUPS / 2][WIDTH], dmin[STRIP_GROUPS / 2][WIDTH];
};
_Static_assert(sizeof(struct strip) <= LEAST_SCRATCH, "must fit into any matmul scratch");

/* Block b (from the start of the row) of rows row..row+3 becomes block i of the strip. */
static void strip_block(const struct job *job, size_t row, size_t b, size_t i, struct strip *s) {
    size_t n_left = job->n_rows - row, n_groups = job->a->block / QUANT_GROUP;
    struct block w[WIDTH];
    for (size_t r = 0; r < WIDTH; r++) {
        size_t from = row + (r < n_left ? r : n_left - 1);
        w[r].unpack = job->type->unpack;
        w[r].n_groups = n_groups;
        job->format->load(job->w + from * job->row_bytes + b * job->type->block_bytes, &w[r]);
        s->d[i][r] = w[r].d;
        s->dmin[i][r] = job->type->has_min ? w[r].dmin : 0;
    }
    // A store of four registers interleaves their lanes, which is the transposition needed.
    for (size_t g = 0; g < n_groups; g++) {
        int32x4x4_t rows;
        for (size_t r = 0; r < WIDTH; r++) rows.val[r] = vreinterpretq_s32_s8(w[r].w[g]);
        vst4q_s32((int32_t *)(void *)s->w[(i * n_groups + g) * 4], rows);
    }
    for (size_t g = 0; g < n_groups; g += 8) {
        int32x4x4_t low, high;
        int16x8x4_t min;
        for (size_t r = 0; r < WIDTH; r++) {
            low.val[r] = vmovl_s16(vget_low_s16(w[r].scale[g / 8]));
            high.val[r] = vmovl_high_s16(w[r].scale[g / 8]);
            min.val[r] = job->type->has_min ? w[r].min[g / 8] : vdupq_n_s16(0);
        }
        vst4q_s32(s->scale[i * n_groups + g], low);
        vst4q_s32(s->scale[i * n_groups + g + 4], high);
        vst4q_s16(s->min[i * n_groups + g], min);
    }
}

/* n_tokens tokens from t0 against blocks b..b+n_blocks-1, which the strip holds; continues the sums
 * in y unless b is 0. */
INLINE void gemm_tile(const struct job *job, const struct strip *s, size_t row, size_t b,
                      size_t n_blocks, size_t t0, size_t n_tokens) {
    const struct act *a = job->a;
    size_t n_left = job->n_rows - row, n_groups = a->block / QUANT_GROUP;
    float *y = job->y + t0 * job->ldy + row;
    float32x4_t acc[GEMM_TOKENS];
    for (size_t t = 0; t < n_tokens; t++) {
        float lane[WIDTH] = {0};
        for (size_t r = 0; b > 0 && r < WIDTH && r < n_left; r++) lane[r] = y[t * job->ldy + r];
        acc[t] = vld1q_f32(lane);
    }
    for (size_t i = 0; i < n_blocks; i++) {
        const int8_t *q = a->q + t0 * a->k + (b + i) * a->block;
        const int16_t *bsum = a->bsum + (t0 * a->k + (b + i) * a->block) / QUANT_GROUP;
        int32x4_t isum[GEMM_TOKENS], msum[GEMM_TOKENS];
        for (size_t t = 0; t < n_tokens; t++) isum[t] = msum[t] = vdupq_n_s32(0);
        for (size_t g = 0; g < n_groups; g++) {
            int8x16x4_t w = vld1q_s8_x4(s->w[(i * n_groups + g) * 4][0]);
            int32x4_t scale = vld1q_s32(s->scale[i * n_groups + g]);
            for (size_t t = 0; t < n_tokens; t++) {
                int8x16_t x = vld1q_s8(q + t * a->k + g * QUANT_GROUP);
                int32x4_t sum = vdotq_laneq_s32(vdupq_n_s32(0), w.val[0], x, 0);
                sum = vdotq_laneq_s32(sum, w.val[1], x, 1);
                sum = vdotq_laneq_s32(sum, w.val[2], x, 2);
                sum = vdotq_laneq_s32(sum, w.val[3], x, 3);
                isum[t] = vmlaq_s32(isum[t], sum, scale);
            }
        }
        for (size_t g = 0; job->type->has_min && g < n_groups; g++) {
            int16x4_t min = vld1_s16(s->min[i * n_groups + g]);
            for (size_t t = 0; t < n_tokens; t++)
                msum[t] = vmlal_n_s16(msum[t], min, bsum[t * (a->k / QUANT_GROUP) + g]);
        }
        float32x4_t d = vld1q_f32(s->d[i]), dmin = vld1q_f32(s->dmin[i]);
        for (size_t t = 0; t < n_tokens; t++) {
            float da = a->d[(t0 + t) * job->n_blocks + b + i];
            acc[t] = vfmaq_f32(acc[t], vcvtq_f32_s32(isum[t]), vmulq_n_f32(d, da));
            if (job->type->has_min)
                acc[t] = vfmsq_f32(acc[t], vcvtq_f32_s32(msum[t]), vmulq_n_f32(dmin, da));
        }
    }
    for (size_t t = 0; t < n_tokens; t++) store_rows(y + t * job->ldy, acc[t], n_left);
}

static void gemm(const struct job *job, struct strip *s) {
    size_t step = STRIP_ELEMS / job->a->block, n = job->a->n;
    for (size_t row = 0; row < job->n_rows; row += WIDTH)
        for (size_t b = 0; b < job->n_blocks; b += step) {
            size_t n_blocks = job->n_blocks - b < step ? job->n_blocks - b : step, t = 0;
            for (size_t i = 0; i < n_blocks; i++) strip_block(job, row, b + i, i, s);
            for (; t + 8 <= n; t += 8) gemm_tile(job, s, row, b, n_blocks, t, 8);
            for (; t + 4 <= n; t += 4) gemm_tile(job, s, row, b, n_blocks, t, 4);
            for (; t < n; t++) gemm_tile(job, s, row, b, n_blocks, t, 1);
        }
}

static void matmul(const struct quant_type *type, const void *w, size_t n_rows, const struct act *a,
                   float *y, size_t ldy, void *scratch) {
    struct job job = {.type = type,
                      .format = find_format(type),
                      .w = w,
                      .n_rows = n_rows,
                      .row_bytes = quant_row_bytes(type, a->k),
                      .n_blocks = a->k / a->block,
                      .a = a,
                      .y = y,
                      .ldy = ldy};
    if (a->n == 0) return;
    if (a->n <= GEMV_TOKENS)
        job.format->gemv(&job);
    else
        gemm(&job, scratch);
}

#endif
