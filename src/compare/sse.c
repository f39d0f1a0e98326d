/* See sse.h. */
#include "compare/sse.h"

#include <string.h>

static enum sse_outcome keep(struct buffer *buffer, const char *bytes, size_t n_bytes) {
    if (n_bytes > SSE_EVENT_BYTES - buffer->n) return SSE_TOO_LARGE;
    return buffer_append(buffer, bytes, n_bytes) ? SSE_OK : SSE_NO_MEMORY;
}

static enum sse_outcome dispatch(struct sse *sse) {
    bool open = true;
    if (sse->has_data) {
        const char *const type = sse->type.n > 0 ? sse->type.bytes : "message";
        open = sse->fn(sse->user, type, sse->data.bytes, sse->data.n);
    }
    sse->has_data = false;
    buffer_clear(&sse->data);
    buffer_clear(&sse->type);
    return open ? SSE_OK : SSE_STOPPED;
}

/* Whether LINE is the field NAME; *VALUE is what follows the colon and one space. */
static bool is_field(const struct buffer *line, const char *name, const char **value) {
    const size_t n_name = strlen(name);
    if (line->n < n_name || memcmp(line->bytes, name, n_name) != 0) return false;
    *value = line->bytes + n_name;
    if (line->n == n_name) return true;
    if (**value != ':') return false;
    *value += 1;
    *value += **value == ' ';
    return true;
}

static enum sse_outcome end_line(struct sse *sse) {
    struct buffer *const line = &sse->line;
    enum sse_outcome outcome = SSE_OK;
    const char *value;
    if (line->n == 0) {
        outcome = dispatch(sse);
    } else if (is_field(line, "data", &value)) {
        if (sse->has_data) outcome = keep(&sse->data, "\n", 1);
        sse->has_data = true;
        const size_t n_value = line->n - (size_t)(value - line->bytes);
        if (outcome == SSE_OK) outcome = keep(&sse->data, value, n_value);
    } else if (is_field(line, "event", &value)) {
        buffer_clear(&sse->type);
        outcome = keep(&sse->type, value, line->n - (size_t)(value - line->bytes));
    } // comments, id and retry say nothing about the answer
    buffer_clear(line);
    return outcome;
}

/* Drops what may precede the first byte that counts, and decides what the body is by that. */
static size_t skip_start(struct sse *sse, const char *bytes, size_t n_bytes) {
    size_t i = 0;
    while (i < n_bytes && (memchr("\r\n\t \xef\xbb\xbf", bytes[i], 7) != NULL)) i++;
    if (i < n_bytes) sse->mode = bytes[i] == '{' || bytes[i] == '[' ? SSE_DOCUMENT : SSE_LINES;
    return i;
}

static enum sse_outcome push_lines(struct sse *sse, const char *bytes, size_t n_bytes) {
    const char *const end = bytes + n_bytes;
    enum sse_outcome outcome = SSE_OK;
    while (bytes < end && outcome == SSE_OK) {
        if (sse->after_cr && *bytes == '\n') bytes++;
        sse->after_cr = false;
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r') stop++;
        outcome = keep(&sse->line, bytes, (size_t)(stop - bytes));
        if (stop == end || outcome != SSE_OK) break;
        sse->after_cr = *stop == '\r';
        outcome = end_line(sse);
        bytes = stop + 1;
    }
    return outcome;
}

enum sse_outcome sse_push(struct sse *sse, const char *bytes, size_t n_bytes) {
    if (sse->mode == SSE_UNDECIDED) {
        const size_t n_skipped = skip_start(sse, bytes, n_bytes);
        bytes += n_skipped;
        n_bytes -= n_skipped;
    }
    if (n_bytes == 0) return SSE_OK;
    if (sse->mode == SSE_LINES) return push_lines(sse, bytes, n_bytes);
    sse->has_data = true;
    return keep(&sse->data, bytes, n_bytes);
}

enum sse_outcome sse_finish(struct sse *sse) {
    const enum sse_outcome outcome = sse->line.n > 0 ? end_line(sse) : SSE_OK;
    return outcome == SSE_OK ? dispatch(sse) : outcome;
}

void sse_free(struct sse *sse) {
    buffer_free(&sse->line);
    buffer_free(&sse->data);
    buffer_free(&sse->type);
}
