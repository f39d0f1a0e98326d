/* The loop of run and chat: bring the session up to the prompt, then pick, show and append tokens
 * until something ends it. */
#ifndef OCTET_CLI_GENERATE_H
#define OCTET_CLI_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/options.h"
#include "cli/progress.h"
#include "octet.h"

enum generate_finish {
    GENERATE_STOP,        // an end token or a stop string
    GENERATE_LENGTH,      // n_max tokens, or the context is full
    GENERATE_INTERRUPTED, // Ctrl-C
    GENERATE_CLOSED,      // on_text returned false
};

struct generation {
    struct octet_model *model;
    struct octet_session *session;
    struct octet_drafter *drafter; // the session's; NULL: none
    struct octet_sampler *sampler; // has not seen the prompt yet
    struct octet_grammar *grammar; // that the answer is to be of, or NULL
    struct progress *progress;     // the session's; open, closed when the prompt is computed
    size_t n_kept;                 // tokens of the prompt that the session holds already
    struct octet_tokens *tokens;   // the prompt; picked tokens are appended, an end token is not
    int32_t n_max;                 // -1: no limit
    bool special;                  // show control tokens
    const char *const *stops;      // (n_stops); what one of them begins is held back
    size_t n_stops;
    bool (*on_text)(void *user, const char *text, size_t n_bytes); // whole UTF-8 characters
    void *user;
};

struct generated {
    enum generate_finish finish;
    size_t n_prompt, n_reused; // tokens; n_reused of them the session had already
    size_t n_tokens;           // picked, without an end token
    size_t n_decoded;          // tokens computed after the prompt
    struct octet_draft_stats draft;
    double prefill_seconds, decode_seconds;
    double first_seconds;      // until the first token was picked
    uint64_t logits_hash;      // over the logits every pick saw
};

enum octet_status generate(const struct generation *generation, struct generated *result,
                           struct octet_err *err);

/* "stop", "length" or "interrupted" */
const char *generate_finish_name(enum generate_finish finish);
double generate_prefill_tps(const struct generated *result); // 0: nothing was computed
double generate_decode_tps(const struct generated *result);  // 0: no decode step
void generate_print_summary(const struct generated *result); // one line on stderr

/* A sampler for the options, --logit-bias parsed. OPTIONS_RUN or an exit status with the problem
 * told. */
int generate_open_sampler(const struct command *command, const struct sampling_args *args,
                          const struct octet_model *model, struct octet_sampler **out);
/* A session that draws on PROGRESS and ends a sync at Ctrl-C; returns alike. */
int generate_open_session(const struct session_args *args, struct octet_model *model,
                          struct progress *progress, struct octet_session **out);
/* The drafter that --draft asks for, NULL with "off", and the model that it names, which the caller
 * closes after it. Returns alike. */
int generate_open_drafter(const struct draft_args *args, const struct model_args *model_args,
                          struct octet_session *session, struct octet_model **draft_model,
                          struct octet_drafter **out);
/* The texts that end an answer: those of --stop, and in a chat those of its format. *STOPS
 * (n_stops) belongs to the caller: mem_free. Returns alike. */
int generate_collect_stops(const struct octet_model *model, bool chat, const char *format,
                           const struct text_list *extra, const char ***stops, size_t *n_stops);
/* NULL, or the misuse of a --chat-format that does not exist; returns alike. */
int generate_check_format(const struct command *command, const char *format);
/* Says where the file's own template is not used though it has one and FORMAT is NULL. */
void generate_tell_format(const struct octet_model *model, const char *path, const char *format);

#endif
