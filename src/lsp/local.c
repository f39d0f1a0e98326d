/* The model in this process: a lane, as octet serve has them, whose mail comes to the event loop.
 * Loading has a thread, so that the editor gets its answers meanwhile. See engine.h. */
#include <event2/event.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "lsp/engine.h"
#include "server/mail.h"

/* Of a prompt and its suggestion, unless a context was asked for: who types does not wait for more
 * to be read. */
enum { PATIENT_TOKENS = 2048 };

struct local {
    struct engine engine;
    struct lane_options options;
    char *path, *name;
    struct mailbox *mail;
    struct lane *lane; // NULL: not loaded yet
    pthread_t loader;
    bool has_loader;
    struct mail loaded;
    enum octet_status status;
    struct octet_err err;
    engine_ready_fn ready;
    void *user;
};

struct filling {
    struct hole *hole;
    struct job *job; // the lane's, which frees it
    filled_fn done;
    void *user;
    size_t n_prompt;
    bool over;
};

static void free_filling(struct filling *filling) {
    hole_free(filling->hole);
    mem_free(filling);
}

/* ---- Filling --------------------------------------------------------------------------------- */

static void on_text(struct job *job, const char *text, size_t n_bytes) {
    (void)text, (void)n_bytes;
    struct filling *const f = job->user;
    if (f->over) return;
    fim_cut(f->hole, job->text.bytes, job->text.n, false, &f->over);
    if (f->over) job_suffices(job);
}

static void on_done(struct job *job) {
    struct filling *const f = job->user;
    fim_keep(f->hole, &job->text);
    const struct filled filled = {
        .text = job->text.n > 0 ? job->text.bytes : "",
        .cut = job->finish == FINISH_LENGTH && !f->over,
        .method = fim_method_name(f->hole->method),
        .n_prompt = f->n_prompt,
        .n_cached = job->n_cached,
        .n_generated = job->n_generated,
        .failure = job->finish == FINISH_ERROR ? job->err.message : NULL,
    };
    f->done(f->user, &filled);
    free_filling(f);
}

static size_t room(const struct local *local) {
    const size_t n = (size_t)lane_n_ctx(local->lane);
    return local->options.n_ctx == 0 && n > PATIENT_TOKENS ? PATIENT_TOKENS : n;
}

static enum octet_status submit(struct local *local, struct filling *f, const struct wish *wish,
                                struct octet_err *err) {
    struct job *const job = f->job;
    job->sampling.temperature = 0;
    job->max_tokens = wish->max_tokens;
    job->deadline_s = wish->budget_s;
    job->on_text = on_text;
    job->on_done = on_done;
    job->user = f;
    if (wish->one_line && !job_add_stop(job, "\n")) return octet_fail_memory(err, "a job", 1);
    const enum octet_status status =
        fim_prepare(lane_model(local->lane), f->hole, room(local), job, err);
    f->n_prompt = job->prompt.n;
    return status == OCTET_OK ? lane_submit(local->lane, job, err) : status;
}

static enum octet_status fill(struct engine *engine, struct hole *hole, const struct wish *wish,
                              filled_fn done, void *user, struct filling **out,
                              struct octet_err *err) {
    struct filling *const f = mem_alloc(sizeof *f);
    struct job *const job = job_new();
    enum octet_status status = octet_fail_memory(err, "a job", sizeof *f);
    if (f && job) {
        *f = (struct filling){.hole = hole, .job = job, .done = done, .user = user};
        status = submit((struct local *)engine, f, wish, err);
    }
    *out = f;
    if (status == OCTET_OK) return OCTET_OK;
    *out = NULL;
    job_free(job);
    hole_free(hole);
    mem_free(f);
    return status;
}

static void cancel(struct filling *filling) {
    job_cancel(filling->job);
    free_filling(filling);
}

/* ---- Loading --------------------------------------------------------------------------------- */

static void on_loaded(void *arg) {
    struct local *const local = arg;
    if (local->ready) local->ready(local->user, local->status == OCTET_OK ? NULL
                                                                         : local->err.message);
}

static void *load(void *arg) {
    struct local *const local = arg;
    local->status = lane_open(&local->options, local->mail, &local->lane, &local->err);
    local->loaded = (struct mail){.fn = on_loaded, .arg = local};
    mailbox_post(local->mail, &local->loaded);
    return NULL;
}

static void close_local(struct engine *engine) {
    struct local *const local = (struct local *)engine;
    local->ready = NULL;
    if (local->has_loader) pthread_join(local->loader, NULL);
    if (local->lane) lane_stop(local->lane);
    mailbox_close(local->mail); // whose last mail comes from the lane
    lane_close(local->lane);
    mem_free(local->path);
    mem_free(local->name);
    mem_free(local);
}

static const struct engine_kind kind = {fill, cancel, close_local};

enum octet_status local_open(const struct lane_options *options, struct event_base *base,
                             engine_ready_fn ready, void *user, struct engine **out,
                             struct octet_err *err) {
    struct local *const local = mem_alloc(sizeof *local);
    if (!local) return octet_fail_memory(err, "a model", sizeof *local);
    *local = (struct local){.engine = {&kind}, .options = *options, .ready = ready, .user = user};
    local->options.path = local->path = mem_strdup(options->path, strlen(options->path));
    local->options.name = local->name = mem_strdup(options->name, strlen(options->name));
    local->mail = mailbox_open(base, NULL, NULL);
    if (local->path && local->name && local->mail)
        local->has_loader = pthread_create(&local->loader, NULL, load, local) == 0;
    if (!local->has_loader) {
        close_local(&local->engine);
        return octet_fail_memory(err, "a thread that loads the model", 0);
    }
    *out = &local->engine;
    return OCTET_OK;
}
