/* OpenAI's chat completions as Azure hosts them: one address per deployment, a dated version of the
 * API in the address, another header for the key. */
#include <string.h>

#include "compare/api.h"

static bool request(const struct provider *provider, const struct ask *ask, struct buffer *path,
                    json_t *body) {
    // Stable, and the first to count the tokens of a stream; the URL may name another.
    const char *const version =
        strstr(provider->url, "api-version=") ? "" : "?api-version=2024-10-21";
    return buffer_append_text(path, "/openai/deployments/") &&
           buffer_append_text(path, provider->model) &&
           buffer_append_text(path, "/chat/completions") && buffer_append_text(path, version) &&
           openai_fill_body(provider, ask, body) && api_set_messages(body, ask, true);
}

static const struct api api = {
    .key_header = "api-key: ",
    .request = request,
    .event = openai_event,
};

const struct provider_kind provider_azure = {
    .name = "azure",
    .skills = PROVIDER_CHATS,
    .ask = api_ask,
    .api = &api,
};
