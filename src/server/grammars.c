/* See grammars.h. */
#include "server/grammars.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

static void drop(struct kept_grammar *k) {
    octet_grammar_close(k->grammar);
    mem_free(k->source);
    *k = (struct kept_grammar){0};
}

/* The one asked for, else the place of a new one: a free one, or that of the longest unused. */
static struct kept_grammar *find(struct grammars *g, const struct kept_grammar *like) {
    struct kept_grammar *oldest = &g->kept[0];
    for (size_t i = 0; i < GRAMMARS_KEPT; i++) {
        struct kept_grammar *const k = &g->kept[i];
        // The hash is no secret, so the source decides.
        if (k->grammar && k->hash == like->hash && k->schema == like->schema &&
            k->n_bytes == like->n_bytes && memcmp(k->source, like->source, k->n_bytes) == 0)
            return k;
        if (k->used < oldest->used) oldest = k;
    }
    drop(oldest);
    return oldest;
}

enum octet_status grammars_get(struct grammars *g, struct octet_model *model, bool schema,
                               const char *source, size_t n_bytes, struct octet_grammar **out,
                               struct octet_err *err) {
    const struct kept_grammar like = {.source = (char *)(uintptr_t)source, .n_bytes = n_bytes,
                                      .hash = hash_bytes(HASH_INIT, source, n_bytes),
                                      .schema = schema};
    struct kept_grammar *const k = find(g, &like);
    enum octet_status status = OCTET_OK;
    *out = NULL;
    if (!k->grammar) {
        *k = like;
        k->source = mem_strdup(source, n_bytes);
        if (!k->source) status = octet_fail_memory(err, "a grammar", n_bytes);
        if (status == OCTET_OK)
            status = schema ? octet_grammar_open_schema(model, source, n_bytes, 0, &k->grammar, err)
                            : octet_grammar_open(model, source, n_bytes, &k->grammar, err);
        if (status != OCTET_OK) drop(k);
    }
    if (status != OCTET_OK) return status;
    k->used = ++g->n_asked;
    *out = octet_grammar_share(k->grammar);
    return OCTET_OK;
}

void grammars_close(struct grammars *g) {
    for (size_t i = 0; i < GRAMMARS_KEPT; i++) drop(&g->kept[i]);
}
