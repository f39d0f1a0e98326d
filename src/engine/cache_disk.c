/* See cache_disk.h. A file is written under another name and renamed, so a process that dies leaves
 * at most a file that the next one removes. */
#include "engine/cache_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/map.h"
#include "base/mem.h"

enum { HEADER_BYTES = 4096, MAX_WAITING = 64, SAMPLE_BYTES = 4096, NAME_BYTES = 40 };
#define MAGIC UINT64_C(0x31564b746574636f) // "octetKV1" on a little-endian machine

struct header {
    struct cache_key sum; // of the rest of the header
    uint64_t magic, block, n_bytes;
    struct cache_key model, key, parent, data_sum;
    uint64_t n_tokens;
    int32_t tokens[KV_BLOCK];
    uint8_t unused[HEADER_BYTES - 16 - 32 - 64 - KV_BLOCK * 4];
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "the pages of the file stay aligned");

enum errand_kind { WRITE, REMOVE, TOUCH };
struct errand {
    enum errand_kind kind;
    struct cache_entry entry;
    struct kv_page *page; // WRITE
    struct errand *next;
};

struct cache_disk {
    char *folder; // of this model
    struct cache_key model;
    size_t page_bytes;
    int fd; // of the folder
    pthread_t writer;
    bool has_writer;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct errand *first, **last; // under LOCK
    size_t n_waiting;             // writes, under LOCK
    bool closing;                 // under LOCK
};

/* ---- Names ----------------------------------------------------------------------------------- */

static struct cache_key key_of_hash(XXH128_hash_t hash) {
    struct cache_key key;
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(key.bytes, canonical.digest, sizeof key.bytes);
    return key;
}

static struct cache_key key_of_bytes(const void *bytes, size_t n) {
    return key_of_hash(XXH3_128bits(bytes, n));
}

static bool same_key(const struct cache_key *a, const struct cache_key *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

struct cache_key cache_key_of(const struct cache_key *parent, const int32_t *tokens, size_t n) {
    unsigned char bytes[sizeof *parent + KV_BLOCK * sizeof *tokens];
    memcpy(bytes, parent, sizeof *parent);
    memcpy(bytes + sizeof *parent, tokens, n * sizeof *tokens);
    return key_of_bytes(bytes, sizeof *parent + n * sizeof *tokens);
}

/* Directory, length and time of every part, and both ends of every tensor: all that differs between
 * files that anybody has, without reading gigabytes. */
struct cache_key cache_key_of_model(const struct octet_model *model, enum octet_kv_type type) {
    const struct gguf *file = model->file;
    XXH3_state_t *state = XXH3_createState();
    struct cache_key none = {{0}};
    if (!state) return none;
    XXH3_128bits_reset(state);
    const uint64_t about[] = {MAGIC, (uint64_t)type, KV_BLOCK, file->n_parts, file->n_tensors};
    XXH3_128bits_update(state, OCTET_VERSION, sizeof OCTET_VERSION);
    XXH3_128bits_update(state, about, sizeof about);
    for (size_t i = 0; i < file->n_parts; i++) {
        const struct gguf_part *part = &file->parts[i];
        size_t n_head = part->n_bytes;
        for (size_t t = 0; t < file->n_tensors; t++)
            if (file->tensors[t].part == i && file->tensors[t].offset < n_head)
                n_head = file->tensors[t].offset;
        struct stat status = {0};
        if (stat(part->path, &status) != 0) status.st_mtim.tv_sec = 0;
        const int64_t facts[] = {(int64_t)part->n_bytes, status.st_mtim.tv_sec,
                                 status.st_mtim.tv_nsec};
        XXH3_128bits_update(state, facts, sizeof facts);
        XXH3_128bits_update(state, part->bytes, n_head);
    }
    for (size_t t = 0; t < file->n_tensors; t++) {
        const struct gguf_tensor *tensor = &file->tensors[t];
        const size_t n = tensor->bytes < SAMPLE_BYTES ? tensor->bytes : SAMPLE_BYTES;
        XXH3_128bits_update(state, tensor->data, n);
        XXH3_128bits_update(state, (const uint8_t *)tensor->data + tensor->bytes - n, n);
    }
    const struct cache_key key = key_of_hash(XXH3_128bits_digest(state));
    XXH3_freeState(state);
    return key;
}

static void name_of(const struct cache_key *key, const char *ending, char *name) {
    for (size_t i = 0; i < sizeof key->bytes; i++) sprintf(name + 2 * i, "%02x", key->bytes[i]);
    strcpy(name + 2 * sizeof key->bytes, ending);
}

/* ---- Writing, on the writer's thread --------------------------------------------------------- */

static bool write_all(int fd, const void *bytes, size_t n) {
    const uint8_t *at = bytes;
    while (n > 0) {
        const ssize_t n_written = write(fd, at, n);
        if (n_written < 0 && errno == EINTR) continue;
        if (n_written <= 0) return false;
        at += n_written;
        n -= (size_t)n_written;
    }
    return true;
}

static void fill_header(const struct cache_disk *disk, const struct cache_entry *entry,
                        const void *data, struct header *header) {
    *header = (struct header){.magic = MAGIC,
                              .block = entry->block,
                              .n_bytes = disk->page_bytes,
                              .model = disk->model,
                              .key = entry->key,
                              .parent = entry->parent,
                              .n_tokens = entry->n_tokens,
                              .data_sum = key_of_bytes(data, disk->page_bytes)};
    memcpy(header->tokens, entry->tokens, sizeof header->tokens);
    header->sum = key_of_bytes(&header->magic, HEADER_BYTES - sizeof header->sum);
}

/* A file that can not be written is a page that has to be computed again, no more. */
static void write_file(const struct cache_disk *disk, const struct errand *errand) {
    char name[NAME_BYTES], unfinished[NAME_BYTES];
    struct header header;
    name_of(&errand->entry.key, ".kv", name);
    name_of(&errand->entry.key, ".tmp", unfinished);
    fill_header(disk, &errand->entry, errand->page->data, &header);
    const int fd = openat(disk->fd, unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    const bool written = write_all(fd, &header, sizeof header) &&
                         write_all(fd, errand->page->data, disk->page_bytes);
    if (close(fd) != 0 || !written || renameat(disk->fd, unfinished, disk->fd, name) != 0)
        unlinkat(disk->fd, unfinished, 0);
}

static void run_errand(const struct cache_disk *disk, struct errand *errand) {
    char name[NAME_BYTES];
    name_of(&errand->entry.key, ".kv", name);
    switch (errand->kind) {
    case WRITE: write_file(disk, errand); break;
    case REMOVE: unlinkat(disk->fd, name, 0); break;
    case TOUCH: utimensat(disk->fd, name, NULL, 0); break;
    }
    kv_page_drop(errand->page);
    mem_free(errand);
}

static void *run_errands(void *arg) {
    struct cache_disk *disk = arg;
    pthread_mutex_lock(&disk->lock);
    for (;;) {
        while (!disk->first && !disk->closing) pthread_cond_wait(&disk->wake, &disk->lock);
        struct errand *errand = disk->first;
        if (!errand) break;
        disk->first = errand->next;
        if (!disk->first) disk->last = &disk->first;
        pthread_mutex_unlock(&disk->lock);
        const bool was_write = errand->kind == WRITE;
        run_errand(disk, errand);
        pthread_mutex_lock(&disk->lock);
        disk->n_waiting -= was_write;
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

static bool send(struct cache_disk *disk, enum errand_kind kind, const struct cache_entry *entry,
                 struct kv_page *page) {
    struct errand *errand = mem_alloc(sizeof *errand);
    if (!errand) return false;
    *errand = (struct errand){kind, *entry, page, NULL};
    pthread_mutex_lock(&disk->lock);
    const bool room = kind != WRITE || disk->n_waiting < MAX_WAITING;
    if (room) {
        if (page) kv_page_share(page);
        disk->n_waiting += kind == WRITE;
        *disk->last = errand;
        disk->last = &errand->next;
        pthread_cond_signal(&disk->wake);
    }
    pthread_mutex_unlock(&disk->lock);
    if (!room) mem_free(errand);
    return room;
}

bool cache_disk_write(struct cache_disk *disk, const struct cache_entry *entry,
                      struct kv_page *page) {
    return send(disk, WRITE, entry, page);
}

void cache_disk_remove(struct cache_disk *disk, const struct cache_key *key) {
    send(disk, REMOVE, &(struct cache_entry){.key = *key}, NULL);
}

void cache_disk_touch(struct cache_disk *disk, const struct cache_key *key) {
    send(disk, TOUCH, &(struct cache_entry){.key = *key}, NULL);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static enum octet_status open_folder(struct cache_disk *disk, const char *folder,
                                     struct octet_err *err) {
    char name[NAME_BYTES];
    name_of(&disk->model, "", name);
    const size_t n = strlen(folder) + 1 + sizeof name;
    disk->folder = mem_alloc(n);
    if (!disk->folder) return octet_fail_memory(err, "prefix cache", n);
    snprintf(disk->folder, n, "%s/%s", folder, name);
    if ((mkdir(folder, 0700) != 0 && errno != EEXIST) ||
        (mkdir(disk->folder, 0700) != 0 && errno != EEXIST))
        return octet_fail(err, OCTET_EIO, "%s: can not be made: %s", disk->folder, strerror(errno));
    disk->fd = open(disk->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (disk->fd < 0 || faccessat(disk->fd, ".", W_OK | X_OK, 0) != 0)
        return octet_fail(err, OCTET_EIO, "%s: can not be used: %s", disk->folder, strerror(errno));
    return OCTET_OK;
}

enum octet_status cache_disk_open(const char *folder, const struct cache_key *model,
                                  size_t page_bytes, struct cache_disk **out,
                                  struct octet_err *err) {
    *out = NULL;
    struct cache_disk *disk = mem_alloc(sizeof *disk);
    if (!disk) return octet_fail_memory(err, "prefix cache", sizeof *disk);
    disk->model = *model;
    disk->page_bytes = page_bytes;
    disk->fd = -1;
    disk->last = &disk->first;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->wake, NULL);
    enum octet_status status = open_folder(disk, folder, err);
    if (status == OCTET_OK) {
        disk->has_writer = pthread_create(&disk->writer, NULL, run_errands, disk) == 0;
        if (!disk->has_writer) status = octet_fail(err, OCTET_EMEM, "no thread for the cache");
    }
    if (status == OCTET_OK)
        *out = disk;
    else
        cache_disk_close(disk);
    return status;
}

void cache_disk_close(struct cache_disk *disk) {
    if (!disk) return;
    pthread_mutex_lock(&disk->lock);
    disk->closing = true;
    pthread_cond_signal(&disk->wake);
    pthread_mutex_unlock(&disk->lock);
    if (disk->has_writer) pthread_join(disk->writer, NULL);
    if (disk->fd >= 0) close(disk->fd);
    pthread_cond_destroy(&disk->wake);
    pthread_mutex_destroy(&disk->lock);
    mem_free(disk->folder);
    mem_free(disk);
}

size_t cache_disk_file_bytes(const struct cache_disk *disk) {
    return HEADER_BYTES + disk->page_bytes;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool read_all(int fd, void *bytes, size_t n) {
    uint8_t *at = bytes;
    while (n > 0) {
        const ssize_t n_read = read(fd, at, n);
        if (n_read < 0 && errno == EINTR) continue;
        if (n_read <= 0) return false;
        at += n_read;
        n -= (size_t)n_read;
    }
    return true;
}

/* An open file whose header is whole and of this model, -1: none such. */
static int open_file(const struct cache_disk *disk, const char *name, struct header *header,
                     struct stat *status) {
    const int fd = openat(disk->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return -1;
    char expected[NAME_BYTES];
    bool sound = fstat(fd, status) == 0 && S_ISREG(status->st_mode) &&
                 (uint64_t)status->st_size == cache_disk_file_bytes(disk) &&
                 read_all(fd, header, sizeof *header) && header->n_tokens >= 1 &&
                 header->n_tokens <= KV_BLOCK;
    if (sound) {
        const struct cache_key sum =
            key_of_bytes(&header->magic, HEADER_BYTES - sizeof header->sum);
        const struct cache_key key =
            cache_key_of(&header->parent, header->tokens, header->n_tokens);
        name_of(&key, ".kv", expected);
        sound = same_key(&sum, &header->sum) && header->magic == MAGIC &&
                header->n_bytes == disk->page_bytes && same_key(&header->model, &disk->model) &&
                same_key(&header->key, &key) && strcmp(expected, name) == 0;
    }
    if (sound) return fd;
    close(fd);
    return -1;
}

enum octet_status cache_disk_list(struct cache_disk *disk, struct cache_entry **out, size_t *n,
                                  size_t *n_damaged, struct octet_err *err) {
    *out = NULL;
    *n = 0;
    size_t cap = 0;
    DIR *dir = opendir(disk->folder);
    if (!dir)
        return octet_fail(err, OCTET_EIO, "%s: can not be read: %s", disk->folder, strerror(errno));
    enum octet_status status = OCTET_OK;
    for (const struct dirent *item; status == OCTET_OK && (item = readdir(dir)) != NULL;) {
        struct header header;
        struct stat about;
        if (item->d_name[0] == '.') continue;
        const int fd = open_file(disk, item->d_name, &header, &about);
        if (fd < 0) {
            const size_t n_name = strlen(item->d_name);
            *n_damaged += n_name < 4 || strcmp(item->d_name + n_name - 4, ".tmp") != 0;
            unlinkat(disk->fd, item->d_name, 0);
            continue;
        }
        close(fd);
        if (!mem_reserve((void **)out, &cap, *n + 1, sizeof **out)) {
            status = octet_fail_memory(err, "prefix cache", *n * sizeof **out);
            break;
        }
        struct cache_entry *entry = &(*out)[(*n)++];
        *entry = (struct cache_entry){
            .key = header.key,
            .parent = header.parent,
            .block = header.block,
            .n_tokens = header.n_tokens,
            .used = (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec};
        memcpy(entry->tokens, header.tokens, sizeof entry->tokens);
    }
    closedir(dir);
    return status;
}

/* The page of an open file, used where it lies. NULL: no memory. */
static struct kv_page *map_page(const struct cache_disk *disk, int fd) {
    const size_t n = cache_disk_file_bytes(disk);
    posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED); // all of it in one go, where it is not in memory
    uint8_t *const bytes = map_private(fd, disk->folder, n);
    struct kv_page *const page = bytes ? kv_page_mapped(bytes, n, HEADER_BYTES) : NULL;
    if (bytes && !page) map_private_close(bytes, n);
    return page;
}

struct kv_page *cache_disk_read(struct cache_disk *disk, const struct cache_key *key, bool *damaged,
                                bool *no_memory) {
    char name[NAME_BYTES];
    struct header header;
    struct stat about;
    name_of(key, ".kv", name);
    *damaged = *no_memory = false;
    const int fd = open_file(disk, name, &header, &about);
    struct kv_page *page = fd >= 0 ? map_page(disk, fd) : NULL;
    *no_memory = fd >= 0 && !page;
    if (fd >= 0) close(fd);
    if (*no_memory) return NULL;
    if (page) {
        map_populate(page->data, disk->page_bytes, 0);
        const struct cache_key sum = key_of_bytes(page->data, disk->page_bytes);
        if (same_key(&sum, &header.data_sum)) return page;
    }
    *damaged = faccessat(disk->fd, name, F_OK, 0) == 0;
    kv_page_drop(page);
    return NULL;
}
