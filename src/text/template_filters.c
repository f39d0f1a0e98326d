/* Filters of chat templates. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_impl.h"

static bool is_none(struct value v) { return v.kind == V_MISSING || v.kind == V_NONE; }

/* ---- Texts ----------------------------------------------------------------------------------- */

static struct value filter_string(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return (struct value){.kind = V_STRING, .string = value_text(r, v)};
}

static struct value filter_upper(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return text_upper(r, value_text(r, v));
}

static struct value filter_lower(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return text_lower(r, value_text(r, v));
}

static struct value filter_capitalize(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return text_capitalize(r, value_text(r, v));
}

static struct value filter_title(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return text_title(r, value_text(r, v), "-({[<");
}

static struct value filter_trim(struct render *r, struct value v, const struct args *args) {
    struct value chars = args->values[0];
    if (!is_none(chars) && chars.kind != V_STRING) return render_fail(r, "trim: expected a string");
    return text_strip(r, value_text(r, v), is_none(chars) ? NULL : chars.string, 3);
}

static struct value filter_replace(struct render *r, struct value v, const struct args *args) {
    int64_t most = -1;
    if (!is_none(args->values[2]) && !value_integer(args->values[2], &most))
        return render_fail(r, "replace: expected a number of times");
    return text_replace(r, value_text(r, v), value_text(r, args->values[0]),
                        value_text(r, args->values[1]), most);
}

static struct value filter_forceescape(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return str_escape(r, value_text(r, v));
}

static struct value filter_escape(struct render *r, struct value v, const struct args *args) {
    return v.kind == V_STRING && v.string->safe ? v : filter_forceescape(r, v, args);
}

static struct value filter_safe(struct render *r, struct value v, const struct args *args) {
    const struct str *text = value_text(r, v);
    struct str *s = render_alloc(r, sizeof *s);
    (void)args;
    if (!s) return v;
    *s = (struct str){text->p, text->n, NULL, true};
    return (struct value){.kind = V_STRING, .string = s};
}

/* N spaces, at most as many as a sensible text has in a row. */
static struct value spaces(struct render *r, int64_t n) {
    enum { MAX_INDENT = 1000 };
    struct value one = str_text(r, " ");
    return binary(r, OP_MUL, one, value_int(n > MAX_INDENT ? MAX_INDENT : n));
}

static struct value filter_indent(struct render *r, struct value v, const struct args *args) {
    int64_t width = 4;
    bool first = value_truth(args->values[1]), blank = value_truth(args->values[2]);
    struct value by = args->values[0];
    if (v.kind == V_UNDEFINED) return render_fail_undefined(r, v);
    if (v.kind != V_STRING) return render_fail(r, "indent: expected a string");
    if (is_given(by) && by.kind != V_STRING && !value_integer(by, &width))
        return render_fail(r, "indent: expected a width or a string");
    const struct str *indent = by.kind == V_STRING ? by.string : spaces(r, width).string;
    struct value whole = str_join(r, v.string, str_text(r, "\n").string);
    const struct list *lines = text_lines(r, whole.string, false).list;
    struct builder b = {.r = r};
    for (size_t i = 0; i < lines->n && !r->status; i++) {
        const struct str *line = lines->items[i].string;
        if (i) builder_add_text(&b, "\n");
        if (i ? blank || line->n : first) builder_add_str(&b, indent);
        builder_add_str(&b, line);
    }
    return builder_string(&b);
}

static struct value filter_wordcount(struct render *r, struct value v, const struct args *args) {
    const struct str *s = value_text(r, v);
    int64_t n = 0;
    bool inside = false;
    (void)args;
    for (size_t i = 0; i < s->n; i += char_size((unsigned char)s->p[i])) {
        int32_t c = char_at(s->p + i);
        bool letter = c < 0x80 ? (unsigned)((c | 32) - 'a') < 26 : char_is_printable(c);
        bool word = letter || c == '_' || (c >= '0' && c <= '9');
        n += word && !inside;
        inside = word;
    }
    return value_int(n);
}

static struct value filter_format(struct render *r, struct value v, const struct args *args) {
    struct value values = list_new(r, LIST_TUPLE);
    if (args->n_named) return render_fail(r, "format: names of arguments are not supported");
    for (size_t i = 0; i < args->n; i++) list_push(r, values.list, args->values[i]);
    return text_percent(r, value_text(r, v), values);
}

static const struct str *json_separator(struct render *r, struct value v, size_t i,
                                        const char *otherwise) {
    bool given = v.kind == V_LIST && v.list->n == 2 && v.list->items[i].kind == V_STRING;
    if (!is_none(v) && !given) render_fail(r, "tojson: expected two strings as separators");
    return given ? v.list->items[i].string : str_text(r, otherwise).string;
}

/* As transformers has it, which hands its arguments to Python's json.dumps and leaves out the
 * escaping for HTML of Jinja's own filter. */
static struct value filter_tojson(struct render *r, struct value v, const struct args *args) {
    struct value indent = args->values[1];
    int64_t width;
    struct json_style style = {.ascii = value_truth(args->values[0]),
                               .sort = value_truth(args->values[3])};
    if (value_integer(indent, &width)) indent = spaces(r, width);
    if (indent.kind == V_STRING) {
        style.indent = indent.string;
    } else if (!is_none(indent)) {
        return render_fail(r, "tojson: expected a width or a string as indent");
    }
    style.comma = json_separator(r, args->values[2], 0, style.indent ? "," : ", ");
    style.colon = json_separator(r, args->values[2], 1, ": ");
    struct builder b = {.r = r};
    value_json(&b, v, &style);
    return builder_string(&b);
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/* A number as Python's int() or float() reads it; false: it is none. */
static bool read_integer(const struct str *s, int base, int64_t *out) {
    char text[72];
    size_t n = 0;
    bool digit = false;
    for (size_t i = 0; i < s->n; i++) {
        char c = s->p[i];
        if (c == '_' && digit && i + 1 < s->n) {
            digit = false;
            continue;
        }
        digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if ((!digit && (n || (c != '-' && c != '+'))) || n + 1 == sizeof text) return false;
        text[n++] = c;
    }
    text[n] = 0;
    char *end;
    long long value = strtoll(text, &end, base);
    *out = value;
    return digit && *end == 0 && value != INT64_MAX && value != INT64_MIN;
}

static bool read_real(const struct str *s, double *out) {
    char text[400];
    size_t n = 0;
    bool digit = false;
    if (s->n >= sizeof text) return false;
    for (size_t i = 0; i < s->n; i++) {
        bool was_digit = digit;
        digit = s->p[i] >= '0' && s->p[i] <= '9';
        if (s->p[i] == '_' && was_digit && i + 1 < s->n && s->p[i + 1] != '_') continue;
        if (!digit && !strchr("+-.eEinfatyINFATY", s->p[i])) return false;
        text[n++] = s->p[i];
    }
    text[n] = 0;
    char *end;
    *out = strtod(text, &end);
    return n > 0 && *end == 0;
}

static struct value filter_int(struct render *r, struct value v, const struct args *args) {
    int64_t base = 10, integer;
    double real = 0;
    struct value otherwise = is_given(args->values[0]) ? args->values[0] : value_int(0);
    if (is_given(args->values[1]) && !value_integer(args->values[1], &base)) base = 10;
    if (base < 2 || base > 36) return render_fail(r, "int: the base must be 2 to 36");
    if (value_integer(v, &integer)) return value_int(integer);
    if (v.kind == V_UNDEFINED) return render_fail_undefined(r, v);
    if (v.kind == V_STRING) {
        struct value stripped = text_strip(r, v.string, NULL, 3);
        if (read_integer(stripped.string, (int)base, &integer)) return value_int(integer);
        if (!read_real(stripped.string, &real)) return otherwise;
    } else if (!value_number(v, &real)) {
        return otherwise;
    }
    if (!isfinite(real)) return otherwise;
    if (fabs(real) >= 0x1p63) return render_fail(r, "int: the number is too large");
    return value_int((int64_t)real);
}

static struct value filter_float(struct render *r, struct value v, const struct args *args) {
    double real;
    struct value otherwise = is_given(args->values[0]) ? args->values[0] : value_real(0);
    if (v.kind == V_UNDEFINED) return render_fail_undefined(r, v);
    if (value_number(v, &real)) return value_real(real);
    if (v.kind != V_STRING) return otherwise;
    return read_real(text_strip(r, v.string, NULL, 3).string, &real) ? value_real(real) : otherwise;
}

static struct value filter_abs(struct render *r, struct value v, const struct args *args) {
    int64_t i;
    (void)args;
    if (v.kind == V_FLOAT) return value_real(fabs(v.real));
    if (!value_integer(v, &i)) return render_fail(r, "abs: bad operand '%s'", value_type(v));
    return i < 0 ? binary(r, OP_SUB, value_int(0), value_int(i)) : value_int(i);
}

/* To a number of decimals, halves to even. The C library rounds decimal fractions exactly. */
static double round_real(double d, int64_t precision) {
    char text[512];
    if (!isfinite(d)) return d;
    if (precision < 0) {
        double scale = pow(10, (double)-precision);
        return isfinite(scale) ? rint(d / scale) * scale : 0;
    }
    int n = snprintf(text, sizeof text, "%.*f", precision < 60 ? (int)precision : 60, d);
    return n > 0 && (size_t)n < sizeof text ? strtod(text, NULL) : d;
}

static struct value filter_round(struct render *r, struct value v, const struct args *args) {
    int64_t precision = 0, integer;
    struct value method = args->values[1];
    double d;
    if (is_given(args->values[0]) && !value_integer(args->values[0], &precision))
        return render_fail(r, "round: expected a number of digits");
    if (!value_number(v, &d)) return render_fail(r, "round: bad operand '%s'", value_type(v));
    bool common = !is_given(method) || (method.kind == V_STRING && str_is(method.string, "common"));
    if (common && value_integer(v, &integer) && precision >= 0) return value_int(integer);
    if (common) return value_real(round_real(d, precision));
    bool up = method.kind == V_STRING && str_is(method.string, "ceil");
    if (!up && !(method.kind == V_STRING && str_is(method.string, "floor")))
        return render_fail(r, "round: method must be common, ceil or floor");
    double scale = pow(10, (double)precision);
    return value_real((up ? ceil(d * scale) : floor(d * scale)) / scale);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static struct value filter_default(struct render *r, struct value v, const struct args *args) {
    bool missing = v.kind == V_UNDEFINED || (value_truth(args->values[1]) && !value_truth(v));
    if (!missing) return v;
    return is_given(args->values[0]) ? args->values[0] : str_text(r, "");
}

static struct value filter_attr(struct render *r, struct value v, const struct args *args) {
    struct value name = args->values[0];
    if (name.kind != V_STRING) return render_fail(r, "attr: expected a name");
    bool method = builtin_find(template_dict_methods, name.string->p, name.string->n) != NULL;
    if (v.kind == V_DICT && !method) v = dict_new(r, V_DICT); // keys are no attributes here
    return get_attribute(r, v, name);
}

static struct value filter_length(struct render *r, struct value v, const struct args *args) {
    (void)args;
    return value_int((int64_t)value_length(r, v));
}

static struct value filter_list(struct render *r, struct value v, const struct args *args) {
    const struct list *all = value_elements(r, v);
    struct value out = list_new(r, LIST_LIST);
    (void)args;
    for (size_t i = 0; i < all->n && !r->status; i++) list_push(r, out.list, all->items[i]);
    return out;
}

static struct value filter_items(struct render *r, struct value v, const struct args *args) {
    (void)args;
    if (v.kind == V_UNDEFINED) return list_new(r, LIST_ONCE);
    if (v.kind != V_DICT) return render_fail(r, "items: expected a mapping");
    return dict_list(r, v.dict, LIST_ONCE);
}

static struct value filter_first(struct render *r, struct value v, const struct args *args) {
    bool once = is_form(v, LIST_ONCE);
    (void)args;
    const struct list *all = once ? v.list : value_elements(r, v);
    size_t at = once ? v.list->next : 0;
    if (at >= all->n) return value_undefined(r, NULL, str_text(r, "the first of no items"));
    if (once) v.list->next++;
    return all->items[at];
}

static struct value filter_last(struct render *r, struct value v, const struct args *args) {
    (void)args;
    if (is_form(v, LIST_ONCE)) return render_fail(r, "last: a generator can not be reversed");
    const struct list *all = value_elements(r, v);
    if (all->n == 0) return value_undefined(r, NULL, str_text(r, "the last of no items"));
    return all->items[all->n - 1];
}

static struct value filter_reverse(struct render *r, struct value v, const struct args *args) {
    bool once = is_form(v, LIST_ONCE);
    const struct list *all = value_elements(r, v);
    struct value out = list_new(r, once ? LIST_LIST : LIST_ONCE);
    (void)args;
    if (v.kind == V_STRING) {
        struct builder b = {.r = r};
        for (size_t i = all->n; i-- > 0 && !r->status;)
            builder_add_str(&b, all->items[i].string);
        return builder_string(&b);
    }
    for (size_t i = all->n; i-- > 0 && !r->status;) list_push(r, out.list, all->items[i]);
    return out;
}

static struct value filter_batch(struct render *r, struct value v, const struct args *args) {
    const struct list *all = value_elements(r, v);
    struct value out = list_new(r, LIST_ONCE), fill = args->values[1];
    int64_t n;
    if (!value_integer(args->values[0], &n) || n < 1 || n > RENDER_MAX_RANGE)
        return render_fail(r, "batch: expected a size of 1 to %d", RENDER_MAX_RANGE);
    for (size_t i = 0; i < all->n && !r->status;) {
        struct value row = list_new(r, LIST_LIST);
        int64_t k = 0;
        for (; k < n && i < all->n && !r->status; k++) list_push(r, row.list, all->items[i++]);
        for (; k < n && !is_none(fill) && !r->status; k++) list_push(r, row.list, fill);
        list_push(r, out.list, row);
    }
    return out;
}

const struct builtin template_filters[] = {
    {"abs", "", 0, filter_abs},
    {"attr", "name", 1, filter_attr},
    {"batch", "linecount fill_with", 1, filter_batch},
    {"capitalize", "", 0, filter_capitalize},
    {"count", "", 0, filter_length},
    {"d", "default_value boolean", 0, filter_default},
    {"default", "default_value boolean", 0, filter_default},
    {"dictsort", "case_sensitive by reverse", 0, filter_dictsort},
    {"e", "", 0, filter_escape},
    {"escape", "", 0, filter_escape},
    {"first", "", 0, filter_first},
    {"float", "default", 0, filter_float},
    {"forceescape", "", 0, filter_forceescape},
    {"format", NULL, 0, filter_format},
    {"groupby", "attribute default case_sensitive", 1, filter_groupby},
    {"indent", "width first blank", 0, filter_indent},
    {"int", "default base", 0, filter_int},
    {"items", "", 0, filter_items},
    {"join", "d attribute", 0, filter_join},
    {"last", "", 0, filter_last},
    {"length", "", 0, filter_length},
    {"list", "", 0, filter_list},
    {"lower", "", 0, filter_lower},
    {"map", NULL, 0, filter_map},
    {"max", "case_sensitive attribute", 0, filter_max},
    {"min", "case_sensitive attribute", 0, filter_min},
    {"reject", NULL, 0, filter_reject},
    {"rejectattr", NULL, 0, filter_rejectattr},
    {"replace", "old new count", 2, filter_replace},
    {"reverse", "", 0, filter_reverse},
    {"round", "precision method", 0, filter_round},
    {"safe", "", 0, filter_safe},
    {"select", NULL, 0, filter_select},
    {"selectattr", NULL, 0, filter_selectattr},
    {"sort", "reverse case_sensitive attribute", 0, filter_sort},
    {"string", "", 0, filter_string},
    {"sum", "attribute start", 0, filter_sum},
    {"title", "", 0, filter_title},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson},
    {"trim", "chars", 0, filter_trim},
    {"unique", "case_sensitive attribute", 0, filter_unique},
    {"upper", "", 0, filter_upper},
    {"wordcount", "", 0, filter_wordcount},
    {NULL, NULL, 0, NULL},
};
