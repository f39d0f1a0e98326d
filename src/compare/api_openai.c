/* OpenAI's API, which llama.cpp, vLLM, Ollama and many others speak too: chat completions, and the
 * older completions for text to continue and holes to fill. */
#include <string.h>

#include "compare/api.h"
#include "compare/json_text.h"

/* OpenAI's models that think first take another name for the limit and no sampling settings. */
static bool thinks(const char *model) {
    static const char *const families[] = {"gpt-5", "o1", "o3", "o4"};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strncmp(model, families[i], strlen(families[i])) == 0) return true;
    return false;
}

bool openai_fill_body(const struct provider *provider, const struct ask *ask, json_t *body) {
    if (!api_set(body, "model", json_text(provider->model, strlen(provider->model))) ||
        !api_set(body, "stream_options", json_pack("{s:b}", "include_usage", 1))) {
        return false;
    }
    if (thinks(provider->model)) {
        return api_set(body, "max_completion_tokens", json_integer(ask->max_tokens));
    }
    return api_set(body, "max_tokens", json_integer(ask->max_tokens)) &&
           api_set(body, "seed", json_integer(api_seed(ask))) &&
           api_set_sampling(body, ask, "stop");
}

static bool request(const struct provider *provider, const struct ask *ask, struct buffer *path,
                    json_t *body) {
    if (!openai_fill_body(provider, ask, body)) return false;
    if (ask->chat && !ask->suffix) {
        return buffer_append_text(path, "/chat/completions") && api_set_messages(body, ask, true);
    }
    return buffer_append_text(path, "/completions") &&
           api_set(body, "prompt", json_text(ask->prompt, strlen(ask->prompt))) &&
           (!ask->suffix || api_set(body, "suffix", json_text(ask->suffix, strlen(ask->suffix))));
}

static void read_usage(struct usage *usage, const json_t *told) {
    answer_count(&usage->prompt, told, "prompt_tokens");
    answer_count(&usage->completion, told, "completion_tokens");
    answer_count(&usage->cached, json_object_get(told, "prompt_tokens_details"), "cached_tokens");
    answer_count(&usage->reasoning, json_object_get(told, "completion_tokens_details"),
                 "reasoning_tokens");
}

void openai_event(struct answer *answer, const json_t *event) {
    answer_fault(answer, json_object_get(event, "error"));
    answer_model(answer, json_text_get(event, "model"));
    const json_t *const choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *message = json_object_get(choice, "delta");
    if (!message) message = json_object_get(choice, "message");
    answer_add(answer, json_object_get(message, "content"));
    answer_add(answer, json_object_get(message, "refusal"));
    answer_add(answer, json_object_get(choice, "text")); // of /completions
    answer_finish(answer, json_text_get(choice, "finish_reason"));
    read_usage(&answer->usage, json_object_get(event, "usage"));
}

static enum octet_status note_settings(struct provider *provider, struct octet_err *err) {
    (void)err;
    if (thinks(provider->model)) {
        provider_note(provider,
                      "%s: takes no temperature, top_p, seed or stop strings; none are sent",
                      provider->name);
    }
    return OCTET_OK;
}

static const struct api api = {
    .key_header = "Authorization: Bearer ",
    .request = request,
    .event = openai_event,
};

const struct provider_kind provider_openai = {
    .name = "openai",
    .skills = PROVIDER_CHATS | PROVIDER_CONTINUES | PROVIDER_FILLS,
    .open = note_settings,
    .ask = api_ask,
    .api = &api,
};
