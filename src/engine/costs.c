/* See costs.h. */
#include "engine/costs.h"

#include <stdbool.h>

enum { OLD = 32, MOST_TIMES = 16 };

static bool is_known(const struct costs *costs, size_t n_rows) {
    const uint64_t times = costs->of[n_rows].times;
    const uint64_t old = OLD * (times < MOST_TIMES ? times : MOST_TIMES);
    return times > 0 && costs->n_noted - costs->of[n_rows].last < old;
}

void costs_note(struct costs *costs, size_t n_rows, double seconds) {
    if (n_rows == 0 || n_rows > COST_ROWS || !(seconds > 0)) return;
    double *const mean = &costs->of[n_rows].seconds;
    // Whatever else the machine does only ever makes a step longer.
    if (!is_known(costs, n_rows))
        *mean = seconds;
    else if (seconds < *mean)
        *mean += (seconds - *mean) / 2;
    else
        *mean += ((seconds < 2 * *mean ? seconds : 2 * *mean) - *mean) / 8;
    costs->of[n_rows].times++;
    costs->of[n_rows].last = ++costs->n_noted;
}

/* Of the sizes that are known, or between them; for up to twice the largest, that growth goes on at
 * a moderate rate. */
static double forecast(const struct costs *costs, size_t n_rows) {
    const double growth = 0.4; // when a step doubles
    size_t low = n_rows, high = n_rows;
    while (low > 0 && !is_known(costs, low)) low--;
    while (high <= COST_ROWS && !is_known(costs, high)) high++;
    if (low == 0 || (high > COST_ROWS && n_rows > 2 * low)) return 0;
    const double below = costs->of[low].seconds;
    if (high > COST_ROWS) return below * (1 + growth * (double)(n_rows - low) / (double)low);
    if (high == low) return below;
    const double share = (double)(n_rows - low) / (double)(high - low);
    return below + share * (costs->of[high].seconds - below);
}

double costs_expect(const struct costs *costs, size_t n_rows) {
    if (n_rows == 0 || n_rows > COST_ROWS) return 0;
    const double seconds = forecast(costs, n_rows);
    // One by one they would take no longer: whoever measured more was disturbed.
    const double singly = is_known(costs, 1) ? (double)n_rows * costs->of[1].seconds : seconds;
    return seconds < singly ? seconds : singly;
}
