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

/* The hash is no secret, so the source decides. */
static bool is_like(const struct kept_grammar *k, const struct kept_grammar *like) {
    return k->grammar && k->hash == like->hash && k->schema == like->schema &&
           k->n_bytes == like->n_bytes && memcmp(k->source, like->source, k->n_bytes) == 0;
}

/* A share of the one that was kept, NULL: none was. */
static struct octet_grammar *find(struct grammars *g, const struct kept_grammar *like) {
    struct octet_grammar *found = NULL;
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < GRAMMARS_KEPT && !found; i++) {
        if (!is_like(&g->kept[i], like)) continue;
        g->kept[i].used = ++g->n_asked;
        found = octet_grammar_share(g->kept[i].grammar);
    }
    pthread_mutex_unlock(&g->lock);
    return found;
}

/* Takes MADE over, in a free place or that of the longest unused. Two threads may have made the
 * same; then both are kept. */
static void keep(struct grammars *g, const struct kept_grammar *made) {
    pthread_mutex_lock(&g->lock);
    struct kept_grammar *oldest = &g->kept[0];
    for (size_t i = 1; i < GRAMMARS_KEPT; i++)
        if (g->kept[i].used < oldest->used) oldest = &g->kept[i];
    drop(oldest);
    *oldest = *made;
    oldest->used = ++g->n_asked;
    pthread_mutex_unlock(&g->lock);
}

enum octet_status grammars_get(struct grammars *g, struct octet_model *model, bool schema,
                               const char *source, size_t n_bytes, struct octet_grammar **out,
                               struct octet_err *err) {
    struct kept_grammar made = {.source = (char *)(uintptr_t)source, .n_bytes = n_bytes,
                                .hash = hash_bytes(HASH_INIT, source, n_bytes),
                                .schema = schema};
    *out = find(g, &made);
    if (*out) return OCTET_OK;
    made.source = mem_strdup(source, n_bytes);
    enum octet_status status =
        made.source ? OCTET_OK : octet_fail_memory(err, "a grammar", n_bytes);
    if (status == OCTET_OK)
        status = schema ? octet_grammar_open_schema(model, source, n_bytes, 0, &made.grammar, err)
                        : octet_grammar_open(model, source, n_bytes, &made.grammar, err);
    if (status != OCTET_OK) {
        drop(&made);
        return status;
    }
    *out = octet_grammar_share(made.grammar);
    keep(g, &made);
    return OCTET_OK;
}

void grammars_open(struct grammars *g) {
    *g = (struct grammars){.n_asked = 0};
    pthread_mutex_init(&g->lock, NULL);
}

void grammars_close(struct grammars *g) {
    for (size_t i = 0; i < GRAMMARS_KEPT; i++) drop(&g->kept[i]);
    pthread_mutex_destroy(&g->lock);
}
