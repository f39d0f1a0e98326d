/* HTTP on one thread, over libevent: connections, limits, keys, origins. What a path means is the
 * routes' business. Everything here is called on the thread of httpd_run, but for what a function
 * that went aside may call (see exchange_aside); others send it mail. Requests with large bodies
 * are handled aside from the beginning. */
#ifndef OCTET_SERVER_HTTPD_H
#define OCTET_SERVER_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octet.h"
#include "server/mail.h"

struct httpd;

/* One request and its answer. It lives until it was answered whole, or the client has gone. */
struct exchange;

enum httpd_method { HTTPD_GET = 1, HTTPD_POST = 2 }; // HEAD is answered as GET

struct route {
    const char *path; // without the last slash; a doubled slash in a request counts as one; "/x/*"
                      // is all below /x
    unsigned methods; // enum httpd_method bits
    bool open;        // needs no key
    void (*handle)(void *user, struct exchange *exchange);
};

struct httpd_options {
    const char *host; // address to listen at
    int port;         // 0: any free one
    char **keys;      // (n_keys) any of them opens; none: open to all
    size_t n_keys;
    const char *const *origins; // (n_origins) web pages that may ask, beside those of this machine
    size_t n_origins;
    const char *const *names; // (n_names) of this server, beside loopback ones; "*": any
    size_t n_names;
    size_t max_body_bytes;
    const struct route *routes; // (n_routes)
    size_t n_routes;
    /* The body of an error, by path: dialects have their own shapes. TEXT is one line. */
    char *(*error_body)(const char *path, int status, const char *text);
    void *user; // of the routes
};

enum octet_status httpd_open(const struct httpd_options *options, struct httpd **out,
                            struct octet_err *err);
void httpd_close(struct httpd *http);
int httpd_port(const struct httpd *http);
size_t httpd_n_exchanges(const struct httpd *http); // under way
/* Serves until SIGINT or SIGTERM; then waits for exchanges under way, until the second signal and
 * at most GRACE_S seconds. */
void httpd_run(struct httpd *http, double grace_s);
bool httpd_stopping(const struct httpd *http);

/* To the thread of httpd_run. */
struct mailbox *httpd_mailbox(const struct httpd *http);

/* ---- One exchange ---------------------------------------------------------------------------- */

const char *exchange_path(const struct exchange *exchange);
const char *exchange_header(const struct exchange *exchange, const char *name); // or NULL
const char *exchange_query(const struct exchange *exchange);                    // after '?', or ""
/* The body; for the handler of the route, while it runs. */
const char *exchange_body(const struct exchange *exchange, size_t *n_bytes);
/* Told once, if the client goes away before the answer is whole. The exchange is gone then. */
void exchange_on_gone(struct exchange *exchange, void (*gone)(void *user), void *user);
double exchange_begun(const struct exchange *exchange); // probe_seconds

/* A header of the answer; before it begins. */
void exchange_set_header(struct exchange *exchange, const char *name, const char *value);
/* The whole answer. */
void exchange_reply(struct exchange *exchange, int status, const char *content_type,
                    const char *bytes, size_t n_bytes);
void exchange_error(struct exchange *exchange, int status, const char *text);
/* An answer in pieces: headers go out at once. */
void exchange_start(struct exchange *exchange, const char *content_type);
void exchange_piece(struct exchange *exchange, const char *bytes, size_t n_bytes);
void exchange_end(struct exchange *exchange);
/* Sends BYTES whenever nothing was sent for a while, so that clients and proxies keep waiting. */
void exchange_keep_alive(struct exchange *exchange, const char *bytes);
size_t exchange_unsent(const struct exchange *exchange); // bytes a slow client has not taken

/* ---- What takes long ------------------------------------------------------------------------- */

/* Runs FN(USER) on a thread of its own, so that nobody else waits for it; not if the client leaves
 * before that. Until it returns nothing else may be done with the exchange, and FN may call of the
 * above only exchange_path, _header, _query, _body and _on_gone, and answers with exchange_reply,
 * exchange_error or exchange_then. If the client leaves meanwhile, its answer is dropped, and what
 * exchange_on_gone said last is called. */
void exchange_aside(struct exchange *exchange, void (*fn)(void *user), void *user);
/* Runs FN(USER) on the thread of httpd_run: now, if nothing went aside. */
void exchange_then(struct exchange *exchange, void (*fn)(void *user), void *user);

#endif
