/* Reports for people without a browser: the table on the terminal, and Markdown. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compare/report.h"
#include "compare/report_text.h"
#include "compare/visible.h"

/* ---- Columns that both have ------------------------------------------------------------------ */

static void cell_solved(struct report_text *text, const struct summary_model *model) {
    report_format(text, "%zu/%zu", model->solved, model->n_tasks);
}

static void cell_rate(struct report_text *text, size_t solved, const struct summary_model *model,
                      struct stats_interval interval) {
    if (model->n_tasks == 0) {
        report_raw(text, "-");
        return;
    }
    report_format(text, "%.1f %% (%.1f-%.1f)", 100 * (double)solved / (double)model->n_tasks,
                  100 * interval.low, 100 * interval.high);
}

static void cell_base(struct report_text *text, const struct summary_model *model) {
    cell_rate(text, model->solved, model, model->interval);
}

static void cell_plus(struct report_text *text, const struct summary_model *model) {
    cell_rate(text, model->solved_plus, model, model->interval_plus);
}

static void cell_pass_k(struct report_text *text, const struct summary_model *model) {
    report_percent(text, model->pass_k);
}

static void cell_cost(struct report_text *text, const struct summary_model *model) {
    report_money(text, model->cost, model->currency);
}

static void cell_per_solved(struct report_text *text, const struct summary_model *model) {
    report_money(text, model->per_solved.value, model->currency);
    if (!isfinite(model->per_solved.low) || !isfinite(model->per_solved.high)) return;
    report_raw(text, " (");
    report_money(text, model->per_solved.low, "");
    report_raw(text, "-");
    report_money(text, model->per_solved.high, "");
    report_raw(text, ")");
}

static void cell_wasted(struct report_text *text, const struct summary_model *model) {
    report_percent(text, model->wasted_share);
}

static void cell_hollow(struct report_text *text, const struct summary_model *model) {
    report_percent(text, model->hollow_share);
}

static void cell_ttft(struct report_text *text, const struct summary_model *model) {
    report_seconds(text, model->ttft_p50);
}

static void cell_speed(struct report_text *text, const struct summary_model *model) {
    report_number(text, model->tokens_per_s, 1);
}

struct column {
    const char *title;
    void (*write)(struct report_text *text, const struct summary_model *model);
};

static const struct column columns[] = {
    {"solved", cell_solved},  {"rate (95 %)", cell_base}, {"plus tests", cell_plus},
    {"pass@k", cell_pass_k},  {"cost", cell_cost},        {"per solved", cell_per_solved},
    {"wasted", cell_wasted},  {"hollow", cell_hollow},    {"first token", cell_ttft},
    {"tokens/s", cell_speed},
};

enum { N_COLUMNS = sizeof columns / sizeof columns[0] };

static bool is_shown(const struct summary *summary, size_t column) {
    if (columns[column].write == cell_plus) return summary->has_plus;
    if (columns[column].write == cell_pass_k) return summary->n_samples > 1;
    return true;
}

/* ---- Terminal -------------------------------------------------------------------------------- */

static char *take_cell(const struct column *column, const struct summary_model *model) {
    struct report_text cell = {0};
    column->write(&cell, model);
    return report_take(&cell);
}

static void pad(struct report_text *text, size_t used, size_t width) {
    for (; used < width; used++) report_raw(text, " ");
}

static size_t column_width(const struct summary *summary, size_t column) {
    size_t width = strlen(columns[column].title);
    for (size_t i = 0; i < summary->n_models; i++) {
        char *const cell = take_cell(&columns[column], &summary->models[i]);
        if (cell && strlen(cell) > width) width = strlen(cell);
        mem_free(cell);
    }
    return width;
}

static char *take_name(const struct summary_model *model) {
    struct report_text name = {0};
    report_line(&name, model->name);
    return report_take(&name);
}

static void table_row(struct report_text *text, const struct summary *summary, size_t i,
                      size_t name_width, const size_t *widths) {
    const struct summary_model *const model = &summary->models[i];
    char *const name = take_name(model);
    if (!name) text->failed = true;
    const bool same_group = i > 0 && summary->models[i - 1].group == model->group;
    report_format(text, same_group ? "   " : "%2zu ", model->group + 1);
    report_raw(text, name ? name : "");
    pad(text, name ? visible_columns(name) : 0, name_width);
    mem_free(name);
    for (size_t k = 0; k < N_COLUMNS; k++) {
        if (!is_shown(summary, k)) continue;
        char *const cell = take_cell(&columns[k], model);
        if (!cell) text->failed = true;
        pad(text, cell ? strlen(cell) : 0, widths[k] + 2);
        report_raw(text, cell ? cell : "");
        mem_free(cell);
    }
    report_raw(text, "\n");
}

static void table_notes(struct report_text *text, const struct summary *summary) {
    for (size_t i = 0; i < summary->n_models; i++) {
        const struct summary_model *const model = &summary->models[i];
        if (model->n_errors + model->n_unjudged == 0) continue;
        report_raw(text, "   ");
        report_line(text, model->name);
        report_format(text, ": %zu questions without an answer, %zu answers not judged\n",
                      model->n_errors, model->n_unjudged);
    }
    if (summary->n_excluded > 0) {
        report_format(text, "   %zu tasks of the set are known to be wrong and left out\n",
                      summary->n_excluded);
    }
}

char *report_table(const struct summary *summary, bool colours) {
    struct report_text text = {0};
    size_t widths[N_COLUMNS], name_width = strlen("model");
    for (size_t k = 0; k < N_COLUMNS; k++) widths[k] = column_width(summary, k);
    for (size_t i = 0; i < summary->n_models; i++) {
        char *const name = take_name(&summary->models[i]);
        if (name && visible_columns(name) > name_width) name_width = visible_columns(name);
        mem_free(name);
    }
    report_raw(&text, colours ? "\033[2m   model" : "   model");
    pad(&text, strlen("model"), name_width);
    for (size_t k = 0; k < N_COLUMNS; k++) {
        if (!is_shown(summary, k)) continue;
        pad(&text, strlen(columns[k].title), widths[k] + 2);
        report_raw(&text, columns[k].title);
    }
    report_raw(&text, colours ? "\033[0m\n" : "\n");
    for (size_t i = 0; i < summary->n_models; i++) {
        table_row(&text, summary, i, name_width, widths);
    }
    table_notes(&text, summary);
    report_raw(&text, colours ? "\n\033[1m" : "\n");
    report_line(&text, summary->verdict);
    report_raw(&text, colours ? "\033[0m\n" : "\n");
    return report_take(&text);
}

/* ---- Markdown -------------------------------------------------------------------------------- */

static void markdown_models(struct report_text *text, const struct summary *summary) {
    report_raw(text, "| tie group | model |");
    for (size_t k = 0; k < N_COLUMNS; k++) {
        if (is_shown(summary, k)) report_format(text, " %s |", columns[k].title);
    }
    report_raw(text, "\n|---|---|");
    for (size_t k = 0; k < N_COLUMNS; k++) {
        if (is_shown(summary, k)) report_raw(text, "---:|");
    }
    for (size_t i = 0; i < summary->n_models; i++) {
        report_format(text, "\n| %zu | ", summary->models[i].group + 1);
        report_markdown(text, summary->models[i].name);
        report_raw(text, " |");
        for (size_t k = 0; k < N_COLUMNS; k++) {
            if (!is_shown(summary, k)) continue;
            report_raw(text, " ");
            columns[k].write(text, &summary->models[i]);
            report_raw(text, " |");
        }
    }
    report_raw(text, "\n");
}

static void markdown_funnel(struct report_text *text, const struct summary *summary) {
    report_raw(text, "\n## How far the answers came\n\n| model |");
    for (int k = 0; k < N_FUNNEL; k++) report_format(text, " %s |", funnel_name((enum funnel)k));
    report_raw(text, "\n|---|");
    for (int k = 0; k < N_FUNNEL; k++) report_raw(text, "---:|");
    for (size_t i = 0; i < summary->n_models; i++) {
        report_raw(text, "\n| ");
        report_markdown(text, summary->models[i].name);
        report_raw(text, " |");
        for (int k = 0; k < N_FUNNEL; k++) {
            report_format(text, " %zu |", summary->models[i].funnel[k]);
        }
    }
    report_raw(text, "\n");
}

static void markdown_pairs(struct report_text *text, const struct summary *summary) {
    if (summary->n_pairs == 0) return;
    report_raw(text,
               "\n## Pairs\n\nExact McNemar test on the tasks both answered, corrected for "
               "the number of pairs (Holm).\n\n| A | B | gap, points | only A | only B | "
               "p | A's money per solved task less B's |\n|---|---|---:|---:|---:|---:|---:|");
    for (size_t i = 0; i < summary->n_pairs; i++) {
        const struct summary_pair *const pair = &summary->pairs[i];
        report_raw(text, "\n| ");
        report_markdown(text, summary->models[pair->a].name);
        report_raw(text, " | ");
        report_markdown(text, summary->models[pair->b].name);
        report_format(text, " | %+.1f | %zu | %zu | ", 100 * pair->gap, pair->only_a, pair->only_b);
        report_format(text, pair->p_holm < 0.001 ? "< 0.001 | " : "%.3f | ", pair->p_holm);
        if (pair->priced) {
            report_money(text, pair->money.value, summary->models[pair->a].currency);
        } else {
            report_raw(text, "-");
        }
        report_raw(text, " |");
    }
    report_raw(text, "\n");
}

char *report_markdown_summary(const struct summary *summary) {
    struct report_text text = {0};
    const json_t *const run = json_array_get(json_object_get(summary->document, "runs"), 0);
    report_raw(&text, "# ");
    report_markdown(&text, summary_text(run, "set"));
    report_format(&text, ": %zu models on %zu tasks\n\n**", summary->n_models, summary->n_tasks);
    report_markdown(&text, summary->verdict);
    report_raw(&text, "**\n\n");
    markdown_models(&text, summary);
    markdown_funnel(&text, summary);
    markdown_pairs(&text, summary);
    report_raw(&text, "\nStarted ");
    report_markdown(&text, summary_text(run, "started"));
    report_raw(&text, ", set version ");
    report_markdown(&text, summary_text(run, "set_version"));
    report_raw(&text, ". Models of one tie group cannot be told apart.\n");
    return report_take(&text);
}
