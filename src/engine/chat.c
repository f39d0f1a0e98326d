/* Conversations: the file's own template where it can be carried out, else built-in formats. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "engine/model.h"
#include "text/template_shape.h"

static const char own[] = "template";

static bool uses_template(const struct octet_model *model, const char *format) {
    return format ? strcmp(format, own) == 0 : template_chat_works(model->chat);
}

const char *octet_chat_format(const struct octet_model *model) {
    return template_chat_works(model->chat) ? own : chat_format(model->vocab);
}

const char *octet_chat_problem(const struct octet_model *model) {
    return template_chat_problem(model->chat);
}

bool octet_chat_writes_tools(const struct octet_model *model) {
    return template_chat_tools(model->chat);
}

const char *octet_chat_template(const struct octet_model *model, const char *name) {
    return template_set_find(model->templates, name);
}

/* The template's own marks end an answer; what else does is known of formats. */
const char *octet_chat_stop(const struct octet_model *model, const char *format, size_t i) {
    return chat_stop(model->vocab, uses_template(model, format) ? NULL : format, i);
}

/* ---- From messages to JSON -------------------------------------------------------------------
 */

/* TEXT with what is not UTF-8 replaced. NULL: out of memory. */
static json_t *clean_text(const char *text) {
    const size_t n = strlen(text);
    json_t *const json = json_stringn(text, n);
    if (json) return json;
    struct octet_stream stream = {{0}, 0};
    char *const clean = mem_array(n + 4, 3);
    if (!clean) return NULL;
    size_t n_clean = octet_stream_push(&stream, text, n, clean);
    n_clean += octet_stream_flush(&stream, clean + n_clean);
    json_t *const out = json_stringn(clean, n_clean);
    mem_free(clean);
    return out;
}

static enum octet_status encode_own(const struct octet_model *model,
                                    const struct octet_message *messages, size_t n,
                                    struct octet_tokens *out, struct octet_err *err) {
    json_t *const list = json_array();
    bool fine = list != NULL;
    for (size_t i = 0; i < n && fine; i++) {
        const struct octet_message *const m = &messages[i];
        if (!m->role || !m->content) {
            json_decref(list);
            return octet_fail(err, OCTET_EARG, "message %zu: no %s", i,
                              m->role ? "content" : "role");
        }
        json_t *const role = clean_text(m->role), *const content = clean_text(m->content);
        fine = role && content;
        json_t *const message = json_pack("{s:o*, s:o*}", "role", role, "content", content);
        fine = json_array_append_new(list, message) == 0 && fine;
    }
    json_t *const variables = json_pack("{s:o*}", "messages", list);
    char *const text = fine && variables ? json_dumps(variables, JSON_COMPACT) : NULL;
    json_decref(variables);
    const enum octet_status status =
        text ? template_chat_encode(model->chat, text, strlen(text), out, err)
             : octet_fail_memory(err, "a conversation", 0);
    free(text);
    return status;
}

static enum octet_status check_template(const struct octet_model *model, struct octet_err *err) {
    if (template_chat_works(model->chat)) return OCTET_OK;
    const char *const problem = template_chat_problem(model->chat);
    return octet_fail(err, OCTET_EUNSUPPORTED, "%s",
                      problem ? problem : "the model's file brings no chat template");
}

enum octet_status octet_chat_encode(const struct octet_model *model, const char *format,
                                    const struct octet_message *messages, size_t n_messages,
                                    struct octet_tokens *out, struct octet_err *err) {
    if (!uses_template(model, format))
        return chat_encode(model->vocab, format, messages, n_messages, out, err);
    const enum octet_status status = check_template(model, err);
    return status ? status : encode_own(model, messages, n_messages, out, err);
}

/* ---- From JSON to messages -------------------------------------------------------------------
 */

static enum octet_status encode_built_in(const struct octet_model *model, const char *format,
                                         const json_t *list, struct octet_tokens *out,
                                         struct octet_err *err) {
    json_t *const joined = shape_bend(list, BEND_JOIN);
    const size_t n = json_array_size(joined);
    struct octet_message *const messages = joined ? mem_array(n, sizeof *messages) : NULL;
    enum octet_status status = OCTET_OK;
    if (!messages) status = octet_fail_memory(err, "a conversation", n * sizeof *messages);
    for (size_t i = 0; i < n && !status; i++) {
        const json_t *const message = json_array_get(joined, i);
        messages[i] = (struct octet_message){
            json_string_value(json_object_get(message, "role")),
            json_string_value(json_object_get(message, "content"))};
    }
    if (!status) status = chat_encode(model->vocab, format, messages, n, out, err);
    mem_free(messages);
    json_decref(joined);
    return status;
}

enum octet_status octet_chat_encode_json(const struct octet_model *model, const char *format,
                                         const char *variables, size_t n_bytes,
                                         struct octet_tokens *out, struct octet_err *err) {
    if (uses_template(model, format)) {
        const enum octet_status status = check_template(model, err);
        return status ? status : template_chat_encode(model->chat, variables, n_bytes, out, err);
    }
    json_error_t why;
    json_t *const json = json_loadb(variables, n_bytes, 0, &why);
    const json_t *const list = json_object_get(json, "messages");
    const enum octet_status status =
        json_is_array(list)
            ? encode_built_in(model, format, list, out, err)
            : octet_fail(err, OCTET_EARG, "a conversation: it is no JSON object with a list of "
                         "'messages'");
    json_decref(json);
    return status;
}
