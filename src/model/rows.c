/* Blocks that treat every row alone: embedding, norms, activations, residual sums. */
#include <string.h>

#include "base/map.h"
#include "model/step.h"

struct rows_job {
    const struct step *s;
    const struct norm *norm;
    const struct tensor *embd;
    const float *x;
    float *y;
    size_t d;
    float eps;
};

/* Few rows of a large matrix: read through the file, they do not bring its pages into memory. */
static void embed_row(void *arg, size_t row, int i_thread) {
    const struct rows_job *job = arg;
    const struct tensor *e = job->embd;
    size_t row_bytes = quant_row_bytes(e->type, e->cols);
    const uint8_t *src = (const uint8_t *)e->data + (size_t)job->s->tokens[row] * row_bytes;
    uint8_t *copy = (uint8_t *)job->s->scratch + (size_t)i_thread * job->s->scratch_bytes;
    if (map_read(src, row_bytes, copy)) src = copy;
    quant_decode(e->type, src, job->y + row * job->d, job->d);
}

static void rms_norm_row(void *arg, size_t row, int i_thread) {
    (void)i_thread;
    const struct rows_job *job = arg;
    job->s->kernels->rms_norm(job->x + row * job->d, job->norm->g, job->d, job->eps,
                              job->y + row * job->d);
}

static void layer_norm_row(void *arg, size_t row, int i_thread) {
    (void)i_thread;
    const struct rows_job *job = arg;
    job->s->kernels->layer_norm(job->x + row * job->d, job->norm->g, job->norm->b, job->d, job->eps,
                                job->y + row * job->d);
}

static void add_row(void *arg, size_t row, int i_thread) {
    (void)i_thread;
    const struct rows_job *job = arg;
    job->s->kernels->add(job->y + row * job->d, job->x + row * job->d, job->d);
}

static void silu_mul_row(void *arg, size_t row, int i_thread) {
    (void)i_thread;
    const struct rows_job *job = arg;
    job->s->kernels->silu_mul(job->y + row * job->d, job->x + row * job->d, job->d);
}

void rows_embed(struct step *s, const struct tensor *embd, float *x) {
    struct rows_job job = {.s = s, .embd = embd, .y = x, .d = embd->cols};
    pool_tasks(s->pool, s->n, embed_row, &job);
}

void rows_rms_norm(struct step *s, const struct norm *norm, float eps, const float *x, size_t n,
                   size_t d, float *y) {
    struct rows_job job = {.s = s, .norm = norm, .x = x, .y = y, .d = d, .eps = eps};
    pool_tasks(s->pool, n, rms_norm_row, &job);
}

void rows_layer_norm(struct step *s, const struct norm *norm, float eps, const float *x, size_t n,
                     size_t d, float *y) {
    struct rows_job job = {.s = s, .norm = norm, .x = x, .y = y, .d = d, .eps = eps};
    pool_tasks(s->pool, n, layer_norm_row, &job);
}

void rows_add(struct step *s, float *y, const float *x, size_t n, size_t d) {
    struct rows_job job = {.s = s, .x = x, .y = y, .d = d};
    pool_tasks(s->pool, n, add_row, &job);
}

void rows_silu_mul(struct step *s, float *gate, const float *up, size_t n, size_t d) {
    struct rows_job job = {.s = s, .x = up, .y = gate, .d = d};
    pool_tasks(s->pool, n, silu_mul_row, &job);
}
