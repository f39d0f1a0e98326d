/* Progress of long work on stderr: a bar with percent, amount, rate and remaining time where the
 * terminal can rewrite a line, a plain line now and then where it can not, and nothing where stderr
 * is no terminal. */
#ifndef OCTET_CLI_PROGRESS_H
#define OCTET_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum progress_unit { PROGRESS_BYTES, PROGRESS_TOKENS, PROGRESS_RUNS };
enum progress_form { PROGRESS_SILENT, PROGRESS_PLAIN, PROGRESS_BAR };

struct progress {
    const char *label; // borrowed
    enum progress_unit unit;
    enum progress_form form;
    uint64_t first, done, total; // first: done at the first update, as rates count from there
    double started, drawn;       // monotonic seconds; started 0: no update yet
    bool visible;                // something is on the line
};

void progress_open(struct progress *progress, const char *label, enum progress_unit unit);
/* TOTAL 0: not known. Draws at most ten times a second. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);
/* Takes the bar off the line, so that the next message starts a clean one; later updates draw
 * nothing. */
void progress_close(struct progress *progress);

/* An octet_progress_fn whose user is a struct progress; false once Ctrl-C was caught. */
bool progress_step(void *progress, uint64_t done, uint64_t total);

#endif
