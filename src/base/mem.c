/* Checked allocation with a fault injector for tests. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Thread_local size_t fail_countdown = SIZE_MAX;

void mem_fail_after(size_t after) { fail_countdown = after; }

static bool injected_failure(void) {
    if (fail_countdown == SIZE_MAX) return false;
    if (fail_countdown == 0) return true;
    fail_countdown--;
    return false;
}

void *mem_alloc(size_t n_bytes) {
    if (injected_failure()) return NULL;
    return calloc(1, n_bytes ? n_bytes : 1);
}

void *mem_array(size_t n, size_t size) {
    uint64_t n_bytes;
    if (mul_overflows(n, size, &n_bytes) || n_bytes > SIZE_MAX) return NULL;
    return mem_alloc((size_t)n_bytes);
}

void *mem_realloc(void *p, size_t n_bytes) {
    if (injected_failure()) return NULL;
    return realloc(p, n_bytes ? n_bytes : 1);
}

/* N_BYTES in whole multiples of ALIGNMENT, a power of two. */
static void *allocate_aligned(size_t n_bytes, size_t alignment) {
    if (injected_failure() || n_bytes > SIZE_MAX - alignment) return NULL;
    size_t rounded = (n_bytes + alignment - 1) & ~(alignment - 1);
    return aligned_alloc(alignment, rounded ? rounded : alignment);
}

void *mem_aligned(size_t n_bytes) { return allocate_aligned(n_bytes, 64); }

void *mem_huge(size_t n_bytes) {
    const size_t huge = (size_t)2 << 20, n_huge = n_bytes / huge;
    void *p = n_huge > 0 ? allocate_aligned(n_bytes, huge) : mem_aligned(n_bytes);
    if (!p) return NULL;
    if (n_huge > 0) madvise(p, n_huge * huge, MADV_HUGEPAGE); // if not, small ones will do
    return memset(p, 0, n_bytes);
}

void mem_free(void *p) { free(p); }

char *mem_strdup(const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *copy = mem_alloc(n + 1);
    if (copy && n) memcpy(copy, s, n);
    return copy;
}

bool mem_reserve(void **p, size_t *cap, size_t n, size_t size) {
    if (n <= *cap) return true;
    size_t new_cap = *cap > SIZE_MAX / 2 ? n : 2 * *cap;
    if (new_cap < n) new_cap = n;
    if (new_cap < 16) new_cap = 16;
    uint64_t n_bytes;
    if (mul_overflows(new_cap, size, &n_bytes) || n_bytes > SIZE_MAX) return false;
    void *grown = mem_realloc(*p, (size_t)n_bytes);
    if (!grown) return false;
    *p = grown;
    *cap = new_cap;
    return true;
}
