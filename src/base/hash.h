/* FNV-1a, 64 bits: names contents that nobody has a reason to forge. */
#ifndef OCTET_BASE_HASH_H
#define OCTET_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_INIT UINT64_C(0xcbf29ce484222325)

/* Start from HASH_INIT or an earlier result. */
static inline uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n_bytes) {
    const unsigned char *const b = bytes;
    for (size_t i = 0; i < n_bytes; i++) hash = (hash ^ b[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
