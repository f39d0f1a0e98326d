/* Text of unknown origin, made harmless and honest: what can not be seen, or changes how its
 * surroundings are seen (control characters, escape codes, bidirectional and zero-width marks), is
 * told apart from what can. */
#ifndef OCTET_COMPARE_VISIBLE_H
#define OCTET_COMPARE_VISIBLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* Bytes of the character that BYTES (n_bytes > 0) begin with, and its code; a byte that begins none
 * is one character of code -1. */
size_t visible_next(const char *bytes, size_t n_bytes, int32_t *code);
/* Whether a character has to be shown by name. Newlines and tabs are: callers let pass what their
 * page can hold. */
bool visible_is_hidden(int32_t code);

/* Appends one line for a terminal: hidden characters as <U+001B>, other bytes as <0xFF>. False: out
 * of memory. */
bool visible_line(struct buffer *out, const char *bytes, size_t n_bytes);
size_t visible_columns(const char *text); // that the line takes

/* Where bytes moved when text became UTF-8; zero it first, visible_moves_free it last. */
struct visible_moves {
    size_t *replaced; // (n) offsets of bytes that became the 3 bytes of U+FFFD
    size_t n, cap;
};
/* A JSON string; bytes that are no UTF-8 become U+FFFD. MOVES may be NULL. NULL: out of memory. */
json_t *visible_json(const char *bytes, size_t n_bytes, struct visible_moves *moves);
/* Where the byte at OFFSET of the text is now. */
size_t visible_moved(const struct visible_moves *moves, size_t offset);
void visible_moves_free(struct visible_moves *moves);

#endif
