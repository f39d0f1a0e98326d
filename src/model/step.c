/* The workspace of a step, and the frame around an architecture's forward pass. */
#include "model/step.h"

#include <string.h>

#include "base/mem.h"

/* Hands out aligned pieces of one allocation; with a NULL base it only measures. */
struct layout {
    uint8_t *base;
    uint64_t used;
    bool overflow;
};

static void *take(struct layout *l, uint64_t n, uint64_t size) {
    uint64_t n_bytes, at = l->used;
    if (mul_overflows(n, size, &n_bytes) || n_bytes > SIZE_MAX / 4 || at > SIZE_MAX / 2) {
        l->overflow = true;
        return NULL;
    }
    l->used += (n_bytes + 63) & ~(uint64_t)63;
    return l->base ? l->base + at : NULL;
}

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

static void layout_act(struct layout *l, struct act *a, size_t n, size_t k, uint32_t block) {
    a->block = block;
    a->q = take(l, n * k, 1);
    a->d = take(l, n * (k / block + 1), sizeof *a->d);
    a->bsum = take(l, n * (k / QUANT_GROUP + 1), sizeof *a->bsum);
}

size_t step_layout(struct step *s, const struct model *m, size_t n, int n_threads, void *base) {
    const struct shape *shape = &m->shape;
    struct layout l = {base, 0, false};
    size_t q_width = shape->n_heads * shape->head_dim,
           kv_width = shape->n_kv_heads * shape->head_dim;
    size_t n_ffn = n * max_size(1, shape->n_experts_used);
    size_t widest = max_size(max_size(shape->d_model, q_width), shape->d_ff);
    s->x = take(&l, n * shape->d_model, sizeof(float));
    s->out = take(&l, n * shape->d_model, sizeof(float));
    // Queries, keys and values are made of the normed input before attention takes its place.
    s->h = s->att = take(&l, n * max_size(shape->d_model, q_width), sizeof(float));
    // They are no more when the gate is computed.
    struct layout parts = l;
    s->gate = take(&l, n_ffn * shape->d_ff, sizeof(float));
    s->q = take(&parts, n * q_width, sizeof(float));
    s->k = take(&parts, n * kv_width, sizeof(float));
    s->v = take(&parts, n * kv_width, sizeof(float));
    l.used = max_size(l.used, parts.used);
    l.overflow |= parts.overflow;
    s->up = take(&l, n_ffn * shape->d_ff, sizeof(float));
    s->mixed = take(&l, shape->n_experts ? n_ffn * shape->d_model : 0, sizeof(float));
    s->rope_cos = take(&l, n * (shape->n_rot / 2), sizeof(float));
    s->rope_sin = take(&l, n * (shape->n_rot / 2), sizeof(float));
    layout_act(&l, &s->input.act32, n_ffn, widest, 32);
    layout_act(&l, &s->input.act256, n_ffn, widest, 256);
    s->routes = take(&l, n * shape->n_experts_used, sizeof *s->routes);
    s->router_logits = take(&l, n * shape->n_experts, sizeof(float));
    s->scratch_bytes = max_size(matmul_scratch_bytes(widest), attention_scratch_bytes(shape));
    s->scratch_bytes = (s->scratch_bytes + 63) & ~(size_t)63;
    s->scratch = take(&l, (uint64_t)n_threads, s->scratch_bytes);
    s->ready_for = take(&l, (uint64_t)n_threads, sizeof(void *));
    return l.overflow ? SIZE_MAX : (size_t)l.used;
}

bool step_continues(struct step *s, size_t layer, size_t n_layers) {
    return !s->keep_going || s->keep_going(s->user, (double)layer / (double)n_layers);
}

static void keep_wanted(const struct step *s, float *rows, size_t width) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_seqs; i++) {
        const struct step_seq *seq = &s->seqs[i];
        memmove(rows + n * width, rows + (seq->row + seq->n - seq->n_wanted) * width,
                seq->n_wanted * width * sizeof *rows);
        n += seq->n_wanted;
    }
}

void step_narrow(struct step *s, const struct model *m) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_seqs; i++) n += s->seqs[i].n_wanted;
    if (n == s->n) return;
    keep_wanted(s, s->x, m->shape.d_model);
    keep_wanted(s, s->att, m->shape.n_heads * m->shape.head_dim);
    keep_wanted(s, s->up, m->shape.d_ff);
    s->n = n;
}

bool step_run(const struct model *m, struct step *s) {
    s->decodes = s->n == 1;
    s->input.act32.ahead = s->input.act256.ahead = lookahead_usual(&s->lookahead);
    if (s->decodes) lookahead_begin(&s->lookahead);
    rope_prepare(s, m);
    rows_embed(s, &m->w.token_embd, s->x);
    return m->arch->forward(m, s);
}

void step_states(const struct model *m, struct step *s, const float *x, size_t n_rows) {
    size_t n = s->n;
    s->n = n_rows;
    m->arch->final_norm(m, s, x, s->h);
    s->n = n;
}

void step_logits(const struct model *m, struct step *s, const float *x, size_t n_rows,
                 float *logits) {
    size_t n = s->n;
    step_states(m, s, x, n_rows);
    s->n = n_rows;
    input_set(s, s->h, n_rows, m->shape.d_model);
    linear(s, &m->w.output, logits);
    s->n = n;
}
