/* A step that tries is compared with the one before it alone, as memory may be another a second
 * later; and no single comparison decides, as it may be another within a step. */
#include "model/lookahead.h"

enum { EVERY = 16 }; // steps

static const size_t distances[2] = {6144, 10240}; // bytes; the best ones of slow and fast memory
static const double weight = 0.5;                 // of the latest comparison in the average
static const double most = 0.03;                  // a comparison that shows more was disturbed

static double limited(double x) { return x > most ? most : x < -most ? -most : x; }

/* What the step that ends has shown. */
static void learn(struct lookahead *l) {
    double pace = l->seconds / l->n_bytes;
    if (!l->tries) {
        l->pace = pace;
        return;
    }
    l->excess += weight * (limited(pace / l->pace - 1) - l->excess);
    if (l->excess < 0) {
        l->usual = !l->usual;
        l->excess = -l->excess;
    }
}

size_t lookahead_begin(struct lookahead *l) {
    if (l->n_bytes > 0) learn(l);
    l->seconds = l->n_bytes = 0;
    l->tries = ++l->n_steps % EVERY == 0 && l->pace > 0;
    return distances[l->usual ^ l->tries];
}

void lookahead_add(struct lookahead *l, size_t n_bytes, double seconds) {
    l->n_bytes += (double)n_bytes;
    l->seconds += seconds;
}
