/* octet prices compare: what models cost on a day, and which is cheaper by how much. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/json_out.h"
#include "cli/output.h"
#include "cli/prices_desk.h"

struct compare_args {
    const char *date, *currency;
    int32_t n_in, n_out;
    bool json;
};

static const struct option_row compare_rows[] = {
    {"date", 'd', OPTION_TEXT, "YYYY-MM-DD", offsetof(struct compare_args, date), 0, 0, false,
     "day of the prices; without it today"},
    {"in", 0, OPTION_INT, "N", offsetof(struct compare_args, n_in), 0, 1e9, false,
     "tokens sent in the call that is compared"},
    {"out", 0, OPTION_INT, "N", offsetof(struct compare_args, n_out), 0, 1e9, false,
     "tokens answered in it"},
    {"currency", 0, OPTION_TEXT, "CODE", offsetof(struct compare_args, currency), 0, 0, false,
     "of all amounts"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct compare_args, json), 0, 0, false,
     "print one JSON object"},
};

struct side {
    const char *asked; // as the user wrote it
    const struct price *row;
    double factor; // to the wanted currency
};

enum { N_MIXES = 4 };

/* What is compared: input alone, output alone, as much of both, the call. */
static void make_mixes(const struct compare_args *args, struct token_use mixes[N_MIXES]) {
    mixes[0] = (struct token_use){.prompt = 1000000};
    mixes[1] = (struct token_use){.completion = 1000000};
    mixes[2] = (struct token_use){.prompt = 1000000, .completion = 1000000};
    mixes[3] = (struct token_use){.prompt = (uint64_t)args->n_in,
                                  .completion = (uint64_t)args->n_out};
}

/* AS_WRITTEN: as if all currencies were the same. */
static double saving(const struct side *a, const struct side *b, const struct token_use *mix,
                     bool as_written) {
    return price_saving(price_cost(a->row, mix) * (as_written ? 1 : a->factor),
                        price_cost(b->row, mix) * (as_written ? 1 : b->factor));
}

static void print_savings(const char *label, const struct side *a, const struct side *b,
                          const struct token_use mixes[N_MIXES], bool as_written) {
    output_printf("%-44s", label);
    for (size_t m = 0; m < N_MIXES; m++) {
        const double part = saving(a, b, &mixes[m], as_written);
        if (isnan(part)) output_printf(" %10s", "-");
        else output_printf(" %8.1f %%", 100 * part);
    }
    output_printf("\n");
}

static void print_pairs(const struct side *sides, size_t n,
                        const struct token_use mixes[N_MIXES]) {
    output_printf("\n%-44s %10s %10s %10s %10s\n", "CHEAPER BY (negative: dearer)", "IN", "OUT",
                  "1:1", "CALL");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            const struct side *const a = &sides[i], *const b = &sides[k];
            char label[128];
            snprintf(label, sizeof label, "%s than %s", a->asked, b->asked);
            print_savings(label, a, b, mixes, false);
            if (strcmp(a->row->currency, b->row->currency) == 0) continue;
            snprintf(label, sizeof label, "  if %s were read as %s", a->row->currency,
                     b->row->currency);
            print_savings(label, a, b, mixes, true);
        }
    }
}

static void print_comparison(const struct desk *desk, const struct compare_args *args,
                             const struct side *sides, size_t n, int32_t day,
                             const char *currency) {
    struct token_use mixes[N_MIXES];
    char date[16], amounts[5][32];
    make_mixes(args, mixes);
    output_printf("%s per million tokens on %s, and for a call of %d tokens in and %d out\n\n",
                  currency, day_text(day, date), args->n_in, args->n_out);
    output_printf("%-32s %-20s %10s %10s %10s\n", "MODEL", "LISTED IN / OUT", "IN", "OUT", "CALL");
    for (size_t i = 0; i < n; i++) {
        const struct price *const row = sides[i].row;
        char name[300], listed[80];
        prices_full_name(row, name, sizeof name);
        snprintf(listed, sizeof listed, "%s / %s %s", money_text(row->input, amounts[0]),
                 money_text(row->output, amounts[1]), row->currency);
        static const size_t shown[] = {0, 1, 3};
        for (size_t k = 0; k < 3; k++) {
            money_text(price_cost(row, &mixes[shown[k]]) * sides[i].factor, amounts[2 + k]);
        }
        output_printf("%-32s %-20s %10s %10s %10s\n", name, listed, amounts[2], amounts[3],
                      amounts[4]);
    }
    if (n > 1) print_pairs(sides, n, mixes);
    output_printf("\nTokens are the models' own: the same text is more of them for one than for "
                  "another.\n");
    desk_print_rates(desk);
    for (size_t i = 0; i < n; i++) {
        const struct price *const row = sides[i].row;
        output_printf("%s: %s, read %s\n", sides[i].asked, row->source,
                      day_text(row->read_on, date));
    }
}

static json_t *savings_json(const struct side *a, const struct side *b,
                            const struct token_use mixes[N_MIXES], bool as_written) {
    return json_pack("{so so so so}", "input", json_out_number(saving(a, b, &mixes[0], as_written)),
                     "output", json_out_number(saving(a, b, &mixes[1], as_written)), "even",
                     json_out_number(saving(a, b, &mixes[2], as_written)), "call",
                     json_out_number(saving(a, b, &mixes[3], as_written)));
}

static json_t *comparison_json(const struct desk *desk, const struct compare_args *args,
                               const struct side *sides, size_t n, int32_t day,
                               const char *currency) {
    struct token_use mixes[N_MIXES];
    make_mixes(args, mixes);
    json_t *const models = json_array(), *const pairs = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct side *const a = &sides[i];
        json_array_append_new(
            models, json_pack("{ss sf sf sf so}", "asked", a->asked, "input_per_1000",
                              price_cost(a->row, &mixes[0]) * a->factor / 1000, "output_per_1000",
                              price_cost(a->row, &mixes[1]) * a->factor / 1000, "call",
                              price_cost(a->row, &mixes[3]) * a->factor, "price",
                              price_json(a->row)));
        for (size_t k = i + 1; k < n; k++) {
            json_array_append_new(
                pairs, json_pack("{ss ss so so}", "a", a->asked, "b", sides[k].asked, "saving",
                                 savings_json(a, &sides[k], mixes, false), "saving_as_written",
                                 savings_json(a, &sides[k], mixes, true)));
        }
    }
    char date[16];
    return json_pack("{ss ss si si so so so}", "date", day_text(day, date), "currency", currency,
                     "in", args->n_in, "out", args->n_out, "models", models, "pairs", pairs,
                     "rates", desk_rates_json(desk));
}

static int compare_all(struct desk *desk, const struct compare_args *args,
                       const struct arguments *arguments, int32_t day, const char *currency) {
    struct side *const sides = mem_array(arguments->n, sizeof *sides);
    if (!sides) return output_error("out of memory for %zu models", arguments->n);
    int status = OPTIONS_RUN;
    for (size_t i = 0; i < arguments->n && status == OPTIONS_RUN; i++) {
        struct side *const side = &sides[i];
        side->asked = arguments->items[i];
        const struct price_query query = {.day = day, .prompt_tokens = (uint64_t)args->n_in,
                                          .currency = currency};
        status = desk_find(desk, side->asked, query, &side->row);
        if (status != OPTIONS_RUN) break;
        side->factor = desk_exchange(desk, side->row->currency, currency, day);
        if (isnan(side->factor)) status = EXIT_FAILED;
    }
    if (status == OPTIONS_RUN && args->json) {
        status = json_out_print(
            comparison_json(desk, args, sides, arguments->n, day, currency));
    } else if (status == OPTIONS_RUN) {
        print_comparison(desk, args, sides, arguments->n, day, currency);
        status = EXIT_DONE;
    }
    mem_free(sides);
    return status;
}

int prices_compare(const struct command *command, int argc, char **argv) {
    // The call is about what one answer of a page of code takes.
    static const struct compare_args defaults = {NULL, "USD", 100, 1500, false};
    struct compare_args args;
    const struct option_group group = {"Options", compare_rows,
                                       sizeof compare_rows / sizeof compare_rows[0], &args,
                                       &defaults, sizeof defaults};
    struct arguments arguments;
    struct desk desk;
    int32_t day;
    char currency[4];
    int status = options_parse(command, &group, 1, argc, argv, 1, 64, &arguments);
    if (status == OPTIONS_RUN) status = prices_read_day(command, args.date, &day);
    if (status == OPTIONS_RUN) status = prices_read_currency(command, args.currency, currency);
    if (status != OPTIONS_RUN) return status;
    status = desk_open(&desk);
    if (status == OPTIONS_RUN) status = compare_all(&desk, &args, &arguments, day, currency);
    desk_close(&desk);
    return status;
}
