/* Lines a person types, with editing and history, or lines from a pipe. */
#ifndef OCTET_CLI_LINE_INPUT_H
#define OCTET_CLI_LINE_INPUT_H

#include <stdbool.h>

#include "cli/text.h"

struct line_input;

/* NULL: out of memory. The history lies in $OCTET_HISTORY, or in ~/.octet_history if that is not
 * set; an empty one keeps none. */
struct line_input *line_input_open(void);
void line_input_close(struct line_input *input);
bool line_input_is_interactive(const struct line_input *input);

/* Replaces TEXT by the next message: one line, or several joined where they end in a backslash. A
 * prompt is shown only to people. False at the end of input. */
bool line_input_read(struct line_input *input, struct text *text);

#endif
