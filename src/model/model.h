/* A model: shapes and weights bound from a file, and one step of computation over them.
 *
 * An architecture is one file that exports a struct arch (hyper-parameters, weight table, forward
 * pass) and one line in ARCH_LIST below. The forward passes are built from the shared blocks in
 * step.h and should read like MODEL.md. */
#ifndef OCTET_MODEL_MODEL_H
#define OCTET_MODEL_MODEL_H

#include "format/gguf.h"

/* ---- Shapes -----------------------------------------------------------------------------------
 */

enum { MAX_EXPERTS = 256 };

enum rope_layout {
    ROPE_INTERLEAVED, // pairs (2i, 2i+1)
    ROPE_HALVES,      // pairs (i, i + n_rot/2)
};

struct shape {
    size_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, n_vocab, n_ctx_train;
    size_t n_experts, n_experts_used; // 0: dense
    size_t window;                    // keys a query sees, itself included; 0: all before it
    size_t n_rot;                     // leading dimensions of a head that rotate
    enum rope_layout rope_layout;
    double rope_base, rope_scale; // angle = position * rope_scale * rope_base^(-2i/n_rot)
    float norm_eps;
};

/* ---- Weights ----------------------------------------------------------------------------------
 */

/* A matrix in the mapped file, or a run of its rows. */
struct tensor {
    const char *name;
    const struct quant_type *type; // NULL: this model has no such tensor
    const void *data;
    size_t rows, cols; // y (rows) = W (rows, cols) x (cols)
};

struct linear {
    struct tensor w;
    const float *b; // (rows) or NULL
};

struct norm {
    const float *g, *b; // (d_model); b NULL for RMS norms
};

/* All weights a block of any architecture may have; each binds what its table names. */
struct layer {
    struct norm attn_norm, ffn_norm;
    struct linear attn_q, attn_k, attn_v, attn_out;
    struct linear ffn_gate, ffn_up, ffn_down;
    struct tensor router;                           // (n_experts, d_model)
    struct tensor *gate_exps, *up_exps, *down_exps; // (n_experts)
};

struct weights {
    struct tensor token_embd; // (n_vocab, d_model)
    struct norm output_norm;
    struct linear output;    // (n_vocab, d_model); the embedding itself where tied
    const float *rope_freqs; // (n_rot / 2) divisors of the frequencies, or NULL
    struct layer *layers;    // (n_layers)
};

/* Bytes of the embedding where only rows of tokens are read of it, so that it need not be in
 * memory; 0 where it is the output matrix as well. */
static inline size_t weights_rows_only(const struct weights *w) {
    const struct tensor *t = &w->token_embd;
    return t->data == w->output.w.data ? 0 : t->rows * quant_row_bytes(t->type, t->cols);
}

/* ---- Architectures ----------------------------------------------------------------------------
 */

struct step;
struct model;

enum dim { DIM_END, DIM_MODEL, DIM_HEADS, DIM_KV, DIM_FF, DIM_VOCAB, DIM_EXPERTS, DIM_HALF_ROT };

enum weight_kind {
    WEIGHT_MATRIX,   // struct tensor
    WEIGHT_VECTOR,   // const float *, converted to F32
    WEIGHT_EXPERTS,  // struct tensor * (n_experts), stored merged or one by one
    WEIGHT_QKV,      // matrix whose rows are q, then k, then v; fills attn_q, attn_k, attn_v
    WEIGHT_QKV_BIAS, // the same for their biases
};

enum weight_need {
    NEED_ALWAYS,
    NEED_NEVER,   // optional
    NEED_DENSE,   // where n_experts is 0, else absent
    NEED_EXPERTS, // where n_experts is not 0, else absent
};

/* One row of an architecture's weight table. NAME holds %zu for the layer, if any. */
struct weight {
    const char *name;
    enum weight_kind kind;
    enum weight_need need;
    size_t offset;    // in struct layer, or in struct weights for names without a layer
    enum dim dims[3]; // fastest-varying first
};

/* Rows of weight tables: LAYER for one tensor per layer, GLOBAL for the others. */
#define LAYER(name, kind, need, field, ...)                                                        \
    {                                                                                              \
        "blk.%zu." name, WEIGHT_##kind, NEED_##need, offsetof(struct layer, field), {              \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define GLOBAL(name, kind, need, field, ...)                                                       \
    {                                                                                              \
        name, WEIGHT_##kind, NEED_##need, offsetof(struct weights, field), { __VA_ARGS__ }         \
    }

struct arch {
    const char *name; // general.architecture
    enum octet_status (*read_shape)(const struct gguf *g, struct shape *shape,
                                    struct octet_err *err);
    const struct weight *weights;
    size_t n_weights;
    /* x (n, d_model) of all rows after the last layer. False: cancelled. */
    bool (*forward)(const struct model *m, struct step *s);
    void (*final_norm)(const struct model *m, struct step *s, const float *x, float *h);
};

#define ARCH_LIST(X)                                                                               \
    X(llama) /* Llama 2, TinyLlama, SmolLM2, Mistral, Mixtral */                                   \
    X(phi2)  /* Phi-1.5, Phi-2 */

struct model {
    const struct gguf *file;
    const struct arch *arch;
    struct shape shape;
    struct weights w;
    float **vectors; // (n_vectors) what WEIGHT_VECTOR rows point into
    size_t n_vectors, cap_vectors;
    // See octet_model_info.
    uint64_t n_params, decode_bytes, expert_bytes, decode_macs, last_layer_macs;
    const struct quant_type *type; // of most of the weights
};

/* Reads shapes and binds all weights of an open file, which must outlive the model. */
enum octet_status model_load(const struct gguf *g, struct model *m, struct octet_err *err);
void model_unload(struct model *m);

/* Keys that all architectures have, under "ARCH.": sizes, heads, experts, rope. Defaults already in
 * SHAPE stay where the file is silent. EPS_KEY: the norm's key after "ARCH.". */
enum octet_status shape_read_common(const struct gguf *g, const char *arch, const char *eps_key,
                                    struct shape *shape, struct octet_err *err);

/* Part of model_load: fills m->w by the table of m->arch. */
enum octet_status weights_bind(struct model *m, struct octet_err *err);

#endif
