/* Hashing for the vocabulary: tokens by text, and the hash functions that merges use as well.
 *
 * A vocabulary may come from anywhere and has up to millions of entries, so the hash is keyed with
 * a secret: with a fixed function a file could make every lookup a walk over the whole table. The
 * secret changes places in the table only, never a result. */
#include <string.h>
#include <sys/random.h>

#include "text/vocab_impl.h"

struct hash_key hash_key_new(void) {
    struct hash_key key = {{UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xd1b54a32d192ed03)}};
    uint64_t secret[2];
    if (getrandom(secret, sizeof secret, GRND_NONBLOCK) == (ssize_t)sizeof secret)
        for (int i = 0; i < 2; i++) key.k[i] ^= secret[i];
    return key;
}

/* Both halves of the 128-bit product together. */
static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(const struct hash_key *key, const char *p, size_t n) {
    uint64_t hash = key->k[0] ^ n;
    while (n > 0) {
        uint64_t words[2] = {0, 0};
        size_t n_block = n < sizeof words ? n : sizeof words;
        memcpy(words, p, n_block);
        hash = mix(words[0] ^ key->k[1], words[1] ^ hash);
        p += n_block;
        n -= n_block;
    }
    return mix(hash ^ key->k[0], key->k[1]);
}

uint64_t hash_pair(const struct hash_key *key, int32_t a, int32_t b) {
    uint64_t both = (uint64_t)(uint32_t)a << 32 | (uint32_t)b;
    return mix(both ^ key->k[0], key->k[1]);
}

size_t hash_table_size(size_t n_entries) {
    size_t size = 16;
    while (size / 2 < n_entries) size *= 2;
    return size;
}

bool text_map_init(struct text_map *map, const struct token *tokens, size_t n_entries) {
    size_t size = hash_table_size(n_entries);
    map->tokens = tokens;
    map->mask = size - 1;
    map->slots = mem_array(size, sizeof *map->slots);
    return map->slots != NULL;
}

void text_map_free(struct text_map *map) { mem_free(map->slots); }

/* The slot that holds this text, or the free one where it would go. */
static int32_t *find_slot(const struct text_map *map, const struct hash_key *key, const char *text,
                          size_t n) {
    size_t i = (size_t)hash_bytes(key, text, n) & map->mask;
    for (;; i = (i + 1) & map->mask) {
        int32_t *slot = &map->slots[i];
        if (!*slot) return slot;
        const struct token *t = &map->tokens[*slot - 1];
        if (t->n_name == n && memcmp(t->name, text, n) == 0) return slot;
    }
}

void text_map_add(struct text_map *map, const struct hash_key *key, int32_t id) {
    const struct token *t = &map->tokens[id];
    if (t->n_name == 0) return;
    int32_t *slot = find_slot(map, key, t->name, t->n_name);
    if (!*slot) *slot = id + 1;
}

int32_t text_map_find(const struct text_map *map, const struct hash_key *key, const char *text,
                      size_t n) {
    return *find_slot(map, key, text, n) - 1;
}
