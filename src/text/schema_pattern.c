/* Patterns and formats of strings as rules.
 *
 * Patterns are the regular part of what JavaScript has, without the u flag's properties:
 * characters, classes, groups, alternatives, repetitions; ^ and $ at the ends of the whole or of
 * its alternatives. What is not anchored may stand anywhere in the string. */
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "text/schema_impl.h"

enum { MAX_PATTERN_NESTING = 40 };

struct regex {
    struct schema *s;
    const char *p, *end;
    uint32_t path;
    int depth;
};

static bool refuse(struct regex *r, const char *what) {
    return schema_refuse(r->s, r->path, "pattern", "%s", what);
}

static bool looks_at(const struct regex *r, char c) { return r->p < r->end && *r->p == c; }

static bool take(struct regex *r, const char *text) {
    const size_t n = strlen(text);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0) return false;
    r->p += n;
    return true;
}

/* ---- Characters ------------------------------------------------------------------------------ */

/* What \d, \w and \s mean differs between validators: in JavaScript digits are those of ASCII, in
 * others those of all scripts. WIDE: all that one of them means, else what all of them mean. */
static bool add_digits(struct code_set *set, bool wide) {
    bool fine = set_add(set, '0', '9');
    uint32_t first = 0;
    for (uint32_t code = 0x80; wide && code < 0x20000; code++) {
        const bool digit = utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_ND;
        if (digit && first == 0) first = code;
        if (!digit && first > 0) fine &= set_add(set, first, code - 1);
        if (!digit) first = 0;
    }
    return fine;
}

static bool add_word(struct code_set *set, bool wide) {
    return add_digits(set, false) && set_add(set, 'a', 'z') && set_add(set, 'A', 'Z') &&
           set_add(set, '_', '_') && (!wide || set_add(set, 0x80, 0x10ffff));
}

static bool add_space(struct code_set *set, bool wide) {
    static const uint32_t ranges[][2] = {{9, 13},         {0x20, 0x20},     {0xa0, 0xa0},
                                         {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
                                         {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
                                         {0xfeff, 0xfeff}, {0x1c, 0x1f},     {0x85, 0x85}};
    const size_t n_sure = 9, n = sizeof ranges / sizeof *ranges;
    bool fine = true;
    for (size_t i = 0; i < (wide ? n : n_sure); i++)
        fine &= set_add(set, ranges[i][0], ranges[i][1]);
    return fine;
}

/* The set that \d, \w, \s and their opposites stand for; false: LETTER is none of them. */
static bool add_named(struct code_set *set, char letter, bool wide) {
    struct code_set named = {.n = 0};
    const bool opposite = letter == 'D' || letter == 'W' || letter == 'S';
    bool known = true;
    switch (letter) {
    case 'd': case 'D': known = add_digits(&named, wide != opposite); break;
    case 'w': case 'W': known = add_word(&named, wide != opposite); break;
    case 's': case 'S': known = add_space(&named, wide != opposite); break;
    default: return false;
    }
    known &= set_finish(&named, opposite);
    for (size_t i = 0; i < named.n; i++) known &= set_add(set, named.lo[i], named.hi[i]);
    return known;
}

static bool read_hex(struct regex *r, int n, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < n; i++, r->p++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *const at = r->p < r->end && *r->p ? strchr(digits, *r->p) : NULL;
        if (!at) return refuse(r, "has an escape without its digits");
        const uint32_t digit = (uint32_t)(at - digits);
        *code = *code << 4 | (digit > 15 ? digit - 6 : digit);
    }
    if (*code >= 0xd800 && *code <= 0xdfff) return refuse(r, "names a surrogate");
    return true;
}

/* What follows a backslash and is one character. */
static bool read_escape(struct regex *r, uint32_t *code) {
    static const char names[] = "nrtfv", meant[] = "\n\r\t\f\v";
    const char c = r->p < r->end ? *r->p++ : '\0';
    const char *const known = c ? strchr(names, c) : NULL;
    if (known) *code = (uint8_t)meant[known - names];
    if (known) return true;
    if (c == 'x' || c == 'u') return read_hex(r, c == 'x' ? 2 : 4, code);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == '\0' || letter || (uint8_t)c >= 0x80)
        return refuse(r, "has an escape that is not supported");
    *code = (uint8_t)c;
    return true;
}

/* One character, *CODE, or a named set: as WIDE as it may be where a class leaves it out. */
static bool read_atom(struct regex *r, bool wide, struct code_set *set, uint32_t *code,
                      bool *single) {
    *single = true;
    if (take(r, "\\")) {
        *single = !(r->p < r->end && add_named(set, *r->p, wide));
        if (!*single) r->p++;
        if (!*single) return true;
        return read_escape(r, code);
    }
    *code = next_code(&r->p);
    return true;
}

static bool read_class(struct regex *r, struct code_set *set) {
    const bool negated = take(r, "^");
    while (!looks_at(r, ']')) {
        uint32_t lo, hi;
        bool single;
        if (r->p >= r->end) return refuse(r, "has a class without its closing bracket");
        if (!read_atom(r, negated, set, &lo, &single)) return false;
        if (!single) continue;
        hi = lo;
        if (looks_at(r, '-') && r->p + 1 < r->end && r->p[1] != ']') {
            r->p++;
            if (!read_atom(r, negated, set, &hi, &single)) return false;
            if (!single || hi < lo) return refuse(r, "has a range that is none");
        }
        if (!set_add(set, lo, hi)) return refuse(r, "has a class of too many ranges");
    }
    r->p++;
    return set_finish(set, negated) || refuse(r, "has a class of too many ranges");
}

static bool write_character(struct regex *r) {
    struct code_set set = {.n = 0};
    uint32_t code = 0;
    bool single;
    if (take(r, "[")) return read_class(r, &set) && put_set(r->s, &set);
    if (take(r, ".")) {
        set_add(&set, '\n', '\n');
        set_add(&set, '\r', '\r');
        set_add(&set, 0x2028, 0x2029);
        set_finish(&set, true);
        return put_set(r->s, &set);
    }
    if (!read_atom(r, false, &set, &code, &single)) return false;
    if (single) set_add(&set, code, code);
    set_finish(&set, false);
    return put_set(r->s, &set);
}

/* ---- Structure ------------------------------------------------------------------------------- */

static bool write_alternatives(struct regex *r, bool top);

static bool write_group(struct regex *r) {
    if (++r->depth > MAX_PATTERN_NESTING) return refuse(r, "nests too deep");
    if (take(r, "?") && !take(r, ":")) return refuse(r, "looks around, which is not supported");
    put(r->s, "(");
    if (!write_alternatives(r, false)) return false;
    if (!take(r, ")")) return refuse(r, "has a group without its closing parenthesis");
    r->depth--;
    return put(r->s, ")");
}

static size_t read_count(struct regex *r) {
    size_t n = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && n < 1000000)
        n = 10 * n + (size_t)(*r->p++ - '0');
    return n;
}

static bool write_repeat(struct regex *r) {
    if (take(r, "{")) {
        const char *const before = r->p;
        const size_t min = read_count(r);
        const bool any = r->p > before, open = take(r, ",");
        const bool endless = open && looks_at(r, '}');
        const size_t max = !open ? min : endless ? 0 : read_count(r);
        if (!any || !take(r, "}")) return refuse(r, "has a brace that is no repetition");
        if (endless)
            putf(r->s, "{%zu,}", min);
        else
            putf(r->s, "{%zu,%zu}", min, max);
    } else if (r->p < r->end && strchr("*+?", *r->p) && *r->p) {
        putf(r->s, "%c", *r->p++);
    } else {
        return put(r->s, " ");
    }
    take(r, "?"); // as few as possible: the same strings
    if (r->p < r->end && *r->p && strchr("*+?{", *r->p))
        return refuse(r, "repeats a repetition");
    return put(r->s, " ");
}

static bool write_sequence(struct regex *r, bool top) {
    const bool anchored = top && take(r, "^");
    bool ended = false;
    put(r->s, top && !anchored ? "c* " : "\"\" ");
    while (r->p < r->end && !looks_at(r, '|') && !looks_at(r, ')') && r->s->status == OCTET_OK) {
        if (looks_at(r, '^') || ended) return refuse(r, "is anchored in the middle");
        if (take(r, "$")) {
            if (!top) return refuse(r, "is anchored in the middle");
            ended = true;
            continue;
        }
        if (strchr("*+?{", *r->p) && *r->p) return refuse(r, "repeats nothing");
        if (!(take(r, "(") ? write_group(r) : write_character(r))) return false;
        if (!write_repeat(r)) return false;
    }
    return put(r->s, top && !ended ? "c* " : "");
}

static bool write_alternatives(struct regex *r, bool top) {
    do {
        if (!write_sequence(r, top)) return false;
    } while (take(r, "|") && put(r->s, "| "));
    return r->s->status == OCTET_OK;
}

bool schema_write_pattern(struct schema *s, const char *pattern, size_t n, uint32_t path) {
    struct regex r = {.s = s, .p = pattern, .end = pattern + n, .path = path};
    put(s, "\"\\\"\" (");
    if (!write_alternatives(&r, true)) return false;
    if (r.p < r.end) return refuse(&r, "has a parenthesis that closes nothing");
    return put(s, ") \"\\\"\"");
}

/* ---- Formats --------------------------------------------------------------------------------- */

#define DAYS                                                                                       \
    "((\"01\" | \"03\" | \"05\" | \"07\" | \"08\" | \"10\" | \"12\") \"-\" (\"0\" [1-9] | [12] "   \
    "[0-9] | \"3\" [01]) | (\"04\" | \"06\" | \"09\" | \"11\") \"-\" (\"0\" [1-9] | [12] [0-9] | " \
    "\"30\") | \"02-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8]))"
/* Not year 0, which calendars disagree about, and no 29th of February. */
#define DATE                                                                                       \
    "([1-9] [0-9]{3} | \"0\" ([1-9] [0-9]{2} | \"0\" ([1-9] [0-9] | \"0\" [1-9]))) \"-\" " DAYS
#define HOUR "([01] [0-9] | \"2\" [0-3])"
#define TIME HOUR " \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,6})? "                      \
             "(\"Z\" | [+-] " HOUR " \":\" [0-5] [0-9])"
#define OCTETS "(\"25\" [0-5] | \"2\" [0-4] [0-9] | \"1\" [0-9] [0-9] | [1-9]? [0-9])"
#define LABEL "[a-zA-Z0-9] ([a-zA-Z0-9-]{0,28} [a-zA-Z0-9])?"
#define HOST LABEL " (\".\" " LABEL "){0,6}"
#define HEX "[0-9a-fA-F]"

bool schema_write_format(struct schema *s, const char *format, uint32_t path) {
    static const struct {
        const char *name, *body;
    } known[] = {
        {"date", DATE},
        {"time", TIME},
        {"date-time", DATE " \"T\" " TIME},
        {"duration", "\"P\" ([0-9]{1,6} \"W\" | [0-9]{1,6} \"D\" (\"T\" [0-9]{1,6} \"H\")? | \"T\" "
                     "[0-9]{1,6} [HMS])"},
        {"uuid", HEX "{8} \"-\" " HEX "{4} \"-\" " HEX "{4} \"-\" " HEX "{4} \"-\" " HEX "{12}"},
        {"email", "[a-zA-Z0-9_] ([a-zA-Z0-9_+-]{0,30} (\".\" [a-zA-Z0-9_+-]{1,30})?) \"@\" " LABEL
                  " (\".\" " LABEL "){1,6}"},
        {"hostname", HOST},
        {"ipv4", OCTETS " (\".\" " OCTETS "){3}"},
        {"ipv6", HEX "{1,4} (\":\" " HEX "{1,4}){7}"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, format) == 0)
            return put(s, "\"\\\"\" ") && put(s, known[i].body) && put(s, " \"\\\"\"");
    return schema_refuse(s, path, "format", "'%.40s' is not supported", format);
}
