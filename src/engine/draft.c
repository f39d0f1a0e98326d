/* Drafters: guessing what follows a text, computing the guesses in the same step, deciding how
 * many are worth it. Nothing here touches a logit or picks a token: a sync whose last token was
 * guessed and is computed already needs nothing; any other is a step, with guesses behind it. */
#include <string.h>

#include "base/mem.h"
#include "engine/guesses.h"
#include "engine/session.h"

// With the token before them 16 rows, as kernels take four or eight of them at a time.
enum { DEFAULT_GUESSES = 15, ANY_ROWS = COST_ROWS + 1 };

/* Guesses must promise GAIN times the plain pace. What they cost beyond the tokens they save comes
 * out of a credit, which every plain step fills by ALLOWANCE tokens: so decoding gets slower by no
 * more than that share, whatever the text and however wrong the forecast. */
static const double GAIN = 1.05, ALLOWANCE = 0.01, FIRST_CREDIT = 2, MOST_CREDIT = 16;

struct octet_drafter {
    struct octet_session *session;
    size_t most; // guesses in one step
    bool always;
    bool has_guesser;
    struct guesser guesser;
    struct ngrams text; // the tokens of the last sync
    struct match match; // of its end

    struct guesses guesses; // computed with the step at hand; n is 0 as soon as one is wrong
    size_t base;            // tokens before them
    double spent, gained;   // by that step, in tokens at the plain pace

    double right[N_EVIDENCE]; // share of guesses that are, by evidence
    double hope;              // the same of all guesses of a model
    double credit;            // tokens
    struct octet_draft_stats stats;
};

/* ---- Opening --------------------------------------------------------------------------------- */

enum octet_status octet_drafter_open(struct octet_session *session,
                                     const struct octet_draft_options *options,
                                     struct octet_drafter **out, struct octet_err *err) {
    static const struct octet_draft_options defaults = OCTET_DRAFT_OPTIONS_DEFAULTS;
    if (!options) options = &defaults;
    *out = NULL;
    if (options->max_tokens < 0 || options->max_tokens > MAX_GUESSES)
        return octet_fail(err, OCTET_EARG, "max_tokens of a draft: expected 0 to %d, found %d",
                          MAX_GUESSES, options->max_tokens);
    struct octet_drafter *d = mem_alloc(sizeof *d);
    if (!d) return octet_fail_memory(err, "drafter", sizeof *d);
    d->session = session;
    d->most = options->max_tokens ? (size_t)options->max_tokens : DEFAULT_GUESSES;
    d->always = options->always;
    d->credit = FIRST_CREDIT;
    d->hope = 0.8;
    // Until this text says otherwise: a match of n tokens goes on more surely the longer it is, and
    // a model is right as often as it thinks.
    for (size_t i = 0; i < N_EVIDENCE; i++)
        d->right[i] = options->model ? ((double)i + 0.5) / N_EVIDENCE : (double)i / ((double)i + 4);
    enum octet_status status = OCTET_OK;
    d->has_guesser = options->model != NULL;
    if (d->has_guesser)
        status = guesser_open(&d->guesser, session, options->model, err);
    if (status == OCTET_OK)
        *out = d;
    else
        octet_drafter_close(d);
    return status;
}

void octet_drafter_close(struct octet_drafter *d) {
    if (!d) return;
    guesser_close(&d->guesser);
    ngrams_free(&d->text);
    mem_free(d);
}

/* ---- Learning from the tokens picked --------------------------------------------------------- */

static void learn(double *share, bool right, int weight) {
    *share += ((right ? 1.0 : 0.0) - *share) / weight;
}

/* The step at hand is used up. */
static void settle(struct octet_drafter *d) {
    d->credit += d->gained - d->spent;
    if (d->credit > MOST_CREDIT) d->credit = MOST_CREDIT;
    d->gained = d->spent = 0;
    d->guesses.n = 0;
}

/* Takes the text up to these tokens. *IS_NEXT: they are one more than before. */
static enum octet_status follow(struct octet_drafter *d, const struct octet_span *span,
                                bool *is_next, struct octet_err *err) {
    enum { WEIGHT = 8 };
    const size_t n_before = d->text.tokens.n;
    size_t n_kept;
    if (!ngrams_set(&d->text, span->tokens, span->n, &n_kept))
        return octet_fail_memory(err, "drafting", span->n * sizeof *span->tokens);
    *is_next = n_before > 0 && n_kept == n_before && span->n == n_before + 1;
    const struct match match = *is_next ? d->match : (struct match){0};
    d->match = ngrams_match(&d->text, match);
    if (match.length > 0 && !d->has_guesser) { // whether it was followed or not
        const size_t evidence = match.length < N_EVIDENCE ? match.length : N_EVIDENCE - 1;
        const int32_t *const ids = d->text.tokens.ids;
        learn(&d->right[evidence], ids[match.at] == ids[span->n - 1], WEIGHT);
    }
    return OCTET_OK;
}

/* What was guessed for POSITION and computed; NULL: nothing. */
static const int32_t *guess_at(const struct octet_drafter *d, size_t position) {
    if (position < d->base || position - d->base >= d->guesses.n) return NULL;
    return &d->guesses.ids[position - d->base];
}

bool octet_drafter_knows(const struct octet_drafter *d, const int32_t *tokens, size_t n_tokens) {
    const size_t last = d->text.tokens.n;
    const int32_t *const guess = n_tokens == last + 1 ? guess_at(d, last) : NULL;
    return guess && *guess == tokens[last] && octet_session_logits_at(d->session, last) != NULL;
}

/* Whether the last token was guessed, and its logits are there. */
static bool was_guessed(struct octet_drafter *d, bool is_next) {
    enum { WEIGHT = 8 };
    const size_t last = d->text.tokens.n - 1;
    const int32_t *const guess = is_next ? guess_at(d, last) : NULL;
    if (!guess) return false;
    const bool right = *guess == d->text.tokens.ids[last];
    if (d->has_guesser) {
        learn(&d->right[d->guesses.evidence[last - d->base]], right, WEIGHT);
        learn(&d->hope, right, WEIGHT);
    }
    if (!right) return false;
    d->stats.accepted++;
    d->gained++;
    return octet_session_logits_at(d->session, last) != NULL;
}

/* ---- Guessing -------------------------------------------------------------------------------- */

/* What is known of the step that guesses may join. */
struct outlook {
    struct costs costs;
    size_t n_rows; // without them; ANY_ROWS: no telling
};

/* Of guesses that are right with SHARES (n), each given that those before are: how many to compute
 * for the most tokens per second. SECONDS: what it takes to make one. */
static size_t n_worth(const struct octet_drafter *d, const struct outlook *outlook,
                      const double *shares, size_t n, double seconds) {
    const double plain = costs_expect(&outlook->costs, outlook->n_rows);
    const double rows = (double)outlook->n_rows;
    if (!(plain > 0)) return 0;
    double tokens = rows, right = 1, best = GAIN * rows / plain;
    size_t n_best = 0;
    for (size_t i = 0; i < n; i++) {
        const double step = costs_expect(&outlook->costs, outlook->n_rows + i + 1);
        const double whole = step + (double)(i + 1) * seconds;
        right *= shares[i];
        tokens += right;
        if (!(step > 0)) break;
        if ((whole / plain - 1) * rows > d->credit || tokens / whole <= best) continue;
        best = tokens / whole;
        n_best = i + 1;
    }
    return n_best;
}

static size_t n_worth_computing(const struct octet_drafter *d, const struct outlook *outlook) {
    double shares[MAX_GUESSES];
    for (size_t i = 0; i < d->guesses.n; i++) shares[i] = d->right[d->guesses.evidence[i]];
    return d->always ? d->guesses.n : n_worth(d, outlook, shares, d->guesses.n, 0);
}

static bool is_model_worth_asking(struct octet_drafter *d, const struct outlook *outlook,
                                  size_t most) {
    enum { PATIENCE = 256 };
    double shares[MAX_GUESSES];
    for (size_t i = 0; i < most; i++) shares[i] = d->hope;
    if (d->always || n_worth(d, outlook, shares, most, d->guesser.seconds_per_token) > 0)
        return true;
    learn(&d->hope, true, PATIENCE); // so that it gets another chance
    return false;
}

static enum octet_status guess_by_model(struct octet_drafter *d, const struct outlook *outlook,
                                        size_t most, struct octet_err *err) {
    if (!is_model_worth_asking(d, outlook, most)) return OCTET_OK;
    const double plain = costs_expect(&outlook->costs, outlook->n_rows);
    const double rows = (double)outlook->n_rows;
    const size_t n = d->text.tokens.n;
    enum octet_status status = OCTET_OK;
    bool ready = true, pays = true;
    double right = 1;
    for (size_t i = 0; i < most && ready && pays && status == OCTET_OK; i++) {
        status = guesser_next(&d->guesser, d->text.tokens.ids, n + i, &ready, &d->guesses, err);
        if (d->guesses.n > i) {
            right *= d->right[d->guesses.evidence[i]];
            if (plain > 0) d->spent += d->guesser.seconds_per_token / plain * rows;
        }
        pays = d->always || right * plain > d->guesser.seconds_per_token * rows;
    }
    return status;
}

/* Puts guesses behind the text; *END is the end of those to compute. */
static enum octet_status guess(struct octet_drafter *d, const struct outlook *outlook, size_t *end,
                               struct octet_err *err) {
    const size_t n = d->text.tokens.n, n_ctx = (size_t)octet_session_n_ctx(d->session);
    size_t most = n < n_ctx ? n_ctx - n : 0;
    if (most > d->most) most = d->most;
    d->base = *end = n;
    if (most == 0 || (!d->has_guesser && d->match.length == 0)) return OCTET_OK;
    int32_t *const spare = ngrams_spare(&d->text, most);
    if (!spare) return octet_fail_memory(err, "drafting", most * sizeof *spare);
    enum octet_status status = OCTET_OK;
    if (d->has_guesser)
        status = guess_by_model(d, outlook, most, err);
    else
        guess_by_match(&d->text, d->match, most, &d->guesses);
    d->guesses.n = n_worth_computing(d, outlook);
    memcpy(spare, d->guesses.ids, d->guesses.n * sizeof *spare);
    *end = n + d->guesses.n;
    return status;
}

/* ---- Steps ----------------------------------------------------------------------------------- */

/* One step of several drafters. */
struct party {
    struct octet_drafter **drafters; // (n)
    struct octet_session **sessions; // (n)
    struct octet_span *spans;        // (n)
    size_t n, n_drafting;
    struct outlook outlook;
    bool decodes; // all of them
};

static enum octet_status join(struct party *party, struct octet_drafter *d,
                              const struct octet_span *span, struct octet_err *err) {
    bool is_next = false;
    const enum octet_status status = follow(d, span, &is_next, err);
    if (status != OCTET_OK || was_guessed(d, is_next)) return status;
    settle(d);
    party->decodes &= is_next;
    party->drafters[party->n++] = d;
    return OCTET_OK;
}

static enum octet_status plan(struct party *party, struct octet_err *err) {
    struct outlook *const outlook = &party->outlook;
    enum octet_status status = OCTET_OK;
    outlook->costs = model_costs(session_model(party->drafters[0]->session));
    outlook->n_rows = party->decodes ? party->n : ANY_ROWS;
    for (size_t i = 0; i < party->n && status == OCTET_OK; i++) {
        struct octet_drafter *const d = party->drafters[i];
        size_t end = d->text.tokens.n;
        if (party->decodes) status = guess(d, outlook, &end, err);
        party->sessions[i] = d->session;
        party->spans[i] = (struct octet_span){d->text.tokens.ids, end, d->guesses.n + 1};
        outlook->n_rows += d->guesses.n;
        party->n_drafting += d->guesses.n > 0;
    }
    return status;
}

/* Who pays for the step just run. What is booked is what such a step takes: what else happened in
 * the meantime is nobody's fault. */
static void book(struct party *party) {
    const struct costs costs = model_costs(session_model(party->drafters[0]->session));
    const double plain = costs_expect(&costs, party->n);
    const double whole = costs_expect(&costs, party->outlook.n_rows);
    const double extra = plain > 0 ? (whole / plain - 1) * (double)party->n : 0;
    for (size_t i = 0; i < party->n && party->decodes; i++) {
        struct octet_drafter *const d = party->drafters[i];
        d->stats.steps++;
        d->stats.drafted += d->guesses.n;
        d->spent += d->guesses.n > 0 ? extra / (double)party->n_drafting : 0;
        d->gained += d->guesses.n > 0 ? 0 : ALLOWANCE;
    }
}

static void forget(struct octet_drafter *d) {
    size_t n_kept;
    settle(d);
    ngrams_set(&d->text, NULL, 0, &n_kept);
    d->match = (struct match){0};
}

enum octet_status octet_drafters_sync(struct octet_drafter *const *drafters,
                                      const struct octet_span *spans, size_t n_drafters,
                                      struct octet_err *err) {
    struct party party = {.decodes = true};
    party.drafters = mem_array(n_drafters, sizeof(struct octet_drafter *));
    party.sessions = mem_array(n_drafters, sizeof(struct octet_session *));
    party.spans = mem_array(n_drafters, sizeof *party.spans);
    enum octet_status status = OCTET_OK;
    if (!party.drafters || !party.sessions || !party.spans)
        status = octet_fail_memory(err, "drafting", n_drafters * sizeof *party.spans);
    for (size_t i = 0; i < n_drafters && status == OCTET_OK; i++)
        status = join(&party, drafters[i], &spans[i], err);
    if (status == OCTET_OK && party.n > 0) {
        status = plan(&party, err);
        if (status == OCTET_OK)
            status = octet_sessions_sync(party.sessions, party.spans, party.n, err);
        if (status == OCTET_OK) book(&party);
    }
    for (size_t i = 0; i < n_drafters && status != OCTET_OK; i++) forget(drafters[i]);
    mem_free(party.drafters);
    mem_free(party.sessions);
    mem_free(party.spans);
    return status;
}

enum octet_status octet_drafter_sync(struct octet_drafter *drafter, const int32_t *tokens,
                                     size_t n_tokens, struct octet_err *err) {
    const struct octet_span span = {tokens, n_tokens, 1};
    return octet_drafters_sync(&drafter, &span, 1, err);
}

/* ---- What a drafter tells -------------------------------------------------------------------- */

const float *octet_drafter_logits(const struct octet_drafter *d) {
    const size_t n = d->text.tokens.n;
    return n > 0 ? octet_session_logits_at(d->session, n - 1) : NULL;
}

void octet_drafter_get_stats(const struct octet_drafter *d, struct octet_draft_stats *out) {
    *out = d->stats;
}
