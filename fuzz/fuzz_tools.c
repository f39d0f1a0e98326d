/* Calls of tools in fuzzed answers: however the text is cut, the same is told; where no call is
 * found and no mark is hidden, all of it is; arguments are JSON objects, told whole or as they
 * come. The first byte says where to cut and what is hidden. */
#include "server/calls.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct told {
    uint64_t text, calls;
    size_t n_text, n_calls;
    struct buffer arguments; // of a call under way
    bool open;
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

static void on_begin(void *user, const char *name) {
    struct told *const told = user;
    if (told->open || (strcmp(name, "f") != 0 && strcmp(name, "g") != 0)) abort();
    told->calls = hash_bytes(told->calls, name, strlen(name) + 1);
    told->calls = hash_bytes(told->calls, &told->n_text, sizeof told->n_text);
    told->open = true;
    told->n_calls++;
}

static void on_arguments(void *user, const char *text, size_t n_bytes) {
    struct told *const told = user;
    if (!told->open || !buffer_append(&told->arguments, text, n_bytes)) abort();
    told->calls = hash_bytes(told->calls, text, n_bytes);
}

/* What is complete is JSON, but for numbers that jansson cannot hold and bytes that are no text. */
static void on_end(void *user, bool complete) {
    struct told *const told = user;
    json_error_t error;
    json_t *const json = json_loadb(told->arguments.bytes, told->arguments.n, 0, &error);
    const enum json_error_code why = json ? json_error_unknown : json_error_code(&error);
    if (!told->open || (complete && !json && why != json_error_numeric_overflow &&
                        why != json_error_invalid_utf8))
        abort();
    json_decref(json);
    told->calls = hash_bytes(told->calls, &complete, 1);
    told->open = false;
    buffer_free(&told->arguments);
}

static struct told read_in_pieces(const json_t *tools, uint8_t how, const char *bytes, size_t n,
                                  size_t piece, bool early) {
    struct told told = {.text = HASH_INIT, .calls = HASH_INIT};
    struct call_reader reader = {.tools = tools, .hidden = how & 0x40 ? 0x3f : 0,
                                 .begun = how & 0x80, .begun_form = how >> 4 & 3,
                                 .on_text = on_text, .on_call = on_call, .user = &told};
    if (early) {
        reader.on_begin = on_begin;
        reader.on_arguments = on_arguments;
        reader.on_end = on_end;
    }
    for (size_t at = 0; at < n; at += piece)
        if (!calls_push(&reader, bytes + at, n - at < piece ? n - at : piece)) abort();
    if (!calls_finish(&reader)) abort();
    calls_free(&reader);
    if (told.open) abort();
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    json_t *const tools =
        json_pack("[{s:{s:s}}, {s:{s:s}}]", "function", "name", "f", "function", "name", "g");
    const char *const bytes = (const char *)data + 1;
    n--;
    for (int early = 0; early < 2; early++) {
        const struct told whole = read_in_pieces(tools, data[0], bytes, n, n + 1, early);
        const struct told cut = read_in_pieces(tools, data[0], bytes, n, 1 + (data[0] & 15), early);
        if (whole.text != cut.text || whole.n_text != cut.n_text) abort();
        if (whole.calls != cut.calls || whole.n_calls != cut.n_calls || whole.n_text > n) abort();
        const bool all_told = whole.text == hash_bytes(HASH_INIT, bytes, n);
        if (!(data[0] & 0x40) && whole.n_calls == 0 && !all_told) abort();
    }
    json_decref(tools);
    return 0;
}
