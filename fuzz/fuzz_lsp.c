/* An editor's bytes: frames, in pieces of a length that the first byte gives, JSON, and edits of a
 * document, each held against a plain way to do it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lsp/docs.h"
#include "lsp/frames.h"
#include "lsp/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int condition) {
    if (!condition) abort();
}

static size_t number_at(const json_t *json, size_t i) {
    const json_int_t n = json_integer_value(json_array_get(json, i));
    return n > 0 ? (size_t)n : 0;
}

/* ["text", line, character, line, character]: the text that comes out is what stood before the
 * first place, the new text, and what stood from the second on. */
static void edit(struct docs *docs, struct doc *doc, const json_t *json) {
    const json_t *const text = json_array_get(json, 0);
    const struct range range = {{number_at(json, 1), number_at(json, 2)},
                                {number_at(json, 3), number_at(json, 4)}};
    struct buffer expected = {NULL, 0, 0};
    if (!json_is_string(text)) return;
    const size_t n_text = json_string_length(text), n_old = doc->text.n;
    const size_t a = docs_at(docs, doc, range.start), end = docs_at(docs, doc, range.end);
    const size_t b = end > a ? end : a;
    require(b <= n_old);
    const struct position back = docs_position(docs, doc, a);
    require(docs_at(docs, doc, back) == a);
    require(buffer_append(&expected, doc->text.bytes, a) &&
            buffer_append(&expected, json_string_value(text), n_text) &&
            buffer_append(&expected, doc->text.bytes + b, n_old - b));
    docs_edit(docs, doc, &range, json_string_value(text), n_text);
    require(doc->text.n == expected.n &&
            memcmp(doc->text.bytes, expected.bytes, expected.n + 1) == 0);
    require(docs->first == doc && doc->edited_at == a);
    buffer_free(&expected);
}

static void read_body(struct docs *docs, struct doc *doc, const char *body, size_t n) {
    json_t *const json = wire_parse(body, n);
    size_t i;
    json_t *item;
    docs->units = n % 2 ? UNITS_UTF8 : UNITS_UTF16;
    if (json_is_array(json))
        json_array_foreach(json, i, item) edit(docs, doc, item);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct frames frames = {0};
    struct docs docs = {0};
    if (n == 0) return 0;
    const size_t piece = 1 + data[0];
    const char *const text = (const char *)data + 1, *body;
    struct doc *const doc = docs_open(&docs, "u", "c", text, n - 1);
    size_t n_body, n_read = 0;
    require(doc != NULL && docs_open(&docs, "v", "c", "", 0) != NULL);
    for (size_t at = 0; at < n - 1; at += piece) {
        const size_t n_piece = n - 1 - at < piece ? n - 1 - at : piece;
        require(frames_push(&frames, text + at, n_piece));
        enum frame frame;
        while ((frame = frames_next(&frames, &body, &n_body)) == FRAME_BODY) {
            n_read += n_body;
            read_body(&docs, doc, body, n_body);
        }
        if (frame == FRAME_BROKEN) break;
    }
    require(n_read < n);
    frames_free(&frames);
    docs_free(&docs);
    return 0;
}
