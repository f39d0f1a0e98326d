/* A place in a lane: one session, and the job that is computed in it. Used by the lane's thread
 * only. */
#ifndef OCTET_SERVER_SEAT_H
#define OCTET_SERVER_SEAT_H

#include "server/job.h"

struct seat {
    struct octet_session *session;
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

enum octet_status seat_open(struct seat *seat, struct octet_model *model,
                            const struct octet_session_options *options, struct octet_err *err);
void seat_close(struct seat *seat);

/* Tokens at the beginning of PROMPT that need not be computed. */
size_t seat_common(const struct seat *seat, const struct octet_tokens *prompt);
/* Tokens that two prompts have in common at the beginning. */
size_t seat_shared(const struct seat *a, const struct seat *b);
/* Takes over from the cache what it now holds of the prompt; returns how many tokens that saves. */
size_t seat_reuse(struct seat *seat);
/* Begins JOB, whose prompt moves here, unless it is to become vectors. */
enum octet_status seat_take(struct seat *seat, const struct octet_model *model, struct job *job,
                            struct octet_err *err);

/* Computes the whole prompt at once, with the chances of each of its tokens: *REPORTS (n_prompt),
 * the caller's. The seat is ready then. */
enum octet_status seat_score(struct seat *seat, const struct octet_model *model,
                             struct token_report **reports, struct octet_err *err);

/* Picks the next token from the session's logits, and tells what may be told of its text. The job's
 * finish is set when it was the last one. Called after READY. */
struct told {
    const char *text; // within the seat's text
    size_t n_bytes;
    struct token_report report; // of the token picked, if the job wants chances
    bool has_report;
};
enum octet_status seat_pick(struct seat *seat, const struct octet_model *model, struct told *out,
                            struct octet_err *err);

#endif
