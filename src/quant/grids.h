/* Tables that define the codebook and lattice formats, in the magnitudes they stand for. */
#ifndef OCTET_QUANT_GRIDS_H
#define OCTET_QUANT_GRIDS_H

#include <stdint.h>

/* Values of the 4-bit codes. MXFP4 is stored doubled, so that all its values are integers. */
extern const int8_t quant_iq4_codebook[16];
extern const int8_t quant_mxfp4_codebook[16];

/* Points of 8 or 4 bytes, the first element in the lowest byte. IQ2, IQ3: magnitudes, never 0, to
 * which a format adds signs. IQ1: signed bytes -1, 0, 1. */
extern const uint64_t quant_iq2xxs_grid[256];
extern const uint64_t quant_iq2xs_grid[512];
extern const uint64_t quant_iq2s_grid[1024];
extern const uint32_t quant_iq3xxs_grid[256];
extern const uint32_t quant_iq3s_grid[512];
extern const uint64_t quant_iq1s_grid[2048];

/* IQ2_XXS, IQ2_XS and IQ3_XXS store 7 of 8 signs; the eighth makes the number of ones even. */
static inline unsigned quant_signs_from_7(unsigned bits) {
    return bits | (unsigned)__builtin_parity(bits) << 7;
}

#endif
