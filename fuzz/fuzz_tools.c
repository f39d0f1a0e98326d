/* Calls of tools in fuzzed answers: however the text is cut, the same is told; where no call is
 * found and no mark is hidden, all of it is; arguments are JSON objects. The first byte says where
 * to cut and what is hidden. */
#include "server/calls.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct told {
    uint64_t text, calls;
    size_t n_text, n_calls;
};

static void on_text(void *user, const char *text, size_t n_bytes) {
    struct told *const told = user;
    told->text = hash_bytes(told->text, text, n_bytes);
    told->n_text += n_bytes;
}

static void on_call(void *user, const char *name, const char *arguments) {
    struct told *const told = user;
    json_t *const json = json_loads(arguments, 0, NULL);
    if (!json_is_object(json) || (strcmp(name, "f") != 0 && strcmp(name, "g") != 0)) abort();
    json_decref(json);
    told->calls = hash_bytes(told->calls, name, strlen(name) + 1);
    told->calls = hash_bytes(told->calls, arguments, strlen(arguments) + 1);
    told->calls = hash_bytes(told->calls, &told->n_text, sizeof told->n_text);
    told->n_calls++;
}

static struct told read_in_pieces(const json_t *tools, uint8_t how, const char *bytes, size_t n,
                                  size_t piece) {
    struct told told = {HASH_INIT, HASH_INIT, 0, 0};
    struct call_reader reader = {.tools = tools, .hidden = how & 0x40 ? 0x3f : 0,
                                 .begun = how & 0x80, .begun_form = how >> 4 & 3,
                                 .on_text = on_text, .on_call = on_call, .user = &told};
    for (size_t at = 0; at < n; at += piece)
        if (!calls_push(&reader, bytes + at, n - at < piece ? n - at : piece)) abort();
    if (!calls_finish(&reader)) abort();
    calls_free(&reader);
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    json_t *const tools =
        json_pack("[{s:{s:s}}, {s:{s:s}}]", "function", "name", "f", "function", "name", "g");
    const char *const bytes = (const char *)data + 1;
    n--;
    const struct told whole = read_in_pieces(tools, data[0], bytes, n, n + 1);
    const struct told cut = read_in_pieces(tools, data[0], bytes, n, 1 + (data[0] & 15));
    if (whole.text != cut.text || whole.n_text != cut.n_text) abort();
    if (whole.calls != cut.calls || whole.n_calls != cut.n_calls || whole.n_text > n) abort();
    if (!(data[0] & 0x40) && whole.n_calls == 0 && whole.text != hash_bytes(HASH_INIT, bytes, n))
        abort();
    json_decref(tools);
    return 0;
}
