/* What the parts of the store share: prepared statements that tell a failure once, at the end. */
#ifndef OCTET_COMPARE_STORE_IMPL_H
#define OCTET_COMPARE_STORE_IMPL_H

#include <sqlite3.h>

#include "compare/store.h"

struct store {
    sqlite3 *db;
    char *path;
};

/* The failure at hand, as one line that names the file. */
enum octet_status store_fail(const struct store *store, int rc, struct octet_err *err);

/* One statement. The first failure, of whatever call, makes all later calls do nothing and is what
 * query_close returns. Parameters are bound in their order; what is bound must live until the next
 * step. */
struct query {
    struct store *store;
    sqlite3_stmt *statement;
    int rc; // SQLITE_OK, or the first failure
    int n_bound;
    bool done; // until a parameter is bound anew
};

void query_open(struct query *query, struct store *store, const char *sql);
void query_int(struct query *query, int64_t value);
void query_real(struct query *query, double value);     // NAN becomes NULL
void query_text(struct query *query, const char *text); // NULL becomes NULL
void query_blob(struct query *query, const void *bytes, size_t n_bytes);
void query_json(struct query *query, const json_t *value); // as text; NULL: no memory
/* True for a row, false past the last one and after a failure. */
bool query_step(struct query *query);
/* Runs to the end and makes the statement ready to be bound anew. */
void query_again(struct query *query);
enum octet_status query_close(struct query *query, struct octet_err *err);

/* Columns of the row at hand, from 0. Text is NUL-terminated, "" for NULL, and lives until the next
 * step. */
const char *row_text(const struct query *query, int column);
double row_real(const struct query *query, int column); // NAN for NULL

/* A change of several statements: all of it or, after a failure, nothing. STATUS: how the
 * statements ended. */
enum octet_status store_begin_change(struct store *store, struct octet_err *err);
enum octet_status store_end_change(struct store *store, enum octet_status status,
                                   struct octet_err *err);

#endif
