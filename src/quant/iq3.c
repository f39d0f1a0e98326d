/* Three-bit lattice formats: as the two-bit ones, but a run of 8 is two points of 4. */
#include "quant/bits.h"
#include "quant/blocks.h"
#include "quant/grids.h"

static uint64_t join_points(uint32_t first, uint32_t second) {
    return first | (uint64_t)second << 32;
}

void quant_unpack_iq3_xxs(const void *block, struct quant_block *out) {
    const struct block_iq3_xxs *b = block;
    out->d = load_f16(b->d) * 0.25f; // (s + 1/2) / 2 = (2s + 1) / 4
    out->dmin = 0;
    for (size_t k = 0; k < 8; k++) {
        uint32_t signs = load_u32(b->sas[k]);
        set_scale_32(out, k, 2 * (int)(signs >> 28) + 1, 0);
        for (size_t l = 0; l < 4; l++) {
            const uint8_t *qs = b->qs + 8 * k + 2 * l;
            store_signed_8(join_points(quant_iq3xxs_grid[qs[0]], quant_iq3xxs_grid[qs[1]]),
                           quant_signs_from_7(signs >> 7 * l & 127), out->q + 32 * k + 8 * l);
        }
    }
}

void quant_unpack_iq3_s(const void *block, struct quant_block *out) {
    const struct block_iq3_s *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    for (size_t k = 0; k < 8; k++) {
        set_scale_32(out, k, 2 * (b->scales[k / 2] >> 4 * (k % 2) & 15) + 1, 0);
        for (size_t l = 0; l < 4; l++) {
            const uint8_t *qs = b->qs + 8 * k + 2 * l;
            unsigned high = b->qh[k] >> 2 * l;
            store_signed_8(join_points(quant_iq3s_grid[qs[0] | (high & 1) << 8],
                                       quant_iq3s_grid[qs[1] | (high & 2) << 7]),
                           b->signs[4 * k + l], out->q + 32 * k + 8 * l);
        }
    }
}

/* The divisors: the table's root mean square times sqrt(341) of a uniform 2s + 1 <= 31. */
void quant_synth_iq3_xxs(void *block, float sigma) {
    struct block_iq3_xxs *b = block;
    store_f16(b->d, sigma / 142.4143f);
}

void quant_synth_iq3_s(void *block, float sigma) {
    struct block_iq3_s *b = block;
    store_f16(b->d, sigma / 140.2359f);
}
