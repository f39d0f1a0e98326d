/* Thread pool: workers spin for a moment after each job, because the next one usually follows at
 * once, then park on a condition variable so that an idle program costs nothing. So does the caller
 * who waits for the last of them: a task may be a program that runs for minutes. */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/mem.h"

enum { SPIN_ROUNDS = 20000, YIELD_ROUNDS = 200, CLOSED = 1 << 30 };

/* What a thread has still to do of a run of tasks, and to fetch while it waits; alone in its cache
 * line. */
struct share {
    _Alignas(64) atomic_size_t next;
    size_t end;
    atomic_uintptr_t ahead, ahead_end;
};

struct pool {
    int n_threads, spin_rounds; // 0: more threads than cores, where spinning keeps others from work
    pthread_t *workers;         // (n_threads - 1)
    struct share *shares;       // (n_threads)
    int n_started;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    atomic_uint job;     // number of the job; workers wait for a change
    atomic_int inside;   // workers busy with the current job, less CLOSED once it takes no more
    atomic_int n_parked; // workers waiting on WAKE
    atomic_bool caller_parked; // waiting on DONE
    atomic_bool stop;
    pool_range_fn fn;
    void *arg;
};

struct worker_start {
    struct pool *pool;
    int index;
};

int cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A moment of waiting for work. The hint may be replaced meanwhile, and something be fetched of
 * neither use nor harm. */
static void wait_a_moment(struct share *share) {
    enum { LINE = 64, LINES = 8 };
    uintptr_t p = atomic_load_explicit(&share->ahead, memory_order_relaxed);
    uintptr_t end = atomic_load_explicit(&share->ahead_end, memory_order_relaxed);
    if (p >= end) {
        relax();
        return;
    }
    for (int i = 0; i < LINES; i++) __builtin_prefetch((const char *)p + i * LINE, 0, 2);
    atomic_store_explicit(&share->ahead, p + LINES * LINE, memory_order_relaxed);
}

static unsigned wait_for_job(struct pool *pool, unsigned seen, struct share *share) {
    for (int i = 0; i < pool->spin_rounds; i++) {
        unsigned job = atomic_load_explicit(&pool->job, memory_order_acquire);
        if (job != seen) return job;
        wait_a_moment(share);
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->n_parked, 1);
    while (atomic_load(&pool->job) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->n_parked, 1);
    pthread_mutex_unlock(&pool->lock);
    return atomic_load(&pool->job);
}

/* A worker that comes late finds the job closed, or is in time for the next one. */
static bool enter(struct pool *pool) {
    int n = atomic_load_explicit(&pool->inside, memory_order_acquire);
    while (n >= 0)
        if (atomic_compare_exchange_weak_explicit(&pool->inside, &n, n + 1, memory_order_acquire,
                                                  memory_order_acquire))
            return true;
    return false;
}

/* Takes half of what is left of a share, from its front; returns how many tasks that are. */
static size_t claim(struct share *share, size_t *begin) {
    size_t next = atomic_load_explicit(&share->next, memory_order_relaxed), n;
    do {
        if (next >= share->end) return 0;
        n = (share->end - next + 1) / 2;
    } while (!atomic_compare_exchange_weak_explicit(&share->next, &next, next + n,
                                                    memory_order_relaxed, memory_order_relaxed));
    *begin = next;
    return n;
}

/* The own share first, then what others have not begun. */
static void run_ranges(struct pool *pool, int i_thread) {
    for (int i = 0; i < pool->n_threads; i++) {
        struct share *share = &pool->shares[(i_thread + i) % pool->n_threads];
        size_t begin, n;
        while ((n = claim(share, &begin)) > 0) pool->fn(pool->arg, begin, begin + n, i_thread);
    }
}

static bool is_done(struct pool *pool) { return atomic_load(&pool->inside) == -CLOSED; }

static void leave(struct pool *pool) {
    atomic_fetch_sub(&pool->inside, 1);
    // The caller says that it parks before it looks whether it must.
    if (!atomic_load(&pool->caller_parked)) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *start_arg) {
    struct worker_start start = *(struct worker_start *)start_arg;
    mem_free(start_arg);
    struct pool *pool = start.pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_job(pool, seen, &pool->shares[start.index]);
        if (pool->stop) return NULL;
        if (!enter(pool)) continue;
        run_ranges(pool, start.index);
        leave(pool);
    }
}

static void publish_job(struct pool *pool) {
    atomic_fetch_add(&pool->job, 1);
    if (atomic_load(&pool->n_parked) == 0) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

struct pool *pool_open(int n_threads) {
    struct pool *pool = mem_alloc(sizeof *pool);
    if (!pool) return NULL;
    pool->n_threads = n_threads;
    pool->spin_rounds = n_threads <= cpu_count() ? SPIN_ROUNDS : 0;
    atomic_init(&pool->inside, -CLOSED);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->workers = mem_array((size_t)n_threads, sizeof *pool->workers);
    pool->shares = mem_aligned((size_t)n_threads * sizeof *pool->shares);
    if (!pool->workers || !pool->shares) {
        pool_close(pool);
        return NULL;
    }
    for (int i = 1; i < n_threads; i++) {
        struct worker_start *start = mem_alloc(sizeof *start);
        if (start) *start = (struct worker_start){pool, i};
        if (!start || pthread_create(&pool->workers[i - 1], NULL, worker_main, start) != 0) {
            mem_free(start);
            pool_close(pool);
            return NULL;
        }
        pool->n_started++;
    }
    return pool;
}

void pool_close(struct pool *pool) {
    if (!pool) return;
    pool->stop = true;
    publish_job(pool);
    for (int i = 0; i < pool->n_started; i++) pthread_join(pool->workers[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    mem_free(pool->workers);
    mem_free(pool->shares);
    mem_free(pool);
}

int pool_n_threads(const struct pool *pool) { return pool->n_threads; }

static void wait_for_workers(struct pool *pool) {
    for (int i = 0; i < pool->spin_rounds + YIELD_ROUNDS; i++) {
        if (is_done(pool)) return;
        if (i < pool->spin_rounds)
            wait_a_moment(&pool->shares[0]);
        else
            sched_yield();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_parked, true);
    while (!is_done(pool)) pthread_cond_wait(&pool->done, &pool->lock);
    atomic_store(&pool->caller_parked, false);
    pthread_mutex_unlock(&pool->lock);
}

/* Every task has been claimed when the caller finds no more: what is left are those of workers
 * inside. */
static void run_job(struct pool *pool) {
    atomic_store_explicit(&pool->inside, 0, memory_order_release);
    publish_job(pool);
    run_ranges(pool, 0);
    atomic_fetch_sub(&pool->inside, CLOSED);
    wait_for_workers(pool);
}

/* Where shares are not equal, the first threads have a task more. */
size_t pool_first_task(const struct pool *pool, size_t n_tasks, int i_thread) {
    size_t i = (size_t)i_thread, n = (size_t)pool->n_threads, more = n_tasks % n;
    return n_tasks / n * i + (i < more ? i : more);
}

void pool_expect(struct pool *pool, int i_thread, const void *p, size_t n_bytes) {
    struct share *share = &pool->shares[i_thread];
    atomic_store_explicit(&share->ahead, (uintptr_t)p, memory_order_relaxed);
    atomic_store_explicit(&share->ahead_end, (uintptr_t)p + n_bytes, memory_order_relaxed);
}

void pool_ranges(struct pool *pool, size_t n_tasks, pool_range_fn fn, void *arg) {
    if (n_tasks == 0) return;
    if (n_tasks == 1 || pool->n_threads == 1) {
        fn(arg, 0, n_tasks, 0);
        return;
    }
    for (int i = 0; i < pool->n_threads; i++) {
        struct share *share = &pool->shares[i];
        atomic_store_explicit(&share->next, pool_first_task(pool, n_tasks, i),
                              memory_order_relaxed);
        share->end = pool_first_task(pool, n_tasks, i + 1);
    }
    pool->fn = fn;
    pool->arg = arg;
    run_job(pool);
}

struct task_run {
    pool_task_fn fn;
    void *arg;
};

static void run_tasks(void *run_arg, size_t begin, size_t end, int i_thread) {
    struct task_run *run = run_arg;
    for (size_t i = begin; i < end; i++) run->fn(run->arg, i, i_thread);
}

void pool_tasks(struct pool *pool, size_t n_tasks, pool_task_fn fn, void *arg) {
    struct task_run run = {fn, arg};
    pool_ranges(pool, n_tasks, run_tasks, &run);
}
