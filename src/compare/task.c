/* Opening a set of tasks: finding its files, reading them (also gzipped), and telling its name and
 * version. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"
#include "compare/embed.h"
#include "compare/json_text.h"
#include "compare/pulled.h"
#include "compare/task_impl.h"

/* A packed file may unfold to at most this: a few times the largest published set. */
enum { MAX_FILE_BYTES = 64 << 20 };

static const struct {
    const char *name;
    struct embedded (*text)(void);
} builtins[] = {{"core", embedded_tasks_core}, {"article", embedded_tasks_article}};

enum { N_BUILTINS = sizeof builtins / sizeof *builtins };

const char *task_builtin(size_t i) { return i < N_BUILTINS ? builtins[i].name : NULL; }

/* A set being read. */
struct loader {
    struct octet_err *err;
    json_t *documents; // those bound so far, held for the set
    json_t *ids;       // an object, to find the same id twice
    struct task *tasks;
    size_t n_tasks, cap;
    uint64_t hash;
    const char *license, *source; // of tasks that do not say
};

/* ---- Documents ------------------------------------------------------------------------------- */

static enum octet_status add_document(struct loader *l, const json_t *document,
                                      const struct task_place *place) {
    struct task task;
    enum octet_status status = task_bind(document, place, &task, l->err);
    if (status != OCTET_OK) return status;
    if (json_object_get(l->ids, task.id)) {
        status =
            octet_fail(l->err, OCTET_EFORMAT, "%s: row %zu: field 'id': \"%.60s\" is there twice",
                       place->file, place->row, task.id);
    } else if (json_object_set_new(l->ids, task.id, json_true()) != 0 ||
               json_array_append(l->documents, (json_t *)document) != 0 ||
               !mem_reserve((void **)&l->tasks, &l->cap, l->n_tasks + 1, sizeof *l->tasks)) {
        status = octet_fail_memory(l->err, "tasks", 0);
    }
    if (status == OCTET_OK)
        l->tasks[l->n_tasks++] = task;
    else
        task_unbind(&task);
    return status;
}

/* One document or an array of them. */
static enum octet_status add_documents(struct loader *l, const json_t *documents,
                                       const char *file) {
    struct task_place place = {file, 1};
    if (!json_is_array(documents)) return add_document(l, documents, &place);
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < json_array_size(documents) && status == OCTET_OK; i++) {
        place.row = i + 1;
        status = add_document(l, json_array_get(documents, i), &place);
    }
    return status;
}

static enum octet_status add_rows(struct loader *l, const char *text, const char *file) {
    struct task_place place = {file, 0};
    enum octet_status status = OCTET_OK;
    while (*text && status == OCTET_OK) {
        const size_t n = strcspn(text, "\n");
        place.row++;
        if (strspn(text, " \t\r") < n) {
            json_t *document;
            status = task_row_parse(text, n, &place, &document, l->err);
            if (status == OCTET_OK) {
                status = add_document(l, document, &place);
                json_decref(document);
            }
        }
        text += n + (text[n] == '\n');
    }
    return status;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

enum file_kind { NO_TASKS, YAML, JSON, ROWS };

/* By the name, with or without ".gz". */
static enum file_kind kind_of_file(const char *path) {
    static const struct {
        const char *end;
        enum file_kind kind;
    } ends[] = {{".yaml", YAML}, {".yml", YAML}, {".json", JSON}, {".jsonl", ROWS}};
    char end[16];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(end, sizeof end, "%s.gz", ends[i].end);
        if (ends_with(path, ends[i].end) || ends_with(path, end)) return ends[i].kind;
    }
    return NO_TASKS;
}

static enum octet_status read_file(const char *path, struct buffer *out, struct octet_err *err) {
    gzFile file = gzopen(path, "rb");
    if (!file) return octet_fail(err, OCTET_EIO, "%s: %s", path, strerror(errno));
    enum octet_status status =
        buffer_append(out, "", 0) ? OCTET_OK : octet_fail_memory(err, path, 0);
    while (status == OCTET_OK) {
        char piece[1 << 16];
        const int n = gzread(file, piece, sizeof piece);
        if (n < 0) {
            int number;
            status = octet_fail(err, OCTET_EIO, "%s: %s", path, gzerror(file, &number));
        }
        if (n <= 0) break;
        if (out->n + (size_t)n > MAX_FILE_BYTES)
            status = octet_fail(err, OCTET_EFORMAT, "%s: more than 64 MiB of tasks", path);
        else if (memchr(piece, '\0', (size_t)n))
            status = octet_fail(err, OCTET_EFORMAT, "%s: holds NUL bytes: no text", path);
        else if (!buffer_append(out, piece, (size_t)n))
            status = octet_fail_memory(err, path, out->n + (size_t)n);
    }
    // Only closing tells that the file ended in the middle of packed data.
    if (gzclose(file) != Z_OK && status == OCTET_OK)
        status = octet_fail(err, OCTET_EFORMAT, "%s: ends too early", path);
    return status;
}

static enum octet_status add_text(struct loader *l, const char *text, size_t n_bytes,
                                  const char *file, enum file_kind kind) {
    l->hash = hash_bytes(l->hash, text, n_bytes);
    if (kind == ROWS) return add_rows(l, text, file);
    json_t *documents = NULL;
    enum octet_status status = OCTET_OK;
    if (kind == YAML) {
        status = task_yaml_parse(text, n_bytes, file, &documents, l->err);
    } else if (!(documents = json_text_parse(text, n_bytes))) {
        status =
            octet_fail(l->err, OCTET_EFORMAT, "%s: expected tasks as JSON, found no JSON", file);
    }
    if (status == OCTET_OK) status = add_documents(l, documents, file);
    json_decref(documents);
    return status;
}

static enum octet_status add_file(struct loader *l, const char *path) {
    const enum file_kind kind = kind_of_file(path);
    if (kind == NO_TASKS)
        return octet_fail(l->err, OCTET_EUNSUPPORTED,
                          "%s: expected .yaml, .json or .jsonl (each also .gz)", path);
    struct buffer text = {NULL, 0, 0};
    enum octet_status status = read_file(path, &text, l->err);
    if (status == OCTET_OK) status = add_text(l, text.bytes, text.n, path, kind);
    buffer_free(&text);
    return status;
}

static int is_task_file(const struct dirent *entry) {
    return entry->d_name[0] != '.' && kind_of_file(entry->d_name) != NO_TASKS;
}

/* Those of its files that can be tasks, by name. */
static enum octet_status add_folder(struct loader *l, const char *path) {
    struct dirent **entries;
    const int n = scandir(path, &entries, is_task_file, alphasort);
    if (n < 0) return octet_fail(l->err, OCTET_EIO, "%s: %s", path, strerror(errno));
    enum octet_status status = OCTET_OK;
    for (int i = 0; i < n; i++) {
        struct buffer file = {NULL, 0, 0};
        if (status == OCTET_OK) {
            if (buffer_append_text(&file, path) && buffer_append_text(&file, "/") &&
                buffer_append_text(&file, entries[i]->d_name))
                status = add_file(l, file.bytes);
            else
                status = octet_fail_memory(l->err, "path", 0);
        }
        buffer_free(&file);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static enum octet_status add_path(struct loader *l, const char *path) {
    struct stat stat_of;
    if (stat(path, &stat_of) == 0 && S_ISDIR(stat_of.st_mode)) return add_folder(l, path);
    return add_file(l, path);
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* "dir/HumanEval.jsonl.gz" is "humaneval". */
static char *name_of(const char *what) {
    size_t n = strlen(what);
    while (n > 1 && what[n - 1] == '/') n--;
    size_t begin = n;
    while (begin > 0 && what[begin - 1] != '/') begin--;
    char *const name = mem_strdup(what + begin, n - begin);
    if (!name) return NULL;
    if (kind_of_file(name) != NO_TASKS) {
        if (ends_with(name, ".gz")) name[strlen(name) - 3] = '\0';
        *strrchr(name, '.') = '\0';
    }
    for (char *c = name; *c; c++) *c = (char)tolower((unsigned char)*c);
    return name;
}

static enum octet_status add_what(struct loader *l, const char *what) {
    for (size_t i = 0; i < N_BUILTINS; i++) {
        if (strcmp(what, builtins[i].name) != 0) continue;
        const struct embedded text = builtins[i].text();
        l->license = "MIT";
        l->source = "octet";
        return add_text(l, text.begin, (size_t)(text.end - text.begin), what, YAML);
    }
    char path[4096];
    struct stat stat_of;
    if (stat(what, &stat_of) != 0 && pulled_find(what, path, sizeof path)) return add_path(l, path);
    if (stat(what, &stat_of) != 0 && known_set_find(what))
        return octet_fail(l->err, OCTET_EIO, "%s: not here yet; `octet pull %s` fetches it", what,
                          what);
    if (stat(what, &stat_of) != 0)
        return octet_fail(
            l->err, OCTET_EIO,
            "%s: neither a built-in set (core, article), nor one that was pulled, nor "
            "a file or folder; `octet pull --list` prints the sets it knows",
            what);
    return add_path(l, what);
}

/* ---- The set --------------------------------------------------------------------------------- */

/* What all tasks say of themselves, OTHERWISE where they say nothing, "several" where they differ.
 */
static char *common_text(const json_t *documents, const char *key, const char *otherwise) {
    const char *common = NULL;
    for (size_t i = 0; i < json_array_size(documents); i++) {
        const char *const text = json_text_get(json_array_get(documents, i), key);
        const char *const own = text ? text : otherwise;
        if (common && strcmp(common, own) != 0) {
            common = "several";
            break;
        }
        common = own;
    }
    return common ? mem_strdup(common, strlen(common)) : NULL;
}

static enum octet_status finish(struct loader *l, const char *what, struct task_set *out) {
    if (l->n_tasks == 0) return octet_fail(l->err, OCTET_EFORMAT, "%s: no tasks in it", what);
    char version[17];
    snprintf(version, sizeof version, "%016llx", (unsigned long long)l->hash);
    *out = (struct task_set){
        .name = name_of(what),
        .version = mem_strdup(version, 16),
        .license = common_text(l->documents, "license", l->license),
        .source = common_text(l->documents, "source", l->source),
        .tasks = l->tasks,
        .n_tasks = l->n_tasks,
        .owner = l->documents,
    };
    if (out->name && out->version && out->license && out->source) return OCTET_OK;
    mem_free(out->name);
    mem_free(out->version);
    mem_free(out->license);
    mem_free(out->source);
    return octet_fail_memory(l->err, "tasks", 0);
}

static void free_tasks(const struct task *tasks, size_t n_tasks, json_t *documents) {
    for (size_t i = 0; i < n_tasks; i++) task_unbind(&tasks[i]);
    mem_free((void *)tasks);
    json_decref(documents);
}

enum octet_status task_set_open(const char *what, struct task_set *out, struct octet_err *err) {
    struct loader l = {.err = err,
                       .documents = json_array(),
                       .ids = json_object(),
                       .hash = HASH_INIT,
                       .license = "unknown",
                       .source = "unknown"};
    enum octet_status status =
        l.documents && l.ids ? add_what(&l, what) : octet_fail_memory(err, "tasks", 0);
    if (status == OCTET_OK) status = finish(&l, what, out);
    if (status != OCTET_OK) {
        free_tasks(l.tasks, l.n_tasks, l.documents);
        *out = (struct task_set){0};
    }
    json_decref(l.ids);
    return status;
}

void task_set_close(struct task_set *set) {
    free_tasks(set->tasks, set->n_tasks, set->owner);
    mem_free(set->name);
    mem_free(set->version);
    mem_free(set->license);
    mem_free(set->source);
    *set = (struct task_set){0};
}
