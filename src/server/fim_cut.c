/* What of a generated text belongs into its hole. See fim.h. */
#include <string.h>

#include "server/fim_cut.h"

/* Lines of fewer bytes repeat too often in code to end a hole unless they are indented alike. */
enum { LONG_LINE = 8, SHORT_LINE = 3 };

static const char openers[] = "([{", closers[] = ")]}";

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* ---- Brackets -------------------------------------------------------------------------------- */

/* Walks over text outside of quotes, which end with their line. */
struct walk {
    char quote; // 0: outside
    bool escaped;
};

/* Whether C, the next byte, stands in the open. */
static bool walk_on(struct walk *walk, char c) {
    const bool escaped = walk->escaped;
    walk->escaped = false;
    if (c == '\n') {
        walk->quote = 0;
    } else if (walk->quote) {
        walk->escaped = c == '\\' && !escaped;
        if (c == walk->quote && !escaped) walk->quote = 0;
        return false;
    } else if (c == '"' || c == '\'') {
        walk->quote = c;
    }
    return !walk->quote;
}

/* The kind of bracket that C is one of SET, -1: none. */
static int kind_in(const char *set, char c) {
    const char *const at = c ? strchr(set, c) : NULL;
    return at ? (int)(at - set) : -1;
}

void fim_count_closable(const char *prefix, const char *suffix, int *closable) {
    struct walk walk = {0, false};
    for (const char *p = prefix; *p; p++) {
        if (!walk_on(&walk, *p)) continue;
        const int opens = kind_in(openers, *p), closes = kind_in(closers, *p);
        if (opens >= 0) closable[opens]++;
        if (closes >= 0 && closable[closes] > 0) closable[closes]--;
    }
    int depth[FIM_N_BRACKETS] = {0};
    for (const char *p = suffix; *p; p++) { // goes on inside of a quote, if the prefix ends there
        if (!walk_on(&walk, *p)) continue;
        const int opens = kind_in(openers, *p), closes = kind_in(closers, *p);
        if (opens >= 0) depth[opens]++;
        if (closes < 0) continue;
        if (depth[closes] > 0)
            depth[closes]--;
        else if (closable[closes] > 0)
            closable[closes]--;
    }
}

/* Where TEXT first closes a bracket that is not its to close; N: nowhere. */
static size_t foreign_closer(const struct hole *hole, const char *text, size_t n) {
    int depth[FIM_N_BRACKETS];
    memcpy(depth, hole->closable, sizeof depth);
    struct walk walk = {0, false};
    for (size_t i = 0; i < n; i++) {
        if (!walk_on(&walk, text[i])) continue;
        const int opens = kind_in(openers, text[i]), closes = kind_in(closers, text[i]);
        if (opens >= 0) depth[opens]++;
        if (closes >= 0 && --depth[closes] < 0) return i;
    }
    return n;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

struct line {
    const char *text;
    size_t n; // blanks at the end not counted
    size_t n_indent; // bytes
};

static struct line line_at(const char *text, size_t n) {
    while (n > 0 && is_blank(text[n - 1])) n--;
    size_t n_indent = 0;
    while (n_indent < n && is_blank(text[n_indent])) n_indent++;
    return (struct line){text, n, n_indent};
}

/* Whether they say the same: short ones indented alike, long ones anyhow. */
static bool lines_match(const struct line *a, const struct line *b) {
    const size_t n_a = a->n - a->n_indent, n_b = b->n - b->n_indent;
    if (n_a != n_b || n_a < SHORT_LINE) return false;
    if (memcmp(a->text + a->n_indent, b->text + b->n_indent, n_a) != 0) return false;
    return n_a >= LONG_LINE || a->n_indent == b->n_indent;
}

/* The first line of TEXT that is not blank; none: n 0. */
static struct line first_line(const char *text) {
    for (;;) {
        const size_t n = strcspn(text, "\n");
        const struct line line = line_at(text, n);
        if (line.n > 0 || text[n] == '\0') return line;
        text += n + 1;
    }
}

/* What comes after the hole: the line that the hole's last one runs into, and the next. */
struct after {
    struct line same, next;
};

static struct after look_after(const char *suffix) {
    const size_t n = strcspn(suffix, "\n");
    return (struct after){line_at(suffix, n), first_line(suffix + n + (suffix[n] == '\n'))};
}

/* In columns. */
static int indent_of(const struct line *line) {
    int indent = 0;
    for (size_t i = 0; i < line->n_indent; i++) indent += line->text[i] == '\t' ? 4 : 1;
    return indent;
}

static int least_indent(const struct hole *hole) {
    if (hole->n_indent >= 0) return hole->n_indent;
    const size_t n_indent = strspn(hole->line, " \t");
    return indent_of(&(struct line){hole->line, n_indent, n_indent});
}

/* Whether LINE no longer belongs to the hole. FIRST: the hole's own line goes on with it. */
static bool ends_hole(const struct hole *hole, const struct line *line, bool first,
                      const struct after *after) {
    if (line->n == 0) return false;
    if (first && hole->line[strspn(hole->line, " \t")]) return false;
    if (lines_match(line, &after->same) || lines_match(line, &after->next)) return true;
    return !first && indent_of(line) < least_indent(hole);
}

/* ---- The end of the text --------------------------------------------------------------------- */

static size_t count_char(const char *text, size_t n, char c) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += text[i] == c;
    return count;
}

/* Whether K bytes that end TEXT and begin SUFFIX are there once too often. */
static bool is_repeated(const struct hole *hole, const char *text, size_t n, size_t k) {
    const char *const suffix = hole->suffix;
    size_t n_blank = 0;
    while (n_blank < k && (is_blank(suffix[n_blank]) || suffix[n_blank] == '\n')) n_blank++;
    if (n_blank == k || k - n_blank >= 4) return true;
    const char c = suffix[n_blank];
    if (c == '"' || c == '\'')
        return count_char(hole->line, strlen(hole->line), c) % 2 == 1 &&
               count_char(text, n, c) % 2 == 1;
    const size_t n_line = strcspn(suffix, "\n");
    return k == line_at(suffix, n_line).n && strspn(suffix, ";,:") >= k;
}

/* Bytes of TEXT that an overlap with the suffix can have: within a line of either. */
static size_t most_overlap(const struct hole *hole, size_t n) {
    const size_t n_gap = strspn(hole->suffix, " \t\r\n");
    const size_t n_line = strcspn(hole->suffix, "\n");
    const size_t k = n_line > n_gap ? n_line : n_gap;
    return k < n ? k : n;
}

/* Bytes that end TEXT and begin the suffix. */
static size_t overlap(const struct hole *hole, const char *text, size_t n) {
    for (size_t k = most_overlap(hole, n); k > 0; k--)
        if (memcmp(text + n - k, hole->suffix, k) == 0 && is_repeated(hole, text, n, k)) return k;
    return 0;
}

/* N without what does not belong before the suffix. TRIM: newlines at the end are no part of the
 * answer, but the one that ends the last of whole lines. */
static size_t trim_end(const struct hole *hole, const char *text, size_t n, bool trim) {
    while (trim && n > 0 && (is_blank(text[n - 1]) || (text[n - 1] == '\n' && !hole->whole_lines)))
        n--;
    return n - overlap(hole, text, n);
}

/* ---- Text that goes on ----------------------------------------------------------------------- */

static bool begins_like(const struct line *line, const struct line *whole) {
    const size_t n = line->n - line->n_indent;
    return n <= whole->n - whole->n_indent &&
           memcmp(line->text + line->n_indent, whole->text + whole->n_indent, n) == 0;
}

/* Whether the line that begins with LINE may come to end the hole. */
static bool may_end_hole(const struct hole *hole, const struct line *line, bool first,
                         const struct after *after) {
    if (first && hole->line[strspn(hole->line, " \t")]) return false;
    if (line->n == 0 || (!first && indent_of(line) < least_indent(hole))) return true;
    return begins_like(line, &after->same) || begins_like(line, &after->next);
}

/* N without what may be cut from its end, now or once the text has gone on: blanks and newlines,
 * and what the suffix begins with as far as it has come. */
static size_t settled(const struct hole *hole, const char *text, size_t n) {
    size_t least = n;
    for (size_t end = n;; end--) {
        size_t k = most_overlap(hole, end);
        while (k > 0 && memcmp(text + end - k, hole->suffix, k) != 0) k--;
        if (end - k < least) least = end - k;
        if (end == 0 || (!is_blank(text[end - 1]) && text[end - 1] != '\n')) return least;
    }
}

/* ---- All of it ------------------------------------------------------------------------------- */

size_t fim_skip(const struct hole *hole, const char *text, size_t n_bytes) {
    size_t n = 0;
    while (n < n_bytes && n < hole->n_blanks && (text[n] == ' ' || text[n] == '\t')) n++;
    return n;
}

size_t fim_cut(const struct hole *hole, const char *text, size_t n_bytes, bool complete,
               bool *over) {
    const struct after after = look_after(hole->suffix);
    const size_t n_own = foreign_closer(hole, text, n_bytes);
    if (n_own < n_bytes) *over = complete = true;
    size_t at = 0; // the line at hand
    while (at < n_own) {
        const char *const newline = memchr(text + at, '\n', n_own - at);
        const size_t n = newline ? (size_t)(newline - text) - at : n_own - at;
        if (!newline && !complete) break;
        const struct line line = line_at(text + at, n);
        if (ends_hole(hole, &line, at == 0, &after)) {
            *over = true;
            return trim_end(hole, text, at, true);
        }
        at += n + (newline != NULL);
    }
    if (!complete) {
        const struct line begun = line_at(text + at, n_own - at);
        return settled(hole, text, may_end_hole(hole, &begun, at == 0, &after) ? at : n_own);
    }
    return trim_end(hole, text, n_own, *over || hole->method != FIM_TRAINED);
}

void fim_keep(const struct hole *hole, struct buffer *text) {
    bool over = false;
    if (text->n == 0) return;
    const size_t n = fim_cut(hole, text->bytes, text->n, true, &over);
    const size_t n_skipped = fim_skip(hole, text->bytes, n);
    memmove(text->bytes, text->bytes + n_skipped, n - n_skipped);
    text->n = n - n_skipped;
    text->bytes[text->n] = '\0';
}
