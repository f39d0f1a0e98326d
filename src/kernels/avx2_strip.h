/* Strips: some rows of a matrix, unpacked so that a lane of 32 bits is a row, and the tiles of
 * tokens that pass over them. Part of avx2.c alone.
 *
 * A strip is small enough for the first-level cache and serves all tokens; there are no horizontal
 * sums, and every loaded weight serves several tokens. */
#ifndef OCTET_KERNELS_AVX2_STRIP_H
#define OCTET_KERNELS_AVX2_STRIP_H

#include <string.h>

#include "kernels/avx2_blocks.h"
#include "kernels/kernels.h"

enum {
    STRIP_ELEMS = 1024, // of a row
    HALVES = 2,         // strips that a tile takes at once
    STRIP_ROWS = HALVES * WIDTH,
    TILE_TOKENS = 4, // at most, see `tile_tokens`
    FETCH_LINES = 3, // fetched together
    // Of a run of rows and a band of tokens, see `matmul_strips`.
    RUN_ROWS = 96,
    MAX_BAND = 192,
    WHOLE_TILES = 12,      // tokens are taken by threes or by fours
    FEW_BYTES = 256 << 10, // of activations, half of a small second-level cache
};

/* 8 rows by up to STRIP_ELEMS elements. */
struct strip {
    __m256i w[STRIP_ELEMS / 4]; // 4 elements of each row, plus the offset of their format
    // Blocks of 256 only: twice the int16 sub-scale of each group of 16 or 32 elements, and int16
    // for two groups, the mins or offset * sub-scale (no format has both).
    __m256i scale[STRIP_ELEMS / QUANT_GROUP];
    __m256i pair[STRIP_ELEMS / QUANT_GROUP / 2];
    float d[STRIP_ELEMS / CHUNK][WIDTH], dmin[STRIP_ELEMS / CHUNK][WIDTH];
};
_Static_assert(HALVES * sizeof(struct strip) + RUN_ROWS * MAX_BAND * sizeof(float) <= LEAST_SCRATCH,
               "must fit into any matmul scratch");

/* How many products of neighbouring pairs of elements with activations one int16 can sum up. The
 * largest element, offset included, decides. */
enum sums {
    SUM_8,  // 15; only for groups of 32
    SUM_4,  // 32
    SUM_2,  // 64
    SUM_1,  // 129
    SIGNED, // all of int8, with offset 0: products go through |w|
};

struct traits {
    enum sums sums;
    uint8_t offset;    // added to the elements so that they are not negative
    bool has_min;      // then offset is 0
    bool small;        // blocks of 32, whose sub-scales and mins are all 1
    bool groups_of_32; // the others: what a sub-scale is for, rather than 16
};

struct job {
    const struct quant_type *type;
    const uint8_t *w;
    size_t n_rows, row_bytes, n_blocks;
    const struct act *a;
    float *y;
    size_t ldy;
    int32_t offset; // of the format's traits
};

/* The first n (0..8) lanes set. */
static inline __m256i first_lanes(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* 4 bytes or two int16, to all lanes. */
INLINE __m256i broadcast_32(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* ---- Building -------------------------------------------------------------------------------- */

/* Lanes of halves become registers. */
INLINE void transpose_in_lanes(const __m256i v[4], __m256i out[4]) {
    __m256i t[4];
    t[0] = _mm256_unpacklo_epi32(v[0], v[1]);
    t[1] = _mm256_unpackhi_epi32(v[0], v[1]);
    t[2] = _mm256_unpacklo_epi32(v[2], v[3]);
    t[3] = _mm256_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm256_unpacklo_epi64(t[0], t[2]);
    out[1] = _mm256_unpackhi_epi64(t[0], t[2]);
    out[2] = _mm256_unpacklo_epi64(t[1], t[3]);
    out[3] = _mm256_unpackhi_epi64(t[1], t[3]);
}

/* 16 bytes at AT of 8 rows as 4 registers with 4 bytes of each row. */
INLINE void transpose(const uint8_t *const p[WIDTH], size_t at, __m256i out[4]) {
    __m256i v[4];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(p[i] + at)),
                                       load_128(p[i + 4] + at), 1);
    transpose_in_lanes(v, out);
}

/* The f16 at AT of 8 rows. */
INLINE __m256 halves_at(const uint8_t *const p[WIDTH], size_t at) {
    return _mm256_cvtph_ps(_mm_setr_epi16((short)load_u16(p[0] + at), (short)load_u16(p[1] + at),
                                          (short)load_u16(p[2] + at), (short)load_u16(p[3] + at),
                                          (short)load_u16(p[4] + at), (short)load_u16(p[5] + at),
                                          (short)load_u16(p[6] + at), (short)load_u16(p[7] + at)));
}

INLINE __m256i words_at(const uint8_t *const p[WIDTH], size_t at) {
    return _mm256_setr_epi32((int)load_u32(p[0] + at), (int)load_u32(p[1] + at),
                             (int)load_u32(p[2] + at), (int)load_u32(p[3] + at),
                             (int)load_u32(p[4] + at), (int)load_u32(p[5] + at),
                             (int)load_u32(p[6] + at), (int)load_u32(p[7] + at));
}

/* f16 in the low half of each lane. */
INLINE __m256 halves_in_lanes(__m256i words) {
    __m256i low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    low = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(low));
}

/* f16 in both halves of each lane. */
INLINE void two_halves(__m256i words, __m256 *low, __m256 *high) {
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    words = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(words, order), 0xd8);
    *low = _mm256_cvtph_ps(_mm256_castsi256_si128(words));
    *high = _mm256_cvtph_ps(_mm256_extracti128_si256(words, 1));
}

/* What the header of a block of 256 says of 8 rows; fields as in struct strip. */
struct heads {
    __m256i *scale, *pair;
    float *d, *dmin;
};

/* Picks bytes of each lane; 0x80 gives 0. */
INLINE __m256i pick(__m256i v, int b0, int b1, int b2, int b3) {
    const __m256i lane = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404,
                                           0x08080808, 0x0c0c0c0c);
    int bytes = (int)((unsigned)b0 | (unsigned)b1 << 8 | (unsigned)b2 << 16 | (unsigned)b3 << 24);
    return _mm256_shuffle_epi8(v, _mm256_add_epi8(lane, _mm256_set1_epi32(bytes)));
}

/* Byte J, unsigned or signed, twice as int16; bytes J and J + 1 as int16, times 2^shift. */
INLINE __m256i byte_twice(__m256i v, int j) { return pick(v, j, 0x80, j, 0x80); }
INLINE __m256i signed_twice(__m256i v, int j) {
    return _mm256_srai_epi16(pick(v, 0x80, j, 0x80, j), 8);
}
INLINE __m256i byte_pair(__m256i v, int j) { return pick(v, j, 0x80, j + 1, 0x80); }
INLINE __m256i signed_pair(__m256i v, int j, int shift) {
    return _mm256_srai_epi16(pick(v, 0x80, j, 0x80, j + 1), 8 - shift);
}

/* D and dmin in the halves of each lane. */
INLINE void store_halves(__m256i words, const struct heads *out) {
    __m256 d, dmin;
    two_halves(words, &d, &dmin);
    _mm256_storeu_ps(out->d, d);
    _mm256_storeu_ps(out->dmin, dmin);
}

/* Q4_K and Q5_K, whose first 16 bytes are alike. */
INLINE void heads_six_bits(const uint8_t *const p[WIDTH], const struct heads *out) {
    const __m256i low6 = _mm256_set1_epi8(0x3f), low4 = _mm256_set1_epi8(0x0f),
                  top2 = _mm256_set1_epi8(0x30);
    __m256i v[4], scale[2], min[2];
    transpose(p, 0, v);
    store_halves(v[0], out);
    scale[0] = _mm256_and_si256(v[1], low6);
    scale[1] = _mm256_or_si256(_mm256_and_si256(v[3], low4),
                               _mm256_and_si256(_mm256_srli_epi16(v[1], 2), top2));
    min[0] = _mm256_and_si256(v[2], low6);
    min[1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(v[3], 4), low4),
                             _mm256_and_si256(_mm256_srli_epi16(v[2], 2), top2));
    UNROLL
    for (int g = 0; g < 8; g++) out->scale[g] = byte_twice(scale[g / 4], g % 4);
    UNROLL
    for (int g = 0; g < 8; g += 2) out->pair[g / 2] = byte_pair(min[g / 4], g % 4);
}

INLINE void heads_q2_k(const uint8_t *const p[WIDTH], const struct heads *out) {
    const __m256i low4 = _mm256_set1_epi8(0x0f);
    __m256i v[4];
    transpose(p, 0, v);
    store_halves(words_at(p, offsetof(struct block_q2_k, d)), out);
    UNROLL
    for (int i = 0; i < 4; i++) {
        __m256i scale = _mm256_and_si256(v[i], low4);
        __m256i min = _mm256_and_si256(_mm256_srli_epi16(v[i], 4), low4);
        UNROLL
        for (int j = 0; j < 4; j++) out->scale[4 * i + j] = byte_twice(scale, j);
        out->pair[2 * i] = byte_pair(min, 0);
        out->pair[2 * i + 1] = byte_pair(min, 2);
    }
}

/* Signed sub-scales of groups 4i .. 4i + 3 in V[i], for elements with an offset of 2^shift. */
INLINE void heads_signed(const __m256i v[4], int shift, const struct heads *out) {
    UNROLL
    for (int i = 0; i < 4; i++) {
        UNROLL
        for (int j = 0; j < 4; j++) out->scale[4 * i + j] = signed_twice(v[i], j);
        out->pair[2 * i] = signed_pair(v[i], 0, shift);
        out->pair[2 * i + 1] = signed_pair(v[i], 2, shift);
    }
}

/* The last 16 bytes of a block of Q3_K, in lanes of V: 2 bytes of codes, 12 of sub-scales, d. S[i]:
 * sub-scales of groups 4i .. 4i + 3. */
enum { Q3_K_TAIL_AT = sizeof(struct block_q3_k) - 16 };
INLINE void sub_scales_q3_k(const __m256i v[4], __m256i s[4]) {
    const __m256i low4 = _mm256_set1_epi8(0x0f), top2 = _mm256_set1_epi8(0x30);
    __m256i s0 = _mm256_or_si256(_mm256_srli_epi32(v[0], 16), _mm256_slli_epi32(v[1], 16));
    __m256i s1 = _mm256_or_si256(_mm256_srli_epi32(v[1], 16), _mm256_slli_epi32(v[2], 16));
    __m256i s2 = _mm256_or_si256(_mm256_srli_epi32(v[2], 16), _mm256_slli_epi32(v[3], 16));
    s[0] = _mm256_or_si256(_mm256_and_si256(s0, low4),
                           _mm256_and_si256(_mm256_slli_epi16(s2, 4), top2));
    s[1] = _mm256_or_si256(_mm256_and_si256(s1, low4),
                           _mm256_and_si256(_mm256_slli_epi16(s2, 2), top2));
    s[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(s0, 4), low4),
                           _mm256_and_si256(s2, top2));
    s[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(s1, 4), low4),
                           _mm256_and_si256(_mm256_srli_epi16(s2, 2), top2));
    UNROLL
    for (int i = 0; i < 4; i++) s[i] = _mm256_sub_epi8(s[i], _mm256_set1_epi8(32));
}

INLINE void heads_q3_k(const uint8_t *const p[WIDTH], const struct heads *out) {
    __m256i v[4], s[4];
    transpose(p, Q3_K_TAIL_AT, v);
    _mm256_storeu_ps(out->d, halves_in_lanes(_mm256_srli_epi32(v[3], 16)));
    sub_scales_q3_k(v, s);
    heads_signed(s, 2, out);
}

INLINE void heads_q6_k(const uint8_t *const p[WIDTH], const struct heads *out) {
    __m256i v[4];
    transpose(p, 192, v);
    _mm256_storeu_ps(out->d, halves_at(p, 208));
    heads_signed(v, 5, out);
}

/* Codes in planes of 32 bytes from byte AT on: a register of the strip is 4 bytes of each row's,
 * and CODES does not mind which bytes it gets. */
INLINE void build_planes(const uint8_t *const p[WIDTH], size_t at, size_t n_planes, codes_fn *codes,
                         __m256i *out) {
    __m256i planes[MAX_PLANES][CHUNK / 4];
    for (size_t j = 0; j < n_planes; j++) {
        transpose(p, at + j * CHUNK, planes[j]);
        transpose(p, at + j * CHUNK + 16, planes[j] + 4);
    }
    for (size_t i = 0; i < CHUNK / 4; i++) {
        __m256i in[MAX_PLANES], w[8];
        UNROLL
        for (size_t j = 0; j < n_planes; j++) in[j] = planes[j][i];
        codes(in, w);
        UNROLL
        for (size_t c = 0; c < 8; c++) out[c * (CHUNK / 4) + i] = w[c];
    }
}

INLINE void heads_iq4_xs(const uint8_t *const p[WIDTH], const struct heads *out) {
    const __m256i low4 = _mm256_set1_epi32(0x0f), top2 = _mm256_set1_epi32(0x30);
    __m256i v[4];
    transpose(p, 0, v);
    _mm256_storeu_ps(out->d, halves_in_lanes(v[0]));
    UNROLL
    for (int g = 0; g < 8; g++) {
        __m256i low = _mm256_and_si256(_mm256_srli_epi32(v[1], 4 * g), low4);
        __m256i high = _mm256_and_si256(_mm256_srli_epi32(v[0], 12 + 2 * g), top2);
        __m256i s = _mm256_or_si256(low, high);
        s = _mm256_or_si256(s, _mm256_slli_epi32(s, 16));
        out->scale[g] = _mm256_sub_epi16(s, _mm256_set1_epi16(32));
    }
}

/* What the codes of a format of nibbles stand for. */
typedef __m256i map_fn(__m256i nibbles);
INLINE __m256i map_same(__m256i nibbles) { return nibbles; }
INLINE __m256i map_iq4(__m256i nibbles) { return codebook(iq4_levels(), nibbles); }
INLINE __m256i map_mxfp4(__m256i nibbles) { return codebook(mxfp4_levels(), nibbles); }

/* Nibbles in runs of 16 bytes, each for 32 elements, low ones first; or IN_PLANES, where two runs
 * are 32 elements of low nibbles and then as many of high ones. */
INLINE void build_nibbles(const uint8_t *const p[WIDTH], size_t at, size_t n_runs, bool in_planes,
                          map_fn *map, __m256i *out) {
    const size_t n = CHUNK / 4; // registers for 32 elements
    for (size_t i = 0; i < n_runs; i++) {
        __m256i v[4], *low = out + i * n, *high = low + n / 2;
        if (in_planes) {
            low = out + i / 2 * 2 * n + i % 2 * (n / 2);
            high = low + n;
        }
        transpose(p, at + i * 16, v);
        UNROLL
        for (size_t j = 0; j < 4; j++) {
            low[j] = map(low_nibbles(v[j]));
            high[j] = map(high_nibbles(v[j]));
        }
    }
}

/* The scale of 8 blocks of 32 that begin with an f16 and, where there are mins, end their head with
 * another. */
INLINE void heads_32(const uint8_t *const p[WIDTH], __m256 *d, __m256 *m) {
    __m128i v[4];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        v[i] = _mm_unpacklo_epi16(load_128(p[2 * i]), load_128(p[2 * i + 1]));
    __m128i low = _mm_unpacklo_epi32(v[0], v[1]), high = _mm_unpacklo_epi32(v[2], v[3]);
    *d = _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high));
    *m = _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high));
}

/* Sub-scales of a row, even groups first, to a register of two int16 for each row. */
static void spread_rows(const __m256i rows[WIDTH], __m256i out[8]) {
    const uint8_t *p[WIDTH];
    for (size_t r = 0; r < WIDTH; r++) p[r] = (const uint8_t *)&rows[r];
    transpose(p, 0, out);
    transpose(p, 16, out + 4);
}

/* A format of 256 without mins, from the loader of a row's block. */
INLINE void build_rows_256(const uint8_t *const p[WIDTH], load_fn *load, const struct traits *f,
                           struct strip *s, size_t i) {
    __m256i rows[WIDTH][8], scale[WIDTH], pair[WIDTH], columns[8];
    const uint8_t *at[WIDTH];
    for (size_t r = 0; r < WIDTH; r++) {
        struct block w;
        load(p[r], &w);
        for (size_t c = 0; c < 8; c++) rows[r][c] = w.w[c];
        at[r] = (const uint8_t *)rows[r];
        scale[r] = in_order(w.scale);
        pair[r] = _mm256_mullo_epi16(scale[r], _mm256_set1_epi16(f->offset));
        s->d[i][r] = w.d;
    }
    for (size_t j = 0; j < 16; j++) transpose(at, j * 16, s->w + i * 64 + j * 4);
    spread_rows(pair, s->pair + i * 8);
    spread_rows(scale, columns);
    for (size_t j = 0; j < 8; j++) {
        s->scale[i * 16 + 2 * j] = pick(columns[j], 0, 1, 0, 1);
        s->scale[i * 16 + 2 * j + 1] = pick(columns[j], 2, 3, 2, 3);
    }
}

INLINE void build_rows_32(const uint8_t *const p[WIDTH], load_fn *load, const struct traits *f,
                          struct strip *s, size_t i) {
    __m256i rows[WIDTH];
    const uint8_t *at[WIDTH];
    for (size_t r = 0; r < WIDTH; r++) {
        struct block w;
        load(p[r], &w);
        rows[r] = w.w[0];
        at[r] = (const uint8_t *)&rows[r];
        s->d[i][r] = w.d;
        if (f->has_min) s->dmin[i][r] = w.dmin;
    }
    transpose(at, 0, s->w + i * 8);
    transpose(at, 16, s->w + i * 8 + 4);
}

/* ---- Fetching -------------------------------------------------------------------------------- */

/* Blocks B .. B + n_blocks - 1 of rows ROW .. with tokens FIRST .. FIRST + n - 1. Rows are taken in
 * runs, all of whose rows pass over these blocks before the next ones come. */
struct part {
    const struct job *job;
    size_t run, end; // rows of the run
    size_t row, b, n_blocks;
    size_t first, n;
    // (n, STRIP_ROWS) of these rows so far, kept from one part to the next; in y tokens are often
    // multiples of a page apart, and compete for the same few lines of caches. The last part writes
    // y.
    float *sums;
};

/* What the next pair of strips will hold, fetched bit by bit while tokens pass over this one, or
 * memory would rest meanwhile: OF_ROW bytes of each of N_ROWS rows, the first one from AT on. */
struct fetch {
    const uint8_t *row;
    size_t n_rows, row_bytes, of_row, at;
    size_t turn; // how many times FETCH_LINES are fetched at a time
};

/* The part after P: its blocks of the next rows of the run, the next blocks of the run's first rows
 * or, after its last part, the first ones of the next run, which may be past the end of the
 * weights; all of it is asked for after N_TURNS. */
INLINE struct fetch fetch_after(const struct part *p, size_t n_turns) {
    const struct job *job = p->job;
    const size_t step = FETCH_LINES * CACHE_LINE, most = STRIP_ELEMS / job->a->block;
    size_t row = p->row + STRIP_ROWS, b = p->b;
    if (row >= p->end) {
        b += p->n_blocks;
        row = b < job->n_blocks ? p->run : p->end;
        if (b == job->n_blocks) b = 0;
    }
    size_t n_blocks = job->n_blocks - b < most ? job->n_blocks - b : most;
    struct fetch f = {.row = job->w + row * job->row_bytes + b * job->type->block_bytes,
                      .n_rows = STRIP_ROWS,
                      .row_bytes = job->row_bytes,
                      .of_row = n_blocks * job->type->block_bytes};
    size_t n_steps = f.n_rows * ((f.of_row + step - 1) / step);
    f.turn = (n_steps + n_turns - 1) / n_turns;
    return f;
}

INLINE void fetch_some(struct fetch *f) {
    for (size_t i = 0; i < f->turn && f->n_rows; i++) {
        UNROLL
        for (size_t j = 0; j < FETCH_LINES; j++)
            _mm_prefetch((const char *)(f->row + f->at + j * CACHE_LINE), _MM_HINT_T0);
        f->at += FETCH_LINES * CACHE_LINE;
        if (f->at < f->of_row) continue;
        f->at = 0;
        f->row += f->row_bytes;
        f->n_rows--;
    }
}

/* ---- Tiles ----------------------------------------------------------------------------------- */

/* How many tokens a tile takes: as many as there are registers for sums. Those of 32 bits can stay
 * in memory where eight products meet one scale; where each product does, there are no others. */
INLINE bool sums_in_memory(const struct traits *f) { return f->sums == SUM_8 && !f->small; }
INLINE size_t tile_tokens(const struct traits *f) {
    return sums_in_memory(f) || f->sums >= SUM_1 ? TILE_TOKENS : TILE_TOKENS - 1;
}

/* 32 products as 16 int16: each sum of two is at most 32512. */
INLINE __m256i products(__m256i w, __m256i a, bool is_signed) {
    if (!is_signed) return _mm256_maddubs_epi16(w, a);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
}

/* Adds to ISUM 16 or 32 elements, as the format's sums say, of each row of both halves times those
 * of activations, times the scale. */
INLINE void add_group(const __m256i *const w[HALVES], const int8_t *q, size_t stride, size_t n,
                      const struct traits *f, const __m256i scale[HALVES],
                      __m256i isum[HALVES][TILE_TOKENS]) {
    const enum sums sums = f->sums;
    const size_t n_steps = sums == SUM_8 ? 8 : 4;
    __m256i p[HALVES][TILE_TOKENS];
    UNROLL
    for (size_t i = 0; i < n_steps; i++) {
        __m256i wi[HALVES] = {w[0][i], w[1][i]};
        UNROLL
        for (size_t t = 0; t < n; t++) {
            __m256i a = broadcast_32(q + t * stride + 4 * i);
            UNROLL
            for (size_t h = 0; h < HALVES; h++) {
                __m256i x = products(wi[h], a, sums == SIGNED);
                bool first = i == 0 || sums >= SUM_1 || (sums == SUM_2 && i % 2 == 0);
                bool last = sums >= SUM_1 || i == n_steps - 1 || (sums == SUM_2 && i % 2 == 1);
                p[h][t] = first ? x : _mm256_add_epi16(p[h][t], x);
                IN_THIS_ORDER(p[h][t]);
                if (last)
                    isum[h][t] = _mm256_add_epi32(isum[h][t], _mm256_madd_epi16(p[h][t], scale[h]));
                if (sums_in_memory(f))
                    THROUGH_MEMORY(isum[h][t]);
                else
                    IN_THIS_ORDER(isum[h][t]);
            }
        }
    }
}

/* Where the tokens of a tile have their parts of a block. */
struct tokens {
    const int8_t *q;
    const int16_t *bsum;
    const float *d;
    size_t k, n_blocks; // strides: of q, 16 times that of bsum; of d
    int32_t offset;     // that of the format
};

/* Sums of groups of 32 from those of groups of 16. */
INLINE void sums_of_32(const int16_t *bsum, int16_t sums[8]) {
    __m256i v = _mm256_madd_epi16(load_256(bsum), _mm256_set1_epi16(1));
    _mm_storeu_si128((void *)sums,
                     _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

INLINE void add_block_256(const struct strip *s, size_t i, const struct tokens *a, size_t n,
                          const struct traits *f, __m256i isum[HALVES][TILE_TOKENS]) {
    UNROLL
    for (size_t t = 0; t < n; t++) isum[0][t] = isum[1][t] = _mm256_setzero_si256();
    for (size_t c = 0; c < 8; c++) {
        const __m256i *w[HALVES] = {s[0].w + i * 64 + c * 8, s[1].w + i * 64 + c * 8};
        size_t g = f->groups_of_32 ? i * 8 + c : i * 16 + c * 2;
        __m256i scale[HALVES] = {s[0].scale[g], s[1].scale[g]};
        add_group(w, a->q + c * 32, a->k, n, f, scale, isum);
        if (f->sums == SUM_8) continue;
        for (size_t h = 0; h < HALVES; h++) {
            w[h] += 4;
            if (!f->groups_of_32) scale[h] = s[h].scale[g + 1];
        }
        add_group(w, a->q + c * 32 + 16, a->k, n, f, scale, isum);
    }
}

/* Sums of mins, or what the offset adds to a block. */
INLINE void pair_sums(const struct strip *s, size_t i, const struct tokens *a, size_t n,
                      const struct traits *f, __m256i psum[HALVES][TILE_TOKENS]) {
    size_t n_pairs = f->groups_of_32 ? 4 : 8;
    int16_t of_32[TILE_TOKENS][8];
    UNROLL
    for (size_t t = 0; t < n; t++) {
        psum[0][t] = psum[1][t] = _mm256_setzero_si256();
        if (f->groups_of_32) sums_of_32(a->bsum + t * (a->k / QUANT_GROUP), of_32[t]);
    }
    UNROLL
    for (size_t j = 0; j < n_pairs; j++) {
        __m256i pair[HALVES] = {s[0].pair[i * n_pairs + j], s[1].pair[i * n_pairs + j]};
        UNROLL
        for (size_t t = 0; t < n; t++) {
            const int16_t *sums = f->groups_of_32 ? of_32[t] : a->bsum + t * (a->k / QUANT_GROUP);
            __m256i two = broadcast_32(sums + 2 * j);
            UNROLL
            for (size_t h = 0; h < HALVES; h++)
                psum[h][t] = _mm256_add_epi32(psum[h][t], _mm256_madd_epi16(pair[h], two));
        }
    }
}

INLINE void add_block_32(const struct strip *s, size_t i, const struct tokens *a, size_t n,
                         const struct traits *f, __m256i isum[HALVES][TILE_TOKENS],
                         __m256i psum[HALVES][TILE_TOKENS]) {
    const __m256i *w[HALVES] = {s[0].w + i * 8, s[1].w + i * 8};
    const __m256i ones[HALVES] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
    UNROLL
    for (size_t t = 0; t < n; t++) {
        const int16_t *bsum = a->bsum + t * (a->k / QUANT_GROUP);
        isum[0][t] = isum[1][t] = _mm256_setzero_si256();
        int32_t sum = (bsum[0] + bsum[1]) * (f->has_min ? 1 : a->offset);
        psum[0][t] = psum[1][t] = _mm256_set1_epi32(sum);
    }
    add_group(w, a->q, a->k, n, f, ones, isum);
    if (f->sums == SUM_8) return;
    w[0] += 4;
    w[1] += 4;
    add_group(w, a->q + 16, a->k, n, f, ones, isum);
}

/* N tokens against blocks 0 .. n_blocks - 1 of a strip, whose sums so far are ACC. */
INLINE void run_tile(const struct strip *s, size_t n_blocks, struct tokens a, size_t n,
                     const struct traits *f, struct fetch *next, __m256 acc[HALVES][TILE_TOKENS]) {
    const size_t block = f->small ? CHUNK : QUANT_MAX_BLOCK;
    for (size_t i = 0; i < n_blocks; i++) {
        __m256i isum[HALVES][TILE_TOKENS], psum[HALVES][TILE_TOKENS];
        if (i * block % QUANT_MAX_BLOCK == 0) fetch_some(next);
        if (f->small) {
            add_block_32(s, i, &a, n, f, isum, psum);
        } else {
            add_block_256(s, i, &a, n, f, isum);
            if (f->has_min || f->offset) pair_sums(s, i, &a, n, f, psum);
        }
        UNROLL
        for (size_t t = 0; t < n; t++) {
            __m256 da = _mm256_set1_ps(a.d[t * a.n_blocks]);
            UNROLL
            for (size_t h = 0; h < HALVES; h++) {
                __m256 d = _mm256_mul_ps(_mm256_loadu_ps(s[h].d[i]), da);
                if (f->offset) isum[h][t] = _mm256_sub_epi32(isum[h][t], psum[h][t]);
                acc[h][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[h][t]), d, acc[h][t]);
                if (!f->has_min) continue;
                __m256 dmin = _mm256_mul_ps(_mm256_loadu_ps(s[h].dmin[i]), da);
                acc[h][t] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(psum[h][t]), dmin, acc[h][t]);
            }
        }
        a.q += block;
        a.bsum += block / QUANT_GROUP;
        a.d++;
    }
}

INLINE void tile(const struct part *p, const struct strip *s, size_t t0, size_t n,
                 const struct traits *f, struct fetch *next) {
    const struct job *job = p->job;
    const struct act *a = job->a;
    size_t n_left = job->n_rows - p->row, at = (p->first + t0) * a->k + p->b * a->block;
    struct tokens tokens = {a->q + at,
                            a->bsum + at / QUANT_GROUP,
                            a->d + (p->first + t0) * job->n_blocks + p->b,
                            a->k,
                            job->n_blocks,
                            job->offset};
    __m256 acc[HALVES][TILE_TOKENS];
    float *sums = p->sums + t0 * STRIP_ROWS;
    float *y = job->y + (p->first + t0) * job->ldy + p->row;
    UNROLL
    for (size_t t = 0; t < n; t++) UNROLL
    for (size_t h = 0; h < HALVES; h++)
        acc[h][t] =
            p->b == 0 ? _mm256_setzero_ps() : _mm256_load_ps(sums + (t * HALVES + h) * WIDTH);
    run_tile(s, p->n_blocks, tokens, n, f, next, acc);
    bool last = p->b + p->n_blocks == job->n_blocks;
    UNROLL
    for (size_t t = 0; t < n; t++) UNROLL
    for (size_t h = 0; h < HALVES; h++)
        if (!last)
            _mm256_store_ps(sums + (t * HALVES + h) * WIDTH, acc[h][t]);
        else if (n_left >= STRIP_ROWS)
            _mm256_storeu_ps(y + t * job->ldy + h * WIDTH, acc[h][t]);
        else
            _mm256_maskstore_ps(y + t * job->ldy + h * WIDTH,
                                first_lanes(n_left > h * WIDTH ? n_left - h * WIDTH : 0),
                                acc[h][t]);
}

INLINE void run_strip(const struct part *p, const struct strip *s, const struct traits *f) {
    const size_t wide = tile_tokens(f), n = p->n;
    size_t blocks_of_256 = (p->n_blocks * p->job->a->block + QUANT_MAX_BLOCK - 1) / QUANT_MAX_BLOCK;
    struct fetch next = fetch_after(p, (n + wide - 1) / wide * blocks_of_256);
    size_t t = 0;
    for (; t + wide <= n; t += wide) tile(p, s, t, wide, f, &next);
    if (wide > 3 && n - t == 3) tile(p, s, t, 3, f, &next);
    if (n - t == 2) tile(p, s, t, 2, f, &next);
    if (n - t == 1) tile(p, s, t, 1, f, &next);
}

#endif
