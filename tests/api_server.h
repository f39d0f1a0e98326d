/* A server that plays remote APIs (fake_api.py), started with the group of tests, and what it takes
 * to ask it and to look at what it was asked. */
#ifndef OCTET_TESTS_API_SERVER_H
#define OCTET_TESTS_API_SERVER_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "compare/json_text.h"
#include "compare/provider.h"
#include "temp_folder.h"

#define SECRET "sk-fixture-0123456789"

/* ---- The server ------------------------------------------------------------------------------ */

static struct {
    struct folder folder;
    const char *log;
    pid_t pid;
    int leash; // closing it ends the server
    int port;
} api;

static inline char *read_file(const char *path) {
    FILE *const file = fopen(path, "rb");
    if (!file) return NULL;
    struct buffer text = {NULL, 0, 0};
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, file)) > 0) buffer_append(&text, block, n);
    fclose(file);
    if (!text.bytes) buffer_append_text(&text, "");
    return text.bytes;
}

static inline int start_api(void **state) {
    (void)state;
    folder_open(&api.folder);
    const char *const port_file = folder_file(&api.folder, "port");
    api.log = folder_file(&api.folder, "log");
    int leash[2];
    if (pipe2(leash, O_CLOEXEC) != 0) return -1;
    api.pid = fork();
    if (api.pid == 0) {
        dup2(leash[0], STDIN_FILENO);
        execlp("python3", "python3", "tests/fake_api.py", port_file, api.log, (char *)NULL);
        _exit(127);
    }
    close(leash[0]);
    api.leash = leash[1];
    for (int i = 0; i < 500 && api.port == 0; i++) {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
        char *const text = read_file(port_file);
        if (text) api.port = atoi(text);
        mem_free(text);
    }
    setenv("FIXTURE_KEY", SECRET, 1);
    return api.port > 0 ? 0 : -1;
}

static inline int stop_api(void **state) {
    (void)state;
    close(api.leash);
    waitpid(api.pid, NULL, 0);
    return folder_close(&api.folder) ? 0 : -1;
}

/* Requests since the last call, those broken off by an earlier test left out; the caller's. */
static inline json_t *requests_to(const char *behaviour) {
    static size_t n_seen;
    json_t *const list = json_array();
    char *const text = read_file(api.log);
    size_t n = 0;
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n"), n++) {
        if (n < n_seen) continue;
        json_t *const request = json_loads(line, 0, NULL);
        const char *const path = json_text_get(request, "path");
        assert_non_null(path);
        if (strncmp(path + 1, behaviour, strlen(behaviour)) == 0) {
            json_array_append(list, request);
        }
        json_decref(request);
    }
    mem_free(text);
    n_seen = n;
    return list;
}

static inline void forget_requests(void) { json_decref(requests_to("")); }

static inline const json_t *request_at(const json_t *list, size_t i, const char *key) {
    const json_t *const value = json_object_get(json_array_get(list, i), key);
    assert_non_null(value);
    return value;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

enum { MAX_REPLIES = 40 };

struct got {
    struct reply replies[MAX_REPLIES]; // by tag
    bool here[MAX_REPLIES];
    size_t n, stop_after; // 0: never
    char notes[8192];
};

static inline bool take(void *user, struct reply *reply) {
    struct got *const got = user;
    assert_true(reply->tag < MAX_REPLIES);
    assert_false(got->here[reply->tag]);
    got->replies[reply->tag] = *reply;
    got->here[reply->tag] = true;
    got->n++;
    return got->n != got->stop_after;
}

static inline void note(void *user, const char *text) {
    struct got *const got = user;
    const size_t n = strlen(got->notes);
    snprintf(got->notes + n, sizeof got->notes - n, "%s\n", text);
}

static inline void forget(struct got *got) {
    for (size_t i = 0; i < MAX_REPLIES; i++)
        if (got->here[i]) reply_free(&got->replies[i]);
    *got = (struct got){0};
}

static inline struct provider_options quick(struct got *got) {
    struct provider_options o = PROVIDER_OPTIONS_DEFAULTS;
    o.backoff_s = 0.01;
    o.n_retries = 3;
    o.timeout_s = 2;
    o.seed = 7;
    o.note = note;
    o.note_user = got;
    return o;
}

static const struct ask hello = {.label = "fixture/0",
                                 .system = "Be brief.",
                                 .prompt = "Hello?",
                                 .chat = true,
                                 .max_tokens = 64,
                                 .temperature = 0.2f,
                                 .top_p = 0.95f,
                                 .seed = 42};

/* Opens KIND at the behaviour of the server and puts ASKS. */
static inline enum octet_status put(const char *kind, const char *behaviour, const struct ask *asks,
                                    size_t n, struct provider_options options, struct got *got,
                                    struct octet_err *err) {
    char spec[256];
    snprintf(spec, sizeof spec, "fixture=%s,http://127.0.0.1:%d/%s,some-model,FIXTURE_KEY", kind,
             api.port, behaviour);
    struct provider *provider;
    assert_int_equal(provider_open(spec, &options, &provider, err), OCTET_OK);
    const enum octet_status status = provider_ask(provider, asks, n, take, got, err);
    provider_close(provider);
    return status;
}

/* One ask, which must come to a reply. */
static inline struct reply *put_one(const char *kind, const char *behaviour, struct got *got) {
    *got = (struct got){0};
    struct octet_err err;
    const enum octet_status status = put(kind, behaviour, &hello, 1, quick(got), got, &err);
    if (status != OCTET_OK) fail_msg("%s", err.message);
    assert_int_equal(got->n, 1);
    return &got->replies[0];
}

static inline void assert_text(const struct reply *reply, const char *expected) {
    if (reply->error) fail_msg("%s", reply->error);
    assert_string_equal(reply->text, expected);
    assert_int_equal(reply->n_bytes, strlen(expected));
}

static inline void assert_error(const struct reply *reply, const char *part) {
    assert_non_null(reply->error);
    if (!strstr(reply->error, part)) fail_msg("'%s' is not in '%s'", part, reply->error);
    assert_string_equal(reply->text, "");
    assert_null(strchr(reply->error, '\n'));
    assert_null(strchr(reply->error, '\033'));
}

/* N asks that differ in their prompts, which are also their labels. */
static inline void fill(struct ask *asks, char (*prompts)[32], size_t n) {
    for (size_t i = 0; i < n; i++) {
        snprintf(prompts[i], sizeof prompts[i], "number %zu", i);
        asks[i] = hello;
        asks[i].tag = i;
        asks[i].prompt = prompts[i];
        asks[i].label = prompts[i];
    }
}

#endif
