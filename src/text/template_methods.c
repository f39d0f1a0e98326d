/* Methods of strings in chat templates. */
#include <string.h>
#include <utf8proc.h>

#include "text/template_impl.h"

static const struct str *string_argument(struct render *r, struct value v) {
    static const struct str nothing = {"", 0, NULL, false};
    if (v.kind == V_STRING) return v.string;
    render_fail(r, "expected a string, found %s", value_type(v));
    return &nothing;
}

/* The I-th argument as an integer, or OTHERWISE where it was not given or is none. */
static int64_t integer_argument(struct render *r, const struct args *args, size_t i,
                                int64_t otherwise) {
    int64_t n = otherwise;
    struct value v = args->values[i];
    if (is_given(v) && v.kind != V_NONE && !value_integer(v, &n))
        render_fail(r, "expected an integer, found %s", value_type(v));
    return n;
}

/* ---- Strings: parts -------------------------------------------------------------------------- */

static struct value strip_sides(struct render *r, struct value self, const struct args *args,
                                int sides) {
    struct value chars = args->values[0];
    bool blank = !is_given(chars) || chars.kind == V_NONE;
    return text_strip(r, self.string, blank ? NULL : string_argument(r, chars), sides);
}

static struct value str_strip(struct render *r, struct value self, const struct args *args) {
    return strip_sides(r, self, args, 3);
}

static struct value str_lstrip(struct render *r, struct value self, const struct args *args) {
    return strip_sides(r, self, args, 1);
}

static struct value str_rstrip(struct render *r, struct value self, const struct args *args) {
    return strip_sides(r, self, args, 2);
}

static void push_part(struct render *r, struct list *parts, const char *p, size_t n) {
    list_push(r, parts, str_view(r, p, n));
}

static void split_at_space(struct render *r, const struct str *s, int64_t most,
                           struct list *parts) {
    size_t at = 0;
    while (!r->status) {
        while (at < s->n && char_is_space(char_at(s->p + at)))
            at += char_size((unsigned char)s->p[at]);
        if (at == s->n) return;
        size_t start = at;
        while (at < s->n && !char_is_space(char_at(s->p + at)))
            at += char_size((unsigned char)s->p[at]);
        if (most-- == 0) {
            push_part(r, parts, s->p + start, s->n - start);
            return;
        }
        push_part(r, parts, s->p + start, at - start);
    }
}

static void split_at(struct render *r, const struct str *s, const struct str *by, int64_t most,
                     struct list *parts) {
    size_t at = 0;
    for (; most != 0 && !r->status; most -= most > 0) {
        const char *found = memmem(s->p + at, s->n - at, by->p, by->n);
        if (!found) break;
        push_part(r, parts, s->p + at, (size_t)(found - s->p) - at);
        at = (size_t)(found - s->p) + by->n;
    }
    push_part(r, parts, s->p + at, s->n - at);
}

/* Where PART begins for the last time in the first N bytes of S; N + 1: nowhere. */
static size_t find_last(const struct str *s, size_t n, const struct str *part) {
    if (part->n > n) return n + 1;
    for (size_t at = n - part->n + 1; at-- > 0;)
        if (part->n == 0 || memcmp(s->p + at, part->p, part->n) == 0) return at;
    return n + 1;
}

static void reverse_items(struct list *list) {
    for (size_t i = 0; i < list->n / 2; i++) {
        struct value v = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = v;
    }
}

static void split_from_end(struct render *r, const struct str *s, const struct str *by,
                           int64_t most, struct list *parts) {
    size_t end = s->n;
    for (; most != 0 && !r->status; most -= most > 0) {
        size_t at = find_last(s, end, by);
        if (at > end) break;
        push_part(r, parts, s->p + at + by->n, end - at - by->n);
        end = at;
    }
    push_part(r, parts, s->p, end);
    if (!r->status) reverse_items(parts);
}

static struct value split(struct render *r, struct value self, const struct args *args, bool end) {
    struct value by = args->values[0], parts = list_new(r, LIST_LIST);
    int64_t most = integer_argument(r, args, 1, -1);
    render_charge(r, self.string->n / 16);
    if (!is_given(by) || by.kind == V_NONE) {
        if (end && most >= 0)
            return render_fail(r, "rsplit at white space, a limited number of times, is not "
                                  "supported");
        split_at_space(r, self.string, most, parts.list);
        return parts;
    }
    const struct str *separator = string_argument(r, by);
    if (separator->n == 0) return render_fail(r, "empty separator");
    if (end) split_from_end(r, self.string, separator, most, parts.list);
    else split_at(r, self.string, separator, most, parts.list);
    return parts;
}

static struct value str_split(struct render *r, struct value self, const struct args *args) {
    return split(r, self, args, false);
}

static struct value str_rsplit(struct render *r, struct value self, const struct args *args) {
    return split(r, self, args, true);
}

/* What is before, the separator itself, and what is behind; SIDE says where all goes if it is not
 * found. */
static struct value partition(struct render *r, const struct str *s, const struct str *by,
                              size_t at, size_t side) {
    struct value parts = list_new(r, LIST_TUPLE);
    if (at <= s->n) {
        push_part(r, parts.list, s->p, at);
        push_part(r, parts.list, by->p, by->n);
        push_part(r, parts.list, s->p + at + by->n, s->n - at - by->n);
    }
    for (size_t i = 0; at > s->n && i < 3; i++)
        push_part(r, parts.list, s->p, i == side ? s->n : 0);
    return parts;
}

static struct value str_partition(struct render *r, struct value self, const struct args *args) {
    const struct str *s = self.string, *by = string_argument(r, args->values[0]);
    const char *found = memmem(s->p, s->n, by->p, by->n);
    return partition(r, s, by, found ? (size_t)(found - s->p) : s->n + 1, 0);
}

static struct value str_rpartition(struct render *r, struct value self, const struct args *args) {
    const struct str *s = self.string, *by = string_argument(r, args->values[0]);
    return partition(r, s, by, find_last(s, s->n, by), 2);
}

static struct value str_splitlines(struct render *r, struct value self, const struct args *args) {
    return text_lines(r, self.string, value_truth(args->values[0]));
}

static struct value str_replace(struct render *r, struct value self, const struct args *args) {
    const struct str *from = string_argument(r, args->values[0]);
    const struct str *to = string_argument(r, args->values[1]);
    return text_replace(r, self.string, from, to, integer_argument(r, args, 2, -1));
}

static struct value str_joined(struct render *r, struct value self, const struct args *args) {
    const struct list *list = value_elements(r, args->values[0]);
    struct builder b = {.r = r};
    for (size_t i = 0; i < list->n && !r->status; i++) {
        if (i) builder_add_str(&b, self.string);
        builder_add_str(&b, string_argument(r, list->items[i]));
    }
    return builder_string(&b);
}

/* ---- Strings: questions ---------------------------------------------------------------------- */

static bool has_affix(const struct str *s, const struct str *affix, bool end) {
    if (affix->n > s->n) return false;
    return memcmp(end ? s->p + s->n - affix->n : s->p, affix->p, affix->n) == 0;
}

/* The affix may also be a tuple of them. */
static struct value check_affix(struct render *r, struct value self, const struct args *args,
                                bool end) {
    struct value affix = args->values[0];
    render_charge(r, self.string->n / 64);
    if (!is_form(affix, LIST_TUPLE))
        return value_bool(has_affix(self.string, string_argument(r, affix), end));
    for (size_t i = 0; i < affix.list->n && !r->status; i++)
        if (has_affix(self.string, string_argument(r, affix.list->items[i]), end))
            return value_bool(true);
    return value_bool(false);
}

static struct value str_startswith(struct render *r, struct value self, const struct args *args) {
    return check_affix(r, self, args, false);
}

static struct value str_endswith(struct render *r, struct value self, const struct args *args) {
    return check_affix(r, self, args, true);
}

static struct value str_removeprefix(struct render *r, struct value self,
                                     const struct args *args) {
    const struct str *s = self.string, *affix = string_argument(r, args->values[0]);
    return has_affix(s, affix, false) ? str_view(r, s->p + affix->n, s->n - affix->n) : self;
}

static struct value str_removesuffix(struct render *r, struct value self,
                                     const struct args *args) {
    const struct str *s = self.string, *affix = string_argument(r, args->values[0]);
    return has_affix(s, affix, true) ? str_view(r, s->p, s->n - affix->n) : self;
}

static int64_t characters_before(const struct str *s, size_t at) {
    const struct str head = {s->p, at, NULL, false};
    return at > s->n ? -1 : (int64_t)str_length(&head);
}

static struct value str_find(struct render *r, struct value self, const struct args *args) {
    const struct str *s = self.string, *part = string_argument(r, args->values[0]);
    int64_t start = integer_argument(r, args, 1, 0), length = (int64_t)str_length(s);
    size_t from = 0;
    render_charge(r, s->n / 32);
    if (start < 0) start = start < -length ? 0 : start + length;
    if (start > length) return value_int(-1);
    for (; start > 0; start--) from += char_size((unsigned char)s->p[from]);
    const char *found = memmem(s->p + from, s->n - from, part->p, part->n);
    return value_int(characters_before(s, found ? (size_t)(found - s->p) : s->n + 1));
}

static struct value str_rfind(struct render *r, struct value self, const struct args *args) {
    const struct str *s = self.string, *part = string_argument(r, args->values[0]);
    render_charge(r, s->n / 16);
    return value_int(characters_before(s, find_last(s, s->n, part)));
}

static struct value str_index(struct render *r, struct value self, const struct args *args) {
    struct value found = str_find(r, self, args);
    return found.integer < 0 ? render_fail(r, "substring not found") : found;
}

static struct value str_count(struct render *r, struct value self, const struct args *args) {
    const struct str *s = self.string, *part = string_argument(r, args->values[0]);
    int64_t n = 0;
    render_charge(r, s->n / 16);
    if (part->n == 0) return value_int((int64_t)str_length(s) + 1);
    for (const char *p = s->p; (p = memmem(p, s->n - (size_t)(p - s->p), part->p, part->n));
         p += part->n) {
        render_charge(r, 1);
        n++;
    }
    return value_int(n);
}

enum char_class { IS_DIGIT, IS_ALPHA, IS_ALNUM, IS_SPACE };

static bool in_class(int32_t c, enum char_class class) {
    utf8proc_category_t category = utf8proc_category(c);
    bool digit = category == UTF8PROC_CATEGORY_ND;
    bool alpha = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
    if (class == IS_SPACE) return char_is_space(c);
    return class == IS_DIGIT ? digit : class == IS_ALPHA ? alpha : digit || alpha;
}

static struct value all_in_class(struct render *r, const struct str *s, enum char_class class) {
    render_charge(r, s->n / 16);
    for (size_t i = 0; i < s->n; i += char_size((unsigned char)s->p[i]))
        if (!in_class(char_at(s->p + i), class)) return value_bool(false);
    return value_bool(s->n > 0);
}

static struct value str_isdigit(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return all_in_class(r, self.string, IS_DIGIT);
}

static struct value str_isalpha(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return all_in_class(r, self.string, IS_ALPHA);
}

static struct value str_isalnum(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return all_in_class(r, self.string, IS_ALNUM);
}

static struct value str_isspace(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return all_in_class(r, self.string, IS_SPACE);
}

static struct value str_isupper(struct render *r, struct value self, const struct args *args) {
    (void)args, (void)r;
    return value_bool(text_has_case(self.string, true));
}

static struct value str_islower(struct render *r, struct value self, const struct args *args) {
    (void)args, (void)r;
    return value_bool(text_has_case(self.string, false));
}

static struct value str_upper(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return text_upper(r, self.string);
}

static struct value str_lower(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return text_lower(r, self.string);
}

static struct value str_title(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return text_title(r, self.string, NULL);
}

static struct value str_capitalize(struct render *r, struct value self, const struct args *args) {
    (void)args;
    return text_capitalize(r, self.string);
}

/* The argument that a field "{}", "{0}" or "{name}" of str.format() asks for. */
static struct value format_field(struct render *r, const struct args *args,
                                 const struct str *field, size_t *n_used) {
    size_t i = 0;
    bool digits = field->n > 0 && field->n < 4;
    for (size_t k = 0; k < field->n; k++) {
        digits = digits && field->p[k] >= '0' && field->p[k] <= '9';
        i = digits ? 10 * i + (size_t)(field->p[k] - '0') : 0;
    }
    if (field->n == 0) i = (*n_used)++;
    if ((digits || field->n == 0) && i < args->n) return args->values[i];
    for (size_t k = 0; k < args->n_named; k++) {
        const struct str *name = args->named[k].key.string;
        if (name->n == field->n && memcmp(name->p, field->p, field->n) == 0)
            return args->named[k].value;
    }
    return render_fail(r, "format: no argument for the field '{%.*s}'",
                       (int)(field->n < 100 ? field->n : 100), field->p);
}

static struct value str_format(struct render *r, struct value self, const struct args *args) {
    const struct str *s = self.string;
    struct builder b = {.r = r};
    size_t n_used = 0;
    for (size_t i = 0; i < s->n && !r->status; i++) {
        bool brace = s->p[i] == '{' || s->p[i] == '}';
        if (brace && i + 1 < s->n && s->p[i + 1] == s->p[i]) i++;
        else if (s->p[i] == '}') return render_fail(r, "format: a single '}'");
        else if (brace) {
            const char *close = memchr(s->p + i, '}', s->n - i);
            if (!close) return render_fail(r, "format: a field has no end");
            const struct str field = {s->p + i + 1, (size_t)(close - s->p) - i - 1, NULL, false};
            builder_add_str(&b, value_text(r, format_field(r, args, &field, &n_used)));
            i = (size_t)(close - s->p);
            continue;
        }
        builder_add(&b, s->p + i, 1);
    }
    return builder_string(&b);
}

const struct builtin template_str_methods[] = {
    {"capitalize", "", 0, str_capitalize},
    {"casefold", "", 0, str_lower},
    {"count", "sub", 1, str_count},
    {"endswith", "suffix", 1, str_endswith},
    {"find", "sub start", 1, str_find},
    {"format", NULL, 0, str_format},
    {"index", "sub start", 1, str_index},
    {"isalnum", "", 0, str_isalnum},
    {"isalpha", "", 0, str_isalpha},
    {"isdecimal", "", 0, str_isdigit},
    {"isdigit", "", 0, str_isdigit},
    {"islower", "", 0, str_islower},
    {"isnumeric", "", 0, str_isdigit},
    {"isspace", "", 0, str_isspace},
    {"isupper", "", 0, str_isupper},
    {"join", "iterable", 1, str_joined},
    {"lower", "", 0, str_lower},
    {"lstrip", "chars", 0, str_lstrip},
    {"partition", "sep", 1, str_partition},
    {"removeprefix", "prefix", 1, str_removeprefix},
    {"removesuffix", "suffix", 1, str_removesuffix},
    {"replace", "old new count", 2, str_replace},
    {"rfind", "sub", 1, str_rfind},
    {"rpartition", "sep", 1, str_rpartition},
    {"rsplit", "sep maxsplit", 0, str_rsplit},
    {"rstrip", "chars", 0, str_rstrip},
    {"split", "sep maxsplit", 0, str_split},
    {"splitlines", "keepends", 0, str_splitlines},
    {"startswith", "prefix", 1, str_startswith},
    {"strip", "chars", 0, str_strip},
    {"title", "", 0, str_title},
    {"upper", "", 0, str_upper},
    {NULL, NULL, 0, NULL},
};
