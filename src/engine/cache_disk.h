/* Pages of a prefix cache as files that survive the process: FOLDER/MODEL/KEY.kv, where MODEL names
 * weights, number format and version of octet, and KEY all tokens up to the page's end. A file is
 * believed only as far as its checksums go. Writing happens on a thread of its own. */
#ifndef OCTET_ENGINE_CACHE_DISK_H
#define OCTET_ENGINE_CACHE_DISK_H

#include "engine/model.h"

struct cache_key {
    unsigned char bytes[16];
};

/* What a file says of its page. */
struct cache_entry {
    struct cache_key key, parent; // parent: of the block before; of the first block, the model's
    uint64_t block;               // positions block * KV_BLOCK ...
    uint64_t n_tokens;            // 1 to KV_BLOCK
    int32_t tokens[KV_BLOCK];     // zeros after those
    int64_t used; // nanoseconds since 1970
    void *user;
};

struct cache_disk;

/* Names all that decides what a page holds, the tokens aside. */
struct cache_key cache_key_of_model(const struct octet_model *model, enum octet_kv_type type);
struct cache_key cache_key_of(const struct cache_key *parent, const int32_t *tokens, size_t n);

/* Makes FOLDER where it is missing, for its owner alone. */
enum octet_status cache_disk_open(const char *folder, const struct cache_key *model,
                                  size_t page_bytes, struct cache_disk **out,
                                  struct octet_err *err);
void cache_disk_close(struct cache_disk *disk); // NULL allowed; writes what waits
size_t cache_disk_file_bytes(const struct cache_disk *disk);

/* The files with a sound header, the caller's; unsound ones are removed and counted. */
enum octet_status cache_disk_list(struct cache_disk *disk, struct cache_entry **out, size_t *n,
                                  size_t *n_damaged, struct octet_err *err);
/* One reference, the caller's; NULL: no such page, or *DAMAGED, or *NO_MEMORY. */
struct kv_page *cache_disk_read(struct cache_disk *disk, const struct cache_key *key, bool *damaged,
                                bool *no_memory);

/* Done later, in this order. WRITE takes a reference of its own; false: too much waits. */
bool cache_disk_write(struct cache_disk *disk, const struct cache_entry *entry,
                      struct kv_page *page);
void cache_disk_remove(struct cache_disk *disk, const struct cache_key *key);
void cache_disk_touch(struct cache_disk *disk, const struct cache_key *key); // used just now

#endif
