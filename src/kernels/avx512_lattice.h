/* Loads blocks of lattice points into AVX-512 registers, as avx512_formats.h does the others. Part
 * of avx512.c.
 *
 * A point is looked up in registers: the tables are small enough for that once an element is the
 * number of its magnitude, 2 or 3 bits, instead of the magnitude, and a whole point is a word. Two
 * registers of words are searched by one permutation; gathers take several times as long. */
#ifndef OCTET_KERNELS_AVX512_LATTICE_H
#define OCTET_KERNELS_AVX512_LATTICE_H

#include <pthread.h>

#include "kernels/avx512_formats.h"
#include "kernels/lattice_signs.h"

enum { LATTICE_BIAS = 64 }; // magnitudes are at most 62

/* ---- Tables ---------------------------------------------------------------------------------- */

/* Points of 8 numbers of 2 bits: those of even elements in the low byte, of odd ones in the high
 * one. Points of 4 numbers of a nibble: elements 0, 2, 1, 3. So a shift and a mask bring pairs of
 * elements to their bytes. */
static struct {
    uint16_t iq2_xxs[256], iq2_xs[512], iq2_s[1024], iq1[2048], iq3_xxs[256], iq3_s[512];
} points __attribute__((aligned(64)));

/* Numbers of magnitudes 8, 25, 43. */
static void pack_iq2(const uint64_t *grid, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        unsigned word = 0;
        for (size_t e = 0; e < 8; e++)
            word |= (unsigned)(grid[i] >> (8 * e + 4) & 3) << (e % 2 * 8 + e / 2 * 2);
        out[i] = (uint16_t)word;
    }
}

/* -1, 0, 1 as 0, 1, 2. */
static void pack_iq1(const uint64_t *grid, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        unsigned word = 0;
        for (size_t e = 0; e < 8; e++)
            word |= (unsigned)((int8_t)(grid[i] >> 8 * e) + 1) << (e % 2 * 8 + e / 2 * 2);
        out[i] = (uint16_t)word;
    }
}

/* Numbers of eight magnitudes, which are the bits from FIRST on. */
static void pack_iq3(const uint32_t *grid, size_t n, int first, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        unsigned word = 0;
        for (size_t e = 0; e < 4; e++)
            word |= (grid[i] >> (8 * e + (size_t)first) & 7) << (e % 2 * 8 + e / 2 * 4);
        out[i] = (uint16_t)word;
    }
}

static void pack_all_points(void) {
    pack_iq2(quant_iq2xxs_grid, 256, points.iq2_xxs);
    pack_iq2(quant_iq2xs_grid, 512, points.iq2_xs);
    pack_iq2(quant_iq2s_grid, 1024, points.iq2_s);
    pack_iq1(quant_iq1s_grid, 2048, points.iq1);
    pack_iq3(quant_iq3xxs_grid, 256, 3, points.iq3_xxs);
    pack_iq3(quant_iq3s_grid, 512, 1, points.iq3_s);
}

/* To be called before a loader is. */
static void prepare_points(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, pack_all_points);
}

/* ---- Looking up ------------------------------------------------------------------------------ */

/* 32 entries of a table of 64, and of as many tables as there are bits more in the index. */
INLINE __m512i find_64(const uint16_t *t, __m512i index) {
    return _mm512_permutex2var_epi16(_mm512_load_si512(t), index, _mm512_load_si512(t + 32));
}

INLINE __mmask32 has_bit(__m512i index, int bit) {
    return _mm512_test_epi16_mask(index, _mm512_set1_epi16((short)(1 << bit)));
}

INLINE __m512i find_256(const uint16_t *t, __m512i index) {
    __mmask32 odd = has_bit(index, 6);
    __m512i low = _mm512_mask_mov_epi16(find_64(t, index), odd, find_64(t + 64, index));
    __m512i high = _mm512_mask_mov_epi16(find_64(t + 128, index), odd, find_64(t + 192, index));
    return _mm512_mask_mov_epi16(low, has_bit(index, 7), high);
}

INLINE __m512i find_512(const uint16_t *t, __m512i index) {
    return _mm512_mask_mov_epi16(find_256(t, index), has_bit(index, 8), find_256(t + 256, index));
}

INLINE __m512i find_1024(const uint16_t *t, __m512i index) {
    return _mm512_mask_mov_epi16(find_512(t, index), has_bit(index, 9), find_512(t + 512, index));
}

INLINE __m512i find_2048(const uint16_t *t, __m512i index) {
    return _mm512_mask_mov_epi16(find_1024(t, index), has_bit(index, 10),
                                 find_1024(t + 1024, index));
}

/* Words FIRST.. of 32, each in TIMES neighbours. */
INLINE __m512i repeat_words(__m512i words, int first, int times) {
    short pick[32];
    for (int i = 0; i < 32; i++) pick[i] = (short)(first + i / times);
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(pick), words);
}

/* The numbers of the elements of points 8 J .. of 32. */
INLINE __m512i numbers_of_8(__m512i words, int j) {
    const __m512i shift = _mm512_set1_epi64(0x0006000400020000);
    return _mm512_and_si512(_mm512_srlv_epi16(repeat_words(words, 8 * j, 4), shift),
                            _mm512_set1_epi8(3));
}

/* The same of points 16 J .. of 4 elements. */
INLINE __m512i numbers_of_4(__m512i words, int j) {
    const __m512i shift = _mm512_set1_epi32(0x00040000);
    return _mm512_and_si512(_mm512_srlv_epi16(repeat_words(words, 16 * j, 2), shift),
                            _mm512_set1_epi8(7));
}

INLINE __m512i bytes_to_words(const uint8_t *p) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p));
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* A block of 256 elements: 64 magnitudes in each register, their signs, and int16 sub-scales for
 * groups of 16. */
struct lattice {
    __m512i magnitude[4];
    uint64_t negative[4]; // bit i: element i of the register
    __m256i scale;
};

typedef void load_lattice_fn(const uint8_t *block, struct lattice *out);

struct lattice_format {
    load_lattice_fn *load;
    size_t block_bytes; // d, an f16, comes first
    float unit;         // what d is multiplied with
};

INLINE void magnitudes_of_8(__m512i words, struct lattice *out) {
    const __m512i value = _mm512_set1_epi32(8 | 25 << 8 | 43 << 16);
    UNROLL
    for (int j = 0; j < 4; j++)
        out->magnitude[j] = _mm512_shuffle_epi8(value, numbers_of_8(words, j));
}

/* FIRST and SECOND: 32 points each. */
INLINE void magnitudes_of_4(__m512i first, __m512i second, long long values, struct lattice *out) {
    const __m512i value = _mm512_set1_epi64(values);
    UNROLL
    for (int j = 0; j < 2; j++) {
        out->magnitude[j] = _mm512_shuffle_epi8(value, numbers_of_4(first, j));
        out->magnitude[2 + j] = _mm512_shuffle_epi8(value, numbers_of_4(second, j));
    }
}

/* Eight words of 4 x 7 signs and, on top, a scale for 32 elements. */
INLINE void signs_and_scales(__m256i words, struct lattice *out) {
    _mm256_storeu_si256((void *)out->negative, complete_signs(spread_sevens(words)));
    __m256i s = _mm256_srli_epi32(words, 28);
    s = _mm256_or_si256(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
    out->scale = _mm256_or_si256(s, _mm256_slli_epi32(s, 16));
}

/* Nibbles s of 8 bytes to the scales 2s + 1 of groups of 16. */
INLINE __m256i odd_nibbles(const uint8_t *p) {
    __m128i v = _mm_loadl_epi64((const void *)p);
    v = _mm_and_si128(_mm_unpacklo_epi8(v, _mm_srli_epi16(v, 4)), _mm_set1_epi8(15));
    return _mm256_cvtepu8_epi16(_mm_or_si128(_mm_add_epi8(v, v), _mm_set1_epi8(1)));
}

/* Bytes s for groups of 32 to 2s + 1 for groups of 16. */
INLINE __m256i odd_scales_32(uint64_t s) { return widen_groups_of_32(s << 1 | 0x0101010101010101); }

INLINE void load_iq2_xxs(const uint8_t *block, struct lattice *out) {
    const struct block_iq2_xxs *b = (const void *)block;
    __m512i v = _mm512_loadu_si512(b->qs);
    __m512i index = _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(v));
    magnitudes_of_8(find_256(points.iq2_xxs, index), out);
    signs_and_scales(_mm512_cvtepi64_epi32(_mm512_srli_epi64(v, 32)), out);
}

INLINE void load_iq2_xs(const uint8_t *block, struct lattice *out) {
    const struct block_iq2_xs *b = (const void *)block;
    __m512i v = _mm512_loadu_si512(b->qs);
    __m512i index = _mm512_and_si512(v, _mm512_set1_epi16(511));
    magnitudes_of_8(find_512(points.iq2_xs, index), out);
    __m256i signs = complete_signs(_mm512_cvtepi16_epi8(_mm512_srli_epi16(v, 9)));
    _mm256_storeu_si256((void *)out->negative, signs);
    out->scale = odd_nibbles(b->scales);
}

/* A word for each run of 8: the byte of its group. */
INLINE __m512i bytes_for_runs(const uint8_t *p) {
    uint64_t own[8];
    for (size_t i = 0; i < 8; i++) own[i] = 0x8000800080008000 + i * 0x0001000100010001;
    return _mm512_shuffle_epi8(_mm512_set1_epi64((long long)load_u64(p)), _mm512_loadu_si512(own));
}

INLINE void load_iq2_s(const uint8_t *block, struct lattice *out) {
    const struct block_iq2_s *b = (const void *)block;
    // Bits 2l, 2l + 1 of a group's byte go to bits 8, 9 of its run l.
    const __m512i lift = _mm512_set1_epi64(0x0004001000400100);
    __m512i high = _mm512_mullo_epi16(bytes_for_runs(b->qh), lift);
    high = _mm512_and_si512(high, _mm512_set1_epi16(0x300));
    __m512i index = _mm512_or_si512(bytes_to_words(b->qs), high);
    magnitudes_of_8(find_1024(points.iq2_s, index), out);
    memcpy(out->negative, b->signs, sizeof out->negative);
    out->scale = odd_nibbles(b->scales);
}

INLINE void load_iq3_xxs(const uint8_t *block, struct lattice *out) {
    const struct block_iq3_xxs *b = (const void *)block;
    magnitudes_of_4(find_256(points.iq3_xxs, bytes_to_words(b->qs)),
                    find_256(points.iq3_xxs, bytes_to_words(b->qs + 32)), 0x3e342c241c140c04, out);
    signs_and_scales(_mm256_loadu_si256((const void *)b->sas), out);
}

INLINE void load_iq3_s(const uint8_t *block, struct lattice *out) {
    const struct block_iq3_s *b = (const void *)block;
    const __m512i ninth = _mm512_set1_epi16(256);
    __m512i first = bytes_to_words(b->qs), second = bytes_to_words(b->qs + 32);
    first = _mm512_mask_add_epi16(first, load_u32(b->qh), first, ninth);
    second = _mm512_mask_add_epi16(second, load_u32(b->qh + 4), second, ninth);
    magnitudes_of_4(find_512(points.iq3_s, first), find_512(points.iq3_s, second),
                    0x0f0d0b0907050301, out);
    memcpy(out->negative, b->signs, sizeof out->negative);
    out->scale = odd_scales_32(spread_nibbles(load_u32(b->scales)));
}

static const struct lattice_format lattice_iq2_xxs = {load_iq2_xxs, sizeof(struct block_iq2_xxs),
                                                      0.125f},
                                   lattice_iq2_xs = {load_iq2_xs, sizeof(struct block_iq2_xs),
                                                     0.125f},
                                   lattice_iq2_s = {load_iq2_s, sizeof(struct block_iq2_s), 0.125f},
                                   lattice_iq3_xxs = {load_iq3_xxs, sizeof(struct block_iq3_xxs),
                                                      0.25f},
                                   lattice_iq3_s = {load_iq3_s, sizeof(struct block_iq3_s), 1.0f};

/* As a chunk: codes with their signs and the bias. */
INLINE void load_signed(const struct lattice_format *f, const void *block, struct chunk *out) {
    const __m512i bias = _mm512_set1_epi8(LATTICE_BIAS);
    struct lattice v;
    f->load(block, &v);
    UNROLL
    for (int j = 0; j < 4; j++)
        out->code[j] = _mm512_mask_sub_epi8(_mm512_add_epi8(bias, v.magnitude[j]),
                                            _cvtu64_mask64(v.negative[j]), bias, v.magnitude[j]);
    out->scale = v.scale;
    out->d = half_at(block) * f->unit;
}

/* ---- IQ1: points of -1, 0, 1 in eighths, shifted by one ----------------------------------------
 */

/* A run is shifted down where its bit in DOWN is set. */
INLINE void shifted_points(__m512i index, uint32_t down, struct chunk *out) {
    const __m512i value = _mm512_set1_epi64(0x00473f3700494139); // up, then down, plus the bias
    __m512i words = find_2048(points.iq1, index);
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i number = numbers_of_8(words, j);
        number =
            _mm512_mask_or_epi64(number, (__mmask8)(down >> 8 * j), number, _mm512_set1_epi8(4));
        out->code[j] = _mm512_shuffle_epi8(value, number);
    }
}

INLINE void load_iq1_s(const void *block, struct chunk *out) {
    const struct block_iq1_s *b = block;
    out->d = half_at(b->d) * 0.125f;
    __m128i qh = _mm_loadu_si128((const void *)b->qh);
    __m128i s = _mm_and_si128(_mm_srli_epi16(qh, 12), _mm_set1_epi16(7));
    s = _mm_packus_epi16(s, s);
    out->scale = odd_scales_32((uint64_t)_mm_cvtsi128_si64(s));
    // Bits 3l.. of a group's word go to bits 8.. of its run l.
    __m512i words = repeat_words(_mm512_castsi128_si512(qh), 0, 4);
    __m512i high = _mm512_srlv_epi16(words, _mm512_set1_epi64(0x0009000600030000));
    high = _mm512_and_si512(_mm512_slli_epi16(high, 8), _mm512_set1_epi16(0x700));
    shifted_points(_mm512_or_si512(bytes_to_words(b->qs), high), _mm512_movepi16_mask(words), out);
}

INLINE void load_iq1_m(const void *block, struct chunk *out) {
    const struct block_iq1_m *b = block;
    uint64_t sc = load_u64(b->sc);
    uint64_t top = sc >> 12 & 0x000f000f000f000f;
    out->d = _cvtsh_ss((uint16_t)(top | top >> 12 | top >> 24 | top >> 36)) * 0.125f;
    // Word g / 4 of sc, for each group, shifted by 3 (g % 4).
    const __m256i word = _mm256_setr_epi16(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m256i shift = _mm256_set1_epi64x(0x0009000600030000);
    __m256i s = _mm256_permutexvar_epi16(word, _mm256_set1_epi64x((long long)sc));
    s = _mm256_and_si256(_mm256_srlv_epi16(s, shift), _mm256_set1_epi16(7));
    out->scale = _mm256_add_epi16(_mm256_add_epi16(s, s), _mm256_set1_epi16(1));
    // A nibble for each run: three bits of its point and which way it is shifted.
    __m128i even = _mm_loadu_si128((const void *)b->qh), odd = _mm_srli_epi16(even, 4);
    __m256i nibbles = _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
    __m512i words = _mm512_slli_epi16(_mm512_cvtepu8_epi16(nibbles), 8);
    __m512i high = _mm512_and_si512(words, _mm512_set1_epi16(0x700));
    shifted_points(_mm512_or_si512(bytes_to_words(b->qs), high),
                   _mm512_test_epi16_mask(words, _mm512_set1_epi16(0x800)), out);
}

#endif
