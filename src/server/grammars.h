/* The grammars that a model's answers were held to last: clients send the same schema again and
 * again, and its masks are what takes time. */
#ifndef OCTET_SERVER_GRAMMARS_H
#define OCTET_SERVER_GRAMMARS_H

#include "octet.h"

enum { GRAMMARS_KEPT = 16 };

/* Zero it first. One thread at a time. */
struct grammars {
    struct kept_grammar {
        struct octet_grammar *grammar; // NULL: a free place
        char *source;                  // (n_bytes)
        size_t n_bytes;
        uint64_t hash, used;
        bool schema;
    } kept[GRAMMARS_KEPT];
    uint64_t n_asked;
};

/* *OUT: a share, which the caller closes. SCHEMA: the source is a JSON schema, not GBNF. */
enum octet_status grammars_get(struct grammars *g, struct octet_model *model, bool schema,
                               const char *source, size_t n_bytes, struct octet_grammar **out,
                               struct octet_err *err);
void grammars_close(struct grammars *g);

#endif
