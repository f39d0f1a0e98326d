/* Log-probabilities of tokens in the two shapes of OpenAI's API. */
#ifndef OCTET_SERVER_CHANCES_H
#define OCTET_SERVER_CHANCES_H

#include <jansson.h>

#include "server/job.h"

/* {"content": [{token, logprob, bytes, top_logprobs}], "refusal": null} */
json_t *chances_chat(const struct octet_model *model, const struct token_report *tokens, size_t n);
/* {tokens, token_logprobs, top_logprobs, text_offset} of tokens FROM .. N. A token whose chance is
 * not known (the first of a prompt) is NaN, and null here. */
json_t *chances_text(const struct octet_model *model, const struct token_report *tokens,
                     size_t from, size_t n);

#endif
