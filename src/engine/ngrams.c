/* See ngrams.h. */
#include "engine/ngrams.h"

#include "base/mem.h"

enum { FIRST_BUCKETS = 1024, MAX_CANDIDATES = 64 };

static uint32_t *bucket_of(const struct ngrams *g, size_t end) {
    const uint64_t pair = (uint64_t)(uint32_t)g->tokens.ids[end - 1] << 32 |
                          (uint32_t)g->tokens.ids[end];
    return &g->latest[(pair * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (g->n_buckets - 1)];
}

static void enter(struct ngrams *g, size_t end) {
    if (end == 0) return;
    uint32_t *const latest = bucket_of(g, end);
    g->earlier[end] = *latest;
    *latest = (uint32_t)end;
}

void ngrams_free(struct ngrams *g) {
    octet_tokens_free(&g->tokens);
    mem_free(g->earlier);
    mem_free(g->latest);
    *g = (struct ngrams){0};
}

/* Buckets enough for N tokens; those held are entered again. */
static bool grow(struct ngrams *g, size_t n) {
    size_t n_buckets = g->n_buckets ? g->n_buckets : FIRST_BUCKETS;
    while (n_buckets < n) n_buckets *= 2;
    if (n_buckets == g->n_buckets) return true;
    uint32_t *const latest = mem_array(n_buckets, sizeof *latest);
    if (!latest) return false;
    mem_free(g->latest);
    g->latest = latest;
    g->n_buckets = n_buckets;
    for (size_t i = 0; i < g->tokens.n; i++) enter(g, i);
    return true;
}

/* Chains begin with the latest pair, so cutting from the end undoes them exactly. */
static void cut(struct ngrams *g, size_t n) {
    while (g->tokens.n > n) {
        const size_t end = --g->tokens.n;
        if (end > 0) *bucket_of(g, end) = g->earlier[end];
    }
}

bool ngrams_set(struct ngrams *g, const int32_t *ids, size_t n, size_t *n_kept) {
    size_t kept = 0;
    while (kept < n && kept < g->tokens.n && ids[kept] == g->tokens.ids[kept]) kept++;
    cut(g, kept);
    *n_kept = kept;
    void *earlier = g->earlier;
    if (n > UINT32_MAX || !grow(g, n)) return false;
    if (!mem_reserve(&earlier, &g->cap_earlier, n, sizeof *g->earlier)) return false;
    g->earlier = earlier;
    for (size_t i = kept; i < n; i++) {
        if (octet_tokens_push(&g->tokens, ids[i]) != OCTET_OK) return false;
        enter(g, i);
    }
    return true;
}

int32_t *ngrams_spare(struct ngrams *g, size_t n) {
    void *ids = g->tokens.ids;
    if (!mem_reserve(&ids, &g->tokens.cap, g->tokens.n + n, sizeof *g->tokens.ids)) return NULL;
    g->tokens.ids = ids;
    return g->tokens.ids + g->tokens.n;
}

/* Tokens up to END that are those up to the end of the text, at most NGRAM_MAX. */
static size_t length_at(const struct ngrams *g, size_t end) {
    const int32_t *const last = g->tokens.ids + g->tokens.n - 1, *const other = g->tokens.ids + end;
    size_t length = 0;
    while (length < NGRAM_MAX && length <= end && *(last - length) == *(other - length)) length++;
    return length;
}

struct match ngrams_match(const struct ngrams *g, struct match before) {
    struct match best = {0};
    const size_t n = g->tokens.n;
    if (n < NGRAM_MIN) return best;
    if (before.length > 0 && before.at + 1 < n)
        best = (struct match){before.at + 1, length_at(g, before.at)};
    size_t end = g->earlier[n - 1];
    for (int i = 0; i < MAX_CANDIDATES && end > 0 && best.length < NGRAM_MAX; i++) {
        const size_t length = length_at(g, end);
        if (length > best.length) best = (struct match){end + 1, length};
        end = g->earlier[end];
    }
    return best.length < NGRAM_MIN ? (struct match){0} : best;
}
