/* See prices_desk.h. */
#include "cli/prices_desk.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/output.h"

int desk_open(struct desk *desk) {
    struct octet_err err;
    *desk = (struct desk){0};
    if (price_book_open(&desk->book, &err) != OCTET_OK) return output_failure(&err);
    desk->rate_used = mem_array(desk->book.n_rates, sizeof *desk->rate_used);
    return desk->rate_used ? OPTIONS_RUN : output_error("out of memory for the price book");
}

void desk_close(struct desk *desk) {
    price_book_close(&desk->book);
    mem_free(desk->rate_used);
}

double desk_exchange(struct desk *desk, const char *from, const char *to, int32_t day) {
    const struct exchange_rate *used;
    const double factor = price_exchange(&desk->book, from, to, day, &used);
    if (used) desk->rate_used[used - desk->book.rates] = true;
    if (isnan(factor)) {
        output_error("no exchange rate between %s and %s is known; 'octet prices add-rate' adds "
                     "one", from, to);
    }
    return factor;
}

void desk_print_rates(const struct desk *desk) {
    for (size_t i = 0; i < desk->book.n_rates; i++) {
        if (!desk->rate_used[i]) continue;
        const struct exchange_rate *const rate = &desk->book.rates[i];
        char day[16];
        output_printf("1 %s = %.6g %s, of %s: %s\n", rate->from, rate->rate, rate->to,
                      day_text(rate->day, day), rate->source);
    }
}

json_t *desk_rates_json(const struct desk *desk) {
    json_t *const list = json_array();
    for (size_t i = 0; i < desk->book.n_rates; i++) {
        if (!desk->rate_used[i]) continue;
        const struct exchange_rate *const rate = &desk->book.rates[i];
        char day[16];
        json_array_append_new(list, json_pack("{ss ss sf ss ss}", "from", rate->from, "to",
                                              rate->to, "rate", rate->rate, "date",
                                              day_text(rate->day, day), "source", rate->source));
    }
    return list;
}

int prices_read_day(const struct command *command, const char *text, int32_t *day) {
    *day = day_today();
    if (!text || day_parse(text, day)) return OPTIONS_RUN;
    return options_misuse(command, "expected a date such as 2023-12-13, not '%s'", text);
}

int prices_read_currency(const struct command *command, const char *text, char out[4]) {
    memset(out, 0, 4);
    if (!text) return OPTIONS_RUN;
    for (size_t i = 0; i < 3 && text[i]; i++) {
        out[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i]);
    }
    if (strspn(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3 && !text[3]) return OPTIONS_RUN;
    return options_misuse(command, "expected a currency such as EUR, not '%s'", text);
}

void prices_full_name(const struct price *row, char *text, size_t cap) {
    snprintf(text, cap, "%s/%s", row->provider, row->names[0]);
}

/* ---- Finding --------------------------------------------------------------------------------- */

/* Whether the row is what SPEC, "MODEL" or "PROVIDER/MODEL", names. */
static bool is_named(const struct price *row, const char *spec) {
    if (price_has_name(row, spec)) return true;
    const size_t n = strlen(row->provider);
    return strncmp(spec, row->provider, n) == 0 && spec[n] == '/' &&
           price_has_name(row, spec + n + 1);
}

/* "; did you mean ...?" with the name that SPEC was probably meant to be and some that hold it. */
static void suggest(const struct price_book *book, const char *spec, char *text, size_t cap) {
    size_t n_names = 0, n = 0, used = 0;
    for (size_t i = 0; i < book->n_rows; i++) n_names += book->rows[i].n_names;
    const char **const names = mem_array(n_names, sizeof *names);
    text[0] = '\0';
    if (!names) return;
    for (size_t i = 0; i < book->n_rows; i++) {
        for (size_t k = 0; k < book->rows[i].n_names; k++) names[n++] = book->rows[i].names[k];
    }
    const char *shown[4], *const nearest = options_nearest(spec, names, n);
    size_t n_shown = 0;
    if (nearest) shown[n_shown++] = nearest;
    for (size_t i = 0; i < n && n_shown < sizeof shown / sizeof shown[0]; i++) {
        bool is_new = strcasestr(names[i], spec) != NULL;
        for (size_t k = 0; k < n_shown && is_new; k++) is_new = strcmp(shown[k], names[i]) != 0;
        if (is_new) shown[n_shown++] = names[i];
    }
    for (size_t i = 0; i < n_shown && used < cap; i++) {
        const bool is_last = i + 1 == n_shown;
        const char *const before = i == 0 ? "; did you mean " : is_last ? " or " : ", ";
        used += (size_t)snprintf(text + used, cap - used, "%s'%.100s'%s", before, shown[i],
                                 is_last ? "?" : "");
    }
    mem_free(names);
}

static int tell_unpriced(const struct price_book *book, const char *spec, int32_t day,
                         uint64_t prompt_tokens) {
    char date[16], from[16], to[16], hint[512];
    for (size_t i = 0; i < book->n_rows; i++) {
        const struct price *const row = &book->rows[i];
        if (!is_named(row, spec)) continue;
        const bool ends = row->valid_to != DAY_MAX;
        return output_error("unpriced: '%s' with %llu prompt tokens on %s; the book has it from "
                            "%s%s%s%s", spec, (unsigned long long)prompt_tokens,
                            day_text(day, date), day_text(row->valid_from, from),
                            ends ? " to " : " on", day_text(row->valid_to, to),
                            row->prompt_to != UINT64_MAX ? ", not for longer prompts" : "");
    }
    suggest(book, spec, hint, sizeof hint);
    return output_error("unpriced: no price book has '%s'%s", spec, hint);
}

int desk_find(const struct desk *desk, const char *spec, struct price_query query,
              const struct price **out) {
    const struct price_book *const book = &desk->book;
    const struct price *named = NULL;
    for (size_t i = 0; i < book->n_rows; i++) {
        const struct price *const row = &book->rows[i];
        if (!is_named(row, spec)) continue;
        if (named && strcmp(named->provider, row->provider) != 0) {
            return output_error("several providers sell '%s': write %s/%s or %s/%s", spec,
                                named->provider, spec, row->provider, spec);
        }
        named = row;
    }
    *out = NULL;
    if (named) {
        query.provider = named->provider;
        query.model = price_has_name(named, spec) ? spec : spec + strlen(named->provider) + 1;
        *out = price_find(book, &query);
    }
    return *out ? OPTIONS_RUN : tell_unpriced(book, spec, query.day, query.prompt_tokens);
}
