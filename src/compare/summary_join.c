/* Several runs as one: the tasks they share, and models under names that tell them apart. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "compare/summary.h"

static json_t *run_of(json_t *document) { return json_object_get(document, "run"); }

/* How many of the documents have a model of that name. */
static size_t count_name(json_t *const *documents, size_t n, const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k;
        const json_t *model;
        json_array_foreach(json_object_get(run_of(documents[i]), "models"), k, model) {
            if (strcmp(summary_text(model, "name"), name) == 0) count++;
        }
    }
    return count;
}

/* NAME, with the run's number where another run has it too. */
static json_t *final_name(json_t *const *documents, size_t n, size_t i, const char *name) {
    if (count_name(documents, n, name) < 2) return json_string(name);
    return json_sprintf("%s (run %" JSON_INTEGER_FORMAT ")", name,
                        json_integer_value(json_object_get(run_of(documents[i]), "id")));
}

static const json_t *find_task(const json_t *tasks, const char *id) {
    size_t i;
    const json_t *task;
    json_array_foreach(tasks, i, task) {
        if (strcmp(summary_text(task, "id"), id) == 0) return task;
    }
    return NULL;
}

static bool in_all(json_t *const *documents, size_t n, const json_t *task) {
    for (size_t i = 1; i < n; i++) {
        const json_t *const other =
            find_task(json_object_get(documents[i], "tasks"), summary_text(task, "id"));
        if (!other ||
            !json_equal(json_object_get(task, "prompt"), json_object_get(other, "prompt"))) {
            return false;
        }
    }
    return true;
}

static json_t *common_tasks(json_t *const *documents, size_t n) {
    json_t *const tasks = json_array();
    size_t i;
    json_t *task;
    json_array_foreach(json_object_get(documents[0], "tasks"), i, task) {
        if (in_all(documents, n, task)) json_array_append(tasks, task);
    }
    return tasks;
}

static bool add_models(json_t *const *documents, size_t n, size_t i, json_t *models) {
    size_t k;
    json_t *model;
    json_array_foreach(json_object_get(run_of(documents[i]), "models"), k, model) {
        json_t *const copy = json_copy(model);
        const char *const name = summary_text(model, "name");
        json_object_set(copy, "run", json_object_get(run_of(documents[i]), "id"));
        if (json_object_set_new(copy, "name", final_name(documents, n, i, name)) != 0 ||
            json_array_append_new(models, copy) != 0) {
            return false;
        }
    }
    return true;
}

static bool add_answers(json_t *const *documents, size_t n, size_t i, const json_t *tasks,
                        json_t *answers) {
    size_t k;
    json_t *answer;
    json_array_foreach(json_object_get(documents[i], "answers"), k, answer) {
        if (n > 1 && !find_task(tasks, summary_text(answer, "task"))) continue;
        json_t *const copy = json_copy(answer);
        const char *const name = summary_text(answer, "model");
        if (json_object_set_new(copy, "model", final_name(documents, n, i, name)) != 0 ||
            json_array_append_new(answers, copy) != 0) {
            return false;
        }
    }
    return true;
}

enum octet_status summary_join(json_t *const *documents, size_t n, json_t **out,
                               struct octet_err *err) {
    json_t *const runs = json_array();
    json_t *const models = json_array();
    json_t *const answers = json_array();
    json_t *const tasks = common_tasks(documents, n);
    bool fine = true;
    for (size_t i = 0; i < n && fine; i++) {
        fine = json_array_append(runs, run_of(documents[i])) == 0 &&
               add_models(documents, n, i, models) && add_answers(documents, n, i, tasks, answers);
    }
    const bool empty = json_array_size(tasks) == 0;
    *out = fine && !empty ? json_pack("{s:O, s:O, s:O, s:O}", "runs", runs, "models", models,
                                      "tasks", tasks, "answers", answers)
                          : NULL;
    json_decref(runs);
    json_decref(models);
    json_decref(answers);
    json_decref(tasks);
    if (empty) {
        return octet_fail(err, OCTET_EARG,
                          n > 1 ? "the runs have no task in common" : "the run has no tasks");
    }
    return *out ? OCTET_OK : octet_fail_memory(err, "report", 0);
}
