/* What the verbs of octet prices share: an open price book that remembers which exchange rates were
 * used, so that they are told, and finding a model the way users name it. */
#ifndef OCTET_CLI_PRICES_DESK_H
#define OCTET_CLI_PRICES_DESK_H

#include <jansson.h>

#include "cli/options.h"
#include "compare/prices.h"

struct desk {
    struct price_book book;
    bool *rate_used; // (book.n_rates)
};

/* OPTIONS_RUN or an exit status with the failure told. Close it in any case. */
int desk_open(struct desk *desk);
void desk_close(struct desk *desk);

/* How many TO one FROM is; NAN, with the failure told, where no rate is known. */
double desk_exchange(struct desk *desk, const char *from, const char *to, int32_t day);
/* The rates used so far, with date and source. */
void desk_print_rates(const struct desk *desk);
json_t *desk_rates_json(const struct desk *desk);

/* The row for QUERY of the model that SPEC, "MODEL" or "PROVIDER/MODEL", names. A name that several
 * providers sell is not guessed. EXIT_FAILED with the failure told: unpriced. */
int desk_find(const struct desk *desk, const char *spec, struct price_query query,
              const struct price **out);

/* Values of options; OPTIONS_RUN or EXIT_MISUSE. TEXT of NULL: today, and an empty OUT. */
int prices_read_day(const struct command *command, const char *text, int32_t *day);
int prices_read_currency(const struct command *command, const char *text, char out[4]);
/* "PROVIDER/MODEL" */
void prices_full_name(const struct price *row, char *text, size_t cap);

/* octet prices compare */
int prices_compare(const struct command *command, int argc, char **argv);

#endif
