/* See words.h. */
#include "base/words.h"

#include <string.h>

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

size_t words_distance(const char *a, const char *b) {
    enum { CAP = 32 };
    const size_t n = strlen(a), m = strlen(b);
    if (n >= CAP || m >= CAP) return CAP;
    size_t cost[CAP][CAP];
    for (size_t i = 0; i <= n; i++) {
        for (size_t k = 0; k <= m; k++) {
            if (i == 0 || k == 0) {
                cost[i][k] = i + k;
                continue;
            }
            size_t best = cost[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            best = least(best, least(cost[i - 1][k], cost[i][k - 1]) + 1);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) {
                best = least(best, cost[i - 2][k - 2] + 1);
            }
            cost[i][k] = best;
        }
    }
    return cost[n][m];
}
