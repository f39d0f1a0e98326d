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
/* What AUTO means for a model. */
enum fim_method fim_best_method(const struct octet_model *model);

/* Another piece of text that helps: of the same project, seen lately. */
struct chunk {
    char *name, *text; // NAME: a path, or ""
};

struct hole {
    char *prefix, *suffix;
    struct chunk *chunks; // (n_chunks)
    size_t n_chunks;
    size_t n_blanks; // at the prefix's end, that the model was not shown and may write itself
    int n_indent; // the answer ends before a line that is indented less; 0: any
    enum fim_method method;
    bool truncated; // far text was left out for lack of room
};
struct hole *hole_new(const char *prefix, const char *suffix); // NULL: out of memory
void hole_free(struct hole *hole);
bool hole_add_chunk(struct hole *hole, const char *name, const char *text);

/* Fills JOB's prompt and adds stop strings; resolves AUTO. N_CTX: of the session; room for
 * max_tokens of the job is kept. EUNSUPPORTED: the model can not do the method. */
enum octet_status fim_prepare(const struct octet_model *model, struct hole *hole, size_t n_ctx,
                              struct job *job, struct octet_err *err);

/* Blanks at the beginning of TEXT that the prefix has already. */
size_t fim_skip(const struct hole *hole, const char *text, size_t n_bytes);
/* How many bytes of TEXT, generated so far, belong into the hole and may be shown. COMPLETE: no
 * more comes. *OVER: set when nothing later may be shown. */
size_t fim_cut(const struct hole *hole, const char *text, size_t n_bytes, bool complete,
               bool *over);

/* Marks of any family in a raw prompt, as clients write that guess the family by the model's name:
 * NULL: there are none, or out of memory. */
struct hole *fim_rescue(const char *prompt);

#endif
