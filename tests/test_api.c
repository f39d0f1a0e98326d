/* The remote APIs against a scripted server that plays each of them, well and badly. */
#include <math.h>

#include "api_server.h"
#include "base/probe.h"
#include "compare/api.h"
#include "compare/http_client.h"
#include "compare/sse.h"

/* ---- Server-sent events ---------------------------------------------------------------------- */

static bool collect(void *user, const char *type, const char *data, size_t n_bytes) {
    struct buffer *const out = user;
    assert_int_equal(strlen(data), n_bytes);
    return buffer_append_text(out, type) && buffer_append_text(out, "=") &&
           buffer_append_text(out, data) && buffer_append_text(out, ";");
}

static void test_events_are_the_same_however_the_stream_is_cut(void **state) {
    (void)state;
    static const char stream[] =
        "\xef\xbb\xbf: hi\ndata: a\n\nevent: x\r\ndata:b\r\ndata: c\r\n\r\n"
        "id: 1\ndata\n\n\nfoo: bar\rdata:  d\r\rdata: open";
    static const char expected[] = "message=a;x=b\nc;message=;message= d;message=open;";
    for (size_t piece = 1; piece < sizeof stream; piece++) {
        struct buffer out = {NULL, 0, 0};
        struct sse sse = {.fn = collect, .user = &out};
        for (size_t at = 0; at < sizeof stream - 1; at += piece) {
            const size_t left = sizeof stream - 1 - at;
            assert_int_equal(sse_push(&sse, stream + at, left < piece ? left : piece), SSE_OK);
        }
        assert_int_equal(sse_finish(&sse), SSE_OK);
        assert_string_equal(out.bytes, expected);
        sse_free(&sse);
        buffer_free(&out);
    }
}

static void test_json_with_bad_characters_is_mended(void **state) {
    (void)state;
    static const char text[] = "{\"a\":\"\\ud83d\\ude00 \\ud83d \\udc00 \\\\ud83d \xff\"}";
    json_t *const json = json_text_parse(text, sizeof text - 1);
    assert_string_equal(json_text_get(json, "a"),
                        "\xf0\x9f\x98\x80 \xef\xbf\xbd \xef\xbf\xbd \\ud83d \xef\xbf\xbd");
    json_decref(json);
    assert_null(json_text_parse("{\"a\"", 4));
    assert_null(json_text_parse("", 0));
}

/* ---- Each API as it should be ---------------------------------------------------------------- */

static void test_openai_stream_is_read(void **state) {
    (void)state;
    struct got got;
    forget_requests();
    const struct reply *const r = put_one("openai", "ok", &got);
    assert_text(r, "Hello, wörld.");
    assert_string_equal(r->finish_reason, "stop");
    assert_string_equal(r->model, "fixture-1");
    assert_int_equal(r->usage.prompt, 11);
    assert_int_equal(r->usage.cached, 4);
    assert_int_equal(r->usage.completion, 7);
    assert_int_equal(r->usage.reasoning, 2);
    assert_false(r->usage.estimated);
    assert_int_equal(r->n_gaps, 3);
    for (size_t i = 0; i < r->n_gaps; i++) {
        assert_true(r->token_gaps_s[i] >= 0);
    }
    assert_true(r->ttft_s > 0 && r->ttft_s <= r->total_s);
    assert_int_equal(strlen(r->date), 20);
    forget(&got);

    json_t *const list = requests_to("ok");
    const json_t *const body = request_at(list, 0, "body");
    assert_string_equal(json_string_value(request_at(list, 0, "path")), "/ok/chat/completions");
    assert_string_equal(json_text_get(request_at(list, 0, "headers"), "Authorization"),
                        "Bearer " SECRET);
    json_t *const expected =
        json_pack("{s:b, s:s, s:{s:b}, s:i, s:i, s:f, s:f, s:[{s:s, s:s}, {s:s, s:s}]}", "stream",
                  1, "model", "some-model", "stream_options", "include_usage", 1, "max_tokens", 64,
                  "seed", 42, "temperature", 0.2, "top_p", 0.95, "messages", "role", "system",
                  "content", "Be brief.", "role", "user", "content", "Hello?");
    assert_true(json_equal(body, expected));
    json_decref(expected);
    json_decref(list);
}

static void test_anthropic_stream_is_read(void **state) {
    (void)state;
    struct got got;
    forget_requests();
    const struct reply *const r = put_one("anthropic", "anthropic", &got);
    assert_text(r, "Salut");
    assert_string_equal(r->finish_reason, "stop");
    assert_string_equal(r->model, "fixture-2");
    assert_int_equal(r->usage.prompt, 10);
    assert_int_equal(r->usage.cached, 3);
    assert_int_equal(r->usage.completion, 9);
    assert_false(r->usage.estimated);
    assert_int_equal(r->n_gaps, 1);
    forget(&got);

    json_t *const list = requests_to("anthropic");
    const json_t *const headers = request_at(list, 0, "headers");
    assert_string_equal(json_text_get(headers, "x-api-key"), SECRET);
    assert_string_equal(json_text_get(headers, "anthropic-version"), "2023-06-01");
    assert_null(json_object_get(headers, "Authorization"));
    const json_t *const body = request_at(list, 0, "body");
    assert_string_equal(json_text_get(body, "system"), "Be brief.");
    assert_int_equal(json_array_size(json_object_get(body, "messages")), 1);
    assert_null(json_object_get(body, "seed"));
    json_decref(list);
}

static void test_models_that_think_are_asked_their_way(void **state) {
    (void)state;
    char spec[128];
    snprintf(spec, sizeof spec, "x=openai,http://127.0.0.1:%d/ok,gpt-5-fixture", api.port);
    struct got got = {0};
    const struct provider_options o = quick(&got);
    struct provider *p;
    struct octet_err err;
    forget_requests();
    assert_int_equal(provider_open(spec, &o, &p, &err), OCTET_OK);
    assert_non_null(strstr(got.notes, "takes no temperature"));
    assert_int_equal(provider_ask(p, &hello, 1, take, &got, &err), OCTET_OK);
    provider_close(p);
    forget(&got);
    json_t *const list = requests_to("ok");
    const json_t *const body = request_at(list, 0, "body");
    assert_int_equal(json_count_get(body, "max_completion_tokens"), 64);
    static const char *const absent[] = {"max_tokens", "temperature", "top_p", "seed", "stop"};
    for (size_t i = 0; i < 5; i++) assert_null(json_object_get(body, absent[i]));
    assert_null(json_object_get(request_at(list, 0, "headers"), "Authorization"));
    json_decref(list);
}

static void test_azure_address_and_key_header(void **state) {
    (void)state;
    struct got got;
    forget_requests();
    assert_text(put_one("azure", "ok", &got), "Hello, wörld.");
    forget(&got);
    assert_text(put_one("azure", "ok?api-version=2099-01-01", &got), "Hello, wörld.");
    forget(&got);
    json_t *const list = requests_to("ok");
    assert_string_equal(json_text_get(request_at(list, 0, "headers"), "api-key"), SECRET);
    assert_string_equal(json_string_value(request_at(list, 0, "path")),
                        "/ok/openai/deployments/some-model/chat/completions"
                        "?api-version=2024-10-21");
    assert_string_equal(json_string_value(request_at(list, 1, "path")),
                        "/ok/openai/deployments/some-model/chat/completions"
                        "?api-version=2099-01-01");
    json_decref(list);
}

static void test_mistral_sends_only_its_own_fields(void **state) {
    (void)state;
    struct got got;
    forget_requests();
    assert_text(put_one("mistral", "ok", &got), "Hello, wörld.");
    forget(&got);
    json_t *const list = requests_to("ok");
    const json_t *const body = request_at(list, 0, "body");
    assert_int_equal(json_count_get(body, "random_seed"), 42);
    assert_null(json_object_get(body, "stream_options"));
    assert_null(json_object_get(body, "seed"));
    json_decref(list);
}

static void test_holes_are_filled_where_the_api_can(void **state) {
    (void)state;
    static const char *const stops[] = {"\n\n", NULL};
    struct ask hole = hello;
    hole.chat = false;
    hole.prompt = "def f(";
    hole.suffix = "return x";
    hole.stops = stops;
    struct got got = {0};
    struct octet_err err;
    forget_requests();
    assert_int_equal(put("openai", "completions", &hole, 1, quick(&got), &got, &err), OCTET_OK);
    assert_text(&got.replies[0], "(def f()return x");
    forget(&got);
    assert_int_equal(put("mistral", "completions", &hole, 1, quick(&got), &got, &err), OCTET_OK);
    assert_text(&got.replies[0], "(def f()return x");
    forget(&got);
    json_t *const list = requests_to("completions");
    assert_string_equal(json_string_value(request_at(list, 0, "path")), "/completions/completions");
    assert_string_equal(json_string_value(request_at(list, 1, "path")),
                        "/completions/fim/completions");
    assert_int_equal(json_array_size(json_object_get(request_at(list, 1, "body"), "stop")), 1);
    json_decref(list);

    assert_int_equal(put("anthropic", "ok", &hole, 1, quick(&got), &got, &err), OCTET_OK);
    assert_error(&got.replies[0], "not supported");
    forget(&got);
    hole.suffix = NULL;
    assert_int_equal(put("azure", "ok", &hole, 1, quick(&got), &got, &err), OCTET_OK);
    assert_error(&got.replies[0], "not supported");
    forget(&got);
}

static void test_odd_but_whole_answers_are_read(void **state) {
    (void)state;
    struct got got;
    const struct reply *r = put_one("openai", "crlf", &got);
    assert_text(r, "ab");
    assert_true(r->usage.estimated); // nobody told
    forget(&got);

    r = put_one("openai", "document", &got);
    assert_text(r, "whole");
    assert_string_equal(r->finish_reason, "length");
    assert_true(isnan(r->ttft_s) && r->total_s > 0);
    assert_int_equal(r->n_gaps, 0);
    assert_false(r->usage.estimated);
    forget(&got);

    r = put_one("mistral", "parts", &got);
    assert_text(r, "said");
    assert_string_equal(r->finish_reason, "length");
    forget(&got);

    r = put_one("openai", "nousage", &got);
    assert_true(r->usage.estimated);
    assert_int_equal(r->usage.completion, 11);
    assert_true(r->usage.prompt > 0);
    forget(&got);

    assert_text(put_one("openai", "nodone", &got), "fine");
    forget(&got);
    assert_text(put_one("openai", "unicode", &got),
                "\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd|\xf0\x9f\x98\x80|\\ud83dok");
    forget(&got);
    const double start = probe_seconds();
    assert_text(put_one("openai", "after", &got), "done");
    assert_true(probe_seconds() - start < 4);
    forget(&got);
}

/* ---- Trouble --------------------------------------------------------------------------------- */

static void test_retry_after_is_obeyed(void **state) {
    (void)state;
    static const char *const behaviours[] = {"limited", "dated"};
    for (size_t i = 0; i < 2; i++) {
        struct got got;
        const double start = probe_seconds();
        const struct reply *const r = put_one("openai", behaviours[i], &got);
        assert_text(r, "Hello, wörld.");
        assert_int_equal(r->n_retries, 1);
        const double seconds = probe_seconds() - start;
        assert_true(seconds > 0.9 && seconds < 6);
        assert_true(r->ttft_s < 0.9); // of the attempt that was answered
        assert_int_equal(r->lost.completion, 0);
        assert_non_null(strstr(got.notes, "HTTP "));
        forget(&got);
    }
    struct got got;
    assert_error(put_one("openai", "patience", &got), "tomorrow");
    assert_int_equal(got.replies[0].n_retries, 0);
    forget(&got);
}

static void test_retry_after_formats(void **state) {
    (void)state;
    assert_true(http_retry_after("12", 0) == 12);
    assert_true(http_retry_after("0.5 ", 0) == 0.5);
    assert_true(http_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40) == 60);
    assert_true(http_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400) == 0);
    assert_true(http_retry_after("-3", 0) < 0);
    assert_true(http_retry_after("soon", 0) < 0);
    assert_true(http_retry_after("inf", 0) < 0);
    assert_true(http_retry_after("", 0) < 0);
}

static void test_what_may_pass_is_tried_again(void **state) {
    (void)state;
    static const struct {
        const char *behaviour;
        int n_retries;
        bool lost;
    } cases[] = {{"shaky", 2, false},
                 {"broken", 1, true},
                 {"reset", 1, false},
                 {"hang", 1, false},
                 {"instream", 1, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct got got;
        const struct reply *const r = put_one("openai", cases[i].behaviour, &got);
        assert_text(r, "Hello, wörld.");
        assert_int_equal(r->n_retries, cases[i].n_retries);
        assert_int_equal(r->lost.completion > 0, cases[i].lost);
        assert_int_equal(r->usage.completion, 7); // of the last attempt only
        assert_int_equal(r->n_gaps <= 3, 1);
        forget(&got);
    }
    struct got got;
    const struct reply *const r = put_one("anthropic", "overloaded", &got);
    assert_text(r, "Salut");
    assert_int_equal(r->n_retries, 1);
    forget(&got);
}

static void test_what_will_not_pass_is_an_error(void **state) {
    (void)state;
    static const struct {
        const char *behaviour, *part;
        int n_retries;
    } cases[] = {
        {"down", "HTTP 500: down?[31m?for good", 3},
        {"cut", "broke off", 3},
        {"html", "type 'text/html' without any event", 0},
        {"empty", "without any event", 0},
        {"badjson", "not JSON", 0},
        {"moved", "redirects", 0},
        {"refused", "Extra inputs are not allowed", 0},
        {"hugeevent", "an event of more than", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct got got;
        const struct reply *const r = put_one("openai", cases[i].behaviour, &got);
        assert_error(r, cases[i].part);
        assert_int_equal(r->n_retries, cases[i].n_retries);
        forget(&got);
    }
}

static void test_silence_and_pings_end_in_time(void **state) {
    (void)state;
    struct got got = {0};
    struct provider_options o = quick(&got);
    o.timeout_s = 0.2;
    o.n_retries = -1;
    struct octet_err err;
    const double start = probe_seconds();
    assert_int_equal(put("openai", "drip", &hello, 1, o, &got, &err), OCTET_OK);
    assert_error(&got.replies[0], "no text came");
    forget(&got);
    assert_int_equal(put("openai", "slow", &hello, 1, o, &got, &err), OCTET_OK);
    assert_text(&got.replies[0], "Hello, wörld."); // slower in all, but never silent
    forget(&got);
    assert_true(probe_seconds() - start < 8);
}

static void test_endless_text_is_cut(void **state) {
    (void)state;
    struct got got;
    const struct reply *const r = put_one("openai", "huge", &got);
    assert_null(r->error);
    assert_int_equal(r->n_bytes, API_TEXT_BYTES);
    assert_string_equal(r->finish_reason, "length");
    forget(&got);
}

static void test_hopeless_answers_end_the_run(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"badkey", "FIXTURE_KEY"}, {"quota", "exceeded your quota"}, {"nomodel", "does not exist"}};
    for (size_t i = 0; i < 3; i++) {
        struct ask asks[10];
        for (size_t k = 0; k < 10; k++) {
            asks[k] = hello;
            asks[k].tag = k;
        }
        struct got got = {0};
        struct octet_err err;
        forget_requests();
        assert_int_equal(put("openai", cases[i][0], asks, 10, quick(&got), &got, &err), OCTET_EARG);
        assert_non_null(strstr(err.message, cases[i][1]));
        assert_null(strstr(err.message, SECRET));
        json_t *const list = requests_to(cases[i][0]);
        assert_in_range(json_array_size(list), 1, 4);
        json_decref(list);
        forget(&got);
    }
}

/* Every allocation in turn fails: the run ends with a status, or goes on without what was lost. */
static void test_running_out_of_memory_is_told(void **state) {
    (void)state;
    char spec[128];
    snprintf(spec, sizeof spec, "x=openai,http://127.0.0.1:%d/nodone,m,FIXTURE_KEY", api.port);
    size_t n_failed = 0;
    for (size_t after = 0;; after++) {
        struct got got = {0};
        const struct provider_options o = quick(&got);
        struct provider *p;
        struct octet_err err;
        mem_fail_after(after);
        enum octet_status status = provider_open(spec, &o, &p, &err);
        if (status == OCTET_OK) status = provider_ask(p, &hello, 1, take, &got, &err);
        mem_fail_after(SIZE_MAX);
        provider_close(p);
        if (status == OCTET_OK) assert_text(&got.replies[0], "fine");
        forget(&got);
        if (status == OCTET_OK) break;
        assert_int_equal(status, OCTET_EMEM);
        n_failed++;
    }
    assert_in_range(n_failed, 15, 60);
}

/* ---- Many at once ---------------------------------------------------------------------------- */

static void test_parallel_answers_reach_their_asks(void **state) {
    (void)state;
    enum { N = 24 };
    struct ask asks[N];
    char prompts[N][32];
    fill(asks, prompts, N);
    struct got got = {0};
    struct provider_options o = quick(&got);
    o.n_parallel = 8;
    struct octet_err err;
    const double start = probe_seconds();
    assert_int_equal(put("openai", "echo", asks, N, o, &got, &err), OCTET_OK);
    assert_true(probe_seconds() - start < N * 0.1); // one by one they take longer
    assert_int_equal(got.n, N);
    for (size_t i = 0; i < N; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "answer %zu", i);
        assert_text(&got.replies[i], expected);
    }
    forget(&got);
}

static void test_rate_limit_spaces_requests(void **state) {
    (void)state;
    struct ask asks[5];
    char prompts[5][32];
    fill(asks, prompts, 5);
    struct got got = {0};
    struct provider_options o = quick(&got);
    o.requests_per_minute = 300;
    struct octet_err err;
    forget_requests();
    assert_int_equal(put("openai", "echo", asks, 5, o, &got, &err), OCTET_OK);
    json_t *const list = requests_to("echo");
    const double first = json_number_value(request_at(list, 0, "time"));
    const double last = json_number_value(request_at(list, 4, "time"));
    assert_true(last - first > 0.75);
    json_decref(list);
    forget(&got);
}

static void test_stopping_and_cancelling(void **state) {
    (void)state;
    struct ask asks[20];
    char prompts[20][32];
    fill(asks, prompts, 20);
    struct got got = {.stop_after = 3};
    struct octet_err err;
    assert_int_equal(put("openai", "echo", asks, 20, quick(&got), &got, &err), OCTET_ECANCELLED);
    assert_int_equal(got.n, 3);
    forget(&got);
    volatile bool cancel = true;
    struct provider_options o = quick(&got);
    o.cancel = &cancel;
    assert_int_equal(put("openai", "hang", asks, 20, o, &got, &err), OCTET_ECANCELLED);
    assert_int_equal(got.n, 0);
    forget(&got);
}

/* ---- Money ----------------------------------------------------------------------------------- */

/* A token sent costs 1, one received 10. */
static double cost(void *user, const struct usage *usage) {
    (void)user;
    return (double)usage->prompt + 10 * (double)usage->completion;
}

static double no_price(void *user, const struct usage *usage) {
    (void)user, (void)usage;
    return NAN;
}

static void test_spending_limit_is_kept(void **state) {
    (void)state;
    struct ask asks[20];
    char prompts[20][32];
    fill(asks, prompts, 20);
    struct got got = {0};
    struct provider_options o = quick(&got);
    o.n_parallel = 8;
    o.cost = cost;
    o.max_cost = 1000; // one answer costs 81, at worst 640 and the prompt
    struct octet_err err;
    forget_requests();
    assert_int_equal(put("openai", "ok", asks, 20, o, &got, &err), OCTET_ECANCELLED);
    assert_non_null(strstr(err.message, "spending limit"));
    assert_int_equal(got.n, 5); // 5 * 81 + 660 > 1000
    json_t *const list = requests_to("ok");
    assert_int_equal(json_array_size(list), 5);
    json_decref(list);
    forget(&got);

    o.cost = no_price;
    assert_int_equal(put("openai", "ok", asks, 20, o, &got, &err), OCTET_EARG);
    assert_non_null(strstr(err.message, "no price"));
    assert_int_equal(got.n, 0);
}

static void test_broken_attempts_count_as_spent(void **state) {
    (void)state;
    struct got got = {0};
    struct provider_options o = quick(&got);
    o.cost = cost;
    o.max_cost = 1e6;
    char spec[128];
    snprintf(spec, sizeof spec, "x=openai,http://127.0.0.1:%d/cut,m", api.port);
    struct provider *p;
    struct octet_err err;
    assert_int_equal(provider_open(spec, &o, &p, &err), OCTET_OK);
    assert_int_equal(provider_ask(p, &hello, 1, take, &got, &err), OCTET_OK);
    assert_true(got.replies[0].lost.completion >= 4);
    assert_true(fabs(provider_spent(p) - cost(NULL, &got.replies[0].lost)) < 1e-9);
    provider_close(p);
    forget(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_are_the_same_however_the_stream_is_cut),
        cmocka_unit_test(test_json_with_bad_characters_is_mended),
        cmocka_unit_test(test_openai_stream_is_read),
        cmocka_unit_test(test_anthropic_stream_is_read),
        cmocka_unit_test(test_models_that_think_are_asked_their_way),
        cmocka_unit_test(test_azure_address_and_key_header),
        cmocka_unit_test(test_mistral_sends_only_its_own_fields),
        cmocka_unit_test(test_holes_are_filled_where_the_api_can),
        cmocka_unit_test(test_odd_but_whole_answers_are_read),
        cmocka_unit_test(test_retry_after_is_obeyed),
        cmocka_unit_test(test_retry_after_formats),
        cmocka_unit_test(test_what_may_pass_is_tried_again),
        cmocka_unit_test(test_what_will_not_pass_is_an_error),
        cmocka_unit_test(test_silence_and_pings_end_in_time),
        cmocka_unit_test(test_endless_text_is_cut),
        cmocka_unit_test(test_hopeless_answers_end_the_run),
        cmocka_unit_test(test_running_out_of_memory_is_told),
        cmocka_unit_test(test_parallel_answers_reach_their_asks),
        cmocka_unit_test(test_rate_limit_spaces_requests),
        cmocka_unit_test(test_stopping_and_cancelling),
        cmocka_unit_test(test_spending_limit_is_kept),
        cmocka_unit_test(test_broken_attempts_count_as_spent),
    };
    return cmocka_run_group_tests(tests, start_api, stop_api);
}
