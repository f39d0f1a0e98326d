/* See wire.h. */
#include "lsp/wire.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "lsp/frames.h"

enum { READ_BYTES = 64 * 1024, UNSENT_BYTES = 64 << 20, LAST_WORDS_MS = 2000 };

struct wire {
    struct wire_owner owner;
    int out_fd;
    struct event *readable, *writable;
    struct frames frames;
    struct buffer out; // not written yet
    size_t n_out;      // bytes of it that are
    char *scratch;     // (READ_BYTES)
    bool ended;
};

/* ---- Writing --------------------------------------------------------------------------------- */

static void end(struct wire *wire, const char *why) {
    if (wire->ended) return;
    wire->ended = true;
    event_del(wire->readable);
    event_del(wire->writable);
    wire->owner.ended(wire->owner.user, why);
}

/* A pipe that can be written to takes PIPE_BUF bytes without blocking. */
static bool write_some(struct wire *wire) {
    const size_t n_left = wire->out.n - wire->n_out;
    const ssize_t n =
        write(wire->out_fd, wire->out.bytes + wire->n_out, n_left < PIPE_BUF ? n_left : PIPE_BUF);
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    wire->n_out += (size_t)n;
    if (wire->n_out == wire->out.n) {
        buffer_clear(&wire->out);
        wire->n_out = 0;
    }
    return true;
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct wire *const wire = arg;
    if (!write_some(wire))
        end(wire, "the editor no longer reads");
    else if (wire->out.n == 0)
        event_del(wire->writable);
}

static void send_json(struct wire *wire, json_t *json) {
    char *const text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (wire->ended) {
        free(text);
        return;
    }
    char header[64];
    snprintf(header, sizeof header, "Content-Length: %zu\r\n\r\n", text ? strlen(text) : 0);
    const size_t before = wire->out.n;
    if (!text || !buffer_append_text(&wire->out, header) || !buffer_append_text(&wire->out, text)) {
        wire->out.n = before;
        end(wire, "out of memory");
    } else if (wire->out.n - wire->n_out > UNSENT_BYTES) {
        end(wire, "the editor does not read what it is told");
    } else {
        event_add(wire->writable, NULL);
    }
    free(text);
}

void wire_reply(struct wire *wire, const json_t *id, json_t *result) {
    if (!result) {
        wire_fail(wire, id, RPC_INTERNAL_ERROR, "out of memory");
        return;
    }
    send_json(wire, json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", id, "result", result));
}

void wire_fail(struct wire *wire, const json_t *id, enum rpc_error code, const char *text) {
    json_t *const number = id ? json_incref((json_t *)(uintptr_t)id) : json_null();
    send_json(wire, json_pack("{s:s, s:o, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", number, "error",
                              "code", (int)code, "message", text));
}

void wire_notify(struct wire *wire, const char *method, json_t *params) {
    send_json(wire, json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params",
                              params));
}

void wire_request(struct wire *wire, const char *id, const char *method, json_t *params) {
    send_json(wire, json_pack("{s:s, s:s, s:s, s:o}", "jsonrpc", "2.0", "id", id, "method", method,
                              "params", params));
}

/* ---- Parsing --------------------------------------------------------------------------------- */

/* The number that follows "\u" at TEXT, -1: none. */
static int32_t escaped_unit(const char *text, size_t n) {
    int32_t unit = 0;
    if (n < 6 || text[0] != '\\' || text[1] != 'u') return -1;
    for (int i = 2; i < 6; i++) {
        const char *const digits = "0123456789abcdef";
        const char c = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]);
        const char *const at = c ? strchr(digits, c) : NULL;
        if (!at) return -1;
        unit = unit * 16 + (int32_t)(at - digits);
    }
    return unit;
}

/* Makes every half of a surrogate pair in TEXT a character of its own; whether there was one. */
static bool mend_surrogates(char *text, size_t n) {
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\\') continue;
        const int32_t unit = escaped_unit(text + i, n - i);
        if (unit < 0) {
            i++; // what was escaped
            continue;
        }
        const int32_t next = n - i > 6 ? escaped_unit(text + i + 6, n - i - 6) : -1;
        if (unit >= 0xD800 && unit < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
            i += 11;
            continue;
        }
        if (unit >= 0xD800 && unit < 0xE000) {
            memcpy(text + i + 2, "fffd", 4);
            any = true;
        }
        i += 5;
    }
    return any;
}

json_t *wire_parse(const char *text, size_t n_bytes) {
    json_t *json = json_loadb(text, n_bytes, JSON_ALLOW_NUL, NULL);
    if (json) return json;
    char *const copy = mem_strdup(text, n_bytes);
    if (copy && mend_surrogates(copy, n_bytes))
        json = json_loadb(copy, n_bytes, JSON_ALLOW_NUL, NULL);
    mem_free(copy);
    return json;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void take_body(struct wire *wire, const char *body, size_t n_bytes) {
    json_t *const json = wire_parse(body, n_bytes);
    if (!json)
        wire_fail(wire, NULL, RPC_PARSE_ERROR, "the message is no JSON text");
    else if (!json_is_object(json))
        wire_fail(wire, NULL, RPC_INVALID_REQUEST,
                  json_is_array(json) ? "batches are not part of LSP" : "the message is no object");
    else
        wire->owner.message(wire->owner.user, json);
    json_decref(json);
}

static void take_frames(struct wire *wire) {
    const char *body;
    size_t n_bytes;
    while (!wire->ended) {
        switch (frames_next(&wire->frames, &body, &n_bytes)) {
        case FRAME_MORE: return;
        case FRAME_BODY: take_body(wire, body, n_bytes); break;
        case FRAME_TOO_LONG:
            wire_fail(wire, NULL, RPC_INVALID_REQUEST, "a message of more than 64 MiB is not read");
            break;
        case FRAME_BROKEN:
            wire_fail(wire, NULL, RPC_PARSE_ERROR, "no message begins with such a header");
            end(wire, "what came in is no LSP message: expected 'Content-Length: N', a blank line "
                      "and N bytes");
            break;
        }
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    struct wire *const wire = arg;
    const ssize_t n = read(fd, wire->scratch, READ_BYTES);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n < 0) {
        end(wire, "the input can not be read");
    } else if (n == 0) {
        end(wire, frames_is_inside(&wire->frames) ? "the input ended within a message" : NULL);
    } else if (!frames_push(&wire->frames, wire->scratch, (size_t)n)) {
        end(wire, "out of memory");
    } else {
        take_frames(wire);
    }
}

/* ---- Opening and closing --------------------------------------------------------------------- */

enum octet_status wire_open(struct event_base *base, int in_fd, int out_fd,
                            const struct wire_owner *owner, struct wire **out,
                            struct octet_err *err) {
    *out = NULL;
    struct wire *const wire = mem_alloc(sizeof *wire);
    if (!wire) return octet_fail_memory(err, "a connection", sizeof *wire);
    wire->owner = *owner;
    wire->out_fd = out_fd;
    wire->scratch = mem_alloc(READ_BYTES);
    wire->readable = event_new(base, in_fd, EV_READ | EV_PERSIST, on_readable, wire);
    wire->writable = event_new(base, out_fd, EV_WRITE | EV_PERSIST, on_writable, wire);
    if (!wire->scratch || !wire->readable || !wire->writable ||
        event_add(wire->readable, NULL) != 0) {
        wire_close(wire);
        return octet_fail_memory(err, "a connection", READ_BYTES);
    }
    *out = wire;
    return OCTET_OK;
}

void wire_close(struct wire *wire) {
    if (!wire) return;
    struct pollfd out = {.fd = wire->out_fd, .events = POLLOUT};
    while (wire->out.n > wire->n_out && poll(&out, 1, LAST_WORDS_MS) == 1 && write_some(wire)) {
    }
    if (wire->readable) event_free(wire->readable);
    if (wire->writable) event_free(wire->writable);
    frames_free(&wire->frames);
    buffer_free(&wire->out);
    mem_free(wire->scratch);
    mem_free(wire);
}
