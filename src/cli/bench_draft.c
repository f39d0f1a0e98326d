/* See bench_draft.h. The first round is for warming up and for comparing all logits; the others are
 * timed. Every round has a drafter of its own, which knows nothing yet of the text. */
#include "cli/bench_draft.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/probe.h"
#include "cli/bench.h"
#include "cli/generate.h"
#include "cli/json_out.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/text.h"

struct draft_bench {
    const struct bench_draft_args *args;
    struct octet_model *model, *draft_model;
    struct octet_model_info info;
    struct octet_session *session;
    struct octet_tokens tokens; // prompt, then text
    size_t n_prompt;
    double *plain, *drafted; // (n_runs) seconds
    bool identical;
    struct octet_draft_stats stats; // of the last round
};

/* ---- Running --------------------------------------------------------------------------------- */

static enum octet_status sync_to(const struct draft_bench *bench, struct octet_drafter *drafter,
                                 size_t n, struct octet_err *err) {
    const int32_t *const ids = bench->tokens.ids;
    return drafter != NULL ? octet_drafter_sync(drafter, ids, n, err)
                           : octet_session_sync(bench->session, ids, n, err);
}

/* HASH, of the logits every token was picked from: NULL where there is no time for it. */
static enum octet_status decode(const struct draft_bench *bench, struct octet_drafter *drafter,
                                double *seconds, uint64_t *hash, struct octet_err *err) {
    enum octet_status status = sync_to(bench, drafter, bench->n_prompt, err);
    const double start = probe_seconds();
    for (size_t n = bench->n_prompt + 1; n <= bench->tokens.n && status == OCTET_OK; n++) {
        status = sync_to(bench, drafter, n, err);
        if (hash == NULL || status != OCTET_OK) continue;
        const float *const logits = drafter != NULL ? octet_drafter_logits(drafter)
                                                    : octet_session_logits(bench->session);
        *hash = octet_logits_hash(*hash, logits, (size_t)bench->info.n_vocab);
    }
    *seconds = probe_seconds() - start;
    return status;
}

static int run_round(struct draft_bench *bench, double *plain, double *drafted, bool compare) {
    uint64_t hashes[2] = {OCTET_HASH_INIT, OCTET_HASH_INIT};
    struct octet_drafter *drafter = NULL;
    struct octet_err err;
    enum octet_status status =
        decode(bench, NULL, plain, compare ? &hashes[0] : NULL, &err);
    if (status != OCTET_OK) return output_failure(&err);
    octet_model_close(bench->draft_model);
    const int opened = generate_open_drafter(bench->args->draft, bench->args->model, bench->session,
                                             &bench->draft_model, &drafter);
    if (opened != OPTIONS_RUN) {
        octet_drafter_close(drafter);
        return opened;
    }
    status = decode(bench, drafter, drafted, compare ? &hashes[1] : NULL, &err);
    if (drafter != NULL) octet_drafter_get_stats(drafter, &bench->stats);
    octet_drafter_close(drafter);
    if (compare) bench->identical = hashes[0] == hashes[1];
    return status == OCTET_OK ? (int)OPTIONS_RUN : output_failure(&err);
}

static int run_rounds(struct draft_bench *bench) {
    double seconds[2];
    int status = run_round(bench, &seconds[0], &seconds[1], true);
    for (int32_t i = 0; i < bench->args->n_runs && status == OPTIONS_RUN; i++) {
        status = run_round(bench, &bench->plain[i], &bench->drafted[i], false);
    }
    return status;
}

/* ---- Results --------------------------------------------------------------------------------- */

static int print(struct draft_bench *bench) {
    const size_t n_runs = (size_t)bench->args->n_runs, n = bench->tokens.n - bench->n_prompt;
    const double plain = (double)n / bench_median(bench->plain, n_runs);
    const double drafted = (double)n / bench_median(bench->drafted, n_runs);
    const struct octet_draft_stats *const stats = &bench->stats;
    if (bench->args->json) {
        return json_out_print(json_pack(
            "[{s:s, s:I, s:I, s:i, s:o, s:o, s:o, s:I, s:I, s:I, s:b}]", "test", "draft", "n",
            (json_int_t)n, "depth", (json_int_t)bench->n_prompt, "threads", bench->info.n_threads,
            "tokens_per_s", json_out_number(drafted), "plain_tokens_per_s", json_out_number(plain),
            "ratio", json_out_number(drafted / plain), "drafted", (json_int_t)stats->drafted,
            "accepted", (json_int_t)stats->accepted, "steps", (json_int_t)stats->steps, "identical",
            bench->identical));
    }
    output_printf("%zu tokens after %zu: plain %.2f tokens/s, drafting %.2f (%.2fx); %llu of %llu "
                  "drafted tokens right, %llu steps; logits %s\n",
                  n, bench->n_prompt, plain, drafted, drafted / plain,
                  (unsigned long long)stats->accepted, (unsigned long long)stats->drafted,
                  (unsigned long long)stats->steps, bench->identical ? "identical" : "DIFFER");
    return EXIT_DONE;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

/* Appends the tokens of a file. */
static int add_file(struct draft_bench *bench, const char *path, unsigned flags) {
    struct text text = {0};
    struct octet_err err;
    int status = text_read(&text, path);
    if (status == OPTIONS_RUN &&
        octet_tokenize(bench->model, text.n > 0 ? text.bytes : "", text.n, flags, &bench->tokens,
                       &err) != OCTET_OK) {
        status = output_failure(&err);
    }
    text_free(&text);
    return status;
}

static int read_texts(struct draft_bench *bench) {
    const struct bench_draft_args *const args = bench->args;
    const char *const prompt = args->prompt != NULL ? args->prompt : "/dev/null";
    int status = add_file(bench, prompt, OCTET_TOKENIZE_BOS);
    bench->n_prompt = bench->tokens.n;
    if (status == OPTIONS_RUN) status = add_file(bench, args->text, 0);
    if (status != OPTIONS_RUN) return status;
    const size_t most = bench->n_prompt + (size_t)args->n_gen;
    if (bench->tokens.n > most) bench->tokens.n = most;
    if (bench->n_prompt == 0 || bench->tokens.n == bench->n_prompt) {
        return output_error("%s: nothing to decode", args->text);
    }
    return OPTIONS_RUN;
}

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    (void)user, (void)done, (void)total;
    return !terminal_interrupted();
}

static int open_session(struct draft_bench *bench) {
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = bench->args->session->n_ctx;
    if (options.n_ctx == 0) options.n_ctx = (int32_t)bench->tokens.n;
    options.prefill_chunk = bench->args->session->prefill_chunk;
    options.kv_type = (enum octet_kv_type)bench->args->session->kv_type;
    options.progress = on_progress;
    struct octet_err err;
    if (octet_session_open(bench->model, &options, &bench->session, &err) != OCTET_OK) {
        return output_failure(&err);
    }
    const size_t n_runs = (size_t)bench->args->n_runs;
    bench->plain = mem_array(n_runs, sizeof *bench->plain);
    bench->drafted = mem_array(n_runs, sizeof *bench->drafted);
    if (bench->plain == NULL || bench->drafted == NULL) return output_error("out of memory");
    return OPTIONS_RUN;
}

int bench_draft(const struct bench_draft_args *args) {
    struct draft_bench bench = {.args = args};
    int status = options_open_model(args->model, false, &bench.model);
    if (status == OPTIONS_RUN) {
        octet_model_get_info(bench.model, &bench.info);
        status = read_texts(&bench);
    }
    if (status == OPTIONS_RUN) status = open_session(&bench);
    terminal_catch_interrupt();
    if (status == OPTIONS_RUN) status = run_rounds(&bench);
    terminal_release_interrupt();
    if (status == OPTIONS_RUN) status = print(&bench);
    octet_session_close(bench.session);
    octet_model_close(bench.draft_model);
    octet_model_close(bench.model);
    octet_tokens_free(&bench.tokens);
    mem_free(bench.plain);
    mem_free(bench.drafted);
    return status;
}
