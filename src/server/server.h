/* The server: which models are there, and what the dialects share. */
#ifndef OCTET_SERVER_SERVER_H
#define OCTET_SERVER_SERVER_H

#include <jansson.h>

#include "server/httpd.h"
#include "server/lane.h"

struct server_options {
    const char *host;
    int32_t port;
    const struct lane_options *models; // (n_models)
    size_t n_models;
    char **keys; // (n_keys)
    size_t n_keys;
    const char *const *origins, *const *names; // see httpd_options
    size_t n_origins, n_names;
    bool quiet; // no line per request
    /* Told per model, with octet_chat_problem of it; or NULL. */
    void (*loaded)(void *user, const char *name, const char *chat_problem);
    void *user;
};

struct server;
enum octet_status server_open(const struct server_options *options, struct server **out,
                              struct octet_err *err);
void server_close(struct server *server);
void server_run(struct server *server); // until SIGINT or SIGTERM, see httpd_run
int server_port(const struct server *server);

/* ---- For the dialects ------------------------------------------------------------------------ */

struct httpd *server_httpd(const struct server *server);
size_t server_n_lanes(const struct server *server);
struct lane *server_lane(const struct server *server, size_t i);
/* The model that NAME means: the only one whatever it is called; else by name, also with ":latest"
 * or a path before it. NULL: none. */
struct lane *server_find(const struct server *server, const char *name);
double server_started(const struct server *server);   // seconds since 1970
const char *server_reply_id(struct server *server, const char *prefix, char *out, size_t cap);
bool server_is_quiet(const struct server *server);

/* JSON as the answer; takes it over. */
void server_reply_json(struct exchange *exchange, int status, json_t *json);
/* 400 with TEXT, and both counts where the dialect's errors have room for them. */
void server_refuse_overflow(struct exchange *exchange, const char *text, size_t n_prompt,
                            int32_t n_ctx);
/* 400, 404, 503 or 500 by the status. */
int server_http_status(enum octet_status status);

/* Routes of the dialects, ended by a row without path. */
extern const struct route openai_routes[], mistral_routes[], llamacpp_routes[], ollama_routes[],
    anthropic_routes[], responses_routes[], tabby_routes[], embed_routes[], tokens_routes[],
    state_routes[], page_routes[];

/* An error in the shape that Anthropic's API has; STATUS as in HTTP. */
json_t *anthropic_error(int status, const char *text);

#endif
