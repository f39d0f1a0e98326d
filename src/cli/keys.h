/* Files of keys: one a line, blank lines and lines that begin with # left out. */
#ifndef OCTET_CLI_KEYS_H
#define OCTET_CLI_KEYS_H

#include <stddef.h>

enum { MAX_KEYS = 256 };

struct keys {
    char *text;
    char *items[MAX_KEYS]; // (n) within TEXT
    size_t n;
};

/* KEYS zeroed before. A file that others may read is refused. OPTIONS_RUN, or an exit status with
 * the complaint printed; either way keys_free. */
int keys_read(const char *path, struct keys *keys);
void keys_free(struct keys *keys);

#endif
