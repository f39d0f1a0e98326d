/* Chooses the kernel table: what the CPU and the operating system support, or what OCTET_ISA says.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Not every compiler's __builtin_cpu_supports knows this one. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#elif defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

static bool can_run(const struct kernels *k) {
#if defined(__x86_64__)
    // These builtins also ask whether the operating system saves the wide registers.
    __builtin_cpu_init();
    if (k == &kernels_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (k == &kernels_avx512)
        return can_run(&kernels_avx2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    if (k == &kernels_avx512_gfni)
        return can_run(&kernels_avx512) && __builtin_cpu_supports("avx512vbmi") &&
               __builtin_cpu_supports("gfni");
#elif defined(__aarch64__)
    if (k == &kernels_neon) return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
    return k == &kernels_scalar;
}

static const struct kernels *const all_kernels[] = {
    &kernels_scalar,
#if defined(__x86_64__)
    &kernels_avx2,
    &kernels_avx512,
    &kernels_avx512_gfni,
#elif defined(__aarch64__)
    &kernels_neon,
#endif
};

const struct kernels *kernels_at(size_t i) {
    for (size_t j = 0; j < sizeof all_kernels / sizeof *all_kernels; j++)
        if (can_run(all_kernels[j]) && i-- == 0) return all_kernels[j];
    return NULL;
}

const struct kernels *kernels_pick(void) {
    const char *wanted = getenv("OCTET_ISA");
    const struct kernels *found = NULL;
    for (size_t i = 0; kernels_at(i); i++)
        if (!wanted || !*wanted || strcmp(wanted, kernels_at(i)->name) == 0) found = kernels_at(i);
    return found;
}
