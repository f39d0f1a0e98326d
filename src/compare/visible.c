/* See visible.h. What is hidden is decided by Unicode's general categories, not by a list that
 * would age. */
#include "compare/visible.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"

size_t visible_next(const char *bytes, size_t n_bytes, int32_t *code) {
    const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)bytes,
                                                n_bytes < 4 ? (utf8proc_ssize_t)n_bytes : 4, code);
    if (n > 0) return (size_t)n;
    *code = -1;
    return 1;
}

bool visible_is_hidden(int32_t code) {
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CC: // control: escape codes begin with one
    case UTF8PROC_CATEGORY_CF: // format: bidirectional marks, zero-width characters, tags
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: return true;
    default: return false;
    }
}

bool visible_line(struct buffer *out, const char *bytes, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes;) {
        char mark[16];
        int32_t code;
        const size_t n = visible_next(bytes + i, n_bytes - i, &code);
        bool fine;
        if (code < 0) {
            snprintf(mark, sizeof mark, "<0x%02X>", (unsigned char)bytes[i]);
            fine = buffer_append_text(out, mark);
        } else if (visible_is_hidden(code)) {
            snprintf(mark, sizeof mark, "<U+%04X>", (unsigned)code);
            fine = buffer_append_text(out, mark);
        } else {
            fine = buffer_append(out, bytes + i, n);
        }
        if (!fine) return false;
        i += n;
    }
    return buffer_append(out, "", 0);
}

size_t visible_columns(const char *text) {
    size_t columns = 0;
    const size_t n_bytes = strlen(text);
    for (size_t i = 0; i < n_bytes;) {
        int32_t code;
        i += visible_next(text + i, n_bytes - i, &code);
        if (code >= 0) columns += (size_t)utf8proc_charwidth(code);
    }
    return columns;
}

/* ---- UTF-8 for JSON -------------------------------------------------------------------------- */

static bool note_replaced(struct visible_moves *moves, size_t offset) {
    if (!moves) return true;
    if (!mem_reserve((void **)&moves->replaced, &moves->cap, moves->n + 1,
                     sizeof *moves->replaced)) {
        return false;
    }
    moves->replaced[moves->n++] = offset;
    return true;
}

json_t *visible_json(const char *bytes, size_t n_bytes, struct visible_moves *moves) {
    struct buffer clean = {0};
    bool fine = buffer_append(&clean, "", 0);
    size_t done = 0; // copied so far; whole stretches at a time
    for (size_t i = 0; i < n_bytes && fine;) {
        int32_t code;
        const size_t n = visible_next(bytes + i, n_bytes - i, &code);
        if (code < 0) {
            fine = buffer_append(&clean, bytes + done, i - done) &&
                   buffer_append_text(&clean, "\xEF\xBF\xBD") && note_replaced(moves, i);
            done = i + 1;
        }
        i += n;
    }
    fine = fine && buffer_append(&clean, bytes + done, n_bytes - done);
    json_t *const text = fine ? json_stringn(clean.bytes, clean.n) : NULL;
    buffer_free(&clean);
    return text;
}

size_t visible_moved(const struct visible_moves *moves, size_t offset) {
    size_t low = 0, high = moves->n; // the first replaced byte that is not before offset
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (moves->replaced[middle] < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return offset + 2 * low;
}

void visible_moves_free(struct visible_moves *moves) {
    mem_free(moves->replaced);
    *moves = (struct visible_moves){0};
}
