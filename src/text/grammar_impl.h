/* The inside of grammars, shared by the files of src/text/grammar_*.c only. */
#ifndef OCTET_TEXT_GRAMMAR_IMPL_H
#define OCTET_TEXT_GRAMMAR_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "text/grammar.h"

/* Grammars come from strangers: each of these is an error of its own beyond it. */
enum grammar_limits {
    GRAMMAR_MAX_SOURCE = 4 << 20,
    GRAMMAR_MAX_RULES = 1 << 14,
    GRAMMAR_MAX_NESTING = 100,      // groups in groups
    GRAMMAR_MAX_PARTS = 1 << 18,    // of one rule, repetitions written out
    GRAMMAR_MAX_NODES = 1 << 18,    // of all automata
    GRAMMAR_MAX_EDGES = 1 << 20,
    GRAMMAR_MAX_WORK = 1 << 24,     // parts looked at to make a rule's automaton
    GRAMMAR_MAX_STACK = 4096,       // rules open at once
    GRAMMAR_MAX_PLACES = 1024,      // where a text may have got to, at once
    GRAMMAR_MAX_BYTES = 8 << 20,    // of states, before they are forgotten
    GRAMMAR_MAX_WALK = 1 << 22,     // places looked at for one mask
    GRAMMAR_MORE_COST = 512,        // how much longer than at the start the way to the end may get
};

#define GRAMMAR_NEVER UINT32_MAX // the cost of what can not be completed
#define GRAMMAR_NONE UINT32_MAX  // no node, no part

/* ---- Parts: a rule as written, before it becomes deterministic (grammar_parts.c) ------------- */

enum part_kind { PART_EMPTY, PART_EITHER, PART_BYTES, PART_CALL };

struct part {
    uint8_t kind;
    uint8_t lo, hi; // PART_BYTES
    uint32_t rule;  // PART_CALL
    uint32_t out, other; // where it goes on; OTHER of PART_EITHER only; or GRAMMAR_NONE
};

/* Failures stick: later calls do nothing, and the end of a rule looks at STATUS. */
struct parts {
    struct part *list; // (n)
    size_t n, cap;
    enum octet_status status; // EMEM, or EUNSUPPORTED: too many
};

/* A stretch of the list from FIRST on that is entered at START and left at END. */
struct piece {
    uint32_t first, start, end;
};

struct code_range {
    uint32_t lo, hi; // code points
};

struct piece piece_empty(struct parts *p);
struct piece piece_bytes(struct parts *p, uint8_t lo, uint8_t hi);
struct piece piece_call(struct parts *p, uint32_t rule);
/* Characters of RANGES (n), which are sorted and changed; with NEGATED all others. Surrogates are
 * never among them. */
struct piece piece_class(struct parts *p, struct code_range *ranges, size_t n, bool negated);
struct piece piece_join(struct parts *p, struct piece a, struct piece b);
struct piece piece_either(struct parts *p, struct piece a, struct piece b);
/* MAX: GRAMMAR_NONE for any number. A is the last piece that was made. */
struct piece piece_repeat(struct parts *p, struct piece a, uint32_t min, uint32_t max);

/* ---- Rules ----------------------------------------------------------------------------------- */

struct grammar_edge {
    uint32_t to;
    uint8_t lo, hi;
};
struct grammar_call {
    uint32_t rule, to;
};
struct grammar_node {
    uint32_t edge, call; // the first ones; they end where the next node's begin
    uint32_t cost;       // tokens from here to the end of the rule, at least one way
    bool accepts;        // the rule may end here
};

struct grammar_rule {
    char *name;
    uint32_t line;  // where it is written, or first used
    uint32_t start; // node; GRAMMAR_NONE: not written yet
};

struct automaton;

struct grammar {
    const struct trie *trie; // or NULL
    struct grammar_rule *rules; // (n_rules)
    size_t n_rules, rules_cap;
    uint32_t *rule_slots; // index + 1, 0: free; (rule_mask + 1)
    size_t rule_mask;
    struct grammar_node *nodes; // (n_nodes + 1), the last only ends the lists
    size_t n_nodes, nodes_cap;
    struct grammar_edge *edges;
    size_t n_edges, edges_cap;
    struct grammar_call *calls;
    size_t n_calls, calls_cap;
    uint32_t root;          // rule
    uint8_t class_of[256];  // bytes that no edge tells apart are of one class
    uint8_t class_byte[256]; // (n_classes) one of each
    size_t n_classes;
    uint32_t max_cost; // of the ways to the end that masks allow
    atomic_size_t n_owners;
    pthread_mutex_t lock;         // guards what follows
    struct automaton *automaton;  // the newest
};

/* The index of a rule, which is entered if it is new. GRAMMAR_NONE: no memory, or too many. */
uint32_t grammar_rule(struct grammar *g, const char *name, size_t n, uint32_t line);
/* The rule's automaton from its parts. */
enum octet_status grammar_determinize(struct grammar *g, struct parts *p, struct piece piece,
                                      uint32_t *start, struct octet_err *err);
/* Fills in the rules. */
enum octet_status grammar_parse(struct grammar *g, const char *source, size_t n_bytes,
                                struct octet_err *err);
/* What can be said only of all rules together: costs, left recursion, classes of bytes. */
enum octet_status grammar_check(struct grammar *g, struct octet_err *err);

/* ---- States (grammar_state.c): all calls under the grammar's lock ---------------------------- */

enum { STATE_UNKNOWN, STATE_DEAD, STATE_FIRST }; // STATE_FIRST: before any byte

/* A stack of nodes to return to; number 0 is the empty one. */
struct frame {
    uint32_t node, below;
    uint32_t depth, cost; // of all of it
};
struct place {
    uint32_t node, stack;
};
struct state {
    size_t first;    // in the automaton's places
    uint32_t n;      // of them
    uint32_t cost;   // of the shortest way to an end; 0: here is one
    bool accepts;
    uint64_t *mask;  // or NULL: not asked for yet
    uint32_t worst;  // largest cost behind a token of MASK
};

struct automaton {
    const struct grammar *g;
    size_t n_users; // matchers, and the grammar if it is its newest
    struct frame *frames;
    size_t n_frames, frames_cap;
    struct place *places;
    size_t n_places, places_cap;
    struct state *states;
    size_t n_states, states_cap;
    uint32_t *rows; // (n_states, n_classes) next states
    size_t rows_cap;
    uint32_t *frame_slots, *state_slots; // number, 0: free
    size_t frame_mask, state_mask;
    size_t mask_bytes;
    struct place *set; // scratch: the places of the state that is made
    size_t n_set;
    uint32_t *set_slots; // index in SET + 1
    size_t n_work;
    enum octet_status status; // why a state is missing: EMEM, EUNSUPPORTED
};

enum octet_status automaton_open(const struct grammar *g, struct automaton **out,
                                 struct octet_err *err);
void automaton_close(struct automaton *a); // one user less
size_t automaton_bytes(const struct automaton *a);
/* The state after a byte of class C. STATE_DEAD with a->status set: it could not be made. */
uint32_t automaton_find(struct automaton *a, uint32_t state, uint8_t c);
static inline uint32_t automaton_next(struct automaton *a, uint32_t state, uint8_t c) {
    const uint32_t next = a->rows[(size_t)state * a->g->n_classes + c];
    return next != STATE_UNKNOWN ? next : automaton_find(a, state, c);
}
/* STATE of another automaton of the same grammar; STATE_DEAD with a->status set: no memory. */
uint32_t automaton_adopt(struct automaton *a, const struct automaton *from, uint32_t state);
enum octet_status automaton_failed(const struct automaton *a, struct octet_err *err);

#endif
