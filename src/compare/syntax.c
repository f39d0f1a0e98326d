/* Grammars from the shared object, what their nodes mean, parsing within limits, and walking trees
 * without recursion, since answers may nest as deep as they are long. */
#include "compare/syntax.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/probe.h"

struct grammar {
    const char *language, *symbol; // as tasks and as the grammar call it
    const char *tags;              // of fences, each between spaces
    bool members_are_functions;    // no functions outside of classes
    const TSLanguage *ts;          // NULL: not there
    uint8_t *roles;                // of each symbol
};

static struct grammar grammars[] = {
    {"python", "python", " python py python3 py3 python2 ipython ", false, NULL, NULL},
    {"c", "c", " c h ", false, NULL, NULL},
    {"cpp", "cpp", " cpp c++ cc cxx hpp ", false, NULL, NULL},
    {"javascript", "javascript", " javascript js jsx mjs cjs node ", false, NULL, NULL},
    {"go", "go", " go golang ", false, NULL, NULL},
    {"java", "java", " java ", true, NULL, NULL},
    {"rust", "rust", " rust rs ", false, NULL, NULL},
    {"shell", "bash", " shell sh bash zsh ksh ", false, NULL, NULL},
    {"sql", NULL, " sql sqlite sqlite3 mysql postgresql postgres ", false, NULL, NULL},
};
enum { N_GRAMMARS = sizeof grammars / sizeof grammars[0] };

/* Names mean the same in every grammar that has them. */
static const struct {
    const char *type;
    enum role role;
} roles[] = {
    {"function_definition", ROLE_UNIT},
    {"function_declaration", ROLE_UNIT},
    {"generator_function_declaration", ROLE_UNIT},
    {"method_definition", ROLE_UNIT},
    {"method_declaration", ROLE_UNIT},
    {"constructor_declaration", ROLE_UNIT},
    {"function_item", ROLE_UNIT},
    {"assignment", ROLE_BINDING},
    {"assignment_expression", ROLE_BINDING},
    {"variable_declarator", ROLE_BINDING},
    {"const_spec", ROLE_BINDING},
    {"var_spec", ROLE_BINDING},
    {"lambda", ROLE_FUNCTION},
    {"arrow_function", ROLE_FUNCTION},
    {"function", ROLE_FUNCTION},
    {"function_expression", ROLE_FUNCTION},
    {"generator_function", ROLE_FUNCTION},
    {"func_literal", ROLE_FUNCTION},
    {"class_definition", ROLE_CLASS},
    {"class_declaration", ROLE_CLASS},
    {"class_specifier", ROLE_CLASS},
    {"struct_specifier", ROLE_CLASS},
    {"union_specifier", ROLE_CLASS},
    {"enum_specifier", ROLE_CLASS},
    {"type_definition", ROLE_CLASS},
    {"interface_declaration", ROLE_CLASS},
    {"enum_declaration", ROLE_CLASS},
    {"record_declaration", ROLE_CLASS},
    {"type_spec", ROLE_CLASS},
    {"struct_item", ROLE_CLASS},
    {"enum_item", ROLE_CLASS},
    {"trait_item", ROLE_CLASS},
    {"decorated_definition", ROLE_WRAPPER},
    {"export_statement", ROLE_WRAPPER},
    {"lexical_declaration", ROLE_WRAPPER},
    {"variable_declaration", ROLE_WRAPPER},
    {"namespace_definition", ROLE_WRAPPER},
    {"linkage_specification", ROLE_WRAPPER},
    {"template_declaration", ROLE_WRAPPER},
    {"declaration", ROLE_WRAPPER},
    {"type_declaration", ROLE_WRAPPER},
    {"const_declaration", ROLE_WRAPPER},
    {"var_declaration", ROLE_WRAPPER},
    {"mod_item", ROLE_WRAPPER},
    {"preproc_if", ROLE_WRAPPER},
    {"preproc_ifdef", ROLE_WRAPPER},
    {"impl_item", ROLE_CLASS},
    {"declaration_list", ROLE_MEMBERS},
    {"class_body", ROLE_MEMBERS},
    {"interface_body", ROLE_MEMBERS},
    {"enum_body", ROLE_MEMBERS},
    {"field_declaration_list", ROLE_MEMBERS},
    {"block", ROLE_MEMBERS},
    {"class_heritage", ROLE_BASES},
    {"superclass", ROLE_BASES},
    {"super_interfaces", ROLE_BASES},
    {"base_class_clause", ROLE_BASES},
    {"comment", ROLE_COMMENT},
    {"line_comment", ROLE_COMMENT},
    {"block_comment", ROLE_COMMENT},
    {"string", ROLE_STRING},
    {"concatenated_string", ROLE_STRING},
    {"string_literal", ROLE_STRING},
    {"template_string", ROLE_STRING},
    {"raw_string_literal", ROLE_STRING},
    {"interpreted_string_literal", ROLE_STRING},
    {"char_literal", ROLE_CONSTANT},
    {"character_literal", ROLE_CONSTANT},
    {"rune_literal", ROLE_CONSTANT},
    {"number", ROLE_CONSTANT},
    {"number_literal", ROLE_CONSTANT},
    {"integer", ROLE_CONSTANT},
    {"float", ROLE_CONSTANT},
    {"int_literal", ROLE_CONSTANT},
    {"float_literal", ROLE_CONSTANT},
    {"integer_literal", ROLE_CONSTANT},
    {"decimal_integer_literal", ROLE_CONSTANT},
    {"decimal_floating_point_literal", ROLE_CONSTANT},
    {"boolean_literal", ROLE_CONSTANT},
    {"null_literal", ROLE_CONSTANT},
    {"true", ROLE_CONSTANT},
    {"false", ROLE_CONSTANT},
    {"none", ROLE_CONSTANT},
    {"null", ROLE_CONSTANT},
    {"nullptr", ROLE_CONSTANT},
    {"undefined", ROLE_CONSTANT},
    {"nil", ROLE_CONSTANT},
    {"list", ROLE_COLLECTION},
    {"dictionary", ROLE_COLLECTION},
    {"tuple", ROLE_COLLECTION},
    {"array", ROLE_COLLECTION},
    {"object", ROLE_COLLECTION},
    {"initializer_list", ROLE_COLLECTION},
    {"unit_expression", ROLE_COLLECTION},
    {"expression_statement", ROLE_STATEMENT},
    {"ellipsis", ROLE_NOTHING},
    {"pass_statement", ROLE_NOTHING},
    {"empty_statement", ROLE_NOTHING},
    {"return_statement", ROLE_RETURN},
    {"return_expression", ROLE_RETURN},
    {"raise_statement", ROLE_RAISE},
    {"throw_statement", ROLE_RAISE},
    {"macro_invocation", ROLE_CALL},
    {"call", ROLE_CALL},
    {"call_expression", ROLE_CALL},
    {"identifier", ROLE_IDENTIFIER},
};

/* ---- Grammars -------------------------------------------------------------------------------- */

static void set_roles(struct grammar *grammar) {
    uint32_t n = ts_language_symbol_count(grammar->ts);
    grammar->roles = mem_alloc(n); // lives as long as the process
    if (!grammar->roles) {
        grammar->ts = NULL;
        return;
    }
    for (uint32_t symbol = 0; symbol < n; symbol++) {
        const char *type = ts_language_symbol_name(grammar->ts, (TSSymbol)symbol);
        if (!type || ts_language_symbol_type(grammar->ts, (TSSymbol)symbol) != TSSymbolTypeRegular)
            continue;
        for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
            if (strcmp(type, roles[i].type) == 0) grammar->roles[symbol] = (uint8_t)roles[i].role;
    }
}

/* Beside the program (a build folder), or where `make install` puts it. */
static void *open_grammars(void) {
    static const char *const places[] = {"", "../libexec/octet/"};
    const char *told = getenv("OCTET_GRAMMARS");
    if (told) return dlopen(told, RTLD_NOW | RTLD_LOCAL);
    char path[PATH_MAX], file[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return NULL;
    path[n] = '\0';
    const char *slash = strrchr(path, '/');
    int n_folder = slash ? (int)(slash + 1 - path) : 0;
    void *found = NULL;
    for (size_t i = 0; i < sizeof places / sizeof places[0] && !found && n_folder > 0; i++) {
        snprintf(file, sizeof file, "%.*s%sliboctet-grammars.so", n_folder, path, places[i]);
        found = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    return found;
}

static void load_grammars(void) {
    void *library = open_grammars(); // stays open
    for (size_t i = 0; i < N_GRAMMARS && library; i++) {
        struct grammar *grammar = &grammars[i];
        if (!grammar->symbol) continue;
        char name[64];
        snprintf(name, sizeof name, "tree_sitter_%s", grammar->symbol);
        const TSLanguage *(*make)(void) = NULL;
        void *symbol = dlsym(library, name);
        memcpy(&make, &symbol, sizeof make); // C has no conversion between the two
        if (!make) continue;
        grammar->ts = make();
        uint32_t version = ts_language_version(grammar->ts);
        if (version < TREE_SITTER_MIN_COMPATIBLE_LANGUAGE_VERSION ||
            version > TREE_SITTER_LANGUAGE_VERSION)
            grammar->ts = NULL;
        else
            set_roles(grammar);
    }
}

const struct grammar *syntax_grammar(const char *language) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_grammars);
    for (size_t i = 0; i < N_GRAMMARS; i++)
        if (strcmp(grammars[i].language, language) == 0 && grammars[i].ts) return &grammars[i];
    return NULL;
}

const char *syntax_language_of_tag(const char *tag, size_t n_bytes) {
    char padded[32];
    if (n_bytes == 0 || n_bytes > sizeof padded - 3 || memchr(tag, ' ', n_bytes)) return NULL;
    snprintf(padded, sizeof padded, " %.*s ", (int)n_bytes, tag);
    for (size_t i = 0; i < N_GRAMMARS; i++)
        if (strcasestr(grammars[i].tags, padded)) return grammars[i].language;
    return NULL;
}

enum role syntax_role(const struct grammar *grammar, TSNode node) {
    TSSymbol symbol = ts_node_symbol(node);
    if (symbol >= ts_language_symbol_count(grammar->ts)) return ROLE_NONE; // an ERROR node
    return (enum role)grammar->roles[symbol];
}

/* ---- Nodes ----------------------------------------------------------------------------------- */

TSNode syntax_field(TSNode node, const char *field) {
    return ts_node_child_by_field_name(node, field, (uint32_t)strlen(field));
}

bool syntax_text_is(const struct syntax *syntax, TSNode node, const char *text) {
    size_t begin = ts_node_start_byte(node), n = ts_node_end_byte(node) - begin;
    return n == strlen(text) && memcmp(syntax->text + begin, text, n) == 0;
}

TSNode syntax_name(const struct grammar *grammar, TSNode node) {
    TSNode name = syntax_field(node, "name");
    if (ts_node_is_null(name) && syntax_role(grammar, node) == ROLE_BINDING)
        return syntax_field(node, "left");
    // C: the name is at the end of a chain of declarators.
    for (int i = 0; i < 16 && ts_node_is_null(name); i++) {
        node = syntax_field(node, "declarator");
        if (ts_node_is_null(node)) break;
        if (ts_node_is_null(syntax_field(node, "declarator"))) name = node;
    }
    // a::b::name
    while (!ts_node_is_null(name) && strcmp(ts_node_type(name), "qualified_identifier") == 0)
        name = syntax_field(name, "name");
    return name;
}

TSNode syntax_value(TSNode binding) {
    TSNode value = syntax_field(binding, "value");
    return ts_node_is_null(value) ? syntax_field(binding, "right") : value;
}

TSNode syntax_function(const struct grammar *grammar, TSNode node) {
    if (syntax_role(grammar, node) == ROLE_UNIT) return node;
    TSNode value = syntax_value(node);
    if (ts_node_is_null(value) || syntax_role(grammar, value) != ROLE_FUNCTION)
        return (TSNode){.tree = NULL};
    return value;
}

/* ---- Definitions ----------------------------------------------------------------------------- */

/* `struct name` without a body is a mention. */
static bool is_mention(TSNode node) {
    return strstr(ts_node_type(node), "_specifier") && ts_node_is_null(syntax_field(node, "body"));
}

/* More than any honest file has; names are compared with each other. */
enum { MAX_DEFINITIONS = 4096 };

static void add_definition(struct syntax *syntax, TSNode item, TSNode node, bool member) {
    TSNode name = syntax_name(syntax->grammar, node);
    if (ts_node_is_null(name) || is_mention(node)) return;
    if (syntax->n_definitions >= MAX_DEFINITIONS) return;
    void *p = syntax->definitions;
    if (!mem_reserve(&p, &syntax->cap_definitions, syntax->n_definitions + 1,
                     sizeof *syntax->definitions)) {
        syntax->failed = true;
        return;
    }
    syntax->definitions = p;
    size_t begin = ts_node_start_byte(name);
    syntax->definitions[syntax->n_definitions++] = (struct definition){
        syntax->text + begin, ts_node_end_byte(name) - begin, item, node, member};
}

/* Members of a class in a namespace in a namespace are found; nothing sane is deeper. */
enum { MAX_WRAPPERS = 8 };

/* The children of NODE that define something; ITEM is what NODE belongs to, null for the root. */
static void collect(struct syntax *syntax, TSNode node, TSNode item, bool member, int depth) {
    TSTreeCursor cursor = ts_tree_cursor_new(node);
    for (bool more = ts_tree_cursor_goto_first_child(&cursor); more;
         more = ts_tree_cursor_goto_next_sibling(&cursor)) {
        TSNode child = ts_tree_cursor_current_node(&cursor);
        TSNode top = ts_node_is_null(item) ? child : item;
        enum role role = syntax_role(syntax->grammar, child);
        if (role == ROLE_UNIT || role == ROLE_BINDING || role == ROLE_CLASS)
            add_definition(syntax, top, child, member);
        if (depth >= MAX_WRAPPERS) continue;
        if (role == ROLE_WRAPPER || role == ROLE_STATEMENT)
            collect(syntax, child, top, member, depth + 1);
        else if (role == ROLE_CLASS)
            collect(syntax, child, top, true, depth + 1);
        else if (role == ROLE_MEMBERS && !ts_node_is_null(item))
            collect(syntax, child, top, member, depth + 1);
        else if (ts_node_is_null(item) && ts_node_has_error(child) && role == ROLE_NONE)
            collect(syntax, child, top, member, depth + 1); // what an error swallowed
    }
    ts_tree_cursor_delete(&cursor);
}

const struct definition *syntax_find(const struct syntax *syntax, const char *name,
                                     size_t n_name) {
    for (size_t i = 0; i < syntax->n_definitions; i++) {
        const struct definition *found = &syntax->definitions[i];
        if ((!found->member || syntax->grammar->members_are_functions) &&
            found->n_name == n_name && memcmp(found->name, name, n_name) == 0)
            return found;
    }
    return NULL;
}

/* ---- Walking --------------------------------------------------------------------------------- */

/* The cursor's next node in order, with PATH and *DEPTH kept: 1 found, 0 end, -1 no memory. */
static int advance(TSTreeCursor *cursor, TSNode **path, size_t *depth, size_t *cap) {
    TSNode node = ts_tree_cursor_current_node(cursor);
    if (ts_tree_cursor_goto_first_child(cursor)) {
        void *p = *path;
        if (!mem_reserve(&p, cap, *depth + 1, sizeof **path)) return -1;
        *path = p;
        (*path)[(*depth)++] = node;
        return 1;
    }
    while (!ts_tree_cursor_goto_next_sibling(cursor)) {
        if (!ts_tree_cursor_goto_parent(cursor)) return 0;
        (*depth)--;
    }
    return 1;
}

const char *syntax_place_field(const struct syntax_place *place) {
    return ts_tree_cursor_current_field_name(place->cursor);
}

bool syntax_walk(const struct syntax *syntax, syntax_visit visit, void *user) {
    if (!syntax->tree) return true;
    TSTreeCursor cursor = ts_tree_cursor_new(ts_tree_root_node(syntax->tree));
    TSNode *path = NULL;
    size_t depth = 0, cap = 0;
    int state = 1;
    while (state > 0) {
        TSNode node = ts_tree_cursor_current_node(&cursor);
        struct syntax_place place = {syntax,
                                     node,
                                     syntax_role(syntax->grammar, node),
                                     &cursor,
                                     path,
                                     depth};
        if (!visit(user, &place)) break;
        state = advance(&cursor, &path, &depth, &cap);
    }
    ts_tree_cursor_delete(&cursor);
    mem_free(path);
    return state >= 0;
}

/* ---- Parsing --------------------------------------------------------------------------------- */

/* Where the first ERROR or missing node is. */
static size_t find_error(TSNode root) {
    TSTreeCursor cursor = ts_tree_cursor_new(root);
    size_t found = 0;
    for (bool more = ts_tree_cursor_goto_first_child(&cursor); more;) {
        TSNode node = ts_tree_cursor_current_node(&cursor);
        if (!ts_node_has_error(node) && !ts_node_is_missing(node)) {
            more = ts_tree_cursor_goto_next_sibling(&cursor);
            continue;
        }
        found = ts_node_start_byte(node);
        if (ts_node_is_missing(node) || strcmp(ts_node_type(node), "ERROR") == 0) break;
        more = ts_tree_cursor_goto_first_child(&cursor);
    }
    ts_tree_cursor_delete(&cursor);
    return found;
}

/* Python's grammar lets a block be empty; Python does not. */
static bool see_empty_block(void *user, const struct syntax_place *place) {
    size_t *found = user;
    if (strcmp(ts_node_type(place->node), "block") != 0) return true;
    uint32_t n = ts_node_named_child_count(place->node), i = 0;
    while (i < n && syntax_role(place->syntax->grammar,
                                ts_node_named_child(place->node, i)) == ROLE_COMMENT)
        i++;
    if (i < n) return true;
    *found = ts_node_start_byte(place->node);
    return false;
}

void syntax_parse(const struct grammar *grammar, const char *text, size_t n_bytes,
                  struct syntax_budget *budget, struct syntax *out) {
    *out = (struct syntax){.grammar = grammar, .text = text, .n_bytes = n_bytes,
                           .first_error = n_bytes};
    if (!grammar || n_bytes > SYNTAX_MAX_BYTES || budget->seconds <= 0) return;
    double begin = probe_seconds();
    TSParser *parser = ts_parser_new();
    ts_parser_set_language(parser, grammar->ts);
    ts_parser_set_timeout_micros(parser, (uint64_t)(budget->seconds * 1e6) + 1);
    out->tree = ts_parser_parse_string(parser, NULL, text, (uint32_t)n_bytes);
    ts_parser_delete(parser);
    if (out->tree) {
        TSNode root = ts_tree_root_node(out->tree);
        bool broken = ts_node_has_error(root);
        if (broken) // may be at the end, where something is missing
            out->first_error = find_error(root);
        else if (strcmp(grammar->language, "python") == 0 &&
                 !syntax_walk(out, see_empty_block, &out->first_error))
            out->failed = true;
        out->clean = !broken && out->first_error == n_bytes;
        collect(out, root, (TSNode){.tree = NULL}, false, 0);
    }
    budget->seconds -= probe_seconds() - begin;
}

void syntax_free(struct syntax *syntax) {
    if (syntax->tree) ts_tree_delete(syntax->tree);
    mem_free(syntax->definitions);
    *syntax = (struct syntax){.grammar = NULL};
}
