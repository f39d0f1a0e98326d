/* octet bench: how fast this machine runs a model, and how much of what it could do that is. */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/threads.h"
#include "cli/bench.h"
#include "cli/bench_draft.h"
#include "cli/output.h"
#include "cli/terminal.h"

enum { MAX_DEPTH = 1 << 24 };

static const struct option_row rows[] = {
    {"prompt", 'p', OPTION_INT, "N", offsetof(struct bench_args, n_prompt), 0, 1 << 24, false,
     "tokens of the prefill test; 0: leave it out"},
    {"gen", 'n', OPTION_INT, "N", offsetof(struct bench_args, n_gen), 0, 1 << 24, false,
     "tokens of the decode test; 0: leave it out"},
    {"depth", 'd', OPTION_TEXT, "N,...", offsetof(struct bench_args, depths), 0, 0, false,
     "tokens that sequences hold before each test; every test runs at each depth"},
    {"batch", 'b', OPTION_TEXT, "N,...", offsetof(struct bench_args, batches), 0, 0, false,
     "also decode N sequences in the same steps, for each N; 0: leave it out"},
    {"repeat", 'r', OPTION_INT, "N", offsetof(struct bench_args, n_runs), 1, BENCH_MAX_RUNS, false,
     "times each test runs"},
    {"seed", 0, OPTION_SEED, "N", offsetof(struct bench_args, seed), 0, 0, false,
     "of the random token ids"},
    {"no-ceilings", 0, OPTION_FLAG, NULL, offsetof(struct bench_args, no_ceilings), 0, 0, false,
     "do not measure what the machine can do: shares are unknown"},
    {"csv", 0, OPTION_TEXT, "FILE", offsetof(struct bench_args, csv), 0, 0, false,
     "append a line per test to FILE"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct bench_args, json), 0, 0, false,
     "print a JSON array, one object per test"},
    {"draft-text", 0, OPTION_TEXT, "FILE", offsetof(struct bench_args, draft_text), 0, 0, false,
     "instead: decode this text (its first --gen tokens), plainly and drafting in turn, whatever "
     "the model would pick"},
    {"draft-prompt", 0, OPTION_TEXT, "FILE", offsetof(struct bench_args, draft_prompt), 0, 0, false,
     "what comes before --draft-text"},
};

/* ---- Arguments ------------------------------------------------------------------------------- */

static void insert(struct bench_list *list, int32_t value) {
    size_t at = 0;
    while (at < list->n && list->items[at] < value) at++;
    if (at < list->n && list->items[at] == value) return;
    for (size_t i = list->n++; i > at; i--) list->items[i] = list->items[i - 1];
    list->items[at] = value;
}

/* Numbers from 0 to MAX with commas between them; false where TEXT is anything else. */
static bool parse_list(const char *text, long max, struct bench_list *list) {
    list->n = 0;
    for (const char *p = text;; p++) {
        char *end;
        errno = 0;
        const long value = strtol(p, &end, 10);
        if (*p < '0' || *p > '9' || errno != 0 || value > max) return false;
        if (list->n == BENCH_MAX_LIST) return false;
        insert(list, (int32_t)value);
        if (*end == '\0') return true;
        if (*end != ',') return false;
        p = end;
    }
}

static int read_lists(const struct command *command, struct bench *bench) {
    const struct bench_args *const args = &bench->args;
    if (!parse_list(args->depths, MAX_DEPTH, &bench->depths)) {
        return options_misuse(command, "--depth %s: expected up to %d numbers of 0 to %d, as in "
                              "0,1024,4096", args->depths, BENCH_MAX_LIST, MAX_DEPTH);
    }
    if (!parse_list(args->batches, BENCH_MAX_BATCH, &bench->batches)) {
        return options_misuse(command, "--batch %s: expected up to %d numbers of 0 to %d, as in "
                              "1,2,4,8", args->batches, BENCH_MAX_LIST, BENCH_MAX_BATCH);
    }
    if (bench->batches.items[0] == 0) { // none
        bench->batches.n--;
        for (size_t i = 0; i < bench->batches.n; i++) {
            bench->batches.items[i] = bench->batches.items[i + 1];
        }
    }
    return OPTIONS_RUN;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    (void)user; // runs of the tests move the bar, Ctrl-C ends within one
    (void)done;
    (void)total;
    return !terminal_interrupted();
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Sequences of a batch begin at different tokens, so that no two of them are the same: each has its
 * own cache to read, and its own experts. */
static int make_tokens(struct bench *bench, size_t n_sequences) {
    const struct bench_args *const args = &bench->args;
    const size_t longest = bench_max((size_t)args->n_prompt, (size_t)args->n_gen);
    const size_t n_vocab = octet_n_tokens(bench->model);
    const size_t deepest = (size_t)bench->depths.items[bench->depths.n - 1];
    bench->n_tokens = bench_max(deepest + longest, BENCH_FIRST_TOKENS);
    const size_t n = bench->n_tokens + n_sequences;
    bench->tokens = mem_array(n, sizeof *bench->tokens);
    if (bench->tokens == NULL) return output_error("out of memory for the tokens");
    if (n_vocab == 0) return output_error("%s: has no vocabulary", bench->model_args.path);
    uint64_t state = args->seed;
    for (size_t i = 0; i < n; i++) bench->tokens[i] = (int32_t)(next_random(&state) % n_vocab);
    return OPTIONS_RUN;
}

static int open_sessions(struct bench *bench, size_t n) {
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

/* The ceilings that count are those of the machine, unless it was told to be a lesser one. */
static const char *isa_of_ceilings(void) { return getenv("OCTET_ISA"); }

static int n_threads_asked(const struct bench *bench) {
    const int asked = bench->model_args.n_threads;
    return asked > 0 ? asked : cpu_count();
}

static enum octet_status measure_arithmetic(const struct bench *bench, struct probe_speeds *speeds,
                                            struct octet_err *err) {
    if (bench->args.no_ceilings) return OCTET_OK;
    return probe_arithmetic(n_threads_asked(bench), isa_of_ceilings(), speeds, err);
}

static enum octet_status first_tokens(struct bench *bench, double start, struct octet_err *err) {
    const enum octet_status status =
        octet_session_sync(bench->sessions[0], bench->tokens, BENCH_FIRST_TOKENS, err);
    bench->first_seconds = probe_seconds() - start;
    return status;
}

static int bench_model(struct bench *bench) {
    struct octet_err err;
    enum octet_status result = measure_arithmetic(bench, &bench->before, &err);
    if (result != OCTET_OK) return output_failure(&err);
    const double start = probe_seconds();
    int status = options_open_model(&bench->model_args, false, &bench->model);
    if (status != OPTIONS_RUN) return status;
    octet_model_get_info(bench->model, &bench->info);
    const struct bench_list *const batches = &bench->batches;
    const size_t n_sequences = batches->n > 0 ? (size_t)batches->items[batches->n - 1] : 1;
    status = make_tokens(bench, n_sequences);
    if (status == OPTIONS_RUN) status = open_sessions(bench, n_sequences);
    if (status != OPTIONS_RUN) return status;
    if (!bench_reads_open(bench, n_threads_asked(bench), isa_of_ceilings())) {
        return output_error("out of memory for the measurement of reads");
    }
    if (!bench_plan(bench)) return output_error("out of memory for the results");
    if (first_tokens(bench, start, &err) != OCTET_OK) return output_failure(&err);
    progress_open(&bench->progress, "bench", PROGRESS_RUNS);
    terminal_catch_interrupt();
    result = bench_run(bench, &err);
    terminal_release_interrupt();
    progress_close(&bench->progress);
    if (result == OCTET_OK) result = measure_arithmetic(bench, &bench->after, &err);
    if (result != OCTET_OK) return output_failure(&err);
    status = bench->args.csv != NULL ? bench_append_csv(bench) : (int)EXIT_DONE;
    if (status != EXIT_DONE) return status;
    return bench->args.json ? bench_print_json(bench) : bench_print_table(bench);
}

static int bench_drafts(const struct command *command, const struct bench *bench,
                        const struct draft_args *draft) {
    const struct bench_args *const args = &bench->args;
    if (args->draft_text == NULL) {
        return options_misuse(command, "--draft-prompt needs --draft-text");
    }
    return bench_draft(&(struct bench_draft_args){args->draft_prompt, args->draft_text,
                                                  &bench->model_args, &bench->session_args, draft,
                                                  args->n_gen, args->n_runs, args->json});
}

static int bench_command(const struct command *command, int argc, char **argv) {
    static const struct bench_args defaults = {
        .depths = "0", .batches = "0", .n_prompt = 512, .n_gen = 128, .n_runs = 3, .seed = 1};
    struct bench bench = {.args = defaults};
    struct draft_args draft_args;
    const struct option_group groups[] = {
        options_model_group(&bench.model_args),
        {"Tests", rows, sizeof rows / sizeof rows[0], &bench.args, &defaults, sizeof defaults},
        options_session_group(&bench.session_args),
        options_draft_group(&draft_args),
    };
    struct arguments arguments;
    int status = options_parse(command, groups, sizeof groups / sizeof groups[0], argc, argv, 0, 0,
                               &arguments);
    if (status == OPTIONS_RUN) status = read_lists(command, &bench);
    if (status != OPTIONS_RUN) return status;
    if (bench.args.draft_text != NULL || bench.args.draft_prompt != NULL) {
        return bench_drafts(command, &bench, &draft_args);
    }
    status = bench_model(&bench);
    for (size_t i = 0; i < bench.n_sessions; i++) octet_session_close(bench.sessions[i]);
    octet_model_close(bench.model);
    mem_free(bench.sessions);
    mem_free(bench.spans);
    mem_free(bench.tokens);
    mem_free(bench.tests);
    mem_free(bench.speeds);
    bench_reads_close(&bench);
    return status;
}

const struct command cmd_bench = {
    .name = "bench",
    .summary = "tokens per second and share of what the machine can do",
    .usage = "-m MODEL [options]",
    .about = "Times a model on random tokens: prefill reads a prompt in large steps, decode makes "
             "one token after the other, batch does so for several sequences in common steps. "
             "tokens/s is the median of the runs, +/- their standard deviation. Every token needs "
             "weights and the cache of its sequence from memory (a batch shares the weights), and "
             "a multiply-add (2 operations) with each weight; shares say how near that comes to "
             "plain reads of the model's own memory, in turns with steps of decoding, and to "
             "integer dot products (floating point for float weights), measured before and after "
             "all. Decoding is limited by memory, prefill by arithmetic; for prefill, bytes are "
             "the weights once per chunk. With --draft-text the gain of --draft on a text is "
             "measured instead, and all logits are compared.",
    .examples = "  octet bench -m model.gguf\n"
                "  octet bench -m model.gguf --depth 0,1024,4096 --batch 1,2,4,8 -r 5\n"
                "  octet bench -m model.gguf --json --csv bench.csv > bench.json\n"
                "  octet bench -m model.gguf --draft-prompt question.txt --draft-text answer.txt\n",
    .run = bench_command,
};
