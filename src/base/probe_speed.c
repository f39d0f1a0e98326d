/* The speeds of probe.h: memory reads and arithmetic of all threads together. Noise only ever makes
 * a run slower, so of several runs the fastest counts. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/mem.h"
#include "base/probe.h"
#include "base/probe_loops.h"
#include "base/threads.h"

enum { READ_PASSES = 3, LOOP_PASSES = 8, TASK_BYTES = 2 << 20, N_TASKS_PER_LOOP = 4 };

static const double loop_seconds = 0.002; // of one thread in one pass, at least
static const uint64_t least_buffer = UINT64_C(512) << 20;

/* ---- Loops of this machine ------------------------------------------------------------------- */

#if defined(__x86_64__)
/* Not every compiler's __builtin_cpu_supports knows this one. */
static bool has_avxvnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1U << 4) != 0;
}
#endif

static bool can_run(const struct probe_loops *loops) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (loops == &probe_loops_avx2) return avx2;
    if (loops == &probe_loops_avxvnni) return avx2 && has_avxvnni();
    if (loops == &probe_loops_avx512) return avx2 && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
    if (loops == &probe_loops_neon) return (getauxval(AT_HWCAP) & 1UL << 20) != 0; // ASIMDDP
#endif
    return loops == &probe_loops_generic;
}

/* From slow to fast. */
static const struct probe_loops *const all_loops[] = {
    &probe_loops_generic,
#if defined(__x86_64__)
    &probe_loops_avx2,
    &probe_loops_avxvnni,
    &probe_loops_avx512,
#elif defined(__aarch64__)
    &probe_loops_neon,
#endif
};

static const struct probe_loops *find_loops(const char *isa) {
    const struct probe_loops *best = NULL;
    for (size_t i = 0; i < sizeof all_loops / sizeof all_loops[0]; i++) {
        if (!can_run(all_loops[i])) continue;
        best = all_loops[i];
        if (isa != NULL && strcmp(isa, best->name) == 0) break;
    }
    return best;
}

/* ---- Reading --------------------------------------------------------------------------------- */

struct sweep {
    uint8_t *buffer;
    uint64_t (*read)(const void *from, size_t n_bytes); // NULL: fill
    uint64_t *sums;                                     // (n_threads, SUM_STRIDE)
};

enum { SUM_STRIDE = 8 }; // a cache line for each thread

/* Tasks are handed out rather than cut into equal shares: a core that a neighbour slows down reads
 * less of them. */
static void sweep_task(void *arg, size_t i_task, int i_thread) {
    const struct sweep *const sweep = arg;
    uint8_t *const piece = sweep->buffer + i_task * TASK_BYTES;
    if (sweep->read == NULL) {
        memset(piece, 1, TASK_BYTES);
    } else {
        sweep->sums[(size_t)i_thread * SUM_STRIDE] += sweep->read(piece, TASK_BYTES);
    }
}

static size_t n_sweep_tasks(void) {
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    uint64_t wanted = least_buffer;
    if (l3 > 0 && 4 * (uint64_t)l3 > wanted) wanted = 4 * (uint64_t)l3;
    const uint64_t available = probe_ram_available();
    if (available != 0 && available / 4 < wanted) wanted = available / 4;
    return wanted < TASK_BYTES ? 1 : (size_t)(wanted / TASK_BYTES);
}

static enum octet_status measure_reads(const struct probe_loops *loops, struct pool *pool,
                                       uint64_t *sums, double *best, struct octet_err *err) {
    const size_t n_tasks = n_sweep_tasks(), n_bytes = n_tasks * TASK_BYTES;
    // Not from malloc: whole huge pages, as with small ones the walks of the page table would be
    // measured too. A refusal of those does no harm.
    void *const map = mmap(NULL, n_bytes + TASK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return octet_fail_memory(err, "the memory measurement", n_bytes);
    const uintptr_t aligned = ((uintptr_t)map + TASK_BYTES - 1) / TASK_BYTES * TASK_BYTES;
    struct sweep sweep = {(uint8_t *)map + (aligned - (uintptr_t)map), NULL, sums};
    madvise(sweep.buffer, n_bytes, MADV_HUGEPAGE);
    pool_tasks(pool, n_tasks, sweep_task, &sweep);
    for (int pass = 0; pass < READ_PASSES; pass++) {
        for (size_t i = 0; i < PROBE_N_READS; i++) {
            sweep.read = loops->reads[i];
            const double start = probe_seconds();
            pool_tasks(pool, n_tasks, sweep_task, &sweep);
            const double speed = (double)n_bytes / (probe_seconds() - start);
            if (speed > *best) *best = speed;
        }
    }
    munmap(map, n_bytes + TASK_BYTES);
    return OCTET_OK;
}

/* ---- Arithmetic ------------------------------------------------------------------------------ */

struct loop_job {
    uint64_t (*loop)(size_t n_rounds);
    size_t n_rounds;
    uint64_t *sums; // (n_threads, SUM_STRIDE)
};

static void loop_task(void *arg, size_t i_task, int i_thread) {
    (void)i_task;
    const struct loop_job *const job = arg;
    job->sums[(size_t)i_thread * SUM_STRIDE] += job->loop(job->n_rounds);
}

static double measure_loop(uint64_t (*loop)(size_t n_rounds), double ops_per_round,
                           struct pool *pool, uint64_t *sums) {
    struct loop_job job = {loop, 1000, sums};
    for (double taken = 0; taken < loop_seconds; job.n_rounds *= 2) {
        const double start = probe_seconds();
        loop_task(&job, 0, 0);
        taken = probe_seconds() - start;
    }
    const size_t n_tasks = (size_t)pool_n_threads(pool) * N_TASKS_PER_LOOP;
    double best = 0;
    for (int pass = 0; pass < LOOP_PASSES; pass++) {
        const double start = probe_seconds();
        pool_tasks(pool, n_tasks, loop_task, &job);
        const double taken = probe_seconds() - start;
        const double speed = ops_per_round * (double)job.n_rounds * (double)n_tasks / taken;
        if (speed > best) best = speed;
    }
    return best;
}

/* ---- Together -------------------------------------------------------------------------------- */

static enum octet_status measure(int n_threads, const char *isa, bool reads_only,
                                 struct probe_speeds *speeds, struct octet_err *err) {
    const struct probe_loops *const loops = find_loops(isa);
    *speeds = (struct probe_speeds){.isa = loops->name, .int8 = loops->int8};
    struct pool *const pool = pool_open(n_threads);
    uint64_t *const sums = mem_array((size_t)n_threads, SUM_STRIDE * sizeof *sums);
    enum octet_status status = OCTET_OK;
    if (pool == NULL || sums == NULL) {
        status = octet_fail_memory(err, "the measurement of speeds", (size_t)n_threads * 64);
    } else {
        status = measure_reads(loops, pool, sums, &speeds->read_bytes, err);
    }
    if (status == OCTET_OK && !reads_only) {
        speeds->int8_ops = measure_loop(loops->dots, loops->ops_per_dot_round, pool, sums);
        speeds->float_ops = measure_loop(loops->fmas, loops->ops_per_fma_round, pool, sums);
    }
    mem_free(sums);
    pool_close(pool);
    return status;
}

enum octet_status probe_measure_speeds(int n_threads, const char *isa, struct probe_speeds *speeds,
                                       struct octet_err *err) {
    return measure(n_threads, isa, false, speeds, err);
}

enum octet_status probe_read_bandwidth(int n_threads, double *bytes_per_second,
                                       struct octet_err *err) {
    struct probe_speeds speeds;
    const enum octet_status status = measure(n_threads, NULL, true, &speeds, err);
    *bytes_per_second = speeds.read_bytes;
    return status;
}

struct answer {
    enum octet_status status;
    struct octet_err err;
    struct probe_speeds speeds; // its texts are constants, at the same place in both processes
};

_Noreturn static void answer_and_exit(int to, int n_threads, const char *isa) {
    struct answer answer = {.status = OCTET_OK};
    answer.status = probe_measure_speeds(n_threads, isa, &answer.speeds, &answer.err);
    const ssize_t n = write(to, &answer, sizeof answer); // fits a pipe: all or nothing
    _exit(n == (ssize_t)sizeof answer ? 0 : 1);
}

enum octet_status probe_measure_apart(int n_threads, const char *isa, struct probe_speeds *speeds,
                                      struct octet_err *err) {
    *speeds = (struct probe_speeds){0};
    int ends[2];
    if (pipe(ends) != 0) return octet_fail(err, OCTET_EIO, "a pipe: %s", strerror(errno));
    const pid_t child = fork();
    if (child == 0) answer_and_exit(ends[1], n_threads, isa);
    close(ends[1]);
    struct answer answer = {.status = OCTET_EIO};
    ssize_t n = -1;
    while (child > 0 && (n = read(ends[0], &answer, sizeof answer)) < 0 && errno == EINTR) continue;
    close(ends[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
    if (n != (ssize_t)sizeof answer) {
        return octet_fail(err, OCTET_EIO, "the process that measures speeds failed");
    }
    if (answer.status != OCTET_OK) return octet_fail(err, answer.status, "%s", answer.err.message);
    *speeds = answer.speeds;
    return OCTET_OK;
}
