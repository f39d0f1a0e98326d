/* Server-sent events from fuzzed bytes: however the stream is cut, the same events come out, each
 * NUL-terminated and none larger than what came in. The first byte says where to cut. */
#include "compare/sse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    uint64_t hash;
    size_t n_bytes;
};

static bool on_event(void *user, const char *type, const char *data, size_t n_bytes) {
    struct seen *const seen = user;
    if (data[n_bytes] != '\0') abort();
    seen->n_bytes += n_bytes;
    seen->hash = hash_bytes(seen->hash, type, strlen(type) + 1);
    seen->hash = hash_bytes(seen->hash, data, n_bytes + 1);
    return true;
}

static struct seen read_in_pieces(const char *bytes, size_t n, size_t piece) {
    struct seen seen = {HASH_INIT, 0};
    struct sse sse = {.fn = on_event, .user = &seen};
    for (size_t at = 0; at < n; at += piece) {
        const size_t n_piece = n - at < piece ? n - at : piece;
        if (sse_push(&sse, bytes + at, n_piece) != SSE_OK) abort();
    }
    if (sse_finish(&sse) != SSE_OK) abort();
    sse_free(&sse);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    const size_t piece = 1 + data[0] % 7;
    const char *const bytes = (const char *)data + 1;
    const struct seen whole = read_in_pieces(bytes, n - 1, n);
    const struct seen cut = read_in_pieces(bytes, n - 1, piece);
    if (whole.hash != cut.hash || whole.n_bytes != cut.n_bytes || whole.n_bytes > n) abort();
    return 0;
}
