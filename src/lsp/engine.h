/* What fills the holes: a model in this process (local.c), or a running octet serve (remote.c).
 * Everything is called on the thread of the event loop. */
#ifndef OCTET_LSP_ENGINE_H
#define OCTET_LSP_ENGINE_H

#include "lsp/lsp.h"
#include "server/fim.h"

struct event_base;

struct wish {
    int32_t max_tokens;
    double budget_s; // from the first token on; 0: no limit
    bool one_line;
};

struct filled {
    const char *text;    // NUL-terminated; "" if there is nothing to say
    bool cut;            // it would have gone on
    const char *method;  // of enum fim_method
    size_t n_prompt, n_cached, n_generated; // tokens
    const char *failure; // one line, or NULL
};

/* One hole on its way: freed after DONE, or by cancel. */
struct filling;
typedef void (*filled_fn)(void *user, const struct filled *filled);

/* Told once: it can fill holes now; or why not, one line. */
typedef void (*engine_ready_fn)(void *user, const char *failure);

struct engine;
struct engine_kind {
    /* Takes HOLE over, also when it fails. */
    enum octet_status (*fill)(struct engine *engine, struct hole *hole, const struct wish *wish,
                              filled_fn done, void *user, struct filling **out,
                              struct octet_err *err);
    void (*cancel)(struct filling *filling); // DONE is not called; nothing more is computed
    void (*close)(struct engine *engine);    // after the last filling
};
struct engine {
    const struct engine_kind *kind;
};

enum octet_status local_open(const struct lane_options *options, struct event_base *base,
                             engine_ready_fn ready, void *user, struct engine **out,
                             struct octet_err *err);
/* Whether the server is there is found out by the first hole. */
enum octet_status remote_open(const struct lsp_options *options, struct event_base *base,
                              struct engine **out, struct octet_err *err);

#endif
