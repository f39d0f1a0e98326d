/* See template_file.h. The key tokenizer.chat_template holds the one for all uses, called
 * "default"; a name behind it, as in tokenizer.chat_template.tool_use, is that of another use. */
#include "text/template_file.h"

#include <string.h>

#include "base/mem.h"

struct template_set {
    size_t n;
    struct named_template {
        const char *name; // in the key
        char *key, *source;
    } templates[];
};

static const char prefix[] = "tokenizer.chat_template";

/* What the template under KEY is called; NULL: KEY has none. */
static const char *name_of(const char *key) {
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0) return NULL;
    if (key[n] == 0) return "default";
    return key[n] == '.' ? key + n + 1 : NULL;
}

static enum octet_status add_template(struct template_set *set, const struct gguf *g,
                                      const char *key, struct octet_err *err) {
    struct gguf_string source = {"", 0};
    enum octet_status status = gguf_get_string(g, key, true, &source, err);
    if (status) return status;
    struct named_template *t = &set->templates[set->n++];
    t->key = mem_strdup(key, strlen(key));
    t->source = mem_strdup(source.p, source.n);
    if (!t->key || !t->source) return octet_fail_memory(err, "a chat template", source.n);
    t->name = name_of(t->key);
    return OCTET_OK;
}

enum octet_status template_set_load(const struct gguf *g, struct template_set **out,
                                    struct octet_err *err) {
    size_t n = 0;
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < g->n_kvs; i++) n += name_of(g->kvs[i].key) != NULL;
    struct template_set *set = mem_alloc(sizeof *set + n * sizeof *set->templates);
    *out = set;
    if (!set) return octet_fail_memory(err, "chat templates", n * sizeof *set->templates);
    for (size_t i = 0; i < g->n_kvs && !status; i++)
        if (name_of(g->kvs[i].key)) status = add_template(set, g, g->kvs[i].key, err);
    if (status) {
        template_set_free(set);
        *out = NULL;
    }
    return status;
}

void template_set_free(struct template_set *set) {
    for (size_t i = 0; set && i < set->n; i++) {
        mem_free(set->templates[i].key);
        mem_free(set->templates[i].source);
    }
    mem_free(set);
}

const char *template_set_find(const struct template_set *set, const char *name) {
    for (size_t i = 0; i < set->n; i++)
        if (strcmp(set->templates[i].name, name ? name : "default") == 0)
            return set->templates[i].source;
    return NULL;
}
