/* See record.h. Times are whole microseconds here and in struct reply, so that a replayed answer is
 * the same to the last bit. */
#include "compare/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include "compare/json_text.h"

enum { RECORD_VERSION = 1 };

struct recorder {
    char *path;
    int file;
};

/* ---- What makes two asks the same ------------------------------------------------------------ */

static uint64_t hash_text(uint64_t hash, const char *text) {
    const uint64_t n = text ? strlen(text) + 1 : 0; // none and "" are different
    hash = hash_bytes(hash, &n, sizeof n);
    return n > 0 ? hash_bytes(hash, text, n) : hash;
}

static uint64_t hash_prompt(const struct ask *ask) {
    uint64_t hash = hash_text(HASH_INIT, ask->system);
    hash = hash_text(hash, ask->prompt);
    hash = hash_text(hash, ask->suffix);
    return hash_bytes(hash, &ask->chat, sizeof ask->chat);
}

static uint64_t hash_ask(const struct provider *provider, const struct ask *ask) {
    uint64_t hash = hash_prompt(ask);
    hash = hash_text(hash, provider->name);
    hash = hash_text(hash, provider->kind_name);
    hash = hash_text(hash, provider->model);
    hash = hash_text(hash, ask->label);
    hash = hash_bytes(hash, &ask->max_tokens, sizeof ask->max_tokens);
    hash = hash_bytes(hash, &ask->temperature, sizeof ask->temperature);
    hash = hash_bytes(hash, &ask->top_p, sizeof ask->top_p);
    hash = hash_bytes(hash, &ask->seed, sizeof ask->seed);
    for (size_t i = 0; ask->stops && ask->stops[i]; i++) hash = hash_text(hash, ask->stops[i]);
    return hash;
}

static void hash_name(uint64_t hash, char name[17]) { snprintf(name, 17, "%016" PRIx64, hash); }

/* ---- Writing --------------------------------------------------------------------------------- */

/* NULL becomes null. */
static json_t *text_or_null(const char *text) {
    return text ? json_text(text, strlen(text)) : json_null();
}

static json_t *count_or_null(int64_t count) {
    return count >= 0 ? json_integer(count) : json_null();
}

static json_t *microseconds(double seconds) {
    return isnan(seconds) ? json_null() : json_integer(llround(seconds * 1e6));
}

static json_t *usage_json(const struct usage *usage) {
    return json_pack("{s:o, s:o, s:o, s:o, s:b}", "prompt", count_or_null(usage->prompt), "cached",
                     count_or_null(usage->cached), "completion", count_or_null(usage->completion),
                     "reasoning", count_or_null(usage->reasoning), "estimated",
                     (int)usage->estimated);
}

static json_t *gaps_json(const struct reply *reply) {
    json_t *const gaps = json_array();
    for (size_t i = 0; gaps && i < reply->n_gaps; i++) {
        json_array_append_new(gaps, microseconds((double)reply->token_gaps_s[i]));
    }
    return gaps;
}

static json_t *stops_json(const struct ask *ask) {
    json_t *const stops = json_array();
    for (size_t i = 0; stops && ask->stops && ask->stops[i]; i++) {
        json_array_append_new(stops, json_text(ask->stops[i], strlen(ask->stops[i])));
    }
    return stops;
}

static json_t *ask_json(const struct provider *provider, const struct ask *ask) {
    char id[17], prompt[17], seed[24];
    hash_name(hash_ask(provider, ask), id);
    hash_name(hash_prompt(ask), prompt);
    snprintf(seed, sizeof seed, "%" PRIu64, ask->seed); // beyond what JSON's numbers hold
    return json_pack("{s:s, s:o, s:s, s:b, s:b, s:i, s:o, s:o, s:s, s:o}", "id", id, "task",
                     text_or_null(ask->label), "prompt", prompt, "chat", (int)ask->chat, "fill",
                     ask->suffix != NULL, "max_tokens", (int)ask->max_tokens, "temperature",
                     json_real((double)ask->temperature), "top_p", json_real((double)ask->top_p),
                     "seed", seed, "stops", stops_json(ask));
}

static json_t *reply_json(const struct reply *reply) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o}", "date",
                     text_or_null(reply->date), "model", text_or_null(reply->model), "finish",
                     text_or_null(reply->finish_reason), "usage", usage_json(&reply->usage), "lost",
                     usage_json(&reply->lost), "ttft_us", microseconds(reply->ttft_s), "total_us",
                     microseconds(reply->total_s), "gaps_us", gaps_json(reply), "retries",
                     reply->n_retries, "error", text_or_null(reply->error), "text",
                     json_text(reply->text, reply->n_bytes));
}

static bool write_all(int file, const char *bytes, size_t n_bytes) {
    while (n_bytes > 0) {
        const ssize_t n = write(file, bytes, n_bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        n_bytes -= (size_t)n;
    }
    return true;
}

enum octet_status record_write(struct recorder *recorder, const struct provider *provider,
                               const struct ask *ask, const struct reply *reply,
                               struct octet_err *err) {
    json_t *const record = json_pack(
        "{s:i, s:o, s:s, s:o, s:s, s:i, s:o, s:o}", "version", RECORD_VERSION, "provider",
        text_or_null(provider->name), "kind", provider->kind_name, "model",
        text_or_null(provider->model), "host", provider->host, "skills", (int)provider->skills,
        "ask", ask_json(provider, ask), "reply", reply_json(reply));
    char *const line = record ? json_dumps(record, JSON_FLOATS) : NULL;
    json_decref(record);
    if (!line) return octet_fail_memory(err, "a record", reply->n_bytes);
    const size_t n = strlen(line);
    line[n] = '\n'; // in the place of the NUL: one write, so that lines of two programs never mix
    flock(recorder->file, LOCK_EX);
    const bool fine = write_all(recorder->file, line, n + 1) && fsync(recorder->file) == 0;
    const int reason = errno;
    flock(recorder->file, LOCK_UN);
    free(line); // jansson's
    if (fine) return OCTET_OK;
    return octet_fail(err, OCTET_EIO, "%s: %s", recorder->path, strerror(reason));
}

static char *answers_path(const char *dir) {
    char *path = NULL;
    const size_t n = strlen(dir) + sizeof "/answers.jsonl";
    path = mem_alloc(n);
    if (path) snprintf(path, n, "%s/answers.jsonl", dir);
    return path;
}

/* A last line cut short, by a full disk or a crash, must not swallow the next one. */
static bool ends_in_newline(int file) {
    char last = '\n';
    const off_t n = lseek(file, 0, SEEK_END);
    return n <= 0 || (pread(file, &last, 1, n - 1) == 1 && last == '\n');
}

enum octet_status record_open(const struct provider *provider, const char *dir,
                              struct recorder **out, struct octet_err *err) {
    struct recorder *const recorder = mem_alloc(sizeof *recorder);
    *out = recorder;
    if (!recorder) return octet_fail_memory(err, "the recorder", sizeof *recorder);
    recorder->file = -1;
    recorder->path = answers_path(dir);
    if (!recorder->path) return octet_fail_memory(err, "the recorder", strlen(dir));
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        return octet_fail(err, OCTET_EIO, "%s: %s", dir, strerror(errno));
    }
    recorder->file = open(recorder->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (recorder->file < 0) {
        return octet_fail(err, OCTET_EIO, "%s: %s", recorder->path, strerror(errno));
    }
    if (ends_in_newline(recorder->file)) return OCTET_OK;
    provider_note(provider, "%s: the last line is damaged; going on after it", recorder->path);
    if (write_all(recorder->file, "\n", 1)) return OCTET_OK;
    return octet_fail(err, OCTET_EIO, "%s: %s", recorder->path, strerror(errno));
}

void record_close(struct recorder *recorder) {
    if (!recorder) return;
    if (recorder->file >= 0) close(recorder->file);
    mem_free(recorder->path);
    mem_free(recorder);
}

/* ---- Reading: the provider that answers from a record ---------------------------------------- */

/* The records in STATE, by the id of their ask; the last one without error counts. */
static void keep_record(json_t *records, const char *id, json_t *record) {
    const json_t *const known = json_object_get(json_object_get(records, id), "reply");
    const bool failed = json_text_get(json_object_get(record, "reply"), "error") != NULL;
    if (failed && known && !json_text_get(known, "error")) return;
    json_object_set(records, id, record);
}

static bool says(const json_t *record, const char *key, const char *expected) {
    const char *const found = json_text_get(record, key);
    return found && strcmp(found, expected) == 0;
}

/* False: the line is no record. Records of other providers are left out. */
static bool read_line(struct provider *provider, const char *line, size_t n_bytes) {
    json_t *const record = json_loadb(line, n_bytes, JSON_ALLOW_NUL, NULL);
    const char *const id = json_text_get(json_object_get(record, "ask"), "id");
    const bool fine = json_count_get(record, "version") == RECORD_VERSION && id &&
                      json_text_get(json_object_get(record, "reply"), "text");
    if (fine && says(record, "provider", provider->name) &&
        says(record, "kind", provider->kind_name) && says(record, "model", provider->model)) {
        provider->skills = (unsigned)json_count_get(record, "skills") & PROVIDER_SKILLS;
        keep_record(provider->state, id, record);
    }
    json_decref(record);
    return fine;
}

static void read_lines(struct provider *provider, const char *path, const char *bytes,
                       size_t n_bytes) {
    const char *const end = bytes + n_bytes;
    for (size_t i = 1; bytes < end; i++) {
        const char *stop = memchr(bytes, '\n', (size_t)(end - bytes));
        const bool cut = stop == NULL;
        if (cut) stop = end;
        if (stop > bytes && !read_line(provider, bytes, (size_t)(stop - bytes))) {
            provider_note(provider, "%s: line %zu is damaged%s and was left out", path, i,
                          cut ? " (cut short)" : "");
        }
        bytes = stop + 1;
    }
}

static enum octet_status replay_open(struct provider *provider, struct octet_err *err) {
    char *const path = answers_path(provider->options.replay_dir);
    provider->state = json_object();
    enum octet_status status = OCTET_OK;
    const uint8_t *bytes;
    size_t n_bytes;
    if (!path || !provider->state) {
        status = octet_fail_memory(err, "the record", 0);
    } else if ((status = map_open(path, &bytes, &n_bytes, err)) == OCTET_OK) {
        read_lines(provider, path, (const char *)bytes, n_bytes);
        map_close(bytes, n_bytes);
    }
    if (status == OCTET_OK && json_object_size(provider->state) == 0) {
        provider_note(provider, "%s: holds no answer of %s (%s %s)", path, provider->name,
                      provider->kind_name, provider->model);
    }
    mem_free(path);
    return status;
}

static void replay_close(struct provider *provider) { json_decref(provider->state); }

static double seconds(const json_t *object, const char *key) {
    const int64_t us = json_count_get(object, key);
    return us >= 0 ? provider_microseconds((double)us / 1e6) : NAN;
}

static struct usage read_usage(const json_t *usage) {
    return (struct usage){json_count_get(usage, "prompt"), json_count_get(usage, "cached"),
                          json_count_get(usage, "completion"), json_count_get(usage, "reasoning"),
                          json_is_true(json_object_get(usage, "estimated"))};
}

static bool read_gaps(const json_t *gaps, struct reply *out) {
    const size_t n = json_array_size(gaps);
    if (n == 0) return true;
    out->token_gaps_s = mem_array(n, sizeof *out->token_gaps_s);
    if (!out->token_gaps_s) return false;
    out->n_gaps = n;
    for (size_t i = 0; i < n; i++) {
        const double us = (double)json_integer_value(json_array_get(gaps, i));
        out->token_gaps_s[i] = (float)provider_microseconds(us / 1e6);
    }
    return true;
}

/* *TO becomes a copy of the string at KEY, if there is one. */
static bool read_text(const json_t *object, const char *key, char **to) {
    const char *const text = json_text_get(object, key);
    *to = text ? provider_copy(text) : NULL;
    return !text || *to;
}

static bool read_reply(const json_t *told, struct reply *out) {
    const json_t *const text = json_object_get(told, "text");
    const int64_t n_retries = json_count_get(told, "retries");
    out->n_bytes = json_string_length(text);
    out->text = mem_strdup(json_string_value(text), out->n_bytes);
    out->usage = read_usage(json_object_get(told, "usage"));
    out->lost = read_usage(json_object_get(told, "lost"));
    out->ttft_s = seconds(told, "ttft_us");
    out->total_s = seconds(told, "total_us");
    out->n_retries = n_retries > 0 && n_retries < INT32_MAX ? (int)n_retries : 0;
    return out->text && read_text(told, "finish", &out->finish_reason) &&
           read_text(told, "model", &out->model) && read_text(told, "date", &out->date) &&
           read_text(told, "error", &out->error) &&
           read_gaps(json_object_get(told, "gaps_us"), out);
}

static enum octet_status replay_ask(struct provider *provider, const struct ask *asks,
                                    size_t n_asks, reply_fn fn, void *user, struct octet_err *err) {
    for (size_t i = 0; i < n_asks; i++) {
        if (provider_cancelled(provider)) return octet_fail(err, OCTET_ECANCELLED, "cancelled");
        char id[17];
        hash_name(hash_ask(provider, &asks[i]), id);
        const json_t *const record = json_object_get(provider->state, id);
        struct reply reply = {.tag = asks[i].tag};
        const bool fine =
            record ? read_reply(json_object_get(record, "reply"), &reply)
                   : provider_error(provider, asks[i].tag,
                                    "not in the record: asked differently, or never", &reply);
        if (!fine) {
            reply_free(&reply);
            return octet_fail_memory(err, "a recorded answer", reply.n_bytes);
        }
        if (!fn(user, &reply)) return octet_fail(err, OCTET_ECANCELLED, "stopped");
    }
    return OCTET_OK;
}

const struct provider_kind provider_replay = {
    .name = "replay",
    .skills = PROVIDER_SKILLS,
    .open = replay_open,
    .ask = replay_ask,
    .close = replay_close,
};
