/* A model at work: one thread that computes the next token of all its jobs in common steps. New
 * jobs join at the next step; long prompts are computed in pieces between the steps of the others,
 * so that nobody stands still. What one prompt has computed, others that begin alike take over from
 * the prefix cache, and prompts that begin alike at the same time are computed once. While that
 * pays, what follows is guessed and the guesses are checked in the same steps. */
#ifndef OCTET_SERVER_LANE_H
#define OCTET_SERVER_LANE_H

#include <time.h>

#include "server/job.h"
#include "server/turns.h"

enum { LANE_BUCKETS = 16 };

struct lane_options {
    const char *name;      // by which clients ask for it
    const char *path;      // of the model
    int32_t n_threads;     // 0: one per core
    int32_t n_ctx;         // of each seat; 0: the default of octet_session_open
    int32_t kv_type;       // enum octet_kv_type
    int32_t n_seats;       // jobs computed together
    int32_t n_queue;       // jobs that may wait
    uint64_t cache_ram;    // bytes of the prefix cache
    const char *cache_folder; // keeps it between runs; NULL: nothing does
    uint64_t cache_disk;      // bytes there
    bool drafts;                      // guesses ahead
    struct octet_draft_options draft; // how; its model is what DRAFT_PATH names
    const char *draft_path;           // NULL: guesses come from the text
    struct turns *turns;  // with other lanes, that outlive this one; NULL: it has cores of its own
    octet_progress_fn warm;   // told while weights are read at the start; NULL: they are not
    void *warm_user;
};

/* What is timed, in histograms. */
enum lane_time {
    LANE_QUEUE,   // until a request has a seat
    LANE_PREFILL, // from there to the first token
    LANE_FIRST,   // both
    LANE_TOKEN,   // from a token to the next
    N_LANE_TIMES,
};
struct lane_times {
    uint64_t counts[LANE_BUCKETS]; // see lane_bucket_s
    double sum;
};

/* Counted since the start. */
struct lane_stats {
    uint64_t n_jobs, n_cancelled, n_failed, n_refused;
    uint64_t prompt_tokens, cached_tokens, generated_tokens;
    uint64_t drafted_tokens, accepted_tokens; // see job.n_drafted
    double prefill_s, decode_s; // of steps; those that do both count as decoding
    size_t n_active, n_waiting;
    struct octet_cache_info cache;
    struct lane_times times[N_LANE_TIMES];
};

/* What its jobs are told goes through MAIL. */
enum octet_status lane_open(const struct lane_options *options, struct mailbox *mail,
                            struct lane **out, struct octet_err *err);
void lane_stop(struct lane *lane); // cancels what is under way, and waits until it has ended
void lane_close(struct lane *lane);

const char *lane_name(const struct lane *lane);
const struct octet_model *lane_model(const struct lane *lane);
int32_t lane_n_ctx(const struct lane *lane);
size_t lane_most_bytes(const struct lane *lane); // a text of that many does not fit the context
time_t lane_modified(const struct lane *lane); // when its file was written last
int32_t lane_n_seats(const struct lane *lane);
void lane_get_stats(struct lane *lane, struct lane_stats *out);
double lane_bucket_s(size_t i); // upper bound of a bucket in seconds; the last is infinite

/* A share of a grammar for this model: of GBNF, or with SCHEMA of a JSON schema's text. Those that
 * were asked for last are kept. */
enum octet_status lane_grammar(struct lane *lane, bool schema, const char *source, size_t n_bytes,
                               struct octet_grammar **out, struct octet_err *err);

/* Takes the job over. EARG: more tokens than the context, or no prompt at all; ECONTEXT likewise;
 * EUNSUPPORTED: too many jobs wait. The job is then still the caller's. */
enum octet_status lane_submit(struct lane *lane, struct job *job, struct octet_err *err);

#endif
