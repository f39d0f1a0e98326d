/* Quantised products for AVX-512 with VNNI; part of avx512.c, apart for its size. The same bits as
 * scalar.c: integer sums may be grouped at will, as they are exact, and float operations keep the
 * order given in kernels.h.
 *
 * There are two ways. A few tokens meet each row straight from the file's blocks (avx512_direct.h),
 * which keeps up with memory. For more, strips of 16 rows are unpacked once into
 * scratch so that a lane is a row, and all tokens pass over them in tiles: there are no horizontal
 * sums, and every loaded weight serves several tokens. */
#ifndef OCTET_KERNELS_AVX512_MATMUL_H
#define OCTET_KERNELS_AVX512_MATMUL_H

#include "kernels/avx512_strips.h"
#include "kernels/kernels.h"

enum {
    MAX_DIRECT = 3, // most tokens that take the direct way
};

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
    direct_fn *direct;
    load_chunk_fn *load;
    load_pair_fn *load_pair;         // of blocks of 32, in place of load
    const struct quad_format *quads; // what direct works with, or NULL
    build_fn *build;                 // strips in columns; NULL: through load
};

/* The table below needs each format's direct way as a function specialised for it. */
#define DIRECT(name, way, ...)                                                                     \
    static void direct_##name(const uint8_t *row, size_t n_blocks, const struct token *t,          \
                              const struct sums *out) {                                            \
        way(__VA_ARGS__, row, n_blocks, t, out);                                                   \
    }
#define DIRECT_CHUNKS(name, bias_shift)                                                            \
    DIRECT(name, direct_chunks, load_##name, sizeof(struct block_##name), bias_shift)

DIRECT(q4_0, direct_halves, &blocks_q4_0)
DIRECT(q4_1, direct_halves, &blocks_q4_1)
DIRECT(q5_0, direct_halves, &blocks_q5_0)
DIRECT(q5_1, direct_halves, &blocks_q5_1)
DIRECT(q8_0, direct_halves, &blocks_q8_0)
DIRECT(iq4_nl, direct_halves, &blocks_iq4_nl)
DIRECT(mxfp4, direct_halves, &blocks_mxfp4)
DIRECT(q2_k, direct_quads, &quads_q2_k)
DIRECT(q3_k, direct_quads, &quads_q3_k)
DIRECT(q4_k, direct_quads, &quads_q4_k)
DIRECT(q5_k, direct_quads, &quads_q5_k)
DIRECT(q6_k, direct_quads, &quads_q6_k)
DIRECT_CHUNKS(iq3_s, 6)
DIRECT_CHUNKS(iq3_xxs, 6)
DIRECT_CHUNKS(iq2_s, 6)
DIRECT_CHUNKS(iq2_xs, 6)
DIRECT_CHUNKS(iq2_xxs, 6)
DIRECT_CHUNKS(iq1_s, 6)
DIRECT_CHUNKS(iq1_m, 6)
DIRECT_CHUNKS(tq1_0, 0)
DIRECT_CHUNKS(tq2_0, 0)

static const struct format formats[] = {
    {QUANT_Q4_0, NONE, 8, direct_q4_0, NULL, load_q4_0, NULL, NULL},
    {QUANT_Q4_1, NONE, 0, direct_q4_1, NULL, load_q4_1, NULL, NULL},
    {QUANT_Q5_0, NONE, 16, direct_q5_0, NULL, load_q5_0, NULL, NULL},
    {QUANT_Q5_1, NONE, 0, direct_q5_1, NULL, load_q5_1, NULL, NULL},
    {QUANT_Q8_0, NONE, 128, direct_q8_0, NULL, load_q8_0, NULL, NULL},
    {QUANT_IQ4_NL, NONE, 128, direct_iq4_nl, NULL, load_iq4_nl, NULL, NULL},
    {QUANT_MXFP4, NONE, 16, direct_mxfp4, NULL, load_mxfp4, NULL, NULL},
    {QUANT_Q2_K, FOLDED, 0, direct_q2_k, load_q2_k, NULL, &quads_q2_k, build_q2_k},
    {QUANT_Q3_K, FOLDED, 4, direct_q3_k, load_q3_k, NULL, &quads_q3_k, build_q3_k},
    {QUANT_Q4_K, SHORT_16, 0, direct_q4_k, load_q4_k, NULL, &quads_q4_k, build_q4_k},
    {QUANT_Q5_K, EACH_32, 0, direct_q5_k, load_q5_k, NULL, &quads_q5_k, build_q5_k},
    {QUANT_Q6_K, EACH_16, 32, direct_q6_k, load_q6_k, NULL, &quads_q6_k, build_q6_k},
    {QUANT_IQ4_XS, EACH_32, 128, direct_iq4_xs, load_iq4_xs, NULL, NULL, build_iq4_xs},
    {QUANT_IQ3_S, EACH_32, LATTICE_BIAS, direct_iq3_s, load_iq3_s, NULL, NULL, NULL},
    {QUANT_IQ3_XXS, EACH_32, LATTICE_BIAS, direct_iq3_xxs, load_iq3_xxs, NULL, NULL, NULL},
    {QUANT_IQ2_S, EACH_16, LATTICE_BIAS, direct_iq2_s, load_iq2_s, NULL, NULL, NULL},
    {QUANT_IQ2_XS, EACH_16, LATTICE_BIAS, direct_iq2_xs, load_iq2_xs, NULL, NULL, NULL},
    {QUANT_IQ2_XXS, EACH_32, LATTICE_BIAS, direct_iq2_xxs, load_iq2_xxs, NULL, NULL, NULL},
    {QUANT_IQ1_S, EACH_32, LATTICE_BIAS, direct_iq1_s, load_iq1_s, NULL, NULL, NULL},
    {QUANT_IQ1_M, EACH_16, LATTICE_BIAS, direct_iq1_m, load_iq1_m, NULL, NULL, NULL},
    {QUANT_TQ1_0, FOLDED, 1, direct_tq1_0, load_tq1_0, NULL, NULL, NULL},
    {QUANT_TQ2_0, FOLDED, 1, direct_tq2_0, load_tq2_0, NULL, NULL, NULL},
};

static const struct format *find_format(uint32_t id) {
    const struct format *f = formats;
    while (f->id != id) f++; // the caller has the id from the registry, whose types are all here
    return f;
}

/* ---- Strips ------------------------------------------------------------------------------------
 */

static void build_strip_256(const struct format *f, const struct quant_type *type, const uint8_t *w,
                            size_t n_rows, size_t k, struct strip_256 *out) {
    size_t row_bytes = quant_row_bytes(type, k);
    const __m256i minus_bias = _mm256_set1_epi16((short)-f->bias);
    __m512i code[STRIP][4], scale[STRIP];
    __m256i pair[STRIP];
    for (size_t b = 0; b < k / 256; b++, out++) {
        for (size_t r = 0; r < STRIP; r++) {
            struct chunk c;
            const uint8_t *block = row_or_last(w, r, n_rows, row_bytes) + b * type->block_bytes;
            prefetch_from(block + STRIP * row_bytes, type->block_bytes); // the next strip
            f->load(block, &c);
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

/* The same for formats that are unpacked in columns. */
static void build_columns(const struct format *f, const struct quant_type *type, const uint8_t *w,
                          size_t n_rows, size_t k, struct strip_256 *out) {
    size_t row_bytes = quant_row_bytes(type, k);
    for (size_t b = 0; b < k / 256; b++, out++) {
        const uint8_t *block[STRIP];
        for (size_t r = 0; r < STRIP; r++) {
            block[r] = row_or_last(w, r, n_rows, row_bytes) + b * type->block_bytes;
            prefetch_from(block[r] + STRIP * row_bytes, type->block_bytes); // the next strip
        }
        f->build(block, out);
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
            prefetch_from(block + STRIP * row_bytes, 2 * type->block_bytes); // the next strip
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

enum { MAX_TILE = 8 };

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
    for (; t + 8 <= a->n; t += 8) run_tile(strip, a, t, 8, scaling, bias, has_min, out);
    for (; t + 4 <= a->n; t += 4) run_tile(strip, a, t, 4, scaling, bias, has_min, out);
    for (; t + 2 <= a->n; t += 2) run_tile(strip, a, t, 2, scaling, bias, has_min, out);
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

/* Hands out aligned pieces of scratch. */
static void *take(uint8_t **scratch, size_t n_bytes) {
    void *p = *scratch;
    *scratch += (n_bytes + ZMM_BYTES - 1) / ZMM_BYTES * ZMM_BYTES;
    return p;
}

static struct token prepare_token(const struct format *f, const struct act *a, size_t i,
                                  uint8_t **scratch) {
    size_t k = a->k, n_blocks = k / a->block, padded = (k + 1023) / 1024 * 1024;
    const int8_t *q = a->q + i * k;
    const int16_t *bsum = a->bsum + i * (k / QUANT_GROUP);
    struct token t = {.q = q, .bsum = bsum, .d = a->d + i * n_blocks};
    if (f->quads) {
        int8_t *ordered = take(scratch, padded);
        int16_t *sums = take(scratch, padded / QUANT_GROUP * sizeof *sums);
        prepare_q(q, k, f->quads->order, ordered);
        prepare_bsum(bsum, n_blocks, f->quads->group == 32, sums);
        t.q = ordered;
        t.bsum = sums;
    } else if (f->load_pair || f->id == QUANT_IQ4_XS) {
        int8_t *halves = take(scratch, padded);
        int32_t *start = take(scratch, padded / 128 * ZMM_BYTES);
        float *asum = take(scratch, padded / 32 * sizeof *asum);
        prepare_halves(q, bsum, k, f->bias, halves, start, asum);
        t.q = halves;
        t.start = (const __m512i *)(const void *)start;
        t.asum = asum;
    }
    return t;
}

static void matmul_direct(const struct format *f, bool has_min, const uint8_t *w, size_t row_bytes,
                          size_t n_rows, const struct act *a, float *y, size_t ldy,
                          uint8_t *scratch) {
    size_t n_blocks = a->k / a->block, stride = (n_blocks + 15) / 16 * 16;
    struct token tokens[MAX_DIRECT];
    prefetch_from(w, PREFETCH);
    for (size_t t = 0; t < a->n; t++) tokens[t] = prepare_token(f, a, t, &scratch);
    struct sums sums;
    float **const parts[4] = {&sums.dot, &sums.d, &sums.extra, &sums.m};
    for (size_t i = 0; i < 4; i++) *parts[i] = take(&scratch, GROUP * stride * sizeof(float));
    for (size_t r = 0; r < n_rows; r += GROUP) {
        size_t n = n_rows - r < GROUP ? n_rows - r : GROUP;
        for (size_t t = 0; t < a->n; t++) {
            for (size_t i = 0; i < n; i++) {
                struct sums of_row = {sums.dot + i * stride, sums.d + i * stride,
                                      sums.extra + i * stride, sums.m + i * stride};
                f->direct(w + (r + i) * row_bytes, n_blocks, &tokens[t], &of_row);
            }
            const uint8_t *next = w + (r + n) * row_bytes;
            _mm512_mask_storeu_ps(y + t * ldy + r, first_lanes(n),
                                  sum_up(&sums, stride, n_blocks, has_min, next));
        }
    }
}

static void matmul(const struct quant_type *type, const void *w, size_t n_rows, const struct act *a,
                   float *y, size_t ldy, void *scratch) {
    const struct format *f = find_format(type->id);
    size_t row_bytes = quant_row_bytes(type, a->k);
    if (a->n <= MAX_DIRECT) {
        matmul_direct(f, type->has_min, w, row_bytes, n_rows, a, y, ldy, scratch);
        return;
    }
    for (size_t r = 0; r < n_rows; r += STRIP) {
        const uint8_t *rows = (const uint8_t *)w + r * row_bytes;
        struct output out = {y + r, ldy, n_rows - r < STRIP ? n_rows - r : STRIP};
        if (f->scaling == NONE)
            build_strip_32(f, type, rows, out.n_rows, a->k, scratch);
        else if (f->build)
            build_columns(f, type, rows, out.n_rows, a->k, scratch);
        else
            build_strip_256(f, type, rows, out.n_rows, a->k, scratch);
        run_strip(f, type->has_min, scratch, a, &out);
    }
}

#endif
