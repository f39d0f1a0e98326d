/* Anthropic's API: /v1/messages, whole and as a stream of named events, and the counting of tokens.
 * An answer is one block of text. */
#include <stdio.h>
#include <string.h>

#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

/* ---- Writing --------------------------------------------------------------------------------- */

static const char *error_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
    }
}

json_t *anthropic_error(int status, const char *text) {
    /* Agents that see these words make room and try again. */
    const bool too_long = strstr(text, "context_length_exceeded") != NULL;
    char message[600];
    snprintf(message, sizeof message, "%s%s", too_long ? "prompt is too long: " : "", text);
    return json_pack("{s:s, s:{s:s, s:s}}", "type", "error", "error", "type", error_type(status),
                     "message", message);
}

/* Cached tokens count apart from the others; that some are is not known before the end. */
static json_t *usage_json(const struct answer *a) {
    return json_pack("{s:I, s:i, s:I, s:I}", "input_tokens",
                     (json_int_t)(a->prompt_tokens - a->cached_tokens),
                     "cache_creation_input_tokens", 0, "cache_read_input_tokens",
                     (json_int_t)a->cached_tokens, "output_tokens",
                     (json_int_t)a->generated_tokens);
}

/* The stop string that ended the answer, if it is one the client knows of. */
static const char *stop_sequence(const struct choice *c) {
    size_t i;
    const json_t *stop;
    if (!c->stopped_by[0]) return NULL;
    json_array_foreach(c->answer->extra, i, stop) {
        const char *const text = json_string_value(stop);
        if (strncmp(text, c->stopped_by, sizeof c->stopped_by - 1) == 0) return text;
    }
    return NULL;
}

/* {"stop_reason", "stop_sequence"} */
static json_t *stop_json(const struct choice *c) {
    const char *const stop = stop_sequence(c);
    const char *const reason = c->finish == FINISH_LENGTH ? "max_tokens"
                               : stop                     ? "stop_sequence"
                                                          : "end_turn";
    return json_pack("{s:s, s:s?}", "stop_reason", reason, "stop_sequence", stop);
}

/* CONTENT: a list, taken over. */
static json_t *message_json(const struct answer *a, json_t *content) {
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:n, s:n, s:o}", "id", a->id, "type", "message",
                     "role", "assistant", "model", lane_name(a->lane), "content", content,
                     "stop_reason", "stop_sequence", "usage", usage_json(a));
}

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    json_t *const block = json_pack("{s:s, s:s}", "type", "text", "text",
                                    c->text.bytes ? c->text.bytes : "");
    json_t *const json = message_json(a, json_pack("[o]", block));
    json_t *const stop = stop_json(c);
    json_object_update(json, stop);
    json_decref(stop);
    return json;
}

static void stream_begin(struct answer *a) {
    answer_send_event(a, "message_start",
                      json_pack("{s:s, s:o}", "type", "message_start", "message",
                                message_json(a, json_array())));
    answer_send_event(a, "content_block_start",
                      json_pack("{s:s, s:i, s:{s:s, s:s}}", "type", "content_block_start", "index",
                                0, "content_block", "type", "text", "text", ""));
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    answer_send_event(c->answer, "content_block_delta",
                      json_pack("{s:s, s:i, s:{s:s, s:o}}", "type", "content_block_delta", "index",
                                0, "delta", "type", "text_delta", "text",
                                json_stringn(text, n_bytes)));
}

static void stream_done(struct choice *c) {
    struct answer *const a = c->answer;
    answer_send_event(a, "content_block_stop",
                      json_pack("{s:s, s:i}", "type", "content_block_stop", "index", 0));
    answer_send_event(a, "message_delta",
                      json_pack("{s:s, s:o, s:o}", "type", "message_delta", "delta", stop_json(c),
                                "usage", usage_json(a)));
}

static void stream_end(struct answer *a) {
    answer_send_event(a, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static void stream_fail(struct answer *a, const char *text) {
    answer_send_event(a, "error", anthropic_error(500, text));
}

static const struct dialect dialect = {
    .stream_type = "text/event-stream",
    .silence = "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    .whole = whole,
    .begin = stream_begin,
    .text = stream_text,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

/* ---- Reading --------------------------------------------------------------------------------- */

/* Thoughts of other models in a message's content are not read. */
static void drop_thoughts(json_t *message) {
    json_t *const content = json_object_get(message, "content");
    for (size_t i = json_array_size(content); i-- > 0;) {
        const char *const type =
            json_string_value(json_object_get(json_array_get(content, i), "type"));
        if (type && (strcmp(type, "thinking") == 0 || strcmp(type, "redacted_thinking") == 0))
            json_array_remove(content, i);
    }
}

/* "system" is a field of its own here. */
static void read_conversation(struct body *body, const struct lane *lane, struct job *job) {
    size_t i;
    json_t *message;
    json_array_foreach(json_object_get(body->json, "messages"), i, message) drop_thoughts(message);
    asked_system(body, body_get(body, "system"));
    asked_chat(body, "messages", lane, job);
}

/* Tools are known to the client only; that one must be used can not be promised. */
static void check_tool_choice(struct body *body) {
    const char *const type =
        json_string_value(json_object_get(body_get(body, "tool_choice"), "type"));
    if (type && strcmp(type, "auto") != 0 && strcmp(type, "none") != 0)
        body_complain(body, "'tool_choice': this model does not support tools");
}

static void post_messages(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    if (!body_get(&body, "max_tokens")) body_complain(&body, "'max_tokens' is missing");
    check_tool_choice(&body);
    json_t *const stops = (json_t *)(uintptr_t)body_get(&body, "stop_sequences");
    struct answer *const answer = answer_new(user, exchange, lane, &dialect, "msg_", 1);
    struct job *const job = answer ? asked_job(&body, lane, 0) : NULL;
    if (job) {
        answer_add_job(answer, 0, job);
        answer->stream = body_bool(&body, "stream", false);
        answer->extra = json_is_string(stops) ? json_pack("[O]", stops) : json_incref(stops);
        job->max_tokens = (int32_t)body_int(&body, "max_tokens", 0, INT32_MAX, 0);
        read_conversation(&body, lane, job);
    }
    answer_or_refuse(answer, exchange, &body);
}

static void post_count(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct job *const job = job_new();
    if (job)
        read_conversation(&body, lane, job);
    else
        body_complain(&body, "out of memory");
    if (body.wrong[0])
        exchange_error(exchange, 400, body.wrong);
    else
        server_reply_json(exchange, 200,
                          json_pack("{s:I}", "input_tokens", (json_int_t)job->prompt.n));
    job_free(job);
    body_close(&body);
}

const struct route anthropic_routes[] = {
    {"/v1/messages", HTTPD_POST, false, post_messages},
    {"/v1/messages/count_tokens", HTTPD_POST, false, post_count},
    {0},
};
