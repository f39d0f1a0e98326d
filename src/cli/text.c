/* See text.h. */
#include "cli/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/output.h"
#include "cli/terminal.h"

bool text_append(struct text *text, const char *bytes, size_t n_bytes) {
    if (n_bytes >= SIZE_MAX - text->n ||
        !mem_reserve((void **)&text->bytes, &text->cap, text->n + n_bytes + 1, 1)) {
        return false;
    }
    if (n_bytes > 0) memcpy(text->bytes + text->n, bytes, n_bytes);
    text->n += n_bytes;
    text->bytes[text->n] = '\0';
    return true;
}

void text_free(struct text *text) {
    mem_free(text->bytes);
    *text = (struct text){NULL, 0, 0};
}

static int read_all(struct text *text, FILE *file, const char *name) {
    char block[65536];
    size_t n;
    do {
        n = fread(block, 1, sizeof block, file);
        if (!text_append(text, block, n)) return output_error("%s: out of memory", name);
    } while (n == sizeof block);
    if (ferror(file)) return output_error("%s: reading failed: %s", name, strerror(errno));
    return OPTIONS_RUN;
}

int text_read(struct text *text, const char *path) {
    if (strcmp(path, "-") == 0) return read_all(text, stdin, "standard input");
    FILE *const file = fopen(path, "rbe");
    if (file == NULL) return output_error("%s: opening failed: %s", path, strerror(errno));
    const int status = read_all(text, file, path);
    fclose(file);
    return status;
}

struct option_group options_prompt_group(struct prompt_args *target) {
    static const struct option_row rows[] = {
        {"prompt", 'p', OPTION_TEXT, "TEXT", offsetof(struct prompt_args, text), 0, 0, false,
         "the text; without -p and -f it is read from a piped stdin"},
        {"file", 'f', OPTION_TEXT, "FILE", offsetof(struct prompt_args, file), 0, 0, false,
         "file with the text, - for stdin"},
    };
    static const struct prompt_args defaults = {NULL, NULL};
    return (struct option_group){"Text", rows, sizeof rows / sizeof rows[0], target, &defaults,
                                 sizeof defaults};
}

int text_prompt(struct text *text, const struct prompt_args *args, const struct command *command) {
    if (args->text != NULL && args->file != NULL) {
        return options_misuse(command, "--prompt and --file exclude each other");
    }
    if (args->file != NULL) return text_read(text, args->file);
    if (args->text == NULL && terminal_is(STDIN_FILENO)) {
        return options_misuse(command, "no text: give -p TEXT or -f FILE, or pipe it in");
    }
    if (args->text == NULL) return text_read(text, "-");
    if (!text_append(text, args->text, strlen(args->text))) {
        return output_error("out of memory for the text");
    }
    return OPTIONS_RUN;
}
