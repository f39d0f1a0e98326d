/* octet detokenize: token ids to text. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/text.h"

struct detokenize_args {
    bool special;
};

static const struct option_row rows[] = {
    {"special", 0, OPTION_FLAG, NULL, offsetof(struct detokenize_args, special), 0, 0, false,
     "show control tokens by name instead of leaving them out"},
};

static int print_token(const struct octet_model *model, long id, bool special) {
    const char *bytes;
    size_t n_bytes;
    if (id < 0 || id > INT32_MAX ||
        octet_token_bytes(model, (int32_t)id, special, &bytes, &n_bytes) != OCTET_OK) {
        return output_error("token %ld is not in the vocabulary of %zu", id,
                            octet_n_tokens(model));
    }
    output_write(bytes, n_bytes);
    return OPTIONS_RUN;
}

/* TEXT: numbers with anything a JSON array or a list has between them. */
static int print_text(const struct octet_model *model, const char *text, bool special) {
    static const char between[] = " \t\r\n,[]";
    int status = OPTIONS_RUN;
    for (text += strspn(text, between); *text != '\0' && status == OPTIONS_RUN;
         text += strspn(text, between)) {
        char *end;
        errno = 0;
        const long id = strtol(text, &end, 10);
        const size_t n = strcspn(text, between);
        if (end != text + n || errno != 0) {
            return output_error("'%.*s' is not a token id", n > 40 ? 40 : (int)n, text);
        }
        status = print_token(model, id, special);
        text = end;
    }
    return status;
}

static int print_all(const struct octet_model *model, const struct arguments *arguments,
                     bool special) {
    int status = OPTIONS_RUN;
    if (arguments->n == 0) {
        struct text text = {NULL, 0, 0};
        status = text_read(&text, "-");
        if (status == OPTIONS_RUN) status = print_text(model, text.bytes, special);
        text_free(&text);
    }
    for (size_t i = 0; i < arguments->n && status == OPTIONS_RUN; i++) {
        status = print_text(model, arguments->items[i], special);
    }
    return status == OPTIONS_RUN ? (int)EXIT_DONE : status;
}

static int detokenize_command(const struct command *command, int argc, char **argv) {
    static const struct detokenize_args defaults = {false};
    struct detokenize_args args;
    struct model_args model_args;
    const struct option_group groups[] = {
        options_model_group(&model_args),
        {"Output", rows, sizeof rows / sizeof rows[0], &args, &defaults, sizeof defaults},
    };
    struct arguments arguments;
    int status = options_parse(command, groups, sizeof groups / sizeof groups[0], argc, argv, 0,
                               SIZE_MAX, &arguments);
    if (status != OPTIONS_RUN) return status;
    struct octet_model *model = NULL;
    status = options_open_model(&model_args, true, &model);
    if (status == OPTIONS_RUN) status = print_all(model, &arguments, args.special);
    octet_model_close(model);
    return status;
}

const struct command cmd_detokenize = {
    .name = "detokenize",
    .summary = "token ids to text",
    .usage = "-m MODEL [ID ...]",
    .about = "Prints the text that token ids stand for, byte for byte and without a newline at the "
             "end. Without arguments the ids are read from stdin, separated by blanks or commas.",
    .examples = "  octet detokenize -m model.gguf 1 22557 1526\n"
                "  octet tokenize -m model.gguf -f in.txt --ids | octet detokenize -m model.gguf\n",
    .run = detokenize_command,
};
