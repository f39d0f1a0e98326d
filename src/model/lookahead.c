/* A step that tries is compared with the one before it alone, as memory may be another a second
 * later; and no single comparison decides, as it may be another within a step. */
#include "model/lookahead.h"

enum {
    SOON = 2, // steps until one that has just lost is tried again
    EVERY = 16,
    RARELY = 128, // of what is much slower, and
    SELDOM = 512, // when that has been seen again
};

/* Bytes: the best ones of slow and of fast memory, and of processors that want AHEAD_OUTER. With
 * AVX2: AHEAD_STREAMS, neither, AHEAD_OUTER. */
static const size_t in_bytes[LOOKAHEAD_N] = {6144, 10240, 16384};
static const double weight = 0.5; // of the latest comparison in the average
static const double most = 0.03;  // a comparison that shows more was disturbed, or is clear
static const double much = 0.1;   // between products that took turns

static double limited(double x) { return x > most ? most : x < -most ? -most : x; }

static double pace_of(const struct distance *d) { return d->seconds / d->n_bytes; }

/* Distance I is not tried for WAIT steps. */
static void put_off(struct lookahead *l, size_t i, unsigned wait) {
    l->distances[i].wait = wait;
    l->distances[i].due = l->n_steps + wait;
}

/* After a step in which all took turns. */
static void begin_with_the_best(struct lookahead *l) {
    for (size_t i = 0; i < LOOKAHEAD_N; i++)
        if (pace_of(&l->distances[i]) < pace_of(&l->distances[l->usual])) l->usual = i;
    for (size_t i = 0; i < LOOKAHEAD_N; i++) {
        double excess = pace_of(&l->distances[i]) / pace_of(&l->distances[l->usual]) - 1;
        l->distances[i].excess = limited(excess);
        put_off(l, i, excess > much ? RARELY : SOON);
    }
}

/* RIVAL is faster than the usual one, which becomes its rival. */
static void change(struct lookahead *l, size_t rival) {
    double gain = -l->distances[rival].excess;
    for (size_t i = 0; i < LOOKAHEAD_N; i++) l->distances[i].excess += gain;
    put_off(l, l->usual, SOON);
    l->usual = rival;
}

/* After a step that tried RIVAL. */
static void compare(struct lookahead *l, size_t rival) {
    struct distance *d = &l->distances[rival];
    double excess = limited(pace_of(d) / l->pace - 1);
    d->excess += weight * (excess - d->excess);
    unsigned wait = d->wait < EVERY ? 2 * d->wait : EVERY;
    if (excess >= most && d->excess >= most / 2) wait = d->wait < RARELY ? RARELY : SELDOM;
    put_off(l, rival, wait);
    if (d->excess < 0) change(l, rival);
}

/* What the step that ends has shown. Whether the next one may try another distance. */
static bool learn(struct lookahead *l) {
    for (size_t i = 0; i < LOOKAHEAD_N && l->turns; i++)
        if (l->distances[i].n_bytes == 0) return false;
    const struct distance *used = &l->distances[l->used];
    if (used->n_bytes == 0) return false;
    if (l->turns)
        begin_with_the_best(l);
    else if (l->tries)
        compare(l, l->used);
    else
        l->pace = pace_of(used);
    bool usual = !l->turns && !l->tries;
    l->turns = false;
    return usual;
}

void lookahead_begin(struct lookahead *l) {
    if (l->n_steps == 0) l->turns = true;
    bool ready = learn(l);
    l->n_steps++;
    l->n_products = 0;
    for (size_t i = 0; i < LOOKAHEAD_N; i++) l->distances[i].seconds = l->distances[i].n_bytes = 0;
    l->used = l->usual;
    for (size_t i = 0; i < LOOKAHEAD_N && ready && l->used == l->usual; i++)
        if (i != l->usual && l->n_steps >= l->distances[i].due) l->used = i;
    l->tries = l->used != l->usual;
}

/* The layers of a model repeat the same few products. A sequence without a period, the sum of the
 * digits of the number, gives every distance its share of each kind. */
static size_t turn(unsigned n) {
    unsigned sum = 0;
    for (; n > 0; n /= LOOKAHEAD_N) sum += n % LOOKAHEAD_N;
    return sum % LOOKAHEAD_N;
}

size_t lookahead_next(struct lookahead *l) {
    if (l->turns) l->used = turn(l->n_products);
    l->n_products++;
    return in_bytes[l->used];
}

size_t lookahead_usual(const struct lookahead *l) {
    return l->n_steps > 1 ? in_bytes[l->usual] : 0;
}

void lookahead_add(struct lookahead *l, size_t n_bytes, double seconds) {
    l->distances[l->used].n_bytes += (double)n_bytes;
    l->distances[l->used].seconds += seconds;
}
