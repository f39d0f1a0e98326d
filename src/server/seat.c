/* See seat.h. */
#include "server/seat.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"

enum octet_status seat_open(struct seat *seat, struct octet_model *model,
                            const struct octet_session_options *options,
                            const struct octet_draft_options *draft, struct octet_err *err) {
    *seat = (struct seat){0};
    enum octet_status status = octet_session_open(model, options, &seat->session, err);
    if (status == OCTET_OK && draft)
        status = octet_drafter_open(seat->session, draft, &seat->drafter, err);
    return status;
}

void seat_close(struct seat *seat) {
    octet_drafter_close(seat->drafter);
    octet_session_close(seat->session);
    octet_sampler_close(seat->sampler);
    octet_tokens_free(&seat->tokens);
    buffer_free(&seat->text);
    buffer_free(&seat->piece);
}

static size_t common(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b) {
    const size_t n = n_a < n_b ? n_a : n_b;
    size_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

size_t seat_common(const struct seat *seat, const struct octet_tokens *prompt) {
    return common(seat->tokens.ids, seat->n_computed, prompt->ids, prompt->n);
}

size_t seat_shared(const struct seat *a, const struct seat *b) {
    return common(a->tokens.ids, a->n_prompt, b->tokens.ids, b->n_prompt);
}

size_t seat_reuse(struct seat *seat) {
    size_t n = octet_session_reuse(seat->session, seat->tokens.ids, seat->n_prompt);
    if (n == seat->n_prompt) n--; // its logits are there, but the last token counts as computed
    const size_t n_gained = n > seat->n_computed ? n - seat->n_computed : 0;
    seat->n_computed = n;
    seat->job->n_cached += n_gained;
    return n_gained;
}

void seat_resume(struct seat *seat) {
    seat->n_computed = octet_session_resume(seat->session, &seat->tokens);
    seat->used = probe_seconds(); // other texts get other seats first
}

static bool has_penalties(const struct octet_sampling *s) {
    return s->repeat_penalty != 1 || s->frequency_penalty != 0 || s->presence_penalty != 0 ||
           s->dry_multiplier != 0;
}

/* The most tokens that an answer may have: what was asked for, and what the context holds. */
static int64_t most_tokens(const struct seat *seat) {
    const int64_t n_ctx = octet_session_n_ctx(seat->session);
    const int64_t n_free = n_ctx - (int64_t)seat->n_prompt + 1;
    const int64_t asked = seat->job->max_tokens;
    return asked >= 0 && asked < n_free ? asked : n_free;
}

static enum octet_status open_sampler(struct seat *seat, const struct octet_model *model,
                                      struct octet_err *err) {
    const struct octet_sampling *const sampling = &seat->job->sampling;
    struct octet_grammar *const grammar = seat->job->grammar;
    octet_sampler_close(seat->sampler);
    seat->sampler = NULL;
    enum octet_status status = octet_sampler_open(model, sampling, &seat->sampler, err);
    for (size_t i = 0; status == OCTET_OK && has_penalties(sampling) && i < seat->n_prompt; i++)
        status = octet_sampler_accept(seat->sampler, seat->tokens.ids[i]);
    if (status == OCTET_OK && grammar)
        status = octet_sampler_constrain(seat->sampler, grammar, most_tokens(seat), err);
    return status;
}

enum octet_status seat_take(struct seat *seat, const struct octet_model *model, struct job *job,
                            struct octet_err *err) {
    octet_tokens_free(&seat->tokens);
    if (!job->vectors) {
        seat->tokens = job->prompt;
        job->prompt = (struct octet_tokens){NULL, 0, 0};
    }
    seat->job = job;
    seat->n_prompt = seat->tokens.n;
    seat->n_sent = seat->n_before = 0;
    seat->ready = false;
    seat->stream = (struct octet_stream){{0}, 0};
    buffer_clear(&seat->text);
    if (!buffer_append(&seat->text, "", 0)) return octet_fail_memory(err, "an answer", 1);
    seat->n_computed = 0;
    if (!job->vectors) seat_reuse(seat);
    if (seat->drafter) octet_drafter_get_stats(seat->drafter, &seat->drafts_before);
    job->started = probe_seconds();
    return job->vectors ? OCTET_OK : open_sampler(seat, model, err);
}

/* ---- Computing ------------------------------------------------------------------------------- */

enum octet_status seat_sync(struct seat *seat, size_t n, struct octet_err *err) {
    return seat->drafter ? octet_drafter_sync(seat->drafter, seat->tokens.ids, n, err)
                         : octet_session_sync(seat->session, seat->tokens.ids, n, err);
}

void seat_note(struct seat *seat, size_t n) {
    const size_t n_held = octet_session_length(seat->session); // guesses may follow the tokens
    seat->n_computed = n_held < n ? n_held : n;
}

enum octet_status seat_follow_guess(struct seat *seat, struct octet_err *err) {
    const size_t n = seat->tokens.n;
    if (!seat->drafter || !octet_drafter_knows(seat->drafter, seat->tokens.ids, n))
        return OCTET_OK;
    const enum octet_status status = seat_sync(seat, n, err);
    seat_note(seat, n);
    seat->ready = status == OCTET_OK;
    return status;
}

void seat_count_drafts(struct seat *seat) {
    if (!seat->drafter) return;
    struct octet_draft_stats now;
    octet_drafter_get_stats(seat->drafter, &now);
    seat->job->n_drafted = (size_t)(now.drafted - seat->drafts_before.drafted);
    seat->job->n_accepted = (size_t)(now.accepted - seat->drafts_before.accepted);
}

/* ---- Chances --------------------------------------------------------------------------------- */

static double log_sum_exp(const float *logits, size_t n) {
    float max = logits[0];
    for (size_t i = 1; i < n; i++) max = fmaxf(max, logits[i]);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)(logits[i] - max));
    return (double)max + log(sum);
}

/* The likeliest tokens, in order. */
static void report_chances(const struct octet_model *model, const float *logits, int32_t id,
                           size_t n_tops, struct token_report *out) {
    const size_t n = octet_n_tokens(model);
    const double norm = log_sum_exp(logits, n);
    out->token = (struct token_chance){id, (float)((double)logits[id] - norm)};
    out->n_tops = 0;
    for (size_t i = 0; i < n && n_tops > 0; i++) {
        const float logprob = (float)((double)logits[i] - norm);
        if (out->n_tops == n_tops && logprob <= out->tops[n_tops - 1].logprob) continue;
        size_t at = out->n_tops < n_tops ? out->n_tops++ : n_tops - 1;
        for (; at > 0 && out->tops[at - 1].logprob < logprob; at--)
            out->tops[at] = out->tops[at - 1];
        out->tops[at] = (struct token_chance){(int32_t)i, logprob};
    }
}

struct scoring {
    const struct seat *seat;
    const struct octet_model *model;
    struct token_report *reports;
};

/* The logits after a token are the chances of the next one. */
static void score_next(void *user, size_t position, const float *logits) {
    const struct scoring *const s = user;
    if (position + 1 >= s->seat->n_prompt) return;
    report_chances(s->model, logits, s->seat->tokens.ids[position + 1],
                   (size_t)s->seat->job->n_tops, &s->reports[position + 1]);
}

enum octet_status seat_score(struct seat *seat, const struct octet_model *model,
                             struct token_report **reports, struct octet_err *err) {
    const size_t n = seat->n_prompt;
    *reports = mem_array(n, sizeof **reports);
    if (!*reports) return octet_fail_memory(err, "chances", n * sizeof **reports);
    (*reports)[0].token = (struct token_chance){seat->tokens.ids[0], NAN};
    struct scoring scoring = {seat, model, *reports};
    const enum octet_status status =
        octet_session_score(seat->session, seat->tokens.ids, n, score_next, &scoring, err);
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t n_bytes = 0;
        octet_token_bytes(model, seat->tokens.ids[i], false, &bytes, &n_bytes);
        seat->n_before += n_bytes;
        (*reports)[i].text_end = seat->n_before;
    }
    seat->job->n_cached = 0;
    seat->n_computed = octet_session_length(seat->session);
    seat->ready = status == OCTET_OK;
    return status;
}

/* ---- Text ------------------------------------------------------------------------------------ */

static bool is_shown(const struct job *job, int32_t id) {
    bool shown = job->keep_special;
    for (size_t i = 0; i < job->n_shown; i++) shown |= job->shown[i] == id;
    return shown;
}

static bool add_text(struct seat *seat, const struct octet_model *model, int32_t id) {
    const char *bytes;
    size_t n_bytes;
    if (octet_token_bytes(model, id, is_shown(seat->job, id), &bytes, &n_bytes) != OCTET_OK)
        return false;
    if (!mem_reserve((void **)&seat->piece.bytes, &seat->piece.cap, 3 * n_bytes + 12, 1))
        return false;
    const size_t n = octet_stream_push(&seat->stream, bytes, n_bytes, seat->piece.bytes);
    return buffer_append(&seat->text, seat->piece.bytes, n);
}

/* Cuts the text at the first stop string of those that begin at FROM or later. */
static bool cut_at_stop(struct seat *seat, size_t from) {
    struct job *const job = seat->job;
    const char *first = NULL;
    for (size_t i = 0; i < job->n_stops; i++) {
        const char *const at = memmem(seat->text.bytes + from, seat->text.n - from, job->stops[i],
                                      strlen(job->stops[i]));
        if (!at || (first && at >= first)) continue;
        first = at;
        strncpy(job->stopped_by, job->stops[i], sizeof job->stopped_by - 1);
    }
    if (!first) return false;
    seat->text.n = (size_t)(first - seat->text.bytes);
    seat->text.bytes[seat->text.n] = '\0';
    return true;
}

/* Bytes at the end of the text that a stop string may begin with. */
static size_t held_back(const struct seat *seat) {
    size_t most = 0;
    const size_t n_text = seat->text.n - seat->n_sent;
    for (size_t i = 0; i < seat->job->n_stops; i++) {
        const char *const stop = seat->job->stops[i];
        const size_t n_stop = strlen(stop);
        size_t n = n_stop - 1 < n_text ? n_stop - 1 : n_text;
        while (n > most && memcmp(seat->text.bytes + seat->text.n - n, stop, n) != 0) n--;
        if (n > most) most = n;
    }
    return most;
}

static bool is_over(const struct seat *seat) {
    const struct job *const job = seat->job;
    if (job->max_tokens >= 0 && job->n_generated >= (size_t)job->max_tokens) return true;
    if (seat->tokens.n > (size_t)octet_session_n_ctx(seat->session)) return true;
    return job->deadline_s > 0 && job->first > 0 &&
           probe_seconds() - job->first > job->deadline_s &&
           memchr(seat->text.bytes, '\n', seat->text.n); // half a line helps nobody
}

static enum octet_status take_token(struct seat *seat, const struct octet_model *model, int32_t id,
                                    struct octet_err *err) {
    struct job *const job = seat->job;
    const size_t unsearched = seat->n_sent;
    if (octet_tokens_push(&seat->tokens, id) != OCTET_OK || !add_text(seat, model, id))
        return octet_fail_memory(err, "an answer", seat->text.n);
    job->n_generated++;
    if (octet_sampler_accept(seat->sampler, id) != OCTET_OK)
        return octet_fail_memory(err, "an answer", seat->tokens.n * sizeof id);
    if (cut_at_stop(seat, unsearched) || octet_sampler_finished(seat->sampler))
        job->finish = FINISH_STOP;
    else if (is_over(seat))
        job->finish = FINISH_LENGTH;
    return OCTET_OK;
}

static enum octet_status finish_text(struct seat *seat, struct octet_err *err) {
    char rest[4];
    const size_t n = octet_stream_flush(&seat->stream, rest);
    if (seat->job->stopped_by[0] || buffer_append(&seat->text, rest, n)) return OCTET_OK;
    return octet_fail_memory(err, "an answer", seat->text.n);
}

static bool ends_job(const struct octet_model *model, const struct job *job, int32_t id) {
    // A grammar's text is complete where it lets an end token be picked.
    if (job->grammar && octet_token_ends(model, id)) return true;
    if (job->ignore_eos || (int64_t)job->n_generated < job->min_tokens) return false;
    bool ends = octet_token_ends(model, id);
    for (size_t i = 0; i < job->n_ends; i++) ends |= job->ends[i] == id;
    return ends;
}

enum octet_status seat_pick(struct seat *seat, const struct octet_model *model, struct told *out,
                            struct octet_err *err) {
    struct job *const job = seat->job;
    *out = (struct told){0};
    seat->ready = false;
    if (job->max_tokens == 0) { // only the prompt was to be computed
        job->finish = FINISH_LENGTH;
        return OCTET_OK;
    }
    int32_t id;
    const float *const logits = octet_session_logits_at(seat->session, seat->tokens.n - 1);
    enum octet_status status = octet_sampler_pick(seat->sampler, logits, &id, err);
    if (status != OCTET_OK) return status;
    if (job->first == 0) job->first = probe_seconds();
    const bool ends = ends_job(model, job, id);
    // Whoever scores a prompt counts on the chances of as many tokens more as were computed.
    out->has_report = job->n_tops >= 0 && (!ends || job->score_prompt);
    if (out->has_report)
        report_chances(model, logits, id, (size_t)job->n_tops, &out->report);
    if (ends) {
        job->finish = FINISH_STOP;
    } else {
        status = take_token(seat, model, id, err);
    }
    if (status == OCTET_OK && job->finish != FINISH_NONE) status = finish_text(seat, err);
    if (status != OCTET_OK) return status;
    out->report.text_end = seat->n_before + seat->text.n;
    const size_t end = seat->text.n - (job->finish == FINISH_NONE ? held_back(seat) : 0);
    out->text = seat->text.bytes + seat->n_sent;
    out->n_bytes = end > seat->n_sent ? end - seat->n_sent : 0;
    seat->n_sent += out->n_bytes;
    return OCTET_OK;
}
