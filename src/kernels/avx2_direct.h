/* One token against 8 rows at a time, straight from the file's blocks: what decoding does, at the
 * speed of memory. Part of avx2.c alone. */
#ifndef OCTET_KERNELS_AVX2_DIRECT_H
#define OCTET_KERNELS_AVX2_DIRECT_H

#include "kernels/avx2_strip.h"

enum {
    MAX_DIRECT = 1,  // tokens
    PREFETCH = 1024, // bytes ahead
};

struct direct {
    const uint8_t *row[WIDTH];
    size_t n_blocks, row_bytes;
    const int8_t *q; // the token's part of struct act
    const float *d;
    const int16_t *bsum;
};

/* How far from byte AT of a row lies what the same stream of rows reads PREFETCH bytes later: past
 * the end of the row, it goes on WIDTH rows further down. */
INLINE size_t bytes_ahead(const struct direct *r, size_t at) {
    return at + PREFETCH < r->row_bytes ? PREFETCH : PREFETCH + (WIDTH - 1) * r->row_bytes;
}

/* Block B of every row. */
INLINE void blocks_at(const struct direct *r, size_t b, size_t block_bytes,
                      const uint8_t *p[WIDTH]) {
    size_t at = b * block_bytes, ahead = bytes_ahead(r, at);
    UNROLL
    for (size_t i = 0; i < WIDTH; i++) {
        p[i] = r->row[i] + at;
        prefetch(p[i] + ahead, block_bytes);
    }
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
INLINE __m256 direct_six_bits(size_t block_bytes, bool fifth, const struct direct *r) {
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

/* A format of 256 by the loader of a block. D_AT, DMIN_AT: where
 * the block has its f16 scales; 0 if the loader alone knows them. */
INLINE __m256 direct_256(load_fn *load, size_t block_bytes, size_t d_at, size_t dmin_at,
                         const struct traits *f, const struct direct *r) {
    __m256 acc = _mm256_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b++) {
        const uint8_t *p[WIDTH];
        blocks_at(r, b, block_bytes, p);
        const int8_t *q = r->q + b * QUANT_MAX_BLOCK;
        __m256i bsum = even_odd_16(load_256(r->bsum + b * 16)), isum[WIDTH], msum[WIDTH];
        float d[WIDTH], dmin[WIDTH];
        for (size_t i = 0; i < WIDTH; i++) {
            struct block w;
            load(p[i], &w);
            isum[i] = _mm256_setzero_si256();
            if (f->offset) {
                __m256i minus = _mm256_set1_epi16((short)-f->offset);
                isum[i] = _mm256_madd_epi16(_mm256_mullo_epi16(w.scale, minus), bsum);
            }
            UNROLL
            for (int c = 0; c < 8; c++) {
                __m256i scale =
                    _mm256_shuffle_epi8(w.scale, _mm256_set1_epi16((short)(c * 0x202 + 0x100)));
                __m256i x = products(w.w[c], load_256(q + c * CHUNK), f->sums == SIGNED);
                isum[i] = _mm256_add_epi32(isum[i], _mm256_madd_epi16(x, scale));
                IN_THIS_ORDER(isum[i]);
            }
            if (f->has_min) msum[i] = _mm256_madd_epi16(w.min, bsum);
            if (!d_at) d[i] = w.d;
            if (!d_at && f->has_min) dmin[i] = w.dmin;
        }
        __m256 d8 = d_at ? halves_at(p, d_at) : _mm256_loadu_ps(d);
        acc = add_scaled(acc, sum_each(isum), d8, r->d[b]);
        if (!f->has_min) continue;
        __m256 dmin8 = d_at ? halves_at(p, dmin_at) : _mm256_loadu_ps(dmin);
        acc = subtract_scaled(acc, sum_each(msum), dmin8, r->d[b]);
    }
    return acc;
}

/* Two groups of 32 at a time, whose first halves lie in the low nibbles of 32 bytes. */
INLINE __m256 direct_iq4_xs(const struct direct *r) {
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
            // Groups 2c and 2c + 1 are places 2c and 2c + 1 of scale's halves, which are alike.
            const __m256i of_group = _mm256_set_m128i(_mm_set1_epi16((short)(c * 0x404 + 0x302)),
                                                      _mm_set1_epi16((short)(c * 0x404 + 0x100)));
            UNROLL
            for (size_t i = 0; i < WIDTH; i++) {
                __m256i v = load_256(p[i] + 8 + c * CHUNK);
                __m256i s = _mm256_shuffle_epi8(scale[i], of_group);
                __m256i low = _mm256_shuffle_epi8(levels, low_nibbles(v));
                __m256i high = _mm256_shuffle_epi8(levels, high_nibbles(v));
                low = _mm256_madd_epi16(products(low, first, true), s);
                high = _mm256_madd_epi16(products(high, second, true), s);
                isum[i] = _mm256_add_epi32(isum[i], _mm256_add_epi32(low, high));
                IN_THIS_ORDER(isum[i]);
            }
        }
        acc = add_scaled(acc, sum_each(isum), halves_at(p, 0), r->d[b]);
    }
    return acc;
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
INLINE __m256 direct_32(load_pair_fn *load, size_t block_bytes, bool halves, const struct traits *f,
                        const struct direct *r) {
    __m256 acc = _mm256_setzero_ps();
    for (size_t b = 0; b < r->n_blocks; b += 2) {
        size_t n = r->n_blocks - b > 1 ? 2 : 1; // an odd last block is its own neighbour
        const int8_t *q = r->q + b * CHUNK;
        __m256i q0 = load_256(q), q1 = load_256(q + (n - 1) * CHUNK), w[WIDTH][2], sums[2];
        __m256i a[2] = {_mm256_permute2x128_si256(q0, q1, 0x20),
                        _mm256_permute2x128_si256(q0, q1, 0x31)};
        const uint8_t *p[2][WIDTH];
        size_t at = b * block_bytes, ahead = bytes_ahead(r, at);
        UNROLL
        for (size_t i = 0; i < WIDTH; i++) {
            p[0][i] = r->row[i] + at;
            p[1][i] = p[0][i] + (n - 1) * block_bytes;
            _mm_prefetch((const char *)(p[0][i] + ahead), _MM_HINT_T0);
            load(p[0][i], p[1][i], w[i]);
        }
        dot_pairs(w, a, f->sums == SIGNED, sums);
        acc = add_block(acc, p[0], sums[0], b, halves, f, r);
        if (n > 1) acc = add_block(acc, p[1], sums[1], b + 1, halves, f, r);
    }
    return acc;
}

#endif
