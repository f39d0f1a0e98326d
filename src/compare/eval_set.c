/* Reading the rows of choice and number sets. */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/eval.h"
#include "compare/json_lines.h"
#include "compare/pulled.h"

enum { MAX_OPTIONS = 26 };

/* All rows as parsed, which own every string; and the arrays made from them. */
struct owner {
    json_t *rows;         // array
    const char **options; // (n_options)
    char **contexts;      // (n_rows) made here, NULL where not needed
    size_t n_options, options_cap;
};

/* ---- Numbers ------------------------------------------------------------------------------- */

/* A number at P ("1,234.50", "-3"): its end, with the value in OUT; NULL if none begins here. */
static const char *read_number(const char *p, double *out) {
    char digits[64];
    size_t n = 0;
    if (*p == '-') digits[n++] = *p++;
    if (!isdigit((unsigned char)*p)) return NULL;
    for (; n < sizeof digits - 1; p++) {
        bool separator = *p == ',' && isdigit((unsigned char)p[1]);
        bool point = *p == '.' && isdigit((unsigned char)p[1]);
        if (!isdigit((unsigned char)*p) && !separator && !point) break;
        if (!separator) digits[n++] = *p;
    }
    digits[n] = '\0';
    *out = strtod(digits, NULL);
    return p;
}

double eval_last_number(const char *text) {
    double last = NAN;
    const char *mark = strstr(text, "####");
    for (const char *p = mark ? mark + 4 : text; *p;) {
        const char *end = read_number(p, &last);
        if (end && mark) break; // what follows the answer is no part of it
        p = end ? end : p + 1;
    }
    return last;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static enum octet_status bad_row(const char *path, size_t i, const char *field,
                                 const char *expected, struct octet_err *err) {
    return octet_fail(err, OCTET_EFORMAT, "%s: row %zu: '%s': expected %s", path, i + 1, field,
                      expected);
}

/* The query, and the word that asks for the answer: "...?\nAnswer:". */
static char *make_context(const char *query) {
    static const char asking[] = "\nAnswer:";
    size_t n = strlen(query);
    while (n > 0 && strchr(" \t\r\n", query[n - 1])) n--;
    char *context = mem_alloc(n + sizeof asking);
    if (!context) return NULL;
    memcpy(context, query, n);
    memcpy(context + n, asking, sizeof asking);
    return context;
}

static enum octet_status read_options(const char *path, size_t i, const json_t *list,
                                      const char *field, const json_t *gold, struct owner *owner,
                                      struct eval_row *row, struct octet_err *err) {
    size_t n = json_array_size(list);
    if (n < 2 || n > MAX_OPTIONS) return bad_row(path, i, field, "2 to 26 texts", err);
    if (!json_is_integer(gold) || json_integer_value(gold) < 0 ||
        (size_t)json_integer_value(gold) >= n)
        return bad_row(path, i, "gold", "the index of one of them", err);
    // Room was made for all rows beforehand, so that the array does not move.
    row->options = owner->options + owner->n_options;
    row->n_options = n;
    row->gold = (size_t)json_integer_value(gold);
    for (size_t j = 0; j < n; j++) {
        const char *text = json_string_value(json_array_get(list, j));
        if (!text) return bad_row(path, i, field, "only texts", err);
        owner->options[owner->n_options++] = text;
    }
    return OCTET_OK;
}

static enum octet_status read_row(const char *path, size_t i, struct eval_set *set,
                                  struct owner *owner, struct octet_err *err) {
    const json_t *json = json_array_get(owner->rows, i), *gold = json_object_get(json, "gold");
    struct eval_row *row = &set->rows[i];
    *row = (struct eval_row){0};
    if (set->kind == EVAL_CONTEXTS) {
        row->continuation = json_string_value(json_object_get(json, "continuation"));
        if (!row->continuation) return bad_row(path, i, "continuation", "a text", err);
        return read_options(path, i, json_object_get(json, "context_options"), "context_options",
                            gold, owner, row, err);
    }
    const char *field = set->kind == EVAL_CHOICES ? "query" : "question";
    const char *query = json_string_value(json_object_get(json, field));
    if (!query) return bad_row(path, i, field, "a text", err);
    if (set->kind == EVAL_NUMBER) {
        const char *answer = json_string_value(json_object_get(json, "answer"));
        row->number = answer ? eval_last_number(answer) : NAN;
        if (isnan(row->number)) return bad_row(path, i, "answer", "a text with a number", err);
        row->context = query;
        return OCTET_OK;
    }
    row->context = owner->contexts[i] = make_context(query);
    if (!row->context) return octet_fail_memory(err, "context", strlen(query));
    return read_options(path, i, json_object_get(json, "choices"), "choices", gold, owner, row,
                        err);
}

static enum octet_status find_kind(const char *path, const json_t *row, enum eval_kind *kind,
                                   struct octet_err *err) {
    if (json_object_get(row, "choices"))
        *kind = EVAL_CHOICES;
    else if (json_object_get(row, "context_options"))
        *kind = EVAL_CONTEXTS;
    else if (json_object_get(row, "question"))
        *kind = EVAL_NUMBER;
    else
        return octet_fail(err, OCTET_EFORMAT,
                          "%s: row 1: expected choices, context_options or question; sets of code "
                          "tasks are for octet compare",
                          path);
    return OCTET_OK;
}

static enum octet_status read_rows(const char *path, struct eval_set *set, struct owner *owner,
                                   struct octet_err *err) {
    size_t n = json_array_size(owner->rows), n_options = 0;
    if (n == 0) return octet_fail(err, OCTET_EFORMAT, "%s: no rows", path);
    enum octet_status status = find_kind(path, json_array_get(owner->rows, 0), &set->kind, err);
    if (status != OCTET_OK) return status;
    const char *list = set->kind == EVAL_CHOICES ? "choices" : "context_options";
    for (size_t i = 0; i < n; i++)
        n_options += json_array_size(json_object_get(json_array_get(owner->rows, i), list));
    set->rows = mem_array(n, sizeof *set->rows);
    owner->options = mem_array(n_options + 1, sizeof *owner->options);
    owner->contexts = mem_array(n, sizeof *owner->contexts);
    if (!set->rows || !owner->options || !owner->contexts)
        return octet_fail_memory(err, "rows", n * sizeof *set->rows);
    set->n_rows = n;
    for (size_t i = 0; i < n && status == OCTET_OK; i++)
        status = read_row(path, i, set, owner, err);
    return status;
}

enum octet_status eval_set_open(const char *what, struct eval_set *out, struct octet_err *err) {
    *out = (struct eval_set){0};
    char pulled[4096];
    const bool is_file = access(what, F_OK) == 0;
    if (!is_file && !pulled_find(what, pulled, sizeof pulled) && known_set_find(what))
        return octet_fail(err, OCTET_EIO, "%s: not here yet; `octet pull %s` fetches it", what,
                          what);
    const char *path = !is_file && pulled_find(what, pulled, sizeof pulled) ? pulled : what;
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    struct owner *owner = mem_alloc(sizeof *owner);
    out->owner = owner;
    out->name = mem_strdup(base, strcspn(base, "."));
    if (!owner || !out->name || !(owner->rows = json_array())) {
        eval_set_close(out);
        return octet_fail_memory(err, "set", sizeof *owner);
    }
    enum octet_status status = json_lines_read(path, owner->rows, err);
    if (status == OCTET_OK) status = read_rows(path, out, owner, err);
    if (status != OCTET_OK) eval_set_close(out);
    return status;
}

void eval_set_close(struct eval_set *set) {
    struct owner *owner = set->owner;
    if (owner) {
        for (size_t i = 0; owner->contexts && i < set->n_rows; i++) mem_free(owner->contexts[i]);
        mem_free(owner->contexts);
        mem_free(owner->options);
        json_decref(owner->rows);
    }
    mem_free(owner);
    mem_free(set->rows);
    mem_free(set->name);
    *set = (struct eval_set){0};
}
