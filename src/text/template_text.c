/* Texts of chat templates: Unicode as Python's strings have it. Letters whose other case is more
 * than one character stay as they are. */
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "text/template_impl.h"

/* ---- Characters ------------------------------------------------------------------------------ */

int32_t char_at(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    switch (char_size(b[0])) {
    case 1: return b[0];
    case 2: return (b[0] & 0x1f) << 6 | (b[1] & 0x3f);
    case 3: return (b[0] & 0x0f) << 12 | (b[1] & 0x3f) << 6 | (b[2] & 0x3f);
    default: return (b[0] & 7) << 18 | (b[1] & 0x3f) << 12 | (b[2] & 0x3f) << 6 | (b[3] & 0x3f);
    }
}

size_t char_put(char *out, int32_t code) {
    return (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)out);
}

bool char_is_space(int32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool char_is_printable(int32_t c) {
    if (c < 0x7f) return c >= 0x20;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

static bool is_line_end(int32_t c) {
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

static bool is_cased(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT;
}

/* ---- Case ------------------------------------------------------------------------------------ */

enum change { TO_UPPER, TO_LOWER, TO_TITLE };

static void add_changed(struct builder *b, int32_t c, enum change change) {
    builder_add_char(b, change == TO_UPPER ? utf8proc_toupper(c)
                        : change == TO_LOWER ? utf8proc_tolower(c) : utf8proc_totitle(c));
}

/* Every character by REST, but those FIRST where a word begins. */
static struct value change_case(struct render *r, const struct str *s, enum change first,
                                enum change rest, bool (*begins)(const char *breaks, int32_t c),
                                const char *breaks) {
    struct builder b = {.r = r};
    bool beginning = true;
    for (size_t i = 0; i < s->n && !r->status; i += char_size((unsigned char)s->p[i])) {
        int32_t c = char_at(s->p + i);
        add_changed(&b, c, beginning ? first : rest);
        beginning = begins && begins(breaks, c);
    }
    return builder_string(&b);
}

static bool after_break(const char *breaks, int32_t c) {
    if (!breaks) return !is_cased(c);
    return char_is_space(c) || (c > 0 && c < 0x80 && strchr(breaks, c));
}

struct value text_upper(struct render *r, const struct str *s) {
    return change_case(r, s, TO_UPPER, TO_UPPER, NULL, NULL);
}

struct value text_lower(struct render *r, const struct str *s) {
    return change_case(r, s, TO_LOWER, TO_LOWER, NULL, NULL);
}

struct value text_capitalize(struct render *r, const struct str *s) {
    return change_case(r, s, TO_TITLE, TO_LOWER, NULL, NULL);
}

struct value text_title(struct render *r, const struct str *s, const char *breaks) {
    return change_case(r, s, breaks ? TO_UPPER : TO_TITLE, TO_LOWER, after_break, breaks);
}

bool text_has_case(const struct str *s, bool upper) {
    bool found = false;
    for (size_t i = 0; i < s->n; i += char_size((unsigned char)s->p[i])) {
        int32_t c = char_at(s->p + i);
        if (!is_cased(c)) continue;
        utf8proc_category_t category = utf8proc_category(c);
        if (category != (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL)) return false;
        found = true;
    }
    return found;
}

/* ---- Parts ----------------------------------------------------------------------------------- */

static bool is_stripped(struct render *r, const char *p, const struct str *chars) {
    if (!chars) return char_is_space(char_at(p));
    render_charge(r, chars->n / 16);
    return chars->n && memmem(chars->p, chars->n, p, char_size((unsigned char)*p));
}

struct value text_strip(struct render *r, const struct str *s, const struct str *chars, int sides) {
    size_t from = 0, to = s->n;
    render_charge(r, s->n / 64);
    while ((sides & 1) && from < to && is_stripped(r, s->p + from, chars))
        from += char_size((unsigned char)s->p[from]);
    while ((sides & 2) && from < to) {
        size_t last = to - 1;
        while ((s->p[last] & 0xc0) == 0x80) last--;
        if (!is_stripped(r, s->p + last, chars)) break;
        to = last;
    }
    if (from == 0 && to == s->n) return (struct value){.kind = V_STRING, .string = s};
    return str_view(r, s->p + from, to - from);
}

/* TO between all characters, before the first and after the last. */
static struct value spread(struct render *r, const struct str *s, const struct str *to,
                           int64_t most) {
    struct builder b = {.r = r};
    size_t i = 0;
    for (; !r->status && most != 0; most -= most > 0) {
        builder_add_str(&b, to);
        if (i == s->n) break;
        size_t n = char_size((unsigned char)s->p[i]);
        builder_add(&b, s->p + i, n);
        i += n;
    }
    builder_add(&b, s->p + i, s->n - i);
    return builder_string(&b);
}

struct value text_replace(struct render *r, const struct str *s, const struct str *from,
                          const struct str *to, int64_t most) {
    if (from->n == 0) return spread(r, s, to, most);
    struct builder b = {.r = r};
    size_t at = 0;
    render_charge(r, s->n / 64);
    for (; most != 0 && !r->status; most -= most > 0) {
        const char *found = memmem(s->p + at, s->n - at, from->p, from->n);
        if (!found) break;
        builder_add(&b, s->p + at, (size_t)(found - s->p) - at);
        builder_add_str(&b, to);
        at = (size_t)(found - s->p) + from->n;
        render_charge(r, 1);
    }
    if (at == 0) return (struct value){.kind = V_STRING, .string = s};
    builder_add(&b, s->p + at, s->n - at);
    return builder_string(&b);
}

struct value text_lines(struct render *r, const struct str *s, bool keep_ends) {
    struct value lines = list_new(r, LIST_LIST);
    for (size_t i = 0, start = 0; i < s->n && !r->status;) {
        size_t end = i, n = char_size((unsigned char)s->p[i]);
        bool ends = is_line_end(char_at(s->p + i));
        if (ends && s->p[i] == '\r' && i + 1 < s->n && s->p[i + 1] == '\n') n++;
        i += n;
        if (!ends && i < s->n) continue;
        struct value line = str_view(r, s->p + start, (ends && !keep_ends ? end : i) - start);
        list_push(r, lines.list, line);
        start = i;
    }
    render_charge(r, s->n / 64);
    return lines;
}

/* ---- The % operator -------------------------------------------------------------------------- */

struct directive {
    bool left, zero, plus;
    size_t width, precision;
    bool has_precision;
    char conversion;
};

static size_t read_number(const struct str *s, size_t *i) {
    size_t n = 0;
    for (; *i < s->n && s->p[*i] >= '0' && s->p[*i] <= '9'; ++*i)
        if (n < 10000) n = 10 * n + (size_t)(s->p[*i] - '0');
    return n;
}

static struct directive read_directive(const struct str *s, size_t *i) {
    struct directive d = {0};
    for (; *i < s->n && strchr("-0+", s->p[*i]) && s->p[*i]; ++*i) {
        d.left |= s->p[*i] == '-';
        d.zero |= s->p[*i] == '0';
        d.plus |= s->p[*i] == '+';
    }
    d.width = read_number(s, i);
    d.has_precision = *i < s->n && s->p[*i] == '.';
    if (d.has_precision) {
        ++*i;
        d.precision = read_number(s, i);
    }
    if (*i < s->n) d.conversion = s->p[(*i)++];
    return d;
}

static const struct str *convert(struct render *r, const struct directive *d, struct value v) {
    char number[400];
    double real = 0;
    int64_t integer = 0;
    if (d->conversion == 's' || d->conversion == 'r') {
        struct builder b = {.r = r};
        if (d->conversion == 's') return value_text(r, v);
        value_repr(&b, v);
        return builder_string(&b).string;
    }
    bool is_real = d->conversion == 'f';
    if (!strchr("dixf", d->conversion) || !d->conversion)
        render_fail(r, "format '%%%c' is not supported", d->conversion);
    else if (!value_number(v, &real))
        render_fail(r, "%%%c format: a number is required, not %s", d->conversion, value_type(v));
    else if (!is_real && !value_integer(v, &integer))
        integer = real > -0x1p63 && real < 0x1p63 ? (int64_t)real : 0;
    const char *sign = d->plus ? "+" : "";
    uint64_t size = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    if (is_real)
        snprintf(number, sizeof number, d->plus ? "%+.*f" : "%.*f",
                 d->has_precision ? (int)(d->precision < 60 ? d->precision : 60) : 6, real);
    else
        snprintf(number, sizeof number, d->conversion == 'x' ? "%s%llx" : "%s%llu",
                 integer < 0 ? "-" : sign, (unsigned long long)size);
    return str_copy(r, number, strlen(number)).string;
}

static void add_directive(struct builder *b, const struct directive *d, struct value v) {
    const struct str *s = convert(b->r, d, v);
    bool text = d->conversion == 's' || d->conversion == 'r', zero = d->zero && !text && !d->left;
    size_t n = s->n, length = str_length(s), sign = 0;
    if (text && d->has_precision)
        for (; length > d->precision; length--)
            while ((s->p[--n] & 0xc0) == 0x80) continue;
    if (zero && n && (*s->p == '-' || *s->p == '+')) builder_add(b, s->p, sign = 1);
    for (size_t i = length; !d->left && i < d->width && !b->r->status; i++)
        builder_add_text(b, zero ? "0" : " ");
    builder_add(b, s->p + sign, n - sign);
    for (size_t i = length; d->left && i < d->width && !b->r->status; i++) builder_add_text(b, " ");
}

struct value text_percent(struct render *r, const struct str *format, struct value v) {
    struct builder b = {.r = r};
    bool tuple = is_form(v, LIST_TUPLE);
    size_t n_used = 0, n_given = tuple ? v.list->n : 1;
    for (size_t i = 0; i < format->n && !r->status;) {
        const char *p = format->p + i, *percent = memchr(p, '%', format->n - i);
        size_t n = percent ? (size_t)(percent - p) : format->n - i;
        builder_add(&b, p, n);
        i += n;
        if (!percent) break;
        i++;
        if (i < format->n && format->p[i] == '(')
            return render_fail(r, "formats with names, such as '%%(name)s', are not supported");
        struct directive d = read_directive(format, &i);
        if (d.conversion == '%')
            builder_add_text(&b, "%");
        else if (n_used == n_given)
            return render_fail(r, "not enough arguments for format string");
        else
            add_directive(&b, &d, tuple ? v.list->items[n_used++] : (n_used++, v));
    }
    bool mapping = v.kind == V_DICT || (v.kind == V_LIST && !tuple);
    if (n_used < n_given && !mapping)
        return render_fail(r, "not all arguments converted during string formatting");
    return builder_string(&b);
}
