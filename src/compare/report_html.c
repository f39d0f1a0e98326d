/* The page: one file that needs no network, no other file and, to be read, no script. What models
 * wrote is escaped and, should that ever fail, held by a policy that runs only the page's own
 * script and style, named by their hashes. */
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compare/embed.h"
#include "compare/report.h"
#include "compare/report_text.h"

void report_name(struct report_text *text, const struct summary *summary, size_t i) {
    report_format(text, "<b class=\"nm\" data-m=\"%zu\">", i);
    report_html(text, summary->models[i].name);
    report_raw(text, "</b>");
}

/* ---- Frame ----------------------------------------------------------------------------------- */

static size_t length_of(struct embedded file) { return (size_t)(file.end - file.begin); }

static void policy_hash(struct report_text *text, struct embedded file) {
    unsigned char digest[EVP_MAX_MD_SIZE], base64[2 * EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    if (EVP_Digest(file.begin, length_of(file), digest, &n_digest, EVP_sha256(), NULL) != 1) {
        text->failed = true;
        return;
    }
    EVP_EncodeBlock(base64, digest, (int)n_digest);
    report_format(text, "'sha256-%s'", (const char *)base64);
}

static void write_head(struct report_text *text, const struct summary *summary) {
    const json_t *const run = json_array_get(json_object_get(summary->document, "runs"), 0);
    const struct embedded style = embedded_report_style(), script = embedded_report_script();
    report_raw(text, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                     "img-src data:; base-uri 'none'; form-action 'none'; style-src ");
    policy_hash(text, style);
    report_raw(text, "; script-src ");
    policy_hash(text, script);
    report_raw(text, "\">\n<meta name=\"viewport\" content=\"width=device-width, "
                     "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    report_html_part(text, summary_text(run, "set"), strlen(summary_text(run, "set")), 200);
    report_format(text, ": %zu models compared</title>\n<style>", summary->n_models);
    report_bytes(text, style.begin, length_of(style));
    report_raw(text, "</style>\n</head>\n<body data-run=\"");
    report_attribute(text, summary_text(run, "key"));
    report_raw(text, "\">\n");
}

/* "2 models, 164 tasks of humaneval, asked 2023-12-13" */
static void write_verdict(struct report_text *text, const struct summary *summary) {
    const json_t *const runs = json_object_get(summary->document, "runs");
    const json_t *const run = json_array_get(runs, 0);
    report_raw(text, "<header class=\"top\"><p class=\"brand\">octet compare</p>"
                     "<div id=\"tools\"></div></header>\n<main>\n<section id=\"verdict\"><h1>");
    report_html(text, summary->verdict);
    report_format(text, "</h1>\n<p class=\"sub\">%zu model%s &middot; %zu tasks of ",
                  summary->n_models, summary->n_models == 1 ? "" : "s", summary->n_tasks);
    report_html(text, summary_text(run, "set"));
    report_raw(text, " &middot; ");
    const char *const started = summary_text(run, "started");
    report_html_part(text, started, strcspn(started, "T"), 100);
    if (json_array_size(runs) > 1) {
        report_format(text, " &middot; %zu runs put together", json_array_size(runs));
    }
    if (summary->n_samples > 1) {
        report_format(text, " &middot; %zu answers to each task", summary->n_samples);
    }
    report_raw(text, "</p></section>\n");
}

/* ---- Scores ---------------------------------------------------------------------------------- */

static void head_cell(struct report_text *text, const char *title, const char *about) {
    report_format(text, "<th scope=\"col\" title=\"%s\">%s</th>", about, title);
}

static void open_cell(struct report_text *text, const char *label) {
    report_format(text, "<td data-l=\"%s\">", label);
}

static void rate_cell(struct report_text *text, const char *label, size_t solved,
                      const struct summary_model *model, struct stats_interval interval) {
    report_format(text, "<td class=\"rate\" data-l=\"%s\">", label);
    if (model->n_tasks > 0) {
        const double rate = (double)solved / (double)model->n_tasks;
        report_format(text, "<b>%.1f %%</b> <small>%zu / %zu</small>", 100 * rate, solved,
                      model->n_tasks);
        report_interval_bar(text, rate, interval);
        report_format(text, "<small>%.1f to %.1f</small>", 100 * interval.low, 100 * interval.high);
    } else {
        report_raw(text, "-");
    }
    report_raw(text, "</td>");
}

static void money_cells(struct report_text *text, const struct summary_model *model) {
    open_cell(text, "per solved task");
    report_raw(text, "<b>");
    report_money(text, model->per_solved.value, model->currency);
    report_raw(text, "</b>");
    if (isfinite(model->per_solved.low) && isfinite(model->per_solved.high)) {
        report_raw(text, "<br><small>");
        report_money(text, model->per_solved.low, "");
        report_raw(text, " to ");
        report_money(text, model->per_solved.high, "");
        report_raw(text, "</small>");
    }
    report_raw(text, "</td>");
    open_cell(text, "whole run");
    report_money(text, model->cost, model->currency);
    report_raw(text, "</td>");
    open_cell(text, "per 1000 tokens");
    report_money(text, model->cost_per_1000, model->currency);
    report_raw(text, "</td>");
}

static void share_cell(struct report_text *text, const char *label, double share) {
    open_cell(text, label);
    report_percent(text, share);
    report_raw(text, "</td>");
}

static void time_cells(struct report_text *text, const struct summary_model *model) {
    open_cell(text, "first token");
    report_seconds(text, model->ttft_p50);
    report_raw(text, "<br><small>p90 ");
    report_seconds(text, model->ttft_p90);
    report_raw(text, "</small></td>");
    open_cell(text, "tokens/s");
    report_number(text, model->tokens_per_s, 1);
    report_raw(text, "</td>");
}

/* What kind of model it is, in the words of the run. */
static void write_kind(struct report_text *text, const struct summary_model *model) {
    static const char *const keys[] = {"quantization", "kind", "host", "settings"};
    report_raw(text, "<br><small>");
    bool any = false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *const value = summary_text(model->info, keys[i]);
        if (!value[0] || (i == 2 && strcmp(value, summary_text(model->info, "kind")) == 0)) {
            continue;
        }
        if (any) report_raw(text, ", ");
        report_html(text, value);
        any = true;
    }
    report_raw(text, "</small>");
}

static void score_row(struct report_text *text, const struct summary *summary, size_t i) {
    const struct summary_model *const model = &summary->models[i];
    const bool opens = i == 0 || summary->models[i - 1].group != model->group;
    report_format(text, "<tr%s><td class=\"grp\" data-l=\"tie group\">",
                  opens ? " class=\"opens\"" : "");
    report_format(text, opens ? "%zu" : "<span class=\"again\">%zu</span>", model->group + 1);
    report_raw(text, "</td><th scope=\"row\">");
    report_name(text, summary, i);
    write_kind(text, model);
    report_raw(text, "</th>");
    rate_cell(text, "solved", model->solved, model, model->interval);
    if (summary->has_plus) {
        rate_cell(text, "plus tests", model->solved_plus, model, model->interval_plus);
    }
    if (summary->n_samples > 1) {
        share_cell(text, "pass@1", model->pass_1);
        share_cell(text, "pass@k", model->pass_k);
    }
    money_cells(text, model);
    share_cell(text, "prose", model->prose_share);
    share_cell(text, "wasted", model->wasted_share);
    share_cell(text, "hollow", model->hollow_share);
    time_cells(text, model);
    report_raw(text, "</tr>\n");
}

static void write_scores(struct report_text *text, const struct summary *summary) {
    report_raw(text, "<section id=\"scores\"><h2>Scores</h2>\n<div class=\"wide\">"
                     "<table class=\"scores\"><thead><tr>");
    head_cell(text, "Tie", "models of one group cannot be told apart");
    head_cell(text, "Model", "best first");
    head_cell(text, "Solved", "tasks that pass the base tests; 95 % interval");
    if (summary->has_plus) head_cell(text, "Plus tests", "tasks that pass all tests");
    if (summary->n_samples > 1) {
        head_cell(text, "pass@1", "chance that one answer is right");
        report_format(text, "<th scope=\"col\">pass@%zu</th>", summary->n_samples);
    }
    head_cell(text, "Per solved task", "money of all answers for each right one; 95 % interval");
    head_cell(text, "Whole run", "money of all answers");
    head_cell(text, "Per 1000 tokens", "sent and received");
    head_cell(text, "Prose", "part of the answers that is talk");
    head_cell(text, "Wasted", "part of the received tokens that is not kept code");
    head_cell(text, "Hollow", "part of the functions that are skeletons");
    head_cell(text, "First token", "time to it, median");
    head_cell(text, "Tokens/s", "of one answer, median");
    report_raw(text, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < summary->n_models; i++) score_row(text, summary, i);
    report_raw(text, "</tbody></table></div>\n<p class=\"note\">Models with the same number under "
                     "<i>Tie</i> cannot be told apart on these tasks. Bars: rate with its 95 % "
                     "interval.</p></section>\n");
}

/* ---- Pairs ----------------------------------------------------------------------------------- */

static void p_value(struct report_text *text, double p) {
    struct report_text plain = {0};
    report_p(&plain, p); // may hold a '<'
    char *const words = report_take(&plain);
    if (words) report_html(text, words);
    text->failed = text->failed || !words;
    mem_free(words);
}

static void pair_cell(struct report_text *text, const struct summary *summary, size_t i, size_t j) {
    const struct summary_pair *const pair = summary_find_pair(summary, i, j);
    if (!pair || pair->n_tasks == 0) {
        report_raw(text, pair ? "<td>-</td>" : "<td class=\"diag\"></td>");
        return;
    }
    const double sign = i < j ? 1 : -1;
    const bool sure = pair->p_holm < STATS_ALPHA;
    report_format(text, "<td class=\"%s\"><b>%+.1f</b><br><small>%zu : %zu<br>",
                  !sure                  ? "open"
                  : sign * pair->gap > 0 ? "up"
                                         : "down",
                  100 * sign * pair->gap, i < j ? pair->only_a : pair->only_b,
                  i < j ? pair->only_b : pair->only_a);
    p_value(text, pair->p_holm);
    if (pair->priced && isfinite(pair->money.low) && isfinite(pair->money.high)) {
        report_raw(text, sign * pair->money.value > 0 ? "<br>+" : "<br>");
        report_money(text, sign * pair->money.value, summary->models[i].currency);
        report_raw(text, "<br>(");
        report_money(text, i < j ? pair->money.low : -pair->money.high, "");
        report_raw(text, " to ");
        report_money(text, i < j ? pair->money.high : -pair->money.low, "");
        report_raw(text, ")");
    }
    report_raw(text, "</small></td>");
}

static void write_pairs(struct report_text *text, const struct summary *summary) {
    if (summary->n_models < 2) return;
    report_raw(text, "<section id=\"pairs\"><h2>Pair by pair</h2>\n<div class=\"wide\">"
                     "<table class=\"pairs\"><thead><tr><td></td>");
    for (size_t j = 0; j < summary->n_models; j++) {
        report_raw(text, "<th scope=\"col\">");
        report_name(text, summary, j);
        report_raw(text, "</th>");
    }
    report_raw(text, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < summary->n_models; i++) {
        report_raw(text, "<tr><th scope=\"row\">");
        report_name(text, summary, i);
        report_raw(text, "</th>");
        for (size_t j = 0; j < summary->n_models; j++) pair_cell(text, summary, i, j);
        report_raw(text, "</tr>\n");
    }
    report_raw(text, "</tbody></table></div>\n<p class=\"note\">Row against column: points more "
                     "solved; tasks only the row&#8239;:&#8239;only the column solved; p of the "
                     "exact paired test, corrected for the number of pairs; money per solved task "
                     "more or less, with its 95 % interval. Coloured where p &lt; 0.05.</p>"
                     "</section>\n");
}

/* ---- Data ------------------------------------------------------------------------------------ */

static void write_download(struct report_text *text, const char *name, const char *type,
                           char *data) {
    const size_t n = data ? strlen(data) : 0;
    unsigned char *const base64 = n < INT32_MAX / 2 ? mem_alloc(n / 3 * 4 + 8) : NULL;
    if (data && base64) {
        EVP_EncodeBlock(base64, (const unsigned char *)data, (int)n);
        report_format(text, "<a download=\"%s\" href=\"data:%s;base64,", name, type);
        report_raw(text, (const char *)base64);
        report_format(text, "\">%s</a> ", name);
    } else {
        text->failed = true;
    }
    mem_free(base64);
    mem_free(data);
}

static void write_data(struct report_text *text, const struct summary *summary) {
    report_raw(text, "<section id=\"data\"><h2>Data</h2>\n<p class=\"downloads\">");
    write_download(text, "answers.csv", "text/csv", report_csv_rows(summary));
    write_download(text, "summary.json", "application/json", report_json_line(summary));
    report_raw(text, "</p>\n<p class=\"note\">One row per answer, and the numbers of this page. "
                     "<code>octet report --export FILE</code> writes every text as "
                     "well.</p></section>\n");
}

/* ---- The page -------------------------------------------------------------------------------- */

static void open_section(struct report_text *text, const char *id, const char *title) {
    report_format(text, "<section id=\"%s\"><h2>%s</h2>\n", id, title);
}

char *report_page(const struct summary *summary) {
    struct report_text text = {0};
    write_head(&text, summary);
    write_verdict(&text, summary);
    write_scores(&text, summary);
    open_section(&text, "money", "Money and quality");
    report_scatter(&text, summary);
    report_raw(&text, "</section>\n");
    open_section(&text, "funnel", "How far the answers came");
    report_funnel(&text, summary);
    report_raw(&text, "</section>\n");
    write_pairs(&text, summary);
    open_section(&text, "tasks", "Task by task");
    report_tasks(&text, summary);
    report_raw(&text, "</section>\n");
    open_section(&text, "measured", "How this was measured");
    report_measured(&text, summary);
    report_raw(&text, "</section>\n");
    write_data(&text, summary);
    const struct embedded script = embedded_report_script();
    report_raw(&text, "</main>\n<script>");
    report_bytes(&text, script.begin, length_of(script));
    report_raw(&text, "</script>\n</body>\n</html>\n");
    return report_take(&text);
}
