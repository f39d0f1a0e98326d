/* Samplers held to a grammar or a schema, through octet.h: what they pick is what the text's
 * grammar allows, token by token, and failures on the way leave them as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "octet.h"

static char path[] = "/tmp/octet-constrain-XXXXXX";
static struct octet_model *model;
static size_t n_logits;
static float *logits; // (n_logits)

static const char list[] = "root ::= \"[\" item (\", \" item){0,3} \"]\"\n"
                           "item ::= [0-9]{1,3} | \"true\" | \"[\" item \"]\"\n";
static const char schema[] =
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 4}, "
    "\"size\": {\"type\": \"integer\"}, \"kind\": {\"enum\": [\"fish\", \"fig\", null]}}, "
    "\"required\": [\"name\", \"kind\"]}";

static int set_up(void **state) {
    (void)state;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const struct octet_synth_options options = {
        .arch = "llama-tiny", .type = "q8_0", .n_layers = 1, .seed = 3};
    const struct octet_model_options model_options = {1, false};
    struct octet_err err;
    if (octet_synth(&options, path, &err) != OCTET_OK ||
        octet_model_open(path, &model_options, &model, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    n_logits = octet_n_tokens(model);
    logits = mem_array(n_logits, sizeof *logits);
    assert_non_null(logits);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    mem_free(logits);
    octet_model_close(model);
    return unlink(path);
}

static void shuffle_logits(uint32_t *x) {
    for (size_t i = 0; i < n_logits; i++) {
        *x = *x * 1664525 + 1013904223;
        logits[i] = (float)(*x >> 8) / (float)(1 << 21);
    }
}

static struct octet_sampler *open_sampler(float temperature, uint64_t seed) {
    struct octet_sampling options = OCTET_SAMPLING_DEFAULTS;
    options.temperature = temperature;
    options.seed = seed;
    struct octet_sampler *s;
    struct octet_err err;
    if (octet_sampler_open(model, &options, &s, &err) != OCTET_OK) fail_msg("%s", err.message);
    return s;
}

static struct octet_grammar *open_form(bool is_schema) {
    struct octet_grammar *g;
    struct octet_err err;
    const enum octet_status status =
        is_schema ? octet_grammar_open_schema(model, schema, strlen(schema), 0, &g, &err)
                  : octet_grammar_open(model, list, strlen(list), &g, &err);
    if (status != OCTET_OK) fail_msg("%s", err.message);
    return g;
}

static void constrain(struct octet_sampler *s, struct octet_grammar *g, int64_t n_tokens) {
    struct octet_err err;
    if (octet_sampler_constrain(s, g, n_tokens, &err) != OCTET_OK) fail_msg("%s", err.message);
}

static int32_t pick(struct octet_sampler *s) {
    int32_t id = -1;
    struct octet_err err;
    if (octet_sampler_pick(s, logits, &id, &err) != OCTET_OK) fail_msg("%s", err.message);
    return id;
}

struct text {
    char bytes[512];
    size_t n;
};

static void add_token(struct text *text, int32_t id) {
    const char *bytes;
    size_t n;
    assert_int_equal(octet_token_bytes(model, id, false, &bytes, &n), OCTET_OK);
    assert_true(text->n + n < sizeof text->bytes);
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
}

static enum octet_match match(struct octet_grammar *g, const struct text *text) {
    enum octet_match how;
    struct octet_err err;
    assert_int_equal(octet_grammar_match(g, text->bytes, text->n, &how, &err), OCTET_OK);
    return how;
}

/* Whether ID may come after TEXT, found without masks. */
static bool may_follow(struct octet_grammar *g, const struct text *text, int32_t id) {
    if (octet_token_ends(model, id)) return match(g, text) == OCTET_MATCH_WHOLE;
    struct text longer = *text;
    add_token(&longer, id);
    return longer.n > text->n && match(g, &longer) != OCTET_MATCH_NONE;
}

/* A text as it is drawn, until the grammar ends it. Its length in tokens. */
static size_t draw_text(struct octet_sampler *s, struct octet_grammar *g, uint32_t seed) {
    struct text text = {{0}, 0};
    for (size_t n = 0;; n++) {
        shuffle_logits(&seed);
        const int32_t id = pick(s);
        assert_true(may_follow(g, &text, id));
        if (octet_token_ends(model, id)) return n;
        add_token(&text, id);
        assert_int_equal(octet_sampler_accept(s, id), OCTET_OK);
        if (!octet_sampler_finished(s)) continue;
        assert_int_equal(match(g, &text), OCTET_MATCH_WHOLE);
        return n + 1;
    }
}

static void test_drawn_texts_are_of_the_form(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 40; i++) {
        struct octet_sampler *const s = open_sampler(i % 4 ? 1.0f : 0.0f, i);
        struct octet_grammar *const g = open_form(i % 2);
        constrain(s, g, 100);
        assert_true(draw_text(s, g, i) <= 100);
        octet_sampler_close(s);
        octet_grammar_close(g);
    }
}

static void test_texts_are_complete_within_their_tokens(void **state) {
    (void)state;
    struct octet_grammar *const g = open_form(true);
    for (uint32_t i = 0; i < 12; i++) {
        const int64_t most = 40 - i; // a token per byte is enough for {"name":"","kind":"fish"}
        struct octet_sampler *const s = open_sampler(1.0f, i);
        constrain(s, g, most);
        assert_true(draw_text(s, g, i) <= (size_t)most);
        octet_sampler_close(s);
    }
    octet_grammar_close(g);
}

/* Each token is made the likeliest in turn: it is picked if, and only if, it may follow. */
static void test_exactly_what_may_follow_is_picked(void **state) {
    (void)state;
    const char *const begun[2][4] = {
        {"", "[", "[12", "[true, [7]]"},
        {"", "{\"na", "{\"name\": \"ab", "{\"name\":\"\",\"kind\":null}"}};
    for (size_t f = 0; f < 2; f++) {
        struct octet_grammar *const g = open_form(f);
        for (size_t b = 0; b < 4; b++) {
            struct octet_sampler *const s = open_sampler(0.0f, 0);
            struct text text = {{0}, 0};
            size_t n_allowed = 0;
            constrain(s, g, -1);
            for (const char *c = begun[f][b]; *c; c++) {
                int32_t byte = 0; // the token of one byte that stands for it
                const char *bytes;
                size_t n;
                while (octet_token_bytes(model, byte, false, &bytes, &n) != OCTET_OK || n != 1 ||
                       *bytes != *c)
                    byte++;
                assert_int_equal(octet_sampler_accept(s, byte), OCTET_OK);
                add_token(&text, byte);
            }
            memset(logits, 0, n_logits * sizeof *logits);
            for (int32_t id = 0; id < (int32_t)n_logits; id++) {
                logits[id] = 1;
                const bool allowed = may_follow(g, &text, id);
                if ((pick(s) == id) != allowed)
                    fail_msg("token %d after '%s': %d", id, begun[f][b], allowed);
                logits[id] = 0;
                n_allowed += allowed;
            }
            assert_true(n_allowed > 0 && n_allowed < n_logits);
            octet_sampler_close(s);
        }
        octet_grammar_close(g);
    }
}

static void test_what_may_not_follow_is_not_accepted(void **state) {
    (void)state;
    struct octet_sampler *const s = open_sampler(0.0f, 0);
    struct octet_grammar *const g = open_form(false);
    const struct text none = {{0}, 0};
    uint32_t seed = 1;
    constrain(s, g, -1);
    shuffle_logits(&seed);
    const int32_t first = pick(s);
    for (int32_t id = 0; id < (int32_t)n_logits; id++)
        if (!may_follow(g, &none, id)) assert_int_equal(octet_sampler_accept(s, id), OCTET_EARG);
    assert_int_equal(pick(s), first); // nothing has changed
    assert_int_equal(octet_sampler_accept(s, first), OCTET_OK);
    octet_sampler_close(s);
    octet_grammar_close(g);
}

static void test_a_constraint_can_be_lifted_and_outlives_its_grammars_owner(void **state) {
    (void)state;
    struct octet_sampler *const s = open_sampler(0.0f, 0);
    struct octet_grammar *g = open_form(true);
    const struct text none = {{0}, 0};
    int32_t other = -1; // that the grammar does not allow, but can be generated
    memset(logits, 0, n_logits * sizeof *logits);
    for (int32_t id = 0; other < 0 && id < (int32_t)n_logits; id++) {
        if (may_follow(g, &none, id) || octet_token_ends(model, id)) continue;
        logits[id] = 1;
        if (pick(s) == id) other = id;
        else logits[id] = 0;
    }
    assert_true(other >= 0);
    constrain(s, g, -1);
    octet_grammar_close(g);
    assert_int_not_equal(pick(s), other);
    constrain(s, NULL, -1);
    assert_int_equal(pick(s), other);
    assert_false(octet_sampler_finished(s));
    g = open_form(false); // and another takes its place
    constrain(s, g, -1);
    octet_grammar_close(g);
    assert_int_not_equal(pick(s), other);
    octet_sampler_close(s);
}

static void test_failing_allocations_leave_the_sampler_usable(void **state) {
    (void)state;
    enum octet_status status = OCTET_EMEM;
    for (size_t after = 0; status == OCTET_EMEM; after++) {
        struct octet_sampler *const s = open_sampler(1.0f, after);
        struct octet_grammar *const old = open_form(false), *const g = open_form(true);
        struct octet_err err;
        uint32_t seed = 5;
        int32_t id;
        constrain(s, old, -1);
        shuffle_logits(&seed);
        mem_fail_after(after);
        const enum octet_status constrained = status = octet_sampler_constrain(s, g, 60, &err);
        if (status == OCTET_OK) status = octet_sampler_pick(s, logits, &id, &err);
        const bool picked = status == OCTET_OK;
        if (picked) status = octet_sampler_accept(s, id);
        mem_fail_after(SIZE_MAX);
        assert_true(status == OCTET_OK || status == OCTET_EMEM);
        struct octet_grammar *const now = constrained == OCTET_OK ? g : old;
        if (status == OCTET_EMEM) draw_text(s, now, seed); // as if nothing had happened
        octet_sampler_close(s);
        octet_grammar_close(old);
        octet_grammar_close(g);
        assert_true(after < 2000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drawn_texts_are_of_the_form),
        cmocka_unit_test(test_texts_are_complete_within_their_tokens),
        cmocka_unit_test(test_exactly_what_may_follow_is_picked),
        cmocka_unit_test(test_what_may_not_follow_is_not_accepted),
        cmocka_unit_test(test_a_constraint_can_be_lifted_and_outlives_its_grammars_owner),
        cmocka_unit_test(test_failing_allocations_leave_the_sampler_usable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
