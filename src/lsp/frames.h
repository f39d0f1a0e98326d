/* Messages in a stream of bytes, as the base protocol of LSP frames them: header lines, a blank
 * line, Content-Length bytes. */
#ifndef OCTET_LSP_FRAMES_H
#define OCTET_LSP_FRAMES_H

#include <stdint.h>

#include "base/buffer.h"

enum { FRAME_HEADER_BYTES = 4096, FRAME_BODY_BYTES = 64 << 20 };

enum frame {
    FRAME_MORE,     // bytes are missing
    FRAME_BODY,     // a whole message
    FRAME_TOO_LONG, // one that is passed over
    FRAME_BROKEN,   // no header; where the next message begins can not be known
};

/* Zero it first, frames_free it last. */
struct frames {
    struct buffer in;
    size_t at;     // bytes of IN that are done with
    size_t n_skip; // bytes still to pass over
    bool broken;
};

bool frames_push(struct frames *frames, const char *bytes, size_t n_bytes); // false: no memory
/* The next message; BODY (n), NUL-terminated or not, lives until the next call of either. */
enum frame frames_next(struct frames *frames, const char **body, size_t *n_bytes);
bool frames_is_inside(const struct frames *frames); // a message has begun and not ended
void frames_free(struct frames *frames);

#endif
