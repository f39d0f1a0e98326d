/* The choice of how far ahead weights are fetched: it follows what is measured, and only that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/lookahead.h"

/* Steps of a machine where a byte takes PACE seconds, and SLOW more with the distance BAD. How many
 * of them had it. */
static int run(struct lookahead *l, int n_steps, double pace, double slow, size_t bad) {
    int n_bad = 0;
    for (int i = 0; i < n_steps; i++) {
        size_t distance = lookahead_begin(l);
        n_bad += distance == bad;
        lookahead_add(l, 1000, 1000 * pace * (distance == bad ? 1 + slow : 1));
        lookahead_add(l, 3000, 3000 * pace * (distance == bad ? 1 + slow : 1));
    }
    return n_bad;
}

static size_t usual(struct lookahead *l) {
    size_t distance = lookahead_begin(l);
    return l->tries ? lookahead_begin(l) : distance;
}

static void test_the_faster_distance_is_the_usual_one(void **state) {
    (void)state;
    struct lookahead l = {0};
    size_t first = usual(&l);
    run(&l, 64, 1e-10, 0.02, first);
    assert_int_not_equal(usual(&l), first);
    assert_in_range(run(&l, 64, 1e-10, 0.02, first), 1, 64 / 16); // tried again all the same
    run(&l, 200, 1e-10, -0.02, first);
    assert_int_equal(usual(&l), first);
}

static void test_memory_that_changes_its_speed_decides_nothing(void **state) {
    (void)state;
    struct lookahead l = {0};
    size_t first = usual(&l);
    run(&l, 64, 1e-10, 0.03, first);
    size_t better = usual(&l);
    for (int i = 0; i < 20; i++) {
        run(&l, 37, i % 2 ? 2e-10 : 1e-10, 0.03, first);
        assert_int_equal(usual(&l), better);
    }
}

static void test_steps_without_products_teach_nothing(void **state) {
    (void)state;
    struct lookahead l = {0};
    size_t first = usual(&l);
    for (int i = 0; i < 100; i++) lookahead_begin(&l);
    assert_int_equal(usual(&l), first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_faster_distance_is_the_usual_one),
        cmocka_unit_test(test_memory_that_changes_its_speed_decides_nothing),
        cmocka_unit_test(test_steps_without_products_teach_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
