/* compare/judge: an answer with one planted defect ends in the state of the funnel that this defect
 * belongs to, in every language; answers and states are in tests/data/score/funnel.txt. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "answer_cases.h"
#include "compare/compare.h"
#include "temp_folder.h"

#define DATA "tests/data/score/"

/* Each case is the only answer of a model that has its number for a name. */
static struct store_run begin_run(struct store *store, const struct task_set *set, size_t n) {
    char key[] = "funnel", started[] = "2024-01-02T03:00:00Z";
    struct store_run run, wanted = {.key = key,
                                    .set = set->name,
                                    .set_version = set->version,
                                    .started = started,
                                    .models = json_array(),
                                    .settings = json_object()};
    struct octet_err err;
    for (size_t i = 0; i < n; i++)
        json_array_append_new(wanted.models,
                              json_pack("{s:o,s:s,s:s,s:s}", "name", json_sprintf("%zu", i), "kind",
                                        "reference", "model", "fixture", "host", "local"));
    assert_int_equal(store_begin(store, &wanted, &run, &err), OCTET_OK);
    assert_int_equal(store_put_tasks(store, run.id, set, &err), OCTET_OK);
    json_decref(wanted.models);
    json_decref(wanted.settings);
    return run;
}

static void put_answer(struct store *store, int64_t run, size_t i, const char *task, char *text) {
    char name[24], id[24], reason[] = "length";
    struct octet_err err;
    assert_int_equal(sscanf(task, "%23s", id), 1);
    snprintf(name, sizeof name, "%zu", i);
    struct reply reply = {.text = text,
                          .n_bytes = strlen(text),
                          .finish_reason = strstr(task, "finish=length") ? reason : NULL,
                          .ttft_s = NAN,
                          .total_s = NAN};
    assert_int_equal(store_put_answer(store, run, name, id, 0, &reply, &err), OCTET_OK);
}

static void judge(struct store *store, const struct store_run *run, const struct task_set *set) {
    const struct compare_options options = {.n_samples = 1, .n_threads = 2};
    const struct local_terms local = {.currency = "USD"};
    const struct price_book book = {.rows = NULL};
    const struct money_terms terms = {&book, &local, "USD"};
    struct octet_err err;
    if (compare_judge(&options, store, run, set, &terms, &err) != OCTET_OK)
        fail_msg("%s", err.message);
}

/* The states that could not be reached here are as good as right. */
static bool is_right(const json_t *answer, const char *wanted) {
    const json_t *judged = json_object_get(answer, "judged");
    const char *state = json_string_value(json_object_get(judged, "state"));
    const char *grade =
        json_string_value(json_object_get(json_object_get(judged, "verdict"), "base"));
    const char *task = json_string_value(json_object_get(answer, "task"));
    bool looked_at = strcmp(task, "sql") == 0 || score_has_grammar(task);
    if (grade && strcmp(grade, grade_name(GRADE_NO_TOOL)) == 0) return true;
    if (!looked_at && strcmp(wanted, funnel_name(FUNNEL_HOLLOW)) == 0) return true;
    if (!looked_at && strcmp(wanted, funnel_name(FUNNEL_DOES_NOT_PARSE)) == 0) return true;
    if (state && strcmp(state, wanted) == 0) return true;
    print_error("%s should be: %s, but is: %s (%s)\n%s\n", task, wanted, state ? state : "nothing",
                grade ? grade : "not run", json_string_value(json_object_get(answer, "text")));
    return false;
}

enum { MAX_CASES = 64 };

static void test_each_defect_lands_in_its_state(void **state) {
    (void)state;
    struct folder folder;
    struct store *store;
    struct task_set set;
    struct octet_err err;
    char *wanted[MAX_CASES];
    size_t n = 0, n_wrong = 0, i;
    folder_open(&folder);
    assert_int_equal(store_open(folder_file(&folder, "runs.db"), &store, &err), OCTET_OK);
    assert_int_equal(task_set_open(DATA "funnel.yaml", &set, &err), OCTET_OK);
    struct store_run run = begin_run(store, &set, MAX_CASES);
    struct cases cases = {cases_read_file(DATA "funnel.txt"), NULL};
    struct section sections[MAX_SECTIONS];
    cases.at = cases.bytes;
    for (size_t n_sections; (n_sections = cases_next(&cases, sections)) > 0; n++) {
        assert_true(n < MAX_CASES);
        const struct section *task = find_section(sections, n_sections, "task");
        const struct section *answer = find_section(sections, n_sections, "answer");
        assert_true(task && answer);
        wanted[n] = mem_strdup(sections[0].rest, strlen(sections[0].rest));
        put_answer(store, run.id, n, task->rest, answer->text);
        for (size_t k = 0; k < n_sections; k++) mem_free(sections[k].text);
    }
    mem_free(cases.bytes);
    judge(store, &run, &set);
    json_t *document, *answer;
    assert_int_equal(store_export(store, run.id, &document, &err), OCTET_OK);
    json_array_foreach(json_object_get(document, "answers"), i, answer) {
        const char *name = json_string_value(json_object_get(answer, "model"));
        n_wrong += !is_right(answer, wanted[strtoul(name, NULL, 10)]);
    }
    assert_int_equal(i, n);
    assert_int_equal(n_wrong, 0);
    json_decref(document);
    for (i = 0; i < n; i++) mem_free(wanted[i]);
    store_run_free(&run);
    task_set_close(&set);
    store_close(store);
    assert_true(folder_close(&folder));
}

/* Otherwise models that answer without code would be worse off than those whose code nobody ran. */
static void test_without_the_tool_no_answer_counts(void **state) {
    (void)state;
    struct folder folder;
    struct store *store;
    struct task_set set;
    struct octet_err err;
    folder_open(&folder);
    assert_int_equal(store_open(folder_file(&folder, "runs.db"), &store, &err), OCTET_OK);
    assert_int_equal(task_set_open(DATA "funnel.yaml", &set, &err), OCTET_OK);
    struct store_run run = begin_run(store, &set, 2);
    char words[] = "I cannot do that.", code[] = "```\nx = 1\n```\n";
    put_answer(store, run.id, 0, set.tasks[0].id, words);
    put_answer(store, run.id, 1, set.tasks[0].id, code);
    char *const path = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    judge(store, &run, &set);
    setenv("PATH", path, 1);
    free(path);
    json_t *document, *answer;
    size_t i;
    assert_int_equal(store_export(store, run.id, &document, &err), OCTET_OK);
    json_array_foreach(json_object_get(document, "answers"), i, answer) {
        const json_t *const judged = json_object_get(answer, "judged");
        const json_t *const verdict = json_object_get(judged, "verdict");
        assert_string_equal(json_string_value(json_object_get(verdict, "base")),
                            grade_name(GRADE_NO_TOOL));
    }
    assert_int_equal(i, 2);
    json_decref(document);
    store_run_free(&run);
    task_set_close(&set);
    store_close(store);
    assert_true(folder_close(&folder));
}

int main(void) {
    find_grammars();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_defect_lands_in_its_state),
        cmocka_unit_test(test_without_the_tool_no_answer_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
