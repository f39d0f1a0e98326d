/* What the parts of reading an answer share: a file put together from the answer's bytes and
 * others, the candidates for where the code is, and the search for placeholders. */
#ifndef OCTET_COMPARE_SCORE_IMPL_H
#define OCTET_COMPARE_SCORE_IMPL_H

#include "compare/score.h"
#include "compare/syntax.h"

struct range {
    size_t begin, end;
};

size_t line_end(const char *text, size_t begin, size_t end); // past the newline
size_t skip_blanks(const char *text, size_t begin, size_t end);
size_t trim_end(const char *text, size_t begin, size_t end); // before trailing white space

/* Bytes [at, at + n) of an assembly are the answer's bytes from FROM on. */
struct piece {
    size_t at, n, from;
};

/* A file under construction that knows which of its bytes the answer gave. Once it has failed for
 * lack of memory, it stays so and takes nothing more. */
struct assembly {
    char *text; // NUL-terminated
    size_t n_bytes, cap;
    struct piece *pieces;
    size_t n_pieces, cap_pieces;
    bool failed;
};
void assembly_free(struct assembly *assembly);
void assembly_add(struct assembly *assembly, const char *bytes, size_t n_bytes);
/* ANSWER[begin, end). */
void assembly_take(struct assembly *assembly, const char *answer, size_t begin, size_t end);
/* The lines of the range, without up to INDENT blanks at their beginnings, with PREFIX there. */
void assembly_take_lines(struct assembly *assembly, const char *answer, struct range range,
                         size_t indent, const char *prefix);
void assembly_end_line(struct assembly *assembly); // unless it is empty or at a line's beginning
/* The byte of the answer that gave byte AT, SIZE_MAX if none did. */
size_t assembly_origin(const struct assembly *assembly, size_t at);
/* The bytes of the answer that FILE[begin, end) spans; false if it holds none. */
bool assembly_range(const struct assembly *file, size_t begin, size_t end, struct range *out);

/* False: SQLite can not read it as SQL. *FAILED: out of memory. */
bool sql_parses(const char *text, size_t n_bytes, bool *failed);

struct reader {
    const struct task *task;
    const struct grammar *grammar; // NULL: nothing is known about the language's structure
    const char *answer;
    size_t n_bytes;
    struct syntax_budget budget;
};

/* A part of the answer that may be code. */
struct block {
    struct range code;
    size_t indent; // columns that every line has too many
    enum tag { TAG_OTHER, TAG_NONE, TAG_SAME } tag;
    bool closed;   // always, when it is not a fence
};
struct blocks {
    struct block *p;
    size_t n, cap;
    bool failed;
};

/* Fenced parts, in order. */
void blocks_find_fences(const struct reader *reader, struct blocks *out);
/* Parts of RANGE that are code without being marked as such, in order. */
void blocks_find_runs(struct reader *reader, struct range range, struct blocks *out);

/* Whether the line from BEGIN on looks like one of code. */
bool line_is_code(const struct reader *reader, size_t begin);
/* Whether it is a comment of a language where those look like Markdown's titles. */
bool line_is_hash_comment(const struct reader *reader, size_t begin);
/* Whether the line at the margin is one that people write: words, and the end of a sentence. */
bool line_is_prose(const struct reader *reader, size_t begin, size_t end);
/* The end of the SQL that begins RANGE: statements go on over clauses up to a semicolon, or to an
 * empty line and something that is no clause. */
size_t sql_end(const struct reader *reader, struct range range);

/* What became of the answer. */
struct extract {
    struct assembly file, strict;
    struct syntax syntax;   // of FILE's text
    struct blocks fences;
    bool unclosed;          // the code runs into the end of an open fence
};
enum octet_status extract_code(struct reader *reader, struct extract *out, struct octet_err *err);
void extract_free(struct extract *extract);
/* Whether the code defines the task's entry; by its words alone where there is no grammar. */
bool extract_has_entry(const struct task *task, const struct syntax *syntax);

struct comment {
    size_t begin, end;
    bool documents; // a Python string that only documents
};
struct comments {
    struct comment *p;
    size_t n, cap;
    bool failed;
};
/* Comments of a text, in order; by its words alone where there is no tree. */
void comments_find(const struct task *task, const struct syntax *syntax, struct comments *out);

/* Fills OUT's placeholders, units and hollow; false: out of memory. */
bool placeholders_find(struct reader *reader, const struct extract *extract,
                       const struct comments *comments, struct reading *out);
/* The rule that the body of FUNCTION breaks when it does nothing, else NULL. A MEMBER of a class
 * may return a constant, and so may a function without parameters. */
const char *hollow_rule(const struct syntax *syntax, TSNode function, bool member);
/* Whether code within NODE does more than declare, assign, print and hand back what has a name or
 * stands there: calls, choices, loops, arithmetic. */
bool does_work(const struct syntax *syntax, TSNode node);
/* Whether it is common for the function at PLACE to do nothing: abstract methods, protocols,
 * overloads, methods that derived classes of the same file are to replace, and constructors, unless
 * a comment TOLD that work is left. *N_SEARCHES counts searches of the whole file, which are
 * limited. */
bool may_be_hollow(const struct syntax_place *place, TSNode name, bool told, int *n_searches);
/* Python names that are called and can not be bound; each is told to FOUND. False: no memory. */
typedef bool (*name_fn)(void *user, size_t begin, size_t end);
bool undefined_names(const struct syntax *syntax, name_fn found, void *user);

#endif
