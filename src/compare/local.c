/* The engine in this process. Several asks are computed in the same steps, which costs little more
 * than one alone since the weights are read once; when an answer is complete, the next ask takes
 * its seat while the others go on. What an ask gets does not depend on its neighbours. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "compare/provider.h"

/* An ask, encoded, then being answered. */
struct seat {
    struct octet_session *session;
    const struct ask *ask; // NULL: free
    struct octet_tokens tokens;
    size_t n_prompt;
    struct octet_sampler *sampler;
    struct octet_stream stream;
    struct buffer text, piece;
    char *date;
    double begun, first, last;
    float *gaps;
    size_t n_gaps, gaps_cap;
    const char *finish; // "stop", "length"; NULL: goes on
};

struct batch {
    struct provider *provider;
    const struct octet_model *model;
    const struct ask *asks;
    size_t n_asks, n_seated;
    struct seat *seats;              // (n_seats)
    struct octet_session **sessions; // (n_seats) of those that step together
    struct octet_span *spans;        // (n_seats)
    size_t n_seats, n_ctx;
    reply_fn fn;
    void *user;
};

/* ---- Encoding -------------------------------------------------------------------------------- */

static enum octet_status encode(const struct octet_model *model, const struct ask *ask,
                                struct octet_tokens *out, struct octet_err *err) {
    if (!ask->chat) {
        return octet_tokenize(model, ask->prompt, strlen(ask->prompt), OCTET_TOKENIZE_BOS, out,
                              err);
    }
    struct octet_message messages[2];
    size_t n = 0;
    if (ask->system) messages[n++] = (struct octet_message){"system", ask->system};
    messages[n++] = (struct octet_message){"user", ask->prompt};
    return octet_chat_encode(model, NULL, messages, n, out, err);
}

/* A context that holds the longest of the asks, as far as the model and the options allow. Asks
 * that can not be encoded fail later, each on its own. */
static size_t choose_context(const struct batch *b) {
    struct octet_model_info info;
    octet_model_get_info(b->model, &info);
    const int32_t wanted = b->provider->options.n_ctx;
    const size_t most = (size_t)(wanted > 0 ? wanted : info.n_ctx_train);
    size_t need = 16;
    struct octet_tokens tokens = {NULL, 0, 0};
    for (size_t i = 0; i < b->n_asks && need < most; i++) {
        tokens.n = 0;
        if (encode(b->model, &b->asks[i], &tokens, NULL) != OCTET_OK) continue;
        const size_t n = tokens.n + (size_t)b->asks[i].max_tokens;
        if (n > need) need = n;
    }
    octet_tokens_free(&tokens);
    return need < most ? need : most;
}

/* ---- One seat -------------------------------------------------------------------------------- */

static enum octet_status open_sampler(const struct batch *b, struct seat *seat,
                                      struct octet_err *err) {
    // An API's settings and no others, so that models are compared and not samplers.
    struct octet_sampling sampling = OCTET_SAMPLING_DEFAULTS;
    sampling.temperature = seat->ask->temperature;
    sampling.top_p = seat->ask->top_p;
    sampling.seed = seat->ask->seed;
    sampling.top_k = 0;
    sampling.min_p = 0;
    octet_sampler_close(seat->sampler);
    seat->sampler = NULL;
    return octet_sampler_open(b->model, &sampling, &seat->sampler, err);
}

/* Puts ASK in the seat; a failure concerns this ask only. */
static enum octet_status take_seat(const struct batch *b, struct seat *seat, const struct ask *ask,
                                   struct octet_err *err) {
    seat->ask = ask;
    seat->finish = NULL;
    seat->tokens.n = 0;
    seat->stream = (struct octet_stream){{0}, 0};
    buffer_clear(&seat->text);
    seat->n_gaps = 0;
    seat->first = seat->last = NAN;
    seat->begun = probe_seconds();
    seat->date = provider_date();
    enum octet_status status = encode(b->model, ask, &seat->tokens, err);
    seat->n_prompt = seat->tokens.n;
    if (status == OCTET_OK && seat->n_prompt > b->n_ctx) {
        status = octet_fail(err, OCTET_ECONTEXT,
                            "the prompt has %zu tokens, the context has room for %zu",
                            seat->n_prompt, b->n_ctx);
    }
    return status == OCTET_OK ? open_sampler(b, seat, err) : status;
}

/* Cuts the text where a stop string begins. Only the last N_NEW bytes have not been searched. */
static bool cut_at(struct buffer *text, size_t n_new, const char *stop) {
    const size_t n_stop = strlen(stop), n_seen = text->n - n_new;
    if (n_stop == 0) return false;
    const size_t from = n_seen >= n_stop ? n_seen - n_stop + 1 : 0;
    const char *const at = memmem(text->bytes + from, text->n - from, stop, n_stop);
    if (!at) return false;
    text->n = (size_t)(at - text->bytes);
    text->bytes[text->n] = '\0';
    return true;
}

static bool cut_at_stops(const struct batch *b, struct seat *seat, size_t n_new) {
    bool found = false;
    for (size_t i = 0; seat->ask->stops && seat->ask->stops[i] && !found; i++) {
        found = cut_at(&seat->text, n_new, seat->ask->stops[i]);
    }
    for (size_t i = 0; seat->ask->chat && !found; i++) {
        const char *const stop = octet_chat_stop(b->model, NULL, i);
        if (!stop) break;
        found = cut_at(&seat->text, n_new, stop);
    }
    return found;
}

static void note_token(struct seat *seat) {
    const double now = probe_seconds();
    if (isnan(seat->first)) {
        seat->first = now;
    } else if (mem_reserve((void **)&seat->gaps, &seat->gaps_cap, seat->n_gaps + 1,
                           sizeof *seat->gaps)) {
        seat->gaps[seat->n_gaps++] = (float)provider_microseconds(now - seat->last);
    }
    seat->last = now;
}

static bool add_token_text(const struct batch *b, struct seat *seat, int32_t id) {
    const char *bytes;
    size_t n_bytes;
    if (octet_token_bytes(b->model, id, false, &bytes, &n_bytes) != OCTET_OK) return false;
    if (!mem_reserve((void **)&seat->piece.bytes, &seat->piece.cap, 3 * n_bytes + 12, 1)) {
        return false;
    }
    const size_t n = octet_stream_push(&seat->stream, bytes, n_bytes, seat->piece.bytes);
    if (!buffer_append(&seat->text, seat->piece.bytes, n)) return false;
    if (cut_at_stops(b, seat, n)) seat->finish = "stop";
    return true;
}

/* Picks the next token from the session's logits. */
static enum octet_status pick(const struct batch *b, struct seat *seat, struct octet_err *err) {
    int32_t id;
    const float *const logits = octet_session_logits(seat->session);
    const enum octet_status status = octet_sampler_pick(seat->sampler, logits, &id, err);
    if (status != OCTET_OK) return status;
    if (octet_token_ends(b->model, id)) {
        seat->finish = "stop";
        return OCTET_OK;
    }
    note_token(seat);
    if (octet_tokens_push(&seat->tokens, id) != OCTET_OK || !add_token_text(b, seat, id)) {
        return octet_fail_memory(err, "an answer", seat->text.n);
    }
    const size_t n_answer = seat->tokens.n - seat->n_prompt;
    if (!seat->finish && (n_answer >= (size_t)seat->ask->max_tokens || seat->tokens.n > b->n_ctx)) {
        seat->finish = "length";
    }
    return OCTET_OK;
}

/* ---- Replies --------------------------------------------------------------------------------- */

static bool make_reply(const struct batch *b, struct seat *seat, const char *error,
                       struct reply *out) {
    char rest[4];
    const size_t n_rest = octet_stream_flush(&seat->stream, rest);
    const bool stopped = seat->finish && strcmp(seat->finish, "stop") == 0;
    if (!error && !stopped && !buffer_append(&seat->text, rest, n_rest)) return false;
    const double now = probe_seconds();
    const int64_t n_answer = (int64_t)(seat->tokens.n - seat->n_prompt);
    *out = (struct reply){
        .tag = seat->ask->tag,
        .text = mem_strdup(seat->text.bytes, error ? 0 : seat->text.n),
        .n_bytes = error ? 0 : seat->text.n,
        .model = provider_copy(b->provider->model),
        .date = seat->date,
        .usage = {(int64_t)seat->n_prompt, 0, n_answer, 0, false},
        .ttft_s = provider_microseconds(seat->first - seat->begun),
        .total_s = provider_microseconds(now - seat->begun),
        .token_gaps_s = seat->gaps,
        .n_gaps = seat->n_gaps,
        .finish_reason = seat->finish ? provider_copy(seat->finish) : NULL,
        .error = error ? provider_copy(error) : NULL,
    };
    seat->date = NULL;
    seat->gaps = NULL;
    seat->n_gaps = seat->gaps_cap = 0;
    return out->text && out->model && out->date && (!seat->finish || out->finish_reason) &&
           (!error || out->error);
}

/* Hands over what is in the seat and frees it. */
static enum octet_status deliver(const struct batch *b, struct seat *seat, const char *error,
                                 struct octet_err *err) {
    struct reply reply = {0};
    const bool fine = make_reply(b, seat, error, &reply);
    seat->ask = NULL;
    if (!fine) {
        reply_free(&reply);
        return octet_fail_memory(err, "an answer", seat->text.n);
    }
    return b->fn(b->user, &reply) ? OCTET_OK : octet_fail(err, OCTET_ECANCELLED, "stopped");
}

/* Failures that are not the ask's own end everything. */
static bool is_fatal(enum octet_status status) {
    return status == OCTET_EMEM || status == OCTET_ECANCELLED || status == OCTET_EIO;
}

/* ---- The batch ------------------------------------------------------------------------------- */

static enum octet_status fill_seats(struct batch *b, struct octet_err *err) {
    for (size_t i = 0; i < b->n_seats; i++) {
        struct seat *const seat = &b->seats[i];
        while (!seat->ask && b->n_seated < b->n_asks) {
            struct octet_err why;
            enum octet_status status = take_seat(b, seat, &b->asks[b->n_seated++], &why);
            if (status == OCTET_OK) continue;
            if (is_fatal(status)) return octet_fail(err, status, "%s", why.message);
            status = deliver(b, seat, why.message, err);
            if (status != OCTET_OK) return status;
        }
    }
    return OCTET_OK;
}

/* Computes the logits of all seats taken. Where one of them spoils the step, each goes alone, and
 * only that one fails. */
static enum octet_status step(struct batch *b, struct octet_err *err) {
    size_t n = 0;
    for (size_t i = 0; i < b->n_seats; i++) {
        const struct seat *const seat = &b->seats[i];
        if (!seat->ask) continue;
        b->sessions[n] = seat->session;
        b->spans[n++] = (struct octet_span){seat->tokens.ids, seat->tokens.n, 1};
    }
    enum octet_status status = octet_sessions_sync(b->sessions, b->spans, n, err);
    if (status == OCTET_OK || is_fatal(status)) return status;
    for (size_t i = 0; i < b->n_seats; i++) {
        struct seat *const seat = &b->seats[i];
        struct octet_err why;
        if (!seat->ask) continue;
        status = octet_session_sync(seat->session, seat->tokens.ids, seat->tokens.n, &why);
        if (is_fatal(status)) return octet_fail(err, status, "%s", why.message);
        if (status != OCTET_OK) status = deliver(b, seat, why.message, err);
        if (status != OCTET_OK) return status;
    }
    return OCTET_OK;
}

static enum octet_status pick_all(struct batch *b, bool *busy, struct octet_err *err) {
    *busy = b->n_seated < b->n_asks;
    for (size_t i = 0; i < b->n_seats; i++) {
        struct seat *const seat = &b->seats[i];
        if (!seat->ask) continue;
        struct octet_err why;
        enum octet_status status = pick(b, seat, &why);
        if (is_fatal(status)) return octet_fail(err, status, "%s", why.message);
        if (status != OCTET_OK || seat->finish) {
            status = deliver(b, seat, status != OCTET_OK ? why.message : NULL, err);
        }
        if (status != OCTET_OK) return status;
        *busy |= seat->ask != NULL;
    }
    return OCTET_OK;
}

static enum octet_status answer_all(struct batch *b, struct octet_err *err) {
    bool busy = true;
    while (busy) {
        if (provider_cancelled(b->provider)) return octet_fail(err, OCTET_ECANCELLED, "cancelled");
        enum octet_status status = fill_seats(b, err);
        if (status == OCTET_OK) status = step(b, err);
        if (status == OCTET_OK) status = pick_all(b, &busy, err);
        if (status != OCTET_OK) return status;
    }
    return OCTET_OK;
}

static bool go_on(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return !provider_cancelled(user);
}

static enum octet_kv_type cache_type(const struct provider *provider) {
    char value[8];
    if (!provider_setting(provider, "kv", value, sizeof value)) return OCTET_KV_F16;
    return strcmp(value, "f32") == 0    ? OCTET_KV_F32
           : strcmp(value, "q8_0") == 0 ? OCTET_KV_Q8_0
           : strcmp(value, "q4_0") == 0 ? OCTET_KV_Q4_0
                                        : OCTET_KV_F16;
}

static enum octet_status open_seats(struct batch *b, struct octet_err *err) {
    b->seats = mem_array(b->n_seats, sizeof *b->seats);
    b->sessions = mem_array(b->n_seats, sizeof *b->sessions);
    b->spans = mem_array(b->n_seats, sizeof *b->spans);
    if (!b->seats || !b->sessions || !b->spans)
        return octet_fail_memory(err, "a batch", b->n_seats);
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = (int32_t)b->n_ctx;
    options.kv_type = cache_type(b->provider);
    options.progress = go_on;
    options.user = b->provider;
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < b->n_seats && status == OCTET_OK; i++) {
        status = octet_session_open(b->provider->state, &options, &b->seats[i].session, err);
    }
    return status;
}

static void close_seats(struct batch *b) {
    for (size_t i = 0; b->seats && i < b->n_seats; i++) {
        struct seat *const seat = &b->seats[i];
        octet_session_close(seat->session);
        octet_sampler_close(seat->sampler);
        octet_tokens_free(&seat->tokens);
        buffer_free(&seat->text);
        buffer_free(&seat->piece);
        mem_free(seat->date);
        mem_free(seat->gaps);
    }
    mem_free(b->seats);
    mem_free(b->sessions);
    mem_free(b->spans);
}

static enum octet_status ask_all(struct provider *provider, const struct ask *asks, size_t n_asks,
                                 reply_fn fn, void *user, struct octet_err *err) {
    if (n_asks == 0) return OCTET_OK;
    const size_t n_seats =
        provider->options.n_parallel > 0 ? (size_t)provider->options.n_parallel : 8;
    struct batch b = {.provider = provider,
                      .model = provider->state,
                      .asks = asks,
                      .n_asks = n_asks,
                      .n_seats = n_asks < n_seats ? n_asks : n_seats,
                      .fn = fn,
                      .user = user};
    b.n_ctx = choose_context(&b);
    enum octet_status status = open_seats(&b, err);
    if (status == OCTET_OK) status = answer_all(&b, err);
    close_seats(&b);
    return status;
}

static enum octet_status open_model(struct provider *provider, struct octet_err *err) {
    const struct octet_model_options options = {.n_threads = provider->options.n_threads};
    struct octet_model *model = NULL;
    const enum octet_status status = octet_model_open(provider->url, &options, &model, err);
    if (status != OCTET_OK) return status;
    provider->state = model;
    if (!octet_chat_format(model)) provider->skills &= ~(unsigned)PROVIDER_CHATS;
    return OCTET_OK;
}

static void close_model(struct provider *provider) { octet_model_close(provider->state); }

const struct provider_kind provider_local = {
    .name = "local",
    .skills = PROVIDER_CHATS | PROVIDER_CONTINUES,
    .open = open_model,
    .ask = ask_all,
    .close = close_model,
};
