/* Grammars and schemas from fuzzed bytes: the source up to the first NUL, then a text; what begins
 * with { or [ or t is a schema. Whatever compiles must be one that texts can be written of: a few
 * random tokens are picked from its masks, and none of them may be empty. */
#include <stdlib.h>
#include <string.h>

#include "../tests/grammar_model.h"
#include "text/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { N_TOKENS = 40 };

static void require(bool condition) {
    if (!condition) abort();
}

/* Made once: a vocabulary is the same for all inputs. */
static struct model *the_model(void) {
    static struct model model;
    if (!model.trie) open_model(&model);
    return &model;
}

static void write_text(struct grammar *g, const struct model *model, uint64_t random) {
    struct matcher *m;
    struct octet_err err;
    if (matcher_open(g, N_TOKENS, &m, &err) != OCTET_OK) return;
    for (int i = 0; i < N_TOKENS && !matcher_finished(m); i++) {
        const uint64_t *bits;
        int32_t picked = -1;
        uint32_t n = 0;
        if (matcher_mask(m, &bits, &err) != OCTET_OK) break; // too many readings
        for (int32_t id = 0; id < (int32_t)vocab_size(model->v); id++)
            if (bits[id / 64] >> (id % 64) & 1 && next_random(&random) % ++n == 0) picked = id;
        require(picked >= 0);
        require(picked != model->end || matcher_may_end(m));
        if (picked == model->end) break;
        if (matcher_accept(m, picked, &err) != OCTET_OK) require(err.status != OCTET_EARG);
    }
    matcher_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const struct model *const model = the_model();
    const char *source = (const char *)data;
    size_t n_source = strnlen(source, n);
    const char *const text = source + n_source;
    char *made = NULL;
    struct grammar *g;
    struct octet_err err = {OCTET_OK, ""};
    if (n_source > 0 && strchr("{[t", source[0])) {
        if (schema_grammar(source, n_source, n & 1, &made, &n_source, &err) != OCTET_OK) {
            require(made == NULL && *err.message);
            return 0;
        }
        source = made;
    }
    const enum octet_status status = grammar_open(source, n_source, model->trie, &g, &err);
    require((status == OCTET_OK) == (g != NULL));
    if (g) {
        int how;
        grammar_match(g, text, n - (size_t)(text - (const char *)data), &how, &err);
        write_text(g, model, n + 1);
    } else {
        require(err.status == status && *err.message);
    }
    grammar_close(g);
    mem_free(made);
    return 0;
}
