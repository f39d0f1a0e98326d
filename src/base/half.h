/* 16-bit floats in plain C, exactly as the hardware converts them (round to nearest even). */
#ifndef OCTET_BASE_HALF_H
#define OCTET_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float f32_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t f32_to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* IEEE binary16, subnormals included. */
static inline float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    if (magnitude >= 0x0f800000) { // infinity or NaN (made quiet)
        uint32_t quiet = magnitude > 0x0f800000 ? 0x00400000 : 0;
        return f32_from_bits(sign | magnitude | 0x70000000 | quiet);
    }
    // Scaling by 2^112 rebases the exponent and normalises subnormals, both exactly.
    return f32_from_bits(sign | f32_to_bits(f32_from_bits(magnitude) * 0x1p112f));
}

static inline uint16_t f32_to_f16(float f) {
    uint32_t bits = f32_to_bits(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // rounds past 65504
    if (magnitude < 0x38800000) { // subnormal: let the adder round at 2^-24
        float shifted = f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (f32_to_bits(shifted) - f32_to_bits(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude + 0x0fff + odd - 0x38000000) >> 13));
}

/* Of a finite number. */
static inline uint16_t f32_to_bf16(float f) {
    uint32_t bits = f32_to_bits(f);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float bf16_to_f32(uint16_t h) { return f32_from_bits((uint32_t)h << 16); }

/* Little-endian reads at any alignment. */
static inline uint16_t load_u16(const void *p) {
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t load_u32(const void *p) {
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline float load_f16(const void *p) { return f16_to_f32(load_u16(p)); }

#endif
