/* Any bytes as a GGUF file: parse, then use everything the reader promises to have checked. */
#include <string.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; // keeps the reads from being optimised away

static uint64_t read_values(const struct gguf *g, const struct gguf_kv *kv) {
    uint64_t sum = 0;
    int64_t integer = 0;
    double number = 0;
    bool flag = false;
    struct gguf_string text = {NULL, 0};
    gguf_get_int(g, kv->key, true, INT64_MIN, INT64_MAX, &integer, NULL);
    gguf_get_float(g, kv->key, true, &number, NULL);
    gguf_get_bool(g, kv->key, true, &flag, NULL);
    gguf_get_string(g, kv->key, true, &text, NULL);
    for (size_t i = 0; i < text.n; i++) sum += (uint8_t)text.p[i];
    for (uint64_t i = 0; i < kv->n; i++) {
        if (kv->strings)
            for (size_t k = 0; k < kv->strings[i].n; k++) sum += (uint8_t)kv->strings[i].p[k];
        else if (kv->elem != GGUF_STRING && gguf_array_float(kv, i) > 0) sum++;
    }
    return sum + (uint64_t)integer + flag + (number > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gguf *g;
    struct octet_err err;
    if (gguf_parse("fuzz", data, size, &g, &err) != OCTET_OK) return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < g->n_kvs; i++) {
        octet_assert(gguf_find(g, g->kvs[i].key) == &g->kvs[i]);
        sum += read_values(g, &g->kvs[i]);
    }
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        octet_assert(gguf_tensor(g, t->name) == t);
        sum += quant_find_nonfinite(t->type, t->data, (size_t)(t->bytes / t->type->block_bytes *
                                                               t->type->block_elems));
    }
    gguf_close(g);
    sink = sum;
    return 0;
}
