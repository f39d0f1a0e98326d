/* The runs of octet bench. All tests of one depth take turns, round after round, so that a machine
 * whose speed drifts is as unkind to one as to another; and plain reads are measured between the
 * steps of decoding, as memory that is shared may change its speed within a second. The context is
 * computed once per depth: a run is undone by going back to it. */
#include <math.h>

#include "base/mem.h"
#include "cli/bench.h"

enum { WARM_UP_TOKENS = 32 };

static void add_test(struct bench *bench, enum bench_kind kind, int32_t depth, int32_t steps,
                     size_t n_sequences) {
    if (steps == 0) return;
    struct bench_test *const test = &bench->tests[bench->n_tests];
    *test = (struct bench_test){
        .kind = kind, .depth = depth, .steps = steps, .n_sequences = n_sequences};
    test->speeds = bench->speeds + bench->n_tests++ * (size_t)bench->args.n_runs;
}

bool bench_plan(struct bench *bench) {
    const struct bench_args *const args = &bench->args;
    const size_t most = bench->depths.n * (2 + bench->batches.n);
    bench->tests = mem_array(most, sizeof *bench->tests);
    bench->speeds = mem_array(most, (size_t)args->n_runs * sizeof *bench->speeds);
    if (bench->tests == NULL || bench->speeds == NULL) return false;
    for (size_t i = 0; i < bench->depths.n; i++) {
        const int32_t depth = bench->depths.items[i];
        add_test(bench, BENCH_PREFILL, depth, args->n_prompt, 1);
        add_test(bench, BENCH_DECODE, depth, args->n_gen, 1);
        for (size_t k = 0; k < bench->batches.n; k++) {
            add_test(bench, BENCH_BATCH, depth, args->n_gen, (size_t)bench->batches.items[k]);
        }
    }
    return true;
}

/* The first N sequences grow to LENGTH tokens, in common steps. */
static enum octet_status sync_to(struct bench *bench, size_t n, int32_t length,
                                 struct octet_err *err) {
    for (size_t i = 0; i < n; i++) {
        bench->spans[i] = (struct octet_span){bench->tokens + i, (size_t)length, 1};
    }
    return octet_sessions_sync(bench->sessions, bench->spans, n, err);
}

/* The first N sequences back to DEPTH tokens. What a sliding window has lost is computed again. */
static enum octet_status go_back(struct bench *bench, size_t n, int32_t depth,
                                 struct octet_err *err) {
    bool whole = true;
    for (size_t i = 0; i < n; i++) {
        // It keeps what matches, less the last token, which would have no logits; but all of it
        // where that is what the sequence holds, and then sync_to has a token to compute.
        if (depth == 0)
            octet_session_clear(bench->sessions[i]);
        else
            octet_session_reuse(bench->sessions[i], bench->tokens + i, (size_t)depth + 1);
        whole = whole && octet_session_length(bench->sessions[i]) == (size_t)depth;
    }
    return whole ? OCTET_OK : sync_to(bench, n, depth, err);
}

/* SECONDS: what they take is added, and memory is measured between those of decoding; NULL: that
 * does not matter. */
static enum octet_status run_steps(struct bench *bench, const struct bench_test *test,
                                   int32_t steps, double *seconds, struct octet_err *err) {
    const int32_t length = test->kind == BENCH_PREFILL ? steps : 1;
    const size_t n_read = bench->n_passes;
    enum octet_status status = OCTET_OK;
    for (int32_t i = length; i <= steps && status == OCTET_OK; i++) {
        const double start = probe_seconds();
        status = sync_to(bench, test->n_sequences, test->depth + i, err);
        if (seconds == NULL) continue;
        const double taken = probe_seconds() - start;
        *seconds += taken;
        if (test->kind != BENCH_DECODE) continue;
        bench_read_on(bench, n_read + BENCH_READ_PASSES * (size_t)i / (size_t)steps, taken);
    }
    return status;
}

/* Plain reads touch pages too that no token needs: after them, what was resident before and what
 * has been allocated since. */
static void note_memory(const struct bench *bench, struct bench_test *test) {
    test->anon_rss = probe_rss_anon();
    test->peak_rss = probe_rss_peak();
    if (bench->peak_unread == 0) return;
    const bool has_grown = test->anon_rss > bench->anon_unread;
    test->peak_rss = bench->peak_unread + (has_grown ? test->anon_rss - bench->anon_unread : 0);
}

static enum octet_status run_once(struct bench *bench, struct bench_test *test, size_t round,
                                  struct octet_err *err) {
    enum octet_status status = go_back(bench, test->n_sequences, test->depth, err);
    if (status != OCTET_OK) return status;
    double seconds = 0;
    status = run_steps(bench, test, test->steps, &seconds, err);
    test->speeds[round] = (double)test->steps * (double)test->n_sequences / seconds;
    if (round == 0) note_memory(bench, test);
    return status;
}

static enum octet_status warm_up(struct bench *bench, const struct bench_test *test,
                                 struct octet_err *err) {
    const enum octet_status status = go_back(bench, test->n_sequences, test->depth, err);
    const int32_t steps = test->steps < WARM_UP_TOKENS ? test->steps : WARM_UP_TOKENS;
    return status == OCTET_OK ? run_steps(bench, test, steps, NULL, err) : status;
}

static enum octet_status run_depth(struct bench *bench, struct bench_test *tests, size_t n_tests,
                                   struct octet_err *err) {
    const size_t done = (size_t)(tests - bench->tests), n_runs = (size_t)bench->args.n_runs;
    size_t n_sequences = 1;
    for (size_t i = 0; i < n_tests; i++) {
        n_sequences = bench_max(n_sequences, tests[i].n_sequences);
    }
    enum octet_status status = go_back(bench, n_sequences, tests->depth, err);
    for (size_t i = 0; i < n_tests && status == OCTET_OK; i++) {
        status = warm_up(bench, &tests[i], err);
    }
    for (size_t round = 0; round < n_runs; round++) {
        for (size_t i = 0; i < n_tests && status == OCTET_OK; i++) {
            status = run_once(bench, &tests[i], round, err);
            progress_update(&bench->progress, done * n_runs + round * n_tests + i + 1,
                            bench->n_tests * n_runs);
        }
        if (status == OCTET_OK) bench_read_on(bench, (round + 1) * BENCH_READ_PASSES, 0);
    }
    if (status == OCTET_OK) bench_reads_end(bench, tests, n_tests);
    return status;
}

static void summarise(struct bench_test *test, size_t n) {
    double sum = 0, sum2 = 0;
    for (size_t i = 0; i < n; i++) sum += test->speeds[i];
    test->mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        sum2 += (test->speeds[i] - test->mean) * (test->speeds[i] - test->mean);
    }
    test->spread = n > 1 ? sqrt(sum2 / (double)(n - 1)) : 0;
    test->median = bench_median(test->speeds, n);
}

enum octet_status bench_run(struct bench *bench, struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    for (size_t i = 0, n, i_depth = 0; i < bench->n_tests && status == OCTET_OK; i += n) {
        for (n = 1; i + n < bench->n_tests; n++) {
            if (bench->tests[i + n].depth != bench->tests[i].depth) break;
        }
        bench_reads_begin(bench, i_depth++);
        status = run_depth(bench, bench->tests + i, n, err);
    }
    for (size_t i = 0; i < bench->n_tests && status == OCTET_OK; i++) {
        summarise(&bench->tests[i], (size_t)bench->args.n_runs);
    }
    return status;
}
