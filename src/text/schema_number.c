/* Numbers of a schema as rules over their digits. Bounds are decimals; what lies between two of
 * them is found digit by digit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/schema_impl.h"

/* Any fraction, and one that is not zero. */
static const char any_fraction[] = "(\".\" [0-9]{1,20})?";
static const char some_fraction[] = "\".\" [0-9]{0,10} [1-9] [0-9]{0,9}";
static const char zero_fraction[] = "(\".\" \"0\"{1,20})?";

/* ---- Bounds ---------------------------------------------------------------------------------- */

void number_text(double value, char out[32]) {
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value) return;
    }
}

bool bound_read(struct schema *s, const json_t *value, uint32_t path, const char *keyword,
                struct bound *out) {
    char text[64];
    *out = (struct bound){.given = true, .value = json_number_value(value)};
    if (!json_is_number(value)) return schema_refuse(s, path, keyword, "is not a number");
    const bool small = fabs(out->value) < 1e18 && (out->value == 0 || fabs(out->value) > 1e-9);
    if (json_is_integer(value)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
    } else {
        number_text(out->value, text);
        if (strchr(text, 'e') && small) { // 1e-05, 1.5e+17
            snprintf(text, sizeof text, "%.25f", out->value);
            const double exact = strtod(text, NULL);
            for (int digits = 0; digits < 25 && exact == out->value; digits++) {
                snprintf(text, sizeof text, "%.*f", digits, out->value);
                if (strtod(text, NULL) == out->value) break;
            }
        }
        if (!small) return schema_refuse(s, path, keyword, "has too many digits");
    }
    const char *p = text;
    if (*p == '-') out->negative = true, p++;
    const size_t n = strcspn(p, ".");
    snprintf(out->whole, sizeof out->whole, "%.*s", (int)n, p);
    if (p[n] == '.') {
        size_t n_fraction = strlen(p + n + 1);
        while (n_fraction > 0 && p[n + n_fraction] == '0') n_fraction--;
        if (n_fraction > 18) return schema_refuse(s, path, keyword, "has too many digits");
        snprintf(out->fraction, sizeof out->fraction, "%.*s", (int)n_fraction, p + n + 1);
    }
    if (out->value == 0) out->negative = false;
    return true;
}

/* Of the numbers without their signs; exact, also where doubles are not. */
static int compare_digits(const struct bound *a, const struct bound *b) {
    const size_t n_a = strlen(a->whole), n_b = strlen(b->whole);
    if (n_a != n_b) return n_a < n_b ? -1 : 1;
    const int order = strcmp(a->whole, b->whole);
    return order != 0 ? order : strcmp(a->fraction, b->fraction);
}

int bound_compare(const struct bound *a, const struct bound *b) {
    if (a->negative != b->negative) return a->negative ? -1 : 1;
    return a->negative ? compare_digits(b, a) : compare_digits(a, b);
}

/* ---- Whole numbers --------------------------------------------------------------------------- */

static bool put_digit(struct schema *s, char lo, char hi) {
    return lo == hi ? putf(s, "\"%c\" ", lo) : putf(s, "[%c-%c] ", lo, hi);
}

static bool put_digits(struct schema *s, size_t n) {
    return n == 0 || putf(s, "[0-9]{%zu} ", n);
}

/* Strings of as many digits as LO and HI have, from LO (NULL: zeros) to HI (NULL: nines). */
static bool put_between(struct schema *s, const char *lo, const char *hi, size_t n) {
    if (n == 0) return true;
    if (!lo && !hi) return put_digits(s, n);
    char from = lo ? *lo : '0', to = hi ? *hi : '9';
    if (lo && hi && from == to) {
        return put_digit(s, from, to) && put_between(s, lo + 1, hi + 1, n - 1);
    }
    bool any = false;
    put(s, "(");
    if (lo) {
        put_digit(s, from, from);
        put_between(s, lo + 1, NULL, n - 1);
        from++;
        any = true;
    }
    const char last = to;
    if (hi) to--;
    if (from <= to) {
        if (any) put(s, "| ");
        put_digit(s, from, to);
        put_digits(s, n - 1);
        any = true;
    }
    if (hi) {
        if (any) put(s, "| ");
        put_digit(s, last, last);
        put_between(s, NULL, hi + 1, n - 1);
    }
    return put(s, ") ");
}

/* Whole numbers from LO to HI, without leading zeros; HI NULL: no bound. */
static bool put_whole(struct schema *s, const char *lo, const char *hi) {
    const size_t n_lo = strlen(lo), n_hi = hi ? strlen(hi) : n_lo;
    if (n_lo == n_hi) {
        put(s, "(");
        put_between(s, lo, hi, n_lo);
        if (!hi) putf(s, "| [1-9] [0-9]{%zu,%d}", n_lo, SCHEMA_MAX_DIGITS - 1);
        return put(s, ") ");
    }
    put(s, "(");
    put_between(s, lo, NULL, n_lo);
    if (n_hi - n_lo > 1) putf(s, "| [1-9] [0-9]{%zu,%zu} ", n_lo, n_hi - 2);
    char first[32] = "1"; // the least of as many digits as HI
    memset(first + 1, '0', n_hi - 1);
    put(s, "| ");
    put_between(s, first, hi, n_hi);
    return put(s, ") ");
}

/* TEXT + 1 or - 1, of a whole number; not below 0. */
static void step(const char *text, int by, char out[32]) {
    snprintf(out, 32, "%llu", strtoull(text, NULL, 10) + (unsigned long long)(long long)by);
}

static bool is_zero(const char *whole) { return strcmp(whole, "0") == 0; }

static bool is_less(const char *a, const char *b) {
    return strtoull(a, NULL, 10) < strtoull(b, NULL, 10);
}

/* ---- A side of zero -------------------------------------------------------------------------- */

/* Alternatives of one rule: the first one has no bar before it. */
struct choice {
    struct schema *s;
    bool any;
    bool negative; // each begins with a minus
};

static bool next_choice(struct choice *c) {
    if (c->any) put(c->s, "| ");
    c->any = true;
    return put(c->s, c->negative ? "\"-\" " : "");
}

/* Whole numbers from LO on, or above it, to HI, or below it; NULL: no bound. */
static bool put_integers(struct choice *c, const struct bound *lo, const struct bound *hi) {
    char from[32] = "0", to[32] = "";
    if (c->negative) snprintf(from, sizeof from, "1");
    if (lo && (!c->negative || !is_zero(lo->whole) || lo->fraction[0] || lo->exclusive)) {
        const bool above = lo->exclusive || lo->fraction[0];
        if (above)
            step(lo->whole, 1, from);
        else if (!is_zero(lo->whole) || !c->negative)
            snprintf(from, sizeof from, "%s", lo->whole);
    }
    if (hi) {
        const bool below = hi->exclusive && !hi->fraction[0];
        if (below && is_zero(hi->whole)) return true;
        step(hi->whole, below ? -1 : 0, to);
        if (is_less(to, from)) return true;
    }
    return next_choice(c) && put_whole(c->s, from, hi ? to : NULL);
}

/* Fractions from ".F" on, above it if EXCLUSIVE; F is not empty. */
static bool put_fraction_above(struct schema *s, const char *f, bool exclusive) {
    put(s, "\".\" ");
    for (; *f; f++) {
        put(s, "(");
        if (*f < '9') {
            put_digit(s, (char)(*f + 1), '9');
            put(s, "[0-9]{0,19} | ");
        }
        put_digit(s, *f, *f);
        // Parentheses close behind the last digit.
        if (!f[1]) put(s, exclusive ? "[0-9]{0,9} [1-9] [0-9]{0,9}" : "[0-9]{0,19}");
    }
    return true;
}

static bool put_fraction_below(struct schema *s, const char *f, bool exclusive) {
    const char *const first = f;
    if (!*f) return put(s, exclusive ? "never" : zero_fraction);
    put(s, "(\".\" ");
    for (; *f; f++) {
        put(s, "(");
        if (*f > '0') {
            put_digit(s, '0', (char)(*f - 1));
            put(s, "[0-9]{0,19} | ");
        }
        put_digit(s, *f, *f);
        if (!f[1]) put(s, exclusive ? "never" : "\"0\"{0,19}");
        else put(s, "(");
    }
    // Shorter fractions are below too.
    for (f = first; *f; f++) put(s, f[1] ? ")?) " : ") ");
    return put(s, ")? ");
}

/* The numbers that begin like the bound, at or above it. */
static bool put_at_lower(struct choice *c, const struct bound *lo) {
    next_choice(c);
    putf(c->s, "\"%s\" ", lo->whole);
    if (!lo->fraction[0]) return put(c->s, lo->exclusive ? some_fraction : any_fraction);
    put_fraction_above(c->s, lo->fraction, lo->exclusive);
    for (size_t i = 0; i < strlen(lo->fraction); i++) put(c->s, ")");
    return put(c->s, " ");
}

static bool put_at_upper(struct choice *c, const struct bound *hi) {
    next_choice(c);
    putf(c->s, "\"%s\" ", hi->whole);
    return put_fraction_below(c->s, hi->fraction, hi->exclusive);
}

/* Numbers from LO to HI, both not negative; HI NULL: no bound. Those that begin like a bound are
 * written apart from those between. */
static bool put_numbers(struct choice *c, const struct bound *lo, const struct bound *hi,
                        uint32_t path) {
    char from[32], to[32] = "";
    if (hi && compare_digits(lo, hi) > 0) return true;
    const bool simple = !lo->exclusive && !lo->fraction[0];
    if (hi && strcmp(lo->whole, hi->whole) == 0) {
        if (simple && !(hi->exclusive && !hi->fraction[0])) return put_at_upper(c, hi);
        if (compare_digits(lo, hi) == 0 || (hi->exclusive && !hi->fraction[0])) return true;
        return schema_refuse(c->s, path, "minimum",
                             "and the maximum are too close to each other for fractions");
    }
    if (simple)
        snprintf(from, sizeof from, "%s", lo->whole);
    else
        step(lo->whole, 1, from);
    if (!simple) put_at_lower(c, lo);
    if (hi) step(hi->whole, -1, to);
    if (!hi || !is_less(to, from)) {
        next_choice(c);
        put_whole(c->s, from, hi ? to : NULL);
        put(c->s, any_fraction);
        put(c->s, " ");
    }
    if (hi && !(hi->exclusive && !hi->fraction[0])) put_at_upper(c, hi);
    return true;
}

static const struct bound zero = {.given = true, .whole = "0"};

/* One side of zero: from LO to HI away from it. */
static bool put_side(struct choice *c, const struct form *f, const struct bound *lo,
                     const struct bound *hi, uint32_t path) {
    const bool integers = f->whole || !(f->types & TYPE_NUMBER);
    if (hi && compare_digits(lo ? lo : &zero, hi) > 0) return true;
    if (integers) return put_integers(c, lo, hi);
    struct bound from = lo ? *lo : zero;
    // Minus zero is no number that anybody means.
    if (c->negative && !lo) from.exclusive = true;
    return put_numbers(c, &from, hi, path);
}

bool schema_write_number(struct schema *s, const struct form *f, uint32_t path) {
    const bool integers = f->whole || !(f->types & TYPE_NUMBER);
    const struct bound *const min = f->min.given ? &f->min : NULL;
    const struct bound *const max = f->max.given ? &f->max : NULL;
    if (f->zeros > 0) {
        if (min || max)
            return schema_refuse(s, path, "multipleOf", "is not supported beside bounds");
        return putf(s, "\"0\" | \"-\"? [1-9] [0-9]{0,40} \"%0*d\"", (int)f->zeros, 0);
    }
    if (!min && !max) return put(s, integers ? "integer" : "number");
    struct choice c = {.s = s};
    // Zero itself belongs to the side that is not negative.
    const bool below_zero = max && (max->negative || (max->value == 0 && max->exclusive));
    if (!below_zero)
        put_side(&c, f, min && !min->negative ? min : NULL, max, path);
    const bool above_zero = min && !min->negative;
    c.negative = true;
    if (!above_zero) put_side(&c, f, max && max->negative ? max : NULL, min, path);
    return c.any ? s->status == OCTET_OK : put(s, "never");
}
