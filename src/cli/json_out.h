/* JSON on stdout. */
#ifndef OCTET_CLI_JSON_OUT_H
#define OCTET_CLI_JSON_OUT_H

#include <jansson.h>

/* Prints VALUE and a newline and releases it; NULL, what jansson gives when out of memory, is told.
 * Returns an exit status. */
int json_out_print(json_t *value);

/* null where jansson and JSON have no number: NaN and the infinities. */
json_t *json_out_number(double value);
/* Bytes that are no UTF-8 become U+FFFD. */
json_t *json_out_text(const char *bytes, size_t n_bytes);

#endif
