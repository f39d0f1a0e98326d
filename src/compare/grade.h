/* Judging code by running it in boxes. Tests and verdict live in another process than the code
 * (the checker, boxed too), except where a language's tests must share it; such verdicts say so. */
#ifndef OCTET_COMPARE_GRADE_H
#define OCTET_COMPARE_GRADE_H

#include "compare/task.h"

enum grade {
    GRADE_PASSES,
    GRADE_FAILS, // wrong result, exception, non-zero exit
    GRADE_TIMES_OUT,
    GRADE_NO_ENTRY, // the entry point is not defined after loading
    GRADE_NOT_COMPILED,
    GRADE_NO_TOOL, // no interpreter or compiler here: not judged
};
const char *grade_name(enum grade grade);

struct verdict {
    enum grade base, plus; // equal where the set has no plus tests
    bool has_plus;
    bool same_process; // the tests shared the process of the code
    size_t n_tests, n_passed;
    char *detail;    // one line: the first failing test, or why
    char *output;    // what the code wrote, both streams, cut
    double seconds;  // wall time of the runs
    unsigned layers; // enum box_layer bits that were on for all of them
};

struct grade_options {
    bool unsafe_exec;
    volatile const bool *cancel;
    bool full; // inputs of all sizes, where a task has larger ones that take minutes
};

/* CODE is a complete file. A time-out is tried once more before it counts. Safe to call from
 * several threads. OCTET_EUNSUPPORTED: the sandbox is too weak here. */
enum octet_status grade_code(const struct task *task, const char *code,
                             const struct grade_options *options, struct verdict *out,
                             struct octet_err *err);
void grade_verdict_free(struct verdict *verdict);

#endif
