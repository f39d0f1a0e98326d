/* See probe_loops.h: AVX-512 with VNNI. */
#include <immintrin.h>

#define PROBE_LOOPS probe_loops_avx512
#define PROBE_NAME "avx512"
#define PROBE_INT8 "vpdpbusd zmm"
#define PROBE_REGISTER "v"
#define PROBE_DOT_PRODUCTS 64

typedef __m512i ints_t;
typedef __m512 floats_t;

static inline ints_t dot(ints_t sum, ints_t a, ints_t b) { return _mm512_dpbusd_epi32(sum, a, b); }

static inline floats_t fused(floats_t sum, floats_t a, floats_t b) {
    return _mm512_fmadd_ps(sum, a, b);
}

#include "base/probe_loops.h"
