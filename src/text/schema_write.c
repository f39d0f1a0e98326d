/* Forms as rules: the alternatives of their types, objects with their properties in order, arrays.
 *  */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "octet.h"
#include "text/schema_impl.h"

/* ---- Values that are listed ------------------------------------------------------------------ */

static size_t n_characters(const char *text, size_t n) {
    const char *p = text;
    size_t count = 0;
    while (p < text + n) next_code(&p), count++;
    return count;
}

static bool in_bounds(const struct form *f, const json_t *value) {
    const double x = json_number_value(value);
    if (f->min.given && (f->min.exclusive ? x <= f->min.value : x < f->min.value)) return false;
    return !(f->max.given && (f->max.exclusive ? x >= f->max.value : x > f->max.value));
}

/* Whether a listed value fits what else is demanded, where that is easy to tell. */
static bool fits(struct schema *s, const struct form *f, const json_t *value, uint32_t path,
                 bool *out) {
    *out = false;
    if (json_is_number(value)) {
        const double x = json_number_value(value);
        const bool integer = x == (double)(long long)x;
        if (f->zeros > 0)
            return schema_refuse(s, path, "multipleOf", "is not supported beside listed values");
        *out = in_bounds(f, value) && (f->types & (integer ? TYPE_INTEGER : TYPE_NUMBER)) &&
               (integer || !f->whole);
        return true;
    }
    if (json_is_string(value)) {
        const size_t n = n_characters(json_string_value(value), json_string_length(value));
        if (f->pattern || f->format)
            return schema_refuse(s, path, f->pattern ? "pattern" : "format",
                                 "is not supported beside listed values");
        *out = f->types & TYPE_STRING && n >= f->min_length && n <= f->max_length;
        return true;
    }
    const bool array = json_is_array(value), object = json_is_object(value);
    if (array && (f->n_prefix || f->rest.n || f->no_rest))
        return schema_refuse(s, path, "items", "is not supported beside listed values");
    if (object && (f->n_properties || f->speaks_of_others))
        return schema_refuse(s, path, "properties", "are not supported beside listed values");
    const size_t n = array ? json_array_size(value) : json_object_size(value);
    if (array) *out = f->types & TYPE_ARRAY && n >= f->min_items && n <= f->max_items;
    if (object)
        *out = f->types & TYPE_OBJECT && n >= f->min_properties && n <= f->max_properties;
    if (json_is_null(value)) *out = f->types & TYPE_NULL;
    if (json_is_boolean(value)) *out = f->types & TYPE_BOOLEAN;
    return true;
}

static bool write_values(struct schema *s, const struct form *f, uint32_t path) {
    bool any = false;
    size_t i;
    const json_t *value;
    json_array_foreach(f->values, i, value) {
        bool fine;
        if (!fits(s, f, value, path, &fine)) return false;
        if (!fine) continue;
        if (any) put(s, "| ");
        if (!schema_write_value(s, value, path, 0)) return false;
        any = true;
    }
    return any ? s->status == OCTET_OK : put(s, "never");
}

/* ---- Forms ----------------------------------------------------------------------------------- */

static bool write_type(struct schema *s, struct form *f, unsigned type, uint32_t path) {
    switch (type) {
    case TYPE_NULL: return put(s, "\"null\"");
    case TYPE_BOOLEAN: return put(s, "\"true\" | \"false\"");
    case TYPE_STRING: return schema_write_string(s, f, path);
    case TYPE_ARRAY: return schema_write_array(s, f);
    case TYPE_OBJECT: return schema_write_object(s, f, path);
    default: return schema_write_number(s, f, path);
    }
}

bool schema_write_form(struct schema *s, struct form *f, uint32_t path) {
    bool any = false;
    if (f->values) return write_values(s, f, path);
    if (f->types & TYPE_NUMBER) f->types &= ~(unsigned)TYPE_INTEGER; // written together
    for (unsigned type = 1; type < TYPE_ALL; type <<= 1) {
        if (!(f->types & type)) continue;
        if (any) put(s, " | ");
        put(s, "(");
        if (!write_type(s, f, type, path)) return false;
        put(s, ")");
        any = true;
    }
    return any ? s->status == OCTET_OK : put(s, "never");
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

/* The items from position I on, of which the first FROM are there already. */
static bool write_rest(struct schema *s, const struct form *f, size_t from) {
    uint32_t rule;
    const size_t min = f->min_items > from ? f->min_items - from : 0;
    const bool endless = f->max_items == SIZE_MAX;
    if (f->no_rest || (!endless && f->max_items <= from)) return min > 0 ? put(s, "never ") : true;
    const size_t max = endless ? 0 : f->max_items - from;
    if (!endless && max < min) return put(s, "never ");
    if (!schema_rule(s, &f->rest, &rule)) return false;
    if (from == 0) { // the first one has no comma before it
        putf(s, "(r%u ", rule);
        if (endless)
            putf(s, "(\",\" s r%u){%zu,}", rule, min > 0 ? min - 1 : 0);
        else
            putf(s, "(\",\" s r%u){%zu,%zu}", rule, min > 0 ? min - 1 : 0, max - 1);
        return put(s, min > 0 ? " s) " : " s)? ");
    }
    if (endless) return putf(s, "(\",\" s r%u){%zu,} ", rule, min);
    return putf(s, "(\",\" s r%u){%zu,%zu} ", rule, min, max);
}

/* What follows position I, of which a comma comes first. */
static bool write_next(struct schema *s, const struct form *f, size_t i, size_t n, size_t helper) {
    if (i == n) return write_rest(s, f, n);
    if (i < f->min_items) return putf(s, "\",\" s a%zu ", helper + i);
    return putf(s, "(\",\" s a%zu)? ", helper + i);
}

/* Helper rules: one for each position, with what follows it. */
bool schema_write_array(struct schema *s, const struct form *f) {
    const size_t helper = s->n_helpers;
    const size_t n = f->max_items < f->n_prefix ? f->max_items : f->n_prefix;
    if (f->max_items < f->min_items) return put(s, "never");
    if (n == 0) return put(s, "\"[\" s ") && write_rest(s, f, 0) && put(s, "\"]\"");
    s->n_helpers += n;
    putf(s, f->min_items > 0 ? "\"[\" s a%zu s \"]\"" : "\"[\" s (a%zu s)? \"]\"", helper);
    for (size_t i = 0; i < n; i++) {
        uint32_t rule;
        if (!schema_rule(s, &f->prefix[i], &rule)) return false;
        schema_begin_helper(s);
        putf(s, "a%zu ::= r%u ", helper + i, rule);
        if (!write_next(s, f, i + 1, n, helper) || !schema_end_helper(s)) return false;
    }
    return true;
}
