/* See vectors.h. */
#include "server/vectors.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

struct vectors *vectors_new(void) {
    struct vectors *const vectors = mem_alloc(sizeof *vectors);
    if (vectors) vectors->norm = VECTORS_EUCLID;
    return vectors;
}

void vectors_free(struct vectors *vectors) {
    if (!vectors) return;
    mem_free(vectors->ends);
    mem_free(vectors->values);
    mem_free(vectors->sum);
    mem_free(vectors);
}

bool vectors_add(struct vectors *vectors, size_t n_prompt) {
    if (!mem_reserve((void **)&vectors->ends, &vectors->cap, vectors->n + 1,
                     sizeof *vectors->ends))
        return false;
    vectors->ends[vectors->n++] = n_prompt;
    return true;
}

static enum octet_status make_room(struct vectors *v, const struct octet_model *model,
                                   struct octet_err *err) {
    struct octet_model_info info;
    if (v->values) return OCTET_OK;
    octet_model_get_info(model, &info);
    v->d = (size_t)info.d_model;
    v->sum = mem_array(v->d, sizeof *v->sum);
    v->values = v->sum ? mem_array(v->n, v->d * sizeof *v->values) : NULL;
    if (v->values) return OCTET_OK;
    return octet_fail_memory(err, "vectors", v->n * v->d * sizeof *v->values);
}

/* In the order of positions, so that the sum's bits do not depend on the pieces. */
static void add_state(void *user, size_t position, const float *state) {
    struct vectors *const v = user;
    for (size_t i = 0; i < v->d; i++) v->sum[i] += (double)state[i];
    v->n_told = position + 1;
}

static double norm_of(const double *x, size_t n, int p) {
    double sum = 0, max = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, fabs(x[i]));
    if (p == VECTORS_MAX) return max / 32760;
    if (p < 0 || max == 0) return 1;
    for (size_t i = 0; i < n; i++) sum += pow(fabs(x[i]) / max, p); // no overflow for any p
    return max * pow(sum, 1.0 / p);
}

static void finish_text(struct vectors *v) {
    float *const out = v->values + v->n_done * v->d;
    for (size_t i = 0; i < v->d; i++) v->sum[i] /= (double)v->n_told;
    const double norm = norm_of(v->sum, v->d, v->norm);
    for (size_t i = 0; i < v->d; i++) out[i] = norm > 0 ? (float)(v->sum[i] / norm) : 0;
    v->n_done++;
    v->n_told = 0;
}

enum octet_status vectors_step(struct vectors *v, const struct octet_model *model,
                               struct octet_session *session, const struct octet_tokens *prompt,
                               size_t n_rows, struct octet_err *err) {
    enum octet_status status = make_room(v, model, err);
    if (status != OCTET_OK || v->n_done == v->n) return status;
    const size_t from = v->n_done > 0 ? v->ends[v->n_done - 1] : 0;
    const size_t n = v->ends[v->n_done] - from;
    if (v->n_told == 0) {
        octet_session_clear(session);
        memset(v->sum, 0, v->d * sizeof *v->sum);
    }
    const size_t to = n - v->n_told < n_rows ? n : v->n_told + n_rows;
    status = octet_session_states(session, prompt->ids + from, to, add_state, v, err);
    if (status == OCTET_OK && to == n) finish_text(v);
    return status;
}
