/* Filling struct octet_err. Internal functions that can fail return enum octet_status and take a
 * struct octet_err * last, as the public ones do. */
#ifndef OCTET_BASE_STATUS_H
#define OCTET_BASE_STATUS_H

#include "octet.h"

/* Writes one line to err (NULL allowed; newlines and control bytes become '?') and returns STATUS,
 * so that callers write `return octet_fail(err, OCTET_EFORMAT, "%s: ...", path);`. */
__attribute__((format(printf, 3, 4))) enum octet_status
octet_fail(struct octet_err *err, enum octet_status status, const char *fmt, ...);

/* Makes TEXT one line that is safe to print: newlines and control bytes become '?'. What messages
 * quote comes from hostile files and requests. */
void octet_one_line(char *text);

/* The message for an allocation that failed; WHAT names what the memory was for. */
enum octet_status octet_fail_memory(struct octet_err *err, const char *what, size_t n_bytes);

/* A broken invariant of octet itself: prints the place and aborts, in release builds too. */
#define octet_assert(condition)                                                                    \
    ((condition) ? (void)0 : octet_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void octet_assert_failed(const char *condition, const char *file, int line);

#endif
