/* Suggestions: when the model is asked, and what an editor is told. At most one is under way for a
 * document; it ends when the document changes, since its answer would be for a text that is gone.
 * See session.h. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "lsp/session.h"

/* A prefix's beginning is left out in steps, so that typing does not move it and the cache of
 * prompts keeps its worth. */
enum { MAX_ASKS = 8, PREFIX_BYTES = 128 << 10, PREFIX_STEP = 64 << 10, SUFFIX_BYTES = 32 << 10 };
enum { CHUNK_HALF = 512, NAME_BYTES = 256, LABEL_BYTES = 120 };

/* A request that waits for the same text as the others of its flight. */
struct ask {
    json_t *id;
    bool menu;
    struct range range; // that the suggestion replaces
    char *lead;         // what stands there, and is part of the suggestion
};

struct flight {
    struct lsp *lsp;
    struct doc *doc;
    char *prefix, *suffix; // of the hole
    struct ask asks[MAX_ASKS]; // (n_asks)
    size_t n_asks;
    struct event *timer;
    bool due;               // the engine may begin
    struct filling *filling; // NULL: it has not
    bool one_line, whole_lines;
    double begun;
    struct flight *next;
};

/* ---- Telling --------------------------------------------------------------------------------- */

static json_t *position_json(struct position p) {
    return json_pack("{s:I, s:I}", "line", (json_int_t)p.line, "character",
                     (json_int_t)p.character);
}

static json_t *range_json(const struct range *range) {
    return json_pack("{s:o, s:o}", "start", position_json(range->start), "end",
                     position_json(range->end));
}

static json_t *ghost_text(const struct ask *ask, const char *text) {
    return json_pack("{s:[{s:s+, s:o}]}", "items", "insertText", ask->lead, text, "range",
                     range_json(&ask->range));
}

/* Of several lines the first that says something, cut to what a menu has room for. */
static json_t *label_json(const struct ask *ask, const char *text) {
    char label[LABEL_BYTES + 8];
    if (!ask->lead[0]) text += strspn(text, " \t\n");
    size_t n = strcspn(text, "\n"), n_lead = strlen(ask->lead);
    if (n_lead > LABEL_BYTES / 2) n_lead = 0;
    const bool more = text[n] != '\0' || n > LABEL_BYTES - n_lead;
    if (n > LABEL_BYTES - n_lead) n = LABEL_BYTES - n_lead;
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    snprintf(label, sizeof label, "%.*s%.*s%s", (int)n_lead, ask->lead, (int)n, text,
             more ? "..." : "");
    return json_string(label);
}

/* Editors drop what does not begin with the word before the cursor, so that is part of the item.
 * Kind 1 is plain text; lines come indented as they are to stay (insertTextMode 1). */
static json_t *menu_entry(const struct ask *ask, const char *text) {
    json_t *const filter = json_sprintf("%s%.*s", ask->lead, (int)strcspn(text, "\n"), text);
    json_t *const edit = json_pack("{s:o, s:s+}", "range", range_json(&ask->range), "newText",
                                   ask->lead, text);
    return json_pack("{s:b, s:[{s:o, s:s, s:i, s:o, s:s, s:i, s:i, s:o}]}", "isIncomplete", 1,
                     "items", "label", label_json(ask, text), "detail", "octet", "kind", 1,
                     "filterText", filter, "sortText", "0", "insertTextFormat", 1, "insertTextMode",
                     1, "textEdit", edit);
}

static json_t *nothing(bool menu) {
    return menu ? json_pack("{s:b, s:[]}", "isIncomplete", 1, "items")
                : json_pack("{s:[]}", "items");
}

static void answer(struct lsp *lsp, const struct ask *ask, const char *text) {
    json_t *const result = !text[0]    ? nothing(ask->menu)
                           : ask->menu ? menu_entry(ask, text)
                                       : ghost_text(ask, text);
    wire_reply(lsp->wire, ask->id, result);
}

/* ---- Asks ------------------------------------------------------------------------------------ */

static void free_ask(struct ask *ask) {
    json_decref(ask->id);
    mem_free(ask->lead);
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

bool complete_read_position(const json_t *json, struct position *out) {
    const json_t *const line = json_object_get(json, "line");
    const json_t *const character = json_object_get(json, "character");
    const json_int_t n = json_integer_value(line), k = json_integer_value(character);
    if (!json_is_integer(line) || !json_is_integer(character) || n < 0 || k < 0) return false;
    *out = (struct position){(size_t)n, (size_t)k};
    return true;
}

bool complete_read_range(const json_t *json, struct range *out) {
    return complete_read_position(json_object_get(json, "start"), &out->start) &&
           complete_read_position(json_object_get(json, "end"), &out->end);
}

/* Where the hole is: the text before BEGIN, then the ask's lead, then the text from END on. */
struct place {
    size_t begin, end;
};

/* The entry that is chosen in an open menu is to be part of the ghost text. */
static bool read_selected(const json_t *params, struct range *range, const char **text) {
    const json_t *const info =
        json_object_get(json_object_get(params, "context"), "selectedCompletionInfo");
    *text = json_string_value(json_object_get(info, "text"));
    return *text && complete_read_range(json_object_get(info, "range"), range);
}

/* False: out of memory. */
static bool place_ask(const struct lsp *lsp, const struct doc *doc, const json_t *params,
                      struct position cursor, struct ask *ask, struct place *place) {
    const char *lead = "";
    size_t n_lead = 0;
    place->begin = place->end = docs_at(&lsp->docs, doc, cursor);
    if (ask->menu) {
        const char *const text = doc->text.bytes;
        while (place->begin > 0 && is_word(text[place->begin - 1])) place->begin--;
        lead = text + place->begin;
        n_lead = place->end - place->begin;
        ask->range.start = docs_position(&lsp->docs, doc, place->begin);
    } else if (read_selected(params, &ask->range, &lead)) {
        const size_t begin = docs_at(&lsp->docs, doc, ask->range.start);
        place->begin = begin < place->end ? begin : place->end;
        n_lead = strlen(lead);
    } else {
        lead = "";
        ask->range.start = docs_position(&lsp->docs, doc, place->end);
    }
    ask->range.end = docs_position(&lsp->docs, doc, place->end);
    ask->lead = mem_strdup(lead, n_lead);
    return ask->lead != NULL;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

/* TEXT (n) with lines that end with \n; NULL: out of memory. */
static char *plain_lines(const char *text, size_t n) {
    char *const out = mem_strdup(text, n);
    size_t n_out = 0;
    for (size_t i = 0; out && i < n; i++)
        if (text[i] != '\r' || i + 1 == n || text[i + 1] != '\n') out[n_out++] = text[i];
    if (out) out[n_out] = '\0';
    return out;
}

static char *text_before(const struct doc *doc, size_t begin, const char *lead) {
    const char *const text = doc->text.bytes;
    struct buffer out = {NULL, 0, 0};
    size_t from = 0;
    if (begin > PREFIX_BYTES) {
        from = (begin - PREFIX_BYTES + PREFIX_STEP - 1) / PREFIX_STEP * PREFIX_STEP;
        const char *const newline = memchr(text + from, '\n', begin - from);
        while (!newline && from < begin && ((unsigned char)text[from] & 0xC0) == 0x80) from++;
        if (newline) from = (size_t)(newline + 1 - text);
    }
    const char *const nul = memrchr(text + from, '\0', begin - from); // no text before it is text
    if (nul) from = (size_t)(nul + 1 - text);
    char *const lines = plain_lines(text + from, begin - from);
    const bool fine =
        lines && buffer_append_text(&out, lines) && buffer_append_text(&out, lead);
    mem_free(lines);
    if (!fine) buffer_free(&out);
    return out.bytes;
}

static char *text_after(const struct doc *doc, size_t end) {
    const char *const text = doc->text.bytes + end;
    size_t n = strlen(text);
    if (n > SUFFIX_BYTES) n = SUFFIX_BYTES;
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    return plain_lines(text, n);
}

/* The path that URI tells of, within the workspace if it is there. */
static void name_of(const struct lsp *lsp, const char *uri, char *out, size_t cap) {
    const size_t n_root = lsp->root ? strlen(lsp->root) : 0;
    const char *const slash = strrchr(uri, '/');
    const char *from = slash ? slash + 1 : uri;
    if (n_root > 0 && strncmp(uri, lsp->root, n_root) == 0 && uri[n_root] == '/')
        from = uri + n_root + 1;
    size_t n = 0;
    while (*from && n + 1 < cap) {
        unsigned byte;
        if (from[0] == '%' && sscanf(from + 1, "%2x", &byte) == 1 && byte >= ' ') {
            out[n++] = (char)byte;
            from += 3;
        } else {
            out[n++] = *from++;
        }
    }
    out[n] = '\0';
}

/* ---- The hole -------------------------------------------------------------------------------- */

/* Whole lines around what was changed last. NULL: out of memory, or nothing there. */
static char *chunk_text(const struct doc *doc) {
    const char *const text = doc->text.bytes;
    const size_t at = doc->edited_at < doc->text.n ? doc->edited_at : doc->text.n;
    size_t from = at > CHUNK_HALF ? at - CHUNK_HALF : 0;
    size_t to = doc->text.n - at > CHUNK_HALF ? at + CHUNK_HALF : doc->text.n;
    while (from > 0 && from < at && text[from - 1] != '\n') from++;
    while (to > at && to < doc->text.n && text[to] != '\n') to--;
    if (from == to || memchr(text + from, '\0', to - from)) return NULL;
    return plain_lines(text + from, to - from);
}

/* Other documents of the same language, the one changed last at the end. They stay as they are
 * while this one is typed in, and so does the prompt's beginning. */
static bool add_chunks(const struct lsp *lsp, const struct doc *own, struct hole *hole) {
    const struct doc *chosen[8];
    int32_t n = 0;
    for (const struct doc *doc = lsp->docs.first; doc && n < lsp->settings.other_files;
         doc = doc->next)
        if (doc != own && !doc->lost && strcmp(doc->language, own->language) == 0)
            chosen[n++] = doc;
    bool fine = true;
    while (n > 0 && fine) {
        char name[NAME_BYTES];
        const struct doc *const doc = chosen[--n];
        char *const text = chunk_text(doc);
        name_of(lsp, doc->uri, name, sizeof name);
        if (text) fine = hole_add_chunk(hole, name, text);
        mem_free(text);
    }
    return fine;
}

static struct hole *make_hole(const struct flight *flight) {
    char name[NAME_BYTES];
    const struct lsp *const lsp = flight->lsp;
    const struct doc *const doc = flight->doc;
    struct hole *const hole = hole_new(flight->prefix, flight->suffix);
    if (!hole) return NULL;
    name_of(lsp, doc->uri, name, sizeof name);
    if (hole_set_file(hole, name, doc->language[0] ? doc->language : NULL) &&
        add_chunks(lsp, doc, hole))
        return hole;
    hole_free(hole);
    return NULL;
}

/* ---- Flights --------------------------------------------------------------------------------- */

static void free_flight(struct flight *flight) {
    struct flight **link = &flight->lsp->flights;
    while (*link && *link != flight) link = &(*link)->next;
    if (*link) *link = flight->next;
    if (flight->filling) flight->lsp->engine->kind->cancel(flight->filling);
    if (flight->timer) event_free(flight->timer);
    for (size_t i = 0; i < flight->n_asks; i++) free_ask(&flight->asks[i]);
    mem_free(flight->prefix);
    mem_free(flight->suffix);
    mem_free(flight);
}

/* Everybody who waits gets TEXT. */
static void land(struct flight *flight, const char *text) {
    for (size_t i = 0; i < flight->n_asks; i++) answer(flight->lsp, &flight->asks[i], text);
    free_flight(flight);
}

static void outdate(struct flight *flight) {
    for (size_t i = 0; i < flight->n_asks; i++)
        wire_fail(flight->lsp->wire, flight->asks[i].id, RPC_CONTENT_MODIFIED,
                  "the document has changed");
    free_flight(flight);
}

/* What is worth showing of TEXT; half a last line is not, if there are others. */
static char *settle(const struct flight *flight, const struct filled *filled) {
    const char *const text = filled->text;
    size_t n = strlen(text);
    if (text[strspn(text, " \t\n")] == '\0') n = 0;
    const char *const newline = memrchr(text, '\n', n);
    if (flight->one_line)
        n = strcspn(text, "\n") < n ? strcspn(text, "\n") : n;
    else if (filled->cut && newline)
        n = (size_t)(newline - text) + flight->whole_lines;
    return mem_strdup(text, n);
}

static void on_filled(void *user, const struct filled *filled) {
    struct flight *const flight = user;
    struct lsp *const lsp = flight->lsp;
    char line[200];
    flight->filling = NULL; // frees itself
    if (filled->failure) {
        lsp_tell_failure(lsp, filled->failure);
        land(flight, "");
        return;
    }
    lsp->failure[0] = '\0';
    snprintf(line, sizeof line,
             "octet: method=%s prompt=%zu cached=%zu generated=%zu total=%.0fms", filled->method,
             filled->n_prompt, filled->n_cached, filled->n_generated,
             1e3 * (probe_seconds() - flight->begun));
    lsp_trace(lsp, line);
    char *const text = settle(flight, filled);
    if (text) memory_put(&lsp->memory, flight->doc->uri, flight->prefix, flight->suffix, text);
    land(flight, text ? text : "");
    mem_free(text);
}

static void take_off(struct flight *flight) {
    struct lsp *const lsp = flight->lsp;
    struct octet_err err = {OCTET_EMEM, "out of memory"};
    struct hole *const hole = make_hole(flight);
    const size_t n_line = strcspn(flight->suffix, "\n");
    flight->one_line = !lsp->settings.multi_line || strspn(flight->suffix, " \t\r") < n_line;
    flight->begun = probe_seconds();
    if (hole) flight->whole_lines = hole->whole_lines;
    if (flight->whole_lines) flight->one_line = !lsp->settings.multi_line;
    const struct wish wish = {.max_tokens = lsp->settings.max_tokens,
                              .budget_s = (double)lsp->settings.budget_ms / 1e3,
                              .one_line = flight->one_line};
    if (hole && lsp->engine->kind->fill(lsp->engine, hole, &wish, on_filled, flight,
                                        &flight->filling, &err) == OCTET_OK)
        return;
    lsp_tell_failure(lsp, err.message);
    land(flight, "");
}

static void on_due(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct flight *const flight = arg;
    flight->due = true;
    if (flight->lsp->readiness == ENGINE_READY)
        take_off(flight);
    else if (flight->lsp->readiness == ENGINE_FAILED)
        land(flight, "");
}

static void schedule(struct flight *flight, int32_t ms) {
    const struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    if (!flight->due) evtimer_add(flight->timer, &wait);
}

static struct flight *find_flight(const struct lsp *lsp, const struct doc *doc) {
    struct flight *flight = lsp->flights;
    while (flight && flight->doc != doc) flight = flight->next;
    return flight;
}

/* The flight that gets the text between PREFIX and SUFFIX, which it takes over. NULL: out of
 * memory. */
static struct flight *board(struct lsp *lsp, struct doc *doc, char *prefix, char *suffix) {
    struct flight *flight = find_flight(lsp, doc);
    if (flight && flight->n_asks < MAX_ASKS && strcmp(flight->prefix, prefix) == 0 &&
        strcmp(flight->suffix, suffix) == 0) {
        mem_free(prefix);
        mem_free(suffix);
        return flight;
    }
    if (flight) outdate(flight);
    flight = mem_alloc(sizeof *flight);
    if (!flight) {
        mem_free(prefix);
        mem_free(suffix);
        return NULL;
    }
    *flight = (struct flight){.lsp = lsp, .doc = doc, .prefix = prefix, .suffix = suffix,
                              .next = lsp->flights};
    lsp->flights = flight;
    flight->timer = evtimer_new(lsp->base, on_due, flight);
    if (flight->timer) return flight;
    free_flight(flight);
    return NULL;
}

/* ---- From the editor ------------------------------------------------------------------------- */

/* Who asks by a key wants no pause; menus do not tell keys from typing. */
static int32_t pause_of(const struct lsp *lsp, const json_t *params, bool menu) {
    const json_t *const kind =
        json_object_get(json_object_get(params, "context"), "triggerKind");
    return !menu && json_integer_value(kind) == 1 ? 0 : lsp->settings.debounce_ms;
}

static void ask_in(struct lsp *lsp, struct doc *doc, const json_t *params, struct ask *ask,
                   const struct place *place) {
    char *const prefix = text_before(doc, place->begin, ask->lead);
    char *const suffix = text_after(doc, place->end);
    const char *known = NULL;
    if (prefix && suffix) known = memory_get(&lsp->memory, doc->uri, prefix, suffix);
    if (prefix && suffix && !known) {
        struct flight *const flight = board(lsp, doc, prefix, suffix);
        if (flight) {
            flight->asks[flight->n_asks++] = *ask;
            schedule(flight, pause_of(lsp, params, ask->menu));
            return;
        }
    } else {
        mem_free(prefix);
        mem_free(suffix);
    }
    if (known) lsp_trace(lsp, "octet: known before");
    answer(lsp, ask, known ? known : "");
    free_ask(ask);
}

void complete_ask(struct lsp *lsp, const json_t *id, const json_t *params, bool menu) {
    struct position cursor;
    struct place place;
    struct ask ask = {.menu = menu};
    const char *const uri =
        json_string_value(json_object_get(json_object_get(params, "textDocument"), "uri"));
    if (!uri || !complete_read_position(json_object_get(params, "position"), &cursor)) {
        wire_fail(lsp->wire, id, RPC_INVALID_PARAMS,
                  "expected textDocument.uri and position {line, character}");
        return;
    }
    lsp_start_engine(lsp);
    struct doc *const doc = docs_find(&lsp->docs, uri);
    if (!doc || doc->lost || lsp->readiness == ENGINE_FAILED ||
        !place_ask(lsp, doc, params, cursor, &ask, &place)) {
        wire_reply(lsp->wire, id, nothing(menu));
        return;
    }
    ask.id = json_deep_copy(id);
    ask_in(lsp, doc, params, &ask, &place);
}

void complete_cancel(struct lsp *lsp, const json_t *id) {
    for (struct flight *flight = lsp->flights; flight; flight = flight->next)
        for (size_t i = 0; i < flight->n_asks; i++) {
            if (!json_equal(flight->asks[i].id, id)) continue;
            wire_fail(lsp->wire, id, RPC_CANCELLED, "cancelled");
            free_ask(&flight->asks[i]);
            flight->asks[i] = flight->asks[--flight->n_asks];
            if (flight->n_asks == 0) free_flight(flight);
            return;
        }
}

void complete_outdate(struct lsp *lsp, const struct doc *doc) {
    struct flight *next;
    for (struct flight *flight = lsp->flights; flight; flight = next) {
        next = flight->next;
        if (!doc || flight->doc == doc) outdate(flight);
    }
}

void complete_resume(struct lsp *lsp) {
    struct flight *next;
    for (struct flight *flight = lsp->flights; flight; flight = next) {
        next = flight->next;
        if (flight->due) on_due(-1, 0, flight);
    }
}
