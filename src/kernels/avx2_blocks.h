/* Reads one weight block into AVX2 registers. Part of avx2.c alone; each format's integers and
 * scales equal those of its `unpack` (quant.h), shifted by a constant so that they are unsigned. */
#ifndef OCTET_KERNELS_AVX2_BLOCKS_H
#define OCTET_KERNELS_AVX2_BLOCKS_H

#include <immintrin.h>

#include "base/half.h"
#include "quant/blocks.h"

// The callers specialise on what they are given, which works only where it is inlined.
#define INLINE static inline __attribute__((always_inline))
// Arrays of registers stay registers only where the loops over them are unrolled.
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
// Compilers make trees of long sums of integers, with more partial sums than there are registers.
#define IN_THIS_ORDER(v) __asm__("" : "+x"(v))
// A lane to all lanes is one load, but many instructions where the compiler keeps the registers.
#define THROUGH_MEMORY(array) __asm__("" : "+m"(array))

enum {
    CHUNK = 32,     // elements in one register
    WIDTH = 8,      // lanes of 32 bits
    MAX_PLANES = 6, // of 32 bytes of codes, in a block of 256
};

struct block {
    __m256i w[QUANT_MAX_BLOCK / CHUNK]; // elements, plus the offset of their format
    // int16 per group of 16: even groups in the low half, odd groups in the high one. Chunk c,
    // whose halves are groups 2c and 2c + 1, thus finds its scales at place c of both halves.
    __m256i scale;
    float d, dmin;
};

/* Reads a block. */
typedef void load_fn(const uint8_t *p, struct block *out);
/* Planes of 32 bytes to elements: byte j of w[c] is element 32c + j. */
typedef void codes_fn(const __m256i *planes, __m256i *w);

INLINE __m256i load_256(const void *p) { return _mm256_loadu_si256(p); }
INLINE __m128i load_128(const void *p) { return _mm_loadu_si128(p); }
INLINE float load_half(const void *p) { return _cvtsh_ss(load_u16(p)); }

/* ---- Pieces ---------------------------------------------------------------------------------- */

INLINE __m256i low_nibbles(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
INLINE __m256i high_nibbles(__m256i v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }

/* 16 bytes to 32 elements: low nibbles first, then high ones. */
INLINE __m256i split_nibbles(const uint8_t *p) {
    __m128i v = load_128(p);
    return low_nibbles(_mm256_set_m128i(_mm_srli_epi16(v, 4), v));
}

/* Bit FROM of every byte, moved to bit TO. */
INLINE __m256i move_bit(__m256i v, int from, int to) {
    __m256i moved = from < to ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(1 << to)));
}

/* Bit i of BITS to all of byte i. */
INLINE __m256i bit_mask(uint32_t bits) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i mask = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), spread);
    return _mm256_cmpeq_epi8(_mm256_and_si256(v, mask), mask);
}

/* Bit i of BITS as the value 16 of byte i. */
INLINE __m256i fifth_bits(uint32_t bits) {
    return _mm256_and_si256(bit_mask(bits), _mm256_set1_epi8(16));
}

/* 16 bytes in group order, reordered to even groups, odd groups. */
INLINE __m128i even_odd(__m128i v) {
    return _mm_shuffle_epi8(v, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
}

INLINE __m256i even_odd_16(__m256i v) {
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0,
                                           1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, order), 0xd8);
}

/* 16 int16, even groups first, in order. */
INLINE __m256i in_order(__m256i v) {
    __m128i even = _mm256_castsi256_si128(v), odd = _mm256_extracti128_si256(v, 1);
    return _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
}

INLINE __m256i codebook(__m128i table, __m256i index) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index);
}

/* The 16 levels of IQ4_NL and IQ4_XS. */
INLINE __m128i iq4_levels(void) {
    return _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
}

/* Twice the values of the codes of MXFP4, plus 12. */
INLINE __m128i mxfp4_levels(void) {
    return _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
}

INLINE void no_scales(struct block *out) {
    out->scale = _mm256_set1_epi16(1);
    out->dmin = 0;
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

INLINE void load_q5_0(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->w[0] = _mm256_or_si256(split_nibbles(p + 6), fifth_bits(load_u32(p + 2)));
}

INLINE void load_q5_1(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->dmin = -load_half(p + 2);
    out->w[0] = _mm256_or_si256(split_nibbles(p + 8), fifth_bits(load_u32(p + 4)));
}

/* 2^(e - 128); 255 means NaN, the two smallest are subnormal. */
INLINE float mxfp4_scale(uint8_t e) {
    if (e == 255) return f32_from_bits(0x7fc00000);
    return f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* ---- Blocks of 256: planes ------------------------------------------------------------------- */

INLINE void codes_q2_k(const __m256i *planes, __m256i *w) {
    UNROLL
    for (int c = 0; c < 8; c++)
        w[c] = _mm256_and_si256(_mm256_srli_epi16(planes[c / 4], c % 4 * 2), _mm256_set1_epi8(3));
}

/* Those of half of a block, whose high bits are the low nibbles H. */
INLINE void half_codes_q3_k(__m256i h, __m256i v, __m256i w[4]) {
    const __m256i two = _mm256_set1_epi8(0x33);
    // Bits 0 and 2, or 1 and 3, of a nibble moved to 2 and 6.
    const __m128i even =
        _mm_setr_epi8(0, 4, 0, 4, 0x40, 0x44, 0x40, 0x44, 0, 4, 0, 4, 0x40, 0x44, 0x40, 0x44);
    const __m128i odd =
        _mm_setr_epi8(0, 0, 4, 4, 0, 0, 4, 4, 0x40, 0x40, 0x44, 0x44, 0x40, 0x40, 0x44, 0x44);
    __m256i of_even = _mm256_or_si256(_mm256_and_si256(v, two), codebook(even, h));
    v = _mm256_srli_epi16(v, 2);
    __m256i of_odd = _mm256_or_si256(_mm256_and_si256(v, two), codebook(odd, h));
    w[0] = low_nibbles(of_even);
    w[1] = low_nibbles(of_odd);
    w[2] = high_nibbles(of_even);
    w[3] = high_nibbles(of_odd);
}

/* The first plane has the high bits. */
INLINE void codes_q3_k(const __m256i *planes, __m256i *w) {
    half_codes_q3_k(low_nibbles(planes[0]), planes[1], w);
    half_codes_q3_k(high_nibbles(planes[0]), planes[2], w + 4);
}

INLINE void codes_q4_k(const __m256i *planes, __m256i *w) {
    UNROLL
    for (int c = 0; c < 8; c += 2) {
        w[c] = low_nibbles(planes[c / 2]);
        w[c + 1] = high_nibbles(planes[c / 2]);
    }
}

/* The first plane has the high bits. */
INLINE void codes_q5_k(const __m256i *planes, __m256i *w) {
    codes_q4_k(planes + 1, w);
    UNROLL
    for (int c = 0; c < 8; c++) w[c] = _mm256_or_si256(w[c], move_bit(planes[0], c, 4));
}

/* The last two planes have the high bits. */
INLINE void codes_q6_k(const __m256i *planes, __m256i *w) {
    const __m256i bits45 = _mm256_set1_epi8(0x30);
    UNROLL
    for (int half = 0; half < 2; half++) {
        __m256i a = planes[2 * half], b = planes[2 * half + 1], high = planes[4 + half];
        w[4 * half] =
            _mm256_or_si256(low_nibbles(a), _mm256_and_si256(_mm256_slli_epi16(high, 4), bits45));
        w[4 * half + 1] =
            _mm256_or_si256(low_nibbles(b), _mm256_and_si256(_mm256_slli_epi16(high, 2), bits45));
        w[4 * half + 2] = _mm256_or_si256(high_nibbles(a), _mm256_and_si256(high, bits45));
        w[4 * half + 3] =
            _mm256_or_si256(high_nibbles(b), _mm256_and_si256(_mm256_srli_epi16(high, 2), bits45));
    }
}

INLINE void load_planes(const uint8_t *p, size_t n_planes, codes_fn *codes, __m256i *w) {
    __m256i planes[MAX_PLANES];
    UNROLL
    for (size_t j = 0; j < n_planes; j++) planes[j] = load_256(p + j * CHUNK);
    codes(planes, w);
}

/* ---- Blocks of 256 --------------------------------------------------------------------------- */

INLINE void load_q6_k(const uint8_t *p, struct block *out) {
    out->scale = _mm256_cvtepi8_epi16(even_odd(load_128(p + 192)));
    out->d = load_half(p + 208);
    load_planes(p, 6, codes_q6_k, out->w);
}

/* int16 for groups of 32, twice. */
INLINE __m256i scales_iq4_xs(const uint8_t *p) {
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
    return _mm256_sub_epi16(_mm256_or_si256(low, high), _mm256_set1_epi16(32));
}

INLINE void load_tq2_0(const uint8_t *p, struct block *out) {
    out->scale = _mm256_set1_epi16(1);
    out->d = load_half(p + 64);
    load_planes(p, 2, codes_q2_k, out->w);
}

/* Rare, and its digits are no bits: from `unpack`. */
INLINE void load_tq1_0(const uint8_t *p, struct block *out) {
    struct quant_block u;
    quant_unpack_tq1_0(p, &u);
    out->d = u.d;
    out->scale = _mm256_set1_epi16(1);
    for (int c = 0; c < 8; c++)
        out->w[c] = _mm256_add_epi8(load_256(u.q + c * CHUNK), _mm256_set1_epi8(1));
}

#endif
