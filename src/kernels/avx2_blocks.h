/* Reads one weight block into AVX2 registers. Part of avx2.c alone; each format's integers and
 * scales equal those of its `unpack` (quant.h), shifted by a constant so that they are unsigned. */
#ifndef OCTET_KERNELS_AVX2_BLOCKS_H
#define OCTET_KERNELS_AVX2_BLOCKS_H

#include <immintrin.h>

#include "base/half.h"
#include "quant/quant.h"

enum { CHUNK = 32 }; // elements in one register

struct block {
    __m256i w[QUANT_MAX_BLOCK / CHUNK]; // elements, plus the offset of their format
    // int16 per group of 16: even groups in the low half, odd groups in the high one. Chunk c,
    // whose halves are groups 2c and 2c + 1, thus finds its scales at place c of both halves.
    __m256i scale, min;
    float d, dmin;
    // Set by the caller, for load_any only.
    void (*unpack)(const void *block, struct quant_block *out);
    uint8_t n_chunks, offset;
};

static inline __m256i load_256(const void *p) { return _mm256_loadu_si256(p); }
static inline __m128i load_128(const void *p) { return _mm_loadu_si128(p); }
static inline float load_half(const void *p) { return _cvtsh_ss(load_u16(p)); }

/* ---- Pieces ---------------------------------------------------------------------------------- */

static inline __m256i low_nibbles(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
static inline __m256i high_nibbles(__m256i v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }

/* 16 bytes to 32 elements: low nibbles first, then high ones. */
static inline __m256i split_nibbles(const uint8_t *p) {
    __m128i v = load_128(p);
    return low_nibbles(_mm256_set_m128i(_mm_srli_epi16(v, 4), v));
}

/* Bit FROM of every byte, moved to bit TO. */
static inline __m256i move_bit(__m256i v, int from, int to) {
    __m256i moved = from < to ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(1 << to)));
}

/* Bit i of BITS as the value 16 of byte i. */
static inline __m256i fifth_bits(uint32_t bits) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i mask = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), spread);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, mask), mask),
                            _mm256_set1_epi8(16));
}

/* 16 bytes in group order, reordered to even groups, odd groups. */
static inline __m128i even_odd(__m128i v) {
    return _mm_shuffle_epi8(v, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
}

static inline __m256i codebook(__m128i table, __m256i index) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index);
}

/* The 16 levels of IQ4_NL and IQ4_XS. */
static inline __m128i iq4_levels(void) {
    return _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
}

static inline void no_scales(struct block *out) {
    out->scale = out->min = _mm256_set1_epi16(1);
    out->dmin = 0;
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

static inline void load_q4_0(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->w[0] = split_nibbles(p + 2);
}

static inline void load_q4_1(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->dmin = -load_half(p + 2);
    out->w[0] = split_nibbles(p + 4);
}

static inline void load_q5_0(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->w[0] = _mm256_or_si256(split_nibbles(p + 6), fifth_bits(load_u32(p + 2)));
}

static inline void load_q5_1(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->dmin = -load_half(p + 2);
    out->w[0] = _mm256_or_si256(split_nibbles(p + 8), fifth_bits(load_u32(p + 4)));
}

static inline void load_q8_0(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->w[0] = load_256(p + 2);
}

static inline void load_iq4_nl(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->w[0] = codebook(iq4_levels(), split_nibbles(p + 2));
}

/* 2^(e - 128); 255 means NaN, the two smallest are subnormal. */
static inline float mxfp4_scale(uint8_t e) {
    if (e == 255) return f32_from_bits(0x7fc00000);
    return f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Twice the values of the codes, plus 12. */
static inline void load_mxfp4(const uint8_t *p, struct block *out) {
    const __m128i levels = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    no_scales(out);
    out->d = mxfp4_scale(p[0]);
    out->w[0] = codebook(levels, split_nibbles(p + 1));
}

/* ---- Blocks of 256 --------------------------------------------------------------------------- */

static inline void load_q2_k(const uint8_t *p, struct block *out) {
    __m256i scales = _mm256_cvtepu8_epi16(even_odd(load_128(p)));
    out->scale = _mm256_and_si256(scales, _mm256_set1_epi16(15));
    out->min = _mm256_srli_epi16(scales, 4);
    out->d = load_half(p + 80);
    out->dmin = load_half(p + 82);
    for (int c = 0; c < 8; c++)
        out->w[c] = _mm256_and_si256(_mm256_srli_epi16(load_256(p + 16 + c / 4 * 32), c % 4 * 2),
                                     _mm256_set1_epi8(3));
}

static inline void load_q3_k(const uint8_t *p, struct block *out) {
    uint32_t s0 = load_u32(p + 96), s1 = load_u32(p + 100), s2 = load_u32(p + 104);
    __m128i low = _mm_setr_epi32((int)s0, (int)s1, (int)(s0 >> 4), (int)(s1 >> 4));
    __m128i high = _mm_setr_epi32((int)(s2 << 4), (int)(s2 << 2), (int)s2, (int)(s2 >> 2));
    __m128i scales = _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(0x0f)),
                                  _mm_and_si128(high, _mm_set1_epi8(0x30)));
    out->scale = _mm256_cvtepi8_epi16(_mm_sub_epi8(even_odd(scales), _mm_set1_epi8(32)));
    out->d = load_half(p + 108);
    __m256i high_bits = load_256(p);
    for (int c = 0; c < 8; c++) {
        __m256i v = _mm256_srli_epi16(load_256(p + 32 + c / 4 * 32), c % 4 * 2);
        out->w[c] =
            _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi8(3)), move_bit(high_bits, c, 2));
    }
}

/* The twelve bytes of Q4_K and Q5_K that hold 8 scales and 8 mins of 6 bits. */
static inline void load_six_bits(const uint8_t *p, struct block *out) {
    const uint32_t low6 = 0x3f3f3f3f, low4 = 0x0f0f0f0f, top2 = 0x30303030;
    uint32_t a = load_u32(p), b = load_u32(p + 4), c = load_u32(p + 8);
    __m128i v = _mm_setr_epi32((int)(a & low6), (int)((c & low4) | (a >> 2 & top2)),
                               (int)(b & low6), (int)((c >> 4 & low4) | (b >> 2 & top2)));
    out->scale = _mm256_cvtepu8_epi16(_mm_unpacklo_epi64(v, v));
    out->min = _mm256_cvtepu8_epi16(_mm_unpackhi_epi64(v, v));
}

static inline void load_q4_k(const uint8_t *p, struct block *out) {
    out->d = load_half(p);
    out->dmin = load_half(p + 2);
    load_six_bits(p + 4, out);
    for (int c = 0; c < 8; c += 2) {
        __m256i v = load_256(p + 16 + c * 16);
        out->w[c] = low_nibbles(v);
        out->w[c + 1] = high_nibbles(v);
    }
}

static inline void load_q5_k(const uint8_t *p, struct block *out) {
    out->d = load_half(p);
    out->dmin = load_half(p + 2);
    load_six_bits(p + 4, out);
    __m256i high_bits = load_256(p + 16);
    for (int c = 0; c < 8; c += 2) {
        __m256i v = load_256(p + 48 + c * 16);
        out->w[c] = _mm256_or_si256(low_nibbles(v), move_bit(high_bits, c, 4));
        out->w[c + 1] = _mm256_or_si256(high_nibbles(v), move_bit(high_bits, c + 1, 4));
    }
}

static inline void load_q6_k(const uint8_t *p, struct block *out) {
    const __m256i bits45 = _mm256_set1_epi8(0x30);
    out->scale = _mm256_cvtepi8_epi16(even_odd(load_128(p + 192)));
    out->d = load_half(p + 208);
    for (int half = 0; half < 2; half++) {
        __m256i a = load_256(p + half * 64), b = load_256(p + half * 64 + 32);
        __m256i high = load_256(p + 128 + half * 32), *w = out->w + half * 4;
        w[0] =
            _mm256_or_si256(low_nibbles(a), _mm256_and_si256(_mm256_slli_epi16(high, 4), bits45));
        w[1] =
            _mm256_or_si256(low_nibbles(b), _mm256_and_si256(_mm256_slli_epi16(high, 2), bits45));
        w[2] = _mm256_or_si256(high_nibbles(a), _mm256_and_si256(high, bits45));
        w[3] =
            _mm256_or_si256(high_nibbles(b), _mm256_and_si256(_mm256_srli_epi16(high, 2), bits45));
    }
}

static inline void load_iq4_xs(const uint8_t *p, struct block *out) {
    // Nibbles of four bytes to eight bytes in order, then two more bits for each.
    __m128i nibbles = _mm_cvtsi32_si128((int)load_u32(p + 4));
    nibbles =
        _mm_and_si128(_mm_unpacklo_epi8(nibbles, _mm_srli_epi16(nibbles, 4)), _mm_set1_epi8(15));
    __m256i low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi64(nibbles, nibbles));
    // Multiplying by 2^(14 - 2g) puts bits 2g and 2g + 1 on top.
    const __m256i lift =
        _mm256_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1, 1 << 14,
                          1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1);
    __m256i high = _mm256_mullo_epi16(_mm256_set1_epi16((short)load_u16(p + 2)), lift);
    high = _mm256_slli_epi16(_mm256_srli_epi16(high, 14), 4);
    out->scale = _mm256_sub_epi16(_mm256_or_si256(low, high), _mm256_set1_epi16(32));
    out->d = load_half(p);
    for (int c = 0; c < 8; c++) out->w[c] = codebook(iq4_levels(), split_nibbles(p + 8 + c * 16));
}

/* ---- The rest -------------------------------------------------------------------------------- */

static inline void load_any(const uint8_t *p, struct block *out) {
    struct quant_block u = {0};
    out->unpack(p, &u);
    out->d = u.d;
    out->dmin = u.dmin;
    out->scale = _mm256_cvtepi8_epi16(even_odd(load_128(u.scale)));
    out->min = _mm256_cvtepu8_epi16(even_odd(load_128(u.min)));
    __m256i offset = _mm256_set1_epi8((char)out->offset);
    for (int c = 0; c < out->n_chunks; c++)
        out->w[c] = _mm256_add_epi8(load_256(u.q + c * CHUNK), offset);
}

#endif
