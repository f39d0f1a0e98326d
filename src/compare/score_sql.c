/* Whether SQL can be read at all, by asking SQLite, which also runs it later: there is no grammar
 * for it. Nothing is executed, and names are not looked at: the database asked is empty. */
#include <sqlite3.h>
#include <string.h>

#include "base/mem.h"
#include "compare/score_impl.h"

/* SELECT is refused after it was parsed and before it is expanded, which may take forever; pragmas
 * act while they are parsed. */
static int refuse(void *user, int action, const char *a, const char *b, const char *c,
                  const char *d) {
    (void)user, (void)a, (void)b, (void)c, (void)d;
    return action == SQLITE_SELECT || action == SQLITE_PRAGMA || action == SQLITE_ATTACH
               ? SQLITE_DENY
               : SQLITE_OK;
}

static bool is_statement(sqlite3 *db, const char *text) {
    static const char *const complaints[] = {"syntax error", "incomplete input",
                                             "unrecognized token"};
    sqlite3_stmt *statement = NULL;
    bool ok = true;
    if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) == SQLITE_ERROR) {
        const char *message = sqlite3_errmsg(db);
        for (size_t i = 0; i < sizeof complaints / sizeof complaints[0]; i++)
            ok &= !strstr(message, complaints[i]);
    }
    sqlite3_finalize(statement);
    return ok;
}

/* A line of sqlite3's own, ".mode list": its statements are not found here. */
static bool has_dot_command(const char *text, size_t n) {
    for (size_t begin = 0; begin < n; begin = line_end(text, begin, n))
        if (text[begin] == '.') return true;
    return false;
}

/* More statements than any honest answer has are not looked at. */
enum { MAX_STATEMENTS = 256 };

bool sql_parses(const char *text, size_t n_bytes, bool *failed) {
    if (n_bytes > SYNTAX_MAX_BYTES || has_dot_command(text, n_bytes)) return true;
    char *copy = mem_strdup(text, n_bytes);
    sqlite3 *db = NULL;
    *failed |= !copy;
    bool ok = true, opened = copy && sqlite3_open(":memory:", &db) == SQLITE_OK;
    if (opened) sqlite3_set_authorizer(db, refuse, NULL);
    int n_tries = 0;
    for (size_t begin = 0, i = 0; i < n_bytes && opened && ok && n_tries < MAX_STATEMENTS; i++) {
        if (text[i] != ';' && i + 1 < n_bytes) continue;
        n_tries++;
        copy[i + 1] = '\0';
        if (i + 1 == n_bytes || sqlite3_complete(copy + begin)) {
            ok = is_statement(db, copy + begin);
            begin = i + 1;
        }
        if (i + 1 < n_bytes) copy[i + 1] = text[i + 1];
    }
    sqlite3_close(db);
    mem_free(copy);
    return ok;
}
