/* See buffer.h. */
#include "base/buffer.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

bool buffer_append(struct buffer *buffer, const char *bytes, size_t n_bytes) {
    if (n_bytes >= SIZE_MAX - buffer->n ||
        !mem_reserve((void **)&buffer->bytes, &buffer->cap, buffer->n + n_bytes + 1, 1)) {
        return false;
    }
    if (n_bytes > 0) memcpy(buffer->bytes + buffer->n, bytes, n_bytes);
    buffer->n += n_bytes;
    buffer->bytes[buffer->n] = '\0';
    return true;
}

bool buffer_append_text(struct buffer *buffer, const char *text) {
    return buffer_append(buffer, text, strlen(text));
}

void buffer_clear(struct buffer *buffer) {
    buffer->n = 0;
    if (buffer->bytes) buffer->bytes[0] = '\0';
}

void buffer_free(struct buffer *buffer) {
    mem_free(buffer->bytes);
    *buffer = (struct buffer){NULL, 0, 0};
}
