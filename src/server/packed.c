/* See packed.h. */
#include "server/packed.h"

#include <stdint.h>
#include <strings.h>
#include <zlib.h>

enum { WINDOW_BITS = 15, ANY_WRAPPING = 32 }; // of zlib: gzip's and its own are told apart

static int inflate_all(z_stream *z, size_t max_bytes, struct buffer *out) {
    char part[16384];
    for (;;) {
        z->next_out = (unsigned char *)part;
        z->avail_out = sizeof part;
        const int status = inflate(z, Z_NO_FLUSH);
        const size_t n = sizeof part - z->avail_out;
        if (status == Z_MEM_ERROR) return 503;
        if (status != Z_OK && status != Z_STREAM_END) return 400;
        if (n > max_bytes - out->n) return 413;
        if (!buffer_append(out, part, n)) return 503;
        if (status == Z_STREAM_END) return z->avail_in == 0 ? 0 : 400;
        if (n == 0 && z->avail_in == 0) return 400; // ends too early
    }
}

int packed_open(const char *encoding, const char *bytes, size_t n_bytes, size_t max_bytes,
                struct buffer *out) {
    const bool known = strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0 ||
                       strcasecmp(encoding, "deflate") == 0;
    if (!known) return 415;
    if (n_bytes > UINT32_MAX) return 413;
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (uInt)n_bytes};
    if (inflateInit2(&z, WINDOW_BITS + ANY_WRAPPING) != Z_OK) return 503;
    const int status = inflate_all(&z, max_bytes, out);
    inflateEnd(&z);
    return status;
}
