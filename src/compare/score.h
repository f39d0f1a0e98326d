/* Reading an answer: where its code is, what surrounds it, and whether the code is whole or a
 * skeleton. Nothing here runs the code. */
#ifndef OCTET_COMPARE_SCORE_H
#define OCTET_COMPARE_SCORE_H

#include "compare/task.h"

/* A run of bytes of the answer. Spans are in order, do not overlap and cover the answer. */
enum span_kind { SPAN_PROSE_BEFORE, SPAN_PROSE_AFTER, SPAN_CODE, SPAN_COMMENT, SPAN_DROPPED };
struct span {
    size_t begin, end;
    enum span_kind kind; // CODE and COMMENT are kept; DROPPED is code that was not used
};

struct placeholder {
    size_t begin, end;  // in the answer
    const char *rule;   // "todo comment", "ellipsis", "your code here", "pass body", ...
};

struct reading {
    char *strict, *lenient; // complete files to run, prompt or hole filled in; "": no code
    struct span *spans;
    size_t n_spans;
    struct placeholder *placeholders;
    size_t n_placeholders;
    /* Functions and methods of the lenient code, the answer's own; a file without any is one. */
    size_t n_units, n_hollow_units;
    bool hollow; // the entry's body, or every unit's, or all the code, does nothing
    bool has_code, truncated, parses, has_entry; // parses: false only if seen not to
    bool structure_checked; // false: no grammar, or too long; units are not known
    size_t code_bytes, comment_bytes, dropped_bytes, prose_before_bytes, prose_after_bytes;
    double length_ratio; // of the files, without comments and blanks: lenient / reference, or NAN
};

/* Truncated: the code runs into the end of an answer that ended for its length (FINISH_REASON
 * "length"), or into the end of a fence that was never closed. Any bytes are a valid answer. Safe
 * from several threads. */
enum octet_status score_read(const struct task *task, const char *answer, size_t n_bytes,
                             const char *finish_reason, struct reading *out, struct octet_err *err);
void score_reading_free(struct reading *reading);

/* One state per answer, worst first. */
enum funnel {
    FUNNEL_NO_CODE,
    FUNNEL_TRUNCATED,
    FUNNEL_DOES_NOT_PARSE,
    FUNNEL_ENTRY_MISSING,
    FUNNEL_HOLLOW,
    FUNNEL_FAILS,
    FUNNEL_TIMES_OUT,
    FUNNEL_PASSES_BASE, // but not plus
    FUNNEL_PASSES_PLUS, // or base, where the set has no plus tests
    N_FUNNEL,
};
const char *funnel_name(enum funnel state); // "no code", "truncated", ...

/* Whether structure checks are on for the task language: its grammar was found. */
bool score_has_grammar(const char *language);

#endif
