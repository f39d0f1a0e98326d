/* Samplers, on made-up vocabularies of a few tokens: every filter against numbers worked out by
 * hand, draws against the distribution they should have. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/sampler.h"

enum { N_MAX = 64 };

static const struct octet_sampling DEFAULTS = OCTET_SAMPLING_DEFAULTS;

/* All filters and penalties off, temperature 1. */
static struct octet_sampling plain(void) {
    struct octet_sampling o = DEFAULTS;
    o.temperature = 1.0f;
    o.top_k = 0;
    o.top_p = 1.0f;
    o.min_p = 0.0f;
    return o;
}

static struct octet_sampler *open_traits(struct octet_sampling o, const uint8_t *traits, size_t n) {
    struct octet_sampler *s = NULL;
    struct octet_err err = {0};
    if (sampler_open(traits, n, &o, &s, &err) != OCTET_OK) fail_msg("%s", err.message);
    return s;
}

static struct octet_sampler *open_plain(struct octet_sampling o, size_t n) {
    uint8_t traits[N_MAX];
    memset(traits, SAMPLER_ALLOWED, sizeof traits);
    return open_traits(o, traits, n);
}

static int32_t pick(struct octet_sampler *s, const float *logits) {
    int32_t id = -1;
    struct octet_err err = {0};
    if (octet_sampler_pick(s, logits, &id, &err) != OCTET_OK) fail_msg("%s", err.message);
    return id;
}

/* The set of tokens that 4000 picks hit, as a bit mask. */
static uint64_t reach(struct octet_sampling o, const float *logits, size_t n) {
    struct octet_sampler *const s = open_plain(o, n);
    uint64_t mask = 0;
    for (int i = 0; i < 4000; i++) mask |= UINT64_C(1) << pick(s, logits);
    octet_sampler_close(s);
    return mask;
}

static void logits_of(const double *p, size_t n, float *logits) {
    for (size_t i = 0; i < n; i++) logits[i] = (float)log(p[i]);
}

static void accept_all(struct octet_sampler *s, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) assert_int_equal(octet_sampler_accept(s, ids[i]), OCTET_OK);
}

/* Draws against shares P: chi-square below its 99.9 % point for up to 7 degrees of freedom. */
static void assert_distribution(struct octet_sampling o, const float *logits, const double *p,
                                size_t n) {
    enum { N_DRAWS = 20000 };
    struct octet_sampler *const s = open_plain(o, n);
    int counts[N_MAX] = {0};
    for (int i = 0; i < N_DRAWS; i++) counts[pick(s, logits)]++;
    octet_sampler_close(s);
    double chi = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double expected = p[i] * N_DRAWS;
        if (expected == 0.0) {
            assert_int_equal(counts[i], 0);
            continue;
        }
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    if (chi > 24.3) fail_msg("chi-square %g", chi);
}

/* ---- Filters --------------------------------------------------------------------------------- */

static void test_draws_follow_the_distribution(void **state) {
    (void)state;
    const double p[] = {0.5, 0.25, 0.125, 0.0625, 0.0625};
    float logits[5];
    logits_of(p, 5, logits);
    assert_distribution(plain(), logits, p, 5);
}

static void test_temperature_sharpens_and_flattens(void **state) {
    (void)state;
    const double p[] = {0.6, 0.3, 0.1}, cold[] = {0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46};
    const double root = sqrt(0.6) + sqrt(0.3) + sqrt(0.1);
    const double hot[] = {sqrt(0.6) / root, sqrt(0.3) / root, sqrt(0.1) / root};
    float logits[3];
    logits_of(p, 3, logits);
    struct octet_sampling o = plain();
    o.temperature = 0.5f;
    assert_distribution(o, logits, cold, 3);
    o.temperature = 2.0f;
    assert_distribution(o, logits, hot, 3);
}

static void test_temperature_zero_takes_the_best(void **state) {
    (void)state;
    const float logits[] = {1.0f, 3.0f, 2.0f, 3.0f};
    struct octet_sampling o = plain();
    o.temperature = 0.0f;
    struct octet_sampler *const s = open_plain(o, 4);
    for (int i = 0; i < 10; i++) assert_int_equal(pick(s, logits), 1); // the lower
    octet_sampler_close(s);
}

static void test_tiny_temperature_is_greedy_without_overflow(void **state) {
    (void)state;
    const float logits[] = {-3e38f, 3e38f, 0.0f};
    struct octet_sampling o = plain();
    o.temperature = 1e-38f;
    assert_int_equal(reach(o, logits, 3), 1u << 1);
}

static void test_top_k_keeps_the_best(void **state) {
    (void)state;
    const float logits[] = {0.1f, 0.4f, 0.2f, 0.3f, 0.0f};
    struct octet_sampling o = plain();
    o.top_k = 2;
    assert_int_equal(reach(o, logits, 5), 1u << 1 | 1u << 3);
    o.top_k = 99;
    assert_int_equal(reach(o, logits, 5), 0x1f);
}

static void test_top_k_prefers_lower_ids_among_equals(void **state) {
    (void)state;
    const float logits[16] = {0};
    struct octet_sampling o = plain();
    o.top_k = 3;
    assert_int_equal(reach(o, logits, 16), 0x7);
}

static void test_top_p_keeps_the_smallest_set_with_the_mass(void **state) {
    (void)state;
    const double p[] = {0.125, 0.5, 0.125, 0.25};
    float logits[4];
    logits_of(p, 4, logits);
    struct octet_sampling o = plain();
    o.top_p = 0.4f;
    assert_int_equal(reach(o, logits, 4), 1u << 1);
    o.top_p = 0.7f;
    assert_int_equal(reach(o, logits, 4), 1u << 1 | 1u << 3);
    o.top_p = 0.8f;
    assert_int_equal(reach(o, logits, 4), 1u << 1 | 1u << 3 | 1u << 0);
    o.top_p = 0.0f;
    assert_int_equal(reach(o, logits, 4), 1u << 1);
}

static void test_min_p_is_relative_to_the_best(void **state) {
    (void)state;
    const double p[] = {0.5, 0.26, 0.14, 0.1};
    float logits[4];
    logits_of(p, 4, logits);
    struct octet_sampling o = plain();
    o.min_p = 0.25f; // 0.125
    assert_int_equal(reach(o, logits, 4), 0x7);
    o.min_p = 0.5f; // 0.25
    assert_int_equal(reach(o, logits, 4), 0x3);
    o.min_p = 1.0f;
    assert_int_equal(reach(o, logits, 4), 0x1);
}

static void test_typical_drops_the_too_likely_too(void **state) {
    (void)state;
    // Entropy 1.297 nat; distances of -ln p from it: 0.646, 0.453, 0.453, 1.146, 1.839
    const double p[] = {0.6, 0.2, 0.2, 0.1, 0.05};
    double sum = 0.0, q[5];
    for (int i = 0; i < 5; i++) sum += p[i];
    for (int i = 0; i < 5; i++) q[i] = p[i] / sum;
    float logits[5];
    logits_of(q, 5, logits);
    struct octet_sampling o = plain();
    o.typical_p = 0.3f; // 0.174 + 0.174 hold it
    assert_int_equal(reach(o, logits, 5), 1u << 1 | 1u << 2);
    o.typical_p = 0.5f;
    assert_int_equal(reach(o, logits, 5), 1u << 1 | 1u << 2 | 1u << 0);
}

static void test_top_p_counts_among_what_top_k_left(void **state) {
    (void)state;
    const double p[] = {0.3, 0.2, 0.2, 0.2, 0.1};
    float logits[5];
    logits_of(p, 5, logits);
    struct octet_sampling o = plain();
    o.top_k = 2; // leaves 0.6 and 0.4
    o.top_p = 0.55f;
    assert_int_equal(reach(o, logits, 5), 0x1);
    o.top_k = 0;
    assert_int_equal(reach(o, logits, 5), 0x7);
}

static void test_filters_ignore_the_temperature(void **state) {
    (void)state;
    const double p[] = {0.5, 0.3, 0.2};
    float logits[3];
    logits_of(p, 3, logits);
    struct octet_sampling o = plain();
    o.top_p = 0.6f;
    o.temperature = 50.0f; // would put the mass of two at 0.67
    assert_int_equal(reach(o, logits, 3), 0x3);
    o.min_p = 0.7f;
    assert_int_equal(reach(o, logits, 3), 0x1);
}

static void test_equal_logits_are_drawn_evenly(void **state) {
    (void)state;
    const float logits[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    const double p[8] = {0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125};
    assert_distribution(plain(), logits, p, 8);
}

/* ---- Reproducibility ------------------------------------------------------------------------- */

static void test_same_seed_same_picks(void **state) {
    (void)state;
    const float logits[8] = {0};
    struct octet_sampling o = plain();
    int32_t first[64], other = 0;
    for (int round = 0; round < 3; round++) {
        o.seed = round == 2 ? 8 : 7;
        struct octet_sampler *const s = open_plain(o, 8);
        for (int i = 0; i < 64; i++) {
            const int32_t id = pick(s, logits);
            if (round == 0) first[i] = id;
            if (round == 1) assert_int_equal(id, first[i]);
            if (round == 2) other += id != first[i];
        }
        octet_sampler_close(s);
    }
    assert_true(other > 32);
}

static void test_a_pick_depends_on_its_number_not_on_earlier_logits(void **state) {
    (void)state;
    const float even[8] = {0}, uneven[8] = {5, 1, 2, 3, 0, 0, 1, 1};
    struct octet_sampler *const a = open_plain(plain(), 8), *const b = open_plain(plain(), 8);
    for (int i = 0; i < 20; i++) {
        pick(a, even);
        pick(b, uneven);
        assert_int_equal(pick(a, even), pick(b, even));
    }
    octet_sampler_close(a);
    octet_sampler_close(b);
}

static void test_the_callers_logits_stay(void **state) {
    (void)state;
    const float logits[] = {1, 2, 3}, copy[] = {1, 2, 3};
    struct octet_sampling o = DEFAULTS;
    o.repeat_penalty = 1.5f;
    struct octet_sampler *const s = open_plain(o, 3);
    accept_all(s, (const int32_t[]){0, 1, 2}, 3);
    pick(s, logits);
    assert_memory_equal(logits, copy, sizeof copy);
    octet_sampler_close(s);
}

/* ---- Bias and penalties ---------------------------------------------------------------------- */

static void test_bias_adds_and_forbids(void **state) {
    (void)state;
    const float logits[] = {1.0f, 2.0f, 3.0f};
    struct octet_logit_bias bias[] = {{2, -INFINITY}, {0, 1.5f}};
    struct octet_sampling o = plain();
    o.bias = bias;
    o.n_bias = 2;
    assert_int_equal(reach(o, logits, 3), 0x3);
    o.temperature = 0.0f;
    struct octet_sampler *const s = open_plain(o, 3);
    bias[1].bias = -9.0f; // the sampler has its own copy
    assert_int_equal(pick(s, logits), 0);
    octet_sampler_close(s);
}

static void test_penalties_never_lift_a_forbidden_token(void **state) {
    (void)state;
    const float logits[] = {5.0f, 0.0f};
    struct octet_sampling o = plain();
    o.temperature = 0.0f;
    o.presence_penalty = -100.0f;
    o.bias = &(const struct octet_logit_bias){0, -INFINITY};
    o.n_bias = 1;
    struct octet_sampler *const s = open_plain(o, 2);
    accept_all(s, (const int32_t[]){0}, 1);
    assert_int_equal(pick(s, logits), 1);
    octet_sampler_close(s);
}

/* The token that greedy takes after HISTORY. */
static int32_t greedy_after(struct octet_sampling o, const float *logits, size_t n,
                            const int32_t *history, size_t n_history) {
    o.temperature = 0.0f;
    struct octet_sampler *const s = open_plain(o, n);
    accept_all(s, history, n_history);
    const int32_t id = pick(s, logits);
    assert_int_equal(pick(s, logits), id); // penalties do not add up from pick to pick
    octet_sampler_close(s);
    return id;
}

static void test_repeat_penalty_divides_positive_and_multiplies_negative(void **state) {
    (void)state;
    struct octet_sampling o = plain();
    o.repeat_penalty = 2.0f;
    const int32_t seen[] = {0};
    assert_int_equal(greedy_after(o, (const float[]){4.0f, 2.1f}, 2, seen, 1), 1);
    assert_int_equal(greedy_after(o, (const float[]){4.0f, 1.9f}, 2, seen, 1), 0);
    assert_int_equal(greedy_after(o, (const float[]){-1.0f, -1.9f}, 2, seen, 1), 1);
    assert_int_equal(greedy_after(o, (const float[]){-1.0f, -2.1f}, 2, seen, 1), 0);
}

static void test_frequency_penalty_counts_and_presence_does_not(void **state) {
    (void)state;
    const int32_t seen[] = {0, 0, 0, 1};
    struct octet_sampling o = plain();
    o.frequency_penalty = 1.0f; // 0 loses 3, 1 loses 1
    assert_int_equal(greedy_after(o, (const float[]){5.0f, 3.1f, 0.0f}, 3, seen, 4), 1);
    assert_int_equal(greedy_after(o, (const float[]){5.0f, 2.9f, 0.0f}, 3, seen, 4), 0);
    o.frequency_penalty = 0.0f;
    o.presence_penalty = 1.0f; // both lose 1
    assert_int_equal(greedy_after(o, (const float[]){5.0f, 4.9f, 3.9f}, 3, seen, 4), 0);
    assert_int_equal(greedy_after(o, (const float[]){5.0f, 4.9f, 4.1f}, 3, seen, 4), 2);
}

static void test_penalties_look_back_as_far_as_told(void **state) {
    (void)state;
    const float logits[] = {5.0f, 4.5f};
    const int32_t seen[] = {0, 1, 1};
    struct octet_sampling o = plain();
    o.presence_penalty = 1.0f;
    o.penalty_last_n = 2; // only 1 is seen
    assert_int_equal(greedy_after(o, logits, 2, seen, 3), 0);
    o.penalty_last_n = 0;
    assert_int_equal(greedy_after(o, logits, 2, seen, 3), 0);
    o.frequency_penalty = -1.0f; // 0: 5 - 1 + 1, 1: 4.5 - 1 + 2
    o.penalty_last_n = -1;
    assert_int_equal(greedy_after(o, logits, 2, seen, 3), 1);
}

/* ---- DRY ------------------------------------------------------------------------------------- */

static struct octet_sampling dry(void) {
    struct octet_sampling o = plain();
    o.dry_multiplier = 1.0f;
    o.dry_base = 2.0f;
    o.dry_allowed_length = 2;
    return o;
}

/* How much DRY takes from token ID after HISTORY: greedy against a rival just above and below. */
static void assert_dry_takes(struct octet_sampling o, const int32_t *history, size_t n, int32_t id,
                             float penalty) {
    enum { RIVAL = 31 };
    float logits[32];
    for (int i = 0; i < 32; i++) logits[i] = -500.0f;
    logits[id] = 0.0f;
    logits[RIVAL] = -penalty - 0.01f;
    assert_int_equal(greedy_after(o, logits, 32, history, n), id);
    logits[RIVAL] = -penalty + 0.01f;
    assert_int_equal(greedy_after(o, logits, 32, history, n), RIVAL);
}

static void test_dry_grows_with_the_repeated_length(void **state) {
    (void)state;
    const int32_t history[] = {1, 2, 3, 4, 5, 9, 1, 2, 3, 4}; // 5 would repeat 1 2 3 4
    assert_dry_takes(dry(), history, 10, 5, 4.0f);     // 1 * 2^(4-2)
    assert_dry_takes(dry(), history, 10, 9, 0.0f);
    assert_dry_takes(dry(), history + 1, 9, 5, 2.0f); // only 2 3 4 is repeated
    struct octet_sampling o = dry();
    o.dry_multiplier = 0.5f;
    o.dry_base = 3.0f;
    o.dry_allowed_length = 3;
    assert_dry_takes(o, history, 10, 5, 1.5f);
}

static void test_dry_lets_short_repetitions_pass(void **state) {
    (void)state;
    const int32_t history[] = {7, 4, 5, 9, 4}; // only 4 is repeated
    assert_dry_takes(dry(), history, 5, 5, 0.0f);
    struct octet_sampling o = dry();
    o.dry_allowed_length = 1;
    assert_dry_takes(o, history, 5, 5, 1.0f);
}

static void test_dry_takes_the_longest_match(void **state) {
    (void)state;
    const int32_t history[] = {8, 2, 3, 5, 1, 2, 3, 5, 7, 2, 3, 5, 6, 1, 2, 3};
    assert_dry_takes(dry(), history, 16, 5, 2.0f); // "1 2 3", not "2 3"
}

static void test_dry_matches_may_overlap(void **state) {
    (void)state;
    const int32_t history[] = {5, 5, 5, 5, 5};
    assert_dry_takes(dry(), history, 5, 5, 4.0f); // four tokens before the last one repeat
}

static void test_dry_looks_back_as_far_as_told(void **state) {
    (void)state;
    const int32_t history[] = {1, 2, 3, 4, 5, 9, 1, 2, 3, 4};
    struct octet_sampling o = dry();
    o.dry_last_n = 9; // 2 3 4 5 9 1 2 3 4
    assert_dry_takes(o, history, 10, 5, 2.0f);
    o.dry_last_n = 5;
    assert_dry_takes(o, history, 10, 5, 0.0f);
}

static void test_dry_stops_at_breakers(void **state) {
    (void)state;
    uint8_t traits[32];
    memset(traits, SAMPLER_ALLOWED, sizeof traits);
    traits[2] |= SAMPLER_BREAKER;
    struct octet_sampling o = dry();
    o.temperature = 0.0f;
    float logits[32] = {0};
    logits[5] = 1.5f;
    const int32_t history[] = {1, 2, 3, 4, 5, 9, 1, 2, 3, 4}; // 3 4 after the breaker: 2^0
    struct octet_sampler *s = open_traits(o, traits, 32);
    accept_all(s, history, 10);
    assert_int_equal(pick(s, logits), 5);
    logits[5] = 0.9f;
    assert_int_equal(pick(s, logits), 0);
    octet_sampler_close(s);

    s = open_traits(o, traits, 32); // the text ends with a breaker
    accept_all(s, history, 8);
    logits[3] = 0.95f;
    assert_int_equal(pick(s, logits), 3);
    octet_sampler_close(s);

    s = open_traits(o, traits, 32); // a breaker is what comes next
    accept_all(s, (const int32_t[]){3, 4, 5, 2, 3, 4, 5}, 7);
    logits[2] = 3.0f;
    assert_int_equal(pick(s, logits), 2);
    octet_sampler_close(s);
}

static void test_dry_copes_with_long_monotonous_texts(void **state) {
    (void)state;
    struct octet_sampling o = dry();
    o.temperature = 0.0f;
    struct octet_sampler *const s = open_plain(o, 4);
    for (int i = 0; i < 200000; i++) assert_int_equal(octet_sampler_accept(s, 1), OCTET_OK);
    assert_int_equal(pick(s, (const float[]){0.0f, 3e38f, -1.0f, -1.0f}), 0);
    octet_sampler_close(s);
}

/* ---- Mirostat -------------------------------------------------------------------------------- */

static void test_mirostat_brings_the_mean_surprise_to_tau(void **state) {
    (void)state;
    double p[N_MAX], sum = 0.0;
    for (int i = 0; i < N_MAX; i++) sum += p[i] = 1.0 / (i + 1); // Zipf
    float logits[N_MAX];
    for (int i = 0; i < N_MAX; i++) logits[i] = (float)log(p[i] / sum);
    struct octet_sampling o = plain();
    o.mirostat = 2;
    o.mirostat_tau = 2.0f;
    o.mirostat_eta = 0.1f;
    struct octet_sampler *const s = open_plain(o, N_MAX);
    int counts[N_MAX] = {0};
    const int n_warm = 500, n = 8000;
    for (int i = 0; i < n_warm; i++) pick(s, logits);
    for (int i = 0; i < n; i++) counts[pick(s, logits)]++;
    octet_sampler_close(s);
    double surprise = 0.0; // of the draws under the distribution they were drawn from
    for (int i = 0; i < N_MAX; i++) {
        if (counts[i] > 0) surprise -= counts[i] * log2((double)counts[i] / n) / n;
    }
    assert_true(fabs(surprise - 2.0) < 0.25);
}

static void test_mirostat_with_nothing_below_mu_takes_the_best(void **state) {
    (void)state;
    const float logits[8] = {0, 0, 0, 0.001f, 0, 0, 0, 0};
    struct octet_sampling o = plain();
    o.mirostat = 2;
    o.mirostat_tau = 0.0f;
    o.mirostat_eta = 0.0f;
    assert_int_equal(reach(o, logits, 8), 1u << 3);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void test_rejects_numbers_that_are_none(void **state) {
    (void)state;
    struct octet_sampler *const s = open_plain(DEFAULTS, 3);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        float logits[] = {1.0f, 2.0f, 3.0f};
        logits[1] = bad[i];
        int32_t id;
        struct octet_err err;
        assert_int_equal(octet_sampler_pick(s, logits, &id, &err), OCTET_ENUMERIC);
        assert_non_null(strstr(err.message, "token 1"));
    }
    assert_in_range(pick(s, (const float[]){1.0f, 2.0f, 3.0f}), 0, 2); // still usable
    octet_sampler_close(s);
}

static void test_tokens_without_leave_are_never_picked(void **state) {
    (void)state;
    const uint8_t traits[] = {0, SAMPLER_ALLOWED, 0, SAMPLER_ALLOWED};
    const float logits[] = {9.0f, 1.0f, 9.0f, 1.0f};
    struct octet_sampler *const s = open_traits(plain(), traits, 4);
    for (int i = 0; i < 1000; i++) assert_true(pick(s, logits) % 2 == 1);
    octet_sampler_close(s);
}

static void test_everything_forbidden_is_an_error(void **state) {
    (void)state;
    const struct octet_logit_bias bias[] = {{0, -INFINITY}, {1, -INFINITY}};
    struct octet_sampling o = DEFAULTS;
    o.bias = bias;
    o.n_bias = 2;
    struct octet_sampler *const s = open_plain(o, 2);
    int32_t id;
    struct octet_err err;
    assert_int_equal(octet_sampler_pick(s, (const float[]){1, 2}, &id, &err), OCTET_EARG);
    octet_sampler_close(s);
}

static void test_accept_rejects_ids_outside(void **state) {
    (void)state;
    struct octet_sampler *const s = open_plain(DEFAULTS, 3);
    assert_int_equal(octet_sampler_accept(s, -1), OCTET_EARG);
    assert_int_equal(octet_sampler_accept(s, 3), OCTET_EARG);
    assert_int_equal(octet_sampler_accept(s, 2), OCTET_OK);
    octet_sampler_close(s);
}

static void assert_refused(struct octet_sampling o, const char *field) {
    uint8_t traits[4] = {1, 1, 1, 1};
    struct octet_sampler *s = NULL;
    struct octet_err err = {0};
    assert_int_equal(sampler_open(traits, 4, &o, &s, &err), OCTET_EARG);
    assert_null(s);
    if (!strstr(err.message, field)) fail_msg("'%s' does not name %s", err.message, field);
}

static void test_values_out_of_range_name_their_field(void **state) {
    (void)state;
    struct octet_sampling o;
#define REFUSED(field, value) (o = DEFAULTS, o.field = (value), assert_refused(o, #field))
    REFUSED(temperature, -0.1f);
    REFUSED(temperature, NAN);
    REFUSED(temperature, INFINITY);
    REFUSED(top_k, -1);
    REFUSED(top_p, 1.1f);
    REFUSED(top_p, -0.1f);
    REFUSED(min_p, 1.5f);
    REFUSED(typical_p, NAN);
    REFUSED(repeat_penalty, 0.0f);
    REFUSED(repeat_penalty, -1.0f);
    REFUSED(frequency_penalty, INFINITY);
    REFUSED(presence_penalty, NAN);
    REFUSED(penalty_last_n, -2);
    REFUSED(dry_multiplier, -1.0f);
    REFUSED(dry_base, 0.5f);
    REFUSED(dry_allowed_length, -1);
    REFUSED(dry_last_n, -2);
    REFUSED(mirostat, 1);
    REFUSED(mirostat_tau, -1.0f);
    REFUSED(mirostat_eta, NAN);
#undef REFUSED
    o = DEFAULTS;
    o.n_bias = 1;
    assert_refused(o, "bias"); // without an array
    struct octet_logit_bias bias = {4, 0.0f};
    o.bias = &bias;
    assert_refused(o, "bias");
    bias = (struct octet_logit_bias){0, NAN};
    assert_refused(o, "bias");
    bias.bias = INFINITY;
    assert_refused(o, "bias");
}

static void test_running_out_of_memory_is_an_error(void **state) {
    (void)state;
    const uint8_t traits[4] = {1, 1, 1, 1};
    struct octet_sampler *s = NULL;
    enum octet_status status = OCTET_EMEM;
    for (size_t after = 0; status == OCTET_EMEM && after < 100; after++) {
        mem_fail_after(after);
        status = sampler_open(traits, 4, NULL, &s, NULL);
        mem_fail_after(SIZE_MAX);
    }
    assert_int_equal(status, OCTET_OK);
    mem_fail_after(0);
    assert_int_equal(octet_sampler_accept(s, 1), OCTET_EMEM);
    mem_fail_after(1);
    assert_int_equal(octet_sampler_accept(s, 1), OCTET_EMEM);
    mem_fail_after(SIZE_MAX);
    assert_int_equal(octet_sampler_accept(s, 1), OCTET_OK);
    octet_sampler_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_follow_the_distribution),
        cmocka_unit_test(test_temperature_sharpens_and_flattens),
        cmocka_unit_test(test_temperature_zero_takes_the_best),
        cmocka_unit_test(test_tiny_temperature_is_greedy_without_overflow),
        cmocka_unit_test(test_top_k_keeps_the_best),
        cmocka_unit_test(test_top_k_prefers_lower_ids_among_equals),
        cmocka_unit_test(test_top_p_keeps_the_smallest_set_with_the_mass),
        cmocka_unit_test(test_min_p_is_relative_to_the_best),
        cmocka_unit_test(test_typical_drops_the_too_likely_too),
        cmocka_unit_test(test_top_p_counts_among_what_top_k_left),
        cmocka_unit_test(test_filters_ignore_the_temperature),
        cmocka_unit_test(test_equal_logits_are_drawn_evenly),
        cmocka_unit_test(test_same_seed_same_picks),
        cmocka_unit_test(test_a_pick_depends_on_its_number_not_on_earlier_logits),
        cmocka_unit_test(test_the_callers_logits_stay),
        cmocka_unit_test(test_bias_adds_and_forbids),
        cmocka_unit_test(test_penalties_never_lift_a_forbidden_token),
        cmocka_unit_test(test_repeat_penalty_divides_positive_and_multiplies_negative),
        cmocka_unit_test(test_frequency_penalty_counts_and_presence_does_not),
        cmocka_unit_test(test_penalties_look_back_as_far_as_told),
        cmocka_unit_test(test_dry_grows_with_the_repeated_length),
        cmocka_unit_test(test_dry_lets_short_repetitions_pass),
        cmocka_unit_test(test_dry_takes_the_longest_match),
        cmocka_unit_test(test_dry_matches_may_overlap),
        cmocka_unit_test(test_dry_looks_back_as_far_as_told),
        cmocka_unit_test(test_dry_stops_at_breakers),
        cmocka_unit_test(test_dry_copes_with_long_monotonous_texts),
        cmocka_unit_test(test_mirostat_brings_the_mean_surprise_to_tau),
        cmocka_unit_test(test_mirostat_with_nothing_below_mu_takes_the_best),
        cmocka_unit_test(test_rejects_numbers_that_are_none),
        cmocka_unit_test(test_tokens_without_leave_are_never_picked),
        cmocka_unit_test(test_everything_forbidden_is_an_error),
        cmocka_unit_test(test_accept_rejects_ids_outside),
        cmocka_unit_test(test_values_out_of_range_name_their_field),
        cmocka_unit_test(test_running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
