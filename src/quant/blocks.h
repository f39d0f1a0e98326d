/* Layout of every quantised block, for the unpackers and for kernels that read blocks directly.
 *
 * All fields are bytes, so that a block may lie at any address; 16- and 32-bit fields are
 * little-endian (load_u16, load_u32, load_f16). In the formulas i is the index of an element, lo
 * and hi are the nibbles of a byte, and g is i / 16 or i / 32, a group that shares a sub-scale. */
#ifndef OCTET_QUANT_BLOCKS_H
#define OCTET_QUANT_BLOCKS_H

#include "quant/quant.h"

/* ---- 32 elements, no sub-scales: nibble of element i is in byte i % 16, low for i < 16 ------- */

/* x = d * (nibble - 8); 4.5 bits per weight */
struct block_q4_0 {
    uint8_t d[2]; // f16
    uint8_t qs[16];
};
_Static_assert(sizeof(struct block_q4_0) == 18, "Q4_0");

/* x = d * nibble + m; 5 bits per weight */
struct block_q4_1 {
    uint8_t d[2], m[2]; // f16
    uint8_t qs[16];
};
_Static_assert(sizeof(struct block_q4_1) == 20, "Q4_1");

/* x = d * ((nibble | bit i of qh << 4) - 16); 5.5 bits per weight */
struct block_q5_0 {
    uint8_t d[2];  // f16
    uint8_t qh[4]; // u32
    uint8_t qs[16];
};
_Static_assert(sizeof(struct block_q5_0) == 22, "Q5_0");

/* x = d * (nibble | bit i of qh << 4) + m; 6 bits per weight */
struct block_q5_1 {
    uint8_t d[2], m[2]; // f16
    uint8_t qh[4];      // u32
    uint8_t qs[16];
};
_Static_assert(sizeof(struct block_q5_1) == 24, "Q5_1");

/* x = d * qs[i]; 8.5 bits per weight */
struct block_q8_0 {
    uint8_t d[2]; // f16
    int8_t qs[32];
};
_Static_assert(sizeof(struct block_q8_0) == 34, "Q8_0");

/* x = d * quant_iq4_codebook[nibble]; 4.5 bits per weight */
struct block_iq4_nl {
    uint8_t d[2]; // f16
    uint8_t qs[16];
};
_Static_assert(sizeof(struct block_iq4_nl) == 18, "IQ4_NL");

/* x = 2^(e-128) * quant_mxfp4_codebook[nibble]; 4.25 bits per weight. e = 255 means NaN. */
struct block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
};
_Static_assert(sizeof(struct block_mxfp4) == 17, "MXFP4");

/* ---- 256 elements ---------------------------------------------------------------------------- */

/* x = d * lo(scales[g]) * q - dmin * hi(scales[g]), g = i / 16; 2.625 bits per weight.
 * q: element 128 h + 32 p + j is bits 2p, 2p+1 of qs[32 h + j]. */
struct block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint8_t d[2], dmin[2]; // f16
};
_Static_assert(sizeof(struct block_q2_k) == 84, "Q2_K");

/* x = d * (sc[g] - 32) * (q - 4 where the high bit is 0), g = i / 16; 3.4375 bits per weight.
 * q as in Q2_K; its high bit is bit i / 32 of hmask[i % 32]. sc[g]: the low 4 bits are a nibble of
 * scales[g % 8] (low for g < 8), the high 2 are bits 2(g/4).. of scales[8 + g % 4]. */
struct block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint8_t d[2]; // f16
};
_Static_assert(sizeof(struct block_q3_k) == 110, "Q3_K");

/* x = d * sc[g] * q - dmin * m[g], g = i / 32; 4.5 bits per weight.
 * q: element 64 k + j is the low nibble of qs[32 k + j] for j < 32, 64 k + 32 + j its high one.
 * sc and m, 6 bits each, for g < 4: scales[g] and scales[g + 4], low 6 bits. For g >= 4: the
 * nibbles lo, hi of scales[g + 4], with the top two bits of scales[g - 4] and scales[g] above. */
struct block_q4_k {
    uint8_t d[2], dmin[2]; // f16
    uint8_t scales[12];
    uint8_t qs[128];
};
_Static_assert(sizeof(struct block_q4_k) == 144, "Q4_K");

/* As Q4_K, with bit g of qh[i % 32] as bit 4 of q; 5.5 bits per weight. */
struct block_q5_k {
    uint8_t d[2], dmin[2]; // f16
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};
_Static_assert(sizeof(struct block_q5_k) == 176, "Q5_K");

/* x = d * scales[g] * (q - 32), g = i / 16; 6.5625 bits per weight.
 * q of element 128 h + 32 p + j: low 4 bits a nibble of ql[64 h + 32 (p % 2) + j] (its high one
 * for p >= 2), high 2 bits are bits 2p, 2p+1 of qh[32 h + j]. */
struct block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint8_t d[2]; // f16
};
_Static_assert(sizeof(struct block_q6_k) == 210, "Q6_K");

/* x = d * (ls[g] - 32) * quant_iq4_codebook[nibble], g = i / 32; 4.25 bits per weight.
 * ls: low 4 bits are nibble g % 2 of scales_l[g / 2], high 2 are bits 2g, 2g+1 of scales_h.
 * Each group of 32 has its nibbles in 16 bytes, ordered as in the 32-element formats. */
struct block_iq4_xs {
    uint8_t d[2];        // f16
    uint8_t scales_h[2]; // u16
    uint8_t scales_l[4];
    uint8_t qs[128];
};
_Static_assert(sizeof(struct block_iq4_xs) == 136, "IQ4_XS");

/* ---- 256 elements as lattice points: groups of 32 (k), each four runs of 8 (l) --------------- */

/* x = d / 8 * (2s + 1) * (+-grid); 2.0625 bits per weight. Group k: u32 A, u32 B. Run l: point is
 * byte l of A, its 7 stored signs are bits 7l.. of B; s is the top 4 bits of B. */
struct block_iq2_xxs {
    uint8_t d[2];     // f16
    uint8_t qs[8][8]; // per group A, B
};
_Static_assert(sizeof(struct block_iq2_xxs) == 66, "IQ2_XXS");

/* x as IQ2_XXS; 2.3125 bits per weight. Run l of group k: u16 qs[4k + l] = 9 bits of point, 7 of
 * signs; s is nibble l / 2 of scales[k]. */
struct block_iq2_xs {
    uint8_t d[2];      // f16
    uint8_t qs[32][2]; // u16
    uint8_t scales[8];
};
_Static_assert(sizeof(struct block_iq2_xs) == 74, "IQ2_XS");

/* x as IQ2_XXS; 2.5625 bits per weight. Run l of group k: point qs[4k + l] with bits 2l, 2l+1 of
 * qh[k] above; all 8 signs in signs[4k + l]; s is nibble l / 2 of scales[k]. */
struct block_iq2_s {
    uint8_t d[2]; // f16
    uint8_t qs[32], signs[32], qh[8], scales[8];
};
_Static_assert(sizeof(struct block_iq2_s) == 82, "IQ2_S");

/* x = d / 4 * (2s + 1) * (+-grid); 3.0625 bits per weight. Run l of group k: points qs[8k + 2l] and
 * qs[8k + 2l + 1] of 4 elements, 7 stored signs at bits 7l.. of sas[k]; s is its top 4 bits. */
struct block_iq3_xxs {
    uint8_t d[2]; // f16
    uint8_t qs[64];
    uint8_t sas[8][4]; // u32: signs and scale
};
_Static_assert(sizeof(struct block_iq3_xxs) == 98, "IQ3_XXS");

/* x = d * (2s + 1) * (+-grid); 3.4375 bits per weight. Run l of group k: points qs[8k + 2l + t]
 * with bit 2l + t of qh[k] above, t = 0, 1; signs[4k + l]; s is nibble k % 2 of scales[k / 2]. */
struct block_iq3_s {
    uint8_t d[2]; // f16
    uint8_t qs[64], qh[8], signs[32], scales[4];
};
_Static_assert(sizeof(struct block_iq3_s) == 110, "IQ3_S");

/* x = d / 8 * (2s + 1) * (8 grid +- 1); 1.5625 bits per weight. Run l of group k: point qs[4k + l]
 * with bits 3l.. of qh[k] above (3 bits); s is bits 12-14 of qh[k], bit 15 set means - 1. */
struct block_iq1_s {
    uint8_t d[2]; // f16
    uint8_t qs[32];
    uint8_t qh[8][2]; // u16
};
_Static_assert(sizeof(struct block_iq1_s) == 50, "IQ1_S");

/* x as IQ1_S; 1.75 bits per weight. Run l of group k: h = nibble l % 2 of qh[2k + l / 2]; point
 * qs[4k + l] with the low 3 bits of h above, bit 3 of h set means - 1. s: 3 bits of sc[k / 2] from
 * bit 6 (k % 2) + 3 (l / 2). The top nibbles of sc[0..3], lowest first, are the f16 d. */
struct block_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];
    uint8_t sc[4][2]; // u16
};
_Static_assert(sizeof(struct block_iq1_m) == 56, "IQ1_M");

/* ---- 256 elements of -1, 0, 1 ---------------------------------------------------------------- */

/* x = d * (digit - 1), 1.6875 bits per weight. Digit n of byte v is (v * 3^n % 256) * 3 / 256.
 * Element 32 n + j, n < 5, is digit n of qs[j], j < 32; element 160 + 16 n + j, n < 5, that of
 * qs[32 + j], j < 16; element 240 + 4 n + j, n < 4, that of qh[j]. */
struct block_tq1_0 {
    uint8_t qs[48], qh[4];
    uint8_t d[2]; // f16
};
_Static_assert(sizeof(struct block_tq1_0) == 54, "TQ1_0");

/* x = d * (q - 1), q as in Q2_K; 2.0625 bits per weight. */
struct block_tq2_0 {
    uint8_t qs[64];
    uint8_t d[2]; // f16
};
_Static_assert(sizeof(struct block_tq2_0) == 66, "TQ2_0");

/* ---- unpack and synth of the table in registry.c (contracts: struct quant_type) -------------- */

typedef void quant_unpack_fn(const void *block, struct quant_block *out);
typedef void quant_synth_fn(void *block, float sigma);

extern quant_unpack_fn quant_unpack_q4_0, quant_unpack_q4_1, quant_unpack_q5_0, quant_unpack_q5_1,
    quant_unpack_q8_0, quant_unpack_q2_k, quant_unpack_q3_k, quant_unpack_q4_k, quant_unpack_q5_k,
    quant_unpack_q6_k, quant_unpack_iq4_nl, quant_unpack_iq4_xs, quant_unpack_mxfp4,
    quant_unpack_iq2_xxs, quant_unpack_iq2_xs, quant_unpack_iq2_s, quant_unpack_iq3_xxs,
    quant_unpack_iq3_s, quant_unpack_iq1_s, quant_unpack_iq1_m, quant_unpack_tq1_0,
    quant_unpack_tq2_0;
extern quant_synth_fn quant_synth_q4_0, quant_synth_q4_1, quant_synth_q5_0, quant_synth_q5_1,
    quant_synth_q8_0, quant_synth_q2_k, quant_synth_q3_k, quant_synth_q4_k, quant_synth_q5_k,
    quant_synth_q6_k, quant_synth_iq4_nl, quant_synth_iq4_xs, quant_synth_mxfp4,
    quant_synth_iq2_xxs, quant_synth_iq2_xs, quant_synth_iq2_s, quant_synth_iq3_xxs,
    quant_synth_iq3_s, quant_synth_iq1_s, quant_synth_iq1_m, quant_synth_tq1_0, quant_synth_tq2_0;

#endif
