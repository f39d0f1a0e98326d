/* Tokens of chat templates. White space around tags is cut here, by the rules that published
 * templates are written for: a newline after a tag goes, so do blanks between the line's start and
 * a tag, and a minus takes all white space on its side. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_impl.h"

void parse_fail(struct parser *p, const char *fmt, ...) {
    if (p->status) return;
    char message[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    p->status = octet_fail(p->err, OCTET_EFORMAT, "chat template, line %u: %s", p->token.line,
                           message);
    p->token.kind = LEX_END;
    p->has_ahead = false;
}

void *parse_alloc(struct parser *p, size_t n_bytes) {
    void *block = p->status ? NULL : arena_alloc(&p->t->arena, n_bytes);
    if (!block && !p->status) p->status = octet_fail_memory(p->err, "a chat template", n_bytes);
    if (!block) p->token.kind = LEX_END;
    return block;
}

struct value parse_string(struct parser *p, const char *bytes, size_t n) {
    static const struct str empty = {"", 0, NULL, false};
    struct str *s = parse_alloc(p, sizeof *s);
    if (s) *s = (struct str){bytes, n, NULL, false};
    return (struct value){.kind = V_STRING, .string = s ? s : &empty};
}

const char *parse_describe(const struct parser *p, char buffer[64]) {
    const struct token *t = &p->token;
    switch (t->kind) {
    case LEX_END: return "the end of the template";
    case LEX_PRINT_END: return "}}";
    case LEX_TAG_END: return "%}";
    case LEX_DATA: return "text";
    default: snprintf(buffer, 64, "%.*s", (int)(t->n < 40 ? t->n : 40), t->p);
    }
    return buffer;
}

/* ---- Text between tags ----------------------------------------------------------------------- */

static bool source_has(const struct parser *p, size_t at, const char *text) {
    size_t n = strlen(text);
    return at <= p->t->n_source && n <= p->t->n_source - at &&
           memcmp(p->t->source + at, text, n) == 0;
}

static size_t skip_space(const struct parser *p, size_t at) {
    const char *s = p->t->source;
    while (at < p->t->n_source && char_is_space(char_at(s + at)))
        at += char_size((unsigned char)s[at]);
    return at;
}

/* Moves to AT, counting lines. */
static void move_to(struct parser *p, size_t at) {
    for (; p->at < at; p->at++) p->line += p->t->source[p->at] == '\n';
}

/* Whether WORD and nothing else stands in the tag that opens at AT; *end: behind it and, with TRIM,
 * behind the newline after it. */
static bool tag_is(const struct parser *p, size_t at, const char *word, bool trim, size_t *end) {
    at += 2;
    if (source_has(p, at, "-") || source_has(p, at, "+")) at++;
    at = skip_space(p, at);
    if (!source_has(p, at, word)) return false;
    at = skip_space(p, at + strlen(word));
    if (source_has(p, at, "-%}")) {
        *end = skip_space(p, at + 3);
        return true;
    }
    if (trim && source_has(p, at, "+%}")) {
        *end = at + 3;
        return true;
    }
    *end = at + 2;
    if (trim && source_has(p, *end, "\n")) ++*end;
    return source_has(p, at, "%}");
}

/* Where the next tag opens; the end of the source if none does. */
static size_t find_tag(const struct parser *p, size_t at, const char *kinds) {
    const char *s = p->t->source;
    for (; at + 1 < p->t->n_source; at++)
        if (s[at] == '{' && s[at + 1] && strchr(kinds, s[at + 1])) return at;
    return p->t->n_source;
}

/* The text from START to the tag at END, without what the tag takes away. */
static void cut_text(struct parser *p, size_t start, size_t end, struct token *token) {
    const char *s = p->t->source;
    size_t cut = end;
    if (source_has(p, end + 2, "-")) {
        struct str text = {s + start, end - start, NULL, false};
        while (text.n > 0) {
            size_t last = text.n - 1;
            while ((text.p[last] & 0xc0) == 0x80) last--;
            if (!char_is_space(char_at(text.p + last))) break;
            text.n = last;
        }
        cut = start + text.n;
    } else if (end < p->t->n_source && !source_has(p, end + 2, "+") && s[end + 1] != '{') {
        size_t line = end;
        while (line > start && s[line - 1] != '\n') line--;
        bool at_line_start = line > start || start == 0 || s[start - 1] == '\n';
        if (at_line_start && skip_space(p, line) >= end) cut = line;
    }
    token->kind = LEX_DATA;
    token->value = parse_string(p, s + start, cut - start);
}

static void skip_comment(struct parser *p) {
    size_t at = p->at + 2;
    if (source_has(p, at, "-") || source_has(p, at, "+")) at++;
    const char *s = p->t->source, *end = memmem(s + at, p->t->n_source - at, "#}", 2);
    if (!end) {
        p->token.line = p->line;
        parse_fail(p, "the comment has no end");
        return;
    }
    size_t close = (size_t)(end - s), after = close + 2;
    if (close > at && s[close - 1] == '-') after = skip_space(p, after);
    else if (!(close > at && s[close - 1] == '+') && source_has(p, after, "\n")) after++;
    move_to(p, after);
}

static void lex_raw(struct parser *p, struct token *token) {
    size_t start = p->at, at = start, end;
    while ((at = find_tag(p, at, "%")) < p->t->n_source && !tag_is(p, at, "endraw", true, &end))
        at++;
    if (at == p->t->n_source) {
        parse_fail(p, "the raw text has no end");
        return;
    }
    cut_text(p, start, at, token);
    move_to(p, end);
    p->mode = IN_DATA;
}

/* False: what stood here gives no token. */
static bool lex_data(struct parser *p, struct token *token) {
    const char *s = p->t->source;
    size_t start = p->at, end = find_tag(p, start, "{%#"), after;
    if (end > start) {
        cut_text(p, start, end, token);
        move_to(p, end);
        return token->value.string->n > 0;
    }
    if (end == p->t->n_source) return true;
    if (s[end + 1] == '#') {
        skip_comment(p);
        return false;
    }
    if (s[end + 1] == '%' && tag_is(p, end, "raw", false, &after)) {
        move_to(p, after);
        p->mode = IN_RAW;
        return false;
    }
    bool print = s[end + 1] == '{';
    token->kind = print ? LEX_PRINT_BEGIN : LEX_TAG_BEGIN;
    p->mode = print ? IN_PRINT : IN_TAG;
    p->at += 2;
    if (source_has(p, p->at, "-") || source_has(p, p->at, "+")) p->at++;
    return true;
}

/* ---- Inside tags ----------------------------------------------------------------------------- */

static bool lex_close(struct parser *p, struct token *token) {
    bool print = p->mode == IN_PRINT;
    const char *close = print ? "}}" : "%}";
    bool minus = source_has(p, p->at, "-"), plus = !print && source_has(p, p->at, "+");
    size_t at = p->at + (minus || plus);
    if (p->n_closing || !source_has(p, at, close)) return false;
    at += 2;
    if (minus) at = skip_space(p, at);
    else if (!plus && !print && source_has(p, at, "\n")) at++;
    move_to(p, at);
    token->kind = print ? LEX_PRINT_END : LEX_TAG_END;
    p->mode = IN_DATA;
    return true;
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return (c | 0x20) - 'a' + 10;
    return 99;
}

/* A code point of up to N digits; *at moves behind them. */
static int32_t escape_code(const char *s, size_t end, size_t *at, int n, int base) {
    int64_t code = 0;
    int i = 0;
    for (; i < n && *at < end && digit_value(s[*at]) < base; i++, ++*at)
        code = code * base + digit_value(s[*at]);
    bool valid = (base == 8 || i == n) && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return valid ? (int32_t)code : -1;
}

/* What the escape whose backslash is at *at - 1 stands for, written to OUT. */
static size_t unescape(struct parser *p, size_t end, size_t *at, char *out) {
    static const char names[] = "abfnrtv\\'\"", meanings[] = "\a\b\f\n\r\t\v\\'\"";
    const char *s = p->t->source;
    char c = s[(*at)++];
    const char *found = c ? strchr(names, c) : NULL;
    if (c == '\n') return 0;
    if (found) {
        *out = meanings[found - names];
        return 1;
    }
    int32_t code = 0;
    if (c == 'x' || c == 'u' || c == 'U')
        code = escape_code(s, end, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    else if (c >= '0' && c <= '7') {
        --*at;
        code = escape_code(s, end, at, 3, 8);
    } else if (c == 'N')
        code = -1;
    else { // not an escape at all
        out[0] = '\\';
        out[1] = c;
        return 2;
    }
    if (code < 0) parse_fail(p, "the escape '\\%c' in a string is not supported", c);
    return code < 0 ? 0 : char_put(out, code);
}

static void lex_string(struct parser *p, struct token *token) {
    const char *s = p->t->source;
    char quote = s[p->at];
    size_t end = p->at + 1;
    while (end < p->t->n_source && s[end] != quote) end += s[end] == '\\' ? 2 : 1;
    if (end >= p->t->n_source) {
        parse_fail(p, "the string has no end");
        return;
    }
    size_t n_source = end - p->at - 1, n = 0;
    token->kind = LEX_TEXT;
    if (!memchr(s + p->at, '\\', end - p->at)) {
        token->value = parse_string(p, s + p->at + 1, n_source);
        move_to(p, end + 1);
        return;
    }
    char *out = parse_alloc(p, n_source); // no escape is shorter than what it stands for
    for (size_t i = p->at + 1; out && i < end && !p->status;) {
        if (s[i] == '\\') {
            i++;
            n += unescape(p, end, &i, out + n);
        } else {
            out[n++] = s[i++];
        }
    }
    if (p->status) return;
    token->value = parse_string(p, out, n);
    move_to(p, end + 1);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits of BASE with single underscores between them, without these in OUT. */
static size_t take_digits(const struct parser *p, size_t at, int base, char *out, size_t *n) {
    const char *s = p->t->source;
    while (at < p->t->n_source) {
        size_t skip = s[at] == '_' && *n ? 1 : 0;
        if (at + skip >= p->t->n_source || digit_value(s[at + skip]) >= base) break;
        if (*n < 60) out[(*n)++] = s[at + skip];
        at += skip + 1;
    }
    return at;
}

/* The fraction and exponent of a number whose digits end at AT; AT itself if it has neither. */
static size_t take_fraction(const struct parser *p, size_t at, char *out, size_t *n) {
    const char *s = p->t->source;
    size_t end = p->t->n_source, start = at;
    if (at + 1 < end && s[at] == '.' && is_digit(s[at + 1])) {
        out[(*n)++] = '.';
        at = take_digits(p, at + 1, 10, out, n);
    }
    size_t digit = at + 1;
    if (digit < end && (s[digit] == '+' || s[digit] == '-')) digit++;
    if (at < end && (s[at] | 0x20) == 'e' && digit < end && is_digit(s[digit])) {
        out[(*n)++] = 'e';
        if (digit == at + 2) out[(*n)++] = s[at + 1];
        at = take_digits(p, digit, 10, out, n);
    }
    return at > start ? at : start;
}

static void lex_number(struct parser *p, struct token *token) {
    const char *s = p->t->source;
    char digits[200] = "";
    size_t n = 0, at = p->at;
    bool prefixed = s[at] == '0' && at + 1 < p->t->n_source && strchr("xXoObB", s[at + 1]);
    int base = !prefixed || !s[at + 1] ? 10 : (s[at + 1] | 0x20) == 'x' ? 16
               : (s[at + 1] | 0x20) == 'o' ? 8 : 2;
    at = take_digits(p, base == 10 ? at : at + 2, base, digits, &n);
    bool after_dot = p->at > 0 && s[p->at - 1] == '.';
    size_t end = base == 10 && !after_dot ? take_fraction(p, at, digits, &n) : at;
    token->kind = LEX_NUMBER;
    errno = 0;
    if (end > at) token->value = value_real(strtod(digits, NULL));
    else token->value = value_int(strtoll(digits, NULL, base));
    if (n >= 60 || (end == at && errno)) parse_fail(p, "the number is too large");
    p->at = end;
}

static bool is_word(const char *p) {
    unsigned char c = (unsigned char)*p;
    return c == '_' || is_digit(*p) || (c | 0x20u) - 'a' < 26u || (c >= 0x80 &&
           char_is_printable(char_at(p)));
}

static void lex_operator(struct parser *p, struct token *token) {
    static const char *const texts[] = {"+", "-", "/", "//", "*", "%", "**", "~", "[", "]",
                                        "(", ")", "{", "}", "==", "!=", ">", ">=", "<", "<=",
                                        "=", ".", ":", "|", ","};
    size_t n = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strlen(texts[i]) <= n || !source_has(p, p->at, texts[i])) continue;
        n = strlen(texts[i]);
        token->op = (enum op)i;
    }
    if (n == 0) {
        parse_fail(p, "unexpected character '%c'", p->t->source[p->at]);
        return;
    }
    token->kind = LEX_OP;
    static const char open[] = "([{", close[] = ")]}";
    char c = p->t->source[p->at];
    const char *opening = strchr(open, c);
    if (opening && p->n_closing == sizeof p->closing) parse_fail(p, "nested too deeply");
    else if (opening) p->closing[p->n_closing++] = close[opening - open];
    else if (strchr(close, c) && (!p->n_closing || p->closing[--p->n_closing] != c))
        parse_fail(p, "unexpected '%c'", c);
    p->at += n;
}

static void lex_code(struct parser *p, struct token *token) {
    const char *s = p->t->source;
    move_to(p, skip_space(p, p->at));
    token->line = p->line;
    token->p = s + p->at;
    if (p->at == p->t->n_source || lex_close(p, token)) return;
    if (s[p->at] == '"' || s[p->at] == '\'') {
        lex_string(p, token);
    } else if (is_digit(s[p->at])) {
        lex_number(p, token);
    } else if (is_word(s + p->at)) {
        token->kind = LEX_NAME;
        while (p->at < p->t->n_source && is_word(s + p->at))
            p->at += char_size((unsigned char)s[p->at]);
    } else {
        lex_operator(p, token);
    }
    token->n = (size_t)(s + p->at - token->p);
}

void parse_lex(struct parser *p, struct token *token) {
    for (bool done = false; !done && !p->status;) {
        *token = (struct token){LEX_END, OP_NONE, p->line, "", 0, {.kind = V_NONE}};
        done = true;
        if (p->mode == IN_DATA) done = lex_data(p, token);
        else if (p->mode == IN_RAW) lex_raw(p, token);
        else lex_code(p, token);
    }
    if (p->status) token->kind = LEX_END;
}

void parse_advance(struct parser *p) {
    if (p->status) return;
    if (p->has_ahead) p->token = p->ahead;
    else {
        struct token token;
        p->token.line = p->line; // of a failure
        parse_lex(p, &token);
        p->token = token;
    }
    p->has_ahead = false;
}

const struct token *parse_look(struct parser *p) {
    if (!p->has_ahead && !p->status) {
        parse_lex(p, &p->ahead);
        p->has_ahead = true;
    }
    return p->has_ahead && !p->status ? &p->ahead : &p->token;
}
