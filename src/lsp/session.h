/* What one run of the language server holds, shared by lsp.c (the conversation with the editor) and
 * complete.c (the suggestions). */
#ifndef OCTET_LSP_SESSION_H
#define OCTET_LSP_SESSION_H

#include "lsp/docs.h"
#include "lsp/engine.h"
#include "lsp/lsp.h"
#include "lsp/memory.h"
#include "lsp/wire.h"

enum stage { STAGE_NEW, STAGE_RUNNING, STAGE_SHUT_DOWN, STAGE_OVER };
enum readiness { ENGINE_NONE, ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED };

struct flight;

struct lsp {
    const struct lsp_options *options;
    struct event_base *base;
    struct wire *wire;
    enum stage stage;
    bool trace;        // the editor wants $/logTrace
    bool has_progress; // it shows work under way
    bool in_progress;  // it is shown that the model loads
    bool has_settings; // it answers questions for them
    bool has_ghost_text;
    char *root;        // URI of the workspace's folder, or NULL
    char *model;       // path, or name at the server, that the editor asked for, or NULL
    struct docs docs;
    struct settings settings;
    struct memory memory;
    struct engine *engine;
    enum readiness readiness;
    char failure[200]; // of the engine, that was shown last; "": none
    struct flight *flights; // suggestions under way
    struct octet_err *err;  // why it ended
};

enum { LOG_ERROR = 1, LOG_WARNING = 2, LOG_INFO = 3 };
void lsp_log(struct lsp *lsp, int kind, const char *text);
void lsp_trace(struct lsp *lsp, const char *text);
/* Shows why there are no suggestions, the first time. */
void lsp_tell_failure(struct lsp *lsp, const char *text);
void lsp_start_engine(struct lsp *lsp);

/* ---- complete.c ------------------------------------------------------------------------------ */

/* The request ID for a suggestion, as ghost text or for the completion MENU. */
void complete_ask(struct lsp *lsp, const json_t *id, const json_t *params, bool menu);
void complete_cancel(struct lsp *lsp, const json_t *id);
/* DOC (NULL: any) is another now. */
void complete_outdate(struct lsp *lsp, const struct doc *doc);
void complete_resume(struct lsp *lsp); // the engine's readiness has changed
/* A position or range in JSON; false: it is none. */
bool complete_read_position(const json_t *json, struct position *out);
bool complete_read_range(const json_t *json, struct range *out);

#endif
