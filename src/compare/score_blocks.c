/* Where code may be in an answer: fences as Markdown has them and as models write them, and lines
 * that look like code where there is no fence. Also the file that is put together from them. */
#include <ctype.h>
#include <stdint.h>
#include <string.h>

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

/* Whether RANGE is a whole file; if it is not, *CUT is where it may have to end earlier. */
static bool is_whole(struct reader *reader, struct range range, size_t indent, size_t *cut,
                     bool *failed) {
    struct assembly file = {.text = NULL};
    struct syntax syntax;
    assembly_take_lines(&file, reader->answer, range, indent, "");
    syntax_parse(reader->grammar, file.text, file.n_bytes, &reader->budget, &syntax);
    bool clean = syntax.clean;
    *failed |= file.failed || syntax.failed;
    *cut = range.begin;
    if (!clean && syntax.tree) *cut = cut_before_error(&file, &syntax, reader, range);
    syntax_free(&syntax);
    assembly_free(&file);
    return clean;
}

/* The end of the longest code that begins RANGE; range.begin if there is none. */
static size_t run_end(struct reader *reader, struct range range, size_t indent, bool *failed) {
    if (strcmp(reader->task->language, "sql") == 0) return sql_end(reader, range);
    if (!reader->grammar) return find_prose(reader, range, indent);
    if (range.end - range.begin > SYNTAX_MAX_BYTES) range.end = range.begin + SYNTAX_MAX_BYTES;
    size_t prose = find_prose(reader, range, indent), cut;
    // In the shell every sentence is a command, so the first that nothing is open before ends it.
    bool shell = strcmp(reader->task->language, "shell") == 0;
    for (int i = 0; i < MAX_CUTS && shell && prose < range.end && !*failed; i++) {
        if (is_whole(reader, (struct range){range.begin, prose}, indent, &cut, failed))
            return prose;
        prose = find_prose(reader, (struct range){prose, range.end}, indent);
    }
    for (int i = 0; i < MAX_CUTS && range.end > range.begin && !*failed; i++) {
        if (is_whole(reader, range, indent, &cut, failed)) return range.end;
        if (prose < range.end) cut = prose;
        if (cut >= range.end) break;
        range.end = cut;
    }
    return range.begin;
}

void blocks_find_runs(struct reader *reader, struct range range, struct blocks *out) {
    const char *text = reader->answer;
    int n_tries = 0;
    size_t head = range.begin; // of the comments right before the line
    for (size_t begin = range.begin, end; begin < range.end && !out->failed; begin = end) {
        end = line_end(text, begin, range.end);
        if (!line_is_code(reader, begin) || n_tries >= MAX_RUNS) {
            if (!line_is_hash_comment(reader, begin)) head = end;
            continue;
        }
        n_tries++;
        size_t indent = skip_blanks(text, begin, end) - begin;
        size_t stop = run_end(reader, (struct range){begin, range.end}, indent, &out->failed);
        stop = trim_end(text, begin, stop);
        if (stop > begin) {
            end = line_end(text, stop, range.end);
            blocks_add(out, (struct block){{head, end}, indent, TAG_NONE, true});
        }
        head = end;
    }
}
