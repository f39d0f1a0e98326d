/* What the files of the GGUF reader share: one part of a model, read and indexed. */
#ifndef OCTET_FORMAT_GGUF_READ_H
#define OCTET_FORMAT_GGUF_READ_H

#include "format/gguf.h"

/* Sorted by name and searched by halving: unlike a hash table it can not be made slow by chosen
 * names. */
struct gguf_index {
    bool mapped;                        // the parts are mappings to be closed
    const struct gguf_kv **kvs;         // (n_kvs)
    const struct gguf_tensor **tensors; // (n_tensors)
};

/* Reads one file, whatever its split.* keys say. On success *out has one part, not marked as
 * mapped; on failure BYTES stays the caller's. */
enum octet_status gguf_read_part(const char *path, const uint8_t *bytes, size_t n_bytes,
                                 struct gguf **out, struct octet_err *err);
/* (Re)builds index->tensors; equal names are an error. */
enum octet_status gguf_index_tensors(struct gguf *g, struct octet_err *err);

/* Bytes of one value, 0 for strings and arrays. */
size_t gguf_type_bytes(enum gguf_type type);
/* Bytes of a value in the file, from kv->data on; not for arrays of strings. */
size_t gguf_value_bytes(const struct gguf_kv *kv);

#endif
