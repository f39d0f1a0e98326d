/* What the parts of the loader share. Every format ends as a document: a JSON object with the
 * fields that docs/tasks.md describes, which task_bind checks and points a struct task into. */
#ifndef OCTET_COMPARE_TASK_IMPL_H
#define OCTET_COMPARE_TASK_IMPL_H

#include "compare/task.h"

/* Where a document stands, for messages: "FILE: row 3". */
struct task_place {
    const char *file;
    size_t row; // from 1
};

/* task_yaml.c: all documents of a YAML text as an array, owned by the caller. */
enum octet_status task_yaml_parse(const char *text, size_t n_bytes, const char *file, json_t **out,
                                  struct octet_err *err);

/* task_rows.c: a row of a .jsonl file, in whichever published format its fields show or already a
 * document, becomes a document. */
enum octet_status task_row_parse(const char *line, size_t n_bytes, const struct task_place *place,
                                 json_t **out, struct octet_err *err);

/* task_bind.c: checks DOCUMENT and fills OUT, which points into it. */
enum octet_status task_bind(const json_t *document, const struct task_place *place,
                            struct task *out, struct octet_err *err);
void task_unbind(const struct task *task);

/* The kind of a value in words: "a text", "a list", "nothing". */
const char *task_kind_of(const json_t *value);

#endif
