/* The statistics behind a comparison: how sure one may be of a rate, of a difference between two
 * models on the same tasks, and of a ranking. All results depend on the arguments alone. */
#ifndef OCTET_COMPARE_STATS_H
#define OCTET_COMPARE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octet.h"

enum { STATS_RESAMPLES = 10000 };
#define STATS_SEED UINT64_C(20231213) // of every published interval
#define STATS_ALPHA 0.05              // smaller p: a difference

/* ---- One model ------------------------------------------------------------------------------- */

/* Of N answers to a task C are right: the chance that K answers drawn from them without putting
 * back hold at least one right one (unbiased pass@k), or right ones only (pass^k). NAN where n < k,
 * k = 0 or c > n: it is not known, which is not 0. */
double stats_pass_at_k(uint64_t n, uint64_t c, uint64_t k);
double stats_pass_all_k(uint64_t n, uint64_t c, uint64_t k);

struct stats_interval {
    double low, high;
};

/* Wilson's 95 % interval of a rate K of N; 0 to 1 for n = 0. */
struct stats_interval stats_wilson(uint64_t k, uint64_t n);

/* Ascending, NAN last. */
void stats_sort(double *values, size_t n);
/* Nearest rank in SORTED values: the smallest of which at least PERCENT (0 to 100) of all are not
 * larger. NAN for n = 0. */
double stats_percentile(const double *sorted, size_t n, double percent);

/* ---- Two models, the same tasks -------------------------------------------------------------- */

/* Exact McNemar: B tasks only the first model solved, C only the second. Two-sided p. */
double stats_mcnemar(uint64_t b, uint64_t c);

/* A statistic that follows from the sums of columns over N tasks. */
typedef double (*stats_of_sums)(const double *sums, size_t n);

double stats_mean(const double *sums, size_t n);             // of column 0
double stats_mean_difference(const double *sums, size_t n);  // column 0 - column 1
double stats_ratio(const double *sums, size_t n);            // 0 / 1, as money / solved
double stats_ratio_difference(const double *sums, size_t n); // 0 / 1 - 2 / 3

struct stats_estimate {
    double value;     // of the tasks as they are
    double low, high; // 95 %; infinite where too many resamples divide by zero
    size_t n_defined; // resamples that gave a number, an infinite one included
};

/* Paired bootstrap: draws whole tasks (a row of all columns) with putting back, STATS_RESAMPLES
 * times, and takes percentiles. COLUMNS: 1 to 4 arrays of N doubles. NANs for n = 0. */
enum octet_status stats_bootstrap(const double *const *columns, size_t n_columns, size_t n,
                                  stats_of_sums statistic, uint64_t seed,
                                  struct stats_estimate *out, struct octet_err *err);

/* ---- Many models ----------------------------------------------------------------------------- */

/* Holm's step-down: ADJUSTED (N, may be P itself) are p values that may each be held against
 * STATS_ALPHA although N questions were asked. */
enum octet_status stats_holm(const double *p, size_t n, double *adjusted, struct octet_err *err);

/* N models, best first, and P, the n x n adjusted p values of their pairs. GROUP[i] (from 0) is the
 * tie group of model i: a group is its leader and those next in rank that can not be told from the
 * leader; the first that can opens the next group. */
void stats_tie_groups(const double *p, size_t n, size_t *group);

#endif
