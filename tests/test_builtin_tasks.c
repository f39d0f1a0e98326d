/* tasks/core and tasks/article: every reference passes its own tests, every wrong answer fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "judge_set.h"

static void test_core_tells_right_from_wrong(void **state) {
    (void)state;
    judge_set("core");
}

static void test_article_tells_right_from_wrong(void **state) {
    (void)state;
    judge_set("article");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core_tells_right_from_wrong),
        cmocka_unit_test(test_article_tells_right_from_wrong),
    };
    return cmocka_run_group_tests(tests, skip_without_sandbox, NULL);
}
