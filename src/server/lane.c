/* See lane.h. The thread's loop: seat what waits, drop what nobody wants any more, give every seat
 * its rows of the next step, compute it, pick tokens, tell. */
#include "server/lane.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "server/grammars.h"
#include "server/seat.h"

/* Rows of prompts in one step: fewer while others wait for their next token. A prompt waits for
 * another that computes at least WORTH_WAITING tokens of it. After a pause the cache keeps the ends
 * of texts too. */
enum { ROWS_ALONE = 512, ROWS_BESIDE = 96, WORTH_WAITING = 64, PAUSE_S = 2 };

/* What a lane that opens spends at most on weights, beyond what else it does, and on the prefix
 * cache. Both go on when it is open. */
#define MAPPING_S 0.2
#define FETCHING_S 1.0

struct lane {
    struct lane_options options;
    struct mailbox *mail;
    char *name;
    struct octet_model *model, *draft_model; // the latter may be NULL
    struct octet_cache *cache;
    int32_t n_ctx;
    size_t longest_token; // bytes
    time_t modified;
    struct seat *seats;              // (n_seats)
    struct octet_session **sessions; // (n_seats) of the step
    struct octet_drafter **drafters; // (n_seats) theirs, all or none NULL
    struct octet_span *spans;        // (n_seats)
    struct seat **stepping;          // (n_seats) whose they are
    size_t n_seats;
    struct grammars grammars;
    bool settled;             // the cache has seen the last jobs' ends
    bool fetched;             // the cache has in memory what it can have

    pthread_t thread, warmer;
    bool has_thread, has_warmer;
    double warm_end;   // when the warmer gives up,
    bool fits;         // unless the model fits, and
    atomic_bool asked; // nobody wants an answer yet
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, **last; // waiting, under LOCK
    atomic_bool stopping;
    struct lane_stats stats;   // under LOCK
};

static const double bucket_bounds[LANE_BUCKETS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1, 2.5, 5, 15, 60, HUGE_VAL};

double lane_bucket_s(size_t i) { return bucket_bounds[i]; }

static void count(struct lane_stats *stats, enum lane_time what, double seconds) {
    size_t i = 0;
    while (seconds > bucket_bounds[i]) i++;
    stats->times[what].counts[i]++;
    stats->times[what].sum += seconds;
}

/* ---- Telling, on the mail's thread ----------------------------------------------------------- */

static bool take_reports(struct job *job, const struct token_report *tokens, size_t n) {
    if (!mem_reserve((void **)&job->tokens, &job->tokens_cap, job->n_tokens + n,
                     sizeof *job->tokens))
        return false;
    for (size_t i = 0; i < n; i++) job->tokens[job->n_tokens++] = tokens[i];
    return true;
}

static void deliver(void *arg) {
    struct job *const job = arg;
    struct lane *const lane = job->lane;
    pthread_mutex_lock(&lane->lock);
    struct buffer text = job->unread.text;
    job->unread.text = (struct buffer){NULL, 0, 0};
    const bool fine = take_reports(job, job->unread.tokens, job->unread.n_tokens);
    job->unread.n_tokens = 0;
    job->unread.posted = false;
    const bool ended = job->unread.ended;
    pthread_mutex_unlock(&lane->lock);
    if (!fine || (text.n > 0 && !buffer_append(&job->text, text.bytes, text.n))) job_cancel(job);
    if (text.n > 0 && !atomic_load(&job->cancelled)) job->on_text(job, text.bytes, text.n);
    buffer_free(&text);
    if (!ended) return;
    if (!atomic_load(&job->cancelled)) job->on_done(job);
    job_free(job);
}

/* ---- Telling, on the lane's thread ----------------------------------------------------------- */

/* Under the lock. */
static void post(struct lane *lane, struct job *job) {
    if (job->unread.posted) return;
    job->unread.posted = true;
    job->mail = (struct mail){.fn = deliver, .arg = job};
    mailbox_post(lane->mail, &job->mail);
}

static bool add_report(struct job *job, const struct token_report *report) {
    if (!mem_reserve((void **)&job->unread.tokens, &job->unread.tokens_cap,
                     job->unread.n_tokens + 1, sizeof *report))
        return false;
    job->unread.tokens[job->unread.n_tokens++] = *report;
    return true;
}

/* Of a job that next_job gave. */
static void end_job(struct lane *lane, struct job *job, enum finish finish) {
    pthread_mutex_lock(&lane->lock);
    if (finish != FINISH_NONE) job->finish = finish;
    job->ended = probe_seconds();
    struct lane_stats *const s = &lane->stats;
    s->n_active--;
    s->n_cancelled += job->finish == FINISH_GONE;
    s->n_failed += job->finish == FINISH_ERROR;
    s->generated_tokens += job->n_generated;
    s->drafted_tokens += job->n_drafted;
    s->accepted_tokens += job->n_accepted;
    job->unread.ended = true;
    post(lane, job);
    pthread_mutex_unlock(&lane->lock);
}

static void leave_seat(struct lane *lane, struct seat *seat, enum finish finish) {
    struct job *const job = seat->job;
    seat_count_drafts(seat);
    seat->job = NULL;
    seat->ready = false;
    seat->used = probe_seconds();
    end_job(lane, job, finish);
}

static void fail_seat(struct lane *lane, struct seat *seat, enum octet_status status,
                      const struct octet_err *err) {
    seat->job->err = *err;
    seat->job->err.status = status;
    leave_seat(lane, seat, FINISH_ERROR);
}

/* ---- Seating --------------------------------------------------------------------------------- */

/* The free seat that holds most of the prompt, else the one free for longest. */
static struct seat *choose_seat(struct lane *lane, const struct job *job) {
    struct seat *best = NULL;
    size_t best_common = 0;
    for (size_t i = 0; i < lane->n_seats; i++) {
        struct seat *const seat = &lane->seats[i];
        if (seat->job) continue;
        const size_t common = seat_common(seat, &job->prompt);
        if (best && common < best_common) continue;
        if (best && common == best_common && seat->used >= best->used) continue;
        best = seat;
        best_common = common;
    }
    return best;
}

/* On the real-time clock. */
static struct timespec time_after(double seconds) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    const long long ns = end.tv_nsec + (long long)(seconds * 1e9);
    end.tv_sec += ns / 1000000000;
    end.tv_nsec = ns % 1000000000;
    return end;
}

/* What the cache does while nobody asks: a page more in memory, or its share of sessions' ends. */
static void tend_cache(struct lane *lane) {
    pthread_mutex_unlock(&lane->lock);
    if (!lane->fetched) {
        lane->fetched = !octet_cache_fetch(lane->cache);
    } else {
        octet_cache_settle(lane->cache);
        lane->settled = true;
    }
    pthread_mutex_lock(&lane->lock);
    octet_cache_get_info(lane->cache, &lane->stats.cache);
}

/* Under the lock. */
static void wait_for_job(struct lane *lane) {
    while (!lane->first && !lane->stopping) {
        const struct timespec end = time_after(PAUSE_S);
        if (!lane->fetched)
            tend_cache(lane);
        else if (lane->settled)
            pthread_cond_wait(&lane->wake, &lane->lock);
        else if (pthread_cond_timedwait(&lane->wake, &lane->lock, &end) == ETIMEDOUT)
            tend_cache(lane);
    }
}

/* The next job that waits; waits for one while there is nothing else to do. NULL: none. */
static struct job *next_job(struct lane *lane, bool may_wait, bool *stopping) {
    pthread_mutex_lock(&lane->lock);
    if (may_wait) wait_for_job(lane);
    *stopping = lane->stopping;
    struct job *const job = lane->first;
    if (job) {
        lane->first = job->next;
        if (!lane->first) lane->last = &lane->first;
        lane->stats.n_waiting--;
        lane->stats.n_active++;
        lane->settled = false;
    }
    pthread_mutex_unlock(&lane->lock);
    return job;
}

static size_t n_active(const struct lane *lane) {
    size_t n = 0;
    for (size_t i = 0; i < lane->n_seats; i++) n += lane->seats[i].job != NULL;
    return n;
}

/* Prompts whose own chances are wanted are not shared out over steps. */
static void score_prompt(struct lane *lane, struct seat *seat) {
    struct token_report *reports = NULL;
    struct octet_err err;
    turns_take(lane->options.turns);
    enum octet_status status = seat_score(seat, lane->model, &reports, &err);
    turns_end(lane->options.turns);
    pthread_mutex_lock(&lane->lock);
    for (size_t i = 0; i < seat->n_prompt && status == OCTET_OK; i++)
        if (!add_report(seat->job, &reports[i])) status = octet_fail_memory(&err, "chances", 0);
    pthread_mutex_unlock(&lane->lock);
    mem_free(reports);
    if (status != OCTET_OK && status != OCTET_ECANCELLED) fail_seat(lane, seat, status, &err);
}

static void seat_job(struct lane *lane, struct job *job) {
    if (atomic_load(&job->cancelled)) {
        end_job(lane, job, FINISH_GONE);
        return;
    }
    struct octet_err err = {0};
    struct seat *const seat = choose_seat(lane, job);
    const size_t n_prompt = job->prompt.n;
    const enum octet_status status = seat_take(seat, lane->model, job, &err);
    pthread_mutex_lock(&lane->lock);
    lane->stats.prompt_tokens += n_prompt;
    lane->stats.cached_tokens += job->n_cached;
    if (status == OCTET_OK) count(&lane->stats, LANE_QUEUE, job->started - job->submitted);
    pthread_mutex_unlock(&lane->lock);
    if (status != OCTET_OK)
        fail_seat(lane, seat, status, &err);
    else if (job->score_prompt)
        score_prompt(lane, seat);
}

/* Fills free seats; false: the lane is to end. */
static bool seat_jobs(struct lane *lane) {
    bool stopping = atomic_load(&lane->stopping);
    while (!stopping && n_active(lane) < lane->n_seats) {
        struct job *const job = next_job(lane, n_active(lane) == 0, &stopping);
        if (!job) break;
        seat_job(lane, job);
    }
    return !stopping;
}

static void drop_unwanted(struct lane *lane) {
    for (size_t i = 0; i < lane->n_seats; i++) {
        struct seat *const seat = &lane->seats[i];
        if (seat->job && atomic_load(&seat->job->cancelled))
            leave_seat(lane, seat, FINISH_GONE);
        else if (seat->job && atomic_load(&seat->job->enough))
            leave_seat(lane, seat, FINISH_STOP);
    }
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static bool is_decoding(const struct seat *seat) {
    return seat->job && seat->tokens.n > seat->n_prompt &&
           seat->n_computed + 1 == seat->tokens.n;
}

static bool is_prefilling(const struct seat *seat) {
    return seat->job && !seat->ready && seat->n_computed < seat->n_prompt;
}

/* Whether an older prompt is about to compute what this one begins with. */
static bool waits_for_another(const struct lane *lane, const struct seat *seat) {
    for (size_t i = 0; i < lane->n_seats; i++) {
        const struct seat *const other = &lane->seats[i];
        if (other == seat || !is_prefilling(other)) continue;
        if (other->job->started >= seat->job->started) continue;
        const size_t shared = seat_shared(seat, other);
        if (shared >= seat->n_computed + WORTH_WAITING && shared > other->n_computed) return true;
    }
    return false;
}

/* What others have computed since the job began need not be computed again. */
static void take_over(struct lane *lane, struct seat *seat) {
    const size_t n_gained = seat_reuse(seat);
    if (n_gained == 0) return;
    pthread_mutex_lock(&lane->lock);
    lane->stats.cached_tokens += n_gained;
    pthread_mutex_unlock(&lane->lock);
}

static size_t prompt_rows(const struct lane *lane, bool *decodes) {
    *decodes = false;
    for (size_t i = 0; i < lane->n_seats; i++) *decodes |= is_decoding(&lane->seats[i]);
    return *decodes || turns_wanted(lane->options.turns) ? ROWS_BESIDE : ROWS_ALONE;
}

/* Whoever has a token to compute gets one row; prompts share the rest. */
static size_t plan_step(struct lane *lane, bool *decodes) {
    size_t n = 0, rows = prompt_rows(lane, decodes);
    for (size_t i = 0; i < lane->n_seats; i++) {
        struct seat *const seat = &lane->seats[i];
        if (!seat->job || seat->job->vectors || seat->ready) continue;
        size_t end = seat->tokens.n;
        if (!is_decoding(seat)) {
            if (rows == 0 || waits_for_another(lane, seat)) continue;
            if (is_prefilling(seat)) take_over(lane, seat);
            const size_t from = seat->n_computed;
            if (end > from + rows) end = from + rows;
            rows -= end - from < rows ? end - from : rows;
        }
        lane->sessions[n] = seat->session;
        lane->drafters[n] = seat->drafter;
        lane->spans[n] = (struct octet_span){seat->tokens.ids, end, 1};
        lane->stepping[n++] = seat;
    }
    return n;
}

static void note_computed(struct lane *lane, size_t n) {
    for (size_t i = 0; i < n; i++) seat_note(lane->stepping[i], lane->spans[i].n);
}

static void mark_ready(struct lane *lane, size_t n) {
    for (size_t i = 0; i < n; i++)
        lane->stepping[i]->ready = lane->spans[i].n == lane->stepping[i]->tokens.n;
}

/* Where one seat spoils the step, each goes alone, and only that one fails. */
static void step_alone(struct lane *lane, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct octet_err err;
        const enum octet_status status = seat_sync(lane->stepping[i], lane->spans[i].n, &err);
        if (status == OCTET_ECANCELLED) return;
        if (status == OCTET_OK)
            lane->stepping[i]->ready = lane->spans[i].n == lane->stepping[i]->tokens.n;
        else
            fail_seat(lane, lane->stepping[i], status, &err);
    }
}

static enum octet_status step_together(struct lane *lane, size_t n, struct octet_err *err) {
    return lane->options.drafts ? octet_drafters_sync(lane->drafters, lane->spans, n, err)
                                : octet_sessions_sync(lane->sessions, lane->spans, n, err);
}

static void step(struct lane *lane) {
    bool decodes;
    const size_t n = plan_step(lane, &decodes);
    struct octet_err err;
    if (n == 0) return;
    turns_take(lane->options.turns);
    const double begun = probe_seconds();
    const enum octet_status status = step_together(lane, n, &err);
    if (status == OCTET_OK)
        mark_ready(lane, n);
    else if (status != OCTET_ECANCELLED)
        step_alone(lane, n);
    turns_end(lane->options.turns);
    note_computed(lane, n);
    pthread_mutex_lock(&lane->lock);
    octet_cache_get_info(lane->cache, &lane->stats.cache);
    *(decodes ? &lane->stats.decode_s : &lane->stats.prefill_s) += probe_seconds() - begun;
    pthread_mutex_unlock(&lane->lock);
}

/* A piece of a text that is to become a vector. */
static void step_vectors(struct lane *lane, struct seat *seat) {
    bool decodes;
    struct octet_err err;
    struct job *const job = seat->job;
    const size_t n_rows = prompt_rows(lane, &decodes);
    turns_take(lane->options.turns);
    const double begun = probe_seconds();
    const enum octet_status status =
        vectors_step(job->vectors, lane->model, seat->session, &job->prompt, n_rows, &err);
    turns_end(lane->options.turns);
    pthread_mutex_lock(&lane->lock);
    lane->stats.prefill_s += probe_seconds() - begun;
    pthread_mutex_unlock(&lane->lock);
    if (status != OCTET_OK && status != OCTET_ECANCELLED)
        fail_seat(lane, seat, status, &err);
    else if (job->vectors->n_done == job->vectors->n)
        leave_seat(lane, seat, FINISH_STOP);
}

static void pick(struct lane *lane, struct seat *seat) {
    struct job *const job = seat->job;
    struct told told;
    struct octet_err err;
    const double before = job->first;
    const enum octet_status status = seat_pick(seat, lane->model, &told, &err);
    if (status != OCTET_OK) {
        fail_seat(lane, seat, status, &err);
        return;
    }
    pthread_mutex_lock(&lane->lock);
    struct lane_stats *const s = &lane->stats;
    if (before == 0 && job->first > 0) {
        count(s, LANE_PREFILL, job->first - job->started);
        count(s, LANE_FIRST, job->first - job->submitted);
    } else if (job->first > 0) {
        count(s, LANE_TOKEN, probe_seconds() - seat->used);
    }
    seat->used = probe_seconds();
    const bool fine = buffer_append(&job->unread.text, told.text ? told.text : "", told.n_bytes) &&
                      (!told.has_report || add_report(job, &told.report));
    if (told.n_bytes > 0 || told.has_report) post(lane, job);
    pthread_mutex_unlock(&lane->lock);
    if (!fine) {
        octet_fail_memory(&err, "an answer", told.n_bytes);
        fail_seat(lane, seat, OCTET_EMEM, &err);
    } else if (job->finish != FINISH_NONE) {
        leave_seat(lane, seat, FINISH_NONE);
    }
}

/* Picks a token, and as many more as were guessed. */
static void pick_all(struct lane *lane, struct seat *seat) {
    while (seat->job && seat->ready && !atomic_load(&seat->job->cancelled)) {
        struct octet_err err;
        pick(lane, seat);
        const enum octet_status status = seat->job ? seat_follow_guess(seat, &err) : OCTET_OK;
        if (status != OCTET_OK) fail_seat(lane, seat, status, &err);
    }
}

static void *run(void *arg) {
    struct lane *const lane = arg;
    while (seat_jobs(lane)) {
        drop_unwanted(lane);
        step(lane);
        for (size_t i = 0; i < lane->n_seats; i++) pick_all(lane, &lane->seats[i]);
        for (size_t i = 0; i < lane->n_seats; i++)
            if (lane->seats[i].job && lane->seats[i].job->vectors)
                step_vectors(lane, &lane->seats[i]);
    }
    struct job *job;
    bool stopping;
    for (size_t i = 0; i < lane->n_seats; i++)
        if (lane->seats[i].job) leave_seat(lane, &lane->seats[i], FINISH_GONE);
    while ((job = next_job(lane, false, &stopping)) != NULL) end_job(lane, job, FINISH_GONE);
    return NULL;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

/* Asked often while a step is computed. */
static bool goes_on(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    const struct seat *const seat = user;
    return !atomic_load(seat->stopping) && (!seat->job || !atomic_load(&seat->job->cancelled));
}

static size_t longest_token(const struct octet_model *model) {
    size_t longest = 4; // one that stands for an unknown character
    for (size_t i = 0; i < octet_n_tokens(model); i++) {
        const char *bytes;
        size_t n = 0;
        octet_token_bytes(model, (int32_t)i, true, &bytes, &n);
        if (n > longest) longest = n;
    }
    return longest;
}

/* Pages in memory, those used last first, as many as there is time for. */
static void fetch_pages(struct lane *lane) {
    const double end = probe_seconds() + FETCHING_S;
    while (!lane->fetched && probe_seconds() < end)
        lane->fetched = !octet_cache_fetch(lane->cache);
    seat_resume(&lane->seats[0]);
    octet_cache_get_info(lane->cache, &lane->stats.cache);
}

static enum octet_status open_seats(struct lane *lane, struct octet_err *err) {
    const size_t n = (size_t)lane->options.n_seats;
    lane->seats = mem_array(n, sizeof *lane->seats);
    lane->sessions = mem_array(n, sizeof *lane->sessions);
    lane->drafters = mem_array(n, sizeof *lane->drafters);
    lane->spans = mem_array(n, sizeof *lane->spans);
    lane->stepping = mem_array(n, sizeof *lane->stepping);
    if (!lane->seats || !lane->sessions || !lane->drafters || !lane->spans || !lane->stepping)
        return octet_fail_memory(err, "seats", n * sizeof *lane->seats);
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = lane->options.n_ctx;
    options.kv_type = (enum octet_kv_type)lane->options.kv_type;
    options.progress = goes_on;
    const struct octet_cache_options cache_options = {.kv_type = options.kv_type,
                                                      .ram_bytes = lane->options.cache_ram,
                                                      .folder = lane->options.cache_folder,
                                                      .disk_bytes = lane->options.cache_disk};
    enum octet_status status = octet_cache_open(lane->model, &cache_options, &lane->cache, err);
    options.cache = lane->cache;
    lane->options.draft.model = lane->draft_model;
    const struct octet_draft_options *const draft =
        lane->options.drafts ? &lane->options.draft : NULL;
    for (size_t i = 0; i < n && status == OCTET_OK; i++) {
        options.user = &lane->seats[i];
        status = seat_open(&lane->seats[i], lane->model, &options, draft, err);
        lane->seats[i].stopping = &lane->stopping;
        lane->n_seats++;
    }
    if (status != OCTET_OK) return status;
    lane->n_ctx = octet_session_n_ctx(lane->seats[0].session);
    fetch_pages(lane);
    return OCTET_OK;
}

static bool may_warm(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    struct lane *const lane = user;
    const bool idle = lane->fits && !atomic_load(&lane->asked);
    return !atomic_load(&lane->stopping) && (idle || probe_seconds() < lane->warm_end);
}

static void *run_warmer(void *arg) {
    struct lane *const lane = arg;
    octet_model_warm(lane->model, may_warm, lane, NULL);
    return NULL;
}

/* All weights where that was asked for. Else a thread reads and maps them, so that the first
 * request need not, while the lane opens and after, until there is one: two readers at different
 * places of a disk hinder each other. Of a model that does not fit beside what else is in memory it
 * only maps what is there: how fast that goes shows which part is. */
static enum octet_status warm_weights(struct lane *lane, struct octet_err *err) {
    if (lane->options.warm)
        return octet_model_warm(lane->model, lane->options.warm, lane->options.warm_user, err);
    struct octet_model_info info;
    octet_model_get_info(lane->model, &info);
    lane->fits = info.file_bytes < probe_ram_available();
    lane->warm_end = probe_seconds() + MAPPING_S;
    lane->has_warmer = pthread_create(&lane->warmer, NULL, run_warmer, lane) == 0;
    return OCTET_OK; // without the thread, requests do its work
}

static void wait_for_warmer(struct lane *lane) {
    const struct timespec end = time_after(MAPPING_S);
    if (lane->has_warmer)
        lane->has_warmer = pthread_timedjoin_np(lane->warmer, NULL, &end) != 0;
}

static enum octet_status open_models(struct lane *lane, struct octet_err *err) {
    const struct lane_options *const o = &lane->options;
    const struct octet_model_options model_options = {.n_threads = o->n_threads};
    enum octet_status status = octet_model_open(o->path, &model_options, &lane->model, err);
    if (status == OCTET_OK && o->drafts && o->draft_path)
        status = octet_model_open(o->draft_path, &model_options, &lane->draft_model, err);
    if (status == OCTET_OK) status = warm_weights(lane, err);
    return status;
}

enum octet_status lane_open(const struct lane_options *options, struct mailbox *mail,
                            struct lane **out, struct octet_err *err) {
    *out = NULL;
    struct lane *const lane = mem_alloc(sizeof *lane);
    if (!lane) return octet_fail_memory(err, "a model", sizeof *lane);
    lane->options = *options;
    lane->mail = mail;
    lane->last = &lane->first;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->wake, NULL);
    grammars_open(&lane->grammars);
    struct stat file;
    if (stat(options->path, &file) == 0) lane->modified = file.st_mtime;
    lane->name = mem_strdup(options->name, strlen(options->name));
    enum octet_status status =
        lane->name ? open_models(lane, err) : octet_fail_memory(err, "a name", 0);
    if (status == OCTET_OK) status = open_seats(lane, err);
    if (status == OCTET_OK) lane->longest_token = longest_token(lane->model);
    if (status == OCTET_OK) wait_for_warmer(lane);
    if (status == OCTET_OK) {
        lane->has_thread = pthread_create(&lane->thread, NULL, run, lane) == 0;
        if (!lane->has_thread) status = octet_fail(err, OCTET_EMEM, "no thread for a model");
    }
    if (status == OCTET_OK)
        *out = lane;
    else
        lane_close(lane);
    return status;
}

void lane_stop(struct lane *lane) {
    pthread_mutex_lock(&lane->lock);
    atomic_store(&lane->stopping, true);
    pthread_cond_signal(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
    if (lane->has_thread) pthread_join(lane->thread, NULL);
    if (lane->has_warmer) pthread_join(lane->warmer, NULL);
    lane->has_thread = lane->has_warmer = false;
}

void lane_close(struct lane *lane) {
    if (!lane) return;
    lane_stop(lane);
    for (size_t i = 0; i < lane->n_seats; i++) seat_close(&lane->seats[i]);
    mem_free(lane->seats);
    mem_free(lane->sessions);
    mem_free(lane->drafters);
    mem_free(lane->spans);
    mem_free(lane->stepping);
    octet_cache_close(lane->cache);
    grammars_close(&lane->grammars);
    octet_model_close(lane->draft_model);
    octet_model_close(lane->model);
    pthread_cond_destroy(&lane->wake);
    pthread_mutex_destroy(&lane->lock);
    mem_free(lane->name);
    mem_free(lane);
}

/* ---- From other threads ---------------------------------------------------------------------- */

const char *lane_name(const struct lane *lane) { return lane->name; }
const struct octet_model *lane_model(const struct lane *lane) { return lane->model; }
int32_t lane_n_ctx(const struct lane *lane) { return lane->n_ctx; }
size_t lane_most_bytes(const struct lane *lane) {
    return (size_t)lane->n_ctx * lane->longest_token;
}
time_t lane_modified(const struct lane *lane) { return lane->modified; }
int32_t lane_n_seats(const struct lane *lane) { return lane->options.n_seats; }

void lane_get_stats(struct lane *lane, struct lane_stats *out) {
    pthread_mutex_lock(&lane->lock);
    *out = lane->stats;
    pthread_mutex_unlock(&lane->lock);
}

enum octet_status lane_grammar(struct lane *lane, bool schema, const char *source, size_t n_bytes,
                               struct octet_grammar **out, struct octet_err *err) {
    return grammars_get(&lane->grammars, lane->model, schema, source, n_bytes, out, err);
}

static enum octet_status check_texts(const struct lane *lane, const struct vectors *vectors,
                                     struct octet_err *err) {
    for (size_t i = 0; i < vectors->n; i++) {
        const size_t n = vectors->ends[i] - (i > 0 ? vectors->ends[i - 1] : 0);
        if (n == 0) return octet_fail(err, OCTET_EARG, "text %zu is empty", i);
        if (n > (size_t)lane->n_ctx)
            return octet_fail(err, OCTET_ECONTEXT,
                              "text %zu has at least %zu tokens, and the context of this server "
                              "holds %d (context_length_exceeded)",
                              i, n, lane->n_ctx);
    }
    return OCTET_OK;
}

static enum octet_status check_prompt(const struct lane *lane, const struct job *job,
                                      struct octet_err *err) {
    if (job->vectors) return check_texts(lane, job->vectors, err);
    if (job->prompt.n == 0) return octet_fail(err, OCTET_EARG, "the prompt is empty");
    if (job->prompt.n >= (size_t)lane->n_ctx)
        return octet_fail(err, OCTET_ECONTEXT,
                          "the prompt has at least %zu tokens, and the context of this server "
                          "holds %d with the answer (context_length_exceeded)",
                          job->prompt.n, lane->n_ctx);
    return OCTET_OK;
}

enum octet_status lane_submit(struct lane *lane, struct job *job, struct octet_err *err) {
    const enum octet_status status = check_prompt(lane, job, err);
    if (status != OCTET_OK) return status;
    atomic_store(&lane->asked, true);
    pthread_mutex_lock(&lane->lock);
    // Who waits while a seat is free does not count as waiting: the thread is on its way to them.
    const size_t n_seats = (size_t)lane->options.n_seats;
    const bool full = lane->stats.n_active + lane->stats.n_waiting >=
                          n_seats + (size_t)lane->options.n_queue ||
                      lane->stopping;
    if (full) {
        lane->stats.n_refused++;
    } else {
        job->lane = lane;
        job->next = NULL;
        job->submitted = probe_seconds();
        *lane->last = job;
        lane->last = &job->next;
        lane->stats.n_waiting++;
        lane->stats.n_jobs++;
        pthread_cond_signal(&lane->wake);
    }
    pthread_mutex_unlock(&lane->lock);
    if (full) return octet_fail(err, OCTET_EUNSUPPORTED, "too many requests wait; try again");
    return OCTET_OK;
}
