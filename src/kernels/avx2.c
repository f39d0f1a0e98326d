/* Kernels for x86-64 with AVX2, FMA and F16C: same bits as scalar.c.
 *
 * Quantised products come in two forms. For a few tokens each weight block goes through registers
 * once, 8 rows at a time, and meets all the tokens there (gemv). For more, 8 rows are unpacked into
 * a strip where one register holds 4 elements of each row (gemm); the strip stays in the cache while
 * all tokens pass. Integers may be summed in any order; the float chain per output is that of
 * scalar.c in both. The 16 partial sums of float products and norms are two registers. */
#include <math.h>
#include <string.h>

#include "kernels/avx2_blocks.h"
#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

enum { WIDTH = 8, LANES = 16 };

/* ---- Sums, functions -------------------------------------------------------------------------- */

/* The first n (0..8) lanes set. */
static inline __m256i first_lanes(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline float fold(__m256 low, __m256 high) {
    __m256 v8 = _mm256_add_ps(low, high);
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

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

/* ---- Quantising activations ------------------------------------------------------------------- */

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
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]),
                                           _mm256_packs_epi32(v[2], v[3]));
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
        __m128i sum = _mm_add_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
        sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
        sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
        sum = _mm_add_epi16(sum, _mm_srli_epi32(sum, 16));
        bsum[g] = (int16_t)_mm_extract_epi16(sum, 0);
    }
}

/* ---- Formats ---------------------------------------------------------------------------------- */

struct traits {
    uint8_t n_chunks; // registers per block
    uint8_t offset;   // added to the elements so that they are not negative
    bool is_signed;   // elements use all of int8: offset 0, products through |w|
    bool has_min;     // offset 0
    // How many products of two neighbouring elements with activations one int16 can sum up: 4 for
    // elements up to 32 (offset included), 2 up to 64, 1 up to 129.
    uint8_t n_sums;
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

/* ---- Few tokens ------------------------------------------------------------------------------- */

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
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1,
                                           4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
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
            // Missing rows at the end repeat the last one.
            size_t from = row + (r < n_left ? r : n_left - 1);
            const uint8_t *p = job->w + from * job->row_bytes + b * block_bytes;
            // The next 8 rows are read next; the addresses may lie past the end of the weights.
            uintptr_t ahead = (uintptr_t)p + WIDTH * job->row_bytes;
            for (size_t i = 0; i < block_bytes; i += 64)
                _mm_prefetch((const char *)(ahead + i), _MM_HINT_T0);
            load(p, &w);
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
    for (size_t row = 0; row < job->n_rows; row += WIDTH)
        switch (job->a->n) {
            case 1: gemv_tile(job, f, load, row, 0, 1); break;
            case 2: gemv_tile(job, f, load, row, 0, 2); break;
            case 3: gemv_tile(job, f, load, row, 0, 3); break;
            default: gemv_tile(job, f, load, row, 0, 4); break;
        }
}

static const struct traits q4_0 = {1, 8, false, false, 4};
static void gemv_q4_0(const struct job *job) { gemv(job, &q4_0, load_q4_0); }
static const struct traits q4_1 = {1, 0, false, true, 4};
static void gemv_q4_1(const struct job *job) { gemv(job, &q4_1, load_q4_1); }
static const struct traits q5_0 = {1, 16, false, false, 4};
static void gemv_q5_0(const struct job *job) { gemv(job, &q5_0, load_q5_0); }
static const struct traits q5_1 = {1, 0, false, true, 4};
static void gemv_q5_1(const struct job *job) { gemv(job, &q5_1, load_q5_1); }
static const struct traits q8_0 = {1, 0, true, false, 1};
static void gemv_q8_0(const struct job *job) { gemv(job, &q8_0, load_q8_0); }
static void gemv_iq4_nl(const struct job *job) { gemv(job, &q8_0, load_iq4_nl); }
static const struct traits q2_k = {8, 0, false, true, 4};
static void gemv_q2_k(const struct job *job) { gemv(job, &q2_k, load_q2_k); }
static const struct traits q3_k = {8, 4, false, false, 4};
static void gemv_q3_k(const struct job *job) { gemv(job, &q3_k, load_q3_k); }
static const struct traits q4_k = {8, 0, false, true, 4};
static void gemv_q4_k(const struct job *job) { gemv(job, &q4_k, load_q4_k); }
static const struct traits q5_k = {8, 0, false, true, 4};
static void gemv_q5_k(const struct job *job) { gemv(job, &q5_k, load_q5_k); }
static const struct traits q6_k = {8, 32, false, false, 2};
static void gemv_q6_k(const struct job *job) { gemv(job, &q6_k, load_q6_k); }
static const struct traits iq4_xs = {8, 0, true, false, 1};
static void gemv_iq4_xs(const struct job *job) { gemv(job, &iq4_xs, load_iq4_xs); }
static void gemv_any(const struct job *job) { gemv(job, job->format->traits, load_any); }

static const struct traits iq1 = {8, 9, false, false, 4};      // -9..9
static const struct traits iq2 = {8, 43, false, false, 1};     // -43..43
static const struct traits iq3_xxs = {8, 62, false, false, 1}; // -62..62
static const struct traits iq3_s = {8, 15, false, false, 4};   // -15..15
static const struct traits mxfp4 = {1, 12, false, false, 4};   // -12..12

static const struct format formats[] = {
    {QUANT_Q4_0, &q4_0, load_q4_0, gemv_q4_0},
    {QUANT_Q4_1, &q4_1, load_q4_1, gemv_q4_1},
    {QUANT_Q5_0, &q5_0, load_q5_0, gemv_q5_0},
    {QUANT_Q5_1, &q5_1, load_q5_1, gemv_q5_1},
    {QUANT_Q8_0, &q8_0, load_q8_0, gemv_q8_0},
    {QUANT_IQ4_NL, &q8_0, load_iq4_nl, gemv_iq4_nl},
    {QUANT_Q2_K, &q2_k, load_q2_k, gemv_q2_k},
    {QUANT_Q3_K, &q3_k, load_q3_k, gemv_q3_k},
    {QUANT_Q4_K, &q4_k, load_q4_k, gemv_q4_k},
    {QUANT_Q5_K, &q5_k, load_q5_k, gemv_q5_k},
    {QUANT_Q6_K, &q6_k, load_q6_k, gemv_q6_k},
    {QUANT_IQ4_XS, &iq4_xs, load_iq4_xs, gemv_iq4_xs},
    {QUANT_IQ1_S, &iq1, load_any, gemv_any},
    {QUANT_IQ1_M, &iq1, load_any, gemv_any},
    {QUANT_IQ2_XXS, &iq2, load_any, gemv_any},
    {QUANT_IQ2_XS, &iq2, load_any, gemv_any},
    {QUANT_IQ2_S, &iq2, load_any, gemv_any},
    {QUANT_IQ3_XXS, &iq3_xxs, load_any, gemv_any},
    {QUANT_IQ3_S, &iq3_s, load_any, gemv_any},
    {QUANT_MXFP4, &mxfp4, load_any, gemv_any},
};

/* Any other format, by block length and has_min: works from `unpack` alone. */
static const struct traits any_traits[2][2] = {
    {{1, 0, true, false, 1}, {1, 0, true, true, 1}},
    {{8, 0, true, false, 1}, {8, 0, true, true, 1}},
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

/* ---- Many tokens ------------------------------------------------------------------------------ */

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
        return _mm256_add_epi32(_mm256_add_epi32(_mm256_madd_epi16(p[0], scale),
                                                 _mm256_madd_epi16(p[1], scale)),
                                _mm256_add_epi32(_mm256_madd_epi16(p[2], scale),
                                                 _mm256_madd_epi16(p[3], scale)));
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
                isum[t] = _mm256_add_epi32(isum[t],
                                           group_sum(w + 4 * g, q + t * a->k + g * QUANT_GROUP,
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
                acc[t] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(psum[t]), _mm256_mul_ps(dmin, da),
                                          acc[t]);
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
    struct job job = {.type = type, .format = find_format(type), .w = w, .n_rows = n_rows,
                      .row_bytes = quant_row_bytes(type, a->k), .n_blocks = a->k / a->block,
                      .a = a, .y = y, .ldy = ldy};
    if (a->n == 0) return;
    if (a->n <= GEMV_TOKENS)
        job.format->gemv(&job);
    else
        gemm(&job, scratch);
}

/* ---- Float products --------------------------------------------------------------------------- */

/* Elements i..i+7 of a row. */
INLINE __m256 load_weights(uint32_t type_id, const uint8_t *row, size_t i) {
    if (type_id == QUANT_F32) return _mm256_loadu_ps((const float *)(const void *)row + i);
    if (type_id == QUANT_F16) return _mm256_cvtph_ps(load_128(row + 2 * i));
    __m256i bits = _mm256_cvtepu16_epi32(load_128(row + 2 * i));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}

static float weight_at(uint32_t type_id, const uint8_t *row, size_t i) {
    if (type_id == QUANT_F32) return f32_from_bits(load_u32(row + 4 * i));
    return type_id == QUANT_F16 ? load_f16(row + 2 * i) : bf16_to_f32(load_u16(row + 2 * i));
}

/* n_rows rows against n_tokens tokens. */
INLINE void float_tile(uint32_t type_id, const uint8_t *w, size_t row_bytes, size_t n_rows,
                       const float *x, size_t n_tokens, size_t k, float *y, size_t ldy) {
    __m256 low[4][2], high[4][2];
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) low[r][t] = high[r][t] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= k; i += LANES)
        for (size_t r = 0; r < n_rows; r++) {
            __m256 w0 = load_weights(type_id, w + r * row_bytes, i);
            __m256 w1 = load_weights(type_id, w + r * row_bytes, i + WIDTH);
            for (size_t t = 0; t < n_tokens; t++) {
                const float *at = x + t * k + i;
                low[r][t] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(at), low[r][t]);
                high[r][t] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(at + WIDTH), high[r][t]);
            }
        }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) {
            if (i < k) {
                float lane[LANES];
                _mm256_storeu_ps(lane, low[r][t]);
                _mm256_storeu_ps(lane + WIDTH, high[r][t]);
                for (size_t j = i; j < k; j++)
                    lane[j - i] = fmaf(weight_at(type_id, w + r * row_bytes, j), x[t * k + j],
                                       lane[j - i]);
                low[r][t] = _mm256_loadu_ps(lane);
                high[r][t] = _mm256_loadu_ps(lane + WIDTH);
            }
            y[t * ldy + r] = fold(low[r][t], high[r][t]);
        }
}

INLINE void float_rows(uint32_t type_id, const uint8_t *w, size_t n_rows, const float *x, size_t n,
                       size_t k, float *y, size_t ldy) {
    size_t row_bytes = k * (type_id == QUANT_F32 ? 4 : 2), r = 0;
    for (; n == 1 && r + 4 <= n_rows; r += 4)
        float_tile(type_id, w + r * row_bytes, row_bytes, 4, x, 1, k, y + r, ldy);
    for (; r + 2 <= n_rows; r += 2) {
        size_t t = 0;
        for (; t + 2 <= n; t += 2)
            float_tile(type_id, w + r * row_bytes, row_bytes, 2, x + t * k, 2, k, y + t * ldy + r,
                       ldy);
        if (t < n)
            float_tile(type_id, w + r * row_bytes, row_bytes, 2, x + t * k, 1, k, y + t * ldy + r,
                       ldy);
    }
    for (size_t t = 0; r < n_rows && t < n; t++)
        float_tile(type_id, w + r * row_bytes, row_bytes, 1, x + t * k, 1, k, y + t * ldy + r, ldy);
}

static void matmul_float(const struct quant_type *type, const void *w, size_t n_rows, const float *x,
                         size_t n, size_t k, float *y, size_t ldy, void *scratch) {
    (void)scratch;
    switch (type->id) {
        case QUANT_F32: float_rows(QUANT_F32, w, n_rows, x, n, k, y, ldy); break;
        case QUANT_F16: float_rows(QUANT_F16, w, n_rows, x, n, k, y, ldy); break;
        default: float_rows(QUANT_BF16, w, n_rows, x, n, k, y, ldy); break;
    }
}

/* ---- Element by element ----------------------------------------------------------------------- */

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

/* ---- Attention -------------------------------------------------------------------------------- */

enum { ATTEND_QUERIES = 4 };

INLINE __m256 load_kv(const void *p, bool f32, size_t i) {
    if (f32) return _mm256_loadu_ps((const float *)p + i);
    return _mm256_cvtph_ps(load_128((const uint16_t *)p + i));
}

/* Scores of queries i..i+n-1 with all keys whose group of 8 * WIDE keys touches lo..hi-1. Those of
 * invisible keys may come out as anything: each key has its own lane. */
INLINE void attend_scores(const struct attend *a, size_t i, size_t n, const void *k_t, bool f32,
                          size_t lo, size_t hi, size_t wide) {
    const float *q = a->q + i * a->head_dim;
    size_t step = wide * WIDTH;
    for (size_t j = lo / step * step; j < hi; j += step) {
        __m256 s[ATTEND_QUERIES][8];
        for (size_t t = 0; t < n; t++)
            for (size_t v = 0; v < wide; v++) s[t][v] = _mm256_setzero_ps();
        for (size_t d = 0; d < a->head_dim; d++) {
            __m256 k[8];
            for (size_t v = 0; v < wide; v++) k[v] = load_kv(k_t, f32, d * KV_BLOCK + j + v * WIDTH);
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
    __m256i key = _mm256_add_epi32(_mm256_set1_epi32((int)j),
                                   _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
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
        // With equal or unordered operands max gives the second one, so a NaN score changes nothing.
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
                          size_t lo, size_t hi, const float *correction, size_t d, size_t wide) {
    float *o = a->o + i * a->head_dim + d;
    const float *p = a->scores + i * KV_BLOCK;
    __m256 sum[ATTEND_QUERIES][8];
    for (size_t t = 0; t < n; t++)
        for (size_t v = 0; v < wide; v++)
            sum[t][v] = _mm256_mul_ps(_mm256_loadu_ps(o + t * a->head_dim + v * WIDTH),
                                      _mm256_set1_ps(correction[t]));
    for (size_t j = lo; j < hi; j++) {
        __m256 x[8];
        for (size_t v = 0; v < wide; v++) x[v] = load_kv(values, f32, j * a->head_dim + d + v * WIDTH);
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
    attend_scores(a, i, n, k_t, f32, lo, hi, wide);
    for (size_t t = 0; t < n; t++) correction[t] = attend_softmax(a, i + t, lo, hi);
    for (; d + wide * WIDTH <= a->head_dim; d += wide * WIDTH)
        attend_values(a, i, n, values, f32, lo, hi, correction, d, wide);
    for (; d + WIDTH <= a->head_dim; d += WIDTH)
        attend_values(a, i, n, values, f32, lo, hi, correction, d, 1);
    for (; d < a->head_dim; d++)
        for (size_t t = 0; t < n; t++) attend_value(a, i + t, values, f32, lo, hi, correction[t], d);
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
};
