/* See tools.h. */
#include "server/tools.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "server/job.h"

enum { MAX_TOOLS = 512, MAX_NAME = 128 };

/* ---- Reading --------------------------------------------------------------------------------- */

static json_t *unconst(const json_t *json) { return (json_t *)(uintptr_t)json; }

/* A schema of an object with "type" and "properties", which templates take for granted. */
static json_t *read_parameters(struct body *body, const json_t *value) {
    json_t *const out = json_is_object(value) ? json_copy(unconst(value)) : json_object();
    if (value && !json_is_null(value) && !json_is_object(value))
        body_complain(body, "'tools': the parameters of a tool are not a JSON schema");
    int failed = 0;
    if (!json_object_get(out, "type"))
        failed |= json_object_set_new(out, "type", json_string("object"));
    if (!json_object_get(out, "properties"))
        failed |= json_object_set_new(out, "properties", json_object());
    if (failed) body_complain(body, "out of memory");
    return out;
}

/* Of OpenAI's two shapes and of Anthropic's. NULL: a tool that only its maker's server has. */
static json_t *read_tool(struct body *body, const json_t *tool) {
    const char *const type = json_string_value(json_object_get(tool, "type"));
    const json_t *const inner = json_object_get(tool, "function");
    const json_t *const from = json_is_object(inner) ? inner : tool;
    const json_t *parameters = json_object_get(from, "parameters");
    if (!parameters) parameters = json_object_get(from, "input_schema");
    if (type && strcmp(type, "function") != 0 && !(strcmp(type, "custom") == 0 && parameters))
        return NULL;
    const json_t *const name = json_object_get(from, "name");
    const json_t *const description = json_object_get(from, "description");
    const size_t n = json_string_length(name);
    if (n == 0 || n > MAX_NAME)
        body_complain(body, "'tools': a tool has no name, or one longer than %d bytes", MAX_NAME);
    json_t *const function = json_pack("{s:O}", "name", unconst(name));
    int failed = 0;
    if (json_is_string(description))
        failed |= json_object_set(function, "description", unconst(description));
    failed |= json_object_set_new(function, "parameters", read_parameters(body, parameters));
    json_t *const out = json_pack("{s:s, s:o}", "type", "function", "function", function);
    if ((failed || !out) && n > 0) body_complain(body, "out of memory");
    return out;
}

static json_t *read_list(struct body *body) {
    const json_t *const from = body_get(body, "tools");
    json_t *const list = json_array();
    size_t i;
    const json_t *tool;
    if (!list) body_complain(body, "out of memory");
    if (from && !json_is_array(from)) body_complain(body, "'tools' is not a list");
    if (json_array_size(from) > MAX_TOOLS)
        body_complain(body, "'tools' holds more than %d", MAX_TOOLS);
    if (body_get(body, "functions"))
        body_complain(body, "'functions' is not supported: offer 'tools'");
    json_array_foreach(from, i, tool) {
        if (body->wrong[0]) break;
        json_t *const read = read_tool(body, tool);
        if (read && json_array_append_new(list, read) != 0) body_complain(body, "out of memory");
    }
    return list;
}

static const char *name_of(const json_t *tool) {
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

static void choose(struct body *body, struct tools *tools, const char *name) {
    size_t i;
    const json_t *tool;
    json_array_foreach(tools->list, i, tool) {
        if (name && strcmp(name_of(tool), name) == 0) tools->only = name_of(tool);
    }
    if (!tools->only)
        body_complain(body, "'tool_choice' names no tool of 'tools'");
    tools->required = true;
}

/* "none", "auto", "required" or "any" as a word or as an object's type; an object that names a
 * tool. False: no tool is to be called. */
static bool read_choice(struct body *body, struct tools *tools) {
    const json_t *const choice = body_get(body, "tool_choice");
    const char *const type = json_string_value(json_object_get(choice, "type"));
    const char *const word = json_is_string(choice) ? json_string_value(choice) : type;
    const json_t *const function = json_object_get(choice, "function");
    const json_t *const named = function ? function : choice;
    tools->parallel = body_bool(body, "parallel_tool_calls", true) &&
                      !json_is_true(json_object_get(choice, "disable_parallel_tool_use"));
    if (!choice || (word && strcmp(word, "auto") == 0)) return true;
    if (word && strcmp(word, "none") == 0) return false;
    const bool any = word && (strcmp(word, "required") == 0 || strcmp(word, "any") == 0);
    tools->required = any;
    if (any && json_array_size(tools->list) == 0)
        body_complain(body, "'tool_choice' wants a call, but there are no tools");
    else if (!any && type && (strcmp(type, "function") == 0 || strcmp(type, "tool") == 0))
        choose(body, tools, json_string_value(json_object_get(named, "name")));
    else if (!any)
        body_complain(body, "'tool_choice' is neither none, auto, required nor the name of a tool");
    return true;
}

static bool template_has(const struct octet_model *model, const char *text) {
    const char *source = octet_chat_template(model, "tool_use");
    if (!source) source = octet_chat_template(model, NULL);
    return source && strstr(source, text) != NULL;
}

static void find_form(struct tools *tools, const struct octet_model *model) {
    tools->taught = !octet_chat_writes_tools(model);
    tools->form = CALLS_BARE;
    if (tools->taught || template_has(model, "<tool_call>"))
        tools->form = CALLS_TAGGED;
    else if (template_has(model, "[TOOL_CALLS]"))
        tools->form = CALLS_MISTRAL;
}

struct tools *tools_read(struct body *body, const struct octet_model *model) {
    struct tools *const tools = mem_alloc(sizeof *tools);
    if (!tools) {
        body_complain(body, "out of memory");
        return NULL;
    }
    tools->list = read_list(body);
    const bool wanted = !body->wrong[0] && read_choice(body, tools);
    if (wanted && !body->wrong[0] && json_array_size(tools->list) > 0) {
        find_form(tools, model);
        return tools;
    }
    tools_free(tools);
    return NULL;
}

void tools_free(struct tools *tools) {
    if (!tools) return;
    json_decref(tools->list);
    mem_free(tools);
}

/* ---- Schemas --------------------------------------------------------------------------------- */

/* Of one call. Where JSON stands bare, it has the names that Llama's templates ask for. */
static json_t *call_schema(const struct tools *tools, const json_t *tool) {
    const char *const arguments = tools->form == CALLS_BARE ? "parameters" : "arguments";
    json_t *const parameters =
        json_object_get(json_object_get(tool, "function"), "parameters");
    return json_pack("{s:s, s:{s:{s:s}, s:O}, s:[s, s], s:b}", "type", "object", "properties",
                     "name", "const", name_of(tool), arguments, parameters, "required", "name",
                     arguments, "additionalProperties", 0);
}

/* References within a tool's schema are from the root: what they name has to be there. */
static int lift_definitions(json_t *schema, const json_t *tool, const char *key) {
    const json_t *const function = json_object_get(tool, "function");
    json_t *const from = json_object_get(json_object_get(function, "parameters"), key);
    if (!json_is_object(from)) return 0;
    if (!json_object_get(schema, key) && json_object_set_new(schema, key, json_object()) != 0)
        return -1;
    return json_object_update(json_object_get(schema, key), from);
}

json_t *tools_schema(const struct tools *tools) {
    json_t *const calls = json_array();
    json_t *schema = json_pack("{s:o}", "anyOf", calls);
    if (tools->form == CALLS_MISTRAL)
        schema = json_pack("{s:s, s:o, s:i, s:i}", "type", "array", "items", schema, "minItems", 1,
                           "maxItems", 1);
    size_t i;
    const json_t *tool;
    int failed = schema == NULL;
    json_array_foreach(tools->list, i, tool) {
        if (failed || (tools->only && strcmp(tools->only, name_of(tool)) != 0)) continue;
        failed |= json_array_append_new(calls, call_schema(tools, tool)) |
                  lift_definitions(schema, tool, "$defs") |
                  lift_definitions(schema, tool, "definitions");
    }
    if (!failed) return schema;
    json_decref(schema);
    return NULL;
}

/* ---- Models without a form of their own ------------------------------------------------------
 */

/* TEXT with JSON (or NULL) in between, on its own line. */
static bool add_json(struct buffer *out, const json_t *json) {
    char *const text = json_dumps(json, JSON_ENCODE_ANY);
    const bool fine = text && buffer_append_text(out, text) && buffer_append_text(out, "\n");
    free(text);
    return fine;
}

static char *take(struct buffer *text, bool fine) {
    if (fine) return text->bytes;
    buffer_free(text);
    return NULL;
}

char *tools_lesson(const struct tools *tools) {
    struct buffer text = {NULL, 0, 0};
    size_t i;
    const json_t *tool;
    bool fine = buffer_append_text(
        &text, "You can call tools. Each line is one of them, with the JSON schema of its "
               "arguments:\n");
    json_array_foreach(tools->list, i, tool) {
        fine = fine && add_json(&text, json_object_get(tool, "function"));
    }
    fine = fine && buffer_append_text(
                       &text, "To call a tool, answer with its name and arguments in this form:\n"
                              "<tool_call>\n{\"name\": \"NAME\", \"arguments\": {}}\n</tool_call>\n"
                              "Its result comes in the next message, between <tool_response> and "
                              "</tool_response>. Answer in plain words where no tool is needed.");
    return take(&text, fine);
}

char *tools_told_call(const char *name, const json_t *arguments) {
    struct buffer text = {NULL, 0, 0};
    json_t *const call =
        json_pack("{s:s, s:O}", "name", name, "arguments", unconst(arguments));
    const bool fine = buffer_append_text(&text, "<tool_call>\n") && call &&
                      add_json(&text, call) && buffer_append_text(&text, "</tool_call>");
    json_decref(call);
    return take(&text, fine);
}

char *tools_told_result(const char *result) {
    struct buffer text = {NULL, 0, 0};
    const bool fine = buffer_append_text(&text, "<tool_response>\n") &&
                      buffer_append_text(&text, result) &&
                      buffer_append_text(&text, "\n</tool_response>");
    return take(&text, fine);
}

/* ---- Tokens and ids -------------------------------------------------------------------------- */

/* The control token of that name; -1: there is none. */
static int32_t find_control(const struct octet_model *model, const char *name) {
    struct octet_tokens tokens = {NULL, 0, 0};
    const char *bytes;
    size_t n_bytes = 1;
    int32_t id = -1;
    octet_tokenize(model, name, strlen(name), OCTET_TOKENIZE_SPECIAL, &tokens, NULL);
    for (size_t i = 0; i < tokens.n && id < 0; i++) {
        const char *const spelled = octet_token_name(model, tokens.ids[i]);
        const enum octet_status status =
            octet_token_bytes(model, tokens.ids[i], false, &bytes, &n_bytes);
        if (status == OCTET_OK && n_bytes == 0 && spelled && strcmp(spelled, name) == 0)
            id = tokens.ids[i];
    }
    octet_tokens_free(&tokens);
    return id;
}

unsigned tools_show_marks(const struct octet_model *model, struct job *job) {
    unsigned hidden = 0;
    job->n_shown = 0;
    for (size_t i = 0; i < N_CALL_MARKS; i++) {
        const int32_t id = find_control(model, calls_mark(i));
        if (id < 0) continue;
        job->shown[job->n_shown++] = id;
        hidden |= 1u << i;
    }
    return hidden;
}

void tools_new_id(char out[10]) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t drawn = 0;
    if (getrandom(&drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn) drawn = (uint64_t)random();
    for (int i = 0; i < 9; i++, drawn /= 62) out[i] = digits[drawn % 62];
    out[9] = '\0';
}
