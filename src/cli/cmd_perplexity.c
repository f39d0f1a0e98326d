/* octet perplexity: how well a model predicts a text, and how far its predictions are from saved
 * ones. The procedure is llama.cpp's, so that numbers and files compare: chunks of n_ctx tokens,
 * BOS in place of each chunk's first token where the model asks for one, and scores for the second
 * half of each chunk only. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/json_out.h"
#include "cli/logits_file.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

struct perplexity_args {
    const char *file, *save, *base;
    int32_t n_ctx, n_chunks, kv_type;
    bool json;
};

static const struct option_row rows[] = {
    {"file", 'f', OPTION_TEXT, "FILE", offsetof(struct perplexity_args, file), 0, 0, false,
     "the text, - for stdin; not needed with --kl-base, whose file has the tokens"},
    {"ctx", 'c', OPTION_INT, "N", offsetof(struct perplexity_args, n_ctx), 4, 1 << 20, false,
     "tokens per chunk"},
    {"chunks", 0, OPTION_INT, "N", offsetof(struct perplexity_args, n_chunks), -1, INT32_MAX, false,
     "stop after N chunks; -1: all"},
    {"save-logits", 0, OPTION_TEXT, "FILE", offsetof(struct perplexity_args, save), 0, 0, false,
     "save the predictions, two bytes per token and vocabulary entry"},
    {"kl-base", 0, OPTION_TEXT, "FILE", offsetof(struct perplexity_args, base), 0, 0, false,
     "compare with predictions saved by --save-logits or by llama.cpp's perplexity tool"},
    {"kv", 0, OPTION_CHOICE, OPTIONS_KV_TYPES, offsetof(struct perplexity_args, kv_type), 0, 0,
     false, "number format of the KV cache"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct perplexity_args, json), 0, 0, false,
     "print one JSON object"},
};

struct score {
    struct perplexity_args args;
    struct model_args model_args;
    struct octet_model *model;
    struct octet_session *session;
    struct octet_tokens text;  // tokens of -f
    const int32_t *tokens;     // (n_chunks, n_ctx): of the text or of the base file
    struct octet_tokens chunk; // (n_ctx) the one at hand, with its BOS
    int32_t n_ctx, n_chunks, n_vocab;
    struct logits_file saved, base;
    struct progress progress;
    uint64_t done;                     // tokens of finished chunks
    float *log_probs, *base_log_probs; // (n_vocab)
    size_t n;                          // scored tokens
    double sum_nll, sum_nll2, sum_base_nll, sum_kl, sum_kl2;
    float *kl; // (n_chunks * scored per chunk)
    size_t n_same_top;
    struct octet_err err; // of the first row that failed
    bool failed;
};

/* ---- One position ---------------------------------------------------------------------------- */

static void log_softmax(const float *logits, int32_t n, float *log_probs) {
    float most = logits[0];
    for (int32_t i = 1; i < n; i++) most = fmaxf(most, logits[i]);
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += (double)expf(logits[i] - most);
    const float log_sum = (float)log(sum);
    for (int32_t i = 0; i < n; i++) log_probs[i] = logits[i] - most - log_sum;
}

static int32_t best_of(const float *values, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++) {
        if (values[i] > values[best]) best = i;
    }
    return best;
}

static void compare_with_base(struct score *score, int32_t target) {
    const float *const p = score->log_probs, *const base = score->base_log_probs;
    double kl = 0;
    for (int32_t i = 0; i < score->n_vocab; i++) {
        // What the file could not tell from the least value adds nothing.
        if (base[i] > -16.0f) kl += (double)expf(base[i]) * (double)(base[i] - p[i]);
    }
    score->kl[score->n] = (float)kl;
    score->sum_kl += kl;
    score->sum_kl2 += kl * kl;
    score->sum_base_nll -= (double)base[target];
    if (best_of(p, score->n_vocab) == best_of(base, score->n_vocab)) score->n_same_top++;
}

static void on_logits(void *user, size_t position, const float *logits) {
    struct score *const score = user;
    const size_t n_ctx = (size_t)score->n_ctx;
    if (position < n_ctx / 2 || position + 1 >= n_ctx || score->failed) return;
    const int32_t target = score->tokens[score->done + position + 1];
    log_softmax(logits, score->n_vocab, score->log_probs);
    if (score->args.base != NULL) {
        score->failed =
            logits_file_read_row(&score->base, score->base_log_probs, &score->err) != OCTET_OK;
        if (score->failed) return;
        compare_with_base(score, target);
    }
    if (score->args.save != NULL) {
        score->failed =
            logits_file_write_row(&score->saved, score->log_probs, &score->err) != OCTET_OK;
        if (score->failed) return;
    }
    const double nll = -(double)score->log_probs[target];
    score->sum_nll += nll;
    score->sum_nll2 += nll * nll;
    score->n++;
}

/* ---- All chunks ------------------------------------------------------------------------------ */

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    (void)total; // of the chunk
    struct score *const score = user;
    const uint64_t all = (uint64_t)score->n_chunks * (uint64_t)score->n_ctx;
    return progress_step(&score->progress, score->done + done, all) && !score->failed;
}

/* Whether the model's file asks for a BOS token: then an empty text is one token. */
static enum octet_status find_bos(struct score *score, int32_t *bos, struct octet_err *err) {
    struct octet_tokens tokens = {NULL, 0, 0};
    const enum octet_status status =
        octet_tokenize(score->model, "", 0, OCTET_TOKENIZE_BOS, &tokens, err);
    *bos = status == OCTET_OK && tokens.n > 0 && tokens.ids[0] == octet_token_bos(score->model)
               ? tokens.ids[0]
               : -1;
    octet_tokens_free(&tokens);
    return status;
}

static int score_chunks(struct score *score) {
    struct octet_err err;
    int32_t bos;
    if (find_bos(score, &bos, &err) != OCTET_OK) return output_failure(&err);
    for (int32_t chunk = 0; chunk < score->n_chunks; chunk++) {
        score->chunk.n = 0;
        for (int32_t i = 0; i < score->n_ctx; i++) {
            const int32_t id = i == 0 && bos >= 0 ? bos : score->tokens[score->done + (size_t)i];
            if (octet_tokens_push(&score->chunk, id) != OCTET_OK) {
                return output_error("out of memory for the tokens");
            }
        }
        const enum octet_status status = octet_session_score(
            score->session, score->chunk.ids, score->chunk.n, on_logits, score, &err);
        if (score->failed) return output_failure(&score->err);
        if (status != OCTET_OK) return output_failure(&err);
        score->done += (uint64_t)score->n_ctx;
    }
    return OPTIONS_RUN;
}

/* ---- Results --------------------------------------------------------------------------------- */

static int compare_floats(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(const float *sorted, size_t n, double fraction) {
    const double place = fraction * (double)(n - 1);
    const size_t i = (size_t)place;
    const double rest = place - (double)i;
    return (1 - rest) * (double)sorted[i] + rest * (double)sorted[i + 1 < n ? i + 1 : i];
}

/* Standard error of a mean over n values. */
static double error_of_mean(double sum, double sum2, size_t n) {
    const double mean = sum / (double)n, variance = sum2 / (double)n - mean * mean;
    return n > 1 && variance > 0 ? sqrt(variance / (double)(n - 1)) : 0;
}

static int print_results(const struct score *score) {
    const double n = (double)score->n;
    const bool compared = score->args.base != NULL;
    const double ppl = exp(score->sum_nll / n);
    const double ppl_error = ppl * error_of_mean(score->sum_nll, score->sum_nll2, score->n);
    const double none = (double)NAN;
    const double kl = compared ? score->sum_kl / n : none;
    const double kl_error =
        compared ? error_of_mean(score->sum_kl, score->sum_kl2, score->n) : none;
    const double median = compared ? percentile(score->kl, score->n, 0.5) : none;
    const double p999 = compared ? percentile(score->kl, score->n, 0.999) : none;
    const double most = compared ? (double)score->kl[score->n - 1] : none;
    const double same = compared ? (double)score->n_same_top / n : none;
    const double base_ppl = compared ? exp(score->sum_base_nll / n) : none;
    if (score->args.json) {
        return json_out_print(
            json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "tokens",
                      (json_int_t)score->n, "ppl", json_out_number(ppl), "ppl_error",
                      json_out_number(ppl_error), "kl_mean", json_out_number(kl), "kl_p999",
                      json_out_number(p999), "top1_agreement", json_out_number(same), "kl_error",
                      json_out_number(kl_error), "kl_median", json_out_number(median), "kl_max",
                      json_out_number(most), "ppl_base", json_out_number(base_ppl)));
    }
    output_printf("perplexity      %.4f +/- %.4f over %zu tokens in %d chunks of %d\n", ppl,
                  ppl_error, score->n, score->n_chunks, score->n_ctx);
    if (compared) {
        output_printf("of the base     %.4f\n"
                      "KL divergence   mean %.6f +/- %.6f, median %.6f, 99.9%% %.6f, max %.6f\n"
                      "same best token %.3f%%\n",
                      base_ppl, kl, kl_error, median, p999, most, 100 * same);
    }
    return EXIT_DONE;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static int limit_chunks(struct score *score, size_t n_chunks) {
    const int32_t wanted = score->args.n_chunks;
    if (n_chunks > INT32_MAX) n_chunks = INT32_MAX;
    score->n_chunks = wanted >= 0 && (size_t)wanted < n_chunks ? wanted : (int32_t)n_chunks;
    return score->n_chunks > 0 ? OPTIONS_RUN : output_error("no chunk to score");
}

static int load_base(struct score *score) {
    struct octet_err err;
    if (logits_file_open(&score->base, score->args.base, &err) != OCTET_OK) {
        return output_failure(&err);
    }
    const struct logits_file *const base = &score->base;
    if (base->n_vocab != score->n_vocab) {
        return output_error("%s: has %d logits per token, the model %d: not the same vocabulary",
                            score->args.base, base->n_vocab, score->n_vocab);
    }
    const size_t n_tokens = (size_t)base->n_chunks * (size_t)base->n_ctx;
    for (size_t i = 0; i < n_tokens; i++) {
        if (base->tokens[i] < 0 || base->tokens[i] >= score->n_vocab) {
            return output_error("%s: token %d is not in the vocabulary of %d", score->args.base,
                                base->tokens[i], score->n_vocab);
        }
    }
    score->tokens = base->tokens;
    score->n_ctx = base->n_ctx;
    return limit_chunks(score, (size_t)base->n_chunks);
}

static int load_text(struct score *score) {
    struct text text = {NULL, 0, 0};
    int status = text_read(&text, score->args.file);
    struct octet_err err;
    if (status == OPTIONS_RUN &&
        octet_tokenize(score->model, text.bytes, text.n, OCTET_TOKENIZE_BOS, &score->text, &err) !=
            OCTET_OK) {
        status = output_failure(&err);
    }
    text_free(&text);
    if (status != OPTIONS_RUN) return status;
    score->n_ctx = score->args.n_ctx;
    score->tokens = score->text.ids;
    if (score->text.n < (size_t)score->n_ctx) {
        return output_error("%s: the text has %zu tokens, fewer than one chunk of %d (see --ctx)",
                            score->args.file, score->text.n, score->n_ctx);
    }
    return limit_chunks(score, score->text.n / (size_t)score->n_ctx);
}

static int set_up(struct score *score) {
    int status = options_open_model(&score->model_args, false, &score->model);
    if (status != OPTIONS_RUN) return status;
    struct octet_model_info info;
    octet_model_get_info(score->model, &info);
    score->n_vocab = info.n_vocab;
    status = score->args.base != NULL ? load_base(score) : load_text(score);
    if (status != OPTIONS_RUN) return status;
    const size_t n_vocab = (size_t)score->n_vocab;
    score->log_probs = mem_array(n_vocab, sizeof(float));
    score->base_log_probs = mem_array(n_vocab, sizeof(float));
    score->kl = mem_array((size_t)score->n_chunks * (size_t)score->n_ctx, sizeof(float));
    if (score->log_probs == NULL || score->base_log_probs == NULL || score->kl == NULL) {
        return output_error("out of memory for the scores");
    }
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = score->n_ctx;
    options.kv_type = (enum octet_kv_type)score->args.kv_type;
    options.progress = on_progress;
    options.user = score;
    struct octet_err err;
    if (octet_session_open(score->model, &options, &score->session, &err) != OCTET_OK ||
        (score->args.save != NULL &&
         logits_file_create(&score->saved, score->args.save, score->n_ctx, score->n_vocab,
                            score->n_chunks, score->tokens, &err) != OCTET_OK)) {
        return output_failure(&err);
    }
    return OPTIONS_RUN;
}

static int score_text(struct score *score) {
    int status = set_up(score);
    if (status == OPTIONS_RUN) {
        progress_open(&score->progress, "perplexity", PROGRESS_TOKENS);
        terminal_catch_interrupt();
        status = score_chunks(score);
        terminal_release_interrupt();
        progress_close(&score->progress);
    }
    struct octet_err err;
    if (logits_file_close(&score->saved, status == OPTIONS_RUN, &err) != OCTET_OK &&
        status == OPTIONS_RUN) {
        status = output_failure(&err);
    }
    if (status != OPTIONS_RUN) return status;
    qsort(score->kl, score->n, sizeof(float), compare_floats);
    return print_results(score);
}

static int perplexity_command(const struct command *command, int argc, char **argv) {
    static const struct perplexity_args defaults = {.n_ctx = 512, .n_chunks = -1};
    struct score score = {.args = defaults};
    const struct option_group groups[] = {
        options_model_group(&score.model_args),
        {"Scoring", rows, sizeof rows / sizeof rows[0], &score.args, &defaults, sizeof defaults},
    };
    const size_t n_groups = sizeof groups / sizeof groups[0];
    struct arguments arguments;
    int status = options_parse(command, groups, n_groups, argc, argv, 0, 0, &arguments);
    if (status != OPTIONS_RUN) return status;
    if (score.args.file == NULL && score.args.base == NULL) {
        return options_misuse(command, "give a text with --file FILE, or --kl-base FILE");
    }
    if (score.args.save != NULL && score.args.base != NULL) {
        return options_misuse(command, "--save-logits and --kl-base exclude each other");
    }
    status = score_text(&score);
    struct octet_err ignored; // a file that was only read
    logits_file_close(&score.base, true, &ignored);
    octet_session_close(score.session);
    octet_model_close(score.model);
    octet_tokens_free(&score.text);
    octet_tokens_free(&score.chunk);
    mem_free(score.log_probs);
    mem_free(score.base_log_probs);
    mem_free(score.kl);
    return status;
}

const struct command cmd_perplexity = {
    .name = "perplexity",
    .summary = "how well a model predicts a text; distance between two models",
    .usage = "-m MODEL (-f TEXT [--save-logits FILE] | --kl-base FILE) [options]",
    .about = "Scores how well the model predicts a text: the lower the perplexity, the better. To "
             "see what quantisation or another engine changes, save the predictions of one model "
             "and compare another with them: KL divergence 0 means the same predictions. The "
             "files are those of llama.cpp's perplexity tool, and so are chunks and scores.",
    .examples = "  octet perplexity -m model.Q4_K_M.gguf -f wiki.txt\n"
                "  octet perplexity -m model.F16.gguf -f wiki.txt --save-logits f16.logits\n"
                "  octet perplexity -m model.Q4_K_M.gguf --kl-base f16.logits\n",
    .run = perplexity_command,
};
