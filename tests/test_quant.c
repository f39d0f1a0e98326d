/* Block formats: bit-exact decoding of reference blocks, the type table, hostile bytes, synthetic
 * blocks and the search for values that are not finite.
 *
 * tests/data/quant: four u32 (type id, elements, elements per block, bytes per block), the blocks,
 * and the decoded floats. TYPE.bin and TYPE.imatrix.bin come from ggml's quantisers and decoders,
 * TYPE.random.bin are random bytes as decoded by the gguf Python package. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "quant/blocks.h"
#include "quant/grids.h"

enum { N_TYPES = 25 };

static uint64_t random_state;

static uint64_t random_u64(void) { // splitmix64
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static void fill_random(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(random_u64() >> 56);
}

/* ---- Reference blocks ------------------------------------------------------------------------ */

struct golden {
    uint32_t id, n, block_elems, block_bytes;
    uint8_t blocks[4096];
    float values[1024];
};

static void read_golden(const char *name, const char *variant, struct golden *out) {
    char path[100];
    snprintf(path, sizeof path, "tests/data/quant/%s%s.bin", name, variant);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    uint32_t head[4];
    assert_int_equal(fread(head, sizeof head, 1, f), 1);
    out->id = head[0];
    out->n = head[1];
    out->block_elems = head[2];
    out->block_bytes = head[3];
    assert_int_equal(out->n, 1024);
    size_t n_bytes = out->n / out->block_elems * out->block_bytes;
    assert_true(n_bytes <= sizeof out->blocks);
    assert_int_equal(fread(out->blocks, n_bytes, 1, f), 1);
    assert_int_equal(fread(out->values, sizeof out->values, 1, f), 1);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

static void check_golden(const char *name, const char *variant) {
    struct golden golden;
    read_golden(name, variant, &golden);
    const struct quant_type *type = quant_find(golden.id);
    assert_non_null(type);
    assert_string_equal(type->name, name);
    assert_int_equal(type->block_elems, golden.block_elems);
    assert_int_equal(type->block_bytes, golden.block_bytes);
    float values[1024];
    quant_decode(type, golden.blocks, values, golden.n);
    for (size_t i = 0; i < golden.n; i++)
        if (f32_to_bits(values[i]) != f32_to_bits(golden.values[i]))
            fail_msg("%s%s: element %zu: expected %a, found %a", name, variant, i,
                     (double)golden.values[i], (double)values[i]);
    assert_int_equal(quant_find_nonfinite(type, golden.blocks, golden.n), golden.n);
}

static void test_decodes_reference_blocks(void **state) {
    (void)state;
    static const char *const names[] = {"Q4_0", "Q4_1",   "Q5_0",   "Q5_1",  "Q8_0",
                                        "Q2_K", "Q3_K",   "Q4_K",   "Q5_K",  "Q6_K",
                                        "IQ4_NL", "IQ4_XS", "IQ3_XXS", "IQ3_S", "MXFP4",
                                        "TQ1_0",  "TQ2_0"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) check_golden(names[i], "");
}

static void test_decodes_reference_blocks_made_with_importance(void **state) {
    (void)state;
    static const char *const names[] = {"Q4_0",   "Q4_1",  "Q5_0",    "Q5_1",   "Q2_K",   "Q3_K",
                                        "Q4_K",   "Q5_K",  "Q6_K",    "IQ4_NL", "IQ4_XS", "IQ3_XXS",
                                        "IQ3_S",  "IQ2_S", "IQ2_XXS", "IQ2_XS", "IQ1_S",  "IQ1_M"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) check_golden(names[i], ".imatrix");
}

static void test_decodes_random_blocks_as_another_decoder_does(void **state) {
    (void)state;
    const struct quant_type *type;
    for (size_t i = 0; (type = quant_at(i)); i++)
        if (type->unpack) check_golden(type->name, ".random");
}

static void test_decodes_floats(void **state) {
    (void)state;
    const float values[] = {0.0f, -0.0f, 1.0f, -2.5f, 65504.0f, 0x1p-24f, INFINITY};
    const uint16_t halves[] = {0x0000, 0x8000, 0x3c00, 0xc100, 0x7bff, 0x0001, 0x7c00};
    uint16_t brains[7];
    float out[7];
    quant_decode(quant_find(QUANT_F32), values, out, 7);
    assert_memory_equal(out, values, sizeof values);
    quant_decode(quant_find(QUANT_F16), halves, out, 7);
    assert_memory_equal(out, values, sizeof values);
    for (size_t i = 0; i < 7; i++) brains[i] = (uint16_t)(f32_to_bits(values[i]) >> 16);
    quant_decode(quant_find(QUANT_BF16), brains, out, 7);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(f32_to_bits(out[i]), f32_to_bits(values[i]) & 0xffff0000);
}

static void test_mxfp4_scales_cover_all_exponents(void **state) {
    (void)state;
    const struct quant_type *type = quant_find(QUANT_MXFP4);
    uint8_t block[17] = {0};
    for (int e = 0; e < 256; e++) {
        struct quant_block out;
        block[0] = (uint8_t)e;
        type->unpack(block, &out);
        if (e == 255) assert_true(isnan(out.d));
        else assert_true(out.d == ldexpf(1, e - 128));
    }
}

/* ---- Table ----------------------------------------------------------------------------------- */

static void test_table_has_the_sizes_of_the_format(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t id, elems, bytes;
    } expected[] = {
        {"F32", 0, 1, 4},          {"F16", 1, 1, 2},         {"BF16", 30, 1, 2},
        {"Q4_0", 2, 32, 18},       {"Q4_1", 3, 32, 20},      {"Q5_0", 6, 32, 22},
        {"Q5_1", 7, 32, 24},       {"Q8_0", 8, 32, 34},      {"Q2_K", 10, 256, 84},
        {"Q3_K", 11, 256, 110},    {"Q4_K", 12, 256, 144},   {"Q5_K", 13, 256, 176},
        {"Q6_K", 14, 256, 210},    {"IQ2_XXS", 16, 256, 66}, {"IQ2_XS", 17, 256, 74},
        {"IQ3_XXS", 18, 256, 98},  {"IQ1_S", 19, 256, 50},   {"IQ4_NL", 20, 32, 18},
        {"IQ3_S", 21, 256, 110},   {"IQ2_S", 22, 256, 82},   {"IQ4_XS", 23, 256, 136},
        {"IQ1_M", 29, 256, 56},    {"MXFP4", 39, 32, 17},    {"TQ1_0", 34, 256, 54},
        {"TQ2_0", 35, 256, 66},
    };
    assert_int_equal(sizeof expected / sizeof expected[0], N_TYPES);
    for (size_t i = 0; i < N_TYPES; i++) {
        const struct quant_type *type = quant_find(expected[i].id);
        assert_non_null(type);
        assert_string_equal(type->name, expected[i].name);
        assert_int_equal(type->block_elems, expected[i].elems);
        assert_int_equal(type->block_bytes, expected[i].bytes);
        assert_ptr_equal(type, quant_by_name(expected[i].name));
        assert_null(quant_foreign_name(expected[i].id));
        assert_int_equal(quant_row_bytes(type, 512), 512 / expected[i].elems * expected[i].bytes);
    }
    assert_non_null(quant_at(N_TYPES - 1));
    assert_null(quant_at(N_TYPES));
    assert_null(quant_at(SIZE_MAX));
}

static void test_names_match_in_any_case(void **state) {
    (void)state;
    assert_int_equal(quant_by_name("q4_k")->id, QUANT_Q4_K);
    assert_int_equal(quant_by_name("iq2_Xxs")->id, QUANT_IQ2_XXS);
    assert_null(quant_by_name(""));
    assert_null(quant_by_name("Q4"));
    assert_null(quant_by_name("Q4_K_M"));
}

static void test_ids_are_known_foreign_or_neither(void **state) {
    (void)state;
    size_t n_known = 0, n_foreign = 0;
    for (uint32_t id = 0; id < 1000; id++) {
        assert_false(quant_find(id) && quant_foreign_name(id));
        n_known += quant_find(id) != NULL;
        n_foreign += quant_foreign_name(id) != NULL;
        if (id > 42) assert_true(!quant_find(id) && !quant_foreign_name(id));
        else assert_true(quant_find(id) || quant_foreign_name(id));
    }
    assert_int_equal(n_known, N_TYPES);
    assert_int_equal(n_foreign, 43 - N_TYPES);
    assert_string_equal(quant_foreign_name(9), "Q8_1");
    assert_string_equal(quant_foreign_name(31), "Q4_0_4_4 (removed)");
    assert_null(quant_find(UINT32_MAX));
    assert_null(quant_foreign_name(UINT32_MAX));
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* All points distinct, every coordinate one of VALUES. */
static void check_grid(uint64_t *points, size_t n, size_t n_coordinates, const char *values,
                       size_t n_values) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n_coordinates; j++)
            assert_non_null(memchr(values, (int)(points[i] >> 8 * j & 255), n_values));
    qsort(points, n, sizeof *points, compare_u64);
    for (size_t i = 1; i < n; i++) assert_true(points[i] != points[i - 1]);
}

static void check_grid_8(const uint64_t *grid, size_t n, const char *values, size_t n_values) {
    uint64_t points[2048];
    memcpy(points, grid, n * sizeof *points);
    check_grid(points, n, 8, values, n_values);
}

static void check_grid_4(const uint32_t *grid, size_t n, const char *values, size_t n_values) {
    uint64_t points[2048];
    for (size_t i = 0; i < n; i++) points[i] = grid[i];
    check_grid(points, n, 4, values, n_values);
}

static void test_grids_hold_distinct_points_of_their_lattices(void **state) {
    (void)state;
    check_grid_8(quant_iq2xxs_grid, 256, "\10\31\53", 3);
    check_grid_8(quant_iq2xs_grid, 512, "\10\31\53", 3);
    check_grid_8(quant_iq2s_grid, 1024, "\10\31\53", 3);
    check_grid_4(quant_iq3xxs_grid, 256, "\4\14\24\34\44\54\64\76", 8);
    check_grid_4(quant_iq3s_grid, 512, "\1\3\5\7\11\13\15\17", 8);
    check_grid_8(quant_iq1s_grid, 2048, "\377\0\1", 3);
}

/* ---- Any bytes ------------------------------------------------------------------------------- */

static void check_unpacked(const struct quant_type *type, const struct quant_block *block) {
    size_t n_groups = type->block_elems / QUANT_GROUP;
    int32_t bound = 0;
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t j = 0; j < QUANT_GROUP; j++)
            bound += abs(block->q[g * QUANT_GROUP + j] * block->scale[g]) * 128;
        if (!type->has_min) assert_int_equal(block->min[g], 0);
        assert_true(block->min[g] <= 63);
    }
    assert_true(bound >= 0); // no dot product with int8 can leave int32
    if (!type->has_min) assert_true(block->dmin == 0);
}

static void test_unpacks_any_bytes_at_any_address(void **state) {
    (void)state;
    random_state = 1;
    const struct quant_type *type;
    for (size_t i = 0; (type = quant_at(i)); i++) {
        if (!type->unpack) continue;
        for (int round = 0; round < 300; round++) {
            // A heap block of the exact size, so that reading past it is seen.
            size_t shift = (size_t)round % 5;
            uint8_t *bytes = malloc(shift + type->block_bytes);
            assert_non_null(bytes);
            if (round < 2) memset(bytes, round ? 0xff : 0, shift + type->block_bytes);
            else fill_random(bytes, shift + type->block_bytes);
            struct quant_block out;
            memset(&out, 0x55, sizeof out);
            type->unpack(bytes + shift, &out);
            check_unpacked(type, &out);
            for (size_t j = type->block_elems; j < QUANT_MAX_BLOCK; j++)
                assert_int_equal(out.q[j], 0x55);
            float values[QUANT_MAX_BLOCK];
            quant_decode(type, bytes + shift, values, type->block_elems);
            quant_find_nonfinite(type, bytes + shift, type->block_elems);
            free(bytes);
        }
    }
}

/* ---- Synthetic blocks ------------------------------------------------------------------------ */

static void check_synth(const struct quant_type *type, float sigma) {
    enum { N = 100352 }; // 392 blocks of 256
    double sum = 0, squares = 0;
    for (size_t i = 0; i < N; i += type->block_elems) {
        uint8_t block[256];
        float values[QUANT_MAX_BLOCK];
        fill_random(block, type->block_bytes);
        type->synth(block, sigma);
        quant_decode(type, block, values, type->block_elems);
        for (size_t j = 0; j < type->block_elems; j++) {
            sum += (double)values[j];
            squares += (double)values[j] * (double)values[j];
        }
    }
    double mean = sum / N, deviation = sqrt(squares / N - mean * mean);
    if (!(fabs(deviation / (double)sigma - 1) < 0.1) || !(fabs(mean) < 0.15 * (double)sigma))
        fail_msg("%s: wanted deviation %g: found %g, mean %g", type->name, (double)sigma, deviation,
                 mean);
}

static void test_synthetic_blocks_have_the_wanted_deviation(void **state) {
    (void)state;
    random_state = 2;
    static const float sigmas[] = {1.0f, 0.02f, 0.0301f, 0.005f};
    const struct quant_type *type;
    for (size_t i = 0; (type = quant_at(i)); i++)
        for (size_t s = 0; type->synth && s < 4; s++) check_synth(type, sigmas[s]);
}

static void test_synthetic_blocks_are_finite_for_any_deviation(void **state) {
    (void)state;
    random_state = 3;
    static const float sigmas[] = {0.0f, FLT_TRUE_MIN, 1e-20f, 1e-6f, 1000.0f};
    const struct quant_type *type;
    for (size_t i = 0; (type = quant_at(i)); i++)
        for (size_t s = 0; type->synth && s < 5; s++) {
            uint8_t block[256];
            fill_random(block, type->block_bytes);
            type->synth(block, sigmas[s]);
            assert_int_equal(quant_find_nonfinite(type, block, type->block_elems),
                             type->block_elems);
        }
}

/* ---- Values that are not finite -------------------------------------------------------------- */

/* Where the f16 scales lie in a block; the other formats are treated one by one. */
static const struct {
    uint32_t id;
    int d, second;
} scale_places[] = {
    {QUANT_Q4_0, 0, -1},    {QUANT_Q4_1, 0, 2},     {QUANT_Q5_0, 0, -1},   {QUANT_Q5_1, 0, 2},
    {QUANT_Q8_0, 0, -1},    {QUANT_Q2_K, 80, 82},   {QUANT_Q3_K, 108, -1}, {QUANT_Q4_K, 0, 2},
    {QUANT_Q5_K, 0, 2},     {QUANT_Q6_K, 208, -1},  {QUANT_IQ4_NL, 0, -1}, {QUANT_IQ4_XS, 0, -1},
    {QUANT_IQ3_S, 0, -1},   {QUANT_IQ3_XXS, 0, -1}, {QUANT_IQ2_S, 0, -1},  {QUANT_IQ2_XS, 0, -1},
    {QUANT_IQ2_XXS, 0, -1}, {QUANT_IQ1_S, 0, -1},   {QUANT_TQ1_0, 52, -1}, {QUANT_TQ2_0, 64, -1},
};

enum { N_ROW_BLOCKS = 5 };

static void make_row(const struct quant_type *type, uint8_t *row) {
    for (size_t b = 0; b < N_ROW_BLOCKS; b++) {
        fill_random(row + b * type->block_bytes, type->block_bytes);
        type->synth(row + b * type->block_bytes, 0.02f);
    }
}

static void check_bad_scale(const struct quant_type *type, size_t offset, uint16_t bits) {
    uint8_t row[N_ROW_BLOCKS * 256];
    size_t n = N_ROW_BLOCKS * type->block_elems;
    for (size_t b = 0; b < N_ROW_BLOCKS; b++) {
        make_row(type, row);
        assert_int_equal(quant_find_nonfinite(type, row, n), n);
        memcpy(row + b * type->block_bytes + offset, &bits, sizeof bits);
        assert_int_equal(quant_find_nonfinite(type, row, n), b * type->block_elems);
        assert_int_equal(quant_find_nonfinite(type, row, b * type->block_elems),
                         b * type->block_elems);
    }
}

static void test_finds_bad_scales(void **state) {
    (void)state;
    random_state = 4;
    static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff};
    for (size_t i = 0; i < sizeof scale_places / sizeof scale_places[0]; i++)
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
            const struct quant_type *type = quant_find(scale_places[i].id);
            check_bad_scale(type, (size_t)scale_places[i].d, bad[k]);
            if (scale_places[i].second >= 0)
                check_bad_scale(type, (size_t)scale_places[i].second, bad[k]);
        }
}

static void test_finds_bad_scale_of_iq1_m(void **state) {
    (void)state;
    random_state = 5;
    const struct quant_type *type = quant_find(QUANT_IQ1_M);
    uint8_t row[N_ROW_BLOCKS * 56];
    make_row(type, row);
    assert_int_equal(quant_find_nonfinite(type, row, 1280), 1280);
    row[2 * 56 + 55] |= 0xf0; // sign and upper exponent
    row[2 * 56 + 53] |= 0xc0; // lower exponent
    assert_int_equal(quant_find_nonfinite(type, row, 1280), 512);
}

static void test_finds_bad_values_of_mxfp4(void **state) {
    (void)state;
    const struct quant_type *type = quant_find(QUANT_MXFP4);
    uint8_t row[2 * 17];
    memset(row, 0x11, sizeof row);
    row[0] = 120;
    row[17] = 255;
    assert_int_equal(quant_find_nonfinite(type, row, 64), 32);
    row[17] = 254; // 2^126 is finite, 12 times as much is not
    assert_int_equal(quant_find_nonfinite(type, row, 64), 64);
    row[17 + 1 + 9] = 0x71; // high nibble of byte 9: element 25
    assert_int_equal(quant_find_nonfinite(type, row, 64), 32 + 25);
}

static void check_bad_floats(uint32_t id, uint32_t infinity, uint32_t nan) {
    const struct quant_type *type = quant_find(id);
    enum { N = 600 };
    static const size_t places[] = {0, 1, 255, 256, 300, 511, 512, N - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        uint8_t row[4 * N] = {0};
        assert_int_equal(quant_find_nonfinite(type, row, N), N);
        memcpy(row + places[i] * type->block_bytes, &infinity, type->block_bytes);
        assert_int_equal(quant_find_nonfinite(type, row, N), places[i]);
        memcpy(row + places[i] * type->block_bytes, &nan, type->block_bytes);
        assert_int_equal(quant_find_nonfinite(type, row, N), places[i]);
        assert_int_equal(quant_find_nonfinite(type, row, places[i]), places[i]);
    }
}

static void test_finds_bad_floats(void **state) {
    (void)state;
    check_bad_floats(QUANT_F32, 0x7f800000, 0xff800001);
    check_bad_floats(QUANT_F16, 0xfc00, 0x7c01);
    check_bad_floats(QUANT_BF16, 0xff80, 0x7fc0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_reference_blocks),
        cmocka_unit_test(test_decodes_reference_blocks_made_with_importance),
        cmocka_unit_test(test_decodes_random_blocks_as_another_decoder_does),
        cmocka_unit_test(test_decodes_floats),
        cmocka_unit_test(test_mxfp4_scales_cover_all_exponents),
        cmocka_unit_test(test_table_has_the_sizes_of_the_format),
        cmocka_unit_test(test_names_match_in_any_case),
        cmocka_unit_test(test_ids_are_known_foreign_or_neither),
        cmocka_unit_test(test_grids_hold_distinct_points_of_their_lattices),
        cmocka_unit_test(test_unpacks_any_bytes_at_any_address),
        cmocka_unit_test(test_synthetic_blocks_have_the_wanted_deviation),
        cmocka_unit_test(test_synthetic_blocks_are_finite_for_any_deviation),
        cmocka_unit_test(test_finds_bad_scales),
        cmocka_unit_test(test_finds_bad_scale_of_iq1_m),
        cmocka_unit_test(test_finds_bad_values_of_mxfp4),
        cmocka_unit_test(test_finds_bad_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
