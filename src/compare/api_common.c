/* See api.h: the parts that requests are built from and answers are read with. */
#include <ctype.h>
#include <string.h>

#include "compare/api.h"
#include "compare/json_text.h"

/* ---- Building requests ----------------------------------------------------------------------- */

bool api_set(json_t *body, const char *key, json_t *value) {
    return json_object_set_new(body, key, value) == 0;
}

int64_t api_seed(const struct ask *ask) { return (int64_t)(ask->seed & INT32_MAX); }

static bool add_message(json_t *messages, const char *role, const char *content) {
    json_t *const text = json_text(content, strlen(content));
    return text && json_array_append_new(
                       messages, json_pack("{s:s, s:o}", "role", role, "content", text)) == 0;
}

bool api_set_messages(json_t *body, const struct ask *ask, bool with_system) {
    json_t *const messages = json_array();
    if (!api_set(body, "messages", messages)) return false;
    if (with_system && ask->system && !add_message(messages, "system", ask->system)) return false;
    return add_message(messages, "user", ask->prompt);
}

bool api_set_sampling(json_t *body, const struct ask *ask, const char *stops_key) {
    if (!api_set(body, "temperature", json_real((double)ask->temperature))) return false;
    // Some servers refuse any top_p with temperature 0, or both settings together.
    if (ask->temperature > 0 && ask->top_p < 1 &&
        !api_set(body, "top_p", json_real((double)ask->top_p))) {
        return false;
    }
    if (!ask->stops || !ask->stops[0]) return true;
    json_t *const stops = json_array();
    if (!api_set(body, stops_key, stops)) return false;
    for (size_t i = 0; ask->stops[i]; i++) {
        json_t *const stop = json_text(ask->stops[i], strlen(ask->stops[i]));
        if (json_array_append_new(stops, stop) != 0) return false;
    }
    return true;
}

/* ---- Reading answers ------------------------------------------------------------------------- */

void answer_word(char *to, size_t cap, const char *word) {
    size_t n = strnlen(word, cap - 1);
    while (n > 0 && (word[n] & 0xc0) == 0x80) n--;
    for (size_t i = 0; i < n; i++) to[i] = iscntrl((unsigned char)word[i]) ? '?' : word[i];
    to[n] = '\0';
}

/* Text that would go beyond the limit is cut where a character ends. */
static void add_text(struct answer *answer, const char *text, size_t n_bytes) {
    if (answer->full) return;
    if (n_bytes > API_TEXT_BYTES - answer->text.n) {
        answer->full = true;
        n_bytes = API_TEXT_BYTES - answer->text.n;
        while (n_bytes > 0 && (text[n_bytes] & 0xc0) == 0x80) n_bytes--;
    }
    if (!buffer_append(&answer->text, text, n_bytes)) answer->out_of_memory = true;
}

void answer_add(struct answer *answer, const json_t *text) {
    if (json_is_string(text)) {
        add_text(answer, json_string_value(text), json_string_length(text));
    }
    size_t i;
    const json_t *part; // contents in parts: those that are text, not thoughts
    json_array_foreach(text, i, part) {
        const char *const type = json_text_get(part, "type");
        const json_t *const words = json_object_get(part, "text");
        if (type && strcmp(type, "text") == 0 && json_is_string(words)) {
            add_text(answer, json_string_value(words), json_string_length(words));
        }
    }
}

void answer_finish(struct answer *answer, const char *reason) {
    static const struct {
        const char *said, *meant;
    } words[] = {
        {"end_turn", "stop"},
        {"stop_sequence", "stop"},
        {"eos", "stop"},
        {"max_tokens", "length"},
        {"model_length", "length"},
        {"model_context_window_exceeded", "length"},
        {"content_filter", "filter"},
        {"refusal", "filter"},
        {"tool_calls", "tool"},
        {"tool_use", "tool"},
        {"function_call", "tool"},
    };
    if (!reason) return;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i].said, reason) == 0) reason = words[i].meant;
    answer_word(answer->finish, sizeof answer->finish, reason);
    answer->done = true;
}

void answer_model(struct answer *answer, const char *model) {
    if (model && model[0]) answer_word(answer->model, sizeof answer->model, model);
}

void answer_count(int64_t *count, const json_t *object, const char *key) {
    const int64_t told = json_count_get(object, key);
    if (told >= 0) *count = told;
}

static bool one_of(const char *word, const char *const *words) {
    for (size_t i = 0; word && words[i]; i++)
        if (strcmp(word, words[i]) == 0) return true;
    return false;
}

void answer_fault(struct answer *answer, const json_t *error) {
    static const char *const hopeless[] = {"insufficient_quota", "billing_hard_limit_reached",
                                           "invalid_api_key",    "authentication_error",
                                           "billing_error",      NULL};
    static const char *const transient[] = {"overloaded_error",
                                            "rate_limit_error",
                                            "rate_limit_exceeded",
                                            "server_error",
                                            "api_error",
                                            "timeout_error",
                                            NULL};
    if (!error || json_is_null(error)) return;
    const char *const type = json_text_get(error, "type"), *const code =
                                                               json_text_get(error, "code");
    const char *message = json_string_value(error);
    if (!message) message = json_text_get(error, "message");
    const json_t *const detail = json_object_get(error, "detail");
    if (!message) message = json_string_value(detail);
    if (!message) message = json_text_get(json_array_get(detail, 0), "msg");
    if (!message) message = type ? type : "an error without a message";
    answer_word(answer->message, sizeof answer->message, message);
    answer->fault = one_of(type, hopeless) || one_of(code, hopeless)     ? API_HOPELESS
                    : one_of(type, transient) || one_of(code, transient) ? API_TRANSIENT
                                                                         : API_REFUSED;
}
