/* The open model behind octet.h: file, weights, vocabulary, and the machinery its steps share. */
#ifndef OCTET_ENGINE_MODEL_H
#define OCTET_ENGINE_MODEL_H

#include <pthread.h>

#include "engine/costs.h"
#include "model/step.h"
#include "text/template_chat.h"
#include "text/trie.h"
#include "text/vocab.h"

struct octet_model {
    struct gguf *file;
    struct vocab *vocab;
    struct template_set *templates;
    struct template_chat *chat;
    bool vocab_only;
    struct model m;
    const struct kernels *kernels;
    struct pool *pool;
    char *name;
    struct trie *trie; // or NULL, as long as no grammar was opened
    pthread_mutex_t trie_lock;

    // One step at a time: the lock guards all below, and the pool.
    pthread_mutex_t lock;
    struct step step;
    void *workspace;
    size_t workspace_rows; // what it is laid out for
    float *logits;         // (n_logits_rows, n_vocab)
    size_t n_logits_rows;
    struct costs costs;
};

struct costs model_costs(struct octet_model *model); // takes the lock

const struct vocab *octet_model_vocab(const struct octet_model *model);

/* Makes the workspace fit steps of n_rows rows and n_logits logits vectors at once. Needs the lock.
 */
enum octet_status model_reserve(struct octet_model *model, size_t n_rows, size_t n_logits,
                                struct octet_err *err);

#endif
