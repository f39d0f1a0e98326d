/* See probe_loops.h: what the compiler makes of 16-byte vectors with the baseline instruction set.
 * Bytes are multiplied as 16-bit numbers, and nothing is fused. */
#include <stdint.h>

#define PROBE_LOOPS probe_loops_generic
#define PROBE_NAME "scalar"
#define PROBE_INT8 "16-bit multiplications"
#define PROBE_DOT_PRODUCTS 8
#if defined(__aarch64__)
#define PROBE_REGISTER "w"
#elif defined(__x86_64__)
#define PROBE_REGISTER "x"
#else
#define PROBE_REGISTER "m"
#endif

typedef uint16_t ints_t __attribute__((vector_size(16)));
typedef float floats_t __attribute__((vector_size(16)));

static inline ints_t dot(ints_t sum, ints_t a, ints_t b) { return sum + a * b; }
static inline floats_t fused(floats_t sum, floats_t a, floats_t b) { return sum * a + b; }

#include "base/probe_loops.h"
