/* Expressions of chat templates. From loosest to tightest: if-else, or, and, not, comparisons,
 * + -, ~, * / // %, **, signs; then attributes, calls, filters and tests behind their operand. */
#include <string.h>

#include "text/template_impl.h"

/* ---- Steps ----------------------------------------------------------------------------------- */

bool parse_at_op(const struct parser *p, enum op op) {
    return p->token.kind == LEX_OP && p->token.op == op;
}

static bool token_is_name(const struct token *t, const char *name) {
    return t->kind == LEX_NAME && t->n == strlen(name) && memcmp(t->p, name, t->n) == 0;
}

bool parse_at_name(const struct parser *p, const char *name) {
    return token_is_name(&p->token, name);
}

bool parse_skip_op(struct parser *p, enum op op) {
    bool found = parse_at_op(p, op);
    if (found) parse_advance(p);
    return found;
}

bool parse_skip_name(struct parser *p, const char *name) {
    bool found = parse_at_name(p, name);
    if (found) parse_advance(p);
    return found;
}

void parse_expect_op(struct parser *p, enum op op) {
    static const char *const texts[] = {[OP_RBRACKET] = "]", [OP_RPAREN] = ")", [OP_LPAREN] = "(",
                                        [OP_RBRACE] = "}", [OP_ASSIGN] = "=", [OP_COLON] = ":",
                                        [OP_COMMA] = ",", [OP_NONE] = ""};
    char found[64];
    if (!parse_skip_op(p, op))
        parse_fail(p, "expected '%s', found '%s'", texts[op], parse_describe(p, found));
}

uint32_t parse_name(struct parser *p) {
    struct octet_template *t = p->t;
    char found[64];
    if (p->token.kind != LEX_NAME) {
        parse_fail(p, "expected a name, found '%s'", parse_describe(p, found));
        return 0;
    }
    struct str name = {p->token.p, p->token.n, NULL, false};
    uint32_t i = 0;
    while (i < t->n_names && (t->names[i]->n != name.n || memcmp(t->names[i]->p, name.p, name.n)))
        i++;
    if (i == TEMPLATE_MAX_NAMES) {
        parse_fail(p, "more than %d different names", TEMPLATE_MAX_NAMES);
        return 0;
    }
    if (i == t->n_names) t->names[t->n_names++] = parse_string(p, name.p, name.n).string;
    t->has_varargs |= i == NAME_VARARGS;
    t->has_kwargs |= i == NAME_KWARGS;
    parse_advance(p);
    return i;
}

struct node *parse_node(struct parser *p, enum node_kind kind) {
    static struct node lost; // nobody looks at it after a failure
    struct node *node = parse_alloc(p, sizeof *node);
    if (!node) return &lost;
    *node = (struct node){.kind = kind, .op = OP_NONE, .line = p->token.line};
    return node;
}

bool parse_enter(struct parser *p) {
    if (p->depth++ >= TEMPLATE_MAX_NESTING) parse_fail(p, "nested too deeply");
    return !p->status;
}

void parse_leave(struct parser *p) { p->depth--; }

static struct node *constant(struct parser *p, struct value v) {
    struct node *node = parse_node(p, NODE_CONST);
    if (!p->status) node->value = v;
    return node;
}

/* KIND with the operands A and B, on the line of A. */
static struct node *operation(struct parser *p, enum node_kind kind, enum op op, struct node *a,
                              struct node *b) {
    struct node *node = parse_node(p, kind);
    if (p->status) return node;
    node->op = op;
    node->a = a;
    node->b = b;
    node->line = a->line;
    return node;
}

/* Adds NODE where the list ends; returns where it ends then. */
static struct node **append(const struct parser *p, struct node **end, struct node *node) {
    if (p->status) return end;
    *end = node;
    return &node->next;
}

/* ---- Literals and names ---------------------------------------------------------------------- */

static struct node *parse_list(struct parser *p) {
    struct node *list = parse_node(p, NODE_LIST), **end = &list->items;
    parse_advance(p);
    while (!p->status && !parse_at_op(p, OP_RBRACKET)) {
        end = append(p, end, parse_expression(p));
        if (!parse_skip_op(p, OP_COMMA)) break;
    }
    parse_expect_op(p, OP_RBRACKET);
    return list;
}

static struct node *parse_dict(struct parser *p) {
    struct node *dict = parse_node(p, NODE_DICT), **end = &dict->items;
    parse_advance(p);
    while (!p->status && !parse_at_op(p, OP_RBRACE)) {
        struct node *key = parse_expression(p);
        parse_expect_op(p, OP_COLON);
        struct node *value = parse_expression(p);
        end = append(p, end, operation(p, NODE_PAIR, OP_NONE, key, value));
        if (!parse_skip_op(p, OP_COMMA)) break;
    }
    parse_expect_op(p, OP_RBRACE);
    return dict;
}

static struct node *parse_text(struct parser *p) {
    struct value text = p->token.value;
    struct node *node = constant(p, text);
    parse_advance(p);
    while (p->token.kind == LEX_TEXT) {
        const struct str *a = text.string, *b = p->token.value.string;
        char *joined = parse_alloc(p, a->n + b->n);
        if (!joined) break;
        memcpy(joined, a->p, a->n);
        memcpy(joined + a->n, b->p, b->n);
        node->value = text = parse_string(p, joined, a->n + b->n);
        parse_advance(p);
    }
    return node;
}

static struct node *parse_word(struct parser *p) {
    static const struct { const char *name; struct value value; } words[] = {
        {"true", {.kind = V_BOOL, .boolean = true}}, {"True", {.kind = V_BOOL, .boolean = true}},
        {"false", {.kind = V_BOOL}}, {"False", {.kind = V_BOOL}},
        {"none", {.kind = V_NONE}}, {"None", {.kind = V_NONE}},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!parse_at_name(p, words[i].name)) continue;
        struct node *node = constant(p, words[i].value);
        parse_advance(p);
        return node;
    }
    struct node *node = parse_node(p, NODE_NAME);
    uint32_t name = parse_name(p);
    if (!p->status) node->name = name;
    return node;
}

struct node *parse_primary(struct parser *p) {
    struct node *node;
    char found[64];
    if (p->token.kind == LEX_NAME) return parse_word(p);
    if (p->token.kind == LEX_TEXT) return parse_text(p);
    if (p->token.kind == LEX_NUMBER) {
        node = constant(p, p->token.value);
        parse_advance(p);
    } else if (parse_at_op(p, OP_LPAREN)) {
        parse_advance(p);
        node = parse_at_op(p, OP_RPAREN) ? parse_node(p, NODE_TUPLE) : parse_tuple(p, true);
        parse_expect_op(p, OP_RPAREN);
    } else if (parse_at_op(p, OP_LBRACKET)) {
        node = parse_list(p);
    } else if (parse_at_op(p, OP_LBRACE)) {
        node = parse_dict(p);
    } else {
        parse_fail(p, "expected an expression, found '%s'", parse_describe(p, found));
        node = parse_node(p, NODE_CONST);
    }
    return node;
}

static bool tuple_ends(const struct parser *p) {
    return p->token.kind == LEX_PRINT_END || p->token.kind == LEX_TAG_END ||
           parse_at_op(p, OP_RPAREN);
}

struct node *parse_tuple(struct parser *p, bool choice) {
    struct node *first = choice ? parse_expression(p) : parse_or(p);
    if (!parse_at_op(p, OP_COMMA)) return first;
    struct node *tuple = parse_node(p, NODE_TUPLE), **end = append(p, &tuple->items, first);
    while (!p->status && parse_skip_op(p, OP_COMMA) && !tuple_ends(p))
        end = append(p, end, choice ? parse_expression(p) : parse_or(p));
    return tuple;
}

/* ---- Behind an operand ----------------------------------------------------------------------- */

/* Arguments in parentheses, the current token being the first of these. */
static struct node *parse_arguments(struct parser *p) {
    struct node *first = NULL, **end = &first;
    bool named = false;
    parse_expect_op(p, OP_LPAREN);
    while (!p->status && !parse_at_op(p, OP_RPAREN)) {
        const struct token *next = parse_look(p);
        struct node *argument;
        if (parse_at_op(p, OP_MUL) || parse_at_op(p, OP_POW)) {
            argument = parse_node(p, parse_at_op(p, OP_MUL) ? NODE_STAR : NODE_STARS);
            parse_advance(p);
            named = true;
        } else if (p->token.kind == LEX_NAME && next->kind == LEX_OP && next->op == OP_ASSIGN) {
            argument = parse_node(p, NODE_KEYWORD);
            struct value name = parse_string(p, p->token.p, p->token.n);
            if (!p->status) argument->value = name;
            parse_advance(p);
            parse_advance(p);
            named = true;
        } else {
            if (named) parse_fail(p, "an argument without a name after one with a name");
            end = append(p, end, parse_expression(p));
            if (!parse_skip_op(p, OP_COMMA)) break;
            continue;
        }
        struct node *value = parse_expression(p);
        if (!p->status) argument->a = value;
        end = append(p, end, argument);
        if (!parse_skip_op(p, OP_COMMA)) break;
    }
    parse_expect_op(p, OP_RPAREN);
    return p->status ? NULL : first;
}

static struct node *parse_slice(struct parser *p) {
    struct node *parts[3] = {NULL, NULL, NULL};
    size_t n = 0;
    for (; n < 3 && !p->status; n++) {
        if (!parse_at_op(p, OP_COLON) && !parse_at_op(p, OP_RBRACKET))
            parts[n] = parse_expression(p);
        if (!parse_at_op(p, OP_COLON) || n == 2) break;
        parse_advance(p);
    }
    if (n == 0 && parts[0]) return parts[0];
    struct node *slice = parse_node(p, NODE_SLICE);
    if (p->status) return slice;
    slice->a = parts[0];
    slice->b = parts[1];
    slice->c = parts[2];
    return slice;
}

static struct node *parse_subscript(struct parser *p, struct node *object) {
    if (parse_skip_op(p, OP_LBRACKET)) {
        if (parse_at_op(p, OP_RBRACKET)) parse_fail(p, "expected an index, found ']'");
        struct node *key = parse_slice(p);
        if (parse_at_op(p, OP_COMMA)) parse_fail(p, "more than one index is not supported");
        parse_expect_op(p, OP_RBRACKET);
        return operation(p, NODE_ITEM, OP_NONE, object, key);
    }
    parse_advance(p); // the dot
    bool number = p->token.kind == LEX_NUMBER;
    char found[64];
    if (!number && p->token.kind != LEX_NAME)
        parse_fail(p, "expected a name or number after '.', found '%s'", parse_describe(p, found));
    struct node *key = number ? constant(p, p->token.value) : NULL;
    struct node *node = operation(p, number ? NODE_ITEM : NODE_ATTR, OP_NONE, object, key);
    struct value name = parse_string(p, p->token.p, p->token.n);
    if (!p->status) node->value = name;
    parse_advance(p);
    return node;
}

static struct node *parse_call(struct parser *p, struct node *callee) {
    struct node *call = operation(p, NODE_CALL, OP_NONE, callee, NULL);
    struct node *arguments = parse_arguments(p);
    if (!p->status) call->items = arguments;
    return call;
}

static struct node *parse_postfix(struct parser *p, struct node *node) {
    while (!p->status) {
        if (parse_at_op(p, OP_DOT) || parse_at_op(p, OP_LBRACKET)) node = parse_subscript(p, node);
        else if (parse_at_op(p, OP_LPAREN)) node = parse_call(p, node);
        else break;
    }
    return node;
}

/* The name of a filter or test, of which NODE is one. Behind a condition it may be one that is not
 * supported: it fails when it is reached, for templates look whether they get that far. */
static void parse_builtin(struct parser *p, struct node *node) {
    bool test = node->kind == NODE_TEST;
    const char *what = test ? "test" : "filter";
    char found[64];
    if (p->token.kind != LEX_NAME) {
        parse_fail(p, "expected the name of a %s, found '%s'", what, parse_describe(p, found));
        return;
    }
    const struct builtin *table = test ? template_tests : template_filters;
    const struct builtin *builtin = builtin_find(table, p->token.p, p->token.n);
    if (!builtin && p->n_conditions == 0)
        parse_fail(p, "%s '%s' is not supported", what, parse_describe(p, found));
    struct value name = parse_string(p, p->token.p, p->token.n);
    if (p->status) return;
    node->builtin = builtin;
    node->value = name;
    parse_advance(p);
}

struct node *parse_filters(struct parser *p, struct node *subject, bool begun) {
    while (!p->status && (begun || parse_skip_op(p, OP_PIPE))) {
        struct node *filter = parse_node(p, NODE_FILTER);
        parse_builtin(p, filter);
        struct node *arguments = parse_at_op(p, OP_LPAREN) ? parse_arguments(p) : NULL;
        if (p->status) break;
        filter->a = subject;
        filter->items = arguments;
        subject = filter;
        begun = false;
    }
    return subject;
}

/* Whether the current token begins the argument of a test written without parentheses. */
static bool argument_begins(const struct parser *p) {
    switch (p->token.kind) {
    case LEX_NAME:
        return !parse_at_name(p, "else") && !parse_at_name(p, "or") && !parse_at_name(p, "and");
    case LEX_TEXT:
    case LEX_NUMBER: return true;
    default: return parse_at_op(p, OP_LBRACKET) || parse_at_op(p, OP_LBRACE);
    }
}

static struct node *parse_test(struct parser *p, struct node *subject) {
    parse_advance(p); // "is"
    bool negated = parse_skip_name(p, "not");
    struct node *test = operation(p, NODE_TEST, OP_NONE, subject, NULL);
    parse_builtin(p, test);
    struct node *arguments = NULL;
    if (parse_at_op(p, OP_LPAREN)) {
        arguments = parse_arguments(p);
    } else if (argument_begins(p)) {
        if (parse_at_name(p, "is")) parse_fail(p, "tests can not be chained");
        if (parse_enter(p)) arguments = parse_postfix(p, parse_primary(p));
        parse_leave(p);
    }
    if (p->status) return test;
    test->items = arguments;
    return negated ? operation(p, NODE_NOT, OP_NONE, test, NULL) : test;
}

/* ---- Operators ------------------------------------------------------------------------------- */

static struct node *parse_unary(struct parser *p, bool filters) {
    struct node *node;
    if (!parse_enter(p)) {
        node = parse_node(p, NODE_CONST);
    } else if (parse_at_op(p, OP_SUB) || parse_at_op(p, OP_ADD)) {
        enum op op = p->token.op;
        parse_advance(p);
        node = operation(p, NODE_SIGN, op, parse_unary(p, false), NULL);
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    while (filters && !p->status) {
        if (parse_at_op(p, OP_PIPE)) node = parse_filters(p, node, false);
        else if (parse_at_name(p, "is")) node = parse_test(p, node);
        else if (parse_at_op(p, OP_LPAREN)) node = parse_call(p, node);
        else break;
    }
    parse_leave(p);
    return node;
}

/* Binary operators that associate to the left, by level, tightest last. */
static struct node *parse_binary(struct parser *p, size_t level) {
    static const struct { enum op ops[4]; size_t n; } levels[] = {
        {{OP_ADD, OP_SUB}, 2},
        {{OP_TILDE}, 1},
        {{OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD}, 4},
        {{OP_POW}, 1},
    };
    if (level == sizeof levels / sizeof *levels) return parse_unary(p, true);
    struct node *node = parse_binary(p, level + 1);
    for (size_t i = 0; i < levels[level].n && !p->status;) {
        enum op op = levels[level].ops[i++];
        if (!parse_skip_op(p, op)) continue;
        node = operation(p, NODE_BINARY, op, node, parse_binary(p, level + 1));
        i = 0;
    }
    return node;
}

static enum op comparison(struct parser *p) {
    static const enum op ops[] = {OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (parse_skip_op(p, ops[i])) return ops[i];
    if (parse_skip_name(p, "in")) return OP_IN;
    if (!parse_at_name(p, "not") || !token_is_name(parse_look(p), "in")) return OP_NONE;
    parse_advance(p);
    parse_advance(p);
    return OP_NOT_IN;
}

static struct node *parse_compare(struct parser *p) {
    struct node *first = parse_binary(p, 0);
    enum op op = comparison(p);
    if (op == OP_NONE) return first;
    struct node *compare = operation(p, NODE_COMPARE, OP_NONE, first, NULL);
    struct node **end = &compare->items;
    for (; op != OP_NONE && !p->status; op = comparison(p))
        end = append(p, end, operation(p, NODE_OPERAND, op, parse_binary(p, 0), NULL));
    return compare;
}

static struct node *parse_not(struct parser *p) {
    if (!parse_at_name(p, "not")) return parse_compare(p);
    struct node *node = parse_node(p, NODE_NOT);
    parse_advance(p);
    if (parse_enter(p)) {
        struct node *operand = parse_not(p);
        if (!p->status) node->a = operand;
    }
    parse_leave(p);
    return node;
}

static struct node *parse_and(struct parser *p) {
    struct node *node = parse_not(p);
    while (!p->status && parse_skip_name(p, "and"))
        node = operation(p, NODE_AND, OP_NONE, node, parse_not(p));
    return node;
}

struct node *parse_or(struct parser *p) {
    struct node *node = parse_and(p);
    while (!p->status && parse_skip_name(p, "or"))
        node = operation(p, NODE_OR, OP_NONE, node, parse_and(p));
    return node;
}

struct node *parse_expression(struct parser *p) {
    struct node *node = parse_or(p);
    while (!p->status && parse_skip_name(p, "if")) {
        struct node *choice = parse_node(p, NODE_CHOICE), *test = parse_or(p), *other = NULL;
        if (parse_skip_name(p, "else")) {
            if (parse_enter(p)) other = parse_expression(p);
            parse_leave(p);
        }
        if (p->status) break;
        choice->a = test;
        choice->b = node;
        choice->c = other;
        node = choice;
    }
    return node;
}
