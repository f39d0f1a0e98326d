/* See aside.h. */
#include "server/aside.h"

#include <pthread.h>

#include "base/mem.h"

struct aside {
    struct mailbox *mail;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct errand *first, **last; // under LOCK, as what follows
    bool stopping;
};

/* NULL: there is nothing more to do. */
static struct errand *next_errand(struct aside *aside) {
    pthread_mutex_lock(&aside->lock);
    while (!aside->first && !aside->stopping) pthread_cond_wait(&aside->wake, &aside->lock);
    struct errand *const errand = aside->first;
    if (errand) aside->first = errand->next;
    if (!aside->first) aside->last = &aside->first;
    pthread_mutex_unlock(&aside->lock);
    return errand;
}

static void *run(void *arg) {
    struct aside *const aside = arg;
    struct errand *errand;
    while ((errand = next_errand(aside)) != NULL) {
        errand->run(errand->arg);
        mailbox_post(aside->mail, &errand->back);
    }
    return NULL;
}

void aside_send(struct aside *aside, struct errand *errand) {
    errand->next = NULL;
    pthread_mutex_lock(&aside->lock);
    *aside->last = errand;
    aside->last = &errand->next;
    pthread_cond_signal(&aside->wake);
    pthread_mutex_unlock(&aside->lock);
}

struct aside *aside_open(struct mailbox *mail) {
    struct aside *const aside = mem_alloc(sizeof *aside);
    if (!aside) return NULL;
    aside->mail = mail;
    aside->last = &aside->first;
    pthread_mutex_init(&aside->lock, NULL);
    pthread_cond_init(&aside->wake, NULL);
    if (pthread_create(&aside->thread, NULL, run, aside) == 0) return aside;
    pthread_cond_destroy(&aside->wake);
    pthread_mutex_destroy(&aside->lock);
    mem_free(aside);
    return NULL;
}

void aside_close(struct aside *aside) {
    if (!aside) return;
    pthread_mutex_lock(&aside->lock);
    aside->stopping = true;
    pthread_cond_signal(&aside->wake);
    pthread_mutex_unlock(&aside->lock);
    pthread_join(aside->thread, NULL);
    pthread_cond_destroy(&aside->wake);
    pthread_mutex_destroy(&aside->lock);
    mem_free(aside);
}
