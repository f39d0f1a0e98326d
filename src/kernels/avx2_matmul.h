/* Quantised products with AVX2: which way each format takes. Part of avx2.c alone.
 *
 * A single token, or two of some formats, go straight through the file's blocks (avx2_direct.h,
 * avx2_fours.h). For more, strips of 16 rows are unpacked into the cache and all tokens pass over
 * them (avx2_strip.h). Integers may be summed in any order; the float chain per output is that of
 * scalar.c in both. */
#ifndef OCTET_KERNELS_AVX2_MATMUL_H
#define OCTET_KERNELS_AVX2_MATMUL_H

#include "kernels/avx2_direct.h"
#include "kernels/avx2_fours.h"
#include "kernels/avx2_lattice.h"
#include "kernels/avx2_strip.h"

struct format {
    uint32_t id;
    const struct traits *traits;
    // Blocks of 8 rows to place i of a strip.
    void (*build)(const uint8_t *const p[WIDTH], struct strip *s, size_t i);
    // All tokens against a pair of strips.
    void (*run)(const struct part *p, const struct strip *s);
    __m256 (*direct)(const struct direct *r);
    // Where two tokens at once are faster than strips; else NULL.
    void (*direct_two)(const struct direct *r, __m256 acc[2]);
    const struct four_format *fours; // of which these two take turned activations; or NULL
};

/* ---- Blocks of 256 --------------------------------------------------------------------------- */

static const struct traits q2_k = {SUM_4, 0, true, false, false};
static const struct traits q3_k = {SUM_4, 4, false, false, false};
static const struct traits q4_k = {SUM_8, 0, true, false, true};
static const struct traits q5_k = {SUM_4, 0, true, false, true};
static const struct traits q6_k = {SUM_2, 32, false, false, false};
static const struct traits iq4_xs = {SIGNED, 0, false, false, true};
static const struct traits iq1 = {SUM_4, OFFSET_IQ1, false, false, false};
static const struct traits iq2 = {SUM_1, OFFSET_IQ2, false, false, false};
static const struct traits iq3_xxs = {SUM_1, OFFSET_IQ3_XXS, false, false, false};
static const struct traits iq3_s = {SUM_4, OFFSET_IQ3_S, false, false, false};
static const struct traits ternary = {SUM_4, 1, false, false, false};

static void run_q2_k(const struct part *p, const struct strip *s) { run_strip(p, s, &q2_k); }
static void run_q4_k(const struct part *p, const struct strip *s) { run_strip(p, s, &q4_k); }
static void run_q5_k(const struct part *p, const struct strip *s) { run_strip(p, s, &q5_k); }
static void run_q6_k(const struct part *p, const struct strip *s) { run_strip(p, s, &q6_k); }
static void run_iq4_xs(const struct part *p, const struct strip *s) { run_strip(p, s, &iq4_xs); }
/* Where offsets are not 0, tiles do not ask further. */
static void run_sum_4(const struct part *p, const struct strip *s) { run_strip(p, s, &q3_k); }
static void run_sum_1(const struct part *p, const struct strip *s) { run_strip(p, s, &iq2); }

INLINE struct heads heads_of(struct strip *s, size_t i, const struct traits *f) {
    size_t n = f->groups_of_32 ? 8 : 16;
    return (struct heads){s->scale + i * n, s->pair + i * n / 2, s->d[i], s->dmin[i]};
}

static void build_q2_k(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    struct heads heads = heads_of(s, i, &q2_k);
    heads_q2_k(p, &heads);
    build_planes(p, offsetof(struct block_q2_k, qs), 2, codes_q2_k, s->w + i * 64);
}
static __m256 direct_q2_k(const struct direct *r) {
    __m256 acc;
    direct_fours(&fours_q2_k, r, 1, &acc);
    return acc;
}
static void direct_two_q2_k(const struct direct *r, __m256 acc[2]) {
    direct_fours(&fours_q2_k, r, 2, acc);
}
static void build_q3_k(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    struct heads heads = heads_of(s, i, &q3_k);
    heads_q3_k(p, &heads);
    build_planes(p, offsetof(struct block_q3_k, hmask), 3, codes_q3_k, s->w + i * 64);
}
static __m256 direct_q3_k(const struct direct *r) {
    __m256 acc;
    direct_fours(&fours_q3_k, r, 1, &acc);
    return acc;
}
static void direct_two_q3_k(const struct direct *r, __m256 acc[2]) {
    direct_fours(&fours_q3_k, r, 2, acc);
}
static void build_q4_k(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    struct heads heads = heads_of(s, i, &q4_k);
    heads_six_bits(p, &heads);
    build_nibbles(p, offsetof(struct block_q4_k, qs), 8, true, map_same, s->w + i * 64);
}
static __m256 direct_q4_k(const struct direct *r) {
    return direct_six_bits(sizeof(struct block_q4_k), false, r);
}
static void build_q5_k(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    struct heads heads = heads_of(s, i, &q5_k);
    heads_six_bits(p, &heads);
    build_planes(p, offsetof(struct block_q5_k, qh), 5, codes_q5_k, s->w + i * 64);
}
static __m256 direct_q5_k(const struct direct *r) {
    return direct_six_bits(sizeof(struct block_q5_k), true, r);
}
static void build_q6_k(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    struct heads heads = heads_of(s, i, &q6_k);
    heads_q6_k(p, &heads);
    build_planes(p, offsetof(struct block_q6_k, ql), 6, codes_q6_k, s->w + i * 64);
}
static __m256 direct_q6_k(const struct direct *r) {
    __m256 acc;
    direct_by_halves(r, 1, &acc);
    return acc;
}
static void direct_two_q6_k(const struct direct *r, __m256 acc[2]) { direct_by_halves(r, 2, acc); }
static void build_iq4_xs(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    struct heads heads = heads_of(s, i, &iq4_xs);
    heads_iq4_xs(p, &heads);
    build_nibbles(p, offsetof(struct block_iq4_xs, qs), 8, false, map_iq4, s->w + i * 64);
}
static void build_iq1_s(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_iq1_s, &iq1, s, i);
}
static __m256 direct_iq1_s(const struct direct *r) {
    return direct_256(load_iq1_s, sizeof(struct block_iq1_s), &iq1, r);
}
static void build_iq1_m(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_iq1_m, &iq1, s, i);
}
static __m256 direct_iq1_m(const struct direct *r) {
    return direct_256(load_iq1_m, sizeof(struct block_iq1_m), &iq1, r);
}
static void build_iq2_xxs(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_iq2_xxs, &iq2, s, i);
}
static __m256 direct_iq2_xxs(const struct direct *r) {
    return direct_256(load_iq2_xxs, sizeof(struct block_iq2_xxs), &iq2, r);
}
static void build_iq2_xs(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_iq2_xs, &iq2, s, i);
}
static __m256 direct_iq2_xs(const struct direct *r) {
    return direct_256(load_iq2_xs, sizeof(struct block_iq2_xs), &iq2, r);
}
static void build_iq2_s(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_iq2_s, &iq2, s, i);
}
static __m256 direct_iq2_s(const struct direct *r) {
    return direct_256(load_iq2_s, sizeof(struct block_iq2_s), &iq2, r);
}
static void build_iq3_xxs(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_iq3_xxs, &iq3_xxs, s, i);
}
static __m256 direct_iq3_xxs(const struct direct *r) {
    return direct_256(load_iq3_xxs, sizeof(struct block_iq3_xxs), &iq3_xxs, r);
}
static void build_iq3_s(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_iq3_s, &iq3_s, s, i);
}
static __m256 direct_iq3_s(const struct direct *r) {
    return direct_256(load_iq3_s, sizeof(struct block_iq3_s), &iq3_s, r);
}
static void build_tq1_0(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_tq1_0, &ternary, s, i);
}
static __m256 direct_tq1_0(const struct direct *r) {
    return direct_256(load_tq1_0, sizeof(struct block_tq1_0), &ternary, r);
}
static void build_tq2_0(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_256(p, load_tq2_0, &ternary, s, i);
}
static __m256 direct_tq2_0(const struct direct *r) {
    return direct_256(load_tq2_0, sizeof(struct block_tq2_0), &ternary, r);
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

static const struct traits q4_0 = {SUM_8, 8, false, true, false};
static const struct traits q4_1 = {SUM_8, 0, true, true, false};
static const struct traits q5_0 = {SUM_4, 16, false, true, false};
static const struct traits q5_1 = {SUM_4, 0, true, true, false};
static const struct traits q8_0 = {SIGNED, 0, false, true, false};
static const struct traits mxfp4 = {SUM_4, 12, false, true, false};

static void run_q4_0(const struct part *p, const struct strip *s) { run_strip(p, s, &q4_0); }
static void run_q4_1(const struct part *p, const struct strip *s) { run_strip(p, s, &q4_1); }
static void run_q5_0(const struct part *p, const struct strip *s) { run_strip(p, s, &q5_0); }
static void run_q5_1(const struct part *p, const struct strip *s) { run_strip(p, s, &q5_1); }
static void run_q8_0(const struct part *p, const struct strip *s) { run_strip(p, s, &q8_0); }

INLINE void build_scales(const uint8_t *const p[WIDTH], bool has_min, struct strip *s, size_t i) {
    __m256 d, m;
    heads_32(p, &d, &m);
    _mm256_storeu_ps(s->d[i], d);
    if (has_min) _mm256_storeu_ps(s->dmin[i], _mm256_xor_ps(m, _mm256_set1_ps(-0.0f)));
}

static void build_q4_0(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_scales(p, false, s, i);
    build_nibbles(p, offsetof(struct block_q4_0, qs), 1, false, map_same, s->w + i * 8);
}
static __m256 direct_q4_0(const struct direct *r) {
    return direct_32(pair_q4_0, sizeof(struct block_q4_0), true, &q4_0, r);
}
static void build_q4_1(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_scales(p, true, s, i);
    build_nibbles(p, offsetof(struct block_q4_1, qs), 1, false, map_same, s->w + i * 8);
}
static __m256 direct_q4_1(const struct direct *r) {
    return direct_32(pair_q4_1, sizeof(struct block_q4_1), true, &q4_1, r);
}
static void build_q5_0(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_32(p, load_q5_0, &q5_0, s, i);
}
static __m256 direct_q5_0(const struct direct *r) {
    return direct_32(pair_q5_0, sizeof(struct block_q5_0), true, &q5_0, r);
}
static void build_q5_1(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_rows_32(p, load_q5_1, &q5_1, s, i);
}
static __m256 direct_q5_1(const struct direct *r) {
    return direct_32(pair_q5_1, sizeof(struct block_q5_1), true, &q5_1, r);
}
static void build_q8_0(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_scales(p, false, s, i);
    transpose(p, offsetof(struct block_q8_0, qs), s->w + i * 8);
    transpose(p, offsetof(struct block_q8_0, qs) + 16, s->w + i * 8 + 4);
}
static __m256 direct_q8_0(const struct direct *r) {
    return direct_32(pair_q8_0, sizeof(struct block_q8_0), true, &q8_0, r);
}
static void build_iq4_nl(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    build_scales(p, false, s, i);
    build_nibbles(p, offsetof(struct block_iq4_nl, qs), 1, false, map_iq4, s->w + i * 8);
}
static __m256 direct_iq4_nl(const struct direct *r) {
    return direct_32(pair_iq4_nl, sizeof(struct block_iq4_nl), true, &q8_0, r);
}
static void build_mxfp4(const uint8_t *const p[WIDTH], struct strip *s, size_t i) {
    _mm256_storeu_ps(s->d[i], mxfp4_scales(p));
    build_nibbles(p, offsetof(struct block_mxfp4, qs), 1, false, map_mxfp4, s->w + i * 8);
}
static __m256 direct_mxfp4(const struct direct *r) {
    return direct_32(pair_mxfp4, sizeof(struct block_mxfp4), false, &mxfp4, r);
}

/* ---- All of them ----------------------------------------------------------------------------- */

static const struct format formats[] = {
    {QUANT_Q4_0, &q4_0, build_q4_0, run_q4_0, direct_q4_0, NULL, NULL},
    {QUANT_Q4_1, &q4_1, build_q4_1, run_q4_1, direct_q4_1, NULL, NULL},
    {QUANT_Q5_0, &q5_0, build_q5_0, run_q5_0, direct_q5_0, NULL, NULL},
    {QUANT_Q5_1, &q5_1, build_q5_1, run_q5_1, direct_q5_1, NULL, NULL},
    {QUANT_Q8_0, &q8_0, build_q8_0, run_q8_0, direct_q8_0, NULL, NULL},
    {QUANT_IQ4_NL, &q8_0, build_iq4_nl, run_q8_0, direct_iq4_nl, NULL, NULL},
    {QUANT_MXFP4, &mxfp4, build_mxfp4, run_q5_0, direct_mxfp4, NULL, NULL},
    {QUANT_Q2_K, &q2_k, build_q2_k, run_q2_k, direct_q2_k, direct_two_q2_k, &fours_q2_k},
    {QUANT_Q3_K, &q3_k, build_q3_k, run_sum_4, direct_q3_k, direct_two_q3_k, &fours_q3_k},
    {QUANT_Q4_K, &q4_k, build_q4_k, run_q4_k, direct_q4_k, NULL, NULL},
    {QUANT_Q5_K, &q5_k, build_q5_k, run_q5_k, direct_q5_k, NULL, NULL},
    {QUANT_Q6_K, &q6_k, build_q6_k, run_q6_k, direct_q6_k, direct_two_q6_k, NULL},
    {QUANT_IQ4_XS, &iq4_xs, build_iq4_xs, run_iq4_xs, direct_iq4_xs, NULL, NULL},
    {QUANT_IQ1_S, &iq1, build_iq1_s, run_sum_4, direct_iq1_s, NULL, NULL},
    {QUANT_IQ1_M, &iq1, build_iq1_m, run_sum_4, direct_iq1_m, NULL, NULL},
    {QUANT_IQ2_XXS, &iq2, build_iq2_xxs, run_sum_1, direct_iq2_xxs, NULL, NULL},
    {QUANT_IQ2_XS, &iq2, build_iq2_xs, run_sum_1, direct_iq2_xs, NULL, NULL},
    {QUANT_IQ2_S, &iq2, build_iq2_s, run_sum_1, direct_iq2_s, NULL, NULL},
    {QUANT_IQ3_XXS, &iq3_xxs, build_iq3_xxs, run_sum_1, direct_iq3_xxs, NULL, NULL},
    {QUANT_IQ3_S, &iq3_s, build_iq3_s, run_sum_4, direct_iq3_s, NULL, NULL},
    {QUANT_TQ1_0, &ternary, build_tq1_0, run_sum_4, direct_tq1_0, NULL, NULL},
    {QUANT_TQ2_0, &ternary, build_tq2_0, run_sum_4, direct_tq2_0, NULL, NULL},
};

static const struct format *find_format(uint32_t id) {
    const struct format *f = formats;
    while (f->id != id) f++; // the caller has the id from the registry, whose types are all here
    return f;
}

/* Rows from ROW on; missing ones repeat the last one, and nobody looks at what comes of them. */
static void rows_from(const struct job *job, size_t row, const uint8_t *p[WIDTH]) {
    for (size_t r = 0; r < WIDTH; r++, row++)
        p[r] = job->w + (row < job->n_rows ? row : job->n_rows - 1) * job->row_bytes;
}

/* The rows whose numbers are ROW; those past the last one repeat it, and are dropped. */
static void direct_rows(const struct job *job, const struct format *f, struct direct *d,
                        const size_t row[WIDTH]) {
    const size_t n = job->a->n, last = job->n_rows - 1;
    __m256 acc[2];
    for (size_t r = 0; r < WIDTH; r++)
        d->row[r] = job->w + (row[r] < last ? row[r] : last) * job->row_bytes;
    if (n == 2)
        f->direct_two(d, acc);
    else
        acc[0] = f->direct(d);
    for (size_t t = 0; t < n; t++) {
        float of_row[WIDTH], *y = job->y + t * job->ldy;
        _mm256_storeu_ps(of_row, acc[t]);
        for (size_t r = 0; r < WIDTH && row[r] <= last; r++) y[row[r]] = of_row[r];
    }
}

/* By how many rows each of eight streams of N_ROWS each should be ahead of the one before it. If
 * more than two are at the same place of their pages, they compete for the same few lines of the
 * first-level cache. */
static size_t rows_of_skew(size_t n_rows, size_t row_bytes) {
    const size_t page = 4096, apart = 4 * CACHE_LINE;
    for (size_t skew = 0; skew < n_rows && skew < 16; skew++) {
        size_t i = 1;
        for (; i < WIDTH / 2; i++) {
            size_t at = i * (n_rows + skew) * row_bytes % page;
            if (at < apart || page - at < apart) break;
        }
        if (i == WIDTH / 2) return skew;
    }
    return 0;
}

/* Eight rows at a time. They are neighbours, and their successors are fetched meanwhile; or each is
 * in a stretch of its own, which is read from one end to the other, as processors like it that
 * fetch by themselves what continues a stream. Which is better is measured, see model/lookahead.h.
 */
static void matmul_direct(const struct job *job, const struct format *f, void *scratch) {
    const struct act *a = job->a;
    const bool streams = a->ahead != 0 && a->ahead < AHEAD_STREAMS;
    const size_t n = streams ? job->n_rows / WIDTH : 0; // rows of a stretch
    const size_t skew = rows_of_skew(n, job->row_bytes);
    struct direct d = {.n_blocks = job->n_blocks,
                       .k = a->k,
                       .q = a->q,
                       .d = a->d,
                       .bsum = a->bsum,
                       .ahead = streams ? STREAM_AHEAD : WIDTH * job->row_bytes,
                       .outer = a->ahead >= AHEAD_OUTER};
    for (size_t t = 0; f->fours && t < a->n; t++) d.turned[t] = turned_acts(a, t, scratch);
    size_t row[WIDTH];
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < WIDTH; r++) row[r] = r * n + (i + r * skew) % n;
        direct_rows(job, f, &d, row);
    }
    for (size_t i = n * WIDTH; i < job->n_rows; i += WIDTH) {
        for (size_t r = 0; r < WIDTH; r++) row[r] = i + r;
        direct_rows(job, f, &d, row);
    }
}

static void build_part(const struct part *p, const struct format *f, struct strip s[HALVES]) {
    const struct job *job = p->job;
    for (size_t h = 0; h < HALVES; h++) {
        const uint8_t *block[WIDTH];
        rows_from(job, p->row + h * WIDTH, block);
        for (size_t r = 0; r < WIDTH; r++) block[r] += p->b * job->type->block_bytes;
        for (size_t i = 0; i < p->n_blocks; i++) {
            f->build(block, &s[h], i);
            for (size_t r = 0; r < WIDTH; r++) block[r] += job->type->block_bytes;
        }
    }
}

/* How many tokens pass over a part at a time: all of them or, in bands of about the same size, as
 * many as leave the second-level cache room for more. */
static size_t band_of(size_t n) {
    size_t n_bands = (n + MAX_BAND - 1) / MAX_BAND, band = (n + n_bands - 1) / n_bands;
    return (band + WHOLE_TILES - 1) / WHOLE_TILES * WHOLE_TILES;
}

/* Tokens that stay in the second-level cache as they are pass over a strip, part after part, and
 * then over the next rows' one. Of more, one part's elements are kept there for a run of rows. */
static void matmul_strips(const struct job *job, const struct format *f, void *scratch) {
    const struct act *a = job->a;
    const size_t step = STRIP_ELEMS / a->block, band = band_of(a->n);
    const size_t run = a->n * a->k <= FEW_BYTES ? STRIP_ROWS : RUN_ROWS;
    struct strip *s = scratch;
    float *sums = (float *)(void *)(s + HALVES);
    struct part p = {.job = job};
    for (; p.run < job->n_rows; p.run = p.end) {
        p.end = job->n_rows - p.run < run ? job->n_rows : p.run + run;
        for (p.first = 0; p.first < a->n; p.first += p.n) {
            p.n = a->n - p.first < band ? a->n - p.first : band;
            for (p.b = 0; p.b < job->n_blocks; p.b += p.n_blocks) {
                p.n_blocks = job->n_blocks - p.b < step ? job->n_blocks - p.b : step;
                for (p.row = p.run; p.row < p.end; p.row += STRIP_ROWS) {
                    p.sums = sums + (p.row - p.run) * p.n;
                    build_part(&p, f, s);
                    f->run(&p, s);
                }
            }
        }
    }
}

/* Whether tokens go straight through the blocks. */
static bool is_direct(const struct format *f, size_t n) {
    return n == 1 || (n == MAX_TOKENS && f->direct_two);
}

static void prepare(const struct quant_type *type, const void *w, const struct act *a,
                    void *scratch) {
    (void)w;
    const struct format *f = find_format(type->id);
    if (!f->fours || !is_direct(f, a->n)) return;
    for (size_t t = 0; t < a->n; t++) turn_acts(f->fours, a, t, scratch);
}

static void matmul(const struct quant_type *type, const void *w, size_t n_rows, const struct act *a,
                   float *y, size_t ldy, void *scratch) {
    const struct format *f = find_format(type->id);
    struct job job = {.type = type,
                      .w = w,
                      .n_rows = n_rows,
                      .row_bytes = quant_row_bytes(type, a->k),
                      .n_blocks = a->k / a->block,
                      .a = a,
                      .y = y,
                      .ldy = ldy,
                      .offset = f->traits->offset};
    if (is_direct(f, a->n))
        matmul_direct(&job, f, scratch);
    else
        matmul_strips(&job, f, scratch);
}

#endif
