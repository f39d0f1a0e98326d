/* Choice sets and word problems: rows as they come, scores as the definitions say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compare/eval.h"

static char folder[] = "/tmp/octet-eval-XXXXXX", model_path[64], rows_path[64];

static void write_rows(const char *text) {
    FILE *file = fopen(rows_path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void expect_failure(const char *rows, const char *message) {
    struct eval_set set;
    struct octet_err err = {0};
    write_rows(rows);
    assert_int_not_equal(eval_set_open(rows_path, &set, &err), OCTET_OK);
    if (!strstr(err.message, message)) fail_msg("'%s' not in '%s'", message, err.message);
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static void test_takes_the_last_number_of_a_text(void **state) {
    (void)state;
    assert_true(eval_last_number("first 3, then 4 eggs") == 4);
    assert_true(eval_last_number("so $1,234.50.") == 1234.5);
    assert_true(eval_last_number("minus -7") == -7);
    assert_true(eval_last_number("it is 12.") == 12);
    assert_true(eval_last_number("x = 2, y = 3") == 3);
    assert_true(isnan(eval_last_number("no number - at all.")));
    assert_true(isnan(eval_last_number("")));
}

static void test_a_marked_answer_counts_whatever_follows(void **state) {
    (void)state;
    assert_true(eval_last_number("2+3=5\n#### 5\nQuestion: 9 birds") == 5);
}

static void test_endless_digits_are_a_number(void **state) {
    (void)state;
    char digits[5000];
    memset(digits, '9', sizeof digits);
    digits[sizeof digits - 1] = '\0';
    assert_true(eval_last_number(digits) > 1);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static void test_reads_the_three_kinds_of_rows(void **state) {
    (void)state;
    struct eval_set set;
    struct octet_err err = {0};
    write_rows("{\"query\": \"Q: a?\\n\", \"choices\": [\"x\", \"y\"], \"gold\": 1}\n\n");
    assert_int_equal(eval_set_open(rows_path, &set, &err), OCTET_OK);
    assert_int_equal(set.kind, EVAL_CHOICES);
    assert_int_equal(set.n_rows, 1);
    assert_string_equal(set.name, "rows");
    assert_string_equal(set.rows[0].context, "Q: a?\nAnswer:");
    assert_string_equal(set.rows[0].options[1], "y");
    assert_int_equal(set.rows[0].gold, 1);
    eval_set_close(&set);
    write_rows("{\"context_options\": [\"a\", \"b\"], \"continuation\": \"c\", \"gold\": 0}");
    assert_int_equal(eval_set_open(rows_path, &set, &err), OCTET_OK);
    assert_int_equal(set.kind, EVAL_CONTEXTS);
    eval_set_close(&set);
    write_rows("{\"question\": \"how many?\", \"answer\": \"3+4\\n#### 7\"}");
    assert_int_equal(eval_set_open(rows_path, &set, &err), OCTET_OK);
    assert_int_equal(set.kind, EVAL_NUMBER);
    assert_true(set.rows[0].number == 7);
    eval_set_close(&set);
}

static void test_names_the_row_that_is_wrong(void **state) {
    (void)state;
    expect_failure("", "no rows");
    expect_failure("{\n", "line 1");
    expect_failure("[1]", "expected an object");
    expect_failure("{\"prompt\": 1}", "octet compare");
    expect_failure("{\"query\": \"q\", \"choices\": [\"x\"], \"gold\": 0}", "2 to 26");
    expect_failure("{\"query\": \"q\", \"choices\": [\"x\", 1], \"gold\": 0}", "only texts");
    expect_failure("{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 2}", "'gold'");
    expect_failure("{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": -1}", "'gold'");
    expect_failure("{\"query\": 3, \"choices\": [\"x\", \"y\"], \"gold\": 0}", "'query'");
    expect_failure("{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 0}\n{}", "row 2");
    expect_failure("{\"question\": \"q\", \"answer\": \"none\"}", "a number");
    struct eval_set set;
    struct octet_err err = {0};
    assert_int_equal(eval_set_open("/nonexistent.jsonl", &set, &err), OCTET_EIO);
}

/* ---- Scores ---------------------------------------------------------------------------------- */

struct trace {
    const struct octet_tokens *whole;
    size_t first, n_vocab;
    double sum;
};

static void add(void *user, size_t position, const float *logits) {
    struct trace *t = user;
    if (position + 1 < t->first || position + 1 >= t->whole->n) return;
    double sum = 0;
    for (size_t i = 0; i < t->n_vocab; i++) sum += exp((double)logits[i]);
    t->sum += (double)logits[t->whole->ids[position + 1]] - log(sum);
}

/* By the plain definition. */
static double log_likelihood(struct octet_model *model, const char *context, const char *text) {
    struct octet_tokens before = {0}, whole = {0};
    struct octet_session *session;
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    assert_int_equal(octet_session_open(model, NULL, &session, NULL), OCTET_OK);
    octet_tokenize(model, context, strlen(context), OCTET_TOKENIZE_BOS, &before, NULL);
    octet_tokenize(model, text, strlen(text), OCTET_TOKENIZE_BOS, &whole, NULL);
    struct trace t = {&whole, before.n, (size_t)info.n_vocab, 0};
    assert_int_equal(octet_session_score(session, whole.ids, whole.n, add, &t, NULL), OCTET_OK);
    octet_session_close(session);
    octet_tokens_free(&before);
    octet_tokens_free(&whole);
    return t.sum;
}

static void test_picks_the_likelier_choice(void **state) {
    (void)state;
    struct octet_model *model;
    struct octet_err err = {0};
    if (octet_model_open(model_path, NULL, &model, &err) != OCTET_OK) fail_msg("%s", err.message);
    double short_one = log_likelihood(model, "Q\nAnswer:", "Q\nAnswer: ab");
    double long_one = log_likelihood(model, "Q\nAnswer:", "Q\nAnswer: cdefghijklmnop");
    write_rows("{\"query\": \"Q\", \"choices\": [\"ab\", \"cdefghijklmnop\"], \"gold\": 0}\n"
               "{\"query\": \"Q\", \"choices\": [\"cdefghijklmnop\", \"ab\"], \"gold\": 0}\n");
    struct eval_set set;
    assert_int_equal(eval_set_open(rows_path, &set, &err), OCTET_OK);
    struct eval_outcome out[2];
    assert_int_equal(eval_choices(model, &set, &(struct eval_options){0}, out, 2, &err), OCTET_OK);
    bool short_wins = short_one > long_one, short_wins_norm = short_one / 2 > long_one / 14;
    assert_int_equal(out[0].acc, short_wins);
    assert_int_equal(out[1].acc, !short_wins);
    assert_int_equal(out[0].acc_norm, short_wins_norm);
    assert_int_equal(out[1].acc_bytes, !short_wins_norm);
    eval_set_close(&set);
    octet_model_close(model);
}

static bool stop(void *user, uint64_t done, uint64_t total) {
    (void)user, (void)done, (void)total;
    return false;
}

static void test_can_be_cancelled(void **state) {
    (void)state;
    struct octet_model *model;
    struct octet_err err = {0};
    assert_int_equal(octet_model_open(model_path, NULL, &model, &err), OCTET_OK);
    write_rows("{\"context_options\": [\"a\", \"b\"], \"continuation\": \"c\", \"gold\": 0}");
    struct eval_set set;
    assert_int_equal(eval_set_open(rows_path, &set, &err), OCTET_OK);
    struct eval_outcome out[1];
    struct eval_options options = {.progress = stop};
    assert_int_equal(eval_choices(model, &set, &options, out, 1, &err), OCTET_ECANCELLED);
    eval_set_close(&set);
    octet_model_close(model);
}

static void test_published_scores_are_found_by_set(void **state) {
    (void)state;
    assert_non_null(published_score("arc_easy", 0));
    assert_non_null(published_score("gsm8k_test", 0));
    assert_null(published_score("arc", 0));
    assert_null(published_score("unheard_of", 0));
    size_t n = 0;
    while (published_score("winogrande", n)) n++;
    assert_in_range(n, 3, 20);
}

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    snprintf(rows_path, sizeof rows_path, "%s/rows.jsonl", folder);
    struct octet_synth_options options = {.arch = "llama-tiny", .type = "q8_0", .n_layers = 1};
    return octet_synth(&options, model_path, NULL) == OCTET_OK ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(model_path);
    unlink(rows_path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_the_last_number_of_a_text),
        cmocka_unit_test(test_a_marked_answer_counts_whatever_follows),
        cmocka_unit_test(test_endless_digits_are_a_number),
        cmocka_unit_test(test_reads_the_three_kinds_of_rows),
        cmocka_unit_test(test_names_the_row_that_is_wrong),
        cmocka_unit_test(test_picks_the_likelier_choice),
        cmocka_unit_test(test_can_be_cancelled),
        cmocka_unit_test(test_published_scores_are_found_by_set),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
