/* Products of one token, or of a few one by one, straight from the file's blocks, for AVX-512 with
 * VNNI; part of avx512.c.
 *
 * This is what decoding does, and it has to keep up with memory. So a row is read from its first
 * byte to its last, one row after the other: a single stream is what the hardware's prefetchers
 * follow best, and reading four rows side by side costs a quarter of the bandwidth. And little is
 * done per weight: codes stay in the order the file packs them in, and the token's activations are
 * brought into that order instead, once for all rows; what four blocks have in small fields is
 * taken apart together, a 128-bit lane for each. The integer sums of all blocks are put down, for
 * avx512_sums.h to sum up. Blocks of 256 with sub-scales are in avx512_quads.h, where these are
 * many in avx512_fours.h, blocks of 32 in avx512_halves.h, the others here. */
#ifndef OCTET_KERNELS_AVX512_DIRECT_H
#define OCTET_KERNELS_AVX512_DIRECT_H

#include "kernels/avx512_lattice.h"
#include "kernels/kernels.h"

enum {
    AHEAD = 8192, // bytes, where the caller has no better idea; half as many leave threads waiting
    NEAR = 2048,  // from the second-level cache to the first one
    ZMM_BYTES = 64,
};

/* A token as its format's rows want it. */
struct token {
    const int8_t *q;     // (k) in the order of the format's codes
    const int16_t *bsum; // of groups of 16 or 32, see prepare_bsum; fours: prepare_bsum_turned
    const int32_t *sum;  // (k / 32) of groups of 32, times the bias of codes that have one; where
                         // sums are packed, as these are, with zeros in place of d; IQ4_XS: see
                         // prepare_swapped_sum; fours: what dots begin with, see prepare_start
    const float *d;      // (n_blocks)
    size_t ahead;        // bytes from what is read of a row to what is fetched
};

/* Of each block of a row, what the product is summed up from: with the d of the token's block,
 * dot * (d * d_token), and where the type has mins, minus extra * (m * d_token).
 *
 * Sums of formats that are `packed` are all in DOT: a word has the d of a block as f16 and above it
 * the dot as int16, which takes half the space in the first-level cache. */
struct sums {
    int32_t *dot, *extra; // (n_blocks, rounded up to 16)
    float *d, *m;         // the same; they are those of any token
    uint32_t *dm;         // with quads, both as they are in the file
};

typedef void direct_fn(const uint8_t *row, size_t n_blocks, const struct token *t,
                       const struct sums *out);

/* ---- Sums ------------------------------------------------------------------------------------ */

/* Sums of A..D within each 128-bit lane, as lanes (a, b, c, d). */
INLINE __m512i sum_in_lanes(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

INLINE __m128i sum_of_lanes(__m512i v) {
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE __m128i sum_rows_512(const __m512i v[4]) {
    return sum_of_lanes(sum_in_lanes(v[0], v[1], v[2], v[3]));
}

/* The sum of each 128-bit lane. */
INLINE __m128i sum_each_lane(__m512i v) {
    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_BADC));
    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castsi512_si128(_mm512_permutexvar_epi32(firsts, v));
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* Weights are read once, and should not drive out of the caches what every row meets again. */
INLINE void prefetch_from(const uint8_t *p, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += ZMM_BYTES)
        _mm_prefetch((const void *)(p + i), _MM_HINT_NTA);
}

/* A core may have more lines on their way to its second-level cache than to its first one. Which is
 * better is measured, see model/lookahead.h. Part I of N of the N_BYTES at P: little at a time. */
INLINE void prefetch_outer(const uint8_t *p, size_t ahead, size_t n_bytes, size_t i, size_t n) {
    const size_t n_lines = (n_bytes + ZMM_BYTES - 1) / ZMM_BYTES;
    for (size_t l = i * n_lines / n; l < (i + 1) * n_lines / n; l++) {
        _mm_prefetch((const void *)(p + ahead + l * ZMM_BYTES), _MM_HINT_T1);
        _mm_prefetch((const void *)(p + NEAR + l * ZMM_BYTES), _MM_HINT_T0);
    }
}

INLINE void prefetch(const struct token *t, const uint8_t *p, size_t n_bytes) {
    if (t->ahead < AHEAD_OUTER)
        prefetch_from(p + t->ahead, n_bytes);
    else
        prefetch_outer(p, t->ahead, n_bytes, 0, 1);
}

/* What is between a row's first byte and what its own fetches begin with. */
INLINE void prefetch_first(const uint8_t *row, size_t ahead) {
    if (ahead < AHEAD_OUTER) {
        prefetch_from(row, ahead);
        return;
    }
    for (size_t i = 0; i < ahead; i += ZMM_BYTES)
        if (i < NEAR)
            _mm_prefetch((const void *)(row + i), _MM_HINT_T0);
        else
            _mm_prefetch((const void *)(row + i), _MM_HINT_T1);
}

/* The activations of a long row do not all stay in the first-level cache while weights stream
 * through it, and would queue for it behind what comes from memory. */
INLINE void prefetch_token(const int8_t *q, size_t n_bytes) {
    const size_t ahead = 768;
    for (size_t i = 0; i < n_bytes; i += ZMM_BYTES)
        _mm_prefetch((const void *)(q + ahead + i), _MM_HINT_T0);
}

/* Part I of N of the N_BYTES at FIRST, where it is worked on. It meets N_Q activations at Q, which
 * may be fetched, too. */
INLINE void prefetch_part(const struct token *t, const uint8_t *first, size_t n_bytes, size_t i,
                          size_t n, const int8_t *q, size_t n_q) {
    // A jump, for without one a compiler gathers the prefetches of all parts in one place, which
    // costs a tenth of what memory gives.
    if (__builtin_expect(t->ahead < AHEAD_OUTER, 1)) {
        prefetch_from(first + i * n_bytes / n + t->ahead, n_bytes / n);
        prefetch_token(q, n_q);
    } else {
        prefetch_outer(first, t->ahead, n_bytes, i, n);
    }
}

INLINE __m512i in_lanes(__m128i a, __m128i b, __m128i c, __m128i d) {
    __m512i v = _mm512_inserti32x4(_mm512_castsi128_si512(a), b, 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(v, c, 2), d, 3);
}

INLINE __m128i load_128(const void *p) { return _mm_loadu_si128(p); }
INLINE __m512i to_all_lanes(const void *p) { return _mm512_broadcast_i32x4(load_128(p)); }
INLINE __m256i load_256(const void *p) { return _mm256_loadu_si256(p); }

/* 16 bytes of each of four blocks, STEP bytes apart, a lane for each. */
INLINE __m512i load_lanes(const uint8_t *p, size_t step, size_t n) {
    const uint8_t *last = p + (n - 1) * step; // stands in for missing ones
    return in_lanes(load_128(p), load_128(n > 1 ? p + step : last),
                    load_128(n > 2 ? p + 2 * step : last), load_128(n > 3 ? p + 3 * step : last));
}

/* The f16 or two of them at OFFSET of four blocks, as words. */
INLINE __m128i words_of_blocks(const uint8_t *block, size_t step, size_t n) {
    size_t last = (n - 1) * step;
    return _mm_setr_epi32((int)load_u32(block), (int)load_u32(block + (n > 1 ? step : last)),
                          (int)load_u32(block + (n > 2 ? 2 * step : last)),
                          (int)load_u32(block + last));
}

/* The upper half of each word. */
INLINE __m128 upper_halves(__m128i words) {
    const __m128i upper = _mm_setr_epi8(2, 3, 6, 7, 10, 11, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1);
    return _mm_cvtph_ps(_mm_shuffle_epi8(words, upper));
}

/* In each lane, 4 words of 4 registers to word 0 of each, word 1 of each, ... */
INLINE void transpose_in_lanes(const __m512i v[4], __m512i out[4]) {
    __m512i low = _mm512_unpacklo_epi32(v[0], v[1]), high = _mm512_unpackhi_epi32(v[0], v[1]);
    __m512i low2 = _mm512_unpacklo_epi32(v[2], v[3]), high2 = _mm512_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm512_unpacklo_epi64(low, low2);
    out[1] = _mm512_unpackhi_epi64(low, low2);
    out[2] = _mm512_unpacklo_epi64(high, high2);
    out[3] = _mm512_unpackhi_epi64(high, high2);
}

/* 4 words of each of 16 rows, STRIDE bytes apart, to 4 registers with a lane for each row. */
INLINE void transpose_words(const void *src, size_t stride, __m512i out[4]) {
    const char *p = src;
    __m512i v[4];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        v[i] = in_lanes(load_128(p + i * stride), load_128(p + (i + 4) * stride),
                        load_128(p + (i + 8) * stride), load_128(p + (i + 12) * stride));
    transpose_in_lanes(v, out);
}

/* Read once: a compiler would rather repeat the load as an operand of each use, but blocks lie
 * across cache lines, which makes loads dear. */
INLINE __m512i load_once(const void *p) {
    __m512i v = _mm512_loadu_si512(p);
    __asm__("" : "+v"(v));
    return v;
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

/* The order in which the registers of a block of 256 hold its elements: order[4 j + l] is the group
 * of 16 that lane l of register j has. */
static const uint8_t order_plain[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const uint8_t order_4_bit[16] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
static const uint8_t order_2_bit[16] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
static const uint8_t order_pairs[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};

/* Of a block of 256, the sums of groups of 32. */
INLINE __m128i sums_of_32(const int16_t *bsum) {
    return _mm256_cvtepi32_epi16(_mm256_madd_epi16(load_256(bsum), _mm256_set1_epi16(1)));
}

static void prepare_q(const int8_t *q, size_t k, const uint8_t order[16], int8_t *out) {
    for (size_t i = 0; i < k; i += 256)
        for (size_t g = 0; g < 16; g++) memcpy(out + i + 16 * g, q + i + 16 * order[g], 16);
}

/* For four blocks of 256 at a time, a lane of 8 numbers for each: the sums of its 8 groups of 32,
 * or where PAIRS is false those of its first 8 groups of 16, and the other 8 in a second register.
 * N_ALL blocks, the N_BLOCKS there are again and again. */
static void prepare_bsum(const int16_t *bsum, size_t n_blocks, size_t n_all, bool pairs,
                         int16_t *out) {
    memset(out, 0, (n_all + 3) / 4 * (pairs ? 32 : 64) * sizeof *out);
    for (size_t b = 0; b < n_all; b++) {
        const int16_t *from = bsum + b % n_blocks * 16;
        int16_t *to = out + b / 4 * (pairs ? 32 : 64) + b % 4 * 8;
        if (pairs)
            _mm_storeu_si128((void *)to, sums_of_32(from));
        else
            for (size_t g = 0; g < 16; g++) to[g / 8 * 32 + g % 8] = from[g];
    }
}

/* For every 128 elements, four groups of 32: the first halves of the groups, a lane for each, then
 * the other halves. A last part that is shorter is filled with zeros. */
static void prepare_halves(const int8_t *q, size_t k, int8_t *out) {
    memset(out, 0, (k + 127) / 128 * 128);
    for (size_t i = 0; i < k; i += 32) {
        int8_t *to = out + i / 128 * 128 + i % 128 / 2;
        memcpy(to, q + i, 16);
        memcpy(to + ZMM_BYTES, q + i + 16, 16);
    }
}

/* Where those of A token's groups are what packed dots have too much. */
static void prepare_packed_sum(const int16_t *bsum, size_t k, int bias, int16_t *out) {
    memset(out, 0, (k + 511) / 512 * ZMM_BYTES);
    for (size_t i = 0; i < k / 32; i++)
        out[2 * i + 1] = (int16_t)(bias * (bsum[2 * i] + bsum[2 * i + 1]));
}

/* For each group of 32 FACTOR times its sum. */
static void prepare_sum(const int16_t *bsum, size_t k, int factor, int32_t *out) {
    for (size_t i = 0; i < k / 32; i++) out[i] = factor * (bsum[2 * i] + bsum[2 * i + 1]);
}

/* The same for blocks of 8 groups: four blocks at a time those of all first groups, then those of
 * all second ones, ... N_ALL blocks, the N_BLOCKS there are again and again. */
static void prepare_swapped_sum(const int16_t *bsum, size_t n_blocks, size_t n_all, int factor,
                                int32_t *out) {
    memset(out, 0, (n_all + 3) / 4 * 32 * sizeof *out);
    for (size_t b = 0; b < n_all; b++)
        for (size_t g = 0; g < 8; g++) {
            const int16_t *of = bsum + b % n_blocks * 16 + 2 * g;
            out[b / 4 * 32 + 4 * g + b % 4] = factor * (of[0] + of[1]);
        }
}

/* Sums over fours of elements as int16, which hold them: codes are at most 63, |q| at most 127. In
 * each lane, four of A's come first. */
INLINE __m512i pack_dots(__m512i a, __m512i qa, __m512i b, __m512i qb) {
    const __m512i zero = _mm512_setzero_si512();
    return _mm512_packs_epi32(_mm512_dpbusd_epi32(zero, a, qa), _mm512_dpbusd_epi32(zero, b, qb));
}

/* Four groups of 32, their halves in two registers, a lane for each. */
INLINE __m512i dot_halves(__m512i low, __m512i high, const int8_t *q) {
    __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low, _mm512_loadu_si512(q));
    return _mm512_dpbusd_epi32(dot, high, _mm512_loadu_si512(q + ZMM_BYTES));
}

/* ---- Lattice points -------------------------------------------------------------------------- */

/* The sub-scales of elements 64 J .., for pairs of elements. */
INLINE __m512i pair_scales(__m256i scale, int j) {
    const __m512i groups =
        _mm512_set_epi64(0x0003000300030003, 0x0003000300030003, 0x0002000200020002,
                         0x0002000200020002, 0x0001000100010001, 0x0001000100010001, 0, 0);
    __m512i index = _mm512_add_epi16(groups, _mm512_set1_epi16((short)(4 * j)));
    return _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(scale));
}

/* The same for what pack_dots gives of registers 2 P and 2 P + 1. */
INLINE __m512i packed_scales(__m256i scale, int p) {
    short pick[32];
    for (int i = 0; i < 32; i++) pick[i] = (short)(8 * p + i % 8 / 4 * 4 + i / 8);
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(pick), _mm512_castsi256_si512(scale));
}

INLINE __m512i with_signs(const int8_t *q, uint64_t negative) {
    __m512i x = _mm512_loadu_si512(q);
    return _mm512_mask_sub_epi8(x, _cvtu64_mask64(negative), _mm512_setzero_si512(), x);
}

/* Sum of scale * element * q over one block. */
INLINE __m512i dot_lattice(const struct lattice_format *f, const uint8_t *block,
                           const struct token *t, const int8_t *q) {
    __m512i sum = _mm512_setzero_si512();
    struct lattice v;
    prefetch(t, block, f->block_bytes);
    f->load(block, &v);
    UNROLL
    for (int p = 0; p < 2; p++) {
        __m512i a = with_signs(q + 2 * p * ZMM_BYTES, v.negative[2 * p]);
        __m512i b = with_signs(q + (2 * p + 1) * ZMM_BYTES, v.negative[2 * p + 1]);
        sum = _mm512_dpwssd_epi32(sum, pack_dots(v.magnitude[2 * p], a, v.magnitude[2 * p + 1], b),
                                  packed_scales(v.scale, p));
    }
    return sum;
}

INLINE void direct_lattice(const struct lattice_format *f, const uint8_t *row, size_t n_blocks,
                           const struct token *t, const struct sums *out) {
    for (size_t b = 0; b < n_blocks; b += 4) {
        const uint8_t *block = row + b * f->block_bytes;
        size_t n = n_blocks - b < 4 ? n_blocks - b : 4;
        __m512i sum[4] = {0};
        for (size_t i = 0; i < n; i++)
            sum[i] = dot_lattice(f, block + i * f->block_bytes, t, t->q + (b + i) * 256);
        __m128i words = words_of_blocks(block, f->block_bytes, n);
        __m128 d = _mm_mul_ps(upper_halves(_mm_slli_epi32(words, 16)), _mm_set1_ps(f->unit));
        _mm_storeu_si128((void *)(out->dot + b), sum_rows_512(sum));
        _mm_storeu_ps(out->d + b, d);
    }
}

/* ---- Other formats, through their chunks ----------------------------------------------------- */

/* Formats without mins whose codes are at most 128, so that products in pairs fit int16.
 * BIAS_SHIFT: log2 of the bias of the codes. */
INLINE void direct_chunks(load_chunk_fn *load, size_t block_bytes, int bias_shift,
                          const uint8_t *row, size_t n_blocks, const struct token *t,
                          const struct sums *out) {
    for (size_t b = 0; b < n_blocks; b++) {
        const int8_t *q = t->q + b * 256;
        struct chunk c;
        prefetch(t, row + b * block_bytes, block_bytes);
        load(row + b * block_bytes, &c);
        __m256i excess = _mm256_madd_epi16(c.scale, load_256(t->bsum + b * 16));
        excess = _mm256_slli_epi32(excess, bias_shift);
        __m512i sum = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_zextsi256_si512(excess));
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512i pairs = _mm512_maddubs_epi16(c.code[j], _mm512_loadu_si512(q + j * ZMM_BYTES));
            sum = _mm512_dpwssd_epi32(sum, pairs, pair_scales(c.scale, j));
        }
        out->dot[b] = _mm512_reduce_add_epi32(sum);
        out->d[b] = c.d;
    }
}

#endif
