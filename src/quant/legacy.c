/* Blocks of 32 elements with one or two float scales and no sub-scales: Q4_0, Q4_1, Q5_0, Q5_1,
 * Q8_0. Small models, whose rows are no multiple of 256, consist of these. */
#include "quant/bits.h"
#include "quant/blocks.h"

enum { N_GROUPS = 32 / QUANT_GROUP };

static void add_high_bits(uint32_t qh, int8_t *q) {
    for (size_t i = 0; i < 32; i++) q[i] = (int8_t)(q[i] + (int)(qh >> i & 1) * 16);
}

void quant_unpack_q4_0(const void *block, struct quant_block *out) {
    const struct block_q4_0 *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    fill_groups(out, N_GROUPS, 0);
    split_nibbles(b->qs, 16, 8, out->q, out->q + 16);
}

void quant_unpack_q4_1(const void *block, struct quant_block *out) {
    const struct block_q4_1 *b = block;
    out->d = load_f16(b->d);
    out->dmin = -load_f16(b->m);
    fill_groups(out, N_GROUPS, 1);
    split_nibbles(b->qs, 16, 0, out->q, out->q + 16);
}

void quant_unpack_q5_0(const void *block, struct quant_block *out) {
    const struct block_q5_0 *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    fill_groups(out, N_GROUPS, 0);
    split_nibbles(b->qs, 16, 16, out->q, out->q + 16);
    add_high_bits(load_u32(b->qh), out->q);
}

void quant_unpack_q5_1(const void *block, struct quant_block *out) {
    const struct block_q5_1 *b = block;
    out->d = load_f16(b->d);
    out->dmin = -load_f16(b->m);
    fill_groups(out, N_GROUPS, 1);
    split_nibbles(b->qs, 16, 0, out->q, out->q + 16);
    add_high_bits(load_u32(b->qh), out->q);
}

void quant_unpack_q8_0(const void *block, struct quant_block *out) {
    const struct block_q8_0 *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    fill_groups(out, N_GROUPS, 0);
    memcpy(out->q, b->qs, sizeof b->qs);
}

/* synth: n random codes are uniform, with the deviation sqrt((n^2 - 1) / 12). */

static const float deviation_4_bit = 4.609772f, deviation_5_bit = 9.233093f,
                   deviation_8_bit = 73.90027f;

void quant_synth_q4_0(void *block, float sigma) {
    struct block_q4_0 *b = block;
    store_f16(b->d, sigma / deviation_4_bit);
}

/* The middle of the codes becomes 0, with the step as it was rounded. */
static void synth_affine(uint8_t *d, uint8_t *m, float step, float middle) {
    store_f16(d, step);
    store_f16(m, -middle * load_f16(d));
}

void quant_synth_q4_1(void *block, float sigma) {
    struct block_q4_1 *b = block;
    synth_affine(b->d, b->m, sigma / deviation_4_bit, 7.5f);
}

void quant_synth_q5_0(void *block, float sigma) {
    struct block_q5_0 *b = block;
    store_f16(b->d, sigma / deviation_5_bit);
}

void quant_synth_q5_1(void *block, float sigma) {
    struct block_q5_1 *b = block;
    synth_affine(b->d, b->m, sigma / deviation_5_bit, 15.5f);
}

void quant_synth_q8_0(void *block, float sigma) {
    struct block_q8_0 *b = block;
    store_f16(b->d, sigma / deviation_8_bit);
}
