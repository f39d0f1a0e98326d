/* Grammars behind octet.h. The tree of a vocabulary's tokens is built when the first grammar of a
 * model is opened, and stays with the model. */
#include "engine/grammar.h"

#include "engine/model.h"
#include "text/schema.h"

struct grammar *octet_grammar_inner(struct octet_grammar *g) { return (struct grammar *)g; }

static enum octet_status find_trie(struct octet_model *model, const struct trie **out,
                                   struct octet_err *err) {
    *out = NULL;
    if (!model) return OCTET_OK;
    enum octet_status status = OCTET_OK;
    pthread_mutex_lock(&model->trie_lock);
    if (!model->trie) status = trie_build(model->vocab, &model->trie, err);
    *out = model->trie;
    pthread_mutex_unlock(&model->trie_lock);
    return status;
}

enum octet_status octet_grammar_open(struct octet_model *model, const char *source, size_t n_bytes,
                                     struct octet_grammar **out, struct octet_err *err) {
    const struct trie *trie;
    struct grammar *g = NULL;
    enum octet_status status = find_trie(model, &trie, err);
    if (status == OCTET_OK) status = grammar_open(source, n_bytes, trie, &g, err);
    *out = (struct octet_grammar *)g;
    return status;
}

enum octet_status octet_grammar_open_schema(struct octet_model *model, const char *schema,
                                            size_t n_bytes, unsigned flags,
                                            struct octet_grammar **out, struct octet_err *err) {
    char *source;
    size_t n_source;
    *out = NULL;
    enum octet_status status =
        octet_schema_grammar(schema, n_bytes, flags, &source, &n_source, err);
    if (status != OCTET_OK) return status;
    struct octet_err why;
    status = octet_grammar_open(model, source, n_source, out, &why);
    octet_text_free(source);
    // What is wrong with the grammar says little of the schema.
    if (status == OCTET_EFORMAT)
        return octet_fail(err, status, "schema: no value is valid under it, or only one without an "
                                       "end, or a reference leads back to itself");
    if (status != OCTET_OK) return octet_fail(err, status, "schema: %s", why.message);
    return status;
}

enum octet_status octet_schema_grammar(const char *schema, size_t n_bytes, unsigned flags,
                                       char **text, size_t *n_text, struct octet_err *err) {
    return schema_grammar(schema, n_bytes, flags, text, n_text, err);
}

struct octet_grammar *octet_grammar_share(struct octet_grammar *grammar) {
    return (struct octet_grammar *)grammar_share(octet_grammar_inner(grammar));
}

void octet_grammar_close(struct octet_grammar *grammar) {
    grammar_close(octet_grammar_inner(grammar));
}

enum octet_status octet_grammar_match(struct octet_grammar *grammar, const char *text,
                                      size_t n_bytes, enum octet_match *out,
                                      struct octet_err *err) {
    int how;
    const enum octet_status status =
        grammar_match(octet_grammar_inner(grammar), text, n_bytes, &how, err);
    *out = how == 2 ? OCTET_MATCH_WHOLE : how == 1 ? OCTET_MATCH_BEGINNING : OCTET_MATCH_NONE;
    return status;
}
