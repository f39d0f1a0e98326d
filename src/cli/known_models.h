/* Models that `octet pull` knows by name, and where they are. */
#ifndef OCTET_CLI_KNOWN_MODELS_H
#define OCTET_CLI_KNOWN_MODELS_H

#include <stddef.h>

struct known_model {
    const char *name;
    const char *repo;  // on the hub
    const char *stem;  // of the file: stem, quantisation, ".gguf"
    const char *quant; // fetched unless told otherwise
};

/* i-th model, NULL past the end. */
const struct known_model *known_model_at(size_t i);
/* NULL: not known. */
const struct known_model *known_model_find(const char *name);

#endif
