/* A thread for what would keep the HTTP thread from everybody else: requests and answers of
 * megabytes, which are read and written here, one after the other. */
#ifndef OCTET_SERVER_ASIDE_H
#define OCTET_SERVER_ASIDE_H

#include "server/mail.h"

/* RUN(arg) on the thread, then BACK on that of the mailbox. The sender's until BACK was read. */
struct errand {
    void (*run)(void *arg);
    void *arg;
    struct mail back;
    struct errand *next; // the thread's
};

struct aside;
/* NULL: out of memory, or of threads. */
struct aside *aside_open(struct mailbox *mail);
void aside_send(struct aside *aside, struct errand *errand);
/* Runs what was sent and waits for it; all of it is in the mail then. NULL is fine. */
void aside_close(struct aside *aside);

#endif
