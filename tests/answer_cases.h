/* Answers in files, and what is to be read from them: tests/data/score/README.md describes the
 * format. To be included after cmocka.h. */
#ifndef OCTET_TESTS_ANSWER_CASES_H
#define OCTET_TESTS_ANSWER_CASES_H

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

/* Test programs are two folders below the grammars: build/asan/tests/test_score. */
static inline void find_grammars(void) {
    char program[PATH_MAX], grammars[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0) return;
    program[n] = '\0';
    snprintf(grammars, sizeof grammars, "%s/../../liboctet-grammars.so", dirname(program));
    setenv("OCTET_GRAMMARS", grammars, 0);
}

enum { MAX_SECTIONS = 16 };

/* "=== NAME REST" and the lines up to the next such line. */
struct section {
    char name[24], rest[120];
    char *text;
};
struct cases {
    char *bytes;
    const char *at;
};

static inline char *cases_read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long n = ftell(file);
    assert_true(n >= 0);
    rewind(file);
    char *bytes = mem_alloc((size_t)n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)n, file), n);
    fclose(file);
    return bytes;
}

static inline const char *cases_next_section(const char *from) {
    const char *found = strstr(from, "\n=== ");
    return found ? found + 1 : from + strlen(from);
}

/* The sections of the next case, the first of which is named "case"; 0: no more. */
static inline size_t cases_next(struct cases *cases, struct section *sections) {
    size_t n = 0;
    while (*cases->at && (n == 0 || strncmp(cases->at, "=== case", 8) != 0)) {
        assert_true(n < MAX_SECTIONS);
        struct section *section = &sections[n++];
        section->rest[0] = '\0';
        assert_true(sscanf(cases->at, "=== %23[^ \n] %119[^\n]", section->name, section->rest) > 0);
        const char *text = strchr(cases->at, '\n') + 1;
        cases->at = cases_next_section(text - 1);
        size_t n_text = (size_t)(cases->at - text);
        if (strcmp(section->rest, "without the last newline") == 0) n_text--;
        section->text = mem_strdup(text, n_text);
        assert_non_null(section->text);
    }
    return n;
}

static inline const struct section *find_section(const struct section *sections, size_t n,
                                                 const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(sections[i].name, name) == 0) return &sections[i];
    return NULL;
}

static inline const char *section_text(const struct section *sections, size_t n,
                                       const char *name) {
    const struct section *section = find_section(sections, n, name);
    return section ? section->text : NULL;
}

#endif
