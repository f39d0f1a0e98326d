/* Files of JSON objects, one a line. */
#ifndef OCTET_COMPARE_JSON_LINES_H
#define OCTET_COMPARE_JSON_LINES_H

#include <jansson.h>

#include "octet.h"

/* Appends the objects of PATH, plain or gzipped, to the array ROWS; blank lines are passed over.
 * EFORMAT names the line. */
enum octet_status json_lines_read(const char *path, json_t *rows, struct octet_err *err);

#endif
