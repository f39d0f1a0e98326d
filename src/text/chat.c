/* Chat formats: from messages to the tokens a model was trained on.
 *
 * Used where the file's own template can not be carried out (template_chat.h): its text then only
 * tells which of the built-in formats is meant. A prompt is made of tokens, not of one string:
 * marks that the format inserts become control tokens, everything else is encoded as plain text,
 * so no message can forge a mark (formats whose marks are plain text, such as mistral-v1, cannot
 * give that protection). */
#include <string.h>

#include "text/vocab_impl.h"

/* A prompt being written: text is collected up to the next control token and encoded as a whole. */
struct prompt {
    const struct vocab *v;
    char *text;
    size_t n_text, text_cap;
    struct octet_tokens *out;
    struct octet_err *err;
    enum octet_status status; // the first failure; later writes do nothing
};

struct chat {
    const struct octet_message *messages;
    size_t n;
    size_t last_user;
    const char *system; // all system messages, joined by empty lines; "" if none
    bool has_system;
};

typedef void (*render_fn)(struct prompt *p, const struct chat *chat);

struct chat_format {
    const char *name;
    render_fn render;
    bool always_bos; // even where the file does not ask for it
    const char *stops[3];
};

/* ---- Writing --------------------------------------------------------------------------------- */

static void put_bytes(struct prompt *p, const char *text, size_t n) {
    if (p->status) return;
    void *grown = p->text;
    if (!mem_reserve(&grown, &p->text_cap, p->n_text + n + 1, 1)) {
        p->status = octet_fail_memory(p->err, "a prompt", p->n_text + n + 1);
        return;
    }
    p->text = grown;
    memcpy(p->text + p->n_text, text, n);
    p->n_text += n;
}

static void put(struct prompt *p, const char *text) { put_bytes(p, text, strlen(text)); }

static void flush(struct prompt *p) {
    if (p->status || p->n_text == 0) return;
    p->status = vocab_encode(p->v, p->text, p->n_text, 0, p->out, p->err);
    p->n_text = 0;
}

static void put_id(struct prompt *p, int32_t id) {
    flush(p);
    if (p->status || id < 0) return;
    p->status = octet_tokens_push(p->out, id);
    if (p->status) octet_fail_memory(p->err, "a prompt", (p->out->n + 1) * sizeof id);
}

static bool is_mark(const struct vocab *v, int32_t id) {
    return id >= 0 && (v->tokens[id].type == TOKEN_CONTROL ||
                       v->tokens[id].type == TOKEN_USER_DEFINED);
}

/* A mark of the format: one token where the vocabulary has it, else text. */
static void put_mark(struct prompt *p, const char *name) {
    int32_t id = vocab_find(p->v, name, strlen(name));
    if (is_mark(p->v, id))
        put_id(p, id);
    else
        put(p, name);
}

/* A mark that only exists as a token. */
static void put_required_mark(struct prompt *p, const char *name) {
    int32_t id = vocab_find(p->v, name, strlen(name));
    if (is_mark(p->v, id))
        put_id(p, id);
    else if (!p->status)
        p->status = octet_fail(p->err, OCTET_EUNSUPPORTED,
                               "the chat format needs the token '%s', which the vocabulary lacks",
                               name);
}

static void put_stripped(struct prompt *p, const char *text) {
    static const char blank[] = " \t\r\n\v\f";
    text += strspn(text, blank);
    size_t n = strlen(text);
    while (n > 0 && strchr(blank, text[n - 1])) n--;
    put_bytes(p, text, n);
}

static bool is_role(const struct octet_message *m, const char *role) {
    return strcmp(m->role, role) == 0;
}

/* ---- Formats --------------------------------------------------------------------------------- */

/* Marks are words of the text; the system prompt goes into the first question. */
static void render_mistral_v1(struct prompt *p, const struct chat *chat) {
    bool first = true;
    for (size_t i = 0; i < chat->n; i++) {
        const struct octet_message *m = &chat->messages[i];
        if (is_role(m, "assistant")) {
            put(p, m->content);
            put_id(p, p->v->eos);
        } else if (is_role(m, "user")) {
            put(p, "[INST] ");
            if (first && chat->has_system) {
                put(p, chat->system);
                put(p, "\n\n");
            }
            put(p, m->content);
            put(p, " [/INST]");
            flush(p);
            first = false;
        }
    }
}

/* Marks are tokens; the system prompt goes into the last question. */
static void render_mistral_v3(struct prompt *p, const struct chat *chat) {
    for (size_t i = 0; i < chat->n; i++) {
        const struct octet_message *m = &chat->messages[i];
        if (is_role(m, "assistant")) {
            size_t n = strlen(m->content);
            while (n > 0 && m->content[n - 1] == ' ') n--;
            put_bytes(p, m->content, n);
            put_id(p, p->v->eos);
        } else if (is_role(m, "user")) {
            put_required_mark(p, "[INST]");
            if (i == chat->last_user && chat->has_system) {
                put(p, chat->system);
                put(p, "\n\n");
            }
            put(p, m->content);
            put_required_mark(p, "[/INST]");
        }
    }
}

static void render_llama_2(struct prompt *p, const struct chat *chat) {
    bool first = true;
    for (size_t i = 0; i < chat->n; i++) {
        const struct octet_message *m = &chat->messages[i];
        if (is_role(m, "assistant")) {
            put(p, " ");
            put_stripped(p, m->content);
            put(p, " ");
            put_id(p, p->v->eos);
            put_id(p, p->v->bos);
        } else if (is_role(m, "user")) {
            put(p, "[INST] ");
            if (first && chat->has_system) {
                put(p, "<<SYS>>\n");
                put_stripped(p, chat->system);
                put(p, "\n<</SYS>>\n\n");
            }
            put_stripped(p, m->content);
            put(p, " [/INST]");
            first = false;
        }
    }
}

static void render_zephyr(struct prompt *p, const struct chat *chat) {
    for (size_t i = 0; i < chat->n; i++) {
        const struct octet_message *m = &chat->messages[i];
        put_mark(p, is_role(m, "system") ? "<|system|>"
                    : is_role(m, "user") ? "<|user|>" : "<|assistant|>");
        put(p, "\n");
        put(p, m->content);
        put_id(p, p->v->eos);
        put(p, "\n");
    }
    put_mark(p, "<|assistant|>");
    put(p, "\n");
}

static void put_chatml(struct prompt *p, const char *role, const char *content) {
    put_mark(p, "<|im_start|>");
    put(p, role);
    put(p, "\n");
    put(p, content);
    put_mark(p, "<|im_end|>");
    put(p, "\n");
}

static void render_chatml(struct prompt *p, const struct chat *chat) {
    if (p->v->smollm_system && !is_role(&chat->messages[0], "system"))
        put_chatml(p, "system",
                   "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    for (size_t i = 0; i < chat->n; i++)
        put_chatml(p, chat->messages[i].role, chat->messages[i].content);
    put_mark(p, "<|im_start|>");
    put(p, "assistant\n");
}

/* Phi-2 knows no system prompt and no marks: names of the speakers at line starts. */
static void put_dialogue(struct prompt *p, const struct chat *chat, const char *user,
                         const char *assistant) {
    for (size_t i = 0; i < chat->n; i++) {
        const struct octet_message *m = &chat->messages[i];
        if (!is_role(m, "system")) {
            put(p, is_role(m, "user") ? user : assistant);
            put(p, " ");
        }
        put_stripped(p, m->content);
        put(p, "\n");
    }
    put(p, assistant);
}

static void render_phi_2_qa(struct prompt *p, const struct chat *chat) {
    put_dialogue(p, chat, "Instruct:", "Output:");
}

static void render_phi_2_chat(struct prompt *p, const struct chat *chat) {
    put_dialogue(p, chat, "Alice:", "Bob:");
}

static const struct chat_format formats[] = {
    {"mistral-v1", render_mistral_v1, true, {NULL}},
    {"mistral-v3", render_mistral_v3, true, {NULL}},
    {"llama-2", render_llama_2, true, {NULL}},
    {"zephyr", render_zephyr, false, {NULL}},
    {"chatml", render_chatml, false, {NULL}},
    {"phi-2-qa", render_phi_2_qa, false, {"\nInstruct:", "\nOutput:", NULL}},
    {"phi-2-chat", render_phi_2_chat, false, {"\nAlice:", "\nBob:", NULL}},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static const struct chat_format *find_format(const char *name) {
    for (size_t i = 0; i < N_FORMATS; i++)
        if (strcmp(formats[i].name, name) == 0) return &formats[i];
    return NULL;
}

/* ---- Detection ------------------------------------------------------------------------------- */

static bool contains(struct gguf_string s, const char *text) {
    return memmem(s.p, s.n, text, strlen(text)) != NULL;
}

static bool contains_word(struct gguf_string s, const char *lower) {
    size_t n = strlen(lower);
    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.p + i, lower, n) == 0) return true;
    return false;
}

/* The Mistral tokenizers from version 2 on have the marks as tokens. */
static const char *mistral_version(const struct vocab *v) {
    int32_t id = vocab_find(v, "[INST]", 6);
    return is_mark(v, id) ? "mistral-v3" : "mistral-v1";
}

static const char *format_of_template(const struct vocab *v, struct gguf_string t) {
    if (contains(t, "<|im_start|>")) // relatives of ChatML have further marks
        return contains(t, "<|im_sep|>") || contains(t, "<end_of_utterance>") ? NULL : "chatml";
    if (contains(t, "[INST]")) {
        if (contains(t, "[SYSTEM_PROMPT]")) return NULL; // Mistral v7
        bool llama = contains(t, "<<SYS>>") || contains(t, "content.strip()") ||
                     contains(t, "bos_token + '[INST]");
        return llama ? "llama-2" : mistral_version(v);
    }
    if (contains(t, "<|end|>") || contains(t, "[gMASK]") || contains(t, "<|tool_declare|>"))
        return NULL; // Phi-3, GLM, EXAONE
    return contains(t, "<|user|>") && contains(t, "<|assistant|>") && contains(t, "eos_token")
               ? "zephyr" : NULL;
}

static const char *format_of_name(const struct vocab *v, struct gguf_string name,
                                  struct gguf_string arch) {
    if (arch.n == 4 && memcmp(arch.p, "phi2", 4) == 0) return "phi-2-qa";
    bool mistral = contains_word(name, "mistral") || contains_word(name, "mixtral");
    return mistral && contains_word(name, "instruct") ? mistral_version(v) : NULL;
}

void chat_detect(struct vocab *v, struct gguf_string template, struct gguf_string name,
                 struct gguf_string arch, struct gguf_string pre) {
    const char *format =
        template.n ? format_of_template(v, template) : format_of_name(v, name, arch);
    v->chat = format ? find_format(format) : NULL;
    // SmolLM2's template has a system prompt built in, that of the first SmolLM has none.
    bool smollm = pre.n == 6 && memcmp(pre.p, "smollm", 6) == 0;
    v->smollm_system = smollm && (template.n == 0 || contains(template, "named SmolLM"));
}

/* ---- Encoding -------------------------------------------------------------------------------- */

const char *chat_format(const struct vocab *v) { return v->chat ? v->chat->name : NULL; }

const char *octet_chat_format_name(size_t i) { return i < N_FORMATS ? formats[i].name : NULL; }

static const struct chat_format *choose_format(const struct vocab *v, const char *format) {
    return format ? find_format(format) : v->chat;
}

const char *chat_stop(const struct vocab *v, const char *format, size_t i) {
    const struct chat_format *f = choose_format(v, format);
    for (size_t k = 0; f && f->stops[k]; k++)
        if (k == i) return f->stops[k];
    return NULL;
}

static enum octet_status check_messages(const struct octet_message *messages, size_t n,
                                        struct chat *chat, struct octet_err *err) {
    const char *last = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct octet_message *m = &messages[i];
        if (!m->role || !m->content)
            return octet_fail(err, OCTET_EARG, "message %zu: no %s", i,
                              m->role ? "content" : "role");
        bool system = is_role(m, "system"), user = is_role(m, "user");
        if (!system && !user && !is_role(m, "assistant"))
            return octet_fail(err, OCTET_EARG,
                              "message %zu: role: expected system, user or assistant, found "
                              "'%.40s'", i, m->role);
        if (!system) last = m->role;
        if (user) chat->last_user = i;
    }
    if (last && strcmp(last, "user") == 0) return OCTET_OK;
    return octet_fail(err, OCTET_EARG, "messages: expected the last one to be the user's, found %s",
                      last ? "the assistant's" : "none of either");
}

/* The system messages, joined; to be freed. */
static char *join_system(const struct chat *chat) {
    size_t n_bytes = 1;
    for (size_t i = 0; i < chat->n; i++)
        if (is_role(&chat->messages[i], "system")) n_bytes += strlen(chat->messages[i].content) + 2;
    char *joined = mem_alloc(n_bytes), *p = joined;
    for (size_t i = 0; joined && i < chat->n; i++) {
        const struct octet_message *m = &chat->messages[i];
        if (!is_role(m, "system")) continue;
        if (p > joined) p = stpcpy(p, "\n\n");
        p = stpcpy(p, m->content);
    }
    return joined;
}

enum octet_status chat_encode(const struct vocab *v, const char *format,
                              const struct octet_message *messages, size_t n_messages,
                              struct octet_tokens *out, struct octet_err *err) {
    const struct chat_format *f = choose_format(v, format);
    if (!f && format)
        return octet_fail(err, OCTET_EARG, "chat format '%.40s' is not known", format);
    if (!f)
        return octet_fail(err, OCTET_EUNSUPPORTED,
                          "the model's file asks for no chat format that is known: choose one");
    struct chat chat = {messages, n_messages, 0, NULL, false};
    enum octet_status status = check_messages(messages, n_messages, &chat, err);
    if (status) return status;
    char *system = join_system(&chat);
    if (!system) return octet_fail_memory(err, "the system prompt", 1);
    chat.system = system;
    chat.has_system = *system != 0;

    size_t n_before = out->n;
    struct prompt p = {.v = v, .out = out, .err = err};
    if (f->always_bos || v->add_bos) put_id(&p, v->bos);
    f->render(&p, &chat);
    flush(&p);
    if (p.status) out->n = n_before;
    mem_free(p.text);
    mem_free(system);
    return p.status;
}
