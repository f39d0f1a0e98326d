/* See call_scan.h. */
#include "server/call_scan.h"

#include <stdio.h>
#include <string.h>

void call_scan_start(struct call_scan *s, const char *name) {
    *s = (struct call_scan){.n_items = 0};
    snprintf(s->name, sizeof s->name, "%s", name);
}

static void start_item(struct call_scan *s) {
    s->name[0] = '\0';
    s->member = MEMBER_OTHER;
    s->begun = false;
}

static bool is_text(const char *bytes, size_t n, const char *text) {
    return n == strlen(text) && memcmp(bytes, text, n) == 0;
}

static void take_key(struct call_scan *s, const char *key, size_t n) {
    s->member = MEMBER_OTHER;
    if (is_text(key, n, "name")) s->member = MEMBER_NAME;
    if (is_text(key, n, "arguments") || is_text(key, n, "parameters"))
        s->member = MEMBER_ARGUMENTS;
}

/* One with escapes is none that any tool has. */
static void take_name(struct call_scan *s, const char *name, size_t n) {
    if (n >= sizeof s->name || memchr(name, '\\', n)) n = 0;
    memcpy(s->name, name, n);
    s->name[n] = '\0';
}

static enum call_event begin(struct call_scan *s) {
    s->begun = s->in_arguments = true;
    return CALL_BEGINS;
}

/* A character among the members of a call; BEFORE: what the JSON was ahead of it. */
static enum call_event take_member(struct call_scan *s, enum json_expects before,
                                   const char *value, size_t at) {
    const enum json_expects now = s->json.expects;
    const bool string_begins = now == SCAN_STRING && before < SCAN_STRING;
    if (string_begins)
        s->from = at + 1;
    else if (before == SCAN_STRING && now == SCAN_COLON)
        take_key(s, value + s->from, at - s->from);
    else if (before == SCAN_STRING && now == SCAN_MORE && s->member == MEMBER_NAME)
        take_name(s, value + s->from, at - s->from);
    else if (before == SCAN_VALUE && now == SCAN_FIRST_KEY && s->member == MEMBER_ARGUMENTS &&
             s->name[0] && !s->begun)
        return begin(s);
    return CALL_GOES_ON;
}

enum call_event call_scan_push(struct call_scan *s, const char *value, size_t at) {
    const enum json_expects before = s->json.expects;
    const size_t depth = s->json.depth;
    if (!json_scan_push(&s->json, value[at])) return CALL_BREAKS;
    if (at == 0) {
        if (s->name[0]) return value[0] == '{' ? begin(s) : CALL_BREAKS;
        s->level = value[0] == '[' ? 2 : 1;
    }
    if (s->in_arguments) {
        s->in_arguments = s->json.depth > s->level;
        return s->in_arguments ? CALL_GOES_ON : CALL_ENDS;
    }
    if (depth < s->level && s->json.depth == s->level) start_item(s);
    s->n_items += depth == 1 && s->level == 2 && value[at] == ',' && s->json.expects == SCAN_VALUE;
    return depth == s->level ? take_member(s, before, value, at) : CALL_GOES_ON;
}
