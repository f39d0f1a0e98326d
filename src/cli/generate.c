/* See generate.h. */
#include "cli/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/text.h"

/* ---- Showing text, stop strings held back ---------------------------------------------------- */

struct shown {
    const struct generation *generation;
    struct octet_stream stream;
    struct text raw;  // UTF-8 of the token at hand
    struct text held; // decoded, might become a stop string
    bool open;        // on_text still wants more
    bool stopped;     // held begins with a stop string
};

static void emit(struct shown *shown, size_t n_bytes) {
    struct text *const held = &shown->held;
    if (n_bytes == 0) return;
    if (shown->open) {
        const struct generation *const generation = shown->generation;
        shown->open = generation->on_text(generation->user, held->bytes, n_bytes);
    }
    memmove(held->bytes, held->bytes + n_bytes, held->n - n_bytes);
    held->n -= n_bytes;
}

/* Where the first stop string begins in TEXT: its end if there is none, and *WHOLE tells a complete
 * one from one that TEXT ends in the middle of. */
static size_t find_stop(const struct generation *generation, const struct text *text,
                        bool *whole) {
    for (size_t at = 0; at < text->n; at++) {
        bool begun = false;
        for (size_t i = 0; i < generation->n_stops; i++) {
            const size_t n_stop = strlen(generation->stops[i]), n_left = text->n - at;
            const size_t n = n_stop < n_left ? n_stop : n_left;
            if (n_stop == 0 || memcmp(text->bytes + at, generation->stops[i], n) != 0) continue;
            if (n_stop <= n_left) {
                *whole = true;
                return at;
            }
            begun = true;
        }
        if (begun) {
            *whole = false;
            return at;
        }
    }
    *whole = false;
    return text->n;
}

static enum octet_status show(struct shown *shown, int32_t id, struct octet_err *err) {
    const char *bytes;
    size_t n_bytes;
    const enum octet_status status =
        octet_token_bytes(shown->generation->model, id, shown->generation->special, &bytes,
                          &n_bytes);
    if (status != OCTET_OK) return octet_fail(err, status, "token %d has no text", id);
    const size_t cap = 3 * n_bytes + 12;
    if (!mem_reserve((void **)&shown->raw.bytes, &shown->raw.cap, cap, 1)) {
        return octet_fail_memory(err, "the text", cap);
    }
    const size_t n = octet_stream_push(&shown->stream, bytes, n_bytes, shown->raw.bytes);
    if (!text_append(&shown->held, shown->raw.bytes, n)) {
        return octet_fail_memory(err, "the text", n);
    }
    emit(shown, find_stop(shown->generation, &shown->held, &shown->stopped));
    return OCTET_OK;
}

static void show_rest(struct shown *shown) {
    char rest[4];
    const size_t n = octet_stream_flush(&shown->stream, rest);
    if (!shown->stopped && text_append(&shown->held, rest, n)) emit(shown, shown->held.n);
    text_free(&shown->held);
    text_free(&shown->raw);
}

/* ---- The loop -------------------------------------------------------------------------------- */

static enum octet_status sync_session(const struct generation *generation,
                                      struct octet_err *err) {
    const struct octet_tokens *const tokens = generation->tokens;
    if (generation->drafter) {
        return octet_drafter_sync(generation->drafter, tokens->ids, tokens->n, err);
    }
    return octet_session_sync(generation->session, tokens->ids, tokens->n, err);
}

static struct octet_draft_stats draft_stats(const struct generation *generation) {
    struct octet_draft_stats stats = {0};
    if (generation->drafter) octet_drafter_get_stats(generation->drafter, &stats);
    return stats;
}

/* Once the sampler has seen the prompt: N_MAX tokens, or what the context holds. */
static enum octet_status constrain(const struct generation *generation, struct octet_err *err) {
    const int64_t n_ctx = octet_session_n_ctx(generation->session);
    const int64_t n_free = n_ctx - (int64_t)generation->tokens->n + 1;
    const int64_t n_max = generation->n_max;
    return octet_sampler_constrain(generation->sampler, generation->grammar,
                                   n_max >= 0 && n_max < n_free ? n_max : n_free, err);
}

static enum octet_status prefill(const struct generation *generation, struct generated *result,
                                 struct octet_err *err) {
    const struct octet_tokens *const tokens = generation->tokens;
    for (size_t i = 0; i < tokens->n; i++) {
        const enum octet_status status =
            octet_sampler_accept(generation->sampler, tokens->ids[i]);
        if (status != OCTET_OK) {
            return octet_fail(err, status, "token %d of the prompt is not in the vocabulary",
                              tokens->ids[i]);
        }
    }
    const double start = probe_seconds();
    enum octet_status status = sync_session(generation, err);
    result->prefill_seconds = probe_seconds() - start;
    progress_close(generation->progress);
    // The last token is computed again for its logits.
    result->n_reused = generation->n_kept < tokens->n ? generation->n_kept : tokens->n - 1;
    if (status == OCTET_OK && generation->grammar) status = constrain(generation, err);
    return status;
}

/* Picks a token, shows and appends it. *DONE: result->finish says why. */
static enum octet_status step(const struct generation *generation, struct shown *shown,
                              struct generated *result, bool *done, struct octet_err *err) {
    const float *const logits = generation->drafter
                                    ? octet_drafter_logits(generation->drafter)
                                    : octet_session_logits(generation->session);
    struct octet_model_info info;
    octet_model_get_info(generation->model, &info);
    result->logits_hash = octet_logits_hash(result->logits_hash, logits, (size_t)info.n_vocab);
    int32_t id;
    enum octet_status status = octet_sampler_pick(generation->sampler, logits, &id, err);
    if (status != OCTET_OK) return status;
    *done = true;
    if (octet_token_ends(generation->model, id)) {
        result->finish = GENERATE_STOP;
        return generation->special ? show(shown, id, err) : OCTET_OK;
    }
    result->n_tokens++;
    status = octet_tokens_push(generation->tokens, id);
    if (status != OCTET_OK) return octet_fail_memory(err, "the tokens", sizeof id);
    if (octet_sampler_accept(generation->sampler, id) != OCTET_OK) {
        return octet_fail(err, OCTET_EARG, "picked token %d is not in the vocabulary", id);
    }
    status = show(shown, id, err);
    if (status != OCTET_OK) return status;
    if (shown->stopped || octet_sampler_finished(generation->sampler)) {
        result->finish = GENERATE_STOP;
    } else if (!shown->open) {
        result->finish = GENERATE_CLOSED;
    } else if (terminal_interrupted()) {
        result->finish = GENERATE_INTERRUPTED;
    } else if ((generation->n_max >= 0 && result->n_tokens >= (size_t)generation->n_max) ||
               generation->tokens->n > (size_t)octet_session_n_ctx(generation->session)) {
        result->finish = GENERATE_LENGTH;
    } else {
        *done = false;
    }
    return OCTET_OK;
}

static enum octet_status decode(const struct generation *generation, struct shown *shown,
                                struct generated *result, double start, struct octet_err *err) {
    bool done = generation->n_max == 0;
    enum octet_status status = OCTET_OK;
    double first = 0;
    while (!done && status == OCTET_OK) {
        status = step(generation, shown, result, &done, err);
        if (first == 0) {
            first = probe_seconds();
            result->first_seconds = first - start;
        }
        if (done || status != OCTET_OK) break;
        status = sync_session(generation, err);
        result->n_decoded++;
    }
    if (first != 0) result->decode_seconds = probe_seconds() - first;
    return status;
}

enum octet_status generate(const struct generation *generation, struct generated *result,
                           struct octet_err *err) {
    *result = (struct generated){.finish = GENERATE_LENGTH,
                                 .n_prompt = generation->tokens->n,
                                 .logits_hash = OCTET_HASH_INIT};
    struct shown shown = {.generation = generation, .open = true};
    const struct octet_draft_stats before = draft_stats(generation);
    const double start = probe_seconds();
    enum octet_status status = prefill(generation, result, err);
    if (status == OCTET_OK) status = decode(generation, &shown, result, start, err);
    if (status == OCTET_ECANCELLED && terminal_interrupted()) {
        result->finish = GENERATE_INTERRUPTED;
        status = OCTET_OK;
    }
    show_rest(&shown);
    const struct octet_draft_stats after = draft_stats(generation);
    result->draft.drafted = after.drafted - before.drafted;
    result->draft.accepted = after.accepted - before.accepted;
    result->draft.steps = after.steps - before.steps;
    return status;
}

/* ---- Results --------------------------------------------------------------------------------- */

const char *generate_finish_name(enum generate_finish finish) {
    switch (finish) {
    case GENERATE_STOP:
        return "stop";
    case GENERATE_LENGTH:
        return "length";
    case GENERATE_INTERRUPTED:
    case GENERATE_CLOSED:
        break;
    }
    return "interrupted";
}

double generate_prefill_tps(const struct generated *result) {
    const size_t n = result->n_prompt - result->n_reused;
    return result->prefill_seconds > 0 ? (double)n / result->prefill_seconds : 0;
}

double generate_decode_tps(const struct generated *result) {
    return result->decode_seconds > 0 ? (double)result->n_decoded / result->decode_seconds : 0;
}

void generate_print_summary(const struct generated *result) {
    char reused[48] = "", drafted[96] = "";
    if (result->n_reused > 0) snprintf(reused, sizeof reused, " (%zu kept)", result->n_reused);
    if (result->draft.drafted > 0) {
        snprintf(drafted, sizeof drafted, " (%llu of %llu drafted tokens right)",
                 (unsigned long long)result->draft.accepted,
                 (unsigned long long)result->draft.drafted);
    }
    fprintf(stderr,
            "prompt %zu tokens%s, %.1f tokens/s; answer %zu tokens, %.1f tokens/s%s; "
            "first token after %.0f ms\n",
            result->n_prompt, reused, generate_prefill_tps(result), result->n_tokens,
            generate_decode_tps(result), drafted, result->first_seconds * 1000);
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static bool parse_bias(const char *text, struct octet_logit_bias *out) {
    char *end;
    const long id = strtol(text, &end, 10);
    if (end == text || *end != '=' || id < 0 || id > INT32_MAX) return false;
    const char *const value = end + 1;
    out->id = (int32_t)id;
    out->bias = strtof(value, &end);
    return end != value && *end == '\0' && !isnan(out->bias);
}

/* Explicit biases, then the end tokens forbidden if they are to be ignored. */
static int collect_biases(const struct command *command, const struct sampling_args *args,
                          const struct octet_model *model, struct octet_logit_bias **biases,
                          size_t *n_biases) {
    size_t cap = 0;
    for (size_t i = 0; i < args->biases.n; i++) {
        struct octet_logit_bias bias;
        if (!parse_bias(args->biases.items[i], &bias)) {
            return options_misuse(command, "--logit-bias takes ID=X, not '%s'",
                                  args->biases.items[i]);
        }
        if (!mem_reserve((void **)biases, &cap, *n_biases + 1, sizeof bias)) {
            return output_error("out of memory for the logit biases");
        }
        (*biases)[(*n_biases)++] = bias;
    }
    const int32_t n_tokens = args->ignore_eos ? (int32_t)octet_n_tokens(model) : 0;
    for (int32_t id = 0; id < n_tokens; id++) {
        if (!octet_token_ends(model, id)) continue;
        if (!mem_reserve((void **)biases, &cap, *n_biases + 1, sizeof **biases)) {
            return output_error("out of memory for the logit biases");
        }
        (*biases)[(*n_biases)++] = (struct octet_logit_bias){id, -INFINITY};
    }
    return OPTIONS_RUN;
}

int generate_open_sampler(const struct command *command, const struct sampling_args *args,
                          const struct octet_model *model, struct octet_sampler **out) {
    struct octet_logit_bias *biases = NULL;
    size_t n_biases = 0;
    int status = collect_biases(command, args, model, &biases, &n_biases);
    if (status == OPTIONS_RUN) {
        struct octet_sampling sampling = args->sampling;
        sampling.mirostat = args->mirostat == 1 ? 2 : 0;
        sampling.bias = biases;
        sampling.n_bias = n_biases;
        struct octet_err err;
        if (octet_sampler_open(model, &sampling, out, &err) != OCTET_OK) {
            status = output_failure(&err);
        }
    }
    mem_free(biases);
    return status;
}

int generate_open_session(const struct session_args *args, struct octet_model *model,
                          struct progress *progress, struct octet_session **out) {
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = args->n_ctx;
    options.prefill_chunk = args->prefill_chunk;
    options.kv_type = (enum octet_kv_type)args->kv_type;
    options.progress = progress_step;
    options.user = progress;
    struct octet_err err;
    if (octet_session_open(model, &options, out, &err) != OCTET_OK) return output_failure(&err);
    return OPTIONS_RUN;
}

int generate_open_drafter(const struct draft_args *args, const struct model_args *model_args,
                          struct octet_session *session, struct octet_model **draft_model,
                          struct octet_drafter **out) {
    struct octet_draft_options options;
    struct model_args other = *model_args;
    *draft_model = NULL;
    *out = NULL;
    bool drafts;
    int status = options_draft(args, &drafts, &options, &other.path);
    if (status != OPTIONS_RUN || !drafts) return status;
    if (other.path != NULL) {
        status = options_open_model(&other, false, draft_model);
        if (status != OPTIONS_RUN) return status;
        options.model = *draft_model;
    }
    struct octet_err err;
    if (octet_drafter_open(session, &options, out, &err) != OCTET_OK) return output_failure(&err);
    return OPTIONS_RUN;
}

int generate_collect_stops(const struct octet_model *model, bool chat, const char *format,
                           const struct text_list *extra, const char ***stops, size_t *n_stops) {
    size_t n_chat = 0;
    while (chat && octet_chat_stop(model, format, n_chat) != NULL) n_chat++;
    const char **const list = mem_array(extra->n + n_chat + 1, sizeof *list);
    if (list == NULL) return output_error("out of memory for the stop strings");
    for (size_t i = 0; i < extra->n; i++) list[i] = extra->items[i];
    for (size_t i = 0; i < n_chat; i++) list[extra->n + i] = octet_chat_stop(model, format, i);
    *stops = list;
    *n_stops = extra->n + n_chat;
    return OPTIONS_RUN;
}

int generate_check_format(const struct command *command, const char *format) {
    enum { MAX_FORMATS = 64 };
    const char *names[MAX_FORMATS];
    size_t n = 0;
    for (; n < MAX_FORMATS && octet_chat_format_name(n) != NULL; n++) {
        names[n] = octet_chat_format_name(n);
        if (format != NULL && strcmp(names[n], format) == 0) return OPTIONS_RUN;
    }
    if (format == NULL) return OPTIONS_RUN;
    char known[512] = "";
    for (size_t i = 0, at = 0; i < n && at < sizeof known; i++) {
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return options_misuse(command, "no chat format '%s'; there are: %s", format, known);
}

void generate_tell_format(const struct octet_model *model, const char *path, const char *format) {
    const char *const problem = format == NULL ? octet_chat_problem(model) : NULL;
    const char *const used = octet_chat_format(model);
    if (problem == NULL || used == NULL) return;
    fprintf(stderr, "note: %s: the chat is written in the built-in format '%s', not by the file's "
            "own template: %s\n", path, used, problem);
}
