/* Growing byte strings. */
#ifndef OCTET_BASE_BUFFER_H
#define OCTET_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Zero it first, buffer_free it last. */
struct buffer {
    char *bytes; // NUL-terminated once anything was appended, be it 0 bytes
    size_t n, cap;
};

bool buffer_append(struct buffer *buffer, const char *bytes, size_t n_bytes); // false: no memory
bool buffer_append_text(struct buffer *buffer, const char *text);             // the same
void buffer_clear(struct buffer *buffer);                                     // keeps the memory
void buffer_free(struct buffer *buffer);

#endif
