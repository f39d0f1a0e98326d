/* How fast one thread multiplies: GB/s of weights for one token (decoding), read from memory and
 * from the second-level cache, and Gop/s for many (reading a prompt), per kernel table and format,
 * on synthetic weights.
 *
 *     kernels [table] [format]     no table: the best one; no format: all */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

enum { SIDE = 4096, MAX_TOKENS = 512 };

static const size_t matrix_bytes = (size_t)512 << 20, cached_bytes = (size_t)256 << 10;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void *allocate(size_t n_bytes) {
    void *p = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "kernels: out of memory for %zu bytes\n", n_bytes);
        exit(1);
    }
    return p;
}

static uint8_t *make_weights(const struct quant_type *type, size_t n_bytes) {
    uint8_t *w = allocate(n_bytes);
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i + 8 <= n_bytes; i += 8) {
        uint64_t r = next_random(&state);
        memcpy(w + i, &r, 8);
    }
    for (size_t i = 0; i + type->block_bytes <= n_bytes; i += type->block_bytes) {
        uint8_t *top = w + i + type->block_bytes - 1;
        if (type->synth)
            type->synth(w + i, 0.02f);
        else
            *top = (uint8_t)((*top & 0x83) | 0x3c); // a float near 1: subnormals would be slow
    }
    return w;
}

struct problem {
    const struct kernels *kernels;
    const struct quant_type *type;
    uint8_t *w;
    float *x, *y;
    struct act act;
    void *scratch;
};

static void multiply(struct problem *p, size_t n_rows, size_t n) {
    if (p->type->unpack) {
        p->act.n = n;
        kernels_multiply(p->kernels, p->type, p->w, n_rows, &p->act, p->y, n_rows, p->scratch);
    } else {
        p->kernels->matmul_float(p->type, p->w, n_rows, p->x, n, SIDE, p->y, n_rows, p->scratch);
    }
}

/* Best of several runs, about a third of a second of them. */
static double best_time(struct problem *p, size_t n_rows, size_t n) {
    double best = 1e9, start = seconds();
    for (size_t run = 0; run < 500 && (run < 2 || seconds() - start < 0.3); run++) {
        double begin = seconds();
        multiply(p, n_rows, n);
        double taken = seconds() - begin;
        if (taken < best) best = taken;
    }
    return best;
}

static void measure(const struct kernels *kernels, const struct quant_type *type) {
    size_t row_bytes = quant_row_bytes(type, SIDE), n_rows = matrix_bytes / row_bytes;
    size_t block = type->unpack ? type->block_elems : SIDE, n_blocks = SIDE / block;
    size_t n_out = n_rows > (size_t)SIDE * MAX_TOKENS ? n_rows : (size_t)SIDE * MAX_TOKENS;
    struct problem p = {.kernels = kernels, .type = type};
    p.w = make_weights(type, n_rows * row_bytes);
    p.x = allocate(sizeof(float) * SIDE * MAX_TOKENS);
    p.y = allocate(sizeof(float) * n_out);
    p.scratch = allocate(matmul_scratch_bytes(SIDE));
    p.act = (struct act){.n = MAX_TOKENS,
                         .k = SIDE,
                         .block = (uint32_t)block,
                         .q = allocate((size_t)SIDE * MAX_TOKENS),
                         .d = allocate(sizeof(float) * n_blocks * MAX_TOKENS),
                         .bsum = allocate(sizeof(int16_t) * (SIDE / QUANT_GROUP) * MAX_TOKENS)};
    uint64_t state = 1;
    for (size_t i = 0; i < (size_t)SIDE * MAX_TOKENS; i++)
        p.x[i] = (float)(int32_t)next_random(&state) * 0x1p-31f;
    if (type->unpack)
        for (size_t t = 0; t < MAX_TOKENS; t++) kernels->quantize(p.x + t * SIDE, t, &p.act);

    size_t n_cached = cached_bytes / row_bytes;
    printf("%-8s %-8s %6.1f %6.1f GB/s", kernels->name, type->name,
           (double)(n_rows * row_bytes) / best_time(&p, n_rows, 1) * 1e-9,
           (double)(n_cached * row_bytes) / best_time(&p, n_cached, 1) * 1e-9);
    static const size_t counts[] = {2, 4, 8, 16, 64, MAX_TOKENS};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        double taken = best_time(&p, SIDE, counts[i]);
        printf("  %6.1f", 2.0 * SIDE * SIDE * (double)counts[i] / taken * 1e-9);
    }
    printf(" Gop/s\n");
    fflush(stdout);
    free(p.w);
    free(p.x);
    free(p.y);
    free(p.scratch);
    free(p.act.q);
    free(p.act.d);
    free(p.act.bsum);
}

int main(int argc, char **argv) {
    const struct kernels *kernels = kernels_pick();
    for (size_t i = 0; argc > 1 && kernels_at(i); i++)
        if (strcmp(kernels_at(i)->name, argv[1]) == 0) kernels = kernels_at(i);
    if (!kernels || (argc > 1 && strcmp(kernels->name, argv[1]) != 0) ||
        (argc > 2 && !quant_by_name(argv[2]))) {
        fprintf(stderr, "usage: kernels [table] [format]\n");
        return 2;
    }
    printf(
        "one thread, rows of %d; GB/s for 1 token from memory and from cache, Gop/s for 2, 4, 8, "
        "16, 64, %d tokens\n",
        SIDE, MAX_TOKENS);
    for (size_t i = 0; quant_at(i); i++)
        if (argc <= 2 || quant_at(i) == quant_by_name(argv[2])) measure(kernels, quant_at(i));
    return 0;
}
