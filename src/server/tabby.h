/* What openai.c hands over to tabby.c: both APIs have the same path. */
#ifndef OCTET_SERVER_TABBY_H
#define OCTET_SERVER_TABBY_H

#include "server/answer.h"

/* Answers a body that has "segments"; closes it. */
void tabby_complete(struct server *server, struct exchange *exchange, struct lane *lane,
                    struct body *body);

#endif
