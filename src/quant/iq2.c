/* Two-bit lattice formats: runs of 8 magnitudes come from a table of points, signs are stored
 * apart. The scale (s + 1/2) / 4 is kept as the integers 2s + 1 and a d that is 8 times smaller. */
#include "quant/bits.h"
#include "quant/blocks.h"
#include "quant/grids.h"

void quant_unpack_iq2_xxs(const void *block, struct quant_block *out) {
    const struct block_iq2_xxs *b = block;
    out->d = load_f16(b->d) * 0.125f;
    out->dmin = 0;
    for (size_t k = 0; k < 8; k++) {
        uint32_t signs = load_u32(b->qs[k] + 4);
        set_scale_32(out, k, 2 * (int)(signs >> 28) + 1, 0);
        for (size_t l = 0; l < 4; l++)
            store_signed_8(quant_iq2xxs_grid[b->qs[k][l]],
                           quant_signs_from_7(signs >> 7 * l & 127), out->q + 32 * k + 8 * l);
    }
}

/* IQ2_XS, IQ2_S: a nibble for each group of 16. */
static void unpack_nibble_scales(const uint8_t *scales, struct quant_block *out) {
    memset(out->min, 0, sizeof out->min);
    for (size_t k = 0; k < 8; k++) {
        out->scale[2 * k] = (int8_t)(2 * (scales[k] & 15) + 1);
        out->scale[2 * k + 1] = (int8_t)(2 * (scales[k] >> 4) + 1);
    }
}

void quant_unpack_iq2_xs(const void *block, struct quant_block *out) {
    const struct block_iq2_xs *b = block;
    out->d = load_f16(b->d) * 0.125f;
    out->dmin = 0;
    unpack_nibble_scales(b->scales, out);
    for (size_t run = 0; run < 32; run++) {
        unsigned code = load_u16(b->qs[run]);
        store_signed_8(quant_iq2xs_grid[code & 511], quant_signs_from_7(code >> 9),
                       out->q + 8 * run);
    }
}

void quant_unpack_iq2_s(const void *block, struct quant_block *out) {
    const struct block_iq2_s *b = block;
    out->d = load_f16(b->d) * 0.125f;
    out->dmin = 0;
    unpack_nibble_scales(b->scales, out);
    for (size_t run = 0; run < 32; run++) {
        unsigned high = b->qh[run / 4] >> 2 * (run % 4) & 3;
        store_signed_8(quant_iq2s_grid[b->qs[run] | high << 8], b->signs[run], out->q + 8 * run);
    }
}

/* synth: the divisors are the root mean squares of d's factor for random bits: the table's, times
 * sqrt(341) of a uniform 2s + 1 <= 31, over 8. */

void quant_synth_iq2_xxs(void *block, float sigma) {
    struct block_iq2_xxs *b = block;
    store_f16(b->d, sigma / 53.36207f);
}

void quant_synth_iq2_xs(void *block, float sigma) {
    struct block_iq2_xs *b = block;
    store_f16(b->d, sigma / 55.90007f);
}

void quant_synth_iq2_s(void *block, float sigma) {
    struct block_iq2_s *b = block;
    store_f16(b->d, sigma / 56.39191f);
}
