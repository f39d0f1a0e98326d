/* Questions to a price book, exchange rates, sums of money and what running at home costs. The
 * files are read in price_book.c. */
#include "compare/prices.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- Days ------------------------------------------------------------------------------------ */

/* Days from 1970-01-01 to the first day of YEAR. */
static int32_t days_before_year(int32_t year) {
    const int32_t past = year - 1;
    return (year - 1970) * 365 + (past / 4 - past / 100 + past / 400) - (1969 / 4 - 19 + 4);
}

static int32_t days_in_month(int32_t year, int32_t month) {
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

static bool digits(const char *text, int n, int32_t *out) {
    *out = 0;
    for (int i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *out = *out * 10 + (text[i] - '0');
    }
    return true;
}

bool day_parse(const char *text, int32_t *day) {
    int32_t year, month, date;
    if (strlen(text) != 10 || text[4] != '-' || text[7] != '-' || !digits(text, 4, &year) ||
        !digits(text + 5, 2, &month) || !digits(text + 8, 2, &date)) {
        return false;
    }
    if (year < 1970 || year > 2999 || month < 1 || month > 12 || date < 1 ||
        date > days_in_month(year, month)) {
        return false;
    }
    *day = days_before_year(year) + date - 1;
    for (int32_t m = 1; m < month; m++) *day += days_in_month(year, m);
    return true;
}

const char *day_text(int32_t day, char text[16]) {
    text[0] = '\0';
    if (day == DAY_MAX) return text;
    const time_t seconds = (time_t)day * 86400;
    struct tm tm;
    if (gmtime_r(&seconds, &tm)) strftime(text, 16, "%Y-%m-%d", &tm);
    return text;
}

int32_t day_today(void) { return (int32_t)(time(NULL) / 86400); }

/* ---- Looking up ------------------------------------------------------------------------------ */

bool price_has_name(const struct price *price, const char *model) {
    for (size_t i = 0; i < price->n_names; i++) {
        if (strcmp(price->names[i], model) == 0) return true;
    }
    return false;
}

static bool answers(const struct price *row, const struct price_query *query) {
    return (!query->provider || strcmp(row->provider, query->provider) == 0) &&
           price_has_name(row, query->model) && row->valid_from <= query->day &&
           query->day <= row->valid_to && query->prompt_tokens <= row->prompt_to &&
           (row->prompt_above == 0 || query->prompt_tokens > row->prompt_above);
}

/* Of two that answer: the dearer tier's, then the user's own, then that in the wanted currency. */
static bool is_better(const struct price *a, const struct price *b,
                      const struct price_query *query) {
    if (a->prompt_above != b->prompt_above) return a->prompt_above > b->prompt_above;
    if (a->added != b->added) return a->added;
    return query->currency && strcmp(a->currency, query->currency) == 0 &&
           strcmp(b->currency, query->currency) != 0;
}

const struct price *price_find(const struct price_book *book, const struct price_query *query) {
    const struct price *best = NULL;
    for (size_t i = 0; i < book->n_rows; i++) {
        const struct price *const row = &book->rows[i];
        if (answers(row, query) && (!best || is_better(row, best, query))) best = row;
    }
    return best;
}

/* ---- Money ----------------------------------------------------------------------------------- */

double price_cost(const struct price *price, const struct token_use *use) {
    const double cached = isnan(price->cached_input) ? price->input : price->cached_input;
    const double reasoning = isnan(price->reasoning) ? price->output : price->reasoning;
    return ((double)use->prompt * price->input + (double)use->cached * cached +
            (double)use->completion * price->output + (double)use->reasoning * reasoning) /
           1e6;
}

double price_saving(double cost_a, double cost_b) {
    return cost_b > 0 ? 1 - cost_a / cost_b : NAN;
}

/* Whether RATE is nearer to DAY than BEST; of two as near the later read one, which is the user's,
 * wins. */
static bool is_nearer(const struct exchange_rate *rate, const struct exchange_rate *best,
                      int32_t day) {
    if (!best) return true;
    const int64_t a = (int64_t)rate->day - day, b = (int64_t)best->day - day;
    return (a < 0 ? -a : a) <= (b < 0 ? -b : b);
}

double price_exchange(const struct price_book *book, const char *from, const char *to, int32_t day,
                      const struct exchange_rate **used) {
    *used = NULL;
    if (strcmp(from, to) == 0) return 1;
    double factor = NAN;
    for (size_t i = 0; i < book->n_rates; i++) {
        const struct exchange_rate *const rate = &book->rates[i];
        const bool forth = strcmp(rate->from, from) == 0 && strcmp(rate->to, to) == 0;
        const bool back = strcmp(rate->from, to) == 0 && strcmp(rate->to, from) == 0;
        if (!(forth || back) || !is_nearer(rate, *used, day)) continue;
        *used = rate;
        factor = forth ? rate->rate : 1 / rate->rate;
    }
    return factor;
}

const char *money_text(double amount, char text[32]) {
    if (isnan(amount)) {
        snprintf(text, 32, "unpriced");
        return text;
    }
    const double size = fabs(amount);
    int decimals = size >= 1 || size == 0 ? 2 : 4;
    for (double least = 1e-3; size < least && decimals >= 4 && decimals < 12; least /= 10) {
        decimals++;
    }
    snprintf(text, 32, size < 1e15 ? "%.*f" : "%.*e", decimals, amount);
    return text;
}

/* ---- Local models ---------------------------------------------------------------------------- */

struct local_cost local_price(const struct local_terms *terms, double prefill_seconds,
                              double decode_seconds) {
    const double joules =
        terms->prefill_watts * prefill_seconds + terms->decode_watts * decode_seconds;
    const double seconds = prefill_seconds + decode_seconds;
    return (struct local_cost){
        .energy = joules / 3.6e6 * terms->tariff,
        .hardware =
            terms->service_seconds > 0 ? terms->hardware * seconds / terms->service_seconds : 0,
    };
}

const char *local_terms_text(const struct local_terms *terms, char *text, size_t cap) {
    char tariff[32], hardware[32], machine[96] = "the machine itself left out";
    if (terms->service_seconds > 0) {
        snprintf(machine, sizeof machine, "%s %s for the machine over %.0f hours of computing",
                 money_text(terms->hardware, hardware), terms->currency,
                 terms->service_seconds / 3600);
    }
    snprintf(text, cap, "%g W in prefill and %g W in decode (%s), %s %s per kWh, %s",
             terms->prefill_watts, terms->decode_watts, terms->measured ? "measured" : "assumed",
             money_text(terms->tariff, tariff), terms->currency, machine);
    return text;
}
