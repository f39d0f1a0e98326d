/* See keys.h. */
#include "cli/keys.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/options.h"
#include "cli/output.h"

enum { KEY_FILE_BYTES = 1 << 16 };

static int split_keys(const char *path, struct keys *keys) {
    for (char *line = strtok(keys->text, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        line += strspn(line, " \t");
        line[strcspn(line, " \t")] = '\0';
        if (line[0] == '\0' || line[0] == '#') continue;
        if (keys->n == MAX_KEYS) return output_error("%s: more than %d keys", path, MAX_KEYS);
        keys->items[keys->n++] = line;
    }
    if (keys->n == 0) return output_error("%s: no key in it", path);
    return OPTIONS_RUN;
}

int keys_read(const char *path, struct keys *keys) {
    FILE *const file = fopen(path, "rb");
    struct stat stat_of;
    int status = OPTIONS_RUN;
    keys->text = mem_alloc(KEY_FILE_BYTES);
    if (!file || fstat(fileno(file), &stat_of) != 0)
        status = output_error("%s: can not be read", path);
    else if (stat_of.st_mode & 077)
        status = output_error("%s: others may read it; chmod 600 %s", path, path);
    else if (!keys->text)
        status = output_error("out of memory");
    else if (fread(keys->text, 1, KEY_FILE_BYTES - 1, file) == KEY_FILE_BYTES - 1)
        status = output_error("%s: too long for a file of keys", path);
    if (file) fclose(file);
    return status == OPTIONS_RUN ? split_keys(path, keys) : status;
}

void keys_free(struct keys *keys) { mem_free(keys->text); }
