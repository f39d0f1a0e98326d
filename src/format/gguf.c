/* Reading one GGUF file: header, metadata, tensor directory, in one pass over untrusted bytes.
 *
 * Every length is compared with what is left of the file before it is used, so memory stays in
 * proportion to the file and nothing is read past its end. The reader is stricter than the format
 * only where laxness would make two readings possible (names with NUL, overlapping tensors). */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/map.h"
#include "base/mem.h"
#include "format/gguf_read.h"

enum {
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 20,
    MAX_KVS = 1 << 16,     // real files have below a hundred
    MAX_TENSORS = 1 << 20, // the largest mixtures with one tensor per expert have 10^5
    MAX_KEY_BYTES = 65535,
    MAX_NAME_BYTES = 63,
};

struct cursor {
    const char *path;
    const uint8_t *bytes;
    size_t n_bytes, pos;
    char where[128]; // what is being read, for messages
    struct octet_err *err;
};

/* ---- Bytes ----------------------------------------------------------------------------------- */

static enum octet_status take(struct cursor *c, uint64_t n, const uint8_t **p) {
    if (n > c->n_bytes - c->pos)
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: %s: expected %" PRIu64 " bytes at offset %zu, found %zu before "
                          "the end of the file",
                          c->path, c->where, n, c->pos, c->n_bytes - c->pos);
    *p = c->bytes + c->pos;
    c->pos += (size_t)n;
    return OCTET_OK;
}

static enum octet_status take_u32(struct cursor *c, uint32_t *out) {
    const uint8_t *p = NULL;
    enum octet_status s = take(c, 4, &p);
    if (s == OCTET_OK) *out = load_u32(p);
    return s;
}

static enum octet_status take_u64(struct cursor *c, uint64_t *out) {
    const uint8_t *p = NULL;
    enum octet_status s = take(c, 8, &p);
    if (s == OCTET_OK) *out = load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
    return s;
}

static enum octet_status take_string(struct cursor *c, struct gguf_string *out) {
    uint64_t n;
    const uint8_t *p = NULL;
    enum octet_status s = take_u64(c, &n);
    if (s == OCTET_OK) s = take(c, n, &p);
    if (s == OCTET_OK) *out = (struct gguf_string){(const char *)p, (size_t)n};
    return s;
}

/* A name of 1..MAX bytes without NUL, copied. */
static enum octet_status take_name(struct cursor *c, size_t max, char **out) {
    struct gguf_string name = {NULL, 0};
    enum octet_status s = take_string(c, &name);
    if (s) return s;
    if (name.n == 0 || name.n > max)
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: %s: expected a name of 1 to %zu bytes, found %zu", c->path, c->where,
                          max, name.n);
    if (memchr(name.p, 0, name.n))
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: %s: expected a name, found a NUL byte in '%.80s'", c->path, c->where,
                          name.p);
    *out = mem_strdup(name.p, name.n);
    return *out ? OCTET_OK : octet_fail_memory(c->err, "a name", name.n + 1);
}

/* ---- Metadata -------------------------------------------------------------------------------- */

size_t gguf_type_bytes(enum gguf_type type) {
    static const uint8_t bytes[GGUF_N_TYPES] = {
        [GGUF_U8] = 1,   [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4,
        [GGUF_I32] = 4,  [GGUF_F32] = 4,  [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8,
        [GGUF_F64] = 8,
    };
    return bytes[type];
}

static enum octet_status take_type(struct cursor *c, const char *what, enum gguf_type *out) {
    uint32_t id;
    enum octet_status s = take_u32(c, &id);
    if (s) return s;
    if (id >= GGUF_N_TYPES)
        return octet_fail(c->err, OCTET_EFORMAT, "%s: %s: expected %s of 0 to %d, found %" PRIu32,
                          c->path, c->where, what, GGUF_N_TYPES - 1, id);
    *out = (enum gguf_type)id;
    return OCTET_OK;
}

static enum octet_status check_bools(struct cursor *c, const uint8_t *p, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return octet_fail(c->err, OCTET_EFORMAT, "%s: %s: expected a bool of 0 or 1, found %d",
                              c->path, c->where, p[i]);
    return OCTET_OK;
}

static enum octet_status take_scalars(struct cursor *c, enum gguf_type type, uint64_t n,
                                      const uint8_t **p) {
    uint64_t n_bytes;
    if (mul_overflows(n, gguf_type_bytes(type), &n_bytes)) n_bytes = UINT64_MAX;
    enum octet_status s = take(c, n_bytes, p);
    if (s == OCTET_OK && type == GGUF_BOOL) s = check_bools(c, *p, n);
    return s;
}

static enum octet_status take_strings(struct cursor *c, struct gguf_kv *kv) {
    size_t left = c->n_bytes - c->pos;
    if (kv->n > left / 8) // the length alone takes 8 bytes
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: %s: expected %" PRIu64 " strings, found %zu bytes "
                          "before the end of the file",
                          c->path, c->where, kv->n, left);
    size_t n = (size_t)kv->n;
    struct gguf_string *strings = mem_array(n, sizeof *strings);
    if (!strings) return octet_fail_memory(c->err, "an array of strings", n * sizeof *strings);
    kv->strings = strings;
    for (size_t i = 0; i < n; i++) {
        enum octet_status s = take_string(c, &strings[i]);
        if (s) return s;
    }
    return OCTET_OK;
}

static enum octet_status take_array(struct cursor *c, struct gguf_kv *kv) {
    enum octet_status s = take_type(c, "an element type", &kv->elem);
    if (s == OCTET_OK) s = take_u64(c, &kv->n);
    if (s) return s;
    kv->data = c->bytes + c->pos;
    if (kv->elem == GGUF_ARRAY)
        return octet_fail(c->err, OCTET_EUNSUPPORTED, "%s: %s: expected an array of plain values, "
                          "found an array of arrays", c->path, c->where);
    if (kv->elem == GGUF_STRING) return take_strings(c, kv);
    return take_scalars(c, kv->elem, kv->n, &kv->data);
}

/* KV is zero and belongs to the caller, also when half filled. */
static enum octet_status take_kv(struct cursor *c, size_t i, struct gguf_kv *kv) {
    snprintf(c->where, sizeof c->where, "key %zu", i);
    char *key = NULL;
    enum octet_status s = take_name(c, MAX_KEY_BYTES, &key);
    kv->key = key;
    if (s) return s;
    snprintf(c->where, sizeof c->where, "key '%.80s'", key);
    s = take_type(c, "a value type", &kv->type);
    if (s) return s;
    if (kv->type == GGUF_ARRAY) return take_array(c, kv);
    kv->n = 1;
    kv->elem = kv->type;
    if (kv->type != GGUF_STRING) return take_scalars(c, kv->type, 1, &kv->data);
    struct gguf_string ignored;
    kv->data = c->bytes + c->pos;
    return take_string(c, &ignored);
}

static int compare_keys(const void *a, const void *b) {
    const struct gguf_kv *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static enum octet_status index_keys(struct gguf *g, struct octet_err *err) {
    const struct gguf_kv **sorted = mem_array(g->n_kvs, sizeof *sorted);
    if (!sorted) return octet_fail_memory(err, "the index of keys", g->n_kvs * sizeof *sorted);
    g->index->kvs = sorted;
    for (size_t i = 0; i < g->n_kvs; i++) sorted[i] = &g->kvs[i];
    qsort(sorted, g->n_kvs, sizeof *sorted, compare_keys);
    for (size_t i = 1; i < g->n_kvs; i++)
        if (compare_keys(&sorted[i - 1], &sorted[i]) == 0)
            return octet_fail(err, OCTET_EFORMAT, "%s: key '%.80s': expected once, found twice",
                              gguf_path(g), sorted[i]->key);
    return OCTET_OK;
}

static enum octet_status take_kvs(struct cursor *c, struct gguf *g, uint64_t n_kvs) {
    size_t cap = 0;
    for (uint64_t i = 0; i < n_kvs; i++) {
        void *kvs = g->kvs;
        bool ok = mem_reserve(&kvs, &cap, g->n_kvs + 1, sizeof *g->kvs);
        g->kvs = kvs;
        if (!ok) return octet_fail_memory(c->err, "keys", (g->n_kvs + 1) * sizeof *g->kvs);
        g->kvs[g->n_kvs] = (struct gguf_kv){0};
        enum octet_status s = take_kv(c, (size_t)i, &g->kvs[g->n_kvs++]);
        if (s) return s;
    }
    return index_keys(g, c->err);
}

/* The only key with a meaning of its own here; the format gives its type. */
static enum octet_status read_alignment(struct gguf *g, struct octet_err *err) {
    g->alignment = DEFAULT_ALIGNMENT;
    const struct gguf_kv *kv = gguf_find(g, "general.alignment");
    if (!kv) return OCTET_OK;
    if (kv->type != GGUF_U32)
        return octet_fail(err, OCTET_EFORMAT, "%s: key 'general.alignment': expected u32, found %s",
                          gguf_path(g), gguf_type_name(kv->type));
    g->alignment = load_u32(kv->data);
    if (g->alignment == 0 || (g->alignment & (g->alignment - 1)) || g->alignment > MAX_ALIGNMENT)
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: key 'general.alignment': expected a power of two up "
                          "to %d, found %" PRIu64,
                          gguf_path(g), MAX_ALIGNMENT, g->alignment);
    return OCTET_OK;
}

/* ---- Tensors --------------------------------------------------------------------------------- */

static enum octet_status take_dims(struct cursor *c, struct gguf_tensor *t) {
    enum octet_status s = take_u32(c, &t->n_dims);
    if (s) return s;
    if (t->n_dims < 1 || t->n_dims > 4)
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: %s: expected 1 to 4 dimensions, found %" PRIu32, c->path, c->where,
                          t->n_dims);
    // Of the dimensions that are not 0, so that any product of some of them fits.
    uint64_t product = 1;
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = 1;
        if (i < t->n_dims) s = take_u64(c, &t->ne[i]);
        if (s) return s;
        uint64_t factor = t->ne[i] ? t->ne[i] : 1;
        if (factor > INT64_MAX || mul_overflows(product, factor, &product) || product > INT64_MAX)
            return octet_fail(c->err, OCTET_EFORMAT, "%s: %s: expected below 2^63 elements, found "
                              "%" PRIu64 " as dimension %" PRIu32, c->path, c->where, t->ne[i], i);
    }
    return OCTET_OK;
}

static enum octet_status take_quant_type(struct cursor *c, struct gguf_tensor *t) {
    uint32_t id;
    enum octet_status s = take_u32(c, &id);
    if (s) return s;
    t->type = quant_find(id);
    if (t->type) return OCTET_OK;
    const char *name = quant_foreign_name(id);
    if (name)
        return octet_fail(c->err, OCTET_EUNSUPPORTED,
                          "%s: %s: type %" PRIu32 " (%s) is not supported", c->path, c->where, id,
                          name);
    return octet_fail(c->err, OCTET_EFORMAT, "%s: %s: type %" PRIu32 " is unknown", c->path,
                      c->where, id);
}

static enum octet_status set_tensor_bytes(struct cursor *c, struct gguf_tensor *t) {
    if (t->ne[0] % t->type->block_elems)
        return octet_fail(c->err, OCTET_EFORMAT, "%s: %s: expected rows of a multiple of %" PRIu32
                          " elements (%s), found %" PRIu64, c->path, c->where, t->type->block_elems,
                          t->type->name, t->ne[0]);
    uint64_t n_bytes = t->ne[0] / t->type->block_elems;
    bool overflow = mul_overflows(n_bytes, t->type->block_bytes, &n_bytes);
    for (int i = 1; i < 4; i++) overflow |= mul_overflows(n_bytes, t->ne[i], &n_bytes);
    if (overflow || n_bytes > c->n_bytes)
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: %s: expected at most the %zu bytes of the file, "
                          "found dimensions of more",
                          c->path, c->where, c->n_bytes);
    t->bytes = n_bytes;
    return OCTET_OK;
}

static enum octet_status take_tensor(struct cursor *c, size_t i, struct gguf_tensor *t) {
    snprintf(c->where, sizeof c->where, "tensor %zu", i);
    char *name = NULL;
    enum octet_status s = take_name(c, MAX_NAME_BYTES, &name);
    t->name = name;
    if (s) return s;
    snprintf(c->where, sizeof c->where, "tensor '%s'", name);
    s = take_dims(c, t);
    if (s == OCTET_OK) s = take_quant_type(c, t);
    if (s == OCTET_OK) s = set_tensor_bytes(c, t);
    if (s == OCTET_OK) s = take_u64(c, &t->offset); // of the data section until placed
    return s;
}

static enum octet_status take_tensors(struct cursor *c, struct gguf *g, uint64_t n_tensors) {
    size_t cap = 0;
    for (uint64_t i = 0; i < n_tensors; i++) {
        void *tensors = g->tensors;
        bool ok = mem_reserve(&tensors, &cap, g->n_tensors + 1, sizeof *g->tensors);
        g->tensors = tensors;
        if (!ok)
            return octet_fail_memory(c->err, "tensors", (g->n_tensors + 1) * sizeof *g->tensors);
        g->tensors[g->n_tensors] = (struct gguf_tensor){0};
        enum octet_status s = take_tensor(c, (size_t)i, &g->tensors[g->n_tensors++]);
        if (s) return s;
    }
    return OCTET_OK;
}

/* Gives every tensor its place in the file and checks that it lies inside. */
static enum octet_status place_tensors(const struct cursor *c, struct gguf *g) {
    uint64_t start = (c->pos + g->alignment - 1) & ~(g->alignment - 1);
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (t->offset % g->alignment)
            return octet_fail(c->err, OCTET_EFORMAT,
                              "%s: tensor '%s': expected an offset that is a "
                              "multiple of %" PRIu64 ", found %" PRIu64,
                              c->path, t->name, g->alignment, t->offset);
        uint64_t offset, end;
        if (add_overflows(start, t->offset, &offset) || add_overflows(offset, t->bytes, &end) ||
            end > c->n_bytes)
            return octet_fail(c->err, OCTET_EFORMAT,
                              "%s: tensor '%s': expected %" PRIu64 " bytes at "
                              "offset %" PRIu64 " + %" PRIu64
                              ", found a file of %zu bytes (incomplete?)",
                              c->path, t->name, t->bytes, start, t->offset, c->n_bytes);
        t->offset = offset;
        t->data = c->bytes + offset;
    }
    return OCTET_OK;
}

static int compare_places(const void *a, const void *b) {
    const struct gguf_tensor *const *x = a, *const *y = b;
    if ((*x)->offset != (*y)->offset) return (*x)->offset < (*y)->offset ? -1 : 1;
    // An empty tensor may share its offset with the one that follows.
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes);
}

static int compare_names(const void *a, const void *b) {
    const struct gguf_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static const struct gguf_tensor **sort_tensors(const struct gguf *g,
                                               int (*compare)(const void *, const void *)) {
    const struct gguf_tensor **sorted = mem_array(g->n_tensors, sizeof *sorted);
    if (!sorted) return NULL;
    for (size_t i = 0; i < g->n_tensors; i++) sorted[i] = &g->tensors[i];
    qsort(sorted, g->n_tensors, sizeof *sorted, compare);
    return sorted;
}

static enum octet_status check_overlap(const struct gguf *g, struct octet_err *err) {
    const struct gguf_tensor **sorted = sort_tensors(g, compare_places);
    if (!sorted) return octet_fail_memory(err, "tensor places", g->n_tensors * sizeof *sorted);
    enum octet_status s = OCTET_OK;
    for (size_t i = 1; i < g->n_tensors && s == OCTET_OK; i++) {
        const struct gguf_tensor *a = sorted[i - 1], *b = sorted[i];
        if (a->offset + a->bytes > b->offset)
            s = octet_fail(err, OCTET_EFORMAT,
                           "%s: tensor '%s': expected to start behind tensor '%s' "
                           "at offset %" PRIu64 ", found %" PRIu64,
                           gguf_path(g), b->name, a->name, a->offset + a->bytes, b->offset);
    }
    mem_free(sorted);
    return s;
}

enum octet_status gguf_index_tensors(struct gguf *g, struct octet_err *err) {
    mem_free(g->index->tensors);
    const struct gguf_tensor **sorted = sort_tensors(g, compare_names);
    g->index->tensors = sorted;
    if (!sorted)
        return octet_fail_memory(err, "the index of tensors", g->n_tensors * sizeof *sorted);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (compare_names(&sorted[i - 1], &sorted[i]) == 0)
            return octet_fail(err, OCTET_EFORMAT, "%s: tensor '%s': expected once, found twice",
                              g->parts[sorted[i]->part].path, sorted[i]->name);
    return OCTET_OK;
}

/* ---- The whole file -------------------------------------------------------------------------- */

static enum octet_status take_version(struct cursor *c, uint32_t *out) {
    const uint8_t *magic = NULL;
    snprintf(c->where, sizeof c->where, "header");
    enum octet_status s = take(c, 4, &magic);
    if (s) return s;
    if (memcmp(magic, "GGUF", 4) != 0)
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: expected a GGUF file (first bytes 47475546), "
                          "found %02x%02x%02x%02x",
                          c->path, magic[0], magic[1], magic[2], magic[3]);
    s = take_u32(c, out);
    if (s) return s;
    if ((*out & 0xffff) == 0 && *out != 0)
        return octet_fail(c->err, OCTET_EUNSUPPORTED,
                          "%s: file is big-endian, expected little-endian", c->path);
    if (*out != 2 && *out != 3)
        return octet_fail(c->err, OCTET_EUNSUPPORTED,
                          "%s: expected GGUF version 2 or 3, found %" PRIu32, c->path, *out);
    return OCTET_OK;
}

static enum octet_status take_count(struct cursor *c, const char *what, uint64_t max,
                                    uint64_t *out) {
    enum octet_status s = take_u64(c, out);
    if (s == OCTET_OK && *out > max)
        return octet_fail(c->err, OCTET_EFORMAT,
                          "%s: expected at most %" PRIu64 " %s, found %" PRIu64, c->path, max, what,
                          *out);
    return s;
}

static enum octet_status read_all(struct cursor *c, struct gguf *g) {
    uint64_t n_tensors, n_kvs;
    enum octet_status s = take_version(c, &g->version);
    if (s == OCTET_OK) s = take_count(c, "tensors", MAX_TENSORS, &n_tensors);
    if (s == OCTET_OK) s = take_count(c, "keys", MAX_KVS, &n_kvs);
    if (s == OCTET_OK) s = take_kvs(c, g, n_kvs);
    if (s == OCTET_OK) s = read_alignment(g, c->err);
    if (s == OCTET_OK) s = take_tensors(c, g, n_tensors);
    if (s == OCTET_OK) s = place_tensors(c, g);
    if (s == OCTET_OK) s = check_overlap(g, c->err);
    if (s == OCTET_OK) s = gguf_index_tensors(g, c->err);
    return s;
}

static struct gguf *new_gguf(const char *path, const uint8_t *bytes, size_t n_bytes) {
    struct gguf *g = mem_alloc(sizeof *g);
    if (!g) return NULL;
    g->index = mem_alloc(sizeof *g->index);
    g->parts = mem_alloc(sizeof *g->parts);
    if (g->parts) {
        g->n_parts = 1;
        g->parts[0] = (struct gguf_part){mem_strdup(path, strlen(path)), bytes, n_bytes};
    }
    if (g->index && g->parts && g->parts[0].path) return g;
    gguf_close(g);
    return NULL;
}

enum octet_status gguf_read_part(const char *path, const uint8_t *bytes, size_t n_bytes,
                                 struct gguf **out, struct octet_err *err) {
    *out = NULL;
    struct gguf *g = new_gguf(path, bytes, n_bytes);
    if (!g) return octet_fail_memory(err, "a file's directory", sizeof *g);
    struct cursor c = {.path = path, .bytes = bytes, .n_bytes = n_bytes, .err = err};
    enum octet_status s = read_all(&c, g);
    if (s == OCTET_OK) *out = g;
    else gguf_close(g);
    return s;
}

void gguf_close(struct gguf *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_kvs; i++) {
        mem_free((void *)(uintptr_t)g->kvs[i].key);
        mem_free((void *)(uintptr_t)g->kvs[i].strings);
    }
    for (size_t i = 0; i < g->n_tensors; i++) mem_free((void *)(uintptr_t)g->tensors[i].name);
    for (size_t i = 0; i < g->n_parts; i++) {
        if (g->index && g->index->mapped) map_close(g->parts[i].bytes, g->parts[i].n_bytes);
        mem_free(g->parts[i].path);
    }
    if (g->index) {
        mem_free(g->index->kvs);
        mem_free(g->index->tensors);
    }
    mem_free(g->index);
    mem_free(g->kvs);
    mem_free(g->tensors);
    mem_free(g->parts);
    mem_free(g);
}
