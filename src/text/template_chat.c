/* See template_chat.h.
 *
 * A rendered prompt is one text in which names of control tokens become those tokens. So that no
 * message can forge one, such names in what the caller gives get a guard in front before the
 * template runs: a character of Unicode's that stands for nothing and that occurs nowhere else in
 * it. A name behind a guard stays text, and the guards are left out of what becomes tokens. */
#include "text/template_chat.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/status.h"
#include "text/template_shape.h"
#include "text/vocab_impl.h"

struct template_chat {
    const struct vocab *vocab;
    struct octet_template *plain, *tooled; // TOOLED: for requests with tools; NULL: as PLAIN
    bool works, tools;
    struct call_shape calls;
    enum bend bend; // the first to try
    char *problem;
};

/* ---- Guards ---------------------------------------------------------------------------------- */

enum { GUARD_BYTES = 3, N_GUARDS = 32 };

/* One of the noncharacters U+FDD0 to U+FDEF that TEXT does not hold. */
static bool choose_guard(const char *text, char *guard) {
    for (int i = 0; i < N_GUARDS; i++) {
        const char candidate[GUARD_BYTES + 1] = {'\xef', '\xb7', (char)(0x90 + i), 0};
        memcpy(guard, candidate, sizeof candidate);
        if (!strstr(text, guard)) return true;
    }
    return false;
}

static bool put(struct buffer *out, const char *bytes, size_t n) {
    return buffer_append(out, bytes, n);
}

/* TEXT with a guard before every name of a control token, also before those within others. */
static bool guard_text(const struct vocab *v, const char *guard, const char *text, size_t n,
                       struct buffer *out) {
    const struct special *found;
    size_t at, from = 0;
    bool fine = put(out, "", 0);
    for (size_t seek = 0; fine && special_find(&v->control, text, n, seek, &at, &found);
         seek = at + 1) {
        const bool inside = ((unsigned char)text[at] & 0xc0) == 0x80; // of a character
        if (inside || v->tokens[found->id].type == TOKEN_USER_DEFINED) continue;
        fine = put(out, text + from, at - from) && put(out, guard, GUARD_BYTES);
        from = at;
    }
    return fine && put(out, text + from, n - from);
}

static json_t *guard_json(const struct vocab *v, const char *guard, const json_t *json);

static json_t *guard_object(const struct vocab *v, const char *guard, json_t *json) {
    json_t *const out = json_object();
    const char *key;
    const json_t *value;
    bool fine = out != NULL;
    json_object_foreach(json, key, value) {
        struct buffer name = {NULL, 0, 0};
        fine = fine && guard_text(v, guard, key, strlen(key), &name) &&
               json_object_set_new(out, name.bytes, guard_json(v, guard, value)) == 0;
        buffer_free(&name);
    }
    if (fine) return out;
    json_decref(out);
    return NULL;
}

static json_t *guard_list(const struct vocab *v, const char *guard, const json_t *json) {
    json_t *const out = json_array();
    size_t i;
    const json_t *value;
    bool fine = out != NULL;
    json_array_foreach(json, i, value) {
        fine = fine && json_array_append_new(out, guard_json(v, guard, value)) == 0;
    }
    if (fine) return out;
    json_decref(out);
    return NULL;
}

/* A copy; NULL: out of memory. As deep as jansson reads. */
static json_t *guard_json(const struct vocab *v, const char *guard, const json_t *json) {
    if (json_is_object(json)) return guard_object(v, guard, (json_t *)(uintptr_t)json);
    if (json_is_array(json)) return guard_list(v, guard, json);
    if (!json_is_string(json)) return json_deep_copy(json);
    struct buffer text = {NULL, 0, 0};
    json_t *const out =
        guard_text(v, guard, json_string_value(json), json_string_length(json), &text)
            ? json_stringn(text.bytes, text.n)
            : NULL;
    buffer_free(&text);
    return out;
}

/* ---- To tokens ------------------------------------------------------------------------------- */

struct rendered {
    char *text; // octet_text_free
    size_t n;
    char guard[GUARD_BYTES + 1];
};

/* The text between two control tokens. Where the vocabulary puts a blank before every text, a blank
 * that the template has there is that one: it is how the template spells what the tokens say. */
static enum octet_status encode_between(const struct vocab *v, const struct rendered *r,
                                        size_t from, size_t to, struct octet_tokens *out,
                                        struct octet_err *err) {
    struct buffer plain = {NULL, 0, 0};
    bool fine = true;
    if (!v->is_bpe && v->space_prefix && to > from && r->text[from] == ' ') from++;
    while (fine && from < to) {
        const char *const guard = memmem(r->text + from, to - from, r->guard, GUARD_BYTES);
        const size_t n = guard ? (size_t)(guard - r->text) - from : to - from;
        fine = put(&plain, r->text + from, n);
        from += n + (guard ? GUARD_BYTES : 0);
    }
    const enum octet_status status =
        fine ? vocab_encode(v, plain.bytes, plain.n, 0, out, err)
             : octet_fail_memory(err, "a prompt", to - from);
    buffer_free(&plain);
    return status;
}

static bool is_guarded(const struct rendered *r, size_t at) {
    return at >= GUARD_BYTES && memcmp(r->text + at - GUARD_BYTES, r->guard, GUARD_BYTES) == 0;
}

static enum octet_status push_token(struct octet_tokens *out, int32_t id, struct octet_err *err) {
    if (octet_tokens_push(out, id) == OCTET_OK) return OCTET_OK;
    return octet_fail_memory(err, "a prompt", (out->n + 1) * sizeof id);
}

static enum octet_status encode_rendered(const struct vocab *v, const struct rendered *r,
                                         struct octet_tokens *out, struct octet_err *err) {
    const struct special *found;
    size_t at, from = 0;
    enum octet_status status = OCTET_OK;
    for (size_t seek = 0; !status && special_find(&v->control, r->text, r->n, seek, &at, &found);) {
        seek = at + 1;
        if (v->tokens[found->id].type == TOKEN_USER_DEFINED || is_guarded(r, at)) continue;
        if (out->n == 0 && v->add_bos && v->bos >= 0 && found->id != v->bos)
            status = push_token(out, v->bos, err); // templates that leave BOS to the tokenizer
        if (!status && at > from) status = encode_between(v, r, from, at, out, err);
        if (!status) status = push_token(out, found->id, err);
        from = seek = at + found->n;
    }
    if (!status && out->n == 0 && v->add_bos && v->bos >= 0) status = push_token(out, v->bos, err);
    if (!status && r->n > from) status = encode_between(v, r, from, r->n, out, err);
    return status;
}

/* ---- Rendering ------------------------------------------------------------------------------- */

static bool set_token(const struct vocab *v, json_t *variables, const char *name, int32_t id) {
    const char *const text = vocab_name(v, id);
    json_t *const json = json_string(text ? text : "");
    return json_object_set_new(variables, name, json ? json : json_string("")) == 0;
}

/* What the template gets for VARIABLES: NULL, out of memory. */
static json_t *prepare(const struct template_chat *chat, const json_t *variables, enum bend bend,
                       const char *guard) {
    json_t *const bent = shape_bend(json_object_get(variables, "messages"), bend);
    json_t *const shaped = json_copy((json_t *)(uintptr_t)variables);
    bool fine = bent && shaped && shape_calls(bent, &chat->calls);
    fine = fine && json_object_set(shaped, "messages", bent) == 0;
    json_t *const out = fine ? guard_json(chat->vocab, guard, shaped) : NULL;
    json_decref(bent);
    json_decref(shaped);
    fine = out && set_token(chat->vocab, out, "bos_token", chat->vocab->bos) &&
           set_token(chat->vocab, out, "eos_token", chat->vocab->eos) &&
           json_object_set_new(out, "add_generation_prompt", json_true()) == 0;
    if (fine) return out;
    json_decref(out);
    return NULL;
}

static enum octet_status render_bent(const struct template_chat *chat, const json_t *variables,
                                     enum bend bend, struct rendered *r, struct octet_err *err) {
    const bool tooled = chat->tooled && json_array_size(json_object_get(variables, "tools")) > 0;
    json_t *const prepared = prepare(chat, variables, bend, r->guard);
    char *const text = prepared ? json_dumps(prepared, JSON_COMPACT) : NULL;
    const enum octet_status status =
        text ? octet_template_render(tooled ? chat->tooled : chat->plain, text, strlen(text),
                                     &r->text, &r->n, err)
             : octet_fail_memory(err, "a conversation", 0);
    free(text);
    json_decref(prepared);
    return status;
}

/* The first bend that the template takes; of failures the first is told. */
static enum octet_status render(const struct template_chat *chat, const json_t *variables,
                                struct rendered *r, struct octet_err *err) {
    char *const text = json_dumps(variables, JSON_COMPACT);
    if (!text) return octet_fail_memory(err, "a conversation", 0);
    const bool guarded = choose_guard(text, r->guard);
    free(text);
    if (!guarded)
        return octet_fail(err, OCTET_EARG, "messages: they hold every one of the characters "
                          "U+FDD0 to U+FDEF, which stand for nothing");
    enum octet_status status = render_bent(chat, variables, chat->bend, r, err);
    for (enum bend bend = chat->bend + 1; status == OCTET_EARG && bend < N_BENDS; bend++) {
        const enum octet_status again = render_bent(chat, variables, bend, r, NULL);
        if (again != OCTET_EARG) return again == OCTET_OK ? again : status;
    }
    return status;
}

enum octet_status template_chat_encode(const struct template_chat *chat, const char *variables,
                                       size_t n_bytes, struct octet_tokens *out,
                                       struct octet_err *err) {
    json_error_t why;
    json_t *const json = json_loadb(variables, n_bytes, 0, &why);
    struct rendered r = {0};
    enum octet_status status;
    if (!json_is_array(json_object_get(json, "messages")))
        status = octet_fail(err, OCTET_EARG, "a conversation: it is no JSON object with a list of "
                            "'messages'");
    else
        status = render(chat, json, &r, err);
    const size_t n_before = out->n;
    struct octet_tokens tokens = {NULL, 0, 0};
    if (!status) status = encode_rendered(chat->vocab, &r, &tokens, err);
    for (size_t i = 0; i < tokens.n && !status; i++) status = push_token(out, tokens.ids[i], err);
    if (status) out->n = n_before;
    octet_tokens_free(&tokens);
    octet_text_free(r.text);
    json_decref(json);
    return status;
}

/* ---- Finding out ----------------------------------------------------------------------------- */

/* Whether the conversation MESSAGES (JSON; with a tool, if TOOLS) can be rendered so that the texts
 * come out. Anything but EMEM and OK means no. */
static enum octet_status try(const struct template_chat *chat, const char *messages, bool tools,
                             const char *const *texts, struct octet_err *err) {
    static const char tool[] =
        "[{\"type\": \"function\", \"function\": {\"name\": \"octet_tool\", \"description\": "
        "\"Tries.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"octet_key\": "
        "{\"type\": \"string\", \"description\": \"A word.\"}}, \"required\": [\"octet_key\"]}}}]";
    json_t *const variables = json_object();
    struct rendered r = {0};
    json_object_set_new(variables, "messages", json_loads(messages, 0, NULL));
    if (tools) json_object_set_new(variables, "tools", json_loads(tool, 0, NULL));
    enum octet_status status = OCTET_OK;
    if (json_object_size(variables) != 1 + (size_t)tools)
        status = octet_fail_memory(err, "a conversation", 0);
    const bool guarded = choose_guard("", r.guard);
    octet_assert(guarded);
    if (!status) status = render_bent(chat, variables, chat->bend, &r, err);
    for (; !status && *texts; texts++)
        if (!memmem(r.text, r.n, *texts, strlen(*texts)))
            status = octet_fail(err, OCTET_EARG, "chat template: it leaves out what messages say");
    octet_text_free(r.text);
    json_decref(variables);
    return status;
}

static const char question[] = "[{\"role\": \"user\", \"content\": \"octet_question\"}]";
static const char instructed[] = "[{\"role\": \"system\", \"content\": \"octet_system\"}, "
                                 "{\"role\": \"user\", \"content\": \"octet_question\"}]";
static const char late[] =
    "[{\"role\": \"system\", \"content\": \"octet_system\"}, {\"role\": \"user\", \"content\": "
    "\"octet_question\"}, {\"role\": \"assistant\", \"content\": \"octet_answer\"}, {\"role\": "
    "\"system\", \"content\": \"octet_late\"}, {\"role\": \"user\", \"content\": "
    "\"octet_question\"}]";

#define CALLED(id)                                                                                 \
    "[{\"role\": \"user\", \"content\": \"octet_question\"}, {\"role\": \"assistant\", "           \
    "\"content\": \"\", \"tool_calls\": [{\"id\": \"" id "\", \"type\": \"function\", "            \
    "\"function\": {\"name\": \"octet_tool\", \"arguments\": {\"octet_key\": \"octet_value\"}}}]"  \
    "}, {\"role\": \"tool\", \"tool_call_id\": \"" id "\", \"name\": \"octet_tool\", "             \
    "\"content\": \"octet_result\"}]"

/* The shape of calls that this template takes; OK with TOOLS false: none. */
static enum octet_status find_call_shape(struct template_chat *chat, struct octet_err *err) {
    static const char *const told[] = {"octet_tool", "octet_question", NULL};
    static const char *const called[] = {"\"octet_key\"", "octet_value", "octet_result", NULL};
    enum octet_status status = try(chat, question, true, told, err);
    if (status) return status;
    for (int i = 0; i < 4; i++) {
        chat->calls = (struct call_shape){.text_arguments = i & 2, .null_content = i & 1};
        status = try(chat, CALLED("octetID01"), true, called, err);
        if (status == OCTET_OK || status == OCTET_EMEM) break;
    }
    if (status) {
        chat->calls = (struct call_shape){0};
        return status;
    }
    chat->tools = true;
    status = try(chat, CALLED("call_of_octet"), true, called, err);
    chat->calls.short_ids = status != OCTET_OK;
    return status;
}

static enum octet_status find_out(struct template_chat *chat, struct octet_err *err) {
    static const char *const asked[] = {"octet_question", NULL};
    static const char *const told[] = {"octet_system", "octet_question", NULL};
    enum octet_status status = try(chat, question, false, asked, err);
    if (status) return status;
    chat->works = true;
    struct octet_err ignored;
    status = try(chat, instructed, false, told, &ignored);
    if (status && status != OCTET_EMEM) {
        chat->bend = BEND_USER;
    } else if (!status) {
        static const char *const last[] = {"octet_system", "octet_late", NULL};
        status = try(chat, late, false, last, &ignored);
        if (status && status != OCTET_EMEM) chat->bend = BEND_FRONT;
    }
    if (status != OCTET_EMEM) status = find_call_shape(chat, &ignored);
    return status == OCTET_EMEM ? octet_fail_memory(err, "a chat template", 0) : OCTET_OK;
}

static enum octet_status open_named(const struct template_set *set, const char *name,
                                    struct octet_template **out, struct octet_err *err) {
    const char *const source = template_set_find(set, name);
    return source ? octet_template_open(source, strlen(source), out, err) : OCTET_OK;
}

enum octet_status template_chat_open(const struct template_set *set, const struct vocab *v,
                                     struct template_chat **out, struct octet_err *err) {
    struct octet_err why;
    struct template_chat *const chat = *out = mem_alloc(sizeof *chat);
    if (!chat) return octet_fail_memory(err, "a chat template", sizeof *chat);
    chat->vocab = v;
    enum octet_status status = open_named(set, "default", &chat->plain, &why);
    if (!status && chat->plain) {
        status = open_named(set, "tool_use", &chat->tooled, &why);
        if (status == OCTET_EFORMAT) status = OCTET_OK; // the other will do
    }
    if (!status && chat->plain) status = find_out(chat, &why);
    if (status && status != OCTET_EMEM) {
        chat->problem = mem_strdup(why.message, strlen(why.message));
        if (chat->problem) return OCTET_OK;
        status = OCTET_EMEM;
    }
    if (!status) return OCTET_OK;
    template_chat_free(chat);
    *out = NULL;
    return octet_fail_memory(err, "a chat template", 0);
}

void template_chat_free(struct template_chat *chat) {
    if (!chat) return;
    octet_template_close(chat->plain);
    octet_template_close(chat->tooled);
    mem_free(chat->problem);
    mem_free(chat);
}

bool template_chat_works(const struct template_chat *chat) { return chat->works; }
bool template_chat_tools(const struct template_chat *chat) { return chat->tools; }
const char *template_chat_problem(const struct template_chat *chat) { return chat->problem; }
