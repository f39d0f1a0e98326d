/* See asked.h. */
#include "server/asked.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "server/server.h"

struct lane *asked_lane(struct body *body, const struct server *server) {
    const char *name = body_text(body, "model");
    if (!name) name = json_string_value(body_get(body, "name"));
    struct lane *const lane = server_find(server, name ? name : "");
    if (!lane)
        body_complain(body, "there is no model '%.80s' here; GET /v1/models lists those there are",
                      name ? name : "");
    return lane;
}

/* ---- Sampling -------------------------------------------------------------------------------- */

static bool add_stop(void *user, const char *text) { return job_add_stop(user, text); }

static void add_bias(struct body *body, struct job *job, const struct lane *lane, int64_t id,
                     const json_t *bias) {
    const double by = json_is_false(bias) ? -HUGE_VAL : json_number_value(bias);
    if (!json_is_false(bias) && !json_is_number(bias)) {
        body_complain(body, "'logit_bias' holds what is no number");
        return;
    }
    if (id < 0 || (size_t)id >= octet_n_tokens(lane_model(lane))) {
        body_complain(body, "'logit_bias' names a token that there is not");
        return;
    }
    job->bias[job->sampling.n_bias++] = (struct octet_logit_bias){(int32_t)id, (float)by};
}

/* The whole of TEXT as an id; -1: it is none. */
static int64_t read_id(const char *text) {
    char *end;
    const int64_t id = strtoll(text, &end, 10);
    return *text && !*end ? id : -1;
}

/* {"ID": BIAS} of OpenAI, [[ID, BIAS]] of llama.cpp, where false forbids. */
static void read_bias(struct body *body, const struct lane *lane, struct job *job) {
    const json_t *const value = body_get(body, "logit_bias");
    if (!value) return;
    const size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    if (!json_is_object(value) && !json_is_array(value))
        body_complain(body, "'logit_bias' is neither an object nor a list");
    job->bias = mem_array(n, sizeof *job->bias);
    if (!job->bias) body_complain(body, "out of memory");
    if (!job->bias) return;
    const char *key;
    json_t *bias;
    json_object_foreach((json_t *)(uintptr_t)value, key, bias)
        add_bias(body, job, lane, read_id(key), bias);
    size_t i;
    json_array_foreach(value, i, bias) {
        const json_t *const id = json_array_get(bias, 0);
        add_bias(body, job, lane, json_is_integer(id) ? json_integer_value(id) : -1,
                 json_array_get(bias, 1));
    }
    job->sampling.bias = job->bias;
}

static uint64_t draw_seed(void) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = (uint64_t)random();
    return seed >> 12; // whole numbers that JSON can carry
}

static void read_seed(struct body *body, struct octet_sampling *s) {
    static const char *const names[] = {"seed", "random_seed"};
    s->seed = draw_seed();
    for (size_t i = 0; i < 2; i++) {
        const int64_t seed = body_int(body, names[i], -(INT64_C(1) << 53), INT64_C(1) << 53, -1);
        if (seed >= 0) s->seed = (uint64_t)seed; // -1 asks for any
    }
}

void asked_sampling(struct body *body, const struct lane *lane, struct job *job) {
    struct octet_sampling *const s = &job->sampling;
    static const struct {
        const char *name;
        size_t offset;
        double min, max;
    } numbers[] = {
        {"temperature", offsetof(struct octet_sampling, temperature), 0, 100},
        {"top_p", offsetof(struct octet_sampling, top_p), 0, 1},
        {"min_p", offsetof(struct octet_sampling, min_p), 0, 1},
        {"typical_p", offsetof(struct octet_sampling, typical_p), 0, 1},
        {"repeat_penalty", offsetof(struct octet_sampling, repeat_penalty), 0.01, 100},
        {"frequency_penalty", offsetof(struct octet_sampling, frequency_penalty), -100, 100},
        {"presence_penalty", offsetof(struct octet_sampling, presence_penalty), -100, 100},
        {"dry_multiplier", offsetof(struct octet_sampling, dry_multiplier), 0, 100},
        {"dry_base", offsetof(struct octet_sampling, dry_base), 1, 100},
        {"mirostat_tau", offsetof(struct octet_sampling, mirostat_tau), 0.01, 100},
        {"mirostat_eta", offsetof(struct octet_sampling, mirostat_eta), 0, 100},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        float *const to = (float *)((char *)s + numbers[i].offset);
        *to = (float)body_number(body, numbers[i].name, numbers[i].min, numbers[i].max,
                                 (double)*to);
    }
    if (s->top_p == 0) s->top_k = 1, s->top_p = 1; // only the likeliest
    const int64_t top_k = body_int(body, "top_k", -1, INT32_MAX, s->top_k);
    s->top_k = (int32_t)(top_k < 0 ? 0 : top_k);
    s->penalty_last_n = (int32_t)body_int(body, "repeat_last_n", -1, INT32_MAX, s->penalty_last_n);
    s->mirostat = body_int(body, "mirostat", 0, 2, 0) ? 2 : 0;
    read_seed(body, s);
    read_bias(body, lane, job);
    body_texts(body, "stop", add_stop, job);
    body_texts(body, "stop_sequences", add_stop, job);
    job->ignore_eos = body_bool(body, "ignore_eos", false);
}

struct job *asked_job(struct body *body, const struct lane *lane, size_t sample) {
    struct job *const job = job_new();
    if (!job) {
        body_complain(body, "out of memory");
        return NULL;
    }
    asked_sampling(body, lane, job);
    job->sampling.seed += sample;
    return job;
}

/* ---- Prompts and holes ----------------------------------------------------------------------- */

void asked_tokens(struct body *body, const json_t *text, const struct lane *lane,
                  struct octet_tokens *out) {
    const struct octet_model *const model = lane_model(lane);
    struct octet_err err;
    if (json_is_string(text)) {
        const size_t n = json_string_length(text), most = lane_most_bytes(lane);
        if (octet_tokenize(model, json_string_value(text), n < most ? n : most,
                           OCTET_TOKENIZE_BOS | OCTET_TOKENIZE_SPECIAL, out, &err) != OCTET_OK)
            body_complain(body, "%.180s", err.message);
        return;
    }
    size_t i;
    const json_t *id;
    if (!json_is_array(text))
        body_complain(body, "what is to be read is neither a text nor a list of token ids");
    json_array_foreach(text, i, id) {
        const json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || (size_t)value >= octet_n_tokens(model))
            body_complain(body, "a list of token ids holds what is no token of this model");
        else if (octet_tokens_push(out, (int32_t)value) != OCTET_OK)
            body_complain(body, "out of memory");
    }
}

void asked_prompt(struct body *body, const json_t *prompt, const struct lane *lane,
                  struct job *job) {
    asked_tokens(body, prompt, lane, &job->prompt);
}

struct hole *asked_hole(struct body *body, const char *prefix, const char *suffix) {
    struct hole *const hole = hole_new(prefix ? prefix : "", suffix ? suffix : "");
    if (!hole || !hole_set_file(hole, NULL, body_text(body, "language"))) {
        body_complain(body, "out of memory");
        hole_free(hole);
        return NULL;
    }
    const char *const method = body_text(body, "fim_method");
    hole->n_indent = (int)body_int(body, "n_indent", 0, 10000, hole->n_indent);
    if (method && !fim_method_find(method, &hole->method))
        body_complain(body, "'fim_method' is not auto, trained, instruct or prefix");
    return hole;
}

struct hole *asked_rescue(const struct lane *lane, const char *prompt) {
    return prompt ? fim_rescue(lane_model(lane), prompt) : NULL;
}

void asked_fill(struct body *body, const struct lane *lane, struct hole *hole, struct job *job) {
    struct octet_err err;
    if (body->wrong[0] || !hole) return;
    if (fim_prepare(lane_model(lane), hole, (size_t)lane_n_ctx(lane), job, &err) != OCTET_OK)
        body_complain(body, "%.180s", err.message);
}
