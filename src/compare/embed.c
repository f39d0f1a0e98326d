/* See embed.h. The files of task sets the Makefile joins first. */
#include "compare/embed.h"

#include "base/embed.h"

/* Defines the accessor FUNCTION of the file at PATH. */
#define EMBED_AS(function, path)                                                                   \
    EMBED(function, path);                                                                         \
    struct embedded function(void) {                                                               \
        return (struct embedded){function##_begin, function##_end};                                \
    }

EMBED_AS(embedded_price_book, "prices/book.json")
EMBED_AS(embedded_report_style, "report/report.css")
EMBED_AS(embedded_report_script, "report/report.js")
EMBED_AS(embedded_tasks_core, "core.yaml")
EMBED_AS(embedded_tasks_article, "article.yaml")
EMBED_AS(embedded_wire_py, "src/compare/harness/wire.py")
EMBED_AS(embedded_candidate_py, "src/compare/harness/candidate.py")
EMBED_AS(embedded_checker_py, "src/compare/harness/checker.py")
EMBED_AS(embedded_check_files_py, "src/compare/harness/check_files.py")
EMBED_AS(embedded_wire_js, "src/compare/harness/wire.js")
EMBED_AS(embedded_candidate_js, "src/compare/harness/candidate.js")
EMBED_AS(embedded_checker_js, "src/compare/harness/checker.js")
EMBED_AS(embedded_js_md5, "src/compare/harness/js-md5.js")
