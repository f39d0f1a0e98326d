/* Anthropic's API: /v1/messages, whole and as a stream of named events, and the counting of tokens.
 * An answer is blocks of text and calls of tools. */
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
    const char *const reason = c->finish == FINISH_LENGTH && !c->over ? "max_tokens"
                               : answer_calls(c)          ? "tool_use"
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

static json_t *text_block(const char *text, size_t n_bytes) {
    return json_pack("{s:s, s:o}", "type", "text", "text", json_stringn(text, n_bytes));
}

/* INPUT, taken over: the arguments, which a stream tells later. */
static json_t *call_block(const struct tool_call *call, json_t *input) {
    return json_pack("{s:s, s:s, s:s, s:o}", "type", "tool_use", "id", call->id, "name", call->name,
                     "input", input);
}

/* Texts and calls in the order in which they came. */
static json_t *content_json(const struct choice *c) {
    json_t *const list = json_array();
    size_t from = 0;
    for (size_t i = 0; i <= c->n_calls; i++) {
        const size_t to = i < c->n_calls ? c->calls[i].n_before : c->text.n;
        if (to > from) json_array_append_new(list, text_block(c->text.bytes + from, to - from));
        from = to;
        if (i == c->n_calls) break;
        json_array_append_new(
            list, call_block(&c->calls[i], json_loads(c->calls[i].arguments, 0, NULL)));
    }
    if (json_array_size(list) == 0) json_array_append_new(list, text_block("", 0));
    return list;
}

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    json_t *const json = message_json(a, content_json(c));
    json_t *const stop = stop_json(c);
    json_object_update(json, stop);
    json_decref(stop);
    return json;
}

static void stream_begin(struct answer *a) {
    answer_send_event(a, "message_start",
                      json_pack("{s:s, s:o}", "type", "message_start", "message",
                                message_json(a, json_array())));
}

/* Events about a block; the answer's parts are counted when they begin. */
static void start_block(struct answer *a, json_t *block) {
    answer_send_event(a, "content_block_start",
                      json_pack("{s:s, s:I, s:o}", "type", "content_block_start", "index",
                                (json_int_t)a->n_parts, "content_block", block));
    a->n_parts++;
}

static void send_delta(struct answer *a, const char *type, const char *key, json_t *value) {
    answer_send_event(a, "content_block_delta",
                      json_pack("{s:s, s:I, s:{s:s, s:o}}", "type", "content_block_delta", "index",
                                (json_int_t)a->n_parts - 1, "delta", "type", type, key, value));
}

static void stop_block(struct answer *a) {
    answer_send_event(a, "content_block_stop",
                      json_pack("{s:s, s:I}", "type", "content_block_stop", "index",
                                (json_int_t)a->n_parts - 1));
    a->in_text = false;
}

static void begin_text(struct answer *a) {
    if (!a->in_text) start_block(a, text_block("", 0));
    a->in_text = true;
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    begin_text(c->answer);
    send_delta(c->answer, "text_delta", "text", json_stringn(text, n_bytes));
}

static void begin_call(struct choice *c, const struct tool_call *call) {
    if (c->answer->in_text) stop_block(c->answer);
    start_block(c->answer, call_block(call, json_object()));
}

static void stream_arguments(struct choice *c, const char *text, size_t n_bytes) {
    send_delta(c->answer, "input_json_delta", "partial_json", json_stringn(text, n_bytes));
}

static void end_call(struct choice *c, const struct tool_call *call) {
    (void)call;
    stop_block(c->answer);
}

static void stream_done(struct choice *c) {
    struct answer *const a = c->answer;
    if (a->n_parts == 0) begin_text(a);
    if (a->in_text) stop_block(a);
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
    .begin_call = begin_call,
    .arguments = stream_arguments,
    .end_call = end_call,
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

/* The call that a block of type tool_use is. */
static json_t *read_use(const json_t *block) {
    const json_t *const input = json_object_get(block, "input");
    return json_pack("{s:O?, s:{s:O?, s:O?}}", "id", json_object_get(block, "id"), "function",
                     "name", json_object_get(block, "name"), "arguments",
                     (json_t *)(uintptr_t)input);
}

/* The message that a block of type tool_result is. */
static json_t *read_result(const json_t *block) {
    return json_pack("{s:s, s:O?, s:O?}", "role", "tool", "tool_call_id",
                     json_object_get(block, "tool_use_id"), "content",
                     json_object_get(block, "content"));
}

/* Messages as OpenAI has them: calls beside the texts, results as messages before them. */
static bool read_blocks(const json_t *message, json_t *list) {
    json_t *const texts = json_array(), *const calls = json_array();
    json_t *const out = json_copy((json_t *)(uintptr_t)message);
    size_t i;
    json_t *block;
    int failed = 0;
    json_array_foreach(json_object_get(message, "content"), i, block) {
        const char *type = json_string_value(json_object_get(block, "type"));
        if (!type) type = "";
        if (strcmp(type, "tool_use") == 0)
            failed |= json_array_append_new(calls, read_use(block));
        else if (strcmp(type, "tool_result") == 0)
            failed |= json_array_append_new(list, read_result(block));
        else
            failed |= json_array_append(texts, block);
    }
    const bool silent = json_array_size(texts) == 0; // only results
    if (json_array_size(calls) > 0) failed |= json_object_set(out, "tool_calls", calls);
    failed |= json_object_set(out, "content", texts);
    if (!silent || json_array_size(calls) > 0) failed |= json_array_append(list, out);
    json_decref(texts);
    json_decref(calls);
    json_decref(out);
    return !failed;
}

/* "system" is a field of its own here. */
static void read_conversation(struct body *body, struct lane *lane, struct job *job) {
    json_t *const list = json_array();
    size_t i;
    json_t *message;
    bool fine = true;
    json_array_foreach(json_object_get(body->json, "messages"), i, message) {
        drop_thoughts(message);
        fine &= json_array_size(json_object_get(message, "content")) > 0
                    ? read_blocks(message, list)
                    : json_array_append(list, message) == 0;
    }
    if (!fine || json_object_set_new(body->json, "messages", list) != 0)
        body_complain(body, "out of memory");
    if (json_array_size(list) > 0) asked_system(body, body_get(body, "system"));
    asked_chat(body, "messages", lane, job);
}

static void post_messages(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    if (!body_get(&body, "max_tokens")) body_complain(&body, "'max_tokens' is missing");
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
