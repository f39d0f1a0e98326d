/* The first half of a comparison: what is asked of whom, and every answer stored as it comes. */
#include "compare/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "base/threads.h"

/* Room for the estimate of a question: bytes per token of code, taken low on purpose. */
static const double bytes_per_token = 2.5;

/* Whose tokens are priced; what a provider's cost callback gets. */
struct payer {
    const struct comparison *c;
    size_t model;
};

struct comparison {
    const struct compare_options *options;
    struct task_set all;
    struct task *chosen; // (set.n_tasks) of ALL
    struct task_set set; // the same as a set, which owns nothing
    struct provider **providers; // (n_models), NULL: the reference solutions
    struct payer *payers;        // (n_models)
    double spent;                // by the models asked so far
    struct price_book book;
    struct money_terms terms;
    struct store *store;
    struct store_run run;
};

static bool cancelled(const struct comparison *c) {
    return c->options->cancel && *c->options->cancel;
}

__attribute__((format(printf, 2, 3))) static void say(const struct comparison *c, const char *fmt,
                                                      ...) {
    if (!c->options->say) return;
    char line[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    c->options->say(c->options->user, line);
}

static bool is_reference(const char *spec) { return strcmp(spec, "reference") == 0; }

/* ---- Opening --------------------------------------------------------------------------------- */

static enum octet_status choose_tasks(struct comparison *c, struct octet_err *err) {
    const struct compare_options *o = c->options;
    c->chosen = mem_array(c->all.n_tasks + 1, sizeof *c->chosen);
    if (!c->chosen) return octet_fail_memory(err, "tasks", c->all.n_tasks * sizeof *c->chosen);
    c->set = c->all;
    c->set.tasks = c->chosen;
    c->set.n_tasks = 0;
    for (size_t i = 0; i < c->all.n_tasks; i++) {
        const struct task *task = &c->all.tasks[i];
        if (o->only && !strstr(task->id, o->only)) continue;
        if (o->limit > 0 && c->set.n_tasks == (size_t)o->limit) break;
        c->chosen[c->set.n_tasks++] = *task;
    }
    if (c->set.n_tasks > 0) return OCTET_OK;
    return octet_fail(err, OCTET_EARG, "%s: no task whose id contains '%s'", o->tasks,
                      o->only ? o->only : "");
}

static double usage_cost(void *user, const struct usage *usage) {
    const struct payer *payer = user;
    const struct provider *p = payer->c->providers[payer->model];
    char day[16];
    struct reply reply = {.usage = *usage, .ttft_s = NAN};
    reply.date = (char *)(uintptr_t)day_text(day_today(), day);
    const struct asked asked = {provider_kind(p), provider_host(p), provider_model(p)};
    return answer_cost(&payer->c->terms, &asked, &reply);
}

static enum octet_status open_providers(struct comparison *c, struct octet_err *err) {
    const struct compare_options *o = c->options;
    c->providers = mem_array(o->n_models, sizeof *c->providers);
    c->payers = mem_array(o->n_models, sizeof *c->payers);
    if (!c->providers || !c->payers) return octet_fail_memory(err, "models", o->n_models * 8);
    for (size_t i = 0; i < o->n_models; i++) {
        if (is_reference(o->models[i])) continue;
        struct provider_options options = o->provider;
        c->payers[i] = (struct payer){c, i};
        options.cost = usage_cost;
        options.cost_user = &c->payers[i];
        options.cancel = o->cancel;
        options.note = o->say;
        options.note_user = o->user;
        enum octet_status status = provider_open(o->models[i], &options, &c->providers[i], err);
        if (status != OCTET_OK) return status;
    }
    return OCTET_OK;
}

static bool wants_chat(const struct comparison *c, size_t model) {
    const struct provider *p = c->providers[model];
    char style[8];
    if (p && provider_setting(p, "prompt", style, sizeof style)) return strcmp(style, "chat") == 0;
    switch (c->options->style) {
    case PROMPT_CHAT: return true;
    case PROMPT_RAW: return false;
    case PROMPT_AUTO: break;
    }
    return !p || (provider_skills(p) & PROVIDER_CHATS);
}

static float temperature_of(const struct comparison *c, size_t model) {
    const struct provider *p = c->providers[model];
    char value[20];
    if (p && provider_setting(p, "temp", value, sizeof value)) return strtof(value, NULL);
    return c->options->temperature;
}

/* ---- What the run is ------------------------------------------------------------------------- */

static json_t *model_price(const struct comparison *c, const struct asked *asked) {
    if (strcmp(asked->kind, "local") == 0) {
        char terms[300];
        return json_pack("{s:s, s:s}", "currency", c->options->local_terms.currency, "terms",
                         local_terms_text(&c->options->local_terms, terms, sizeof terms));
    }
    const struct price *price = asked_price(&c->terms, asked, day_today());
    return price ? price_json(price) : json_null();
}

static json_t *model_json(const struct comparison *c, size_t i) {
    const struct provider *p = c->providers[i];
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name", p ? provider_name(p) : "reference",
                     "kind", p ? provider_kind(p) : "reference", "model",
                     p ? provider_model(p) : "reference", "host", p ? provider_host(p) : "local",
                     "prompt", wants_chat(c, i) ? "chat" : "raw", "settings",
                     p ? provider_settings(p) : "");
}

/* Prices are shown, but do not tell one run from another. */
static void add_prices(const struct comparison *c, json_t *models) {
    size_t i;
    json_t *model;
    json_array_foreach(models, i, model) {
        const struct asked asked = asked_of(model);
        json_object_set_new(model, "price", model_price(c, &asked));
    }
}

/* The rest of how it was measured, which does not tell one run from another either. */
static void add_circumstances(json_t *settings) {
    char cpu[128];
    probe_cpu_name(cpu, sizeof cpu);
    json_object_set_new(settings, "cpu", json_string(cpu));
    json_object_set_new(settings, "cores", json_integer(cpu_count()));
    json_t *layers = json_array();
    for (unsigned bit = 0; bit < 16; bit++) {
        const char *name = box_layer_name(1u << bit);
        if (name && (box_probe()->have & 1u << bit))
            json_array_append_new(layers, json_string(name));
    }
    json_object_set_new(settings, "sandbox", layers);
}

/* Everything that decides what the answers are; the key of the run is made from it. */
static json_t *settings_json(const struct comparison *c) {
    const struct compare_options *o = c->options;
    return json_pack("{s:s, s:s?, s:i, s:i, s:i, s:f, s:f, s:I, s:s, s:o}", "engine",
                     octet_version(), "only", o->only, "n_tasks", (int)c->set.n_tasks, "samples",
                     o->n_samples, "max_tokens", o->max_tokens, "temperature",
                     (double)o->temperature, "top_p", (double)o->top_p, "seed", (json_int_t)o->seed,
                     "currency", o->currency, "prompts", prompt_templates());
}

static uint64_t hash_text(uint64_t hash, const char *text) {
    return hash_bytes(hash, text, strlen(text));
}

static enum octet_status describe_run(const struct comparison *c, struct store_run *wanted,
                                      struct octet_err *err) {
    static const char date_format[] = "%Y-%m-%dT%H:%M:%SZ";
    *wanted = (struct store_run){.models = json_array(), .settings = settings_json(c)};
    for (size_t i = 0; i < c->options->n_models; i++)
        json_array_append_new(wanted->models, model_json(c, i));
    char *settings = json_dumps(wanted->settings, JSON_SORT_KEYS | JSON_COMPACT);
    char *models = json_dumps(wanted->models, JSON_SORT_KEYS | JSON_COMPACT);
    char key[20] = "", started[32];
    struct tm utc;
    time_t now = time(NULL);
    strftime(started, sizeof started, date_format, gmtime_r(&now, &utc));
    if (settings && models) {
        uint64_t hash = hash_text(hash_text(HASH_INIT, c->set.version), settings);
        hash = hash_text(hash, models);
        // A run that must not go on with an older one has a key nobody has.
        if (c->options->fresh) hash = hash_text(hash, started);
        snprintf(key, sizeof key, "%016" PRIx64, hash);
    }
    free(settings);
    free(models);
    add_prices(c, wanted->models);
    add_circumstances(wanted->settings);
    wanted->key = mem_strdup(key, strlen(key));
    wanted->set = mem_strdup(c->set.name, strlen(c->set.name));
    wanted->set_version = mem_strdup(c->set.version, strlen(c->set.version));
    wanted->started = mem_strdup(started, strlen(started));
    if (!key[0] || !wanted->key || !wanted->set || !wanted->set_version || !wanted->started)
        return octet_fail_memory(err, "run", 0);
    return OCTET_OK;
}

static enum octet_status begin_run(struct comparison *c, struct octet_err *err) {
    struct store_run wanted;
    enum octet_status status = describe_run(c, &wanted, err);
    if (status == OCTET_OK) status = store_begin(c->store, &wanted, &c->run, err);
    store_run_free(&wanted);
    if (status != OCTET_OK) return status;
    if (c->run.resumed) say(c, "going on with run %" PRId64, c->run.id);
    return store_put_tasks(c->store, c->run.id, &c->set, err);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

/* The questions one model has not answered yet. ask.tag counts tasks and samples. */
struct questions {
    struct comparison *c;
    size_t model;
    const char *name;
    struct ask *asks;
    struct prompt *prompts;
    size_t n, n_there; // to ask, answered before
    size_t n_done, n_errors;
    struct octet_err store_err; // status OCTET_OK: none
};

static void free_questions(struct questions *q) {
    for (size_t i = 0; i < q->n; i++) {
        prompt_free(&q->prompts[i]);
        mem_free((void *)(uintptr_t)q->asks[i].label);
    }
    mem_free(q->asks);
    mem_free(q->prompts);
}

static enum octet_status add_question(struct questions *q, size_t i_task, size_t sample,
                                      struct octet_err *err) {
    const struct compare_options *o = q->c->options;
    const struct task *task = &q->c->set.tasks[i_task];
    bool found = false, chat = wants_chat(q->c, q->model);
    struct reply reply;
    enum octet_status status = store_get_answer(q->c->store, q->c->run.id, q->name, task->id,
                                                (int)sample, &found, &reply, err);
    if (status != OCTET_OK) return status;
    if (found) {
        reply_free(&reply);
        q->n_there++;
        return OCTET_OK;
    }
    struct prompt *prompt = &q->prompts[q->n];
    status = prompt_make(task, chat, prompt, err);
    if (status != OCTET_OK) return status;
    size_t label_cap = strlen(task->id) + 24;
    char *label = mem_alloc(label_cap);
    if (label) snprintf(label, label_cap, "%s#%zu", task->id, sample);
    q->asks[q->n++] = (struct ask){
        .tag = i_task * (size_t)o->n_samples + sample,
        .label = label,
        .prompt = prompt->text,
        .suffix = task->suffix,
        .chat = chat,
        .max_tokens = o->max_tokens,
        .temperature = temperature_of(q->c, q->model),
        .top_p = o->top_p,
        .seed = o->seed + sample,
        .stops = prompt->stops,
    };
    return label ? OCTET_OK : octet_fail_memory(err, "label", label_cap);
}

static enum octet_status collect_questions(struct questions *q, struct octet_err *err) {
    size_t n_samples = (size_t)q->c->options->n_samples, n = q->c->set.n_tasks * n_samples;
    q->asks = mem_array(n, sizeof *q->asks);
    q->prompts = mem_array(n, sizeof *q->prompts);
    if (!q->asks || !q->prompts) return octet_fail_memory(err, "questions", n * sizeof *q->asks);
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < n && status == OCTET_OK; i++)
        status = add_question(q, i / n_samples, i % n_samples, err);
    return status;
}

static bool store_reply(void *user, struct reply *reply) {
    struct questions *q = user;
    const struct compare_options *o = q->c->options;
    size_t i_task = reply->tag / (size_t)o->n_samples;
    enum octet_status status =
        store_put_answer(q->c->store, q->c->run.id, q->name, q->c->set.tasks[i_task].id,
                         (int)(reply->tag % (size_t)o->n_samples), reply, &q->store_err);
    q->store_err.status = status;
    if (reply->error && q->n_errors++ == 0) say(q->c, "%s: %s", q->name, reply->error);
    reply_free(reply);
    q->n_done++;
    if (o->progress) {
        char label[80];
        snprintf(label, sizeof label, "asking %s", q->name);
        o->progress(o->user, label, q->n_there + q->n_done, q->n_there + q->n);
    }
    return status == OCTET_OK && !cancelled(q->c);
}

static char *copy_text(const char *text) { return mem_strdup(text, strlen(text)); }

static void write_reference(const struct task *task, char *text, size_t cap) {
    if (!task->reference) return;
    size_t n = strlen(task->reference), n_before = strlen(task->prompt);
    size_t n_after = task->suffix ? strlen(task->suffix) : 0;
    if (task->shape != TASK_HOLE)
        snprintf(text, cap, "```%s\n%s\n```\n", task->language, task->reference);
    else if (n >= n_before + n_after)
        snprintf(text, cap, "%.*s", (int)(n - n_before - n_after), task->reference + n_before);
}

/* The set's own solutions, answered as a model would. */
static enum octet_status ask_reference(struct questions *q, struct octet_err *err) {
    for (size_t i = 0; i < q->n; i++) {
        const struct ask *ask = &q->asks[i];
        const struct task *task = &q->c->set.tasks[ask->tag / (size_t)q->c->options->n_samples];
        struct reply reply = {
            .tag = ask->tag, .ttft_s = NAN, .total_s = NAN, .usage = {-1, -1, -1, -1, false}};
        size_t cap = strlen(task->language) + (task->reference ? strlen(task->reference) : 0) + 16;
        reply.text = mem_alloc(cap);
        reply.finish_reason = copy_text("stop");
        reply.model = copy_text("reference");
        if (!reply.text || !reply.finish_reason || !reply.model) {
            reply_free(&reply);
            return octet_fail_memory(err, "answer", cap);
        }
        write_reference(task, reply.text, cap);
        reply.n_bytes = strlen(reply.text);
        if (!store_reply(q, &reply)) break;
    }
    return OCTET_OK;
}

static enum octet_status ask_model(struct comparison *c, size_t i, struct octet_err *err) {
    const struct json_t *model = json_array_get(c->run.models, i);
    struct questions q = {
        .c = c, .model = i, .name = json_string_value(json_object_get(model, "name"))};
    enum octet_status status = collect_questions(&q, err);
    struct provider *p = c->providers[i];
    if (status == OCTET_OK && q.n > 0) {
        if (p) p->options.max_cost = c->options->provider.max_cost - c->spent;
        if (q.n_there > 0)
            say(c, "%s: %zu of %zu answers are there", q.name, q.n_there, q.n_there + q.n);
        status = p ? provider_ask(p, q.asks, q.n, store_reply, &q, err) : ask_reference(&q, err);
        if (p) c->spent += provider_spent(p);
        if (q.store_err.status != OCTET_OK)
            status = octet_fail(err, q.store_err.status, "%s", q.store_err.message);
        else if (cancelled(c))
            status = octet_fail(err, OCTET_ECANCELLED, "cancelled");
        if (q.n_errors > 0)
            say(c, "%s: %zu of %zu questions got no answer; run the same again to ask them again",
                q.name, q.n_errors, q.n);
    }
    free_questions(&q);
    return status;
}

/* ---- Money ----------------------------------------------------------------------------------- */

/* What the remote models may cost at most, said before anything is asked. */
static enum octet_status confirm_cost(const struct comparison *c, struct octet_err *err) {
    const struct compare_options *o = c->options;
    double total = 0;
    bool remote = false, unpriced = false;
    if (o->provider.replay_dir) return OCTET_OK; // nobody is asked
    for (size_t i = 0; i < o->n_models; i++) {
        const struct provider *p = c->providers[i];
        if (!p || strcmp(provider_kind(p), "local") == 0) continue;
        remote = true;
        const struct asked asked = {provider_kind(p), provider_host(p), provider_model(p)};
        double cost = 0;
        for (size_t t = 0; t < c->set.n_tasks; t++) {
            double prompt = (double)strlen(c->set.tasks[t].prompt) / bytes_per_token + 50;
            struct reply worst = {.usage = {(int64_t)prompt, 0, o->max_tokens, 0, true},
                                  .date = c->run.started};
            cost += o->n_samples * answer_cost(&c->terms, &asked, &worst);
        }
        if (isnan(cost))
            unpriced = true;
        else
            total += cost;
    }
    if (!remote || !o->confirm) return OCTET_OK;
    char text[200], money[32];
    snprintf(text, sizeof text, "asking costs at most %s %s%s", money_text(total, money),
             o->currency, unpriced ? ", and what the unpriced models take" : "");
    if (o->confirm(o->user, text)) return OCTET_OK;
    return octet_fail(err, OCTET_ECANCELLED, "nothing was asked");
}

/* ---- The whole ------------------------------------------------------------------------------- */

static enum octet_status open_all(struct comparison *c, struct octet_err *err) {
    const struct compare_options *o = c->options;
    enum octet_status status = price_book_open(&c->book, err);
    if (status == OCTET_OK) status = task_set_open(o->tasks, &c->all, err);
    if (status == OCTET_OK) status = choose_tasks(c, err);
    if (status == OCTET_OK) status = open_providers(c, err);
    if (status == OCTET_OK) status = store_open(o->store, &c->store, err);
    return status;
}

static void close_all(struct comparison *c) {
    for (size_t i = 0; c->providers && i < c->options->n_models; i++)
        provider_close(c->providers[i]);
    mem_free(c->providers);
    mem_free(c->payers);
    store_run_free(&c->run);
    store_close(c->store);
    mem_free(c->chosen);
    task_set_close(&c->all);
    price_book_close(&c->book);
}

enum octet_status compare_run(const struct compare_options *options, int64_t *run,
                              struct octet_err *err) {
    struct comparison c = {.options = options};
    c.terms = (struct money_terms){&c.book, &options->local_terms, options->currency};
    *run = 0;
    enum octet_status status = open_all(&c, err);
    if (status == OCTET_OK) status = begin_run(&c, err);
    if (status == OCTET_OK) {
        *run = c.run.id;
        status = confirm_cost(&c, err);
    }
    for (size_t i = 0; i < options->n_models && status == OCTET_OK; i++) {
        status = ask_model(&c, i, err);
        // A local model's memory is better gone before boxes are started, which copy page tables.
        provider_close(c.providers[i]);
        c.providers[i] = NULL;
    }
    if (status == OCTET_OK) status = compare_judge(options, c.store, &c.run, &c.set, &c.terms, err);
    if (status == OCTET_OK) status = store_finish(c.store, c.run.id, err);
    close_all(&c);
    return status;
}
