/* The table behind `octet pull NAME`. It holds no sizes and no checksums: the hub states both in
 * the headers of its answer, and they stay right when an uploader replaces a file. */
#include "cli/known_models.h"

#include <string.h>

static const struct known_model models[] = {
    {"smollm2-135m-instruct", "bartowski/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct-",
     "Q8_0"},
    {"smollm2-360m-instruct", "bartowski/SmolLM2-360M-Instruct-GGUF", "SmolLM2-360M-Instruct-",
     "Q8_0"},
    {"smollm2-1.7b-instruct", "bartowski/SmolLM2-1.7B-Instruct-GGUF", "SmolLM2-1.7B-Instruct-",
     "Q4_K_M"},
    {"tinyllama-1.1b-chat", "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF", "tinyllama-1.1b-chat-v1.0.",
     "Q4_K_M"},
    {"phi-2", "TheBloke/phi-2-GGUF", "phi-2.", "Q4_K_M"},
    {"mistral-7b-v0.1", "TheBloke/Mistral-7B-v0.1-GGUF", "mistral-7b-v0.1.", "Q4_K_M"},
    {"mistral-7b-instruct-v0.1", "TheBloke/Mistral-7B-Instruct-v0.1-GGUF",
     "mistral-7b-instruct-v0.1.", "Q4_K_M"},
    {"mistral-7b-instruct-v0.2", "TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
     "mistral-7b-instruct-v0.2.", "Q4_K_M"},
    {"mistral-7b-instruct-v0.3", "bartowski/Mistral-7B-Instruct-v0.3-GGUF",
     "Mistral-7B-Instruct-v0.3-", "Q4_K_M"},
    {"mixtral-8x7b", "TheBloke/Mixtral-8x7B-v0.1-GGUF", "mixtral-8x7b-v0.1.", "Q4_K_M"},
    {"mixtral-8x7b-instruct", "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF",
     "mixtral-8x7b-instruct-v0.1.", "Q4_K_M"},
};

const struct known_model *known_model_at(size_t i) {
    return i < sizeof models / sizeof models[0] ? &models[i] : NULL;
}

const struct known_model *known_model_find(const char *name) {
    for (size_t i = 0; known_model_at(i); i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    return NULL;
}
