/* Reports: the same numbers as a page, as Markdown, CSV, JSON and a table for the terminal. A
 * report follows from what the store holds; nothing of today or of this machine gets into it. */
#ifndef OCTET_COMPARE_REPORT_H
#define OCTET_COMPARE_REPORT_H

#include <stdio.h>

#include "compare/summary.h"

/* Files to write, NULL: not. Each is complete or, after a failure, as it was before. */
struct report_targets {
    const char *html, *markdown, *csv;
    bool json;            // one line of JSON instead of the table on the terminal
    const char *document; // all of the store's texts and numbers as JSON
};

/* Writes the TARGETS and, to OUT, the table or the line of JSON, for the N RUNS of the store at
 * STORE_PATH (NULL: the user's own) put together. RUNS may be NULL: the newest one. */
enum octet_status report_runs(const char *store_path, const int64_t *runs, size_t n,
                              const struct report_targets *targets, FILE *out,
                              struct octet_err *err);
enum octet_status report_run(const char *store_path, int64_t run,
                             const struct report_targets *targets, FILE *out,
                             struct octet_err *err);

/* ---- Kinds -----------------------------------------------------------------------------------
 *
 * Each returns text for mem_free; NULL: out of memory. */
char *report_page(const struct summary *summary);
char *report_markdown_summary(const struct summary *summary);
char *report_csv_rows(const struct summary *summary);  // one per answer
char *report_json_line(const struct summary *summary); // models and pairs, without the newline
char *report_table(const struct summary *summary, bool colours);

/* ---- Parts of the page ---------------------------------------------------------------------- */

struct report_text;

/* report_chart.c */
void report_interval_bar(struct report_text *text, double value, struct stats_interval interval);
void report_scatter(struct report_text *text, const struct summary *summary);
void report_funnel(struct report_text *text, const struct summary *summary);
/* report_tasks.c */
void report_tasks(struct report_text *text, const struct summary *summary);
/* report_measured.c */
void report_measured(struct report_text *text, const struct summary *summary);
/* The name of model I, which blind mode hides. */
void report_name(struct report_text *text, const struct summary *summary, size_t i);

#endif
