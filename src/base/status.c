/* Error messages: one line each, safe to print on a terminal. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *octet_version(void) { return OCTET_VERSION; }

const char *octet_status_text(enum octet_status status) {
    static const char *const texts[] = {
#define STATUS_TEXT(name, text) text,
        OCTET_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    };
    size_t i = (size_t)status;
    return i < sizeof texts / sizeof *texts ? texts[i] : "unknown status";
}

void octet_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

enum octet_status octet_fail(struct octet_err *err, enum octet_status status, const char *fmt,
                             ...) {
    if (!err) return status;
    err->status = status;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    octet_one_line(err->message);
    return status;
}

enum octet_status octet_fail_memory(struct octet_err *err, const char *what, size_t n_bytes) {
    return octet_fail(err, OCTET_EMEM, "out of memory: %zu bytes for %s", n_bytes, what);
}

void octet_assert_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "octet: internal error: %s (%s:%d)\n", condition, file, line);
    abort();
}
