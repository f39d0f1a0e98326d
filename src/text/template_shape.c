/* See template_shape.h. */
#include "text/template_shape.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"

static const char *text_at(const json_t *object, const char *key) {
    const char *const text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_role(const json_t *message, const char *role) {
    return strcmp(text_at(message, "role"), role) == 0;
}

/* ---- Bending --------------------------------------------------------------------------------- */

/* A and, after an empty line, B. */
static json_t *joined_text(const char *a, const char *b) {
    struct buffer text = {NULL, 0, 0};
    const bool fine = buffer_append_text(&text, a) &&
                      (!a[0] || !b[0] || buffer_append_text(&text, "\n\n")) &&
                      buffer_append_text(&text, b);
    json_t *const json = fine ? json_stringn(text.bytes, text.n) : NULL;
    buffer_free(&text);
    return json;
}

/* Of messages that hold a text and nothing else. */
static bool is_plain(const json_t *message) {
    return json_is_string(json_object_get(message, "content")) && !is_role(message, "tool") &&
           json_array_size(json_object_get(message, "tool_calls")) == 0;
}

/* A copy of MESSAGE, or the last of LIST with its text added. */
static bool add_message(json_t *list, const json_t *message) {
    json_t *const last = json_array_get(list, json_array_size(list) - 1);
    if (last && is_plain(last) && is_plain(message) && is_role(last, text_at(message, "role"))) {
        json_t *const text =
            joined_text(text_at(last, "content"), text_at(message, "content"));
        return json_object_set_new(last, "content", text) == 0;
    }
    return json_array_append_new(list, json_copy((json_t *)(uintptr_t)message)) == 0;
}

static json_t *system_text(const json_t *messages) {
    json_t *text = json_string("");
    size_t i;
    const json_t *message;
    json_array_foreach(messages, i, message) {
        if (!is_role(message, "system")) continue;
        json_t *const more = joined_text(json_string_value(text), text_at(message, "content"));
        json_decref(text);
        text = more;
        if (!text) break;
    }
    return text;
}

static bool add_front(json_t *list, json_t *text, const char *role) {
    return json_array_append_new(list, json_pack("{s:s, s:O}", "role", role, "content", text)) == 0;
}

json_t *shape_bend(const json_t *messages, enum bend bend) {
    if (bend == BEND_NOT) return json_deep_copy(messages);
    const bool moves = bend != BEND_JOIN;
    json_t *const list = json_array(), *const system = system_text(messages);
    bool fine = list && system;
    if (fine && moves && json_string_length(system) > 0)
        fine = add_front(list, system, bend == BEND_USER ? "user" : "system");
    size_t i;
    const json_t *message;
    json_array_foreach(messages, i, message) {
        if (fine && !(moves && is_role(message, "system"))) fine = add_message(list, message);
    }
    json_t *const out = fine ? json_deep_copy(list) : NULL; // for the caller to change
    json_decref(system);
    json_decref(list);
    return out;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static bool is_short_id(const char *id) {
    size_t n = 0;
    while ((id[n] >= '0' && id[n] <= '9') || (id[n] >= 'A' && id[n] <= 'Z') ||
           (id[n] >= 'a' && id[n] <= 'z'))
        n++;
    return n == 9 && !id[n];
}

/* The same for the same id, so that a result still names its call. */
static bool shorten_id(json_t *of, const char *key) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char *const id = text_at(of, key);
    if (is_short_id(id)) return true;
    uint64_t hash = hash_bytes(HASH_INIT, id, strlen(id));
    char out[10] = "";
    for (int i = 0; i < 9; i++, hash /= 62) out[i] = digits[hash % 62];
    return json_object_set_new(of, key, json_string(out)) == 0;
}

static bool arguments_to_text(json_t *function) {
    const json_t *const arguments = json_object_get(function, "arguments");
    if (!arguments || json_is_string(arguments)) return true;
    char *const text = json_dumps(arguments, JSON_ENCODE_ANY);
    const bool fine =
        text && json_object_set_new(function, "arguments", json_string(text)) == 0;
    free(text);
    return fine;
}

bool shape_calls(json_t *messages, const struct call_shape *shape) {
    size_t i, k;
    json_t *message, *call;
    bool fine = true;
    json_array_foreach(messages, i, message) {
        json_t *const calls = json_object_get(message, "tool_calls");
        json_array_foreach(calls, k, call) {
            if (shape->short_ids) fine &= shorten_id(call, "id");
            if (shape->text_arguments)
                fine &= arguments_to_text(json_object_get(call, "function"));
        }
        if (shape->short_ids && is_role(message, "tool"))
            fine &= shorten_id(message, "tool_call_id");
        if (json_array_size(calls) > 0 && text_at(message, "content")[0] == '\0')
            fine &= json_object_set_new(message, "content",
                                        shape->null_content ? json_null() : json_string("")) == 0;
    }
    return fine;
}
