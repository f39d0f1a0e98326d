/* compare/summary: numbers of small runs that can be checked by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "compare_fixture.h"
#include "compare/summary.h"

/* One letter per task: P passes plus, B passes base, F fails, N no code, - no answer, E an error,
 * X not judged, T no tool. */
static json_t *answer_json(const char *model, size_t task, int sample, char letter, double cost) {
    char id[16];
    snprintf(id, sizeof id, "t%zu", task);
    json_t *const answer = json_pack(
        "{s:s, s:s, s:i, s:s, s:i, s:{s:i, s:i, s:b}, s:f, s:f, s:[f, f], s:n, s:n}", "model",
        model, "task", id, "sample", sample, "text", "code", "bytes", 100, "usage", "prompt", 50,
        "completion", 40, "estimated", 0, "ttft_s", 0.1 * (double)(task + 1), "total_s", 2.0,
        "gaps_s", 0.01, 0.02, "error", "judged");
    if (letter == 'E') json_object_set_new(answer, "error", json_string("HTTP 500"));
    if (letter == 'E' || letter == 'X') return answer;
    const enum funnel state = letter == 'P'   ? FUNNEL_PASSES_PLUS
                              : letter == 'B' ? FUNNEL_PASSES_BASE
                              : letter == 'F' ? FUNNEL_FAILS
                                              : FUNNEL_NO_CODE;
    json_t *const judged = json_pack(
        "{s:s, s:o, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:[], s:[], s:{s:s, s:s}}", "state",
        funnel_name(state), "cost", isnan(cost) ? json_null() : json_real(cost), "currency", "USD",
        "units", 4, "hollow_units", 1, "code_bytes", 50, "comment_bytes", 10, "dropped_bytes", 10,
        "prose_before_bytes", 20, "prose_after_bytes", 10, "spans", "placeholders", "verdict",
        "base", grade_name(letter == 'T' ? GRADE_NO_TOOL : GRADE_FAILS), "plus", "fails");
    json_object_set_new(answer, "judged", judged);
    return answer;
}

static json_t *document(int run, const char *const *names, const char *const *letters,
                        const double *costs, size_t n_models) {
    json_t *const models = json_array();
    json_t *const tasks = json_array();
    json_t *const answers = json_array();
    for (size_t i = 0; i < strlen(letters[0]); i++) {
        json_array_append_new(
            tasks, json_pack("{s:o, s:s}", "id", json_sprintf("t%zu", i), "prompt", "asked"));
    }
    for (size_t m = 0; m < n_models; m++) {
        json_array_append_new(models, json_pack("{s:s}", "name", names[m]));
        for (size_t i = 0; letters[m][i]; i++) {
            if (letters[m][i] == '-') continue;
            json_array_append_new(answers, answer_json(names[m], i, 0, letters[m][i], costs[m]));
        }
    }
    return json_pack("{s:{s:i, s:s, s:o}, s:o, s:o}", "run", "id", run, "set", "s", "models",
                     models, "tasks", tasks, "answers", answers);
}

static struct summary summarize(json_t *one) {
    struct octet_err err;
    struct summary summary;
    json_t *joined;
    assert_int_equal(summary_join(&one, 1, &joined, &err), OCTET_OK);
    assert_int_equal(summary_make(joined, &summary, &err), OCTET_OK);
    json_decref(one);
    json_decref(joined);
    return summary;
}

static bool near(double a, double b) { return fabs(a - b) < 1e-9; }

static void test_counts_tasks_shares_and_money_of_one_model(void **state) {
    (void)state;
    const char *const names[] = {"fixture"};
    const char *const letters[] = {"PBFN"};
    const double costs[] = {0.5};
    struct summary summary = summarize(document(1, names, letters, costs, 1));
    const struct summary_model *const model = &summary.models[0];
    assert_int_equal(model->n_tasks, 4);
    assert_int_equal(model->solved, 2);
    assert_int_equal(model->solved_plus, 1);
    assert_true(summary.has_plus);
    assert_true(near(model->cost, 2));
    assert_true(near(model->per_solved.value, 1));
    assert_true(near(model->cost_per_1000, 1000 * 2 / (4 * 90.0)));
    assert_true(near(model->prose_share, 0.3));
    assert_true(near(model->wasted_share, 0.4)); // neither code nor comment
    assert_true(near(model->wasted_tokens, 64));
    assert_true(near(model->hollow_share, 0.25));
    assert_true(near(model->tokens_per_s, 20));
    assert_true(near(model->ttft_p50, 0.2));
    assert_true(near(model->ttft_p90, 0.4));
    assert_true(near(model->gap_p50, 0.01));
    assert_int_equal(model->funnel[FUNNEL_NO_CODE], 1);
    assert_string_equal(model->currency, "USD");
    assert_non_null(strstr(summary.verdict, "fixture solved 2 of 4 tasks (50.0 %"));
    summary_free(&summary);
}

static void test_an_unpriced_answer_makes_the_sum_unpriced(void **state) {
    (void)state;
    const char *const names[] = {"a", "b"};
    const char *const letters[] = {"PPPP", "PPPF"};
    const double costs[] = {NAN, 0.25};
    struct summary summary = summarize(document(1, names, letters, costs, 2));
    assert_true(isnan(summary.models[0].cost));
    assert_true(isnan(summary.models[0].per_solved.value));
    assert_true(isnan(summary.models[0].per_solved.low));
    assert_int_equal(summary.models[0].n_unpriced, 4);
    assert_string_equal(summary.models[0].currency, "");
    assert_false(summary.pairs[0].priced);
    summary_free(&summary);
}

static void test_leaves_out_what_has_no_verdict(void **state) {
    (void)state;
    const char *const names[] = {"a"};
    const char *const letters[] = {"PF-EXT"};
    const double costs[] = {1};
    struct summary summary = summarize(document(1, names, letters, costs, 1));
    assert_int_equal(summary.models[0].n_tasks, 2);
    assert_int_equal(summary.models[0].n_errors, 1);
    assert_int_equal(summary.models[0].n_unjudged, 2);
    assert_int_equal(summary.models[0].n_answers, 5);
    summary_free(&summary);
    const char *const nothing[] = {"EX-"};
    summary = summarize(document(1, names, nothing, costs, 1));
    assert_string_equal(summary.verdict, "No answer has been judged yet.");
    assert_true(isnan(summary.models[0].cost));
    summary_free(&summary);
}

static void test_ranks_and_tests_pairs_on_common_tasks(void **state) {
    (void)state;
    const char *const names[] = {"worse", "better", "alike"};
    const char *const letters[] = {"FFFFFFFFFFPP", "PPPPPPPPPPPP", "PPPPPPPPPPP-"};
    const double costs[] = {0.1, 0.4, 0.2};
    struct summary summary = summarize(document(1, names, letters, costs, 3));
    assert_string_equal(summary.models[0].name, "alike"); // as good, and cheaper
    assert_string_equal(summary.models[1].name, "better");
    assert_string_equal(summary.models[2].name, "worse");
    const struct summary_pair *const pair = summary_find_pair(&summary, 2, 1);
    assert_int_equal(pair->n_tasks, 12);
    assert_int_equal(pair->only_a, 10);
    assert_int_equal(pair->only_b, 0);
    assert_true(near(pair->gap, 10 / 12.0));
    assert_true(near(pair->p, 2 * pow(0.5, 10)));
    assert_true(pair->p_holm >= pair->p);
    assert_true(pair->priced);
    assert_true(near(pair->money.value, 0.4 - 0.6));
    assert_int_equal(summary_find_pair(&summary, 0, 1)->n_tasks, 11);
    assert_null(summary_find_pair(&summary, 1, 1));
    assert_int_equal(summary.models[0].group, 0);
    assert_int_equal(summary.models[1].group, 0);
    assert_int_equal(summary.models[2].group, 1);
    assert_non_null(strstr(summary.verdict, "alike (11, 100.0 %) and better (12, 100.0 %) cannot"));
    assert_non_null(strstr(summary.verdict, "of these alike is the cheapest per solved task, "
                                            "0.2000 USD"));
    summary_free(&summary);
}

static void test_names_a_leader_that_is_shown_to_lead(void **state) {
    (void)state;
    const char *const names[] = {"low", "high"};
    const char *const letters[] = {"FFFFFFFFPP", "PPPPPPPPPP"};
    const double costs[] = {0.1, 1};
    struct summary summary = summarize(document(1, names, letters, costs, 2));
    assert_non_null(strstr(summary.verdict, "high solved the most, 10 of 10 tasks (100.0 %"));
    assert_non_null(strstr(summary.verdict, "80.0 points more than the next, low (p = 0.008"));
    assert_non_null(strstr(summary.verdict, "the cheapest per solved task is low, 0.5000 USD"));
    summary_free(&summary);
}

static void test_several_samples_give_pass_at_k_and_share_the_money(void **state) {
    (void)state;
    const char *const names[] = {"a"};
    const char *const letters[] = {"FP"};
    const double costs[] = {1};
    json_t *const one = document(1, names, letters, costs, 1);
    json_t *const answers = json_object_get(one, "answers");
    json_array_append_new(answers, answer_json("a", 0, 1, 'P', 1));
    json_array_append_new(answers, answer_json("a", 1, 1, 'P', 1));
    struct summary summary = summarize(one);
    const struct summary_model *const model = &summary.models[0];
    assert_int_equal(summary.n_samples, 2);
    assert_int_equal(model->n_tasks, 2);
    assert_int_equal(model->solved, 1); // of the first samples
    assert_true(near(model->pass_1, 0.75));
    assert_true(near(model->pass_k, 1));
    assert_true(near(model->per_solved.value, 4 / 3.0));
    summary_free(&summary);
}

static void test_leaves_out_excluded_tasks(void **state) {
    (void)state;
    const char *const names[] = {"a"};
    const char *const letters[] = {"PPF"};
    const double costs[] = {1};
    json_t *const one = document(1, names, letters, costs, 1);
    json_object_set_new(json_array_get(json_object_get(one, "tasks"), 1), "excluded",
                        json_string("wrong tests"));
    struct summary summary = summarize(one);
    assert_int_equal(summary.n_tasks, 2);
    assert_int_equal(summary.n_excluded, 1);
    assert_int_equal(summary.models[0].solved, 1);
    assert_true(near(summary.models[0].cost, 2));
    summary_free(&summary);
}

static void test_joins_runs_on_their_common_tasks(void **state) {
    (void)state;
    const char *const names[] = {"a"};
    const char *const letters[] = {"PPPP"};
    const char *const fewer[] = {"FF"};
    const double costs[] = {1};
    json_t *runs[] = {document(3, names, letters, costs, 1), document(8, names, fewer, costs, 1)};
    struct octet_err err;
    struct summary summary;
    json_t *joined;
    assert_int_equal(summary_join(runs, 2, &joined, &err), OCTET_OK);
    assert_int_equal(summary_make(joined, &summary, &err), OCTET_OK);
    json_decref(joined);
    assert_int_equal(summary.n_models, 2);
    assert_int_equal(summary.n_tasks, 2);
    assert_string_equal(summary.models[0].name, "a (run 3)");
    assert_int_equal(summary.models[0].solved, 2);
    assert_string_equal(summary.models[1].name, "a (run 8)");
    assert_int_equal(summary.models[1].solved, 0);
    summary_free(&summary);
    size_t i;
    json_t *task;
    json_array_foreach(json_object_get(runs[1], "tasks"), i, task) {
        json_object_set_new(task, "prompt", json_string("asked otherwise"));
    }
    assert_int_equal(summary_join(runs, 2, &joined, &err), OCTET_EARG);
    json_decref(runs[0]);
    json_decref(runs[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_tasks_shares_and_money_of_one_model),
        cmocka_unit_test(test_an_unpriced_answer_makes_the_sum_unpriced),
        cmocka_unit_test(test_leaves_out_what_has_no_verdict),
        cmocka_unit_test(test_ranks_and_tests_pairs_on_common_tasks),
        cmocka_unit_test(test_names_a_leader_that_is_shown_to_lead),
        cmocka_unit_test(test_several_samples_give_pass_at_k_and_share_the_money),
        cmocka_unit_test(test_leaves_out_excluded_tasks),
        cmocka_unit_test(test_joins_runs_on_their_common_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
