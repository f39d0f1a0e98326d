/* See logits_file.h. */
#include "cli/logits_file.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/status.h"

static const char MAGIC[8] = {'_', 'l', 'o', 'g', 'i', 't', 's', '_'};
static const float RANGE = 16.0f; // of log-probabilities kept, from the best one down

enum { HEADER_BYTES = 20, ROW_HEADER_BYTES = 8, MAX_STEP = 65535 };

static size_t row_bytes_of(int32_t n_vocab) {
    return ROW_HEADER_BYTES + ((size_t)n_vocab + 1) / 2 * 2 * sizeof(uint16_t);
}

static void store_u32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(value >> 8 * i);
}

static enum octet_status failed(const struct logits_file *file, const char *what,
                                struct octet_err *err) {
    return octet_fail(err, OCTET_EIO, "%s: %s failed: %s", file->path, what, strerror(errno));
}

static enum octet_status alloc_row(struct logits_file *file, struct octet_err *err) {
    file->row_bytes = row_bytes_of(file->n_vocab);
    file->row = mem_alloc(file->row_bytes);
    if (file->row == NULL) return octet_fail_memory(err, "a row of logits", file->row_bytes);
    return OCTET_OK;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static enum octet_status write_bytes(struct logits_file *file, const uint8_t *bytes, size_t n,
                                     struct octet_err *err) {
    if (fwrite(bytes, 1, n, file->file) != n) return failed(file, "writing", err);
    return OCTET_OK;
}

enum octet_status logits_file_create(struct logits_file *out, const char *path, int32_t n_ctx,
                                     int32_t n_vocab, int32_t n_chunks, const int32_t *tokens,
                                     struct octet_err *err) {
    *out = (struct logits_file){
        .path = path, .n_ctx = n_ctx, .n_vocab = n_vocab, .n_chunks = n_chunks};
    enum octet_status status = alloc_row(out, err);
    if (status != OCTET_OK) return status;
    out->file = fopen(path, "wbe");
    if (out->file == NULL) return failed(out, "opening", err);
    uint8_t header[HEADER_BYTES];
    memcpy(header, MAGIC, sizeof MAGIC);
    store_u32(header + 8, (uint32_t)n_ctx);
    store_u32(header + 12, (uint32_t)n_vocab);
    store_u32(header + 16, (uint32_t)n_chunks);
    status = write_bytes(out, header, sizeof header, err);
    const size_t n_tokens = (size_t)n_chunks * (size_t)n_ctx;
    for (size_t i = 0; i < n_tokens && status == OCTET_OK; i++) {
        uint8_t token[4];
        store_u32(token, (uint32_t)tokens[i]);
        status = write_bytes(out, token, sizeof token, err);
    }
    return status;
}

enum octet_status logits_file_write_row(struct logits_file *file, const float *log_probs,
                                        struct octet_err *err) {
    float most = log_probs[0], least = log_probs[0];
    for (int32_t i = 1; i < file->n_vocab; i++) {
        most = fmaxf(most, log_probs[i]);
        least = fminf(least, log_probs[i]);
    }
    least = fmaxf(least, most - RANGE);
    const float scale = (most - least) / (float)MAX_STEP;
    const float steps_per_unit = scale > 0 ? 1 / scale : 0;
    store_u32(file->row, f32_to_bits(scale));
    store_u32(file->row + 4, f32_to_bits(least));
    uint8_t *q = file->row + ROW_HEADER_BYTES;
    for (int32_t i = 0; i < file->n_vocab; i++, q += 2) {
        long step = log_probs[i] > least ? lrintf((log_probs[i] - least) * steps_per_unit) : 0;
        if (step > MAX_STEP) step = MAX_STEP;
        q[0] = (uint8_t)step;
        q[1] = (uint8_t)(step >> 8);
    }
    return write_bytes(file, file->row, file->row_bytes, err);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static enum octet_status read_bytes(struct logits_file *file, uint8_t *bytes, size_t n,
                                    struct octet_err *err) {
    if (fread(bytes, 1, n, file->file) == n) return OCTET_OK;
    if (ferror(file->file)) return failed(file, "reading", err);
    return octet_fail(err, OCTET_EFORMAT, "%s: the file ends too early", file->path);
}

/* Before anything is allocated: a header that promises more than the file holds is refused. */
static enum octet_status check_size(struct logits_file *file, struct octet_err *err) {
    if (file->n_ctx < 4 || file->n_vocab < 1 || file->n_chunks < 1) {
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: impossible header: context %d, vocabulary %d, chunks %d", file->path,
                          file->n_ctx, file->n_vocab, file->n_chunks);
    }
    if (fseeko(file->file, 0, SEEK_END) != 0) return failed(file, "seeking", err);
    const off_t size = ftello(file->file);
    if (size < 0 || fseeko(file->file, HEADER_BYTES, SEEK_SET) != 0) {
        return failed(file, "seeking", err);
    }
    const uint64_t n_rows = (uint64_t)(file->n_ctx - 1 - file->n_ctx / 2);
    const uint64_t n_chunks = (uint64_t)file->n_chunks;
    uint64_t chunk_bytes, expected;
    if (mul_overflows(n_rows, row_bytes_of(file->n_vocab), &chunk_bytes) ||
        add_overflows(chunk_bytes, 4 * (uint64_t)file->n_ctx, &chunk_bytes) ||
        mul_overflows(chunk_bytes, n_chunks, &expected) ||
        add_overflows(expected, HEADER_BYTES, &expected) || expected > (uint64_t)size) {
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: the file has %lld bytes, too few for %d chunks of %d tokens and %d "
                          "logits", file->path, (long long)size, file->n_chunks, file->n_ctx,
                          file->n_vocab);
    }
    return OCTET_OK;
}

static enum octet_status read_tokens(struct logits_file *file, struct octet_err *err) {
    const size_t n = (size_t)file->n_chunks * (size_t)file->n_ctx;
    file->tokens = mem_array(n, sizeof *file->tokens);
    if (file->tokens == NULL) return octet_fail_memory(err, "the tokens", n);
    for (size_t i = 0; i < n; i++) {
        uint8_t token[4];
        const enum octet_status status = read_bytes(file, token, sizeof token, err);
        if (status != OCTET_OK) return status;
        file->tokens[i] = (int32_t)load_u32(token);
    }
    return OCTET_OK;
}

enum octet_status logits_file_open(struct logits_file *out, const char *path,
                                   struct octet_err *err) {
    *out = (struct logits_file){.path = path};
    out->file = fopen(path, "rbe");
    if (out->file == NULL) return failed(out, "opening", err);
    uint8_t header[HEADER_BYTES];
    if (fread(header, 1, sizeof header, out->file) != sizeof header ||
        memcmp(header, MAGIC, sizeof MAGIC) != 0) {
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: not a file of saved logits (it does not begin with _logits_)", path);
    }
    out->n_ctx = (int32_t)load_u32(header + 8);
    out->n_vocab = (int32_t)load_u32(header + 12);
    out->n_chunks = (int32_t)load_u32(header + 16);
    enum octet_status status = check_size(out, err);
    if (status == OCTET_OK) status = alloc_row(out, err);
    if (status == OCTET_OK) status = read_tokens(out, err);
    return status;
}

enum octet_status logits_file_read_row(struct logits_file *file, float *log_probs,
                                       struct octet_err *err) {
    const enum octet_status status = read_bytes(file, file->row, file->row_bytes, err);
    if (status != OCTET_OK) return status;
    const float scale = f32_from_bits(load_u32(file->row));
    const float least = f32_from_bits(load_u32(file->row + 4));
    if (!isfinite(scale) || !isfinite(least)) {
        return octet_fail(err, OCTET_EFORMAT, "%s: a row's scale is not a number", file->path);
    }
    const uint8_t *q = file->row + ROW_HEADER_BYTES;
    for (int32_t i = 0; i < file->n_vocab; i++, q += 2) {
        log_probs[i] = scale * (float)load_u16(q) + least;
    }
    return OCTET_OK;
}

enum octet_status logits_file_close(struct logits_file *file, bool keep, struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    if (file->file != NULL) {
        struct stat info; // a device or pipe that was named as the file stays
        const bool removable = fstat(fileno(file->file), &info) == 0 && S_ISREG(info.st_mode);
        if (fclose(file->file) != 0) status = failed(file, "writing", err);
        if (removable && (!keep || status != OCTET_OK)) unlink(file->path);
    }
    mem_free(file->tokens);
    mem_free(file->row);
    *file = (struct logits_file){.file = NULL};
    return status;
}
