/* The architectures and the mixtures of block formats that synthetic models come in. Both follow
 * the files people have: real hyper-parameters, and for every kind of file the same type for the
 * same tensor, so that sizes and speeds carry over. */
#include <string.h>

#include "model/synth.h"

/* The tiny ones take the same paths (grouped queries, window, experts, partial rotation, tied
 * output) with rows that still fit blocks of 256. */
static const struct synth_arch archs[] = {
    {"mixtral-8x7b", "llama", VOCAB_SPM, false, false,
     32, 4096, 14336, 32, 8, 128, 32000, 8, 2, 32768, 0, 1e6f},
    {"mistral-7b", "llama", VOCAB_SPM, false, false,
     32, 4096, 14336, 32, 8, 128, 32000, 0, 0, 32768, 4096, 10000},
    {"phi-2", "phi2", VOCAB_PHI, false, false,
     32, 2560, 10240, 32, 32, 32, 51200, 0, 0, 2048, 0, 0},
    {"smollm2-135m", "llama", VOCAB_SMOLLM, false, true,
     30, 576, 1536, 9, 3, 64, 49152, 0, 0, 8192, 0, 100000},
    {"mixtral-8x7b-tiny", "llama", VOCAB_SPM, true, false,
     2, 256, 512, 8, 2, 32, 512, 8, 2, 1024, 0, 1e6f},
    {"mistral-7b-tiny", "llama", VOCAB_SPM, true, false,
     2, 256, 512, 8, 2, 32, 512, 0, 0, 1024, 80, 10000},
    {"phi-2-tiny", "phi2", VOCAB_PHI, true, false,
     2, 256, 1024, 4, 4, 32, 512, 0, 0, 1024, 0, 0},
    {"llama-tiny", "llama", VOCAB_SPM, true, true,
     2, 256, 512, 4, 4, 64, 512, 0, 0, 1024, 0, 10000},
};

enum where {
    NOWHERE,
    EVERYWHERE,
    FIRST_2,
    FIRST_4,
    FIRST_16TH,
    FIRST_8TH,
    MORE_BITS, // first and last eighth, and every third layer between
    GROUPED,   // at least 4 query heads share a key head
    GROUPED_OR_EXPERTS,
};

struct pick {
    enum where where;
    enum quant_id there, elsewhere;
};

/* Type ids; 0 (F32) stands for the base type: only a base of F32 has F32 matrices. */
struct synth_mix {
    const char *name;
    uint32_t file_type;
    enum quant_id base;
    struct pick v, down;
    enum quant_id attn_output, output, embedding, qk;
    enum quant_id experts_kv, experts_attn_output; // of models with 8 experts
};

#define PURE(name, file_type, type) {name, file_type, QUANT_##type, .embedding = QUANT_##type}

// clang-format off: a row is a line or two
static const struct synth_mix mixes[] = {
    {"q2_k", 10, QUANT_Q2_K, {GROUPED, QUANT_Q4_K, QUANT_Q3_K}, {EVERYWHERE, QUANT_Q3_K, 0},
     QUANT_Q3_K, QUANT_Q6_K, 0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"q2_k_s", 21, QUANT_Q2_K, {GROUPED, QUANT_Q4_K, 0}, {FIRST_8TH, QUANT_Q4_K, 0}, 0, QUANT_Q6_K,
     0, 0, QUANT_Q8_0, 0},
    {"q3_k_s", 11, QUANT_Q3_K, {0}, {0}, 0, QUANT_Q6_K, 0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"q3_k_m", 12, QUANT_Q3_K, {FIRST_2, QUANT_Q5_K, QUANT_Q4_K}, {FIRST_16TH, QUANT_Q5_K,
     QUANT_Q4_K}, QUANT_Q4_K, QUANT_Q6_K, 0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"q3_k_l", 13, QUANT_Q3_K, {EVERYWHERE, QUANT_Q5_K, 0}, {EVERYWHERE, QUANT_Q5_K, 0}, QUANT_Q5_K,
     QUANT_Q6_K, 0, 0, QUANT_Q8_0, 0},
    {"q4_0", 2, QUANT_Q4_0, {0}, {0}, 0, QUANT_Q6_K, 0, 0, QUANT_Q8_0, 0},
    {"q4_1", 3, QUANT_Q4_1, {0}, {0}, 0, QUANT_Q6_K, 0, 0, QUANT_Q8_0, 0},
    {"q5_0", 8, QUANT_Q5_0, {0}, {0}, 0, QUANT_Q6_K, 0, 0, QUANT_Q8_0, 0},
    {"q5_1", 9, QUANT_Q5_1, {0}, {0}, 0, QUANT_Q6_K, 0, 0, QUANT_Q8_0, 0},
    {"q4_k_s", 14, QUANT_Q4_K, {FIRST_4, QUANT_Q5_K, 0}, {FIRST_8TH, QUANT_Q5_K, 0}, 0, QUANT_Q6_K,
     0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"q4_k_m", 15, QUANT_Q4_K, {MORE_BITS, QUANT_Q6_K, 0}, {MORE_BITS, QUANT_Q6_K, 0}, 0,
     QUANT_Q6_K, 0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"q5_k_s", 16, QUANT_Q5_K, {0}, {0}, 0, QUANT_Q6_K, 0, 0, QUANT_Q8_0, 0},
    {"q5_k_m", 17, QUANT_Q5_K, {MORE_BITS, QUANT_Q6_K, 0}, {MORE_BITS, QUANT_Q6_K, 0}, 0,
     QUANT_Q6_K, 0, 0, QUANT_Q8_0, 0},
    {"q6_k", 18, QUANT_Q6_K, {0}, {0}, 0, 0, 0, 0, QUANT_Q8_0, 0},
    {"q8_0", 7, QUANT_Q8_0, {0}, {0}, 0, 0, 0, 0, 0, 0},
    {"iq4_nl", 25, QUANT_IQ4_NL, {GROUPED, QUANT_Q5_K, 0}, {FIRST_8TH, QUANT_Q5_K, 0}, 0,
     QUANT_Q6_K, 0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"iq4_xs", 30, QUANT_IQ4_XS, {GROUPED, QUANT_Q5_K, 0}, {FIRST_8TH, QUANT_Q5_K, 0}, 0,
     QUANT_Q6_K, 0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"iq3_m", 27, QUANT_IQ3_S, {EVERYWHERE, QUANT_Q4_K, 0}, {FIRST_8TH, QUANT_Q4_K, 0}, QUANT_Q4_K,
     QUANT_Q6_K, 0, 0, QUANT_Q8_0, QUANT_Q5_K},
    {"iq3_s", 26, QUANT_IQ3_S, {EVERYWHERE, QUANT_Q4_K, 0}, {0}, 0, QUANT_Q6_K, 0, 0, QUANT_Q8_0,
     QUANT_Q5_K},
    {"iq3_xxs", 23, QUANT_IQ3_XXS, {GROUPED, QUANT_Q4_K, QUANT_IQ3_S}, {FIRST_8TH, QUANT_Q4_K,
     QUANT_Q3_K}, QUANT_IQ3_S, QUANT_Q5_K, QUANT_IQ3_S, QUANT_IQ2_S, QUANT_Q8_0, QUANT_Q5_K},
    {"iq2_m", 29, QUANT_IQ2_S, {GROUPED_OR_EXPERTS, QUANT_Q4_K, QUANT_IQ3_S}, {FIRST_8TH,
     QUANT_IQ3_S, 0}, QUANT_IQ3_S, QUANT_Q5_K, QUANT_IQ3_S, 0, QUANT_Q4_K, QUANT_Q5_K},
    {"iq2_s", 28, QUANT_IQ2_XS, {GROUPED_OR_EXPERTS, QUANT_Q4_K, QUANT_IQ3_S}, {FIRST_8TH,
     QUANT_IQ3_S, 0}, QUANT_IQ3_S, QUANT_Q5_K, QUANT_IQ3_S, 0, QUANT_Q4_K, QUANT_Q5_K},
    {"iq2_xs", 20, QUANT_IQ2_XS, {GROUPED_OR_EXPERTS, QUANT_Q4_K, QUANT_Q2_K}, {FIRST_8TH,
     QUANT_Q2_K, 0}, 0, QUANT_Q5_K, QUANT_Q2_K, 0, QUANT_Q4_K, QUANT_Q5_K},
    {"iq2_xxs", 19, QUANT_IQ2_XXS, {GROUPED_OR_EXPERTS, QUANT_Q4_K, QUANT_Q2_K}, {FIRST_8TH,
     QUANT_Q2_K, 0}, 0, QUANT_Q5_K, QUANT_Q2_K, 0, QUANT_Q4_K, QUANT_Q5_K},
    {"iq1_m", 31, QUANT_IQ1_M, {GROUPED_OR_EXPERTS, QUANT_Q4_K, QUANT_Q2_K}, {FIRST_8TH, QUANT_Q2_K,
     0}, QUANT_IQ2_XXS, QUANT_Q5_K, QUANT_Q2_K, 0, QUANT_Q4_K, QUANT_Q5_K},
    {"iq1_s", 24, QUANT_IQ1_S, {GROUPED_OR_EXPERTS, QUANT_Q4_K, QUANT_Q2_K}, {FIRST_8TH, QUANT_Q2_K,
     0}, QUANT_IQ2_XXS, QUANT_Q5_K, QUANT_Q2_K, 0, QUANT_Q4_K, QUANT_Q5_K},
    {"tq1_0", 36, QUANT_TQ1_0, {0}, {0}, 0, QUANT_Q6_K, QUANT_Q4_K, 0, QUANT_Q8_0, 0},
    {"tq2_0", 37, QUANT_TQ2_0, {0}, {0}, 0, QUANT_Q6_K, QUANT_Q4_K, 0, QUANT_Q8_0, 0},
    // One format for every matrix. The names of the formats that are no mixture above, ...
    PURE("f32", 0, F32), PURE("f16", 1, F16), PURE("bf16", 32, BF16), PURE("mxfp4", 38, MXFP4),
    PURE("q3_k", 11, Q3_K), PURE("q4_k", 14, Q4_K), PURE("q5_k", 16, Q5_K),
    // ... and of those that are.
    PURE("pure-q2_k", 10, Q2_K), PURE("pure-q6_k", 18, Q6_K), PURE("pure-q4_0", 2, Q4_0),
    PURE("pure-q4_1", 3, Q4_1), PURE("pure-q5_0", 8, Q5_0), PURE("pure-q5_1", 9, Q5_1),
    PURE("pure-iq4_nl", 25, IQ4_NL), PURE("pure-iq4_xs", 30, IQ4_XS), PURE("pure-iq3_s", 26, IQ3_S),
    PURE("pure-iq3_xxs", 23, IQ3_XXS), PURE("pure-iq2_s", 28, IQ2_S),
    PURE("pure-iq2_xs", 20, IQ2_XS), PURE("pure-iq2_xxs", 19, IQ2_XXS),
    PURE("pure-iq1_s", 24, IQ1_S), PURE("pure-iq1_m", 31, IQ1_M), PURE("pure-tq1_0", 36, TQ1_0),
    PURE("pure-tq2_0", 37, TQ2_0),
};
// clang-format on

enum { N_ARCHS = sizeof archs / sizeof *archs, N_MIXES = sizeof mixes / sizeof *mixes };

const char *octet_synth_arch(size_t i) { return i < N_ARCHS ? archs[i].name : NULL; }

const char *octet_synth_type(size_t i) { return i < N_MIXES ? mixes[i].name : NULL; }

const struct synth_arch *synth_arch_find(const char *name) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (strcmp(archs[i].name, name) == 0) return &archs[i];
    return NULL;
}

const struct synth_mix *synth_mix_find(const char *name) {
    for (size_t i = 0; i < N_MIXES; i++)
        if (strcmp(mixes[i].name, name) == 0) return &mixes[i];
    return NULL;
}

uint32_t synth_mix_file_type(const struct synth_mix *mix) { return mix->file_type; }

static bool applies(enum where where, const struct synth_arch *arch, uint32_t i, uint32_t n) {
    bool grouped = arch->n_heads / arch->n_kv_heads >= 4;
    switch (where) {
    case NOWHERE: return false;
    case EVERYWHERE: return true;
    case FIRST_2: return i < 2;
    case FIRST_4: return i < 4;
    case FIRST_16TH: return i < n / 16;
    case FIRST_8TH: return i < n / 8;
    case MORE_BITS: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case GROUPED: return grouped;
    case GROUPED_OR_EXPERTS: return grouped || arch->n_experts >= 4;
    }
    return false;
}

static enum quant_id mixed(const struct synth_mix *mix, const struct synth_arch *arch,
                           enum synth_role role, uint32_t i, uint32_t n) {
    bool experts = arch->n_experts == 8;
    switch (role) {
    case ROLE_EMBEDDING: return arch->tied ? mix->output : mix->embedding;
    case ROLE_OUTPUT: return mix->output;
    case ROLE_Q: return mix->qk;
    case ROLE_K: return experts && mix->experts_kv ? mix->experts_kv : mix->qk;
    case ROLE_V:
        if (experts && mix->experts_kv) return mix->experts_kv;
        return applies(mix->v.where, arch, i, n) ? mix->v.there : mix->v.elsewhere;
    case ROLE_ATTN_OUTPUT: return experts ? mix->experts_attn_output : mix->attn_output;
    case ROLE_FFN_DOWN:
        return applies(mix->down.where, arch, i, n) ? mix->down.there : mix->down.elsewhere;
    default: return 0;
    }
}

/* For rows that blocks of 256 do not fill. */
static enum quant_id fallback(enum quant_id id, bool is_output) {
    if (is_output) return QUANT_Q8_0;
    switch (id) {
    case QUANT_Q2_K:
    case QUANT_Q3_K:
    case QUANT_TQ1_0:
    case QUANT_TQ2_0: return QUANT_Q4_0;
    case QUANT_Q4_K: return QUANT_Q5_0;
    case QUANT_Q5_K: return QUANT_Q5_1;
    case QUANT_Q6_K: return QUANT_Q8_0;
    default: return QUANT_IQ4_NL;
    }
}

const struct quant_type *synth_mix_type(const struct synth_mix *mix, const struct synth_arch *arch,
                                        enum synth_role role, uint32_t i_layer, uint32_t n_layers,
                                        uint64_t ne0) {
    if (role >= ROLE_ROUTER) return quant_find(QUANT_F32);
    enum quant_id id = mixed(mix, arch, role, i_layer, n_layers);
    if (id == 0) id = mix->base;
    const struct quant_type *type = quant_find(id);
    bool is_output = role == ROLE_OUTPUT || (role == ROLE_EMBEDDING && arch->tied);
    if (ne0 % type->block_elems) type = quant_find(fallback(id, is_output));
    return ne0 % type->block_elems ? quant_find(QUANT_F16) : type;
}
