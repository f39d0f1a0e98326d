/* Objects of a schema: their properties in the order in which it lists them, then others. */
#include <stdlib.h>
#include <string.h>

#include "octet.h"
#include "text/schema_impl.h"

/* ---- Keys that are not listed ---------------------------------------------------------------- */

struct name {
    const char *bytes;
    size_t n;
};

/* Names that begin alike: from FIRST to END, in DEPTH bytes. */
struct alike {
    size_t first, end, depth;
};

struct keys {
    struct schema *s;
    struct name *names; // sorted
    struct alike *groups; // (n_groups) each a helper rule, numbered from HELPER on
    size_t n_groups, groups_cap, helper;
};

static int compare_names(const void *a, const void *b) {
    const struct name *const x = a, *const y = b;
    const int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    if (order != 0) return order;
    return x->n < y->n ? -1 : x->n > y->n;
}

/* The names of G from AT on that go on with the same character, as a group: returns their end. */
static size_t add_group(struct keys *k, struct alike g, size_t at, struct code_set *next) {
    const char *p = k->names[at].bytes + g.depth;
    const char *const from = p;
    const uint32_t code = next_code(&p);
    const size_t n = (size_t)(p - from);
    size_t end = at + 1;
    while (end < g.end && k->names[end].n >= g.depth + n &&
           memcmp(k->names[end].bytes + g.depth, from, n) == 0)
        end++;
    if (!mem_reserve((void **)&k->groups, &k->groups_cap, k->n_groups + 1, sizeof *k->groups)) {
        schema_no_memory(k->s);
        return g.end;
    }
    k->groups[k->n_groups++] = (struct alike){at, end, g.depth + n};
    struct code_set one = {.lo = {code}, .hi = {code}, .n = 1};
    put_set(k->s, &one);
    putf(k->s, " a%zu | ", k->helper + k->n_groups - 1);
    set_add(next, code, code);
    return end;
}

/* Keys that begin with what the group has in common, and are no name of it. */
static bool write_group(struct keys *k, size_t i, uint32_t path) {
    struct code_set next = {.n = 0};
    const struct alike g = k->groups[i];
    size_t at = g.first;
    schema_begin_helper(k->s);
    putf(k->s, "a%zu ::= ", k->helper + i);
    const bool is_name = k->names[at].n == g.depth;
    at += is_name;
    while (at < g.end && next.n < 200) at = add_group(k, g, at, &next);
    if (at < g.end)
        return schema_refuse(k->s, path, "properties", "begin with too many characters");
    if (!is_name) put(k->s, "\"\" | ");
    set_finish(&next, true);
    put_set(k->s, &next);
    put(k->s, " c*");
    return schema_end_helper(k->s);
}

static bool gather_names(struct keys *k, const struct form *f, uint32_t path) {
    k->names = mem_array(f->n_properties, sizeof *k->names);
    k->groups = mem_array(1, sizeof *k->groups);
    if (!k->names || !k->groups) return schema_no_memory(k->s);
    k->groups_cap = k->n_groups = 1;
    k->groups[0] = (struct alike){0, f->n_properties, 0};
    for (size_t i = 0; i < f->n_properties; i++) {
        const struct property *const p = &f->properties[i];
        if (p->n_name > SCHEMA_MAX_NAME)
            return schema_refuse(k->s, path, "properties",
                                 "have a name of more than %d bytes beside additional ones",
                                 SCHEMA_MAX_NAME);
        k->names[i] = (struct name){p->name, p->n_name};
    }
    qsort(k->names, f->n_properties, sizeof *k->names, compare_names);
    return true;
}

/* Helper rules for keys that are none of F's properties; *HELPER is the first. Keys are compared as
 * they are spelled, so all characters up to the first that differs are spelled in one way only. */
static bool write_keys(struct schema *s, const struct form *f, uint32_t path, size_t *helper) {
    struct keys k = {.s = s, .helper = s->n_helpers};
    *helper = k.helper;
    bool fine = gather_names(&k, f, path);
    for (size_t i = 0; i < k.n_groups && fine; i++) fine = write_group(&k, i, path);
    s->n_helpers += k.n_groups;
    mem_free(k.names);
    mem_free(k.groups);
    s->aside = false;
    return fine;
}

/* ---- Members --------------------------------------------------------------------------------- */

struct object {
    struct schema *s;
    const struct form *f;
    bool open;       // there may be others
    size_t others;   // the helper rule of one of those
    size_t min_others; // of them, where nothing else comes before
    size_t max_others; // SIZE_MAX: any number
    uint32_t *rules; // (n_properties)
};

static bool put_pair(const struct object *o, size_t i) {
    const struct property *const p = &o->f->properties[i];
    return put(o->s, "\"\\\"") && put_text(o->s, p->name, p->n_name) &&
           putf(o->s, "\\\":\" \" \"? r%u ", o->rules[i]);
}

/* Properties from I on and others, something being there already. */
static bool put_after(const struct object *o, size_t i) {
    for (; i < o->f->n_properties; i++) {
        const bool required = o->f->properties[i].required;
        put(o->s, required ? "\",\" s " : "(\",\" s ");
        if (!put_pair(o, i)) return false;
        if (!required) put(o->s, ")? ");
    }
    return !o->open || putf(o->s, "(\",\" s a%zu)* ", o->others);
}

/* Others, nothing being there yet. */
static bool put_others(const struct object *o) {
    if (!o->open || o->max_others == 0)
        return put(o->s, o->min_others == 0 ? "\"\"" : "never");
    putf(o->s, o->min_others > 0 ? "a%zu " : "(a%zu ", o->others);
    if (o->max_others == SIZE_MAX)
        putf(o->s, "(\",\" s a%zu)*", o->others);
    else
        putf(o->s, "(\",\" s a%zu){0,%zu}", o->others, o->max_others - 1);
    return put(o->s, o->min_others > 0 ? "" : ")?");
}

/* Any of the properties before the first required one may come first; each has a helper rule for
 * what follows it. */
static bool put_members(struct object *o) {
    const size_t n = o->f->n_properties, helper = o->s->n_helpers;
    size_t n_free = 0; // properties before the first required one
    while (n_free < n && !o->f->properties[n_free].required) n_free++;
    if (n_free == 0 && n > 0) return put_pair(o, 0) && put_after(o, 1);
    o->s->n_helpers += n_free;
    for (size_t i = 0; i < n_free; i++) {
        if (!put_pair(o, i)) return false;
        putf(o->s, "a%zu | ", helper + i);
        schema_begin_helper(o->s);
        putf(o->s, "a%zu ::= \"\" ", helper + i);
        if (i + 1 < n_free) {
            put(o->s, "(\",\" s ");
            put_pair(o, i + 1);
            putf(o->s, ")? a%zu", helper + i + 1);
        } else {
            put_after(o, i + 1);
        }
        if (!schema_end_helper(o->s)) return false;
    }
    return n_free < n ? put_pair(o, n_free) && put_after(o, n_free + 1) : put_others(o);
}

static bool is_open(const struct schema *s, const struct form *f) {
    if (f->no_others) return false;
    return s->flags & OCTET_SCHEMA_OPEN || f->speaks_of_others || !f->lists_properties;
}

/* minProperties and maxProperties, where they can be kept to. *NEVER: nothing can. */
static bool check_counts(struct object *o, uint32_t path, bool *never) {
    const struct form *const f = o->f;
    size_t n_required = 0;
    for (size_t i = 0; i < f->n_properties; i++) n_required += f->properties[i].required;
    *never = f->max_properties < n_required || f->max_properties < f->min_properties;
    o->max_others = SIZE_MAX;
    if (f->min_properties > n_required) {
        if (f->min_properties > 1 || (!o->open && f->n_properties == 0)) {
            *never |= !o->open && f->min_properties > f->n_properties;
            if (*never) return true;
            return schema_refuse(o->s, path, "minProperties", "is supported up to 1, or up to how "
                                 "many are required");
        }
        o->min_others = 1;
    }
    if (o->open ? f->max_properties != SIZE_MAX : f->max_properties < f->n_properties) {
        if (f->n_properties > 0 && !*never)
            return schema_refuse(o->s, path, "maxProperties", "is not supported beside properties");
        o->max_others = f->max_properties;
    }
    return true;
}

static bool find_rules(struct object *o) {
    const struct form *const f = o->f;
    o->rules = mem_array(f->n_properties, sizeof *o->rules);
    if (!o->rules) return schema_no_memory(o->s);
    for (size_t i = 0; i < f->n_properties; i++)
        if (!schema_rule(o->s, &f->properties[i].value, &o->rules[i])) return false;
    return true;
}

/* The helper rule of an additional property. */
static bool write_other(struct object *o, uint32_t path) {
    uint32_t rule;
    size_t keys = 0;
    struct schema *const s = o->s;
    const bool any = o->f->n_properties == 0;
    if (!schema_rule(s, &o->f->others, &rule) || (!any && !write_keys(s, o->f, path, &keys)))
        return false;
    o->others = s->n_helpers++;
    schema_begin_helper(s);
    putf(s, "a%zu ::= ", o->others);
    if (any)
        put(s, "string");
    else
        putf(s, "\"\\\"\" a%zu \"\\\"\"", keys);
    putf(s, " \":\" \" \"? r%u", rule);
    return schema_end_helper(s);
}

bool schema_write_object(struct schema *s, const struct form *f, uint32_t path) {
    struct object o = {.s = s, .f = f, .open = is_open(s, f)};
    bool never;
    if (!check_counts(&o, path, &never)) return false;
    if (never) return put(s, "never");
    const bool empty = f->n_properties == 0 && (!o.open || o.max_others == 0);
    if (empty) return put(s, "\"{\" s \"}\"");
    bool fine = find_rules(&o) && (!o.open || write_other(&o, path));
    fine = fine && put(s, "\"{\" s (");
    // An object without members has no second place for blanks.
    fine = fine && put_members(&o) && put(s, ") s \"}\"");
    mem_free(o.rules);
    return fine;
}
