/* Products of activation rows with weight matrices. Work is cut by rows of the matrices, which any
 * thread may take; no sum is ever split. */
#include "base/probe.h"
#include "model/step.h"

enum {
    TASK_ROWS = 16,           // the widest register tile of the kernels
    EXPECT_BYTES = 512 << 10, // half of a second-level cache
    EXPECT_ROWS = 8,          // steps of more are not limited by memory
};

struct products_job {
    struct step *s;
    const struct product *list;
    size_t n_products;
};

static size_t n_tasks(const struct product *p) {
    return p->n > 0 ? (p->w->rows + TASK_ROWS - 1) / TASK_ROWS : 0;
}

static struct act act_rows(const struct act *a, size_t row, size_t n) {
    struct act view = *a;
    view.n = n;
    view.q += row * a->k;
    view.d += row * (a->k / a->block);
    view.bsum += row * (a->k / QUANT_GROUP);
    return view;
}

static const uint8_t *row_of(const struct tensor *w, size_t row) {
    return (const uint8_t *)w->data + row * quant_row_bytes(w->type, w->cols);
}

/* Rows row0 .. row1 - 1 of one product. */
static void product_rows(struct step *s, const struct product *p, size_t row0, size_t row1,
                         int i_thread) {
    const struct tensor *w = p->w;
    const uint8_t *data = row_of(w, row0);
    void *scratch = (uint8_t *)s->scratch + (size_t)i_thread * s->scratch_bytes;
    float *y = p->y + row0;
    if (!w->type->unpack) {
        s->kernels->matmul_float(w->type, data, row1 - row0, s->input.x + p->row * w->cols, p->n,
                                 w->cols, y, w->rows, scratch);
    } else {
        const struct act *a = w->type->block_elems == 32 ? &s->input.act32 : &s->input.act256;
        struct act view = act_rows(a, p->row, p->n);
        if (s->kernels->prepare && s->ready_for[i_thread] != p)
            s->kernels->prepare(w->type, data, &view, scratch);
        s->kernels->matmul(w->type, data, row1 - row0, &view, y, w->rows, scratch);
    }
    s->ready_for[i_thread] = p;
    for (size_t t = 0; t < p->n; t++, y += w->rows) {
        if (p->b) s->kernels->add(y, p->b + row0, row1 - row0);
        if (p->gelu) s->kernels->gelu(y, row1 - row0);
    }
}

/* Tasks are numbered through all products. */
static void products_range(void *arg, size_t begin, size_t end, int i_thread) {
    const struct products_job *job = arg;
    size_t first = 0;
    for (size_t i = 0; i < job->n_products && first < end; i++) {
        const struct product *p = &job->list[i];
        size_t last = first + n_tasks(p);
        if (last > begin) {
            size_t row0 = begin > first ? (begin - first) * TASK_ROWS : 0;
            size_t row1 = end < last ? (end - first) * TASK_ROWS : p->w->rows;
            product_rows(job->s, p, row0, row1, i_thread);
        }
        first = last;
    }
}

static void quantize_row(void *arg, size_t row, int i_thread) {
    (void)i_thread;
    struct step *s = arg;
    const float *x = s->input.x + row * s->input.k;
    if (s->input.has32) s->kernels->quantize(x, row, &s->input.act32);
    if (s->input.has256) s->kernels->quantize(x, row, &s->input.act256);
}

/* Quantises the input for every block length the matrices want and that is not there yet. */
static void quantize_input(struct step *s, const struct product *list, size_t n_products) {
    struct input *in = &s->input;
    bool had32 = in->has32, had256 = in->has256, want32 = false, want256 = false;
    for (size_t i = 0; i < n_products; i++) {
        if (!list[i].w->type->unpack) continue;
        if (list[i].w->type->block_elems == 32)
            want32 = true;
        else
            want256 = true;
    }
    in->has32 = want32 && !had32;
    in->has256 = want256 && !had256;
    if (in->has32 || in->has256) pool_tasks(s->pool, in->n, quantize_row, s);
    in->has32 = had32 || want32;
    in->has256 = had256 || want256;
}

void input_set(struct step *s, const float *x, size_t n, size_t k) {
    struct input *in = &s->input;
    in->x = x;
    in->n = in->act32.n = in->act256.n = n;
    in->k = in->act32.k = in->act256.k = k;
    in->has32 = in->has256 = false;
}

static size_t total_tasks(const struct product *list, size_t n_products) {
    size_t total = 0;
    for (size_t i = 0; i < n_products; i++) total += n_tasks(&list[i]);
    return total;
}

void products_expect(struct step *s, const struct product *list, size_t n_products) {
    s->expects = true;
    if (s->n > EXPECT_ROWS) return;
    size_t total = total_tasks(list, n_products);
    for (int t = 0; t < pool_n_threads(s->pool); t++) {
        size_t task = pool_first_task(s->pool, total, t), i = 0;
        while (i < n_products && task >= n_tasks(&list[i])) task -= n_tasks(&list[i++]);
        if (i == n_products) return;
        const struct tensor *w = list[i].w;
        size_t row = task * TASK_ROWS;
        size_t n_bytes = (w->rows - row) * quant_row_bytes(w->type, w->cols);
        pool_expect(s->pool, t, row_of(w, row), n_bytes < EXPECT_BYTES ? n_bytes : EXPECT_BYTES);
    }
}

static size_t weight_bytes(const struct product *list, size_t n_products) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < n_products; i++) {
        const struct tensor *w = list[i].w;
        if (list[i].n > 0) n_bytes += w->rows * quant_row_bytes(w->type, w->cols);
    }
    return n_bytes;
}

static void run_products(struct step *s, struct products_job *job, size_t n_tasks) {
    if (!s->decodes) {
        pool_ranges(s->pool, n_tasks, products_range, job);
        return;
    }
    s->input.act32.ahead = s->input.act256.ahead = lookahead_next(&s->lookahead);
    double start = probe_seconds();
    pool_ranges(s->pool, n_tasks, products_range, job);
    lookahead_add(&s->lookahead, weight_bytes(job->list, job->n_products), probe_seconds() - start);
}

void products(struct step *s, const struct product *list, size_t n_products) {
    quantize_input(s, list, n_products);
    struct products_job job = {s, list, n_products};
    size_t total = total_tasks(list, n_products);
    for (int t = 0; t < pool_n_threads(s->pool); t++) {
        s->ready_for[t] = NULL;
        if (!s->expects) pool_expect(s->pool, t, NULL, 0); // these here were expected last
    }
    s->expects = false;
    run_products(s, &job, total);
}

struct product product_of(const struct step *s, const struct linear *l, float *y) {
    return (struct product){&l->w, l->b, false, 0, s->n, y};
}

void linear(struct step *s, const struct linear *l, float *y) {
    struct product p = product_of(s, l, y);
    products(s, &p, 1);
}

void linear_expect(struct step *s, const struct linear *l) {
    struct product p = product_of(s, l, NULL);
    products_expect(s, &p, 1);
}
