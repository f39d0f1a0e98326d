/* JSON schemas as grammars. */
#ifndef OCTET_TEXT_SCHEMA_H
#define OCTET_TEXT_SCHEMA_H

#include "base/status.h"

/* As octet_schema_grammar. */
enum octet_status schema_grammar(const char *schema, size_t n_bytes, unsigned flags, char **text,
                                 size_t *n_text, struct octet_err *err);

#endif
