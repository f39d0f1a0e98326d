/* Formats for weights that are -1, 0 or 1 times one scale per block: TQ1_0, TQ2_0. */
#include "quant/bits.h"
#include "quant/blocks.h"

/* The first N_DIGITS base-3 digits of each of n bytes, first digits first. A byte is the fraction
 * 0.digits times 256, rounded up; multiplying by 3 moves the next digit before the point. */
static void unpack_digits(const uint8_t *src, size_t n, size_t n_digits, int8_t *q) {
    unsigned power = 1;
    for (size_t digit = 0; digit < n_digits; digit++, power *= 3)
        for (size_t j = 0; j < n; j++) *q++ = (int8_t)((int)((src[j] * power & 255) * 3 >> 8) - 1);
}

void quant_unpack_tq1_0(const void *block, struct quant_block *out) {
    const struct block_tq1_0 *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    fill_groups(out, 16, 0);
    unpack_digits(b->qs, 32, 5, out->q);
    unpack_digits(b->qs + 32, 16, 5, out->q + 160);
    unpack_digits(b->qh, 4, 4, out->q + 240);
}

void quant_unpack_tq2_0(const void *block, struct quant_block *out) {
    const struct block_tq2_0 *b = block;
    out->d = load_f16(b->d);
    out->dmin = 0;
    fill_groups(out, 16, 0);
    for (size_t i = 0; i < 256; i++)
        out->q[i] = (int8_t)((b->qs[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1);
}

/* Digits of random bytes are about uniform: the deviation is sqrt(2/3). */
void quant_synth_tq1_0(void *block, float sigma) {
    struct block_tq1_0 *b = block;
    store_f16(b->d, sigma / 0.8164966f);
}

/* Code 3 stands for 2, which no quantiser writes; it becomes 1, for zero. That leaves half of the
 * elements zero. */
void quant_synth_tq2_0(void *block, float sigma) {
    struct block_tq2_0 *b = block;
    for (size_t i = 0; i < sizeof b->qs; i++)
        b->qs[i] = (uint8_t)(b->qs[i] & ~((b->qs[i] & 0x55) << 1));
    store_f16(b->d, sigma / 0.70710678f);
}
