/* Loads blocks of the quantised formats, lattices apart, into AVX-512 registers: unsigned codes in
 * element order and int16 sub-scales. Part of avx512.c; kept apart because it is all that the
 * kernels know about formats.
 *
 * A loader gives code = q + bias, where q is what the format's unpack gives (quant.h) and bias is a
 * property of the format, so that the u8 x s8 instructions apply. */
#ifndef OCTET_KERNELS_AVX512_FORMATS_H
#define OCTET_KERNELS_AVX512_FORMATS_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/blocks.h"
#include "quant/grids.h"

// The callers specialise on the loader, which works only where it is inlined.
#define INLINE static inline __attribute__((always_inline))
// Arrays of registers stay registers only where the loops over them are unrolled.
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum { LANES = 16 };

INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)(n >= LANES ? 0xffff : (1u << n) - 1); }

/* 256 elements. */
struct chunk {
    __m512i code[4];    // 64 elements each
    __m256i scale, min; // int16 for each group of 16; min only where the type has_min
    float d, dmin;
};

/* 64 elements: two consecutive blocks of 32. Sub-scales are 1 and mins, where there are any, 1. */
struct pair {
    __m512i code;
    float d[2], dmin[2];
};

typedef void load_chunk_fn(const void *block, struct chunk *out);
typedef void load_pair_fn(const void *first, const void *second, struct pair *out);

INLINE uint64_t load_u64(const void *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE float half_at(const uint8_t *p) { return _cvtsh_ss(load_u16(p)); }

/* VALUE's low half for the first 32 elements, HIGH for the others. */
INLINE __m512i in_halves(int low, int high) {
    return _mm512_inserti64x4(_mm512_set1_epi16((short)low), _mm256_set1_epi16((short)high), 1);
}

/* 32 bytes, twice. */
INLINE __m512i twice(const uint8_t *p) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)p));
}

/* N bits of each byte, from bit LOW on in the first 32 bytes and from HIGH on in the others, moved
 * to bit TO, which is above both or below both; the other bits 0. */
INLINE __m512i move_bits(__m512i v, int low, int high, int to, int n) {
#ifdef __GFNI__
    uint64_t m[2] = {0}; // matrices, of which byte 7 - i has the bits that bit i is the parity of
    for (int i = 0; i < n; i++) {
        m[0] |= (uint64_t)1 << (8 * (7 - to - i) + low + i);
        m[1] |= (uint64_t)1 << (8 * (7 - to - i) + high + i);
    }
    __m512i both = _mm512_inserti64x4(_mm512_set1_epi64((long long)m[0]),
                                      _mm256_set1_epi64x((long long)m[1]), 1);
    return _mm512_gf2p8affine_epi64_epi8(v, both, 0);
#else
    v = to > low || to > high ? _mm512_sllv_epi16(v, in_halves(to - low, to - high))
                              : _mm512_srlv_epi16(v, in_halves(low - to, high - to));
    return _mm512_and_si512(v, _mm512_set1_epi8((char)(((1 << n) - 1) << to)));
#endif
}

/* ---- Blocks of 256: planes ------------------------------------------------------------------- */

/* Adds 1 << SHIFT where bit 2j (first half) or 2j + 1 (second half) of PLANES is set. */
INLINE __m512i add_bit_plane(__m512i code, __m512i planes, int j, int shift) {
    __m512i bit = in_halves(0x0101 << 2 * j, 0x0202 << 2 * j);
    __mmask64 set = _mm512_test_epi8_mask(planes, bit);
    return _mm512_mask_add_epi8(code, set, code, _mm512_set1_epi8((char)(1 << shift)));
}

/* Planes of 2 bits: 32 bytes are 128 elements. */
INLINE void load_2_bit(const uint8_t *qs, __m512i code[4]) {
    const __m512i mask = _mm512_set1_epi8(3);
    for (int half = 0; half < 2; half++) {
        __m512i bytes = twice(qs + 32 * half);
        code[2 * half] = _mm512_and_si512(_mm512_srlv_epi16(bytes, in_halves(0, 2)), mask);
        code[2 * half + 1] = _mm512_and_si512(_mm512_srlv_epi16(bytes, in_halves(4, 6)), mask);
    }
}

/* Planes of 4 bits: 32 bytes are 64 elements. */
INLINE void load_4_bit(const uint8_t *qs, __m512i code[4]) {
    for (int j = 0; j < 4; j++)
        code[j] = _mm512_and_si512(_mm512_srlv_epi16(twice(qs + 32 * j), in_halves(0, 4)),
                                   _mm512_set1_epi8(15));
}

/* 8 unsigned bytes, one for each group of 32, to 16 int16. */
INLINE __m256i widen_groups_of_32(uint64_t bytes) {
    __m128i v = _mm_cvtsi64_si128((long long)bytes);
    return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(v, v));
}

INLINE void load_6_bit_scales(const uint8_t *s, struct chunk *out) {
    uint32_t a = load_u32(s), b = load_u32(s + 4), c = load_u32(s + 8);
    uint64_t scale_high = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    uint64_t min_high = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    out->scale = widen_groups_of_32((a & 0x3f3f3f3f) | scale_high << 32);
    out->min = widen_groups_of_32((b & 0x3f3f3f3f) | min_high << 32);
}

INLINE void load_q2_k(const void *block, struct chunk *out) {
    const struct block_q2_k *b = block;
    __m256i scales = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)b->scales));
    out->scale = _mm256_and_si256(scales, _mm256_set1_epi16(15));
    out->min = _mm256_srli_epi16(scales, 4);
    out->d = half_at(b->d);
    out->dmin = half_at(b->dmin);
    load_2_bit(b->qs, out->code);
}

INLINE void load_q3_k(const void *block, struct chunk *out) {
    const struct block_q3_k *b = block;
    uint32_t s0 = load_u32(b->scales), s1 = load_u32(b->scales + 4), s2 = load_u32(b->scales + 8);
    __m128i low = _mm_setr_epi32((int)s0, (int)s1, (int)(s0 >> 4), (int)(s1 >> 4));
    __m128i high = _mm_setr_epi32((int)(s2 << 4), (int)(s2 << 2), (int)s2, (int)(s2 >> 2));
    __m128i scales = _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(0x0f)),
                                  _mm_and_si128(high, _mm_set1_epi8(0x30)));
    out->scale = _mm256_cvtepi8_epi16(_mm_sub_epi8(scales, _mm_set1_epi8(32)));
    out->d = half_at(b->d);
    load_2_bit(b->qs, out->code);
    __m512i planes = twice(b->hmask);
    for (int j = 0; j < 4; j++) out->code[j] = add_bit_plane(out->code[j], planes, j, 2);
}

INLINE void load_q4_k(const void *block, struct chunk *out) {
    const struct block_q4_k *b = block;
    load_6_bit_scales(b->scales, out);
    out->d = half_at(b->d);
    out->dmin = half_at(b->dmin);
    load_4_bit(b->qs, out->code);
}

INLINE void load_q5_k(const void *block, struct chunk *out) {
    const struct block_q5_k *b = block;
    load_6_bit_scales(b->scales, out);
    out->d = half_at(b->d);
    out->dmin = half_at(b->dmin);
    load_4_bit(b->qs, out->code);
    __m512i planes = twice(b->qh);
    for (int j = 0; j < 4; j++) out->code[j] = add_bit_plane(out->code[j], planes, j, 4);
}

INLINE void load_q6_k(const void *block, struct chunk *out) {
    const struct block_q6_k *b = block;
    const __m512i low = _mm512_set1_epi8(0x0f);
    out->scale = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)b->scales));
    out->d = half_at(b->d);
    for (int half = 0; half < 2; half++) {
        __m512i ql = _mm512_loadu_si512(b->ql + 64 * half), qh = twice(b->qh + 32 * half);
        __m512i first = _mm512_and_si512(ql, low);
        __m512i second = _mm512_and_si512(_mm512_srli_epi16(ql, 4), low);
        out->code[2 * half] = _mm512_or_si512(first, move_bits(qh, 0, 2, 4, 2));
        out->code[2 * half + 1] = _mm512_or_si512(second, move_bits(qh, 4, 6, 4, 2));
    }
}

/* ---- Nibbles in runs of 16 bytes, through a table -------------------------------------------- */

/* 32 bytes; each half of 16 becomes 32 elements, low nibbles first. */
INLINE __m512i split_nibbles(__m256i bytes) {
    __m512i lanes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
                                             _mm512_castsi256_si512(bytes));
    lanes = _mm512_srlv_epi64(lanes, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
    return _mm512_and_si512(lanes, _mm512_set1_epi8(15));
}

/* What the lower four bits of each byte stand for. */
INLINE __m512i look_up(const int8_t codebook[16], int bias, __m512i v) {
    __m128i codes =
        _mm_add_epi8(_mm_loadu_si128((const void *)codebook), _mm_set1_epi8((char)bias));
    __m512i table = _mm512_broadcast_i32x4(codes);
#ifdef __AVX512VBMI__
    return _mm512_permutexvar_epi8(v, table); // looks at six bits
#else
    return _mm512_shuffle_epi8(table, _mm512_and_si512(v, _mm512_set1_epi8(15)));
#endif
}

/* Nibbles of X, lowest first, to bytes; pairs of bits of X to bytes. */
INLINE uint64_t spread_nibbles(uint64_t x) {
    x = (x | x << 16) & 0x0000ffff0000ffff;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}

INLINE uint64_t spread_bit_pairs(uint64_t x) {
    x = (x | x << 24) & 0x000000ff000000ff;
    x = (x | x << 12) & 0x000f000f000f000f;
    return (x | x << 6) & 0x0303030303030303;
}

INLINE void load_iq4_xs(const void *block, struct chunk *out) {
    const struct block_iq4_xs *b = block;
    uint64_t scales =
        spread_nibbles(load_u32(b->scales_l)) | spread_bit_pairs(load_u16(b->scales_h)) << 4;
    out->scale = _mm256_sub_epi16(widen_groups_of_32(scales), _mm256_set1_epi16(32));
    out->d = half_at(b->d);
    for (int j = 0; j < 4; j++)
        out->code[j] = look_up(quant_iq4_codebook, 128,
                               split_nibbles(_mm256_loadu_si256((const void *)(b->qs + 32 * j))));
}

/* ---- Blocks of 256: ternary, with codes 0, 1, 2 -------------------------------------------- */

/* The leading base-3 digits of bytes that stand for fractions: 3 v / 256. */
INLINE __m512i first_digits(__m512i v) {
    __m512i one = _mm512_set1_epi8(1);
    __m512i code = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(v, _mm512_set1_epi8(86)), one);
    return _mm512_mask_add_epi8(code, _mm512_cmpge_epu8_mask(v, _mm512_set1_epi8((char)171)), code,
                                one);
}

INLINE __m512i in_quarters(__m128i a, __m128i b, __m128i c, __m128i d) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(b, a)),
                              _mm256_set_m128i(d, c), 1);
}

INLINE void load_tq1_0(const void *block, struct chunk *out) {
    const struct block_tq1_0 *b = block;
    out->scale = _mm256_set1_epi16(1);
    out->d = half_at(b->d);
    // Bytes after n multiplications by 3, whose leading digits are number n.
    __m256i v[5];
    __m128i w[5], t[4];
    v[0] = _mm256_loadu_si256((const void *)b->qs);
    w[0] = _mm_loadu_si128((const void *)(b->qs + 32));
    t[0] = _mm_cvtsi32_si128((int)load_u32(b->qh));
    for (int n = 1; n < 5; n++) {
        v[n] = _mm256_add_epi8(v[n - 1], _mm256_add_epi8(v[n - 1], v[n - 1]));
        w[n] = _mm_add_epi8(w[n - 1], _mm_add_epi8(w[n - 1], w[n - 1]));
    }
    for (int n = 1; n < 4; n++) t[n] = _mm_add_epi8(t[n - 1], _mm_add_epi8(t[n - 1], t[n - 1]));
    __m128i tail =
        _mm_unpacklo_epi64(_mm_unpacklo_epi32(t[0], t[1]), _mm_unpacklo_epi32(t[2], t[3]));
    out->code[0] = first_digits(_mm512_inserti64x4(_mm512_castsi256_si512(v[0]), v[1], 1));
    out->code[1] = first_digits(_mm512_inserti64x4(_mm512_castsi256_si512(v[2]), v[3], 1));
    out->code[2] = first_digits(
        in_quarters(_mm256_castsi256_si128(v[4]), _mm256_extracti128_si256(v[4], 1), w[0], w[1]));
    out->code[3] = first_digits(in_quarters(w[2], w[3], w[4], tail));
}

INLINE void load_tq2_0(const void *block, struct chunk *out) {
    const struct block_tq2_0 *b = block;
    out->scale = _mm256_set1_epi16(1);
    out->d = half_at(b->d);
    load_2_bit(b->qs, out->code);
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

INLINE __m512i nibbles_of_two(const uint8_t *first, const uint8_t *second) {
    return split_nibbles(_mm256_set_m128i(_mm_loadu_si128((const void *)second),
                                          _mm_loadu_si128((const void *)first)));
}

/* With 16 added where a bit of the two 32-bit words is set. */
INLINE __m512i add_fifth_bits(__m512i code, const uint8_t *first, const uint8_t *second) {
    uint64_t bits = load_u32(first) | (uint64_t)load_u32(second) << 32;
    return _mm512_mask_add_epi8(code, _cvtu64_mask64(bits), code, _mm512_set1_epi8(16));
}

INLINE void load_q4_0(const void *first, const void *second, struct pair *out) {
    const struct block_q4_0 *a = first, *b = second;
    out->code = nibbles_of_two(a->qs, b->qs);
    out->d[0] = half_at(a->d);
    out->d[1] = half_at(b->d);
}

INLINE void load_q4_1(const void *first, const void *second, struct pair *out) {
    const struct block_q4_1 *a = first, *b = second;
    out->code = nibbles_of_two(a->qs, b->qs);
    out->d[0] = half_at(a->d);
    out->d[1] = half_at(b->d);
    out->dmin[0] = -half_at(a->m);
    out->dmin[1] = -half_at(b->m);
}

INLINE void load_q5_0(const void *first, const void *second, struct pair *out) {
    const struct block_q5_0 *a = first, *b = second;
    out->code = add_fifth_bits(nibbles_of_two(a->qs, b->qs), a->qh, b->qh);
    out->d[0] = half_at(a->d);
    out->d[1] = half_at(b->d);
}

INLINE void load_q5_1(const void *first, const void *second, struct pair *out) {
    const struct block_q5_1 *a = first, *b = second;
    out->code = add_fifth_bits(nibbles_of_two(a->qs, b->qs), a->qh, b->qh);
    out->d[0] = half_at(a->d);
    out->d[1] = half_at(b->d);
    out->dmin[0] = -half_at(a->m);
    out->dmin[1] = -half_at(b->m);
}

INLINE void load_q8_0(const void *first, const void *second, struct pair *out) {
    const struct block_q8_0 *a = first, *b = second;
    __m512i q = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)a->qs)),
                                   _mm256_loadu_si256((const void *)b->qs), 1);
    out->code = _mm512_xor_si512(q, _mm512_set1_epi8((char)0x80));
    out->d[0] = half_at(a->d);
    out->d[1] = half_at(b->d);
}

INLINE void load_iq4_nl(const void *first, const void *second, struct pair *out) {
    const struct block_iq4_nl *a = first, *b = second;
    out->code = look_up(quant_iq4_codebook, 128, nibbles_of_two(a->qs, b->qs));
    out->d[0] = half_at(a->d);
    out->d[1] = half_at(b->d);
}

/* 2^(e - 128): below e = 2 subnormal, and 255 is not a number. */
INLINE float power_of_two(unsigned e) {
    return e == 255 ? NAN : f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

INLINE void load_mxfp4(const void *first, const void *second, struct pair *out) {
    const struct block_mxfp4 *a = first, *b = second;
    out->code = look_up(quant_mxfp4_codebook, 16, nibbles_of_two(a->qs, b->qs));
    out->d[0] = power_of_two(a->e);
    out->d[1] = power_of_two(b->e);
}

#endif
