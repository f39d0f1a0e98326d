/* See frames.h. */
#include "lsp/frames.h"

#include <string.h>
#include <strings.h>

bool frames_push(struct frames *f, const char *bytes, size_t n_bytes) {
    const size_t n_passed = n_bytes < f->n_skip ? n_bytes : f->n_skip;
    f->n_skip -= n_passed;
    if (f->at > 0) { // what is done with makes room
        memmove(f->in.bytes, f->in.bytes + f->at, f->in.n - f->at);
        f->in.n -= f->at;
        f->at = 0;
    }
    return buffer_append(&f->in, bytes + n_passed, n_bytes - n_passed);
}

bool frames_is_inside(const struct frames *f) { return f->in.n > f->at || f->n_skip > 0; }

void frames_free(struct frames *f) { buffer_free(&f->in); }

/* A number that may be too large to matter; false: none. */
static bool read_length(const char *text, size_t n, size_t *out) {
    while (n > 0 && (*text == ' ' || *text == '\t')) text++, n--;
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t')) n--;
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || *out > (SIZE_MAX - 9) / 10) return false;
        *out = *out * 10 + (size_t)(text[i] - '0');
    }
    return n > 0;
}

struct header {
    size_t n_bytes; // blank line included; 0: it has not ended
    size_t length;
    bool has_length, wrong;
};

static void read_line(struct header *h, const char *line, size_t n) {
    static const char name[] = "Content-Length";
    const char *const colon = memchr(line, ':', n);
    if (!colon) {
        h->wrong = true;
    } else if ((size_t)(colon - line) == sizeof name - 1 &&
               strncasecmp(line, name, sizeof name - 1) == 0) {
        size_t length;
        const size_t n_value = n - (size_t)(colon + 1 - line);
        h->wrong |= !read_length(colon + 1, n_value, &length) ||
                    (h->has_length && length != h->length);
        if (h->wrong) return;
        h->length = length;
        h->has_length = true;
    }
}

static struct header read_header(const char *bytes, size_t n) {
    struct header h = {0};
    size_t at = 0;
    while (at < n && !h.wrong) {
        const char *const newline = memchr(bytes + at, '\n', n - at);
        if (!newline) break;
        size_t n_line = (size_t)(newline - bytes) - at;
        const size_t next = at + n_line + 1;
        if (n_line > 0 && bytes[at + n_line - 1] == '\r') n_line--;
        if (n_line == 0) {
            h.n_bytes = next;
            h.wrong = !h.has_length;
            return h;
        }
        read_line(&h, bytes + at, n_line);
        at = next;
    }
    h.wrong |= n >= FRAME_HEADER_BYTES;
    return h;
}

enum frame frames_next(struct frames *f, const char **body, size_t *n_bytes) {
    if (f->broken) return FRAME_BROKEN;
    if (f->n_skip > 0 || f->in.n == f->at) return FRAME_MORE;
    const char *const bytes = f->in.bytes + f->at;
    const size_t n = f->in.n - f->at;
    const struct header h = read_header(bytes, n < FRAME_HEADER_BYTES ? n : FRAME_HEADER_BYTES);
    if (h.wrong) {
        f->broken = true;
        return FRAME_BROKEN;
    }
    if (h.n_bytes == 0) return FRAME_MORE;
    const size_t n_rest = n - h.n_bytes;
    if (h.length > FRAME_BODY_BYTES) {
        const size_t n_passed = n_rest < h.length ? n_rest : h.length;
        f->at += h.n_bytes + n_passed;
        f->n_skip = h.length - n_passed;
        return FRAME_TOO_LONG;
    }
    if (n_rest < h.length) return FRAME_MORE;
    *body = bytes + h.n_bytes;
    *n_bytes = h.length;
    f->at += h.n_bytes + h.length;
    return FRAME_BODY;
}
