/* GGUF files: bytes to a checked directory of metadata and tensors. No model knowledge.
 * Spec: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. */
#ifndef OCTET_FORMAT_GGUF_H
#define OCTET_FORMAT_GGUF_H

#include "base/status.h"
#include "quant/quant.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_N_TYPES
};

/* Bytes inside the mapped file; not NUL-terminated. */
struct gguf_string {
    const char *p;
    size_t n;
};

struct gguf_kv {
    const char *key; // NUL-terminated copy
    enum gguf_type type;
    enum gguf_type elem; // of an array, else the same as type
    uint64_t n;          // elements of an array, else 1
    const uint8_t *data; // first value in the file; unaligned; of a string, its u64 length
    const struct gguf_string *strings; // (n) for arrays of strings, else NULL
};

struct gguf_tensor {
    const char *name; // NUL-terminated copy
    uint32_t n_dims;
    uint64_t ne[4]; // fastest-varying first; 1 beyond n_dims
    const struct quant_type *type;
    uint64_t offset; // from the start of its part's file
    uint64_t bytes;
    uint32_t part;
    const void *data; // in the mapping
};

struct gguf_part {
    char *path;
    const uint8_t *bytes; // mapped read-only, or the caller's memory
    size_t n_bytes;
};

struct gguf {
    uint32_t version;
    uint64_t alignment;
    struct gguf_kv *kvs;
    size_t n_kvs;
    struct gguf_tensor *tensors; // of all parts, in file order
    size_t n_tensors;
    struct gguf_part *parts;
    size_t n_parts;
    // private: name lookup tables and string storage
    struct gguf_index *index;
};

/* Maps PATH (and, where it is the first part of a split file, the others) and checks everything but
 * the weights themselves. PATH that is a later part is refused with the name of the first. */
enum octet_status gguf_open(const char *path, struct gguf **out, struct octet_err *err);
/* Parses one file held in memory that outlives the result; NAME is for messages. For tests and
 * fuzzing; parts of split files are refused. */
enum octet_status gguf_parse(const char *name, const uint8_t *bytes, size_t n_bytes,
                             struct gguf **out, struct octet_err *err);
void gguf_close(struct gguf *g);

const char *gguf_path(const struct gguf *g);                                   // of the first part
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);        // NULL: absent
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name); // NULL: absent

/* Typed reads. Integers of any width, bool not included; out of [min, max] or another type is an
 * EFORMAT naming file, key, expected and found. *out stays as it was where the key is absent:
 * REQUIRED makes absence an error. */
enum octet_status gguf_get_int(const struct gguf *g, const char *key, bool required, int64_t min,
                               int64_t max, int64_t *out, struct octet_err *err);
enum octet_status gguf_get_float(const struct gguf *g, const char *key, bool required, double *out,
                                 struct octet_err *err); // finite f32 or f64
enum octet_status gguf_get_bool(const struct gguf *g, const char *key, bool required, bool *out,
                                struct octet_err *err);
enum octet_status gguf_get_string(const struct gguf *g, const char *key, bool required,
                                  struct gguf_string *out, struct octet_err *err);

/* Element i of an array of integers or floats (any width), as int64 or double. */
int64_t gguf_array_int(const struct gguf_kv *kv, uint64_t i);
double gguf_array_float(const struct gguf_kv *kv, uint64_t i);
const char *gguf_type_name(enum gguf_type type); // "u8" ... "array"

/* ---- Writing --------------------------------------------------------------------------------- */

struct gguf_writer;

/* Collects metadata and tensor descriptions, then writes them to PATH.part (renamed to PATH by
 * finish). Calls after a failure do nothing; the failure comes from begin_data or finish. */
enum octet_status gguf_writer_open(const char *path, struct gguf_writer **out,
                                   struct octet_err *err);
void gguf_writer_close(struct gguf_writer *w); // removes an unfinished file
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_writer *w, const char *key, float value);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_put_string(struct gguf_writer *w, const char *key, const char *value, size_t n);
void gguf_put_strings(struct gguf_writer *w, const char *key, const struct gguf_string *v,
                      size_t n);
void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n);
void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n);
void gguf_put_copy(struct gguf_writer *w, const struct gguf_kv *kv); // a pair of another file
void gguf_put_tensor(struct gguf_writer *w, const char *name, const struct quant_type *type,
                     const uint64_t *ne, uint32_t n_dims);
/* Writes the header; N_BYTES (may be NULL): size of the whole file to come. */
enum octet_status gguf_begin_data(struct gguf_writer *w, uint64_t *n_bytes, struct octet_err *err);
/* The data of the tensors in the order they were put; any number of calls per tensor; padding is
 * added between tensors. */
enum octet_status gguf_write_data(struct gguf_writer *w, const void *data, size_t n_bytes,
                                  struct octet_err *err);
enum octet_status gguf_finish(struct gguf_writer *w, struct octet_err *err);

#endif
