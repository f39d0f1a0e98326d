/* Filling a hole in a text with any model. Models trained for it get the marks of their family;
 * instruct models are asked, and their answer is begun for them; the others continue the text
 * before the hole, with the text after it told in a comment. What is generated is cut where it
 * would run into the text after the hole. */
#ifndef OCTET_SERVER_FIM_H
#define OCTET_SERVER_FIM_H

#include "server/job.h"

enum fim_method {
    FIM_AUTO,
    FIM_TRAINED,
    FIM_INSTRUCT,
    FIM_PREFIX,
    N_FIM_METHODS,
};
const char *fim_method_name(enum fim_method method); // "auto", "trained", "instruct", "prefix"
/* By name; false: there is none of that name. */
bool fim_method_find(const char *name, enum fim_method *out);
/* What AUTO means for a model. */
enum fim_method fim_best_method(const struct octet_model *model);

/* Another piece of text that helps: of the same project, seen lately. */
struct chunk {
    char *name, *text; // NAME: a path, or ""
};

enum { FIM_N_BRACKETS = 3 };

struct hole {
    char *prefix, *suffix;
    char *name, *language; // of the file and what it is written in ("python"), or NULL
    struct chunk *chunks;  // (n_chunks), the one that matters most last
    size_t n_chunks;
    int n_indent; // the answer ends before a line that is indented less; < 0: than the hole's line
    enum fim_method method;

    /* Found out by hole_new: */
    const char *line; // the prefix's last
    bool whole_lines; // the hole is between two lines
    int closable[FIM_N_BRACKETS]; // brackets open before the hole that are not closed after it
    /* By fim_prepare: */
    size_t n_blanks; // at the prefix's end, that the model was not shown and may write itself
    bool truncated;  // far text was left out for lack of room
};
struct hole *hole_new(const char *prefix, const char *suffix); // NULL: out of memory
void hole_free(struct hole *hole);
bool hole_add_chunk(struct hole *hole, const char *name, const char *text);
/* Copies; NULL leaves it open. False: out of memory. */
bool hole_set_file(struct hole *hole, const char *name, const char *language);

/* Fills JOB's prompt and adds what ends the answer; resolves AUTO. N_CTX: of the session; room for
 * max_tokens of the job is kept, the text before the hole gets up to three quarters of the rest,
 * the text after it a quarter, and chunks what they leave. EUNSUPPORTED: the model can not do the
 * method. */
enum octet_status fim_prepare(const struct octet_model *model, struct hole *hole, size_t n_ctx,
                              struct job *job, struct octet_err *err);

/* Blanks at the beginning of TEXT that the prefix has already. */
size_t fim_skip(const struct hole *hole, const char *text, size_t n_bytes);
/* How many bytes of TEXT, generated so far, belong into the hole and may be shown; never fewer for
 * a longer text. COMPLETE: no more comes. *OVER: set when nothing later belongs there, and then the
 * answer is the same as for a complete text. */
size_t fim_cut(const struct hole *hole, const char *text, size_t n_bytes, bool complete,
               bool *over);
/* Leaves of a complete TEXT what belongs into the hole. */
void fim_keep(const struct hole *hole, struct buffer *text);

/* Marks of a family other than MODEL's in a raw prompt, as clients write that guess the family by
 * the model's name. NULL: there are none, or out of memory. MODEL NULL: any family is another. */
struct hole *fim_rescue(const struct octet_model *model, const char *prompt);

#endif
