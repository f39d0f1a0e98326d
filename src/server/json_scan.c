/* See json_scan.h. */
#include "server/json_scan.h"

#include <ctype.h>
#include <string.h>

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool go_to(struct json_scan *s, enum json_expects next) {
    s->expects = next;
    return true;
}

static bool end_value(struct json_scan *s) {
    return go_to(s, s->depth > 0 ? SCAN_MORE : SCAN_NOTHING);
}

/* ---- Brackets -------------------------------------------------------------------------------- */

static bool in_object(const struct json_scan *s) {
    return s->depth > 0 && (s->objects[(s->depth - 1) / 64] >> (s->depth - 1) % 64 & 1);
}

static bool open_bracket(struct json_scan *s, bool object) {
    if (s->depth == JSON_SCAN_DEPTH) return false;
    uint64_t *const word = &s->objects[s->depth / 64];
    const uint64_t bit = UINT64_C(1) << s->depth % 64;
    *word = object ? *word | bit : *word & ~bit;
    s->depth++;
    return go_to(s, object ? SCAN_FIRST_KEY : SCAN_FIRST_ITEM);
}

static bool close_bracket(struct json_scan *s, char c) {
    if (s->depth == 0 || c != (in_object(s) ? '}' : ']')) return false;
    s->depth--;
    return end_value(s);
}

static bool take_comma_or_end(struct json_scan *s, char c) {
    if (c == ',') return go_to(s, in_object(s) ? SCAN_KEY : SCAN_VALUE);
    return close_bracket(s, c);
}

/* ---- Strings --------------------------------------------------------------------------------- */

static bool begin_string(struct json_scan *s, bool key) {
    s->in_key = key;
    s->wants_low = false;
    return go_to(s, SCAN_STRING);
}

static bool take_of_string(struct json_scan *s, char c) {
    if (c == '\\') return go_to(s, SCAN_ESCAPE);
    if (c != '"') return (unsigned char)c >= 0x20;
    return s->in_key ? go_to(s, SCAN_COLON) : end_value(s);
}

static bool begin_hex(struct json_scan *s) {
    s->code = s->n_hex = 0;
    return go_to(s, SCAN_HEX);
}

static bool take_escape(struct json_scan *s, char c) {
    if (c == 'u') return begin_hex(s);
    return c != '\0' && strchr("\"\\/bfnrt", c) && go_to(s, SCAN_STRING);
}

/* Surrogates come in pairs; and no text has NUL in it. */
static bool take_hex(struct json_scan *s, char c) {
    if (!isxdigit((unsigned char)c)) return false;
    const int digit = is_digit(c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
    s->code = s->code * 16 + (unsigned)digit;
    if (++s->n_hex < 4) return true;
    const bool high = s->code >= 0xD800 && s->code < 0xDC00;
    const bool low = s->code >= 0xDC00 && s->code < 0xE000;
    if (s->code == 0 || low != s->wants_low) return false;
    s->wants_low = high;
    return go_to(s, high ? SCAN_LOW : SCAN_STRING);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool begin_literal(struct json_scan *s, const char *rest) {
    s->literal = rest;
    return go_to(s, SCAN_LITERAL);
}

static bool take_literal(struct json_scan *s, char c) {
    if (c != *s->literal) return false;
    return *++s->literal ? true : end_value(s);
}

static bool begin_value(struct json_scan *s, char c) {
    switch (c) {
    case '{': return open_bracket(s, true);
    case '[': return open_bracket(s, false);
    case '"': return begin_string(s, false);
    case 't': return begin_literal(s, "rue");
    case 'f': return begin_literal(s, "alse");
    case 'n': return begin_literal(s, "ull");
    case '-': return go_to(s, SCAN_MINUS);
    case '0': return go_to(s, SCAN_ZERO);
    default: return is_digit(c) && go_to(s, SCAN_DIGITS);
    }
}

/* What follows a complete number ends it. */
static bool end_number(struct json_scan *s, char c) {
    if (s->depth == 0) return false;
    end_value(s);
    return is_space(c) || take_comma_or_end(s, c);
}

static bool take_of_number(struct json_scan *s, char c) {
    const bool e = c == 'e' || c == 'E';
    switch (s->expects) {
    case SCAN_MINUS: return c == '0' ? go_to(s, SCAN_ZERO) : is_digit(c) && go_to(s, SCAN_DIGITS);
    case SCAN_DIGITS:
        if (is_digit(c)) return true;
        // fall through
    case SCAN_ZERO:
        if (c == '.') return go_to(s, SCAN_POINT);
        return e ? go_to(s, SCAN_EXPONENT) : end_number(s, c);
    case SCAN_POINT: return is_digit(c) && go_to(s, SCAN_FRACTION);
    case SCAN_FRACTION:
        if (is_digit(c)) return true;
        return e ? go_to(s, SCAN_EXPONENT) : end_number(s, c);
    case SCAN_EXPONENT:
        if (c == '+' || c == '-') return go_to(s, SCAN_SIGN);
        // fall through
    case SCAN_SIGN: return is_digit(c) && go_to(s, SCAN_EXPONENT_DIGITS);
    default: return is_digit(c) || end_number(s, c);
    }
}

bool json_scan_push(struct json_scan *s, char c) {
    switch (s->expects) {
    case SCAN_STRING: return take_of_string(s, c);
    case SCAN_ESCAPE: return take_escape(s, c);
    case SCAN_HEX: return take_hex(s, c);
    case SCAN_LOW: return c == '\\' && go_to(s, SCAN_LOW_U);
    case SCAN_LOW_U: return c == 'u' && begin_hex(s);
    case SCAN_LITERAL: return take_literal(s, c);
    default: break;
    }
    if (s->expects >= SCAN_MINUS && s->expects < SCAN_NOTHING) return take_of_number(s, c);
    if (is_space(c)) return true;
    switch (s->expects) {
    case SCAN_VALUE: return begin_value(s, c);
    case SCAN_FIRST_ITEM: return c == ']' ? close_bracket(s, c) : begin_value(s, c);
    case SCAN_FIRST_KEY:
        if (c == '}') return close_bracket(s, c);
        // fall through
    case SCAN_KEY: return c == '"' && begin_string(s, true);
    case SCAN_COLON: return c == ':' && go_to(s, SCAN_VALUE);
    case SCAN_MORE: return take_comma_or_end(s, c);
    default: return false;
    }
}
