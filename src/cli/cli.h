/* What every subcommand is to main.c, and the exit statuses scripts rely on. */
#ifndef OCTET_CLI_CLI_H
#define OCTET_CLI_CLI_H

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,        // a run-time failure, told in one line on stderr
    EXIT_MISUSE = 2,        // wrong options or arguments
    EXIT_INTERRUPTED = 130, // Ctrl-C
    EXIT_PIPE = 141,        // stdout was closed by its reader
};

/* RUN gets its own name as argv[0] and returns an exit status. The texts make up --help: USAGE
 * follows "octet NAME ", ABOUT is one paragraph, EXAMPLES are whole lines. */
struct command {
    const char *name, *summary, *usage, *about, *examples;
    int (*run)(const struct command *command, int argc, char **argv);
};

extern const struct command cmd_run, cmd_chat, cmd_bench, cmd_perplexity, cmd_tokenize,
    cmd_detokenize, cmd_inspect, cmd_synth, cmd_pull, cmd_doctor, cmd_box, cmd_prices,
    cmd_compare, cmd_eval, cmd_report, cmd_serve, cmd_lsp,
    cmd_fim_eval;

#endif
