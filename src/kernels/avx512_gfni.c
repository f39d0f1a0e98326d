/* The kernels of avx512.c for cores that have GFNI and VBMI, too: Ice Lake, Zen 4 and what came
 * after them. Where avx512_formats.h moves or looks up bits of bytes, one instruction does what
 * otherwise takes two. */
#define KERNELS kernels_avx512_gfni
#define KERNELS_NAME "avx512-gfni"
#include "kernels/avx512.c"
