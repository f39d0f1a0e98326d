/* Reading of fuzzed answers: whatever the bytes, spans cover them in order, placeholders lie within
 * them, and the files that come out are not much larger than what went in. The first byte chooses
 * the language and the shape of the task. */
#include "compare/score.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const languages[] = {"python", "c",    "cpp",   "javascript", "go",
                                        "java",   "rust", "shell", "sql"};
enum { N_LANGUAGES = sizeof languages / sizeof languages[0], N_SHAPES = TASK_HOLE + 1 };

static void check(const struct task *task, const struct reading *reading, size_t n) {
    const size_t n_most = 3 * n + strlen(task->prompt) + strlen(task->suffix) + 64;
    size_t at = 0;
    for (size_t i = 0; i < reading->n_spans; i++) {
        if (reading->spans[i].begin != at || reading->spans[i].end <= at) abort();
        at = reading->spans[i].end;
    }
    if (at != n) abort();
    for (size_t i = 0; i < reading->n_placeholders; i++) {
        const struct placeholder *const p = &reading->placeholders[i];
        if (p->begin >= p->end || p->end > n || !p->rule) abort();
    }
    if (reading->n_hollow_units > reading->n_units) abort();
    if (strlen(reading->lenient) > n_most || strlen(reading->strict) > n_most) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    const struct task task = {.id = "fuzz",
                              .language = languages[data[0] % N_LANGUAGES],
                              .prompt = "def f(x):\n",
                              .suffix = "    return y\n",
                              .entry = data[0] & 0x80 ? "f" : NULL,
                              .reference = "def f(x):\n    return x\n",
                              .shape = (enum task_shape)(data[0] / N_LANGUAGES % N_SHAPES)};
    struct reading reading;
    struct octet_err err;
    if (score_read(&task, (const char *)data + 1, n - 1, n % 2 ? "length" : "stop", &reading,
                   &err) != OCTET_OK)
        abort();
    check(&task, &reading, n - 1);
    score_reading_free(&reading);
    return 0;
}
