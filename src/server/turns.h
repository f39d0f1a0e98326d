/* Models that share the cores of the machine compute in turns, a step each: the threads of two at
 * once would only wait for each other, since whoever has all of its threads running waits for that
 * one which the other model keeps from its core. */
#ifndef OCTET_SERVER_TURNS_H
#define OCTET_SERVER_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct turns {
    pthread_mutex_t lock;
    pthread_cond_t over;
    uint64_t n_asked, n_over; // in the order of asking
};

void turns_open(struct turns *turns);
void turns_close(struct turns *turns);
/* With TURNS NULL nobody waits. */
void turns_take(struct turns *turns); // waits until it is the caller's
void turns_end(struct turns *turns);
bool turns_wanted(struct turns *turns); // somebody has the turn, or waits for it

#endif
