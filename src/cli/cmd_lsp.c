/* octet lsp: suggestions in any editor that speaks the language server protocol. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/keys.h"
#include "cli/options.h"
#include "cli/output.h"
#include "lsp/lsp.h"

enum { SEATS = 2, QUEUE = 64 };

struct lsp_args {
    const char *model, *server, *key_file, *cache_dir;
    int32_t n_ctx, n_threads, kv_type, cache_mb, cache_disk_mb;
    int32_t max_tokens, debounce_ms, budget_ms, other_files, menu;
    bool one_line;
};

static const struct option_row rows[] = {
    {"model", 'm', OPTION_TEXT, "FILE", offsetof(struct lsp_args, model), 0, 0, false,
     "model to run; with --server: the name of one of its models"},
    {"server", 0, OPTION_TEXT, "URL", offsetof(struct lsp_args, server), 0, 0, false,
     "ask this running octet serve instead, so that several editors share a model"},
    {"api-key-file", 0, OPTION_TEXT, "FILE", offsetof(struct lsp_args, key_file), 0, 0, false,
     "a file with the server's key; it must be its owner's alone"},
    {"max-tokens", 'n', OPTION_INT, "N", offsetof(struct lsp_args, max_tokens), 1, 4096, false,
     "longest suggestion"},
    {"debounce", 0, OPTION_INT, "MS", offsetof(struct lsp_args, debounce_ms), 0, 60000, false,
     "milliseconds without typing before the model is asked"},
    {"budget", 0, OPTION_INT, "MS", offsetof(struct lsp_args, budget_ms), 0, 600000, false,
     "milliseconds that a suggestion may grow, then what has whole lines is shown; 0: no limit"},
    {"one-line", 0, OPTION_FLAG, NULL, offsetof(struct lsp_args, one_line), 0, 0, false,
     "suggestions end with the line"},
    {"other-files", 0, OPTION_INT, "N", offsetof(struct lsp_args, other_files), 0, 8, false,
     "open documents of the same language that the model is shown a part of"},
    {"menu", 0, OPTION_CHOICE, "auto|on|off", offsetof(struct lsp_args, menu), 0, 0, false,
     "suggestions in the completion menu; auto: where the editor has no ghost text"},
    {"ctx", 'c', OPTION_INT, "N", offsetof(struct lsp_args, n_ctx), 0, INT32_MAX, false,
     "most tokens of text and suggestion; 0: what the model was trained for, at most 2048"},
    {"kv", 0, OPTION_CHOICE, OPTIONS_KV_TYPES, offsetof(struct lsp_args, kv_type), 0, 0, false,
     "number format of the cache of keys and values"},
    {"threads", 't', OPTION_INT, "N", offsetof(struct lsp_args, n_threads), 0, 1024, false,
     "threads; 0: one per core"},
    {"cache-ram", 0, OPTION_INT, "MB", offsetof(struct lsp_args, cache_mb), 0, INT32_MAX, false,
     "memory for beginnings of texts seen before"},
    {"cache-dir", 0, OPTION_TEXT, "FOLDER", offsetof(struct lsp_args, cache_dir), 0, 0, false,
     "keep them there too, so that a restart finds them; holds what texts said, if not in words"},
    {"cache-disk", 0, OPTION_INT, "MB", offsetof(struct lsp_args, cache_disk_mb), 0, INT32_MAX,
     false, "most that may be taken of that folder"},
};

static const struct lsp_args defaults = {
    .max_tokens = 64, .debounce_ms = 200, .budget_ms = 3000, .other_files = 2,
    .cache_mb = 256, .cache_disk_mb = 2000};

static int serve(const struct lsp_args *args, const struct keys *keys) {
    const struct lsp_options options = {
        .in_fd = STDIN_FILENO,
        .out_fd = STDOUT_FILENO,
        .lane = {.name = "octet lsp",
                 .path = args->model,
                 .n_threads = args->n_threads,
                 .n_ctx = args->n_ctx,
                 .kv_type = args->kv_type,
                 .n_seats = SEATS,
                 .drafts = true,
                 .n_queue = QUEUE,
                 .cache_ram = (uint64_t)args->cache_mb * 1000000,
                 .cache_folder = args->cache_dir,
                 .cache_disk = (uint64_t)args->cache_disk_mb * 1000000},
        .server = args->server,
        .model = args->server ? args->model : NULL,
        .key = keys->n > 0 ? keys->items[0] : NULL,
        .settings = {.max_tokens = args->max_tokens,
                     .debounce_ms = args->debounce_ms,
                     .budget_ms = args->budget_ms,
                     .other_files = args->other_files,
                     .multi_line = !args->one_line,
                     .menu = (enum menu)args->menu},
    };
    struct octet_err err;
    return lsp_run(&options, &err) == OCTET_OK ? EXIT_DONE : output_failure(&err);
}

static int run(const struct command *command, int argc, char **argv) {
    struct lsp_args args;
    const struct option_group group = {"Options", rows, sizeof rows / sizeof *rows, &args,
                                       &defaults, sizeof args};
    struct arguments arguments;
    struct keys keys = {0};
    int status = options_parse(command, &group, 1, argc, argv, 0, 0, &arguments);
    if (status != OPTIONS_RUN) return status;
    if (!args.model && !args.server)
        status = options_misuse(command, "-m MODEL or --server URL is missing");
    else if (args.key_file && !args.server)
        status = options_misuse(command, "--api-key-file goes with --server");
    if (status == OPTIONS_RUN && args.key_file) status = keys_read(args.key_file, &keys);
    if (status == OPTIONS_RUN) status = serve(&args, &keys);
    keys_free(&keys);
    options_free(&group, 1);
    return status;
}

const struct command cmd_lsp = {
    "lsp",
    "suggestions in editors that speak LSP",
    "-m MODEL | --server URL [-m NAME]",
    "A language server on standard input and output, started by the editor: it suggests what comes "
    "next at the cursor, as ghost text where the editor has it (inline completion of LSP 3.18), "
    "else in the completion menu. Whoever types what was suggested gets the rest at once. The "
    "editor may set maxTokens, debounceMs, budgetMs, otherFiles, multiLine, menu and model as "
    "initialization options or settings; docs/editors.md has the set-up for each editor.",
    "  octet lsp -m mistral-7b-instruct-v0.2.Q4_K_M.gguf\n"
    "  octet lsp -m phi-2.Q4_K_M.gguf --one-line --debounce 400    on a slow machine\n"
    "  octet lsp --server http://127.0.0.1:8080 -m small           a model that octet serve has\n",
    run,
};
