/* Work that an answer left to its reader: comments that say so, functions that do nothing, and
 * names that nobody defined. Rules are narrow: what they find in finished code counts against
 * them. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "compare/score_impl.h"

/* ---- Comments -------------------------------------------------------------------------------- */

static bool add_comment(struct comments *out, size_t begin, size_t end, bool documents) {
    void *p = out->p;
    if (!mem_reserve(&p, &out->cap, out->n + 1, sizeof *out->p)) {
        out->failed = true;
        return false;
    }
    out->p = p;
    out->p[out->n++] = (struct comment){begin, end, documents};
    return true;
}

/* A statement that is only a string, in a language that writes documentation so. */
static bool is_documentation(const struct syntax_place *place) {
    if (place->role != ROLE_STRING || place->depth == 0) return false;
    TSNode statement = place->path[place->depth - 1];
    return syntax_role(place->syntax->grammar, statement) == ROLE_STATEMENT &&
           ts_node_start_byte(statement) == ts_node_start_byte(place->node) &&
           ts_node_end_byte(statement) == ts_node_end_byte(place->node);
}

static bool see_comment(void *user, const struct syntax_place *place) {
    struct comments *out = user;
    bool documents = is_documentation(place);
    if (place->role != ROLE_COMMENT && !documents) return true;
    size_t begin = ts_node_start_byte(place->node), end = ts_node_end_byte(place->node);
    // A comment's parts are within it.
    if (out->n > 0 && begin < out->p[out->n - 1].end) return true;
    return add_comment(out, begin, end, documents);
}

/* The length of the comment marker at TEXT[at], 0 if there is none. */
static size_t comment_marker(const char *language, const char *text, size_t n) {
    bool hash = strcmp(language, "python") == 0 || strcmp(language, "shell") == 0;
    if (hash) return n > 0 && text[0] == '#';
    if (n < 2) return 0;
    if (memcmp(text, "/*", 2) == 0) return 2;
    return memcmp(text, strcmp(language, "sql") == 0 ? "--" : "//", 2) == 0 ? 2 : 0;
}

static size_t string_end(const char *text, size_t begin, size_t n) {
    size_t i = begin + 1;
    while (i < n && text[i] != text[begin] && text[i] != '\n') i += text[i] == '\\' ? 2 : 1;
    return i < n ? i + 1 : n;
}

/* Without a grammar: comment markers outside of strings. */
static void find_by_words(const char *language, const char *text, size_t n, struct comments *out) {
    for (size_t i = 0; i < n && !out->failed;) {
        size_t marker = comment_marker(language, text + i, n - i);
        if (marker == 0) {
            i = text[i] == '"' || text[i] == '\'' ? string_end(text, i, n) : i + 1;
            continue;
        }
        size_t end = trim_end(text, i, line_end(text, i, n));
        if (text[i] == '/' && text[i + 1] == '*') {
            const char *close = memmem(text + i + 2, n - i - 2, "*/", 2);
            end = close ? (size_t)(close - text) + 2 : n;
        }
        add_comment(out, i, end, false);
        i = end;
    }
}

void comments_find(const struct task *task, const struct syntax *syntax, struct comments *out) {
    if (!syntax->tree)
        find_by_words(task->language, syntax->text, syntax->n_bytes, out);
    else if (!syntax_walk(syntax, see_comment, out))
        out->failed = true;
}

/* ---- What comments say ----------------------------------------------------------------------- */

enum where { ANYWHERE, AT_START, ALONE };

/* Of a comment's line in lower case with single blanks; the first that fits counts. */
static const struct {
    const char *phrase;
    enum where where;
    const char *rule;
} phrases[] = {
    {"todo:", AT_START, "todo comment"},
    {"todo", ALONE, "todo comment"},
    {"...", AT_START, "ellipsis"},
    {"[...]", AT_START, "ellipsis"},
    {"\xe2\x80\xa6", AT_START, "ellipsis"},
    {"your code", ANYWHERE, "your code here"},
    {"your logic", ANYWHERE, "your code here"},
    {"your implementation", ANYWHERE, "your code here"},
    {"your solution here", ANYWHERE, "your code here"},
    {"add your", AT_START, "your code here"},
    {"write your", AT_START, "your code here"},
    {"insert your", AT_START, "your code here"},
    {"put your", AT_START, "your code here"},
    {"insert code", AT_START, "your code here"},
    {"code goes here", ANYWHERE, "your code here"},
    {"logic goes here", ANYWHERE, "your code here"},
    {"implementation goes here", ANYWHERE, "your code here"},
    {"code here", ALONE, "your code here"},
    {"fill in the", AT_START, "your code here"},
    {"fill this in", ANYWHERE, "your code here"},
    {"implementation here", ANYWHERE, "implement this"},
    {"implement this", AT_START, "implement this"},
    {"implement me", AT_START, "implement this"},
    {"implement here", AT_START, "implement this"},
    {"implement the rest", AT_START, "implement this"},
    {"implement the logic", AT_START, "implement this"},
    {"implement the function", ALONE, "implement this"},
    {"implement the function here", AT_START, "implement this"},
    {"implement the method", ALONE, "implement this"},
    {"implement the method here", AT_START, "implement this"},
    {"implement your", AT_START, "implement this"},
    {"implement logic", AT_START, "implement this"},
    {"implement", ALONE, "implement this"},
    {"to be implemented", ANYWHERE, "implement this"},
    {"not implemented", ANYWHERE, "implement this"},
    {"not yet implemented", ANYWHERE, "implement this"},
    {"needs to be implemented", ANYWHERE, "implement this"},
    {"left as an exercise", ANYWHERE, "implement this"},
    {"omitted for brevity", ANYWHERE, "rest omitted"},
    {"for brevity", ANYWHERE, "rest omitted"},
    {"rest of the code", ANYWHERE, "rest omitted"},
    {"rest of the function", ANYWHERE, "rest omitted"},
    {"rest of the implementation", ANYWHERE, "rest omitted"},
    {"rest of the program", ANYWHERE, "rest omitted"},
    {"rest of the class", ANYWHERE, "rest omitted"},
    {"rest of the file", ANYWHERE, "rest omitted"},
    {"rest of the methods", ANYWHERE, "rest omitted"},
    {"rest of the logic", ANYWHERE, "rest omitted"},
    {"rest of the script", ANYWHERE, "rest omitted"},
    {"rest of your", ANYWHERE, "rest omitted"},
    {"remaining code", ANYWHERE, "rest omitted"},
    {"remaining implementation", ANYWHERE, "rest omitted"},
    {"remaining methods", ANYWHERE, "rest omitted"},
    {"other methods", ALONE, "rest omitted"},
    {"and so on", AT_START, "rest omitted"},
    {"existing code", ANYWHERE, "existing code"},
    {"previous code", ANYWHERE, "existing code"},
    {"code remains the same", ANYWHERE, "existing code"},
    {"remains unchanged", ANYWHERE, "existing code"},
    {"same as before", AT_START, "existing code"},
    {"as before", ALONE, "existing code"},
    {"unchanged", ALONE, "existing code"},
    {"this is a placeholder", ANYWHERE, "placeholder"},
    {"placeholder", AT_START, "placeholder"},
    {"dummy implementation", ANYWHERE, "placeholder"},
    {"replace this with", ANYWHERE, "placeholder"},
    {"replace with your", ANYWHERE, "placeholder"},
    {"replace with actual", ANYWHERE, "placeholder"},
    {"replace with the actual", ANYWHERE, "placeholder"},
};

static bool is_letter(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The beginning of a line without markers, folded; LINE holds N_LINE bytes and a NUL. */
static void fold_line(const char *text, size_t n, char *line, size_t n_line) {
    size_t i = 0, k = 0;
    while (i < n && (isspace((unsigned char)text[i]) || memchr("#/*-!<>;=", text[i], 9))) i++;
    n = trim_end(text, i, n);
    if (n - i >= 2 && memcmp(text + n - 2, "*/", 2) == 0) n = trim_end(text, i, n - 2);
    for (; i < n && k < n_line; i++) {
        bool blank = isspace((unsigned char)text[i]) || text[i] == '\0';
        if (blank && k > 0 && line[k - 1] == ' ') continue;
        line[k++] = blank ? ' ' : (char)tolower((unsigned char)text[i]);
    }
    line[k] = '\0';
}

static bool fits(const char *line, const char *phrase, enum where where) {
    size_t n = strlen(phrase);
    for (const char *at = line; (at = strstr(at, phrase)); at++) {
        if (where != ANYWHERE && at != line) return false;
        // "your code" is not in "your codec"; a phrase that ends in a mark may be followed by any.
        bool whole = (at == line || !is_letter(at[-1])) &&
                     (!is_letter(phrase[n - 1]) || !is_letter(at[n]));
        if (whole && (where != ALONE || strspn(at + n, " .!:)-") == strlen(at + n))) return true;
    }
    return false;
}

/* Whether WORD stands by itself in TEXT; EXACT: in the same case. */
static bool has_word(const char *text, size_t n, const char *word, bool exact) {
    size_t n_word = strlen(word);
    for (size_t i = 0; i + n_word <= n; i++) {
        bool same = exact ? memcmp(text + i, word, n_word) == 0
                          : strncasecmp(text + i, word, n_word) == 0;
        if (same && (i == 0 || !is_letter(text[i - 1])) &&
            (i + n_word == n || !is_letter(text[i + n_word])))
            return true;
    }
    return false;
}

/* Two words in capitals are marks, wherever they stand. */
static bool has_mark(const char *text, size_t n) {
    return has_word(text, n, "TO" "DO", true) || has_word(text, n, "FIX" "ME", true);
}

static const char *comment_rule(const char *text, size_t n) {
    char line[160];
    if (has_mark(text, n)) return "todo comment";
    fold_line(text, n, line, sizeof line - 1);
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++)
        if (fits(line, phrases[i].phrase, phrases[i].where)) return phrases[i].rule;
    return NULL;
}

/* ---- All rules ------------------------------------------------------------------------------- */

struct finder {
    struct reader *reader;
    const struct extract *extract;
    struct reading *out;
    struct syntax reference; // parsed when the first hollow function is seen
    bool has_reference, entry_hollow, failed;
    size_t cap;
    int n_searches;
    struct range *told; // (n_told) of the file, in order: comments that say work is left
    size_t n_told, cap_told;
};

static bool add_told(struct finder *finder, size_t begin, size_t end) {
    void *p = finder->told;
    if (!mem_reserve(&p, &finder->cap_told, finder->n_told + 1, sizeof *finder->told)) {
        finder->failed = true;
        return false;
    }
    finder->told = p;
    finder->told[finder->n_told++] = (struct range){begin, end};
    return true;
}

/* Whether a comment in NODE says that work is left. */
static bool is_told(const struct finder *finder, TSNode node) {
    size_t low = 0, high = finder->n_told;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (finder->told[middle].begin < ts_node_start_byte(node))
            low = middle + 1;
        else
            high = middle;
    }
    return low < finder->n_told && finder->told[low].end <= ts_node_end_byte(node);
}

/* FILE[begin, end), as far as the answer gave it. */
static bool add_placeholder(struct finder *finder, size_t begin, size_t end, const char *rule) {
    struct reading *out = finder->out;
    struct range range;
    if (!assembly_range(&finder->extract->file, begin, end, &range)) return true;
    void *p = out->placeholders;
    if (!mem_reserve(&p, &finder->cap, out->n_placeholders + 1, sizeof *out->placeholders)) {
        finder->failed = true;
        return false;
    }
    out->placeholders = p;
    out->placeholders[out->n_placeholders++] = (struct placeholder){range.begin, range.end, rule};
    return true;
}

static void search_comments(struct finder *finder, const struct comments *comments) {
    const char *text = finder->extract->file.text;
    for (size_t i = 0; i < comments->n; i++) {
        const struct comment *comment = &comments->p[i];
        if (comment->documents) continue;
        for (size_t begin = comment->begin, end; begin < comment->end; begin = end) {
            end = line_end(text, begin, comment->end);
            size_t stop = trim_end(text, begin, end);
            const char *rule = comment_rule(text + begin, end - begin);
            if (rule && !(add_placeholder(finder, begin, stop, rule) &&
                          add_told(finder, begin, stop)))
                return;
        }
    }
}

/* Lines of nothing but dots: in Python a statement, elsewhere no code at all. */
static void search_ellipses(struct finder *finder) {
    const struct assembly *file = &finder->extract->file;
    if (strcmp(finder->reader->task->language, "python") == 0 || finder->out->parses) return;
    for (size_t begin = 0, end; begin < file->n_bytes; begin = end) {
        end = line_end(file->text, begin, file->n_bytes);
        size_t first = skip_blanks(file->text, begin, end), stop = trim_end(file->text, first, end);
        if (stop - first == 3 && (memcmp(file->text + first, "...", 3) == 0 ||
                                  memcmp(file->text + first, "\xe2\x80\xa6", 3) == 0) &&
            !add_placeholder(finder, first, stop, "ellipsis"))
            return;
    }
}

/* A function that also does nothing in the reference is done. */
static bool hollow_in_reference(struct finder *finder, TSNode name) {
    const char *text = finder->reader->task->reference;
    if (!text) return false;
    if (!finder->has_reference)
        syntax_parse(finder->reader->grammar, text, strlen(text), &finder->reader->budget,
                     &finder->reference);
    finder->has_reference = true;
    finder->failed |= finder->reference.failed;
    size_t begin = ts_node_start_byte(name), n = ts_node_end_byte(name) - begin;
    const struct definition *same =
        syntax_find(&finder->reference, finder->extract->file.text + begin, n);
    if (!same) return false;
    TSNode function = syntax_function(finder->reader->grammar, same->node);
    return !ts_node_is_null(function) && !ts_node_is_null(syntax_field(function, "body")) &&
           hollow_rule(&finder->reference, function, false);
}

/* In a class: its members lie between it and the function. */
static bool is_member(const struct syntax_place *place) {
    const struct grammar *grammar = place->syntax->grammar;
    size_t depth = place->depth;
    while (depth > 0 && syntax_role(grammar, place->path[depth - 1]) == ROLE_WRAPPER) depth--;
    return depth > 1 && syntax_role(grammar, place->path[depth - 1]) == ROLE_MEMBERS &&
           syntax_role(grammar, place->path[depth - 2]) == ROLE_CLASS;
}

static bool see_unit(void *user, const struct syntax_place *place) {
    struct finder *finder = user;
    const struct syntax *syntax = place->syntax;
    if (place->role == ROLE_NOTHING && strcmp(ts_node_type(place->node), "ellipsis") == 0 &&
        place->depth > 1 &&
        syntax_role(syntax->grammar, place->path[place->depth - 1]) == ROLE_STATEMENT &&
        ts_node_named_child_count(place->path[place->depth - 2]) > 2)
        return add_placeholder(finder, ts_node_start_byte(place->node),
                               ts_node_end_byte(place->node), "ellipsis");
    if (place->role != ROLE_UNIT && place->role != ROLE_BINDING) return true;
    TSNode function = syntax_function(syntax->grammar, place->node);
    TSNode name = syntax_name(syntax->grammar, place->node);
    if (ts_node_is_null(function) || ts_node_is_null(name)) return true;
    TSNode body = syntax_field(function, "body");
    struct range range;
    if (ts_node_is_null(body) ||
        !assembly_range(&finder->extract->file, ts_node_start_byte(place->node),
                        ts_node_end_byte(place->node), &range))
        return true;
    finder->out->n_units++;
    const char *entry = finder->reader->task->entry;
    bool is_entry = entry && syntax_text_is(syntax, name, entry);
    const char *rule = hollow_rule(syntax, function, is_member(place) && !is_entry);
    bool told = is_told(finder, place->node);
    if (!rule && told && !does_work(syntax, body)) rule = "stub body";
    if (!rule || hollow_in_reference(finder, name) ||
        (!is_entry && may_be_hollow(place, name, told, &finder->n_searches)))
        return !finder->failed;
    finder->out->n_hollow_units++;
    finder->entry_hollow |= is_entry;
    return add_placeholder(finder, ts_node_start_byte(body), ts_node_end_byte(body), rule);
}

/* A file without functions is one unit by itself. */
static void see_script(struct finder *finder) {
    const struct syntax *syntax = &finder->extract->syntax;
    struct reading *out = finder->out;
    if (out->n_units > 0 || !out->has_code || !syntax->tree) return;
    out->n_units = 1;
    if (finder->n_told == 0 || does_work(syntax, ts_tree_root_node(syntax->tree))) return;
    out->n_hollow_units = 1;
}

/* SQL, which has no grammar: what neither reads nor makes any rows, and says that work is left. */
static bool is_sql_stub(const struct finder *finder, const struct comments *comments) {
    static const char *const words[] = {"from", "values", "with", "create", "update"};
    const struct assembly *file = &finder->extract->file;
    if (strcmp(finder->reader->task->language, "sql") != 0 || finder->n_told == 0) return false;
    for (size_t i = 0, begin = 0; i <= comments->n; i++) {
        size_t end = i < comments->n ? comments->p[i].begin : file->n_bytes;
        for (size_t k = 0; k < sizeof words / sizeof words[0]; k++)
            if (has_word(file->text + begin, end - begin, words[k], false)) return false;
        if (i < comments->n) begin = comments->p[i].end;
    }
    return true;
}

static bool see_undefined(void *user, size_t begin, size_t end) {
    return add_placeholder(user, begin, end, "undefined name");
}

static int by_place(const void *a, const void *b) {
    const struct placeholder *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->rule, y->rule);
}

bool placeholders_find(struct reader *reader, const struct extract *extract,
                       const struct comments *comments, struct reading *out) {
    struct finder finder = {.reader = reader, .extract = extract, .out = out};
    const struct syntax *syntax = &extract->syntax;
    search_comments(&finder, comments);
    search_ellipses(&finder);
    if (!finder.failed && !syntax_walk(syntax, see_unit, &finder)) finder.failed = true;
    see_script(&finder);
    if (!finder.failed && syntax->clean && strcmp(reader->task->language, "python") == 0 &&
        !undefined_names(syntax, see_undefined, &finder))
        finder.failed = true;
    out->hollow = finder.entry_hollow || is_sql_stub(&finder, comments) ||
                  (out->n_units > 0 && out->n_hollow_units == out->n_units);
    syntax_free(&finder.reference);
    mem_free(finder.told);
    if (out->n_placeholders > 0)
        qsort(out->placeholders, out->n_placeholders, sizeof *out->placeholders, by_place);
    return !finder.failed;
}
