/* Tests of chat templates: what may stand behind "is". */
#include <string.h>

#include "text/template_impl.h"

static struct value is_defined(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind != V_UNDEFINED);
}

static struct value is_undefined(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_UNDEFINED);
}

static struct value is_none(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_NONE);
}

static struct value is_boolean(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_BOOL);
}

static struct value is_true(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_BOOL && v.boolean);
}

static struct value is_false(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_BOOL && !v.boolean);
}

static struct value is_integer(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_INT);
}

static struct value is_float(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_FLOAT);
}

static struct value is_number(struct render *r, struct value v, const struct args *args) {
    double number;
    (void)r, (void)args;
    return value_bool(value_number(v, &number));
}

static struct value is_string(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_STRING);
}

static struct value is_mapping(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_DICT);
}

static struct value is_sequence(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_STRING || v.kind == V_DICT || v.kind == V_UNDEFINED ||
                      (v.kind == V_LIST && v.list->form <= LIST_RANGE));
}

static struct value is_iterable(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_STRING || v.kind == V_DICT || v.kind == V_UNDEFINED ||
                      v.kind == V_LIST || v.kind == V_LOOP);
}

static struct value is_callable(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_MACRO || v.kind == V_FUNCTION || v.kind == V_LOOP ||
                      v.kind == V_UNDEFINED);
}

static struct value is_escaped(struct render *r, struct value v, const struct args *args) {
    (void)r, (void)args;
    return value_bool(v.kind == V_STRING && v.string->safe);
}

static struct value is_lower(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return value_bool(text_has_case(value_text(r, v), false));
}

static struct value is_upper(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return value_bool(text_has_case(value_text(r, v), true));
}

static struct value divides(struct render *r, struct value v, struct value by, int64_t rest) {
    return value_bool(value_equal(r, binary(r, OP_MOD, v, by), value_int(rest)));
}

static struct value is_odd(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return divides(r, v, value_int(2), 1);
}

static struct value is_even(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return divides(r, v, value_int(2), 0);
}

static struct value is_divisible(struct render *r, struct value v, const struct args *args) {
    return divides(r, v, args->values[0], 0);
}

/* Identity: small things are alike when their values are. */
static struct value is_same(struct render *r, struct value v, const struct args *args) {
    struct value other = args->values[0];
    if (v.kind != other.kind) return value_bool(false);
    if (v.kind == V_LIST) return value_bool(v.list == other.list);
    if (v.kind == V_DICT) return value_bool(v.dict == other.dict);
    return value_bool(value_equal(r, v, other));
}

static struct value is_in(struct render *r, struct value v, const struct args *args) {
    return value_bool(value_in(r, v, args->values[0]));
}

static struct value is_filter(struct render *r, struct value v, const struct args *args) {
    const struct str *name = value_text(r, v);
    (void)args;
    return value_bool(builtin_find(template_filters, name->p, name->n) != NULL);
}

static struct value is_test(struct render *r, struct value v, const struct args *args) {
    const struct str *name = value_text(r, v);
    (void)args;
    return value_bool(builtin_find(template_tests, name->p, name->n) != NULL);
}

static struct value is_equal(struct render *r, struct value v, const struct args *args) {
    return value_bool(compare(r, OP_EQ, v, args->values[0]));
}

static struct value is_unequal(struct render *r, struct value v, const struct args *args) {
    return value_bool(compare(r, OP_NE, v, args->values[0]));
}

static struct value is_greater(struct render *r, struct value v, const struct args *args) {
    return value_bool(compare(r, OP_GT, v, args->values[0]));
}

static struct value is_at_least(struct render *r, struct value v, const struct args *args) {
    return value_bool(compare(r, OP_GE, v, args->values[0]));
}

static struct value is_less(struct render *r, struct value v, const struct args *args) {
    return value_bool(compare(r, OP_LT, v, args->values[0]));
}

static struct value is_at_most(struct render *r, struct value v, const struct args *args) {
    return value_bool(compare(r, OP_LE, v, args->values[0]));
}

const struct builtin template_tests[] = {
    {"!=", "other", 1, is_unequal},
    {"<", "other", 1, is_less},
    {"<=", "other", 1, is_at_most},
    {"==", "other", 1, is_equal},
    {">", "other", 1, is_greater},
    {">=", "other", 1, is_at_least},
    {"boolean", "", 0, is_boolean},
    {"callable", "", 0, is_callable},
    {"defined", "", 0, is_defined},
    {"divisibleby", "num", 1, is_divisible},
    {"eq", "other", 1, is_equal},
    {"equalto", "other", 1, is_equal},
    {"escaped", "", 0, is_escaped},
    {"even", "", 0, is_even},
    {"false", "", 0, is_false},
    {"filter", "", 0, is_filter},
    {"float", "", 0, is_float},
    {"ge", "other", 1, is_at_least},
    {"greaterthan", "other", 1, is_greater},
    {"gt", "other", 1, is_greater},
    {"in", "seq", 1, is_in},
    {"integer", "", 0, is_integer},
    {"iterable", "", 0, is_iterable},
    {"le", "other", 1, is_at_most},
    {"lessthan", "other", 1, is_less},
    {"lower", "", 0, is_lower},
    {"lt", "other", 1, is_less},
    {"mapping", "", 0, is_mapping},
    {"ne", "other", 1, is_unequal},
    {"none", "", 0, is_none},
    {"number", "", 0, is_number},
    {"odd", "", 0, is_odd},
    {"sameas", "other", 1, is_same},
    {"sequence", "", 0, is_sequence},
    {"string", "", 0, is_string},
    {"test", "", 0, is_test},
    {"true", "", 0, is_true},
    {"undefined", "", 0, is_undefined},
    {"upper", "", 0, is_upper},
    {NULL, NULL, 0, NULL},
};
