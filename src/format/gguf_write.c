/* Writing GGUF files, version 3. Metadata and tensor directory collect in memory; weights stream to
 * disk. The file has a temporary name until it is complete, so that a failure at any point leaves
 * nothing that looks like a model. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "base/mem.h"
#include "format/gguf_read.h"

enum { ALIGNMENT = 32, VERSION = 3 };

struct buffer {
    uint8_t *p;
    size_t n, cap;
};

struct gguf_writer {
    char *path, *part_path;
    int fd; // -1: closed
    bool created, finished;
    struct octet_err err; // the first failure
    struct buffer kvs, tensors;
    uint64_t n_kvs, n_tensors;
    struct buffer sizes; // (n_tensors) u64 bytes of data
    uint64_t data_bytes; // with padding
    uint64_t i_tensor, written; // position in the data
};

/* ---- Collecting ------------------------------------------------------------------------------ */

static bool failed(const struct gguf_writer *w) { return w->err.status != OCTET_OK; }

static void append(struct gguf_writer *w, struct buffer *b, const void *data, size_t n) {
    if (failed(w) || n == 0) return;
    void *p = b->p;
    if (n > SIZE_MAX - b->n || !mem_reserve(&p, &b->cap, b->n + n, 1)) {
        octet_fail_memory(&w->err, "metadata to write", n);
        return;
    }
    b->p = p;
    memcpy(b->p + b->n, data, n);
    b->n += n;
}

static void append_uint(struct gguf_writer *w, struct buffer *b, uint64_t value, size_t n_bytes) {
    uint8_t bytes[8];
    for (size_t i = 0; i < n_bytes; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    append(w, b, bytes, n_bytes);
}

static void append_string(struct gguf_writer *w, struct buffer *b, const char *p, size_t n) {
    append_uint(w, b, n, 8);
    append(w, b, p, n);
}

static void begin_kv(struct gguf_writer *w, const char *key, enum gguf_type type) {
    append_string(w, &w->kvs, key, strlen(key));
    append_uint(w, &w->kvs, type, 4);
    w->n_kvs++;
}

static void begin_array(struct gguf_writer *w, const char *key, enum gguf_type elem, uint64_t n) {
    begin_kv(w, key, GGUF_ARRAY);
    append_uint(w, &w->kvs, elem, 4);
    append_uint(w, &w->kvs, n, 8);
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value) {
    begin_kv(w, key, GGUF_U32);
    append_uint(w, &w->kvs, value, 4);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float value) {
    begin_kv(w, key, GGUF_F32);
    append_uint(w, &w->kvs, f32_to_bits(value), 4);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool value) {
    begin_kv(w, key, GGUF_BOOL);
    append_uint(w, &w->kvs, value, 1);
}

void gguf_put_string(struct gguf_writer *w, const char *key, const char *value, size_t n) {
    begin_kv(w, key, GGUF_STRING);
    append_string(w, &w->kvs, value, n);
}

void gguf_put_strings(struct gguf_writer *w, const char *key, const struct gguf_string *v,
                      size_t n) {
    begin_array(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) append_string(w, &w->kvs, v[i].p, v[i].n);
}

void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n) {
    begin_array(w, key, GGUF_F32, n);
    for (size_t i = 0; i < n; i++) append_uint(w, &w->kvs, f32_to_bits(v[i]), 4);
}

void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n) {
    begin_array(w, key, GGUF_I32, n);
    for (size_t i = 0; i < n; i++) append_uint(w, &w->kvs, (uint32_t)v[i], 4);
}

void gguf_put_copy(struct gguf_writer *w, const struct gguf_kv *kv) {
    if (kv->type == GGUF_ARRAY && kv->elem == GGUF_STRING) {
        gguf_put_strings(w, kv->key, kv->strings, (size_t)kv->n);
        return;
    }
    if (kv->type == GGUF_ARRAY) begin_array(w, kv->key, kv->elem, kv->n);
    else begin_kv(w, kv->key, kv->type);
    append(w, &w->kvs, kv->data, gguf_value_bytes(kv));
}

static uint64_t padding(uint64_t n_bytes) { return -n_bytes & (ALIGNMENT - 1); }

void gguf_put_tensor(struct gguf_writer *w, const char *name, const struct quant_type *type,
                     const uint64_t *ne, uint32_t n_dims) {
    uint64_t n_bytes = ne[0] / type->block_elems;
    bool overflow = mul_overflows(n_bytes, type->block_bytes, &n_bytes);
    for (uint32_t i = 1; i < n_dims; i++) overflow |= mul_overflows(n_bytes, ne[i], &n_bytes);
    if (overflow || n_bytes > INT64_MAX / 2 || n_bytes > INT64_MAX / 2 - w->data_bytes) {
        if (!failed(w))
            octet_fail(&w->err, OCTET_EARG, "%s: tensor '%s': is too large", w->path, name);
        return;
    }
    append_string(w, &w->tensors, name, strlen(name));
    append_uint(w, &w->tensors, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) append_uint(w, &w->tensors, ne[i], 8);
    append_uint(w, &w->tensors, type->id, 4);
    append_uint(w, &w->tensors, w->data_bytes, 8);
    append(w, &w->sizes, &n_bytes, sizeof n_bytes);
    w->data_bytes += n_bytes + padding(n_bytes);
    w->n_tensors++;
}

/* ---- Streaming ------------------------------------------------------------------------------- */

static enum octet_status report(const struct gguf_writer *w, struct octet_err *err) {
    if (failed(w) && err) *err = w->err;
    return w->err.status;
}

static void fail_io(struct gguf_writer *w, const char *path) {
    if (!failed(w))
        octet_fail(&w->err, OCTET_EIO, "%s: can not be written: %s", path, strerror(errno));
}

static void write_all(struct gguf_writer *w, const void *data, size_t n) {
    const uint8_t *p = data;
    while (n > 0 && !failed(w)) {
        ssize_t written = write(w->fd, p, n);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            if (written == 0) errno = ENOSPC;
            fail_io(w, w->part_path);
            return;
        }
        p += written;
        n -= (size_t)written;
    }
}

static void write_padding(struct gguf_writer *w, uint64_t n_bytes) {
    static const uint8_t zeros[ALIGNMENT];
    write_all(w, zeros, (size_t)padding(n_bytes));
}

/* Learns of a full disk now instead of after writing most of the file. File systems that can not
 * reserve say so, and the writes will tell. */
static void reserve_space(struct gguf_writer *w, uint64_t n_bytes) {
    if (failed(w) || fallocate(w->fd, 0, 0, (off_t)n_bytes) == 0) return;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) fail_io(w, w->part_path);
}

enum octet_status gguf_begin_data(struct gguf_writer *w, uint64_t *n_bytes, struct octet_err *err) {
    struct buffer header = {0};
    append(w, &header, "GGUF", 4);
    append_uint(w, &header, VERSION, 4);
    append_uint(w, &header, w->n_tensors, 8);
    append_uint(w, &header, w->n_kvs, 8);
    uint64_t head_bytes = (uint64_t)header.n + w->kvs.n + w->tensors.n;
    uint64_t total = head_bytes;
    if (w->n_tensors > 0) total += padding(head_bytes) + w->data_bytes;
    if (n_bytes) *n_bytes = total;
    reserve_space(w, total);
    write_all(w, header.p, header.n);
    write_all(w, w->kvs.p, w->kvs.n);
    write_all(w, w->tensors.p, w->tensors.n);
    if (w->n_tensors > 0) write_padding(w, head_bytes);
    mem_free(header.p);
    return report(w, err);
}

static uint64_t tensor_bytes(const struct gguf_writer *w, uint64_t i) {
    uint64_t n_bytes;
    memcpy(&n_bytes, w->sizes.p + i * sizeof n_bytes, sizeof n_bytes);
    return n_bytes;
}

/* Moves past tensors that are complete. */
static void advance(struct gguf_writer *w) {
    while (!failed(w) && w->i_tensor < w->n_tensors && w->written == tensor_bytes(w, w->i_tensor)) {
        write_padding(w, w->written);
        w->i_tensor++;
        w->written = 0;
    }
}

enum octet_status gguf_write_data(struct gguf_writer *w, const void *data, size_t n_bytes,
                                  struct octet_err *err) {
    advance(w);
    if (!failed(w) && n_bytes > 0) {
        octet_assert(w->i_tensor < w->n_tensors &&
                     n_bytes <= tensor_bytes(w, w->i_tensor) - w->written);
        write_all(w, data, n_bytes);
        w->written += n_bytes;
    }
    return report(w, err);
}

enum octet_status gguf_finish(struct gguf_writer *w, struct octet_err *err) {
    advance(w);
    octet_assert(failed(w) || w->i_tensor == w->n_tensors);
    if (!failed(w) && fsync(w->fd) != 0) fail_io(w, w->part_path);
    if (!failed(w)) {
        int fd = w->fd;
        w->fd = -1;
        if (close(fd) != 0) fail_io(w, w->part_path);
    }
    if (!failed(w) && rename(w->part_path, w->path) != 0) fail_io(w, w->path);
    w->finished = !failed(w);
    return report(w, err);
}

/* ---- Opening and closing --------------------------------------------------------------------- */

/* Renaming over a device or folder would fail at the end, or worse, succeed. */
static enum octet_status check_target(const char *path, struct octet_err *err) {
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return octet_fail(err, OCTET_EIO, "%s: can not be written: expected a new or regular file",
                          path);
    return OCTET_OK;
}

enum octet_status gguf_writer_open(const char *path, struct gguf_writer **out,
                                   struct octet_err *err) {
    *out = NULL;
    enum octet_status s = check_target(path, err);
    if (s) return s;
    struct gguf_writer *w = mem_alloc(sizeof *w);
    if (!w) return octet_fail_memory(err, "a file writer", sizeof *w);
    w->fd = -1;
    size_t n = strlen(path);
    w->path = mem_strdup(path, n);
    w->part_path = mem_alloc(n + sizeof ".part");
    if (!w->path || !w->part_path) {
        gguf_writer_close(w);
        return octet_fail_memory(err, "a file name", n);
    }
    memcpy(w->part_path, path, n);
    memcpy(w->part_path + n, ".part", sizeof ".part");
    w->fd = open(w->part_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (w->fd < 0) {
        fail_io(w, w->part_path);
        s = report(w, err);
        gguf_writer_close(w);
        return s;
    }
    w->created = true;
    *out = w;
    return OCTET_OK;
}

void gguf_writer_close(struct gguf_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->created && !w->finished) unlink(w->part_path);
    mem_free(w->path);
    mem_free(w->part_path);
    mem_free(w->kvs.p);
    mem_free(w->tensors.p);
    mem_free(w->sizes.p);
    mem_free(w);
}
