/* A running octet serve that is asked over HTTP (POST /infill), so that several editors share one
 * model. Transfers are libcurl's, on the event loop; one that is cut off closes its connection,
 * which is how the server knows that nobody waits any more. See engine.h. */
#include <curl/curl.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/mem.h"
#include "base/status.h"
#include "lsp/engine.h"

enum { REPLY_BYTES = 1 << 20, CONNECT_SECONDS = 5, SILENCE_SECONDS = 120 };

struct remote {
    struct engine engine;
    struct event_base *base;
    CURLM *multi;
    struct event *timer;
    struct curl_slist *headers;
    char *url, *model; // of /infill; MODEL may be NULL
    bool nearby;       // on this machine
};

struct filling {
    struct remote *remote;
    CURL *easy;
    struct hole *hole;
    char *body; // sent, of jansson
    struct buffer reply;
    filled_fn done;
    void *user;
};

static void free_filling(struct filling *f) {
    if (f->easy) {
        curl_multi_remove_handle(f->remote->multi, f->easy);
        curl_easy_cleanup(f->easy);
    }
    hole_free(f->hole);
    free(f->body);
    buffer_free(&f->reply);
    mem_free(f);
}

/* ---- The event loop -------------------------------------------------------------------------- */

/* What a server says that is no octet serve. */
static const char *failure_of(const json_t *json, long http_status, char *text, size_t cap) {
    const json_t *const error = json_object_get(json, "error");
    const char *const message =
        json_string_value(json_is_object(error) ? json_object_get(error, "message") : error);
    snprintf(text, cap, "the server answered %ld%s%.200s", http_status, message ? ": " : "",
             message ? message : "");
    return text;
}

static size_t count_at(const json_t *json, const char *key) {
    const json_int_t n = json_integer_value(json_object_get(json, key));
    return n > 0 ? (size_t)n : 0;
}

static void finish(struct filling *f, CURLcode code) {
    char text[300];
    long http_status = 0;
    struct filled filled = {.text = "", .method = "unknown"};
    json_t *json = NULL;
    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &http_status);
    if (code == CURLE_OK) json = json_loadb(f->reply.bytes ? f->reply.bytes : "", f->reply.n, 0,
                                            NULL);
    const char *const content = json_string_value(json_object_get(json, "content"));
    if (code != CURLE_OK) {
        snprintf(text, sizeof text, "%s: %.200s", f->remote->url,
                 curl_easy_strerror(code)); // without times, so that it is told once
        filled.failure = text;
    } else if (http_status != 200 || !content) {
        filled.failure = failure_of(json, http_status, text, sizeof text);
    } else {
        const char *const method = json_string_value(json_object_get(json, "fim_method"));
        filled.text = content;
        if (method) filled.method = method;
        filled.cut = json_is_true(json_object_get(json, "stopped_limit"));
        filled.n_prompt = count_at(json, "tokens_evaluated");
        filled.n_cached = count_at(json, "tokens_cached");
        filled.n_generated = count_at(json, "tokens_predicted");
    }
    f->done(f->user, &filled);
    json_decref(json);
    free_filling(f);
}

static void drive(struct remote *remote, curl_socket_t fd, int events) {
    int n;
    curl_multi_socket_action(remote->multi, fd, events, &n);
    struct CURLMsg *message;
    while ((message = curl_multi_info_read(remote->multi, &n)) != NULL) {
        struct filling *f;
        const CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&f);
        finish(f, code);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    drive(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *arg) {
    (void)multi;
    struct remote *const remote = arg;
    const struct timeval wait = {ms / 1000, (ms % 1000) * 1000};
    if (ms < 0) return evtimer_del(remote->timer);
    return evtimer_add(remote->timer, &wait);
}

static void on_socket(evutil_socket_t fd, short what, void *arg) {
    const int in = what & EV_READ ? CURL_CSELECT_IN : 0;
    drive(arg, fd, in | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *watch) {
    (void)easy;
    struct remote *const remote = arg;
    if (watch) event_free(watch);
    struct event *event = NULL;
    if (what != CURL_POLL_REMOVE) {
        const short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) |
                                     (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
        event = event_new(remote->base, fd, events, on_socket, remote);
        if (event) event_add(event, NULL);
    }
    curl_multi_assign(remote->multi, fd, event);
    return 0;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static size_t on_bytes(char *bytes, size_t size, size_t n, void *arg) {
    struct filling *const f = arg;
    if (f->reply.n + size * n > REPLY_BYTES) return 0;
    return buffer_append(&f->reply, bytes, size * n) ? size * n : 0;
}

static char *write_body(const struct remote *remote, const struct hole *hole,
                        const struct wish *wish) {
    json_t *const chunks = json_array();
    for (size_t i = 0; i < hole->n_chunks; i++)
        json_array_append_new(chunks, json_pack("{s:s, s:s}", "filename", hole->chunks[i].name,
                                                "text", hole->chunks[i].text));
    json_t *const json = json_pack(
        "{s:o, s:s%, s:s, s:s, s:i, s:f, s:i, s:b, s:b}", "input_extra", chunks, "input_prefix",
        hole->prefix, (size_t)(hole->line - hole->prefix), "prompt", hole->line, "input_suffix",
        hole->suffix, "n_predict", wish->max_tokens, "t_max_predict_ms", 1e3 * wish->budget_s,
        "temperature", 0, "stream", 0, "cache_prompt", 1);
    if (!json) return NULL;
    if (wish->one_line) json_object_set_new(json, "stop", json_pack("[s]", "\n"));
    if (hole->language) json_object_set_new(json, "language", json_string(hole->language));
    if (remote->model) json_object_set_new(json, "model", json_string(remote->model));
    char *const text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

static bool begin(struct remote *remote, struct filling *f) {
    CURL *const easy = f->easy = curl_easy_init();
    if (!easy) return false;
    curl_easy_setopt(easy, CURLOPT_URL, remote->url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, remote->headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, f->body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, f);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (remote->nearby) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)SILENCE_SECONDS);
    return curl_multi_add_handle(remote->multi, easy) == CURLM_OK;
}

static enum octet_status fill(struct engine *engine, struct hole *hole, const struct wish *wish,
                              filled_fn done, void *user, struct filling **out,
                              struct octet_err *err) {
    struct remote *const remote = (struct remote *)engine;
    struct filling *const f = mem_alloc(sizeof *f);
    *out = f;
    if (!f) {
        hole_free(hole);
        return octet_fail_memory(err, "a request", sizeof *f);
    }
    *f = (struct filling){.remote = remote, .hole = hole, .done = done, .user = user};
    f->body = write_body(remote, hole, wish);
    if (f->body && begin(remote, f)) return OCTET_OK;
    free_filling(f);
    *out = NULL;
    return octet_fail_memory(err, "a request", 0);
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static void close_remote(struct engine *engine) {
    struct remote *const remote = (struct remote *)engine;
    if (remote->multi) curl_multi_cleanup(remote->multi);
    if (remote->timer) event_free(remote->timer);
    curl_slist_free_all(remote->headers);
    mem_free(remote->url);
    mem_free(remote->model);
    mem_free(remote);
    curl_global_cleanup();
}

static const struct engine_kind kind = {fill, free_filling, close_remote};

static bool is_nearby(const char *url) {
    char host[256];
    const char *const begin = strstr(url, "://") + 3;
    const size_t n = begin[0] == '[' ? strcspn(begin, "]") + 1 : strcspn(begin, ":/");
    snprintf(host, sizeof host, "%.*s", (int)n, begin);
    return host_is_loopback(host);
}

/* Keys travel in the clear only within this machine. */
static enum octet_status check_url(const struct lsp_options *o, struct octet_err *err) {
    const bool tls = strncmp(o->server, "https://", 8) == 0;
    if ((!tls && strncmp(o->server, "http://", 7) != 0) || strpbrk(o->server, "@?#"))
        return octet_fail(err, OCTET_EARG, "--server %s: expected http://HOST:PORT or https://HOST",
                          o->server);
    if (o->key && !tls && !is_nearby(o->server))
        return octet_fail(err, OCTET_EARG, "--server %s: a key is not sent over plain HTTP to "
                                           "another machine", o->server);
    return OCTET_OK;
}

static bool add_header(struct remote *remote, const char *name, const char *value) {
    struct buffer line = {NULL, 0, 0};
    struct curl_slist *more = NULL;
    if (buffer_append_text(&line, name) && buffer_append_text(&line, value))
        more = curl_slist_append(remote->headers, line.bytes);
    buffer_free(&line);
    if (more) remote->headers = more;
    return more != NULL;
}

static bool set_up(struct remote *remote, const struct lsp_options *o) {
    struct buffer url = {NULL, 0, 0};
    size_t n = strlen(o->server);
    while (n > 0 && o->server[n - 1] == '/') n--;
    if (buffer_append(&url, o->server, n) && buffer_append_text(&url, "/infill"))
        remote->url = mem_strdup(url.bytes, url.n);
    buffer_free(&url);
    if (o->model) remote->model = mem_strdup(o->model, strlen(o->model));
    remote->multi = curl_multi_init();
    remote->timer = evtimer_new(remote->base, on_timer, remote);
    if (!remote->url || (o->model && !remote->model) || !remote->multi || !remote->timer)
        return false;
    curl_multi_setopt(remote->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(remote->multi, CURLMOPT_SOCKETDATA, remote);
    curl_multi_setopt(remote->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(remote->multi, CURLMOPT_TIMERDATA, remote);
    return add_header(remote, "Content-Type: ", "application/json") &&
           add_header(remote, "Expect:", "") &&
           (!o->key || add_header(remote, "Authorization: Bearer ", o->key));
}

enum octet_status remote_open(const struct lsp_options *options, struct event_base *base,
                              struct engine **out, struct octet_err *err) {
    const enum octet_status status = check_url(options, err);
    if (status != OCTET_OK) return status;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) return octet_fail_memory(err, "libcurl", 0);
    struct remote *const remote = mem_alloc(sizeof *remote);
    if (!remote) {
        curl_global_cleanup();
        return octet_fail_memory(err, "a connection", sizeof *remote);
    }
    *remote = (struct remote){
        .engine = {&kind}, .base = base, .nearby = is_nearby(options->server)};
    if (!set_up(remote, options)) {
        close_remote(&remote->engine);
        return octet_fail_memory(err, "a connection", 0);
    }
    *out = &remote->engine;
    return OCTET_OK;
}
