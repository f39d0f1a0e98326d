/* From an open file to a model: architecture, shapes, weights, sizes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/kernels.h"
#include "model/model.h"

#define ARCH_EXTERN(name) extern const struct arch arch_##name;
ARCH_LIST(ARCH_EXTERN)

static const struct arch *const archs[] = {
#define ARCH_ENTRY(name) &arch_##name,
    ARCH_LIST(ARCH_ENTRY)};

enum { KEY_CAP = 96, MAX_HEAD_DIM = 512 };

/* ---- Shapes -----------------------------------------------------------------------------------
 */

struct size_key {
    const char *name; // after "ARCH."
    bool required;
    int64_t min, max;
    size_t *out;
};

static const char *full_key(char *buffer, const char *arch, const char *name) {
    snprintf(buffer, KEY_CAP, "%s.%s", arch, name);
    return buffer;
}

static enum octet_status read_sizes(const struct gguf *g, const char *arch,
                                    const struct size_key *keys, size_t n, struct octet_err *err) {
    for (size_t i = 0; i < n; i++) {
        char key[KEY_CAP];
        int64_t value = (int64_t)*keys[i].out;
        enum octet_status status =
            gguf_get_int(g, full_key(key, arch, keys[i].name), keys[i].required, keys[i].min,
                         keys[i].max, &value, err);
        if (status != OCTET_OK) return status;
        *keys[i].out = (size_t)value;
    }
    return OCTET_OK;
}

static enum octet_status fail_shape(const struct gguf *g, struct octet_err *err, const char *arch,
                                    const char *what, size_t found, const char *expected) {
    return octet_fail(err, OCTET_EFORMAT, "%s: key '%s.%s': expected %s, found %zu", gguf_path(g),
                      arch, what, expected, found);
}

static enum octet_status read_rope(const struct gguf *g, const char *arch, struct shape *s,
                                   struct octet_err *err) {
    char key[KEY_CAP];
    enum octet_status status =
        gguf_get_float(g, full_key(key, arch, "rope.freq_base"), false, &s->rope_base, err);
    if (status != OCTET_OK) return status;
    if (!(s->rope_base >= 1 && s->rope_base <= 1e12))
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected 1 to 1e12, found %g",
                          gguf_path(g), key, s->rope_base);
    struct gguf_string type = {"linear", 6};
    status = gguf_get_string(g, full_key(key, arch, "rope.scaling.type"), false, &type, err);
    if (status != OCTET_OK) return status;
    bool none = type.n == 4 && memcmp(type.p, "none", 4) == 0;
    if (!none && !(type.n == 6 && memcmp(type.p, "linear", 6) == 0))
        return octet_fail(
            err, OCTET_EUNSUPPORTED,
            "%s: key '%s': rope scaling '%.*s' is not supported (none and linear are)",
            gguf_path(g), key, (int)(type.n < 40 ? type.n : 40), type.p);
    double factor = 1;
    status = gguf_get_float(g, full_key(key, arch, "rope.scale_linear"), false, &factor, err);
    if (status == OCTET_OK)
        status = gguf_get_float(g, full_key(key, arch, "rope.scaling.factor"), false, &factor, err);
    if (status != OCTET_OK) return status;
    if (factor == 0) factor = 1;
    if (!(factor >= 1e-3 && factor <= 1e6))
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected 0.001 to 1000000, found %g",
                          gguf_path(g), key, factor);
    if (!none) s->rope_scale = 1 / factor;
    return OCTET_OK;
}

static enum octet_status check_shape(const struct gguf *g, const char *arch, const struct shape *s,
                                     struct octet_err *err) {
    if (s->n_heads % s->n_kv_heads)
        return fail_shape(g, err, arch, "attention.head_count_kv", s->n_kv_heads,
                          "a divisor of attention.head_count");
    if (s->head_dim == 0 || s->head_dim > MAX_HEAD_DIM || s->head_dim % 2)
        return fail_shape(g, err, arch, "attention.key_length", s->head_dim,
                          "an even number to 512");
    if (s->n_rot > s->head_dim || s->n_rot % 2)
        return fail_shape(g, err, arch, "rope.dimension_count", s->n_rot,
                          "an even number up to the head dimension");
    if (s->n_experts_used > s->n_experts || (s->n_experts && s->n_experts_used == 0))
        return fail_shape(g, err, arch, "expert_used_count", s->n_experts_used,
                          "1 to expert_count");
    if (!(s->norm_eps > 0 && s->norm_eps < 1))
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: norm epsilon: expected between 0 and 1, found %g", gguf_path(g),
                          (double)s->norm_eps);
    return OCTET_OK;
}

enum octet_status shape_read_common(const struct gguf *g, const char *arch, const char *eps_key,
                                    struct shape *s, struct octet_err *err) {
    const struct size_key required[] = {
        {"context_length", true, 1, 1 << 24, &s->n_ctx_train},
        {"embedding_length", true, 1, 1 << 17, &s->d_model},
        {"block_count", true, 1, 512, &s->n_layers},
        {"feed_forward_length", true, 1, 1 << 20, &s->d_ff},
        {"attention.head_count", true, 1, 1024, &s->n_heads},
        {"expert_count", false, 0, MAX_EXPERTS, &s->n_experts},
        {"expert_used_count", false, 0, MAX_EXPERTS, &s->n_experts_used},
        {"attention.sliding_window", false, 0, 1 << 24, &s->window},
    };
    enum octet_status status =
        read_sizes(g, arch, required, sizeof required / sizeof *required, err);
    if (status != OCTET_OK) return status;
    s->n_kv_heads = s->n_heads;
    s->head_dim = s->d_model / s->n_heads;
    bool own_head_dim = false;
    char key[KEY_CAP];
    own_head_dim = gguf_find(g, full_key(key, arch, "attention.key_length")) != NULL;
    if (!own_head_dim && s->d_model % s->n_heads)
        return fail_shape(g, err, arch, "attention.head_count", s->n_heads,
                          "a divisor of embedding_length");
    size_t value_length;
    const struct size_key heads[] = {
        {"attention.head_count_kv", false, 1, (int64_t)s->n_heads, &s->n_kv_heads},
        {"attention.key_length", false, 2, MAX_HEAD_DIM, &s->head_dim},
    };
    status = read_sizes(g, arch, heads, sizeof heads / sizeof *heads, err);
    if (status != OCTET_OK) return status;
    s->n_rot = value_length = s->head_dim;
    const struct size_key rest[] = {
        {"attention.value_length", false, 2, MAX_HEAD_DIM, &value_length},
        {"rope.dimension_count", false, 2, MAX_HEAD_DIM, &s->n_rot},
    };
    status = read_sizes(g, arch, rest, sizeof rest / sizeof *rest, err);
    if (status != OCTET_OK) return status;
    if (value_length != s->head_dim)
        return fail_shape(g, err, arch, "attention.value_length", value_length,
                          "the same as attention.key_length");
    double eps = 0;
    status = gguf_get_float(g, full_key(key, arch, eps_key), true, &eps, err);
    if (status == OCTET_OK) status = read_rope(g, arch, s, err);
    if (status != OCTET_OK) return status;
    s->norm_eps = (float)eps;
    return check_shape(g, arch, s, err);
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

static enum octet_status find_arch(const struct gguf *g, const struct arch **out,
                                   struct octet_err *err) {
    struct gguf_string name = {"", 0};
    enum octet_status status = gguf_get_string(g, "general.architecture", true, &name, err);
    if (status != OCTET_OK) return status;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (strlen(archs[i]->name) == name.n && memcmp(archs[i]->name, name.p, name.n) == 0) {
            *out = archs[i];
            return OCTET_OK;
        }
    return octet_fail(err, OCTET_EUNSUPPORTED,
                      "%s: architecture '%.*s' is not supported (llama and phi2 are)", gguf_path(g),
                      (int)(name.n < 40 ? name.n : 40), name.p);
}

/* A matrix as wide as the vocabulary tells how many tokens there are. */
static enum octet_status read_vocab_size(const struct gguf *g, struct shape *s,
                                         struct octet_err *err) {
    const struct gguf_tensor *t = gguf_tensor(g, "token_embd.weight");
    if (!t)
        return octet_fail(err, OCTET_EFORMAT, "%s: no tensor 'token_embd.weight'", gguf_path(g));
    if (t->ne[1] == 0 || t->ne[1] > 1 << 24)
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: tensor 'token_embd.weight': expected 1 to 16777216 rows, found %llu",
                          gguf_path(g), (unsigned long long)t->ne[1]);
    s->n_vocab = (size_t)t->ne[1];
    return OCTET_OK;
}

static const struct quant_type *main_type(const struct gguf *g) {
    const struct quant_type *best = NULL, *type;
    uint64_t most = 0;
    for (size_t k = 0; (type = quant_at(k)) != NULL; k++) {
        uint64_t n_bytes = 0;
        for (size_t i = 0; i < g->n_tensors; i++)
            if (g->tensors[i].type == type) n_bytes += g->tensors[i].bytes;
        if (n_bytes > most) best = type;
        if (n_bytes > most) most = n_bytes;
    }
    return best;
}

struct weight_count {
    uint64_t bytes, macs;
};

static void count_matrix(struct weight_count *count, const struct tensor *w) {
    if (!w->type) return;
    count->bytes += quant_row_bytes(w->type, w->cols) * w->rows;
    count->macs += (uint64_t)w->cols * w->rows;
}

static uint64_t macs_after_attention(const struct model *m) {
    const struct layer *l = &m->w.layers[m->shape.n_layers - 1];
    struct weight_count always = {0}, expert = {0};
    count_matrix(&always, &l->attn_out.w);
    count_matrix(&always, &l->ffn_gate.w);
    count_matrix(&always, &l->ffn_up.w);
    count_matrix(&always, &l->ffn_down.w);
    count_matrix(&always, &l->router);
    if (!m->shape.n_experts) return always.macs;
    count_matrix(&expert, &l->gate_exps[0]);
    count_matrix(&expert, &l->up_exps[0]);
    count_matrix(&expert, &l->down_exps[0]);
    return always.macs + m->shape.n_experts_used * expert.macs;
}

static void count_weights(struct model *m) {
    const struct shape *s = &m->shape;
    for (size_t i = 0; i < m->file->n_tensors; i++) {
        const struct gguf_tensor *t = &m->file->tensors[i];
        m->n_params += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    struct weight_count always = {0}, experts = {0};
    count_matrix(&always, &m->w.output.w);
    for (size_t i = 0; i < s->n_layers; i++) {
        const struct layer *l = &m->w.layers[i];
        const struct tensor *matrices[] = {&l->attn_q.w,   &l->attn_k.w,   &l->attn_v.w,
                                           &l->attn_out.w, &l->ffn_gate.w, &l->ffn_up.w,
                                           &l->ffn_down.w, &l->router};
        for (size_t j = 0; j < sizeof matrices / sizeof *matrices; j++)
            count_matrix(&always, matrices[j]);
        for (size_t e = 0; e < s->n_experts; e++) {
            count_matrix(&experts, &l->gate_exps[e]);
            count_matrix(&experts, &l->up_exps[e]);
            count_matrix(&experts, &l->down_exps[e]);
        }
    }
    m->expert_bytes = experts.bytes;
    m->decode_bytes = always.bytes;
    m->decode_macs = always.macs;
    m->last_layer_macs = macs_after_attention(m);
    if (s->n_experts) {
        m->decode_bytes += experts.bytes * s->n_experts_used / s->n_experts;
        m->decode_macs += experts.macs * s->n_experts_used / s->n_experts;
    }
}

enum octet_status model_load(const struct gguf *g, struct model *m, struct octet_err *err) {
    *m = (struct model){.file = g};
    enum octet_status status = find_arch(g, &m->arch, err);
    if (status == OCTET_OK) status = m->arch->read_shape(g, &m->shape, err);
    if (status == OCTET_OK) status = read_vocab_size(g, &m->shape, err);
    if (status == OCTET_OK) status = weights_bind(m, err);
    if (status == OCTET_OK) count_weights(m);
    m->type = main_type(g);
    return status;
}

void model_unload(struct model *m) {
    for (size_t i = 0; i < m->n_vectors; i++) mem_free(m->vectors[i]);
    mem_free(m->vectors);
    for (size_t i = 0; m->w.layers && i < m->shape.n_layers; i++) {
        mem_free(m->w.layers[i].gate_exps);
        mem_free(m->w.layers[i].up_exps);
        mem_free(m->w.layers[i].down_exps);
    }
    mem_free(m->w.layers);
    *m = (struct model){0};
}
