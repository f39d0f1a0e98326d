/* Building the text of reports: a buffer that remembers running out of memory, numbers as people
 * read them, and the escaping of each kind of page. */
#ifndef OCTET_COMPARE_REPORT_TEXT_H
#define OCTET_COMPARE_REPORT_TEXT_H

#include <jansson.h>

#include "base/buffer.h"

/* Zero it first; report_take or report_text_free ends it. */
struct report_text {
    struct buffer buffer;
    bool failed; // out of memory: later calls do nothing
};

void report_raw(struct report_text *text, const char *raw); // as it is
void report_bytes(struct report_text *text, const char *bytes, size_t n_bytes);
__attribute__((format(printf, 2, 3))) void report_format(struct report_text *text, const char *fmt,
                                                         ...);
char *report_take(struct report_text *text); // the caller's, mem_free; NULL: out of memory
void report_text_free(struct report_text *text);

/* ---- Numbers; what is not known is "-" ------------------------------------------------------ */

void report_percent(struct report_text *text, double share); // 0.799 is "79.9 %"
/* "0.0124 USD", "unpriced" for NAN, "-" for an infinity. */
void report_money(struct report_text *text, double amount, const char *currency);
void report_seconds(struct report_text *text, double seconds); // "1.25 s", "310 ms"
void report_number(struct report_text *text, double value, int decimals);
void report_p(struct report_text *text, double p); // "p = 0.031", "p < 0.001"

/* ---- Text of unknown origin ----------------------------------------------------------------- */

/* As HTML, hidden characters marked; newlines and tabs stay. Returns the bytes of input written,
 * all or as many whole characters as fit into MAX_BYTES of output. */
size_t report_html_part(struct report_text *text, const char *bytes, size_t n_bytes,
                        size_t max_bytes);
void report_html(struct report_text *text, const char *string);
void report_attribute(struct report_text *text, const char *string); // within quotes, on one line
/* In a cell of a Markdown table, on one line. */
void report_markdown(struct report_text *text, const char *string);
/* One CSV field, quoted; a leading =, +, - or @ of text is made harmless for spreadsheets. */
void report_csv_text(struct report_text *text, const char *string);
/* One line for a terminal. */
void report_line(struct report_text *text, const char *string);

#endif
