/* Phi-1.5 and Phi-2 (Li et al. 2023): one LayerNorm feeds attention and MLP, which run side by
 * side; every matrix has a bias; only the first dimensions of a head rotate. See MODEL.md. */
#include <stddef.h>

#include "model/step.h"

static enum octet_status read_shape(const struct gguf *g, struct shape *shape,
                                    struct octet_err *err) {
    *shape = (struct shape){.rope_layout = ROPE_HALVES, .rope_base = 10000, .rope_scale = 1};
    enum octet_status status =
        shape_read_common(g, "phi2", "attention.layer_norm_epsilon", shape, err);
    if (status == OCTET_OK && shape->n_experts)
        return octet_fail(err, OCTET_EUNSUPPORTED, "%s: a phi2 model with experts is not known",
                          gguf_path(g));
    return status;
}

static const struct weight weights[] = {
    GLOBAL("token_embd.weight", MATRIX, ALWAYS, token_embd, DIM_MODEL, DIM_VOCAB),
    GLOBAL("output_norm.weight", VECTOR, ALWAYS, output_norm.g, DIM_MODEL),
    GLOBAL("output_norm.bias", VECTOR, ALWAYS, output_norm.b, DIM_MODEL),
    GLOBAL("output.weight", MATRIX, ALWAYS, output.w, DIM_MODEL, DIM_VOCAB),
    GLOBAL("output.bias", VECTOR, ALWAYS, output.b, DIM_VOCAB),
    LAYER("attn_norm.weight", VECTOR, ALWAYS, attn_norm.g, DIM_MODEL),
    LAYER("attn_norm.bias", VECTOR, ALWAYS, attn_norm.b, DIM_MODEL),
    LAYER("attn_qkv.weight", QKV, NEVER, attn_q, DIM_MODEL),
    LAYER("attn_qkv.bias", QKV_BIAS, NEVER, attn_q, DIM_END),
    LAYER("attn_q.weight", MATRIX, ALWAYS, attn_q.w, DIM_MODEL, DIM_HEADS),
    LAYER("attn_q.bias", VECTOR, ALWAYS, attn_q.b, DIM_HEADS),
    LAYER("attn_k.weight", MATRIX, ALWAYS, attn_k.w, DIM_MODEL, DIM_KV),
    LAYER("attn_k.bias", VECTOR, ALWAYS, attn_k.b, DIM_KV),
    LAYER("attn_v.weight", MATRIX, ALWAYS, attn_v.w, DIM_MODEL, DIM_KV),
    LAYER("attn_v.bias", VECTOR, ALWAYS, attn_v.b, DIM_KV),
    LAYER("attn_output.weight", MATRIX, ALWAYS, attn_out.w, DIM_HEADS, DIM_MODEL),
    LAYER("attn_output.bias", VECTOR, ALWAYS, attn_out.b, DIM_MODEL),
    LAYER("ffn_up.weight", MATRIX, ALWAYS, ffn_up.w, DIM_MODEL, DIM_FF),
    LAYER("ffn_up.bias", VECTOR, ALWAYS, ffn_up.b, DIM_FF),
    LAYER("ffn_down.weight", MATRIX, ALWAYS, ffn_down.w, DIM_FF, DIM_MODEL),
    LAYER("ffn_down.bias", VECTOR, ALWAYS, ffn_down.b, DIM_MODEL),
};

/* What a layer computes from its normed input; after the last layer, the logits. */
static size_t input_products(const struct step *s, const struct model *m, size_t layer,
                             struct product list[4]) {
    size_t n = attention_products(s, m, layer, list);
    if (layer == m->shape.n_layers) return n;
    list[n] = product_of(s, &m->w.layers[layer].ffn_up, s->up);
    list[n++].gelu = true;
    return n;
}

static bool forward(const struct model *m, struct step *s) {
    const struct shape *shape = &m->shape;
    size_t d = shape->d_model;
    for (size_t i = 0; i < shape->n_layers; i++) {
        const struct layer *l = &m->w.layers[i];
        if (!step_continues(s, i, shape->n_layers)) return false;
        rows_layer_norm(s, &l->attn_norm, shape->norm_eps, s->x, s->n, d, s->h);
        input_set(s, s->h, s->n, d);
        struct product list[4];
        linear_expect(s, &l->attn_out);
        products(s, list, input_products(s, m, i, list));
        attention(s, m, i);
        if (s->n == 0) return true;
        linear_expect(s, &l->ffn_down);
        linear(s, &l->attn_out, s->out);
        rows_add(s, s->x, s->out, s->n, d);

        input_set(s, s->up, s->n, shape->d_ff);
        products_expect(s, list, input_products(s, m, i + 1, list));
        linear(s, &l->ffn_down, s->out);
        rows_add(s, s->x, s->out, s->n, d);
    }
    return true;
}

static void final_norm(const struct model *m, struct step *s, const float *x, float *h) {
    rows_layer_norm(s, &m->w.output_norm, m->shape.norm_eps, x, s->n, m->shape.d_model, h);
}

const struct arch arch_phi2 = {
    .name = "phi2",
    .read_shape = read_shape,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .forward = forward,
    .final_norm = final_norm,
};
