/* JSON and texts that are not as they should be. */
#ifndef OCTET_COMPARE_JSON_TEXT_H
#define OCTET_COMPARE_JSON_TEXT_H

#include <jansson.h>

/* For json_dumps: the digits a float has, so that 0.2f is written as 0.2. */
#define JSON_FLOATS (JSON_COMPACT | JSON_REAL_PRECISION(7))

/* Bytes that are no UTF-8 become U+FFFD. NULL: out of memory. */
json_t *json_text(const char *bytes, size_t n_bytes);

/* Parses a document; what is wrong about its characters only (bytes that are no UTF-8, escapes of
 * half a surrogate pair) becomes U+FFFD. NULL: it is not JSON, or out of memory. */
json_t *json_text_parse(const char *bytes, size_t n_bytes);

/* The string at KEY of OBJECT (any value, or NULL); NULL if there is none. */
const char *json_text_get(const json_t *object, const char *key);
/* The integer there, -1 if there is none from 0 to 10^15. */
int64_t json_count_get(const json_t *object, const char *key);

#endif
