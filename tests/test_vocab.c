/* Loading vocabularies: what is taken, what is refused and with which message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "vocab_builder.h"

struct loaded {
    struct builder b;
    struct gguf *g;
    struct vocab *v;
    struct octet_err err;
    enum octet_status status;
};

static void load(struct loaded *l, size_t n_rows) {
    build_finish(&l->b);
    assert_int_equal(gguf_parse("test.gguf", l->b.bytes, l->b.n, &l->g, &l->err), OCTET_OK);
    l->status = vocab_load(l->g, n_rows, &l->v, &l->err);
}

static void unload(struct loaded *l) {
    vocab_free(l->v);
    gguf_close(l->g);
    build_free(&l->b);
}

/* Loads what was built, expects a refusal that mentions TEXT. */
static void expect_refusal(struct loaded *l, enum octet_status status, const char *text) {
    load(l, 0);
    assert_int_equal(l->status, status);
    assert_null(l->v);
    if (!strstr(l->err.message, text)) fail_msg("'%s' not in '%s'", text, l->err.message);
    unload(l);
}

static void load_spm_list(struct loaded *l, const struct vocab_list *list) {
    build_start(&l->b);
    build_spm(&l->b, list);
    load(l, 0);
}

static void expect_ids(const struct vocab *v, const char *text, size_t n, unsigned flags,
                       const int32_t *ids, size_t n_ids) {
    struct octet_tokens out = {0};
    struct octet_err err;
    assert_int_equal(vocab_encode(v, text, n, flags, &out, &err), OCTET_OK);
    assert_int_equal(out.n, n_ids);
    for (size_t i = 0; i < n_ids; i++) assert_int_equal(out.ids[i], ids[i]);
    octet_tokens_free(&out);
}

static void test_reads_a_small_spm_vocabulary(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    load_spm_list(&l, &list);
    assert_int_equal(l.status, OCTET_OK);
    assert_int_equal(vocab_size(l.v), 267);
    assert_int_equal(vocab_bos(l.v), 1);
    assert_int_equal(vocab_eos(l.v), 2);
    assert_int_equal(vocab_find(l.v, "</s>", 4), 2);
    assert_int_equal(vocab_find(l.v, "<0x0A>", 6), 13);
    assert_int_equal(vocab_find(l.v, "nowhere", 7), -1);
    assert_int_equal(vocab_find(l.v, "", 0), -1);
    assert_string_equal(vocab_name(l.v, 2), "</s>");
    assert_null(vocab_name(l.v, -1));
    assert_null(vocab_name(l.v, 267));
    assert_true(vocab_ends(l.v, 2));
    assert_false(vocab_ends(l.v, 1));
    assert_false(vocab_ends(l.v, 999999));
    assert_false(vocab_generable(l.v, 0));
    assert_true(vocab_generable(l.v, 2));
    assert_false(vocab_generable(l.v, 267));
    expect_ids(l.v, "ab", 2, OCTET_TOKENIZE_BOS, (int32_t[]){1, 265}, 2);
    expect_ids(l.v, "abc", 3, 0, (int32_t[]){265, 262}, 2);
    unload(&l);
}

static void test_bytes_depend_on_the_type(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    const char *bytes;
    size_t n;
    list_spm(&list);
    load_spm_list(&l, &list);
    assert_true(vocab_bytes(l.v, 13, false, &bytes, &n));
    assert_int_equal(n, 1);
    assert_int_equal(*bytes, '\n');
    assert_true(vocab_bytes(l.v, 264, false, &bytes, &n));
    assert_int_equal(n, 2);
    assert_memory_equal(bytes, " a", 2);
    assert_true(vocab_bytes(l.v, 1, false, &bytes, &n));
    assert_int_equal(n, 0);
    assert_true(vocab_bytes(l.v, 1, true, &bytes, &n));
    assert_memory_equal(bytes, "<s>", n);
    assert_false(vocab_bytes(l.v, -1, false, &bytes, &n));
    assert_false(vocab_bytes(l.v, 267, false, &bytes, &n));
    unload(&l);
}

static void test_guesses_types_that_the_file_lacks(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    build_start(&l.b);
    build_name(&l.b, "tokenizer.ggml.model", "llama");
    build_tokens(&l.b, &list);
    build_scores(&l.b, &list);
    load(&l, 0);
    assert_int_equal(l.status, OCTET_OK);
    expect_ids(l.v, "</s>\n", 5, 0,
               (int32_t[]){259, 3 + '<', 3 + '/', 3 + 's', 3 + '>', 3 + '\n'}, 6);
    expect_ids(l.v, "</s>", 4, OCTET_TOKENIZE_SPECIAL, (int32_t[]){2}, 1);
    unload(&l);
}

static void test_refuses_missing_keys_by_name(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    build_start(&l.b);
    expect_refusal(&l, OCTET_EFORMAT, "tokenizer.ggml.model");
    build_start(&l.b);
    build_name(&l.b, "tokenizer.ggml.model", "llama");
    expect_refusal(&l, OCTET_EFORMAT, "tokenizer.ggml.tokens");
    build_start(&l.b);
    build_name(&l.b, "tokenizer.ggml.model", "llama");
    build_tokens(&l.b, &list);
    expect_refusal(&l, OCTET_EFORMAT, "tokenizer.ggml.scores");
    build_start(&l.b);
    build_name(&l.b, "tokenizer.ggml.model", "gpt2");
    build_name(&l.b, "tokenizer.ggml.pre", "gpt-2");
    build_tokens(&l.b, &list);
    expect_refusal(&l, OCTET_EFORMAT, "tokenizer.ggml.merges");
}

static void test_refuses_families_it_does_not_know(void **state) {
    (void)state;
    static const char *const wrong[] = {"bert", "t5", "rwkv", "", "llama2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct loaded l;
        build_start(&l.b);
        build_name(&l.b, "tokenizer.ggml.model", wrong[i]);
        expect_refusal(&l, OCTET_EUNSUPPORTED, "only llama and gpt2");
    }
}

static void test_refuses_pre_tokenisers_it_does_not_know(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_bpe(&list);
    build_start(&l.b);
    build_bpe(&l.b, &list, "llama-bpe");
    expect_refusal(&l, OCTET_EUNSUPPORTED, "'llama-bpe' is not supported, only gpt-2, phi-2");
    build_start(&l.b);
    build_name(&l.b, "general.architecture", "llama");
    build_name(&l.b, "tokenizer.ggml.model", "gpt2");
    expect_refusal(&l, OCTET_EUNSUPPORTED, "'' is not supported");
    static const char *const fine[] = {NULL, "default", "gpt-2", "phi-2", "smollm", "starcoder",
                                       "refact"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        build_start(&l.b);
        build_bpe(&l.b, &list, fine[i]);
        load(&l, 0);
        assert_int_equal(l.status, OCTET_OK);
        expect_ids(l.v, "abc", 3, 0, (int32_t[]){257}, 1);
        unload(&l);
    }
}

static void test_refuses_arrays_of_wrong_type_or_length(void **state) {
    (void)state;
    struct vocab_list list, shorter;
    struct loaded l;
    list_spm(&list);
    shorter = list;
    shorter.n = 100;
    const struct { bool types, scores; const char *message; } cases[] = {
        {true, false, "token_type': expected 267 integers, found 100"},
        {false, true, "scores': expected 267 elements, found 100"},
    };
    for (size_t i = 0; i < 2; i++) {
        build_start(&l.b);
        build_name(&l.b, "tokenizer.ggml.model", "llama");
        build_tokens(&l.b, &list);
        build_types(&l.b, cases[i].types ? &shorter : &list);
        build_scores(&l.b, cases[i].scores ? &shorter : &list);
        expect_refusal(&l, OCTET_EFORMAT, cases[i].message);
    }
    static const char *const keys[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.scores"};
    for (size_t i = 0; i < 3; i++) {
        for (int array = 0; array < 2; array++) {
            build_start(&l.b);
            build_name(&l.b, "tokenizer.ggml.model", "llama");
            if (array) {
                build_array(&l.b, keys[i], GGUF_BOOL, 267);
                for (int k = 0; k < 267; k++) build_raw(&l.b, "", 1);
            } else {
                build_name(&l.b, keys[i], "text");
            }
            if (i != 0) build_tokens(&l.b, &list);
            if (i != 1) build_types(&l.b, &list);
            if (i != 2) build_scores(&l.b, &list);
            expect_refusal(&l, OCTET_EFORMAT, keys[i]);
        }
    }
}

static void test_refuses_bad_scores_types_and_byte_names(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    list.scores[5] = 0.0f / 0.0f;
    build_start(&l.b);
    build_spm(&l.b, &list);
    expect_refusal(&l, OCTET_EFORMAT, "element 5: expected a finite number");
    list_spm(&list);
    list.types[7] = 9;
    build_start(&l.b);
    build_spm(&l.b, &list);
    expect_refusal(&l, OCTET_EFORMAT, "element 7: expected 0 to 6, found 9");
    static const char *const names[] = {"<0x-1>", "<0xZZ>", "<0x0a>", "<0x1>", "a", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        list_spm(&list);
        list_add(&list, names[i], 0, 6);
        build_start(&l.b);
        build_spm(&l.b, &list);
        expect_refusal(&l, OCTET_EFORMAT, "token 267");
    }
}

static void test_refuses_more_tokens_than_rows(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    static const struct { size_t n_rows; enum octet_status status; } cases[] = {
        {266, OCTET_EFORMAT}, {267, OCTET_OK}, {300, OCTET_OK}};
    for (size_t i = 0; i < 3; i++) {
        build_start(&l.b);
        build_spm(&l.b, &list);
        load(&l, cases[i].n_rows);
        assert_int_equal(l.status, cases[i].status);
        unload(&l);
    }
    list.n = 0;
    build_start(&l.b);
    build_spm(&l.b, &list);
    expect_refusal(&l, OCTET_EFORMAT, "found 0");
}

static void test_refuses_merges_of_unknown_tokens(void **state) {
    (void)state;
    static const char *const wrong[] = {"a zz", "zz a", "a c", "ab", "", " ", "a ", " a b",
                                        "<|endoftext|> a", "a b c"};
    struct vocab_list list;
    list_bpe(&list);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct loaded l;
        const char *merges[] = {"a b", wrong[i]};
        build_start(&l.b);
        build_name(&l.b, "tokenizer.ggml.model", "gpt2");
        build_name(&l.b, "tokenizer.ggml.pre", "gpt-2");
        build_tokens(&l.b, &list);
        build_types(&l.b, &list);
        build_merges(&l.b, merges, 2);
        expect_refusal(&l, OCTET_EFORMAT, "merges': element 1");
    }
}

static void test_ignores_special_ids_out_of_range(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    build_start(&l.b);
    build_spm(&l.b, &list);
    build_int(&l.b, "tokenizer.ggml.bos_token_id", 267);
    build_int(&l.b, "tokenizer.ggml.eos_token_id", 0xffffffff);
    build_int(&l.b, "tokenizer.ggml.eot_token_id", 260);
    load(&l, 0);
    assert_int_equal(l.status, OCTET_OK);
    assert_int_equal(vocab_bos(l.v), -1);
    assert_int_equal(vocab_eos(l.v), -1);
    assert_true(vocab_ends(l.v, 260));
    assert_true(vocab_ends(l.v, 2)); // by its name
    expect_ids(l.v, "a", 1, OCTET_TOKENIZE_BOS, (int32_t[]){264}, 1);
    unload(&l);
}

static void test_adds_bos_and_eos_where_the_file_asks(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    build_start(&l.b);
    build_spm(&l.b, &list);
    build_bool(&l.b, "tokenizer.ggml.add_eos_token", true);
    build_bool(&l.b, "tokenizer.ggml.add_space_prefix", false);
    load(&l, 0);
    expect_ids(l.v, "a", 1, OCTET_TOKENIZE_BOS, (int32_t[]){1, 260, 2}, 3);
    expect_ids(l.v, NULL, 0, OCTET_TOKENIZE_BOS, (int32_t[]){1, 2}, 2);
    // A text that begins with BOS gets no second one.
    expect_ids(l.v, "<s>a", 4, OCTET_TOKENIZE_BOS | OCTET_TOKENIZE_SPECIAL,
               (int32_t[]){1, 260, 2}, 3);
    unload(&l);
}

static void test_survives_odd_tokens(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_spm(&list);
    list_add(&list, "", -1, 1);
    list_add(&list, "", -1, 4);
    list_add(&list, "\xff\xfe", -1, 1);
    list_add(&list, "a", 5, 1);          // twice: the first one counts
    list_add(&list, "x", -1, 4);         // 271
    list_add(&list, "y", -1, 4);
    list.names[272][1] = 0;
    list.n_name[272] = 2;                // 272: "y" and a NUL
    list_add(&list, "[PAD273]", -1, 4);  // padding by old converters
    list_add(&list, "[PAD9]", -1, 4);    // 274: not padding
    list_add(&list, "<dummy00001>", -1, 4);
    load_spm_list(&l, &list);
    assert_int_equal(l.status, OCTET_OK);
    assert_int_equal(vocab_find(l.v, "a", 1), 260);
    assert_int_equal(vocab_find(l.v, "y\0", 2), 272);
    assert_false(vocab_generable(l.v, 273));
    assert_true(vocab_generable(l.v, 274));
    assert_false(vocab_generable(l.v, 275));
    expect_ids(l.v, "ax", 2, 0, (int32_t[]){264, 271}, 2);
    expect_ids(l.v, "y\0x", 3, 0, (int32_t[]){272, 271}, 2);
    expect_ids(l.v, "[PAD9]", 6, 0, (int32_t[]){274}, 1);
    struct octet_tokens out = {0};
    assert_int_equal(vocab_encode(l.v, "[PAD273]", 8, 0, &out, NULL), OCTET_OK);
    assert_int_equal(out.n, 9); // a space and the eight bytes
    octet_tokens_free(&out);
    unload(&l);
}

static void test_prefers_the_longest_special_token(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_bpe(&list);
    list_add(&list, "##", 0, 4);    // 259
    list_add(&list, "####", 0, 4);  // 260
    list_add(&list, "#x", 0, 4);    // 261
    list_add(&list, "##", 0, 4);    // the same again
    list_add(&list, "\xff", 0, 4);  // 263
    build_start(&l.b);
    build_bpe(&l.b, &list, "gpt-2");
    load(&l, 0);
    assert_int_equal(l.status, OCTET_OK);
    expect_ids(l.v, "#######x", 8, 0, (int32_t[]){260, 259, 261}, 3);
    expect_ids(l.v, "###", 3, 0, (int32_t[]){259, '#'}, 2);
    expect_ids(l.v, "a\xff", 2, 0, (int32_t[]){'a', 263}, 2);
    expect_ids(l.v, "<|endoftext|>", 13, OCTET_TOKENIZE_SPECIAL, (int32_t[]){258}, 1);
    unload(&l);
}

static void test_leaves_out_bytes_without_token(void **state) {
    (void)state;
    struct vocab_list list;
    struct loaded l;
    list_bpe(&list);
    list.names['q'][0] = '?'; // now twice; nothing for 'q'
    build_start(&l.b);
    build_bpe(&l.b, &list, "gpt-2");
    build_int(&l.b, "tokenizer.ggml.unknown_token_id", 258); // a control token, as Phi-2 has it
    load(&l, 0);
    assert_int_equal(l.status, OCTET_OK);
    expect_ids(l.v, "aqbqab", 6, 0, (int32_t[]){'a', 'b', 256}, 3);
    unload(&l);

    list.types[258] = 2;
    build_start(&l.b);
    build_bpe(&l.b, &list, "gpt-2");
    build_int(&l.b, "tokenizer.ggml.unknown_token_id", 258);
    load(&l, 0);
    expect_ids(l.v, "aqb", 3, 0, (int32_t[]){'a', 258, 'b'}, 3);
    unload(&l);
}

static void test_survives_failing_allocations(void **state) {
    (void)state;
    for (int bpe = 0; bpe < 2; bpe++) {
        struct vocab_list list;
        struct builder b;
        struct gguf *g;
        struct vocab *v = NULL;
        build_start(&b);
        if (bpe) {
            list_bpe(&list);
            build_bpe(&b, &list, "phi-2");
        } else {
            list_spm(&list);
            build_spm(&b, &list);
        }
        build_finish(&b);
        assert_int_equal(gguf_parse("test.gguf", b.bytes, b.n, &g, NULL), OCTET_OK);
        enum octet_status status = OCTET_EMEM;
        size_t n = 0;
        for (; status == OCTET_EMEM; n++) {
            assert_null(v);
            mem_fail_after(n);
            status = vocab_load(g, 0, &v, NULL);
            mem_fail_after(SIZE_MAX);
        }
        assert_int_equal(status, OCTET_OK);
        assert_in_range(n, 7, 30);

        struct octet_tokens out = {0};
        status = OCTET_EMEM;
        for (n = 0; status == OCTET_EMEM; n++) {
            assert_int_equal(out.n, 0);
            octet_tokens_free(&out);
            mem_fail_after(n);
            status = vocab_encode(v, "abcabc abc <s> cba", 18,
                                  OCTET_TOKENIZE_SPECIAL | OCTET_TOKENIZE_BOS, &out, NULL);
            mem_fail_after(SIZE_MAX);
        }
        assert_int_equal(status, OCTET_OK);
        assert_in_range(n, 3, 30);
        octet_tokens_free(&out);
        vocab_free(v);
        gguf_close(g);
        build_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_a_small_spm_vocabulary),
        cmocka_unit_test(test_bytes_depend_on_the_type),
        cmocka_unit_test(test_guesses_types_that_the_file_lacks),
        cmocka_unit_test(test_refuses_missing_keys_by_name),
        cmocka_unit_test(test_refuses_families_it_does_not_know),
        cmocka_unit_test(test_refuses_pre_tokenisers_it_does_not_know),
        cmocka_unit_test(test_refuses_arrays_of_wrong_type_or_length),
        cmocka_unit_test(test_refuses_bad_scores_types_and_byte_names),
        cmocka_unit_test(test_refuses_more_tokens_than_rows),
        cmocka_unit_test(test_refuses_merges_of_unknown_tokens),
        cmocka_unit_test(test_ignores_special_ids_out_of_range),
        cmocka_unit_test(test_adds_bos_and_eos_where_the_file_asks),
        cmocka_unit_test(test_survives_odd_tokens),
        cmocka_unit_test(test_prefers_the_longest_special_token),
        cmocka_unit_test(test_leaves_out_bytes_without_token),
        cmocka_unit_test(test_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
