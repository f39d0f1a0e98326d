/* Strips of 16 rows for AVX-512, with a lane for each row; part of avx512.c. A strip is what
 * batches multiply with: unpacked once, it serves all tokens. The common formats are unpacked in
 * columns: packed bytes are transposed, so that what follows works on all rows at once. The others
 * go through their loaders, row by row. */
#ifndef OCTET_KERNELS_AVX512_STRIPS_H
#define OCTET_KERNELS_AVX512_STRIPS_H

#include "kernels/avx512_quads.h"

enum { STRIP = LANES };

/* ---- Strips: 16 rows, a lane for each -------------------------------------------------------- */

/* Codes lie as [element / 4][row][element % 4]: a register holds 4 elements of every row. */
struct strip_256 {
    uint8_t code[64][ZMM_BYTES];
    // Of groups of 16, or of groups of 32 if these are what is scaled.
    int32_t scale[16][STRIP];
    int16_t min[8][STRIP][2]; // of two groups
    float d[STRIP], dmin[STRIP];
};

struct strip_32 {
    uint8_t code[8][ZMM_BYTES];
    float d[STRIP], dmin[STRIP];
};

/* The same, stored one after the other. */
INLINE void transpose(const void *src, size_t stride, void *dst) {
    __m512i columns[4];
    transpose_words(src, stride, columns);
    UNROLL
    for (size_t i = 0; i < 4; i++) _mm512_storeu_si512((char *)dst + i * ZMM_BYTES, columns[i]);
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
    for (int j = 0; j < 4; j++) c->code[j] = fold_scale(c->code[j], pair_scales(c->scale, j), bias);
}

/* Rows past n_rows repeat the last one; nobody looks at what comes of them. */
INLINE const uint8_t *row_or_last(const uint8_t *w, size_t row, size_t n_rows, size_t row_bytes) {
    return w + (row < n_rows ? row : n_rows - 1) * row_bytes;
}

/* ---- Columns --------------------------------------------------------------------------------- */

/* Blocks of 16 rows to a strip. */
typedef void build_fn(const uint8_t *const block[STRIP], struct strip_256 *out);

/* 4 words at OFFSET of each row's block. */
INLINE void four_columns(const uint8_t *const block[STRIP], size_t offset, __m512i out[4]) {
    __m512i v[4];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        v[i] = in_lanes(load_128(block[i] + offset), load_128(block[i + 4] + offset),
                        load_128(block[i + 8] + offset), load_128(block[i + 12] + offset));
    transpose_in_lanes(v, out);
}

/* 16 words at OFFSET of each row's block. */
static void sixteen_columns(const uint8_t *const block[STRIP], size_t offset, __m512i out[16]) {
    __m512i in[4][4]; // rows 4 q + i, then columns 4 l + i of lane l, of rows 4 q ..
    for (size_t q = 0; q < 4; q++) {
        for (size_t i = 0; i < 4; i++) in[q][i] = _mm512_loadu_si512(block[4 * q + i] + offset);
        __m512i columns[4];
        transpose_in_lanes(in[q], columns);
        for (size_t i = 0; i < 4; i++) in[q][i] = columns[i];
    }
    for (size_t i = 0; i < 4; i++) {
        __m512i even = _mm512_shuffle_i32x4(in[0][i], in[1][i], 0x88);
        __m512i odd = _mm512_shuffle_i32x4(in[0][i], in[1][i], 0xdd);
        __m512i even2 = _mm512_shuffle_i32x4(in[2][i], in[3][i], 0x88);
        __m512i odd2 = _mm512_shuffle_i32x4(in[2][i], in[3][i], 0xdd);
        out[i] = _mm512_shuffle_i32x4(even, even2, 0x88);
        out[4 + i] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(even, even2, 0xdd);
        out[12 + i] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
    }
}

INLINE __m512i shifted_right(__m512i v, size_t n_bits) {
    return _mm512_srlv_epi32(v, _mm512_set1_epi32((int)n_bits));
}

/* BITS of every byte, from bit FIRST on. */
INLINE __m512i bits_of_bytes(__m512i v, size_t first, int bits) {
    return _mm512_and_si512(shifted_right(v, first), _mm512_set1_epi8((char)((1 << bits) - 1)));
}

INLINE __m512i bits_of_words(__m512i v, size_t first, int bits) {
    return _mm512_and_si512(shifted_right(v, first), _mm512_set1_epi32((1 << bits) - 1));
}

INLINE void store_code(struct strip_256 *out, size_t word, __m512i code) {
    _mm512_storeu_si512(out->code[word], code);
}

/* The f16 in the low half of each word. */
INLINE __m512 low_halves(__m512i words) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words)); }

/* EVEN and ODD are those of groups 2 i and 2 i + 1. */
INLINE void store_mins(struct strip_256 *out, size_t i, __m512i even, __m512i odd) {
    even = _mm512_and_si512(even, _mm512_set1_epi32(0xffff));
    _mm512_storeu_si512(out->min[i], _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
}

/* ---- Q4_K, Q5_K ------------------------------------------------------------------------------ */

static void columns_6_bit(const uint8_t *const block[STRIP], struct strip_256 *out) {
    __m512i w[4], min[8];
    four_columns(block, 0, w);
    _mm512_storeu_ps(out->d, low_halves(w[0]));
    _mm512_storeu_ps(out->dmin, low_halves(_mm512_srli_epi32(w[0], 16)));
    for (size_t i = 0; i < 4; i++) {
        __m512i s = bits_of_words(w[1], 8 * i, 8), m = bits_of_words(w[2], 8 * i, 8);
        __m512i u = bits_of_words(w[3], 8 * i, 8), low = _mm512_set1_epi32(63);
        __m512i top = _mm512_set1_epi32(48);
        __m512i s2 = _mm512_and_si512(_mm512_srli_epi32(s, 2), top);
        __m512i m2 = _mm512_and_si512(_mm512_srli_epi32(m, 2), top);
        s2 = _mm512_or_si512(s2, _mm512_and_si512(u, _mm512_set1_epi32(15)));
        m2 = _mm512_or_si512(m2, _mm512_srli_epi32(u, 4));
        _mm512_storeu_si512(out->scale[i], _mm512_and_si512(s, low));
        _mm512_storeu_si512(out->scale[4 + i], s2);
        min[i] = _mm512_and_si512(m, low);
        min[4 + i] = m2;
    }
    for (size_t i = 0; i < 4; i++) store_mins(out, i, min[2 * i], min[2 * i + 1]);
}

static void build_q4_k(const uint8_t *const block[STRIP], struct strip_256 *out) {
    columns_6_bit(block, out);
    for (size_t half = 0; half < 2; half++) {
        __m512i t[16];
        sixteen_columns(block, offsetof(struct block_q4_k, qs) + 64 * half, t);
        for (size_t w = 0; w < 16; w++) {
            const uint8_t *o = order_4_bit + 8 * half + w / 4;
            store_code(out, 4 * (size_t)o[0] + w % 4, bits_of_bytes(t[w], 0, 4));
            store_code(out, 4 * (size_t)o[4] + w % 4, bits_of_bytes(t[w], 4, 4));
        }
    }
}

static void build_q5_k(const uint8_t *const block[STRIP], struct strip_256 *out) {
    __m512i h[8];
    columns_6_bit(block, out);
    four_columns(block, offsetof(struct block_q5_k, qh), h);
    four_columns(block, offsetof(struct block_q5_k, qh) + 16, h + 4);
    for (size_t half = 0; half < 2; half++) {
        __m512i t[16];
        sixteen_columns(block, offsetof(struct block_q5_k, qs) + 64 * half, t);
        for (size_t w = 0; w < 16; w++)
            for (size_t nibble = 0; nibble < 2; nibble++) {
                size_t group = order_4_bit[8 * half + 4 * nibble + w / 4];
                __m512i fifth = _mm512_slli_epi32(bits_of_bytes(h[w % 8], group / 2, 1), 4);
                __m512i code = _mm512_or_si512(bits_of_bytes(t[w], 4 * nibble, 4), fifth);
                store_code(out, 4 * group + w % 4, code);
            }
    }
}

/* ---- Q6_K ------------------------------------------------------------------------------------ */

static void build_q6_k(const uint8_t *const block[STRIP], struct strip_256 *out) {
    __m512i w[4], t[16], h[8];
    four_columns(block, sizeof(struct block_q6_k) - 16, w); // d is the last of a block
    _mm512_storeu_ps(out->d, low_halves(_mm512_srli_epi32(w[3], 16)));
    four_columns(block, offsetof(struct block_q6_k, scales), w);
    for (size_t g = 0; g < 16; g++) {
        __m512i on_top = _mm512_sllv_epi32(w[g / 4], _mm512_set1_epi32(24 - 8 * (int)(g % 4)));
        _mm512_storeu_si512(out->scale[g], _mm512_srai_epi32(on_top, 24));
    }
    for (size_t half = 0; half < 2; half++) {
        sixteen_columns(block, 64 * half, t);
        four_columns(block, offsetof(struct block_q6_k, qh) + 32 * half, h);
        four_columns(block, offsetof(struct block_q6_k, qh) + 32 * half + 16, h + 4);
        for (size_t p = 0; p < 4; p++)
            for (size_t i = 0; i < 8; i++) {
                __m512i low = bits_of_bytes(t[8 * (p % 2) + i], p / 2 * 4, 4);
                __m512i high = _mm512_slli_epi32(bits_of_bytes(h[i], 2 * p, 2), 4);
                store_code(out, 32 * half + 8 * p + i, _mm512_or_si512(low, high));
            }
    }
}

/* ---- IQ4_XS ---------------------------------------------------------------------------------- */

static void build_iq4_xs(const uint8_t *const block[STRIP], struct strip_256 *out) {
    __m512i w[4], t[16];
    four_columns(block, 0, w); // d below scales_h, then scales_l
    _mm512_storeu_ps(out->d, low_halves(w[0]));
    for (size_t g = 0; g < 8; g++) {
        __m512i low = bits_of_words(w[1], 4 * g, 4), high = bits_of_words(w[0], 16 + 2 * g, 2);
        __m512i scale = _mm512_or_si512(low, _mm512_slli_epi32(high, 4));
        _mm512_storeu_si512(out->scale[g], _mm512_sub_epi32(scale, _mm512_set1_epi32(32)));
    }
    for (size_t half = 0; half < 2; half++) {
        sixteen_columns(block, offsetof(struct block_iq4_xs, qs) + 64 * half, t);
        for (size_t i = 0; i < 16; i++)
            for (size_t nibble = 0; nibble < 2; nibble++) {
                size_t group = 8 * half + 2 * (i / 4) + nibble;
                __m512i v = nibble ? _mm512_srli_epi16(t[i], 4) : t[i];
                store_code(out, 4 * group + i % 4, look_up(quant_iq4_codebook, 128, v));
            }
    }
}

/* ---- Q2_K, Q3_K: sub-scales go into the codes ------------------------------------------------ */

/* The group of 16 that word W of 16 has in plane P of 2 bits. */
INLINE size_t plane_group(size_t p, size_t w) { return w / 8 * 8 + 2 * p + w % 8 / 4; }

INLINE __m512i in_both_halves(__m512i v) { return _mm512_or_si512(v, _mm512_slli_epi32(v, 16)); }

static void build_q2_k(const uint8_t *const block[STRIP], struct strip_256 *out) {
    __m512i w[4], t[16], scale[16], min[16];
    four_columns(block, sizeof(struct block_q2_k) - 16, w); // d and dmin are the last of a block
    _mm512_storeu_ps(out->d, low_halves(w[3]));
    _mm512_storeu_ps(out->dmin, low_halves(_mm512_srli_epi32(w[3], 16)));
    four_columns(block, 0, w);
    for (size_t g = 0; g < 16; g++) {
        scale[g] = in_both_halves(bits_of_words(w[g / 4], 8 * (g % 4), 4));
        min[g] = bits_of_words(w[g / 4], 8 * (g % 4) + 4, 4);
    }
    for (size_t i = 0; i < 8; i++) store_mins(out, i, min[2 * i], min[2 * i + 1]);
    sixteen_columns(block, offsetof(struct block_q2_k, qs), t);
    for (size_t p = 0; p < 4; p++)
        for (size_t i = 0; i < 16; i++) {
            size_t group = plane_group(p, i);
            // At most 45 in each byte: a product of two bytes carries nothing over.
            __m512i code = _mm512_mullo_epi16(bits_of_bytes(t[i], 2 * p, 2), scale[group]);
            store_code(out, 4 * group + i % 4, code);
        }
}

static void build_q3_k(const uint8_t *const block[STRIP], struct strip_256 *out) {
    __m512i w[4], s[3], t[16], h[8], scale[16];
    four_columns(block, sizeof(struct block_q3_k) - 16, w); // two bytes too early
    for (size_t i = 0; i < 3; i++)
        s[i] = _mm512_or_si512(_mm512_srli_epi32(w[i], 16), _mm512_slli_epi32(w[i + 1], 16));
    _mm512_storeu_ps(out->d, low_halves(_mm512_srli_epi32(w[3], 16)));
    for (size_t g = 0; g < 16; g++) {
        __m512i low = bits_of_words(s[g % 8 / 4], 8 * (g % 4) + g / 8 * 4, 4);
        __m512i high = bits_of_words(s[2], 8 * (g % 4) + g / 4 * 2, 2);
        scale[g] = _mm512_sub_epi32(_mm512_or_si512(low, _mm512_slli_epi32(high, 4)),
                                    _mm512_set1_epi32(32));
        scale[g] = in_both_halves(_mm512_and_si512(scale[g], _mm512_set1_epi32(0xffff)));
    }
    four_columns(block, 0, h);
    four_columns(block, 16, h + 4);
    sixteen_columns(block, offsetof(struct block_q3_k, qs), t);
    for (size_t p = 0; p < 4; p++)
        for (size_t i = 0; i < 16; i++) {
            size_t group = plane_group(p, i);
            __m512i third = _mm512_slli_epi32(bits_of_bytes(h[i % 8], p + i / 8 * 4, 1), 2);
            __m512i code = _mm512_or_si512(bits_of_bytes(t[i], 2 * p, 2), third);
            store_code(out, 4 * group + i % 4, fold_scale(code, scale[group], 4));
        }
}

#endif
