/* The choice of how far ahead weights are fetched: it follows what is measured, and only that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/lookahead.h"

enum { N_PRODUCTS = 12 };

/* Steps of a machine where a byte takes PACE seconds, and SLOW more with the distance BAD. How many
 * of them had nothing but it. */
static int run(struct lookahead *l, int n_steps, double pace, double slow, size_t bad) {
    int n_bad = 0;
    for (int i = 0; i < n_steps; i++) {
        lookahead_begin(l);
        int n = 0;
        for (int p = 0; p < N_PRODUCTS; p++) {
            size_t distance = lookahead_next(l), n_bytes = p % 4 ? 1000 : 3000;
            n += distance == bad;
            double share = p % 4 ? 1 : 1.2; // not all kinds of products are equally fast
            lookahead_add(l, n_bytes,
                          (double)n_bytes * share * pace * (distance == bad ? 1 + slow : 1));
        }
        n_bad += n == N_PRODUCTS;
    }
    return n_bad;
}

/* Distances as they are in one step. */
static size_t of_a_step(struct lookahead *l) {
    lookahead_begin(l);
    return lookahead_next(l);
}

/* One that is not a try. */
static size_t usual(struct lookahead *l) {
    size_t distance = of_a_step(l);
    return l->tries ? of_a_step(l) : distance;
}

static void test_the_first_step_shows_what_is_much_better(void **state) {
    (void)state;
    const size_t distances[LOOKAHEAD_N] = {6144, 10240, 16384};
    for (size_t i = 0; i < LOOKAHEAD_N; i++) {
        struct lookahead l = {0};
        run(&l, 1, 1e-10, -0.4, distances[i]);
        assert_int_equal(run(&l, 1, 1e-10, -0.4, distances[i]), 1);
        int n = run(&l, 100, 1e-10, -0.4, distances[i]);
        assert_in_range(n, 98, 100); // the others are not tried
    }
}

static void test_the_faster_distance_is_the_usual_one(void **state) {
    (void)state;
    struct lookahead l = {0};
    assert_int_equal(lookahead_usual(&l), 0);
    run(&l, 1, 1e-10, 0, 0);
    assert_int_equal(lookahead_usual(&l), 0); // nothing has been learned of the step yet
    size_t first = usual(&l);
    assert_int_equal(lookahead_usual(&l), first);
    run(&l, 64, 1e-10, 0.02, first);
    assert_int_not_equal(usual(&l), first);
    assert_in_range(run(&l, 64, 1e-10, 0.02, first), 1, 64 / 16); // tried again all the same
    run(&l, 200, 1e-10, -0.02, first);
    assert_int_equal(usual(&l), first);
}

static void test_memory_that_changes_its_speed_decides_nothing(void **state) {
    (void)state;
    struct lookahead l = {0};
    size_t first = 6144;
    run(&l, 64, 1e-10, -0.03, first);
    assert_int_equal(usual(&l), first);
    for (int i = 0; i < 20; i++) {
        run(&l, 37, i % 2 ? 2e-10 : 1e-10, -0.03, first);
        assert_int_equal(usual(&l), first);
    }
}

static void test_steps_without_products_teach_nothing(void **state) {
    (void)state;
    struct lookahead l = {0};
    run(&l, 1, 1e-10, -0.4, 10240);
    for (int i = 0; i < 100; i++) lookahead_begin(&l);
    assert_int_equal(usual(&l), 10240);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_step_shows_what_is_much_better),
        cmocka_unit_test(test_the_faster_distance_is_the_usual_one),
        cmocka_unit_test(test_memory_that_changes_its_speed_decides_nothing),
        cmocka_unit_test(test_steps_without_products_teach_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
