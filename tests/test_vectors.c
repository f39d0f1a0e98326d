/* Texts as vectors: means over hidden states, whatever the pieces they are computed in. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "server/vectors.h"

enum { N_TOKENS = 150, MAX_D = 1024 };

static char path[128];
static struct octet_model *model;
static struct octet_session *session;
static size_t d;
static int32_t ids[N_TOKENS];
static const struct octet_tokens prompt = {ids, N_TOKENS, N_TOKENS};
static const size_t ends[] = {1, 20, N_TOKENS};

static int set_up(void **state) {
    (void)state;
    struct octet_synth_options options = {.arch = "llama-tiny", .type = "q8_0", .seed = 3};
    struct octet_err err;
    struct octet_model_info info;
    snprintf(path, sizeof path, "/tmp/octet-vectors-%d.gguf", (int)getpid());
    assert_int_equal(octet_synth(&options, path, &err), OCTET_OK);
    assert_int_equal(octet_model_open(path, NULL, &model, &err), OCTET_OK);
    assert_int_equal(octet_session_open(model, NULL, &session, &err), OCTET_OK);
    octet_model_get_info(model, &info);
    d = (size_t)info.d_model;
    assert_in_range(d, 1, MAX_D);
    for (size_t i = 0; i < N_TOKENS; i++) ids[i] = (int32_t)(i * 7919 % octet_n_tokens(model));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    octet_session_close(session);
    octet_model_close(model);
    return unlink(path);
}

static struct vectors *new_vectors(int norm) {
    struct vectors *v = vectors_new();
    assert_non_null(v);
    v->norm = norm;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) assert_true(vectors_add(v, ends[i]));
    return v;
}

static struct vectors *compute(int norm, size_t n_rows) {
    struct vectors *v = new_vectors(norm);
    struct octet_err err;
    while (v->n_done < v->n)
        if (vectors_step(v, model, session, &prompt, n_rows, &err) != OCTET_OK)
            fail_msg("%s", err.message);
    return v;
}

struct mean {
    double sum[MAX_D];
};

static void add(void *user, size_t position, const float *hidden) {
    (void)position;
    struct mean *mean = user;
    for (size_t i = 0; i < d; i++) mean->sum[i] += (double)hidden[i];
}

static void test_a_vector_is_the_mean_of_its_own_tokens(void **state) {
    (void)state;
    struct vectors *v = compute(VECTORS_PLAIN, 512);
    for (size_t text = 0, from = 0; text < v->n; from = ends[text++]) {
        struct mean mean = {{0}};
        const size_t n = ends[text] - from;
        octet_session_clear(session);
        assert_int_equal(octet_session_states(session, ids + from, n, add, &mean, NULL), OCTET_OK);
        for (size_t i = 0; i < d; i++)
            assert_true(v->values[text * d + i] == (float)(mean.sum[i] / (double)n));
    }
    vectors_free(v);
}

static void test_pieces_give_the_same_bits(void **state) {
    (void)state;
    struct vectors *whole = compute(VECTORS_EUCLID, 512);
    for (size_t n_rows = 1; n_rows < 100; n_rows += 33) {
        struct vectors *v = compute(VECTORS_EUCLID, n_rows);
        assert_memory_equal(v->values, whole->values, v->n * d * sizeof(float));
        vectors_free(v);
    }
    vectors_free(whole);
}

static void test_norms_are_those_asked_for(void **state) {
    (void)state;
    static const struct {
        int p;
        double expected;
    } cases[] = {{VECTORS_MAX, 32760}, {1, 1}, {VECTORS_EUCLID, 1}, {3, 1}, {100, 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct vectors *v = compute(cases[k].p, 64);
        for (size_t text = 0; text < v->n; text++) {
            double sum = 0, max = 0;
            for (size_t i = 0; i < d; i++) {
                const double x = fabs((double)v->values[text * d + i]);
                max = fmax(max, x);
                sum += pow(x, cases[k].p);
            }
            const double norm = cases[k].p == VECTORS_MAX ? max : pow(sum, 1.0 / cases[k].p);
            assert_true(fabs(norm / cases[k].expected - 1) < 1e-6);
        }
        vectors_free(v);
    }
}

static void test_allocation_failures_are_clean(void **state) {
    (void)state;
    for (size_t after = 0;; after++) {
        struct octet_err err;
        enum octet_status status = OCTET_EMEM;
        octet_session_clear(session);
        mem_fail_after(after);
        struct vectors *v = vectors_new();
        if (v && vectors_add(v, ends[1])) status = OCTET_OK;
        while (status == OCTET_OK && v->n_done < v->n)
            status = vectors_step(v, model, session, &prompt, 8, &err);
        mem_fail_after(SIZE_MAX);
        vectors_free(v);
        if (status == OCTET_OK) return;
        assert_int_equal(status, OCTET_EMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_vector_is_the_mean_of_its_own_tokens),
        cmocka_unit_test(test_pieces_give_the_same_bits),
        cmocka_unit_test(test_norms_are_those_asked_for),
        cmocka_unit_test(test_allocation_failures_are_clean),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
