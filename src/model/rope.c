/* Rotary position embedding (Su et al. 2021). Sines and cosines are our own, in plain double
 * arithmetic, so that every machine computes the same ones. */
#include <math.h>

#include "model/step.h"

/* Taylor polynomials on |r| <= pi/4; x = k * pi/2 + r with pi/2 in three parts (Cody-Waite), good
 * for |x| < 2^25: error far below half a unit of a float. */
static void sin_cos(double x, float *sine, float *cosine) {
    double k = rint(x * 0.63661977236758134308);
    double r =
        ((x - k * 0x1.921fb54400000p+0) - k * 0x1.0b4611a600000p-34) - k * 0x1.3198a2e037073p-69;
    double r2 = r * r, s = 0, c = 0;
    static const double sin_terms[] = {
        -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880,
        -1.0 / 5040,          1.0 / 120,        -1.0 / 6,        1.0};
    static const double cos_terms[] = {1.0 / 20922789888000,
                                       -1.0 / 87178291200,
                                       1.0 / 479001600,
                                       -1.0 / 3628800,
                                       1.0 / 40320,
                                       -1.0 / 720,
                                       1.0 / 24,
                                       -0.5,
                                       1.0};
    for (size_t i = 0; i < sizeof sin_terms / sizeof *sin_terms; i++) s = s * r2 + sin_terms[i];
    for (size_t i = 0; i < sizeof cos_terms / sizeof *cos_terms; i++) c = c * r2 + cos_terms[i];
    s *= r;
    switch ((long long)k & 3) {
    case 0: *sine = (float)s, *cosine = (float)c; break;
    case 1: *sine = (float)c, *cosine = (float)-s; break;
    case 2: *sine = (float)-s, *cosine = (float)-c; break;
    default: *sine = (float)-c, *cosine = (float)s; break;
    }
}

void rope_prepare(struct step *s, const struct model *m) {
    const struct shape *shape = &m->shape;
    size_t half = shape->n_rot / 2;
    for (size_t i = 0; i < half; i++) {
        // Rounded to float, as the reference implementations hold it.
        float frequency = (float)pow(shape->rope_base, -2.0 * (double)i / (double)shape->n_rot);
        double step = (double)frequency * shape->rope_scale;
        if (m->w.rope_freqs) step /= (double)m->w.rope_freqs[i];
        for (size_t j = 0; j < s->n_seqs; j++)
            for (size_t t = 0; t < s->seqs[j].n; t++) {
                size_t at = (s->seqs[j].row + t) * half + i;
                sin_cos((double)(s->seqs[j].pos + t) * step, &s->rope_sin[at], &s->rope_cos[at]);
            }
    }
}

struct rope_job {
    const struct step *s;
    const struct shape *shape;
    float *x;
    size_t n_heads;
};

static void rope_row(void *arg, size_t row, int i_thread) {
    (void)i_thread;
    const struct rope_job *job = arg;
    size_t half = job->shape->n_rot / 2, head_dim = job->shape->head_dim;
    const float *cosine = job->s->rope_cos + row * half, *sine = job->s->rope_sin + row * half;
    bool halves = job->shape->rope_layout == ROPE_HALVES;
    for (size_t head = 0; head < job->n_heads; head++) {
        float *x = job->x + (row * job->n_heads + head) * head_dim;
        for (size_t i = 0; i < half; i++) {
            float *a = halves ? &x[i] : &x[2 * i], *b = halves ? &x[i + half] : &x[2 * i + 1];
            float a0 = *a, b0 = *b;
            *a = a0 * cosine[i] - b0 * sine[i];
            *b = a0 * sine[i] + b0 * cosine[i];
        }
    }
}

void rope_apply(struct step *s, const struct model *m, float *x, size_t n_heads) {
    struct rope_job job = {s, &m->shape, x, n_heads};
    pool_tasks(s->pool, s->n, rope_row, &job);
}
