/* Words that users mistype. */
#ifndef OCTET_BASE_WORDS_H
#define OCTET_BASE_WORDS_H

#include <stddef.h>

/* Edits (insert, delete, change, swap neighbours) between two words; 32 where one of them has more
 * than 31 letters. */
size_t words_distance(const char *a, const char *b);

#endif
