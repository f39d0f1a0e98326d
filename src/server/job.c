/* See job.h. */
#include "server/job.h"

#include <string.h>

#include "base/mem.h"
#include "server/tools.h"

struct job *job_new(void) {
    struct job *const job = mem_alloc(sizeof *job);
    if (!job) return NULL;
    job->sampling = (struct octet_sampling)OCTET_SAMPLING_DEFAULTS;
    job->max_tokens = -1;
    job->n_tops = -1;
    return job;
}

void job_free(struct job *job) {
    if (!job) return;
    octet_tokens_free(&job->prompt);
    tools_free(job->tools);
    octet_grammar_close(job->grammar);
    mem_free(job->bias);
    for (size_t i = 0; i < job->n_stops; i++) mem_free(job->stops[i]);
    vectors_free(job->vectors);
    buffer_free(&job->text);
    buffer_free(&job->unread.text);
    mem_free(job->tokens);
    mem_free(job->unread.tokens);
    mem_free(job);
}

bool job_add_stop(struct job *job, const char *text) {
    if (!text[0]) return true; // every text would end at once
    if (job->n_stops == JOB_MAX_STOPS) return false;
    char *const copy = mem_strdup(text, strlen(text));
    if (!copy) return false;
    job->stops[job->n_stops++] = copy;
    return true;
}

void job_add_end(struct job *job, int32_t id) {
    if (job->n_ends < JOB_MAX_ENDS) job->ends[job->n_ends++] = id;
}

void job_cancel(struct job *job) { atomic_store(&job->cancelled, true); }
void job_suffices(struct job *job) { atomic_store(&job->enough, true); }
