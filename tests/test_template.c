/* Chat templates: against what jinja2 made of the same ones, and what must not work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <pthread.h>

#include "base/map.h"
#include "base/mem.h"
#include "temp_folder.h"
#include "vocab_builder.h"

#define DATA "tests/data/template/"

/* ---- Helpers --------------------------------------------------------------------------------- */

struct rendered {
    enum octet_status opened, status;
    char *text; // NULL: failed
    size_t n;
    struct octet_err err;
};

static struct rendered render_bytes(const char *source, size_t n_source, const char *variables,
                                    size_t n_variables) {
    struct rendered out = {.err.message = ""};
    struct octet_template *t;
    out.opened = out.status = octet_template_open(source, n_source, &t, &out.err);
    if (out.opened) {
        assert_null(t);
        return out;
    }
    out.status = octet_template_render(t, variables, n_variables, &out.text, &out.n, &out.err);
    assert_true((out.status == OCTET_OK) == (out.text != NULL));
    if (out.text) assert_int_equal(out.text[out.n], 0);
    octet_template_close(t);
    return out;
}

static struct rendered render(const char *source, const char *variables) {
    return render_bytes(source, strlen(source), variables, strlen(variables));
}

static void expect_text(const char *source, const char *variables, const char *text) {
    struct rendered out = render(source, variables);
    if (!out.text) fail_msg("%s: %s", source, out.err.message);
    assert_string_equal(out.text, text);
    octet_text_free(out.text);
}

/* Expects a failure whose message contains WHAT, at opening or at rendering. */
static void expect_failure(const char *source, bool at_opening, const char *what) {
    struct rendered out = render(source, "{\"x\": \"text\", \"l\": [1, 2], \"d\": {\"a\": 1}}");
    octet_text_free(out.text);
    assert_int_equal(out.opened, at_opening ? OCTET_EFORMAT : OCTET_OK);
    if (!at_opening) assert_int_equal(out.status, OCTET_EARG);
    if (!strstr(out.err.message, what))
        fail_msg("%s: expected '%s', found '%s'", source, what, out.err.message);
}

/* To be freed. */
static char *read_file(const char *name, size_t *n) {
    char path[256];
    const uint8_t *bytes;
    snprintf(path, sizeof path, DATA "%s", name);
    assert_int_equal(map_open(path, &bytes, n, NULL), OCTET_OK);
    char *copy = mem_strdup((const char *)bytes, *n);
    assert_non_null(copy);
    map_close(bytes, *n);
    return copy;
}

static json_t *read_json(const char *name) {
    size_t n;
    char *text = read_file(name, &n);
    json_t *json = json_loadb(text, n, 0, NULL);
    assert_non_null(json);
    mem_free(text);
    return json;
}

/* Expects the text of EXPECTED, or a failure where that is null. */
static void expect_same(const char *label, const char *source, size_t n_source,
                        const char *variables, const json_t *expected) {
    struct rendered out = render_bytes(source, n_source, variables, strlen(variables));
    if (json_is_null(expected) != (out.text == NULL))
        fail_msg("%s: %s", label, out.text ? out.text : out.err.message);
    if (out.text && (out.n != json_string_length(expected) ||
                     memcmp(out.text, json_string_value(expected), out.n) != 0))
        fail_msg("%s\n--- expected\n%s\n--- found\n%s", label, json_string_value(expected),
                 out.text);
    octet_text_free(out.text);
}

/* ---- Against jinja2 -------------------------------------------------------------------------- */

static void test_renders_published_formats_as_jinja2_does(void **state) {
    json_t *conversations = read_json("conversations.json"), *all = read_json("expected.json");
    size_t i, n_checked = 0;
    json_t *conversation, *texts;
    const char *name;
    (void)state;
    json_object_foreach(all, name, texts) {
        char file[128];
        size_t n_source;
        snprintf(file, sizeof file, "%s.jinja", name);
        char *source = read_file(file, &n_source);
        json_array_foreach(conversations, i, conversation) {
            char *variables = json_dumps(conversation, JSON_COMPACT);
            char label[200];
            snprintf(label, sizeof label, "%s, conversation %zu", name, i);
            expect_same(label, source, n_source, variables, json_array_get(texts, i));
            free(variables);
            n_checked++;
        }
        mem_free(source);
    }
    assert_true(n_checked > 400);
    json_decref(conversations);
    json_decref(all);
}

static void test_renders_every_feature_as_jinja2_does(void **state) {
    json_t *features = read_json("features.json"), *feature;
    size_t i, n;
    char *variables = read_file("features-variables.json", &n);
    (void)state;
    json_array_foreach(features, i, feature) {
        const json_t *source = json_object_get(feature, "template");
        expect_same(json_string_value(source), json_string_value(source),
                    json_string_length(source), variables, json_object_get(feature, "text"));
    }
    assert_true(i > 200);
    mem_free(variables);
    json_decref(features);
}

/* ---- Beyond jinja2 --------------------------------------------------------------------------- */

static void test_lists_and_dicts_can_be_changed(void **state) {
    (void)state;
    expect_text("{% set l = [3] %}{% set _ = l.append(4) %}{{ l }}{{ l.pop() }}{{ l.pop(0) }}"
                "{{ l }}", "{}", "[3, 4]43[]");
    expect_text("{% set l = [1, 2] %}{{ l.extend([5]) }}{{ l.insert(0, 'a') }}"
                "{{ l.insert(-1, 'b') }}{{ l.insert(99, 'c') }}{{ l }}", "{}",
                "NoneNoneNoneNone['a', 1, 2, 'b', 5, 'c']");
    expect_text("{% set d = {'a': 1} %}{{ d.update(b=2) }}{{ d.setdefault('c', 3) }}"
                "{{ d.pop('a') }}{{ d.pop('zz', 9) }}{{ d }}", "{}", "None319{'b': 2, 'c': 3}");
    expect_text("{% for x in l %}{{ x }}{% if x < 3 %}{{ l.append(x + 1) or '' }}{% endif %}"
                "{% endfor %}", "{\"l\": [1]}", "123");
}

static void test_variables_hide_functions(void **state) {
    (void)state;
    expect_text("{{ range }}", "{\"range\": \"mine\"}", "mine");
}

static void test_texts_may_hold_nul(void **state) {
    (void)state;
    struct rendered out = render("{{ x }}{{ '\\x00' }}{{ x | length }}", "{\"x\": \"a\\u0000b\"}");
    assert_int_equal(out.n, 5);
    assert_memory_equal(out.text, "a\0b\0" "3", 6);
    octet_text_free(out.text);
}

static void test_long_texts_grow_in_linear_time(void **state) {
    (void)state;
    struct rendered out =
        render("{% set ns = namespace(t='') %}{% for i in range(100000) %}"
               "{% set ns.t = ns.t ~ 'twenty characters...' %}{% endfor %}"
               "{{ ns.t }}", "{}");
    assert_string_equal(out.err.message, "");
    assert_int_equal(out.n, 2000000);
    octet_text_free(out.text);
}

/* ---- What fails ------------------------------------------------------------------------------ */

static void test_names_what_is_wrong_with_a_template(void **state) {
    static const char *const cases[][2] = {
        {"a\nb\n{{ 1 + }}", "line 3: expected an expression, found '}}'"},
        {"{{ x | sparkle }}", "line 1: filter 'sparkle' is not supported"},
        {"\n{% if x is shiny %}{% endif %}", "line 2: test 'shiny' is not supported"},
        {"{% include 'other' %}", "tag 'include' is not supported"},
        {"{% for a in l recursive %}{% endfor %}", "'recursive' loops are not supported"},
        {"{% if x %}\n\n", "the tag opened in line 1 has no end"},
        {"{% endif %}", "tag 'endif' is not supported here"},
        {"{% break %}", "'break' outside of a loop"},
        {"{% for a in l %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}",
         "'continue' outside of a loop"},
        {"{# never", "the comment has no end"},
        {"{% raw %} never", "the raw text has no end"},
        {"{{ 'never }}", "the string has no end"},
        {"{{ '\\N{DASH}' }}", "the escape '\\N' in a string is not supported"},
        {"{{ '\\ud800' }}", "is not supported"},
        {"{{ (1] }}", "unexpected ']'"},
        {"{{ 1 ? 2 }}", "unexpected character '?'"},
        {"{{ 99999999999999999999 }}", "the number is too large"},
        {"{% set true = 1 %}", "can not assign to true"},
        {"{% macro m(a=1, b) %}{% endmacro %}", "a parameter without default after one with"},
        {"{{ f(a=1, 2) }}", "an argument without a name after one with a name"},
        {"{{ l[1, 2] }}", "more than one index is not supported"},
        {"{{ x is string is string }}", "tests can not be chained"},
        {"{% call x %}{% endcall %}", "expected a call"},
        {"\xff", "not valid UTF-8"},
        {"\xed\xa0\x80", "not valid UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_failure(cases[i][0], true, cases[i][1]);
}

static void test_names_what_is_wrong_at_rendering(void **state) {
    static const char *const cases[][2] = {
        {"\n\n{{ nothing.at.all }}", "line 3: 'nothing' is undefined"},
        {"{{ d.a.b.c }}", "'int object' has no attribute 'b'"},
        {"{{ l[7].x }}", "'list object' has no element '7'"},
        {"{{ nothing() }}", "'nothing' is undefined"},
        {"{{ x() }}", "'str' object is not callable"},
        {"{{ 1 / 0 }}", "division by zero"},
        {"{{ 9223372036854775807 + 1 }}", "too large an integer"},
        {"{{ 3 ** 99 }}", "too large an integer"},
        {"{{ 'a' + 1 }}", "unsupported operand types for +: 'str' and 'int'"},
        {"{{ 'a' < 1 }}", "'str' and 'int' have no order"},
        {"{% for i in 5 %}{% endfor %}", "'int' object is not iterable"},
        {"{% for a, b in [[1]] %}{% endfor %}", "expected 2 values to unpack, found 1"},
        {"{{ x | indent(nothing='a') }}", "indent: unexpected argument 'nothing'"},
        {"{{ x | replace('a') }}", "replace: an argument is missing"},
        {"{{ x | upper(1) }}", "upper: expected at most 0 arguments, found 1"},
        {"{{ nothing | tojson }}", "Object of type Undefined is not JSON serializable"},
        {"{% if true %}{{ x | sparkle }}{% endif %}", "filter 'sparkle' is not supported"},
        {"{{ l | map('sparkle') | list }}", "no filter or test named 'sparkle'"},
        {"{% set x.y = 1 %}", "cannot assign attribute on non-namespace object"},
        {"{{ {[1]: 2} }}", "unhashable type: 'list'"},
        {"{{ range(200000) }}", "more than 100000 numbers"},
        {"{{ '{' .format() }}", "a field has no end"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_failure(cases[i][0], false, cases[i][1]);
}

static void test_raised_exceptions_keep_their_words(void **state) {
    (void)state;
    struct rendered out = render("{{ raise_exception('Roles: ' ~ x) }}", "{\"x\": 5}");
    assert_int_equal(out.status, OCTET_EARG);
    assert_string_equal(out.err.message, "Roles: 5");
}

static void test_rejects_variables_that_are_no_object(void **state) {
    static const char *const cases[] = {"", "[]", "5", "{", "{\"a\": 99999999999999999999}",
                                        "{\"a\": \"\xff\"}", "{} x"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rendered out = render("text", cases[i]);
        assert_int_equal(out.status, OCTET_EARG);
        assert_non_null(strstr(out.err.message, "variables"));
    }
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

static void test_work_is_bounded(void **state) {
    (void)state;
    expect_failure("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                   false, "steps");
    expect_failure("{{ range(99999) | map('string') | join('x' * 100000) }}", false, "it ");
    expect_failure("{% set t = ('x' * 1000) * 60000 %}{{ t }}{{ t }}", false,
                   "writes more than 64 MiB");
    expect_failure("{{ 'x' * 99999999999 }}", false, "too long a string");
    expect_failure("{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(60) %}"
                   "{% set ns.t = ns.t ~ ns.t %}{% endfor %}", false, "it ");
    expect_failure("{% set ns = namespace(l=[1]) %}{% for i in range(60) %}"
                   "{% set ns.l = ns.l + ns.l %}{% endfor %}", false, "it ");
    expect_failure("{{ '%0999999999d' % 5 }}{{ '%99999999s' % 'a' }}{{ x.nothing.x }}", false,
                   "has no attribute");
}

static void test_depth_is_bounded(void **state) {
    (void)state;
    expect_failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", false, "nested too deeply");
    expect_failure("{{ l.append(l) }}{{ l }}", false, "nested too deeply");
    expect_failure("{{ l.append(l) }}{{ l | tojson }}", false, "nested too deeply");
    expect_failure("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", false,
                   "nested too deeply");
    expect_failure("{% set a = [] %}{% set b = [] %}{{ a.append(a) }}{{ b.append(b) }}{{ a == b }}"
                   "{{ a < b }}", false, "nested too deeply");
}

/* N times OPEN, then MIDDLE, then N times CLOSE; to be freed. */
static char *nested(size_t n, const char *open, const char *middle, const char *close) {
    char *text = malloc(n * (strlen(open) + strlen(close)) + strlen(middle) + 1), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) p = stpcpy(p, open);
    p = stpcpy(p, middle);
    for (size_t i = 0; i < n; i++) p = stpcpy(p, close);
    return text;
}

static void test_nesting_of_templates_is_bounded(void **state) {
    static const char *const cases[][3] = {
        {"{% if 1 %}", "", "{% endif %}"},     {"{% for a in l %}", "", "{% endfor %}"},
        {"{{ (", "1", ") }}"},                 {"{{ not ", "1", "}}"},
        {"{{ -", "1", "}}"},                   {"{{ [", "", "] }}"},
        {"{{ {1:", "1", "} }}"},               {"{{ 1 if 1 else ", "1", "}}"},
        {"{{ x[", "1", "] }}"},                {"{% set ((", "a", ")) = 1 %}"},
        {"{% macro m() %}", "", "{% endmacro %}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        // Brackets and operators nest inside one tag.
        const char *open = cases[i][0], *close = cases[i][2];
        bool print = open[1] == '{';
        char *inner = nested(5000, print ? open + 3 : open, cases[i][1], print ? "" : close);
        char *text = nested(1, print ? "{{ " : "", inner, print ? " }}" : "");
        struct rendered out = render(text, "{}");
        assert_int_equal(out.opened, OCTET_EFORMAT);
        free(inner);
        free(text);
    }
    char *chain = nested(5000, "", "{{ 1 }}", " ");
    octet_text_free(render(chain, "{}").text);
    free(chain);
    char *sum = nested(20000, "1 + ", "1", ""), *wrapped = nested(1, "{{ ", sum, " }}");
    struct rendered out = render(wrapped, "{}");
    assert_int_equal(out.status, OCTET_EARG);
    free(sum);
    free(wrapped);
}

static void test_size_of_templates_is_bounded(void **state) {
    size_t n = (1 << 20) + 1;
    char *text = malloc(n);
    (void)state;
    assert_non_null(text);
    memset(text, ' ', n);
    assert_int_equal(render_bytes(text, n, "{}", 2).opened, OCTET_EFORMAT);
    struct rendered out = render_bytes(text, n - 1, "{}", 2);
    assert_int_equal(out.n, n - 1);
    octet_text_free(out.text);
    size_t at = 0;
    for (unsigned i = 0; i < 1200; i++)
        at += (size_t)snprintf(text + at, n - at, "{{ name%u }}", i);
    assert_int_equal(render_bytes(text, at, "{}", 2).opened, OCTET_EFORMAT);
    free(text);
}

static void test_depth_of_variables_is_bounded(void **state) {
    (void)state;
    char *deep = nested(1500, "[", "", "]"), *variables = nested(1, "{\"x\": ", deep, "}");
    struct rendered out = render("{{ x }}", variables);
    assert_int_equal(out.status, OCTET_EARG);
    free(deep);
    free(variables);
}

/* ---- Hostile templates ----------------------------------------------------------------------- */

typedef void (*source_fn)(const char *source, size_t n, const char *variables);

/* FN with every template of the test data and a conversation with tools. */
static void for_all_templates(source_fn fn) {
    json_t *conversations = read_json("conversations.json");
    char *variables = json_dumps(json_array_get(conversations, 12), JSON_COMPACT);
    DIR *folder = opendir(DATA);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));) {
        size_t n;
        if (!strstr(entry->d_name, ".jinja")) continue;
        char *source = read_file(entry->d_name, &n);
        fn(source, n, variables);
        mem_free(source);
    }
    closedir(folder);
    free(variables);
    json_decref(conversations);
}

static void cut_anywhere(const char *source, size_t n, const char *variables) {
    for (size_t i = 0; i < n; i += 7) {
        char *part = mem_strdup(source, i); // its own block, so that reading on is noticed
        octet_text_free(render_bytes(part, i, variables, strlen(variables)).text);
        mem_free(part);
    }
}

static void test_survives_templates_cut_anywhere(void **state) {
    (void)state;
    for_all_templates(cut_anywhere);
}

static void change_bytes(const char *source, size_t n, const char *variables) {
    static const char bytes[] = "{}%#-'\"|.[]()0a \n\\,=";
    uint32_t seed = 12345;
    char *changed = mem_strdup(source, n);
    for (int i = 0; i < 300; i++) {
        memcpy(changed, source, n);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1664525 + 1013904223;
            changed[(seed >> 8) % n] = bytes[(seed >> 4) % (sizeof bytes - 1)];
        }
        octet_text_free(render_bytes(changed, n, variables, strlen(variables)).text);
    }
    mem_free(changed);
}

static void test_survives_changed_templates(void **state) {
    (void)state;
    for_all_templates(change_bytes);
}

/* ---- Memory and threads ---------------------------------------------------------------------- */

static void fail_allocations(const char *source, size_t n, const char *variables) {
    for (size_t after = 0;; after++) {
        mem_fail_after(after);
        struct rendered out = render_bytes(source, n, variables, strlen(variables));
        mem_fail_after(SIZE_MAX);
        octet_text_free(out.text);
        if (out.status == OCTET_OK || out.status == OCTET_EARG) return;
        assert_int_equal(out.status, OCTET_EMEM);
        assert_true(after < 1000);
    }
}

static void test_survives_failing_allocations(void **state) {
    static const char many[] =
        "{% set ns = namespace(l=[], t='') %}{% for i in range(3000) %}{{ ns.l.append('a' ~ i) }}"
        "{% set ns.t = ns.t ~ 'some more text to be held' %}{% endfor %}{{ ns.l | sort | join }}"
        "{{ ns.l | tojson }}{{ ns.t | upper | replace('S', 'xx') }}{{ ns.t[::2] }}";
    (void)state;
    for_all_templates(fail_allocations);
    fail_allocations(many, strlen(many), "{}");
}

static void *render_often(void *template) {
    for (int i = 0; i < 50; i++) {
        char *text;
        size_t n;
        static const char variables[] = "{\"l\": [3, 1, 2]}";
        if (octet_template_render(template, variables, strlen(variables), &text, &n, NULL))
            return NULL;
        bool same = strcmp(text, "[1, 2, 3]6") == 0;
        octet_text_free(text);
        if (!same) return NULL;
    }
    return template;
}

static void test_threads_share_a_template(void **state) {
    static const char source[] = "{{ l | sort }}{% set s = l | sum %}{{ s }}";
    struct octet_template *t;
    pthread_t threads[4];
    (void)state;
    assert_int_equal(octet_template_open(source, strlen(source), &t, NULL), OCTET_OK);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, render_often, t), 0);
    for (size_t i = 0; i < 4; i++) {
        void *done;
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_ptr_equal(done, t);
    }
    octet_template_close(t);
    octet_template_close(NULL);
    octet_text_free(NULL);
}

/* ---- Templates of files ---------------------------------------------------------------------- */

static void write_model(const char *path, bool templates) {
    struct builder b;
    struct vocab_list list;
    list_spm(&list);
    build_start(&b);
    build_spm(&b, &list);
    if (templates) {
        build_name(&b, "tokenizer.chat_template", "plain {{ x }}");
        build_name(&b, "tokenizer.chat_template.tool_use", "tools {{ x }}");
        build_name(&b, "tokenizer.chat_templates_note", "no template");
    }
    build_finish(&b);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(b.bytes, 1, b.n, file), b.n);
    assert_int_equal(fclose(file), 0);
    build_free(&b);
}

static struct octet_model *open_vocabulary(const char *path) {
    struct octet_model_options options = OCTET_MODEL_OPTIONS_DEFAULTS;
    struct octet_model *model;
    struct octet_err err;
    options.vocab_only = true;
    if (octet_model_open(path, &options, &model, &err)) fail_msg("%s", err.message);
    return model;
}

static void test_finds_the_templates_of_a_file(void **state) {
    struct folder folder;
    (void)state;
    folder_open(&folder);
    const char *path = folder_file(&folder, "model.gguf");
    write_model(path, true);
    struct octet_model *model = open_vocabulary(path);
    assert_string_equal(octet_chat_template(model, NULL), "plain {{ x }}");
    assert_string_equal(octet_chat_template(model, "default"), "plain {{ x }}");
    assert_string_equal(octet_chat_template(model, "tool_use"), "tools {{ x }}");
    assert_null(octet_chat_template(model, "rag"));
    octet_model_close(model);
    write_model(path, false);
    model = open_vocabulary(path);
    assert_null(octet_chat_template(model, NULL));
    octet_model_close(model);
    assert_true(folder_close(&folder));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renders_published_formats_as_jinja2_does),
        cmocka_unit_test(test_renders_every_feature_as_jinja2_does),
        cmocka_unit_test(test_lists_and_dicts_can_be_changed),
        cmocka_unit_test(test_variables_hide_functions),
        cmocka_unit_test(test_texts_may_hold_nul),
        cmocka_unit_test(test_long_texts_grow_in_linear_time),
        cmocka_unit_test(test_names_what_is_wrong_with_a_template),
        cmocka_unit_test(test_names_what_is_wrong_at_rendering),
        cmocka_unit_test(test_raised_exceptions_keep_their_words),
        cmocka_unit_test(test_rejects_variables_that_are_no_object),
        cmocka_unit_test(test_work_is_bounded),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_nesting_of_templates_is_bounded),
        cmocka_unit_test(test_size_of_templates_is_bounded),
        cmocka_unit_test(test_depth_of_variables_is_bounded),
        cmocka_unit_test(test_survives_templates_cut_anywhere),
        cmocka_unit_test(test_survives_changed_templates),
        cmocka_unit_test(test_survives_failing_allocations),
        cmocka_unit_test(test_threads_share_a_template),
        cmocka_unit_test(test_finds_the_templates_of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
