/* Sessions: what a sequence holds, and bringing it to the tokens the caller wants. One path serves
 * prefill, decode, several sequences at once and whole-prompt scoring: plan the next step's rows,
 * run it, hand out the logits asked for. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "engine/cache.h"
#include "engine/model.h"
#include "engine/session.h"

/* ROLLBACK: tokens that can be dropped again without loss even where a ring holds the rest. */
enum { DEFAULT_CTX = 4096, DEFAULT_CHUNK = 512, MAX_CHUNK = 8192, SCORE_ROWS = 64, ROLLBACK = 64 };

struct octet_session {
    struct octet_model *model;
    size_t n_ctx, chunk;
    octet_progress_fn progress;
    void *user;
    struct kv kv;
    struct octet_tokens held;
    struct octet_cache *cache; // NULL: none
    struct cache_member member;
    float *logits; // (logits_end - logits_from, n_vocab) of those positions; the last are wanted
    size_t cap_logits; // rows
    size_t logits_from, logits_end;
};

/* ---- Opening ----------------------------------------------------------------------------------
 */

static enum octet_status check_options(const struct octet_model *model,
                                       const struct octet_session_options *o,
                                       struct octet_session *s, struct octet_err *err) {
    if (model->vocab_only)
        return octet_fail(err, OCTET_EARG, "%s: opened for its vocabulary only",
                          gguf_path(model->file));
    size_t n_train = model->m.shape.n_ctx_train;
    if (o->n_ctx < 0 || (size_t)o->n_ctx > n_train)
        return octet_fail(err, OCTET_EARG,
                          "a context of %d tokens: this model was trained for at most %zu",
                          o->n_ctx, n_train);
    if (o->prefill_chunk < 0 || o->prefill_chunk > MAX_CHUNK)
        return octet_fail(err, OCTET_EARG, "prefill_chunk: expected 0 to %d, found %d", MAX_CHUNK,
                          o->prefill_chunk);
    if (o->kv_type < OCTET_KV_F16 || o->kv_type > OCTET_KV_Q4_0)
        return octet_fail(err, OCTET_EARG,
                          "kv_type: expected OCTET_KV_F16, _F32, _Q8_0 or _Q4_0, found %d",
                          (int)o->kv_type);
    if (o->cache && !cache_fits(o->cache, model, o->kv_type))
        return octet_fail(err, OCTET_EARG, "cache: belongs to another model or kv_type");
    s->n_ctx = o->n_ctx ? (size_t)o->n_ctx : n_train < DEFAULT_CTX ? n_train : DEFAULT_CTX;
    s->chunk = o->prefill_chunk ? (size_t)o->prefill_chunk : DEFAULT_CHUNK;
    if (s->chunk > s->n_ctx) s->chunk = s->n_ctx;
    s->progress = o->progress;
    s->user = o->user;
    return OCTET_OK;
}

static enum octet_status reserve_logits(struct octet_session *s, size_t n, struct octet_err *err) {
    void *logits = s->logits;
    size_t row_bytes = s->model->m.shape.n_vocab * sizeof *s->logits;
    if (!mem_reserve(&logits, &s->cap_logits, n, row_bytes))
        return octet_fail_memory(err, "logits", n * row_bytes);
    s->logits = logits;
    return OCTET_OK;
}

/* Room for the largest step, or for going back by as much as a guess is long. */
static enum octet_status open_kv(struct octet_session *s, const struct shape *shape,
                                 enum octet_kv_type type, struct octet_err *err) {
    size_t rows = s->chunk > ROLLBACK ? s->chunk : ROLLBACK;
    return kv_open(&s->kv, shape, s->n_ctx, rows, type, err);
}

enum octet_status octet_session_open(struct octet_model *model,
                                     const struct octet_session_options *options,
                                     struct octet_session **out, struct octet_err *err) {
    static const struct octet_session_options defaults = OCTET_SESSION_OPTIONS_DEFAULTS;
    if (!options) options = &defaults;
    *out = NULL;
    struct octet_session *s = mem_alloc(sizeof *s);
    if (!s) return octet_fail_memory(err, "session", sizeof *s);
    s->model = model;
    enum octet_status status = check_options(model, options, s, err);
    if (status == OCTET_OK) status = open_kv(s, &model->m.shape, options->kv_type, err);
    if (status == OCTET_OK) status = reserve_logits(s, 1, err);
    if (status == OCTET_OK && options->cache) {
        s->cache = options->cache;
        s->member = (struct cache_member){.kv = &s->kv, .held = &s->held};
        cache_join(s->cache, &s->member);
    }
    if (status == OCTET_OK)
        *out = s;
    else
        octet_session_close(s);
    return status;
}

void octet_session_close(struct octet_session *s) {
    if (!s) return;
    if (s->cache) {
        cache_keep_tail(s->cache, &s->member);
        cache_leave(s->cache, &s->member);
    }
    kv_close(&s->kv);
    octet_tokens_free(&s->held);
    mem_free(s->logits);
    mem_free(s);
}

enum octet_status octet_memory_plan(const struct octet_model *model,
                                    const struct octet_session_options *options,
                                    struct octet_memory *out, struct octet_err *err) {
    static const struct octet_session_options defaults = OCTET_SESSION_OPTIONS_DEFAULTS;
    if (!options) options = &defaults;
    *out = (struct octet_memory){0};
    struct octet_session s = {0};
    const struct shape *shape = &model->m.shape;
    enum octet_status status = check_options(model, options, &s, err);
    if (status == OCTET_OK) status = open_kv(&s, shape, options->kv_type, err);
    if (status != OCTET_OK) return status;
    struct step step;
    size_t n_bytes = step_layout(&step, &model->m, s.chunk, pool_n_threads(model->pool), NULL);
    if (n_bytes == SIZE_MAX) status = octet_fail_memory(err, "activations", n_bytes);
    for (size_t i = 0; i < model->file->n_parts; i++) out->weights += model->file->parts[i].n_bytes;
    out->weights -= weights_rows_only(&model->m.w);
    out->kv = octet_session_kv_bytes(&s);
    // Logits: of the step and of the session.
    out->workspace = n_bytes + 2 * shape->n_vocab * sizeof(float);
    kv_close(&s.kv);
    return status;
}

/* ---- Planning ---------------------------------------------------------------------------------
 */

/* One session on its way to its tokens. */
struct journey {
    struct octet_session *session;
    struct octet_span want;
    size_t from; // rows of the current step: tokens from .. from + n - 1
    size_t n;
    size_t done_before, total; // for progress
};

static enum octet_status check_tokens(const struct octet_session *s, const struct octet_span *want,
                                      struct octet_err *err) {
    if (want->n == 0) return octet_fail(err, OCTET_EARG, "an empty token sequence has no logits");
    if (want->n > s->n_ctx)
        return octet_fail(
            err, OCTET_ECONTEXT,
            "%zu tokens do not fit the context of %zu; shorten the prompt or ask for a "
            "larger context (this model: up to %zu)",
            want->n, s->n_ctx, s->model->m.shape.n_ctx_train);
    for (size_t i = 0; i < want->n; i++)
        if (want->tokens[i] < 0 || (size_t)want->tokens[i] >= s->model->m.shape.n_vocab)
            return octet_fail(err, OCTET_EARG, "token %zu: expected an id of 0 to %zu, found %d", i,
                              s->model->m.shape.n_vocab - 1, want->tokens[i]);
    return OCTET_OK;
}

static void forget_from(struct octet_session *s, size_t n) {
    if (n == 0) kv_clear(&s->kv);
    s->held.n = n;
    if (s->logits_end > n) s->logits_end = n;
    if (s->logits_from > n) s->logits_from = n;
}

/* The first position whose logits are wanted. */
static size_t first_wanted(const struct octet_span *want) {
    size_t n = want->n_logits ? want->n_logits : 1;
    return n < want->n ? want->n - n : 0;
}

/* Takes more of the wanted tokens from the cache than the N that the session holds itself; false:
 * there is no more. */
static bool restore_prefix(struct octet_session *s, const struct octet_span *want, size_t n) {
    void *ids = s->held.ids;
    if (!s->cache || n >= want->n || want->n > s->n_ctx) return false;
    if (!mem_reserve(&ids, &s->held.cap, want->n, sizeof *s->held.ids)) return false;
    s->held.ids = ids;
    size_t found = cache_restore(s->cache, &s->member, want->tokens, first_wanted(want), n);
    if (found <= n) return false;
    memcpy(s->held.ids, want->tokens, found * sizeof *want->tokens);
    s->held.n = found;
    s->logits_from = s->logits_end = found;
    return true;
}

/* Tokens at the beginning of the wanted ones that the session holds. */
static size_t held_prefix(const struct octet_session *s, const struct octet_span *want) {
    size_t n = 0;
    while (n < s->held.n && n < want->n && s->held.ids[n] == want->tokens[n]) n++;
    return n;
}

/* Drops what does not match the wanted tokens; afterwards the session holds a prefix of them that
 * leaves out all whose logits are wanted, or all of them with those logits. */
static void keep_prefix(struct octet_session *s, const struct octet_span *want) {
    size_t n = held_prefix(s, want), first = first_wanted(want);
    bool complete = n == want->n && s->logits_from <= first && s->logits_end >= n;
    if (n > first && !complete) n = first;
    if (n < s->held.n && !kv_can_resume(&s->kv, n)) n = 0;
    if (!restore_prefix(s, want, n)) forget_from(s, n);
}

/* ---- Steps ------------------------------------------------------------------------------------
 */

struct step_progress {
    struct journey *journeys;
    size_t n_journeys;
};

static bool keep_going(void *user, double fraction) {
    const struct step_progress *p = user;
    for (size_t i = 0; i < p->n_journeys; i++) {
        const struct journey *j = &p->journeys[i];
        if (j->n == 0 || !j->session->progress) continue;
        uint64_t done = j->done_before + (uint64_t)(fraction * (double)j->n);
        if (!j->session->progress(j->session->user, done, j->total)) return false;
    }
    return true;
}

static enum octet_status check_finite(const struct octet_model *model, const float *logits,
                                      struct octet_err *err) {
    for (size_t i = 0; i < model->m.shape.n_vocab; i++)
        if (!isfinite(logits[i]))
            return octet_fail(err, OCTET_ENUMERIC,
                              "%s: the logit of token %zu is %f; the weights are damaged "
                              "(`octet inspect --check` finds the tensor)",
                              gguf_path(model->file), i, (double)logits[i]);
    return OCTET_OK;
}

/* Gives every unfinished journey rows of the next step, at most MAX_ROWS in all. */
static size_t plan_step(struct journey *journeys, size_t n_journeys, size_t max_rows) {
    size_t n_rows = 0;
    for (size_t i = 0; i < n_journeys; i++) {
        struct journey *j = &journeys[i];
        size_t left = j->want.n - j->session->held.n, room = max_rows - n_rows;
        j->from = j->session->held.n;
        j->n = left < j->session->chunk ? left : j->session->chunk;
        if (j->n > room) j->n = room;
        n_rows += j->n;
    }
    return n_rows;
}

/* Rows of the step whose logits are wanted: the last ones. */
static size_t n_wanted_rows(const struct journey *j) {
    size_t end = j->from + j->n, first = first_wanted(&j->want);
    return j->n == 0 || end <= first ? 0 : end - (first > j->from ? first : j->from);
}

/* Runs the planned rows through the model; x of every row is in the step's workspace afterwards. */
static enum octet_status run_step(struct octet_model *model, struct journey *journeys,
                                  size_t n_journeys, size_t n_rows, struct octet_err *err) {
    struct step *step = &model->step;
    struct step_seq *seqs = mem_array(n_journeys, sizeof *seqs);
    int32_t *tokens = mem_array(n_rows, sizeof *tokens);
    enum octet_status status = OCTET_OK;
    if (!seqs || !tokens) status = octet_fail_memory(err, "step", n_rows * sizeof *tokens);
    size_t n_seqs = 0, row = 0;
    for (size_t i = 0; i < n_journeys && status == OCTET_OK; i++) {
        const struct journey *j = &journeys[i];
        if (j->n == 0) continue;
        if (!kv_prepare(&j->session->kv, j->from, j->n))
            status = octet_fail_memory(err, "KV cache", j->session->kv.page_bytes);
        seqs[n_seqs++] = (struct step_seq){&j->session->kv, row, j->n, j->from, n_wanted_rows(j)};
        memcpy(tokens + row, j->want.tokens + j->from, j->n * sizeof *tokens);
        row += j->n;
    }
    if (status == OCTET_OK) {
        struct step_progress progress = {journeys, n_journeys};
        step->kernels = model->kernels;
        step->pool = model->pool;
        step->n = n_rows;
        step->tokens = tokens;
        step->seqs = seqs;
        step->n_seqs = n_seqs;
        step->keep_going = keep_going;
        step->user = &progress;
        if (!step_run(&model->m, step)) status = octet_fail(err, OCTET_ECANCELLED, "cancelled");
    }
    mem_free(seqs);
    mem_free(tokens);
    return status;
}

/* The session now holds the rows just computed. */
static enum octet_status advance(struct journey *j, struct octet_err *err) {
    struct octet_session *s = j->session;
    if (j->n == 0) return OCTET_OK;
    for (size_t i = 0; i < j->n; i++)
        if (octet_tokens_push(&s->held, j->want.tokens[j->from + i]) != OCTET_OK)
            return octet_fail_memory(err, "tokens", s->held.n * sizeof(int32_t));
    j->done_before += j->n;
    s->member.tail_kept = false;
    if (s->cache && s->held.n / KV_BLOCK > j->from / KV_BLOCK) cache_publish(s->cache, &s->member);
    return OCTET_OK;
}

/* The session gets ROWS of logits. One that is not finite ends them: it is an error where it is the
 * first, since the caller may have no use for the others. */
static enum octet_status keep_logits(struct journey *j, const float *logits, size_t rows,
                                     struct octet_err *err) {
    struct octet_session *s = j->session;
    size_t n_vocab = s->model->m.shape.n_vocab, at = j->from + j->n - rows;
    if (at == first_wanted(&j->want)) s->logits_from = s->logits_end = at;
    for (size_t i = 0; i < rows && s->logits_end == at + i; i++) {
        const float *row = logits + i * n_vocab;
        struct octet_err *tell = s->logits_end == s->logits_from ? err : NULL;
        enum octet_status status = check_finite(s->model, row, tell);
        if (status != OCTET_OK) return s->logits_end == s->logits_from ? status : OCTET_OK;
        float *to = s->logits + (s->logits_end++ - s->logits_from) * n_vocab;
        memcpy(to, row, n_vocab * sizeof *row);
    }
    return OCTET_OK;
}

/* Logits of the sessions that arrive with this step. */
static enum octet_status hand_out_logits(struct octet_model *model, struct journey *journeys,
                                         size_t n_journeys, struct octet_err *err) {
    struct step *step = &model->step;
    size_t n_vocab = model->m.shape.n_vocab;
    if (step->n == 0) return OCTET_OK;
    step_logits(&model->m, step, step->x, step->n, model->logits);
    const float *logits = model->logits;
    for (size_t i = 0; i < n_journeys; i++) {
        size_t rows = n_wanted_rows(&journeys[i]);
        if (rows == 0) continue;
        enum octet_status status = keep_logits(&journeys[i], logits, rows, err);
        if (status != OCTET_OK) return status;
        logits += rows * n_vocab;
    }
    return OCTET_OK;
}

static enum octet_status travel(struct octet_model *model, struct journey *journeys,
                                size_t n_journeys, struct octet_err *err) {
    size_t max_rows = n_journeys;
    for (size_t i = 0; i < n_journeys; i++)
        if (journeys[i].session->chunk > max_rows) max_rows = journeys[i].session->chunk;
    for (;;) {
        size_t n_rows = plan_step(journeys, n_journeys, max_rows);
        if (n_rows == 0) return OCTET_OK;
        size_t n_logits = 0;
        for (size_t i = 0; i < n_journeys; i++) n_logits += n_wanted_rows(&journeys[i]);
        enum octet_status status = model_reserve(model, n_rows, n_logits, err);
        double start = probe_seconds();
        if (status == OCTET_OK) status = run_step(model, journeys, n_journeys, n_rows, err);
        for (size_t i = 0; i < n_journeys && status == OCTET_OK; i++)
            status = advance(&journeys[i], err);
        if (status == OCTET_OK) status = hand_out_logits(model, journeys, n_journeys, err);
        if (status != OCTET_OK) return status;
        if (n_logits == n_rows) costs_note(&model->costs, n_rows, probe_seconds() - start);
    }
}

enum octet_status octet_sessions_sync(struct octet_session *const *sessions,
                                      const struct octet_span *spans, size_t n_sessions,
                                      struct octet_err *err) {
    if (n_sessions == 0) return OCTET_OK;
    struct octet_model *model = sessions[0]->model;
    for (size_t i = 0; i < n_sessions; i++) {
        for (size_t j = 0; j < i; j++)
            if (sessions[i] == sessions[j])
                return octet_fail(err, OCTET_EARG, "session %zu is session %zu again", i, j);
        if (sessions[i]->model != model)
            return octet_fail(err, OCTET_EARG, "session %zu belongs to another model", i);
        enum octet_status status = check_tokens(sessions[i], &spans[i], err);
        if (status != OCTET_OK) return status;
    }
    struct journey *journeys = mem_array(n_sessions, sizeof *journeys);
    if (!journeys) return octet_fail_memory(err, "batch", n_sessions * sizeof *journeys);
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < n_sessions && status == OCTET_OK; i++) {
        keep_prefix(sessions[i], &spans[i]);
        status = reserve_logits(sessions[i], spans[i].n - first_wanted(&spans[i]), err);
        journeys[i] = (struct journey){
            .session = sessions[i], .want = spans[i], .total = spans[i].n - sessions[i]->held.n};
    }
    pthread_mutex_lock(&model->lock);
    if (status == OCTET_OK) status = travel(model, journeys, n_sessions, err);
    pthread_mutex_unlock(&model->lock);
    mem_free(journeys);
    return status;
}

enum octet_status octet_session_sync(struct octet_session *session, const int32_t *tokens,
                                     size_t n_tokens, struct octet_err *err) {
    struct octet_span span = {tokens, n_tokens, 1};
    return octet_sessions_sync(&session, &span, 1, err);
}

/* ---- Every position ---------------------------------------------------------------------------
 */

/* Who hears of every position: one of the two is set. */
struct listener {
    octet_logits_fn logits;
    octet_state_fn state;
    void *user;
};

/* Logits of all rows of the step just run, SCORE_ROWS at a time. */
static enum octet_status tell_logits(struct octet_model *model, const struct journey *j,
                                     const struct listener *to, struct octet_err *err) {
    struct step *step = &model->step;
    size_t d = model->m.shape.d_model, n_vocab = model->m.shape.n_vocab;
    for (size_t row = 0; row < j->n; row += SCORE_ROWS) {
        size_t n = j->n - row < SCORE_ROWS ? j->n - row : SCORE_ROWS;
        step_logits(&model->m, step, step->x + row * d, n, model->logits);
        for (size_t i = 0; i < n; i++) {
            const float *logits = model->logits + i * n_vocab;
            enum octet_status status = check_finite(model, logits, err);
            if (status != OCTET_OK) return status;
            to->logits(to->user, j->from + row + i, logits);
            if (j->from + row + i + 1 < j->want.n) continue;
            memcpy(j->session->logits, logits, n_vocab * sizeof *logits);
            j->session->logits_from = j->want.n - 1;
            j->session->logits_end = j->want.n;
        }
    }
    return OCTET_OK;
}

static enum octet_status tell_states(struct octet_model *model, const struct journey *j,
                                     const struct listener *to, struct octet_err *err) {
    struct step *step = &model->step;
    size_t d = model->m.shape.d_model;
    step_states(&model->m, step, step->x, j->n);
    for (size_t i = 0; i < j->n; i++) {
        const float *state = step->h + i * d;
        for (size_t k = 0; k < d; k++)
            if (!isfinite(state[k]))
                return octet_fail(err, OCTET_ENUMERIC,
                                  "%s: value %zu of a hidden state is %f; the weights are damaged "
                                  "(`octet inspect --check` finds the tensor)",
                                  gguf_path(model->file), k, (double)state[k]);
        to->state(to->user, j->from + i, state);
    }
    return OCTET_OK;
}

/* Brings the session, which holds a prefix of them, to the wanted tokens. */
static enum octet_status travel_told(struct octet_session *session, const struct octet_span *want,
                                     const struct listener *to, struct octet_err *err) {
    struct octet_model *model = session->model;
    struct journey j = {.session = session, .want = *want, .total = want->n - session->held.n};
    j.want.n_logits = want->n;
    enum octet_status status = OCTET_OK;
    pthread_mutex_lock(&model->lock);
    while (status == OCTET_OK && session->held.n < want->n) {
        size_t n_rows = plan_step(&j, 1, session->chunk);
        status = model_reserve(model, n_rows, to->logits ? SCORE_ROWS : 0, err);
        if (status == OCTET_OK) status = run_step(model, &j, 1, n_rows, err);
        if (status == OCTET_OK) status = advance(&j, err);
        if (status == OCTET_OK)
            status = (to->logits ? tell_logits : tell_states)(model, &j, to, err);
    }
    pthread_mutex_unlock(&model->lock);
    return status;
}

enum octet_status octet_session_score(struct octet_session *session, const int32_t *tokens,
                                      size_t n_tokens, octet_logits_fn fn, void *user,
                                      struct octet_err *err) {
    const struct octet_span want = {tokens, n_tokens, 1};
    const enum octet_status status = check_tokens(session, &want, err);
    if (status != OCTET_OK) return status;
    forget_from(session, 0);
    return travel_told(session, &want, &(struct listener){.logits = fn, .user = user}, err);
}

enum octet_status octet_session_states(struct octet_session *session, const int32_t *tokens,
                                       size_t n_tokens, octet_state_fn fn, void *user,
                                       struct octet_err *err) {
    const struct octet_span want = {tokens, n_tokens, 1};
    const enum octet_status status = check_tokens(session, &want, err);
    if (status != OCTET_OK) return status;
    size_t n = held_prefix(session, &want);
    if (n < session->held.n && !kv_can_resume(&session->kv, n)) n = 0;
    forget_from(session, n);
    return travel_told(session, &want, &(struct listener){.state = fn, .user = user}, err);
}

/* ---- What a session tells ---------------------------------------------------------------------
 */

const float *octet_session_logits(const struct octet_session *session) {
    return session->held.n ? octet_session_logits_at(session, session->held.n - 1) : NULL;
}

const float *octet_session_logits_at(const struct octet_session *session, size_t position) {
    if (position < session->logits_from || position >= session->logits_end) return NULL;
    return session->logits + (position - session->logits_from) * session->model->m.shape.n_vocab;
}

struct octet_model *session_model(const struct octet_session *session) {
    return session->model;
}
octet_progress_fn session_progress(const struct octet_session *session, void **user) {
    *user = session->user;
    return session->progress;
}

size_t octet_session_length(const struct octet_session *session) { return session->held.n; }
int32_t octet_session_n_ctx(const struct octet_session *session) { return (int32_t)session->n_ctx; }
uint64_t octet_session_kv_bytes(const struct octet_session *session) {
    return (uint64_t)session->kv.n_blocks * session->kv.page_bytes;
}
size_t octet_session_reuse(struct octet_session *session, const int32_t *tokens, size_t n_tokens) {
    keep_prefix(session, &(struct octet_span){tokens, n_tokens, 1});
    return session->held.n;
}
void octet_session_clear(struct octet_session *session) { forget_from(session, 0); }

size_t octet_session_resume(struct octet_session *session, struct octet_tokens *out) {
    out->n = 0;
    if (!session->cache || !cache_newest(session->cache, session->n_ctx, out)) return 0;
    out->n = octet_session_reuse(session, out->ids, out->n);
    // The page that is shared now would be copied when the session goes on.
    if (out->n % KV_BLOCK > 0) kv_prepare(&session->kv, out->n, 1);
    return out->n;
}

uint64_t octet_logits_hash(uint64_t hash, const float *logits, size_t n) {
    const unsigned char *bytes = (const unsigned char *)logits;
    for (size_t i = 0; i < n * sizeof *logits; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}
