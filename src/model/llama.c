/* The llama family: Llama 2, TinyLlama, SmolLM2, Mistral (sliding window), Mixtral (experts).
 * Touvron et al. 2023; Jiang et al. 2023, 2024. See MODEL.md. */
#include <stddef.h>

#include "model/step.h"

static enum octet_status read_shape(const struct gguf *g, struct shape *shape,
                                    struct octet_err *err) {
    *shape = (struct shape){.rope_layout = ROPE_INTERLEAVED, .rope_base = 10000, .rope_scale = 1};
    return shape_read_common(g, "llama", "attention.layer_norm_rms_epsilon", shape, err);
}

static const struct weight weights[] = {
    GLOBAL("token_embd.weight", MATRIX, ALWAYS, token_embd, DIM_MODEL, DIM_VOCAB),
    GLOBAL("output_norm.weight", VECTOR, ALWAYS, output_norm.g, DIM_MODEL),
    GLOBAL("output.weight", MATRIX, NEVER, output.w, DIM_MODEL, DIM_VOCAB),
    GLOBAL("rope_freqs.weight", VECTOR, NEVER, rope_freqs, DIM_HALF_ROT),
    LAYER("attn_norm.weight", VECTOR, ALWAYS, attn_norm.g, DIM_MODEL),
    LAYER("attn_qkv.weight", QKV, NEVER, attn_q, DIM_MODEL),
    LAYER("attn_q.weight", MATRIX, ALWAYS, attn_q.w, DIM_MODEL, DIM_HEADS),
    LAYER("attn_k.weight", MATRIX, ALWAYS, attn_k.w, DIM_MODEL, DIM_KV),
    LAYER("attn_v.weight", MATRIX, ALWAYS, attn_v.w, DIM_MODEL, DIM_KV),
    LAYER("attn_output.weight", MATRIX, ALWAYS, attn_out.w, DIM_HEADS, DIM_MODEL),
    LAYER("attn_q.bias", VECTOR, NEVER, attn_q.b, DIM_HEADS),
    LAYER("attn_k.bias", VECTOR, NEVER, attn_k.b, DIM_KV),
    LAYER("attn_v.bias", VECTOR, NEVER, attn_v.b, DIM_KV),
    LAYER("attn_output.bias", VECTOR, NEVER, attn_out.b, DIM_MODEL),
    LAYER("ffn_norm.weight", VECTOR, ALWAYS, ffn_norm.g, DIM_MODEL),
    LAYER("ffn_gate.weight", MATRIX, DENSE, ffn_gate.w, DIM_MODEL, DIM_FF),
    LAYER("ffn_up.weight", MATRIX, DENSE, ffn_up.w, DIM_MODEL, DIM_FF),
    LAYER("ffn_down.weight", MATRIX, DENSE, ffn_down.w, DIM_FF, DIM_MODEL),
    LAYER("ffn_gate_inp.weight", MATRIX, EXPERTS, router, DIM_MODEL, DIM_EXPERTS),
    LAYER("ffn_gate_exps.weight", EXPERTS, EXPERTS, gate_exps, DIM_MODEL, DIM_FF, DIM_EXPERTS),
    LAYER("ffn_up_exps.weight", EXPERTS, EXPERTS, up_exps, DIM_MODEL, DIM_FF, DIM_EXPERTS),
    LAYER("ffn_down_exps.weight", EXPERTS, EXPERTS, down_exps, DIM_FF, DIM_MODEL, DIM_EXPERTS),
};

static size_t feed_forward_products(const struct step *s, const struct layer *l,
                                    struct product list[2]) {
    list[0] = product_of(s, &l->ffn_gate, s->gate);
    list[1] = product_of(s, &l->ffn_up, s->up);
    return 2;
}

/* y = the dense block of layer I, of the step's input. */
static void feed_forward(struct step *s, const struct model *m, size_t i, float *y) {
    const struct layer *l = &m->w.layers[i];
    size_t d_ff = m->shape.d_ff;
    struct product list[3];
    linear_expect(s, &l->ffn_down);
    products(s, list, feed_forward_products(s, l, list));
    rows_silu_mul(s, s->gate, s->up, s->n, d_ff);
    input_set(s, s->gate, s->n, d_ff);
    products_expect(s, list, attention_products(s, m, i + 1, list));
    linear(s, &l->ffn_down, y);
}

static bool forward(const struct model *m, struct step *s) {
    const struct shape *shape = &m->shape;
    size_t d = shape->d_model;
    for (size_t i = 0; i < shape->n_layers; i++) {
        const struct layer *l = &m->w.layers[i];
        if (!step_continues(s, i, shape->n_layers)) return false;
        rows_rms_norm(s, &l->attn_norm, shape->norm_eps, s->x, s->n, d, s->h);
        input_set(s, s->h, s->n, d);
        struct product list[3];
        linear_expect(s, &l->attn_out);
        products(s, list, attention_products(s, m, i, list));
        attention(s, m, i);
        if (s->n == 0) return true;
        if (!shape->n_experts) products_expect(s, list, feed_forward_products(s, l, list));
        linear(s, &l->attn_out, s->out);
        rows_add(s, s->x, s->out, s->n, d);

        rows_rms_norm(s, &l->ffn_norm, shape->norm_eps, s->x, s->n, d, s->h);
        input_set(s, s->h, s->n, d);
        if (shape->n_experts)
            moe(s, m, i, s->h, s->out);
        else
            feed_forward(s, m, i, s->out);
        rows_add(s, s->x, s->out, s->n, d);
    }
    return true;
}

static void final_norm(const struct model *m, struct step *s, const float *x, float *h) {
    rows_rms_norm(s, &m->w.output_norm, m->shape.norm_eps, x, s->n, m->shape.d_model, h);
}

const struct arch arch_llama = {
    .name = "llama",
    .read_shape = read_shape,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .forward = forward,
    .final_norm = final_norm,
};
