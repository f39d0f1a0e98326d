/* Memory: checked allocation that tests can make fail, and overflow-checked sizes. All heap memory
 * of the library goes through mem_alloc and mem_realloc. */
#ifndef OCTET_BASE_MEM_H
#define OCTET_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL when out of memory; never NULL for 0 bytes. mem_alloc zeroes. */
void *mem_alloc(size_t n_bytes);
void *mem_array(size_t n, size_t size);     // zeroed; NULL when n * size overflows
void *mem_realloc(void *p, size_t n_bytes); // P stays valid on failure
/* 64-byte aligned, a multiple of 64 bytes long; not zeroed. Freed by mem_free as the others. */
void *mem_aligned(size_t n_bytes);
/* For much that is read again and again: zeroed, and in huge pages where the system has them, whose
 * places in the page table a processor remembers. Aligned and freed as above. */
void *mem_huge(size_t n_bytes);
void mem_free(void *p);
char *mem_strdup(const char *s, size_t n); // n bytes and a NUL

/* Makes room for N elements of SIZE bytes in *p (capacity *cap, doubled as needed); false when out
 * of memory, with *p and *cap as they were. */
bool mem_reserve(void **p, size_t *cap, size_t n, size_t size);

/* Tests: the allocation number AFTER from now (0 = the next) fails, and all later ones;
 * SIZE_MAX = never. Allocations of the calling thread only. */
void mem_fail_after(size_t after);

static inline bool mul_overflows(uint64_t a, uint64_t b, uint64_t *out) {
    return __builtin_mul_overflow(a, b, out);
}
static inline bool add_overflows(uint64_t a, uint64_t b, uint64_t *out) {
    return __builtin_add_overflow(a, b, out);
}

#endif
