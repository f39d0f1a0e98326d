/* See http.h. libcurl does the work; this file decides where it may go and what is read. */
#include "cli/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "base/mem.h"
#include "base/status.h"

enum { MAX_HOPS = 8 };

struct transfer {
    const struct http_request *request;
    struct http_reply *reply;
    CURL *curl;
    bool begun;   // begin was called
    bool stopped; // a callback returned false
};

/* ---- Addresses ------------------------------------------------------------------------------- */

/* https anywhere; http to this machine, and then only where the first address was such. */
static bool allowed(const char *url, bool first, bool *local) {
    CURLU *const parts = curl_url();
    char *scheme = NULL, *host = NULL;
    bool fine = false;
    if (parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        const bool http_here = strcmp(scheme, "http") == 0 && host_is_loopback(host);
        if (first) *local = http_here;
        fine = strcmp(scheme, "https") == 0 || (http_here && *local);
    }
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parts);
    return fine;
}

/* ---- Reading the answer ---------------------------------------------------------------------- */

static uint64_t parse_count(const char *text) {
    return text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : HTTP_UNKNOWN;
}

/* "bytes 100-199/200" */
static void parse_range(const char *text, struct http_reply *reply) {
    if (strncmp(text, "bytes ", 6) != 0) return;
    const char *const slash = strchr(text, '/');
    reply->range_first = parse_count(text + 6);
    if (slash) reply->range_total = parse_count(slash + 1);
}

/* An entity tag that is a SHA-256, as the hub has them: the 64 hex digits in quotes. */
static void parse_linked_etag(const char *text, struct http_reply *reply) {
    text += text[0] == '"';
    if (strspn(text, "0123456789abcdefABCDEF") != 64) return;
    memcpy(reply->linked_sha256, text, 64);
    for (size_t i = 0; i < 64; i++)
        if (text[i] >= 'A' && text[i] <= 'F') reply->linked_sha256[i] = (char)(text[i] + 32);
}

static size_t on_header(char *line, size_t size, size_t n, void *user) {
    struct transfer *const t = user;
    struct http_reply *const reply = t->reply;
    char text[512];
    const size_t n_text = n < sizeof text ? n : sizeof text - 1;
    memcpy(text, line, n_text);
    text[n_text] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (strncmp(text, "HTTP/", 5) == 0) {
        reply->n_bytes = reply->range_first = reply->range_total = HTTP_UNKNOWN;
        return size * n;
    }
    char *value = strchr(text, ':');
    if (!value) return size * n;
    *value++ = '\0';
    value += strspn(value, " \t");
    if (strcasecmp(text, "content-length") == 0) reply->n_bytes = parse_count(value);
    if (strcasecmp(text, "content-range") == 0) parse_range(value, reply);
    if (strcasecmp(text, "x-linked-size") == 0) reply->linked_bytes = parse_count(value);
    if (strcasecmp(text, "x-linked-etag") == 0) parse_linked_etag(value, reply);
    return size * n;
}

static bool begin(struct transfer *t) {
    if (t->begun) return true;
    t->begun = true;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->reply->status);
    return t->request->begin(t->request->user, t->reply);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user) {
    struct transfer *const t = user;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299) return size * n; // the text of a redirect or an error
    if (begin(t) && t->request->body(t->request->user, bytes, size * n)) return size * n;
    t->stopped = true;
    return 0;
}

static int on_tick(void *user, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total,
                   curl_off_t ul_now) {
    (void)dl_total, (void)dl_now, (void)ul_total, (void)ul_now;
    struct transfer *const t = user;
    if (t->request->tick(t->request->user)) return 0;
    t->stopped = true;
    return 1;
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void configure(struct transfer *t) {
    const struct http_request *const r = t->request;
    CURL *const curl = t->curl;
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "octet/" OCTET_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)r->timeout_seconds);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)r->timeout_seconds);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 100L);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    if (r->head) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (r->offset > 0) { // as a range: curl's own resuming fails where a server ignores it
        char range[32];
        snprintf(range, sizeof range, "%llu-", (unsigned long long)r->offset);
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
    }
}

/* What curl could not do, sorted by whether it may work next time. */
static enum http_outcome judge(const struct transfer *t, CURLcode code, const char *url,
                               struct octet_err *err) {
    if (t->stopped) return HTTP_STOPPED;
    octet_fail(err, OCTET_EIO, "%s: %s", url, curl_easy_strerror(code));
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return HTTP_BROKEN;
    default:
        return HTTP_FAILED;
    }
}

/* Follows redirects from *url until an answer is final; *url becomes its address. */
static enum http_outcome follow(struct transfer *t, char **url, struct octet_err *err) {
    bool local = false;
    for (int hop = 0; hop < MAX_HOPS; hop++) {
        if (!allowed(*url, hop == 0, &local)) {
            octet_fail(err, OCTET_EARG, "%s: only https addresses are fetched", *url);
            return HTTP_FAILED;
        }
        curl_easy_setopt(t->curl, CURLOPT_URL, *url);
        const CURLcode code = curl_easy_perform(t->curl);
        if (code != CURLE_OK || t->stopped) return judge(t, code, *url, err);
        curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->reply->status);
        const long status = t->reply->status;
        if (status < 300 || status > 399) {
            const bool good = status >= 200 && status <= 299;
            if (good && !t->request->head && !begin(t)) return HTTP_STOPPED; // an empty body
            return HTTP_ANSWERED;
        }
        if (t->request->head && t->reply->linked_sha256[0] != '\0') return HTTP_ANSWERED;
        char *next = NULL;
        curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &next);
        char *const copy = next ? mem_strdup(next, strlen(next)) : NULL;
        if (!copy) break;
        mem_free(*url);
        *url = copy;
    }
    octet_fail(err, OCTET_EIO, "%s: a redirect that leads nowhere", t->request->url);
    return HTTP_FAILED;
}

enum http_outcome http_perform(const struct http_request *request, struct http_reply *reply,
                               struct octet_err *err) {
    *reply = (struct http_reply){.n_bytes = HTTP_UNKNOWN, .range_first = HTTP_UNKNOWN,
                                 .range_total = HTTP_UNKNOWN, .linked_bytes = HTTP_UNKNOWN};
    struct transfer t = {.request = request, .reply = reply, .curl = curl_easy_init()};
    char *url = mem_strdup(request->url, strlen(request->url));
    enum http_outcome outcome = HTTP_FAILED;
    if (t.curl && url) {
        configure(&t);
        outcome = follow(&t, &url, err);
    } else {
        octet_fail_memory(err, "a request", 0);
    }
    mem_free(url);
    curl_easy_cleanup(t.curl);
    return outcome;
}
