/* See server.h. */
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/threads.h"

enum { MAX_BODY_BYTES = 32 << 20 };
static const double grace_seconds = 10;

struct server {
    struct server_options options;
    struct httpd *http;
    struct lane **lanes; // (n_lanes)
    size_t n_lanes;
    struct turns turns; // of lanes that have to share the cores
    struct route *routes;
    double started;
    _Atomic uint64_t n_replies;
    uint64_t salt;
};

static const struct route *const dialects[] = {
    openai_routes, mistral_routes, llamacpp_routes, ollama_routes,
    anthropic_routes, responses_routes, tabby_routes, embed_routes, tokens_routes,
    state_routes, page_routes,
};

/* ---- Errors ---------------------------------------------------------------------------------- */

static const char *error_type(int status) {
    switch (status) {
    case 400: return "invalid_request_error";
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "unavailable_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
    }
}

static bool is_below(const char *path, const char *folder) {
    const size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* OpenAI's errors have a code in words or none, llama.cpp's the HTTP status again. */
static json_t *error_code(const char *path, int status, bool too_long) {
    if (!is_below(path, "/v1")) return json_integer(status);
    return too_long ? json_string("context_length_exceeded") : json_null();
}

static json_t *error_json(const char *path, int status, const char *text) {
    const bool too_long = strstr(text, "context_length_exceeded") != NULL;
    if (is_below(path, "/api")) return json_pack("{s:s}", "error", text);
    if (is_below(path, "/v1/messages")) return anthropic_error(status, text);
    return json_pack("{s:{s:s, s:s, s:n, s:o}}", "error", "message", text, "type",
                     too_long ? "exceed_context_size_error" : error_type(status), "param", "code",
                     error_code(path, status, too_long));
}

/* TEXT may quote what was sent, cut anywhere: bytes that are no UTF-8 come out as U+FFFD. */
static char *error_body(const char *path, int status, const char *text) {
    struct octet_stream stream = {0};
    const size_t n = strlen(text);
    char *const clean = mem_alloc(3 * n + 13);
    if (!clean) return NULL;
    size_t n_clean = octet_stream_push(&stream, text, n, clean);
    n_clean += octet_stream_flush(&stream, clean + n_clean);
    clean[n_clean] = '\0';
    json_t *const json = error_json(path, status, clean);
    mem_free(clean);
    char *const dumped = json ? json_dumps(json, JSON_COMPACT) : NULL;
    char *const copy = dumped ? mem_strdup(dumped, strlen(dumped)) : NULL;
    free(dumped);
    json_decref(json);
    return copy;
}

int server_http_status(enum octet_status status) {
    switch (status) {
    case OCTET_EARG:
    case OCTET_EFORMAT:
    case OCTET_ECONTEXT: return 400;
    case OCTET_EUNSUPPORTED:
    case OCTET_EMEM: return 503;
    default: return 500;
    }
}

void server_reply_json(struct exchange *exchange, int status, json_t *json) {
    char *const text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text)
        exchange_reply(exchange, status, "application/json", text, strlen(text));
    else
        exchange_error(exchange, 500, "out of memory");
    free(text);
}

void server_refuse_overflow(struct exchange *exchange, const char *text, size_t n_prompt,
                            int32_t n_ctx) {
    json_t *const json = error_json(exchange_path(exchange), 400, text);
    json_t *const error = json_object_get(json, "error");
    json_t *const counts = json_pack("{s:I, s:i}", "n_prompt_tokens", (json_int_t)n_prompt,
                                     "n_ctx", n_ctx);
    json_object_update(error, counts); // where the error is no object, the text has them
    json_decref(counts);
    server_reply_json(exchange, 400, json);
}

/* ---- Models ---------------------------------------------------------------------------------- */

size_t server_n_lanes(const struct server *server) { return server->n_lanes; }
struct lane *server_lane(const struct server *server, size_t i) { return server->lanes[i]; }

static bool names_lane(const struct lane *lane, const char *name) {
    const char *const slash = strrchr(name, '/');
    if (slash) name = slash + 1;
    const size_t n = strcspn(name, ":"), n_own = strlen(lane_name(lane));
    const bool tagged = name[n] == '\0' || strcmp(name + n, ":latest") == 0;
    return tagged && n == n_own && strncasecmp(name, lane_name(lane), n) == 0;
}

struct lane *server_find(const struct server *server, const char *name) {
    for (size_t i = 0; i < server->n_lanes; i++)
        if (strcmp(lane_name(server->lanes[i]), name) == 0) return server->lanes[i];
    for (size_t i = 0; i < server->n_lanes; i++)
        if (names_lane(server->lanes[i], name)) return server->lanes[i];
    return server->n_lanes == 1 || !name[0] ? server->lanes[0] : NULL;
}

/* ---- What the dialects share ----------------------------------------------------------------- */

struct httpd *server_httpd(const struct server *server) { return server->http; }
double server_started(const struct server *server) { return server->started; }
bool server_is_quiet(const struct server *server) { return server->options.quiet; }

const char *server_reply_id(struct server *server, const char *prefix, char *out, size_t cap) {
    snprintf(out, cap, "%s%016llx", prefix,
             (unsigned long long)((server->salt + ++server->n_replies) *
                                  UINT64_C(0x9e3779b97f4a7c15)));
    return out;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static enum octet_status gather_routes(struct server *server, size_t *n, struct octet_err *err) {
    *n = 0;
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        for (const struct route *r = dialects[i]; r->path; r++) (*n)++;
    server->routes = mem_array(*n, sizeof *server->routes);
    if (!server->routes) return octet_fail_memory(err, "routes", *n * sizeof *server->routes);
    size_t at = 0;
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        for (const struct route *r = dialects[i]; r->path; r++) server->routes[at++] = *r;
    return OCTET_OK;
}

static enum octet_status listen_to(struct server *server, struct octet_err *err) {
    const struct server_options *const o = &server->options;
    struct httpd_options http = {
        .host = o->host,
        .port = o->port,
        .keys = o->keys,
        .n_keys = o->n_keys,
        .origins = o->origins,
        .n_origins = o->n_origins,
        .names = o->names,
        .n_names = o->n_names,
        .max_body_bytes = MAX_BODY_BYTES,
        .error_body = error_body,
        .user = server,
    };
    enum octet_status status = gather_routes(server, &http.n_routes, err);
    http.routes = server->routes;
    return status == OCTET_OK ? httpd_open(&http, &server->http, err) : status;
}

static enum octet_status open_lane(struct server *server, size_t i, struct octet_err *err) {
    struct lane_options options = server->options.models[i];
    const size_t n_threads = (size_t)options.n_threads * server->options.n_models;
    const bool fits = options.n_threads > 0 && n_threads <= (size_t)cpu_count();
    if (server->options.n_models > 1 && !fits) options.turns = &server->turns;
    const enum octet_status status =
        lane_open(&options, httpd_mailbox(server->http), &server->lanes[i], err);
    if (status == OCTET_OK) server->n_lanes++;
    return status;
}

enum octet_status server_open(const struct server_options *options, struct server **out,
                              struct octet_err *err) {
    *out = NULL;
    struct server *const server = mem_alloc(sizeof *server);
    if (!server) return octet_fail_memory(err, "a server", sizeof *server);
    server->options = *options;
    turns_open(&server->turns);
    server->started = (double)time(NULL);
    if (getrandom(&server->salt, sizeof server->salt, 0) < 0) server->salt = (uint64_t)time(NULL);
    server->lanes = mem_array(options->n_models, sizeof *server->lanes);
    enum octet_status status =
        server->lanes ? listen_to(server, err) : octet_fail_memory(err, "models", 0);
    for (size_t i = 0; i < options->n_models && status == OCTET_OK; i++) {
        status = open_lane(server, i, err);
        if (status == OCTET_OK && options->loaded)
            options->loaded(options->user, options->models[i].name,
                            octet_chat_problem(lane_model(server->lanes[i])));
    }
    if (status == OCTET_OK)
        *out = server;
    else
        server_close(server);
    return status;
}

void server_close(struct server *server) {
    if (!server) return;
    for (size_t i = 0; i < server->n_lanes; i++) lane_stop(server->lanes[i]);
    httpd_close(server->http); // whose last mail comes from the lanes
    for (size_t i = 0; i < server->n_lanes; i++) lane_close(server->lanes[i]);
    turns_close(&server->turns);
    mem_free(server->lanes);
    mem_free(server->routes);
    mem_free(server);
}

void server_run(struct server *server) { httpd_run(server->http, grace_seconds); }
int server_port(const struct server *server) { return httpd_port(server->http); }
