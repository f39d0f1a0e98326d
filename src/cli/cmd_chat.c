/* octet chat: a conversation in the terminal, or through a pipe with one message per line. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/conversation.h"
#include "cli/generate.h"
#include "cli/line_input.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

struct chat_args {
    const char *system, *format;
    int32_t n_predict;
    struct text_list stops;
    bool special, verbose;
};

static const struct option_row rows[] = {
    {"system", 0, OPTION_TEXT, "TEXT", offsetof(struct chat_args, system), 0, 0, false,
     "system message"},
    {"chat-format", 0, OPTION_TEXT, "NAME", offsetof(struct chat_args, format), 0, 0, false,
     "chat format to use instead of the model's own"},
    {"predict", 'n', OPTION_INT, "N", offsetof(struct chat_args, n_predict), -1, INT32_MAX, false,
     "most tokens of an answer; -1: until the model ends or the context is full"},
    {"stop", 0, OPTION_TEXTS, "TEXT", offsetof(struct chat_args, stops), 0, 0, false,
     "end an answer before this text; may be given several times"},
    {"special", 0, OPTION_FLAG, NULL, offsetof(struct chat_args, special), 0, 0, false,
     "show control tokens"},
    {"verbose", 'v', OPTION_FLAG, NULL, offsetof(struct chat_args, verbose), 0, 0, false,
     "tell the timing of every answer on stderr"},
};

struct chat {
    struct chat_args args;
    struct model_args model_args;
    struct session_args session_args;
    struct sampling_args sampling_args;
    struct draft_args draft_args;
    const struct command *command;
    struct octet_model *model, *draft_model;
    struct octet_session *session;
    struct octet_drafter *drafter;
    struct progress progress;
    struct line_input *input;
    struct conversation conversation;
    struct octet_tokens tokens, held; // the prompt at hand; what the session was last brought to
    struct text line, answer;
    const char **stops; // (n_stops)
    size_t n_stops;
    uint64_t n_answers; // moves the seed on, so that a retry gives another answer
    struct generated last;
    bool failed; // an answer could not be made
};

/* ---- Answering ------------------------------------------------------------------------------- */

/* Encodes the conversation, dropping old turns until a quarter of the context is left to answer. */
static int fit_conversation(struct chat *chat) {
    const size_t n_ctx = (size_t)octet_session_n_ctx(chat->session);
    const size_t room = n_ctx / 4;
    size_t n_dropped = 0;
    for (;;) {
        struct octet_err err;
        chat->tokens.n = 0;
        if (octet_chat_encode(chat->model, chat->args.format, chat->conversation.messages,
                              chat->conversation.n, &chat->tokens, &err) != OCTET_OK) {
            return output_failure(&err);
        }
        if (chat->tokens.n + room <= n_ctx) break;
        if (conversation_drop_oldest(&chat->conversation)) {
            n_dropped++;
        } else if (chat->tokens.n >= n_ctx) {
            return output_error("the message has %zu tokens, too many for a context of %zu",
                                chat->tokens.n, n_ctx);
        } else {
            break;
        }
    }
    if (n_dropped > 0) {
        fprintf(stderr, "(the context is full: the oldest %zu turn%s forgotten)\n", n_dropped,
                n_dropped == 1 ? " was" : "s were");
    }
    return OPTIONS_RUN;
}

/* Tokens of the prompt that the session need not compute again. */
static size_t n_kept(const struct chat *chat) {
    const struct octet_tokens *const tokens = &chat->tokens, *const held = &chat->held;
    size_t n_held = octet_session_length(chat->session), n = 0;
    if (n_held > held->n) n_held = held->n;
    while (n < tokens->n && n < n_held && tokens->ids[n] == held->ids[n]) n++;
    return n;
}

static bool on_text(void *user, const char *text, size_t n_bytes) {
    struct chat *const chat = user;
    return text_append(&chat->answer, text, n_bytes) && output_write(text, n_bytes) &&
           output_flush();
}

static int stream_answer(struct chat *chat, struct octet_sampler *sampler) {
    const struct generation generation = {
        .model = chat->model,
        .session = chat->session,
        .drafter = chat->drafter,
        .sampler = sampler,
        .progress = &chat->progress,
        .n_kept = n_kept(chat),
        .tokens = &chat->tokens,
        .n_max = chat->args.n_predict,
        .special = chat->args.special,
        .stops = chat->stops,
        .n_stops = chat->n_stops,
        .on_text = on_text,
        .user = chat,
    };
    struct octet_err err;
    progress_open(&chat->progress, "reading", PROGRESS_TOKENS);
    terminal_catch_interrupt();
    const enum octet_status status = generate(&generation, &chat->last, &err);
    terminal_release_interrupt();
    if (chat->answer.n > 0 || status == OCTET_OK) output_write("\n", 1);
    output_flush();
    const struct octet_tokens held = chat->held;
    chat->held = chat->tokens;
    chat->tokens = held;
    if (status != OCTET_OK) return output_failure(&err);
    if (chat->last.finish == GENERATE_LENGTH) fputs("(cut off)\n", stderr);
    if (chat->args.verbose) generate_print_summary(&chat->last);
    return OPTIONS_RUN;
}

/* Answers the conversation, which ends with a user message. */
static int answer(struct chat *chat) {
    int status = fit_conversation(chat);
    if (status != OPTIONS_RUN) return status;
    struct sampling_args sampling = chat->sampling_args;
    sampling.sampling.seed += chat->n_answers++;
    struct octet_sampler *sampler = NULL;
    status = generate_open_sampler(chat->command, &sampling, chat->model, &sampler);
    chat->answer.n = 0;
    if (status == OPTIONS_RUN) status = stream_answer(chat, sampler);
    octet_sampler_close(sampler);
    if (status != OPTIONS_RUN) return status;
    if (!conversation_add(&chat->conversation, "assistant",
                          chat->answer.n > 0 ? chat->answer.bytes : "", chat->answer.n)) {
        return output_error("out of memory for the conversation");
    }
    return OPTIONS_RUN;
}

static void answer_last(struct chat *chat) {
    chat->failed = answer(chat) != OPTIONS_RUN;
    if (chat->failed) conversation_drop_last(&chat->conversation); // the unanswered question
}

/* ---- Commands -------------------------------------------------------------------------------- */

static void do_help(struct chat *chat, const char *argument);

static void do_reset(struct chat *chat, const char *argument) {
    (void)argument;
    conversation_clear(&chat->conversation);
    fputs("(forgotten)\n", stderr);
}

static void do_system(struct chat *chat, const char *argument) {
    if (!conversation_set_system(&chat->conversation, argument)) {
        output_error("out of memory for the conversation");
        return;
    }
    fprintf(stderr, "(system message %s)\n", argument[0] != '\0' ? "set" : "removed");
}

static void do_save(struct chat *chat, const char *argument) {
    struct octet_err err;
    if (conversation_save(&chat->conversation, argument, &err) != OCTET_OK) {
        output_failure(&err);
    } else {
        fprintf(stderr, "(%zu messages saved)\n", chat->conversation.n);
    }
}

static void do_load(struct chat *chat, const char *argument) {
    struct octet_err err;
    if (conversation_load(&chat->conversation, argument, &err) != OCTET_OK) {
        output_failure(&err);
    } else {
        fprintf(stderr, "(%zu messages loaded)\n", chat->conversation.n);
    }
}

static void do_retry(struct chat *chat, const char *argument) {
    (void)argument;
    if (conversation_last_is(&chat->conversation, "assistant")) {
        conversation_drop_last(&chat->conversation);
    }
    if (conversation_last_is(&chat->conversation, "user")) {
        answer_last(chat);
    } else {
        fputs("(nothing to answer yet)\n", stderr);
    }
}

static void do_stats(struct chat *chat, const char *argument) {
    (void)argument;
    if (chat->n_answers > 0) generate_print_summary(&chat->last);
    char size[16];
    fprintf(stderr, "context %zu of %d tokens, KV cache %s, %zu messages\n",
            octet_session_length(chat->session), octet_session_n_ctx(chat->session),
            output_bytes((double)octet_session_kv_bytes(chat->session), size),
            chat->conversation.n);
}

static const struct chat_command {
    const char *name, *argument; // argument NULL: none, in brackets: may be left out
    void (*run)(struct chat *chat, const char *argument);
    const char *help;
} chat_commands[] = {
    {"help", NULL, do_help, "this list"},
    {"reset", NULL, do_reset, "forget the conversation, keep the system message"},
    {"system", "[TEXT]", do_system, "set the system message, without TEXT remove it"},
    {"save", "FILE", do_save, "save the conversation as JSON"},
    {"load", "FILE", do_load, "go on with a saved conversation"},
    {"retry", NULL, do_retry, "another answer to the last message"},
    {"stats", NULL, do_stats, "timing of the last answer, use of the context"},
    {"exit", NULL, NULL, "leave, as Ctrl-D does"},
};

enum { N_CHAT_COMMANDS = sizeof chat_commands / sizeof chat_commands[0] };

static void do_help(struct chat *chat, const char *argument) {
    (void)chat;
    (void)argument;
    for (size_t i = 0; i < N_CHAT_COMMANDS; i++) {
        char spelling[32];
        snprintf(spelling, sizeof spelling, "/%s %s", chat_commands[i].name,
                 chat_commands[i].argument != NULL ? chat_commands[i].argument : "");
        fprintf(stderr, "%-16s %s\n", spelling, chat_commands[i].help);
    }
    fputs("A backslash at the end of a line continues the message on the next one. Ctrl-C stops an "
          "answer.\n", stderr);
}

/* LINE begins with a slash. False: leave. */
static bool run_chat_command(struct chat *chat, const char *line) {
    const char *names[N_CHAT_COMMANDS];
    const size_t n_name = strcspn(line + 1, " \t\n");
    char name[32];
    snprintf(name, sizeof name, "%.*s", n_name < sizeof name ? (int)n_name : 0, line + 1);
    const char *const argument = line + 1 + n_name + strspn(line + 1 + n_name, " \t\n");
    for (size_t i = 0; i < N_CHAT_COMMANDS; i++) {
        const struct chat_command *const command = &chat_commands[i];
        names[i] = command->name;
        if (strcmp(command->name, name) != 0) continue;
        if (command->run == NULL) return false;
        const bool needs = command->argument != NULL && command->argument[0] != '[';
        if (needs && argument[0] == '\0') {
            fprintf(stderr, "(/%s needs a %s)\n", name, command->argument);
        } else {
            command->run(chat, argument);
        }
        return true;
    }
    const char *const nearest = options_nearest(name, names, N_CHAT_COMMANDS);
    fprintf(stderr, "(no command /%s; try /%s)\n", name, nearest != NULL ? nearest : "help");
    return true;
}

/* ---- The command ----------------------------------------------------------------------------- */

static int converse(struct chat *chat) {
    const bool interactive = line_input_is_interactive(chat->input);
    if (interactive) fputs("/help lists the commands, Ctrl-D leaves.\n", stderr);
    while (line_input_read(chat->input, &chat->line)) {
        if (chat->line.n == 0) continue;
        if (chat->line.bytes[0] == '/') {
            if (!run_chat_command(chat, chat->line.bytes)) break;
        } else if (!conversation_add(&chat->conversation, "user", chat->line.bytes,
                                     chat->line.n)) {
            return output_error("out of memory for the conversation");
        } else {
            answer_last(chat);
        }
        const bool stopped = chat->n_answers > 0 && chat->last.finish == GENERATE_INTERRUPTED;
        if (!interactive && stopped) return EXIT_INTERRUPTED;
        if (!output_flush() || (!interactive && chat->failed)) return EXIT_FAILED;
    }
    if (interactive) output_write("\n", 1);
    return EXIT_DONE;
}

static int set_up(struct chat *chat) {
    int status = generate_check_format(chat->command, chat->args.format);
    if (status == OPTIONS_RUN) status = options_open_model(&chat->model_args, false, &chat->model);
    if (status != OPTIONS_RUN) return status;
    generate_tell_format(chat->model, chat->model_args.path, chat->args.format);
    if (chat->args.format == NULL && octet_chat_format(chat->model) == NULL) {
        return output_error("%s: the file names no chat format that octet knows; choose one with "
                            "--chat-format", chat->model_args.path);
    }
    status = generate_open_session(&chat->session_args, chat->model, &chat->progress,
                                   &chat->session);
    if (status == OPTIONS_RUN) {
        status = generate_open_drafter(&chat->draft_args, &chat->model_args, chat->session,
                                       &chat->draft_model, &chat->drafter);
    }
    if (status == OPTIONS_RUN) {
        status = generate_collect_stops(chat->model, true, chat->args.format, &chat->args.stops,
                                        &chat->stops, &chat->n_stops);
    }
    if (status != OPTIONS_RUN) return status;
    chat->input = line_input_open();
    if (chat->input == NULL || (chat->args.system != NULL &&
                                !conversation_set_system(&chat->conversation, chat->args.system))) {
        return output_error("out of memory for the conversation");
    }
    return OPTIONS_RUN;
}

static int chat_command(const struct command *command, int argc, char **argv) {
    static const struct chat_args defaults = {.n_predict = -1};
    struct chat chat = {.args = defaults, .command = command};
    const struct option_group groups[] = {
        options_model_group(&chat.model_args),
        {"Chat", rows, sizeof rows / sizeof rows[0], &chat.args, &defaults, sizeof defaults},
        options_session_group(&chat.session_args),
        options_sampling_group(&chat.sampling_args),
        options_draft_group(&chat.draft_args),
    };
    const size_t n_groups = sizeof groups / sizeof groups[0];
    struct arguments arguments;
    int status = options_parse(command, groups, n_groups, argc, argv, 0, 0, &arguments);
    if (status != OPTIONS_RUN) return status;
    status = set_up(&chat);
    if (status == OPTIONS_RUN) status = converse(&chat);
    line_input_close(chat.input);
    octet_drafter_close(chat.drafter);
    octet_session_close(chat.session);
    octet_model_close(chat.draft_model);
    octet_model_close(chat.model);
    octet_tokens_free(&chat.tokens);
    octet_tokens_free(&chat.held);
    conversation_free(&chat.conversation);
    text_free(&chat.line);
    text_free(&chat.answer);
    mem_free(chat.stops);
    options_free(groups, n_groups);
    return status;
}

const struct command cmd_chat = {
    .name = "chat",
    .summary = "talk to a model",
    .usage = "-m MODEL [options]",
    .about = "A conversation in the terminal, by the chat template of the model's file. "
             "Lines are edited as in a shell, their history is kept in ~/.octet_history (another "
             "file: OCTET_HISTORY; none: OCTET_HISTORY=). Ctrl-C stops an answer, Ctrl-D leaves, "
             "/help lists commands. From a pipe every line is one message. When the context is "
             "full the oldest turns are forgotten.",
    .examples = "  octet chat -m model.gguf\n"
                "  octet chat -m model.gguf --system 'Answer in one sentence.' --temp 0.2\n"
                "  printf 'Hello\\nWho are you?\\n' | octet chat -m model.gguf\n",
    .run = chat_command,
};
