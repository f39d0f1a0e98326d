/* octet report: makes the reports of stored runs again, or of several runs put together. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "compare/report.h"
#include "compare/report_text.h"
#include "compare/store.h"

enum { MAX_RUNS = 64 };

struct report_args {
    const char *store, *html, *markdown, *csv, *document;
    bool json, list;
};

static const struct option_row rows[] = {
    {"html", 0, OPTION_TEXT, "FILE", offsetof(struct report_args, html), 0, 0, false,
     "write one self-contained page"},
    {"md", 0, OPTION_TEXT, "FILE", offsetof(struct report_args, markdown), 0, 0, false,
     "write a summary in Markdown"},
    {"csv", 0, OPTION_TEXT, "FILE", offsetof(struct report_args, csv), 0, 0, false,
     "write a row per answer"},
    {"export", 0, OPTION_TEXT, "FILE", offsetof(struct report_args, document), 0, 0, false,
     "write all that is stored, texts included, as JSON"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct report_args, json), 0, 0, false,
     "print one line of JSON instead of the table"},
    {"list", 0, OPTION_FLAG, NULL, offsetof(struct report_args, list), 0, 0, false,
     "only list the runs of the store"},
    {"store", 0, OPTION_TEXT, "FILE", offsetof(struct report_args, store), 0, 0, false,
     "database of runs; default: octet/runs.db in the user's data folder"},
};

/* ---- List ------------------------------------------------------------------------------------ */

static char *list_text(const json_t *list) {
    struct report_text text = {0};
    size_t i, k;
    const json_t *run, *name;
    json_array_foreach(list, i, run) {
        report_format(&text, "%5" JSON_INTEGER_FORMAT "  ",
                      json_integer_value(json_object_get(run, "id")));
        report_line(&text, summary_text(run, "started"));
        report_raw(&text, "  ");
        report_line(&text, summary_text(run, "set"));
        report_format(&text,
                      ", %" JSON_INTEGER_FORMAT " tasks, %" JSON_INTEGER_FORMAT " answers%s: ",
                      json_integer_value(json_object_get(run, "tasks")),
                      json_integer_value(json_object_get(run, "answers")),
                      json_is_true(json_object_get(run, "finished")) ? "" : ", not finished");
        json_array_foreach(json_object_get(run, "models"), k, name) {
            if (k > 0) report_raw(&text, ", ");
            report_line(&text, json_string_value(name));
        }
        report_raw(&text, "\n");
    }
    if (json_array_size(list) == 0) report_raw(&text, "no runs yet; octet compare makes them\n");
    return report_take(&text);
}

static int list_runs(const struct report_args *args) {
    struct store *store;
    struct octet_err err;
    json_t *list = NULL;
    if (store_open(args->store, &store, &err) != OCTET_OK) return output_failure(&err);
    const enum octet_status status = store_list(store, &list, &err);
    store_close(store);
    if (status != OCTET_OK) return output_failure(&err);
    if (args->json) return json_out_print(list);
    char *const text = list_text(list);
    json_decref(list);
    if (!text) return output_error("out of memory for the list of runs");
    output_write(text, strlen(text));
    mem_free(text);
    return EXIT_DONE;
}

/* ---- Report ---------------------------------------------------------------------------------- */

static bool parse_run(const char *text, int64_t *run) {
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    *run = value;
    return errno == 0 && end != text && *end == '\0' && value > 0;
}

static int make_reports(const struct command *command, const struct report_args *args,
                        const struct arguments *arguments) {
    int64_t runs[MAX_RUNS];
    for (size_t i = 0; i < arguments->n; i++) {
        if (!parse_run(arguments->items[i], &runs[i])) {
            return options_misuse(command, "'%s' is no number of a run, see --list",
                                  arguments->items[i]);
        }
    }
    const struct report_targets targets = {args->html, args->markdown, args->csv, args->json,
                                           args->document};
    struct octet_err err;
    output_flush();
    const enum octet_status status = report_runs(args->store, arguments->n > 0 ? runs : NULL,
                                                 arguments->n, &targets, stdout, &err);
    return status == OCTET_OK ? EXIT_DONE : output_failure(&err);
}

static int report_command(const struct command *command, int argc, char **argv) {
    static const struct report_args defaults = {0};
    struct report_args args;
    const struct option_group groups[] = {
        {"Options", rows, sizeof rows / sizeof rows[0], &args, &defaults, sizeof defaults},
    };
    struct arguments arguments;
    const int status = options_parse(command, groups, 1, argc, argv, 0, MAX_RUNS, &arguments);
    if (status != OPTIONS_RUN) return status;
    return args.list ? list_runs(&args) : make_reports(command, &args, &arguments);
}

const struct command cmd_report = {
    .name = "report",
    .summary = "shows stored runs of octet compare again",
    .usage = "[RUN...] [options]",
    .about = "Prints the table of a stored run, the newest one unless its number is given, and "
             "writes pages and files for it. Several runs are put together on the tasks they have "
             "in common. Nothing is asked or run again, and the same runs give the same files.",
    .examples = "  octet report --list\n"
                "  octet report --html report.html\n"
                "  octet report 3 7 --html both.html --csv both.csv\n",
    .run = report_command,
};
