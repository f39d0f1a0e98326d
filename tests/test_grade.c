/* compare/grade: references pass, wrong answers and answers that attack the judge do not, and every
 * grade is given where it belongs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "judge_set.h"
#include "temp_folder.h"

#define DATA "tests/data/compare/"

static void grade(const struct task *task, const char *code, struct verdict *verdict) {
    const struct grade_options options = {false, NULL, false};
    struct octet_err err = {0};
    if (grade_code(task, code, &options, verdict, &err) != OCTET_OK) fail_msg("%s", err.message);
}

/* ---- Whole sets ------------------------------------------------------------------------------ */

static void test_references_of_published_sets_pass(void **state) {
    (void)state;
    judge_set(DATA "HumanEval.jsonl");
    judge_set(DATA "HumanEvalPlus-Mini.jsonl.gz");
    judge_set(DATA "HumanEval-SingleLineInfilling.jsonl");
    judge_set(DATA "humaneval_js.jsonl");
    judge_set(DATA "fixture-mbppplus.jsonl");
}

static void test_every_judge_tells_right_from_wrong(void **state) {
    (void)state;
    judge_set(DATA "programs.yaml");
}

static void test_no_attack_passes(void **state) {
    (void)state;
    judge_set(DATA "attacks.yaml");
}

/* ---- Grades ---------------------------------------------------------------------------------- */

static void test_gives_each_grade_where_it_belongs(void **state) {
    (void)state;
    static const struct {
        const char *id, *code, *detail;
        enum grade grade;
    } cases[] = {
        {"attacks/python-calls", "def double(x:\n", "SyntaxError", GRADE_NOT_COMPILED},
        {"attacks/python-calls", "def triple(x): return 3 * x\n", "double is not defined",
         GRADE_NO_ENTRY},
        {"attacks/python-calls", "", "double is not defined", GRADE_NO_ENTRY},
        {"attacks/python-calls", "double = 3\n", "double is not defined", GRADE_NO_ENTRY},
        {"attacks/python-calls", "import no_such_module\n", "ModuleNotFoundError", GRADE_FAILS},
        {"attacks/python-calls", "def double(x):\n  while True: pass\n", "within 1 s",
         GRADE_TIMES_OUT},
        {"attacks/python-calls", "def double(x): return x + x if x != 21 else 0\n",
         "double(21): expected 42, got 0", GRADE_FAILS},
        {"attacks/python-calls", "def double(x): return x[0]\n",
         "double(1): expected 2, raised TypeError", GRADE_FAILS},
        {"attacks/python-check", "def double(x): return x\n", "assert candidate(1) == 2",
         GRADE_FAILS},
        {"attacks/javascript-calls", "const double = (", "SyntaxError", GRADE_NOT_COMPILED},
        {"attacks/javascript-check", "const triple = 3;", "double is not defined", GRADE_NO_ENTRY},
        {"attacks/javascript-check", "const double = (x) => 3;",
         "console.assert(double(1) === 2): assertion failed", GRADE_FAILS},
        {"programs/c", "int main(void) { return 0 }", "error: expected", GRADE_NOT_COMPILED},
        {"programs/c", "int main(void) { return 4; }", "case 1: expected exit status 0, found 4",
         GRADE_FAILS},
        {"programs/c", "#include <stdlib.h>\nint main(void) { abort(); }",
         "case 1: killed by a signal", GRADE_FAILS},
        {"programs/shell", "echo abc", "case 1: output, line 1: expected ABC, found abc",
         GRADE_FAILS},
        {"programs/check", "open('sorted.txt', 'w')\nprint('sorted')",
         "size 10: AssertionError: not sorted", GRADE_FAILS},
        {"programs/check", "print('\\0' * 10)", "size 10: AssertionError: not said", GRADE_FAILS},
    };
    struct task_set sets[2];
    open_set(DATA "attacks.yaml", &sets[0]);
    open_set(DATA "programs.yaml", &sets[1]);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct task *task = NULL;
        for (size_t k = 0; k < sets[0].n_tasks + sets[1].n_tasks; k++) {
            const struct task *const one =
                k < sets[0].n_tasks ? &sets[0].tasks[k] : &sets[1].tasks[k - sets[0].n_tasks];
            if (strcmp(one->id, cases[i].id) == 0) task = one;
        }
        assert_non_null(task);
        struct verdict v;
        grade(task, cases[i].code, &v);
        if (v.base != GRADE_NO_TOOL) {
            if (v.base != cases[i].grade || !strstr(v.detail, cases[i].detail))
                fail_msg("%s %s: %s: %s", cases[i].id, cases[i].code, grade_name(v.base), v.detail);
        }
        assert_int_equal(v.base, v.plus);
        grade_verdict_free(&v);
    }
    task_set_close(&sets[0]);
    task_set_close(&sets[1]);
}

/* Codes in which a simpler reader than the compiler would overlook a word. */
static void test_finds_refused_words_where_they_hide(void **state) {
    (void)state;
    static const struct {
        const char *id, *code, *detail;
    } cases[] = {
        {"cpp", "int twice(int x) { char c = '\"'; exit(0); char d = '\"'; }", "uses exit"},
        {"cpp", "int twice(int x) { int c = 'a\"'; exit(0); char d = '\"'; }", "uses exit"},
        {"cpp", "int twice(int x) { int c = u8'\\'', d = '\"'; exit(0); /* \" */ }", "uses exit"},
        {"cpp", "int n = 1'000'000; /* ' */ int twice(int x) { exit(0); }", "uses exit"},
        {"cpp", "#define X(...)\nX(1'a'\"')\nint twice(int x) { exit(0); } // \"", "uses exit"},
        {"cpp", "bool operator/**/==(liar, int) { return true; }", "uses operator=="},
        {"cpp", "bool operator // \n not_eq(liar, int) { return true; }", "uses operator not_eq"},
        {"cpp", "#define join(a, b) a%:%:b", "uses %:"},
        {"cpp", "const char *s = R\"(\")\"; int twice(int x) { exit(0); }", "uses R\""},
        {"cpp", "/* a ** / \" */ int x = 1; // \"\nint y = _exit(0);", "uses _exit"},
        {"java", "class A { String a = \"\\u0022; System.exit(0); // \"; }", "uses \\u"},
        {"java", "class A { char c = '\"'; { System . exit(0); } char d = '\"'; }", "uses exit"},
        {"rust", "/* /* */ \" */ fn f() { std::process::exit(0) } // \"", "uses exit"},
        {"rust", "const A: &str = \"\n\"; fn f() { exit(0) } const B: &str = \"\n\";", "uses exit"},
        {"rust", "const A: char = 'é'; const B: char = '\"'; fn f() { exit(0) } // \"",
         "uses exit"},
        {"rust", "fn f<'a>(x: &'a str) { exit(0) }", "uses exit"},
    };
    struct task_set set;
    open_set(DATA "attacks.yaml", &set);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct task *task = set.tasks;
        while (task->judge != JUDGE_APPENDED || strcmp(task->language, cases[i].id) != 0) task++;
        struct verdict v;
        grade(task, cases[i].code, &v);
        if (v.base != GRADE_NO_TOOL &&
            (v.base != GRADE_FAILS || !strstr(v.detail, cases[i].detail)))
            fail_msg("%s: %s: %s", cases[i].code, grade_name(v.base), v.detail);
        grade_verdict_free(&v);
    }
    task_set_close(&set);
}

static void test_tells_base_from_plus(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "HumanEvalPlus-Mini.jsonl.gz", &set);
    struct verdict v;
    grade(&set.tasks[0], set.tasks[0].reference, &v);
    assert_true(v.has_plus);
    assert_false(v.same_process);
    assert_int_equal(v.n_tests, 19);
    assert_int_equal(v.n_passed, 19);
    assert_string_equal(v.detail, "");
    grade_verdict_free(&v);
    // Right for the inputs of the base tests, wrong for one number alone.
    grade(&set.tasks[0],
          "def has_close_elements(numbers, threshold):\n"
          "    if len(numbers) == 1: return True\n"
          "    s = sorted(numbers)\n"
          "    return any(b - a < threshold for a, b in zip(s, s[1:]))\n",
          &v);
    assert_int_equal(v.base, GRADE_PASSES);
    assert_int_equal(v.plus, GRADE_FAILS);
    assert_int_equal(v.n_passed, 18);
    assert_non_null(strstr(v.detail, "has_close_elements([1.0], 0.5): expected False, got True"));
    grade_verdict_free(&v);
    task_set_close(&set);
}

static void test_compares_numbers_as_evalplus_does(void **state) {
    (void)state;
    static const struct {
        const char *result;
        bool passes;
    } cases[] = {
        {"(3.9, 4.0)", true},
        {"(3.9000001, 4.0)", true},
        {"(3.91, 4.0)", false},
        {"[3.9, 4.0]", false},
        {"((3.9, 4.0), (3.9, 4.0))", true}, // as numpy stretches what is expected
        {"((3.9, 4.0), (3.9, 4.1))", false},
        {"((3.9, 4.0), 3.9)", false},
        {"(3.9, 4.0, 4.0)", false},
        {"(3.9,)", false},
        {"(3.9, float('nan'))", false},
        {"(3.9, '4.0')", false},
        {"(3.9, 4 + 0j)", true},
        {"(3.9, 10 ** 30)", false},
    };
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "a.jsonl");
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"task_id\": \"HumanEval/0\", \"prompt\": \"def f(x):\\n\", \"canonical_solution\": "
          "\"  return (3.9, 4.0)\", \"entry_point\": \"f\", \"atol\": 0, \"base_input\": [[1]], "
          "\"plus_input\": []}\n",
          file);
    assert_int_equal(fclose(file), 0);
    struct task_set set;
    open_set(path, &set);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char code[80];
        snprintf(code, sizeof code, "def f(x):\n    return %s\n", cases[i].result);
        struct verdict v;
        grade(&set.tasks[0], code, &v);
        if (v.base != GRADE_NO_TOOL && (v.base == GRADE_PASSES) != cases[i].passes)
            fail_msg("%s: %s", cases[i].result, v.detail);
        grade_verdict_free(&v);
    }
    task_set_close(&set);
    assert_true(folder_close(&folder));
}

static void test_keeps_what_the_code_wrote(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "attacks.yaml", &set);
    struct verdict v;
    grade(&set.tasks[0],
          "import sys\n"
          "print('to out', end='')\n"
          "def double(x):\n"
          "    print('\\0in call', file=sys.stderr)\n"
          "    return 2 * x\n",
          &v);
    assert_int_equal(v.base, GRADE_PASSES);
    assert_string_equal(v.output, "to out in call\n in call\n in call\n");
    assert_true(v.seconds > 0);
    assert_int_equal(v.layers, box_probe()->have & v.layers);
    grade_verdict_free(&v);
    grade(&set.tasks[0], "print('x' * 10000000)\ndef double(x): return 2 * x\n", &v);
    assert_int_equal(v.base, GRADE_PASSES);
    assert_int_equal(strlen(v.output), 16 << 10);
    grade_verdict_free(&v);
    task_set_close(&set);
}

static void test_says_where_tests_share_the_process(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "attacks.yaml", &set);
    for (size_t i = 0; i < set.n_tasks; i++) {
        if (set.tasks[i].judge != JUDGE_APPENDED) continue;
        struct verdict v;
        grade(&set.tasks[i], set.tasks[i].reference, &v);
        assert_true(v.base == GRADE_NO_TOOL || (v.base == GRADE_PASSES && v.same_process));
        grade_verdict_free(&v);
    }
    task_set_close(&set);
}

static void test_measures_and_extrapolates_sizes(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "programs.yaml", &set);
    const struct task *const task = &set.tasks[set.n_tasks - 1];
    struct verdict v;
    grade(task, task->reference, &v);
    assert_int_equal(v.base, GRADE_PASSES);
    assert_int_equal(v.n_tests, 2);
    assert_memory_equal(v.detail, "10: ", 4);
    assert_non_null(strstr(v.detail, "; 1000: "));
    assert_non_null(strstr(v.detail, "; 1000000: about "));
    grade_verdict_free(&v);
    task_set_close(&set);
}

static void test_does_not_judge_without_the_tool(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "programs.yaml", &set);
    char *const path = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    for (size_t i = 0; i < set.n_tasks; i++) {
        struct verdict v;
        grade(&set.tasks[i], set.tasks[i].reference, &v);
        assert_int_equal(v.base, GRADE_NO_TOOL);
        assert_non_null(strstr(v.detail, "is not installed here"));
        grade_verdict_free(&v);
    }
    setenv("PATH", path, 1);
    free(path);
    task_set_close(&set);
}

static void test_does_not_judge_without_the_module(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "needs.yaml");
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    fputs("id: a\nlanguage: python\nprompt: p\nneeds: [json, no_such_module_here]\n"
          "cases: [{expect: \"\"}]\n",
          file);
    assert_int_equal(fclose(file), 0);
    struct task_set set;
    open_set(path, &set);
    struct verdict v;
    grade(&set.tasks[0], "", &v);
    assert_int_equal(v.base, GRADE_NO_TOOL);
    assert_string_equal(v.detail, "Python here lacks no_such_module_here");
    grade_verdict_free(&v);
    task_set_close(&set);
    assert_true(folder_close(&folder));
}

static void test_can_be_cancelled(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "attacks.yaml", &set);
    volatile const bool cancel = true;
    const struct grade_options options = {false, &cancel, false};
    struct verdict v;
    struct octet_err err = {0};
    assert_int_equal(grade_code(&set.tasks[0], set.tasks[0].reference, &options, &v, &err),
                     OCTET_ECANCELLED);
    assert_null(v.detail);
    task_set_close(&set);
}

static void test_survives_failed_allocations(void **state) {
    (void)state;
    static const size_t tasks[] = {0, 2, 7}; // calls, cases, check
    struct task_set set;
    open_set(DATA "programs.yaml", &set);
    const struct grade_options options = {false, NULL, false};
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        const struct task *const task = &set.tasks[tasks[i]];
        for (size_t after = 0; after < 24; after += 3) {
            struct verdict v;
            struct octet_err err = {0};
            mem_fail_after(after);
            const enum octet_status status = grade_code(task, task->reference, &options, &v, &err);
            mem_fail_after(SIZE_MAX);
            assert_true(status == OCTET_OK || status == OCTET_EMEM);
            if (status == OCTET_OK) grade_verdict_free(&v);
        }
    }
    task_set_close(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references_of_published_sets_pass),
        cmocka_unit_test(test_every_judge_tells_right_from_wrong),
        cmocka_unit_test(test_no_attack_passes),
        cmocka_unit_test(test_gives_each_grade_where_it_belongs),
        cmocka_unit_test(test_finds_refused_words_where_they_hide),
        cmocka_unit_test(test_tells_base_from_plus),
        cmocka_unit_test(test_compares_numbers_as_evalplus_does),
        cmocka_unit_test(test_keeps_what_the_code_wrote),
        cmocka_unit_test(test_says_where_tests_share_the_process),
        cmocka_unit_test(test_measures_and_extrapolates_sizes),
        cmocka_unit_test(test_does_not_judge_without_the_tool),
        cmocka_unit_test(test_does_not_judge_without_the_module),
        cmocka_unit_test(test_can_be_cancelled),
        cmocka_unit_test(test_survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, skip_without_sandbox, NULL);
}
