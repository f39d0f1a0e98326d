/* The last step of direct products for AVX-512 with VNNI, part of avx512.c: what avx512_direct.h
 * put down for the blocks of GROUP rows is summed up in floats with a lane for each row, in the
 * order that kernels.h demands. */
#ifndef OCTET_KERNELS_AVX512_SUMS_H
#define OCTET_KERNELS_AVX512_SUMS_H

#include "kernels/avx512_direct.h"

enum { GROUP = 8 }; // rows that are summed up together

/* ---- Sums as they are ------------------------------------------------------------------------ */

/* Of GROUP rows STRIDE words apart, what blocks B .. B + 3 have; that of a block is a register. */
INLINE void words_of_rows(const void *sums, size_t stride, __m256i out[4]) {
    const int32_t *p = sums;
    __m256i v[4];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        v[i] = _mm256_set_m128i(load_128(p + (i + 4) * stride), load_128(p + i * stride));
    __m256i low = _mm256_unpacklo_epi32(v[0], v[1]), high = _mm256_unpackhi_epi32(v[0], v[1]);
    __m256i low2 = _mm256_unpacklo_epi32(v[2], v[3]), high2 = _mm256_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm256_unpacklo_epi64(low, low2);
    out[1] = _mm256_unpackhi_epi64(low, low2);
    out[2] = _mm256_unpacklo_epi64(high, high2);
    out[3] = _mm256_unpackhi_epi64(high, high2);
}

INLINE void ints_of_rows(const int32_t *sums, size_t stride, __m256 out[4]) {
    __m256i words[4];
    words_of_rows(sums, stride, words);
    UNROLL
    for (size_t i = 0; i < 4; i++) out[i] = _mm256_cvtepi32_ps(words[i]);
}

INLINE void floats_of_rows(const float *sums, size_t stride, __m256 out[4]) {
    __m256i words[4];
    words_of_rows(sums, stride, words);
    UNROLL
    for (size_t i = 0; i < 4; i++) out[i] = _mm256_castsi256_ps(words[i]);
}

/* The scales of GROUP rows from what is in the file; M only if HAS_MIN. */
INLINE void halves_of_rows(const uint32_t *dm, size_t stride, bool has_min, __m256 d[4],
                           __m256 m[4]) {
    __m256i words[4];
    words_of_rows(dm, stride, words);
    UNROLL
    for (size_t i = 0; i < 4; i += 2) {
        __m512i two = _mm512_inserti64x4(_mm512_castsi256_si512(words[i]), words[i + 1], 1);
        __m512 of = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(two));
        d[i] = _mm512_castps512_ps256(of);
        d[i + 1] = _mm512_extractf32x8_ps(of, 1);
        if (!has_min) continue;
        of = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(two, 16)));
        m[i] = _mm512_castps512_ps256(of);
        m[i + 1] = _mm512_extractf32x8_ps(of, 1);
    }
}

/* The sums of GROUP rows. */
struct group_sums {
    struct sums first; // those of the first row
    size_t stride;     // from a row to the next
    const int32_t *extra;
    size_t extra_stride; // 0: all rows have the same
};

/* What a format puts down. */
struct kind_of_sums {
    bool has_min, as_in_file; // the latter of d and dmin
    bool packed;
};

/* Blocks B .. B + N - 1, N <= 4. */
INLINE __m256 sum_quad(const struct group_sums *s, const float *da, size_t b, size_t n,
                       struct kind_of_sums kind, __m256 acc) {
    const bool has_min = kind.has_min;
    __m256 dot[4], d[4], extra[4], m[4];
    ints_of_rows(s->first.dot + b, s->stride, dot);
    if (has_min) ints_of_rows(s->extra + b, s->extra_stride, extra);
    if (kind.as_in_file) {
        halves_of_rows(s->first.dm + b, s->stride, has_min, d, m);
    } else {
        floats_of_rows(s->first.d + b, s->stride, d);
        if (has_min) floats_of_rows(s->first.m + b, s->stride, m);
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        __m256 of_token = _mm256_set1_ps(da[b + i]);
        acc = _mm256_fmadd_ps(dot[i], _mm256_mul_ps(d[i], of_token), acc);
        if (has_min) acc = _mm256_fnmadd_ps(extra[i], _mm256_mul_ps(m[i], of_token), acc);
    }
    return acc;
}

/* ---- Packed sums ----------------------------------------------------------------------------- */

INLINE __m512 second_of_pairs(__m512 v) {
    return _mm512_castsi512_ps(_mm512_srli_epi64(_mm512_castps_si512(v), 32));
}

/* N floats, 1 or at least 2, again and again. */
INLINE __m512 two_floats(const float *p, size_t n) {
    if (n == 1) return _mm512_set1_ps(*p);
    double two;
    memcpy(&two, p, sizeof two);
    return _mm512_castpd_ps(_mm512_set1_pd(two));
}

/* Of GROUP rows, 16 blocks: register j has blocks 2 j and 2 j + 1 of row 0, then of row 1, ... */
INLINE void pairs_of_rows(const int32_t *sums, size_t stride, __m512i out[8]) {
    __m512i row[8];
    UNROLL
    for (size_t i = 0; i < 8; i++) row[i] = _mm512_loadu_si512(sums + i * stride);
    UNROLL
    for (size_t j = 0; j < 2; j++) { // lane l of ROWS[i]: pair 2 l + j of rows 2 i and 2 i + 1
        __m512i rows[4], four[4];
        UNROLL
        for (size_t i = 0; i < 4; i++)
            rows[i] = j ? _mm512_unpackhi_epi64(row[2 * i], row[2 * i + 1])
                        : _mm512_unpacklo_epi64(row[2 * i], row[2 * i + 1]);
        UNROLL
        for (size_t i = 0; i < 2; i++) {
            four[i] = _mm512_shuffle_i32x4(rows[2 * i], rows[2 * i + 1], 0x88);
            four[2 + i] = _mm512_shuffle_i32x4(rows[2 * i], rows[2 * i + 1], 0xdd);
        }
        out[j] = _mm512_shuffle_i32x4(four[0], four[1], 0x88);
        out[2 + j] = _mm512_shuffle_i32x4(four[2], four[3], 0x88);
        out[4 + j] = _mm512_shuffle_i32x4(four[0], four[1], 0xdd);
        out[6 + j] = _mm512_shuffle_i32x4(four[2], four[3], 0xdd);
    }
}

/* N <= 16 blocks. */
INLINE __m256 sum_packed(const int32_t *sums, size_t stride, const float *da, size_t n,
                         __m256 acc) {
    __m512i pair[8];
    pairs_of_rows(sums, stride, pair);
    // A lane of 64 bits for each row: the first of a pair counts, then the second takes its place.
    __m512 wide = _mm512_castsi512_ps(_mm512_cvtepu32_epi64(_mm256_castps_si256(acc)));
    UNROLL
    for (size_t i = 0; i < 8; i++) {
        if (2 * i >= n) continue;
        __m512 dots = _mm512_cvtepi32_ps(_mm512_srai_epi32(pair[i], 16));
        __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pair[i]));
        __m512 scales = _mm512_mul_ps(d, two_floats(da + 2 * i, n - 2 * i));
        wide = _mm512_fmadd_ps(dots, scales, wide);
        if (2 * i + 1 < n)
            wide = _mm512_fmadd_ps(second_of_pairs(dots), second_of_pairs(scales), wide);
    }
    return _mm256_castsi256_ps(_mm512_cvtepi64_epi32(_mm512_castps_si512(wide)));
}

/* ---- Summing --------------------------------------------------------------------------------- */

/* Products of up to GROUP rows with a token, on their way: a group is summed up bit by bit while
 * the next one's rows are read, as each addition has to wait for the one before it. */
struct summing {
    struct group_sums sums;
    struct kind_of_sums kind;
    size_t n_blocks, n_done;
    const float *da; // scales of the token's blocks
    __m256 acc;
    float *y;
    __mmask8 rows; // those that there are
};

INLINE __m256 sum_quads(const struct summing *s, size_t end, struct kind_of_sums kind) {
    const struct group_sums *sums = &s->sums;
    __m256 acc = s->acc;
    size_t b = s->n_done;
    for (; b + 4 <= end; b += 4) acc = sum_quad(sums, s->da, b, 4, kind, acc);
    if (b + 1 == end) return sum_quad(sums, s->da, b, 1, kind, acc);
    if (b + 2 == end) return sum_quad(sums, s->da, b, 2, kind, acc);
    return b + 3 == end ? sum_quad(sums, s->da, b, 3, kind, acc) : acc;
}

INLINE __m256 sum_sixteens(const struct summing *s, size_t end) {
    const struct group_sums *sums = &s->sums;
    __m256 acc = s->acc;
    size_t b = s->n_done;
    for (; b + 16 <= end; b += 16)
        acc = sum_packed(sums->first.dot + b, sums->stride, s->da + b, 16, acc);
    return b < end ? sum_packed(sums->first.dot + b, sums->stride, s->da + b, end - b, acc) : acc;
}

/* The same with constants. */
static __m256 sum_until(const struct summing *s, size_t end) {
    if (s->kind.packed) return sum_sixteens(s, end);
    if (s->kind.as_in_file)
        return s->kind.has_min ? sum_quads(s, end, (struct kind_of_sums){true, true, false})
                               : sum_quads(s, end, (struct kind_of_sums){false, true, false});
    return s->kind.has_min ? sum_quads(s, end, (struct kind_of_sums){true, false, false})
                           : sum_quads(s, end, (struct kind_of_sums){false, false, false});
}

/* On to the first END blocks or somewhat fewer, unless they are all. With the last ones products
 * are put down. */
static void sum_on(struct summing *s, size_t end) {
    if (end < s->n_blocks) end -= end % (s->kind.packed ? 16 : 4);
    if (end == s->n_done) return;
    s->acc = sum_until(s, end);
    s->n_done = end;
    if (end == s->n_blocks) _mm256_mask_storeu_ps(s->y, s->rows, s->acc);
}

#endif
