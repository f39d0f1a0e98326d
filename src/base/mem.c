/* Checked allocation with a fault injector for tests. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

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

void *mem_aligned(size_t n_bytes) {
    if (injected_failure() || n_bytes > SIZE_MAX - 64) return NULL;
    size_t rounded = (n_bytes + 63) & ~(size_t)63;
    return aligned_alloc(64, rounded ? rounded : 64);
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
