/* A language server that has one thing to say: what the model thinks comes next. Speaks LSP 3.18 on
 * two file descriptors: ghost text (textDocument/inlineCompletion), or an entry in the completion
 * menu (textDocument/completion). */
#ifndef OCTET_LSP_LSP_H
#define OCTET_LSP_LSP_H

#include "lsp/settings.h"
#include "octet.h"
#include "server/lane.h"

struct lsp_options {
    int in_fd, out_fd;
    struct lane_options lane; // of a model in this process; the editor may name another path
    /* Or a server that is asked instead. */
    const char *server; // URL, or NULL
    const char *model;  // its name there; NULL: the server's only one
    const char *key;    // or NULL
    struct settings settings;
};

/* Serves until the editor says exit or goes away. OK: it said shutdown before. EIO: it did not, or
 * what it said made no sense. */
enum octet_status lsp_run(const struct lsp_options *options, struct octet_err *err);

#endif
