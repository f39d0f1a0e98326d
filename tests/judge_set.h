/* Grades the reference and the wrong answers of every task of a set, on several threads. Include
 * after cmocka.h. */
#ifndef OCTET_TESTS_JUDGE_SET_H
#define OCTET_TESTS_JUDGE_SET_H

#include <pthread.h>
#include <string.h>

#include "base/threads.h"
#include "compare/grade.h"

static inline void open_set(const char *what, struct task_set *set) {
    struct octet_err err = {0};
    if (task_set_open(what, set, &err) != OCTET_OK) fail_msg("%s", err.message);
}

struct judge_many {
    const struct task_set *set;
    pthread_mutex_t lock;
    size_t n_unexpected, n_graded;
};

static inline void judge_one(struct judge_many *many, const struct task *task, const char *code,
                             bool right) {
    const struct grade_options options = {false, NULL, false};
    struct octet_err err = {0};
    struct verdict v = {0};
    const enum octet_status status = grade_code(task, code, &options, &v, &err);
    const bool passes = v.base == GRADE_PASSES && v.plus == GRADE_PASSES;
    const bool unknown = v.base == GRADE_NO_TOOL;
    pthread_mutex_lock(&many->lock);
    if (status != OCTET_OK || (!unknown && passes != right)) {
        many->n_unexpected++;
        print_error("%s: %s %s: %s\n%.300s\n", task->id, right ? "reference" : "wrong answer",
                    status == OCTET_OK ? grade_name(v.base) : err.message, v.detail, code);
    }
    many->n_graded++;
    pthread_mutex_unlock(&many->lock);
    grade_verdict_free(&v);
}

/* Right and wrong differ as much on inputs of this size; a million lines would take a minute. */
static inline void shorten_sizes(const struct task *task) {
    enum { LONGEST = 300000 };
    json_t *const sizes = json_object_get(task->tests, "sizes");
    size_t i;
    json_t *size;
    json_array_foreach(sizes, i, size) {
        if (json_integer_value(size) > LONGEST) json_integer_set(size, LONGEST);
    }
}

static inline void judge_task(void *arg, size_t i_task, int i_thread) {
    (void)i_thread;
    struct judge_many *const many = arg;
    const struct task *const task = &many->set->tasks[i_task];
    shorten_sizes(task);
    judge_one(many, task, task->reference, !task->excluded || strstr(task->excluded, "contradict"));
    // A wrong answer that needs no end is one after a short while, too.
    struct task hasty = *task;
    if (!(hasty.limits.wall_s > 0 && hasty.limits.wall_s < 1)) hasty.limits.wall_s = 1;
    hasty.limits.cpu_s = 2 * hasty.limits.wall_s;
    for (size_t i = 0; i < task->n_wrong; i++) judge_one(many, &hasty, task->wrong[i], false);
}

static inline void judge_set(const char *what) {
    struct task_set set;
    open_set(what, &set);
    struct judge_many many = {.set = &set};
    pthread_mutex_init(&many.lock, NULL);
    struct pool *const pool = pool_open(3);
    assert_non_null(pool);
    pool_tasks(pool, set.n_tasks, judge_task, &many);
    pool_close(pool);
    pthread_mutex_destroy(&many.lock);
    task_set_close(&set);
    assert_true(many.n_graded > 0);
    assert_int_equal(many.n_unexpected, 0);
}

/* A group's setup. */
static inline int skip_without_sandbox(void **state) {
    (void)state;
    if (box_probe()->enough) return 0;
    print_message("the sandbox is too weak here: nothing is run\n");
    exit(0);
}

#endif
