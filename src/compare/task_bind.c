/* Checks the document of a task, whatever format it came from, and points a struct task into it.
 * The judges rely on what is checked here and look at nothing twice. */
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/task_impl.h"

enum kind {
    TEXT,
    LIST,
    MAPPING,
    NUMBER,
    INTEGER,
    BOOL,
    TEXTS,
    TEXT_MAP,
    INTEGERS,
    PATHS, // texts that name files of a box
    FILES, // such names and the contents
    ANY,
};

struct field {
    const char *name;
    enum kind kind;
    bool required;
};

static const struct field task_fields[] = {
    {"id", TEXT, true},
    {"language", TEXT, true},
    {"prompt", TEXT, true},
    {"entry", TEXT, false},
    {"shape", TEXT, false},
    {"suffix", TEXT, false},
    {"reference", TEXT, false},
    {"wrong", TEXTS, false},
    {"limits", MAPPING, false},
    {"files", FILES, false},
    {"excluded", TEXT, false},
    {"license", TEXT, false},
    {"source", TEXT, false},
    {"rubric", TEXT, false},
    {"needs", TEXTS, false},
    {"calls", LIST, false},
    {"cases", LIST, false},
    {"setup", TEXT, false},
    {"ordered", BOOL, false},
    {"run", TEXTS, false},
    {"check", TEXT, false},
    {"generate", TEXT, false},
    {"inputs", PATHS, false},
    {"keep", PATHS, false},
    {"sizes", INTEGERS, false},
    {"sizes_full", INTEGERS, false},
    {"extrapolate", INTEGER, false},
    {"test", TEXT, false},
    {"calls_itself", BOOL, false},
    {"evalplus", TEXT_MAP, false},
    {"append", TEXT_MAP, false},
    {NULL, ANY, false},
};

static const struct field limit_fields[] = {
    {"time", NUMBER, false},
    {"memory", NUMBER, false},
    {"disk", NUMBER, false},
    {NULL, ANY, false},
};

static const struct field call_fields[] = {
    {"args", LIST, true},    {"expect", ANY, false}, {"raises", TEXT, false},
    {"atol", NUMBER, false}, {NULL, ANY, false},
};

static const struct field case_fields[] = {
    {"args", TEXTS, false},
    {"stdin", TEXT, false},
    {"files", FILES, false},
    {"expect", TEXT, false},
    {"expect_lines", TEXTS, false},
    {"unordered", BOOL, false},
    {"expect_files", FILES, false},
    {"status", INTEGER, false},
    {"setup_more", TEXT, false},
    {"ordered", BOOL, false},
    {NULL, ANY, false},
};

/* ---- Checking -------------------------------------------------------------------------------- */

struct check {
    const struct task_place *place;
    struct octet_err *err;
};

static bool is_text(const json_t *value) {
    return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value);
}

static bool all_are(const json_t *value, bool (*is)(const json_t *)) {
    size_t i;
    json_t *item;
    if (!json_is_array(value)) return false;
    json_array_foreach(value, i, item) if (!is(item)) return false;
    return true;
}

static bool is_path(const json_t *value) {
    return is_text(value) && box_path_ok(json_string_value(value));
}

static bool is_integer(const json_t *value) { return json_is_integer(value); }

static bool is_text_map(const json_t *value) {
    const char *key;
    json_t *item;
    if (!json_is_object(value)) return false;
    json_object_foreach((json_t *)value, key, item) if (!is_text(item)) return false;
    return true;
}

static bool is_files(const json_t *value) {
    const char *key;
    json_t *item;
    if (!is_text_map(value)) return false;
    json_object_foreach((json_t *)value, key, item) if (!box_path_ok(key)) return false;
    return true;
}

static bool is_of_kind(const json_t *value, enum kind kind) {
    switch (kind) {
    case TEXT: return is_text(value);
    case LIST: return json_is_array(value);
    case MAPPING: return json_is_object(value);
    case NUMBER: return json_is_number(value) && json_number_value(value) >= 0;
    case INTEGER: return json_is_integer(value);
    case BOOL: return json_is_boolean(value);
    case TEXTS: return all_are(value, is_text);
    case TEXT_MAP: return is_text_map(value);
    case INTEGERS: return all_are(value, is_integer);
    case PATHS: return all_are(value, is_path);
    case FILES: return is_files(value);
    case ANY: break;
    }
    return true;
}

static const char *kind_name(enum kind kind) {
    static const char *const names[] = {"a text",
                                        "a list",
                                        "a mapping",
                                        "a number of at least 0",
                                        "an integer",
                                        "true or false",
                                        "a list of texts",
                                        "a mapping of texts",
                                        "a list of integers",
                                        "a list of paths beneath the folder",
                                        "a mapping of texts by paths beneath the folder",
                                        "anything"};
    return names[kind];
}

/* A number that stands where a text must is nearly always one that lacks its quotes. */
static enum octet_status wrong_kind(const struct check *c, const char *name, enum kind kind,
                                    const json_t *found) {
    const bool is_list = kind == TEXTS || kind == INTEGERS || kind == PATHS;
    const bool is_map = kind == TEXT_MAP || kind == FILES;
    const bool other = (is_list && json_is_array(found)) || (is_map && json_is_object(found));
    const char *const what = other                                   ? "one with other items"
                             : json_is_string(found) && kind == TEXT ? "one with a NUL byte"
                                                                     : task_kind_of(found);
    return octet_fail(c->err, OCTET_EFORMAT, "%s: row %zu: field '%s': expected %s, found %s",
                      c->place->file, c->place->row, name, kind_name(kind), what);
}

/* All fields known, of their kinds, and the required ones there. */
static enum octet_status check_fields(const struct check *c, const json_t *object,
                                      const struct field *fields) {
    const char *key;
    json_t *value;
    for (const struct field *f = fields; f->name; f++)
        if (f->required && !json_object_get(object, f->name))
            return wrong_kind(c, f->name, f->kind, NULL);
    json_object_foreach((json_t *)object, key, value) {
        const struct field *f = fields;
        while (f->name && strcmp(f->name, key) != 0) f++;
        if (!f->name)
            return octet_fail(c->err, OCTET_EFORMAT, "%s: row %zu: field '%.60s' is not known",
                              c->place->file, c->place->row, key);
        if (!is_of_kind(value, f->kind)) return wrong_kind(c, key, f->kind, value);
    }
    return OCTET_OK;
}

static enum octet_status need(const struct check *c, bool holds, const char *what) {
    if (holds) return OCTET_OK;
    return octet_fail(c->err, OCTET_EFORMAT, "%s: row %zu: %s", c->place->file, c->place->row,
                      what);
}

static enum octet_status check_list(const struct check *c, const json_t *list, const char *name,
                                    const struct field *fields) {
    size_t i;
    json_t *item;
    if (json_array_size(list) == 0) return wrong_kind(c, name, LIST, NULL);
    json_array_foreach(list, i, item) {
        if (!json_is_object(item)) return wrong_kind(c, name, MAPPING, item);
        const enum octet_status status = check_fields(c, item, fields);
        if (status != OCTET_OK) return status;
    }
    return OCTET_OK;
}

/* ---- Judges ---------------------------------------------------------------------------------- */

static enum octet_status check_calls(const struct check *c, const json_t *doc) {
    const json_t *const calls = json_object_get(doc, "calls");
    enum octet_status status = check_list(c, calls, "calls", call_fields);
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call) {
        if (status != OCTET_OK) return status;
        const bool has_value = json_object_get(call, "expect") != NULL;
        status = need(c, has_value != (json_object_get(call, "raises") != NULL),
                      "a call needs either 'expect' or 'raises'");
    }
    return status;
}

static enum octet_status check_cases(const struct check *c, const json_t *doc) {
    static const char *const wanted[] = {"expect", "expect_lines", "expect_files", "status"};
    const json_t *const cases = json_object_get(doc, "cases");
    enum octet_status status = check_list(c, cases, "cases", case_fields);
    size_t i;
    json_t *one;
    json_array_foreach(cases, i, one) {
        if (status != OCTET_OK) return status;
        bool any = false;
        for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++)
            any = any || json_object_get(one, wanted[k]);
        status = need(c, any, "a case expects nothing");
    }
    return status;
}

static enum octet_status check_judge(const struct check *c, const json_t *doc,
                                     enum task_judge *out) {
    static const struct {
        const char *field;
        enum task_judge judge;
    } judges[] = {{"calls", JUDGE_CALLS},     {"evalplus", JUDGE_CALLS}, {"test", JUDGE_CHECK},
                  {"append", JUDGE_APPENDED}, {"cases", JUDGE_PROGRAM},  {"check", JUDGE_PROGRAM}};
    size_t n_found = 0;
    for (size_t i = 0; i < sizeof judges / sizeof *judges; i++) {
        if (!json_object_get(doc, judges[i].field)) continue;
        *out = judges[i].judge;
        n_found++;
    }
    enum octet_status status =
        need(c, n_found == 1, "exactly one of 'calls', 'cases', 'check' and 'test' is needed");
    if (status != OCTET_OK) return status;
    if (*out == JUDGE_CALLS || *out == JUDGE_CHECK) {
        const char *const language = json_string_value(json_object_get(doc, "language"));
        const char *const entry = json_string_value(json_object_get(doc, "entry"));
        status = need(c, entry && entry[0], "'entry' is needed with 'calls' and 'test'");
        if (status == OCTET_OK)
            status = need(c, strcmp(language, "python") == 0 || strcmp(language, "javascript") == 0,
                          "'calls' and 'test' are for python and javascript");
        if (status == OCTET_OK && (*out == JUDGE_CHECK || json_object_get(doc, "evalplus")))
            status = need(c, json_object_get(doc, "reference"), "'reference' is needed");
    }
    if (status == OCTET_OK && json_object_get(doc, "calls")) status = check_calls(c, doc);
    if (status == OCTET_OK && json_object_get(doc, "cases")) status = check_cases(c, doc);
    return status;
}

/* ---- Binding --------------------------------------------------------------------------------- */

static const char *text_of(const json_t *doc, const char *key) {
    return json_string_value(json_object_get(doc, key));
}

static enum octet_status bind_language(const struct check *c, struct task *task) {
    static const char *const known[] = {"python", "c",    "cpp", "javascript", "go",
                                        "java",   "rust", "sql", "shell"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(task->language, known[i]) == 0) return OCTET_OK;
    return octet_fail(
        c->err, OCTET_EFORMAT,
        "%s: row %zu: field 'language': expected python, c, cpp, javascript, go, java, "
        "rust, sql or shell, found \"%.40s\"",
        c->place->file, c->place->row, task->language);
}

static enum octet_status bind_shape(const struct check *c, const json_t *doc, struct task *task) {
    const char *const shape = text_of(doc, "shape");
    if (!shape || strcmp(shape, "text") == 0) {
        task->shape = TASK_TEXT;
    } else if (strcmp(shape, "code") == 0) {
        task->shape = TASK_CODE;
    } else if (strcmp(shape, "hole") == 0) {
        task->shape = TASK_HOLE;
    } else {
        return octet_fail(
            c->err, OCTET_EFORMAT,
            "%s: row %zu: field 'shape': expected text, code or hole, found \"%.40s\"",
            c->place->file, c->place->row, shape);
    }
    return need(c, (task->shape == TASK_HOLE) == (task->suffix != NULL),
                "'suffix' is needed with shape 'hole', and only there");
}

static void bind_limits(const json_t *limits, struct task *task) {
    enum { MAX_MB = 1 << 20 };
    const double time_s = json_number_value(json_object_get(limits, "time"));
    const double memory_mb = json_number_value(json_object_get(limits, "memory"));
    const double disk_mb = json_number_value(json_object_get(limits, "disk"));
    task->limits.wall_s = time_s < 86400 ? time_s : 86400;
    task->limits.cpu_s = 2 * task->limits.wall_s;
    task->limits.memory_bytes = (uint64_t)((memory_mb < MAX_MB ? memory_mb : MAX_MB) * 1e6);
    task->limits.disk_bytes = (uint64_t)((disk_mb < MAX_MB ? disk_mb : MAX_MB) * 1e6);
}

static enum octet_status bind_lists(const struct check *c, const json_t *doc, struct task *task) {
    const json_t *const wrong = json_object_get(doc, "wrong");
    json_t *const files = json_object_get(doc, "files");
    const char **const texts = mem_array(json_array_size(wrong), sizeof *texts);
    struct box_file *const box_files = mem_array(json_object_size(files), sizeof *box_files);
    task->wrong = texts;
    task->files = box_files;
    if (!texts || !box_files) return octet_fail_memory(c->err, "task", 0);
    for (size_t i = 0; i < json_array_size(wrong); i++)
        texts[task->n_wrong++] = json_string_value(json_array_get(wrong, i));
    const char *name;
    json_t *value;
    json_object_foreach(files, name, value) {
        box_files[task->n_files++] =
            (struct box_file){name, json_string_value(value), json_string_length(value), false};
    }
    return OCTET_OK;
}

enum octet_status task_bind(const json_t *document, const struct task_place *place,
                            struct task *out, struct octet_err *err) {
    const struct check c = {place, err};
    *out = (struct task){.tests = document};
    enum octet_status status = need(&c, json_is_object(document), "a task is no mapping");
    if (status == OCTET_OK) status = check_fields(&c, document, task_fields);
    if (status != OCTET_OK) return status;
    out->id = text_of(document, "id");
    out->language = text_of(document, "language");
    out->prompt = text_of(document, "prompt");
    out->suffix = text_of(document, "suffix");
    out->entry = text_of(document, "entry");
    out->reference = text_of(document, "reference");
    out->excluded = text_of(document, "excluded");
    const json_t *const limits = json_object_get(document, "limits");
    if (limits) status = check_fields(&c, limits, limit_fields);
    if (status == OCTET_OK) status = need(&c, out->id[0], "field 'id' is empty");
    if (status == OCTET_OK) status = bind_language(&c, out);
    if (status == OCTET_OK) status = bind_shape(&c, document, out);
    if (status == OCTET_OK) status = check_judge(&c, document, &out->judge);
    if (status != OCTET_OK) return status;
    bind_limits(limits, out);
    status = bind_lists(&c, document, out);
    if (status != OCTET_OK) task_unbind(out);
    return status;
}

void task_unbind(const struct task *task) {
    mem_free((void *)task->wrong);
    mem_free((void *)task->files);
}
