/* Cutting text into chunks as GPT-2 does, by hand instead of with its regular expression
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * in linear time and for any bytes: one that is not UTF-8 counts as neither letter, number nor
 * space. Splitting digits (SmolLM, StarCoder, Refact) first takes every number character out as a
 * chunk; what lies between is then cut as if it were the whole text. */
#include <string.h>

#include "text/vocab_impl.h"

enum char_class { CLASS_END, CLASS_SPACE, CLASS_LETTER, CLASS_NUMBER, CLASS_OTHER };

static bool is_space(int32_t c) { // Unicode White_Space
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static enum char_class class_of(int32_t c) {
    if (c < 0) return CLASS_OTHER;
    if (is_space(c)) return CLASS_SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CLASS_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CLASS_NUMBER;
    default: return CLASS_OTHER;
    }
}

struct scanner {
    const char *text;
    size_t n;
    bool split_digits;
};

/* Class and length of the character at I; a number ends the text where digits are split off. */
static enum char_class peek(const struct scanner *s, size_t i, size_t *n_char) {
    *n_char = 0;
    if (i >= s->n) return CLASS_END;
    int32_t code;
    *n_char = utf8_next(s->text + i, s->n - i, &code);
    enum char_class class = class_of(code);
    return class == CLASS_NUMBER && s->split_digits ? CLASS_END : class;
}

/* End of the run of characters of CLASS that starts at I; *last: where its last one starts. */
static size_t run_end(const struct scanner *s, size_t i, enum char_class class, size_t *last) {
    size_t n_char;
    *last = i;
    while (peek(s, i, &n_char) == class) {
        *last = i;
        i += n_char;
    }
    return i;
}

static size_t contraction(const char *p, size_t n) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n_ending = strlen(endings[i]);
        if (n_ending <= n && memcmp(p, endings[i], n_ending) == 0) return n_ending;
    }
    return 0;
}

size_t pretokenize_next(const char *text, size_t n, size_t from, bool split_digits) {
    const struct scanner s = {text, n, split_digits};
    size_t n_char, last;
    if (text[from] == '\'') {
        size_t n_ending = contraction(text + from, n - from);
        if (n_ending) return from + n_ending;
    }
    enum char_class class = peek(&s, from, &n_char);
    if (class == CLASS_END) return from + n_char; // a digit, split off
    if (text[from] == ' ') {                      // a single space goes with what follows it
        enum char_class next = peek(&s, from + 1, &n_char);
        if (next != CLASS_SPACE && next != CLASS_END) return run_end(&s, from + 1, next, &last);
    }
    size_t end = run_end(&s, from, class, &last);
    if (class != CLASS_SPACE || last == from) return end;
    return peek(&s, end, &n_char) == CLASS_END ? end : last;
}
