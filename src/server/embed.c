/* Texts as vectors, in the shapes of OpenAI's, Ollama's and llama.cpp's APIs. A vector is the mean
 * of the hidden states after the last norm; it is made to have length 1 where the API says so. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

enum { MAX_TEXTS = 2048, MAX_NORM = 100 };

/* ---- Writing --------------------------------------------------------------------------------- */

static json_t *numbers_json(const struct vectors *v, size_t text) {
    json_t *const list = json_array();
    for (size_t i = 0; i < v->d; i++)
        json_array_append_new(list, json_real((double)v->values[text * v->d + i]));
    return list;
}

/* The bytes of the floats, the lowest first. */
static json_t *base64_json(const struct vectors *v, size_t text) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buffer out = {NULL, 0, 0};
    bool fine = buffer_append(&out, "", 0);
    uint32_t bits = 0;
    const size_t n = v->d * sizeof(float);
    for (size_t i = 0; i < (n + 2) / 3 * 3; i++) {
        uint32_t word = 0;
        if (i < n) memcpy(&word, &v->values[text * v->d + i / 4], sizeof word);
        bits = bits << 8 | (word >> 8 * (i % 4) & 0xff);
        if (i % 3 < 2) continue;
        char four[4];
        for (size_t k = 0; k < 4; k++) four[k] = digits[bits >> (18 - 6 * k) & 63];
        for (size_t k = 0; k < i + 1 - n && i + 1 > n; k++) four[3 - k] = '=';
        fine = fine && buffer_append(&out, four, 4);
        bits = 0;
    }
    json_t *const json = fine ? json_stringn(out.bytes, out.n) : NULL;
    buffer_free(&out);
    return json;
}

static json_t *openai_whole(struct answer *a) {
    const struct vectors *const v = a->choices[0].vectors;
    json_t *const list = json_array();
    for (size_t i = 0; i < v->n; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "object", "embedding", "index",
                                              (json_int_t)i, "embedding",
                                              a->extra ? base64_json(v, i) : numbers_json(v, i)));
    const json_int_t n = (json_int_t)a->prompt_tokens;
    return json_pack("{s:s, s:s, s:o, s:s, s:{s:I, s:I}}", "id", a->id, "object", "list", "data",
                     list, "model", lane_name(a->lane), "usage", "prompt_tokens", n,
                     "total_tokens", n);
}

static json_int_t nanoseconds(double seconds) { return (json_int_t)(seconds * 1e9); }

static json_t *ollama_json(const struct lane *lane, json_t *vectors, double seconds, size_t n) {
    return json_pack("{s:s, s:o, s:I, s:I, s:I}", "model", lane_name(lane), "embeddings", vectors,
                     "total_duration", nanoseconds(seconds), "load_duration", (json_int_t)0,
                     "prompt_eval_count", (json_int_t)n);
}

static json_t *ollama_whole(struct answer *a) {
    const struct vectors *const v = a->choices[0].vectors;
    json_t *const list = json_array();
    for (size_t i = 0; i < v->n; i++) json_array_append_new(list, numbers_json(v, i));
    return ollama_json(a->lane, list, a->ended - a->submitted, a->prompt_tokens);
}

static json_t *ollama_single_whole(struct answer *a) {
    return json_pack("{s:o}", "embedding", numbers_json(a->choices[0].vectors, 0));
}

/* A list of vectors per text: there could be one for each token. */
static json_t *llamacpp_whole(struct answer *a) {
    const struct vectors *const v = a->choices[0].vectors;
    json_t *const list = json_array();
    for (size_t i = 0; i < v->n; i++)
        json_array_append_new(list, json_pack("{s:I, s:[o]}", "index", (json_int_t)i, "embedding",
                                              numbers_json(v, i)));
    return list;
}

/* None of them is ever streamed. */
static const struct dialect openai_dialect = {.whole = openai_whole};
static const struct dialect ollama_dialect = {.whole = ollama_whole};
static const struct dialect ollama_single_dialect = {.whole = ollama_single_whole};
static const struct dialect llamacpp_dialect = {.whole = llamacpp_whole};

/* ---- Reading --------------------------------------------------------------------------------- */

/* CUT: where a text is longer than the context, what fits of it is taken. */
static void read_text(struct body *body, const struct lane *lane, struct job *job,
                      const json_t *text, bool cut) {
    const size_t from = job->prompt.n, room = (size_t)lane_n_ctx(lane);
    asked_tokens(body, text, lane, &job->prompt);
    if (cut && job->prompt.n > from + room) job->prompt.n = from + room;
    if (!vectors_add(job->vectors, job->prompt.n)) body_complain(body, "out of memory");
}

static bool is_text(const json_t *value) { return json_is_string(value) || json_is_array(value); }

/* A text, its ids, or a list of either. */
static void read_texts(struct body *body, const struct lane *lane, struct job *job,
                       const json_t *input, bool cut) {
    size_t i;
    const json_t *text;
    if (!is_text(json_array_get(input, 0))) {
        if (!is_text(input))
            body_complain(body, "there is no text: it is a string, token ids, or a list of either");
        else
            read_text(body, lane, job, input, cut);
        return;
    }
    if (json_array_size(input) > MAX_TEXTS)
        body_complain(body, "a request takes %d texts, this one has %zu", MAX_TEXTS,
                      json_array_size(input));
    json_array_foreach(input, i, text) {
        if (body->wrong[0]) return;
        read_text(body, lane, job, text, cut);
    }
}

static void check_dimensions(struct body *body, const struct lane *lane) {
    struct octet_model_info info;
    octet_model_get_info(lane_model(lane), &info);
    if (body_int(body, "dimensions", 1, INT32_MAX, info.d_model) != info.d_model)
        body_complain(body, "'dimensions' can only be %d: parts of this model's vectors mean "
                            "nothing", info.d_model);
}

/* The answer with its only job, to be filled in; NULL: out of memory. */
static struct answer *new_answer(struct server *server, struct exchange *exchange,
                                 struct lane *lane, const struct dialect *dialect) {
    struct answer *const answer = answer_new(server, exchange, lane, dialect, "embd-", 1);
    struct job *const job = answer ? job_new() : NULL;
    if (job) {
        answer_add_job(answer, 0, job);
        job->vectors = vectors_new();
    }
    if (job && job->vectors) return answer;
    if (answer) answer_free(answer);
    return NULL;
}

static struct job *job_of(const struct answer *answer) { return answer->choices[0].job; }

/* ---- The routes ------------------------------------------------------------------------------ */

static void post_openai(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct answer *const answer = new_answer(user, exchange, lane, &openai_dialect);
    const char *const format = body_text(&body, "encoding_format");
    const bool base64 = format && strcmp(format, "base64") == 0;
    if (format && !base64 && strcmp(format, "float") != 0)
        body_complain(&body, "'encoding_format' is neither float nor base64");
    check_dimensions(&body, lane);
    if (answer) {
        answer->extra = base64 ? json_true() : NULL;
        read_texts(&body, lane, job_of(answer), body_get(&body, "input"), false);
    }
    answer_or_refuse(answer, exchange, &body);
}

static bool is_empty(const json_t *input) {
    return !input || (json_is_string(input) && json_string_length(input) == 0) ||
           (json_is_array(input) && json_array_size(input) == 0);
}

static void post_ollama(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    const json_t *const input = body_get(&body, "input");
    if (is_empty(input)) { // asks for the model to be loaded
        server_reply_json(exchange, 200, ollama_json(lane, json_array(), 0, 0));
        body_close(&body);
        return;
    }
    struct answer *const answer = new_answer(user, exchange, lane, &ollama_dialect);
    check_dimensions(&body, lane);
    const bool cut = body_bool(&body, "truncate", true);
    if (answer) read_texts(&body, lane, job_of(answer), input, cut);
    answer_or_refuse(answer, exchange, &body);
}

static void post_ollama_single(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    const json_t *const prompt = body_get(&body, "prompt");
    if (is_empty(prompt)) {
        server_reply_json(exchange, 200, json_pack("{s:[]}", "embedding"));
        body_close(&body);
        return;
    }
    struct answer *const answer = new_answer(user, exchange, lane, &ollama_single_dialect);
    body_text(&body, "prompt");
    if (answer && !body.wrong[0]) {
        job_of(answer)->vectors->norm = VECTORS_PLAIN;
        read_texts(&body, lane, job_of(answer), prompt, true);
    }
    answer_or_refuse(answer, exchange, &body);
}

static void post_llamacpp(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct answer *const answer = new_answer(user, exchange, lane, &llamacpp_dialect);
    const json_t *const content = body_get(&body, "content");
    const int norm = (int)body_int(&body, "embd_normalize", VECTORS_PLAIN, MAX_NORM,
                                   VECTORS_EUCLID);
    if (answer) {
        job_of(answer)->vectors->norm = norm;
        read_texts(&body, lane, job_of(answer), content ? content : body_get(&body, "input"),
                   false);
    }
    answer_or_refuse(answer, exchange, &body);
}

const struct route embed_routes[] = {
    {"/v1/embeddings", HTTPD_POST, false, post_openai},
    {"/api/embed", HTTPD_POST, false, post_ollama},
    {"/api/embeddings", HTTPD_POST, false, post_ollama_single},
    {"/embedding", HTTPD_POST, false, post_llamacpp},
    {"/embeddings", HTTPD_POST, false, post_llamacpp},
    {0},
};
