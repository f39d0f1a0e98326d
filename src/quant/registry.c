/* The table of formats, and what every format has in common. A format that is not in the table is
 * refused by number and name. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/half.h"
#include "quant/blocks.h"

#define QUANT_ROW(NAME, name, elems, min)                                                          \
    {QUANT_##NAME,       #NAME, elems, sizeof(struct block_##name), min, quant_unpack_##name,      \
     quant_synth_##name}

static const struct quant_type types[] = {
    {QUANT_F32, "F32", 1, 4, false, NULL, NULL},
    {QUANT_F16, "F16", 1, 2, false, NULL, NULL},
    {QUANT_BF16, "BF16", 1, 2, false, NULL, NULL},
    QUANT_ROW(Q4_0, q4_0, 32, false),
    QUANT_ROW(Q4_1, q4_1, 32, true),
    QUANT_ROW(Q5_0, q5_0, 32, false),
    QUANT_ROW(Q5_1, q5_1, 32, true),
    QUANT_ROW(Q8_0, q8_0, 32, false),
    QUANT_ROW(Q2_K, q2_k, 256, true),
    QUANT_ROW(Q3_K, q3_k, 256, false),
    QUANT_ROW(Q4_K, q4_k, 256, true),
    QUANT_ROW(Q5_K, q5_k, 256, true),
    QUANT_ROW(Q6_K, q6_k, 256, false),
    QUANT_ROW(IQ4_NL, iq4_nl, 32, false),
    QUANT_ROW(IQ4_XS, iq4_xs, 256, false),
    QUANT_ROW(IQ3_S, iq3_s, 256, false),
    QUANT_ROW(IQ3_XXS, iq3_xxs, 256, false),
    QUANT_ROW(IQ2_S, iq2_s, 256, false),
    QUANT_ROW(IQ2_XS, iq2_xs, 256, false),
    QUANT_ROW(IQ2_XXS, iq2_xxs, 256, false),
    QUANT_ROW(IQ1_S, iq1_s, 256, false),
    QUANT_ROW(IQ1_M, iq1_m, 256, false),
    QUANT_ROW(TQ1_0, tq1_0, 256, false),
    QUANT_ROW(TQ2_0, tq2_0, 256, false),
    QUANT_ROW(MXFP4, mxfp4, 32, false),
};

static const struct {
    uint32_t id;
    const char *name;
} foreign[] = {
    {4, "Q4_2 (removed)"},        {5, "Q4_3 (removed)"},        {9, "Q8_1"},
    {15, "Q8_K"},                 {24, "I8"},                   {25, "I16"},
    {26, "I32"},                  {27, "I64"},                  {28, "F64"},
    {31, "Q4_0_4_4 (removed)"},   {32, "Q4_0_4_8 (removed)"},   {33, "Q4_0_8_8 (removed)"},
    {36, "IQ4_NL_4_4 (removed)"}, {37, "IQ4_NL_4_8 (removed)"}, {38, "IQ4_NL_8_8 (removed)"},
    {40, "NVFP4"},                {41, "Q1_0"},                 {42, "Q2_0"},
};

const struct quant_type *quant_at(size_t i) {
    return i < sizeof types / sizeof types[0] ? &types[i] : NULL;
}

const struct quant_type *quant_find(uint32_t id) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const struct quant_type *quant_by_name(const char *name) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

const char *quant_foreign_name(uint32_t id) {
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (foreign[i].id == id) return foreign[i].name;
    return NULL;
}

/* The types without unpack. */
static void decode_floats(const struct quant_type *type, const uint8_t *src, float *dst, size_t n) {
    switch (type->id) {
    case QUANT_F16:
        for (size_t i = 0; i < n; i++) dst[i] = load_f16(src + 2 * i);
        break;
    case QUANT_BF16:
        for (size_t i = 0; i < n; i++) dst[i] = bf16_to_f32(load_u16(src + 2 * i));
        break;
    default: memcpy(dst, src, n * sizeof *dst);
    }
}

static void decode_block(const struct quant_block *block, size_t n_groups, float *dst) {
    for (size_t g = 0; g < n_groups; g++) {
        const int8_t *q = block->q + g * QUANT_GROUP;
        float scale = block->d * block->scale[g], min = block->dmin * block->min[g];
        for (size_t j = 0; j < QUANT_GROUP; j++) dst[g * QUANT_GROUP + j] = scale * q[j] - min;
    }
}

void quant_decode(const struct quant_type *type, const void *src, float *dst, size_t n) {
    if (!type->unpack) {
        decode_floats(type, src, dst, n);
        return;
    }
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i += type->block_elems, p += type->block_bytes) {
        struct quant_block block;
        type->unpack(p, &block);
        decode_block(&block, type->block_elems / QUANT_GROUP, dst + i);
    }
}

/* Whether all elements of a block are finite whatever its integers are. True of every finite f16
 * scale, so that hardly any block has to be decoded to be checked. */
static bool scales_are_tame(const struct quant_type *type, const uint8_t *src) {
    const float limit = 0x1p64f;
    struct quant_block block;
    type->unpack(src, &block);
    return fabsf(block.d) < limit && fabsf(block.dmin) < limit;
}

size_t quant_find_nonfinite(const struct quant_type *type, const void *src, size_t n) {
    const uint8_t *p = src;
    for (size_t i = 0; i < n;) {
        size_t n_step = type->block_elems;
        if (!type->unpack) n_step = n - i < QUANT_MAX_BLOCK ? n - i : QUANT_MAX_BLOCK;
        if (!type->unpack || !scales_are_tame(type, p)) {
            float values[QUANT_MAX_BLOCK];
            quant_decode(type, p, values, n_step);
            for (size_t j = 0; j < n_step; j++)
                if (!isfinite(values[j])) return i + j;
        }
        i += n_step;
        p += quant_row_bytes(type, n_step);
    }
    return n;
}
