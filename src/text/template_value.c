/* Memory and values of chat templates: strings, lists, dicts, and how they compare. */
#include <string.h>

#include "base/mem.h"
#include "text/template_impl.h"

/* ---- Memory ---------------------------------------------------------------------------------- */

enum { CHUNK_BYTES = 16 << 10, ALIGNMENT = 16 };

struct chunk {
    _Alignas(ALIGNMENT) struct chunk *next;
};

void *arena_alloc(struct arena *arena, size_t n_bytes) {
    arena->full = n_bytes > arena->limit;
    if (arena->full) return NULL;
    size_t n = (n_bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if ((size_t)(arena->end - arena->at) < n) {
        size_t n_chunk = n > CHUNK_BYTES / 4 ? n : CHUNK_BYTES;
        arena->full = n_chunk > arena->limit - arena->n_bytes;
        if (arena->full) return NULL;
        struct chunk *chunk = mem_alloc(sizeof *chunk + n_chunk);
        if (!chunk) return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->n_bytes += n_chunk;
        arena->at = (char *)(chunk + 1);
        arena->end = arena->at + n_chunk;
    }
    char *p = arena->at;
    arena->at += n;
    return p;
}

void *arena_grow(struct arena *arena, void *old, size_t n_old, size_t n_new) {
    size_t held = (n_old + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    size_t more = n_new > held ? (n_new - held + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1) : 0;
    if (old && (char *)old + held == arena->at && more <= (size_t)(arena->end - arena->at)) {
        arena->at += more;
        return old;
    }
    void *p = arena_alloc(arena, n_new);
    if (p && n_old) memcpy(p, old, n_old);
    return p;
}

void arena_free(struct arena *arena) {
    for (struct chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_free(chunk);
    }
    *arena = (struct arena){.limit = arena->limit};
}

/* Makes room for one more element of SIZE bytes in *p. */
static bool reserve_one(struct render *r, void **p, size_t n, size_t *cap, size_t size) {
    if (r->status) return false;
    if (n < *cap) return true;
    size_t new_cap = *cap ? 2 * *cap : 4;
    void *grown = render_grow(r, *p, *cap * size, new_cap * size);
    if (!grown) return false;
    *p = grown;
    *cap = new_cap;
    return true;
}

/* ---- Strings --------------------------------------------------------------------------------- */

/* What constructors return after a failure, so that callers need not look; nothing is ever written
 * to them, since nothing is after a failure. */
static const struct str no_string = {"", 0, NULL, false};
static struct list no_list;
static struct dict no_dict;

enum { SLAB_LEAST = 256 }; // shorter strings are not continued in place

/* Room behind a long string made by joining, so that building a text piece by piece takes time and
 * memory in proportion to its length. */
struct slab {
    size_t n, cap;
    char bytes[];
};

struct value str_view(struct render *r, const char *p, size_t n) {
    struct str *s = render_alloc(r, sizeof *s);
    if (s) *s = (struct str){p, n, NULL, false};
    return (struct value){.kind = V_STRING, .string = s ? s : &no_string};
}

struct value str_copy(struct render *r, const char *p, size_t n) {
    render_charge(r, n / 64);
    char *copy = render_alloc(r, n);
    if (!copy) return str_view(r, "", 0);
    if (n) memcpy(copy, p, n);
    return str_view(r, copy, n);
}

struct value str_text(struct render *r, const char *literal) {
    return str_view(r, literal, strlen(literal));
}

/* B written behind A, in the room of A's slab where there is some. */
struct value str_join(struct render *r, const struct str *a, const struct str *b) {
    if (b->n == 0) return (struct value){.kind = V_STRING, .string = a};
    struct slab *slab = a->slab;
    size_t n = a->n + b->n;
    if (!slab || slab->bytes + slab->n != a->p + a->n || b->n > slab->cap - slab->n) {
        size_t cap = n < SLAB_LEAST ? n : 2 * n;
        slab = render_alloc(r, sizeof *slab + cap);
        if (!slab) return str_view(r, "", 0);
        *slab = (struct slab){a->n, cap};
        memcpy(slab->bytes, a->p, a->n);
        render_charge(r, a->n / 64);
    }
    memcpy(slab->bytes + slab->n, b->p, b->n);
    render_charge(r, b->n / 64);
    const char *start = slab->bytes + slab->n - a->n;
    slab->n += b->n;
    struct str *s = render_alloc(r, sizeof *s);
    if (s) *s = (struct str){start, n, slab, a->safe};
    return (struct value){.kind = V_STRING, .string = s ? s : &no_string};
}

struct value str_escape(struct render *r, const struct str *s) {
    static const char plain[] = "&<>'\"";
    static const char *const escapes[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct builder b = {.r = r};
    for (size_t i = 0; i < s->n && !r->status; i++) {
        const char *found = s->p[i] ? strchr(plain, s->p[i]) : NULL;
        if (found) builder_add_text(&b, escapes[found - plain]);
        else builder_add(&b, s->p + i, 1);
    }
    struct str *escaped = render_alloc(r, sizeof *escaped);
    if (escaped) *escaped = (struct str){b.p ? b.p : "", b.n, NULL, true};
    return (struct value){.kind = V_STRING, .string = escaped ? escaped : &no_string};
}

bool str_is(const struct str *s, const char *text) {
    return s->n == strlen(text) && memcmp(s->p, text, s->n) == 0;
}

size_t str_length(const struct str *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) n += (s->p[i] & 0xc0) != 0x80;
    return n;
}

static int str_compare(const struct str *a, const struct str *b) {
    size_t n = a->n < b->n ? a->n : b->n;
    int order = n ? memcmp(a->p, b->p, n) : 0;
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

/* ---- Lists and dicts ------------------------------------------------------------------------- */

struct value list_new(struct render *r, enum list_form form) {
    struct list *list = render_alloc(r, sizeof *list);
    if (list) list->form = form;
    return (struct value){.kind = V_LIST, .list = list ? list : &no_list};
}

void list_push(struct render *r, struct list *list, struct value v) {
    void *items = list->items;
    if (!reserve_one(r, &items, list->n, &list->cap, sizeof v)) return;
    list->items = items;
    list->items[list->n++] = v;
    render_charge(r, 1);
}

struct value dict_new(struct render *r, enum value_kind kind) {
    struct dict *dict = render_alloc(r, sizeof *dict);
    return (struct value){.kind = kind, .dict = dict ? dict : &no_dict};
}

const struct value *dict_find(struct render *r, const struct dict *d, struct value key) {
    render_charge(r, 1 + d->n / 16);
    for (size_t i = 0; i < d->n && !r->status; i++)
        if (value_equal(r, d->pairs[i].key, key)) return &d->pairs[i].value;
    return NULL;
}

void dict_append(struct render *r, struct dict *d, struct value key, struct value v) {
    void *pairs = d->pairs;
    if (!reserve_one(r, &pairs, d->n, &d->cap, sizeof *d->pairs)) return;
    d->pairs = pairs;
    d->pairs[d->n++] = (struct pair){key, v};
    render_charge(r, 1);
}

bool value_check_key(struct render *r, struct value key) {
    if (key.kind == V_DICT || is_form(key, LIST_LIST))
        render_fail(r, "unhashable type: '%s'", value_type(key));
    return !r->status;
}

void dict_set(struct render *r, struct dict *d, struct value key, struct value v) {
    if (!value_check_key(r, key)) return;
    struct value *old = (struct value *)dict_find(r, d, key);
    if (old) *old = v;
    else dict_append(r, d, key, v);
}

struct value dict_list(struct render *r, const struct dict *d, enum list_form form) {
    struct value out = list_new(r, form);
    for (size_t i = 0; i < d->n && !r->status; i++) {
        struct value element = form == LIST_VALUES ? d->pairs[i].value : d->pairs[i].key;
        if (form == LIST_ITEMS || form == LIST_ONCE) {
            element = list_new(r, LIST_TUPLE);
            if (r->status) break;
            list_push(r, element.list, d->pairs[i].key);
            list_push(r, element.list, d->pairs[i].value);
        }
        list_push(r, out.list, element);
    }
    return out;
}

/* ---- Questions ------------------------------------------------------------------------------- */

struct value value_undefined(struct render *r, const char *owner, struct value name) {
    struct missing *missing = render_alloc(r, sizeof *missing);
    static const struct missing nothing = {"", {.kind = V_NONE}};
    if (missing) *missing = (struct missing){owner, name};
    return (struct value){.kind = V_UNDEFINED, .missing = missing ? missing : &nothing};
}

const char *value_type(struct value v) {
    static const char *const lists[] = {"list",        "tuple",      "range",    "dict_keys",
                                        "dict_values", "dict_items", "generator"};
    switch (v.kind) {
    case V_MISSING:
    case V_UNDEFINED: return "Undefined";
    case V_NONE: return "NoneType";
    case V_BOOL: return "bool";
    case V_INT: return "int";
    case V_FLOAT: return "float";
    case V_STRING: return "str";
    case V_LIST: return lists[v.list->form];
    case V_DICT: return "dict";
    case V_NAMESPACE: return "Namespace";
    case V_MACRO: return "Macro";
    case V_FUNCTION: return "function";
    case V_LOOP: return "LoopContext";
    }
    return "";
}

bool value_truth(struct value v) {
    switch (v.kind) {
    case V_MISSING:
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v.boolean;
    case V_INT: return v.integer != 0;
    case V_FLOAT: return v.real < 0 || v.real > 0 || v.real != v.real;
    case V_STRING: return v.string->n > 0;
    case V_LIST: return v.list->form == LIST_ONCE || v.list->n > 0;
    case V_DICT: return v.dict->n > 0;
    default: return true;
    }
}

bool value_integer(struct value v, int64_t *out) {
    if (v.kind == V_INT) *out = v.integer;
    if (v.kind == V_BOOL) *out = v.boolean;
    return v.kind == V_INT || v.kind == V_BOOL;
}

bool value_number(struct value v, double *out) {
    int64_t i;
    if (v.kind == V_FLOAT) *out = v.real;
    else if (value_integer(v, &i)) *out = (double)i;
    else return false;
    return true;
}

static bool dict_equal(struct render *r, const struct dict *a, const struct dict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n && !r->status; i++) {
        const struct value *other = dict_find(r, b, a->pairs[i].key);
        if (!other || !value_equal(r, a->pairs[i].value, *other)) return false;
    }
    return true;
}

static bool containers_equal(struct render *r, struct value a, struct value b) {
    if (a.kind != V_LIST) return a.dict == b.dict || dict_equal(r, a.dict, b.dict);
    if (a.list == b.list) return true;
    bool comparable = a.list->form == b.list->form && a.list->form <= LIST_RANGE;
    if (!comparable || a.list->n != b.list->n) return false;
    for (size_t i = 0; i < a.list->n && !r->status; i++)
        if (!value_equal(r, a.list->items[i], b.list->items[i])) return false;
    return true;
}

bool value_equal(struct render *r, struct value a, struct value b) {
    int64_t i, k;
    if (value_integer(a, &i) && value_integer(b, &k)) return i == k;
    double x, y;
    if (value_number(a, &x) && value_number(b, &y)) return !(x < y) && !(x > y) && x == x && y == y;
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case V_STRING:
        if (a.string->n != b.string->n) return false;
        render_charge(r, a.string->n / 64);
        return memcmp(a.string->p, b.string->p, a.string->n) == 0;
    case V_LIST:
    case V_DICT: {
        if (!render_enter(r)) return false;
        bool equal = containers_equal(r, a, b);
        render_leave(r);
        return equal;
    }
    case V_NAMESPACE: return a.dict == b.dict;
    case V_MACRO: return a.macro == b.macro;
    case V_FUNCTION: return a.function == b.function;
    case V_LOOP: return a.loop == b.loop;
    default: return true; // of these kinds there is one value
    }
}

static int compare_lists(struct render *r, const struct list *a, const struct list *b) {
    for (size_t i = 0; i < a->n && i < b->n && !r->status; i++)
        if (!value_equal(r, a->items[i], b->items[i]))
            return value_compare(r, a->items[i], b->items[i]);
    return (a->n > b->n) - (a->n < b->n);
}

int value_compare(struct render *r, struct value a, struct value b) {
    render_charge(r, 1);
    if (a.kind == V_UNDEFINED || b.kind == V_UNDEFINED) {
        render_fail_undefined(r, a.kind == V_UNDEFINED ? a : b);
        return 0;
    }
    int64_t i, k;
    if (value_integer(a, &i) && value_integer(b, &k)) return (i > k) - (i < k);
    double x, y;
    if (value_number(a, &x) && value_number(b, &y)) return (x > y) - (x < y);
    if (a.kind == V_STRING && b.kind == V_STRING) {
        render_charge(r, a.string->n / 64);
        return str_compare(a.string, b.string);
    }
    bool lists = a.kind == V_LIST && b.kind == V_LIST && a.list->form == b.list->form &&
                 a.list->form <= LIST_TUPLE;
    if (!lists) {
        render_fail(r, "'%s' and '%s' have no order", value_type(a), value_type(b));
        return 0;
    }
    if (!render_enter(r)) return 0;
    int order = compare_lists(r, a.list, b.list);
    render_leave(r);
    return order;
}

/* ---- Elements -------------------------------------------------------------------------------- */

static struct list *characters(struct render *r, const struct str *s) {
    struct value out = list_new(r, LIST_LIST);
    for (size_t i = 0; i < s->n && !r->status;) {
        size_t n = char_size((unsigned char)s->p[i]);
        struct value c = str_view(r, s->p + i, n);
        list_push(r, out.list, c);
        i += n;
    }
    return out.list;
}

/* What is left of a list that can be read once. */
static struct list *read_once(struct render *r, struct list *once) {
    struct list *rest = list_new(r, LIST_LIST).list;
    if (r->status) return once;
    *rest = (struct list){NULL, once->n - once->next, 0, LIST_LIST, 0};
    if (rest->n) rest->items = once->items + once->next;
    rest->cap = rest->n; // growing copies
    once->next = once->n;
    return rest;
}

struct list *value_elements(struct render *r, struct value v) {
    struct list *list = &no_list;
    if (v.kind == V_LIST) list = v.list->form == LIST_ONCE ? read_once(r, v.list) : v.list;
    else if (v.kind == V_DICT) list = dict_list(r, v.dict, LIST_KEYS).list;
    else if (v.kind == V_STRING) list = characters(r, v.string);
    else if (v.kind != V_UNDEFINED) render_fail(r, "'%s' object is not iterable", value_type(v));
    return r->status ? &no_list : list;
}

size_t value_length(struct render *r, struct value v) {
    if (v.kind == V_STRING) {
        render_charge(r, v.string->n / 64);
        return str_length(v.string);
    }
    if (v.kind == V_LIST && v.list->form != LIST_ONCE) return v.list->n;
    if (v.kind == V_DICT) return v.dict->n;
    if (v.kind == V_LOOP) return v.loop->list->n;
    if (v.kind != V_UNDEFINED) render_fail(r, "object of type '%s' has no len()", value_type(v));
    return 0;
}

bool value_in(struct render *r, struct value v, struct value container) {
    if (container.kind == V_STRING) {
        const struct str *s = container.string;
        render_charge(r, s->n / 64);
        if (v.kind == V_STRING)
            return v.string->n == 0 || memmem(s->p, s->n, v.string->p, v.string->n) != NULL;
        render_fail(r, "'in <string>' requires string as left operand, not %s", value_type(v));
        return false;
    }
    if (container.kind == V_DICT) return dict_find(r, container.dict, v) != NULL;
    const struct list *list = value_elements(r, container);
    for (size_t i = 0; i < list->n && !r->status; i++) {
        render_charge(r, 1);
        if (value_equal(r, list->items[i], v)) return true;
    }
    return false;
}
