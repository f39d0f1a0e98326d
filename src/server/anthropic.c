/* Anthropic's API: messages and the counting of their tokens. */
#include <string.h>

#include "base/mem.h"
#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

/* ---- Writing --------------------------------------------------------------------------------- */

static const char *stop_reason(const struct choice *c) {
    if (c->finish == FINISH_LENGTH) return "max_tokens";
    return c->stopped_by[0] && c->answer->extra ? "stop_sequence" : "end_turn";
}

/* The stop string, if it is one the client gave. */
static json_t *stop_sequence(const struct choice *c) {
    size_t i;
    const json_t *given;
    json_array_foreach(c->answer->extra, i, given)
        if (strcmp(json_string_value(given), c->stopped_by) == 0)
            return json_string(c->stopped_by);
    return json_null();
}

static json_t *usage_json(const struct answer *a, size_t n_generated) {
    return json_pack("{s:I, s:I, s:I, s:I}", "input_tokens",
                     (json_int_t)(a->prompt_tokens - a->cached_tokens),
                     "cache_creation_input_tokens", (json_int_t)0, "cache_read_input_tokens",
                     (json_int_t)a->cached_tokens, "output_tokens", (json_int_t)n_generated);
}

static json_t *message_json(const struct answer *a, json_t *content, json_t *reason,
                            json_t *sequence, size_t n_generated) {
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "id", a->id, "type", "message",
                     "role", "assistant", "model", lane_name(a->lane), "content", content,
                     "stop_reason", reason, "stop_sequence", sequence, "usage",
                     usage_json(a, n_generated));
}

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    json_t *const content = json_pack("[{s:s, s:s}]", "type", "text", "text",
                                      c->text.bytes ? c->text.bytes : "");
    return message_json(a, content, json_string(stop_reason(c)), stop_sequence(c),
                        a->generated_tokens);
}

static void stream_begin(struct answer *a) {
    answer_send_event(a, "message_start",
                      json_pack("{s:s, s:o}", "type", "message_start", "message",
                                message_json(a, json_array(), json_null(), json_null(), 0)));
    answer_send_event(a, "content_block_start",
                      json_pack("{s:s, s:i, s:{s:s, s:s}}", "type", "content_block_start",
                                "index", 0, "content_block", "type", "text", "text", ""));
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    answer_send_event(c->answer, "content_block_delta",
                      json_pack("{s:s, s:i, s:{s:s, s:o}}", "type", "content_block_delta",
                                "index", 0, "delta", "type", "text_delta", "text",
                                json_stringn(text, n_bytes)));
}

static void stream_done(struct choice *c) {
    struct answer *const a = c->answer;
    answer_send_event(a, "content_block_stop",
                      json_pack("{s:s, s:i}", "type", "content_block_stop", "index", 0));
    answer_send_event(a, "message_delta",
                      json_pack("{s:s, s:{s:s, s:o}, s:o}", "type", "message_delta", "delta",
                                "stop_reason", stop_reason(c), "stop_sequence", stop_sequence(c),
                                "usage", usage_json(a, a->generated_tokens)));
}

static void stream_end(struct answer *a) {
    answer_send_event(a, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static void stream_fail(struct answer *a, const char *text) {
    answer_send_event(a, "error",
                      json_pack("{s:s, s:{s:s, s:s}}", "type", "error", "error", "type",
                                "api_error", "message", text));
}

static const struct dialect dialect = {
    .stream_type = "text/event-stream",
    .silence = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    .whole = whole,
    .begin = stream_begin,
    .text = stream_text,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

/* ---- Reading --------------------------------------------------------------------------------- */

/* The conversation with the system's text as its first message. */
static void read_conversation(struct body *body, const struct lane *lane, struct job *job) {
    const json_t *const system = body_get(body, "system");
    json_t *const messages = json_array();
    const json_t *const list = body_get(body, "messages");
    if (json_array_size(list) == 0) body_complain(body, "'messages' is not a list of messages");
    if (system)
        json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "system", "content",
                                                  system));
    if (json_is_array(list)) json_array_extend(messages, (json_t *)(uintptr_t)list);
    struct body inner = {.json = json_pack("{s:o}", "messages", messages)};
    if (!body->wrong[0]) asked_chat(&inner, "messages", lane, job);
    if (inner.wrong[0]) body_complain(body, "%.180s", inner.wrong);
    body_close(&inner);
}

static bool add_stop(void *user, const char *text) { return job_add_stop(user, text); }

static void post_messages(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct answer *const answer = answer_new(user, exchange, lane, &dialect, "msg_", 1);
    struct job *const job = asked_job(&body, lane, 0);
    if (answer && job) {
        const json_t *const stops = body_get(&body, "stop_sequences");
        answer_add_job(answer, 0, job);
        read_conversation(&body, lane, job);
        body_texts(&body, "stop_sequences", add_stop, job);
        answer->extra = json_is_array(stops) ? json_deep_copy(stops) : NULL;
        answer->stream = body_bool(&body, "stream", false);
        job->max_tokens = (int32_t)body_int(&body, "max_tokens", 1, INT32_MAX, -1);
        if (job->max_tokens < 0) body_complain(&body, "'max_tokens' is missing");
    } else {
        body_complain(&body, "out of memory");
        job_free(job);
    }
    answer_or_refuse(answer, exchange, &body);
}

static void post_count(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct job *const job = job_new();
    if (job) read_conversation(&body, lane, job);
    if (!job || body.wrong[0])
        exchange_error(exchange, 400, job ? body.wrong : "out of memory");
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
