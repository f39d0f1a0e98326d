/* MXFP4: four-bit floats that share a power of two, without any other scale. */
#include <math.h>

#include "quant/bits.h"
#include "quant/blocks.h"
#include "quant/grids.h"

/* Twice the values of E2M1; the scale is half of the stored one in return. */
const int8_t quant_mxfp4_codebook[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e-128). The two smallest are subnormal: below the exponent field, one bit of mantissa. */
static float scale_from_exponent(unsigned e) {
    if (e == 255) return NAN;
    return f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

void quant_unpack_mxfp4(const void *block, struct quant_block *out) {
    const struct block_mxfp4 *b = block;
    out->d = scale_from_exponent(b->e);
    out->dmin = 0;
    fill_groups(out, 32 / QUANT_GROUP, 0);
    look_up_nibbles(b->qs, 16, quant_mxfp4_codebook, out->q, out->q + 16);
}

/* Scales are powers of two, so a block takes the one below or the one above the wanted value, at
 * random (the random byte found in e) and in the proportion that gives SIGMA over many blocks. */
void quant_synth_mxfp4(void *block, float sigma) {
    struct block_mxfp4 *b = block;
    uint32_t bits = f32_to_bits(sigma / 5.85235f); // root mean square of the codes
    float mantissa = f32_from_bits((bits & 0x007fffff) | 0x3f800000);
    uint32_t e = (bits >> 23 & 255) + 1;
    if ((float)b->e < 256.0f / 3.0f * (mantissa * mantissa - 1.0f)) e++;
    b->e = (uint8_t)(e < 254 ? e : 254);
}
