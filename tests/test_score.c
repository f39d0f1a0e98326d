/* Reading answers. Most tests are cases in tests/data/score: what a model could say, the file,
 * the measures and the placeholders that are to be found in it. The others are about all answers:
 * references have no placeholders, stubs have nothing else, and no bytes do harm. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "answer_cases.h"
#include "compare/score.h"

#define FOLDER "tests/data/score/"

static const char *const languages[] = {"python", "c",    "cpp",   "javascript", "go",
                                        "java",   "rust", "shell", "sql"};
enum { N_LANGUAGES = sizeof languages / sizeof languages[0] };

static void need_grammar(const char *language) {
    if (score_has_grammar(language)) return;
    print_message("no grammar for %s: structure checks are not tested\n", language);
    skip();
}

/* ---- Cases in files -------------------------------------------------------------------------- */

static bool same_text(const char *what, const char *found, const char *wanted) {
    if (!wanted || strcmp(found, wanted) == 0) return true;
    print_error("%s should be:\n%s<<<\nbut is:\n%s<<<\n", what, wanted, found);
    return false;
}

/* "yes", "no" or a number for each name. */
static bool meets(const struct reading *reading, const char *name, const char *wanted) {
    const struct {
        const char *name;
        size_t value;
    } values[] = {
        {"code", reading->has_code},        {"parses", reading->parses},
        {"entry", reading->has_entry},      {"truncated", reading->truncated},
        {"hollow", reading->hollow},        {"structure", reading->structure_checked},
        {"units", reading->n_units},        {"hollow_units", reading->n_hollow_units},
        {"before", reading->prose_before_bytes}, {"after", reading->prose_after_bytes},
        {"code_bytes", reading->code_bytes},     {"comment_bytes", reading->comment_bytes},
        {"dropped", reading->dropped_bytes},
    };
    size_t number = strcmp(wanted, "yes") == 0 ? 1 : (size_t)strtoul(wanted, NULL, 10);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (strcmp(values[i].name, name) != 0) continue;
        if (values[i].value == number) return true;
        print_error("%s should be %s but is %zu\n", name, wanted, values[i].value);
        return false;
    }
    print_error("no such measure: %s\n", name);
    return false;
}

/* One line per placeholder: "RULE: TEXT". */
static bool same_placeholders(const struct reading *reading, const char *answer,
                              const char *wanted) {
    char *found = mem_alloc(strlen(answer) * 8 + reading->n_placeholders * 64 + 1);
    assert_non_null(found);
    size_t n = 0;
    for (size_t i = 0; i < reading->n_placeholders; i++) {
        const struct placeholder *p = &reading->placeholders[i];
        n += (size_t)sprintf(found + n, "%s: %.*s\n", p->rule, (int)(p->end - p->begin),
                             answer + p->begin);
    }
    bool same = same_text("placeholders", found, wanted ? wanted : "");
    mem_free(found);
    return same;
}

static void check_spans(const struct reading *reading, size_t n_bytes) {
    size_t at = 0;
    for (size_t i = 0; i < reading->n_spans; i++) {
        assert_int_equal(reading->spans[i].begin, at);
        assert_true(reading->spans[i].end > at);
        at = reading->spans[i].end;
    }
    assert_int_equal(at, n_bytes);
    assert_int_equal(reading->code_bytes + reading->comment_bytes + reading->dropped_bytes +
                         reading->prose_before_bytes + reading->prose_after_bytes,
                     n_bytes);
}

static struct task task_of(const struct section *sections, size_t n, char *language, char *entry) {
    char shape[8] = "text";
    const struct section *task = find_section(sections, n, "task");
    assert_non_null(task);
    assert_int_equal(sscanf(task->rest, "%15s %7s %39s", language, shape, entry), 3);
    const char *prompt = section_text(sections, n, "prompt");
    return (struct task){.id = "case",
                         .language = language,
                         .prompt = prompt ? prompt : "",
                         .suffix = section_text(sections, n, "suffix"),
                         .entry = strcmp(entry, "-") == 0 ? NULL : entry,
                         .reference = section_text(sections, n, "reference"),
                         .shape = strcmp(shape, "text") == 0   ? TASK_TEXT
                                  : strcmp(shape, "code") == 0 ? TASK_CODE
                                                               : TASK_HOLE};
}

static bool run_case(const struct section *sections, size_t n) {
    char language[16], entry[40];
    const struct task task = task_of(sections, n, language, entry);
    const struct section *expect = find_section(sections, n, "expect");
    const char *answer = section_text(sections, n, "answer");
    assert_non_null(answer);
    if (strcmp(language, "sql") != 0 && !score_has_grammar(language)) return true;
    const char *finish = expect && strstr(expect->rest, "finish=length") ? "length" : "stop";
    struct reading reading;
    struct octet_err err;
    assert_int_equal(score_read(&task, answer, strlen(answer), finish, &reading, &err), OCTET_OK);
    check_spans(&reading, strlen(answer));
    bool ok = same_text("the lenient file", reading.lenient, section_text(sections, n, "lenient"));
    ok &= same_text("the strict file", reading.strict, section_text(sections, n, "strict"));
    ok &= same_placeholders(&reading, answer, section_text(sections, n, "placeholders"));
    char *rest = expect ? mem_strdup(expect->rest, strlen(expect->rest)) : NULL, *state = NULL;
    for (char *word = rest ? strtok_r(rest, " ", &state) : NULL; word;
         word = strtok_r(NULL, " ", &state)) {
        char *value = strchr(word, '=');
        assert_non_null(value);
        *value++ = '\0';
        if (strcmp(word, "finish") != 0) ok &= meets(&reading, word, value);
    }
    mem_free(rest);
    score_reading_free(&reading);
    return ok;
}

static void run_file(const char *path) {
    struct cases cases = {cases_read_file(path), NULL};
    struct section sections[MAX_SECTIONS];
    size_t n_failed = 0, n_cases = 0;
    cases.at = cases.bytes;
    for (size_t n; (n = cases_next(&cases, sections)) > 0; n_cases++) {
        if (!run_case(sections, n)) {
            print_error("in %s: %s\n", path, sections[0].rest);
            n_failed++;
        }
        for (size_t i = 0; i < n; i++) mem_free(sections[i].text);
    }
    mem_free(cases.bytes);
    assert_true(n_cases > 0);
    assert_int_equal(n_failed, 0);
}

static void test_reads_python_answers(void **state) {
    (void)state;
    need_grammar("python");
    run_file(FOLDER "python.txt");
}

static void test_reads_answers_in_other_languages(void **state) {
    (void)state;
    run_file(FOLDER "languages.txt");
}

static void test_finds_placeholders_and_spares_finished_code(void **state) {
    (void)state;
    need_grammar("python");
    run_file(FOLDER "placeholders.txt");
}

/* ---- References and stubs -------------------------------------------------------------------- */

static void read_answer(const struct task *task, const char *answer, struct reading *out) {
    struct octet_err err;
    assert_int_equal(score_read(task, answer, strlen(answer), "stop", out, &err), OCTET_OK);
    check_spans(out, strlen(answer));
}

static void check_reference(const struct task *task, const char *solution) {
    static const char *const stubs[] = {"    pass\n", "    ...\n", "    return None\n",
                                        "    raise NotImplementedError()\n",
                                        "    # Your code here\n    return []\n"};
    struct reading reading;
    read_answer(task, solution, &reading);
    assert_string_equal(reading.lenient, task->reference);
    assert_string_equal(reading.strict, task->reference);
    assert_true(reading.parses && reading.has_entry && !reading.hollow && !reading.truncated);
    assert_int_equal(reading.n_placeholders, 0);
    assert_int_equal(reading.n_hollow_units, 0);
    assert_true(fabs(reading.length_ratio - 1.0) < 1e-9);
    score_reading_free(&reading);
    for (size_t i = 0; i < sizeof stubs / sizeof stubs[0]; i++) {
        read_answer(task, stubs[i], &reading);
        assert_true(reading.hollow);
        assert_int_equal(reading.n_hollow_units, reading.n_units);
        assert_true(reading.n_placeholders > 0);
        score_reading_free(&reading);
    }
}

static void test_references_are_whole_and_stubs_hollow(void **state) {
    (void)state;
    need_grammar("python");
    json_t *rows = json_load_file(FOLDER "humaneval_sample.json", 0, NULL);
    assert_non_null(rows);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const char *prompt = json_string_value(json_object_get(row, "prompt"));
        const char *solution = json_string_value(json_object_get(row, "canonical_solution"));
        assert_true(prompt && solution);
        size_t n = strlen(prompt) + strlen(solution) + 1;
        char *reference = mem_alloc(n);
        assert_non_null(reference);
        snprintf(reference, n, "%s%s", prompt, solution);
        const struct task task = {.id = "x",
                                  .language = "python",
                                  .prompt = prompt,
                                  .entry = json_string_value(json_object_get(row, "entry_point")),
                                  .reference = reference,
                                  .shape = TASK_CODE};
        check_reference(&task, solution);
        mem_free(reference);
    }
    assert_true(i > 0);
    json_decref(rows);
}

/* The file is the solution, but for blanks at its end. */
static void check_file(const char *file, const char *solution) {
    size_t n = strlen(file), n_wanted = strlen(solution);
    while (n > 0 && file[n - 1] == '\n') n--;
    while (n_wanted > 0 && solution[n_wanted - 1] == '\n') n_wanted--;
    if (n != n_wanted || memcmp(file, solution, n) != 0)
        fail_msg("should be:\n%s<<<\nbut is:\n%s<<<", solution, file);
}

/* SOLUTION between BEFORE and AFTER. WHOLE: it is known to be finished. */
static void check_solution(const struct task *task, const char *before, const char *solution,
                           const char *after, bool whole) {
    size_t n = strlen(before) + strlen(solution) + strlen(after) + 1;
    char *answer = mem_alloc(n);
    assert_non_null(answer);
    snprintf(answer, n, "%s%s%s", before, solution, after);
    struct reading reading;
    read_answer(task, answer, &reading);
    check_file(reading.lenient, solution);
    if (whole && (reading.n_placeholders > 0 || reading.hollow || reading.n_hollow_units > 0 ||
                  !reading.parses || !reading.has_entry || reading.truncated))
        fail_msg("%s: the reference is not taken as finished:\n%s", task->id, answer);
    score_reading_free(&reading);
    mem_free(answer);
}

static void check_own_set(const char *name) {
    struct task_set set;
    struct octet_err err;
    assert_int_equal(task_set_open(name, &set, &err), OCTET_OK);
    for (size_t i = 0; i < set.n_tasks; i++) {
        const struct task *task = &set.tasks[i];
        if (strcmp(task->language, "sql") != 0 && !score_has_grammar(task->language)) continue;
        for (size_t k = 0; k <= task->n_wrong; k++) {
            bool whole = k == task->n_wrong;
            const char *code = whole ? task->reference : task->wrong[k];
            check_solution(task, "", code, "", whole);
            check_solution(task, "Sure:\n\n```\n", code, "```\n\nThat's it.\n", whole);
            check_solution(task, "Here is the code you asked for:\n\n", code,
                           "\nThis works as it was asked for.\n", whole);
        }
    }
    task_set_close(&set);
}

static void test_own_references_are_found_and_whole(void **state) {
    (void)state;
    for (size_t i = 0; task_builtin(i); i++) check_own_set(task_builtin(i));
}

/* ---- Any bytes ------------------------------------------------------------------------------- */

static void read_as(const char *language, enum task_shape shape, const char *answer, size_t n) {
    const struct task task = {.id = "x",
                              .language = language,
                              .prompt = "def f(x):\n",
                              .suffix = "    return x\n",
                              .entry = "f",
                              .shape = shape};
    struct reading reading;
    struct octet_err err;
    assert_int_equal(score_read(&task, answer, n, "stop", &reading, &err), OCTET_OK);
    check_spans(&reading, n);
    score_reading_free(&reading);
}

static void read_any(const char *answer, size_t n) {
    for (size_t i = 0; i < N_LANGUAGES; i++)
        for (int shape = TASK_TEXT; shape <= TASK_HOLE; shape++)
            read_as(languages[i], (enum task_shape)shape, answer, n);
}

static void read_repeated(const char *what, size_t times) {
    size_t n = strlen(what);
    char *answer = mem_alloc(n * times + 1);
    assert_non_null(answer);
    for (size_t i = 0; i < times; i++) memcpy(answer + i * n, what, n);
    read_as("python", TASK_CODE, answer, n * times);
    read_as("javascript", TASK_TEXT, answer, n * times);
    read_as("sql", TASK_TEXT, answer, n * times);
    mem_free(answer);
}

static void test_reads_any_bytes(void **state) {
    (void)state;
    static const char *const answers[] = {
        "",
        "```",
        "```python",
        "```python\n",
        "```\n```\ndef f(x):\n\xff\xfe    return 1\n",
        "    \xe2\x80\xa6",
        "\r\n```python\r\ndef f(x):\r\n    return 1\r\n```\r\n",
    };
    static const char zeros[] = "```\ndef f(x):\n    return '\0'\n\0\n\0```\n\0";
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        read_any(answers[i], strlen(answers[i]));
    read_any(zeros, sizeof zeros);
}

static void test_reads_large_answers_in_time(void **state) {
    (void)state;
    read_repeated("x", 1000000);
    read_repeated("```\n", 50000);
    read_repeated("{", 200000); // more siblings than tree-sitter can count
    read_repeated("(", 100000);
    read_repeated("((((\n", 5000);
    read_repeated("# TO" "DO\n", 20000);
    read_repeated("SELECT 1;\n\n", 10000);
    read_repeated("def f(x): pass\n", 1500);
}

/* Hidden nodes that nest as deep as the answer is long. */
static void test_reads_deep_nesting_in_time(void **state) {
    (void)state;
    enum { DEPTH = 8000 };
    char *answer = mem_alloc(2 * DEPTH + 1);
    assert_non_null(answer);
    memset(answer, '[', 2 * DEPTH);
    read_as("shell", TASK_HOLE, answer, 2 * DEPTH);
    read_as("python", TASK_TEXT, answer, 2 * DEPTH);
    mem_free(answer);
}

static void read_without_memory(const struct task *task, const char *answer) {
    struct reading reading;
    struct octet_err err;
    bool done = false;
    for (size_t after = 0; !done && after < 2000; after++) {
        mem_fail_after(after);
        enum octet_status status =
            score_read(task, answer, strlen(answer), "stop", &reading, &err);
        mem_fail_after(SIZE_MAX);
        done = status == OCTET_OK;
        if (!done) assert_int_equal(status, OCTET_EMEM);
        if (!done) assert_null(reading.lenient);
        score_reading_free(&reading);
    }
    assert_true(done);
}

static void test_survives_lack_of_memory(void **state) {
    (void)state;
    const struct task python = {.id = "x",
                                .language = "python",
                                .prompt = "def h(x):\n    return x\n\ndef f(x):\n",
                                .reference = "def f(x):\n    pass\n",
                                .suffix = "    return y\n",
                                .entry = "f"};
    struct task tasks[] = {python, python, python, python, python};
    tasks[1].shape = TASK_CODE;
    tasks[2].shape = TASK_HOLE;
    tasks[3].language = "sql";
    tasks[4].language = "javascript";
    static const char *const answers[] = {
        "Text.\n```python\ndef f(x):\n    # TO" "DO: x\n    return g(x)\n```\n"
        "```\ndef g(x): ...\n```",
        "    return h(x)\n\n# Helps.\ndef h2(x):\n    return x\n",
        "# TO" "DO\nSELECT 1; -- TO" "DO\nSELECT (\n\nThis is it.\n",
        "class A(B):\n    def f(self):\n        pass\n\ndef f(x):\n    ...\n",
    };
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        for (size_t k = 0; k < sizeof answers / sizeof answers[0]; k++)
            read_without_memory(&tasks[i], answers[k]);
}

static void test_names_every_state(void **state) {
    (void)state;
    for (int i = 0; i < N_FUNNEL; i++) assert_non_null(funnel_name((enum funnel)i));
    assert_string_equal(funnel_name(FUNNEL_NO_CODE), "no code");
    assert_string_equal(funnel_name(FUNNEL_PASSES_PLUS), "passes");
}

/* ---- Without grammars ------------------------------------------------------------------------ */

static void test_words_alone_find_code_and_comments(void **state) {
    (void)state;
    static const struct {
        const char *language, *code, *comment;
    } cases[] = {
        {"python", "def f(x):\n    return '#' + x ", "# TO" "DO"},
        {"c", "int f(int x) { return '/' + x; } ", "/* TO" "DO */"},
        {"cpp", "int f(int x) { return x; } ", "// TO" "DO"},
        {"javascript", "const f = (x) => \"\\\"//\" + x; ", "// TO" "DO"},
        {"go", "func f(x int) int { return x } ", "// TO" "DO"},
        {"java", "class A { int f(int x) { return x; } } ", "// TO" "DO"},
        {"rust", "fn f(x: i32) -> i32 { x } ", "// TO" "DO"},
        {"shell", "f() { echo '# \"'; } ", "# TO" "DO"},
        {"sql", "SELECT 'f -- x' FROM f ", "-- TO" "DO"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct task task = {
            .id = "x", .language = cases[i].language, .prompt = "", .entry = "f"};
        char answer[256];
        snprintf(answer, sizeof answer, "Here:\n```\n%s%s\n```\nThat is it.\n", cases[i].code,
                 cases[i].comment);
        struct reading reading;
        assert_false(score_has_grammar(task.language));
        read_answer(&task, answer, &reading);
        assert_true(reading.has_code && reading.parses && reading.has_entry && !reading.hollow);
        assert_false(reading.structure_checked);
        assert_int_equal(reading.n_units, 0);
        assert_int_equal(reading.n_placeholders, 1);
        assert_int_equal(reading.comment_bytes, strlen(cases[i].comment));
        score_reading_free(&reading);
    }
}

static void test_words_alone_end_code_at_prose(void **state) {
    (void)state;
    const struct task task = {.id = "x", .language = "python", .prompt = "", .entry = "g"};
    struct reading reading;
    read_answer(&task, "Like this:\n\ndef f(x):\n    return x\n\nThis gives back what it got.\n",
                &reading);
    assert_string_equal(reading.lenient, "def f(x):\n    return x\n");
    assert_false(reading.has_entry);
    score_reading_free(&reading);
}

/* Grammars are looked for once in a process, so this program runs itself without them. */
static void test_reads_without_grammars(void **state) {
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("OCTET_GRAMMARS", "/nonexistent", 1);
        execl("/proc/self/exe", "test_score", "without-grammars", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest without_grammars[] = {
        cmocka_unit_test(test_words_alone_find_code_and_comments),
        cmocka_unit_test(test_words_alone_end_code_at_prose),
        cmocka_unit_test(test_reads_any_bytes),
    };
    if (argc > 1 && strcmp(argv[1], "without-grammars") == 0)
        return cmocka_run_group_tests(without_grammars, NULL, NULL);
    find_grammars();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_python_answers),
        cmocka_unit_test(test_reads_answers_in_other_languages),
        cmocka_unit_test(test_finds_placeholders_and_spares_finished_code),
        cmocka_unit_test(test_references_are_whole_and_stubs_hollow),
        cmocka_unit_test(test_own_references_are_found_and_whole),
        cmocka_unit_test(test_reads_any_bytes),
        cmocka_unit_test(test_reads_large_answers_in_time),
        cmocka_unit_test(test_reads_deep_nesting_in_time),
        cmocka_unit_test(test_reads_without_grammars),
        cmocka_unit_test(test_survives_lack_of_memory),
        cmocka_unit_test(test_names_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
