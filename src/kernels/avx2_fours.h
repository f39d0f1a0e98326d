/* One token, or two, against four blocks of 256 of a row at a time, for formats of 2 or 3 bits with
 * a sub-scale for 16 elements. Part of avx2.c alone.
 *
 * Blocks are turned: a lane of 32 bits is one of the four, so that a product serves 32 elements of
 * different groups, four products add up to whole groups, and no sub-scale has to be spread. Packed
 * codes are turned before they are unpacked, activations once for all rows. */
#ifndef OCTET_KERNELS_AVX2_FOURS_H
#define OCTET_KERNELS_AVX2_FOURS_H

#include "kernels/avx2_direct.h"

enum {
    HALF_CHUNKS = 4, // of 32 elements, in half of a block
};

/* A plane of 32 bytes of four blocks, as struct turned_acts has a chunk. */
struct turned_plane {
    __m256i v[4];
};

/* Sub-scales of the groups of each chunk, twice as int16; mins of groups as the sums of theirs. */
struct turned_scales {
    __m256i scale[8], min[4];
};

typedef void scale_fours_fn(const uint8_t *const p[FOUR], struct turned_scales *out);
/* Registers K of the chunks of half HALF. */
typedef void codes_of_fours_fn(const struct turned_plane *planes, int half, size_t k,
                               __m256i code[HALF_CHUNKS]);

struct four_format {
    size_t block_bytes, planes_at, n_planes;
    codes_of_fours_fn *codes;
    scale_fours_fn *scales;
    bool has_min;
    size_t d_at;   // 4 bytes: d and dmin, or of others and d
    int odd_shift; // log2 of the factor that the codes of odd chunks have
    int bias;      // of codes
};

/* ---- Turning --------------------------------------------------------------------------------- */

INLINE void turn_plane(const uint8_t *const p[FOUR], size_t at, struct turned_plane *out) {
    __m256i in[FOUR];
    UNROLL
    for (size_t i = 0; i < FOUR; i++) in[i] = load_256(p[i] + at);
    transpose_in_lanes(in, out->v);
}

/* 16 bytes, in both halves. */
INLINE void turn_twice(const uint8_t *const p[FOUR], size_t at, __m256i out[4]) {
    __m256i in[FOUR];
    UNROLL
    for (size_t i = 0; i < FOUR; i++) in[i] = _mm256_broadcastsi128_si256(load_128(p[i] + at));
    transpose_in_lanes(in, out);
}

/* Picks bytes of each lane, B0 .. in the lower half and C0 .. in the upper one; 0x80 gives 0. */
INLINE __m256i pick_halves(__m256i v, uint32_t lower, uint32_t upper) {
    const __m128i lane = _mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c);
    __m128i low = _mm_add_epi8(lane, _mm_set1_epi32((int)lower));
    __m128i high = _mm_add_epi8(lane, _mm_set1_epi32((int)upper));
    return _mm256_shuffle_epi8(v, _mm256_set_m128i(high, low));
}

/* ---- Formats --------------------------------------------------------------------------------- */

INLINE void codes_of_fours_q2_k(const struct turned_plane *planes, int half, size_t k,
                                __m256i code[HALF_CHUNKS]) {
    const __m256i low = _mm256_set1_epi8(0x03), high = _mm256_set1_epi8(0x0c);
    __m256i v = planes[half].v[k], w = _mm256_srli_epi16(v, 4);
    code[0] = _mm256_and_si256(v, low);
    code[1] = _mm256_and_si256(v, high); // times 4
    code[2] = _mm256_and_si256(w, low);
    code[3] = _mm256_and_si256(w, high);
}

INLINE void scales_of_fours_q2_k(const uint8_t *const p[FOUR], struct turned_scales *out) {
    const __m256i low4 = _mm256_set1_epi8(15);
    const __m256i shift = _mm256_setr_epi32(4, 4, 4, 4, 12, 12, 12, 12);
    __m256i v[4];
    turn_twice(p, offsetof(struct block_q2_k, scales), v);
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        __m256i scale = _mm256_and_si256(v[i], low4);
        out->scale[2 * i] = pick_halves(scale, 0x80008000, 0x80018001);
        out->scale[2 * i + 1] = pick_halves(scale, 0x80028002, 0x80038003);
        out->min[i] = _mm256_and_si256(_mm256_srlv_epi32(v[i], shift), _mm256_set1_epi16(15));
    }
}

/* The first plane has the high bits. */
INLINE void codes_of_fours_q3_k(const struct turned_plane *planes, int half, size_t k,
                                __m256i code[HALF_CHUNKS]) {
    __m256i h = planes[0].v[k];
    half_codes_q3_k(half ? high_nibbles(h) : low_nibbles(h), planes[1 + half].v[k], code);
}

INLINE void scales_of_fours_q3_k(const uint8_t *const p[FOUR], struct turned_scales *out) {
    __m256i v[4], s[4];
    turn_twice(p, Q3_K_TAIL_AT, v);
    sub_scales_q3_k(v, s);
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        out->scale[2 * i] = _mm256_srai_epi16(pick_halves(s[i], 0x00800080, 0x01800180), 8);
        out->scale[2 * i + 1] = _mm256_srai_epi16(pick_halves(s[i], 0x02800280, 0x03800380), 8);
    }
}

static const struct four_format fours_q2_k = {.block_bytes = sizeof(struct block_q2_k),
                                              .planes_at = offsetof(struct block_q2_k, qs),
                                              .n_planes = 2,
                                              .codes = codes_of_fours_q2_k,
                                              .scales = scales_of_fours_q2_k,
                                              .has_min = true,
                                              .d_at = offsetof(struct block_q2_k, d),
                                              .odd_shift = 2},
                                fours_q3_k = {.block_bytes = sizeof(struct block_q3_k),
                                              .planes_at = offsetof(struct block_q3_k, hmask),
                                              .n_planes = 3,
                                              .codes = codes_of_fours_q3_k,
                                              .scales = scales_of_fours_q3_k,
                                              .d_at = offsetof(struct block_q3_k, d) - 2,
                                              .bias = 4};

/* ---- Activations ----------------------------------------------------------------------------- */

static inline size_t n_fours(size_t n_blocks) { return (n_blocks + FOUR - 1) / FOUR; }

/* Where SCRATCH has those of token T. */
static struct turned_acts turned_acts(const struct act *a, size_t t, void *scratch) {
    size_t n = n_fours(a->k / QUANT_MAX_BLOCK) * FOUR * QUANT_MAX_BLOCK;
    int8_t *q = (int8_t *)scratch + t * 2 * n;
    return (struct turned_acts){q, (int16_t *)(void *)(q + n)};
}

static void turn_acts(const struct four_format *f, const struct act *a, size_t t, void *scratch) {
    const size_t n_blocks = a->k / QUANT_MAX_BLOCK;
    const struct turned_acts out = turned_acts(a, t, scratch);
    const int8_t *q = a->q + t * a->k;
    const int16_t *bsum = a->bsum + t * (a->k / QUANT_GROUP);
    const size_t lanes = 8; // of a register
    for (size_t b = 0; b < n_fours(n_blocks) * FOUR; b++) {
        const size_t from = b < n_blocks ? b : n_blocks - 1; // nobody looks at what comes of it
        int8_t *q_out = out.q + b / FOUR * FOUR * QUANT_MAX_BLOCK + b % FOUR * 4;
        for (size_t g = 0; g < 16; g++) {
            const size_t lane = g % 2 * FOUR + b % FOUR;
            for (size_t k = 0; k < 4; k++)
                memcpy(q_out + (g / 2 * 4 + k) * CHUNK + g % 2 * 16,
                       q + from * QUANT_MAX_BLOCK + g * QUANT_GROUP + 4 * k, 4);
            int16_t sum = bsum[from * 16 + g];
            if (f->has_min) {
                out.sums[((b / FOUR * 4 + g / 4) * lanes + lane) * 2 + g / 2 % 2] = sum;
            } else {
                int16_t *start = out.sums + ((b / FOUR * 8 + g / 2) * lanes + lane) * 2;
                start[0] = (int16_t)(-f->bias * sum);
                start[1] = 0;
            }
        }
    }
}

/* ---- Products -------------------------------------------------------------------------------- */

/* Of a token with four blocks of a row. */
struct four_sums {
    int32_t dot[FOUR], min[FOUR];
};

INLINE void add_halves(__m256i v, int32_t out[FOUR]) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storeu_si128((__m128i *)(void *)out, sum);
}

/* Four blocks, STEP[i] bytes from FIRST on, times those of tokens that ACTS begin with. */
INLINE void add_four(const struct four_format *f, const struct direct *r, const uint8_t *first,
                     const size_t step[FOUR], size_t n_tokens, const struct turned_acts *acts,
                     bool outer, struct four_sums *const out[MAX_TOKENS]) {
    const uint8_t *p[FOUR];
    struct turned_plane planes[3];
    struct turned_scales s;
    __m256i isum[MAX_TOKENS][2];
    UNROLL
    for (size_t i = 0; i < FOUR; i++) p[i] = first + step[i];
    f->scales(p, &s);
    THROUGH_MEMORY(s.scale);
    UNROLL
    for (size_t i = 0; i < f->n_planes; i++) turn_plane(p, f->planes_at + i * CHUNK, &planes[i]);
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) isum[t][0] = isum[t][1] = _mm256_setzero_si256();
    UNROLL
    for (int half = 0; half < 2; half++) {
        __m256i x[MAX_TOKENS][HALF_CHUNKS];
        UNROLL
        for (size_t k = 0; k < 4; k++) {
            __m256i code[HALF_CHUNKS];
            f->codes(planes, half, k, code);
            fetch_line(r, first, FOUR * f->block_bytes, (size_t)half * 4 + k, outer);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++) UNROLL
            for (size_t j = 0; j < HALF_CHUNKS; j++) {
                const size_t c = (size_t)half * HALF_CHUNKS + j;
                __m256i y =
                    _mm256_maddubs_epi16(code[j], load_256(acts[t].q + (c * 4 + k) * CHUNK));
                if (k > 0)
                    x[t][j] = _mm256_add_epi16(x[t][j], y);
                else
                    x[t][j] = f->has_min ? y : _mm256_add_epi16(y, load_256(acts[t].sums + c * 16));
                IN_THIS_ORDER(x[t][j]);
            }
        }
        UNROLL
        for (size_t t = 0; t < n_tokens; t++) UNROLL
        for (size_t j = 0; j < HALF_CHUNKS; j++) {
            __m256i y = _mm256_madd_epi16(x[t][j], s.scale[(size_t)half * HALF_CHUNKS + j]);
            size_t at = f->odd_shift ? j % 2 : 0;
            isum[t][at] = _mm256_add_epi32(isum[t][at], y);
        }
    }
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) {
        if (f->odd_shift)
            isum[t][0] = _mm256_add_epi32(isum[t][0], _mm256_srai_epi32(isum[t][1], f->odd_shift));
        add_halves(isum[t][0], out[t]->dot);
        if (!f->has_min) continue;
        __m256i msum = _mm256_setzero_si256();
        UNROLL
        for (size_t i = 0; i < 4; i++)
            msum = _mm256_add_epi32(msum,
                                    _mm256_madd_epi16(s.min[i], load_256(acts[t].sums + i * 16)));
        add_halves(msum, out[t]->min);
    }
}

/* Adds N <= 4 blocks at P of every row, whose sums are SUMS, to ACC. */
INLINE void add_sums(const struct four_format *f, const uint8_t *const p[WIDTH], size_t n,
                     const struct four_sums sums[WIDTH], const float *da, __m256 *acc) {
    const uint8_t *of_row[WIDTH];
    __m256i dot[FOUR], min[FOUR];
    UNROLL
    for (size_t i = 0; i < WIDTH; i++) of_row[i] = (const uint8_t *)&sums[i];
    transpose(of_row, offsetof(struct four_sums, dot), dot);
    if (f->has_min) transpose(of_row, offsetof(struct four_sums, min), min);
    for (size_t i = 0; i < n; i++) {
        __m256 low, high;
        two_halves(words_at(p, i * f->block_bytes + f->d_at), &low, &high);
        *acc = add_scaled(*acc, dot[i], f->has_min ? low : high, da[i]);
        if (f->has_min) *acc = subtract_scaled(*acc, min[i], high, da[i]);
    }
}

INLINE void fours_by_cache(const struct four_format *f, const struct direct *r, bool outer,
                           size_t n_tokens, __m256 *acc) {
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) acc[t] = _mm256_setzero_ps();
    struct turned_acts acts[MAX_TOKENS];
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) acts[t] = r->turned[t];
    for (size_t b = 0; b < r->n_blocks; b += FOUR) {
        const size_t n = r->n_blocks - b < FOUR ? r->n_blocks - b : FOUR;
        const uint8_t *p[WIDTH];
        struct four_sums sums[MAX_TOKENS][WIDTH];
        size_t step[FOUR]; // missing blocks repeat the last one
        for (size_t i = 0; i < FOUR; i++) step[i] = (i < n ? i : n - 1) * f->block_bytes;
        blocks_at(r, b, f->block_bytes, p);
        for (size_t i = 0; i < WIDTH; i++) {
            struct four_sums *const out[MAX_TOKENS] = {&sums[0][i], &sums[1][i]};
            add_four(f, r, p[i], step, n_tokens, acts, outer, out);
        }
        UNROLL
        for (size_t t = 0; t < n_tokens; t++) {
            add_sums(f, p, n, sums[t], r->d + t * r->n_blocks + b, &acc[t]);
            acts[t].q += FOUR * QUANT_MAX_BLOCK;
            acts[t].sums += f->has_min ? 64 : 128;
        }
    }
}

INLINE void direct_fours(const struct four_format *f, const struct direct *r, size_t n,
                         __m256 *acc) {
    if (r->outer)
        fours_by_cache(f, r, true, n, acc);
    else
        fours_by_cache(f, r, false, n, acc);
}

#endif
