/* Command line options as tables: one row says how an option is spelled, checked, stored and
 * explained, so that parsing and --help can not drift apart. Rows that several commands share come
 * as ready groups. */
#ifndef OCTET_CLI_OPTIONS_H
#define OCTET_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"
#include "octet.h"

struct text_list {
    const char **items; // borrowed strings
    size_t n, cap;
};

enum option_kind {
    OPTION_FLAG,   // bool, set to true; takes no value
    OPTION_TEXT,   // const char *
    OPTION_TEXTS,  // struct text_list, may be given several times
    OPTION_INT,    // int32_t from min to max
    OPTION_SEED,   // uint64_t
    OPTION_FLOAT,  // float from min to max
    OPTION_CHOICE, // int32_t, index of the word in VALUE ("f16|f32")
};

struct option_row {
    const char *name; // without dashes
    char letter;      // 0: none
    enum option_kind kind;
    const char *value; // what help calls the value, NULL for flags
    size_t offset;     // of the target in the group's target struct
    double min, max;
    bool required;
    const char *help;
};

/* Rows that fill one struct. Its defaults are copied to the target before parsing, and shown by
 * help. */
struct option_group {
    const char *title;
    const struct option_row *rows;
    size_t n_rows;
    void *target;
    const void *defaults; // SIZE bytes
    size_t size;
};

/* What parsing gave: the arguments that are no options. */
struct arguments {
    char **items; // within argv
    size_t n;
};

enum { OPTIONS_RUN = -1 };

/* Reads all of argv. OPTIONS_RUN: the command may run; anything else is the exit status to return,
 * with help or the complaint printed. Accepts between MIN_ARGUMENTS and MAX_ARGUMENTS arguments
 * beside the options. Lists belong to the caller: options_free. */
int options_parse(const struct command *command, const struct option_group *groups,
                  size_t n_groups, int argc, char **argv, size_t min_arguments,
                  size_t max_arguments, struct arguments *arguments);
void options_free(const struct option_group *groups, size_t n_groups);

/* "octet NAME: ..." and a hint at --help on stderr; returns EXIT_MISUSE. */
__attribute__((format(printf, 2, 3))) int options_misuse(const struct command *command,
                                                         const char *fmt, ...);

/* Of N names the one that WORD was probably meant to be, or NULL. */
const char *options_nearest(const char *word, const char *const *names, size_t n);

/* ---- Groups that several commands share ------------------------------------------------------ */

struct model_args {
    const char *path;
    int32_t n_threads; // 0: one per core
    bool warm;
};

// The names of enum octet_kv_type, in its order.
#define OPTIONS_KV_TYPES "f16|f32|q8_0|q4_0"

struct session_args {
    int32_t n_ctx, prefill_chunk; // 0: default
    int32_t kv_type;              // enum octet_kv_type
};

struct sampling_args {
    struct octet_sampling sampling; // without bias and mirostat
    int32_t mirostat;               // 0: off, 1: version 2
    bool ignore_eos;
    struct text_list biases; // "ID=BIAS"
};

struct draft_args {
    const char *kind; // "auto", "off", "ngram", or a model's file
    int32_t max_tokens;
};

struct option_group options_model_group(struct model_args *target);
struct option_group options_session_group(struct session_args *target);
struct option_group options_sampling_group(struct sampling_args *target);
struct option_group options_draft_group(struct draft_args *target);
/* What --draft asks for, if it DRAFTS; *PATH: the model's file, or NULL. OPTIONS_RUN, or the exit
 * status with the error told: there is no such file. */
int options_draft(const struct draft_args *args, bool *drafts, struct octet_draft_options *out,
                  const char **path);

/* Opens the model, warm if so asked, with errors told; OPTIONS_RUN or an exit status. */
int options_open_model(const struct model_args *args, bool vocab_only, struct octet_model **out);

#endif
