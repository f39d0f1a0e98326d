/* See fim.h. */
#include "server/fim.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"

/* Prompts are cut in steps of this many tokens, so that a text that grows at its end keeps its
 * beginning, and the cache its worth, for a while. */
enum { CUT_STEP = 256, SUFFIX_LINES = 6, SPARE_TOKENS = 16, SHORT_LINE = 8 };

const char *fim_method_name(enum fim_method method) {
    static const char *const names[] = {"auto", "trained", "instruct", "prefix"};
    return names[method];
}

/* ---- Families -------------------------------------------------------------------------------- */

/* The marks of a family, by the names of their tokens. */
struct family {
    const char *prefix, *suffix, *middle; // MIDDLE "": there is none
    bool suffix_first;
    const char *end; // a mark that ends the answer, beside the end tokens; or NULL
};

static const struct family families[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", false, "<|file_sep|>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", false, "<file_sep>"},
    {"<\xEF\xBD\x9C" "fim\xE2\x96\x81" "begin\xEF\xBD\x9C>",
     "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "hole\xEF\xBD\x9C>",
     "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "end\xEF\xBD\x9C>", false, NULL},
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", false, NULL},
    {"<|prefix|>", "<|suffix|>", "<|middle|>", false, NULL},
    {"<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", true, NULL},
    {"<PRE>", "<SUF>", "<MID>", false, "<EOT>"},
    {"\xE2\x96\x81<PRE>", "\xE2\x96\x81<SUF>", "\xE2\x96\x81<MID>", false, "\xE2\x96\x81<EOT>"},
};
/* Its tokens are in vocabularies of models that were not trained for it too, so it is taken on
 * request only. */
static const struct family mistral = {"[PREFIX]", "[SUFFIX]", "", true, NULL};

enum { N_FAMILIES = sizeof families / sizeof *families };

static int32_t find_token(const struct octet_model *model, const char *name) {
    for (int32_t id = 0; (size_t)id < octet_n_tokens(model); id++) {
        const char *const own = octet_token_name(model, id);
        if (own && strcmp(own, name) == 0) return id;
    }
    return -1;
}

struct marks {
    const struct family *family; // NULL: none
    int32_t prefix, suffix, middle;
};

static bool find_marks(const struct octet_model *model, const struct family *family,
                       struct marks *out) {
    *out = (struct marks){family, find_token(model, family->prefix),
                          find_token(model, family->suffix), -1};
    if (family->middle[0]) out->middle = find_token(model, family->middle);
    return out->prefix >= 0 && out->suffix >= 0 && (out->middle >= 0 || !family->middle[0]);
}

static struct marks marks_of(const struct octet_model *model, bool forced) {
    struct marks marks;
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (find_marks(model, &families[i], &marks)) return marks;
    if (forced && find_marks(model, &mistral, &marks)) return marks;
    return (struct marks){NULL, -1, -1, -1};
}

enum fim_method fim_best_method(const struct octet_model *model) {
    if (marks_of(model, false).family) return FIM_TRAINED;
    return octet_chat_format(model) ? FIM_INSTRUCT : FIM_PREFIX;
}

/* ---- Holes ----------------------------------------------------------------------------------- */

static char *copy_text(const char *text) { return mem_strdup(text, strlen(text)); }

struct hole *hole_new(const char *prefix, const char *suffix) {
    struct hole *const hole = mem_alloc(sizeof *hole);
    if (!hole) return NULL;
    hole->prefix = copy_text(prefix);
    hole->suffix = copy_text(suffix);
    if (hole->prefix && hole->suffix) return hole;
    hole_free(hole);
    return NULL;
}

void hole_free(struct hole *hole) {
    if (!hole) return;
    mem_free(hole->prefix);
    mem_free(hole->suffix);
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

/* ---- Prompts --------------------------------------------------------------------------------- */

struct writer {
    const struct octet_model *model;
    struct octet_tokens *out;
    enum octet_status status;
    struct octet_err *err;
};

static void write_token(struct writer *w, int32_t id) {
    if (w->status == OCTET_OK && id >= 0) w->status = octet_tokens_push(w->out, id);
}

static void write_text(struct writer *w, const char *text, size_t n) {
    if (w->status == OCTET_OK && n > 0)
        w->status = octet_tokenize(w->model, text, n, 0, w->out, w->err);
}

/* How many tokens of N to leave out so that at most MOST stay. */
static size_t n_cut(size_t n, size_t most) {
    if (n <= most) return 0;
    const size_t cut = (n - most + CUT_STEP - 1) / CUT_STEP * CUT_STEP;
    return cut < n ? cut : n;
}

/* TEXT's last, or first, MOST tokens. */
static void write_part(struct writer *w, struct hole *hole, const char *text, size_t most,
                       bool last) {
    struct octet_tokens tokens = {NULL, 0, 0};
    if (w->status == OCTET_OK && text[0])
        w->status = octet_tokenize(w->model, text, strlen(text), 0, &tokens, w->err);
    const size_t cut = last ? n_cut(tokens.n, most) : 0;
    const size_t end = !last && tokens.n > most ? most : tokens.n;
    hole->truncated |= cut > 0 || end < tokens.n;
    for (size_t i = cut; i < end; i++) write_token(w, tokens.ids[i]);
    octet_tokens_free(&tokens);
}

/* Chunks that fit into ROOM tokens, the last ones first to stay, in their order. */
static void write_chunks(struct writer *w, struct hole *hole, size_t room) {
    size_t first = hole->n_chunks, used = 0;
    for (; first > 0; first--) {
        const size_t n = strlen(hole->chunks[first - 1].text) / 2 + 32; // tokens, at most
        if (used + n > room) break;
        used += n;
    }
    hole->truncated |= first > 0;
    for (size_t i = first; i < hole->n_chunks; i++) {
        char head[300];
        const int n = snprintf(head, sizeof head, "%s%.250s\n",
                               hole->chunks[i].name[0] ? "# " : "", hole->chunks[i].name);
        write_text(w, head, (size_t)n);
        write_text(w, hole->chunks[i].text, strlen(hole->chunks[i].text));
        write_text(w, "\n", 1);
    }
}

static size_t room_for_prompt(size_t n_ctx, const struct job *job) {
    const size_t answer = job->max_tokens < 0 ? n_ctx / 4 : (size_t)job->max_tokens;
    const size_t spare = answer + SPARE_TOKENS;
    return n_ctx > 2 * spare ? n_ctx - spare : n_ctx / 2;
}

static void write_bos(struct writer *w) {
    if (w->status == OCTET_OK)
        w->status = octet_tokenize(w->model, "", 0, OCTET_TOKENIZE_BOS, w->out, w->err);
}

/* The prefix but for blanks at its end: words begin with them in most vocabularies, so a model that
 * is shown them alone has seen nothing like it. */
static char *without_blanks(struct hole *hole) {
    size_t n = strlen(hole->prefix), end = n;
    while (end > 0 && (hole->prefix[end - 1] == ' ' || hole->prefix[end - 1] == '\t')) end--;
    hole->n_blanks = n - end;
    return mem_strdup(hole->prefix, end);
}

static void write_trained(struct writer *w, struct hole *hole, const struct marks *marks,
                          size_t room) {
    write_bos(w);
    write_chunks(w, hole, room / 4);
    const size_t left = room - (w->out->n < room / 2 ? w->out->n : room / 2);
    if (marks->family->suffix_first) {
        write_token(w, marks->suffix);
        write_part(w, hole, hole->suffix, left / 4, false);
    }
    write_token(w, marks->prefix);
    write_part(w, hole, hole->prefix, left - left / 4, true);
    if (!marks->family->suffix_first) {
        write_token(w, marks->suffix);
        write_part(w, hole, hole->suffix, left / 4, false);
    }
    write_token(w, marks->middle);
}

/* The last line of a text, from its first byte on. */
static const char *last_line(const char *text) {
    const char *const newline = strrchr(text, '\n');
    return newline ? newline + 1 : text;
}

/* The end of TEXT that has at most MOST bytes, in steps, from a line's beginning on. */
static const char *end_of(const char *text, size_t most, struct hole *hole) {
    const size_t n = strlen(text), cut = n > most ? (n - most + 1023) / 1024 * 1024 : 0;
    if (cut == 0 || cut >= n) return text + (cut ? n : 0);
    hole->truncated = true;
    const char *const newline = strchr(text + cut, '\n');
    return newline ? newline + 1 : text + cut;
}

/* Bytes that surely fit into so many tokens. */
static size_t bytes_for(size_t n_tokens) { return 2 * n_tokens; }

/* The suffix comes first, since it changes less often than what is typed before the hole. */
static void write_instruct(struct writer *w, struct hole *hole, const char *prefix, size_t room) {
    const char *const before = end_of(prefix, bytes_for(room / 2), hole);
    const size_t n_after = strlen(hole->suffix), most_after = bytes_for(room / 8);
    const char *const line = last_line(before);
    struct buffer text = {NULL, 0, 0};
    bool fine = buffer_append_text(&text, "Complete a file of code at its gap.");
    size_t n_chunks = 0;
    for (size_t i = hole->n_chunks; i > 0 && n_chunks < bytes_for(room / 8); i--) {
        n_chunks += strlen(hole->chunks[i - 1].text);
        if (n_chunks > bytes_for(room / 8)) break;
        fine = fine && buffer_append_text(&text, "\n\nAnother file:\n```\n") &&
               buffer_append_text(&text, hole->chunks[i - 1].text) &&
               buffer_append_text(&text, "\n```");
    }
    hole->truncated |= n_after > most_after;
    fine = fine && buffer_append_text(&text, "\n\nAfter the gap comes:\n```\n") &&
           buffer_append(&text, hole->suffix, n_after < most_after ? n_after : most_after) &&
           buffer_append_text(&text, "\n```\n\nBefore the gap comes:\n```\n") &&
           buffer_append_text(&text, before) &&
           buffer_append_text(&text, "\n```\n\nWrite only the code that belongs into the gap.");
    if (!fine) w->status = octet_fail_memory(w->err, "a prompt", text.n);
    const struct octet_message message = {"user", text.bytes};
    if (w->status == OCTET_OK)
        w->status = octet_chat_encode(w->model, NULL, &message, 1, w->out, w->err);
    write_text(w, "```\n", 4);
    write_text(w, line, strlen(line));
    buffer_free(&text);
}

static void write_prefix(struct writer *w, struct hole *hole, const char *prefix, size_t room) {
    write_bos(w);
    write_chunks(w, hole, room / 4);
    const char *line = hole->suffix;
    bool any = false;
    for (int i = 0; i < SUFFIX_LINES && *line; i++) {
        const size_t n = strcspn(line, "\n");
        if (strspn(line, " \t\r") < n) {
            write_text(w, any ? "#   " : "# Further down:\n#   ", any ? 4 : 20);
            write_text(w, line, n < 120 ? n : 120);
            write_text(w, "\n", 1);
            any = true;
        }
        line += n + (line[n] == '\n');
    }
    write_part(w, hole, prefix, room > w->out->n ? room - w->out->n : 1, true);
}

enum octet_status fim_prepare(const struct octet_model *model, struct hole *hole, size_t n_ctx,
                              struct job *job, struct octet_err *err) {
    struct writer w = {model, &job->prompt, OCTET_OK, err};
    const size_t room = room_for_prompt(n_ctx, job);
    if (hole->method == FIM_AUTO) hole->method = fim_best_method(model);
    const struct marks marks = marks_of(model, hole->method == FIM_TRAINED);
    char *const prefix = hole->method == FIM_TRAINED ? NULL : without_blanks(hole);
    if (hole->method != FIM_TRAINED && !prefix) return octet_fail_memory(err, "a prompt", 0);
    switch (hole->method) {
    case FIM_TRAINED:
        if (!marks.family)
            w.status = octet_fail(err, OCTET_EUNSUPPORTED, "the model's vocabulary has no marks "
                                                           "for filling in the middle");
        else
            write_trained(&w, hole, &marks, room);
        if (w.status == OCTET_OK && marks.family->end && !job_add_stop(job, marks.family->end))
            w.status = octet_fail_memory(err, "stops", 0);
        break;
    case FIM_INSTRUCT:
        if (!octet_chat_format(model))
            w.status = octet_fail(err, OCTET_EUNSUPPORTED, "the model has no chat format");
        else if (!job_add_stop(job, "\n```"))
            w.status = octet_fail_memory(err, "stops", 0);
        else
            write_instruct(&w, hole, prefix, room);
        break;
    default:
        write_prefix(&w, hole, prefix, room);
        break;
    }
    mem_free(prefix);
    return w.status;
}

/* ---- Cutting --------------------------------------------------------------------------------- */

/* A line without blanks around it. */
struct line {
    const char *text;
    size_t n;
};

static struct line trimmed(const char *text, size_t n) {
    while (n > 0 && strchr(" \t\r", text[n - 1])) n--;
    size_t begin = 0;
    while (begin < n && strchr(" \t", text[begin])) begin++;
    return (struct line){text + begin, n - begin};
}

/* The first line after the hole's own that is not blank; "" if there is none. */
static struct line next_line(const char *suffix) {
    const char *at = strchr(suffix, '\n');
    while (at) {
        at++;
        const size_t n = strcspn(at, "\n");
        const struct line line = trimmed(at, n);
        if (line.n > 0) return line;
        at = at[n] == '\n' ? at + n : NULL;
    }
    return (struct line){"", 0};
}

static bool is_closer(char c) { return strchr(")]}", c) && c != '\0'; }

/* Brackets that TEXT closes without having opened them. */
static int n_unopened(const char *text, size_t n) {
    int depth = 0, least = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\0' && strchr("([{", text[i])) depth++;
        if (is_closer(text[i])) depth--;
        if (depth < least) least = depth;
    }
    return -least;
}

/* Bytes at the end of TEXT that repeat what comes after the hole on its line: much of it, or
 * closing brackets that the text did not open. */
static size_t overlap(const char *text, size_t n, const char *suffix) {
    const size_t n_line = trimmed(suffix, strcspn(suffix, "\n")).n;
    for (size_t k = n < n_line ? n : n_line; k > 0; k--) {
        if (memcmp(text + n - k, suffix, k) != 0) continue;
        if (k >= 4 || (is_closer(suffix[0]) && n_unopened(text, n) > 0)) return k;
    }
    return 0;
}

static int indent_of(const char *line, size_t n) {
    int indent = 0;
    for (size_t i = 0; i < n && (line[i] == ' ' || line[i] == '\t'); i++)
        indent += line[i] == '\t' ? 4 : 1;
    return indent;
}

/* Whether LINE, not the first one, no longer belongs to the hole. */
static bool ends_hole(const struct hole *hole, const char *line, size_t n,
                      const struct line *next) {
    const struct line own = trimmed(line, n);
    if (own.n == 0) return false;
    const bool begins_alike = own.n >= next->n && memcmp(own.text, next->text, next->n) == 0;
    if (begins_alike && (own.n == next->n ? next->n >= 3 : next->n >= SHORT_LINE)) return true;
    return hole->n_indent > 0 && indent_of(line, n) < hole->n_indent;
}

size_t fim_skip(const struct hole *hole, const char *text, size_t n_bytes) {
    size_t n = 0;
    while (n < n_bytes && n < hole->n_blanks && (text[n] == ' ' || text[n] == '\t')) n++;
    return n;
}

size_t fim_cut(const struct hole *hole, const char *text, size_t n_bytes, bool complete,
               bool *over) {
    const struct line next = next_line(hole->suffix);
    size_t at = 0, end = 0; // of the lines seen to belong to the hole
    while (at < n_bytes) {
        const char *const newline = memchr(text + at, '\n', n_bytes - at);
        const size_t n = newline ? (size_t)(newline - text) - at : n_bytes - at;
        if (at > 0 && (newline || complete) && ends_hole(hole, text + at, n, &next)) {
            *over = true;
            end = at - 1; // without the newline before
            break;
        }
        if (!newline && !complete) break;
        at += n + (newline != NULL);
        end = at;
    }
    if (*over || complete) return end - overlap(text, end, hole->suffix);
    return end > 0 ? end - 1 : 0; // whether a newline stays is known with the next line
}

/* ---- Rescue ---------------------------------------------------------------------------------- */

static struct hole *split(const char *prompt, const char *a, const char *b, const char *c,
                          bool suffix_first) {
    const char *const at_a = strstr(prompt, a), *const at_b = at_a ? strstr(at_a, b) : NULL;
    const char *const at_c = !at_b ? NULL : c[0] ? strstr(at_b, c) : at_b + strlen(at_b);
    if (!at_c) return NULL;
    char *const first = mem_strdup(at_a + strlen(a), (size_t)(at_b - at_a) - strlen(a));
    char *const second = mem_strdup(at_b + strlen(b), (size_t)(at_c - at_b) - strlen(b));
    struct hole *const hole = !first || !second ? NULL
                              : suffix_first    ? hole_new(second, first)
                                                : hole_new(first, second);
    mem_free(first);
    mem_free(second);
    return hole;
}

struct hole *fim_rescue(const char *prompt) {
    struct hole *hole = NULL;
    for (size_t i = 0; i < N_FAMILIES && !hole; i++) {
        const struct family *const f = &families[i];
        hole = split(prompt, f->prefix, f->suffix, f->middle, false);
        if (!hole) hole = split(prompt, f->suffix, f->prefix, f->middle, true);
    }
    return hole ? hole : split(prompt, mistral.suffix, mistral.prefix, "", true);
}
