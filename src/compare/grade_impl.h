/* What the judges share. One file each: grade_talk.c for code that is called from another box,
 * grade_program.c for programs, grade_appended.c for tests that share the process. */
#ifndef OCTET_COMPARE_GRADE_IMPL_H
#define OCTET_COMPARE_GRADE_IMPL_H

#include "base/buffer.h"
#include "compare/grade.h"

enum { GRADE_NONCE = 33 }; // 32 hexadecimal digits and a NUL

struct grading {
    const struct task *task;
    const char *code;
    const struct grade_options *options;
    struct verdict *verdict; // zero when a judge begins
    struct buffer output;    // what the code wrote so far, cut
    struct octet_err *err;
};

/* The judges fill VERDICT except for its output. */
enum octet_status grade_talk(struct grading *g);     // JUDGE_CALLS, JUDGE_CHECK
enum octet_status grade_program(struct grading *g);  // JUDGE_PROGRAM
enum octet_status grade_appended(struct grading *g); // JUDGE_APPENDED

/* ---- Verdict --------------------------------------------------------------------------------- */

/* Both grades, and the detail where none was said before. */
__attribute__((format(printf, 3, 4))) enum octet_status
grade_say(struct grading *g, enum grade grade, const char *fmt, ...);
enum octet_status grade_keep_output(struct grading *g, const struct box_result *result);
/* How a box of the answer ended, in words; NULL: by itself. */
const char *grade_end_text(const struct box_result *result);

/* ---- Boxes ----------------------------------------------------------------------------------- */

/* True if PATH has the program; otherwise the verdict says that it is missing. */
bool grade_has_tool(struct grading *g, const char *tool);
/* A job with the options and the task's limits, WALL_S where it has none. */
struct box_job grade_job(const struct grading *g, const char *const *argv, double wall_s);
/* box_run; adds layers and seconds to the verdict if the box is of the ANSWER. */
enum octet_status grade_run(struct grading *g, const struct box_job *job, bool answer,
                            struct box_result *result);

enum octet_status grade_nonce(char nonce[GRADE_NONCE], struct octet_err *err);
/* Reads what a box left in a pipe, closes it; at most CAP - 1 bytes. */
void grade_read_pipe(int fd, char *text, size_t cap);

/* ---- Languages ------------------------------------------------------------------------------- */

struct grade_language {
    const char *name, *file, *tool;
    const char *compile[12]; // NULL-terminated; makes "answer" from FILE; empty: interpreted
    const char *run[8];      // NULL-terminated
};
const struct grade_language *grade_language(const char *name); // NULL: unknown

/* Compiles SOURCE. *COMPILED false: the verdict says why. *PROGRAM belongs to the caller (its bytes
 * are in KEEPER, box_result_free). */
enum octet_status grade_compile(struct grading *g, const struct grade_language *language,
                                const char *source, bool *compiled, struct box_file *program,
                                struct box_result *keeper);

#endif
