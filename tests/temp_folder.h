/* A new folder for the files of one test; removed with the files the test asked names for. */
#ifndef OCTET_TESTS_TEMP_FOLDER_H
#define OCTET_TESTS_TEMP_FOLDER_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FOLDER_FILES = 8 };

struct folder {
    char path[64];
    char *files[FOLDER_FILES];
    size_t n;
};

static inline void folder_open(struct folder *f) {
    *f = (struct folder){.path = "/tmp/octet-test-XXXXXX"};
    if (!mkdtemp(f->path)) abort();
}

static inline const char *folder_file(struct folder *f, const char *name) {
    if (f->n == FOLDER_FILES || asprintf(&f->files[f->n], "%s/%s", f->path, name) < 0) abort();
    return f->files[f->n++];
}

/* False where something is left that the test did not name. */
static inline int folder_close(struct folder *f) {
    for (size_t i = 0; i < f->n; i++) {
        unlink(f->files[i]);
        free(f->files[i]);
    }
    return rmdir(f->path) == 0;
}

#endif
