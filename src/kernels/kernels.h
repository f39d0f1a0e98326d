/* The arithmetic of a forward pass: one table of functions per instruction set.
 *
 * scalar.c is the specification. Every other table gives the same bits for the same input, whatever
 * the number of rows or tokens in a call, because each output value is one fixed chain of
 * operations:
 *
 * - Quantised dot product (row of W, one token): blocks in index order; inside a block exact int32
 *       isum = sum over groups g of 16: scale[g] * sum(q * a),  msum = sum over g: min[g] * bsum[g]
 *   then  acc = fma((float)isum, d_w * d_a, acc)  and, where the type has_min,
 *         acc = fma(-(float)msum, dmin_w * d_a, acc).
 * - Float sums (dot products with F32, F16, BF16 weights, norms): 16 partial sums, element i goes
 * to lane i % 16 by fma in index order; lanes then fold: l[j] += l[j+8], l[j+4], l[j+2], l[j+1].
 * - exp, silu, gelu: the polynomials of scalar.c.
 * - Attention: keys in blocks of KV_BLOCK absolute positions, in order; see attend below.
 * Nothing is contracted or reordered by the compiler (-ffp-contract=off, no fast-math): every fma
 * is written as one. */
#ifndef OCTET_KERNELS_KERNELS_H
#define OCTET_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/quant.h"

/* Positions per block of a KV cache, and numbers of a head that share a scale in integer blocks. */
enum { KV_BLOCK = 64, KV_GROUP = 32 };
static inline size_t kv_n_groups(size_t head_dim) { return (head_dim + KV_GROUP - 1) / KV_GROUP; }
/* What a 4-bit code stands for, x = (code - KV_Q4_ZERO) * scale. */
#define KV_Q4_ZERO 7.5f

/* Distances below the first and from the second on ask for more than a distance, see struct act. */
enum { AHEAD_STREAMS = 8 << 10, AHEAD_OUTER = 12 << 10 };

/* n activation rows of k elements quantised to int8, in blocks of 32 or 256 (the block length of
 * the weights they will meet). */
struct act {
    size_t n, k;
    uint32_t block;
    int8_t *q;     // (n, k), -127..127
    float *d;      // (n, k / block)
    int16_t *bsum; // (n, k / 16) sums of q over groups of 16
    // How many bytes ahead of what it reads of the weights a product should fetch; 0: its choice.
    // From AHEAD_OUTER on into the second-level cache, and from there in time into the first one.
    // Not all tables follow it. AVX2 has distances of its own, but follows in the caches, and below
    // AHEAD_STREAMS reads distant rows side by side rather than neighbours.
    size_t ahead;
};

enum { CACHE_LINE = 64 }; // bytes

/* Memory of which every GAP bytes a cache line will be read. */
struct stretch {
    const void *at; // NULL: there is none
    size_t n_bytes, gap;
};

/* A run of queries that attend to the same keys and values. */
struct attend {
    size_t n;        // queries
    size_t head_dim; // a multiple of 2, at most 512
    const float *q;  // (n, head_dim), already scaled by 1/sqrt(head_dim)
    float *m, *l;    // (n) running maximum (starts -INFINITY) and sum of weights (starts 0)
    float *o;        // (n, head_dim) running weighted sum of values (starts 0)
    float *scores;   // (n, KV_BLOCK) scratch
    // Of the block that will be folded in after this one, to be fetched meanwhile.
    struct stretch next;
    bool outer; // it and values are fetched into the second-level cache, rather than the first one
};

struct kernels {
    const char *name;

    /* Row i of x (k elements, a multiple of block) becomes row i of A: d = max|x| / 127,
     * q = x * (127 / max|x|) rounded to nearest even; max|x| < 1e-30 gives all 0; a NaN or infinity
     * gives d = NaN and q = 0. */
    void (*quantize)(const float *x, size_t i, struct act *a);

    /* Readies SCRATCH (matmul_scratch_bytes(a->k), 64-byte aligned) for any number of products of A
     * with rows of TYPE, which will begin at W. NULL: there is nothing to do. */
    void (*prepare)(const struct quant_type *type, const void *w, const struct act *a,
                    void *scratch);

    /* y[t * ldy + r] = W[r] . A[t] for r < n_rows and all t < a->n. W: n_rows rows, contiguous, of
     * a quantised type whose block length is a->block. SCRATCH: as prepare left it. */
    void (*matmul)(const struct quant_type *type, const void *w, size_t n_rows, const struct act *a,
                   float *y, size_t ldy, void *scratch);

    /* The same for F32, F16, BF16 weights and float activations x (n, k). */
    void (*matmul_float)(const struct quant_type *type, const void *w, size_t n_rows,
                         const float *x, size_t n, size_t k, float *y, size_t ldy, void *scratch);

    /* y[i] = x[i] / sqrt(mean(x^2) + eps) * g[i] */
    void (*rms_norm)(const float *x, const float *g, size_t n, float eps, float *y);
    /* y[i] = (x[i] - mean) / sqrt(var + eps) * g[i] + b[i], biased variance */
    void (*layer_norm)(const float *x, const float *g, const float *b, size_t n, float eps,
                       float *y);
    void (*silu_mul)(float *gate, const float *up, size_t n);  // gate = silu(gate) * up
    void (*gelu)(float *x, size_t n);                          // tanh form, in place
    void (*add)(float *y, const float *x, size_t n);           // y += x
    void (*axpy)(float *y, float a, const float *x, size_t n); // y = fma(a, x, y)
    void (*to_f16)(const float *x, uint16_t *y, size_t n);

    /* Folds one block of keys and values into the running softmax of each query i, whose visible
     * keys are lo[i] <= j < hi[i] (0..KV_BLOCK; lo >= hi: none, query untouched).
     * K_T (head_dim, KV_BLOCK) is transposed, V (KV_BLOCK, head_dim); f16 or, if F32, float.
     * Per query: s_j = chain over d of fma(q_d, k_dj, s), from 0; m' = max(m, max s_j);
     * p_j = exp(s_j - m') (invisible: 0); c = exp(m - m'); l = fma(l, c, fold(p)) with p_j in lane
     * j % 16; o_d = o_d * c, then o_d = fma(p_j, v_jd, o_d) for visible j in order. Memory of
     * invisible keys and values may hold anything and never shows in the result. */
    void (*attend)(const struct attend *a, const void *k_t, const void *v, bool f32,
                   const int32_t *lo, const int32_t *hi);

    /* An integer block of a cache as the float keys and values that attend takes, Y (2 * head_dim *
     * KV_BLOCK). The block holds the codes of keys (head_dim, KV_BLOCK), of values (KV_BLOCK,
     * head_dim), then the scales of keys (n_groups, KV_BLOCK) and of values, the same.
     * q8: int8 codes, x = code * scale, scales are floats.
     * q4: a byte holds the codes of keys j (low) and j + KV_BLOCK / 2 of one row; of values, those
     * of numbers i and i + n / 2 of a group of n. Scales are bfloat16. */
    void (*expand_q8)(const void *block, size_t head_dim, float *y);
    void (*expand_q4)(const void *block, size_t head_dim, float *y);
};

/* prepare, then matmul. */
static inline void kernels_multiply(const struct kernels *kernels, const struct quant_type *type,
                                    const void *w, size_t n_rows, const struct act *a, float *y,
                                    size_t ldy, void *scratch) {
    if (kernels->prepare) kernels->prepare(type, w, a, scratch);
    kernels->matmul(type, w, n_rows, a, y, ldy, scratch);
}

/* What matmul and matmul_float may use as scratch for rows of k elements. */
enum { LEAST_SCRATCH = 160 << 10 }; // however short they are
static inline size_t matmul_scratch_bytes(size_t k) { return 64 * k + LEAST_SCRATCH; }

/* exp as every table computes it; for router and samplers. */
float kernel_exp(float x);

extern const struct kernels kernels_scalar;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2;        // AVX2, FMA, F16C
extern const struct kernels kernels_avx512;      // F, BW, DQ, VL, VNNI
extern const struct kernels kernels_avx512_gfni; // VBMI and GFNI, too
#endif
#if defined(__aarch64__)
extern const struct kernels kernels_neon; // with dot product
#endif

/* The best table of this machine, or the one OCTET_ISA names. NULL: OCTET_ISA names one that is
 * unknown or that this machine cannot run. */
const struct kernels *kernels_pick(void);
/* i-th table this machine can run, scalar first; NULL past the end. */
const struct kernels *kernels_at(size_t i);

#endif
