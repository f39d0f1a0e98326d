/* Rows of published sets, recognised by their fields: HumanEval and its infilling variants,
 * EvalPlus (HumanEval+, MBPP+), HumanEval-X in six languages. Each becomes a document like those of
 * octet's own files. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/status.h"
#include "compare/json_text.h"
#include "compare/task_impl.h"

struct row {
    json_t *fields, *document;
    const struct task_place *place;
    struct octet_err *err;
};

const char *task_kind_of(const json_t *value) {
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "a mapping";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    case JSON_NULL: break;
    }
    return "null";
}

static enum octet_status out_of_memory(const struct row *row) {
    return octet_fail_memory(row->err, "task", 0);
}

/* A text without NUL bytes. */
static enum octet_status field(const struct row *row, const char *key, const char **out) {
    const json_t *const value = json_object_get(row->fields, key);
    *out = json_string_value(value);
    if (*out && strlen(*out) == json_string_length(value)) return OCTET_OK;
    return octet_fail(row->err, OCTET_EFORMAT, "%s: row %zu: field '%s': expected a text, found %s",
                      row->place->file, row->place->row, key,
                      *out ? "one with a NUL byte" : task_kind_of(value));
}

static enum octet_status put(const struct row *row, const char *key, json_t *value) {
    if (json_object_set_new(row->document, key, value) == 0) return OCTET_OK;
    return out_of_memory(row);
}

static enum octet_status put_text(const struct row *row, const char *key, const char *text) {
    return put(row, key, json_string(text));
}

/* The texts one after the other; NULL ends them. */
static enum octet_status put_joined(const struct row *row, const char *key,
                                    const char *const *texts) {
    struct buffer joined = {NULL, 0, 0};
    bool done = true;
    for (; done && *texts; texts++) done = buffer_append_text(&joined, *texts);
    const enum octet_status status =
        done ? put(row, key, json_stringn(joined.bytes, joined.n)) : out_of_memory(row);
    buffer_free(&joined);
    return status;
}

static enum octet_status copy_field(const struct row *row, const char *from, const char *to) {
    const char *text;
    const enum octet_status status = field(row, from, &text);
    return status == OCTET_OK ? put_text(row, to, text) : status;
}

/* Items that no answer can or no model should be judged by. Those of MBPP+ were found by comparing
 * many models' answers (crux-eval/eval-arena, its readme). */
static enum octet_status put_excluded(const struct row *row) {
    static const char contradicts[] = "its tests contradict its text";
    static const char unsolved[] = "its own reference fails its tests";
    static const struct {
        const char *id, *why;
    } bad[] = {
        {"Mbpp/459", contradicts}, {"Mbpp/581", contradicts},    {"Mbpp/102", contradicts},
        {"Mbpp/615", contradicts}, {"Mbpp/558", contradicts},    {"Mbpp/559", contradicts},
        {"Mbpp/87", contradicts},  {"JavaScript/112", unsolved}, {"JavaScript/155", unsolved}};
    const char *id;
    enum octet_status status = field(row, "task_id", &id);
    for (size_t i = 0; i < sizeof bad / sizeof *bad && status == OCTET_OK; i++)
        if (strcmp(id, bad[i].id) == 0) status = put_text(row, "excluded", bad[i].why);
    return status;
}

/* Reference: PROMPT and what the set says comes after it. */
static enum octet_status put_start(const struct row *row, const char *language) {
    const char *prompt, *solution, *suffix = "";
    enum octet_status status = copy_field(row, "task_id", "id");
    if (status == OCTET_OK) status = put_text(row, "language", language);
    if (status == OCTET_OK) status = copy_field(row, "prompt", "prompt");
    if (status == OCTET_OK) status = field(row, "prompt", &prompt);
    if (status == OCTET_OK) status = field(row, "canonical_solution", &solution);
    const bool hole = json_object_get(row->fields, "suffix") != NULL;
    if (status == OCTET_OK && hole) status = field(row, "suffix", &suffix);
    if (status == OCTET_OK && hole) status = put_text(row, "suffix", suffix);
    if (status == OCTET_OK) status = put_excluded(row);
    if (status == OCTET_OK) status = put_text(row, "shape", hole ? "hole" : "code");
    if (status != OCTET_OK) return status;
    return put_joined(row, "reference", (const char *const[]){prompt, solution, suffix, NULL});
}

static enum octet_status set_info(const struct row *row, const char *license, const char *source) {
    const enum octet_status status = put_text(row, "license", license);
    return status == OCTET_OK ? put_text(row, "source", source) : status;
}

/* ---- HumanEval ------------------------------------------------------------------------------- */

static enum octet_status convert_humaneval(const struct row *row) {
    enum octet_status status = put_start(row, "python");
    if (status == OCTET_OK) status = copy_field(row, "entry_point", "entry");
    if (status == OCTET_OK) status = copy_field(row, "test", "test");
    if (status != OCTET_OK) return status;
    return json_object_get(row->fields, "suffix")
               ? set_info(row, "MIT", "openai/human-eval-infilling")
               : set_info(row, "MIT", "openai/human-eval");
}

/* ---- EvalPlus -------------------------------------------------------------------------------- */

/* The inputs stay as they are written: they hold numbers that JSON readers other than Python's
 * refuse or round. */
static enum octet_status convert_evalplus(const struct row *row, const char *line, size_t n_bytes) {
    static const char *const lists[] = {"base_input", "plus_input"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *const inputs = json_object_get(row->fields, lists[i]);
        if (!json_is_array(inputs))
            return octet_fail(row->err, OCTET_EFORMAT,
                              "%s: row %zu: field '%s': expected a list, found %s",
                              row->place->file, row->place->row, lists[i], task_kind_of(inputs));
    }
    const json_t *const atol = json_object_get(row->fields, "atol");
    if (!json_is_number(atol))
        return octet_fail(row->err, OCTET_EFORMAT,
                          "%s: row %zu: field 'atol': expected a number, found %s",
                          row->place->file, row->place->row, task_kind_of(atol));
    const char *id = "";
    enum octet_status status = put_start(row, "python");
    if (status == OCTET_OK) status = field(row, "task_id", &id);
    if (status == OCTET_OK) status = copy_field(row, "entry_point", "entry");
    const bool mbpp = strncmp(id, "Mbpp/", 5) == 0;
    json_t *inputs = json_pack("{s:s, s:o}", "dataset", mbpp ? "mbpp" : "humaneval", "row",
                               json_text(line, n_bytes));
    if (status == OCTET_OK)
        status = put(row, "evalplus", inputs);
    else
        json_decref(inputs);
    if (status != OCTET_OK) return status;
    return set_info(row, "Apache-2.0",
                    mbpp ? "evalplus/mbppplus_release" : "evalplus/humanevalplus_release");
}

/* ---- HumanEval-X ----------------------------------------------------------------------------- */

static const char *const cpp_includes =
    "#include <stdlib.h>\n#include <algorithm>\n#include <math.h>\n#include <stdio.h>\n"
    "#include <vector>\n#include <string>\n#include <climits>\n#include <cstring>\n"
    "#include <iostream>\n";

/* What stands before the first '(' of the last line that has one; "" if there is no name. */
static enum octet_status put_entry(const struct row *row) {
    const char *declaration, *paren = NULL;
    const enum octet_status status = field(row, "declaration", &declaration);
    if (status != OCTET_OK) return status;
    for (const char *line = declaration; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const size_t n = strcspn(line, "(\n");
        if (line[n] == '(') paren = line + n;
    }
    if (!paren) return OCTET_OK;
    const char *end = paren;
    while (end > declaration && strchr(" =", end[-1])) end--;
    const char *begin = end;
    while (begin > declaration && (isalnum((unsigned char)begin[-1]) || strchr("_$", begin[-1])))
        begin--;
    return begin < end ? put(row, "entry", json_stringn(begin, (size_t)(end - begin))) : OCTET_OK;
}

/* The crates of a declaration are not there; tasks that need one do not compile. */
static enum octet_status put_rust_uses(const struct row *row, json_t *append) {
    const char *line;
    const enum octet_status status = field(row, "declaration", &line);
    if (status != OCTET_OK) return status;
    struct buffer uses = {NULL, 0, 0};
    bool done = buffer_append_text(&uses, "#![allow(unused, deprecated)]\n");
    while (done && *line) {
        const size_t n = strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n');
        if (strncmp(line, "use std::", 9) == 0) done = buffer_append(&uses, line, n);
        line += n;
    }
    done = done && json_object_set_new(append, "before", json_stringn(uses.bytes, uses.n)) == 0;
    buffer_free(&uses);
    return done ? OCTET_OK : out_of_memory(row);
}

static enum octet_status put_append(const struct row *row, const char *language) {
    const char *test, *before = strcmp(language, "cpp") == 0 ? cpp_includes : "";
    enum octet_status status = field(row, "test", &test);
    if (status == OCTET_OK && strcmp(language, "go") == 0)
        status = field(row, "test_setup", &before);
    if (status != OCTET_OK) return status;
    json_t *const append = json_pack("{s:s, s:s}", "before", before, "test", test);
    status = put(row, "append", append);
    if (status == OCTET_OK && strcmp(language, "rust") == 0) status = put_rust_uses(row, append);
    return status;
}

/* Languages that can call across processes get tests in another one. */
static enum octet_status convert_humaneval_x(const struct row *row) {
    static const struct {
        const char *prefix, *language;
    } languages[] = {{"Python/", "python"}, {"JavaScript/", "javascript"},
                     {"CPP/", "cpp"},       {"Java/", "java"},
                     {"Go/", "go"},         {"Rust/", "rust"}};
    const char *id, *language = NULL;
    enum octet_status status = field(row, "task_id", &id);
    if (status != OCTET_OK) return status;
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
        if (strncasecmp(id, languages[i].prefix, strlen(languages[i].prefix)) == 0)
            language = languages[i].language;
    if (!language)
        return octet_fail(row->err, OCTET_EFORMAT,
                          "%s: row %zu: field 'task_id': expected a language and a number such as "
                          "\"JavaScript/0\", found \"%.40s\"",
                          row->place->file, row->place->row, id);
    status = put_start(row, language);
    if (status == OCTET_OK && strcmp(language, "rust") != 0) status = put_entry(row);
    const bool apart = strcmp(language, "python") == 0 || strcmp(language, "javascript") == 0;
    if (status == OCTET_OK)
        status = apart ? copy_field(row, "test", "test") : put_append(row, language);
    if (status == OCTET_OK && apart) status = put(row, "calls_itself", json_true());
    return status == OCTET_OK ? set_info(row, "Apache-2.0", "THUDM/CodeGeeX") : status;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* Numbers that do not fit and Python's NaN and Infinity become blanks and a 0, outside of texts. */
static void tame_numbers(char *text, size_t n_bytes) {
    bool in_text = false;
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == '\\' && in_text) {
            i++;
        } else if (text[i] == '"') {
            in_text = !in_text;
        } else if (!in_text && (isdigit((unsigned char)text[i]) || strchr("-NI", text[i]))) {
            size_t n = 0;
            while (i + n < n_bytes &&
                   (isalnum((unsigned char)text[i + n]) || strchr("+-.", text[i + n])) &&
                   text[i + n] != '\0')
                n++;
            const bool is_big = n > 18 && !memchr(text + i, '.', n);
            if (is_big || memchr(text + i, 'N', n) || memchr(text + i, 'I', n)) {
                memset(text + i, ' ', n);
                text[i] = '0';
            }
            i += n - 1;
        }
    }
}

static enum octet_status no_object(const struct row *row) {
    const char *const found = row->fields ? task_kind_of(row->fields) : "no JSON";
    json_decref(row->fields);
    return octet_fail(row->err, OCTET_EFORMAT, "%s: row %zu: expected a JSON object, found %s",
                      row->place->file, row->place->row, found);
}

static enum octet_status parse_line(struct row *row, const char *line, size_t n_bytes) {
    char *const copy = mem_strdup(line, n_bytes);
    if (!copy) return octet_fail_memory(row->err, row->place->file, n_bytes);
    tame_numbers(copy, n_bytes);
    row->fields = json_text_parse(copy, n_bytes);
    mem_free(copy);
    return json_is_object(row->fields) ? OCTET_OK : no_object(row);
}

/* A row in octet's own format: its numbers are those of the tests and stay as they are. */
static enum octet_status parse_own(struct row *row, const char *line, size_t n_bytes) {
    json_decref(row->fields);
    row->fields = json_text_parse(line, n_bytes);
    return row->fields ? OCTET_OK : no_object(row);
}

static enum octet_status convert(const struct row *row, const char *line, size_t n_bytes) {
    if (json_object_get(row->fields, "base_input")) return convert_evalplus(row, line, n_bytes);
    if (json_object_get(row->fields, "declaration")) return convert_humaneval_x(row);
    if (json_object_get(row->fields, "canonical_solution")) return convert_humaneval(row);
    return octet_fail(row->err, OCTET_EFORMAT,
                      "%s: row %zu: field 'canonical_solution': expected a text, found nothing",
                      row->place->file, row->place->row);
}

enum octet_status task_row_parse(const char *line, size_t n_bytes, const struct task_place *place,
                                 json_t **out, struct octet_err *err) {
    struct row row = {.place = place, .err = err};
    enum octet_status status = parse_line(&row, line, n_bytes);
    if (status != OCTET_OK) return status;
    if (json_object_get(row.fields, "language")) {
        status = parse_own(&row, line, n_bytes);
        *out = status == OCTET_OK ? row.fields : NULL;
        return status;
    }
    row.document = json_object();
    status = row.document ? convert(&row, line, n_bytes) : out_of_memory(&row);
    json_decref(row.fields);
    if (status != OCTET_OK) json_decref(row.document);
    *out = status == OCTET_OK ? row.document : NULL;
    return status;
}
