/* How far ahead of what they read kernels fetch weights, while one token at a time is decoded.
 *
 * The best distance depends on the machine and on its moment. Where all cores together are faster
 * than memory, a short one is: what is fetched early only waits in a small cache. Where memory is
 * faster than they are, a longer one keeps more requests on their way; and some processors can have
 * many more of them on their way to the second-level cache, see AHEAD_OUTER of kernels.h; others
 * fetch best what they foresee themselves, see AHEAD_STREAMS. A virtual machine may go from one to
 * the other within a second, so all are tried all the time: a first step takes them in turns, and
 * later a step now and then takes one that the others do not. Results do not depend on it. */
#ifndef OCTET_MODEL_LOOKAHEAD_H
#define OCTET_MODEL_LOOKAHEAD_H

#include <stdbool.h>
#include <stddef.h>

enum { LOOKAHEAD_N = 3 }; // distances

struct lookahead {
    struct distance {
        double seconds, n_bytes; // of the products of this step that had it
        double excess;           // share by which it is slower than the usual one, on average
        unsigned wait, due;      // steps from a try to the next one; the step of that
    } distances[LOOKAHEAD_N];
    unsigned n_steps, n_products; // the latter of this step
    double pace;                  // seconds per byte of the last step with the usual distance
    size_t usual, used;           // the best one; that of the latest product
    bool tries, turns;            // this step has another one; this step has all
};

/* A step begins. */
void lookahead_begin(struct lookahead *l);
/* The distance for a product that begins, in bytes. */
size_t lookahead_next(struct lookahead *l);
/* The best distance so far, for products of other steps; 0: none has been measured. */
size_t lookahead_usual(const struct lookahead *l);
/* It has read N_BYTES of weights. */
void lookahead_add(struct lookahead *l, size_t n_bytes, double seconds);

#endif
