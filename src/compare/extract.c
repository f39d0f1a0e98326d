/* From an answer to a file that can run. Several ways to read it are tried in a fixed order, from
 * the most to the least literal; the first that parses and defines the entry is taken, else the
 * first that came nearest. */
#include "compare/score_impl.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

/* More blocks or places to cut than any honest answer has. */
enum { MAX_CHOICES = 64, MAX_TRIES = 8 };

/* ---- Candidates ------------------------------------------------------------------------------ */

static bool is_word_byte(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$'; }

/* The first place where WORD stands by itself in TEXT[begin, end), SIZE_MAX if none. */
static size_t find_word(const char *text, size_t begin, size_t end, const char *word, size_t n) {
    while (begin < end) {
        const char *found = memmem(text + begin, end - begin, word, n);
        if (!found) break;
        size_t at = (size_t)(found - text);
        if ((at == 0 || !is_word_byte(text[at - 1])) &&
            (at + n >= end || !is_word_byte(text[at + n])))
            return at;
        begin = at + 1;
    }
    return SIZE_MAX;
}

static bool mentions(const struct syntax *syntax, const struct definition *name) {
    return find_word(syntax->text, 0, syntax->n_bytes, name->name, name->n_name) != SIZE_MAX;
}

/* Whether what the answer gave to FILE calls NAME. */
static bool calls(const struct assembly *file, const struct definition *name) {
    size_t at = file->n_pieces > 0 ? file->pieces[0].at : file->n_bytes, n = file->n_bytes;
    for (; (at = find_word(file->text, at, n, name->name, name->n_name)) != SIZE_MAX; at++)
        if (file->text[at + name->n_name] == '(') return true;
    return false;
}

/* A function of the entry's name, or what may be one: not a constant. */
static const struct definition *find_entry(const struct task *task, const struct syntax *syntax) {
    const struct definition *found = syntax_find(syntax, task->entry, strlen(task->entry));
    if (!found || syntax_role(syntax->grammar, found->node) != ROLE_BINDING) return found;
    TSNode value = syntax_value(found->node);
    enum role role = ts_node_is_null(value) ? ROLE_CONSTANT : syntax_role(syntax->grammar, value);
    bool data = role == ROLE_CONSTANT || role == ROLE_COLLECTION || role == ROLE_STRING;
    return data ? NULL : found;
}

/* Whether the entry is there and does something, as far as one can see. */
static bool is_solid(const struct task *task, const struct syntax *syntax) {
    const struct definition *entry = task->entry && syntax->tree ? find_entry(task, syntax) : NULL;
    if (!entry) return true;
    TSNode function = syntax_function(syntax->grammar, entry->node);
    return ts_node_is_null(function) || ts_node_is_null(syntax_field(function, "body")) ||
           !hollow_rule(syntax, function, false);
}

bool extract_has_entry(const struct task *task, const struct syntax *syntax) {
    if (!task->entry) return true;
    size_t n = strlen(task->entry);
    if (syntax->tree) return find_entry(task, syntax) != NULL;
    return find_word(syntax->text, 0, syntax->n_bytes, task->entry, n) != SIZE_MAX;
}

static bool takes_something(const struct assembly *file) {
    for (size_t i = 0; i < file->n_pieces; i++) {
        const char *begin = file->text + file->pieces[i].at;
        if (trim_end(begin, 0, file->pieces[i].n) > 0) return true;
    }
    return false;
}

struct search {
    struct reader *reader;
    struct extract *out;
    int best; // sum of RANKs; -1: nothing yet
    bool failed;
};
enum { RANK_PARSES = 4, RANK_ENTRY = 2, RANK_SOLID = 1, RANK_BEST = 7 };

/* Takes over FILE. True: no other candidate can be better. */
static bool consider(struct search *search, struct assembly *file) {
    struct reader *reader = search->reader;
    struct syntax syntax = {.grammar = NULL};
    int rank = -1;
    if (!file->failed && (takes_something(file) || reader->task->shape == TASK_HOLE)) {
        syntax_parse(reader->grammar, file->text, file->n_bytes, &reader->budget, &syntax);
        rank = (syntax.clean || !syntax.tree ? RANK_PARSES : 0) +
               (extract_has_entry(reader->task, &syntax) ? RANK_ENTRY : 0) +
               (is_solid(reader->task, &syntax) ? RANK_SOLID : 0);
    }
    search->failed |= file->failed || syntax.failed;
    if (rank > search->best) {
        assembly_free(&search->out->file);
        syntax_free(&search->out->syntax);
        search->out->file = *file;
        search->out->syntax = syntax;
        search->best = rank;
    } else {
        assembly_free(file);
        syntax_free(&syntax);
    }
    return search->best == RANK_BEST || search->failed;
}

/* ---- Choosing among blocks ------------------------------------------------------------------- */

struct choice {
    const struct block *block;
    struct assembly text;
    struct syntax syntax;
    bool kept;
};

static void free_choices(struct choice *choices, size_t n) {
    for (size_t i = 0; i < n; i++) {
        syntax_free(&choices[i].syntax);
        assembly_free(&choices[i].text);
    }
    mem_free(choices);
}

/* Tagged blocks of the task's language if there are any, else untagged ones, else all. */
static size_t open_choices(struct search *search, const struct blocks *blocks,
                           struct choice *choices) {
    struct reader *reader = search->reader;
    enum tag tag = TAG_OTHER;
    size_t n = 0;
    for (size_t i = 0; i < blocks->n; i++) {
        const struct range *code = &blocks->p[i].code;
        if (trim_end(reader->answer, code->begin, code->end) > code->begin &&
            blocks->p[i].tag > tag)
            tag = blocks->p[i].tag;
    }
    for (size_t i = 0; i < blocks->n && n < MAX_CHOICES; i++) {
        const struct block *block = &blocks->p[i];
        if (block->tag != tag) continue;
        struct choice *choice = &choices[n++];
        choice->block = block;
        assembly_take_lines(&choice->text, reader->answer, block->code, block->indent, "");
        assembly_add(&choice->text, "", 0);
        search->failed |= choice->text.failed;
        if (search->failed) continue;
        syntax_parse(reader->grammar, choice->text.text, choice->text.n_bytes, &reader->budget,
                     &choice->syntax);
        search->failed |= choice->syntax.failed;
    }
    return n;
}

/* The first that defines the entry, sooner one that parses; else the longest that parses. */
static struct choice *main_choice(const struct task *task, struct choice *choices, size_t n) {
    struct choice *best = NULL;
    int best_rank = -1;
    for (size_t i = 0; i < n; i++) {
        struct choice *choice = &choices[i];
        bool entry = task->entry && extract_has_entry(task, &choice->syntax);
        int rank = 2 * entry + (choice->syntax.clean && takes_something(&choice->text));
        bool longer = !entry && best && choice->text.n_bytes > best->text.n_bytes;
        if (rank > best_rank || (rank == best_rank && longer)) {
            best = choice;
            best_rank = rank;
        }
    }
    return best;
}

/* Whether CHOICE belongs to what is kept: it defines what that uses (or, in a program, the other
 * way round) and nothing that is defined there. */
static bool belongs(const struct task *task, const struct choice *choice,
                    const struct choice *choices, size_t n) {
    if (!choice->syntax.clean || choice->syntax.n_definitions == 0) return false;
    bool used = false;
    for (size_t i = 0; i < n; i++) {
        const struct syntax *kept = &choices[i].syntax;
        if (!choices[i].kept) continue;
        for (size_t k = 0; k < choice->syntax.n_definitions; k++) {
            const struct definition *own = &choice->syntax.definitions[k];
            if (own->member) continue;
            if (syntax_find(kept, own->name, own->n_name)) return false;
            used |= mentions(kept, own);
        }
        for (size_t k = 0; k < kept->n_definitions && !task->entry && !used; k++)
            used = !kept->definitions[k].member &&
                   mentions(&choice->syntax, &kept->definitions[k]);
    }
    return used;
}

/* The file that the blocks make together, added to FILE; false if there is none. */
static bool join_blocks(struct search *search, const struct blocks *blocks, struct assembly *file,
                        bool *defines_entry) {
    struct reader *reader = search->reader;
    struct choice *choices = mem_array(MAX_CHOICES, sizeof *choices);
    search->failed |= !choices || blocks->failed;
    if (!choices) return false;
    size_t n = search->failed ? 0 : open_choices(search, blocks, choices);
    struct choice *first = search->failed ? NULL : main_choice(reader->task, choices, n);
    *defines_entry = first && reader->task->entry &&
                     extract_has_entry(reader->task, &first->syntax);
    if (first) {
        first->kept = true;
        for (int pass = 0; pass < 2 && (*defines_entry || !reader->task->entry); pass++)
            for (size_t i = 0; i < n; i++)
                choices[i].kept |= !choices[i].kept &&
                                   belongs(reader->task, &choices[i], choices, n);
        for (size_t i = 0; i < n; i++) {
            if (!choices[i].kept) continue;
            assembly_end_line(file);
            assembly_take_lines(file, reader->answer, choices[i].block->code,
                                choices[i].block->indent, "");
        }
    }
    free_choices(choices, n);
    return first != NULL;
}

/* ---- Continuing or repeating the beginning of a file ----------------------------------------- */

/* Where the prompt's unfinished function begins: the last line at the margin that names the entry,
 * or else the last that begins with a letter (a class around it). */
static size_t prompt_head(const struct task *task) {
    const char *text = task->prompt;
    size_t n = strlen(text), named = SIZE_MAX, last = n;
    for (size_t begin = 0, end; begin < n; begin = end) {
        end = line_end(text, begin, n);
        if (!isalpha((unsigned char)text[begin])) continue;
        last = begin;
        if (task->entry &&
            find_word(text, begin, end, task->entry, strlen(task->entry)) != SIZE_MAX)
            named = begin;
    }
    return named != SIZE_MAX ? named : last;
}

/* The prompt's imports and helpers before CODE, without those that CODE defines itself. */
static void add_preamble(struct search *search, struct assembly *file,
                         const struct assembly *code) {
    struct reader *reader = search->reader;
    const char *prompt = reader->task->prompt;
    size_t n = prompt_head(reader->task), from = 0, n_said = trim_end(prompt, 0, n);
    struct syntax before, own;
    if (memmem(code->text, code->n_bytes, prompt, n_said)) return; // all of it is repeated
    syntax_parse(reader->grammar, prompt, n, &reader->budget, &before);
    syntax_parse(reader->grammar, code->text, code->n_bytes, &reader->budget, &own);
    search->failed |= before.failed || own.failed;
    for (size_t i = 0; i < before.n_definitions; i++) {
        const struct definition *helper = &before.definitions[i];
        size_t begin = ts_node_start_byte(helper->item);
        if (helper->member || begin < from || !own.tree ||
            !syntax_find(&own, helper->name, helper->n_name))
            continue;
        assembly_add(file, prompt + from, begin - from);
        from = ts_node_end_byte(helper->item);
    }
    assembly_add(file, prompt + from, n - from);
    assembly_end_line(file);
    syntax_free(&before);
    syntax_free(&own);
}

/* Reads BLOCKS as a whole file that repeats the prompt's function. */
static bool try_repeat(struct search *search, const struct blocks *blocks) {
    struct assembly code = {.text = NULL}, file = {.text = NULL};
    bool entry = false;
    bool joined = join_blocks(search, blocks, &code, &entry);
    search->failed |= code.failed;
    if (joined && entry && !search->failed) {
        add_preamble(search, &file, &code);
        for (size_t i = 0; i < code.n_pieces; i++) {
            const struct piece *piece = &code.pieces[i];
            assembly_take(&file, search->reader->answer, piece->from, piece->from + piece->n);
            // Between two blocks there is a newline that the answer does not have.
            if (i + 1 < code.n_pieces && code.pieces[i + 1].at > piece->at + piece->n)
                assembly_end_line(&file);
        }
    }
    assembly_free(&code);
    return consider(search, &file);
}

/* Adds functions of REST, which follows the kept code, that the file uses but does not define. */
static void add_reachable(struct search *search, struct range rest) {
    struct reader *reader = search->reader;
    struct extract *out = search->out;
    struct blocks runs = {.p = NULL};
    if (!out->syntax.clean) return;
    blocks_find_runs(reader, rest, &runs);
    search->failed |= runs.failed;
    for (size_t i = 0; i < runs.n && !search->failed; i++) {
        struct range code = runs.p[i].code;
        struct assembly file = {.text = NULL};
        struct syntax syntax;
        size_t taken = code.begin;
        syntax_parse(reader->grammar, reader->answer + code.begin, code.end - code.begin,
                     &reader->budget, &syntax);
        for (size_t k = 0; k < syntax.n_definitions && !syntax.failed; k++) {
            const struct definition *found = &syntax.definitions[k];
            size_t begin = code.begin + ts_node_start_byte(found->item);
            if (found->member || begin < taken || !calls(&out->file, found) ||
                syntax_find(&out->syntax, found->name, found->n_name))
                continue;
            taken = code.begin + ts_node_end_byte(found->item);
            assembly_take(&file, reader->answer, begin, taken);
            assembly_add(&file, "\n", 1);
        }
        search->failed |= syntax.failed || file.failed;
        syntax_free(&syntax);
        if (file.n_pieces > 0) {
            assembly_end_line(&out->file);
            for (size_t k = 0; k < file.n_pieces; k++) {
                const struct piece *p = &file.pieces[k];
                assembly_take(&out->file, reader->answer, p->from, p->from + p->n);
                assembly_add(&out->file, "\n", 1);
            }
            syntax_free(&out->syntax);
            syntax_parse(reader->grammar, out->file.text, out->file.n_bytes, &reader->budget,
                         &out->syntax);
            search->failed |= out->file.failed || out->syntax.failed;
        }
        assembly_free(&file);
    }
    mem_free(runs.p);
}

static size_t first_line(const char *text, struct range range) {
    while (range.begin < range.end) {
        size_t end = line_end(text, range.begin, range.end);
        if (trim_end(text, range.begin, end) > range.begin) break;
        range.begin = end;
    }
    return range.begin;
}

/* How a continuation is put after the prompt. */
struct join {
    const char *first_prefix, *prefix; // of its first line, of all others
    const char *ending;
};

static bool try_join(struct search *search, struct range range, const struct join *join) {
    struct reader *reader = search->reader;
    struct assembly file = {.text = NULL};
    size_t first = first_line(reader->answer, range);
    size_t next = line_end(reader->answer, first, range.end);
    assembly_add(&file, reader->task->prompt, strlen(reader->task->prompt));
    if (*join->first_prefix) assembly_end_line(&file);
    assembly_take(&file, reader->answer, range.begin, first);
    assembly_take_lines(&file, reader->answer, (struct range){first, next}, 0, join->first_prefix);
    assembly_take_lines(&file, reader->answer, (struct range){next, range.end}, 0, join->prefix);
    assembly_add(&file, join->ending, strlen(join->ending));
    return consider(search, &file);
}

/* Python: the body ends before a line at the margin. Strings may reach the margin too, so each such
 * line is tried, and the end of the range last. */
static bool try_python_body(struct search *search, struct range range, const struct join *join) {
    const char *text = search->reader->answer;
    size_t begin = line_end(text, first_line(text, range), range.end), end, margin = SIZE_MAX;
    int n_tries = 0;
    for (; begin < range.end && n_tries < MAX_TRIES && !*join->prefix; begin = end) {
        end = line_end(text, begin, range.end);
        if (isspace((unsigned char)text[begin])) continue;
        if (margin == SIZE_MAX) margin = begin; // comments before the next function go with it
        if (text[begin] == '#') continue;
        n_tries++;
        if (try_join(search, (struct range){range.begin, margin}, join)) {
            add_reachable(search, (struct range){margin, range.end});
            return true;
        }
        margin = SIZE_MAX;
    }
    return try_join(search, range, join);
}

/* What base models write once a function is finished. */
static bool begins_something_else(const char *text, struct range line) {
    static const char *const words[] = {"def ",   "class ", "@",      "if __name__", "import ",
                                        "from ",  "print(", "assert", "#",           "```"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strncmp(text + line.begin, words[i], strnlen(words[i], line.end - line.begin)) == 0)
            return true;
    return false;
}

/* A body that lost its indentation as a whole goes on at the margin; this is where it ends: after
 * the last return there, or before something else begins. range.begin: it is no such body. */
static size_t dedented_end(const char *text, struct range range) {
    size_t first = first_line(text, range), returned = range.begin, other = range.end;
    bool open = false, goes_on = false;
    for (size_t begin = first, end; begin < range.end; begin = end) {
        end = line_end(text, begin, range.end);
        bool margin = !isspace((unsigned char)text[begin]);
        if (margin)
            open = strncmp(text + begin, "return", strnlen("return", range.end - begin)) == 0 ||
                   (open && strchr(")]}", text[begin]));
        if (open && begin == first) return range.begin; // nothing that matters follows
        if (open) returned = end;
        if (!margin || begin == first || open) continue;
        if (begins_something_else(text, (struct range){begin, end})) {
            if (other == range.end) other = begin;
        } else if (other == range.end) {
            goes_on = true;
        }
    }
    if (returned > range.begin) return returned;
    return goes_on ? other : range.begin;
}

static bool try_python(struct search *search, struct range range) {
    const char *text = search->reader->answer;
    size_t first = first_line(text, range);
    const struct join as_is = {"", "", ""}, indented = {"    ", "", ""}, all = {"    ", "    ", ""};
    if (first < range.end && isspace((unsigned char)text[first]))
        return try_python_body(search, range, &as_is);
    size_t end = dedented_end(text, range);
    return (end > range.begin && try_join(search, (struct range){range.begin, end}, &all)) ||
           try_python_body(search, range, &indented) || try_join(search, range, &all);
}

/* Languages with braces: the function ends with one at the margin; some models leave it out. */
static bool try_braces(struct search *search, struct range range) {
    const char *text = search->reader->answer;
    static const char *const endings[] = {"", "\n}\n", "\n    }\n}\n"};
    int n_tries = 0;
    for (size_t begin = range.begin, end; begin < range.end && n_tries < MAX_TRIES; begin = end) {
        end = line_end(text, begin, range.end);
        if (text[begin] != '}') continue;
        n_tries++;
        const struct join as_is = {"", "", ""};
        if (try_join(search, (struct range){range.begin, end}, &as_is)) {
            add_reachable(search, (struct range){end, range.end});
            return true;
        }
    }
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (try_join(search, range, &(struct join){"", "", endings[i]})) return true;
    return false;
}

static bool try_continue(struct search *search, struct range range) {
    if (strcmp(search->reader->task->language, "python") == 0) return try_python(search, range);
    return try_braces(search, range);
}

static struct range longest_block(const struct reader *reader, const struct blocks *blocks) {
    struct range found = {0, 0};
    enum tag tag = TAG_OTHER;
    for (size_t i = 0; i < blocks->n; i++) {
        struct range code = blocks->p[i].code;
        if (trim_end(reader->answer, code.begin, code.end) == code.begin) continue;
        if (blocks->p[i].tag < tag) continue;
        if (blocks->p[i].tag > tag || code.end - code.begin > found.end - found.begin)
            found = code;
        tag = blocks->p[i].tag;
    }
    return found;
}

/* ---- The three shapes of tasks --------------------------------------------------------------- */

static void read_text(struct search *search, const struct blocks *blocks) {
    struct assembly file = {.text = NULL};
    bool entry;
    join_blocks(search, blocks, &file, &entry);
    consider(search, &file);
}

/* RAW is the part before any fence; CONTINUES: it begins as the rest of a function does. */
static void read_code(struct search *search, const struct blocks *blocks, struct range raw,
                      bool continues) {
    struct reader *reader = search->reader;
    if (continues && try_continue(search, raw)) return;
    if (blocks->n > 0 && try_repeat(search, blocks)) return;
    struct range body = longest_block(reader, blocks);
    if (search->best < 0 && body.end > body.begin && try_continue(search, body)) return;
    size_t first = first_line(reader->answer, raw);
    if (search->best >= 0 || continues || first == raw.end) return;
    if (line_is_code(reader, first)) {
        try_continue(search, raw);
    } else { // a first line that says nothing of itself: only if the whole is code
        struct search strict = {reader, search->out, RANK_PARSES - 1, search->failed};
        try_continue(&strict, raw);
        search->failed |= strict.failed;
    }
}

/* Where the answer begins to repeat the suffix: at its first line, up to the end of either.
 * WHOLE_LINES: only where a line begins. */
static size_t find_overlap(const char *text, struct range range, const char *suffix,
                           bool whole_lines) {
    size_t n_suffix = trim_end(suffix, 0, strlen(suffix)), line = 0;
    while (line < n_suffix && trim_end(suffix, 0, line) == 0)
        line = line_end(suffix, line, n_suffix);
    line = trim_end(suffix, 0, line);
    size_t end = trim_end(text, range.begin, range.end), begin = range.begin;
    for (int i = 0; i < MAX_CHOICES && line > 0; i++) {
        const char *found = memmem(text + begin, range.end - begin, suffix, line);
        if (!found) break;
        size_t at = (size_t)(found - text), n = 0;
        begin = at + 1;
        if (whole_lines && at > range.begin && text[at - 1] != '\n') continue;
        while (at + n < end && n < n_suffix && text[at + n] == suffix[n]) n++;
        if (at + n == end || (n == n_suffix && text[at + n] == '\n')) return at;
    }
    return range.end;
}

static bool try_hole(struct search *search, struct range range, const char *prefix,
                     const char *ending) {
    struct reader *reader = search->reader;
    struct assembly file = {.text = NULL};
    assembly_add(&file, reader->task->prompt, strlen(reader->task->prompt));
    assembly_add(&file, prefix, strlen(prefix));
    assembly_take(&file, reader->answer, range.begin, range.end);
    assembly_add(&file, ending, strlen(ending));
    assembly_add(&file, reader->task->suffix, strlen(reader->task->suffix));
    return consider(search, &file);
}

/* The blanks that begin the suffix's first line, which the middle's first may have lost. */
static void copy_indent(const char *suffix, char *indent, size_t cap) {
    size_t n_suffix = strlen(suffix), n = skip_blanks(suffix, 0, n_suffix);
    if (n >= cap) n = cap - 1;
    memcpy(indent, suffix, n);
    indent[n] = '\0';
}

enum { MIN_OVERLAP = 8 };

static void read_hole(struct search *search, const struct blocks *blocks, struct range raw) {
    struct reader *reader = search->reader;
    const char *prompt = reader->task->prompt, *suffix = reader->task->suffix;
    struct range body = longest_block(reader, blocks);
    if (body.end == body.begin) body = raw;
    size_t n_prompt = strlen(prompt);
    if (body.end - body.begin > n_prompt && n_prompt > 0 &&
        memcmp(reader->answer + body.begin, prompt, n_prompt) == 0)
        body.begin += n_prompt;
    char indent[64];
    copy_indent(suffix, indent, sizeof indent);
    bool whole_lines = n_prompt > 0 && prompt[n_prompt - 1] == '\n' &&
                       (suffix[0] == ' ' || suffix[0] == '\t' || isalpha((unsigned char)suffix[0]));
    size_t overlap = find_overlap(reader->answer, body, suffix, whole_lines);
    // A suffix of a bracket or two may end the middle as well.
    if (overlap < body.end && trim_end(suffix, 0, strlen(suffix)) < MIN_OVERLAP &&
        try_hole(search, body, "", ""))
        return;
    body.end = overlap;
    // A fence ends with a newline that a hole within a line has not.
    struct range cut = {body.begin, body.end - (blocks->n > 0 && body.end > body.begin)};
    if (!whole_lines && cut.end < body.end && try_hole(search, cut, "", "")) return;
    if (try_hole(search, body, "", "")) return;
    if (whole_lines && try_hole(search, body, "", "\n")) return;
    if (*indent && try_hole(search, body, indent, "")) return;
    if (*indent && whole_lines && try_hole(search, body, indent, "\n")) return;
    if (whole_lines && cut.end < body.end && try_hole(search, cut, "", "")) return;
    cut.end = find_overlap(reader->answer, body, suffix, false);
    if (cut.end < body.end && try_hole(search, cut, "", "")) return;
    // A model that runs on writes lines of its own; the hole often was one.
    size_t line = line_end(reader->answer, first_line(reader->answer, body), body.end);
    if (line < body.end && try_hole(search, (struct range){body.begin, line}, "", "")) return;
    if (blocks->n > 0) try_repeat(search, blocks);
}

/* ---- Strict ---------------------------------------------------------------------------------- */

/* The first fenced block, or all of the answer, as it is. */
static void read_strictly(struct search *search) {
    struct reader *reader = search->reader;
    const struct task *task = reader->task;
    struct assembly *strict = &search->out->strict;
    const struct blocks *fences = &search->out->fences;
    struct range code = fences->n > 0 ? fences->p[0].code : (struct range){0, reader->n_bytes};
    bool entry = false;
    if (task->shape == TASK_CODE) {
        struct syntax syntax;
        syntax_parse(reader->grammar, reader->answer + code.begin, code.end - code.begin,
                     &reader->budget, &syntax);
        entry = task->entry && extract_has_entry(task, &syntax);
        search->failed |= syntax.failed;
        syntax_free(&syntax);
    }
    if (task->shape != TASK_TEXT && !entry)
        assembly_add(strict, task->prompt, strlen(task->prompt));
    assembly_take(strict, reader->answer, code.begin, code.end);
    assembly_add(strict, "", 0);
    if (task->shape == TASK_HOLE) assembly_add(strict, task->suffix, strlen(task->suffix));
    search->failed |= strict->failed;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* Whether the first fence closes a block that the prompt opened: code comes before it. */
static bool starts_in_code(const struct reader *reader, const struct blocks *fences,
                           size_t n_before) {
    size_t first = first_line(reader->answer, (struct range){0, n_before});
    if (first == n_before) return false;
    if (reader->answer[first] == ' ' || reader->answer[first] == '\t') return true;
    return fences->n > 0 && fences->p[0].tag == TAG_NONE && line_is_code(reader, first);
}

/* The beginning of the line that opens the first fence. */
static size_t before_fence(const struct reader *reader, const struct blocks *fences) {
    if (fences->n == 0) return reader->n_bytes;
    size_t at = fences->p[0].code.begin;
    if (at > 0 && reader->answer[at - 1] == '\n') at--; // an opening line at the end has none
    while (at > 0 && reader->answer[at - 1] != '\n') at--;
    return at;
}

static void read_leniently(struct search *search) {
    struct reader *reader = search->reader;
    struct extract *out = search->out;
    struct range raw = {0, before_fence(reader, &out->fences)};
    bool in_code = starts_in_code(reader, &out->fences, raw.end);
    struct blocks runs = {.p = NULL};
    const struct blocks *blocks = &out->fences;
    struct range longest = longest_block(reader, blocks);
    if (in_code || longest.begin == longest.end) {
        blocks_find_runs(reader, raw, &runs);
        search->failed |= runs.failed;
        blocks = &runs;
    }
    if (!search->failed && reader->task->shape == TASK_TEXT)
        read_text(search, blocks);
    else if (!search->failed && reader->task->shape == TASK_CODE)
        read_code(search, blocks, raw, in_code);
    else if (!search->failed)
        read_hole(search, blocks == &runs ? &(struct blocks){.p = NULL} : blocks, raw);
    if (in_code && search->best < 0 && out->fences.n > 0) {
        if (reader->task->shape == TASK_TEXT) read_text(search, &out->fences);
        else if (reader->task->shape == TASK_CODE) read_code(search, &out->fences, raw, false);
    }
    mem_free(runs.p);
}

enum octet_status extract_code(struct reader *reader, struct extract *out, struct octet_err *err) {
    *out = (struct extract){.unclosed = false};
    struct search search = {reader, out, -1, false};
    blocks_find_fences(reader, &out->fences);
    search.failed = out->fences.failed;
    if (!search.failed) read_strictly(&search);
    if (!search.failed) read_leniently(&search);
    assembly_add(&out->file, "", 0); // "" if there is no code
    if (search.failed || out->file.failed) {
        extract_free(out);
        return octet_fail_memory(err, "answer", reader->n_bytes);
    }
    const struct block *last = out->fences.n > 0 ? &out->fences.p[out->fences.n - 1] : NULL;
    const struct piece *end =
        out->file.n_pieces > 0 ? &out->file.pieces[out->file.n_pieces - 1] : NULL;
    out->unclosed = last && end && !last->closed && end->from + end->n > last->code.begin;
    return OCTET_OK;
}

void extract_free(struct extract *extract) {
    syntax_free(&extract->syntax);
    assembly_free(&extract->file);
    assembly_free(&extract->strict);
    mem_free(extract->fences.p);
    *extract = (struct extract){.unclosed = false};
}
