/* Characters and strings of a schema, as JSON spells them and as literals of a grammar. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/schema_impl.h"

/* ---- Sets of characters ---------------------------------------------------------------------- */

bool set_add(struct code_set *set, uint32_t lo, uint32_t hi) {
    if (set->n == sizeof set->lo / sizeof *set->lo) return false;
    set->lo[set->n] = lo;
    set->hi[set->n++] = hi;
    return true;
}

/* Sorts the ranges and joins those that touch. */
static void join_ranges(struct code_set *set) {
    for (size_t i = 1; i < set->n; i++) {
        const uint32_t lo = set->lo[i], hi = set->hi[i];
        size_t k = i;
        for (; k > 0 && set->lo[k - 1] > lo; k--) {
            set->lo[k] = set->lo[k - 1];
            set->hi[k] = set->hi[k - 1];
        }
        set->lo[k] = lo;
        set->hi[k] = hi;
    }
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (n > 0 && set->lo[i] <= set->hi[n - 1] + 1) {
            if (set->hi[i] > set->hi[n - 1]) set->hi[n - 1] = set->hi[i];
        } else {
            set->lo[n] = set->lo[i];
            set->hi[n++] = set->hi[i];
        }
    }
    set->n = n;
}

bool set_finish(struct code_set *set, bool negated) {
    join_ranges(set);
    if (!negated) return true;
    struct code_set rest = {.n = 0};
    uint32_t next = 0;
    bool fine = true;
    for (size_t i = 0; i < set->n; i++) {
        if (set->lo[i] > next) fine &= set_add(&rest, next, set->lo[i] - 1);
        next = set->hi[i] + 1;
    }
    if (next <= 0x10ffff) fine &= set_add(&rest, next, 0x10ffff);
    *set = rest;
    return fine;
}

static bool set_holds(const struct code_set *set, uint32_t code) {
    bool found = false;
    for (size_t i = 0; i < set->n; i++) found |= set->lo[i] <= code && code <= set->hi[i];
    return found;
}

/* The letter that follows the backslash in a JSON string, or 0: there is none. */
static char short_escape(uint32_t code) {
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *const at = code > 0 && code < 0x80 ? strchr(codes, (char)code) : NULL;
    return at ? letters[at - codes] : '\0';
}

/* A character that JSON strings must escape, as a literal with its quotes. */
static bool put_escaped(struct schema *s, uint32_t code) {
    const char letter = short_escape(code);
    if (letter == '"' || letter == '\\') return putf(s, "\"\\\\\\%c\"", letter);
    if (letter) return putf(s, "\"\\\\%c\"", letter);
    const unsigned low = code & 15;
    if (low < 10) return putf(s, "\"\\\\u00%u%u\"", code >> 4, low);
    return putf(s, "\"\\\\u00%u\" [%c%c]", code >> 4, (char)('a' + low - 10),
                (char)('A' + low - 10));
}

static bool must_escape(uint32_t code) { return code < 0x20 || code == '"' || code == '\\'; }

bool put_set(struct schema *s, const struct code_set *set) {
    bool any = false;
    put(s, "(");
    for (uint32_t code = 0; code < 0x80; code++) {
        if (!must_escape(code) || !set_holds(set, code)) continue;
        if (any) put(s, " | ");
        put_escaped(s, code);
        any = true;
    }
    bool open = false; // the class of characters that stand for themselves
    for (size_t i = 0; i < set->n; i++) {
        uint32_t lo = set->lo[i];
        while (lo <= set->hi[i]) {
            if (must_escape(lo)) {
                lo++;
                continue;
            }
            uint32_t hi = set->hi[i];
            if (lo < '"' && hi >= '"') hi = '"' - 1;
            if (lo < '\\' && hi >= '\\') hi = '\\' - 1;
            const uint32_t next = hi + 1;
            if (lo >= 0xd800 && lo <= 0xdfff) lo = 0xe000; // surrogates are no characters
            if (hi >= 0xd800 && hi <= 0xdfff) hi = 0xd7ff;
            if (lo <= hi) {
                if (!open) put(s, any ? " | [" : "[");
                open = any = true;
                putf(s, "\\U%08X-\\U%08X", lo, hi);
            }
            lo = next;
        }
    }
    if (open) put(s, "]");
    return put(s, any ? ")" : "never)");
}

/* ---- Texts ----------------------------------------------------------------------------------- */

uint32_t next_code(const char **p) {
    const uint8_t *const b = (const uint8_t *)*p;
    const size_t n = *b < 0x80 ? 1 : *b < 0xe0 ? 2 : *b < 0xf0 ? 3 : 4;
    uint32_t code = n == 1 ? *b : *b & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++) code = code << 6 | (b[i] & 0x3f);
    *p += n;
    return code;
}

bool put_text(struct schema *s, const char *text, size_t n) {
    const char *p = text;
    while (p < text + n) {
        const char *const from = p;
        const uint32_t code = next_code(&p);
        if (must_escape(code)) {
            // Its own literal, for its digits may be either case.
            put(s, "\" ");
            put_escaped(s, code);
            put(s, " \"");
        } else if (code == 0x7f) {
            put(s, "\\x7f");
        } else {
            putf(s, "%.*s", (int)(p - from), from);
        }
    }
    return s->status == OCTET_OK;
}

/* ---- Constants ------------------------------------------------------------------------------- */

static bool put_string(struct schema *s, const char *text, size_t n) {
    return put(s, "\"\\\"") && put_text(s, text, n) && put(s, "\\\"\" ");
}

static bool put_number(struct schema *s, const json_t *value, uint32_t path) {
    char text[32];
    if (json_is_integer(value)) return putf(s, "\"%lld\" ", (long long)json_integer_value(value));
    const double number = json_real_value(value);
    number_text(number, text);
    if (number > -1e15 && number < 1e15 && (double)(long long)number == number)
        snprintf(text, sizeof text, "%lld", (long long)number);
    if (!strcmp(text, "inf") || !strcmp(text, "-inf"))
        return schema_refuse(s, path, "enum", "holds a number that is too large");
    return putf(s, "\"%s\" ", text);
}

bool schema_write_value(struct schema *s, const json_t *value, uint32_t path, int depth) {
    const char *key;
    size_t n, i;
    json_t *inner;
    bool first = true;
    if (depth > SCHEMA_MAX_DEPTH)
        return schema_refuse(s, path, "enum", "nests deeper than %d", SCHEMA_MAX_DEPTH);
    switch (json_typeof(value)) {
    case JSON_NULL: return put(s, "\"null\" ");
    case JSON_TRUE: return put(s, "\"true\" ");
    case JSON_FALSE: return put(s, "\"false\" ");
    case JSON_INTEGER:
    case JSON_REAL: return put_number(s, value, path);
    case JSON_STRING: return put_string(s, json_string_value(value), json_string_length(value));
    case JSON_ARRAY:
        put(s, "\"[\" ");
        json_array_foreach(value, i, inner) {
            if (i > 0) put(s, "\",\" s ");
            if (!schema_write_value(s, inner, path, depth + 1)) return false;
        }
        return put(s, "\"]\" ");
    case JSON_OBJECT:
        put(s, "\"{\" ");
        json_object_keylen_foreach((json_t *)(uintptr_t)value, key, n, inner) {
            put(s, first ? "" : "\",\" s ");
            first = false;
            put_string(s, key, n);
            put(s, "\":\" \" \"? ");
            if (!schema_write_value(s, inner, path, depth + 1)) return false;
        }
        return put(s, "\"}\" ");
    default: return false;
    }
}

/* ---- Strings --------------------------------------------------------------------------------- */

bool schema_write_string(struct schema *s, const struct form *f, uint32_t path) {
    const bool counted = f->min_length > 0 || f->max_length != SIZE_MAX;
    if (f->format && (f->pattern || counted))
        return schema_refuse(s, path, "format", "is not supported beside a pattern or lengths");
    if (f->pattern && counted)
        return schema_refuse(s, path, "pattern", "is not supported beside lengths");
    if (f->format) return schema_write_format(s, f->format, path);
    if (f->pattern) return schema_write_pattern(s, f->pattern, f->n_pattern, path);
    if (!counted) return put(s, "string");
    if (f->min_length > f->max_length) return put(s, "never");
    if (f->max_length == SIZE_MAX) return putf(s, "\"\\\"\" c{%zu,} \"\\\"\"", f->min_length);
    return putf(s, "\"\\\"\" c{%zu,%zu} \"\\\"\"", f->min_length, f->max_length);
}
