/* How products of F32, F16 and BF16 rows with many tokens are cut, the same for all instruction
 * sets; each brings its tile, the part in registers.
 *
 * A strip of rows stays in the second-level cache while all tokens pass over it, and a segment of a
 * tile's tokens in the first-level one while the rows of the strip pass over them. Rows are read
 * where they lie: whatever is copied first costs more than it saves. Partial sums wait in scratch
 * between segments, so each goes through its elements in order. */
#ifndef OCTET_KERNELS_FLOAT_BLOCKS_H
#define OCTET_KERNELS_FLOAT_BLOCKS_H

#include "kernels/kernels.h"

enum {
    FLOAT_LANES = 16,
    FLOAT_ROWS = 4,        // of a tile
    FLOAT_STRIP = 32,      // rows
    FLOAT_SEGMENT = 1024,  // elements
    FLOAT_MOST = 192,      // tokens that share a strip
    FLOAT_LINE_BYTES = 64, // of the caches
};

/* FLOAT_ROWS rows and some tokens, a segment of each. */
struct float_tile {
    const uint8_t *w; // at the segment
    size_t row_bytes;
    const float *x; // (n_tokens, k) at the segment
    size_t k, n;    // of a row, of the segment
    bool first, last;
    float *sums; // (FLOAT_ROWS, n_tokens, FLOAT_LANES) in any order
    float *y;    // (n_tokens, ldy), written with the last segment
    size_t ldy;
};

typedef void float_tile_fn(const struct float_tile *t);

struct float_product;

/* All of a product, without cutting it. */
typedef void float_few_fn(struct float_product p);

/* What an instruction set brings for a type. */
struct float_ways {
    uint32_t type;
    float_tile_fn *const *tile; // by the number of tokens less 1
    size_t tile_tokens;         // of the largest
    float_few_fn *few;          // any number of tokens and rows
    size_t few_tokens;          // up to which it is the faster way
};

struct float_product {
    const uint8_t *w;
    size_t n_rows;
    const float *x; // (n, k)
    size_t n, k;
    float *y;
    size_t ldy;
    float *scratch; // matmul_scratch_bytes(k)
    const struct float_ways *ways;
};

static inline size_t float_bytes(uint32_t type) { return type == QUANT_F32 ? 4 : 2; }

/* What comes from memory next, to be fetched a few lines at a time. */
struct float_ahead {
    const uint8_t *p;
    size_t row_bytes, at, width; // width: bytes of each row
    size_t rows;                 // that are left
    size_t step;                 // lines
};

static inline void float_fetch(struct float_ahead *a) {
    for (size_t i = 0; i < a->step && a->rows > 0; i++) {
        __builtin_prefetch(a->p + a->at, 0, 2);
        a->at += FLOAT_LINE_BYTES;
        if (a->at < a->width) continue;
        a->at = 0;
        a->p += a->row_bytes;
        a->rows--;
    }
}

/* Leaves no tile of a token or two where two of middle size do as well. */
static inline size_t float_next_tokens(size_t left, size_t most) {
    if (left >= 2 * most) return most;
    return left > most ? (left + 1) / 2 : left;
}

/* The segment at I of the strip at ROW, for all tokens. */
static inline void float_segment(const struct float_product *p, size_t row, size_t n_rows,
                                 size_t i) {
    const size_t elem_bytes = float_bytes(p->ways->type), row_bytes = p->k * elem_bytes,
                 left = p->k - i;
    const size_t next = left > FLOAT_SEGMENT ? i + FLOAT_SEGMENT : 0;
    const size_t next_n = p->k - next < FLOAT_SEGMENT ? p->k - next : FLOAT_SEGMENT;
    const size_t n_tiles =
        (p->n + p->ways->tile_tokens - 1) / p->ways->tile_tokens * (n_rows / FLOAT_ROWS);
    struct float_ahead ahead = {.p = p->w + (next ? row : row + n_rows) * row_bytes +
                                     next * elem_bytes,
                                .row_bytes = row_bytes,
                                .width = next_n * elem_bytes,
                                .rows = next ? n_rows : FLOAT_STRIP};
    ahead.step = (ahead.width / FLOAT_LINE_BYTES + 1) * ahead.rows / n_tiles + 1;
    struct float_tile t = {.row_bytes = row_bytes,
                           .k = p->k,
                           .n = left < FLOAT_SEGMENT ? left : FLOAT_SEGMENT,
                           .first = i == 0,
                           .last = next == 0,
                           .sums = p->scratch,
                           .ldy = p->ldy};
    size_t n;
    for (size_t token = 0; token < p->n; token += n) {
        n = float_next_tokens(p->n - token, p->ways->tile_tokens);
        t.x = p->x + token * p->k + i;
        for (size_t r = row; r < row + n_rows; r += FLOAT_ROWS) {
            float_fetch(&ahead);
            t.w = p->w + r * row_bytes + i * elem_bytes;
            t.y = p->y + token * p->ldy + r;
            p->ways->tile[n - 1](&t);
            t.sums += FLOAT_ROWS * p->ways->tile_tokens * FLOAT_LANES;
        }
    }
}

static inline void float_strips(const struct float_product *p) {
    for (size_t row = 0; row < p->n_rows; row += FLOAT_STRIP) {
        size_t n_rows = p->n_rows - row < FLOAT_STRIP ? p->n_rows - row : FLOAT_STRIP;
        for (size_t i = 0; i < p->k; i += FLOAT_SEGMENT) float_segment(p, row, n_rows, i);
    }
}

/* As many tokens at a time as have room for their sums, in equal parts. P->n_rows is a multiple of
 * FLOAT_ROWS. */
static inline void float_blocks(const struct float_product *p) {
    const size_t tile_tokens = p->ways->tile_tokens;
    size_t fit = matmul_scratch_bytes(p->k) / (FLOAT_STRIP * FLOAT_LANES * sizeof *p->scratch);
    if (fit > FLOAT_MOST) fit = FLOAT_MOST;
    fit -= fit % tile_tokens;
    size_t n_parts = (p->n + fit - 1) / fit, n = (p->n + n_parts - 1) / n_parts;
    n = (n + tile_tokens - 1) / tile_tokens * tile_tokens;
    for (size_t token = 0; token < p->n; token += n) {
        struct float_product part = *p;
        part.n = p->n - token < n ? p->n - token : n;
        part.x += token * p->k;
        part.y += token * p->ldy;
        float_strips(&part);
    }
}

/* WAYS: of all three types. */
static inline void float_multiply(const struct float_ways *ways, uint32_t type,
                                  struct float_product p) {
    while (ways->type != type) ways++;
    p.ways = ways;
    if (p.n > p.ways->few_tokens) {
        const size_t n_left = p.n_rows % FLOAT_ROWS, n_tiled = p.n_rows - n_left;
        p.n_rows = n_tiled;
        float_blocks(&p);
        p.w += n_tiled * p.k * float_bytes(p.ways->type);
        p.y += n_tiled;
        p.n_rows = n_left;
    }
    if (p.n_rows > 0) p.ways->few(p);
}

#endif
