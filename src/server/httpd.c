/* See httpd.h. A client that leaves is noticed by watching its socket for the other side's close,
 * since libevent itself does not read from a connection while it answers. */
#include "server/httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <event2/thread.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/host.h"
#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "server/aside.h"
#include "server/crowd.h"
#include "server/packed.h"

/* Clients keep connections for 90 s and reuse them; ours must not be the first to let go. */
enum { IDLE_SECONDS = 120, SILENCE_SECONDS = 5, MAX_HEADER_BYTES = 64 * 1024, MAX_PATH = 256 };

/* What waits for a client that does not read its stream; more, and it is dropped. */
enum { MAX_UNSENT_BYTES = 4 << 20 };

/* Bodies from this size on are read aside; below, a request keeps the thread for a millisecond. */
enum { LARGE_BODY_BYTES = 32 * 1024, PIECE_BYTES = 1 << 20 };

struct httpd {
    struct httpd_options options;
    struct event_base *base;
    struct evhttp *evhttp;
    struct mailbox *mail;
    struct aside *aside;
    struct event *grace, *sweep;
    int port;
    struct exchange *exchanges; // under way
    size_t n_exchanges;
    double grace_s;
    bool stopping;
};

struct exchange {
    struct httpd *http;
    struct evhttp_request *request; // NULL: libevent has freed it while the exchange was aside
    const struct route *route;
    struct event *closed;
    struct exchange *next, **link;
    struct buffer body; // that came compressed
    void (*gone)(void *user);
    void *gone_user;
    double begun;
    char path[MAX_PATH];
    struct event *silence; // NULL: nobody minds
    const char *comment;
    struct { // from exchange_aside on
        struct errand errand;
        bool under_way;
        atomic_bool left; // the client has gone meanwhile
        void (*fn)(void *user);
        void *user;
        void (*then)(void *user); // NULL: a reply
        void *then_user;
        int status;
        const char *content_type;
        struct evbuffer *body;
    } aside;
};

/* ---- Stopping -------------------------------------------------------------------------------- */

struct mailbox *httpd_mailbox(const struct httpd *http) { return http->mail; }

static void stop_when_idle(void *user) {
    struct httpd *const http = user;
    if (http->stopping && http->n_exchanges == 0) event_base_loopbreak(http->base);
}

bool httpd_stopping(const struct httpd *http) { return http->stopping; }

static void grace_is_over(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct httpd *const http = arg;
    event_base_loopbreak(http->base);
}

static void begin_stopping(struct httpd *http) {
    const struct timeval wait = {(time_t)http->grace_s,
                                 (suseconds_t)((http->grace_s - (double)(time_t)http->grace_s) *
                                               1e6)};
    http->stopping = true;
    evtimer_add(http->grace, &wait);
    if (http->n_exchanges == 0) event_base_loopbreak(http->base);
}

/* The first signal lets answers end, the second does not wait for them. */
static void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)number, (void)what;
    struct httpd *const http = arg;
    if (http->stopping)
        event_base_loopbreak(http->base);
    else
        begin_stopping(http);
}

/* ---- The life of an exchange ----------------------------------------------------------------- */

static void exchange_free(struct exchange *x) {
    struct httpd *const http = x->http;
    event_free(x->closed);
    if (x->silence) event_free(x->silence);
    if (x->aside.body) evbuffer_free(x->aside.body);
    buffer_free(&x->body);
    *x->link = x->next;
    if (x->next) x->next->link = x->link;
    http->n_exchanges--;
    mem_free(x);
    if (http->stopping && http->n_exchanges == 0) mailbox_wake(http->mail);
}

static void tell_gone(struct exchange *x) {
    void (*const gone)(void *user) = x->gone;
    void *const user = x->gone_user;
    exchange_free(x);
    if (gone) gone(user);
}

/* The connection is being freed by libevent, and the request with it; but not one whose answer was
 * under way when writing failed, which libevent leaves to us. */
static void on_connection_closed(struct evhttp_connection *connection, void *arg) {
    (void)connection;
    struct exchange *const x = arg;
    if (!evhttp_request_get_connection(x->request)) evhttp_request_free(x->request);
    x->request = NULL;
    x->aside.left = true;
    if (!x->aside.under_way) tell_gone(x);
}

/* The other side has closed: nobody reads the answer any more. */
static void on_closed(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct exchange *const x = arg;
    x->aside.left = true;
    if (x->aside.under_way) return; // and may look at the request
    struct evhttp_connection *const connection = evhttp_request_get_connection(x->request);
    if (connection) evhttp_connection_set_closecb(connection, NULL, NULL);
    tell_gone(x); // which stops watching the socket, before it is closed
    if (connection) evhttp_connection_free(connection);
}

static struct exchange *exchange_open(struct httpd *http, struct evhttp_request *request) {
    struct evhttp_connection *const connection = evhttp_request_get_connection(request);
    struct bufferevent *const bev = evhttp_connection_get_bufferevent(connection);
    struct exchange *const x = mem_alloc(sizeof *x);
    if (!x) return NULL;
    const evutil_socket_t fd = bufferevent_getfd(bev);
    crowd_arrived(fd);
    *x = (struct exchange){.http = http, .request = request, .begun = probe_seconds()};
    x->closed = event_new(http->base, fd, EV_CLOSED, on_closed, x);
    if (!x->closed || event_add(x->closed, NULL) != 0) {
        if (x->closed) event_free(x->closed);
        mem_free(x);
        return NULL;
    }
    x->next = http->exchanges;
    x->link = &http->exchanges;
    if (x->next) x->next->link = &x->next;
    http->exchanges = x;
    http->n_exchanges++;
    evhttp_connection_set_closecb(connection, on_connection_closed, x);
    return x;
}

static void on_sent(struct evhttp_request *request, void *arg) {
    struct exchange *const x = arg;
    struct evhttp_connection *const connection = evhttp_request_get_connection(request);
    if (connection) evhttp_connection_set_closecb(connection, NULL, NULL);
    exchange_free(x);
}

/* What is left is to be sent; set before libevent is told of the last of it. */
static void exchange_finish(struct exchange *x) {
    x->gone = NULL;
    if (x->silence) event_del(x->silence);
    evhttp_request_set_on_complete_cb(x->request, on_sent, x);
}

/* ---- Answering ------------------------------------------------------------------------------- */

static const struct timeval silence = {SILENCE_SECONDS, 0};

static const char *reason_of(int status) {
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 429: return "Too Many Requests";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    default: return status < 500 ? "Error" : "Internal Server Error";
    }
}

void exchange_set_header(struct exchange *x, const char *name, const char *value) {
    struct evkeyvalq *const headers = evhttp_request_get_output_headers(x->request);
    evhttp_remove_header(headers, name);
    evhttp_add_header(headers, name, value);
}

/* With BODY, or NULL, of N_BYTES; takes it over. */
static void send_reply(struct exchange *x, int status, const char *content_type,
                       struct evbuffer *body, size_t n_bytes) {
    if (content_type) exchange_set_header(x, "Content-Type", content_type);
    if (status == 415) exchange_set_header(x, "Accept-Encoding", "gzip, deflate");
    if (status == 429 || status == 503) exchange_set_header(x, "Retry-After", "1");
    if (evhttp_request_get_command(x->request) == EVHTTP_REQ_HEAD) {
        char length[24];
        snprintf(length, sizeof length, "%zu", n_bytes);
        exchange_set_header(x, "Content-Length", length);
        if (body) evbuffer_drain(body, n_bytes);
    }
    exchange_finish(x);
    evhttp_send_reply(x->request, status, reason_of(status), body);
    if (body) evbuffer_free(body);
}

void exchange_reply(struct exchange *x, int status, const char *content_type, const char *bytes,
                    size_t n_bytes) {
    struct evbuffer *const body = evbuffer_new();
    // In pieces, each of which is freed when it was sent.
    for (size_t at = 0; body && at < n_bytes; at += PIECE_BYTES)
        evbuffer_add(body, bytes + at, n_bytes - at < PIECE_BYTES ? n_bytes - at : PIECE_BYTES);
    if (!x->aside.under_way) {
        send_reply(x, status, content_type, body, n_bytes);
        return;
    }
    x->aside.status = status;
    x->aside.content_type = content_type;
    x->aside.body = body;
}

void exchange_error(struct exchange *x, int status, const char *text) {
    char *const body = x->http->options.error_body(x->path, status, text);
    exchange_reply(x, status, "application/json", body ? body : "{}", body ? strlen(body) : 2);
    mem_free(body);
}

void exchange_start(struct exchange *x, const char *content_type) {
    exchange_set_header(x, "Content-Type", content_type);
    exchange_set_header(x, "Cache-Control", "no-cache");
    exchange_set_header(x, "X-Accel-Buffering", "no"); // proxies pass pieces on as they come
    evhttp_send_reply_start(x->request, 200, "OK");
}

void exchange_piece(struct exchange *x, const char *bytes, size_t n_bytes) {
    struct evbuffer *const piece = evbuffer_new();
    if (!piece) return;
    evbuffer_add(piece, bytes, n_bytes);
    evhttp_send_reply_chunk(x->request, piece);
    evbuffer_free(piece);
    if (x->silence) event_add(x->silence, &silence);
    if (exchange_unsent(x) > MAX_UNSENT_BYTES) event_active(x->closed, EV_CLOSED, 0);
}

static void on_silence(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct exchange *const x = arg;
    exchange_piece(x, x->comment, strlen(x->comment));
}

void exchange_keep_alive(struct exchange *x, const char *bytes) {
    x->comment = bytes;
    x->silence = evtimer_new(x->http->base, on_silence, x);
    if (x->silence) event_add(x->silence, &silence);
}

void exchange_end(struct exchange *x) {
    exchange_finish(x);
    evhttp_send_reply_end(x->request);
}

size_t exchange_unsent(const struct exchange *x) {
    struct evhttp_connection *const connection = evhttp_request_get_connection(x->request);
    if (!connection) return 0;
    struct bufferevent *const bev = evhttp_connection_get_bufferevent(connection);
    return evbuffer_get_length(bufferevent_get_output(bev));
}

/* ---- What takes long ------------------------------------------------------------------------- */

static void run_aside(void *arg) {
    struct exchange *const x = arg;
    if (!x->aside.left) x->aside.fn(x->aside.user);
}

static void come_back(void *arg) {
    struct exchange *const x = arg;
    struct evbuffer *const body = x->aside.body;
    x->aside.under_way = false;
    if (x->aside.left && x->request) {
        on_closed(-1, EV_CLOSED, x);
    } else if (x->aside.left) {
        tell_gone(x);
    } else if (x->aside.then) {
        x->aside.then(x->aside.then_user);
    } else {
        x->aside.body = NULL;
        send_reply(x, x->aside.status, x->aside.content_type, body,
                   body ? evbuffer_get_length(body) : 0);
    }
}

void exchange_aside(struct exchange *x, void (*fn)(void *user), void *user) {
    x->aside.fn = fn;
    x->aside.user = user;
    x->aside.then = NULL;
    x->aside.under_way = true;
    x->aside.errand = (struct errand){run_aside, x, {come_back, x, NULL}, NULL};
    aside_send(x->http->aside, &x->aside.errand);
}

void exchange_then(struct exchange *x, void (*fn)(void *user), void *user) {
    if (!x->aside.under_way) {
        fn(user);
        return;
    }
    x->aside.then = fn;
    x->aside.then_user = user;
}

/* ---- Who may ask ----------------------------------------------------------------------------- */

/* Takes the same time for every key of a length. */
static bool keys_equal(const char *a, const char *b) {
    const size_t n = strlen(a);
    unsigned differ = n != strlen(b);
    for (size_t i = 0; i < n; i++) differ |= (unsigned)(a[i] ^ b[differ & 1 ? 0 : i]);
    return differ == 0;
}

static bool has_key(const struct exchange *x) {
    const struct httpd_options *const o = &x->http->options;
    const char *bearer = exchange_header(x, "Authorization");
    const char *const names[] = {exchange_header(x, "X-Api-Key"), exchange_header(x, "Api-Key")};
    if (o->n_keys == 0) return true;
    if (bearer && strncasecmp(bearer, "bearer ", 7) == 0)
        bearer += 7;
    else
        bearer = NULL;
    bool found = false;
    for (size_t i = 0; i < o->n_keys; i++) {
        if (bearer) found |= keys_equal(bearer, o->keys[i]);
        for (size_t k = 0; k < 2; k++)
            if (names[k]) found |= keys_equal(names[k], o->keys[i]);
    }
    return found;
}

/* The host of "https://host:port" or "host:port", in brackets if it is an IPv6 one. */
static void host_part(const char *text, char *out, size_t cap) {
    const char *const scheme = strstr(text, "://");
    if (scheme) text = scheme + 3;
    size_t n = text[0] == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":/");
    if (n > strlen(text)) n = strlen(text);
    snprintf(out, cap, "%.*s", (int)n, text);
}

static bool is_listed(const char *text, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], "*") == 0 || strcasecmp(list[i], text) == 0) return true;
    return false;
}

/* A web page elsewhere that points its own name at this machine sends that name as Host. */
static bool host_is_ours(const struct exchange *x) {
    const struct httpd_options *const o = &x->http->options;
    const char *const header = exchange_header(x, "Host");
    char host[256];
    if (!header) return true; // no browser
    host_part(header, host, sizeof host);
    return host_is_loopback(host) || strcasecmp(host, o->host) == 0 ||
           is_listed(host, o->names, o->n_names);
}

/* A page that came from this server, under a name of it that was let in. */
static bool is_same_origin(const struct exchange *x, const char *origin) {
    const char *const header = exchange_header(x, "Host"), *const host = strstr(origin, "://");
    return header && host && strcasecmp(host + 3, header) == 0;
}

/* Pages of this machine and of editors may ask; other pages only if they are listed. */
static bool origin_is_allowed(const struct exchange *x, const char *origin) {
    const struct httpd_options *const o = &x->http->options;
    static const char *const editors[] = {"vscode-webview://", "vscode-file://", "app://",
                                          "tauri://", "moz-extension://", "chrome-extension://"};
    char host[256];
    host_part(origin, host, sizeof host);
    if (is_same_origin(x, origin)) return true;
    if ((strncmp(origin, "http://", 7) == 0 || strncmp(origin, "https://", 8) == 0) &&
        host_is_loopback(host))
        return true;
    for (size_t i = 0; i < sizeof editors / sizeof *editors; i++)
        if (strncmp(origin, editors[i], strlen(editors[i])) == 0) return true;
    return is_listed(origin, o->origins, o->n_origins);
}

static void allow_origin(struct exchange *x, const char *origin) {
    exchange_set_header(x, "Access-Control-Allow-Origin", origin);
    exchange_set_header(x, "Vary", "Origin");
    exchange_set_header(x, "Access-Control-Allow-Methods", "GET, POST, HEAD, OPTIONS");
    const char *const wanted = exchange_header(x, "Access-Control-Request-Headers");
    exchange_set_header(x, "Access-Control-Allow-Headers",
               wanted ? wanted : "Authorization, Content-Type, X-Api-Key");
    exchange_set_header(x, "Access-Control-Max-Age", "600");
}

/* ---- Dispatch -------------------------------------------------------------------------------- */

/* The path without query, doubled slashes and a slash at the end. False: too long. */
static bool plain_path(const char *uri, char *out) {
    size_t n = 0;
    for (; *uri && *uri != '?' && *uri != '#'; uri++) {
        if (*uri == '/' && n > 0 && out[n - 1] == '/') continue;
        if (n + 1 >= MAX_PATH) return false;
        out[n++] = *uri;
    }
    if (n > 1 && out[n - 1] == '/') n--;
    if (n == 0) out[n++] = '/';
    out[n] = '\0';
    return true;
}

static unsigned method_of(const struct evhttp_request *request) {
    switch (evhttp_request_get_command(request)) {
    case EVHTTP_REQ_GET:
    case EVHTTP_REQ_HEAD: return HTTPD_GET;
    case EVHTTP_REQ_POST: return HTTPD_POST;
    default: return 0;
    }
}

static bool route_matches(const char *route, const char *path) {
    const size_t n = strlen(route);
    const bool below = n > 1 && route[n - 1] == '*';
    return below ? strncmp(route, path, n - 1) == 0 : strcmp(route, path) == 0;
}

static const struct route *find_route(const struct httpd *http, const char *path) {
    for (size_t i = 0; i < http->options.n_routes; i++)
        if (route_matches(http->options.routes[i].path, path)) return &http->options.routes[i];
    return NULL;
}

/* Clients that were given an address without "/v1" mean the same path. */
static const struct route *route_of(struct exchange *x) {
    const struct route *const route = find_route(x->http, x->path);
    char path[MAX_PATH];
    if (route || strlen(x->path) + sizeof "/v1" > sizeof path) return route;
    snprintf(path, sizeof path, "/v1%.*s", MAX_PATH - 4, x->path);
    const struct route *const meant = find_route(x->http, path);
    if (meant) strcpy(x->path, path);
    return meant;
}

/* Two ways to tell where a body ends: whoever stands between may see another request than we do. */
static bool is_ambiguous(const struct exchange *x) {
    const struct evkeyvalq *const headers = evhttp_request_get_input_headers(x->request);
    const struct evkeyval *header;
    size_t n = 0;
    for (header = headers->tqh_first; header; header = header->next.tqe_next)
        n += strcasecmp(header->key, "Content-Length") == 0 ||
             strcasecmp(header->key, "Transfer-Encoding") == 0;
    return n > 1;
}

/* False: answered already. */
static bool unpack_body(struct exchange *x) {
    const char *const encoding = exchange_header(x, "Content-Encoding");
    if (!encoding || strcasecmp(encoding, "identity") == 0) return true;
    size_t n;
    const char *const bytes = exchange_body(x, &n);
    const size_t most = x->http->options.max_body_bytes;
    const int status = packed_open(encoding, bytes, n, most, &x->body);
    if (status == 0) return true;
    exchange_error(x, status,
                   status == 415   ? "a body may be compressed as gzip or deflate only"
                   : status == 413 ? "the body is too large when unpacked"
                   : status == 400 ? "the body is not what its Content-Encoding says"
                                   : "out of memory");
    return false;
}

/* The body is let go of at once, on the thread that read it: freeing megabytes takes long, too. */
static void handle(void *arg) {
    struct exchange *const x = arg;
    const bool aside = x->aside.under_way;
    if (unpack_body(x)) x->route->handle(x->http->options.user, x);
    if (!aside) return; // the exchange may be over
    struct evbuffer *const body = evhttp_request_get_input_buffer(x->request);
    evbuffer_drain(body, evbuffer_get_length(body));
    buffer_free(&x->body);
}

/* A compressed body may be a large one. */
static bool is_large(const struct exchange *x) {
    const struct evbuffer *const body = evhttp_request_get_input_buffer(x->request);
    return evbuffer_get_length(body) >= LARGE_BODY_BYTES || exchange_header(x, "Content-Encoding");
}

static void dispatch(struct exchange *x) {
    struct httpd *const http = x->http;
    const char *const origin = exchange_header(x, "Origin");
    if (!host_is_ours(x)) {
        exchange_error(x, 403, "this server does not answer to that host name (see --name)");
        return;
    }
    if (origin && strcmp(origin, "null") != 0 && !origin_is_allowed(x, origin)) {
        exchange_error(x, 403, "pages of that origin may not ask this server (see --origin)");
        return;
    }
    if (origin && strcmp(origin, "null") != 0) allow_origin(x, origin);
    if (evhttp_request_get_command(x->request) == EVHTTP_REQ_OPTIONS) {
        exchange_reply(x, 204, NULL, "", 0);
        return;
    }
    const struct route *const route = route_of(x);
    if (is_ambiguous(x)) {
        exchange_set_header(x, "Connection", "close");
        exchange_error(x, 400, "the length of the body is told twice");
    } else if (route && !route->open && !has_key(x)) {
        exchange_error(x, 401, "a key is needed: Authorization: Bearer KEY");
    } else if (!route) {
        exchange_error(x, 404, "no such path");
    } else if (!(route->methods & method_of(x->request))) {
        exchange_error(x, 405, "this path takes another method");
    } else if (http->stopping) {
        exchange_error(x, 503, "the server is being stopped");
    } else {
        x->route = route;
        if (is_large(x))
            exchange_aside(x, handle, x);
        else
            handle(x);
    }
}

static void on_request(struct evhttp_request *request, void *arg) {
    struct httpd *const http = arg;
    struct exchange *const x = exchange_open(http, request);
    if (!x) {
        evhttp_send_error(request, 503, NULL);
        return;
    }
    const bool fits = plain_path(evhttp_request_get_uri(request), x->path);
    if (fits)
        dispatch(x);
    else
        exchange_error(x, 404, "no such path");
}

const char *exchange_path(const struct exchange *x) { return x->path; }
double exchange_begun(const struct exchange *x) { return x->begun; }

const char *exchange_header(const struct exchange *x, const char *name) {
    return evhttp_find_header(evhttp_request_get_input_headers(x->request), name);
}

const char *exchange_query(const struct exchange *x) {
    const char *const query = strchr(evhttp_request_get_uri(x->request), '?');
    return query ? query + 1 : "";
}

const char *exchange_body(const struct exchange *x, size_t *n_bytes) {
    if (x->body.bytes) {
        *n_bytes = x->body.n;
        return x->body.bytes;
    }
    struct evbuffer *const body = evhttp_request_get_input_buffer(x->request);
    *n_bytes = evbuffer_get_length(body);
    const unsigned char *const bytes = evbuffer_pullup(body, -1);
    return bytes ? (const char *)bytes : "";
}

void exchange_on_gone(struct exchange *x, void (*gone)(void *user), void *user) {
    x->gone = gone;
    x->gone_user = user;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static int bound_port(evutil_socket_t fd) {
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &n) != 0) return 0;
    const struct sockaddr_in6 *const v6 = (const struct sockaddr_in6 *)&address;
    const struct sockaddr_in *const v4 = (const struct sockaddr_in *)&address;
    return ntohs(address.ss_family == AF_INET6 ? v6->sin6_port : v4->sin_port);
}

static struct bufferevent *make_connection(struct event_base *base, void *arg) {
    (void)arg;
    struct bufferevent *const connection = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    crowd_watch(connection);
    return connection;
}

static const struct timeval second = {1, 0};

static void on_second(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what, (void)arg;
    crowd_sweep(probe_seconds());
}

static enum octet_status listen_at(struct httpd *http, struct octet_err *err) {
    const struct httpd_options *const o = &http->options;
    struct evhttp_bound_socket *const bound =
        evhttp_bind_socket_with_handle(http->evhttp, o->host, (uint16_t)o->port);
    if (!bound)
        return octet_fail(err, OCTET_EIO, "%s port %d: %s; is another server there? --port 0 takes "
                          "a free one", o->host, o->port, strerror(errno));
    const evutil_socket_t fd = evhttp_bound_socket_get_fd(bound);
    const int on = 1; // accepted sockets inherit it: pieces leave at once
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    crowd_listen(evhttp_bound_socket_get_listener(bound));
    http->port = bound_port(fd);
    return OCTET_OK;
}

enum octet_status httpd_open(const struct httpd_options *options, struct httpd **out,
                            struct octet_err *err) {
    *out = NULL;
    struct httpd *const http = mem_alloc(sizeof *http);
    if (!http || evthread_use_pthreads() != 0) {
        mem_free(http);
        return octet_fail_memory(err, "a server", sizeof *http);
    }
    http->options = *options;
    http->base = event_base_new();
    if (http->base) {
        http->evhttp = evhttp_new(http->base);
        http->mail = mailbox_open(http->base, stop_when_idle, http);
        http->aside = http->mail ? aside_open(http->mail) : NULL;
        http->grace = evtimer_new(http->base, grace_is_over, http);
        http->sweep = event_new(http->base, -1, EV_PERSIST, on_second, http);
    }
    enum octet_status status = OCTET_OK;
    if (!http->evhttp || !http->aside || !http->grace || !http->sweep) {
        status = octet_fail_memory(err, "a server", 0);
    } else {
        evhttp_set_bevcb(http->evhttp, make_connection, NULL);
        evhttp_set_gencb(http->evhttp, on_request, http);
        evhttp_set_allowed_methods(http->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD |
                                                     EVHTTP_REQ_POST | EVHTTP_REQ_OPTIONS);
        evhttp_set_max_headers_size(http->evhttp, MAX_HEADER_BYTES);
        evhttp_set_max_body_size(http->evhttp, (ev_ssize_t)options->max_body_bytes);
        evhttp_set_timeout(http->evhttp, IDLE_SECONDS);
        status = listen_at(http, err);
    }
    if (status == OCTET_OK)
        *out = http;
    else
        httpd_close(http);
    return status;
}

void httpd_close(struct httpd *http) {
    if (!http) return;
    for (struct exchange *x = http->exchanges; x; x = x->next) x->aside.left = true;
    aside_close(http->aside);
    if (http->evhttp) evhttp_free(http->evhttp); // closes connections, which tells their exchanges
    for (struct exchange *x = http->exchanges, *next; x; x = next) {
        next = x->next;
        if (!x->aside.under_way) tell_gone(x);
    }
    mailbox_close(http->mail); // which tells those that were aside
    if (http->grace) event_free(http->grace);
    if (http->sweep) event_free(http->sweep);
    if (http->base) event_base_free(http->base);
    mem_free(http);
}

int httpd_port(const struct httpd *http) { return http->port; }

size_t httpd_n_exchanges(const struct httpd *http) { return http->n_exchanges; }

void httpd_run(struct httpd *http, double grace_s) {
    http->grace_s = grace_s;
    const int numbers[] = {SIGINT, SIGTERM};
    struct event *signals[2];
    for (size_t i = 0; i < 2; i++) {
        signals[i] = evsignal_new(http->base, numbers[i], on_signal, http);
        if (signals[i]) evsignal_add(signals[i], NULL);
    }
    event_add(http->sweep, &second);
    event_base_dispatch(http->base);
    for (size_t i = 0; i < 2; i++)
        if (signals[i]) event_free(signals[i]);
}
