/* The marks that code models are trained to fill holes between: one table of families, found in a
 * model's vocabulary, or in the text of a prompt. */
#ifndef OCTET_SERVER_FIM_MARKS_H
#define OCTET_SERVER_FIM_MARKS_H

#include "server/job.h"

/* By the names of tokens. */
struct family {
    const char *prefix, *suffix, *middle; // MIDDLE "": there is none
    bool suffix_first;
    bool blanks;      // written with a blank beside each mark
    const char *file; // goes before the path of each file; "": the family has none
};

struct marks {
    const struct family *family; // NULL: none
    int32_t prefix, suffix, middle, file; // -1: none
    int32_t ends[JOB_MAX_ENDS];  // (n_ends) beside the end tokens: marks that no answer holds
    size_t n_ends;
};

/* The marks MODEL was trained with; FORCED: those its vocabulary has, trained or not. */
struct marks marks_find(const struct octet_model *model, bool forced);

/* A prompt with marks, taken apart. */
struct marked {
    const struct family *family; // NULL: there are no marks
    const char *prefix, *suffix, *begun; // within the prompt; BEGUN: of the answer, up to its end
    size_t n_prefix, n_suffix;
    size_t n_before; // bytes before the first mark
};
struct marked marks_split(const char *prompt);
/* Where the next file mark of any family begins in TEXT (n), N if none; *N_MARK: its bytes. */
size_t marks_next_file(const char *text, size_t n, size_t *n_mark);

#endif
