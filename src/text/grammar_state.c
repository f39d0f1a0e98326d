/* The automaton over bytes that a grammar becomes as texts are read.
 *
 * A place is a node that reads a byte, and the stack of nodes to return to. Stacks share what is
 * below, and equal ones are one; so equal sets of places are found by comparing numbers, and get
 * the number of their state. A call that is the last thing its rule does leaves nothing to return
 * to, so lists that are written as recursion do not grow stacks. Places that can not be completed
 * are left out: what is no dead state has a way to the end. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/grammar_impl.h"

enum { SET_SLOTS = 4 * GRAMMAR_MAX_PLACES };

static bool fail(struct automaton *a, enum octet_status status) {
    if (a->status == OCTET_OK) a->status = status;
    return false;
}

enum octet_status automaton_failed(const struct automaton *a, struct octet_err *err) {
    if (a->status == OCTET_EMEM)
        return octet_fail_memory(err, "states of a grammar", automaton_bytes(a));
    return octet_fail(err, a->status,
                      "the grammar nests too deep, or allows too many readings of one text");
}

size_t automaton_bytes(const struct automaton *a) {
    return a->n_frames * (sizeof *a->frames + 8) + a->n_places * sizeof *a->places +
           a->n_states * (sizeof *a->states + 8 + a->g->n_classes * sizeof *a->rows) +
           a->mask_bytes;
}

/* ---- Stacks ---------------------------------------------------------------------------------- */

static uint64_t hash_frame(uint32_t node, uint32_t below) {
    const uint64_t x = ((uint64_t)below << 32 | node) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

static bool grow_frames(struct automaton *a) {
    const size_t n = a->frame_slots ? 2 * (a->frame_mask + 1) : 256;
    uint32_t *const slots = mem_array(n, sizeof *slots);
    if (!slots) return fail(a, OCTET_EMEM);
    for (size_t i = 1; i < a->n_frames; i++) {
        size_t at = hash_frame(a->frames[i].node, a->frames[i].below) & (n - 1);
        while (slots[at]) at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i;
    }
    mem_free(a->frame_slots);
    a->frame_slots = slots;
    a->frame_mask = n - 1;
    return true;
}

static uint32_t add_costs(uint32_t x, uint32_t y) {
    return y < GRAMMAR_NEVER - x ? x + y : GRAMMAR_NEVER;
}

/* The stack with NODE on top of BELOW. */
static bool push(struct automaton *a, uint32_t node, uint32_t below, uint32_t *out) {
    if (2 * (a->n_frames + 1) > a->frame_mask + 1 && !grow_frames(a)) return false;
    size_t at = hash_frame(node, below) & a->frame_mask;
    for (; a->frame_slots[at]; at = (at + 1) & a->frame_mask) {
        const struct frame *const f = &a->frames[a->frame_slots[at]];
        *out = a->frame_slots[at];
        if (f->node == node && f->below == below) return true;
    }
    if (a->frames[below].depth >= GRAMMAR_MAX_STACK) return fail(a, OCTET_EUNSUPPORTED);
    if (!mem_reserve((void **)&a->frames, &a->frames_cap, a->n_frames + 1, sizeof *a->frames))
        return fail(a, OCTET_EMEM);
    a->frames[a->n_frames] =
        (struct frame){node, below, a->frames[below].depth + 1,
                       add_costs(a->frames[below].cost, a->g->nodes[node].cost)};
    *out = a->frame_slots[at] = (uint32_t)a->n_frames++;
    return true;
}

/* ---- Sets of places -------------------------------------------------------------------------- */

static uint32_t cost_of(const struct automaton *a, struct place p) {
    return add_costs(a->g->nodes[p.node].cost, a->frames[p.stack].cost);
}

/* Adds a place to the set, unless it is in there or leads nowhere. */
static bool add_place(struct automaton *a, struct place p) {
    if (cost_of(a, p) == GRAMMAR_NEVER) return true;
    size_t at = hash_frame(p.node, p.stack) & (SET_SLOTS - 1);
    for (; a->set_slots[at]; at = (at + 1) & (SET_SLOTS - 1)) {
        const struct place known = a->set[a->set_slots[at] - 1];
        if (known.node == p.node && known.stack == p.stack) return true;
    }
    if (a->n_set == GRAMMAR_MAX_PLACES) return fail(a, OCTET_EUNSUPPORTED);
    a->set[a->n_set++] = p;
    a->set_slots[at] = (uint32_t)a->n_set;
    return true;
}

static bool is_last(const struct grammar_node *node) {
    return node->accepts && node[1].edge == node->edge && node[1].call == node->call;
}

/* Adds what can be got to from PLACE without reading a byte. */
static bool add_reachable(struct automaton *a, struct place place, bool *accepts) {
    const struct grammar *const g = a->g;
    size_t i = a->n_set;
    if (!add_place(a, place)) return false;
    for (; i < a->n_set; i++) {
        const struct place p = a->set[i];
        const struct grammar_node *const node = &g->nodes[p.node];
        a->n_work++;
        if (node->accepts && p.stack == 0) *accepts = true;
        if (node->accepts && p.stack != 0) {
            const struct frame f = a->frames[p.stack];
            if (!add_place(a, (struct place){f.node, f.below})) return false;
        }
        for (uint32_t c = node->call; c < node[1].call; c++) {
            const struct grammar_call call = g->calls[c];
            uint32_t stack = p.stack;
            if (!is_last(&g->nodes[call.to]) && !push(a, call.to, p.stack, &stack)) return false;
            if (!add_place(a, (struct place){g->rules[call.rule].start, stack})) return false;
        }
    }
    return true;
}

static int compare_places(const void *a, const void *b) {
    const struct place *const x = a, *const y = b;
    if (x->node != y->node) return x->node < y->node ? -1 : 1;
    return x->stack < y->stack ? -1 : x->stack > y->stack;
}

/* Leaves the places that read a byte, sorted. */
static void keep_reading(struct automaton *a) {
    size_t n = 0;
    memset(a->set_slots, 0, SET_SLOTS * sizeof *a->set_slots);
    for (size_t i = 0; i < a->n_set; i++) {
        const struct grammar_node *const node = &a->g->nodes[a->set[i].node];
        if (node[1].edge > node->edge) a->set[n++] = a->set[i];
    }
    a->n_set = n;
    qsort(a->set, n, sizeof *a->set, compare_places);
}

/* ---- States ---------------------------------------------------------------------------------- */

static uint64_t hash_places(const struct place *places, size_t n, bool accepts) {
    return hash_bytes(HASH_INIT + accepts, places, n * sizeof *places);
}

static bool grow_states(struct automaton *a) {
    const size_t n = a->state_slots ? 2 * (a->state_mask + 1) : 256;
    uint32_t *const slots = mem_array(n, sizeof *slots);
    if (!slots) return fail(a, OCTET_EMEM);
    for (size_t i = STATE_FIRST; i < a->n_states; i++) {
        const struct state *const s = &a->states[i];
        size_t at = hash_places(a->places + s->first, s->n, s->accepts) & (n - 1);
        while (slots[at]) at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i;
    }
    mem_free(a->state_slots);
    a->state_slots = slots;
    a->state_mask = n - 1;
    return true;
}

static bool reserve_state(struct automaton *a) {
    const size_t n = a->n_states + 1, n_classes = a->g->n_classes;
    if (automaton_bytes(a) > 4 * (size_t)GRAMMAR_MAX_BYTES) return fail(a, OCTET_EUNSUPPORTED);
    if ((2 * n > a->state_mask + 1 || !a->state_slots) && !grow_states(a)) return false;
    if (!mem_reserve((void **)&a->states, &a->states_cap, n, sizeof *a->states) ||
        !mem_reserve((void **)&a->rows, &a->rows_cap, n * n_classes, sizeof *a->rows) ||
        !mem_reserve((void **)&a->places, &a->places_cap, a->n_places + a->n_set,
                     sizeof *a->places))
        return fail(a, OCTET_EMEM);
    return true;
}

static void add_state(struct automaton *a, bool accepts) {
    struct state s = {.first = a->n_places, .n = (uint32_t)a->n_set, .accepts = accepts,
                      .cost = accepts ? 0 : GRAMMAR_NEVER};
    for (size_t i = 0; i < a->n_set; i++) {
        const uint32_t cost = cost_of(a, a->set[i]);
        if (cost < s.cost) s.cost = cost;
        a->places[a->n_places++] = a->set[i];
    }
    const size_t n_classes = a->g->n_classes;
    memset(a->rows + a->n_states * n_classes, 0, n_classes * sizeof *a->rows);
    a->states[a->n_states++] = s;
}

/* The number of the state that the set is. */
static uint32_t state_of_set(struct automaton *a, bool accepts) {
    keep_reading(a);
    if (a->n_set == 0 && !accepts) return STATE_DEAD;
    if (!reserve_state(a)) return STATE_DEAD;
    size_t at = hash_places(a->set, a->n_set, accepts) & a->state_mask;
    for (; a->state_slots[at]; at = (at + 1) & a->state_mask) {
        const struct state *const s = &a->states[a->state_slots[at]];
        if (s->n == a->n_set && s->accepts == accepts &&
            (s->n == 0 || memcmp(a->places + s->first, a->set, s->n * sizeof *a->set) == 0))
            return a->state_slots[at];
    }
    add_state(a, accepts);
    return a->state_slots[at] = (uint32_t)a->n_states - 1;
}

/* The set could not be made: the next one begins empty. */
static uint32_t give_up(struct automaton *a) {
    memset(a->set_slots, 0, SET_SLOTS * sizeof *a->set_slots);
    return STATE_DEAD;
}

/* Where NODE goes with BYTE, or GRAMMAR_NONE. */
static uint32_t follow_edge(const struct grammar *g, uint32_t node, uint8_t byte) {
    uint32_t lo = g->nodes[node].edge, hi = g->nodes[node + 1].edge; // edges are in order
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (g->edges[mid].hi < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    const bool found = lo < g->nodes[node + 1].edge && g->edges[lo].lo <= byte;
    return found ? g->edges[lo].to : GRAMMAR_NONE;
}

uint32_t automaton_find(struct automaton *a, uint32_t state, uint8_t c) {
    const struct grammar *const g = a->g;
    const struct state from = a->states[state];
    bool accepts = false;
    a->n_set = 0;
    if (a->n_work > GRAMMAR_MAX_WALK) fail(a, OCTET_EUNSUPPORTED);
    if (a->status != OCTET_OK) return STATE_DEAD;
    for (size_t i = 0; i < from.n; i++) {
        const struct place p = a->places[from.first + i];
        const uint32_t to = follow_edge(g, p.node, g->class_byte[c]);
        a->n_work++;
        if (to != GRAMMAR_NONE && !add_reachable(a, (struct place){to, p.stack}, &accepts))
            return give_up(a);
    }
    const uint32_t next = state_of_set(a, accepts);
    if (a->status == OCTET_OK) a->rows[(size_t)state * g->n_classes + c] = next;
    return next;
}

/* ---- Opening, closing, moving ---------------------------------------------------------------- */

static bool prepare(struct automaton *a) {
    a->set = mem_array(GRAMMAR_MAX_PLACES, sizeof *a->set);
    a->set_slots = mem_array(SET_SLOTS, sizeof *a->set_slots);
    if (!a->set || !a->set_slots || !grow_frames(a) ||
        !mem_reserve((void **)&a->frames, &a->frames_cap, 1, sizeof *a->frames) ||
        !mem_reserve((void **)&a->places, &a->places_cap, 1, sizeof *a->places))
        return fail(a, OCTET_EMEM);
    a->frames[a->n_frames++] = (struct frame){GRAMMAR_NONE, 0, 0, 0};
    for (int i = STATE_UNKNOWN; i < STATE_FIRST; i++) {
        if (!reserve_state(a)) return false;
        add_state(a, false);
    }
    for (size_t c = 0; c < a->g->n_classes; c++)
        a->rows[STATE_DEAD * a->g->n_classes + c] = STATE_DEAD;
    bool accepts = false;
    const struct place start = {a->g->rules[a->g->root].start, 0};
    return add_reachable(a, start, &accepts) && state_of_set(a, accepts) == STATE_FIRST;
}

enum octet_status automaton_open(const struct grammar *g, struct automaton **out,
                                 struct octet_err *err) {
    *out = NULL;
    struct automaton *const a = mem_alloc(sizeof *a);
    if (!a) return octet_fail_memory(err, "a grammar", sizeof *a);
    a->g = g;
    a->n_users = 1;
    if (prepare(a)) {
        *out = a;
        return OCTET_OK;
    }
    const enum octet_status status = automaton_failed(a, err);
    automaton_close(a);
    return status;
}

void automaton_close(struct automaton *a) {
    if (!a || --a->n_users > 0) return;
    for (size_t i = 0; i < a->n_states; i++) mem_free(a->states[i].mask);
    mem_free(a->frames);
    mem_free(a->places);
    mem_free(a->states);
    mem_free(a->rows);
    mem_free(a->frame_slots);
    mem_free(a->state_slots);
    mem_free(a->set);
    mem_free(a->set_slots);
    mem_free(a);
}

/* STACK of another automaton, built up again from its bottom. */
static bool adopt_stack(struct automaton *a, const struct automaton *from, uint32_t stack,
                        uint32_t *out) {
    const size_t depth = from->frames[stack].depth;
    uint32_t *const nodes = mem_array(depth, sizeof *nodes);
    if (!nodes) return fail(a, OCTET_EMEM);
    for (size_t i = depth; i-- > 0; stack = from->frames[stack].below)
        nodes[i] = from->frames[stack].node;
    bool fine = true;
    *out = 0;
    for (size_t i = 0; i < depth && fine; i++) fine = push(a, nodes[i], *out, out);
    mem_free(nodes);
    return fine;
}

uint32_t automaton_adopt(struct automaton *a, const struct automaton *from, uint32_t state) {
    const struct state s = from->states[state];
    a->n_set = 0;
    for (size_t i = 0; i < s.n; i++) {
        struct place p = from->places[s.first + i];
        if (!adopt_stack(a, from, p.stack, &p.stack)) return STATE_DEAD;
        a->set[a->n_set++] = p;
    }
    return state_of_set(a, s.accepts);
}
