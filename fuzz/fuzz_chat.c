/* Chat templates, names and conversations from fuzzed bytes over a small valid vocabulary. A prompt
 * must come out for every conversation that ends with the user, and no message may bring in a
 * control token. */
#include "../tests/vocab_builder.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool condition) {
    if (!condition) abort();
}

/* A NUL-terminated copy of the bytes up to the next NUL of the input; to be freed. */
static char *take_text(const uint8_t **data, size_t *n) {
    size_t n_text = strnlen((const char *)*data, *n);
    char *text = malloc(n_text + 1);
    require(text != NULL);
    memcpy(text, *data, n_text);
    text[n_text] = 0;
    *data += n_text;
    *n -= n_text;
    if (*n) ++*data, --*n;
    return text;
}

static size_t count_control(const struct vocab *v, const struct octet_tokens *tokens) {
    size_t n = 0;
    for (size_t i = 0; i < tokens->n; i++) {
        const char *bytes;
        size_t n_bytes;
        require(vocab_bytes(v, tokens->ids[i], false, &bytes, &n_bytes));
        n += n_bytes == 0;
    }
    return n;
}

static void check_chats(const struct vocab *v, const struct octet_message *messages, size_t n) {
    struct octet_message plain[8];
    for (size_t i = 0; i < n; i++) plain[i] = (struct octet_message){messages[i].role, "x"};
    for (size_t f = 0; octet_chat_format_name(f); f++) {
        struct octet_tokens out = {0}, same = {0};
        const char *format = octet_chat_format_name(f);
        require(chat_encode(v, format, messages, n, &out, NULL) == OCTET_OK);
        require(chat_encode(v, format, plain, n, &same, NULL) == OCTET_OK);
        require(count_control(v, &out) == count_control(v, &same));
        octet_tokens_free(&out);
        octet_tokens_free(&same);
    }
}

static void build_chat_vocab(struct builder *b, const char *template, const char *name) {
    static const char *const marks[] = {"[INST]", "[/INST]", "<|im_start|>", "<|im_end|>",
                                        "<|user|>"};
    struct vocab_list list;
    list_spm(&list);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) list_add(&list, marks[i], 0, 3);
    build_start(b);
    build_spm(b, &list);
    build_name(b, "general.name", name);
    build_name(b, "tokenizer.chat_template", template);
    build_finish(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const roles[] = {"system", "user", "assistant"};
    char *template = take_text(&data, &n), *name = take_text(&data, &n), *contents[8];
    struct octet_message messages[8];
    size_t n_messages = 0;
    while (n_messages < 7 && n > 0) {
        const char *role = roles[*data++ % 3];
        n--;
        contents[n_messages] = take_text(&data, &n);
        messages[n_messages] = (struct octet_message){role, contents[n_messages]};
        n_messages++;
    }
    contents[n_messages] = take_text(&data, &n);
    messages[n_messages] = (struct octet_message){"user", contents[n_messages]};
    n_messages++;

    struct builder b;
    struct gguf *g;
    struct vocab *v;
    build_chat_vocab(&b, template, name);
    require(gguf_parse("fuzz", b.bytes, b.n, &g, NULL) == OCTET_OK);
    require(vocab_load(g, 0, &v, NULL) == OCTET_OK);
    check_chats(v, messages, n_messages);
    if (chat_format(v)) {
        struct octet_tokens out = {0};
        require(chat_encode(v, NULL, messages, n_messages, &out, NULL) == OCTET_OK);
        octet_tokens_free(&out);
    }
    vocab_free(v);
    gguf_close(g);
    build_free(&b);
    for (size_t i = 0; i < n_messages; i++) free(contents[i]);
    free(template);
    free(name);
    return 0;
}
