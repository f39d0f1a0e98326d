/* Where API keys come from: the environment, or one file that only its owner may read. They are
 * never printed, recorded or handed to other programs, and wiped when no longer needed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/provider.h"

enum { KEYS_FILE_BYTES = 1 << 16, KEY_BYTES = 4096 };

void provider_wipe(char *secret) {
    if (secret) explicit_bzero(secret, strlen(secret));
    mem_free(secret);
}

/* A key is one line of visible ASCII: anything else could not be sent in a header. */
static enum octet_status copy_key(const char *name, const char *value, size_t n_bytes, char **key,
                                  struct octet_err *err) {
    while (n_bytes > 0 && strchr(" \t\r\n", value[n_bytes - 1])) n_bytes--;
    for (size_t i = 0; i < n_bytes; i++) {
        if (value[i] > ' ' && value[i] <= '~') continue;
        return octet_fail(err, OCTET_EARG, "%s: the key holds a character that no key has", name);
    }
    if (n_bytes == 0 || n_bytes > KEY_BYTES) {
        return octet_fail(err, OCTET_EARG, "%s: the key is %s", name,
                          n_bytes == 0 ? "empty" : "too long");
    }
    *key = mem_strdup(value, n_bytes);
    return *key ? OCTET_OK : octet_fail_memory(err, "the key", n_bytes);
}

/* $XDG_CONFIG_HOME/octet/keys, else ~/.config/octet/keys; false where neither variable is set. */
static bool keys_path(char *path, size_t cap) {
    const char *const config = getenv("XDG_CONFIG_HOME"), *const home = getenv("HOME");
    int n = -1;
    if (config && config[0] == '/') {
        n = snprintf(path, cap, "%s/octet/keys", config);
    } else if (home && home[0] == '/') {
        n = snprintf(path, cap, "%s/.config/octet/keys", home);
    }
    return n > 0 && (size_t)n < cap;
}

/* Refuses a file that others can read or write: a key in it is no secret. */
static enum octet_status check_mode(const char *path, int file, struct octet_err *err) {
    struct stat info;
    if (fstat(file, &info) != 0) {
        return octet_fail(err, OCTET_EIO, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) return octet_fail(err, OCTET_EARG, "%s: not a file", path);
    if ((info.st_mode & 0177) != 0) {
        return octet_fail(err, OCTET_EARG, "%s: mode is %03o, must be 600: chmod 600 %s", path,
                          (unsigned)(info.st_mode & 0777), path);
    }
    if (info.st_uid != geteuid()) {
        return octet_fail(err, OCTET_EARG, "%s: belongs to another user", path);
    }
    return OCTET_OK;
}

/* *N_BYTES of TEXT (cap); 0 where there is no such file. */
static enum octet_status read_keys(const char *path, char *text, size_t cap, size_t *n_bytes,
                                   struct octet_err *err) {
    *n_bytes = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 && (errno == ENOENT || errno == ENOTDIR)) return OCTET_OK;
    if (file < 0) return octet_fail(err, OCTET_EIO, "%s: %s", path, strerror(errno));
    enum octet_status status = check_mode(path, file, err);
    while (status == OCTET_OK && *n_bytes < cap) {
        const ssize_t n = read(file, text + *n_bytes, cap - *n_bytes);
        if (n < 0) status = octet_fail(err, OCTET_EIO, "%s: %s", path, strerror(errno));
        if (n <= 0) break;
        *n_bytes += (size_t)n;
    }
    if (status == OCTET_OK && *n_bytes == cap) {
        status = octet_fail(err, OCTET_EARG, "%s: more than %zu bytes", path, cap - 1);
    }
    close(file);
    return status;
}

/* The value of the line "NAME=value" (blanks around the '=' allowed), or NULL. */
static const char *find_line(const char *text, size_t n_bytes, const char *name, size_t *n_value) {
    const char *const end = text + n_bytes;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        const char *p = text;
        while (p < stop && (*p == ' ' || *p == '\t')) p++;
        const size_t n_name = strlen(name);
        if ((size_t)(stop - p) > n_name && memcmp(p, name, n_name) == 0) {
            p += n_name;
            while (p < stop && (*p == ' ' || *p == '\t')) p++;
            if (p < stop && *p == '=') {
                p++;
                while (p < stop && (*p == ' ' || *p == '\t')) p++;
                *n_value = (size_t)(stop - p);
                return p;
            }
        }
        text = stop + 1;
    }
    return NULL;
}

static enum octet_status find_in_file(const char *path, const char *name, char **key,
                                      struct octet_err *err) {
    char *const text = mem_alloc(KEYS_FILE_BYTES + 1);
    if (!text) return octet_fail_memory(err, "the keys", KEYS_FILE_BYTES);
    size_t n_bytes, n_value;
    enum octet_status status = read_keys(path, text, KEYS_FILE_BYTES + 1, &n_bytes, err);
    if (status == OCTET_OK) {
        const char *const value = find_line(text, n_bytes, name, &n_value);
        if (value) status = copy_key(name, value, n_value, key, err);
    }
    explicit_bzero(text, KEYS_FILE_BYTES + 1);
    mem_free(text);
    return status;
}

enum octet_status provider_find_key(const char *name, char **key, struct octet_err *err) {
    *key = NULL;
    const char *const value = getenv(name);
    if (value && value[0]) return copy_key(name, value, strlen(value), key, err);
    char path[4096] = "the file of keys";
    if (keys_path(path, sizeof path)) {
        const enum octet_status status = find_in_file(path, name, key, err);
        if (status != OCTET_OK || *key) return status;
    }
    return octet_fail(err, OCTET_EARG, "no key: set %s, or add a line %s=... to %s (mode 600)",
                      name, name, path);
}
