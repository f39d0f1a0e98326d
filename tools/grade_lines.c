/* Grades answers from standard input, one JSON object {"task": id, "code": text} per line, and
 * writes one {"base": grade, "plus": grade, "detail": text} per line, in the same order.
 *     grade_lines SET [SECONDS per call] */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare/grade.h"

static const struct task *find_task(const struct task_set *set, const char *id) {
    for (size_t i = 0; id && i < set->n_tasks; i++)
        if (strcmp(set->tasks[i].id, id) == 0) return &set->tasks[i];
    return NULL;
}

static int grade_line(const struct task_set *set, const char *line, double seconds) {
    json_t *const answer = json_loads(line, 0, NULL);
    const struct task *const found =
        find_task(set, json_string_value(json_object_get(answer, "task")));
    const char *const code = json_string_value(json_object_get(answer, "code"));
    struct octet_err err = {OCTET_EARG, "no such task, or no code"};
    struct verdict v = {0};
    enum octet_status status = OCTET_EARG;
    if (found && code) {
        struct task task = *found;
        task.limits.wall_s = seconds;
        const struct grade_options options = {false, NULL, false};
        status = grade_code(&task, code, &options, &v, &err);
    }
    if (status == OCTET_OK) {
        json_t *const out = json_pack("{s:s, s:s, s:s}", "base", grade_name(v.base), "plus",
                                      grade_name(v.plus), "detail", v.detail);
        json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        json_decref(out);
        puts("");
        fflush(stdout);
        grade_verdict_free(&v);
    } else {
        fprintf(stderr, "grade_lines: %s\n", err.message);
    }
    json_decref(answer);
    return status == OCTET_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    struct task_set set;
    struct octet_err err;
    if (argc < 2 || task_set_open(argv[1], &set, &err) != OCTET_OK) {
        fprintf(stderr, "grade_lines: %s\n", argc < 2 ? "no set of tasks" : err.message);
        return 2;
    }
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
    char *line = NULL;
    size_t cap = 0;
    int failed = 0;
    while (!failed && getline(&line, &cap, stdin) > 0) failed = grade_line(&set, line, seconds);
    free(line);
    task_set_close(&set);
    return failed;
}
