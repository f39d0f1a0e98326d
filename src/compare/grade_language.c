/* How the languages are compiled and run. */
#include <string.h>

#include "base/status.h"
#include "compare/grade_impl.h"

/* A compiler may need longer than a program. */
static const double compile_s = 40;

static const struct grade_language languages[] = {
    {"python", "answer.py", "python3", {NULL}, {"python3", "-B", "answer.py", NULL}},
    {"javascript", "answer.js", "node", {NULL}, {"node", "answer.js", NULL}},
    {"shell", "answer.sh", "bash", {NULL}, {"bash", "answer.sh", NULL}},
    {"sql",
     "answer.sql",
     "sqlite3",
     {NULL},
     {"sqlite3", "-batch", "-bail", ":memory:", ".read setup.sql", ".read answer.sql", NULL}},
    {"c",
     "answer.c",
     "gcc",
     {"gcc", "-std=gnu17", "-O1", "-w", "-o", "answer", "answer.c", "-lm", NULL},
     {"./answer", NULL}},
    {"cpp",
     "answer.cpp",
     "g++",
     {"g++", "-std=gnu++17", "-O1", "-w", "-o", "answer", "answer.cpp", NULL},
     {"./answer", NULL}},
    {"rust",
     "answer.rs",
     "rustc",
     {"rustc", "--edition=2021", "-Copt-level=1", "-Awarnings", "-o", "answer", "answer.rs", NULL},
     {"./answer", NULL}},
    {"go",
     "answer.go",
     "go",
     {"go", "build", "-o", "answer", "answer.go", NULL},
     {"./answer", NULL}},
    // The launcher of single files compiles in memory and takes classes of any name.
    {"java",
     "answer.java",
     "java",
     {NULL},
     {"java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "answer.java", NULL}},
};

const struct grade_language *grade_language(const char *name) {
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
        if (strcmp(languages[i].name, name) == 0) return &languages[i];
    return NULL;
}

/* Where a compiler says what is wrong: the first line with "error". */
static const char *first_error(char *text) {
    char *const found = strstr(text, "error");
    if (!found) return "";
    char *begin = found;
    while (begin > text && begin[-1] != '\n') begin--;
    begin[strcspn(begin, "\n")] = '\0';
    return begin;
}

enum octet_status grade_compile(struct grading *g, const struct grade_language *language,
                                const char *source, bool *compiled, struct box_file *program,
                                struct box_result *keeper) {
    const struct box_file file = {language->file, source, strlen(source), false};
    struct box_job job = grade_job(g, language->compile, compile_s);
    job.files = &file;
    job.n_files = 1;
    job.keep = (const char *const[]){"answer", NULL};
    job.limits = (struct box_limits){.wall_s = compile_s, .cpu_s = compile_s};
    enum octet_status status = grade_run(g, &job, false, keeper);
    if (status != OCTET_OK) return status;
    *compiled = keeper->end == BOX_EXITED && keeper->status == 0 && keeper->n_kept == 1;
    if (*compiled) {
        *program = keeper->kept[0];
        program->executable = true;
        return OCTET_OK;
    }
    status = grade_keep_output(g, keeper);
    const char *const end = grade_end_text(keeper);
    if (status == OCTET_OK)
        status = grade_say(g, GRADE_NOT_COMPILED, "%s: %s", language->tool,
                           end ? end : first_error(keeper->err));
    box_result_free(keeper);
    return status;
}
