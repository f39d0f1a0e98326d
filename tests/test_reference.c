/* Whole models against an independent implementation: tests/data/reference holds tiny seeded models
 * and the logits PyTorch transformers computes for them at every position, both made by
 * tools/make_reference.py, which also describes the .bin files read here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/gguf.h"
#include "octet.h"

enum { MAX_PROMPTS = 8, MAX_PROMPT = 512 };

/* Errors are relative to the range of the reference logits. Different summation orders in F32 leave
 * about 1e-6; the F16 cache rounds keys and values to 11 bits. */
#define F32_BOUND 1e-5
#define F16_BOUND 5e-3
#define Q8_BOUND 5e-2
#define Q4_BOUND 4e-1

struct expected {
    uint32_t n_vocab, n_prompts, n_tokens[MAX_PROMPTS];
    int32_t ids[MAX_PROMPTS][MAX_PROMPT];
    float *logits[MAX_PROMPTS]; // (n_tokens, n_vocab)
    double range;
};

static const struct fixture {
    const char *model, *logits;
} fixtures[] = {
    {"llama", "llama"},         {"mistral", "mistral"}, {"mixtral", "mixtral"},
    {"mixtral-2023", "mixtral"}, {"phi2", "phi2"},       {"phi2-2023", "phi2"},
};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures };

static void read_exactly(FILE *f, void *to, size_t n_bytes) {
    assert_int_equal(fread(to, 1, n_bytes, f), n_bytes);
}

static void load_expected(const char *name, struct expected *e) {
    char path[256], magic[8];
    snprintf(path, sizeof path, "tests/data/reference/%s.bin", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    read_exactly(f, magic, sizeof magic);
    assert_memory_equal(magic, "OCTREF01", sizeof magic);
    read_exactly(f, &e->n_vocab, sizeof e->n_vocab);
    read_exactly(f, &e->n_prompts, sizeof e->n_prompts);
    assert_in_range(e->n_prompts, 1, MAX_PROMPTS);
    for (uint32_t i = 0; i < e->n_prompts; i++) {
        read_exactly(f, &e->n_tokens[i], sizeof e->n_tokens[i]);
        assert_in_range(e->n_tokens[i], 1, MAX_PROMPT);
        read_exactly(f, e->ids[i], e->n_tokens[i] * sizeof e->ids[i][0]);
    }
    float low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < e->n_prompts; i++) {
        size_t n = (size_t)e->n_tokens[i] * e->n_vocab;
        e->logits[i] = malloc(n * sizeof(float));
        assert_non_null(e->logits[i]);
        read_exactly(f, e->logits[i], n * sizeof(float));
        for (size_t j = 0; j < n; j++) {
            low = fminf(low, e->logits[i][j]);
            high = fmaxf(high, e->logits[i][j]);
        }
    }
    e->range = (double)high - (double)low;
    fclose(f);
}

static void free_expected(struct expected *e) {
    for (uint32_t i = 0; i < e->n_prompts; i++) free(e->logits[i]);
}

static struct octet_model *open_model(const char *name) {
    char path[256];
    struct octet_err err = {0};
    struct octet_model *model = NULL;
    snprintf(path, sizeof path, "tests/data/reference/%s.gguf", name);
    if (octet_model_open(path, NULL, &model, &err) != OCTET_OK) fail_msg("%s", err.message);
    return model;
}

static struct octet_session *open_session(struct octet_model *model, enum octet_kv_type kv_type,
                                          int32_t chunk) {
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    struct octet_err err = {0};
    struct octet_session *session = NULL;
    options.kv_type = kv_type;
    options.prefill_chunk = chunk;
    if (octet_session_open(model, &options, &session, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return session;
}

static void sync_to(struct octet_session *session, const int32_t *ids, size_t n) {
    struct octet_err err = {0};
    if (octet_session_sync(session, ids, n, &err) != OCTET_OK) fail_msg("%s", err.message);
}

/* ---- Against the reference ------------------------------------------------------------------- */

struct scoring {
    const float *expected; // (n_tokens, n_vocab) or NULL
    size_t n_vocab, n_seen;
    double max_error;
    uint64_t hash;
};

static void score_position(void *user, size_t position, const float *logits) {
    struct scoring *s = user;
    assert_int_equal(position, s->n_seen++);
    s->hash = octet_logits_hash(s->hash, logits, s->n_vocab);
    if (!s->expected) return;
    for (size_t i = 0; i < s->n_vocab; i++) {
        double error = fabs((double)logits[i] - (double)s->expected[position * s->n_vocab + i]);
        if (!(error <= s->max_error)) s->max_error = error;
    }
}

static struct scoring score(struct octet_model *model, const struct expected *e, uint32_t prompt,
                            enum octet_kv_type kv_type, int32_t chunk) {
    struct scoring s = {e->logits[prompt], e->n_vocab, 0, 0, OCTET_HASH_INIT};
    struct octet_session *session = open_session(model, kv_type, chunk);
    struct octet_err err = {0};
    enum octet_status status = octet_session_score(session, e->ids[prompt], e->n_tokens[prompt],
                                                   score_position, &s, &err);
    if (status != OCTET_OK) fail_msg("%s", err.message);
    assert_int_equal(s.n_seen, e->n_tokens[prompt]);
    octet_session_close(session);
    return s;
}

static const char *const kv_names[] = {"f16", "f32", "q8_0", "q4_0"};

static void compare_all(enum octet_kv_type kv_type, double bound) {
    for (size_t i = 0; i < N_FIXTURES; i++) {
        // At 2^-7 and above nearly tied experts change places, which has no bound.
        if (kv_type >= OCTET_KV_Q8_0 && strstr(fixtures[i].model, "mixtral")) continue;
        struct expected e;
        load_expected(fixtures[i].logits, &e);
        struct octet_model *model = open_model(fixtures[i].model);
        for (uint32_t prompt = 0; prompt < e.n_prompts; prompt++) {
            struct scoring s = score(model, &e, prompt, kv_type, 0);
            double error = s.max_error / e.range;
            print_message("%s, %u tokens, %s cache: error %.1e of the range\n", fixtures[i].model,
                          e.n_tokens[prompt], kv_names[kv_type], error);
            assert_true(error <= bound);
        }
        octet_model_close(model);
        free_expected(&e);
    }
}

static void test_f32_cache_agrees_at_every_position(void **state) {
    (void)state;
    compare_all(OCTET_KV_F32, F32_BOUND);
}

static void test_f16_cache_stays_close_at_every_position(void **state) {
    (void)state;
    compare_all(OCTET_KV_F16, F16_BOUND);
}

static void test_q8_cache_stays_near_at_every_position(void **state) {
    (void)state;
    compare_all(OCTET_KV_Q8_0, Q8_BOUND);
}

static void test_q4_cache_stays_in_sight_at_every_position(void **state) {
    (void)state;
    compare_all(OCTET_KV_Q4_0, Q4_BOUND);
}

/* ---- Hidden states --------------------------------------------------------------------------- */

/* The output matrix of the fixtures is F32 with more rows than columns, so that its product with a
 * hidden state is the reference's logits for no other hidden state. */
struct projection {
    const float *w, *b; // (n_vocab, d), (n_vocab) or NULL
    size_t d, n_seen;
    const struct expected *e;
    const float *expected; // (n_tokens, n_vocab)
    double max_error;
    uint64_t hash;
};

static void project_state(void *user, size_t position, const float *state) {
    struct projection *p = user;
    assert_int_equal(position, p->n_seen++);
    p->hash = octet_logits_hash(p->hash, state, p->d);
    for (size_t i = 0; i < p->e->n_vocab; i++) {
        double sum = p->b ? (double)p->b[i] : 0;
        for (size_t k = 0; k < p->d; k++) sum += (double)p->w[i * p->d + k] * (double)state[k];
        double error = fabs(sum - (double)p->expected[position * p->e->n_vocab + i]);
        if (!(error <= p->max_error)) p->max_error = error;
    }
}

/* The states of a prompt, asked for in pieces of STRIDE tokens; 0: at once. */
static struct projection project(struct octet_model *model, const struct gguf *file,
                                 const struct expected *e, uint32_t prompt, int32_t chunk,
                                 size_t stride) {
    const struct gguf_tensor *w = gguf_tensor(file, "output.weight");
    const struct gguf_tensor *b = gguf_tensor(file, "output.bias");
    if (!w) w = gguf_tensor(file, "token_embd.weight");
    assert_string_equal(w->type->name, "F32");
    struct projection p = {w->data, b ? b->data : NULL, w->ne[0], 0, e, e->logits[prompt],
                           0, OCTET_HASH_INIT};
    assert_true(p.d < e->n_vocab);
    struct octet_session *session = open_session(model, OCTET_KV_F32, chunk);
    const size_t n = e->n_tokens[prompt];
    if (stride == 0) stride = n;
    for (size_t to = 0; to < n;) {
        to = to + stride < n ? to + stride : n;
        struct octet_err err = {0};
        if (octet_session_states(session, e->ids[prompt], to, project_state, &p, &err) != OCTET_OK)
            fail_msg("%s", err.message);
        assert_int_equal(p.n_seen, to);
        assert_null(octet_session_logits(session));
    }
    octet_session_close(session);
    return p;
}

static void test_hidden_states_are_the_reference_s_and_always_the_same_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        struct expected e;
        char path[256];
        struct gguf *file;
        load_expected(fixtures[i].logits, &e);
        struct octet_model *model = open_model(fixtures[i].model);
        snprintf(path, sizeof path, "tests/data/reference/%s.gguf", fixtures[i].model);
        assert_int_equal(gguf_open(path, &file, NULL), OCTET_OK);
        for (uint32_t prompt = 0; prompt < e.n_prompts; prompt++) {
            struct projection p = project(model, file, &e, prompt, 0, 0);
            assert_true(p.max_error / e.range <= F32_BOUND);
            assert_true(project(model, file, &e, prompt, 7, 0).hash == p.hash);
            assert_true(project(model, file, &e, prompt, 0, 50).hash == p.hash);
        }
        gguf_close(file);
        octet_model_close(model);
        free_expected(&e);
    }
}

/* ---- Ways of computing the same thing -------------------------------------------------------- */

static uint64_t hash_token_by_token(struct octet_model *model, const struct expected *e,
                                    uint32_t prompt, enum octet_kv_type kv_type) {
    struct octet_session *session = open_session(model, kv_type, 0);
    uint64_t hash = OCTET_HASH_INIT;
    for (size_t n = 1; n <= e->n_tokens[prompt]; n++) {
        sync_to(session, e->ids[prompt], n);
        hash = octet_logits_hash(hash, octet_session_logits(session), e->n_vocab);
    }
    octet_session_close(session);
    return hash;
}

static void test_chunks_and_single_tokens_give_the_bits_of_one_piece(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        struct expected e;
        load_expected(fixtures[i].logits, &e);
        struct octet_model *model = open_model(fixtures[i].model);
        for (uint32_t prompt = 0; prompt < e.n_prompts; prompt++) {
            for (int kv = OCTET_KV_F16; kv <= OCTET_KV_Q4_0; kv++) {
                enum octet_kv_type type = (enum octet_kv_type)kv;
                uint64_t whole = score(model, &e, prompt, type, 0).hash;
                assert_true(score(model, &e, prompt, type, 7).hash == whole);
                assert_true(hash_token_by_token(model, &e, prompt, type) == whole);
            }
        }
        octet_model_close(model);
        free_expected(&e);
    }
}

static uint64_t last_hash(const struct octet_session *session, const struct expected *e) {
    return octet_logits_hash(OCTET_HASH_INIT, octet_session_logits(session), e->n_vocab);
}

static void test_sessions_in_one_step_give_the_bits_of_each_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        struct expected e;
        load_expected(fixtures[i].logits, &e);
        struct octet_model *model = open_model(fixtures[i].model);
        struct octet_session *together[MAX_PROMPTS];
        struct octet_span spans[MAX_PROMPTS];
        struct octet_err err = {0};
        for (uint32_t j = 0; j < e.n_prompts; j++) {
            together[j] = open_session(model, OCTET_KV_F32, 16);
            spans[j] = (struct octet_span){e.ids[j], e.n_tokens[j], 1};
        }
        if (octet_sessions_sync(together, spans, e.n_prompts, &err) != OCTET_OK)
            fail_msg("%s", err.message);
        for (uint32_t j = 0; j < e.n_prompts; j++) {
            struct octet_session *alone = open_session(model, OCTET_KV_F32, 0);
            sync_to(alone, e.ids[j], e.n_tokens[j]);
            assert_true(last_hash(together[j], &e) == last_hash(alone, &e));
            octet_session_close(alone);
            octet_session_close(together[j]);
        }
        octet_model_close(model);
        free_expected(&e);
    }
}

/* A session that kept a prefix computes the rest exactly as an empty one, also where a sliding
 * window has long overwritten what the prefix needs. */
static void test_going_back_to_a_prefix_gives_the_bits_of_a_fresh_session(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        struct expected e;
        load_expected(fixtures[i].logits, &e);
        struct octet_model *model = open_model(fixtures[i].model);
        const uint32_t longest = e.n_prompts - 1;
        const size_t n = e.n_tokens[longest], backs[] = {n - 1, n - 10, n / 2, 1};
        struct octet_session *session = open_session(model, OCTET_KV_F16, 0);
        for (size_t j = 0; j < sizeof backs / sizeof *backs; j++) {
            int32_t ids[MAX_PROMPT];
            memcpy(ids, e.ids[longest], sizeof ids);
            sync_to(session, ids, n);
            ids[backs[j] - 1] = (ids[backs[j] - 1] + 1) % (int32_t)e.n_vocab;
            sync_to(session, ids, backs[j]);
            struct octet_session *fresh = open_session(model, OCTET_KV_F16, 0);
            sync_to(fresh, ids, backs[j]);
            assert_int_equal(octet_session_length(session), backs[j]);
            assert_true(last_hash(session, &e) == last_hash(fresh, &e));
            octet_session_close(fresh);
        }
        octet_session_close(session);
        octet_model_close(model);
        free_expected(&e);
    }
}

static void test_layouts_of_december_2023_give_the_bits_of_todays(void **state) {
    (void)state;
    static const char *const names[] = {"mixtral", "phi2"};
    for (size_t i = 0; i < 2; i++) {
        struct expected e;
        char old_name[32];
        load_expected(names[i], &e);
        snprintf(old_name, sizeof old_name, "%s-2023", names[i]);
        struct octet_model *now = open_model(names[i]), *old = open_model(old_name);
        for (uint32_t prompt = 0; prompt < e.n_prompts; prompt++)
            assert_true(score(now, &e, prompt, OCTET_KV_F32, 0).hash ==
                        score(old, &e, prompt, OCTET_KV_F32, 0).hash);
        octet_model_close(now);
        octet_model_close(old);
        free_expected(&e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32_cache_agrees_at_every_position),
        cmocka_unit_test(test_f16_cache_stays_close_at_every_position),
        cmocka_unit_test(test_q8_cache_stays_near_at_every_position),
        cmocka_unit_test(test_q4_cache_stays_in_sight_at_every_position),
        cmocka_unit_test(test_hidden_states_are_the_reference_s_and_always_the_same_bits),
        cmocka_unit_test(test_chunks_and_single_tokens_give_the_bits_of_one_piece),
        cmocka_unit_test(test_sessions_in_one_step_give_the_bits_of_each_alone),
        cmocka_unit_test(test_going_back_to_a_prefix_gives_the_bits_of_a_fresh_session),
        cmocka_unit_test(test_layouts_of_december_2023_give_the_bits_of_todays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
