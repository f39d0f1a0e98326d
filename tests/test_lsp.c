/* What octet lsp keeps of an editor's words: frames in a stream, documents under edits, answers
 * that are typed in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lsp/docs.h"
#include "lsp/frames.h"
#include "lsp/memory.h"
#include "lsp/settings.h"
#include "lsp/wire.h"

/* ---- Frames ---------------------------------------------------------------------------------- */

static void check_body(struct frames *frames, const char *expected) {
    const char *body;
    size_t n;
    assert_int_equal(frames_next(frames, &body, &n), FRAME_BODY);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(body, expected, n);
}

static void test_frames_come_in_any_pieces(void **state) {
    (void)state;
    static const char text[] = "Content-Length: 3\r\n\r\n{1}content-length:\t0 \n\n"
                               "Other: x\r\nContent-Length: 12\r\n\r\n{\"a\":\"\xc3\xa9!\"}";
    static const char *const bodies[] = {"{1}", "", "{\"a\":\"\xc3\xa9!\"}\0"};
    const size_t n = sizeof text - 1;
    for (size_t piece = 1; piece <= n; piece++) {
        struct frames frames = {0};
        const char *body;
        size_t n_body, found = 0;
        for (size_t at = 0; at < n; at += piece) {
            assert_true(frames_push(&frames, text + at, n - at < piece ? n - at : piece));
            while (frames_next(&frames, &body, &n_body) == FRAME_BODY) {
                assert_memory_equal(body, bodies[found], n_body);
                found++;
            }
        }
        assert_int_equal(found, 2);
        assert_true(frames_is_inside(&frames)); // one byte is missing
        assert_true(frames_push(&frames, "\n", 1));
        assert_int_equal(frames_next(&frames, &body, &n_body), FRAME_BODY);
        assert_int_equal(n_body, 12);
        assert_false(frames_is_inside(&frames));
        frames_free(&frames);
    }
}

static void test_broken_headers_stay_broken(void **state) {
    (void)state;
    static const char *const texts[] = {"\r\n", "x\n", "A: b\r\n\r\n", "Content-Length: \r\n\r\n",
                                        "Content-Length: 1x\n\n", "Content-Length: -1\n\n",
                                        "Content-Length: 1\nContent-Length: 2\n\n",
                                        "Content-Length: 99999999999999999999999\n\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct frames frames = {0};
        const char *body;
        size_t n;
        assert_true(frames_push(&frames, texts[i], strlen(texts[i])));
        assert_int_equal(frames_next(&frames, &body, &n), FRAME_BROKEN);
        assert_true(frames_push(&frames, "Content-Length: 1\n\nx", 20));
        assert_int_equal(frames_next(&frames, &body, &n), FRAME_BROKEN);
        frames_free(&frames);
    }
}

static void test_long_messages_are_passed_over(void **state) {
    (void)state;
    static char block[1 << 20];
    static const char after[] = "Content-Length: 2\n\nok";
    struct frames frames = {0};
    const char *body;
    size_t n;
    char header[64];
    snprintf(header, sizeof header, "Content-Length: %d\n\n", FRAME_BODY_BYTES + 1);
    assert_true(frames_push(&frames, header, strlen(header)));
    assert_true(frames_push(&frames, "x", 1));
    assert_int_equal(frames_next(&frames, &body, &n), FRAME_TOO_LONG);
    for (int left = FRAME_BODY_BYTES; left > 0; left -= (int)sizeof block) {
        assert_true(frames_push(&frames, block, sizeof block));
        assert_int_equal(frames_next(&frames, &body, &n), FRAME_MORE);
        assert_true(frames.in.cap < 2 * sizeof block);
    }
    assert_false(frames_is_inside(&frames));
    assert_true(frames_push(&frames, after, sizeof after - 1));
    check_body(&frames, "ok");
    frames_free(&frames);
}

static void test_endless_headers_are_broken(void **state) {
    (void)state;
    struct frames frames = {0};
    const char *body;
    size_t n;
    for (size_t i = 0; i < FRAME_HEADER_BYTES - 1; i++)
        assert_true(frames_push(&frames, i % 10 == 9 ? "\n" : i % 10 ? "x" : ":", 1));
    assert_int_equal(frames_next(&frames, &body, &n), FRAME_MORE);
    assert_true(frames_push(&frames, "x", 1));
    assert_int_equal(frames_next(&frames, &body, &n), FRAME_BROKEN);
    frames_free(&frames);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void test_halves_of_surrogate_pairs_become_characters(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"[\"a\\ud83dz\"]", "a\xef\xbf\xbdz"},
        {"[\"\\uDE00\"]", "\xef\xbf\xbd"},
        {"[\"\\ud83d\\ude00\\ud83d\"]", "\xf0\x9f\x98\x80\xef\xbf\xbd"},
        {"[\"\\\\ud83d\\udc00\"]", "\\ud83d\xef\xbf\xbd"},
        {"[\"\\ud83d\\u0041\"]", "\xef\xbf\xbd" "A"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *const json = wire_parse(cases[i][0], strlen(cases[i][0]));
        assert_non_null(json);
        assert_string_equal(json_string_value(json_array_get(json, 0)), cases[i][1]);
        json_decref(json);
    }
    assert_null(wire_parse("[\"\\ud8\"]", 8));
    assert_null(wire_parse("", 0));
}

/* ---- Documents ------------------------------------------------------------------------------- */

struct place_case {
    size_t line, utf16, utf8, at;
};

static void test_positions_in_both_units(void **state) {
    (void)state;
    // a, U+1F600, e acute, \r\n | b | \r | nothing | \n | euro
    static const char text[] = "a\xf0\x9f\x98\x80\xc3\xa9\r\nb\r\n\r\n\xe2\x82\xac";
    static const struct place_case cases[] = {
        {0, 0, 0, 0}, {0, 1, 1, 1}, {0, 3, 5, 5}, {0, 4, 7, 7}, {1, 0, 0, 9},
        {1, 1, 1, 10}, {2, 0, 0, 12}, {3, 0, 0, 14}, {3, 1, 3, 17},
    };
    struct docs docs = {0};
    struct doc *const doc = docs_open(&docs, "u", "c", text, sizeof text - 1);
    assert_non_null(doc);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct place_case *const c = &cases[i];
        docs.units = UNITS_UTF16;
        assert_int_equal(docs_at(&docs, doc, (struct position){c->line, c->utf16}), c->at);
        struct position p = docs_position(&docs, doc, c->at);
        assert_true(p.line == c->line && p.character == c->utf16);
        docs.units = UNITS_UTF8;
        assert_int_equal(docs_at(&docs, doc, (struct position){c->line, c->utf8}), c->at);
        p = docs_position(&docs, doc, c->at);
        assert_true(p.line == c->line && p.character == c->utf8);
    }
    docs.units = UNITS_UTF16; // within a character, beyond a line, beyond all lines
    assert_int_equal(docs_at(&docs, doc, (struct position){0, 2}), 1);
    assert_int_equal(docs_at(&docs, doc, (struct position){0, SIZE_MAX}), 7);
    assert_int_equal(docs_at(&docs, doc, (struct position){SIZE_MAX, 0}), 17);
    docs_replace(&docs, doc, "a\rb", 3); // lines of old
    assert_int_equal(docs_at(&docs, doc, (struct position){1, 0}), 2);
    docs_free(&docs);
}

static void test_edits_follow_on_each_other(void **state) {
    (void)state;
    struct docs docs = {0};
    struct doc *const doc = docs_open(&docs, "u", "c", "one\ntwo\n", 8);
    struct doc *const other = docs_open(&docs, "v", "c", "", 0);
    assert_ptr_equal(docs.first, other);
    docs_edit(&docs, doc, &(struct range){{1, 0}, {1, 3}}, "2\n3", 3);
    assert_string_equal(doc->text.bytes, "one\n2\n3\n");
    assert_int_equal(doc->edited_at, 4);
    assert_ptr_equal(docs.first, doc); // changed last
    docs_edit(&docs, doc, &(struct range){{2, 1}, {9, 9}}, "", 0);
    assert_string_equal(doc->text.bytes, "one\n2\n3");
    docs_edit(&docs, doc, &(struct range){{1, 1}, {0, 0}}, "!", 1); // ends before it begins
    assert_string_equal(doc->text.bytes, "one\n2!\n3");
    docs_replace(&docs, doc, "one\n2!\nthree", 12);
    assert_int_equal(doc->edited_at, 7);
    struct doc *const again = docs_open(&docs, "u", "c", "new", 3);
    assert_ptr_equal(docs_find(&docs, "u"), again);
    assert_int_equal(docs.n, 2);
    docs_free(&docs);
    assert_null(docs.first);
}

static void test_what_grows_too_long_is_lost(void **state) {
    (void)state;
    struct docs docs = {0};
    char *const text = mem_alloc(DOC_BYTES + 1);
    memset(text, 'x', DOC_BYTES);
    struct doc *const doc = docs_open(&docs, "u", "c", text, DOC_BYTES);
    assert_false(doc->lost);
    docs_edit(&docs, doc, &(struct range){{0, 0}, {0, 0}}, "y", 1);
    assert_true(doc->lost);
    docs_edit(&docs, doc, &(struct range){{0, 0}, {0, 0}}, "y", 1);
    assert_true(doc->lost);
    docs_replace(&docs, doc, "back", 4);
    assert_false(doc->lost);
    assert_string_equal(doc->text.bytes, "back");
    mem_free(text);
    docs_free(&docs);
}

static void test_the_longest_untouched_makes_room(void **state) {
    (void)state;
    struct docs docs = {0};
    char uri[16];
    for (int i = 0; i <= DOCS_OPEN; i++) {
        snprintf(uri, sizeof uri, "%d", i);
        assert_non_null(docs_open(&docs, uri, "c", "", 0));
    }
    assert_int_equal(docs.n, DOCS_OPEN);
    assert_null(docs_find(&docs, "0"));
    assert_non_null(docs_find(&docs, "1"));
    docs_free(&docs);
}

static void test_failed_allocations_lose_texts_only(void **state) {
    (void)state;
    bool all_went_well = false;
    for (size_t after = 0; !all_went_well; after++) {
        struct docs docs = {0};
        struct frames frames = {0};
        struct memory memory = {0};
        mem_fail_after(after);
        struct doc *const doc = docs_open(&docs, "u", "c", "abc", 3);
        if (doc) docs_edit(&docs, doc, &(struct range){{0, 1}, {0, 2}}, "0123456789abcdef", 16);
        const bool pushed = frames_push(&frames, "Content-Length: 1\n\nx", 20);
        memory_put(&memory, "u", "a", "b", "c");
        mem_fail_after(SIZE_MAX);
        if (doc && !doc->lost) assert_string_equal(doc->text.bytes, "a0123456789abcdefc");
        if (doc) docs_replace(&docs, doc, "again", 5);
        if (doc) assert_string_equal(doc->text.bytes, "again");
        const char *const known = memory_get(&memory, "u", "a", "b");
        all_went_well = doc && pushed && known;
        docs_free(&docs);
        frames_free(&frames);
        memory_clear(&memory);
    }
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void test_answers_are_typed_in(void **state) {
    (void)state;
    struct memory memory = {0};
    memory_put(&memory, "u", "x = ", "\nend", "foo(1)");
    assert_string_equal(memory_get(&memory, "u", "x = ", "\nend"), "foo(1)");
    assert_string_equal(memory_get(&memory, "u", "x = foo", "\nend"), "(1)");
    assert_null(memory_get(&memory, "u", "x = foo(1)", "\nend")); // nothing is left
    assert_null(memory_get(&memory, "u", "x = fo0", "\nend"));
    assert_null(memory_get(&memory, "u", "x =", "\nend"));
    assert_null(memory_get(&memory, "u", "yx = foo", "\nend")); // the text began at x
    assert_null(memory_get(&memory, "u", "x = foo", "\nother"));
    assert_null(memory_get(&memory, "v", "x = foo", "\nend"));
    memory_put(&memory, "u", "nothing", "", "");
    assert_string_equal(memory_get(&memory, "u", "nothing", ""), "");
    memory_put(&memory, "u", "x = ", "\nend", "bar");
    assert_string_equal(memory_get(&memory, "u", "x = ", "\nend"), "bar"); // the newest first
    for (int i = 0; i < MEMORY_ANSWERS; i++) memory_put(&memory, "u", "y", "", "z");
    assert_null(memory_get(&memory, "u", "x = ", "\nend"));
    memory_clear(&memory);
}

static void test_far_text_does_not_matter(void **state) {
    (void)state;
    enum { FAR = MEMORY_BEFORE + 10 };
    struct memory memory = {0};
    char prefix[FAR + 20];
    memset(prefix, 'a', FAR);
    strcpy(prefix + FAR, "x = ");
    memory_put(&memory, "u", prefix, "", "foo");
    prefix[3] = 'b';
    strcat(prefix, "f");
    assert_string_equal(memory_get(&memory, "u", prefix, ""), "oo");
    assert_string_equal(memory_get(&memory, "u", prefix + 5, ""), "oo");
    prefix[FAR - 1] = 'b';
    assert_null(memory_get(&memory, "u", prefix, ""));
    memory_clear(&memory);
}

/* ---- Settings -------------------------------------------------------------------------------- */

static void test_wrong_settings_are_told_and_left(void **state) {
    (void)state;
    struct settings s = {.max_tokens = 64, .multi_line = true};
    char wrong[160];
    json_t *json = json_pack("{s:{s:i, s:b, s:s, s:i, s:s}}", "octet", "maxTokens", 9, "multiLine",
                             0, "menu", "off", "budgetMs", 0, "model", "m.gguf");
    settings_read(&s, json, wrong, sizeof wrong);
    assert_string_equal(wrong, "");
    assert_true(s.max_tokens == 9 && !s.multi_line && s.menu == MENU_OFF && s.budget_ms == 0);
    assert_string_equal(settings_model(json), "m.gguf");
    json_decref(json);
    json = json_pack("{s:i, s:s, s:i, s:i}", "maxTokens", 0, "multiLine", "yes", "menu", 1, "model",
                     3);
    settings_read(&s, json, wrong, sizeof wrong);
    assert_non_null(strstr(wrong, "'menu' must be"));
    assert_true(s.max_tokens == 9 && !s.multi_line && s.menu == MENU_OFF);
    assert_null(settings_model(json));
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_come_in_any_pieces),
        cmocka_unit_test(test_broken_headers_stay_broken),
        cmocka_unit_test(test_long_messages_are_passed_over),
        cmocka_unit_test(test_endless_headers_are_broken),
        cmocka_unit_test(test_halves_of_surrogate_pairs_become_characters),
        cmocka_unit_test(test_positions_in_both_units),
        cmocka_unit_test(test_edits_follow_on_each_other),
        cmocka_unit_test(test_what_grows_too_long_is_lost),
        cmocka_unit_test(test_the_longest_untouched_makes_room),
        cmocka_unit_test(test_failed_allocations_lose_texts_only),
        cmocka_unit_test(test_answers_are_typed_in),
        cmocka_unit_test(test_far_text_does_not_matter),
        cmocka_unit_test(test_wrong_settings_are_told_and_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
