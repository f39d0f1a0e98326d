/* Calls of tools in the text of answers: every form, however the text is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/calls.h"

/* ---- Reading --------------------------------------------------------------------------------- */

static void note_text(void *user, const char *text, size_t n_bytes) {
    assert_true(buffer_append(user, text, n_bytes));
}

static void note_call(void *user, const char *name, const char *arguments) {
    struct buffer *const out = user;
    assert_true(buffer_append_text(out, "<<") && buffer_append_text(out, name) &&
                buffer_append_text(out, arguments) && buffer_append_text(out, ">>"));
}

/* The same of calls that are told in pieces: without blanks between tokens, and with "!!" at the
 * end of one that broke off. */
static bool in_string, escaped;

static void note_begin(void *user, const char *name) {
    assert_true(buffer_append_text(user, "<<") && buffer_append_text(user, name));
    in_string = escaped = false;
}

static void note_arguments(void *user, const char *text, size_t n_bytes) {
    assert_true(n_bytes > 0);
    for (size_t i = 0; i < n_bytes; i++) {
        if (in_string || !strchr(" \n\t\r", text[i])) note_text(user, text + i, 1);
        if (!escaped && text[i] == '"') in_string = !in_string;
        escaped = !escaped && text[i] == '\\';
    }
}

static void note_end(void *user, bool complete) {
    assert_true(buffer_append_text(user, complete ? ">>" : "!!"));
}

static json_t *two_tools(void) {
    return json_pack("[{s:{s:s}}, {s:{s:s}}]", "function", "name", "f", "function", "name",
                     "get_time");
}

static struct call_reader new_reader(json_t *tools, struct buffer *out, bool hidden) {
    return (struct call_reader){.tools = tools, .hidden = hidden ? 0x3f : 0,
                                .on_text = note_text, .on_call = note_call, .user = out};
}

/* What is told of TEXT in pieces of N_FIRST and then N_NEXT bytes. To be freed. */
static char *read_cut(struct call_reader reader, const char *text, size_t n_first, size_t n_next) {
    struct buffer *const out = reader.user;
    const size_t n = strlen(text);
    size_t at = 0, piece = n_first;
    *out = (struct buffer){NULL, 0, 0};
    while (at < n) {
        if (piece > n - at) piece = n - at;
        assert_true(calls_push(&reader, text + at, piece));
        at += piece;
        piece = n_next;
    }
    assert_true(calls_finish(&reader) && buffer_append(out, "", 0));
    calls_free(&reader);
    return out->bytes;
}

static void expect_told(struct call_reader reader, const char *text, const char *expected) {
    const size_t n = strlen(text);
    for (size_t first = 0; first <= n; first++) {
        for (size_t next = 1; next <= n + 1; next = next < 3 ? next + 1 : next + n) {
            char *const told = read_cut(reader, text, first, next);
            if (strcmp(told, expected) != 0)
                fail_msg("%s\ncut at %zu, then every %zu:\n%s", text, first, next, told);
            mem_free(told);
        }
    }
}

static void expect_told_early(struct call_reader reader, const char *text, const char *expected) {
    reader.on_begin = note_begin;
    reader.on_arguments = note_arguments;
    reader.on_end = note_end;
    expect_told(reader, text, expected);
}

struct reading {
    const char *text, *told; // NULL: as TEXT
};

static void expect_readings_of(const struct reading *readings, bool hidden, bool early) {
    struct buffer out;
    json_t *const tools = two_tools();
    for (; readings->text; readings++)
        (early ? expect_told_early : expect_told)(new_reader(tools, &out, hidden), readings->text,
                                                  readings->told ? readings->told
                                                                 : readings->text);
    json_decref(tools);
}

static void expect_readings(const struct reading *readings, bool hidden) {
    expect_readings_of(readings, hidden, false);
    expect_readings_of(readings, hidden, true);
}

#define CALL_F "{\"name\": \"f\", \"arguments\": {\"a\": [1, \"}\\\"]\"]}}"
#define TOLD_F "<<f{\"a\":[1,\"}\\\"]\"]}>>"

static void test_tagged_calls(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"<tool_call>" CALL_F "</tool_call>", TOLD_F},
        {"\n<tool_call>\n" CALL_F "\n</tool_call>\n", TOLD_F},
        {"Let me see.\n\n<tool_call>" CALL_F "</tool_call>", "Let me see." TOLD_F},
        {"<tool_call>" CALL_F "</tool_call>\n<tool_call>{\"name\": \"get_time\"}</tool_call>",
         TOLD_F "<<get_time{}>>"},
        {"<tool_call>" CALL_F "\n<tool_call>" CALL_F, TOLD_F TOLD_F},
        {"<tool_call>" CALL_F "</tool_call> done", TOLD_F " done"},
        {"<tool_call>[" CALL_F "," CALL_F "]</tool_call>", TOLD_F TOLD_F},
        {"<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 0.1}\"}</tool_call>",
         "<<f{\"a\":0.1}>>"},
        {NULL, NULL},
    };
    expect_readings(readings, false);
    expect_readings(readings, true);
}

static void test_calls_as_mistral_writes_them(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"[TOOL_CALLS] [" CALL_F "]", TOLD_F},
        {"[TOOL_CALLS][" CALL_F ", {\"name\": \"get_time\", \"arguments\": {}, \"id\": \"x\"}]",
         TOLD_F "<<get_time{}>>"},
        {"Well: [TOOL_CALLS]f{\"a\": 1}", "Well:<<f{\"a\":1}>>"},
        {"[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]get_time[CALL_ID]abc123XYZ[ARGS]{}",
         "<<f{\"a\":1}>><<get_time{}>>"},
        {"[TOOL_CALLS] " CALL_F, TOLD_F},
        {NULL, NULL},
    };
    expect_readings(readings, false);
    expect_readings(readings, true);
}

static void test_calls_as_llama_writes_them(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "<<f{\"a\":1}>>"},
        {"<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; " CALL_F, "<<f{}>>" TOLD_F},
        {"{\"type\": \"function\", \"function\": " CALL_F "}", TOLD_F},
        {" " CALL_F ";\n" CALL_F " ", TOLD_F TOLD_F},
        {NULL, NULL},
    };
    expect_readings(readings, false);
    expect_readings(readings, true);
}

static void test_calls_in_bare_json(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"[" CALL_F "]", TOLD_F},
        {"[ \n" CALL_F "]", TOLD_F},
        {"```json\n" CALL_F "\n```", TOLD_F},
        {"```\n" CALL_F "```\nThere.", TOLD_F "\nThere."},
        {NULL, NULL},
    };
    expect_readings(readings, false);
}

static void test_what_only_looks_like_a_call_is_text(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"", NULL},
        {" \n", NULL},
        {"Hello  world <tool_cal l> [TOOL] [1, 2] {} ` `` ", NULL},
        {"<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>", NULL},
        {"<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call> x", NULL},
        {"<tool_call>maybe</tool_call>", NULL},
        {"a <tool_call>", NULL},
        {"a <tool", NULL},
        {"[TOOL_CALLS] [", NULL},
        {"[TOOL_CALLS]f(1)", NULL},
        {"[TOOL_CALLS]g{}", NULL},
        {"{\"answer\": 42}", NULL},
        {"{\"name\": \"f\"", NULL},
        {"[{", NULL},
        {"[", NULL},
        {"``", NULL},
        {"```python\nprint()\n```", NULL},
        {"```js", NULL},
        {"First: " CALL_F, NULL},
        {"<tool_call>{}</tool_call><tool_call>" CALL_F "</tool_call>",
         "<tool_call>{}</tool_call>" TOLD_F},
        {"; x ;<tool_call>" CALL_F "</tool_call>; y", "; x ;" TOLD_F "; y"},
        {NULL, NULL},
    };
    expect_readings(readings, false);
}

static void test_marks_that_are_control_tokens_are_never_shown(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"[TOOL_CALLS] [", " ["},
        {"[TOOL_CALLS] no", " no"},
        {"<tool_call>{\"name\": \"unknown\"}</tool_call>", "{\"name\": \"unknown\"}"},
        {"a </tool_call> b [ARGS]c", "a  b c"},
        {"[TOOL_CALLS]g[ARGS]{}", "g{}"},
        {"a <|python_tag|>print()", "a print()"},
        {NULL, NULL},
    };
    expect_readings(readings, true);
}

static void test_calls_that_the_prompt_has_opened(void **state) {
    static const struct {
        enum call_form form;
        struct reading reading;
    } cases[] = {
        {CALLS_TAGGED, {CALL_F "\n</tool_call>", TOLD_F}},
        {CALLS_MISTRAL, {"[" CALL_F "]", TOLD_F}},
        {CALLS_MISTRAL, {"f{}", "<<f{}>>"}},
        {CALLS_BARE, {"```json" CALL_F "```", TOLD_F}},
        {CALLS_TAGGED, {"Sorry, no.", "Sorry, no."}},
        {CALLS_TAGGED, {"{\"name\": \"f\", \"argu", "{\"name\": \"f\", \"argu"}},
    };
    (void)state;
    json_t *const tools = two_tools();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer out;
        struct call_reader reader = new_reader(tools, &out, true);
        reader.begun = true;
        reader.begun_form = cases[i].form;
        expect_told(reader, cases[i].reading.text, cases[i].reading.told);
        expect_told_early(reader, cases[i].reading.text, cases[i].reading.told);
    }
    json_decref(tools);
}

static void test_what_breaks_off_stays_told_if_it_was_told_early(void **state) {
    (void)state;
    struct reading readings[] = {
        {"<tool_call>{\"name\": \"f\", \"arguments\": {]}</tool_call>", "<<f{!!]}</tool_call>"},
        {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ", "<<f{\"a\":!!"},
        {"[TOOL_CALLS]f{\"a\": }", "<<f{\"a\":!!}"},
        {"[" CALL_F ", {\"name\": \"unknown\"}]", TOLD_F},
        {"[TOOL_CALLS] [" CALL_F ", x]", TOLD_F "x]"},
        {"<tool_call>{\"name\": \"f\", \"arguments\": {}</tool_call> so", "<<f{}>> so"},
        {"[TOOL_CALLS] [" CALL_F ",", TOLD_F},
        {NULL, NULL},
    };
    expect_readings_of(readings, false, true);
    for (size_t i = 0; readings[i].text; i++) readings[i].told = NULL;
    expect_readings_of(readings, false, false);
}

static void test_only_json_is_told_early(void **state) {
    (void)state;
    static const char *const good[] = {
        "{}", "[]", "0", "-1", "10.25e+3", "1E9", "true", "false", "null", "\"\"", "[[1,2],{}]",
        "\"\\u00e9\\n\\\"\\/\"", "\"\\ud83d\\ude00\"", "{\"a\":{\"arguments\":{\"name\":\"x\"}}}",
    };
    static const char *const bad[] = {
        "+1", "01", "1.", ".5", "1e", "--1", "tru", "nul}", "'x'", "[1,]", "{\"a\"}", "{a:1}",
        "{,}", "\"\\x\"", "\"\\u00g0\"", "\"\\u0000\"", "\"\\ud83d\"",
        "\"\\ude00\"", "\"\\ud83d\\n\"",
        "\"\n\"", "]", "1 2", "...",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[256], told[256];
        const struct reading reading[] = {{text, told}, {NULL, NULL}};
        snprintf(text, sizeof text, "{\"name\": \"f\", \"arguments\": {\"v\": %s}}", good[i]);
        snprintf(told, sizeof told, "<<f{\"v\":%s}>>", good[i]);
        expect_readings_of(reading, false, true);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[256], *told;
        struct buffer out;
        json_t *const tools = two_tools();
        struct call_reader reader = new_reader(tools, &out, false);
        reader.on_begin = note_begin;
        reader.on_arguments = note_arguments;
        reader.on_end = note_end;
        snprintf(text, sizeof text, "{\"name\": \"f\", \"arguments\": {\"v\": %s}}", bad[i]);
        told = read_cut(reader, text, 1, 1);
        if (!strstr(told, "!!") || strstr(told, ">>")) fail_msg("%s: %s", bad[i], told);
        mem_free(told);
        json_decref(tools);
    }
}

static void test_what_cannot_be_told_early_is_told_whole(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"{\"arguments\": {\"a\": 1}, \"name\": \"f\"}", "<<f{\"a\":1}>>"},
        {"{\"name\": \"\\u0066\", \"arguments\": {}}", "<<f{}>>"},
        {"[TOOL_CALLS] [{\"arguments\": {}, \"name\": \"f\"}, " CALL_F "]", "<<f{}>>" TOLD_F},
        {"[TOOL_CALLS] [" CALL_F ", {\"arguments\": {}, \"name\": \"f\"}, " CALL_F "]",
         TOLD_F "<<f{}>>" TOLD_F},
        {"[TOOL_CALLS] [1, " CALL_F "]", NULL},
        {"[TOOL_CALLS] [[" CALL_F "]]", NULL},
        {"[TOOL_CALLS] [{\"name\": \"f\"}, [", NULL},
        {NULL, NULL},
    };
    expect_readings(readings, false);
}

static void test_numbers_keep_their_digits(void **state) {
    (void)state;
    static const struct reading readings[] = {
        {"{\"name\": \"f\", \"arguments\": {\"a\": 0.1, \"b\": 9007199254740993, \"c\": 1e300}}",
         "<<f{\"a\":0.1,\"b\":9007199254740993,\"c\":1e300}>>"},
        {"{\"name\": \"f\", \"arguments\": {\"a\": 0.10000000000000003}}",
         "<<f{\"a\":0.10000000000000003}>>"},
        {NULL, NULL},
    };
    expect_readings(readings, false);
}

static void test_failed_allocations_are_told(void **state) {
    (void)state;
    struct buffer out = {NULL, 0, 0};
    struct call_reader reader = new_reader(NULL, &out, false);
    mem_fail_after(0);
    assert_false(calls_push(&reader, "x", 1));
    assert_false(calls_finish(&reader));
    mem_fail_after(SIZE_MAX);
    calls_free(&reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tagged_calls),
        cmocka_unit_test(test_calls_as_mistral_writes_them),
        cmocka_unit_test(test_calls_as_llama_writes_them),
        cmocka_unit_test(test_calls_in_bare_json),
        cmocka_unit_test(test_what_only_looks_like_a_call_is_text),
        cmocka_unit_test(test_marks_that_are_control_tokens_are_never_shown),
        cmocka_unit_test(test_calls_that_the_prompt_has_opened),
        cmocka_unit_test(test_what_breaks_off_stays_told_if_it_was_told_early),
        cmocka_unit_test(test_only_json_is_told_early),
        cmocka_unit_test(test_what_cannot_be_told_early_is_told_whole),
        cmocka_unit_test(test_numbers_keep_their_digits),
        cmocka_unit_test(test_failed_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
