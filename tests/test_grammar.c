/* Grammars: which texts they are, what is wrong with those that are none, and the masks that hold
 * an answer to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "grammar_model.h"

static int match(const char *source, const char *text) {
    struct grammar *g;
    struct octet_err err;
    int how = -1;
    if (grammar_open(source, strlen(source), NULL, &g, &err) != OCTET_OK)
        fail_msg("%s: %s", source, err.message);
    assert_int_equal(grammar_match(g, text, strlen(text), &how, &err), OCTET_OK);
    grammar_close(g);
    return how;
}

static void expect(const char *source, const char *text, int how) {
    const int found = match(source, text);
    if (found != how) fail_msg("%s on '%s': %d, not %d", source, text, found, how);
}

enum { NO, BEGINNING, WHOLE };

/* ---- Notation -------------------------------------------------------------------------------- */

static void test_literals_and_escapes(void **state) {
    (void)state;
    expect("root ::= \"a\\n\\t\\\\\\\"\\x41\\u00e9\\U0001F600\"",
           "a\n\t\\\"A\xc3\xa9\xf0\x9f\x98\x80", WHOLE);
    expect("root ::= \"abc\"", "ab", BEGINNING);
    expect("root ::= \"abc\"", "abd", NO);
    expect("root ::= \"abc\"", "abcd", NO);
    expect("root ::= \"\"", "", WHOLE);
    expect("root ::= \"\xe6\x97\xa5\"", "\xe6\x97", BEGINNING);
}

static void test_classes(void **state) {
    (void)state;
    expect("root ::= [a-cx\\]\\x2d-]", "b", WHOLE);
    expect("root ::= [a-cx\\]\\x2d-]", "]", WHOLE);
    expect("root ::= [a-cx\\]\\x2d-]", "-", WHOLE);
    expect("root ::= [a-cx\\]\\x2d-]", "d", NO);
    expect("root ::= [^a-c\\n]", "a", NO);
    expect("root ::= [^a-c\\n]", "\n", NO);
    expect("root ::= [^a-c\\n]", "d", WHOLE);
    expect("root ::= [^a-c\\n]", "\xe2\x82\xac", WHOLE);
    expect("root ::= [^a-c\\n]", "\xff", NO);
    expect("root ::= [\\u0400-\\u04ff]", "\xd0\xaf", WHOLE);
    expect("root ::= [\\u0400-\\u04ff]", "\xd4\x80", NO);
    expect("root ::= .", "\n", WHOLE);
    expect("root ::= .", "\xf4\x8f\xbf\xbf", WHOLE);
    expect("root ::= .", "\xf4\x90\x80\x80", NO); // beyond U+10FFFF
    expect("root ::= .", "\xed\xa0\x80", NO);     // a surrogate
    expect("root ::= .", "\xc0\x80", NO);         // longer than it has to be
}

/* Every code point at the edges of ranges, in and out of the class. */
static void test_ranges_of_characters_are_exact(void **state) {
    (void)state;
    static const uint32_t edges[] = {0x0,    0x1,    0x41,   0x7f,    0x80,    0x7ff,    0x800,
                                     0xfff,  0x1000, 0xd7ff, 0xe000,  0xffff,  0x10000,  0x12345,
                                     0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff};
    const size_t n = sizeof edges / sizeof *edges;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i; k < n; k++) {
            struct grammar *g;
            char source[64];
            snprintf(source, sizeof source, "root ::= [\\U%08X-\\U%08X]", edges[i], edges[k]);
            assert_int_equal(grammar_open(source, strlen(source), NULL, &g, NULL), OCTET_OK);
            for (size_t c = 0; c < n; c++) {
                utf8proc_uint8_t text[4];
                int how;
                const utf8proc_ssize_t length =
                    utf8proc_encode_char((utf8proc_int32_t)edges[c], text);
                assert_int_equal(grammar_match(g, (char *)text, (size_t)length, &how, NULL),
                                 OCTET_OK);
                assert_int_equal(how == WHOLE, c >= i && c <= k);
            }
            grammar_close(g);
        }
    }
}

static void test_repetitions(void **state) {
    (void)state;
    static const struct {
        const char *repeat;
        size_t min, max;
    } cases[] = {{"*", 0, 99},    {"+", 1, 99},   {"?", 0, 1},     {"{3}", 3, 3}, {"{2,}", 2, 99},
                 {"{2,4}", 2, 4}, {"{0,2}", 0, 2}, {"{,3}", 0, 3}, {"{0}", 0, 0}, {"{1,1}?", 0, 1}};
    static const char *const bodies[] = {"\"ab\"", "(\"a\" \"b\")", "r", "(\"a\" | \"c\") \"b\""};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t b = 0; b < 3; b++) {
            char source[96], text[32] = "";
            snprintf(source, sizeof source, "root ::= %s%s\nr ::= \"ab\"", bodies[b],
                     cases[i].repeat);
            for (size_t n = 0; n <= 7; n++, strcat(text, "ab"))
                assert_int_equal(match(source, text) == WHOLE,
                                 n >= cases[i].min && n <= cases[i].max);
        }
    }
}

static void test_rules_go_over_lines(void **state) {
    (void)state;
    static const char source[] = "# a comment\n"
                                 "root ::= (  # another\n"
                                 "  \"a\"\n"
                                 "  | b-1 \"c\"\n"
                                 ")+ \"!\"\n"
                                 "  | \"last\" |\n"
                                 "  \"later\"\r\n"
                                 "\n"
                                 "b-1 ::=\n"
                                 "  \"b\" # not the end";
    expect(source, "abca!", WHOLE);
    expect(source, "last", WHOLE);
    expect(source, "later", WHOLE);
    expect(source, "b!", NO);
}

static void test_recursion(void **state) {
    (void)state;
    static const char balanced[] = "root ::= (\"(\" root \")\" | \"[\" root \"]\")*";
    expect(balanced, "([])[]", WHOLE);
    expect(balanced, "([", BEGINNING);
    expect(balanced, "(]", NO);
    static const char palindromes[] = "root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"\"";
    expect(palindromes, "abba", WHOLE);
    expect(palindromes, "abbaab", BEGINNING);
    static const char list[] = "root ::= \"x\" | \"x,\" root";
    expect(list, "x,x,x,x", WHOLE);
    static const char nothing[] = "root ::= a* \"z\"\na ::= \"\" | \"y\" | a2\n"
                                  "a2 ::= b?\nb ::= \"w\"";
    expect(nothing, "ywyz", WHOLE);
}

static void test_errors_name_the_line(void **state) {
    (void)state;
    static const struct {
        const char *source, *message;
    } cases[] = {
        {"", "there is no rule 'root'"},
        {"a ::= \"b\"", "there is no rule 'root'"},
        {"root ::= \"a\"\n\nb ::= c", "line 3: there is no rule 'c'"},
        {"root ::= \"a\n", "line 2: a literal without its closing quote"},
        {"root ::= [a-", "line 1: a class without its closing bracket"},
        {"root ::= []", "line 1: a class without characters"},
        {"root ::= [z-a]", "line 1: a range of characters that is upside down"},
        {"root ::= (\"a\"", "line 1: a group without its closing parenthesis"},
        {"root ::= \"a\")", "line 1: expected the end of rule 'root', found ')'"},
        {"root ::= \"\\q\"", "line 1: an escape that is not known: \\q"},
        {"root ::= \"\\x4\"", "an escape needs 2 hexadecimal digits"},
        {"root ::= \"\\ud800\"", "an escape names no character: U+D800"},
        {"root ::= \"\\U00110000\"", "an escape names no character"},
        {"root ::= \"\xff\"", "bytes that are not UTF-8"},
        {"root ::= \"a\"{3,2}", "repetitions from 3 to 2"},
        {"root ::= \"a\"{x}", "expected {m}, {m,}, {,n} or {m,n}"},
        {"root ::= \"a\"{9999999}", "more than 1048576 repetitions"},
        {"root = \"a\"", "expected ::= after the name 'root'"},
        {"root ::= \"a\"\nroot ::= \"b\"", "line 2: rule 'root' was written in line 1 already"},
        {"%", "expected the name of a rule, found '%'"},
        {"root ::= root \"x\" | \"y\"", "line 1: rule 'root' is left-recursive"},
        {"root ::= a\na ::= b? c\nb ::= \"x\"\nc ::= a \"y\"", "is left-recursive"},
        {"root ::= \"a\" root", "rule 'root' never ends"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct grammar *g;
        struct octet_err err = {OCTET_OK, ""};
        assert_int_equal(grammar_open(cases[i].source, strlen(cases[i].source), NULL, &g, &err),
                         OCTET_EFORMAT);
        assert_null(g);
        if (!strstr(err.message, cases[i].message))
            fail_msg("'%s' not in '%s'", cases[i].message, err.message);
    }
}

/* ---- Hostile grammars ------------------------------------------------------------------------ */

static void expect_too_much(const char *source) {
    struct grammar *g;
    struct octet_err err;
    const enum octet_status status = grammar_open(source, strlen(source), NULL, &g, &err);
    if (status != OCTET_EUNSUPPORTED && status != OCTET_EFORMAT)
        fail_msg("%.60s: status %d", source, (int)status);
    assert_null(g);
}

static void test_too_much_is_refused(void **state) {
    (void)state;
    expect_too_much("root ::= ((((\"a\"{999}){999}){999}){999}){999}");
    expect_too_much("root ::= ((\"a\"?){500}){500}");
    expect_too_much("root ::= (\"a\" | \"b\")* \"a\" (\"a\" | \"b\"){40}"); // 2^40 states
    char *const deep = mem_alloc(200010);
    strcpy(deep, "root ::= ");
    memset(deep + strlen(deep), '(', 100000);
    expect_too_much(deep);
    mem_free(deep);
}

static void test_many_rules_in_a_chain_do_not_overflow_the_stack(void **state) {
    (void)state;
    struct buffer source = {NULL, 0, 0};
    struct grammar *g;
    char line[64];
    int how;
    buffer_append_text(&source, "root ::= a0\n");
    for (int i = 0; i < 16000; i++) {
        snprintf(line, sizeof line, "a%d ::= a%d \"x\"?\n", i, i + 1);
        buffer_append_text(&source, line);
    }
    buffer_append_text(&source, "a16000 ::= \"y\"\n");
    // More rules are open at once than a stack may hold: refused when the grammar is opened.
    struct octet_err err;
    assert_int_equal(grammar_open(source.bytes, source.n, NULL, &g, &err), OCTET_EUNSUPPORTED);
    assert_null(g);
    buffer_free(&source);
    // The same without anything to return to is no stack at all.
    buffer_append_text(&source, "root ::= a0\n");
    for (int i = 0; i < 400; i++) {
        snprintf(line, sizeof line, "a%d ::= \"x\"? a%d\n", i, i + 1);
        buffer_append_text(&source, line);
    }
    buffer_append_text(&source, "a400 ::= \"y\"\n");
    assert_int_equal(grammar_open(source.bytes, source.n, NULL, &g, &err), OCTET_OK);
    assert_int_equal(grammar_match(g, "xxxy", 4, &how, &err), OCTET_OK);
    assert_int_equal(how, WHOLE);
    grammar_close(g);
    buffer_free(&source);
}

static void test_too_many_readings_end_in_an_error(void **state) {
    (void)state;
    // After n times x, the rest may be any of 2^n texts of 1 and 2.
    static const char source[] = "root ::= \"x\" root \"1\" | e\ne ::= \"x\" root \"2\" | \"y\"";
    struct grammar *g;
    struct octet_err err;
    int how;
    assert_int_equal(grammar_open(source, strlen(source), NULL, &g, &err), OCTET_OK);
    char text[64];
    memset(text, 'x', sizeof text);
    assert_int_equal(grammar_match(g, text, 4, &how, &err), OCTET_OK);
    assert_int_equal(how, BEGINNING);
    assert_int_equal(grammar_match(g, text, sizeof text, &how, &err), OCTET_EUNSUPPORTED);
    grammar_close(g);
}

static void test_failing_allocations_leave_nothing_behind(void **state) {
    (void)state;
    static const char source[] = "root ::= \"a\" [^b-d]{2,3} (root | x)? \"\xc3\xa9\"\n"
                                 "x ::= \"y\"* z\nz ::= \"q\" | \"r\" z \"s\"";
    struct model model;
    open_model(&model);
    for (size_t after = 0;; after++) {
        struct grammar *g = NULL;
        struct matcher *m = NULL;
        struct octet_err err;
        const uint64_t *bits;
        mem_fail_after(after);
        enum octet_status status = grammar_open(source, strlen(source), model.trie, &g, &err);
        if (status == OCTET_OK) status = matcher_open(g, 20, &m, &err);
        if (status == OCTET_OK) status = matcher_mask(m, &bits, &err);
        if (status == OCTET_OK) status = matcher_accept(m, 'a', &err);
        if (status == OCTET_OK) status = matcher_mask(m, &bits, &err);
        mem_fail_after(SIZE_MAX);
        matcher_close(m);
        grammar_close(g);
        if (status == OCTET_OK) break;
        assert_int_equal(status, OCTET_EMEM);
        assert_true(after < 2000);
    }
    close_model(&model);
}

/* ---- Masks ----------------------------------------------------------------------------------- */

static bool allows(struct matcher *m, int32_t id) {
    const uint64_t *bits;
    struct octet_err err;
    if (matcher_mask(m, &bits, &err) != OCTET_OK) fail_msg("%s", err.message);
    return bits[id / 64] >> (id % 64) & 1;
}

static void accept(struct matcher *m, int32_t id) {
    struct octet_err err;
    if (matcher_accept(m, id, &err) != OCTET_OK) fail_msg("%s", err.message);
}

static struct matcher *open_matcher(struct model *model, const char *source, int64_t n_tokens) {
    struct grammar *g;
    struct matcher *m;
    struct octet_err err;
    if (grammar_open(source, strlen(source), model->trie, &g, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    assert_int_equal(matcher_open(g, n_tokens, &m, &err), OCTET_OK);
    grammar_close(g); // the matcher has a share
    return m;
}

/* Each bit of the mask against the text that the token would make. */
static void assert_exact_masks(struct model *model, const char *source) {
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct matcher *const m = open_matcher(model, source, -1);
        struct grammar *g;
        struct buffer text = {NULL, 0, 0};
        uint64_t random = seed;
        assert_int_equal(grammar_open(source, strlen(source), NULL, &g, NULL), OCTET_OK);
        for (int step = 0; step < 12 && !matcher_finished(m); step++) {
            int32_t next = -1;
            uint32_t n_allowed = 0;
            for (int32_t id = 0; id < (int32_t)vocab_size(model->v); id++) {
                const char *bytes;
                size_t n_bytes;
                int how;
                if (vocab_ends(model->v, id)) {
                    assert_int_equal(allows(m, id), matcher_may_end(m));
                    continue;
                }
                vocab_bytes(model->v, id, false, &bytes, &n_bytes);
                const size_t n = text.n;
                buffer_append(&text, bytes, n_bytes);
                assert_int_equal(grammar_match(g, text.bytes, text.n, &how, NULL), OCTET_OK);
                text.n = n;
                const bool fine = n_bytes > 0 && how != NO;
                if (allows(m, id) != fine)
                    fail_msg("token %d after '%.*s'", id, (int)text.n, text.bytes);
                if (fine && next_random(&random) % ++n_allowed == 0) next = id;
            }
            if (next < 0) break;
            const char *bytes;
            size_t n_bytes;
            vocab_bytes(model->v, next, false, &bytes, &n_bytes);
            buffer_append(&text, bytes, n_bytes);
            accept(m, next);
        }
        buffer_free(&text);
        matcher_close(m);
        grammar_close(g);
    }
}

static void test_masks_are_what_the_grammar_allows(void **state) {
    (void)state;
    static const char *const sources[] = {
        "root ::= [ab]{2} \"bc\"+ (\"(\" root \")\")? [^\"\\x00-\\x20]{3,9}",
        "root ::= \"x\"? [^\"\\\\]* \"\\\"\"",     // a string
        "root ::= [a-z1-]{0,5} \"\\\"\"",              // so long and no longer
        "root ::= \"x\" ([a-c]+ | [0-9]{2,4} | \"-\" [ab]{1,2})+ \"\\\"\"",
        "root ::= ([xy] [ab\"-]*)* \"!\"",            // some of a kind, not all
        "root ::= ([xy] word)+\nword ::= [a-y] word? | \"1\" word \"1\"", // with a stack
    };
    struct model model;
    open_model(&model);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        assert_exact_masks(&model, sources[i]);
    close_model(&model);
}

static void test_end_tokens_only_where_the_text_may_end(void **state) {
    (void)state;
    struct model model;
    open_model(&model);
    struct matcher *const m = open_matcher(&model, "root ::= \"a\" \"b\"?", -1);
    struct octet_err err;
    assert_false(allows(m, model.end));
    assert_int_equal(matcher_accept(m, model.end, &err), OCTET_EARG);
    accept(m, 'a');
    assert_true(allows(m, model.end));
    assert_true(matcher_may_end(m));
    assert_false(matcher_finished(m));
    assert_int_equal(matcher_accept(m, model.end, &err), OCTET_OK);
    accept(m, 'b');
    assert_true(matcher_finished(m));
    assert_true(allows(m, model.end));
    assert_false(allows(m, 'b'));
    assert_int_equal(matcher_accept(m, 'b', &err), OCTET_EARG);
    matcher_close(m);
    close_model(&model);
}

static void test_tokens_may_end_inside_of_a_character(void **state) {
    (void)state;
    struct model model;
    open_model(&model);
    struct matcher *const m = open_matcher(&model, "root ::= [\\u4e00-\\u9fff]", -1);
    assert_true(allows(m, 0xe6));
    assert_false(allows(m, 0xe3));
    accept(m, 0xe6);
    assert_true(allows(m, 0x97));
    assert_false(allows(m, 'a'));
    assert_false(allows(m, model.end));
    accept(m, 0x97);
    accept(m, 0xa5);
    assert_true(matcher_finished(m));
    matcher_close(m);
    close_model(&model);
}

/* Of all tokens that lead to the end in time, whichever: the text is complete. */
static void walk(struct model *model, const char *source, int64_t n_tokens, uint64_t seed) {
    struct matcher *const m = open_matcher(model, source, n_tokens);
    uint64_t random = seed;
    int64_t n = 0;
    while (!matcher_finished(m) && n < n_tokens) {
        const int32_t id = pick_any(m, model, &random);
        if (id == model->end) break;
        accept(m, id);
        n++;
    }
    if (!matcher_may_end(m)) fail_msg("not complete after %d tokens: %s", (int)n, source);
    matcher_close(m);
}

static void test_texts_are_complete_within_their_tokens(void **state) {
    (void)state;
    static const struct {
        const char *source;
        int64_t least; // tokens of the shortest text
    } cases[] = {
        {"root ::= [a-z]*", 0},
        {"root ::= \"(\" root? \")\"", 2},
        {"root ::= \"abc\" [0-9]{4,} \"abc\"", 6}, // abc is a token
        {"root ::= \"[\" (root (\",\" root)*)? \"]\" | \"x\"{7}", 2},
        {"root ::= a{3}\na ::= \"ab\" a | \"q\"", 3},
        {"root ::= \"\\\"\" [^\"\\\\]* \"\\\"\"", 2},
    };
    struct model model;
    open_model(&model);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int64_t more = 0; more < 12; more++)
            for (uint64_t seed = 1; seed < 20; seed++)
                walk(&model, cases[i].source, cases[i].least + more, seed);
    close_model(&model);
}

static void test_too_few_tokens_go_the_shortest_way(void **state) {
    (void)state;
    struct model model;
    open_model(&model);
    struct matcher *const m = open_matcher(&model, "root ::= \"xyz\" | \"xyzabcabc\" \"(\"*", 2);
    accept(m, 'x');
    assert_true(allows(m, 'y'));
    accept(m, 'y');
    accept(m, 'z');
    assert_true(matcher_may_end(m));
    assert_false(allows(m, '('));
    matcher_close(m);
    close_model(&model);
}

static void test_a_long_text_forgets_states_and_goes_on(void **state) {
    (void)state;
    struct model model;
    open_model(&model);
    // Each count is a state of its own, with a mask of its own.
    struct matcher *const m = open_matcher(&model, "root ::= c{60000}\nc ::= [a-z]", -1);
    struct matcher *const other = open_matcher(&model, "root ::= c{60000}\nc ::= [a-z]", -1);
    for (int i = 0; i < 59999; i++) {
        if (i % 1000 == 0) assert_true(allows(m, 'a') && !allows(m, model.end));
        accept(m, 'a' + i % 26);
    }
    assert_false(matcher_may_end(m));
    accept(m, 'z');
    assert_true(matcher_finished(m));
    assert_true(allows(other, 'b'));
    matcher_close(other);
    matcher_close(m);
    close_model(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals_and_escapes),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_ranges_of_characters_are_exact),
        cmocka_unit_test(test_repetitions),
        cmocka_unit_test(test_rules_go_over_lines),
        cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_errors_name_the_line),
        cmocka_unit_test(test_too_much_is_refused),
        cmocka_unit_test(test_many_rules_in_a_chain_do_not_overflow_the_stack),
        cmocka_unit_test(test_too_many_readings_end_in_an_error),
        cmocka_unit_test(test_failing_allocations_leave_nothing_behind),
        cmocka_unit_test(test_masks_are_what_the_grammar_allows),
        cmocka_unit_test(test_end_tokens_only_where_the_text_may_end),
        cmocka_unit_test(test_tokens_may_end_inside_of_a_character),
        cmocka_unit_test(test_texts_are_complete_within_their_tokens),
        cmocka_unit_test(test_too_few_tokens_go_the_shortest_way),
        cmocka_unit_test(test_a_long_text_forgets_states_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
