/* Products of one token with Q2_K and Q3_K, four blocks at a time; part of avx512.c.
 *
 * A product of codes and activations leaves sums over fours in its register, and where a group that
 * shares a sub-scale is as small as 16, much is left to do with them. So codes are turned before
 * they are unpacked, while they are few registers: of four blocks, the same four bytes of each
 * group become one register. The products of four such registers are the dots of groups, four of
 * each block, with a sub-scale for each element, and a sum over lanes has an element for each
 * block. With more bits there is more to turn, which takes what it saves. */
#ifndef OCTET_KERNELS_AVX512_FOURS_H
#define OCTET_KERNELS_AVX512_FOURS_H

#include "kernels/avx512_quads.h"

/* ---- Formats --------------------------------------------------------------------------------- */

/* What four blocks have packed, turned: element b of lane l in register k is dword k of what block
 * b has in lane l. */
struct turned {
    __m512i low[4];  // two bits of each code
    __m512i high[4]; // Q3_K: the upper ones, again in lanes 2 and 3
};

enum { SUM_SHIFT = 2 };

typedef void turn_fn(const uint8_t *const block[4], struct turned *out);

/* Elements 4 K .. 4 K + 3 of groups order_2_bit[4 J], .., order_2_bit[4 J + 3], a lane for each. */
typedef __m512i code_fn(const struct turned *t, size_t j, size_t k);

/* Of N blocks STEP bytes apart, for each element of DOT: the sum of scale * dot over its groups,
 * times 1 << SUM_SHIFT, and with mins that of min * BSUM. */
typedef void scale_fn(const uint8_t *block, size_t step, size_t n, const __m512i dot[4],
                      const int16_t *bsum, __m512i *dots, __m512i *mins);

struct four_format {
    turn_fn *turn;
    code_fn *code;
    scale_fn *scale;
    const struct quad_format *quads;
    int bias;              // of codes
    uint8_t code_shift[4]; // log2 of a factor of the codes of each J
};

/* 64 bytes at OFFSET of each block. */
INLINE void turn_64(const uint8_t *const block[4], size_t offset, __m512i out[4]) {
    __m512i v[4];
    UNROLL
    for (size_t i = 0; i < 4; i++) v[i] = load_once(block[i] + offset);
    transpose_in_lanes(v, out);
}

/* 32 bytes at OFFSET of each block, which lanes 2 and 3 have, too. */
INLINE void turn_32(const uint8_t *const block[4], size_t offset, __m512i out[4]) {
    __m512i two[2];
    UNROLL
    for (size_t i = 0; i < 2; i++)
        two[i] = _mm512_inserti64x4(_mm512_castsi256_si512(load_256(block[2 * i] + offset)),
                                    load_256(block[2 * i + 1] + offset), 1);
    UNROLL
    for (int k = 0; k < 4; k++) {
        int from[16];
        for (int i = 0; i < 16; i++) from[i] = i % 4 * 8 + i / 4 % 2 * 4 + k;
        out[k] = _mm512_permutex2var_epi32(two[0], _mm512_loadu_si512(from), two[1]);
    }
}

/* From the bytes of 16 groups, a lane for each block, to lane l those of groups order_2_bit[l],
 * order_2_bit[4 + l], .., an element for each block. */
INLINE __m512i turn_bytes(__m512i v) {
    int bytes[16];
#ifdef __AVX512VBMI__
    for (int i = 0; i < 16; i++) {
        const uint8_t *of = order_2_bit + i / 4;
        bytes[i] = (of[0] | of[4] << 8 | of[8] << 16 | of[12] << 24) + i % 4 * 0x10101010;
    }
    return _mm512_permutexvar_epi8(_mm512_loadu_si512(bytes), v);
#else
    const __m512i turn = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (int i = 0; i < 16; i++) {
        const uint8_t *of = order_2_bit + i % 4;
        bytes[i] = of[0] | of[4] << 8 | of[8] << 16 | of[12] << 24;
    }
    return _mm512_permutexvar_epi32(turn, _mm512_shuffle_epi8(v, _mm512_loadu_si512(bytes)));
#endif
}

/* Two dots that fit int16 as one dword: LOW, and above it HIGH, which has to be moved there. */
INLINE __m512i two_dots(__m512i low, __m512i high, unsigned shift) {
    return _mm512_mask_mov_epi16(_mm512_slli_epi32(high, shift), 0x55555555, low);
}

INLINE __m512i scale_two(__m512i first, __m512i scales, __m512i second, __m512i scales2) {
    return _mm512_dpwssd_epi32(_mm512_madd_epi16(first, scales), second, scales2);
}

/* ---- Q2_K, Q3_K ------------------------------------------------------------------------------ */

INLINE void turn_q2_k(const uint8_t *const block[4], struct turned *out) {
    turn_64(block, offsetof(struct block_q2_k, qs), out->low);
}

INLINE __m512i code_q2_k(const struct turned *t, size_t j, size_t k) {
    return _mm512_and_si512(t->low[k], _mm512_set1_epi8((char)(3 << 2 * j)));
}

INLINE void scale_q2_k(const uint8_t *block, size_t step, size_t n, const __m512i dot[4],
                       const int16_t *bsum, __m512i *dots, __m512i *mins) {
    const __m512i nibble = _mm512_set1_epi16(15);
    __m512i bytes = turn_bytes(load_lanes(block, step, n));
    __m512i even = _mm512_and_si512(_mm512_slli_epi16(bytes, 2), _mm512_set1_epi16(60));
    __m512i odd = _mm512_and_si512(_mm512_srli_epi16(bytes, 8), nibble);
    *dots = scale_two(two_dots(dot[0], dot[2], 12), even, two_dots(dot[1], dot[3], 12), odd);
    even = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble);
    odd = _mm512_srli_epi16(bytes, 12);
    *mins = scale_two(even, _mm512_loadu_si512(bsum), odd, _mm512_loadu_si512(bsum + 32));
}

INLINE void turn_q3_k(const uint8_t *const block[4], struct turned *out) {
    turn_64(block, offsetof(struct block_q3_k, qs), out->low);
    turn_32(block, offsetof(struct block_q3_k, hmask), out->high);
    // Bits 0-3, or those from 4 on, are of J = 0-3. They are moved to where J = 0 has its third
    // bit.
    const __m512i by = _mm512_setr_epi32(2, 2, 2, 2, 2, 2, 2, 2, 30, 30, 30, 30, 30, 30, 30, 30);
    UNROLL
    for (size_t k = 0; k < 4; k++) out->high[k] = _mm512_rolv_epi32(out->high[k], by);
}

INLINE __m512i code_q3_k(const struct turned *t, size_t j, size_t k) {
    __m512i v = t->low[k], h = t->high[k];
    switch (j) {
    case 0: return three_bits(v, h, 0);
    case 1: return three_bits(v, _mm512_slli_epi16(h, 1), 2);
    case 2: return three_bits(v, _mm512_slli_epi16(h, 2), 4);
    default: return three_bits(_mm512_srli_epi16(v, 2), _mm512_slli_epi16(h, 1), 4);
    }
}

INLINE void scale_q3_k(const uint8_t *block, size_t step, size_t n, const __m512i dot[4],
                       const int16_t *bsum, __m512i *dots, __m512i *mins) {
    (void)bsum;
    (void)mins;
    struct quad quad;
    load_quad_q3_k(block, step, n, &quad);
    __m512i bytes = turn_bytes(quad.scale);
    __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 6);
    __m512i odd = _mm512_srai_epi16(bytes, 8);
    *dots = scale_two(two_dots(dot[0], dot[2], 12), even, two_dots(dot[1], dot[3], 14), odd);
}

static const struct four_format fours_q2_k = {.turn = turn_q2_k,
                                              .code = code_q2_k,
                                              .scale = scale_q2_k,
                                              .quads = &quads_q2_k,
                                              .code_shift = {0, 2, 4, 6}},
                                fours_q3_k = {.turn = turn_q3_k,
                                              .code = code_q3_k,
                                              .scale = scale_q3_k,
                                              .quads = &quads_q3_k,
                                              .bias = 4,
                                              .code_shift = {0, 2, 4, 4}};

/* ---- Tokens ---------------------------------------------------------------------------------- */

/* N_ALL blocks, a multiple of four, as codes are turned: the N_BLOCKS there are again and again. */
static void prepare_q_turned(const int8_t *q, size_t n_blocks, size_t n_all, int8_t *out) {
    for (size_t b = 0; b < n_all; b += 4, out += 1024) {
        _Alignas(ZMM_BYTES) int8_t block[4][256];
        for (size_t i = 0; i < 4; i++)
            prepare_q(q + (b + i) % n_blocks * 256, 256, order_2_bit, block[i]);
        for (size_t j = 0; j < 4; j++) {
            __m512i in[4], turned[4];
            for (size_t i = 0; i < 4; i++) in[i] = _mm512_load_si512(block[i] + j * ZMM_BYTES);
            transpose_in_lanes(in, turned);
            for (size_t k = 0; k < 4; k++)
                _mm512_store_si512(out + (4 * k + j) * ZMM_BYTES, turned[k]);
        }
    }
}

/* Sums of groups for each four blocks, as mins are turned: those of J = 0 and 2 in turns, then
 * those of J = 1 and 3. */
static void prepare_bsum_turned(const int16_t *bsum, size_t n_blocks, size_t n_all, int16_t *out) {
    for (size_t b = 0; b < n_all; b++)
        for (size_t g = 0; g < 16; g++) {
            size_t j = g / 4, at = j % 2 * 32 + g % 4 * 8 + b % 4 * 2 + j / 2;
            out[b / 4 * 64 + at] = bsum[b % n_blocks * 16 + order_2_bit[g]];
        }
}

/* What dots of groups begin with: what undoes the bias of codes. */
static void prepare_start(const struct four_format *f, const int16_t *bsum, size_t n_blocks,
                          size_t n_all, int32_t *out) {
    for (size_t b = 0; b < n_all; b++)
        for (size_t g = 0; g < 16; g++) {
            int32_t sum = bsum[b % n_blocks * 16 + order_2_bit[g]];
            out[b / 4 * 64 + g * 4 + b % 4] = -(f->bias * sum * (1 << f->code_shift[g / 4]));
        }
}

/* ---- Products -------------------------------------------------------------------------------- */

/* Blocks B .. B + N - 1, N <= 4. */
INLINE void add_four(const struct four_format *f, const uint8_t *row, size_t b, size_t n,
                     const struct token *t, const struct sums *out) {
    const size_t step = f->quads->block_bytes;
    const int8_t *q = t->q + b * 256;
    const uint8_t *first = row + b * step, *block[4];
    struct turned turned;
    __m512i dot[4], dots, mins;
    UNROLL
    for (size_t i = 0; i < 4; i++) block[i] = first + (i < n ? i : n - 1) * step;
    f->turn(block, &turned);
    UNROLL
    for (size_t j = 0; j < 4; j++)
        dot[j] = f->bias ? _mm512_loadu_si512(t->sum + b * 16 + j * LANES) : _mm512_setzero_si512();
    UNROLL
    for (size_t k = 0; k < 4; k++) {
        __asm__("" : "+r"(q)); // a compiler would rather fetch for all blocks at once
        if (k < n) prefetch_part(t, first, n * step, k, n, q + k * 256, 256);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            dot[j] = _mm512_dpbusd_epi32(dot[j], f->code(&turned, j, k),
                                         _mm512_loadu_si512(q + (4 * k + j) * ZMM_BYTES));
    }
    f->scale(first, step, n, dot, t->bsum + b * 16, &dots, &mins);
    __m128i of_blocks = _mm_srai_epi32(sum_of_lanes(dots), SUM_SHIFT);
    put_blocks(f->quads, first, b, n, of_blocks, f->quads->has_min ? sum_of_lanes(mins) : of_blocks,
               out);
}

INLINE void direct_fours(const struct four_format *f, const uint8_t *row, size_t n_blocks,
                         const struct token *t, const struct sums *out) {
    size_t b = 0;
    for (; b + 4 <= n_blocks; b += 4) add_four(f, row, b, 4, t, out);
    if (b + 1 == n_blocks) add_four(f, row, b, 1, t, out);
    if (b + 2 == n_blocks) add_four(f, row, b, 2, t, out);
    if (b + 3 == n_blocks) add_four(f, row, b, 3, t, out);
}

#endif
