/* Compares every kernel table this machine can run with the scalar one, bit for bit. Needs nothing
 * but the C library and src/kernels, src/quant, src/base/mem.c and status.c, so that a static
 * aarch64 build runs under an emulator, where the test library is not at hand. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kernels.h"

static uint64_t state = 1;
static size_t n_passed, n_failed;
static const struct kernels *tested;

static uint32_t random_u32(void) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 32);
}
static float random_float(void) { return (float)(int32_t)random_u32() * 0x1p-30f; }
static size_t below(size_t n) { return random_u32() % n; }

static void *make(size_t n_bytes) {
    void *p = NULL;
    if (posix_memalign(&p, 64, n_bytes + 64) != 0) exit(1);
    memset(p, 0, n_bytes + 64);
    return p;
}

static float *make_floats(size_t n, float scale) {
    float *p = make(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = random_float() * scale;
    return p;
}

/* A NaN equals any other: neither its sign nor its payload means anything. */
static bool same_floats(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (f32_to_bits(a[i]) != f32_to_bits(b[i]) && !(a[i] != a[i] && b[i] != b[i])) return false;
    return true;
}

static void report(bool ok, const char *what, const char *detail, size_t a, size_t b, size_t c) {
    if (ok)
        n_passed++;
    else
        n_failed++;
    if (!ok) printf("%s: %s %s %zu %zu %zu differs\n", tested->name, what, detail, a, b, c);
}

static void make_act(const float *x, size_t n, size_t k, uint32_t block, const struct kernels *with,
                     struct act *a) {
    *a = (struct act){.n = n,
                      .k = k,
                      .block = block,
                      .q = make(n * k),
                      .d = make(n * (k / block) * sizeof(float)),
                      .bsum = make(n * (k / 16) * sizeof(int16_t))};
    for (size_t i = 0; i < n; i++) with->quantize(x + i * k, i, a);
}

static void free_act(struct act *a) {
    free(a->q);
    free(a->d);
    free(a->bsum);
}

static void check_quantize(uint32_t block) {
    size_t n = 8, k = 512;
    float *x = make_floats(n * k, 3);
    x[7] = NAN;
    x[k + 3] = -INFINITY;
    for (size_t i = 0; i < k; i++) x[2 * k + i] = 0, x[3 * k + i] *= 1e-32f, x[4 * k + i] *= 1e37f;
    for (size_t i = 0; i < k; i++) x[5 * k + i] = (float)((int)below(255) - 127) * 0.5f;
    struct act a, b;
    make_act(x, n, k, block, &kernels_scalar, &a);
    make_act(x, n, k, block, tested, &b);
    bool same = memcmp(a.q, b.q, n * k) == 0 && same_floats(a.d, b.d, n * (k / block)) &&
                memcmp(a.bsum, b.bsum, n * (k / 16) * sizeof *a.bsum) == 0;
    report(same, "quantize", "", block, 0, 0);
    free_act(&a);
    free_act(&b);
    free(x);
}

/* n elements: any bytes if HOSTILE, otherwise well-formed weights. */
static uint8_t *make_weights(const struct quant_type *type, size_t n, bool hostile) {
    size_t n_bytes = quant_row_bytes(type, n);
    uint8_t *w = make(n_bytes);
    for (size_t i = 0; i < n_bytes; i++) w[i] = (uint8_t)random_u32();
    if (hostile && below(2)) memset(w, below(2) ? 0x80 : 0xff, n_bytes);
    for (size_t i = 0; !hostile && i < n / type->block_elems; i++) {
        float f = random_float();
        uint32_t bits = f32_to_bits(f);
        uint16_t half = type->id == QUANT_F16 ? f32_to_f16(f) : (uint16_t)(bits >> 16);
        if (type->synth)
            type->synth(w + i * type->block_bytes, 0.5f);
        else if (type->id == QUANT_F32)
            memcpy(w + 4 * i, &bits, sizeof bits);
        else
            memcpy(w + 2 * i, &half, sizeof half);
    }
    return w;
}

static void check_matmul(const struct quant_type *type, size_t n_rows, size_t n, size_t n_blocks,
                         bool hostile) {
    bool is_float = type->unpack == NULL;
    size_t k = is_float ? n_blocks : n_blocks * type->block_elems, ldy = n_rows + below(3);
    uint8_t *w = make_weights(type, n_rows * k, hostile);
    float *x = make_floats(n * k, 2), *y[2];
    if (hostile && !is_float)
        for (size_t i = 0; i < n * k; i++) x[i] = below(2) ? 1 : -1;
    void *scratch = make(matmul_scratch_bytes(k));
    const struct kernels *tables[2] = {&kernels_scalar, tested};
    for (int i = 0; i < 2; i++) {
        y[i] = make(n * ldy * sizeof(float));
        memset(y[i], 0x55, n * ldy * sizeof(float));
        if (is_float) {
            tables[i]->matmul_float(type, w, n_rows, x, n, k, y[i], ldy, scratch);
            continue;
        }
        struct act a;
        make_act(x, n, k, type->block_elems, &kernels_scalar, &a);
        kernels_multiply(tables[i], type, w, n_rows, &a, y[i], ldy, scratch);
        free_act(&a);
    }
    report(same_floats(y[0], y[1], n * ldy), hostile ? "hostile matmul" : "matmul", type->name,
           n_rows, n, k);
    free(y[0]);
    free(y[1]);
    free(scratch);
    free(x);
    free(w);
}

static void check_all_matmuls(const struct quant_type *type) {
    static const size_t n_rows[] = {1, 3, 8, 9, 16, 21};
    for (size_t r = 0; r < sizeof n_rows / sizeof *n_rows; r++)
        for (size_t n = 1; n <= 13; n += n < 6 ? 1 : 2)
            check_matmul(type, n_rows[r], n, type->unpack ? 1 + below(6) : 1 + below(200),
                         below(4) == 0);
    check_matmul(type, 8, 9, type->unpack ? 2048 / type->block_elems * 3 : 1000, false);
}

/* Each function of one vector, for one length. */
static void check_vectors(size_t n, float scale) {
    enum { N_FUNCTIONS = 7 };
    static const char *const names[N_FUNCTIONS] = {"rms_norm", "layer_norm", "silu_mul", "gelu",
                                                   "add",      "axpy",       "to_f16"};
    float *x = make_floats(n, scale), *g = make_floats(n, 1), *b = make_floats(n, 1);
    static const float special[] = {0,     -0.0f, INFINITY, -INFINITY, NAN,   1e-40f, -87.0f,
                                    88.0f, 65504, 65520,    1e-7f,     6e-8f, -88.5f, 3e38f};
    if (scale > 100)
        for (size_t i = 0; i < n; i++)
            if (below(8) == 0) x[i] = special[below(sizeof special / sizeof *special)];
    for (int f = 0; f < N_FUNCTIONS; f++) {
        float *y[2];
        for (int i = 0; i < 2; i++) {
            const struct kernels *with = i ? tested : &kernels_scalar;
            y[i] = make((n + 1) * sizeof(float));
            memcpy(y[i], f == 4 || f == 5 ? g : x, n * sizeof(float));
            switch (f) {
            case 0:
                with->rms_norm(x, g, n, 1e-5f, y[i]);
                break;
            case 1:
                with->layer_norm(x, g, b, n, 1e-5f, y[i]);
                break;
            case 2:
                with->silu_mul(y[i], g, n);
                break;
            case 3:
                with->gelu(y[i], n);
                break;
            case 4:
                with->add(y[i], x, n);
                break;
            case 5:
                with->axpy(y[i], 0.3f, x, n);
                break;
            default:
                with->to_f16(x, (uint16_t *)(void *)y[i], n);
                break;
            }
        }
        bool same = f == 6 ? memcmp(y[0], y[1], (n + 1) * sizeof(float)) == 0
                           : same_floats(y[0], y[1], n + 1);
        report(same, names[f], "", n, (size_t)scale, 0);
        free(y[0]);
        free(y[1]);
    }
    free(x);
    free(g);
    free(b);
}

struct folded {
    float *m, *l, *o;
};

/* Folds two blocks; what no query sees is NaN. */
static void run_attend(const struct kernels *with, const struct attend *shape, const float *k_t,
                       const float *v, bool f32, const int32_t *lo, const int32_t *hi,
                       struct folded *out) {
    size_t n = shape->n, size = shape->head_dim * KV_BLOCK;
    struct attend a = *shape;
    out->m = a.m = make(n * sizeof(float));
    out->l = a.l = make(n * sizeof(float));
    out->o = a.o = make(n * a.head_dim * sizeof(float));
    a.scores = make(n * KV_BLOCK * sizeof(float));
    for (size_t i = 0; i < n; i++) a.m[i] = -INFINITY;
    uint16_t *half = make(2 * size * sizeof *half);
    for (size_t i = 0; i < 2; i++) {
        kernels_scalar.to_f16(k_t + i * size, half, size);
        kernels_scalar.to_f16(v + i * size, half + size, size);
        if (f32)
            with->attend(&a, k_t + i * size, v + i * size, true, lo + i * n, hi + i * n);
        else
            with->attend(&a, half, half + size, false, lo + i * n, hi + i * n);
    }
    free(half);
    free(a.scores);
}

/* Integer blocks of a cache: any codes, scales in order. */
static void check_expand(size_t head_dim) {
    size_t n = 2 * head_dim * KV_BLOCK, n_scales = 2 * kv_n_groups(head_dim) * KV_BLOCK;
    float *scales = make_floats(n_scales, 1),
          *y[2] = {make(n * sizeof(float)), make(n * sizeof(float))};
    uint8_t *q8 = make(n + n_scales * sizeof(float)), *q4 = make(n / 2 + n_scales * 2);
    for (size_t i = 0; i < n; i++) q8[i] = q4[i / 2] = (uint8_t)random_u32();
    memcpy(q8 + n, scales, n_scales * sizeof(float));
    for (size_t i = 0; i < n_scales; i++) {
        uint16_t upper = f32_to_bf16(scales[i]);
        memcpy(q4 + n / 2 + i * sizeof upper, &upper, sizeof upper);
    }
    kernels_scalar.expand_q8(q8, head_dim, y[0]);
    tested->expand_q8(q8, head_dim, y[1]);
    report(same_floats(y[0], y[1], n), "expand_q8", "", head_dim, 0, 0);
    kernels_scalar.expand_q4(q4, head_dim, y[0]);
    tested->expand_q4(q4, head_dim, y[1]);
    report(same_floats(y[0], y[1], n), "expand_q4", "", head_dim, 0, 0);
    free(scales);
    free(y[0]);
    free(y[1]);
    free(q8);
    free(q4);
}

static void check_attend(size_t n, size_t head_dim, bool f32, bool all_visible) {
    size_t size = head_dim * KV_BLOCK;
    float *q = make_floats(n * head_dim, 0.3f);
    float *k_t = make_floats(2 * size, 1), *v = make_floats(2 * size, 1);
    int32_t *lo = make(2 * n * sizeof *lo), *hi = make(2 * n * sizeof *hi);
    for (size_t i = 0; i < 2 * n; i++) {
        bool repeat = i % n > 0 && below(2);
        lo[i] = all_visible ? 0 : repeat ? lo[i - 1] : (int32_t)below(30);
        hi[i] = all_visible ? KV_BLOCK : repeat ? hi[i - 1] : (int32_t)below(62);
    }
    for (size_t b = 0; b < 2 && !all_visible; b++)
        for (size_t d = 0; d < head_dim; d++)
            for (size_t j = 62; j < KV_BLOCK; j++)
                k_t[b * size + d * KV_BLOCK + j] = v[b * size + j * head_dim + d] = NAN;
    struct attend shape = {.n = n, .head_dim = head_dim, .q = q};
    struct folded out[2];
    run_attend(&kernels_scalar, &shape, k_t, v, f32, lo, hi, &out[0]);
    run_attend(tested, &shape, k_t, v, f32, lo, hi, &out[1]);
    bool same = same_floats(out[0].m, out[1].m, n) && same_floats(out[0].l, out[1].l, n) &&
                same_floats(out[0].o, out[1].o, n * head_dim);
    for (size_t i = 0; i < n * head_dim; i++) same = same && out[1].o[i] == out[1].o[i];
    report(same, f32 ? "attend f32" : "attend f16", all_visible ? "all" : "", n, head_dim, 0);
    for (int i = 0; i < 2; i++) {
        free(out[i].m);
        free(out[i].l);
        free(out[i].o);
    }
    free(q);
    free(k_t);
    free(v);
    free(lo);
    free(hi);
}

int main(void) {
    size_t n_tables = 1;
    for (; (tested = kernels_at(n_tables)) != NULL; n_tables++) {
        check_quantize(32);
        check_quantize(256);
        for (size_t i = 0; quant_at(i); i++) check_all_matmuls(quant_at(i));
        for (size_t n = 1; n < 70; n++) {
            check_vectors(n, 1);
            check_vectors(n, 200);
        }
        static const size_t dims[] = {2, 6, 8, 18, 64, 80, 96, 128, 256, 512};
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) check_expand(dims[d]);
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (size_t n = 1; n < 11; n++) {
                check_attend(n, dims[d], n % 2 == 0, n % 3 == 0);
                check_attend(n, dims[d], n % 2 == 1, n % 3 == 1);
            }
    }
    printf("%zu tables compared: %zu passed, %zu failed\n", n_tables - 1, n_passed, n_failed);
    return n_failed > 0 || n_tables < 2;
}
