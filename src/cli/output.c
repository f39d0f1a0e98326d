/* Checked writes to stdout, and the one form of error message. */
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int broken; // errno of the first failed write to stdout, 0: none

static bool check(bool fine) {
    if (!fine && broken == 0) broken = errno != 0 ? errno : EIO;
    return broken == 0;
}

bool output_write(const char *bytes, size_t n_bytes) {
    if (broken != 0) return false;
    return check(fwrite(bytes, 1, n_bytes, stdout) == n_bytes);
}

bool output_printf(const char *fmt, ...) {
    if (broken != 0) return false;
    va_list args;
    va_start(args, fmt);
    const int n = vprintf(fmt, args);
    va_end(args);
    return check(n >= 0);
}

bool output_flush(void) {
    if (broken != 0) return false;
    return check(fflush(stdout) == 0);
}

const char *output_bytes(double n_bytes, char text[16]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    while (n_bytes >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        n_bytes /= 1000;
        unit++;
    }
    snprintf(text, 16, unit > 0 && n_bytes < 99.95 ? "%.1f %s" : "%.0f %s", n_bytes, units[unit]);
    return text;
}

int output_error(const char *fmt, ...) {
    output_flush(); // what was printed before the failure comes before its message
    va_list args;
    va_start(args, fmt);
    fputs("octet: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_FAILED;
}

int output_failure(const struct octet_err *err) {
    if (err->status == OCTET_ECANCELLED) return EXIT_INTERRUPTED;
    return output_error("%s", err->message);
}

int output_finish(int status) {
    output_flush();
    if (broken == 0) return status;
    if (broken == EPIPE) return EXIT_PIPE;
    fprintf(stderr, "octet: writing to standard output failed: %s\n", strerror(broken));
    return EXIT_FAILED;
}
