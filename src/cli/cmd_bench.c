/* octet bench: how fast this machine runs a model, and how much of its memory bandwidth that is. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"

enum { FIRST_TOKENS = 10, WARM_UP_TOKENS = 64, BANDWIDTH_PASSES = 8, MAX_RUNS = 1000 };

struct bench_args {
    int32_t n_prompt, n_gen, depth, n_batch, n_runs;
    uint64_t seed;
    bool json;
};

static const struct option_row rows[] = {
    {"prompt", 'p', OPTION_INT, "N", offsetof(struct bench_args, n_prompt), 0, 1 << 24, false,
     "tokens of the prefill test; 0: leave it out"},
    {"gen", 'n', OPTION_INT, "N", offsetof(struct bench_args, n_gen), 0, 1 << 24, false,
     "tokens of the decode test; 0: leave it out"},
    {"depth", 'd', OPTION_INT, "N", offsetof(struct bench_args, depth), 0, 1 << 24, false,
     "tokens the session holds before each test"},
    {"batch", 'b', OPTION_INT, "N", offsetof(struct bench_args, n_batch), 0, 256, false,
     "also decode N sequences in the same steps; 0: leave it out"},
    {"repeat", 'r', OPTION_INT, "N", offsetof(struct bench_args, n_runs), 1, MAX_RUNS, false,
     "times each test runs"},
    {"seed", 0, OPTION_SEED, "N", offsetof(struct bench_args, seed), 0, 0, false,
     "of the random token ids"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct bench_args, json), 0, 0, false,
     "print a JSON array, one object per test"},
};

struct result {
    const char *test;
    int32_t n;
    double median, mean, spread; // tokens per second; spread: standard deviation
    double bytes_per_token;      // read from memory
    uint64_t peak_rss, anon_rss;
};

enum { MAX_RESULTS = 3 };

struct bench {
    struct bench_args args;
    struct model_args model_args;
    struct session_args session_args;
    struct octet_model *model;
    struct octet_model_info info;
    struct octet_session **sessions; // (n_sessions), the first for the tests of one sequence
    size_t n_sessions;
    struct octet_span *spans; // (n_sessions)
    struct progress progress;
    int32_t *tokens; // (n_tokens)
    size_t n_tokens;
    double speeds[MAX_RUNS];
    double first_seconds, ceiling; // ceiling: bytes per second
    struct result results[MAX_RESULTS];
    size_t n_results;
};

/* ---- The tests ------------------------------------------------------------------------------- */

/* splitmix64 */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static enum octet_status sync_to(struct bench *bench, size_t n, struct octet_err *err) {
    return octet_session_sync(bench->sessions[0], bench->tokens, n, err);
}

/* Brings the first N sessions to the depth of the tests. */
static enum octet_status rewind_sessions(struct bench *bench, size_t n, struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < n && status == OCTET_OK; i++) {
        if (bench->args.depth == 0) {
            octet_session_clear(bench->sessions[i]);
        } else {
            status = octet_session_sync(bench->sessions[i], bench->tokens,
                                        (size_t)bench->args.depth, err);
        }
    }
    return status;
}

typedef enum octet_status (*test_fn)(struct bench *bench, int32_t n, struct octet_err *err);

static enum octet_status prefill(struct bench *bench, int32_t n, struct octet_err *err) {
    return sync_to(bench, (size_t)bench->args.depth + (size_t)n, err);
}

static enum octet_status decode(struct bench *bench, int32_t n, struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    const size_t depth = (size_t)bench->args.depth;
    for (int32_t i = 1; i <= n && status == OCTET_OK; i++) {
        status = sync_to(bench, depth + (size_t)i, err);
    }
    return status;
}

static enum octet_status decode_batch(struct bench *bench, int32_t n, struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    const size_t depth = (size_t)bench->args.depth;
    for (int32_t i = 1; i <= n && status == OCTET_OK; i++) {
        for (size_t k = 0; k < bench->n_sessions; k++) {
            bench->spans[k] = (struct octet_span){bench->tokens, depth + (size_t)i};
        }
        status = octet_sessions_sync(bench->sessions, bench->spans, bench->n_sessions, err);
    }
    return status;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(double *speeds, size_t n, struct result *result) {
    double sum = 0, sum2 = 0;
    for (size_t i = 0; i < n; i++) sum += speeds[i];
    result->mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        sum2 += (speeds[i] - result->mean) * (speeds[i] - result->mean);
    }
    result->spread = n > 1 ? sqrt(sum2 / (double)(n - 1)) : 0;
    qsort(speeds, n, sizeof *speeds, compare_doubles);
    result->median = (speeds[(n - 1) / 2] + speeds[n / 2]) / 2;
}

/* Runs FN over STEPS tokens of each of the first N_SEQUENCES sessions, once to warm up and then as
 * often as asked. */
static enum octet_status measure(struct bench *bench, test_fn fn, int32_t steps, size_t n_sequences,
                                 struct result *result, struct octet_err *err) {
    const size_t n_runs = (size_t)bench->args.n_runs;
    const int32_t warm_up = steps < WARM_UP_TOKENS ? steps : WARM_UP_TOKENS;
    enum octet_status status = rewind_sessions(bench, n_sequences, err);
    if (status == OCTET_OK) status = fn(bench, warm_up, err);
    for (size_t run = 0; run < n_runs && status == OCTET_OK; run++) {
        status = rewind_sessions(bench, n_sequences, err);
        const double start = probe_seconds();
        if (status == OCTET_OK) status = fn(bench, steps, err);
        const double n_tokens = (double)steps * (double)n_sequences;
        bench->speeds[run] = n_tokens / (probe_seconds() - start);
        progress_update(&bench->progress, run + 1, n_runs);
    }
    if (status != OCTET_OK) return status;
    summarise(bench->speeds, n_runs, result);
    result->peak_rss = probe_rss_peak();
    result->anon_rss = probe_rss_anon();
    bench->n_results++;
    return OCTET_OK;
}

/* Cache bytes a token reads on average while a sequence grows by N_STEPS. */
static double kv_bytes(const struct bench *bench, int32_t n_steps) {
    double held = (double)bench->args.depth + ((double)n_steps + 1) / 2;
    if (bench->info.sliding_window > 0) held = fmin(held, (double)bench->info.sliding_window);
    // Against f16; q8_0 is one byte and an eighth of a scale.
    static const double factors[] = {
        [OCTET_KV_F16] = 1, [OCTET_KV_F32] = 2, [OCTET_KV_Q8_0] = 0.5625};
    const double factor = factors[bench->session_args.kv_type];
    return held * factor * (double)bench->info.kv_bytes_per_token;
}

static enum octet_status run_tests(struct bench *bench, struct octet_err *err) {
    const struct bench_args *const args = &bench->args;
    const double weights = (double)bench->info.decode_bytes;
    enum octet_status status = OCTET_OK;
    if (args->n_prompt > 0) {
        struct result *const result = &bench->results[bench->n_results];
        // At least: the weights once per chunk.
        const int32_t chunk =
            bench->session_args.prefill_chunk > 0 ? bench->session_args.prefill_chunk : 512;
        const int32_t n_chunks = (args->n_prompt + chunk - 1) / chunk;
        *result = (struct result){.test = "prefill", .n = args->n_prompt};
        result->bytes_per_token = weights * n_chunks / args->n_prompt;
        status = measure(bench, prefill, args->n_prompt, 1, result, err);
    }
    if (args->n_gen > 0 && status == OCTET_OK) {
        struct result *const result = &bench->results[bench->n_results];
        *result = (struct result){.test = "decode", .n = args->n_gen};
        result->bytes_per_token = weights + kv_bytes(bench, args->n_gen);
        status = measure(bench, decode, args->n_gen, 1, result, err);
    }
    if (args->n_batch > 0 && args->n_gen > 0 && status == OCTET_OK) {
        struct result *const result = &bench->results[bench->n_results];
        *result = (struct result){.test = "batch", .n = args->n_batch};
        result->bytes_per_token = weights / args->n_batch + kv_bytes(bench, args->n_gen);
        status = measure(bench, decode_batch, args->n_gen, bench->n_sessions, result, err);
    }
    return status;
}

/* ---- Results --------------------------------------------------------------------------------- */

static json_t *result_json(const struct bench *bench, const struct result *result) {
    const double speed = result->median * result->bytes_per_token;
    json_t *const object = json_pack(
        "{s:s, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "test", result->test, "n",
        result->n, "depth", bench->args.depth, "threads", bench->info.n_threads, "tokens_per_s",
        json_out_number(result->median), "mean_tokens_per_s", json_out_number(result->mean),
        "spread", json_out_number(result->spread), "gb_per_s", json_out_number(speed / 1e9),
        "ceiling_gb_per_s", json_out_number(bench->ceiling / 1e9), "share",
        json_out_number(speed / bench->ceiling), "peak_rss_bytes", (json_int_t)result->peak_rss,
        "rss_anon_bytes", (json_int_t)result->anon_rss);
    if (object != NULL && strcmp(result->test, "decode") == 0) {
        json_object_set_new(object, "first_token_s", json_out_number(bench->first_seconds));
    }
    return object;
}

static int print_json(const struct bench *bench) {
    json_t *const array = json_array();
    for (size_t i = 0; i < bench->n_results; i++) {
        json_array_append_new(array, result_json(bench, &bench->results[i]));
    }
    return json_out_print(array);
}

static int print_table(const struct bench *bench) {
    const struct octet_model_info *const info = &bench->info;
    char size[16], peak[16], anon[16];
    output_printf("%s (%s), %s, %s kernels, %d threads\n",
                  info->name[0] != '\0' ? info->name : bench->model_args.path, info->arch,
                  output_bytes((double)info->file_bytes, size), info->isa, info->n_threads);
    output_printf("load+first      %.2f s from start to the logits of a %d token prompt\n",
                  bench->first_seconds, FIRST_TOKENS);
    output_printf("memory reads    %.1f GB/s measured\n\n", bench->ceiling / 1e9);
    output_printf("%-8s %6s %6s %10s %8s %8s %6s %9s %9s\n", "test", "n", "depth", "tokens/s",
                  "+/-", "GB/s", "share", "peak RSS", "not file");
    for (size_t i = 0; i < bench->n_results; i++) {
        const struct result *const result = &bench->results[i];
        const double speed = result->median * result->bytes_per_token;
        output_printf("%-8s %6d %6d %10.2f %8.2f %8.2f %5.0f%% %9s %9s\n", result->test, result->n,
                      bench->args.depth, result->median, result->spread, speed / 1e9,
                      100 * speed / bench->ceiling, output_bytes((double)result->peak_rss, peak),
                      output_bytes((double)result->anon_rss, anon));
    }
    return EXIT_DONE;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    (void)user; // steps of the tests move the bar, Ctrl-C ends within one
    (void)done;
    (void)total;
    return !terminal_interrupted();
}

static int make_tokens(struct bench *bench) {
    const struct bench_args *const args = &bench->args;
    const int32_t longest = args->n_prompt > args->n_gen ? args->n_prompt : args->n_gen;
    const size_t n_vocab = octet_n_tokens(bench->model);
    bench->n_tokens = (size_t)args->depth + (size_t)longest;
    if (bench->n_tokens < FIRST_TOKENS) bench->n_tokens = FIRST_TOKENS;
    bench->tokens = mem_array(bench->n_tokens, sizeof *bench->tokens);
    if (bench->tokens == NULL) return output_error("out of memory for the tokens");
    if (n_vocab == 0) return output_error("%s: has no vocabulary", bench->model_args.path);
    uint64_t state = args->seed;
    for (size_t i = 0; i < bench->n_tokens; i++) {
        bench->tokens[i] = (int32_t)(next_random(&state) % n_vocab);
    }
    return OPTIONS_RUN;
}

static int open_sessions(struct bench *bench) {
    const size_t n = bench->args.n_batch > 1 ? (size_t)bench->args.n_batch : 1;
    bench->sessions = mem_array(n, sizeof(struct octet_session *));
    bench->spans = mem_array(n, sizeof *bench->spans);
    if (bench->sessions == NULL || bench->spans == NULL) {
        return output_error("out of memory for %zu sessions", n);
    }
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = bench->session_args.n_ctx;
    if (options.n_ctx == 0) options.n_ctx = (int32_t)bench->n_tokens;
    options.prefill_chunk = bench->session_args.prefill_chunk;
    options.kv_type = (enum octet_kv_type)bench->session_args.kv_type;
    options.progress = on_progress;
    struct octet_err err;
    for (; bench->n_sessions < n; bench->n_sessions++) {
        if (octet_session_open(bench->model, &options, &bench->sessions[bench->n_sessions], &err) !=
            OCTET_OK) {
            return output_failure(&err);
        }
    }
    return OPTIONS_RUN;
}

static int bench_model(struct bench *bench) {
    const double start = probe_seconds();
    int status = options_open_model(&bench->model_args, false, &bench->model);
    if (status != OPTIONS_RUN) return status;
    octet_model_get_info(bench->model, &bench->info);
    status = make_tokens(bench);
    if (status == OPTIONS_RUN) status = open_sessions(bench);
    if (status != OPTIONS_RUN) return status;
    struct octet_err err;
    if (sync_to(bench, FIRST_TOKENS, &err) != OCTET_OK) return output_failure(&err);
    bench->first_seconds = probe_seconds() - start;
    progress_open(&bench->progress, "bench", PROGRESS_RUNS);
    terminal_catch_interrupt();
    enum octet_status result = run_tests(bench, &err);
    terminal_release_interrupt();
    progress_close(&bench->progress);
    // Last, as its buffer would count as the model's memory.
    if (result == OCTET_OK) {
        result =
            probe_read_bandwidth(bench->info.n_threads, BANDWIDTH_PASSES, &bench->ceiling, &err);
    }
    if (result != OCTET_OK) return output_failure(&err);
    return bench->args.json ? print_json(bench) : print_table(bench);
}

static int bench_command(const struct command *command, int argc, char **argv) {
    static const struct bench_args defaults = {
        .n_prompt = 512, .n_gen = 128, .n_runs = 3, .seed = 1};
    struct bench bench = {.args = defaults};
    const struct option_group groups[] = {
        options_model_group(&bench.model_args),
        {"Tests", rows, sizeof rows / sizeof rows[0], &bench.args, &defaults, sizeof defaults},
        options_session_group(&bench.session_args),
    };
    struct arguments arguments;
    int status = options_parse(command, groups, sizeof groups / sizeof groups[0], argc, argv, 0, 0,
                               &arguments);
    if (status != OPTIONS_RUN) return status;
    status = bench_model(&bench);
    for (size_t i = 0; i < bench.n_sessions; i++) octet_session_close(bench.sessions[i]);
    octet_model_close(bench.model);
    mem_free(bench.sessions);
    mem_free(bench.spans);
    mem_free(bench.tokens);
    return status;
}

const struct command cmd_bench = {
    .name = "bench",
    .summary = "tokens per second and share of the memory bandwidth",
    .usage = "-m MODEL [options]",
    .about = "Times a model on random tokens: prefill reads a prompt in large steps, decode makes "
             "one token after the other. Decoding has to read all weights per token, so its limit "
             "is the memory; the share says how near it comes to the read bandwidth measured in "
             "the same run. For prefill GB/s counts the weights once per chunk. tokens/s is the "
             "median of the runs, +/- their standard deviation.",
    .examples = "  octet bench -m model.gguf\n"
                "  octet bench -m model.gguf --prompt 0 --gen 64 --depth 2048 -t 8\n"
                "  octet bench -m model.gguf --json > bench.json\n",
    .run = bench_command,
};
