/* See schema.h and schema_impl.h. */
#include "text/schema.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/schema_impl.h"

/* What values may be made of. Strings are spelled as one likes, so models are free in it; blanks
 * are few, so no model can go on with them for ever. */
static const char builtin[] =
    "s ::= \" \"? | \"\\n\" \" \"{0,32}\n"
    "c ::= [^\"\\\\\\x00-\\x1f] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-CefEF] h{3} | [dD] "
    "[0-7] h{2} | [dD] [89abAB] h{2} \"\\\\u\" [dD] [c-fC-F] h{2}))\n"
    "h ::= [0-9a-fA-F]\n"
    "string ::= \"\\\"\" c* \"\\\"\"\n"
    "integer ::= \"-\"? (\"0\" | [1-9] [0-9]{0,63})\n"
    "number ::= integer (\".\" [0-9]{1,20})? ([eE] [+-]? (\"1\"? [0-9])? [0-9])?\n"
    "array ::= \"[\" s (value (\",\" s value)* s)? \"]\"\n"
    "pair ::= string \":\" \" \"? value\n"
    "object ::= \"{\" s (pair (\",\" s pair)* s)? \"}\"\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n";

/* ---- Failures and paths ---------------------------------------------------------------------- */

bool schema_no_memory(struct schema *s) {
    if (s->status == OCTET_OK) s->status = octet_fail_memory(s->err, "a schema", s->out.n);
    return false;
}

bool schema_refuse(struct schema *s, uint32_t path, const char *keyword, const char *fmt, ...) {
    char why[200];
    va_list args;
    if (s->status != OCTET_OK) return false;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    s->status = octet_fail(s->err, OCTET_EUNSUPPORTED, "schema: %.120s: '%.40s' %s", s->paths[path],
                           keyword, why);
    return false;
}

static uint32_t add_path(struct schema *s, const char *text) {
    if (mem_reserve((void **)&s->paths, &s->paths_cap, s->n_paths + 1, sizeof *s->paths)) {
        char *const copy = mem_strdup(text, strlen(text));
        if (copy) {
            s->paths[s->n_paths] = copy;
            return (uint32_t)s->n_paths++;
        }
    }
    schema_no_memory(s);
    return 0;
}

uint32_t schema_path(struct schema *s, uint32_t path, const char *key) {
    char text[256];
    snprintf(text, sizeof text, "%.180s/%.70s", s->paths[path], key);
    return add_path(s, text);
}

uint32_t schema_path_at(struct schema *s, uint32_t path, size_t i) {
    char key[24];
    snprintf(key, sizeof key, "%zu", i);
    return schema_path(s, path, key);
}

bool put(struct schema *s, const char *text) {
    if (s->status != OCTET_OK) return false;
    if (s->out.n + s->side.n > SCHEMA_MAX_GRAMMAR) {
        s->status = octet_fail(s->err, OCTET_EUNSUPPORTED, "schema: makes too large a grammar");
        return false;
    }
    return buffer_append_text(s->aside ? &s->side : &s->out, text) || schema_no_memory(s);
}

void schema_begin_helper(struct schema *s) { s->aside = true; }

bool schema_end_helper(struct schema *s) {
    const bool fine = put(s, "\n");
    s->aside = false;
    return fine;
}

bool putf(struct schema *s, const char *fmt, ...) {
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return put(s, text);
}

/* ---- Lists ----------------------------------------------------------------------------------- */

bool list_add(struct schema *s, struct list *list, struct item item) {
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i].schema == item.schema && list->items[i].kind == item.kind) return true;
    if (list->n == SCHEMA_MAX_LIST)
        return schema_refuse(s, item.path, "allOf", "joins more than %d schemas", SCHEMA_MAX_LIST);
    if (!mem_reserve((void **)&list->items, &list->cap, list->n + 1, sizeof item))
        return schema_no_memory(s);
    list->items[list->n++] = item;
    return s->status == OCTET_OK;
}

bool list_add_all(struct schema *s, struct list *list, const struct list *more) {
    for (size_t i = 0; i < more->n; i++)
        if (!list_add(s, list, more->items[i])) return false;
    return s->status == OCTET_OK;
}

void list_free(struct list *list) {
    mem_free(list->items);
    *list = (struct list){NULL, 0, 0};
}

static uint64_t hash_list(const struct list *list) {
    uint64_t hash = HASH_INIT;
    for (size_t i = 0; i < list->n; i++) {
        hash = hash_bytes(hash, &list->items[i].schema, sizeof list->items[i].schema);
        hash = hash_bytes(hash, &list->items[i].kind, sizeof list->items[i].kind);
    }
    return hash;
}

static bool same_list(const struct list *a, const struct list *b) {
    bool same = a->n == b->n;
    for (size_t i = 0; i < a->n && same; i++)
        same = a->items[i].schema == b->items[i].schema && a->items[i].kind == b->items[i].kind;
    return same;
}

bool schema_rule(struct schema *s, const struct list *list, uint32_t *rule) {
    const uint64_t hash = hash_list(list);
    for (size_t i = 0; i < s->n_rules; i++) {
        *rule = (uint32_t)i;
        if (s->rules[i].hash == hash && same_list(&s->rules[i].list, list)) return true;
    }
    struct rule made = {{NULL, 0, 0}, hash};
    if (s->n_rules == SCHEMA_MAX_RULES)
        return schema_refuse(s, list->n ? list->items[0].path : 0, "schema",
                             "makes more than %d rules", SCHEMA_MAX_RULES);
    if (!mem_reserve((void **)&s->rules, &s->rules_cap, s->n_rules + 1, sizeof made))
        return schema_no_memory(s);
    if (!list_add_all(s, &made.list, list)) {
        list_free(&made.list);
        return false;
    }
    *rule = (uint32_t)s->n_rules;
    s->rules[s->n_rules++] = made;
    return true;
}

/* ---- References ------------------------------------------------------------------------------ */

/* One step of a JSON pointer, with ~0, ~1 and %XX read. NULL: too long. */
static const char *read_step(const char *p, char *out, size_t cap) {
    size_t n = 0;
    while (*p && *p != '/') {
        if (n + 1 >= cap) return NULL;
        char c = *p++;
        if (c == '%' && p[0] && p[1]) {
            const char digits[] = {p[0], p[1], '\0'};
            c = (char)strtol(digits, NULL, 16);
            p += 2;
        }
        if (c == '~' && (*p == '0' || *p == '1')) c = *p++ == '0' ? '~' : '/';
        out[n++] = c;
    }
    out[n] = '\0';
    return p;
}

static const json_t *find_ref(struct schema *s, uint32_t path, const char *ref) {
    const json_t *at = s->root;
    const char *p = ref;
    if (*p++ != '#' || (*p && *p != '/')) {
        schema_refuse(s, path, "$ref", "points outside of the schema: %.80s", ref);
        return NULL;
    }
    while (*p == '/') {
        char step[256];
        p = read_step(p + 1, step, sizeof step);
        if (!p) break;
        at = json_is_array(at) ? json_array_get(at, strtoul(step, NULL, 10))
                               : json_object_get(at, step);
        if (json_is_string(json_object_get(at, "$id"))) {
            schema_refuse(s, path, "$ref", "goes through a schema with an '$id' of its own");
            return NULL;
        }
        if (!at) break;
    }
    if (!p || !at) schema_refuse(s, path, "$ref", "points to nothing: %.80s", ref);
    return p ? at : NULL;
}

/* ---- Flattening ------------------------------------------------------------------------------ */

struct flattening {
    struct schema *s;
    struct list *out;
    bool *never;
    const json_t *open[SCHEMA_MAX_DEPTH]; // schemas on the way here
    size_t depth;
};

static bool flatten_all(struct flattening *f, struct item item);

static bool flatten_ref(struct flattening *f, struct item item, const json_t *ref) {
    if (!json_is_string(ref)) return schema_refuse(f->s, item.path, "$ref", "is not a string");
    const json_t *const to = find_ref(f->s, item.path, json_string_value(ref));
    return to && flatten_all(f, (struct item){to, ITEM_ALL, item.path});
}

static bool flatten_list(struct flattening *f, struct item item, const json_t *all) {
    if (json_array_size(all) == 0)
        return schema_refuse(f->s, item.path, "allOf", "is not a list of schemas");
    const uint32_t path = schema_path(f->s, item.path, "allOf");
    size_t i;
    const json_t *part;
    json_array_foreach(all, i, part) {
        const struct item inner = {part, ITEM_ALL, schema_path_at(f->s, path, i)};
        if (!flatten_all(f, inner)) return false;
    }
    return true;
}

static bool flatten_choice(struct flattening *f, struct item item, const char *key,
                           enum item_kind kind) {
    const json_t *const choice = json_object_get(item.schema, key);
    if (!choice) return true;
    if (json_array_size(choice) == 0)
        return schema_refuse(f->s, item.path, key, "is not a list of schemas");
    return list_add(f->s, f->out, (struct item){item.schema, kind, item.path});
}

static bool flatten_object(struct flattening *f, struct item item) {
    const json_t *const ref = json_object_get(item.schema, "$ref");
    const json_t *const all = json_object_get(item.schema, "allOf");
    if (ref && f->s->legacy) return flatten_ref(f, item, ref);
    if (!list_add(f->s, f->out, (struct item){item.schema, ITEM_OWN, item.path})) return false;
    if (ref && !flatten_ref(f, item, ref)) return false;
    if (all && !flatten_list(f, item, all)) return false;
    return flatten_choice(f, item, "anyOf", ITEM_ANY) && flatten_choice(f, item, "oneOf", ITEM_ONE);
}

static bool flatten_all(struct flattening *f, struct item item) {
    if (json_is_true(item.schema)) return true;
    if (json_is_false(item.schema)) return *f->never = true;
    if (!json_is_object(item.schema))
        return schema_refuse(f->s, item.path, "schema", "is neither an object nor a boolean");
    for (size_t i = 0; i < f->depth; i++)
        if (f->open[i] == item.schema)
            return schema_refuse(f->s, item.path, "$ref", "leads back to itself");
    if (f->depth == SCHEMA_MAX_DEPTH)
        return schema_refuse(f->s, item.path, "$ref", "leads through more than %d schemas",
                             SCHEMA_MAX_DEPTH);
    f->open[f->depth++] = item.schema;
    const bool fine = flatten_object(f, item);
    f->depth--;
    return fine;
}

bool schema_flatten(struct schema *s, const struct list *list, struct list *out, bool *never) {
    struct flattening f = {.s = s, .out = out, .never = never};
    *never = false;
    for (size_t i = 0; i < list->n; i++) {
        const struct item item = list->items[i];
        if (item.kind == ITEM_ALL ? !flatten_all(&f, item) : !list_add(s, out, item)) return false;
    }
    return true;
}

/* ---- Alternatives ---------------------------------------------------------------------------- */

static size_t find_choice(const struct list *list) {
    size_t i = 0;
    while (i < list->n && list->items[i].kind == ITEM_OWN) i++;
    return i;
}

/* LIST with one branch in the place of the choice at AT. */
static bool branch_list(struct schema *s, const struct list *list, size_t at, size_t branch,
                        struct list *out) {
    const struct item choice = list->items[at];
    const char *const key = choice.kind == ITEM_ANY ? "anyOf" : "oneOf";
    const json_t *const of = json_array_get(json_object_get(choice.schema, key), branch);
    const uint32_t path = schema_path_at(s, schema_path(s, choice.path, key), branch);
    bool fine = true;
    for (size_t i = 0; i < list->n && fine; i++)
        fine = list_add(s, out, i == at ? (struct item){of, ITEM_ALL, path} : list->items[i]);
    return fine;
}

static size_t n_branches(const struct item *choice) {
    const char *const key = choice->kind == ITEM_ANY ? "anyOf" : "oneOf";
    return json_array_size(json_object_get(choice->schema, key));
}

static bool lists_differ(struct schema *s, const struct list *a, const struct list *b, int depth);

/* Whether each branch of the choice at AT of A differs from B. */
static bool branches_differ(struct schema *s, const struct list *a, size_t at,
                            const struct list *b, int depth) {
    bool differ = true;
    for (size_t i = 0; i < n_branches(&a->items[at]) && differ; i++) {
        struct list one = {NULL, 0, 0};
        differ = branch_list(s, a, at, i, &one) && lists_differ(s, &one, b, depth - 1);
        list_free(&one);
    }
    return differ;
}

static bool plain_differ(struct schema *s, const struct list *a, const struct list *b, int depth) {
    struct form x, y;
    form_start(&x);
    form_start(&y);
    bool fine = true;
    for (size_t i = 0; i < a->n && fine; i++) fine = form_add(s, &x, a->items[i]);
    for (size_t i = 0; i < b->n && fine; i++) fine = form_add(s, &y, b->items[i]);
    const bool differ = fine && forms_differ(s, &x, &y, depth);
    form_free(&x);
    form_free(&y);
    return differ;
}

/* Whether no value can be valid under both; false also where that can not be seen. */
static bool lists_differ(struct schema *s, const struct list *a, const struct list *b, int depth) {
    struct list x = {NULL, 0, 0}, y = {NULL, 0, 0};
    bool never_x = false, never_y = false, differ = false;
    // What takes too long to see counts as not seen.
    const bool goes_on = depth > 0 && ++s->n_compared <= SCHEMA_MAX_COMPARED;
    if (goes_on && schema_flatten(s, a, &x, &never_x) && schema_flatten(s, b, &y, &never_y)) {
        const size_t at_x = find_choice(&x), at_y = find_choice(&y);
        if (never_x || never_y)
            differ = true;
        else if (at_x < x.n)
            differ = branches_differ(s, &x, at_x, &y, depth);
        else if (at_y < y.n)
            differ = branches_differ(s, &y, at_y, &x, depth);
        else
            differ = plain_differ(s, &x, &y, depth);
    }
    list_free(&x);
    list_free(&y);
    return differ;
}

static bool same_value(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static unsigned type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_NULL: return TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return TYPE_BOOLEAN;
    case JSON_INTEGER: return TYPE_INTEGER;
    case JSON_REAL: return floor(json_real_value(value)) == json_real_value(value) ? TYPE_INTEGER
                                                                                   : TYPE_NUMBER;
    case JSON_STRING: return TYPE_STRING;
    case JSON_ARRAY: return TYPE_ARRAY;
    default: return TYPE_OBJECT;
    }
}

/* The types of the values that a form lists, else those it allows. */
static unsigned types_of(const struct form *f) {
    unsigned types = 0;
    size_t i;
    const json_t *value;
    json_array_foreach(f->values, i, value) types |= type_of(value);
    return f->values ? types & f->types : f->types;
}

bool forms_differ(struct schema *s, const struct form *a, const struct form *b, int depth) {
    const unsigned types = types_of(a) & types_of(b);
    if (types == 0) return true;
    if (a->values && b->values) {
        bool differ = true;
        size_t i, k;
        json_t *x, *y;
        json_array_foreach(a->values, i, x) {
            json_array_foreach(b->values, k, y) differ &= !same_value(x, y);
        }
        return differ;
    }
    const bool numbers = (types & ~(unsigned)(TYPE_INTEGER | TYPE_NUMBER)) == 0;
    if (numbers && a->max.given && b->min.given && bound_compare(&a->max, &b->min) < 0) return true;
    if (numbers && b->max.given && a->min.given && bound_compare(&b->max, &a->min) < 0) return true;
    if (types != TYPE_OBJECT) return false;
    for (size_t i = 0; i < a->n_properties; i++) {
        const struct property *const p = &a->properties[i];
        for (size_t k = 0; k < b->n_properties && p->required; k++) {
            const struct property *const q = &b->properties[k];
            if (q->required && p->n_name == q->n_name && memcmp(p->name, q->name, p->n_name) == 0 &&
                lists_differ(s, &p->value, &q->value, depth - 1))
                return true;
        }
    }
    return false;
}

/* oneOf is anyOf where no two branches have a value in common. */
static bool check_one(struct schema *s, const struct list *list, size_t at) {
    const size_t n = n_branches(&list->items[at]);
    if (n > SCHEMA_MAX_LIST)
        return schema_refuse(s, list->items[at].path, "oneOf", "has more than %d branches",
                             SCHEMA_MAX_LIST);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            struct list a = {NULL, 0, 0}, b = {NULL, 0, 0};
            const bool differ = branch_list(s, list, at, i, &a) &&
                                branch_list(s, list, at, k, &b) && lists_differ(s, &a, &b, 6);
            list_free(&a);
            list_free(&b);
            if (s->status != OCTET_OK) return false;
            if (!differ)
                return schema_refuse(s, list->items[at].path, "oneOf",
                                     "has branches %zu and %zu that may hold at once, as far as "
                                     "can be seen; use anyOf", i, k);
        }
    }
    return true;
}

static bool write_choice(struct schema *s, const struct list *list, size_t at) {
    if (list->items[at].kind == ITEM_ONE && !check_one(s, list, at)) return false;
    for (size_t i = 0; i < n_branches(&list->items[at]); i++) {
        struct list one = {NULL, 0, 0};
        uint32_t rule;
        const bool fine = branch_list(s, list, at, i, &one) && schema_rule(s, &one, &rule) &&
                          putf(s, "%sr%u", i > 0 ? " | " : "", rule);
        list_free(&one);
        if (!fine) return false;
    }
    return true;
}

/* ---- Rules ----------------------------------------------------------------------------------- */

static bool write_plain(struct schema *s, const struct list *list) {
    if (list->n == 0) return put(s, "value");
    struct form f;
    form_start(&f);
    bool fine = true;
    for (size_t i = 0; i < list->n && fine; i++) fine = form_add(s, &f, list->items[i]);
    fine = fine && schema_write_form(s, &f, list->n ? list->items[0].path : 0);
    form_free(&f);
    return fine;
}

static bool write_rule(struct schema *s, size_t i) {
    struct list flat = {NULL, 0, 0}, list = {NULL, 0, 0};
    bool never;
    bool fine = list_add_all(s, &list, &s->rules[i].list) &&
                schema_flatten(s, &list, &flat, &never) && putf(s, "r%zu ::= ", i);
    const size_t at = find_choice(&flat);
    if (fine && never)
        fine = put(s, "never");
    else if (fine)
        fine = at < flat.n ? write_choice(s, &flat, at) : write_plain(s, &flat);
    list_free(&list);
    list_free(&flat);
    fine = fine && put(s, "\n") && (s->side.n == 0 || put(s, s->side.bytes));
    buffer_clear(&s->side);
    return fine;
}

/* A dialect of its own may mean anything by its keywords. */
static bool check_dialect(struct schema *s) {
    const json_t *const dialect = json_object_get(s->root, "$schema");
    if (!dialect) return true;
    const char *const name = json_string_value(dialect);
    return (name && strstr(name, "//json-schema.org/")) ||
           schema_refuse(s, 0, "$schema", "names a dialect that is not known");
}

static bool write_grammar(struct schema *s) {
    struct list list = {NULL, 0, 0};
    uint32_t rule;
    add_path(s, "#");
    bool fine = s->status == OCTET_OK && check_dialect(s) && put(s, "root ::= r0\n") &&
                list_add(s, &list, (struct item){s->root, ITEM_ALL, 0}) &&
                schema_rule(s, &list, &rule);
    list_free(&list);
    for (size_t i = 0; i < s->n_rules && fine; i++) fine = write_rule(s, i);
    // What never ends can not be chosen.
    return fine && put(s, "never ::= \"!\" never\n") && put(s, builtin);
}

static bool is_legacy(const json_t *root) {
    const char *const name = json_string_value(json_object_get(root, "$schema"));
    return name && (strstr(name, "draft-07") || strstr(name, "draft-06") ||
                    strstr(name, "draft-04") || strstr(name, "draft-03"));
}

enum octet_status schema_grammar(const char *schema, size_t n_bytes, unsigned flags, char **text,
                                 size_t *n_text, struct octet_err *err) {
    *text = NULL;
    *n_text = 0;
    json_error_t why;
    if (n_bytes > SCHEMA_MAX_SOURCE)
        return octet_fail(err, OCTET_EUNSUPPORTED, "schema: longer than %d bytes",
                          SCHEMA_MAX_SOURCE);
    json_t *const root = json_loadb(schema, n_bytes,
                                    JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES,
                                    &why);
    if (!root)
        return octet_fail(err, OCTET_EFORMAT, "schema: line %d, column %d: %s", why.line,
                          why.column, why.text);
    struct schema s = {.root = root, .flags = flags, .legacy = is_legacy(root), .err = err};
    if (write_grammar(&s)) {
        *text = s.out.bytes;
        *n_text = s.out.n;
    } else {
        buffer_free(&s.out);
    }
    for (size_t i = 0; i < s.n_rules; i++) list_free(&s.rules[i].list);
    for (size_t i = 0; i < s.n_paths; i++) mem_free(s.paths[i]);
    mem_free(s.rules);
    mem_free(s.paths);
    buffer_free(&s.side);
    json_decref(root);
    return s.status;
}
