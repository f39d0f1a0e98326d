/* OpenAI's API of responses, as far as it is one question and one answer: nothing is stored, so
 * that a request can not refer to an earlier one. The stream's events have names and numbers. */
#include <stdio.h>
#include <string.h>

#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

/* ---- Writing --------------------------------------------------------------------------------- */

static const char *final_status(const struct choice *c) {
    return c->finish == FINISH_LENGTH ? "incomplete" : "completed";
}

static const char *item_id(const struct answer *a, char *out, size_t cap) {
    snprintf(out, cap, "msg_%s", a->id + strlen("resp_"));
    return out;
}

static json_t *part_json(const char *text) {
    return json_pack("{s:s, s:s, s:[], s:[]}", "type", "output_text", "text", text, "annotations",
                     "logprobs");
}

static const char *text_of(const struct choice *c) { return c->text.bytes ? c->text.bytes : ""; }

/* CONTENT: a list, taken over. */
static json_t *item_json(const struct answer *a, const char *status, json_t *content) {
    char id[64];
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", item_id(a, id, sizeof id), "type",
                     "message", "status", status, "role", "assistant", "content", content);
}

static json_t *whole_item(const struct choice *c) {
    return item_json(c->answer, final_status(c), json_pack("[o]", part_json(text_of(c))));
}

static json_t *begun_response(const struct answer *a) {
    json_t *const json = json_copy(a->extra);
    json_object_set_new(json, "status", json_string("in_progress"));
    json_object_set_new(json, "output", json_array());
    return json;
}

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    json_t *const json = json_copy(a->extra);
    json_object_set_new(json, "status", json_string(final_status(c)));
    json_object_set_new(json, "output", json_pack("[o]", whole_item(c)));
    json_object_set_new(
        json, "usage",
        json_pack("{s:I, s:{s:I}, s:I, s:{s:i}, s:I}", "input_tokens",
                  (json_int_t)a->prompt_tokens, "input_tokens_details", "cached_tokens",
                  (json_int_t)a->cached_tokens, "output_tokens", (json_int_t)a->generated_tokens,
                  "output_tokens_details", "reasoning_tokens", 0, "total_tokens",
                  (json_int_t)(a->prompt_tokens + a->generated_tokens)));
    if (c->finish == FINISH_LENGTH)
        json_object_set_new(json, "incomplete_details",
                            json_pack("{s:s}", "reason", "max_output_tokens"));
    return json;
}

/* Takes JSON over. */
static void send(struct answer *a, const char *type, json_t *json) {
    json_object_set_new(json, "type", json_string(type));
    json_object_set_new(json, "sequence_number", json_integer((json_int_t)a->n_events));
    answer_send_event(a, type, json);
}

/* An event about the only part of the only item; VALUE, taken over, at KEY. */
static void send_of_part(struct answer *a, const char *type, const char *key, json_t *value) {
    char id[64];
    send(a, type,
         json_pack("{s:s, s:i, s:i, s:o}", "item_id", item_id(a, id, sizeof id), "output_index", 0,
                   "content_index", 0, key, value));
}

static void send_item(struct answer *a, const char *type, json_t *item) {
    send(a, type, json_pack("{s:i, s:o}", "output_index", 0, "item", item));
}

static void stream_begin(struct answer *a) {
    send(a, "response.created", json_pack("{s:o}", "response", begun_response(a)));
    send(a, "response.in_progress", json_pack("{s:o}", "response", begun_response(a)));
    send_item(a, "response.output_item.added", item_json(a, "in_progress", json_array()));
    send_of_part(a, "response.content_part.added", "part", part_json(""));
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    send_of_part(c->answer, "response.output_text.delta", "delta", json_stringn(text, n_bytes));
}

static void stream_done(struct choice *c) {
    struct answer *const a = c->answer;
    send_of_part(a, "response.output_text.done", "text", json_string(text_of(c)));
    send_of_part(a, "response.content_part.done", "part", part_json(text_of(c)));
    send_item(a, "response.output_item.done", whole_item(c));
}

static void stream_end(struct answer *a) {
    const bool cut = a->choices[0].finish == FINISH_LENGTH;
    send(a, cut ? "response.incomplete" : "response.completed",
         json_pack("{s:o}", "response", whole(a)));
}

static void stream_fail(struct answer *a, const char *text) {
    send(a, "error",
         json_pack("{s:s, s:s, s:n}", "code", "server_error", "message", text, "param"));
}

static const struct dialect dialect = {
    .stream_type = "text/event-stream",
    .silence = ":\n\n",
    .whole = whole,
    .begin = stream_begin,
    .text = stream_text,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

/* ---- Reading --------------------------------------------------------------------------------- */

/* The message that an item of the input is; NULL: none, complained about if it matters. */
static json_t *read_item(struct body *body, json_t *item) {
    const char *const type = json_string_value(json_object_get(item, "type"));
    if (type && strcmp(type, "reasoning") == 0) return NULL; // of another model
    if (!type || strcmp(type, "message") == 0) return item;
    body_complain(body, "'input' holds an item of type '%.40s', which is not supported", type);
    return NULL;
}

/* Makes "messages" of "input" and "instructions". */
static void read_input(struct body *body) {
    json_t *const input = json_object_get(body->json, "input");
    json_t *const list = json_array();
    size_t i;
    json_t *item;
    int failed = 0;
    if (json_is_string(input))
        failed = json_array_append_new(
            list, json_pack("{s:s, s:O}", "role", "user", "content", input));
    else if (!json_is_array(input))
        body_complain(body, "'input' is neither a text nor a list of items");
    json_array_foreach(input, i, item) {
        json_t *const message = read_item(body, item);
        if (message) failed |= json_array_append(list, message);
    }
    failed |= json_object_set_new(body->json, "messages", list);
    if (failed) body_complain(body, "out of memory");
    if (body_text(body, "instructions")) asked_system(body, body_get(body, "instructions"));
}

/* What needs a memory of earlier requests, or tools. */
static void check_supported(struct body *body) {
    static const char *const fields[] = {"previous_response_id", "conversation", "prompt"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (body_get(body, fields[i]))
            body_complain(body, "'%s': nothing is stored here; send the whole input", fields[i]);
    if (body_bool(body, "background", false))
        body_complain(body, "'background' is not supported");
    const json_t *const choice = body_get(body, "tool_choice");
    const char *const word = json_string_value(choice);
    if (choice && !(word && (strcmp(word, "auto") == 0 || strcmp(word, "none") == 0)))
        body_complain(body, "'tool_choice': this model does not support tools");
}

static void read_format(struct body *body, struct lane *lane, struct job *job) {
    const struct body text = body_inner(body, "text");
    if (text.wrong[0]) body_complain(body, "%s", text.wrong);
    asked_format(body, body_get(&text, "format"), lane, job);
}

static json_t *or_null(const struct body *body, const char *key) {
    const json_t *const value = body_get(body, key);
    return value ? json_incref((json_t *)(uintptr_t)value) : json_null();
}

/* What every form of the answer says of the request. */
static json_t *frame_json(const struct answer *a, const struct body *body, const struct job *job) {
    const json_t *const metadata = body_get(body, "metadata");
    const struct body text = body_inner(body, "text");
    json_t *const format =
        body_get(&text, "format") ? or_null(&text, "format") : json_pack("{s:s}", "type", "text");
    return json_pack(
        "{s:s, s:s, s:I, s:s, s:n, s:n, s:n, s:o, s:o, s:o, s:b, s:n, s:{s:n, s:n}, s:b, s:f, "
        "s:{s:o}, s:s, s:[], s:f, s:s}",
        "id", a->id, "object", "response", "created_at", (json_int_t)a->created, "model",
        lane_name(a->lane), "error", "incomplete_details", "usage", "instructions",
        or_null(body, "instructions"), "max_output_tokens", or_null(body, "max_output_tokens"),
        "metadata", metadata ? or_null(body, "metadata") : json_object(), "parallel_tool_calls", 0,
        "previous_response_id", "reasoning", "effort", "summary", "store", 0, "temperature",
        (double)job->sampling.temperature, "text", "format", format, "tool_choice", "auto",
        "tools", "top_p", (double)job->sampling.top_p, "truncation", "disabled");
}

static void post_responses(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    check_supported(&body);
    read_input(&body);
    struct answer *const answer = answer_new(user, exchange, lane, &dialect, "resp_", 1);
    struct job *const job = answer ? asked_job(&body, lane, 0) : NULL;
    if (job) {
        answer_add_job(answer, 0, job);
        answer->stream = body_bool(&body, "stream", false);
        job->max_tokens = (int32_t)body_int(&body, "max_output_tokens", 0, INT32_MAX, -1);
        read_format(&body, lane, job);
        asked_chat(&body, "messages", lane, job);
        answer->extra = frame_json(answer, &body, job);
        if (!answer->extra) body_complain(&body, "out of memory");
    }
    answer_or_refuse(answer, exchange, &body);
}

const struct route responses_routes[] = {
    {"/v1/responses", HTTPD_POST, false, post_responses},
    {"/responses", HTTPD_POST, false, post_responses},
    {0},
};
