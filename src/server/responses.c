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

/* Of the item at INDEX of the output. */
static const char *item_id(const struct answer *a, const char *prefix, size_t index, char *out,
                           size_t cap) {
    snprintf(out, cap, "%s_%s", prefix, a->id + strlen("resp_"));
    if (index > 0) snprintf(out, cap, "%s_%s_%zu", prefix, a->id + strlen("resp_"), index);
    return out;
}

static json_t *part_json(const char *text, size_t n_bytes) {
    return json_pack("{s:s, s:o, s:[], s:[]}", "type", "output_text", "text",
                     json_stringn(text, n_bytes), "annotations", "logprobs");
}

/* CONTENT: a list, taken over. */
static json_t *message_item(const struct answer *a, size_t index, const char *status,
                            json_t *content) {
    char id[80];
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", item_id(a, "msg", index, id, sizeof id),
                     "type", "message", "status", status, "role", "assistant", "content", content);
}

static json_t *text_item(const struct choice *c, size_t index, size_t from, size_t to) {
    const char *const text = c->text.bytes ? c->text.bytes + from : "";
    return message_item(c->answer, index, final_status(c),
                        json_pack("[o]", part_json(text, to - from)));
}

static json_t *call_item(const struct answer *a, size_t index, const struct tool_call *call,
                         const char *status, const char *arguments) {
    char id[80];
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", item_id(a, "fc", index, id, sizeof id),
                     "type", "function_call", "status", status, "call_id", call->id, "name",
                     call->name, "arguments", arguments);
}

/* Texts and calls in the order in which they came; a text where there is nothing else. */
static json_t *output_json(const struct choice *c) {
    json_t *const list = json_array();
    size_t from = 0;
    for (size_t i = 0; i <= c->n_calls; i++) {
        const size_t to = i < c->n_calls ? c->calls[i].n_before : c->text.n;
        const size_t index = json_array_size(list);
        if (to > from || c->n_calls == 0)
            json_array_append_new(list, text_item(c, index, from, to));
        from = to;
        if (i == c->n_calls) break;
        json_array_append_new(list, call_item(c->answer, json_array_size(list), &c->calls[i],
                                              "completed", c->calls[i].arguments));
    }
    return list;
}

static json_t *begun_response(const struct answer *a) {
    json_t *const json = json_copy(a->extra);
    json_object_set_new(json, "status", json_string("in_progress"));
    json_object_set_new(json, "output", json_array());
    json_object_del(json, "usage"); // not known yet, and strict clients take no null
    return json;
}

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    json_t *const json = json_copy(a->extra);
    json_object_set_new(json, "status", json_string(final_status(c)));
    json_object_set_new(json, "output", output_json(c));
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

/* ---- Streaming: items are numbered as they begin --------------------------------------------- */

static void send_item(struct answer *a, const char *type, json_t *item) {
    send(a, type,
         json_pack("{s:I, s:o}", "output_index", (json_int_t)a->n_parts - 1, "item", item));
}

/* An event about the item under way; VALUE, taken over, at KEY. */
static void send_of_item(struct answer *a, const char *type, const char *prefix, const char *key,
                         json_t *value) {
    char id[80];
    send(a, type,
         json_pack("{s:s, s:I, s:o}", "item_id",
                   item_id(a, prefix, a->n_parts - 1, id, sizeof id), "output_index",
                   (json_int_t)a->n_parts - 1, key, value));
}

/* The same about the only part of a message. */
static json_t *of_part(const struct answer *a, const char *key, json_t *value) {
    char id[80];
    return json_pack("{s:s, s:I, s:i, s:o}", "item_id",
                     item_id(a, "msg", a->n_parts - 1, id, sizeof id), "output_index",
                     (json_int_t)a->n_parts - 1, "content_index", 0, key, value);
}

static void send_part(struct answer *a, const char *type, json_t *part) {
    send(a, type, of_part(a, "part", part));
}

/* Text of it; strict clients insist on chances, if none. */
static void send_text(struct answer *a, const char *type, const char *key, json_t *text) {
    json_t *const json = of_part(a, key, text);
    json_object_set_new(json, "logprobs", json_array());
    send(a, type, json);
}

static void begin_text(struct answer *a, size_t from) {
    if (a->in_text) return;
    a->in_text = true;
    a->text_from = from;
    a->n_parts++;
    send_item(a, "response.output_item.added",
              message_item(a, a->n_parts - 1, "in_progress", json_array()));
    send_part(a, "response.content_part.added", part_json("", 0));
}

static void end_text(struct choice *c) {
    struct answer *const a = c->answer;
    if (!a->in_text) return;
    const char *const text = c->text.bytes ? c->text.bytes + a->text_from : "";
    const size_t n = c->text.n - a->text_from;
    send_text(a, "response.output_text.done", "text", json_stringn(text, n));
    send_part(a, "response.content_part.done", part_json(text, n));
    send_item(a, "response.output_item.done",
              text_item(c, a->n_parts - 1, a->text_from, c->text.n));
    a->in_text = false;
}

static void stream_begin(struct answer *a) {
    send(a, "response.created", json_pack("{s:o}", "response", begun_response(a)));
    send(a, "response.in_progress", json_pack("{s:o}", "response", begun_response(a)));
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    begin_text(c->answer, c->text.n - n_bytes);
    send_text(c->answer, "response.output_text.delta", "delta", json_stringn(text, n_bytes));
}

static void begin_call(struct choice *c, const struct tool_call *call) {
    struct answer *const a = c->answer;
    end_text(c);
    const size_t index = a->n_parts++;
    send_item(a, "response.output_item.added", call_item(a, index, call, "in_progress", ""));
}

static void stream_arguments(struct choice *c, const char *text, size_t n_bytes) {
    send_of_item(c->answer, "response.function_call_arguments.delta", "fc", "delta",
                 json_stringn(text, n_bytes));
}

static void end_call(struct choice *c, const struct tool_call *call) {
    struct answer *const a = c->answer;
    send_of_item(a, "response.function_call_arguments.done", "fc", "arguments",
                 json_string(call->arguments));
    send_item(a, "response.output_item.done",
              call_item(a, a->n_parts - 1, call, "completed", call->arguments));
}

static void stream_done(struct choice *c) {
    if (c->answer->n_parts == 0) begin_text(c->answer, 0);
    end_text(c);
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
    .begin_call = begin_call,
    .arguments = stream_arguments,
    .end_call = end_call,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

/* ---- Reading --------------------------------------------------------------------------------- */

static json_t *read_call(const json_t *item) {
    return json_pack("{s:O?, s:{s:O?, s:O?}}", "id", json_object_get(item, "call_id"), "function",
                     "name", json_object_get(item, "name"), "arguments",
                     json_object_get(item, "arguments"));
}

/* A call, beside those of the message before it. */
static bool add_call(json_t *list, const json_t *item) {
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *const role = json_string_value(json_object_get(last, "role"));
    if (!role || strcmp(role, "assistant") != 0) {
        last = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        if (json_array_append_new(list, last) != 0) return false;
    }
    if (!json_object_get(last, "tool_calls") &&
        json_object_set_new(last, "tool_calls", json_array()) != 0)
        return false;
    return json_array_append_new(json_object_get(last, "tool_calls"), read_call(item)) == 0;
}

/* A result, which is a text or parts of one. */
static bool add_result(json_t *list, const json_t *item) {
    return json_array_append_new(list, json_pack("{s:s, s:O?, s:O?}", "role", "tool",
                                                 "tool_call_id", json_object_get(item, "call_id"),
                                                 "content", json_object_get(item, "output"))) == 0;
}

/* Adds what an item of the input is. */
static bool read_item(struct body *body, json_t *list, const json_t *item) {
    const char *const type = json_string_value(json_object_get(item, "type"));
    if (type && strcmp(type, "reasoning") == 0) return true; // of another model
    if (!type || strcmp(type, "message") == 0)
        return json_array_append_new(list, json_copy((json_t *)(uintptr_t)item)) == 0;
    if (strcmp(type, "function_call") == 0) return add_call(list, item);
    if (strcmp(type, "function_call_output") == 0) return add_result(list, item);
    body_complain(body, "'input' holds an item of type '%.40s', which is not supported", type);
    return true;
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
        failed |= !read_item(body, list, item);
    }
    failed |= json_object_set_new(body->json, "messages", list);
    if (failed) body_complain(body, "out of memory");
    if (body_text(body, "instructions")) asked_system(body, body_get(body, "instructions"));
}

/* What needs a memory of earlier requests. */
static void check_supported(struct body *body) {
    static const char *const fields[] = {"previous_response_id", "conversation", "prompt"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (body_get(body, fields[i]))
            body_complain(body, "'%s': nothing is stored here; send the whole input", fields[i]);
    if (body_bool(body, "background", false))
        body_complain(body, "'background' is not supported");
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

/* What the request says of tools is said again. */
static void tell_tools(const struct body *body, json_t *frame) {
    static const char *const names[] = {"tools", "tool_choice", "parallel_tool_calls"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *const value = body_get(body, names[i]);
        if (value) json_object_set(frame, names[i], (json_t *)(uintptr_t)value);
    }
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
        tell_tools(&body, answer->extra);
        if (!answer->extra) body_complain(&body, "out of memory");
    }
    answer_or_refuse(answer, exchange, &body);
}

const struct route responses_routes[] = {
    {"/v1/responses", HTTPD_POST, false, post_responses},
    {"/responses", HTTPD_POST, false, post_responses},
    {0},
};
