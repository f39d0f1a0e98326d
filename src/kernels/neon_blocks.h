/* Reads one weight block into NEON registers. Part of neon.c alone; each format's integers and
 * scales equal those of its `unpack` (quant.h). */
#ifndef OCTET_KERNELS_NEON_BLOCKS_H
#define OCTET_KERNELS_NEON_BLOCKS_H

#include <arm_neon.h>

#include "base/half.h"
#include "quant/quant.h"

enum { MAX_GROUPS = QUANT_MAX_BLOCK / QUANT_GROUP };

struct block {
    int8x16_t w[MAX_GROUPS];    // a group each
    int16x8_t scale[2], min[2]; // of group i: lane i % 8 of register i / 8
    float d, dmin;
    // Set by the caller, for load_any only.
    void (*unpack)(const void *block, struct quant_block *out);
    size_t n_groups;
};

/* ---- Pieces ---------------------------------------------------------------------------------- */

static inline float load_half(const uint8_t *p) {
    float16x4_t half = vreinterpret_f16_u16(vdup_n_u16(load_u16(p)));
    return vgetq_lane_f32(vcvt_f32_f16(half), 0);
}

static inline uint8x16_t low_nibbles(uint8x16_t v) { return vandq_u8(v, vdupq_n_u8(15)); }
static inline uint8x16_t high_nibbles(uint8x16_t v) { return vshrq_n_u8(v, 4); }
static inline int8x16_t minus(uint8x16_t v, int8_t offset) {
    return vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(offset));
}

/* Two bits of every byte, from bit FROM on. */
static inline uint8x16_t two_bits(uint8x16_t v, int from) {
    return vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)-from)), vdupq_n_u8(3));
}

/* VALUE in the bytes of v whose bit BIT is set. */
static inline uint8x16_t where_bit(uint8x16_t v, int bit, uint8_t value) {
    return vandq_u8(vtstq_u8(v, vdupq_n_u8((uint8_t)(1 << bit))), vdupq_n_u8(value));
}

/* Bit i of BITS as the value 16 of byte i. */
static inline uint8x16_t fifth_bits(uint32_t bits) {
    uint8x16_t bytes = vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8)));
    uint8x16_t mask = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
    return vandq_u8(vtstq_u8(bytes, mask), vdupq_n_u8(16));
}

static inline void set_groups_s8(int8x16_t v, int16x8_t out[2]) {
    out[0] = vmovl_s8(vget_low_s8(v));
    out[1] = vmovl_high_s8(v);
}

static inline void set_groups_u8(uint8x16_t v, int16x8_t out[2]) {
    out[0] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(v)));
    out[1] = vreinterpretq_s16_u16(vmovl_high_u8(v));
}

static inline uint8x16_t words(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    const uint32_t v[4] = {a, b, c, d};
    return vreinterpretq_u8_u32(vld1q_u32(v));
}

/* The 16 levels of IQ4_NL and IQ4_XS. */
static inline int8x16_t iq4_levels(void) {
    static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
    return vld1q_s8(levels);
}

static inline void no_scales(struct block *out) {
    out->scale[0] = out->scale[1] = out->min[0] = out->min[1] = vdupq_n_s16(1);
    out->dmin = 0;
}

/* ---- Blocks of 32 ---------------------------------------------------------------------------- */

static inline void load_q4_0(const uint8_t *p, struct block *out) {
    uint8x16_t v = vld1q_u8(p + 2);
    no_scales(out);
    out->d = load_half(p);
    out->w[0] = minus(low_nibbles(v), 8);
    out->w[1] = minus(high_nibbles(v), 8);
}

static inline void load_q4_1(const uint8_t *p, struct block *out) {
    uint8x16_t v = vld1q_u8(p + 4);
    no_scales(out);
    out->d = load_half(p);
    out->dmin = -load_half(p + 2);
    out->w[0] = vreinterpretq_s8_u8(low_nibbles(v));
    out->w[1] = vreinterpretq_s8_u8(high_nibbles(v));
}

static inline void load_five_bits(const uint8_t *nibbles, uint32_t high, int8_t offset,
                                  struct block *out) {
    uint8x16_t v = vld1q_u8(nibbles);
    out->w[0] = minus(vorrq_u8(low_nibbles(v), fifth_bits(high)), offset);
    out->w[1] = minus(vorrq_u8(high_nibbles(v), fifth_bits(high >> 16)), offset);
}

static inline void load_q5_0(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    load_five_bits(p + 6, load_u32(p + 2), 16, out);
}

static inline void load_q5_1(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    out->dmin = -load_half(p + 2);
    load_five_bits(p + 8, load_u32(p + 4), 0, out);
}

static inline void load_q8_0(const uint8_t *p, struct block *out) {
    no_scales(out);
    out->d = load_half(p);
    for (int g = 0; g < 2; g++) out->w[g] = vreinterpretq_s8_u8(vld1q_u8(p + 2 + g * 16));
}

static inline void load_iq4_nl(const uint8_t *p, struct block *out) {
    uint8x16_t v = vld1q_u8(p + 2);
    no_scales(out);
    out->d = load_half(p);
    out->w[0] = vqtbl1q_s8(iq4_levels(), low_nibbles(v));
    out->w[1] = vqtbl1q_s8(iq4_levels(), high_nibbles(v));
}

/* 2^(e - 128); 255 means NaN, the two smallest are subnormal. */
static inline float mxfp4_scale(uint8_t e) {
    if (e == 255) return f32_from_bits(0x7fc00000);
    return f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

static inline void load_mxfp4(const uint8_t *p, struct block *out) {
    static const int8_t twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    uint8x16_t v = vld1q_u8(p + 1);
    no_scales(out);
    out->d = mxfp4_scale(p[0]);
    out->w[0] = vqtbl1q_s8(vld1q_s8(twice), low_nibbles(v));
    out->w[1] = vqtbl1q_s8(vld1q_s8(twice), high_nibbles(v));
}

/* ---- Blocks of 256 --------------------------------------------------------------------------- */

static inline void load_q2_k(const uint8_t *p, struct block *out) {
    uint8x16_t scales = vld1q_u8(p);
    set_groups_u8(low_nibbles(scales), out->scale);
    set_groups_u8(high_nibbles(scales), out->min);
    out->d = load_half(p + 80);
    out->dmin = load_half(p + 82);
    for (int g = 0; g < MAX_GROUPS; g++)
        out->w[g] = vreinterpretq_s8_u8(
            two_bits(vld1q_u8(p + 16 + g / 8 * 32 + g % 2 * 16), g % 8 / 2 * 2));
}

static inline void load_q3_k(const uint8_t *p, struct block *out) {
    uint32_t s0 = load_u32(p + 96), s1 = load_u32(p + 100), s2 = load_u32(p + 104);
    uint8x16_t low = vandq_u8(words(s0, s1, s0 >> 4, s1 >> 4), vdupq_n_u8(0x0f));
    uint8x16_t high = vandq_u8(words(s2 << 4, s2 << 2, s2, s2 >> 2), vdupq_n_u8(0x30));
    set_groups_s8(minus(vorrq_u8(low, high), 32), out->scale);
    out->d = load_half(p + 108);
    for (int g = 0; g < MAX_GROUPS; g++) {
        uint8x16_t v = two_bits(vld1q_u8(p + 32 + g / 8 * 32 + g % 2 * 16), g % 8 / 2 * 2);
        out->w[g] = minus(vorrq_u8(v, where_bit(vld1q_u8(p + g % 2 * 16), g / 2, 4)), 4);
    }
}

/* The twelve bytes of Q4_K and Q5_K that hold 8 scales and 8 mins of 6 bits, for 32 elements each.
 */
static inline void load_six_bits(const uint8_t *p, struct block *out) {
    const uint32_t low6 = 0x3f3f3f3f, low4 = 0x0f0f0f0f, top2 = 0x30303030;
    uint32_t a = load_u32(p), b = load_u32(p + 4), c = load_u32(p + 8);
    uint8x16_t v =
        words(a & low6, (c & low4) | (a >> 2 & top2), b & low6, (c >> 4 & low4) | (b >> 2 & top2));
    set_groups_u8(vzip1q_u8(v, v), out->scale);
    set_groups_u8(vzip2q_u8(v, v), out->min);
}

static inline void load_q4_k(const uint8_t *p, struct block *out) {
    out->d = load_half(p);
    out->dmin = load_half(p + 2);
    load_six_bits(p + 4, out);
    for (int i = 0; i < 8; i++) {
        uint8x16_t v = vld1q_u8(p + 16 + i * 16);
        int g = i / 2 * 4 + i % 2;
        out->w[g] = vreinterpretq_s8_u8(low_nibbles(v));
        out->w[g + 2] = vreinterpretq_s8_u8(high_nibbles(v));
    }
}

static inline void load_q5_k(const uint8_t *p, struct block *out) {
    out->d = load_half(p);
    out->dmin = load_half(p + 2);
    load_six_bits(p + 4, out);
    for (int i = 0; i < 8; i++) {
        uint8x16_t v = vld1q_u8(p + 48 + i * 16), high = vld1q_u8(p + 16 + i % 2 * 16);
        int g = i / 2 * 4 + i % 2, bit = i / 2 * 2;
        out->w[g] = vreinterpretq_s8_u8(vorrq_u8(low_nibbles(v), where_bit(high, bit, 16)));
        out->w[g + 2] =
            vreinterpretq_s8_u8(vorrq_u8(high_nibbles(v), where_bit(high, bit + 1, 16)));
    }
}

static inline void load_q6_k(const uint8_t *p, struct block *out) {
    set_groups_s8(vreinterpretq_s8_u8(vld1q_u8(p + 192)), out->scale);
    out->d = load_half(p + 208);
    for (int i = 0; i < 4; i++) {
        const uint8_t *low = p + i / 2 * 64 + i % 2 * 16;
        uint8x16_t a = vld1q_u8(low), b = vld1q_u8(low + 32), high = vld1q_u8(p + 128 + i * 16);
        int8x16_t *w = out->w + i / 2 * 8 + i % 2;
        w[0] = minus(vorrq_u8(low_nibbles(a), vshlq_n_u8(two_bits(high, 0), 4)), 32);
        w[2] = minus(vorrq_u8(low_nibbles(b), vshlq_n_u8(two_bits(high, 2), 4)), 32);
        w[4] = minus(vorrq_u8(high_nibbles(a), vshlq_n_u8(two_bits(high, 4), 4)), 32);
        w[6] = minus(vorrq_u8(high_nibbles(b), vshlq_n_u8(two_bits(high, 6), 4)), 32);
    }
}

static inline void load_iq4_xs(const uint8_t *p, struct block *out) {
    uint32_t low = load_u32(p + 4), high = load_u16(p + 2);
    int8_t scales[MAX_GROUPS];
    for (int i = 0; i < 8; i++) {
        uint32_t scale = (low >> 4 * i & 15) | (high >> 2 * i & 3) << 4;
        scales[2 * i] = scales[2 * i + 1] = (int8_t)((int)scale - 32);
        uint8x16_t v = vld1q_u8(p + 8 + i * 16);
        out->w[2 * i] = vqtbl1q_s8(iq4_levels(), low_nibbles(v));
        out->w[2 * i + 1] = vqtbl1q_s8(iq4_levels(), high_nibbles(v));
    }
    set_groups_s8(vld1q_s8(scales), out->scale);
    out->d = load_half(p);
}

/* ---- The rest -------------------------------------------------------------------------------- */

static inline void load_any(const uint8_t *p, struct block *out) {
    struct quant_block u = {0};
    out->unpack(p, &u);
    out->d = u.d;
    out->dmin = u.dmin;
    set_groups_s8(vld1q_s8(u.scale), out->scale);
    set_groups_u8(vld1q_u8(u.min), out->min);
    for (size_t g = 0; g < out->n_groups; g++) out->w[g] = vld1q_s8(u.q + g * QUANT_GROUP);
}

#endif
