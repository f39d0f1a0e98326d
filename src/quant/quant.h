/* Block formats of weights: what a block is, and its exact meaning.
 *
 * Every quantised format reduces to one form, struct quant_block: small integers with integer
 * sub-scales and one or two float scales. The function `unpack` of a format gives it, and that
 * alone defines the format: values, dot products and every fast kernel follow from it (kernels.h).
 *
 * Adding a format: its struct and declarations in blocks.h, its functions in a file of its own or
 * of its family, and one row in registry.c. */
#ifndef OCTET_QUANT_QUANT_H
#define OCTET_QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUANT_GROUP = 16, QUANT_MAX_BLOCK = 256 };

/* Element i of a block is  (d * scale[i/16]) * q[i]  -  dmin * min[i/16]. */
struct quant_block {
    float d, dmin;
    int8_t q[QUANT_MAX_BLOCK];
    int8_t scale[QUANT_MAX_BLOCK / QUANT_GROUP];
    uint8_t min[QUANT_MAX_BLOCK / QUANT_GROUP]; // all 0 unless the type has_min
};

struct quant_type {
    uint32_t id;      // as GGUF numbers it
    const char *name; // "Q4_K"
    uint32_t block_elems, block_bytes;
    bool has_min;
    /* NULL for F32, F16, BF16. BLOCK may have any alignment and any content; every byte pattern
     * gives defined integers (scales may come out NaN or infinite). Writes the first block_elems
     * (q) and block_elems / 16 (scale, min) entries. */
    void (*unpack)(const void *block, struct quant_block *out);
    /* Makes a block of random bytes well-formed: replaces codes that no quantiser writes and sets
     * the scale fields so that over many blocks the values have about zero mean and the standard
     * deviation SIGMA (1e-3 to 1e3; scales round to 0 or become infinite far outside). NULL where
     * unpack is. */
    void (*synth)(void *block, float sigma);
};

/* NULL for an unknown or removed id. */
const struct quant_type *quant_find(uint32_t id);
const struct quant_type *quant_by_name(const char *name); // any case
const struct quant_type *quant_at(size_t i);              // NULL past the end
/* Name of ids that exist but are not run ("Q8_1", "NVFP4", "Q4_0_4_4 (removed)"), or NULL. */
const char *quant_foreign_name(uint32_t id);

/* n elements, a multiple of block_elems, starting at SRC, in single precision without FMA. */
void quant_decode(const struct quant_type *type, const void *src, float *dst, size_t n);
/* Index of the first element that is not finite, or n. N as for quant_decode. */
size_t quant_find_nonfinite(const struct quant_type *type, const void *src, size_t n);

static inline size_t quant_row_bytes(const struct quant_type *type, size_t n) {
    return n / type->block_elems * type->block_bytes;
}

enum quant_id {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q4_1 = 3,
    QUANT_Q5_0 = 6,
    QUANT_Q5_1 = 7,
    QUANT_Q8_0 = 8,
    QUANT_Q2_K = 10,
    QUANT_Q3_K = 11,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_IQ2_XXS = 16,
    QUANT_IQ2_XS = 17,
    QUANT_IQ3_XXS = 18,
    QUANT_IQ1_S = 19,
    QUANT_IQ4_NL = 20,
    QUANT_IQ3_S = 21,
    QUANT_IQ2_S = 22,
    QUANT_IQ4_XS = 23,
    QUANT_IQ1_M = 29,
    QUANT_BF16 = 30,
    QUANT_TQ1_0 = 34,
    QUANT_TQ2_0 = 35,
    QUANT_MXFP4 = 39,
};

#endif
