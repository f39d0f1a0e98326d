/* Who answers: the local engine, a remote API, or the record of an earlier run, behind one
 * interface. */
#ifndef OCTET_COMPARE_PROVIDER_H
#define OCTET_COMPARE_PROVIDER_H

#include "octet.h"

/* One question. SUFFIX not NULL: fill in the middle. */
struct ask {
    size_t tag;         // the caller's, handed back
    const char *label;  // the task and sample it is for, in records; or NULL
    const char *system; // or NULL
    const char *prompt;
    const char *suffix;
    bool chat;          // prompt is a user's message; false: text to continue
    int32_t max_tokens; // >= 1
    float temperature, top_p;
    uint64_t seed;
    const char *const *stops; // NULL-terminated, or NULL
};

/* Token counts as billed; -1: unknown. */
struct usage {
    int64_t prompt;     // sent, cached ones included
    int64_t cached;     // of these, billed as cached
    int64_t completion; // received, reasoning included
    int64_t reasoning;  // of these, thought and not shown
    bool estimated;     // counted by us, not told by the provider
};

struct reply {
    size_t tag;
    char *text; // (n_bytes) UTF-8, NUL-terminated; "" after an error
    size_t n_bytes;
    char *finish_reason; // "stop", "length", "filter", "tool", else the vendor's word; or NULL
    char *model;         // as the provider named it, else as asked for
    char *date;          // of the request: "2023-12-13T08:15:00Z"
    struct usage usage;
    struct usage lost;      // estimate of what attempts cost that broke off; zeros: none did
    double ttft_s, total_s; // of the last attempt, whole microseconds; NAN: unknown
    float *token_gaps_s;    // (n_gaps) between pieces of the stream, whole microseconds
    size_t n_gaps;
    int n_retries;
    char *error; // one line, or NULL
};
void reply_free(struct reply *reply);

struct provider;

/* Zeros are defaults, but for max_cost: start from PROVIDER_OPTIONS_DEFAULTS. */
struct provider_options {
    int32_t n_parallel;         // 0: 8 for the local engine, 4 for an API
    int32_t n_threads, n_ctx;   // local engine; n_ctx 0: as long as the asks need
    double requests_per_minute; // 0: no limit
    double timeout_s;           // of one answer without any progress; 0: 120
    double backoff_s;           // before the first retry; 0: 1
    int32_t n_retries;          // of one ask; 0: 6, -1: none
    uint64_t seed;              // of the backoff's jitter

    /* Money. Before each call, what is spent, what calls under way may cost at worst and what this
     * one may are held against MAX_COST; NAN: no limit, COST is not called. COST returns NAN for
     * what has no price: then nothing is asked. */
    double max_cost;
    double (*cost)(void *user, const struct usage *usage);
    void *cost_user;

    const char *record_dir; // every answer is appended to DIR/answers.jsonl; NULL: none is
    const char *replay_dir; // answers come from there only, no key and no model needed; or NULL

    volatile const bool *cancel;                // looked at several times a second; or NULL
    void (*note)(void *user, const char *text); // one line: a retry, a damaged record; or NULL
    void *note_user;
};
#define PROVIDER_OPTIONS_DEFAULTS                                                                  \
    { .max_cost = __builtin_nan("") }

/* SPEC is one of
 *   FILE                           a model file: contains a '/' or ends in ".gguf"
 *   PRESET                         "gpt-4", "mistral-medium": provider_preset
 *   ollama:MODEL                   a model of the Ollama server on this machine
 *   NAME=local,FILE                a model file under a name of its own
 *   NAME=KIND,URL,MODEL[,KEY_ENV]  KIND openai, mistral, anthropic or azure; KEY_ENV names the
 *                                  variable that holds the key, without one no key is sent
 *   NAME=KIND:KEY=VALUE,...        one of the two before with settings of its own: prompt=chat,
 *                                  prompt=raw, temp=0.7, and kv=q8_0 for a model file
 * OPTIONS and what they point to must outlive the provider. docs/providers.md says more. */
enum octet_status provider_open(const char *spec, const struct provider_options *options,
                                struct provider **out, struct octet_err *err);
void provider_close(struct provider *provider);
const char *provider_name(const struct provider *provider);  // shown in tables
const char *provider_kind(const struct provider *provider);  // "local", "openai", ...
const char *provider_model(const struct provider *provider); // id used for prices, or the file
const char *provider_host(const struct provider *provider);  // "local", or the API's host and port

const char *provider_settings(const struct provider *provider); // "kv=q8_0:temp=0", or ""
/* Copies a setting's value of the spec; false if the spec has none. */
bool provider_setting(const struct provider *provider, const char *key, char *value, size_t cap);

/* What can be asked of it. A remote server may still refuse, which is then the reply's error. */
enum provider_skill {
    PROVIDER_CHATS = 1,     // asks with chat
    PROVIDER_CONTINUES = 2, // asks without
    PROVIDER_FILLS = 4,     // asks with a suffix
    PROVIDER_SKILLS = 7,    // all of them
};
unsigned provider_skills(const struct provider *provider);

/* By the options' COST, since it was opened; 0 without a max_cost. */
double provider_spent(const struct provider *provider);

/* Answers all ASKS, several at once, calling FN (from this thread) as each is complete; FN takes
 * over the reply. FN returning false stops. Errors of single asks come as reply.error; a status
 * means nothing more can be asked: ECANCELLED (FN, cancel, spending limit), EARG (no key, no such
 * model, no money left), EIO (record). Asks that got no reply then were not answered. */
typedef bool (*reply_fn)(void *user, struct reply *reply);
enum octet_status provider_ask(struct provider *provider, const struct ask *asks, size_t n_asks,
                               reply_fn fn, void *user, struct octet_err *err);

/* ---- Presets --------------------------------------------------------------------------------- */

struct preset {
    const char *name, *kind, *url, *model, *key_env;
    const char *retired; // the day the vendor shut it down, "2025-06-16"; NULL: still there
    const char *about;
};
const struct preset *provider_preset(size_t i); // NULL past the end

/* ---- For the kinds of providers ---------------------------------------------------------------
 */

struct provider_kind {
    const char *name;
    unsigned skills; // enum provider_skill bits; may be narrowed by open
    enum octet_status (*open)(struct provider *provider, struct octet_err *err); // or NULL
    enum octet_status (*ask)(struct provider *provider, const struct ask *asks, size_t n_asks,
                             reply_fn fn, void *user, struct octet_err *err);
    void (*close)(struct provider *provider); // or NULL; also after a failed open
    const struct api *api;                    // of remote ones (api.h), else NULL
};

struct provider {
    const struct provider_kind *kind;
    const char *kind_name; // of whom a replay stands for
    char *name, *model, *url, *host;
    char *settings; // of the spec, checked; or NULL
    char *key_env;  // the variable that names the key, or NULL
    char *key;      // or NULL; wiped on close
    unsigned skills;
    struct provider_options options;
    double spent;
    void *state;               // of the kind
    struct recorder *recorder; // NULL: nothing is recorded
};

extern const struct provider_kind provider_local;     // local.c
extern const struct provider_kind provider_openai;    // api_openai.c
extern const struct provider_kind provider_mistral;   // api_mistral.c
extern const struct provider_kind provider_anthropic; // api_anthropic.c
extern const struct provider_kind provider_azure;     // api_azure.c
extern const struct provider_kind provider_replay;    // record.c

/* Tells the options' note, if there is one. */
__attribute__((format(printf, 2, 3))) void provider_note(const struct provider *provider,
                                                         const char *fmt, ...);
bool provider_cancelled(const struct provider *provider);
enum octet_status provider_check_settings(const struct provider *provider, struct octet_err *err);
char *provider_copy(const char *text); // NULL: out of memory
/* A reply that says ERROR and nothing else. False: out of memory, *OUT is to be freed. */
bool provider_error(const struct provider *provider, size_t tag, const char *error,
                    struct reply *out);
char *provider_date(void);                    // now, as in struct reply; NULL: out of memory
double provider_microseconds(double seconds); // rounded to whole ones, in seconds; NAN stays

/* The key in the environment variable NAME, else on a line NAME=value of the file
 * $XDG_CONFIG_HOME/octet/keys, which only its owner may read. The caller's, to be wiped. */
enum octet_status provider_find_key(const char *name, char **key, struct octet_err *err);
void provider_wipe(char *secret); // frees it too; NULL is fine

#endif
