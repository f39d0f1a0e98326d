/* JSON-RPC 2.0 with an editor, in the frames of frames.h: reading and writing never block the event
 * loop, however slowly the editor reads. */
#ifndef OCTET_LSP_WIRE_H
#define OCTET_LSP_WIRE_H

#include <jansson.h>

#include "octet.h"

/* Codes of JSON-RPC and LSP. */
enum rpc_error {
    RPC_PARSE_ERROR = -32700,
    RPC_INVALID_REQUEST = -32600,
    RPC_METHOD_NOT_FOUND = -32601,
    RPC_INVALID_PARAMS = -32602,
    RPC_INTERNAL_ERROR = -32603,
    RPC_NOT_INITIALIZED = -32002,
    RPC_REQUEST_FAILED = -32803,
    RPC_CONTENT_MODIFIED = -32801,
    RPC_CANCELLED = -32800,
};

struct event_base;
struct wire;

struct wire_owner {
    void (*message)(void *user, const json_t *message); // an object
    /* Nothing more can be read or written: WHY, a sentence, or NULL at the end of input. Once. */
    void (*ended)(void *user, const char *why);
    void *user;
};

enum octet_status wire_open(struct event_base *base, int in_fd, int out_fd,
                            const struct wire_owner *owner, struct wire **out,
                            struct octet_err *err);
void wire_close(struct wire *wire); // writes what is left, as long as the editor reads

/* JSON is taken over; NULL: out of memory. ID may be NULL, for what could not be read. */
void wire_reply(struct wire *wire, const json_t *id, json_t *result);
void wire_fail(struct wire *wire, const json_t *id, enum rpc_error code, const char *text);
void wire_notify(struct wire *wire, const char *method, json_t *params);
void wire_request(struct wire *wire, const char *id, const char *method, json_t *params);

/* JSON text; halves of surrogate pairs, which some editors send and JSON text can not hold, become
 * U+FFFD, which counts as much in UTF-16. NULL: it is none, or out of memory. */
json_t *wire_parse(const char *text, size_t n_bytes);

#endif
