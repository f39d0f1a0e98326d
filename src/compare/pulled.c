/* See pulled.h. The checksums are those of the files that this table was written with, so a changed
 * file is refused rather than scored under the old name. */
#include "compare/pulled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define GITHUB "https://raw.githubusercontent.com/"
#define FOUNDRY GITHUB "mosaicml/llm-foundry/main/scripts/eval/local_data/"

static const struct known_set sets[] = {
    {"humaneval", "humaneval.jsonl.gz", GITHUB "openai/human-eval/master/data/HumanEval.jsonl.gz",
     "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef", "164 Python functions",
     "MIT"},
    {"humaneval-plus-mini", "humaneval-plus-mini.jsonl.gz",
     "https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.10/"
     "HumanEvalPlus-Mini.jsonl.gz",
     "91486741f1627101021fbe50523df08eebb5b0bf5e804b633dcd5ca3c14dbd2f",
     "the same with more tests", "Apache-2.0"},
    {"humaneval-js", "humaneval-js.jsonl.gz",
     GITHUB "THUDM/CodeGeeX/main/codegeex/benchmark/humaneval-x/js/data/humaneval_js.jsonl.gz",
     "fe5d467f2c1a027b3f6f18d3729aca01f6458c1de2e2d1292a019c5aa9bed424",
     "HumanEval-X in JavaScript", "Apache-2.0"},
    {"humaneval-infilling", "humaneval-infilling.jsonl.gz",
     GITHUB "openai/human-eval-infilling/master/data/HumanEval-SingleLineInfilling.jsonl.gz",
     "1277073e7ddce163ef68598c2bca777f688a53df99422f097e37362090f88e1f",
     "1033 single lines to fill in", "MIT"},
    {"humaneval-spans", "humaneval-spans.jsonl.gz",
     GITHUB "openai/human-eval-infilling/master/data/HumanEval-RandomSpanInfillingLight.jsonl.gz",
     "1432250ecac0cb56e6f97f8faf0970419ef892a98fda7e1f5aa4c4b87209b760",
     "164 spans to fill in", "MIT"},
    {"arc_easy", "arc_easy.jsonl", FOUNDRY "world_knowledge/arc_easy.jsonl",
     "d2d12e59543acf9a5ef6079634a72b30215e36c2fd4236fff3bc855d287b87f5",
     "2376 school questions, for octet eval", "CC BY-SA 4.0"},
    {"piqa", "piqa.jsonl", FOUNDRY "commonsense_reasoning/piqa.jsonl",
     "d2870e73aec5154df3faf259b7700876e11608eebdf69e9d6667435673dbe4e0",
     "1838 questions on everyday physics, for octet eval", "AFL-3.0"},
    {"winogrande", "winogrande.jsonl", FOUNDRY "language_understanding/winogrande.jsonl",
     "ea1592526f3bfdd0948ed3acb1b4dfa3f83d23697918117688ee1df7f8d4b8d7",
     "1267 pronouns, for octet eval", "CC BY"},
    {"gsm8k", "gsm8k.jsonl",
     GITHUB "openai/grade-school-math/master/grade_school_math/data/test.jsonl",
     "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
     "1319 word problems, for octet eval", "MIT"},
};

const struct known_set *known_set_at(size_t i) {
    return i < sizeof sets / sizeof *sets ? &sets[i] : NULL;
}

const struct known_set *known_set_find(const char *name) {
    for (size_t i = 0; known_set_at(i); i++)
        if (strcmp(sets[i].name, name) == 0) return &sets[i];
    return NULL;
}

bool pulled_folder(char *path, size_t cap) {
    const char *const data = getenv("XDG_DATA_HOME"), *const home = getenv("HOME");
    int n = -1;
    if (data && data[0] == '/')
        n = snprintf(path, cap, "%s/octet/tasks", data);
    else if (home && home[0])
        n = snprintf(path, cap, "%s/.local/share/octet/tasks", home);
    return n > 0 && (size_t)n < cap;
}

bool pulled_find(const char *name, char *path, size_t cap) {
    static const char *const ends[] = {".jsonl.gz", ".jsonl", ".yaml", ".json", ""};
    if (strchr(name, '/') || name[0] == '.' || !pulled_folder(path, cap)) return false;
    const size_t n_folder = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct stat stat_of;
        const int n = snprintf(path + n_folder, cap - n_folder, "/%s%s", name, ends[i]);
        if (n > 0 && (size_t)n < cap - n_folder && stat(path, &stat_of) == 0) return true;
    }
    return false;
}
