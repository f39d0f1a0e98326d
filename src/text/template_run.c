/* Statements of chat templates, carried out. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/template_impl.h"

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

static enum flow run(struct render *r, const struct node *first);

/* ---- Failures and bounds --------------------------------------------------------------------- */

struct value render_fail(struct render *r, const char *fmt, ...) {
    if (r->status) return value_none();
    char message[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    r->status = octet_fail(r->err, OCTET_EARG, "chat template, line %u: %s", r->line, message);
    return value_none();
}

struct value render_fail_undefined(struct render *r, struct value undefined) {
    const struct missing *m = undefined.missing;
    const struct str *name = value_text(r, m->name);
    int n = (int)(name->n < 100 ? name->n : 100);
    if (!m->owner) return render_fail(r, "'%.*s' is undefined", n, name->p);
    return render_fail(r, "'%s' has no %s '%.*s'", m->owner,
                       m->name.kind == V_STRING ? "attribute" : "element", n, name->p);
}

void *render_grow(struct render *r, void *old, size_t n_old, size_t n_new) {
    if (r->status) return NULL;
    void *p = arena_grow(&r->arena, old, n_old, n_new);
    if (!p && r->arena.full)
        render_fail(r, "it needs more than %d MiB of memory", RENDER_MAX_MEMORY >> 20);
    else if (!p)
        r->status = octet_fail_memory(r->err, "a chat", n_new);
    return p;
}

void *render_alloc(struct render *r, size_t n_bytes) { return render_grow(r, NULL, 0, n_bytes); }

void render_charge(struct render *r, size_t n) {
    r->steps += n;
    if (r->steps > RENDER_MAX_STEPS)
        render_fail(r, "it takes more than %d steps", RENDER_MAX_STEPS);
}

bool render_enter(struct render *r) {
    if (r->depth++ >= RENDER_MAX_DEPTH) render_fail(r, "nested too deeply");
    if (!r->status) return true;
    r->depth--;
    return false;
}

void render_leave(struct render *r) { r->depth--; }

static void output(struct render *r, const struct str *s) {
    r->n_output += s->n;
    if (r->n_output > RENDER_MAX_OUTPUT)
        render_fail(r, "it writes more than %d MiB", RENDER_MAX_OUTPUT >> 20);
    builder_add_str(r->out, s);
}

/* ---- Variables ------------------------------------------------------------------------------- */

static struct variable *find_variable(const struct scope *scope, uint32_t name) {
    for (size_t i = 0; i < scope->n; i++)
        if (scope->variables[i].name == name) return &scope->variables[i];
    return NULL;
}

struct value render_name(struct render *r, uint32_t name) {
    for (const struct scope *scope = r->scope; scope; scope = scope->parent) {
        const struct variable *variable = find_variable(scope, name);
        if (variable) return variable->value;
    }
    struct value v = r->globals[name];
    if (is_given(v)) return v;
    const struct str *text = r->t->names[name];
    return value_undefined(r, NULL, (struct value){.kind = V_STRING, .string = text});
}

static void set_variable(struct render *r, uint32_t name, struct value v) {
    struct scope *scope = r->scope;
    if (r->status) return;
    if (!scope) {
        r->globals[name] = v;
        return;
    }
    struct variable *variable = find_variable(scope, name);
    if (!variable && scope->n == scope->cap) {
        size_t cap = scope->cap ? 2 * scope->cap : 4;
        struct variable *grown = render_alloc(r, cap * sizeof *grown);
        if (!grown) return;
        if (scope->n) memcpy(grown, scope->variables, scope->n * sizeof *grown);
        scope->variables = grown;
        scope->cap = cap;
    }
    if (!variable) variable = &scope->variables[scope->n++];
    *variable = (struct variable){name, v};
}

/* A new scope around what follows; NULL: failed, nothing changed. */
static struct scope *open_scope(struct render *r, struct scope *parent) {
    struct scope *scope = render_alloc(r, sizeof *scope);
    if (!scope) return NULL;
    scope->parent = parent;
    r->scope = scope;
    return scope;
}

static void assign(struct render *r, const struct node *target, struct value v);

static void unpack(struct render *r, const struct node *targets, struct value v) {
    const struct list *list = value_elements(r, v);
    size_t n = 0, n_targets = 0;
    for (const struct node *t = targets; t; t = t->next) n_targets++;
    if (list->n != n_targets && !r->status)
        render_fail(r, "expected %zu values to unpack, found %zu", n_targets, list->n);
    for (const struct node *t = targets; t && !r->status; t = t->next)
        assign(r, t, list->items[n++]);
}

static void assign(struct render *r, const struct node *target, struct value v) {
    if (target->kind == NODE_NAME) {
        set_variable(r, target->name, v);
        return;
    }
    if (target->kind == NODE_TUPLE) {
        unpack(r, target->items, v);
        return;
    }
    struct value object = render_name(r, target->name);
    if (object.kind == V_NAMESPACE)
        dict_set(r, object.dict, target->value, v);
    else
        render_fail(r, "cannot assign attribute on non-namespace object");
}

/* ---- Blocks of text -------------------------------------------------------------------------- */

/* Runs FIRST with its output going to TEXT instead. */
static enum flow capture(struct render *r, const struct node *first, struct value *text) {
    struct builder builder = {.r = r}, *out = r->out;
    r->out = &builder;
    enum flow flow = run(r, first);
    r->out = out;
    *text = builder_string(&builder);
    return flow;
}

static struct value through_filters(struct render *r, const struct node *filters,
                                    struct value text) {
    if (!filters) return text;
    r->captured = text;
    return eval(r, filters);
}

/* The body of a block {% set %} or {% filter %}, filtered; it is a scope of its own. */
static enum flow run_block(struct render *r, const struct node *node) {
    struct scope *outer = r->scope;
    struct value text;
    if (!open_scope(r, outer)) return FLOW_BREAK;
    enum flow flow = capture(r, node->body, &text);
    if (flow == FLOW_NEXT) text = through_filters(r, node->b, text);
    r->scope = outer;
    if (flow != FLOW_NEXT || r->status) return flow;
    if (node->kind == NODE_SET_BLOCK) assign(r, node->a, text);
    else output(r, value_text(r, text));
    return FLOW_NEXT;
}

/* ---- Macros ---------------------------------------------------------------------------------- */

/* The named argument of that name, marked as used; V_MISSING if there is none. */
static struct value take_named(const struct args *args, const struct str *name, bool *used) {
    for (size_t i = 0; i < args->n_named; i++) {
        const struct str *key = args->named[i].key.string;
        if (key->n != name->n || memcmp(key->p, name->p, name->n) != 0) continue;
        used[i] = true;
        return args->named[i].value;
    }
    return (struct value){.kind = V_MISSING};
}

static void bind_parameters(struct render *r, const struct macro *m, const struct args *args,
                            bool *used) {
    size_t n = 0;
    for (const struct node *p = m->node->items; p && !r->status; p = p->next) {
        const struct str *name = r->t->names[p->name];
        struct value v = n < args->n ? args->values[n] : take_named(args, name, used);
        n++;
        if (!is_given(v) && p->a) v = eval(r, p->a);
        if (!is_given(v))
            v = value_undefined(r, NULL, (struct value){.kind = V_STRING, .string = name});
        set_variable(r, p->name, v);
    }
    if (!r->t->has_varargs) {
        if (args->n > n) render_fail(r, "the macro takes not more than %zu argument(s)", n);
        return;
    }
    struct value rest = list_new(r, LIST_TUPLE);
    for (size_t i = n; i < args->n; i++) list_push(r, rest.list, args->values[i]);
    set_variable(r, NAME_VARARGS, rest);
}

/* Named arguments that are no parameters: the caller, and what the macro may take as kwargs. */
static void bind_named(struct render *r, const struct args *args, bool *used) {
    static const struct str caller_name = {"caller", 6, NULL, false};
    struct value rest = dict_new(r, V_DICT);
    struct value caller = take_named(args, &caller_name, used);
    if (is_given(caller)) set_variable(r, NAME_CALLER, caller);
    for (size_t i = 0; i < args->n_named && !r->status; i++) {
        const struct str *key = args->named[i].key.string;
        if (!used[i] && !r->t->has_kwargs)
            render_fail(r, "the macro takes no argument named '%.*s'",
                        (int)(key->n < 100 ? key->n : 100), key->p);
        if (!used[i]) dict_append(r, rest.dict, args->named[i].key, args->named[i].value);
    }
    if (r->t->has_kwargs) set_variable(r, NAME_KWARGS, rest);
}

struct value render_macro(struct render *r, const struct macro *m, const struct args *args) {
    struct scope *outer = r->scope;
    struct value text = value_none();
    bool *used = render_alloc(r, args->n_named);
    if (!used || !render_enter(r)) return text;
    if (open_scope(r, m->scope)) {
        bind_parameters(r, m, args, used);
        bind_named(r, args, used);
        capture(r, m->node->body, &text);
        r->scope = outer;
    }
    render_leave(r);
    return text;
}

static struct value new_macro(struct render *r, const struct node *node) {
    struct macro *m = render_alloc(r, sizeof *m);
    if (!m) return value_none();
    *m = (struct macro){node, r->scope};
    return (struct value){.kind = V_MACRO, .macro = m};
}

/* ---- Loops ----------------------------------------------------------------------------------- */

/* Those of the elements for which the test of the loop holds. */
static struct list *filter_elements(struct render *r, const struct node *node, struct list *all) {
    struct scope *outer = r->scope, *scope = open_scope(r, outer);
    struct value kept = list_new(r, LIST_LIST);
    for (size_t i = 0; i < all->n && !r->status; i++) {
        scope->n = 0;
        assign(r, node->a, all->items[i]);
        if (value_truth(eval(r, node->c))) list_push(r, kept.list, all->items[i]);
    }
    r->scope = outer;
    return kept.list;
}

/* Whether an iteration got to its end: where none does, be it for "continue", the else branch runs.
 */
static bool run_iterations(struct render *r, const struct node *node, struct loop *loop) {
    struct scope *scope = r->scope;
    bool completed = false;
    for (; loop->index < loop->list->n && !r->status; loop->index++) {
        struct value element = loop->list->items[loop->index];
        loop->previous = loop->current;
        loop->current = element;
        scope->n = 0; // what an iteration sets does not outlive it
        set_variable(r, NAME_LOOP, (struct value){.kind = V_LOOP, .loop = loop});
        assign(r, node->a, element);
        enum flow flow = run(r, node->body);
        completed = completed || flow == FLOW_NEXT;
        if (flow == FLOW_BREAK) break;
    }
    return completed;
}

static enum flow run_for(struct render *r, const struct node *node) {
    struct scope *outer = r->scope;
    struct list *list = value_elements(r, eval(r, node->b));
    if (node->c) list = filter_elements(r, node, list);
    struct loop *loop = render_alloc(r, sizeof *loop);
    if (!loop || !open_scope(r, outer)) return FLOW_BREAK;
    loop->list = list;
    bool completed = run_iterations(r, node, loop);
    enum flow flow = FLOW_NEXT;
    if (!completed && node->items && open_scope(r, outer)) flow = run(r, node->items);
    r->scope = outer;
    return flow;
}

/* ---- Statements ------------------------------------------------------------------------------ */

static enum flow run_if(struct render *r, const struct node *node) {
    for (; node && !r->status; node = node->c)
        if (!node->a || value_truth(eval(r, node->a))) return run(r, node->body);
    return FLOW_NEXT;
}

static enum flow run_with(struct render *r, const struct node *node) {
    struct scope *outer = r->scope, *inner = open_scope(r, outer);
    if (!inner) return FLOW_BREAK;
    for (const struct node *pair = node->items; pair && !r->status; pair = pair->next) {
        r->scope = outer; // values do not see the variables beside them
        struct value v = eval(r, pair->b);
        r->scope = inner;
        assign(r, pair->a, v);
    }
    enum flow flow = run(r, node->body);
    r->scope = outer;
    return flow;
}

static enum flow run_statement(struct render *r, const struct node *node) {
    r->line = node->line;
    render_charge(r, 1);
    switch (node->kind) {
    case NODE_DATA: output(r, node->value.string); break;
    case NODE_PRINT: output(r, value_text(r, eval(r, node->a))); break;
    case NODE_IF: return run_if(r, node);
    case NODE_FOR: return run_for(r, node);
    case NODE_SET: assign(r, node->a, eval(r, node->b)); break;
    case NODE_SET_BLOCK:
    case NODE_FILTER_BLOCK: return run_block(r, node);
    case NODE_MACRO: set_variable(r, node->name, new_macro(r, node)); break;
    case NODE_CALL_BLOCK: {
        struct value caller = new_macro(r, node->b);
        output(r, value_text(r, eval_call(r, node->a, &caller)));
        break;
    }
    case NODE_WITH: return run_with(r, node);
    case NODE_BREAK: return FLOW_BREAK;
    default: return FLOW_CONTINUE;
    }
    return FLOW_NEXT;
}

static enum flow run(struct render *r, const struct node *first) {
    enum flow flow = FLOW_NEXT;
    if (!render_enter(r)) return FLOW_BREAK;
    for (const struct node *node = first; node && !r->status && flow == FLOW_NEXT;
         node = node->next)
        flow = run_statement(r, node);
    render_leave(r);
    return r->status ? FLOW_BREAK : flow;
}

void render_body(struct render *r, const struct node *first) { run(r, first); }
