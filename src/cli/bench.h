/* The parts of octet bench: what is tested, the runs, and how results are told. */
#ifndef OCTET_CLI_BENCH_H
#define OCTET_CLI_BENCH_H

#include "base/probe.h"
#include "cli/options.h"
#include "cli/progress.h"

enum { BENCH_MAX_LIST = 32, BENCH_MAX_BATCH = 256, BENCH_MAX_RUNS = 1000, BENCH_FIRST_TOKENS = 10 };

/* What --depth and --batch give: ascending, each number once. */
struct bench_list {
    int32_t items[BENCH_MAX_LIST];
    size_t n;
};

struct bench_args {
    const char *depths, *batches, *csv, *draft_text, *draft_prompt;
    int32_t n_prompt, n_gen, n_runs;
    uint64_t seed;
    bool json, no_ceilings;
};

enum bench_kind { BENCH_PREFILL, BENCH_DECODE, BENCH_BATCH };

struct bench_test {
    enum bench_kind kind;
    int32_t depth; // tokens each sequence holds before
    int32_t steps; // tokens each sequence grows by
    size_t n_sequences;
    double *speeds;              // (n_runs) tokens per second
    double median, mean, spread; // spread: standard deviation
    uint64_t peak_rss, anon_rss;
    // Bytes per second of plain reads of the model's files, the fastest way and the median of each;
    // NaN: not measured.
    double read_ceiling, reads[PROBE_N_WAYS];
    const double *read_turns; // (n_runs * BENCH_READ_TURNS, PROBE_N_WAYS), those of bench
};

/* How often each way to read has its turn in a round; even, for there are two halves. */
enum { BENCH_READ_TURNS = 6, BENCH_READ_PASSES = BENCH_READ_TURNS * PROBE_N_WAYS };

struct bench {
    struct bench_args args;
    struct model_args model_args;
    struct session_args session_args;
    struct bench_list depths, batches;
    struct octet_model *model;
    struct octet_model_info info;
    struct octet_session **sessions; // (n_sessions), the first for the tests of one sequence
    struct octet_span *spans;        // (n_sessions)
    size_t n_sessions;
    int32_t *tokens; // (n_tokens + n_sessions); sequence i begins at the i-th
    size_t n_tokens;
    struct bench_test *tests; // (n_tests), by depth
    size_t n_tests;
    double *speeds; // (n_tests, n_runs)
    double first_seconds;
    struct probe_speeds before, after; // arithmetic; zeros: not measured
    struct probe_reader *reader;       // NULL: reads are not measured
    double *reads;      // (depths.n, n_runs * BENCH_READ_TURNS, PROBE_N_WAYS)
    double *read_turns; // of these the depth that is being tested
    double *read_space; // (2, n_runs * BENCH_READ_TURNS), for medians
    size_t n_passes;    // done at this depth
    uint64_t peak_unread, anon_unread; // resident before the first plain read
    struct progress progress;
};

static inline size_t bench_max(size_t a, size_t b) { return a > b ? a : b; }

/* bench_run.c */

/* Makes the list of tests from arguments and lists; false: out of memory. */
bool bench_plan(struct bench *bench);
enum octet_status bench_run(struct bench *bench, struct octet_err *err);

/* bench_reads.c */

/* Whether there was memory for a reader and what it measures, unless ceilings are not asked for. */
bool bench_reads_open(struct bench *bench, int n_threads, const char *isa);
void bench_reads_close(struct bench *bench);
void bench_reads_begin(struct bench *bench, size_t i_depth);
/* Goes on until N_PASSES are done at this depth, after a step of decoding that took BESIDE seconds;
 * 0: there is none. */
void bench_read_on(struct bench *bench, size_t n_passes, double beside);
/* The ceilings of the tests of this depth. */
void bench_reads_end(struct bench *bench, struct bench_test *tests, size_t n_tests);
double bench_median(double *values, size_t n); // sorts them

/* bench_print.c */

/* What one token of a test takes, and what that is per second beside the ceilings, 0 or NaN where
 * those were not measured. */
struct bench_figures {
    double weight_bytes, kv_bytes; // read per token, at least
    double macs;                   // multiply-adds with weights per token
    double bytes_per_s, ceiling_bytes, memory_share;
    double ops_per_s, ceiling_ops, compute_share; // 2 operations per multiply-add
    double share;                                 // the one that limits this kind of test
};
struct bench_figures bench_figures(const struct bench *bench, const struct bench_test *test);

int bench_print_json(const struct bench *bench);
int bench_print_table(const struct bench *bench);
/* Appends a line per test to args.csv, with a header if the file is new. An exit status. */
int bench_append_csv(const struct bench *bench);

#endif
