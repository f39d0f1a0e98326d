/* Samplers: from logits to one token id.
 *
 * A pick copies the logits, edits the copy (bias, penalties, DRY), and hands what is left to one
 * of three endings: greedy, Mirostat 2, or the chain of filters and a draw. Everything is a fixed
 * chain of operations, and the random number of pick i is a function of the seed and i alone, so a
 * text can be made again from its seed. Buffers are made at open and in accept; a pick allocates
 * nothing.
 *
 * Filters only ever need the best few candidates, so they take them off a heap instead of sorting a
 * whole vocabulary.
 *
 * Sources: top-k (Fan et al. 2018), top-p (Holtzman et al. 2020), typical (Meister et al. 2022),
 * min-p (Nguyen et al. 2024), Mirostat (Basu et al. 2021), repetition penalty (Keskar et al. 2019),
 * DRY (as introduced for text-generation-webui in 2024). */
#include "engine/sampler.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/grammar.h"
#include "engine/model.h"
#include "kernels/kernels.h"
#include "text/vocab.h"

struct candidate {
    double p;    // share of the probability among the candidates
    float logit;
    float key;   // what the current filter orders by: the highest first
    int32_t id;
};

struct octet_sampler {
    struct octet_sampling options; // bias points to our copy
    struct octet_logit_bias *bias;
    uint8_t *traits; // (n_logits)
    size_t n_logits;
    float *logits; // (n_logits) edited copy; -INFINITY: out of the question

    struct candidate *set, *other; // (n_logits) each: candidates, a filter's result
    size_t n_set;

    int32_t *history; // (n_history)
    size_t n_history, cap_history;
    int32_t *matches; // (cap_history) for DRY
    size_t cap_matches;

    int32_t *marks;   // (n_logits) per token: occurrences or match lengths; all 0 between uses
    int32_t *touched; // (n_logits) tokens whose mark is not 0
    size_t n_touched;

    uint64_t n_picks;
    double mirostat_mu;
    struct matcher *matcher; // or NULL: anything may be picked
};

/* ---- Opening --------------------------------------------------------------------------------- */

static enum octet_status check_range(const char *field, double value, double min, double max,
                                     struct octet_err *err) {
    if (value >= min && value <= max) return OCTET_OK;
    return octet_fail(err, OCTET_EARG, "sampling: %s: expected %g to %g, found %g", field, min, max,
                      value);
}

static enum octet_status check_options(const struct octet_sampling *o, size_t n_logits,
                                       struct octet_err *err) {
    const double big = 1e30, count = INT32_MAX;
    const struct {
        const char *field;
        double value, min, max;
    } ranges[] = {
        {"temperature", (double)o->temperature, 0, big},
        {"top_k", o->top_k, 0, count},
        {"top_p", (double)o->top_p, 0, 1},
        {"min_p", (double)o->min_p, 0, 1},
        {"typical_p", (double)o->typical_p, 0, 1},
        {"repeat_penalty", (double)o->repeat_penalty, 1e-6, 1e6},
        {"frequency_penalty", (double)o->frequency_penalty, -1e6, 1e6},
        {"presence_penalty", (double)o->presence_penalty, -1e6, 1e6},
        {"penalty_last_n", o->penalty_last_n, -1, count},
        {"dry_multiplier", (double)o->dry_multiplier, 0, 1e6},
        {"dry_base", (double)o->dry_base, 1, 1e6},
        {"dry_allowed_length", o->dry_allowed_length, 0, count},
        {"dry_last_n", o->dry_last_n, -1, count},
        {"mirostat_tau", (double)o->mirostat_tau, 0, 1e6},
        {"mirostat_eta", (double)o->mirostat_eta, 0, 1e6},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const enum octet_status status = check_range(ranges[i].field, ranges[i].value,
                                                     ranges[i].min, ranges[i].max, err);
        if (status != OCTET_OK) return status;
    }
    if (o->mirostat != 0 && o->mirostat != 2) {
        return octet_fail(err, OCTET_EARG, "sampling: mirostat: expected 0 or 2, found %d",
                          o->mirostat);
    }
    if (o->n_bias > 0 && !o->bias) {
        return octet_fail(err, OCTET_EARG, "sampling: bias: expected %zu values, found NULL",
                          o->n_bias);
    }
    for (size_t i = 0; i < o->n_bias; i++) {
        const struct octet_logit_bias b = o->bias[i];
        if (b.id < 0 || (size_t)b.id >= n_logits) {
            return octet_fail(err, OCTET_EARG,
                              "sampling: bias: expected a token id below %zu, found %d", n_logits,
                              b.id);
        }
        if (isnan(b.bias) || b.bias > 1e30f) {
            return octet_fail(err, OCTET_EARG,
                              "sampling: bias of token %d: expected a finite number or -inf, "
                              "found %g", b.id, (double)b.bias);
        }
    }
    return OCTET_OK;
}

static bool allocate(struct octet_sampler *s, const uint8_t *traits) {
    const struct octet_sampling *const o = &s->options;
    s->bias = mem_array(o->n_bias, sizeof *s->bias);
    s->traits = mem_array(s->n_logits, sizeof *s->traits);
    s->logits = mem_array(s->n_logits, sizeof *s->logits);
    s->set = mem_array(s->n_logits, sizeof *s->set);
    s->other = mem_array(s->n_logits, sizeof *s->other);
    s->marks = mem_array(s->n_logits, sizeof *s->marks);
    s->touched = mem_array(s->n_logits, sizeof *s->touched);
    if (!s->bias || !s->traits || !s->logits || !s->set || !s->other || !s->marks || !s->touched) {
        return false;
    }
    if (o->n_bias > 0) memcpy(s->bias, o->bias, o->n_bias * sizeof *s->bias);
    memcpy(s->traits, traits, s->n_logits);
    s->options.bias = s->bias;
    return true;
}

enum octet_status sampler_open(const uint8_t *traits, size_t n_logits,
                               const struct octet_sampling *options, struct octet_sampler **out,
                               struct octet_err *err) {
    static const struct octet_sampling defaults = OCTET_SAMPLING_DEFAULTS;
    *out = NULL;
    if (!options) options = &defaults;
    const enum octet_status status = check_options(options, n_logits, err);
    if (status != OCTET_OK) return status;
    struct octet_sampler *const s = mem_alloc(sizeof *s);
    if (!s) return octet_fail_memory(err, "a sampler", sizeof *s);
    s->options = *options;
    s->n_logits = n_logits;
    s->mirostat_mu = 2.0 * (double)options->mirostat_tau;
    if (!allocate(s, traits)) {
        octet_sampler_close(s);
        return octet_fail_memory(err, "a sampler", n_logits * 2 * sizeof *s->set);
    }
    *out = s;
    return OCTET_OK;
}

static uint8_t traits_of(const struct vocab *v, int32_t id) {
    uint8_t traits = vocab_generable(v, id) ? SAMPLER_ALLOWED : 0;
    const char *bytes;
    size_t n;
    if (vocab_bytes(v, id, false, &bytes, &n)) {
        for (size_t i = 0; i < n; i++)
            if (memchr("\n:\"*", bytes[i], 4)) traits |= SAMPLER_BREAKER;
    }
    return traits;
}

enum octet_status octet_sampler_open(const struct octet_model *model,
                                     const struct octet_sampling *options,
                                     struct octet_sampler **out, struct octet_err *err) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    const struct vocab *const v = octet_model_vocab(model);
    const size_t n_logits = (size_t)info.n_vocab, n_tokens = vocab_size(v);
    uint8_t *const traits = mem_alloc(n_logits);
    *out = NULL;
    if (!traits) return octet_fail_memory(err, "a sampler", n_logits);
    for (size_t i = 0; i < n_logits && i < n_tokens; i++) traits[i] = traits_of(v, (int32_t)i);
    const enum octet_status status = sampler_open(traits, n_logits, options, out, err);
    mem_free(traits);
    return status;
}

void octet_sampler_close(struct octet_sampler *s) {
    if (!s) return;
    matcher_close(s->matcher);
    mem_free(s->bias);
    mem_free(s->traits);
    mem_free(s->logits);
    mem_free(s->set);
    mem_free(s->other);
    mem_free(s->marks);
    mem_free(s->touched);
    mem_free(s->history);
    mem_free(s->matches);
    mem_free(s);
}

enum octet_status octet_sampler_accept(struct octet_sampler *s, int32_t id) {
    if (id < 0 || (size_t)id >= s->n_logits) return OCTET_EARG;
    const size_t n = s->n_history + 1;
    if (!mem_reserve((void **)&s->history, &s->cap_history, n, sizeof *s->history) ||
        !mem_reserve((void **)&s->matches, &s->cap_matches, n, sizeof *s->matches)) {
        return OCTET_EMEM;
    }
    const enum octet_status status =
        s->matcher ? matcher_accept(s->matcher, id, NULL) : OCTET_OK;
    if (status == OCTET_OK) s->history[s->n_history++] = id;
    return status;
}

enum octet_status octet_sampler_constrain(struct octet_sampler *s, struct octet_grammar *grammar,
                                          int64_t n_tokens, struct octet_err *err) {
    struct matcher *matcher = NULL;
    if (grammar) {
        const enum octet_status status =
            matcher_open(octet_grammar_inner(grammar), n_tokens, &matcher, err);
        if (status != OCTET_OK) return status;
    }
    matcher_close(s->matcher);
    s->matcher = matcher;
    return OCTET_OK;
}

bool octet_sampler_finished(const struct octet_sampler *s) {
    return s->matcher && matcher_finished(s->matcher);
}

/* ---- Editing the logits ---------------------------------------------------------------------- */

/* Forbidden tokens stay so, and the others stay finite: the sums below depend on it. */
static void edit_logit(struct octet_sampler *s, int32_t id, float value) {
    if (s->logits[id] == -INFINITY) return;
    s->logits[id] = value == -INFINITY ? value : fminf(fmaxf(value, -1e30f), 1e30f);
}

/* The grammar's bits of token I and those beside it; all of them without a grammar. */
static uint64_t word_of(const uint64_t *mask, size_t i) { return mask ? mask[i / 64] : UINT64_MAX; }

static enum octet_status load_logits(struct octet_sampler *s, const float *logits,
                                     struct octet_err *err) {
    const uint64_t *mask = NULL;
    if (s->matcher) {
        const enum octet_status status = matcher_mask(s->matcher, &mask, err);
        if (status != OCTET_OK) return status;
    }
    for (size_t i = 0; i < s->n_logits; i++) {
        if (!isfinite(logits[i])) {
            return octet_fail(err, OCTET_ENUMERIC,
                              "sampling: the logit of token %zu is %g, not a finite number", i,
                              (double)logits[i]);
        }
        const bool allowed =
            s->traits[i] & SAMPLER_ALLOWED && word_of(mask, i) >> (i % 64) & 1;
        s->logits[i] = allowed ? fminf(fmaxf(logits[i], -1e30f), 1e30f) : -INFINITY;
    }
    for (size_t i = 0; i < s->options.n_bias; i++) {
        const struct octet_logit_bias b = s->bias[i];
        edit_logit(s, b.id, s->logits[b.id] + b.bias);
    }
    return OCTET_OK;
}

static void raise_mark(struct octet_sampler *s, int32_t id, int32_t value) {
    if (s->marks[id] == 0 && value > 0) s->touched[s->n_touched++] = id;
    if (s->marks[id] < value) s->marks[id] = value;
}

static void clear_marks(struct octet_sampler *s) {
    for (size_t i = 0; i < s->n_touched; i++) s->marks[s->touched[i]] = 0;
    s->n_touched = 0;
}

/* The last tokens of the history that a penalty looks at. */
static const int32_t *look_back(const struct octet_sampler *s, int32_t last_n, size_t *n) {
    const size_t limit = last_n < 0 ? SIZE_MAX : (size_t)last_n;
    *n = s->n_history < limit ? s->n_history : limit;
    return *n ? s->history + (s->n_history - *n) : NULL;
}

static void penalize_occurrences(struct octet_sampler *s) {
    const struct octet_sampling *const o = &s->options;
    if (o->repeat_penalty == 1.0f && o->frequency_penalty == 0.0f && o->presence_penalty == 0.0f) {
        return;
    }
    size_t n;
    const int32_t *const tokens = look_back(s, o->penalty_last_n, &n);
    for (size_t i = 0; i < n; i++) raise_mark(s, tokens[i], s->marks[tokens[i]] + 1);
    for (size_t i = 0; i < s->n_touched; i++) {
        const int32_t id = s->touched[i];
        float x = s->logits[id];
        x = x > 0.0f ? x / o->repeat_penalty : x * o->repeat_penalty;
        x -= (float)s->marks[id] * o->frequency_penalty + o->presence_penalty;
        edit_logit(s, id, x);
    }
    clear_marks(s);
}

/* MATCHES[k] = how many tokens before and including position n-1-k equal those at the end: the
 * Z function of the reversed tokens, linear in n. */
static void match_suffix(const int32_t *tokens, size_t n, int32_t *matches) {
    const int32_t *const last = tokens + (n - 1);
    size_t from = 0, to = 0; // the match found so far that reaches furthest
    for (size_t k = 1; k < n; k++) {
        size_t z = 0;
        if (k < to) {
            const size_t known = (size_t)matches[k - from];
            z = known < to - k ? known : to - k;
        }
        while (k + z < n && last[-(ptrdiff_t)z] == last[-(ptrdiff_t)(k + z)]) z++;
        if (k + z > to) {
            from = k;
            to = k + z;
        }
        matches[k] = (int32_t)z;
    }
}

/* multiplier * base^length by plain products: the same bits everywhere, unlike pow. */
static float dry_penalty(const struct octet_sampling *o, int32_t length) {
    double penalty = (double)o->dry_multiplier;
    if (o->dry_base > 1.0f) {
        for (int32_t i = 0; i < length && penalty < 1e30; i++) penalty *= (double)o->dry_base;
    }
    return (float)fmin(penalty, 1e30);
}

/* DRY: a token that would lengthen a repetition of the last tokens is penalised by how long the
 * repetition already is. Breakers are never part of a repetition. */
static void penalize_repetition(struct octet_sampler *s) {
    const struct octet_sampling *const o = &s->options;
    size_t n, n_open = 0; // n_open: tokens at the end without a breaker
    const int32_t *const tokens = look_back(s, o->dry_last_n, &n);
    if (o->dry_multiplier == 0.0f || n < 2 || n > INT32_MAX) return;
    while (n_open < n && !(s->traits[tokens[n - 1 - n_open]] & SAMPLER_BREAKER)) n_open++;
    if (n_open == 0) return;
    match_suffix(tokens, n, s->matches);
    for (size_t k = 1; k < n; k++) {
        const int32_t next = tokens[n - k];
        const int32_t length = s->matches[k] < (int32_t)n_open ? s->matches[k] : (int32_t)n_open;
        if (!(s->traits[next] & SAMPLER_BREAKER)) raise_mark(s, next, length);
    }
    for (size_t i = 0; i < s->n_touched; i++) {
        const int32_t id = s->touched[i], excess = s->marks[id] - o->dry_allowed_length;
        if (excess >= 0) edit_logit(s, id, s->logits[id] - dry_penalty(o, excess));
    }
    clear_marks(s);
}

/* ---- Candidates ------------------------------------------------------------------------------ */

/* Up to so many candidates are found by insertion rather than by a heap of all. */
enum { FEW = 256 };

/* As many as the first step leaves over: one where the likeliest is picked, top_k of them. */
static size_t n_wanted(const struct octet_sampler *s) {
    if (s->options.temperature == 0.0f) return 1;
    if (s->options.mirostat == 2 || s->options.top_k == 0) return s->n_logits;
    return (size_t)s->options.top_k;
}

/* The first MAX in order of their logits, the lower id first where these are equal. Most tokens
 * cost one comparison here. */
static void collect_first(struct octet_sampler *s, size_t max) {
    for (size_t i = 0; i < s->n_logits; i++) {
        const float logit = s->logits[i];
        if (logit == -INFINITY || (s->n_set == max && logit <= s->set[max - 1].logit)) continue;
        size_t at = s->n_set < max ? s->n_set++ : max - 1;
        for (; at > 0 && s->set[at - 1].logit < logit; at--) s->set[at] = s->set[at - 1];
        s->set[at] = (struct candidate){.logit = logit, .key = logit, .id = (int32_t)i};
    }
}

static void collect_all(struct octet_sampler *s) {
    for (size_t i = 0; i < s->n_logits; i++) {
        const float logit = s->logits[i];
        if (logit != -INFINITY) {
            s->set[s->n_set++] = (struct candidate){.logit = logit, .id = (int32_t)i};
        }
    }
}

static enum octet_status collect(struct octet_sampler *s, struct octet_err *err) {
    const size_t max = n_wanted(s);
    s->n_set = 0;
    if (max <= FEW && max < s->n_logits)
        collect_first(s, max);
    else
        collect_all(s);
    if (s->n_set > 0) return OCTET_OK;
    return octet_fail(err, OCTET_EARG, s->matcher
                          ? "sampling: the logit bias forbids every token that the grammar allows"
                          : "sampling: the logit bias forbids every token");
}

static const struct candidate *likeliest(const struct octet_sampler *s) {
    const struct candidate *best = s->set;
    for (size_t i = 1; i < s->n_set; i++) {
        const struct candidate *const c = &s->set[i];
        if (c->logit > best->logit || (c->logit == best->logit && c->id < best->id)) best = c;
    }
    return best;
}

/* Fills in p for logits divided by TEMPERATURE. */
static void softmax(struct octet_sampler *s, float temperature) {
    const float max = likeliest(s)->logit;
    double sum = 0.0;
    for (size_t i = 0; i < s->n_set; i++) {
        const float x = (s->set[i].logit - max) / temperature;
        s->set[i].p = (double)kernel_exp(x);
        sum += s->set[i].p;
    }
    for (size_t i = 0; i < s->n_set; i++) s->set[i].p /= sum;
}

static bool comes_before(const struct candidate *a, const struct candidate *b) {
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

static void sift_down(struct candidate *heap, size_t n, size_t i) {
    const struct candidate moving = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && comes_before(&heap[child + 1], &heap[child])) child++;
        if (!comes_before(&heap[child], &moving)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

/* Keeps the first candidates by key, at least one: no more than MAX, and no more than it takes to
 * hold MASS of the probability. They end up in order. */
static void keep_first(struct octet_sampler *s, size_t max, double mass) {
    size_t n_heap = s->n_set, n = 0;
    double sum = 0.0;
    for (size_t i = n_heap / 2; i-- > 0;) sift_down(s->set, n_heap, i);
    while (n_heap > 0 && (n == 0 || (n < max && sum < mass))) {
        s->other[n++] = s->set[0];
        sum += s->set[0].p;
        s->set[0] = s->set[--n_heap];
        if (n_heap > 0) sift_down(s->set, n_heap, 0);
    }
    struct candidate *const kept = s->other;
    s->other = s->set;
    s->set = kept;
    s->n_set = n;
}

static void order_by_logit(struct octet_sampler *s) {
    for (size_t i = 0; i < s->n_set; i++) s->set[i].key = s->set[i].logit;
}

static void keep_top_k(struct octet_sampler *s) {
    if (s->options.top_k == 0 || (size_t)s->options.top_k >= s->n_set) return;
    order_by_logit(s);
    keep_first(s, (size_t)s->options.top_k, INFINITY);
}

/* Those whose surprise is nearest to the expected one. */
static void keep_typical(struct octet_sampler *s) {
    if (s->options.typical_p >= 1.0f) return;
    softmax(s, 1.0f);
    double entropy = 0.0;
    for (size_t i = 0; i < s->n_set; i++) {
        const double p = s->set[i].p;
        if (p > 0.0) entropy -= p * log(p);
    }
    for (size_t i = 0; i < s->n_set; i++) {
        const double p = s->set[i].p;
        s->set[i].key = p > 0.0 ? -(float)fabs(-log(p) - entropy) : -INFINITY;
    }
    keep_first(s, SIZE_MAX, (double)s->options.typical_p);
}

static void keep_top_p(struct octet_sampler *s) {
    if (s->options.top_p >= 1.0f) return;
    softmax(s, 1.0f);
    order_by_logit(s);
    keep_first(s, SIZE_MAX, (double)s->options.top_p);
}

static void keep_min_p(struct octet_sampler *s) {
    if (s->options.min_p == 0.0f) return;
    softmax(s, 1.0f);
    const double least = (double)s->options.min_p * likeliest(s)->p;
    size_t n = 0;
    for (size_t i = 0; i < s->n_set; i++)
        if (s->set[i].p >= least) s->set[n++] = s->set[i];
    s->n_set = n;
}

/* ---- Picking --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) { // finalizer of SplitMix64 (Steele et al. 2014)
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* In [0, 1), of the seed and the number of the pick alone. */
static double random_of_pick(const struct octet_sampler *s) {
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t stream = mix(s->options.seed + golden);
    return (double)(mix(stream + golden * (s->n_picks + 1)) >> 11) * 0x1p-53;
}

static const struct candidate *draw(const struct octet_sampler *s) {
    const double target = random_of_pick(s);
    const struct candidate *drawn = s->set;
    double sum = 0.0;
    for (size_t i = 0; i < s->n_set; i++) {
        if (s->set[i].p == 0.0) continue;
        drawn = &s->set[i]; // the last one with a chance if rounding keeps the sum below target
        sum += s->set[i].p;
        if (sum > target) break;
    }
    return drawn;
}

/* Drops what would surprise by more than mu bits, draws, and moves mu by how far the surprise of
 * the drawn token was from tau. */
static const struct candidate *draw_mirostat(struct octet_sampler *s) {
    softmax(s, s->options.temperature);
    const struct candidate best = *likeliest(s);
    size_t n = 0;
    for (size_t i = 0; i < s->n_set; i++) {
        const double p = s->set[i].p;
        if (p > 0.0 && -log2(p) <= s->mirostat_mu) s->set[n++] = s->set[i];
    }
    if (n == 0) s->set[n++] = best;
    s->n_set = n;
    softmax(s, s->options.temperature);
    const struct candidate *const drawn = draw(s);
    const double error = -log2(drawn->p) - (double)s->options.mirostat_tau;
    s->mirostat_mu -= (double)s->options.mirostat_eta * error;
    return drawn;
}

enum octet_status octet_sampler_pick(struct octet_sampler *s, const float *logits, int32_t *id,
                                     struct octet_err *err) {
    *id = -1;
    enum octet_status status = load_logits(s, logits, err);
    if (status != OCTET_OK) return status;
    penalize_occurrences(s);
    penalize_repetition(s);
    status = collect(s, err);
    if (status != OCTET_OK) return status;
    if (s->options.temperature == 0.0f) {
        *id = likeliest(s)->id;
    } else if (s->options.mirostat == 2) {
        *id = draw_mirostat(s)->id;
    } else {
        keep_top_k(s);
        keep_typical(s);
        keep_top_p(s);
        keep_min_p(s);
        softmax(s, s->options.temperature);
        *id = draw(s)->id;
    }
    s->n_picks++;
    return OCTET_OK;
}
