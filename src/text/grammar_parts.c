/* Rules as written: parts with one or two ways on, after Thompson (1968). Characters become
 * sequences of bytes of their UTF-8. */
#include <stdlib.h>

#include "text/grammar_impl.h"

static uint32_t add_part(struct parts *p, struct part part) {
    if (p->status != OCTET_OK) return 0;
    if (p->n >= GRAMMAR_MAX_PARTS) {
        p->status = OCTET_EUNSUPPORTED;
    } else if (!mem_reserve((void **)&p->list, &p->cap, p->n + 1, sizeof *p->list)) {
        p->status = OCTET_EMEM;
    } else {
        p->list[p->n] = part;
        return (uint32_t)p->n++;
    }
    return 0;
}

static void link_parts(struct parts *p, uint32_t from, uint32_t to) {
    if (p->status == OCTET_OK) p->list[from].out = to;
}

static struct piece piece_of(struct parts *p, struct part part) {
    const uint32_t i = add_part(p, part);
    return (struct piece){i, i, i};
}

struct piece piece_empty(struct parts *p) {
    return piece_of(p, (struct part){PART_EMPTY, 0, 0, 0, GRAMMAR_NONE, GRAMMAR_NONE});
}

struct piece piece_bytes(struct parts *p, uint8_t lo, uint8_t hi) {
    return piece_of(p, (struct part){PART_BYTES, lo, hi, 0, GRAMMAR_NONE, GRAMMAR_NONE});
}

struct piece piece_call(struct parts *p, uint32_t rule) {
    return piece_of(p, (struct part){PART_CALL, 0, 0, rule, GRAMMAR_NONE, GRAMMAR_NONE});
}

struct piece piece_join(struct parts *p, struct piece a, struct piece b) {
    link_parts(p, a.end, b.start);
    return (struct piece){a.first < b.first ? a.first : b.first, a.start, b.end};
}

struct piece piece_either(struct parts *p, struct piece a, struct piece b) {
    const uint32_t end = piece_empty(p).start;
    const uint32_t start =
        add_part(p, (struct part){PART_EITHER, 0, 0, 0, a.start, b.start});
    link_parts(p, a.end, end);
    link_parts(p, b.end, end);
    return (struct piece){a.first < b.first ? a.first : b.first, start, end};
}

static uint32_t shift(uint32_t to, uint32_t by) { return to == GRAMMAR_NONE ? to : to + by; }

/* The same again, for a piece of the N parts from its first on. */
static struct piece copy_piece(struct parts *p, struct piece a, size_t n) {
    const uint32_t by = (uint32_t)p->n - a.first;
    for (size_t i = 0; i < n && p->status == OCTET_OK; i++) {
        struct part part = p->list[a.first + i];
        part.out = shift(part.out, by);
        part.other = shift(part.other, by);
        add_part(p, part);
    }
    return (struct piece){a.first + by, a.start + by, a.end + by};
}

/* A as often as one likes. */
static struct piece repeat_always(struct parts *p, struct piece a) {
    const uint32_t end = piece_empty(p).start;
    const uint32_t start = add_part(p, (struct part){PART_EITHER, 0, 0, 0, a.start, end});
    link_parts(p, a.end, start);
    return (struct piece){a.first, start, end};
}

/* A, or at once to END. */
static struct piece skippable(struct parts *p, struct piece a, uint32_t end) {
    const uint32_t start = add_part(p, (struct part){PART_EITHER, 0, 0, 0, a.start, end});
    return (struct piece){a.first, start, a.end};
}

struct piece piece_repeat(struct parts *p, struct piece a, uint32_t min, uint32_t max) {
    const size_t n = p->n - a.first;
    const bool endless = max == GRAMMAR_NONE;
    const uint32_t n_copies = endless ? min + 1 : max;
    if (n_copies == 0) return piece_empty(p);
    const uint32_t end = piece_empty(p).start;
    struct piece whole = {a.first, 0, 0};
    for (uint32_t i = 0; i < n_copies && p->status == OCTET_OK; i++) {
        // The last one is the original: copies are made of what is not linked yet.
        struct piece one = i + 1 < n_copies ? copy_piece(p, a, n) : a;
        if (endless && i + 1 == n_copies)
            one = repeat_always(p, one);
        else if (i >= min)
            one = skippable(p, one, end);
        whole = i == 0 ? one : piece_join(p, whole, one);
    }
    whole.first = a.first;
    link_parts(p, whole.end, end);
    return (struct piece){whole.first, whole.start, end};
}

/* ---- Characters ------------------------------------------------------------------------------ */

static size_t utf8(uint32_t code, uint8_t *out) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    const size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)((0xf00U >> n) | code);
    return n;
}

/* Alternatives that are gathered; none yet: EMPTY. */
struct gathering {
    struct parts *p;
    struct piece all;
    bool any;
};

static void gather(struct gathering *g, struct piece piece) {
    g->all = g->any ? piece_either(g->p, g->all, piece) : piece;
    g->any = true;
}

/* LO and HI are of one length, and all between them differ in bytes that are ranges of their own.
 *  */
static void gather_bytes(struct gathering *g, uint32_t lo, uint32_t hi) {
    uint8_t a[4], b[4];
    const size_t n = utf8(lo, a);
    utf8(hi, b);
    struct piece piece = piece_bytes(g->p, a[0], b[0]);
    for (size_t i = 1; i < n; i++) piece = piece_join(g->p, piece, piece_bytes(g->p, a[i], b[i]));
    gather(g, piece);
}

/* Splits until bytes are independent of each other. */
static void gather_range(struct gathering *g, uint32_t lo, uint32_t hi) {
    static const uint32_t last[] = {0x7f, 0x7ff, 0xffff};
    for (size_t i = 0; i < 3; i++) {
        if (lo <= last[i] && hi > last[i]) {
            gather_range(g, lo, last[i]);
            gather_range(g, last[i] + 1, hi);
            return;
        }
    }
    if (hi < 0x80) {
        gather_bytes(g, lo, hi);
        return;
    }
    for (uint32_t bits = 6; bits <= 18; bits += 6) {
        const uint32_t below = (UINT32_C(1) << bits) - 1;
        if ((lo & ~below) == (hi & ~below)) break;
        uint32_t cut = 0; // the first of the second half
        if ((lo & below) != 0)
            cut = (lo | below) + 1;
        else if ((hi & below) != below)
            cut = hi & ~below;
        if (cut == 0) continue;
        gather_range(g, lo, cut - 1);
        gather_range(g, cut, hi);
        return;
    }
    gather_bytes(g, lo, hi);
}

static int compare_ranges(const void *a, const void *b) {
    const struct code_range *const x = a, *const y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* Leaves surrogates out: no text has them. */
static void gather_characters(struct gathering *g, uint32_t lo, uint32_t hi) {
    if (lo < 0xd800) gather_range(g, lo, hi < 0xd800 ? hi : 0xd7ff);
    if (hi > 0xdfff) gather_range(g, lo > 0xdfff ? lo : 0xe000, hi);
}

struct piece piece_class(struct parts *p, struct code_range *ranges, size_t n, bool negated) {
    struct gathering g = {.p = p};
    const uint32_t first = (uint32_t)p->n;
    uint32_t next = 0; // the first code point that no range before covered
    if (n > 0) qsort(ranges, n, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < n; i++) {
        const uint32_t lo = ranges[i].lo > next ? ranges[i].lo : next;
        if (negated && ranges[i].lo > next) gather_characters(&g, next, ranges[i].lo - 1);
        if (!negated && lo <= ranges[i].hi) gather_characters(&g, lo, ranges[i].hi);
        if (ranges[i].hi >= next) next = ranges[i].hi + 1;
    }
    if (negated && next <= 0x10ffff) gather_characters(&g, next, 0x10ffff);
    // No character at all: what can never be read.
    if (!g.any) return piece_bytes(p, 1, 0);
    g.all.first = first;
    return g.all;
}
