/* Products of one token with blocks of 256 that have sub-scales of 4 to 8 bits, four blocks at a
 * time; part of avx512.c. What avx512_few.h and avx512_eight.h need of these formats is here, too.
 */
#ifndef OCTET_KERNELS_AVX512_QUADS_H
#define OCTET_KERNELS_AVX512_QUADS_H

#include "kernels/avx512_direct.h"

/* ---- Formats --------------------------------------------------------------------------------- */

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
    IN_PAIRS,  // where 32 share a sub-scale, halves of groups in the same lanes of two registers
    FOR_MERGE, // the same, and those of the last two registers have a factor
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
    int merge_shift; // log2 of the factor of codes FOR_MERGE, 0: there are none
};

INLINE bool merges(const struct quad_format *f) { return f->merge_shift; }

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
        int lane = n / 8, second = n % 8 / 4;
        if (merges(f))
            w[n] = (short)(8 * i + 2 * lane + n % 2);
        else if (f->group == 32)
            w[n] = (short)(8 * i + 4 * p + lane / 2 * 2 + second);
        else
            w[n] = (short)(8 * i + lane + 4 * second);
    }
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(w), scales[f->group == 32 ? 0 : p]);
}

/* Sums over fours of two registers each, of codes that are at most 31: those of the first two
 * registers, and the other ones behind them, in each lane. Where the latter have a factor, they are
 * on top of them instead, which makes up for it and saves more than it takes. */
INLINE __m512i merge_dots(const struct quad_format *f, const __m512i code[4], const int8_t *q) {
    __m512i dot[2] = {0};
    UNROLL
    for (size_t j = 0; j < 4; j++)
        dot[j / 2] =
            _mm512_dpbusd_epi32(dot[j / 2], code[j], _mm512_loadu_si512(q + j * ZMM_BYTES));
    if (!f->merge_shift) return _mm512_packs_epi32(dot[0], dot[1]);
    __m512i on_top = _mm512_slli_epi32(dot[1], (unsigned)(16 - f->merge_shift));
    return _mm512_or_si512(on_top, _mm512_and_si512(dot[0], _mm512_set1_epi32(0xffff)));
}

/* Sum of scale * code * q over block I of N that begin at BLOCK and Q. */
INLINE __m512i dot_block(const struct quad_format *f, const uint8_t *block, size_t i, size_t n,
                         const __m512i scales[2], const struct token *t, const int8_t *q) {
    __m512i code[4];
    q += i * 256;
    prefetch_part(t, block, n * f->block_bytes, i, n, q, 256);
    block += i * f->block_bytes;
    f->load_codes(block, f->group == 32 && !merges(f) ? IN_ORDER : FOR_MERGE, code);
    if (merges(f))
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

/* What blocks B .. B + N - 1, N <= 4, of which the first one is at BLOCK, have. */
INLINE void put_blocks(const struct quad_format *f, const uint8_t *block, size_t b, size_t n,
                       __m128i dots, __m128i extra, const struct sums *out) {
    _mm_storeu_si128((void *)(out->dot + b), dots);
    if (f->has_min) _mm_storeu_si128((void *)(out->extra + b), extra);
    UNROLL
    for (size_t i = 0; i < n; i++) out->dm[b + i] = word_of_d(f, block + i * f->block_bytes);
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
    split_factor(f, quad.scale, scales);
    isum[0] = dot_block(f, block, 0, n, scales, t, q);
    if (n > 1) isum[1] = dot_block(f, block, 1, n, scales, t, q);
    if (n > 2) isum[2] = dot_block(f, block, 2, n, scales, t, q);
    if (n > 3) isum[3] = dot_block(f, block, 3, n, scales, t, q);
    __m128i isums = sum_rows_512(isum);
    if (f->has_min) split_mins(f, &quad, mins);
    __m128i gsums = sum_groups(f, f->has_min ? mins : scales, bsum);
    if (!f->has_min) isums = _mm_sub_epi32(isums, _mm_slli_epi32(gsums, f->shift));
    put_blocks(f, block, b, n, isums, gsums, out);
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
    __m512i h = twice(b->qh);
    code[0] = _mm512_or_si512(code[0], move_bits(h, 0, 2, 4, 1));
    code[1] = _mm512_or_si512(code[1], move_bits(h, 1, 3, 4, 1));
    code[2] = _mm512_or_si512(code[2], move_bits(h, 4, 6, 4, 1));
    code[3] = _mm512_or_si512(code[3], move_bits(h, 5, 7, 4, 1));
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

/* Two bits of V and one of H, both from bit SHIFT on. */
INLINE __m512i three_bits(__m512i v, __m512i h, int shift) {
    return _mm512_or_si512(_mm512_and_si512(v, _mm512_set1_epi8((char)(3 << shift))),
                           _mm512_and_si512(h, _mm512_set1_epi8((char)(4 << shift))));
}

INLINE void codes_q3_k(const uint8_t *block, enum layout layout, __m512i code[4]) {
    (void)layout; // there is one
    const struct block_q3_k *b = (const struct block_q3_k *)block;
    __m512i v = load_once(b->qs), h = twice(b->hmask);
    h = _mm512_srlv_epi16(h, in_halves(0, 4)); // bits 0-3 are those of registers 0-3
    __m512i h1 = _mm512_slli_epi16(h, 1), h2 = _mm512_slli_epi16(h, 2);
    __m512i v2 = _mm512_srli_epi16(v, 2), v4 = _mm512_srli_epi16(v, 4);
    code[0] = three_bits(v, h2, 0);
    code[1] = three_bits(v2, h1, 0);
    code[2] = three_bits(v4, h, 0);
    code[3] = three_bits(_mm512_srli_epi16(v, 6), _mm512_srli_epi16(h, 1), 0);
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
            prefetch_part(t, block, 4 * step, i, 4, q, 256);
            UNROLL
            for (size_t j = 0; j < 4; j += 2) {
                const uint8_t *qs = ((const struct block_iq4_xs *)p)->qs;
                __m512i v = load_once(qs + j / 2 * ZMM_BYTES);
                code[j] = look_up(quant_iq4_codebook, 128, v);
                code[j + 1] = look_up(quant_iq4_codebook, 128, _mm512_srli_epi16(v, 4));
            }
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

#endif
