/* Tasks and sets of them: what a model is asked, and how its answer is judged. Published sets
 * (HumanEval, EvalPlus, HumanEval-X, infilling) and octet's own YAML or JSON files end in the same
 * struct. docs/tasks.md describes the file format. */
#ifndef OCTET_COMPARE_TASK_H
#define OCTET_COMPARE_TASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "compare/box.h"
#include "octet.h"

enum task_shape {
    TASK_TEXT, // the prompt is an instruction; the answer holds the code
    TASK_CODE, // the prompt is the beginning of a file; the answer continues or repeats it
    TASK_HOLE, // the answer fills the hole between prompt and suffix
};

enum task_judge {
    JUDGE_CALLS,    // calls of one function, results compared with the expected or the reference's
    JUDGE_CHECK,    // a Python test file with check(candidate), calls forwarded
    JUDGE_APPENDED, // test code in the answer's language that shares its process
    JUDGE_PROGRAM,  // a program is run on inputs; output or files are compared or checked
};

struct task {
    const char *id;       // unique in the set: "HumanEval/0"
    const char *language; // python c cpp javascript go java rust sql shell
    const char *prompt;
    const char *suffix;       // TASK_HOLE, else NULL
    const char *entry;        // function that must be there; NULL: a whole program
    const char *reference;    // a complete file that solves the task; NULL: unknown
    const char *const *wrong; // (n_wrong) complete files that must not pass
    size_t n_wrong;
    enum task_shape shape;
    enum task_judge judge;
    const json_t *tests;          // an object, read by the judge (grade.c)
    const struct box_file *files; // (n_files) put beside the answer when it runs
    size_t n_files;
    struct box_limits limits; // zeros: defaults
    const char *excluded;     // why the item is left out of scores, or NULL
};

struct task_set {
    char *name;    // "humaneval"
    char *version; // hash of the contents, 16 hex digits
    char *license, *source;
    const struct task *tasks; // (n_tasks)
    size_t n_tasks;
    void *owner; // holds what the tasks point to
};

/* WHAT: a built-in set ("core", "article"), a set fetched by octet pull, or a file or folder:
 * .yaml, .json, .jsonl, each also .gz. The format of .jsonl rows is recognised by their fields. */
enum octet_status task_set_open(const char *what, struct task_set *out, struct octet_err *err);
void task_set_close(struct task_set *set);
const char *task_builtin(size_t i); // i-th built-in set, NULL past the end

#endif
