/* The native API of llama.cpp's server, as its editor plug-ins use it: holes to fill (/infill),
 * texts to go on with, state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

enum { DEFAULT_TOKENS = -1, DEFAULT_HOLE_TOKENS = 128 };

/* ---- Writing --------------------------------------------------------------------------------- */

static void add_end(const struct choice *c, json_t *json) {
    const struct answer *const a = c->answer;
    json_t *const more = json_pack(
        "{s:s, s:b, s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:b}", "model", lane_name(a->lane),
        "truncated", a->hole && a->hole->truncated, "stopping_word", c->stopped_by, "stop_type",
        c->finish == FINISH_LENGTH ? "limit" : c->stopped_by[0] ? "word" : "eos", "stopped_limit",
        c->finish == FINISH_LENGTH, "stopped_word", c->stopped_by[0] != '\0', "stopped_eos",
        c->finish == FINISH_STOP && !c->stopped_by[0], "tokens_predicted",
        (json_int_t)a->generated_tokens, "tokens_evaluated", (json_int_t)a->prompt_tokens,
        "tokens_cached", (json_int_t)a->cached_tokens, "has_new_line",
        c->text.bytes && strchr(c->text.bytes, '\n') != NULL);
    if (more) {
        json_object_set_new(more, "timings", answer_timings(a));
        if (a->hole)
            json_object_set_new(more, "fim_method", json_string(fim_method_name(a->hole->method)));
        json_object_update(json, more);
    }
    json_decref(more);
}

/* "content" comes first: an editor looks for it there. */
static json_t *piece(const struct choice *c, const char *text, size_t n_bytes, bool stop) {
    return json_pack("{s:o, s:i, s:i, s:b}", "content", json_stringn(text, n_bytes), "index",
                     (int)c->index, "id_slot", 0, "stop", stop);
}

/* The value at "timings/prompt_n". */
static json_t *find_field(const json_t *json, const char *path) {
    char key[64];
    const size_t n = strcspn(path, "/");
    snprintf(key, sizeof key, "%.*s", (int)(n < 63 ? n : 63), path);
    json_t *const value = json_object_get(json, key);
    return path[n] == '/' && value ? find_field(value, path + n + 1) : value;
}

/* Only the fields asked for, under the names they were asked by. */
static json_t *choose_fields(json_t *json, const json_t *fields) {
    if (json_array_size(fields) == 0) return json;
    json_t *const out = json_object();
    size_t i;
    const json_t *field;
    json_array_foreach(fields, i, field) {
        const char *const name = json_string_value(field);
        json_t *const value = name ? find_field(json, name) : NULL;
        if (value) json_object_set(out, name, value);
    }
    json_decref(json);
    return out;
}

static json_t *whole(struct answer *a) {
    json_t *const list = json_array();
    for (size_t i = 0; i < a->n_choices; i++) {
        struct choice *const c = &a->choices[i];
        json_t *const json = piece(c, c->text.bytes ? c->text.bytes : "", c->text.n, true);
        add_end(c, json);
        json_array_append_new(list, choose_fields(json, a->extra));
    }
    if (a->n_choices > 1) return list;
    json_t *const only = json_incref(json_array_get(list, 0));
    json_decref(list);
    return only;
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    answer_send_event(c->answer, NULL, piece(c, text, n_bytes, false));
}

static void stream_done(struct choice *c) {
    json_t *const json = piece(c, "", 0, true);
    add_end(c, json);
    answer_send_event(c->answer, NULL, choose_fields(json, c->answer->extra));
}

static void stream_end(struct answer *a) { (void)a; }

static void stream_fail(struct answer *a, const char *text) {
    answer_send_event(a, NULL,
                      json_pack("{s:{s:s, s:s, s:i}}", "error", "message", text, "type",
                                "server_error", "code", 500));
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

/* ---- Reading --------------------------------------------------------------------------------- */

static struct answer *read_answer(struct server *server, struct exchange *exchange,
                                  struct lane *lane, struct body *body) {
    const size_t n = (size_t)body_int(body, "n_cmpl", 1, ANSWER_MAX_CHOICES, 1);
    struct answer *const answer = answer_new(server, exchange, lane, &dialect, "cmpl-", n);
    const json_t *const fields = body_get(body, "response_fields");
    if (!answer) return NULL;
    answer->stream = body_bool(body, "stream", false);
    answer->extra = json_is_array(fields) ? json_deep_copy(fields) : NULL;
    return answer;
}

/* An empty grammar is none, as some clients always send one. */
static void read_form(struct body *body, struct lane *lane, struct job *job) {
    const char *const grammar = body_text(body, "grammar");
    const json_t *const schema = body_get(body, "json_schema");
    if (grammar && grammar[0]) asked_grammar(body, grammar, lane, job);
    if (schema) asked_schema(body, schema, lane, job);
    asked_format(body, body_get(body, "response_format"), lane, job);
}

static struct job *read_job(struct body *body, struct lane *lane, struct answer *answer, size_t i,
                            int32_t max_tokens) {
    struct job *const job = asked_job(body, lane, i);
    if (!job) return NULL;
    answer_add_job(answer, i, job);
    const int64_t most = body_int(body, "max_tokens", -1, INT32_MAX, max_tokens);
    job->max_tokens = (int32_t)body_int(body, "n_predict", -1, INT32_MAX, most);
    read_form(body, lane, job);
    job->deadline_s = body_number(body, "t_max_predict_ms", 0, 1e9, 0) / 1e3;
    return job;
}

static void post_completion(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    const json_t *const prompt = body_get(&body, "prompt");
    struct answer *const answer = read_answer(user, exchange, lane, &body);
    if (answer) answer->hole = asked_rescue(lane, json_string_value(prompt));
    for (size_t i = 0; answer && i < answer->n_choices && !body.wrong[0]; i++) {
        struct job *const job = read_job(&body, lane, answer, i, DEFAULT_TOKENS);
        if (job && answer->hole)
            asked_fill(&body, lane, answer->hole, job);
        else if (job)
            asked_prompt(&body, prompt, lane, job);
    }
    answer_or_refuse(answer, exchange, &body);
}

static void read_chunks(struct body *body, struct hole *hole) {
    size_t i;
    const json_t *chunk, *const chunks = body_get(body, "input_extra");
    if (chunks && !json_is_array(chunks)) body_complain(body, "'input_extra' is not a list");
    json_array_foreach(chunks, i, chunk) {
        const char *const text = json_string_value(json_object_get(chunk, "text"));
        const char *const name = json_string_value(json_object_get(chunk, "filename"));
        if (!text)
            body_complain(body, "'input_extra' holds what has no 'text'");
        else if (!hole_add_chunk(hole, name ? name : "", text))
            body_complain(body, "out of memory");
    }
}

/* The text before the hole: that of earlier lines, and that of its own line. */
static struct hole *read_hole(struct body *body) {
    const char *const before = body_text(body, "input_prefix");
    const char *const line = body_text(body, "prompt");
    struct buffer prefix = {NULL, 0, 0};
    struct hole *hole = NULL;
    if (buffer_append_text(&prefix, before ? before : "") &&
        buffer_append_text(&prefix, line ? line : ""))
        hole = asked_hole(body, prefix.bytes, body_text(body, "input_suffix"));
    else
        body_complain(body, "out of memory");
    buffer_free(&prefix);
    if (hole) read_chunks(body, hole);
    return hole;
}

static void post_infill(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct answer *const answer = read_answer(user, exchange, lane, &body);
    if (answer) answer->hole = read_hole(&body);
    for (size_t i = 0; answer && i < answer->n_choices && !body.wrong[0]; i++) {
        struct job *const job = read_job(&body, lane, answer, i, DEFAULT_HOLE_TOKENS);
        if (job) asked_fill(&body, lane, answer->hole, job);
    }
    answer_or_refuse(answer, exchange, &body);
}

/* ---- State ----------------------------------------------------------------------------------- */

/* What a request has that asks for nothing else. */
static json_t *default_sampling(void) {
    const struct octet_sampling s = OCTET_SAMPLING_DEFAULTS;
    return json_pack("{s:f, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:i}", "temperature",
                     (double)s.temperature, "top_k", s.top_k, "top_p", (double)s.top_p, "min_p",
                     (double)s.min_p, "typical_p", (double)s.typical_p, "repeat_penalty",
                     (double)s.repeat_penalty, "frequency_penalty", (double)s.frequency_penalty,
                     "presence_penalty", (double)s.presence_penalty, "repeat_last_n",
                     s.penalty_last_n);
}

static void get_props(void *user, struct exchange *exchange) {
    const struct lane *const lane = server_lane(user, 0);
    const char *const source = octet_chat_template(lane_model(lane), NULL);
    server_reply_json(
        exchange, 200,
        json_pack("{s:{s:i, s:o}, s:i, s:s, s:s, s:s, s:s}", "default_generation_settings", "n_ctx",
                  lane_n_ctx(lane), "params", default_sampling(), "total_slots", lane_n_seats(lane),
                  "model_alias", lane_name(lane), "chat_template", source ? source : "",
                  "build_info", "octet " OCTET_VERSION, "fim_method",
                  fim_method_name(fim_best_method(lane_model(lane)))));
}

static void get_slots(void *user, struct exchange *exchange) {
    const struct server *const server = user;
    json_t *const list = json_array();
    for (size_t k = 0; k < server_n_lanes(server); k++) {
        struct lane *const lane = server_lane(server, k);
        struct lane_stats stats;
        lane_get_stats(lane, &stats);
        for (int32_t i = 0; i < lane_n_seats(lane); i++)
            json_array_append_new(list,
                                  json_pack("{s:i, s:s, s:i, s:b}", "id", i, "model",
                                            lane_name(lane), "n_ctx", lane_n_ctx(lane),
                                            "is_processing", (size_t)i < stats.n_active));
    }
    server_reply_json(exchange, 200, list);
}

const struct route llamacpp_routes[] = {
    {"/infill", HTTPD_POST, false, post_infill},
    {"/completion", HTTPD_POST, false, post_completion},
    {"/completions", HTTPD_POST, false, post_completion},
    {"/props", HTTPD_GET, false, get_props},
    {"/slots", HTTPD_GET, false, get_slots},
    {0},
};
