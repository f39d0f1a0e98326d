/* Ollama's API: chat, generate, and what its clients ask before they do. Streams are JSON lines,
 * and the default. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

/* Clients refuse servers older than what they were written for. */
static const char version[] = "0.12.0";

/* ---- Writing --------------------------------------------------------------------------------- */

static const char *date_text(time_t when, char *out, size_t cap) {
    struct tm utc;
    strftime(out, cap, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&when, &utc));
    return out;
}

static json_int_t nanoseconds(double from, double to) {
    return from > 0 && to > from ? (json_int_t)((to - from) * 1e9) : 0;
}

static json_t *line_json(const struct choice *c, const char *text, size_t n_bytes, bool done) {
    const struct answer *const a = c->answer;
    char date[32];
    json_t *const json =
        json_pack("{s:s, s:s, s:b}", "model", lane_name(a->lane), "created_at",
                  date_text(time(NULL), date, sizeof date), "done", done);
    json_t *const content = json_stringn(text, n_bytes);
    if (json && a->chat)
        json_object_set_new(json, "message", json_pack("{s:s, s:o}", "role", "assistant",
                                                       "content", content));
    else if (json)
        json_object_set_new(json, "response", content);
    return json;
}

static void add_counts(const struct choice *c, json_t *json) {
    const struct answer *const a = c->answer;
    json_t *const counts = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "done_reason",
        c->finish == FINISH_LENGTH ? "length" : "stop", "total_duration",
        nanoseconds(a->submitted, a->ended), "load_duration",
        nanoseconds(a->submitted, a->started), "prompt_eval_count",
        (json_int_t)a->prompt_tokens, "prompt_eval_duration", nanoseconds(a->started, a->first),
        "eval_count", (json_int_t)a->generated_tokens, "eval_duration",
        nanoseconds(a->first, a->ended));
    if (counts && a->hole)
        json_object_set_new(counts, "fim_method",
                            json_string(fim_method_name(a->hole->method)));
    json_object_update(json, counts);
    json_decref(counts);
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    answer_send_line(c->answer, line_json(c, text, n_bytes, false));
}

static void stream_done(struct choice *c) {
    json_t *const json = line_json(c, "", 0, true);
    add_counts(c, json);
    answer_send_line(c->answer, json);
}

static void stream_end(struct answer *a) { (void)a; }

static void stream_fail(struct answer *a, const char *text) {
    answer_send_line(a, json_pack("{s:s}", "error", text));
}

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    json_t *const json = line_json(c, c->text.bytes ? c->text.bytes : "", c->text.n, true);
    add_counts(c, json);
    return json;
}

static const struct dialect dialect = {
    .stream_type = "application/x-ndjson",
    .whole = whole,
    .text = stream_text,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

/* ---- Generating ------------------------------------------------------------------------------ */

/* A job by the request's "options". */
static struct job *read_job(struct body *body, const struct lane *lane) {
    struct body options = body_inner(body, "options");
    struct job *const job = asked_job(&options, lane, 0);
    if (job) job->max_tokens = (int32_t)body_int(&options, "num_predict", -2, INT32_MAX, -1);
    if (job && job->max_tokens < 0) job->max_tokens = -1;
    if (options.wrong[0]) body_complain(body, "options: %.180s", options.wrong);
    if (body_get(body, "format")) body_complain(body, "'format' is not supported");
    return job;
}

/* An empty request only loads the model, which is there already. */
static void reply_loaded(struct exchange *exchange, const struct lane *lane, bool chat) {
    char date[32];
    json_t *const json =
        json_pack("{s:s, s:s, s:b, s:s}", "model", lane_name(lane), "created_at",
                  date_text(time(NULL), date, sizeof date), "done", 1, "done_reason", "load");
    if (chat)
        json_object_set_new(json, "message",
                            json_pack("{s:s, s:s}", "role", "assistant", "content", ""));
    else
        json_object_set_new(json, "response", json_string(""));
    server_reply_json(exchange, 200, json);
}

static void start(struct server *server, struct exchange *exchange, struct lane *lane,
                  struct body *body, struct job *job, struct hole *hole, bool chat) {
    struct answer *const answer = answer_new(server, exchange, lane, &dialect, "", 1);
    if (answer && job) {
        answer_add_job(answer, 0, job);
        answer->hole = hole;
        answer->chat = chat;
        answer->stream = body_bool(body, "stream", true);
    } else {
        body_complain(body, "out of memory");
        hole_free(hole);
        job_free(job);
    }
    answer_or_refuse(answer, exchange, body);
}

static void post_chat(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    if (json_array_size(body_get(&body, "messages")) == 0) {
        reply_loaded(exchange, lane, true);
        body_close(&body);
        return;
    }
    struct job *const job = read_job(&body, lane);
    if (job) asked_chat(&body, "messages", lane, job);
    start(user, exchange, lane, &body, job, NULL, true);
}

/* The prompt as the model's own format has it, unless it is to be taken as it is. */
static void read_prompt(struct body *body, const struct lane *lane, struct job *job) {
    const char *const system = body_text(body, "system");
    const json_t *const prompt = body_get(body, "prompt");
    if (body_bool(body, "raw", false) || !octet_chat_format(lane_model(lane))) {
        asked_prompt(body, prompt, lane, job);
        return;
    }
    json_t *const messages = json_array();
    if (system && system[0])
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content",
                                                  system));
    json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "user", "content", prompt));
    struct body inner = {.json = json_pack("{s:o}", "messages", messages)};
    asked_chat(&inner, "messages", lane, job);
    if (inner.wrong[0]) body_complain(body, "%.180s", inner.wrong);
    body_close(&inner);
}

static struct hole *find_hole(struct body *body, const struct lane *lane, const char *prompt) {
    const char *const suffix = body_text(body, "suffix");
    if (suffix && suffix[0]) return asked_hole(body, prompt, suffix);
    return body_bool(body, "raw", false) ? asked_rescue(lane, prompt) : NULL;
}

static void post_generate(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    const char *const prompt = body_text(&body, "prompt");
    if (!body.wrong[0] && (!prompt || !prompt[0])) {
        reply_loaded(exchange, lane, false);
        body_close(&body);
        return;
    }
    struct job *const job = read_job(&body, lane);
    struct hole *const hole = job && prompt ? find_hole(&body, lane, prompt) : NULL;
    if (hole)
        asked_fill(&body, lane, hole, job);
    else if (job && prompt)
        read_prompt(&body, lane, job);
    start(user, exchange, lane, &body, job, hole, false);
}

/* ---- Models ---------------------------------------------------------------------------------- */

static json_t *details_json(const struct lane *lane) {
    struct octet_model_info info;
    char size[32];
    octet_model_get_info(lane_model(lane), &info);
    snprintf(size, sizeof size, "%.1fB", (double)info.n_params / 1e9);
    return json_pack("{s:s, s:s, s:s, s:[s], s:s, s:s}", "parent_model", "", "format", "gguf",
                     "family", info.arch, "families", info.arch, "parameter_size", size,
                     "quantization_level", "");
}

static json_t *model_json(const struct server *server, const struct lane *lane) {
    struct octet_model_info info;
    char date[32], digest[65];
    octet_model_get_info(lane_model(lane), &info);
    snprintf(digest, sizeof digest, "%064llx", (unsigned long long)info.file_bytes);
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "name", lane_name(lane), "model",
                     lane_name(lane), "modified_at",
                     date_text((time_t)server_started(server), date, sizeof date), "size",
                     (json_int_t)info.file_bytes, "digest", digest, "details",
                     details_json(lane));
}

static json_t *list_models(const struct server *server, bool running) {
    json_t *const list = json_array();
    for (size_t i = 0; i < server_n_lanes(server); i++) {
        json_t *const json = model_json(server, server_lane(server, i));
        if (json && running) {
            json_object_set_new(json, "expires_at", json_string("2318-01-01T00:00:00Z"));
            json_object_set_new(json, "size_vram", json_integer(0));
        }
        json_array_append_new(list, json);
    }
    return json_pack("{s:o}", "models", list);
}

static void get_tags(void *user, struct exchange *exchange) {
    server_reply_json(exchange, 200, list_models(user, false));
}

static void get_ps(void *user, struct exchange *exchange) {
    server_reply_json(exchange, 200, list_models(user, true));
}

static void get_version(void *user, struct exchange *exchange) {
    (void)user;
    server_reply_json(exchange, 200, json_pack("{s:s}", "version", version));
}

static void post_show(void *user, struct exchange *exchange) {
    struct body body;
    size_t n_bytes;
    const char *const bytes = exchange_body(exchange, &n_bytes);
    body_open(&body, bytes, n_bytes);
    const char *name = body.wrong[0] ? NULL : body_text(&body, "model");
    if (!name && !body.wrong[0]) name = body_text(&body, "name");
    struct lane *const lane = body.wrong[0] ? NULL : server_find(user, name ? name : "");
    if (!lane) {
        exchange_error(exchange, body.wrong[0] ? 400 : 404,
                       body.wrong[0] ? body.wrong : "there is no such model here");
        body_close(&body);
        return;
    }
    struct octet_model_info info;
    char key[80];
    octet_model_get_info(lane_model(lane), &info);
    // Clients look for .Suffix to know whether holes can be filled: here they always can.
    json_t *const json = json_pack(
        "{s:s, s:s, s:s, s:o, s:[s, s], s:{s:s, s:I}}", "modelfile", "", "parameters", "",
        "template", "{{ .System }}{{ .Prompt }}{{ .Suffix }}", "details", details_json(lane),
        "capabilities", "completion", "insert", "model_info", "general.architecture", info.arch,
        "general.parameter_count", (json_int_t)info.n_params);
    snprintf(key, sizeof key, "%.60s.context_length", info.arch);
    json_object_set_new(json_object_get(json, "model_info"), key,
                        json_integer(lane_n_ctx(lane)));
    server_reply_json(exchange, 200, json);
    body_close(&body);
}

const struct route ollama_routes[] = {
    {"/api/chat", HTTPD_POST, false, post_chat},
    {"/api/generate", HTTPD_POST, false, post_generate},
    {"/api/tags", HTTPD_GET, false, get_tags},
    {"/api/ps", HTTPD_GET, false, get_ps},
    {"/api/show", HTTPD_POST, false, post_show},
    {"/api/version", HTTPD_GET, false, get_version},
    {0},
};
