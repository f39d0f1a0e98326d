/* Methods of lists, dicts and loops in chat templates, and the functions that every template has.
 * The methods that change a list or dict are ours: transformers' sandbox refuses them. */
#include <string.h>
#include <time.h>

#include "text/template_impl.h"

/* ---- Lists ----------------------------------------------------------------------------------- */

static struct value list_append(struct render *r, struct value self, const struct args *args) {
    list_push(r, self.list, args->values[0]);
    return value_none();
}

static struct value list_extend(struct render *r, struct value self, const struct args *args) {
    const struct list *more = value_elements(r, args->values[0]);
    for (size_t i = 0, n = more->n; i < n && !r->status; i++)
        list_push(r, self.list, more->items[i]);
    return value_none();
}

static struct value list_insert(struct render *r, struct value self, const struct args *args) {
    struct list *list = self.list;
    int64_t at, n = (int64_t)list->n;
    if (!value_integer(args->values[0], &at)) return render_fail(r, "insert: expected an index");
    list_push(r, list, args->values[1]);
    if (r->status) return value_none();
    if (at < 0) at = at < -n ? 0 : at + n;
    for (; n > at; n--) list->items[n] = list->items[n - 1];
    list->items[n] = args->values[1];
    render_charge(r, list->n / 16);
    return value_none();
}

static struct value list_pop(struct render *r, struct value self, const struct args *args) {
    struct list *list = self.list;
    int64_t at = -1, n = (int64_t)list->n;
    if (is_given(args->values[0]) && !value_integer(args->values[0], &at))
        return render_fail(r, "pop: expected an index");
    if (at < 0) at += n;
    if (at < 0 || at >= n) return render_fail(r, "pop: there is no such element");
    struct value popped = list->items[at];
    for (list->n--; at < n - 1; at++) list->items[at] = list->items[at + 1];
    render_charge(r, list->n / 16);
    return popped;
}

static struct value list_index(struct render *r, struct value self, const struct args *args) {
    for (size_t i = 0; i < self.list->n && !r->status; i++) {
        render_charge(r, 1);
        if (value_equal(r, self.list->items[i], args->values[0])) return value_int((int64_t)i);
    }
    return render_fail(r, "the value is not in the list");
}

static struct value list_count(struct render *r, struct value self, const struct args *args) {
    int64_t n = 0;
    for (size_t i = 0; i < self.list->n && !r->status; i++) {
        render_charge(r, 1);
        n += value_equal(r, self.list->items[i], args->values[0]);
    }
    return value_int(n);
}

const struct builtin template_list_methods[] = {
    {"append", "object", 1, list_append},
    {"count", "value", 1, list_count},
    {"extend", "iterable", 1, list_extend},
    {"index", "value", 1, list_index},
    {"insert", "index object", 2, list_insert},
    {"pop", "index", 0, list_pop},
    {NULL, NULL, 0, NULL},
};

/* ---- Dicts ----------------------------------------------------------------------------------- */

static struct value dict_get(struct render *r, struct value self, const struct args *args) {
    const struct value *found = dict_find(r, self.dict, args->values[0]);
    if (found) return *found;
    return is_given(args->values[1]) ? args->values[1] : value_none();
}

static struct value dict_keys(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return dict_list(r, self.dict, LIST_KEYS);
}

static struct value dict_values(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return dict_list(r, self.dict, LIST_VALUES);
}

static struct value dict_items(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return dict_list(r, self.dict, LIST_ITEMS);
}

/* Puts the pairs of FROM, a dict or an iterable of pairs, into DICT. */
static void dict_take(struct render *r, struct dict *dict, struct value from) {
    if (from.kind == V_DICT) from = dict_list(r, from.dict, LIST_ITEMS);
    const struct list *pairs = value_elements(r, from);
    for (size_t i = 0; i < pairs->n && !r->status; i++) {
        const struct list *pair = value_elements(r, pairs->items[i]);
        if (pair->n != 2) render_fail(r, "expected pairs of a key and a value");
        if (!r->status) dict_set(r, dict, pair->items[0], pair->items[1]);
    }
}

static struct value fill_dict(struct render *r, struct value dict, const struct args *args) {
    if (args->n > 1) return render_fail(r, "expected at most one argument without a name");
    if (args->n) dict_take(r, dict.dict, args->values[0]);
    for (size_t i = 0; i < args->n_named && !r->status; i++)
        dict_set(r, dict.dict, args->named[i].key, args->named[i].value);
    return dict;
}

static struct value dict_update(struct render *r, struct value self, const struct args *args) {
    fill_dict(r, self, args);
    return value_none();
}

static struct value dict_copy(struct render *r, struct value self, const struct args *args) {
    struct value copy = dict_new(r, V_DICT);
    (void)args;
    for (size_t i = 0; i < self.dict->n && !r->status; i++)
        dict_append(r, copy.dict, self.dict->pairs[i].key, self.dict->pairs[i].value);
    return copy;
}

static struct value dict_pop(struct render *r, struct value self, const struct args *args) {
    struct dict *d = self.dict;
    const struct value *found = dict_find(r, d, args->values[0]);
    if (!found && is_given(args->values[1])) return args->values[1];
    if (!found) return render_fail(r, "pop: there is no such key");
    struct value popped = *found;
    size_t i = 0;
    while (&d->pairs[i].value != found) i++;
    for (d->n--; i < d->n; i++) d->pairs[i] = d->pairs[i + 1];
    return popped;
}

static struct value dict_setdefault(struct render *r, struct value self, const struct args *args) {
    const struct value *found = dict_find(r, self.dict, args->values[0]);
    if (found) return *found;
    struct value v = is_given(args->values[1]) ? args->values[1] : value_none();
    dict_set(r, self.dict, args->values[0], v);
    return v;
}

const struct builtin template_dict_methods[] = {
    {"copy", "", 0, dict_copy},
    {"get", "key default", 1, dict_get},
    {"items", "", 0, dict_items},
    {"keys", "", 0, dict_keys},
    {"pop", "key default", 1, dict_pop},
    {"setdefault", "key default", 1, dict_setdefault},
    {"update", NULL, 0, dict_update},
    {"values", "", 0, dict_values},
    {NULL, NULL, 0, NULL},
};

/* ---- Loops ----------------------------------------------------------------------------------- */

static struct value loop_cycle(struct render *r, struct value self, const struct args *args) {
    if (args->n == 0) return render_fail(r, "no items for cycling given");
    return args->values[self.loop->index % args->n];
}

static struct value loop_changed(struct render *r, struct value self, const struct args *args) {
    struct value now = list_new(r, LIST_TUPLE);
    for (size_t i = 0; i < args->n; i++) list_push(r, now.list, args->values[i]);
    bool changed = !value_equal(r, now, self.loop->changed);
    self.loop->changed = now;
    return value_bool(changed);
}

const struct builtin template_loop_methods[] = {
    {"changed", NULL, 0, loop_changed},
    {"cycle", NULL, 0, loop_cycle},
    {NULL, NULL, 0, NULL},
};

/* ---- Functions ------------------------------------------------------------------------------- */

static struct value make_range(struct render *r, struct value self, const struct args *args) {
    int64_t bounds[3] = {0, 0, 1};
    struct value out = list_new(r, LIST_RANGE);
    (void)self;
    for (size_t i = 0; i < 3; i++)
        if (is_given(args->values[i]) && !value_integer(args->values[i], &bounds[i]))
            return render_fail(r, "range: expected integers, found %s",
                               value_type(args->values[i]));
    if (!is_given(args->values[1])) {
        bounds[1] = bounds[0];
        bounds[0] = 0;
    }
    int64_t step = bounds[2];
    if (step == 0) return render_fail(r, "range: the step must not be 0");
    for (int64_t i = bounds[0]; (step > 0 ? i < bounds[1] : i > bounds[1]) && !r->status;) {
        list_push(r, out.list, value_int(i));
        if (out.list->n > RENDER_MAX_RANGE)
            return render_fail(r, "range: more than %d numbers", RENDER_MAX_RANGE);
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return out;
}

static struct value make_dict(struct render *r, struct value self, const struct args *args) {
    (void)self;
    return fill_dict(r, dict_new(r, V_DICT), args);
}

static struct value make_namespace(struct render *r, struct value self, const struct args *args) {
    (void)self;
    return fill_dict(r, dict_new(r, V_NAMESPACE), args);
}

static struct value raise_exception(struct render *r, struct value self, const struct args *args) {
    const struct str *text = value_text(r, args->values[0]);
    (void)self;
    if (!r->status) r->status = octet_fail(r->err, OCTET_EARG, "%.*s", (int)text->n, text->p);
    return value_none();
}

/* The local time, as C's strftime has it. */
static struct value strftime_now(struct render *r, struct value self, const struct args *args) {
    char format[256], text[1024];
    const struct str *given = value_text(r, args->values[0]);
    time_t now = time(NULL);
    struct tm local;
    (void)self;
    if (given->n >= sizeof format || !localtime_r(&now, &local))
        return render_fail(r, "strftime_now: the format is too long");
    memcpy(format, given->p, given->n);
    format[given->n] = 0;
    return str_copy(r, text, strftime(text, sizeof text, format, &local));
}

const struct builtin template_functions[] = {
    {"dict", NULL, 0, make_dict},
    {"namespace", NULL, 0, make_namespace},
    {"raise_exception", "message", 1, raise_exception},
    {"range", "start stop step", 1, make_range},
    {"strftime_now", "format", 1, strftime_now},
    {NULL, NULL, 0, NULL},
};
