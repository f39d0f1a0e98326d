/* octet prices: the price book, listed and added to. */
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prices_desk.h"

/* ---- list ------------------------------------------------------------------------------------ */

struct list_args {
    const char *model, *date, *currency;
    bool json;
};

static const struct option_row list_rows[] = {
    {"model", 'm', OPTION_TEXT, "PATTERN", offsetof(struct list_args, model), 0, 0, false,
     "only models whose name, or PROVIDER/NAME, holds this text, or matches it where it has * ?"},
    {"date", 'd', OPTION_TEXT, "YYYY-MM-DD", offsetof(struct list_args, date), 0, 0, false,
     "only what holds on that day"},
    {"currency", 0, OPTION_TEXT, "CODE", offsetof(struct list_args, currency), 0, 0, false,
     "convert to it; without it as listed"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct list_args, json), 0, 0, false,
     "print one JSON object, with sources"},
};

static bool fits(const char *pattern, const char *name) {
    if (strpbrk(pattern, "*?[")) return fnmatch(pattern, name, 0) == 0;
    return strstr(name, pattern) != NULL;
}

static bool is_listed(const struct price *row, const struct list_args *args, int32_t day) {
    if (args->date && (day < row->valid_from || day > row->valid_to)) return false;
    if (!args->model) return true;
    char name[300];
    prices_full_name(row, name, sizeof name);
    bool found = fits(args->model, name);
    for (size_t i = 0; i < row->n_names && !found; i++) found = fits(args->model, row->names[i]);
    return found;
}

/* Whether the provider itself states the price in CURRENCY, so that converting adds nothing. */
static bool is_stated_in(const struct price_book *book, const struct price *row, int32_t day,
                         const char *currency) {
    if (strcmp(row->currency, currency) == 0) return false;
    const struct price_query query = {.provider = row->provider, .model = row->names[0],
                                      .day = day, .prompt_tokens = row->prompt_above + 1,
                                      .currency = currency};
    const struct price *const other = price_find(book, &query);
    return other && strcmp(other->currency, currency) == 0;
}

static void convert_row(struct price *row, double factor, const char *currency) {
    row->input *= factor;
    row->output *= factor;
    row->cached_input *= factor;
    row->reasoning *= factor;
    memcpy(row->currency, currency, sizeof row->currency);
}

static void print_row(const struct price *row) {
    char name[300], prompts[48] = "", amounts[4][32], from[16], to[16];
    prices_full_name(row, name, sizeof name);
    if (row->prompt_above > 0) {
        snprintf(prompts, sizeof prompts, "> %llu", (unsigned long long)row->prompt_above);
    } else if (row->prompt_to != UINT64_MAX) {
        snprintf(prompts, sizeof prompts, "<= %llu", (unsigned long long)row->prompt_to);
    }
    const double values[] = {row->input, row->output, row->cached_input, row->reasoning};
    for (size_t i = 0; i < 4; i++) {
        if (isnan(values[i])) strcpy(amounts[i], "-");
        else money_text(values[i], amounts[i]);
    }
    output_printf("%-30s %-10s %9s %9s %9s %9s %s  %s  %s%s\n", name, prompts, amounts[0],
                  amounts[1], amounts[2], amounts[3], row->currency,
                  day_text(row->valid_from, from), day_text(row->valid_to, to),
                  row->added ? " (added)" : "");
}

/* Prints the rows or, where JSON is not NULL, appends them to it. */
static int list_all(struct desk *desk, const struct list_args *args, int32_t day,
                    const char *currency, json_t *json) {
    size_t n = 0;
    for (size_t i = 0; i < desk->book.n_rows; i++) {
        struct price row = desk->book.rows[i];
        if (!is_listed(&row, args, day)) continue;
        if (currency[0]) {
            const int32_t when = args->date ? day : row.valid_from;
            if (is_stated_in(&desk->book, &row, when, currency)) continue;
            const double factor = desk_exchange(desk, row.currency, currency, when);
            if (isnan(factor)) return EXIT_FAILED;
            convert_row(&row, factor, currency);
        }
        if (n++ == 0 && !json) {
            output_printf("%-30s %-10s %9s %9s %9s %9s %s  %-10s  %s\n", "PER MILLION TOKENS",
                          "PROMPTS", "IN", "OUT", "CACHED", "REASONING", "   ", "FROM", "TO");
        }
        if (json) json_array_append_new(json, price_json(&row));
        else print_row(&row);
    }
    if (n > 0) return OPTIONS_RUN;
    return output_error("no price matches; 'octet prices list' shows all");
}

static int list_run(const struct command *command, int argc, char **argv) {
    static const struct list_args defaults = {NULL, NULL, NULL, false};
    struct list_args args;
    const struct option_group group = {"Options", list_rows,
                                       sizeof list_rows / sizeof list_rows[0], &args, &defaults,
                                       sizeof defaults};
    struct arguments arguments;
    struct desk desk;
    int32_t day;
    char currency[4];
    int status = options_parse(command, &group, 1, argc, argv, 0, 0, &arguments);
    if (status == OPTIONS_RUN) status = prices_read_day(command, args.date, &day);
    if (status == OPTIONS_RUN) status = prices_read_currency(command, args.currency, currency);
    if (status != OPTIONS_RUN) return status;
    status = desk_open(&desk);
    json_t *const list = args.json ? json_array() : NULL;
    if (status == OPTIONS_RUN) status = list_all(&desk, &args, day, currency, list);
    if (status == OPTIONS_RUN && args.json) {
        status = json_out_print(
            json_pack("{sO so}", "prices", list, "rates", desk_rates_json(&desk)));
    } else if (status == OPTIONS_RUN) {
        desk_print_rates(&desk);
        status = EXIT_DONE;
    }
    json_decref(list);
    desk_close(&desk);
    return status;
}

static int read_amount(const struct command *command, const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && errno == 0 && isfinite(*out)) return OPTIONS_RUN;
    return options_misuse(command, "expected a number, not '%s'", text);
}

/* ---- convert --------------------------------------------------------------------------------- */

struct convert_args {
    const char *date;
};

static const struct option_row convert_rows[] = {
    {"date", 'd', OPTION_TEXT, "YYYY-MM-DD", offsetof(struct convert_args, date), 0, 0, false,
     "day the amount is of; without it today"},
};

static int convert_run(const struct command *command, int argc, char **argv) {
    static const struct convert_args defaults = {NULL};
    struct convert_args args;
    const struct option_group group = {"Options", convert_rows, 1, &args, &defaults,
                                       sizeof defaults};
    struct arguments arguments;
    double amount;
    char from[4], to[4], before[32], after[32];
    int32_t day;
    int status = options_parse(command, &group, 1, argc, argv, 3, 3, &arguments);
    if (status == OPTIONS_RUN) status = read_amount(command, arguments.items[0], &amount);
    if (status == OPTIONS_RUN) status = prices_read_currency(command, arguments.items[1], from);
    if (status == OPTIONS_RUN) status = prices_read_currency(command, arguments.items[2], to);
    if (status == OPTIONS_RUN) status = prices_read_day(command, args.date, &day);
    if (status != OPTIONS_RUN) return status;
    struct desk desk;
    status = desk_open(&desk);
    if (status == OPTIONS_RUN) {
        const double factor = desk_exchange(&desk, from, to, day);
        status = isnan(factor) ? EXIT_FAILED : EXIT_DONE;
        if (status == EXIT_DONE) {
            output_printf("%s %s = %s %s\n", money_text(amount, before), from,
                          money_text(amount * factor, after), to);
            desk_print_rates(&desk);
        }
    }
    desk_close(&desk);
    return status;
}

/* ---- add, add-rate --------------------------------------------------------------------------- */

struct add_args {
    const char *provider, *model, *currency, *input, *output, *cached, *reasoning;
    const char *from, *to, *source, *read_on, *note;
    struct text_list aliases;
    int32_t unit, prompt_above, prompt_to;
};

static const struct option_row add_rows[] = {
    {"provider", 0, OPTION_TEXT, "NAME", offsetof(struct add_args, provider), 0, 0, true,
     "who sells it: openai, mistral, ..."},
    {"model", 'm', OPTION_TEXT, "ID", offsetof(struct add_args, model), 0, 0, true,
     "its name in the provider's API"},
    {"alias", 0, OPTION_TEXTS, "ID", offsetof(struct add_args, aliases), 0, 0, false,
     "another name of it; may be given several times"},
    {"currency", 0, OPTION_TEXT, "CODE", offsetof(struct add_args, currency), 0, 0, true,
     "EUR, USD, ..."},
    {"unit", 0, OPTION_CHOICE, "1000000|1000", offsetof(struct add_args, unit), 0, 0, false,
     "tokens that the prices are for"},
    {"input", 0, OPTION_TEXT, "PRICE", offsetof(struct add_args, input), 0, 0, true,
     "of tokens sent"},
    {"output", 0, OPTION_TEXT, "PRICE", offsetof(struct add_args, output), 0, 0, true,
     "of tokens answered"},
    {"cached-input", 0, OPTION_TEXT, "PRICE", offsetof(struct add_args, cached), 0, 0, false,
     "of tokens sent that the provider had cached; without it as --input"},
    {"reasoning", 0, OPTION_TEXT, "PRICE", offsetof(struct add_args, reasoning), 0, 0, false,
     "of hidden reasoning; without it as --output"},
    {"prompt-above", 0, OPTION_INT, "N", offsetof(struct add_args, prompt_above), 0, INT32_MAX,
     false, "holds for prompts of more than N tokens"},
    {"prompt-to", 0, OPTION_INT, "N", offsetof(struct add_args, prompt_to), 0, INT32_MAX, false,
     "holds for prompts of at most N tokens; 0: no limit"},
    {"from", 0, OPTION_TEXT, "YYYY-MM-DD", offsetof(struct add_args, from), 0, 0, true,
     "first day it holds"},
    {"to", 0, OPTION_TEXT, "YYYY-MM-DD", offsetof(struct add_args, to), 0, 0, false,
     "last day it holds"},
    {"source", 0, OPTION_TEXT, "TEXT", offsetof(struct add_args, source), 0, 0, true,
     "where it is published"},
    {"read-on", 0, OPTION_TEXT, "YYYY-MM-DD", offsetof(struct add_args, read_on), 0, 0, false,
     "when that was read; without it today"},
    {"note", 0, OPTION_TEXT, "TEXT", offsetof(struct add_args, note), 0, 0, false,
     "anything else to know"},
};

/* Writes OBJECT, which it releases, to the user's book and says where that is. */
static int add_object(json_t *object, bool is_rate) {
    struct octet_err err;
    char *const text = object ? json_dumps(object, 0) : NULL;
    json_decref(object);
    if (!text) return output_error("the entry can not be written as JSON: is all of it UTF-8?");
    char *const path = price_book_user_path(&err);
    int status = EXIT_DONE;
    if (!path) {
        status = err.status != OCTET_OK
                     ? output_failure(&err)
                     : output_error("neither $XDG_CONFIG_HOME nor $HOME says where the price book "
                                    "is");
    } else if (price_book_add(path, text, is_rate, &err) != OCTET_OK) {
        status = output_failure(&err);
    } else {
        output_printf("added to %s\n", path);
    }
    mem_free(path);
    free(text);
    return status;
}

/* Puts the number TEXT under KEY; NULL: null. */
static int put_amount(const struct command *command, json_t *object, const char *key,
                      const char *text) {
    double value;
    if (!text) return OPTIONS_RUN;
    const int status = read_amount(command, text, &value);
    if (status == OPTIONS_RUN) json_object_set_new(object, key, json_real(value));
    return status;
}

static int add_price(const struct command *command, const struct add_args *args) {
    char today[16];
    json_t *const aliases = json_array();
    for (size_t i = 0; i < args->aliases.n; i++) {
        json_array_append_new(aliases, json_string(args->aliases.items[i]));
    }
    json_t *const object = json_pack(
        "{ss ss so ss si si so ss ss* ss ss ss*}", "provider", args->provider, "model",
        args->model, "aliases", aliases, "currency", args->currency, "unit",
        args->unit == 0 ? 1000000 : 1000, "prompt_above", args->prompt_above, "prompt_to",
        args->prompt_to == 0 ? json_null() : json_integer(args->prompt_to), "valid_from",
        args->from, "valid_to", args->to, "source", args->source, "read_on",
        args->read_on ? args->read_on : day_text(day_today(), today), "note", args->note);
    int status = put_amount(command, object, "input", args->input);
    if (status == OPTIONS_RUN) status = put_amount(command, object, "output", args->output);
    if (status == OPTIONS_RUN) status = put_amount(command, object, "cached_input", args->cached);
    if (status == OPTIONS_RUN) status = put_amount(command, object, "reasoning", args->reasoning);
    if (status == OPTIONS_RUN) return add_object(object, false);
    json_decref(object);
    return status;
}

static int add_run(const struct command *command, int argc, char **argv) {
    static const struct add_args defaults = {.unit = 0};
    struct add_args args;
    const struct option_group group = {"Options", add_rows, sizeof add_rows / sizeof add_rows[0],
                                       &args, &defaults, sizeof defaults};
    struct arguments arguments;
    int status = options_parse(command, &group, 1, argc, argv, 0, 0, &arguments);
    if (status != OPTIONS_RUN) return status;
    status = add_price(command, &args);
    options_free(&group, 1);
    return status;
}

struct add_rate_args {
    const char *date, *source;
};

static const struct option_row add_rate_rows[] = {
    {"date", 'd', OPTION_TEXT, "YYYY-MM-DD", offsetof(struct add_rate_args, date), 0, 0, true,
     "day of the rate"},
    {"source", 0, OPTION_TEXT, "TEXT", offsetof(struct add_rate_args, source), 0, 0, true,
     "who states it"},
};

static int add_rate_run(const struct command *command, int argc, char **argv) {
    static const struct add_rate_args defaults = {NULL, NULL};
    struct add_rate_args args;
    const struct option_group group = {"Options", add_rate_rows,
                                       sizeof add_rate_rows / sizeof add_rate_rows[0], &args,
                                       &defaults, sizeof defaults};
    struct arguments arguments;
    char from[4], to[4];
    double rate;
    int status = options_parse(command, &group, 1, argc, argv, 3, 3, &arguments);
    if (status == OPTIONS_RUN) status = prices_read_currency(command, arguments.items[0], from);
    if (status == OPTIONS_RUN) status = prices_read_currency(command, arguments.items[1], to);
    if (status == OPTIONS_RUN) status = read_amount(command, arguments.items[2], &rate);
    if (status != OPTIONS_RUN) return status;
    return add_object(json_pack("{ss ss sf ss ss}", "from", from, "to", to, "rate", rate, "date",
                                args.date, "source", args.source), true);
}

/* ---- The command ----------------------------------------------------------------------------- */

static const struct command verbs[] = {
    {
        .name = "prices list",
        .usage = "[options]",
        .about = "Prints the rows of the price book: the built-in ones and those added.",
        .examples = "  octet prices list --model mistral --date 2023-12-13\n"
                    "  octet prices list --model 'openai/gpt-4*' --currency EUR\n",
        .run = list_run,
    },
    {
        .name = "prices compare",
        .usage = "MODEL [MODEL ...] [options]",
        .about = "Prints what the models cost on a day, and how much cheaper each is than those "
                 "named after it: for input, for output, for as much of both, and for one call. "
                 "Exchange rates and sources stand below.",
        .examples = "  octet prices compare mistral-medium gpt-4-turbo gpt-4 --date 2023-12-13\n"
                    "  octet prices compare openai/gpt-5.5 mistral-small-latest --in 4000\n",
        .run = prices_compare,
    },
    {
        .name = "prices convert",
        .usage = "AMOUNT FROM TO [options]",
        .about = "Converts money by the known rate nearest in time, and says which one that is.",
        .examples = "  octet prices convert 7.5 EUR USD --date 2023-12-13\n",
        .run = convert_run,
    },
    {
        .name = "prices add",
        .usage = "--provider NAME --model ID --currency CODE --input PRICE --output PRICE "
                 "--from DATE --source TEXT [options]",
        .about = "Adds a row to your price book, $XDG_CONFIG_HOME/octet/prices.json or "
                 "~/.config/octet/prices.json, whose rows come before the built-in ones.",
        .examples = "  octet prices add --provider acme --model coder-1 --currency USD \\\n"
                    "      --input 0.2 --output 0.8 --from 2026-01-01 --source acme.example\n",
        .run = add_run,
    },
    {
        .name = "prices add-rate",
        .usage = "FROM TO RATE --date DATE --source TEXT",
        .about = "Adds an exchange rate to your price book: one FROM is RATE TO on that day.",
        .examples = "  octet prices add-rate EUR USD 1.08 --date 2023-12-13 --source 'my bank'\n",
        .run = add_rate_run,
    },
};

enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

static const char *verb_name(size_t i) { return verbs[i].name + strlen("prices "); }

static int run(const struct command *command, int argc, char **argv) {
    struct arguments arguments;
    if (argc < 2 || argv[1][0] == '-') {
        const int status = options_parse(command, NULL, 0, argc, argv, 1, 1, &arguments);
        return status == OPTIONS_RUN
                   ? options_misuse(command, "the verb comes first: '%s'", arguments.items[0])
                   : status;
    }
    const char *names[N_VERBS];
    for (size_t i = 0; i < N_VERBS; i++) {
        names[i] = verb_name(i);
        if (strcmp(argv[1], names[i]) == 0) return verbs[i].run(&verbs[i], argc - 1, argv + 1);
    }
    const char *const nearest = options_nearest(argv[1], names, N_VERBS);
    if (!nearest) return options_misuse(command, "unknown verb '%s'", argv[1]);
    return options_misuse(command, "unknown verb '%s' (did you mean '%s'?)", argv[1], nearest);
}

const struct command cmd_prices = {
    .name = "prices",
    .summary = "what tokens cost, by model and date",
    .usage = "list | compare | convert | add | add-rate [options]",
    .about = "A price book with dates, currencies and sources. What it does not know is unpriced, "
             "never free. 'octet prices compare --help' and so on explain the verbs.",
    .examples = "  octet prices list --model mistral --date 2023-12-13\n"
                "  octet prices compare mistral-medium gpt-4-turbo gpt-4 --date 2023-12-13\n"
                "  octet prices convert 7.5 EUR USD --date 2023-12-13\n",
    .run = run,
};
