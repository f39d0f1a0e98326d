/* Synthetic models in one block format. */
#ifndef OCTET_TESTS_PURE_TYPE_H
#define OCTET_TESTS_PURE_TYPE_H

#include <string.h>
#include <strings.h>

#include "octet.h"

/* The type of octet_synth whose every matrix has FORMAT (any case): "pure-" and its name, or its
 * name alone where no mixture is called so. NULL: there is none. */
static inline const char *pure_type(const char *format) {
    const char *found = NULL;
    for (size_t i = 0; octet_synth_type(i); i++) {
        const char *name = octet_synth_type(i);
        if (strncmp(name, "pure-", 5) == 0 && strcasecmp(name + 5, format) == 0) return name;
        if (strcasecmp(name, format) == 0) found = name;
    }
    return found;
}

#endif
