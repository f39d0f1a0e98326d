/* Functions that are there but do nothing: the shapes of such bodies, and where they are meant. */
#include <string.h>
#include <strings.h>

#include "compare/score_impl.h"

/* What one statement of a body amounts to. */
enum effect { EFFECT_SOME, EFFECT_NONE, EFFECT_REFUSES, EFFECT_CONSTANT };

static size_t node_bytes(TSNode node) { return ts_node_end_byte(node) - ts_node_start_byte(node); }

static bool contains(const struct syntax *syntax, size_t begin, size_t end, const char *word) {
    size_t n = strlen(word);
    for (size_t i = begin; i + n <= end; i++)
        if (strncasecmp(syntax->text + i, word, n) == 0) return true;
    return false;
}

static bool refuses(const struct syntax *syntax, TSNode node) {
    static const char *const words[] = {"notimplemented", "not implemented", "unimplemented",
                                        "todo!",          "not yet implemented",
                                        "unsupportedoperation"};
    size_t begin = ts_node_start_byte(node), end = ts_node_end_byte(node);
    if (end - begin > 200) return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (contains(syntax, begin, end, words[i])) return true;
    return false;
}

static bool is_constant(const struct syntax *syntax, TSNode node) {
    switch (syntax_role(syntax->grammar, node)) {
    case ROLE_CONSTANT: return true;
    case ROLE_STRING: return node_bytes(node) <= 2; // "": more is an answer of its own
    case ROLE_COLLECTION: return ts_node_named_child_count(node) == 0;
    case ROLE_IDENTIFIER: return syntax_text_is(syntax, node, "NULL");
    default: break;
    }
    const char *type = ts_node_type(node);
    if (strcmp(type, "unary_operator") == 0 || strcmp(type, "unary_expression") == 0 ||
        strcmp(type, "parenthesized_expression") == 0 || strcmp(type, "expression_list") == 0)
        return ts_node_named_child_count(node) == 1 &&
               syntax_role(syntax->grammar, ts_node_named_child(node, 0)) == ROLE_CONSTANT;
    return false;
}

static enum effect expression_effect(const struct syntax *syntax, TSNode node) {
    switch (syntax_role(syntax->grammar, node)) {
    case ROLE_NOTHING: return EFFECT_NONE;
    case ROLE_CALL: return refuses(syntax, node) ? EFFECT_REFUSES : EFFECT_SOME;
    case ROLE_RETURN: {
        TSNode value = ts_node_named_child(node, 0);
        if (ts_node_is_null(value)) return EFFECT_CONSTANT;
        return expression_effect(syntax, value) == EFFECT_CONSTANT ? EFFECT_CONSTANT : EFFECT_SOME;
    }
    default: return is_constant(syntax, node) ? EFFECT_CONSTANT : EFFECT_SOME;
    }
}

static enum effect statement_effect(const struct syntax *syntax, TSNode node) {
    enum role role = syntax_role(syntax->grammar, node);
    if (role == ROLE_COMMENT || strncmp(ts_node_type(node), "import_", 7) == 0) return EFFECT_NONE;
    if (role == ROLE_RAISE) return refuses(syntax, node) ? EFFECT_REFUSES : EFFECT_SOME;
    if (role != ROLE_STATEMENT) return expression_effect(syntax, node);
    TSNode value = ts_node_named_child(node, 0);
    if (ts_node_is_null(value) || syntax_role(syntax->grammar, value) == ROLE_STRING)
        return EFFECT_NONE; // a documentation string
    return expression_effect(syntax, value);
}

static bool is_block(TSNode body) {
    static const char *const types[] = {"block", "statement_block", "compound_statement",
                                        "constructor_body"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(ts_node_type(body), types[i]) == 0) return true;
    return false;
}

static bool has_parameters(const struct syntax *syntax, TSNode function) {
    TSNode list = syntax_field(function, "parameters");
    if (!ts_node_is_null(syntax_field(function, "parameter"))) return true; // x => ...
    for (TSNode node = function; ts_node_is_null(list);) {
        node = syntax_field(node, "declarator");
        if (ts_node_is_null(node)) return false;
        list = syntax_field(node, "parameters");
    }
    return ts_node_named_child_count(list) > 0 && !syntax_text_is(syntax, list, "(void)");
}

const char *hollow_rule(const struct syntax *syntax, TSNode function, bool member) {
    TSNode body = syntax_field(function, "body");
    bool refusing = false, constant = false;
    if (!is_block(body)) {
        constant = is_constant(syntax, body);
        if (!constant) return NULL;
    }
    uint32_t n = constant ? 0 : ts_node_named_child_count(body);
    if (n > 16) return NULL; // comments included; longer bodies do something
    for (uint32_t i = 0; i < n; i++) {
        enum effect effect = statement_effect(syntax, ts_node_named_child(body, i));
        if (effect == EFFECT_SOME) return NULL;
        refusing |= effect == EFFECT_REFUSES;
        constant |= effect == EFFECT_CONSTANT;
    }
    if (refusing) return "not implemented";
    if (!constant) return "empty body";
    return !member && has_parameters(syntax, function) ? "constant return" : NULL;
}

/* ---- Work ------------------------------------------------------------------------------------ */

/* What is no work by itself; all that is not listed is. */
static bool is_idle_type(const char *type) {
    static const char types[] =
        " module program translation_unit block statement_block compound_statement"
        " constructor_body source_file argument_list arguments expression_list pair"
        " attribute member_expression field_expression property_identifier field_identifier this"
        " type type_identifier primitive_type sized_type_specifier integral_type boolean_type"
        " floating_point_type init_declarator pointer_declarator array_declarator"
        " local_variable_declaration short_var_declaration let_declaration mutable_specifier"
        " parenthesized_expression unary_operator unary_expression escape_sequence preproc_include"
        " import_statement import_from_statement dotted_name aliased_import"
        " system_lib_string string_content string_start string_end string_fragment"
        " template_substitution interpolation command_name word simple_expansion"
        " variable_assignment variable_name shorthand_property_identifier ";
    size_t n = strlen(type);
    for (const char *at = types; (at = strstr(at, type)); at++)
        if (at[-1] == ' ' && at[n] == ' ') return true;
    return false;
}

/* A call that prints or ends the program; its arguments may still be work. */
static bool is_idle_call(const struct syntax *syntax, TSNode call) {
    static const char *const names[] = {"print", "printf", "puts", "echo", "console.log", "exit",
                                        "fmt.Println", "set", "true", ":"};
    TSNode name = syntax_field(call, "function");
    if (ts_node_is_null(name)) name = syntax_field(call, "name");
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !ts_node_is_null(name); i++)
        if (syntax_text_is(syntax, name, names[i])) return true;
    return false;
}

static bool is_work(const struct syntax *syntax, TSNode node) {
    if (!ts_node_is_named(node)) return false;
    switch (syntax_role(syntax->grammar, node)) {
    case ROLE_BINDING:
    case ROLE_WRAPPER:
    case ROLE_COMMENT:
    case ROLE_STRING:
    case ROLE_CONSTANT:
    case ROLE_COLLECTION:
    case ROLE_STATEMENT:
    case ROLE_NOTHING:
    case ROLE_RETURN:
    case ROLE_MEMBERS:
    case ROLE_IDENTIFIER: return false;
    case ROLE_CALL: return !is_idle_call(syntax, node);
    default: break;
    }
    const char *type = ts_node_type(node);
    if (strcmp(type, "command") == 0) return !is_idle_call(syntax, node);
    return !is_idle_type(type);
}

bool does_work(const struct syntax *syntax, TSNode node) {
    TSTreeCursor cursor = ts_tree_cursor_new(node);
    bool work = false, more = ts_tree_cursor_goto_first_child(&cursor);
    while (more && !work) {
        TSNode at = ts_tree_cursor_current_node(&cursor);
        work = is_work(syntax, at);
        if (work || ts_tree_cursor_goto_first_child(&cursor)) continue;
        while (more && !ts_tree_cursor_goto_next_sibling(&cursor))
            more = ts_tree_cursor_goto_parent(&cursor);
    }
    ts_tree_cursor_delete(&cursor);
    return work;
}

/* ---- Where it is meant ----------------------------------------------------------------------- */

/* Whether NODE's source before its body says WORD. */
static bool head_says(const struct syntax *syntax, TSNode node, const char *word) {
    TSNode body = syntax_field(node, "body");
    size_t end = ts_node_is_null(body) ? ts_node_end_byte(node) : ts_node_start_byte(body);
    size_t begin = ts_node_start_byte(node);
    return contains(syntax, begin, end < begin + 400 ? end : begin + 400, word);
}

static bool is_constructor(const struct syntax_place *place, TSNode name) {
    static const char *const names[] = {"__init__", "__post_init__", "__del__", "__enter__",
                                        "__exit__", "__aenter__", "__aexit__",
                                        "__init_subclass__", "constructor"};
    const struct syntax *syntax = place->syntax;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (syntax_text_is(syntax, name, names[i])) return true;
    if (strcmp(ts_node_type(place->node), "constructor_declaration") == 0) return true;
    // C++: a definition without a type; C has always had one.
    return strcmp(ts_node_type(place->node), "function_definition") == 0 &&
           !ts_node_is_null(syntax_field(place->node, "declarator")) &&
           ts_node_is_null(syntax_field(place->node, "type"));
}

struct base_search {
    const char *name;
    size_t n_name;
    bool found;
};

static bool see_bases(void *user, const struct syntax_place *place) {
    struct base_search *search = user;
    if (place->role != ROLE_BASES) { // Python's are arguments
        if (strcmp(ts_node_type(place->node), "argument_list") != 0) return true;
        const char *field = syntax_place_field(place);
        if (!field || strcmp(field, "superclasses") != 0) return true;
    }
    size_t begin = ts_node_start_byte(place->node), n = node_bytes(place->node);
    search->found = memmem(place->syntax->text + begin, n, search->name, search->n_name) != NULL;
    return !search->found;
}

/* Each goes through the whole file; no honest answer needs as many. */
enum { MAX_SEARCHES = 64 };

/* Whether another class of the file derives from CLASS. */
static bool is_base(const struct syntax *syntax, TSNode class_node) {
    TSNode name = syntax_name(syntax->grammar, class_node);
    if (ts_node_is_null(name)) return false;
    struct base_search search = {syntax->text + ts_node_start_byte(name), node_bytes(name), false};
    syntax_walk(syntax, see_bases, &search);
    return search.found;
}

bool may_be_hollow(const struct syntax_place *place, TSNode name, bool told, int *n_searches) {
    static const char *const marks[] = {"abstract", "overload", "virtual ", "default "};
    const struct syntax *syntax = place->syntax;
    if (is_constructor(place, name)) return !told;
    TSNode head = place->node;
    size_t depth = place->depth;
    if (depth > 0 && syntax_role(syntax->grammar, place->path[depth - 1]) == ROLE_WRAPPER)
        head = place->path[--depth]; // with its decorators
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (head_says(syntax, head, marks[i])) return true;
    if (depth < 2) return false;
    TSNode outer = place->path[depth - 2]; // the members of a class lie between
    return syntax_role(syntax->grammar, outer) == ROLE_CLASS &&
           (head_says(syntax, outer, "Protocol") ||
            (++*n_searches <= MAX_SEARCHES && is_base(syntax, outer)));
}
