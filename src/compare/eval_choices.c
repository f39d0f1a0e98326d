/* Choices by log-likelihood: log P(continuation | context), summed over its tokens. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/eval.h"

struct scorer {
    struct octet_model *model;
    struct octet_session *session;
    size_t n_vocab;
    struct octet_tokens context, whole;
    char *text;
    size_t text_cap;
    size_t first; // index in WHOLE of the continuation's first token
    double sum;   // log-probability so far
};

/* log softmax(logits)[id], in double so that the order of sums cannot matter much. */
static double log_probability(const float *logits, size_t n, int32_t id) {
    float max = logits[0];
    for (size_t i = 1; i < n; i++) max = fmaxf(max, logits[i]);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)(logits[i] - max));
    return (double)(logits[id] - max) - log(sum);
}

static void add_position(void *user, size_t position, const float *logits) {
    struct scorer *s = user;
    if (position + 1 >= s->first && position + 1 < s->whole.n)
        s->sum += log_probability(logits, s->n_vocab, s->whole.ids[position + 1]);
}

static enum octet_status tokenize(struct scorer *s, const char *text, size_t n,
                                  struct octet_tokens *out, struct octet_err *err) {
    out->n = 0;
    return octet_tokenize(s->model, text, n, OCTET_TOKENIZE_BOS, out, err);
}

/* The continuation's tokens are those of the whole text beyond the context's count, as the common
 * harness cuts them. A session that is too short keeps the end, as it does, too. */
static enum octet_status prepare(struct scorer *s, const char *context, const char *continuation,
                                 struct octet_err *err) {
    size_t n_context = strlen(context), n = n_context + 1 + strlen(continuation);
    if (!mem_reserve((void **)&s->text, &s->text_cap, n + 1, 1))
        return octet_fail_memory(err, "text", n);
    memcpy(s->text, context, n_context);
    s->text[n_context] = ' ';
    strcpy(s->text + n_context + 1, continuation);
    enum octet_status status = tokenize(s, s->text, n_context, &s->context, err);
    if (status == OCTET_OK) status = tokenize(s, s->text, n, &s->whole, err);
    if (status != OCTET_OK) return status;
    s->first = s->context.n < s->whole.n ? s->context.n : s->whole.n - 1;
    size_t n_ctx = (size_t)octet_session_n_ctx(s->session);
    if (s->whole.n > n_ctx) {
        size_t cut = s->whole.n - n_ctx;
        if (cut >= s->first)
            return octet_fail(err, OCTET_ECONTEXT,
                              "a choice of %zu tokens does not fit the context of %zu",
                              s->whole.n - s->first, n_ctx);
        memmove(s->whole.ids, s->whole.ids + cut, n_ctx * sizeof *s->whole.ids);
        s->whole.n = n_ctx;
        s->first -= cut;
    }
    return OCTET_OK;
}

static enum octet_status log_likelihood(struct scorer *s, const char *context,
                                        const char *continuation, double *out,
                                        struct octet_err *err) {
    enum octet_status status = prepare(s, context, continuation, err);
    if (status != OCTET_OK) return status;
    s->sum = 0;
    // Nobody reads what follows the last token.
    status = octet_session_score(s->session, s->whole.ids, s->whole.n - 1, add_position, s, err);
    *out = s->sum;
    return status;
}

static size_t n_characters(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static size_t largest(const double *scores, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (scores[i] > scores[best]) best = i;
    return best;
}

static enum octet_status score_row(struct scorer *s, const struct eval_set *set,
                                   const struct eval_row *row, struct eval_outcome *out,
                                   struct octet_err *err) {
    enum { MAX_OPTIONS = 26 }; // as eval_set_open sees to
    double sums[MAX_OPTIONS], per_character[MAX_OPTIONS], per_byte[MAX_OPTIONS];
    for (size_t i = 0; i < row->n_options; i++) {
        bool contexts = set->kind == EVAL_CONTEXTS;
        const char *context = contexts ? row->options[i] : row->context;
        const char *continuation = contexts ? row->continuation : row->options[i];
        enum octet_status status = log_likelihood(s, context, continuation, &sums[i], err);
        if (status != OCTET_OK) return status;
        per_character[i] = sums[i] / (double)(n_characters(continuation) + (contexts ? 1 : 0));
        per_byte[i] = sums[i] / (double)(strlen(continuation) + (contexts ? 1 : 0));
    }
    out->picked = largest(sums, row->n_options);
    out->acc = out->picked == row->gold;
    out->acc_norm = largest(per_character, row->n_options) == row->gold;
    out->acc_bytes = largest(per_byte, row->n_options) == row->gold;
    out->number = NAN;
    return OCTET_OK;
}

enum octet_status eval_choices(struct octet_model *model, const struct eval_set *set,
                               const struct eval_options *options, struct eval_outcome *out,
                               size_t n, struct octet_err *err) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    struct scorer s = {.model = model, .n_vocab = (size_t)info.n_vocab};
    struct octet_session_options session_options = OCTET_SESSION_OPTIONS_DEFAULTS;
    session_options.kv_type = options->kv_type;
    enum octet_status status = octet_session_open(model, &session_options, &s.session, err);
    for (size_t i = 0; i < n && status == OCTET_OK; i++) {
        status = score_row(&s, set, &set->rows[i], &out[i], err);
        if (options->progress && status == OCTET_OK && !options->progress(options->user, i + 1, n))
            status = octet_fail(err, OCTET_ECANCELLED, "cancelled");
    }
    octet_session_close(s.session);
    octet_tokens_free(&s.context);
    octet_tokens_free(&s.whole);
    mem_free(s.text);
    return status;
}
