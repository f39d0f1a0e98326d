/* What the remote APIs have in common: each is described by a struct api, which says how a request
 * is built and how an event of the answer is read; api.c does everything else. */
#ifndef OCTET_COMPARE_API_H
#define OCTET_COMPARE_API_H

#include <jansson.h>

#include "base/buffer.h"
#include "compare/provider.h"

enum { API_TEXT_BYTES = 4 << 20 }; // longer answers are cut, as by max_tokens

/* What became of the answer's error. */
enum api_fault {
    API_FINE,
    API_TRANSIENT, // may go away
    API_REFUSED,   // this ask fails
    API_HOPELESS,  // all others would, too: wrong key, no such model, no money left
};

/* An answer while it arrives. */
struct answer {
    struct buffer text;
    bool full;  // API_TEXT_BYTES reached
    bool done;  // the model is done: finish reason or end mark seen
    bool ended; // nothing of interest follows
    bool out_of_memory;
    char finish[32], model[128]; // "" until told
    struct usage usage;          // -1 until told
    enum api_fault fault;
    char message[256]; // of the fault
    size_t n_events;   // that were read
};

/* For api_*.c: what an event says. Texts of NULL say nothing. */
void answer_add(struct answer *answer, const json_t *text); // a string, or anything else
void answer_finish(struct answer *answer, const char *reason);
void answer_model(struct answer *answer, const char *model);
void answer_fault(struct answer *answer, const json_t *error); // an error object, or its message
void answer_count(int64_t *count, const json_t *object, const char *key); // if it is there

/* As much of WORD as TO (cap) takes, cut where a character ends, control characters replaced. */
void answer_word(char *to, size_t cap, const char *word);

struct api {
    const char *key_header;   // what comes before the key: "Authorization: Bearer "
    const char *extra_header; // or NULL
    /* Appends the path of the request's address to PATH and fills BODY, an object with nothing but
     * "stream": true. False: out of memory. Asks without the provider's skill are not put. */
    bool (*request)(const struct provider *provider, const struct ask *ask, struct buffer *path,
                    json_t *body);
    /* Reads one event of a stream, or the whole answer of a server that does not stream. */
    void (*event)(struct answer *answer, const json_t *event);
};

/* For struct provider_kind: puts the asks by the kind's api. */
enum octet_status api_ask(struct provider *provider, const struct ask *asks, size_t n_asks,
                          reply_fn fn, void *user, struct octet_err *err);

/* ---- For building requests --------------------------------------------------------------------
 */

/* Sets KEY to VALUE, which is taken over; false: out of memory, also if VALUE is NULL. */
bool api_set(json_t *body, const char *key, json_t *value);
/* "messages" with the ask's system and prompt. */
bool api_set_messages(json_t *body, const struct ask *ask, bool with_system);
/* "temperature", "top_p" where it matters, and the stops at STOPS_KEY. */
bool api_set_sampling(json_t *body, const struct ask *ask, const char *stops_key);
int64_t api_seed(const struct ask *ask); // in the range every server takes

/* Of OpenAI's API, for its relatives. */
bool openai_fill_body(const struct provider *provider, const struct ask *ask, json_t *body);
void openai_event(struct answer *answer, const json_t *event);

#endif
