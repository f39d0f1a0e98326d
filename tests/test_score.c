/* Reading answers. Most tests are cases in tests/data/score: what a model could say, the file,
 * the measures and the placeholders that are to be found in it. The others are about all answers:
 * references have no placeholders, stubs have nothing else, and no bytes do harm. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "compare/score.h"

#define FOLDER "tests/data/score/"

static void need_grammar(const char *language) {
    if (score_has_grammar(language)) return;
    print_message("no grammar for %s: structure checks are not tested\n", language);
    skip();
}

/* ---- Cases in files -------------------------------------------------------------------------- */

enum { MAX_SECTIONS = 16 };

/* "=== NAME REST" and the lines up to the next such line. */
struct section {
    char name[24], rest[120];
    char *text;
};
struct cases {
    char *bytes;
    const char *at;
};

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long n = ftell(file);
    assert_true(n >= 0);
    rewind(file);
    char *bytes = mem_alloc((size_t)n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)n, file), n);
    fclose(file);
    return bytes;
}

static const char *next_section(const char *from) {
    const char *found = strstr(from, "\n=== ");
    return found ? found + 1 : from + strlen(from);
}

/* The sections of the next case, the first of which is named "case"; 0: no more. */
static size_t next_case(struct cases *cases, struct section *sections) {
    size_t n = 0;
    while (*cases->at && (n == 0 || strncmp(cases->at, "=== case", 8) != 0)) {
        assert_true(n < MAX_SECTIONS);
        struct section *section = &sections[n++];
        section->rest[0] = '\0';
        assert_true(sscanf(cases->at, "=== %23[^ \n] %119[^\n]", section->name, section->rest) > 0);
        const char *text = strchr(cases->at, '\n') + 1;
        cases->at = next_section(text - 1);
        size_t n_text = (size_t)(cases->at - text);
        if (strcmp(section->rest, "without the last newline") == 0) n_text--;
        section->text = mem_strdup(text, n_text);
        assert_non_null(section->text);
    }
    return n;
}

static const struct section *find(const struct section *sections, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(sections[i].name, name) == 0) return &sections[i];
    return NULL;
}

static const char *text_of(const struct section *sections, size_t n, const char *name) {
    const struct section *section = find(sections, n, name);
    return section ? section->text : NULL;
}

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
    const struct section *task = find(sections, n, "task");
    assert_non_null(task);
    assert_int_equal(sscanf(task->rest, "%15s %7s %39s", language, shape, entry), 3);
    const char *prompt = text_of(sections, n, "prompt");
    return (struct task){.id = "case",
                         .language = language,
                         .prompt = prompt ? prompt : "",
                         .suffix = text_of(sections, n, "suffix"),
                         .entry = strcmp(entry, "-") == 0 ? NULL : entry,
                         .reference = text_of(sections, n, "reference"),
                         .shape = strcmp(shape, "text") == 0   ? TASK_TEXT
                                  : strcmp(shape, "code") == 0 ? TASK_CODE
                                                               : TASK_HOLE};
}

static bool run_case(const struct section *sections, size_t n) {
    char language[16], entry[40];
    const struct task task = task_of(sections, n, language, entry);
    const struct section *expect = find(sections, n, "expect");
    const char *answer = text_of(sections, n, "answer");
    assert_non_null(answer);
    if (strcmp(language, "sql") != 0 && !score_has_grammar(language)) return true;
    const char *finish = expect && strstr(expect->rest, "finish=length") ? "length" : "stop";
    struct reading reading;
    struct octet_err err;
    assert_int_equal(score_read(&task, answer, strlen(answer), finish, &reading, &err), OCTET_OK);
    check_spans(&reading, strlen(answer));
    bool ok = same_text("the lenient file", reading.lenient, text_of(sections, n, "lenient"));
    ok &= same_text("the strict file", reading.strict, text_of(sections, n, "strict"));
    ok &= same_placeholders(&reading, answer, text_of(sections, n, "placeholders"));
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
    struct cases cases = {read_file(path), NULL};
    struct section sections[MAX_SECTIONS];
    size_t n_failed = 0, n_cases = 0;
    cases.at = cases.bytes;
    for (size_t n; (n = next_case(&cases, sections)) > 0; n_cases++) {
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

/* ---- Any bytes ------------------------------------------------------------------------------- */

static void read_any(const char *answer, size_t n) {
    static const char *const languages[] = {"python", "javascript", "cpp", "sql", "shell"};
    for (size_t i = 0; i < sizeof languages / sizeof languages[0]; i++) {
        for (int shape = TASK_TEXT; shape <= TASK_HOLE; shape++) {
            const struct task task = {.id = "x",
                                      .language = languages[i],
                                      .prompt = "def f(x):\n",
                                      .suffix = "    return x\n",
                                      .entry = "f",
                                      .shape = (enum task_shape)shape};
            struct reading reading;
            struct octet_err err;
            assert_int_equal(score_read(&task, answer, n, "stop", &reading, &err), OCTET_OK);
            check_spans(&reading, n);
            score_reading_free(&reading);
        }
    }
}

static void read_repeated(const char *what, size_t times) {
    size_t n = strlen(what);
    char *answer = mem_alloc(n * times + 1);
    assert_non_null(answer);
    for (size_t i = 0; i < times; i++) memcpy(answer + i * n, what, n);
    read_any(answer, n * times);
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
    read_repeated("(", 30000);
    read_repeated("x = (\n", 20000);
    read_repeated("def f(x): pass\n", 5000);
}

static void test_survives_lack_of_memory(void **state) {
    (void)state;
    static const char answer[] =
        "Text.\n```python\ndef f(x):\n    # TO" "DO: x\n    return g(x)\n```\n";
    const struct task task = {
        .id = "x", .language = "python", .prompt = "", .entry = "f", .shape = TASK_TEXT};
    struct reading reading;
    struct octet_err err;
    bool done = false;
    for (size_t after = 0; !done && after < 1000; after++) {
        mem_fail_after(after);
        enum octet_status status =
            score_read(&task, answer, sizeof answer - 1, "stop", &reading, &err);
        mem_fail_after(SIZE_MAX);
        done = status == OCTET_OK;
        if (!done) assert_int_equal(status, OCTET_EMEM);
        if (!done) assert_null(reading.lenient);
        score_reading_free(&reading);
    }
    assert_true(done);
}

static void test_names_every_state(void **state) {
    (void)state;
    for (int i = 0; i < N_FUNNEL; i++) assert_non_null(funnel_name((enum funnel)i));
    assert_string_equal(funnel_name(FUNNEL_NO_CODE), "no code");
    assert_string_equal(funnel_name(FUNNEL_PASSES_PLUS), "passes");
}

int main(void) {
    // Test programs are not where the grammars are.
    setenv("OCTET_GRAMMARS", "build/liboctet-grammars.so", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_python_answers),
        cmocka_unit_test(test_reads_answers_in_other_languages),
        cmocka_unit_test(test_finds_placeholders_and_spares_finished_code),
        cmocka_unit_test(test_references_are_whole_and_stubs_hollow),
        cmocka_unit_test(test_reads_any_bytes),
        cmocka_unit_test(test_reads_large_answers_in_time),
        cmocka_unit_test(test_survives_lack_of_memory),
        cmocka_unit_test(test_names_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
