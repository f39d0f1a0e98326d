/* How values of chat templates are written: as Python's str() and repr(), and as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_impl.h"

/* ---- Builders -------------------------------------------------------------------------------- */

void builder_add(struct builder *b, const char *bytes, size_t n) {
    struct render *r = b->r;
    if (r->status || n == 0) return;
    if (n > b->cap - b->n) {
        size_t cap = 2 * b->cap > b->n + n ? 2 * b->cap : b->n + n + 32;
        char *p = render_grow(r, b->p, b->cap, cap);
        if (!p) return;
        b->p = p;
        b->cap = cap;
    }
    memcpy(b->p + b->n, bytes, n);
    b->n += n;
    render_charge(r, n / 64);
}

void builder_add_text(struct builder *b, const char *text) { builder_add(b, text, strlen(text)); }

void builder_add_str(struct builder *b, const struct str *s) { builder_add(b, s->p, s->n); }

void builder_add_char(struct builder *b, int32_t code) {
    char bytes[4];
    builder_add(b, bytes, char_put(bytes, code));
}

/* The bytes are not copied: B must not be added to afterwards. */
struct value builder_string(struct builder *b) { return str_view(b->r, b->p ? b->p : "", b->n); }

/* ---- Numbers --------------------------------------------------------------------------------- */

/* SIGNIFICANT digits of D as "d.ddde+XX" in OUT; the decimal point may be another's locale's. */
static bool reads_back(double d, int significant, char out[32]) {
    snprintf(out, 32, "%.*e", significant - 1, d);
    return strtod(out, NULL) == d; // NOLINT: exactly
}

void format_real(double d, char out[32]) {
    if (isnan(d) || isinf(d)) {
        strcpy(out, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    char e[32], digits[20];
    int n = 1;
    while (n < 17 && !reads_back(d, n, e)) n++;
    if (n == 17) reads_back(d, n, e);
    int exponent = atoi(strchr(e, 'e') + 1);
    const char *p = e;
    char *o = out;
    if (*p == '-') *o++ = *p++;
    digits[0] = *p;
    for (int i = 1; i < n; i++) digits[i] = p[1 + i];
    if (exponent < -4 || exponent >= 16) {
        *o++ = digits[0];
        if (n > 1) *o++ = '.';
        for (int i = 1; i < n; i++) *o++ = digits[i];
        snprintf(o, (size_t)(out + 32 - o), "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    int first = exponent < 0 ? exponent : 0; // place of the first digit written: 0 is the units
    int last = n - 1 > exponent + 1 ? n - 1 : exponent + 1;
    for (int i = first; i <= last; i++) {
        *o++ = i >= 0 && i < n ? digits[i] : '0';
        if (i - first == (exponent < 0 ? 0 : exponent)) *o++ = '.';
    }
    *o = 0;
}

static void add_number(struct builder *b, struct value v) {
    char text[32];
    if (v.kind == V_INT)
        snprintf(text, sizeof text, "%lld", (long long)v.integer);
    else
        format_real(v.real, text);
    builder_add_text(b, text);
}

/* ---- str() and repr() ------------------------------------------------------------------------ */

static void repr_string(struct builder *b, const struct str *s) {
    bool single = s->n && memchr(s->p, '\'', s->n);
    char quote = single && !memchr(s->p, '"', s->n) ? '"' : '\'';
    builder_add(b, &quote, 1);
    for (size_t i = 0; i < s->n && !b->r->status;) {
        size_t n = char_size((unsigned char)s->p[i]);
        int32_t code = char_at(s->p + i);
        char text[16] = "";
        if (code == '\n') strcpy(text, "\\n");
        else if (code == '\r') strcpy(text, "\\r");
        else if (code == '\t') strcpy(text, "\\t");
        else if (code == '\\' || code == quote) snprintf(text, sizeof text, "\\%c", (char)code);
        else if (!char_is_printable(code))
            snprintf(text, sizeof text, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x"
                     : "\\U%08x", (unsigned)code);
        if (*text) builder_add_text(b, text);
        else builder_add(b, s->p + i, n);
        i += n;
    }
    builder_add(b, &quote, 1);
}

static void repr_list(struct builder *b, const struct list *list) {
    static const char *const open[] = {"[", "(", "range(", "dict_keys([", "dict_values([",
                                       "dict_items([", "<generator object"};
    static const char *const close[] = {"]", ")", ")", "])", "])", "])", ">"};
    builder_add_text(b, open[list->form]);
    if (list->form == LIST_RANGE) { // reads well enough; its step is not kept
        int64_t first = list->n ? list->items[0].integer : 0;
        add_number(b, value_int(first));
        builder_add_text(b, ", ");
        add_number(b, value_int(list->n ? list->items[list->n - 1].integer + 1 : first));
    }
    for (size_t i = 0; list->form != LIST_RANGE && list->form != LIST_ONCE && i < list->n; i++) {
        if (b->r->status) return;
        if (i) builder_add_text(b, ", ");
        value_repr(b, list->items[i]);
    }
    if (list->form == LIST_TUPLE && list->n == 1) builder_add_text(b, ",");
    builder_add_text(b, close[list->form]);
}

static void repr_dict(struct builder *b, const struct dict *dict) {
    builder_add_text(b, "{");
    for (size_t i = 0; i < dict->n && !b->r->status; i++) {
        if (i) builder_add_text(b, ", ");
        value_repr(b, dict->pairs[i].key);
        builder_add_text(b, ": ");
        value_repr(b, dict->pairs[i].value);
    }
    builder_add_text(b, "}");
}

void value_repr(struct builder *b, struct value v) {
    if (!render_enter(b->r)) return;
    render_charge(b->r, 1);
    switch (v.kind) {
    case V_MISSING:
    case V_UNDEFINED: builder_add_text(b, "Undefined"); break;
    case V_NONE: builder_add_text(b, "None"); break;
    case V_BOOL: builder_add_text(b, v.boolean ? "True" : "False"); break;
    case V_INT:
    case V_FLOAT: add_number(b, v); break;
    case V_STRING: repr_string(b, v.string); break;
    case V_LIST: repr_list(b, v.list); break;
    case V_DICT: repr_dict(b, v.dict); break;
    case V_NAMESPACE:
        builder_add_text(b, "<Namespace ");
        repr_dict(b, v.dict);
        builder_add_text(b, ">");
        break;
    default:
        builder_add_text(b, "<");
        builder_add_text(b, value_type(v));
        builder_add_text(b, ">");
    }
    render_leave(b->r);
}

const struct str *value_text(struct render *r, struct value v) {
    if (v.kind == V_STRING) return v.string;
    struct builder b = {.r = r};
    if (v.kind != V_UNDEFINED) value_repr(&b, v);
    return builder_string(&b).string;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_string(struct builder *b, const struct str *s, bool ascii) {
    static const char plain[] = "\"\\\b\f\n\r\t", short_form[] = "\"\\bfnrt";
    builder_add_text(b, "\"");
    render_charge(b->r, s->n / 16);
    for (size_t i = 0, n; i < s->n && !b->r->status; i += n) {
        n = char_size((unsigned char)s->p[i]);
        int32_t code = char_at(s->p + i);
        const char *found = code > 0 && code < 0x80 ? strchr(plain, code) : NULL;
        char text[16];
        if (found)
            snprintf(text, sizeof text, "\\%c", short_form[found - plain]);
        else if (code < 0x20 || (ascii && code >= 0x7f && code < 0x10000))
            snprintf(text, sizeof text, "\\u%04x", (unsigned)code);
        else if (ascii && code >= 0x10000)
            snprintf(text, sizeof text, "\\u%04x\\u%04x",
                     0xd7c0 + ((unsigned)code >> 10), 0xdc00 + ((unsigned)code & 0x3ff));
        else {
            builder_add(b, s->p + i, n);
            continue;
        }
        builder_add_text(b, text);
    }
    builder_add_text(b, "\"");
}

static void json_scalar(struct builder *b, struct value v) {
    if (v.kind == V_NONE)
        builder_add_text(b, "null");
    else if (v.kind == V_BOOL)
        builder_add_text(b, v.boolean ? "true" : "false");
    else if (v.kind == V_FLOAT && !isfinite(v.real))
        builder_add_text(b, isnan(v.real) ? "NaN" : v.real < 0 ? "-Infinity" : "Infinity");
    else if (v.kind == V_INT || v.kind == V_FLOAT)
        add_number(b, v);
    else
        render_fail(b->r, "Object of type %s is not JSON serializable", value_type(v));
}

static void json_key(struct builder *b, struct value key, const struct json_style *style) {
    if (key.kind == V_STRING) {
        json_string(b, key.string, style->ascii);
        return;
    }
    builder_add_text(b, "\"");
    json_scalar(b, key);
    builder_add_text(b, "\"");
}

static void json_break(struct builder *b, const struct json_style *style, unsigned level) {
    if (!style->indent) return;
    builder_add_text(b, "\n");
    for (unsigned i = 0; i < level && !b->r->status; i++) builder_add_str(b, style->indent);
}

/* The pairs in order of their keys; insertion, for there are few. */
static const struct pair *sorted_pairs(struct render *r, const struct dict *d) {
    struct pair *pairs = render_alloc(r, d->n * sizeof *pairs);
    for (size_t i = 0; pairs && i < d->n; i++) {
        size_t at = i;
        for (; at > 0 && value_compare(r, d->pairs[i].key, pairs[at - 1].key) < 0; at--)
            pairs[at] = pairs[at - 1];
        pairs[at] = d->pairs[i];
        if (r->status) return NULL;
    }
    return pairs;
}

static void json_any(struct builder *b, struct value v, const struct json_style *style,
                     unsigned level);

static void json_list(struct builder *b, const struct list *list, const struct json_style *style,
                      unsigned level) {
    builder_add_text(b, "[");
    for (size_t i = 0; i < list->n && !b->r->status; i++) {
        if (i) builder_add_str(b, style->comma);
        json_break(b, style, level + 1);
        json_any(b, list->items[i], style, level + 1);
    }
    if (list->n) json_break(b, style, level);
    builder_add_text(b, "]");
}

static void json_dict(struct builder *b, const struct dict *d, const struct json_style *style,
                      unsigned level) {
    const struct pair *pairs = style->sort ? sorted_pairs(b->r, d) : d->pairs;
    builder_add_text(b, "{");
    for (size_t i = 0; i < d->n && !b->r->status; i++) {
        if (i) builder_add_str(b, style->comma);
        json_break(b, style, level + 1);
        json_key(b, pairs[i].key, style);
        builder_add_str(b, style->colon);
        json_any(b, pairs[i].value, style, level + 1);
    }
    if (d->n) json_break(b, style, level);
    builder_add_text(b, "}");
}

static void json_any(struct builder *b, struct value v, const struct json_style *style,
                     unsigned level) {
    if (!render_enter(b->r)) return;
    render_charge(b->r, 1);
    if (v.kind == V_STRING)
        json_string(b, v.string, style->ascii);
    else if (v.kind == V_DICT)
        json_dict(b, v.dict, style, level);
    else if (v.kind == V_LIST && v.list->form <= LIST_TUPLE)
        json_list(b, v.list, style, level);
    else
        json_scalar(b, v);
    render_leave(b->r);
}

void value_json(struct builder *b, struct value v, const struct json_style *style) {
    json_any(b, v, style, 0);
}
