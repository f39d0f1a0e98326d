/* The second half of a comparison: stored answers are read, run in boxes and priced. Needs no model
 * and no network, so it can be repeated at any time from what was stored. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/threads.h"
#include "compare/compare.h"

/* Shared by the threads; STORE, FIRST_ERROR and N_DONE under LOCK. */
struct judging {
    const struct compare_options *options;
    struct store *store;
    const struct store_run *run;
    const struct task_set *set;
    const struct money_terms *terms;
    size_t n_answers, n_done;
    pthread_mutex_t lock;
    struct octet_err first_error; // status OCTET_OK: none
};

static bool cancelled(const struct judging *j) { return j->options->cancel && *j->options->cancel; }

/* Whose price list holds at HOST. A server that only speaks a vendor's protocol does not have the
 * vendor's prices: the user may list it under its host. */
static const char *vendor_of(const char *host) {
    static const char *const vendors[][2] = {{"api.openai.com", "openai"},
                                             {"api.mistral.ai", "mistral"},
                                             {"api.anthropic.com", "anthropic"}};
    for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++)
        if (strcmp(host, vendors[i][0]) == 0) return vendors[i][1];
    return host;
}

/* NAN: unpriced. */
static double usage_cost(const struct money_terms *terms, const struct asked *asked, int32_t day,
                         const struct usage *u) {
    uint64_t prompt = (uint64_t)u->prompt, completion = (uint64_t)u->completion;
    uint64_t cached = u->cached > 0 ? (uint64_t)u->cached : 0;
    uint64_t reasoning = u->reasoning > 0 ? (uint64_t)u->reasoning : 0;
    if (u->prompt < 0 || u->completion < 0 || cached > prompt || reasoning > completion) return NAN;
    const struct price_query query = {vendor_of(asked->host), asked->model, day, prompt,
                                      terms->currency};
    const struct price *price = price_find(terms->book, &query);
    if (!price) return NAN;
    const struct token_use use = {prompt - cached, cached, completion - reasoning, reasoning};
    const struct exchange_rate *used;
    return price_cost(price, &use) *
           price_exchange(terms->book, price->currency, terms->currency, day, &used);
}

static double machine_cost(const struct money_terms *terms, const struct reply *reply) {
    const struct exchange_rate *used;
    double prefill = isnan(reply->ttft_s) ? 0 : reply->ttft_s;
    struct local_cost cost = local_price(terms->local, prefill, reply->total_s - prefill);
    return (cost.energy + cost.hardware) *
           price_exchange(terms->book, terms->local->currency, terms->currency, day_today(), &used);
}

struct asked asked_of(const json_t *model) {
    return (struct asked){json_string_value(json_object_get(model, "kind")),
                          json_string_value(json_object_get(model, "host")),
                          json_string_value(json_object_get(model, "model"))};
}

const struct price *asked_price(const struct money_terms *terms, const struct asked *asked,
                                int32_t day) {
    const struct price_query query = {vendor_of(asked->host), asked->model, day, 0,
                                      terms->currency};
    return price_find(terms->book, &query);
}

double answer_cost(const struct money_terms *terms, const struct asked *asked,
                   const struct reply *reply) {
    if (strcmp(asked->kind, "reference") == 0) return NAN; // nobody was paid
    if (strcmp(asked->kind, "local") == 0) return machine_cost(terms, reply);
    int32_t day = 0;
    char date[11] = "";
    if (reply->date) strncat(date, reply->date, 10);
    if (!day_parse(date, &day)) return NAN;
    double cost = usage_cost(terms, asked, day, &reply->usage);
    if (reply->lost.prompt > 0) cost += usage_cost(terms, asked, day, &reply->lost);
    return cost;
}

/* ---- One answer ------------------------------------------------------------------------------ */

static enum funnel find_state(const struct reading *reading, const struct verdict *v) {
    if (!reading->has_code) return FUNNEL_NO_CODE;
    if (v && v->base == GRADE_PASSES)
        return !v->has_plus || v->plus == GRADE_PASSES ? FUNNEL_PASSES_PLUS : FUNNEL_PASSES_BASE;
    if (reading->truncated) return FUNNEL_TRUNCATED;
    if (!reading->parses || (v && v->base == GRADE_NOT_COMPILED)) return FUNNEL_DOES_NOT_PARSE;
    if (!reading->has_entry || (v && v->base == GRADE_NO_ENTRY)) return FUNNEL_ENTRY_MISSING;
    if (reading->hollow) return FUNNEL_HOLLOW;
    return v && v->base == GRADE_TIMES_OUT ? FUNNEL_TIMES_OUT : FUNNEL_FAILS;
}

/* Grades what was read; the strict code only where it differs. */
static enum octet_status run_code(const struct judging *j, const struct task *task,
                                  const struct reading *reading, struct verdict *lenient,
                                  struct verdict *strict, bool *has_strict, struct octet_err *err) {
    const struct grade_options options = {j->options->unsafe_exec, j->options->cancel,
                                          false};
    enum octet_status status = grade_code(task, reading->lenient, &options, lenient, err);
    *has_strict = status == OCTET_OK && reading->strict[0] != '\0' &&
                  strcmp(reading->strict, reading->lenient) != 0;
    if (*has_strict) {
        status = grade_code(task, reading->strict, &options, strict, err);
        if (status != OCTET_OK) grade_verdict_free(lenient);
    }
    return status;
}

static enum octet_status judge_answer(struct judging *j, const json_t *model,
                                      const struct task *task, int sample,
                                      const struct reply *reply, struct octet_err *err) {
    const char *name = json_string_value(json_object_get(model, "name"));
    struct reading reading;
    enum octet_status status =
        score_read(task, reply->text, reply->n_bytes, reply->finish_reason, &reading, err);
    if (status != OCTET_OK) return status;
    struct verdict lenient, strict;
    bool has_strict = false;
    // Also without code: where the language's tool is missing, no answer to the task may count.
    status = run_code(j, task, &reading, &lenient, &strict, &has_strict, err);
    if (status == OCTET_OK) {
        const bool told = reading.has_code || lenient.base == GRADE_NO_TOOL;
        const struct asked asked = asked_of(model);
        double cost = answer_cost(j->terms, &asked, reply);
        struct judged judged = {
            .state = find_state(&reading, told ? &lenient : NULL),
            .reading = &reading,
            .verdict = told ? &lenient : NULL,
            .strict = has_strict ? &strict : NULL,
            .cost = cost,
            .currency = isnan(cost) ? NULL : j->terms->currency,
        };
        pthread_mutex_lock(&j->lock);
        status = store_put_judged(j->store, j->run->id, name, task->id, sample, &judged, err);
        pthread_mutex_unlock(&j->lock);
        grade_verdict_free(&lenient);
        if (has_strict) grade_verdict_free(&strict);
    }
    score_reading_free(&reading);
    return status;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static void judge_task(void *arg, size_t i, int i_thread) {
    (void)i_thread;
    struct judging *j = arg;
    size_t n_samples = (size_t)j->options->n_samples;
    const json_t *model = json_array_get(j->run->models, i / (j->set->n_tasks * n_samples));
    const struct task *task = &j->set->tasks[i / n_samples % j->set->n_tasks];
    int sample = (int)(i % n_samples);
    const char *name = json_string_value(json_object_get(model, "name"));
    struct octet_err err = {0};
    struct reply reply;
    bool found = false;

    pthread_mutex_lock(&j->lock);
    bool stop = j->first_error.status != OCTET_OK || cancelled(j);
    enum octet_status status = OCTET_OK;
    if (!stop)
        status =
            store_get_answer(j->store, j->run->id, name, task->id, sample, &found, &reply, &err);
    pthread_mutex_unlock(&j->lock);
    if (stop) return;
    if (status == OCTET_OK && found) {
        status = judge_answer(j, model, task, sample, &reply, &err);
        reply_free(&reply);
    }
    pthread_mutex_lock(&j->lock);
    if (status != OCTET_OK && j->first_error.status == OCTET_OK) {
        j->first_error = err;
        j->first_error.status = status;
    }
    j->n_done++;
    if (j->options->progress)
        j->options->progress(j->options->user, "running answers", j->n_done, j->n_answers);
    pthread_mutex_unlock(&j->lock);
}

enum octet_status compare_judge(const struct compare_options *options, struct store *store,
                                const struct store_run *run, const struct task_set *set,
                                const struct money_terms *terms, struct octet_err *err) {
    struct judging j = {.options = options,
                        .store = store,
                        .run = run,
                        .set = set,
                        .terms = terms,
                        .n_answers = json_array_size(run->models) * set->n_tasks *
                                     (size_t)options->n_samples};
    struct pool *pool = pool_open(options->n_threads > 0 ? options->n_threads : cpu_count());
    if (!pool) return octet_fail_memory(err, "threads", 0);
    pthread_mutex_init(&j.lock, NULL);
    pool_tasks(pool, j.n_answers, judge_task, &j);
    pthread_mutex_destroy(&j.lock);
    pool_close(pool);
    if (j.first_error.status != OCTET_OK)
        return octet_fail(err, j.first_error.status, "%s", j.first_error.message);
    if (cancelled(&j)) return octet_fail(err, OCTET_ECANCELLED, "cancelled");
    return OCTET_OK;
}
