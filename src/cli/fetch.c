/* See fetch.h: ask, resume or start, download with retries, verify, rename. */
#include "cli/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/http.h"

enum { SHA256_DIGITS = 64, MAX_BACKOFF_SECONDS = 30 };

struct download {
    struct fetch *fetch;
    struct octet_err *err;
    char sha256[SHA256_DIGITS + 1]; // "" unknown
    uint64_t n_bytes;               // of the whole file; HTTP_UNKNOWN
    char *part, *meta;              // paths
    int fd;                         // of part, locked
    uint64_t done;                  // bytes in it
    bool failed;                    // a callback filled err
};

static enum octet_status fail_file(struct octet_err *err, const char *path, const char *verb) {
    return octet_fail(err, OCTET_EIO, "%s: can not %s: %s", path, verb, strerror(errno));
}

__attribute__((format(printf, 2, 3))) static void note(const struct fetch *f, const char *fmt,
                                                       ...) {
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    f->note(f->user, text);
}

static uint64_t known_total(const struct download *d) {
    return d->n_bytes == HTTP_UNKNOWN ? 0 : d->n_bytes;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static enum octet_status fail_status(struct octet_err *err, const char *url, long status) {
    const char *hint = "try again later";
    if (status == 404) hint = "no such file there; check the name and --quant";
    if (status == 401 || status == 403) hint = "the server does not give it to everybody";
    return octet_fail(err, OCTET_EIO, "%s: the server answers %ld: %s", url, status, hint);
}

static bool is_temporary(long status) { return status == 429 || status >= 500; }

static bool tick(void *user) {
    struct download *const d = user;
    const struct fetch *const f = d->fetch;
    return f->progress(f->user, FETCH_DOWNLOADING, d->done, known_total(d));
}

static enum octet_status cancelled(struct octet_err *err) {
    return octet_fail(err, OCTET_ECANCELLED, "stopped; the next run goes on from here");
}

/* Sleeps before attempt I (1, 2, ...): 1, 2, 4 ... seconds, cut short by a stop. */
static bool back_off(struct download *d, int32_t i) {
    int32_t seconds = 1;
    while (--i > 0 && seconds < MAX_BACKOFF_SECONDS) seconds *= 2;
    const struct timespec tenth = {.tv_nsec = 100000000};
    for (int32_t t = 0; t < 10 * seconds; t++) {
        nanosleep(&tenth, NULL);
        if (!tick(d)) return false;
    }
    return true;
}

static void note_retry(const struct download *d, const char *why, int32_t i) {
    note(d->fetch, "%s; attempt %d of %d", why, i, d->fetch->n_retries);
}

/* One question for size and SHA-256. *AGAIN: it may be answered next time. */
static enum octet_status ask_once(struct download *d, struct http_reply *reply, bool *again) {
    const struct http_request request = {
        .url = d->fetch->url, .head = true, .timeout_seconds = d->fetch->timeout_seconds,
        .tick = tick, .user = d,
    };
    const enum http_outcome outcome = http_perform(&request, reply, d->err);
    *again = false;
    if (outcome == HTTP_STOPPED) return cancelled(d->err);
    if (outcome != HTTP_ANSWERED) {
        *again = outcome == HTTP_BROKEN;
        return d->err->status;
    }
    if (reply->status <= 399) return OCTET_OK;
    *again = is_temporary(reply->status);
    return fail_status(d->err, d->fetch->url, reply->status);
}

static enum octet_status ask(struct download *d) {
    struct http_reply reply;
    bool again;
    enum octet_status status = ask_once(d, &reply, &again);
    for (int32_t i = 1; status != OCTET_OK && again && i <= d->fetch->n_retries; i++) {
        note_retry(d, d->err->message, i);
        if (!back_off(d, i)) return cancelled(d->err);
        status = ask_once(d, &reply, &again);
    }
    if (status != OCTET_OK) return status;
    const bool final = reply.status <= 299;
    d->n_bytes = reply.linked_bytes != HTTP_UNKNOWN ? reply.linked_bytes
                 : final                            ? reply.n_bytes
                                                    : HTTP_UNKNOWN;
    const char *const wanted = d->fetch->sha256;
    if (wanted && reply.linked_sha256[0] && strcmp(wanted, reply.linked_sha256) != 0) {
        return octet_fail(d->err, OCTET_EIO, "%s: expected SHA-256 %s, the server offers %s",
                          d->fetch->url, wanted, reply.linked_sha256);
    }
    const char *const known = wanted ? wanted : reply.linked_sha256;
    memcpy(d->sha256, known, strlen(known) + 1);
    if (d->sha256[0] == '\0' && !d->fetch->unverified) {
        return octet_fail(d->err, OCTET_EIO, "%s: the server states no SHA-256; give one with "
                          "--sha256, or accept the file with --no-verify", d->fetch->url);
    }
    return OCTET_OK;
}

/* ---- Verifying ------------------------------------------------------------------------------- */

static enum octet_status hash_file(const struct download *d, int fd, uint64_t n_bytes,
                                   EVP_MD_CTX *context, char *buffer, size_t cap) {
    uint64_t done = 0;
    for (;;) {
        const ssize_t n = pread(fd, buffer, cap, (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_file(d->err, d->fetch->path, "read");
        if (n == 0) return OCTET_OK;
        EVP_DigestUpdate(context, buffer, (size_t)n);
        done += (uint64_t)n;
        if (!d->fetch->progress(d->fetch->user, FETCH_CHECKING, done, n_bytes)) {
            return cancelled(d->err);
        }
    }
}

/* *SAME: FD holds what the SHA-256 says. */
static enum octet_status verify(const struct download *d, int fd, uint64_t n_bytes, bool *same) {
    enum { CHUNK = 1 << 20 };
    EVP_MD_CTX *const context = EVP_MD_CTX_new();
    char *const buffer = mem_alloc(CHUNK);
    enum octet_status status = octet_fail_memory(d->err, "a checksum", CHUNK);
    *same = false;
    if (context && buffer && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1) {
        status = hash_file(d, fd, n_bytes, context, buffer, CHUNK);
    }
    if (status == OCTET_OK) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        char hex[SHA256_DIGITS + 1];
        EVP_DigestFinal_ex(context, digest, NULL);
        for (size_t i = 0; i < SHA256_DIGITS / 2; i++) {
            snprintf(hex + 2 * i, 3, "%02x", (unsigned)digest[i]);
        }
        *same = strcmp(hex, d->sha256) == 0;
    }
    EVP_MD_CTX_free(context);
    mem_free(buffer);
    return status;
}

/* A file of that name: *done if it is the one wanted. Anything else is left alone, and an error. */
static enum octet_status check_present(struct download *d, bool *done) {
    const struct fetch *const f = d->fetch;
    *done = false;
    const int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? OCTET_OK : fail_file(d->err, f->path, "open");
    struct stat st = {0};
    enum octet_status status = OCTET_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        status = octet_fail(d->err, OCTET_EIO, "%s: is in the way: not a regular file", f->path);
    } else if (d->n_bytes != HTTP_UNKNOWN && (uint64_t)st.st_size != d->n_bytes) {
        status = octet_fail(d->err, OCTET_EIO,
                            "%s: is there with %lld bytes, expected %llu; move it away to fetch "
                            "it anew", f->path, (long long)st.st_size,
                            (unsigned long long)d->n_bytes);
    } else if (f->check_present && d->sha256[0] != '\0') {
        bool same;
        status = verify(d, fd, (uint64_t)st.st_size, &same);
        if (status == OCTET_OK && !same) {
            status = octet_fail(d->err, OCTET_EIO, "%s: is there, but its SHA-256 is not %s; move "
                                "it away to fetch it anew", f->path, d->sha256);
        }
    }
    close(fd);
    *done = status == OCTET_OK;
    return status;
}

/* ---- The partial file ------------------------------------------------------------------------ */

static enum octet_status truncate_part(struct download *d) {
    d->done = 0;
    return ftruncate(d->fd, 0) == 0 ? OCTET_OK : fail_file(d->err, d->part, "truncate");
}

/* Does the meta file say that the bytes are of the file we want? */
static bool meta_matches(const struct download *d) {
    char line[SHA256_DIGITS + 2] = "";
    FILE *const file = fopen(d->meta, "re");
    if (!file) return false;
    const bool read = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return read && d->sha256[0] != '\0' && strcmp(line, d->sha256) == 0;
}

static enum octet_status write_meta(const struct download *d) {
    FILE *const file = fopen(d->meta, "we");
    if (!file) return fail_file(d->err, d->meta, "create");
    const bool written = fprintf(file, "%s\n", d->sha256) > 0;
    return fclose(file) == 0 && written ? OCTET_OK : fail_file(d->err, d->meta, "write");
}

static enum octet_status check_space(const struct download *d) {
    struct statvfs fs;
    if (d->n_bytes == HTTP_UNKNOWN || fstatvfs(d->fd, &fs) != 0) return OCTET_OK;
    const uint64_t needed = d->n_bytes - d->done;
    const uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (available >= needed) return OCTET_OK;
    return octet_fail(d->err, OCTET_EIO, "%s: the disk has %.2f GB free, the download needs "
                      "%.2f GB", d->fetch->path, (double)available / 1e9, (double)needed / 1e9);
}

/* Opens and locks the partial file, and keeps what it holds if that belongs to the wanted one. */
static enum octet_status open_part(struct download *d) {
    d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (d->fd < 0) return fail_file(d->err, d->part, "create");
    if (flock(d->fd, LOCK_EX | LOCK_NB) != 0) {
        return octet_fail(d->err, OCTET_EIO, "%s: another octet pull is fetching this file",
                          d->fetch->path);
    }
    struct stat st;
    if (fstat(d->fd, &st) != 0) return fail_file(d->err, d->part, "read");
    d->done = (uint64_t)st.st_size;
    if (d->done > 0 && (!meta_matches(d) || d->done > d->n_bytes)) {
        note(d->fetch, "what is in %s belongs to another file; starting over", d->part);
        const enum octet_status status = truncate_part(d);
        if (status != OCTET_OK) return status;
    }
    if (d->done > 0) {
        note(d->fetch, "going on after %.1f MB of an earlier download", (double)d->done / 1e6);
    }
    const enum octet_status status = check_space(d);
    return status == OCTET_OK ? write_meta(d) : status;
}

/* ---- Downloading ----------------------------------------------------------------------------- */

static bool on_begin(void *user, const struct http_reply *reply) {
    struct download *const d = user;
    if (d->done == 0) return true;
    if (reply->status == 206) {
        const bool total_fits = d->n_bytes == HTTP_UNKNOWN || reply->range_total == d->n_bytes;
        if (reply->range_first == d->done && total_fits) return true;
        d->failed = true;
        octet_fail(d->err, OCTET_EIO, "%s: the server sent another part of the file than the one "
                   "after byte %llu", d->fetch->url, (unsigned long long)d->done);
        return false;
    }
    note(d->fetch, "the server can not go on in the middle; starting over");
    d->failed = truncate_part(d) != OCTET_OK;
    return !d->failed;
}

static bool on_body(void *user, const char *bytes, size_t n_bytes) {
    struct download *const d = user;
    if (n_bytes > d->n_bytes - d->done) {
        d->failed = true;
        octet_fail(d->err, OCTET_EIO, "%s: the server sends more than the %llu bytes it stated",
                   d->fetch->url, (unsigned long long)d->n_bytes);
        return false;
    }
    while (n_bytes > 0) {
        const ssize_t n = pwrite(d->fd, bytes, n_bytes, (off_t)d->done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            d->failed = true;
            fail_file(d->err, d->part, "write");
            return false;
        }
        bytes += n;
        n_bytes -= (size_t)n;
        d->done += (uint64_t)n;
    }
    return true;
}

/* One request for the rest. *AGAIN: more may come next time; err says what stopped it. */
static enum octet_status download_once(struct download *d, bool *again) {
    const struct http_request request = {
        .url = d->fetch->url, .offset = d->done, .timeout_seconds = d->fetch->timeout_seconds,
        .begin = on_begin, .body = on_body, .tick = tick, .user = d,
    };
    struct http_reply reply;
    const enum http_outcome outcome = http_perform(&request, &reply, d->err);
    *again = false;
    if (outcome == HTTP_STOPPED) return d->failed ? d->err->status : cancelled(d->err);
    if (outcome != HTTP_ANSWERED) {
        *again = outcome == HTTP_BROKEN;
        return d->err->status;
    }
    if (reply.status == 416) { // nothing after what we hold: it can not be that file
        *again = true;
        const uint64_t held = d->done;
        if (truncate_part(d) != OCTET_OK) return d->err->status;
        return octet_fail(d->err, OCTET_EIO, "%s: the server has nothing after byte %llu of %llu",
                          d->fetch->url, (unsigned long long)held, (unsigned long long)d->n_bytes);
    }
    if (reply.status > 299) {
        *again = is_temporary(reply.status);
        return fail_status(d->err, d->fetch->url, reply.status);
    }
    if (d->n_bytes == HTTP_UNKNOWN || d->done == d->n_bytes) return OCTET_OK;
    *again = true;
    return octet_fail(d->err, OCTET_EIO, "%s: the server sent %llu of %llu bytes", d->fetch->url,
                      (unsigned long long)d->done, (unsigned long long)d->n_bytes);
}

static enum octet_status download(struct download *d) {
    int32_t i = 0; // attempts in a row without progress
    while (d->n_bytes == HTTP_UNKNOWN || d->done < d->n_bytes) {
        const uint64_t before = d->done;
        bool again;
        const enum octet_status status = download_once(d, &again);
        if (status == OCTET_OK) return OCTET_OK;
        i = d->done > before ? 1 : i + 1;
        if (!again || i > d->fetch->n_retries) return status;
        note_retry(d, d->err->message, i);
        if (!back_off(d, i)) return cancelled(d->err);
    }
    return OCTET_OK;
}

/* ---- All together ---------------------------------------------------------------------------- */

static void forget_part(const struct download *d) {
    unlink(d->part);
    unlink(d->meta);
}

static void sync_folder(const char *path) {
    const char *const slash = strrchr(path, '/');
    char *const folder = slash ? mem_strdup(path, (size_t)(slash - path) + 1) : mem_strdup(".", 1);
    const int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    mem_free(folder);
}

static enum octet_status finish(struct download *d) {
    if (d->sha256[0] != '\0') {
        bool same;
        const enum octet_status status = verify(d, d->fd, d->done, &same);
        if (status != OCTET_OK) return status;
        if (!same) {
            forget_part(d);
            return octet_fail(d->err, OCTET_EIO, "%s: wrong SHA-256 after the download (expected "
                              "%s); removed it, try again", d->fetch->url, d->sha256);
        }
    }
    if (fsync(d->fd) != 0) return fail_file(d->err, d->part, "write");
    if (rename(d->part, d->fetch->path) != 0) return fail_file(d->err, d->fetch->path, "create");
    unlink(d->meta);
    sync_folder(d->fetch->path);
    return OCTET_OK;
}

static char *with_suffix(const char *path, const char *suffix) {
    const size_t n = strlen(path), cap = n + strlen(suffix) + 1;
    char *const joined = mem_alloc(cap);
    if (joined) snprintf(joined, cap, "%s%s", path, suffix);
    return joined;
}

enum octet_status fetch_file(struct fetch *fetch, struct octet_err *err) {
    struct download d = {.fetch = fetch, .err = err, .n_bytes = HTTP_UNKNOWN, .fd = -1};
    fetch->was_present = false;
    d.part = with_suffix(fetch->path, ".part");
    d.meta = with_suffix(fetch->path, ".part.meta");
    enum octet_status status = d.part && d.meta ? OCTET_OK : octet_fail_memory(err, "paths", 0);
    if (status == OCTET_OK) status = ask(&d);
    if (status == OCTET_OK) status = check_present(&d, &fetch->was_present);
    if (status == OCTET_OK && !fetch->was_present) {
        status = open_part(&d);
        if (status == OCTET_OK) status = download(&d);
        if (status == OCTET_OK) status = finish(&d);
    }
    if (d.fd >= 0) close(d.fd);
    mem_free(d.part);
    mem_free(d.meta);
    return status;
}
