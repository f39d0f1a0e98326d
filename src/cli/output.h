/* Everything the program writes to stdout goes through here, so that a failed write (a full disk, a
 * reader that went away) is remembered with its reason and decides the exit status. */
#ifndef OCTET_CLI_OUTPUT_H
#define OCTET_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "octet.h"

/* All return false once stdout is broken; writing on is harmless. */
bool output_write(const char *bytes, size_t n_bytes);
__attribute__((format(printf, 1, 2))) bool output_printf(const char *fmt, ...);
bool output_flush(void);
/* "1.5 GB" (powers of 1000) into TEXT (at least 16 bytes), returned. */
const char *output_bytes(double n_bytes, char text[16]);

/* One line "octet: ..." on stderr; returns EXIT_FAILED. */
__attribute__((format(printf, 1, 2))) int output_error(const char *fmt, ...);
/* The same with the library's message; EXIT_INTERRUPTED, silently, for OCTET_ECANCELLED. */
int output_failure(const struct octet_err *err);

/* Flushes stdout, says what went wrong with it, and returns STATUS or that failure's status. */
int output_finish(int status);

#endif
