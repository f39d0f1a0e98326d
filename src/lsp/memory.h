/* Answers given lately. Who types what was predicted gets the rest of the answer without asking the
 * model again. Texts are compared, not places, so an edit elsewhere spoils nothing. */
#ifndef OCTET_LSP_MEMORY_H
#define OCTET_LSP_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

enum { MEMORY_ANSWERS = 16, MEMORY_BEFORE = 2048, MEMORY_AFTER = 512 };

struct remembered {
    char *uri, *text;    // NULL: none
    char *before, *after; // the cursor, as much as is compared
    bool is_start;        // BEFORE is all there was
};

/* Zero it first, memory_clear it last. */
struct memory {
    struct remembered items[MEMORY_ANSWERS];
    size_t n_put;
};

void memory_clear(struct memory *memory);
/* TEXT was the answer between PREFIX and SUFFIX; forgotten where memory is short. */
void memory_put(struct memory *memory, const char *uri, const char *prefix, const char *suffix,
                const char *text);
/* What is left of an answer, "" if there was none to give; NULL: not known. Lives until the next
 * put or clear. */
const char *memory_get(const struct memory *memory, const char *uri, const char *prefix,
                       const char *suffix);

#endif
