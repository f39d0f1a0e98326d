/* Four-bit codes through a table of uneven steps, finer near zero: IQ4_NL and IQ4_XS. */
#include "quant/bits.h"
#include "quant/blocks.h"
#include "quant/grids.h"

const int8_t quant_iq4_codebook[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113};

void quant_unpack_iq4_nl(const void *block, struct quant_block *out) {
    const struct block_iq4_nl *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    fill_groups(out, 32 / QUANT_GROUP, 0);
    look_up_nibbles(b->qs, 16, quant_iq4_codebook, out->q, out->q + 16);
}

void quant_unpack_iq4_xs(const void *block, struct quant_block *out) {
    const struct block_iq4_xs *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    unsigned scales_h = load_u16(b->scales_h);
    for (size_t g = 0; g < 8; g++) {
        int low = b->scales_l[g / 2] >> 4 * (g % 2) & 15, high = (int)(scales_h >> 2 * g & 3);
        set_scale_32(out, g, (low | high << 4) - 32, 0);
        look_up_nibbles(b->qs + 16 * g, 16, quant_iq4_codebook, out->q + 32 * g,
                        out->q + 32 * g + 16);
    }
}

/* The divisors are the root mean squares of code, and of code times uniform sub-scale. */
void quant_synth_iq4_nl(void *block, float sigma) {
    struct block_iq4_nl *b = block;
    store_f16(b->d, sigma / 67.43886f);
}

void quant_synth_iq4_xs(void *block, float sigma) {
    struct block_iq4_xs *b = block;
    store_f16(b->d, sigma / 1246.251f);
}
