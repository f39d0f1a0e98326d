/* Masks of the vocabulary, and the state of one text in its grammar. See grammar.h.
 *
 * A mask is a walk of the trie: a byte that leads nowhere cuts off all tokens that go on from it,
 * and where bytes make no difference, as within a string, tokens are decided on all at once.
 * Masks stay with their states. What they allow lengthens the way to the end by a bounded amount
 * only; where a text must be complete within fewer tokens than that, a mask of its own is made. */
#include <string.h>

#include "text/grammar_impl.h"

struct matcher {
    struct grammar *g;
    struct automaton *automaton;
    uint32_t state;
    int64_t n_left;    // tokens; < 0: any number
    uint64_t *bits;    // (n_words) what the last call of matcher_mask gave
};

static size_t n_words(const struct grammar *g) { return g->trie->n_ids / 64 + 1; }

/* ---- Grammars -------------------------------------------------------------------------------- */

enum octet_status grammar_open(const char *source, size_t n_bytes, const struct trie *trie,
                               struct grammar **out, struct octet_err *err) {
    *out = NULL;
    struct grammar *const g = mem_alloc(sizeof *g);
    if (!g) return octet_fail_memory(err, "a grammar", sizeof *g);
    g->trie = trie;
    atomic_store(&g->n_owners, 1);
    pthread_mutex_init(&g->lock, NULL);
    enum octet_status status = grammar_parse(g, source, n_bytes, err);
    if (status == OCTET_OK) status = grammar_check(g, err);
    if (status == OCTET_OK) status = automaton_open(g, &g->automaton, err);
    if (status == OCTET_OK)
        *out = g;
    else
        grammar_close(g);
    return status;
}

struct grammar *grammar_share(struct grammar *g) {
    atomic_fetch_add(&g->n_owners, 1);
    return g;
}

void grammar_close(struct grammar *g) {
    if (!g || atomic_fetch_sub(&g->n_owners, 1) > 1) return;
    automaton_close(g->automaton);
    for (size_t i = 0; i < g->n_rules; i++) mem_free(g->rules[i].name);
    mem_free(g->rules);
    mem_free(g->rule_slots);
    mem_free(g->nodes);
    mem_free(g->edges);
    mem_free(g->calls);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

/* ---- Walks ----------------------------------------------------------------------------------- */

struct walk {
    uint32_t limit;    // of the cost behind a token
    uint32_t worst;    // behind the allowed ones, or more
    uint32_t cheapest; // behind any; where some are allowed, not above the limit
};

/* Where all bytes of some kinds lead from a state. */
struct stretch {
    uint32_t state, to;
    uint32_t known, alike; // kinds looked at; those that lead to TO
};
enum { N_STRETCHES = 64, WORTH_ASKING = 8 }; // nodes below one, to look for a shorter way

static bool is_alike(struct automaton *a, const struct stretch *s, unsigned kind) {
    const struct trie *const t = a->g->trie;
    for (unsigned i = t->kind_start[kind]; i < t->kind_start[kind + 1]; i++)
        if (automaton_next(a, s->state, a->g->class_of[t->of_kind[i]]) != s->to) return false;
    return true;
}

/* The state after STATE and BYTE, if all bytes of KINDS lead there; else STATE_DEAD. */
static uint32_t follow_kinds(struct automaton *a, struct stretch *stretches, uint32_t state,
                             uint8_t byte, uint32_t kinds) {
    struct stretch *const s = &stretches[state % N_STRETCHES];
    const uint32_t to = automaton_next(a, state, a->g->class_of[byte]);
    if (to == STATE_DEAD) return STATE_DEAD;
    if (s->state != state || s->to != to) *s = (struct stretch){.state = state, .to = to};
    for (uint32_t ask = kinds & ~s->known; ask; ask &= ask - 1) {
        const uint32_t bit = ask & -ask;
        s->known |= bit;
        if (!is_alike(a, s, (unsigned)__builtin_ctz(bit))) break;
        s->alike |= bit;
    }
    return kinds & ~s->alike ? STATE_DEAD : to;
}

/* Whether all that is below NODE, which leads to STATE, is *ALLOWED or not alike, since its bytes
 * are of kinds that make no difference: those of words in a string. Its first child follows it. */
static bool decide_below(struct automaton *a, struct stretch *stretches,
                         const struct trie_node *node, uint32_t state, struct walk *w,
                         bool *allowed) {
    uint32_t least = GRAMMAR_NEVER, most = 0; // costs
    for (unsigned level = 0; level < node->height; level++) {
        const uint32_t next = follow_kinds(a, stretches, state, node[1].byte, node->kinds);
        if (next == STATE_DEAD) return false;
        const uint32_t cost = a->states[next].cost;
        if (cost < least) least = cost;
        if (cost > most) most = cost;
        if (next == state) break;
        state = next;
    }
    *allowed = most <= w->limit;
    if (!*allowed && least < most) return false; // no token may cost the least
    if (*allowed && most > w->worst) w->worst = most;
    if (least < w->cheapest) w->cheapest = least;
    return true;
}

/* Of the tokens FIRST to END - 1, most often one or none. */
static void set_bits(const struct trie *t, uint64_t *bits, uint32_t first, uint32_t end) {
    for (uint32_t k = first; k < end; k++)
        bits[t->tokens[k] / 64] |= UINT64_C(1) << (t->tokens[k] % 64);
}

/* Sets the bits of tokens after which the way to the end costs at most the limit. */
static enum octet_status walk_trie(struct automaton *a, uint32_t state, struct walk *w,
                                   uint64_t *bits, struct octet_err *err) {
    const struct trie *const t = a->g->trie;
    const struct trie_node *const nodes = t->nodes;
    const uint8_t *const class_of = a->g->class_of;
    struct stretch stretches[N_STRETCHES] = {{0}};
    uint32_t at[TRIE_MAX_DEPTH + 1];
    at[0] = state;
    a->n_work = 0;
    w->worst = 0;
    w->cheapest = GRAMMAR_NEVER;
    for (uint32_t i = 0; i < t->n_nodes;) {
        const struct trie_node node = nodes[i];
        const uint32_t next = automaton_next(a, at[node.depth - 1], class_of[node.byte]);
        if (next == STATE_DEAD) {
            if (a->status != OCTET_OK) break;
            i = node.next;
            continue;
        }
        at[node.depth] = next;
        const uint32_t first = node.first_token, end = nodes[i + 1].first_token;
        if (first < end) {
            const uint32_t cost = a->states[next].cost;
            if (cost < w->cheapest) w->cheapest = cost;
            if (cost <= w->limit) {
                if (cost > w->worst) w->worst = cost;
                set_bits(t, bits, first, end);
            }
        }
        bool allowed;
        if (node.next - i > WORTH_ASKING &&
            decide_below(a, stretches, &nodes[i], next, w, &allowed)) {
            if (allowed) set_bits(t, bits, end, nodes[node.next].first_token);
            i = node.next;
        } else {
            i++;
        }
    }
    if (a->status != OCTET_OK) return automaton_failed(a, err);
    if (!a->states[state].accepts) return OCTET_OK;
    for (size_t i = 0; i < t->n_ends; i++)
        bits[t->ends[i] / 64] |= UINT64_C(1) << (t->ends[i] % 64);
    return OCTET_OK;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

/* Goes on in a new automaton where the old one has grown too large. Under the lock. */
static enum octet_status renew(struct matcher *m, struct octet_err *err) {
    struct grammar *const g = m->g;
    if (automaton_bytes(g->automaton) > GRAMMAR_MAX_BYTES || g->automaton->status != OCTET_OK) {
        struct automaton *fresh;
        const enum octet_status status = automaton_open(g, &fresh, err);
        if (status != OCTET_OK) return status;
        automaton_close(g->automaton);
        g->automaton = fresh;
    }
    if (m->automaton == g->automaton) return OCTET_OK;
    const uint32_t state = automaton_adopt(g->automaton, m->automaton, m->state);
    if (g->automaton->status != OCTET_OK) return automaton_failed(g->automaton, err);
    automaton_close(m->automaton);
    m->automaton = g->automaton;
    m->automaton->n_users++;
    m->state = state;
    return OCTET_OK;
}

enum octet_status matcher_open(struct grammar *g, int64_t n_tokens, struct matcher **out,
                               struct octet_err *err) {
    *out = NULL;
    if (!g->trie) return octet_fail(err, OCTET_EARG, "the grammar was opened without a model");
    struct matcher *const m = mem_alloc(sizeof *m);
    if (!m) return octet_fail_memory(err, "a grammar", sizeof *m);
    m->bits = mem_array(n_words(g), sizeof *m->bits);
    if (!m->bits) {
        mem_free(m);
        return octet_fail_memory(err, "a grammar", n_words(g) * sizeof *m->bits);
    }
    m->g = grammar_share(g);
    m->n_left = n_tokens;
    m->state = STATE_FIRST;
    pthread_mutex_lock(&g->lock);
    m->automaton = g->automaton;
    m->automaton->n_users++;
    pthread_mutex_unlock(&g->lock);
    *out = m;
    return OCTET_OK;
}

void matcher_close(struct matcher *m) {
    if (!m) return;
    pthread_mutex_lock(&m->g->lock);
    automaton_close(m->automaton);
    pthread_mutex_unlock(&m->g->lock);
    grammar_close(m->g);
    mem_free(m->bits);
    mem_free(m);
}

/* The mask that the state keeps, made if it has none yet. */
static enum octet_status state_mask(struct matcher *m, struct state **out, struct octet_err *err) {
    struct automaton *const a = m->automaton;
    *out = &a->states[m->state];
    if ((*out)->mask) return OCTET_OK;
    struct walk w = {.limit = m->g->max_cost};
    if ((*out)->cost > w.limit) w.limit = (*out)->cost;
    const size_t n_bytes = n_words(m->g) * sizeof(uint64_t);
    uint64_t *const bits = mem_alloc(n_bytes);
    if (!bits) return octet_fail_memory(err, "a mask of tokens", n_bytes);
    const enum octet_status status = walk_trie(a, m->state, &w, bits, err);
    if (status != OCTET_OK) {
        mem_free(bits);
        return status;
    }
    *out = &a->states[m->state];
    (*out)->mask = bits;
    (*out)->worst = w.worst;
    a->mask_bytes += n_bytes;
    return OCTET_OK;
}

/* A mask of tokens after which at most LIMIT more complete the text, or as few as can be. */
static enum octet_status tight_mask(struct matcher *m, uint32_t limit, struct octet_err *err) {
    struct walk w = {.limit = limit};
    memset(m->bits, 0, n_words(m->g) * sizeof *m->bits);
    enum octet_status status = walk_trie(m->automaton, m->state, &w, m->bits, err);
    const bool none = w.cheapest > limit && w.cheapest != GRAMMAR_NEVER;
    if (status == OCTET_OK && none && !m->automaton->states[m->state].accepts) {
        w.limit = w.cheapest;
        status = walk_trie(m->automaton, m->state, &w, m->bits, err);
    }
    return status;
}

enum octet_status matcher_mask(struct matcher *m, const uint64_t **bits, struct octet_err *err) {
    struct state *state;
    *bits = NULL;
    pthread_mutex_lock(&m->g->lock);
    enum octet_status status = renew(m, err);
    if (status == OCTET_OK) status = state_mask(m, &state, err);
    if (status == OCTET_OK) {
        const int64_t after = m->n_left > 0 ? m->n_left - 1 : 0; // left behind the next one
        if (m->n_left >= 0 && after < (int64_t)state->worst)
            status = tight_mask(m, (uint32_t)after, err);
        else
            memcpy(m->bits, state->mask, n_words(m->g) * sizeof *m->bits);
    }
    pthread_mutex_unlock(&m->g->lock);
    if (status == OCTET_OK) *bits = m->bits;
    return status;
}

/* Reads bytes from the matcher's state on. Under the lock. */
static enum octet_status read_bytes(struct automaton *a, uint32_t *state, const char *bytes,
                                    size_t n_bytes, struct octet_err *err) {
    uint32_t at = *state;
    a->n_work = 0;
    for (size_t i = 0; i < n_bytes && at != STATE_DEAD; i++)
        at = automaton_next(a, at, a->g->class_of[(uint8_t)bytes[i]]);
    if (a->status != OCTET_OK) return automaton_failed(a, err);
    *state = at;
    return OCTET_OK;
}

enum octet_status matcher_accept(struct matcher *m, int32_t id, struct octet_err *err) {
    const struct vocab *const v = m->g->trie->vocab;
    const char *bytes = "";
    size_t n_bytes = 0;
    if (vocab_ends(v, id)) {
        if (matcher_may_end(m)) return OCTET_OK;
        return octet_fail(err, OCTET_EARG, "the grammar does not allow an end here");
    }
    vocab_bytes(v, id, false, &bytes, &n_bytes);
    pthread_mutex_lock(&m->g->lock);
    uint32_t state = m->state;
    enum octet_status status = renew(m, err);
    if (status == OCTET_OK) {
        state = m->state;
        status = read_bytes(m->automaton, &state, bytes, n_bytes, err);
    }
    pthread_mutex_unlock(&m->g->lock);
    if (status != OCTET_OK) return status;
    if (state == STATE_DEAD || n_bytes == 0)
        return octet_fail(err, OCTET_EARG, "the grammar does not allow token %d here", id);
    m->state = state;
    if (m->n_left > 0) m->n_left--;
    return OCTET_OK;
}

/* A copy of the state, which others may add states beside. */
static struct state current(const struct matcher *m) {
    pthread_mutex_lock(&m->g->lock);
    const struct state state = m->automaton->states[m->state];
    pthread_mutex_unlock(&m->g->lock);
    return state;
}

bool matcher_may_end(const struct matcher *m) { return current(m).accepts; }

bool matcher_finished(const struct matcher *m) {
    const struct state state = current(m);
    return state.accepts && state.n == 0;
}

enum octet_status grammar_match(struct grammar *g, const char *text, size_t n_bytes, int *how,
                                struct octet_err *err) {
    struct automaton *a;
    uint32_t state = STATE_FIRST;
    *how = 0;
    enum octet_status status = automaton_open(g, &a, err);
    if (status != OCTET_OK) return status;
    status = read_bytes(a, &state, text, n_bytes, err);
    if (status == OCTET_OK && state != STATE_DEAD) *how = a->states[state].accepts ? 2 : 1;
    automaton_close(a);
    return status;
}
