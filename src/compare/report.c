/* From the store to files: reads the runs, makes the summary once, writes what was asked for. */
#include "compare/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/store.h"

/* ---- Files ----------------------------------------------------------------------------------- */

static enum octet_status write_all(FILE *file, const char *text, const char *path,
                                   struct octet_err *err) {
    if (fputs(text, file) >= 0) return OCTET_OK; // whoever closes or flushes FILE sees the rest
    return octet_fail(err, OCTET_EIO, "%.300s: %s", path, strerror(errno));
}

/* Under a name of its own first, so that PATH is never half a report. */
static enum octet_status write_file(const char *path, const char *text, struct octet_err *err) {
    const size_t cap = strlen(path) + 8;
    char *const part = mem_alloc(cap);
    if (!part) return octet_fail_memory(err, "path", cap);
    snprintf(part, cap, "%s.part", path);
    FILE *const file = fopen(part, "wbe");
    enum octet_status status;
    if (file) {
        status = write_all(file, text, path, err);
        if (fclose(file) != 0 && status == OCTET_OK) {
            status = octet_fail(err, OCTET_EIO, "%.300s: %s", path, strerror(errno));
        }
        if (status == OCTET_OK && rename(part, path) != 0) {
            status = octet_fail(err, OCTET_EIO, "%.300s: %s", path, strerror(errno));
        }
        if (status != OCTET_OK) unlink(part);
    } else {
        status = octet_fail(err, OCTET_EIO, "%.300s: %s", path, strerror(errno));
    }
    mem_free(part);
    return status;
}

/* Takes over TEXT. */
static enum octet_status write_report(const char *path, char *text, struct octet_err *err) {
    const enum octet_status status =
        text ? write_file(path, text, err) : octet_fail_memory(err, "report", 0);
    mem_free(text);
    return status;
}

static char *document_text(const struct summary *summary) {
    char *const text =
        json_dumps(summary->document, JSON_INDENT(1) | JSON_REAL_PRECISION(9) | JSON_ENSURE_ASCII);
    char *const copy = text ? mem_strdup(text, strlen(text)) : NULL;
    free(text); // jansson's
    return copy;
}

/* ---- Targets --------------------------------------------------------------------------------- */

static enum octet_status print_summary(const struct summary *summary, bool json, FILE *out,
                                       struct octet_err *err) {
    char *const text = json ? report_json_line(summary)
                            : report_table(summary, isatty(fileno(out)) && !getenv("NO_COLOR"));
    enum octet_status status =
        text ? write_all(out, text, "standard output", err) : octet_fail_memory(err, "report", 0);
    if (status == OCTET_OK && json) status = write_all(out, "\n", "standard output", err);
    mem_free(text);
    return status;
}

static enum octet_status write_targets(const struct summary *summary,
                                       const struct report_targets *targets, FILE *out,
                                       struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    if (targets->html) status = write_report(targets->html, report_page(summary), err);
    if (targets->markdown && status == OCTET_OK) {
        status = write_report(targets->markdown, report_markdown_summary(summary), err);
    }
    if (targets->csv && status == OCTET_OK) {
        status = write_report(targets->csv, report_csv_rows(summary), err);
    }
    if (targets->document && status == OCTET_OK) {
        status = write_report(targets->document, document_text(summary), err);
    }
    if (status == OCTET_OK) status = print_summary(summary, targets->json, out, err);
    return status;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static enum octet_status newest_run(struct store *store, int64_t *run, struct octet_err *err) {
    json_t *list;
    enum octet_status status = store_list(store, &list, err);
    if (status != OCTET_OK) return status;
    const size_t n = json_array_size(list);
    *run = json_integer_value(json_object_get(json_array_get(list, n - 1), "id"));
    json_decref(list);
    return n > 0 ? OCTET_OK : octet_fail(err, OCTET_EARG, "the store has no runs yet");
}

static enum octet_status read_runs(struct store *store, const int64_t *runs, size_t n,
                                   json_t **joined, struct octet_err *err) {
    json_t **const documents = mem_array(n, sizeof *documents);
    if (!documents) return octet_fail_memory(err, "runs", n);
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < n && status == OCTET_OK; i++) {
        for (size_t k = 0; k < i; k++) {
            if (runs[k] == runs[i]) {
                status = octet_fail(err, OCTET_EARG, "run %lld is named twice", (long long)runs[i]);
            }
        }
        if (status == OCTET_OK) status = store_export(store, runs[i], &documents[i], err);
    }
    if (status == OCTET_OK) status = summary_join(documents, n, joined, err);
    for (size_t i = 0; i < n; i++) json_decref(documents[i]);
    mem_free(documents);
    return status;
}

enum octet_status report_runs(const char *store_path, const int64_t *runs, size_t n,
                              const struct report_targets *targets, FILE *out,
                              struct octet_err *err) {
    struct store *store;
    struct summary summary;
    json_t *document = NULL;
    int64_t newest = 0;
    if (store_path && access(store_path, F_OK) != 0) { // opening would make a new one
        return octet_fail(err, OCTET_EIO, "%.300s: %s", store_path, strerror(errno));
    }
    enum octet_status status = store_open(store_path, &store, err);
    if (status != OCTET_OK) return status;
    if (!runs) {
        status = newest_run(store, &newest, err);
        runs = &newest;
        n = 1;
    }
    if (status == OCTET_OK) status = read_runs(store, runs, n, &document, err);
    store_close(store);
    if (status == OCTET_OK) status = summary_make(document, &summary, err);
    json_decref(document);
    if (status != OCTET_OK) return status;
    status = write_targets(&summary, targets, out, err);
    summary_free(&summary);
    return status;
}

enum octet_status report_run(const char *store_path, int64_t run,
                             const struct report_targets *targets, FILE *out,
                             struct octet_err *err) {
    return report_runs(store_path, &run, 1, targets, out, err);
}
