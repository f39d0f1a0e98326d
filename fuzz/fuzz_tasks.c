/* Task files from fuzzed bytes: whatever the first byte makes of them (YAML, a row of a published
 * set), a document that binds holds what the judges rely on. */
#include "compare/task_impl.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "octet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_task(const struct task *task) {
    if (!task->id[0] || !task->language || !task->prompt) abort();
    if ((task->shape == TASK_HOLE) != (task->suffix != NULL)) abort();
    if ((task->judge == JUDGE_CALLS || task->judge == JUDGE_CHECK) && !task->entry) abort();
    for (size_t i = 0; i < task->n_wrong; i++)
        if (!task->wrong[i]) abort();
    for (size_t i = 0; i < task->n_files; i++)
        if (!box_path_ok(task->files[i].path) || !task->files[i].bytes) abort();
    if (!(task->limits.wall_s >= 0)) abort();
}

static void bind_document(const json_t *document, const struct task_place *place) {
    struct task task;
    struct octet_err err;
    if (task_bind(document, place, &task, &err) != OCTET_OK) {
        if (!err.message[0]) abort();
        return;
    }
    check_task(&task);
    task_unbind(&task);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    const struct task_place place = {"fuzz", 1};
    struct octet_err err;
    json_t *found = NULL;
    char *const text = malloc(n);
    if (!text) return 0;
    memcpy(text, data + 1, n - 1);
    text[n - 1] = '\0';
    if (data[0] == 'y') {
        if (task_yaml_parse(text, n - 1, "fuzz", &found, &err) == OCTET_OK) {
            size_t i;
            json_t *document;
            json_array_foreach(found, i, document) bind_document(document, &place);
        }
    } else if (strlen(text) == n - 1 &&
               task_row_parse(text, n - 1, &place, &found, &err) == OCTET_OK) {
        bind_document(found, &place);
    }
    json_decref(found);
    free(text);
    return 0;
}
