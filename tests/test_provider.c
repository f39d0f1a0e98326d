/* Specs, keys and presets, records against what was recorded, and the engine in process against
 * itself. */
#include <math.h>
#include <sys/stat.h>

#include "api_server.h"

/* ---- Keys ------------------------------------------------------------------------------------ */

static void test_key_is_hidden_in_answers(void **state) {
    (void)state;
    struct got got;
    const struct reply *const r = put_one("openai", "key", &got);
    assert_null(strstr(r->text, SECRET));
    assert_non_null(strstr(r->text, "Bearer ***"));
    forget(&got);
    const struct reply *const cut = put_one("openai", "longkey", &got);
    assert_error(cut, "HTTP 400: xxx");
    assert_null(strstr(cut->error, "sk-f"));
    forget(&got);
}

static void write_text(const char *path, const char *text, mode_t mode) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    fchmod(file, mode);
    close(file);
}

static void test_key_file_must_be_private(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    char folder[128];
    snprintf(folder, sizeof folder, "%s/octet", f.path);
    assert_int_equal(mkdir(folder, 0700), 0);
    const char *const path = folder_file(&f, "octet/keys");
    setenv("XDG_CONFIG_HOME", f.path, 1);
    unsetenv("FILE_KEY");
    char *key;
    struct octet_err err;
    assert_int_equal(provider_find_key("FILE_KEY", &key, &err), OCTET_EARG);
    assert_non_null(strstr(err.message, "no key: set FILE_KEY"));

    static const char text[] =
        "# mine\nOTHER=1\nFILE_KEYS=no\n FILE_KEY = " SECRET " \r\nBAD=a b\n";
    write_text(path, text, 0644);
    assert_int_equal(provider_find_key("FILE_KEY", &key, &err), OCTET_EARG);
    assert_non_null(strstr(err.message, "mode is 644"));
    assert_null(strstr(err.message, "fixture"));
    write_text(path, text, 0600);
    assert_int_equal(provider_find_key("FILE_KEY", &key, &err), OCTET_OK);
    assert_string_equal(key, SECRET);
    provider_wipe(key);
    setenv("FILE_KEY", "from-environment", 1); // comes first
    assert_int_equal(provider_find_key("FILE_KEY", &key, &err), OCTET_OK);
    assert_string_equal(key, "from-environment");
    provider_wipe(key);
    assert_int_equal(provider_find_key("BAD", &key, &err), OCTET_EARG);
    unsetenv("FILE_KEY");
    unlink(path);
    rmdir(folder);
    unsetenv("XDG_CONFIG_HOME");
    assert_true(folder_close(&f));
}

/* ---- Specs ----------------------------------------------------------------------------------- */

static void assert_refused(const char *spec, const char *part) {
    struct provider *p;
    struct octet_err err;
    assert_int_equal(provider_open(spec, NULL, &p, &err), OCTET_EARG);
    assert_null(p);
    if (!strstr(err.message, part)) fail_msg("'%s' is not in '%s'", part, err.message);
}

static void test_specs_that_are_refused(void **state) {
    (void)state;
    assert_refused("gtp-4", "near it: gpt-4");
    assert_refused("mistral-meduim", "mistral-medium");
    assert_refused("frobnicate", "no model 'frobnicate'");
    assert_refused("", "no model");
    assert_refused("x=opnai,https://h/v1,m", "unknown kind 'opnai'");
    assert_refused("x=openai,https://h/v1", "expected NAME=KIND,URL,MODEL");
    assert_refused("x=openai,https://h/v1,", "expected NAME=KIND,URL,MODEL");
    assert_refused("x=openai,https://h/v1,m,A,B", "expected NAME=KIND,URL,MODEL");
    assert_refused("x=openai,ftp://h/v1,m", "https:// or http://");
    assert_refused("x=openai,https://u:p@h/v1,m", "user name");
    assert_refused("x=openai,http://example.com/v1,m,FIXTURE_KEY", "https only");
    assert_refused("x=openai,http://127.example.com/v1,m,FIXTURE_KEY", "https only");
    assert_refused("x=local,", "NAME=local,FILE");
    assert_refused("x=openai,https://h/v1,m\n", "control");

    struct provider *p;
    struct octet_err err;
    assert_int_equal(provider_open("x=openai,https://h/v1,m," SECRET, NULL, &p, &err), OCTET_EARG);
    assert_non_null(strstr(err.message, "never the key itself"));
    assert_null(strstr(err.message, "fixture"));
    unsetenv("NO_SUCH_KEY");
    assert_refused("x=openai,https://h/v1,m,NO_SUCH_KEY", "no key: set NO_SUCH_KEY");
}

static void test_specs_that_are_understood(void **state) {
    (void)state;
    static const struct {
        const char *spec, *name, *kind, *model, *host;
    } cases[] = {
        {"ollama:phi:2.7b", "ollama:phi:2.7b", "openai", "phi:2.7b", "127.0.0.1:11434"},
        {"mine=openai,http://10.0.0.5:8000/v1,a/b", "mine", "openai", "a/b", "10.0.0.5:8000"},
        {"c=anthropic,https://api.anthropic.com,some", "c", "anthropic", "some",
         "api.anthropic.com"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct provider *p;
        struct octet_err err;
        assert_int_equal(provider_open(cases[i].spec, NULL, &p, &err), OCTET_OK);
        assert_string_equal(provider_name(p), cases[i].name);
        assert_string_equal(provider_kind(p), cases[i].kind);
        assert_string_equal(provider_model(p), cases[i].model);
        assert_string_equal(provider_host(p), cases[i].host);
        provider_close(p);
    }
}

static void test_presets_are_complete(void **state) {
    (void)state;
    setenv("OPENAI_API_KEY", "fixture-openai", 1);
    setenv("MISTRAL_API_KEY", "fixture-mistral", 1);
    const struct preset *preset;
    for (size_t i = 0; (preset = provider_preset(i)) != NULL; i++) {
        struct got got = {0};
        struct provider_options o = quick(&got);
        struct provider *p;
        struct octet_err err;
        assert_int_equal(provider_open(preset->name, &o, &p, &err), OCTET_OK);
        assert_string_equal(provider_model(p), preset->model);
        assert_int_equal(strstr(got.notes, "shut") != NULL, preset->retired != NULL);
        provider_close(p);
    }
    unsetenv("OPENAI_API_KEY");
    unsetenv("MISTRAL_API_KEY");
}

/* ---- Records --------------------------------------------------------------------------------- */

static void assert_same(const struct reply *a, const struct reply *b) {
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->n_bytes, b->n_bytes);
    assert_int_equal(a->finish_reason != NULL, b->finish_reason != NULL);
    if (a->finish_reason) assert_string_equal(a->finish_reason, b->finish_reason);
    assert_string_equal(a->model, b->model);
    assert_string_equal(a->date, b->date);
    assert_memory_equal(&a->usage, &b->usage, offsetof(struct usage, estimated));
    assert_memory_equal(&a->lost, &b->lost, offsetof(struct usage, estimated));
    assert_int_equal(a->usage.estimated, b->usage.estimated);
    assert_true(a->ttft_s == b->ttft_s || (isnan(a->ttft_s) && isnan(b->ttft_s)));
    assert_true(a->total_s == b->total_s || (isnan(a->total_s) && isnan(b->total_s)));
    assert_int_equal(a->n_gaps, b->n_gaps);
    if (a->n_gaps) assert_memory_equal(a->token_gaps_s, b->token_gaps_s, a->n_gaps * sizeof(float));
    assert_int_equal(a->n_retries, b->n_retries);
    assert_int_equal(a->error != NULL, b->error != NULL);
    if (a->error) assert_string_equal(a->error, b->error);
}

static void test_replay_gives_the_same_replies(void **state) {
    (void)state;
    static const char *const behaviours[] = {"ok",       "slow",    "broken",
                                             "document", "unicode", "empty"};
    struct folder f;
    folder_open(&f);
    const char *const path = folder_file(&f, "answers.jsonl");
    for (size_t i = 0; i < sizeof behaviours / sizeof behaviours[0]; i++) {
        struct got live = {0}, again = {0};
        struct provider_options o = quick(&live);
        o.record_dir = f.path;
        struct octet_err err;
        struct ask ask = hello;
        ask.label = behaviours[i];
        assert_int_equal(put("openai", behaviours[i], &ask, 1, o, &live, &err), OCTET_OK);
        o = quick(&again);
        o.replay_dir = f.path;
        forget_requests();
        assert_int_equal(put("openai", behaviours[i], &ask, 1, o, &again, &err), OCTET_OK);
        json_t *const list = requests_to("");
        assert_int_equal(json_array_size(list), 0);
        json_decref(list);
        assert_int_equal(again.n, 1);
        assert_same(&live.replies[0], &again.replies[0]);
        assert_string_equal(again.notes, "");
        forget(&live);
        forget(&again);
    }
    char *const text = read_file(path);
    assert_null(strstr(text, SECRET));
    assert_null(strstr(text, "Hello?")); // prompts are kept as hashes
    mem_free(text);
    assert_true(folder_close(&f));
}

static void test_replay_needs_no_key_and_tells_what_is_missing(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *const path = folder_file(&f, "answers.jsonl");
    struct got got = {0};
    struct provider_options o = quick(&got);
    o.replay_dir = f.path;
    struct provider *p;
    struct octet_err err;
    assert_int_not_equal(provider_open("mistral-medium", &o, &p, &err), OCTET_OK);
    write_text(path, "\n", 0644);
    assert_int_equal(provider_open("mistral-medium", &o, &p, &err), OCTET_OK);
    assert_non_null(strstr(got.notes, "holds no answer"));
    assert_int_equal(provider_ask(p, &hello, 1, take, &got, &err), OCTET_OK);
    assert_error(&got.replies[0], "not in the record");
    provider_close(p);
    forget(&got);
    assert_true(folder_close(&f));
}

static void append_text(const char *path, const char *text) {
    const int file = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
}

/* The format must not change under records that were paid for. */
static void test_old_records_stay_readable(void **state) {
    (void)state;
    struct got got = {0};
    struct provider_options o = quick(&got);
    o.replay_dir = "tests/data/compare/provider";
    struct octet_err err;
    assert_int_equal(put("openai", "ok", &hello, 1, o, &got, &err), OCTET_OK);
    const struct reply *const r = &got.replies[0];
    assert_text(r, "Hello, wörld.");
    assert_string_equal(r->finish_reason, "stop");
    assert_string_equal(r->model, "fixture-1");
    assert_string_equal(r->date, "2023-12-13T08:15:00Z");
    assert_int_equal(r->usage.prompt, 11);
    assert_int_equal(r->usage.reasoning, -1);
    assert_true(r->ttft_s == 0.25 && r->total_s == 1.5);
    assert_int_equal(r->n_gaps, 3);
    assert_true(r->token_gaps_s[1] == 0.5f);
    assert_int_equal(r->n_retries, 2);
    assert_string_equal(got.notes, "");
    forget(&got);
}

static void test_running_out_of_memory_is_told(void **state) {
    (void)state;
    size_t n_failed = 0;
    for (size_t after = 0;; after++) {
        struct got got = {0};
        struct provider_options o = quick(&got);
        o.replay_dir = "tests/data/compare/provider";
        struct provider *p;
        struct octet_err err;
        mem_fail_after(after);
        enum octet_status status =
            provider_open("fixture=openai,http://127.0.0.1/,some-model", &o, &p, &err);
        if (status == OCTET_OK) status = provider_ask(p, &hello, 1, take, &got, &err);
        mem_fail_after(SIZE_MAX);
        provider_close(p);
        if (status == OCTET_OK) assert_text(&got.replies[0], "Hello, wörld.");
        forget(&got);
        if (status == OCTET_OK) break;
        assert_int_equal(status, OCTET_EMEM);
        n_failed++;
    }
    assert_in_range(n_failed, 10, 40);
}

static void test_damaged_records_are_survived(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *const path = folder_file(&f, "answers.jsonl");
    struct got got = {0};
    struct provider_options o = quick(&got), back = quick(&got);
    o.record_dir = f.path;
    back.replay_dir = f.path;
    struct octet_err err;
    assert_int_equal(put("openai", "ok", &hello, 1, o, &got, &err), OCTET_OK);
    forget(&got);
    append_text(path, "{\"version\":1,\"provider\":\"fix"); // as if the disk had been full
    assert_int_equal(put("openai", "ok", &hello, 1, back, &got, &err), OCTET_OK);
    assert_non_null(strstr(got.notes, "line 2 is damaged (cut short)"));
    assert_text(&got.replies[0], "Hello, wörld.");
    forget(&got);

    struct ask other = hello;
    other.seed = 43;
    assert_int_equal(put("openai", "ok", &other, 1, o, &got, &err), OCTET_OK);
    assert_non_null(strstr(got.notes, "the last line is damaged"));
    forget(&got);
    assert_int_equal(put("openai", "ok", &other, 1, back, &got, &err), OCTET_OK);
    assert_text(&got.replies[0], "Hello, wörld.");
    forget(&got);
    assert_true(folder_close(&f));
}

static void test_a_later_answer_replaces_a_failure(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    folder_file(&f, "answers.jsonl");
    struct got got = {0};
    struct provider_options o = quick(&got), back = quick(&got);
    o.record_dir = f.path;
    back.replay_dir = f.path;
    struct octet_err err;
    static const char *const order[] = {"empty", "ok", "empty"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(put("openai", order[i], &hello, 1, o, &got, &err), OCTET_OK);
        forget(&got);
    }
    assert_int_equal(put("openai", "ok", &hello, 1, back, &got, &err), OCTET_OK);
    assert_text(&got.replies[0], "Hello, wörld.");
    forget(&got);
    assert_true(folder_close(&f));
}

/* ---- The local engine ------------------------------------------------------------------------ */

static void make_model(const char *path) {
    struct octet_synth_options options = {.arch = "phi-2-tiny", .type = "q4_k_m", .seed = 3};
    struct octet_err err;
    if (octet_synth(&options, path, &err) != OCTET_OK) fail_msg("%s", err.message);
}

static void ask_local(const char *spec, int32_t n_parallel, const struct ask *asks, size_t n,
                      struct got *got) {
    *got = (struct got){0};
    struct provider_options o = quick(got);
    o.n_parallel = n_parallel;
    o.n_threads = 2;
    struct provider *p;
    struct octet_err err;
    if (provider_open(spec, &o, &p, &err) != OCTET_OK) fail_msg("%s", err.message);
    assert_string_equal(provider_host(p), "local");
    assert_true(provider_skills(p) & PROVIDER_CONTINUES);
    if (provider_ask(p, asks, n, take, got, &err) != OCTET_OK) fail_msg("%s", err.message);
    provider_close(p);
}

static void test_local_batches_change_no_answer(void **state) {
    (void)state;
    enum { N = 11 };
    struct folder f;
    folder_open(&f);
    const char *const path = folder_file(&f, "tiny.gguf");
    make_model(path);
    struct ask asks[N];
    char prompts[N][32];
    fill(asks, prompts, N);
    for (size_t i = 0; i < N; i++) {
        asks[i].chat = false;
        asks[i].max_tokens = 4 + 5 * (int32_t)(i % 4);
        asks[i].temperature = i % 2 ? 0.9f : 0;
        asks[i].seed = i;
    }
    struct got alone, together;
    ask_local(path, 1, asks, N, &alone);
    ask_local(path, 4, asks, N, &together);
    assert_int_equal(together.n, N);
    for (size_t i = 0; i < N; i++) {
        const struct reply *const a = &alone.replies[i], *const b = &together.replies[i];
        assert_text(a, b->text);
        assert_string_equal(a->finish_reason, b->finish_reason);
        assert_int_equal(a->usage.completion, b->usage.completion);
        assert_true(b->usage.completion <= asks[i].max_tokens && b->usage.prompt > 0);
        assert_false(b->usage.estimated);
        assert_true(b->ttft_s > 0 && b->total_s >= b->ttft_s);
        assert_int_equal((int64_t)b->n_gaps + 1, b->usage.completion);
    }
    forget(&alone);
    forget(&together);
    assert_true(folder_close(&f));
}

static void test_local_stops_and_errors_are_per_ask(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *const path = folder_file(&f, "tiny.gguf");
    make_model(path);
    struct ask asks[4] = {hello, hello, hello, hello};
    for (size_t i = 0; i < 4; i++) {
        asks[i].tag = i;
        asks[i].chat = false;
        asks[i].temperature = 0;
        asks[i].max_tokens = 24;
    }
    char *const prompt = mem_alloc(200001);
    memset(prompt, 'x', 200000);
    asks[1].prompt = prompt; // beyond any context
    asks[2].suffix = "end";
    struct got got, stopped;
    ask_local(path, 3, asks, 4, &got);
    assert_null(got.replies[0].error);
    assert_error(&got.replies[1], "the prompt has");
    assert_error(&got.replies[2], "not supported");
    assert_text(&got.replies[3], got.replies[0].text);

    // A stop string from the middle of what it says: the answer ends before it.
    const char *const text = got.replies[0].text;
    size_t at = strlen(text) / 2;
    while ((text[at] & 0xc0) == 0x80) at++;
    char stop[5] = "";
    for (size_t i = 0; i < 4 && (i == 0 || (text[at + i] & 0xc0) == 0x80); i++)
        stop[i] = text[at + i];
    const char *const stops[] = {stop, NULL};
    asks[0].stops = stops;
    ask_local(path, 1, asks, 1, &stopped);
    assert_string_equal(stopped.replies[0].finish_reason, "stop");
    assert_int_equal(stopped.replies[0].n_bytes, (size_t)(strstr(text, stop) - text));
    assert_memory_equal(stopped.replies[0].text, text, stopped.replies[0].n_bytes);
    forget(&got);
    forget(&stopped);
    mem_free(prompt);
    assert_true(folder_close(&f));
}

static void test_local_answers_replay_without_the_model(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *const path = folder_file(&f, "tiny.gguf");
    folder_file(&f, "answers.jsonl");
    make_model(path);
    char spec[128];
    snprintf(spec, sizeof spec, "tiny=local,%s", path);
    struct ask ask = hello;
    ask.chat = false;
    ask.max_tokens = 8;
    struct got live = {0}, again = {0};
    struct provider_options o = quick(&live);
    o.record_dir = f.path;
    struct provider *p;
    struct octet_err err;
    assert_int_equal(provider_open(spec, &o, &p, &err), OCTET_OK);
    const unsigned skills = provider_skills(p);
    assert_int_equal(provider_ask(p, &ask, 1, take, &live, &err), OCTET_OK);
    provider_close(p);
    unlink(path);
    o = quick(&again);
    o.replay_dir = f.path;
    assert_int_equal(provider_open(spec, &o, &p, &err), OCTET_OK);
    assert_string_equal(provider_kind(p), "local");
    assert_string_equal(provider_model(p), "tiny.gguf");
    assert_int_equal(provider_skills(p), skills);
    assert_int_equal(provider_ask(p, &ask, 1, take, &again, &err), OCTET_OK);
    provider_close(p);
    assert_same(&live.replies[0], &again.replies[0]);
    forget(&live);
    forget(&again);
    assert_true(folder_close(&f));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_is_hidden_in_answers),
        cmocka_unit_test(test_key_file_must_be_private),
        cmocka_unit_test(test_specs_that_are_refused),
        cmocka_unit_test(test_specs_that_are_understood),
        cmocka_unit_test(test_presets_are_complete),
        cmocka_unit_test(test_replay_gives_the_same_replies),
        cmocka_unit_test(test_replay_needs_no_key_and_tells_what_is_missing),
        cmocka_unit_test(test_old_records_stay_readable),
        cmocka_unit_test(test_running_out_of_memory_is_told),
        cmocka_unit_test(test_damaged_records_are_survived),
        cmocka_unit_test(test_a_later_answer_replaces_a_failure),
        cmocka_unit_test(test_local_batches_change_no_answer),
        cmocka_unit_test(test_local_stops_and_errors_are_per_ask),
        cmocka_unit_test(test_local_answers_replay_without_the_model),
    };
    return cmocka_run_group_tests(tests, start_api, stop_api);
}
