/* Many POST requests to one API, several under way at once: waiting, trying again, not asking too
 * often and not waiting forever. What is asked and what an answer is worth is the owner's business;
 * see struct http_owner. */
#ifndef OCTET_COMPARE_HTTP_CLIENT_H
#define OCTET_COMPARE_HTTP_CLIENT_H

#include "octet.h"

enum { HTTP_BODY_BYTES = 64 << 20 }; // longer answers are broken off

struct http_options {
    size_t n_parallel;
    double requests_per_minute;  // 0: no limit
    double timeout_s;            // without a byte; ten times that without progress
    double backoff_s;            // about the wait before the first retry, doubled each time
    int n_retries;               // of one call
    uint64_t seed;               // of the jitter
    const char *const *headers;  // NULL-terminated "Name: value", may hold secrets
    bool direct;                 // past any proxy
    volatile const bool *cancel; // or NULL
};

/* What to send; must live until end was called. */
struct http_call {
    const char *url, *body;
    size_t n_body;
};

enum http_start {
    HTTP_CALL,    // *call is to be sent
    HTTP_LATER,   // not before another call has ended
    HTTP_NO_MORE, // nothing is left for this slot
    HTTP_HALT,    // end the run now
};

enum http_take {
    HTTP_MORE,
    HTTP_PROGRESS, // more, and these bytes counted
    HTTP_LAST,     // what may follow does not matter
    HTTP_ENOUGH,   // break off; what is there is the answer
};

/* How an attempt ended. */
struct http_attempt {
    long status;         // 0: no answer came
    const char *type;    // content type, "" if none
    const char *failure; // why the body is not complete, or NULL
    int n_before;        // attempts before this one
    bool last;           // there will be no other
    double sent, ended;  // probe_seconds
};

enum http_verdict {
    HTTP_SETTLED, // the slot is free for the next call
    HTTP_AGAIN,   // not after the last attempt
    HTTP_BREAK,   // end the run now
};

/* SLOT < n_parallel tells the calls under way apart. All are called from the thread of http_run. */
struct http_owner {
    /* A call may start in SLOT; AGAIN: the same as before, another attempt. */
    enum http_start (*start)(void *user, size_t slot, bool again, struct http_call *call);
    /* A piece of the body. SENT: when the request was on its way (probe_seconds). */
    enum http_take (*body)(void *user, size_t slot, long status, double sent, const char *bytes,
                           size_t n_bytes);
    enum http_verdict (*end)(void *user, size_t slot, const struct http_attempt *attempt);
    /* Told before the wait that HTTP_AGAIN leads to. */
    void (*waits)(void *user, size_t slot, double seconds);
    void *user;
};

/* OK once every slot said HTTP_NO_MORE; ECANCELLED when cancelled or ended by the owner, with calls
 * under way broken off and not told. */
enum octet_status http_run(const struct http_options *options, const struct http_owner *owner,
                           struct octet_err *err);

/* Seconds that a Retry-After header (a number, or a date) asks for, counted from NOW (seconds since
 * 1970); negative: unreadable. */
double http_retry_after(const char *value, double now);

#endif
