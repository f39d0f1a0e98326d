/* What tokens cost: a book of dated prices, each with its source, and dated exchange rates. What
 * the book does not know is unpriced (NULL, NAN), never free. */
#ifndef OCTET_COMPARE_PRICES_H
#define OCTET_COMPARE_PRICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "octet.h"

/* ---- Days ------------------------------------------------------------------------------------ */

enum { DAY_MAX = INT32_MAX }; // of a price that still holds

/* Days since 1970-01-01 of "2023-12-13"; false where that is no date from 1970 to 2999. */
bool day_parse(const char *text, int32_t *day);
/* The reverse, "" for DAY_MAX; returns TEXT. */
const char *day_text(int32_t day, char text[16]);
int32_t day_today(void); // UTC

/* ---- The book -------------------------------------------------------------------------------- */

/* One row. Texts are free of control characters. */
struct price {
    const char *provider;
    const char *const *names; // (n_names) the model's, the main one first
    size_t n_names;
    uint64_t prompt_above, prompt_to; // holds for prompts of more and of at most these tokens
    char currency[4];                 // "EUR"
    double input, output;             // per million tokens
    double cached_input, reasoning;   // the same; NAN: as input and output
    int32_t valid_from, valid_to;     // days, both included
    const char *source;
    int32_t read_on; // day the source was read
    const char *note; // "" if none
    bool added; // by the user
};

/* 1 FROM = RATE TO on that day. */
struct exchange_rate {
    char from[4], to[4];
    double rate;
    int32_t day;
    const char *source;
};

struct price_book {
    struct price *rows;
    size_t n_rows, rows_cap;
    struct exchange_rate *rates;
    size_t n_rates, rates_cap;
    void **roots; // the parsed files, whose texts the rows borrow
    size_t n_roots, roots_cap;
};

/* The compiled-in book and, on top, the user's file if there is one. */
enum octet_status price_book_open(struct price_book *book, struct octet_err *err);
void price_book_close(struct price_book *book);
/* Adds the rows of a book in JSON. NAME stands for the file in messages, which name the entry. On
 * failure the book may hold some of the rows, and is only good for closing. */
enum octet_status price_book_parse(struct price_book *book, const char *json, size_t n_bytes,
                                   const char *name, bool added, struct octet_err *err);

/* The row with the keys it has in a book, per million tokens; NULL when out of memory. */
json_t *price_json(const struct price *price);

/* $XDG_CONFIG_HOME/octet/prices.json, else ~/.config/octet/prices.json; the caller frees it. NULL
 * when out of memory or, with an empty ERR, when neither variable is set. */
char *price_book_user_path(struct octet_err *err);
/* Checks ENTRY, a JSON object with the keys of a price row (or, IS_RATE, of a rate), and writes the
 * user's book at PATH anew with it, all or nothing. Folders are made. */
enum octet_status price_book_add(const char *path, const char *entry, bool is_rate,
                                 struct octet_err *err);

/* ---- Asking ---------------------------------------------------------------------------------- */

struct price_query {
    const char *provider; // NULL: any
    const char *model;    // any of its names
    int32_t day;
    uint64_t prompt_tokens; // selects the tier, cached ones included
    const char *currency;   // preferred where a price is listed in several, NULL: no matter
};

bool price_has_name(const struct price *price, const char *model);
/* The row that says what the call costs; NULL: unpriced. The user's rows come first. */
const struct price *price_find(const struct price_book *book, const struct price_query *query);

/* Every token counts in one of these. */
struct token_use {
    uint64_t prompt, cached; // sent: not cached, cached
    uint64_t completion, reasoning;
};

/* In the row's currency. */
double price_cost(const struct price *price, const struct token_use *use);
/* Part of B's cost that A saves: 0.3 is 30 % cheaper, -0.5 half as dear again. NAN for B = 0. */
double price_saving(double cost_a, double cost_b);

/* How many TO one FROM is, by the known rate nearest in time to DAY, which may be dated otherwise
 * and must be told. *USED is NULL for equal currencies. NAN: no rate known. */
double price_exchange(const struct price_book *book, const char *from, const char *to, int32_t day,
                      const struct exchange_rate **used);

/* At least 4 decimals below 1, and as many as show 2 digits of a small sum: "8.10", "0.0124",
 * "0.000030"; "unpriced" for NAN. Returns TEXT. */
const char *money_text(double amount, char text[32]);

/* ---- Local models ---------------------------------------------------------------------------- */

/* What running on one's own machine is assumed to take. */
struct local_terms {
    double prefill_watts, decode_watts; // of the whole machine while it computes
    bool measured;                      // the watts, rather than assumed
    double tariff;                      // money per kWh
    double hardware;                    // money for the machine
    double service_seconds;             // that it computes in its life; 0: leave the machine out
    char currency[4];
};

struct local_cost {
    double energy, hardware; // money
};

struct local_cost local_price(const struct local_terms *terms, double prefill_seconds,
                              double decode_seconds);
/* The terms in words, for printing beside the result; returns TEXT. */
const char *local_terms_text(const struct local_terms *terms, char *text, size_t cap);

#endif
