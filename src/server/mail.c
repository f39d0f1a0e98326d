/* See mail.h. */
#include "server/mail.h"

#include <event2/event.h>
#include <pthread.h>

#include "base/mem.h"

struct mailbox {
    struct event *ready;
    void (*after)(void *user);
    void *user;
    pthread_mutex_t lock;
    struct mail *first, **last; // under LOCK
};

void mailbox_post(struct mailbox *box, struct mail *mail) {
    mail->next = NULL;
    pthread_mutex_lock(&box->lock);
    *box->last = mail;
    box->last = &mail->next;
    pthread_mutex_unlock(&box->lock);
    mailbox_wake(box);
}

void mailbox_wake(struct mailbox *box) { event_active(box->ready, EV_READ, 0); }

static void read_mail(struct mailbox *box) {
    pthread_mutex_lock(&box->lock);
    struct mail *mail = box->first;
    box->first = NULL;
    box->last = &box->first;
    pthread_mutex_unlock(&box->lock);
    while (mail) {
        struct mail *const next = mail->next;
        mail->fn(mail->arg);
        mail = next;
    }
}

static void on_ready(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct mailbox *const box = arg;
    read_mail(box);
    if (box->after) box->after(box->user);
}

struct mailbox *mailbox_open(struct event_base *base, void (*after)(void *user), void *user) {
    struct mailbox *const box = mem_alloc(sizeof *box);
    if (!box) return NULL;
    box->after = after;
    box->user = user;
    box->last = &box->first;
    box->ready = event_new(base, -1, EV_PERSIST, on_ready, box);
    if (!box->ready) {
        mem_free(box);
        return NULL;
    }
    pthread_mutex_init(&box->lock, NULL);
    return box;
}

void mailbox_close(struct mailbox *box) {
    if (!box) return;
    read_mail(box);
    event_free(box->ready);
    pthread_mutex_destroy(&box->lock);
    mem_free(box);
}
