/* See calls.h. What is not told yet is held. In it a call is looked for in phases: a mark, what
 * stands between mark and value (the head), the JSON value, what closes it (the tail). */
#include "server/calls.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    enum call_form opens; // N_CALL_FORMS: nothing
} marks[N_CALL_MARKS] = {
    {"<tool_call>", CALLS_TAGGED},     {"[TOOL_CALLS]", CALLS_MISTRAL},
    {"<|python_tag|>", CALLS_PYTHON},  {"</tool_call>", N_CALL_FORMS},
    {"[ARGS]", N_CALL_FORMS},          {"[CALL_ID]", N_CALL_FORMS},
};
enum { MARK_CLOSES = 3, MARK_ARGS = 4, MARK_ID = 5 };

static const char fence[] = "```";

const char *calls_mark(size_t i) { return marks[i].text; }

const char *calls_opening(enum call_form form) {
    static const char *const openings[] = {"<tool_call>\n", "[TOOL_CALLS]", "<|python_tag|>", ""};
    return openings[form];
}

/* ---- What is held ---------------------------------------------------------------------------- */

static const char *held(const struct call_reader *r) { return r->held.bytes + r->at; }
static size_t n_held(const struct call_reader *r) { return r->held.n - r->at; }

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* The first that is no blank, from FROM on. */
static size_t skip_spaces(const struct call_reader *r, size_t from) {
    while (from < n_held(r) && is_space(held(r)[from])) from++;
    return from;
}

/* Llama writes semicolons between calls. */
static size_t skip_lead(const struct call_reader *r) {
    size_t n = 0;
    while (n < n_held(r) && (is_space(held(r)[n]) || (r->n_calls > 0 && held(r)[n] == ';'))) n++;
    return n;
}

static bool starts_with(const struct call_reader *r, size_t from, const char *text) {
    const size_t n = strlen(text);
    return n_held(r) >= from + n && memcmp(held(r) + from, text, n) == 0;
}

/* Whether what is held from FROM on begins with TEXT, or may once there is more. */
static bool may_start_with(const struct call_reader *r, size_t from, const char *text) {
    const size_t n = strlen(text), n_left = n_held(r) - from;
    return memcmp(held(r) + from, text, n < n_left ? n : n_left) == 0;
}

static void tell_text(struct call_reader *r, size_t n) {
    if (n == 0) return;
    for (size_t i = 0; i < n && !r->told_text; i++) r->told_text = !is_space(held(r)[i]);
    r->on_text(r->user, held(r), n);
    r->at += n;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool is_known(const struct call_reader *r, const char *name) {
    size_t i;
    const json_t *tool;
    json_array_foreach(r->tools, i, tool) {
        const char *const known =
            json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        if (known && name && strcmp(known, name) == 0) return true;
    }
    return false;
}

/* The arguments as an object of the caller's; NULL: they are none. */
static json_t *arguments_of(const json_t *call) {
    const json_t *value = json_object_get(call, "arguments");
    if (!value) value = json_object_get(call, "parameters");
    json_t *const parsed = json_is_string(value)
                               ? json_loads(json_string_value(value), 0, NULL)
                           : value ? json_incref((json_t *)(uintptr_t)value)
                                   : json_object();
    if (json_is_object(parsed)) return parsed;
    json_decref(parsed);
    return NULL;
}

/* {"name", "arguments"}, or that within {"function"}. */
static const json_t *call_within(const json_t *value) {
    const json_t *const inner = json_object_get(value, "function");
    return json_is_object(inner) ? inner : value;
}

static bool is_call(const struct call_reader *r, const json_t *value) {
    const json_t *const call = call_within(value);
    json_t *const arguments = arguments_of(call);
    const bool fine = arguments && is_known(r, json_string_value(json_object_get(call, "name")));
    json_decref(arguments);
    return fine;
}

/* As few digits as tell the numbers apart. */
static char *dump(const json_t *value) {
    char *const text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_t *const again = text ? json_loads(text, 0, NULL) : NULL;
    const bool same = json_equal(value, again);
    json_decref(again);
    if (same) return text;
    free(text);
    return json_dumps(value, JSON_COMPACT);
}

static void tell_call(struct call_reader *r, const char *name, json_t *arguments) {
    char *const text = dump(arguments);
    r->n_calls++;
    if (text) r->on_call(r->user, name, text);
    free(text);
    json_decref(arguments);
}

static void tell_value(struct call_reader *r, const json_t *value) {
    const json_t *const call = call_within(value);
    tell_call(r, json_string_value(json_object_get(call, "name")), arguments_of(call));
}

/* Calls of a list, the first of which were told, that are left. */
static void tell_others(struct call_reader *r, const char *text, size_t n) {
    json_t *const value = json_loadb(text, n, 0, NULL);
    for (size_t i = r->n_told; i < json_array_size(value); i++) {
        const json_t *const item = json_array_get(value, i);
        if (is_call(r, item)) tell_value(r, item);
    }
    json_decref(value);
}

/* Tells the calls that the N bytes at TEXT are; false: they are something else. */
static bool take_value(struct call_reader *r, const char *text, size_t n) {
    json_t *const value = json_loadb(text, n, 0, NULL);
    size_t i;
    const json_t *item;
    bool fine;
    if (r->name[0]) {
        fine = json_is_object(value) && is_known(r, r->name);
        if (fine) tell_call(r, r->name, json_incref(value));
    } else if (json_is_array(value)) {
        fine = json_array_size(value) > 0;
        json_array_foreach(value, i, item) fine = fine && is_call(r, item);
        json_array_foreach(value, i, item) {
            if (fine) tell_value(r, item);
        }
    } else {
        fine = json_is_object(value) && is_call(r, value);
        if (fine) tell_value(r, value);
    }
    json_decref(value);
    return fine;
}

/* ---- Phases: each returns whether there may be more to do at once ----------------------------
 */

static void enter(struct call_reader *r, enum call_form form, size_t n_lead, size_t n_mark) {
    r->phase = CALL_HEAD;
    r->form = form;
    r->n_lead = n_lead;
    r->n_mark = n_mark;
    r->fenced = false;
    r->name[0] = '\0';
}

/* What is held is no call: its mark is text, or dropped if it is not for users. */
static bool give_up(struct call_reader *r) {
    const bool hidden = r->n_mark > 0 && (r->hidden & 1u << r->form);
    tell_text(r, r->n_lead + (hidden ? 0 : r->n_mark));
    if (hidden) r->at += r->n_mark;
    if (r->form == CALLS_BARE) r->told_text = true; // not to be tried again
    r->phase = CALL_TEXT;
    return true;
}

static bool is_wanted(const struct call_reader *r, size_t mark) {
    return marks[mark].opens != N_CALL_FORMS || (r->hidden & 1u << mark);
}

/* The first mark that is held; else where one may begin, with MARK = N_CALL_MARKS. */
static size_t find_mark(const struct call_reader *r, size_t *mark) {
    *mark = N_CALL_MARKS;
    for (size_t at = 0; at < n_held(r); at++) {
        if (held(r)[at] != '<' && held(r)[at] != '[') continue;
        for (size_t i = 0; i < N_CALL_MARKS; i++) {
            if (!is_wanted(r, i) || !may_start_with(r, at, marks[i].text)) continue;
            if (starts_with(r, at, marks[i].text)) *mark = i;
            return at;
        }
    }
    return n_held(r);
}

/* Bare JSON is a call only where nothing was said before. UNSURE: more text will tell. */
static bool begins_bare(const struct call_reader *r, size_t at, bool *unsure) {
    *unsure = at == n_held(r);
    if (*unsure || held(r)[at] == '{') return !*unsure;
    if (held(r)[at] == '[') {
        const size_t next = skip_spaces(r, at + 1);
        *unsure = next == n_held(r);
        return !*unsure && held(r)[next] == '{';
    }
    const bool fenced = starts_with(r, at, fence);
    *unsure = !fenced && may_start_with(r, at, fence);
    return fenced;
}

static bool read_text(struct call_reader *r) {
    if (!r->told_text) {
        const size_t n_lead = skip_lead(r);
        bool unsure;
        const bool bare = begins_bare(r, n_lead, &unsure);
        if (bare) enter(r, CALLS_BARE, n_lead, 0);
        if (bare || unsure) return bare;
    }
    size_t mark;
    const size_t at = find_mark(r, &mark);
    size_t end = at; // blanks before a call are not told
    while (end > 0 && is_space(held(r)[end - 1])) end--;
    tell_text(r, end);
    if (mark == N_CALL_MARKS) return false;
    const size_t n_lead = at - end, n_mark = strlen(marks[mark].text);
    if (marks[mark].opens != N_CALL_FORMS) {
        enter(r, marks[mark].opens, n_lead, n_mark);
    } else { // a mark that is not for users, where it means nothing
        tell_text(r, n_lead);
        r->at += n_mark;
    }
    return true;
}

/* Instead of a place. */
#define UNSURE (SIZE_MAX - 1) // more text will tell
#define NO_CALL SIZE_MAX

static bool is_of_name(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

/* Where the value begins after a name, "[CALL_ID]" with what follows, and "[ARGS]". */
static size_t read_name(struct call_reader *r, size_t from) {
    size_t n = from;
    while (n < n_held(r) && is_of_name(held(r)[n])) n++;
    const size_t n_name = n - from;
    if (n_name == 0 || n_name >= sizeof r->name) return NO_CALL;
    n = skip_spaces(r, n);
    if (starts_with(r, n, marks[MARK_ID].text)) {
        n = skip_spaces(r, n + strlen(marks[MARK_ID].text));
        while (n < n_held(r) && isalnum((unsigned char)held(r)[n])) n++;
        n = skip_spaces(r, n);
    }
    if (starts_with(r, n, marks[MARK_ARGS].text))
        n = skip_spaces(r, n + strlen(marks[MARK_ARGS].text));
    if (n == n_held(r)) return UNSURE;
    if (held(r)[n] != '{')
        return may_start_with(r, n, marks[MARK_ID].text) ||
                       may_start_with(r, n, marks[MARK_ARGS].text) ? UNSURE : NO_CALL;
    memcpy(r->name, held(r) + from, n_name);
    r->name[n_name] = '\0';
    return n;
}

/* Where the value begins after "```json". */
static size_t read_fence(struct call_reader *r, size_t from) {
    static const char language[] = "json";
    size_t n = from + sizeof fence - 1;
    if (!starts_with(r, from, fence)) return UNSURE;
    r->fenced = true;
    if (starts_with(r, n, language))
        n += sizeof language - 1;
    else if (may_start_with(r, n, language))
        return UNSURE;
    n = skip_spaces(r, n);
    if (n == n_held(r)) return UNSURE;
    return held(r)[n] == '{' || held(r)[n] == '[' ? n : NO_CALL;
}

static bool read_head(struct call_reader *r) {
    size_t n = skip_spaces(r, r->n_lead + r->n_mark);
    if (n == n_held(r)) return false;
    const char c = held(r)[n];
    if (c != '{' && c != '[') {
        if (r->form == CALLS_MISTRAL) n = read_name(r, n);
        else if (r->form == CALLS_BARE && may_start_with(r, n, fence)) n = read_fence(r, n);
        else n = NO_CALL;
    }
    if (n == NO_CALL) return give_up(r);
    if (n == UNSURE) return false;
    r->phase = CALL_VALUE;
    r->n_head = n;
    r->scanned = r->depth = 0;
    r->in_string = r->escaped = false;
    r->scans = r->on_begin != NULL;
    r->n_told = r->told_to = 0;
    call_scan_start(&r->scan, r->name);
    return true;
}

/* ---- Arguments, as they come ----------------------------------------------------------------- */

static void tell_arguments(struct call_reader *r, size_t to) {
    if (to > r->told_to)
        r->on_arguments(r->user, held(r) + r->n_head + r->told_to, to - r->told_to);
    r->told_to = to;
}

static void begin_call(struct call_reader *r, size_t at) {
    // One that comes after others is told after them.
    if (r->n_told < r->scan.n_items || !is_known(r, r->scan.name)) return;
    r->on_begin(r->user, r->scan.name);
    r->telling = true;
    r->told_to = at;
}

static void end_call(struct call_reader *r, size_t to, bool complete) {
    tell_arguments(r, to);
    r->on_end(r->user, complete);
    r->telling = false;
    r->n_told++;
    r->n_calls++;
}

/* The value ends before byte AT, though calls of it were told. */
static bool break_off(struct call_reader *r, size_t at) {
    r->phase = r->telling ? CALL_TEXT : CALL_TAIL;
    if (r->telling) end_call(r, at, false);
    r->at += r->n_head + at;
    r->told_text = true;
    return true;
}

/* Takes byte AT of the value; false: it was broken off. */
static bool follow(struct call_reader *r, size_t at) {
    switch (call_scan_push(&r->scan, held(r) + r->n_head, at)) {
    case CALL_BEGINS: begin_call(r, at); return true;
    case CALL_ENDS:
        if (r->telling) end_call(r, at + 1, true);
        return true;
    case CALL_BREAKS: r->scans = false; return !r->telling && r->n_told == 0;
    case CALL_GOES_ON: break;
    }
    return true;
}

/* Whether the value is complete with C. */
static bool scan(struct call_reader *r, char c) {
    if (r->in_string) {
        r->in_string = r->escaped || c != '"';
        r->escaped = !r->escaped && c == '\\';
        return false;
    }
    r->in_string = c == '"';
    r->depth += c == '{' || c == '[';
    r->depth -= c == '}' || c == ']';
    return r->depth == 0;
}

static bool read_value(struct call_reader *r) {
    while (r->n_head + r->scanned < n_held(r)) {
        if (r->scans && !follow(r, r->scanned)) return break_off(r, r->scanned);
        if (!scan(r, held(r)[r->n_head + r->scanned++])) continue;
        if (r->n_told > 0) tell_others(r, held(r) + r->n_head, r->scanned);
        else if (!take_value(r, held(r) + r->n_head, r->scanned)) return give_up(r);
        r->at += r->n_head + r->scanned;
        r->phase = CALL_TAIL;
        return true;
    }
    if (r->telling) tell_arguments(r, r->scanned);
    return false;
}

static bool read_tail(struct call_reader *r) {
    const char *closing = r->fenced ? fence : "";
    if (r->form == CALLS_TAGGED) closing = marks[MARK_CLOSES].text;
    const size_t n = skip_spaces(r, 0);
    const bool closed = starts_with(r, n, closing);
    if (!closed && may_start_with(r, n, closing)) return false;
    if (closed && closing[0]) r->at += n + strlen(closing);
    r->phase = CALL_TEXT;
    return true;
}

static void read_held(struct call_reader *r) {
    bool more = true;
    while (more) {
        switch (r->phase) {
        case CALL_START:
            r->phase = CALL_TEXT;
            if (r->begun) enter(r, r->begun_form, 0, 0);
            break;
        case CALL_TEXT: more = n_held(r) > 0 && read_text(r); break;
        case CALL_HEAD: more = read_head(r); break;
        case CALL_VALUE: more = read_value(r); break;
        case CALL_TAIL: more = read_tail(r); break;
        }
    }
}

bool calls_push(struct call_reader *reader, const char *text, size_t n_bytes) {
    if (reader->at > 0) {
        memmove(reader->held.bytes, held(reader), n_held(reader));
        reader->held.n -= reader->at;
        reader->at = 0;
    }
    if (!buffer_append(&reader->held, text, n_bytes)) return false;
    read_held(reader);
    return true;
}

bool calls_finish(struct call_reader *reader) {
    if (!buffer_append(&reader->held, "", 0)) return false;
    read_held(reader);
    while (reader->phase != CALL_TEXT) { // a call that has no end
        const bool told = reader->phase == CALL_VALUE && (reader->telling || reader->n_told > 0);
        if (reader->phase == CALL_TAIL) reader->phase = CALL_TEXT;
        else if (told) break_off(reader, reader->scanned);
        else give_up(reader);
        read_held(reader);
    }
    if (reader->n_calls == 0 || skip_spaces(reader, 0) < n_held(reader))
        tell_text(reader, n_held(reader));
    reader->at = reader->held.n;
    return true;
}

void calls_free(struct call_reader *reader) { buffer_free(&reader->held); }
