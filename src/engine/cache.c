/* See cache.h. A node is used whenever a path through it is, and a path is used from its end to its
 * beginning, so a parent is always more recent than its children and the least recently used node
 * is a leaf. */
#include "engine/cache.h"

#include <string.h>

#include "base/mem.h"

struct node {
    int32_t tokens[KV_BLOCK];
    size_t depth; // blocks from the beginning, this one included; 0: the root
    struct node *parent, *child, *sibling;
    struct node *newer, *older;
    struct kv_page *page; // never NULL, but for the root
};

struct octet_cache {
    const struct octet_model *model;
    enum octet_kv_type kv_type;
    uint64_t ram_limit;
    size_t page_bytes, n_pages; // n_pages: nodes without the root
    struct node root;           // of the tree; and of the ring: older than it is the newest node
    struct cache_member *members;
};

/* ---- Opening --------------------------------------------------------------------------------- */

enum octet_status octet_cache_open(struct octet_model *model,
                                   const struct octet_cache_options *options,
                                   struct octet_cache **out, struct octet_err *err) {
    *out = NULL;
    if (options->kv_type < OCTET_KV_F16 || options->kv_type > OCTET_KV_Q8_0)
        return octet_fail(err, OCTET_EARG,
                          "kv_type: expected OCTET_KV_F16, _F32 or _Q8_0, found %d",
                          (int)options->kv_type);
    struct kv kv; // for the size of a page
    enum octet_status status =
        kv_open(&kv, &model->m.shape, KV_BLOCK, KV_BLOCK, options->kv_type, err);
    if (status != OCTET_OK) return status;
    kv_close(&kv);
    struct octet_cache *cache = mem_alloc(sizeof *cache);
    if (!cache) return octet_fail_memory(err, "prefix cache", sizeof *cache);
    cache->model = model;
    cache->kv_type = options->kv_type;
    cache->ram_limit = options->ram_bytes;
    cache->page_bytes = kv.page_bytes;
    cache->root.newer = cache->root.older = &cache->root;
    *out = cache;
    return OCTET_OK;
}

/* ---- Nodes ----------------------------------------------------------------------------------- */

static void unlink_age(struct node *node) {
    node->newer->older = node->older;
    node->older->newer = node->newer;
}

static void make_newest(struct octet_cache *cache, struct node *node) {
    node->newer = &cache->root;
    node->older = cache->root.older;
    node->older->newer = node;
    cache->root.older = node;
}

static void use_path(struct octet_cache *cache, struct node *end) {
    for (struct node *node = end; node != &cache->root; node = node->parent) {
        unlink_age(node);
        make_newest(cache, node);
    }
}

static struct node *find_child(const struct node *node, const int32_t *tokens) {
    struct node *child = node->child;
    while (child && memcmp(child->tokens, tokens, sizeof child->tokens) != 0)
        child = child->sibling;
    return child;
}

/* NULL: out of memory. */
static struct node *add_child(struct octet_cache *cache, struct node *parent, const int32_t *tokens,
                              struct kv_page *page) {
    struct node *node = mem_alloc(sizeof *node);
    if (!node) return NULL;
    memcpy(node->tokens, tokens, sizeof node->tokens);
    node->depth = parent->depth + 1;
    node->parent = parent;
    node->sibling = parent->child;
    parent->child = node;
    node->page = kv_page_share(page);
    make_newest(cache, node);
    cache->n_pages++;
    return node;
}

static void remove_leaf(struct octet_cache *cache, struct node *leaf) {
    struct node **link = &leaf->parent->child;
    while (*link != leaf) link = &(*link)->sibling;
    *link = leaf->sibling;
    unlink_age(leaf);
    kv_page_drop(leaf->page);
    mem_free(leaf);
    cache->n_pages--;
}

static void shrink(struct octet_cache *cache, uint64_t limit) {
    while (cache->n_pages > 0 && (uint64_t)cache->n_pages * cache->page_bytes > limit)
        remove_leaf(cache, cache->root.newer);
}

void octet_cache_close(struct octet_cache *cache) {
    if (!cache) return;
    octet_assert(!cache->members);
    shrink(cache, 0);
    mem_free(cache);
}

void octet_cache_get_info(const struct octet_cache *cache, struct octet_cache_info *out) {
    *out = (struct octet_cache_info){.ram_bytes = (uint64_t)cache->n_pages * cache->page_bytes,
                                     .n_pages = cache->n_pages};
}

/* ---- Members --------------------------------------------------------------------------------- */

bool cache_fits(const struct octet_cache *cache, const struct octet_model *model,
                enum octet_kv_type type) {
    return cache->model == model && cache->kv_type == type;
}

void cache_join(struct octet_cache *cache, struct cache_member *member) {
    member->next = cache->members;
    cache->members = member;
}

void cache_leave(struct octet_cache *cache, struct cache_member *member) {
    struct cache_member **link = &cache->members;
    while (*link != member) link = &(*link)->next;
    *link = member->next;
}

void cache_publish(struct octet_cache *cache, struct cache_member *member) {
    const int32_t *tokens = member->held->ids;
    struct node *node = &cache->root;
    for (size_t block = 0; (block + 1) * KV_BLOCK <= member->held->n; block++) {
        struct kv_page *page = kv_page_of(member->kv, block);
        struct node *next = find_child(node, tokens + block * KV_BLOCK);
        if (!next && page) next = add_child(cache, node, tokens + block * KV_BLOCK, page);
        if (!next) break;
        // Two sessions that computed the same, each for itself, need one page from now on.
        if (page && page != next->page)
            kv_put_page(member->kv, block, kv_page_share(next->page));
        node = next;
    }
    use_path(cache, node);
    shrink(cache, cache->ram_limit);
}

/* ---- Restoring ------------------------------------------------------------------------------- */

static struct node *find_path(struct octet_cache *cache, const int32_t *tokens, size_t n) {
    struct node *node = &cache->root, *next = node;
    for (size_t at = 0; at + KV_BLOCK <= n && next; at += KV_BLOCK) {
        next = find_child(node, tokens + at);
        if (next) node = next;
    }
    return node;
}

static size_t common(const struct octet_tokens *held, const int32_t *tokens, size_t n) {
    size_t i = 0;
    while (i < held->n && i < n && held->ids[i] == tokens[i]) i++;
    return i;
}

/* The other member that holds most, of more than *N tokens; NULL: none does. */
static const struct cache_member *find_member(const struct octet_cache *cache,
                                              const struct cache_member *self,
                                              const int32_t *tokens, size_t n_tokens, size_t *n) {
    const struct cache_member *best = NULL;
    for (const struct cache_member *m = cache->members; m; m = m->next) {
        size_t i = m == self ? 0 : common(m->held, tokens, n_tokens);
        if (i <= *n || !kv_can_resume(m->kv, i)) continue;
        best = m;
        *n = i;
    }
    return best;
}

size_t cache_restore(struct octet_cache *cache, struct cache_member *member, const int32_t *tokens,
                     size_t n, size_t held) {
    struct node *end = find_path(cache, tokens, n);
    size_t known = end->depth * KV_BLOCK, most = held > known ? held : known;
    const struct cache_member *other = find_member(cache, member, tokens, n, &most);
    use_path(cache, end);
    if (most <= held) return held;
    struct kv *kv = member->kv;
    kv_clear(kv);
    size_t first = kv_first_visible(kv, most) / KV_BLOCK;
    for (size_t block = first; other && block * KV_BLOCK < most; block++)
        kv_put_page(kv, block, kv_page_share(kv_page_of(other->kv, block)));
    for (struct node *node = end; !other && node->depth > first; node = node->parent)
        kv_put_page(kv, node->depth - 1, kv_page_share(node->page));
    return most;
}
