/* Prints a hash over all logits of a short prompt for tiny models of every family in every block
 * format, computed with the kernel table named on the command line. All machines and all tables
 * must print the same lines: the models come from a seed, and logits depend on nothing else. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "octet.h"
#include "pure_type.h"
#include "quant/quant.h"

// More tokens than a block of keys; steps of 33 rows, tiles with a remainder, then one of 4, which
// takes the path for few.
enum { N_TOKENS = 70, CHUNK = 33 };

struct hash {
    uint64_t value;
    size_t n_vocab;
};

static void add_position(void *user, size_t position, const float *logits) {
    struct hash *h = user;
    (void)position;
    h->value = octet_logits_hash(h->value, logits, h->n_vocab);
}

static enum octet_status hash_model(const struct octet_model *model, struct octet_session *session,
                                    uint64_t *out, struct octet_err *err) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    int32_t ids[N_TOKENS];
    for (int32_t i = 0; i < N_TOKENS; i++) ids[i] = i * 37 % info.n_vocab;
    struct hash h = {OCTET_HASH_INIT, (size_t)info.n_vocab};
    enum octet_status s = octet_session_score(session, ids, N_TOKENS, add_position, &h, err);
    *out = h.value;
    return s;
}

static enum octet_status hash_file(const char *path, enum octet_kv_type kv_type, uint64_t *out,
                                   struct octet_err *err) {
    struct octet_model_options model_options = OCTET_MODEL_OPTIONS_DEFAULTS;
    struct octet_session_options session_options = OCTET_SESSION_OPTIONS_DEFAULTS;
    struct octet_model *model = NULL;
    struct octet_session *session = NULL;
    model_options.n_threads = 1;
    session_options.n_ctx = 2 * N_TOKENS;
    session_options.prefill_chunk = CHUNK;
    session_options.kv_type = kv_type;
    enum octet_status s = octet_model_open(path, &model_options, &model, err);
    if (s == OCTET_OK) s = octet_session_open(model, &session_options, &session, err);
    if (s == OCTET_OK) s = hash_model(model, session, out, err);
    octet_session_close(session);
    octet_model_close(model);
    return s;
}

/* N_LAYERS of 0: as many as ARCH has. */
static bool print_line(const char *arch, int32_t n_layers, const char *type,
                       enum octet_kv_type kv_type, const char *path) {
    struct octet_synth_options options = {
        .arch = arch, .type = type, .n_layers = n_layers, .seed = 7};
    struct octet_err err = {0};
    uint64_t hash = 0;
    enum octet_status s = octet_synth(&options, path, &err);
    if (s == OCTET_OK) s = hash_file(path, kv_type, &hash, &err);
    unlink(path);
    static const char *const caches[] = {"f16", "f32", "q8_0", "q4_0"};
    if (s == OCTET_OK)
        printf("%s %s %s %016llx\n", arch, type, caches[kv_type], (unsigned long long)hash);
    else fprintf(stderr, "%s %s: %s\n", arch, type, err.message);
    return s == OCTET_OK;
}

int main(int argc, char **argv) {
    static const char *const archs[] = {"llama-tiny", "mixtral-8x7b-tiny", "phi-2-tiny"};
    char folder[] = "/tmp/octet-hash-XXXXXX", path[64];
    if (argc != 2 || setenv("OCTET_ISA", argv[1], 1) != 0 || !mkdtemp(folder)) {
        fprintf(stderr, "usage: model_hash TABLE (writes to /tmp)\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    bool ok = true;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        for (size_t j = 0; quant_at(j); j++) {
            const char *type = pure_type(quant_at(j)->name);
            ok = type && print_line(archs[i], 1, type, OCTET_KV_F16, path) && ok;
        }
        for (int kv = OCTET_KV_F32; kv <= OCTET_KV_Q4_0; kv++)
            ok = print_line(archs[i], 0, "q4_k_m", (enum octet_kv_type)kv, path) && ok;
    }
    rmdir(folder);
    return ok ? 0 : 1;
}
