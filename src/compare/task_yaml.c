/* YAML to JSON, for task files: mappings with text keys, sequences, and plain scalars read by the
 * core schema (null, true, 12, 1.5); quoted and block scalars are text. Aliases are refused:
 * nothing here needs them, and they let a small file grow without bound. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/json_text.h"
#include "compare/task_impl.h"

enum { MAX_DEPTH = 64 };

struct reader {
    yaml_parser_t parser;
    const char *file;
    struct octet_err *err;
};

static enum octet_status fail_at(const struct reader *r, yaml_mark_t mark, const char *what) {
    return octet_fail(r->err, OCTET_EFORMAT, "%s: line %zu: %s", r->file, mark.line + 1, what);
}

static enum octet_status next(struct reader *r, yaml_event_t *event) {
    if (yaml_parser_parse(&r->parser, event)) return OCTET_OK;
    if (r->parser.error == YAML_MEMORY_ERROR) return octet_fail_memory(r->err, "YAML", 0);
    return fail_at(r, r->parser.problem_mark, r->parser.problem ? r->parser.problem : "not YAML");
}

/* ---- Scalars --------------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *words) {
    for (; *words; words++)
        if (strcmp(text, *words) == 0) return true;
    return false;
}

static bool is_number(const char *text) {
    const char *const digits = text + strspn(text, "+-");
    char *end;
    if (digits > text + 1 || strspn(digits, "0123456789.") == 0) return false;
    if (text[strspn(text, "+-0123456789.eE")] != '\0') return false;
    strtod(text, &end);
    return *end == '\0';
}

static enum octet_status read_number(const struct reader *r, const yaml_event_t *event,
                                     json_t **out) {
    const char *const text = (const char *)event->data.scalar.value;
    errno = 0;
    if (text[strcspn(text, ".eE")] == '\0') {
        const long long integer = strtoll(text, NULL, 10);
        if (errno != 0) return fail_at(r, event->start_mark, "an integer of more than 64 bits");
        *out = json_integer(integer);
    } else {
        const double real = strtod(text, NULL);
        if (!isfinite(real)) return fail_at(r, event->start_mark, "a number that is too large");
        *out = json_real(real);
    }
    return *out ? OCTET_OK : octet_fail_memory(r->err, "YAML", 0);
}

static json_t *scalar_value(const yaml_event_t *event) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    const char *const text = (const char *)event->data.scalar.value;
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (is_one_of(text, nulls)) return json_null();
        if (is_one_of(text, trues)) return json_true();
        if (is_one_of(text, falses)) return json_false();
    }
    return json_text(text, event->data.scalar.length);
}

static enum octet_status read_scalar(const struct reader *r, const yaml_event_t *event,
                                     json_t **out) {
    const bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (event->data.scalar.tag) return fail_at(r, event->start_mark, "tags are not supported");
    if (plain && is_number((const char *)event->data.scalar.value))
        return read_number(r, event, out);
    *out = scalar_value(event);
    return *out ? OCTET_OK : octet_fail_memory(r->err, "YAML", 0);
}

/* ---- Nodes ----------------------------------------------------------------------------------- */

static enum octet_status read_node(struct reader *r, const yaml_event_t *event, int depth,
                                   json_t **out);

static enum octet_status read_sequence(struct reader *r, int depth, json_t **out) {
    *out = json_array();
    enum octet_status status = *out ? OCTET_OK : octet_fail_memory(r->err, "YAML", 0);
    while (status == OCTET_OK) {
        yaml_event_t event;
        status = next(r, &event);
        if (status != OCTET_OK) break;
        const bool ends = event.type == YAML_SEQUENCE_END_EVENT;
        json_t *item = NULL;
        if (!ends) status = read_node(r, &event, depth, &item);
        yaml_event_delete(&event);
        if (ends) return OCTET_OK;
        if (status == OCTET_OK && json_array_append_new(*out, item) != 0)
            status = octet_fail_memory(r->err, "YAML", 0);
    }
    json_decref(*out);
    return status;
}

static enum octet_status read_pair(struct reader *r, const yaml_event_t *key, int depth,
                                   json_t *object) {
    if (key->type != YAML_SCALAR_EVENT) return fail_at(r, key->start_mark, "a key is not a text");
    const char *const name = (const char *)key->data.scalar.value;
    if (strlen(name) != key->data.scalar.length)
        return fail_at(r, key->start_mark, "a key holds a NUL byte");
    if (json_object_get(object, name)) return fail_at(r, key->start_mark, "a key is there twice");
    yaml_event_t event;
    json_t *value = NULL;
    enum octet_status status = next(r, &event);
    if (status != OCTET_OK) return status;
    status = read_node(r, &event, depth, &value);
    yaml_event_delete(&event);
    if (status == OCTET_OK && json_object_set_new(object, name, value) != 0)
        status = octet_fail_memory(r->err, "YAML", 0);
    return status;
}

static enum octet_status read_mapping(struct reader *r, int depth, json_t **out) {
    *out = json_object();
    enum octet_status status = *out ? OCTET_OK : octet_fail_memory(r->err, "YAML", 0);
    while (status == OCTET_OK) {
        yaml_event_t key;
        status = next(r, &key);
        if (status != OCTET_OK) break;
        const bool ends = key.type == YAML_MAPPING_END_EVENT;
        if (!ends) status = read_pair(r, &key, depth, *out);
        yaml_event_delete(&key);
        if (ends) return OCTET_OK;
    }
    json_decref(*out);
    return status;
}

/* On failure *OUT is not to be freed. */
static enum octet_status read_node(struct reader *r, const yaml_event_t *event, int depth,
                                   json_t **out) {
    if (depth >= MAX_DEPTH) return fail_at(r, event->start_mark, "nested too deep");
    switch (event->type) {
    case YAML_SCALAR_EVENT: return read_scalar(r, event, out);
    case YAML_SEQUENCE_START_EVENT: return read_sequence(r, depth + 1, out);
    case YAML_MAPPING_START_EVENT: return read_mapping(r, depth + 1, out);
    default: return fail_at(r, event->start_mark, "aliases are not supported");
    }
}

static enum octet_status read_stream(struct reader *r, json_t *documents) {
    for (;;) {
        yaml_event_t event;
        enum octet_status status = next(r, &event);
        if (status != OCTET_OK) return status;
        const bool ends = event.type == YAML_STREAM_END_EVENT;
        const bool skip = event.type == YAML_STREAM_START_EVENT ||
                          event.type == YAML_DOCUMENT_START_EVENT ||
                          event.type == YAML_DOCUMENT_END_EVENT;
        json_t *document = NULL;
        if (!ends && !skip) status = read_node(r, &event, 0, &document);
        yaml_event_delete(&event);
        if (ends || status != OCTET_OK) return status;
        if (document && !json_is_null(document) && json_array_append(documents, document) != 0)
            status = octet_fail_memory(r->err, "YAML", 0);
        json_decref(document);
        if (status != OCTET_OK) return status;
    }
}

enum octet_status task_yaml_parse(const char *text, size_t n_bytes, const char *file, json_t **out,
                                  struct octet_err *err) {
    struct reader r = {.file = file, .err = err};
    *out = json_array();
    if (!*out || !yaml_parser_initialize(&r.parser)) {
        json_decref(*out);
        return octet_fail_memory(err, "YAML", 0);
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n_bytes);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    const enum octet_status status = read_stream(&r, *out);
    yaml_parser_delete(&r.parser);
    if (status != OCTET_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}
