/* Token ids as text, for what is answered in JSON. */
#ifndef OCTET_SERVER_TOKENS_H
#define OCTET_SERVER_TOKENS_H

#include "base/buffer.h"
#include "octet.h"

/* Appends the text of TOKENS; bytes that are no UTF-8 become U+FFFD, control tokens their names if
 * SPECIAL. False: out of memory. */
bool tokens_text(const struct octet_model *model, const struct octet_tokens *tokens, bool special,
                 struct buffer *out);

#endif
