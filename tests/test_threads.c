/* base/threads: every task runs once, whichever threads the system lets run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/threads.h"

enum { N_TASKS = 97, N_JOBS = 2000 };

struct counts {
    int runs[N_TASKS];
    atomic_int inside[8]; // calls under way on a thread
    atomic_int mistakes;
    int n_threads;
};

static void count_range(void *arg, size_t begin, size_t end, int i_thread) {
    struct counts *const counts = arg;
    if (i_thread < 0 || i_thread >= counts->n_threads || begin >= end) counts->mistakes++;
    if (atomic_fetch_add(&counts->inside[i_thread], 1) != 0) counts->mistakes++;
    for (size_t i = begin; i < end; i++) counts->runs[i]++;
    atomic_fetch_sub(&counts->inside[i_thread], 1);
}

/* More threads than cores too: then some come when a job is over. */
static void test_each_task_runs_once(void **state) {
    (void)state;
    static const int n_threads[] = {1, 2, 3, 8};
    for (size_t i = 0; i < sizeof n_threads / sizeof *n_threads; i++) {
        struct pool *const pool = pool_open(n_threads[i]);
        assert_non_null(pool);
        assert_int_equal(pool_n_threads(pool), n_threads[i]);
        for (size_t job = 0; job < N_JOBS; job++) {
            struct counts counts = {.n_threads = n_threads[i]};
            const size_t n = job % (N_TASKS + 1);
            pool_ranges(pool, n, count_range, &counts);
            for (size_t k = 0; k < N_TASKS; k++) assert_int_equal(counts.runs[k], k < n);
            assert_int_equal(counts.mistakes, 0);
        }
        pool_close(pool);
    }
}

static void count_task(void *arg, size_t i_task, int i_thread) {
    (void)i_thread;
    ((int *)arg)[i_task]++;
}

static void test_tasks_are_ranges_of_one(void **state) {
    (void)state;
    struct pool *const pool = pool_open(2);
    assert_non_null(pool);
    int runs[N_TASKS] = {0};
    pool_tasks(pool, N_TASKS, count_task, runs);
    for (size_t i = 0; i < N_TASKS; i++) assert_int_equal(runs[i], 1);
    pool_close(pool);
}

/* Shares cover all tasks, and a hint changes nothing, even one of memory that is not there. */
static void test_what_is_expected_changes_no_task(void **state) {
    (void)state;
    struct pool *const pool = pool_open(3);
    assert_non_null(pool);
    for (size_t n = 0; n <= N_TASKS; n++) {
        assert_int_equal(pool_first_task(pool, n, 0), 0);
        assert_int_equal(pool_first_task(pool, n, 3), n);
        for (int i = 0; i < 3; i++) {
            const size_t share = pool_first_task(pool, n, i + 1) - pool_first_task(pool, n, i);
            assert_in_range(share, n / 3, (n + 2) / 3);
            pool_expect(pool, i, i == 1 ? (void *)64 : pool, 4096);
        }
        struct counts counts = {.n_threads = 3};
        pool_ranges(pool, n, count_range, &counts);
        for (size_t k = 0; k < N_TASKS; k++) assert_int_equal(counts.runs[k], k < n);
        assert_int_equal(counts.mistakes, 0);
    }
    pool_close(pool);
}

struct nap {
    atomic_bool worker_came;
};

/* The worker sleeps, once the caller has seen it come. */
static void take_a_nap(void *arg, size_t i_task, int i_thread) {
    (void)i_task;
    struct nap *const nap = arg;
    if (i_thread == 0) {
        for (int ms = 0; !nap->worker_came && ms < 10000; ms++) usleep(1000);
    } else {
        nap->worker_came = true;
        usleep(400 * 1000);
    }
}

static double thread_cpu_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void test_who_waits_long_sleeps(void **state) {
    (void)state;
    struct pool *const pool = pool_open(2);
    assert_non_null(pool);
    struct nap nap = {false};
    const double begin = thread_cpu_s();
    pool_tasks(pool, 2, take_a_nap, &nap);
    assert_true(nap.worker_came);
    assert_true(thread_cpu_s() - begin < 0.2);
    pool_close(pool);
}

static void test_a_pool_without_memory_is_none(void **state) {
    (void)state;
    for (size_t after = 0; after < 4; after++) {
        mem_fail_after(after);
        struct pool *const pool = pool_open(3);
        mem_fail_after(SIZE_MAX);
        assert_null(pool);
    }
    pool_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_task_runs_once),
        cmocka_unit_test(test_tasks_are_ranges_of_one),
        cmocka_unit_test(test_what_is_expected_changes_no_task),
        cmocka_unit_test(test_who_waits_long_sleeps),
        cmocka_unit_test(test_a_pool_without_memory_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
