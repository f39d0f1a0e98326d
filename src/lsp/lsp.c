/* The conversation with an editor: its beginning and end, the documents, and what else an editor
 * may say. Suggestions are in complete.c. */
#include "lsp/lsp.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "lsp/session.h"

static const char progress_token[] = "octet/load", progress_request[] = "octet/progress",
                  settings_request[] = "octet/settings";

/* ---- Telling --------------------------------------------------------------------------------- */

void lsp_log(struct lsp *lsp, int kind, const char *text) {
    wire_notify(lsp->wire, "window/logMessage",
                json_pack("{s:i, s:s+}", "type", kind, "message", "octet: ", text));
}

void lsp_trace(struct lsp *lsp, const char *text) {
    if (lsp->trace) wire_notify(lsp->wire, "$/logTrace", json_pack("{s:s}", "message", text));
}

void lsp_tell_failure(struct lsp *lsp, const char *text) {
    if (strncmp(lsp->failure, text, sizeof lsp->failure - 1) == 0) return;
    snprintf(lsp->failure, sizeof lsp->failure, "%s", text);
    wire_notify(lsp->wire, "window/showMessage",
                json_pack("{s:i, s:s+}", "type", LOG_ERROR, "message", "octet: ", text));
}

static json_t *progress(const char *kind, const char *title) {
    json_t *const value = json_pack("{s:s}", "kind", kind);
    if (title) json_object_set_new(value, "title", json_string(title));
    return json_pack("{s:s, s:o}", "token", progress_token, "value", value);
}

/* ---- The engine ------------------------------------------------------------------------------ */

static const char *model_path(const struct lsp *lsp) {
    return lsp->model ? lsp->model : lsp->options->lane.path;
}

static void on_engine(void *user, const char *failure) {
    struct lsp *const lsp = user;
    char text[400];
    lsp->readiness = failure ? ENGINE_FAILED : ENGINE_READY;
    if (lsp->in_progress) wire_notify(lsp->wire, "$/progress", progress("end", NULL));
    lsp->in_progress = false;
    if (failure) {
        lsp_tell_failure(lsp, failure);
    } else {
        snprintf(text, sizeof text, "%.300s is ready", model_path(lsp));
        lsp_log(lsp, LOG_INFO, text);
    }
    complete_resume(lsp);
}

static enum octet_status open_engine(struct lsp *lsp, struct octet_err *err) {
    struct lsp_options options = *lsp->options;
    if (!options.server) {
        options.lane.path = model_path(lsp);
        lsp->readiness = ENGINE_LOADING;
        return local_open(&options.lane, lsp->base, on_engine, lsp, &lsp->engine, err);
    }
    if (lsp->model) options.model = lsp->model;
    lsp->readiness = ENGINE_READY;
    return remote_open(&options, lsp->base, &lsp->engine, err);
}

void lsp_start_engine(struct lsp *lsp) {
    struct octet_err err;
    if (lsp->readiness != ENGINE_NONE) return;
    if (open_engine(lsp, &err) != OCTET_OK)
        on_engine(lsp, err.message);
    else if (lsp->has_progress && lsp->readiness == ENGINE_LOADING)
        wire_request(lsp->wire, progress_request, "window/workDoneProgress/create",
                     json_pack("{s:s}", "token", progress_token));
}

/* The editor has made room for the progress of loading. */
static void on_progress_created(struct lsp *lsp) {
    if (lsp->readiness != ENGINE_LOADING || lsp->in_progress) return;
    lsp->in_progress = true;
    wire_notify(lsp->wire, "$/progress", progress("begin", "octet: loading the model"));
}

/* ---- Settings -------------------------------------------------------------------------------- */

static void read_model(struct lsp *lsp, const json_t *json) {
    const char *const name = settings_model(json);
    if (!name || (lsp->model && strcmp(lsp->model, name) == 0)) return;
    if (lsp->readiness != ENGINE_NONE) {
        lsp_log(lsp, LOG_WARNING, "another 'model' takes effect when the editor starts again");
        return;
    }
    mem_free(lsp->model);
    lsp->model = mem_strdup(name, strlen(name));
}

static void take_settings(struct lsp *lsp, const json_t *json) {
    char wrong[160];
    if (!json_is_object(json)) return;
    settings_read(&lsp->settings, json, wrong, sizeof wrong);
    if (wrong[0]) lsp_log(lsp, LOG_WARNING, wrong);
    read_model(lsp, json);
    memory_clear(&lsp->memory);
}

static void ask_for_settings(struct lsp *lsp) {
    wire_request(lsp->wire, settings_request, "workspace/configuration",
                 json_pack("{s:[{s:s}]}", "items", "section", "octet"));
}

static void on_did_change_configuration(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id;
    const json_t *const settings = json_object_get(params, "settings");
    take_settings(lsp, settings);
    if (lsp->has_settings && !json_is_object(settings)) ask_for_settings(lsp);
}

static void on_response(struct lsp *lsp, const json_t *message) {
    const char *const id = json_string_value(json_object_get(message, "id"));
    const bool fine = !json_object_get(message, "error");
    if (id && strcmp(id, progress_request) == 0 && fine) on_progress_created(lsp);
    if (!id || strcmp(id, settings_request) != 0) return;
    take_settings(lsp, json_array_get(json_object_get(message, "result"), 0));
    lsp_start_engine(lsp); // which waited for the name of the model
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

static const json_t *find(const json_t *json, const char *a, const char *b, const char *c) {
    json = json_object_get(json_object_get(json, a), b);
    return c ? json_object_get(json, c) : json;
}

static void read_client(struct lsp *lsp, const json_t *params) {
    const json_t *const able = json_object_get(params, "capabilities");
    const json_t *const root = json_object_get(params, "rootUri");
    size_t i;
    const json_t *encoding;
    json_array_foreach(find(able, "general", "positionEncodings", NULL), i, encoding) {
        const char *const name = json_string_value(encoding);
        if (name && strcmp(name, "utf-8") == 0) lsp->docs.units = UNITS_UTF8;
    }
    lsp->has_settings = json_is_true(find(able, "workspace", "configuration", NULL));
    lsp->has_progress = json_is_true(find(able, "window", "workDoneProgress", NULL));
    lsp->has_ghost_text = json_is_object(find(able, "textDocument", "inlineCompletion", NULL));
    if (json_is_string(root))
        lsp->root = mem_strdup(json_string_value(root), json_string_length(root));
}

static void set_trace(struct lsp *lsp, const json_t *value) {
    const char *const level = json_string_value(value);
    if (level) lsp->trace = strcmp(level, "off") != 0;
}

static void on_initialize(struct lsp *lsp, const json_t *id, const json_t *params) {
    read_client(lsp, params);
    set_trace(lsp, json_object_get(params, "trace"));
    const json_t *const options = json_object_get(params, "initializationOptions");
    char wrong[160] = "";
    if (json_is_object(options)) settings_read(&lsp->settings, options, wrong, sizeof wrong);
    read_model(lsp, options);
    const bool menu = lsp->settings.menu == MENU_ON ||
                      (lsp->settings.menu == MENU_AUTO && !lsp->has_ghost_text);
    json_t *const able = json_pack(
        "{s:s, s:{s:b, s:i, s:b}, s:b}", "positionEncoding",
        lsp->docs.units == UNITS_UTF8 ? "utf-8" : "utf-16", "textDocumentSync", "openClose", 1,
        "change", 2, "save", 0, "inlineCompletionProvider", 1);
    if (menu)
        json_object_set_new(able, "completionProvider",
                            json_pack("{s:[s,s,s,s,s]}", "triggerCharacters", ".", "(", " ", "=",
                                      ":"));
    wire_reply(lsp->wire, id,
               json_pack("{s:o, s:{s:s, s:s}}", "capabilities", able, "serverInfo", "name", "octet",
                         "version", octet_version()));
    lsp->stage = STAGE_RUNNING;
    if (wrong[0]) lsp_log(lsp, LOG_WARNING, wrong);
}

static void on_initialized(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id, (void)params;
    if (lsp->has_settings)
        ask_for_settings(lsp);
    else
        lsp_start_engine(lsp);
}

static void on_shutdown(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)params;
    complete_outdate(lsp, NULL);
    lsp->stage = STAGE_SHUT_DOWN;
    wire_reply(lsp->wire, id, json_null());
}

static void end(struct lsp *lsp, const char *why) {
    if (lsp->stage == STAGE_OVER) return;
    if (lsp->stage != STAGE_SHUT_DOWN || why)
        octet_fail(lsp->err, OCTET_EIO, "%s",
                   why ? why : "the editor went away without 'shutdown'");
    lsp->stage = STAGE_OVER;
    event_base_loopbreak(lsp->base);
}

static void on_exit_said(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id, (void)params;
    end(lsp, NULL);
}

/* ---- Documents ------------------------------------------------------------------------------- */

static const char *text_at(const json_t *json, const char *key) {
    const char *const text = json_string_value(json_object_get(json, key));
    return text ? text : "";
}

static struct doc *doc_of(const struct lsp *lsp, const json_t *params) {
    return docs_find(&lsp->docs, text_at(json_object_get(params, "textDocument"), "uri"));
}

static void on_did_open(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id;
    const json_t *const item = json_object_get(params, "textDocument");
    const json_t *const text = json_object_get(item, "text");
    const char *const uri = text_at(item, "uri");
    if (!uri[0] || !json_is_string(text)) return;
    const struct doc *const old = docs_find(&lsp->docs, uri);
    if (old || lsp->docs.n == DOCS_OPEN) complete_outdate(lsp, old); // else the last one goes
    if (!docs_open(&lsp->docs, uri, text_at(item, "languageId"), json_string_value(text),
                   json_string_length(text)))
        lsp_log(lsp, LOG_WARNING, "a document is left out: out of memory");
}

/* One of a list of changes, which follow on each other. */
static void change(struct lsp *lsp, struct doc *doc, const json_t *json) {
    const json_t *const text = json_object_get(json, "text");
    const json_t *const where = json_object_get(json, "range");
    struct range range;
    if (!json_is_string(text) || (where && !complete_read_range(where, &range))) {
        docs_lose(doc);
        lsp_log(lsp, LOG_WARNING, "an edit can not be read, so the document is not known any more");
    } else if (where) {
        docs_edit(&lsp->docs, doc, &range, json_string_value(text), json_string_length(text));
    } else {
        docs_replace(&lsp->docs, doc, json_string_value(text), json_string_length(text));
    }
}

static void on_did_change(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id;
    struct doc *const doc = doc_of(lsp, params);
    size_t i;
    const json_t *item;
    if (!doc) return;
    complete_outdate(lsp, doc);
    json_array_foreach(json_object_get(params, "contentChanges"), i, item) change(lsp, doc, item);
}

static void on_did_close(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id;
    struct doc *const doc = doc_of(lsp, params);
    if (!doc) return;
    complete_outdate(lsp, doc);
    docs_close(&lsp->docs, doc);
}

/* ---- The rest -------------------------------------------------------------------------------- */

static void on_inline_completion(struct lsp *lsp, const json_t *id, const json_t *params) {
    complete_ask(lsp, id, params, false);
}

static void on_completion(struct lsp *lsp, const json_t *id, const json_t *params) {
    complete_ask(lsp, id, params, true);
}

static void on_cancel(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id;
    complete_cancel(lsp, json_object_get(params, "id"));
}

static void on_set_trace(struct lsp *lsp, const json_t *id, const json_t *params) {
    (void)id;
    set_trace(lsp, json_object_get(params, "value"));
}

static const struct method {
    const char *name;
    bool asks; // a request, not a notification
    void (*handle)(struct lsp *lsp, const json_t *id, const json_t *params);
} methods[] = {
    {"initialize", true, on_initialize},
    {"initialized", false, on_initialized},
    {"shutdown", true, on_shutdown},
    {"exit", false, on_exit_said},
    {"textDocument/didOpen", false, on_did_open},
    {"textDocument/didChange", false, on_did_change},
    {"textDocument/didClose", false, on_did_close},
    {"textDocument/inlineCompletion", true, on_inline_completion},
    {"textDocument/completion", true, on_completion},
    {"$/cancelRequest", false, on_cancel},
    {"$/setTrace", false, on_set_trace},
    {"workspace/didChangeConfiguration", false, on_did_change_configuration},
};

static const struct method *find_method(const char *name, bool asks) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].asks == asks && strcmp(methods[i].name, name) == 0) return &methods[i];
    return NULL;
}

static void on_request(struct lsp *lsp, const json_t *id, const char *name, const json_t *params) {
    const struct method *const method = find_method(name, true);
    const bool begins = method && method->handle == on_initialize;
    if (!json_is_integer(id) && !json_is_string(id))
        wire_fail(lsp->wire, NULL, RPC_INVALID_REQUEST, "'id' must be a number or a string");
    else if (lsp->stage == STAGE_NEW && !begins)
        wire_fail(lsp->wire, id, RPC_NOT_INITIALIZED, "expected 'initialize' first");
    else if (lsp->stage == STAGE_SHUT_DOWN)
        wire_fail(lsp->wire, id, RPC_INVALID_REQUEST, "after 'shutdown' there is only 'exit'");
    else if (lsp->stage == STAGE_RUNNING && begins)
        wire_fail(lsp->wire, id, RPC_INVALID_REQUEST, "'initialize' comes once");
    else if (!method)
        wire_fail(lsp->wire, id, RPC_METHOD_NOT_FOUND, "no such method");
    else
        method->handle(lsp, id, params);
}

static void on_message(void *user, const json_t *message) {
    struct lsp *const lsp = user;
    const json_t *const id = json_object_get(message, "id");
    const char *const name = json_string_value(json_object_get(message, "method"));
    const json_t *const params = json_object_get(message, "params");
    if (lsp->stage == STAGE_OVER) return;
    if (name && id) {
        on_request(lsp, id, name, params);
    } else if (name) {
        const struct method *const method = find_method(name, false);
        const bool ends = method && method->handle == on_exit_said;
        if (method && (ends || lsp->stage == STAGE_RUNNING)) method->handle(lsp, NULL, params);
    } else if (json_object_get(message, "result") || json_object_get(message, "error")) {
        on_response(lsp, message);
    } else {
        wire_fail(lsp->wire, id, RPC_INVALID_REQUEST, "neither a request nor a response");
    }
}

static void on_ended(void *user, const char *why) { end(user, why); }

/* ---- Running --------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)number, (void)what;
    struct lsp *const lsp = arg;
    if (lsp->stage != STAGE_OVER) lsp->stage = STAGE_SHUT_DOWN;
    end(lsp, NULL);
}

/* Standard input may be a file, which epoll does not take. */
static struct event_base *make_base(void) {
    struct event_config *const config = event_config_new();
    if (!config || evthread_use_pthreads() != 0) return NULL;
    event_config_require_features(config, EV_FEATURE_FDS);
    struct event_base *const base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void run_loop(struct lsp *lsp) {
    const int numbers[] = {SIGINT, SIGTERM};
    struct event *signals[2];
    for (size_t i = 0; i < 2; i++) {
        signals[i] = evsignal_new(lsp->base, numbers[i], on_signal, lsp);
        if (signals[i]) evsignal_add(signals[i], NULL);
    }
    event_base_dispatch(lsp->base);
    for (size_t i = 0; i < 2; i++)
        if (signals[i]) event_free(signals[i]);
}

enum octet_status lsp_run(const struct lsp_options *options, struct octet_err *err) {
    struct lsp lsp = {.options = options, .settings = options->settings, .err = err};
    const struct wire_owner owner = {on_message, on_ended, &lsp};
    *err = (struct octet_err){0};
    lsp.base = make_base();
    if (!lsp.base) return octet_fail_memory(err, "an event loop", 0);
    enum octet_status status =
        wire_open(lsp.base, options->in_fd, options->out_fd, &owner, &lsp.wire, err);
    if (status == OCTET_OK) {
        run_loop(&lsp);
        status = err->status;
    }
    complete_outdate(&lsp, NULL);
    if (lsp.engine) lsp.engine->kind->close(lsp.engine);
    wire_close(lsp.wire);
    docs_free(&lsp.docs);
    memory_clear(&lsp.memory);
    mem_free(lsp.root);
    mem_free(lsp.model);
    event_base_free(lsp.base);
    return status;
}
