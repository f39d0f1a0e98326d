/* See turns.h. */
#include "server/turns.h"

void turns_open(struct turns *turns) {
    *turns = (struct turns){.n_asked = 0};
    pthread_mutex_init(&turns->lock, NULL);
    pthread_cond_init(&turns->over, NULL);
}

void turns_close(struct turns *turns) {
    pthread_cond_destroy(&turns->over);
    pthread_mutex_destroy(&turns->lock);
}

void turns_take(struct turns *turns) {
    if (!turns) return;
    pthread_mutex_lock(&turns->lock);
    const uint64_t mine = turns->n_asked++;
    while (turns->n_over != mine) pthread_cond_wait(&turns->over, &turns->lock);
    pthread_mutex_unlock(&turns->lock);
}

void turns_end(struct turns *turns) {
    if (!turns) return;
    pthread_mutex_lock(&turns->lock);
    turns->n_over++;
    pthread_cond_broadcast(&turns->over);
    pthread_mutex_unlock(&turns->lock);
}

bool turns_wanted(struct turns *turns) {
    if (!turns) return false;
    pthread_mutex_lock(&turns->lock);
    const bool wanted = turns->n_asked > turns->n_over;
    pthread_mutex_unlock(&turns->lock);
    return wanted;
}
