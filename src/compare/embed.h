/* What compare takes of the files that are compiled into the program (base/embed.h): one row in
 * embed.c and one accessor here for each. */
#ifndef OCTET_COMPARE_EMBED_H
#define OCTET_COMPARE_EMBED_H

struct embedded {
    const char *begin, *end; // *end is a NUL, so a text can be used as a string
};

struct embedded embedded_price_book(void);    // prices/book.json
struct embedded embedded_report_style(void);  // report/report.css
struct embedded embedded_report_script(void); // report/report.js

/* The files of tasks/core and of tasks/article, as one YAML stream each. */
struct embedded embedded_tasks_core(void);
struct embedded embedded_tasks_article(void);

/* src/compare/harness: what runs in the boxes of an answer and of its checker. */
struct embedded embedded_wire_py(void);
struct embedded embedded_candidate_py(void);
struct embedded embedded_checker_py(void);
struct embedded embedded_check_files_py(void);
struct embedded embedded_wire_js(void);
struct embedded embedded_candidate_js(void);
struct embedded embedded_checker_js(void);
struct embedded embedded_js_md5(void);

#endif
