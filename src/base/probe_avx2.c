/* See probe_loops.h: AVX2. A sum of products of bytes takes at least a multiply-add of pairs and an
 * addition of its 16-bit results. */
#include <immintrin.h>

#define PROBE_LOOPS probe_loops_avx2
#define PROBE_NAME "avx2"
#define PROBE_INT8 "vpmaddubsw"
#define PROBE_REGISTER "x"
#define PROBE_DOT_PRODUCTS 32

typedef __m256i ints_t;
typedef __m256 floats_t;

static inline ints_t dot(ints_t sum, ints_t a, ints_t b) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b));
}

static inline floats_t fused(floats_t sum, floats_t a, floats_t b) {
    return _mm256_fmadd_ps(sum, a, b);
}

#include "base/probe_loops.h"
