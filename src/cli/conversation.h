/* The messages of a chat, and keeping them in a file. */
#ifndef OCTET_CLI_CONVERSATION_H
#define OCTET_CLI_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>

#include "octet.h"

/* Zero it first, conversation_free it last. A system message, if any, is the first. */
struct conversation {
    struct octet_message *messages; // (n); roles are literals, contents belong to it
    size_t n, cap;
};

bool conversation_add(struct conversation *conversation, const char *role, const char *content,
                      size_t n_bytes); // false: out of memory
bool conversation_set_system(struct conversation *conversation, const char *content);
void conversation_drop_last(struct conversation *conversation);
/* Drops the oldest question and its answer; false if only the last question is left. */
bool conversation_drop_oldest(struct conversation *conversation);
void conversation_clear(struct conversation *conversation); // all but the system message
void conversation_free(struct conversation *conversation);

bool conversation_last_is(const struct conversation *conversation, const char *role);

/* A JSON array of {"role", "content"}. Load replaces everything and changes nothing on failure. */
enum octet_status conversation_save(const struct conversation *conversation, const char *path,
                                    struct octet_err *err);
enum octet_status conversation_load(struct conversation *conversation, const char *path,
                                    struct octet_err *err);

#endif
