/* See conversation.h. */
#include "cli/conversation.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/json_out.h"

static const char *const roles[] = {"system", "user", "assistant"};

enum { N_ROLES = sizeof roles / sizeof roles[0] };

static const char *known_role(const char *role) {
    for (size_t i = 0; role != NULL && i < N_ROLES; i++) {
        if (strcmp(roles[i], role) == 0) return roles[i];
    }
    return NULL;
}

static void remove_at(struct conversation *conversation, size_t at) {
    mem_free((void *)(uintptr_t)conversation->messages[at].content);
    conversation->n--;
    memmove(conversation->messages + at, conversation->messages + at + 1,
            (conversation->n - at) * sizeof *conversation->messages);
}

static bool insert_at(struct conversation *conversation, size_t at, const char *role,
                      const char *content, size_t n_bytes) {
    char *const copy = mem_strdup(content, n_bytes);
    if (copy == NULL ||
        !mem_reserve((void **)&conversation->messages, &conversation->cap, conversation->n + 1,
                     sizeof *conversation->messages)) {
        mem_free(copy);
        return false;
    }
    memmove(conversation->messages + at + 1, conversation->messages + at,
            (conversation->n - at) * sizeof *conversation->messages);
    conversation->messages[at] = (struct octet_message){known_role(role), copy};
    conversation->n++;
    return true;
}

static bool has_system(const struct conversation *conversation) {
    return conversation->n > 0 && strcmp(conversation->messages[0].role, "system") == 0;
}

bool conversation_add(struct conversation *conversation, const char *role, const char *content,
                      size_t n_bytes) {
    return insert_at(conversation, conversation->n, role, content, n_bytes);
}

bool conversation_set_system(struct conversation *conversation, const char *content) {
    const bool replace = has_system(conversation);
    if (content[0] != '\0' && !insert_at(conversation, 0, "system", content, strlen(content))) {
        return false;
    }
    if (replace) remove_at(conversation, content[0] != '\0' ? 1 : 0);
    return true;
}

void conversation_drop_last(struct conversation *conversation) {
    if (conversation->n > 0) remove_at(conversation, conversation->n - 1);
}

bool conversation_drop_oldest(struct conversation *conversation) {
    const size_t first = has_system(conversation) ? 1 : 0;
    if (conversation->n < first + 2) return false;
    remove_at(conversation, first);
    while (conversation->n > first + 1 &&
           strcmp(conversation->messages[first].role, "assistant") == 0) {
        remove_at(conversation, first);
    }
    return true;
}

void conversation_clear(struct conversation *conversation) {
    const size_t kept = has_system(conversation) ? 1 : 0;
    while (conversation->n > kept) conversation_drop_last(conversation);
}

void conversation_free(struct conversation *conversation) {
    while (conversation->n > 0) conversation_drop_last(conversation);
    mem_free(conversation->messages);
    *conversation = (struct conversation){NULL, 0, 0};
}

bool conversation_last_is(const struct conversation *conversation, const char *role) {
    return conversation->n > 0 &&
           strcmp(conversation->messages[conversation->n - 1].role, role) == 0;
}

enum octet_status conversation_save(const struct conversation *conversation, const char *path,
                                    struct octet_err *err) {
    json_t *const array = json_array();
    for (size_t i = 0; i < conversation->n; i++) {
        const struct octet_message *const message = &conversation->messages[i];
        json_array_append_new(array, json_pack("{s:s, s:o}", "role", message->role, "content",
                                               json_out_text(message->content,
                                                             strlen(message->content))));
    }
    errno = 0;
    const int status = json_dump_file(array, path, JSON_INDENT(1));
    const int reason = errno;
    json_decref(array);
    if (status == 0) return OCTET_OK;
    return octet_fail(err, OCTET_EIO, "%s: writing failed: %s", path, strerror(reason));
}

static enum octet_status load_messages(struct conversation *loaded, const json_t *array,
                                       const char *path, struct octet_err *err) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *const item = json_array_get(array, i);
        const char *const role = known_role(json_string_value(json_object_get(item, "role")));
        const json_t *const content = json_object_get(item, "content");
        const bool misplaced = role == roles[0] && i > 0;
        if (role == NULL || !json_is_string(content) || misplaced) {
            return octet_fail(err, OCTET_EFORMAT,
                              "%s: message %zu: expected a role (system only first, user, "
                              "assistant) and a content", path, i);
        }
        if (!conversation_add(loaded, role, json_string_value(content),
                              json_string_length(content))) {
            return octet_fail_memory(err, "the conversation", json_string_length(content));
        }
    }
    return OCTET_OK;
}

enum octet_status conversation_load(struct conversation *conversation, const char *path,
                                    struct octet_err *err) {
    json_error_t problem;
    json_t *const array = json_load_file(path, 0, &problem);
    if (array == NULL) {
        return octet_fail(err, OCTET_EFORMAT, "%s: line %d: %s", path, problem.line, problem.text);
    }
    struct conversation loaded = {NULL, 0, 0};
    enum octet_status status =
        json_is_array(array)
            ? load_messages(&loaded, array, path, err)
            : octet_fail(err, OCTET_EFORMAT, "%s: expected a JSON array of messages", path);
    json_decref(array);
    if (status == OCTET_OK) {
        conversation_free(conversation);
        *conversation = loaded;
    } else {
        conversation_free(&loaded);
    }
    return status;
}
