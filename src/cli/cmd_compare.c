/* octet compare: runs tasks through models and tells which of them wrote code that works. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "compare/compare.h"
#include "compare/report.h"

struct asking_args {
    const char *models, *only;
    int32_t limit, n_samples, max_tokens, style, n_parallel, n_threads, n_ctx;
    float temperature, top_p;
    uint64_t seed;
    bool unsafe_exec;
};

struct money_args {
    const char *currency;
    float max_cost, watts, tariff, hardware, service_hours;
    bool yes;
};

struct keeping_args {
    const char *record, *replay, *store, *html, *markdown, *csv;
    bool fresh, json;
};

struct compare_args {
    struct asking_args asking;
    struct money_args money;
    struct keeping_args keeping;
};

static const struct option_row asking_rows[] = {
    {"models", 0, OPTION_TEXT, "A,B", offsetof(struct asking_args, models), 0, 0, true,
     "who answers: model files, presets (gpt-4, mistral-medium), ollama:MODEL, "
     "NAME=KIND,URL,MODEL,KEY_ENV for any API (a blank after it, not a comma), "
     "NAME=local:temp=0.8,FILE for a model with settings of its own, or reference for the set's "
     "own solutions"},
    {"samples", 0, OPTION_INT, "N", offsetof(struct asking_args, n_samples), 1, 1000, false,
     "answers of each model to each task"},
    {"temp", 0, OPTION_FLOAT, "T", offsetof(struct asking_args, temperature), 0, 2, false,
     "temperature; 0 takes the likeliest token"},
    {"top-p", 0, OPTION_FLOAT, "P", offsetof(struct asking_args, top_p), 0, 1, false,
     "only the likeliest tokens that make up this probability"},
    {"seed", 0, OPTION_SEED, "N", offsetof(struct asking_args, seed), 0, 0, false,
     "of the first sample; the others count up"},
    {"max-tokens", 'n', OPTION_INT, "N", offsetof(struct asking_args, max_tokens), 1, 1 << 20,
     false, "longest answer"},
    {"prompt", 0, OPTION_CHOICE, "auto|chat|raw", offsetof(struct asking_args, style), 0, 0, false,
     "ask as a chat message or as text to continue; auto: chat where the model can"},
    {"only", 0, OPTION_TEXT, "TEXT", offsetof(struct asking_args, only), 0, 0, false,
     "only tasks whose id contains this"},
    {"limit", 0, OPTION_INT, "N", offsetof(struct asking_args, limit), 0, INT32_MAX, false,
     "only the first N tasks; 0: all"},
    {"parallel", 0, OPTION_INT, "N", offsetof(struct asking_args, n_parallel), 0, 256, false,
     "questions asked at the same time; 0: 8 of a local model, 4 of an API"},
    {"ctx", 'c', OPTION_INT, "N", offsetof(struct asking_args, n_ctx), 0, INT32_MAX, false,
     "most tokens a local model holds; 0: what it was trained for, at most 4096"},
    {"threads", 't', OPTION_INT, "N", offsetof(struct asking_args, n_threads), 0, 1024, false,
     "threads of local models and of grading; 0: one per core"},
    {"unsafe-exec", 0, OPTION_FLAG, NULL, offsetof(struct asking_args, unsafe_exec), 0, 0, false,
     "run answers even where the sandbox lacks layers (see octet box --probe)"},
};

static const struct option_row money_rows[] = {
    {"max-cost", 0, OPTION_FLOAT, "X", offsetof(struct money_args, max_cost), 0, 1e6, false,
     "ask no more once the next question could make it dearer than this; 0: no limit"},
    {"yes", 'y', OPTION_FLAG, NULL, offsetof(struct money_args, yes), 0, 0, false,
     "do not ask before spending money"},
    {"currency", 0, OPTION_TEXT, "USD", offsetof(struct money_args, currency), 0, 0, false,
     "of all money shown"},
    {"watts", 0, OPTION_FLOAT, "W", offsetof(struct money_args, watts), 0, 1e5, false,
     "what this machine draws while a local model runs"},
    {"tariff", 0, OPTION_FLOAT, "X", offsetof(struct money_args, tariff), 0, 1e4, false,
     "price of a kWh"},
    {"hardware", 0, OPTION_FLOAT, "X", offsetof(struct money_args, hardware), 0, 1e7, false,
     "price of this machine, spread over --service-hours of use"},
    {"service-hours", 0, OPTION_FLOAT, "H", offsetof(struct money_args, service_hours), 1, 1e6,
     false, "hours of computing the machine lasts"},
};

static const struct option_row keeping_rows[] = {
    {"store", 0, OPTION_TEXT, "FILE", offsetof(struct keeping_args, store), 0, 0, false,
     "database of runs; default: octet/runs.db in the user's data folder"},
    {"fresh", 0, OPTION_FLAG, NULL, offsetof(struct keeping_args, fresh), 0, 0, false,
     "ask everything anew instead of going on with an unfinished run"},
    {"record", 0, OPTION_TEXT, "DIR", offsetof(struct keeping_args, record), 0, 0, false,
     "also keep every answer in this folder"},
    {"replay", 0, OPTION_TEXT, "DIR", offsetof(struct keeping_args, replay), 0, 0, false,
     "take the answers from a recorded folder and ask nobody"},
    {"html", 0, OPTION_TEXT, "FILE", offsetof(struct keeping_args, html), 0, 0, false,
     "write the report as one self-contained page"},
    {"md", 0, OPTION_TEXT, "FILE", offsetof(struct keeping_args, markdown), 0, 0, false,
     "write a summary in Markdown"},
    {"csv", 0, OPTION_TEXT, "FILE", offsetof(struct keeping_args, csv), 0, 0, false,
     "write a row per answer"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct keeping_args, json), 0, 0, false,
     "end with one line of JSON instead of the table"},
};

static const struct compare_args defaults = {
    .asking = {.n_samples = 1, .max_tokens = 1024, .top_p = 1},
    .money = {.currency = "USD", .watts = 65, .tariff = 0.30f, .service_hours = 10000},
};

/* What the library calls back with. */
struct view {
    const struct compare_args *args;
    struct progress progress;
    char label[80];
};

static void on_progress(void *user, const char *label, uint64_t done, uint64_t total) {
    struct view *view = user;
    if (strcmp(label, view->label) != 0) {
        progress_close(&view->progress);
        snprintf(view->label, sizeof view->label, "%s", label);
        progress_open(&view->progress, view->label, PROGRESS_RUNS);
    }
    progress_update(&view->progress, done, total);
}

static void on_say(void *user, const char *line) {
    struct view *view = user;
    progress_close(&view->progress);
    view->label[0] = '\0';
    fprintf(stderr, "octet: %s\n", line);
}

static bool on_confirm(void *user, const char *text) {
    const struct view *view = user;
    fprintf(stderr, "octet: %s\n", text);
    if (view->args->money.yes) return true;
    if (!isatty(STDIN_FILENO)) {
        fputs("octet: add --yes to spend it\n", stderr);
        return false;
    }
    fputs("Go on? [y/N] ", stderr);
    char answer[16] = "";
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* "A,B=openai,URL,MODEL" can not be cut at commas: a part belongs to the one before where that has
 * an '='. Cuts TEXT in place; returns how many, at most CAP. */
static size_t split_models(char *text, const char **models, size_t cap) {
    size_t n = 0;
    for (char *rest = text; rest && *rest && n < cap;) {
        size_t word = strcspn(rest, ", ");
        bool is_api = memchr(rest, '=', word) != NULL;
        size_t length = is_api ? strcspn(rest, " ") : word;
        models[n++] = rest;
        rest = rest[length] ? rest + length + 1 : NULL;
        if (rest) rest[-1] = '\0';
    }
    return n;
}

static int show_run(const struct keeping_args *args, int64_t run) {
    struct octet_err err;
    const struct report_targets targets = {
        .html = args->html, .markdown = args->markdown, .csv = args->csv, .json = args->json};
    if (report_run(args->store, run, &targets, stdout, &err) != OCTET_OK)
        return output_failure(&err);
    return EXIT_DONE;
}

static struct compare_options make_options(const struct compare_args *args) {
    const struct asking_args *a = &args->asking;
    const struct money_args *m = &args->money;
    struct compare_options options = {
        .only = a->only,
        .limit = a->limit,
        .n_samples = a->n_samples,
        .max_tokens = a->max_tokens,
        .temperature = a->temperature,
        .top_p = a->top_p,
        .seed = a->seed,
        .style = (enum prompt_style)a->style,
        .n_threads = a->n_threads,
        .unsafe_exec = a->unsafe_exec,
        .provider = {.n_parallel = a->n_parallel,
                     .n_threads = a->n_threads,
                     .n_ctx = a->n_ctx,
                     .max_cost = m->max_cost > 0 ? (double)m->max_cost : NAN,
                     .record_dir = args->keeping.record,
                     .replay_dir = args->keeping.replay},
        .currency = m->currency,
        .local_terms = {.prefill_watts = (double)m->watts,
                        .decode_watts = (double)m->watts,
                        .tariff = (double)m->tariff,
                        .hardware = (double)m->hardware,
                        .service_seconds = m->hardware > 0 ? 3600 * (double)m->service_hours : 0},
        .store = args->keeping.store,
        .fresh = args->keeping.fresh,
        .cancel = terminal_interrupt_flag(),
        .progress = on_progress,
        .confirm = on_confirm,
        .say = on_say,
    };
    snprintf(options.local_terms.currency, sizeof options.local_terms.currency, "%s", m->currency);
    return options;
}

static int run_compare(const struct compare_args *args, const char *tasks) {
    enum { MAX_MODELS = 64 };
    const char *models[MAX_MODELS];
    char *list = mem_strdup(args->asking.models, strlen(args->asking.models));
    if (!list) return output_error("out of memory");
    struct view view = {.args = args};
    struct compare_options options = make_options(args);
    options.tasks = tasks;
    options.models = models;
    options.n_models = split_models(list, models, MAX_MODELS);
    options.user = &view;
    int64_t run = 0;
    struct octet_err err;
    terminal_catch_interrupt();
    enum octet_status status = compare_run(&options, &run, &err);
    progress_close(&view.progress);
    mem_free(list);
    if (status == OCTET_OK) return show_run(&args->keeping, run);
    if (status == OCTET_ECANCELLED && run > 0)
        fputs("octet: stopped; the same command goes on from here\n", stderr);
    return output_failure(&err);
}

static int run(const struct command *command, int argc, char **argv) {
    struct compare_args args;
    struct option_group groups[] = {
        {"Asking", asking_rows, sizeof asking_rows / sizeof *asking_rows, &args.asking,
         &defaults.asking, sizeof args.asking},
        {"Money", money_rows, sizeof money_rows / sizeof *money_rows, &args.money, &defaults.money,
         sizeof args.money},
        {"Keeping", keeping_rows, sizeof keeping_rows / sizeof *keeping_rows, &args.keeping,
         &defaults.keeping, sizeof args.keeping},
    };
    struct arguments arguments;
    int status = options_parse(command, groups, 3, argc, argv, 1, 1, &arguments);
    if (status != OPTIONS_RUN) return status;
    status = run_compare(&args, arguments.items[0]);
    options_free(groups, 3);
    return status;
}

const struct command cmd_compare = {
    "compare",
    "which model writes code that works, and what it costs",
    "TASKS --models A,B",
    "Puts every task to every model, keeps each answer, runs the code in a sandbox, and tells how "
    "many tasks were solved, how much of the answers was talk or skeleton, and what a solved task "
    "costs, with intervals. TASKS is a built-in set (core, article), a set fetched by octet pull, "
    "or a file: octet's own YAML, HumanEval, EvalPlus, HumanEval-X or infilling rows. What was "
    "asked is stored, so a run that was stopped goes on, and reports can be made again.",
    "  octet compare core --models model.gguf --html report.html\n"
    "  octet compare article --models mistral-medium,gpt-4 --max-cost 1\n"
    "  octet compare core --models reference\n",
    run,
};
