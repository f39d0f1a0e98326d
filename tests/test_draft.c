/* Drafting changes no token and no logit: every case is decoded plainly and drafting, and both must
 * agree in the tokens picked and in a hash of all logits they were picked from. Tiny synthetic
 * models write noise, so samplers are held to a few tokens, which makes texts repeat themselves. */
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
#include "engine/costs.h"
#include "engine/ngrams.h"
#include "octet.h"

enum { N_PROMPT = 40, N_NEW = 40, N_CTX = 128, N_LONG = 300, MOST = 512 };
enum { N_WORDS = 3, FIRST_WORD = 70 }; // that samplers are held to

static char folder[] = "/tmp/octet-draft-XXXXXX";
static char paths[4][64];
static struct octet_model *llama, *mixtral, *windowed, *other;
static int32_t repetitive[N_PROMPT], random_ids[N_PROMPT];

static struct octet_model *make_model(size_t i, const char *arch, const char *type, uint64_t seed) {
    const struct octet_synth_options options = {
        .arch = arch, .type = type, .n_layers = 1, .seed = seed};
    const struct octet_model_options two = {2, false};
    struct octet_model *model;
    struct octet_err err;
    snprintf(paths[i], sizeof paths[i], "%s/%zu.gguf", folder, i);
    if (octet_synth(&options, paths[i], &err) != OCTET_OK) fail_msg("%s", err.message);
    if (octet_model_open(paths[i], &two, &model, &err) != OCTET_OK) fail_msg("%s", err.message);
    return model;
}

static int set_up(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    llama = make_model(0, "llama-tiny", "q4_k_m", 1);
    mixtral = make_model(1, "mixtral-8x7b-tiny", "q8_0", 2);
    windowed = make_model(2, "mistral-7b-tiny", "q4_k_m", 3);
    other = make_model(3, "llama-tiny", "q8_0", 4);
    uint32_t x = 1;
    for (size_t i = 0; i < N_PROMPT; i++) {
        x = x * 1664525 + 1013904223;
        random_ids[i] = (int32_t)((x >> 16) % 200);
        repetitive[i] = FIRST_WORD + (int32_t)(i % N_WORDS);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    struct octet_model *const models[] = {llama, mixtral, windowed, other};
    for (size_t i = 0; i < 4; i++) {
        octet_model_close(models[i]);
        unlink(paths[i]);
    }
    return rmdir(folder);
}

/* ---- Decoding -------------------------------------------------------------------------------- */

struct text {
    int32_t ids[MOST];
    size_t n;
    uint64_t hash; // of the logits of every pick
    enum octet_status status;
};

/* What is decoded. */
struct task {
    struct octet_model *model;
    const int32_t *prompt;
    size_t n_prompt, n_new;
    struct octet_sampling sampling;
    int32_t n_ctx, chunk;
    bool with_end; // the end token is one of the few
};

static struct octet_session *open_session(const struct task *task) {
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    struct octet_session *session;
    struct octet_err err;
    options.n_ctx = task->n_ctx ? task->n_ctx : N_CTX;
    options.prefill_chunk = task->chunk;
    if (octet_session_open(task->model, &options, &session, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return session;
}

static struct octet_sampler *open_sampler(const struct task *task) {
    struct octet_logit_bias biases[N_WORDS + 1];
    struct octet_sampling sampling = task->sampling;
    struct octet_sampler *sampler;
    struct octet_err err;
    for (int32_t i = 0; i < N_WORDS; i++)
        biases[i] = (struct octet_logit_bias){FIRST_WORD + i, 1000};
    biases[N_WORDS] = (struct octet_logit_bias){octet_token_eos(task->model), 1000};
    sampling.bias = biases;
    sampling.n_bias = task->with_end ? N_WORDS + 1 : N_WORDS;
    if (octet_sampler_open(task->model, &sampling, &sampler, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return sampler;
}

/* A sync, which needs no step exactly if the drafter says so. */
static enum octet_status sync_drafting(struct octet_drafter *drafter, const struct text *text) {
    struct octet_draft_stats before, after;
    struct octet_err err;
    octet_drafter_get_stats(drafter, &before);
    const bool known = octet_drafter_knows(drafter, text->ids, text->n);
    const enum octet_status status = octet_drafter_sync(drafter, text->ids, text->n, &err);
    octet_drafter_get_stats(drafter, &after);
    if (status != OCTET_OK) assert_false(known);
    else assert_int_equal(after.accepted - before.accepted, known);
    if (known) assert_int_equal(after.steps, before.steps);
    return status;
}

/* The loop of every program: DRAFTER NULL is plain decoding. */
static struct text decode(const struct task *task, struct octet_session *session,
                          struct octet_drafter *drafter) {
    struct text text = {.hash = OCTET_HASH_INIT};
    struct octet_sampler *sampler = open_sampler(task);
    struct octet_model_info info;
    struct octet_err err;
    octet_model_get_info(task->model, &info);
    for (; text.n < task->n_prompt; text.n++) {
        text.ids[text.n] = task->prompt[text.n];
        assert_int_equal(octet_sampler_accept(sampler, text.ids[text.n]), OCTET_OK);
    }
    const size_t n_ctx = (size_t)octet_session_n_ctx(session);
    while (text.n < task->n_prompt + task->n_new && text.n <= n_ctx) {
        int32_t id;
        text.status = drafter ? sync_drafting(drafter, &text)
                              : octet_session_sync(session, text.ids, text.n, &err);
        if (text.status != OCTET_OK) break;
        const float *logits =
            drafter ? octet_drafter_logits(drafter) : octet_session_logits(session);
        assert_non_null(logits);
        text.hash = octet_logits_hash(text.hash, logits, (size_t)info.n_vocab);
        assert_int_equal(octet_sampler_pick(sampler, logits, &id, &err), OCTET_OK);
        if (octet_token_ends(task->model, id)) break;
        text.ids[text.n++] = id;
        assert_int_equal(octet_sampler_accept(sampler, id), OCTET_OK);
    }
    octet_sampler_close(sampler);
    return text;
}

static struct text decode_plainly(const struct task *task) {
    struct octet_session *session = open_session(task);
    struct text text = decode(task, session, NULL);
    octet_session_close(session);
    return text;
}

static struct octet_drafter *open_drafter(struct octet_session *session, struct octet_model *model,
                                          int32_t max, bool always) {
    const struct octet_draft_options options = {model, max, always};
    struct octet_drafter *drafter;
    struct octet_err err;
    if (octet_drafter_open(session, &options, &drafter, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return drafter;
}

static struct text decode_drafting(const struct task *task, struct octet_model *model, int32_t max,
                                   bool always, struct octet_draft_stats *stats) {
    struct octet_session *session = open_session(task);
    struct octet_drafter *drafter = open_drafter(session, model, max, always);
    struct text text = decode(task, session, drafter);
    if (stats) octet_drafter_get_stats(drafter, stats);
    octet_drafter_close(drafter);
    octet_session_close(session);
    return text;
}

static void expect_same(const struct text *found, const struct text *expected) {
    assert_int_equal(found->status, expected->status);
    assert_int_equal(found->n, expected->n);
    assert_memory_equal(found->ids, expected->ids, expected->n * sizeof *expected->ids);
    assert_true(found->hash == expected->hash);
}

/* Greedy for seed 0, else sampled, with every penalty that looks at the history. */
static struct octet_sampling sampling_of(uint64_t seed) {
    struct octet_sampling sampling = OCTET_SAMPLING_DEFAULTS;
    sampling.seed = seed;
    sampling.temperature = seed == 0 ? 0 : 1.2f;
    sampling.min_p = 0;
    sampling.frequency_penalty = seed > 1 ? 0.02f : 0;
    sampling.mirostat = seed == 3 ? 2 : 0;
    return sampling;
}

static struct task task_of(struct octet_model *model, const int32_t *prompt, uint64_t seed) {
    return (struct task){.model = model,
                         .prompt = prompt,
                         .n_prompt = N_PROMPT,
                         .n_new = N_NEW,
                         .sampling = sampling_of(seed)};
}

/* ---- The same text --------------------------------------------------------------------------- */

static void check_lengths(struct octet_model *model) {
    static const int32_t lengths[] = {1, 2, 3, 5, 8, 16};
    for (uint64_t seed = 0; seed < 4; seed++) {
        for (int i = 0; i < 2; i++) {
            const struct task task = task_of(model, i ? random_ids : repetitive, seed);
            const struct text expected = decode_plainly(&task);
            assert_int_equal(expected.n, N_PROMPT + N_NEW);
            uint64_t accepted = 0;
            for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
                struct octet_draft_stats stats;
                const struct text found = decode_drafting(&task, NULL, lengths[k], true, &stats);
                expect_same(&found, &expected);
                assert_true(stats.drafted >= stats.accepted);
                // All but the first token's logits, which the prompt gave.
                assert_int_equal(stats.steps + stats.accepted, N_NEW - 1);
                accepted += stats.accepted;
            }
            assert_true(accepted > 0);
            const struct text found = decode_drafting(&task, NULL, 0, false, NULL);
            expect_same(&found, &expected);
        }
    }
}

static void test_any_draft_length_gives_the_text_of_plain_decoding(void **state) {
    (void)state;
    check_lengths(llama);
}

static void test_experts_do_too(void **state) {
    (void)state;
    check_lengths(mixtral);
}

/* The text is longer than the ring, which drafts and their ends turn too. */
static void test_sliding_windows_do_too(void **state) {
    (void)state;
    int32_t prompt[N_LONG];
    struct octet_model_info info;
    octet_model_get_info(windowed, &info);
    assert_int_equal(info.sliding_window, 80);
    for (size_t i = 0; i < N_LONG; i++) prompt[i] = repetitive[i % (2 * N_WORDS)];
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct task task = task_of(windowed, prompt, seed);
        task.n_prompt = N_LONG;
        task.n_ctx = N_LONG + 2 * N_NEW;
        task.chunk = 16;
        struct octet_session *session = open_session(&task);
        assert_in_range(octet_session_kv_bytes(session), 1,
                        N_LONG * info.kv_bytes_per_token - 1);
        octet_session_close(session);
        const struct text expected = decode_plainly(&task);
        for (int32_t max = 1; max <= 16; max += 5) {
            const struct text found = decode_drafting(&task, NULL, max, true, NULL);
            expect_same(&found, &expected);
        }
    }
}

static void test_chunks_shorter_than_a_draft_do_too(void **state) {
    (void)state;
    struct task task = task_of(windowed, repetitive, 1);
    task.chunk = 3;
    const struct text expected = decode_plainly(&task);
    const struct text found = decode_drafting(&task, NULL, 16, true, NULL);
    expect_same(&found, &expected);
}

static void test_a_model_that_drafts_for_itself_is_right_when_greedy(void **state) {
    (void)state;
    struct task task = task_of(llama, random_ids, 0);
    task.sampling.temperature = 0;
    const struct text expected = decode_plainly(&task);
    struct octet_draft_stats stats;
    const struct text found = decode_drafting(&task, llama, 4, true, &stats);
    expect_same(&found, &expected);
    assert_true(stats.drafted > 0);
}

static void test_another_model_may_draft(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        const struct task task = task_of(llama, random_ids, seed);
        const struct text expected = decode_plainly(&task);
        for (int always = 0; always < 2; always++) {
            const struct text found = decode_drafting(&task, other, 5, always, NULL);
            expect_same(&found, &expected);
        }
    }
}

static void test_a_full_context_ends_as_without_drafts(void **state) {
    (void)state;
    for (int32_t n_ctx = N_PROMPT; n_ctx < N_PROMPT + 6; n_ctx++) {
        struct task task = task_of(llama, repetitive, 0);
        task.n_ctx = n_ctx;
        const struct text expected = decode_plainly(&task);
        assert_int_equal(expected.n, n_ctx + 1);
        struct text found = decode_drafting(&task, NULL, 16, true, NULL);
        expect_same(&found, &expected);
        found = decode_drafting(&task, other, 16, true, NULL);
        expect_same(&found, &expected);
    }
}

static void test_end_tokens_within_drafts_end_the_text(void **state) {
    (void)state;
    int32_t prompt[N_PROMPT];
    for (size_t i = 0; i < N_PROMPT; i++)
        prompt[i] = i % 4 == 3 ? octet_token_eos(llama) : FIRST_WORD + (int32_t)(i % 4);
    size_t n_ended = 0;
    for (uint64_t seed = 1; seed < 12; seed++) {
        struct task task = task_of(llama, prompt, seed);
        task.with_end = true;
        task.n_prompt -= 2; // the next two tokens of the pattern are a word and the end
        const struct text expected = decode_plainly(&task);
        const struct text found = decode_drafting(&task, NULL, 16, true, NULL);
        expect_same(&found, &expected);
        n_ended += expected.n < task.n_prompt + N_NEW;
    }
    assert_true(n_ended > 0);
}

/* ---- Interruptions --------------------------------------------------------------------------- */

static void test_a_session_left_in_mid_draft_goes_on_with_another_text(void **state) {
    (void)state;
    const struct task first = task_of(windowed, repetitive, 0);
    struct octet_session *session = open_session(&first);
    struct octet_drafter *drafter = open_drafter(session, NULL, 16, true);
    for (size_t n_new = 1; n_new < 8; n_new++) {
        struct task task = first;
        task.n_new = n_new;
        decode(&task, session, drafter);
        const struct task next = task_of(windowed, n_new % 2 ? random_ids : repetitive, n_new % 3);
        const struct text expected = decode_plainly(&next);
        const struct text found = decode(&next, session, drafter);
        expect_same(&found, &expected);
    }
    octet_drafter_close(drafter);
    octet_session_close(session);
}

static bool count_down(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return --*(int *)user > 0;
}

static void test_a_cancelled_draft_can_be_taken_up_again(void **state) {
    (void)state;
    const struct task task = task_of(llama, repetitive, 0);
    const struct text expected = decode_plainly(&task);
    size_t n_cancelled = 0;
    for (int steps = 1; steps < 12; steps++) {
        int countdown = steps;
        struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
        options.n_ctx = N_CTX;
        options.progress = count_down;
        options.user = &countdown;
        struct octet_session *session;
        assert_int_equal(octet_session_open(llama, &options, &session, NULL), OCTET_OK);
        struct octet_drafter *drafter = open_drafter(session, NULL, 16, true);
        struct text found = decode(&task, session, drafter);
        n_cancelled += found.status == OCTET_ECANCELLED;
        if (found.status == OCTET_ECANCELLED) assert_null(octet_drafter_logits(drafter));
        countdown = 100000;
        found = decode(&task, session, drafter);
        expect_same(&found, &expected);
        octet_drafter_close(drafter);
        octet_session_close(session);
    }
    assert_true(n_cancelled > 3);
}

/* Keeps the most tokens that a sync had to compute; N_LONG cancels all. */
static bool note_total(void *user, uint64_t done, uint64_t total) {
    uint64_t *const most = user;
    (void)done;
    if (total > *most) *most = total;
    return *most < N_LONG;
}

static void test_a_guesser_reads_long_texts_in_pieces_that_can_be_cancelled(void **state) {
    (void)state;
    uint64_t most = 0;
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = MOST;
    options.progress = note_total;
    options.user = &most;
    struct octet_session *session;
    struct octet_err err;
    int32_t ids[MOST];
    for (size_t i = 0; i < MOST; i++) ids[i] = random_ids[i % N_PROMPT];
    assert_int_equal(octet_session_open(llama, &options, &session, &err), OCTET_OK);
    struct octet_drafter *drafter = open_drafter(session, other, 4, true);
    assert_int_equal(octet_drafter_sync(drafter, ids, N_LONG - 1, &err), OCTET_OK);
    most = 0;
    for (size_t n = N_LONG; n < N_LONG + 6; n++)
        assert_int_equal(octet_drafter_sync(drafter, ids, n, &err), OCTET_OK);
    struct octet_draft_stats stats;
    octet_drafter_get_stats(drafter, &stats);
    assert_true(stats.drafted > 0);
    assert_true(most > 16 && most < N_LONG / 2);
    octet_drafter_close(drafter);
    drafter = open_drafter(session, other, 4, true);
    assert_int_equal(octet_drafter_sync(drafter, ids, N_LONG, &err), OCTET_OK);
    most = N_LONG;
    assert_int_equal(octet_drafter_sync(drafter, ids, N_LONG + 1, &err), OCTET_ECANCELLED);
    octet_drafter_close(drafter);
    octet_session_close(session);
}

static enum octet_status draft_once(struct octet_model *model, struct octet_model *guesser,
                                    const struct text *text) {
    const struct octet_session_options small = {N_CTX, 0, OCTET_KV_F16, NULL, NULL, NULL};
    const struct octet_draft_options options = {guesser, 4, true};
    struct octet_session *session = NULL;
    struct octet_drafter *drafter = NULL;
    struct octet_err err;
    enum octet_status status = octet_session_open(model, &small, &session, &err);
    if (status == OCTET_OK) status = octet_drafter_open(session, &options, &drafter, &err);
    for (size_t n = N_PROMPT; n < N_PROMPT + 8 && status == OCTET_OK; n++)
        status = octet_drafter_sync(drafter, text->ids, n, &err);
    octet_drafter_close(drafter);
    octet_session_close(session);
    return status;
}

static void test_running_out_of_memory_is_told(void **state) {
    (void)state;
    const struct task task = task_of(llama, repetitive, 0);
    const struct text text = decode_plainly(&task);
    struct octet_model *const guessers[] = {NULL, other};
    for (size_t i = 0; i < 2; i++) {
        enum octet_status status = OCTET_EMEM;
        for (size_t after = 0; status != OCTET_OK; after++) {
            mem_fail_after(after);
            status = draft_once(llama, guessers[i], &text);
            mem_fail_after(SIZE_MAX);
            if (status != OCTET_OK) assert_int_equal(status, OCTET_EMEM);
        }
    }
}

/* ---- Arguments ------------------------------------------------------------------------------- */

static void test_a_model_of_another_vocabulary_is_refused(void **state) {
    (void)state;
    char path[80];
    snprintf(path, sizeof path, "%s/phi.gguf", folder);
    const struct octet_synth_options options = {
        .arch = "phi-2-tiny", .type = "q8_0", .n_layers = 1, .seed = 1};
    const struct octet_model_options one = {1, false};
    struct octet_model *phi;
    struct octet_drafter *drafter;
    struct octet_err err;
    assert_int_equal(octet_synth(&options, path, &err), OCTET_OK);
    assert_int_equal(octet_model_open(path, &one, &phi, &err), OCTET_OK);
    const struct task task = task_of(llama, repetitive, 0);
    struct octet_session *session = open_session(&task);
    struct octet_draft_options draft = {phi, 0, false};
    assert_int_equal(octet_drafter_open(session, &draft, &drafter, &err), OCTET_EARG);
    assert_non_null(strstr(err.message, "phi.gguf"));
    assert_null(drafter);
    draft = (struct octet_draft_options){NULL, 64, false};
    assert_int_equal(octet_drafter_open(session, &draft, &drafter, &err), OCTET_EARG);
    octet_session_close(session);
    octet_model_close(phi);
    unlink(path);
}

/* ---- Several in one step --------------------------------------------------------------------- */

static void test_several_drafters_in_one_step_equal_each_alone(void **state) {
    (void)state;
    enum { N = 3 };
    struct octet_session *sessions[N];
    struct octet_drafter *drafters[N];
    struct text expected[N];
    uint64_t hashes[N];
    struct octet_model_info info;
    octet_model_get_info(mixtral, &info);
    for (size_t i = 0; i < N; i++) {
        const struct task task = task_of(mixtral, i == 1 ? random_ids : repetitive, i);
        expected[i] = decode_plainly(&task);
        sessions[i] = open_session(&task);
        drafters[i] = open_drafter(sessions[i], NULL, 4 + (int32_t)i, i != 2);
        hashes[i] = OCTET_HASH_INIT;
    }
    for (size_t n = N_PROMPT; n < N_PROMPT + N_NEW; n++) {
        struct octet_span spans[N];
        struct octet_err err;
        for (size_t i = 0; i < N; i++) spans[i] = (struct octet_span){expected[i].ids, n, 1};
        assert_int_equal(octet_drafters_sync(drafters, spans, N, &err), OCTET_OK);
        for (size_t i = 0; i < N; i++)
            hashes[i] = octet_logits_hash(hashes[i], octet_drafter_logits(drafters[i]),
                                          (size_t)info.n_vocab);
    }
    for (size_t i = 0; i < N; i++) {
        assert_true(hashes[i] == expected[i].hash);
        octet_drafter_close(drafters[i]);
        octet_session_close(sessions[i]);
    }
}

/* ---- Logits of several positions ------------------------------------------------------------- */

static void test_a_sync_gives_the_logits_of_the_last_positions(void **state) {
    (void)state;
    const struct task task = task_of(windowed, random_ids, 0);
    const size_t n_vocab = octet_n_tokens(windowed);
    struct octet_session *many = open_session(&task), *one = open_session(&task);
    struct octet_err err;
    for (size_t n_logits = 1; n_logits < 20; n_logits += 6) {
        const struct octet_span span = {random_ids, N_PROMPT, n_logits};
        assert_int_equal(octet_sessions_sync(&many, &span, 1, &err), OCTET_OK);
        assert_null(octet_session_logits_at(many, N_PROMPT - n_logits - 1));
        assert_null(octet_session_logits_at(many, N_PROMPT));
        for (size_t at = N_PROMPT - n_logits; at < N_PROMPT; at++) {
            assert_int_equal(octet_session_sync(one, random_ids, at + 1, &err), OCTET_OK);
            assert_memory_equal(octet_session_logits_at(many, at), octet_session_logits(one),
                                n_vocab * sizeof(float));
        }
        // What is left after dropping the last tokens needs no computing.
        assert_int_equal(octet_session_reuse(many, random_ids, N_PROMPT), N_PROMPT);
    }
    octet_session_close(many);
    octet_session_close(one);
}

static void test_a_guess_with_damaged_weights_is_no_error_of_the_tokens_before(void **state) {
    (void)state;
    enum { DAMAGED = 90 };
    char path[80];
    snprintf(path, sizeof path, "%s/damaged.gguf", folder);
    const struct octet_synth_options options = {
        .arch = "mistral-7b-tiny", .type = "f16", .n_layers = 1, .seed = 1};
    const struct octet_model_options one = {1, false};
    struct octet_err err;
    assert_int_equal(octet_synth(&options, path, &err), OCTET_OK);
    struct octet_file *file;
    struct octet_tensor_info info = {0};
    assert_int_equal(octet_file_open(path, &file, &err), OCTET_OK);
    for (size_t i = 0; i < octet_file_n_tensors(file); i++) {
        assert_int_equal(octet_file_tensor(file, i, &info), OCTET_OK);
        if (strcmp(info.name, "token_embd.weight") == 0) break;
    }
    assert_string_equal(info.name, "token_embd.weight");
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    const size_t row_bytes = (size_t)info.dims[0] * 2;
    fseek(f, (long)(info.offset + DAMAGED * row_bytes), SEEK_SET);
    for (size_t i = 0; i < row_bytes / 2; i++) fwrite("\x01\x7e", 1, 2, f); // NaN
    fclose(f);
    octet_file_close(file);
    struct octet_model *model;
    assert_int_equal(octet_model_open(path, &one, &model, &err), OCTET_OK);
    const struct task task = task_of(model, repetitive, 0);
    struct octet_session *session = open_session(&task);
    int32_t ids[] = {70, 71, 72, DAMAGED, 73};
    struct octet_span span = {ids, 5, 3};
    assert_int_equal(octet_sessions_sync(&session, &span, 1, &err), OCTET_OK);
    assert_non_null(octet_session_logits_at(session, 2));
    assert_null(octet_session_logits_at(session, 3));
    assert_null(octet_session_logits_at(session, 4));
    assert_int_equal(octet_session_sync(session, ids, 4, &err), OCTET_ENUMERIC);
    ids[3] = 74;
    assert_int_equal(octet_session_sync(session, ids, 5, &err), OCTET_OK);
    octet_session_close(session);
    octet_model_close(model);
    unlink(path);
}

/* ---- Parts ----------------------------------------------------------------------------------- */

static void test_the_longest_match_wins_and_the_latest_among_equals(void **state) {
    (void)state;
    //                       0  1  2  3  4  5  6  7  8  9 10 11 12
    static const int32_t ids[] = {5, 1, 2, 3, 7, 2, 3, 8, 2, 3, 9, 2, 3};
    struct ngrams g = {0};
    size_t kept;
    assert_true(ngrams_set(&g, ids, 13, &kept));
    assert_int_equal(kept, 0);
    struct match match = ngrams_match(&g, (struct match){0});
    assert_int_equal(match.length, 2);
    assert_int_equal(match.at, 10);
    static const int32_t longer[] = {5, 1, 2, 3, 7, 2, 3, 8, 2, 3, 9, 1, 2, 3};
    assert_true(ngrams_set(&g, longer, 14, &kept));
    assert_int_equal(kept, 11);
    match = ngrams_match(&g, (struct match){0});
    assert_int_equal(match.length, 3);
    assert_int_equal(match.at, 4);
    assert_true(ngrams_set(&g, ids, 2, &kept)); // nothing of what was cut is found any more
    assert_true(ngrams_set(&g, (int32_t[]){5, 1, 6, 2, 3}, 5, &kept));
    assert_int_equal(ngrams_match(&g, (struct match){0}).length, 0);
    ngrams_free(&g);
}

static void test_an_index_that_grows_and_shrinks_finds_what_a_fresh_one_finds(void **state) {
    (void)state;
    enum { N = 3000 };
    static int32_t ids[N];
    struct ngrams walked = {0};
    uint32_t x = 7;
    size_t kept;
    for (size_t i = 0; i < N; i++) {
        x = x * 1664525 + 1013904223;
        ids[i] = (int32_t)((x >> 20) % 6);
    }
    for (size_t n = 100; n <= N; n += 290) {
        struct ngrams fresh = {0};
        assert_true(ngrams_set(&walked, ids, n, &kept));
        assert_true(ngrams_set(&walked, ids, n - 60, &kept));
        assert_true(ngrams_set(&walked, ids, n - 7, &kept));
        assert_true(ngrams_set(&fresh, ids, n - 7, &kept));
        const struct match a = ngrams_match(&walked, (struct match){0});
        const struct match b = ngrams_match(&fresh, (struct match){0});
        assert_int_equal(a.length, b.length);
        assert_int_equal(a.at, b.at);
        ngrams_free(&fresh);
    }
    ngrams_free(&walked);
}

static void test_costs_are_forecast_from_what_was_measured(void **state) {
    (void)state;
    struct costs costs = {0};
    assert_true(costs_expect(&costs, 1) == 0);
    costs_note(&costs, 1, 1);
    assert_true(costs_expect(&costs, 1) == 1);
    assert_true(costs_expect(&costs, 2) > 1 && costs_expect(&costs, 2) < 2);
    assert_true(costs_expect(&costs, 3) == 0);
    costs_note(&costs, 4, 2);
    assert_true(fabs(costs_expect(&costs, 3) - (1 + 2.0 / 3)) < 1e-9);
    assert_true(costs_expect(&costs, 8) > 2 && costs_expect(&costs, 9) == 0);
    costs_note(&costs, 8, 50); // disturbed: one by one they took 8
    assert_true(costs_expect(&costs, 8) == 8);
    for (int i = 0; i < 40; i++) costs_note(&costs, 1, 1);
    assert_true(costs_expect(&costs, 4) > 2 || costs_expect(&costs, 4) == 0); // too old
    assert_true(costs_expect(&costs, 1) == 1);
    costs_note(&costs, 1, 9);
    assert_true(costs_expect(&costs, 1) < 1.2); // one hiccup
    assert_true(costs_expect(&costs, 0) == 0 && costs_expect(&costs, COST_ROWS + 1) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_draft_length_gives_the_text_of_plain_decoding),
        cmocka_unit_test(test_experts_do_too),
        cmocka_unit_test(test_sliding_windows_do_too),
        cmocka_unit_test(test_chunks_shorter_than_a_draft_do_too),
        cmocka_unit_test(test_a_model_that_drafts_for_itself_is_right_when_greedy),
        cmocka_unit_test(test_another_model_may_draft),
        cmocka_unit_test(test_a_full_context_ends_as_without_drafts),
        cmocka_unit_test(test_end_tokens_within_drafts_end_the_text),
        cmocka_unit_test(test_a_session_left_in_mid_draft_goes_on_with_another_text),
        cmocka_unit_test(test_a_cancelled_draft_can_be_taken_up_again),
        cmocka_unit_test(test_a_guesser_reads_long_texts_in_pieces_that_can_be_cancelled),
        cmocka_unit_test(test_running_out_of_memory_is_told),
        cmocka_unit_test(test_a_model_of_another_vocabulary_is_refused),
        cmocka_unit_test(test_several_drafters_in_one_step_equal_each_alone),
        cmocka_unit_test(test_a_sync_gives_the_logits_of_the_last_positions),
        cmocka_unit_test(test_a_guess_with_damaged_weights_is_no_error_of_the_tokens_before),
        cmocka_unit_test(test_the_longest_match_wins_and_the_latest_among_equals),
        cmocka_unit_test(test_an_index_that_grows_and_shrinks_finds_what_a_fresh_one_finds),
        cmocka_unit_test(test_costs_are_forecast_from_what_was_measured),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
