/* How the numbers came about, so that a reader can doubt them well: settings, models and prices as
 * the store has them, and what was left out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare/report.h"
#include "compare/report_text.h"

enum { MAX_DEPTH = 6, MAX_TEXT = 4000 };

static void value_html(struct report_text *text, const json_t *value, int depth);

/* "input_per_million" reads better as "input per million". */
static void key_html(struct report_text *text, const char *key) {
    for (const char *c = key; *c;) {
        const size_t n = strcspn(c, "_");
        report_html_part(text, c, n, MAX_TEXT);
        c += n;
        if (*c == '_') report_raw(text, " ");
        c += *c == '_';
    }
}

static void object_html(struct report_text *text, const json_t *object, int depth) {
    report_raw(text, "<dl>");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        report_raw(text, "<div><dt>");
        key_html(text, key);
        report_raw(text, "</dt><dd>");
        value_html(text, value, depth + 1);
        report_raw(text, "</dd></div>");
    }
    report_raw(text, "</dl>");
}

static void array_html(struct report_text *text, const json_t *array, int depth) {
    size_t i;
    const json_t *value;
    json_array_foreach(array, i, value) {
        if (i > 0) report_raw(text, json_is_object(value) ? "" : ", ");
        value_html(text, value, depth + 1);
    }
    if (i == 0) report_raw(text, "none");
}

static void text_html(struct report_text *text, const json_t *value) {
    const char *const bytes = json_string_value(value);
    const size_t n_bytes = json_string_length(value);
    const bool lines = memchr(bytes, '\n', n_bytes) != NULL;
    report_raw(text, lines ? "<pre>" : "");
    const size_t shown = report_html_part(text, bytes, n_bytes, MAX_TEXT);
    report_raw(text, lines ? "</pre>" : "");
    if (shown < n_bytes) report_format(text, " (cut, %zu bytes)", n_bytes);
}

static void value_html(struct report_text *text, const json_t *value, int depth) {
    if (!value || depth > MAX_DEPTH) {
        report_raw(text, value ? "(more)" : "-");
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: object_html(text, value, depth); break;
    case JSON_ARRAY: array_html(text, value, depth); break;
    case JSON_STRING: text_html(text, value); break;
    case JSON_INTEGER:
        report_format(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL: report_format(text, "%.9g", json_real_value(value)); break;
    case JSON_TRUE: report_raw(text, "yes"); break;
    case JSON_FALSE: report_raw(text, "no"); break;
    case JSON_NULL: report_raw(text, "-"); break;
    }
}

/* ---- What the answers tell ------------------------------------------------------------------- */

/* The first and last date an answer of the model was asked for. */
static void dates_of(const struct summary *summary, const char *name, const char **first,
                     const char **last) {
    size_t i;
    const json_t *answer;
    *first = *last = "";
    json_array_foreach(json_object_get(summary->document, "answers"), i, answer) {
        const char *const date = summary_text(answer, "date");
        if (!date[0] || strcmp(summary_text(answer, "model"), name) != 0) continue;
        if (!(*first)[0] || strcmp(date, *first) < 0) *first = date;
        if (strcmp(date, *last) > 0) *last = date;
    }
}

static void count_note(struct report_text *text, size_t n, const char *what) {
    if (n > 0) report_format(text, "<li>%s: %zu</li>", what, n);
}

static void model_html(struct report_text *text, const struct summary *summary, size_t i) {
    const struct summary_model *const model = &summary->models[i];
    const char *first, *last;
    dates_of(summary, model->name, &first, &last);
    report_raw(text, "<section class=\"about\"><h3>");
    report_name(text, summary, i);
    report_raw(text, "</h3><ul>");
    report_format(text, "<li>%zu answers", model->n_answers);
    if (first[0]) {
        report_raw(text, ", asked from ");
        report_html(text, first);
        report_raw(text, " to ");
        report_html(text, last);
    }
    report_raw(text, "</li>");
    count_note(text, model->n_errors, "questions without an answer, which count nowhere");
    count_note(text, model->n_unjudged, "answers that are not judged, which count nowhere");
    count_note(text, model->n_estimated, "answers with token counts estimated by octet");
    count_note(text, model->n_unpriced, "answers without a known price");
    count_note(text, model->n_lost, "answers that took attempts that broke off and cost tokens");
    count_note(text, model->n_same_process, "verdicts whose tests shared the code's process");
    count_note(text, model->n_placeholders, "placeholders");
    report_format(text, "<li>times from %zu answers, %zu gaps between pieces: p50 ", model->n_ttft,
                  model->n_gaps);
    report_seconds(text, model->gap_p50);
    report_raw(text, ", p90 ");
    report_seconds(text, model->gap_p90);
    report_raw(text, ", p99 ");
    report_seconds(text, model->gap_p99);
    report_raw(text, "</li></ul>");
    object_html(text, model->info, 0);
    report_raw(text, "</section>\n");
}

/* Which layers of the sandbox were on, and for how many verdicts. */
static void layers_html(struct report_text *text, const struct summary *summary) {
    json_t *const counts = json_object();
    size_t i, k, n = 0;
    const json_t *answer, *layer;
    json_array_foreach(json_object_get(summary->document, "answers"), i, answer) {
        const json_t *const verdict = json_object_get(json_object_get(answer, "judged"), "verdict");
        n += json_is_object(verdict);
        json_array_foreach(json_object_get(verdict, "layers"), k, layer) {
            const char *const name = json_string_value(layer);
            const json_int_t count = json_integer_value(json_object_get(counts, name));
            json_object_set_new(counts, name, json_integer(count + 1));
        }
    }
    report_format(text,
                  "<h3>Sandbox</h3><p>%zu answers were run. Layers that were on, and for how "
                  "many of them:</p>",
                  n);
    if (json_object_size(counts) > 0) {
        object_html(text, counts, 0);
    } else {
        report_raw(text, "<p>none</p>");
    }
    json_decref(counts);
}

static void excluded_html(struct report_text *text, const struct summary *summary) {
    if (summary->n_excluded == 0) return;
    report_raw(text, "<h3>Left out</h3><dl>");
    size_t i;
    const json_t *task;
    json_array_foreach(json_object_get(summary->document, "tasks"), i, task) {
        const char *const why = summary_text(task, "excluded");
        if (!json_is_string(json_object_get(task, "excluded"))) continue;
        report_raw(text, "<div><dt>");
        report_html(text, summary_text(task, "id"));
        report_raw(text, "</dt><dd>");
        report_html_part(text, why, strlen(why), MAX_TEXT);
        report_raw(text, "</dd></div>");
    }
    report_raw(text, "</dl>\n");
}

static void runs_html(struct report_text *text, const struct summary *summary) {
    size_t i;
    const json_t *run;
    json_array_foreach(json_object_get(summary->document, "runs"), i, run) {
        report_raw(text, "<section class=\"about\"><h3>Run ");
        value_html(text, json_object_get(run, "id"), 0);
        report_raw(text, "</h3><dl><div><dt>task set</dt><dd>");
        report_html(text, summary_text(run, "set"));
        report_raw(text, ", version ");
        report_html(text, summary_text(run, "set_version"));
        if (summary_text(run, "license")[0]) report_raw(text, ", ");
        report_html(text, summary_text(run, "license"));
        if (summary_text(run, "source")[0]) report_raw(text, ", ");
        report_html(text, summary_text(run, "source"));
        report_raw(text, "</dd></div><div><dt>started</dt><dd>");
        report_html(text, summary_text(run, "started"));
        if (!json_is_true(json_object_get(run, "finished"))) report_raw(text, ", not finished");
        report_raw(text, "</dd></div></dl>");
        object_html(text, json_object_get(run, "settings"), 0);
        report_raw(text, "</section>\n");
    }
}

static const char definitions[] =
    "<h3>Words</h3><dl class=\"words\">"
    "<div><dt>solved</dt><dd>the first answer to the task passes the base tests; <i>plus</i>: also "
    "the larger set of tests, where there is one</dd></div>"
    "<div><dt>interval of a rate</dt><dd>Wilson, 95 %</dd></div>"
    "<div><dt>pair</dt><dd>exact McNemar test on the tasks that both answered, two-sided; with "
    "several pairs p is corrected by Holm's method, and a difference is one below 0.05</dd></div>"
    "<div><dt>tie group</dt><dd>a leader and those next in rank whose difference to it is not "
    "shown; it does not prove them equal</dd></div>"
    "<div><dt>per solved task</dt><dd>money of all answers, wrong ones included, for each right "
    "one; interval by bootstrap over tasks, 10&#8239;000 draws with a fixed seed</dd></div>"
    "<div><dt>per 1000 tokens</dt><dd>all money by all tokens, sent and received</dd></div>"
    "<div><dt>unpriced</dt><dd>the price of an answer is not known; it is never taken for "
    "0</dd></div>"
    "<div><dt>prose</dt><dd>bytes of the answers around the code</dd></div>"
    "<div><dt>wasted</dt><dd>received tokens times the part of the answer's bytes that is neither "
    "kept code nor a comment in it</dd></div>"
    "<div><dt>hollow</dt><dd>functions that are skeletons, of all functions</dd></div>"
    "<div><dt>first token</dt><dd>from sending the question, waiting and reading it included; "
    "nearest-rank percentiles</dd></div>"
    "<div><dt>tokens/s</dt><dd>received tokens by the time of the whole answer, median over "
    "answers</dd></div></dl>\n";

void report_measured(struct report_text *text, const struct summary *summary) {
    runs_html(text, summary);
    for (size_t i = 0; i < summary->n_models; i++) model_html(text, summary, i);
    layers_html(text, summary);
    excluded_html(text, summary);
    report_raw(text, definitions);
}
