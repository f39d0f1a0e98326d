/* Attention over the KV caches. Keys are taken in blocks of absolute positions, in order, with a
 * running softmax (Milakov & Gimelshein 2018), so n x n scores never exist and neither chunk size
 * nor batch mates nor thread count can change a bit. */
#include <math.h>
#include <string.h>

#include "model/step.h"

/* Queries of one task: the heads that share a KV head, for a run of rows. */
enum { TILE_QUERIES = 64 };

struct attention_job {
    struct step *s;
    const struct model *m;
    size_t layer;
    float *y;
    size_t tile_rows;
    bool narrow; // only wanted rows attend
    bool stores; // every sequence is one tile, which stores its own keys and values
};

/* The task's place: which sequence, which of its rows, which KV head. */
struct tile {
    const struct step_seq *seq;
    size_t row, n_rows; // of the step
    size_t pos;         // of the first row
    size_t kv_head;
};

static size_t n_attending(const struct attention_job *job, const struct step_seq *seq) {
    return job->narrow ? seq->n_wanted : seq->n;
}

static size_t seq_tiles(const struct attention_job *job, const struct step_seq *seq) {
    return (n_attending(job, seq) + job->tile_rows - 1) / job->tile_rows;
}

static struct tile find_tile(const struct attention_job *job, size_t i_task) {
    size_t n_kv_heads = job->m->shape.n_kv_heads, i = i_task / n_kv_heads, j = 0;
    while (i >= seq_tiles(job, &job->s->seqs[j])) i -= seq_tiles(job, &job->s->seqs[j++]);
    const struct step_seq *seq = &job->s->seqs[j];
    size_t first = seq->n - n_attending(job, seq) + i * job->tile_rows, n = seq->n - first;
    if (n > job->tile_rows) n = job->tile_rows;
    return (struct tile){seq, seq->row + first, n, seq->pos + first, i_task % n_kv_heads};
}

/* ---- Storing keys and values ------------------------------------------------------------------
 */

static void store_head(const struct attention_job *job, const struct step_seq *seq, size_t kv_head,
                       uint16_t *half) {
    const struct step *s = job->s;
    size_t head_dim = seq->kv->head_dim, width = seq->kv->n_kv_heads * head_dim;
    for (size_t t = 0; t < seq->n; t++) {
        size_t at = (seq->row + t) * width + kv_head * head_dim;
        kv_turn(seq->kv, s->k + at);
        kv_turn(seq->kv, s->v + at);
        kv_store(seq->kv, s->kernels, job->layer, kv_head, seq->pos + t, s->k + at, s->v + at,
                 half);
    }
}

static uint8_t *scratch_of(const struct step *s, int i_thread) {
    return (uint8_t *)s->scratch + (size_t)i_thread * s->scratch_bytes;
}

static void store_task(void *arg, size_t kv_head, int i_thread) {
    const struct attention_job *job = arg;
    uint16_t *half = (uint16_t *)scratch_of(job->s, i_thread);
    for (size_t i = 0; i < job->s->n_seqs; i++) store_head(job, &job->s->seqs[i], kv_head, half);
}

/* ---- Attending --------------------------------------------------------------------------------
 */

/* The visible keys [lo, hi) of each query in one block; returns whether there are any. */
static bool visible(const struct tile *tile, size_t group, size_t block, int32_t *lo, int32_t *hi) {
    size_t begin = block * KV_BLOCK;
    bool any = false;
    for (size_t t = 0; t < tile->n_rows; t++) {
        size_t pos = tile->pos + t, first = kv_first_visible(tile->seq->kv, pos);
        int32_t from =
            first > begin ? (int32_t)(first - begin < KV_BLOCK ? first - begin : KV_BLOCK) : 0;
        int32_t to =
            pos < begin ? 0 : (int32_t)(pos - begin < KV_BLOCK ? pos - begin + 1 : KV_BLOCK);
        any |= from < to;
        for (size_t g = 0; g < group; g++) lo[t * group + g] = from, hi[t * group + g] = to;
    }
    return any;
}

/* What a thread is likely to read after BLOCK of FIRST..LAST: tasks go through the heads. END: the
 * position after the last visible one. */
static struct stretch next_block(const struct kv *kv, size_t layer, size_t head, size_t block,
                                 size_t first, size_t last, size_t end) {
    if (block < last) return kv_keys(kv, layer, head, block + 1, end);
    if (head + 1 < kv->n_kv_heads) return kv_keys(kv, layer, head + 1, first, end);
    return (struct stretch){NULL, 0, 0};
}

static void fetch(struct stretch s) {
    for (size_t i = 0; i < s.n_bytes; i += s.gap) __builtin_prefetch((const char *)s.at + i);
}

static void attention_task(void *arg, size_t i_task, int i_thread) {
    const struct attention_job *job = arg;
    struct step *s = job->s;
    const struct shape *shape = &job->m->shape;
    struct tile tile = find_tile(job, i_task);
    size_t head_dim = shape->head_dim, group = shape->n_heads / shape->n_kv_heads;
    size_t n = tile.n_rows * group;
    float *buffer = (float *)scratch_of(s, i_thread);
    const struct kv *kv = tile.seq->kv;
    size_t first = kv_first_visible(kv, tile.pos) / KV_BLOCK;
    size_t end = tile.pos + tile.n_rows, last = (end - 1) / KV_BLOCK;
    fetch(kv_keys(kv, job->layer, tile.kv_head, first, end)); // if it has not been: a first head
    if (job->stores) store_head(job, tile.seq, tile.kv_head, (uint16_t *)buffer);
    float *q = buffer, *o = q + n * head_dim, *scores = o + n * head_dim;
    float *max = scores + n * KV_BLOCK, *sum = max + n;
    int32_t *lo = (int32_t *)(sum + n), *hi = lo + n;
    float *expanded = (float *)(hi + n);
    float scale = 1.0f / sqrtf((float)head_dim);
    for (size_t i = 0; i < n; i++) {
        size_t row = tile.row + i / group, head = tile.kv_head * group + i % group;
        const float *from = s->q + (row * shape->n_heads + head) * head_dim;
        for (size_t d = 0; d < head_dim; d++) q[i * head_dim + d] = from[d] * scale;
        kv_turn(kv, q + i * head_dim);
        max[i] = -INFINITY;
    }
    memset(o, 0, n * head_dim * sizeof *o);
    memset(sum, 0, n * sizeof *sum);

    bool outer = lookahead_usual(&s->lookahead) >= AHEAD_OUTER; // here, too, it is faster then
    struct attend a = {n, head_dim, q, max, sum, o, scores, {NULL, 0, 0}, outer};
    bool f32 = kv->type != OCTET_KV_F16;
    for (size_t block = first; block <= last; block++) {
        if (!visible(&tile, group, block, lo, hi)) continue;
        a.next = next_block(kv, job->layer, tile.kv_head, block, first, last, end);
        const uint8_t *k_t = kv_load(kv, s->kernels, job->layer, tile.kv_head, block, expanded);
        s->kernels->attend(&a, k_t, k_t + head_dim * KV_BLOCK * (f32 ? 4 : 2), f32, lo, hi);
    }
    for (size_t i = 0; i < n; i++) {
        size_t row = tile.row + i / group, head = tile.kv_head * group + i % group;
        float *to = job->y + (row * shape->n_heads + head) * head_dim, inverse = 1.0f / sum[i];
        kv_turn(kv, o + i * head_dim);
        for (size_t d = 0; d < head_dim; d++) to[d] = o[i * head_dim + d] * inverse;
    }
}

size_t attention_scratch_bytes(const struct shape *shape) {
    size_t group = shape->n_heads / shape->n_kv_heads;
    size_t n = group > TILE_QUERIES ? group : TILE_QUERIES;
    size_t expanded = 2 * shape->head_dim * KV_BLOCK;
    return (n * (2 * shape->head_dim + KV_BLOCK + 4) + expanded) * sizeof(float);
}

/* Stores k and v of the step in the caches, then y = attention of q over them. */
static void attend_all(struct step *s, const struct model *m, size_t layer, float *y) {
    size_t group = m->shape.n_heads / m->shape.n_kv_heads, n_tiles = 0;
    struct attention_job job = {.s = s,
                                .m = m,
                                .layer = layer,
                                .y = y,
                                .tile_rows = TILE_QUERIES / group,
                                .narrow = layer + 1 == m->shape.n_layers,
                                .stores = true};
    if (job.tile_rows == 0) job.tile_rows = 1;
    for (size_t i = 0; i < s->n_seqs; i++) {
        size_t n = seq_tiles(&job, &s->seqs[i]);
        if (n != 1) job.stores = false;
        n_tiles += n;
    }
    if (!job.stores) pool_tasks(s->pool, m->shape.n_kv_heads, store_task, &job);
    pool_tasks(s->pool, n_tiles * m->shape.n_kv_heads, attention_task, &job);
}

size_t attention_products(const struct step *s, const struct model *m, size_t layer,
                          struct product list[3]) {
    if (layer == m->shape.n_layers) {
        list[0] = product_of(s, &m->w.output, NULL);
        return 1;
    }
    const struct layer *l = &m->w.layers[layer];
    list[0] = product_of(s, &l->attn_q, s->q);
    list[1] = product_of(s, &l->attn_k, s->k);
    list[2] = product_of(s, &l->attn_v, s->v);
    return 3;
}

void attention(struct step *s, const struct model *m, size_t layer) {
    rope_apply(s, m, s->q, m->shape.n_heads);
    rope_apply(s, m, s->k, m->shape.n_kv_heads);
    attend_all(s, m, layer, s->att);
    if (layer + 1 == m->shape.n_layers) step_narrow(s, m);
    input_set(s, s->att, s->n, m->shape.n_heads * m->shape.head_dim);
}
