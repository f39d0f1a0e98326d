/* Sessions on tiny synthetic models: reuse of prefixes, context limits, sliding windows,
 * cancelling, damaged weights, running out of memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/step.h"
#include "octet.h"

enum { N_TOKENS = 90 };

static char dir[] = "/tmp/octet-session-XXXXXX";
static char mistral_path[64], mixtral_path[64];
static struct octet_model *mistral, *mixtral;
static int32_t tokens[N_TOKENS];

static void synth(const char *arch, const char *type, const char *path) {
    struct octet_synth_options options = {.arch = arch, .type = type, .n_layers = 1, .seed = 7};
    struct octet_err err;
    if (octet_synth(&options, path, &err) != OCTET_OK) fail_msg("%s", err.message);
}

static struct octet_model *open_model(const char *path, int32_t n_threads) {
    struct octet_model_options options = {n_threads, false};
    struct octet_model *model;
    struct octet_err err;
    if (octet_model_open(path, &options, &model, &err) != OCTET_OK) fail_msg("%s", err.message);
    return model;
}

static int set_up(void **state) {
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(mistral_path, sizeof mistral_path, "%s/mistral.gguf", dir);
    snprintf(mixtral_path, sizeof mixtral_path, "%s/mixtral.gguf", dir);
    synth("mistral-7b-tiny", "q4_k_m", mistral_path);
    synth("mixtral-8x7b-tiny", "q8_0", mixtral_path);
    mistral = open_model(mistral_path, 2);
    mixtral = open_model(mixtral_path, 2);
    uint32_t x = 1;
    for (size_t i = 0; i < N_TOKENS; i++) {
        x = x * 1664525 + 1013904223;
        tokens[i] = (int32_t)((x >> 16) % octet_n_tokens(mistral));
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    octet_model_close(mistral);
    octet_model_close(mixtral);
    unlink(mistral_path);
    unlink(mixtral_path);
    return rmdir(dir);
}

static struct octet_session *open_session(struct octet_model *model, int32_t n_ctx, int32_t chunk) {
    struct octet_session_options options = {n_ctx, chunk, OCTET_KV_F16, NULL, NULL, NULL};
    struct octet_session *session;
    struct octet_err err;
    if (octet_session_open(model, &options, &session, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return session;
}

static uint64_t logits_hash(const struct octet_session *s, const struct octet_model *model) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    assert_non_null(octet_session_logits(s));
    return octet_logits_hash(OCTET_HASH_INIT, octet_session_logits(s), (size_t)info.n_vocab);
}

static uint64_t sync_hash(struct octet_session *s, const struct octet_model *model,
                          const int32_t *ids, size_t n) {
    struct octet_err err;
    if (octet_session_sync(s, ids, n, &err) != OCTET_OK) fail_msg("%s", err.message);
    assert_int_equal(octet_session_length(s), n);
    return logits_hash(s, model);
}

static void test_prefix_reuse_gives_the_same_bits(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(mixtral, 128, 0);
    struct octet_session *reused = open_session(mixtral, 128, 0);
    int32_t other[N_TOKENS];
    memcpy(other, tokens, sizeof other);
    other[40] = (tokens[40] + 1) % 100;
    uint64_t expected = sync_hash(fresh, mixtral, tokens, N_TOKENS);
    sync_hash(reused, mixtral, other, N_TOKENS);
    assert_true(sync_hash(reused, mixtral, tokens, N_TOKENS) ==
                expected);                  // back to the other branch
    sync_hash(reused, mixtral, tokens, 10); // shorter
    assert_true(sync_hash(reused, mixtral, tokens, N_TOKENS) == expected);
    assert_true(sync_hash(reused, mixtral, tokens, N_TOKENS) == expected); // nothing to do
    octet_session_clear(reused);
    assert_null(octet_session_logits(reused));
    assert_true(sync_hash(reused, mixtral, tokens, N_TOKENS) == expected);
    octet_session_close(fresh);
    octet_session_close(reused);
}

static void test_prompt_longer_than_the_context_changes_nothing(void **state) {
    (void)state;
    struct octet_session *s = open_session(mistral, 32, 0);
    uint64_t before = sync_hash(s, mistral, tokens, 8);
    struct octet_err err;
    assert_int_equal(octet_session_sync(s, tokens, 33, &err), OCTET_ECONTEXT);
    assert_non_null(strstr(err.message, "33 tokens"));
    assert_int_equal(octet_session_length(s), 8);
    assert_true(logits_hash(s, mistral) == before);
    octet_session_close(s);
}

static void test_wrong_arguments_are_refused(void **state) {
    (void)state;
    struct octet_session *s = open_session(mistral, 32, 0), *t;
    int32_t bad[] = {1, -1}, beyond[] = {1 << 30};
    struct octet_err err;
    assert_int_equal(octet_session_sync(s, tokens, 0, &err), OCTET_EARG);
    assert_int_equal(octet_session_sync(s, bad, 2, &err), OCTET_EARG);
    assert_int_equal(octet_session_sync(s, beyond, 1, &err), OCTET_EARG);
    struct octet_session *twice[] = {s, s};
    struct octet_span spans[] = {{tokens, 3, 1}, {tokens, 4, 1}};
    assert_int_equal(octet_sessions_sync(twice, spans, 2, &err), OCTET_EARG);
    t = open_session(mixtral, 32, 0);
    struct octet_session *mixed[] = {s, t};
    assert_int_equal(octet_sessions_sync(mixed, spans, 2, &err), OCTET_EARG);
    octet_session_close(t);
    struct octet_session_options options = {1 << 30, 0, OCTET_KV_F16, NULL, NULL, NULL};
    assert_int_equal(octet_session_open(mistral, &options, &t, &err), OCTET_EARG);
    options = (struct octet_session_options){0, -5, OCTET_KV_F16, NULL, NULL, NULL};
    assert_int_equal(octet_session_open(mistral, &options, &t, &err), OCTET_EARG);
    octet_session_close(s);
}

struct scored {
    uint64_t hash;
    size_t n, n_vocab;
};

static void hash_logits(void *user, size_t position, const float *logits) {
    struct scored *scored = user;
    assert_int_equal(position, scored->n++);
    scored->hash = octet_logits_hash(scored->hash, logits, scored->n_vocab);
}

static uint64_t score_hash(struct octet_session *s, const struct octet_model *model) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    struct scored scored = {OCTET_HASH_INIT, 0, (size_t)info.n_vocab};
    struct octet_err err;
    if (octet_session_score(s, tokens, N_TOKENS, hash_logits, &scored, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    assert_int_equal(scored.n, N_TOKENS);
    return scored.hash;
}

static void test_scores_agree_for_all_chunks_and_with_sync(void **state) {
    (void)state;
    struct octet_session *whole = open_session(mistral, 0, 0);
    uint64_t expected = score_hash(whole, mistral);
    uint64_t last = logits_hash(whole, mistral);
    for (int32_t chunk = 1; chunk <= 70; chunk += 23) {
        struct octet_session *s = open_session(mistral, 0, chunk);
        assert_true(score_hash(s, mistral) == expected);
        assert_true(sync_hash(s, mistral, tokens, N_TOKENS) == last);
        octet_session_close(s);
    }
    octet_session_close(whole);
}

struct told_states {
    uint64_t hash;
    size_t n, first, d;
};

static void hash_state(void *user, size_t position, const float *state) {
    struct told_states *t = user;
    if (t->n++ == 0) t->first = position;
    assert_int_equal(position, t->first + t->n - 1);
    t->hash = octet_logits_hash(t->hash, state, t->d);
}

static struct told_states states_of(struct octet_session *s, const struct octet_model *model,
                                    const int32_t *ids, size_t n) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    struct told_states t = {OCTET_HASH_INIT, 0, 0, (size_t)info.d_model};
    struct octet_err err;
    if (octet_session_states(s, ids, n, hash_state, &t, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    assert_int_equal(octet_session_length(s), n);
    return t;
}

static void test_states_are_told_of_what_the_session_does_not_hold(void **state) {
    (void)state;
    struct octet_session *s = open_session(mixtral, 128, 0);
    const struct told_states whole = states_of(s, mixtral, tokens, N_TOKENS);
    assert_int_equal(whole.n, N_TOKENS);
    assert_int_equal(states_of(s, mixtral, tokens, N_TOKENS).n, 0);
    assert_int_equal(states_of(s, mixtral, tokens, 30).n, 0);
    const struct told_states rest = states_of(s, mixtral, tokens, N_TOKENS);
    assert_int_equal(rest.first, 30);
    assert_int_equal(rest.n, N_TOKENS - 30);
    octet_session_clear(s);
    assert_true(states_of(s, mixtral, tokens, N_TOKENS).hash == whole.hash);
    struct octet_session *fresh = open_session(mixtral, 128, 0); // the states leave no logits
    assert_null(octet_session_logits(s));
    assert_true(sync_hash(s, mixtral, tokens, N_TOKENS) ==
                sync_hash(fresh, mixtral, tokens, N_TOKENS));
    octet_session_close(s);
    octet_session_close(fresh);
}

static void test_states_of_wrong_tokens_are_refused(void **state) {
    (void)state;
    struct octet_session *s = open_session(mistral, 32, 0);
    struct octet_err err;
    const int32_t bad[] = {1, -1};
    assert_int_equal(octet_session_states(s, tokens, 33, hash_state, NULL, &err), OCTET_ECONTEXT);
    assert_int_equal(octet_session_states(s, tokens, 0, hash_state, NULL, &err), OCTET_EARG);
    assert_int_equal(octet_session_states(s, bad, 2, hash_state, NULL, &err), OCTET_EARG);
    octet_session_close(s);
}

static bool stop_at_once(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return --*(int *)user > 0;
}

static void test_cancelled_prefill_can_be_taken_up_again(void **state) {
    (void)state;
    int countdown = 3;
    struct octet_session_options options = {0, 16, OCTET_KV_F16, stop_at_once, &countdown,
                                            NULL};
    struct octet_session *s, *fresh = open_session(mistral, 0, 0);
    struct octet_err err;
    assert_int_equal(octet_session_open(mistral, &options, &s, &err), OCTET_OK);
    assert_int_equal(octet_session_sync(s, tokens, N_TOKENS, &err), OCTET_ECANCELLED);
    assert_true(octet_session_length(s) < N_TOKENS);
    assert_null(octet_session_logits(s));
    countdown = 3;
    struct told_states t = {.d = 1};
    octet_session_clear(s);
    assert_int_equal(octet_session_states(s, tokens, N_TOKENS, hash_state, &t, &err),
                     OCTET_ECANCELLED);
    assert_int_equal(octet_session_length(s), t.n);
    countdown = 1000;
    assert_true(sync_hash(s, mistral, tokens, N_TOKENS) ==
                sync_hash(fresh, mistral, tokens, N_TOKENS));
    octet_session_close(s);
    octet_session_close(fresh);
}

static void test_several_sessions_in_one_step_equal_each_alone(void **state) {
    (void)state;
    struct octet_session *together[3], *alone = open_session(mixtral, 0, 0);
    struct octet_span spans[3] = {{tokens, 61, 1}, {tokens + 5, 1, 1}, {tokens + 9, 33, 1}};
    for (size_t i = 0; i < 3; i++) together[i] = open_session(mixtral, 0, 20);
    struct octet_err err;
    assert_int_equal(octet_sessions_sync(together, spans, 3, &err), OCTET_OK);
    for (size_t i = 0; i < 3; i++) {
        uint64_t expected = sync_hash(alone, mixtral, spans[i].tokens, spans[i].n);
        assert_true(logits_hash(together[i], mixtral) == expected);
        octet_session_close(together[i]);
    }
    octet_session_close(alone);
}

static void test_allocation_failures_are_clean(void **state) {
    (void)state;
    for (size_t after = 0;; after++) {
        struct octet_model *model = NULL;
        struct octet_session *s = NULL;
        struct octet_model_options one = {1, false};
        struct octet_err err;
        mem_fail_after(after);
        enum octet_status status = octet_model_open(mixtral_path, &one, &model, &err);
        if (status == OCTET_OK) status = octet_session_open(model, NULL, &s, &err);
        if (status == OCTET_OK) status = octet_session_sync(s, tokens, 5, &err);
        struct told_states t = {.d = 1};
        if (status == OCTET_OK)
            status = octet_session_states(s, tokens + 1, 80, hash_state, &t, &err);
        mem_fail_after(SIZE_MAX);
        octet_session_close(s);
        octet_model_close(model);
        if (status == OCTET_OK) return;
        assert_int_equal(status, OCTET_EMEM);
    }
}

static void test_infinite_weights_are_an_error_not_an_answer(void **state) {
    (void)state;
    char path[80];
    snprintf(path, sizeof path, "%s/damaged.gguf", dir);
    synth("mixtral-8x7b-tiny", "f16", path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    // The file ends with data of a weight matrix; any of its rows reaches some logit.
    fseek(f, -4096, SEEK_END);
    for (int i = 0; i < 2048; i++) fputs("\x01\x7c", f), fseek(f, 0, SEEK_CUR);
    fclose(f);
    struct octet_model *model = open_model(path, 1);
    struct octet_session *s = open_session(model, 0, 0);
    struct octet_err err;
    enum octet_status status = octet_session_sync(s, tokens, 40, &err);
    assert_int_equal(status, OCTET_ENUMERIC);
    assert_non_null(strstr(err.message, "--check"));
    octet_session_close(s);
    octet_model_close(model);
    unlink(path);
}

static void test_infinite_hidden_states_are_an_error_too(void **state) {
    (void)state;
    char path[80];
    snprintf(path, sizeof path, "%s/damaged.gguf", dir);
    synth("mixtral-8x7b-tiny", "f16", path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    fseek(f, ftell(f) / 2, SEEK_SET); // weights of the layer
    for (int i = 0; i < 200000; i++) fputs("\x01\x7c", f);
    fclose(f);
    struct octet_model *model = open_model(path, 1);
    struct octet_session *s = open_session(model, 0, 0);
    struct told_states t = {.d = 1};
    struct octet_err err;
    assert_int_equal(octet_session_states(s, tokens, 40, hash_state, &t, &err), OCTET_ENUMERIC);
    assert_non_null(strstr(err.message, "hidden state"));
    octet_session_close(s);
    octet_model_close(model);
    unlink(path);
}

static void test_router_picks_the_largest_and_breaks_ties_by_index(void **state) {
    (void)state;
    float logits[] = {0.5f, 2.0f, -1.0f, 2.0f, 1.0f}, weights[3];
    uint32_t chosen[3];
    moe_pick(logits, 5, 3, chosen, weights);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 3);
    assert_int_equal(chosen[2], 4);
    assert_true(weights[0] == weights[1]);
    assert_true(fabsf(weights[2] - expf(-1) / (2 + expf(-1))) < 1e-6f);
    float equal[] = {NAN, NAN, 1.0f};
    moe_pick(equal, 3, 2, chosen, weights);
    assert_true(chosen[0] < 3 && chosen[1] < 3 && chosen[0] != chosen[1]);
}

static void test_ring_refuses_positions_it_has_overwritten(void **state) {
    (void)state;
    struct shape shape = {.n_layers = 1, .n_kv_heads = 1, .head_dim = 2, .window = 100};
    struct kv kv;
    assert_int_equal(kv_open(&kv, &shape, 10000, 50, false, NULL), OCTET_OK);
    assert_int_equal(kv.n_blocks, 4); // 100 + 50 + 64 positions
    for (size_t pos = 0; pos < 1000; pos += 50) assert_true(kv_prepare(&kv, pos, 50));
    assert_true(kv_can_resume(&kv, 1000));
    assert_true(kv_can_resume(&kv, 999));
    assert_true(kv_can_resume(&kv, 0));
    assert_false(kv_can_resume(&kv, 500));
    kv_clear(&kv);
    assert_true(kv_can_resume(&kv, 0));
    assert_false(kv_can_resume(&kv, 1000));
    kv_close(&kv);
    assert_int_equal(kv_open(&kv, &shape, 128, 50, false, NULL), OCTET_OK);
    assert_int_equal(kv.n_blocks, 2); // the whole context is smaller than a ring
    kv_close(&kv);
}

struct warming {
    uint64_t done, total;
    int calls, cancel_at; // 0: never
};

static bool on_warm(void *user, uint64_t done, uint64_t total) {
    struct warming *w = user;
    assert_true(done > w->done && done <= total);
    w->done = done;
    w->total = total;
    return ++w->calls != w->cancel_at;
}

static void test_warming_reads_the_whole_file(void **state) {
    (void)state;
    struct octet_err err;
    struct octet_model_info info;
    octet_model_get_info(mistral, &info);
    struct warming w = {0};
    assert_int_equal(octet_model_warm(mistral, on_warm, &w, &err), OCTET_OK);
    assert_int_equal(w.done, info.file_bytes);
    assert_int_equal(w.total, info.file_bytes);
    assert_int_equal(octet_model_warm(mistral, NULL, NULL, NULL), OCTET_OK);
    w = (struct warming){.cancel_at = 1};
    assert_int_equal(octet_model_warm(mistral, on_warm, &w, &err), OCTET_ECANCELLED);
    assert_int_equal(w.calls, 1);
}

static uint64_t tensor_bytes(const char *path, const char *name) {
    struct octet_err err;
    struct octet_file *file;
    struct octet_tensor_info info;
    uint64_t n_bytes = 0;
    assert_int_equal(octet_file_open(path, &file, &err), OCTET_OK);
    for (size_t i = 0; octet_file_tensor(file, i, &info) == OCTET_OK; i++)
        if (strcmp(info.name, name) == 0) n_bytes = info.bytes;
    octet_file_close(file);
    assert_true(n_bytes > 0);
    return n_bytes;
}

static void test_planned_memory_is_what_a_session_takes(void **state) {
    (void)state;
    struct octet_err err;
    struct octet_model_info info;
    octet_model_get_info(mistral, &info);
    uint64_t last = UINT64_MAX;
    for (int32_t chunk = 64; chunk >= 1; chunk /= 8) {
        struct octet_session_options options = {.n_ctx = 200, .prefill_chunk = chunk};
        struct octet_memory memory;
        assert_int_equal(octet_memory_plan(mistral, &options, &memory, &err), OCTET_OK);
        assert_int_equal(memory.weights,
                         info.file_bytes - tensor_bytes(mistral_path, "token_embd.weight"));
        struct octet_session *s;
        assert_int_equal(octet_session_open(mistral, &options, &s, &err), OCTET_OK);
        assert_int_equal(memory.kv, octet_session_kv_bytes(s));
        octet_session_close(s);
        assert_true(memory.workspace < last);
        last = memory.workspace;
    }
    for (int kv = OCTET_KV_F16; kv <= OCTET_KV_Q4_0; kv++) {
        struct octet_session_options options = {.n_ctx = 200, .kv_type = (enum octet_kv_type)kv};
        struct octet_memory memory;
        assert_int_equal(octet_memory_plan(mistral, &options, &memory, &err), OCTET_OK);
        struct octet_session *s;
        assert_int_equal(octet_session_open(mistral, &options, &s, &err), OCTET_OK);
        assert_int_equal(memory.kv, octet_session_kv_bytes(s));
        octet_session_close(s);
    }
    struct octet_memory memory;
    struct octet_session_options options = {.n_ctx = info.n_ctx_train + 1};
    assert_int_equal(octet_memory_plan(mistral, &options, &memory, &err), OCTET_EARG);
    mem_fail_after(0);
    const enum octet_status status = octet_memory_plan(mistral, NULL, &memory, &err);
    mem_fail_after(SIZE_MAX);
    assert_int_equal(status, OCTET_EMEM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warming_reads_the_whole_file),
        cmocka_unit_test(test_planned_memory_is_what_a_session_takes),
        cmocka_unit_test(test_prefix_reuse_gives_the_same_bits),
        cmocka_unit_test(test_prompt_longer_than_the_context_changes_nothing),
        cmocka_unit_test(test_wrong_arguments_are_refused),
        cmocka_unit_test(test_scores_agree_for_all_chunks_and_with_sync),
        cmocka_unit_test(test_states_are_told_of_what_the_session_does_not_hold),
        cmocka_unit_test(test_states_of_wrong_tokens_are_refused),
        cmocka_unit_test(test_cancelled_prefill_can_be_taken_up_again),
        cmocka_unit_test(test_several_sessions_in_one_step_equal_each_alone),
        cmocka_unit_test(test_allocation_failures_are_clean),
        cmocka_unit_test(test_infinite_weights_are_an_error_not_an_answer),
        cmocka_unit_test(test_infinite_hidden_states_are_an_error_too),
        cmocka_unit_test(test_router_picks_the_largest_and_breaks_ties_by_index),
        cmocka_unit_test(test_ring_refuses_positions_it_has_overwritten),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
