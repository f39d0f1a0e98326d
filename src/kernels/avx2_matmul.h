/* Quantised products with AVX2. Part of avx2.c alone.
 *
 * For a few tokens each weight block goes through registers once, 8 rows at a time, and meets all
 * the tokens there (gemv). For more, 8 rows are unpacked into a strip where one register holds 4
 * elements of each row (gemm); the strip stays in the cache while all tokens pass. Integers may be
 * summed in any order; the float chain per output is that of scalar.c in both. */
#ifndef OCTET_KERNELS_AVX2_MATMUL_H
#define OCTET_KERNELS_AVX2_MATMUL_H

#include <string.h>

#include "kernels/avx2_blocks.h"
#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

enum { WIDTH = 8 };

/* The first n (0..8) lanes set. */
static inline __m256i first_lanes(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* ---- Formats --------------------------------------------------------------------------------- */

struct traits {
    uint8_t n_chunks; // registers per block
    uint8_t offset;   // added to the elements so that they are not negative
    bool is_signed;   // elements use all of int8: offset 0, products through |w|
    bool has_min;     // offset 0
    // How many products of two neighbouring elements with activations one int16 can sum up: 4 for
    // elements up to 32 (offset included), 2 up to 64, 1 up to 129.
    uint8_t n_sums;
    bool no_scales; // scales and mins of groups are all 1
};

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
    const struct traits *traits;
    void (*load)(const uint8_t *p, struct block *out);
    void (*gemv)(const struct job *job);
};

/* 32 products as 16 int16: each sum of two is at most 32512. */
INLINE __m256i products(__m256i w, __m256i a, bool is_signed) {
    if (!is_signed) return _mm256_maddubs_epi16(w, a);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
}

static inline void store_rows(float *y, __m256 v, size_t n) {
    if (n >= WIDTH)
        _mm256_storeu_ps(y, v);
    else
        _mm256_maskstore_ps(y, first_lanes(n), v);
}

/* ---- Few tokens ------------------------------------------------------------------------------ */

enum { GEMV_TOKENS = 4 };

/* The sums of 8 registers, in order. */
static inline __m256i sum_each(const __m256i v[WIDTH]) {
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

/* Group sums of activations in the order of struct block's scales. */
static inline __m256i load_bsum(const int16_t *bsum, size_t n_chunks) {
    if (n_chunks == 1)
        return _mm256_set_m128i(_mm_cvtsi32_si128(bsum[1] & 0xffff),
                                _mm_cvtsi32_si128(bsum[0] & 0xffff));
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0,
                                           1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(load_256(bsum), order), 0xd8);
}

struct rows_sums {
    __m256i isum[GEMV_TOKENS][WIDTH], msum[GEMV_TOKENS][WIDTH]; // to be summed over the lanes
    float d[WIDTH], dmin[WIDTH];
};

/* Row r of a block against n_tokens tokens, whose activations of this block start at q[t]. */
INLINE void gemv_row(const struct block *w, const struct traits *f, size_t n_tokens,
                     const int8_t *const *q, const __m256i *bsum, size_t r, struct rows_sums *out) {
    __m256i isum[GEMV_TOKENS];
    for (size_t t = 0; t < n_tokens; t++) isum[t] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t c = 0; c < f->n_chunks; c++) {
        __m256i pick = _mm256_set1_epi16((short)(c * 0x202 + 0x100));
        __m256i scale = _mm256_shuffle_epi8(w->scale, pick);
        for (size_t t = 0; t < n_tokens; t++) {
            __m256i p = products(w->w[c], load_256(q[t] + c * CHUNK), f->is_signed);
            isum[t] = _mm256_add_epi32(isum[t], _mm256_madd_epi16(p, scale));
        }
    }
    __m256i excess = _mm256_mullo_epi16(w->scale, _mm256_set1_epi16(f->offset));
    for (size_t t = 0; t < n_tokens; t++) {
        if (f->offset) isum[t] = _mm256_sub_epi32(isum[t], _mm256_madd_epi16(excess, bsum[t]));
        out->isum[t][r] = isum[t];
        if (f->has_min) out->msum[t][r] = _mm256_madd_epi16(w->min, bsum[t]);
    }
    out->d[r] = w->d;
    if (f->has_min) out->dmin[r] = w->dmin;
}

/* Rows row..row+7 and tokens t0..t0+n_tokens-1. */
INLINE void gemv_tile(const struct job *job, const struct traits *f,
                      void (*load)(const uint8_t *p, struct block *out), size_t row, size_t t0,
                      size_t n_tokens) {
    const struct act *a = job->a;
    size_t n_left = job->n_rows - row, block_elems = f->n_chunks * (size_t)CHUNK;
    size_t block_bytes = job->type->block_bytes;
    __m256 acc[GEMV_TOKENS];
    for (size_t t = 0; t < n_tokens; t++) acc[t] = _mm256_setzero_ps();
    struct block w = {.unpack = job->type->unpack, .n_chunks = f->n_chunks, .offset = f->offset};
    const uint8_t *p[WIDTH]; // missing rows at the end repeat the last one
    for (size_t r = 0; r < WIDTH; r++)
        p[r] = job->w + (row + (r < n_left ? r : n_left - 1)) * job->row_bytes;
    for (size_t b = 0; b < job->n_blocks; b++) {
        const int8_t *q[GEMV_TOKENS];
        __m256i bsum[GEMV_TOKENS];
        for (size_t t = 0; t < n_tokens; t++) {
            size_t at = (t0 + t) * a->k + b * block_elems;
            q[t] = a->q + at;
            bsum[t] = load_bsum(a->bsum + at / QUANT_GROUP, f->n_chunks);
        }
        struct rows_sums sums;
        for (size_t r = 0; r < WIDTH; r++) {
            // The next 8 rows are read next; the addresses may lie past the end of the weights. Of
            // small blocks two share a cache line.
            uintptr_t ahead = (uintptr_t)p[r] + WIDTH * job->row_bytes;
            for (size_t i = 0; i < block_bytes && (f->n_chunks > 1 || b % 2 == 0); i += 64)
                _mm_prefetch((const char *)(ahead + i), _MM_HINT_T0);
            load(p[r], &w);
            p[r] += block_bytes;
            gemv_row(&w, f, n_tokens, q, bsum, r, &sums);
        }
        __m256 d = _mm256_loadu_ps(sums.d), dmin = _mm256_setzero_ps();
        if (f->has_min) dmin = _mm256_loadu_ps(sums.dmin);
        for (size_t t = 0; t < n_tokens; t++) {
            __m256 da = _mm256_set1_ps(a->d[(t0 + t) * job->n_blocks + b]);
            __m256 isum = _mm256_cvtepi32_ps(sum_each(sums.isum[t]));
            acc[t] = _mm256_fmadd_ps(isum, _mm256_mul_ps(d, da), acc[t]);
            if (!f->has_min) continue;
            __m256 msum = _mm256_cvtepi32_ps(sum_each(sums.msum[t]));
            acc[t] = _mm256_fnmadd_ps(msum, _mm256_mul_ps(dmin, da), acc[t]);
        }
    }
    for (size_t t = 0; t < n_tokens; t++)
        store_rows(job->y + (t0 + t) * job->ldy + row, acc[t], n_left);
}

INLINE void gemv(const struct job *job, const struct traits *f,
                 void (*load)(const uint8_t *p, struct block *out)) {
    for (size_t row = 0; row < job->n_rows; row += WIDTH) switch (job->a->n) {
        case 1:
            gemv_tile(job, f, load, row, 0, 1);
            break;
        case 2:
            gemv_tile(job, f, load, row, 0, 2);
            break;
        case 3:
            gemv_tile(job, f, load, row, 0, 3);
            break;
        default:
            gemv_tile(job, f, load, row, 0, 4);
            break;
        }
}

static const struct traits q4_0 = {1, 8, false, false, 4, true};
static void gemv_q4_0(const struct job *job) { gemv(job, &q4_0, load_q4_0); }
static const struct traits q4_1 = {1, 0, false, true, 4, true};
static void gemv_q4_1(const struct job *job) { gemv(job, &q4_1, load_q4_1); }
static const struct traits q5_0 = {1, 16, false, false, 4, true};
static void gemv_q5_0(const struct job *job) { gemv(job, &q5_0, load_q5_0); }
static const struct traits q5_1 = {1, 0, false, true, 4, true};
static void gemv_q5_1(const struct job *job) { gemv(job, &q5_1, load_q5_1); }
static const struct traits q8_0 = {1, 0, true, false, 1, true};
static void gemv_q8_0(const struct job *job) { gemv(job, &q8_0, load_q8_0); }
static void gemv_iq4_nl(const struct job *job) { gemv(job, &q8_0, load_iq4_nl); }
static const struct traits q2_k = {8, 0, false, true, 4, false};
static void gemv_q2_k(const struct job *job) { gemv(job, &q2_k, load_q2_k); }
static const struct traits q3_k = {8, 4, false, false, 4, false};
static void gemv_q3_k(const struct job *job) { gemv(job, &q3_k, load_q3_k); }
static const struct traits q4_k = {8, 0, false, true, 4, false};
static void gemv_q4_k(const struct job *job) { gemv(job, &q4_k, load_q4_k); }
static const struct traits q5_k = {8, 0, false, true, 4, false};
static void gemv_q5_k(const struct job *job) { gemv(job, &q5_k, load_q5_k); }
static const struct traits q6_k = {8, 32, false, false, 2, false};
static void gemv_q6_k(const struct job *job) { gemv(job, &q6_k, load_q6_k); }
static const struct traits iq4_xs = {8, 0, true, false, 1, false};
static void gemv_iq4_xs(const struct job *job) { gemv(job, &iq4_xs, load_iq4_xs); }
static const struct traits mxfp4 = {1, 12, false, false, 4, true};
static void gemv_mxfp4(const struct job *job) { gemv(job, &mxfp4, load_mxfp4); }
static void gemv_any(const struct job *job) { gemv(job, job->format->traits, load_any); }

static const struct traits iq1 = {8, 9, false, false, 4, false};      // -9..9
static const struct traits iq2 = {8, 43, false, false, 1, false};     // -43..43
static const struct traits iq3_xxs = {8, 62, false, false, 1, false}; // -62..62
static const struct traits iq3_s = {8, 15, false, false, 4, false};   // -15..15

static const struct format formats[] = {
    {QUANT_Q4_0, &q4_0, load_q4_0, gemv_q4_0}, {QUANT_Q4_1, &q4_1, load_q4_1, gemv_q4_1},
    {QUANT_Q5_0, &q5_0, load_q5_0, gemv_q5_0}, {QUANT_Q5_1, &q5_1, load_q5_1, gemv_q5_1},
    {QUANT_Q8_0, &q8_0, load_q8_0, gemv_q8_0}, {QUANT_IQ4_NL, &q8_0, load_iq4_nl, gemv_iq4_nl},
    {QUANT_Q2_K, &q2_k, load_q2_k, gemv_q2_k}, {QUANT_Q3_K, &q3_k, load_q3_k, gemv_q3_k},
    {QUANT_Q4_K, &q4_k, load_q4_k, gemv_q4_k}, {QUANT_Q5_K, &q5_k, load_q5_k, gemv_q5_k},
    {QUANT_Q6_K, &q6_k, load_q6_k, gemv_q6_k}, {QUANT_IQ4_XS, &iq4_xs, load_iq4_xs, gemv_iq4_xs},
    {QUANT_IQ1_S, &iq1, load_any, gemv_any},   {QUANT_IQ1_M, &iq1, load_any, gemv_any},
    {QUANT_IQ2_XXS, &iq2, load_any, gemv_any}, {QUANT_IQ2_XS, &iq2, load_any, gemv_any},
    {QUANT_IQ2_S, &iq2, load_any, gemv_any},   {QUANT_IQ3_XXS, &iq3_xxs, load_any, gemv_any},
    {QUANT_IQ3_S, &iq3_s, load_any, gemv_any}, {QUANT_MXFP4, &mxfp4, load_mxfp4, gemv_mxfp4},
};

/* Any other format, by block length and has_min: works from `unpack` alone. */
static const struct traits any_traits[2][2] = {
    {{1, 0, true, false, 1, false}, {1, 0, true, true, 1, false}},
    {{8, 0, true, false, 1, false}, {8, 0, true, true, 1, false}},
};
static const struct format any_format[2][2] = {
    {{0, &any_traits[0][0], load_any, gemv_any}, {0, &any_traits[0][1], load_any, gemv_any}},
    {{0, &any_traits[1][0], load_any, gemv_any}, {0, &any_traits[1][1], load_any, gemv_any}},
};

static const struct format *find_format(const struct quant_type *type) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].id == type->id) return &formats[i];
    return &any_format[type->block_elems == QUANT_MAX_BLOCK][type->has_min];
}

/* ---- Many tokens ----------------------------------------------------------------------------- */

enum { GEMM_TOKENS = 4, STRIP_ELEMS = 1024, STRIP_BLOCKS = STRIP_ELEMS / CHUNK };

/* 8 rows by up to STRIP_ELEMS elements; every register has one lane of 32 bits per row. */
struct strip {
    __m256i w[STRIP_ELEMS / 4];               // 4 elements
    __m256i scale[STRIP_ELEMS / QUANT_GROUP]; // int16, twice the scale of one group
    // int16 for two groups: the min, or offset * scale (no format has both).
    __m256i pair[STRIP_ELEMS / QUANT_GROUP / 2];
    float d[STRIP_BLOCKS][WIDTH], dmin[STRIP_BLOCKS][WIDTH];
};
_Static_assert(sizeof(struct strip) <= 65536, "must fit into any matmul scratch");

/* Transposes 8 x 8 lanes of 32 bits. */
static inline void transpose_32(const __m256i in[8], __m256i out[8]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            b[4 * i + 2 * j] = _mm256_unpacklo_epi64(a[4 * i + j], a[4 * i + j + 2]);
            b[4 * i + 2 * j + 1] = _mm256_unpackhi_epi64(a[4 * i + j], a[4 * i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        out[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

/* Transposes, in each half, 8 x 8 lanes of 16 bits. */
static inline void transpose_16(const __m256i in[8], __m256i out[8]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi16(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            b[4 * i + 2 * j] = _mm256_unpacklo_epi32(a[4 * i + j], a[4 * i + j + 2]);
            b[4 * i + 2 * j + 1] = _mm256_unpackhi_epi32(a[4 * i + j], a[4 * i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        out[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
        out[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
    }
}

/* Scales of 8 rows to struct strip's order; likewise mins. */
static void store_scales(const __m256i rows[WIDTH], size_t n_chunks, __m256i *out) {
    __m256i columns[8]; // of chunks: even group in the low half, odd group in the high one
    transpose_16(rows, columns);
    for (size_t c = 0; c < n_chunks; c++) {
        __m256i low = _mm256_unpacklo_epi16(columns[c], columns[c]);
        __m256i high = _mm256_unpackhi_epi16(columns[c], columns[c]);
        out[2 * c] = _mm256_permute2x128_si256(low, high, 0x20);
        out[2 * c + 1] = _mm256_permute2x128_si256(low, high, 0x31);
    }
}

static void store_pairs(const __m256i rows[WIDTH], size_t n_chunks, __m256i *out) {
    __m256i columns[8];
    transpose_16(rows, columns);
    for (size_t c = 0; c < n_chunks; c++) {
        __m128i even = _mm256_castsi256_si128(columns[c]);
        __m128i odd = _mm256_extracti128_si256(columns[c], 1);
        out[c] = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
    }
}

/* Block b (from the start of the row) of rows row..row+7 becomes block i of the strip. */
static void strip_block(const struct job *job, size_t row, size_t b, size_t i, struct strip *s) {
    const struct traits *f = job->format->traits;
    size_t n_left = job->n_rows - row, n_chunks = f->n_chunks;
    struct block w = {.unpack = job->type->unpack, .n_chunks = f->n_chunks, .offset = f->offset};
    __m256i chunk[QUANT_MAX_BLOCK / CHUNK][WIDTH], scale[WIDTH], pair[WIDTH];
    for (size_t r = 0; r < WIDTH; r++) {
        size_t from = row + (r < n_left ? r : n_left - 1);
        job->format->load(job->w + from * job->row_bytes + b * job->type->block_bytes, &w);
        for (size_t c = 0; c < n_chunks; c++) chunk[c][r] = w.w[c];
        scale[r] = w.scale;
        pair[r] = f->has_min ? w.min : _mm256_mullo_epi16(w.scale, _mm256_set1_epi16(f->offset));
        s->d[i][r] = w.d;
        s->dmin[i][r] = f->has_min ? w.dmin : 0;
    }
    for (size_t c = 0; c < n_chunks; c++)
        transpose_32(chunk[c], s->w + (i * n_chunks + c) * (CHUNK / 4));
    if (f->no_scales) {
        s->scale[2 * i] = s->scale[2 * i + 1] = _mm256_set1_epi16(1);
        s->pair[i] = pair[0];
        return;
    }
    store_scales(scale, n_chunks, s->scale + i * n_chunks * 2);
    if (f->has_min || f->offset) store_pairs(pair, n_chunks, s->pair + i * n_chunks);
}

INLINE __m256i broadcast_32(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* A group of 16 elements of 8 rows against 16 activations: int32 sums, times the scale. */
INLINE __m256i group_sum(const __m256i w[4], const int8_t *q, __m256i scale, bool is_signed,
                         size_t n_sums) {
    __m256i p[4];
    for (size_t i = 0; i < 4; i++) p[i] = products(w[i], broadcast_32(q + 4 * i), is_signed);
    if (n_sums == 1)
        return _mm256_add_epi32(
            _mm256_add_epi32(_mm256_madd_epi16(p[0], scale), _mm256_madd_epi16(p[1], scale)),
            _mm256_add_epi32(_mm256_madd_epi16(p[2], scale), _mm256_madd_epi16(p[3], scale)));
    __m256i a = _mm256_add_epi16(p[0], p[1]), b = _mm256_add_epi16(p[2], p[3]);
    if (n_sums == 2)
        return _mm256_add_epi32(_mm256_madd_epi16(a, scale), _mm256_madd_epi16(b, scale));
    return _mm256_madd_epi16(_mm256_add_epi16(a, b), scale);
}

/* n_tokens tokens from t0 against blocks b..b+n_blocks-1, which the strip holds; continues the sums
 * in y unless b is 0. */
INLINE void gemm_tile(const struct job *job, const struct strip *s, size_t row, size_t b,
                      size_t n_blocks, size_t t0, size_t n_tokens, bool is_signed, size_t n_sums) {
    const struct act *a = job->a;
    const struct traits *f = job->format->traits;
    size_t n_left = job->n_rows - row, n_groups = a->block / QUANT_GROUP;
    __m256i lanes = first_lanes(n_left < WIDTH ? n_left : WIDTH);
    __m256 acc[GEMM_TOKENS];
    for (size_t t = 0; t < n_tokens; t++) {
        acc[t] = _mm256_setzero_ps();
        if (b > 0) acc[t] = _mm256_maskload_ps(job->y + (t0 + t) * job->ldy + row, lanes);
    }
    for (size_t i = 0; i < n_blocks; i++) {
        const int8_t *q = a->q + t0 * a->k + (b + i) * a->block;
        const int16_t *bsum = a->bsum + (t0 * a->k + (b + i) * a->block) / QUANT_GROUP;
        const __m256i *w = s->w + i * (a->block / 4), *scale = s->scale + i * n_groups;
        const __m256i *pair = s->pair + i * (n_groups / 2);
        __m256i isum[GEMM_TOKENS], psum[GEMM_TOKENS];
        for (size_t t = 0; t < n_tokens; t++) isum[t] = psum[t] = _mm256_setzero_si256();
        for (size_t g = 0; g < n_groups; g++)
            for (size_t t = 0; t < n_tokens; t++)
                isum[t] =
                    _mm256_add_epi32(isum[t], group_sum(w + 4 * g, q + t * a->k + g * QUANT_GROUP,
                                                        scale[g], is_signed, n_sums));
        if (f->has_min || f->offset)
            for (size_t g = 0; g < n_groups; g += 2)
                for (size_t t = 0; t < n_tokens; t++) {
                    __m256i sums = broadcast_32(bsum + t * (a->k / QUANT_GROUP) + g);
                    psum[t] = _mm256_add_epi32(psum[t], _mm256_madd_epi16(pair[g / 2], sums));
                }
        __m256 d = _mm256_loadu_ps(s->d[i]), dmin = _mm256_loadu_ps(s->dmin[i]);
        for (size_t t = 0; t < n_tokens; t++) {
            __m256 da = _mm256_set1_ps(a->d[(t0 + t) * job->n_blocks + b + i]);
            if (f->offset) isum[t] = _mm256_sub_epi32(isum[t], psum[t]);
            acc[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[t]), _mm256_mul_ps(d, da), acc[t]);
            if (f->has_min)
                acc[t] =
                    _mm256_fnmadd_ps(_mm256_cvtepi32_ps(psum[t]), _mm256_mul_ps(dmin, da), acc[t]);
        }
    }
    for (size_t t = 0; t < n_tokens; t++)
        store_rows(job->y + (t0 + t) * job->ldy + row, acc[t], n_left);
}

INLINE void gemm_strip(const struct job *job, const struct strip *s, size_t row, size_t b,
                       size_t n_blocks, bool is_signed, size_t n_sums) {
    size_t n = job->a->n, t = 0;
    for (; t + GEMM_TOKENS <= n; t += GEMM_TOKENS)
        gemm_tile(job, s, row, b, n_blocks, t, GEMM_TOKENS, is_signed, n_sums);
    for (; t < n; t++) gemm_tile(job, s, row, b, n_blocks, t, 1, is_signed, n_sums);
}

static void gemm(const struct job *job, struct strip *s) {
    const struct traits *f = job->format->traits;
    size_t step = STRIP_ELEMS / job->a->block;
    for (size_t row = 0; row < job->n_rows; row += WIDTH)
        for (size_t b = 0; b < job->n_blocks; b += step) {
            size_t n_blocks = job->n_blocks - b < step ? job->n_blocks - b : step;
            for (size_t i = 0; i < n_blocks; i++) strip_block(job, row, b + i, i, s);
            if (f->is_signed)
                gemm_strip(job, s, row, b, n_blocks, true, 1);
            else if (f->n_sums == 1)
                gemm_strip(job, s, row, b, n_blocks, false, 1);
            else if (f->n_sums == 2)
                gemm_strip(job, s, row, b, n_blocks, false, 2);
            else
                gemm_strip(job, s, row, b, n_blocks, false, 4);
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
