/* How a task is put to a model. The wording is part of what is measured, so it is short, the same
 * for every model, and shown in each report. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/compare.h"

/* A base model does not know where a function ends; what would begin after it ends the answer. */
static const char *const python_stops[] = {"\ndef ",   "\nclass ", "\nif __name__",
                                           "\nprint(", "\n```",    NULL};
static const char *const fence_stops[] = {"\n```", NULL};
static const char *const no_stops[] = {NULL};

static const char chat_code[] =
    "Complete the following %s code. Answer with the whole file in one Markdown code block.\n\n"
    "```%s\n%s\n```\n";
static const char raw_text[] = "%s\n\nAnswer:\n```%s\n";

static size_t length_without_newlines(const char *text) {
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '\n') n--;
    return n;
}

enum octet_status prompt_make(const struct task *task, bool chat, struct prompt *out,
                              struct octet_err *err) {
    const char *text = task->prompt, *language = task->language;
    size_t cap = strlen(text) + 2 * strlen(language) + sizeof chat_code + sizeof raw_text;
    *out = (struct prompt){mem_alloc(cap), no_stops};
    if (!out->text) return octet_fail_memory(err, "prompt", cap);
    if (task->shape == TASK_HOLE || (task->shape == TASK_TEXT && chat)) {
        snprintf(out->text, cap, "%s", text);
    } else if (task->shape == TASK_TEXT) {
        snprintf(out->text, cap, raw_text, text, language);
        out->stops = fence_stops;
    } else if (chat) {
        snprintf(out->text, cap, chat_code, language, language, text);
    } else {
        // Models continue a line better than they begin one: its newline is theirs to write.
        snprintf(out->text, cap, "%.*s", (int)length_without_newlines(text), text);
        out->stops = strcmp(language, "python") == 0 ? python_stops : fence_stops;
    }
    return OCTET_OK;
}

void prompt_free(struct prompt *prompt) { mem_free(prompt->text); }

json_t *prompt_templates(void) {
    return json_pack("{s:s, s:s, s:s, s:s}", "instruction as chat", "%s", "instruction raw",
                     raw_text, "code as chat", chat_code, "code raw", "%s");
}
