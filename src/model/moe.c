/* Mixture of experts (Mixtral, Jiang et al. 2024): rows are grouped by expert so that every expert
 * runs as true matrix products, all experts in one go; each row then sums its experts in the order
 * of their router logits. */
#include <string.h>

#include "model/step.h"

void moe_pick(const float *logits, size_t n_experts, size_t n_used, uint32_t *chosen,
              float *weights) {
    for (size_t i = 0; i < n_used; i++) {
        size_t best = n_experts;
        for (size_t e = 0; e < n_experts; e++) {
            bool taken = false;
            for (size_t j = 0; j < i; j++) taken |= chosen[j] == e;
            // A NaN never compares greater: it is chosen only when nothing else is left.
            if (!taken && (best == n_experts || logits[e] > logits[best])) best = e;
        }
        chosen[i] = (uint32_t)best;
    }
    float sum = 0;
    for (size_t i = 0; i < n_used; i++) {
        weights[i] = kernel_exp(logits[chosen[i]] - logits[chosen[0]]);
        sum += weights[i];
    }
    for (size_t i = 0; i < n_used; i++) weights[i] /= sum;
}

/* Fills s->routes (n, n_used), giving each a slot so that the slots of an expert are contiguous;
 * starts[e] is the first slot of expert e, starts[n_experts] their number. */
static void route(struct step *s, const struct shape *shape, size_t *starts) {
    size_t n_used = shape->n_experts_used, n_experts = shape->n_experts;
    uint32_t chosen[MAX_EXPERTS];
    float weights[MAX_EXPERTS];
    memset(starts, 0, (n_experts + 1) * sizeof *starts);
    for (size_t t = 0; t < s->n; t++) {
        moe_pick(s->router_logits + t * n_experts, n_experts, n_used, chosen, weights);
        for (size_t i = 0; i < n_used; i++) {
            s->routes[t * n_used + i] = (struct moe_route){weights[i], (uint32_t)t, chosen[i], 0};
            starts[chosen[i] + 1]++;
        }
    }
    for (size_t e = 0; e < n_experts; e++) starts[e + 1] += starts[e];
    size_t next[MAX_EXPERTS];
    memcpy(next, starts, n_experts * sizeof *next);
    for (size_t i = 0; i < s->n * n_used; i++)
        s->routes[i].slot = (uint32_t)next[s->routes[i].expert]++;
}

struct gather_job {
    const struct step *s;
    const float *h;
    float *y;
    size_t d, n_used;
};

static void gather_row(void *arg, size_t i, int i_thread) {
    (void)i_thread;
    const struct gather_job *job = arg;
    const struct moe_route *r = &job->s->routes[i];
    memcpy(job->s->mixed + r->slot * job->d, job->h + r->row * job->d, job->d * sizeof(float));
}

static void combine_row(void *arg, size_t row, int i_thread) {
    (void)i_thread;
    const struct gather_job *job = arg;
    float *y = job->y + row * job->d;
    memset(y, 0, job->d * sizeof *y);
    for (size_t i = 0; i < job->n_used; i++) {
        const struct moe_route *r = &job->s->routes[row * job->n_used + i];
        job->s->kernels->axpy(y, r->weight, job->s->mixed + r->slot * job->d, job->d);
    }
}

/* Gate and up of all experts that have slots; returns their number. */
static size_t inner_products(const struct step *s, const struct model *m, const struct layer *l,
                             const size_t *starts, struct product list[2 * MAX_EXPERTS]) {
    size_t n = 0, d_ff = m->shape.d_ff;
    for (size_t e = 0; e < m->shape.n_experts; e++) {
        size_t first = starts[e], count = starts[e + 1] - first;
        if (count == 0) continue;
        list[n++] =
            (struct product){&l->gate_exps[e], NULL, false, first, count, s->gate + first * d_ff};
        list[n++] =
            (struct product){&l->up_exps[e], NULL, false, first, count, s->up + first * d_ff};
    }
    return n;
}

static size_t down_products(const struct step *s, const struct model *m, const struct layer *l,
                            const size_t *starts, struct product list[MAX_EXPERTS]) {
    size_t n = 0;
    for (size_t e = 0; e < m->shape.n_experts; e++) {
        size_t first = starts[e], count = starts[e + 1] - first;
        if (count > 0)
            list[n++] = (struct product){
                &l->down_exps[e], NULL, false, first, count, s->mixed + first * m->shape.d_model};
    }
    return n;
}

void moe(struct step *s, const struct model *m, size_t i, const float *h, float *y) {
    const struct shape *shape = &m->shape;
    const struct layer *l = &m->w.layers[i];
    size_t n_slots = s->n * shape->n_experts_used, starts[MAX_EXPERTS + 1];
    struct product router = {&l->router, NULL, false, 0, s->n, s->router_logits};
    products(s, &router, 1);
    route(s, shape, starts);

    struct product inner[2 * MAX_EXPERTS], down[MAX_EXPERTS], next[3];
    size_t n_inner = inner_products(s, m, l, starts, inner);
    size_t n_down = down_products(s, m, l, starts, down);
    products_expect(s, inner, n_inner);
    struct gather_job job = {s, h, y, shape->d_model, shape->n_experts_used};
    pool_tasks(s->pool, n_slots, gather_row, &job);
    input_set(s, s->mixed, n_slots, shape->d_model);
    products_expect(s, down, n_down);
    products(s, inner, n_inner);
    rows_silu_mul(s, s->gate, s->up, n_slots, shape->d_ff);

    input_set(s, s->gate, n_slots, shape->d_ff);
    products_expect(s, next, attention_products(s, m, i + 1, next));
    products(s, down, n_down);
    pool_tasks(s->pool, s->n, combine_row, &job);
}
