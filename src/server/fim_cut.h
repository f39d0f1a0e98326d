/* What fim.c and fim_cut.c share. */
#ifndef OCTET_SERVER_FIM_CUT_H
#define OCTET_SERVER_FIM_CUT_H

#include "server/fim.h"

/* Brackets of each kind that are open at PREFIX's end and that SUFFIX does not close; CLOSABLE
 * (FIM_N_BRACKETS), zeroed before. */
void fim_count_closable(const char *prefix, const char *suffix, int *closable);

#endif
