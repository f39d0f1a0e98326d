/* The file: opening, its schema and migrations, and runs. Answers must outlive a crash or a power
 * cut right after they were paid for, hence synchronous=FULL: the write-ahead log is on disk before
 * a put returns. */
#include "compare/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/store_impl.h"

enum { APPLICATION_ID = 0x6f637474, BUSY_MS = 20000 };

/* migrations[i] takes a file from version i to i + 1. A row that was ever released is never
 * changed; a new schema is a new row. docs/store.md explains the columns. */
static const char *const migrations[] = {
    "CREATE TABLE run (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL,"
    " task_set TEXT NOT NULL, set_version TEXT NOT NULL, license TEXT, source TEXT,"
    " started TEXT NOT NULL, finished INTEGER NOT NULL DEFAULT 0, settings TEXT NOT NULL);"
    "CREATE INDEX run_key ON run (key);"
    "CREATE TABLE model (run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,"
    " position INTEGER NOT NULL, name TEXT NOT NULL, info TEXT NOT NULL,"
    " PRIMARY KEY (run, name)) WITHOUT ROWID;"
    "CREATE TABLE task (run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,"
    " position INTEGER NOT NULL, id TEXT NOT NULL, language TEXT, shape TEXT NOT NULL,"
    " prompt TEXT NOT NULL, suffix TEXT, entry TEXT, reference TEXT, excluded TEXT,"
    " PRIMARY KEY (run, id)) WITHOUT ROWID;"
    "CREATE TABLE answer (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, model TEXT NOT NULL,"
    " task TEXT NOT NULL, sample INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 1,"
    " text BLOB NOT NULL, finish_reason TEXT, served_model TEXT, date TEXT,"
    " prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER,"
    " reasoning_tokens INTEGER, tokens_estimated INTEGER NOT NULL,"
    " lost_prompt_tokens INTEGER NOT NULL, lost_completion_tokens INTEGER NOT NULL,"
    " ttft_s REAL, total_s REAL, gaps BLOB, retries INTEGER NOT NULL, error TEXT,"
    " UNIQUE (run, model, task, sample),"
    " FOREIGN KEY (run, model) REFERENCES model ON DELETE CASCADE,"
    " FOREIGN KEY (run, task) REFERENCES task ON DELETE CASCADE);"
    "CREATE TABLE judged (answer INTEGER PRIMARY KEY REFERENCES answer ON DELETE CASCADE,"
    " state TEXT NOT NULL, cost REAL, currency TEXT, has_code INTEGER NOT NULL,"
    " truncated INTEGER NOT NULL, parses INTEGER NOT NULL, has_entry INTEGER NOT NULL,"
    " units INTEGER NOT NULL, hollow_units INTEGER NOT NULL, code_bytes INTEGER NOT NULL,"
    " comment_bytes INTEGER NOT NULL, dropped_bytes INTEGER NOT NULL,"
    " prose_before_bytes INTEGER NOT NULL, prose_after_bytes INTEGER NOT NULL,"
    " length_ratio REAL, spans TEXT NOT NULL, placeholders TEXT NOT NULL);"
    "CREATE TABLE verdict (answer INTEGER NOT NULL REFERENCES judged ON DELETE CASCADE,"
    " reading TEXT NOT NULL CHECK (reading IN ('lenient', 'strict')), base TEXT NOT NULL,"
    " plus TEXT, same_process INTEGER NOT NULL, tests INTEGER NOT NULL, passed INTEGER NOT NULL,"
    " detail TEXT, output BLOB, seconds REAL, layers INTEGER NOT NULL,"
    " PRIMARY KEY (answer, reading)) WITHOUT ROWID;",
};

enum { SCHEMA_VERSION = sizeof migrations / sizeof migrations[0] };

/* ---- Statements ------------------------------------------------------------------------------ */

enum octet_status store_fail(const struct store *store, int rc, struct octet_err *err) {
    const char *const path = store->path;
    switch (rc & 0xff) {
    case SQLITE_NOMEM: return octet_fail(err, OCTET_EMEM, "%.300s: out of memory", path);
    case SQLITE_NOTADB: return octet_fail(err, OCTET_EFORMAT, "%.300s: is no store of runs", path);
    case SQLITE_CORRUPT:
        return octet_fail(err, OCTET_EFORMAT, "%.300s: the store is damaged", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return octet_fail(err, OCTET_EIO, "%.300s: in use by another program", path);
    default: return octet_fail(err, OCTET_EIO, "%.300s: %.150s", path, sqlite3_errmsg(store->db));
    }
}

void query_open(struct query *query, struct store *store, const char *sql) {
    *query = (struct query){.store = store};
    query->rc = sqlite3_prepare_v2(store->db, sql, -1, &query->statement, NULL);
}

static void bound(struct query *query, int rc) {
    if (query->rc == SQLITE_OK) query->rc = rc;
    query->done = false;
}

void query_int(struct query *query, int64_t value) {
    bound(query, sqlite3_bind_int64(query->statement, ++query->n_bound, value));
}

void query_real(struct query *query, double value) { // SQLite itself makes NAN a NULL
    bound(query, sqlite3_bind_double(query->statement, ++query->n_bound, value));
}

void query_text(struct query *query, const char *text) {
    bound(query, sqlite3_bind_text(query->statement, ++query->n_bound, text, -1, SQLITE_TRANSIENT));
}

void query_blob(struct query *query, const void *bytes, size_t n_bytes) {
    bound(query, sqlite3_bind_blob64(query->statement, ++query->n_bound, n_bytes > 0 ? bytes : "",
                                     n_bytes, SQLITE_TRANSIENT));
}

void query_json(struct query *query, const json_t *value) {
    char *const text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (!text) bound(query, SQLITE_NOMEM);
    query_text(query, text);
    free(text); // jansson's
}

bool query_step(struct query *query) {
    if (query->rc != SQLITE_OK || query->done) return false;
    const int rc = sqlite3_step(query->statement);
    if (rc == SQLITE_ROW) return true;
    query->done = true;
    if (rc != SQLITE_DONE) query->rc = rc;
    return false;
}

void query_again(struct query *query) {
    while (query_step(query)) continue;
    if (query->statement) sqlite3_reset(query->statement);
    query->n_bound = 0;
}

enum octet_status query_close(struct query *query, struct octet_err *err) {
    while (query_step(query)) continue;
    const enum octet_status status =
        query->rc == SQLITE_OK ? OCTET_OK : store_fail(query->store, query->rc, err);
    sqlite3_finalize(query->statement);
    query->statement = NULL;
    return status;
}

const char *row_text(const struct query *query, int column) {
    const unsigned char *const text = sqlite3_column_text(query->statement, column);
    return text ? (const char *)text : "";
}

double row_real(const struct query *query, int column) {
    if (sqlite3_column_type(query->statement, column) == SQLITE_NULL) return NAN;
    return sqlite3_column_double(query->statement, column);
}

static enum octet_status execute(const struct store *store, const char *sql,
                                 struct octet_err *err) {
    const int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? OCTET_OK : store_fail(store, rc, err);
}

enum octet_status store_begin_change(struct store *store, struct octet_err *err) {
    return execute(store, "BEGIN IMMEDIATE", err);
}

enum octet_status store_end_change(struct store *store, enum octet_status status,
                                   struct octet_err *err) {
    if (status == OCTET_OK) status = execute(store, "COMMIT", err);
    // Where SQLite has rolled back by itself this fails, which changes nothing.
    if (status != OCTET_OK) sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* A copy of PATH or the user's own store; NULL when out of memory or, with *nowhere, when the
 * environment names no folder. */
static char *choose_path(const char *path, bool *nowhere) {
    if (path) return mem_strdup(path, strlen(path));
    const char *const data = getenv("XDG_DATA_HOME");
    const char *const home = getenv("HOME");
    const bool has_data = data && data[0] == '/';
    if (!has_data && (!home || home[0] != '/')) {
        *nowhere = true;
        return NULL;
    }
    const char *const folder = has_data ? data : home;
    const size_t cap = strlen(folder) + 40;
    char *const chosen = mem_alloc(cap);
    if (chosen) {
        snprintf(chosen, cap, "%s%s/octet/runs.db", folder, has_data ? "" : "/.local/share");
    }
    return chosen;
}

static void make_folders(char *path) {
    for (char *c = path + 1; *path && *c; c++) {
        if (*c != '/') continue;
        *c = '\0';
        mkdir(path, 0755); // a failure shows when the file is opened
        *c = '/';
    }
}

static enum octet_status read_number(struct store *store, const char *sql, int64_t *out,
                                     struct octet_err *err) {
    struct query query;
    query_open(&query, store, sql);
    if (query_step(&query)) *out = sqlite3_column_int64(query.statement, 0);
    return query_close(&query, err);
}

static enum octet_status check_owner(struct store *store, int64_t version, struct octet_err *err) {
    int64_t owner = 0, n_tables = 0;
    enum octet_status status = read_number(store, "PRAGMA application_id", &owner, err);
    if (status == OCTET_OK) {
        status = read_number(store, "SELECT count(*) FROM sqlite_schema", &n_tables, err);
    }
    if (status != OCTET_OK) return status;
    if (owner != APPLICATION_ID && (owner != 0 || version != 0 || n_tables != 0)) {
        return octet_fail(err, OCTET_EFORMAT, "%.300s: is the database of another program",
                          store->path);
    }
    if (version < 0 || version > SCHEMA_VERSION) {
        return octet_fail(
            err, OCTET_EUNSUPPORTED,
            "%.300s: has schema version %lld, this octet knows up to %d: update octet", store->path,
            (long long)version, SCHEMA_VERSION);
    }
    return OCTET_OK;
}

/* The version is read within the change, so that two programs do not migrate at once. */
static enum octet_status migrate(struct store *store, struct octet_err *err) {
    int64_t version = 0;
    enum octet_status status = store_begin_change(store, err);
    if (status != OCTET_OK) return status;
    status = read_number(store, "PRAGMA user_version", &version, err);
    if (status == OCTET_OK) status = check_owner(store, version, err);
    for (; status == OCTET_OK && version < SCHEMA_VERSION; version++) {
        char mark[96];
        snprintf(mark, sizeof mark, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                 APPLICATION_ID, (int)version + 1);
        status = execute(store, migrations[version], err);
        if (status == OCTET_OK) status = execute(store, mark, err);
    }
    return store_end_change(store, status, err);
}

static enum octet_status set_up(struct store *store, struct octet_err *err) {
    sqlite3_busy_timeout(store->db, BUSY_MS);
    sqlite3_extended_result_codes(store->db, 1);
    int64_t version = 0;
    enum octet_status status = read_number(store, "PRAGMA user_version", &version, err);
    if (status == OCTET_OK) status = check_owner(store, version, err); // before anything is written
    if (status == OCTET_OK) {
        status = execute(store,
                         "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                         "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF",
                         err);
    }
    if (status == OCTET_OK && version < SCHEMA_VERSION) status = migrate(store, err);
    return status;
}

enum octet_status store_open(const char *path, struct store **out, struct octet_err *err) {
    *out = NULL;
    bool nowhere = false;
    struct store *const store = mem_alloc(sizeof *store);
    if (store) store->path = choose_path(path, &nowhere);
    if (nowhere) {
        mem_free(store);
        return octet_fail(err, OCTET_EARG, "no folder for runs: HOME is not set, name a store");
    }
    if (!store || !store->path) {
        mem_free(store);
        return octet_fail_memory(err, "store", sizeof *store);
    }
    if (!path) make_folders(store->path);
    const int rc =
        sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    const enum octet_status status =
        rc == SQLITE_OK ? set_up(store, err) : store_fail(store, rc, err);
    if (status != OCTET_OK) {
        store_close(store);
        return status;
    }
    *out = store;
    return OCTET_OK;
}

void store_close(struct store *store) {
    if (!store) return;
    sqlite3_close(store->db);
    mem_free(store->path);
    mem_free(store);
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static enum octet_status insert_models(struct store *store, int64_t run, const json_t *models,
                                       struct octet_err *err) {
    struct query query;
    query_open(&query, store, "INSERT INTO model (run, position, name, info) VALUES (?, ?, ?, ?)");
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model) {
        const char *const name = json_string_value(json_object_get(model, "name"));
        if (!name) {
            query_close(&query, err);
            return octet_fail(err, OCTET_EARG, "model %zu of the run has no name", i + 1);
        }
        query_int(&query, run);
        query_int(&query, (int64_t)i);
        query_text(&query, name);
        query_json(&query, model);
        query_again(&query);
        if (query.rc == SQLITE_CONSTRAINT_PRIMARYKEY) {
            query.rc = SQLITE_OK;
            query_close(&query, err);
            return octet_fail(err, OCTET_EARG, "two models of the run are named '%.100s'", name);
        }
    }
    return query_close(&query, err);
}

static enum octet_status insert_run(struct store *store, const struct store_run *wanted,
                                    int64_t *id, struct octet_err *err) {
    struct query query;
    query_open(&query, store,
               "INSERT INTO run (key, task_set, set_version, started, settings)"
               " VALUES (?, ?, ?, ?, ?)");
    query_text(&query, wanted->key);
    query_text(&query, wanted->set);
    query_text(&query, wanted->set_version);
    query_text(&query, wanted->started);
    query_json(&query, wanted->settings);
    enum octet_status status = query_close(&query, err);
    *id = sqlite3_last_insert_rowid(store->db);
    if (status == OCTET_OK) status = insert_models(store, *id, wanted->models, err);
    return status;
}

enum octet_status store_begin(struct store *store, const struct store_run *wanted,
                              struct store_run *out, struct octet_err *err) {
    *out = (struct store_run){0};
    enum octet_status status = store_begin_change(store, err);
    if (status != OCTET_OK) return status;
    struct query query;
    int64_t id = 0;
    query_open(&query, store,
               "SELECT id FROM run WHERE key = ? AND NOT finished ORDER BY id DESC LIMIT 1");
    query_text(&query, wanted->key);
    const bool resumed = query_step(&query);
    if (resumed) id = sqlite3_column_int64(query.statement, 0);
    status = query_close(&query, err);
    if (status == OCTET_OK && !resumed) status = insert_run(store, wanted, &id, err);
    status = store_end_change(store, status, err);
    if (status == OCTET_OK) status = store_get_run(store, id, out, err);
    out->resumed = resumed && status == OCTET_OK;
    return status;
}

enum octet_status store_finish(struct store *store, int64_t run, struct octet_err *err) {
    struct query query;
    query_open(&query, store, "UPDATE run SET finished = 1 WHERE id = ?");
    query_int(&query, run);
    return query_close(&query, err);
}

static enum octet_status read_models(struct store *store, int64_t run, json_t **out,
                                     struct octet_err *err) {
    json_t *const models = *out = json_array();
    struct query query;
    query_open(&query, store, "SELECT info FROM model WHERE run = ? ORDER BY position");
    query_int(&query, run);
    while (query_step(&query)) {
        if (json_array_append_new(models, json_loads(row_text(&query, 0), 0, NULL)) != 0) {
            query.rc = SQLITE_CORRUPT;
        }
    }
    return query_close(&query, err);
}

static char *copy_column(const struct query *query, int column) {
    const char *const text = row_text(query, column);
    return mem_strdup(text, strlen(text));
}

enum octet_status store_get_run(struct store *store, int64_t run, struct store_run *out,
                                struct octet_err *err) {
    *out = (struct store_run){.id = run};
    struct query query;
    query_open(&query, store,
               "SELECT key, task_set, set_version, started, finished, settings FROM run"
               " WHERE id = ?");
    query_int(&query, run);
    const bool found = query_step(&query);
    if (found) {
        out->key = copy_column(&query, 0);
        out->set = copy_column(&query, 1);
        out->set_version = copy_column(&query, 2);
        out->started = copy_column(&query, 3);
        out->finished = sqlite3_column_int(query.statement, 4) != 0;
        out->settings = json_loads(row_text(&query, 5), 0, NULL);
        if (!out->settings) query.rc = SQLITE_CORRUPT;
        if (!out->key || !out->set || !out->set_version || !out->started) query.rc = SQLITE_NOMEM;
    }
    enum octet_status status = query_close(&query, err);
    if (status == OCTET_OK && !found) {
        status = octet_fail(err, OCTET_EARG, "%.300s: there is no run %lld", store->path,
                            (long long)run);
    }
    if (status == OCTET_OK) status = read_models(store, run, &out->models, err);
    if (status != OCTET_OK) store_run_free(out);
    return status;
}

void store_run_free(struct store_run *run) {
    mem_free(run->key);
    mem_free(run->set);
    mem_free(run->set_version);
    mem_free(run->started);
    json_decref(run->models);
    json_decref(run->settings);
    *run = (struct store_run){0};
}

/* ---- Listing --------------------------------------------------------------------------------- */

static json_t *list_row(const struct query *query) {
    return json_pack("{s:I, s:s, s:s, s:b, s:I, s:I, s:I, s:o}", "id",
                     (json_int_t)sqlite3_column_int64(query->statement, 0), "set",
                     row_text(query, 1), "started", row_text(query, 2), "finished",
                     sqlite3_column_int(query->statement, 3), "tasks",
                     (json_int_t)sqlite3_column_int64(query->statement, 4), "answers",
                     (json_int_t)sqlite3_column_int64(query->statement, 5), "judged",
                     (json_int_t)sqlite3_column_int64(query->statement, 6), "models",
                     json_loads(row_text(query, 7), 0, NULL));
}

enum octet_status store_list(struct store *store, json_t **out, struct octet_err *err) {
    json_t *const list = json_array();
    struct query query;
    query_open(&query, store,
               "SELECT id, task_set, started, finished,"
               " (SELECT count(*) FROM task WHERE run = r.id),"
               " (SELECT count(*) FROM answer WHERE run = r.id AND error IS NULL),"
               " (SELECT count(*) FROM judged JOIN answer a ON a.id = judged.answer"
               "  WHERE a.run = r.id),"
               " (SELECT json_group_array(name) FROM"
               "  (SELECT name FROM model WHERE run = r.id ORDER BY position))"
               " FROM run r ORDER BY id");
    while (query_step(&query)) {
        if (json_array_append_new(list, list_row(&query)) != 0) query.rc = SQLITE_CORRUPT;
    }
    const enum octet_status status = query_close(&query, err);
    *out = list;
    if (status != OCTET_OK) {
        json_decref(list);
        *out = NULL;
    }
    return status;
}
