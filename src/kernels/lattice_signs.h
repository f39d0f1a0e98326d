/* Signs of the lattice formats, 8 runs at a time; part of avx2.c and avx512.c. */
#ifndef OCTET_KERNELS_LATTICE_SIGNS_H
#define OCTET_KERNELS_LATTICE_SIGNS_H

#include <immintrin.h>

/* Bytes of 7 signs to 8: bit 7 becomes the parity of the others. */
static inline __m256i complete_signs(__m256i v) {
    const __m256i odd =
        _mm256_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0, 0,
                         -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
    __m256i nibble = _mm256_xor_si256(v, _mm256_srli_epi16(v, 4));
    nibble = _mm256_and_si256(nibble, _mm256_set1_epi8(15));
    return _mm256_or_si256(v, _mm256_shuffle_epi8(odd, nibble));
}

/* The lowest 28 bits of each lane: four runs of 7 to bytes. */
static inline __m256i spread_sevens(__m256i v) {
    v = _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi32(0x3fff)),
                        _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xfffc000)), 2));
    return _mm256_or_si256(
        _mm256_and_si256(v, _mm256_set1_epi32(0x7f007f)),
        _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0x3f803f80)), 1));
}

#endif
