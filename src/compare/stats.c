/* See stats.h. */
#include "compare/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"

/* ---- One model ------------------------------------------------------------------------------- */

/* The chance that K things drawn from N are all among M of them: C(m, k) / C(n, k), as a product
 * because the binomials overflow. */
static double all_among(uint64_t n, uint64_t m, uint64_t k) {
    if (m < k) return 0;
    // C(m, k) / C(n, k) = C(n - k, n - m) / C(n, n - m): the shorter product has min(k, n - m)
    // factors.
    const uint64_t n_factors = k < n - m ? k : n - m, other = k < n - m ? n - m : k;
    double chance = 1;
    for (uint64_t i = 0; i < n_factors && chance > 0; i++) {
        chance *= 1 - (double)other / (double)(n - i);
    }
    return chance;
}

static bool can_draw(uint64_t n, uint64_t c, uint64_t k) { return k > 0 && k <= n && c <= n; }

double stats_pass_at_k(uint64_t n, uint64_t c, uint64_t k) {
    return can_draw(n, c, k) ? 1 - all_among(n, n - c, k) : NAN;
}

double stats_pass_all_k(uint64_t n, uint64_t c, uint64_t k) {
    return can_draw(n, c, k) ? all_among(n, c, k) : NAN;
}

struct stats_interval stats_wilson(uint64_t k, uint64_t n) {
    if (n == 0) return (struct stats_interval){0, 1};
    const double z = 1.959963984540054; // 97.5 % of the normal distribution lie below
    const double size = (double)n, rate = (double)k / size, zz = z * z / size;
    const double centre = (rate + zz / 2) / (1 + zz);
    const double half = z * sqrt(rate * (1 - rate) / size + zz / (4 * size)) / (1 + zz);
    // At the ends the bound is exact, and rounding must not push it past.
    return (struct stats_interval){k == 0 ? 0 : centre - half, k == n ? 1 : centre + half};
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y)) return isnan(x) - isnan(y);
    return (x > y) - (x < y);
}

void stats_sort(double *values, size_t n) {
    if (n > 1) qsort(values, n, sizeof *values, ascending);
}

double stats_percentile(const double *sorted, size_t n, double percent) {
    if (n == 0) return NAN;
    // The margin undoes what percent * n gained by rounding: 97.5 % of 10000 is rank 9750.
    const double rank = ceil(percent * (double)n / 100 - 1e-9);
    if (!(rank > 1)) return sorted[0];
    return rank >= (double)n ? sorted[n - 1] : sorted[(size_t)rank - 1];
}

/* ---- Two models, the same tasks -------------------------------------------------------------- */

double stats_mcnemar(uint64_t b, uint64_t c) {
    const double n = (double)b + (double)c, few = (double)(b < c ? b : c);
    int sign;
    double term = exp(lgamma_r(n + 1, &sign) - lgamma_r(few + 1, &sign) -
                      lgamma_r(n - few + 1, &sign) - n * M_LN2);
    double tail = 0;
    for (double i = few; i >= 0 && term > tail * 1e-17; i--) {
        tail += term;
        term *= i / (n - i + 1);
    }
    return fmin(1, 2 * tail);
}

double stats_mean(const double *sums, size_t n) { return sums[0] / (double)n; }

double stats_mean_difference(const double *sums, size_t n) {
    return (sums[0] - sums[1]) / (double)n;
}

double stats_ratio(const double *sums, size_t n) {
    (void)n;
    if (sums[1] != 0) return sums[0] / sums[1];
    return sums[0] > 0 ? INFINITY : NAN;
}

double stats_ratio_difference(const double *sums, size_t n) {
    return stats_ratio(sums, n) - stats_ratio(sums + 2, n);
}

/* SplitMix64: 64 bits of state are plenty for drawing tasks. */
static uint64_t next_random(uint64_t *state) {
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Evenly from 0 to n - 1: the high half of a product, without the few low halves that would favour
 * some results. */
static uint32_t draw(uint64_t *state, uint32_t n) {
    const uint32_t unfair = (uint32_t)-n % n;
    uint64_t product;
    do {
        product = (next_random(state) >> 32) * n;
    } while ((uint32_t)product < unfair);
    return (uint32_t)(product >> 32);
}

enum { MAX_COLUMNS = 4 };

static double resample(const double *const *columns, size_t n_columns, uint32_t n,
                       stats_of_sums statistic, uint64_t *state) {
    double sums[MAX_COLUMNS] = {0};
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t row = draw(state, n);
        for (size_t k = 0; k < n_columns; k++) sums[k] += columns[k][row];
    }
    return statistic(sums, n);
}

enum octet_status stats_bootstrap(const double *const *columns, size_t n_columns, size_t n,
                                  stats_of_sums statistic, uint64_t seed,
                                  struct stats_estimate *out, struct octet_err *err) {
    *out = (struct stats_estimate){NAN, NAN, NAN, 0};
    if (n_columns == 0 || n_columns > MAX_COLUMNS || n > UINT32_MAX) {
        return octet_fail(err, OCTET_EARG, "bootstrap: %zu columns of %zu tasks", n_columns, n);
    }
    if (n == 0) return OCTET_OK;
    double *const values = mem_array(STATS_RESAMPLES, sizeof *values);
    if (!values) return octet_fail_memory(err, "resamples", STATS_RESAMPLES * sizeof *values);
    double sums[MAX_COLUMNS] = {0};
    for (size_t k = 0; k < n_columns; k++) {
        for (size_t i = 0; i < n; i++) sums[k] += columns[k][i];
    }
    out->value = statistic(sums, n);
    uint64_t state = seed;
    for (size_t i = 0; i < STATS_RESAMPLES; i++) {
        values[out->n_defined] = resample(columns, n_columns, (uint32_t)n, statistic, &state);
        if (!isnan(values[out->n_defined])) out->n_defined++;
    }
    stats_sort(values, out->n_defined);
    out->low = stats_percentile(values, out->n_defined, 2.5);
    out->high = stats_percentile(values, out->n_defined, 97.5);
    mem_free(values);
    return OCTET_OK;
}

/* ---- Many models ----------------------------------------------------------------------------- */

struct ranked {
    double p;
    size_t index;
};

static int by_p(const void *a, const void *b) {
    return ascending(&((const struct ranked *)a)->p, &((const struct ranked *)b)->p);
}

enum octet_status stats_holm(const double *p, size_t n, double *adjusted, struct octet_err *err) {
    if (n == 0) return OCTET_OK;
    struct ranked *const ranked = mem_array(n, sizeof *ranked);
    if (!ranked) return octet_fail_memory(err, "p values", n);
    for (size_t i = 0; i < n; i++) ranked[i] = (struct ranked){p[i], i};
    qsort(ranked, n, sizeof *ranked, by_p);
    double last = 0;
    for (size_t i = 0; i < n; i++) {
        last = fmax(last, fmin(1, (double)(n - i) * ranked[i].p));
        adjusted[ranked[i].index] = last;
    }
    mem_free(ranked);
    return OCTET_OK;
}

void stats_tie_groups(const double *p, size_t n, size_t *group) {
    size_t leader = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0) {
            group[i] = 0;
        } else if (p[leader * n + i] < STATS_ALPHA) {
            group[i] = group[leader] + 1;
            leader = i;
        } else {
            group[i] = group[leader];
        }
    }
}
