/* What the keywords of several schemas demand together: each adds to what the others left. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "octet.h"
#include "text/schema_impl.h"

/* Keywords that demand nothing. Those beginning with "x-" do not either. */
static const char *const annotations[] = {
    "title",     "description", "default",   "examples",      "example",          "deprecated",
    "readOnly",  "writeOnly",   "$schema",   "$comment",      "$defs",            "definitions",
    "$anchor",   "$vocabulary", "id",        "discriminator", "contentMediaType", "contentEncoding",
    "then",      "else",        "contentSchema", "minContains", "maxContains",
    // read elsewhere
    "$ref", "allOf", "anyOf", "oneOf",
};

void form_start(struct form *f) {
    *f = (struct form){.types = TYPE_ALL, .max_length = SIZE_MAX, .max_properties = SIZE_MAX,
                       .max_items = SIZE_MAX};
}

void form_free(struct form *f) {
    json_decref(f->values);
    for (size_t i = 0; i < f->n_properties; i++) list_free(&f->properties[i].value);
    for (size_t i = 0; i < f->n_prefix; i++) list_free(&f->prefix[i]);
    list_free(&f->others);
    list_free(&f->rest);
    mem_free(f->properties);
    mem_free(f->prefix);
}

/* ---- Types and values ------------------------------------------------------------------------ */

static unsigned type_named(const char *name) {
    static const struct {
        const char *name;
        unsigned types;
    } names[] = {{"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
                 {"integer", TYPE_INTEGER}, {"number", TYPE_INTEGER | TYPE_NUMBER},
                 {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
                 {"object", TYPE_OBJECT}};
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0) return names[i].types;
    return 0;
}

static bool add_type(struct schema *s, struct form *f, const json_t *value, uint32_t path) {
    unsigned types = type_named(json_string_value(value));
    bool known = types != 0 || json_is_array(value);
    size_t i;
    const json_t *one;
    json_array_foreach(value, i, one) {
        const unsigned more = type_named(json_string_value(one));
        known &= more != 0;
        types |= more;
    }
    if (!known) return schema_refuse(s, path, "type", "is not one that JSON has");
    f->types &= types;
    return true;
}

static bool holds(const json_t *values, const json_t *value) {
    size_t i;
    const json_t *one;
    bool found = false;
    json_array_foreach(values, i, one) {
        const bool numbers = json_is_number(one) && json_is_number(value);
        found |= numbers ? json_number_value(one) == json_number_value(value)
                         : json_equal(one, value);
    }
    return found;
}

static bool add_values(struct schema *s, struct form *f, json_t *values) {
    json_t *const both = json_array();
    size_t i;
    json_t *value;
    bool fine = both != NULL;
    json_array_foreach(values, i, value) {
        if (f->values && !holds(f->values, value)) continue;
        if (!holds(both, value)) fine &= json_array_append(both, value) == 0;
    }
    json_decref(f->values);
    f->values = both;
    return fine || schema_no_memory(s);
}

static bool add_enum(struct schema *s, struct form *f, const json_t *value, uint32_t path) {
    if (!json_is_array(value)) return schema_refuse(s, path, "enum", "is not a list of values");
    if (json_array_size(value) > 10000)
        return schema_refuse(s, path, "enum", "holds more than 10000 values");
    return add_values(s, f, (json_t *)(uintptr_t)value);
}

static bool add_const(struct schema *s, struct form *f, const json_t *value, uint32_t path) {
    (void)path;
    json_t *const values = json_pack("[O]", (json_t *)(uintptr_t)value);
    const bool fine = values && add_values(s, f, values);
    json_decref(values);
    return fine || schema_no_memory(s);
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static bool add_bound(struct schema *s, struct form *f, const json_t *value, uint32_t path,
                      const char *keyword) {
    struct bound bound;
    if (!bound_read(s, value, path, keyword, &bound)) return false;
    bound.exclusive = strncmp(keyword, "exclusive", 9) == 0;
    const bool upper = strstr(keyword, "aximum") != NULL;
    struct bound *const old = upper ? &f->max : &f->min;
    const int order = old->given ? bound_compare(&bound, old) : upper ? -1 : 1;
    if (order == 0) old->exclusive |= bound.exclusive;
    if (upper ? order < 0 : order > 0) *old = bound;
    return true;
}

static bool add_minimum(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_bound(s, f, v, path, "minimum");
}
static bool add_maximum(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_bound(s, f, v, path, "maximum");
}
static bool add_above(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_bound(s, f, v, path, "exclusiveMinimum");
}
static bool add_below(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_bound(s, f, v, path, "exclusiveMaximum");
}

static bool add_multiple(struct schema *s, struct form *f, const json_t *value, uint32_t path) {
    double of = json_number_value(value);
    unsigned zeros = 0;
    while (of > 1 && fmod(of, 10) == 0 && zeros < 15) of /= 10, zeros++;
    if (!json_is_number(value) || of != 1)
        return schema_refuse(s, path, "multipleOf", "is supported for 1, 10, 100 and so on only");
    f->whole = true;
    if (zeros > f->zeros) f->zeros = zeros;
    return true;
}

/* ---- Counts ---------------------------------------------------------------------------------- */

static bool read_count(struct schema *s, const json_t *value, uint32_t path, const char *keyword,
                       size_t *out) {
    const double n = json_number_value(value);
    if (!json_is_number(value) || n < 0 || floor(n) != n)
        return schema_refuse(s, path, keyword, "is not a count");
    if (n > SCHEMA_MAX_COUNT)
        return schema_refuse(s, path, keyword, "is supported up to %d", SCHEMA_MAX_COUNT);
    *out = (size_t)n;
    return true;
}

static bool add_least(struct schema *s, const json_t *value, uint32_t path, const char *keyword,
                      size_t *least) {
    size_t n = 0;
    if (!read_count(s, value, path, keyword, &n)) return false;
    if (n > *least) *least = n;
    return true;
}

static bool add_most(struct schema *s, const json_t *value, uint32_t path, const char *keyword,
                     size_t *most) {
    size_t n = 0;
    if (!read_count(s, value, path, keyword, &n)) return false;
    if (n < *most) *most = n;
    return true;
}

static bool add_min_length(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_least(s, v, path, "minLength", &f->min_length);
}
static bool add_max_length(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_most(s, v, path, "maxLength", &f->max_length);
}
static bool add_min_items(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_least(s, v, path, "minItems", &f->min_items);
}
static bool add_max_items(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_most(s, v, path, "maxItems", &f->max_items);
}
static bool add_min_properties(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_least(s, v, path, "minProperties", &f->min_properties);
}
static bool add_max_properties(struct schema *s, struct form *f, const json_t *v, uint32_t path) {
    return add_most(s, v, path, "maxProperties", &f->max_properties);
}

/* ---- Strings --------------------------------------------------------------------------------- */

static bool add_pattern(struct schema *s, struct form *f, const json_t *value, uint32_t path) {
    const char *const text = json_string_value(value);
    const size_t n = json_string_length(value);
    if (!text) return schema_refuse(s, path, "pattern", "is not a string");
    if (f->pattern && (f->n_pattern != n || memcmp(f->pattern, text, n) != 0))
        return schema_refuse(s, path, "pattern", "is demanded beside another one");
    f->pattern = text;
    f->n_pattern = n;
    return true;
}

static bool add_format(struct schema *s, struct form *f, const json_t *value, uint32_t path) {
    const char *const name = json_string_value(value);
    if (s->flags & OCTET_SCHEMA_OPEN) return true; // says nothing, by the standard
    if (!name) return schema_refuse(s, path, "format", "is not a string");
    if (f->format && strcmp(f->format, name) != 0)
        return schema_refuse(s, path, "format", "is demanded beside another one");
    f->format = name;
    return true;
}

/* ---- Objects --------------------------------------------------------------------------------- */

static struct property *find_property(struct form *f, const char *name, size_t n) {
    for (size_t i = 0; i < f->n_properties; i++)
        if (f->properties[i].n_name == n && memcmp(f->properties[i].name, name, n) == 0)
            return &f->properties[i];
    return NULL;
}

/* A property that was not named before has to be what additional ones have to be. */
static struct property *new_property(struct schema *s, struct form *f, const char *name, size_t n) {
    if (!mem_reserve((void **)&f->properties, &f->properties_cap, f->n_properties + 1,
                     sizeof *f->properties)) {
        schema_no_memory(s);
        return NULL;
    }
    struct property *const p = &f->properties[f->n_properties++];
    *p = (struct property){.name = name, .n_name = n};
    if (f->no_others)
        list_add(s, &p->value, (struct item){json_false(), ITEM_ALL, 0});
    else
        list_add_all(s, &p->value, &f->others);
    return p;
}

/* Additional properties have to be OF, those too that only other schemas name: the first N are
 * F's properties from before this schema, SEEN those that it names itself. */
static bool add_others(struct schema *s, struct form *f, const json_t *of, uint32_t path,
                       const json_t *own, size_t n_before) {
    const struct item item = {of, ITEM_ALL, schema_path(s, path, "additionalProperties")};
    for (size_t i = 0; i < n_before; i++) {
        struct property *const p = &f->properties[i];
        if (json_object_getn(own, p->name, p->n_name)) continue;
        if (!list_add(s, &p->value, item)) return false;
    }
    f->speaks_of_others = true;
    if (json_is_false(of)) f->no_others = true;
    return list_add(s, &f->others, item);
}

static bool add_properties(struct schema *s, struct form *f, const json_t *schema, uint32_t path) {
    const json_t *const own = json_object_get(schema, "properties");
    const json_t *const others = json_object_get(schema, "additionalProperties");
    const size_t n_before = f->n_properties;
    const char *name;
    size_t n;
    json_t *value;
    if (own && !json_is_object(own))
        return schema_refuse(s, path, "properties", "is not an object");
    if (json_object_size(own) > 2000)
        return schema_refuse(s, path, "properties", "are more than 2000");
    const uint32_t inner = own ? schema_path(s, path, "properties") : 0;
    json_object_keylen_foreach((json_t *)(uintptr_t)own, name, n, value) {
        struct property *p = find_property(f, name, n);
        if (!p) p = new_property(s, f, name, n);
        if (!p || !list_add(s, &p->value,
                            (struct item){value, ITEM_ALL, schema_path(s, inner, name)}))
            return false;
    }
    f->lists_properties |= json_object_size(own) > 0;
    return !others || add_others(s, f, others, path, own, n_before);
}

static bool add_required(struct schema *s, struct form *f, const json_t *value, uint32_t path) {
    size_t i;
    const json_t *name;
    if (!json_is_array(value)) return schema_refuse(s, path, "required", "is not a list of names");
    if (json_array_size(value) > 2000)
        return schema_refuse(s, path, "required", "holds more than 2000 names");
    json_array_foreach(value, i, name) {
        const char *const text = json_string_value(name);
        const size_t n = json_string_length(name);
        if (!text) return schema_refuse(s, path, "required", "is not a list of names");
        struct property *p = find_property(f, text, n);
        if (!p) p = new_property(s, f, text, n);
        if (!p) return false;
        p->required = true;
    }
    return s->status == OCTET_OK;
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

/* Position I has to be what the items behind the known ones have to be, so far. */
static bool extend_prefix(struct schema *s, struct form *f, size_t n) {
    while (f->n_prefix < n) {
        if (!mem_reserve((void **)&f->prefix, &f->prefix_cap, f->n_prefix + 1, sizeof *f->prefix))
            return schema_no_memory(s);
        struct list *const list = &f->prefix[f->n_prefix++];
        *list = (struct list){NULL, 0, 0};
        if (!list_add_all(s, list, &f->rest)) return false;
    }
    return true;
}

static bool add_items(struct schema *s, struct form *f, const json_t *schema, uint32_t path) {
    const json_t *rest = json_object_get(schema, "items");
    const json_t *prefix = json_object_get(schema, "prefixItems");
    const char *rest_key = "items", *prefix_key = "prefixItems";
    if (json_is_array(rest)) { // as drafts up to 2019-09 have it
        prefix = rest;
        prefix_key = "items";
        rest_key = "additionalItems";
        rest = json_object_get(schema, "additionalItems");
    }
    if (prefix && !json_is_array(prefix))
        return schema_refuse(s, path, prefix_key, "is not a list of schemas");
    if (json_array_size(prefix) > 1000)
        return schema_refuse(s, path, prefix_key, "holds more than 1000 schemas");
    if (!extend_prefix(s, f, json_array_size(prefix))) return false;
    const uint32_t inner = prefix ? schema_path(s, path, prefix_key) : 0;
    for (size_t i = 0; i < json_array_size(prefix); i++) {
        const struct item item = {json_array_get(prefix, i), ITEM_ALL, schema_path_at(s, inner, i)};
        if (!list_add(s, &f->prefix[i], item)) return false;
    }
    if (!rest) return s->status == OCTET_OK;
    const struct item item = {rest, ITEM_ALL, schema_path(s, path, rest_key)};
    for (size_t i = json_array_size(prefix); i < f->n_prefix; i++)
        if (!list_add(s, &f->prefix[i], item)) return false;
    f->no_rest |= json_is_false(rest);
    return list_add(s, &f->rest, item);
}

/* ---- All keywords ---------------------------------------------------------------------------- */

/* false, {} and the like demand nothing. */
static bool demands_nothing(const char *keyword, const json_t *value) {
    const bool admits = strcmp(keyword, "unevaluatedProperties") == 0 ||
                        strcmp(keyword, "unevaluatedItems") == 0 ||
                        strcmp(keyword, "propertyNames") == 0;
    if (admits) return json_is_true(value);
    if (strcmp(keyword, "uniqueItems") == 0) return json_is_false(value);
    if (strcmp(keyword, "not") == 0) return json_is_false(value);
    const bool lists = strcmp(keyword, "patternProperties") == 0 ||
                       strcmp(keyword, "dependentRequired") == 0 ||
                       strcmp(keyword, "dependentSchemas") == 0 ||
                       strcmp(keyword, "dependencies") == 0;
    return lists && json_is_object(value) && json_object_size(value) == 0;
}

static bool is_annotation(const char *keyword) {
    bool known = strncmp(keyword, "x-", 2) == 0;
    for (size_t i = 0; i < sizeof annotations / sizeof *annotations; i++)
        known |= strcmp(keyword, annotations[i]) == 0;
    return known;
}

static bool add_keyword(struct schema *s, struct form *f, const char *keyword, const json_t *value,
                        uint32_t path) {
    static const struct {
        const char *name;
        bool (*add)(struct schema *s, struct form *f, const json_t *value, uint32_t path);
    } known[] = {
        {"type", add_type},
        {"enum", add_enum},
        {"const", add_const},
        {"minimum", add_minimum},
        {"maximum", add_maximum},
        {"exclusiveMinimum", add_above},
        {"exclusiveMaximum", add_below},
        {"multipleOf", add_multiple},
        {"minLength", add_min_length},
        {"maxLength", add_max_length},
        {"pattern", add_pattern},
        {"format", add_format},
        {"required", add_required},
        {"minProperties", add_min_properties},
        {"maxProperties", add_max_properties},
        {"minItems", add_min_items},
        {"maxItems", add_max_items},
    };
    static const char *const together[] = {"properties", "additionalProperties", "items",
                                           "prefixItems", "additionalItems"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, keyword) == 0) return known[i].add(s, f, value, path);
    for (size_t i = 0; i < sizeof together / sizeof *together; i++)
        if (strcmp(together[i], keyword) == 0) return true;
    if (is_annotation(keyword) || demands_nothing(keyword, value)) return true;
    return schema_refuse(s, path, keyword, "is not supported");
}

bool form_add(struct schema *s, struct form *f, struct item item) {
    const char *keyword;
    json_t *value;
    if (item.schema != s->root && json_object_get(item.schema, "$id"))
        return schema_refuse(s, item.path, "$id", "is supported at the top only");
    if (!add_properties(s, f, item.schema, item.path) ||
        !add_items(s, f, item.schema, item.path))
        return false;
    json_object_foreach((json_t *)(uintptr_t)item.schema, keyword, value) {
        if (strcmp(keyword, "$id") == 0) continue;
        if (!add_keyword(s, f, keyword, value, item.path)) return false;
    }
    return true;
}
