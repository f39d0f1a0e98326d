/* What holding answers to a schema costs: milliseconds per token beyond a plain pick, where the
 * mask is there, where the grammar's state is new, and where the text has to come to its end,
 * beside the time of a decoding step.
 *
 *     cc -O2 -Iinclude -Isrc bench/constrain.c build/liboctet.a -ljansson -lutf8proc -lm -pthread
 *     a.out MODEL.gguf [SCHEMAS.json]
 *
 * Texts are drawn from random logits, so they lead to more states than a model's would. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/probe.h"
#include "engine/grammar.h"
#include "text/grammar_impl.h"

enum { N_LOGITS = 16, MAX_TOKENS = 200, DEPTH = 128, N_STEPS = 24 };

static struct octet_model *model;
static float *logits[N_LOGITS]; // (n_vocab) each

struct times {
    double *ms; // (n)
    size_t n, cap;
};

static void check(enum octet_status status, const struct octet_err *err) {
    if (status == OCTET_OK) return;
    fprintf(stderr, "constrain: %s\n", err->message);
    exit(1);
}

static void add_time(struct times *t, double ms) {
    if (t->n == t->cap) t->ms = realloc(t->ms, (t->cap = 2 * t->cap + 64) * sizeof *t->ms);
    if (!t->ms) abort();
    t->ms[t->n++] = ms;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void show(const char *name, struct times *t, double step_ms) {
    double sum = 0;
    if (t->n == 0) return;
    qsort(t->ms, t->n, sizeof *t->ms, by_size);
    for (size_t i = 0; i < t->n; i++) sum += t->ms[i];
    const double mean = sum / (double)t->n, last = t->ms[t->n * 99 / 100];
    printf("%-18s %6zu tokens: mean %.3f ms (%.1f %% of a step), median %.3f, 99 %% %.3f (%.1f %%), "
           "most %.3f\n",
           name, t->n, mean, 100 * mean / step_ms, t->ms[t->n / 2], last, 100 * last / step_ms,
           t->ms[t->n - 1]);
    free(t->ms);
}

static double step_time(void) {
    int32_t tokens[DEPTH + N_STEPS];
    struct octet_session *s;
    struct octet_err err;
    struct times t = {0};
    check(octet_session_open(model, NULL, &s, &err), &err);
    for (size_t i = 0; i < DEPTH + N_STEPS; i++)
        tokens[i] = (int32_t)(i * 7919 % octet_n_tokens(model));
    check(octet_session_sync(s, tokens, DEPTH, &err), &err);
    for (size_t i = 1; i <= N_STEPS; i++) {
        const double begun = probe_seconds();
        check(octet_session_sync(s, tokens, DEPTH + i, &err), &err);
        add_time(&t, 1e3 * (probe_seconds() - begun));
    }
    octet_session_close(s);
    qsort(t.ms, t.n, sizeof *t.ms, by_size);
    const double median = t.ms[t.n / 2];
    free(t.ms);
    return median;
}

static struct octet_sampler *open_sampler(uint64_t seed) {
    struct octet_sampling options = OCTET_SAMPLING_DEFAULTS;
    struct octet_sampler *s;
    struct octet_err err;
    options.seed = seed;
    check(octet_sampler_open(model, &options, &s, &err), &err);
    return s;
}

/* Milliseconds for a pick and its acceptance. */
static double time_pick(struct octet_sampler *s, size_t i, int32_t *id) {
    struct octet_err err;
    const double begun = probe_seconds();
    check(octet_sampler_pick(s, logits[i % N_LOGITS], id, &err), &err);
    if (!octet_token_ends(model, *id)) check(octet_sampler_accept(s, *id), &err);
    return 1e3 * (probe_seconds() - begun);
}

struct costs {
    struct times open, made, kept, tight;
};

/* A text of at most N_TOKENS; < 0: any number, and MAX_TOKENS of it. */
static void draw_text(struct octet_grammar *g, uint64_t seed, int64_t n_tokens, struct costs *c) {
    const struct automaton *const a = octet_grammar_inner(g)->automaton;
    struct octet_sampler *const plain = open_sampler(seed), *const s = open_sampler(seed);
    struct octet_err err;
    check(octet_sampler_constrain(s, g, n_tokens, &err), &err);
    for (size_t i = 0; i < MAX_TOKENS && !octet_sampler_finished(s); i++) {
        int32_t id;
        const size_t n_before = a->mask_bytes;
        const double without = time_pick(plain, i, &id), with = time_pick(s, i, &id);
        struct times *const t = a->mask_bytes > n_before ? &c->made
                                : n_tokens >= 0 && i >= MAX_TOKENS - 20 ? &c->tight
                                                                        : &c->kept;
        add_time(t, with - without);
        if (octet_token_ends(model, id)) break;
    }
    octet_sampler_close(plain);
    octet_sampler_close(s);
}

static void measure(const json_t *cases, double step_ms) {
    struct costs c = {0};
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *const schema = json_object_get(json_array_get(cases, i), "schema");
        char *const text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
        struct octet_grammar *g;
        struct octet_err err;
        if (!text) abort();
        const double begun = probe_seconds();
        check(octet_grammar_open_schema(model, text, strlen(text), 0, &g, &err), &err);
        if (i > 0) add_time(&c.open, 1e3 * (probe_seconds() - begun)); // 0: sorts the vocabulary too
        draw_text(g, i, -1, &c);
        draw_text(g, i, -1, &c);
        draw_text(g, i, MAX_TOKENS, &c);
        octet_grammar_close(g);
        free(text);
    }
    show("opening a schema", &c.open, step_ms);
    show("mask is there", &c.kept, step_ms);
    show("mask is made", &c.made, step_ms);
    show("near the end", &c.tight, step_ms);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: constrain MODEL.gguf [SCHEMAS.json]\n");
        return 2;
    }
    struct octet_err err;
    uint64_t x = 88172645463325252u;
    check(octet_model_open(argv[1], NULL, &model, &err), &err);
    json_t *const cases =
        json_load_file(argc > 2 ? argv[2] : "tests/data/grammar/schemas.json", 0, NULL);
    for (size_t k = 0; k < N_LOGITS; k++) {
        logits[k] = calloc(octet_n_tokens(model) + 65536, sizeof **logits);
        if (!cases || !logits[k]) return 1;
        for (size_t i = 0; i < octet_n_tokens(model) + 65536; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            logits[k][i] = (float)(x >> 40) / (float)(1 << 20);
        }
    }
    const double step_ms = step_time();
    printf("%s: a step of one token %.2f ms\n", argv[1], step_ms);
    measure(cases, step_ms);
    json_decref(cases);
    for (size_t k = 0; k < N_LOGITS; k++) free(logits[k]);
    octet_model_close(model);
    return 0;
}
