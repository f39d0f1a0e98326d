/* A place in a lane: one session, and the job that is computed in it. Used by the lane's thread
 * only. */
#ifndef OCTET_SERVER_SEAT_H
#define OCTET_SERVER_SEAT_H

#include "server/job.h"

struct seat {
    struct octet_session *session;
    struct octet_drafter *drafter;         // the session's; NULL: none
    struct octet_draft_stats drafts_before; // of the job
    struct octet_tokens tokens; // of the job, or of the last one
    struct job *job;            // NULL: free
    size_t n_prompt;
    size_t n_computed; // of TOKENS, held by the session
    struct octet_sampler *sampler;
    struct octet_stream stream;
    struct buffer text, piece; // generated so far; scratch
    size_t n_sent;             // bytes of TEXT that were told
    size_t n_before;           // bytes of the prompt's text, where its tokens are reported too
    bool ready;                // the session's logits are those of the last token
    double used;               // when its job last got a token, or ended
    const atomic_bool *stopping; // the lane's
};

/* DRAFT: how it guesses ahead; NULL: not at all. */
enum octet_status seat_open(struct seat *seat, struct octet_model *model,
                            const struct octet_session_options *options,
                            const struct octet_draft_options *draft, struct octet_err *err);
void seat_close(struct seat *seat);

/* Tokens at the beginning of PROMPT that need not be computed. */
size_t seat_common(const struct seat *seat, const struct octet_tokens *prompt);
/* Tokens that two prompts have in common at the beginning. */
size_t seat_shared(const struct seat *a, const struct seat *b);
/* Takes over from the cache what it now holds of the prompt; returns how many tokens that saves. */
size_t seat_reuse(struct seat *seat);
/* Holds the text that the cache knows to have been used last, so that the first request about it
 * finds all as the one before did. */
void seat_resume(struct seat *seat);
/* Begins JOB, whose prompt moves here, unless it is to become vectors. */
enum octet_status seat_take(struct seat *seat, const struct octet_model *model, struct job *job,
                            struct octet_err *err);

/* Computes the first N of TOKENS, alone. */
enum octet_status seat_sync(struct seat *seat, size_t n, struct octet_err *err);
/* Takes note of what was computed on the way to the first N of TOKENS. */
void seat_note(struct seat *seat, size_t n);
/* Makes the seat ready without a step if its last token was guessed. */
enum octet_status seat_follow_guess(struct seat *seat, struct octet_err *err);
/* Tells the job how many tokens were guessed for it so far. */
void seat_count_drafts(struct seat *seat);

/* Computes the whole prompt at once, with the chances of each of its tokens: *REPORTS (n_prompt),
 * the caller's. The seat is ready then. */
enum octet_status seat_score(struct seat *seat, const struct octet_model *model,
                             struct token_report **reports, struct octet_err *err);

/* Picks the next token from the logits of the last one, and tells what may be told of its text. The
 * job's finish is set when it was the last one. Called after READY. */
struct told {
    const char *text; // within the seat's text
    size_t n_bytes;
    struct token_report report; // of the token picked, if the job wants chances
    bool has_report;
};
enum octet_status seat_pick(struct seat *seat, const struct octet_model *model, struct told *out,
                            struct octet_err *err);

#endif
