/* Requests from fuzzed bytes through the real handlers of every dialect, with a tiny model that
 * answers them. Of the server only HTTP is left out: this file stands in for httpd.c and mail.c.
 * The first line is the path, a blank and after how many pieces of the answer the client leaves;
 * the rest is the body. Whatever comes, a request must get one answer, whole and well-formed, or
 * be let go. */
#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "octet.h"
#include "server/mail.h"
#include "server/packed.h"
#include "server/server.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MOST_PIECES = 48, CONTEXT = 192, UNPACKED_BYTES = 1 << 20 };

static void require(bool condition) {
    if (!condition) abort();
}

/* ---- In place of mail.c ---------------------------------------------------------------------- */

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct mail *first, **last;
};

struct mailbox *mailbox_open(struct event_base *base, void (*after)(void *user), void *user) {
    static struct mailbox box = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                 .wake = PTHREAD_COND_INITIALIZER};
    (void)base, (void)after, (void)user;
    box.last = &box.first;
    return &box;
}
void mailbox_close(struct mailbox *box) { (void)box; }
void mailbox_wake(struct mailbox *box) { (void)box; }

void mailbox_post(struct mailbox *box, struct mail *mail) {
    pthread_mutex_lock(&box->lock);
    mail->next = NULL;
    *box->last = mail;
    box->last = &mail->next;
    pthread_cond_signal(&box->wake);
    pthread_mutex_unlock(&box->lock);
}

static bool has_mail(struct mailbox *box) {
    pthread_mutex_lock(&box->lock);
    const bool has = box->first != NULL;
    pthread_mutex_unlock(&box->lock);
    return has;
}

static void read_next_mail(struct mailbox *box) {
    pthread_mutex_lock(&box->lock);
    while (!box->first) pthread_cond_wait(&box->wake, &box->lock);
    struct mail *const mail = box->first;
    box->first = mail->next;
    if (!box->first) box->last = &box->first;
    pthread_mutex_unlock(&box->lock);
    mail->fn(mail->arg);
}

/* ---- In place of httpd.c --------------------------------------------------------------------- */

struct httpd {
    struct httpd_options options;
    struct mailbox *mail;
};

struct exchange {
    const struct httpd *http;
    const char *path, *body, *type;
    size_t n_body;
    void (*gone)(void *user);
    void *user;
    int n_pieces, pieces_left;
    bool started, ended;
};

enum octet_status httpd_open(const struct httpd_options *options, struct httpd **out,
                            struct octet_err *err) {
    static struct httpd http;
    (void)err;
    http.options = *options;
    http.mail = mailbox_open(NULL, NULL, NULL);
    *out = &http;
    return OCTET_OK;
}
void httpd_close(struct httpd *http) { (void)http; }
int httpd_port(const struct httpd *http) { return http->options.port; }
size_t httpd_n_exchanges(const struct httpd *http) { return http != NULL; }
void httpd_run(struct httpd *http, double grace_s) { (void)http, (void)grace_s; }
bool httpd_stopping(const struct httpd *http) { return http == NULL; }

struct mailbox *httpd_mailbox(const struct httpd *http) { return http->mail; }

const char *exchange_path(const struct exchange *x) { return x->path; }
const char *exchange_query(const struct exchange *x) { return x->body; }
double exchange_begun(const struct exchange *x) { return x->n_pieces; }
size_t exchange_unsent(const struct exchange *x) { return (size_t)x->n_pieces; }
const char *exchange_header(const struct exchange *x, const char *name) {
    return x->n_body % 2 && name[0] == 'I' ? x->body : NULL; // If-None-Match, sometimes
}
const char *exchange_body(const struct exchange *x, size_t *n_bytes) {
    *n_bytes = x->n_body;
    return x->body;
}
void exchange_on_gone(struct exchange *x, void (*gone)(void *user), void *user) {
    x->gone = gone;
    x->user = user;
}
void exchange_keep_alive(struct exchange *x, const char *bytes) { require(x->started && bytes); }
void exchange_set_header(struct exchange *x, const char *name, const char *value) {
    require(!x->started && *name && !strpbrk(value, "\r\n"));
}

void exchange_reply(struct exchange *x, int status, const char *type, const char *bytes, size_t n) {
    require(!x->started && !x->ended && status >= 200 && status <= 503);
    if (type && strcmp(type, "application/json") == 0) {
        json_t *const json = json_loadb(bytes, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        require(json != NULL);
        json_decref(json);
    }
    x->ended = true;
}
void exchange_error(struct exchange *x, int status, const char *text) {
    char *const body = x->http->options.error_body(x->path, status, text);
    require(text[0] && !strchr(text, '\n'));
    require(body != NULL);
    exchange_reply(x, status, "application/json", body, strlen(body));
    mem_free(body);
}
void exchange_start(struct exchange *x, const char *type) {
    require(!x->started && !x->ended);
    x->started = true;
    x->type = type;
}
void exchange_piece(struct exchange *x, const char *bytes, size_t n) {
    require(x->started && !x->ended && n > 0 && bytes[n - 1] == '\n');
    x->n_pieces++;
    x->pieces_left--;
}
void exchange_end(struct exchange *x) {
    require(x->started && !x->ended);
    x->ended = true;
}

void exchange_aside(struct exchange *x, void (*fn)(void *user), void *user) {
    require(!x->started && !x->ended);
    fn(user);
}
void exchange_then(struct exchange *x, void (*fn)(void *user), void *user) {
    require(!x->started && !x->ended);
    fn(user);
}

/* ---- Requests -------------------------------------------------------------------------------- */

static struct server *server;
static char model_path[] = "/tmp/octet-fuzz-XXXXXX";

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    const struct octet_synth_options synth = {.arch = "llama-tiny", .type = "q8_0", .seed = 1};
    const struct lane_options lane = {.name = "tiny",
                                      .path = model_path,
                                      .n_threads = 1,
                                      .n_ctx = CONTEXT,
                                      .n_seats = 4,
                                      .n_queue = 16,
                                      .cache_ram = 1 << 20};
    const struct server_options options = {.host = "127.0.0.1", .models = &lane, .n_models = 1,
                                           .quiet = true};
    struct octet_err err;
    const int file = mkstemp(model_path);
    require(file >= 0);
    close(file);
    require(octet_synth(&synth, model_path, &err) == OCTET_OK);
    require(server_open(&options, &server, &err) == OCTET_OK);
    unlink(model_path);
    return 0;
}

/* The route of a path, or any where there is none of that name. */
static const struct route *route_of(const struct httpd_options *o, const char *path) {
    size_t sum = 0;
    for (size_t i = 0; i < o->n_routes; i++)
        if (strcmp(o->routes[i].path, path) == 0) return &o->routes[i];
    for (const char *p = path; *p; p++) sum += (unsigned char)*p;
    return &o->routes[sum % o->n_routes];
}

static bool lane_is_busy(void) {
    struct lane_stats stats;
    lane_get_stats(server_lane(server, 0), &stats);
    return stats.n_active + stats.n_waiting > 0;
}

static void carry_out(struct httpd *http, struct exchange *x) {
    const struct route *const route = route_of(&http->options, x->path);
    x->path = route->path;
    route->handle(http->options.user, x);
    while (!x->ended && x->pieces_left > 0) read_next_mail(http->mail);
    if (!x->ended) {
        void (*const gone)(void *user) = x->gone;
        require(gone != NULL);
        gone(x->user);
    }
    while (lane_is_busy() || has_mail(http->mail))
        if (has_mail(http->mail)) read_next_mail(http->mail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const uint8_t *const newline = n ? memchr(data, '\n', n) : NULL;
    if (!newline || data[0] == 0x1f) { // a body that says it is compressed
        struct buffer out = {NULL, 0, 0};
        packed_open("gzip", (const char *)data, n, UNPACKED_BYTES, &out);
        require(out.n <= UNPACKED_BYTES);
        buffer_free(&out);
        return 0;
    }
    struct httpd *const http = server_httpd(server);
    const size_t n_path = (size_t)(newline - data), n_body = n - n_path - 1;
    char *const path = mem_strdup((const char *)data, n_path);
    char *const body = mem_strdup((const char *)newline + 1, n_body);
    require(path && body);
    char *const blank = strchr(path, ' ');
    if (blank) *blank = '\0';
    const int leaves = blank ? atoi(blank + 1) : MOST_PIECES;
    struct exchange x = {.http = http, .path = path, .body = body, .n_body = n_body};
    x.pieces_left = leaves >= 0 && leaves < MOST_PIECES ? leaves : MOST_PIECES;
    carry_out(http, &x);
    mem_free(path);
    mem_free(body);
    return 0;
}
