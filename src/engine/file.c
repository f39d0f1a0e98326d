/* octet_file_*: the contents of a GGUF file shown as they are, for inspection and checking. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "format/gguf.h"

enum {
    SHOWN_ELEMENTS = 8,
    CHECK_STEP_BYTES = 16 << 20, // between two calls of progress
};

struct octet_file {
    struct gguf *gguf;
    uint64_t n_bytes;
};

enum octet_status octet_file_open(const char *path, struct octet_file **out,
                                  struct octet_err *err) {
    *out = NULL;
    struct octet_file *file = mem_alloc(sizeof *file);
    if (!file) return octet_fail_memory(err, "an open file", sizeof *file);
    enum octet_status s = gguf_open(path, &file->gguf, err);
    if (s) {
        mem_free(file);
        return s;
    }
    for (size_t i = 0; i < file->gguf->n_parts; i++) file->n_bytes += file->gguf->parts[i].n_bytes;
    *out = file;
    return OCTET_OK;
}

void octet_file_close(struct octet_file *file) {
    if (!file) return;
    gguf_close(file->gguf);
    mem_free(file);
}

size_t octet_file_n_keys(const struct octet_file *file) { return file->gguf->n_kvs; }

size_t octet_file_n_tensors(const struct octet_file *file) { return file->gguf->n_tensors; }

uint64_t octet_file_bytes(const struct octet_file *file) { return file->n_bytes; }

/* ---- Values as text -------------------------------------------------------------------------- */

/* A caller's buffer being filled: cut, but always terminated. */
struct text {
    char *p;
    size_t n, cap;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...) {
    if (t->n + 1 >= t->cap) return;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->p + t->n, t->cap - t->n, fmt, args);
    va_end(args);
    if (n < 0) return;
    t->n = (size_t)n < t->cap - t->n ? t->n + (size_t)n : t->cap - 1;
}

static void add_quoted(struct text *t, struct gguf_string s) {
    add(t, "\"");
    for (size_t i = 0; i < s.n && t->n + 1 < t->cap; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') add(t, "\\%c", c);
        else if (c == '\n') add(t, "\\n");
        else if (c == '\t') add(t, "\\t");
        else if (c < 0x20 || c == 0x7f) add(t, "\\u%04x", c);
        else add(t, "%c", c);
    }
    add(t, "\"");
}

static void add_element(struct text *t, const struct gguf_kv *kv, uint64_t i) {
    switch (kv->elem) {
    case GGUF_STRING: add_quoted(t, kv->strings[i]); break;
    case GGUF_F32: add(t, "%.9g", gguf_array_float(kv, i)); break;
    case GGUF_F64: add(t, "%.17g", gguf_array_float(kv, i)); break;
    case GGUF_BOOL: add(t, gguf_array_int(kv, i) ? "true" : "false"); break;
    default: add(t, "%" PRId64, gguf_array_int(kv, i));
    }
}

static void add_array(struct text *t, const struct gguf_kv *kv) {
    add(t, "[");
    for (uint64_t i = 0; i < kv->n && i < SHOWN_ELEMENTS; i++) {
        if (i > 0) add(t, ", ");
        add_element(t, kv, i);
    }
    if (kv->n > SHOWN_ELEMENTS) add(t, ", ... (%" PRIu64 ")", kv->n);
    add(t, "]");
}

static const char *type_text(const struct gguf_kv *kv) {
    static const char *const arrays[GGUF_N_TYPES] = {
        [GGUF_U8] = "array of u8",         [GGUF_I8] = "array of i8",   [GGUF_U16] = "array of u16",
        [GGUF_I16] = "array of i16",       [GGUF_U32] = "array of u32", [GGUF_I32] = "array of i32",
        [GGUF_F32] = "array of f32",       [GGUF_BOOL] = "array of bool",
        [GGUF_STRING] = "array of string", [GGUF_U64] = "array of u64", [GGUF_I64] = "array of i64",
        [GGUF_F64] = "array of f64",
    };
    return kv->type == GGUF_ARRAY ? arrays[kv->elem] : gguf_type_name(kv->type);
}

enum octet_status octet_file_key(const struct octet_file *file, size_t i, const char **key,
                                 const char **type, char *text, size_t cap) {
    if (i >= file->gguf->n_kvs) return OCTET_EARG;
    const struct gguf_kv *kv = &file->gguf->kvs[i];
    *key = kv->key;
    *type = type_text(kv);
    struct text t = {text, 0, cap};
    if (cap > 0) text[0] = 0;
    struct gguf_string value;
    if (kv->type == GGUF_ARRAY) add_array(&t, kv);
    else if (kv->type != GGUF_STRING) add_element(&t, kv, 0);
    else if (gguf_get_string(file->gguf, kv->key, true, &value, NULL) == OCTET_OK)
        add_quoted(&t, value);
    return OCTET_OK;
}

/* ---- Tensors --------------------------------------------------------------------------------- */

enum octet_status octet_file_tensor(const struct octet_file *file, size_t i,
                                    struct octet_tensor_info *out) {
    if (i >= file->gguf->n_tensors) return OCTET_EARG;
    const struct gguf_tensor *t = &file->gguf->tensors[i];
    *out = (struct octet_tensor_info){
        .name = t->name,
        .type = t->type->name,
        .n_dims = t->n_dims,
        .dims = {t->ne[0], t->ne[1], t->ne[2], t->ne[3]},
        .offset = t->offset,
        .bytes = t->bytes,
        .part = t->part,
    };
    return OCTET_OK;
}

struct check {
    octet_progress_fn progress;
    void *user;
    uint64_t done, total;
};

static enum octet_status check_tensor(const struct octet_file *file, const struct gguf_tensor *t,
                                      struct check *check, struct octet_err *err) {
    const uint8_t *p = t->data;
    uint64_t blocks_left = t->bytes / t->type->block_bytes, first = 0;
    const uint64_t max_blocks = CHECK_STEP_BYTES / t->type->block_bytes;
    while (blocks_left > 0) {
        uint64_t n_blocks = blocks_left < max_blocks ? blocks_left : max_blocks;
        size_t n = (size_t)(n_blocks * t->type->block_elems);
        size_t bad = quant_find_nonfinite(t->type, p, n);
        if (bad < n)
            return octet_fail(err, OCTET_EFORMAT,
                              "%s: tensor '%s': row %" PRIu64 ", element %" PRIu64
                              ": expected a finite number, found NaN or infinity",
                              file->gguf->parts[t->part].path, t->name, (first + bad) / t->ne[0],
                              (first + bad) % t->ne[0]);
        first += n;
        blocks_left -= n_blocks;
        p += n_blocks * t->type->block_bytes;
        check->done += n_blocks * t->type->block_bytes;
        if (check->progress && !check->progress(check->user, check->done, check->total))
            return octet_fail(err, OCTET_ECANCELLED, "%s: check cancelled", gguf_path(file->gguf));
    }
    return OCTET_OK;
}

enum octet_status octet_file_check(const struct octet_file *file, octet_progress_fn progress,
                                   void *user, struct octet_err *err) {
    struct check check = {progress, user, 0, 0};
    const struct gguf *g = file->gguf;
    for (size_t i = 0; i < g->n_tensors; i++) check.total += g->tensors[i].bytes;
    for (size_t i = 0; i < g->n_tensors; i++) {
        enum octet_status s = check_tensor(file, &g->tensors[i], &check, err);
        if (s) return s;
    }
    return OCTET_OK;
}
