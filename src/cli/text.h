/* Growing byte strings, and where a command's input text comes from. */
#ifndef OCTET_CLI_TEXT_H
#define OCTET_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/options.h"

/* Zero it first, text_free it last. */
struct text {
    char *bytes; // NUL-terminated once anything was appended
    size_t n, cap;
};

bool text_append(struct text *text, const char *bytes, size_t n_bytes); // false: out of memory
void text_free(struct text *text);

/* Appends all of PATH, "-" being stdin. OPTIONS_RUN, or the exit status with the failure told. */
int text_read(struct text *text, const char *path);

struct prompt_args {
    const char *text, *file;
};

struct option_group options_prompt_group(struct prompt_args *target);
/* The text of -p, else of -f, else of a stdin that is no terminal. Returns as text_read. */
int text_prompt(struct text *text, const struct prompt_args *args, const struct command *command);

#endif
