/* What the files of the synthetic-model writer share: shapes, mixtures of types, vocabularies. */
#ifndef OCTET_MODEL_SYNTH_H
#define OCTET_MODEL_SYNTH_H

#include "format/gguf.h"

enum synth_vocab { VOCAB_SPM, VOCAB_PHI, VOCAB_SMOLLM };

struct synth_arch {
    const char *name;
    const char *gguf; // general.architecture
    enum synth_vocab vocab;
    bool resizable; // the vocabulary may set the rows of embedding and output
    bool tied;      // no output matrix
    uint32_t n_layers, d_model, d_ff, n_heads, n_kv_heads, n_rot, n_vocab;
    uint32_t n_experts, n_experts_used; // 0: dense
    uint32_t n_ctx, window;             // window 0: none
    float rope_base;                    // 0: the key is left out
};

/* What a weight does, as far as its type and scale depend on it. */
enum synth_role {
    ROLE_EMBEDDING, ROLE_OUTPUT, ROLE_Q, ROLE_K, ROLE_V, ROLE_ATTN_OUTPUT, ROLE_FFN, ROLE_FFN_DOWN,
    ROLE_ROUTER, ROLE_NORM, ROLE_BIAS
};

struct synth_mix;

const struct synth_arch *synth_arch_find(const char *name); // NULL: unknown
const struct synth_mix *synth_mix_find(const char *name);   // NULL: unknown
uint32_t synth_mix_file_type(const struct synth_mix *mix);  // general.file_type
/* The type of a weight in layer I_LAYER of N_LAYERS with rows of NE0 elements. */
const struct quant_type *synth_mix_type(const struct synth_mix *mix, const struct synth_arch *arch,
                                        enum synth_role role, uint32_t i_layer, uint32_t n_layers,
                                        uint64_t ne0);

/* Puts the tokenizer.* keys of a made-up vocabulary of exactly N_TOKENS tokens. */
enum octet_status synth_vocab_put(struct gguf_writer *w, enum synth_vocab kind, uint32_t n_tokens,
                                  struct octet_err *err);

#endif
