/* Filling holes: what is cut from what a model wrote, and foreign marks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "server/fim.h"

/* What is shown of TEXT between PREFIX and SUFFIX once it is complete; the caller's. */
static char *shown(const char *prefix, const char *suffix, const char *text, int n_indent) {
    struct hole *const hole = hole_new(prefix, suffix);
    assert_non_null(hole);
    hole->n_indent = n_indent;
    bool over = false;
    const size_t n = fim_cut(hole, text, strlen(text), true, &over);
    hole_free(hole);
    return mem_strdup(text, n);
}

static void assert_shown(const char *suffix, const char *text, int n_indent, const char *expected) {
    char *const found = shown("", suffix, text, n_indent);
    assert_string_equal(found, expected);
    mem_free(found);
}

static void test_text_that_fits_stays(void **state) {
    (void)state;
    assert_shown("", "", 0, "");
    assert_shown("", "return 1\n", 0, "return 1\n");
    assert_shown("\nend", "a\nb", 0, "a\nb");
}

static void test_the_next_line_is_not_repeated(void **state) {
    (void)state;
    assert_shown("\n\nprint(add(1, 2))\n", "a + b\n\nprint(add(1, 2))\nmore", 0, "a + b\n");
    assert_shown("\nprint(add(1, 2))", "a + b\n  print(add(1, 2)) # 3", 0, "a + b");
    assert_shown("\n}\n", "x;\n}\ny", 0, "x;\n}\ny"); // too short to tell
}

static void test_overlap_with_the_rest_of_the_line_is_cut(void **state) {
    (void)state;
    assert_shown(")\n", "1, 2)", 0, "1, 2");
    assert_shown(")\n", "f(1)", 0, "f(1)"); // opened by itself
    assert_shown("; // sum\n", "a + b; // sum", 0, "a + b");
    assert_shown("b\n", "a b", 0, "a b");
}

static void test_less_indentation_ends_it(void **state) {
    (void)state;
    assert_shown("", "x = 1\n    y = 2\nz = 3", 4, "x = 1\n    y = 2");
    assert_shown("", "x = 1\n\n\ty = 2\n", 4, "x = 1\n\n\ty = 2\n");
}

static void test_pieces_never_take_back_what_was_shown(void **state) {
    (void)state;
    static const char text[] = "a + b)\n    c\nprint(add(1, 2))\nrest";
    struct hole *const hole = hole_new("f(", ")\n\nprint(add(1, 2))\n");
    size_t before = 0;
    bool over = false;
    for (size_t n = 0; n <= strlen(text) && !over; n++) {
        const size_t now = fim_cut(hole, text, n, false, &over);
        assert_true(now >= before && now <= n);
        before = now;
    }
    assert_true(over);
    assert_int_equal(before, strlen("a + b)\n    c"));
    hole_free(hole);
}

static void test_blanks_that_are_there_are_skipped(void **state) {
    (void)state;
    struct hole hole = {.n_blanks = 4};
    assert_int_equal(fim_skip(&hole, "      x", 7), 4);
    assert_int_equal(fim_skip(&hole, " x", 2), 1);
    assert_int_equal(fim_skip(&hole, "x", 1), 0);
}

static void assert_rescued(const char *prompt, const char *prefix, const char *suffix) {
    struct hole *const hole = fim_rescue(prompt);
    assert_non_null(hole);
    assert_string_equal(hole->prefix, prefix);
    assert_string_equal(hole->suffix, suffix);
    hole_free(hole);
}

static void test_foreign_marks_are_understood(void **state) {
    (void)state;
    assert_rescued("<fim_prefix>a<fim_suffix>b<fim_middle>", "a", "b");
    assert_rescued("<fim_suffix>b<fim_prefix>a<fim_middle>", "a", "b");
    assert_rescued("<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "a", "b");
    assert_rescued("[SUFFIX]b[PREFIX]a", "a", "b");
    assert_rescued("<PRE>a<SUF>b<MID>", "a", "b");
    assert_null(fim_rescue("plain"));
    assert_null(fim_rescue("<fim_prefix>a<fim_suffix>b"));
    assert_null(fim_rescue("<fim_suffix>"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_that_fits_stays),
        cmocka_unit_test(test_the_next_line_is_not_repeated),
        cmocka_unit_test(test_overlap_with_the_rest_of_the_line_is_cut),
        cmocka_unit_test(test_less_indentation_ends_it),
        cmocka_unit_test(test_pieces_never_take_back_what_was_shown),
        cmocka_unit_test(test_blanks_that_are_there_are_skipped),
        cmocka_unit_test(test_foreign_marks_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
