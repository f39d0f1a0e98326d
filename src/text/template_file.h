/* The chat templates that a model's file brings along. */
#ifndef OCTET_TEXT_TEMPLATE_FILE_H
#define OCTET_TEXT_TEMPLATE_FILE_H

#include "format/gguf.h"

struct template_set;

/* G may be closed after. */
enum octet_status template_set_load(const struct gguf *g, struct template_set **out,
                                    struct octet_err *err);
void template_set_free(struct template_set *set);
const char *template_set_find(const struct template_set *set, const char *name); // NULL: not there

#endif
