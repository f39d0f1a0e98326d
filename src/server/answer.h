/* What a generating request becomes: jobs for a lane, and the answer put together from them in the
 * shape of its dialect. Freed by itself when the answer is whole or the client has gone. */
#ifndef OCTET_SERVER_ANSWER_H
#define OCTET_SERVER_ANSWER_H

#include <jansson.h>
#include <time.h>

#include "server/body.h"
#include "server/calls.h"
#include "server/fim.h"
#include "server/job.h"
#include "server/lane.h"
#include "server/server.h"

enum { ANSWER_MAX_CHOICES = 128 };

struct answer;

/* A call of a tool. */
struct tool_call {
    char id[10];
    char *name, *arguments; // JSON, an object; NULL: they are still to come
    size_t n_before;        // bytes of the choice's text that came before it
};

/* One of several answers to the same question. */
struct choice {
    struct answer *answer;
    size_t index;
    struct job *job;      // NULL once it ended
    struct buffer before; // text that goes before the answer (echo)
    struct buffer text;   // all of the answer
    struct token_report *tokens; // (n_tokens) once the job has ended, if chances were wanted
    size_t n_tokens;
    struct vectors *vectors; // likewise, if these were wanted; or NULL
    size_t n_reported; // tokens whose chances were sent
    size_t n_shown;    // bytes of TEXT, where the answer fills a hole
    size_t n_skipped;  // of these, at the beginning, that the prefix has already
    bool over;         // nothing more is shown
    struct call_reader *reader; // or NULL; owned
    struct tool_call *calls;    // (n_calls) found in the text, which does not hold them
    size_t n_calls, calls_cap;
    size_t n_broken;         // of these, that are not complete
    struct buffer arguments; // of a call under way
    bool in_call;            // there is one
    enum finish finish;
    char stopped_by[64]; // a stop string, or ""
};

/* How a dialect writes answers. */
struct dialect {
    const char *stream_type; // content type of streams
    const char *silence;     // what keeps a silent stream alive, or NULL
    json_t *(*whole)(struct answer *answer);                                  // not streamed
    void (*begin)(struct answer *answer);                                     // or NULL
    void (*text)(struct choice *choice, const char *text, size_t n_bytes); // a piece
    void (*call)(struct choice *choice, const struct tool_call *call); // a whole one, or:
    void (*begin_call)(struct choice *choice, const struct tool_call *call);
    void (*arguments)(struct choice *choice, const char *text, size_t n_bytes); // a piece
    void (*end_call)(struct choice *choice, const struct tool_call *call);      // or NULL
    void (*done)(struct choice *choice);                                    // of one choice
    void (*end)(struct answer *answer);                                       // of all
    void (*fail)(struct answer *answer, const char *text); // after the stream began
};

struct answer {
    struct server *server;
    struct exchange *exchange;
    const struct dialect *dialect;
    struct lane *lane;
    bool stream;
    char id[48];
    time_t created;
    struct choice *choices; // (n_choices)
    size_t n_choices, n_left, n_submitted;
    size_t n_samples; // choices per prompt, one after the other
    /* Sums over the prompts, and over the choices that ended. */
    size_t prompt_tokens, cached_tokens, generated_tokens;
    size_t drafted_tokens, accepted_tokens; // see job.n_drafted
    double submitted, started, first, ended; // of the first choice
    struct octet_err err;                    // of a choice that failed
    bool whole_calls;                        // the client knows no others
    bool include_usage, chat;                // the dialect's own, as what follows
    json_t *extra;                           // or NULL
    size_t n_events, n_parts;                // that were sent; begun
    bool in_text;                            // the last part is text, and may go on
    size_t text_from;                        // where it begins in the choice's text
    struct hole *hole;                       // that is filled, or NULL; owned
};

/* NULL: out of memory. ID_PREFIX: "chatcmpl-". */
struct answer *answer_new(struct server *server, struct exchange *exchange, struct lane *lane,
                        const struct dialect *dialect, const char *id_prefix, size_t n_choices);
void answer_free(struct answer *answer); // before answer_start only

/* Hands JOB over as what choice I is made of. */
void answer_add_job(struct answer *answer, size_t i, struct job *job);
/* Submits the jobs and begins the answer. REPLY is the lane's from now on, also if it fails, which
 * is then answered. */
void answer_start(struct answer *answer);

/* Whether the answer ended with calls, for the client to carry out. */
bool answer_calls(const struct choice *choice);

/* One line of a stream: "data: {...}\n\n" or "{...}\n"; takes JSON over. */
void answer_send_event(struct answer *answer, const char *event, json_t *json);
void answer_send_line(struct answer *answer, json_t *json);
/* Seconds that the prompt took, once it was seated, and the answer from its first token on. */
double answer_prefill_s(const struct answer *answer);
double answer_decode_s(const struct answer *answer);
/* The time it took, as llama.cpp's clients read it. */
json_t *answer_timings(const struct answer *answer);

/* What begins most requests: the body, and the model it names. NULL: refused already. */
struct lane *answer_lane(struct server *server, struct exchange *exchange, struct body *body);
/* Starts ANSWER, or refuses where the body was wrong. Closes BODY. */
void answer_or_refuse(struct answer *answer, struct exchange *exchange, struct body *body);

#endif
