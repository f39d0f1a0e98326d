/* One token, or two, against 8 rows at a time, straight from the file's blocks: what decoding does,
 * at the speed of memory. Part of avx2.c alone. */
#ifndef OCTET_KERNELS_AVX2_DIRECT_H
#define OCTET_KERNELS_AVX2_DIRECT_H

#include "kernels/avx2_strip.h"

/* Bytes. Zen 3 reads a fourth less with 640 than with 512. */
enum { STREAM_AHEAD = 512 };

enum {
    FOUR = 4,       // blocks, see avx2_fours.h
    MAX_TOKENS = 2, // at once
};

/* Activations of a token, turned as avx2_fours.h does with codes, for every four blocks: register K
 * of a chunk has bytes 4K .. of its first 16 in the lower half, of the others in the upper one. */
struct turned_acts {
    int8_t *q; // (fours, 8 chunks, 4, 32)
    // Sums of groups. With mins: (fours, 4, 16), register I has groups 4I .. 4I + 3, two in a lane.
    // Else (fours, 8 chunks, 16): what a group's sum begins with, to make up for the codes' bias.
    int16_t *sums;
};

struct direct {
    const uint8_t *row[WIDTH];
    size_t n_blocks, k;
    const int8_t *q; // the first token's part of struct act
    const float *d;
    const int16_t *bsum;
    struct turned_acts turned[MAX_TOKENS];
    // How many bytes further down each row is fetched, and whether into the second-level cache, see
    // struct act; functions named ..._by_cache have the latter as an argument that is a constant.
    size_t ahead;
    bool outer;
};

/* Block B of every row. */
INLINE void blocks_at(const struct direct *r, size_t b, size_t block_bytes,
                      const uint8_t *p[WIDTH]) {
    UNROLL
    for (size_t i = 0; i < WIDTH; i++) p[i] = r->row[i] + b * block_bytes;
}

/* While a block at P is worked on. Each where it is asked for: a compiler gathers prefetches that
 * are not volatile in one place, where they cost a tenth of what memory gives. */
INLINE void fetch(const struct direct *r, const uint8_t *p, size_t n_bytes, bool outer) {
    p += r->ahead;
    for (size_t i = 0; i < n_bytes; i += CACHE_LINE)
        if (outer)
            __asm__ volatile("prefetcht1 %0" : : "m"(p[i]));
        else
            __asm__ volatile("prefetcht0 %0" : : "m"(p[i]));
}

/* The same, one cache line after the other, since few can be on their way at once. */
INLINE void fetch_line(const struct direct *r, const uint8_t *p, size_t block_bytes, size_t line,
                       bool outer) {
    if (line * CACHE_LINE < block_bytes) fetch(r, p + line * CACHE_LINE, 1, outer);
}

/* Sums of neighbours: lanes (a, b, a, b) in each half. Then of those: (a, b, c, d). */
INLINE __m256i merge_32(__m256i a, __m256i b) {
    return _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
}
INLINE __m256i merge_64(__m256i ab, __m256i cd) {
    return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

/* The sums of 8 registers, in order. */
INLINE __m256i sum_each(const __m256i v[WIDTH]) {
    __m256i a = merge_64(merge_32(v[0], v[1]), merge_32(v[2], v[3]));
    __m256i b = merge_64(merge_32(v[4], v[5]), merge_32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

INLINE __m256 add_scaled(__m256 acc, __m256i sums, __m256 d, float da) {
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(d, _mm256_set1_ps(da)), acc);
}

INLINE __m256 subtract_scaled(__m256 acc, __m256i sums, __m256 d, float da) {
    return _mm256_fnmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(d, _mm256_set1_ps(da)), acc);
}

/* ---- Blocks of 256 --------------------------------------------------------------------------- */

/* Q4_K, or Q5_K if there are FIFTH bits. */
INLINE __m256 six_bits_by_cache(size_t block_bytes, bool fifth, const struct direct *r,
                                bool outer) {
    __m256 acc = _mm256_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b++) {
        const uint8_t *p[WIDTH];
        blocks_at(r, b, block_bytes, p);
        __m256i scale[8], pair[4], isum[WIDTH], msum = _mm256_setzero_si256();
        float d[WIDTH], dmin[WIDTH];
        heads_six_bits(p, &(struct heads){scale, pair, d, dmin});
        THROUGH_MEMORY(scale);
        UNROLL
        for (size_t i = 0; i < WIDTH; i++) isum[i] = _mm256_setzero_si256();
        UNROLL
        for (int c = 0; c < 4; c++) {
            const int8_t *q = r->q + b * QUANT_MAX_BLOCK + c * 2 * CHUNK;
            __m256i a0 = load_256(q), a1 = load_256(q + CHUNK);
            UNROLL
            for (size_t i = 0; i < WIDTH; i++) {
                fetch_line(r, p[i], block_bytes, (size_t)c, outer);
                __m256i v = load_256(p[i] + (fifth ? 48 : 16) + c * CHUNK);
                __m256i low = low_nibbles(v), high = high_nibbles(v);
                if (fifth) {
                    __m256i bits = load_256(p[i] + 16);
                    low = _mm256_or_si256(low, move_bit(bits, 2 * c, 4));
                    high = _mm256_or_si256(high, move_bit(bits, 2 * c + 1, 4));
                }
                __m256i s0 = broadcast_32((const int32_t *)&scale[2 * c] + i);
                __m256i s1 = broadcast_32((const int32_t *)&scale[2 * c + 1] + i);
                low = _mm256_madd_epi16(_mm256_maddubs_epi16(low, a0), s0);
                high = _mm256_madd_epi16(_mm256_maddubs_epi16(high, a1), s1);
                isum[i] = _mm256_add_epi32(isum[i], _mm256_add_epi32(low, high));
                IN_THIS_ORDER(isum[i]);
            }
        }
        int16_t sums[8];
        sums_of_32(r->bsum + b * 16, sums);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            msum = _mm256_add_epi32(msum, _mm256_madd_epi16(pair[j], broadcast_32(sums + 2 * j)));
        acc = add_scaled(acc, sum_each(isum), _mm256_loadu_ps(d), r->d[b]);
        acc = subtract_scaled(acc, msum, _mm256_loadu_ps(dmin), r->d[b]);
    }
    return acc;
}

INLINE __m256 direct_six_bits(size_t block_bytes, bool fifth, const struct direct *r) {
    return r->outer ? six_bits_by_cache(block_bytes, fifth, r, true)
                    : six_bits_by_cache(block_bytes, fifth, r, false);
}

/* Where struct block has the sub-scales of chunk C. */
INLINE __m256i scale_of(size_t c) { return _mm256_set1_epi16((short)(c * 0x202 + 0x100)); }

INLINE __m256i times_offset(__m256i scale, int offset) {
    return _mm256_mullo_epi16(scale, _mm256_set1_epi16((short)offset));
}

/* The sum over the lanes is that of sub-scale * element * activation of a block. */
INLINE __m256i dot_block(const struct block *w, const struct traits *f, const int8_t *q,
                         __m256i bsum) {
    __m256i sum = _mm256_setzero_si256();
    UNROLL
    for (size_t c = 0; c < 8; c++) {
        __m256i x = products(w->w[c], load_256(q + c * CHUNK), f->sums == SIGNED);
        x = _mm256_madd_epi16(x, _mm256_shuffle_epi8(w->scale, scale_of(c)));
        sum = _mm256_add_epi32(sum, x);
        IN_THIS_ORDER(sum);
    }
    if (!f->offset) return sum;
    return _mm256_sub_epi32(sum, _mm256_madd_epi16(times_offset(w->scale, f->offset), bsum));
}

/* A format of 256 without mins, by the loader of a block. */
INLINE __m256 any_256_by_cache(load_fn *load, size_t block_bytes, const struct traits *f,
                               const struct direct *r, bool outer) {
    __m256 acc = _mm256_setzero_ps();
    const uint8_t *p[WIDTH];
    blocks_at(r, 0, block_bytes, p);
    for (size_t b = 0; b < r->n_blocks; b++) {
        __m256i isum[WIDTH], bsum = even_odd_16(load_256(r->bsum + b * 16));
        float d[WIDTH];
        for (size_t i = 0; i < WIDTH; i++) {
            struct block w;
            fetch(r, p[i], block_bytes, outer);
            load(p[i], &w);
            p[i] += block_bytes;
            isum[i] = dot_block(&w, f, r->q + b * QUANT_MAX_BLOCK, bsum);
            d[i] = w.d;
        }
        acc = add_scaled(acc, sum_each(isum), _mm256_loadu_ps(d), r->d[b]);
    }
    return acc;
}

INLINE __m256 direct_256(load_fn *load, size_t block_bytes, const struct traits *f,
                         const struct direct *r) {
    return r->outer ? any_256_by_cache(load, block_bytes, f, r, true)
                    : any_256_by_cache(load, block_bytes, f, r, false);
}

/* Adds sub-scale * element * activation of chunks C .. C + 3, which W and Q begin with. */
INLINE __m256i add_chunks(__m256i sum, const __m256i w[4], const int8_t *q, size_t c,
                          __m256i scale) {
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        __m256i x = _mm256_maddubs_epi16(w[i], load_256(q + i * CHUNK));
        x = _mm256_madd_epi16(x, _mm256_shuffle_epi8(scale, scale_of(c + i)));
        sum = _mm256_add_epi32(sum, x);
        IN_THIS_ORDER(sum);
    }
    return sum;
}

/* Q6_K for N tokens. Half of the elements of 8 rows at a time, so that what rows share stays in
 * registers; of each call of the loader only what is used remains. */
INLINE void halves_by_cache(const struct direct *r, bool outer, size_t n, __m256 *acc) {
    UNROLL
    for (size_t t = 0; t < n; t++) acc[t] = _mm256_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b++) {
        const uint8_t *p[WIDTH];
        blocks_at(r, b, sizeof(struct block_q6_k), p);
        __m256i scale[WIDTH], less[2], isum[2][WIDTH];
        float d[WIDTH];
        UNROLL
        for (size_t t = 0; t < n; t++) {
            __m256i bsum = load_256(r->bsum + t * (r->k / QUANT_GROUP) + b * 16);
            less[t] = _mm256_sub_epi16(_mm256_setzero_si256(), even_odd_16(bsum));
        }
        for (size_t i = 0; i < WIDTH; i++) {
            struct block w;
            load_q6_k(p[i], &w);
            scale[i] = w.scale;
            d[i] = w.d;
            UNROLL
            for (size_t t = 0; t < n; t++)
                isum[t][i] = _mm256_madd_epi16(times_offset(w.scale, 32), less[t]);
        }
        UNROLL
        for (size_t c = 0; c < 8; c += 4) {
            for (size_t i = 0; i < WIDTH; i++) {
                // Counted from what is read first, and would be missed first.
                const uint8_t *first = p[i] + offsetof(struct block_q6_k, scales);
                struct block w;
                fetch_line(r, first, sizeof(struct block_q6_k), c / 2, outer);
                fetch_line(r, first, sizeof(struct block_q6_k), c / 2 + 1, outer);
                load_q6_k(p[i], &w);
                UNROLL
                for (size_t t = 0; t < n; t++) {
                    const int8_t *q = r->q + t * r->k + b * QUANT_MAX_BLOCK;
                    isum[t][i] = add_chunks(isum[t][i], w.w + c, q + c * CHUNK, c, scale[i]);
                }
            }
        }
        UNROLL
        for (size_t t = 0; t < n; t++)
            acc[t] = add_scaled(acc[t], sum_each(isum[t]), _mm256_loadu_ps(d),
                                r->d[t * r->n_blocks + b]);
    }
}

INLINE void direct_by_halves(const struct direct *r, size_t n, __m256 *acc) {
    if (r->outer)
        halves_by_cache(r, true, n, acc);
    else
        halves_by_cache(r, false, n, acc);
}

/* Two groups of 32 at a time, whose first halves lie in the low nibbles of 32 bytes. */
INLINE __m256 iq4_xs_by_cache(const struct direct *r, bool outer) {
    const __m256i levels = _mm256_broadcastsi128_si256(iq4_levels());
    __m256 acc = _mm256_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b++) {
        const uint8_t *p[WIDTH];
        blocks_at(r, b, sizeof(struct block_iq4_xs), p);
        __m256i scale[WIDTH], isum[WIDTH];
        UNROLL
        for (size_t i = 0; i < WIDTH; i++) {
            scale[i] = scales_iq4_xs(p[i]);
            isum[i] = _mm256_setzero_si256();
        }
        UNROLL
        for (int c = 0; c < 4; c++) {
            const int8_t *q = r->q + b * QUANT_MAX_BLOCK + c * 2 * CHUNK;
            __m256i a0 = load_256(q), a1 = load_256(q + CHUNK);
            __m256i first = _mm256_permute2x128_si256(a0, a1, 0x20);
            __m256i second = _mm256_permute2x128_si256(a0, a1, 0x31);
            // Shared by all rows; signs are given to the levels, none of which is -128.
            __m256i size_first = _mm256_abs_epi8(first), size_second = _mm256_abs_epi8(second);
            // Groups 2c and 2c + 1 are places 2c and 2c + 1 of scale's halves, which are alike.
            const __m256i of_group = _mm256_set_m128i(_mm_set1_epi16((short)(c * 0x404 + 0x302)),
                                                      _mm_set1_epi16((short)(c * 0x404 + 0x100)));
            UNROLL
            for (size_t i = 0; i < WIDTH; i++) {
                fetch_line(r, p[i], sizeof(struct block_iq4_xs), (size_t)c, outer);
                __m256i v = load_256(p[i] + 8 + c * CHUNK);
                __m256i s = _mm256_shuffle_epi8(scale[i], of_group);
                __m256i low = _mm256_shuffle_epi8(levels, low_nibbles(v));
                __m256i high = _mm256_shuffle_epi8(levels, high_nibbles(v));
                low = _mm256_madd_epi16(
                    _mm256_maddubs_epi16(size_first, _mm256_sign_epi8(low, first)), s);
                high = _mm256_madd_epi16(
                    _mm256_maddubs_epi16(size_second, _mm256_sign_epi8(high, second)), s);
                isum[i] = _mm256_add_epi32(isum[i], _mm256_add_epi32(low, high));
                IN_THIS_ORDER(isum[i]);
            }
        }
        acc = add_scaled(acc, sum_each(isum), halves_at(p, 0), r->d[b]);
    }
    return acc;
}

static __m256 direct_iq4_xs(const struct direct *r) {
    return r->outer ? iq4_xs_by_cache(r, true) : iq4_xs_by_cache(r, false);
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

/* Elements of two blocks: the first 16 of each in w[0], the others in w[1]. */
typedef void load_pair_fn(const uint8_t *p0, const uint8_t *p1, __m256i w[2]);

INLINE __m256i two_128(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(low)), load_128(high), 1);
}

INLINE void pair_nibbles(const uint8_t *p0, const uint8_t *p1, size_t at, __m256i w[2]) {
    __m256i v = two_128(p0 + at, p1 + at);
    w[0] = low_nibbles(v);
    w[1] = high_nibbles(v);
}

INLINE void pair_table(const uint8_t *p0, const uint8_t *p1, size_t at, __m128i table,
                       __m256i w[2]) {
    pair_nibbles(p0, p1, at, w);
    w[0] = codebook(table, w[0]);
    w[1] = codebook(table, w[1]);
}

/* With the fifth bits at AT - 4. */
INLINE void pair_fives(const uint8_t *p0, const uint8_t *p1, size_t at, __m256i w[2]) {
    pair_nibbles(p0, p1, at, w);
    uint32_t bits0 = load_u32(p0 + at - 4), bits1 = load_u32(p1 + at - 4);
    w[0] = _mm256_or_si256(w[0], fifth_bits((bits0 & 0xffff) | bits1 << 16));
    w[1] = _mm256_or_si256(w[1], fifth_bits(bits0 >> 16 | (bits1 & 0xffff0000)));
}

INLINE void pair_q4_0(const uint8_t *p0, const uint8_t *p1, __m256i w[2]) {
    pair_nibbles(p0, p1, 2, w);
}
INLINE void pair_q4_1(const uint8_t *p0, const uint8_t *p1, __m256i w[2]) {
    pair_nibbles(p0, p1, 4, w);
}
INLINE void pair_q5_0(const uint8_t *p0, const uint8_t *p1, __m256i w[2]) {
    pair_fives(p0, p1, 6, w);
}
INLINE void pair_q5_1(const uint8_t *p0, const uint8_t *p1, __m256i w[2]) {
    pair_fives(p0, p1, 8, w);
}
INLINE void pair_iq4_nl(const uint8_t *p0, const uint8_t *p1, __m256i w[2]) {
    pair_table(p0, p1, 2, iq4_levels(), w);
}
INLINE void pair_mxfp4(const uint8_t *p0, const uint8_t *p1, __m256i w[2]) {
    pair_table(p0, p1, 1, mxfp4_levels(), w);
}
INLINE void pair_q8_0(const uint8_t *p0, const uint8_t *p1, __m256i w[2]) {
    w[0] = two_128(p0 + 2, p1 + 2);
    w[1] = two_128(p0 + 18, p1 + 18);
}

INLINE __m256 mxfp4_scales(const uint8_t *const p[WIDTH]) {
    return _mm256_setr_ps(mxfp4_scale(*p[0]), mxfp4_scale(*p[1]), mxfp4_scale(*p[2]),
                          mxfp4_scale(*p[3]), mxfp4_scale(*p[4]), mxfp4_scale(*p[5]),
                          mxfp4_scale(*p[6]), mxfp4_scale(*p[7]));
}

/* Sums of PRODUCTS of the registers W and A of 8 rows: lanes of sums[0] from low halves, sums[1]
 * from high ones. */
INLINE void dot_pairs(const __m256i w[WIDTH][2], const __m256i a[2], bool is_signed,
                      __m256i sums[2]) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i two[WIDTH / 2];
    UNROLL
    for (size_t i = 0; i < WIDTH; i += 2) {
        __m256i x[2];
        UNROLL
        for (size_t j = 0; j < 2; j++) {
            __m256i low = products(w[i + j][0], a[0], is_signed);
            __m256i high = products(w[i + j][1], a[1], is_signed);
            x[j] = is_signed ? _mm256_add_epi32(_mm256_madd_epi16(low, ones),
                                                _mm256_madd_epi16(high, ones))
                             : _mm256_add_epi16(low, high);
        }
        // Elements of 31 at most give four products of pairs of 7874, which int16 holds.
        two[i / 2] = is_signed
                         ? merge_32(x[0], x[1])
                         : _mm256_madd_epi16(_mm256_add_epi16(_mm256_unpacklo_epi32(x[0], x[1]),
                                                              _mm256_unpackhi_epi32(x[0], x[1])),
                                             ones);
    }
    __m256i low = merge_64(two[0], two[1]), high = merge_64(two[2], two[3]);
    sums[0] = _mm256_permute2x128_si256(low, high, 0x20);
    sums[1] = _mm256_permute2x128_si256(low, high, 0x31);
}

/* Adds block B, which every row has at P, from the sums of its products. */
INLINE __m256 add_block(__m256 acc, const uint8_t *const p[WIDTH], __m256i sums, size_t b,
                        bool halves, const struct traits *f, const struct direct *r) {
    __m256 d, m;
    if (halves)
        heads_32(p, &d, &m);
    else
        d = m = mxfp4_scales(p);
    int32_t asum = r->bsum[2 * b] + r->bsum[2 * b + 1];
    if (f->offset) sums = _mm256_sub_epi32(sums, _mm256_set1_epi32(f->offset * asum));
    acc = add_scaled(acc, sums, d, r->d[b]);
    return f->has_min ? add_scaled(acc, _mm256_set1_epi32(asum), m, r->d[b]) : acc;
}

/* HALVES: scales are f16 at the start of a block, followed by m where blocks have one. */
INLINE __m256 any_32_by_cache(load_pair_fn *load, size_t block_bytes, bool halves,
                              const struct traits *f, const struct direct *r, bool outer) {
    __m256 acc = _mm256_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b += 2) {
        size_t n = r->n_blocks - b > 1 ? 2 : 1; // an odd last block is its own neighbour
        const int8_t *q = r->q + b * CHUNK;
        __m256i q0 = load_256(q), q1 = load_256(q + (n - 1) * CHUNK), w[WIDTH][2], sums[2];
        __m256i a[2] = {_mm256_permute2x128_si256(q0, q1, 0x20),
                        _mm256_permute2x128_si256(q0, q1, 0x31)};
        const uint8_t *p[2][WIDTH];
        size_t at = b * block_bytes;
        UNROLL
        for (size_t i = 0; i < WIDTH; i++) {
            p[0][i] = r->row[i] + at;
            p[1][i] = p[0][i] + (n - 1) * block_bytes;
            fetch(r, p[0][i], 2 * block_bytes, outer);
            load(p[0][i], p[1][i], w[i]);
        }
        dot_pairs(w, a, f->sums == SIGNED, sums);
        acc = add_block(acc, p[0], sums[0], b, halves, f, r);
        if (n > 1) acc = add_block(acc, p[1], sums[1], b + 1, halves, f, r);
    }
    return acc;
}

INLINE __m256 direct_32(load_pair_fn *load, size_t block_bytes, bool halves, const struct traits *f,
                        const struct direct *r) {
    return r->outer ? any_32_by_cache(load, block_bytes, halves, f, r, true)
                    : any_32_by_cache(load, block_bytes, halves, f, r, false);
}

#endif
