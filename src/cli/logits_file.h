/* The file of saved log-probabilities that llama.cpp's perplexity tool writes and reads, so that
 * two engines can be compared. All little-endian: "_logits_", then 32-bit n_ctx, n_vocab, n_chunks,
 * then n_chunks * n_ctx token ids, then for each chunk and each scored position a row: two floats
 * scale and least, then n_vocab (rounded up to even) 16-bit q with log p = scale * q + least.
 * Scored are positions n_ctx / 2 to n_ctx - 2, each predicting the next token. */
#ifndef OCTET_CLI_LOGITS_FILE_H
#define OCTET_CLI_LOGITS_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "octet.h"

struct logits_file {
    FILE *file;
    const char *path; // borrowed
    int32_t n_ctx, n_vocab, n_chunks;
    int32_t *tokens;  // (n_chunks, n_ctx), read files only
    uint8_t *row;     // one row as it lies in the file
    size_t row_bytes;
};

/* Starts a file: overwrites PATH. TOKENS (n_chunks, n_ctx). */
enum octet_status logits_file_create(struct logits_file *out, const char *path, int32_t n_ctx,
                                     int32_t n_vocab, int32_t n_chunks, const int32_t *tokens,
                                     struct octet_err *err);
/* LOG_PROBS (n_vocab): natural logarithms. Those further than 16 below the best share one value. */
enum octet_status logits_file_write_row(struct logits_file *file, const float *log_probs,
                                        struct octet_err *err);

/* Opens a file and checks that it is as long as its header says. */
enum octet_status logits_file_open(struct logits_file *out, const char *path,
                                   struct octet_err *err);
enum octet_status logits_file_read_row(struct logits_file *file, float *log_probs,
                                       struct octet_err *err);

/* Releases what FILE holds; zeroed structs are fine. For a created file a failed last write is
 * told, and with KEEP false the file is removed. */
enum octet_status logits_file_close(struct logits_file *file, bool keep, struct octet_err *err);

#endif
