/* See docs.h. */
#include "lsp/docs.h"

#include <string.h>

#include "base/mem.h"

/* ---- Positions ------------------------------------------------------------------------------- */

static bool continues(char c) { return ((unsigned char)c & 0xC0) == 0x80; }

/* Where the line that holds AT ends, before its \r or \n. */
static size_t line_end(const struct buffer *text, size_t at) {
    while (at < text->n && text->bytes[at] != '\n' && text->bytes[at] != '\r') at++;
    return at;
}

/* Past the line's end at AT; the text's end has none. */
static size_t past_end(const struct buffer *text, size_t at) {
    if (at < text->n && text->bytes[at] == '\r') {
        at++;
        return at + (at < text->n && text->bytes[at] == '\n');
    }
    return at + (at < text->n);
}

/* Units of the character at AT, and its bytes. */
static size_t units_at(const struct buffer *text, size_t at, size_t end, enum units units,
                       size_t *n_bytes) {
    size_t n = 1;
    while (at + n < end && continues(text->bytes[at + n])) n++;
    *n_bytes = n;
    return units == UNITS_UTF8 ? n : (unsigned char)text->bytes[at] >= 0xF0 ? 2 : 1;
}

size_t docs_at(const struct docs *docs, const struct doc *doc, struct position position) {
    const struct buffer *const text = &doc->text;
    size_t at = 0;
    for (size_t line = 0; line < position.line; line++) {
        const size_t end = line_end(text, at);
        if (end == text->n) return end;
        at = past_end(text, end);
    }
    const size_t end = line_end(text, at);
    size_t left = position.character, n_bytes;
    while (at < end) {
        const size_t n = units_at(text, at, end, docs->units, &n_bytes);
        if (n > left) break;
        left -= n;
        at += n_bytes;
    }
    return at;
}

struct position docs_position(const struct docs *docs, const struct doc *doc, size_t at) {
    const struct buffer *const text = &doc->text;
    struct position position = {0, 0};
    size_t begin = 0, n_bytes;
    for (;;) {
        const size_t end = line_end(text, begin);
        if (at <= end || end == text->n) break;
        const size_t next = past_end(text, end);
        if (at < next) at = end; // between \r and \n
        if (at <= end) break;
        begin = next;
        position.line++;
    }
    while (begin < at) {
        position.character += units_at(text, begin, at, docs->units, &n_bytes);
        begin += n_bytes;
    }
    return position;
}

/* ---- The documents --------------------------------------------------------------------------- */

static void free_doc(struct doc *doc) {
    mem_free(doc->uri);
    mem_free(doc->language);
    buffer_free(&doc->text);
    mem_free(doc);
}

void docs_free(struct docs *docs) {
    while (docs->first) docs_close(docs, docs->first);
}

struct doc *docs_find(const struct docs *docs, const char *uri) {
    struct doc *doc = docs->first;
    while (doc && strcmp(doc->uri, uri) != 0) doc = doc->next;
    return doc;
}

static void unlink_doc(struct docs *docs, struct doc *doc) {
    struct doc **link = &docs->first;
    while (*link != doc) link = &(*link)->next;
    *link = doc->next;
    docs->n--;
}

static void put_first(struct docs *docs, struct doc *doc) {
    doc->next = docs->first;
    docs->first = doc;
    docs->n++;
}

void docs_close(struct docs *docs, struct doc *doc) {
    unlink_doc(docs, doc);
    free_doc(doc);
}

struct doc *docs_open(struct docs *docs, const char *uri, const char *language, const char *text,
                      size_t n_bytes) {
    struct doc *const old = docs_find(docs, uri);
    if (old) docs_close(docs, old);
    struct doc *const doc = mem_alloc(sizeof *doc);
    if (!doc) return NULL;
    doc->uri = mem_strdup(uri, strlen(uri));
    doc->language = mem_strdup(language, strlen(language));
    if (!doc->uri || !doc->language) {
        free_doc(doc);
        return NULL;
    }
    if (docs->n == DOCS_OPEN) {
        struct doc *last = docs->first;
        while (last->next) last = last->next;
        docs_close(docs, last);
    }
    put_first(docs, doc);
    docs_replace(docs, doc, text, n_bytes);
    doc->edited_at = 0;
    return doc;
}

/* ---- Changes --------------------------------------------------------------------------------- */

void docs_lose(struct doc *doc) {
    doc->lost = true;
    buffer_free(&doc->text);
    doc->edited_at = 0;
}

/* The first byte where two texts differ. */
static size_t first_difference(const struct buffer *old, const char *text, size_t n_bytes) {
    const size_t n = old->n < n_bytes ? old->n : n_bytes;
    size_t i = 0;
    while (i < n && old->bytes[i] == text[i]) i++;
    return i;
}

/* Puts TEXT in the place of the bytes from A to B. */
static void splice(struct docs *docs, struct doc *doc, size_t a, size_t b, const char *text,
                   size_t n_bytes) {
    struct buffer *const old = &doc->text;
    const size_t n = old->n - (b - a) + n_bytes; // both are far from overflow
    if (n > DOC_BYTES || !mem_reserve((void **)&old->bytes, &old->cap, n + 1, 1)) {
        docs_lose(doc);
        return;
    }
    memmove(old->bytes + a + n_bytes, old->bytes + b, old->n - b);
    if (n_bytes > 0) memcpy(old->bytes + a, text, n_bytes);
    old->n = n;
    old->bytes[n] = '\0';
    doc->edited_at = a;
    unlink_doc(docs, doc);
    put_first(docs, doc);
}

void docs_replace(struct docs *docs, struct doc *doc, const char *text, size_t n_bytes) {
    const size_t at = first_difference(&doc->text, text, n_bytes);
    doc->lost = false;
    splice(docs, doc, 0, doc->text.n, text, n_bytes);
    if (!doc->lost) doc->edited_at = at;
}

void docs_edit(struct docs *docs, struct doc *doc, const struct range *range, const char *text,
               size_t n_bytes) {
    if (doc->lost) return;
    const size_t a = docs_at(docs, doc, range->start), b = docs_at(docs, doc, range->end);
    splice(docs, doc, a, b > a ? b : a, text, n_bytes);
}
