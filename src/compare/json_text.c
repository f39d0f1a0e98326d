/* See json_text.h. */
#include "compare/json_text.h"

#include <string.h>

#include "base/buffer.h"
#include "octet.h"

/* Appends the bytes as UTF-8. */
static bool append_repaired(struct buffer *out, const char *bytes, size_t n_bytes) {
    enum { PIECE = 4096 };
    char piece[3 * PIECE + 12];
    struct octet_stream stream = {{0}, 0};
    for (size_t at = 0; at < n_bytes; at += PIECE) {
        const size_t n = n_bytes - at < PIECE ? n_bytes - at : PIECE;
        if (!buffer_append(out, piece, octet_stream_push(&stream, bytes + at, n, piece))) {
            return false;
        }
    }
    return buffer_append(out, piece, octet_stream_flush(&stream, piece));
}

json_t *json_text(const char *bytes, size_t n_bytes) {
    json_t *const text = json_stringn(bytes, n_bytes);
    if (text) return text;
    struct buffer repaired = {NULL, 0, 0};
    json_t *const clean = append_repaired(&repaired, bytes, n_bytes)
                              ? json_stringn(repaired.bytes, repaired.n)
                              : NULL;
    buffer_free(&repaired);
    return clean;
}

/* The code unit that the 4 hex digits after "\u" at P stand for; -1 if this is no such escape. */
static long escaped_unit(const char *p, const char *end) {
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u') return -1;
    long unit = 0;
    for (int i = 2; i < 6; i++) {
        const char *const digits = "0123456789abcdef";
        const char *const digit = memchr(digits, p[i] | 32, 16);
        if (!digit) return -1;
        unit = unit * 16 + (digit - digits);
    }
    return unit;
}

/* Escapes of a surrogate without its other half become escapes of U+FFFD, in place. */
static void mend_surrogates(char *p, const char *end) {
    while (p < end) {
        if (*p != '\\' || end - p < 2) {
            p++;
            continue;
        }
        const long unit = escaped_unit(p, end);
        if (unit < 0xd800 || unit > 0xdfff) {
            p += 2;
            continue;
        }
        const long next = escaped_unit(p + 6, end);
        if (unit < 0xdc00 && next >= 0xdc00 && next <= 0xdfff) {
            p += 12;
        } else {
            memcpy(p + 2, "fffd", 4);
            p += 6;
        }
    }
}

json_t *json_text_parse(const char *bytes, size_t n_bytes) {
    json_t *const document = json_loadb(bytes, n_bytes, JSON_ALLOW_NUL, NULL);
    if (document) return document;
    struct buffer repaired = {NULL, 0, 0};
    json_t *mended = NULL;
    if (append_repaired(&repaired, bytes, n_bytes)) {
        mend_surrogates(repaired.bytes, repaired.bytes + repaired.n);
        mended = json_loadb(repaired.bytes, repaired.n, JSON_ALLOW_NUL, NULL);
    }
    buffer_free(&repaired);
    return mended;
}

const char *json_text_get(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

int64_t json_count_get(const json_t *object, const char *key) {
    const json_t *const value = json_object_get(object, key);
    const json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    return n >= 0 && n <= INT64_C(1000000000000000) ? n : -1;
}
