/* Mail to the thread of an event loop, from any thread: what a lane has to tell of its jobs. */
#ifndef OCTET_SERVER_MAIL_H
#define OCTET_SERVER_MAIL_H

#include <stdbool.h>

struct event_base;
struct mailbox;

/* Runs mail->fn(mail->arg) on the loop's thread, in order. MAIL stays the sender's and may be
 * posted again, or freed, from when FN is called. */
struct mail {
    void (*fn)(void *arg);
    void *arg;
    struct mail *next; // the mailbox's
};

/* AFTER (or NULL) is called whenever mail was read. NULL: out of memory. The loop's base must have
 * been made after evthread_use_pthreads. */
struct mailbox *mailbox_open(struct event_base *base, void (*after)(void *user), void *user);
void mailbox_close(struct mailbox *box); // reads what is left, without AFTER; NULL is fine
void mailbox_post(struct mailbox *box, struct mail *mail);
void mailbox_wake(struct mailbox *box); // as if there were mail

#endif
