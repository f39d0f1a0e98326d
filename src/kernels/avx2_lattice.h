/* Reads blocks of lattice points into AVX2 registers, as avx2_blocks.h does the others. Part of
 * avx2.c alone.
 *
 * The points of a block are looked up one by one, which is faster than gathering them; what leads
 * to them, their indices and signs, is worked out for the whole block at once. */
#ifndef OCTET_KERNELS_AVX2_LATTICE_H
#define OCTET_KERNELS_AVX2_LATTICE_H

#include <string.h>

#include "kernels/avx2_blocks.h"
#include "kernels/lattice_signs.h"
#include "quant/grids.h"

/* What makes elements not negative: their largest magnitude. */
enum { OFFSET_IQ1 = 9, OFFSET_IQ2 = 43, OFFSET_IQ3_XXS = 62, OFFSET_IQ3_S = 15 };

INLINE __m256i bytes_to_16(const uint8_t *p) { return _mm256_cvtepu8_epi16(load_128(p)); }

INLINE __m256i four_points(const uint64_t *grid, const uint16_t index[4]) {
    return _mm256_setr_epi64x((long long)grid[index[0]], (long long)grid[index[1]],
                              (long long)grid[index[2]], (long long)grid[index[3]]);
}

INLINE __m256i eight_points(const uint32_t *grid, const uint16_t index[8]) {
    return _mm256_setr_epi32((int)grid[index[0]], (int)grid[index[1]], (int)grid[index[2]],
                             (int)grid[index[3]], (int)grid[index[4]], (int)grid[index[5]],
                             (int)grid[index[6]], (int)grid[index[7]]);
}

/* Negates byte i where bit i of the 32 at P is set, and adds the offset. */
INLINE __m256i with_signs(__m256i magnitudes, const void *p, int offset) {
    __m256i negative = bit_mask(load_u32(p));
    __m256i v = _mm256_sub_epi8(_mm256_xor_si256(magnitudes, negative), negative);
    return _mm256_add_epi8(v, _mm256_set1_epi8((char)offset));
}

/* 2s + 1. */
INLINE __m256i odd_scales(__m256i s) {
    return _mm256_add_epi16(_mm256_add_epi16(s, s), _mm256_set1_epi16(1));
}

/* s in lanes of 32 bits, one for a group of 32 each. */
INLINE __m256i odd_scales_32(__m256i s) {
    return odd_scales(_mm256_permute4x64_epi64(_mm256_packus_epi32(s, s), 0x88));
}

/* s in nibbles, one for a group of 16 each. */
INLINE __m256i odd_scales_16(const uint8_t *p) {
    __m128i v = _mm_loadl_epi64((const void *)p);
    v = _mm_and_si128(_mm_unpacklo_epi64(v, _mm_srli_epi16(v, 4)), _mm_set1_epi8(15));
    return odd_scales(_mm256_cvtepu8_epi16(v));
}

/* Words of sign bits and, on top, s for a group of 32. */
INLINE void signs_and_scales(__m256i words, uint32_t signs[8], struct block *out) {
    _mm256_storeu_si256((void *)signs, complete_signs(spread_sevens(words)));
    out->scale = odd_scales_32(_mm256_srli_epi32(words, 28));
}

INLINE void load_iq2_xxs(const uint8_t *p, struct block *out) {
    const struct block_iq2_xxs *b = (const void *)p;
    uint32_t signs[8];
    __m256 first = _mm256_castsi256_ps(load_256(b->qs[0]));
    __m256 second = _mm256_castsi256_ps(load_256(b->qs[4]));
    __m256i words = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xdd));
    signs_and_scales(_mm256_permute4x64_epi64(words, 0xd8), signs, out);
    out->d = load_half(b->d) * 0.125f;
    UNROLL
    for (size_t c = 0; c < 8; c++) {
        const uint8_t *q = b->qs[c];
        const uint16_t index[4] = {q[0], q[1], q[2], q[3]};
        out->w[c] = with_signs(four_points(quant_iq2xxs_grid, index), &signs[c], OFFSET_IQ2);
    }
}

INLINE void load_iq2_xs(const uint8_t *p, struct block *out) {
    const struct block_iq2_xs *b = (const void *)p;
    uint16_t index[32];
    uint32_t signs[8];
    __m256i first = load_256(b->qs[0]), second = load_256(b->qs[16]);
    __m256i packed = _mm256_packus_epi16(_mm256_srli_epi16(first, 9), _mm256_srli_epi16(second, 9));
    packed = _mm256_permute4x64_epi64(packed, 0xd8);
    _mm256_storeu_si256((void *)signs, complete_signs(packed));
    const __m256i low9 = _mm256_set1_epi16(511);
    _mm256_storeu_si256((void *)index, _mm256_and_si256(first, low9));
    _mm256_storeu_si256((void *)(index + 16), _mm256_and_si256(second, low9));
    out->scale = odd_scales_16(b->scales);
    out->d = load_half(b->d) * 0.125f;
    UNROLL
    for (size_t c = 0; c < 8; c++)
        out->w[c] = with_signs(four_points(quant_iq2xs_grid, index + 4 * c), &signs[c], OFFSET_IQ2);
}

INLINE void load_iq2_s(const uint8_t *p, struct block *out) {
    const struct block_iq2_s *b = (const void *)p;
    uint16_t index[32];
    for (size_t i = 0; i < 2; i++) {
        // Bits 2l, 2l + 1 of a group's byte go to bits 8, 9 of its run l.
        const __m256i lift =
            _mm256_setr_epi16(256, 64, 16, 4, 256, 64, 16, 4, 256, 64, 16, 4, 256, 64, 16, 4);
        const __m256i of_group =
            _mm256_setr_epi8(0, -1, 0, -1, 0, -1, 0, -1, 1, -1, 1, -1, 1, -1, 1, -1, 2, -1, 2, -1,
                             2, -1, 2, -1, 3, -1, 3, -1, 3, -1, 3, -1);
        __m256i high = _mm256_set1_epi32((int)load_u32(b->qh + 4 * i));
        high = _mm256_mullo_epi16(_mm256_shuffle_epi8(high, of_group), lift);
        high = _mm256_and_si256(high, _mm256_set1_epi16(0x300));
        _mm256_storeu_si256((void *)(index + 16 * i),
                            _mm256_or_si256(bytes_to_16(b->qs + 16 * i), high));
    }
    out->scale = odd_scales_16(b->scales);
    out->d = load_half(b->d) * 0.125f;
    UNROLL
    for (size_t c = 0; c < 8; c++)
        out->w[c] =
            with_signs(four_points(quant_iq2s_grid, index + 4 * c), b->signs + 4 * c, OFFSET_IQ2);
}

INLINE void load_iq3_xxs(const uint8_t *p, struct block *out) {
    const struct block_iq3_xxs *b = (const void *)p;
    uint32_t signs[8];
    signs_and_scales(load_256(b->sas), signs, out);
    out->d = load_half(b->d) * 0.25f;
    UNROLL
    for (size_t c = 0; c < 8; c++) {
        const uint8_t *q = b->qs + 8 * c;
        const uint16_t index[8] = {q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7]};
        out->w[c] = with_signs(eight_points(quant_iq3xxs_grid, index), &signs[c], OFFSET_IQ3_XXS);
    }
}

INLINE void load_iq3_s(const uint8_t *p, struct block *out) {
    const struct block_iq3_s *b = (const void *)p;
    uint16_t index[64];
    for (size_t i = 0; i < 4; i++) {
        const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048,
                                              4096, 8192, 16384, -32768);
        __m256i high = _mm256_and_si256(_mm256_set1_epi16((short)load_u16(b->qh + 2 * i)), bit);
        high = _mm256_and_si256(_mm256_cmpeq_epi16(high, bit), _mm256_set1_epi16(256));
        _mm256_storeu_si256((void *)(index + 16 * i),
                            _mm256_or_si256(bytes_to_16(b->qs + 16 * i), high));
    }
    __m128i s = _mm_cvtsi32_si128((int)load_u32(b->scales));
    s = _mm_and_si128(_mm_unpacklo_epi8(s, _mm_srli_epi16(s, 4)), _mm_set1_epi8(15));
    out->scale = odd_scales_32(_mm256_cvtepu8_epi32(s));
    out->d = load_half(b->d);
    UNROLL
    for (size_t c = 0; c < 8; c++)
        out->w[c] = with_signs(eight_points(quant_iq3s_grid, index + 8 * c), b->signs + 4 * c,
                               OFFSET_IQ3_S);
}

/* Points of -1, 0, 1 in eighths, shifted by one: down where bit l of the lowest four of DOWN is
 * set for point l, otherwise up. */
INLINE __m256i shifted_points(const uint16_t index[4], const uint16_t down[4]) {
    __m256i eighths = _mm256_slli_epi16(four_points(quant_iq1s_grid, index), 3);
    eighths = _mm256_and_si256(eighths, _mm256_set1_epi8((char)0xf8)); // no bits of the neighbour
    uint64_t four;
    memcpy(&four, down, sizeof four);
    __m256i shift = _mm256_cvtepu16_epi64(_mm_cvtsi64_si128((long long)four));
    shift = _mm256_shuffle_epi8(shift,
                                _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8, 0,
                                                 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8));
    return _mm256_sub_epi8(_mm256_add_epi8(eighths, _mm256_set1_epi8(OFFSET_IQ1 + 1)), shift);
}

INLINE void load_iq1_s(const uint8_t *p, struct block *out) {
    const struct block_iq1_s *b = (const void *)p;
    uint16_t index[32], down[32];
    for (size_t i = 0; i < 2; i++) {
        // Bits 3l.. of a group's word go to bits 8.. of its run l; those of l = 3 in two steps.
        const __m256i lift =
            _mm256_setr_epi16(256, 32, 4, 1, 256, 32, 4, 1, 256, 32, 4, 1, 256, 32, 4, 1);
        const __m256i of_group = _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 4,
                                                  5, 4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7);
        uint64_t four;
        memcpy(&four, b->qh[4 * i], sizeof four);
        __m256i words = _mm256_shuffle_epi8(_mm256_set1_epi64x((long long)four), of_group);
        __m256i high = _mm256_mullo_epi16(words, lift);
        high = _mm256_blend_epi16(high, _mm256_srli_epi16(words, 1), 0x88);
        high = _mm256_and_si256(high, _mm256_set1_epi16(0x700));
        _mm256_storeu_si256((void *)(index + 16 * i),
                            _mm256_or_si256(bytes_to_16(b->qs + 16 * i), high));
        _mm256_storeu_si256((void *)(down + 16 * i),
                            _mm256_slli_epi16(_mm256_srli_epi16(words, 15), 1));
    }
    __m128i s = _mm_and_si128(_mm_srli_epi16(load_128(b->qh), 12), _mm_set1_epi16(7));
    out->scale = odd_scales(_mm256_broadcastsi128_si256(s));
    out->d = load_half(b->d) * 0.125f;
    UNROLL
    for (size_t c = 0; c < 8; c++) out->w[c] = shifted_points(index + 4 * c, down + 4 * c);
}

INLINE void load_iq1_m(const uint8_t *p, struct block *out) {
    const struct block_iq1_m *b = (const void *)p;
    uint16_t index[32], down[32];
    for (size_t i = 0; i < 2; i++) {
        __m128i nibbles = _mm_loadl_epi64((const void *)(b->qh + 8 * i));
        nibbles = _mm_and_si128(_mm_unpacklo_epi8(nibbles, _mm_srli_epi16(nibbles, 4)),
                                _mm_set1_epi8(15));
        __m256i words = _mm256_slli_epi16(_mm256_cvtepu8_epi16(nibbles), 8);
        __m256i high = _mm256_and_si256(words, _mm256_set1_epi16(0x700));
        _mm256_storeu_si256((void *)(index + 16 * i),
                            _mm256_or_si256(bytes_to_16(b->qs + 16 * i), high));
        _mm256_storeu_si256((void *)(down + 16 * i),
                            _mm256_slli_epi16(_mm256_srli_epi16(words, 11), 1));
    }
    unsigned d = 0, sc[4];
    for (size_t i = 0; i < 4; i++) {
        sc[i] = load_u16(b->sc[i]);
        d |= sc[i] >> 12 << 4 * i;
    }
    // Even groups have bits 0.. and 6.. of their word, odd ones bits 3.. and 9...
    const __m256i lift = _mm256_setr_epi16(1 << 6, 1, 1 << 6, 1, 1 << 6, 1, 1 << 6, 1, 1 << 6, 1,
                                           1 << 6, 1, 1 << 6, 1, 1 << 6, 1);
    __m128i even = _mm_setr_epi32((int)(sc[0] * 0x10001), (int)(sc[1] * 0x10001),
                                  (int)(sc[2] * 0x10001), (int)(sc[3] * 0x10001));
    __m256i s = _mm256_set_m128i(_mm_srli_epi16(even, 3), even);
    s = _mm256_and_si256(_mm256_srli_epi16(_mm256_mullo_epi16(s, lift), 6), _mm256_set1_epi16(7));
    out->scale = odd_scales(s);
    out->d = _cvtsh_ss((uint16_t)d) * 0.125f;
    UNROLL
    for (size_t c = 0; c < 8; c++) out->w[c] = shifted_points(index + 4 * c, down + 4 * c);
}

#endif
