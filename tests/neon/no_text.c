/* Stands in for src/text where model_hash is linked for another machine, for which utf8proc is not
 * at hand. That program feeds token ids and asks for logits, so a model without a vocabulary serves
 * it; whatever else of src/text the library calls is dropped by the linker with its callers. */
#include "text/template_chat.h"
#include "text/template_file.h"
#include "text/trie.h"
#include "text/vocab.h"

enum octet_status vocab_load(const struct gguf *g, size_t n_rows, struct vocab **out,
                             struct octet_err *err) {
    (void)g;
    (void)n_rows;
    (void)err;
    *out = NULL;
    return OCTET_OK;
}

void vocab_free(struct vocab *v) { (void)v; }

enum octet_status template_set_load(const struct gguf *g, struct template_set **out,
                                    struct octet_err *err) {
    (void)g;
    (void)err;
    *out = NULL;
    return OCTET_OK;
}

void template_set_free(struct template_set *set) { (void)set; }

enum octet_status template_chat_open(const struct template_set *set, const struct vocab *v,
                                     struct template_chat **out, struct octet_err *err) {
    (void)set;
    (void)v;
    (void)err;
    *out = NULL;
    return OCTET_OK;
}

void template_chat_free(struct template_chat *chat) { (void)chat; }

void trie_free(struct trie *t) { (void)t; }
