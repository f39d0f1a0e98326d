/* Products of four rows with one token straight from the file's blocks, for AVX-512 with VNNI; part
 * of avx512.c. This is what decoding does, and it has to keep up with memory, so little is done per
 * weight: codes stay in the order the file packs them in, and the activations are brought into that
 * order instead, once for all four rows; the sub-scales of the four rows are taken apart together,
 * a 128-bit lane for each. Formats without a way of their own go through their chunk loader. */
#ifndef OCTET_KERNELS_AVX512_DIRECT_H
#define OCTET_KERNELS_AVX512_DIRECT_H

#include "kernels/avx512_formats.h"

enum {
    ROWS = 4,
    PREFETCH = 4096, // bytes ahead in each row: less leaves one thread waiting for memory
    ZMM_BYTES = 64,
};

struct direct {
    const uint8_t *row[ROWS];
    size_t n_blocks, row_bytes;
    const int8_t *q; // the token's part of struct act
    const float *d;
    const int16_t *bsum;
};

/* ---- Sums ------------------------------------------------------------------------------------ */

/* Sums of A..D within each 128-bit lane, as lanes (a, b, c, d). */
INLINE __m512i sum_in_lanes(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

INLINE __m128i sum_of_lanes(__m512i v) {
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE __m128i sum_rows_256(const __m256i v[ROWS]) {
    __m256i ab =
        _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    __m256i cd =
        _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    __m256i all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

INLINE __m128i sum_rows_512(const __m512i v[ROWS]) {
    return sum_of_lanes(sum_in_lanes(v[0], v[1], v[2], v[3]));
}

/* The sum of each 128-bit lane. */
INLINE __m128i sum_each_lane(__m512i v) {
    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_BADC));
    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castsi512_si128(_mm512_permutexvar_epi32(firsts, v));
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* How far from byte AT of a row lies what the same stream of rows reads PREFETCH bytes later: past
 * the end of the row, it goes on ROWS rows further down. */
INLINE size_t bytes_ahead(const struct direct *r, size_t at) {
    size_t n_rows_on = 0;
    for (size_t end = r->row_bytes; at + PREFETCH >= end; end += r->row_bytes) n_rows_on++;
    return PREFETCH + n_rows_on * (ROWS - 1) * r->row_bytes;
}

INLINE void prefetch(const uint8_t *p, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += ZMM_BYTES)
        _mm_prefetch((const void *)(p + i), _MM_HINT_T0);
}

INLINE __m512i in_lanes(__m128i a, __m128i b, __m128i c, __m128i d) {
    __m512i v = _mm512_inserti32x4(_mm512_castsi128_si512(a), b, 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(v, c, 2), d, 3);
}

INLINE __m128i load_128(const void *p) { return _mm_loadu_si128(p); }
INLINE __m256i load_256(const void *p) { return _mm256_loadu_si256(p); }

/* 16 bytes at OFFSET of the four rows' blocks, a lane each. */
INLINE __m512i load_lanes(const uint8_t *const block[ROWS], size_t offset) {
    return in_lanes(load_128(block[0] + offset), load_128(block[1] + offset),
                    load_128(block[2] + offset), load_128(block[3] + offset));
}

/* The order in which a format's registers hold its elements: order[4 j + l] is the group of 16 that
 * lane l of register j has. */
static const uint8_t order_4_bit[16] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
static const uint8_t order_2_bit[16] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
static const uint8_t order_halves[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};

/* Activations in that order. */
INLINE void load_ordered(const int8_t *q, const uint8_t order[16], __m512i a[4]) {
    UNROLL
    for (size_t j = 0; j < 4; j++) {
        const uint8_t *o = order + 4 * j;
        if (o[1] == o[0] + 1) // pairs of groups lie together
            a[j] = _mm512_inserti64x4(_mm512_castsi256_si512(load_256(q + 16 * o[0])),
                                      load_256(q + 16 * o[2]), 1);
        else
            a[j] = in_lanes(load_128(q + 16 * o[0]), load_128(q + 16 * o[1]),
                            load_128(q + 16 * o[2]), load_128(q + 16 * o[3]));
    }
}

/* Read once: a compiler would rather repeat the load as an operand of each use, but blocks lie
 * across cache lines, which makes loads dear. */
INLINE __m512i load_once(const void *p) {
    __m512i v = _mm512_loadu_si512(p);
    __asm__("" : "+v"(v));
    return v;
}

/* ---- Blocks of 256 with sub-scales of 8 bits ------------------------------------------------- */

/* One block of each row: int8 sub-scales and mins of the 16 groups, a lane for each row. */
struct quad {
    __m512i scale, min;
    __m128 d, dmin;
};

typedef void load_quad_fn(const uint8_t *const block[ROWS], struct quad *out);
typedef void load_codes_fn(const uint8_t *block, __m512i code[4]);

struct direct_format {
    load_quad_fn *load_quad;
    load_codes_fn *load_codes;
    const uint8_t *order;
    size_t block_bytes;
    int bias_shift; // log2 of what codes have too much, where the scales are signed
    bool has_min;   // scales and mins are unsigned, codes have no bias
};

/* Scales of the groups in lanes of register J of the row whose scales all lanes of ROW have, as
 * int16 for pairs of elements. */
INLINE __m512i ordered_scales(__m512i row, const uint8_t order[16], size_t j, bool is_signed) {
    int w[4];
    for (size_t l = 0; l < 4; l++)
        w[l] = is_signed ? 0x00800080 | order[4 * j + l] << 8 | order[4 * j + l] << 24
                         : (int)0x80008000 | order[4 * j + l] | order[4 * j + l] << 16;
    __m512i pick = _mm512_setr_epi32(w[0], w[0], w[0], w[0], w[1], w[1], w[1], w[1], w[2], w[2],
                                     w[2], w[2], w[3], w[3], w[3], w[3]);
    __m512i scale = _mm512_shuffle_epi8(row, pick);
    return is_signed ? _mm512_srai_epi16(scale, 8) : scale;
}

/* Sum over the groups of factor * bsum, for four rows. */
INLINE __m128i group_sums(__m512i factor, const int16_t *bsum, bool is_signed) {
    __m512i zero = _mm512_setzero_si512(), low, high;
    if (is_signed) {
        low = _mm512_srai_epi16(_mm512_unpacklo_epi8(zero, factor), 8);
        high = _mm512_srai_epi16(_mm512_unpackhi_epi8(zero, factor), 8);
    } else {
        low = _mm512_unpacklo_epi8(factor, zero);
        high = _mm512_unpackhi_epi8(factor, zero);
    }
    __m512i sums = _mm512_madd_epi16(low, _mm512_broadcast_i32x4(load_128(bsum)));
    return sum_each_lane(
        _mm512_dpwssd_epi32(sums, high, _mm512_broadcast_i32x4(load_128(bsum + 8))));
}

/* Sum of scale * code * q over one block. */
INLINE __m512i dot_codes(const struct direct_format *f, const uint8_t *block, __m512i scales,
                         const __m512i a[4]) {
    __m512i code[4], sum = _mm512_setzero_si512();
    f->load_codes(block, code);
    UNROLL
    for (size_t j = 0; j < 4; j++)
        sum = _mm512_dpwssd_epi32(sum, _mm512_maddubs_epi16(code[j], a[j]),
                                  ordered_scales(scales, f->order, j, !f->has_min));
    return sum;
}

INLINE __m128 direct_quads(const struct direct_format *f, const struct direct *r) {
    __m128 acc = _mm_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b++) {
        size_t at = b * f->block_bytes, ahead = bytes_ahead(r, at);
        const int16_t *bsum = r->bsum + b * 16;
        const uint8_t *block[ROWS];
        UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            block[i] = r->row[i] + at;
            prefetch(block[i] + ahead, f->block_bytes);
        }
        struct quad quad;
        __m512i a[4], isum[ROWS];
        f->load_quad(block, &quad);
        load_ordered(r->q + b * 256, f->order, a);
        isum[0] = dot_codes(f, block[0], _mm512_shuffle_i32x4(quad.scale, quad.scale, 0x00), a);
        isum[1] = dot_codes(f, block[1], _mm512_shuffle_i32x4(quad.scale, quad.scale, 0x55), a);
        isum[2] = dot_codes(f, block[2], _mm512_shuffle_i32x4(quad.scale, quad.scale, 0xaa), a);
        isum[3] = dot_codes(f, block[3], _mm512_shuffle_i32x4(quad.scale, quad.scale, 0xff), a);
        __m128i isums = sum_rows_512(isum);
        __m128i gsums = group_sums(f->has_min ? quad.min : quad.scale, bsum, !f->has_min);
        if (!f->has_min) isums = _mm_sub_epi32(isums, _mm_slli_epi32(gsums, f->bias_shift));
        __m128 da = _mm_set1_ps(r->d[b]);
        acc = _mm_fmadd_ps(_mm_cvtepi32_ps(isums), _mm_mul_ps(quad.d, da), acc);
        if (f->has_min) acc = _mm_fnmadd_ps(_mm_cvtepi32_ps(gsums), _mm_mul_ps(quad.dmin, da), acc);
    }
    return acc;
}

/* Each lane's first word holds d below dmin. */
INLINE void halves_of_lanes(__m128i words, struct quad *out) {
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m256 both = _mm256_cvtph_ps(_mm_shuffle_epi8(words, apart));
    out->d = _mm256_castps256_ps128(both);
    out->dmin = _mm256_extractf128_ps(both, 1);
}

INLINE __m512i for_lanes(int a, int b, int c, int d) {
    return _mm512_broadcast_i32x4(_mm_setr_epi32(a, b, c, d));
}

/* Q4_K and Q5_K begin alike: d, dmin, and 6-bit scales and mins in three words s, t, u. */
INLINE void load_quad_6_bit(const uint8_t *const block[ROWS], struct quad *out) {
    __m512i v = load_lanes(block, 0);
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    halves_of_lanes(_mm512_castsi512_si128(_mm512_permutexvar_epi32(firsts, v)), out);
    __m512i sstt = _mm512_shuffle_epi32(v, _MM_PERM_CCBB);
    __m512i uuuu = _mm512_shuffle_epi32(v, _MM_PERM_DDDD);
    // Words: scales 0-3, scales 4-7, mins 0-3, mins 4-7.
    __m512i own = _mm512_and_si512(_mm512_srlv_epi32(sstt, for_lanes(0, 2, 0, 2)),
                                   for_lanes(0x3f3f3f3f, 0x30303030, 0x3f3f3f3f, 0x30303030));
    __m512i low = _mm512_and_si512(_mm512_srlv_epi32(uuuu, for_lanes(0, 0, 0, 4)),
                                   for_lanes(0, 0x0f0f0f0f, 0, 0x0f0f0f0f));
    __m512i both = _mm512_or_si512(own, low);
    out->scale = _mm512_unpacklo_epi8(both, both); // for groups of 16
    out->min = _mm512_unpackhi_epi8(both, both);
}

INLINE void nibbles_in_order(const uint8_t *qs, __m512i code[4]) {
    const __m512i low = _mm512_set1_epi8(15);
    UNROLL
    for (size_t j = 0; j < 2; j++) {
        __m512i v = load_once(qs + ZMM_BYTES * j);
        code[2 * j] = _mm512_and_si512(v, low);
        code[2 * j + 1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    }
}

INLINE void codes_q4_k(const uint8_t *block, __m512i code[4]) {
    nibbles_in_order(((const struct block_q4_k *)block)->qs, code);
}

INLINE void codes_q5_k(const uint8_t *block, __m512i code[4]) {
    const struct block_q5_k *b = (const struct block_q5_k *)block;
    nibbles_in_order(b->qs, code);
    // Bits of groups (0, 2), (1, 3), (4, 6), (5, 7) of 32, moved to bit 4.
    const __m512i fifth = _mm512_set1_epi8(16);
    __m512i h = twice(b->qh);
    __m512i moved[4] = {
        _mm512_sllv_epi16(h, in_halves(4, 2)), _mm512_sllv_epi16(h, in_halves(3, 1)),
        _mm512_srlv_epi16(h, in_halves(0, 2)), _mm512_srlv_epi16(h, in_halves(1, 3))};
    UNROLL
    for (size_t j = 0; j < 4; j++)
        code[j] = _mm512_or_si512(code[j], _mm512_and_si512(moved[j], fifth));
}

INLINE void planes_in_order(const uint8_t *qs, __m512i code[4]) {
    const __m512i low = _mm512_set1_epi8(3);
    __m512i v = load_once(qs);
    code[0] = _mm512_and_si512(v, low);
    code[1] = _mm512_and_si512(_mm512_srli_epi16(v, 2), low);
    code[2] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    code[3] = _mm512_and_si512(_mm512_srli_epi16(v, 6), low);
}

INLINE void load_quad_q2_k(const uint8_t *const block[ROWS], struct quad *out) {
    const size_t at_d = offsetof(struct block_q2_k, d);
    const __m512i low = _mm512_set1_epi8(15);
    __m512i v = load_lanes(block, 0);
    out->scale = _mm512_and_si512(v, low);
    out->min = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    halves_of_lanes(_mm_setr_epi32((int)load_u32(block[0] + at_d), (int)load_u32(block[1] + at_d),
                                   (int)load_u32(block[2] + at_d), (int)load_u32(block[3] + at_d)),
                    out);
}

INLINE void codes_q2_k(const uint8_t *block, __m512i code[4]) {
    planes_in_order(((const struct block_q2_k *)block)->qs, code);
}

/* The last 16 bytes of a block: two of codes, three words of scales s, t, u, and d. */
INLINE void load_quad_q3_k(const uint8_t *const block[ROWS], struct quad *out) {
    __m512i v = load_lanes(block, sizeof(struct block_q3_k) - 16);
    __m512i stst =
        _mm512_shuffle_epi8(v, for_lanes(0x05040302, 0x09080706, 0x05040302, 0x09080706));
    __m512i uuuu =
        _mm512_shuffle_epi8(v, for_lanes(0x0d0c0b0a, 0x0d0c0b0a, 0x0d0c0b0a, 0x0d0c0b0a));
    __m512i low =
        _mm512_and_si512(_mm512_srlv_epi32(stst, for_lanes(0, 0, 4, 4)), _mm512_set1_epi8(0x0f));
    __m512i high =
        _mm512_and_si512(_mm512_rolv_epi32(uuuu, for_lanes(4, 2, 0, 30)), _mm512_set1_epi8(0x30));
    out->scale = _mm512_sub_epi8(_mm512_or_si512(low, high), _mm512_set1_epi8(32));
    const __m512i lasts = _mm512_setr_epi32(3, 7, 11, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i words = _mm512_castsi512_si128(_mm512_permutexvar_epi32(lasts, v));
    const __m128i upper = _mm_setr_epi8(2, 3, 6, 7, 10, 11, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1);
    out->d = _mm_cvtph_ps(_mm_shuffle_epi8(words, upper));
}

INLINE void codes_q3_k(const uint8_t *block, __m512i code[4]) {
    const struct block_q3_k *b = (const struct block_q3_k *)block;
    planes_in_order(b->qs, code);
    // Bits (0, 4), (1, 5), (2, 6), (3, 7), moved to bit 2.
    const __m512i third = _mm512_set1_epi8(4);
    __m512i h = twice(b->hmask), upper = _mm512_srlv_epi16(h, in_halves(0, 4));
    __m512i moved[4] = {_mm512_slli_epi16(upper, 2), _mm512_slli_epi16(upper, 1), upper,
                        _mm512_srli_epi16(upper, 1)};
    UNROLL
    for (size_t j = 0; j < 4; j++)
        code[j] = _mm512_or_si512(code[j], _mm512_and_si512(moved[j], third));
}

static const struct direct_format
    direct_format_q4_k = {load_quad_6_bit, codes_q4_k, order_4_bit, 144, 0, true},
    direct_format_q5_k = {load_quad_6_bit, codes_q5_k, order_4_bit, 176, 0, true},
    direct_format_q2_k = {load_quad_q2_k, codes_q2_k, order_2_bit, 84, 0, true},
    direct_format_q3_k = {load_quad_q3_k, codes_q3_k, order_2_bit, 110, 2, false};

static __m128 direct_q4_k(const struct direct *r) { return direct_quads(&direct_format_q4_k, r); }
static __m128 direct_q5_k(const struct direct *r) { return direct_quads(&direct_format_q5_k, r); }
static __m128 direct_q2_k(const struct direct *r) { return direct_quads(&direct_format_q2_k, r); }
static __m128 direct_q3_k(const struct direct *r) { return direct_quads(&direct_format_q3_k, r); }

/* ---- IQ4_XS: codes up to 8 bits, so sums before sub-scales ----------------------------------- */

/* What sums of code * q over groups of 32 have too much for a bias of 1 << SHIFT, negative, spread
 * over the lane of each group; two registers of four groups. */
INLINE void start_below(const int16_t *bsum, int shift, __m512i start[2]) {
    __m512i excess = _mm512_slli_epi32(_mm512_cvtepi16_epi32(load_256(bsum)), (unsigned)shift);
    __m512i below = _mm512_sub_epi32(_mm512_setzero_si512(), excess);
    const __m512i pairs = _mm512_setr_epi32(0, 1, 0, 0, 2, 3, 0, 0, 4, 5, 0, 0, 6, 7, 0, 0);
    start[0] = _mm512_maskz_permutexvar_epi32(0x3333, pairs, below);
    start[1] = _mm512_maskz_permutexvar_epi32(0x3333, _mm512_add_epi32(pairs, _mm512_set1_epi32(8)),
                                              below);
}

/* The scales of groups FIRST.. as int32, a lane for each group with an element for each row. LOW
 * and HIGH hold scales_l and scales_h of each row in all lanes. */
INLINE __m512i iq4_xs_scales(__m512i low, __m512i high, int first) {
    const __m512i lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __m512i group = _mm512_add_epi32(lane, _mm512_set1_epi32(first));
    __m512i four = _mm512_srlv_epi32(low, _mm512_slli_epi32(group, 2));
    __m512i two = _mm512_srlv_epi32(high, _mm512_slli_epi32(group, 1));
    four = _mm512_and_si512(four, _mm512_set1_epi32(15));
    two = _mm512_and_si512(two, _mm512_set1_epi32(3));
    return _mm512_sub_epi32(_mm512_or_si512(four, _mm512_slli_epi32(two, 4)),
                            _mm512_set1_epi32(32));
}

static __m128 direct_iq4_xs(const struct direct *r) {
    const size_t block_bytes = sizeof(struct block_iq4_xs);
    __m128 acc = _mm_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b++) {
        size_t at = b * block_bytes, ahead = bytes_ahead(r, at);
        __m512i a[4], start[2], dot[2][ROWS];
        __m128i head[ROWS];
        load_ordered(r->q + b * 256, order_halves, a);
        start_below(r->bsum + b * 16, 7, start);
        UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            const struct block_iq4_xs *block = (const void *)(r->row[i] + at);
            prefetch(r->row[i] + at + ahead, block_bytes);
            head[i] = _mm_loadl_epi64((const void *)block);
            __m512i code[4];
            nibbles_in_order(block->qs, code);
            UNROLL
            for (size_t j = 0; j < 4; j++) code[j] = look_up(quant_iq4_codebook, 128, code[j]);
            UNROLL
            for (size_t j = 0; j < 2; j++) {
                dot[j][i] = _mm512_dpbusd_epi32(start[j], code[2 * j], a[2 * j]);
                dot[j][i] = _mm512_dpbusd_epi32(dot[j][i], code[2 * j + 1], a[2 * j + 1]);
            }
        }
        __m128i ab = _mm_unpacklo_epi32(head[0], head[1]);
        __m128i cd = _mm_unpacklo_epi32(head[2], head[3]);
        __m128i words = _mm_unpacklo_epi64(ab, cd); // d below scales_h
        __m512i low = _mm512_broadcast_i32x4(_mm_unpackhi_epi64(ab, cd));
        __m512i high = _mm512_broadcast_i32x4(_mm_srli_epi32(words, 16));
        __m512i sum = _mm512_setzero_si512();
        UNROLL
        for (int j = 0; j < 2; j++) {
            __m512i dots = sum_in_lanes(dot[j][0], dot[j][1], dot[j][2], dot[j][3]);
            sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(dots, iq4_xs_scales(low, high, 4 * j)));
        }
        __m128i halves = _mm_and_si128(words, _mm_set1_epi32(0xffff));
        __m128 d = _mm_cvtph_ps(_mm_packus_epi32(halves, halves));
        acc = _mm_fmadd_ps(_mm_cvtepi32_ps(sum_of_lanes(sum)), _mm_mul_ps(d, _mm_set1_ps(r->d[b])),
                           acc);
    }
    return acc;
}

/* ---- Blocks of 32 in nibbles: four blocks of each row, a lane for each block ----------------- */

struct nibble_format {
    size_t block_bytes, at_codes; // d comes first, then m where HAS_MIN
    const int8_t *codebook;       // or NULL
    int bias;
    bool has_min;
};

/* The f16 at word FIRST of four blocks of STRIDE words that begin each of ROWS: element 4 l + i is
 * that of block l of row i. */
INLINE __m512 halves_of_blocks(const __m512i head[ROWS], int first, int stride) {
    int w[4];
    for (int l = 0; l < 4; l++) w[l] = (first + l * stride) * 0x10001;
    __m512i index =
        _mm512_setr_epi32(w[0], w[0], w[1], w[1], w[2], w[2], w[3], w[3], 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i v = _mm512_permutexvar_epi16(index, head[0]);
    v = _mm512_mask_permutexvar_epi16(v, 0x2222, index, head[1]);
    v = _mm512_mask_permutexvar_epi16(v, 0x4444, index, head[2]);
    v = _mm512_mask_permutexvar_epi16(v, 0x8888, index, head[3]);
    return _mm512_cvtph_ps(_mm512_castsi512_si256(v));
}

INLINE __m128 nth_lane(__m512 v, size_t l) {
    return l == 0   ? _mm512_castps512_ps128(v)
           : l == 1 ? _mm512_extractf32x4_ps(v, 1)
           : l == 2 ? _mm512_extractf32x4_ps(v, 2)
                    : _mm512_extractf32x4_ps(v, 3);
}

/* Activations of N blocks: the first halves of each in a[0], the others in a[1]. */
INLINE void load_halves(const int8_t *q, size_t n, __m512i a[2]) {
    __m512i first = _mm512_maskz_loadu_epi8(n > 1 ? ~0ull : 0xffffffff, q);
    __m512i second = _mm512_maskz_loadu_epi8(n > 3   ? ~0ull
                                             : n > 2 ? 0xffffffff
                                                     : 0,
                                             q + (n > 2 ? ZMM_BYTES : 0));
    a[0] = _mm512_shuffle_i32x4(first, second, 0x88);
    a[1] = _mm512_shuffle_i32x4(first, second, 0xdd);
}

/* Codes of N blocks (missing ones repeat the last) times activations. */
INLINE __m512i dot_nibbles(const struct nibble_format *f, const uint8_t *block, size_t n,
                           __m512i start, const __m512i a[2]) {
    const size_t step = f->block_bytes, last = (n - 1) * step;
    const uint8_t *p = block + f->at_codes;
    __m512i v = in_lanes(load_128(p), load_128(p + (n > 1 ? step : last)),
                         load_128(p + (n > 2 ? 2 * step : last)), load_128(p + last));
    __m512i low = _mm512_and_si512(v, _mm512_set1_epi8(15));
    __m512i high = _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
    if (f->codebook) {
        low = look_up(f->codebook, f->bias, low);
        high = look_up(f->codebook, f->bias, high);
    }
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(start, low, a[0]), high, a[1]);
}

/* Blocks B .. B + N - 1, N <= 4. */
INLINE __m128 add_nibbles(const struct nibble_format *f, const struct direct *r, size_t b, size_t n,
                          __m128 acc) {
    size_t at = b * f->block_bytes, ahead = bytes_ahead(r, at), n_bytes = n * f->block_bytes;
    const __m512i by_lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i pairs = _mm512_setr_epi32(0, 1, 0, 0, 2, 3, 0, 0, 4, 5, 0, 0, 6, 7, 0, 0);
    __m512i sums = _mm512_cvtepi16_epi32(_mm256_castsi128_si256(
        _mm_maskz_loadu_epi16((__mmask8)((1u << 2 * n) - 1), r->bsum + 2 * b)));
    __m512i start = _mm512_mullo_epi32(_mm512_maskz_permutexvar_epi32(0x3333, pairs, sums),
                                       _mm512_set1_epi32(-f->bias));
    __m512i a[2], dot[ROWS], head[ROWS];
    load_halves(r->q + b * 32, n, a);
    UNROLL
    for (size_t i = 0; i < ROWS; i++) {
        const uint8_t *block = r->row[i] + at;
        prefetch(block + ahead, n_bytes);
        head[i] =
            _mm512_maskz_loadu_epi8(n_bytes < ZMM_BYTES ? (1ull << n_bytes) - 1 : ~0ull, block);
        dot[i] = dot_nibbles(f, block, n, start, a);
    }
    int stride = (int)f->block_bytes / 2;
    __m512 dots = _mm512_cvtepi32_ps(sum_in_lanes(dot[0], dot[1], dot[2], dot[3])), asum = dots;
    __m128 da4 = _mm_maskz_loadu_ps((__mmask8)((1u << n) - 1), r->d + b);
    __m512 da = _mm512_permutexvar_ps(by_lane, _mm512_castps128_ps512(da4)), m = da;
    __m512 d = _mm512_mul_ps(halves_of_blocks(head, 0, stride), da);
    if (f->has_min) {
        m = _mm512_mul_ps(halves_of_blocks(head, 1, stride), da);
        __m512i both = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
        asum = _mm512_cvtepi32_ps(_mm512_permutexvar_epi32(_mm512_slli_epi32(by_lane, 1), both));
    }
    UNROLL
    for (size_t l = 0; l < n; l++) {
        acc = _mm_fmadd_ps(nth_lane(dots, l), nth_lane(d, l), acc);
        if (f->has_min) acc = _mm_fmadd_ps(nth_lane(asum, l), nth_lane(m, l), acc);
    }
    return acc;
}

INLINE __m128 direct_nibbles(const struct nibble_format *f, const struct direct *r) {
    __m128 acc = _mm_setzero_ps();
    size_t b = 0;
    for (; b + 4 <= r->n_blocks; b += 4) acc = add_nibbles(f, r, b, 4, acc);
    if (b + 1 == r->n_blocks) return add_nibbles(f, r, b, 1, acc);
    if (b + 2 == r->n_blocks) return add_nibbles(f, r, b, 2, acc);
    return b + 3 == r->n_blocks ? add_nibbles(f, r, b, 3, acc) : acc;
}

static const struct nibble_format nibbles_q4_0 = {sizeof(struct block_q4_0), 2, NULL, 8, false},
                                  nibbles_q4_1 = {sizeof(struct block_q4_1), 4, NULL, 0, true},
                                  nibbles_iq4_nl = {sizeof(struct block_iq4_nl), 2,
                                                    quant_iq4_codebook, 128, false};

static __m128 direct_q4_0(const struct direct *r) { return direct_nibbles(&nibbles_q4_0, r); }
static __m128 direct_q4_1(const struct direct *r) { return direct_nibbles(&nibbles_q4_1, r); }
static __m128 direct_iq4_nl(const struct direct *r) { return direct_nibbles(&nibbles_iq4_nl, r); }

#endif
