/* An answer's reading: what code there is and how much of everything else. */
#include "compare/score.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/score_impl.h"

/* Parsing an ordinary answer takes a millisecond; only hostile ones come near this. */
#define PARSE_SECONDS 2.0

const char *funnel_name(enum funnel state) {
    static const char *const names[N_FUNNEL] = {
        [FUNNEL_NO_CODE] = "no code",
        [FUNNEL_TRUNCATED] = "truncated",
        [FUNNEL_DOES_NOT_PARSE] = "does not parse",
        [FUNNEL_ENTRY_MISSING] = "entry missing",
        [FUNNEL_HOLLOW] = "hollow",
        [FUNNEL_FAILS] = "fails",
        [FUNNEL_TIMES_OUT] = "times out",
        [FUNNEL_PASSES_BASE] = "passes base",
        [FUNNEL_PASSES_PLUS] = "passes",
    };
    return names[state];
}

bool score_has_grammar(const char *language) { return syntax_grammar(language) != NULL; }

/* ---- Spans ----------------------------------------------------------------------------------- */

/* Lines outside of fences that look like code, or hang below such a line: a run-on that was cut. */
static void mark_dropped_lines(const struct reader *reader, size_t end, uint8_t *kinds) {
    const char *text = reader->answer;
    bool dropped = false;
    for (size_t begin = 0, next; begin < end; begin = next) {
        next = line_end(text, begin, end);
        size_t first = skip_blanks(text, begin, next);
        if (trim_end(text, first, next) == first) continue;
        dropped = line_is_code(reader, begin) || (dropped && first > begin);
        if (dropped) memset(kinds + begin, SPAN_DROPPED, next - begin);
    }
}

static void mark_code(const struct extract *extract, const struct comments *comments,
                      const char *answer, uint8_t *kinds) {
    const struct assembly *file = &extract->file;
    size_t k = 0;
    for (size_t i = 0; i < file->n_pieces; i++) {
        const struct piece *piece = &file->pieces[i];
        // What lies between two pieces of one block is indentation that was taken off.
        if (i > 0) {
            size_t last = file->pieces[i - 1].from + file->pieces[i - 1].n;
            if (last < piece->from && trim_end(answer, last, piece->from) == last)
                memset(kinds + last, SPAN_CODE, piece->from - last);
        }
        memset(kinds + piece->from, SPAN_CODE, piece->n);
        while (k < comments->n && comments->p[k].end <= piece->at) k++;
        for (size_t c = k; c < comments->n && comments->p[c].begin < piece->at + piece->n; c++) {
            size_t begin = comments->p[c].begin, end = comments->p[c].end;
            if (begin < piece->at) begin = piece->at;
            if (end > piece->at + piece->n) end = piece->at + piece->n;
            memset(kinds + piece->from + (begin - piece->at), SPAN_COMMENT, end - begin);
        }
    }
}

static bool is_kept(uint8_t kind) { return kind == SPAN_CODE || kind == SPAN_COMMENT; }

/* What every byte of the answer is. */
static void mark_bytes(const struct reader *reader, const struct extract *extract,
                       const struct comments *comments, uint8_t *kinds) {
    const struct blocks *fences = &extract->fences;
    const struct assembly *file = &extract->file;
    memset(kinds, SPAN_PROSE_BEFORE, reader->n_bytes);
    size_t fenced = fences->n > 0 ? fences->p[0].code.begin : reader->n_bytes;
    if (file->n_pieces > 0 && file->pieces[0].from < fenced)
        mark_dropped_lines(reader, fenced, kinds);
    for (size_t i = 0; i < fences->n; i++) {
        struct range code = fences->p[i].code;
        memset(kinds + code.begin, SPAN_DROPPED, code.end - code.begin);
    }
    mark_code(extract, comments, reader->answer, kinds);
    bool after = false;
    for (size_t i = 0; i < reader->n_bytes; i++) {
        after |= is_kept(kinds[i]);
        if (after && kinds[i] == SPAN_PROSE_BEFORE) kinds[i] = SPAN_PROSE_AFTER;
    }
}

static bool add_span(struct reading *out, size_t *cap, struct span span) {
    void *p = out->spans;
    if (!mem_reserve(&p, cap, out->n_spans + 1, sizeof *out->spans)) return false;
    out->spans = p;
    out->spans[out->n_spans++] = span;
    size_t n = span.end - span.begin;
    switch (span.kind) {
    case SPAN_PROSE_BEFORE: out->prose_before_bytes += n; break;
    case SPAN_PROSE_AFTER: out->prose_after_bytes += n; break;
    case SPAN_CODE: out->code_bytes += n; break;
    case SPAN_COMMENT: out->comment_bytes += n; break;
    case SPAN_DROPPED: out->dropped_bytes += n; break;
    }
    return true;
}

static bool make_spans(const struct reader *reader, const struct extract *extract,
                       const struct comments *comments, struct reading *out) {
    uint8_t *kinds = mem_alloc(reader->n_bytes);
    bool ok = kinds != NULL;
    if (ok) mark_bytes(reader, extract, comments, kinds);
    size_t cap = 0;
    for (size_t begin = 0, end; begin < reader->n_bytes && ok; begin = end) {
        for (end = begin + 1; end < reader->n_bytes && kinds[end] == kinds[begin];) end++;
        ok = add_span(out, &cap, (struct span){begin, end, (enum span_kind)kinds[begin]});
    }
    mem_free(kinds);
    return ok;
}

/* ---- Measures -------------------------------------------------------------------------------- */

/* Bytes that are neither blank nor in a comment: how much a file says, however it is laid out. */
static size_t substance(const char *text, size_t n_bytes, const struct comments *comments) {
    size_t n = 0, k = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        while (k < comments->n && comments->p[k].end <= i) k++;
        bool in_comment = k < comments->n && comments->p[k].begin <= i;
        n += !in_comment && !isspace((unsigned char)text[i]);
    }
    return n;
}

static bool measure_length(struct reader *reader, const struct extract *extract,
                           const struct comments *comments, struct reading *out) {
    const char *reference = reader->task->reference;
    out->length_ratio = NAN;
    if (!reference || !out->has_code) return true;
    struct syntax syntax;
    struct comments own = {.p = NULL};
    size_t n = strlen(reference);
    syntax_parse(reader->grammar, reference, n, &reader->budget, &syntax);
    comments_find(reader->task, &syntax, &own);
    size_t expected = substance(reference, n, &own);
    if (expected > 0)
        out->length_ratio =
            (double)substance(extract->file.text, extract->file.n_bytes, comments) /
            (double)expected;
    bool ok = !own.failed && !syntax.failed;
    mem_free(own.p);
    syntax_free(&syntax);
    return ok;
}

/* Whether the kept code is nothing but comments; a hole may have been one. */
static bool says_nothing(const struct reader *reader, const struct reading *out) {
    if (reader->task->shape == TASK_HOLE) return false;
    for (size_t i = 0; i < out->n_spans; i++) {
        const struct span *span = &out->spans[i];
        if (span->kind == SPAN_CODE &&
            trim_end(reader->answer, span->begin, span->end) > span->begin)
            return false;
    }
    return out->has_code;
}

static bool is_truncated(const struct reader *reader, const struct extract *extract,
                         const char *finish_reason) {
    if (extract->unclosed) return true;
    if (!finish_reason || strcmp(finish_reason, "length") != 0) return false;
    const struct assembly *file = &extract->file;
    if (file->n_pieces == 0) return true;
    const struct piece *last = &file->pieces[file->n_pieces - 1];
    return last->from + last->n >= trim_end(reader->answer, 0, reader->n_bytes);
}

static char *take_text(struct assembly *file) {
    char *text = file->text;
    file->text = NULL;
    return text;
}

static bool fill(struct reader *reader, struct extract *extract, const char *finish_reason,
                 struct reading *out) {
    struct comments comments = {.p = NULL};
    // Without a tree, comments are found in the text.
    extract->syntax.text = extract->file.text;
    extract->syntax.n_bytes = extract->file.n_bytes;
    comments_find(reader->task, &extract->syntax, &comments);
    out->has_code = extract->file.n_pieces > 0;
    out->structure_checked = extract->syntax.tree != NULL;
    out->parses = out->has_code && (extract->syntax.clean || !extract->syntax.tree);
    out->has_entry = out->has_code && extract_has_entry(reader->task, &extract->syntax);
    out->truncated = is_truncated(reader, extract, finish_reason);
    bool failed = comments.failed;
    if (strcmp(reader->task->language, "sql") == 0 && out->has_code)
        out->parses = sql_parses(extract->file.text, extract->file.n_bytes, &failed);
    bool ok = !failed && make_spans(reader, extract, &comments, out) &&
              measure_length(reader, extract, &comments, out) &&
              placeholders_find(reader, extract, &comments, out);
    if (ok && says_nothing(reader, out)) {
        out->hollow = true;
        out->n_hollow_units = out->n_units;
    }
    mem_free(comments.p);
    return ok;
}

enum octet_status score_read(const struct task *task, const char *answer, size_t n_bytes,
                             const char *finish_reason, struct reading *out,
                             struct octet_err *err) {
    *out = (struct reading){.length_ratio = NAN};
    struct reader reader = {task, syntax_grammar(task->language), answer, n_bytes, {PARSE_SECONDS}};
    struct extract extract;
    enum octet_status status = extract_code(&reader, &extract, err);
    if (status != OCTET_OK) return status;
    if (!fill(&reader, &extract, finish_reason, out))
        status = octet_fail_memory(err, "reading of an answer", n_bytes);
    out->lenient = take_text(&extract.file);
    out->strict = take_text(&extract.strict);
    extract_free(&extract);
    if (status != OCTET_OK) score_reading_free(out);
    return status;
}

void score_reading_free(struct reading *reading) {
    mem_free(reading->strict);
    mem_free(reading->lenient);
    mem_free(reading->spans);
    mem_free(reading->placeholders);
    *reading = (struct reading){.length_ratio = NAN};
}
