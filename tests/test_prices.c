/* compare/prices: the arithmetic of December 2023, what is unpriced, and books that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "compare/embed.h"
#include "compare/prices.h"
#include "temp_folder.h"

static void near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance)) {
        fail_msg("found %.17g, expected %.17g +- %g", found, expected, tolerance);
    }
}

static int32_t day(const char *text) {
    int32_t result = 0;
    assert_true(day_parse(text, &result));
    return result;
}

/* The built-in book alone. */
static void open_own(struct price_book *book) {
    *book = (struct price_book){0};
    const struct embedded own = embedded_price_book();
    struct octet_err err = {OCTET_OK, ""};
    if (price_book_parse(book, own.begin, (size_t)(own.end - own.begin), "own", false, &err) !=
        OCTET_OK) {
        fail_msg("%s", err.message);
    }
}

/* ---- Days ------------------------------------------------------------------------------------ */

static void test_days_go_both_ways(void **state) {
    (void)state;
    assert_int_equal(day("1970-01-01"), 0);
    assert_int_equal(day("2000-02-29"), 11016);
    assert_int_equal(day("2023-12-13"), 19704);
    char text[16], expected[32];
    int32_t last = -1;
    for (int year = 1970; year < 3000; year++) {
        for (int month = 1; month <= 12; month++) {
            snprintf(expected, sizeof expected, "%04d-%02d-13", year, month);
            const int32_t found = day(expected);
            assert_true(found > last && found - last < 32 + (last < 0) * 32);
            assert_string_equal(day_text(found, text), expected);
            last = found;
        }
    }
    assert_string_equal(day_text(DAY_MAX, text), "");
    assert_true(day_today() > day("2026-01-01"));
}

static void test_no_dates_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",           "2023-12-1",  "2023-13-01", "2023-00-10", "2023-04-31", "2023-02-29",
        "1900-02-29", "2023-12-00", "2023/12/13", "2023-12-131", "+023-12-13", "1969-12-31",
        "3000-01-01", "today",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int32_t result;
        assert_false(day_parse(wrong[i], &result));
    }
}

/* ---- The built-in book ----------------------------------------------------------------------- */

static const struct price *on(const struct price_book *book, const char *model, const char *date,
                              const char *currency) {
    return price_find(book, &(struct price_query){
                                .model = model, .day = day(date), .currency = currency});
}

static double usd(const struct price_book *book, const char *model, uint64_t in, uint64_t out) {
    const struct price *const row = on(book, model, "2023-12-13", NULL);
    assert_non_null(row);
    const struct exchange_rate *used;
    const double factor =
        price_exchange(book, row->currency, "USD", day("2023-12-13"), &used);
    return factor * price_cost(row, &(struct token_use){.prompt = in, .completion = out});
}

static void test_article_prices_are_reproduced(void **state) {
    (void)state;
    struct price_book book;
    open_own(&book);
    const char *const medium = "mistral-medium", *const turbo = "gpt-4-turbo";
    near(price_saving(usd(&book, medium, 1, 0), usd(&book, "gpt-4", 1, 0)), 0.910, 1e-9);
    near(price_saving(usd(&book, medium, 0, 1), usd(&book, "gpt-4", 0, 1)), 0.865, 1e-9);
    near(price_saving(usd(&book, medium, 1, 1), usd(&book, "gpt-4", 1, 1)), 0.880, 1e-9);
    near(price_saving(usd(&book, medium, 1, 0), usd(&book, turbo, 1, 0)), 0.73, 1e-9);
    near(price_saving(usd(&book, medium, 3, 7), usd(&book, turbo, 3, 7)), 0.73, 1e-9);
    const char *const gpt35 = "gpt-3.5-turbo-1106";
    near(price_saving(usd(&book, medium, 1, 0), usd(&book, gpt35, 1, 0)), 1 - 2.70, 1e-9);
    near(price_saving(usd(&book, medium, 0, 1), usd(&book, gpt35, 0, 1)), 1 - 4.05, 1e-9);
    near(usd(&book, "mistral-small", 1, 0) / usd(&book, gpt35, 1, 0), 0.65, 0.005);
    near(usd(&book, "mistral-small", 0, 1) / usd(&book, gpt35, 0, 1), 0.97, 0.005);
    near(usd(&book, "mistral-tiny", 1, 0) / usd(&book, gpt35, 1, 0), 0.15, 0.005);
    near(usd(&book, "mistral-tiny", 0, 1) / usd(&book, gpt35, 0, 1), 0.23, 0.005);
    const struct {
        const char *model, *cost;
    } answers[] = {{"gpt-4", "0.0930"}, {turbo, "0.0460"}, {medium, "0.0124"},
                   {gpt35, "0.0031"}, {"mistral-small", "0.0030"}};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        char text[32];
        assert_string_equal(money_text(usd(&book, answers[i].model, 100, 1500), text),
                            answers[i].cost);
    }
    price_book_close(&book);
}

static void test_price_depends_on_the_day(void **state) {
    (void)state;
    struct price_book book;
    open_own(&book);
    near(on(&book, "gpt-3.5-turbo", "2024-01-24", NULL)->input, 1.5, 0);
    near(on(&book, "gpt-3.5-turbo", "2024-01-25", NULL)->input, 0.5, 0);
    assert_non_null(on(&book, "mistral-medium", "2025-06-16", NULL));
    assert_null(on(&book, "mistral-medium", "2025-06-17", NULL)); // retired
    assert_null(on(&book, "gpt-5", "2023-12-13", NULL));
    assert_null(on(&book, "mistral-large", "2024-03-01", NULL)); // no such name
    price_book_close(&book);
}

static void test_price_in_the_wanted_currency_is_preferred(void **state) {
    (void)state;
    struct price_book book;
    open_own(&book);
    assert_string_equal(on(&book, "mistral-medium", "2024-03-01", "EUR")->currency, "EUR");
    assert_string_equal(on(&book, "mistral-medium", "2024-03-01", "USD")->currency, "USD");
    assert_string_equal(on(&book, "mistral-medium", "2023-12-13", "USD")->currency, "EUR");
    price_book_close(&book);
}

static void test_long_prompts_have_their_tier(void **state) {
    (void)state;
    struct price_book book;
    open_own(&book);
    struct price_query query = {.provider = "openai", .model = "gpt-5.5",
                                .day = day("2026-09-01"), .prompt_tokens = 272000};
    near(price_find(&book, &query)->input, 5, 0);
    query.prompt_tokens++;
    near(price_find(&book, &query)->input, 10, 0);
    query.model = "gpt-5.6-sol"; // its dearer tier is not known: not priced as the cheap one
    assert_null(price_find(&book, &query));
    query.prompt_tokens = 0;
    assert_non_null(price_find(&book, &query));
    query.provider = "mistral";
    assert_null(price_find(&book, &query));
    price_book_close(&book);
}

static void test_every_own_row_says_where_it_is_from(void **state) {
    (void)state;
    struct price_book book;
    open_own(&book);
    assert_true(book.n_rows >= 30 && book.n_rates >= 1);
    for (size_t i = 0; i < book.n_rows; i++) {
        const struct price *const row = &book.rows[i];
        assert_true(strlen(row->source) > 10);
        assert_true(row->input > 0 && row->output > 0 && row->read_on >= row->valid_from);
    }
    price_book_close(&book);
}

static void test_rows_written_as_json_read_the_same(void **state) {
    (void)state;
    struct price_book book, again = {0};
    open_own(&book);
    json_t *const list = json_array();
    for (size_t i = 0; i < book.n_rows; i++) {
        json_array_append_new(list, price_json(&book.rows[i]));
    }
    json_t *const root = json_pack("{so}", "prices", list);
    char *const text = json_dumps(root, 0);
    assert_non_null(text);
    struct octet_err err = {OCTET_OK, ""};
    assert_int_equal(price_book_parse(&again, text, strlen(text), "x", false, &err), OCTET_OK);
    assert_int_equal(again.n_rows, book.n_rows);
    for (size_t i = 0; i < book.n_rows; i++) {
        const struct price *const a = &book.rows[i], *const b = &again.rows[i];
        assert_string_equal(a->names[a->n_names - 1], b->names[b->n_names - 1]);
        assert_memory_equal(&a->prompt_above, &b->prompt_above, 2 * sizeof a->prompt_above);
        near(a->input + a->output, b->input + b->output, 0);
        assert_true(a->valid_from == b->valid_from && a->valid_to == b->valid_to);
        assert_string_equal(a->source, b->source);
    }
    free(text);
    json_decref(root);
    price_book_close(&book);
    price_book_close(&again);
}

/* ---- Money ----------------------------------------------------------------------------------- */

static void test_cached_and_reasoning_tokens_have_their_price(void **state) {
    (void)state;
    const struct token_use use = {.prompt = 1000, .cached = 2000, .completion = 300,
                                  .reasoning = 50};
    struct price row = {.input = 10, .output = 100, .cached_input = NAN, .reasoning = NAN};
    near(price_cost(&row, &use), (3000 * 10 + 350 * 100) / 1e6, 1e-15);
    row.cached_input = 1;
    row.reasoning = 200;
    near(price_cost(&row, &use), (1000 * 10 + 2000 * 1 + 300 * 100 + 50 * 200) / 1e6, 1e-15);
    assert_true(isnan(price_saving(1, 0)));
}

static void test_rate_nearest_in_time_is_used_and_told(void **state) {
    (void)state;
    struct price_book book = {0};
    static const char json[] =
        "{\"rates\": [{\"from\":\"EUR\",\"to\":\"USD\",\"rate\":1.25,\"date\":\"2024-01-10\","
        "\"source\":\"a\"},{\"from\":\"EUR\",\"to\":\"USD\",\"rate\":1.5,\"date\":\"2024-03-10\","
        "\"source\":\"b\"},{\"from\":\"EUR\",\"to\":\"USD\",\"rate\":1.6,\"date\":\"2024-03-10\","
        "\"source\":\"c\"}]}";
    assert_int_equal(price_book_parse(&book, json, strlen(json), "x", true, NULL), OCTET_OK);
    const struct exchange_rate *used;
    near(price_exchange(&book, "EUR", "USD", day("2023-01-01"), &used), 1.25, 0);
    assert_string_equal(used->source, "a");
    near(price_exchange(&book, "USD", "EUR", day("2024-02-20"), &used), 0.625, 0);
    assert_string_equal(used->source, "c"); // of the same day the one read last
    near(price_exchange(&book, "GBP", "GBP", 0, &used), 1, 0);
    assert_null(used);
    assert_true(isnan(price_exchange(&book, "GBP", "EUR", 0, &used)));
    assert_null(used);
    price_book_close(&book);
}

static void test_small_sums_are_not_zero(void **state) {
    (void)state;
    char text[32];
    const struct {
        double amount;
        const char *text;
    } cases[] = {{0, "0.00"}, {17.468, "17.47"}, {8.1, "8.10"}, {1, "1.00"}, {0.194, "0.1940"},
                 {0.00298, "0.0030"}, {0.00096, "0.00096"}, {0.0000301, "0.000030"},
                 {-0.0124, "-0.0124"}, {1e-30, "0.000000000000"}, {NAN, "unpriced"},
                 {1e20, "1.00e+20"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(money_text(cases[i].amount, text), cases[i].text);
    }
}

static void test_local_is_not_free(void **state) {
    (void)state;
    const struct local_terms terms = {.prefill_watts = 90, .decode_watts = 65, .tariff = 0.30,
                                      .currency = "EUR"};
    const struct local_cost energy = local_price(&terms, 0, 200); // 1000 tokens at 5 a second
    near(energy.energy, 0.0010833333, 1e-9);
    near(energy.hardware, 0, 0);
    near(local_price(&terms, 40, 0).energy, 0.0003, 1e-12);
    struct local_terms machine = terms;
    machine.hardware = 500;
    machine.service_seconds = 3600 * 10000;
    near(local_price(&machine, 40, 320).hardware, 0.005, 1e-12);
    char text[256];
    assert_string_equal(local_terms_text(&machine, text, sizeof text),
                        "90 W in prefill and 65 W in decode (assumed), 0.3000 EUR per kWh, "
                        "500.00 EUR for the machine over 10000 hours of computing");
    assert_non_null(strstr(local_terms_text(&terms, text, sizeof text), "left out"));
}

/* ---- Wrong books ----------------------------------------------------------------------------- */

/* A row with FIELDS after the usual ones; a later "key" of the same name is not allowed, so OMIT
 * leaves one of the usual ones out. */
static char *book_with(const char *omit, const char *fields) {
    static const char *const usual[] = {
        "\"provider\":\"p\"", "\"model\":\"m\"", "\"currency\":\"EUR\"", "\"unit\":1000",
        "\"input\":1", "\"output\":2", "\"valid_from\":\"2024-01-01\"", "\"source\":\"s\"",
        "\"read_on\":\"2024-01-02\"",
    };
    static char json[2048];
    int n = snprintf(json, sizeof json, "{\"prices\":[{");
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        if (omit && strncmp(usual[i] + 1, omit, strlen(omit)) == 0) continue;
        n += snprintf(json + n, sizeof json - (size_t)n, "%s,", usual[i]);
    }
    snprintf(json + n, sizeof json - (size_t)n, "%s}]}", fields);
    return json;
}

static void expect_refused(const char *json, const char *message) {
    struct price_book book = {0};
    struct octet_err err = {OCTET_OK, ""};
    const enum octet_status status =
        price_book_parse(&book, json, strlen(json), "b.json", true, &err);
    price_book_close(&book);
    if (status != OCTET_EFORMAT || !strstr(err.message, message) ||
        strncmp(err.message, "b.json: ", 8) != 0) {
        fail_msg("'%s' gave %d '%s', expected '%s'", json, (int)status, err.message, message);
    }
}

static void test_units_become_millions(void **state) {
    (void)state;
    struct price_book book = {0};
    const char *const json = book_with(NULL, "\"cached_input\":0.5,\"note\":null");
    assert_int_equal(price_book_parse(&book, json, strlen(json), "x", true, NULL), OCTET_OK);
    near(book.rows[0].input, 1000, 0);
    near(book.rows[0].cached_input, 500, 0);
    assert_true(isnan(book.rows[0].reasoning));
    assert_true(book.rows[0].valid_to == DAY_MAX && book.rows[0].added);
    price_book_close(&book);
}

static void test_wrong_fields_are_named(void **state) {
    (void)state;
    const struct {
        const char *omit, *fields, *message;
    } cases[] = {
        {"input", "\"input\":\"1\"", "prices[0] (p m): 'input': expected a number, found a text"},
        {"input", "\"input\":-1", "'input': expected 0 to 1e+09, found -1"},
        {"input", "\"input\":1e300", "'input': expected 0 to"},
        {"output", "\"note\":\"\"", "'output': expected a number, found nothing"},
        {"output", "\"output\":null", "'output': expected a number, found null"},
        {"unit", "\"unit\":100", "'unit': expected 1000 or 1000000 tokens, found 100"},
        {"currency", "\"currency\":\"eur\"", "'currency': expected three capitals"},
        {"currency", "\"currency\":\"\"", "'currency' is empty"},
        {"valid_from", "\"valid_from\":\"2024-02-30\"", "'valid_from': expected a date"},
        {NULL, "\"valid_to\":\"2023-12-31\"", "'valid_to' is before 'valid_from'"},
        {NULL, "\"valid_to\":20231231", "'valid_to': expected a text, found a number"},
        {NULL, "\"prompt_above\":1.5", "'prompt_above': expected a number of tokens"},
        {NULL, "\"prompt_above\":-1", "found a negative one"},
        {NULL, "\"prompt_above\":10,\"prompt_to\":10", "'prompt_to' is not above"},
        {NULL, "\"aliases\":\"x\"", "'aliases': expected a list"},
        {NULL, "\"aliases\":[1]", "'aliases': expected names, found a number"},
        {NULL, "\"aliases\":[\"a b\"]", "'aliases' may hold printable ASCII"},
        {NULL, "\"outptu\":3", "unknown key 'outptu'"},
        {NULL, "\"note\":\"\\u001b[2J\"", "'note' holds control characters"},
        {NULL, "\"note\":\"\\u009b2J\"", "'note' holds control characters"},
        {"source", "\"source\":[]", "'source': expected a text, found a list"},
        {"model", "\"model\":\"m\\tm\"", "'model' holds control characters"},
        {"provider", "\"provider\":true", "prices[0] (? m): 'provider': expected a text"},
        {NULL, "\"input\":3", "line 1: duplicate object key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(book_with(cases[i].omit, cases[i].fields), cases[i].message);
    }
}

static void test_wrong_shapes_are_named(void **state) {
    (void)state;
    expect_refused("", "line 1");
    expect_refused("[]", "expected an object, found a list");
    expect_refused("{\"prices\":{}}", "'prices': expected a list, found an object");
    expect_refused("{\"price\":[]}", "unknown key 'price'");
    expect_refused("{\"prices\":[3]}", "prices[0] (? ?): expected an object, found a number");
    expect_refused("{\"rates\":[{\"from\":\"EUR\",\"to\":\"EUR\",\"rate\":1,"
                   "\"date\":\"2024-01-01\",\"source\":\"s\"}]}",
                   "rates[0] (EUR EUR): the currencies are the same");
    expect_refused("{\"rates\":[{\"from\":\"EUR\",\"to\":\"USD\",\"rate\":0,"
                   "\"date\":\"2024-01-01\",\"source\":\"s\"}]}", "'rate' must be above 0");
    expect_refused("{\"rates\":[{\"from\":\"EUR\"}]}", "'to': expected a text, found nothing");
    enum { HUGE = 5 << 20 };
    char *const huge = mem_alloc(HUGE);
    assert_non_null(huge);
    memset(huge, '[', HUGE - 1);
    expect_refused(huge, "of more than 4 MiB");
    huge[3 << 20] = '\0';
    expect_refused(huge, "maximum parsing depth");
    mem_free(huge);
}

/* Two rows that differ in REST and in the names. */
static void expect_overlap(const char *first, const char *second, bool expected) {
    char json[2048];
    const char *const row = "{\"provider\":\"p\",\"currency\":\"EUR\",\"unit\":1000,\"input\":1,"
                            "\"output\":2,\"source\":\"s\",\"read_on\":\"2024-01-02\",%s}";
    char a[512], b[512], middle[256];
    snprintf(a, sizeof a, row, first);
    snprintf(b, sizeof b, row, second);
    snprintf(middle, sizeof middle, row, "\"model\":\"z\",\"valid_from\":\"2020-01-01\"");
    snprintf(json, sizeof json, "{\"prices\":[%s,%s,%s]}", a, middle, b);
    if (expected) {
        expect_refused(json, "prices[2] (p m): overlaps in time with prices[0]");
        return;
    }
    struct price_book book = {0};
    assert_int_equal(price_book_parse(&book, json, strlen(json), "x", true, NULL), OCTET_OK);
    price_book_close(&book);
}

static void test_overlapping_times_are_refused(void **state) {
    (void)state;
    const char *const open = "\"model\":\"m\",\"valid_from\":\"2024-01-01\"";
    expect_overlap(open, open, true);
    expect_overlap(open, "\"model\":\"m\",\"valid_from\":\"2025-01-01\"", true);
    expect_overlap("\"model\":\"m\",\"valid_from\":\"2025-01-01\"", open, true);
    expect_overlap(open, "\"model\":\"n\",\"aliases\":[\"m\"],\"valid_from\":\"2025-01-01\"", true);
    const char *const past = "\"model\":\"m\",\"valid_from\":\"2023-01-01\",\"valid_to\":";
    char ends[128];
    snprintf(ends, sizeof ends, "%s\"2024-01-01\"", past);
    expect_overlap(open, ends, true);
    snprintf(ends, sizeof ends, "%s\"2023-12-31\"", past);
    expect_overlap(open, ends, false);
    expect_overlap(open, "\"model\":\"m\",\"prompt_above\":5,\"valid_from\":\"2024-01-01\"", false);
    expect_overlap(open, "\"model\":\"n\",\"valid_from\":\"2024-01-01\"", false);
}

static void test_mutated_books_never_crash(void **state) {
    (void)state;
    const struct embedded own = embedded_price_book();
    const size_t n = (size_t)(own.end - own.begin);
    char *const copy = mem_alloc(n);
    assert_non_null(copy);
    uint32_t random = 1;
    for (int round = 0; round < 600; round++) {
        memcpy(copy, own.begin, n);
        for (int k = 0; k < 1 + round % 3; k++) {
            random = random * 1664525 + 1013904223;
            static const char bytes[] = "\"{}[]:,-0e9\x80n ";
            copy[random % n] = bytes[(random >> 8) % (sizeof bytes - 1)];
        }
        struct price_book book = {0};
        struct octet_err err = {OCTET_OK, ""};
        const enum octet_status status =
            price_book_parse(&book, copy, round % 7 ? n : random % n, "x", true, &err);
        assert_true(status == OCTET_OK || (status == OCTET_EFORMAT && err.message[0]));
        price_book_close(&book);
    }
    mem_free(copy);
}

static void test_failed_allocations_are_told(void **state) {
    (void)state;
    for (size_t after = 0;; after++) {
        struct price_book book;
        mem_fail_after(after);
        const enum octet_status status = price_book_open(&book, NULL);
        mem_fail_after(SIZE_MAX);
        if (status == OCTET_OK) price_book_close(&book);
        if (status == OCTET_OK) break;
        assert_int_equal(status, OCTET_EMEM);
    }
}

/* ---- The user's book ------------------------------------------------------------------------- */

static const char *const gpt4_as_if = // at another price than the built-in one
    "{\"provider\":\"openai\",\"model\":\"gpt-4\",\"currency\":\"USD\",\"unit\":1000000,"
    "\"input\":0.1,\"output\":7,\"valid_from\":\"2023-12-10\",\"source\":\"a bill\","
    "\"read_on\":\"2024-01-02\"}";

static void test_added_rows_come_first(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    char octet[96];
    const char *const path = folder_file(&folder, "octet/prices.json");
    snprintf(octet, sizeof octet, "%s/octet", folder.path);
    struct octet_err err = {OCTET_OK, ""};
    if (price_book_add(path, gpt4_as_if, false, &err) != OCTET_OK) fail_msg("%s", err.message);
    assert_int_equal(price_book_add(path, gpt4_as_if, false, &err), OCTET_EFORMAT);
    assert_non_null(strstr(err.message, "prices[1] (openai gpt-4): overlaps"));
    assert_int_equal(price_book_add(path, "{\"from\":\"EUR\",\"to\":\"USD\",\"rate\":1.5,"
                                          "\"date\":\"2023-12-13\",\"source\":\"s\"}",
                                    true, &err), OCTET_OK);
    assert_int_equal(price_book_add(path, "{\"from\":3}", true, &err), OCTET_EFORMAT);
    assert_int_equal(price_book_add(path, "]", true, &err), OCTET_EFORMAT);

    setenv("XDG_CONFIG_HOME", folder.path, 1);
    struct price_book book;
    if (price_book_open(&book, &err) != OCTET_OK) fail_msg("%s", err.message);
    near(on(&book, "gpt-4", "2023-12-13", NULL)->input, 0.1, 0);
    near(on(&book, "gpt-4", "2023-12-09", NULL)->input, 30, 0); // before the user's row holds
    const struct exchange_rate *used;
    near(price_exchange(&book, "EUR", "USD", day("2023-12-13"), &used), 1.5, 0);
    price_book_close(&book);
    unsetenv("XDG_CONFIG_HOME");
    unlink(path);
    assert_int_equal(rmdir(octet), 0); // nothing else was left there
    assert_true(folder_close(&folder));
}

static void test_refused_additions_leave_the_file_alone(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "prices.json");
    static const char broken[] = "{\"prices\": [";
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(broken, file);
    fclose(file);
    struct octet_err err;
    assert_int_equal(price_book_add(path, gpt4_as_if, false, &err), OCTET_EFORMAT);
    assert_non_null(strstr(err.message, "prices.json: line 1"));
    char text[64] = "";
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, sizeof text - 1, file), strlen(broken));
    fclose(file);
    assert_string_equal(text, broken);
    assert_true(folder_close(&folder));
}

static void test_user_book_must_be_a_readable_file(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    char octet[96];
    snprintf(octet, sizeof octet, "%s/octet", folder.path);
    const char *const path = folder_file(&folder, "octet/prices.json");
    assert_int_equal(mkdir(octet, 0700), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    setenv("XDG_CONFIG_HOME", folder.path, 1);
    struct price_book book;
    struct octet_err err;
    assert_int_equal(price_book_open(&book, &err), OCTET_EIO);
    assert_non_null(strstr(err.message, "not a regular file"));
    unlink(path);
    assert_int_equal(price_book_open(&book, &err), OCTET_OK); // none is fine
    price_book_close(&book);
    unsetenv("XDG_CONFIG_HOME");
    assert_int_equal(rmdir(octet), 0);
    assert_true(folder_close(&folder));
}

static void test_user_path_follows_the_environment(void **state) {
    (void)state;
    struct octet_err err;
    char *const home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    setenv("XDG_CONFIG_HOME", "relative", 1); // to be ignored
    setenv("HOME", "/home/a", 1);
    char *path = price_book_user_path(&err);
    assert_string_equal(path, "/home/a/.config/octet/prices.json");
    mem_free(path);
    unsetenv("HOME");
    unsetenv("XDG_CONFIG_HOME");
    assert_null(price_book_user_path(&err));
    assert_int_equal(err.status, OCTET_OK);
    if (home) setenv("HOME", home, 1);
    free(home);
}

/* No test may depend on a book of the user who runs it. */
static int without_user_book(void **state) {
    (void)state;
    unsetenv("XDG_CONFIG_HOME");
    return setenv("HOME", "/nonexistent", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_days_go_both_ways),
        cmocka_unit_test(test_no_dates_are_refused),
        cmocka_unit_test(test_article_prices_are_reproduced),
        cmocka_unit_test(test_price_depends_on_the_day),
        cmocka_unit_test(test_price_in_the_wanted_currency_is_preferred),
        cmocka_unit_test(test_long_prompts_have_their_tier),
        cmocka_unit_test(test_every_own_row_says_where_it_is_from),
        cmocka_unit_test(test_rows_written_as_json_read_the_same),
        cmocka_unit_test(test_cached_and_reasoning_tokens_have_their_price),
        cmocka_unit_test(test_rate_nearest_in_time_is_used_and_told),
        cmocka_unit_test(test_small_sums_are_not_zero),
        cmocka_unit_test(test_local_is_not_free),
        cmocka_unit_test(test_units_become_millions),
        cmocka_unit_test(test_wrong_fields_are_named),
        cmocka_unit_test(test_wrong_shapes_are_named),
        cmocka_unit_test(test_overlapping_times_are_refused),
        cmocka_unit_test(test_mutated_books_never_crash),
        cmocka_unit_test(test_failed_allocations_are_told),
        cmocka_unit_test(test_added_rows_come_first),
        cmocka_unit_test(test_refused_additions_leave_the_file_alone),
        cmocka_unit_test(test_user_book_must_be_a_readable_file),
        cmocka_unit_test(test_user_path_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, without_user_book, NULL);
}
