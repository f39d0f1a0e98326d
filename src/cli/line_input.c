/* See line_input.h. */
#include "cli/line_input.h"

#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/terminal.h"

enum { HISTORY_LINES = 1000 };

struct line_input {
    EditLine *editor; // NULL: stdin is a pipe
    History *history;
    char path[512];   // "": no history file
    bool more;        // within a message of several lines
    char *line;       // of getline
    size_t line_cap;
};

static char *prompt_text(EditLine *editor) {
    static char first[] = "> ", next[] = "| ";
    struct line_input *input = NULL;
    el_get(editor, EL_CLIENTDATA, &input);
    return input != NULL && input->more ? next : first;
}

static void find_history(struct line_input *input) {
    const char *const path = getenv("OCTET_HISTORY"), *const home = getenv("HOME");
    int n = 0;
    if (path != NULL) {
        n = snprintf(input->path, sizeof input->path, "%s", path);
    } else if (home != NULL && home[0] != '\0') {
        n = snprintf(input->path, sizeof input->path, "%s/.octet_history", home);
    }
    if (n < 0 || (size_t)n >= sizeof input->path) input->path[0] = '\0';
}

static bool open_editor(struct line_input *input) {
    setlocale(LC_CTYPE, ""); // so that the editor moves by characters, not bytes
    input->editor = el_init("octet", stdin, stdout, stderr);
    input->history = history_init();
    if (input->editor == NULL || input->history == NULL) return false;
    HistEvent event;
    history(input->history, &event, H_SETSIZE, HISTORY_LINES);
    history(input->history, &event, H_SETUNIQUE, 1);
    find_history(input);
    if (input->path[0] != '\0') history(input->history, &event, H_LOAD, input->path);
    el_set(input->editor, EL_CLIENTDATA, input);
    el_set(input->editor, EL_PROMPT, prompt_text);
    el_set(input->editor, EL_EDITOR, "emacs");
    el_set(input->editor, EL_SIGNAL, 1); // gives the terminal back before a signal ends us
    el_set(input->editor, EL_HIST, history, input->history);
    el_source(input->editor, NULL);
    return true;
}

struct line_input *line_input_open(void) {
    struct line_input *const input = mem_alloc(sizeof *input);
    if (input == NULL) return NULL;
    if (terminal_is(STDIN_FILENO) && !open_editor(input)) {
        line_input_close(input);
        return NULL;
    }
    return input;
}

static void save_history(struct line_input *input) {
    if (input->path[0] == '\0') return;
    // Made here first, so that it is never readable by others.
    const int fd = open(input->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    const bool own = fchmod(fd, 0600) == 0;
    close(fd);
    HistEvent event;
    if (own) history(input->history, &event, H_SAVE, input->path);
}

void line_input_close(struct line_input *input) {
    if (input == NULL) return;
    if (input->history != NULL) {
        save_history(input);
        history_end(input->history);
    }
    if (input->editor != NULL) el_end(input->editor);
    free(input->line); // getline's
    mem_free(input);
}

bool line_input_is_interactive(const struct line_input *input) {
    return input->editor != NULL;
}

static const char *next_line(struct line_input *input, size_t *n_bytes) {
    if (input->editor != NULL) {
        int n = 0;
        const char *const line = el_gets(input->editor, &n);
        if (line == NULL || n <= 0) return NULL;
        HistEvent event;
        if (line[0] != '\n') history(input->history, &event, H_ENTER, line);
        *n_bytes = (size_t)n;
        return line;
    }
    const ssize_t n = getline(&input->line, &input->line_cap, stdin);
    if (n <= 0) return NULL;
    *n_bytes = (size_t)n;
    return input->line;
}

bool line_input_read(struct line_input *input, struct text *text) {
    text->n = 0;
    input->more = false;
    for (;;) {
        size_t n = 0;
        const char *const line = next_line(input, &n);
        if (line == NULL) return input->more; // the end of input ends a message too
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
        const bool more = n > 0 && line[n - 1] == '\\';
        if (!text_append(text, line, more ? n - 1 : n)) return false;
        if (!more) return true;
        if (!text_append(text, "\n", 1)) return false;
        input->more = true;
    }
}
