/* Conversations as JSON, brought into the shape that a template takes. */
#ifndef OCTET_TEXT_TEMPLATE_SHAPE_H
#define OCTET_TEXT_TEMPLATE_SHAPE_H

#include <jansson.h>
#include <stdbool.h>

/* How far a conversation is bent. */
enum bend {
    BEND_NOT,
    BEND_JOIN,  // neighbours of one role joined
    BEND_FRONT, // the same, and all system messages at the front
    BEND_USER,  // the same, and the system's words begin the first question
    N_BENDS
};

/* What a template wants of calls. */
struct call_shape {
    bool text_arguments; // JSON in a string, not an object
    bool null_content;   // of messages that only call: null, not ""
    bool short_ids;      // nine letters and digits
};

/* A new list; NULL: out of memory. */
json_t *shape_bend(const json_t *messages, enum bend bend);
/* In place; false: out of memory. */
bool shape_calls(json_t *messages, const struct call_shape *shape);

#endif
