/* What memory gives while octet bench runs: plain reads of the model's own files between steps of
 * decoding, in several ways in turns, and which of these counts.
 *
 * It is the files' own memory that counts: other memory of a virtual machine may be nearer or
 * farther. And it may change its speed within a second, so a read is worth what it would have read
 * in the time of the step beside it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/bench.h"

static const size_t most_read = (size_t)1 << 30; // of each file in one pass

static size_t n_turns(const struct bench *bench) {
    return (size_t)bench->args.n_runs * BENCH_READ_TURNS;
}

bool bench_reads_open(struct bench *bench, int n_threads, const char *isa) {
    if (bench->args.no_ceilings) return true;
    bench->reader = probe_reader_open(n_threads, isa);
    bench->reads = mem_array(bench->depths.n * n_turns(bench), PROBE_N_WAYS * sizeof(double));
    bench->read_space = mem_array(n_turns(bench), 2 * sizeof(double));
    return bench->reader != NULL && bench->reads != NULL && bench->read_space != NULL;
}

void bench_reads_close(struct bench *bench) {
    mem_free(bench->reads);
    mem_free(bench->read_space);
    probe_reader_close(bench->reader);
}

void bench_reads_begin(struct bench *bench, size_t i_depth) {
    bench->n_passes = 0;
    if (bench->reader != NULL) {
        bench->read_turns = bench->reads + i_depth * n_turns(bench) * PROBE_N_WAYS;
    }
}

/* Bytes per second of plain reads of what the model's files hold; 0: too few to be timed. Of large
 * files always the same part, so that it stays in memory if they do not fit. */
static double read_files(struct bench *bench, size_t way) {
    double taken = 0, n_read = 0;
    const void *bytes;
    size_t n_bytes;
    for (size_t i = 0; octet_model_file(bench->model, i, &bytes, &n_bytes); i++) {
        const size_t n = n_bytes < most_read ? n_bytes : most_read;
        taken += probe_reader_time(bench->reader, way, bytes, n);
        n_read += (double)n;
    }
    return taken > 0 ? n_read / taken : 0;
}

void bench_read_on(struct bench *bench, size_t n_passes, double beside) {
    if (bench->reader == NULL) return;
    if (bench->peak_unread == 0) {
        bench->peak_unread = probe_rss_peak();
        bench->anon_unread = probe_rss_anon();
    }
    for (; bench->n_passes < n_passes; bench->n_passes++) {
        const double speed = read_files(bench, bench->n_passes % PROBE_N_WAYS);
        bench->read_turns[bench->n_passes] = beside > 0 ? speed * beside : speed;
    }
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare_doubles);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* The median of what a way has in every second turn from FIRST on. */
static double median_of_half(const struct bench *bench, size_t way, size_t first) {
    size_t n = 0;
    for (size_t i = first; i < n_turns(bench); i += 2) {
        bench->read_space[n++] = bench->read_turns[i * PROBE_N_WAYS + way];
    }
    return bench_median(bench->read_space, n);
}

/* The median over the turns of the fastest way, which half of them choose for the other half: the
 * highest of as many medians of noisy values would be the luckiest one, some hundredths above what
 * all have if they are the same. */
static double fastest_reads(const struct bench *bench) {
    const size_t n = n_turns(bench);
    double *const picked = bench->read_space + n;
    for (size_t half = 0; half < 2; half++) {
        double most = -1;
        size_t fastest = 0;
        for (size_t way = 0; way < PROBE_N_WAYS; way++) {
            const double median = median_of_half(bench, way, 1 - half);
            if (median <= most) continue;
            most = median;
            fastest = way;
        }
        for (size_t i = half; i < n; i += 2) {
            picked[i] = bench->read_turns[i * PROBE_N_WAYS + fastest];
        }
    }
    return bench_median(picked, n);
}

/* Steps per second of the tests' decoding, beside which memory was read; 1: there was none. */
static double steps_beside(const struct bench *bench, const struct bench_test *tests,
                           size_t n_tests) {
    for (size_t i = 0; i < n_tests; i++) {
        if (tests[i].kind == BENCH_DECODE) {
            return bench_median(tests[i].speeds, (size_t)bench->args.n_runs);
        }
    }
    return 1;
}

void bench_reads_end(struct bench *bench, struct bench_test *tests, size_t n_tests) {
    double ceiling = (double)NAN, medians[PROBE_N_WAYS];
    for (size_t way = 0; way < PROBE_N_WAYS; way++) medians[way] = (double)NAN;
    if (bench->reader != NULL) {
        const size_t n = n_turns(bench);
        const double per_second = steps_beside(bench, tests, n_tests);
        for (size_t i = 0; i < n * PROBE_N_WAYS; i++) bench->read_turns[i] *= per_second;
        ceiling = fastest_reads(bench);
        for (size_t way = 0; way < PROBE_N_WAYS; way++) {
            for (size_t i = 0; i < n; i++) {
                bench->read_space[i] = bench->read_turns[i * PROBE_N_WAYS + way];
            }
            medians[way] = bench_median(bench->read_space, n);
        }
    }
    for (size_t i = 0; i < n_tests; i++) {
        tests[i].read_ceiling = ceiling;
        tests[i].read_turns = bench->read_turns;
        memcpy(tests[i].reads, medians, sizeof medians);
    }
}
