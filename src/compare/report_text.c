/* See report_text.h. */
#include "compare/report_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compare/prices.h"
#include "compare/visible.h"

void report_bytes(struct report_text *text, const char *bytes, size_t n_bytes) {
    if (!text->failed) text->failed = !buffer_append(&text->buffer, bytes, n_bytes);
}

void report_raw(struct report_text *text, const char *raw) { report_bytes(text, raw, strlen(raw)); }

void report_format(struct report_text *text, const char *fmt, ...) {
    char small[256];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    const int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof small) {
        report_bytes(text, small, (size_t)n);
    } else {
        char *const large = n < 0 ? NULL : mem_alloc((size_t)n + 1);
        if (large) {
            vsnprintf(large, (size_t)n + 1, fmt, again);
            report_bytes(text, large, (size_t)n);
        }
        text->failed = text->failed || !large;
        mem_free(large);
    }
    va_end(again);
}

char *report_take(struct report_text *text) {
    report_bytes(text, "", 0); // an empty text is a string, too
    char *const taken = text->failed ? NULL : text->buffer.bytes;
    if (taken) text->buffer = (struct buffer){0};
    report_text_free(text);
    return taken;
}

void report_text_free(struct report_text *text) {
    buffer_free(&text->buffer);
    *text = (struct report_text){0};
}

/* ---- Numbers --------------------------------------------------------------------------------- */

void report_number(struct report_text *text, double value, int decimals) {
    if (isfinite(value)) {
        report_format(text, "%.*f", decimals, value);
    } else {
        report_raw(text, "-");
    }
}

void report_percent(struct report_text *text, double share) {
    report_number(text, 100 * share, 1);
    if (isfinite(share)) report_raw(text, " %");
}

void report_money(struct report_text *text, double amount, const char *currency) {
    char digits[32];
    if (isinf(amount)) {
        report_raw(text, "-");
        return;
    }
    report_raw(text, money_text(amount, digits));
    if (!isnan(amount) && currency[0]) report_format(text, " %s", currency);
}

void report_seconds(struct report_text *text, double seconds) {
    if (!isfinite(seconds)) {
        report_raw(text, "-");
    } else if (seconds < 0.9995) {
        report_format(text, seconds < 0.00995 ? "%.1f ms" : "%.0f ms", 1000 * seconds);
    } else {
        report_format(text, seconds < 99.5 ? "%.2f s" : "%.0f s", seconds);
    }
}

void report_p(struct report_text *text, double p) {
    if (p < 0.001) {
        report_raw(text, "p < 0.001");
    } else {
        report_format(text, p < 0.0995 ? "p = %.3f" : "p = %.2f", p);
    }
}

/* ---- Escaping -------------------------------------------------------------------------------- */

/* What one character becomes in HTML; NULL: it stays as it is. */
static const char *html_form(int32_t code, unsigned char byte, char form[48]) {
    switch (code) {
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '&': return "&amp;";
    case '"': return "&quot;";
    case '\n':
    case '\t': return NULL;
    default: break;
    }
    if (code >= 0 && !visible_is_hidden(code)) return NULL;
    if (code < 0) {
        snprintf(form, 48, "<i class=\"hid\">%02X</i>", byte);
    } else if (code < 0x20) { // as keyboards make them: ^[ is an escape
        snprintf(form, 48, "<i class=\"hid\">^%c</i>", code + '@');
    } else {
        snprintf(form, 48, "<i class=\"hid\">U+%04X</i>", (unsigned)code);
    }
    return form;
}

size_t report_html_part(struct report_text *text, const char *bytes, size_t n_bytes,
                        size_t max_bytes) {
    size_t i = 0, done = 0, n_out = 0;
    while (i < n_bytes) {
        char form[48];
        int32_t code;
        const size_t n = visible_next(bytes + i, n_bytes - i, &code);
        const bool line_end = code == '\r' && i + 1 < n_bytes && bytes[i + 1] == '\n';
        const char *const escaped = line_end ? "" : html_form(code, (unsigned char)bytes[i], form);
        const size_t cost = escaped ? strlen(escaped) : n;
        if (n_out + cost > max_bytes) break;
        n_out += cost;
        if (escaped) {
            report_bytes(text, bytes + done, i - done);
            report_raw(text, escaped);
            done = i + n;
        }
        i += n;
    }
    report_bytes(text, bytes + done, i - done);
    return i;
}

void report_html(struct report_text *text, const char *string) {
    report_html_part(text, string, strlen(string), SIZE_MAX);
}

void report_attribute(struct report_text *text, const char *string) {
    struct buffer line = {0};
    if (visible_line(&line, string, strlen(string))) {
        report_html_part(text, line.bytes, line.n, SIZE_MAX);
    } else {
        text->failed = true;
    }
    buffer_free(&line);
}

void report_line(struct report_text *text, const char *string) {
    if (!text->failed) text->failed = !visible_line(&text->buffer, string, strlen(string));
}

void report_markdown(struct report_text *text, const char *string) {
    struct buffer line = {0};
    if (!visible_line(&line, string, strlen(string))) text->failed = true;
    for (const char *c = line.bytes; !text->failed && *c; c++) {
        if (strchr("\\`*_{}[]<>()#+|!&~", *c)) report_raw(text, "\\");
        report_bytes(text, c, 1);
    }
    buffer_free(&line);
}

void report_csv_text(struct report_text *text, const char *string) {
    report_raw(text, strchr("=+-@\t\r", string[0]) && string[0] ? "\"'" : "\"");
    for (const char *c = string; *c; c++) {
        if (*c == '"') report_raw(text, "\"");
        report_bytes(text, c, 1);
    }
    report_raw(text, "\"");
}
