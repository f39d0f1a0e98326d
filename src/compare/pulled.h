/* Published sets of tasks and rows that `octet pull` knows by name, and where they are kept. */
#ifndef OCTET_COMPARE_PULLED_H
#define OCTET_COMPARE_PULLED_H

#include <stdbool.h>
#include <stddef.h>

struct known_set {
    const char *name, *file; // file: its name in the folder
    const char *url, *sha256;
    const char *about, *license;
};
const struct known_set *known_set_at(size_t i); // NULL past the end
const struct known_set *known_set_find(const char *name);

/* $XDG_DATA_HOME/octet/tasks or ~/.local/share/octet/tasks; false: neither is known. */
bool pulled_folder(char *path, size_t cap);
/* The file of a set there: a known one, or NAME.jsonl.gz, .jsonl, .yaml, .json or a folder that the
 * user put there. False if there is none. */
bool pulled_find(const char *name, char *path, size_t cap);

#endif
