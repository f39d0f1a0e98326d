/* Chat templates behind octet.h: opening, rendering, and those that files bring along. */
#include <jansson.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "text/template_impl.h"

/* ---- Opening --------------------------------------------------------------------------------- */

static bool is_utf8(const char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        int32_t code;
        utf8proc_ssize_t size = utf8proc_iterate((const utf8proc_uint8_t *)p + i,
                                                 (utf8proc_ssize_t)(n - i), &code);
        if (size <= 0) return false;
        i += (size_t)size;
    }
    return true;
}

/* A copy with line ends as "\n" and without the one at the very end. */
static bool copy_source(struct octet_template *t, const char *source, size_t n) {
    char *out = t->source = arena_alloc(&t->arena, n + 1);
    if (!out) return false;
    for (size_t i = 0; i < n; i++) {
        bool carriage = source[i] == '\r';
        if (carriage && i + 1 < n && source[i + 1] == '\n') continue;
        *out++ = carriage ? '\n' : source[i];
    }
    if (out > t->source && out[-1] == '\n') out--;
    *out = 0;
    t->n_source = (size_t)(out - t->source);
    return true;
}

enum octet_status octet_template_open(const char *source, size_t n_bytes,
                                      struct octet_template **out, struct octet_err *err) {
    *out = NULL;
    if (n_bytes > TEMPLATE_MAX_SOURCE)
        return octet_fail(err, OCTET_EFORMAT, "chat template: expected at most %d bytes, found %zu",
                          TEMPLATE_MAX_SOURCE, n_bytes);
    if (!is_utf8(source, n_bytes))
        return octet_fail(err, OCTET_EFORMAT, "chat template: it is not valid UTF-8");
    struct octet_template *t = mem_alloc(sizeof *t);
    struct parser *p = mem_alloc(sizeof *p);
    enum octet_status status = OCTET_OK;
    if (t) t->arena.limit = TEMPLATE_MAX_TREE;
    if (!t || !p || !copy_source(t, source, n_bytes))
        status = octet_fail_memory(err, "a chat template", n_bytes);
    if (!status) {
        *p = (struct parser){.t = t, .line = 1, .err = err};
        parse_template(p);
        status = p->status;
    }
    mem_free(p);
    if (status) octet_template_close(t);
    else *out = t;
    return status;
}

void octet_template_close(struct octet_template *t) {
    if (!t) return;
    arena_free(&t->arena);
    mem_free(t);
}

/* ---- Variables ------------------------------------------------------------------------------- */

static struct value from_json(struct render *r, const json_t *json);

static struct value dict_from_json(struct render *r, json_t *json) {
    struct value out = dict_new(r, V_DICT);
    for (void *at = json_object_iter(json); at && !r->status;
         at = json_object_iter_next(json, at)) {
        const char *key = json_object_iter_key(at);
        struct value name = str_copy(r, key, strlen(key));
        dict_append(r, out.dict, name, from_json(r, json_object_iter_value(at)));
    }
    return out;
}

static struct value list_from_json(struct render *r, const json_t *json) {
    struct value out = list_new(r, LIST_LIST);
    for (size_t i = 0; i < json_array_size(json) && !r->status; i++)
        list_push(r, out.list, from_json(r, json_array_get(json, i)));
    return out;
}

static struct value from_json(struct render *r, const json_t *json) {
    struct value v = value_none();
    if (!render_enter(r)) return v;
    switch (json_typeof(json)) {
    case JSON_OBJECT: v = dict_from_json(r, (json_t *)json); break;
    case JSON_ARRAY: v = list_from_json(r, json); break;
    case JSON_STRING: v = str_copy(r, json_string_value(json), json_string_length(json)); break;
    case JSON_INTEGER: v = value_int(json_integer_value(json)); break;
    case JSON_REAL: v = value_real(json_real_value(json)); break;
    case JSON_TRUE:
    case JSON_FALSE: v = value_bool(json_is_true(json)); break;
    case JSON_NULL: break;
    }
    render_leave(r);
    return v;
}

/* Gives the names of the template their values: of the variables, else of the functions. */
static void set_globals(struct render *r, const json_t *variables) {
    r->globals = render_alloc(r, r->t->n_names * sizeof *r->globals);
    struct function *functions = render_alloc(r, r->t->n_names * sizeof *functions);
    for (size_t i = 0; i < r->t->n_names && !r->status; i++) {
        const struct str *name = r->t->names[i];
        const json_t *json = json_object_getn(variables, name->p, name->n);
        const struct builtin *builtin = builtin_find(template_functions, name->p, name->n);
        if (json) r->globals[i] = from_json(r, json);
        else if (builtin) {
            functions[i] = (struct function){builtin, value_none()};
            r->globals[i] = (struct value){.kind = V_FUNCTION, .function = &functions[i]};
        }
    }
}

/* ---- Rendering ------------------------------------------------------------------------------- */

static enum octet_status render(struct render *r, const json_t *variables, char **text,
                                size_t *n_text) {
    struct builder out = {.r = r};
    r->out = &out;
    set_globals(r, variables);
    render_body(r, r->t->body);
    if (r->status) return r->status;
    *text = mem_strdup(out.p, out.n);
    *n_text = out.n;
    return *text ? OCTET_OK : octet_fail_memory(r->err, "a chat", out.n + 1);
}

enum octet_status octet_template_render(const struct octet_template *t, const char *variables,
                                        size_t n_bytes, char **text, size_t *n_text,
                                        struct octet_err *err) {
    json_error_t error;
    *text = NULL;
    *n_text = 0;
    if (n_bytes > RENDER_MAX_VARIABLES)
        return octet_fail(err, OCTET_EARG, "chat template: expected variables of at most %d bytes, "
                          "found %zu", RENDER_MAX_VARIABLES, n_bytes);
    json_t *json = json_loadb(variables, n_bytes, JSON_ALLOW_NUL, &error);
    if (!json && json_error_code(&error) == json_error_out_of_memory)
        return octet_fail_memory(err, "a chat", n_bytes);
    if (!json)
        return octet_fail(err, OCTET_EARG, "chat template: the variables are no JSON object: "
                          "line %d: %.200s", error.line, error.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return octet_fail(err, OCTET_EARG, "chat template: the variables are no JSON object");
    }
    struct render r = {.t = t, .arena = {.limit = RENDER_MAX_MEMORY}, .line = 1, .err = err};
    enum octet_status status = render(&r, json, text, n_text);
    arena_free(&r.arena);
    json_decref(json);
    return status;
}

void octet_text_free(char *text) { mem_free(text); }
