/* See api.h. Between the transport (http_client.h) and the description of an API: builds requests,
 * reads answers, decides what is worth another attempt, and keeps within the spending limit. */
#include "compare/api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "compare/http_client.h"
#include "compare/json_text.h"
#include "compare/sse.h"

enum { MAX_GAPS = 1 << 20, ERROR_BYTES = 1 << 16 };

static void reset_answer(struct answer *answer) {
    struct buffer text = answer->text;
    buffer_clear(&text);
    *answer = (struct answer){.text = text, .usage = {-1, -1, -1, -1, false}};
}

/* ---- One ask under way ----------------------------------------------------------------------- */

struct run;

struct exchange {
    struct run *run;
    const struct ask *ask; // NULL: none
    char *url, *body, *date;
    struct sse sse;
    struct answer answer;
    struct buffer refusal; // body of an answer that is no success
    double first_text, last_text;
    float *gaps;
    size_t n_gaps, gaps_cap;
    double worst; // reserved of the spending limit
    bool running;
    bool answered; // a successful answer began
    struct usage lost;
};

struct run {
    struct provider *provider;
    const struct ask *asks;
    size_t n_asks, n_started, n_running;
    double reserved; // sum of worst
    struct exchange *exchanges;
    size_t n_exchanges;
    reply_fn fn;
    void *user;
    enum octet_status status; // of what ended the run from here, told in err
    struct octet_err *err;
    struct octet_err transport; // what http_run says
};

/* A piece of text came NOW. */
static void note_text(struct exchange *x, double now) {
    if (isnan(x->first_text)) {
        x->first_text = x->last_text = now;
        return;
    }
    const float gap = (float)provider_microseconds(now - x->last_text);
    x->last_text = now;
    if (x->n_gaps < MAX_GAPS &&
        mem_reserve((void **)&x->gaps, &x->gaps_cap, x->n_gaps + 1, sizeof gap)) {
        x->gaps[x->n_gaps++] = gap;
    }
}

static void read_event(struct exchange *x, const json_t *event) {
    struct answer *const answer = &x->answer;
    const size_t n_before = answer->text.n;
    answer->n_events++;
    x->run->provider->kind->api->event(answer, event);
    if (answer->text.n > n_before && x->sse.mode == SSE_LINES) note_text(x, probe_seconds());
}

static bool on_event(void *user, const char *type, const char *data, size_t n_bytes) {
    (void)type; // the data say it again
    struct exchange *const x = user;
    struct answer *const answer = &x->answer;
    if (strcmp(data, "[DONE]") == 0) {
        answer->done = answer->ended = true;
        return true;
    }
    json_t *const event = json_text_parse(data, n_bytes);
    if (event) {
        read_event(x, event);
    } else {
        answer->fault = API_REFUSED;
        snprintf(answer->message, sizeof answer->message, "%s",
                 answer->n_events > 0 ? "an event of the stream is not JSON"
                                      : "the answer is neither a stream of events nor JSON");
    }
    json_decref(event);
    return !answer->full && answer->fault == API_FINE;
}

static bool is_success(long status) { return status >= 200 && status <= 299; }

static enum http_take on_body(void *user, size_t slot, long status, double sent, const char *bytes,
                              size_t n_bytes) {
    (void)sent;
    struct run *const run = user;
    struct exchange *const x = &run->exchanges[slot];
    if (!is_success(status)) {
        const size_t n_left = ERROR_BYTES - x->refusal.n;
        if (!buffer_append(&x->refusal, bytes, n_bytes < n_left ? n_bytes : n_left)) {
            x->answer.out_of_memory = true;
        }
        return HTTP_MORE;
    }
    x->answered = true;
    const size_t n_text = x->answer.text.n;
    const enum sse_outcome outcome = sse_push(&x->sse, bytes, n_bytes);
    if (outcome == SSE_NO_MEMORY) x->answer.out_of_memory = true;
    if (outcome == SSE_TOO_LARGE) {
        x->answer.fault = API_REFUSED;
        snprintf(x->answer.message, sizeof x->answer.message, "an event of more than %d bytes",
                 SSE_EVENT_BYTES);
    }
    if (outcome != SSE_OK) return HTTP_ENOUGH;
    if (x->answer.ended) return HTTP_LAST;
    return x->answer.text.n > n_text ? HTTP_PROGRESS : HTTP_MORE;
}

/* ---- Money ----------------------------------------------------------------------------------- */

static bool limited(const struct provider *provider) { return !isnan(provider->options.max_cost); }

static double price(const struct provider *provider, const struct usage *usage) {
    return provider->options.cost(provider->options.cost_user, usage);
}

/* A token has about 4 bytes in prose; at worst, 2. The chat format adds a few. */
static int64_t count_prompt(const struct ask *ask, size_t bytes_per_token) {
    size_t n_bytes = strlen(ask->prompt);
    if (ask->system) n_bytes += strlen(ask->system);
    if (ask->suffix) n_bytes += strlen(ask->suffix);
    return (int64_t)(n_bytes / bytes_per_token + 16);
}

static struct usage worst_case(const struct ask *ask) {
    return (struct usage){count_prompt(ask, 2), 0, ask->max_tokens, 0, true};
}

/* Counts what the provider did not tell. */
static void estimate_usage(struct usage *usage, const struct exchange *x) {
    if (usage->prompt >= 0 && usage->completion >= 0) return;
    usage->estimated = true;
    if (usage->prompt < 0) usage->prompt = count_prompt(x->ask, 4);
    if (usage->completion < 0) usage->completion = (int64_t)(x->answer.text.n / 4 + 1);
}

/* An attempt that was answered, but in vain, is billed all the same. */
static void count_lost(struct exchange *x) {
    if (!x->answered) return;
    struct usage usage = x->answer.usage;
    estimate_usage(&usage, x);
    x->lost.prompt += usage.prompt;
    x->lost.completion += usage.completion;
    x->lost.estimated = true;
    if (limited(x->run->provider)) x->run->provider->spent += price(x->run->provider, &usage);
}

/* Whether one more call may be made now. */
static enum http_start check_money(struct exchange *x, const struct ask *ask) {
    struct run *const run = x->run;
    struct provider *const provider = run->provider;
    if (!limited(provider)) return HTTP_CALL;
    const struct usage usage = worst_case(ask);
    const double worst = price(provider, &usage), limit = provider->options.max_cost;
    if (isnan(worst)) {
        run->status = octet_fail(run->err, OCTET_EARG,
                                 "%s: %s has no price, so a spending limit can not be kept",
                                 provider->name, provider->model);
        return HTTP_HALT;
    }
    if (provider->spent + run->reserved + worst > limit) {
        if (run->n_running > 0) return HTTP_LATER;
        run->status = octet_fail(run->err, OCTET_ECANCELLED,
                                 "%s: spending limit of %.6g reached: %.6g are spent and the next "
                                 "answer may cost %.6g",
                                 provider->name, limit, provider->spent, worst);
        return HTTP_HALT;
    }
    x->worst = worst;
    run->reserved += worst;
    return HTTP_CALL;
}

static void release_money(struct exchange *x) {
    x->run->reserved -= x->worst;
    x->worst = 0;
}

/* ---- Replies --------------------------------------------------------------------------------- */

/* The key must not come back in anything that is shown or kept, whatever the server says. CUT: the
 * text may end in the middle of it. */
static void hide_key(const struct provider *provider, char *text, size_t n_bytes, bool cut) {
    enum { TELLING = 4 }; // a shorter part of the key tells nothing
    const size_t n_key = provider->key ? strlen(provider->key) : 0;
    if (n_key < 2 * TELLING || !text) return; // shorter ones are words of their own
    char *const end = text + n_bytes;
    char *at = text;
    while ((at = memmem(at, (size_t)(end - at), provider->key, n_key)) != NULL) {
        memset(at, '*', n_key);
    }
    for (size_t n = n_key < n_bytes ? n_key : n_bytes; cut && n >= TELLING; n--) {
        if (memcmp(end - n, provider->key, n) == 0) memset(end - n, '*', n);
    }
}

/* Fills what every reply has; ERROR NULL: it is an answer. False: out of memory. */
static bool make_reply(struct exchange *x, const struct http_attempt *attempt, const char *error,
                       struct reply *out) {
    const struct answer *const answer = &x->answer;
    const struct provider *const provider = x->run->provider;
    const bool good = error == NULL;
    *out = (struct reply){
        .tag = x->ask->tag,
        .text = mem_strdup(answer->text.bytes, good ? answer->text.n : 0),
        .n_bytes = good ? answer->text.n : 0,
        .model = provider_copy(answer->model[0] ? answer->model : provider->model),
        .date = x->date,
        .usage = good ? answer->usage : (struct usage){-1, -1, -1, -1, false},
        .lost = x->lost,
        .ttft_s = good ? provider_microseconds(x->first_text - attempt->sent) : NAN,
        .total_s = good ? provider_microseconds(attempt->ended - attempt->sent) : NAN,
        .n_retries = attempt->n_before,
        .error = error ? provider_copy(error) : NULL,
    };
    x->date = NULL;
    if (good) {
        const char *const reason = answer->full ? "length" : answer->finish;
        if (reason[0]) out->finish_reason = provider_copy(reason);
        out->token_gaps_s = x->gaps;
        out->n_gaps = x->n_gaps;
        x->gaps = NULL;
        x->gaps_cap = x->n_gaps = 0;
        estimate_usage(&out->usage, x);
    }
    if (!out->text || !out->model || !out->date || (error && !out->error)) return false;
    hide_key(provider, out->text, out->n_bytes, answer->full);
    hide_key(provider, out->model, strlen(out->model), true);
    if (out->finish_reason) {
        hide_key(provider, out->finish_reason, strlen(out->finish_reason), true);
    }
    return true;
}

/* Hands over the reply; false ends the run. */
static bool deliver(struct exchange *x, const struct http_attempt *attempt, const char *error) {
    struct run *const run = x->run;
    struct reply reply;
    if (!make_reply(x, attempt, error, &reply)) {
        reply_free(&reply);
        run->status = octet_fail_memory(run->err, "an answer", x->answer.text.n);
        return false;
    }
    if (!error && limited(run->provider)) {
        run->provider->spent += price(run->provider, &reply.usage);
    }
    if (run->fn(run->user, &reply)) return true;
    run->status = octet_fail(run->err, OCTET_ECANCELLED, "stopped");
    return false;
}

/* ---- What an attempt was worth --------------------------------------------------------------- */

static enum api_fault judge_status(long status) {
    switch (status) {
    case 401:
    case 402:
    case 404: return API_HOPELESS;
    case 408:
    case 409:
    case 425:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
    case 529: // Anthropic: overloaded
        return API_TRANSIENT;
    default: return API_REFUSED;
    }
}

/* Reads what the server says about a refusal, in any of the shapes that are in use. */
static void read_refusal(struct exchange *x, long status) {
    struct answer *const answer = &x->answer;
    json_t *const body = json_text_parse(x->refusal.bytes ? x->refusal.bytes : "", x->refusal.n);
    const json_t *const inner = json_object_get(body, "error");
    char said[200] = "";
    if (body) {
        answer_fault(answer, inner && !json_is_null(inner) ? inner : body);
        answer_word(said, sizeof said, answer->message);
    }
    const bool no_money = answer->fault == API_HOPELESS;
    answer->fault = no_money ? API_HOPELESS : judge_status(status);
    const char *const moved =
        status >= 300 && status <= 399 ? "it redirects; give the final URL" : said;
    snprintf(answer->message, sizeof answer->message, "HTTP %ld%s%s", status, moved[0] ? ": " : "",
             moved);
    json_decref(body);
}

/* Leaves the verdict in the answer's fault and message. */
static void judge(struct exchange *x, const struct http_attempt *attempt) {
    struct answer *const answer = &x->answer;
    if (attempt->status != 0 && !is_success(attempt->status)) {
        read_refusal(x, attempt->status);
        return;
    }
    if (answer->fault != API_FINE || answer->full) return;
    if (!attempt->failure) {
        const enum sse_outcome outcome = sse_finish(&x->sse);
        if (outcome == SSE_NO_MEMORY) answer->out_of_memory = true;
        if (answer->fault != API_FINE) return;
    }
    if (answer->done) return;
    if (!attempt->failure && answer->n_events == 0) {
        answer->fault = API_REFUSED;
        char type[60];
        answer_word(type, sizeof type, attempt->type);
        snprintf(answer->message, sizeof answer->message,
                 "an answer of type '%s' without any event", type);
        return;
    }
    answer->fault = API_TRANSIENT;
    snprintf(answer->message, sizeof answer->message, "%s%s",
             answer->n_events > 0 ? "the answer broke off" : "no answer",
             attempt->failure ? ": " : "");
    if (!attempt->failure) return;
    const size_t n = strlen(answer->message);
    answer_word(answer->message + n, sizeof answer->message - n, attempt->failure);
}

static void describe_fault(const struct exchange *x, char *text, size_t cap) {
    const struct provider *const provider = x->run->provider;
    char said[sizeof x->answer.message];
    memcpy(said, x->answer.message, sizeof said);
    hide_key(provider, said, strlen(said), true);
    snprintf(text, cap, "%s: %s", provider->host, said);
}

static enum http_verdict on_end(void *user, size_t slot, const struct http_attempt *attempt) {
    struct run *const run = user;
    struct exchange *const x = &run->exchanges[slot];
    x->running = false;
    run->n_running--;
    judge(x, attempt);
    release_money(x);
    if (x->answer.out_of_memory) {
        run->status = octet_fail_memory(run->err, "an answer", x->answer.text.n);
        return HTTP_BREAK;
    }
    if (x->answer.fault == API_FINE) {
        return deliver(x, attempt, NULL) ? HTTP_SETTLED : HTTP_BREAK;
    }
    count_lost(x);
    if (x->answer.fault == API_TRANSIENT && !attempt->last) return HTTP_AGAIN;
    char text[400];
    describe_fault(x, text, sizeof text);
    if (x->answer.fault == API_HOPELESS) {
        const char *const key_env = run->provider->key_env;
        run->status =
            octet_fail(run->err, OCTET_EARG, "%s: %s%s%s%s", run->provider->name, text,
                       key_env ? " (key from " : "", key_env ? key_env : "", key_env ? ")" : "");
        return HTTP_BREAK;
    }
    return deliver(x, attempt, text) ? HTTP_SETTLED : HTTP_BREAK;
}

static void on_wait(void *user, size_t slot, double seconds) {
    const struct run *const run = user;
    char text[400];
    describe_fault(&run->exchanges[slot], text, sizeof text);
    provider_note(run->provider, "%s: %s; trying again in %.1f s", run->provider->name, text,
                  seconds);
}

/* ---- Starting -------------------------------------------------------------------------------- */

/* URL may end in a query, and so may PATH. */
static char *join_url(const char *url, const struct buffer *path) {
    const size_t n_base = strcspn(url, "?");
    const char *const query = url[n_base] == '?' ? url + n_base + 1 : NULL;
    struct buffer joined = {NULL, 0, 0};
    size_t n = n_base;
    while (n > 0 && url[n - 1] == '/') n--;
    bool fine = buffer_append(&joined, url, n) && buffer_append(&joined, path->bytes, path->n);
    if (query) {
        fine = fine && buffer_append_text(&joined, strchr(path->bytes, '?') ? "&" : "?") &&
               buffer_append_text(&joined, query);
    }
    if (!fine) buffer_free(&joined);
    return joined.bytes;
}

static void clear_request(struct exchange *x) {
    mem_free(x->url);
    free(x->body); // jansson's
    mem_free(x->date);
    x->url = x->body = x->date = NULL;
}

static bool build_request(struct exchange *x) {
    const struct provider *const provider = x->run->provider;
    struct buffer path = {NULL, 0, 0};
    json_t *const body = json_pack("{s:b}", "stream", 1);
    if (body && provider->kind->api->request(provider, x->ask, &path, body)) {
        x->url = join_url(provider->url, &path);
        x->body = json_dumps(body, JSON_FLOATS);
    }
    json_decref(body);
    buffer_free(&path);
    return x->url && x->body;
}

static void reset_attempt(struct exchange *x) {
    reset_answer(&x->answer);
    sse_free(&x->sse);
    x->sse = (struct sse){.fn = on_event, .user = x};
    buffer_clear(&x->refusal);
    x->first_text = x->last_text = NAN;
    x->n_gaps = 0;
    x->answered = false;
    x->running = true;
    x->run->n_running++;
}

static enum http_start on_start(void *user, size_t slot, bool again, struct http_call *call) {
    struct run *const run = user;
    struct exchange *const x = &run->exchanges[slot];
    if (!again && run->n_started == run->n_asks) return HTTP_NO_MORE;
    const struct ask *const ask = again ? x->ask : &run->asks[run->n_started];
    const enum http_start start = check_money(x, ask);
    if (start != HTTP_CALL) return start;
    if (!again) {
        clear_request(x);
        x->ask = ask;
        x->lost = (struct usage){0};
        run->n_started++;
        if (!build_request(x)) {
            run->status = octet_fail_memory(run->err, "a request", strlen(ask->prompt));
            return HTTP_HALT;
        }
    }
    mem_free(x->date);
    x->date = provider_date();
    reset_attempt(x);
    *call = (struct http_call){x->url, x->body, strlen(x->body)};
    return HTTP_CALL;
}

/* ---- The whole ------------------------------------------------------------------------------- */

static char *key_header(const struct provider *provider) {
    struct buffer header = {NULL, 0, 0};
    const char *const name = provider->kind->api->key_header;
    // Room at once, so that no copy of the key stays behind in memory given back.
    if (!mem_reserve((void **)&header.bytes, &header.cap, strlen(name) + strlen(provider->key) + 1,
                     1)) {
        return NULL;
    }
    buffer_append_text(&header, name);
    buffer_append_text(&header, provider->key);
    return header.bytes;
}

static enum octet_status exchange_all(struct run *run) {
    const struct provider *const provider = run->provider;
    const struct provider_options *const o = &provider->options;
    char *const key = provider->key ? key_header(provider) : NULL;
    if (provider->key && !key) return octet_fail_memory(&run->transport, "a request", 0);
    const char *headers[4] = {"Content-Type: application/json"};
    size_t n = 1;
    if (provider->kind->api->extra_header) headers[n++] = provider->kind->api->extra_header;
    headers[n] = key;
    const struct http_options options = {
        .n_parallel = run->n_exchanges,
        .requests_per_minute = o->requests_per_minute,
        .timeout_s = o->timeout_s > 0 ? o->timeout_s : 120,
        .backoff_s = o->backoff_s > 0 ? o->backoff_s : 1,
        .n_retries = o->n_retries == 0  ? 6
                     : o->n_retries < 0 ? 0
                                        : o->n_retries,
        .seed = o->seed,
        .headers = headers,
        .direct = strncmp(provider->url, "http:", 5) == 0,
        .cancel = o->cancel,
    };
    const struct http_owner owner = {on_start, on_body, on_end, on_wait, run};
    const enum octet_status status = http_run(&options, &owner, &run->transport);
    provider_wipe(key);
    return status;
}

static void free_exchanges(struct run *run) {
    for (size_t i = 0; i < run->n_exchanges; i++) {
        struct exchange *const x = &run->exchanges[i];
        if (x->running) count_lost(x); // broken off, and billed
        clear_request(x);
        sse_free(&x->sse);
        buffer_free(&x->answer.text);
        buffer_free(&x->refusal);
        mem_free(x->gaps);
    }
    mem_free(run->exchanges);
}

enum octet_status api_ask(struct provider *provider, const struct ask *asks, size_t n_asks,
                          reply_fn fn, void *user, struct octet_err *err) {
    const int32_t wanted = provider->options.n_parallel > 0 ? provider->options.n_parallel : 4;
    struct run run = {.provider = provider,
                      .asks = asks,
                      .n_asks = n_asks,
                      .fn = fn,
                      .user = user,
                      .err = err,
                      .n_exchanges = n_asks < (size_t)wanted ? n_asks : (size_t)wanted};
    if (n_asks == 0) return OCTET_OK;
    run.exchanges = mem_array(run.n_exchanges, sizeof *run.exchanges);
    if (!run.exchanges) return octet_fail_memory(err, "requests", n_asks);
    for (size_t i = 0; i < run.n_exchanges; i++) run.exchanges[i].run = &run;
    const enum octet_status status = exchange_all(&run);
    free_exchanges(&run);
    if (run.status == OCTET_OK) {
        if (status != OCTET_OK && err) *err = run.transport;
        return status;
    }
    return run.status;
}
