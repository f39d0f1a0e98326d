/* The prefix cache behind octet.h: a tree whose nodes are blocks of KV_BLOCK tokens with the page
 * of their keys and values, and the sessions that take part. Pages are shared, never copied. The
 * last node of a path may be a tail of fewer tokens, and a page's first tokens can do alone. */
#ifndef OCTET_ENGINE_CACHE_H
#define OCTET_ENGINE_CACHE_H

#include "engine/model.h"

/* What the cache knows of a session. */
struct cache_member {
    struct kv *kv;
    const struct octet_tokens *held;
    bool tail_kept; // nothing was computed since
    struct cache_member *next;
};

bool cache_fits(const struct octet_cache *cache, const struct octet_model *model,
                enum octet_kv_type type);
void cache_join(struct octet_cache *cache, struct cache_member *member);
void cache_leave(struct octet_cache *cache, struct cache_member *member);

/* Puts the longest known prefix of TOKENS (n) into the member's kv, if it is longer than HELD;
 * returns its length, or HELD with nothing changed. */
size_t cache_restore(struct octet_cache *cache, struct cache_member *member, const int32_t *tokens,
                     size_t n, size_t held);
/* The text used last, as far as its pages are in memory, at most MAX tokens, into OUT; false: there
 * is none, or no memory. */
bool cache_newest(const struct octet_cache *cache, size_t max, struct octet_tokens *out);
/* The member has computed a block more. */
void cache_publish(struct octet_cache *cache, struct cache_member *member);
/* Keeps what the member holds beyond whole blocks. */
void cache_keep_tail(struct octet_cache *cache, struct cache_member *member);

#endif
