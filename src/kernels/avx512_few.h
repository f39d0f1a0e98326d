/* Products of 2 to 4 tokens straight from the file's blocks, for AVX-512 with VNNI; part of
 * avx512.c.
 *
 * A block is unpacked once for all tokens, in registers. FEW_ROWS rows are read side by side, and
 * what a block of each gives for FEW tokens ends up in one register: a lane for each row, an
 * element of it for each token. */
#ifndef OCTET_KERNELS_AVX512_FEW_H
#define OCTET_KERNELS_AVX512_FEW_H

#include "kernels/avx512_halves.h"
#include "kernels/avx512_fours.h"

enum { FEW = 4, FEW_ROWS = 4 };

/* Tokens, those that are missing as zeros. */
struct few {
    size_t n;      // tokens
    int8_t *q;     // (n_blocks, FEW, block)
    int16_t *bsum; // (n_blocks, FEW, 8 or 16) K-quants: of as many as share a sub-scale
    int32_t *sum;  // (n_blocks, FEW) blocks of 32: sums, times the bias of codes that have one
    float *d;      // (n_blocks, FEW)
};

struct few_rows {
    const uint8_t *w;
    size_t row_bytes, n_rows, n_blocks; // n_rows <= FEW_ROWS
};

/* Adds products of rows and tokens to ACC. */
typedef __m512 few_fn(const struct few_rows *w, const struct few *t, __m512 acc);

/* The sum of all lanes of A in the lower half, that of B in the upper one, not yet of two lanes. */
INLINE __m512i fold_lanes(__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x44), _mm512_shuffle_i32x4(a, b, 0xee));
}

/* The sums of all lanes of A, B, C, D, a lane for each, from those fold_lanes gave. */
INLINE __m512i fold_again(__m512i ab, __m512i cd) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88), _mm512_shuffle_i32x4(ab, cd, 0xdd));
}

/* A number for each of the rows, to all elements of its lane. */
INLINE __m512 to_lanes(__m128 v) {
    const __m512i rows = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_permutexvar_ps(rows, _mm512_castps128_ps512(v));
}

INLINE __m512 add_block(__m512 acc, __m512i sums, __m512 d, const float *da, bool minus) {
    __m512 scale = _mm512_mul_ps(d, _mm512_broadcast_f32x4(_mm_load_ps(da)));
    __m512 of = _mm512_cvtepi32_ps(sums);
    return minus ? _mm512_fnmadd_ps(of, scale, acc) : _mm512_fmadd_ps(of, scale, acc);
}

/* ---- Blocks of 256 with sub-scales of 8 bits ------------------------------------------------- */

/* d and dmin of a block in each of four rows. */
struct scales_of_rows {
    __m128 d, dmin;
};

INLINE struct scales_of_rows load_d(const struct quad_format *f, const struct few_rows *w,
                                    const uint8_t *block) {
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const size_t at = f->has_min ? f->d_at : f->d_at - 2; // a d alone is read with what is before
    uint32_t word[FEW_ROWS];
    for (size_t i = 0; i < FEW_ROWS; i++)
        word[i] = load_u32(block + (i < w->n_rows ? i : w->n_rows - 1) * w->row_bytes + at);
    __m128i words = _mm_setr_epi32((int)word[0], (int)word[1], (int)word[2], (int)word[3]);
    if (!f->has_min) return (struct scales_of_rows){upper_halves(words), _mm_setzero_ps()};
    __m256 both = _mm256_cvtph_ps(_mm_shuffle_epi8(words, apart));
    return (struct scales_of_rows){_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1)};
}

/* What a block is multiplied with. Sub-scales are int16, those of a lane of one register of codes,
 * or where they are of 32, of two registers. */
struct unpacked {
    __m512i code[4], scale[4];
};

INLINE void unpack_block(const struct quad_format *f, const uint8_t *block, __m512i scales,
                         struct unpacked *out) {
    const uint8_t *order = order_of_codes(f);
    f->load_codes(block, IN_PAIRS, out->code);
    UNROLL
    for (size_t j = 0; j < 4; j += f->group / 16)
        out->scale[j] = sub_scales(f, scales, order + 4 * j, order + 4 * j);
}

/* The sums of scale * code * q over one block for N tokens, as element T of all lanes. */
INLINE __m512i dot_few(const struct unpacked *u, size_t step, const int8_t *q, size_t n) {
    __m512 pair[2] = {0}; // in each lane, two of a token's and two of the next one's
    UNROLL
    for (size_t t = 0; t < n; t += 2, q += 512) {
        __m512i sum = _mm512_setzero_si512();
        UNROLL
        for (size_t j = 0; j < 4; j += step) {
            __m512i a = _mm512_setzero_si512(), b = a;
            UNROLL
            for (size_t i = j; i < j + step; i++) {
                a = _mm512_dpbusd_epi32(a, u->code[i], _mm512_loadu_si512(q + i * ZMM_BYTES));
                b = _mm512_dpbusd_epi32(b, u->code[i], _mm512_loadu_si512(q + 256 + i * ZMM_BYTES));
            }
            sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(a, b), u->scale[j]);
        }
        pair[t / 2] = _mm512_castsi512_ps(sum);
    }
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(pair[0], pair[1], 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(pair[0], pair[1], 0xdd)));
}

/* Sums of factor * bsum over one block, FACTOR having a lane for each row. */
INLINE __m512i group_sums_few(const struct quad_format *f, __m512i factor, const int16_t *bsum,
                              size_t n) {
    __m512i of[2], sum[FEW] = {0};
    split_factor(f, factor, of);
    UNROLL
    for (size_t t = 0; t < n; t++, bsum += 256 / f->group) {
        sum[t] = _mm512_madd_epi16(of[0], to_all_lanes(bsum));
        if (f->group == 16) sum[t] = _mm512_dpwssd_epi32(sum[t], of[1], to_all_lanes(bsum + 8));
    }
    return sum_in_lanes(sum[0], sum[1], sum[2], sum[3]);
}

/* Row I of the four, for N tokens as dot_few gives it. */
INLINE __m512i dot_row(const struct quad_format *f, const struct few_rows *w, const uint8_t *block,
                       __m512i scales, size_t i, const int8_t *q, size_t n) {
    const uint8_t *of_row = block + (i < w->n_rows ? i : w->n_rows - 1) * w->row_bytes;
    __m512i lane = _mm512_set_epi64(1, 0, 1, 0, 1, 0, 1, 0);
    lane = _mm512_add_epi64(lane, _mm512_set1_epi64(2 * (int)i));
    struct unpacked u;
    prefetch_from(of_row + FEW_ROWS * w->row_bytes, f->block_bytes);
    unpack_block(f, of_row, _mm512_permutexvar_epi64(lane, scales), &u);
    __asm__ volatile("" : "+r"(q)); // to be read anew: what it points to would only be spilled
    return dot_few(&u, f->group / 16, q, n);
}

/* With N tokens, which is a constant. */
INLINE __m512 few_quads(const struct quad_format *f, const struct few_rows *w, const struct few *t,
                        size_t n, __m512 acc) {
    for (size_t b = 0; b < w->n_blocks; b++) {
        const uint8_t *block = w->w + b * f->block_bytes;
        const int8_t *q = t->q + b * 256 * FEW;
        const float *da = t->d + b * FEW;
        __m512i dot[FEW_ROWS];
        struct scales_of_rows s = load_d(f, w, block);
        struct quad quad;
        f->load_quad(block, w->row_bytes, w->n_rows, &quad);
        UNROLL
        for (size_t i = 0; i < FEW_ROWS; i++) dot[i] = dot_row(f, w, block, quad.scale, i, q, n);
        __m512i dots = fold_again(fold_lanes(dot[0], dot[1]), fold_lanes(dot[2], dot[3]));
        __m512i groups = group_sums_few(f, f->has_min ? quad.min : quad.scale,
                                        t->bsum + b * FEW * 256 / f->group, n);
        if (!f->has_min)
            dots = _mm512_sub_epi32(dots, _mm512_slli_epi32(groups, (unsigned)f->shift));
        else if (f->shift)
            dots = _mm512_srai_epi32(dots, (unsigned)f->shift);
        acc = add_block(acc, dots, to_lanes(s.d), da, false);
        if (f->has_min) acc = add_block(acc, groups, to_lanes(s.dmin), da, true);
    }
    return acc;
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

INLINE __m128 scale_of_four(const struct halves_format *f, struct four p) {
    return f->e8 ? powers_of_four(p) : _mm_cvtph_ps(halves_of_four(p, 0));
}

INLINE __m512 few_halves(const struct halves_format *f, const struct few_rows *w,
                         const struct few *t, size_t n, __m512 acc) {
    for (size_t b = 0; b < w->n_blocks; b++) {
        struct four p = {w->w + b * f->block_bytes, w->row_bytes, w->n_rows, false, NULL};
        const int8_t *q = t->q + b * 32 * FEW;
        const float *da = t->d + b * FEW;
        __m512i first, second, dot[FEW] = {0}, sums = to_all_lanes(t->sum + b * FEW);
        if (b % 2 == 0)
            for (size_t i = 0; i < FEW_ROWS; i++)
                prefetch_from(p.block + (FEW_ROWS + i) * p.step, 2 * f->block_bytes);
        f->load(p, &first, &second);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            dot[i] = _mm512_dpbusd_epi32(dot[i], first, to_all_lanes(q + 32 * i));
            dot[i] = _mm512_dpbusd_epi32(dot[i], second, to_all_lanes(q + 32 * i + 16));
        }
        __m512i dots = sum_in_lanes(dot[0], dot[1], dot[2], dot[3]);
        if (!f->has_min) dots = _mm512_sub_epi32(dots, sums);
        acc = add_block(acc, dots, to_lanes(scale_of_four(f, p)), da, false);
        if (f->has_min)
            acc = add_block(acc, sums, to_lanes(_mm_cvtph_ps(halves_of_four(p, 2))), da, false);
    }
    return acc;
}

#endif
