/* Cuts the body of a streaming answer into events: server-sent events as HTML's standard defines
 * them, in pieces of any size. A body that is one JSON document instead, as servers send that do
 * not stream, is one event. */
#ifndef OCTET_COMPARE_SSE_H
#define OCTET_COMPARE_SSE_H

#include "base/buffer.h"

enum { SSE_EVENT_BYTES = 16 << 20 }; // more in one event is refused

enum sse_mode { SSE_UNDECIDED, SSE_LINES, SSE_DOCUMENT };

/* TYPE: of the event, "message" where the stream names none. DATA (n_bytes) is NUL-terminated and
 * lives during the call only. False stops. */
typedef bool (*sse_fn)(void *user, const char *type, const char *data, size_t n_bytes);

/* Zero it first, with fn and user set; sse_free it last. */
struct sse {
    sse_fn fn;
    void *user;
    enum sse_mode mode;
    bool after_cr; // the next '\n' belongs to the last line's end
    bool has_data; // a data line of the event at hand was there
    struct buffer line, data, type;
};

enum sse_outcome {
    SSE_OK,
    SSE_STOPPED,   // fn said so
    SSE_TOO_LARGE, // an event beyond SSE_EVENT_BYTES
    SSE_NO_MEMORY,
};

enum sse_outcome sse_push(struct sse *sse, const char *bytes, size_t n_bytes);
/* The body ended: hands out what no blank line closed. */
enum sse_outcome sse_finish(struct sse *sse);
void sse_free(struct sse *sse);

#endif
