/* See probe_loops.h: AVX2 with the dot products of AVX-VNNI. */
#include <immintrin.h>

#define PROBE_LOOPS probe_loops_avxvnni
#define PROBE_NAME "avxvnni"
#define PROBE_INT8 "vpdpbusd ymm"
#define PROBE_REGISTER "x"
#define PROBE_DOT_PRODUCTS 32

typedef __m256i ints_t;
typedef __m256 floats_t;

static inline ints_t dot(ints_t sum, ints_t a, ints_t b) {
    return _mm256_dpbusd_avx_epi32(sum, a, b);
}

static inline floats_t fused(floats_t sum, floats_t a, floats_t b) {
    return _mm256_fmadd_ps(sum, a, b);
}

#include "base/probe_loops.h"
