/* What the speeds of octet bench mean: bytes and operations per token, shares of what the machine
 * can do, as a table, as JSON and as lines of a CSV file. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/json_out.h"
#include "cli/output.h"

static const char *const kind_names[] = {"prefill", "decode", "batch"};

/* What "n" is in results: tokens, or sequences of a batch. */
static int32_t shown_n(const struct bench_test *test) {
    return test->kind == BENCH_BATCH ? (int32_t)test->n_sequences : test->steps;
}

/* ---- Figures --------------------------------------------------------------------------------- */

/* Weight bytes that a step of N_ROWS tokens reads. Of a mixture's experts the rows choose some
 * independently of each other, as far as one can know: this is how many the union holds on average.
 */
static double step_bytes(const struct octet_model_info *info, double n_rows) {
    if (info->n_experts == 0) return (double)info->decode_bytes;
    const double chosen = (double)info->n_experts_used / (double)info->n_experts;
    const double experts = (double)info->expert_bytes;
    return (double)info->decode_bytes - experts * chosen +
           experts * (1 - pow(1 - chosen, n_rows));
}

/* Cache bytes that a token reads on average while its sequence grows. */
static double kv_bytes(const struct bench *bench, const struct bench_test *test) {
    double held = (double)test->depth + ((double)test->steps + 1) / 2;
    if (bench->info.sliding_window > 0) held = fmin(held, (double)bench->info.sliding_window);
    // Against f16: 64 bytes for 32 numbers.
    static const double factors[] = {[OCTET_KV_F16] = 1,
                                     [OCTET_KV_F32] = 2,
                                     [OCTET_KV_Q8_0] = 36.0 / 64,
                                     [OCTET_KV_Q4_0] = 18.0 / 64};
    const double factor = factors[bench->session_args.kv_type];
    return held * factor * (double)bench->info.kv_bytes_per_token;
}

/* Quantised weights are multiplied as integers. */
static bool multiplies_floats(const struct octet_model_info *info) {
    return strcmp(info->type, "F32") == 0 || strcmp(info->type, "F16") == 0 ||
           strcmp(info->type, "BF16") == 0;
}

struct bench_figures bench_figures(const struct bench *bench, const struct bench_test *test) {
    const struct octet_model_info *const info = &bench->info;
    struct bench_figures f = {.macs = (double)info->decode_macs};
    if (test->kind == BENCH_PREFILL) {
        // At least: the weights once per chunk. The last token alone goes to its end.
        const int32_t set = bench->session_args.prefill_chunk, chunk = set > 0 ? set : 512;
        const int32_t n_chunks = (test->steps + chunk - 1) / chunk;
        const double n = (double)test->steps, rows = fmin(n, (double)chunk);
        f.weight_bytes = step_bytes(info, rows) * n_chunks / n;
        const double output = (double)info->d_model * (double)info->n_vocab;
        f.macs -= (output + (double)info->last_layer_macs) * (1 - 1 / n);
    } else {
        f.weight_bytes = step_bytes(info, (double)test->n_sequences) / (double)test->n_sequences;
        f.kv_bytes = kv_bytes(bench, test);
    }
    f.bytes_per_s = test->median * (f.weight_bytes + f.kv_bytes);
    f.ops_per_s = test->median * f.macs * 2;
    f.ceiling_bytes = test->read_ceiling;
    f.ceiling_ops = multiplies_floats(info)
                        ? fmax(bench->before.float_ops, bench->after.float_ops)
                        : fmax(bench->before.int8_ops, bench->after.int8_ops);
    if (bench->args.no_ceilings) f.ceiling_ops = (double)NAN;
    f.memory_share = f.bytes_per_s / f.ceiling_bytes;
    f.compute_share = f.ops_per_s / f.ceiling_ops;
    f.share = test->kind == BENCH_PREFILL ? f.compute_share : f.memory_share;
    return f;
}

/* ---- Columns --------------------------------------------------------------------------------- */

struct column {
    const char *name;
    double value;
};

enum { MAX_COLUMNS = 32 };

/* The numbers of a result, the same in JSON and CSV. */
static size_t columns_of(const struct bench *bench, const struct bench_test *test,
                         struct column columns[MAX_COLUMNS]) {
    const struct bench_figures f = bench_figures(bench, test);
    const struct column all[] = {
        {"n", (double)shown_n(test)},
        {"depth", (double)test->depth},
        {"threads", (double)bench->info.n_threads},
        {"runs", (double)bench->args.n_runs},
        {"tokens_per_s", test->median},
        {"mean_tokens_per_s", test->mean},
        {"spread", test->spread},
        {"min_tokens_per_s", test->speeds[0]},
        {"max_tokens_per_s", test->speeds[bench->args.n_runs - 1]},
        {"weight_bytes_per_token", f.weight_bytes},
        {"kv_bytes_per_token", f.kv_bytes},
        {"gb_per_s", f.bytes_per_s / 1e9},
        {"ceiling_gb_per_s", f.ceiling_bytes / 1e9},
        {"memory_share", f.memory_share},
        {"macs_per_token", f.macs},
        {"gops", f.ops_per_s / 1e9},
        {"ceiling_gops", f.ceiling_ops / 1e9},
        {"compute_share", f.compute_share},
        {"share", f.share},
        {"peak_rss_bytes", (double)test->peak_rss},
        {"rss_anon_bytes", (double)test->anon_rss},
        {"first_token_s", bench->first_seconds},
    };
    memcpy(columns, all, sizeof all);
    return sizeof all / sizeof all[0];
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *reads_json(const double reads[PROBE_N_WAYS]) {
    json_t *const array = json_array();
    for (size_t way = 0; way < PROBE_N_WAYS; way++) {
        json_array_append_new(array, json_out_number(reads[way] / 1e9));
    }
    return array;
}

static json_t *result_json(const struct bench *bench, const struct bench_test *test) {
    json_t *const object = json_pack("{s:s, s:s}", "test", kind_names[test->kind], "isa",
                                     bench->info.isa);
    struct column columns[MAX_COLUMNS];
    const size_t n = columns_of(bench, test, columns);
    for (size_t i = 0; i < n; i++) {
        const double value = columns[i].value;
        const bool whole = value == floor(value) && fabs(value) < 0x1p53;
        json_t *const number =
            whole ? json_integer((json_int_t)value) : json_out_number(value);
        json_object_set_new(object, columns[i].name, number);
    }
    json_object_set_new(object, "reads_gb_per_s", reads_json(test->reads));
    json_t *const turns = json_array();
    const size_t n_turns = (size_t)bench->args.n_runs * BENCH_READ_TURNS;
    for (size_t i = 0; test->read_turns != NULL && i < n_turns; i++) {
        json_array_append_new(turns, reads_json(test->read_turns + i * PROBE_N_WAYS));
    }
    json_object_set_new(object, "read_turns_gb_per_s", turns);
    return object;
}

int bench_print_json(const struct bench *bench) {
    json_t *const array = json_array();
    for (size_t i = 0; i < bench->n_tests; i++) {
        json_array_append_new(array, result_json(bench, &bench->tests[i]));
    }
    return json_out_print(array);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static void put_text(FILE *file, const char *text) {
    fputc('"', file);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"') fputc('"', file);
        fputc(*p, file);
    }
    fputc('"', file);
}

static void put_line(FILE *file, const struct bench *bench, const struct bench_test *test) {
    char date[32], cpu[128];
    const time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    probe_cpu_name(cpu, sizeof cpu);
    const char *const slash = strrchr(bench->model_args.path, '/');
    fprintf(file, "%s,%s,%s,", date, OCTET_VERSION, bench->info.isa);
    put_text(file, cpu);
    fputc(',', file);
    put_text(file, slash != NULL ? slash + 1 : bench->model_args.path);
    fprintf(file, ",%s", kind_names[test->kind]);
    struct column columns[MAX_COLUMNS];
    const size_t n = columns_of(bench, test, columns);
    for (size_t i = 0; i < n; i++) {
        if (isfinite(columns[i].value)) {
            fprintf(file, ",%.9g", columns[i].value);
        } else {
            fputc(',', file); // not measured
        }
    }
    fputc('\n', file);
}

int bench_append_csv(const struct bench *bench) {
    const char *const path = bench->args.csv;
    FILE *const file = fopen(path, "a");
    if (file == NULL) return output_error("%s: %s", path, strerror(errno));
    if (ftell(file) == 0 && bench->n_tests > 0) {
        fprintf(file, "date,version,isa,cpu,model,test");
        struct column columns[MAX_COLUMNS];
        const size_t n = columns_of(bench, &bench->tests[0], columns);
        for (size_t i = 0; i < n; i++) fprintf(file, ",%s", columns[i].name);
        fputc('\n', file);
    }
    for (size_t i = 0; i < bench->n_tests; i++) put_line(file, bench, &bench->tests[i]);
    const bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) return output_error("%s: %s", path, strerror(errno));
    return EXIT_DONE;
}

/* ---- For people ------------------------------------------------------------------------------ */

static void print_ceilings(const struct bench *bench) {
    const struct probe_speeds *const a = &bench->before, *const b = &bench->after;
    if (bench->args.no_ceilings) return;
    output_printf("memory reads    %.1f GB/s of the model's files\n",
                  bench->tests[0].read_ceiling / 1e9);
    output_printf("multiply-adds   %.0f Gop/s before, %.0f after in int8 (%s); %.0f and %.0f in "
                  "single precision\n",
                  a->int8_ops / 1e9, b->int8_ops / 1e9, a->int8, a->float_ops / 1e9,
                  b->float_ops / 1e9);
}

static const char *percent(double share, char text[16]) {
    snprintf(text, 16, isfinite(share) ? "%.0f%%" : "-", 100 * share);
    return text;
}

int bench_print_table(const struct bench *bench) {
    const struct octet_model_info *const info = &bench->info;
    char size[16], kv[16], peak[16], anon[16], memory[16], compute[16];
    output_printf("%s (%s), %s, %s kernels, %d threads\n",
                  info->name[0] != '\0' ? info->name : bench->model_args.path, info->arch,
                  output_bytes((double)info->file_bytes, size), info->isa, info->n_threads);
    output_printf("load+first      %.2f s from start to the logits of a %d token prompt\n",
                  bench->first_seconds, BENCH_FIRST_TOKENS);
    print_ceilings(bench);
    output_printf("\n%-7s %5s %6s %10s %7s | %8s %8s %6s %5s | %8s %5s | %8s %8s\n", "test", "n",
                  "depth", "tokens/s", "+/-", "weights", "cache", "GB/s", "share", "Gop/s", "share",
                  "peak RSS", "not file");
    for (size_t i = 0; i < bench->n_tests; i++) {
        const struct bench_test *const test = &bench->tests[i];
        const struct bench_figures f = bench_figures(bench, test);
        output_printf("%-7s %5d %6d %10.2f %7.2f | %8s %8s %6.2f %5s | %8.1f %5s | %8s %8s\n",
                      kind_names[test->kind], shown_n(test), test->depth, test->median,
                      test->spread, output_bytes(f.weight_bytes, size),
                      output_bytes(f.kv_bytes, kv), f.bytes_per_s / 1e9,
                      percent(f.memory_share, memory), f.ops_per_s / 1e9,
                      percent(f.compute_share, compute),
                      output_bytes((double)test->peak_rss, peak),
                      output_bytes((double)test->anon_rss, anon));
    }
    output_printf("\nweights and cache: bytes read per token%s\n",
                  info->n_experts > 0 ? ", for the experts that tokens choose on average" : "");
    return EXIT_DONE;
}
