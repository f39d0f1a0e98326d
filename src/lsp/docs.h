/* The documents that an editor has open: their texts, kept in step with the editor's by its edits,
 * and positions in them. */
#ifndef OCTET_LSP_DOCS_H
#define OCTET_LSP_DOCS_H

#include <stdint.h>

#include "base/buffer.h"

enum { DOC_BYTES = 16 << 20, DOCS_OPEN = 4096 }; // most of one text; most of them

/* What a position counts within a line. */
enum units { UNITS_UTF16, UNITS_UTF8 };

struct position {
    size_t line, character;
};
struct range {
    struct position start, end;
};

struct doc {
    char *uri, *language;
    struct buffer text; // UTF-8
    bool lost;          // the text is not known until the editor sends all of it
    size_t edited_at;   // byte where it was changed last
    struct doc *next;   // changed before this one
};

/* Zero it first, docs_free it last. */
struct docs {
    struct doc *first; // changed last
    size_t n;
    enum units units;
};

void docs_free(struct docs *docs);
/* A text opened, or opened again. NULL: out of memory. */
struct doc *docs_open(struct docs *docs, const char *uri, const char *language, const char *text,
                      size_t n_bytes);
struct doc *docs_find(const struct docs *docs, const char *uri); // NULL: not open
void docs_close(struct docs *docs, struct doc *doc);

/* Changes; a text that grows too long, or for lack of memory, is lost. */
void docs_replace(struct docs *docs, struct doc *doc, const char *text, size_t n_bytes);
void docs_edit(struct docs *docs, struct doc *doc, const struct range *range, const char *text,
               size_t n_bytes);
void docs_lose(struct doc *doc);

/* The byte at a position: lines end with \n, \r\n or \r; beyond a line's end is its end, beyond the
 * last line is the text's, and within a character is before it. */
size_t docs_at(const struct docs *docs, const struct doc *doc, struct position position);
struct position docs_position(const struct docs *docs, const struct doc *doc, size_t at);

#endif
