/* compare/stats: against values published or computed with scipy 1.17 and numpy 2.4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "compare/stats.h"

static void near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance)) {
        fail_msg("found %.17g, expected %.17g +- %g", found, expected, tolerance);
    }
}

/* ---- One model ------------------------------------------------------------------------------- */

static void test_pass_at_k_is_unbiased(void **state) {
    (void)state;
    // 1 - C(n - c, k) / C(n, k) in exact fractions
    near(stats_pass_at_k(10, 3, 1), 0.3, 1e-15);
    near(stats_pass_at_k(10, 3, 5), 1 - 21.0 / 252, 1e-15);
    near(stats_pass_at_k(200, 3, 100), 0.8768844221105527, 1e-14);
    near(stats_pass_at_k(200, 150, 10), 0.9999995424579663, 1e-14);
    near(stats_pass_at_k(5, 0, 2), 0, 0);
    near(stats_pass_at_k(5, 5, 5), 1, 0);
    near(stats_pass_at_k(5, 3, 3), 1, 0); // fewer wrong ones than draws
    near(stats_pass_at_k(1, 1, 1), 1, 0);
}

static void test_pass_all_k_needs_every_draw(void **state) {
    (void)state;
    near(stats_pass_all_k(10, 3, 1), 0.3, 1e-15);
    near(stats_pass_all_k(10, 6, 3), 20.0 / 120, 1e-15);
    near(stats_pass_all_k(10, 2, 3), 0, 0);
    near(stats_pass_all_k(200, 150, 10), 0.05209362940404299, 1e-15);
    near(stats_pass_all_k(7, 7, 7), 1, 0);
}

static void test_pass_is_unknown_with_too_few_samples(void **state) {
    (void)state;
    assert_true(isnan(stats_pass_at_k(4, 2, 5)));
    assert_true(isnan(stats_pass_all_k(4, 2, 5)));
    assert_true(isnan(stats_pass_at_k(0, 0, 1)));
    assert_true(isnan(stats_pass_at_k(4, 2, 0)));
    assert_true(isnan(stats_pass_at_k(4, 5, 1)));
}

static void test_wilson_matches_published_intervals(void **state) {
    (void)state;
    const struct {
        uint64_t k;
        double low, high; // percent, one decimal, for 164 tasks
    } cases[] = {{74, 37.7, 52.8}, {81, 41.8, 57.0}, {126, 69.8, 82.6}, {145, 82.6, 92.5}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct stats_interval found = stats_wilson(cases[i].k, 164);
        near(100 * found.low, cases[i].low, 0.05);
        near(100 * found.high, cases[i].high, 0.05);
    }
    near(stats_wilson(74, 164).low, 0.3770455920240435, 1e-14);
    near(stats_wilson(74, 164).high, 0.527626351890047, 1e-14);
}

static void test_wilson_stays_within_zero_and_one(void **state) {
    (void)state;
    assert_true(stats_wilson(0, 10).low == 0);
    near(stats_wilson(0, 10).high, 0.27753279986288926, 1e-14);
    near(stats_wilson(10, 10).low, 0.7224672001371109, 1e-14);
    assert_true(stats_wilson(10, 10).high == 1);
    assert_true(stats_wilson(0, 0).low == 0 && stats_wilson(0, 0).high == 1);
    for (uint64_t n = 1; n < 300; n++) {
        for (uint64_t k = 0; k <= n; k++) {
            const struct stats_interval found = stats_wilson(k, n);
            const double rate = (double)k / (double)n;
            assert_true(0 <= found.low && found.low <= rate);
            assert_true(rate <= found.high && found.high <= 1);
        }
    }
}

static void test_percentiles_are_nearest_rank(void **state) {
    (void)state;
    double values[] = {50, 15, NAN, 40, 20, 35};
    stats_sort(values, 6);
    assert_true(isnan(values[5]));
    near(stats_percentile(values, 5, 0), 15, 0);
    near(stats_percentile(values, 5, 5), 15, 0);
    near(stats_percentile(values, 5, 30), 20, 0);
    near(stats_percentile(values, 5, 40), 20, 0);
    near(stats_percentile(values, 5, 50), 35, 0);
    near(stats_percentile(values, 5, 99), 50, 0);
    near(stats_percentile(values, 5, 100), 50, 0);
    assert_true(isnan(stats_percentile(values, 0, 50)));
    double many[10000];
    for (size_t i = 0; i < 10000; i++) many[i] = (double)(i + 1);
    near(stats_percentile(many, 10000, 2.5), 250, 0);
    near(stats_percentile(many, 10000, 97.5), 9750, 0);
}

/* ---- Two models ------------------------------------------------------------------------------ */

static void test_mcnemar_is_exact(void **state) {
    (void)state;
    near(stats_mcnemar(2, 0), 0.5, 1e-15); // two prompts, both won: proves nothing
    near(stats_mcnemar(5, 0), 0.0625, 1e-15);
    near(stats_mcnemar(6, 0), 0.03125, 1e-15);
    near(stats_mcnemar(0, 6), 0.03125, 1e-15);
    near(stats_mcnemar(0, 0), 1, 0);
    near(stats_mcnemar(7, 7), 1, 0);
    near(stats_mcnemar(10, 3), 0.09228515625, 1e-13);
    near(stats_mcnemar(15, 30), 0.035697803555194696, 1e-14);
    near(stats_mcnemar(480, 520), 0.2174482932041415, 1e-12);
    near(stats_mcnemar(30000, 30900), 0.00026948615662209717, 1e-12);
    assert_true(stats_mcnemar(100000, 0) == 0); // too small for a number, and quick
}

enum { N_TASKS = 40 };

/* Money and verdicts of two made-up models on the same tasks. */
static void make_tasks(double money[N_TASKS], double solved[N_TASKS], double other[N_TASKS]) {
    for (size_t i = 0; i < N_TASKS; i++) {
        money[i] = 0.001 * (double)(1 + i * 7 % 11);
        solved[i] = i * 3 % 5 < 2;
        other[i] = i * 7 % 4 < 2;
    }
}

static void test_bootstrap_agrees_with_numpy(void **state) {
    (void)state;
    double money[N_TASKS], solved[N_TASKS], other[N_TASKS];
    make_tasks(money, solved, other);
    struct octet_err err;
    struct stats_estimate e;
    const double *const difference[] = {solved, other};
    assert_int_equal(stats_bootstrap(difference, 2, N_TASKS, stats_mean_difference, STATS_SEED, &e,
                                     &err), OCTET_OK);
    near(e.value, -0.1, 1e-15);
    near(e.low, -0.325, 0.026); // one task is 0.025
    near(e.high, 0.125, 0.026);
    assert_int_equal(e.n_defined, STATS_RESAMPLES);
    const double *const ratio[] = {money, solved};
    assert_int_equal(stats_bootstrap(ratio, 2, N_TASKS, stats_ratio, STATS_SEED, &e, &err),
                     OCTET_OK);
    near(e.value, 0.015125, 1e-12);
    near(e.low, 0.01015, 0.0002);
    near(e.high, 0.02522, 0.0006);
    const double *const both[] = {money, solved, money, other};
    assert_int_equal(stats_bootstrap(both, 4, N_TASKS, stats_ratio_difference, STATS_SEED, &e,
                                     &err), OCTET_OK);
    near(e.value, 0.003025, 1e-12);
    near(e.low, -0.00371, 0.0004);
    near(e.high, 0.01270, 0.0006);
}

static void test_bootstrap_repeats_itself(void **state) {
    (void)state;
    double money[N_TASKS], solved[N_TASKS], other[N_TASKS];
    make_tasks(money, solved, other);
    const double *const columns[] = {money, solved};
    struct stats_estimate a, b, c;
    assert_int_equal(stats_bootstrap(columns, 2, N_TASKS, stats_ratio, 1, &a, NULL), OCTET_OK);
    assert_int_equal(stats_bootstrap(columns, 2, N_TASKS, stats_ratio, 1, &b, NULL), OCTET_OK);
    assert_int_equal(stats_bootstrap(columns, 2, N_TASKS, stats_ratio, 2, &c, NULL), OCTET_OK);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.low != c.low || a.high != c.high);
}

static void test_bootstrap_of_equal_models_finds_nothing(void **state) {
    (void)state;
    double money[N_TASKS], solved[N_TASKS], other[N_TASKS];
    make_tasks(money, solved, other);
    const double *const columns[] = {solved, solved};
    struct stats_estimate e;
    assert_int_equal(stats_bootstrap(columns, 2, N_TASKS, stats_mean_difference, 1, &e, NULL),
                     OCTET_OK);
    assert_true(e.value == 0 && e.low == 0 && e.high == 0); // paired: the noise cancels
}

static void test_nothing_solved_has_no_price_per_task(void **state) {
    (void)state;
    const double money[] = {1, 2}, none[] = {0, 0}, one[] = {1, 0};
    const double *columns[] = {money, none};
    struct stats_estimate e;
    assert_int_equal(stats_bootstrap(columns, 2, 2, stats_ratio, 1, &e, NULL), OCTET_OK);
    assert_true(isinf(e.value) && isinf(e.low) && isinf(e.high));
    columns[1] = one;
    assert_int_equal(stats_bootstrap(columns, 2, 2, stats_ratio, 1, &e, NULL), OCTET_OK);
    near(e.value, 3, 0);
    near(e.low, 1, 0);
    assert_true(isinf(e.high)); // a quarter of the resamples solves nothing
    columns[0] = none;
    columns[1] = none;
    assert_int_equal(stats_bootstrap(columns, 2, 2, stats_ratio, 1, &e, NULL), OCTET_OK);
    assert_true(isnan(e.value) && isnan(e.low) && e.n_defined == 0);
    assert_int_equal(stats_bootstrap(columns, 2, 0, stats_ratio, 1, &e, NULL), OCTET_OK);
    assert_true(isnan(e.value) && isnan(e.high));
}

static void test_bootstrap_refuses_wrong_columns_and_lacking_memory(void **state) {
    (void)state;
    const double column[] = {1};
    const double *const columns[] = {column, column, column, column, column};
    struct octet_err err;
    struct stats_estimate e;
    assert_int_equal(stats_bootstrap(columns, 5, 1, stats_mean, 1, &e, &err), OCTET_EARG);
    assert_int_equal(stats_bootstrap(columns, 0, 1, stats_mean, 1, &e, &err), OCTET_EARG);
    mem_fail_after(0);
    const enum octet_status status = stats_bootstrap(columns, 1, 1, stats_mean, 1, &e, &err);
    mem_fail_after(SIZE_MAX);
    assert_int_equal(status, OCTET_EMEM);
}

/* ---- Many models ----------------------------------------------------------------------------- */

static void test_holm_steps_down(void **state) {
    (void)state;
    const double p[] = {0.01, 0.04, 0.03, 0.005};
    double adjusted[4];
    assert_int_equal(stats_holm(p, 4, adjusted, NULL), OCTET_OK);
    near(adjusted[0], 0.03, 1e-15);
    near(adjusted[1], 0.06, 1e-15);
    near(adjusted[2], 0.06, 1e-15);
    near(adjusted[3], 0.02, 1e-15);
    double own[] = {0.9, 0.5, 0.6};
    assert_int_equal(stats_holm(own, 3, own, NULL), OCTET_OK);
    for (size_t i = 0; i < 3; i++) near(own[i], 1, 0);
    assert_int_equal(stats_holm(NULL, 0, NULL, NULL), OCTET_OK);
    mem_fail_after(0);
    const enum octet_status status = stats_holm(p, 4, adjusted, NULL);
    mem_fail_after(SIZE_MAX);
    assert_int_equal(status, OCTET_EMEM);
}

static void test_ties_are_with_the_leader(void **state) {
    (void)state;
    // A ~ B, B ~ C, but A and C differ; C ~ D.
    const double p[] = {1, 0.3, 0.01, 0.001, 0.3, 1, 0.2, 0.02, 0.01, 0.2, 1, 0.05, 0.001,
                        0.02, 0.05, 1};
    size_t group[4];
    stats_tie_groups(p, 4, group);
    const size_t expected[] = {0, 0, 1, 1};
    assert_memory_equal(group, expected, sizeof group);
    stats_tie_groups(p, 1, group);
    assert_int_equal(group[0], 0);
    stats_tie_groups(p, 0, group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pass_at_k_is_unbiased),
        cmocka_unit_test(test_pass_all_k_needs_every_draw),
        cmocka_unit_test(test_pass_is_unknown_with_too_few_samples),
        cmocka_unit_test(test_wilson_matches_published_intervals),
        cmocka_unit_test(test_wilson_stays_within_zero_and_one),
        cmocka_unit_test(test_percentiles_are_nearest_rank),
        cmocka_unit_test(test_mcnemar_is_exact),
        cmocka_unit_test(test_bootstrap_agrees_with_numpy),
        cmocka_unit_test(test_bootstrap_repeats_itself),
        cmocka_unit_test(test_bootstrap_of_equal_models_finds_nothing),
        cmocka_unit_test(test_nothing_solved_has_no_price_per_task),
        cmocka_unit_test(test_bootstrap_refuses_wrong_columns_and_lacking_memory),
        cmocka_unit_test(test_holm_steps_down),
        cmocka_unit_test(test_ties_are_with_the_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
