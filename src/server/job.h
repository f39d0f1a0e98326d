/* One text to be generated, on its way from a dialect to a lane and back. A dialect makes it, fills
 * in what is asked for, and hands it to lane_submit; from then on it is the lane's, which tells of
 * text and of the end through the callbacks, on the thread that reads the lane's mail. */
#ifndef OCTET_SERVER_JOB_H
#define OCTET_SERVER_JOB_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "octet.h"
#include "server/calls.h"
#include "server/mail.h"
#include "server/vectors.h"

enum { JOB_MAX_STOPS = 64, JOB_MAX_ENDS = 16, JOB_MAX_TOPS = 20 };

enum finish {
    FINISH_NONE,
    FINISH_STOP,   // an end token, or a stop string
    FINISH_LENGTH, // max_tokens or the context
    FINISH_ERROR,
    FINISH_GONE, // cancelled
};

/* A token with its chances, as far as they were asked for. */
struct token_chance {
    int32_t id;
    float logprob;
};
struct token_report {
    struct token_chance token;
    struct token_chance tops[JOB_MAX_TOPS]; // (n_tops), likeliest first
    size_t n_tops;
    size_t text_end; // of the text generated so far, held back parts included
};

struct lane;
struct tools;

struct job {
    /* ---- Asked for --------------------------------------------------------------------------- */
    struct octet_tokens prompt;
    struct octet_sampling sampling;
    struct octet_logit_bias *bias; // (sampling.n_bias), or NULL
    struct octet_grammar *grammar; // the job's share; NULL: free text
    int32_t max_tokens;            // < 0: as long as the context
    char *stops[JOB_MAX_STOPS];    // (n_stops)
    size_t n_stops;
    int32_t ends[JOB_MAX_ENDS];    // (n_ends) tokens that end it, beside the model's own
    size_t n_ends;
    int32_t min_tokens;            // before them no end token ends it
    bool ignore_eos, keep_special; // keep_special: control tokens show as text
    int32_t shown[N_CALL_MARKS];   // (n_shown) control tokens that do even so
    size_t n_shown;
    struct tools *tools; // that the answer may call, or NULL; owned
    unsigned call_marks; // see call_reader.hidden
    int n_tops;                    // -1: no chances wanted
    bool score_prompt;             // chances of the prompt's tokens too
    struct vectors *vectors;       // what the prompt becomes, instead of text; or NULL; owned
    double deadline_s;             // from the first token on; ends it after a line; 0: none
    void (*on_text)(struct job *job, const char *text, size_t n_bytes);
    void (*on_done)(struct job *job); // last; the job is freed after it
    void *user;

    /* ---- Told -------------------------------------------------------------------------------- */
    enum finish finish;
    char stopped_by[64]; // the stop string, "" if there was none
    struct octet_err err;  // FINISH_ERROR
    struct buffer text;  // all that was told to on_text
    struct token_report *tokens; // (n_tokens), with n_tops >= 0; the prompt's first, if scored
    size_t n_tokens, tokens_cap;
    size_t n_generated; // tokens, the end token not counted
    size_t n_cached;    // of the prompt, not computed for this job
    size_t n_drafted, n_accepted; // tokens guessed and computed ahead; of these, found right
    double submitted, started, first, ended; // probe_seconds, 0: not yet

    /* ---- The lane's -------------------------------------------------------------------------- */
    struct lane *lane;
    struct job *next;
    atomic_bool cancelled, enough;
    struct mail mail;
    struct { // under the lane's lock
        struct buffer text;
        struct token_report *tokens;
        size_t n_tokens, tokens_cap;
        bool ended;  // nothing more comes
        bool posted; // a delivery is on its way
    } unread;
};

struct job *job_new(void); // NULL: out of memory
void job_free(struct job *job);
bool job_add_stop(struct job *job, const char *text); // false: too many, or out of memory
void job_add_end(struct job *job, int32_t id);        // no more than JOB_MAX_ENDS
/* The client has gone: neither callback is called any more. */
void job_cancel(struct job *job);
/* What was told will do: it ends as by a stop string. */
void job_suffices(struct job *job);

#endif
