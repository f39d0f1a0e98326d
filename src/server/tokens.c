/* Texts to tokens and back, as llama.cpp's clients ask ("content") and vLLM's ("prompt",
 * "messages"), and what a client needs to know of the vocabulary. See tokens.h. */
#include "server/tokens.h"

#include <string.h>

#include "base/mem.h"
#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

bool tokens_text(const struct octet_model *model, const struct octet_tokens *tokens, bool special,
                 struct buffer *out) {
    struct octet_stream stream = {{0}, 0};
    struct buffer part = {NULL, 0, 0};
    bool fine = buffer_append(out, "", 0);
    for (size_t i = 0; i < tokens->n && fine; i++) {
        const char *bytes = "";
        size_t n = 0;
        octet_token_bytes(model, tokens->ids[i], special, &bytes, &n);
        fine = mem_reserve((void **)&part.bytes, &part.cap, 3 * n + 12, 1);
        if (fine) n = octet_stream_push(&stream, bytes, n, part.bytes);
        fine = fine && buffer_append(out, part.bytes, n);
    }
    char rest[4];
    buffer_free(&part);
    return fine && buffer_append(out, rest, octet_stream_flush(&stream, rest));
}

static json_t *text_json(const struct octet_model *model, const struct octet_tokens *tokens) {
    struct buffer text = {NULL, 0, 0};
    const bool fine = tokens_text(model, tokens, true, &text);
    json_t *const json = fine ? json_stringn(text.bytes, text.n) : NULL;
    buffer_free(&text);
    return json;
}

/* ---- To tokens ------------------------------------------------------------------------------- */

/* The bytes of a token, as a text where they are one. */
static json_t *piece_json(const struct octet_model *model, int32_t id) {
    const char *bytes = "";
    size_t n = 0;
    octet_token_bytes(model, id, true, &bytes, &n);
    json_t *const text = json_stringn(bytes, n);
    if (text) return text;
    json_t *const list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    return list;
}

static json_t *ids_json(const struct octet_model *model, const struct octet_tokens *tokens,
                        bool pieces) {
    json_t *const list = json_array();
    for (size_t i = 0; i < tokens->n; i++)
        json_array_append_new(
            list, pieces ? json_pack("{s:i, s:o}", "id", tokens->ids[i], "piece",
                                     piece_json(model, tokens->ids[i]))
                         : json_integer(tokens->ids[i]));
    return list;
}

/* As the vocabulary spells them. */
static json_t *names_json(const struct octet_model *model, const struct octet_tokens *tokens) {
    json_t *const list = json_array();
    for (size_t i = 0; i < tokens->n; i++) {
        const char *const name = octet_token_name(model, tokens->ids[i]);
        json_array_append_new(list, name ? json_string(name) : json_null());
    }
    return list;
}

static void read_plain(struct body *body, const struct lane *lane, const char *key,
                       unsigned flags, struct job *job) {
    struct octet_err err;
    const char *const text = body_text(body, key);
    if (text && octet_tokenize(lane_model(lane), text, strlen(text), flags, &job->prompt, &err) !=
                    OCTET_OK)
        body_complain(body, "%.180s", err.message);
}

static void read_to_tokens(struct body *body, struct lane *lane, struct job *job) {
    if (body_get(body, "content")) {
        unsigned flags = body_bool(body, "add_special", false) ? OCTET_TOKENIZE_BOS : 0;
        if (body_bool(body, "parse_special", true)) flags |= OCTET_TOKENIZE_SPECIAL;
        read_plain(body, lane, "content", flags, job);
    } else if (body_get(body, "prompt")) {
        const bool add = body_bool(body, "add_special_tokens", true);
        read_plain(body, lane, "prompt", OCTET_TOKENIZE_SPECIAL | (add ? OCTET_TOKENIZE_BOS : 0),
                   job);
    } else if (body_get(body, "messages")) {
        if (!body_bool(body, "add_generation_prompt", true))
            body_complain(body, "'messages' always end with the beginning of an answer");
        asked_chat(body, "messages", lane, job);
    } else {
        body_complain(body, "there is no text: 'content', 'prompt' or 'messages'");
    }
}

static void post_tokenize(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct job *const job = job_new();
    if (job)
        read_to_tokens(&body, lane, job);
    else
        body_complain(&body, "out of memory");
    const bool pieces = body_bool(&body, "with_pieces", false);
    const bool names = body_bool(&body, "return_token_strs", false);
    const struct octet_model *const model = lane_model(lane);
    if (body.wrong[0])
        exchange_error(exchange, 400, body.wrong);
    else
        server_reply_json(exchange, 200,
                          json_pack("{s:o, s:I, s:i, s:o}", "tokens",
                                    ids_json(model, &job->prompt, pieces), "count",
                                    (json_int_t)job->prompt.n, "max_model_len", lane_n_ctx(lane),
                                    "token_strs",
                                    names ? names_json(model, &job->prompt) : json_null()));
    job_free(job);
    body_close(&body);
}

/* ---- To text --------------------------------------------------------------------------------- */

/* The text of JOB's prompt under two names; frees JOB. */
static void reply_text(struct exchange *exchange, struct body *body, const struct lane *lane,
                       struct job *job) {
    if (body->wrong[0] || !job) {
        exchange_error(exchange, 400, body->wrong[0] ? body->wrong : "out of memory");
    } else {
        json_t *const text = text_json(lane_model(lane), &job->prompt);
        server_reply_json(exchange, 200, json_pack("{s:O, s:o}", "content", text, "prompt", text));
    }
    job_free(job);
    body_close(body);
}

static void post_detokenize(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct job *const job = job_new();
    const json_t *const tokens = body_get(&body, "tokens");
    if (!json_is_array(tokens)) body_complain(&body, "'tokens' is not a list");
    if (job && json_is_array(tokens)) asked_prompt(&body, tokens, lane, job);
    reply_text(exchange, &body, lane, job);
}

static void post_apply_template(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct job *const job = job_new();
    if (job) asked_chat(&body, "messages", lane, job);
    reply_text(exchange, &body, lane, job);
}

/* ---- The vocabulary -------------------------------------------------------------------------- */

static json_t *name_json(const struct octet_model *model, int32_t id) {
    const char *const name = id >= 0 ? octet_token_name(model, id) : NULL;
    return name ? json_string(name) : json_null();
}

/* Of the first model, in the words of the tokenizer_config.json that models are published with. */
static void get_info(void *user, struct exchange *exchange) {
    const struct lane *const lane = server_lane(user, 0);
    const struct octet_model *const model = lane_model(lane);
    const char *const source = octet_chat_template(model, NULL);
    server_reply_json(exchange, 200,
                      json_pack("{s:s, s:s, s:i, s:I, s:o, s:o, s:s?}", "tokenizer_class", "octet",
                                "model", lane_name(lane), "model_max_length", lane_n_ctx(lane),
                                "vocab_size", (json_int_t)octet_n_tokens(model), "bos_token",
                                name_json(model, octet_token_bos(model)), "eos_token",
                                name_json(model, octet_token_eos(model)), "chat_template",
                                source));
}

const struct route tokens_routes[] = {
    {"/tokenize", HTTPD_POST, false, post_tokenize},
    {"/detokenize", HTTPD_POST, false, post_detokenize},
    {"/apply-template", HTTPD_POST, false, post_apply_template},
    {"/tokenizer_info", HTTPD_GET, false, get_info},
    {0},
};
