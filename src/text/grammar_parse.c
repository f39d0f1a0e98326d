/* Reading GBNF, the notation of llama.cpp's grammars:
 *
 *     name ::= "literal" other [a-z] [^\n"] . ( group | alternative )* rule{2,5}  # comment
 *
 * A rule goes on over line ends inside of groups, after ::= and |, and where the next line begins
 * with |. What a rule is made of goes straight into its parts. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "text/grammar_impl.h"

enum { MAX_REPEAT = 1 << 20, MAX_RANGES = 4096 };

struct reader {
    struct grammar *g;
    const char *p, *end;
    uint32_t line;
    size_t depth; // of groups
    struct parts parts;
    struct code_range *ranges; // (MAX_RANGES) of the class that is read
    struct octet_err *err;
    enum octet_status status;
};

__attribute__((format(printf, 2, 3))) static bool wrong(struct reader *r, const char *fmt, ...) {
    if (r->status != OCTET_OK) return false;
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->status = octet_fail(r->err, OCTET_EFORMAT, "grammar: line %u: %s", r->line, text);
    return false;
}

/* ---- Rules by name --------------------------------------------------------------------------- */

static bool grow_slots(struct grammar *g) {
    const size_t n = g->rule_slots ? 2 * (g->rule_mask + 1) : 64;
    uint32_t *const slots = mem_array(n, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < g->n_rules; i++) {
        const char *const name = g->rules[i].name;
        size_t at = hash_bytes(HASH_INIT, name, strlen(name)) & (n - 1);
        while (slots[at]) at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    mem_free(g->rule_slots);
    g->rule_slots = slots;
    g->rule_mask = n - 1;
    return true;
}

uint32_t grammar_rule(struct grammar *g, const char *name, size_t n, uint32_t line) {
    const bool full = !g->rule_slots || 2 * (g->n_rules + 1) > g->rule_mask + 1;
    if (full && !grow_slots(g)) return GRAMMAR_NONE;
    size_t at = hash_bytes(HASH_INIT, name, n) & g->rule_mask;
    for (; g->rule_slots[at]; at = (at + 1) & g->rule_mask) {
        const struct grammar_rule *const rule = &g->rules[g->rule_slots[at] - 1];
        if (strlen(rule->name) == n && memcmp(rule->name, name, n) == 0)
            return g->rule_slots[at] - 1;
    }
    if (g->n_rules >= GRAMMAR_MAX_RULES ||
        !mem_reserve((void **)&g->rules, &g->rules_cap, g->n_rules + 1, sizeof *g->rules))
        return GRAMMAR_NONE;
    char *const copy = mem_strdup(name, n);
    if (!copy) return GRAMMAR_NONE;
    g->rules[g->n_rules] = (struct grammar_rule){copy, line, GRAMMAR_NONE};
    g->rule_slots[at] = (uint32_t)++g->n_rules;
    return (uint32_t)g->n_rules - 1;
}

/* ---- Characters ------------------------------------------------------------------------------ */

static bool at_end(const struct reader *r) { return r->p == r->end; }
static bool looks_at(const struct reader *r, char c) { return !at_end(r) && *r->p == c; }

static bool take(struct reader *r, char c) {
    if (!looks_at(r, c)) return false;
    r->p++;
    return true;
}

static void skip_line_end(struct reader *r) {
    if (*r->p++ == '\n') r->line++;
}

/* Blanks and comments, with LINES line ends too. */
static void skip_space(struct reader *r, bool lines) {
    while (!at_end(r)) {
        if (*r->p == '#') {
            while (!at_end(r) && *r->p != '\n') r->p++;
        } else if (*r->p == ' ' || *r->p == '\t' || *r->p == '\r') {
            r->p++;
        } else if (*r->p == '\n' && lines) {
            skip_line_end(r);
        } else {
            return;
        }
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex(struct reader *r, int n, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < n; i++, r->p++) {
        const int digit = at_end(r) ? -1 : hex_digit(*r->p);
        if (digit < 0) return wrong(r, "an escape needs %d hexadecimal digits", n);
        *code = *code << 4 | (uint32_t)digit;
    }
    if (*code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
        return wrong(r, "an escape names no character: U+%X", *code);
    return true;
}

static bool read_escape(struct reader *r, uint32_t *code) {
    static const char names[] = "nrt\\\"[]-^/", meant[] = "\n\r\t\\\"[]-^/";
    const char c = at_end(r) ? '\0' : *r->p;
    const char *const known = c ? strchr(names, c) : NULL;
    if (c == 'x' || c == 'u' || c == 'U') {
        r->p++;
        return read_hex(r, c == 'x' ? 2 : c == 'u' ? 4 : 8, code);
    }
    if (!known) return wrong(r, "an escape that is not known: \\%c", c ? c : ' ');
    r->p++;
    *code = (uint8_t)meant[known - names];
    return true;
}

/* A character of a literal or a class. */
static bool read_character(struct reader *r, uint32_t *code) {
    if (take(r, '\\')) return read_escape(r, code);
    const uint8_t *const p = (const uint8_t *)r->p;
    const size_t n_left = (size_t)(r->end - r->p);
    const size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    *code = n == 1 ? *p : *p & (0xffU >> (n + 1));
    bool fine = n <= n_left && (*p < 0x80 || *p >= 0xc2);
    for (size_t i = 1; i < n && fine; i++) {
        fine = (p[i] & 0xc0) == 0x80;
        *code = *code << 6 | (p[i] & 0x3f);
    }
    if (!fine || *code < least[n] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
        return wrong(r, "bytes that are not UTF-8");
    r->p += n;
    if (*code == '\n') r->line++;
    return true;
}

/* ---- Elements -------------------------------------------------------------------------------- */

static bool read_literal(struct reader *r, struct piece *out) {
    *out = piece_empty(&r->parts);
    r->p++;
    while (!looks_at(r, '"')) {
        struct code_range range;
        if (at_end(r)) return wrong(r, "a literal without its closing quote");
        if (!read_character(r, &range.lo)) return false;
        range.hi = range.lo;
        *out = piece_join(&r->parts, *out, piece_class(&r->parts, &range, 1, false));
    }
    r->p++;
    return true;
}

static bool read_class(struct reader *r, struct piece *out) {
    size_t n = 0;
    r->p++;
    const bool negated = take(r, '^');
    while (!looks_at(r, ']')) {
        if (at_end(r)) return wrong(r, "a class without its closing bracket");
        if (n == MAX_RANGES) return wrong(r, "a class of more than %d ranges", MAX_RANGES);
        struct code_range *const range = &r->ranges[n++];
        if (!read_character(r, &range->lo)) return false;
        range->hi = range->lo;
        const bool ranged = looks_at(r, '-') && r->p + 1 < r->end && r->p[1] != ']';
        if (!ranged) continue;
        r->p++;
        if (!read_character(r, &range->hi)) return false;
        if (range->hi < range->lo) return wrong(r, "a range of characters that is upside down");
    }
    r->p++;
    if (n == 0 && !negated) return wrong(r, "a class without characters");
    *out = piece_class(&r->parts, r->ranges, n, negated);
    return true;
}

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_';
}

static size_t name_length(const struct reader *r) {
    size_t n = 0;
    while (r->p + n < r->end && is_name(r->p[n])) n++;
    return n;
}

static bool read_name(struct reader *r, uint32_t *rule) {
    const size_t n = name_length(r);
    *rule = grammar_rule(r->g, r->p, n, r->line);
    r->p += n;
    if (*rule != GRAMMAR_NONE) return true;
    if (r->g->n_rules >= GRAMMAR_MAX_RULES)
        return wrong(r, "more than %d rules", GRAMMAR_MAX_RULES);
    r->status = octet_fail_memory(r->err, "a grammar", n);
    return false;
}

static bool read_alternatives(struct reader *r, struct piece *out);

static bool read_group(struct reader *r, struct piece *out) {
    if (++r->depth > GRAMMAR_MAX_NESTING)
        return wrong(r, "groups nest deeper than %d", GRAMMAR_MAX_NESTING);
    r->p++;
    skip_space(r, true);
    if (!read_alternatives(r, out)) return false;
    if (!take(r, ')')) return wrong(r, "a group without its closing parenthesis");
    r->depth--;
    return true;
}

static bool read_element(struct reader *r, struct piece *out) {
    uint32_t rule;
    switch (*r->p) {
    case '"':
        return read_literal(r, out);
    case '[':
        return read_class(r, out);
    case '(':
        return read_group(r, out);
    case '.':
        r->p++;
        *out = piece_class(&r->parts, NULL, 0, true);
        return true;
    default:
        if (!read_name(r, &rule)) return false;
        *out = piece_call(&r->parts, rule);
        return true;
    }
}

static bool begins_element(const struct reader *r) {
    return !at_end(r) && (is_name(*r->p) || memchr("\"[(.", *r->p, 4));
}

/* ---- Repetitions ----------------------------------------------------------------------------- */

static bool read_number(struct reader *r, uint32_t *out) {
    *out = 0;
    while (!at_end(r) && *r->p >= '0' && *r->p <= '9') {
        *out = 10 * *out + (uint32_t)(*r->p++ - '0');
        if (*out > MAX_REPEAT) return wrong(r, "more than %d repetitions", MAX_REPEAT);
    }
    return true;
}

/* After the opening brace: m}, m,}, m,n} or ,n} */
static bool read_counts(struct reader *r, uint32_t *min, uint32_t *max) {
    const char *before = r->p;
    if (!read_number(r, min)) return false;
    bool any = r->p > before;
    *max = *min;
    skip_space(r, false);
    if (take(r, ',')) {
        skip_space(r, false);
        before = r->p;
        if (!read_number(r, max)) return false;
        any |= r->p > before;
        if (r->p == before) *max = GRAMMAR_NONE;
        skip_space(r, false);
    }
    if (!any || !take(r, '}')) return wrong(r, "expected {m}, {m,}, {,n} or {m,n}");
    if (*max < *min) return wrong(r, "repetitions from %u to %u", *min, *max);
    return true;
}

static bool read_repeats(struct reader *r, struct piece *piece) {
    for (;;) {
        uint32_t min = 0, max = GRAMMAR_NONE;
        const char c = at_end(r) ? '\0' : *r->p;
        if (c != '*' && c != '+' && c != '?' && c != '{') return true;
        r->p++;
        if (c == '+') min = 1;
        if (c == '?') max = 1;
        if (c == '{' && !read_counts(r, &min, &max)) return false;
        *piece = piece_repeat(&r->parts, *piece, min, max);
        skip_space(r, r->depth > 0);
    }
}

/* ---- Sequences and alternatives -------------------------------------------------------------- */

static bool read_sequence(struct reader *r, struct piece *out) {
    *out = piece_empty(&r->parts);
    while (begins_element(r)) {
        struct piece piece;
        const uint32_t first = (uint32_t)r->parts.n;
        if (!read_element(r, &piece)) return false;
        piece.first = first; // all that was made for it
        skip_space(r, r->depth > 0);
        if (!read_repeats(r, &piece)) return false;
        *out = piece_join(&r->parts, *out, piece);
    }
    return true;
}

/* Whether a | follows, on one of the next lines too; goes there if so. */
static bool find_bar(struct reader *r) {
    const struct reader before = *r;
    skip_space(r, true);
    if (take(r, '|')) return true;
    r->p = before.p;
    r->line = before.line;
    return false;
}

static bool read_alternatives(struct reader *r, struct piece *out) {
    if (!read_sequence(r, out)) return false;
    while (find_bar(r)) {
        struct piece piece;
        skip_space(r, true);
        if (!read_sequence(r, &piece)) return false;
        *out = piece_either(&r->parts, *out, piece);
    }
    return true;
}

static bool read_rule(struct reader *r) {
    uint32_t rule, start;
    struct piece piece;
    struct octet_err why;
    if (name_length(r) == 0) return wrong(r, "expected the name of a rule, found '%c'", *r->p);
    const uint32_t line = r->line;
    if (!read_name(r, &rule)) return false;
    const char *const name = r->g->rules[rule].name;
    skip_space(r, false);
    if (r->end - r->p < 3 || memcmp(r->p, "::=", 3) != 0)
        return wrong(r, "expected ::= after the name '%.60s'", name);
    r->p += 3;
    if (r->g->rules[rule].start != GRAMMAR_NONE)
        return wrong(r, "rule '%.60s' was written in line %u already", name,
                     r->g->rules[rule].line);
    skip_space(r, true);
    r->parts.n = 0;
    if (!read_alternatives(r, &piece)) return false;
    skip_space(r, false);
    if (!at_end(r) && *r->p != '\n')
        return wrong(r, "expected the end of rule '%.60s', found '%c'", name, *r->p);
    piece = piece_join(&r->parts, piece, piece_empty(&r->parts));
    const enum octet_status status =
        grammar_determinize(r->g, &r->parts, piece, &start, &why);
    if (status != OCTET_OK) {
        r->status = octet_fail(r->err, status, "grammar: line %u: rule '%.60s': %.300s", line, name,
                               why.message);
        return false;
    }
    r->g->rules[rule].start = start;
    r->g->rules[rule].line = line;
    return true;
}

enum octet_status grammar_parse(struct grammar *g, const char *source, size_t n_bytes,
                                struct octet_err *err) {
    if (n_bytes == 0) source = ""; // NULL too
    struct reader r = {.g = g, .p = source, .end = source + n_bytes, .line = 1, .err = err};
    if (n_bytes > GRAMMAR_MAX_SOURCE)
        return octet_fail(err, OCTET_EUNSUPPORTED, "grammar: longer than %d bytes",
                          GRAMMAR_MAX_SOURCE);
    r.ranges = mem_array(MAX_RANGES, sizeof *r.ranges);
    if (!r.ranges) return octet_fail_memory(err, "a grammar", MAX_RANGES * sizeof *r.ranges);
    skip_space(&r, true);
    while (!at_end(&r) && read_rule(&r)) skip_space(&r, true);
    mem_free(r.ranges);
    mem_free(r.parts.list);
    return r.status;
}
