/* Opening and closing models, and what octet.h tells about them. */
#include "engine/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

enum { MAX_THREADS = 256, WARM_STEP_BYTES = 32 << 20 };

static enum octet_status open_compute(struct octet_model *model, int32_t n_threads,
                                      struct octet_err *err) {
    model->kernels = kernels_pick();
    if (!model->kernels)
        return octet_fail(err, OCTET_EARG,
                          "OCTET_ISA=%s: no such instruction set on this machine; "
                          "`octet doctor` lists what there is",
                          getenv("OCTET_ISA"));
    model->pool = pool_open(n_threads);
    if (!model->pool) return octet_fail(err, OCTET_EMEM, "could not start %d threads", n_threads);
    return OCTET_OK;
}

static enum octet_status open_parts(struct octet_model *model, const char *path,
                                    const struct octet_model_options *options,
                                    struct octet_err *err) {
    int32_t n_threads = options->n_threads;
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return octet_fail(err, OCTET_EARG, "n_threads: expected 0 to %d, found %d", MAX_THREADS,
                          n_threads);
    if (n_threads == 0) n_threads = cpu_count() < MAX_THREADS ? cpu_count() : MAX_THREADS;
    enum octet_status status = gguf_open(path, &model->file, err);
    if (status != OCTET_OK) return status;
    struct gguf_string name = {"", 0};
    const struct gguf_kv *kv = gguf_find(model->file, "general.name");
    if (kv && kv->type == GGUF_STRING) gguf_get_string(model->file, kv->key, true, &name, NULL);
    model->name = mem_strdup(name.p, name.n);
    if (!model->name) return octet_fail_memory(err, "name", name.n);
    model->vocab_only = options->vocab_only;
    if (!model->vocab_only) {
        status = model_load(model->file, &model->m, err);
        if (status == OCTET_OK) status = open_compute(model, n_threads, err);
        if (status != OCTET_OK) return status;
    }
    status = template_set_load(model->file, &model->templates, err);
    if (status != OCTET_OK) return status;
    status = vocab_load(model->file, model->m.shape.n_vocab, &model->vocab, err);
    if (status != OCTET_OK) return status;
    return template_chat_open(model->templates, model->vocab, &model->chat, err);
}

enum octet_status octet_model_open(const char *path, const struct octet_model_options *options,
                                   struct octet_model **out, struct octet_err *err) {
    static const struct octet_model_options defaults = OCTET_MODEL_OPTIONS_DEFAULTS;
    *out = NULL;
    struct octet_model *model = mem_alloc(sizeof *model);
    if (!model) return octet_fail_memory(err, "model", sizeof *model);
    pthread_mutex_init(&model->lock, NULL);
    pthread_mutex_init(&model->trie_lock, NULL);
    enum octet_status status = open_parts(model, path, options ? options : &defaults, err);
    if (status == OCTET_OK)
        *out = model;
    else
        octet_model_close(model);
    return status;
}

void octet_model_close(struct octet_model *model) {
    if (!model) return;
    pool_close(model->pool);
    template_chat_free(model->chat);
    trie_free(model->trie);
    vocab_free(model->vocab);
    template_set_free(model->templates);
    model_unload(&model->m);
    gguf_close(model->file);
    mem_free(model->workspace);
    mem_free(model->logits);
    mem_free(model->name);
    pthread_mutex_destroy(&model->lock);
    pthread_mutex_destroy(&model->trie_lock);
    mem_free(model);
}

enum octet_status octet_model_warm(struct octet_model *model, octet_progress_fn progress,
                                   void *user, struct octet_err *err) {
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < model->file->n_parts; i++) total += model->file->parts[i].n_bytes;
    for (size_t i = 0; i < model->file->n_parts; i++) {
        const struct gguf_part *part = &model->file->parts[i];
        for (size_t at = 0; at < part->n_bytes; at += WARM_STEP_BYTES) {
            size_t n = part->n_bytes - at < WARM_STEP_BYTES ? part->n_bytes - at : WARM_STEP_BYTES;
            size_t left = part->n_bytes - at - n;
            map_populate(part->bytes + at, n, left < WARM_STEP_BYTES ? left : WARM_STEP_BYTES);
            done += n;
            if (progress && !progress(user, done, total))
                return octet_fail(err, OCTET_ECANCELLED, "cancelled");
        }
    }
    map_release(model->m.w.token_embd.data, weights_rows_only(&model->m.w));
    return OCTET_OK;
}

bool octet_model_file(const struct octet_model *model, size_t i, const void **bytes,
                      size_t *n_bytes) {
    if (i >= model->file->n_parts) return false;
    *bytes = model->file->parts[i].bytes;
    *n_bytes = model->file->parts[i].n_bytes;
    return true;
}

const struct vocab *octet_model_vocab(const struct octet_model *model) { return model->vocab; }

void octet_model_get_info(const struct octet_model *model, struct octet_model_info *out) {
    const struct shape *s = &model->m.shape;
    *out = (struct octet_model_info){
        .name = model->name,
        .arch = model->m.arch ? model->m.arch->name : "",
        .isa = model->kernels ? model->kernels->name : "",
        .type = model->m.type ? model->m.type->name : "",
        .n_layers = (int32_t)s->n_layers,
        .d_model = (int32_t)s->d_model,
        .n_heads = (int32_t)s->n_heads,
        .n_kv_heads = (int32_t)s->n_kv_heads,
        .head_dim = (int32_t)s->head_dim,
        .d_ff = (int32_t)s->d_ff,
        .n_experts = (int32_t)s->n_experts,
        .n_experts_used = (int32_t)s->n_experts_used,
        .n_vocab = (int32_t)s->n_vocab,
        .n_ctx_train = (int32_t)s->n_ctx_train,
        .sliding_window = (int32_t)s->window,
        .n_threads = model->pool ? pool_n_threads(model->pool) : 0,
        .n_params = model->m.n_params,
        .decode_bytes = model->m.decode_bytes,
        .expert_bytes = model->m.expert_bytes,
        .decode_macs = model->m.decode_macs,
        .last_layer_macs = model->m.last_layer_macs,
        .kv_bytes_per_token = 4 * s->n_layers * s->n_kv_heads * s->head_dim,
    };
    for (size_t i = 0; i < model->file->n_parts; i++)
        out->file_bytes += model->file->parts[i].n_bytes;
}

struct costs model_costs(struct octet_model *model) {
    pthread_mutex_lock(&model->lock);
    struct costs costs = model->costs;
    pthread_mutex_unlock(&model->lock);
    return costs;
}

enum octet_status model_reserve(struct octet_model *model, size_t n_rows, size_t n_logits,
                                struct octet_err *err) {
    if (n_rows > model->workspace_rows) {
        int n_threads = pool_n_threads(model->pool);
        size_t n_bytes = step_layout(&model->step, &model->m, n_rows, n_threads, NULL);
        mem_free(model->workspace);
        model->workspace_rows = 0;
        model->workspace = n_bytes == SIZE_MAX ? NULL : mem_aligned(n_bytes);
        if (!model->workspace) return octet_fail_memory(err, "activations", n_bytes);
        step_layout(&model->step, &model->m, n_rows, n_threads, model->workspace);
        model->workspace_rows = n_rows;
    }
    if (n_logits > model->n_logits_rows) {
        size_t n_bytes = n_logits * model->m.shape.n_vocab * sizeof *model->logits;
        mem_free(model->logits);
        model->n_logits_rows = 0;
        model->logits = mem_aligned(n_bytes);
        if (!model->logits) return octet_fail_memory(err, "logits", n_bytes);
        model->n_logits_rows = n_logits;
    }
    return OCTET_OK;
}

/* ---- Text: thin doors to the vocabulary -------------------------------------------------------
 */

void octet_tokens_free(struct octet_tokens *tokens) {
    mem_free(tokens->ids);
    *tokens = (struct octet_tokens){0};
}

enum octet_status octet_tokens_push(struct octet_tokens *tokens, int32_t id) {
    void *ids = tokens->ids;
    if (!mem_reserve(&ids, &tokens->cap, tokens->n + 1, sizeof *tokens->ids)) return OCTET_EMEM;
    tokens->ids = ids;
    tokens->ids[tokens->n++] = id;
    return OCTET_OK;
}

enum octet_status octet_tokenize(const struct octet_model *model, const char *text, size_t n_bytes,
                                 unsigned flags, struct octet_tokens *out, struct octet_err *err) {
    return vocab_encode(model->vocab, text, n_bytes, flags, out, err);
}

enum octet_status octet_token_bytes(const struct octet_model *model, int32_t id, bool special,
                                    const char **bytes, size_t *n_bytes) {
    return vocab_bytes(model->vocab, id, special, bytes, n_bytes) ? OCTET_OK : OCTET_EARG;
}

const char *octet_token_name(const struct octet_model *model, int32_t id) {
    return vocab_name(model->vocab, id);
}

int32_t octet_token_bos(const struct octet_model *model) { return vocab_bos(model->vocab); }
int32_t octet_token_eos(const struct octet_model *model) { return vocab_eos(model->vocab); }

bool octet_token_ends(const struct octet_model *model, int32_t id) {
    return vocab_ends(model->vocab, id);
}

size_t octet_n_tokens(const struct octet_model *model) { return vocab_size(model->vocab); }
