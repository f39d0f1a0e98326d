/* The vocabulary's inside, shared by the files of src/text only.
 *
 * Both tokenizer families work the same way: text is cut at special tokens, the rest becomes
 * symbols, and adjacent symbols are joined in order of a key until no pair can be joined. SPM takes
 * the key from the score of the joined piece, BPE from the position in the list of merges. */
#ifndef OCTET_TEXT_VOCAB_IMPL_H
#define OCTET_TEXT_VOCAB_IMPL_H

#include <utf8proc.h>

#include "base/mem.h"
#include "text/vocab.h"

enum vocab_limits {
    VOCAB_MAX_TOKEN_BYTES = 1 << 20,
    // Longer ones are not searched for in text: this bounds the work per byte of a hostile pair of
    // vocabulary and text. Real special tokens have at most 40 bytes.
    VOCAB_MAX_SPECIAL_BYTES = 128,
    VOCAB_MAX_TEXT_BYTES = 1 << 29, // offsets into text, three bytes per space, fit an int32_t
};

enum token_type { // as in the file
    TOKEN_UNDEFINED, TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_UNUSED,
    TOKEN_BYTE, TOKEN_N_TYPES
};

struct token {
    const char *name;  // the vocabulary's spelling, NUL-terminated
    const char *bytes; // what it stands for
    uint32_t n_name, n_bytes;
    int32_t key;    // SPM: order of joining, lowest first
    uint8_t type;   // enum token_type
    bool ends;      // ends a generation
    bool generable; // may be sampled
};

/* ---- Lookup by text (text_map.c) ------------------------------------------------------------- */

struct text_map {
    const struct token *tokens;
    int32_t *slots; // id + 1, 0: free
    size_t mask;
};

/* Secret of this process's hashing: files cannot be made so that all their tokens collide. */
struct hash_key {
    uint64_t k[2];
};
struct hash_key hash_key_new(void);
uint64_t hash_bytes(const struct hash_key *key, const char *p, size_t n);
uint64_t hash_pair(const struct hash_key *key, int32_t a, int32_t b);
size_t hash_table_size(size_t n_entries); // a power of two, at most half full

bool text_map_init(struct text_map *map, const struct token *tokens, size_t n_entries);
void text_map_free(struct text_map *map);
void text_map_add(struct text_map *map, const struct hash_key *key, int32_t id); // first one wins
int32_t text_map_find(const struct text_map *map, const struct hash_key *key, const char *text,
                      size_t n); // -1: absent

/* ---- Special tokens in text (special.c) ------------------------------------------------------ */

struct special {
    const char *text;
    uint32_t n;
    int32_t id;
};

struct special_set {
    struct special *entries; // (n), sorted by text, no two alike
    size_t n;
    uint32_t first[257]; // entries whose first byte is b: first[b] .. first[b + 1] - 1
};

/* All tokens of the vocabulary that are to be found in text: added ones and, with CONTROL, control
 * tokens too. */
bool special_set_init(struct special_set *set, const struct vocab *v, bool control);
void special_set_free(struct special_set *set);
/* The first place in text[from, n) where a special token stands, the longest one there. */
bool special_find(const struct special_set *set, const char *text, size_t n, size_t from,
                  size_t *at, const struct special **found);

/* ---- The vocabulary -------------------------------------------------------------------------- */

struct bpe_merge {
    int32_t left, right, result;
};

struct chat_format;

struct vocab {
    struct token *tokens; // (n)
    size_t n;
    char *arena; // names and bytes
    struct hash_key hash;
    struct text_map all;
    struct text_map plain; // no control, unknown, unused and byte tokens: what plain text may reach
    uint32_t plain_max;    // longest name in plain
    struct special_set added;
    struct special_set control;

    bool is_bpe;
    int32_t bos, eos, unk; // -1: none
    bool add_bos, add_eos;
    bool space_prefix; // SPM
    bool split_digits; // BPE
    int32_t byte_ids[256]; // -1: none

    struct bpe_merge *merges; // (n_merges), index = rank
    size_t n_merges;
    uint32_t *merge_slots; // rank + 1, 0: free
    size_t merge_mask;

    const struct chat_format *chat; // what the file asks for, or NULL
    bool smollm_system;             // the model has a system prompt of its own
};

int32_t vocab_find_plain(const struct vocab *v, const char *text, size_t n);

/* Per family: reading scores or merges, and the bytes a token's name stands for (at most as many as
 * the name has; returns how many were written to OUT). */
enum octet_status spm_load(struct vocab *v, const struct gguf *g, struct octet_err *err);
enum octet_status bpe_load(struct vocab *v, const struct gguf *g, struct octet_err *err);
size_t spm_token_bytes(const char *name, size_t n, char *out);
size_t bpe_token_bytes(const char *name, size_t n, char *out);
/* The byte that a name like <0x0A> stands for, or -1. */
int byte_token_value(const char *name, size_t n);

void chat_detect(struct vocab *v, struct gguf_string template, struct gguf_string name,
                 struct gguf_string arch, struct gguf_string pre);

/* ---- Encoding -------------------------------------------------------------------------------- */

struct symbol {
    uint32_t start, n; // in the text; n = 0: joined to its left neighbour
    int32_t id;        // -1: no token
    int32_t prev, next; // -1: none
};

struct candidate {
    int32_t key;
    uint32_t n; // bytes of the joined symbol: tells stale candidates
    int32_t left, right, id;
};

/* Buffers of one encoding, reused from segment to segment. Zero it first. */
struct encoder {
    const struct vocab *v;
    const char *text; // what symbols point into
    struct symbol *symbols;
    size_t n_symbols, symbols_cap;
    struct candidate *heap;
    size_t n_heap, heap_cap;
    char *escaped;
    size_t escaped_cap;
    struct octet_tokens *out;
    struct octet_err *err;
};

/* Whether two neighbours can be joined; writes key and id of the result. */
typedef bool (*pair_fn)(const struct encoder *e, const struct symbol *left,
                        const struct symbol *right, struct candidate *out);

enum octet_status encoder_add(struct encoder *e, size_t start, size_t n, int32_t id);
enum octet_status encoder_merge(struct encoder *e, pair_fn find);
enum octet_status encoder_emit(struct encoder *e, int32_t id);
enum octet_status encoder_emit_byte(struct encoder *e, unsigned char byte);

/* One stretch of text without special tokens. */
enum octet_status spm_encode(struct encoder *e, const char *text, size_t n);
enum octet_status bpe_encode(struct encoder *e, const char *text, size_t n);

/* End of the chunk that starts at FROM < n, by the GPT-2 rule: merges never cross chunks.
 * SPLIT_DIGITS makes every number character a chunk of its own and lets none see its neighbours. */
size_t pretokenize_next(const char *text, size_t n, size_t from, bool split_digits);

/* Length of the character at p[0], N >= 1 bytes left; a byte that is not part of valid UTF-8 counts
 * as a character with *code = -1. */
static inline size_t utf8_next(const char *p, size_t n, int32_t *code) {
    utf8proc_ssize_t n_char =
        utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, code);
    if (n_char > 0) return (size_t)n_char;
    *code = -1;
    return 1;
}

#endif
