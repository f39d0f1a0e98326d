/* Bodies that arrive compressed. */
#ifndef OCTET_SERVER_PACKED_H
#define OCTET_SERVER_PACKED_H

#include "base/buffer.h"

/* Appends to OUT what BYTES are in ENCODING, as Content-Encoding names it. 0: fine; else the status
 * of HTTP to answer with: 400 damaged, 413 more than MAX_BYTES, 415 an encoding that is not known,
 * 503 out of memory. */
int packed_open(const char *encoding, const char *bytes, size_t n_bytes, size_t max_bytes,
                struct buffer *out);

#endif
