/* octet serve: models over HTTP, in the languages that editors and SDKs speak. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/host.h"
#include "base/mem.h"
#include "base/probe.h"
#include "cli/cli.h"
#include "cli/keys.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "server/server.h"

enum { MAX_MODELS = 16 };

struct serve_args {
    struct text_list models, origins, names;
    const char *host, *key_file, *cache_dir;
    int32_t port, n_ctx, kv_type, n_threads, n_seats, n_queue, cache_mb, cache_disk_mb;
    bool quiet, warm;
    struct draft_args draft;
};

static const struct option_row rows[] = {
    {"model", 'm', OPTION_TEXTS, "FILE", offsetof(struct serve_args, models), 0, 0, true,
     "model to serve, as FILE or NAME=FILE; several times for several models"},
    {"host", 0, OPTION_TEXT, "ADDRESS", offsetof(struct serve_args, host), 0, 0, false,
     "address to listen at; 0.0.0.0 is every one, which wants --api-key-file"},
    {"port", 0, OPTION_INT, "N", offsetof(struct serve_args, port), 0, 65535, false,
     "port to listen at; 0: any free one"},
    {"api-key-file", 0, OPTION_TEXT, "FILE", offsetof(struct serve_args, key_file), 0, 0, false,
     "a key per line, any of which clients must send; the file must be its owner's alone"},
    {"origin", 0, OPTION_TEXTS, "URL", offsetof(struct serve_args, origins), 0, 0, false,
     "web pages that may ask, beside those of this machine; * for any"},
    {"name", 0, OPTION_TEXTS, "HOST", offsetof(struct serve_args, names), 0, 0, false,
     "host name under which clients reach this server, such as that of a proxy; * for any"},
    {"ctx", 'c', OPTION_INT, "N", offsetof(struct serve_args, n_ctx), 0, INT32_MAX, false,
     "most tokens of a prompt and its answer; 0: what the model was trained for, at most 4096"},
    {"kv", 0, OPTION_CHOICE, OPTIONS_KV_TYPES, offsetof(struct serve_args, kv_type), 0, 0, false,
     "number format of the cache of keys and values"},
    {"threads", 't', OPTION_INT, "N", offsetof(struct serve_args, n_threads), 0, 1024, false,
     "threads of each model; 0: one per core"},
    {"parallel", 0, OPTION_INT, "N", offsetof(struct serve_args, n_seats), 1, 256, false,
     "answers of a model computed at the same time"},
    {"queue", 0, OPTION_INT, "N", offsetof(struct serve_args, n_queue), 1, 100000, false,
     "requests of a model that may wait; more are turned away"},
    {"cache-ram", 0, OPTION_INT, "MB", offsetof(struct serve_args, cache_mb), -1, INT32_MAX, false,
     "memory for beginnings of prompts seen before; -1: a quarter of what models leave free"},
    {"cache-dir", 0, OPTION_TEXT, "FOLDER", offsetof(struct serve_args, cache_dir), 0, 0, false,
     "keep them there too, so that a restart finds them; holds what prompts said, if not in words"},
    {"cache-disk", 0, OPTION_INT, "MB", offsetof(struct serve_args, cache_disk_mb), 0, INT32_MAX,
     false, "most that each model may take of that folder"},
    {"warm", 0, OPTION_FLAG, NULL, offsetof(struct serve_args, warm), 0, 0, false,
     "read all weights into memory before the first request"},
    {"quiet", 'q', OPTION_FLAG, NULL, offsetof(struct serve_args, quiet), 0, 0, false,
     "no line on stderr per request"},
};

static const struct serve_args defaults = {
    .host = "127.0.0.1", .port = 8080, .n_seats = 8, .n_queue = 256, .cache_mb = -1,
    .cache_disk_mb = 20000};

/* ---- Models ---------------------------------------------------------------------------------- */

/* "NAME=FILE", or FILE, whose name without folder and ending it then is. */
static bool name_model(const char *text, struct lane_options *out, char **name) {
    const size_t n = strcspn(text, "=/");
    if (text[n] == '=' && n > 0) {
        *name = mem_strdup(text, n);
        out->path = text + n + 1;
    } else {
        const char *const slash = strrchr(text, '/');
        const char *const base = slash && slash[1] ? slash + 1 : text;
        const size_t n_base = strlen(base);
        const bool gguf = n_base > 5 && strcmp(base + n_base - 5, ".gguf") == 0;
        *name = mem_strdup(base, gguf ? n_base - 5 : n_base);
        out->path = text;
    }
    out->name = *name;
    return *name != NULL;
}

/* Bytes for the prefix cache of each model. */
static uint64_t cache_bytes(const struct serve_args *args) {
    if (args->cache_mb >= 0) return (uint64_t)args->cache_mb * 1000000;
    uint64_t taken = 0, available = probe_ram_available();
    for (size_t i = 0; i < args->models.n; i++) {
        const char *const model = args->models.items[i], *const named = strchr(model, '=');
        struct stat file;
        if (stat(named ? named + 1 : model, &file) == 0) taken += (uint64_t)file.st_size;
    }
    return available > taken ? (available - taken) / 4 / args->models.n : 0;
}

static int name_models(const struct serve_args *args, struct progress *progress,
                       struct lane_options *models, char **names) {
    if (args->models.n > MAX_MODELS) return output_error("at most %d models", MAX_MODELS);
    for (size_t i = 0; i < args->models.n; i++) {
        models[i] = (struct lane_options){.n_threads = args->n_threads,
                                          .n_ctx = args->n_ctx,
                                          .kv_type = args->kv_type,
                                          .n_seats = args->n_seats,
                                          .n_queue = args->n_queue,
                                          .cache_ram = cache_bytes(args),
                                          .cache_folder = args->cache_dir,
                                          .cache_disk = (uint64_t)args->cache_disk_mb * 1000000,
                                          .warm = args->warm ? progress_step : NULL,
                                          .warm_user = progress};
        const int status = options_draft(&args->draft, &models[i].drafts, &models[i].draft,
                                         &models[i].draft_path);
        if (status != OPTIONS_RUN) return status;
        if (!name_model(args->models.items[i], &models[i], &names[i]))
            return output_error("out of memory");
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[k], names[i]) == 0)
                return output_error("two models are called '%s'; name them: -m NAME=FILE",
                                    names[i]);
    }
    return OPTIONS_RUN;
}

/* ---- Running --------------------------------------------------------------------------------- */

static void on_loaded(void *user, const char *name, const char *chat_problem) {
    struct progress *const progress = user;
    progress_close(progress);
    progress_open(progress, "reading weights", PROGRESS_BYTES); // of the next model
    fprintf(stderr, "octet serve: %s is ready\n", name);
    if (chat_problem)
        fprintf(stderr, "octet serve: %s: chats are written in a built-in format, not by the "
                "file's own template: %s\n", name, chat_problem);
}

static int serve(const struct serve_args *args, const struct lane_options *models,
                 const struct keys *keys, struct progress *progress) {
    const struct server_options options = {
        .host = args->host,
        .port = args->port,
        .models = models,
        .n_models = args->models.n,
        .keys = (char **)(uintptr_t)keys->items,
        .n_keys = keys->n,
        .origins = args->origins.items,
        .n_origins = args->origins.n,
        .names = args->names.items,
        .n_names = args->names.n,
        .quiet = args->quiet,
        .loaded = on_loaded,
        .user = progress,
    };
    struct octet_err err;
    struct server *running;
    if (server_open(&options, &running, &err) != OCTET_OK) return output_failure(&err);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN); // while it closes; server_run hears it
    const bool v6 = strchr(args->host, ':') != NULL;
    fprintf(stderr, "octet serve: http://%s%s%s:%d\n", v6 ? "[" : "", args->host, v6 ? "]" : "",
            server_port(running));
    server_run(running);
    server_close(running);
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv) {
    struct serve_args args;
    const struct option_group groups[] = {
        {"Options", rows, sizeof rows / sizeof *rows, &args, &defaults, sizeof args},
        options_draft_group(&args.draft)};
    const size_t n_groups = sizeof groups / sizeof *groups;
    struct arguments arguments;
    struct lane_options models[MAX_MODELS];
    char *names[MAX_MODELS] = {NULL};
    struct keys keys = {0};
    int status = options_parse(command, groups, n_groups, argc, argv, 0, 0, &arguments);
    if (status != OPTIONS_RUN) return status;
    struct progress progress;
    progress_open(&progress, "reading weights", PROGRESS_BYTES);
    status = name_models(&args, &progress, models, names);
    if (status == OPTIONS_RUN && args.key_file) status = keys_read(args.key_file, &keys);
    if (status == OPTIONS_RUN && !args.key_file && !host_is_loopback(args.host))
        fputs("octet serve: anybody who reaches this address may use it; consider "
              "--api-key-file\n", stderr);
    if (status == OPTIONS_RUN) status = serve(&args, models, &keys, &progress);
    for (size_t i = 0; i < MAX_MODELS; i++) mem_free(names[i]);
    keys_free(&keys);
    options_free(groups, n_groups);
    return status;
}

const struct command cmd_serve = {
    "serve",
    "answer editors and SDKs over HTTP",
    "-m MODEL [-m MODEL ...]",
    "Serves models to editors, copilots and SDKs in the languages of OpenAI, Mistral, Anthropic, "
    "Ollama and llama.cpp, and fills holes in code with any model. Listens on this machine only "
    "unless told otherwise; for TLS put a proxy in front. A model that drafts must have the "
    "vocabulary of all that are served. "
    "Ctrl-C or SIGTERM lets answers under way finish for ten seconds.",
    "  octet serve -m mistral-7b-instruct-v0.2.Q4_K_M.gguf\n"
    "  octet serve -m small=phi-2.gguf -m big=mixtral.gguf --port 8000\n"
    "  curl http://127.0.0.1:8080/v1/chat/completions \\\n"
    "      -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'\n",
    run,
};
