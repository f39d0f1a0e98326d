/* compare/report: pages and tables of an invented run, with texts that try to break out of them.
 * tests/data/compare/report holds what the small run is expected to give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <openssl/evp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "compare/embed.h"
#include "compare/report.h"
#include "compare/report_text.h"
#include "compare/visible.h"
#include "compare_fixture.h"
#include "temp_folder.h"

enum { SMALL = 12, FULL = 164 };

static struct summary summarize(json_t *document) {
    struct octet_err err;
    struct summary summary;
    json_t *joined;
    assert_int_equal(summary_join(&document, 1, &joined, &err), OCTET_OK);
    assert_int_equal(summary_make(joined, &summary, &err), OCTET_OK);
    json_decref(joined);
    return summary;
}

static struct summary fixture_summary(size_t n_tasks) {
    struct octet_err err;
    struct store *store;
    json_t *document;
    assert_int_equal(store_open(":memory:", &store, &err), OCTET_OK);
    const int64_t run = fixture_fill(store, "key", n_tasks);
    assert_int_equal(store_export(store, run, &document, &err), OCTET_OK);
    store_close(store);
    struct summary summary = summarize(document);
    json_decref(document);
    return summary;
}

static size_t count(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static char *read_file(const char *path) {
    struct buffer text = {0};
    char block[4096];
    FILE *const file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) {
        assert_true(buffer_append(&text, block, n));
    }
    fclose(file);
    assert_true(buffer_append(&text, "", 0));
    return text.bytes;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

static void test_shows_hidden_characters(void **state) {
    (void)state;
    struct report_text text = {0};
    report_html(&text, "<a href=\"x\">&\xE2\x80\xAE\033[0m\xFFz\xC3\xA9\n\t");
    char *html = report_take(&text);
    assert_string_equal(html, "&lt;a href=&quot;x&quot;&gt;&amp;<i class=\"hid\">U+202E</i>"
                              "<i class=\"hid\">^[</i>[0m<i class=\"hid\">FF</i>z\xC3\xA9"
                              "\n\t");
    mem_free(html);
    report_attribute(&text, "\"\033>\n");
    html = report_take(&text);
    assert_string_equal(html, "&quot;&lt;U+001B&gt;&gt;&lt;U+000A&gt;");
    mem_free(html);
    report_csv_text(&text, "=1+\"a\"");
    html = report_take(&text);
    assert_string_equal(html, "\"'=1+\"\"a\"\"\"");
    mem_free(html);
    report_markdown(&text, "a|b\n<i>`");
    html = report_take(&text);
    assert_string_equal(html, "a\\|b\\<U\\+000A\\>\\<i\\>\\`");
    mem_free(html);
}

static void test_cuts_html_at_whole_characters(void **state) {
    (void)state;
    struct report_text text = {0};
    assert_int_equal(report_html_part(&text, "ab<c", 4, 5), 2); // "&lt;" has 4
    assert_int_equal(text.buffer.n, 2);
    assert_int_equal(report_html_part(&text, "\xE2\x82\xAC\xE2\x82\xAC", 6, 5), 3);
    report_text_free(&text);
}

static void test_writes_numbers_as_people_read_them(void **state) {
    (void)state;
    struct report_text text = {0};
    report_percent(&text, 0.7991);
    report_raw(&text, "|");
    report_percent(&text, NAN);
    report_raw(&text, "|");
    report_money(&text, NAN, "USD");
    report_raw(&text, "|");
    report_money(&text, INFINITY, "USD");
    report_raw(&text, "|");
    report_money(&text, 0.0124, "EUR");
    report_raw(&text, "|");
    report_seconds(&text, 0.25);
    report_raw(&text, "|");
    report_seconds(&text, 12.5);
    report_raw(&text, "|");
    report_p(&text, 0.0312);
    report_raw(&text, "|");
    report_p(&text, 1e-9);
    char *const all = report_take(&text);
    assert_string_equal(all, "79.9 %|-|unpriced|-|0.0124 EUR|250 ms|12.50 s|p = 0.031|p < 0.001");
    mem_free(all);
}

/* ---- The page -------------------------------------------------------------------------------- */

/* Every '<' of the page outside style and script must open a tag the page itself writes. */
static void check_tags(const char *page) {
    static const char *const known[] = {
        "!DOCTYPE", "html",    "head",    "meta",   "title",   "style", "body",  "header", "p",
        "div",      "main",    "section", "h1",     "h2",      "h3",    "h4",    "table",  "thead",
        "tbody",    "tr",      "th",      "td",     "b",       "i",     "small", "br",     "svg",
        "rect",     "path",    "text",    "circle", "input",   "label", "ol",    "li",     "a",
        "span",     "details", "summary", "pre",    "article", "code",  "mark",  "del",    "dl",
        "dt",       "dd",      "ul",      "script", "sub"};
    for (const char *at = page; (at = strchr(at, '<')); at++) {
        const char *const name = at + 1 + (at[1] == '/');
        const size_t n = strcspn(name, " >\n");
        bool fine = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            fine = fine || (strlen(known[i]) == n && strncmp(known[i], name, n) == 0);
        }
        if (!fine) fail_msg("tag %.20s", at);
        const bool raw = strncmp(at, "<style>", 7) == 0 || strncmp(at, "<script>", 8) == 0;
        if (raw) at = strstr(at, at[2] == 't' ? "</style>" : "</script>");
        assert_non_null(at);
    }
}

static void check_policy(const char *page, struct embedded file) {
    unsigned char digest[32];
    char base64[64];
    unsigned n;
    const size_t n_bytes = (size_t)(file.end - file.begin);
    assert_int_equal(EVP_Digest(file.begin, n_bytes, digest, &n, EVP_sha256(), NULL), 1);
    EVP_EncodeBlock((unsigned char *)base64, digest, 32);
    assert_non_null(strstr(page, base64));
    assert_non_null(strstr(page, file.begin)); // in the page as it was hashed
}

static void test_the_page_is_complete_small_and_holds_no_markup_of_models(void **state) {
    (void)state;
    struct summary summary = fixture_summary(FULL);
    char *const page = report_page(&summary);
    assert_non_null(page);
    assert_true(strlen(page) < 5000000);
    check_tags(page);
    check_policy(page, embedded_report_style());
    check_policy(page, embedded_report_script());
    assert_non_null(strstr(page, "default-src 'none'"));
    assert_int_equal(count(page, "<script"), 1);
    assert_int_equal(count(page, "<style"), 1);
    assert_int_equal(count(page, " style="), 0); // the policy would ignore them
    assert_int_equal(count(page, "http://"), 0);
    assert_int_equal(count(page, "https://"), 0);
    assert_int_equal(count(page, "<article"), 3 * summary.n_tasks);
    assert_int_equal(count(page, "</article>"), 3 * summary.n_tasks);
    assert_int_equal(count(page, "<details"), count(page, "</details>"));
    assert_int_equal(count(page, "<pre"), count(page, "</pre>"));
    assert_int_equal(count(page, "<table"), count(page, "</table>"));
    assert_int_equal(count(page, "<section"), count(page, "</section>"));
    assert_null(strchr(page, '\033'));
    assert_null(strstr(page, "\xE2\x80\xAE"));
    assert_non_null(strstr(page, "U+202E"));
    assert_non_null(strstr(page, "&lt;script&gt;window.forged"));
    assert_non_null(strstr(page, " of 1049")); // the long line is cut, and its size told
    static const char *const order[] = {"id=\"verdict\"",  "id=\"scores\"", "id=\"money\"",
                                        "id=\"funnel\"",   "id=\"pairs\"",  "id=\"tasks\"",
                                        "id=\"measured\"", "id=\"data\""};
    const char *at = page;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        at = strstr(at, order[i]);
        assert_non_null(at);
    }
    mem_free(page);
    summary_free(&summary);
}

static void test_the_page_marks_prose_comments_dropped_code_and_placeholders(void **state) {
    (void)state;
    struct summary summary = fixture_summary(FULL);
    char *const page = report_page(&summary);
    assert_non_null(page);
    assert_non_null(strstr(page, "<span class=\"pr\">Sure! Here is a function"));
    assert_non_null(strstr(page, "<span class=\"cm\">    # walk over the values once\n</span>"));
    assert_non_null(strstr(page, "<del>solve_example = [1, 2, 3]\nprint(solve_example)\n</del>"));
    assert_non_null(strstr(page, "<mark title=\"rest of\">"));
    assert_non_null(strstr(page, "same process</b>"));
    assert_non_null(strstr(page, "(unpriced)"));
    assert_non_null(strstr(page, "its tests are wrong"));
    assert_non_null(strstr(page, "invented for tests"));
    mem_free(page);
    summary_free(&summary);
}

static void test_odd_documents_make_pages_too(void **state) {
    (void)state;
    static const char *const documents[] = {
        "{\"run\":{\"models\":[{\"name\":\"<b>\\u202e\\u001b[0m\"}]},\"tasks\":[{\"id\":\"t\"}],"
        "\"answers\":[]}",
        "{\"run\":{\"id\":[],\"models\":[{},{\"name\":7,\"price\":[[[[[[[[1]]]]]]]]}],"
        "\"settings\":[]},\"tasks\":[{}],\"answers\":[{\"model\":\"\",\"task\":\"\",\"text\":9,"
        "\"sample\":0,\"judged\":{\"state\":\"passes\",\"spans\":[[9,-1,\"code\"],7,[0,1]],"
        "\"placeholders\":[[-5,99],[1]],\"verdict\":{\"layers\":[1,\"x\"],\"tests\":\"many\"}}}]}",
        "{\"run\":{\"models\":[{\"name\":\"a\"}]},\"tasks\":[{\"id\":\"t\",\"prompt\":\"\"}],"
        "\"answers\":[{\"model\":\"a\",\"task\":\"t\",\"sample\":0,\"text\":\"ab\\u20accd\","
        "\"bytes\":7,\"judged\":{\"state\":\"fails\",\"spans\":[[0,3,\"code\"],[3,5,\"dropped\"],"
        "[5,900,\"code\"]],\"placeholders\":[[1,4,\"x\"],[2,3,\"y\"],[6,80,\"z\"]]}}]}",
    };
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        json_t *const document = json_loads(documents[i], 0, NULL);
        assert_non_null(document);
        struct summary summary = summarize(document);
        char *const texts[] = {report_page(&summary), report_markdown_summary(&summary),
                               report_csv_rows(&summary), report_json_line(&summary),
                               report_table(&summary, false)};
        for (size_t k = 0; k < 5; k++) {
            assert_non_null(texts[k]);
            if (k == 0) check_tags(texts[k]);
            if (k != 2) assert_null(strchr(texts[k], '\033')); // CSV is data as it is
            mem_free(texts[k]);
        }
        summary_free(&summary);
        json_decref(document);
    }
}

static void test_running_out_of_memory_is_told(void **state) {
    (void)state;
    struct summary summary = fixture_summary(2);
    char *page = NULL;
    for (size_t after = 0; after < 400 && !page; after++) {
        mem_fail_after(after);
        page = report_page(&summary);
        mem_fail_after(SIZE_MAX);
    }
    assert_non_null(page);
    mem_free(page);
    summary_free(&summary);
}

/* ---- Other forms ----------------------------------------------------------------------------- */

static void check_file(const char *name, char *text) {
    char path[96];
    assert_non_null(text);
    snprintf(path, sizeof path, "tests/data/compare/report/%s", name);
    if (getenv("OCTET_WRITE_EXPECTED")) {
        FILE *const file = fopen(path, "wb");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
    }
    char *const expected = read_file(path);
    assert_string_equal(text, expected);
    mem_free(expected);
    mem_free(text);
}

static void test_table_and_markdown_are_as_expected(void **state) {
    (void)state;
    struct summary summary = fixture_summary(SMALL);
    check_file("table.txt", report_table(&summary, false));
    check_file("summary.md", report_markdown_summary(&summary));
    summary_free(&summary);
}

static void test_colours_only_where_asked_for(void **state) {
    (void)state;
    struct summary summary = fixture_summary(SMALL);
    char *const plain = report_table(&summary, false);
    char *const coloured = report_table(&summary, true);
    assert_null(strchr(plain, '\033'));
    assert_non_null(strchr(coloured, '\033'));
    mem_free(plain);
    mem_free(coloured);
    summary_free(&summary);
}

static void test_json_is_one_line_with_the_promised_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"name",        "tasks",        "solved", "solved_plus",
                                       "prose_share", "hollow_share", "cost",   "cost_per_solved"};
    struct summary summary = fixture_summary(SMALL);
    char *const text = report_json_line(&summary);
    assert_non_null(text);
    assert_null(strchr(text, '\n'));
    json_t *const line = json_loads(text, 0, NULL);
    const json_t *const models = json_object_get(line, "models");
    assert_int_equal(json_array_size(models), 3);
    assert_int_equal(json_array_size(json_object_get(line, "pairs")), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *const model = json_array_get(models, i);
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            assert_non_null(json_object_get(model, keys[k]));
        }
        const bool unpriced = strcmp(summary_text(model, "name"), "fixture-c") == 0;
        assert_int_equal(json_is_null(json_object_get(model, "cost")), unpriced);
    }
    json_decref(line);
    mem_free(text);
    summary_free(&summary);
}

static void test_csv_has_a_row_of_all_columns_per_answer(void **state) {
    (void)state;
    struct summary summary = fixture_summary(SMALL);
    char *const text = report_csv_rows(&summary);
    assert_non_null(text);
    size_t n_rows = 0, n_columns = 0;
    for (char *row = text; *row; n_rows++) {
        size_t n = 1;
        bool quoted = false;
        for (; *row != '\n' || quoted; row++) {
            assert_true(*row != '\0');
            if (*row == '"') quoted = !quoted;
            if (*row == ',' && !quoted) n++;
        }
        if (n_rows == 0) n_columns = n;
        assert_int_equal(n, n_columns);
        row++;
    }
    assert_int_equal(n_rows, 1 + 3 * SMALL);
    mem_free(text);
    summary_free(&summary);
}

static void test_files_of_the_same_store_are_the_same(void **state) {
    (void)state;
    struct folder folder;
    struct octet_err err;
    struct store *store;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "runs.db");
    const char *const html[] = {folder_file(&folder, "a.html"), folder_file(&folder, "b.html")};
    const char *const document = folder_file(&folder, "all.json");
    FILE *const out = tmpfile();
    assert_non_null(out);
    struct report_targets targets = {.html = html[0], .document = document};
    assert_int_equal(report_runs(path, NULL, 0, &targets, out, &err), OCTET_EIO); // no store
    assert_int_equal(store_open(path, &store, &err), OCTET_OK);
    fixture_fill(store, "key", SMALL);
    fixture_fill(store, "key", SMALL);
    store_close(store);
    assert_int_equal(report_runs(path, NULL, 0, &targets, out, &err), OCTET_OK);
    targets.html = html[1];
    assert_int_equal(report_run(path, 2, &targets, out, &err), OCTET_OK);
    char *const a = read_file(html[0]);
    char *const b = read_file(html[1]);
    assert_string_equal(a, b);
    mem_free(a);
    mem_free(b);
    const int64_t both[] = {1, 2}, twice[] = {1, 1};
    assert_int_equal(report_runs(path, both, 2, &targets, out, &err), OCTET_OK);
    char *const joined = read_file(html[1]);
    assert_non_null(strstr(joined, "fixture-a (run 2)"));
    mem_free(joined);
    assert_int_equal(report_runs(path, twice, 2, &targets, out, &err), OCTET_EARG);
    assert_int_equal(report_run(path, 7, &targets, out, &err), OCTET_EARG);
    targets.html = "/nowhere/at/all.html";
    assert_int_equal(report_run(path, 2, &targets, out, &err), OCTET_EIO);
    fclose(out);
    assert_true(folder_close(&folder));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shows_hidden_characters),
        cmocka_unit_test(test_cuts_html_at_whole_characters),
        cmocka_unit_test(test_writes_numbers_as_people_read_them),
        cmocka_unit_test(test_the_page_is_complete_small_and_holds_no_markup_of_models),
        cmocka_unit_test(test_the_page_marks_prose_comments_dropped_code_and_placeholders),
        cmocka_unit_test(test_odd_documents_make_pages_too),
        cmocka_unit_test(test_running_out_of_memory_is_told),
        cmocka_unit_test(test_table_and_markdown_are_as_expected),
        cmocka_unit_test(test_colours_only_where_asked_for),
        cmocka_unit_test(test_json_is_one_line_with_the_promised_keys),
        cmocka_unit_test(test_csv_has_a_row_of_all_columns_per_answer),
        cmocka_unit_test(test_files_of_the_same_store_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
