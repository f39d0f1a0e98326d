/* See probe_loops.h: NEON with dot products. */
#include <arm_neon.h>

#define PROBE_LOOPS probe_loops_neon
#define PROBE_NAME "neon"
#define PROBE_INT8 "sdot"
#define PROBE_REGISTER "w"
#define PROBE_DOT_PRODUCTS 16

typedef int32x4_t ints_t;
typedef float32x4_t floats_t;

static inline ints_t dot(ints_t sum, ints_t a, ints_t b) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
}

static inline floats_t fused(floats_t sum, floats_t a, floats_t b) { return vfmaq_f32(b, sum, a); }

#include "base/probe_loops.h"
