/* A pool of threads that run one function together. The caller is one of them. */
#ifndef OCTET_BASE_THREADS_H
#define OCTET_BASE_THREADS_H

#include <stddef.h>

struct pool;

int cpu_count(void); // cores this process may use

/* NULL when out of memory or threads. n_threads >= 1; 1 starts none. */
struct pool *pool_open(int n_threads);
void pool_close(struct pool *pool);
int pool_n_threads(const struct pool *pool);

/* Runs fn(arg, i, n_threads) on every thread i and returns when all are done. */
typedef void (*pool_fn)(void *arg, int i_thread, int n_threads);
void pool_run(struct pool *pool, pool_fn fn, void *arg);

/* Runs fn(arg, i_task, i_thread) for every i_task < n_tasks. Each thread takes an equal run of
 * consecutive tasks in order, since they often read memory in that order, and then helps others. */
typedef void (*pool_task_fn)(void *arg, size_t i_task, int i_thread);
void pool_tasks(struct pool *pool, size_t n_tasks, pool_task_fn fn, void *arg);

#endif
