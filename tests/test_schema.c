/* JSON schemas: which texts their grammars are (tests/data/grammar/cases.json), what is refused and
 * how, and that a model that knows nothing writes nothing but valid JSON (schemas.json). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>

#include "grammar_model.h"
#include "text/schema.h"

static json_t *load_cases(const char *path) {
    json_error_t why;
    json_t *const list = json_load_file(path, 0, &why);
    if (!list) fail_msg("%s: line %d: %s", path, why.line, why.text);
    return list;
}

static char *text_of(const json_t *json) {
    char *const text = json_dumps(json, JSON_ENCODE_ANY);
    assert_non_null(text);
    return text;
}

static enum octet_status open_text(const char *schema, unsigned flags, const struct trie *trie,
                                   struct grammar **out, struct octet_err *err) {
    char *source;
    size_t n;
    *out = NULL;
    enum octet_status status = schema_grammar(schema, strlen(schema), flags, &source, &n, err);
    if (status != OCTET_OK) return status;
    status = grammar_open(source, n, trie, out, err);
    if (status == OCTET_EFORMAT && !strstr(err->message, "never ends") &&
        !strstr(err->message, "left-recursive"))
        fail_msg("%s\n%s", err->message, source);
    mem_free(source);
    return status;
}

static struct grammar *open_schema(const json_t *schema, unsigned flags, const struct trie *trie) {
    struct grammar *g;
    struct octet_err err;
    char *const text = text_of(schema);
    if (open_text(text, flags, trie, &g, &err) != OCTET_OK) fail_msg("%s: %s", text, err.message);
    free(text);
    return g;
}

/* ---- Cases ----------------------------------------------------------------------------------- */

static void check_texts(const json_t *one, struct grammar *g, const char *key, bool valid) {
    size_t i;
    const json_t *text;
    json_array_foreach(json_object_get(one, key), i, text) {
        int how;
        struct octet_err err;
        assert_int_equal(grammar_match(g, json_string_value(text), json_string_length(text), &how,
                                       &err), OCTET_OK);
        if ((how == 2) != valid)
            fail_msg("%s: %s should %sbe accepted", json_string_value(json_object_get(one, "name")),
                     json_string_value(text), valid ? "" : "not ");
    }
}

static void test_grammars_of_schemas_are_their_texts(void **state) {
    (void)state;
    json_t *const cases = load_cases("tests/data/grammar/cases.json");
    size_t i;
    json_t *one;
    json_array_foreach(cases, i, one) {
        if (json_object_get(one, "refused")) continue;
        const unsigned flags = json_is_true(json_object_get(one, "open")) ? OCTET_SCHEMA_OPEN : 0;
        struct grammar *const g = open_schema(json_object_get(one, "schema"), flags, NULL);
        check_texts(one, g, "valid", true);
        check_texts(one, g, "invalid", false);
        grammar_close(g);
    }
    json_decref(cases);
}

static void test_what_can_not_be_kept_to_is_refused_by_name(void **state) {
    (void)state;
    json_t *const cases = load_cases("tests/data/grammar/cases.json");
    size_t i;
    json_t *one;
    json_array_foreach(cases, i, one) {
        struct octet_grammar *g;
        struct octet_err err = {OCTET_OK, ""};
        const char *const why = json_string_value(json_object_get(one, "refused"));
        if (!why) continue;
        char *const text = text_of(json_object_get(one, "schema"));
        const enum octet_status status =
            octet_grammar_open_schema(NULL, text, strlen(text), 0, &g, &err);
        if (status != OCTET_EUNSUPPORTED && status != OCTET_EFORMAT)
            fail_msg("%s: status %d", text, (int)status);
        assert_null(g);
        if (!strstr(err.message, why)) fail_msg("'%s' not in '%s'", why, err.message);
        free(text);
    }
    json_decref(cases);
}

/* ---- Hostile schemas ------------------------------------------------------------------------- */

static void expect_refusal(const char *schema, size_t n, enum octet_status status) {
    struct octet_grammar *g;
    struct octet_err err;
    assert_int_equal(octet_grammar_open_schema(NULL, schema, n, 0, &g, &err), status);
    assert_null(g);
    assert_true(err.message[0] != '\0');
}

static void test_hostile_schemas_end_in_an_error(void **state) {
    (void)state;
    expect_refusal("{", 1, OCTET_EFORMAT);
    expect_refusal("", 0, OCTET_EFORMAT);
    expect_refusal("{\"type\":\"null\",\"type\":\"null\"}", 29, OCTET_EFORMAT);
    struct buffer deep = {NULL, 0, 0};
    for (int i = 0; i < 100000; i++) buffer_append_text(&deep, "{\"items\":");
    expect_refusal(deep.bytes, deep.n, OCTET_EFORMAT);
    // Each branch holds both branches again: 2^30 lists.
    buffer_clear(&deep);
    buffer_append_text(&deep, "{\"allOf\":[");
    for (int i = 0; i < 30; i++) {
        char part[96];
        snprintf(part, sizeof part, "%s{\"anyOf\":[{\"minLength\":%d},{\"maxLength\":%d}]}",
                 i > 0 ? "," : "", i, 1000 + i);
        buffer_append_text(&deep, part);
    }
    buffer_append_text(&deep, "]}");
    expect_refusal(deep.bytes, deep.n, OCTET_EUNSUPPORTED);
    buffer_free(&deep);
}

static void test_failing_allocations_leave_nothing_behind(void **state) {
    (void)state;
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1,\"x\"]},"
        "\"b\":{\"$ref\":\"#/$defs/d\"}},"
        "\"additionalProperties\":{\"type\":\"array\",\"prefixItems\":[{}],\"minItems\":1},"
        "\"$defs\":{\"d\":{\"oneOf\":[{\"type\":\"string\",\"pattern\":\"^a[bc]*$\"},{\"type\":"
        "\"number\",\"minimum\":3.5}]}}}";
    for (size_t after = 0;; after++) {
        char *text;
        size_t n;
        mem_fail_after(after);
        const enum octet_status status =
            schema_grammar(schema, sizeof schema - 1, 0, &text, &n, NULL);
        mem_fail_after(SIZE_MAX);
        mem_free(text);
        if (status == OCTET_OK) break;
        assert_int_equal(status, OCTET_EMEM);
        assert_true(after < 2000);
    }
}

/* ---- Texts of a model that knows nothing ----------------------------------------------------- */

/* Writes at most N_TOKENS tokens; returns how many it took. */
static int64_t write_text(struct grammar *g, const struct model *model, int64_t n_tokens,
                          uint64_t seed, struct buffer *text) {
    struct matcher *m;
    struct octet_err err;
    uint64_t random = seed;
    int64_t n = 0;
    assert_int_equal(matcher_open(g, n_tokens, &m, &err), OCTET_OK);
    buffer_clear(text);
    buffer_append(text, "", 0);
    while (!matcher_finished(m) && n < n_tokens) {
        const char *bytes;
        size_t n_bytes;
        const int32_t id = pick_any(m, model, &random);
        if (id == model->end) break;
        if (matcher_accept(m, id, &err) != OCTET_OK) fail_msg("%s", err.message);
        vocab_bytes(model->v, id, false, &bytes, &n_bytes);
        buffer_append(text, bytes, n_bytes);
        n++;
    }
    matcher_close(m);
    return n;
}

static void check_text(const json_t *one, struct grammar *g, const struct buffer *text) {
    int how;
    struct octet_err err;
    json_error_t why;
    const char *const name = json_string_value(json_object_get(one, "name"));
    assert_int_equal(grammar_match(g, text->bytes, text->n, &how, &err), OCTET_OK);
    if (how != 2) fail_msg("%s: not complete: %s", name, text->bytes);
    json_t *const json =
        json_loadb(text->bytes, text->n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL,
                   &why);
    if (!json) fail_msg("%s: %s: %s", name, why.text, text->bytes);
    json_decref(json);
}

static void test_texts_are_complete_json_within_their_tokens(void **state) {
    (void)state;
    struct model model;
    struct buffer text = {NULL, 0, 0};
    json_t *const cases = load_cases("tests/data/grammar/schemas.json");
    size_t i;
    json_t *one;
    open_model(&model);
    json_array_foreach(cases, i, one) {
        struct grammar *const g = open_schema(json_object_get(one, "schema"), 0, model.trie);
        for (int64_t n = 150; n < 400; n += 60) {
            for (uint64_t seed = 1; seed <= 4; seed++) {
                write_text(g, &model, n, seed * 1000 + (uint64_t)n, &text);
                check_text(one, g, &text);
            }
        }
        grammar_close(g);
    }
    buffer_free(&text);
    json_decref(cases);
    close_model(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammars_of_schemas_are_their_texts),
        cmocka_unit_test(test_what_can_not_be_kept_to_is_refused_by_name),
        cmocka_unit_test(test_hostile_schemas_end_in_an_error),
        cmocka_unit_test(test_failing_allocations_leave_nothing_behind),
        cmocka_unit_test(test_texts_are_complete_json_within_their_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
