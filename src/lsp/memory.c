/* See memory.h. */
#include "lsp/memory.h"

#include <string.h>

#include "base/mem.h"

static void forget(struct remembered *r) {
    mem_free(r->uri);
    mem_free(r->text);
    mem_free(r->before);
    mem_free(r->after);
    *r = (struct remembered){0};
}

void memory_clear(struct memory *memory) {
    for (size_t i = 0; i < MEMORY_ANSWERS; i++) forget(&memory->items[i]);
}

void memory_put(struct memory *memory, const char *uri, const char *prefix, const char *suffix,
                const char *text) {
    struct remembered *const r = &memory->items[memory->n_put++ % MEMORY_ANSWERS];
    const size_t n = strlen(prefix), n_before = n < MEMORY_BEFORE ? n : MEMORY_BEFORE;
    forget(r);
    r->uri = mem_strdup(uri, strlen(uri));
    r->text = mem_strdup(text, strlen(text));
    r->before = mem_strdup(prefix + n - n_before, n_before);
    r->after = mem_strdup(suffix, strnlen(suffix, MEMORY_AFTER));
    r->is_start = n_before == n;
    if (!r->uri || !r->text || !r->before || !r->after) forget(r);
}

/* Bytes of the answer that PREFIX (n) ends with; -1: it is another text. */
static ptrdiff_t n_typed(const struct remembered *r, const char *prefix, size_t n) {
    const size_t n_before = strlen(r->before), n_text = strlen(r->text);
    for (size_t k = 0; k <= n_text && n_before + k <= n; k++) {
        const char *const begin = prefix + n - n_before - k;
        if (r->is_start && begin != prefix) continue;
        if (memcmp(begin + n_before, r->text, k) == 0 && memcmp(begin, r->before, n_before) == 0)
            return (ptrdiff_t)k;
    }
    return -1;
}

const char *memory_get(const struct memory *memory, const char *uri, const char *prefix,
                       const char *suffix) {
    const size_t n = strlen(prefix);
    for (size_t i = 0; i < MEMORY_ANSWERS; i++) {
        const size_t newest = memory->n_put + MEMORY_ANSWERS - 1 - i;
        const struct remembered *const r = &memory->items[newest % MEMORY_ANSWERS];
        if (!r->uri || strcmp(r->uri, uri) != 0) continue;
        const size_t n_after = strlen(r->after);
        if (strnlen(suffix, MEMORY_AFTER) != n_after || memcmp(suffix, r->after, n_after) != 0)
            continue;
        const ptrdiff_t k = n_typed(r, prefix, n);
        if (k < 0 || (k > 0 && !r->text[k])) continue; // all of it was typed: ask for more
        return r->text + k;
    }
    return NULL;
}
