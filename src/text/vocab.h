/* Vocabulary and tokenizers. A vocabulary is read once from a file's metadata and never changes. */
#ifndef OCTET_TEXT_VOCAB_H
#define OCTET_TEXT_VOCAB_H

#include "format/gguf.h"

struct vocab;

/* Checks everything: tokens, scores or merges, types, special ids. N_ROWS: rows of the embedding
 * matrix (0: unknown); more tokens than rows is an error, fewer is fine. G may be closed after. */
enum octet_status vocab_load(const struct gguf *g, size_t n_rows, struct vocab **out,
                             struct octet_err *err);
void vocab_free(struct vocab *v);

size_t vocab_size(const struct vocab *v);
int32_t vocab_bos(const struct vocab *v); // -1: none
int32_t vocab_eos(const struct vocab *v);
bool vocab_ends(const struct vocab *v, int32_t id);        // end of generation
bool vocab_generable(const struct vocab *v, int32_t id);   // may be sampled: not unused padding
const char *vocab_name(const struct vocab *v, int32_t id); // own spelling, NUL-terminated; NULL
/* Bytes a token stands for in text. False: id out of range. */
bool vocab_bytes(const struct vocab *v, int32_t id, bool special, const char **bytes, size_t *n);
int32_t vocab_find(const struct vocab *v, const char *text, size_t n); // control tokens too; -1

/* As octet_tokenize. */
enum octet_status vocab_encode(const struct vocab *v, const char *text, size_t n_bytes,
                               unsigned flags, struct octet_tokens *out, struct octet_err *err);

/* As octet_chat_*; FORMAT NULL: the one the file asks for. */
const char *chat_format(const struct vocab *v);
enum octet_status chat_encode(const struct vocab *v, const char *format,
                              const struct octet_message *messages, size_t n_messages,
                              struct octet_tokens *out, struct octet_err *err);
const char *chat_stop(const struct vocab *v, const char *format, size_t i);

#endif
