/* The speeds of probe.h: memory reads and arithmetic of all threads together. Noise only ever makes
 * a run slower, so of several runs the fastest counts. */
#include <string.h>
#include <sys/mman.h>
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

enum { N_FINALISTS = 3, READ_PASSES = 2, LOOP_PASSES = 8 };
enum { TASK_BYTES = 2 << 20, N_TASKS_PER_LOOP = 4 };

static const double loop_seconds = 0.002; // of one thread in one pass, at least
static const uint64_t least_buffer = UINT64_C(256) << 20;

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

_Static_assert((int)PROBE_N_WAYS == (int)PROBE_N_READS, "each way has its loop");

enum { SUM_STRIDE = 8 }; // a cache line for each thread

struct probe_reader {
    const struct probe_loops *loops;
    struct pool *pool;
    uint64_t *sums; // (n_threads, SUM_STRIDE)
};

struct sweep {
    const uint8_t *data;
    size_t n_bytes;
    uint64_t (*read)(const void *from, size_t n_bytes);
    uint64_t *sums;
};

/* Tasks are handed out rather than cut into equal shares: a core that a neighbour slows down reads
 * less of them. */
static void sweep_task(void *arg, size_t i_task, int i_thread) {
    const struct sweep *const sweep = arg;
    const size_t at = i_task * TASK_BYTES, left = sweep->n_bytes - at;
    const size_t n = left < TASK_BYTES ? left : TASK_BYTES;
    sweep->sums[(size_t)i_thread * SUM_STRIDE] += sweep->read(sweep->data + at, n);
}

double probe_reader_time(struct probe_reader *reader, size_t way, const void *data,
                         size_t n_bytes) {
    const size_t n = n_bytes / PROBE_READ_STEP * PROBE_READ_STEP;
    struct sweep sweep = {data, n, reader->loops->reads[way], reader->sums};
    const double start = probe_seconds();
    pool_tasks(reader->pool, (n + TASK_BYTES - 1) / TASK_BYTES, sweep_task, &sweep);
    return n > 0 ? probe_seconds() - start : 0;
}

struct probe_reader *probe_reader_open(int n_threads, const char *isa) {
    struct probe_reader *const reader = mem_alloc(sizeof *reader);
    if (reader == NULL) return NULL;
    reader->loops = find_loops(isa);
    reader->pool = pool_open(n_threads);
    reader->sums = mem_array((size_t)n_threads, SUM_STRIDE * sizeof *reader->sums);
    if (reader->pool != NULL && reader->sums != NULL) return reader;
    probe_reader_close(reader);
    return NULL;
}

void probe_reader_close(struct probe_reader *reader) {
    if (reader == NULL) return;
    pool_close(reader->pool);
    mem_free(reader->sums);
    mem_free(reader);
}

static size_t n_sweep_tasks(void) {
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    uint64_t wanted = least_buffer;
    if (l3 > 0 && 4 * (uint64_t)l3 > wanted) wanted = 4 * (uint64_t)l3;
    const uint64_t available = probe_ram_available();
    if (available != 0 && available / 4 < wanted) wanted = available / 4;
    return wanted < TASK_BYTES ? 1 : (size_t)(wanted / TASK_BYTES);
}

static void fill_task(void *arg, size_t i_task, int i_thread) {
    (void)i_thread;
    memset((uint8_t *)arg + i_task * TASK_BYTES, 1, TASK_BYTES);
}

static double read_speed(struct probe_reader *reader, size_t way, const void *data, size_t n) {
    return (double)n / probe_reader_time(reader, way, data, n);
}

/* Every way once and, as there is noise, the fastest ones again: the best of all. */
static double best_read_speed(struct probe_reader *reader, const void *data, size_t n_bytes) {
    double speeds[PROBE_N_WAYS], best = 0;
    for (size_t way = 0; way < PROBE_N_WAYS; way++)
        speeds[way] = read_speed(reader, way, data, n_bytes);
    for (int i = 0; i < N_FINALISTS; i++) {
        size_t fastest = 0;
        for (size_t way = 1; way < PROBE_N_WAYS; way++)
            if (speeds[way] > speeds[fastest]) fastest = way;
        if (speeds[fastest] > best) best = speeds[fastest];
        speeds[fastest] = 0;
        for (int pass = 0; pass < READ_PASSES; pass++) {
            const double speed = read_speed(reader, fastest, data, n_bytes);
            if (speed > best) best = speed;
        }
    }
    return best;
}

static enum octet_status measure_reads(struct probe_reader *reader, double *best,
                                       struct octet_err *err) {
    const size_t n_tasks = n_sweep_tasks(), n_bytes = n_tasks * TASK_BYTES;
    // Not from malloc: whole huge pages, as with small ones the walks of the page table would be
    // measured too. A refusal of those does no harm.
    void *const map = mmap(NULL, n_bytes + TASK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return octet_fail_memory(err, "the memory measurement", n_bytes);
    const uintptr_t aligned = ((uintptr_t)map + TASK_BYTES - 1) / TASK_BYTES * TASK_BYTES;
    uint8_t *const buffer = (uint8_t *)map + (aligned - (uintptr_t)map);
    madvise(buffer, n_bytes, MADV_HUGEPAGE);
    pool_tasks(reader->pool, n_tasks, fill_task, buffer);
    *best = best_read_speed(reader, buffer, n_bytes);
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

enum parts { READS = 1, ARITHMETIC = 2 };

static enum octet_status measure(int n_threads, const char *isa, unsigned parts,
                                 struct probe_speeds *speeds, struct octet_err *err) {
    struct probe_reader *const reader = probe_reader_open(n_threads, isa);
    *speeds = (struct probe_speeds){0};
    if (reader == NULL) {
        return octet_fail_memory(err, "the measurement of speeds", (size_t)n_threads * 64);
    }
    const struct probe_loops *const loops = reader->loops;
    *speeds = (struct probe_speeds){.isa = loops->name, .int8 = loops->int8};
    enum octet_status status = OCTET_OK;
    if (parts & READS) status = measure_reads(reader, &speeds->read_bytes, err);
    if (status == OCTET_OK && parts & ARITHMETIC) {
        speeds->int8_ops =
            measure_loop(loops->dots, loops->ops_per_dot_round, reader->pool, reader->sums);
        speeds->float_ops =
            measure_loop(loops->fmas, loops->ops_per_fma_round, reader->pool, reader->sums);
    }
    probe_reader_close(reader);
    return status;
}

enum octet_status probe_measure_speeds(int n_threads, const char *isa, struct probe_speeds *speeds,
                                       struct octet_err *err) {
    return measure(n_threads, isa, READS | ARITHMETIC, speeds, err);
}

enum octet_status probe_arithmetic(int n_threads, const char *isa, struct probe_speeds *speeds,
                                   struct octet_err *err) {
    return measure(n_threads, isa, ARITHMETIC, speeds, err);
}

enum octet_status probe_read_bandwidth(int n_threads, double *bytes_per_second,
                                       struct octet_err *err) {
    struct probe_speeds speeds;
    const enum octet_status status = measure(n_threads, NULL, READS, &speeds, err);
    *bytes_per_second = speeds.read_bytes;
    return status;
}
