/* Mistral's API where it differs from OpenAI's: holes to fill, answered in the shape of a chat,
 * with a text in every piece, since clients insist on it. */
#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

enum { DEFAULT_TOKENS = 256 };

static const char *finish_word(enum finish finish) {
    return finish == FINISH_LENGTH ? "length" : "stop";
}

static json_t *usage_json(const struct answer *a) {
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)a->prompt_tokens,
                     "completion_tokens", (json_int_t)a->generated_tokens, "total_tokens",
                     (json_int_t)(a->prompt_tokens + a->generated_tokens));
}

static json_t *frame(const struct answer *a, const char *object, json_t *choice) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:[o]}", "id", a->id, "object", object, "created",
                     (json_int_t)a->created, "model", lane_name(a->lane), "fim_method",
                     fim_method_name(a->hole->method), "choices", choice);
}

static void send_piece(struct choice *c, json_t *text, json_t *finish) {
    json_t *const choice = json_pack("{s:i, s:{s:o}, s:o}", "index", (int)c->index, "delta",
                                     "content", text, "finish_reason", finish);
    json_t *const json = frame(c->answer, "chat.completion.chunk", choice);
    if (json && c->finish != FINISH_NONE) json_object_set_new(json, "usage", usage_json(c->answer));
    answer_send_event(c->answer, NULL, json);
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    send_piece(c, json_stringn(text, n_bytes), json_null());
}

static void stream_done(struct choice *c) {
    send_piece(c, json_string(""), json_string(finish_word(c->finish)));
}

static void stream_end(struct answer *a) {
    static const char done[] = "data: [DONE]\n\n";
    exchange_piece(a->exchange, done, sizeof done - 1);
}

static void stream_fail(struct answer *a, const char *text) {
    answer_send_event(a, NULL,
                      json_pack("{s:{s:s, s:s}}", "error", "message", text, "type",
                                "server_error"));
}

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    json_t *const choice =
        json_pack("{s:i, s:{s:s, s:s}, s:s}", "index", 0, "message", "role", "assistant",
                  "content", c->text.bytes ? c->text.bytes : "", "finish_reason",
                  finish_word(c->finish));
    json_t *const json = frame(a, "chat.completion", choice);
    if (json) json_object_set_new(json, "usage", usage_json(a));
    if (json) json_object_set_new(json, "timings", answer_timings(a));
    return json;
}

static const struct dialect dialect = {
    .stream_type = "text/event-stream",
    .silence = ":\n\n",
    .whole = whole,
    .text = stream_text,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

static void post_fim(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    const char *const prompt = body_text(&body, "prompt");
    if (!prompt) body_complain(&body, "'prompt' is missing");
    struct answer *const answer = answer_new(user, exchange, lane, &dialect, "fim-", 1);
    struct job *const job = answer ? asked_job(&body, lane, 0) : NULL;
    if (job) {
        answer_add_job(answer, 0, job);
        answer->stream = body_bool(&body, "stream", false);
        answer->hole = asked_hole(&body, prompt, body_text(&body, "suffix"));
        job->max_tokens = (int32_t)body_int(&body, "max_tokens", 0, INT32_MAX, DEFAULT_TOKENS);
        job->min_tokens = (int32_t)body_int(&body, "min_tokens", 0, INT32_MAX, 0);
        asked_fill(&body, lane, answer->hole, job);
    }
    answer_or_refuse(answer, exchange, &body);
}

const struct route mistral_routes[] = {
    {"/v1/fim/completions", HTTPD_POST, false, post_fim},
    {"/fim/completions", HTTPD_POST, false, post_fim},
    {0},
};
