/* See answer.h. */
#include "server/answer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"
#include "server/asked.h"
#include "server/tools.h"

/* An answer with so many is written aside: that takes milliseconds. */
enum { MANY_NUMBERS = 10000 };

struct answer *answer_new(struct server *server, struct exchange *exchange, struct lane *lane,
                        const struct dialect *dialect, const char *id_prefix, size_t n_choices) {
    struct answer *const answer = mem_alloc(sizeof *answer);
    if (!answer) return NULL;
    *answer = (struct answer){.server = server, .exchange = exchange, .lane = lane,
                            .dialect = dialect, .n_choices = n_choices,
                            .n_samples = n_choices, .created = time(NULL)};
    answer->choices = mem_array(n_choices, sizeof *answer->choices);
    if (!answer->choices) {
        mem_free(answer);
        return NULL;
    }
    for (size_t i = 0; i < n_choices; i++)
        answer->choices[i] = (struct choice){.answer = answer, .index = i};
    server_reply_id(server, id_prefix, answer->id, sizeof answer->id);
    return answer;
}

static void free_calls(struct choice *choice) {
    for (size_t i = 0; i < choice->n_calls; i++) {
        mem_free(choice->calls[i].name);
        mem_free(choice->calls[i].arguments);
    }
    mem_free(choice->calls);
    buffer_free(&choice->arguments);
    if (choice->reader) calls_free(choice->reader);
    mem_free(choice->reader);
}

void answer_free(struct answer *answer) {
    for (size_t i = 0; i < answer->n_choices; i++) {
        job_free(answer->choices[i].job);
        buffer_free(&answer->choices[i].before);
        buffer_free(&answer->choices[i].text);
        mem_free(answer->choices[i].tokens);
        free_calls(&answer->choices[i]);
        vectors_free(answer->choices[i].vectors);
    }
    hole_free(answer->hole);
    json_decref(answer->extra);
    mem_free(answer->choices);
    mem_free(answer);
}

/* ---- The end --------------------------------------------------------------------------------- */

static const char *finish_word(const struct answer *answer) {
    static const char *const words[] = {"refused", "stop", "length", "error", "gone"};
    return words[answer->choices[0].finish];
}

/* One line per request, for people and for awk. */
static void log_answer(const struct answer *answer) {
    const double now = probe_seconds();
    if (server_is_quiet(answer->server)) return;
    fprintf(stderr,
            "octet: %s model=%s prompt=%zu cached=%zu generated=%zu queue=%.0fms first=%.0fms "
            "total=%.0fms finish=%s\n",
            exchange_path(answer->exchange), lane_name(answer->lane), answer->prompt_tokens,
            answer->cached_tokens, answer->generated_tokens,
            1e3 * fmax(0, answer->started - answer->submitted),
            1e3 * fmax(0, answer->first - answer->submitted), 1e3 * (now - answer->submitted),
            finish_word(answer));
}

/* Lets go of jobs that may still run; they free themselves. */
static void cancel_jobs(struct answer *answer) {
    for (size_t i = 0; i < answer->n_choices; i++) {
        struct choice *const choice = &answer->choices[i];
        if (choice->job && i < answer->n_submitted) {
            job_cancel(choice->job);
            choice->job = NULL;
        }
    }
}

static void on_gone(void *user) {
    struct answer *const answer = user;
    cancel_jobs(answer);
    answer_free(answer);
}

static void fail(struct answer *answer, enum octet_status why, int status, const char *text) {
    struct exchange *const exchange = answer->exchange;
    cancel_jobs(answer);
    log_answer(answer);
    exchange_on_gone(exchange, NULL, NULL);
    if (answer->stream && answer->n_submitted == answer->n_choices) {
        answer->dialect->fail(answer, text);
        exchange_end(exchange);
    } else if (why == OCTET_ECONTEXT) {
        server_refuse_overflow(exchange, text, answer->prompt_tokens, lane_n_ctx(answer->lane));
    } else {
        exchange_error(exchange, status, text);
    }
    answer_free(answer);
}

static void reply_whole(void *user) {
    struct answer *const answer = user;
    exchange_on_gone(answer->exchange, NULL, NULL);
    server_reply_json(answer->exchange, 200, answer->dialect->whole(answer));
    answer_free(answer);
}

/* How many numbers are to be written. */
static size_t n_numbers(const struct answer *answer) {
    size_t n = 0;
    for (size_t i = 0; i < answer->n_choices; i++) {
        const struct choice *const choice = &answer->choices[i];
        n += choice->n_tokens * JOB_MAX_TOPS;
        if (choice->vectors) n += choice->vectors->n * choice->vectors->d;
    }
    return n;
}

static void end(struct answer *answer) {
    struct exchange *const exchange = answer->exchange;
    log_answer(answer);
    if (answer->stream) {
        answer->dialect->end(answer);
        exchange_on_gone(exchange, NULL, NULL);
        exchange_end(exchange);
        answer_free(answer);
    } else if (n_numbers(answer) >= MANY_NUMBERS) {
        exchange_aside(exchange, reply_whole, answer);
    } else {
        reply_whole(answer);
    }
}

/* ---- From the lane --------------------------------------------------------------------------- */

/* Shows what belongs into the hole. */
static void show(struct choice *choice, bool complete) {
    struct answer *const answer = choice->answer;
    if (choice->over) return;
    const char *const text = choice->text.bytes;
    const size_t n = fim_cut(answer->hole, text, choice->text.n, complete, &choice->over);
    if (choice->n_shown == 0) choice->n_shown = choice->n_skipped = fim_skip(answer->hole, text, n);
    if (n <= choice->n_shown) return;
    const size_t from = choice->n_shown;
    choice->n_shown = n;
    if (answer->stream) answer->dialect->text(choice, text + from, n - from);
}

/* Leaves in the text what was shown of it. */
static void keep_shown(struct choice *choice) {
    struct buffer *const text = &choice->text;
    const size_t n = choice->n_shown - choice->n_skipped;
    memmove(text->bytes, text->bytes + choice->n_skipped, n);
    text->n = n;
    text->bytes[n] = '\0';
}

static void take_text(void *user, const char *text, size_t n_bytes) {
    struct choice *const choice = user;
    struct answer *const answer = choice->answer;
    if (choice->over || !buffer_append(&choice->text, text, n_bytes)) return;
    if (answer->hole) {
        show(choice, false);
        if (choice->over) job_suffices(choice->job);
    } else if (answer->stream) {
        answer->dialect->text(choice, text, n_bytes);
    }
}

/* Whether calls are told before they are complete. */
static bool in_pieces(const struct answer *answer) {
    return answer->stream && answer->dialect->begin_call && !answer->whole_calls;
}

static void begin_call(void *user, const char *name) {
    struct choice *const choice = user;
    struct tool_call call = {.name = mem_strdup(name, strlen(name)), .n_before = choice->text.n};
    if (choice->over || !call.name ||
        !mem_reserve((void **)&choice->calls, &choice->calls_cap, choice->n_calls + 1,
                     sizeof *choice->calls)) {
        mem_free(call.name);
        return;
    }
    tools_new_id(call.id);
    choice->calls[choice->n_calls++] = call;
    choice->in_call = true;
    if (in_pieces(choice->answer))
        choice->answer->dialect->begin_call(choice, &choice->calls[choice->n_calls - 1]);
}

static void take_arguments(void *user, const char *text, size_t n_bytes) {
    struct choice *const choice = user;
    if (!choice->in_call) return;
    if (!buffer_append(&choice->arguments, text, n_bytes)) job_cancel(choice->job);
    if (in_pieces(choice->answer)) choice->answer->dialect->arguments(choice, text, n_bytes);
}

static void end_call(void *user, bool complete) {
    struct choice *const choice = user;
    const struct answer *const answer = choice->answer;
    if (!choice->in_call) return;
    struct tool_call *const call = &choice->calls[choice->n_calls - 1];
    call->arguments = choice->arguments.bytes;
    choice->arguments = (struct buffer){NULL, 0, 0};
    choice->in_call = false;
    choice->n_broken += !complete;
    if (in_pieces(answer) && answer->dialect->end_call) answer->dialect->end_call(choice, call);
    if (answer->stream && !in_pieces(answer)) answer->dialect->call(choice, call);
    if (choice->job->tools->parallel || !complete) return;
    choice->over = true; // after the only call that is wanted nothing counts
    job_suffices(choice->job);
}

static void take_call(void *user, const char *name, const char *arguments) {
    begin_call(user, name);
    take_arguments(user, arguments, strlen(arguments));
    end_call(user, true);
}

static void on_text(struct job *job, const char *text, size_t n_bytes) {
    struct choice *const choice = job->user;
    if (!choice->reader)
        take_text(choice, text, n_bytes);
    else if (!calls_push(choice->reader, text, n_bytes))
        job_cancel(job);
}

bool answer_calls(const struct choice *choice) {
    return choice->n_calls > choice->n_broken && (choice->finish == FINISH_STOP || choice->over);
}

static void on_done(struct job *job) {
    struct choice *const choice = job->user;
    struct answer *const answer = choice->answer;
    if (choice->reader) calls_finish(choice->reader);
    if (answer->hole && choice->text.bytes) {
        show(choice, true);
        keep_shown(choice);
    }
    choice->finish = job->finish;
    snprintf(choice->stopped_by, sizeof choice->stopped_by, "%s", job->stopped_by);
    answer->generated_tokens += job->n_generated;
    answer->drafted_tokens += job->n_drafted;
    answer->accepted_tokens += job->n_accepted;
    if (choice->index % answer->n_samples == 0) answer->cached_tokens += job->n_cached;
    if (choice->index == 0) {
        answer->submitted = job->submitted;
        answer->started = job->started;
        answer->first = job->first;
        answer->ended = job->ended;
    }
    if (job->finish == FINISH_ERROR) {
        const int status = server_http_status(job->err.status);
        char text[sizeof job->err.message];
        snprintf(text, sizeof text, "%s", job->err.message);
        fail(answer, job->err.status, status, text);
        return;
    }
    choice->tokens = job->tokens;
    choice->n_tokens = job->n_tokens;
    job->tokens = NULL;
    choice->vectors = job->vectors;
    job->vectors = NULL;
    choice->job = NULL; // freed by its lane
    if (answer->stream) answer->dialect->done(choice);
    if (--answer->n_left == 0) end(answer);
}

/* ---- The beginning --------------------------------------------------------------------------- */

void answer_add_job(struct answer *answer, size_t i, struct job *job) {
    job->user = &answer->choices[i];
    job->on_text = on_text;
    job->on_done = on_done;
    answer->choices[i].job = job;
}

/* Where tools are offered, the text is looked through for calls of them. */
static bool add_reader(struct choice *choice) {
    const struct job *const job = choice->job;
    if (!job->tools) return true;
    choice->reader = mem_alloc(sizeof *choice->reader);
    if (!choice->reader) return false;
    *choice->reader = (struct call_reader){.tools = job->tools->list,
                                           .hidden = job->call_marks,
                                           .begun = job->tools->required,
                                           .begun_form = job->tools->form,
                                           .on_text = take_text,
                                           .on_call = take_call,
                                           .user = choice};
    if (in_pieces(choice->answer)) {
        choice->reader->on_begin = begin_call;
        choice->reader->on_arguments = take_arguments;
        choice->reader->on_end = end_call;
    }
    return true;
}

static void start(void *user) {
    struct answer *const answer = user;
    struct octet_err err;
    bool fine = true;
    for (size_t i = 0; i < answer->n_choices; i++) fine &= add_reader(&answer->choices[i]);
    if (!fine) {
        fail(answer, OCTET_EMEM, 503, "out of memory");
        return;
    }
    answer->n_left = answer->n_choices;
    for (size_t i = 0; i < answer->n_choices; i += answer->n_samples)
        answer->prompt_tokens += answer->choices[i].job->prompt.n;
    answer->submitted = probe_seconds();
    for (; answer->n_submitted < answer->n_choices; answer->n_submitted++) {
        const enum octet_status status =
            lane_submit(answer->lane, answer->choices[answer->n_submitted].job, &err);
        if (status == OCTET_OK) continue;
        answer->prompt_tokens = answer->choices[answer->n_submitted].job->prompt.n;
        fail(answer, status, status == OCTET_EUNSUPPORTED ? 503 : 400, err.message);
        return;
    }
    if (!answer->stream) return;
    exchange_start(answer->exchange, answer->dialect->stream_type);
    if (answer->dialect->silence) exchange_keep_alive(answer->exchange, answer->dialect->silence);
    if (answer->dialect->begin) answer->dialect->begin(answer);
}

void answer_start(struct answer *answer) {
    exchange_on_gone(answer->exchange, on_gone, answer);
    exchange_then(answer->exchange, start, answer);
}

struct lane *answer_lane(struct server *server, struct exchange *exchange, struct body *body) {
    size_t n_bytes;
    const char *const bytes = exchange_body(exchange, &n_bytes);
    const bool readable = body_open(body, bytes, n_bytes);
    struct lane *const lane = readable ? asked_lane(body, server) : NULL;
    if (lane) return lane;
    exchange_error(exchange, readable ? 404 : 400, body->wrong);
    body_close(body);
    return NULL;
}

void answer_or_refuse(struct answer *answer, struct exchange *exchange, struct body *body) {
    if (!answer) body_complain(body, "out of memory");
    if (!body->wrong[0]) {
        answer_start(answer);
    } else {
        if (answer) answer_free(answer);
        exchange_error(exchange, 400, body->wrong);
    }
    body_close(body);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void send_json(struct answer *answer, const char *before, json_t *json, const char *after) {
    char *const text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct buffer line = {NULL, 0, 0};
    if (text && buffer_append_text(&line, before) && buffer_append_text(&line, text) &&
        buffer_append_text(&line, after))
        exchange_piece(answer->exchange, line.bytes, line.n);
    buffer_free(&line);
    free(text);
    json_decref(json);
}

void answer_send_event(struct answer *answer, const char *event, json_t *json) {
    char before[64] = "data: ";
    answer->n_events++;
    if (event) snprintf(before, sizeof before, "event: %s\ndata: ", event);
    send_json(answer, before, json, "\n\n");
}

void answer_send_line(struct answer *answer, json_t *json) { send_json(answer, "", json, "\n"); }

static double rate(double n, double seconds) { return seconds > 0 ? n / seconds : 0; }

double answer_prefill_s(const struct answer *r) {
    return (r->first > 0 ? r->first : r->ended) - r->started;
}
double answer_decode_s(const struct answer *r) { return r->first > 0 ? r->ended - r->first : 0; }

json_t *answer_timings(const struct answer *r) {
    const double prefill = answer_prefill_s(r), decode = answer_decode_s(r);
    const double n_prompt = (double)(r->prompt_tokens - r->cached_tokens);
    const double n = (double)r->generated_tokens;
    json_t *const out = json_pack(
        "{s:I, s:I, s:f, s:f, s:I, s:f, s:f}", "cache_n", (json_int_t)r->cached_tokens, "prompt_n",
        (json_int_t)n_prompt, "prompt_ms", 1e3 * prefill, "prompt_per_second",
        rate(n_prompt, prefill), "predicted_n", (json_int_t)n, "predicted_ms", 1e3 * decode,
        "predicted_per_second", rate(n, decode));
    if (r->drafted_tokens > 0) {
        json_object_set_new(out, "draft_n", json_integer((json_int_t)r->drafted_tokens));
        json_object_set_new(out, "draft_n_accepted", json_integer((json_int_t)r->accepted_tokens));
    }
    return out;
}
