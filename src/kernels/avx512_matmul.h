/* Quantised products for AVX-512 with VNNI; part of avx512.c, apart for its size. The same bits as
 * scalar.c: integer sums may be grouped at will, as they are exact, and float operations keep the
 * order given in kernels.h.
 *
 * There are four ways. One token meets each row straight from the file's blocks (avx512_direct.h),
 * which keeps up with memory. A few meet four rows at a time in the same manner (avx512_few.h),
 * some more eight by eight (avx512_eight.h). For batches, strips of 16 rows are unpacked once into
 * scratch so that a lane is a row, and all tokens pass over them in tiles: there are no horizontal
 * sums, and every loaded weight serves several tokens. */
#ifndef OCTET_KERNELS_AVX512_MATMUL_H
#define OCTET_KERNELS_AVX512_MATMUL_H

#include "kernels/avx512_eight.h"
#include "kernels/avx512_strips.h"
#include "kernels/avx512_sums.h"
#include "kernels/kernels.h"

enum {
    MAX_DIRECT = 3, // most tokens that take the direct way one by one
    MAX_EIGHTS = 4, // most times 8 tokens that meet a block before the next is unpacked
};

/* ---- Formats --------------------------------------------------------------------------------- */

/* How a strip applies the sub-scales of a format. */
enum scaling {
    NONE,    // blocks of 32: there are none
    FOLDED,  // into the codes: q * scale fits a byte
    EACH_16, // to each group of 16, in int32
    EACH_32, // to each group of 32, where two of 16 always have the same
};

struct format {
    uint32_t id;
    enum scaling scaling;
    int bias;
    direct_fn *direct;
    eight_fn *eight;
    few_fn *few; // NULL: as direct, one by one
    load_chunk_fn *load;
    load_pair_fn *load_pair;         // of blocks of 32, in place of load
    const struct quad_format *quads; // what direct, if there are no fours, and few work with
    const struct four_format *fours; // what direct works with, or NULL
    const struct halves_format *halves;
    build_fn *build; // strips in columns; NULL: through load
};

/* The table below needs each format's direct ways as functions specialised for it. */
#define DIRECT(name, way, ...)                                                                     \
    static void direct_##name(const uint8_t *row, size_t n_blocks, const struct token *t,          \
                              const struct sums *out) {                                            \
        const struct token token = *t; /* copies: what is put down cannot change them */           \
        const struct sums sums = *out;                                                             \
        way(__VA_ARGS__, row, n_blocks, &token, &sums);                                            \
    }
#define FEW_AND_EIGHT(name, few_way, eight_way, format)                                            \
    static __m512 few_##name(const struct few_rows *w, const struct few *t, __m512 acc) {          \
        return t->n > 2 ? few_way(format, w, t, 4, acc) : few_way(format, w, t, 2, acc);           \
    }                                                                                              \
    EIGHT(name, eight_way, format)
#define EIGHT(name, way, ...)                                                                      \
    static void eight_##name(const struct few_rows *w, const struct eight *t, size_t n,            \
                             __m512 acc[][2]) {                                                    \
        way(__VA_ARGS__, w, t, n, acc);                                                            \
    }
#define EIGHT_CHUNKS(name, load, per_scale, bias_shift)                                            \
    static const struct quad_format chunks_##name = {.order = order_plain,                         \
                                                     .block_bytes = sizeof(struct block_##name),   \
                                                     .group = per_scale,                           \
                                                     .shift = bias_shift};                         \
    EIGHT(name, eights_of_256, &chunks_##name, load)
#define DIRECT_QUADS(name)                                                                         \
    DIRECT(name, direct_quads, &quads_##name)                                                      \
    FEW_AND_EIGHT(name, few_quads, eight_quads, &quads_##name)
#define DIRECT_FOURS(name)                                                                         \
    DIRECT(name, direct_fours, &fours_##name)                                                      \
    FEW_AND_EIGHT(name, few_quads, eight_quads, &quads_##name)
#define DIRECT_HALVES(name)                                                                        \
    DIRECT(name, direct_halves, &blocks_##name)                                                    \
    FEW_AND_EIGHT(name, few_halves, eight_halves, &blocks_##name)
#define DIRECT_LATTICE(name, group)                                                                \
    DIRECT(name, direct_lattice, &lattice_##name)                                                  \
    static void load_##name##_signed(const void *block, struct chunk *out) {                       \
        load_signed(&lattice_##name, block, out);                                                  \
    }                                                                                              \
    EIGHT_CHUNKS(name, load_##name##_signed, group, 6)
#define DIRECT_CHUNKS(name, group, bias_shift)                                                     \
    DIRECT(name, direct_chunks, load_##name, sizeof(struct block_##name), bias_shift)              \
    EIGHT_CHUNKS(name, load_##name, group, bias_shift)

DIRECT_HALVES(q4_0)
DIRECT_HALVES(q4_1)
DIRECT_HALVES(q5_0)
DIRECT_HALVES(q5_1)
DIRECT_HALVES(q8_0)
DIRECT_HALVES(iq4_nl)
DIRECT_HALVES(mxfp4)
DIRECT_FOURS(q2_k)
DIRECT_FOURS(q3_k)
DIRECT_QUADS(q4_k)
DIRECT_QUADS(q5_k)
DIRECT_QUADS(q6_k)
DIRECT_LATTICE(iq3_s, 32)
DIRECT_LATTICE(iq3_xxs, 32)
DIRECT_LATTICE(iq2_s, 16)
DIRECT_LATTICE(iq2_xs, 16)
DIRECT_LATTICE(iq2_xxs, 32)
DIRECT_CHUNKS(iq1_s, 32, 6)
DIRECT_CHUNKS(iq1_m, 16, 6)
DIRECT_CHUNKS(tq1_0, 16, 0)
DIRECT_CHUNKS(tq2_0, 16, 0)
EIGHT_CHUNKS(iq4_xs, load_iq4_xs, 32, 7)

static const struct format formats[] = {
    {QUANT_Q4_0, NONE, 8, direct_q4_0, eight_q4_0, .few = few_q4_0, .load_pair = load_q4_0,
     .halves = &blocks_q4_0},
    {QUANT_Q4_1, NONE, 0, direct_q4_1, eight_q4_1, .few = few_q4_1, .load_pair = load_q4_1,
     .halves = &blocks_q4_1},
    {QUANT_Q5_0, NONE, 16, direct_q5_0, eight_q5_0, .few = few_q5_0, .load_pair = load_q5_0,
     .halves = &blocks_q5_0},
    {QUANT_Q5_1, NONE, 0, direct_q5_1, eight_q5_1, .few = few_q5_1, .load_pair = load_q5_1,
     .halves = &blocks_q5_1},
    {QUANT_Q8_0, NONE, 128, direct_q8_0, eight_q8_0, .few = few_q8_0, .load_pair = load_q8_0,
     .halves = &blocks_q8_0},
    {QUANT_IQ4_NL, NONE, 128, direct_iq4_nl, eight_iq4_nl, .few = few_iq4_nl,
     .load_pair = load_iq4_nl, .halves = &blocks_iq4_nl},
    {QUANT_MXFP4, NONE, 16, direct_mxfp4, eight_mxfp4, .few = few_mxfp4, .load_pair = load_mxfp4,
     .halves = &blocks_mxfp4},
    {QUANT_Q2_K, FOLDED, 0, direct_q2_k, eight_q2_k, .few = few_q2_k, .load = load_q2_k,
     .quads = &quads_q2_k, .fours = &fours_q2_k, .build = build_q2_k},
    {QUANT_Q3_K, FOLDED, 4, direct_q3_k, eight_q3_k, .few = few_q3_k, .load = load_q3_k,
     .quads = &quads_q3_k, .fours = &fours_q3_k, .build = build_q3_k},
    {QUANT_Q4_K, EACH_32, 0, direct_q4_k, eight_q4_k, .few = few_q4_k, .load = load_q4_k,
     .quads = &quads_q4_k, .build = build_q4_k},
    {QUANT_Q5_K, EACH_32, 0, direct_q5_k, eight_q5_k, .few = few_q5_k, .load = load_q5_k,
     .quads = &quads_q5_k, .build = build_q5_k},
    {QUANT_Q6_K, EACH_16, 32, direct_q6_k, eight_q6_k, .few = few_q6_k, .load = load_q6_k,
     .quads = &quads_q6_k, .build = build_q6_k},
    {QUANT_IQ4_XS, EACH_32, 128, direct_iq4_xs, eight_iq4_xs, .load = load_iq4_xs,
     .build = build_iq4_xs},
    {QUANT_IQ3_S, EACH_32, LATTICE_BIAS, direct_iq3_s, eight_iq3_s, .load = load_iq3_s_signed},
    {QUANT_IQ3_XXS, EACH_32, LATTICE_BIAS, direct_iq3_xxs, eight_iq3_xxs,
     .load = load_iq3_xxs_signed},
    {QUANT_IQ2_S, EACH_16, LATTICE_BIAS, direct_iq2_s, eight_iq2_s, .load = load_iq2_s_signed},
    {QUANT_IQ2_XS, EACH_16, LATTICE_BIAS, direct_iq2_xs, eight_iq2_xs, .load = load_iq2_xs_signed},
    {QUANT_IQ2_XXS, EACH_32, LATTICE_BIAS, direct_iq2_xxs, eight_iq2_xxs,
     .load = load_iq2_xxs_signed},
    {QUANT_IQ1_S, EACH_32, LATTICE_BIAS, direct_iq1_s, eight_iq1_s, .load = load_iq1_s},
    {QUANT_IQ1_M, EACH_16, LATTICE_BIAS, direct_iq1_m, eight_iq1_m, .load = load_iq1_m},
    {QUANT_TQ1_0, FOLDED, 1, direct_tq1_0, eight_tq1_0, .load = load_tq1_0},
    {QUANT_TQ2_0, FOLDED, 1, direct_tq2_0, eight_tq2_0, .load = load_tq2_0},
};

static const struct format *find_format(uint32_t id) {
    const struct format *f = formats;
    while (f->id != id) f++; // the caller has the id from the registry, whose types are all here
    return f;
}

/* ---- Panels ---------------------------------------------------------------------------------- */

/* A panel is CHUNK elements of up to MAX_STRIPS strips. All tokens pass over one panel before the
 * next is unpacked, as it stays in the first-level cache meanwhile. */
enum {
    MAX_STRIPS = 2,
    CHUNK = 512,
    PANEL_BYTES = MAX_STRIPS * (CHUNK / 256) * sizeof(struct strip_256),
};
_Static_assert(CHUNK / 32 * sizeof(struct strip_32) <= CHUNK / 256 * sizeof(struct strip_256),
               "a panel of blocks of 32 fits");
_Static_assert((size_t)PANEL_BYTES < LEAST_SCRATCH, "matmul_scratch_bytes leaves room for sums");

/* Tokens whose sums fit scratch beside a panel. */
static size_t most_tokens(size_t k) {
    return (matmul_scratch_bytes(k) - PANEL_BYTES) / (MAX_STRIPS * STRIP * sizeof(float));
}

/* What a panel is made of. */
struct panel {
    const struct format *f;
    const struct quant_type *type;
    const uint8_t *w; // the first block of the first row
    size_t row_bytes, n_rows, n_blocks;
    size_t ahead; // from a block to what is needed a panel later
};

/* The first rows of strip I of a panel, and how many there are. */
static const uint8_t *strip_rows(const struct panel *p, size_t i, size_t *n_rows) {
    size_t left = p->n_rows - i * STRIP;
    *n_rows = left < STRIP ? left : STRIP;
    return p->w + i * STRIP * p->row_bytes;
}

/* Of the next panel; it may have to wait for longer than a first-level cache keeps things. */
INLINE void prefetch_ahead(const uint8_t *p, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += ZMM_BYTES)
        _mm_prefetch((const void *)(p + i), _MM_HINT_T0);
}

static void build_rows(const struct panel *p, const uint8_t *const block[STRIP],
                       struct strip_256 *out) {
    const bool of_32 = p->f->scaling == EACH_32, has_min = p->type->has_min;
    __m512i code[STRIP][4], scale[STRIP];
    __m256i min[STRIP];
    for (size_t r = 0; r < STRIP; r++) {
        struct chunk c;
        p->f->load(block[r], &c);
        if (p->f->scaling == FOLDED) fold_scales(&c, p->f->bias);
        for (int j = 0; j < 4; j++) code[r][j] = c.code[j];
        if (of_32) c.scale = _mm256_castsi128_si256(_mm256_cvtepi32_epi16(c.scale));
        scale[r] = _mm512_cvtepi16_epi32(c.scale);
        out->d[r] = c.d;
        if (!has_min) continue;
        min[r] = of_32 ? _mm256_castsi128_si256(_mm256_cvtepi32_epi16(c.min)) : c.min;
        out->dmin[r] = c.dmin;
    }
    for (size_t i = 0; i < 64; i += 4)
        transpose((const char *)code + 4 * i, sizeof code[0], out->code[i]);
    for (size_t i = 0; i < (of_32 ? 8 : 16); i += 4)
        transpose((const char *)scale + 4 * i, sizeof scale[0], out->scale[i]);
    for (size_t i = 0; has_min && i < (of_32 ? 4 : 8); i += 4)
        transpose((const char *)min + 4 * i, sizeof min[0], out->min[i]);
}

static void build_strip_256(const struct panel *p, size_t i_strip, struct strip_256 *out) {
    size_t n_rows, block_bytes = p->type->block_bytes;
    const uint8_t *w = strip_rows(p, i_strip, &n_rows);
    for (size_t b = 0; b < p->n_blocks; b++, out++) {
        const uint8_t *block[STRIP];
        for (size_t r = 0; r < STRIP; r++) {
            block[r] = row_or_last(w, r, n_rows, p->row_bytes) + b * block_bytes;
            prefetch_ahead(block[r] + p->ahead, block_bytes);
        }
        if (p->f->build)
            p->f->build(block, out);
        else
            build_rows(p, block, out);
    }
}

static void build_strip_32(const struct panel *p, size_t i_strip, struct strip_32 *out) {
    size_t n_rows, block_bytes = p->type->block_bytes;
    const uint8_t *w = strip_rows(p, i_strip, &n_rows);
    __m512i code[STRIP];
    for (size_t b = 0; b < p->n_blocks; b += 2, out += 2) {
        size_t n = p->n_blocks - b > 1 ? 2 : 1;
        for (size_t r = 0; r < STRIP; r++) {
            struct pair pair;
            const uint8_t *block = row_or_last(w, r, n_rows, p->row_bytes) + b * block_bytes;
            prefetch_ahead(block + p->ahead, 2 * block_bytes);
            p->f->load_pair(block, block + (n - 1) * block_bytes, &pair);
            code[r] = pair.code;
            for (size_t half = 0; half < n; half++) {
                out[half].d[r] = pair.d[half];
                if (p->type->has_min) out[half].dmin[r] = pair.dmin[half];
            }
        }
        for (size_t half = 0; half < n; half++)
            for (size_t i = 0; i < 8; i += 4)
                transpose((const char *)code + 32 * half + 4 * i, sizeof code[0],
                          out[half].code[i]);
    }
}

/* ---- Tiles: a panel and a few tokens --------------------------------------------------------- */

/* Strips times tokens of a tile: 8 chains of sums hide the latency of a product, and still leave
 * registers. With two strips and 4 tokens, 8 products need 6 loads; with one and 8 tokens, 9. */
enum { MAX_TILE = 8 };

/* Tokens from the panel's first element on. */
struct rows {
    const int8_t *q;
    const int16_t *bsum;
    const float *d;
    size_t k, n_groups, n_blocks; // from one token to the next
};

/* Constants wherever a tile is inlined. Sums of strip u and token t are at u * n_tokens + t. */
struct shape_of_tile {
    size_t n_strips, n_tokens;
};

/* Four bytes or two int16, to all lanes. */
INLINE __m512i broadcast_word(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

INLINE void clear(__m512i *v, size_t n) {
    UNROLL
    for (size_t i = 0; i < n; i++) v[i] = _mm512_setzero_si512();
}

/* Adds dot products of N_WORDS * 4 elements: CODE of the first strip, those of others STEP bytes
 * further. */
INLINE void dot_words(const uint8_t *code, size_t step, size_t n_words, const int8_t *q,
                      size_t stride, struct shape_of_tile n, __m512i *dot) {
    const size_t at_once = n_words == 8 ? 8 : 4; // more the compiler would rather not unroll
    for (size_t i = 0; i < n_words; i += at_once) UNROLL
    for (size_t j = i; j < i + at_once; j++) {
        __m512i w[MAX_STRIPS];
        UNROLL
        for (size_t u = 0; u < n.n_strips; u++) w[u] = load_once(code + u * step + j * ZMM_BYTES);
        UNROLL
        for (size_t t = 0; t < n.n_tokens; t++) {
            __m512i word = broadcast_word(q + t * stride + 4 * j);
            __m512i *to = dot + t;
            UNROLL
            for (size_t u = 0; u < n.n_strips; u++)
                to[u * n.n_tokens] = _mm512_dpbusd_epi32(to[u * n.n_tokens], w[u], word);
        }
    }
}

/* What dots of groups begin with, since codes have BIAS too much: bsum * -bias. */
INLINE void undo_bias(enum scaling scaling, int bias, const int16_t *bsum, size_t stride,
                      size_t n_tokens, int32_t start[][16]) {
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) {
        __m256i sums = load_256(bsum + t * stride);
        if (scaling == EACH_32)
            _mm256_storeu_si256((void *)start[t],
                                _mm256_madd_epi16(sums, _mm256_set1_epi16((short)-bias)));
        else
            _mm512_storeu_si512(start[t], _mm512_mullo_epi32(_mm512_cvtepi16_epi32(sums),
                                                             _mm512_set1_epi32(-bias)));
    }
}

/* Adds scale * dot of one block to ISUM. Blocks of the next strip are N_BLOCKS further. START: of
 * each token's groups; NULL: 0. */
INLINE void dot_scaled(const struct strip_256 *s, size_t n_blocks, enum scaling scaling,
                       const int32_t (*start)[16], const int8_t *q, size_t stride,
                       struct shape_of_tile n, __m512i *isum) {
    size_t step = n_blocks * sizeof *s;
    if (scaling == FOLDED) {
        dot_words(s->code[0], step, 64, q, stride, n, isum);
        return;
    }
    size_t n_words = scaling == EACH_32 ? 8 : 4;
    for (size_t i = 0; i < 64; i += n_words) {
        __m512i dot[MAX_TILE];
        UNROLL
        for (size_t t = 0; t < n.n_strips * n.n_tokens; t++)
            dot[t] = _mm512_set1_epi32(start ? start[t % n.n_tokens][i / n_words] : 0);
        dot_words(s->code[i], step, n_words, q + 4 * i, stride, n, dot);
        UNROLL
        for (size_t u = 0; u < n.n_strips; u++) {
            __m512i scale = _mm512_loadu_si512(s[u * n_blocks].scale[i / n_words]);
            __m512i *to = isum + u * n.n_tokens;
            UNROLL
            for (size_t t = 0; t < n.n_tokens; t++)
                to[t] = _mm512_add_epi32(to[t], _mm512_mullo_epi32(dot[u * n.n_tokens + t], scale));
        }
    }
}

/* Adds mins times sums, for two groups at a time. */
INLINE void add_pairs(const struct strip_256 *s, size_t n_blocks, enum scaling scaling,
                      const int16_t *bsum, size_t stride, struct shape_of_tile n, __m512i *sum) {
    int16_t of_32[MAX_TILE][8];
    if (scaling == EACH_32) {
        UNROLL
        for (size_t t = 0; t < n.n_tokens; t++)
            _mm_storeu_si128((void *)of_32[t], sums_of_32(bsum + t * stride));
        bsum = of_32[0];
        stride = 8;
    }
    for (size_t i = 0; i < (scaling == EACH_32 ? 4 : 8); i++) UNROLL
    for (size_t u = 0; u < n.n_strips; u++) {
        __m512i pair = _mm512_loadu_si512(s[u * n_blocks].min[i]);
        __m512i *to = sum + u * n.n_tokens;
        UNROLL
        for (size_t t = 0; t < n.n_tokens; t++)
            to[t] = _mm512_dpwssd_epi32(to[t], pair, broadcast_word(bsum + t * stride + 2 * i));
    }
}

/* ISUM is that of codes that are 128 - q * scale. */
INLINE void undo_folding(const int16_t *bsum, size_t stride, struct shape_of_tile n,
                         __m512i *isum) {
    const __m512i all_128 = _mm512_set1_epi16(128);
    UNROLL
    for (size_t t = 0; t < n.n_tokens; t++) {
        __m256i groups = _mm256_loadu_si256((const void *)(bsum + t * stride));
        __m256i sums = _mm256_madd_epi16(groups, _mm512_castsi512_si256(all_128));
        int32_t total = _mm512_reduce_add_epi32(_mm512_zextsi256_si512(sums));
        UNROLL
        for (size_t u = 0; u < n.n_strips; u++) {
            __m512i *to = isum + u * n.n_tokens + t;
            *to = _mm512_sub_epi32(_mm512_set1_epi32(total), *to);
        }
    }
}

/* ACC += d * da * sum, or ACC -= it. */
INLINE void add_scaled(const float *d, const float *da, size_t stride, size_t n, bool minus,
                       const __m512i *sum, __m512 *acc) {
    __m512 dw = _mm512_loadu_ps(d);
    UNROLL
    for (size_t t = 0; t < n; t++) {
        __m512 scale = _mm512_mul_ps(dw, _mm512_set1_ps(da[t * stride]));
        __m512 of = _mm512_cvtepi32_ps(sum[t]);
        acc[t] = minus ? _mm512_fnmadd_ps(of, scale, acc[t]) : _mm512_fmadd_ps(of, scale, acc[t]);
    }
}

INLINE void tile_256(const struct strip_256 *s, size_t n_blocks, struct rows a,
                     struct shape_of_tile n, enum scaling scaling, int bias, bool has_min,
                     __m512 *acc) {
    const bool biased = !has_min && scaling != FOLDED;
    for (size_t b = 0; b < n_blocks; b++, s++, a.q += 256, a.bsum += 16, a.d++) {
        __m512i sum[MAX_TILE];
        int32_t start[MAX_TILE][16];
        if (biased) undo_bias(scaling, bias, a.bsum, a.n_groups, n.n_tokens, start);
        clear(sum, n.n_strips * n.n_tokens);
        dot_scaled(s, n_blocks, scaling, biased ? start : NULL, a.q, a.k, n, sum);
        if (!has_min && scaling == FOLDED) undo_folding(a.bsum, a.n_groups, n, sum);
        UNROLL
        for (size_t u = 0; u < n.n_strips; u++)
            add_scaled(s[u * n_blocks].d, a.d, a.n_blocks, n.n_tokens, false, sum + u * n.n_tokens,
                       acc + u * n.n_tokens);
        if (!has_min) continue;
        clear(sum, n.n_strips * n.n_tokens);
        add_pairs(s, n_blocks, scaling, a.bsum, a.n_groups, n, sum);
        UNROLL
        for (size_t u = 0; u < n.n_strips; u++)
            add_scaled(s[u * n_blocks].dmin, a.d, a.n_blocks, n.n_tokens, true,
                       sum + u * n.n_tokens, acc + u * n.n_tokens);
    }
}

INLINE void tile_32(const struct strip_32 *s, size_t n_blocks, struct rows a,
                    struct shape_of_tile n, int bias, bool has_min, __m512 *acc) {
    const __m512i factor = _mm512_set1_epi16((short)(has_min ? 1 : -bias));
    for (size_t b = 0; b < n_blocks; b++, s++, a.q += 32, a.bsum += 2, a.d++) {
        __m512i sum[MAX_TILE], asum[MAX_TILE]; // asum: the same for all strips
        UNROLL
        for (size_t t = 0; t < n.n_tokens; t++) {
            asum[t] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), factor,
                                          broadcast_word(a.bsum + t * a.n_groups));
            UNROLL
            for (size_t u = 0; u < n.n_strips; u++)
                sum[u * n.n_tokens + t] = has_min ? _mm512_setzero_si512() : asum[t];
        }
        dot_words(s->code[0], n_blocks * sizeof *s, 8, a.q, a.k, n, sum);
        UNROLL
        for (size_t u = 0; u < n.n_strips; u++) {
            const struct strip_32 *of = s + u * n_blocks;
            __m512 *to = acc + u * n.n_tokens;
            add_scaled(of->d, a.d, a.n_blocks, n.n_tokens, false, sum + u * n.n_tokens, to);
            if (has_min) add_scaled(of->dmin, a.d, a.n_blocks, n.n_tokens, true, asum, to);
        }
    }
}

/* Where products go: Y of the panel's first row and the first token. From one panel to the next
 * sums lie in the order of tiles, as those in Y would share a few sets of the caches: LDY is often
 * a multiple of 4 KiB. */
struct output {
    float *y;
    size_t ldy, n_rows;
    float *sums;      // (tokens, MAX_STRIPS * STRIP)
    bool first, last; // panel of its rows
};

INLINE void run_tile(const void *panel, size_t n_blocks, struct rows a, struct shape_of_tile n,
                     enum scaling scaling, int bias, bool has_min, struct output out) {
    __m512 acc[MAX_TILE];
    UNROLL
    for (size_t i = 0; i < n.n_strips * n.n_tokens; i++)
        acc[i] = out.first ? _mm512_setzero_ps() : _mm512_loadu_ps(out.sums + i * LANES);
    if (scaling == NONE)
        tile_32(panel, n_blocks, a, n, bias, has_min, acc);
    else
        tile_256(panel, n_blocks, a, n, scaling, bias, has_min, acc);
    if (!out.last) {
        UNROLL
        for (size_t i = 0; i < n.n_strips * n.n_tokens; i++)
            _mm512_storeu_ps(out.sums + i * LANES, acc[i]);
        return;
    }
    UNROLL
    for (size_t u = 0; u < n.n_strips; u++) {
        size_t left = out.n_rows - u * STRIP;
        __mmask16 there = first_lanes(left < STRIP ? left : STRIP);
        UNROLL
        for (size_t t = 0; t < n.n_tokens; t++)
            _mm512_mask_storeu_ps(out.y + t * out.ldy + u * STRIP, there, acc[u * n.n_tokens + t]);
    }
}

/* All tokens of A, whose rows begin at the panel's first element. */
struct batch {
    struct rows rows;
    size_t n;
};

/* For the tile after that of the first N_TOKENS: what it needs before anything else. */
INLINE void prefetch_heads(struct rows a, size_t n_tokens) {
    UNROLL
    for (size_t t = n_tokens; t < 2 * n_tokens; t++) {
        _mm_prefetch((const void *)(a.bsum + t * a.n_groups), _MM_HINT_T0);
        _mm_prefetch((const void *)(a.d + t * a.n_blocks), _MM_HINT_T0);
    }
}

INLINE void run_tiles(const void *panel, size_t n_blocks, struct batch a, size_t n_strips,
                      enum scaling scaling, int bias, bool has_min, struct output out) {
    static const size_t sizes[] = {MAX_TILE, 4, 2, 1};
    UNROLL
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct shape_of_tile n = {n_strips, sizes[i]};
        if (n.n_strips * n.n_tokens > MAX_TILE) continue;
        for (; a.n >= n.n_tokens; a.n -= n.n_tokens) {
            prefetch_heads(a.rows, n.n_tokens);
            run_tile(panel, n_blocks, a.rows, n, scaling, bias, has_min, out);
            a.rows.q += n.n_tokens * a.rows.k;
            a.rows.bsum += n.n_tokens * a.rows.n_groups;
            a.rows.d += n.n_tokens * a.rows.n_blocks;
            out.y += n.n_tokens * out.ldy;
            out.sums += n.n_tokens * n.n_strips * STRIP;
        }
    }
}

INLINE void run_strips(const void *panel, size_t n_blocks, struct batch a, enum scaling scaling,
                       int bias, bool has_min, struct output out) {
    if (out.n_rows > STRIP)
        run_tiles(panel, n_blocks, a, 2, scaling, bias, has_min, out);
    else
        run_tiles(panel, n_blocks, a, 1, scaling, bias, has_min, out);
}

static void run_panel(const struct panel *p, const void *panel, struct batch a, struct output out) {
    size_t n = p->n_blocks;
    if (p->type->has_min) switch (p->f->scaling) {
        case NONE: run_strips(panel, n, a, NONE, 0, true, out); break;
        case FOLDED: run_strips(panel, n, a, FOLDED, 0, true, out); break;
        default: run_strips(panel, n, a, EACH_32, 0, true, out);
        }
    else
        switch (p->f->scaling) {
        case NONE: run_strips(panel, n, a, NONE, p->f->bias, false, out); break;
        case FOLDED: run_strips(panel, n, a, FOLDED, 0, false, out); break;
        case EACH_32: run_strips(panel, n, a, EACH_32, p->f->bias, false, out); break;
        default: run_strips(panel, n, a, EACH_16, p->f->bias, false, out);
        }
}

/* Up to MAX_STRIPS strips with tokens FIRST .. FIRST + N - 1, panel after panel. */
static void run_panels(struct panel p, const struct act *a, size_t first, size_t n, float *y,
                       size_t ldy, void *scratch) {
    size_t n_all = a->k / a->block, n_chunk = CHUNK / a->block, block_bytes = p.type->block_bytes;
    struct rows rows = {a->q + first * a->k,  a->bsum + first * (a->k / QUANT_GROUP),
                        a->d + first * n_all, a->k,
                        a->k / QUANT_GROUP,   n_all};
    struct output out = {y + first * ldy,
                         ldy,
                         p.n_rows,
                         (float *)(void *)((uint8_t *)scratch + PANEL_BYTES),
                         true,
                         false};
    for (size_t b = 0; b < n_all; b += n_chunk, p.w += n_chunk * block_bytes) {
        out.last = b + n_chunk >= n_all;
        p.n_blocks = out.last ? n_all - b : n_chunk;
        p.ahead =
            out.last ? MAX_STRIPS * STRIP * p.row_bytes - b * block_bytes : n_chunk * block_bytes;
        for (size_t i = 0; i * STRIP < p.n_rows; i++) {
            if (p.f->scaling == NONE)
                build_strip_32(&p, i, (struct strip_32 *)scratch + i * p.n_blocks);
            else
                build_strip_256(&p, i, (struct strip_256 *)scratch + i * p.n_blocks);
        }
        run_panel(&p, scratch, (struct batch){rows, n}, out);
        rows.q += CHUNK;
        rows.bsum += CHUNK / QUANT_GROUP;
        rows.d += n_chunk;
        out.first = false;
    }
}

/* ---- Quantised products ---------------------------------------------------------------------- */

/* Scratch of the direct ways. */
struct prepared {
    struct token tokens[MAX_DIRECT];
    struct group_sums sums[2]; // of the rows that are read, and of those before them
    struct few few;
    struct eight eights[MAX_EIGHTS];
};

/* Hands out aligned pieces of scratch. */
static void *take(uint8_t **scratch, size_t n_bytes) {
    void *p = *scratch;
    *scratch += (n_bytes + ZMM_BYTES - 1) / ZMM_BYTES * ZMM_BYTES;
    return p;
}

static size_t bytes_ahead(const struct act *a) { return a->ahead ? a->ahead : AHEAD; }

/* Rows that are gone through as if they were one: as few as have whole quads together. */
static size_t rows_at_once(const struct format *f, size_t n_blocks) {
    bool in_quads = f->quads || f->id == QUANT_IQ4_XS;
    if (!in_quads || n_blocks % 4 == 0) return 1;
    return n_blocks % 2 == 0 ? 2 : 4;
}

static struct token prepare_token(const struct format *f, const struct act *a, size_t i,
                                  uint8_t **scratch) {
    size_t k = a->k, n_blocks = k / a->block, padded = (k + 1023) / 1024 * 1024;
    const int8_t *q = a->q + i * k;
    const int16_t *bsum = a->bsum + i * (k / QUANT_GROUP);
    struct token t = {.q = q, .bsum = bsum, .d = a->d + i * n_blocks, .ahead = bytes_ahead(a)};
    const size_t n_rows = rows_at_once(f, n_blocks), n_all = (n_rows * n_blocks + 3) / 4 * 4;
    if (f->fours) {
        int8_t *turned = take(scratch, n_all * 256);
        int16_t *sums = take(scratch, n_all * 16 * sizeof *sums);
        int32_t *start = take(scratch, n_all * 16 * sizeof *start);
        prepare_q_turned(q, n_blocks, n_all, turned);
        prepare_bsum_turned(bsum, n_blocks, n_all, sums);
        if (f->bias) prepare_start(f->fours, bsum, n_blocks, n_all, start);
        t.q = turned;
        t.bsum = sums;
        t.sum = start;
    } else if (f->quads) {
        const uint8_t *order = merges(f->quads) ? order_pairs : f->quads->order;
        int8_t *ordered = take(scratch, n_rows * k);
        int16_t *sums = take(scratch, n_rows * k / QUANT_GROUP * sizeof *sums);
        for (size_t r = 0; r < n_rows; r++) prepare_q(q, k, order, ordered + r * k);
        prepare_bsum(bsum, n_blocks, n_rows * n_blocks, f->quads->group == 32, sums);
        t.q = ordered;
        t.bsum = sums;
    } else if (f->id == QUANT_IQ4_XS) {
        int8_t *halves = take(scratch, n_all * 256);
        int32_t *sum = take(scratch, n_all * 8 * sizeof *sum);
        for (size_t r = 0; r < n_rows; r++) prepare_halves(q, k, halves + r * k);
        prepare_swapped_sum(bsum, n_blocks, n_rows * n_blocks, f->bias, sum);
        t.q = halves;
        t.sum = sum;
    } else if (f->load_pair) {
        int8_t *halves = take(scratch, padded);
        int32_t *sum = take(scratch, padded / 32 * sizeof *sum);
        prepare_halves(q, k, halves);
        if (f->halves->packed)
            prepare_packed_sum(bsum, k, f->bias, (int16_t *)(void *)sum);
        else
            prepare_sum(bsum, k, f->bias ? f->bias : 1, sum);
        t.q = halves;
        t.sum = sum;
    }
    return t;
}

static void prepare_tokens(const struct format *f, const struct act *a, struct prepared *p,
                           uint8_t *scratch) {
    size_t n_blocks = a->k / a->block, stride = (n_blocks + 15) / 16 * 16;
    if (rows_at_once(f, n_blocks) > 1) stride = n_blocks;
    size_t n_bytes = (GROUP * stride + 4) * sizeof(float); // the last four blocks may be fewer
    for (size_t t = 0; t < a->n; t++) p->tokens[t] = prepare_token(f, a, t, &scratch);
    for (size_t i = 0; i < 2; i++) {
        void *part[5];
        for (size_t j = 0; j < 5; j++) part[j] = take(&scratch, n_bytes);
        struct sums first = {part[0], part[1], part[2], part[3], part[4]};
        p->sums[i] = (struct group_sums){first, stride, first.extra, stride};
    }
}

static bool shares_by_32(const struct format *f) {
    return f->quads ? f->quads->group == 32 : f->scaling == EACH_32;
}

/* Of groups that share a sub-scale, the sums in a block of 256; those of blocks of 32 are left. */
static size_t sums_of_groups(const struct format *f, const int16_t *bsum, int16_t out[16]) {
    if (f->scaling == NONE) return 0;
    memcpy(out, bsum, 16 * sizeof *out);
    if (!shares_by_32(f)) return 16;
    _mm_storeu_si128((void *)out, sums_of_32(bsum));
    return 8;
}

static int32_t sum_of_32(const struct format *f, const int16_t *bsum) {
    return (f->bias ? f->bias : 1) * (bsum[0] + bsum[1]);
}

static void prepare_few(const struct format *f, const struct act *a, struct few *out,
                        uint8_t *scratch) {
    size_t n_bytes = FEW * a->k, n_all = a->k / a->block;
    uint8_t *begin = scratch;
    out->n = a->n;
    out->q = take(&scratch, n_bytes);
    out->bsum = take(&scratch, n_bytes / QUANT_GROUP * sizeof *out->bsum);
    out->sum = take(&scratch, n_bytes / 32 * sizeof *out->sum);
    out->d = take(&scratch, n_bytes / a->block * sizeof *out->d);
    memset(begin, 0, (size_t)(scratch - begin));
    for (size_t i = 0; i < a->n * n_all; i++) {
        size_t at = i % n_all * FEW + i / n_all;
        const int8_t *q = a->q + i * a->block;
        const int16_t *bsum = a->bsum + i * a->block / QUANT_GROUP;
        int16_t sums[16];
        size_t n_groups = sums_of_groups(f, bsum, sums);
        out->d[at] = a->d[i];
        if (f->quads) {
            prepare_q(q, 256, order_of_codes(f->quads), out->q + at * 256);
            memcpy(out->bsum + at * n_groups, sums, n_groups * sizeof *sums);
        } else {
            memcpy(out->q + at * 32, q, 32);
            out->sum[at] = sum_of_32(f, bsum);
        }
    }
}

/* What dots of a token's groups begin with in its two lanes, whose codes have BIAS too much. OUT:
 * LANES from a group to the next. */
static void undo_bias_of_token(int bias, const int8_t q[256], size_t group, int32_t *out) {
    const __m512i factor = _mm512_set1_epi8((char)bias);
    int32_t fours[64]; // a lane has every other one of a group
    for (size_t j = 0; j < 4; j++) {
        __m512i v = _mm512_loadu_si512(q + j * ZMM_BYTES);
        _mm512_storeu_si512(fours + j * LANES,
                            _mm512_dpbusd_epi32(_mm512_setzero_si512(), factor, v));
    }
    for (size_t i = 0; i < 64; i++) out[4 * i / group * LANES + i % 2] -= fours[i];
}

/* Token I of EIGHT, which is A's token T. */
static void prepare_one_of_eight(const struct format *f, const struct act *a, size_t t, size_t i,
                                 const struct eight *out) {
    size_t n_blocks = a->k / a->block, block = a->block;
    for (size_t b = 0; b < n_blocks; b++) {
        const int8_t *q = a->q + t * a->k + b * block;
        const int16_t *bsum = a->bsum + (t * a->k + b * block) / QUANT_GROUP;
        int8_t ordered[256];
        int16_t sums[16];
        size_t n_groups = sums_of_groups(f, bsum, sums);
        if (f->quads)
            prepare_q(q, 256, f->quads->order, ordered);
        else
            memcpy(ordered, q, block);
        for (size_t j = 0; j < block; j += 8)
            memcpy(out->q + (b * block + j) * EIGHT + 8 * i, ordered + j, 8);
        if (f->bias && n_groups) // there are no mins
            undo_bias_of_token(f->bias, ordered, 256 / n_groups,
                               out->start + b * n_groups * LANES + 2 * i);
        else
            for (size_t g = 0; g < n_groups; g += 4)
                memcpy(out->bsum + (b * n_groups + g) * EIGHT + 4 * i, sums + g, 4 * sizeof *sums);
        for (size_t r = 0; r < 2; r++) {
            size_t at = b * LANES + lane_of_pair(r, i);
            out->d[at] = a->d[t * n_blocks + b];
            if (f->scaling == NONE) out->sum[at] = sum_of_32(f, bsum);
        }
    }
}

static void prepare_eights(const struct format *f, const struct act *a, struct eight *eights,
                           uint8_t *scratch) {
    size_t n_sums = a->k / a->block * LANES;
    for (size_t t = 0; t < a->n; t++) {
        struct eight *of = &eights[t / EIGHT];
        if (t % EIGHT == 0) {
            uint8_t *begin = scratch;
            of->q = take(&scratch, EIGHT * a->k);
            of->bsum = take(&scratch, EIGHT * a->k / QUANT_GROUP * sizeof *of->bsum);
            of->start = take(&scratch, LANES * a->k / QUANT_GROUP * sizeof *of->start);
            of->sum = take(&scratch, n_sums * sizeof *of->sum);
            of->d = take(&scratch, n_sums * sizeof *of->d);
            memset(begin, 0, (size_t)(scratch - begin));
        }
        prepare_one_of_eight(f, a, t, t % EIGHT, of);
    }
}

enum way { DIRECTLY, AS_FEW, IN_EIGHTS, IN_STRIPS };

static enum way way_of(const struct format *f, size_t n) {
    // Where strips have sub-scales within their codes and eights multiply by them, strips are soon
    // better.
    bool strips_win = f->scaling == FOLDED && f->quads && !f->quads->short_dots;
    size_t n_eights = strips_win ? 1 : MAX_EIGHTS;
    if (n > 1 && n <= FEW && f->few) return AS_FEW;
    if (n <= MAX_DIRECT) return DIRECTLY;
    return n <= n_eights * EIGHT ? IN_EIGHTS : IN_STRIPS;
}

static void prepare(const struct quant_type *type, const void *w, const struct act *a,
                    void *scratch) {
    prepare_points();
    const struct format *f = find_format(type->id);
    uint8_t *free_bytes = scratch;
    struct prepared *p = take(&free_bytes, sizeof *p);
    switch (way_of(f, a->n)) {
    case DIRECTLY: prepare_tokens(f, a, p, free_bytes); break;
    case AS_FEW: prepare_few(f, a, &p->few, free_bytes); break;
    case IN_EIGHTS: prepare_eights(f, a, p->eights, free_bytes); break;
    default: return;
    }
    prefetch_first(w, bytes_ahead(a));
}

/* The rows of a panel, at most GROUP, with a token, while S sums up those before. TO: not those
 * that S is at. */
static void rows_direct(const struct panel *w, const struct token *token, float *y,
                        const struct group_sums *to, struct summing *s) {
    const size_t at_once = rows_at_once(w->f, w->n_blocks);
    const struct sums *first = &to->first;
    for (size_t i = 0, n; i < w->n_rows; i += n) {
        n = w->n_rows - i < at_once ? 1 : at_once;
        size_t at = i * to->stride;
        struct sums of_row = {first->dot + at, first->extra + at, first->d + at, first->m + at,
                              first->dm + at};
        w->f->direct(w->w + i * w->row_bytes, n * w->n_blocks, token, &of_row);
        sum_on(s, s->n_blocks * (i + n) / w->n_rows);
    }
    const bool has_min = w->type->has_min, packed = w->f->halves && w->f->halves->packed;
    *s = (struct summing){.sums = *to,
                          .kind = {has_min, w->f->quads != NULL, packed},
                          .n_blocks = w->n_blocks,
                          .da = token->d,
                          .acc = _mm256_setzero_ps(),
                          .y = y,
                          .rows = (__mmask8)first_lanes(w->n_rows)};
    if (has_min && w->f->load_pair) { // what is subtracted is the same for all rows
        s->sums.extra = token->sum;
        s->sums.extra_stride = 0;
    }
}

/* The rows of a panel, at most FEW_ROWS. */
static void rows_few(const struct panel *w, float *y, size_t ldy, const struct few *few) {
    const struct few_rows rows = {w->w, w->row_bytes, w->n_rows, w->n_blocks};
    float sum[FEW_ROWS][FEW];
    _mm512_storeu_ps(sum, w->f->few(&rows, few, _mm512_setzero_ps()));
    for (size_t t = 0; t < few->n; t++)
        for (size_t i = 0; i < w->n_rows; i++) y[t * ldy + i] = sum[i][t];
}

/* The rows of a panel, at most ROWS_OF_EIGHT. */
static void rows_eight(const struct panel *w, size_t n_tokens, float *y, size_t ldy,
                       const struct eight *eights) {
    const struct few_rows rows = {w->w, w->row_bytes, w->n_rows, w->n_blocks};
    __m512 acc[MAX_EIGHTS][2] = {0};
    float sum[2][EIGHT / 2][ROWS_OF_EIGHT]; // of even and odd tokens
    w->f->eight(&rows, eights, (n_tokens + EIGHT - 1) / EIGHT, acc);
    for (size_t t = 0; t < n_tokens; t++, y += ldy) {
        const __m512 *of = acc[t / EIGHT];
        if (t % EIGHT == 0) {
            _mm512_storeu_ps(sum[0], _mm512_shuffle_ps(of[0], of[1], 0x88));
            _mm512_storeu_ps(sum[1], _mm512_shuffle_ps(of[0], of[1], 0xdd));
        }
        _mm_mask_storeu_ps(y, (__mmask8)first_lanes(w->n_rows),
                           _mm_loadu_ps(sum[t % 2][t % EIGHT / 2]));
    }
}

static void matmul(const struct quant_type *type, const void *w, size_t n_rows, const struct act *a,
                   float *y, size_t ldy, void *scratch) {
    static const size_t heights[] = {GROUP, FEW_ROWS, ROWS_OF_EIGHT, MAX_STRIPS * STRIP};
    const struct format *f = find_format(type->id);
    const struct prepared *prepared = scratch;
    const enum way way = way_of(f, a->n);
    size_t row_bytes = quant_row_bytes(type, a->k), height = heights[way];
    struct summing summing = {0};
    size_t i_sums = 0;
    for (size_t r = 0; r < n_rows; r += height) {
        size_t left = n_rows - r;
        struct panel p = {.f = f,
                          .type = type,
                          .w = (const uint8_t *)w + r * row_bytes,
                          .row_bytes = row_bytes,
                          .n_rows = left < height ? left : height,
                          .n_blocks = a->k / a->block};
        if (way == AS_FEW)
            rows_few(&p, y + r, ldy, &prepared->few);
        else if (way == IN_EIGHTS)
            rows_eight(&p, a->n, y + r, ldy, prepared->eights);
        else if (way == IN_STRIPS)
            for (size_t t = 0, n = most_tokens(a->k); t < a->n; t += n)
                run_panels(p, a, t, a->n - t < n ? a->n - t : n, y + r, ldy, scratch);
        else
            for (size_t t = 0; t < a->n; t++, i_sums = !i_sums)
                rows_direct(&p, &prepared->tokens[t], y + t * ldy + r, &prepared->sums[i_sums],
                            &summing);
    }
    sum_on(&summing, summing.n_blocks);
}

#endif
