/* octet run: one completion. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/generate.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

struct run_args {
    int32_t n_predict;
    bool json, special, parse_special, no_bos, verbose, chat;
    const char *chat_format, *system;
    const char *grammar, *schema;
    struct text_list stops;
};

static const struct option_row rows[] = {
    {"predict", 'n', OPTION_INT, "N", offsetof(struct run_args, n_predict), -1, INT32_MAX, false,
     "most tokens to produce; -1: until the model ends or the context is full"},
    {"stop", 0, OPTION_TEXTS, "TEXT", offsetof(struct run_args, stops), 0, 0, false,
     "end before this text; may be given several times"},
    {"chat", 0, OPTION_FLAG, NULL, offsetof(struct run_args, chat), 0, 0, false,
     "the text is one user message, put into the model's chat format"},
    {"chat-format", 0, OPTION_TEXT, "NAME", offsetof(struct run_args, chat_format), 0, 0, false,
     "chat format to use instead of the model's own; implies --chat"},
    {"system", 0, OPTION_TEXT, "TEXT", offsetof(struct run_args, system), 0, 0, false,
     "system message of the chat"},
    {"grammar", 0, OPTION_TEXT, "FILE|TEXT", offsetof(struct run_args, grammar), 0, 0, false,
     "the output is of this grammar, in GBNF; what begins with root ::= is no file but the text"},
    {"json-schema", 0, OPTION_TEXT, "FILE|TEXT", offsetof(struct run_args, schema), 0, 0, false,
     "the output is JSON that is valid under this schema; what begins with { is the text"},
    {"no-bos", 0, OPTION_FLAG, NULL, offsetof(struct run_args, no_bos), 0, 0, false,
     "do not begin with the BOS token where the model asks for it"},
    {"parse-special", 0, OPTION_FLAG, NULL, offsetof(struct run_args, parse_special), 0, 0, false,
     "names of control tokens in the text become those tokens"},
    {"special", 0, OPTION_FLAG, NULL, offsetof(struct run_args, special), 0, 0, false,
     "show control tokens in the output"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct run_args, json), 0, 0, false,
     "print one JSON object at the end instead of the text as it comes"},
    {"verbose", 'v', OPTION_FLAG, NULL, offsetof(struct run_args, verbose), 0, 0, false,
     "say on stderr what was loaded"},
};

struct run {
    struct run_args args;
    struct model_args model_args;
    struct session_args session_args;
    struct sampling_args sampling_args;
    struct prompt_args prompt_args;
    struct octet_model *model;
    struct octet_session *session;
    struct octet_sampler *sampler;
    struct octet_grammar *grammar;
    struct progress progress;
    struct octet_tokens tokens;
    struct text prompt, answer;
    const char **stops; // (n_stops)
    size_t n_stops;
};

static int encode_chat(struct run *run) {
    struct octet_message messages[2];
    size_t n = 0;
    if (strlen(run->prompt.bytes) != run->prompt.n) {
        return output_error("the message contains a NUL byte");
    }
    if (run->args.system != NULL) {
        messages[n++] = (struct octet_message){"system", run->args.system};
    }
    messages[n++] = (struct octet_message){"user", run->prompt.bytes};
    generate_tell_format(run->model, run->model_args.path, run->args.chat_format);
    struct octet_err err;
    if (octet_chat_encode(run->model, run->args.chat_format, messages, n, &run->tokens, &err) !=
        OCTET_OK) {
        return output_failure(&err);
    }
    return OPTIONS_RUN;
}

static int encode_text(struct run *run) {
    unsigned flags = run->args.no_bos ? 0 : OCTET_TOKENIZE_BOS;
    if (run->args.parse_special) flags |= OCTET_TOKENIZE_SPECIAL;
    struct octet_err err;
    if (octet_tokenize(run->model, run->prompt.bytes, run->prompt.n, flags, &run->tokens, &err) !=
        OCTET_OK) {
        return output_failure(&err);
    }
    const int32_t bos = octet_token_bos(run->model);
    if (run->tokens.n == 0 && bos >= 0 && octet_tokens_push(&run->tokens, bos) != OCTET_OK) {
        return output_error("out of memory for the prompt");
    }
    if (run->tokens.n == 0) {
        return output_error("the prompt is empty and this model has no BOS token to start from");
    }
    return OPTIONS_RUN;
}

static void print_loaded(const struct run *run) {
    struct octet_model_info info;
    octet_model_get_info(run->model, &info);
    char size[16], kv[16];
    fprintf(stderr, "%s (%s), %d layers, %s, %s kernels, %d threads, context %d (%s)\n",
            info.name[0] != '\0' ? info.name : run->model_args.path, info.arch, info.n_layers,
            output_bytes((double)info.file_bytes, size), info.isa, info.n_threads,
            octet_session_n_ctx(run->session),
            output_bytes((double)octet_session_kv_bytes(run->session), kv));
}

/* The grammar or schema, from a file where it is not the text itself. */
static int open_grammar(struct run *run) {
    const bool is_schema = run->args.schema != NULL;
    const char *const given = is_schema ? run->args.schema : run->args.grammar;
    if (given == NULL) return OPTIONS_RUN;
    const char *const first = given + strspn(given, " \t\n");
    const bool is_text = is_schema ? *first == '{' : strncmp(first, "root ", 5) == 0;
    struct text source = {NULL, 0, 0};
    int status = OPTIONS_RUN;
    if (!is_text)
        status = text_read(&source, given);
    else if (!text_append(&source, given, strlen(given)))
        status = output_error("out of memory for the grammar");
    struct octet_err err;
    if (status == OPTIONS_RUN &&
        (is_schema
             ? octet_grammar_open_schema(run->model, source.bytes, source.n, 0, &run->grammar, &err)
             : octet_grammar_open(run->model, source.bytes, source.n, &run->grammar, &err)) !=
            OCTET_OK)
        status = is_text ? output_failure(&err) : output_error("%s: %s", given, err.message);
    text_free(&source);
    return status;
}

/* Everything until the first token can be computed. */
static int set_up(struct run *run, const struct command *command) {
    int status = generate_check_format(command, run->args.chat_format);
    run->args.chat = run->args.chat || run->args.chat_format != NULL;
    if (status == OPTIONS_RUN && run->args.system != NULL && !run->args.chat) {
        status = options_misuse(command, "--system needs --chat");
    }
    if (status == OPTIONS_RUN && run->args.grammar != NULL && run->args.schema != NULL) {
        status = options_misuse(command, "--grammar and --json-schema exclude each other");
    }
    if (status == OPTIONS_RUN) status = text_prompt(&run->prompt, &run->prompt_args, command);
    if (status == OPTIONS_RUN) status = options_open_model(&run->model_args, false, &run->model);
    if (status == OPTIONS_RUN) {
        status = generate_open_sampler(command, &run->sampling_args, run->model, &run->sampler);
    }
    if (status == OPTIONS_RUN) status = open_grammar(run);
    if (status == OPTIONS_RUN) status = run->args.chat ? encode_chat(run) : encode_text(run);
    if (status == OPTIONS_RUN) {
        // A grammar ends its texts itself, and may have a format's stop string inside.
        const bool format_stops = run->args.chat && run->grammar == NULL;
        status = generate_collect_stops(run->model, format_stops, run->args.chat_format,
                                        &run->args.stops, &run->stops, &run->n_stops);
    }
    if (status != OPTIONS_RUN) return status;
    progress_open(&run->progress, "prompt", PROGRESS_TOKENS);
    status = generate_open_session(&run->session_args, run->model, &run->progress, &run->session);
    if (status == OPTIONS_RUN && run->args.verbose) print_loaded(run);
    return status;
}

static bool on_text(void *user, const char *text, size_t n_bytes) {
    struct run *const run = user;
    if (run->args.json) return text_append(&run->answer, text, n_bytes);
    return output_write(text, n_bytes) && output_flush();
}

static int print_json(const struct run *run, const struct generated *result) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)result->logits_hash);
    return json_out_print(json_pack(
        "{s:o, s:I, s:I, s:o, s:o, s:s, s:s, s:o, s:o}", "text",
        json_out_text(run->answer.bytes, run->answer.n), "prompt_tokens",
        (json_int_t)result->n_prompt, "completion_tokens", (json_int_t)result->n_tokens,
        "prefill_tps", json_out_number(generate_prefill_tps(result)), "decode_tps",
        json_out_number(generate_decode_tps(result)), "finish_reason",
        generate_finish_name(result->finish), "logits_hash", hash, "first_token_s",
        json_out_number(result->first_seconds), "prefill_s",
        json_out_number(result->prefill_seconds)));
}

static int complete(struct run *run) {
    const struct generation generation = {
        .model = run->model,
        .session = run->session,
        .sampler = run->sampler,
        .grammar = run->grammar,
        .progress = &run->progress,
        .tokens = &run->tokens,
        .n_max = run->args.n_predict,
        .special = run->args.special,
        .stops = run->stops,
        .n_stops = run->n_stops,
        .on_text = on_text,
        .user = run,
    };
    struct generated result;
    struct octet_err err;
    terminal_catch_interrupt();
    const enum octet_status status = generate(&generation, &result, &err);
    terminal_release_interrupt();
    if (!run->args.json && (status == OCTET_OK || result.n_tokens > 0)) output_write("\n", 1);
    if (status != OCTET_OK) return output_failure(&err);
    if (run->args.json && result.finish == GENERATE_CLOSED) {
        return output_error("out of memory for the text");
    }
    if (!output_flush()) return EXIT_FAILED; // output_finish says why
    generate_print_summary(&result);
    int exit_status = EXIT_DONE;
    if (run->args.json) exit_status = print_json(run, &result);
    return result.finish == GENERATE_INTERRUPTED ? (int)EXIT_INTERRUPTED : exit_status;
}

static int run_command(const struct command *command, int argc, char **argv) {
    static const struct run_args defaults = {.n_predict = -1};
    struct run run = {.args = defaults};
    const struct option_group groups[] = {
        options_model_group(&run.model_args),
        options_prompt_group(&run.prompt_args),
        {"Generation", rows, sizeof rows / sizeof rows[0], &run.args, &defaults, sizeof defaults},
        options_session_group(&run.session_args),
        options_sampling_group(&run.sampling_args),
    };
    const size_t n_groups = sizeof groups / sizeof groups[0];
    struct arguments arguments;
    int status = options_parse(command, groups, n_groups, argc, argv, 0, 0, &arguments);
    if (status != OPTIONS_RUN) return status;
    status = set_up(&run, command);
    if (status == OPTIONS_RUN) status = complete(&run);
    octet_session_close(run.session);
    octet_sampler_close(run.sampler);
    octet_grammar_close(run.grammar);
    octet_model_close(run.model);
    octet_tokens_free(&run.tokens);
    text_free(&run.prompt);
    text_free(&run.answer);
    mem_free(run.stops);
    options_free(groups, n_groups);
    return status;
}

const struct command cmd_run = {
    .name = "run",
    .summary = "continue a text",
    .usage = "-m MODEL [-p TEXT | -f FILE] [options]",
    .about = "Continues the text and streams what the model makes of it to stdout; one line of "
             "timing follows on stderr. With --chat the text is a question and the output the "
             "answer. The same model, text, options and seed give the same output on any number "
             "of threads. Ctrl-C ends the output, a second one the program.",
    .examples = "  octet run -m model.gguf -p 'Once upon a time' -n 100\n"
                "  octet run -m model.gguf --chat -p 'What is a monad?' --temp 0\n"
                "  octet run -m model.gguf --json-schema person.json -p 'Ada Lovelace is'\n"
                "  git diff | octet run -m model.gguf --chat --system 'Review this diff.'\n",
    .run = run_command,
};
