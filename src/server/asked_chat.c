/* Conversations: from the messages of a request, as OpenAI's chat API has them, to a prompt.
 * Dialects that have others make such messages of theirs first. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/asked.h"
#include "server/tools.h"

char *asked_content(struct body *body, const json_t *content) {
    struct buffer text = {NULL, 0, 0};
    bool fine = buffer_append(&text, "", 0);
    size_t i;
    const json_t *part;
    if (json_is_string(content))
        fine &= buffer_append(&text, json_string_value(content), json_string_length(content));
    else if (content && !json_is_null(content) && !json_is_array(content))
        body_complain(body, "a message's 'content' is neither a string nor a list of parts");
    json_array_foreach(content, i, part) {
        const json_t *const inner = json_object_get(part, "text");
        if (json_is_string(inner))
            fine &= buffer_append(&text, json_string_value(inner), json_string_length(inner));
        else
            body_complain(body, "a message holds a part that is no text, which this model cannot "
                                "read");
    }
    if (!fine) body_complain(body, "out of memory");
    if (fine) return text.bytes;
    buffer_free(&text);
    return NULL;
}

void asked_system(struct body *body, const json_t *content) {
    json_t *const list = json_object_get(body->json, "messages");
    if (!content || !json_is_array(list)) return;
    json_t *const message =
        json_pack("{s:s, s:O}", "role", "system", "content", (json_t *)(uintptr_t)content);
    if (json_array_insert_new(list, 0, message) != 0) body_complain(body, "out of memory");
}

/* ---- Messages ------------------------------------------------------------------------------- */

static const char *text_at(const json_t *object, const char *key) {
    const char *const text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_role(const json_t *message, const char *role) {
    return strcmp(text_at(message, "role"), role) == 0;
}

static const char *plain_role(struct body *body, const char *role) {
    static const char *const known[] = {"system", "user", "assistant", "tool"};
    if (role && strcmp(role, "developer") == 0) return "system";
    if (role && strcmp(role, "function") == 0) return "tool";
    for (size_t i = 0; role && i < sizeof known / sizeof *known; i++)
        if (strcmp(role, known[i]) == 0) return known[i];
    body_complain(body, "a message's 'role' is not system, user, assistant or tool");
    return "user";
}

/* An object of the caller's: the arguments of a call, which are JSON in a string or the object. */
static json_t *read_arguments(struct body *body, const json_t *value) {
    const char *const text = json_string_value(value);
    json_t *const out = !value || json_is_null(value) || (text && text[strspn(text, " \n")] == 0)
                            ? json_object()
                        : text ? json_loads(text, 0, NULL)
                               : json_incref((json_t *)(uintptr_t)value);
    if (json_is_object(out)) return out;
    body_complain(body, "'tool_calls': the arguments of a call are no JSON object");
    json_decref(out);
    return json_object();
}

/* N: how many calls there were before, for those that come without an id. */
static json_t *read_call(struct body *body, const json_t *call, size_t n) {
    const json_t *const function = json_object_get(call, "function");
    const char *id = text_at(call, "id"), *const name = text_at(function, "name");
    char made[32];
    snprintf(made, sizeof made, "call%05zu", n);
    if (!id[0]) id = made;
    if (!name[0]) body_complain(body, "'tool_calls': a call names no function");
    json_t *const arguments = read_arguments(body, json_object_get(function, "arguments"));
    return json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id, "type", "function", "function", "name",
                     name, "arguments", arguments);
}

static json_t *read_calls(struct body *body, const json_t *list, size_t n) {
    json_t *const out = json_array();
    size_t i;
    const json_t *call;
    json_array_foreach(list, i, call) json_array_append_new(out, read_call(body, call, n + i));
    if (json_array_size(out) != json_array_size(list)) body_complain(body, "out of memory");
    return out;
}

/* The call that MESSAGE, which comes after LIST, is the result of: by its id, else by its name,
 * else the first that has no result yet. NULL: none. */
static const json_t *find_call(const json_t *list, const json_t *message) {
    const char *const id = text_at(message, "tool_call_id");
    const char *name = text_at(message, "name");
    if (!name[0]) name = text_at(message, "tool_name");
    size_t n_after = 0;
    for (size_t i = json_array_size(list); i-- > 0;) {
        const json_t *const before = json_array_get(list, i);
        const json_t *const calls = json_object_get(before, "tool_calls");
        n_after += is_role(before, "tool");
        if (!id[0] && calls && !name[0]) return json_array_get(calls, n_after);
        size_t k;
        const json_t *call;
        json_array_foreach(calls, k, call) {
            if (id[0] ? strcmp(text_at(call, "id"), id) == 0
                      : strcmp(text_at(json_object_get(call, "function"), "name"), name) == 0)
                return call;
        }
    }
    return NULL;
}

/* "tool_call_id" and "name" of a result, of which some clients send only one. */
static void name_result(struct body *body, const json_t *list, const json_t *message,
                        json_t *out) {
    const json_t *const call = find_call(list, message);
    const char *id = text_at(message, "tool_call_id");
    const char *name = text_at(json_object_get(call, "function"), "name");
    if (!id[0]) id = text_at(call, "id");
    if (!name[0]) name = text_at(message, "name");
    if (!call && !id[0])
        body_complain(body, "a message of role 'tool' is the result of no call that came before");
    if (json_object_set_new(out, "tool_call_id", json_string(id)) != 0 ||
        json_object_set_new(out, "name", json_string(name)) != 0)
        body_complain(body, "out of memory");
}

static bool add_message(struct body *body, json_t *list, const json_t *message, size_t *n_calls) {
    const char *const role = plain_role(body, json_string_value(json_object_get(message, "role")));
    const json_t *const calls = json_object_get(message, "tool_calls");
    char *const content = asked_content(body, json_object_get(message, "content"));
    json_t *const out =
        content ? json_pack("{s:s, s:s}", "role", role, "content", content) : NULL;
    mem_free(content);
    if (json_array_size(calls) > 0) {
        json_object_set_new(out, "tool_calls", read_calls(body, calls, *n_calls));
        *n_calls += json_array_size(calls);
    }
    if (is_role(out, "tool")) name_result(body, list, message, out);
    return json_array_append_new(list, out) == 0;
}

/* At least one is to be of somebody who asks: not every template refuses to go without. */
static json_t *read_messages(struct body *body, const json_t *from) {
    json_t *const list = json_array();
    size_t i, n_calls = 0, n_said = 0;
    const json_t *message;
    json_array_foreach(from, i, message) {
        if (body->wrong[0]) break;
        if (!add_message(body, list, message, &n_calls)) body_complain(body, "out of memory");
        n_said += !is_role(json_array_get(list, json_array_size(list) - 1), "system");
    }
    if (n_said == 0) body_complain(body, "'messages' holds none of the user's");
    return list;
}

/* ---- Models whose template writes no tools --------------------------------------------------- */

/* Adds TEXT, taken over, to the message's content. */
static void add_content(struct body *body, json_t *message, char *text) {
    struct buffer all = {NULL, 0, 0};
    const char *const content = text_at(message, "content");
    const bool fine = text && buffer_append_text(&all, content) &&
                      (!content[0] || buffer_append_text(&all, "\n")) &&
                      buffer_append_text(&all, text);
    if (!fine || json_object_set_new(message, "content", json_stringn(all.bytes, all.n)) != 0)
        body_complain(body, "out of memory");
    buffer_free(&all);
    mem_free(text);
}

/* Calls and results as texts of the assistant and of the user. */
static void tell_calls(struct body *body, json_t *list) {
    size_t i, k;
    json_t *message;
    const json_t *call;
    json_array_foreach(list, i, message) {
        json_array_foreach(json_object_get(message, "tool_calls"), k, call) {
            const json_t *const function = json_object_get(call, "function");
            add_content(body, message,
                        tools_told_call(text_at(function, "name"),
                                        json_object_get(function, "arguments")));
        }
        json_object_del(message, "tool_calls");
        if (!is_role(message, "tool")) continue;
        char *const told = tools_told_result(text_at(message, "content"));
        if (!told || json_object_set_new(message, "content", json_string(told)) != 0 ||
            json_object_set_new(message, "role", json_string("user")) != 0)
            body_complain(body, "out of memory");
        mem_free(told);
    }
}

static void teach(struct body *body, json_t *list, const struct tools *tools) {
    if (!is_role(json_array_get(list, 0), "system") &&
        json_array_insert_new(list, 0, json_pack("{s:s, s:s}", "role", "system", "content", "")))
        body_complain(body, "out of memory");
    else
        add_content(body, json_array_get(list, 0), tools_lesson(tools));
}

/* ---- Prompts --------------------------------------------------------------------------------- */

static void add_prompt(struct body *body, const struct octet_model *model, const char *text,
                       unsigned flags, struct job *job) {
    struct octet_err err;
    if (octet_tokenize(model, text, strlen(text), flags, &job->prompt, &err) != OCTET_OK)
        body_complain(body, "%.180s", err.message);
}

/* Texts that can not fit anyway are not read to their end, which would take long; enough is left to
 * be refused. */
static void clip(const struct lane *lane, json_t *list) {
    size_t i, room = lane_most_bytes(lane) + 4; // a character may be cut off
    json_t *message;
    json_array_foreach(list, i, message) {
        const char *const content = text_at(message, "content");
        const size_t n = strlen(content);
        size_t kept = n < room ? n : room;
        while (kept < n && kept > 0 && ((unsigned char)content[kept] & 0xC0) == 0x80) kept--;
        if (kept < n) json_object_set_new(message, "content", json_stringn(content, kept));
        room -= kept;
    }
}

/* The list without a last message of the assistant's, which the answer goes on with. */
static json_t *take_begun(json_t *list) {
    const size_t n = json_array_size(list);
    json_t *const last = json_array_get(list, n - 1);
    if (n == 0 || !is_role(last, "assistant") || json_object_get(last, "tool_calls")) return NULL;
    json_incref(last);
    json_array_remove(list, n - 1);
    return last;
}

static void encode(struct body *body, const struct lane *lane, struct job *job, json_t *list) {
    const struct octet_model *const model = lane_model(lane);
    const char *const format = octet_chat_format(model) ? NULL : "chatml";
    json_t *const begun = take_begun(list);
    json_t *const variables = json_pack("{s:O}", "messages", list);
    if (job->tools && !job->tools->taught)
        json_object_set(variables, "tools", job->tools->list);
    char *const text = json_dumps(variables, JSON_COMPACT);
    struct octet_err err;
    if (!text)
        body_complain(body, "out of memory");
    else if (octet_chat_encode_json(model, format, text, strlen(text), &job->prompt, &err) !=
             OCTET_OK)
        body_complain(body, "%.180s", err.message);
    if (begun) add_prompt(body, model, text_at(begun, "content"), 0, job);
    const char *stop;
    // A grammar ends its texts itself, and may have such a string inside.
    for (size_t i = 0; !job->grammar && (stop = octet_chat_stop(model, format, i)) != NULL; i++)
        if (!job_add_stop(job, stop)) body_complain(body, "'stop' holds too many");
    free(text);
    json_decref(variables);
    json_decref(begun);
}

/* An answer that has to be a call is held to that; the prompt opens it. */
static void require_call(struct body *body, struct lane *lane, struct job *job) {
    json_t *const schema = tools_schema(job->tools);
    octet_grammar_close(job->grammar); // of texts, of which there will be none
    job->grammar = NULL;
    if (schema)
        asked_schema(body, schema, lane, job);
    else
        body_complain(body, "out of memory");
    json_decref(schema);
}

void asked_chat(struct body *body, const char *key, struct lane *lane, struct job *job) {
    const json_t *const from = body_get(body, key);
    if (json_array_size(from) == 0) {
        body_complain(body, "'%s' is not a list of at least one message", key);
        return;
    }
    if (json_array_size(from) > (size_t)lane_n_ctx(lane)) { // a template may take long over them
        body_complain(body, "%zu messages do not fit the context of %d tokens "
                      "(context_length_exceeded)", json_array_size(from), lane_n_ctx(lane));
        return;
    }
    const struct octet_model *const model = lane_model(lane);
    json_t *const list = read_messages(body, from);
    job->tools = tools_read(body, model);
    if (job->tools) job->call_marks = tools_show_marks(model, job);
    if (job->tools && job->tools->required) require_call(body, lane, job);
    if (!octet_chat_writes_tools(model)) tell_calls(body, list);
    if (job->tools && job->tools->taught) teach(body, list, job->tools);
    clip(lane, list);
    if (!body->wrong[0]) encode(body, lane, job, list);
    if (!body->wrong[0] && job->tools && job->tools->required)
        add_prompt(body, model, calls_opening(job->tools->form), OCTET_TOKENIZE_SPECIAL, job);
    json_decref(list);
}
