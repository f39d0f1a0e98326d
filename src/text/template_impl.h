/* The inside of chat templates, shared by the files src/text/template*.c only.
 *
 * A template is parsed once into a tree that never changes (template_lex.c, template_parse*.c). A
 * render walks the tree (template_run.c, template_eval.c) with all its state in a struct render.
 * The language is Jinja as the transformers library sets it up, with Python's values: whatever a
 * published template can notice of Python is the same here.
 *
 * Failing is sticky: the first failure of a render is kept in its status, every function may be
 * called after that, and loops look at the status. All memory of a tree or a render comes from one
 * arena and goes with it, so values need no owners. */
#ifndef OCTET_TEXT_TEMPLATE_IMPL_H
#define OCTET_TEXT_TEMPLATE_IMPL_H

#include "base/status.h"

enum template_limits {
    TEMPLATE_MAX_SOURCE = 1 << 20,
    TEMPLATE_MAX_NESTING = 100, // tags, brackets and operators inside one another
    TEMPLATE_MAX_NAMES = 1000,  // different variables
    TEMPLATE_MAX_TREE = 256 << 20,
    RENDER_MAX_VARIABLES = 64 << 20, // bytes of JSON
    RENDER_MAX_STEPS = 4000000,      // one per node, element, or 64 bytes handled
    RENDER_MAX_DEPTH = 1000,         // nodes, calls or containers inside one another
    RENDER_MAX_OUTPUT = 64 << 20,
    RENDER_MAX_MEMORY = 512 << 20,
    RENDER_MAX_RANGE = 100000,
};

/* ---- Memory ---------------------------------------------------------------------------------- */

struct arena {
    struct chunk *chunks; // the newest first
    char *at, *end;       // what is left of it
    size_t n_bytes, limit;
    bool full; // the last failure was for the limit
};
void *arena_alloc(struct arena *arena, size_t n_bytes); // zeroed; NULL: no memory
/* A block of N_OLD bytes made larger, where it lies if nothing came after it. */
void *arena_grow(struct arena *arena, void *old, size_t n_old, size_t n_new);
void arena_free(struct arena *arena);

/* ---- Values ---------------------------------------------------------------------------------- */

enum value_kind {
    V_MISSING, // no value at all: an argument not given
    V_UNDEFINED,
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_STRING,
    V_LIST, // and everything else with elements in a row
    V_DICT,
    V_NAMESPACE,
    V_MACRO,
    V_FUNCTION,
    V_LOOP,
};

enum list_form { LIST_LIST, LIST_TUPLE, LIST_RANGE, LIST_KEYS, LIST_VALUES, LIST_ITEMS, LIST_ONCE };

struct value {
    enum value_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const struct str *string;
        struct list *list;
        struct dict *dict; // of a namespace, too
        const struct missing *missing;
        const struct macro *macro;
        const struct function *function;
        struct loop *loop;
    };
};

/* Valid UTF-8; the bytes never change, so parts of a string share them. */
struct str {
    const char *p;
    size_t n;
    struct slab *slab; // where the string may be continued in place, or NULL
    bool safe;         // went through "safe" or "escape": what is added to it gets escaped
};

struct list {
    struct value *items;
    size_t n, cap;
    enum list_form form;
    size_t next; // LIST_ONCE, which is read only once: the first element not read
};

struct pair {
    struct value key, value;
};

struct dict {
    struct pair *pairs; // in order of insertion
    size_t n, cap;
};

/* What an undefined value would have been: NAME itself, or NAME of something. */
struct missing {
    const char *owner; // "dict object", or NULL
    struct value name;
};

struct macro {
    const struct node *node;
    struct scope *scope; // where it was defined
};

struct function {
    const struct builtin *builtin;
    struct value self;
};

struct loop {
    struct list *list;
    size_t index; // 0-based
    struct value current, previous, changed;
};

struct args {
    struct value *values;
    size_t n;
    struct pair *named; // keys are strings
    size_t n_named;
};

struct render;
typedef struct value (*builtin_fn)(struct render *r, struct value self, const struct args *args);

/* A filter, test, method or function. PARAMS: names separated by spaces; calls hand FN one value
 * for each, V_MISSING if not given. NULL: FN takes any arguments. */
struct builtin {
    const char *name, *params;
    size_t n_required;
    builtin_fn fn;
};

/* ---- Trees ----------------------------------------------------------------------------------- */

enum op {
    OP_ADD, OP_SUB, OP_DIV, OP_FLOORDIV, OP_MUL, OP_MOD, OP_POW, OP_TILDE, OP_LBRACKET, OP_RBRACKET,
    OP_LPAREN, OP_RPAREN, OP_LBRACE, OP_RBRACE, OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE, OP_ASSIGN,
    OP_DOT, OP_COLON, OP_PIPE, OP_COMMA, OP_IN, OP_NOT_IN, OP_NONE
};

enum node_kind {
    // Expressions: what the fields hold.
    NODE_CONST,   // value
    NODE_NAME,    // name
    NODE_LIST,    // items
    NODE_TUPLE,   // items
    NODE_DICT,    // items: NODE_PAIR
    NODE_PAIR,    // a: key or target, b: value
    NODE_ATTR,    // a.value
    NODE_ITEM,    // a[b]
    NODE_SLICE,   // a:b:c, as the b of a NODE_ITEM
    NODE_CALL,    // a(items); among items NODE_KEYWORD, NODE_STAR, NODE_STARS
    NODE_KEYWORD, // value: name, a
    NODE_STAR,    // *a
    NODE_STARS,   // **a
    NODE_FILTER,  // a | builtin(items); a is NULL for the text of a block
    NODE_TEST,    // a is builtin(items); of both, value: the name
    NODE_NOT,     // a
    NODE_SIGN,    // op a
    NODE_AND,     // a, b
    NODE_OR,      // a, b
    NODE_BINARY,  // a op b
    NODE_COMPARE, // a, then items: NODE_OPERAND
    NODE_OPERAND, // op a
    NODE_CHOICE,  // b if a else c
    // Statements.
    NODE_DATA,         // value
    NODE_PRINT,        // a
    NODE_IF,           // a (NULL: else), body, c: the next branch
    NODE_FOR,          // for a in b if c: body, else items
    NODE_SET,          // a = b
    NODE_SET_BLOCK,    // a = body, through the filters b
    NODE_ATTR_TARGET,  // name.value, as a target
    NODE_MACRO,        // name, items: NODE_PARAM, body
    NODE_PARAM,        // name, a: default
    NODE_CALL_BLOCK,   // a: NODE_CALL, b: NODE_MACRO
    NODE_FILTER_BLOCK, // body through b
    NODE_WITH,         // items: NODE_PAIR, body
    NODE_BREAK,
    NODE_CONTINUE,
};

struct node {
    enum node_kind kind;
    enum op op;
    uint32_t line;
    uint32_t name; // index of the template's names
    struct value value;
    const struct builtin *builtin;
    struct node *a, *b, *c;
    struct node *items, *body; // the first of a list
    struct node *next;         // in the list it is part of
};

/* Names that mean something, the first of every template's. */
enum special_name { NAME_LOOP, NAME_CALLER, NAME_VARARGS, NAME_KWARGS, N_SPECIAL_NAMES };

struct octet_template {
    struct arena arena;
    char *source; // line ends are "\n"
    size_t n_source;
    struct node *body;
    const struct str *names[TEMPLATE_MAX_NAMES];
    size_t n_names;
    bool has_varargs, has_kwargs; // whether it uses these names
};

/* ---- Parsing (template_lex.c, template_parse.c, template_parse_expr.c) ----------------------- */

enum token_kind {
    LEX_END, LEX_DATA, LEX_PRINT_BEGIN, LEX_PRINT_END, LEX_TAG_BEGIN, LEX_TAG_END,
    LEX_NAME, LEX_TEXT, LEX_NUMBER, LEX_OP
};

struct token {
    enum token_kind kind;
    enum op op;
    uint32_t line;
    const char *p; // in the source
    size_t n;
    struct value value; // of data, texts and numbers
};

struct parser {
    struct octet_template *t;
    size_t at; // in the source
    uint32_t line;
    enum { IN_DATA, IN_RAW, IN_PRINT, IN_TAG } mode;
    char closing[TEMPLATE_MAX_NESTING]; // of the open brackets
    size_t n_closing;
    struct token token, ahead; // the current one, and the one after it where has_ahead
    bool has_ahead;
    unsigned depth, n_loops; // n_loops: those that break would leave
    unsigned n_conditions;   // open {% if %}
    uint32_t tag_line;       // of the last tag
    enum octet_status status;
    struct octet_err *err;
};

/* Fails with the line of the current token. Parsing goes on to see only LEX_END. */
__attribute__((format(printf, 2, 3))) void parse_fail(struct parser *p, const char *fmt, ...);
void *parse_alloc(struct parser *p, size_t n_bytes); // NULL: failed
void parse_lex(struct parser *p, struct token *token);
void parse_advance(struct parser *p);
const struct token *parse_look(struct parser *p); // the token after the current one
/* How the current token reads in a message; BUFFER holds it. */
const char *parse_describe(const struct parser *p, char buffer[64]);
struct value parse_string(struct parser *p, const char *bytes, size_t n); // not copied

bool parse_at_op(const struct parser *p, enum op op);
bool parse_at_name(const struct parser *p, const char *name);
bool parse_skip_op(struct parser *p, enum op op); // whether it was there
bool parse_skip_name(struct parser *p, const char *name);
void parse_expect_op(struct parser *p, enum op op);
uint32_t parse_name(struct parser *p); // the current token, a name; interned
/* Never NULL, also not after a failure. */
struct node *parse_node(struct parser *p, enum node_kind kind);
bool parse_enter(struct parser *p); // one level deeper; false: too deep
void parse_leave(struct parser *p);

struct node *parse_expression(struct parser *p);
struct node *parse_or(struct parser *p);
struct node *parse_primary(struct parser *p);
/* Expressions with commas between them make a tuple; CHOICE: "if" may be part of them. */
struct node *parse_tuple(struct parser *p, bool choice);
struct node *parse_filters(struct parser *p, struct node *subject, bool begun);
void parse_template(struct parser *p);

/* ---- Rendering ------------------------------------------------------------------------------- */

struct scope {
    struct scope *parent; // NULL: the template's own, whose variables are the render's globals
    struct variable {
        uint32_t name;
        struct value value;
    } *variables;
    size_t n, cap;
};

/* A string that grows. */
struct builder {
    struct render *r;
    char *p;
    size_t n, cap;
};

struct render {
    const struct octet_template *t;
    struct arena arena;
    struct value *globals; // one per name of the template
    struct scope *scope;
    struct builder *out;
    struct value captured; // text of the block whose filters are being applied
    uint64_t steps;
    size_t n_output;
    unsigned depth;
    uint32_t line;
    enum octet_status status;
    struct octet_err *err;
};

/* Keep the first failure; return none. */
__attribute__((format(printf, 2, 3))) struct value render_fail(struct render *r, const char *fmt,
                                                               ...);
struct value render_fail_undefined(struct render *r, struct value undefined);
void *render_alloc(struct render *r, size_t n_bytes); // NULL: failed
void *render_grow(struct render *r, void *old, size_t n_old, size_t n_new); // as arena_grow
void render_charge(struct render *r, size_t n);       // steps
bool render_enter(struct render *r);                  // one level deeper; false: failed
void render_leave(struct render *r);

void builder_add(struct builder *b, const char *bytes, size_t n);
void builder_add_text(struct builder *b, const char *text);
void builder_add_str(struct builder *b, const struct str *s);
void builder_add_char(struct builder *b, int32_t code);
struct value builder_string(struct builder *b);

/* Statements (template_run.c). */
void render_body(struct render *r, const struct node *first);
struct value render_macro(struct render *r, const struct macro *m, const struct args *args);
struct value render_name(struct render *r, uint32_t name);

/* Expressions (template_eval.c). */
struct value eval(struct render *r, const struct node *node);
struct value eval_call(struct render *r, const struct node *call, const struct value *caller);
struct value get_attribute(struct render *r, struct value object, struct value name);
struct value get_item(struct render *r, struct value object, struct value key);
struct value binary(struct render *r, enum op op, struct value a, struct value b);
bool compare(struct render *r, enum op op, struct value a, struct value b);
struct value call_builtin(struct render *r, const struct builtin *b, struct value self,
                          const struct args *args);

/* ---- Values (template_value.c, template_format.c) -------------------------------------------- */

static inline struct value value_none(void) { return (struct value){.kind = V_NONE}; }
static inline struct value value_bool(bool b) {
    return (struct value){.kind = V_BOOL, .boolean = b};
}
static inline struct value value_int(int64_t i) {
    return (struct value){.kind = V_INT, .integer = i};
}
static inline struct value value_real(double d) {
    return (struct value){.kind = V_FLOAT, .real = d};
}
static inline bool is_form(struct value v, enum list_form form) {
    return v.kind == V_LIST && v.list->form == form;
}
static inline bool is_given(struct value v) { return v.kind != V_MISSING; }

struct value value_undefined(struct render *r, const char *owner, struct value name);
struct value str_view(struct render *r, const char *p, size_t n); // shares the bytes
struct value str_copy(struct render *r, const char *p, size_t n);
struct value str_text(struct render *r, const char *literal); // shares the bytes
struct value str_join(struct render *r, const struct str *a, const struct str *b);
struct value str_escape(struct render *r, const struct str *s); // for HTML; safe afterwards
bool str_is(const struct str *s, const char *text);
size_t str_length(const struct str *s); // characters

struct value list_new(struct render *r, enum list_form form);
void list_push(struct render *r, struct list *list, struct value v);
struct value dict_new(struct render *r, enum value_kind kind);
const struct value *dict_find(struct render *r, const struct dict *d, struct value key);
bool value_check_key(struct render *r, struct value key); // false: failed, it can not be a key
void dict_set(struct render *r, struct dict *d, struct value key, struct value v);
void dict_append(struct render *r, struct dict *d, struct value key, struct value v); // a new key
struct value dict_list(struct render *r, const struct dict *d, enum list_form form);

const char *value_type(struct value v);
bool value_truth(struct value v);
bool value_number(struct value v, double *out); // bools are numbers
bool value_integer(struct value v, int64_t *out);
bool value_equal(struct render *r, struct value a, struct value b);
int value_compare(struct render *r, struct value a, struct value b); // < 0, 0, > 0; may fail
bool value_in(struct render *r, struct value v, struct value container);
/* The elements, read: keys of a dict, characters of a string. Never NULL. */
struct list *value_elements(struct render *r, struct value v);
size_t value_length(struct render *r, struct value v);

const struct str *value_text(struct render *r, struct value v); // as str(); never NULL
void value_repr(struct builder *b, struct value v);
void format_real(double d, char out[32]); // as Python: the shortest that reads back the same

struct json_style {
    bool ascii, sort;
    const struct str *indent; // NULL: one line
    const struct str *comma, *colon;
};
void value_json(struct builder *b, struct value v, const struct json_style *style);

/* ---- Text (template_text.c) ------------------------------------------------------------------ */

static inline size_t char_size(unsigned char lead) { // of a character of valid UTF-8
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}
int32_t char_at(const char *p); // of valid UTF-8
size_t char_put(char *out, int32_t code); // at most 4 bytes; returns how many
bool char_is_space(int32_t code);
bool char_is_printable(int32_t code);
/* CHARS NULL: white space. SIDES: 1 left, 2 right, 3 both. */
struct value text_strip(struct render *r, const struct str *s, const struct str *chars, int sides);
struct value text_upper(struct render *r, const struct str *s);
struct value text_lower(struct render *r, const struct str *s);
struct value text_capitalize(struct render *r, const struct str *s);
/* A letter at the beginning of a word becomes large, the others small. BREAKS: characters a word
 * begins after, NULL: all that are no letters. */
struct value text_title(struct render *r, const struct str *s, const char *breaks);
struct value text_replace(struct render *r, const struct str *s, const struct str *from,
                          const struct str *to, int64_t most); // most < 0: all
struct value text_lines(struct render *r, const struct str *s, bool keep_ends);
struct value text_percent(struct render *r, const struct str *format, struct value v);
bool text_has_case(const struct str *s, bool upper);

/* ---- Builtins (template_filters.c, _lists.c, _tests.c, _methods.c, _objects.c) --------------- */

extern const struct builtin template_filters[], template_tests[], template_functions[];
extern const struct builtin template_str_methods[], template_list_methods[];
extern const struct builtin template_dict_methods[], template_loop_methods[];
const struct builtin *builtin_find(const struct builtin *table, const char *name, size_t n);

/* Filters over whole lists (template_lists.c). */
struct value filter_dictsort(struct render *r, struct value v, const struct args *args);
struct value filter_groupby(struct render *r, struct value v, const struct args *args);
struct value filter_join(struct render *r, struct value v, const struct args *args);
struct value filter_map(struct render *r, struct value v, const struct args *args);
struct value filter_max(struct render *r, struct value v, const struct args *args);
struct value filter_min(struct render *r, struct value v, const struct args *args);
struct value filter_reject(struct render *r, struct value v, const struct args *args);
struct value filter_rejectattr(struct render *r, struct value v, const struct args *args);
struct value filter_select(struct render *r, struct value v, const struct args *args);
struct value filter_selectattr(struct render *r, struct value v, const struct args *args);
struct value filter_sort(struct render *r, struct value v, const struct args *args);
struct value filter_sum(struct render *r, struct value v, const struct args *args);
struct value filter_unique(struct render *r, struct value v, const struct args *args);

#endif
