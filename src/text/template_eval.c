/* Expressions of chat templates, evaluated as Python would. */
#include <math.h>
#include <string.h>

#include "text/template_impl.h"

/* ---- Attributes and elements ----------------------------------------------------------------- */

const struct builtin *builtin_find(const struct builtin *table, const char *name, size_t n) {
    for (; table->name; table++)
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0) return table;
    return NULL;
}

static struct value undefined_in(struct render *r, struct value object, struct value name) {
    static const char *const owners[] = {
        [V_NONE] = "None", [V_BOOL] = "bool object", [V_INT] = "int object",
        [V_FLOAT] = "float object", [V_STRING] = "str object", [V_LIST] = "list object",
        [V_DICT] = "dict object", [V_NAMESPACE] = "namespace object", [V_MACRO] = "macro object",
        [V_FUNCTION] = "function object", [V_LOOP] = "loop object"};
    return value_undefined(r, owners[object.kind], name);
}

static struct value loop_attribute(struct render *r, struct value v, struct value name) {
    const struct loop *loop = v.loop;
    const struct str *s = name.string;
    int64_t i = (int64_t)loop->index, n = (int64_t)loop->list->n;
    if (str_is(s, "index")) return value_int(i + 1);
    if (str_is(s, "index0")) return value_int(i);
    if (str_is(s, "revindex")) return value_int(n - i);
    if (str_is(s, "revindex0")) return value_int(n - i - 1);
    if (str_is(s, "first")) return value_bool(i == 0);
    if (str_is(s, "last")) return value_bool(i + 1 >= n);
    if (str_is(s, "length")) return value_int(n);
    if (str_is(s, "depth")) return value_int(1); // loops are not recursive
    if (str_is(s, "depth0")) return value_int(0);
    if (str_is(s, "previtem") && i > 0) return loop->previous;
    if (str_is(s, "nextitem") && i + 1 < n) return loop->list->items[i + 1];
    return undefined_in(r, v, name);
}

static const struct builtin *find_method(struct value object, const struct str *name) {
    const struct builtin *table = NULL;
    if (object.kind == V_STRING) table = template_str_methods;
    else if (is_form(object, LIST_LIST)) table = template_list_methods;
    else if (object.kind == V_DICT) table = template_dict_methods;
    else if (object.kind == V_LOOP) table = template_loop_methods;
    return table ? builtin_find(table, name->p, name->n) : NULL;
}

static struct value new_function(struct render *r, const struct builtin *b, struct value self) {
    struct function *f = render_alloc(r, sizeof *f);
    if (!f) return value_none();
    *f = (struct function){b, self};
    return (struct value){.kind = V_FUNCTION, .function = f};
}

/* Methods hide the keys of a dict, as in Jinja. */
struct value get_attribute(struct render *r, struct value object, struct value name) {
    if (object.kind == V_UNDEFINED) return render_fail_undefined(r, object);
    const struct builtin *method = find_method(object, name.string);
    if (method) return new_function(r, method, object);
    if (object.kind == V_LOOP) return loop_attribute(r, object, name);
    const struct value *found = NULL;
    if (object.kind == V_DICT || object.kind == V_NAMESPACE)
        found = dict_find(r, object.dict, name);
    return found ? *found : undefined_in(r, object, name);
}

/* The I-th of N from the end where I is negative; -1: there is none. */
static int64_t index_of(int64_t i, size_t n) {
    if (i < 0) i += (int64_t)n;
    return i >= 0 && i < (int64_t)n ? i : -1;
}

static struct value get_character(struct render *r, const struct str *s, int64_t i) {
    size_t at = 0;
    render_charge(r, s->n / 64);
    i = index_of(i, str_length(s));
    if (i < 0) return (struct value){.kind = V_MISSING};
    for (; i > 0; i--) at += char_size((unsigned char)s->p[at]);
    return str_view(r, s->p + at, char_size((unsigned char)s->p[at]));
}

struct value get_item(struct render *r, struct value object, struct value key) {
    int64_t i;
    struct value found = {.kind = V_MISSING};
    if (object.kind == V_UNDEFINED) return render_fail_undefined(r, object);
    if (object.kind == V_DICT) {
        const struct value *value = dict_find(r, object.dict, key);
        if (value) return *value;
    } else if (value_integer(key, &i)) {
        if (object.kind == V_STRING) found = get_character(r, object.string, i);
        bool indexed = object.kind == V_LIST && object.list->form <= LIST_RANGE;
        i = indexed ? index_of(i, object.list->n) : -1;
        if (i >= 0) found = object.list->items[i];
    }
    if (is_given(found)) return found;
    return key.kind == V_STRING ? get_attribute(r, object, key) : undefined_in(r, object, key);
}

/* ---- Slices ---------------------------------------------------------------------------------- */

struct span {
    int64_t first, step;
    size_t n;
};

/* A bound of a slice, clamped to what a step in that direction may start or end at. */
static int64_t clamp_bound(struct render *r, const struct node *node, int64_t length, bool back,
                           int64_t otherwise) {
    struct value v = node ? eval(r, node) : value_none();
    int64_t i, low = back ? -1 : 0, high = back ? length - 1 : length;
    if (v.kind == V_NONE) return otherwise;
    if (!value_integer(v, &i)) {
        render_fail(r, "slice indices must be integers or None, not %s", value_type(v));
        return 0;
    }
    if (i < 0) i = i < -length ? low : i + length;
    return i < low ? low : i > high ? high : i;
}

static struct span slice_span(struct render *r, const struct node *slice, size_t n) {
    struct value by = slice->c ? eval(r, slice->c) : value_none();
    int64_t length = (int64_t)n, step = 1;
    if (by.kind != V_NONE && (!value_integer(by, &step) || step == 0)) {
        render_fail(r, "the step of a slice must be an integer other than 0");
        return (struct span){0, 1, 0};
    }
    if (step < -length - 1) step = -length - 1; // no further than over everything
    if (step > length + 1) step = length + 1;
    bool back = step < 0;
    int64_t first = clamp_bound(r, slice->a, length, back, back ? length - 1 : 0);
    int64_t last = clamp_bound(r, slice->b, length, back, back ? -1 : length);
    int64_t distance = back ? first - last : last - first;
    int64_t stride = back ? -step : step;
    return (struct span){first, step, distance > 0 ? (size_t)((distance - 1) / stride + 1) : 0};
}

static struct value slice_string(struct render *r, const struct str *s, const struct node *slice) {
    size_t length = str_length(s), at = 0, i = 0;
    render_charge(r, s->n / 32);
    struct span span = slice_span(r, slice, length);
    if (r->status || span.n == 0) return str_view(r, "", 0);
    if (span.step == 1) {
        for (; i < (size_t)span.first; i++) at += char_size((unsigned char)s->p[at]);
        size_t start = at;
        for (i = 0; i < span.n; i++) at += char_size((unsigned char)s->p[at]);
        return str_view(r, s->p + start, at - start);
    }
    size_t *offsets = render_alloc(r, length * sizeof *offsets);
    for (; offsets && at < s->n; at += char_size((unsigned char)s->p[at])) offsets[i++] = at;
    struct builder b = {.r = r};
    int64_t k = span.first;
    for (i = 0; offsets && i < span.n && !r->status; i++, k += span.step)
        builder_add(&b, s->p + offsets[k], char_size((unsigned char)s->p[offsets[k]]));
    return builder_string(&b);
}

static struct value get_slice(struct render *r, struct value object, const struct node *slice) {
    if (object.kind == V_STRING) return slice_string(r, object.string, slice);
    if (object.kind == V_UNDEFINED) return render_fail_undefined(r, object);
    if (object.kind != V_LIST || object.list->form > LIST_RANGE)
        return render_fail(r, "'%s' object can not be sliced", value_type(object));
    struct span span = slice_span(r, slice, object.list->n);
    struct value out = list_new(r, object.list->form == LIST_RANGE ? LIST_LIST : object.list->form);
    for (size_t i = 0; i < span.n && !r->status; i++)
        list_push(r, out.list, object.list->items[span.first + (int64_t)i * span.step]);
    return out;
}

/* ---- Arithmetic ------------------------------------------------------------------------------ */

static struct value too_large(struct render *r) {
    return render_fail(r, "the result is too large an integer");
}

static struct value integer_power(struct render *r, int64_t base, int64_t exponent) {
    int64_t result = 1;
    if (exponent < 0) return value_real(pow((double)base, (double)exponent));
    for (bool overflow = false; exponent > 0; exponent >>= 1) {
        if (overflow) return too_large(r);
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return too_large(r);
        overflow = __builtin_mul_overflow(base, base, &base);
    }
    return value_int(result);
}

static struct value integer_binary(struct render *r, enum op op, int64_t a, int64_t b) {
    int64_t c = 0;
    bool overflow = false;
    switch (op) {
    case OP_ADD: overflow = __builtin_add_overflow(a, b, &c); break;
    case OP_SUB: overflow = __builtin_sub_overflow(a, b, &c); break;
    case OP_MUL: overflow = __builtin_mul_overflow(a, b, &c); break;
    case OP_POW: return integer_power(r, a, b);
    case OP_DIV:
        if (b == 0) return render_fail(r, "division by zero");
        return value_real((double)a / (double)b);
    default: // towards negative infinity
        if (b == 0) return render_fail(r, "integer division or modulo by zero");
        if (b == -1) {
            overflow = op == OP_FLOORDIV && __builtin_sub_overflow(0, a, &c);
            break;
        }
        c = op == OP_MOD ? a % b : a / b;
        if (a % b != 0 && (a < 0) != (b < 0)) c += op == OP_MOD ? b : -1;
    }
    return overflow ? too_large(r) : value_int(c);
}

static struct value real_binary(struct render *r, enum op op, double a, double b) {
    switch (op) {
    case OP_ADD: return value_real(a + b);
    case OP_SUB: return value_real(a - b);
    case OP_MUL: return value_real(a * b);
    case OP_POW: return value_real(pow(a, b));
    default: break;
    }
    if (!(b < 0) && !(b > 0)) return render_fail(r, "float division by zero");
    if (op == OP_DIV) return value_real(a / b);
    double rest = fmod(a, b);
    if ((rest < 0 || rest > 0) && (rest < 0) != (b < 0)) rest += b;
    return value_real(op == OP_MOD ? rest : floor((a - rest) / b + 0.5));
}

static struct value repeat(struct render *r, struct value v, int64_t times) {
    if (times < 0) times = 0;
    if (v.kind == V_STRING) {
        const struct str *s = v.string;
        struct builder b = {.r = r};
        if (s->n && (uint64_t)times > RENDER_MAX_OUTPUT / s->n)
            return render_fail(r, "the result is too long a string");
        for (; times > 0 && s->n && !r->status; times--) {
            builder_add_str(&b, s);
            render_charge(r, 1);
        }
        return builder_string(&b);
    }
    struct value out = list_new(r, v.list->form);
    for (; times > 0 && v.list->n && !r->status; times--)
        for (size_t i = 0; i < v.list->n && !r->status; i++)
            list_push(r, out.list, v.list->items[i]);
    return out;
}

static bool is_sequence(struct value v) {
    return v.kind == V_STRING || (v.kind == V_LIST && v.list->form <= LIST_TUPLE);
}

static struct value join_lists(struct render *r, const struct list *a, const struct list *b) {
    struct value out = list_new(r, a->form);
    for (size_t i = 0; i < a->n && !r->status; i++) list_push(r, out.list, a->items[i]);
    for (size_t i = 0; i < b->n && !r->status; i++) list_push(r, out.list, b->items[i]);
    return out;
}

/* A string that was called safe escapes the other one. */
static struct value add_strings(struct render *r, const struct str *a, const struct str *b) {
    if (a->safe && !b->safe) b = str_escape(r, b).string;
    if (b->safe && !a->safe) a = str_escape(r, a).string;
    return str_join(r, a, b);
}

/* As with "~", which no longer knows that. */
static struct value join_texts(struct render *r, const struct str *a, const struct str *b) {
    const struct str plain = {a->p, a->n, a->slab, false};
    struct value joined = str_join(r, a->safe && b->n ? &plain : a, b);
    return joined.string->safe ? str_view(r, a->p, a->n) : joined;
}

struct value binary(struct render *r, enum op op, struct value a, struct value b) {
    static const char *const texts[] = {"+", "-", "/", "//", "*", "%", "**"};
    int64_t i, k;
    double x, y;
    if (op == OP_TILDE) return join_texts(r, value_text(r, a), value_text(r, b));
    if (a.kind == V_STRING && b.kind == V_STRING && op == OP_ADD)
        return add_strings(r, a.string, b.string);
    if (a.kind == V_STRING && op == OP_MOD) return text_percent(r, a.string, b);
    if (a.kind == V_UNDEFINED || b.kind == V_UNDEFINED)
        return render_fail_undefined(r, a.kind == V_UNDEFINED ? a : b);
    if (value_integer(a, &i) && value_integer(b, &k)) return integer_binary(r, op, i, k);
    if (value_number(a, &x) && value_number(b, &y)) return real_binary(r, op, x, y);
    if (op == OP_ADD && a.kind == V_LIST && is_sequence(a) && b.kind == V_LIST &&
        a.list->form == b.list->form)
        return join_lists(r, a.list, b.list);
    if (op == OP_MUL && is_sequence(a) && value_integer(b, &k)) return repeat(r, a, k);
    if (op == OP_MUL && is_sequence(b) && value_integer(a, &i)) return repeat(r, b, i);
    return render_fail(r, "unsupported operand types for %s: '%s' and '%s'", texts[op],
                       value_type(a), value_type(b));
}

static struct value signed_value(struct render *r, enum op op, struct value v) {
    int64_t i;
    if (v.kind == V_UNDEFINED) return render_fail_undefined(r, v);
    if (v.kind == V_FLOAT) return value_real(op == OP_SUB ? -v.real : v.real);
    if (!value_integer(v, &i))
        return render_fail(r, "bad operand type for a sign: '%s'", value_type(v));
    return op == OP_SUB ? integer_binary(r, OP_SUB, 0, i) : value_int(i);
}

bool compare(struct render *r, enum op op, struct value a, struct value b) {
    switch (op) {
    case OP_EQ: return value_equal(r, a, b);
    case OP_NE: return !value_equal(r, a, b);
    case OP_IN: return value_in(r, a, b);
    case OP_NOT_IN: return !value_in(r, a, b);
    case OP_LT: return value_compare(r, a, b) < 0;
    case OP_LE: return value_compare(r, a, b) <= 0;
    case OP_GT: return value_compare(r, a, b) > 0;
    default: return value_compare(r, a, b) >= 0;
    }
}

static struct value eval_compare(struct render *r, const struct node *node) {
    struct value left = eval(r, node->a);
    for (const struct node *operand = node->items; operand && !r->status; operand = operand->next) {
        struct value right = eval(r, operand->a);
        if (r->status || !compare(r, operand->op, left, right)) return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

/* Place of NAME among PARAMS, or n_params. */
static size_t parameter_index(const char *params, const struct str *name) {
    size_t i = 0;
    while (*params) {
        size_t n = strcspn(params, " ");
        if (n == name->n && memcmp(params, name->p, n) == 0) return i;
        i++;
        params += n + (params[n] == ' ');
    }
    return i;
}

struct value call_builtin(struct render *r, const struct builtin *b, struct value self,
                          const struct args *args) {
    enum { MAX_PARAMS = 8 };
    static const struct str nothing = {"", 0, NULL, false};
    struct value bound[MAX_PARAMS] = {{.kind = V_MISSING}};
    if (r->status) return value_none();
    if (!b->params) return b->fn(r, self, args);
    size_t n = parameter_index(b->params, &nothing);
    if (args->n > n)
        return render_fail(r, "%s: expected at most %zu arguments, found %zu", b->name, n, args->n);
    for (size_t i = 0; i < n; i++)
        bound[i] = i < args->n ? args->values[i] : (struct value){.kind = V_MISSING};
    for (size_t i = 0; i < args->n_named; i++) {
        const struct str *name = args->named[i].key.string;
        size_t at = name->n ? parameter_index(b->params, name) : n;
        if (at >= n || is_given(bound[at]))
            return render_fail(r, "%s: unexpected argument '%.*s'", b->name,
                               (int)(name->n < 100 ? name->n : 100), name->p);
        bound[at] = args->named[i].value;
    }
    for (size_t i = 0; i < b->n_required; i++)
        if (!is_given(bound[i])) return render_fail(r, "%s: an argument is missing", b->name);
    return b->fn(r, self, &(struct args){bound, n, NULL, 0});
}

static void add_argument(struct render *r, struct list *values, struct dict *named,
                         const struct node *node) {
    if (node->kind == NODE_KEYWORD) {
        struct value v = eval(r, node->a);
        if (dict_find(r, named, node->value)) render_fail(r, "the same argument twice");
        dict_append(r, named, node->value, v);
    } else if (node->kind == NODE_STAR) {
        const struct list *more = value_elements(r, eval(r, node->a));
        for (size_t i = 0; i < more->n && !r->status; i++) list_push(r, values, more->items[i]);
    } else if (node->kind == NODE_STARS) {
        struct value more = eval(r, node->a);
        if (more.kind != V_DICT) render_fail(r, "expected a dict after **");
        for (size_t i = 0; !r->status && i < more.dict->n; i++) {
            if (more.dict->pairs[i].key.kind != V_STRING)
                render_fail(r, "names of arguments must be strings");
            dict_append(r, named, more.dict->pairs[i].key, more.dict->pairs[i].value);
        }
    } else {
        list_push(r, values, eval(r, node));
    }
}

static struct args eval_args(struct render *r, const struct node *items,
                             const struct value *caller) {
    if (!items && !caller) return (struct args){NULL, 0, NULL, 0};
    struct list *values = list_new(r, LIST_LIST).list;
    struct dict *named = dict_new(r, V_DICT).dict;
    for (const struct node *node = items; node && !r->status; node = node->next)
        add_argument(r, values, named, node);
    if (caller) dict_append(r, named, str_text(r, "caller"), *caller);
    return (struct args){values->items, values->n, named->pairs, named->n};
}

struct value eval_call(struct render *r, const struct node *call, const struct value *caller) {
    struct value callee = eval(r, call->a);
    if (callee.kind == V_UNDEFINED && !r->status) return render_fail_undefined(r, callee);
    struct args args = eval_args(r, call->items, caller);
    if (r->status) return value_none();
    r->line = call->line;
    if (callee.kind == V_MACRO) return render_macro(r, callee.macro, &args);
    if (callee.kind == V_FUNCTION)
        return call_builtin(r, callee.function->builtin, callee.function->self, &args);
    return render_fail(r, "'%s' object is not callable", value_type(callee));
}

/* ---- Nodes ----------------------------------------------------------------------------------- */

static struct value eval_list(struct render *r, const struct node *node) {
    struct value out = list_new(r, node->kind == NODE_LIST ? LIST_LIST : LIST_TUPLE);
    for (const struct node *item = node->items; item && !r->status; item = item->next)
        list_push(r, out.list, eval(r, item));
    return out;
}

static struct value eval_dict(struct render *r, const struct node *node) {
    struct value out = dict_new(r, V_DICT);
    for (const struct node *pair = node->items; pair && !r->status; pair = pair->next) {
        struct value key = eval(r, pair->a), v = eval(r, pair->b);
        if (!r->status) dict_set(r, out.dict, key, v);
    }
    return out;
}

static struct value eval_builtin(struct render *r, const struct node *node) {
    struct value subject = node->a ? eval(r, node->a) : r->captured;
    struct args args = eval_args(r, node->items, NULL);
    r->line = node->line;
    if (!node->builtin)
        return render_fail(r, "%s '%.*s' is not supported",
                           node->kind == NODE_TEST ? "test" : "filter",
                           (int)(node->value.string->n < 100 ? node->value.string->n : 100),
                           node->value.string->p);
    struct value v = call_builtin(r, node->builtin, subject, &args);
    return node->kind == NODE_TEST ? value_bool(value_truth(v)) : v;
}

static struct value eval_choice(struct render *r, const struct node *node) {
    if (value_truth(eval(r, node->a))) return eval(r, node->b);
    if (node->c) return eval(r, node->c);
    return value_undefined(r, NULL, str_text(r, "an if-expression without else"));
}

static struct value eval_logic(struct render *r, const struct node *node) {
    struct value a = eval(r, node->a);
    if (r->status || value_truth(a) == (node->kind == NODE_OR)) return a;
    return eval(r, node->b);
}

static struct value eval_item(struct render *r, const struct node *node) {
    struct value object = eval(r, node->a);
    if (node->b->kind == NODE_SLICE) return get_slice(r, object, node->b);
    struct value key = eval(r, node->b);
    return r->status ? value_none() : get_item(r, object, key);
}

static struct value eval_binary(struct render *r, const struct node *node) {
    struct value a = eval(r, node->a), b = eval(r, node->b);
    return r->status ? value_none() : binary(r, node->op, a, b);
}

static struct value eval_node(struct render *r, const struct node *node) {
    switch (node->kind) {
    case NODE_CONST: return node->value;
    case NODE_NAME: return render_name(r, node->name);
    case NODE_LIST:
    case NODE_TUPLE: return eval_list(r, node);
    case NODE_DICT: return eval_dict(r, node);
    case NODE_ATTR: return get_attribute(r, eval(r, node->a), node->value);
    case NODE_ITEM: return eval_item(r, node);
    case NODE_CALL: return eval_call(r, node, NULL);
    case NODE_FILTER:
    case NODE_TEST: return eval_builtin(r, node);
    case NODE_NOT: return value_bool(!value_truth(eval(r, node->a)));
    case NODE_SIGN: return signed_value(r, node->op, eval(r, node->a));
    case NODE_AND:
    case NODE_OR: return eval_logic(r, node);
    case NODE_BINARY: return eval_binary(r, node);
    case NODE_COMPARE: return eval_compare(r, node);
    default: return eval_choice(r, node);
    }
}

struct value eval(struct render *r, const struct node *node) {
    if (!render_enter(r)) return value_none();
    uint32_t line = r->line;
    r->line = node->line;
    render_charge(r, 1);
    struct value v = eval_node(r, node);
    if (!r->status) r->line = line;
    render_leave(r);
    return r->status ? value_none() : v;
}
