/* The "K" family: super-blocks of 256 with integer sub-scales, Q2_K to Q6_K. The codes lie in
 * planes: one byte holds the same position of several groups, so that whole groups of 32 come out
 * of 32 bytes with one shift and one mask. */
#include "quant/bits.h"
#include "quant/blocks.h"

/* ---- unpack ---------------------------------------------------------------------------------- */

static void unpack_2_bit(const uint8_t *qs, int8_t *q) {
    for (size_t half = 0; half < 2; half++)
        for (size_t plane = 0; plane < 4; plane++, q += 32)
            for (size_t j = 0; j < 32; j++) q[j] = (int8_t)(qs[32 * half + j] >> 2 * plane & 3);
}

void quant_unpack_q2_k(const void *block, struct quant_block *out) {
    const struct block_q2_k *b = block;
    out->d = load_f16(b->d);
    out->dmin = load_f16(b->dmin);
    for (size_t g = 0; g < 16; g++) {
        out->scale[g] = (int8_t)(b->scales[g] & 15);
        out->min[g] = b->scales[g] >> 4;
    }
    unpack_2_bit(b->qs, out->q);
}

void quant_unpack_q3_k(const void *block, struct quant_block *out) {
    const struct block_q3_k *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    for (size_t g = 0; g < 16; g++) {
        int low = b->scales[g % 8] >> 4 * (g / 8) & 15;
        int high = b->scales[8 + g % 4] >> 2 * (g / 4) & 3;
        out->scale[g] = (int8_t)((low | high << 4) - 32);
        out->min[g] = 0;
    }
    unpack_2_bit(b->qs, out->q);
    for (size_t plane = 0; plane < 8; plane++)
        for (size_t j = 0; j < 32; j++) {
            int8_t *q = &out->q[32 * plane + j];
            *q = (int8_t)(*q + 4 * (b->hmask[j] >> plane & 1) - 4);
        }
}

/* The twelve bytes that Q4_K and Q5_K share: a scale and a min of 6 bits for each group of 32. */
static void unpack_6_bit_scales(const uint8_t *scales, struct quant_block *out) {
    for (size_t g = 0; g < 4; g++) {
        const uint8_t *top = scales + g; // bits 6, 7 of top[0], top[4] belong to group g + 4
        set_scale_32(out, g, top[0] & 63, top[4] & 63);
        set_scale_32(out, g + 4, (top[8] & 15) | top[0] >> 6 << 4, top[8] >> 4 | top[4] >> 6 << 4);
    }
}

static void unpack_4_bit(const uint8_t *qs, int8_t *q) {
    for (size_t k = 0; k < 4; k++) split_nibbles(qs + 32 * k, 32, 0, q + 64 * k, q + 64 * k + 32);
}

void quant_unpack_q4_k(const void *block, struct quant_block *out) {
    const struct block_q4_k *b = block;
    out->d = load_f16(b->d);
    out->dmin = load_f16(b->dmin);
    unpack_6_bit_scales(b->scales, out);
    unpack_4_bit(b->qs, out->q);
}

void quant_unpack_q5_k(const void *block, struct quant_block *out) {
    const struct block_q5_k *b = block;
    out->d = load_f16(b->d);
    out->dmin = load_f16(b->dmin);
    unpack_6_bit_scales(b->scales, out);
    unpack_4_bit(b->qs, out->q);
    for (size_t g = 0; g < 8; g++)
        for (size_t j = 0; j < 32; j++) {
            int8_t *q = &out->q[32 * g + j];
            *q = (int8_t)(*q + 16 * (b->qh[j] >> g & 1));
        }
}

void quant_unpack_q6_k(const void *block, struct quant_block *out) {
    const struct block_q6_k *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    memcpy(out->scale, b->scales, sizeof b->scales);
    memset(out->min, 0, sizeof out->min);
    int8_t *q = out->q;
    for (size_t half = 0; half < 2; half++)
        for (size_t plane = 0; plane < 4; plane++, q += 32) {
            const uint8_t *ql = b->ql + 64 * half + 32 * (plane % 2), *qh = b->qh + 32 * half;
            for (size_t j = 0; j < 32; j++) {
                int low = ql[j] >> 4 * (plane / 2) & 15, high = qh[j] >> 2 * plane & 3;
                q[j] = (int8_t)((low | high << 4) - 32);
            }
        }
}

/* ---- synth ----
 *
 * The divisors are the deviations of the integer part, sub-scale times centred code, both uniform.
 * Where a min is subtracted, sub-scales are kept in their upper half and mins made equal to them:
 * then dmin = middle code * d centres every group. */

static void synth_centred(uint8_t *d, uint8_t *dmin, float step, float middle) {
    store_f16(d, step);
    store_f16(dmin, middle * load_f16(d)); // of the step as it was rounded
}

void quant_synth_q2_k(void *block, float sigma) {
    struct block_q2_k *b = block;
    for (size_t g = 0; g < 16; g++) b->scales[g] = (uint8_t)(((b->scales[g] & 15) | 8) * 0x11);
    synth_centred(b->d, b->dmin, sigma / 13.11011f, 1.5f);
}

void quant_synth_q3_k(void *block, float sigma) {
    struct block_q3_k *b = block;
    store_f16(b->d, sigma / 43.33878f);
}

static void synth_6_bit_scales(uint8_t *scales) {
    for (size_t g = 0; g < 4; g++) {
        scales[g] |= 0xa0; // top bits of the scales of groups g and g + 4
        scales[g + 4] = scales[g];
        scales[g + 8] = (uint8_t)((scales[g + 8] & 15) * 0x11);
    }
}

void quant_synth_q4_k(void *block, float sigma) {
    struct block_q4_k *b = block;
    synth_6_bit_scales(b->scales);
    synth_centred(b->d, b->dmin, sigma / 223.0625f, 7.5f);
}

void quant_synth_q5_k(void *block, float sigma) {
    struct block_q5_k *b = block;
    synth_6_bit_scales(b->scales);
    synth_centred(b->d, b->dmin, sigma / 446.7806f, 15.5f);
}

void quant_synth_q6_k(void *block, float sigma) {
    struct block_q6_k *b = block;
    store_f16(b->d, sigma / 1365.687f);
}
