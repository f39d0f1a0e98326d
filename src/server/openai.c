/* OpenAI's API: chat and text completions, models. Chunks hold every key that strict clients insist
 * on, and none that they refuse: "usage" only where it is asked for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/asked.h"
#include "server/chances.h"
#include "server/answer.h"
#include "server/server.h"
#include "server/tabby.h"
#include "server/tokens.h"

enum { DEFAULT_TEXT_TOKENS = 16 };

/* ---- Writing --------------------------------------------------------------------------------- */

static json_t *finish_json(const struct choice *c) {
    if (answer_calls(c) && c->finish != FINISH_NONE) return json_string("tool_calls");
    if (c->finish == FINISH_STOP) return json_string("stop");
    return c->finish == FINISH_LENGTH ? json_string("length") : json_null();
}

static json_t *call_json(const struct tool_call *call, const char *arguments) {
    return json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", call->id, "type", "function", "function",
                     "name", call->name, "arguments", arguments);
}

static json_t *usage_json(const struct answer *r) {
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)r->prompt_tokens,
                     "completion_tokens", (json_int_t)r->generated_tokens, "total_tokens",
                     (json_int_t)(r->prompt_tokens + r->generated_tokens),
                     "prompt_tokens_details", "cached_tokens", (json_int_t)r->cached_tokens);
}

static json_t *frame(const struct answer *r, const char *object, json_t *choices) {
    json_t *const json =
        json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", r->id, "object", object, "created",
                  (json_int_t)r->created, "model", lane_name(r->lane), "choices", choices);
    if (json && r->hole)
        json_object_set_new(json, "fim_method", json_string(fim_method_name(r->hole->method)));
    return json;
}

static const char *chunk_object(const struct answer *r) {
    return r->chat ? "chat.completion.chunk" : "text_completion";
}

static json_t *choice_chances(const struct choice *c, size_t from) {
    const struct token_report *const tokens = c->job ? c->job->tokens : c->tokens;
    const size_t n = c->job ? c->job->n_tokens : c->n_tokens;
    if (n <= from) return NULL;
    const struct octet_model *const model = lane_model(c->answer->lane);
    return c->answer->chat ? chances_chat(model, tokens + from, n - from)
                          : chances_text(model, tokens, from, n);
}

/* A chunk with the delta or text, and the finish reason. */
static void send_chunk(struct choice *c, json_t *content) {
    json_t *const choice = json_pack("{s:i, s:o, s:o}", "index", (int)c->index,
                                     c->answer->chat ? "delta" : "text", content,
                                     "finish_reason", finish_json(c));
    json_t *const chances = choice_chances(c, c->n_reported);
    if (chances || !c->answer->chat)
        json_object_set_new(choice, "logprobs", chances ? chances : json_null());
    if (chances) c->n_reported = c->job ? c->job->n_tokens : c->n_tokens;
    answer_send_event(c->answer, NULL,
                     frame(c->answer, chunk_object(c->answer), json_pack("[o]", choice)));
}

static void stream_begin(struct answer *r) {
    for (size_t i = 0; i < r->n_choices; i++) {
        if (r->chat)
            send_chunk(&r->choices[i], json_pack("{s:s, s:s}", "role", "assistant", "content", ""));
        else if (r->choices[i].before.n > 0)
            send_chunk(&r->choices[i],
                       json_stringn(r->choices[i].before.bytes, r->choices[i].before.n));
    }
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    json_t *const json = json_stringn(text, n_bytes);
    send_chunk(c, c->answer->chat ? json_pack("{s:o}", "content", json) : json);
}

static void send_call(struct choice *c, json_t *call) {
    json_object_set_new(call, "index", json_integer((json_int_t)c->n_calls - 1));
    send_chunk(c, json_pack("{s:[o]}", "tool_calls", call));
}

static void stream_call(struct choice *c, const struct tool_call *call) {
    send_call(c, call_json(call, call->arguments));
}

static void begin_call(struct choice *c, const struct tool_call *call) {
    send_call(c, call_json(call, ""));
}

static void stream_arguments(struct choice *c, const char *text, size_t n_bytes) {
    send_call(c, json_pack("{s:{s:o}}", "function", "arguments", json_stringn(text, n_bytes)));
}

static void stream_done(struct choice *c) {
    send_chunk(c, c->answer->chat ? json_object() : json_string(""));
}

static void stream_end(struct answer *r) {
    if (r->include_usage) {
        json_t *const json = frame(r, chunk_object(r), json_array());
        json_object_set_new(json, "usage", usage_json(r));
        json_object_set_new(json, "timings", answer_timings(r));
        answer_send_event(r, NULL, json);
    }
    static const char done[] = "data: [DONE]\n\n";
    exchange_piece(r->exchange, done, sizeof done - 1);
}

static void stream_fail(struct answer *r, const char *text) {
    answer_send_event(r, NULL,
                     json_pack("{s:{s:s, s:s, s:n, s:n}}", "error", "message", text, "type",
                               "server_error", "param", "code"));
}

static json_t *message_json(const struct choice *c) {
    const char *const text = c->text.n > 0 ? c->text.bytes : c->n_calls > 0 ? NULL : "";
    json_t *const json =
        json_pack("{s:s, s:s?, s:n}", "role", "assistant", "content", text, "refusal");
    json_t *const calls = c->n_calls > 0 ? json_array() : NULL;
    for (size_t i = 0; i < c->n_calls; i++)
        json_array_append_new(calls, call_json(&c->calls[i], c->calls[i].arguments));
    if (calls) json_object_set_new(json, "tool_calls", calls);
    return json;
}

static json_t *whole_choice(const struct choice *c) {
    const struct answer *const r = c->answer;
    json_t *json;
    if (r->chat) {
        json = json_pack("{s:i, s:o, s:o}", "index", (int)c->index, "message", message_json(c),
                         "finish_reason", finish_json(c));
    } else {
        struct buffer all = {NULL, 0, 0};
        const bool fine =
            buffer_append(&all, c->before.bytes ? c->before.bytes : "", c->before.n) &&
            buffer_append(&all, c->text.bytes ? c->text.bytes : "", c->text.n);
        json = json_pack("{s:i, s:o, s:o}", "index", (int)c->index, "text",
                         fine ? json_stringn(all.bytes, all.n) : NULL, "finish_reason",
                         finish_json(c));
        buffer_free(&all);
    }
    json_t *const chances = choice_chances(c, 0);
    if (json) json_object_set_new(json, "logprobs", chances ? chances : json_null());
    return json;
}

static json_t *whole(struct answer *r) {
    json_t *const choices = json_array();
    for (size_t i = 0; i < r->n_choices; i++)
        json_array_append_new(choices, whole_choice(&r->choices[i]));
    json_t *const json = frame(r, r->chat ? "chat.completion" : "text_completion", choices);
    if (json) {
        json_object_set_new(json, "usage", usage_json(r));
        json_object_set_new(json, "timings", answer_timings(r));
    }
    return json;
}

static const struct dialect dialect = {
    .stream_type = "text/event-stream",
    .silence = ":\n\n",
    .whole = whole,
    .begin = stream_begin,
    .text = stream_text,
    .call = stream_call,
    .begin_call = begin_call,
    .arguments = stream_arguments,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

/* ---- Reading --------------------------------------------------------------------------------- */

static void read_max_tokens(struct body *body, struct job *job, int32_t otherwise) {
    const int64_t most = body_int(body, "max_tokens", -1, INT32_MAX, otherwise);
    job->max_tokens = (int32_t)body_int(body, "max_completion_tokens", -1, INT32_MAX, most);
}

static void read_stream(struct body *body, struct answer *answer) {
    struct body options = body_inner(body, "stream_options");
    answer->stream = body_bool(body, "stream", false);
    answer->include_usage = body_bool(&options, "include_usage", false);
    if (options.wrong[0]) body_complain(body, "stream_options: %.150s", options.wrong);
}

/* "grammar" is llama.cpp's. */
static void read_form(struct body *body, struct lane *lane, struct job *job) {
    const char *const grammar = body_text(body, "grammar");
    if (grammar && grammar[0]) asked_grammar(body, grammar, lane, job);
    asked_format(body, body_get(body, "response_format"), lane, job);
}

static void post_chat(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    const size_t n = (size_t)body_int(&body, "n", 1, ANSWER_MAX_CHOICES, 1);
    const bool chances = body_bool(&body, "logprobs", false);
    const int n_tops = (int)body_int(&body, "top_logprobs", 0, JOB_MAX_TOPS, 0);
    struct answer *const answer = answer_new(user, exchange, lane, &dialect, "chatcmpl-", n);
    for (size_t i = 0; answer && i < n && !body.wrong[0]; i++) {
        struct job *const job = asked_job(&body, lane, i);
        if (!job) break;
        answer_add_job(answer, i, job);
        read_form(&body, lane, job);
        asked_chat(&body, "messages", lane, job);
        read_max_tokens(&body, job, -1);
        if (chances) job->n_tops = n_tops;
    }
    if (answer) {
        answer->chat = true;
        // Mistral's clients take each call that comes for a whole one.
        const char *const client = exchange_header(exchange, "User-Agent");
        answer->whole_calls = client && strcasestr(client, "mistral");
        read_stream(&body, answer);
    }
    answer_or_refuse(answer, exchange, &body);
}

/* A text, a list of ids, or a list of either: (n) of them. */
static size_t n_prompts(const json_t *prompt) {
    const json_t *const first = json_array_get(prompt, 0);
    return json_is_string(first) || json_is_array(first) ? json_array_size(prompt) : 1;
}

static void echo_prompt(struct body *body, const struct lane *lane, const struct job *job,
                        struct choice *choice) {
    if (!tokens_text(lane_model(lane), &job->prompt, false, &choice->before))
        body_complain(body, "out of memory");
}

/* A prompt with a suffix, or with the marks of a family of models that this one is not of. */
static struct hole *find_hole(struct body *body, const struct lane *lane, const json_t *prompt) {
    const char *const text = json_string_value(prompt), *const suffix = body_text(body, "suffix");
    return text && suffix && suffix[0] ? asked_hole(body, text, suffix) : asked_rescue(lane, text);
}

static void read_text_prompt(struct body *body, const struct lane *lane, struct answer *answer,
                             const json_t *prompt, struct job *job) {
    if (answer->hole)
        asked_fill(body, lane, answer->hole, job);
    else
        asked_prompt(body, prompt, lane, job);
}

static void read_text_jobs(struct body *body, struct lane *lane, struct answer *answer,
                           const json_t *prompt, size_t n) {
    const int64_t n_tops = body_int(body, "logprobs", 0, JOB_MAX_TOPS, -1);
    const bool echo = body_bool(body, "echo", false);
    const json_t *const first = json_array_get(prompt, 0);
    const bool several = json_is_string(first) || json_is_array(first);
    struct hole *const hole = several ? NULL : find_hole(body, lane, prompt);
    answer->hole = hole;
    answer->n_samples = n;
    for (size_t i = 0; i < answer->n_choices && !body->wrong[0]; i++) {
        struct job *const job = asked_job(body, lane, i % n);
        if (!job) return;
        answer_add_job(answer, i, job);
        read_max_tokens(body, job, DEFAULT_TEXT_TOKENS);
        asked_format(body, body_get(body, "response_format"), lane, job);
        read_text_prompt(body, lane, answer, several ? json_array_get(prompt, i / n) : prompt, job);
        job->n_tops = (int)n_tops;
        job->score_prompt = echo && n_tops >= 0;
        if (echo) echo_prompt(body, lane, job, &answer->choices[i]);
    }
}

static void post_text(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    if (body_get(&body, "segments")) {
        tabby_complete(user, exchange, lane, &body);
        return;
    }
    const json_t *const prompt = body_get(&body, "prompt");
    const size_t n = (size_t)body_int(&body, "n", 1, ANSWER_MAX_CHOICES, 1);
    const size_t n_all = n * n_prompts(prompt);
    const bool fits = n_all > 0 && n_all <= ANSWER_MAX_CHOICES;
    if (!fits) body_complain(&body, "'prompt' holds no prompts, or too many");
    struct answer *const answer =
        answer_new(user, exchange, lane, &dialect, "cmpl-", fits ? n_all : 1);
    if (answer && fits) {
        read_text_jobs(&body, lane, answer, prompt, n);
        read_stream(&body, answer);
    }
    answer_or_refuse(answer, exchange, &body);
}

/* ---- Models ---------------------------------------------------------------------------------- */

static json_t *model_json(const struct server *server, const struct lane *lane) {
    struct octet_model_info info;
    octet_model_get_info(lane_model(lane), &info);
    const json_int_t n_ctx = lane_n_ctx(lane);
    return json_pack(
        "{s:s, s:s, s:I, s:s, s:s, s:b, s:I, s:I, s:{s:b, s:b, s:b, s:b}, s:{s:I, s:I, s:I, s:I, "
        "s:I}}",
        "id", lane_name(lane), "object", "model", "created",
        (json_int_t)server_started(server), "owned_by", "llamacpp", "type", "base", "archived", 0,
        "max_context_length", n_ctx, "max_model_len", n_ctx, "capabilities", "completion_chat", 1,
        "completion_fim", 1, "function_calling", 1, "vision", 0, "meta", "n_ctx", n_ctx,
        "n_ctx_train", (json_int_t)info.n_ctx_train, "n_vocab", (json_int_t)info.n_vocab,
        "n_params", (json_int_t)info.n_params, "size", (json_int_t)info.file_bytes);
}

static void get_models(void *user, struct exchange *exchange) {
    const struct server *const server = user;
    json_t *const list = json_array();
    for (size_t i = 0; i < server_n_lanes(server); i++)
        json_array_append_new(list, model_json(server, server_lane(server, i)));
    server_reply_json(exchange, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

const struct route openai_routes[] = {
    {"/v1/chat/completions", HTTPD_POST, false, post_chat},
    {"/chat/completions", HTTPD_POST, false, post_chat},
    {"/v1/completions", HTTPD_POST, false, post_text},
    {"/v1/models", HTTPD_GET, false, get_models},
    {"/models", HTTPD_GET, false, get_models},
    {0},
};
