/* Small steps that several families of formats share. Private to src/quant. */
#ifndef OCTET_QUANT_BITS_H
#define OCTET_QUANT_BITS_H

#include <string.h>

#include "base/half.h"
#include "quant/quant.h"

// Lattice points are handled as whole words and stored by memcpy.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "octet needs a little-endian machine");

static inline void store_f16(void *p, float f) {
    uint16_t h = f32_to_f16(f);
    memcpy(p, &h, sizeof h);
}

/* The low nibbles of n bytes to LOW and the high ones to HIGH, both less ZERO. */
static inline void split_nibbles(const uint8_t *src, size_t n, int zero, int8_t *low,
                                 int8_t *high) {
    for (size_t j = 0; j < n; j++) {
        low[j] = (int8_t)((src[j] & 15) - zero);
        high[j] = (int8_t)((src[j] >> 4) - zero);
    }
}

/* The same through a table of 16 values. */
static inline void look_up_nibbles(const uint8_t *src, size_t n, const int8_t *codebook,
                                   int8_t *low, int8_t *high) {
    for (size_t j = 0; j < n; j++) {
        low[j] = codebook[src[j] & 15];
        high[j] = codebook[src[j] >> 4];
    }
}

/* For formats without sub-scales: every scale 1 and every min MIN. */
static inline void fill_groups(struct quant_block *out, size_t n_groups, uint8_t min) {
    memset(out->scale, 1, n_groups);
    memset(out->min, min, n_groups);
}

/* Sub-scale and min of a group of 32 go to both its groups of 16. */
static inline void set_scale_32(struct quant_block *out, size_t group, int scale, int min) {
    out->scale[2 * group] = out->scale[2 * group + 1] = (int8_t)scale;
    out->min[2 * group] = out->min[2 * group + 1] = (uint8_t)min;
}

/* Eight lattice magnitudes (bytes 1..127), negated where bit j of SIGNS is set. */
static inline void store_signed_8(uint64_t magnitudes, unsigned signs, int8_t *q) {
    const uint64_t ones = 0x0101010101010101;
    // Byte j keeps bit j; adding 127 moves "any bit left" to the top of the byte without a carry.
    uint64_t bits = (signs & 255) * ones & 0x8040201008040201;
    uint64_t negative = (bits + 127 * ones) >> 7 & ones;
    // -v = ~v + 1 in each byte; as no magnitude is 0, no byte carries into the next.
    uint64_t word = (magnitudes ^ negative * 255) + negative;
    memcpy(q, &word, sizeof word);
}

#endif
