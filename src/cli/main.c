/* octet: finds the subcommand and runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "octet.h"

static const struct command *const commands[] = {
    &cmd_run,        &cmd_chat,    &cmd_bench, &cmd_perplexity, &cmd_tokenize,
    &cmd_detokenize, &cmd_inspect, &cmd_synth, &cmd_doctor,     &cmd_serve,
#ifndef OCTET_SLIM // make SLIM=1: what needs no libraries that can not be linked statically
    &cmd_lsp,        &cmd_pull,    &cmd_compare, &cmd_report,   &cmd_eval,
    &cmd_prices,     &cmd_box,     &cmd_fim_eval,
#endif
};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    }
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) names[i] = commands[i]->name;
    const char *const nearest = options_nearest(name, names, N_COMMANDS);
    fprintf(stderr, "octet: unknown command '%s'", name);
    if (nearest != NULL) fprintf(stderr, " (did you mean '%s'?)", nearest);
    fputs("\nTry 'octet help'.\n", stderr);
    return EXIT_MISUSE;
}

static void print_help(FILE *file) {
    fputs("octet " OCTET_VERSION ": runs small language models on ordinary CPUs.\n\n"
          "Usage: octet COMMAND [options]\n\n", file);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        fprintf(file, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    }
    fputs("\n'octet COMMAND --help' explains a command. A first try:\n\n"
          "  octet doctor                                 what will run on this machine\n"
          "  octet chat -m model.gguf                     talk to a model\n"
          "  octet run -m model.gguf -p 'Once upon a'     continue a text\n", file);
}

static int help(int argc, char **argv) {
    if (argc < 3) {
        print_help(stdout);
        return EXIT_DONE;
    }
    const struct command *const command = find_command(argv[2]);
    if (command == NULL) return unknown_command(argv[2]);
    char flag[] = "--help";
    char *help_argv[] = {argv[2], flag, NULL};
    return command->run(command, 2, help_argv);
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return EXIT_MISUSE;
    }
    const char *const name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return help(argc, argv);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        output_printf("octet %s\n", octet_version());
        return EXIT_DONE;
    }
    const struct command *const command = find_command(name);
    if (command == NULL) return unknown_command(name);
    return command->run(command, argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    octet_guard_mappings();
    signal(SIGPIPE, SIG_IGN); // a closed stdout is a failed write, see output_finish
    return output_finish(dispatch(argc, argv));
}
