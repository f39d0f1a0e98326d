/* Same input, same bits: logits depend on the file and the tokens alone, not on threads, on how a
 * prompt is cut, on what else runs in the same step, nor on the instruction set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "octet.h"

enum { N_TOKENS = 70, N_MATES = 3 };

static char folder[] = "/tmp/octet-bits-XXXXXX", model_path[64];

/* Hashes of the logits at positions 0..i, so that a shorter run compares with the start of a longer
 * one. */
struct trace {
    uint64_t hash[N_TOKENS];
    size_t n, n_vocab;
};

/* One way of computing the same logits. */
struct way {
    int32_t n_threads, chunk;
    size_t n_tokens;
};

static const struct way whole_prompt = {1, 0, N_TOKENS};
static const struct way other_ways[] = {{4, 64, N_TOKENS}, {2, 7, N_TOKENS}, {2, 1, 20}};
enum { N_WAYS = sizeof other_ways / sizeof *other_ways };

/* ---- Running --------------------------------------------------------------------------------- */

static void make_model(const char *arch, const char *type, int32_t n_layers) {
    struct octet_synth_options options = {
        .arch = arch, .type = type, .n_layers = n_layers, .seed = 5};
    struct octet_err err = {0};
    if (octet_synth(&options, model_path, &err) != OCTET_OK) fail_msg("%s", err.message);
}

/* ISA NULL: the best of this machine. */
static struct octet_model *open_model(const char *isa, int32_t n_threads) {
    struct octet_model_options options = OCTET_MODEL_OPTIONS_DEFAULTS;
    struct octet_err err = {0};
    struct octet_model *model = NULL;
    options.n_threads = n_threads;
    if (isa) setenv("OCTET_ISA", isa, 1);
    else unsetenv("OCTET_ISA");
    if (octet_model_open(model_path, &options, &model, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return model;
}

static struct octet_session *open_session(struct octet_model *model, int32_t chunk) {
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    struct octet_err err = {0};
    struct octet_session *session = NULL;
    options.n_ctx = 2 * N_TOKENS;
    options.prefill_chunk = chunk;
    if (octet_session_open(model, &options, &session, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return session;
}

static void make_prompt(const struct octet_model *model, uint32_t seed, int32_t *ids) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    for (size_t i = 0; i < N_TOKENS; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % (uint32_t)info.n_vocab);
    }
}

static void trace_position(void *user, size_t position, const float *logits) {
    struct trace *t = user;
    uint64_t before = position ? t->hash[position - 1] : OCTET_HASH_INIT;
    t->hash[position] = octet_logits_hash(before, logits, t->n_vocab);
    t->n = position + 1;
}

static struct trace run(const char *isa, struct way way) {
    struct octet_model *model = open_model(isa, way.n_threads);
    struct octet_session *session = open_session(model, way.chunk);
    struct octet_model_info info;
    struct octet_err err = {0};
    int32_t ids[N_TOKENS];
    octet_model_get_info(model, &info);
    if (isa) assert_string_equal(info.isa, isa);
    make_prompt(model, 1, ids);
    struct trace t = {.n_vocab = (size_t)info.n_vocab};
    if (octet_session_score(session, ids, way.n_tokens, trace_position, &t, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    assert_int_equal(t.n, way.n_tokens);
    octet_session_close(session);
    octet_model_close(model);
    return t;
}

/* Hash of the last logits of the prompt, computed in the same steps as shorter sequences. */
static uint64_t run_beside_others(void) {
    struct octet_model *model = open_model(NULL, 2);
    struct octet_session *sessions[N_MATES + 1];
    struct octet_span spans[N_MATES + 1];
    struct octet_model_info info;
    struct octet_err err = {0};
    int32_t ids[N_MATES + 1][N_TOKENS];
    for (size_t i = 0; i <= N_MATES; i++) {
        make_prompt(model, i == 1 ? 1 : (uint32_t)i + 2, ids[i]);
        sessions[i] = open_session(model, 16);
        spans[i] = (struct octet_span){ids[i], i == 1 ? N_TOKENS : 3 + 20 * i};
    }
    if (octet_sessions_sync(sessions, spans, N_MATES + 1, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    octet_model_get_info(model, &info);
    uint64_t hash = octet_logits_hash(OCTET_HASH_INIT, octet_session_logits(sessions[1]),
                                      (size_t)info.n_vocab);
    for (size_t i = 0; i <= N_MATES; i++) octet_session_close(sessions[i]);
    octet_model_close(model);
    return hash;
}

static uint64_t run_alone(void) {
    struct octet_model *model = open_model(NULL, 1);
    struct octet_session *session = open_session(model, 0);
    struct octet_model_info info;
    struct octet_err err = {0};
    int32_t ids[N_TOKENS];
    make_prompt(model, 1, ids);
    if (octet_session_sync(session, ids, N_TOKENS, &err) != OCTET_OK) fail_msg("%s", err.message);
    octet_model_get_info(model, &info);
    uint64_t hash = octet_logits_hash(OCTET_HASH_INIT, octet_session_logits(session),
                                      (size_t)info.n_vocab);
    octet_session_close(session);
    octet_model_close(model);
    return hash;
}

/* ---- Checking -------------------------------------------------------------------------------- */

static void expect_same(const struct trace *expected, const struct trace *found, const char *arch,
                        const char *type, const char *isa, struct way way) {
    for (size_t i = 0; i < found->n; i++)
        if (expected->hash[i] != found->hash[i])
            fail_msg("%s %s, %s kernels, %d threads, chunks of %d: other bits from position %zu",
                     arch, type, isa ? isa : "best", way.n_threads, way.chunk, i);
}

static void check_ways(const char *arch, const char *type, int32_t n_layers) {
    make_model(arch, type, n_layers);
    struct trace expected = run(NULL, whole_prompt);
    for (size_t i = 0; i < N_WAYS; i++) {
        struct trace found = run(NULL, other_ways[i]);
        expect_same(&expected, &found, arch, type, NULL, other_ways[i]);
    }
    if (run_beside_others() != run_alone())
        fail_msg("%s %s: other bits beside other sequences", arch, type);
}

static void check_tables(const char *arch, const char *type, int32_t n_layers) {
    const struct way way = {1, 0, 20};
    make_model(arch, type, n_layers);
    struct trace expected = run("scalar", way);
    for (size_t i = 1; kernels_at(i); i++) {
        struct trace found = run(kernels_at(i)->name, way);
        expect_same(&expected, &found, arch, type, kernels_at(i)->name, way);
    }
}

/* Calls CHECK for every type that stands for one block format. */
static void for_each_format(void (*check)(const char *, const char *, int32_t)) {
    size_t n = 0;
    for (size_t i = 0; octet_synth_type(i); i++) {
        if (!quant_by_name(octet_synth_type(i))) continue;
        check("llama-tiny", octet_synth_type(i), 1);
        n++;
    }
    assert_true(n >= 10);
}

static void test_threads_chunks_and_batch_mates_change_no_bit(void **state) {
    (void)state;
    for_each_format(check_ways);
}

static void test_every_kernel_table_gives_the_bits_of_the_scalar_one(void **state) {
    (void)state;
    for_each_format(check_tables);
}

static void test_experts_keep_the_bits(void **state) {
    (void)state;
    check_ways("mixtral-8x7b-tiny", "q4_k_m", 2);
    check_tables("mixtral-8x7b-tiny", "q4_k_m", 1);
}

static void test_other_architectures_keep_the_bits(void **state) {
    (void)state;
    check_ways("phi-2-tiny", "q4_k_m", 2);
    check_tables("phi-2-tiny", "q4_k_m", 1);
    check_ways("mistral-7b-tiny", "q5_k_m", 2);
}

static void test_other_tokens_give_other_bits(void **state) {
    (void)state;
    make_model("llama-tiny", "q8_0", 1);
    struct trace t = run(NULL, whole_prompt);
    struct octet_model *model = open_model(NULL, 1);
    struct octet_session *session = open_session(model, 0);
    struct octet_err err = {0};
    int32_t ids[N_TOKENS];
    make_prompt(model, 2, ids);
    struct trace other = {.n_vocab = t.n_vocab};
    assert_int_equal(octet_session_score(session, ids, N_TOKENS, trace_position, &other, &err),
                     OCTET_OK);
    for (size_t i = 0; i < N_TOKENS; i++) assert_true(t.hash[i] != other.hash[i]);
    octet_session_close(session);
    octet_model_close(model);
}

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(model_path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_chunks_and_batch_mates_change_no_bit),
        cmocka_unit_test(test_every_kernel_table_gives_the_bits_of_the_scalar_one),
        cmocka_unit_test(test_experts_keep_the_bits),
        cmocka_unit_test(test_other_architectures_keep_the_bits),
        cmocka_unit_test(test_other_tokens_give_other_bits),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
