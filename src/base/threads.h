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

/* Runs fn(arg, begin, end, i_thread) on runs of consecutive tasks, which together are all those
 * below n_tasks. Each thread goes through an equal share in order, since tasks often read memory in
 * that order, in runs that get shorter towards its end; then it helps others. */
typedef void (*pool_range_fn)(void *arg, size_t begin, size_t end, int i_thread);
void pool_ranges(struct pool *pool, size_t n_tasks, pool_range_fn fn, void *arg);

/* The task at which thread I_THREAD would begin, of N_TASKS given to pool_ranges. */
size_t pool_first_task(const struct pool *pool, size_t n_tasks, int i_thread);

/* What thread I_THREAD is about to read: it fetches N_BYTES from P on into its second-level cache
 * whenever it has to wait for work, until it is told of something else. */
void pool_expect(struct pool *pool, int i_thread, const void *p, size_t n_bytes);

/* The same as pool_ranges, task by task. */
typedef void (*pool_task_fn)(void *arg, size_t i_task, int i_thread);
void pool_tasks(struct pool *pool, size_t n_tasks, pool_task_fn fn, void *arg);

#endif
