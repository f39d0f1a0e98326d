/* Where code may be in an answer: fences as Markdown has them and as models write them, and lines
 * that look like code where there is no fence. Also the file that is put together from them. */
#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "compare/score_impl.h"

size_t line_end(const char *text, size_t begin, size_t end) {
    const char *newline = begin < end ? memchr(text + begin, '\n', end - begin) : NULL;
    return newline ? (size_t)(newline - text) + 1 : end;
}

size_t skip_blanks(const char *text, size_t begin, size_t end) {
    while (begin < end && (text[begin] == ' ' || text[begin] == '\t')) begin++;
    return begin;
}

size_t trim_end(const char *text, size_t begin, size_t end) {
    while (end > begin && isspace((unsigned char)text[end - 1])) end--;
    return end;
}

/* ---- The file -------------------------------------------------------------------------------- */

void assembly_free(struct assembly *assembly) {
    mem_free(assembly->text);
    mem_free(assembly->pieces);
    *assembly = (struct assembly){.text = NULL};
}

void assembly_add(struct assembly *assembly, const char *bytes, size_t n_bytes) {
    void *p = assembly->text;
    if (assembly->failed || !mem_reserve(&p, &assembly->cap, assembly->n_bytes + n_bytes + 1, 1)) {
        assembly->failed = true;
        return;
    }
    assembly->text = p;
    if (n_bytes > 0) memcpy(assembly->text + assembly->n_bytes, bytes, n_bytes);
    assembly->n_bytes += n_bytes;
    assembly->text[assembly->n_bytes] = '\0';
}

void assembly_take(struct assembly *assembly, const char *answer, size_t begin, size_t end) {
    if (begin >= end) return;
    size_t at = assembly->n_bytes, n = end - begin;
    assembly_add(assembly, answer + begin, n);
    struct piece *last =
        assembly->n_pieces > 0 ? &assembly->pieces[assembly->n_pieces - 1] : NULL;
    if (last && last->at + last->n == at && last->from + last->n == begin) {
        last->n += n;
        return;
    }
    void *p = assembly->pieces;
    if (!mem_reserve(&p, &assembly->cap_pieces, assembly->n_pieces + 1,
                     sizeof *assembly->pieces)) {
        assembly->failed = true;
        return;
    }
    assembly->pieces = p;
    assembly->pieces[assembly->n_pieces++] = (struct piece){at, n, begin};
}

void assembly_take_lines(struct assembly *assembly, const char *answer, struct range range,
                         size_t indent, const char *prefix) {
    for (size_t begin = range.begin, end; begin < range.end; begin = end) {
        end = line_end(answer, begin, range.end);
        size_t from = skip_blanks(answer, begin, end);
        bool blank = trim_end(answer, from, end) == from;
        if (from > begin + indent) from = begin + indent;
        if (!blank) assembly_add(assembly, prefix, strlen(prefix));
        assembly_take(assembly, answer, from, end);
    }
}

void assembly_end_line(struct assembly *assembly) {
    if (assembly->n_bytes > 0 && assembly->text[assembly->n_bytes - 1] != '\n')
        assembly_add(assembly, "\n", 1);
}

size_t assembly_origin(const struct assembly *assembly, size_t at) {
    size_t low = 0, high = assembly->n_pieces;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct piece *piece = &assembly->pieces[middle];
        if (at < piece->at)
            high = middle;
        else if (at >= piece->at + piece->n)
            low = middle + 1;
        else
            return piece->from + (at - piece->at);
    }
    return SIZE_MAX;
}

bool assembly_range(const struct assembly *file, size_t begin, size_t end, struct range *out) {
    *out = (struct range){SIZE_MAX, 0};
    for (size_t i = 0; i < file->n_pieces; i++) {
        const struct piece *piece = &file->pieces[i];
        size_t from = piece->at > begin ? piece->at : begin;
        size_t to = piece->at + piece->n < end ? piece->at + piece->n : end;
        if (from >= to) continue;
        if (out->begin == SIZE_MAX) out->begin = piece->from + (from - piece->at);
        out->end = piece->from + (to - piece->at);
    }
    return out->begin < out->end;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

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
    "select ", "select\n", "with ",  "create ", "insert ",  "update ", "delete ", "pragma ",
    "drop ",   "alter ",   "begin;", "begin ",  "replace ", "--",
};
static const char *const shell_openers[] = {
    "echo ", "cd ", "set -", "awk ", "sed ", "grep ", "find ", "cat ", "sort ", "mkdir ", "local ",
    "printf ", "read ", "case ", "curl ", "tar ", "ls ", "cut ", "head ", "tail ", "wc ", "tr ",
};

static bool opens(const char *line, size_t n, const char *const *words, size_t n_words, bool fold) {
    for (size_t i = 0; i < n_words; i++) {
        size_t n_word = strlen(words[i]);
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

bool line_is_code(const struct reader *reader, size_t begin) {
    const char *text = reader->answer;
    size_t end = line_end(text, begin, reader->n_bytes);
    bool newline = end > begin && text[end - 1] == '\n';
    begin = skip_blanks(text, begin, end);
    const char *line = text + begin;
    size_t n = trim_end(text, begin, end) - begin;
    if (n == 0) return false;
    size_t n_open = n + newline; // "SELECT" alone on its line
    if (strcmp(reader->task->language, "sql") == 0)
        return opens(line, n_open, sql_openers, COUNT(sql_openers), true);
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

/* A line at the margin that people write: words, and the end of a sentence. */
static bool line_is_prose(const struct reader *reader, size_t begin, size_t end) {
    const char *text = reader->answer;
    size_t stop = trim_end(text, begin, end), n_words = 0;
    if (stop == begin || line_is_code(reader, begin)) return false;
    if (text[begin] == '#' || text[begin] == '*' || text[begin] == '-') n_words++;
    else if (!isalpha((unsigned char)text[begin]) && text[begin] > 0) return false;
    for (size_t i = begin; i < stop; i++)
        if (isalpha((unsigned char)text[i]) && (i == begin || text[i - 1] == ' ')) n_words++;
    return n_words >= 4 || (n_words >= 2 && strchr(".:!?", text[stop - 1]));
}

/* ---- Fences ---------------------------------------------------------------------------------- */

static void blocks_add(struct blocks *blocks, struct block block) {
    void *p = blocks->p;
    if (!mem_reserve(&p, &blocks->cap, blocks->n + 1, sizeof *blocks->p)) {
        blocks->failed = true;
        return;
    }
    blocks->p = p;
    blocks->p[blocks->n++] = block;
}

struct fence {
    char mark;     // '`' or '~'; 0: the line is no fence
    size_t length; // of the run of marks
    size_t indent;
    struct range info;
};

static struct fence read_fence(const char *text, size_t begin, size_t end) {
    struct fence fence = {0, 0, 0, {0, 0}};
    size_t i = skip_blanks(text, begin, end), stop = trim_end(text, i, end);
    if (i >= stop || (text[i] != '`' && text[i] != '~')) return fence;
    size_t first = i;
    while (i < stop && text[i] == text[first]) i++;
    if (i - first < 3) return fence;
    size_t info = skip_blanks(text, i, stop);
    // `x` ``` ... ``` on one line is not a fence.
    if (memchr(text + info, text[first], stop - info)) return fence;
    return (struct fence){text[first], i - first, first - begin, {info, stop}};
}

/* "python", "python title=x", "{.python .numberLines}", "python:main.py" */
static enum tag read_tag(const struct reader *reader, struct range info) {
    const char *text = reader->answer;
    size_t begin = info.begin;
    while (begin < info.end && strchr("{. \t", text[begin])) begin++;
    size_t end = begin;
    while (end < info.end && !strchr(" \t,:;{}(=", text[end])) end++;
    if (begin == end) return TAG_NONE;
    const char *language = syntax_language_of_tag(text + begin, end - begin);
    return language && strcmp(language, reader->task->language) == 0 ? TAG_SAME : TAG_OTHER;
}

void blocks_find_fences(const struct reader *reader, struct blocks *out) {
    const char *text = reader->answer;
    struct fence open = {0, 0, 0, {0, 0}};
    size_t n = reader->n_bytes;
    for (size_t begin = 0, end; begin < n && !out->failed; begin = end) {
        end = line_end(text, begin, n);
        struct fence fence = read_fence(text, begin, end);
        if (!fence.mark) continue;
        if (!open.mark) {
            open = fence;
            blocks_add(out, (struct block){{end, n}, fence.indent, TAG_NONE, false});
            if (!out->failed) out->p[out->n - 1].tag = read_tag(reader, fence.info);
        } else if (fence.mark == open.mark && fence.length >= open.length &&
                   fence.info.begin == fence.info.end) {
            out->p[out->n - 1].code.end = begin;
            out->p[out->n - 1].closed = true;
            open.mark = 0;
        }
    }
}

/* ---- Code without fences --------------------------------------------------------------------- */

/* More starts of code than any honest answer has. */
enum { MAX_RUNS = 64, MAX_CUTS = 6 };

/* Where the run that begins RANGE must end earlier: before the statement with the first error. */
static size_t cut_before_error(const struct assembly *file, const struct syntax *syntax,
                               const struct reader *reader, struct range range) {
    size_t error = syntax->first_error, keep = error;
    TSTreeCursor cursor = ts_tree_cursor_new(ts_tree_root_node(syntax->tree));
    for (bool more = ts_tree_cursor_goto_first_child(&cursor); more;
         more = ts_tree_cursor_goto_next_sibling(&cursor)) {
        TSNode node = ts_tree_cursor_current_node(&cursor);
        if (ts_node_start_byte(node) > error) break;
        keep = ts_node_start_byte(node);
    }
    ts_tree_cursor_delete(&cursor);
    if (keep == 0) keep = error;
    size_t from = keep < file->n_bytes ? assembly_origin(file, keep) : range.end;
    if (from == SIZE_MAX || from > range.end) from = range.end;
    while (from > range.begin && reader->answer[from - 1] != '\n') from--;
    return from;
}

/* The first line of RANGE, after its first, that is prose at the margin; range.end if none is. */
static size_t find_prose(const struct reader *reader, struct range range, size_t indent) {
    const char *text = reader->answer;
    size_t end = line_end(text, range.begin, range.end);
    for (size_t begin = end; begin < range.end; begin = end) {
        end = line_end(text, begin, range.end);
        size_t at = skip_blanks(text, begin, end);
        if (at - begin <= indent && line_is_prose(reader, at, end)) return begin;
    }
    return range.end;
}

/* The end of the longest code that begins RANGE; range.begin if there is none. */
static size_t run_end(struct reader *reader, struct range range, size_t indent, bool *failed) {
    if (!reader->grammar) return find_prose(reader, range, indent);
    if (range.end - range.begin > SYNTAX_MAX_BYTES) range.end = range.begin + SYNTAX_MAX_BYTES;
    size_t prose = find_prose(reader, range, indent);
    for (int i = 0; i < MAX_CUTS && range.end > range.begin && !*failed; i++) {
        struct assembly file = {.text = NULL};
        struct syntax syntax;
        assembly_take_lines(&file, reader->answer, range, indent, "");
        syntax_parse(reader->grammar, file.text, file.n_bytes, &reader->budget, &syntax);
        bool clean = syntax.clean;
        *failed |= file.failed || syntax.failed;
        size_t next = range.begin;
        if (!clean && prose < range.end)
            next = prose;
        else if (!clean && syntax.tree)
            next = cut_before_error(&file, &syntax, reader, range);
        syntax_free(&syntax);
        assembly_free(&file);
        if (clean) return range.end;
        if (next >= range.end) break;
        range.end = next;
    }
    return range.begin;
}

void blocks_find_runs(struct reader *reader, struct range range, struct blocks *out) {
    const char *text = reader->answer;
    int n_tries = 0;
    for (size_t begin = range.begin, end; begin < range.end && !out->failed; begin = end) {
        end = line_end(text, begin, range.end);
        if (!line_is_code(reader, begin) || n_tries >= MAX_RUNS) continue;
        n_tries++;
        size_t indent = skip_blanks(text, begin, end) - begin;
        size_t stop = run_end(reader, (struct range){begin, range.end}, indent, &out->failed);
        stop = trim_end(text, begin, stop);
        if (stop <= begin) continue;
        stop = line_end(text, stop, range.end);
        blocks_add(out, (struct block){{begin, stop}, indent, TAG_NONE, true});
        end = stop;
    }
}
