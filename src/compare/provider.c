/* See provider.h. Reads the spec, finds the key, guards the address; what all kinds share. */
#include "compare/provider.h"

#include <curl/curl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/host.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/words.h"
#include "compare/record.h"

static const struct provider_kind *const kinds[] = {
    &provider_local, &provider_openai, &provider_mistral, &provider_anthropic, &provider_azure,
};

enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- Small parts ----------------------------------------------------------------------------- */

void reply_free(struct reply *reply) {
    mem_free(reply->text);
    mem_free(reply->finish_reason);
    mem_free(reply->model);
    mem_free(reply->date);
    mem_free(reply->token_gaps_s);
    mem_free(reply->error);
    *reply = (struct reply){0};
}

void provider_note(const struct provider *provider, const char *fmt, ...) {
    if (!provider->options.note) return;
    struct octet_err line;
    char text[sizeof line.message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    octet_fail(&line, OCTET_OK, "%s", text); // makes it one clean line
    provider->options.note(provider->options.note_user, line.message);
}

bool provider_cancelled(const struct provider *provider) {
    return provider->options.cancel && *provider->options.cancel;
}

char *provider_date(void) {
    char text[32];
    const time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return mem_strdup(text, n);
}

char *provider_copy(const char *text) { return mem_strdup(text, strlen(text)); }

bool provider_error(const struct provider *provider, size_t tag, const char *error,
                    struct reply *out) {
    *out = (struct reply){
        .tag = tag,
        .text = provider_copy(""),
        .model = provider_copy(provider->model),
        .date = provider_date(),
        .usage = {-1, -1, -1, -1, false},
        .ttft_s = NAN,
        .total_s = NAN,
        .error = provider_copy(error),
    };
    return out->text && out->model && out->date && out->error;
}

double provider_microseconds(double seconds) { return round(seconds * 1e6) / 1e6; }

const char *provider_name(const struct provider *provider) { return provider->name; }
const char *provider_kind(const struct provider *provider) { return provider->kind_name; }
const char *provider_model(const struct provider *provider) { return provider->model; }
const char *provider_host(const struct provider *provider) { return provider->host; }
const char *provider_settings(const struct provider *provider) {
    return provider->settings ? provider->settings : "";
}
unsigned provider_skills(const struct provider *provider) { return provider->skills; }
double provider_spent(const struct provider *provider) { return provider->spent; }

/* ---- Addresses ------------------------------------------------------------------------------- */

static enum octet_status check_parts(struct provider *provider, const char *scheme,
                                     const char *host, const char *port, bool has_user,
                                     struct octet_err *err) {
    const bool secure = strcmp(scheme, "https") == 0;
    if (!secure && strcmp(scheme, "http") != 0) {
        return octet_fail(err, OCTET_EARG, "%s: the URL must begin with https:// or http://",
                          provider->name);
    }
    if (has_user) {
        return octet_fail(err, OCTET_EARG, "%s: a URL with a user name or password is not used",
                          provider->name);
    }
    if (!secure && provider->key_env && !host_is_loopback(host)) {
        return octet_fail(err, OCTET_EARG,
                          "%s: a key is sent by https only, or to this machine; %s is neither",
                          provider->name, host);
    }
    const size_t cap = strlen(host) + strlen(port) + 2;
    provider->host = mem_alloc(cap);
    if (!provider->host) return octet_fail_memory(err, "a provider", cap);
    snprintf(provider->host, cap, "%s%s%s", host, port[0] ? ":" : "", port);
    return OCTET_OK;
}

/* Sets provider->host from its URL. */
static enum octet_status check_url(struct provider *provider, struct octet_err *err) {
    CURLU *const url = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL, *password = NULL;
    enum octet_status status;
    if (!url || curl_url_set(url, CURLUPART_URL, provider->url, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        status = octet_fail(err, OCTET_EARG, "%s: the URL can not be read", provider->name);
    } else {
        curl_url_get(url, CURLUPART_PORT, &port, 0);
        curl_url_get(url, CURLUPART_USER, &user, 0);
        curl_url_get(url, CURLUPART_PASSWORD, &password, 0);
        status = check_parts(provider, scheme, host, port ? port : "", user || password, err);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_free(password);
    curl_url_cleanup(url);
    return status;
}

/* ---- The spec -------------------------------------------------------------------------------- */

/* What a spec says; borrowed texts with lengths, NULL: not there. */
struct part {
    const char *text;
    size_t n;
};

struct spec {
    struct part name, kind, settings, url, model, key_env;
};

static struct part part_of(const char *text) {
    return (struct part){text, text ? strlen(text) : 0};
}

static bool part_is(const struct part *part, const char *text) {
    return part->n == strlen(text) && memcmp(part->text, text, part->n) == 0;
}

/* The next part up to a comma; *AT moves behind it, and becomes NULL at the end. */
static struct part next_part(const char **at) {
    if (!*at) return (struct part){NULL, 0};
    const struct part part = {*at, strcspn(*at, ",")};
    *at = part.text[part.n] == ',' ? part.text + part.n + 1 : NULL;
    return part;
}

/* A variable's name, as they are written: a key pasted in its place is none, and is not repeated
 * in the message. */
static bool is_variable(const struct part *part) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return part->n > 0 && strspn(part->text, letters) >= part->n &&
           !(part->text[0] >= '0' && part->text[0] <= '9');
}

static enum octet_status parse_long(const char *text, struct spec *out, struct octet_err *err) {
    out->name = (struct part){text, strcspn(text, "=")};
    const char *at = text + out->name.n + 1;
    const int n_name = (int)(out->name.n < 60 ? out->name.n : 60);
    out->kind = next_part(&at);
    const char *const colon = memchr(out->kind.text, ':', out->kind.n);
    if (colon) {
        const size_t n_kind = (size_t)(colon - out->kind.text);
        out->settings = (struct part){colon + 1, out->kind.n - n_kind - 1};
        out->kind.n = n_kind;
    }
    if (part_is(&out->kind, provider_local.name)) { // a file's name may hold commas
        out->url = part_of(at);
        if (out->url.n > 0) return OCTET_OK;
        return octet_fail(err, OCTET_EARG, "%.*s: expected NAME=local,FILE", n_name, text);
    }
    out->url = next_part(&at);
    out->model = next_part(&at);
    out->key_env = next_part(&at);
    if (out->url.n == 0 || out->model.n == 0 || at) {
        return octet_fail(err, OCTET_EARG, "%.*s: expected NAME=KIND,URL,MODEL[,KEY_ENV]", n_name,
                          text);
    }
    if (out->key_env.text && !is_variable(&out->key_env)) {
        return octet_fail(err, OCTET_EARG,
                          "%.*s: after the model goes the name of the variable that holds the "
                          "key, like MY_API_KEY; never the key itself",
                          n_name, text);
    }
    return OCTET_OK;
}

static const struct preset *find_preset(const char *text) {
    const struct preset *preset;
    for (size_t i = 0; (preset = provider_preset(i)) != NULL; i++)
        if (strcmp(preset->name, text) == 0 || strcmp(preset->model, text) == 0) return preset;
    return NULL;
}

/* Names the presets that are most like TEXT. */
static enum octet_status unknown_preset(const char *text, struct octet_err *err) {
    enum { MOST = 3 };
    char near[256] = "";
    size_t n = 0, at = 0;
    for (size_t far = 1; far <= strlen(text) / 3 + 1 && n < MOST; far++) {
        const struct preset *preset;
        for (size_t i = 0; (preset = provider_preset(i)) != NULL && n < MOST; i++) {
            if (words_distance(text, preset->name) != far || at >= sizeof near) continue;
            at += (size_t)snprintf(near + at, sizeof near - at, "%s%s", n > 0 ? ", " : "",
                                   preset->name);
            n++;
        }
    }
    return octet_fail(err, OCTET_EARG,
                      "no model '%.80s'%s%s; a model file is named with a '/' or .gguf", text,
                      n > 0 ? "; near it: " : "", near);
}

static bool is_file_name(const char *text) {
    const size_t n = strlen(text);
    return strchr(text, '/') || (n > 5 && strcmp(text + n - 5, ".gguf") == 0);
}

/* NAME=KIND,...: an equals sign and a comma before anything that only a path has. */
static bool is_long(const char *text) {
    const size_t n_name = strcspn(text, "=/");
    return n_name > 0 && text[n_name] == '=' &&
           text[n_name + 1 + strcspn(text + n_name + 1, ",/")] == ',';
}

static enum octet_status parse_spec(const char *text, struct spec *out, struct octet_err *err) {
    static const char ollama[] = "ollama:";
    *out = (struct spec){0};
    const struct preset *const preset = find_preset(text);
    if (preset) {
        *out = (struct spec){.name = part_of(preset->name),
                             .kind = part_of(preset->kind),
                             .url = part_of(preset->url),
                             .model = part_of(preset->model),
                             .key_env = part_of(preset->key_env)};
        return OCTET_OK;
    }
    if (is_long(text)) return parse_long(text, out, err);
    if (strncmp(text, ollama, sizeof ollama - 1) == 0 && text[sizeof ollama - 1]) {
        *out = (struct spec){.name = part_of(text),
                             .kind = part_of(provider_openai.name),
                             .url = part_of("http://127.0.0.1:11434/v1"),
                             .model = part_of(text + sizeof ollama - 1)};
        return OCTET_OK;
    }
    if (!is_file_name(text)) return unknown_preset(text, err);
    out->kind = part_of(provider_local.name);
    out->url = part_of(text);
    return OCTET_OK;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool copy_part(const struct part *part, char **to) {
    *to = part->text ? mem_strdup(part->text, part->n) : NULL;
    return !part->text || *to;
}

/* A file is its own model, and its own name without the extension. */
static void name_after_file(struct spec *spec) {
    const char *const slash = memrchr(spec->url.text, '/', spec->url.n);
    const char *const base = slash ? slash + 1 : spec->url.text;
    spec->model = (struct part){base, spec->url.n - (size_t)(base - spec->url.text)};
    if (spec->name.text) return;
    spec->name = spec->model;
    if (spec->name.n > 5 && memcmp(base + spec->name.n - 5, ".gguf", 5) == 0) spec->name.n -= 5;
}

static bool has_control(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127) return true;
    return false;
}

static enum octet_status apply_spec(struct provider *provider, const char *text,
                                    struct octet_err *err) {
    struct spec spec;
    if (has_control(text))
        return octet_fail(err, OCTET_EARG, "a model's name has control characters");
    const enum octet_status status = parse_spec(text, &spec, err);
    if (status != OCTET_OK) return status;
    for (size_t i = 0; i < N_KINDS; i++)
        if (part_is(&spec.kind, kinds[i]->name)) provider->kind = kinds[i];
    if (!provider->kind) {
        return octet_fail(err, OCTET_EARG,
                          "%.*s: unknown kind '%.*s'; there are local, openai, mistral, anthropic "
                          "and azure",
                          (int)(spec.name.n < 60 ? spec.name.n : 60), text,
                          (int)(spec.kind.n < 40 ? spec.kind.n : 40), spec.kind.text);
    }
    if (provider->kind == &provider_local) name_after_file(&spec);
    provider->kind_name = provider->kind->name;
    provider->skills = provider->kind->skills;
    if (!copy_part(&spec.name, &provider->name) || !copy_part(&spec.model, &provider->model) ||
        !copy_part(&spec.settings, &provider->settings) ||
        !copy_part(&spec.url, &provider->url) || !copy_part(&spec.key_env, &provider->key_env)) {
        return octet_fail_memory(err, "a provider", strlen(text));
    }
    return provider_check_settings(provider, err);
}

static void say_if_retired(const struct provider *provider) {
    const struct preset *const preset = find_preset(provider->model);
    if (!preset || !preset->retired || strcmp(preset->kind, provider->kind_name) != 0) return;
    provider_note(provider, "%s: its vendor shut %s down on %s", provider->name, preset->model,
                  preset->retired);
}

static void start_curl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

/* Where the asks go, and with which key. */
static enum octet_status prepare(struct provider *provider, struct octet_err *err) {
    const struct provider_options *const o = &provider->options;
    if (o->record_dir && o->replay_dir) {
        return octet_fail(err, OCTET_EARG, "answers are either recorded or replayed, not both");
    }
    if (!isnan(o->max_cost) && !o->cost) {
        return octet_fail(err, OCTET_EARG, "a spending limit needs prices");
    }
    enum octet_status status = OCTET_OK;
    if (provider->kind == &provider_local) {
        provider->host = provider_copy("local");
        if (!provider->host) return octet_fail_memory(err, "a provider", 0);
    } else {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, start_curl);
        status = check_url(provider, err);
    }
    if (status != OCTET_OK) return status;
    if (o->replay_dir) {
        provider->kind = &provider_replay;
        return OCTET_OK;
    }
    say_if_retired(provider);
    if (provider->key_env) status = provider_find_key(provider->key_env, &provider->key, err);
    return status;
}

enum octet_status provider_open(const char *spec, const struct provider_options *options,
                                struct provider **out, struct octet_err *err) {
    *out = NULL;
    struct provider *const provider = mem_alloc(sizeof *provider);
    if (!provider) return octet_fail_memory(err, "a provider", sizeof *provider);
    provider->options = options ? *options : (struct provider_options)PROVIDER_OPTIONS_DEFAULTS;
    enum octet_status status = apply_spec(provider, spec, err);
    if (status == OCTET_OK) status = prepare(provider, err);
    if (status == OCTET_OK && provider->kind->open) status = provider->kind->open(provider, err);
    if (status == OCTET_OK && provider->options.record_dir) {
        status = record_open(provider, provider->options.record_dir, &provider->recorder, err);
    }
    if (status == OCTET_OK) {
        *out = provider;
    } else {
        provider_close(provider);
    }
    return status;
}

void provider_close(struct provider *provider) {
    if (!provider) return;
    if (provider->kind && provider->kind->close) provider->kind->close(provider);
    record_close(provider->recorder);
    provider_wipe(provider->key);
    mem_free(provider->name);
    mem_free(provider->model);
    mem_free(provider->url);
    mem_free(provider->host);
    mem_free(provider->settings);
    mem_free(provider->key_env);
    mem_free(provider);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

/* The asks a kind is given carry their own numbers as tags, so that a reply finds its ask. */
struct asking {
    struct provider *provider;
    const struct ask *asks; // the caller's
    struct ask *put;        // (n_put) those the kind can answer
    size_t n_put;
    reply_fn fn;
    void *user;
    enum octet_status status; // of recording
    struct octet_err err;     // the same
};

static bool on_reply(void *user, struct reply *reply) {
    struct asking *const a = user;
    const struct ask *const ask = &a->asks[reply->tag];
    reply->tag = ask->tag;
    if (a->provider->recorder) {
        a->status = record_write(a->provider->recorder, a->provider, ask, reply, &a->err);
    }
    const bool open = a->fn(a->user, reply); // paid for: handed over in any case
    return open && a->status == OCTET_OK;
}

static unsigned skill_needed(const struct ask *ask) {
    return ask->suffix ? PROVIDER_FILLS : ask->chat ? PROVIDER_CHATS : PROVIDER_CONTINUES;
}

/* What stands against putting ASK, or NULL. */
static const char *objection(const struct provider *provider, const struct ask *ask) {
    if (ask->max_tokens < 1) return "max_tokens must be at least 1";
    switch (skill_needed(ask) & ~provider->skills) {
    case PROVIDER_FILLS: return "filling in the middle is not supported";
    case PROVIDER_CHATS: return "chat is not supported: the model has no chat format";
    case PROVIDER_CONTINUES: return "continuing a text is not supported, only chat";
    default: return NULL;
    }
}

/* Answers what can not be put at once; the rest goes to a->put. */
static enum octet_status sort_asks(struct asking *a, size_t n_asks, struct octet_err *err) {
    const struct provider *const provider = a->provider;
    for (size_t i = 0; i < n_asks; i++) {
        const char *const why = objection(provider, &a->asks[i]);
        if (!why) {
            a->put[a->n_put] = a->asks[i];
            a->put[a->n_put++].tag = i;
            continue;
        }
        char text[160];
        snprintf(text, sizeof text, "%.60s: %s", provider->kind_name, why);
        struct reply reply;
        if (!provider_error(provider, a->asks[i].tag, text, &reply)) {
            reply_free(&reply);
            return octet_fail_memory(err, "a reply", 0);
        }
        if (!a->fn(a->user, &reply)) return octet_fail(err, OCTET_ECANCELLED, "stopped");
    }
    return OCTET_OK;
}

enum octet_status provider_ask(struct provider *provider, const struct ask *asks, size_t n_asks,
                               reply_fn fn, void *user, struct octet_err *err) {
    struct asking a = {.provider = provider,
                       .asks = asks,
                       .fn = fn,
                       .user = user,
                       .put = mem_array(n_asks, sizeof *a.put)};
    if (!a.put) return octet_fail_memory(err, "asks", n_asks * sizeof *a.put);
    enum octet_status status = sort_asks(&a, n_asks, err);
    if (status == OCTET_OK) {
        status = provider->kind->ask(provider, a.put, a.n_put, on_reply, &a, err);
    }
    if (a.status != OCTET_OK) {
        status = a.status;
        if (err) *err = a.err;
    }
    mem_free(a.put);
    return status;
}
