/* Binding weights: one loop over an architecture's table finds, checks and stores every tensor. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"

enum { NAME_CAP = 80 };

static size_t dim_size(const struct shape *s, enum dim dim) {
    switch (dim) {
    case DIM_MODEL: return s->d_model;
    case DIM_HEADS: return s->n_heads * s->head_dim;
    case DIM_KV: return s->n_kv_heads * s->head_dim;
    case DIM_FF: return s->d_ff;
    case DIM_VOCAB: return s->n_vocab;
    case DIM_EXPERTS: return s->n_experts;
    case DIM_HALF_ROT: return s->n_rot / 2;
    case DIM_END: break;
    }
    return 1;
}

/* EFORMAT unless the tensor is NE0 x NE1 x NE2. */
static enum octet_status check_dims(const struct model *m, const struct gguf_tensor *t, size_t ne0,
                                    size_t ne1, size_t ne2, struct octet_err *err) {
    if (t->ne[0] == ne0 && t->ne[1] == ne1 && t->ne[2] == ne2 && t->ne[3] == 1) return OCTET_OK;
    return octet_fail(err, OCTET_EFORMAT,
                      "%s: tensor '%s': expected %zu x %zu x %zu, found %" PRIu64 " x %" PRIu64
                      " x %" PRIu64 " x %" PRIu64,
                      gguf_path(m->file), t->name, ne0, ne1, ne2, t->ne[0], t->ne[1], t->ne[2],
                      t->ne[3]);
}

static struct tensor matrix_rows(const struct gguf_tensor *t, size_t row, size_t n_rows) {
    const uint8_t *data = t->data;
    return (struct tensor){t->name, t->type, data + row * quant_row_bytes(t->type, t->ne[0]),
                           n_rows, t->ne[0]};
}

/* Decodes N values from element FROM of a tensor into memory of the model. */
static enum octet_status bind_vector(struct model *m, const struct gguf_tensor *t, size_t from,
                                     size_t n, const float **out, struct octet_err *err) {
    if (t->type->unpack)
        return octet_fail(err, OCTET_EUNSUPPORTED,
                          "%s: tensor '%s': expected F32, F16 or BF16 values, found %s",
                          gguf_path(m->file), t->name, t->type->name);
    float *values = mem_array(n, sizeof *values);
    if (!values ||
        !mem_reserve((void **)&m->vectors, &m->cap_vectors, m->n_vectors + 1, sizeof *m->vectors)) {
        mem_free(values);
        return octet_fail_memory(err, t->name, n * sizeof *values);
    }
    m->vectors[m->n_vectors++] = values;
    const uint8_t *data = t->data;
    quant_decode(t->type, data + quant_row_bytes(t->type, from), values, n);
    *out = values;
    return OCTET_OK;
}

/* The experts of one layer: slices of a merged tensor, or "..._exps." spelled ".N." one by one. */
static enum octet_status bind_experts(struct model *m, const char *name, size_t ne0, size_t ne1,
                                      struct tensor **out, struct octet_err *err) {
    size_t n = m->shape.n_experts;
    struct tensor *experts = *out = mem_array(n, sizeof *experts);
    if (!experts) return octet_fail_memory(err, name, n * sizeof *experts);
    const struct gguf_tensor *merged = gguf_tensor(m->file, name);
    if (merged) {
        enum octet_status status = check_dims(m, merged, ne0, ne1, n, err);
        for (size_t e = 0; e < n && status == OCTET_OK; e++)
            experts[e] = matrix_rows(merged, e * ne1, ne1);
        return status;
    }
    const char *suffix = strstr(name, "_exps.");
    octet_assert(suffix);
    for (size_t e = 0; e < n; e++) {
        char single[NAME_CAP];
        snprintf(single, sizeof single, "%.*s.%zu.%s", (int)(suffix - name), name, e, suffix + 6);
        const struct gguf_tensor *t = gguf_tensor(m->file, single);
        if (!t)
            return octet_fail(err, OCTET_EFORMAT, "%s: no tensor '%s', nor '%s'",
                              gguf_path(m->file), name, single);
        enum octet_status status = check_dims(m, t, ne0, ne1, 1, err);
        if (status != OCTET_OK) return status;
        experts[e] = matrix_rows(t, 0, ne1);
    }
    return OCTET_OK;
}

/* A fused q, k, v tensor gives the three of its layer. */
static enum octet_status bind_qkv(struct model *m, const struct gguf_tensor *t, bool bias,
                                  struct layer *layer, struct octet_err *err) {
    const struct shape *s = &m->shape;
    struct linear *parts[] = {&layer->attn_q, &layer->attn_k, &layer->attn_v};
    size_t rows[] = {dim_size(s, DIM_HEADS), dim_size(s, DIM_KV), dim_size(s, DIM_KV)};
    size_t total = rows[0] + rows[1] + rows[2], from = 0;
    enum octet_status status =
        bias ? check_dims(m, t, total, 1, 1, err) : check_dims(m, t, s->d_model, total, 1, err);
    for (size_t i = 0; i < 3 && status == OCTET_OK; i++) {
        if (bias)
            status = bind_vector(m, t, from, rows[i], &parts[i]->b, err);
        else
            parts[i]->w = matrix_rows(t, from, rows[i]);
        from += rows[i];
    }
    return status;
}

static bool needed(const struct model *m, const struct weight *w) {
    switch (w->need) {
    case NEED_ALWAYS: return true;
    case NEED_DENSE: return m->shape.n_experts == 0;
    case NEED_EXPERTS: return m->shape.n_experts != 0;
    case NEED_NEVER: break;
    }
    return false;
}

/* Binds one row of the table for one layer (LAYER NULL: the tensors outside layers). */
static enum octet_status bind_weight(struct model *m, const struct weight *w, size_t i_layer,
                                     struct layer *layer, struct octet_err *err) {
    char name[NAME_CAP];
    const char *digits = strstr(w->name, "%zu");
    if (digits)
        snprintf(name, sizeof name, "%.*s%zu%s", (int)(digits - w->name), w->name, i_layer,
                 digits + 3);
    else
        snprintf(name, sizeof name, "%s", w->name);
    size_t ne0 = dim_size(&m->shape, w->dims[0]), ne1 = dim_size(&m->shape, w->dims[1]);
    void *field = (uint8_t *)(layer ? (void *)layer : (void *)&m->w) + w->offset;
    bool need = needed(m, w);
    if (w->kind == WEIGHT_EXPERTS)
        return need ? bind_experts(m, name, ne0, ne1, field, err) : OCTET_OK;

    const struct gguf_tensor *t = gguf_tensor(m->file, name);
    bool wanted = need || w->need == NEED_NEVER;
    bool filled = w->kind == WEIGHT_MATRIX ? ((struct tensor *)field)->type != NULL
                                           : w->kind == WEIGHT_VECTOR && *(const float **)field;
    if (!wanted || filled) return OCTET_OK;
    if (!t) {
        if (!need) return OCTET_OK;
        return octet_fail(err, OCTET_EFORMAT, "%s: no tensor '%s' (expected %zu x %zu)",
                          gguf_path(m->file), name, ne0, ne1);
    }
    if (w->kind == WEIGHT_QKV || w->kind == WEIGHT_QKV_BIAS)
        return bind_qkv(m, t, w->kind == WEIGHT_QKV_BIAS, layer, err);
    enum octet_status status = check_dims(m, t, ne0, ne1, 1, err);
    if (status != OCTET_OK) return status;
    if (w->kind == WEIGHT_VECTOR) return bind_vector(m, t, 0, ne0, (const float **)field, err);
    *(struct tensor *)field = matrix_rows(t, 0, ne1);
    return OCTET_OK;
}

enum octet_status weights_bind(struct model *m, struct octet_err *err) {
    size_t n_layers = m->shape.n_layers;
    m->w.layers = mem_array(n_layers, sizeof *m->w.layers);
    if (!m->w.layers) return octet_fail_memory(err, "layers", n_layers * sizeof *m->w.layers);
    for (size_t i = 0; i < m->arch->n_weights; i++) {
        const struct weight *w = &m->arch->weights[i];
        bool layered = strstr(w->name, "%zu") != NULL;
        for (size_t j = 0; j < (layered ? n_layers : 1); j++) {
            enum octet_status status = bind_weight(m, w, j, layered ? &m->w.layers[j] : NULL, err);
            if (status != OCTET_OK) return status;
        }
    }
    if (!m->w.output.w.type) m->w.output.w = m->w.token_embd; // tied
    return OCTET_OK;
}
