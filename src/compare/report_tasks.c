/* The tasks of the page: a matrix of who solved what, and for each task its answers side by side.
 * What a model wrote is cut where a page of all answers would grow too large. */
#include <math.h>
#include <string.h>

#include "compare/report.h"
#include "compare/report_text.h"

/* Bytes of HTML for all texts of a kind, and the least and most that one text gets. */
struct ration {
    size_t all, least, most;
};
static const struct ration answer_ration = {2600000, 600, 24000};
static const struct ration prompt_ration = {500000, 400, 6000};
static const struct ration output_ration = {500000, 200, 2000};

static size_t ration(const struct ration *ration, size_t n) {
    const size_t each = ration->all / (n > 0 ? n : 1);
    return each < ration->least ? ration->least : each > ration->most ? ration->most : each;
}

static const char *text_of(const json_t *object, const char *key, size_t *n_bytes) {
    const json_t *const value = json_object_get(object, key);
    *n_bytes = json_string_length(value);
    return *n_bytes > 0 ? json_string_value(value) : "";
}

static void say_cut(struct report_text *text, size_t shown, size_t n_bytes) {
    if (shown == n_bytes) return;
    report_format(text,
                  "<p class=\"cut\">Cut: %zu of %zu bytes shown. "
                  "<code>octet report --export FILE</code> writes all.</p>",
                  shown, n_bytes);
}

static void text_block(struct report_text *text, const json_t *object, const char *key,
                       size_t max_bytes) {
    size_t n_bytes;
    const char *const bytes = text_of(object, key, &n_bytes);
    report_raw(text, "<pre>");
    const size_t shown = report_html_part(text, bytes, n_bytes, max_bytes);
    report_raw(text, "</pre>");
    say_cut(text, shown, n_bytes);
}

/* ---- States ---------------------------------------------------------------------------------- */

/* Told by shape, not by colour alone. */
static const char *state_sign(const struct summary_cell *cell) {
    if (!cell->counts) return "&middot;";
    switch (cell->state) {
    case FUNNEL_PASSES_PLUS: return "&#10003;";
    case FUNNEL_PASSES_BASE: return "&#9680;";
    case FUNNEL_TIMES_OUT: return "&#8734;";
    case FUNNEL_FAILS: return "&#10005;";
    case FUNNEL_HOLLOW: return "&#9675;";
    default: return "&#8211;";
    }
}

static void state_chip(struct report_text *text, const struct summary *summary, size_t model,
                       size_t task) {
    const struct summary_cell *const cell = summary_cell(summary, model, task);
    const char *const state = cell->counts ? funnel_name(cell->state) : "not judged";
    report_format(text, "<i class=\"c%s", cell->counts ? "" : " none");
    if (cell->counts) report_format(text, " f%d", (int)cell->state);
    report_raw(text, "\" title=\"");
    report_attribute(text, summary->models[model].name);
    report_format(text, ": %s\">%s", state, state_sign(cell));
    if (cell->n > 1) report_format(text, "<sub>%zu/%zu</sub>", cell->n_solved, cell->n);
    report_raw(text, "</i>");
}

/* For the filters: whether the models that were judged differ, all or none solved it. */
static const char *agreement(const struct summary *summary, size_t task) {
    size_t n = 0, n_solved = 0;
    for (size_t i = 0; i < summary->n_models; i++) {
        const struct summary_cell *const cell = summary_cell(summary, i, task);
        n += cell->counts;
        n_solved += cell->solved;
    }
    if (n == 0) return "nobody";
    return n_solved == 0 ? "nobody" : n_solved == n ? "everyone" : "disagree";
}

static size_t count_agreement(const struct summary *summary, const char *which) {
    size_t n = 0;
    for (size_t i = 0; i < summary->n_tasks; i++) {
        n += strcmp(agreement(summary, i), which) == 0;
    }
    return n;
}

/* ---- One answer ------------------------------------------------------------------------------ */

struct writing {
    struct report_text *text;
    const char *bytes;
    size_t left; // bytes of HTML that may still be written
    size_t shown;
    const json_t *placeholders;
};

/* The first placeholder that ends after AT, or NULL; *BEGIN and *END are its place. */
static const json_t *next_placeholder(const json_t *list, size_t at, size_t *begin, size_t *end) {
    size_t i;
    const json_t *mark;
    json_array_foreach(list, i, mark) {
        *begin = (size_t)json_integer_value(json_array_get(mark, 0));
        *end = (size_t)json_integer_value(json_array_get(mark, 1));
        if (*end > at && *begin < *end) return mark;
    }
    return NULL;
}

/* False: the ration is used up. */
static bool write_plain(struct writing *writing, size_t end) {
    const size_t before = writing->text->buffer.n, n = end - writing->shown;
    const size_t done =
        report_html_part(writing->text, writing->bytes + writing->shown, n, writing->left);
    const size_t used = writing->text->buffer.n - before;
    writing->left -= used < writing->left ? used : writing->left;
    writing->shown += done;
    return done == n;
}

/* Up to END, with placeholders marked. */
static bool write_marked(struct writing *writing, size_t end) {
    while (writing->shown < end) {
        size_t begin = 0, mark_end = 0;
        const json_t *const mark =
            next_placeholder(writing->placeholders, writing->shown, &begin, &mark_end);
        if (!mark || begin >= end) return write_plain(writing, end);
        if (begin > writing->shown && !write_plain(writing, begin)) return false;
        report_raw(writing->text, "<mark title=\"");
        const char *const rule = json_string_value(json_array_get(mark, 2));
        report_attribute(writing->text, rule ? rule : "placeholder");
        report_raw(writing->text, "\">");
        const bool whole = write_plain(writing, mark_end < end ? mark_end : end);
        report_raw(writing->text, "</mark>");
        if (!whole) return false;
    }
    return true;
}

static const char *span_tag(const char *kind) {
    if (strcmp(kind, "comment") == 0) return "<span class=\"cm\">";
    if (strcmp(kind, "dropped") == 0) return "<del>";
    return strncmp(kind, "prose", 5) == 0 ? "<span class=\"pr\">" : NULL;
}

static void write_answer(struct report_text *text, const json_t *answer, size_t max_bytes) {
    const json_t *const judged = json_object_get(answer, "judged");
    size_t n_bytes, i;
    struct writing writing = {.text = text,
                              .bytes = text_of(answer, "text", &n_bytes),
                              .left = max_bytes,
                              .placeholders = json_object_get(judged, "placeholders")};
    const json_t *span;
    bool whole = true;
    report_raw(text, "<pre class=\"ans\">");
    json_array_foreach(json_object_get(judged, "spans"), i, span) {
        const size_t end = (size_t)json_integer_value(json_array_get(span, 1));
        const char *const kind = json_string_value(json_array_get(span, 2));
        if (end <= writing.shown || end > n_bytes || !kind || !whole) continue;
        const char *const tag = span_tag(kind);
        report_raw(text, tag ? tag : "");
        whole = write_marked(&writing, end);
        if (tag) report_raw(text, strcmp(tag, "<del>") == 0 ? "</del>" : "</span>");
    }
    if (whole) write_marked(&writing, n_bytes);
    report_raw(text, "</pre>");
    say_cut(text, writing.shown, n_bytes);
}

static void write_facts(struct report_text *text, const json_t *answer) {
    const json_t *const judged = json_object_get(answer, "judged");
    const json_t *const usage = json_object_get(answer, "usage");
    report_raw(text, "<p class=\"facts\">");
    const double prompt = summary_number(usage, "prompt"),
                 completion = summary_number(usage, "completion"),
                 cached = summary_number(usage, "cached");
    if (isfinite(completion)) {
        report_number(text, prompt, 0);
        report_format(text, " + %.0f tokens%s", completion,
                      json_is_true(json_object_get(usage, "estimated")) ? " (estimated)" : "");
        if (cached > 0) report_format(text, ", %.0f of them cached", cached);
        report_raw(text, " &middot; ");
    }
    report_raw(text, "<span class=\"priv\">");
    report_money(text, summary_number(judged, "cost"), summary_text(judged, "currency"));
    report_raw(text, " &middot; </span>");
    report_seconds(text, summary_number(answer, "total_s"));
    report_raw(text, " &middot; ended: ");
    const char *const reason = summary_text(answer, "finish_reason");
    report_html(text, reason[0] ? reason : "not told");
    report_raw(text, "<span class=\"priv\"> &middot; ");
    report_html(text, summary_text(answer, "date"));
    report_raw(text, "</span></p>");
}

static void write_run(struct report_text *text, const json_t *judged, size_t max_bytes) {
    const json_t *const verdict = json_object_get(judged, "verdict");
    const json_t *const strict = json_object_get(judged, "strict");
    if (!json_is_object(verdict)) return;
    report_raw(text, "<details class=\"run\"><summary>Run: ");
    report_html(text, summary_text(verdict, "base"));
    const char *const plus = summary_text(verdict, "plus");
    if (plus[0]) {
        report_raw(text, ", plus tests: ");
        report_html(text, plus);
    }
    const double tests = summary_number(verdict, "tests");
    if (tests > 0) {
        report_format(text, ", %.0f of %.0f tests", summary_number(verdict, "passed"), tests);
    }
    if (json_is_true(json_object_get(verdict, "same_process"))) {
        report_raw(text, " <b class=\"same\" title=\"the tests shared the process of the code, "
                         "which could have interfered\">same process</b>");
    }
    report_raw(text, "</summary><p class=\"facts\">");
    report_html_part(text, summary_text(verdict, "detail"), strlen(summary_text(verdict, "detail")),
                     600);
    report_raw(text, "</p>");
    if (json_is_object(strict)) {
        report_raw(text, "<p class=\"facts\">Read strictly (first block as it is): ");
        report_html(text, summary_text(strict, "base"));
        report_raw(text, "</p>");
    }
    if (summary_text(verdict, "output")[0]) text_block(text, verdict, "output", max_bytes);
    report_raw(text, "</details>");
}

static void write_model(struct report_text *text, const struct summary *summary, size_t model,
                        size_t task, size_t max_answer, size_t max_output) {
    const struct summary_cell *const cell = summary_cell(summary, model, task);
    const json_t *const answer = cell->first;
    report_format(text, "<article data-m=\"%zu\"><header>", model);
    report_name(text, summary, model);
    report_raw(text, "<span class=\"state\">");
    state_chip(text, summary, model, task);
    report_format(text, "%s</span></header>",
                  cell->counts ? funnel_name(cell->state) : "not judged");
    const char *const error = summary_text(answer, "error");
    if (!answer) {
        report_raw(text, "<p class=\"facts\">There is no answer.</p>");
    } else if (error[0]) {
        report_raw(text, "<p class=\"facts\">No answer: ");
        report_html_part(text, error, strlen(error), 1000);
        report_raw(text, "</p>");
    } else {
        write_answer(text, answer, max_answer);
        write_facts(text, answer);
        write_run(text, json_object_get(answer, "judged"), max_output);
    }
    if (cell->n > 1) {
        report_format(text, "<p class=\"facts\">Shown is the first of %zu answers; %zu pass.</p>",
                      cell->n, cell->n_solved);
    }
    report_raw(text, "</article>\n");
}

/* ---- All tasks ------------------------------------------------------------------------------- */

static void write_task(struct report_text *text, const struct summary *summary, size_t i) {
    const json_t *const task = summary->tasks[i];
    const size_t n_answers = summary->n_models * summary->n_tasks;
    report_format(text, "<details class=\"task %s\"><summary><b>", agreement(summary, i));
    report_html(text, summary_text(task, "id"));
    report_raw(text, "</b><span class=\"chips\">");
    for (size_t k = 0; k < summary->n_models; k++) state_chip(text, summary, k, i);
    report_format(text, "</span></summary><div id=\"t%zu\"><h4>Asked", i);
    const char *const language = summary_text(task, "language");
    if (language[0]) report_raw(text, ", ");
    report_html(text, language);
    report_raw(text, "</h4>");
    text_block(text, task, "prompt", ration(&prompt_ration, summary->n_tasks));
    if (summary_text(task, "suffix")[0]) {
        report_raw(text, "<h4>After the hole</h4>");
        text_block(text, task, "suffix", ration(&prompt_ration, summary->n_tasks));
    }
    report_raw(text, "<div class=\"answers\">\n");
    for (size_t k = 0; k < summary->n_models; k++) {
        write_model(text, summary, k, i, ration(&answer_ration, n_answers),
                    ration(&output_ration, n_answers));
    }
    report_raw(text, "</div></div></details>\n");
}

static void write_filters(struct report_text *text, const struct summary *summary) {
    static const char *const ids[] = {"disagree", "nobody", "everyone"};
    static const char *const labels[] = {"models disagree", "solved by nobody",
                                         "solved by everyone"};
    report_format(text,
                  "<input type=\"radio\" name=\"show\" id=\"show-all\" checked>"
                  "<label for=\"show-all\">all %zu</label>",
                  summary->n_tasks);
    for (size_t i = 0; i < 3; i++) {
        report_format(text,
                      "<input type=\"radio\" name=\"show\" id=\"show-%s\">"
                      "<label for=\"show-%s\">%s %zu</label>",
                      ids[i], ids[i], labels[i], count_agreement(summary, ids[i]));
    }
}

static void write_matrix(struct report_text *text, const struct summary *summary) {
    report_raw(text, "<p class=\"order\">Squares, from left to right: ");
    for (size_t i = 0; i < summary->n_models; i++) {
        if (i > 0) report_raw(text, ", ");
        report_name(text, summary, i);
    }
    report_raw(text, "</p><ol class=\"matrix\">\n");
    for (size_t i = 0; i < summary->n_tasks; i++) {
        report_format(text, "<li class=\"%s\"><a href=\"#t%zu\">", agreement(summary, i), i);
        for (size_t k = 0; k < summary->n_models; k++) state_chip(text, summary, k, i);
        report_raw(text, "<span>");
        report_html(text, summary_text(summary->tasks[i], "id"));
        report_raw(text, "</span></a></li>\n");
    }
    report_raw(text, "</ol>\n");
}

void report_tasks(struct report_text *text, const struct summary *summary) {
    report_raw(text, "<div class=\"tasks\">");
    write_filters(text, summary);
    write_matrix(text, summary);
    report_raw(text, "<p class=\"note legend\">In the answers: <span class=\"pr\">talk around the "
                     "code</span>, <span class=\"cm\">comment</span>, <del>code that was not "
                     "used</del>, <mark>placeholder</mark>, <i class=\"hid\">U+202E</i> character "
                     "that would not be seen.</p>\n<div class=\"list\">\n");
    for (size_t i = 0; i < summary->n_tasks; i++) write_task(text, summary, i);
    report_raw(text, "</div></div>\n");
}
