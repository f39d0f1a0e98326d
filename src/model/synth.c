/* Synthetic models: files with the shapes, types and metadata of real ones and random weights, so
 * that speed and memory can be measured and code tested without the real weights.
 *
 * The scale of each weight keeps activations near 1 through all layers and gives logits a deviation
 * of about 2, so that neither overflow nor flat distributions hide errors. Weights come in chunks,
 * each from its own seed: the bytes depend on the options alone, not on the number of threads. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/threads.h"
#include "model/synth.h"

enum {
    CHUNK_BYTES = 1 << 20,
    CHUNKS_PER_WRITE = 16,
    MAX_LAYERS = 512,
    NAME_BYTES = 64,
};

/* ---- Which tensors --------------------------------------------------------------------------- */

enum dim { DIM_NONE, DIM_MODEL, DIM_HEADS, DIM_KV, DIM_FF, DIM_VOCAB, DIM_EXPERTS };

enum presence { ALL, DENSE, MIXTURE, UNTIED };

/* A name with %u for the layer. Experts: the name of the merged tensor without its suffix. */
struct weight {
    const char *name;
    enum synth_role role;
    enum dim ne0, ne1;
    enum presence presence;
    bool per_expert;
};

static const struct weight llama_first[] = {
    {"token_embd.weight", ROLE_EMBEDDING, DIM_MODEL, DIM_VOCAB, ALL, false},
};
static const struct weight llama_layer[] = {
    {"blk.%u.attn_norm.weight", ROLE_NORM, DIM_MODEL, DIM_NONE, ALL, false},
    {"blk.%u.attn_q.weight", ROLE_Q, DIM_MODEL, DIM_HEADS, ALL, false},
    {"blk.%u.attn_k.weight", ROLE_K, DIM_MODEL, DIM_KV, ALL, false},
    {"blk.%u.attn_v.weight", ROLE_V, DIM_MODEL, DIM_KV, ALL, false},
    {"blk.%u.attn_output.weight", ROLE_ATTN_OUTPUT, DIM_HEADS, DIM_MODEL, ALL, false},
    {"blk.%u.ffn_norm.weight", ROLE_NORM, DIM_MODEL, DIM_NONE, ALL, false},
    {"blk.%u.ffn_gate.weight", ROLE_FFN, DIM_MODEL, DIM_FF, DENSE, false},
    {"blk.%u.ffn_up.weight", ROLE_FFN, DIM_MODEL, DIM_FF, DENSE, false},
    {"blk.%u.ffn_down.weight", ROLE_FFN_DOWN, DIM_FF, DIM_MODEL, DENSE, false},
    {"blk.%u.ffn_gate_inp.weight", ROLE_ROUTER, DIM_MODEL, DIM_EXPERTS, MIXTURE, false},
    {"blk.%u.ffn_gate", ROLE_FFN, DIM_MODEL, DIM_FF, MIXTURE, true},
    {"blk.%u.ffn_up", ROLE_FFN, DIM_MODEL, DIM_FF, MIXTURE, true},
    {"blk.%u.ffn_down", ROLE_FFN_DOWN, DIM_FF, DIM_MODEL, MIXTURE, true},
};
static const struct weight llama_last[] = {
    {"output_norm.weight", ROLE_NORM, DIM_MODEL, DIM_NONE, ALL, false},
    {"output.weight", ROLE_OUTPUT, DIM_MODEL, DIM_VOCAB, UNTIED, false},
};
static const struct weight phi_layer[] = {
    {"blk.%u.attn_norm.weight", ROLE_NORM, DIM_MODEL, DIM_NONE, ALL, false},
    {"blk.%u.attn_norm.bias", ROLE_BIAS, DIM_MODEL, DIM_NONE, ALL, false},
    {"blk.%u.attn_q.weight", ROLE_Q, DIM_MODEL, DIM_HEADS, ALL, false},
    {"blk.%u.attn_q.bias", ROLE_BIAS, DIM_HEADS, DIM_NONE, ALL, false},
    {"blk.%u.attn_k.weight", ROLE_K, DIM_MODEL, DIM_KV, ALL, false},
    {"blk.%u.attn_k.bias", ROLE_BIAS, DIM_KV, DIM_NONE, ALL, false},
    {"blk.%u.attn_v.weight", ROLE_V, DIM_MODEL, DIM_KV, ALL, false},
    {"blk.%u.attn_v.bias", ROLE_BIAS, DIM_KV, DIM_NONE, ALL, false},
    {"blk.%u.attn_output.weight", ROLE_ATTN_OUTPUT, DIM_HEADS, DIM_MODEL, ALL, false},
    {"blk.%u.attn_output.bias", ROLE_BIAS, DIM_MODEL, DIM_NONE, ALL, false},
    {"blk.%u.ffn_up.weight", ROLE_FFN, DIM_MODEL, DIM_FF, ALL, false},
    {"blk.%u.ffn_up.bias", ROLE_BIAS, DIM_FF, DIM_NONE, ALL, false},
    {"blk.%u.ffn_down.weight", ROLE_FFN_DOWN, DIM_FF, DIM_MODEL, ALL, false},
    {"blk.%u.ffn_down.bias", ROLE_BIAS, DIM_MODEL, DIM_NONE, ALL, false},
};
static const struct weight phi_last[] = {
    {"output_norm.weight", ROLE_NORM, DIM_MODEL, DIM_NONE, ALL, false},
    {"output_norm.bias", ROLE_BIAS, DIM_MODEL, DIM_NONE, ALL, false},
    {"output.weight", ROLE_OUTPUT, DIM_MODEL, DIM_VOCAB, ALL, false},
    {"output.bias", ROLE_BIAS, DIM_VOCAB, DIM_NONE, ALL, false},
};

struct weights {
    const struct weight *rows;
    size_t n;
};

#define WEIGHTS(table) {table, sizeof table / sizeof *table}
static const struct weights llama_weights[] = {WEIGHTS(llama_first), WEIGHTS(llama_layer),
                                               WEIGHTS(llama_last)};
static const struct weights phi_weights[] = {WEIGHTS(llama_first), WEIGHTS(phi_layer),
                                             WEIGHTS(phi_last)};

/* One tensor to write. */
struct piece {
    char name[NAME_BYTES];
    const struct quant_type *type;
    uint64_t ne[3];
    uint32_t n_dims;
    float mean, sigma;
};

struct plan {
    const struct octet_synth_options *options;
    const struct synth_arch *arch;
    const struct synth_mix *mix;
    uint32_t n_layers, n_ctx, n_vocab;
    struct gguf *vocab; // NULL: made up
    struct piece *pieces;
    size_t n_pieces, cap_pieces;
};

static uint64_t dim_size(const struct plan *p, enum dim dim) {
    const struct synth_arch *a = p->arch;
    switch (dim) {
    case DIM_NONE: return 1;
    case DIM_MODEL:
    case DIM_HEADS: return a->d_model;
    case DIM_KV: return a->d_model / a->n_heads * a->n_kv_heads;
    case DIM_FF: return a->d_ff;
    case DIM_VOCAB: return p->n_vocab;
    case DIM_EXPERTS: return a->n_experts;
    }
    return 1;
}

static bool is_present(const struct plan *p, enum presence presence) {
    switch (presence) {
    case ALL: return true;
    case DENSE: return p->arch->n_experts == 0;
    case MIXTURE: return p->arch->n_experts != 0;
    case UNTIED: return !p->arch->tied;
    }
    return false;
}

static void set_scale(const struct plan *p, enum synth_role role, struct piece *t) {
    float fan = 1 / sqrtf((float)t->ne[0]);
    t->mean = 0;
    switch (role) {
    case ROLE_EMBEDDING: t->sigma = p->arch->tied ? 2 * fan : 1; break;
    case ROLE_OUTPUT: t->sigma = 2 * fan; break;
    case ROLE_ATTN_OUTPUT:
    case ROLE_FFN_DOWN: t->sigma = fan / sqrtf(2 * (float)p->n_layers); break;
    case ROLE_NORM: t->mean = 1, t->sigma = 0.05f; break;
    case ROLE_BIAS: t->sigma = 0.05f; break;
    default: t->sigma = fan;
    }
}

static bool reserve_pieces(struct plan *p, size_t n) {
    void *pieces = p->pieces;
    bool ok = mem_reserve(&pieces, &p->cap_pieces, p->n_pieces + n, sizeof *p->pieces);
    p->pieces = pieces;
    return ok;
}

/* The tensors of one row of the table: one, or one per expert. */
static bool plan_weight(struct plan *p, const struct weight *w, uint32_t i_layer) {
    if (!is_present(p, w->presence)) return true;
    uint32_t n_split = w->per_expert && p->options->experts_split ? p->arch->n_experts : 1;
    if (!reserve_pieces(p, n_split)) return false;
    char name[NAME_BYTES - 24] = "";
    snprintf(name, sizeof name, w->name, i_layer);
    for (uint32_t e = 0; e < n_split; e++) {
        struct piece *t = &p->pieces[p->n_pieces++];
        *t = (struct piece){.ne = {dim_size(p, w->ne0), dim_size(p, w->ne1), 1}};
        t->n_dims = w->ne1 == DIM_NONE ? 1 : 2;
        if (!w->per_expert) {
            snprintf(t->name, sizeof t->name, "%s", name);
        } else if (n_split > 1) {
            snprintf(t->name, sizeof t->name, "%s.%" PRIu32 ".weight", name, e);
        } else {
            snprintf(t->name, sizeof t->name, "%s_exps.weight", name);
            t->ne[t->n_dims++] = p->arch->n_experts;
        }
        t->type = synth_mix_type(p->mix, p->arch, w->role, i_layer, p->n_layers, t->ne[0]);
        set_scale(p, w->role, t);
    }
    return true;
}

static enum octet_status plan_tensors(struct plan *p, struct octet_err *err) {
    const struct weights *w = strcmp(p->arch->gguf, "phi2") == 0 ? phi_weights : llama_weights;
    bool ok = true;
    for (size_t part = 0; part < 3; part++)
        for (uint32_t layer = 0; layer < (part == 1 ? p->n_layers : 1); layer++)
            for (size_t i = 0; i < w[part].n && ok; i++)
                ok = plan_weight(p, &w[part].rows[i], layer);
    return ok ? OCTET_OK : octet_fail_memory(err, "tensors", p->n_pieces * sizeof *p->pieces);
}

/* ---- Metadata -------------------------------------------------------------------------------- */

static void put_size(struct gguf_writer *w, const struct plan *p, const char *name,
                     uint32_t value) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", p->arch->gguf, name);
    gguf_put_u32(w, key, value);
}

static void put_float(struct gguf_writer *w, const struct plan *p, const char *name, float value) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", p->arch->gguf, name);
    gguf_put_f32(w, key, value);
}

static void put_model_keys(struct gguf_writer *w, const struct plan *p) {
    const struct synth_arch *a = p->arch;
    bool llama = strcmp(a->gguf, "llama") == 0;
    char name[64];
    int n = snprintf(name, sizeof name, "octet synthetic %s", a->name);
    gguf_put_string(w, "general.architecture", a->gguf, strlen(a->gguf));
    gguf_put_string(w, "general.type", "model", 5);
    gguf_put_string(w, "general.name", name, (size_t)n);
    gguf_put_u32(w, "general.file_type", synth_mix_file_type(p->mix));
    gguf_put_u32(w, "general.quantization_version", 2);
    put_size(w, p, "context_length", p->n_ctx);
    put_size(w, p, "embedding_length", a->d_model);
    put_size(w, p, "block_count", p->n_layers);
    put_size(w, p, "feed_forward_length", a->d_ff);
    put_size(w, p, "attention.head_count", a->n_heads);
    put_size(w, p, "attention.head_count_kv", a->n_kv_heads);
    put_size(w, p, "rope.dimension_count", a->n_rot);
    put_float(w, p, llama ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
              1e-5f);
    if (llama) put_size(w, p, "vocab_size", p->n_vocab);
    if (a->rope_base > 0) put_float(w, p, "rope.freq_base", a->rope_base);
    if (a->window > 0) put_size(w, p, "attention.sliding_window", a->window);
    if (a->n_experts > 0) {
        put_size(w, p, "expert_count", a->n_experts);
        put_size(w, p, "expert_used_count", a->n_experts_used);
    }
}

static bool is_vocab_key(const char *key) { return strncmp(key, "tokenizer.", 10) == 0; }

static enum octet_status put_keys(struct gguf_writer *w, const struct plan *p,
                                  struct octet_err *err) {
    put_model_keys(w, p);
    if (!p->vocab) return synth_vocab_put(w, p->arch->vocab, p->n_vocab, err);
    for (size_t i = 0; i < p->vocab->n_kvs; i++)
        if (is_vocab_key(p->vocab->kvs[i].key)) gguf_put_copy(w, &p->vocab->kvs[i]);
    return OCTET_OK;
}

/* ---- Weights --------------------------------------------------------------------------------- */

static uint64_t mix64(uint64_t x) { // the finalizer of SplitMix64 (Steele et al. 2014)
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t next_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return mix64(*state);
}

/* About normal: the sum of eight uniform bytes, with mean 0 and deviation 1. */
static float next_normal(uint64_t *state) {
    const uint64_t low = UINT64_C(0x00ff00ff00ff00ff), x = next_random(state);
    uint64_t pairs = (x & low) + (x >> 8 & low);
    uint64_t sum = pairs * UINT64_C(0x0001000100010001) >> 48;
    return ((float)sum - 1020.0f) * (1 / 209.0167f);
}

static void store_float(uint32_t type, uint8_t *out, float value) {
    uint32_t bits = f32_to_bits(value);
    if (type == QUANT_F16) bits = f32_to_f16(value);
    if (type == QUANT_BF16) bits = f32_to_bf16(value);
    size_t n = type == QUANT_F32 ? 4 : 2;
    for (size_t i = 0; i < n; i++) out[i] = (uint8_t)(bits >> 8 * i);
}

static void fill_floats(const struct piece *t, uint64_t state, uint8_t *out, size_t n) {
    const uint32_t step = t->type->block_bytes;
    for (size_t i = 0; i < n; i++)
        store_float(t->type->id, out + i * step, t->mean + t->sigma * next_normal(&state));
}

static void fill_blocks(const struct piece *t, uint64_t state, uint8_t *out, size_t n_blocks) {
    const size_t n_bytes = n_blocks * t->type->block_bytes;
    size_t i = 0;
    for (; i + 8 <= n_bytes; i += 8) {
        uint64_t x = next_random(&state);
        memcpy(out + i, &x, 8);
    }
    uint64_t last = next_random(&state);
    memcpy(out + i, &last, n_bytes - i);
    for (size_t b = 0; b < n_blocks; b++) t->type->synth(out + b * t->type->block_bytes, t->sigma);
}

/* Some chunks of one tensor, filled by all threads. */
struct batch {
    const struct piece *piece;
    uint64_t seed; // of the tensor
    uint64_t first_block, n_blocks;
    uint64_t chunk_blocks;
    uint8_t *out;
};

static void fill_chunk(void *arg, size_t i_chunk, int i_thread) {
    (void)i_thread;
    const struct batch *b = arg;
    const struct quant_type *type = b->piece->type;
    uint64_t from = i_chunk * b->chunk_blocks;
    uint64_t n = b->n_blocks - from < b->chunk_blocks ? b->n_blocks - from : b->chunk_blocks;
    uint64_t state = mix64(b->seed + (b->first_block + from) / b->chunk_blocks);
    uint8_t *out = b->out + from * type->block_bytes;
    if (type->synth) fill_blocks(b->piece, state, out, (size_t)n);
    else fill_floats(b->piece, state, out, (size_t)n);
}

struct output {
    struct gguf_writer *writer;
    struct pool *pool;
    uint8_t *buffer; // (CHUNKS_PER_WRITE, CHUNK_BYTES)
    uint64_t done, total;
};

static enum octet_status write_tensor(const struct plan *p, size_t i, struct output *o,
                                      struct octet_err *err) {
    const struct piece *t = &p->pieces[i];
    const uint32_t block_bytes = t->type->block_bytes;
    struct batch b = {.piece = t, .seed = mix64(mix64(p->options->seed) + i), .out = o->buffer};
    b.chunk_blocks = CHUNK_BYTES / block_bytes;
    uint64_t n_blocks = t->ne[0] / t->type->block_elems * t->ne[1] * t->ne[2];
    while (b.first_block < n_blocks) {
        b.n_blocks = n_blocks - b.first_block;
        if (b.n_blocks > b.chunk_blocks * CHUNKS_PER_WRITE)
            b.n_blocks = b.chunk_blocks * CHUNKS_PER_WRITE;
        size_t n_chunks = (size_t)((b.n_blocks + b.chunk_blocks - 1) / b.chunk_blocks);
        pool_tasks(o->pool, n_chunks, fill_chunk, &b);
        size_t n_bytes = (size_t)b.n_blocks * block_bytes;
        enum octet_status s = gguf_write_data(o->writer, b.out, n_bytes, err);
        if (s) return s;
        b.first_block += b.n_blocks;
        o->done += n_bytes;
        if (p->options->progress && !p->options->progress(p->options->user, o->done, o->total))
            return octet_fail(err, OCTET_ECANCELLED, "synthetic model: cancelled");
    }
    return OCTET_OK;
}

static enum octet_status write_tensors(const struct plan *p, struct output *o,
                                       struct octet_err *err) {
    for (size_t i = 0; i < p->n_pieces; i++) {
        const struct piece *t = &p->pieces[i];
        o->total += quant_row_bytes(t->type, (size_t)t->ne[0]) * t->ne[1] * t->ne[2];
    }
    for (size_t i = 0; i < p->n_pieces; i++) {
        enum octet_status s = write_tensor(p, i, o, err);
        if (s) return s;
    }
    return gguf_finish(o->writer, err);
}

static enum octet_status write_file(const struct plan *p, struct gguf_writer *w,
                                    struct octet_err *err) {
    enum octet_status s = put_keys(w, p, err);
    if (s) return s;
    for (size_t i = 0; i < p->n_pieces; i++)
        gguf_put_tensor(w, p->pieces[i].name, p->pieces[i].type, p->pieces[i].ne,
                        p->pieces[i].n_dims);
    s = gguf_begin_data(w, NULL, err);
    if (s) return s;
    struct output o = {.writer = w, .pool = pool_open(cpu_count())};
    o.buffer = mem_aligned((size_t)CHUNKS_PER_WRITE * CHUNK_BYTES);
    if (o.pool && o.buffer) s = write_tensors(p, &o, err);
    else s = octet_fail_memory(err, "weights", (size_t)CHUNKS_PER_WRITE * CHUNK_BYTES);
    pool_close(o.pool);
    mem_free(o.buffer);
    return s;
}

/* ---- Options --------------------------------------------------------------------------------- */

/* EARG with the names that would have been right. */
static enum octet_status unknown_name(const char *what, const char *found,
                                      const char *(*name_at)(size_t), struct octet_err *err) {
    char names[400] = "";
    size_t n = 0;
    for (size_t i = 0; name_at(i) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", name_at(i));
    return octet_fail(err, OCTET_EARG, "%s '%.40s': expected one of %s%s", what, found ? found : "",
                      names, n < sizeof names ? "" : "...");
}

static enum octet_status read_vocab(struct plan *p, struct octet_err *err) {
    enum octet_status s = gguf_open(p->options->vocab, &p->vocab, err);
    if (s) return s;
    const struct gguf_kv *tokens = gguf_find(p->vocab, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->strings || tokens->n == 0)
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: key 'tokenizer.ggml.tokens': expected an array of "
                          "strings, found none",
                          p->options->vocab);
    uint64_t max = p->arch->resizable ? 1 << 20 : p->n_vocab;
    if (tokens->n > max)
        return octet_fail(err, OCTET_EARG, "%s: expected a vocabulary of at most %" PRIu64
                          " tokens for %s, found %" PRIu64, p->options->vocab, max, p->arch->name,
                          tokens->n);
    if (p->arch->resizable) p->n_vocab = (uint32_t)tokens->n;
    return OCTET_OK;
}

static enum octet_status read_options(struct plan *p, struct octet_err *err) {
    const struct octet_synth_options *o = p->options;
    p->arch = o->arch ? synth_arch_find(o->arch) : NULL;
    if (!p->arch) return unknown_name("architecture", o->arch, octet_synth_arch, err);
    p->mix = o->type ? synth_mix_find(o->type) : NULL;
    if (!p->mix) return unknown_name("type", o->type, octet_synth_type, err);
    if (o->n_layers < 0 || o->n_layers > MAX_LAYERS)
        return octet_fail(err, OCTET_EARG, "layers: expected 0 to %d, found %" PRId32, MAX_LAYERS,
                          o->n_layers);
    if (o->n_ctx < 0)
        return octet_fail(err, OCTET_EARG, "context: expected 0 or more, found %" PRId32, o->n_ctx);
    p->n_layers = o->n_layers ? (uint32_t)o->n_layers : p->arch->n_layers;
    p->n_ctx = o->n_ctx ? (uint32_t)o->n_ctx : p->arch->n_ctx;
    p->n_vocab = p->arch->n_vocab;
    return o->vocab ? read_vocab(p, err) : OCTET_OK;
}

enum octet_status octet_synth(const struct octet_synth_options *options, const char *path,
                              struct octet_err *err) {
    struct plan p = {.options = options};
    struct gguf_writer *w = NULL;
    enum octet_status s = read_options(&p, err);
    if (s == OCTET_OK) s = plan_tensors(&p, err);
    if (s == OCTET_OK) s = gguf_writer_open(path, &w, err);
    if (s == OCTET_OK) s = write_file(&p, w, err);
    gguf_writer_close(w);
    gguf_close(p.vocab);
    mem_free(p.pieces);
    return s;
}
