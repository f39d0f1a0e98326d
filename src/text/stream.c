/* Text that arrives token by token: whole UTF-8 characters go out, the start of one waits. What can
 * not become a character is replaced by one U+FFFD per longest valid start, so the outcome does not
 * depend on where the pieces were cut. */
#include <string.h>

#include "octet.h"

static const char replacement[] = "\xef\xbf\xbd"; // U+FFFD
enum { N_REPLACEMENT = sizeof replacement - 1 };

/* Bytes of the character that LEAD starts; 0: starts none. */
static size_t char_length(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0;
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}

/* Whether BYTE may follow the bytes held so far: overlong forms, surrogates and code points past
 * U+10FFFF show in the second byte. */
static bool continues(const struct octet_stream *stream, unsigned char byte) {
    unsigned char lead = (unsigned char)stream->pending[0], low = 0x80, high = 0xbf;
    if (stream->n_pending == 1) {
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    }
    return byte >= low && byte <= high;
}

size_t octet_stream_flush(struct octet_stream *stream, char *out) {
    if (stream->n_pending == 0) return 0;
    stream->n_pending = 0;
    memcpy(out, replacement, N_REPLACEMENT);
    return N_REPLACEMENT;
}

size_t octet_stream_push(struct octet_stream *stream, const char *bytes, size_t n_bytes,
                         char *out) {
    size_t n_out = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (stream->n_pending > 0 && !continues(stream, byte))
            n_out += octet_stream_flush(stream, out + n_out);
        stream->pending[stream->n_pending++] = bytes[i];
        size_t n_char = char_length((unsigned char)stream->pending[0]);
        if (n_char == 0) {
            n_out += octet_stream_flush(stream, out + n_out);
        } else if (stream->n_pending == n_char) {
            memcpy(out + n_out, stream->pending, n_char);
            n_out += n_char;
            stream->n_pending = 0;
        }
    }
    return n_out;
}
