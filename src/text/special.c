/* Finding special tokens in text.
 *
 * The tokens are sorted by text; a match narrows the range that shares the bytes read so far. Text
 * whose bytes start no special token costs one table look per byte, whatever their number. */
#include <stdlib.h>
#include <string.h>

#include "text/vocab_impl.h"

static int compare_specials(const void *a, const void *b) {
    const struct special *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->text, y->text, n);
    if (order) return order;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_searched(const struct token *t, bool control) {
    if (t->n_name == 0 || t->n_name > VOCAB_MAX_SPECIAL_BYTES) return false;
    switch (t->type) {
    case TOKEN_USER_DEFINED: return t->generable; // not: padding that old converters typed so
    case TOKEN_CONTROL:
    case TOKEN_UNKNOWN: return control;
    default: return false;
    }
}

bool special_set_init(struct special_set *set, const struct vocab *v, bool control) {
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++) n += is_searched(&v->tokens[i], control);
    set->entries = mem_array(n, sizeof *set->entries);
    if (!set->entries) return false;
    for (size_t i = 0; i < v->n; i++) {
        const struct token *t = &v->tokens[i];
        if (is_searched(t, control))
            set->entries[set->n++] = (struct special){t->name, t->n_name, (int32_t)i};
    }
    qsort(set->entries, n, sizeof *set->entries, compare_specials);

    size_t n_distinct = 0; // of equal texts the lowest id stays
    for (size_t i = 0; i < n; i++) {
        const struct special *s = &set->entries[i];
        const struct special *last = n_distinct ? &set->entries[n_distinct - 1] : NULL;
        if (last && last->n == s->n && memcmp(last->text, s->text, s->n) == 0) continue;
        set->entries[n_distinct++] = *s;
    }
    set->n = n_distinct;
    for (size_t i = 0; i < n_distinct; i++) set->first[(unsigned char)*set->entries[i].text + 1]++;
    for (size_t b = 0; b < 256; b++) set->first[b + 1] += set->first[b];
    return true;
}

void special_set_free(struct special_set *set) { mem_free(set->entries); }

/* The first entry of [lo, hi), all longer than DEPTH, whose byte at DEPTH is not below BYTE. */
static size_t lower_bound(const struct special *entries, size_t lo, size_t hi, size_t depth,
                          unsigned byte) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)entries[mid].text[depth] < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static const struct special *longest_match(const struct special_set *set, const char *text,
                                           size_t n) {
    const struct special *longest = NULL;
    size_t lo = set->first[(unsigned char)text[0]], hi = set->first[(unsigned char)text[0] + 1];
    for (size_t depth = 1; lo < hi; depth++) {
        if (set->entries[lo].n == depth) longest = &set->entries[lo++];
        if (depth == n) break;
        unsigned byte = (unsigned char)text[depth];
        lo = lower_bound(set->entries, lo, hi, depth, byte);
        hi = lower_bound(set->entries, lo, hi, depth, byte + 1);
    }
    return longest;
}

bool special_find(const struct special_set *set, const char *text, size_t n, size_t from,
                  size_t *at, const struct special **found) {
    if (set->n == 0) return false;
    for (size_t i = from; i < n; i++) {
        *found = longest_match(set, text + i, n - i);
        if (*found) {
            *at = i;
            return true;
        }
    }
    return false;
}
