/* The drawings of the page, as SVG whose colours come from the style sheet: bars with intervals,
 * the scatter of money against tasks solved, and the funnel. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compare/report.h"
#include "compare/report_text.h"

void report_interval_bar(struct report_text *text, double value, struct stats_interval interval) {
    if (!isfinite(value)) return;
    report_format(text,
                  "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" "
                  "aria-hidden=\"true\"><rect class=\"track\" width=\"100\" height=\"8\"/>"
                  "<rect class=\"fill\" width=\"%.2f\" height=\"8\"/>"
                  "<rect class=\"iv\" x=\"%.2f\" y=\"2.5\" width=\"%.2f\" height=\"3\"/>"
                  "<rect class=\"tick\" x=\"%.2f\" width=\".8\" height=\"8\"/></svg>",
                  100 * value, 100 * interval.low, 100 * (interval.high - interval.low),
                  100 * value - 0.4);
}

/* ---- Scatter --------------------------------------------------------------------------------- */

enum { WIDTH = 760, HEIGHT = 380, LEFT = 64, RIGHT = 24, TOP = 20, BOTTOM = 52 };

struct plot {
    double low, high; // log10 of money at the left and right edge
    double floor;     // rate at the lower edge: 0, 0.25, 0.5 or 0.75
    const char *currency;
    size_t *models; // (n) that are on it, cheapest first
    size_t n;
};

static double x_of(const struct plot *plot, double money) {
    const double part = (log10(money) - plot->low) / (plot->high - plot->low);
    return LEFT + fmin(fmax(part, 0), 1) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct plot *plot, double rate) {
    return HEIGHT - BOTTOM - (rate - plot->floor) / (1 - plot->floor) * (HEIGHT - TOP - BOTTOM);
}

static double rate_of(const struct summary_model *model) {
    return (double)model->solved / (double)model->n_tasks;
}

static bool has_place(const struct summary_model *model, const char *currency) {
    return model->n_tasks > 0 && model->currency[0] && model->per_solved.value > 0 &&
           isfinite(model->per_solved.value) &&
           (!currency || strcmp(model->currency, currency) == 0);
}

static bool make_plot(const struct summary *summary, struct plot *plot) {
    *plot = (struct plot){.low = INFINITY, .high = -INFINITY, .floor = 0.75};
    plot->models = mem_array(summary->n_models + 1, sizeof *plot->models);
    if (!plot->models) return false;
    for (size_t i = 0; i < summary->n_models; i++) {
        const struct summary_model *const model = &summary->models[i];
        if (!has_place(model, plot->currency)) continue;
        plot->currency = model->currency;
        const struct stats_estimate *const e = &model->per_solved;
        const double least = e->low > 0 ? e->low : e->value;
        const double most = isfinite(e->high) ? e->high : e->value;
        plot->low = fmin(plot->low, log10(least));
        plot->high = fmax(plot->high, log10(most));
        plot->floor = fmin(plot->floor, floor(4 * model->interval.low) / 4);
        size_t at = plot->n++;
        for (; at > 0 && summary->models[plot->models[at - 1]].per_solved.value > e->value; at--) {
            plot->models[at] = plot->models[at - 1];
        }
        plot->models[at] = i;
    }
    plot->low = floor(plot->low - 0.05);
    plot->high = ceil(plot->high + 0.05);
    return true;
}

static void draw_axes(struct report_text *text, const struct plot *plot) {
    const double step = (1 - plot->floor) / 5;
    for (int i = 0; i <= 5; i++) {
        const double rate = plot->floor + i * step, y = y_of(plot, rate);
        report_format(text,
                      "<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
                      "<text class=\"ax\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.0f %%</text>",
                      LEFT, y, WIDTH - RIGHT, LEFT - 8, y + 4, 100 * rate);
    }
    for (double k = plot->low; k <= plot->high + 0.5; k++) {
        const double x = x_of(plot, pow(10, k));
        report_format(text,
                      "<path class=\"grid\" d=\"M%.1f %dV%d\"/>"
                      "<text class=\"ax\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">",
                      x, TOP, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 22);
        report_format(text, "%.*f</text>", k < 0 ? (int)-k : 0, pow(10, k));
    }
    report_format(text, "<text class=\"ax\" x=\"%d\" y=\"%d\" text-anchor=\"end\">", WIDTH - RIGHT,
                  HEIGHT - 12);
    report_html(text, plot->currency);
    report_raw(text, " per solved task, logarithmic</text>");
}

/* From left to right, models that solve more than every cheaper one. */
static void draw_pareto(struct report_text *text, const struct summary *summary,
                        const struct plot *plot) {
    double best = -1;
    report_raw(text, "<path class=\"pareto\" d=\"");
    for (size_t i = 0; i < plot->n; i++) {
        const struct summary_model *const model = &summary->models[plot->models[i]];
        if (rate_of(model) <= best) continue;
        const double x = x_of(plot, model->per_solved.value), y = y_of(plot, rate_of(model));
        report_format(text, best < 0 ? "M%.1f %.1f" : "H%.1fV%.1f", x, y);
        best = rate_of(model);
    }
    report_format(text, "H%d\"/>", WIDTH - RIGHT);
}

static void draw_point(struct report_text *text, const struct summary *summary,
                       const struct plot *plot, size_t i, double *last_y) {
    const struct summary_model *const model = &summary->models[i];
    const struct stats_estimate *const e = &model->per_solved;
    const double x = x_of(plot, e->value), y = y_of(plot, rate_of(model));
    report_format(text, "<path class=\"err\" d=\"M%.1f %.1fV%.1f\"/>", x,
                  y_of(plot, model->interval.low), y_of(plot, model->interval.high));
    if (e->low > 0 && isfinite(e->high)) {
        report_format(text, "<path class=\"err\" d=\"M%.1f %.1fH%.1f\"/>", x_of(plot, e->low), y,
                      x_of(plot, e->high));
    }
    const bool left = x > WIDTH * 0.7;
    double label_y = y - 10;
    if (fabs(label_y - *last_y) < 14) label_y = *last_y + 15; // names of close points
    *last_y = label_y;
    report_format(text, "<circle class=\"pt\" cx=\"%.1f\" cy=\"%.1f\" r=\"5.5\"><title>", x, y);
    report_html(text, model->name);
    report_raw(text, ": ");
    report_money(text, e->value, model->currency);
    report_format(text, " per solved task, %.1f %%</title></circle>", 100 * rate_of(model));
    report_format(text, "<text class=\"lb\" x=\"%.1f\" y=\"%.1f\"%s>", left ? x - 10 : x + 10,
                  label_y, left ? " text-anchor=\"end\"" : "");
    report_html(text, model->name);
    report_raw(text, "</text>");
}

static void list_unplaced(struct report_text *text, const struct summary *summary,
                          const char *currency) {
    size_t n = 0;
    for (size_t i = 0; i < summary->n_models; i++) {
        const struct summary_model *const model = &summary->models[i];
        if (has_place(model, currency)) continue;
        report_raw(text, n++ == 0 ? "<p class=\"note\">Not on the chart: " : ", ");
        report_name(text, summary, i);
        if (!model->currency[0]) {
            report_raw(text, " (unpriced)");
        } else if (model->solved == 0) {
            report_raw(text, " (nothing solved)");
        } else if (model->cost > 0) {
            report_raw(text, " (another currency)");
        } else {
            report_raw(text, " (no cost)");
        }
    }
    if (n > 0) report_raw(text, ".</p>\n");
}

void report_scatter(struct report_text *text, const struct summary *summary) {
    struct plot plot;
    if (!make_plot(summary, &plot)) {
        text->failed = true;
        return;
    }
    if (plot.n > 0) {
        double last_y = -100;
        report_format(text,
                      "<div class=\"wide\"><svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
                      "aria-label=\"Tasks solved against money per solved task\">",
                      WIDTH, HEIGHT);
        draw_axes(text, &plot);
        draw_pareto(text, summary, &plot);
        for (size_t i = 0; i < plot.n; i++) {
            draw_point(text, summary, &plot, plot.models[i], &last_y);
        }
        report_raw(text, "</svg></div>\n<p class=\"note\">Up and to the left is better. The line "
                         "joins the models that no cheaper one beats; crosses are 95 % "
                         "intervals.</p>\n");
    }
    list_unplaced(text, summary, plot.currency);
    mem_free(plot.models);
}

/* ---- Funnel ---------------------------------------------------------------------------------- */

static void funnel_bar(struct report_text *text, const struct summary_model *model) {
    size_t total = 0, before = 0;
    for (int k = 0; k < N_FUNNEL; k++) total += model->funnel[k];
    if (total == 0) return;
    report_raw(text, "<svg class=\"stack\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" "
                     "aria-hidden=\"true\">");
    for (int k = N_FUNNEL - 1; k >= 0; k--) {
        if (model->funnel[k] == 0) continue;
        report_format(text,
                      "<rect class=\"f%d\" x=\"%.2f\" width=\"%.2f\" height=\"10\"><title>"
                      "%s: %zu</title></rect>",
                      k, 1000 * (double)before / (double)total,
                      1000 * (double)model->funnel[k] / (double)total, funnel_name((enum funnel)k),
                      model->funnel[k]);
        before += model->funnel[k];
    }
    report_raw(text, "</svg>");
}

void report_funnel(struct report_text *text, const struct summary *summary) {
    report_raw(text, "<div class=\"wide\"><table class=\"funnel\"><thead><tr>"
                     "<th scope=\"col\">Model</th>");
    for (int k = N_FUNNEL - 1; k >= 0; k--) {
        report_format(text, "<th scope=\"col\" class=\"n\"><i class=\"key f%d\"></i>%s</th>", k,
                      funnel_name((enum funnel)k));
    }
    report_raw(text, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < summary->n_models; i++) {
        const struct summary_model *const model = &summary->models[i];
        report_format(text, "<tr class=\"stackrow\"><td colspan=\"%d\">", N_FUNNEL + 1);
        funnel_bar(text, model);
        report_raw(text, "</td></tr><tr><th scope=\"row\">");
        report_name(text, summary, i);
        report_raw(text, "</th>");
        for (int k = N_FUNNEL - 1; k >= 0; k--) {
            report_format(text, "<td class=\"n%s\" data-l=\"%s\"><i class=\"key f%d\"></i>%zu</td>",
                          model->funnel[k] == 0 ? " zero" : "", funnel_name((enum funnel)k), k,
                          model->funnel[k]);
        }
        report_raw(text, "</tr>\n");
    }
    report_raw(text, "</tbody></table></div>\n");
}
