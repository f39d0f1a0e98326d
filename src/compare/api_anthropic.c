/* Anthropic's messages: the system text apart from the messages, events with types, tokens counted
 * at the start (prompt) and at the end (completion) of the stream. */
#include <string.h>

#include "compare/api.h"
#include "compare/json_text.h"

static bool request(const struct provider *provider, const struct ask *ask, struct buffer *path,
                    json_t *body) {
    return buffer_append_text(path, "/v1/messages") &&
           api_set(body, "model", json_text(provider->model, strlen(provider->model))) &&
           api_set(body, "max_tokens", json_integer(ask->max_tokens)) &&
           (!ask->system || api_set(body, "system", json_text(ask->system, strlen(ask->system)))) &&
           api_set_messages(body, ask, false) && api_set_sampling(body, ask, "stop_sequences");
}

/* Tokens that were written to or read from the cache are counted apart, but were sent. */
static void read_usage(struct usage *usage, const json_t *told) {
    const int64_t sent = json_count_get(told, "input_tokens");
    const int64_t written = json_count_get(told, "cache_creation_input_tokens");
    const int64_t read = json_count_get(told, "cache_read_input_tokens");
    if (sent >= 0) usage->prompt = sent + (written > 0 ? written : 0) + (read > 0 ? read : 0);
    if (read >= 0) usage->cached = read;
    answer_count(&usage->completion, told, "output_tokens");
}

/* MESSAGE of a stream's start, or the whole answer. */
static void read_message(struct answer *answer, const json_t *message) {
    answer_model(answer, json_text_get(message, "model"));
    read_usage(&answer->usage, json_object_get(message, "usage"));
    answer_add(answer, json_object_get(message, "content"));
    answer_finish(answer, json_text_get(message, "stop_reason"));
}

static void event(struct answer *answer, const json_t *event) {
    const char *const type = json_text_get(event, "type");
    if (!type) return;
    if (strcmp(type, "message") == 0) read_message(answer, event);
    if (strcmp(type, "message_start") == 0) read_message(answer, json_object_get(event, "message"));
    const json_t *const delta = json_object_get(event, "delta");
    if (strcmp(type, "content_block_delta") == 0) {
        answer_add(answer, json_object_get(delta, "text")); // thoughts have another name
    } else if (strcmp(type, "message_delta") == 0) {
        answer_finish(answer, json_text_get(delta, "stop_reason"));
        read_usage(&answer->usage, json_object_get(event, "usage"));
    } else if (strcmp(type, "message_stop") == 0) {
        answer->done = answer->ended = true;
    } else if (strcmp(type, "error") == 0) {
        answer_fault(answer, json_object_get(event, "error"));
    }
}

static const struct api api = {
    .key_header = "x-api-key: ",
    .extra_header = "anthropic-version: 2023-06-01",
    .request = request,
    .event = event,
};

const struct provider_kind provider_anthropic = {
    .name = "anthropic",
    .skills = PROVIDER_CHATS,
    .ask = api_ask,
    .api = &api,
};
