/* See embed.h. The assembler reads the files at compile time, from the root of the repository;
 * those of task sets the Makefile joins first. */
#include "compare/embed.h"

/* Defines the accessor FUNCTION of the file at PATH. The symbols are hidden rather than local, so
 * that link-time optimisation may move the accessor away from the data. */
#define EMBED(function, path)                                                                      \
    __asm__(".pushsection .rodata.embedded,\"a\",%progbits\n"                                      \
            ".balign 16\n"                                                                         \
            ".globl " #function "_begin\n.hidden " #function "_begin\n"                            \
            ".globl " #function "_end\n.hidden " #function "_end\n" #function "_begin:\n"          \
            ".incbin \"" path "\"\n" #function "_end:\n"                                           \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char function##_begin[] __attribute__((visibility("hidden")));                    \
    extern const char function##_end[] __attribute__((visibility("hidden")));                      \
    struct embedded function(void) {                                                               \
        return (struct embedded){function##_begin, function##_end};                                \
    }

EMBED(embedded_price_book, "prices/book.json")
EMBED(embedded_report_style, "report/report.css")
EMBED(embedded_report_script, "report/report.js")
EMBED(embedded_tasks_core, "core.yaml")
EMBED(embedded_tasks_article, "article.yaml")
EMBED(embedded_wire_py, "src/compare/harness/wire.py")
EMBED(embedded_candidate_py, "src/compare/harness/candidate.py")
EMBED(embedded_checker_py, "src/compare/harness/checker.py")
EMBED(embedded_check_files_py, "src/compare/harness/check_files.py")
EMBED(embedded_wire_js, "src/compare/harness/wire.js")
EMBED(embedded_candidate_js, "src/compare/harness/candidate.js")
EMBED(embedded_checker_js, "src/compare/harness/checker.js")
EMBED(embedded_js_md5, "src/compare/harness/js-md5.js")
