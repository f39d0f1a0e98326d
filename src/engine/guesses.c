/* See guesses.h. */
#include "engine/guesses.h"

#include <math.h>
#include <string.h>

#include "base/probe.h"
#include "engine/session.h"

void guess_by_match(const struct ngrams *g, struct match match, size_t most, struct guesses *out) {
    out->n = 0;
    if (match.length == 0) return;
    for (size_t i = 0; i < most; i++) {
        // Past the end of the text the guesses themselves go on, as in a loop.
        const size_t at = match.at + i, length = match.length + i;
        out->ids[i] = at < g->tokens.n ? g->tokens.ids[at] : out->ids[at - g->tokens.n];
        out->evidence[i] = (uint8_t)(length < N_EVIDENCE ? length : N_EVIDENCE - 1);
    }
    out->n = most;
}

/* ---- A smaller model ------------------------------------------------------------------------- */

static enum octet_status check_vocabularies(const struct octet_model *target,
                                            const struct octet_model *model,
                                            struct octet_err *err) {
    const size_t n = octet_n_tokens(target), n_other = octet_n_tokens(model);
    const char *path = gguf_path(model->file);
    if (n != n_other)
        return octet_fail(err, OCTET_EARG,
                          "%s: can not draft for this model: expected its vocabulary of %zu "
                          "tokens, found %zu",
                          path, n, n_other);
    for (size_t i = 0; i < n; i++) {
        const char *a = octet_token_name(target, (int32_t)i);
        const char *b = octet_token_name(model, (int32_t)i);
        if (a == b || (a && b && strcmp(a, b) == 0)) continue;
        return octet_fail(err, OCTET_EARG,
                          "%s: can not draft for this model: expected token %zu to be '%.40s', "
                          "found '%.40s'",
                          path, i, a ? a : "", b ? b : "");
    }
    return OCTET_OK;
}

enum octet_status guesser_open(struct guesser *guesser, const struct octet_session *target,
                               struct octet_model *model, struct octet_err *err) {
    struct octet_model_info info;
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    const int32_t n_ctx = octet_session_n_ctx(target);
    octet_model_get_info(model, &info);
    options.n_ctx = n_ctx < info.n_ctx_train ? n_ctx : info.n_ctx_train;
    options.progress = session_progress(target, &options.user);
    enum octet_status status = check_vocabularies(session_model(target), model, err);
    if (status == OCTET_OK) status = octet_session_open(model, &options, &guesser->session, err);
    guesser->n_vocab = octet_n_tokens(model);
    return status;
}

void guesser_close(struct guesser *guesser) { octet_session_close(guesser->session); }

/* The likeliest token and its probability. */
static int32_t likeliest(const float *logits, size_t n, double *probability) {
    size_t best = 0;
    double sum = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    for (size_t i = 0; i < n; i++) sum += (double)kernel_exp(logits[i] - logits[best]);
    *probability = 1 / sum;
    return (int32_t)best;
}

enum octet_status guesser_next(struct guesser *guesser, int32_t *ids, size_t n, bool *ready,
                               struct guesses *out, struct octet_err *err) {
    // A long text is read in pieces between the steps of others who wait for a token.
    enum { WEIGHT = 8, PIECE = 128 };
    *ready = n <= (size_t)octet_session_n_ctx(guesser->session);
    if (!*ready) return OCTET_OK;
    const size_t n_read = octet_session_reuse(guesser->session, ids, n);
    *ready = n - n_read <= PIECE;
    if (!*ready) return octet_session_sync(guesser->session, ids, n_read + PIECE, err);
    const bool is_single = n_read + 1 == n;
    const double start = probe_seconds();
    const enum octet_status status = octet_session_sync(guesser->session, ids, n, err);
    if (status != OCTET_OK) return status;
    double probability, *mean = &guesser->seconds_per_token;
    ids[n] = likeliest(octet_session_logits(guesser->session), guesser->n_vocab, &probability);
    if (is_single) *mean += (probe_seconds() - start - *mean) / (*mean > 0 ? WEIGHT : 1);
    out->ids[out->n] = ids[n];
    out->evidence[out->n++] = (uint8_t)(probability * (N_EVIDENCE - 1));
    return OCTET_OK;
}
