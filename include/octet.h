/* octet: runs small language models on ordinary CPUs.
 *
 * Two nouns: a model (weights and vocabulary, read from a file that stays mapped, shareable) and a
 * session (one sequence of tokens with its KV cache and logits). The main verb, octet_session_sync,
 * takes the whole token sequence and computes only what the session does not hold yet.
 *
 *     struct octet_err err;
 *     struct octet_model *model;
 *     if (octet_model_open("model.gguf", NULL, &model, &err) != OCTET_OK) puts(err.message);
 *
 * Ownership: every *_open has one *_close that accepts NULL. Strings and arrays that a function
 * returns by pointer belong to the object asked and live as long as it does, unless the comment
 * says otherwise. A struct octet_tokens belongs to the caller: zero it first, octet_tokens_free it
 * last. Nothing else allocates for the caller.
 *
 * Errors: functions that can fail return a status and, where the last argument is a struct
 * octet_err (NULL is allowed), write one line there: what, where, expected, found. The library
 * never prints and never exits. An options argument of NULL means defaults; take a struct with
 * defaults from the *_DEFAULTS macros.
 *
 * Threads: a model may be used from several threads; its steps run one at a time. A session,
 * sampler or stream belongs to one thread at a time, a grammar may be used by several. Sessions,
 * samplers and grammars must be closed before their model.
 */
#ifndef OCTET_H
#define OCTET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OCTET_VERSION "0.1.0"

/* ---- Status --------------------------------------------------------------------------------- */

#define OCTET_STATUS_MAP(X)                                                                        \
    X(OK, "ok")                                                                                    \
    X(EARG, "wrong argument")                                                                      \
    X(EIO, "input or output failed")                                                               \
    X(EMEM, "out of memory")                                                                       \
    X(EFORMAT, "malformed file")                                                                   \
    X(EUNSUPPORTED, "not supported")                                                               \
    X(ECONTEXT, "context is full")                                                                 \
    X(ENUMERIC, "the model computed a value that is not a number")                                 \
    X(ECANCELLED, "cancelled")

enum octet_status {
#define OCTET_STATUS_ENUM(name, text) OCTET_##name,
    OCTET_STATUS_MAP(OCTET_STATUS_ENUM)
#undef OCTET_STATUS_ENUM
};

struct octet_err {
    enum octet_status status;
    char message[504]; // one line, no newline
};

const char *octet_version(void);
const char *octet_status_text(enum octet_status status);

/* Called now and then during long work with done of total (bytes or tokens); returning false
 * cancels it (OCTET_ECANCELLED). */
typedef bool (*octet_progress_fn)(void *user, uint64_t done, uint64_t total);

/* Makes a read of a mapped model file that was truncated or lost meanwhile end the process with one
 * line on stderr and exit status 1 instead of SIGBUS. Installs a signal handler: programs call it,
 * the library itself never does. */
void octet_guard_mappings(void);

/* ---- Files: what is inside, without running it ------------------------------------------------
 */

struct octet_file;

struct octet_tensor_info {
    const char *name;
    const char *type; // "Q4_K"
    uint32_t n_dims;
    uint64_t dims[4];       // fastest-varying first, 1 beyond n_dims
    uint64_t offset, bytes; // in its part of a split file
    uint32_t part;          // 0-based
};

/* PATH: a GGUF file or the first part of a split one. Checks all metadata and every tensor's place.
 */
enum octet_status octet_file_open(const char *path, struct octet_file **out, struct octet_err *err);
void octet_file_close(struct octet_file *file);
size_t octet_file_n_keys(const struct octet_file *file);
/* The i-th key, its type name ("u32", "array of string") and its value as text (JSON notation,
 * arrays cut after 8 elements). TEXT belongs to the caller; at most cap-1 bytes are written. */
enum octet_status octet_file_key(const struct octet_file *file, size_t i, const char **key,
                                 const char **type, char *text, size_t cap);
size_t octet_file_n_tensors(const struct octet_file *file);
enum octet_status octet_file_tensor(const struct octet_file *file, size_t i,
                                    struct octet_tensor_info *out);
uint64_t octet_file_bytes(const struct octet_file *file); // all parts together
/* Reads every quantised block and every float: NaN or infinite values are an EFORMAT naming the
 * tensor and the row. Slow: reads the whole file. */
enum octet_status octet_file_check(const struct octet_file *file, octet_progress_fn progress,
                                   void *user, struct octet_err *err);

/* ---- Model ------------------------------------------------------------------------------------
 */

struct octet_model;

struct octet_model_options {
    int32_t n_threads; // 0: one per core
    bool vocab_only;   // accept files without tensors; only the text functions work
};
#define OCTET_MODEL_OPTIONS_DEFAULTS                                                               \
    { 0, false }

struct octet_model_info {
    const char *name; // general.name, "" if absent
    const char *arch; // "llama", "phi2"
    const char *isa;  // kernels in use: "scalar", "avx2", "avx512", "avx512-gfni", "neon"
    const char *type; // of most of the weights: "Q4_K"; "" without tensors
    int32_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff;
    int32_t n_experts, n_experts_used; // 0: dense
    int32_t n_vocab;                   // rows of the output matrix = length of a logits vector
    int32_t n_ctx_train;
    int32_t sliding_window; // 0: none
    int32_t n_threads;
    uint64_t n_params, file_bytes;
    uint64_t decode_bytes;       // weight bytes read to compute one token
    uint64_t expert_bytes;       // weight bytes of all experts of all layers
    uint64_t decode_macs;        // multiply-adds of one token with weights, attention not counted
    uint64_t last_layer_macs;    // of those, what only tokens whose logits are wanted take
    uint64_t kv_bytes_per_token; // with an f16 cache
};

enum octet_status octet_model_open(const char *path, const struct octet_model_options *options,
                                   struct octet_model **out, struct octet_err *err);
void octet_model_close(struct octet_model *model);
/* Reads all weights into memory now, where tokens would do so as they need them. Whether they stay
 * is the system's business: a file larger than memory gains nothing. PROGRESS (bytes) may be NULL.
 */
enum octet_status octet_model_warm(struct octet_model *model, octet_progress_fn progress,
                                   void *user, struct octet_err *err);
void octet_model_get_info(const struct octet_model *model, struct octet_model_info *out);
/* File I of the model as it is mapped, its weights and all else; false where it has no more. */
bool octet_model_file(const struct octet_model *model, size_t i, const void **bytes,
                      size_t *n_bytes);

/* ---- Text -------------------------------------------------------------------------------------
 */

struct octet_tokens {
    int32_t *ids;
    size_t n, cap;
};
void octet_tokens_free(struct octet_tokens *tokens);
enum octet_status octet_tokens_push(struct octet_tokens *tokens, int32_t id);

enum octet_tokenize_flags {
    OCTET_TOKENIZE_SPECIAL = 1, // names of control tokens in the text become those tokens
    OCTET_TOKENIZE_BOS = 2,     // BOS (and EOS) where the model's file asks for it
};
/* Appends to OUT. TEXT is any bytes, NUL included. */
enum octet_status octet_tokenize(const struct octet_model *model, const char *text, size_t n_bytes,
                                 unsigned flags, struct octet_tokens *out, struct octet_err *err);

/* The bytes a token stands for; may be part of a UTF-8 character. Control tokens: empty, unless
 * SPECIAL. EARG for an id outside the vocabulary. */
enum octet_status octet_token_bytes(const struct octet_model *model, int32_t id, bool special,
                                    const char **bytes, size_t *n_bytes);
/* The vocabulary's own spelling of a token, NUL-terminated, or NULL. */
const char *octet_token_name(const struct octet_model *model, int32_t id);
int32_t octet_token_bos(const struct octet_model *model);           // -1: none
int32_t octet_token_eos(const struct octet_model *model);           // -1: none
bool octet_token_ends(const struct octet_model *model, int32_t id); // end of generation
size_t octet_n_tokens(const struct octet_model *model); // entries of the vocabulary, <= n_vocab

/* Holds back incomplete UTF-8 while text arrives token by token. Zero it first. */
struct octet_stream {
    char pending[4];
    uint8_t n_pending;
};
/* OUT takes n_bytes + 4 bytes; returns how many were written, whole characters only; bytes that can
 * not become UTF-8 come out as U+FFFD, so OUT may need 3 * n_bytes + 12 for hostile input. */
size_t octet_stream_push(struct octet_stream *stream, const char *bytes, size_t n_bytes, char *out);
size_t octet_stream_flush(struct octet_stream *stream, char *out); // at most 3 bytes

struct octet_message {
    const char *role; // "system", "user", "assistant"
    const char *content;
};
/* How conversations with this model are written: "template" where its file brings a chat template
 * that can be carried out, else the built-in format that its metadata ask for, or NULL where they
 * ask for none known: "mistral-v1", "mistral-v3", "llama-2", "zephyr", "chatml", "phi-2-qa",
 * "phi-2-chat". */
const char *octet_chat_format(const struct octet_model *model);
/* Why the file's template is not used, one line; NULL: it is, or there is none. */
const char *octet_chat_problem(const struct octet_model *model);
/* Whether "template" writes tools, calls of them and their results. */
bool octet_chat_writes_tools(const struct octet_model *model);
/* i-th name of a built-in format, NULL past the end. */
const char *octet_chat_format_name(size_t i);
/* Appends the prompt for the next assistant turn. FORMAT NULL: the model's own. Names of control
 * tokens inside contents stay plain text. EARG: the template's refusal, in its own words. */
enum octet_status octet_chat_encode(const struct octet_model *model, const char *format,
                                    const struct octet_message *messages, size_t n_messages,
                                    struct octet_tokens *out, struct octet_err *err);
/* The same for a conversation as JSON: an object with "messages" as chat APIs have them (role,
 * content, tool_calls with arguments as objects, tool_call_id, name), and with "tools" and whatever
 * else a template reads. Where a template refuses several system messages, or neighbours of one
 * role, they are joined. Built-in formats know system, user and assistant, and texts only. */
enum octet_status octet_chat_encode_json(const struct octet_model *model, const char *format,
                                         const char *variables, size_t n_bytes,
                                         struct octet_tokens *out, struct octet_err *err);
/* i-th string that ends an answer in this format (beside the end tokens), NULL past the end. */
const char *octet_chat_stop(const struct octet_model *model, const char *format, size_t i);

/* ---- Chat templates ---------------------------------------------------------------------------
 *
 * The Jinja templates that models are published with, rendered as the transformers library does:
 * same text, byte for byte. Templates are code from strangers: rendering is bounded in steps,
 * depth, memory and output. A parsed template never changes and may be used by several threads. */

struct octet_template;

/* SOURCE may go after. EFORMAT: not a template, or one that uses what is not supported; the message
 * has the line. */
enum octet_status octet_template_open(const char *source, size_t n_bytes,
                                      struct octet_template **out, struct octet_err *err);
void octet_template_close(struct octet_template *t);
/* VARIABLES: a JSON object (messages, tools, add_generation_prompt, bos_token, eos_token, ...).
 * TEXT: NUL-terminated, the caller's, freed with octet_text_free. EARG: the template rejects the
 * conversation, in its own words, or can not be carried out for it; the message has the line. */
enum octet_status octet_template_render(const struct octet_template *t, const char *variables,
                                        size_t n_bytes, char **text, size_t *n_text,
                                        struct octet_err *err);
void octet_text_free(char *text);
/* The template that the model's file brings along under that name ("default" or NULL; "tool_use"
 * and others where the file has them), or NULL. */
const char *octet_chat_template(const struct octet_model *model, const char *name);

/* ---- Session ----------------------------------------------------------------------------------
 */

struct octet_session;
struct octet_cache;

/* Q8_0 and Q4_0: codes of 8 and 4 bits with a scale per 32 numbers, somewhat more than a half and a
 * quarter of F16's memory, at a loss. */
enum octet_kv_type { OCTET_KV_F16, OCTET_KV_F32, OCTET_KV_Q8_0, OCTET_KV_Q4_0 };

struct octet_session_options {
    int32_t n_ctx;         // 0: what the model was trained for, at most 4096
    int32_t prefill_chunk; // tokens per step of a prefill; 0: 512
    enum octet_kv_type kv_type;
    octet_progress_fn progress; // during a sync; NULL: none
    void *user;
    struct octet_cache *cache; // of the same model and kv_type; NULL: none; outlives the session
};
#define OCTET_SESSION_OPTIONS_DEFAULTS                                                             \
    { 0, 0, OCTET_KV_F16, NULL, NULL, NULL }

enum octet_status octet_session_open(struct octet_model *model,
                                     const struct octet_session_options *options,
                                     struct octet_session **out, struct octet_err *err);
void octet_session_close(struct octet_session *session);

/* Most bytes that one such session and its model take, before any is opened. */
struct octet_memory {
    uint64_t weights;   // of the file, in the page cache and shared by all its readers; without an
                        // embedding of which only the tokens' rows are read
    uint64_t kv;        // full context
    uint64_t workspace; // of a step of prefill_chunk tokens; one for all sessions of a model
};
enum octet_status octet_memory_plan(const struct octet_model *model,
                                    const struct octet_session_options *options,
                                    struct octet_memory *out, struct octet_err *err);

/* Makes the session hold exactly these tokens, reusing the longest prefix it has, and leaves the
 * logits of the last one. ECONTEXT: more tokens than n_ctx; nothing changed. ENUMERIC: NaN or
 * infinite logits. After any other failure the session holds the tokens up to the failure. */
enum octet_status octet_session_sync(struct octet_session *session, const int32_t *tokens,
                                     size_t n_tokens, struct octet_err *err);

/* Drops what does not match these tokens and takes from the session's cache what it holds of them;
 * returns how many of them need no computing any more. The next sync begins there. */
size_t octet_session_reuse(struct octet_session *session, const int32_t *tokens, size_t n_tokens);

/* Takes the text that was used last from the session's cache, as if it had been computed, as far as
 * it is in memory there and fits; its tokens go to OUT, the caller's. Returns how many: 0, none. */
size_t octet_session_resume(struct octet_session *session, struct octet_tokens *out);

/* Several sessions of one model in the same steps, each to its own token sequence. */
struct octet_span {
    const int32_t *tokens;
    size_t n;
    size_t n_logits; // of the last positions, computed together; 0: 1
};
enum octet_status octet_sessions_sync(struct octet_session *const *sessions,
                                      const struct octet_span *spans, size_t n_sessions,
                                      struct octet_err *err);

/* As octet_session_sync from an empty session, handing the logits of every position to FN in order.
 * LOGITS (n_vocab) lives during the call only. */
typedef void (*octet_logits_fn)(void *user, size_t position, const float *logits);
enum octet_status octet_session_score(struct octet_session *session, const int32_t *tokens,
                                      size_t n_tokens, octet_logits_fn fn, void *user,
                                      struct octet_err *err);

/* As octet_session_sync, handing FN the hidden state of every token that it computes, in order:
 * what the last norm leaves (d_model), of which the output matrix makes the logits. Tokens that the
 * session holds already are not computed again (clear it first to hear of all), the cache is not
 * asked, and no logits are left. STATE lives during the call only. */
typedef void (*octet_state_fn)(void *user, size_t position, const float *state);
enum octet_status octet_session_states(struct octet_session *session, const int32_t *tokens,
                                       size_t n_tokens, octet_state_fn fn, void *user,
                                       struct octet_err *err);

const float *octet_session_logits(const struct octet_session *session); // (n_vocab), NULL if empty
/* Those after the token at POSITION, of the positions asked for; NULL: not held. After a sync that
 * asked for several the first is there; the first that would not be finite ends them. */
const float *octet_session_logits_at(const struct octet_session *session, size_t position);
size_t octet_session_length(const struct octet_session *session);       // tokens held
int32_t octet_session_n_ctx(const struct octet_session *session);
uint64_t octet_session_kv_bytes(const struct octet_session *session);
void octet_session_clear(struct octet_session *session);

/* ---- Prefix cache -----------------------------------------------------------------------------
 * Keys and values of the beginnings of token sequences, for the sessions opened with it: what one
 * of them has computed the others need not. Logits are the same with and without. A cache and its
 * sessions belong to one thread at a time. */

struct octet_cache_options {
    enum octet_kv_type kv_type;
    uint64_t ram_bytes; // beyond what open sessions hold; the least recently used goes first
    const char *folder;  // keeps pages there too, for later caches of the same file; NULL: no disk
    uint64_t disk_bytes; // in FOLDER, for this model
};
struct octet_cache_info {
    uint64_t ram_bytes; // in use
    size_t n_pages;     // in memory, of up to 64 tokens each
    uint64_t disk_bytes;
    size_t n_disk_pages;
    size_t n_damaged; // files found unsound, and removed
};

enum octet_status octet_cache_open(struct octet_model *model,
                                   const struct octet_cache_options *options,
                                   struct octet_cache **out, struct octet_err *err);
/* Brings one page that is in the folder only into memory, of those used last, so that who asks need
 * not wait for it. False: there is none, or no room within ram_bytes or in the machine. */
bool octet_cache_fetch(struct octet_cache *cache);
/* After its sessions and before its model; waits until the folder has everything. */
void octet_cache_close(struct octet_cache *cache);
/* Takes over what open sessions hold beyond whole pages, as closing them does: for a pause, since a
 * page is copied for each. Without it a process that dies loses up to 63 tokens per session. */
void octet_cache_settle(struct octet_cache *cache);
void octet_cache_get_info(const struct octet_cache *cache, struct octet_cache_info *out);

/* 64-bit FNV-1a over the bit patterns; start from OCTET_HASH_INIT or an earlier result. */
#define OCTET_HASH_INIT UINT64_C(0xcbf29ce484222325)
uint64_t octet_logits_hash(uint64_t hash, const float *logits, size_t n);

/* ---- Drafting ---------------------------------------------------------------------------------
 *
 * Decoding several tokens in one step: a drafter guesses what follows, the step computes the logits
 * after every guess too, and those that turn out right need no step of their own. The loop is that
 * of plain decoding, with octet_drafter_sync in the place of octet_session_sync: the caller picks
 * every token from the logits, which are the same bits, so the answer is the same, sampled or not.
 * Speed alone depends on the guesses.
 *
 * Guesses come from the tokens so far (where their end occurred before; Saxena 2023) or from a
 * smaller model (Leviathan et al. 2023). How many are worth their time is decided anew at each
 * step, from how often guesses like these were right and from measured times of steps. */

struct octet_drafter;

struct octet_draft_options {
    struct octet_model *model; // guesses; outlives the drafter. NULL: from the tokens so far
    int32_t max_tokens;        // longest draft, up to 63; 0: 15
    bool always;               // as many guesses as there are, worth their time or not
};
#define OCTET_DRAFT_OPTIONS_DEFAULTS                                                               \
    { NULL, 0, false }

struct octet_draft_stats {
    uint64_t drafted, accepted; // tokens guessed and computed; of them, found right
    uint64_t steps;             // computed to decode, with and without guesses
};

/* SESSION is used by nobody else until the drafter is closed, which comes first. EARG: the model
 * has another vocabulary than the session's. */
enum octet_status octet_drafter_open(struct octet_session *session,
                                     const struct octet_draft_options *options,
                                     struct octet_drafter **out, struct octet_err *err);
void octet_drafter_close(struct octet_drafter *drafter);
/* As octet_session_sync; the session may hold guesses after the tokens. */
enum octet_status octet_drafter_sync(struct octet_drafter *drafter, const int32_t *tokens,
                                     size_t n_tokens, struct octet_err *err);
/* Several of one model in the same steps, as octet_sessions_sync. Those whose tokens were guessed
 * take no part in them. */
enum octet_status octet_drafters_sync(struct octet_drafter *const *drafters,
                                      const struct octet_span *spans, size_t n_drafters,
                                      struct octet_err *err);
/* Whether a sync for TOKENS, which are those of the last one and one more, needs no step, since
 * that token was guessed. */
bool octet_drafter_knows(const struct octet_drafter *drafter, const int32_t *tokens,
                         size_t n_tokens);
/* Those after the last of the tokens; NULL: none. */
const float *octet_drafter_logits(const struct octet_drafter *drafter);
void octet_drafter_get_stats(const struct octet_drafter *drafter, struct octet_draft_stats *out);

/* ---- Sampling ---------------------------------------------------------------------------------
 */

struct octet_logit_bias {
    int32_t id;
    float bias; // added to the logit; -INFINITY forbids
};

/* Order: logit bias, repetition / frequency / presence penalties, DRY, then either greedy
 * (temperature 0), or temperature and mirostat 2, or top-k, typical, top-p, min-p, temperature,
 * draw. */
struct octet_sampling {
    float temperature;       // 0: greedy
    int32_t top_k;           // 0: off
    float top_p;             // 1: off
    float min_p;             // 0: off
    float typical_p;         // 1: off
    float repeat_penalty;    // 1: off (Keskar et al. 2019)
    float frequency_penalty; // 0: off, subtracted per occurrence
    float presence_penalty;  // 0: off, subtracted once
    int32_t penalty_last_n;  // tokens looked back; 0: off, -1: all
    float dry_multiplier;    // 0: off
    float dry_base;
    int32_t dry_allowed_length;
    int32_t dry_last_n; // -1: all
    int32_t mirostat;   // 0: off, 2: on (Basu et al. 2021)
    float mirostat_tau, mirostat_eta;
    uint64_t seed;
    const struct octet_logit_bias *bias; // (n_bias), copied
    size_t n_bias;
};
#define OCTET_SAMPLING_DEFAULTS                                                                    \
    {                                                                                              \
        0.8f, 40, 0.95f, 0.05f, 1.0f, 1.0f, 0.0f, 0.0f, 64, 0.0f, 1.75f, 2, -1, 0, 5.0f, 0.1f, 0,  \
            NULL, 0                                                                                \
    }

struct octet_sampler;
struct octet_grammar;

/* Values out of range are EARG naming the field. */
enum octet_status octet_sampler_open(const struct octet_model *model,
                                     const struct octet_sampling *options,
                                     struct octet_sampler **out, struct octet_err *err);
void octet_sampler_close(struct octet_sampler *sampler);
/* Adds a token to the history the penalties look at: prompt tokens, then each picked one. EARG: not
 * in the vocabulary, or not what the grammar allows. */
enum octet_status octet_sampler_accept(struct octet_sampler *sampler, int32_t id);
/* Picks the next token from logits (n_vocab), which stay as they are. The i-th pick after open
 * depends on seed, i, history and logits only. Ids that are no token of the vocabulary and unused
 * padding are never picked; equal logits: the lower id comes first. */
enum octet_status octet_sampler_pick(struct octet_sampler *sampler, const float *logits,
                                     int32_t *id, struct octet_err *err);

/* ---- Grammars ---------------------------------------------------------------------------------
 * What an answer may be: texts of a grammar, or JSON of a schema. A grammar never changes and may
 * be used by any number of samplers. Grammars and schemas may come from strangers: their size,
 * depth and the work that they cause are bounded, and beyond it they are EUNSUPPORTED. */

/* SOURCE: in GBNF, the notation of llama.cpp, with a rule `root`; see docs/constrained.md. EFORMAT:
 * it is no grammar; the message has the line. MODEL NULL: for octet_grammar_match only. */
enum octet_status octet_grammar_open(struct octet_model *model, const char *source, size_t n_bytes,
                                     struct octet_grammar **out, struct octet_err *err);
enum octet_schema_flags {
    OCTET_SCHEMA_OPEN = 1, // objects that list "properties" and say nothing of others may have
                           // others, as the standard has it; without it they may not
};
/* JSON texts that are valid under SCHEMA, a JSON schema as text; properties come in the order in
 * which it lists them. EFORMAT: no JSON, or no schema; EUNSUPPORTED: one with a keyword that can
 * not be kept to exactly, named with its place. */
enum octet_status octet_grammar_open_schema(struct octet_model *model, const char *schema,
                                            size_t n_bytes, unsigned flags,
                                            struct octet_grammar **out, struct octet_err *err);
/* The grammar that the above opens. TEXT: as of octet_template_render. */
enum octet_status octet_schema_grammar(const char *schema, size_t n_bytes, unsigned flags,
                                       char **text, size_t *n_text, struct octet_err *err);
/* One more owner of the grammar, each of whom closes it. */
struct octet_grammar *octet_grammar_share(struct octet_grammar *grammar);
void octet_grammar_close(struct octet_grammar *grammar);

enum octet_match {
    OCTET_MATCH_NONE,      // no text of the grammar begins like that
    OCTET_MATCH_BEGINNING, // one does
    OCTET_MATCH_WHOLE,     // it is a text of the grammar
};
enum octet_status octet_grammar_match(struct octet_grammar *grammar, const char *text,
                                      size_t n_bytes, enum octet_match *out, struct octet_err *err);

/* From now on the sampler picks only what GRAMMAR allows, which reads what is accepted; end tokens
 * are picked only where the text may end. NULL: anything again. N_TOKENS: the most that will be
 * accepted, < 0: any number. Picks keep a way to a complete text within them, unless there are
 * fewer than it takes; then they go the shortest one. */
enum octet_status octet_sampler_constrain(struct octet_sampler *sampler,
                                          struct octet_grammar *grammar, int64_t n_tokens,
                                          struct octet_err *err);
/* The text is complete and nothing can follow: no need to pick an end token. */
bool octet_sampler_finished(const struct octet_sampler *sampler);

/* ---- Synthetic models -------------------------------------------------------------------------
 */

struct octet_synth_options {
    const char *arch; // octet_synth_arch(i): "mixtral-8x7b", "mistral-7b", "phi-2", "...-tiny"
    const char *type; // octet_synth_type(i): "q4_k_m", "q8_0", "f16", ...
    int32_t n_layers; // 0: the architecture's own
    int32_t n_ctx;    // tokens that the file says it was trained for; 0: the architecture's own
    uint64_t seed;
    const char *vocab;  // GGUF file to take the vocabulary from; NULL: a generated one
    bool experts_split; // one tensor per expert, as files of December 2023 have it
    octet_progress_fn progress;
    void *user;
};
const char *octet_synth_arch(size_t i); // NULL past the end
const char *octet_synth_type(size_t i); // NULL past the end
/* Writes a GGUF file of seeded random weights, scaled so that activations stay in range. The file
 * gets its name only when complete. */
enum octet_status octet_synth(const struct octet_synth_options *options, const char *path,
                              struct octet_err *err);

#ifdef __cplusplus
}
#endif
#endif
