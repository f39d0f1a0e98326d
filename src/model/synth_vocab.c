/* Made-up vocabularies for synthetic models: right in form and size, with letter combinations for
 * words. Every piece can be reached by the tokenizer's merges, so that any text encodes and every
 * token can come out of an encoding. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/synth.h"

enum {
    SLOT = 64, // bytes for one token's text
    N_LETTERS = 31,
    N_BYTES = 256,
    FIRST_PRINTABLE = 0x21,
    N_PRINTABLE = 0x7f - FIRST_PRINTABLE,
    MAX_SPACES = 31, // Phi-2 has runs of 2..31 spaces
    MAX_TABS = 9,    // and of 2..9 tabs
    MAX_SPM_SPACES = 16,
};

enum token_type { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static const char letters[N_LETTERS + 1] = "etaoinshrdlcumwfgypbvkjxqzTAISM"; // common ones first

struct list {
    char *slots; // (cap, SLOT)
    struct gguf_string *strings;
    size_t n, cap;
};

struct vocab_plan {
    struct list tokens, merges;
    int32_t *types; // (tokens.cap)
    float *scores;  // (tokens.cap)
};

static bool list_open(struct list *list, size_t cap) {
    list->cap = cap;
    list->slots = mem_array(cap, SLOT);
    list->strings = mem_array(cap, sizeof *list->strings);
    return list->slots && list->strings;
}

__attribute__((format(printf, 2, 3))) static void list_add(struct list *list, const char *fmt,
                                                           ...) {
    octet_assert(list->n < list->cap);
    char *slot = list->slots + list->n * SLOT;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(slot, SLOT, fmt, args);
    va_end(args);
    octet_assert(n > 0 && n < SLOT);
    list->strings[list->n++] = (struct gguf_string){slot, (size_t)n};
}

/* The token just added. */
static void describe(struct vocab_plan *v, enum token_type type, float score) {
    v->types[v->tokens.n - 1] = (int32_t)type;
    v->scores[v->tokens.n - 1] = score;
}

/* ---- Words ----------------------------------------------------------------------------------- */

/* A piece of up to three letters, maybe after a space. */
struct word {
    bool space;
    size_t n;
    size_t letter[3];
};

/* The i-th piece. The groups come in an order in which each is made of earlier ones. */
static struct word word_at(size_t i) {
    static const struct {
        bool space;
        size_t n_letters, n_words;
    } groups[] = {
        {true, 1, N_LETTERS},
        {false, 2, N_LETTERS * N_LETTERS},
        {true, 2, N_LETTERS * N_LETTERS},
        {true, 3, N_LETTERS * N_LETTERS * N_LETTERS},
        {false, 3, N_LETTERS * N_LETTERS * N_LETTERS},
    };
    size_t g = 0;
    while (g < 4 && i >= groups[g].n_words) i -= groups[g++].n_words;
    octet_assert(i < groups[g].n_words);
    struct word w = {groups[g].space, groups[g].n_letters, {0}};
    for (size_t k = w.n; k-- > 0; i /= N_LETTERS) w.letter[k] = i % N_LETTERS;
    return w;
}

/* Letters FROM to TO of a word, with the space in front if FROM is 0. */
static const char *spell(const struct word *w, size_t from, size_t to, const char *space,
                         char out[16]) {
    size_t n = 0;
    if (w->space && from == 0)
        for (const char *c = space; *c; c++) out[n++] = *c;
    for (size_t k = from; k < to; k++) out[n++] = letters[w->letter[k]];
    out[n] = 0;
    return out;
}

/* How many letters the left half of a word has when byte-pair merging reaches its last step. */
static size_t last_split(const struct word *w) {
    if (w->n == 1) return 0;
    if (w->n == 2 || w->space) return 1; // "_a" comes first, then "bc"
    size_t left = w->letter[0] * N_LETTERS + w->letter[1];
    size_t right = w->letter[1] * N_LETTERS + w->letter[2];
    return left <= right ? 2 : 1;
}

/* ---- SentencePiece --------------------------------------------------------------------------- */

static const char spm_space[] = "\xe2\x96\x81"; // U+2581

static void plan_spm(struct vocab_plan *v) {
    const size_t n = v->tokens.cap;
    list_add(&v->tokens, "<unk>");
    describe(v, TYPE_UNKNOWN, 0);
    list_add(&v->tokens, "<s>");
    describe(v, TYPE_CONTROL, 0);
    list_add(&v->tokens, "</s>");
    describe(v, TYPE_CONTROL, 0);
    for (unsigned b = 0; b < N_BYTES; b++) {
        list_add(&v->tokens, "<0x%02X>", b);
        describe(v, TYPE_BYTE, 0);
    }
    float rank = 0;
    for (size_t i = 0; v->tokens.n < n; i++) { // merges prefer the higher score: words, by order
        if (i < N_PRINTABLE) list_add(&v->tokens, "%c", (int)(FIRST_PRINTABLE + i));
        else if (i == N_PRINTABLE) list_add(&v->tokens, "%s", spm_space);
        else break;
        describe(v, TYPE_NORMAL, -rank++);
    }
    for (size_t run = 2; run <= MAX_SPM_SPACES && v->tokens.n < n; run++) {
        char text[SLOT];
        for (size_t k = 0; k < run; k++) memcpy(text + 3 * k, spm_space, 3);
        list_add(&v->tokens, "%.*s", (int)(3 * run), text);
        describe(v, TYPE_NORMAL, -1e9f); // merge last
    }
    for (size_t i = 0; v->tokens.n < n; i++) {
        struct word w = word_at(i);
        char text[16];
        list_add(&v->tokens, "%s", spell(&w, 0, w.n, spm_space, text));
        describe(v, TYPE_NORMAL, -rank++);
    }
}

static void put_spm(struct gguf_writer *w, const struct vocab_plan *v) {
    gguf_put_string(w, "tokenizer.ggml.model", "llama", 5);
    gguf_put_string(w, "tokenizer.ggml.pre", "default", 7);
    gguf_put_strings(w, "tokenizer.ggml.tokens", v->tokens.strings, v->tokens.n);
    gguf_put_f32s(w, "tokenizer.ggml.scores", v->scores, v->tokens.n);
    gguf_put_i32s(w, "tokenizer.ggml.token_type", v->types, v->tokens.n);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_put_bool(w, "tokenizer.ggml.add_eos_token", false);
}

/* ---- Byte-level BPE -------------------------------------------------------------------------- */

static const char bpe_space[] = "\xc4\xa0"; // U+0120

/* Printable Latin-1 bytes stand for themselves, the others for U+0100 and up. */
static void add_byte(struct vocab_plan *v, unsigned b, unsigned *n_remapped) {
    bool own = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    unsigned code = own ? b : 0x100 + (*n_remapped)++;
    if (code < 0x80) list_add(&v->tokens, "%c", (int)code);
    else list_add(&v->tokens, "%c%c", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 0x3f)));
    describe(v, TYPE_NORMAL, 0);
}

static void plan_bytes_and_merges(struct vocab_plan *v, size_t n_merges) {
    unsigned n_remapped = 0;
    for (unsigned b = 0; b < N_BYTES; b++) add_byte(v, b, &n_remapped);
    for (size_t i = 0; i < n_merges; i++) {
        struct word w = word_at(i);
        char left[16], right[16];
        size_t split = last_split(&w);
        spell(&w, 0, split, bpe_space, left);
        spell(&w, split, w.n, "", right);
        list_add(&v->tokens, "%s%s", left, right);
        describe(v, TYPE_NORMAL, 0);
        list_add(&v->merges, "%s %s", left, right);
    }
}

static void add_runs(struct vocab_plan *v, char c, int longest) {
    char text[SLOT];
    memset(text, c, sizeof text);
    for (int n = longest; n >= 2; n--) {
        list_add(&v->tokens, "%.*s", n, text);
        describe(v, TYPE_USER, 0);
    }
}

/* Bytes, merges, end of text, runs of spaces and tabs, padding: the order of Phi-2's tokens. */
static uint32_t plan_phi(struct vocab_plan *v) {
    const size_t n_added = 1 + (MAX_SPACES - 1) + (MAX_TABS - 1);
    const size_t n = v->tokens.cap, n_padding = n > 50295 ? n - 50295 : 17;
    plan_bytes_and_merges(v, n - n_padding - n_added - N_BYTES);
    uint32_t end = (uint32_t)v->tokens.n;
    list_add(&v->tokens, "<|endoftext|>");
    describe(v, TYPE_CONTROL, 0);
    add_runs(v, ' ', MAX_SPACES);
    add_runs(v, '\t', MAX_TABS);
    while (v->tokens.n < n) {
        list_add(&v->tokens, "[PAD%zu]", v->tokens.n);
        describe(v, TYPE_UNUSED, 0);
    }
    return end;
}

static uint32_t plan_smollm(struct vocab_plan *v) {
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    for (size_t i = 0; i < 3; i++) {
        list_add(&v->tokens, "%s", special[i]);
        describe(v, TYPE_CONTROL, 0);
    }
    plan_bytes_and_merges(v, v->tokens.cap - v->tokens.n - N_BYTES);
    return 0;
}

static void put_bpe(struct gguf_writer *w, const struct vocab_plan *v, const char *pre,
                    uint32_t end) {
    gguf_put_string(w, "tokenizer.ggml.model", "gpt2", 4);
    gguf_put_string(w, "tokenizer.ggml.pre", pre, strlen(pre));
    gguf_put_strings(w, "tokenizer.ggml.tokens", v->tokens.strings, v->tokens.n);
    gguf_put_i32s(w, "tokenizer.ggml.token_type", v->types, v->tokens.n);
    gguf_put_strings(w, "tokenizer.ggml.merges", v->merges.strings, v->merges.n);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", end);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", end);
    gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", end);
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
}

/* ---- Any ------------------------------------------------------------------------------------- */

enum octet_status synth_vocab_put(struct gguf_writer *w, enum synth_vocab kind, uint32_t n_tokens,
                                  struct octet_err *err) {
    struct vocab_plan v = {0};
    v.types = mem_array(n_tokens, sizeof *v.types);
    v.scores = mem_array(n_tokens, sizeof *v.scores);
    bool ok = list_open(&v.tokens, n_tokens) && list_open(&v.merges, n_tokens);
    enum octet_status s = OCTET_OK;
    if (!ok || !v.types || !v.scores) {
        s = octet_fail_memory(err, "a vocabulary", (size_t)n_tokens * SLOT);
    } else if (kind == VOCAB_SPM) {
        plan_spm(&v);
        put_spm(w, &v);
    } else {
        uint32_t end = kind == VOCAB_PHI ? plan_phi(&v) : plan_smollm(&v);
        put_bpe(w, &v, kind == VOCAB_PHI ? "phi-2" : "smollm", end);
    }
    mem_free(v.tokens.slots);
    mem_free(v.tokens.strings);
    mem_free(v.merges.slots);
    mem_free(v.merges.strings);
    mem_free(v.types);
    mem_free(v.scores);
    return s;
}
