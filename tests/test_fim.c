/* Filling holes: prompts of each method, what is cut from what a model wrote, foreign marks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "server/fim.h"
#include "temp_folder.h"
#include "vocab_builder.h"

/* ---- Cutting --------------------------------------------------------------------------------- */

struct cut_case {
    const char *prefix, *suffix, *text;
    int n_indent;
    const char *expected;
};

/* What is shown of a text that comes byte by byte must be the same as of the whole. */
static void check_pieces(const struct hole *hole, const struct cut_case *c) {
    size_t before = 0;
    bool over = false;
    for (size_t n = 0; n <= strlen(c->text) && !over; n++) {
        const size_t now = fim_cut(hole, c->text, n, false, &over);
        assert_true(now >= before && now <= n);
        before = now;
    }
    assert_true(before <= strlen(c->expected));
    if (over) assert_int_equal(before, strlen(c->expected));
}

static void check_cuts(const struct cut_case *cases, size_t n_cases) {
    for (size_t i = 0; i < n_cases; i++) {
        const struct cut_case *const c = &cases[i];
        struct hole *const hole = hole_new(c->prefix, c->suffix);
        assert_non_null(hole);
        hole->n_indent = c->n_indent;
        hole->method = FIM_PREFIX;
        bool over = false;
        const size_t n = fim_cut(hole, c->text, strlen(c->text), true, &over);
        char *const found = mem_strdup(c->text, n);
        assert_string_equal(found, c->expected);
        mem_free(found);
        check_pieces(hole, c);
        hole_free(hole);
    }
}

static void test_text_is_shown_as_soon_as_nothing_can_cut_it(void **state) {
    (void)state;
    const struct {
        const char *prefix, *suffix, *text, *shown;
    } cases[] = {
        {"x = ", "\nprint(x)\n", "a + b", "a + b"},
        {"x = ", "\nprint(x)\n", "a + b\n", "a + b"},
        {"x = ", "\nprint(x)\n", "a + b\npri", "a + b"},          // may be the line after the hole
        {"x = ", "\nprint(x)\n", "a + b\nprim", "a + b\nprim"},  // is not
        {"x = ", " + c;\n", "a +", "a"},                         // may become the rest of the line
        {"x = ", " + c;\n", "a + d", "a + d"},
        {"f(", ")\n", "1, (2", "1, (2"},
        {"\n    ", "\n    return x\n", "y = 1\n  ", "y = 1"},
        {"\n    ", "\n    return x\n", "y = 1\n    re", "y = 1"},
        {"\n    ", "\n    return x\n", "y = 1\n    raise", "y = 1\n    raise"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hole *const hole = hole_new(cases[i].prefix, cases[i].suffix);
        assert_non_null(hole);
        hole->method = FIM_PREFIX;
        bool over = false;
        const size_t n = fim_cut(hole, cases[i].text, strlen(cases[i].text), false, &over);
        char *const found = mem_strdup(cases[i].text, n);
        assert_string_equal(found, cases[i].shown);
        mem_free(found);
        assert_false(over);
        hole_free(hole);
    }
}

/* Of CHARS, ended by a 0. */
static void write_noise(char *text, size_t n, const char *chars, uint32_t *x) {
    for (size_t i = 0; i < n; i++) {
        *x = *x * 1664525 + 1013904223;
        text[i] = chars[(*x >> 16) % strlen(chars)];
    }
    text[n] = '\0';
}

static void test_nothing_shown_is_taken_back_wherever_a_text_ends(void **state) {
    (void)state;
    enum { N = 24 };
    uint32_t x = 1;
    for (int round = 0; round < 20000; round++) {
        const char *const chars = round % 2 ? "ab \n" : "abcdef \n\t;()\"";
        char prefix[7], suffix[13], text[N + 1];
        write_noise(prefix, x >> 8 & 3, chars, &x);
        write_noise(suffix, 6 + (x >> 8) % 7, chars, &x);
        write_noise(text, N, chars, &x);
        if (round % 3 == 0) memcpy(text + 8, suffix, strlen(suffix));
        struct hole *const hole = hole_new(prefix, suffix);
        assert_non_null(hole);
        hole->method = round % 5 ? FIM_PREFIX : FIM_TRAINED;
        hole->n_indent = (int)(x >> 8) % 4 - 1;
        size_t shown = 0;
        bool over = false;
        for (size_t n = 0; n <= N && !over; n++) {
            bool over_now = false;
            const size_t now = fim_cut(hole, text, n, false, &over);
            const size_t in_the_end = fim_cut(hole, text, n, true, &over_now);
            if (now < shown || now > in_the_end || (over && now != in_the_end))
                fail_msg("%zu, then %zu of %zu before '%s': '%.*s'", shown, now, in_the_end,
                         suffix, (int)n, text);
            shown = now;
        }
        hole_free(hole);
    }
}

static void test_text_that_fits_stays(void **state) {
    (void)state;
    static const struct cut_case cases[] = {
        {"", "", "", 0, ""},
        {"x", "", "return 1", 0, "return 1"},
        {"x", "\nend", "a\nb", 0, "a\nb"},
        {"if (a) ", "\n", "f(b, [c], {d});", 0, "f(b, [c], {d});"},
        {"f(", "", "a, b);", 0, "a, b);"}, // nothing else closes it
        {"s = \"", "", "(\" + x", 0, "(\" + x"},
    };
    check_cuts(cases, sizeof cases / sizeof *cases);
}

static void test_the_next_line_is_not_repeated(void **state) {
    (void)state;
    static const struct cut_case cases[] = {
        {"x = ", "\n\nprint(add(1, 2))\n", "a + b\n\nprint(add(1, 2))\nmore", 0, "a + b"},
        {"x = ", "\n  print(add(1, 2))", "a + b\nprint(add(1, 2))\n", 0, "a + b"},
        {"x = ", "\n    pass\n", "a\npass\nb", 0, "a\npass\nb"}, // short, and indented otherwise
        {"x = ", "\n    pass\n", "a\n    pass\nb", 0, "a"},
        {"", "\n    return x_squared\n", "    return x_squared\n", 0, ""},
        {"a\n", "    return x\nb", "    x = 1\n    return x\n", 0, "    x = 1\n"}, // whole lines
    };
    check_cuts(cases, sizeof cases / sizeof *cases);
}

static void test_overlap_with_the_rest_of_the_line_is_cut(void **state) {
    (void)state;
    static const struct cut_case cases[] = {
        {"f(", ")\n", "1, 2)", 0, "1, 2"},
        {"x = ", ")\n", "f(1)", 0, "f(1)"}, // opened by itself
        {"x = ", "; // sum\n", "a + b; // sum", 0, "a + b"},
        {"x = ", ";\n", "a + b;", 0, "a + b"},
        {"x = \"", "\"\n", "hello\"", 0, "hello"},
        {"x = ", "\"\n", "\"\"", 0, "\"\""}, // opened by itself
        {"x = ", "b\n", "a b", 0, "a b"},
        {"x = ", "\n\ny", "a\n\n", 0, "a"},
    };
    check_cuts(cases, sizeof cases / sizeof *cases);
}

static void test_brackets_of_others_stay_open(void **state) {
    (void)state;
    static const struct cut_case cases[] = {
        {"", "", "x;\n}\ny", 0, "x;"},
        {"if (a) {\n", "\n", "  x;\n}\n}\n", 0, "  x;\n}"},
        {"if (a) {\n  ", "\n}\n", "x;\n}\nmore", 0, "x;"},
        {"g(f(", "), 1)", "a), b)", 0, "a"},
        {"s = ')' + f(", "", "a)", 0, "a)"}, // the quoted one closes nothing
    };
    check_cuts(cases, sizeof cases / sizeof *cases);
}

static void test_less_indentation_ends_it(void **state) {
    (void)state;
    static const struct cut_case cases[] = {
        {"", "", "x = 1\n    y = 2\nz = 3", 4, "x = 1\n    y = 2"},
        {"", "", "x = 1\n\n\ty = 2", 4, "x = 1\n\n\ty = 2"},
        {"def f():\n    x = ", "", "1\n    return x\n\nf()", -1, "1\n    return x"},
        {"def f():\n    x = ", "", "1\nf()", 0, "1\nf()"},
    };
    check_cuts(cases, sizeof cases / sizeof *cases);
}

static void test_blanks_that_are_there_are_skipped(void **state) {
    (void)state;
    struct hole hole = {.n_blanks = 4};
    assert_int_equal(fim_skip(&hole, "      x", 7), 4);
    assert_int_equal(fim_skip(&hole, " x", 2), 1);
    assert_int_equal(fim_skip(&hole, "x", 1), 0);
}

/* ---- Foreign marks --------------------------------------------------------------------------- */

static void assert_rescued(const char *prompt, const char *prefix, const char *suffix) {
    struct hole *const hole = fim_rescue(NULL, prompt);
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
    assert_rescued("<\uFF5Cfim\u2581begin\uFF5C>a<\uFF5Cfim\u2581hole\uFF5C>b<\uFF5Cfim\u2581end"
                   "\uFF5C>", "a", "b");
    assert_rescued("<|code_prefix|>a<|code_suffix|>b<|code_middle|>", "a", "b");
    assert_rescued("<|prefix|>a<|suffix|>b<|middle|>", "a", "b");
    assert_rescued("<[fim-suffix]>b<[fim-prefix]>a<[fim-middle]>", "a", "b");
    assert_rescued("[SUFFIX]b[PREFIX]a", "a", "b");
    assert_rescued("<PRE> a <SUF>b <MID>", "a", "b");
    assert_rescued("<fim_prefix>a<fim_suffix>b<fim_middle>c", "ac", "b"); // an answer begun
    assert_rescued("<fim_prefix><fim_suffix>b<fim_middle>a", "a", "b");
}

static void test_other_prompts_are_left_alone(void **state) {
    (void)state;
    static const char *const prompts[] = {"", "plain", "<fim_prefix>a<fim_suffix>b",
                                          "<fim_suffix>", "[PREFIX]a", "<PRE>a<MID>b<SUF>"};
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
        assert_null(fim_rescue(NULL, prompts[i]));
}

static void test_files_before_the_marks_help(void **state) {
    (void)state;
    struct hole *const hole =
        fim_rescue(NULL, "<repo_name>r<file_sep>a.py\nx = 1\n<file_sep>b.py\ny = 2\n<file_sep>"
                         "c.py\n<fim_prefix>a<fim_suffix>b<fim_middle>");
    assert_non_null(hole);
    assert_int_equal(hole->n_chunks, 2);
    assert_string_equal(hole->chunks[0].name, "a.py");
    assert_string_equal(hole->chunks[1].text, "y = 2\n");
    hole_free(hole);
}

/* ---- Prompts --------------------------------------------------------------------------------- */

static struct octet_model *open_model(const char *arch) {
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "m.gguf");
    const struct octet_synth_options synth = {.arch = arch, .type = "q8_0"};
    const struct octet_model_options options = {.n_threads = 1};
    struct octet_model *model = NULL;
    struct octet_err err;
    assert_int_equal(octet_synth(&synth, path, &err), OCTET_OK);
    assert_int_equal(octet_model_open(path, &options, &model, &err), OCTET_OK);
    assert_true(folder_close(&folder)); // the file stays mapped
    return model;
}

/* The prompt as text, blanks of the vocabulary included; the caller's. */
static char *prompt_text(const struct octet_model *model, struct hole *hole, size_t n_ctx,
                         size_t *n_tokens) {
    struct job *const job = job_new();
    struct octet_err err;
    struct buffer text = {NULL, 0, 0};
    job->max_tokens = 8;
    assert_int_equal(fim_prepare(model, hole, n_ctx, job, &err), OCTET_OK);
    for (size_t i = 0; i < job->prompt.n; i++) {
        const char *bytes;
        size_t n;
        assert_int_equal(octet_token_bytes(model, job->prompt.ids[i], true, &bytes, &n), OCTET_OK);
        assert_true(buffer_append(&text, bytes, n));
    }
    if (n_tokens) *n_tokens = job->prompt.n;
    job_free(job);
    return text.bytes;
}

static void test_methods_show_both_sides(void **state) {
    (void)state;
    struct octet_model *const model = open_model("mistral-7b-tiny");
    for (int method = FIM_INSTRUCT; method <= FIM_PREFIX; method++) {
        struct hole *const hole = hole_new("def add(a, b):\n    ", "\n\nprint(add(1, 2))\n");
        assert_true(hole_add_chunk(hole, "x.py", "chunk = 1"));
        assert_true(hole_set_file(hole, NULL, "python"));
        hole->method = (enum fim_method)method;
        struct octet_err err;
        if (method == FIM_INSTRUCT && !octet_chat_format(model)) {
            struct job *const job = job_new();
            assert_int_equal(fim_prepare(model, hole, 512, job, &err), OCTET_EUNSUPPORTED);
            job_free(job);
        } else {
            char *const text = prompt_text(model, hole, 4096, NULL);
            assert_non_null(strstr(text, "def add(a, b):\n"));
            assert_non_null(strstr(text, "print(add(1, 2))"));
            assert_non_null(strstr(text, "chunk = 1"));
            assert_int_equal(hole->n_blanks, 4);
            assert_false(hole->truncated);
            mem_free(text);
        }
        hole_free(hole);
    }
    octet_model_close(model);
}

static void test_far_text_is_left_out(void **state) {
    (void)state;
    struct octet_model *const model = open_model("llama-tiny");
    struct buffer far = {NULL, 0, 0};
    for (int i = 0; i < 3000; i++) assert_true(buffer_append_text(&far, "far_away = 1\n"));
    struct buffer prefix = {NULL, 0, 0};
    assert_true(buffer_append_text(&prefix, far.bytes));
    assert_true(buffer_append_text(&prefix, "near = 2\n"));
    struct hole *const hole = hole_new(prefix.bytes, far.bytes);
    assert_true(hole_add_chunk(hole, "", far.bytes));
    hole->method = FIM_PREFIX;
    size_t n_tokens;
    char *const text = prompt_text(model, hole, 1024, &n_tokens);
    assert_true(hole->truncated);
    assert_true(n_tokens <= 1024 - 8);
    assert_string_equal(text + strlen(text) - strlen("near = 2\n"), "near = 2\n");
    mem_free(text);
    hole_free(hole);
    buffer_free(&far);
    buffer_free(&prefix);
    octet_model_close(model);
}

static void test_growing_text_keeps_the_beginning_of_its_prompt(void **state) {
    (void)state;
    struct octet_model *const model = open_model("llama-tiny");
    struct buffer prefix = {NULL, 0, 0};
    for (int i = 0; i < 400; i++) assert_true(buffer_append_text(&prefix, "a_line = 1\n"));
    size_t n_changes = 0;
    char *last = NULL;
    for (int i = 0; i < 40; i++) {
        assert_true(buffer_append_text(&prefix, "x"));
        struct hole *const hole = hole_new(prefix.bytes, "\nend\n");
        hole->method = FIM_PREFIX;
        char *const text = prompt_text(model, hole, 1024, NULL);
        n_changes += last && strncmp(last, text, strlen(last)) != 0;
        mem_free(last);
        last = text;
        hole_free(hole);
    }
    assert_true(n_changes <= 1);
    mem_free(last);
    buffer_free(&prefix);
    octet_model_close(model);
}

/* ---- Trained marks --------------------------------------------------------------------------- */

static struct octet_model *open_vocab(const char *path) {
    const struct octet_model_options options = {.n_threads = 1, .vocab_only = true};
    struct octet_model *model = NULL;
    struct octet_err err;
    assert_int_equal(octet_model_open(path, &options, &model, &err), OCTET_OK);
    return model;
}

/* A vocabulary of bytes and a few pieces that holds MARKS (n), too. */
static struct octet_model *open_marked(const char *const *marks, size_t n, bool spm) {
    static struct vocab_list list;
    struct builder builder;
    struct folder folder;
    (spm ? list_spm : list_bpe)(&list);
    for (size_t i = 0; i < n; i++) list_add(&list, marks[i], 0, 3);
    build_start(&builder);
    if (spm)
        build_spm(&builder, &list);
    else
        build_bpe(&builder, &list, "gpt-2");
    build_finish(&builder);
    folder_open(&folder);
    const char *const path = folder_file(&folder, "v.gguf");
    FILE *const file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(builder.bytes, 1, builder.n, file), builder.n);
    assert_int_equal(fclose(file), 0);
    struct octet_model *const model = open_vocab(path);
    assert_true(folder_close(&folder));
    build_free(&builder);
    return model;
}

static void assert_trained(const struct octet_model *model, struct hole *hole,
                           const char *expected) {
    char *const text = prompt_text(model, hole, 4096, NULL);
    assert_int_equal(hole->method, FIM_TRAINED);
    assert_string_equal(text, expected);
    mem_free(text);
    hole_free(hole);
}

static void test_families_get_their_own_shapes(void **state) {
    (void)state;
    static const char *const star[] = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>",
                                       "<file_sep>"};
    static const char *const llama[] = {"\xE2\x96\x81<PRE>", "\xE2\x96\x81<SUF>",
                                        "\xE2\x96\x81<MID>", "\xE2\x96\x81<EOT>"};
    static const char *const seed[] = {"<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"};
    struct octet_model *model = open_marked(star, 4, false);
    assert_trained(model, hole_new("a\n  ", "\nb"),
                   "<fim_prefix>a\n  <fim_suffix>\nb<fim_middle>");
    struct hole *const hole = hole_new("a", "b");
    assert_true(hole_add_chunk(hole, "x.c", "abc\n"));
    assert_true(hole_set_file(hole, "y.c", NULL));
    assert_trained(model, hole, "<file_sep>x.c\nabc\n<file_sep>y.c\n<fim_prefix>a<fim_suffix>b"
                                "<fim_middle>");
    assert_null(fim_rescue(model, "<fim_prefix>a<fim_suffix>b<fim_middle>")); // its own
    octet_model_close(model);

    model = open_marked(llama, 4, true);
    assert_trained(model, hole_new("a\n", " b"), "<s>\u2581<PRE> a\n\u2581<SUF> b\u2581<MID>");
    octet_model_close(model);

    model = open_marked(seed, 3, false);
    assert_trained(model, hole_new("a", "b"), "<[fim-suffix]>b<[fim-prefix]>a<[fim-middle]>");
    octet_model_close(model);
}

static void test_marks_end_the_answer(void **state) {
    (void)state;
    static const char *const star[] = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>",
                                       "<file_sep>"};
    struct octet_model *const model = open_marked(star, 4, false);
    struct hole *const hole = hole_new("a", "b");
    struct job *const job = job_new();
    struct octet_err err;
    assert_int_equal(fim_prepare(model, hole, 512, job, &err), OCTET_OK);
    assert_int_equal(job->n_ends, 5); // and <|endoftext|>
    job_free(job);
    hole_free(hole);
    octet_model_close(model);
}

static void test_marks_of_mistral_are_used_on_request(void **state) {
    (void)state;
    struct octet_model *const model = open_vocab("tests/data/tokenizer/mistral-v3.gguf");
    assert_true(fim_best_method(model) != FIM_TRAINED);
    struct hole *const hole = hole_new("def f():\n    return ", "\n\nf()\n");
    hole->method = FIM_TRAINED;
    assert_trained(model, hole, "<s>[SUFFIX]\n\nf()\n[PREFIX] def f():\n    return ");
    octet_model_close(model);
}

static void test_marks_that_are_not_there_are_an_error(void **state) {
    (void)state;
    struct octet_model *const model = open_model("llama-tiny");
    struct hole *const hole = hole_new("a", "b");
    struct job *const job = job_new();
    struct octet_err err;
    hole->method = FIM_TRAINED;
    assert_int_equal(fim_prepare(model, hole, 512, job, &err), OCTET_EUNSUPPORTED);
    assert_true(fim_best_method(model) != FIM_TRAINED);
    job_free(job);
    hole_free(hole);
    octet_model_close(model);
}

static void test_failed_allocations_are_told(void **state) {
    (void)state;
    struct octet_model *const model = open_model("llama-tiny");
    for (size_t after = 0; after < 40; after++) {
        mem_fail_after(after);
        struct hole *const hole = fim_rescue(model, "<file_sep>a.py\nx\n<file_sep>b\n<fim_prefix>"
                                                    "a = <fim_suffix>\nb<fim_middle>");
        struct job *const job = hole ? job_new() : NULL;
        struct octet_err err;
        if (job) fim_prepare(model, hole, 512, job, &err);
        mem_fail_after(SIZE_MAX);
        job_free(job);
        hole_free(hole);
    }
    octet_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_shown_as_soon_as_nothing_can_cut_it),
        cmocka_unit_test(test_nothing_shown_is_taken_back_wherever_a_text_ends),
        cmocka_unit_test(test_text_that_fits_stays),
        cmocka_unit_test(test_the_next_line_is_not_repeated),
        cmocka_unit_test(test_overlap_with_the_rest_of_the_line_is_cut),
        cmocka_unit_test(test_brackets_of_others_stay_open),
        cmocka_unit_test(test_less_indentation_ends_it),
        cmocka_unit_test(test_blanks_that_are_there_are_skipped),
        cmocka_unit_test(test_foreign_marks_are_understood),
        cmocka_unit_test(test_other_prompts_are_left_alone),
        cmocka_unit_test(test_files_before_the_marks_help),
        cmocka_unit_test(test_methods_show_both_sides),
        cmocka_unit_test(test_far_text_is_left_out),
        cmocka_unit_test(test_growing_text_keeps_the_beginning_of_its_prompt),
        cmocka_unit_test(test_families_get_their_own_shapes),
        cmocka_unit_test(test_marks_end_the_answer),
        cmocka_unit_test(test_marks_of_mistral_are_used_on_request),
        cmocka_unit_test(test_marks_that_are_not_there_are_an_error),
        cmocka_unit_test(test_failed_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
