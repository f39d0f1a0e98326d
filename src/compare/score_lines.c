/* What a line of an answer looks like by itself: code, or text for people. A guess, and only asked
 * for where no fence says so. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "compare/score_impl.h"

static bool starts_with(const char *text, size_t n, const char *word) {
    size_t n_word = strlen(word);
    return n >= n_word && memcmp(text, word, n_word) == 0;
}

/* What lines of programs begin with, as sentences do not. */
static const char *const openers[] = {
    "def ",      "class ",    "import ",    "from ",     "async ",    "@",        "#include",
    "#define",   "#!",        "#if",        "#pragma",   "function ", "function*", "const ",
    "let ",      "var ",      "export ",    "package ",  "func ",     "type ",    "use ",
    "fn ",       "pub ",      "public ",    "private ",  "protected ", "static ", "int ",
    "void ",     "bool ",     "char ",      "long ",     "double ",   "float ",   "size_t ",
    "unsigned ", "auto ",     "std::",      "struct ",   "enum ",     "union ",   "typedef ",
    "template",  "using ",    "namespace ", "return ",   "return;",   "if ",      "if(",
    "for ",      "for(",      "while ",     "while(",    "with ",     "try:",     "try {",
    "impl ",     "trait ",    "mod ",       "extern ",   "interface ", "final ",  "abstract ",
    "assert ",   "print(",    "console.",   "module.",   "raise ",    "lambda ",  "pass",
    "/*",        "//",
};
static const char *const sql_openers[] = {
    "select ", "with ",  "create ", "insert ",  "update ", "delete ", "pragma ",
    "drop ",   "alter ",   "begin;", "begin ",  "replace ", "commit", "explain ", "end;",
    "--",      "/*",
};
/* What goes on with a statement of SQL. */
static const char *const sql_clauses[] = {
    "from ",  "where ", "group ",   "order ",  "having ", "limit ",    "offset ", "join ",
    "left ",  "right ", "inner ",   "outer ",  "full ",   "cross ",    "union",   "except",
    "values", "set ",   "and ",     "or ",     "on ",     "returning", "using",   "window ",
    "when ",  "else ",  "intersect", "natural ", "case",  "end",       "(",       ")",
};
static const char *const shell_openers[] = {
    "echo ", "cd ", "set -", "awk ", "sed ", "grep ", "find ", "cat ", "sort ", "mkdir ", "local ",
    "printf ", "read ", "case ", "curl ", "tar ", "ls ", "cut ", "head ", "tail ", "wc ", "tr ",
    "[ ", "[[ ", "((", "mv ", "cp ", "rm ", "touch ", "exec ", "exit ", "shift", "trap ", "uniq ",
    "declare ", "until ", "xargs ", "tee ", ": ",
};

/* Whether one of WORDS begins the line; FOLD: in any case, and also as all of the line. */
static bool opens(const char *line, size_t n, const char *const *words, size_t n_words, bool fold) {
    for (size_t i = 0; i < n_words; i++) {
        size_t n_word = strlen(words[i]);
        if (fold && n == n_word - 1 && words[i][n] == ' ') n_word--;
        if (fold ? n >= n_word && strncasecmp(line, words[i], n_word) == 0
                 : starts_with(line, n, words[i]))
            return true;
    }
    return false;
}

/* `name.part[i]` and then an operator: an assignment or a call. */
static bool is_assignment_or_call(const char *line, size_t n) {
    size_t i = 0;
    if (n == 0 || !(isalpha((unsigned char)line[0]) || line[0] == '_' || line[0] == '$'))
        return false;
    while (i < n && (isalnum((unsigned char)line[i]) || strchr("_.$[]\"'", line[i])))
        i++;
    if (i < n && line[i] == '(') return memchr(line, ')', n) || line[n - 1] == '(';
    if (i < n && line[i] == ',') return memchr(line, '=', n) != NULL;
    i = skip_blanks(line, i, n);
    if (i < n && strchr("+-*/|&:%", line[i])) i++;
    return i < n && line[i] == '=';
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* "with this query, ..." and "select the rows that:" are no SQL. */
static bool begins_sql(const char *line, size_t n) {
    if (!opens(line, n, sql_openers, COUNT(sql_openers), true)) return false;
    if (starts_with(line, n, "--") || starts_with(line, n, "/*")) return true;
    if (strchr(".:!?", line[n - 1])) return false;
    return n < 6 || strncasecmp(line, "with ", 5) != 0 || memchr(line, '(', n) ||
           strncasecmp(line + n - 3, " as", 3) == 0 ||
           (n >= 14 && strncasecmp(line + 5, "recursive", 9) == 0);
}

bool line_is_code(const struct reader *reader, size_t begin) {
    const char *text = reader->answer;
    size_t end = line_end(text, begin, reader->n_bytes);
    begin = skip_blanks(text, begin, end);
    const char *line = text + begin;
    size_t n = trim_end(text, begin, end) - begin;
    if (n == 0) return false;
    if (strcmp(reader->task->language, "sql") == 0) return begins_sql(line, n);
    if (strcmp(reader->task->language, "shell") == 0 &&
        opens(line, n, shell_openers, COUNT(shell_openers), false))
        return true;
    // "if you want, ..." and "for this, ..." end like sentences.
    if (strchr(".!?", line[n - 1]) && !memchr(line, '(', n) && !memchr(line, '=', n))
        return false;
    if (opens(line, n, openers, COUNT(openers), false)) return true;
    if (strchr("{};", line[n - 1])) return true;
    return is_assignment_or_call(line, n);
}

bool line_is_hash_comment(const struct reader *reader, size_t begin) {
    const char *language = reader->task->language;
    begin = skip_blanks(reader->answer, begin, reader->n_bytes);
    return begin < reader->n_bytes && reader->answer[begin] == '#' &&
           (strcmp(language, "python") == 0 || strcmp(language, "shell") == 0);
}

/* Commands are written in small letters, and few are without any of these. */
static bool may_be_command(const char *line, size_t n) {
    if (line[0] == '#') return true;
    for (size_t i = 0; i < n; i++)
        if (strchr("$|&;<>=", line[i])) return true;
    return !isupper((unsigned char)line[0]) && !strchr(".:!?", line[n - 1]);
}

bool line_is_prose(const struct reader *reader, size_t begin, size_t end) {
    const char *text = reader->answer;
    size_t stop = trim_end(text, begin, end), n_words = 0;
    if (stop == begin || line_is_code(reader, begin)) return false;
    if (strcmp(reader->task->language, "shell") == 0 && may_be_command(text + begin, stop - begin))
        return false;
    if (text[begin] == '#' || text[begin] == '*' || text[begin] == '-') n_words++;
    else if (!isalpha((unsigned char)text[begin]) && text[begin] > 0) return false;
    for (size_t i = begin; i < stop; i++)
        if (isalpha((unsigned char)text[i]) && (i == begin || text[i - 1] == ' ')) n_words++;
    return n_words >= 4 || (n_words >= 2 && strchr(".:!?", text[stop - 1]));
}

/* ---- SQL ------------------------------------------------------------------------------------- */

/* The line without a comment at its end. */
static size_t before_comment(const char *line, size_t n) {
    const char *comment = memmem(line, n, "--", 2);
    return trim_end(line, 0, comment ? (size_t)(comment - line) : n);
}

/* Whether LINE, within a statement or after an empty line there (GAP), is text for people. */
static bool leaves_sql(const struct reader *reader, const char *line, size_t n, bool gap) {
    size_t begin = (size_t)(line - reader->answer);
    if (begins_sql(line, n) || before_comment(line, n) < n) return false;
    bool sentence = strchr(".:!?", line[n - 1]) && line_is_prose(reader, begin, begin + n);
    return sentence || (gap && !opens(line, n, sql_clauses, COUNT(sql_clauses), true));
}

size_t sql_end(const struct reader *reader, struct range range) {
    const char *text = reader->answer;
    size_t code_end = range.begin;
    bool open = false, gap = false, listing = false;
    for (size_t begin = range.begin, end; begin < range.end; begin = end) {
        end = line_end(text, begin, range.end);
        size_t first = skip_blanks(text, begin, end), n = trim_end(text, first, end) - first;
        const char *line = text + first;
        if (n == 0) {
            gap = true;
            continue;
        }
        if (n >= 2 && memcmp(line, "/*", 2) == 0) {
            const char *close = memmem(line, range.end - first, "*/", 2);
            end = code_end = close ? line_end(text, (size_t)(close - text), range.end) : range.end;
            continue;
        }
        if (open ? leaves_sql(reader, line, n, gap && !listing) : !begins_sql(line, n)) break;
        size_t said = before_comment(line, n);
        if (said > 0) {
            open = line[said - 1] != ';' && line[n - 1] != ';';
            listing = line[said - 1] == ',' || line[said - 1] == '(';
        }
        gap = false;
        code_end = end;
    }
    return code_end;
}
