/* The store: one SQLite file of runs, answers, readings and verdicts, from which every report can
 * be made again. docs/store.md has the schema. Several programs may use one file at once; within a
 * program one thread at a time. */
#ifndef OCTET_COMPARE_STORE_H
#define OCTET_COMPARE_STORE_H

#include <jansson.h>

#include "compare/grade.h"
#include "compare/provider.h"
#include "compare/score.h"

struct store;

/* PATH NULL: $XDG_DATA_HOME/octet/runs.db. Migrates older schemas; refuses newer ones. */
enum octet_status store_open(const char *path, struct store **out, struct octet_err *err);
void store_close(struct store *store);

/* A run: one set of tasks put to some models. SETTINGS: prompt template, sampler, seeds, limits,
 * host, engine version, sandbox layers, price rows: whatever "how measured" shows. KEY: hash of set
 * version, models and settings; an unfinished run of the same key is continued. */
struct store_run {
    int64_t id;
    char *key, *set, *set_version, *started; // ISO 8601
    bool finished, resumed;
    json_t *models;   // array of {"name","kind","model","host","price": row or null, ...}
    json_t *settings; // object
};
enum octet_status store_begin(struct store *store, const struct store_run *wanted,
                              struct store_run *out, struct octet_err *err);
enum octet_status store_finish(struct store *store, int64_t run, struct octet_err *err);
enum octet_status store_get_run(struct store *store, int64_t run, struct store_run *out,
                                struct octet_err *err);
void store_run_free(struct store_run *run);
/* All runs, oldest first: array of {"id","set","started","finished","tasks","answers","judged",
 * "models":[names]}; the caller's. */
enum octet_status store_list(struct store *store, json_t **out, struct octet_err *err);

/* The tasks of a run, kept so that a report needs no task file. Those of a resumed run stay. */
enum octet_status store_put_tasks(struct store *store, int64_t run, const struct task_set *set,
                                  struct octet_err *err);

/* One sample of one model on one task. On disk when this returns: a paid answer is never lost. It
 * takes the place of an earlier one with an error; OCTET_EARG where there is one without. */
enum octet_status store_put_answer(struct store *store, int64_t run, const char *model,
                                   const char *task, int sample, const struct reply *reply,
                                   struct octet_err *err);
/* Whether there is an answer without error already; *OUT (reply_free) is filled if so. */
enum octet_status store_get_answer(struct store *store, int64_t run, const char *model,
                                   const char *task, int sample, bool *found, struct reply *out,
                                   struct octet_err *err);

/* STRICT: verdict of the strictly extracted code, NULL if that is the same. COST: NAN: unpriced. */
struct judged {
    enum funnel state;
    const struct reading *reading;
    const struct verdict *verdict, *strict; // NULL: not run
    double cost;
    const char *currency; // or NULL
};
enum octet_status store_put_judged(struct store *store, int64_t run, const char *model,
                                   const char *task, int sample, const struct judged *judged,
                                   struct octet_err *err);

/* Everything of a run as one JSON document {"run":{...},"tasks":[...],"answers":[...]}, the input
 * of every report; the caller's. docs/store.md describes it. Text is UTF-8: bytes that are none
 * become U+FFFD, and the offsets of spans and placeholders count bytes of that text. */
enum octet_status store_export(struct store *store, int64_t run, json_t **out,
                               struct octet_err *err);

#endif
