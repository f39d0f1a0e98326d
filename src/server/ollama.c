/* Ollama's API: /api/generate and /api/chat, which stream lines of JSON unless told not to, and
 * what its clients ask before they trust a server. The models stay loaded for good, so what clients
 * say about that (keep_alive) is only checked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/answer.h"
#include "server/asked.h"
#include "server/server.h"

enum { DEFAULT_HOLE_TOKENS = 256 };

/* Of the API that is spoken: editors refuse a server that says less. */
static const char api_version[] = "0.12.0";

/* ---- Writing --------------------------------------------------------------------------------- */

static json_t *time_json(const struct timespec *at) {
    char seconds[32], text[64];
    struct tm parts;
    gmtime_r(&at->tv_sec, &parts);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, sizeof text, "%s.%09ldZ", seconds, at->tv_nsec);
    return json_string(text);
}

static json_t *now_json(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return time_json(&now);
}

static json_int_t nanoseconds(double seconds) { return (json_int_t)(1e9 * seconds); }

/* Takes TEXT over. */
static json_t *piece(const struct lane *lane, bool chat, json_t *text, bool done) {
    json_t *const content =
        chat ? json_pack("{s:s, s:o}", "role", "assistant", "content", text) : text;
    return json_pack("{s:s, s:o, s:o, s:b}", "model", lane_name(lane), "created_at", now_json(),
                     chat ? "message" : "response", content, "done", done);
}

/* What a next request may send as "context": the prompt's tokens, kept since the beginning, and
 * those of the answer. Takes the list out of ANSWER. */
static json_t *take_context(struct choice *c) {
    struct answer *const a = c->answer;
    const struct octet_model *const model = lane_model(a->lane);
    const int32_t eos = octet_token_eos(model);
    struct octet_tokens tokens = {NULL, 0, 0};
    json_t *const list = a->extra;
    a->extra = NULL;
    if (c->text.n > 0) octet_tokenize(model, c->text.bytes, c->text.n, 0, &tokens, NULL);
    for (size_t i = 0; i < tokens.n; i++) json_array_append_new(list, json_integer(tokens.ids[i]));
    if (c->finish == FINISH_STOP && !c->stopped_by[0] && eos >= 0)
        json_array_append_new(list, json_integer(eos));
    octet_tokens_free(&tokens);
    return list;
}

static void add_end(struct choice *c, json_t *json) {
    const struct answer *const a = c->answer;
    json_t *const more = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "done_reason",
        c->finish == FINISH_LENGTH ? "length" : "stop", "total_duration",
        nanoseconds(a->ended - a->submitted), "load_duration",
        nanoseconds(a->started - a->submitted), "prompt_eval_count", (json_int_t)a->prompt_tokens,
        "prompt_eval_duration", nanoseconds(answer_prefill_s(a)), "eval_count",
        (json_int_t)a->generated_tokens, "eval_duration", nanoseconds(answer_decode_s(a)));
    json_object_update(json, more);
    json_decref(more);
    if (a->extra) json_object_set_new(json, "context", take_context(c));
    if (a->hole)
        json_object_set_new(json, "fim_method", json_string(fim_method_name(a->hole->method)));
}

/* The arguments are an object in this API. */
static json_t *call_json(const struct tool_call *call) {
    return json_pack("{s:s, s:{s:s, s:o}}", "id", call->id, "function", "name", call->name,
                     "arguments", json_loads(call->arguments, 0, NULL));
}

static void add_calls(json_t *json, const struct tool_call *calls, size_t n) {
    json_t *const list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, call_json(&calls[i]));
    json_object_set_new(json_object_get(json, "message"), "tool_calls", list);
}

static void stream_call(struct choice *c, const struct tool_call *call) {
    json_t *const json = piece(c->answer->lane, c->answer->chat, json_string(""), false);
    add_calls(json, call, 1);
    answer_send_line(c->answer, json);
}

static void stream_text(struct choice *c, const char *text, size_t n_bytes) {
    struct answer *const a = c->answer;
    answer_send_line(a, piece(a->lane, a->chat, json_stringn(text, n_bytes), false));
}

static void stream_done(struct choice *c) {
    json_t *const json = piece(c->answer->lane, c->answer->chat, json_string(""), true);
    add_end(c, json);
    answer_send_line(c->answer, json);
}

static void stream_end(struct answer *a) { (void)a; }

static void stream_fail(struct answer *a, const char *text) {
    answer_send_line(a, json_pack("{s:s}", "error", text));
}

static json_t *whole(struct answer *a) {
    struct choice *const c = &a->choices[0];
    const char *const text = c->text.bytes ? c->text.bytes : "";
    json_t *const json = piece(a->lane, a->chat, json_stringn(text, c->text.n), true);
    if (c->n_calls > 0) add_calls(json, c->calls, c->n_calls);
    add_end(c, json);
    return json;
}

static const struct dialect dialect = {
    .stream_type = "application/x-ndjson",
    .silence = " ", // before the next line's JSON
    .whole = whole,
    .text = stream_text,
    .call = stream_call,
    .done = stream_done,
    .end = stream_end,
    .fail = stream_fail,
};

/* ---- Reading --------------------------------------------------------------------------------- */

static bool is_asked(const json_t *value) {
    return json_is_true(value) || json_array_size(value) > 0 || json_string_length(value) > 0 ||
           (json_is_object(value) && json_object_size(value) > 0);
}

static void check_images(struct body *body, const json_t *of) {
    if (is_asked(json_object_get(of, "images")))
        body_complain(body, "this model does not support images");
}

/* Fields of both requests that must not be passed over in silence. */
static void check_common(struct body *body) {
    const json_t *const keep = body_get(body, "keep_alive");
    if (is_asked(body_get(body, "think")))
        body_complain(body, "this model does not support thinking");
    if (keep && !json_is_number(keep) && !json_is_string(keep))
        body_complain(body, "'keep_alive' is neither a number nor a duration");
    check_images(body, body->json);
}

static bool asks_to_unload(const struct body *body) {
    const json_t *const keep = body_get(body, "keep_alive");
    const char *const text = json_string_value(keep);
    return text ? strtod(text, NULL) == 0 : keep && json_number_value(keep) == 0;
}

/* A request without anything to answer: the model is to be there, and is. */
static void reply_loaded(struct exchange *exchange, struct body *body, const struct lane *lane,
                         bool chat) {
    json_t *const json = piece(lane, chat, json_string(""), true);
    const char *const reason = asks_to_unload(body) ? "unload" : "load";
    json_object_set_new(json, "done_reason", json_string(reason));
    if (body->wrong[0]) {
        exchange_error(exchange, 400, body->wrong);
        json_decref(json);
    } else {
        server_reply_json(exchange, 200, json);
    }
    body_close(body);
}

/* The answer with its one job, which has no prompt yet. NULL: complained about. */
static struct job *read_job(struct server *server, struct exchange *exchange, struct lane *lane,
                            struct body *body, struct answer **answer) {
    struct body options = body_inner(body, "options");
    *answer = answer_new(server, exchange, lane, &dialect, "", 1);
    struct job *const job = *answer ? asked_job(&options, lane, 0) : NULL;
    if (job) {
        answer_add_job(*answer, 0, job);
        (*answer)->stream = body_bool(body, "stream", true);
        job->max_tokens = (int32_t)body_int(&options, "num_predict", INT32_MIN, INT32_MAX, -1);
        asked_format(body, body_get(body, "format"), lane, job);
    }
    if (options.wrong[0]) body_complain(body, "options: %.180s", options.wrong);
    return body->wrong[0] ? NULL : job;
}

/* ---- /api/generate --------------------------------------------------------------------------- */

static void keep_context(struct body *body, struct answer *answer, const struct job *job) {
    answer->extra = json_array();
    if (!answer->extra) body_complain(body, "out of memory");
    for (size_t i = 0; i < job->prompt.n; i++)
        json_array_append_new(answer->extra, json_integer(job->prompt.ids[i]));
}

/* The prompt as a conversation of one message. */
static void read_turn(struct body *body, struct lane *lane, struct job *job) {
    json_t *const messages = json_pack("[{s:s, s:O}]", "role", "user", "content",
                                       (json_t *)(uintptr_t)body_get(body, "prompt"));
    if (json_object_set_new(body->json, "messages", messages) != 0)
        body_complain(body, "out of memory");
    asked_system(body, body_get(body, "system"));
    asked_chat(body, "messages", lane, job);
}

/* The prompt after the tokens of earlier ones and their answers. Models that know no conversations
 * just go on with the text. */
static void read_prompt(struct body *body, struct lane *lane, struct answer *answer,
                        struct job *job) {
    const json_t *const context = body_get(body, "context");
    struct octet_tokens *const tokens = &job->prompt;
    if (context && !json_is_array(context))
        body_complain(body, "'context' is not a list of token ids");
    else if (context)
        asked_prompt(body, context, lane, job);
    const size_t n = tokens->n;
    if (octet_chat_format(lane_model(lane)))
        read_turn(body, lane, job);
    else
        asked_prompt(body, body_get(body, "prompt"), lane, job);
    const int32_t bos = octet_token_bos(lane_model(lane));
    if (n > 0 && tokens->n > n && bos >= 0 && tokens->ids[n] == bos) // only at the beginning
        memmove(tokens->ids + n, tokens->ids + n + 1, (--tokens->n - n) * sizeof *tokens->ids);
    keep_context(body, answer, job);
}

static void read_generate(struct body *body, struct lane *lane, struct answer *answer,
                          struct job *job) {
    const char *const prompt = body_text(body, "prompt"), *const suffix = body_text(body, "suffix");
    const bool raw = body_bool(body, "raw", false);
    if (raw && (is_asked(body_get(body, "system")) || is_asked(body_get(body, "context")) ||
                is_asked(body_get(body, "template"))))
        body_complain(body, "'raw' goes without 'system', 'template' and 'context'");
    if (suffix && suffix[0])
        answer->hole = asked_hole(body, prompt, suffix);
    else if (raw)
        answer->hole = asked_rescue(lane, prompt);
    if (answer->hole && job->max_tokens < 0) job->max_tokens = DEFAULT_HOLE_TOKENS;
    if (body->wrong[0]) return;
    if (!answer->hole && raw)
        asked_prompt(body, body_get(body, "prompt"), lane, job);
    else if (!answer->hole)
        read_prompt(body, lane, answer, job);
    else
        asked_fill(body, lane, answer->hole, job);
}

static void post_generate(void *user, struct exchange *exchange) {
    struct body body;
    struct answer *answer = NULL;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    check_common(&body);
    const char *const prompt = body_text(&body, "prompt");
    const char *const suffix = body_text(&body, "suffix");
    body_text(&body, "system");
    body_text(&body, "template"); // of Ollama's own language: the model's is taken
    if (!(prompt && prompt[0]) && !(suffix && suffix[0])) {
        reply_loaded(exchange, &body, lane, false);
        return;
    }
    struct job *const job = read_job(user, exchange, lane, &body, &answer);
    if (job) read_generate(&body, lane, answer, job);
    answer_or_refuse(answer, exchange, &body);
}

/* ---- /api/chat ------------------------------------------------------------------------------- */

static void post_chat(void *user, struct exchange *exchange) {
    struct body body;
    struct answer *answer = NULL;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    check_common(&body);
    const json_t *const messages = body_get(&body, "messages");
    if (!messages || (json_is_array(messages) && json_array_size(messages) == 0)) {
        reply_loaded(exchange, &body, lane, true);
        return;
    }
    size_t i;
    const json_t *message;
    json_array_foreach(messages, i, message) check_images(&body, message);
    struct job *const job = read_job(user, exchange, lane, &body, &answer);
    if (job) asked_chat(&body, "messages", lane, job);
    if (answer) answer->chat = true;
    answer_or_refuse(answer, exchange, &body);
}

/* ---- Models ---------------------------------------------------------------------------------- */

static json_t *details_json(const struct octet_model_info *info) {
    char size[32];
    const double n = (double)info->n_params;
    if (n >= 1e9)
        snprintf(size, sizeof size, "%.1fB", n / 1e9);
    else
        snprintf(size, sizeof size, "%.2fM", n / 1e6);
    return json_pack("{s:s, s:s, s:s, s:[s], s:s, s:s}", "parent_model", "", "format", "gguf",
                     "family", info->arch, "families", info->arch, "parameter_size", size,
                     "quantization_level", info->type);
}

static json_t *modified_json(const struct lane *lane) {
    return time_json(&(struct timespec){.tv_sec = lane_modified(lane)});
}

/* Tells files apart by what is known of them at once: a digest of the weights would take as long as
 * reading them. */
static json_t *digest_json(const struct lane *lane, const struct octet_model_info *info) {
    char known[256], text[65];
    const int n = snprintf(known, sizeof known, "%s %llu %lld", lane_name(lane),
                           (unsigned long long)info->file_bytes, (long long)lane_modified(lane));
    uint64_t hash = OCTET_HASH_INIT;
    for (size_t part = 0; part < 4; part++) {
        for (int i = 0; i < n && i < (int)sizeof known - 1; i++)
            hash = (hash ^ (unsigned char)known[i]) * UINT64_C(0x100000001b3);
        snprintf(text + 16 * part, 17, "%016llx", (unsigned long long)hash);
    }
    return json_string(text);
}

static json_t *entry_json(const struct lane *lane) {
    struct octet_model_info info;
    octet_model_get_info(lane_model(lane), &info);
    return json_pack("{s:s, s:s, s:o, s:I, s:o, s:o}", "name", lane_name(lane), "model",
                     lane_name(lane), "modified_at", modified_json(lane), "size",
                     (json_int_t)info.file_bytes, "digest", digest_json(lane, &info), "details",
                     details_json(&info));
}

static void get_tags(void *user, struct exchange *exchange) {
    const struct server *const server = user;
    json_t *const list = json_array();
    for (size_t i = 0; i < server_n_lanes(server); i++)
        json_array_append_new(list, entry_json(server_lane(server, i)));
    server_reply_json(exchange, 200, json_pack("{s:o}", "models", list));
}

static void get_ps(void *user, struct exchange *exchange) {
    const struct server *const server = user;
    json_t *const list = json_array();
    for (size_t i = 0; i < server_n_lanes(server); i++) {
        const struct lane *const lane = server_lane(server, i);
        json_t *const entry = entry_json(lane);
        json_object_del(entry, "modified_at");
        json_object_set_new(entry, "expires_at", json_string("9999-12-31T23:59:59Z"));
        json_object_set_new(entry, "size_vram", json_integer(0));
        json_object_set_new(entry, "context_length", json_integer(lane_n_ctx(lane)));
        json_array_append_new(list, entry);
    }
    server_reply_json(exchange, 200, json_pack("{s:o}", "models", list));
}

/* Keys as the files have them, "llama.context_length" and so on. The context is this server's. */
static json_t *model_info_json(const struct lane *lane, const struct octet_model_info *info) {
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"context_length", lane_n_ctx(lane)},
        {"embedding_length", info->d_model},
        {"block_count", info->n_layers},
        {"feed_forward_length", info->d_ff},
        {"attention.head_count", info->n_heads},
        {"attention.head_count_kv", info->n_kv_heads},
        {"expert_count", info->n_experts},
        {"expert_used_count", info->n_experts_used},
        {"vocab_size", info->n_vocab},
    };
    json_t *const json =
        json_pack("{s:s, s:s, s:I}", "general.architecture", info->arch, "general.basename",
                  info->name, "general.parameter_count", (json_int_t)info->n_params);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char key[96];
        snprintf(key, sizeof key, "%s.%s", info->arch, numbers[i].name);
        if (numbers[i].value > 0) json_object_set_new(json, key, json_integer(numbers[i].value));
    }
    return json;
}

/* "num_ctx 4096" and the stop strings, a line each: clients take their defaults from here. */
static json_t *parameters_json(const struct lane *lane) {
    const struct octet_model *const model = lane_model(lane);
    const char *const format = octet_chat_format(model) ? NULL : "chatml";
    struct buffer text = {NULL, 0, 0};
    char line[160];
    const char *stop;
    snprintf(line, sizeof line, "num_ctx %d", lane_n_ctx(lane));
    buffer_append_text(&text, line);
    for (size_t i = 0; (stop = octet_chat_stop(model, format, i)) != NULL; i++) {
        json_t *const json = json_string(stop);
        char *const quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
        snprintf(line, sizeof line, "\nstop %.140s", quoted ? quoted : "\"\"");
        buffer_append_text(&text, line);
        free(quoted);
        json_decref(json);
    }
    json_t *const out = json_string(text.bytes ? text.bytes : "");
    buffer_free(&text);
    return out;
}

/* In Ollama's language, for clients that look whether a suffix is made use of. */
static const char shown_template[] = "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}"
                                     "{{ .System }}{{ .Prompt }}{{ end }}{{ .Response }}";

static void post_show(void *user, struct exchange *exchange) {
    struct body body;
    struct lane *const lane = answer_lane(user, exchange, &body);
    if (!lane) return;
    struct octet_model_info info;
    octet_model_get_info(lane_model(lane), &info);
    server_reply_json(
        exchange, 200,
        json_pack("{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:[s, s, s]}", "license", "", "modelfile",
                  "", "parameters", parameters_json(lane), "template", shown_template,
                  "modified_at", modified_json(lane), "details", details_json(&info), "model_info",
                  model_info_json(lane, &info), "capabilities", "completion", "insert", "tools"));
    body_close(&body);
}

static void get_version(void *user, struct exchange *exchange) {
    (void)user;
    server_reply_json(exchange, 200,
                      json_pack("{s:s, s:s}", "version", api_version, "octet", OCTET_VERSION));
}

const struct route ollama_routes[] = {
    {"/api/generate", HTTPD_POST, false, post_generate},
    {"/api/chat", HTTPD_POST, false, post_chat},
    {"/api/tags", HTTPD_GET, false, get_tags},
    {"/api/ps", HTTPD_GET, false, get_ps},
    {"/api/show", HTTPD_POST, false, post_show},
    {"/api/version", HTTPD_GET, false, get_version},
    {0},
};
