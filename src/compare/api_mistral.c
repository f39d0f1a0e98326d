/* Mistral's API: close to OpenAI's, but strict about fields it does not know, with a seed of
 * another name and an endpoint of its own for filling in the middle. It counts tokens without being
 * asked. */
#include <string.h>

#include "compare/api.h"
#include "compare/json_text.h"

static bool request(const struct provider *provider, const struct ask *ask, struct buffer *path,
                    json_t *body) {
    if (!api_set(body, "model", json_text(provider->model, strlen(provider->model))) ||
        !api_set(body, "max_tokens", json_integer(ask->max_tokens)) ||
        !api_set(body, "random_seed", json_integer(api_seed(ask))) ||
        !api_set_sampling(body, ask, "stop")) {
        return false;
    }
    if (!ask->suffix) {
        return buffer_append_text(path, "/chat/completions") && api_set_messages(body, ask, true);
    }
    return buffer_append_text(path, "/fim/completions") &&
           api_set(body, "prompt", json_text(ask->prompt, strlen(ask->prompt))) &&
           api_set(body, "suffix", json_text(ask->suffix, strlen(ask->suffix)));
}

static const struct api api = {
    .key_header = "Authorization: Bearer ",
    .request = request,
    .event = openai_event,
};

const struct provider_kind provider_mistral = {
    .name = "mistral",
    .skills = PROVIDER_CHATS | PROVIDER_FILLS,
    .ask = api_ask,
    .api = &api,
};
