/* Opening a model: one file, or all parts of a split one. The first part's metadata counts; later
 * parts add their tensors. Part names follow from the path alone, never from file contents. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "format/gguf_read.h"

enum { MAX_PARTS = 65535 }; // split.count is u16

struct split {
    int64_t no, count, n_tensors;
};

static enum octet_status read_split(const struct gguf *g, struct split *out,
                                    struct octet_err *err) {
    *out = (struct split){0, 1, -1};
    enum octet_status s = gguf_get_int(g, "split.count", false, 0, MAX_PARTS, &out->count, err);
    if (s || out->count <= 1) return s;
    s = gguf_get_int(g, "split.no", true, 0, out->count - 1, &out->no, err);
    if (s == OCTET_OK)
        s = gguf_get_int(g, "split.tensors.count", true, 0, INT32_MAX, &out->n_tensors, err);
    return s;
}

enum { SUFFIX_BYTES = 64 };

/* "-00001-of-00003.gguf" */
static void part_suffix(char out[SUFFIX_BYTES], int64_t no, int64_t count) {
    snprintf(out, SUFFIX_BYTES, "-%05" PRId64 "-of-%05" PRId64 ".gguf", no + 1, count);
}

/* The path of part NO, given the path of part GIVEN. */
static enum octet_status part_path(const char *path, int64_t given, int64_t no, int64_t count,
                                   char **out, struct octet_err *err) {
    *out = NULL;
    char suffix[SUFFIX_BYTES];
    part_suffix(suffix, given, count);
    size_t n_path = strlen(path), n_suffix = strlen(suffix);
    if (n_path < n_suffix || strcmp(path + n_path - n_suffix, suffix) != 0)
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: part %" PRId64 " of a model in %" PRId64 " files: "
                          "expected a name ending in %s",
                          path, given + 1, count, suffix);
    *out = mem_strdup(path, n_path);
    if (!*out) return octet_fail_memory(err, "a part's path", n_path + 1);
    part_suffix(suffix, no, count);
    memcpy(*out + n_path - n_suffix, suffix, n_suffix);
    return OCTET_OK;
}

static enum octet_status not_first(const char *path, const struct split *split,
                                   struct octet_err *err) {
    char *first;
    part_path(path, split->no, 0, split->count, &first, NULL);
    enum octet_status s = octet_fail(err, OCTET_EFORMAT, "%s: is part %" PRId64 " of %" PRId64
                                     ": open %s", path, split->no + 1, split->count,
                                     first ? first : "the first part");
    mem_free(first);
    return s;
}

static enum octet_status open_part(const char *path, struct gguf **out, struct octet_err *err) {
    *out = NULL;
    const uint8_t *bytes;
    size_t n_bytes;
    enum octet_status s = map_open(path, &bytes, &n_bytes, err);
    if (s) return s;
    s = gguf_read_part(path, bytes, n_bytes, out, err);
    if (s == OCTET_OK) (*out)->index->mapped = true;
    else map_close(bytes, n_bytes);
    return s;
}

/* Moves file and tensors of PART to G. */
static enum octet_status append_part(struct gguf *g, struct gguf *part, struct octet_err *err) {
    size_t n_tensors = g->n_tensors + part->n_tensors;
    struct gguf_part *parts = mem_realloc(g->parts, (g->n_parts + 1) * sizeof *parts);
    if (parts) g->parts = parts;
    struct gguf_tensor *tensors = mem_realloc(g->tensors, n_tensors * sizeof *tensors);
    if (tensors) g->tensors = tensors;
    if (!parts || !tensors)
        return octet_fail_memory(err, "a part's tensors", n_tensors * sizeof *tensors);
    for (size_t i = 0; i < part->n_tensors; i++) {
        part->tensors[i].part = (uint32_t)g->n_parts;
        tensors[g->n_tensors++] = part->tensors[i];
    }
    parts[g->n_parts++] = part->parts[0];
    part->n_tensors = 0;
    part->n_parts = 0;
    return OCTET_OK;
}

static enum octet_status check_part(const struct gguf *part, const struct split *first, int64_t no,
                                    struct octet_err *err) {
    struct split split;
    enum octet_status s = read_split(part, &split, err);
    if (s) return s;
    if (split.no != no || split.count != first->count || split.n_tensors != first->n_tensors)
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: expected part %" PRId64 " of %" PRId64 " with %" PRId64
                          " tensors in all, found part %" PRId64 " of %" PRId64 " with %" PRId64,
                          gguf_path(part), no + 1, first->count, first->n_tensors, split.no + 1,
                          split.count, split.n_tensors);
    return OCTET_OK;
}

static enum octet_status add_part(struct gguf *g, const struct split *first, int64_t no,
                                  struct octet_err *err) {
    char *path;
    enum octet_status s = part_path(gguf_path(g), 0, no, first->count, &path, err);
    if (s) return s;
    struct gguf *part;
    struct octet_err inner = {0};
    s = open_part(path, &part, &inner);
    mem_free(path);
    if (s)
        return octet_fail(err, s, "%s (part %" PRId64 " of %" PRId64 ")", inner.message, no + 1,
                          first->count);
    s = check_part(part, first, no, err);
    if (s == OCTET_OK) s = append_part(g, part, err);
    gguf_close(part);
    return s;
}

static enum octet_status add_parts(struct gguf *g, const struct split *first,
                                   struct octet_err *err) {
    for (int64_t no = 1; no < first->count; no++) {
        enum octet_status s = add_part(g, first, no, err);
        if (s) return s;
    }
    if (first->n_tensors != (int64_t)g->n_tensors)
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: key 'split.tensors.count': expected the %zu tensors "
                          "of all parts, found %" PRId64,
                          gguf_path(g), g->n_tensors, first->n_tensors);
    return gguf_index_tensors(g, err);
}

enum octet_status gguf_open(const char *path, struct gguf **out, struct octet_err *err) {
    struct gguf *g;
    *out = NULL;
    enum octet_status s = open_part(path, &g, err);
    if (s) return s;
    struct split split;
    s = read_split(g, &split, err);
    if (s == OCTET_OK && split.no != 0) s = not_first(path, &split, err);
    else if (s == OCTET_OK && split.count > 1) s = add_parts(g, &split, err);
    if (s == OCTET_OK) *out = g;
    else gguf_close(g);
    return s;
}

enum octet_status gguf_parse(const char *name, const uint8_t *bytes, size_t n_bytes,
                             struct gguf **out, struct octet_err *err) {
    struct gguf *g;
    *out = NULL;
    enum octet_status s = gguf_read_part(name, bytes, n_bytes, &g, err);
    if (s) return s;
    struct split split;
    s = read_split(g, &split, err);
    if (s == OCTET_OK && split.count > 1)
        s = octet_fail(err, OCTET_EUNSUPPORTED,
                       "%s: is part of a split model; expected a whole file", name);
    if (s == OCTET_OK) *out = g;
    else gguf_close(g);
    return s;
}
