/* See cache.h. A page is in memory, on disk or both, and its parent is on disk if it is. A node is
 * used whenever a path through it is, and a path is used from its end to its beginning, so a parent
 * is always more recent than its children and the least recently used node is a leaf. */
#include "engine/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "engine/cache_disk.h"

/* Tokens that the beginning of a page must save, since the page is copied, or read, for them. */
enum { WORTH_COPYING = 8 };
/* A page is read ahead of its need only while more than 1 / SPARE_SHARE of the memory stays
 * available. */
enum { SPARE_SHARE = 16 };

struct node {
    int32_t tokens[KV_BLOCK];
    size_t n_tokens; // KV_BLOCK, or fewer: a tail, a leaf then
    size_t depth; // blocks from the beginning, this one included; 0: the root
    struct node *parent, *child, *sibling;
    struct node *newer, *older;
    struct kv_page *page; // NULL: on disk only, or the root
    struct cache_key key; // known where there is a disk
    bool on_disk;         // or about to be
};

struct octet_cache {
    const struct octet_model *model;
    enum octet_kv_type kv_type;
    uint64_t ram_limit;
    uint64_t disk_limit;
    struct cache_disk *disk;                   // NULL: memory only
    size_t page_bytes, n_pages, n_on_disk;     // n_pages: in memory
    size_t n_damaged;
    struct node root;           // of the tree; and of the ring: older than it is the newest node
    struct cache_member *members;
};

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

/* Tokens at the beginning of the node's that are those of TOKENS (n). */
static size_t n_alike(const struct node *node, const int32_t *tokens, size_t n) {
    size_t i = 0;
    while (i < node->n_tokens && i < n && node->tokens[i] == tokens[i]) i++;
    return i;
}

/* The child that begins with most of TOKENS (n), which are *MOST; NULL: none with any. */
static struct node *find_child(const struct node *node, const int32_t *tokens, size_t n,
                               size_t *most) {
    struct node *best = NULL;
    *most = 0;
    for (struct node *child = node->child; child && *most < KV_BLOCK; child = child->sibling) {
        const size_t alike = n_alike(child, tokens, n);
        if (alike <= *most) continue;
        best = child;
        *most = alike;
    }
    return best;
}

/* PAGE NULL: on disk. NULL: out of memory. */
static struct node *add_child(struct octet_cache *cache, struct node *parent, const int32_t *tokens,
                              size_t n, struct kv_page *page) {
    struct node *node = mem_alloc(sizeof *node);
    if (!node) return NULL;
    memcpy(node->tokens, tokens, n * sizeof *tokens);
    node->n_tokens = n;
    node->depth = parent->depth + 1;
    node->parent = parent;
    node->sibling = parent->child;
    parent->child = node;
    if (cache->disk) node->key = cache_key_of(&parent->key, tokens, n);
    node->page = page ? kv_page_share(page) : NULL;
    node->on_disk = !page;
    make_newest(cache, node);
    cache->n_pages += page != NULL;
    cache->n_on_disk += !page;
    return node;
}

/* Unless it is there, or its parent is not, or the disk is behind. */
static void put_on_disk(struct octet_cache *cache, struct node *node) {
    if (!cache->disk || node->on_disk || !node->page || !node->parent->on_disk) return;
    struct cache_entry entry = {.key = node->key,
                                .parent = node->parent->key,
                                .block = node->depth - 1,
                                .n_tokens = node->n_tokens};
    memcpy(entry.tokens, node->tokens, sizeof entry.tokens);
    node->on_disk = cache_disk_write(cache->disk, &entry, node->page);
    cache->n_on_disk += node->on_disk;
}

static void drop_page(struct octet_cache *cache, struct node *node) {
    if (!node->page) return;
    kv_page_drop(node->page);
    node->page = NULL;
    cache->n_pages--;
}

/* Leaves its file, if it has one, alone. */
static void free_leaf(struct octet_cache *cache, struct node *leaf) {
    struct node **link = &leaf->parent->child;
    while (*link != leaf) link = &(*link)->sibling;
    *link = leaf->sibling;
    unlink_age(leaf);
    drop_page(cache, leaf);
    cache->n_on_disk -= leaf->on_disk;
    mem_free(leaf);
}

static struct node *some_leaf(struct node *node) {
    while (node->child) node = node->child;
    return node;
}

/* With its files and all that follows it. */
static void remove_tree(struct octet_cache *cache, struct node *node) {
    for (struct node *leaf = NULL; leaf != node;) {
        leaf = some_leaf(node);
        if (leaf->on_disk) cache_disk_remove(cache->disk, &leaf->key);
        free_leaf(cache, leaf);
    }
}

/* Forgets the least recently used until both limits are kept. */
static void shrink(struct octet_cache *cache) {
    struct node *node = cache->root.newer;
    while ((uint64_t)cache->n_pages * cache->page_bytes > cache->ram_limit) {
        struct node *newer = node->newer;
        if (node->on_disk)
            drop_page(cache, node);
        else
            remove_tree(cache, node);
        node = newer;
    }
    node = cache->root.newer;
    while (cache->disk &&
           (uint64_t)cache->n_on_disk * cache_disk_file_bytes(cache->disk) > cache->disk_limit) {
        struct node *newer = node->newer;
        if (node->on_disk) remove_tree(cache, node);
        node = newer;
    }
}

void octet_cache_get_info(const struct octet_cache *cache, struct octet_cache_info *out) {
    const uint64_t file_bytes = cache->disk ? cache_disk_file_bytes(cache->disk) : 0;
    *out = (struct octet_cache_info){.ram_bytes = (uint64_t)cache->n_pages * cache->page_bytes,
                                     .n_pages = cache->n_pages,
                                     .disk_bytes = cache->n_on_disk * file_bytes,
                                     .n_disk_pages = cache->n_on_disk,
                                     .n_damaged = cache->n_damaged};
}

/* Brings the page of a node that is on disk into memory; false: out of memory, or the node and what
 * follows it had to go. */
static bool load_page(struct octet_cache *cache, struct node *node, bool *no_memory) {
    bool damaged;
    *no_memory = false;
    if (node->page) return true;
    node->page = cache_disk_read(cache->disk, &node->key, &damaged, no_memory);
    cache->n_pages += node->page != NULL;
    if (node->page || *no_memory) return node->page != NULL;
    cache->n_damaged += damaged;
    remove_tree(cache, node);
    return false;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static int by_block(const void *a, const void *b) {
    const struct cache_entry *x = a, *y = b;
    if (x->block != y->block) return x->block < y->block ? -1 : 1;
    return memcmp(&x->key, &y->key, sizeof x->key);
}

static int by_use(const void *a, const void *b) {
    const struct cache_entry *x = a, *y = b;
    return (x->used > y->used) - (x->used < y->used);
}

/* A node for every file whose beginning is there too; the others' files go. */
static bool grow_tree(struct octet_cache *cache, struct cache_entry *entries, size_t n) {
    if (n == 0) return true;
    qsort(entries, n, sizeof *entries, by_block);
    for (size_t i = 0; i < n; i++) {
        struct cache_entry *entry = &entries[i];
        struct cache_entry wanted = {.key = entry->parent, .block = entry->block - 1};
        struct node *parent = NULL;
        if (entry->block > 0) {
            const struct cache_entry *found = bsearch(&wanted, entries, i, sizeof wanted, by_block);
            parent = found ? found->user : NULL;
        } else if (memcmp(&entry->parent, &cache->root.key, sizeof entry->parent) == 0) {
            parent = &cache->root;
        }
        if (!parent || parent->n_tokens < KV_BLOCK) {
            cache_disk_remove(cache->disk, &entry->key);
            continue;
        }
        entry->user = add_child(cache, parent, entry->tokens, entry->n_tokens, NULL);
        if (!entry->user) return false;
    }
    qsort(entries, n, sizeof *entries, by_use);
    for (size_t i = 0; i < n; i++)
        if (entries[i].user) use_path(cache, entries[i].user);
    return true;
}

static enum octet_status open_disk(struct octet_cache *cache, const char *folder,
                                   struct octet_err *err) {
    cache->root.key = cache_key_of_model(cache->model, cache->kv_type);
    cache->root.on_disk = true;
    enum octet_status status =
        cache_disk_open(folder, &cache->root.key, cache->page_bytes, &cache->disk, err);
    struct cache_entry *entries = NULL;
    size_t n = 0;
    if (status == OCTET_OK)
        status = cache_disk_list(cache->disk, &entries, &n, &cache->n_damaged, err);
    if (status == OCTET_OK && !grow_tree(cache, entries, n))
        status = octet_fail_memory(err, "prefix cache", n * sizeof(struct node));
    mem_free(entries);
    if (status != OCTET_OK) return status;
    shrink(cache);
    return OCTET_OK;
}

enum octet_status octet_cache_open(struct octet_model *model,
                                   const struct octet_cache_options *options,
                                   struct octet_cache **out, struct octet_err *err) {
    *out = NULL;
    if (options->kv_type < OCTET_KV_F16 || options->kv_type > OCTET_KV_Q4_0)
        return octet_fail(err, OCTET_EARG,
                          "kv_type: expected OCTET_KV_F16, _F32, _Q8_0 or _Q4_0, found %d",
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
    cache->disk_limit = options->disk_bytes;
    cache->root.newer = cache->root.older = &cache->root;
    cache->root.n_tokens = KV_BLOCK;
    if (options->folder) status = open_disk(cache, options->folder, err);
    if (status == OCTET_OK)
        *out = cache;
    else
        octet_cache_close(cache);
    return status;
}

void octet_cache_close(struct octet_cache *cache) {
    if (!cache) return;
    octet_assert(!cache->members);
    while (cache->root.child) free_leaf(cache, some_leaf(&cache->root));
    cache_disk_close(cache->disk);
    mem_free(cache);
}

/* ---- Before anybody asks --------------------------------------------------------------------- */

static bool has_room(const struct octet_cache *cache) {
    if ((uint64_t)(cache->n_pages + 1) * cache->page_bytes > cache->ram_limit) return false;
    const uint64_t available = probe_ram_available(); // 0: not known
    return available == 0 || available > cache->page_bytes + probe_ram_total() / SPARE_SHARE;
}

bool octet_cache_fetch(struct octet_cache *cache) {
    struct node *node = cache->root.older;
    while (node != &cache->root && node->page) node = node->older;
    bool no_memory;
    if (node == &cache->root || !has_room(cache)) return false;
    return load_page(cache, node, &no_memory) || !no_memory;
}

/* A path was used from its end to its beginning, so the newest node is the newest text's first. */
bool cache_newest(const struct octet_cache *cache, size_t max, struct octet_tokens *out) {
    out->n = 0;
    const struct node *parent = &cache->root, *node = parent->older;
    for (; node->page && node->parent == parent; parent = node, node = node->older)
        for (size_t i = 0; i < node->n_tokens && out->n < max; i++)
            if (octet_tokens_push(out, node->tokens[i]) != OCTET_OK) return false;
    return out->n > 0;
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

/* Tails that a page with these tokens stands for as well, or nearly: texts are edited at their
 * ends, and each edit would leave one. */
static void drop_tails(struct octet_cache *cache, struct node *parent, const int32_t *tokens,
                       size_t n) {
    for (struct node *child = parent->child, *next; child; child = next) {
        next = child->sibling;
        if (child->n_tokens < KV_BLOCK && 2 * n_alike(child, tokens, n) >= child->n_tokens)
            remove_tree(cache, child);
    }
}

static struct node *add_page(struct octet_cache *cache, struct node *parent, const int32_t *tokens,
                             size_t n, struct kv_page *page) {
    drop_tails(cache, parent, tokens, n);
    return add_child(cache, parent, tokens, n, page);
}

/* Whole blocks; the node of the last. */
static struct node *publish_blocks(struct octet_cache *cache, struct cache_member *member) {
    const int32_t *tokens = member->held->ids;
    struct node *node = &cache->root;
    for (size_t block = 0; (block + 1) * KV_BLOCK <= member->held->n; block++) {
        size_t alike;
        struct kv_page *page = kv_page_of(member->kv, block);
        const int32_t *of_block = tokens + block * KV_BLOCK;
        struct node *next = find_child(node, of_block, KV_BLOCK, &alike);
        if (alike < KV_BLOCK)
            next = page ? add_page(cache, node, of_block, KV_BLOCK, page) : NULL;
        if (!next) break;
        if (!next->page && page) {
            next->page = kv_page_share(page);
            cache->n_pages++;
        }
        // Two sessions that computed the same, each for itself, need one page from now on.
        if (page && page != next->page)
            kv_put_page(member->kv, block, kv_page_share(next->page));
        put_on_disk(cache, next);
        node = next;
    }
    return node;
}

void cache_publish(struct octet_cache *cache, struct cache_member *member) {
    use_path(cache, publish_blocks(cache, member));
    shrink(cache);
}

void cache_keep_tail(struct octet_cache *cache, struct cache_member *member) {
    const size_t n = member->held->n % KV_BLOCK, whole = member->held->n - n;
    if (n < WORTH_COPYING || member->tail_kept) return;
    member->tail_kept = true;
    const int32_t *tokens = member->held->ids + whole;
    struct kv_page *page = kv_page_of(member->kv, whole / KV_BLOCK);
    struct node *parent = publish_blocks(cache, member);
    if (page && parent->depth == whole / KV_BLOCK) {
        size_t alike;
        struct node *tail = find_child(parent, tokens, n, &alike);
        if (alike < n) tail = add_page(cache, parent, tokens, n, page);
        if (tail) put_on_disk(cache, tail);
        if (tail) parent = tail;
    }
    use_path(cache, parent);
    shrink(cache);
}

void octet_cache_settle(struct octet_cache *cache) {
    for (struct cache_member *m = cache->members; m; m = m->next) {
        const size_t n = m->held->n;
        cache_keep_tail(cache, m);
        // The page that is shared now would be copied when the session goes on.
        if (n % KV_BLOCK > 0 && kv_page_of(m->kv, n / KV_BLOCK)) kv_prepare(m->kv, n, 1);
    }
}

/* ---- Restoring ------------------------------------------------------------------------------- */

/* The last node of a path that begins like TOKENS (n), *KNOWN of them. Where it is not all of its
 * page, it saves something beyond the tokens HELD anyway. */
static struct node *find_path(struct octet_cache *cache, const int32_t *tokens, size_t n,
                              size_t held, size_t *known) {
    struct node *node = &cache->root;
    *known = 0;
    for (size_t alike = KV_BLOCK; alike == KV_BLOCK;) {
        struct node *next = find_child(node, tokens + *known, n - *known, &alike);
        const bool worth = alike >= WORTH_COPYING && *known + alike >= held + WORTH_COPYING;
        if (alike < KV_BLOCK && !worth) break;
        *known += alike;
        node = next;
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

/* Loads the pages of a path's blocks FIRST and later. False: some node had to go, or *NO_MEMORY. */
static bool load_path(struct octet_cache *cache, struct node *end, size_t first, bool *no_memory) {
    *no_memory = false;
    for (struct node *node = end; node->depth > first; node = node->parent)
        if (!load_page(cache, node, no_memory)) return false;
    return true;
}

size_t cache_restore(struct octet_cache *cache, struct cache_member *member, const int32_t *tokens,
                     size_t n, size_t held) {
    struct kv *kv = member->kv;
    const struct cache_member *other;
    struct node *end;
    size_t most, first;
    bool no_memory = false, loaded = false;
    while (!loaded) {
        end = find_path(cache, tokens, n, held, &most);
        if (most < held) most = held;
        other = find_member(cache, member, tokens, n, &most);
        use_path(cache, end);
        if (most <= held) return held;
        first = kv_first_visible(kv, most) / KV_BLOCK;
        loaded = other || load_path(cache, end, first, &no_memory);
        if (no_memory) return held;
    }
    kv_clear(kv);
    for (size_t block = first; other && block * KV_BLOCK < most; block++)
        kv_put_page(kv, block, kv_page_share(kv_page_of(other->kv, block)));
    for (struct node *node = end; !other && node->depth > first; node = node->parent)
        kv_put_page(kv, node->depth - 1, kv_page_share(node->page));
    if (cache->disk && end->depth > 0 && end->on_disk) cache_disk_touch(cache->disk, &end->key);
    shrink(cache);
    return most;
}
