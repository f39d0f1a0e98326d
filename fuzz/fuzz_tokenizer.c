/* Vocabularies and texts from fuzzed bytes. Input that begins as a GGUF file is loaded as it is;
 * any other becomes the names, types, scores and merges of a vocabulary, so that the fuzzer gets
 * past the container. Whatever loads must encode any text to ids of its own. */
#include "../tests/vocab_builder.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool condition) {
    if (!condition) abort();
}

static void check_encoding(const struct vocab *v, const char *text, size_t n) {
    for (unsigned flags = 0; flags < 4; flags++) {
        struct octet_tokens out = {0};
        enum octet_status status = vocab_encode(v, text, n, flags, &out, NULL);
        require(status == OCTET_OK || status == OCTET_EMEM);
        for (size_t i = 0; i < out.n; i++) {
            const char *bytes;
            size_t n_bytes;
            require(vocab_bytes(v, out.ids[i], flags & 1, &bytes, &n_bytes));
            require(vocab_name(v, out.ids[i]) != NULL);
        }
        octet_tokens_free(&out);
    }
}

static void check_vocab(const struct gguf *g, const char *text, size_t n) {
    struct octet_err err;
    struct vocab *v;
    if (vocab_load(g, 0, &v, &err) != OCTET_OK) {
        require(v == NULL);
        return;
    }
    require(vocab_bos(v) < (int32_t)vocab_size(v) && vocab_eos(v) < (int32_t)vocab_size(v));
    check_encoding(v, text, n);
    static const char fixed[] = "  Hello, w\xc3\xb6rld! 123 </s> don't \xff\n\n";
    check_encoding(v, fixed, sizeof fixed);
    check_encoding(v, NULL, 0);
    vocab_free(v);
}

/* The next line of at most 23 bytes. */
static size_t take_line(const uint8_t **data, size_t *n, char *line) {
    size_t n_line = 0;
    for (; *n > 0; ++*data, --*n) {
        if (**data == '\n') {
            ++*data, --*n;
            break;
        }
        if (n_line < 23) line[n_line++] = (char)**data;
    }
    line[n_line] = 0;
    return n_line;
}

/* First byte: family and how many merges; then one line per token, the first character of each
 * telling its type and score; then the merges. The rest is the text. */
static void build_from(struct builder *b, const uint8_t **data, size_t *n) {
    unsigned head = *n ? **data : 0;
    bool bpe = head & 1;
    struct vocab_list list;
    if (*n) ++*data, --*n;
    if (bpe)
        list_bpe(&list);
    else
        list_spm(&list);
    for (size_t n_tokens = head >> 4; n_tokens > 0 && *n > 0; n_tokens--) {
        char line[24];
        size_t n_line = take_line(data, n, line), i = list.n;
        unsigned kind = (unsigned char)line[0];
        list_add(&list, "", (float)(kind >> 3), (int32_t)(kind & 7));
        list.n_name[i] = n_line ? n_line - 1 : 0;
        memcpy(list.names[i], line + 1, list.n_name[i]);
    }
    build_name(b, "tokenizer.ggml.model", bpe ? "gpt2" : "llama");
    build_name(b, "tokenizer.ggml.pre", head & 2 ? "smollm" : "phi-2");
    build_tokens(b, &list);
    build_types(b, &list);
    build_scores(b, &list);
    char lines[8][24];
    const char *merges[8];
    size_t n_merges = 0;
    for (; bpe && n_merges < (head >> 2 & 3); n_merges++) {
        take_line(data, n, lines[n_merges]);
        merges[n_merges] = lines[n_merges];
    }
    build_merges(b, merges, n_merges);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct octet_err err;
    struct gguf *g;
    if (n >= 4 && memcmp(data, "GGUF", 4) == 0) {
        if (gguf_parse("fuzz", data, n, &g, &err) != OCTET_OK) return 0;
        check_vocab(g, (const char *)data, n);
        gguf_close(g);
        return 0;
    }
    struct builder b;
    build_start(&b);
    build_from(&b, &data, &n);
    build_finish(&b);
    require(gguf_parse("fuzz", b.bytes, b.n, &g, &err) == OCTET_OK);
    check_vocab(g, (const char *)data, n);
    gguf_close(g);
    build_free(&b);
    return 0;
}
