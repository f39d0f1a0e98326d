/* Products of one token, or of a few one by one, straight from the file's blocks, for AVX-512 with
 * VNNI; part of avx512.c.
 *
 * This is what decoding does, and it has to keep up with memory. So a row is read from its first
 * byte to its last, one row after the other: a single stream is what the hardware's prefetchers
 * follow best, and reading four rows side by side costs a quarter of the bandwidth. And little is
 * done per weight: codes stay in the order the file packs them in, and the token's activations are
 * brought into that order instead, once for all rows; what four blocks have in small fields is
 * taken apart together, a 128-bit lane for each. The integer sums of all blocks are put down, for
 * avx512_sums.h to sum up. */
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
    const int16_t *bsum; // of groups of 16 or 32, see prepare_bsum
    const int32_t *sum;  // (k / 32) of groups of 32, times the bias of codes that have one
    const float *d;      // (n_blocks)
    size_t ahead;        // bytes from what is read of a row to what is fetched
};

/* Of each block of a row, what the product is summed up from: with the d of the token's block,
 * dot * (d * d_token), and where the type has mins, minus extra * (m * d_token).
 *
 * Sums of formats that are `packed` are all in DOT: for every 16 blocks a register of 16 dots as
 * int16 and 16 d as f16, which takes half the space in the first-level cache. */
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
 * or where PAIRS is false those of groups of 16, ORDER[0] .. ORDER[7], and the other 8 in a second
 * register. N_ALL blocks, the N_BLOCKS there are again and again. */
static void prepare_bsum(const int16_t *bsum, size_t n_blocks, size_t n_all, bool pairs,
                         const uint8_t order[16], int16_t *out) {
    memset(out, 0, (n_all + 3) / 4 * (pairs ? 32 : 64) * sizeof *out);
    for (size_t b = 0; b < n_all; b++) {
        const int16_t *from = bsum + b % n_blocks * 16;
        int16_t *to = out + b / 4 * (pairs ? 32 : 64) + b % 4 * 8;
        if (pairs)
            _mm_storeu_si128((void *)to, sums_of_32(from));
        else
            for (size_t g = 0; g < 16; g++) to[g / 8 * 32 + g % 8] = from[order[g]];
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

/* For each group of 32 FACTOR times its sum. SWAPPED: with blocks of 8 groups, four blocks at a
 * time, those of all first groups, then those of all second ones, ... */
static void prepare_sum(const int16_t *bsum, size_t k, int factor, bool swapped, int32_t *out) {
    if (swapped) memset(out, 0, (k + 1023) / 1024 * 32 * sizeof *out);
    for (size_t i = 0; i < k / 32; i++)
        out[swapped ? i / 32 * 32 + i % 8 * 4 + i / 8 % 4 : i] =
            factor * (bsum[2 * i] + bsum[2 * i + 1]);
}

/* ---- Blocks of 256 with sub-scales of 8 bits ------------------------------------------------- */

/* Four blocks: 8-bit sub-scales and mins of their groups, a lane for each block. Where 32 share
 * them, each are in the lower half of a lane, and the upper one of SCALE has mins, too. */
struct quad {
    __m512i scale, min;
};

/* Of N <= 4 blocks STEP bytes apart. */
typedef void load_quad_fn(const uint8_t *block, size_t step, size_t n, struct quad *out);
/* How codes are laid out. */
enum layout {
    IN_ORDER,  // that of the format
    IN_PAIRS,  // where 32 share a sub-scale, the halves of groups in the same lanes of two registers
    FOR_MERGE, // the same, and those of the other two registers have a factor, see merge_dots
};
typedef void load_codes_fn(const uint8_t *block, enum layout layout, __m512i code[4]);

struct quad_format {
    load_quad_fn *load_quad;
    size_t d_at; // in a block, an f16, and behind it dmin where there are mins
    load_codes_fn *load_codes;
    const uint8_t *order; // of codes IN_ORDER
    size_t block_bytes;
    size_t group;    // elements that share a sub-scale: 16 or 32
    int shift;       // log2 of the bias of codes, or with mins, of what dots are multiplied by
    bool has_min;    // scales and mins are unsigned, codes have no bias; or scales are signed
    bool short_dots; // a dot product of half a group, without its bias, fits int16
    int merge_shift; // log2 of the factor of codes FOR_MERGE
};

/* The order of codes in pairs, where there are any. */
static const uint8_t *order_of_codes(const struct quad_format *f) {
    return f->group == 32 ? order_pairs : f->order;
}

/* From a block's sub-scales, which all lanes of SCALES have, to int16: in the lower half of each
 * lane that of its group of 16 in LOWER, in the upper one that in UPPER. */
INLINE __m512i sub_scales(const struct quad_format *f, __m512i scales, const uint8_t lower[4],
                          const uint8_t upper[4]) {
    int w[16];
    for (size_t n = 0; n < 16; n++) {
        int i = (n % 4 < 2 ? lower : upper)[n / 4] * 16 / (int)f->group;
        w[n] = f->has_min ? (int)0x80008000 | i | i << 16 : 0x00800080 | i << 8 | i << 24;
    }
    __m512i scale = _mm512_shuffle_epi8(scales, _mm512_loadu_si512(w));
    return f->has_min ? scale : _mm512_srai_epi16(scale, 8);
}

/* The scales or mins of groups, a lane for each block, as int16: those of the first eight and of
 * the others. */
INLINE void split_factor(const struct quad_format *f, __m512i factor, __m512i out[2]) {
    __m512i zero = _mm512_setzero_si512();
    if (f->has_min) {
        out[0] = _mm512_unpacklo_epi8(factor, zero);
        out[1] = _mm512_unpackhi_epi8(factor, zero);
    } else {
        out[0] = _mm512_srai_epi16(_mm512_unpacklo_epi8(zero, factor), 8);
        out[1] = _mm512_srai_epi16(_mm512_unpackhi_epi8(zero, factor), 8);
    }
}

/* The scales of groups in the order of the format's codes, those of 32 as they are. */
INLINE void split_scales(const struct quad_format *f, __m512i scale, __m512i out[2]) {
    if (f->group == 16 && f->order != order_plain)
        scale = _mm512_shuffle_epi8(scale, to_all_lanes(f->order));
    split_factor(f, scale, out);
}

INLINE void split_mins(const struct quad_format *f, const struct quad *quad, __m512i out[2]) {
    if (f->group == 32)
        out[0] = _mm512_unpackhi_epi8(quad->scale, _mm512_setzero_si512());
    else
        split_factor(f, quad->min, out);
}

/* The d of a block in the lower half of a word; dmin in the upper one where there are mins. */
INLINE uint32_t word_of_d(const struct quad_format *f, const uint8_t *block) {
    return f->has_min ? load_u32(block + f->d_at) : load_u16(block + f->d_at);
}

/* Sum over the groups of factor * bsum, for each block. */
INLINE __m128i sum_groups(const struct quad_format *f, const __m512i factor[2],
                          const int16_t *bsum) {
    __m512i sums = _mm512_madd_epi16(factor[0], _mm512_loadu_si512(bsum));
    if (f->group == 16) sums = _mm512_dpwssd_epi32(sums, factor[1], _mm512_loadu_si512(bsum + 32));
    return sum_each_lane(sums);
}

/* Of block I those that belong to what pack_dots gives of the P-th half of the codes, or
 * merge_dots of all. */
INLINE __m512i scales_of_dots(const struct quad_format *f, const __m512i scales[2], int i, int p) {
    short w[32];
    for (int n = 0; n < 32; n++) {
        int lane = n / 8, of_group = f->group == 32 ? 2 * lane + n % 2 : lane + n % 8 / 4 * 4;
        w[n] = (short)(8 * i + of_group);
    }
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(w), scales[p]);
}

/* Sums over fours of elements as int16, which hold them: codes are at most 63, |q| at most 127. In
 * each lane, four of A's come first. */
INLINE __m512i pack_dots(__m512i a, __m512i qa, __m512i b, __m512i qb) {
    const __m512i zero = _mm512_setzero_si512();
    return _mm512_packs_epi32(_mm512_dpbusd_epi32(zero, a, qa), _mm512_dpbusd_epi32(zero, b, qb));
}

/* Sums over fours of two registers each, of codes that are at most 31: those of the first two
 * registers, and the other ones on top of them. Merging takes one instruction from where
 * permutations queue, and makes up for the factor of the latter, which saves more of them. */
INLINE __m512i merge_dots(const struct quad_format *f, const __m512i code[4], const int8_t *q) {
    __m512i dot[2] = {0};
    UNROLL
    for (size_t j = 0; j < 4; j++)
        dot[j / 2] =
            _mm512_dpbusd_epi32(dot[j / 2], code[j], _mm512_loadu_si512(q + j * ZMM_BYTES));
    __m512i on_top = _mm512_slli_epi32(dot[1], (unsigned)(16 - f->merge_shift));
    return _mm512_or_si512(on_top, _mm512_and_si512(dot[0], _mm512_set1_epi32(0xffff)));
}

/* Sum of scale * code * q over block I of N that begin at BLOCK and Q. */
INLINE __m512i dot_block(const struct quad_format *f, const uint8_t *block, size_t i, size_t n,
                         const __m512i scales[2], const struct token *t, const int8_t *q) {
    __m512i code[4];
    const uint8_t *first = block;
    block += i * f->block_bytes;
    q += i * 256;
    // Behind a jump, those into the first-level cache lose a tenth of what memory gives.
    if (__builtin_expect(t->ahead < AHEAD_OUTER, 1)) {
        prefetch_from(block + t->ahead, f->block_bytes);
        prefetch_token(q, 256);
    } else {
        prefetch_outer(first, t->ahead, n * f->block_bytes, i, n);
    }
    f->load_codes(block, FOR_MERGE, code);
    if (f->group == 32)
        return _mm512_madd_epi16(merge_dots(f, code, q), scales_of_dots(f, scales, (int)i, 0));
    __m512i sum = _mm512_setzero_si512();
    UNROLL
    for (int p = 0; p < 2; p++) {
        const int8_t *half = q + 2 * p * ZMM_BYTES;
        __m512i dots = pack_dots(code[2 * p], _mm512_loadu_si512(half), code[2 * p + 1],
                                 _mm512_loadu_si512(half + ZMM_BYTES));
        sum = _mm512_dpwssd_epi32(sum, dots, scales_of_dots(f, scales, (int)i, p));
    }
    return sum;
}

/* Blocks B .. B + N - 1, N <= 4. */
INLINE void add_quad(const struct quad_format *f, const uint8_t *row, size_t b, size_t n,
                     const struct token *t, const struct sums *out) {
    const uint8_t *block = row + b * f->block_bytes;
    const int8_t *q = t->q + b * 256;
    const int16_t *bsum = t->bsum + b * (f->group == 16 ? 16 : 8);
    struct quad quad;
    __m512i isum[4] = {0}, scales[2], mins[2];
    f->load_quad(block, f->block_bytes, n, &quad);
    split_scales(f, quad.scale, scales);
    isum[0] = dot_block(f, block, 0, n, scales, t, q);
    if (n > 1) isum[1] = dot_block(f, block, 1, n, scales, t, q);
    if (n > 2) isum[2] = dot_block(f, block, 2, n, scales, t, q);
    if (n > 3) isum[3] = dot_block(f, block, 3, n, scales, t, q);
    __m128i isums = sum_rows_512(isum);
    if (f->has_min) split_mins(f, &quad, mins);
    __m128i gsums = sum_groups(f, f->has_min ? mins : scales, bsum);
    if (!f->has_min)
        isums = _mm_sub_epi32(isums, _mm_slli_epi32(gsums, f->shift));
    else if (f->shift)
        isums = _mm_srai_epi32(isums, f->shift);
    _mm_storeu_si128((void *)(out->dot + b), isums);
    if (f->has_min) _mm_storeu_si128((void *)(out->extra + b), gsums);
    UNROLL
    for (size_t i = 0; i < n; i++) out->dm[b + i] = word_of_d(f, block + i * f->block_bytes);
}

INLINE void direct_quads(const struct quad_format *f, const uint8_t *row, size_t n_blocks,
                         const struct token *t, const struct sums *out) {
    size_t b = 0;
    for (; b + 4 <= n_blocks; b += 4) add_quad(f, row, b, 4, t, out);
    if (b + 1 == n_blocks) add_quad(f, row, b, 1, t, out);
    if (b + 2 == n_blocks) add_quad(f, row, b, 2, t, out);
    if (b + 3 == n_blocks) add_quad(f, row, b, 3, t, out);
}

INLINE __m512i for_lanes(int a, int b, int c, int d) {
    return _mm512_broadcast_i32x4(_mm_setr_epi32(a, b, c, d));
}

/* Q4_K and Q5_K begin alike: d, dmin, and 6-bit scales and mins in three words s, t, u. */
INLINE void load_quad_q4_k(const uint8_t *block, size_t step, size_t n, struct quad *out) {
    __m512i v = load_lanes(block, step, n);
    __m512i sstt = _mm512_shuffle_epi32(v, _MM_PERM_CCBB);
    __m512i uuuu = _mm512_shuffle_epi32(v, _MM_PERM_DDDD);
    // Words: scales 0-3, scales 4-7, mins 0-3, mins 4-7.
    __m512i own = _mm512_and_si512(_mm512_srlv_epi32(sstt, for_lanes(0, 2, 0, 2)),
                                   for_lanes(0x3f3f3f3f, 0x30303030, 0x3f3f3f3f, 0x30303030));
    __m512i low = _mm512_and_si512(_mm512_srlv_epi32(uuuu, for_lanes(0, 0, 0, 4)),
                                   for_lanes(0, 0x0f0f0f0f, 0, 0x0f0f0f0f));
    out->scale = _mm512_or_si512(own, low);
    out->min = _mm512_shuffle_epi32(out->scale, _MM_PERM_DCDC);
}

INLINE void low_and_high(__m512i v, __m512i *low, __m512i *high) {
    const __m512i mask = _mm512_set1_epi8(15);
    *low = _mm512_and_si512(v, mask);
    *high = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
}

INLINE void nibbles_in_order(const uint8_t *qs, __m512i code[4]) {
    low_and_high(load_once(qs), &code[0], &code[1]);
    low_and_high(load_once(qs + ZMM_BYTES), &code[2], &code[3]);
}

/* The first halves of groups 0, 2, 4, 6 of 32 in the lower nibbles of V[0], those of 1, 3, 5, 7 in
 * the upper ones; the other halves in V[1]. */
INLINE void bytes_in_pairs(const uint8_t *qs, __m512i v[2]) {
    __m512i a = load_once(qs), b = load_once(qs + ZMM_BYTES);
    v[0] = _mm512_shuffle_i32x4(a, b, 0x88);
    v[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
}

INLINE void nibbles_in_pairs(const uint8_t *qs, __m512i code[4]) {
    __m512i v[2];
    bytes_in_pairs(qs, v);
    low_and_high(v[0], &code[0], &code[2]);
    low_and_high(v[1], &code[1], &code[3]);
}

INLINE void codes_q4_k(const uint8_t *block, enum layout layout, __m512i code[4]) {
    const struct block_q4_k *b = (const struct block_q4_k *)block;
    __m512i v[2];
    switch (layout) {
    case IN_ORDER: nibbles_in_order(b->qs, code); return;
    case IN_PAIRS: nibbles_in_pairs(b->qs, code); return;
    default: bytes_in_pairs(b->qs, v);
    }
    UNROLL
    for (size_t j = 0; j < 4; j++)
        code[j] = _mm512_and_si512(v[j % 2], _mm512_set1_epi8((char)(j < 2 ? 0x0f : 0xf0)));
}

/* Adds the fifth bits of codes in pairs. */
INLINE void fifth_of_pairs(const uint8_t *qh, __m512i code[4]) {
    const __m512i fifth = _mm512_set1_epi8(16);
    // Those of groups 0, 2, 4, 6, a lane for each, and of 1, 3, 5, 7, moved to bit 4.
    const __m512i even = _mm512_setr_epi32(4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0, 30, 30, 30, 30);
    const __m512i odd = _mm512_setr_epi32(3, 3, 3, 3, 1, 1, 1, 1, 31, 31, 31, 31, 29, 29, 29, 29);
    UNROLL
    for (size_t j = 0; j < 4; j++) {
        __m512i moved = _mm512_rolv_epi32(to_all_lanes(qh + 16 * (j % 2)), j < 2 ? even : odd);
        code[j] = _mm512_or_si512(code[j], _mm512_and_si512(moved, fifth));
    }
}

INLINE void codes_q5_k(const uint8_t *block, enum layout layout, __m512i code[4]) {
    const struct block_q5_k *b = (const struct block_q5_k *)block;
    if (layout != IN_ORDER) {
        nibbles_in_pairs(b->qs, code);
        fifth_of_pairs(b->qh, code);
        return;
    }
    nibbles_in_order(b->qs, code);
    // Bits of groups (0, 2), (1, 3), (4, 6), (5, 7) of 32, moved to bit 4.
    const __m512i fifth = _mm512_set1_epi8(16);
    __m512i h = twice(b->qh);
    __m512i moved[4] = {
        _mm512_sllv_epi16(h, in_halves(4, 2)), _mm512_sllv_epi16(h, in_halves(3, 1)),
        _mm512_srlv_epi16(h, in_halves(0, 2)), _mm512_srlv_epi16(h, in_halves(1, 3))};
    UNROLL
    for (size_t j = 0; j < 4; j++)
        code[j] = _mm512_or_si512(code[j], _mm512_and_si512(moved[j], fifth));
}

INLINE void planes_in_order(const uint8_t *qs, __m512i code[4]) {
    const __m512i low = _mm512_set1_epi8(3);
    __m512i v = load_once(qs);
    code[0] = _mm512_and_si512(v, low);
    code[1] = _mm512_and_si512(_mm512_srli_epi16(v, 2), low);
    code[2] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    code[3] = _mm512_and_si512(_mm512_srli_epi16(v, 6), low);
}

/* The f16 or two of them at OFFSET of four blocks, as words. */
INLINE __m128i words_of_blocks(const uint8_t *block, size_t step, size_t n) {
    size_t last = (n - 1) * step;
    return _mm_setr_epi32((int)load_u32(block), (int)load_u32(block + (n > 1 ? step : last)),
                          (int)load_u32(block + (n > 2 ? 2 * step : last)),
                          (int)load_u32(block + last));
}

INLINE void load_quad_q2_k(const uint8_t *block, size_t step, size_t n, struct quad *out) {
    // Codes stay where they are in a byte, and scales make up for it: times 16, 4, 1, 1.
    const __m512i shift = _mm512_broadcast_i32x4(_mm_setr_epi16(4, 2, 0, 0, 4, 2, 0, 0));
    const __m512i scales = for_lanes(0x3c3cf0f0, 0x0f0f0f0f, 0x3c3cf0f0, 0x0f0f0f0f);
    __m512i v = load_lanes(block, step, n);
    out->scale = _mm512_and_si512(_mm512_sllv_epi16(v, shift), scales);
    out->min = _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}

INLINE void codes_q2_k(const uint8_t *block, enum layout layout, __m512i code[4]) {
    (void)layout; // there is one
    __m512i v = load_once(((const struct block_q2_k *)block)->qs);
    code[0] = _mm512_and_si512(v, _mm512_set1_epi8(0x03)); // times 1
    code[1] = _mm512_and_si512(v, _mm512_set1_epi8(0x0c)); // times 4
    code[2] = _mm512_and_si512(v, _mm512_set1_epi8(0x30)); // times 16
    code[3] = _mm512_and_si512(_mm512_srli_epi16(v, 2), _mm512_set1_epi8(0x30));
}

/* The upper half of each word. */
INLINE __m128 upper_halves(__m128i words) {
    const __m128i upper = _mm_setr_epi8(2, 3, 6, 7, 10, 11, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1);
    return _mm_cvtph_ps(_mm_shuffle_epi8(words, upper));
}

/* The last 16 bytes of a block: two of codes, three words of scales s, t, u, and d. */
INLINE void load_quad_q3_k(const uint8_t *block, size_t step, size_t n, struct quad *out) {
    __m512i v = load_lanes(block + sizeof(struct block_q3_k) - 16, step, n);
    __m512i stst =
        _mm512_shuffle_epi8(v, for_lanes(0x05040302, 0x09080706, 0x05040302, 0x09080706));
    __m512i uuuu =
        _mm512_shuffle_epi8(v, for_lanes(0x0d0c0b0a, 0x0d0c0b0a, 0x0d0c0b0a, 0x0d0c0b0a));
    __m512i low =
        _mm512_and_si512(_mm512_srlv_epi32(stst, for_lanes(0, 0, 4, 4)), _mm512_set1_epi8(0x0f));
    __m512i high =
        _mm512_and_si512(_mm512_rolv_epi32(uuuu, for_lanes(4, 2, 0, 30)), _mm512_set1_epi8(0x30));
    out->scale = _mm512_sub_epi8(_mm512_or_si512(low, high), _mm512_set1_epi8(32));
}

INLINE void codes_q3_k(const uint8_t *block, enum layout layout, __m512i code[4]) {
    (void)layout; // there is one
    const struct block_q3_k *b = (const struct block_q3_k *)block;
    planes_in_order(b->qs, code);
    // Bits (0, 4), (1, 5), (2, 6), (3, 7), moved to bit 2.
    const __m512i third = _mm512_set1_epi8(4);
    __m512i h = twice(b->hmask), upper = _mm512_srlv_epi16(h, in_halves(0, 4));
    __m512i moved[4] = {_mm512_slli_epi16(upper, 2), _mm512_slli_epi16(upper, 1), upper,
                        _mm512_srli_epi16(upper, 1)};
    UNROLL
    for (size_t j = 0; j < 4; j++)
        code[j] = _mm512_or_si512(code[j], _mm512_and_si512(moved[j], third));
}

INLINE void load_quad_q6_k(const uint8_t *block, size_t step, size_t n, struct quad *out) {
    out->scale = load_lanes(block + offsetof(struct block_q6_k, scales), step, n);
}

INLINE void codes_q6_k(const uint8_t *block, enum layout layout, __m512i code[4]) {
    (void)layout; // there is one
    struct chunk c;
    load_q6_k(block, &c);
    UNROLL
    for (size_t j = 0; j < 4; j++) code[j] = c.code[j];
}

static const struct quad_format quads_q2_k = {
    .load_quad = load_quad_q2_k,
    .d_at = offsetof(struct block_q2_k, d),
    .load_codes = codes_q2_k,
    .order = order_2_bit,
    .block_bytes = sizeof(struct block_q2_k),
    .group = 16,
    .shift = 4,
    .has_min = true,
    .short_dots = false,
    .merge_shift = 0,
};
static const struct quad_format quads_q3_k = {
    .load_quad = load_quad_q3_k,
    .d_at = offsetof(struct block_q3_k, d),
    .load_codes = codes_q3_k,
    .order = order_2_bit,
    .block_bytes = sizeof(struct block_q3_k),
    .group = 16,
    .shift = 2,
    .has_min = false,
    .short_dots = true,
    .merge_shift = 0,
};
static const struct quad_format quads_q4_k = {
    .load_quad = load_quad_q4_k,
    .d_at = offsetof(struct block_q4_k, d),
    .load_codes = codes_q4_k,
    .order = order_4_bit,
    .block_bytes = sizeof(struct block_q4_k),
    .group = 32,
    .shift = 0,
    .has_min = true,
    .short_dots = true,
    .merge_shift = 4,
};
static const struct quad_format quads_q5_k = {
    .load_quad = load_quad_q4_k,
    .d_at = offsetof(struct block_q5_k, d),
    .load_codes = codes_q5_k,
    .order = order_4_bit,
    .block_bytes = sizeof(struct block_q5_k),
    .group = 32,
    .shift = 0,
    .has_min = true,
    .short_dots = false,
    .merge_shift = 0,
};
static const struct quad_format quads_q6_k = {
    .load_quad = load_quad_q6_k,
    .d_at = offsetof(struct block_q6_k, d),
    .load_codes = codes_q6_k,
    .order = order_plain,
    .block_bytes = sizeof(struct block_q6_k),
    .group = 16,
    .shift = 5,
    .has_min = false,
    .short_dots = true,
    .merge_shift = 0,
};

/* ---- IQ4_XS: codes up to 8 bits, so sums before sub-scales ----------------------------------- */

/* The scales of groups FIRST.. as int32, a lane for each group with an element for each block. LOW
 * and HIGH hold scales_l and scales_h of each block in all lanes. */
INLINE __m512i iq4_xs_scales(__m512i low, __m512i high, int first) {
    const __m512i lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __m512i group = _mm512_add_epi32(lane, _mm512_set1_epi32(first));
    __m512i four = _mm512_srlv_epi32(low, _mm512_slli_epi32(group, 2));
    __m512i two = _mm512_srlv_epi32(high, _mm512_slli_epi32(group, 1));
    four = _mm512_and_si512(four, _mm512_set1_epi32(15));
    two = _mm512_and_si512(two, _mm512_set1_epi32(3));
    return _mm512_sub_epi32(_mm512_or_si512(four, _mm512_slli_epi32(two, 4)),
                            _mm512_set1_epi32(32));
}

/* Four groups of 32, their halves in two registers, a lane for each. */
INLINE __m512i dot_halves(__m512i low, __m512i high, const int8_t *q) {
    __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low, _mm512_loadu_si512(q));
    return _mm512_dpbusd_epi32(dot, high, _mm512_loadu_si512(q + ZMM_BYTES));
}

static void direct_iq4_xs(const uint8_t *row, size_t n_blocks, const struct token *t,
                          const struct sums *out) {
    const size_t step = sizeof(struct block_iq4_xs);
    for (size_t b = 0; b < n_blocks; b += 4) {
        const uint8_t *block = row + b * step;
        size_t n = n_blocks - b < 4 ? n_blocks - b : 4;
        __m512i dot[2][4];
        UNROLL
        for (size_t i = 0; i < 4; i++) {
            size_t at = i < n ? i : n - 1;
            const uint8_t *p = block + at * step;
            const int8_t *q = t->q + (b + at) * 256;
            __m512i code[4];
            prefetch(t, p, step);
            nibbles_in_order(((const struct block_iq4_xs *)p)->qs, code);
            UNROLL
            for (size_t j = 0; j < 4; j++) code[j] = look_up(quant_iq4_codebook, 128, code[j]);
            dot[0][i] = dot_halves(code[0], code[1], q);
            dot[1][i] = dot_halves(code[2], code[3], q + 128);
        }
        __m128i words = words_of_blocks(block, step, n); // d below scales_h
        __m512i high = _mm512_broadcast_i32x4(_mm_srli_epi32(words, 16));
        __m512i low = _mm512_broadcast_i32x4(words_of_blocks(block + 4, step, n));
        __m512i sum = _mm512_setzero_si512();
        UNROLL
        for (int j = 0; j < 2; j++) {
            __m512i dots = sum_in_lanes(dot[j][0], dot[j][1], dot[j][2], dot[j][3]);
            dots = _mm512_sub_epi32(dots, _mm512_loadu_si512(t->sum + b * 8 + j * LANES));
            sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(dots, iq4_xs_scales(low, high, 4 * j)));
        }
        _mm_storeu_si128((void *)(out->dot + b), sum_of_lanes(sum));
        _mm_storeu_ps(out->d + b, upper_halves(_mm_slli_epi32(words, 16)));
    }
}

/* ---- Lattice points ---------------------------------------------------------------------------
 */

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

/* ---- Blocks of 32, four at a time ------------------------------------------------------------ */

/* Up to four blocks. */
struct four {
    const uint8_t *block;
    size_t step, n;         // bytes from one to the next; how many
    bool adjacent;          // they follow each other, and STEP is a constant
    const __m512i *last_16; // NULL, or the last 16 bytes of each, a lane for each
};

/* Their codes, a lane for each: first halves, and the other ones. */
typedef void load_halves_fn(struct four p, __m512i *first, __m512i *second);

struct halves_format {
    load_halves_fn *load;
    size_t block_bytes;
    bool has_min; // an f16 m follows d
    bool e8;      // d is a power of two in one byte
    bool packed;  // dots fit int16, and there are no mins
};

/* From A, N words of 16 bits from FIRST_A on, and N from STEP words further on; then likewise from
 * B. */
INLINE __m512i words_of_two(__m512i a, __m512i b, int n, int first_a, int first_b, int step) {
    short w[32] = {0};
    for (int i = 0; i < n; i++) {
        w[i] = (short)(first_a + i);
        w[n + i] = (short)(first_a + step + i);
        w[2 * n + i] = (short)(32 + first_b + i);
        w[3 * n + i] = (short)(32 + first_b + step + i);
    }
    return _mm512_permutex2var_epi16(a, _mm512_loadu_si512(w), b);
}

/* Four small blocks of an even size nearly fill one register, or two that overlap, and a
 * permutation is cheaper than a load for each. */
INLINE bool can_gather(size_t step) { return step % 2 == 0 && step <= 24; }

/* N_BYTES, even, at OFFSET of each of four such blocks. */
INLINE __m512i gather_blocks(const uint8_t *block, size_t step, size_t offset, size_t n_bytes) {
    size_t a = offset + ZMM_BYTES <= 4 * step ? offset : 0;
    size_t end = 3 * step + offset + n_bytes, b = end > ZMM_BYTES ? end - ZMM_BYTES : 0;
    return words_of_two(_mm512_loadu_si512(block + a), _mm512_loadu_si512(block + b),
                        (int)n_bytes / 2, (int)(offset - a) / 2, (int)(2 * step + offset - b) / 2,
                        (int)step / 2);
}

/* The first four of N blocks that follow each other. */
INLINE struct four four_from(const uint8_t *block, size_t step, size_t n) {
    return (struct four){block, step, n < 4 ? n : 4, true, NULL};
}

INLINE bool gathers(struct four p) { return p.adjacent && p.n == 4 && can_gather(p.step); }

/* Block L, or the last one there is. */
INLINE const uint8_t *block_of_four(struct four p, size_t l) {
    return p.block + (l < p.n ? l : p.n - 1) * p.step;
}

/* The f16 at OFFSET of each. */
INLINE __m128i halves_of_four(struct four p, size_t offset) {
    if (gathers(p)) return _mm512_castsi512_si128(gather_blocks(p.block, p.step, offset, 2));
    short h[4];
    for (size_t l = 0; l < 4; l++) h[l] = (short)load_u16(block_of_four(p, l) + offset);
    return _mm_setr_epi16(h[0], h[1], h[2], h[3], 0, 0, 0, 0);
}

/* The same for N <= 16 blocks that follow each other. */
INLINE __m256i halves_of_blocks(const uint8_t *block, size_t step, size_t n, size_t offset) {
    __m128i h[4] = {0};
    UNROLL
    for (size_t i = 0; i < 4; i++)
        if (4 * i < n)
            h[i] = halves_of_four(four_from(block + 4 * i * step, step, n - 4 * i), offset);
    __m128i low = _mm_unpacklo_epi64(h[0], h[1]), high = _mm_unpacklo_epi64(h[2], h[3]);
    return _mm256_set_m128i(high, low);
}

/* The powers of two in the first bytes. */
INLINE __m128 powers_of_four(struct four p) {
    __m128i e = _mm_setr_epi32(block_of_four(p, 0)[0], block_of_four(p, 1)[0],
                               block_of_four(p, 2)[0], block_of_four(p, 3)[0]);
    __m128i normal = _mm_slli_epi32(_mm_sub_epi32(e, _mm_set1_epi32(1)), 23);
    __m128i small = _mm_sllv_epi32(_mm_set1_epi32(0x00200000), e);
    __m128i bits = _mm_mask_mov_epi32(normal, _mm_cmplt_epi32_mask(e, _mm_set1_epi32(2)), small);
    __mmask8 is_nan = _mm_cmpeq_epi32_mask(e, _mm_set1_epi32(255));
    return _mm_castsi128_ps(_mm_mask_mov_epi32(bits, is_nan, _mm_set1_epi32(0x7fc00000)));
}

INLINE __m512 powers_of_blocks(const uint8_t *block, size_t step, size_t n) {
    __m512 d = _mm512_setzero_ps();
    UNROLL
    for (size_t i = 0; i < 4; i++)
        if (4 * i < n) {
            struct four p = four_from(block + 4 * i * step, step, n - 4 * i);
            __m512 four = _mm512_broadcast_f32x4(powers_of_four(p));
            d = _mm512_mask_mov_ps(d, (__mmask16)(15u << 4 * i), four);
        }
    return d;
}

/* 16 blocks of 18 or 20 bytes fill five registers, and four of them are in two neighbours. */
enum { OF_SIXTEEN = 5 };

INLINE bool fills_five(const struct halves_format *f) {
    return f->block_bytes == 18 || f->block_bytes == 20;
}

INLINE void load_sixteen(const uint8_t *block, size_t step, __m512i v[OF_SIXTEEN]) {
    UNROLL
    for (size_t i = 0; i < OF_SIXTEEN - 1; i++) v[i] = load_once(block + i * ZMM_BYTES);
    v[OF_SIXTEEN - 1] = step == 18 ? _mm512_castsi256_si512(load_256(block + 4 * ZMM_BYTES))
                                   : load_once(block + 4 * ZMM_BYTES);
}

/* The last 16 bytes of blocks 4 G .. 4 G + 3, a lane for each. */
INLINE __m512i last_16_of_four(const __m512i v[OF_SIXTEEN], size_t step, size_t g) {
    short w[32];
    for (size_t i = 0; i < 32; i++)
        w[i] = (short)((4 * step - ZMM_BYTES) * g / 2 + (i / 8 + 1) * step / 2 - 8 + i % 8);
    return _mm512_permutex2var_epi16(v[g], _mm512_loadu_si512(w), v[g + 1]);
}

/* The f16 at OFFSET of each. */
INLINE __m256i halves_of_sixteen(const __m512i v[OF_SIXTEEN], size_t step, size_t offset) {
    short w[3][32] = {0}; // for v[0] and v[1], v[2] and v[3], v[4]
    __mmask32 second = 0, last = 0;
    for (size_t i = 0; i < 16; i++) {
        size_t at = (i * step + offset) / 2;
        w[at / 64][i] = (short)(at % 64);
        if (at >= 64) second |= (__mmask32)1 << i;
        if (at >= 128) last |= (__mmask32)1 << i;
    }
    __m512i a = _mm512_permutex2var_epi16(v[0], _mm512_loadu_si512(w[0]), v[1]);
    __m512i b = _mm512_permutex2var_epi16(v[2], _mm512_loadu_si512(w[1]), v[3]);
    a = _mm512_mask_mov_epi16(a, second, b);
    a = _mm512_mask_permutexvar_epi16(a, last, _mm512_loadu_si512(w[2]), v[4]);
    return _mm512_castsi512_si256(a);
}

/* Blocks B .. B + N - 1, N <= 16. */
INLINE void add_halves(const struct halves_format *f, const uint8_t *row, size_t b, size_t n,
                       const struct token *t, const struct sums *out) {
    const uint8_t *block = row + b * f->block_bytes;
    __m512i dot[4] = {0}, first, second, v[OF_SIXTEEN];
    const bool whole = n == 16 && fills_five(f);
    prefetch(t, block, n * f->block_bytes);
    if (whole) load_sixteen(block, f->block_bytes, v);
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        if (4 * i >= n) continue;
        struct four p = four_from(block + 4 * i * f->block_bytes, f->block_bytes, n - 4 * i);
        __m512i last_16;
        if (whole) {
            last_16 = last_16_of_four(v, f->block_bytes, i);
            p.last_16 = &last_16;
        }
        f->load(p, &first, &second);
        dot[i] = dot_halves(first, second, t->q + (b + 4 * i) * 32);
    }
    __m512i dots = sum_in_lanes(dot[0], dot[1], dot[2], dot[3]); // lane l, element i: 4 i + l
    const __m512i in_order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    dots = _mm512_permutexvar_epi32(in_order, dots);
    if (!f->has_min)
        dots = _mm512_sub_epi32(dots, _mm512_maskz_loadu_epi32(first_lanes(n), t->sum + b));
    __m256i d = whole ? halves_of_sixteen(v, f->block_bytes, 0)
                      : halves_of_blocks(block, f->block_bytes, n, 0);
    if (f->packed) {
        dots = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(dots));
        _mm512_storeu_si512(out->dot + b, _mm512_inserti64x4(dots, d, 1));
        return;
    }
    _mm512_storeu_si512(out->dot + b, dots);
    _mm512_storeu_ps(out->d + b,
                     f->e8 ? powers_of_blocks(block, f->block_bytes, n) : _mm512_cvtph_ps(d));
    if (!f->has_min) return;
    __m256i m = whole ? halves_of_sixteen(v, f->block_bytes, 2)
                      : halves_of_blocks(block, f->block_bytes, n, 2);
    // What is to be subtracted, as K-quants have it.
    _mm512_storeu_ps(out->m + b, _mm512_xor_ps(_mm512_cvtph_ps(m), _mm512_set1_ps(-0.0f)));
}

INLINE void direct_halves(const struct halves_format *f, const uint8_t *row, size_t n_blocks,
                          const struct token *t, const struct sums *out) {
    size_t b = 0;
    for (; b + 16 <= n_blocks; b += 16) add_halves(f, row, b, 16, t, out);
    if (b < n_blocks) add_halves(f, row, b, n_blocks - b, t, out);
}

/* 16 bytes at OFFSET of each, to its lane. */
INLINE __m512i lanes_of_four(struct four p, size_t offset) {
    if (gathers(p)) return gather_blocks(p.block, p.step, offset, 16);
    return load_lanes(p.block + offset, p.step, p.n);
}

/* Nibbles of the 16 bytes at OFFSET of each. */
INLINE void nibbles_of_four(struct four p, size_t offset, __m512i *first, __m512i *second) {
    __m512i v = p.last_16 ? *p.last_16 : lanes_of_four(p, offset);
    *first = _mm512_and_si512(v, _mm512_set1_epi8(15));
    *second = _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}

/* Adds 16 where the word at OFFSET of a block has a bit set for the element. */
INLINE void add_fifth_halves(struct four p, size_t offset, __m512i *first, __m512i *second) {
    uint64_t low = 0, high = 0;
    for (size_t l = 0; l < 4; l++) {
        uint64_t word = load_u32(block_of_four(p, l) + offset);
        low |= (word & 0xffff) << 16 * l;
        high |= word >> 16 << 16 * l;
    }
    const __m512i fifth = _mm512_set1_epi8(16);
    *first = _mm512_mask_add_epi8(*first, _cvtu64_mask64(low), *first, fifth);
    *second = _mm512_mask_add_epi8(*second, _cvtu64_mask64(high), *second, fifth);
}

INLINE void halves_q4_0(struct four p, __m512i *first, __m512i *second) {
    nibbles_of_four(p, 2, first, second);
}

INLINE void halves_q4_1(struct four p, __m512i *first, __m512i *second) {
    nibbles_of_four(p, 4, first, second);
}

INLINE void halves_q5_0(struct four p, __m512i *first, __m512i *second) {
    nibbles_of_four(p, 6, first, second);
    add_fifth_halves(p, 2, first, second);
}

INLINE void halves_q5_1(struct four p, __m512i *first, __m512i *second) {
    nibbles_of_four(p, 8, first, second);
    add_fifth_halves(p, 4, first, second);
}

INLINE void halves_q8_0(struct four p, __m512i *first, __m512i *second) {
    const __m512i top = _mm512_set1_epi8((char)0x80);
    *first = _mm512_xor_si512(lanes_of_four(p, 2), top);
    *second = _mm512_xor_si512(lanes_of_four(p, 18), top);
}

INLINE void halves_iq4_nl(struct four p, __m512i *first, __m512i *second) {
    nibbles_of_four(p, 2, first, second);
    *first = look_up(quant_iq4_codebook, 128, *first);
    *second = look_up(quant_iq4_codebook, 128, *second);
}

INLINE void halves_mxfp4(struct four p, __m512i *first, __m512i *second) {
    nibbles_of_four(p, 1, first, second);
    *first = look_up(quant_mxfp4_codebook, 16, *first);
    *second = look_up(quant_mxfp4_codebook, 16, *second);
}

static const struct halves_format
    blocks_q4_0 = {halves_q4_0, sizeof(struct block_q4_0), false, false, true},
    blocks_q4_1 = {halves_q4_1, sizeof(struct block_q4_1), true, false, false},
    blocks_q5_0 = {halves_q5_0, sizeof(struct block_q5_0), false, false, false},
    blocks_q5_1 = {halves_q5_1, sizeof(struct block_q5_1), true, false, false},
    blocks_q8_0 = {halves_q8_0, sizeof(struct block_q8_0), false, false, false},
    blocks_iq4_nl = {halves_iq4_nl, sizeof(struct block_iq4_nl), false, false, false},
    blocks_mxfp4 = {halves_mxfp4, sizeof(struct block_mxfp4), false, true, false};

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
