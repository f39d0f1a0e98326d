/* The inside of schema.c and its neighbours.
 *
 * A rule of the grammar stands for a list of schemas that all have to hold. References, allOf,
 * anyOf and oneOf are resolved on such lists: what they hold joins the list, or becomes
 * alternatives of one list each. What is left are schemas whose own keywords add up to one form,
 * and the form is written as a rule. Lists that occurred before are the rule that they became, so
 * recursion ends. */
#ifndef OCTET_TEXT_SCHEMA_IMPL_H
#define OCTET_TEXT_SCHEMA_IMPL_H

#include <jansson.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "text/schema.h"

enum schema_limits {
    SCHEMA_MAX_SOURCE = 1 << 20,
    SCHEMA_MAX_GRAMMAR = 4 << 20,
    SCHEMA_MAX_RULES = 4096,
    SCHEMA_MAX_LIST = 128,   // schemas that hold at once
    SCHEMA_MAX_COMPARED = 10000, // pairs of lists, to see whether branches differ
    SCHEMA_MAX_DEPTH = 64,   // references in references, constants in constants
    SCHEMA_MAX_COUNT = 100000, // characters, items
    SCHEMA_MAX_NAME = 256,   // characters of a property beside additional ones
    SCHEMA_MAX_DIGITS = 64,  // of integers; also of the part before the point
    SCHEMA_MAX_FRACTION = 20,
};

enum item_kind {
    ITEM_ALL,   // with references, allOf, anyOf and oneOf
    ITEM_OWN,   // without
    ITEM_ANY,   // its anyOf only
    ITEM_ONE,   // its oneOf only
};

struct item {
    const json_t *schema;
    enum item_kind kind;
    uint32_t path; // where it is written: in the schema's paths
};

/* Items are few; the list is a value. */
struct list {
    struct item *items; // (n)
    size_t n, cap;
};

enum schema_type {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8, // those that are no integers
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ALL = 127,
};

/* A bound of numbers: its sign, and the decimal digits before and behind the point. */
struct bound {
    bool given, exclusive, negative;
    char whole[32], fraction[32];
    double value;
};

struct property {
    const char *name;
    size_t n_name;
    struct list value;
    bool required;
};

/* What the keywords of several schemas demand together. */
struct form {
    unsigned types;
    json_t *values; // that are allowed, or NULL; owned
    struct bound min, max;
    bool whole;         // multipleOf: integers only
    unsigned zeros;     // an integer is a multiple of 10 to this power
    size_t min_length, max_length; // of strings; SIZE_MAX: any
    const char *pattern, *format;  // or NULL
    size_t n_pattern;
    struct property *properties; // (n_properties)
    size_t n_properties, properties_cap;
    struct list others; // what additional properties have to be
    bool no_others;
    bool speaks_of_others, lists_properties;
    size_t min_properties, max_properties;
    struct list *prefix; // (n_prefix) items by position
    size_t n_prefix, prefix_cap;
    struct list rest; // the items behind them
    bool no_rest;
    size_t min_items, max_items;
};

struct rule {
    struct list list;
    uint64_t hash;
};

struct schema {
    json_t *root;
    unsigned flags;
    bool legacy; // a draft in which $ref stands alone
    struct rule *rules; // (n_rules), written in order while new ones come
    size_t n_rules, rules_cap;
    char **paths; // (n_paths)
    size_t n_paths, paths_cap;
    struct buffer out;  // the grammar
    struct buffer side; // helper rules of the rule that is being written
    bool aside;         // what is put goes there
    size_t n_helpers;  // rules beside those of lists
    size_t n_compared;
    struct octet_err *err;
    enum octet_status status; // the first failure
};

/* Failures stick; both return false. */
bool schema_no_memory(struct schema *s);
__attribute__((format(printf, 4, 5))) bool schema_refuse(struct schema *s, uint32_t path,
                                                         const char *keyword, const char *fmt, ...);

/* The path of what is at KEY of what is at PATH. */
uint32_t schema_path(struct schema *s, uint32_t path, const char *key);
uint32_t schema_path_at(struct schema *s, uint32_t path, size_t i);

bool list_add(struct schema *s, struct list *list, struct item item); // unless it is in there
bool list_add_all(struct schema *s, struct list *list, const struct list *more);
void list_free(struct list *list);

/* The number of the rule for LIST, which is written later if it is new. */
bool schema_rule(struct schema *s, const struct list *list, uint32_t *rule);
/* LIST without references, allOf, and nothing but ITEM_OWN, ITEM_ANY and ITEM_ONE. *NEVER: nothing
 * is valid. */
bool schema_flatten(struct schema *s, const struct list *list, struct list *out, bool *never);

/* Adds the keywords of an ITEM_OWN. */
bool form_add(struct schema *s, struct form *f, struct item item);
void form_start(struct form *f);
void form_free(struct form *f);
/* Whether no value is of both; false also where that can not be seen. */
bool forms_differ(struct schema *s, const struct form *a, const struct form *b, int depth);

/* Writes the body of a rule. */
bool schema_write_form(struct schema *s, struct form *f, uint32_t path);
bool schema_write_number(struct schema *s, const struct form *f, uint32_t path);
bool schema_write_string(struct schema *s, const struct form *f, uint32_t path);
bool schema_write_pattern(struct schema *s, const char *pattern, size_t n, uint32_t path);
bool schema_write_format(struct schema *s, const char *format, uint32_t path);
bool schema_write_object(struct schema *s, const struct form *f, uint32_t path);
bool schema_write_array(struct schema *s, const struct form *f);
bool schema_write_value(struct schema *s, const json_t *value, uint32_t path, int depth);

/* A rule beside the one that is being written: what is put between the two calls, with its name. */
void schema_begin_helper(struct schema *s);
bool schema_end_helper(struct schema *s);

bool put(struct schema *s, const char *text);
__attribute__((format(printf, 2, 3))) bool putf(struct schema *s, const char *fmt, ...);

struct code_set {
    uint32_t lo[512], hi[512]; // (n)
    size_t n;
};
bool set_add(struct code_set *set, uint32_t lo, uint32_t hi); // false: too many ranges
/* Sorted and without overlaps; the rest of all characters with NEGATED. */
bool set_finish(struct code_set *set, bool negated);
/* A character of SET as JSON strings spell it. */
bool put_set(struct schema *s, const struct code_set *set);
/* A text as it stands between the quotes of a JSON string, as a literal of the grammar without its
 * quotes. */
bool put_text(struct schema *s, const char *text, size_t n);
/* The next character of UTF-8 that is known to be valid. */
uint32_t next_code(const char **p);

/* The shortest decimal that reads back as VALUE. */
void number_text(double value, char out[32]);
bool bound_read(struct schema *s, const json_t *value, uint32_t path, const char *keyword,
                struct bound *out);
int bound_compare(const struct bound *a, const struct bound *b);

#endif
