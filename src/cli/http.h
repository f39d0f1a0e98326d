/* One HTTP request, redirects followed by hand: the hub states size and SHA-256 of a file in its
 * own answer, before it redirects to wherever the bytes are. HTTPS only, but for this machine. */
#ifndef OCTET_CLI_HTTP_H
#define OCTET_CLI_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octet.h"

#define HTTP_UNKNOWN UINT64_MAX

/* What the server said. Every hop overwrites what came before, but for what is linked. */
struct http_reply {
    long status;
    uint64_t n_bytes;                    // of this answer's body; HTTP_UNKNOWN
    uint64_t range_first, range_total;   // of a partial answer; HTTP_UNKNOWN
    char linked_sha256[65];              // of the file, "" where no hop stated it
    uint64_t linked_bytes;               // of the file; HTTP_UNKNOWN
};

struct http_request {
    const char *url;
    bool head;       // no body: ask what is there, and stop where it is stated
    uint64_t offset; // first byte wanted; 0: all
    int32_t timeout_seconds; // to connect, and to endure silence
    /* A 2xx answer arrived; false ends the request (HTTP_STOPPED). */
    bool (*begin)(void *user, const struct http_reply *reply);
    bool (*body)(void *user, const char *bytes, size_t n_bytes); // the same
    bool (*tick)(void *user); // several times a second; the same
    void *user;
};

enum http_outcome {
    HTTP_ANSWERED, // any status, with the whole body
    HTTP_BROKEN,   // the network failed; trying again may help
    HTTP_FAILED,   // it will not
    HTTP_STOPPED,  // a callback said so
};

/* On HTTP_BROKEN and HTTP_FAILED, ERR says why: EIO, or EARG for an address not allowed. */
enum http_outcome http_perform(const struct http_request *request, struct http_reply *reply,
                               struct octet_err *err);

#endif
