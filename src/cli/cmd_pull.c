/* octet pull: fetch a model or a set of tasks by name, or a file by address. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/fetch.h"
#include "cli/known_models.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "compare/pulled.h"

#define HUB "https://huggingface.co"

struct pull_args {
    const char *folder, *quant, *hub, *sha256;
    int32_t timeout_seconds, n_retries;
    bool list, verify, no_verify;
};

static const struct option_row rows[] = {
    {"dir", 'd', OPTION_TEXT, "FOLDER", offsetof(struct pull_args, folder), 0, 0, false,
     "where the file goes; without it models to $OCTET_MODELS or ~/.cache/octet/models, tasks to "
     "where octet compare looks for them"},
    {"quant", 'q', OPTION_TEXT, "TYPE", offsetof(struct pull_args, quant), 0, 0, false,
     "another quantisation than the listed one, such as Q6_K, if the repository has it"},
    {"list", 'l', OPTION_FLAG, NULL, offsetof(struct pull_args, list), 0, 0, false,
     "print the known names and fetch nothing"},
    {"verify", 0, OPTION_FLAG, NULL, offsetof(struct pull_args, verify), 0, 0, false,
     "read a file that is there already and check its SHA-256 too"},
    {"no-verify", 0, OPTION_FLAG, NULL, offsetof(struct pull_args, no_verify), 0, 0, false,
     "accept a file whose SHA-256 the server does not state"},
    {"sha256", 0, OPTION_TEXT, "HEX", offsetof(struct pull_args, sha256), 0, 0, false,
     "the SHA-256 the file must have"},
    {"url", 0, OPTION_TEXT, "BASE", offsetof(struct pull_args, hub), 0, 0, false,
     "address of the hub; without it $OCTET_HUB, else " HUB},
    {"timeout", 0, OPTION_INT, "SECONDS", offsetof(struct pull_args, timeout_seconds), 1, 3600,
     false, "give up on a connection that takes this long to start, or is silent this long"},
    {"retries", 0, OPTION_INT, "N", offsetof(struct pull_args, n_retries), 0, 1000, false,
     "attempts in a row without progress before giving up"},
};

struct pull {
    struct pull_args args;
    struct progress progress;
    enum fetch_phase phase;
    const struct known_set *set; // NULL: it is no set of tasks
    char *url, *path;            // owned
};

/* ---- What to fetch, and where to ------------------------------------------------------------- */

/* Joins up to four strings; NULL when out of memory. */
static char *join(const char *a, const char *b, const char *c, const char *d) {
    const size_t cap = strlen(a) + strlen(b) + strlen(c) + strlen(d) + 1;
    char *const text = mem_alloc(cap);
    if (text) snprintf(text, cap, "%s%s%s%s", a, b, c, d);
    return text;
}

static bool is_plain(const char *text, const char *also) {
    const char *const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    if (text[0] == '\0' || text[0] == '.') return false;
    for (; *text; text++)
        if (!strchr(letters, *text) && !strchr(also, *text)) return false;
    return true;
}

/* $OCTET_MODELS or ~/.cache/octet/models for models; NULL: unknown, or out of memory. */
static char *default_folder(bool for_tasks) {
    const char *const variable = getenv("OCTET_MODELS"), *const home = getenv("HOME");
    char path[4096];
    if (for_tasks) return pulled_folder(path, sizeof path) ? join(path, "", "", "") : NULL;
    if (variable && variable[0]) return join(variable, "", "", "");
    return home && home[0] ? join(home, "/.cache/octet/models", "", "") : NULL;
}

/* Where the file goes, made if need be; NULL after telling why not. */
static char *target_folder(const char *wanted, bool for_tasks) {
    char *const folder = wanted ? join(wanted, "", "", "") : default_folder(for_tasks);
    if (!folder) {
        output_error("nothing says where the file should go: give --dir, or set $HOME");
        return NULL;
    }
    for (char *slash = folder + 1; *slash; slash++) {
        if (*slash != '/') continue;
        *slash = '\0';
        mkdir(folder, 0755); // a failure shows at the last one
        *slash = '/';
    }
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        output_error("%s: can not create the folder: %s", folder, strerror(errno));
        mem_free(folder);
        return NULL;
    }
    return folder;
}

static int unknown_model(const struct command *command, const char *name) {
    enum { MAX = 64 };
    const char *names[MAX];
    size_t n = 0;
    for (size_t i = 0; n < MAX && known_model_at(i); i++) names[n++] = known_model_at(i)->name;
    for (size_t i = 0; n < MAX && known_set_at(i); i++) names[n++] = known_set_at(i)->name;
    const char *const nearest = options_nearest(name, names, n);
    if (nearest) {
        return options_misuse(command, "unknown name '%s' (did you mean '%s'?)", name, nearest);
    }
    return options_misuse(command, "unknown name '%s'; --list prints the known ones", name);
}

/* The file name at the end of an address, without ?query; NULL where that is no plain name. */
static char *name_in_url(const char *url) {
    const size_t n = strcspn(url, "?#");
    size_t start = n;
    while (start > 0 && url[start - 1] != '/') start--;
    char *const name = mem_strdup(url + start, n - start);
    if (name && is_plain(name, "._-+")) return name;
    mem_free(name);
    return NULL;
}

/* Fills in url, and *name of the file (owned by the caller). */
static int resolve(const struct command *command, struct pull *pull, const char *what,
                   char **name) {
    pull->set = known_set_find(what);
    if (strstr(what, "://") || pull->set) {
        if (pull->args.quant)
            return options_misuse(command, "--quant goes with the name of a model only");
        pull->url = join(pull->set ? pull->set->url : what, "", "", "");
        *name = pull->set ? join(pull->set->file, "", "", "") : name_in_url(what);
        if (*name) return OPTIONS_RUN;
        return options_misuse(command, "'%s' does not end in a plain file name", what);
    }
    const struct known_model *const model = known_model_find(what);
    if (!model) return unknown_model(command, what);
    const char *const quant = pull->args.quant ? pull->args.quant : model->quant;
    if (!is_plain(quant, "_-")) {
        return options_misuse(command, "--quant takes a type such as Q4_K_M, not '%s'", quant);
    }
    const char *hub = pull->args.hub ? pull->args.hub : getenv("OCTET_HUB");
    if (!hub || !hub[0]) hub = HUB;
    *name = join(model->stem, quant, ".gguf", "");
    char *const base = join(hub, "/", model->repo, "/resolve/main/");
    if (*name && base) pull->url = join(base, *name, "", "");
    mem_free(base);
    return OPTIONS_RUN;
}

/* ---- Fetching -------------------------------------------------------------------------------- */

static bool show_progress(void *user, enum fetch_phase phase, uint64_t done, uint64_t total) {
    struct pull *const pull = user;
    if (phase != pull->phase) {
        progress_close(&pull->progress);
        progress_open(&pull->progress, "checking", PROGRESS_BYTES);
        pull->phase = phase;
    }
    return progress_step(&pull->progress, done, total);
}

static void show_note(void *user, const char *text) {
    struct pull *const pull = user;
    progress_close(&pull->progress);
    fprintf(stderr, "octet pull: %s\n", text);
    progress_open(&pull->progress, "downloading", PROGRESS_BYTES);
}

static int fetch(struct pull *pull) {
    struct fetch f = {
        .url = pull->url, .path = pull->path,
        .sha256 = pull->args.sha256 || !pull->set ? pull->args.sha256 : pull->set->sha256,
        .unverified = pull->args.no_verify, .check_present = pull->args.verify,
        .timeout_seconds = pull->args.timeout_seconds, .n_retries = pull->args.n_retries,
        .progress = show_progress, .note = show_note, .user = pull,
    };
    fprintf(stderr, "octet pull: %s\n", pull->url);
    terminal_catch_interrupt();
    progress_open(&pull->progress, "downloading", PROGRESS_BYTES);
    pull->phase = FETCH_DOWNLOADING;
    struct octet_err err = {OCTET_OK, ""};
    const enum octet_status status = fetch_file(&f, &err);
    progress_close(&pull->progress);
    if (status == OCTET_ECANCELLED) {
        fputs("octet pull: stopped; the same command goes on\n", stderr);
    }
    if (status != OCTET_OK) return output_failure(&err);
    if (f.was_present) fputs("octet pull: it is there already\n", stderr);
    output_printf("%s\n", pull->path);
    return EXIT_DONE;
}

static int pull_one(const struct command *command, struct pull *pull, const char *what) {
    char *name = NULL, *folder = NULL;
    int status = resolve(command, pull, what, &name);
    if (status == OPTIONS_RUN) {
        folder = target_folder(pull->args.folder, pull->set != NULL);
        if (folder && name) pull->path = join(folder, "/", name, "");
        if (!folder) status = EXIT_FAILED;
        else if (!pull->url || !pull->path) status = output_error("out of memory for a path");
    }
    if (status == OPTIONS_RUN) status = fetch(pull);
    mem_free(name);
    mem_free(folder);
    mem_free(pull->url);
    mem_free(pull->path);
    return status;
}

static int print_list(void) {
    output_printf("%-26s %-8s %s\n", "NAME", "QUANT", "REPOSITORY");
    for (size_t i = 0; known_model_at(i); i++) {
        const struct known_model *const m = known_model_at(i);
        output_printf("%-26s %-8s %s\n", m->name, m->quant, m->repo);
    }
    output_printf("\n%-26s %-13s %s\n", "TASKS AND ROWS", "LICENCE", "WHAT");
    for (size_t i = 0; known_set_at(i); i++) {
        const struct known_set *const s = known_set_at(i);
        output_printf("%-26s %-13s %s\n", s->name, s->license, s->about);
    }
    return EXIT_DONE;
}

static int check_args(const struct command *command, const struct pull_args *args,
                      size_t n_arguments) {
    if (args->sha256 && (strlen(args->sha256) != 64 ||
                         strspn(args->sha256, "0123456789abcdef") != 64)) {
        return options_misuse(command, "--sha256 takes 64 lower-case hexadecimal digits, not '%s'",
                              args->sha256);
    }
    if (!args->list && n_arguments == 0) {
        return options_misuse(command, "fetch what? --list prints the known names");
    }
    return OPTIONS_RUN;
}

static int run(const struct command *command, int argc, char **argv) {
    static const struct pull_args defaults = {.timeout_seconds = 30, .n_retries = 5};
    struct pull pull = {.phase = FETCH_DOWNLOADING};
    const struct option_group group = {"Options", rows, sizeof rows / sizeof rows[0], &pull.args,
                                       &defaults, sizeof defaults};
    struct arguments arguments;
    int status = options_parse(command, &group, 1, argc, argv, 0, 1, &arguments);
    if (status == OPTIONS_RUN) status = check_args(command, &pull.args, arguments.n);
    if (status != OPTIONS_RUN) return status;
    return pull.args.list ? print_list() : pull_one(command, &pull, arguments.items[0]);
}

const struct command cmd_pull = {
    .name = "pull",
    .summary = "fetch a model or a set of tasks",
    .usage = "NAME | ADDRESS [options]",
    .about = "Fetches a known model or set of tasks, or the file at an https address, and prints "
             "the path it has here. A download that breaks or is stopped goes on where it was. The "
             "file gets its name only when its size and its SHA-256 are what the server states, or "
             "for tasks what octet knows.",
    .examples = "  octet pull --list\n"
                "  octet pull mistral-7b-instruct-v0.2 --dir models\n"
                "  octet pull phi-2 --quant Q8_0\n"
                "  octet pull humaneval && octet compare humaneval --models model.gguf\n",
    .run = run,
};
