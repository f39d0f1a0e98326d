/* octet bench --draft-text: what drafting gains on a given text. */
#ifndef OCTET_CLI_BENCH_DRAFT_H
#define OCTET_CLI_BENCH_DRAFT_H

#include "cli/options.h"

struct bench_draft_args {
    const char *prompt, *text; // files; PROMPT may be NULL
    const struct model_args *model;
    const struct session_args *session;
    const struct draft_args *draft;
    int32_t n_gen, n_runs; // tokens of the text, at most; rounds
    bool json;
};

/* Decodes the text after the prompt, each token being the text's whatever the model would pick,
 * plainly and drafting in turn. Returns the exit status, with the outcome or the failure told. */
int bench_draft(const struct bench_draft_args *args);

#endif
