/* How far ahead of what they read kernels fetch weights, while one token at a time is decoded.
 *
 * The best distance depends on the machine and on its moment. Where all cores together are faster
 * than memory, a short one is: what is fetched early only waits in a small cache. Where memory is
 * faster than they are, a long one keeps more requests on their way. A virtual machine may go from
 * one to the other within a second, so both are tried all the time: every sixteenth step takes the
 * distance that the others do not. Results do not depend on it. */
#ifndef OCTET_MODEL_LOOKAHEAD_H
#define OCTET_MODEL_LOOKAHEAD_H

#include <stdbool.h>
#include <stddef.h>

struct lookahead {
    double seconds, n_bytes; // of the products of this step so far
    double pace;             // seconds per byte of the last step with the usual distance; 0: none
    double excess;           // share by which the other distance is slower, on average
    unsigned n_steps, usual;
    bool tries; // this step has the other distance
};

/* The distance for a step that begins, in bytes. */
size_t lookahead_begin(struct lookahead *l);
/* A product of it has read N_BYTES of weights. */
void lookahead_add(struct lookahead *l, size_t n_bytes, double seconds);

#endif
