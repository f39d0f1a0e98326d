/* See http_client.h. */
#include "compare/http_client.h"

#include <curl/curl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/status.h"

static const double longest_wait_s = 600; // a server that wants more is given up
static const double longest_backoff_s = 60;
static const double patience_after_last_s = 1;
static const double poll_s = 0.1;

enum slot_state { IDLE, WAITING, RUNNING, FINISHED };

struct slot {
    struct client *client;
    size_t i;
    enum slot_state state;
    CURL *curl;
    struct http_call call;
    int n_attempts;
    double wake; // WAITING: when to try again
    double begun, last_byte, last_progress, sent;
    size_t n_bytes;
    bool enough, last; // as the owner said
    bool too_long;
};

struct client {
    const struct http_options *options;
    const struct http_owner *owner;
    CURLM *multi;
    struct curl_slist *headers;
    struct slot *slots;
    uint64_t random;
    double next_start; // by the rate limit
    double not_before; // by a Retry-After
    bool halted;
};

/* ---- When to try again ----------------------------------------------------------------------- */

double http_retry_after(const char *value, double now) {
    char *end;
    const double seconds = strtod(value, &end);
    if (end != value && end[strspn(end, " \t")] == '\0') {
        return isfinite(seconds) && seconds >= 0 ? seconds : -1;
    }
    const time_t date = curl_getdate(value, NULL);
    if (date == (time_t)-1) return -1;
    return (double)date > now ? (double)date - now : 0;
}

/* What the server asks for, in seconds; negative: nothing. */
static double asked_wait(CURL *curl) {
    struct curl_header *header;
    if (curl_easy_header(curl, "retry-after-ms", 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
        const double ms = http_retry_after(header->value, 0);
        if (ms >= 0) return ms / 1000;
    }
    if (curl_easy_header(curl, "retry-after", 0, CURLH_HEADER, -1, &header) != CURLHE_OK) return -1;
    return http_retry_after(header->value, (double)time(NULL));
}

/* 0 to 1, the same row of numbers for the same seed (splitmix64). */
static double draw(struct client *client) {
    uint64_t z = client->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static double backoff(struct client *client, int n_before) {
    const double wait = client->options->backoff_s * exp2(n_before);
    return fmin(wait, longest_backoff_s) * (0.5 + 0.5 * draw(client));
}

/* ---- One attempt ----------------------------------------------------------------------------- */

static long status_of(CURL *curl) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user) {
    struct slot *const slot = user;
    const size_t n_bytes = size * n;
    const double now = probe_seconds();
    if (slot->n_bytes == 0) { // without what connecting took
        curl_off_t connected = 0;
        curl_easy_getinfo(slot->curl, CURLINFO_PRETRANSFER_TIME_T, &connected);
        slot->sent = slot->begun + (double)connected * 1e-6;
    }
    slot->last_byte = now;
    slot->n_bytes += n_bytes;
    slot->too_long = slot->n_bytes > HTTP_BODY_BYTES;
    if (slot->too_long) return 0;
    if (slot->last) return n_bytes;
    const struct http_owner *const owner = slot->client->owner;
    const enum http_take take =
        owner->body(owner->user, slot->i, status_of(slot->curl), slot->sent, bytes, n_bytes);
    if (take == HTTP_PROGRESS) slot->last_progress = now;
    slot->last = take == HTTP_LAST;
    slot->enough = take == HTTP_ENOUGH;
    return slot->enough ? 0 : n_bytes;
}

static void configure(struct slot *slot) {
    CURL *const curl = slot->curl;
    const struct client *const client = slot->client;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, slot->call.url);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, slot->call.body);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)slot->call.n_body);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, client->headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "octet/" OCTET_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, slot);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, slot);
    // Redirects stay unfollowed: the key is for this address only.
    if (client->options->direct) curl_easy_setopt(curl, CURLOPT_PROXY, "");
}

static enum octet_status begin(struct slot *slot, struct octet_err *err) {
    struct client *const client = slot->client;
    configure(slot);
    slot->state = RUNNING;
    slot->begun = slot->last_byte = slot->last_progress = slot->sent = probe_seconds();
    slot->n_bytes = 0;
    slot->enough = slot->last = slot->too_long = false;
    const double per_minute = client->options->requests_per_minute;
    if (per_minute > 0)
        client->next_start = fmax(slot->begun, client->next_start) + 60 / per_minute;
    const CURLMcode code = curl_multi_add_handle(client->multi, slot->curl);
    if (code == CURLM_OK) return OCTET_OK;
    slot->state = IDLE;
    return octet_fail(err, OCTET_EIO, "starting a request: %s", curl_multi_strerror(code));
}

/* The attempt is over; FAILURE as in struct http_attempt, HOPELESS: the next one would fail too. */
static void end(struct slot *slot, const char *failure, bool hopeless) {
    struct client *const client = slot->client;
    const char *type = NULL;
    curl_easy_getinfo(slot->curl, CURLINFO_CONTENT_TYPE, &type);
    const double asked = asked_wait(slot->curl);
    const struct http_attempt attempt = {
        .status = status_of(slot->curl),
        .type = type ? type : "",
        .failure = slot->enough || slot->last ? NULL : failure,
        .n_before = slot->n_attempts,
        .last =
            hopeless || slot->n_attempts >= client->options->n_retries || asked > longest_wait_s,
        .sent = slot->sent,
        .ended = probe_seconds(),
    };
    curl_multi_remove_handle(client->multi, slot->curl);
    slot->state = IDLE;
    const enum http_verdict verdict = client->owner->end(client->owner->user, slot->i, &attempt);
    if (verdict == HTTP_BREAK) client->halted = true;
    if (verdict != HTTP_AGAIN) return;
    const double wait = fmax(asked, 0) + backoff(client, asked >= 0 ? -2 : slot->n_attempts);
    slot->state = WAITING;
    slot->wake = attempt.ended + wait;
    slot->n_attempts++;
    if (asked > 0) client->not_before = fmax(client->not_before, attempt.ended + asked);
    client->owner->waits(client->owner->user, slot->i, wait);
}

static bool is_hopeless(CURLcode code) {
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_OUT_OF_MEMORY: return true;
    default: return false;
    }
}

static const char *time_out(const struct slot *slot, double now) {
    const double limit = slot->client->options->timeout_s;
    if (slot->last && now - slot->last_byte > patience_after_last_s) return "no end";
    if (now - slot->last_byte > limit) return "no byte came for too long";
    return now - slot->last_progress > 10 * limit ? "no text came for too long" : NULL;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static enum octet_status start_slot(struct slot *slot, double now, struct octet_err *err) {
    struct client *const client = slot->client;
    const bool again = slot->state == WAITING;
    if (slot->state != IDLE && !(again && now >= slot->wake)) return OCTET_OK;
    if (now < client->next_start || now < client->not_before) return OCTET_OK;
    switch (client->owner->start(client->owner->user, slot->i, again, &slot->call)) {
    case HTTP_CALL:
        if (!again) slot->n_attempts = 0;
        return begin(slot, err);
    case HTTP_LATER: break;
    case HTTP_NO_MORE: slot->state = FINISHED; break;
    case HTTP_HALT: client->halted = true; break;
    }
    return OCTET_OK;
}

static bool cancelled(const struct client *client) {
    return client->options->cancel && *client->options->cancel;
}

/* True while there is something to wait for. */
static bool start_slots(struct client *client, enum octet_status *status, struct octet_err *err) {
    bool open = false;
    const double now = probe_seconds();
    for (size_t i = 0; i < client->options->n_parallel && !client->halted; i++) {
        *status = start_slot(&client->slots[i], now, err);
        if (*status != OCTET_OK) return false;
        open |= client->slots[i].state != FINISHED;
    }
    return open && !client->halted;
}

static void end_slots(struct client *client) {
    CURLMsg *message;
    int n_left;
    while (!client->halted && (message = curl_multi_info_read(client->multi, &n_left)) != NULL) {
        struct slot *slot;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
        const CURLcode code = message->data.result;
        const char *const why =
            slot->too_long ? "the answer is too long" : curl_easy_strerror(code);
        end(slot, code == CURLE_OK ? NULL : why, slot->too_long || is_hopeless(code));
    }
    const double now = probe_seconds();
    for (size_t i = 0; i < client->options->n_parallel && !client->halted; i++) {
        struct slot *const slot = &client->slots[i];
        const char *const failure = slot->state == RUNNING ? time_out(slot, now) : NULL;
        if (failure) end(slot, failure, false);
    }
}

/* Until something may happen that no socket tells. */
static int poll_ms(const struct client *client) {
    const double now = probe_seconds();
    const double start = fmax(client->next_start, client->not_before);
    double wait = poll_s;
    for (size_t i = 0; i < client->options->n_parallel; i++) {
        const struct slot *const slot = &client->slots[i];
        if (slot->state != WAITING && slot->state != IDLE) continue;
        const double when = slot->state == WAITING ? fmax(slot->wake, start) : start;
        if (when > now) wait = fmin(wait, when - now);
    }
    return (int)ceil(wait * 1000);
}

static enum octet_status run(struct client *client, struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    while (start_slots(client, &status, err)) {
        if (cancelled(client)) return octet_fail(err, OCTET_ECANCELLED, "cancelled");
        int n_running;
        CURLMcode code = curl_multi_perform(client->multi, &n_running);
        end_slots(client);
        if (code == CURLM_OK && !client->halted) {
            code = curl_multi_poll(client->multi, NULL, 0, poll_ms(client), NULL);
        }
        if (code != CURLM_OK) {
            return octet_fail(err, OCTET_EIO, "network: %s", curl_multi_strerror(code));
        }
    }
    if (client->halted) return octet_fail(err, OCTET_ECANCELLED, "stopped");
    return status;
}

static void free_headers(struct curl_slist *headers) {
    for (struct curl_slist *h = headers; h; h = h->next) explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

static bool add_header(struct client *client, const char *header) {
    struct curl_slist *const longer = curl_slist_append(client->headers, header);
    if (longer) client->headers = longer;
    return longer != NULL;
}

static bool open_client(struct client *client) {
    client->multi = curl_multi_init();
    client->slots = mem_array(client->options->n_parallel, sizeof *client->slots);
    if (!client->multi || !client->slots) return false;
    for (size_t i = 0; i < client->options->n_parallel; i++) {
        struct slot *const slot = &client->slots[i];
        *slot = (struct slot){.client = client, .i = i, .curl = curl_easy_init()};
        if (!slot->curl) return false;
    }
    // "Expect" is cleared: asking first whether a long body is welcome costs a round trip.
    if (!add_header(client, "Expect:")) return false;
    for (size_t i = 0; client->options->headers[i]; i++)
        if (!add_header(client, client->options->headers[i])) return false;
    return true;
}

static void close_client(struct client *client) {
    for (size_t i = 0; client->slots && i < client->options->n_parallel; i++) {
        struct slot *const slot = &client->slots[i];
        if (slot->state == RUNNING) curl_multi_remove_handle(client->multi, slot->curl);
        curl_easy_cleanup(slot->curl);
    }
    mem_free(client->slots);
    curl_multi_cleanup(client->multi);
    free_headers(client->headers);
}

enum octet_status http_run(const struct http_options *options, const struct http_owner *owner,
                           struct octet_err *err) {
    struct client client = {.options = options, .owner = owner, .random = options->seed};
    const enum octet_status status =
        open_client(&client) ? run(&client, err) : octet_fail_memory(err, "requests", 0);
    close_client(&client);
    return status;
}
