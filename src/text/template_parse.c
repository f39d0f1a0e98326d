/* Statements of chat templates. */
#include <string.h>

#include "text/template_impl.h"

static struct node *parse_body(struct parser *p, const char *const *ends);

static void expect_tag_end(struct parser *p) {
    char found[64];
    if (p->token.kind != LEX_TAG_END)
        parse_fail(p, "expected '%%}', found '%s'", parse_describe(p, found));
    p->tag_line = p->token.line;
    parse_advance(p);
}

/* What stands between the tag that ends here and the tag END, that one read up to its name. */
static struct node *parse_block(struct parser *p, const char *end) {
    const char *const ends[] = {end, NULL, false};
    parse_skip_op(p, OP_COLON);
    expect_tag_end(p);
    struct node *body = parse_body(p, ends);
    parse_advance(p);
    return body;
}

static struct node *finish(const struct parser *p, struct node *node, struct node *a,
                           struct node *b, struct node *body) {
    if (p->status) return node;
    node->a = a;
    node->b = b;
    node->body = body;
    return node;
}

/* ---- Targets --------------------------------------------------------------------------------- */

static struct node *parse_target(struct parser *p, bool attributes);

static struct node *parse_target_tuple(struct parser *p, bool attributes, bool nested) {
    struct node *first = parse_target(p, attributes);
    if (!parse_at_op(p, OP_COMMA)) return first;
    struct node *tuple = parse_node(p, NODE_TUPLE), *last = first;
    if (!p->status) tuple->items = first;
    while (!p->status && parse_skip_op(p, OP_COMMA)) {
        if (parse_at_name(p, "in") || parse_at_op(p, nested ? OP_RPAREN : OP_ASSIGN)) break;
        struct node *next = parse_target(p, attributes);
        if (p->status) break;
        last = last->next = next;
    }
    return tuple;
}

/* A name, a tuple in parentheses or, with ATTRIBUTES, an attribute of a name. */
static struct node *parse_target(struct parser *p, bool attributes) {
    static const char *const constants[] = {"true", "True", "false", "False", "none", "None"};
    if (parse_at_op(p, OP_LPAREN)) {
        struct node *tuple = NULL;
        if (parse_enter(p)) {
            parse_advance(p);
            tuple = parse_target_tuple(p, attributes, true);
            parse_expect_op(p, OP_RPAREN);
        }
        parse_leave(p);
        return tuple;
    }
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (parse_at_name(p, constants[i])) parse_fail(p, "can not assign to %s", constants[i]);
    struct node *target = parse_node(p, NODE_NAME);
    uint32_t name = parse_name(p);
    struct value attribute = value_none();
    bool dotted = attributes && parse_skip_op(p, OP_DOT);
    if (dotted && p->token.kind != LEX_NAME) parse_fail(p, "expected a name after '.'");
    if (dotted) {
        attribute = parse_string(p, p->token.p, p->token.n);
        parse_advance(p);
    }
    if (p->status) return target;
    target->kind = dotted ? NODE_ATTR_TARGET : NODE_NAME;
    target->name = name;
    target->value = attribute;
    return target;
}

/* ---- Tags ------------------------------------------------------------------------------------ */

static struct node *parse_if(struct parser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL, false};
    struct node *first = NULL, **branch = &first;
    bool more = true;
    while (more && !p->status) {
        struct node *node = parse_node(p, NODE_IF), *test = NULL;
        bool last = parse_at_name(p, "else");
        parse_advance(p);
        if (!last) test = parse_tuple(p, false);
        parse_skip_op(p, OP_COLON);
        expect_tag_end(p);
        p->n_conditions++;
        finish(p, node, test, NULL, parse_body(p, last ? &ends[2] : ends));
        p->n_conditions--;
        if (p->status) break;
        *branch = node;
        branch = &node->c;
        more = !parse_at_name(p, "endif");
    }
    parse_advance(p);
    return first ? first : parse_node(p, NODE_IF);
}

static struct node *parse_for(struct parser *p) {
    static const char *const ends[] = {"else", "endfor", NULL, false};
    struct node *node = parse_node(p, NODE_FOR), *test = NULL, *otherwise = NULL;
    char found[64];
    parse_advance(p);
    struct node *target = parse_target_tuple(p, false, false);
    if (!parse_skip_name(p, "in"))
        parse_fail(p, "expected 'in', found '%s'", parse_describe(p, found));
    struct node *iterable = parse_tuple(p, false);
    if (parse_skip_name(p, "if")) test = parse_expression(p);
    if (parse_at_name(p, "recursive")) parse_fail(p, "'recursive' loops are not supported");
    parse_skip_op(p, OP_COLON);
    expect_tag_end(p);
    p->n_loops++;
    struct node *body = parse_body(p, ends);
    p->n_loops--;
    bool has_else = parse_skip_name(p, "else");
    if (has_else) otherwise = parse_block(p, "endfor");
    else parse_advance(p);
    finish(p, node, target, iterable, body);
    if (p->status) return node;
    node->c = test;
    node->items = otherwise;
    return node;
}

static struct node *parse_set(struct parser *p) {
    struct node *node = parse_node(p, NODE_SET);
    parse_advance(p);
    struct node *target = parse_target_tuple(p, true, false);
    if (parse_skip_op(p, OP_ASSIGN)) return finish(p, node, target, parse_tuple(p, true), NULL);
    struct node *filters = parse_filters(p, NULL, false);
    if (!p->status) node->kind = NODE_SET_BLOCK;
    return finish(p, node, target, filters, parse_block(p, "endset"));
}

/* Parameters in parentheses, where there are any. */
static struct node *parse_parameters(struct parser *p) {
    struct node *first = NULL, **end = &first;
    bool defaults = false;
    parse_expect_op(p, OP_LPAREN);
    while (!p->status && !parse_at_op(p, OP_RPAREN)) {
        struct node *parameter = parse_node(p, NODE_PARAM);
        uint32_t name = parse_name(p);
        bool has_default = parse_skip_op(p, OP_ASSIGN);
        struct node *value = has_default ? parse_expression(p) : NULL;
        if (defaults && !has_default) parse_fail(p, "a parameter without default after one with");
        defaults = has_default;
        if (p->status) break;
        parameter->name = name;
        parameter->a = value;
        *end = parameter;
        end = &parameter->next;
        if (!parse_skip_op(p, OP_COMMA)) break;
    }
    parse_expect_op(p, OP_RPAREN);
    return first;
}

/* The rest of a macro up to the tag END; loops around it are none of its own. */
static struct node *parse_macro_body(struct parser *p, const char *end) {
    unsigned n_loops = p->n_loops;
    p->n_loops = 0;
    struct node *body = parse_block(p, end);
    p->n_loops = n_loops;
    return body;
}

static struct node *parse_macro(struct parser *p) {
    struct node *node = parse_node(p, NODE_MACRO);
    parse_advance(p);
    uint32_t name = parse_name(p);
    struct node *parameters = parse_parameters(p), *body = parse_macro_body(p, "endmacro");
    if (p->status) return node;
    node->name = name;
    node->items = parameters;
    return finish(p, node, NULL, NULL, body);
}

static struct node *parse_call_block(struct parser *p) {
    struct node *node = parse_node(p, NODE_CALL_BLOCK), *macro = parse_node(p, NODE_MACRO);
    parse_advance(p);
    struct node *parameters = parse_at_op(p, OP_LPAREN) ? parse_parameters(p) : NULL;
    struct node *call = parse_expression(p);
    if (!p->status && call->kind != NODE_CALL) parse_fail(p, "expected a call");
    struct node *body = parse_macro_body(p, "endcall");
    if (p->status) return node;
    macro->items = parameters;
    macro->body = body;
    return finish(p, node, call, macro, NULL);
}

static struct node *parse_filter_block(struct parser *p) {
    struct node *node = parse_node(p, NODE_FILTER_BLOCK);
    parse_advance(p);
    struct node *filters = parse_filters(p, NULL, true);
    return finish(p, node, NULL, filters, parse_block(p, "endfilter"));
}

static struct node *parse_with(struct parser *p) {
    struct node *node = parse_node(p, NODE_WITH), **end = &node->items;
    parse_advance(p);
    while (!p->status && p->token.kind != LEX_TAG_END) {
        struct node *pair = parse_node(p, NODE_PAIR), *target = parse_target(p, false);
        parse_expect_op(p, OP_ASSIGN);
        finish(p, pair, target, parse_expression(p), NULL);
        if (p->status) break;
        *end = pair;
        end = &pair->next;
        if (!parse_skip_op(p, OP_COMMA)) break;
    }
    return finish(p, node, NULL, NULL, parse_block(p, "endwith"));
}

/* The part of a conversation that a model is trained to write: here a scope like any other. */
static struct node *parse_generation(struct parser *p) {
    struct node *node = parse_node(p, NODE_WITH);
    parse_advance(p);
    return finish(p, node, NULL, NULL, parse_macro_body(p, "endgeneration"));
}

static struct node *parse_jump(struct parser *p) {
    bool leaves = parse_at_name(p, "break");
    struct node *node = parse_node(p, leaves ? NODE_BREAK : NODE_CONTINUE);
    if (p->n_loops == 0) parse_fail(p, "'%s' outside of a loop", leaves ? "break" : "continue");
    parse_advance(p);
    return node;
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

/* The statement whose name is the current token, up to its last tag's end. */
static struct node *parse_statement(struct parser *p) {
    static const struct {
        const char *name;
        struct node *(*parse)(struct parser *p);
    } tags[] = {
        {"if", parse_if},         {"for", parse_for},
        {"set", parse_set},       {"macro", parse_macro},
        {"with", parse_with},     {"call", parse_call_block},
        {"filter", parse_filter_block}, {"generation", parse_generation},
        {"break", parse_jump},    {"continue", parse_jump},
    };
    char found[64];
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (!parse_at_name(p, tags[i].name)) continue;
        struct node *node = tags[i].parse(p);
        expect_tag_end(p);
        return node;
    }
    parse_fail(p, "tag '%s' is not supported here", parse_describe(p, found));
    return parse_node(p, NODE_DATA);
}

static struct node *parse_print(struct parser *p) {
    struct node *node = parse_node(p, NODE_PRINT);
    parse_advance(p);
    finish(p, node, parse_tuple(p, true), NULL, NULL);
    char found[64];
    if (p->token.kind != LEX_PRINT_END)
        parse_fail(p, "expected '}}', found '%s'", parse_describe(p, found));
    parse_advance(p);
    return node;
}

static bool at_one_of(const struct parser *p, const char *const *names) {
    for (; names && *names; names++)
        if (parse_at_name(p, *names)) return true;
    return false;
}

/* Everything up to a tag named one of ENDS, which is then the current token; up to the end where
 * ENDS is NULL. */
static struct node *parse_body(struct parser *p, const char *const *ends) {
    struct node *first = NULL, **end = &first;
    uint32_t line = p->tag_line;
    bool deeper = parse_enter(p);
    while (deeper && !p->status && p->token.kind != LEX_END) {
        struct node *node;
        if (p->token.kind == LEX_DATA) {
            node = parse_node(p, NODE_DATA);
            if (!p->status) node->value = p->token.value;
            parse_advance(p);
        } else if (p->token.kind == LEX_PRINT_BEGIN) {
            node = parse_print(p);
        } else {
            parse_advance(p); // LEX_TAG_BEGIN: nothing else is found between tags
            if (at_one_of(p, ends)) break;
            node = parse_statement(p);
        }
        if (p->status) break;
        *end = node;
        end = &node->next;
    }
    parse_leave(p);
    if (ends && p->token.kind == LEX_END)
        parse_fail(p, "the tag opened in line %u has no end", line);
    return first;
}

void parse_template(struct parser *p) {
    static const struct str special[N_SPECIAL_NAMES] = {
        [NAME_LOOP] = {"loop", 4, NULL, false},
        [NAME_CALLER] = {"caller", 6, NULL, false},
        [NAME_VARARGS] = {"varargs", 7, NULL, false},
        [NAME_KWARGS] = {"kwargs", 6, NULL, false},
    };
    for (size_t i = 0; i < N_SPECIAL_NAMES; i++) p->t->names[p->t->n_names++] = &special[i];
    parse_advance(p);
    p->t->body = parse_body(p, NULL);
}
