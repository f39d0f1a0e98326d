/* Parsing, checking and --help, all from the same rows. */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/words.h"
#include "cli/output.h"

enum { HELP_INDENT = 30, HELP_WIDTH = 100, MAX_NAMES = 128 };

struct place { // where an option stores its value
    const struct option_row *row;
    const struct option_group *group;
};

static void *target_of(struct place place) {
    return (char *)place.group->target + place.row->offset;
}

/* ---- Complaints ------------------------------------------------------------------------------ */

int options_misuse(const struct command *command, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "octet %s: ", command->name);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\nTry 'octet %s --help'.\n", command->name);
    va_end(args);
    return EXIT_MISUSE;
}

const char *options_nearest(const char *word, const char *const *names, size_t n) {
    const char *nearest = NULL;
    size_t best = strlen(word) / 3 + 2; // further away is a different word
    for (size_t i = 0; i < n; i++) {
        const size_t d = words_distance(word, names[i]);
        if (d >= best) continue;
        best = d;
        nearest = names[i];
    }
    return nearest;
}

static int unknown_option(const struct command *command, const struct option_group *groups,
                          size_t n_groups, const char *argument) {
    const char *names[MAX_NAMES];
    size_t n = 0;
    names[n++] = "help";
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n_rows && n < MAX_NAMES; i++) {
            names[n++] = groups[g].rows[i].name;
        }
    }
    char word[32];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(argument, "="), argument);
    const char *const nearest =
        word[0] == '-' && word[1] == '-' ? options_nearest(word + 2, names, n) : NULL;
    if (nearest == NULL) return options_misuse(command, "unknown option '%s'", argument);
    return options_misuse(command, "unknown option '%s' (did you mean '--%s'?)", argument,
                          nearest);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool parse_choice(const char *words, const char *text, int32_t *out) {
    const size_t n = strlen(text);
    for (int32_t i = 0;; i++) {
        const size_t length = strcspn(words, "|");
        if (length == n && strncmp(words, text, n) == 0) {
            *out = i;
            return true;
        }
        if (words[length] == '\0') return false;
        words += length + 1;
    }
}

static bool parse_number(const char *text, bool whole, double min, double max, double *out) {
    char *end;
    errno = 0;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || errno == ERANGE || !isfinite(value)) return false;
    if (whole && value != floor(value)) return false;
    *out = value;
    return value >= min && value <= max;
}

static bool parse_seed(const char *text, uint64_t *out) {
    if (text[0] < '0' || text[0] > '9') return false;
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 0);
    return errno == 0 && *end == '\0';
}

static int bad_number(const struct command *command, const struct option_row *row,
                      const char *text) {
    const char *const noun = row->kind == OPTION_FLOAT ? "a number" : "a whole number";
    return options_misuse(command, "--%s takes %s from %.10g to %.10g, not '%s'", row->name, noun,
                          row->min, row->max, text);
}

static int store(const struct command *command, struct place place, const char *text) {
    const struct option_row *const row = place.row;
    void *const target = target_of(place);
    double value;
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)target = true;
        break;
    case OPTION_TEXT:
        *(const char **)target = text;
        break;
    case OPTION_TEXTS: {
        struct text_list *const list = target;
        if (!mem_reserve((void **)&list->items, &list->cap, list->n + 1, sizeof *list->items)) {
            return output_error("out of memory for the options");
        }
        list->items[list->n++] = text;
        break;
    }
    case OPTION_INT:
        if (!parse_number(text, true, row->min, row->max, &value)) {
            return bad_number(command, row, text);
        }
        *(int32_t *)target = (int32_t)value;
        break;
    case OPTION_FLOAT:
        if (!parse_number(text, false, row->min, row->max, &value)) {
            return bad_number(command, row, text);
        }
        *(float *)target = (float)value;
        break;
    case OPTION_SEED:
        if (!parse_seed(text, target)) {
            return options_misuse(command, "--%s takes a whole number from 0 to 2^64-1, not '%s'",
                                  row->name, text);
        }
        break;
    case OPTION_CHOICE:
        if (!parse_choice(row->value, text, target)) {
            return options_misuse(command, "--%s takes one of %s, not '%s'", row->name, row->value,
                                  text);
        }
        break;
    }
    return OPTIONS_RUN;
}

/* ---- Help ------------------------------------------------------------------------------------ */

/* TEXT in lines of at most HELP_WIDTH columns, the first of which begins at COLUMN. */
static void print_wrapped(const char *text, int indent, int column) {
    while (*text != '\0') {
        const int n = (int)strcspn(text, " ");
        if (column > indent && column + 1 + n > HELP_WIDTH) {
            output_printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            output_printf(" ");
            column++;
        }
        output_printf("%.*s", n, text);
        column += n;
        text += n + (text[n] == ' ');
    }
    output_printf("\n");
}

static void default_text(const struct option_row *row, const void *defaults, char *text,
                         size_t cap) {
    const void *const value = (const char *)defaults + row->offset;
    text[0] = '\0';
    switch (row->kind) {
    case OPTION_FLAG:
    case OPTION_TEXTS:
        break;
    case OPTION_TEXT:
        if (*(const char *const *)value != NULL) {
            snprintf(text, cap, " [%s]", *(const char *const *)value);
        }
        break;
    case OPTION_INT:
        snprintf(text, cap, " [%d]", *(const int32_t *)value);
        break;
    case OPTION_FLOAT:
        snprintf(text, cap, " [%g]", (double)*(const float *)value);
        break;
    case OPTION_SEED:
        snprintf(text, cap, " [%llu]", (unsigned long long)*(const uint64_t *)value);
        break;
    case OPTION_CHOICE: {
        const char *word = row->value;
        for (int32_t i = 0; i < *(const int32_t *)value; i++) word += strcspn(word, "|") + 1;
        snprintf(text, cap, " [%.*s]", (int)strcspn(word, "|"), word);
        break;
    }
    }
}

static void print_row(const struct option_row *row, const void *defaults) {
    char spelling[64], fallback[64], help[512];
    char letter[8] = "    ";
    if (row->letter != 0) snprintf(letter, sizeof letter, "-%c, ", row->letter);
    int n = snprintf(spelling, sizeof spelling, "  %s--%s", letter, row->name);
    if (row->value != NULL) {
        n += snprintf(spelling + n, sizeof spelling - (size_t)n, " %s", row->value);
    }
    output_printf("%s", spelling);
    if (n + 2 > HELP_INDENT) {
        output_printf("\n");
        n = 0;
    }
    output_printf("%*s", HELP_INDENT - n, "");
    default_text(row, defaults, fallback, sizeof fallback);
    snprintf(help, sizeof help, "%s%s", row->help, fallback);
    print_wrapped(help, HELP_INDENT, HELP_INDENT);
}

static int print_help(const struct command *command, const struct option_group *groups,
                      size_t n_groups) {
    output_printf("Usage: octet %s %s\n\n", command->name, command->usage);
    print_wrapped(command->about, 0, 0);
    for (size_t g = 0; g < n_groups; g++) {
        output_printf("\n%s:\n", groups[g].title);
        for (size_t i = 0; i < groups[g].n_rows; i++) {
            print_row(&groups[g].rows[i], groups[g].defaults);
        }
    }
    output_printf("\n  -h, --help%*sthis text; defaults stand in brackets\n", HELP_INDENT - 12, "");
    output_printf("\nExamples:\n%s", command->examples);
    return EXIT_DONE;
}

/* ---- Parsing --------------------------------------------------------------------------------- */

static struct place find_option(const struct option_group *groups, size_t n_groups,
                                const char *name, size_t n_name) {
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n_rows; i++) {
            const struct option_row *const row = &groups[g].rows[i];
            const bool same = strlen(row->name) == n_name && strncmp(row->name, name, n_name) == 0;
            if (same) return (struct place){row, &groups[g]};
        }
    }
    return (struct place){NULL, NULL};
}

static struct place find_letter(const struct option_group *groups, size_t n_groups, char letter) {
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n_rows; i++) {
            if (groups[g].rows[i].letter == letter) {
                return (struct place){&groups[g].rows[i], &groups[g]};
            }
        }
    }
    return (struct place){NULL, NULL};
}

/* One option at argv[*i], its value possibly at argv[*i + 1]. */
static int parse_option(const struct command *command, const struct option_group *groups,
                        size_t n_groups, int argc, char **argv, int *i) {
    const char *const argument = argv[*i];
    const char *value = NULL; // within the same argument
    struct place place;
    if (argument[1] == '-') {
        const size_t n = strcspn(argument + 2, "=");
        place = find_option(groups, n_groups, argument + 2, n);
        if (argument[2 + n] == '=') value = argument + 2 + n + 1;
    } else {
        place = find_letter(groups, n_groups, argument[1]);
        if (argument[2] != '\0') value = argument + 2;
    }
    if (place.row == NULL) return unknown_option(command, groups, n_groups, argument);
    if (place.row->kind == OPTION_FLAG) {
        if (value != NULL) {
            return options_misuse(command, "--%s takes no value ('%s')", place.row->name, argument);
        }
    } else if (value == NULL) {
        if (*i + 1 >= argc) {
            return options_misuse(command, "--%s needs a value: %s", place.row->name,
                                  place.row->value);
        }
        value = argv[++*i];
    }
    return store(command, place, value);
}

static int check_required(const struct command *command, const struct option_group *groups,
                          size_t n_groups) {
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n_rows; i++) {
            const struct place place = {&groups[g].rows[i], &groups[g]};
            if (place.row->required && *(const char *const *)target_of(place) == NULL) {
                return options_misuse(command, "--%s %s is missing", place.row->name,
                                      place.row->value);
            }
        }
    }
    return OPTIONS_RUN;
}

int options_parse(const struct command *command, const struct option_group *groups,
                  size_t n_groups, int argc, char **argv, size_t min_arguments,
                  size_t max_arguments, struct arguments *arguments) {
    for (size_t g = 0; g < n_groups; g++) {
        memcpy(groups[g].target, groups[g].defaults, groups[g].size);
    }
    *arguments = (struct arguments){.items = argv + 1};
    int status = OPTIONS_RUN;
    bool only_arguments = false;
    for (int i = 1; i < argc && status == OPTIONS_RUN; i++) {
        const char *const argument = argv[i];
        if (!only_arguments && strcmp(argument, "--") == 0) {
            only_arguments = true;
        } else if (only_arguments || argument[0] != '-' || argument[1] == '\0') {
            arguments->items[arguments->n++] = argv[i]; // never ahead of i
        } else if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            status = print_help(command, groups, n_groups);
        } else {
            status = parse_option(command, groups, n_groups, argc, argv, &i);
        }
    }
    if (status == OPTIONS_RUN) status = check_required(command, groups, n_groups);
    if (status == OPTIONS_RUN && arguments->n > max_arguments) {
        status = options_misuse(command, "unexpected argument '%s'",
                                arguments->items[max_arguments]);
    }
    if (status == OPTIONS_RUN && arguments->n < min_arguments) {
        status = options_misuse(command, "too few arguments; usage: octet %s %s", command->name,
                                command->usage);
    }
    if (status != OPTIONS_RUN) options_free(groups, n_groups);
    return status;
}

void options_free(const struct option_group *groups, size_t n_groups) {
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n_rows; i++) {
            if (groups[g].rows[i].kind != OPTION_TEXTS) continue;
            const struct place place = {&groups[g].rows[i], &groups[g]};
            struct text_list *const list = target_of(place);
            mem_free(list->items);
            *list = (struct text_list){NULL, 0, 0};
        }
    }
}
