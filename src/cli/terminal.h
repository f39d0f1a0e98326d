/* Ctrl-C and what kind of terminal there is. */
#ifndef OCTET_CLI_TERMINAL_H
#define OCTET_CLI_TERMINAL_H

#include <stdbool.h>

/* From now on the first Ctrl-C only raises a flag and the second one ends the process. Calling it
 * again lowers the flag and arms it anew. */
void terminal_catch_interrupt(void);
bool terminal_interrupted(void);
volatile const bool *terminal_interrupt_flag(void); // for those who may not ask here
/* Back to the first Ctrl-C ending the process. */
void terminal_release_interrupt(void);

bool terminal_is(int fd);    // a terminal at all
bool terminal_is_smart(int fd); // one that can rewrite a line
int terminal_width(int fd);  // columns; 80 where unknown

#endif
