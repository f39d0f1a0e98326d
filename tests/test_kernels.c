/* Every kernel table against the scalar one, bit for bit, and that one against mathematics. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "kernels/kernels.h"

/* ---- Tools ----------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t next_random(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static float random_float(void) { return (float)(int32_t)next_random() * 0x1p-31f; }

/* Exactly as large as asked, so that the sanitizer sees any access past the end. */
static void *allocate(size_t n_bytes) {
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64, n_bytes ? n_bytes : 1), 0);
    return p;
}

static float *random_floats(size_t n) {
    float *x = allocate(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = random_float();
    return x;
}

static float *copy_floats(const float *x, size_t n) {
    float *copy = allocate(n * sizeof *x);
    memcpy(copy, x, n * sizeof *x);
    return copy;
}

/* The same bits; which NaN an operation gives is left to the machine. */
static bool same(float a, float b) {
    return f32_to_bits(a) == f32_to_bits(b) || (isnan(a) && isnan(b));
}

static void assert_same(const float *a, const float *b, size_t n, const struct kernels *k,
                        const char *what) {
    for (size_t i = 0; i < n; i++)
        if (!same(a[i], b[i]))
            fail_msg("%s %s: element %zu of %zu is %a, expected %a", k->name, what, i, n,
                     (double)a[i], (double)b[i]);
}

static const float specials[] = {0.0f,      -0.0f,     INFINITY, -INFINITY, NAN,    1.0f,
                                 -1.0f,     1e-30f,    -1e-30f,  1e-38f,    1e-42f, -1e-45f,
                                 3.4e38f,   -3.4e38f,  87.0f,    -87.0f,    88.0f,  -88.0f,
                                 -87.0001f, 88.00001f, 104.0f,   -104.0f,   1e10f,  -1e10f};
enum { N_SPECIALS = sizeof specials / sizeof *specials };

/* Specials, then a sweep over sizes and a range of ordinary values. */
static float *sweep(size_t *n) {
    *n = 4000 + N_SPECIALS;
    float *x = allocate(*n * sizeof *x);
    memcpy(x, specials, sizeof specials);
    for (size_t i = N_SPECIALS; i < *n; i++)
        x[i] = i % 2 ? random_float() * 20.0f
                     : ldexpf(random_float(), (int)(next_random() % 250) - 125);
    return x;
}

static const size_t lengths[] = {1, 7, 15, 16, 17, 31, 63, 576};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* ---- Functions of one element ---------------------------------------------------------------- */

static void test_exp_is_accurate(void **state) {
    (void)state;
    for (int i = 0; i < 100000; i++) {
        float x = -87.0f + 175.0f * (float)i / 100000.0f;
        double exact = exp((double)x);
        assert_true(fabs((double)kernel_exp(x) - exact) <= 3e-7 * exact);
    }
}

static void test_exp_at_its_edges(void **state) {
    (void)state;
    assert_true(kernel_exp(0.0f) == 1.0f);
    assert_true(kernel_exp(-87.01f) == 0.0f);
    assert_true(kernel_exp(-INFINITY) == 0.0f);
    assert_true(kernel_exp(INFINITY) == kernel_exp(88.0f));
    assert_true(isfinite(kernel_exp(88.0f)));
    assert_true(isnan(kernel_exp(NAN)));
}

static void test_silu_and_gelu_are_accurate(void **state) {
    (void)state;
    for (int i = -4000; i <= 4000; i++) {
        float x = (float)i / 200.0f, silu = x, one = 1.0f, tanh_form = x;
        double v = (double)x, z = sqrt(2.0 / acos(-1.0)) * (v + 0.044715 * v * v * v);
        kernels_scalar.silu_mul(&silu, &one, 1);
        kernels_scalar.gelu(&tanh_form, 1);
        assert_true(fabs((double)silu - v / (1.0 + exp(-v))) <= 1e-6 * fabs(v));
        assert_true(fabs((double)tanh_form - 0.5 * v * (1.0 + tanh(z))) <= 1e-6 * fabs(v));
    }
}

static void test_element_functions_match(void **state) {
    (void)state;
    size_t n;
    float *x = sweep(&n), *other = sweep(&n);
    for (size_t i = 1; kernels_at(i); i++) {
        const struct kernels *k = kernels_at(i);
        float *a = copy_floats(x, n), *b = copy_floats(x, n);
        k->silu_mul(a, other, n);
        kernels_scalar.silu_mul(b, other, n);
        assert_same(a, b, n, k, "silu_mul");
        memcpy(a, x, n * sizeof *x);
        memcpy(b, x, n * sizeof *x);
        k->gelu(a, n);
        kernels_scalar.gelu(b, n);
        assert_same(a, b, n, k, "gelu");
        k->add(a, other, n);
        kernels_scalar.add(b, other, n);
        assert_same(a, b, n, k, "add");
        k->axpy(a, 0.37f, x, n);
        kernels_scalar.axpy(b, 0.37f, x, n);
        assert_same(a, b, n, k, "axpy");
        free(a);
        free(b);
    }
    free(x);
    free(other);
}

/* Any tail, and nothing written past it. */
static void test_element_functions_keep_to_their_length(void **state) {
    (void)state;
    for (size_t i = 1; kernels_at(i); i++)
        for (size_t n = 1; n < 50; n++) {
            const struct kernels *k = kernels_at(i);
            float *a = random_floats(n), *b = copy_floats(a, n), *x = random_floats(n);
            k->silu_mul(a, x, n);
            k->gelu(a, n);
            k->add(a, x, n);
            k->axpy(a, -1.5f, x, n);
            kernels_scalar.silu_mul(b, x, n);
            kernels_scalar.gelu(b, n);
            kernels_scalar.add(b, x, n);
            kernels_scalar.axpy(b, -1.5f, x, n);
            assert_same(a, b, n, k, "element functions");
            free(a);
            free(b);
            free(x);
        }
}

static void test_to_f16_matches(void **state) {
    (void)state;
    size_t n;
    float *x = sweep(&n);
    // Around every rounding boundary: halves of the spacing, and one float to either side.
    for (size_t i = N_SPECIALS; i < n; i += 3) {
        uint32_t bits = (uint32_t)next_random();
        x[i] = f32_from_bits((bits & 0x8fffe000) | 0x30000000 | (0x1000 - 1 + bits % 3));
    }
    uint16_t *a = allocate(n * sizeof *a), *b = allocate(n * sizeof *b);
    for (size_t i = 1; kernels_at(i); i++)
        for (size_t length = n - 17; length <= n; length++) {
            memset(a, 0x55, n * sizeof *a);
            memset(b, 0x55, n * sizeof *b);
            kernels_at(i)->to_f16(x, a, length);
            kernels_scalar.to_f16(x, b, length);
            assert_memory_equal(a, b, n * sizeof *a);
        }
    free(a);
    free(b);
    free(x);
}

/* ---- Norms ----------------------------------------------------------------------------------- */

static void test_norms_match(void **state) {
    (void)state;
    for (size_t i = 1; kernels_at(i); i++)
        for (size_t j = 0; j < N_LENGTHS; j++) {
            const struct kernels *k = kernels_at(i);
            size_t n = lengths[j];
            float *x = random_floats(n), *g = random_floats(n), *b = random_floats(n);
            float *got = allocate(n * sizeof *got), *want = allocate(n * sizeof *want);
            k->rms_norm(x, g, n, 1e-5f, got);
            kernels_scalar.rms_norm(x, g, n, 1e-5f, want);
            assert_same(got, want, n, k, "rms_norm");
            k->layer_norm(x, g, b, n, 1e-5f, got);
            kernels_scalar.layer_norm(x, g, b, n, 1e-5f, want);
            assert_same(got, want, n, k, "layer_norm");
            memcpy(got, x, n * sizeof *x);
            k->layer_norm(got, g, b, n, 1e-5f, got);
            assert_same(got, want, n, k, "layer_norm in place");
            free(x);
            free(g);
            free(b);
            free(got);
            free(want);
        }
}

static void test_norms_are_accurate(void **state) {
    (void)state;
    enum { N = 576 };
    float *x = random_floats(N), *one = allocate(N * sizeof *one),
          *zero = allocate(N * sizeof *zero);
    float y[N];
    double sum = 0, squares = 0;
    for (size_t i = 0; i < N; i++) {
        x[i] += 0.5f;
        one[i] = 1;
        zero[i] = 0;
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    kernels_scalar.rms_norm(x, one, N, 1e-5f, y);
    for (size_t i = 0; i < N; i++)
        assert_true(fabs((double)y[i] - (double)x[i] / sqrt(squares / N + 1e-5)) < 1e-5);
    kernels_scalar.layer_norm(x, one, zero, N, 1e-5f, y);
    double mean = sum / N, variance = squares / N - mean * mean;
    for (size_t i = 0; i < N; i++)
        assert_true(fabs((double)y[i] - ((double)x[i] - mean) / sqrt(variance + 1e-5)) < 1e-5);
    free(x);
    free(one);
    free(zero);
}

/* ---- Quantisation of activations ------------------------------------------------------------- */

static struct act make_act(size_t n, size_t k, uint32_t block) {
    return (struct act){.n = n,
                        .k = k,
                        .block = block,
                        .q = allocate(n * k),
                        .d = allocate(n * (k / block) * sizeof(float)),
                        .bsum = allocate(n * (k / QUANT_GROUP) * sizeof(int16_t))};
}

static void free_act(struct act *a) {
    free(a->q);
    free(a->d);
    free(a->bsum);
}

static void fill_blocks(float *x, size_t block) {
    for (size_t i = 0; i < block; i++) {
        x[block + i] = 0;
        x[2 * block + i] = random_float() * 1e-31f;
        x[3 * block + i] = random_float() * 3e38f;
        x[6 * block + i] = (float)((int)(next_random() % 255) - 127) + 0.5f; // ties
        x[7 * block + i] = random_float() * 2e-30f;
    }
    x[6 * block] = 127;
    x[4 * block + 5] = NAN;
    x[5 * block + block - 1] = -INFINITY;
}

static void test_quantize_matches(void **state) {
    (void)state;
    for (size_t i = 1; kernels_at(i); i++)
        for (uint32_t block = 32; block <= 256; block += 224) {
            size_t k = 9 * block;
            struct act got = make_act(2, k, block), want = make_act(2, k, block);
            for (size_t row = 0; row < 2; row++) {
                float *x = random_floats(k);
                fill_blocks(x, block);
                kernels_at(i)->quantize(x, row, &got);
                kernels_scalar.quantize(x, row, &want);
                free(x);
            }
            assert_memory_equal(got.q, want.q, 2 * k);
            assert_memory_equal(got.bsum, want.bsum, 2 * (k / QUANT_GROUP) * sizeof *got.bsum);
            assert_same(got.d, want.d, 2 * 9, kernels_at(i), "quantize");
            free_act(&got);
            free_act(&want);
        }
}

static void test_quantize_marks_what_is_not_finite(void **state) {
    (void)state;
    struct act a = make_act(1, 9 * 32, 32);
    float *x = random_floats(a.k);
    fill_blocks(x, 32);
    kernels_scalar.quantize(x, 0, &a);
    assert_true(a.d[1] == 0.0f && a.d[2] == 0.0f);
    assert_true(isnan(a.d[4]) && isnan(a.d[5]));
    for (size_t i = 0; i < 32; i++) assert_int_equal(a.q[4 * 32 + i], 0);
    for (size_t i = 0; i < 32; i++)
        assert_true(fabsf(x[i] - a.d[0] * (float)a.q[i]) <= 0.5001f * a.d[0]);
    free(x);
    free_act(&a);
}

/* ---- Quantised products ---------------------------------------------------------------------- */

enum { MAX_ROWS = 40, MAX_TOKENS = 33, LDY = MAX_ROWS + 3 };

/* Random bytes with finite scales; well-formed ones, or anything at all. */
static void random_block(const struct quant_type *type, uint8_t *block, bool well_formed) {
    struct quant_block unpacked;
    do {
        for (size_t i = 0; i < type->block_bytes; i++) block[i] = (uint8_t)next_random();
        if (well_formed) type->synth(block, 0.02f);
        type->unpack(block, &unpacked);
    } while (!isfinite(unpacked.d) || !isfinite(unpacked.dmin));
}

static uint8_t *random_weights(const struct quant_type *type, size_t n_rows, size_t k,
                               bool well_formed) {
    size_t n_bytes = n_rows * quant_row_bytes(type, k);
    uint8_t *w = allocate(n_bytes);
    for (size_t i = 0; i < n_bytes; i += type->block_bytes) random_block(type, w + i, well_formed);
    return w;
}

/* EXTREME: integers of 127 and -127 alone, in runs that make the largest sums. */
static struct act random_act(size_t n, size_t k, uint32_t block, bool extreme) {
    struct act a = make_act(n, k, block);
    float *x = random_floats(n * k);
    for (size_t i = 0; extreme && i < n * k; i++) x[i] = (i / k + i / 97) % 2 ? 1.0f : -1.0f;
    for (size_t i = 0; i < n; i++) kernels_scalar.quantize(x + i * k, i, &a);
    free(x);
    return a;
}

struct product {
    const struct quant_type *type;
    const uint8_t *w;
    const struct act *a;
    const float *want; // (MAX_TOKENS, MAX_ROWS)
    float *y;          // (MAX_TOKENS, LDY)
    void *scratch;
};

/* Rows from FIRST_ROW and tokens from FIRST_TOKEN have the bits they have within the whole. */
static void check_part(const struct kernels *k, const struct product *p, size_t first_row,
                       size_t n_rows, size_t first_token, size_t n, size_t ahead) {
    const float guard = 12345.0f;
    size_t n_blocks = p->a->k / p->a->block;
    struct act part = {.n = n,
                       .k = p->a->k,
                       .block = p->a->block,
                       .q = p->a->q + first_token * p->a->k,
                       .d = p->a->d + first_token * n_blocks,
                       .bsum = p->a->bsum + first_token * (p->a->k / QUANT_GROUP),
                       .ahead = ahead};
    for (size_t i = 0; i < MAX_TOKENS * LDY; i++) p->y[i] = guard;
    kernels_multiply(k, p->type, p->w + first_row * quant_row_bytes(p->type, p->a->k), n_rows,
                     &part, p->y, LDY, p->scratch);
    for (size_t t = 0; t < MAX_TOKENS; t++)
        for (size_t r = 0; r < LDY; r++) {
            bool inside = t < n && r < n_rows;
            size_t source = inside ? (first_token + t) * MAX_ROWS + first_row + r : 0;
            float want = inside ? p->want[source] : guard, got = p->y[t * LDY + r];
            if (!same(got, want))
                fail_msg("%s %s k %zu, %zu rows, %zu tokens: row %zu token %zu is %a, expected %a",
                         k->name, p->type->name, p->a->k, n_rows, n, r, t, (double)got,
                         (double)want);
        }
}

static void check_parts(const struct kernels *k, const struct product *p) {
    static const size_t rows[] = {1, 3, 4, 15, 16, 17, 40};
    static const size_t tokens[] = {1, 2, 3, 4, 5, 7, 8, 11, 17, 32, 33};
    // What is fetched meanwhile, and in which order rows are read, changes nothing.
    static const size_t ahead[] = {0, AHEAD_STREAMS / 2, AHEAD_STREAMS, AHEAD_OUTER};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++) {
            if (p->a->k > 1024 && (i + j) % 3) continue;
            check_part(k, p, 0, rows[j], 0, tokens[i], ahead[(i + j) % 4]);
            check_part(k, p, MAX_ROWS - rows[j], rows[j], MAX_TOKENS - tokens[i], tokens[i],
                       ahead[(i + j + 3) % 4]);
        }
}

static void check_product(const struct quant_type *type, size_t k, bool well_formed, bool extreme) {
    uint8_t *w = random_weights(type, MAX_ROWS, k, well_formed);
    struct act a = random_act(MAX_TOKENS, k, type->block_elems, extreme);
    float *want = allocate(MAX_TOKENS * MAX_ROWS * sizeof *want);
    float *y = allocate(MAX_TOKENS * LDY * sizeof *y);
    struct product p = {type, w, &a, want, y, allocate(matmul_scratch_bytes(k))};
    kernels_multiply(&kernels_scalar, type, w, MAX_ROWS, &a, want, MAX_ROWS, p.scratch);
    for (size_t i = 1; kernels_at(i); i++) check_parts(kernels_at(i), &p);
    free(w);
    free_act(&a);
    free(want);
    free(y);
    free(p.scratch);
}

static void test_products_match(void **state) {
    (void)state;
    for (size_t i = 0; quant_at(i); i++) {
        const struct quant_type *type = quant_at(i);
        if (!type->unpack) continue;
        check_product(type, type->block_elems, true, false);
        check_product(type, 3 * type->block_elems, false, false);
        check_product(type, 3 * type->block_elems, false, true);
        // Blocks are taken by sixteens or fours, and then come those that are left.
        check_product(type, (type->block_elems == 32 ? 35 : 7) * type->block_elems, true, true);
        check_product(type, 2048, true, false);
    }
}

static void check_whole(const struct quant_type *type, size_t n_rows, size_t n, size_t k) {
    uint8_t *w = random_weights(type, n_rows, k, true);
    struct act a = random_act(n, k, type->block_elems, false);
    float *got = allocate(n * n_rows * sizeof *got), *want = allocate(n * n_rows * sizeof *want);
    void *scratch = allocate(matmul_scratch_bytes(k));
    kernels_multiply(&kernels_scalar, type, w, n_rows, &a, want, n_rows, scratch);
    for (size_t i = 1; kernels_at(i); i++) {
        kernels_multiply(kernels_at(i), type, w, n_rows, &a, got, n_rows, scratch);
        assert_same(got, want, n * n_rows, kernels_at(i), type->name);
    }
    free(w);
    free_act(&a);
    free(got);
    free(want);
    free(scratch);
}

/* Rows as long as those of a feed-forward layer; few, for time. */
static void test_long_products_match(void **state) {
    (void)state;
    for (size_t i = 0; quant_at(i); i++)
        if (quant_at(i)->unpack) check_whole(quant_at(i), 5, 6, 5632);
}

/* More tokens than have room for their sums beside a part of the rows, or than stay in a cache
 * while many rows pass. */
static void test_products_of_many_tokens_match(void **state) {
    (void)state;
    check_whole(quant_find(QUANT_Q4_K), 17, 1500, 768);
    check_whole(quant_find(QUANT_Q8_0), 17, 1500, 544);
    check_whole(quant_find(QUANT_Q4_K), 117, 397, 1280);
    check_whole(quant_find(QUANT_Q8_0), 100, 250, 1056);
}

static void test_product_is_that_of_the_decoded_weights(void **state) {
    (void)state;
    for (size_t i = 0; quant_at(i); i++) {
        const struct quant_type *type = quant_at(i);
        if (!type->unpack) continue;
        size_t k = 512;
        uint8_t *w = random_weights(type, 1, k, true);
        struct act a = random_act(1, k, type->block_elems, false);
        float row[512], y;
        quant_decode(type, w, row, k);
        double exact = 0, size = 0;
        for (size_t j = 0; j < k; j++) {
            double term = (double)row[j] * (double)a.d[j / a.block] * (double)a.q[j];
            exact += term;
            size += fabs(term);
        }
        void *scratch = allocate(matmul_scratch_bytes(k));
        kernels_multiply(&kernels_scalar, type, w, 1, &a, &y, 1, scratch);
        assert_true(fabs((double)y - exact) <= 1e-5 * size);
        free(w);
        free_act(&a);
        free(scratch);
    }
}

static void test_a_token_that_is_not_finite_spoils_only_itself(void **state) {
    (void)state;
    const struct quant_type *type = quant_find(QUANT_Q4_K);
    size_t k = 512;
    uint8_t *w = random_weights(type, 16, k, true);
    struct act a = random_act(7, k, 256, false);
    a.d[3 * 2 + 1] = NAN;
    float y[7 * 16];
    void *scratch = allocate(matmul_scratch_bytes(k));
    for (size_t i = 0; kernels_at(i); i++) {
        kernels_multiply(kernels_at(i), type, w, 16, &a, y, 16, scratch);
        for (size_t j = 0; j < 7 * 16; j++) assert_int_equal(isnan(y[j]) != 0, j / 16 == 3);
    }
    free(w);
    free_act(&a);
    free(scratch);
}

/* ---- Float products -------------------------------------------------------------------------- */

static uint8_t *random_float_weights(const struct quant_type *type, size_t n) {
    uint8_t *w = allocate(n * type->block_bytes);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = f32_to_bits(random_float());
        uint16_t half =
            type->id == QUANT_F16 ? f32_to_f16(f32_from_bits(bits)) : (uint16_t)(bits >> 16);
        if (type->id == QUANT_F32)
            memcpy(w + 4 * i, &bits, 4);
        else
            memcpy(w + 2 * i, &half, 2);
    }
    return w;
}

struct float_case {
    const struct quant_type *type;
    size_t k, most_rows, most; // most: tokens
    const uint8_t *w;
    const float *x, *want; // (most, k), (most, most_rows)
    void *scratch;
};

static void check_float_part(const struct float_case *c, const struct kernels *k, size_t n_rows,
                             size_t n) {
    const size_t ldy = n_rows + 3, n_out = (n - 1) * ldy + n_rows;
    float *got = allocate(n_out * sizeof *got);
    for (size_t i = 0; i < n_out; i++) got[i] = 12345.0f;
    k->matmul_float(c->type, c->w, n_rows, c->x, n, c->k, got, ldy, c->scratch);
    for (size_t t = 0; t < n; t++)
        assert_same(got + t * ldy, c->want + t * c->most_rows, n_rows, k, c->type->name);
    for (size_t i = 0; i < n_out; i++) assert_true(i % ldy < n_rows || got[i] == 12345.0f);
    free(got);
}

/* N_ROWS and N: counts of rows and of tokens, the largest one last. */
static void check_float_product(const struct quant_type *type, size_t k, const size_t n_rows[],
                                size_t n_row_counts, const size_t n[], size_t n_counts) {
    const size_t most_rows = n_rows[n_row_counts - 1], most = n[n_counts - 1];
    uint8_t *w = random_float_weights(type, most_rows * k);
    float *x = random_floats(most * k), *want = allocate(most * most_rows * sizeof *want);
    struct float_case c = {type, k, most_rows, most, w, x, want, allocate(matmul_scratch_bytes(k))};
    kernels_scalar.matmul_float(type, w, most_rows, x, most, k, want, most_rows, c.scratch);
    for (size_t i = 1; kernels_at(i); i++)
        for (size_t r = 0; r < n_row_counts; r++)
            for (size_t t = 0; t < n_counts; t++)
                check_float_part(&c, kernels_at(i), n_rows[r], n[t]);
    free(w);
    free(x);
    free(want);
    free(c.scratch);
}

static void test_float_products_match(void **state) {
    (void)state;
    static const size_t k[] = {1, 15, 16, 17, 100, 576};
    static const size_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13};
    enum { N = sizeof counts / sizeof *counts };
    for (size_t i = 0; quant_at(i); i++)
        for (size_t j = 0; !quant_at(i)->unpack && j < sizeof k / sizeof *k; j++)
            check_float_product(quant_at(i), k[j], counts, N, counts, N);
}

/* Products too small for a float give -0, which adding the 0 of an element that is not there would
 * turn into 0. */
static void test_float_sums_keep_the_sign_of_zero(void **state) {
    (void)state;
    enum { K = 17, N = 7, ROWS = 5 };
    float x[N * K], y[N * ROWS];
    uint8_t w[4 * ROWS * K];
    for (size_t i = 0; i < N * K; i++) x[i] = -1e-45f;
    void *scratch = allocate(matmul_scratch_bytes(K));
    for (size_t i = 0; quant_at(i); i++) {
        if (quant_at(i)->unpack) continue;
        memset(w, 0x2c, sizeof w); // positive and below a half in all types
        for (size_t j = 0; kernels_at(j); j++)
            for (size_t n = 1; n <= N; n++) {
                kernels_at(j)->matmul_float(quant_at(i), w, ROWS, x, n, K, y, ROWS, scratch);
                for (size_t o = 0; o < n * ROWS; o++)
                    assert_int_equal(f32_to_bits(y[o]), 0x80000000);
            }
    }
    free(scratch);
}

/* Rows, tokens and lengths beyond what the kernels take at a time. */
static void test_large_float_products_match(void **state) {
    (void)state;
    static const size_t n_rows[] = {3, 32, 39}, n[] = {5, 13, 31};
    static const size_t k[] = {1024, 1040, 2055}, many[] = {193, 210}, few_rows[] = {33};
    for (size_t i = 0; quant_at(i); i++) {
        if (quant_at(i)->unpack) continue;
        for (size_t j = 0; j < 3; j++) check_float_product(quant_at(i), k[j], n_rows, 3, n, 3);
        check_float_product(quant_at(i), 48, few_rows, 1, many, 2);
        check_float_product(quant_at(i), 1029, few_rows, 1, many, 2);
    }
}

/* ---- Attention ------------------------------------------------------------------------------- */

enum { N_QUERIES = 9, N_STEPS = 3 };

struct kv {
    void *k_t, *v;
    bool f32;
};

static void put(const struct kv *kv, void *p, size_t i, float value) {
    if (kv->f32)
        ((float *)p)[i] = value;
    else
        ((uint16_t *)p)[i] = f32_to_f16(value);
}

/* Keys and values outside [lo, hi) are GARBAGE. */
static struct kv make_kv(size_t head_dim, bool f32, int32_t lo, int32_t hi, float garbage) {
    size_t n = head_dim * KV_BLOCK;
    struct kv kv = {allocate(n * (f32 ? 4 : 2)), allocate(n * (f32 ? 4 : 2)), f32};
    for (size_t d = 0; d < head_dim; d++)
        for (size_t j = 0; j < KV_BLOCK; j++) {
            bool seen = (int32_t)j >= lo && (int32_t)j < hi;
            float key = random_float(), value = random_float();
            put(&kv, kv.k_t, d * KV_BLOCK + j, seen ? key : garbage);
            put(&kv, kv.v, j * head_dim + d, seen ? value : garbage);
        }
    return kv;
}

static void free_kv(struct kv *kv) {
    free(kv->k_t);
    free(kv->v);
}

static struct attend make_attend(size_t n, size_t head_dim, const float *q) {
    struct attend a = {n,
                       head_dim,
                       q,
                       allocate(n * sizeof(float)),
                       allocate(n * sizeof(float)),
                       allocate(n * head_dim * sizeof(float)),
                       allocate(n * KV_BLOCK * sizeof(float)),
                       {NULL, 0, 0},
                       n % 2 == 0}; // where to is fetched changes nothing
    for (size_t i = 0; i < n; i++) {
        a.m[i] = -INFINITY;
        a.l[i] = 0;
    }
    for (size_t i = 0; i < n * head_dim; i++) a.o[i] = 0;
    return a;
}

static void free_attend(struct attend *a) {
    free(a->m);
    free(a->l);
    free(a->o);
    free(a->scores);
}

static void assert_same_attend(const struct attend *a, const struct attend *b,
                               const struct kernels *k) {
    assert_same(a->m, b->m, a->n, k, "attend: maximum");
    assert_same(a->l, b->l, a->n, k, "attend: sum of weights");
    assert_same(a->o, b->o, a->n * a->head_dim, k, "attend: values");
}

/* Ranges of the queries: all alike, causal, and assorted with empty ones. */
static void make_ranges(int kind, int32_t *lo, int32_t *hi) {
    static const int32_t assorted[N_QUERIES][2] = {{0, 64},  {0, 0}, {63, 64}, {1, 63}, {0, 1},
                                                   {17, 33}, {5, 5}, {15, 16}, {15, 16}};
    for (size_t i = 0; i < N_QUERIES; i++) {
        lo[i] = kind == 2 ? assorted[i][0] : 0;
        hi[i] = kind == 0 ? KV_BLOCK : kind == 1 ? (int32_t)(i / 2) + 30 : assorted[i][1];
    }
}

static void check_attend(const struct kernels *k, size_t head_dim, bool f32, int kind) {
    int32_t lo[N_QUERIES], hi[N_QUERIES];
    make_ranges(kind, lo, hi);
    float *q = random_floats(N_QUERIES * head_dim);
    struct attend got = make_attend(N_QUERIES, head_dim, q),
                  want = make_attend(N_QUERIES, head_dim, q);
    for (size_t step = 0; step < N_STEPS; step++) {
        struct kv kv = make_kv(head_dim, f32, 0, kind == 1 ? 34 : KV_BLOCK, NAN);
        // Fetched, and of no consequence.
        if (step % 2) got.next = (struct stretch){kv.k_t, head_dim * KV_BLOCK, 64 * step};
        k->attend(&got, kv.k_t, kv.v, f32, lo, hi);
        kernels_scalar.attend(&want, kv.k_t, kv.v, f32, lo, hi);
        free_kv(&kv);
    }
    assert_same_attend(&got, &want, k);
    for (size_t i = 0; i < N_QUERIES * head_dim; i++) assert_true(isfinite(got.o[i]));
    free(q);
    free_attend(&got);
    free_attend(&want);
}

static void test_attend_matches(void **state) {
    (void)state;
    static const size_t dims[] = {2, 16, 34, 64, 80, 96, 128};
    for (size_t i = 1; kernels_at(i); i++)
        for (size_t j = 0; j < sizeof dims / sizeof *dims; j++)
            for (int kind = 0; kind < 3; kind++) {
                check_attend(kernels_at(i), dims[j], false, kind);
                check_attend(kernels_at(i), dims[j], true, kind);
            }
}

static void test_a_query_does_not_depend_on_its_company(void **state) {
    (void)state;
    const size_t head_dim = 64;
    float *q = random_floats(N_QUERIES * head_dim);
    int32_t lo[N_QUERIES], hi[N_QUERIES];
    make_ranges(0, lo, hi);
    struct kv kv = make_kv(head_dim, false, 0, KV_BLOCK, 0);
    for (size_t i = 0; kernels_at(i); i++) {
        struct attend all = make_attend(N_QUERIES, head_dim, q);
        kernels_at(i)->attend(&all, kv.k_t, kv.v, false, lo, hi);
        for (size_t j = 0; j < N_QUERIES; j++) {
            struct attend one = make_attend(1, head_dim, q + j * head_dim);
            kernels_at(i)->attend(&one, kv.k_t, kv.v, false, lo, hi);
            assert_same(one.o, all.o + j * head_dim, head_dim, kernels_at(i), "attend alone");
            free_attend(&one);
        }
        free_attend(&all);
    }
    free_kv(&kv);
    free(q);
}

static void test_attend_ignores_invisible_memory(void **state) {
    (void)state;
    static const float garbage[] = {0.0f, NAN, INFINITY, -60000.0f};
    const size_t head_dim = 80;
    const int32_t lo[N_QUERIES] = {0}, hi[N_QUERIES] = {21, 21, 21, 21, 21, 21, 21, 21, 21};
    float *q = random_floats(N_QUERIES * head_dim);
    for (size_t i = 0; kernels_at(i); i++) {
        struct attend first = make_attend(N_QUERIES, head_dim, q);
        for (size_t g = 0; g < 4; g++) {
            struct attend a = make_attend(N_QUERIES, head_dim, q);
            random_state = 99; // the same visible keys and values each time
            struct kv kv = make_kv(head_dim, g % 2 == 0, 0, 21, garbage[g]);
            random_state = 99;
            struct kv clean = make_kv(head_dim, g % 2 == 0, 0, 21, 1.0f);
            for (size_t j = 0; j < N_QUERIES * head_dim; j++) first.o[j] = 0;
            for (size_t j = 0; j < N_QUERIES; j++) first.m[j] = -INFINITY, first.l[j] = 0;
            kernels_at(i)->attend(&a, kv.k_t, kv.v, kv.f32, lo, hi);
            kernels_at(i)->attend(&first, clean.k_t, clean.v, clean.f32, lo, hi);
            assert_same_attend(&a, &first, kernels_at(i));
            free_kv(&kv);
            free_kv(&clean);
            free_attend(&a);
        }
        free_attend(&first);
    }
    free(q);
}

/* Softmax over three blocks at once, in double. */
static void test_attend_is_accurate(void **state) {
    (void)state;
    enum { DIM = 16, KEYS = N_STEPS * KV_BLOCK };
    const int32_t lo = 0, hi = KV_BLOCK;
    float *q = random_floats(DIM);
    struct attend a = make_attend(1, DIM, q);
    double weight[KEYS], value[KEYS][DIM], total = 0;
    for (size_t step = 0; step < N_STEPS; step++) {
        struct kv kv = make_kv(DIM, true, 0, KV_BLOCK, 0);
        for (size_t j = 0; j < KV_BLOCK; j++) {
            double score = 0;
            for (size_t d = 0; d < DIM; d++) {
                score += (double)q[d] * (double)((float *)kv.k_t)[d * KV_BLOCK + j];
                value[step * KV_BLOCK + j][d] = (double)((float *)kv.v)[j * DIM + d];
            }
            total += weight[step * KV_BLOCK + j] = exp(score);
        }
        kernels_scalar.attend(&a, kv.k_t, kv.v, true, &lo, &hi);
        free_kv(&kv);
    }
    for (size_t d = 0; d < DIM; d++) {
        double exact = 0;
        for (size_t j = 0; j < KEYS; j++) exact += weight[j] / total * value[j][d];
        assert_true(fabs((double)(a.o[d] / a.l[0]) - exact) < 1e-5);
    }
    free(q);
    free_attend(&a);
}

/* ---- Integer blocks of caches ---------------------------------------------------------------- */

static void test_integer_blocks_expand_alike(void **state) {
    (void)state;
    static const size_t dims[] = {2, 16, 34, 64, 80, 96, 128, 200, 512};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        size_t n = 2 * dims[i] * KV_BLOCK, n_scales = 2 * kv_n_groups(dims[i]) * KV_BLOCK;
        uint8_t *q8 = allocate(n + n_scales * sizeof(float)), *q4 = allocate(n / 2 + n_scales * 2);
        float *got = allocate(n * sizeof *got), *want = allocate(n * sizeof *want);
        for (size_t j = 0; j < n; j++) q8[j] = (uint8_t)next_random(), q4[j / 2] = q8[j];
        for (size_t j = 0; j < n_scales; j++) {
            float scale = random_float();
            memcpy(q8 + n + j * sizeof scale, &scale, sizeof scale);
            uint16_t upper = f32_to_bf16(scale);
            memcpy(q4 + n / 2 + j * sizeof upper, &upper, sizeof upper);
        }
        for (size_t k = 1; kernels_at(k); k++) {
            kernels_scalar.expand_q8(q8, dims[i], want);
            kernels_at(k)->expand_q8(q8, dims[i], got);
            assert_same(got, want, n, kernels_at(k), "8-bit block");
            kernels_scalar.expand_q4(q4, dims[i], want);
            kernels_at(k)->expand_q4(q4, dims[i], got);
            assert_same(got, want, n, kernels_at(k), "4-bit block");
        }
        free(q8);
        free(q4);
        free(got);
        free(want);
    }
}

/* ---- Choice of a table ----------------------------------------------------------------------- */

static void test_tables_can_be_chosen_by_name(void **state) {
    (void)state;
    size_t n = 0;
    for (; kernels_at(n); n++) {
        setenv("OCTET_ISA", kernels_at(n)->name, 1);
        assert_ptr_equal(kernels_pick(), kernels_at(n));
    }
    assert_true(n >= 1);
    assert_ptr_equal(kernels_at(0), &kernels_scalar);
    setenv("OCTET_ISA", "nonsense", 1);
    assert_null(kernels_pick());
    setenv("OCTET_ISA", "", 1);
    assert_ptr_equal(kernels_pick(), kernels_at(n - 1));
    unsetenv("OCTET_ISA");
    assert_ptr_equal(kernels_pick(), kernels_at(n - 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_is_accurate),
        cmocka_unit_test(test_exp_at_its_edges),
        cmocka_unit_test(test_silu_and_gelu_are_accurate),
        cmocka_unit_test(test_element_functions_match),
        cmocka_unit_test(test_element_functions_keep_to_their_length),
        cmocka_unit_test(test_to_f16_matches),
        cmocka_unit_test(test_norms_match),
        cmocka_unit_test(test_norms_are_accurate),
        cmocka_unit_test(test_quantize_matches),
        cmocka_unit_test(test_quantize_marks_what_is_not_finite),
        cmocka_unit_test(test_products_match),
        cmocka_unit_test(test_long_products_match),
        cmocka_unit_test(test_products_of_many_tokens_match),
        cmocka_unit_test(test_product_is_that_of_the_decoded_weights),
        cmocka_unit_test(test_a_token_that_is_not_finite_spoils_only_itself),
        cmocka_unit_test(test_float_products_match),
        cmocka_unit_test(test_float_sums_keep_the_sign_of_zero),
        cmocka_unit_test(test_large_float_products_match),
        cmocka_unit_test(test_attend_matches),
        cmocka_unit_test(test_a_query_does_not_depend_on_its_company),
        cmocka_unit_test(test_attend_ignores_invisible_memory),
        cmocka_unit_test(test_attend_is_accurate),
        cmocka_unit_test(test_integer_blocks_expand_alike),
        cmocka_unit_test(test_tables_can_be_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
