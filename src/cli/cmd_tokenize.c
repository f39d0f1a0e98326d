/* octet tokenize: text to token ids. */
#include <string.h>

#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/text.h"

struct tokenize_args {
    bool no_special, bos, ids, json;
};

static const struct option_row rows[] = {
    {"no-special", 0, OPTION_FLAG, NULL, offsetof(struct tokenize_args, no_special), 0, 0, false,
     "names of special tokens in the text are plain text"},
    {"bos", 0, OPTION_FLAG, NULL, offsetof(struct tokenize_args, bos), 0, 0, false,
     "begin with the BOS token where the model asks for it, as octet run does"},
    {"ids", 0, OPTION_FLAG, NULL, offsetof(struct tokenize_args, ids), 0, 0, false,
     "print only the ids, on one line"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct tokenize_args, json), 0, 0, false,
     "print a JSON array of {id, text}"},
};

static void print_ids(const struct octet_tokens *tokens) {
    for (size_t i = 0; i < tokens->n; i++) {
        output_printf(i > 0 ? " %d" : "%d", tokens->ids[i]);
    }
    output_printf("\n");
}

/* Bytes of the UTF-8 character that BYTES begin with, 0 where they begin with none. */
static size_t utf8_length(const char *bytes, size_t n_bytes) {
    const unsigned char first = (unsigned char)bytes[0];
    const size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3
                     : first < 0xf5 ? 4 : 0;
    if (n > n_bytes) return 0;
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)bytes[i] & 0xc0) != 0x80) return 0;
    }
    return n;
}

/* The text in quotes on one line: control characters and broken UTF-8 become escapes. */
static void print_quoted(const char *bytes, size_t n_bytes) {
    output_write("'", 1);
    for (size_t i = 0; i < n_bytes;) {
        const unsigned char byte = (unsigned char)bytes[i];
        const size_t n = utf8_length(bytes + i, n_bytes - i);
        if (byte == '\n') {
            output_printf("\\n");
        } else if (byte == '\'' || byte == '\\') {
            output_printf("\\%c", byte);
        } else if (n == 0 || byte < ' ' || byte == 0x7f) {
            output_printf("\\x%02x", byte);
        } else {
            output_write(bytes + i, n);
        }
        i += n > 0 ? n : 1;
    }
    output_write("'\n", 2);
}

static int print_json(const struct octet_model *model, const struct octet_tokens *tokens) {
    json_t *const array = json_array();
    for (size_t i = 0; i < tokens->n; i++) {
        const char *bytes = "";
        size_t n_bytes = 0;
        octet_token_bytes(model, tokens->ids[i], true, &bytes, &n_bytes);
        json_array_append_new(array, json_pack("{s:i, s:o}", "id", tokens->ids[i], "text",
                                               json_out_text(bytes, n_bytes)));
    }
    return json_out_print(array);
}

static void print_tokens(const struct octet_model *model, const struct octet_tokens *tokens) {
    for (size_t i = 0; i < tokens->n; i++) {
        const char *bytes = "";
        size_t n_bytes = 0;
        octet_token_bytes(model, tokens->ids[i], true, &bytes, &n_bytes);
        output_printf("%6d ", tokens->ids[i]);
        print_quoted(bytes, n_bytes);
    }
}

static int tokenize(const struct octet_model *model, const struct text *text,
                    const struct tokenize_args *args) {
    unsigned flags = args->no_special ? 0 : OCTET_TOKENIZE_SPECIAL;
    if (args->bos) flags |= OCTET_TOKENIZE_BOS;
    struct octet_tokens tokens = {NULL, 0, 0};
    struct octet_err err;
    int status = EXIT_DONE;
    if (octet_tokenize(model, text->bytes, text->n, flags, &tokens, &err) != OCTET_OK) {
        status = output_failure(&err);
    } else if (args->json) {
        status = print_json(model, &tokens);
    } else if (args->ids) {
        print_ids(&tokens);
    } else {
        print_tokens(model, &tokens);
    }
    octet_tokens_free(&tokens);
    return status;
}

static int tokenize_command(const struct command *command, int argc, char **argv) {
    static const struct tokenize_args defaults = {false, false, false, false};
    struct tokenize_args args;
    struct model_args model_args;
    struct prompt_args prompt_args;
    const struct option_group groups[] = {
        options_model_group(&model_args),
        options_prompt_group(&prompt_args),
        {"Output", rows, sizeof rows / sizeof rows[0], &args, &defaults, sizeof defaults},
    };
    struct arguments arguments;
    int status = options_parse(command, groups, sizeof groups / sizeof groups[0], argc, argv, 0, 0,
                               &arguments);
    if (status != OPTIONS_RUN) return status;
    struct text text = {NULL, 0, 0};
    struct octet_model *model = NULL;
    status = text_prompt(&text, &prompt_args, command);
    if (status == OPTIONS_RUN) status = options_open_model(&model_args, true, &model);
    if (status == OPTIONS_RUN) status = tokenize(model, &text, &args);
    octet_model_close(model);
    text_free(&text);
    return status;
}

const struct command cmd_tokenize = {
    .name = "tokenize",
    .summary = "text to token ids",
    .usage = "-m MODEL [-p TEXT | -f FILE] [options]",
    .about = "Prints the tokens a text becomes, one per line with its id. Files that hold a "
             "vocabulary and no weights will do. Any bytes are allowed in the text.",
    .examples = "  octet tokenize -m model.gguf -p 'Hello world'\n"
                "  octet tokenize -m model.gguf -f prompt.txt --ids | wc -w\n",
    .run = tokenize_command,
};
