/* octet synth: a model file of random weights. */
#include <string.h>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"

struct synth_args {
    const char *arch, *type, *vocab;
    int32_t n_layers, n_ctx;
    uint64_t seed;
    bool experts_split, list;
};

static const struct option_row rows[] = {
    {"arch", 0, OPTION_TEXT, "NAME", offsetof(struct synth_args, arch), 0, 0, false,
     "architecture, see --list"},
    {"type", 0, OPTION_TEXT, "NAME", offsetof(struct synth_args, type), 0, 0, false,
     "number format of the weights, see --list"},
    {"layers", 0, OPTION_INT, "N", offsetof(struct synth_args, n_layers), 0, 1024, false,
     "layers; 0: the architecture's own"},
    {"ctx", 'c', OPTION_INT, "N", offsetof(struct synth_args, n_ctx), 0, 1 << 24, false,
     "tokens of context that the file promises; 0: the architecture's own"},
    {"seed", 0, OPTION_SEED, "N", offsetof(struct synth_args, seed), 0, 0, false,
     "the same seed gives the same file"},
    {"vocab", 0, OPTION_TEXT, "FILE", offsetof(struct synth_args, vocab), 0, 0, false,
     "GGUF file to take the vocabulary from; without it one is generated"},
    {"experts-split", 0, OPTION_FLAG, NULL, offsetof(struct synth_args, experts_split), 0, 0, false,
     "one tensor per expert, as the oldest Mixtral files have it"},
    {"list", 0, OPTION_FLAG, NULL, offsetof(struct synth_args, list), 0, 0, false,
     "print the architectures and types there are"},
};

typedef const char *(*name_fn)(size_t i);

static void print_names(const char *title, name_fn name) {
    output_printf("%s", title);
    for (size_t i = 0; name(i) != NULL; i++) output_printf(" %s", name(i));
    output_printf("\n");
}

static int check_name(const struct command *command, const char *option, const char *value,
                      name_fn name) {
    enum { MAX_NAMES = 128 };
    const char *names[MAX_NAMES];
    size_t n = 0;
    for (; n < MAX_NAMES && name(n) != NULL; n++) {
        names[n] = name(n);
        if (strcmp(names[n], value) == 0) return OPTIONS_RUN;
    }
    const char *const nearest = options_nearest(value, names, n);
    if (nearest == NULL) {
        return options_misuse(command, "no %s '%s' (octet synth --list names them)", option, value);
    }
    return options_misuse(command, "no %s '%s' (did you mean '%s'?)", option, value, nearest);
}

static int synthesise(const struct synth_args *args, const char *path) {
    struct progress progress;
    progress_open(&progress, "synth", PROGRESS_BYTES);
    const struct octet_synth_options options = {
        .arch = args->arch,
        .type = args->type,
        .n_layers = args->n_layers,
        .n_ctx = args->n_ctx,
        .seed = args->seed,
        .vocab = args->vocab,
        .experts_split = args->experts_split,
        .progress = progress_step,
        .user = &progress,
    };
    struct octet_err err;
    terminal_catch_interrupt();
    const enum octet_status status = octet_synth(&options, path, &err);
    terminal_release_interrupt();
    progress_close(&progress);
    return status == OCTET_OK ? (int)EXIT_DONE : output_failure(&err);
}

static int synth_command(const struct command *command, int argc, char **argv) {
    static const struct synth_args defaults = {.type = "q4_k_m"};
    struct synth_args args;
    const struct option_group groups[] = {
        {"Options", rows, sizeof rows / sizeof rows[0], &args, &defaults, sizeof defaults},
    };
    struct arguments arguments;
    int status = options_parse(command, groups, 1, argc, argv, 0, 1, &arguments);
    if (status != OPTIONS_RUN) return status;
    if (args.list) {
        print_names("architectures:", octet_synth_arch);
        print_names("types:        ", octet_synth_type);
        return EXIT_DONE;
    }
    if (args.arch == NULL) return options_misuse(command, "--arch NAME is missing");
    if (arguments.n == 0) return options_misuse(command, "the file to write is missing");
    status = check_name(command, "architecture", args.arch, octet_synth_arch);
    if (status == OPTIONS_RUN) status = check_name(command, "type", args.type, octet_synth_type);
    return status == OPTIONS_RUN ? synthesise(&args, arguments.items[0]) : status;
}

const struct command cmd_synth = {
    .name = "synth",
    .summary = "write a model file of random weights, to measure with",
    .usage = "--arch NAME [--type NAME] [options] OUT",
    .about = "Writes a GGUF file with an architecture's real shapes and seeded random weights. It "
             "babbles, but takes the time and memory of the real model, so that a machine can be "
             "judged before tens of gigabytes are fetched. The file appears only when complete.",
    .examples = "  octet synth --arch mistral-7b --type q4_k_m mistral-random.gguf\n"
                "  octet synth --arch mixtral-8x7b --layers 4 mixtral-slice.gguf\n"
                "  octet synth --list\n",
    .run = synth_command,
};
