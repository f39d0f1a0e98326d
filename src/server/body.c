/* See body.h. */
#include "server/body.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

void body_complain(struct body *body, const char *fmt, ...) {
    if (body->wrong[0]) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(body->wrong, sizeof body->wrong, fmt, args);
    va_end(args);
    octet_one_line(body->wrong);
}

bool body_open(struct body *body, const char *bytes, size_t n_bytes) {
    *body = (struct body){0};
    json_error_t why;
    body->json = json_loadb(bytes, n_bytes, 0, &why);
    if (!body->json) {
        body_complain(body, "the body is not JSON: line %d, column %d: %s", why.line, why.column,
                      why.text);
    } else if (!json_is_object(body->json)) {
        body_complain(body, "the body is not a JSON object");
    }
    return !body->wrong[0];
}

void body_close(struct body *body) { json_decref(body->json); }

const json_t *body_get(const struct body *body, const char *key) {
    const json_t *const value = json_object_get(body->json, key);
    return json_is_null(value) ? NULL : value;
}

bool body_bool(struct body *body, const char *key, bool otherwise) {
    const json_t *const value = body_get(body, key);
    if (!value) return otherwise;
    if (!json_is_boolean(value)) body_complain(body, "'%s' is neither true nor false", key);
    return json_is_true(value);
}

double body_number(struct body *body, const char *key, double min, double max, double otherwise) {
    const json_t *const value = body_get(body, key);
    if (!value) return otherwise;
    const double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (number >= min && number <= max) return number;
    body_complain(body, "'%s' is not a number from %g to %g", key, min, max);
    return otherwise;
}

int64_t body_int(struct body *body, const char *key, int64_t min, int64_t max, int64_t otherwise) {
    const double number = body_number(body, key, (double)min, (double)max, (double)otherwise);
    if (number == floor(number)) return (int64_t)number;
    body_complain(body, "'%s' is not a whole number", key);
    return otherwise;
}

const char *body_text(struct body *body, const char *key) {
    const json_t *const value = body_get(body, key);
    if (!value) return NULL;
    const char *const text = json_string_value(value);
    if (!text) body_complain(body, "'%s' is not a string", key);
    return text;
}

void body_texts(struct body *body, const char *key, bool (*fn)(void *user, const char *text),
                void *user) {
    const json_t *const value = body_get(body, key);
    if (!value) return;
    if (json_is_string(value)) {
        if (!fn(user, json_string_value(value))) body_complain(body, "'%s' is too much", key);
        return;
    }
    if (!json_is_array(value)) body_complain(body, "'%s' is neither a string nor a list", key);
    size_t i;
    const json_t *item;
    json_array_foreach(value, i, item) {
        const char *const text = json_string_value(item);
        if (!text)
            body_complain(body, "'%s' holds what is not a string", key);
        else if (!fn(user, text))
            body_complain(body, "'%s' holds too many", key);
    }
}

struct body body_inner(const struct body *body, const char *key) {
    const json_t *const value = body_get(body, key);
    struct body inner = {.json = (json_t *)(uintptr_t)value};
    if (value && !json_is_object(value)) {
        inner.json = NULL;
        body_complain(&inner, "'%s' is not an object", key);
    }
    return inner;
}
