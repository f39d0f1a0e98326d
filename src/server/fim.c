/* See fim.h. What is generated is cut in fim_cut.c, marks are found in fim_marks.c. */
#include "server/fim.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "server/fim_cut.h"
#include "server/fim_marks.h"

/* Text before a hole is left out in steps of this many tokens, so that a text that grows at its end
 * keeps its beginning, and the cache its worth, for a while. */
enum { CUT_STEP = 256 };
enum { SUFFIX_LINES = 6, SUFFIX_LINE_BYTES = 120, SPARE_TOKENS = 256, CHUNK_TOKENS = 8 };
/* Texts of more bytes per token than this are not even looked at whole. */
enum { DENSEST = 16, CUT_BYTES = 4096, BEGUN_BYTES = 200 };

static const char *const method_names[] = {"auto", "trained", "instruct", "prefix"};

const char *fim_method_name(enum fim_method method) { return method_names[method]; }

bool fim_method_find(const char *name, enum fim_method *out) {
    for (int i = 0; i < N_FIM_METHODS; i++) {
        if (strcmp(name, method_names[i]) != 0) continue;
        *out = (enum fim_method)i;
        return true;
    }
    return false;
}

/* A model that follows instructions: with a chat format of its own, and not the untuned one of a
 * pair, which often has the other's format in its file. */
static bool is_instruct(const struct octet_model *model) {
    const char *const format = octet_chat_format(model);
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    return format && strncmp(format, "phi-2", 5) != 0 && !strcasestr(info.name, "base");
}

static enum fim_method untrained_method(const struct octet_model *model) {
    return is_instruct(model) ? FIM_INSTRUCT : FIM_PREFIX;
}

enum fim_method fim_best_method(const struct octet_model *model) {
    return marks_find(model, false).family ? FIM_TRAINED : untrained_method(model);
}

/* ---- Holes ----------------------------------------------------------------------------------- */

static char *copy_text(const char *text) { return mem_strdup(text, strlen(text)); }

static const char *last_line(const char *text) {
    const char *const newline = strrchr(text, '\n');
    return newline ? newline + 1 : text;
}

struct hole *hole_new(const char *prefix, const char *suffix) {
    struct hole *const hole = mem_alloc(sizeof *hole);
    if (!hole) return NULL;
    hole->n_indent = -1;
    hole->prefix = copy_text(prefix);
    hole->suffix = copy_text(suffix);
    if (!hole->prefix || !hole->suffix) {
        hole_free(hole);
        return NULL;
    }
    hole->line = last_line(hole->prefix);
    hole->whole_lines = !hole->line[0] && suffix[0] && suffix[0] != '\n';
    fim_count_closable(prefix, suffix, hole->closable);
    return hole;
}

void hole_free(struct hole *hole) {
    if (!hole) return;
    mem_free(hole->prefix);
    mem_free(hole->suffix);
    mem_free(hole->name);
    mem_free(hole->language);
    for (size_t i = 0; i < hole->n_chunks; i++) {
        mem_free(hole->chunks[i].name);
        mem_free(hole->chunks[i].text);
    }
    mem_free(hole->chunks);
    mem_free(hole);
}

bool hole_add_chunk(struct hole *hole, const char *name, const char *text) {
    struct chunk *const more =
        mem_realloc(hole->chunks, (hole->n_chunks + 1) * sizeof *hole->chunks);
    if (!more) return false;
    hole->chunks = more;
    more[hole->n_chunks] = (struct chunk){copy_text(name), copy_text(text)};
    if (!more[hole->n_chunks].name || !more[hole->n_chunks].text) {
        mem_free(more[hole->n_chunks].name);
        mem_free(more[hole->n_chunks].text);
        return false;
    }
    hole->n_chunks++;
    return true;
}

static bool set_text(char **to, const char *text) {
    mem_free(*to);
    *to = text ? copy_text(text) : NULL;
    return *to || !text;
}

bool hole_set_file(struct hole *hole, const char *name, const char *language) {
    return set_text(&hole->name, name) && set_text(&hole->language, language);
}

/* ---- Languages ------------------------------------------------------------------------------- */

/* How a line of comment begins, by the language's name or a file's ending. */
static const struct {
    const char *mark, *words; // between blanks
} comments[] = {
    {"#", " python py ruby rb shellscript shell sh bash zsh fish perl pl r yaml yml toml makefile "
          "dockerfile elixir ex exs julia jl nim tcl powershell ps1 cmake "},
    {"//", " c h cpp cc cxx hpp c++ csharp cs java javascript js jsx javascriptreact typescript ts "
           "tsx typescriptreact go rust rs swift kotlin kt scala dart php zig groovy d proto v "},
    {"--", " sql lua haskell hs ada elm vhdl "},
    {";", " lisp clojure clj scheme scm elisp el asm ini "},
    {"%", " tex latex erlang erl matlab prolog "},
};

static const char *comment_for(const char *word) {
    char wanted[40];
    if (!word) return NULL;
    const int n = snprintf(wanted, sizeof wanted, " %s ", word);
    if (n < 3 || n >= (int)sizeof wanted) return NULL;
    for (char *p = wanted; *p; p++) *p = (char)tolower((unsigned char)*p);
    for (size_t i = 0; i < sizeof comments / sizeof *comments; i++)
        if (strstr(comments[i].words, wanted)) return comments[i].mark;
    return NULL;
}

static const char *ending_of(const char *name) {
    const char *const dot = name ? strrchr(name, '.') : NULL;
    return dot ? dot + 1 : NULL;
}

static const char *comment_of(const struct hole *hole) {
    const char *mark = comment_for(hole->language);
    if (!mark) mark = comment_for(ending_of(hole->name));
    if (mark) return mark;
    const bool like_c = strstr(hole->prefix, ";\n") || strstr(hole->prefix, "{\n") ||
                        strstr(hole->suffix, ";\n");
    return like_c ? "//" : "#";
}

/* ---- What fits ------------------------------------------------------------------------------- */

/* The parts of a hole that a prompt has room for. */
struct view {
    const char *before; // the prefix's end, from a line's beginning on
    size_t n_before;
    size_t n_after;     // bytes of the suffix
    size_t first_chunk;
};

struct writer {
    const struct octet_model *model;
    struct octet_tokens *out;
    enum octet_status status;
    struct octet_err *err;
};

/* Bytes that the first N of TOKENS stand for; some vocabularies put a blank before the text. */
static size_t bytes_of(const struct octet_model *model, const struct octet_tokens *tokens,
                       size_t n) {
    size_t n_all = 0;
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t n_bytes = 0;
        if (octet_token_bytes(model, tokens->ids[i], true, &bytes, &n_bytes) == OCTET_OK)
            n_all += n_bytes;
    }
    return n_all;
}

static void tokenize(struct writer *w, const char *text, size_t n, struct octet_tokens *out) {
    if (w->status == OCTET_OK && n > 0)
        w->status = octet_tokenize(w->model, text, n, 0, out, w->err);
}

/* N, rounded up to whole steps. */
static size_t steps(size_t n, size_t step) { return (n + step - 1) / step * step; }

/* How many bytes of TEXT (n) to leave out at its beginning, or else to keep of it, so that at most
 * MOST tokens are left; *N_TOKENS: how many are left. */
static size_t fit_text(struct writer *w, const char *text, size_t n, size_t most, bool at_end,
                       size_t *n_tokens) {
    struct octet_tokens tokens = {NULL, 0, 0};
    const size_t n_most = most * DENSEST;
    const size_t skipped = at_end && n > n_most ? steps(n - n_most, CUT_BYTES) : 0;
    const size_t n_seen = at_end ? n - (skipped < n ? skipped : n) : n < n_most ? n : n_most;
    tokenize(w, text + (n - n_seen) * at_end, n_seen, &tokens);
    *n_tokens = tokens.n;
    size_t cut = at_end ? 0 : n_seen;
    if (tokens.n > most) {
        const size_t over = steps(tokens.n - most, CUT_STEP);
        const size_t at = !at_end ? most : over < tokens.n ? over : tokens.n;
        cut = bytes_of(w->model, &tokens, at);
        if (cut > n_seen) cut = n_seen;
        *n_tokens = at_end ? tokens.n - at : most;
    }
    octet_tokens_free(&tokens);
    return at_end ? n - n_seen + cut : cut;
}

/* The beginning of the line that follows AT, if one does before the last. */
static size_t next_line_at(const char *text, size_t at) {
    const char *const newline = at > 0 ? strchr(text + at, '\n') : NULL;
    return newline ? (size_t)(newline + 1 - text) : at;
}

/* A place to cut in that is no part of a character. */
static size_t whole_characters(const char *text, size_t n) {
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    return n;
}

static struct view fit_hole(struct writer *w, struct hole *hole, size_t n_prefix, size_t room) {
    struct view view = {.first_chunk = hole->n_chunks};
    size_t n, used;
    const size_t n_suffix = strlen(hole->suffix);
    view.n_after = whole_characters(
        hole->suffix, fit_text(w, hole->suffix, n_suffix, room / 4, false, &used));
    const size_t cut = next_line_at(
        hole->prefix, fit_text(w, hole->prefix, n_prefix, room - room / 4, true, &n));
    const size_t begin = cut < n_prefix ? cut : n_prefix;
    view.before = hole->prefix + begin;
    view.n_before = n_prefix - begin;
    used += n;
    while (view.first_chunk > 0) {
        const struct chunk *const chunk = &hole->chunks[view.first_chunk - 1];
        const size_t n_text = strlen(chunk->text);
        if (used >= room || fit_text(w, chunk->text, n_text, room - used, false, &n) < n_text)
            break;
        used += n + strlen(chunk->name) + CHUNK_TOKENS;
        view.first_chunk--;
    }
    hole->truncated = begin > 0 || view.n_after < n_suffix || view.first_chunk > 0;
    return view;
}

static size_t room_for_prompt(size_t n_ctx, const struct job *job) {
    const size_t answer = job->max_tokens < 0 ? n_ctx / 4 : (size_t)job->max_tokens;
    const size_t spare = answer + SPARE_TOKENS;
    return n_ctx > 2 * spare ? n_ctx - spare : n_ctx / 2;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void write_token(struct writer *w, int32_t id) {
    if (w->status == OCTET_OK && id >= 0) w->status = octet_tokens_push(w->out, id);
}

/* TEXT as it is, without the blank that some vocabularies put first: that is written after a
 * newline, whose tokens are then left out. */
static void write_bare(struct writer *w, const struct buffer *text) {
    struct buffer guarded = {NULL, 0, 0};
    struct octet_tokens tokens = {NULL, 0, 0};
    if (text->n == 0 || w->status != OCTET_OK) return;
    if (!buffer_append_text(&guarded, "\n") || !buffer_append(&guarded, text->bytes, text->n))
        w->status = octet_fail_memory(w->err, "a prompt", text->n);
    tokenize(w, guarded.bytes, guarded.n, &tokens);
    const size_t n_all = bytes_of(w->model, &tokens, tokens.n);
    size_t first = 0, n_left = n_all;
    while (first < tokens.n && n_left > text->n)
        n_left = n_all - bytes_of(w->model, &tokens, ++first);
    if (n_left == text->n) {
        for (size_t i = first; i < tokens.n; i++) write_token(w, tokens.ids[i]);
    } else { // the newline is one token with what follows
        tokenize(w, text->bytes, text->n, w->out);
    }
    octet_tokens_free(&tokens);
    buffer_free(&guarded);
}

static void write_bos(struct writer *w) {
    if (w->status == OCTET_OK)
        w->status = octet_tokenize(w->model, "", 0, OCTET_TOKENIZE_BOS, w->out, w->err);
}

/* A text under way; the first failure stays in FINE. */
struct draft {
    struct buffer text;
    bool fine;
};

static void add(struct draft *draft, const char *text) {
    draft->fine = draft->fine && buffer_append_text(&draft->text, text);
}

static void add_bytes(struct draft *draft, const char *text, size_t n) {
    draft->fine = draft->fine && buffer_append(&draft->text, text, n);
}

static void check(struct writer *w, const struct draft *draft) {
    if (!draft->fine && w->status == OCTET_OK)
        w->status = octet_fail_memory(w->err, "a prompt", draft->text.n);
}

static void add_newline(struct draft *draft) {
    const size_t n = draft->text.n;
    if (n > 0 && draft->text.bytes[n - 1] != '\n') add(draft, "\n");
}

/* Chunks as parts of one text, their names in comments. */
static void add_chunks(struct draft *draft, const struct hole *hole, const struct view *view) {
    for (size_t i = view->first_chunk; i < hole->n_chunks; i++) {
        if (hole->chunks[i].name[0]) {
            add(draft, comment_of(hole));
            add(draft, " ");
            add(draft, hole->chunks[i].name);
            add(draft, "\n");
        }
        add(draft, hole->chunks[i].text);
        add_newline(draft);
        add(draft, "\n");
    }
}

static void write_file(struct writer *w, int32_t mark, const char *name, const char *text) {
    struct draft draft = {{NULL, 0, 0}, true};
    add(&draft, name);
    add(&draft, "\n");
    add(&draft, text);
    check(w, &draft);
    write_token(w, mark);
    write_bare(w, &draft.text);
    buffer_free(&draft.text);
}

static void write_trained(struct writer *w, const struct hole *hole, const struct view *view,
                          const struct marks *marks) {
    struct draft before = {{NULL, 0, 0}, true}, after = {{NULL, 0, 0}, true};
    write_bos(w);
    if (marks->file >= 0 && view->first_chunk < hole->n_chunks) {
        for (size_t i = view->first_chunk; i < hole->n_chunks; i++)
            write_file(w, marks->file, hole->chunks[i].name, hole->chunks[i].text);
        write_file(w, marks->file, hole->name ? hole->name : "", "");
    } else {
        add_chunks(&before, hole, view);
    }
    add_bytes(&before, view->before, view->n_before);
    add_bytes(&after, hole->suffix, view->n_after);
    check(w, &before);
    check(w, &after);
    if (marks->family->suffix_first) {
        write_token(w, marks->suffix);
        write_bare(w, &after.text);
    }
    write_token(w, marks->prefix);
    tokenize(w, before.text.bytes, before.text.n, w->out); // first blank included, as trained
    if (!marks->family->suffix_first) {
        write_token(w, marks->suffix);
        write_bare(w, &after.text);
    }
    write_token(w, marks->middle);
    buffer_free(&before.text);
    buffer_free(&after.text);
}

static void add_fenced(struct draft *draft, const struct hole *hole, const char *text, size_t n) {
    add(draft, "\n```");
    add(draft, hole->language ? hole->language : "");
    add(draft, "\n");
    add_bytes(draft, text, n);
    add_newline(draft);
    add(draft, "```\n");
}

/* The suffix comes first, since it changes less often than what is typed before the hole. */
static void write_instruct(struct writer *w, const struct hole *hole, const struct view *view) {
    struct draft ask = {{NULL, 0, 0}, true}, begun = {{NULL, 0, 0}, true};
    for (size_t i = view->first_chunk; i < hole->n_chunks; i++) {
        add(&ask, "From another file, ");
        add(&ask, hole->chunks[i].name[0] ? hole->chunks[i].name : "without name");
        add_fenced(&ask, hole, hole->chunks[i].text, strlen(hole->chunks[i].text));
        add(&ask, "\n");
    }
    add(&ask, "Code is missing in the middle of a file. After the gap it goes on:");
    add_fenced(&ask, hole, hole->suffix, view->n_after);
    add(&ask, "\nBefore the gap there is:");
    add_fenced(&ask, hole, view->before, view->n_before);
    add(&ask, "\nWrite the code that belongs into the gap, and nothing else.");
    add(&begun, "```");
    add(&begun, hole->language ? hole->language : "");
    add(&begun, "\n");
    const size_t n_line = strlen(hole->line) - hole->n_blanks;
    const size_t n_left = n_line > BEGUN_BYTES ? whole_characters(hole->line, n_line - BEGUN_BYTES)
                                               : 0;
    add_bytes(&begun, hole->line + n_left, n_line - n_left);
    check(w, &ask);
    check(w, &begun);
    const struct octet_message message = {"user", ask.text.bytes};
    if (w->status == OCTET_OK)
        w->status = octet_chat_encode(w->model, NULL, &message, 1, w->out, w->err);
    tokenize(w, begun.text.bytes, begun.text.n, w->out);
    buffer_free(&ask.text);
    buffer_free(&begun.text);
}

/* Some lines of what follows the hole, in a comment. */
static void add_outlook(struct draft *draft, const struct hole *hole) {
    const char *const mark = comment_of(hole);
    const char *line = hole->suffix;
    bool any = false;
    for (int i = 0; i < SUFFIX_LINES && *line; i++) {
        const size_t n = strcspn(line, "\n");
        if (strspn(line, " \t\r") < n) {
            if (!any) {
                add(draft, mark);
                add(draft, " Further down:\n");
            }
            any = true;
            add(draft, mark);
            add(draft, " ");
            add_bytes(draft, line,
                      n < SUFFIX_LINE_BYTES ? n : whole_characters(line, SUFFIX_LINE_BYTES));
            add(draft, "\n");
        }
        line += n + (line[n] == '\n');
    }
    if (any) add(draft, "\n");
}

static void write_prefix(struct writer *w, const struct hole *hole, const struct view *view) {
    struct draft draft = {{NULL, 0, 0}, true};
    write_bos(w);
    add_chunks(&draft, hole, view);
    add_outlook(&draft, hole);
    add_bytes(&draft, view->before, view->n_before);
    check(w, &draft);
    tokenize(w, draft.text.bytes, draft.text.n, w->out);
    if (w->status == OCTET_OK && w->out->n == 0) write_token(w, octet_token_eos(w->model));
    buffer_free(&draft.text);
}

/* ---- Choosing -------------------------------------------------------------------------------- */

/* The prefix's bytes but for blanks at its end: words begin with them in most vocabularies, so a
 * model that is shown them alone has seen nothing like it. */
static size_t without_blanks(const char *text) {
    size_t n = strlen(text);
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t')) n--;
    return n;
}

static enum octet_status prepare_trained(struct writer *w, const struct hole *hole,
                                         const struct view *view, const struct marks *marks,
                                         struct job *job) {
    if (!marks->family)
        return octet_fail(w->err, OCTET_EUNSUPPORTED,
                          "the model's vocabulary has no marks for filling in the middle");
    for (size_t i = 0; i < marks->n_ends; i++) job_add_end(job, marks->ends[i]);
    write_trained(w, hole, view, marks);
    return w->status;
}

static enum octet_status prepare_instruct(struct writer *w, const struct hole *hole,
                                          const struct view *view, struct job *job) {
    if (!octet_chat_format(w->model))
        return octet_fail(w->err, OCTET_EUNSUPPORTED, "the model has no chat format");
    if (!job_add_stop(job, "```"))
        return octet_fail(w->err, OCTET_EARG, "'stop' holds too many");
    write_instruct(w, hole, view);
    return w->status;
}

enum octet_status fim_prepare(const struct octet_model *model, struct hole *hole, size_t n_ctx,
                              struct job *job, struct octet_err *err) {
    struct writer w = {model, &job->prompt, OCTET_OK, err};
    struct marks marks = {0};
    if (hole->method == FIM_AUTO || hole->method == FIM_TRAINED)
        marks = marks_find(model, hole->method == FIM_TRAINED);
    if (hole->method == FIM_AUTO)
        hole->method = marks.family ? FIM_TRAINED : untrained_method(model);
    const size_t n_all = strlen(hole->prefix);
    const size_t n_prefix = hole->method == FIM_TRAINED ? n_all : without_blanks(hole->prefix);
    hole->n_blanks = n_all - n_prefix;
    const struct view view = fit_hole(&w, hole, n_prefix, room_for_prompt(n_ctx, job));
    if (w.status != OCTET_OK) return w.status;
    switch (hole->method) {
    case FIM_TRAINED: return prepare_trained(&w, hole, &view, &marks, job);
    case FIM_INSTRUCT: return prepare_instruct(&w, hole, &view, job);
    default: write_prefix(&w, hole, &view); return w.status;
    }
}

/* ---- Rescue ---------------------------------------------------------------------------------- */

/* A file that stands before the marks: its path, then its text. */
static bool add_file(struct hole *hole, const char *text, size_t n) {
    const char *const newline = memchr(text, '\n', n);
    if (!newline) return true;
    char *const name = mem_strdup(text, (size_t)(newline - text));
    char *const rest = mem_strdup(newline + 1, n - (size_t)(newline + 1 - text));
    const bool fine = name && rest && (!rest[0] || hole_add_chunk(hole, name, rest));
    mem_free(name);
    mem_free(rest);
    return fine;
}

/* What comes before the marks: files, if they are marked as such. */
static bool add_files(struct hole *hole, const char *text, size_t n) {
    size_t n_mark;
    size_t at = marks_next_file(text, n, &n_mark);
    while (at < n) {
        text += at + n_mark;
        n -= at + n_mark;
        at = marks_next_file(text, n, &n_mark);
        if (!add_file(hole, text, at)) return false;
    }
    return true;
}

struct hole *fim_rescue(const struct octet_model *model, const char *prompt) {
    const struct marked m = marks_split(prompt);
    if (!m.family || (model && marks_find(model, false).family == m.family)) return NULL;
    struct buffer prefix = {NULL, 0, 0};
    char *const suffix = mem_strdup(m.suffix, m.n_suffix);
    struct hole *hole = NULL;
    if (suffix && buffer_append(&prefix, m.prefix, m.n_prefix) &&
        buffer_append_text(&prefix, m.begun))
        hole = hole_new(prefix.bytes, suffix);
    if (hole && !add_files(hole, prompt, m.n_before)) {
        hole_free(hole);
        hole = NULL;
    }
    buffer_free(&prefix);
    mem_free(suffix);
    return hole;
}
