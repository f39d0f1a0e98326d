/* Reading a vocabulary from a file's metadata: everything that can be wrong is found here, so that
 * encoding and decoding need no checks. */
#include <stdlib.h>
#include <string.h>

#include "text/vocab_impl.h"

static bool string_is(struct gguf_string s, const char *text) {
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static enum octet_status find_array(const struct gguf *g, const char *key, bool required,
                                    const struct gguf_kv **out, struct octet_err *err) {
    *out = gguf_find(g, key);
    if (!*out && required)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s' is missing", gguf_path(g), key);
    if (*out && (*out)->type != GGUF_ARRAY)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected an array, found %s",
                          gguf_path(g), key, gguf_type_name((*out)->type));
    return OCTET_OK;
}

/* ---- Names ----------------------------------------------------------------------------------- */

int byte_token_value(const char *name, size_t n) {
    static const char digits[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(name, "<0x", 3) != 0 || name[5] != '>') return -1;
    const char *high = memchr(digits, name[3], 16), *low = memchr(digits, name[4], 16);
    return high && low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

/* Whether the name is PREFIX, decimal digits, CLOSE; *number: their value, saturated. */
static bool is_numbered(const struct token *t, const char *prefix, char close, uint64_t *number) {
    size_t n_prefix = strlen(prefix);
    if (t->n_name < n_prefix + 2 || memcmp(t->name, prefix, n_prefix) != 0) return false;
    if (t->name[t->n_name - 1] != close) return false;
    *number = 0;
    for (size_t i = n_prefix; i + 1 < t->n_name; i++) {
        if (t->name[i] < '0' || t->name[i] > '9') return false;
        if (*number < UINT32_MAX) *number = 10 * *number + (uint64_t)(t->name[i] - '0');
    }
    return true;
}

/* Entries that only fill the vocabulary up to the embedding's size; old converters typed them as
 * added tokens. */
static bool is_padding(const struct token *t, size_t id) {
    uint64_t number;
    if (is_numbered(t, "[PAD", ']', &number)) return number == id;
    return is_numbered(t, "<dummy", '>', &number);
}

static bool name_ends(const struct token *t) {
    static const char *const names[] = {"</s>",    "<|endoftext|>", "<|im_end|>",
                                        "<|end|>", "<|eot_id|>",    "<end_of_turn>"};
    if (t->type != TOKEN_CONTROL && t->type != TOKEN_USER_DEFINED) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(t->name, names[i]) == 0) return true;
    return false;
}

/* ---- Loading --------------------------------------------------------------------------------- */

static enum octet_status load_names(struct vocab *v, const struct gguf *g, size_t n_rows,
                                    struct octet_err *err) {
    const char *key = "tokenizer.ggml.tokens", *path = gguf_path(g);
    const struct gguf_kv *kv;
    enum octet_status status = find_array(g, key, true, &kv, err);
    if (status) return status;
    if (kv->elem != GGUF_STRING)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected strings, found %s", path, key,
                          gguf_type_name(kv->elem));
    uint64_t most = n_rows && n_rows < INT32_MAX ? n_rows : INT32_MAX - 1;
    if (kv->n == 0 || kv->n > most)
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: key '%s': expected 1 to %llu tokens (rows of the embedding), found "
                          "%llu", path, key, (unsigned long long)most, (unsigned long long)kv->n);
    v->n = (size_t)kv->n;
    size_t n_bytes = 0;
    for (size_t i = 0; i < v->n; i++) {
        if (kv->strings[i].n > VOCAB_MAX_TOKEN_BYTES)
            return octet_fail(err, OCTET_EFORMAT,
                              "%s: key '%s': element %zu: expected at most %d bytes, found %zu",
                              path, key, i, VOCAB_MAX_TOKEN_BYTES, kv->strings[i].n);
        n_bytes += 2 * kv->strings[i].n + 1; // a name with its NUL, and at most as many bytes
    }
    v->tokens = mem_array(v->n, sizeof *v->tokens);
    v->arena = mem_alloc(n_bytes);
    if (!v->tokens || !v->arena)
        return octet_fail_memory(err, "tokens", n_bytes + v->n * sizeof *v->tokens);
    char *p = v->arena;
    for (size_t i = 0; i < v->n; i++) {
        struct token *t = &v->tokens[i];
        t->name = p;
        t->n_name = (uint32_t)kv->strings[i].n;
        if (t->n_name) p = mempcpy(p, kv->strings[i].p, t->n_name);
        *p++ = 0;
        t->bytes = p;
        t->n_bytes = (uint32_t)(v->is_bpe ? bpe_token_bytes(t->name, t->n_name, p)
                                          : spm_token_bytes(t->name, t->n_name, p));
        p += t->n_name; // room for the bytes of any type of token
    }
    return OCTET_OK;
}

/* Types are taken from the names where the file has none. */
static enum token_type guess_type(const struct vocab *v, size_t i) {
    const struct token *t = &v->tokens[i];
    if ((int32_t)i == v->bos || (int32_t)i == v->eos) return TOKEN_CONTROL;
    if (v->is_bpe) return TOKEN_NORMAL;
    if ((int32_t)i == v->unk) return TOKEN_UNKNOWN;
    return byte_token_value(t->name, t->n_name) >= 0 ? TOKEN_BYTE : TOKEN_NORMAL;
}

/* What a token of this type stands for, where it is not what load_names wrote. */
static void set_bytes(struct token *t) {
    char *bytes = (char *)t->name + t->n_name + 1; // in the arena
    switch (t->type) {
    case TOKEN_BYTE:
        *bytes = (char)byte_token_value(t->name, t->n_name);
        t->n_bytes = 1;
        break;
    case TOKEN_USER_DEFINED:
        t->bytes = t->name;
        t->n_bytes = t->n_name;
        break;
    case TOKEN_UNKNOWN:
    case TOKEN_CONTROL:
    case TOKEN_UNUSED: t->n_bytes = 0; break;
    default: break;
    }
}

static enum octet_status load_types(struct vocab *v, const struct gguf *g, struct octet_err *err) {
    const char *key = "tokenizer.ggml.token_type", *path = gguf_path(g);
    const struct gguf_kv *kv;
    enum octet_status status = find_array(g, key, false, &kv, err);
    if (status) return status;
    bool integers = !kv || kv->elem <= GGUF_I32 || kv->elem == GGUF_U64 || kv->elem == GGUF_I64;
    if (!integers || (kv && kv->n != v->n))
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: key '%s': expected %zu integers, found %llu elements of type %s",
                          path, key, v->n, (unsigned long long)kv->n, gguf_type_name(kv->elem));
    for (size_t i = 0; i < v->n; i++) {
        struct token *t = &v->tokens[i];
        int64_t type = kv ? gguf_array_int(kv, i) : guess_type(v, i);
        if (type < 0 || type >= TOKEN_N_TYPES)
            return octet_fail(err, OCTET_EFORMAT,
                              "%s: key '%s': element %zu: expected 0 to %d, found %lld", path, key,
                              i, TOKEN_N_TYPES - 1, (long long)type);
        if (type == TOKEN_BYTE && byte_token_value(t->name, t->n_name) < 0)
            return octet_fail(err, OCTET_EFORMAT,
                              "%s: token %zu: expected a name <0x00> to <0xFF> for a byte, found "
                              "'%.40s'", path, i, t->name);
        t->type = (uint8_t)type;
        t->generable = type != TOKEN_UNUSED && type != TOKEN_UNKNOWN && !is_padding(t, i);
        t->ends = t->ends || name_ends(t);
        set_bytes(t);
    }
    // Files without an unknown token name another control token here, often the end of text.
    if (v->unk >= 0 && v->tokens[v->unk].type != TOKEN_UNKNOWN) v->unk = -1;
    return OCTET_OK;
}

static bool is_plain(const struct token *t) {
    return t->type == TOKEN_UNDEFINED || t->type == TOKEN_NORMAL ||
           (t->type == TOKEN_USER_DEFINED && t->generable);
}

static enum octet_status index_names(struct vocab *v, struct octet_err *err) {
    size_t n_plain = 0;
    for (size_t i = 0; i < v->n; i++) n_plain += is_plain(&v->tokens[i]);
    if (!text_map_init(&v->all, v->tokens, v->n) || !text_map_init(&v->plain, v->tokens, n_plain) ||
        !special_set_init(&v->added, v, false) || !special_set_init(&v->control, v, true))
        return octet_fail_memory(err, "token lookup", 4 * v->n * sizeof(int32_t));
    for (size_t i = 0; i < v->n; i++) {
        const struct token *t = &v->tokens[i];
        text_map_add(&v->all, &v->hash, (int32_t)i);
        if (!is_plain(t)) continue;
        text_map_add(&v->plain, &v->hash, (int32_t)i);
        if (t->n_name > v->plain_max) v->plain_max = t->n_name;
    }
    return OCTET_OK;
}

/* Ids outside the vocabulary occur in real files and mean: none. */
static enum octet_status load_id(const struct vocab *v, const struct gguf *g, const char *key,
                                 int64_t fallback, int32_t *out, struct octet_err *err) {
    int64_t id = fallback;
    enum octet_status status = gguf_get_int(g, key, false, INT64_MIN, INT64_MAX, &id, err);
    *out = id >= 0 && (uint64_t)id < v->n ? (int32_t)id : -1;
    return status;
}

static enum octet_status load_ids(struct vocab *v, const struct gguf *g, struct octet_err *err) {
    bool spm = !v->is_bpe;
    int32_t eot = -1, eom = -1;
    v->add_bos = v->space_prefix = spm;
    enum octet_status status =
        load_id(v, g, "tokenizer.ggml.bos_token_id", spm ? 1 : -1, &v->bos, err);
    if (!status) status = load_id(v, g, "tokenizer.ggml.eos_token_id", spm ? 2 : -1, &v->eos, err);
    if (!status)
        status = load_id(v, g, "tokenizer.ggml.unknown_token_id", spm ? 0 : -1, &v->unk, err);
    if (!status) status = load_id(v, g, "tokenizer.ggml.eot_token_id", -1, &eot, err);
    if (!status) status = load_id(v, g, "tokenizer.ggml.eom_token_id", -1, &eom, err);
    if (!status) status = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", false, &v->add_bos, err);
    if (!status) status = gguf_get_bool(g, "tokenizer.ggml.add_eos_token", false, &v->add_eos, err);
    if (!status)
        status = gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", false, &v->space_prefix, err);
    if (status) return status;
    const int32_t ends[] = {v->eos, eot, eom};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] >= 0) v->tokens[ends[i]].ends = true;
    return OCTET_OK;
}

/* Files from before April 2024 do not name their pre-tokeniser: the architecture tells. */
static enum octet_status load_pre(struct vocab *v, const struct gguf *g, struct gguf_string arch,
                                  struct gguf_string pre, struct octet_err *err) {
    static const struct { const char *name; bool split_digits; } known[] = {
        {"gpt-2", false}, {"phi-2", false}, {"smollm", true}, {"starcoder", true}, {"refact", true},
    };
    bool unnamed = pre.n == 0 || string_is(pre, "default");
    if (unnamed && (string_is(arch, "phi2") || string_is(arch, "gpt2"))) return OCTET_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!string_is(pre, known[i].name)) continue;
        v->split_digits = known[i].split_digits;
        return OCTET_OK;
    }
    return octet_fail(err, OCTET_EUNSUPPORTED,
                      "%s: key 'tokenizer.ggml.pre': '%.*s' is not supported, only gpt-2, phi-2, "
                      "smollm, starcoder and refact are", gguf_path(g),
                      (int)(pre.n < 80 ? pre.n : 80), pre.n ? pre.p : "");
}

static enum octet_status load_model(struct vocab *v, const struct gguf *g, struct octet_err *err) {
    struct gguf_string model = {"", 0};
    enum octet_status status = gguf_get_string(g, "tokenizer.ggml.model", true, &model, err);
    if (status) return status;
    v->is_bpe = string_is(model, "gpt2");
    if (v->is_bpe || string_is(model, "llama")) return OCTET_OK;
    return octet_fail(err, OCTET_EUNSUPPORTED,
                      "%s: key 'tokenizer.ggml.model': '%.*s' is not supported, only llama and "
                      "gpt2 are", gguf_path(g), (int)(model.n < 80 ? model.n : 80), model.p);
}

static enum octet_status load(struct vocab *v, const struct gguf *g, size_t n_rows,
                              struct octet_err *err) {
    struct gguf_string arch = {"", 0}, pre = arch, name = arch, template = arch;
    enum octet_status status = load_model(v, g, err);
    if (!status) status = gguf_get_string(g, "general.architecture", false, &arch, err);
    if (!status) status = gguf_get_string(g, "general.name", false, &name, err);
    if (!status) status = gguf_get_string(g, "tokenizer.ggml.pre", false, &pre, err);
    if (!status) status = gguf_get_string(g, "tokenizer.chat_template", false, &template, err);
    if (!status && v->is_bpe) status = load_pre(v, g, arch, pre, err);
    if (!status) status = load_names(v, g, n_rows, err);
    if (!status) status = load_ids(v, g, err);
    if (!status) status = load_types(v, g, err);
    if (!status) status = index_names(v, err);
    if (!status) status = v->is_bpe ? bpe_load(v, g, err) : spm_load(v, g, err);
    if (!status) chat_detect(v, template, name, arch, pre);
    return status;
}

enum octet_status vocab_load(const struct gguf *g, size_t n_rows, struct vocab **out,
                             struct octet_err *err) {
    *out = NULL;
    struct vocab *v = mem_alloc(sizeof *v);
    if (!v) return octet_fail_memory(err, "a vocabulary", sizeof *v);
    v->hash = hash_key_new();
    for (int b = 0; b < 256; b++) v->byte_ids[b] = -1;
    enum octet_status status = load(v, g, n_rows, err);
    if (status)
        vocab_free(v);
    else
        *out = v;
    return status;
}

void vocab_free(struct vocab *v) {
    if (!v) return;
    mem_free(v->tokens);
    mem_free(v->arena);
    text_map_free(&v->all);
    text_map_free(&v->plain);
    special_set_free(&v->added);
    special_set_free(&v->control);
    mem_free(v->merges);
    mem_free(v->merge_slots);
    mem_free(v);
}

/* ---- Questions ------------------------------------------------------------------------------- */

static const struct token *token(const struct vocab *v, int32_t id) {
    return id >= 0 && (size_t)id < v->n ? &v->tokens[id] : NULL;
}

size_t vocab_size(const struct vocab *v) { return v->n; }
int32_t vocab_bos(const struct vocab *v) { return v->bos; }
int32_t vocab_eos(const struct vocab *v) { return v->eos; }

bool vocab_ends(const struct vocab *v, int32_t id) {
    const struct token *t = token(v, id);
    return t && t->ends;
}

bool vocab_generable(const struct vocab *v, int32_t id) {
    const struct token *t = token(v, id);
    return t && t->generable;
}

const char *vocab_name(const struct vocab *v, int32_t id) {
    const struct token *t = token(v, id);
    return t ? t->name : NULL;
}

bool vocab_bytes(const struct vocab *v, int32_t id, bool special, const char **bytes, size_t *n) {
    const struct token *t = token(v, id);
    if (!t) return false;
    bool by_name = special && (t->type == TOKEN_CONTROL || t->type == TOKEN_UNKNOWN ||
                               t->type == TOKEN_UNUSED);
    *bytes = by_name ? t->name : t->bytes;
    *n = by_name ? t->n_name : t->n_bytes;
    return true;
}

int32_t vocab_find(const struct vocab *v, const char *text, size_t n) {
    return text_map_find(&v->all, &v->hash, text, n);
}

int32_t vocab_find_plain(const struct vocab *v, const char *text, size_t n) {
    return n <= v->plain_max ? text_map_find(&v->plain, &v->hash, text, n) : -1;
}
