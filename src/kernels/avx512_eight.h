/* Products of 5 to 32 tokens, eight by eight, straight from the file's blocks, for AVX-512 with
 * VNNI; part of avx512.c.
 *
 * Strips turn rows into lanes, which takes as long as their products with 8 tokens. Here tokens are
 * the lanes: a register has 8 elements of each of 8 tokens and meets 8 codes of a row, which a load
 * repeats for every token at no cost. Nothing is summed up across lanes but two halves of each
 * token at the end of a block. For this, one block of ROWS_OF_EIGHT rows at a time is unpacked into
 * the first-level cache. */
#ifndef OCTET_KERNELS_AVX512_EIGHT_H
#define OCTET_KERNELS_AVX512_EIGHT_H

#include "kernels/avx512_few.h"

enum { EIGHT = 8, ROWS_OF_EIGHT = 4 };

/* Up to 8 tokens, the others zeros. In registers, two neighbours are one token's, as 8 bytes of it
 * follow each other: "apart". */
struct eight {
    int8_t *q;      // (k / 8, EIGHT, 8), elements of a block in the order of the format's codes
    int16_t *bsum;  // (n_blocks, groups / 4, EIGHT, 4) of as many as share a min
    int32_t *start; // (n_blocks, groups, EIGHT, 2) what undoes the bias of codes
    int32_t *sum;   // (n_blocks, LANES) blocks of 32: sums, times the bias of codes that have one
    float *d;       // (n_blocks, LANES), where lane_of_pair has a token, as sum
};

/* Products with N times 8 tokens, T[0], T[1], ...: each with rows 0 and 1, then 2 and 3. */
typedef void eight_fn(const struct few_rows *w, const struct eight *t, size_t n, __m512 acc[][2]);

/* Where rows I = 0, 1 of a pair and token T are in a register. */
INLINE size_t lane_of_pair(size_t i, size_t t) { return t / 2 * 4 + 2 * i + t % 2; }

/* Rows A and B, tokens apart, to a pair of rows. */
INLINE __m512i to_pair(__m512i a, __m512i b) {
    __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xdd)));
}

/* What rows FIRST and FIRST + 1 of V have, to the lanes of a pair. */
INLINE __m512 to_lanes_of_pair(__m128 v, int first) {
    const __m512i rows = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 1, 1));
    __m512i index = _mm512_add_epi32(rows, _mm512_set1_epi32(first));
    return _mm512_permutexvar_ps(index, _mm512_castps128_ps512(v));
}

INLINE __m512i eight_bytes(const void *p) { return _mm512_set1_epi64((long long)load_u64(p)); }

/* N_WORDS * 8 elements of each row: DOT += code * q. Codes of the next row are STEP bytes further.
 */
INLINE void dot_eight(const uint8_t *code, size_t step, size_t n_words, const int8_t *q,
                      __m512i dot[ROWS_OF_EIGHT]) {
    UNROLL
    for (size_t i = 0; i < n_words; i++) {
        __m512i of_tokens = load_once(q + i * ZMM_BYTES);
        UNROLL
        for (size_t r = 0; r < ROWS_OF_EIGHT; r++)
            dot[r] = _mm512_dpbusd_epi32(dot[r], eight_bytes(code + r * step + 8 * i), of_tokens);
    }
}

INLINE __m512 add_pair(__m512 acc, __m512i sums, __m512 d, const float *da, bool minus) {
    __m512 scale = _mm512_mul_ps(d, _mm512_load_ps(da));
    __m512 of = _mm512_cvtepi32_ps(sums);
    return minus ? _mm512_fnmadd_ps(of, scale, acc) : _mm512_fmadd_ps(of, scale, acc);
}

/* ---- Blocks of 256 with sub-scales of 8 bits ------------------------------------------------- */

/* A block of each row. */
struct unpacked_rows {
    _Alignas(ZMM_BYTES)
        uint8_t code[ROWS_OF_EIGHT][256];  // codes and scales are in the order of the format
    int32_t wide_scale[ROWS_OF_EIGHT][16]; // unless dots are short
    _Alignas(ZMM_BYTES) int16_t scale[2][ROWS_OF_EIGHT][8]; // those of groups 0-7, 8-15
    _Alignas(ZMM_BYTES) int16_t min[2][ROWS_OF_EIGHT][8];
    float d[ROWS_OF_EIGHT], dmin[ROWS_OF_EIGHT];
};

/* Block B of row R, or of the last one there is. */
INLINE const uint8_t *block_of_row(const struct few_rows *w, size_t r, size_t b, size_t bytes) {
    return w->w + (r < w->n_rows ? r : w->n_rows - 1) * w->row_bytes + b * bytes;
}

/* Of each group, a lane for each row; if 32 share them there are eight. */
INLINE void store_groups(const struct quad_format *f, const __m512i v[2],
                         int16_t out[2][ROWS_OF_EIGHT][8]) {
    _mm512_store_si512(out[0], v[0]);
    if (f->group == 16) _mm512_store_si512(out[1], v[1]);
}

/* SCALES, a lane for each row, as the codes of their groups follow each other. */
INLINE __m512i scales_in_order(const struct quad_format *f, __m512i scales) {
    if (f->order == order_plain) return scales;
    char from[16];
    for (size_t i = 0; i < 16; i++)
        from[i] = (char)(f->order[i * f->group / 16 % 16] * 16 / f->group);
    return _mm512_shuffle_epi8(scales, _mm512_broadcast_i32x4(load_128(from)));
}

/* A block of each row that is unpacked while the one before is multiplied with. */
struct unpacking {
    const struct quad_format *f;
    load_chunk_fn *load; // NULL for formats that have quads; F is of the codes it gives
    const struct few_rows *w;
    size_t b;
    struct unpacked_rows *out; // NULL: there is nothing left
};

INLINE void unpack_scales(const struct unpacking *of) {
    const struct quad_format *f = of->f;
    const struct few_rows *w = of->w;
    const uint8_t *block = w->w + of->b * f->block_bytes;
    struct unpacked_rows *out = of->out;
    struct quad quad;
    f->load_quad(block, w->row_bytes, w->n_rows, &quad);
    struct scales_of_rows of_rows = load_d(f, w, block);
    _mm_storeu_ps(out->d, of_rows.d);
    if (f->has_min) _mm_storeu_ps(out->dmin, of_rows.dmin);
    __m512i scales = scales_in_order(f, quad.scale), split[2];
    if (f->short_dots) {
        split_factor(f, scales, split);
        store_groups(f, split, out->scale);
    } else {
        _Alignas(ZMM_BYTES) uint8_t bytes[ROWS_OF_EIGHT][16];
        _mm512_store_si512(bytes, scales);
        UNROLL
        for (size_t r = 0; r < ROWS_OF_EIGHT; r++) {
            __m128i s = load_128(bytes[r]);
            _mm512_storeu_si512(out->wide_scale[r],
                                f->has_min ? _mm512_cvtepu8_epi32(s) : _mm512_cvtepi8_epi32(s));
        }
    }
    if (!f->has_min) return;
    split_mins(f, &quad, split);
    store_groups(f, split, out->min);
}

/* All of row R that unpack_scales has left. */
INLINE void unpack_row(const struct unpacking *of, size_t r) {
    const struct quad_format *f = of->f;
    const uint8_t *block = block_of_row(of->w, r, of->b, f->block_bytes);
    struct unpacked_rows *out = of->out;
    struct chunk c;
    for (size_t i = 0; i < f->block_bytes; i += ZMM_BYTES) // it will take long to get there
        _mm_prefetch((const void *)(block + ROWS_OF_EIGHT * of->w->row_bytes + i), _MM_HINT_T1);
    if (of->load)
        of->load(block, &c);
    else
        f->load_codes(block, IN_ORDER, c.code);
    UNROLL
    for (size_t j = 0; j < 4; j++) _mm512_store_si512(out->code[r] + j * ZMM_BYTES, c.code[j]);
    if (!of->load) return;
    if (f->group == 32) c.scale = _mm256_castsi128_si256(_mm256_cvtepi32_epi16(c.scale));
    _mm512_storeu_si512(out->wide_scale[r], _mm512_cvtepi16_epi32(c.scale));
    out->d[r] = c.d;
}

/* What the dots of group I begin with: nothing, or what undoes the bias of codes. */
INLINE void begin_dots(const struct quad_format *f, const int32_t *start, size_t i,
                       __m512i dot[ROWS_OF_EIGHT]) {
    __m512i first = f->has_min ? _mm512_setzero_si512() : load_once(start + i * LANES);
    UNROLL
    for (size_t r = 0; r < ROWS_OF_EIGHT; r++) dot[r] = first;
}

/* Groups I and I + 1 in the order of the format: ISUM += scale * dot. */
INLINE void add_two_groups(const struct quad_format *f, const struct unpacked_rows *u, size_t i,
                           const int8_t *q, const int32_t *start, __m512i isum[ROWS_OF_EIGHT]) {
    const size_t at = i * f->group;
    __m512i dot[2][ROWS_OF_EIGHT];
    UNROLL
    for (size_t j = 0; j < 2; j++) {
        begin_dots(f, start, i + j, dot[j]);
        dot_eight(u->code[0] + at + j * f->group, sizeof u->code[0], f->group / 8,
                  q + (at + j * f->group) * EIGHT, dot[j]);
    }
    UNROLL
    for (size_t r = 0; r < ROWS_OF_EIGHT; r++) {
        __m512i scale = _mm512_set1_epi32((int)load_u32(&u->scale[i / 8][r][i % 8]));
        __m512i on_top = _mm512_slli_epi32(dot[1][r], 16);
        __m512i both = _mm512_mask_mov_epi16(on_top, 0x55555555, dot[0][r]);
        isum[r] = _mm512_dpwssd_epi32(isum[r], both, scale);
    }
}

/* The same with group I alone, whose dots need more than int16. */
INLINE void add_group(const struct quad_format *f, const struct unpacked_rows *u, size_t i,
                      const int8_t *q, const int32_t *start, __m512i isum[ROWS_OF_EIGHT]) {
    __m512i dot[ROWS_OF_EIGHT];
    begin_dots(f, start, i, dot);
    dot_eight(u->code[0] + i * f->group, sizeof u->code[0], f->group / 8, q + i * f->group * EIGHT,
              dot);
    UNROLL
    for (size_t r = 0; r < ROWS_OF_EIGHT; r++) {
        __m512i scale = _mm512_set1_epi32(u->wide_scale[r][i]);
        isum[r] = _mm512_add_epi32(isum[r], _mm512_mullo_epi32(dot[r], scale));
    }
}

/* Sums of min * bsum of each row. */
INLINE void add_mins(const struct quad_format *f, const struct unpacked_rows *u,
                     const int16_t *bsum, __m512i gsum[ROWS_OF_EIGHT]) {
    for (size_t g = 0; g < 256 / f->group; g += 4) {
        __m512i of_tokens = load_once(bsum + g * EIGHT);
        UNROLL
        for (size_t r = 0; r < ROWS_OF_EIGHT; r++)
            gsum[r] =
                _mm512_dpwssd_epi32(gsum[r], eight_bytes(&u->min[g / 8][r][g % 8]), of_tokens);
    }
}

/* Block B of four rows and of 8 tokens. Between its quarters, which leave it time, a core unpacks a
 * row of NEXT each; all at once would be more than it looks ahead. */
INLINE void add_eight(const struct quad_format *f, const struct unpacked_rows *u, size_t b,
                      const struct eight *t, const struct unpacking *next, __m512 acc[2]) {
    const size_t n_groups = 256 / f->group;
    const int8_t *q = t->q + b * 256 * EIGHT;
    const int32_t *start = f->has_min ? NULL : t->start + b * n_groups * LANES;
    __asm__ volatile("" : "+r"(u)); // to be read anew: what it points to would only be spilled
    __m512i isum[ROWS_OF_EIGHT] = {0}, gsum[ROWS_OF_EIGHT] = {0};
    if (next->out && !next->load) unpack_scales(next);
    if (f->has_min) add_mins(f, u, t->bsum + b * n_groups * EIGHT, gsum);
    const size_t at_once = f->short_dots ? 2 : 1, n_turns = n_groups / ROWS_OF_EIGHT / at_once;
    for (size_t r = 0; r < ROWS_OF_EIGHT; r++) {
        UNROLL
        for (size_t j = 0; j < n_turns; j++) {
            const size_t i = (r * n_turns + j) * at_once;
            if (f->short_dots)
                add_two_groups(f, u, i, q, start, isum);
            else
                add_group(f, u, i, q, start, isum);
        }
        if (next->out) unpack_row(next, r);
    }
    UNROLL
    for (size_t i = 0; i < 2; i++) {
        const float *da = t->d + b * LANES;
        __m512i dots = to_pair(isum[2 * i], isum[2 * i + 1]);
        if (f->has_min && f->shift) dots = _mm512_srai_epi32(dots, (unsigned)f->shift);
        acc[i] =
            add_pair(acc[i], dots, to_lanes_of_pair(_mm_loadu_ps(u->d), 2 * (int)i), da, false);
        if (!f->has_min) continue;
        __m512i groups = to_pair(gsum[2 * i], gsum[2 * i + 1]);
        acc[i] =
            add_pair(acc[i], groups, to_lanes_of_pair(_mm_loadu_ps(u->dmin), 2 * (int)i), da, true);
    }
}

INLINE void eights_of_256(const struct quad_format *f, load_chunk_fn *load,
                          const struct few_rows *w, const struct eight *t, size_t n,
                          __m512 acc[][2]) {
    struct unpacked_rows rows[2];
    const struct unpacking first = {f, load, w, 0, &rows[0]}, none = {f, load, w, 0, NULL};
    if (!load) unpack_scales(&first);
    for (size_t r = 0; r < ROWS_OF_EIGHT; r++) unpack_row(&first, r);
    for (size_t b = 0; b < w->n_blocks; b++) {
        const struct unpacked_rows *u = &rows[b % 2];
        struct unpacking next = {f, load, w, b + 1, &rows[(b + 1) % 2]};
        if (b + 1 == w->n_blocks) next.out = NULL;
        add_eight(f, u, b, &t[0], &next, acc[0]);
        for (size_t i = 1; i < n; i++) add_eight(f, u, b, &t[i], &none, acc[i]);
    }
}

INLINE void eight_quads(const struct quad_format *f, const struct few_rows *w,
                        const struct eight *t, size_t n, __m512 acc[][2]) {
    eights_of_256(f, NULL, w, t, n, acc);
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

INLINE void eight_halves(const struct halves_format *f, const struct few_rows *w,
                         const struct eight *t, size_t n, __m512 acc[][2]) {
    for (size_t b = 0; b < w->n_blocks; b++) {
        struct four p = {w->w + b * f->block_bytes, w->row_bytes, w->n_rows, false, NULL};
        _Alignas(ZMM_BYTES) uint8_t code[2][ROWS_OF_EIGHT][16];
        __m512i first, second;
        if (b % 2 == 0)
            for (size_t i = 0; i < ROWS_OF_EIGHT; i++)
                prefetch_from(p.block + (ROWS_OF_EIGHT + i) * p.step, 2 * f->block_bytes);
        f->load(p, &first, &second);
        _mm512_store_si512(code[0], first);
        _mm512_store_si512(code[1], second);
        __m128 d = scale_of_four(f, p), m = f->has_min ? _mm_cvtph_ps(halves_of_four(p, 2)) : d;
        for (size_t i = 0; i < n; i++) {
            __m512i dot[ROWS_OF_EIGHT] = {0}, sums = _mm512_loadu_si512(t[i].sum + b * LANES);
            const float *da = t[i].d + b * LANES;
            const uint8_t *from = code[0][0];
            __asm__ volatile("" : "+r"(from)); // as above
            UNROLL
            for (size_t half = 0; half < 2; half++)
                dot_eight(from + half * ROWS_OF_EIGHT * 16, 16, 2,
                          t[i].q + (2 * b + half) * 16 * EIGHT, dot);
            UNROLL
            for (size_t j = 0; j < 2; j++) {
                __m512i dots = to_pair(dot[2 * j], dot[2 * j + 1]);
                if (!f->has_min) dots = _mm512_sub_epi32(dots, sums);
                __m512 *to = &acc[i][j];
                *to = add_pair(*to, dots, to_lanes_of_pair(d, 2 * (int)j), da, false);
                if (f->has_min)
                    *to = add_pair(*to, sums, to_lanes_of_pair(m, 2 * (int)j), da, false);
            }
        }
    }
}

#endif
