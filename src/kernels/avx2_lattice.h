/* Reads blocks of lattice points into AVX2 registers, as avx2_blocks.h does the others. Part of
 * avx2.c alone.
 *
 * The points of a block are looked up one by one, which is faster than gathering them; what leads
 * to them, their indices and signs, is worked out for the whole block at once. */
#ifndef OCTET_KERNELS_AVX2_LATTICE_H
#define OCTET_KERNELS_AVX2_LATTICE_H

#include <string.h>

#include "kernels/avx2_blocks.h"
#include "quant/grids.h"

/* What makes elements not negative: their largest magnitude. */
enum { OFFSET_IQ1 = 9, OFFSET_IQ2 = 43, OFFSET_IQ3_XXS = 62, OFFSET_IQ3_S = 15 };

INLINE __m256i bytes_to_16(const uint8_t *p) { return _mm256_cvtepu8_epi16(load_128(p)); }

/* Copies N points of 8 or 4 elements. */
INLINE void copy_8(const uint64_t *grid, const uint16_t *index, size_t n, uint8_t *points) {
    UNROLL
    for (size_t i = 0; i < n; i++) memcpy(points + 8 * i, &grid[index[i]], 8);
}
INLINE void copy_4(const uint32_t *grid, const uint16_t *index, size_t n, uint8_t *points) {
    UNROLL
    for (size_t i = 0; i < n; i++) memcpy(points + 4 * i, &grid[index[i]], 4);
}

/* Negates byte i of chunk C where bit i of its signs is set, and adds the offset. */
INLINE __m256i with_signs(const uint8_t *points, size_t c, const void *signs, int offset) {
    __m256i magnitudes = load_256(points + CHUNK * c);
    __m256i negative = bit_mask(load_u32((const uint8_t *)signs + 4 * c));
    __m256i v = _mm256_sub_epi8(_mm256_xor_si256(magnitudes, negative), negative);
    return _mm256_add_epi8(v, _mm256_set1_epi8((char)offset));
}

/* Bytes of 7 signs to 8: bit 7 becomes the parity of the others. */
INLINE __m256i complete_signs(__m256i v) {
    const __m256i odd =
        _mm256_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0, 0,
                         -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
    __m256i nibble = low_nibbles(_mm256_xor_si256(v, _mm256_srli_epi16(v, 4)));
    return _mm256_or_si256(v, _mm256_shuffle_epi8(odd, nibble));
}

/* The lowest 28 bits of each lane: four runs of 7 to bytes. */
INLINE __m256i spread_sevens(__m256i v) {
    v = _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi32(0x3fff)),
                        _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xfffc000)), 2));
    return _mm256_or_si256(
        _mm256_and_si256(v, _mm256_set1_epi32(0x7f007f)),
        _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0x3f803f80)), 1));
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

INLINE void points_iq2_xxs(const uint8_t *p, uint8_t *points) {
    const struct block_iq2_xxs *b = (const void *)p;
    for (size_t k = 0; k < 8; k++, points += CHUNK) {
        const uint8_t *q = b->qs[k];
        copy_8(quant_iq2xxs_grid, (const uint16_t[]){q[0], q[1], q[2], q[3]}, 4, points);
    }
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
    for (size_t c = 0; c < 8; c++) out->w[c] = with_signs(out->points, c, signs, OFFSET_IQ2);
}

INLINE void points_iq2_xs(const uint8_t *p, uint8_t *points) {
    const struct block_iq2_xs *b = (const void *)p;
    for (size_t i = 0; i < 32; i += 4, points += CHUNK) {
        uint16_t index[4];
        for (size_t l = 0; l < 4; l++) index[l] = load_u16(b->qs[i + l]) & 511;
        copy_8(quant_iq2xs_grid, index, 4, points);
    }
}

INLINE void load_iq2_xs(const uint8_t *p, struct block *out) {
    const struct block_iq2_xs *b = (const void *)p;
    uint32_t signs[8];
    __m256i packed = _mm256_packus_epi16(_mm256_srli_epi16(load_256(b->qs[0]), 9),
                                         _mm256_srli_epi16(load_256(b->qs[16]), 9));
    packed = _mm256_permute4x64_epi64(packed, 0xd8);
    _mm256_storeu_si256((void *)signs, complete_signs(packed));
    out->scale = odd_scales_16(b->scales);
    out->d = load_half(b->d) * 0.125f;
    UNROLL
    for (size_t c = 0; c < 8; c++) out->w[c] = with_signs(out->points, c, signs, OFFSET_IQ2);
}

INLINE void points_iq2_s(const uint8_t *p, uint8_t *points) {
    const struct block_iq2_s *b = (const void *)p;
    for (size_t k = 0; k < 8; k++, points += CHUNK) {
        const uint8_t *q = b->qs + 4 * k;
        unsigned high = (unsigned)b->qh[k] << 8;
        const uint16_t index[4] = {
            (uint16_t)(q[0] | (high & 0x300)), (uint16_t)(q[1] | (high >> 2 & 0x300)),
            (uint16_t)(q[2] | (high >> 4 & 0x300)), (uint16_t)(q[3] | (high >> 6 & 0x300))};
        copy_8(quant_iq2s_grid, index, 4, points);
    }
}

INLINE void load_iq2_s(const uint8_t *p, struct block *out) {
    const struct block_iq2_s *b = (const void *)p;
    out->scale = odd_scales_16(b->scales);
    out->d = load_half(b->d) * 0.125f;
    UNROLL
    for (size_t c = 0; c < 8; c++) out->w[c] = with_signs(out->points, c, b->signs, OFFSET_IQ2);
}

INLINE void points_iq3_xxs(const uint8_t *p, uint8_t *points) {
    const struct block_iq3_xxs *b = (const void *)p;
    for (size_t k = 0; k < 8; k++, points += CHUNK) {
        const uint8_t *q = b->qs + 8 * k;
        const uint16_t index[8] = {q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7]};
        copy_4(quant_iq3xxs_grid, index, 8, points);
    }
}

INLINE void load_iq3_xxs(const uint8_t *p, struct block *out) {
    const struct block_iq3_xxs *b = (const void *)p;
    uint32_t signs[8];
    signs_and_scales(load_256(b->sas), signs, out);
    out->d = load_half(b->d) * 0.25f;
    UNROLL
    for (size_t c = 0; c < 8; c++) out->w[c] = with_signs(out->points, c, signs, OFFSET_IQ3_XXS);
}

INLINE void points_iq3_s(const uint8_t *p, uint8_t *points) {
    const struct block_iq3_s *b = (const void *)p;
    uint16_t index[64];
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048,
                                              4096, 8192, 16384, -32768);
        __m256i high = _mm256_and_si256(_mm256_set1_epi16((short)load_u16(b->qh + 2 * i)), bit);
        high = _mm256_and_si256(_mm256_cmpeq_epi16(high, bit), _mm256_set1_epi16(256));
        _mm256_storeu_si256((void *)(index + 16 * i),
                            _mm256_or_si256(bytes_to_16(b->qs + 16 * i), high));
    }
    for (size_t i = 0; i < 64; i += 8) copy_4(quant_iq3s_grid, index + i, 8, points + 4 * i);
}

INLINE void load_iq3_s(const uint8_t *p, struct block *out) {
    const struct block_iq3_s *b = (const void *)p;
    __m128i s = _mm_cvtsi32_si128((int)load_u32(b->scales));
    s = _mm_and_si128(_mm_unpacklo_epi8(s, _mm_srli_epi16(s, 4)), _mm_set1_epi8(15));
    out->scale = odd_scales_32(_mm256_cvtepu8_epi32(s));
    out->d = load_half(b->d);
    UNROLL
    for (size_t c = 0; c < 8; c++) out->w[c] = with_signs(out->points, c, b->signs, OFFSET_IQ3_S);
}

/* Points of -1, 0, 1 in eighths, shifted by one: down for each bit that is set in DOWN, else up. */
INLINE void shift_points(const uint8_t *points, uint32_t down, __m256i *w) {
    const __m256i run = _mm256_setr_epi8(1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4,
                                         4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8);
    const __m256i up = _mm256_set1_epi8(OFFSET_IQ1 + 1), two = _mm256_set1_epi8(2);
    UNROLL
    for (size_t c = 0; c < 8; c++, down >>= 4) {
        __m256i eighths = _mm256_slli_epi16(load_256(points + CHUNK * c), 3);
        eighths = _mm256_and_si256(eighths, _mm256_set1_epi8((char)0xf8)); // not the neighbour's
        __m256i set = _mm256_and_si256(_mm256_set1_epi8((char)(down & 15)), run);
        set = _mm256_and_si256(_mm256_cmpeq_epi8(set, run), two);
        w[c] = _mm256_add_epi8(eighths, _mm256_sub_epi8(up, set));
    }
}

INLINE void points_iq1_s(const uint8_t *p, uint8_t *points) {
    const struct block_iq1_s *b = (const void *)p;
    for (size_t k = 0; k < 8; k++, points += CHUNK) {
        const uint8_t *q = b->qs + 4 * k;
        unsigned h = load_u16(b->qh[k]);
        const uint16_t index[4] = {
            (uint16_t)(q[0] | (h << 8 & 0x700)), (uint16_t)(q[1] | (h << 5 & 0x700)),
            (uint16_t)(q[2] | (h << 2 & 0x700)), (uint16_t)(q[3] | (h >> 1 & 0x700))};
        copy_8(quant_iq1s_grid, index, 4, points);
    }
}

INLINE void load_iq1_s(const uint8_t *p, struct block *out) {
    const struct block_iq1_s *b = (const void *)p;
    __m128i h = load_128(b->qh);
    out->scale = odd_scales(
        _mm256_broadcastsi128_si256(_mm_and_si128(_mm_srli_epi16(h, 12), _mm_set1_epi16(7))));
    out->d = load_half(b->d) * 0.125f;
    // The top bit of each group's word, for its four runs.
    uint32_t down = (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(h, h)) & 255;
    down = (down | down << 12) & 0x000f000f;
    down = (down | down << 6) & 0x03030303;
    down = (down | down << 3) & 0x11111111;
    down *= 15;
    shift_points(out->points, down, out->w);
}

INLINE void points_iq1_m(const uint8_t *p, uint8_t *points) {
    const struct block_iq1_m *b = (const void *)p;
    for (size_t k = 0; k < 8; k++, points += CHUNK) {
        const uint8_t *q = b->qs + 4 * k;
        unsigned h = load_u16(b->qh + 2 * k);
        const uint16_t index[4] = {
            (uint16_t)(q[0] | (h << 8 & 0x700)), (uint16_t)(q[1] | (h << 4 & 0x700)),
            (uint16_t)(q[2] | (h & 0x700)), (uint16_t)(q[3] | (h >> 4 & 0x700))};
        copy_8(quant_iq1s_grid, index, 4, points);
    }
}

INLINE void load_iq1_m(const uint8_t *p, struct block *out) {
    const struct block_iq1_m *b = (const void *)p;
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
    // Bit 3 of each nibble of qh.
    __m128i h = load_128(b->qh);
    __m128i low = _mm_slli_epi16(h, 4);
    uint32_t down = (uint32_t)_mm_movemask_epi8(_mm_unpacklo_epi8(low, h)) |
                    (uint32_t)_mm_movemask_epi8(_mm_unpackhi_epi8(low, h)) << 16;
    shift_points(out->points, down, out->w);
}

#endif
