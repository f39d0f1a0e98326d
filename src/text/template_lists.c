/* Filters of chat templates over whole lists: choosing, mapping, joining, sorting. */
#include <string.h>

#include "text/template_impl.h"

/* ---- Attributes of elements ------------------------------------------------------------------ */

/* What a filter looks at of each element: the element itself, or an attribute named "a.b" or by a
 * number, or several, separated by commas. */
struct key {
    struct value attribute; // missing or none: the element itself
    struct value otherwise; // in place of an undefined attribute, where given
    bool fold;              // capital and small letters are alike
};

static struct value one_attribute(struct render *r, const struct key *key, const char *path,
                                  size_t n, struct value v) {
    for (size_t at = 0; at <= n && !r->status;) {
        const char *dot = memchr(path + at, '.', n - at);
        size_t n_part = dot ? (size_t)(dot - path) - at : n - at, n_digits = 0;
        int64_t number = 0;
        for (; n_digits < n_part && n_digits < 9; n_digits++) {
            char c = path[at + n_digits];
            if (c < '0' || c > '9') break;
            number = 10 * number + (c - '0');
        }
        bool is_number = n_part > 0 && n_digits == n_part;
        v = get_item(r, v, is_number ? value_int(number) : str_view(r, path + at, n_part));
        if (v.kind == V_UNDEFINED && is_given(key->otherwise)) v = key->otherwise;
        at += n_part + 1;
    }
    return v;
}

static struct value folded(struct render *r, const struct key *key, struct value v) {
    return key->fold && v.kind == V_STRING ? text_lower(r, v.string) : v;
}

static struct value key_of(struct render *r, const struct key *key, struct value v) {
    struct value a = key->attribute;
    if (a.kind == V_MISSING || a.kind == V_NONE) return folded(r, key, v);
    if (a.kind != V_STRING) return folded(r, key, get_item(r, v, a));
    const struct str *s = a.string;
    if (!memchr(s->p, ',', s->n)) return folded(r, key, one_attribute(r, key, s->p, s->n, v));
    struct value keys = list_new(r, LIST_TUPLE);
    for (size_t at = 0; at <= s->n && !r->status;) {
        const char *comma = memchr(s->p + at, ',', s->n - at);
        size_t n = comma ? (size_t)(comma - s->p) - at : s->n - at;
        list_push(r, keys.list, folded(r, key, one_attribute(r, key, s->p + at, n, v)));
        at += n + 1;
    }
    return keys;
}

static struct list *keys_of(struct render *r, const struct key *key, const struct list *all) {
    struct list *keys = list_new(r, LIST_LIST).list;
    for (size_t i = 0; i < all->n && !r->status; i++)
        list_push(r, keys, key_of(r, key, all->items[i]));
    return keys;
}

/* ---- Choosing and mapping -------------------------------------------------------------------- */

static struct value named_argument(const struct args *args, const char *name) {
    for (size_t i = 0; i < args->n_named; i++)
        if (str_is(args->named[i].key.string, name)) return args->named[i].value;
    return (struct value){.kind = V_MISSING};
}

static struct args without_first(const struct args *args, size_t n) {
    return (struct args){args->values + n, args->n - n, args->named, args->n_named};
}

/* The filter or test whose name is the I-th argument. */
static const struct builtin *builtin_argument(struct render *r, const struct builtin *table,
                                              const struct args *args, size_t i) {
    const struct builtin *b = NULL;
    struct value v = i < args->n ? args->values[i] : value_none();
    if (v.kind == V_STRING) b = builtin_find(table, v.string->p, v.string->n);
    if (!b)
        render_fail(r, "no filter or test named '%.*s' is supported",
                    v.kind == V_STRING && v.string->n < 100 ? (int)v.string->n : 0,
                    v.kind == V_STRING ? v.string->p : "");
    return b;
}

struct value filter_map(struct render *r, struct value v, const struct args *args) {
    struct value out = list_new(r, LIST_ONCE);
    struct key key = {named_argument(args, "attribute"), named_argument(args, "default"), false};
    bool by_attribute = args->n == 0 && is_given(key.attribute);
    if (!value_truth(v)) return out;
    const struct builtin *filter =
        by_attribute ? NULL : builtin_argument(r, template_filters, args, 0);
    const struct list *all = value_elements(r, v);
    for (size_t i = 0; i < all->n && !r->status; i++) {
        struct value mapped;
        if (filter) {
            struct args rest = without_first(args, 1);
            mapped = call_builtin(r, filter, all->items[i], &rest);
        } else {
            mapped = key_of(r, &key, all->items[i]);
        }
        list_push(r, out.list, mapped);
    }
    return out;
}

/* The elements that hold, themselves or by an attribute, or do not. */
static struct value choose(struct render *r, struct value v, const struct args *args,
                           bool by_attribute, bool holds) {
    struct value out = list_new(r, LIST_ONCE);
    struct key key = {.attribute = {.kind = V_MISSING}};
    size_t n_used = by_attribute ? 1 : 0;
    if (!value_truth(v)) return out;
    if (args->n < n_used) return render_fail(r, "the name of an attribute is missing");
    if (by_attribute) key.attribute = args->values[0];
    const struct builtin *test =
        args->n > n_used ? builtin_argument(r, template_tests, args, n_used) : NULL;
    const struct list *all = value_elements(r, v);
    for (size_t i = 0; i < all->n && !r->status; i++) {
        struct value looked_at = key_of(r, &key, all->items[i]);
        if (test) {
            struct args rest = without_first(args, n_used + 1);
            looked_at = call_builtin(r, test, looked_at, &rest);
        }
        if (value_truth(looked_at) == holds) list_push(r, out.list, all->items[i]);
    }
    return out;
}

struct value filter_select(struct render *r, struct value v, const struct args *args) {
    return choose(r, v, args, false, true);
}

struct value filter_reject(struct render *r, struct value v, const struct args *args) {
    return choose(r, v, args, false, false);
}

struct value filter_selectattr(struct render *r, struct value v, const struct args *args) {
    return choose(r, v, args, true, true);
}

struct value filter_rejectattr(struct render *r, struct value v, const struct args *args) {
    return choose(r, v, args, true, false);
}

/* ---- Joining --------------------------------------------------------------------------------- */

struct value filter_join(struct render *r, struct value v, const struct args *args) {
    const struct list *all = value_elements(r, v);
    struct key key = {.attribute = args->values[1]};
    struct builder b = {.r = r};
    bool separated = is_given(args->values[0]);
    const struct str *separator = separated ? value_text(r, args->values[0]) : NULL;
    for (size_t i = 0; i < all->n && !r->status; i++) {
        if (i && separated) builder_add_str(&b, separator);
        builder_add_str(&b, value_text(r, key_of(r, &key, all->items[i])));
        render_charge(r, 1);
    }
    return builder_string(&b);
}

struct value filter_sum(struct render *r, struct value v, const struct args *args) {
    const struct list *all = value_elements(r, v);
    struct key key = {.attribute = args->values[0]};
    struct value sum = is_given(args->values[1]) ? args->values[1] : value_int(0);
    for (size_t i = 0; i < all->n && !r->status; i++)
        sum = binary(r, OP_ADD, sum, key_of(r, &key, all->items[i]));
    return sum;
}

/* ---- Sorting --------------------------------------------------------------------------------- */

struct sorting {
    const struct value *keys;
    size_t *order, *scratch;
    bool reverse;
};

/* Merge sort of order[from, to): equal keys stay in order, also in reverse. */
static void sort_part(struct render *r, const struct sorting *s, size_t from, size_t to) {
    if (to - from < 2 || r->status) return;
    size_t middle = from + (to - from) / 2, a = from, b = middle;
    sort_part(r, s, from, middle);
    sort_part(r, s, middle, to);
    for (size_t i = from; i < to && !r->status; i++) {
        bool right = a == middle;
        if (!right && b < to) {
            int order = value_compare(r, s->keys[s->order[b]], s->keys[s->order[a]]);
            right = s->reverse ? order > 0 : order < 0;
        }
        s->scratch[i] = s->order[right ? b++ : a++];
    }
    if (!r->status) memcpy(s->order + from, s->scratch + from, (to - from) * sizeof *s->order);
}

/* A new list of the elements in order of their keys. */
static struct value sorted(struct render *r, const struct list *all, const struct list *keys,
                           bool reverse) {
    struct value out = list_new(r, LIST_LIST);
    size_t *order = render_alloc(r, 2 * all->n * sizeof *order);
    if (!order) return out;
    for (size_t i = 0; i < all->n; i++) order[i] = i;
    sort_part(r, &(struct sorting){keys->items, order, order + all->n, reverse}, 0, all->n);
    for (size_t i = 0; i < all->n && !r->status; i++)
        list_push(r, out.list, all->items[order[i]]);
    return out;
}

struct value filter_sort(struct render *r, struct value v, const struct args *args) {
    const struct list *all = value_elements(r, v);
    struct key key = {.attribute = args->values[2], .fold = !value_truth(args->values[1])};
    return sorted(r, all, keys_of(r, &key, all), value_truth(args->values[0]));
}

struct value filter_dictsort(struct render *r, struct value v, const struct args *args) {
    struct value by = args->values[1];
    if (v.kind != V_DICT) return render_fail(r, "dictsort: expected a dict");
    bool by_value = by.kind == V_STRING && str_is(by.string, "value");
    if (is_given(by) && !by_value && !(by.kind == V_STRING && str_is(by.string, "key")))
        return render_fail(r, "dictsort: expected to sort by 'key' or 'value'");
    const struct list *all = dict_list(r, v.dict, LIST_ITEMS).list;
    struct key key = {.attribute = value_int(by_value), .fold = !value_truth(args->values[0])};
    return sorted(r, all, keys_of(r, &key, all), value_truth(args->values[2]));
}

/* Pairs of an attribute's value and the list of the elements that have it. */
struct value filter_groupby(struct render *r, struct value v, const struct args *args) {
    const struct list *all = value_elements(r, v);
    struct key key = {args->values[0], args->values[1], !value_truth(args->values[2])};
    struct key shown = {args->values[0], args->values[1], false};
    all = sorted(r, all, keys_of(r, &key, all), false).list;
    const struct list *keys = keys_of(r, &key, all);
    struct value groups = list_new(r, LIST_LIST), members = value_none();
    for (size_t i = 0; i < all->n && !r->status; i++) {
        if (i == 0 || !value_equal(r, keys->items[i], keys->items[i - 1])) {
            struct value group = list_new(r, LIST_TUPLE);
            members = list_new(r, LIST_LIST);
            list_push(r, group.list, key_of(r, &shown, all->items[i]));
            list_push(r, group.list, members);
            list_push(r, groups.list, group);
        }
        list_push(r, members.list, all->items[i]);
    }
    return groups;
}

static struct value extreme(struct render *r, struct value v, const struct args *args, int sign) {
    const struct list *all = value_elements(r, v);
    struct key key = {.attribute = args->values[1], .fold = !value_truth(args->values[0])};
    const struct list *keys = keys_of(r, &key, all);
    size_t best = 0;
    if (all->n == 0) return value_undefined(r, NULL, str_text(r, "the best of no items"));
    for (size_t i = 1; i < all->n && !r->status; i++)
        if (sign * value_compare(r, keys->items[i], keys->items[best]) > 0) best = i;
    return all->items[best];
}

struct value filter_min(struct render *r, struct value v, const struct args *args) {
    return extreme(r, v, args, -1);
}

struct value filter_max(struct render *r, struct value v, const struct args *args) {
    return extreme(r, v, args, 1);
}

struct value filter_unique(struct render *r, struct value v, const struct args *args) {
    const struct list *all = value_elements(r, v);
    struct key key = {.attribute = args->values[1], .fold = !value_truth(args->values[0])};
    struct value out = list_new(r, LIST_ONCE), seen = list_new(r, LIST_LIST);
    for (size_t i = 0; i < all->n && !r->status; i++) {
        struct value k = key_of(r, &key, all->items[i]);
        if (!value_check_key(r, k) || value_in(r, k, seen)) continue;
        list_push(r, seen.list, k);
        list_push(r, out.list, all->items[i]);
    }
    return out;
}
