/* Lattice formats below two bits: points of -1, 0, 1, each run of 8 shifted by an eighth up or
 * down. Counting in eighths keeps the values integers. */
#include "quant/bits.h"
#include "quant/blocks.h"
#include "quant/grids.h"

static void store_shifted_8(uint64_t point, bool down, int8_t *q) {
    for (size_t j = 0; j < 8; j++) q[j] = (int8_t)((int8_t)(point >> 8 * j) * 8 + (down ? -1 : 1));
}

void quant_unpack_iq1_s(const void *block, struct quant_block *out) {
    const struct block_iq1_s *b = block;
    out->d = load_f16(b->d) * 0.125f;
    out->dmin = 0;
    for (size_t k = 0; k < 8; k++) {
        unsigned qh = load_u16(b->qh[k]);
        set_scale_32(out, k, 2 * (int)(qh >> 12 & 7) + 1, 0);
        for (size_t l = 0; l < 4; l++) {
            unsigned high = qh >> 3 * l & 7;
            store_shifted_8(quant_iq1s_grid[b->qs[4 * k + l] | high << 8], qh >> 15,
                            out->q + 32 * k + 8 * l);
        }
    }
}

void quant_unpack_iq1_m(const void *block, struct quant_block *out) {
    const struct block_iq1_m *b = block;
    unsigned d = 0;
    for (size_t i = 0; i < 4; i++) d |= (unsigned)(b->sc[i][1] >> 4) << 4 * i;
    out->d = f16_to_f32((uint16_t)d) * 0.125f;
    out->dmin = 0;
    memset(out->min, 0, sizeof out->min);
    for (size_t g = 0; g < 16; g++) {
        int s = load_u16(b->sc[g / 4]) >> 3 * (g % 4) & 7;
        out->scale[g] = (int8_t)(2 * s + 1);
    }
    for (size_t run = 0; run < 32; run++) {
        unsigned h = (unsigned)b->qh[run / 2] >> 4 * (run % 2);
        store_shifted_8(quant_iq1s_grid[b->qs[run] | (h & 7) << 8], h & 8, out->q + 8 * run);
    }
}

/* Root mean square, in eighths, of the points with their shifts (6.2472) times that of a uniform
 * 2s + 1 <= 15 (sqrt(85)), over 8. */
static const float deviation = 7.199527f;

void quant_synth_iq1_s(void *block, float sigma) {
    struct block_iq1_s *b = block;
    store_f16(b->d, sigma / deviation);
}

void quant_synth_iq1_m(void *block, float sigma) {
    struct block_iq1_m *b = block;
    unsigned d = f32_to_f16(sigma / deviation);
    for (size_t i = 0; i < 4; i++)
        b->sc[i][1] = (uint8_t)((b->sc[i][1] & 15) | (d >> 4 * i & 15) << 4);
}
