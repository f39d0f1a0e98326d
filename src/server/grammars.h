/* The grammars that a model's answers were held to last: clients send the same schema again and
 * again, and its masks are what takes time. */
#ifndef OCTET_SERVER_GRAMMARS_H
#define OCTET_SERVER_GRAMMARS_H

#include <pthread.h>

#include "octet.h"

enum { GRAMMARS_KEPT = 16 };

/* Any thread. While one makes a grammar, others are not kept from theirs. */
struct grammars {
    pthread_mutex_t lock;
    struct kept_grammar {
        struct octet_grammar *grammar; // NULL: a free place
        char *source;                  // (n_bytes)
        size_t n_bytes;
        uint64_t hash, used;
        bool schema;
    } kept[GRAMMARS_KEPT];
    uint64_t n_asked;
};

void grammars_open(struct grammars *g);
/* *OUT: a share, which the caller closes. SCHEMA: the source is a JSON schema, not GBNF. */
enum octet_status grammars_get(struct grammars *g, struct octet_model *model, bool schema,
                               const char *source, size_t n_bytes, struct octet_grammar **out,
                               struct octet_err *err);
void grammars_close(struct grammars *g);

#endif
