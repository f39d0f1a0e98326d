/* What a KV cache stores, against the formulas written out: 8 and 4 bits with a scale per group. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "model/kv.h"

enum { MAX_DIM = 512, N_LAYERS = 2, N_HEADS = 3, N_CTX = 2 * KV_BLOCK };

static const size_t dims[] = {2, 16, 34, 64, 80, 128, 300, MAX_DIM};
enum { N_DIMS = sizeof dims / sizeof *dims };

static uint64_t random_state = 1;

static float random_float(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(random_state >> 32) * 0x1p-30f;
}

static struct kv open_kv(enum octet_kv_type type, size_t head_dim) {
    const struct shape shape = {.n_layers = N_LAYERS, .n_kv_heads = N_HEADS, .head_dim = head_dim};
    struct kv kv;
    assert_int_equal(kv_open(&kv, &shape, N_CTX, N_CTX, type, NULL), OCTET_OK);
    assert_true(kv_prepare(&kv, 0, N_CTX));
    return kv;
}

/* Numbers for each layer, head and position: mostly small, with outliers, and a group of zeros. */
static void fill(float *x, size_t n, size_t pos) {
    for (size_t i = 0; i < n; i++)
        x[i] = pos == 5 && i < KV_GROUP ? 0 : random_float() * (i % 29 == 3 ? 20.0f : 1.0f);
}

/* One number of a group whose largest magnitude is MAX, as a cache gives it back. */
static float restored(enum octet_kv_type type, float x, float max) {
    if (type == OCTET_KV_Q8_0) {
        const float scale = max / 127.0f;
        return max > 0 ? rintf(x * (127.0f / max)) * scale : 0;
    }
    const float scale = bf16_to_f32(f32_to_bf16(max / 8.0f));
    if (max == 0) return 0;
    // Sixteen levels, at odd multiples of half the scale.
    const float code = floorf(x * (1.0f / scale) + 8.0f);
    return (fmaxf(fminf(code, 15.0f), 0.0f) - 7.5f) * scale;
}

static float group_max(const float *x, size_t d, size_t head_dim) {
    const size_t first = d / KV_GROUP * KV_GROUP;
    float max = 0;
    for (size_t i = first; i < first + KV_GROUP && i < head_dim; i++) max = fmaxf(max, fabsf(x[i]));
    return max;
}

static void check_restored(enum octet_kv_type type, size_t head_dim) {
    static float k[N_CTX][MAX_DIM], v[N_CTX][MAX_DIM], scratch[2 * MAX_DIM * KV_BLOCK];
    struct kv kv = open_kv(type, head_dim);
    uint16_t half[MAX_DIM];
    const struct kernels *kernels = kernels_pick();
    // Out of order, since the numbers of two positions share bytes.
    for (size_t i = 0; i < N_CTX; i++) {
        const size_t pos = i * 37 % N_CTX;
        fill(k[pos], head_dim, pos);
        fill(v[pos], head_dim, pos);
        kv_store(&kv, kernels, 1, 2, pos, v[pos], k[pos], half); // overwritten by the next
        kv_store(&kv, kernels, 1, 2, pos, k[pos], v[pos], half);
    }
    for (size_t block = 0; block < N_CTX / KV_BLOCK; block++) {
        const float *k_t = kv_load(&kv, kernels, 1, 2, block, scratch);
        const float *values = k_t + head_dim * KV_BLOCK;
        assert_ptr_equal(k_t, scratch);
        for (size_t j = 0; j < KV_BLOCK; j++) {
            const float *key = k[block * KV_BLOCK + j], *value = v[block * KV_BLOCK + j];
            for (size_t d = 0; d < head_dim; d++) {
                const float k_max = group_max(key, d, head_dim),
                            v_max = group_max(value, d, head_dim);
                assert_true(k_t[d * KV_BLOCK + j] == restored(type, key[d], k_max));
                assert_true(values[j * head_dim + d] == restored(type, value[d], v_max));
            }
        }
    }
    for (size_t layer = 0; layer < N_LAYERS; layer++) // nobody else's numbers were touched
        for (size_t head = 0; head < N_HEADS; head++) {
            if (layer == 1 && head == 2) continue;
            const float *others = kv_load(&kv, kernels, layer, head, 0, scratch);
            for (size_t i = 0; i < 2 * head_dim * KV_BLOCK; i++) assert_true(others[i] == 0);
        }
    kv_close(&kv);
}

static void test_integer_caches_restore_what_their_formulas_say(void **state) {
    (void)state;
    for (size_t i = 0; i < N_DIMS; i++) {
        check_restored(OCTET_KV_Q8_0, dims[i]);
        check_restored(OCTET_KV_Q4_0, dims[i]);
    }
}

/* Bytes of one position in one head are 2 * head_dim codes and the scales of their groups. */
static void test_memory_is_codes_and_scales(void **state) {
    (void)state;
    static const struct {
        enum octet_kv_type type;
        size_t code_bits, scale_bytes;
    } types[] = {
        {OCTET_KV_F32, 32, 0}, {OCTET_KV_F16, 16, 0}, {OCTET_KV_Q8_0, 8, 4}, {OCTET_KV_Q4_0, 4, 2}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t j = 0; j < N_DIMS; j++) {
            struct kv kv = open_kv(types[i].type, dims[j]);
            const size_t n_groups = (dims[j] + KV_GROUP - 1) / KV_GROUP;
            const size_t of_head =
                2 * (dims[j] * types[i].code_bits / 8 + n_groups * types[i].scale_bytes);
            assert_int_equal(kv.page_bytes, of_head * KV_BLOCK * N_LAYERS * N_HEADS);
            kv_close(&kv);
        }
}

static void test_what_is_not_finite_spoils_its_group_alone(void **state) {
    (void)state;
    enum { DIM = 80, BAD = 40 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float k[DIM], v[DIM], scratch[2 * DIM * KV_BLOCK];
    uint16_t half[DIM];
    for (size_t i = 0; i < 6; i++) {
        const enum octet_kv_type type = i % 2 ? OCTET_KV_Q8_0 : OCTET_KV_Q4_0;
        struct kv kv = open_kv(type, DIM);
        fill(k, DIM, 0);
        fill(v, DIM, 0);
        kv_store(&kv, &kernels_scalar, 0, 0, 6, k, v, half);
        k[BAD] = v[BAD] = bad[i / 2];
        kv_store(&kv, &kernels_scalar, 0, 0, 7, k, v, half);
        const float *k_t = kv_load(&kv, &kernels_scalar, 0, 0, 0, scratch);
        const float *values = k_t + DIM * KV_BLOCK;
        for (size_t d = 0; d < DIM; d++) {
            const bool spoilt = d / KV_GROUP == BAD / KV_GROUP;
            assert_true(!isnan(k_t[d * KV_BLOCK + 6]) && !isnan(values[6 * DIM + d]));
            assert_true(isnan(k_t[d * KV_BLOCK + 7]) == spoilt);
            assert_true(isnan(values[7 * DIM + d]) == spoilt);
        }
        kv_close(&kv);
    }
}

static double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static void test_turning_keeps_products_and_undoes_itself(void **state) {
    (void)state;
    float x[MAX_DIM], y[MAX_DIM], turned_x[MAX_DIM], turned_y[MAX_DIM];
    for (size_t i = 0; i < N_DIMS; i++) {
        const size_t n = dims[i];
        struct kv kv = open_kv(OCTET_KV_Q4_0, n);
        fill(x, n, 0);
        fill(y, n, 0);
        memcpy(turned_x, x, n * sizeof *x);
        memcpy(turned_y, y, n * sizeof *y);
        kv_turn(&kv, turned_x);
        kv_turn(&kv, turned_y);
        const double size = sqrt(dot(x, x, n) * dot(y, y, n));
        assert_true(memcmp(turned_x, x, n * sizeof *x) != 0);
        assert_true(fabs(dot(turned_x, turned_y, n) - dot(x, y, n)) < 1e-5 * size);
        kv_turn(&kv, turned_x);
        for (size_t d = 0; d < n; d++) assert_true(fabsf(turned_x[d] - x[d]) < 1e-4f);
        kv_close(&kv);
    }
}

static void test_turning_spreads_an_outlier_over_its_run(void **state) {
    (void)state;
    struct kv kv = open_kv(OCTET_KV_Q4_0, 80); // runs of 64 and 16
    float x[80] = {[3] = 8.0f, [70] = -4.0f};
    kv_turn(&kv, x);
    for (size_t d = 0; d < 80; d++) assert_true(fabsf(x[d]) == 1.0f);
    kv_close(&kv);
}

static void test_other_caches_turn_nothing(void **state) {
    (void)state;
    for (int type = OCTET_KV_F16; type < OCTET_KV_Q4_0; type++) {
        struct kv kv = open_kv((enum octet_kv_type)type, 16);
        float x[16], y[16];
        fill(x, 16, 0);
        memcpy(y, x, sizeof x);
        kv_turn(&kv, y);
        assert_memory_equal(x, y, sizeof x);
        kv_close(&kv);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integer_caches_restore_what_their_formulas_say),
        cmocka_unit_test(test_memory_is_codes_and_scales),
        cmocka_unit_test(test_what_is_not_finite_spoils_its_group_alone),
        cmocka_unit_test(test_turning_keeps_products_and_undoes_itself),
        cmocka_unit_test(test_turning_spreads_an_outlier_over_its_run),
        cmocka_unit_test(test_other_caches_turn_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
