/* Opening a sampler without a model: octet_sampler_open reads the traits from the vocabulary, tests
 * make them up. */
#ifndef OCTET_ENGINE_SAMPLER_H
#define OCTET_ENGINE_SAMPLER_H

#include "base/status.h"

enum sampler_trait {
    SAMPLER_ALLOWED = 1, // may be picked
    SAMPLER_BREAKER = 2, // ends a sequence for the DRY penalty
};

/* TRAITS (n_logits): sets of enum sampler_trait, copied. */
enum octet_status sampler_open(const uint8_t *traits, size_t n_logits,
                               const struct octet_sampling *options, struct octet_sampler **out,
                               struct octet_err *err);

#endif
