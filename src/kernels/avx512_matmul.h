/* Quantised products for AVX-512 with VNNI; part of avx512.c, apart for its size. The same bits as
 * scalar.c: integer sums may be grouped at will, as they are exact, and float operations keep the
 * order given in kernels.h.
 *
 * There are two ways. For a few tokens, four rows at a time are dotted with one token straight from
 * the file's blocks, which keeps up with memory. For more, strips of 16 rows are unpacked once into
 * scratch so that a lane is a row, and all tokens pass over them in tiles: there are no horizontal
 * sums, and every loaded weight serves several tokens. */
#ifndef OCTET_KERNELS_AVX512_MATMUL_H
#define OCTET_KERNELS_AVX512_MATMUL_H

#include "kernels/avx512_direct.h"
#include "kernels/kernels.h"

enum {
    STRIP = LANES,  // rows of a strip
    MAX_DIRECT = 3, // most tokens that take the direct way
};

/* ---- Direct products through chunks: four rows, one token ------------------------------------ */

/* The sub-scales of the elements of code[J], for pairs of elements. */
INLINE __m512i pair_scales(const struct chunk *c, int j) {
    const __m512i groups =
        _mm512_set_epi64(0x0003000300030003, 0x0003000300030003, 0x0002000200020002,
                         0x0002000200020002, 0x0001000100010001, 0x0001000100010001, 0, 0);
    __m512i index = _mm512_add_epi16(groups, _mm512_set1_epi16((short)(4 * j)));
    return _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(c->scale));
}

/* Sum of scale * code * q over 256 elements, in parts. Codes are at most 128, so that products in
 * pairs fit int16. */
INLINE __m512i dot_chunk(const struct chunk *c, const int8_t *q) {
    __m512i sum = _mm512_setzero_si512();
    for (int j = 0; j < 4; j++) {
        __m512i pairs = _mm512_maddubs_epi16(c->code[j], _mm512_loadu_si512(q + j * ZMM_BYTES));
        sum = _mm512_dpwssd_epi32(sum, pairs, pair_scales(c, j));
    }
    return sum;
}

/* BIAS_SHIFT: log2 of the bias of the codes; with HAS_MIN there is none. */
INLINE __m128 direct_256(load_chunk_fn *load, size_t block_bytes, int bias_shift, bool has_min,
                         const struct direct *r) {
    __m128 acc = _mm_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b++) {
        const int8_t *q = r->q + b * 256;
        __m256i bsum = _mm256_loadu_si256((const void *)(r->bsum + b * 16)), msum[ROWS];
        __m512i isum[ROWS];
        float d[ROWS], dmin[ROWS];
        size_t ahead = bytes_ahead(r, b * block_bytes);
        UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            struct chunk c;
            const uint8_t *block = r->row[i] + b * block_bytes;
            prefetch(block + ahead, block_bytes);
            load(block, &c);
            isum[i] = dot_chunk(&c, q);
            d[i] = c.d;
            msum[i] = _mm256_madd_epi16(has_min ? c.min : c.scale, bsum);
            if (has_min) dmin[i] = c.dmin;
        }
        __m128i isums = sum_rows_512(isum), msums = sum_rows_256(msum);
        if (!has_min) isums = _mm_sub_epi32(isums, _mm_slli_epi32(msums, bias_shift));
        __m128 da = _mm_set1_ps(r->d[b]);
        acc = _mm_fmadd_ps(_mm_cvtepi32_ps(isums),
                           _mm_mul_ps(_mm_setr_ps(d[0], d[1], d[2], d[3]), da), acc);
        if (has_min)
            acc =
                _mm_fnmadd_ps(_mm_cvtepi32_ps(msums),
                              _mm_mul_ps(_mm_setr_ps(dmin[0], dmin[1], dmin[2], dmin[3]), da), acc);
    }
    return acc;
}

/* The f16 at OFFSET of two blocks of each row, STEP bytes apart: those of all first blocks, then
 * those of all second ones. */
INLINE __m256 halves_of_rows(const uint8_t *const block[ROWS], size_t step, size_t offset) {
    uint16_t half[2 * ROWS];
    UNROLL
    for (size_t i = 0; i < ROWS; i++) {
        half[i] = load_u16(block[i] + offset);
        half[ROWS + i] = load_u16(block[i] + step + offset);
    }
    return _mm256_cvtph_ps(_mm_set_epi16((short)half[7], (short)half[6], (short)half[5],
                                         (short)half[4], (short)half[3], (short)half[2],
                                         (short)half[1], (short)half[0]));
}

INLINE __m256 scales_of_rows(const struct pair p[ROWS]) {
    return _mm256_setr_ps(p[0].d[0], p[1].d[0], p[2].d[0], p[3].d[0], p[0].d[1], p[1].d[1],
                          p[2].d[1], p[3].d[1]);
}

/* Block B of each row: DOTS are the sums of code * q, D the scales and M what is added to elements
 * (minus dmin), where HAS_MIN. */
INLINE __m128 add_block_32(__m128 acc, __m128i dots, __m128 d, __m128 m, size_t b, int bias,
                           bool has_min, const struct direct *r) {
    int32_t asum = r->bsum[2 * b] + r->bsum[2 * b + 1];
    __m128 da = _mm_set1_ps(r->d[b]);
    if (bias) dots = _mm_sub_epi32(dots, _mm_set1_epi32(bias * asum));
    acc = _mm_fmadd_ps(_mm_cvtepi32_ps(dots), _mm_mul_ps(d, da), acc);
    return has_min ? _mm_fmadd_ps(_mm_set1_ps((float)asum), _mm_mul_ps(m, da), acc) : acc;
}

/* HALVES: scales are f16 at the start of a block, followed by m where HAS_MIN. That loads them all
 * at once, rather than one by one as LOAD does. */
INLINE __m128 direct_32(load_pair_fn *load, size_t block_bytes, int bias, bool has_min, bool halves,
                        const struct direct *r) {
    __m128 acc = _mm_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b += 2) {
        size_t n = r->n_blocks - b; // an odd last block goes alone, as its own neighbour
        size_t step = n > 1 ? block_bytes : 0;
        __m512i a = _mm512_maskz_loadu_epi8(n > 1 ? ~0ull : 0xffffffff, r->q + b * 32);
        size_t ahead = bytes_ahead(r, b * block_bytes);
        const uint8_t *block[ROWS];
        struct pair p[ROWS];
        __m512i dot[ROWS];
        UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            block[i] = r->row[i] + b * block_bytes;
            prefetch(block[i] + ahead, 2 * block_bytes);
            load(block[i], block[i] + step, &p[i]);
            dot[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), p[i].code, a);
        }
        __m256 d = halves ? halves_of_rows(block, step, 0) : scales_of_rows(p), m = d;
        if (has_min) m = halves_of_rows(block, step, 2);
        __m512i lanes = sum_in_lanes(dot[0], dot[1], dot[2], dot[3]);
        lanes = _mm512_add_epi32(lanes, _mm512_shuffle_i32x4(lanes, lanes, 0xb1));
        acc = add_block_32(acc, _mm512_castsi512_si128(lanes), _mm256_castps256_ps128(d),
                           _mm256_castps256_ps128(m), b, bias, has_min, r);
        if (n > 1)
            acc =
                add_block_32(acc, _mm512_extracti32x4_epi32(lanes, 2), _mm256_extractf128_ps(d, 1),
                             _mm256_extractf128_ps(m, 1), b + 1, bias, has_min, r);
    }
    return acc;
}

/* ---- Formats --------------------------------------------------------------------------------- */

/* How a strip applies the sub-scales of a format. */
enum scaling {
    NONE,     // blocks of 32: there are none
    FOLDED,   // into the codes: q * scale fits a byte
    EACH_16,  // to each group of 16, in int32
    EACH_32,  // to each group of 32, as the format has it
    SHORT_16, // to each group of 16, whose dot product fits int16
};

struct format {
    uint32_t id;
    enum scaling scaling;
    int bias;
    __m128 (*direct)(const struct direct *r);
    load_chunk_fn *load;
    load_pair_fn *load_pair; // of blocks of 32, in place of load
};

/* A row of the table below needs a loader as a function and a product specialised for it. */
#define FORMAT_256(name, bias_shift, has_min)                                                      \
    static __m128 direct_##name(const struct direct *r) {                                          \
        return direct_256(load_##name, sizeof(struct block_##name), bias_shift, has_min, r);       \
    }
#define FORMAT_32(name, bias, has_min, halves)                                                     \
    static __m128 direct_##name(const struct direct *r) {                                          \
        return direct_32(load_##name, sizeof(struct block_##name), bias, has_min, halves, r);      \
    }

FORMAT_32(q5_0, 16, false, true)
FORMAT_32(q5_1, 0, true, true)
FORMAT_32(q8_0, 128, false, true)
FORMAT_32(mxfp4, 16, false, false)
FORMAT_256(q6_k, 5, false)
FORMAT_256(iq3_s, 6, false)
FORMAT_256(iq3_xxs, 6, false)
FORMAT_256(iq2_s, 6, false)
FORMAT_256(iq2_xs, 6, false)
FORMAT_256(iq2_xxs, 6, false)
FORMAT_256(iq1_s, 6, false)
FORMAT_256(iq1_m, 6, false)
FORMAT_256(tq1_0, 0, false)
FORMAT_256(tq2_0, 0, false)

static const struct format formats[] = {
    {QUANT_Q4_0, NONE, 8, direct_q4_0, NULL, load_q4_0},
    {QUANT_Q4_1, NONE, 0, direct_q4_1, NULL, load_q4_1},
    {QUANT_Q5_0, NONE, 16, direct_q5_0, NULL, load_q5_0},
    {QUANT_Q5_1, NONE, 0, direct_q5_1, NULL, load_q5_1},
    {QUANT_Q8_0, NONE, 128, direct_q8_0, NULL, load_q8_0},
    {QUANT_IQ4_NL, NONE, 128, direct_iq4_nl, NULL, load_iq4_nl},
    {QUANT_MXFP4, NONE, 16, direct_mxfp4, NULL, load_mxfp4},
    {QUANT_Q2_K, FOLDED, 0, direct_q2_k, load_q2_k, NULL},
    {QUANT_Q3_K, FOLDED, 4, direct_q3_k, load_q3_k, NULL},
    {QUANT_Q4_K, SHORT_16, 0, direct_q4_k, load_q4_k, NULL},
    {QUANT_Q5_K, EACH_32, 0, direct_q5_k, load_q5_k, NULL},
    {QUANT_Q6_K, EACH_16, 32, direct_q6_k, load_q6_k, NULL},
    {QUANT_IQ4_XS, EACH_32, 128, direct_iq4_xs, load_iq4_xs, NULL},
    {QUANT_IQ3_S, EACH_32, LATTICE_BIAS, direct_iq3_s, load_iq3_s, NULL},
    {QUANT_IQ3_XXS, EACH_32, LATTICE_BIAS, direct_iq3_xxs, load_iq3_xxs, NULL},
    {QUANT_IQ2_S, EACH_16, LATTICE_BIAS, direct_iq2_s, load_iq2_s, NULL},
    {QUANT_IQ2_XS, EACH_16, LATTICE_BIAS, direct_iq2_xs, load_iq2_xs, NULL},
    {QUANT_IQ2_XXS, EACH_32, LATTICE_BIAS, direct_iq2_xxs, load_iq2_xxs, NULL},
    {QUANT_IQ1_S, EACH_32, LATTICE_BIAS, direct_iq1_s, load_iq1_s, NULL},
    {QUANT_IQ1_M, EACH_16, LATTICE_BIAS, direct_iq1_m, load_iq1_m, NULL},
    {QUANT_TQ1_0, FOLDED, 1, direct_tq1_0, load_tq1_0, NULL},
    {QUANT_TQ2_0, FOLDED, 1, direct_tq2_0, load_tq2_0, NULL},
};

static const struct format *find_format(uint32_t id) {
    const struct format *f = formats;
    while (f->id != id) f++; // the caller has the id from the registry, whose types are all here
    return f;
}

/* ---- Strips: 16 rows, a lane for each -------------------------------------------------------- */

/* Codes lie as [element / 4][row][element % 4]: a register holds 4 elements of every row. */
struct strip_256 {
    uint8_t code[64][ZMM_BYTES];
    int32_t scale[16][STRIP];
    int16_t pair[8][STRIP][2]; // for two groups of 16: mins, or what undoes the bias
    float d[STRIP], dmin[STRIP];
};

struct strip_32 {
    uint8_t code[8][ZMM_BYTES];
    float d[STRIP], dmin[STRIP];
};

_Static_assert(sizeof(struct strip_256) <= 256 * 64 && sizeof(struct strip_32) <= 32 * 64,
               "matmul_scratch_bytes");

/* 4 words of each of 16 rows, STRIDE bytes apart, to 4 registers with a lane for each row. */
INLINE void transpose(const void *src, size_t stride, void *dst) {
    const char *p = src;
    __m512i v[4], t[4];
    for (size_t i = 0; i < 4; i++) {
        v[i] = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(p + i * stride)));
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const void *)(p + (i + 4) * stride)), 1);
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const void *)(p + (i + 8) * stride)), 2);
        v[i] = _mm512_inserti32x4(v[i], _mm_loadu_si128((const void *)(p + (i + 12) * stride)), 3);
    }
    t[0] = _mm512_unpacklo_epi32(v[0], v[1]);
    t[1] = _mm512_unpackhi_epi32(v[0], v[1]);
    t[2] = _mm512_unpacklo_epi32(v[2], v[3]);
    t[3] = _mm512_unpackhi_epi32(v[2], v[3]);
    char *out = dst;
    _mm512_storeu_si512(out, _mm512_unpacklo_epi64(t[0], t[2]));
    _mm512_storeu_si512(out + ZMM_BYTES, _mm512_unpackhi_epi64(t[0], t[2]));
    _mm512_storeu_si512(out + 2 * ZMM_BYTES, _mm512_unpacklo_epi64(t[1], t[3]));
    _mm512_storeu_si512(out + 3 * ZMM_BYTES, _mm512_unpackhi_epi64(t[1], t[3]));
}

/* q * scale as it is for bias 0; else 128 - q * scale, which -4 * -32 does not overflow. */
INLINE __m512i fold_scale(__m512i code, __m512i scale, int bias) {
    __m512i even = _mm512_and_si512(code, _mm512_set1_epi16(0xff)),
            odd = _mm512_srli_epi16(code, 8);
    if (bias) {
        even = _mm512_sub_epi16(_mm512_set1_epi16((short)bias), even);
        odd = _mm512_sub_epi16(_mm512_set1_epi16((short)bias), odd);
    }
    __m512i start = _mm512_set1_epi16(bias ? 128 : 0);
    even = _mm512_add_epi16(start, _mm512_mullo_epi16(even, scale));
    odd = _mm512_add_epi16(start, _mm512_mullo_epi16(odd, scale));
    return _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
}

static void fold_scales(struct chunk *c, int bias) {
    for (int j = 0; j < 4; j++) c->code[j] = fold_scale(c->code[j], pair_scales(c, j), bias);
}

/* Rows past n_rows repeat the last one; nobody looks at what comes of them. */
INLINE const uint8_t *row_or_last(const uint8_t *w, size_t row, size_t n_rows, size_t row_bytes) {
    return w + (row < n_rows ? row : n_rows - 1) * row_bytes;
}

static void build_strip_256(const struct format *f, const struct quant_type *type, const uint8_t *w,
                            size_t n_rows, size_t k, struct strip_256 *out) {
    size_t row_bytes = quant_row_bytes(type, k);
    const __m256i minus_bias = _mm256_set1_epi16((short)-f->bias);
    __m512i code[STRIP][4], scale[STRIP];
    __m256i pair[STRIP];
    for (size_t b = 0; b < k / 256; b++, out++) {
        for (size_t r = 0; r < STRIP; r++) {
            struct chunk c;
            f->load(row_or_last(w, r, n_rows, row_bytes) + b * type->block_bytes, &c);
            if (f->scaling == FOLDED) fold_scales(&c, f->bias);
            for (int j = 0; j < 4; j++) code[r][j] = c.code[j];
            scale[r] = _mm512_cvtepi16_epi32(c.scale);
            pair[r] = type->has_min ? c.min : _mm256_mullo_epi16(c.scale, minus_bias);
            out->d[r] = c.d;
            if (type->has_min) out->dmin[r] = c.dmin;
        }
        for (size_t i = 0; i < 64; i += 4)
            transpose((const char *)code + 4 * i, sizeof code[0], out->code[i]);
        for (size_t i = 0; i < 16; i += 4)
            transpose((const char *)scale + 4 * i, sizeof scale[0], out->scale[i]);
        for (size_t i = 0; i < 8; i += 4)
            transpose((const char *)pair + 4 * i, sizeof pair[0], out->pair[i]);
    }
}

static void build_strip_32(const struct format *f, const struct quant_type *type, const uint8_t *w,
                           size_t n_rows, size_t k, struct strip_32 *out) {
    size_t row_bytes = quant_row_bytes(type, k), n_blocks = k / 32;
    __m512i code[STRIP];
    for (size_t b = 0; b < n_blocks; b += 2, out += 2) {
        size_t n = n_blocks - b > 1 ? 2 : 1;
        for (size_t r = 0; r < STRIP; r++) {
            struct pair p;
            const uint8_t *block = row_or_last(w, r, n_rows, row_bytes) + b * type->block_bytes;
            f->load_pair(block, block + (n - 1) * type->block_bytes, &p);
            code[r] = p.code;
            for (size_t half = 0; half < n; half++) {
                out[half].d[r] = p.d[half];
                if (type->has_min) out[half].dmin[r] = p.dmin[half];
            }
        }
        for (size_t half = 0; half < n; half++)
            for (size_t i = 0; i < 8; i += 4)
                transpose((const char *)code + 32 * half + 4 * i, sizeof code[0],
                          out[half].code[i]);
    }
}

/* ---- Tiles: a strip and up to MAX_TILE tokens ------------------------------------------------ */

enum { MAX_TILE = 6 };

/* Four bytes or two int16, to all lanes. */
INLINE __m512i broadcast_word(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

/* Dot products of N_WORDS * 4 elements of 16 rows with N tokens, STRIDE bytes apart. */
INLINE void dot_words(const uint8_t (*code)[ZMM_BYTES], size_t n_words, const int8_t *q,
                      size_t stride, size_t n, __m512i *dot) {
    for (size_t i = 0; i < n_words; i++) {
        __m512i w = _mm512_loadu_si512(code[i]);
        UNROLL
        for (size_t t = 0; t < n; t++)
            dot[t] = _mm512_dpbusd_epi32(dot[t], w, broadcast_word(q + t * stride + 4 * i));
    }
}

INLINE void clear(__m512i *v, size_t n) {
    UNROLL
    for (size_t t = 0; t < n; t++) v[t] = _mm512_setzero_si512();
}

/* Adds scale * dot of one block to ISUM. */
INLINE void dot_scaled(const struct strip_256 *s, enum scaling scaling, const int8_t *q,
                       size_t stride, size_t n, __m512i *isum) {
    if (scaling == FOLDED) {
        dot_words(s->code, 64, q, stride, n, isum);
        return;
    }
    size_t n_words = scaling == EACH_32 ? 8 : 4;
    for (size_t i = 0; i < 64; i += n_words) {
        __m512i dot[MAX_TILE], scale = _mm512_loadu_si512(s->scale[i / 4]);
        clear(dot, n);
        dot_words(s->code + i, n_words, q + 4 * i, stride, n, dot);
        UNROLL
        for (size_t t = 0; t < n; t++)
            // SHORT_16: the upper int16 of a scale is 0, so that of the dot product drops out.
            isum[t] = scaling == SHORT_16
                          ? _mm512_dpwssd_epi32(isum[t], dot[t], scale)
                          : _mm512_add_epi32(isum[t], _mm512_mullo_epi32(dot[t], scale));
    }
}

INLINE void add_pairs(const struct strip_256 *s, const int16_t *bsum, size_t stride, size_t n,
                      __m512i *sum) {
    for (size_t i = 0; i < 8; i++) {
        __m512i pair = _mm512_loadu_si512(s->pair[i]);
        UNROLL
        for (size_t t = 0; t < n; t++)
            sum[t] = _mm512_dpwssd_epi32(sum[t], pair, broadcast_word(bsum + t * stride + 2 * i));
    }
}

INLINE void tile_256(const struct strip_256 *s, const struct act *a, size_t first, size_t n,
                     enum scaling scaling, bool has_min, __m512 *acc) {
    size_t n_blocks = a->k / 256, bsum_stride = a->k / QUANT_GROUP;
    const int8_t *q = a->q + first * a->k;
    const int16_t *bsum = a->bsum + first * bsum_stride;
    const float *da = a->d + first * n_blocks;
    const __m512i all_128 = _mm512_set1_epi16(128);
    for (size_t b = 0; b < n_blocks; b++, s++, q += 256, bsum += 16, da++) {
        __m512i isum[MAX_TILE], msum[MAX_TILE];
        clear(isum, n);
        clear(msum, n);
        if (has_min) add_pairs(s, bsum, bsum_stride, n, msum);
        if (!has_min && scaling != FOLDED) add_pairs(s, bsum, bsum_stride, n, isum);
        dot_scaled(s, scaling, q, a->k, n, isum);
        if (!has_min && scaling == FOLDED) UNROLL
        for (size_t t = 0; t < n; t++) {
            __m256i groups = _mm256_loadu_si256((const void *)(bsum + t * bsum_stride));
            __m256i sums = _mm256_madd_epi16(groups, _mm512_castsi512_si256(all_128));
            int32_t total = _mm512_reduce_add_epi32(_mm512_zextsi256_si512(sums));
            isum[t] = _mm512_sub_epi32(_mm512_set1_epi32(total), isum[t]);
        }
        __m512 d = _mm512_loadu_ps(s->d), dmin = d;
        if (has_min) dmin = _mm512_loadu_ps(s->dmin);
        UNROLL
        for (size_t t = 0; t < n; t++) {
            __m512 scale = _mm512_set1_ps(da[t * n_blocks]);
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[t]), _mm512_mul_ps(d, scale), acc[t]);
            if (has_min)
                acc[t] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(msum[t]), _mm512_mul_ps(dmin, scale),
                                          acc[t]);
        }
    }
}

INLINE void tile_32(const struct strip_32 *s, const struct act *a, size_t first, size_t n, int bias,
                    bool has_min, __m512 *acc) {
    size_t n_blocks = a->k / 32, bsum_stride = a->k / QUANT_GROUP;
    const int8_t *q = a->q + first * a->k;
    const int16_t *bsum = a->bsum + first * bsum_stride;
    const float *da = a->d + first * n_blocks;
    const __m512i factor = _mm512_set1_epi16((short)(has_min ? 1 : -bias));
    for (size_t b = 0; b < n_blocks; b++, s++, q += 32, bsum += 2, da++) {
        __m512i isum[MAX_TILE], asum[MAX_TILE];
        UNROLL
        for (size_t t = 0; t < n; t++) {
            asum[t] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), factor,
                                          broadcast_word(bsum + t * bsum_stride));
            isum[t] = has_min ? _mm512_setzero_si512() : asum[t];
        }
        dot_words(s->code, 8, q, a->k, n, isum);
        __m512 d = _mm512_loadu_ps(s->d), dmin = d;
        if (has_min) dmin = _mm512_loadu_ps(s->dmin);
        UNROLL
        for (size_t t = 0; t < n; t++) {
            __m512 scale = _mm512_set1_ps(da[t * n_blocks]);
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[t]), _mm512_mul_ps(d, scale), acc[t]);
            if (has_min)
                acc[t] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(asum[t]), _mm512_mul_ps(dmin, scale),
                                          acc[t]);
        }
    }
}

struct output {
    float *y; // of the strip's first row and the first token
    size_t ldy, n_rows;
};

/* N tokens; a constant, as are SCALING and HAS_MIN, wherever this is inlined. */
INLINE void run_tile(const void *strip, const struct act *a, size_t first, size_t n,
                     enum scaling scaling, int bias, bool has_min, const struct output *out) {
    __m512 acc[MAX_TILE];
    UNROLL
    for (size_t t = 0; t < n; t++) acc[t] = _mm512_setzero_ps();
    if (scaling == NONE)
        tile_32(strip, a, first, n, bias, has_min, acc);
    else
        tile_256(strip, a, first, n, scaling, has_min, acc);
    UNROLL
    for (size_t t = 0; t < n; t++)
        _mm512_mask_storeu_ps(out->y + (first + t) * out->ldy, first_lanes(out->n_rows), acc[t]);
}

INLINE void run_tiles(const void *strip, const struct act *a, enum scaling scaling, int bias,
                      bool has_min, const struct output *out) {
    size_t t = 0;
    for (; t + 6 <= a->n; t += 6) run_tile(strip, a, t, 6, scaling, bias, has_min, out);
    for (; t + 3 <= a->n; t += 3) run_tile(strip, a, t, 3, scaling, bias, has_min, out);
    for (; t < a->n; t++) run_tile(strip, a, t, 1, scaling, bias, has_min, out);
}

static void run_strip(const struct format *f, bool has_min, const void *strip, const struct act *a,
                      const struct output *out) {
    if (has_min) switch (f->scaling) {
        case NONE: run_tiles(strip, a, NONE, 0, true, out); break;
        case FOLDED: run_tiles(strip, a, FOLDED, 0, true, out); break;
        case SHORT_16: run_tiles(strip, a, SHORT_16, 0, true, out); break;
        default: run_tiles(strip, a, EACH_32, 0, true, out);
        }
    else
        switch (f->scaling) {
        case NONE: run_tiles(strip, a, NONE, f->bias, false, out); break;
        case FOLDED: run_tiles(strip, a, FOLDED, 0, false, out); break;
        case EACH_32: run_tiles(strip, a, EACH_32, 0, false, out); break;
        default: run_tiles(strip, a, EACH_16, 0, false, out);
        }
}

/* ---- Quantised products ---------------------------------------------------------------------- */

static void matmul_direct(const struct format *f, const uint8_t *w, size_t row_bytes, size_t n_rows,
                          const struct act *a, float *y, size_t ldy) {
    size_t n_blocks = a->k / a->block;
    for (size_t r = 0; r < n_rows; r += ROWS) {
        struct direct d = {.n_blocks = n_blocks, .row_bytes = row_bytes};
        for (size_t i = 0; i < ROWS; i++) d.row[i] = row_or_last(w, r + i, n_rows, row_bytes);
        for (size_t t = 0; t < a->n; t++) {
            d.q = a->q + t * a->k;
            d.d = a->d + t * n_blocks;
            d.bsum = a->bsum + t * (a->k / QUANT_GROUP);
            __mmask8 m = (__mmask8)first_lanes(n_rows - r < ROWS ? n_rows - r : ROWS);
            _mm_mask_storeu_ps(y + t * ldy + r, m, f->direct(&d));
        }
    }
}

static void matmul(const struct quant_type *type, const void *w, size_t n_rows, const struct act *a,
                   float *y, size_t ldy, void *scratch) {
    const struct format *f = find_format(type->id);
    size_t row_bytes = quant_row_bytes(type, a->k);
    if (a->n <= MAX_DIRECT) {
        matmul_direct(f, w, row_bytes, n_rows, a, y, ldy);
        return;
    }
    for (size_t r = 0; r < n_rows; r += STRIP) {
        const uint8_t *rows = (const uint8_t *)w + r * row_bytes;
        struct output out = {y + r, ldy, n_rows - r < STRIP ? n_rows - r : STRIP};
        if (f->scaling == NONE)
            build_strip_32(f, type, rows, out.n_rows, a->k, scratch);
        else
            build_strip_256(f, type, rows, out.n_rows, a->k, scratch);
        run_strip(f, type->has_min, scratch, a, &out);
    }
}

#endif
