/* Requests for answers of a given form: what asked.h says of formats, schemas and grammars. */
#include <stdlib.h>
#include <string.h>

#include "server/asked.h"

static void constrain(struct body *body, bool schema, const char *source, size_t n,
                      struct lane *lane, struct job *job) {
    struct octet_err err;
    if (body->wrong[0]) return;
    if (job->grammar) {
        body_complain(body, "the answer is to have two forms at once");
        return;
    }
    if (lane_grammar(lane, schema, source, n, &job->grammar, &err) != OCTET_OK)
        body_complain(body, "%.190s", err.message);
}

void asked_grammar(struct body *body, const char *grammar, struct lane *lane, struct job *job) {
    constrain(body, false, grammar, strlen(grammar), lane, job);
}

void asked_schema(struct body *body, const json_t *schema, struct lane *lane, struct job *job) {
    char *const text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        body_complain(body, "out of memory");
    else
        constrain(body, true, text, strlen(text), lane, job);
    free(text);
}

static void asked_any_object(struct body *body, struct lane *lane, struct job *job) {
    static const char any[] = "{\"type\":\"object\"}";
    constrain(body, true, any, sizeof any - 1, lane, job);
}

/* {"type": "json_schema"} has its schema in "json_schema", or beside the type. */
static void asked_wrapped(struct body *body, const json_t *format, struct lane *lane,
                          struct job *job) {
    const json_t *inner = json_object_get(format, "json_schema");
    const json_t *const schema = json_object_get(inner ? inner : format, "schema");
    if (schema)
        asked_schema(body, schema, lane, job);
    else
        body_complain(body, "a format of type 'json_schema' has no 'schema'");
}

void asked_format(struct body *body, const json_t *format, struct lane *lane, struct job *job) {
    static const char *const schema_types[] = {"object", "array", "string", "number", "integer",
                                               "boolean", "null"};
    const char *const word = json_string_value(format);
    const char *const type = json_string_value(json_object_get(format, "type"));
    bool is_schema = json_is_object(format) && !type;
    for (size_t i = 0; type && i < sizeof schema_types / sizeof *schema_types; i++)
        is_schema |= strcmp(type, schema_types[i]) == 0;
    if (!format || json_is_null(format) || (word && !word[0])) return;
    if (type && strcmp(type, "text") == 0) return;
    if ((word && strcmp(word, "json") == 0) || (type && strcmp(type, "json_object") == 0)) {
        const json_t *const schema = json_object_get(format, "schema"); // as llama.cpp has it
        if (schema)
            asked_schema(body, schema, lane, job);
        else
            asked_any_object(body, lane, job);
    } else if (type && strcmp(type, "json_schema") == 0) {
        asked_wrapped(body, format, lane, job);
    } else if (is_schema) {
        asked_schema(body, format, lane, job);
    } else {
        body_complain(body, "the answer's format is none of text, json_object, json_schema");
    }
}
