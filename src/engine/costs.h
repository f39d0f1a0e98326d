/* How long steps of few rows take, with this model on this machine, from those that were run. Only
 * steps that want logits of every row count, as decoding does. */
#ifndef OCTET_ENGINE_COSTS_H
#define OCTET_ENGINE_COSTS_H

#include <stddef.h>
#include <stdint.h>

enum { COST_ROWS = 64 };

struct costs {
    struct {
        double seconds;
        uint64_t last, times; // measured: value of N_NOTED the last time; how often
    } of[COST_ROWS + 1];      // by rows
    uint64_t n_noted;
};

void costs_note(struct costs *costs, size_t n_rows, double seconds);
/* Seconds that a step of n_rows is expected to take undisturbed; 0: unknown. Measurements grow old,
 * single ones soon. No size above twice the largest that was measured is known. */
double costs_expect(const struct costs *costs, size_t n_rows);

#endif
