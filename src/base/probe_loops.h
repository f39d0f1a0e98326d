/* The inner loops behind probe_speeds: plain reads, int8 dot products and float multiply-adds, as
 * fast as one instruction set does them when nothing else limits it. Each probe_ISA.c defines its
 * vectors and includes this file; the loops are the same for all. */
#ifndef OCTET_BASE_PROBE_LOOPS_H
#define OCTET_BASE_PROBE_LOOPS_H

#include <stddef.h>
#include <stdint.h>

/* Ways to read: streams side by side, and how far ahead software prefetches (0: not). Which one is
 * the fastest depends on the machine's own prefetchers. */
#define PROBE_READ_LIST(X)                                                                         \
    X(1, 0)                                                                                        \
    X(1, 1024)                                                                                     \
    X(1, 2048)                                                                                     \
    X(1, 4096)                                                                                     \
    X(1, 8192)                                                                                     \
    X(2, 0)                                                                                        \
    X(2, 2048)                                                                                     \
    X(4, 0)                                                                                        \
    X(4, 512)                                                                                      \
    X(4, 2048)                                                                                     \
    X(8, 512)

#define PROBE_COUNT_ONE(n_streams, ahead) +1
enum { PROBE_N_READS = PROBE_READ_LIST(PROBE_COUNT_ONE) };

/* N_BYTES: a multiple of PROBE_READ_STEP; N_ROUNDS: not 0. The results keep the compiler from
 * leaving out work. */
enum { PROBE_READ_STEP = 64 * 1024 };

struct probe_loops {
    const char *name; // as the kernel tables are called
    const char *int8; // the instruction of its int8 dot products
    uint64_t (*reads[PROBE_N_READS])(const void *from, size_t n_bytes);
    uint64_t (*dots)(size_t n_rounds);
    uint64_t (*fmas)(size_t n_rounds);
    double ops_per_dot_round, ops_per_fma_round; // a multiply-add is 2
};

extern const struct probe_loops probe_loops_generic;
#if defined(__x86_64__)
extern const struct probe_loops probe_loops_avx2, probe_loops_avxvnni, probe_loops_avx512;
#elif defined(__aarch64__)
extern const struct probe_loops probe_loops_neon;
#endif

#endif

/* ---- The loops: ints_t, floats_t, dot, fused, PROBE_REGISTER and the names come from the includer
 */
#ifdef PROBE_LOOPS

/* N_CHAINS: what latency times throughput asks for, and no more than 16 registers hold. */
enum { N_CHAINS = 12, LINE = 64, READ_SUMS = LINE / sizeof(ints_t) * 2 };

/* Without it gcc keeps copies of the sums in memory. */
#define IN_REGISTER(value) __asm__ volatile("" : "+" PROBE_REGISTER(value))

static uint64_t fold(const void *p, size_t n_bytes) {
    const uint8_t *const bytes = p;
    uint64_t sum = 0;
    for (size_t i = 0; i < n_bytes; i++) sum = sum * 31 + bytes[i];
    return sum;
}

/* Checked reads would take the tests minutes, and the loop has no more than its bounds to check. */
#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

static inline __attribute__((always_inline)) UNCHECKED uint64_t
read_streams(const void *from, size_t n_bytes, size_t n_streams, size_t ahead) {
    const size_t stream = n_bytes / n_streams, step = READ_SUMS * sizeof(ints_t);
    ints_t sums[READ_SUMS] = {0};
    for (size_t at = 0; at < stream; at += step) {
        for (size_t s = 0; s < n_streams; s++) {
            const uint8_t *const p = (const uint8_t *)from + s * stream + at;
            for (size_t i = 0; ahead != 0 && i < step; i += LINE) {
                __builtin_prefetch(p + ahead + i, 0, 3);
            }
            const ints_t *const vectors = (const ints_t *)(const void *)p;
            for (size_t i = 0; i < READ_SUMS; i++) sums[i] ^= vectors[i];
        }
    }
    return fold(sums, sizeof sums);
}

#define READ_FUNCTION(n_streams, ahead)                                                            \
    UNCHECKED static uint64_t read_##n_streams##_##ahead(const void *from, size_t n_bytes) {       \
        return read_streams(from, n_bytes, n_streams, ahead);                                      \
    }
PROBE_READ_LIST(READ_FUNCTION)

/* One variable for each chain: of an array the compiler would keep a copy in memory. */
#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE_INTS(i) ints_t sum##i = {i + 1};
#define DECLARE_FLOATS(i) floats_t sum##i = {i + 1};
#define DOT(i)                                                                                     \
    sum##i = dot(sum##i, sum##i, b);                                                               \
    IN_REGISTER(sum##i);
#define FUSED(i)                                                                                   \
    sum##i = fused(sum##i, a, b);                                                                  \
    IN_REGISTER(sum##i);
#define ADD(i) total += sum##i;

/* A chain begins with a number of its own and multiplies its sum: no two chains are the same to the
 * compiler, and no two rounds. */
static uint64_t dots(size_t n_rounds) {
    ints_t b = {2}, total = {0};
    CHAINS(DECLARE_INTS)
    do {
        CHAINS(DOT)
    } while (--n_rounds > 0);
    CHAINS(ADD)
    return fold(&total, sizeof total);
}

/* Values that stay near 2: subnormals would be slow. */
static uint64_t fmas(size_t n_rounds) {
    floats_t a = {0}, b = {0}, total = {0};
    CHAINS(DECLARE_FLOATS)
    a += 0.5f;
    b += 1.0f;
    do {
        CHAINS(FUSED)
    } while (--n_rounds > 0);
    CHAINS(ADD)
    return fold(&total, sizeof total);
}

#define READ_NAME(n_streams, ahead) read_##n_streams##_##ahead,
const struct probe_loops PROBE_LOOPS = {
    .name = PROBE_NAME,
    .int8 = PROBE_INT8,
    .reads = {PROBE_READ_LIST(READ_NAME)},
    .dots = dots,
    .fmas = fmas,
    .ops_per_dot_round = 2.0 * N_CHAINS * PROBE_DOT_PRODUCTS,
    .ops_per_fma_round = 2.0 * N_CHAINS * sizeof(floats_t) / sizeof(float),
};
#endif
