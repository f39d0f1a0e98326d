/* Source code as trees: a thin layer over tree-sitter that knows, for each language, which nodes
 * are functions, classes and comments. The grammars are one shared object that is looked for when
 * the first answer is read; without it a language has no grammar. Texts may be any bytes. */
#ifndef OCTET_COMPARE_SYNTAX_H
#define OCTET_COMPARE_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>
#include <tree_sitter/api.h>

/* Longer texts are not parsed. Before 0.21 tree-sitter counts a node's children in 16 bits and
 * frees wild pointers past that; every child but a few without width takes a byte. */
enum { SYNTAX_MAX_BYTES = 32 * 1024 };

/* What a node is, as far as anything here cares. */
enum role {
    ROLE_NONE,
    ROLE_UNIT,       // a function or method with its body
    ROLE_BINDING,    // NAME = VALUE; a unit where the value is a function
    ROLE_FUNCTION,   // a function without a name: lambda, arrow function
    ROLE_CLASS,      // and struct, interface, trait, ...
    ROLE_WRAPPER,    // what it holds is as visible as itself: export, namespace, decorator
    ROLE_MEMBERS,    // of a class
    ROLE_BASES,      // what a class derives from
    ROLE_COMMENT,
    ROLE_STRING,
    ROLE_CONSTANT,   // a literal other than a string
    ROLE_COLLECTION, // a constant when empty
    ROLE_STATEMENT,  // an expression as a statement
    ROLE_NOTHING,    // does nothing: pass, ..., an empty statement
    ROLE_RETURN,
    ROLE_RAISE,
    ROLE_CALL,
    ROLE_IDENTIFIER,
};

/* Process-wide and constant; NULL: unknown language, or its grammar is not there. */
struct grammar;
const struct grammar *syntax_grammar(const char *language);
/* The task language that a fence's tag means ("py3" -> "python"), NULL for any other tag. */
const char *syntax_language_of_tag(const char *tag, size_t n_bytes);

/* Something a file defines at its top level, or in a class there. */
struct definition {
    const char *name; // in the text
    size_t n_name;
    TSNode item;      // child of the root
    TSNode node;      // UNIT, CLASS or BINDING
    bool member;      // of a class
};

struct syntax {
    const struct grammar *grammar;
    const char *text;
    size_t n_bytes;
    TSTree *tree;  // NULL: no grammar, text too long, or out of time
    bool clean;    // it was parsed, without any error
    bool failed;   // out of memory
    size_t first_error; // where; n_bytes if there is none, or something is missing at the end
    struct definition *definitions;
    size_t n_definitions, cap_definitions;
};

/* Seconds that parsing may still take, for all texts of one answer together. */
struct syntax_budget {
    double seconds;
};

/* Keeps TEXT, which must outlive OUT. GRAMMAR may be NULL. */
void syntax_parse(const struct grammar *grammar, const char *text, size_t n_bytes,
                  struct syntax_budget *budget, struct syntax *out);
void syntax_free(struct syntax *syntax);

enum role syntax_role(const struct grammar *grammar, TSNode node);
TSNode syntax_field(TSNode node, const char *field); // null node: none
bool syntax_text_is(const struct syntax *syntax, TSNode node, const char *text);

/* The name of a UNIT, CLASS or BINDING: a null node if it has none. */
TSNode syntax_name(const struct grammar *grammar, TSNode node);
TSNode syntax_value(TSNode binding); // what a BINDING binds, or a null node
/* The function that UNIT or BINDING is: itself, or the value; a null node if it is no function. */
TSNode syntax_function(const struct grammar *grammar, TSNode node);
/* The first definition of NAME that is no member (members count in languages without functions
 * outside of classes), or NULL. */
const struct definition *syntax_find(const struct syntax *syntax, const char *name, size_t n_name);

/* Every node in the order of the text. PATH[0 .. depth) are its ancestors, root first. */
struct syntax_place {
    const struct syntax *syntax;
    TSNode node;
    enum role role;
    const TSTreeCursor *cursor;
    const TSNode *path;
    size_t depth;
};
/* Which field of its parent the node is, or NULL; takes time where nodes are nested deep. */
const char *syntax_place_field(const struct syntax_place *place);
typedef bool (*syntax_visit)(void *user, const struct syntax_place *place); // false: stop
bool syntax_walk(const struct syntax *syntax, syntax_visit visit, void *user);

#endif
