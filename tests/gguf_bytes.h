/* GGUF files written byte by byte, right or wrong as a test wants them. */
#ifndef OCTET_TESTS_GGUF_BYTES_H
#define OCTET_TESTS_GGUF_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

struct bytes {
    uint8_t *p;
    size_t n;
};

static inline void put(struct bytes *b, const void *data, size_t n) {
    b->p = realloc(b->p, b->n + n + 1);
    if (!b->p) abort();
    if (n) memcpy(b->p + b->n, data, n);
    b->n += n;
}

static inline void put_uint(struct bytes *b, uint64_t value, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++) put(b, &(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

static inline void put_u32(struct bytes *b, uint32_t value) { put_uint(b, value, 4); }
static inline void put_u64(struct bytes *b, uint64_t value) { put_uint(b, value, 8); }

static inline void put_text(struct bytes *b, const char *text) {
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static inline void put_zeros(struct bytes *b, size_t n) {
    while (n--) put_uint(b, 0, 1);
}

static inline void put_pad(struct bytes *b, size_t alignment) {
    while (b->n % alignment) put_uint(b, 0, 1);
}

static inline void put_header(struct bytes *b, uint64_t n_tensors, uint64_t n_kvs) {
    put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, n_tensors);
    put_u64(b, n_kvs);
}

static inline void put_key(struct bytes *b, const char *key, uint32_t type) {
    put_text(b, key);
    put_u32(b, type);
}

static inline void put_kv_uint(struct bytes *b, const char *key, enum gguf_type type,
                               uint64_t value, size_t n_bytes) {
    put_key(b, key, (uint32_t)type);
    put_uint(b, value, n_bytes);
}

static inline void put_kv_u32(struct bytes *b, const char *key, uint32_t value) {
    put_kv_uint(b, key, GGUF_U32, value, 4);
}

static inline void put_kv_text(struct bytes *b, const char *key, const char *value) {
    put_key(b, key, GGUF_STRING);
    put_text(b, value);
}

static inline void put_kv_array(struct bytes *b, const char *key, uint32_t elem, uint64_t n) {
    put_key(b, key, GGUF_ARRAY);
    put_u32(b, elem);
    put_u64(b, n);
}

static inline void put_tensor(struct bytes *b, const char *name, uint32_t n_dims,
                              const uint64_t *ne, uint32_t type, uint64_t offset) {
    put_text(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 8; i++) put_u64(b, ne[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

#endif
