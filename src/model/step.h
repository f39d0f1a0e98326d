/* One step: n rows (tokens) of m sequences through the model, and the blocks that forward passes
 * are made of. Rows of one sequence are contiguous and in position order. Each block works on all
 * rows and spreads over the pool; none of them lets a row's result depend on the other rows. */
#ifndef OCTET_MODEL_STEP_H
#define OCTET_MODEL_STEP_H

#include "base/threads.h"
#include "kernels/kernels.h"
#include "model/kv.h"
#include "model/lookahead.h"
#include "model/model.h"

/* Activation rows on their way into weight matrices: quantised when the first matrix asks, once for
 * each block length. */
struct input {
    const float *x; // (n, k)
    size_t n, k;
    struct act act32, act256;
    bool has32, has256;
};

struct step_seq {
    struct kv *kv;
    size_t row, n;   // rows row .. row + n - 1
    size_t pos;      // position of the first
    size_t n_wanted; // rows, the last ones, whose states are wanted after the last layer
};

struct step {
    const struct kernels *kernels;
    struct pool *pool;
    size_t n;                    // rows
    const int32_t *tokens;       // (n)
    const struct step_seq *seqs; // (n_seqs)
    size_t n_seqs;
    bool (*keep_going)(void *user, double fraction); // asked once per layer; NULL: always
    void *user;

    // Workspace, see step_layout.
    float *x, *h, *out;         // (n, d_model) residual stream, normed input, branch output
    float *q, *att;             // (n, n_heads * head_dim); att shares h
    float *k, *v;               // (n, n_kv_heads * head_dim)
    float *gate, *up;           // (n_ffn, d_ff), n_ffn = n * max(1, n_experts_used); gate: q k v
    float *mixed;               // (n_ffn, d_model) expert inputs, then outputs
    float *rope_cos, *rope_sin; // (n, n_rot / 2)
    struct input input;         // buffers for n_ffn rows of the widest input
    struct moe_route *routes;   // (n * n_experts_used)
    float *router_logits;       // (n, n_experts)
    void *scratch;              // (n_threads, scratch_bytes)
    size_t scratch_bytes;
    bool expects;                     // products_expect was called since the last products
    const struct product **ready_for; // (n_threads) what the kernels prepared scratch for
    struct lookahead lookahead;
    bool decodes; // this step has one row
};

/* Bytes of workspace that N rows need, with the step's pointers set into BASE (64-byte aligned) if
 * it is not NULL. SIZE_MAX where the size overflows. */
size_t step_layout(struct step *s, const struct model *m, size_t n, int n_threads, void *base);

/* The whole forward pass: s->x of the wanted rows after the last layer, all of them in one block,
 * and s->n is their number. False: cancelled. */
bool step_run(const struct model *m, struct step *s);
/* Hidden states (n_rows, d_model) of rows X (n_rows, d_model), after the last norm, in s->h. */
void step_states(const struct model *m, struct step *s, const float *x, size_t n_rows);
/* Logits (n_rows, n_vocab) of rows X (n_rows, d_model), n_rows <= the n of the layout. */
void step_logits(const struct model *m, struct step *s, const float *x, size_t n_rows,
                 float *logits);

/* ---- Blocks ------------------------------------------------------------------------------------
 */

bool step_continues(struct step *s, size_t layer, size_t n_layers);
/* Leaves only the wanted rows of s->x, s->att and s->up, and s->n of them: once the keys and values
 * of the last layer are stored, nobody misses the others. */
void step_narrow(struct step *s, const struct model *m);

/* rows.c */
void rows_embed(struct step *s, const struct tensor *embd, float *x);
void rows_rms_norm(struct step *s, const struct norm *norm, float eps, const float *x, size_t n,
                   size_t d, float *y);
void rows_layer_norm(struct step *s, const struct norm *norm, float eps, const float *x, size_t n,
                     size_t d, float *y);
void rows_add(struct step *s, float *y, const float *x, size_t n, size_t d);
void rows_silu_mul(struct step *s, float *gate, const float *up, size_t n, size_t d);

/* linear.c: several products in one go; Y (n, w->rows) = x W^T + b, then gelu of that if asked. */
struct product {
    const struct tensor *w;
    const float *b; // (w->rows) or NULL
    bool gelu;
    size_t row, n; // rows of the input it takes
    float *y;
};
void input_set(struct step *s, const float *x, size_t n, size_t k);
void products(struct step *s, const struct product *list, size_t n_products);
/* Tells idle threads what comes after the products that are computed next, so that they fetch its
 * weights. */
void products_expect(struct step *s, const struct product *list, size_t n_products);
struct product product_of(const struct step *s, const struct linear *l, float *y); // all rows
void linear(struct step *s, const struct linear *l, float *y);                     // all rows
void linear_expect(struct step *s, const struct linear *l);

/* rope.c */
void rope_prepare(struct step *s, const struct model *m);
void rope_apply(struct step *s, const struct model *m, float *x, size_t n_heads);

/* attention.c: the products that give queries, keys and values; after the last layer that with the
 * output matrix, which comes in their place. Returns how many. */
size_t attention_products(const struct step *s, const struct model *m, size_t layer,
                          struct product list[3]);
/* Self-attention of those queries, keys and values: extends the KV caches by the rows of the step,
 * and leaves the input of the layer's attn_out. In the last layer only wanted rows remain. */
void attention(struct step *s, const struct model *m, size_t layer);
size_t attention_scratch_bytes(const struct shape *shape); // per thread

/* moe.c: y = sum over the chosen experts of h, in layer I. */
struct moe_route {
    float weight;
    uint32_t row; // of the step
    uint32_t expert;
    uint32_t slot; // row of the expert-ordered buffers
};
/* Picks the n_used largest logits (ties: lower index) into CHOSEN in descending order, with the
 * softmax over them as WEIGHTS. */
void moe_pick(const float *logits, size_t n_experts, size_t n_used, uint32_t *chosen,
              float *weights);
void moe(struct step *s, const struct model *m, size_t i, const float *h, float *y);

#endif
