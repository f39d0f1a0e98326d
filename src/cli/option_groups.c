/* The option rows that several commands share, and opening the model they name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"

static const struct option_row model_rows[] = {
    {"model", 'm', OPTION_TEXT, "FILE", offsetof(struct model_args, path), 0, 0, true,
     "GGUF file, or the first part of a split one"},
    {"threads", 't', OPTION_INT, "N", offsetof(struct model_args, n_threads), 0, 1024, false,
     "threads to compute with; 0: one per core. The result does not depend on it"},
    {"warm", 0, OPTION_FLAG, NULL, offsetof(struct model_args, warm), 0, 0, false,
     "read all weights into memory first, rather than as the first tokens need them"},
};

struct option_group options_model_group(struct model_args *target) {
    static const struct model_args defaults = {NULL, 0, false};
    return (struct option_group){"Model", model_rows, sizeof model_rows / sizeof model_rows[0],
                                 target,  &defaults,  sizeof defaults};
}

static const struct option_row session_rows[] = {
    {"ctx", 'c', OPTION_INT, "N", offsetof(struct session_args, n_ctx), 0, INT32_MAX, false,
     "most tokens held; 0: what the model was trained for, at most 4096"},
    {"kv", 0, OPTION_CHOICE, OPTIONS_KV_TYPES, offsetof(struct session_args, kv_type), 0, 0, false,
     "number format of the KV cache; q8_0 halves its memory and q4_0 quarters it, at a loss"},
    {"prefill-chunk", 0, OPTION_INT, "N", offsetof(struct session_args, prefill_chunk), 0, 65536,
     false, "prompt tokens computed per step; 0: 512. The result does not depend on it"},
};

struct option_group options_session_group(struct session_args *target) {
    static const struct session_args defaults = {0, 0, OCTET_KV_F16};
    return (struct option_group){
        "Session", session_rows, sizeof session_rows / sizeof session_rows[0],
        target,    &defaults,    sizeof defaults};
}

#define SAMPLING(field) offsetof(struct sampling_args, sampling.field)

static const struct option_row sampling_rows[] = {
    {"temp", 0, OPTION_FLOAT, "T", SAMPLING(temperature), 0, 1000, false,
     "temperature; 0 always takes the most likely token"},
    {"top-k", 0, OPTION_INT, "K", SAMPLING(top_k), 0, INT32_MAX, false,
     "keep the K most likely tokens; 0: all"},
    {"top-p", 0, OPTION_FLOAT, "P", SAMPLING(top_p), 0, 1, false,
     "keep the most likely tokens that together have probability P; 1: all"},
    {"min-p", 0, OPTION_FLOAT, "P", SAMPLING(min_p), 0, 1, false,
     "drop tokens less likely than P times the most likely one; 0: none"},
    {"typical", 0, OPTION_FLOAT, "P", SAMPLING(typical_p), 0, 1, false,
     "locally typical sampling with mass P; 1: off"},
    {"repeat-penalty", 0, OPTION_FLOAT, "X", SAMPLING(repeat_penalty), 0, 1000, false,
     "make tokens that occurred less likely; 1: off"},
    {"repeat-last-n", 0, OPTION_INT, "N", SAMPLING(penalty_last_n), -1, INT32_MAX, false,
     "tokens the penalties look back; -1: all"},
    {"frequency-penalty", 0, OPTION_FLOAT, "X", SAMPLING(frequency_penalty), -1000, 1000, false,
     "subtracted from a token's logit per occurrence"},
    {"presence-penalty", 0, OPTION_FLOAT, "X", SAMPLING(presence_penalty), -1000, 1000, false,
     "subtracted once from the logit of a token that occurred"},
    {"dry-multiplier", 0, OPTION_FLOAT, "X", SAMPLING(dry_multiplier), 0, 1000, false,
     "DRY: strength of the penalty for repeating a sequence; 0: off"},
    {"dry-base", 0, OPTION_FLOAT, "X", SAMPLING(dry_base), 1, 1000, false,
     "DRY: growth of the penalty per repeated token"},
    {"dry-allowed-length", 0, OPTION_INT, "N", SAMPLING(dry_allowed_length), 0, INT32_MAX, false,
     "DRY: repeated tokens that cost nothing"},
    {"dry-last-n", 0, OPTION_INT, "N", SAMPLING(dry_last_n), -1, INT32_MAX, false,
     "DRY: tokens looked back; -1: all"},
    {"mirostat", 0, OPTION_CHOICE, "0|2", offsetof(struct sampling_args, mirostat), 0, 0, false,
     "version of Mirostat, which steers the surprise of the text; 0: off"},
    {"mirostat-tau", 0, OPTION_FLOAT, "X", SAMPLING(mirostat_tau), 0, 1000, false,
     "Mirostat: surprise aimed at"},
    {"mirostat-eta", 0, OPTION_FLOAT, "X", SAMPLING(mirostat_eta), 0, 1000, false,
     "Mirostat: how fast it corrects"},
    {"logit-bias", 0, OPTION_TEXTS, "ID=X", offsetof(struct sampling_args, biases), 0, 0, false,
     "add X to the logit of token ID (-inf forbids it); may be given several times"},
    {"seed", 0, OPTION_SEED, "N", SAMPLING(seed), 0, 0, false,
     "the same seed, prompt and options give the same text"},
    {"ignore-eos", 0, OPTION_FLAG, NULL, offsetof(struct sampling_args, ignore_eos), 0, 0, false,
     "go on where the model would end"},
};

struct option_group options_sampling_group(struct sampling_args *target) {
    static const struct sampling_args defaults = {.sampling = OCTET_SAMPLING_DEFAULTS};
    return (struct option_group){
        "Sampling", sampling_rows, sizeof sampling_rows / sizeof sampling_rows[0],
        target,     &defaults,     sizeof defaults};
}

static const struct option_row draft_rows[] = {
    {"draft", 0, OPTION_TEXT, "auto|off|ngram|FILE", offsetof(struct draft_args, kind), 0, 0,
     false,
     "guess what follows and check it in the same step: auto from repetitions in the text, while "
     "that pays; ngram wherever there is one; FILE: with that smaller model of the same "
     "vocabulary, while that pays. The result does not depend on it"},
    {"draft-max", 0, OPTION_INT, "N", offsetof(struct draft_args, max_tokens), 1, 63, false,
     "most tokens guessed at a time"},
};

struct option_group options_draft_group(struct draft_args *target) {
    static const struct draft_args defaults = {"auto", 16};
    return (struct option_group){"Drafting", draft_rows, sizeof draft_rows / sizeof draft_rows[0],
                                 target,     &defaults,  sizeof defaults};
}

int options_draft(const struct draft_args *args, bool *drafts, struct octet_draft_options *out,
                  const char **path) {
    const bool by_ngram = strcmp(args->kind, "ngram") == 0;
    *out = (struct octet_draft_options){NULL, args->max_tokens, by_ngram};
    *drafts = strcmp(args->kind, "off") != 0;
    *path = !*drafts || by_ngram || strcmp(args->kind, "auto") == 0 ? NULL : args->kind;
    if (*path && access(*path, F_OK) != 0 && errno == ENOENT)
        return output_error("--draft %s: there is no such file; it may be auto, off, ngram, or the "
                            "file of a model", *path);
    return OPTIONS_RUN;
}

static int warm_model(struct octet_model *model) {
    struct progress progress;
    struct octet_err err;
    progress_open(&progress, "reading weights", PROGRESS_BYTES);
    terminal_catch_interrupt();
    const enum octet_status status = octet_model_warm(model, progress_step, &progress, &err);
    terminal_release_interrupt();
    progress_close(&progress);
    return status == OCTET_OK ? OPTIONS_RUN : output_failure(&err);
}

int options_open_model(const struct model_args *args, bool vocab_only, struct octet_model **out) {
    struct octet_model_options options = OCTET_MODEL_OPTIONS_DEFAULTS;
    options.n_threads = args->n_threads;
    options.vocab_only = vocab_only;
    struct octet_err err;
    if (octet_model_open(args->path, &options, out, &err) != OCTET_OK) return output_failure(&err);
    return args->warm && !vocab_only ? warm_model(*out) : OPTIONS_RUN;
}
