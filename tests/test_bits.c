/* Same input, same bits: logits depend on the file and the tokens alone, not on threads, on how a
 * prompt is cut, on what else runs in the same step, nor on the instruction set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "octet.h"
#include "pure_type.h"

// More tokens than the longest of the chunks, and no multiple of any but 1.
enum { N_TOKENS = 66, N_MATES = 3, WHOLE = 0 };
static const int32_t thread_counts[] = {1, 2, 4}, chunks[] = {1, 7, 64, WHOLE};
enum {
    N_THREAD_COUNTS = sizeof thread_counts / sizeof *thread_counts,
    N_CHUNKS = sizeof chunks / sizeof *chunks,
};

static char folder[] = "/tmp/octet-bits-XXXXXX", model_path[64];
static enum octet_kv_type kv_type = OCTET_KV_F16; // of all sessions

/* Hashes of the logits at those positions of the prompt where a run gave any. */
struct trace {
    uint64_t hash[N_TOKENS];
    bool known[N_TOKENS];
    size_t n_vocab;
};

/* One way of computing the same logits. */
struct way {
    const char *isa; // NULL: the best of this machine
    int32_t n_threads, chunk;
    bool beside_others;
};

/* ---- Running --------------------------------------------------------------------------------- */

static void make_model(const char *arch, const char *type, int32_t n_layers) {
    struct octet_synth_options options = {
        .arch = arch, .type = type, .n_layers = n_layers, .seed = 5};
    struct octet_err err = {0};
    if (octet_synth(&options, model_path, &err) != OCTET_OK) fail_msg("%s", err.message);
}

static struct octet_model *open_model(const char *isa, int32_t n_threads) {
    struct octet_model_options options = OCTET_MODEL_OPTIONS_DEFAULTS;
    struct octet_model_info info;
    struct octet_err err = {0};
    struct octet_model *model = NULL;
    options.n_threads = n_threads;
    if (isa) setenv("OCTET_ISA", isa, 1);
    else unsetenv("OCTET_ISA");
    if (octet_model_open(model_path, &options, &model, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    octet_model_get_info(model, &info);
    if (isa) assert_string_equal(info.isa, isa);
    return model;
}

static struct octet_session *open_session(struct octet_model *model, int32_t chunk) {
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    struct octet_err err = {0};
    struct octet_session *session = NULL;
    options.n_ctx = 2 * N_TOKENS;
    options.prefill_chunk = chunk;
    options.kv_type = kv_type;
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
    t->hash[position] = octet_logits_hash(OCTET_HASH_INIT, logits, t->n_vocab);
    t->known[position] = true;
}

/* Every position of prompt SEED. */
static void run_alone(struct octet_model *model, int32_t chunk, uint32_t seed, struct trace *t) {
    struct octet_session *session = open_session(model, chunk);
    struct octet_err err = {0};
    int32_t ids[N_TOKENS];
    make_prompt(model, seed, ids);
    if (octet_session_score(session, ids, N_TOKENS, trace_position, t, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    octet_session_close(session);
}

/* The prompt grows by a chunk at a time, and the others grow with it at other speeds, so that their
 * rows share its steps and cut its chunks differently each time. Logits are those of the last token
 * of each growth: with chunks of 1, of every position. */
static void run_beside_others(struct octet_model *model, int32_t chunk, struct trace *t) {
    enum { SUBJECT = 1, N_SESSIONS = N_MATES + 1 };
    struct octet_session *sessions[N_SESSIONS];
    struct octet_span spans[N_SESSIONS];
    struct octet_err err = {0};
    int32_t ids[N_SESSIONS][N_TOKENS];
    for (size_t i = 0; i < N_SESSIONS; i++) {
        make_prompt(model, i == SUBJECT ? 1 : (uint32_t)i + 2, ids[i]);
        sessions[i] = open_session(model, chunk);
    }
    for (size_t n = 0; n < N_TOKENS;) {
        n = chunk == WHOLE || n + (size_t)chunk > N_TOKENS ? N_TOKENS : n + (size_t)chunk;
        for (size_t i = 0; i < N_SESSIONS; i++)
            spans[i] = (struct octet_span){ids[i], i == SUBJECT ? n : (n * (i + 1) + 7) / 8, 1};
        if (octet_sessions_sync(sessions, spans, N_SESSIONS, &err) != OCTET_OK)
            fail_msg("%s", err.message);
        trace_position(t, n - 1, octet_session_logits(sessions[SUBJECT]));
    }
    for (size_t i = 0; i < N_SESSIONS; i++) octet_session_close(sessions[i]);
}

static struct trace run(struct octet_model *model, struct way way) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    struct trace t = {.n_vocab = (size_t)info.n_vocab};
    if (way.beside_others) run_beside_others(model, way.chunk, &t);
    else run_alone(model, way.chunk, 1, &t);
    return t;
}

/* ---- Checking -------------------------------------------------------------------------------- */

struct subject {
    const char *arch, *type;
    struct trace expected;
};

static void expect_same(const struct subject *s, const struct trace *found, struct way way) {
    assert_true(found->known[N_TOKENS - 1]);
    for (size_t i = 0; i < N_TOKENS; i++)
        if (found->known[i] && found->hash[i] != s->expected.hash[i])
            fail_msg("%s %s, %s kernels, %d threads, chunks of %d, %s: other bits at position %zu",
                     s->arch, s->type, way.isa ? way.isa : "best", way.n_threads, way.chunk,
                     way.beside_others ? "beside others" : "alone", i);
}

/* Makes the model and what all ways of running it must give. */
static void make_subject(struct subject *s, const char *arch, const char *type, int32_t n_layers,
                         const char *isa) {
    *s = (struct subject){.arch = arch, .type = type};
    make_model(arch, type, n_layers);
    struct octet_model *model = open_model(isa, 1);
    s->expected = run(model, (struct way){isa, 1, WHOLE, false});
    octet_model_close(model);
}

static void check_ways(const char *arch, const char *type, int32_t n_layers) {
    struct subject s;
    make_subject(&s, arch, type, n_layers, NULL);
    for (size_t i = 0; i < N_THREAD_COUNTS; i++) {
        struct octet_model *model = open_model(NULL, thread_counts[i]);
        for (size_t j = 0; j < 2 * N_CHUNKS; j++) {
            struct way way = {NULL, thread_counts[i], chunks[j / 2], j % 2};
            struct trace found = run(model, way);
            expect_same(&s, &found, way);
        }
        octet_model_close(model);
    }
}

static void check_tables(const char *arch, const char *type, int32_t n_layers) {
    struct subject s;
    make_subject(&s, arch, type, n_layers, "scalar");
    for (size_t i = 1; kernels_at(i); i++) {
        struct octet_model *model = open_model(kernels_at(i)->name, 1);
        for (size_t j = 0; j < N_CHUNKS; j++) {
            struct way way = {kernels_at(i)->name, 1, chunks[j], false};
            struct trace found = run(model, way);
            expect_same(&s, &found, way);
        }
        octet_model_close(model);
    }
}

static void for_each_format(void (*check)(const char *, const char *, int32_t)) {
    for (size_t i = 0; quant_at(i); i++) {
        const char *type = pure_type(quant_at(i)->name);
        if (!type) fail_msg("no synthetic model in %s", quant_at(i)->name);
        check("llama-tiny", type, 1);
    }
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

static void test_every_type_of_cache_keeps_the_bits(void **state) {
    (void)state;
    for (kv_type = OCTET_KV_F32; kv_type <= OCTET_KV_Q4_0; kv_type++) {
        check_ways("llama-tiny", "q8_0", 1);
        check_tables("llama-tiny", "q8_0", 1);
    }
    kv_type = OCTET_KV_F16;
}

static void test_other_tokens_give_other_bits(void **state) {
    (void)state;
    struct subject s;
    make_subject(&s, "llama-tiny", "q8_0", 1, NULL);
    struct octet_model *model = open_model(NULL, 1);
    struct trace other = {.n_vocab = s.expected.n_vocab};
    run_alone(model, WHOLE, 2, &other);
    for (size_t i = 0; i < N_TOKENS; i++) assert_true(s.expected.hash[i] != other.hash[i]);
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
        cmocka_unit_test(test_every_type_of_cache_keeps_the_bits),
        cmocka_unit_test(test_other_tokens_give_other_bits),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
