/* Products of one token with blocks of 32, four blocks at a time; part of avx512.c. What
 * avx512_few.h and avx512_eight.h need of these formats is here, too. */
#ifndef OCTET_KERNELS_AVX512_HALVES_H
#define OCTET_KERNELS_AVX512_HALVES_H

#include "kernels/avx512_direct.h"

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
    bool nibbles; // codes are at most 15
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

/* The f16 at OFFSET of each, EVERY words apart. */
INLINE __m512i halves_of_sixteen(const __m512i v[OF_SIXTEEN], size_t step, size_t offset,
                                 size_t every) {
    short w[3][32] = {0}; // for v[0] and v[1], v[2] and v[3], v[4]
    __mmask32 second = 0, last = 0;
    for (size_t i = 0; i < 16; i++) {
        size_t at = (i * step + offset) / 2;
        w[at / 64][i * every] = (short)(at % 64);
        if (at >= 64) second |= (__mmask32)1 << i * every;
        if (at >= 128) last |= (__mmask32)1 << i * every;
    }
    __m512i a = _mm512_permutex2var_epi16(v[0], _mm512_loadu_si512(w[0]), v[1]);
    __m512i b = _mm512_permutex2var_epi16(v[2], _mm512_loadu_si512(w[1]), v[3]);
    a = _mm512_mask_mov_epi16(a, second, b);
    return _mm512_mask_permutexvar_epi16(a, last, _mm512_loadu_si512(w[2]), v[4]);
}

/* The f16 at OFFSET of N <= 16 blocks. V: 16 of them, if WHOLE. */
INLINE __m512 scales_of_blocks(const uint8_t *block, size_t step, size_t n, bool whole,
                               const __m512i v[OF_SIXTEEN], size_t offset) {
    if (!whole) return _mm512_cvtph_ps(halves_of_blocks(block, step, n, offset));
    return _mm512_cvtph_ps(_mm512_castsi512_si256(halves_of_sixteen(v, step, offset, 1)));
}

/* The sums of 16 blocks: block 4 i + l is lane l of DOT[i], element i of lane l of the result. */
INLINE __m512i sum_halves(const struct halves_format *f, const __m512i dot[4]) {
    if (!f->nibbles) return sum_in_lanes(dot[0], dot[1], dot[2], dot[3]);
    // As long as no more than 16 elements are in a sum, it fits int16.
    const __m512i one = _mm512_set1_epi16(1);
    __m512i two = _mm512_madd_epi16(_mm512_packs_epi32(dot[0], dot[1]), one);
    __m512i other = _mm512_madd_epi16(_mm512_packs_epi32(dot[2], dot[3]), one);
    return _mm512_madd_epi16(_mm512_packs_epi32(two, other), one);
}

/* 16 dots as sum_halves gives them, each above the even word of D. */
INLINE __m512i pack_sums(__m512i dots, __m512i d, const int32_t *sum) {
    short w[32] = {0};
    for (size_t i = 0; i < 16; i++) w[2 * i + 1] = (short)(8 * (i % 4) + 2 * (i / 4));
    dots = _mm512_mask_permutexvar_epi16(d, 0xaaaaaaaa, _mm512_loadu_si512(w), dots);
    return _mm512_sub_epi16(dots, _mm512_loadu_si512(sum));
}

/* Blocks B .. B + N - 1, N <= 16. */
INLINE void add_halves(const struct halves_format *f, const uint8_t *row, size_t b, size_t n,
                       const struct token *t, const struct sums *out) {
    const uint8_t *block = row + b * f->block_bytes;
    const int8_t *q = t->q + b * 32;
    __m512i dot[4] = {0}, first, second, v[OF_SIXTEEN] = {0};
    const bool whole = n == 16 && fills_five(f);
    if (whole) load_sixteen(block, f->block_bytes, v);
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        if (4 * i >= n) continue;
        prefetch_part(t, block, n * f->block_bytes, i, (n + 3) / 4, q + 4 * i * 32, 0);
        struct four p = four_from(block + 4 * i * f->block_bytes, f->block_bytes, n - 4 * i);
        __m512i last_16;
        if (whole) {
            last_16 = last_16_of_four(v, f->block_bytes, i);
            p.last_16 = &last_16;
        }
        f->load(p, &first, &second);
        dot[i] = dot_halves(first, second, q + 4 * i * 32);
    }
    __m512i dots = sum_halves(f, dot);
    if (f->packed) {
        __m512i d = whole ? halves_of_sixteen(v, f->block_bytes, 0, 2)
                          : _mm512_cvtepu16_epi32(halves_of_blocks(block, f->block_bytes, n, 0));
        _mm512_storeu_si512(out->dot + b, pack_sums(dots, d, t->sum + b));
        return;
    }
    const __m512i in_order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    dots = _mm512_permutexvar_epi32(in_order, dots);
    if (!f->has_min)
        dots = _mm512_sub_epi32(dots, _mm512_maskz_loadu_epi32(first_lanes(n), t->sum + b));
    _mm512_storeu_si512(out->dot + b, dots);
    _mm512_storeu_ps(out->d + b, f->e8 ? powers_of_blocks(block, f->block_bytes, n)
                                       : scales_of_blocks(block, f->block_bytes, n, whole, v, 0));
    if (!f->has_min) return;
    __m512 m = scales_of_blocks(block, f->block_bytes, n, whole, v, 2);
    // What is to be subtracted, as K-quants have it.
    _mm512_storeu_ps(out->m + b, _mm512_xor_ps(m, _mm512_set1_ps(-0.0f)));
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

/* The 16 bytes at OFFSET of each, which are its last ones. */
INLINE __m512i bytes_of_four(struct four p, size_t offset) {
    return p.last_16 ? *p.last_16 : lanes_of_four(p, offset);
}

INLINE void nibbles_of_four(struct four p, size_t offset, __m512i *first, __m512i *second) {
    __m512i v = bytes_of_four(p, offset);
    *first = _mm512_and_si512(v, _mm512_set1_epi8(15));
    *second = move_bits(v, 4, 4, 0, 4);
}

INLINE void look_up_four(struct four p, size_t offset, const int8_t codebook[16], int bias,
                         __m512i *first, __m512i *second) {
    __m512i v = bytes_of_four(p, offset);
    *first = look_up(codebook, bias, v);
    *second = look_up(codebook, bias, _mm512_srli_epi16(v, 4));
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
    look_up_four(p, 2, quant_iq4_codebook, 128, first, second);
}

INLINE void halves_mxfp4(struct four p, __m512i *first, __m512i *second) {
    look_up_four(p, 1, quant_mxfp4_codebook, 16, first, second);
}

static const struct halves_format
    blocks_q4_0 = {.load = halves_q4_0,
                   .block_bytes = sizeof(struct block_q4_0),
                   .nibbles = true,
                   .packed = true},
    blocks_q4_1 = {.load = halves_q4_1,
                   .block_bytes = sizeof(struct block_q4_1),
                   .has_min = true,
                   .nibbles = true},
    blocks_q5_0 = {.load = halves_q5_0, .block_bytes = sizeof(struct block_q5_0)},
    blocks_q5_1 = {.load = halves_q5_1, .block_bytes = sizeof(struct block_q5_1), .has_min = true},
    blocks_q8_0 = {.load = halves_q8_0, .block_bytes = sizeof(struct block_q8_0)},
    blocks_iq4_nl = {.load = halves_iq4_nl, .block_bytes = sizeof(struct block_iq4_nl)},
    blocks_mxfp4 = {.load = halves_mxfp4, .block_bytes = sizeof(struct block_mxfp4), .e8 = true};

#endif
