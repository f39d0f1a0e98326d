/* From a rule's parts to its automaton, by the subset construction: a node is a set of parts, and
 * for each byte, and each rule called, there is at most one way on. Calls count as letters here, so
 * alternatives that begin alike stay one way until they differ. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/grammar_impl.h"

struct subset {
    size_t first; // in members
    uint32_t n;
    bool accepts;
};

struct making {
    struct grammar *g;
    const struct parts *parts;
    uint32_t end; // the part the rule ends with
    struct subset *subsets; // (n_subsets) subset I becomes node FIRST_NODE + I
    size_t n_subsets, subsets_cap, first_node;
    uint32_t *members; // parts that read or call, sorted in each subset
    size_t n_members, members_cap;
    uint32_t *slots; // subset + 1, 0: free
    size_t mask;
    uint32_t *seen; // (parts) number of the closure that last saw a part
    uint32_t n_closures;
    uint32_t *todo; // (parts)
    size_t n_work;
    enum octet_status status;
};

static bool fail(struct making *m, enum octet_status status) {
    if (m->status == OCTET_OK) m->status = status;
    return false;
}

/* ---- Subsets --------------------------------------------------------------------------------- */

static int compare_parts(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool begin_closure(struct making *m) {
    m->n_closures++;
    m->subsets[m->n_subsets] = (struct subset){.first = m->n_members};
    return m->status == OCTET_OK;
}

/* Adds what is reached from FROM without reading to the subset that is being made. */
static bool add_closure(struct making *m, uint32_t from) {
    size_t n_todo = 0;
    struct subset *const s = &m->subsets[m->n_subsets];
    if (m->seen[from] != m->n_closures) m->todo[n_todo++] = from;
    m->seen[from] = m->n_closures;
    while (n_todo > 0) {
        const uint32_t i = m->todo[--n_todo];
        const struct part *const part = &m->parts->list[i];
        if (++m->n_work > GRAMMAR_MAX_WORK) return fail(m, OCTET_EUNSUPPORTED);
        if (i == m->end) s->accepts = true;
        if (part->kind == PART_BYTES || part->kind == PART_CALL) {
            if (!mem_reserve((void **)&m->members, &m->members_cap, m->n_members + 1,
                             sizeof *m->members))
                return fail(m, OCTET_EMEM);
            m->members[m->n_members++] = i;
            s->n++;
            continue;
        }
        const uint32_t ways[] = {part->out, part->other};
        for (size_t k = 0; k < 2; k++) {
            if (ways[k] == GRAMMAR_NONE || m->seen[ways[k]] == m->n_closures) continue;
            m->seen[ways[k]] = m->n_closures;
            m->todo[n_todo++] = ways[k];
        }
    }
    return true;
}

static uint64_t hash_subset(const struct making *m, const struct subset *s) {
    return hash_bytes(HASH_INIT + s->accepts, m->members + s->first, s->n * sizeof *m->members);
}

static bool same_subset(const struct making *m, const struct subset *a, const struct subset *b) {
    return a->n == b->n && a->accepts == b->accepts &&
           (a->n == 0 || memcmp(m->members + a->first, m->members + b->first,
                                a->n * sizeof *m->members) == 0);
}

static void put_subset(struct making *m, uint32_t i) {
    size_t at = hash_subset(m, &m->subsets[i]) & m->mask;
    while (m->slots[at]) at = (at + 1) & m->mask;
    m->slots[at] = i + 1;
}

/* Room for one subset more, and for finding it. */
static bool reserve_subset(struct making *m) {
    if (m->first_node + m->n_subsets >= GRAMMAR_MAX_NODES) return fail(m, OCTET_EUNSUPPORTED);
    if (!mem_reserve((void **)&m->subsets, &m->subsets_cap, m->n_subsets + 1, sizeof *m->subsets))
        return fail(m, OCTET_EMEM);
    if (2 * (m->n_subsets + 1) <= m->mask + 1 && m->slots) return true;
    const size_t n = m->slots ? 2 * (m->mask + 1) : 64;
    uint32_t *const slots = mem_array(n, sizeof *slots);
    if (!slots) return fail(m, OCTET_EMEM);
    mem_free(m->slots);
    m->slots = slots;
    m->mask = n - 1;
    for (size_t i = 0; i < m->n_subsets; i++) put_subset(m, (uint32_t)i);
    return true;
}

/* The node of the subset that was made, which is kept if it is new. */
static uint32_t end_closure(struct making *m) {
    struct subset *const s = &m->subsets[m->n_subsets];
    if (s->n > 1) qsort(m->members + s->first, s->n, sizeof *m->members, compare_parts);
    size_t at = hash_subset(m, s) & m->mask;
    for (; m->slots[at]; at = (at + 1) & m->mask) {
        const uint32_t known = m->slots[at] - 1;
        if (!same_subset(m, &m->subsets[known], s)) continue;
        m->n_members = s->first;
        return (uint32_t)m->first_node + known;
    }
    m->slots[at] = (uint32_t)++m->n_subsets;
    return (uint32_t)(m->first_node + m->n_subsets - 1);
}

/* ---- Ways on --------------------------------------------------------------------------------- */

static bool add_edge(struct making *m, uint8_t lo, uint8_t hi, uint32_t to) {
    struct grammar *const g = m->g;
    const size_t own = g->nodes[g->n_nodes].edge;
    if (g->n_edges > own) {
        struct grammar_edge *const last = &g->edges[g->n_edges - 1];
        if (last->to == to && last->hi + 1 == lo) {
            last->hi = hi;
            return true;
        }
    }
    if (g->n_edges >= GRAMMAR_MAX_EDGES) return fail(m, OCTET_EUNSUPPORTED);
    if (!mem_reserve((void **)&g->edges, &g->edges_cap, g->n_edges + 1, sizeof *g->edges))
        return fail(m, OCTET_EMEM);
    g->edges[g->n_edges++] = (struct grammar_edge){to, lo, hi};
    return true;
}

/* Bytes at which the set of parts that read them may change. */
static size_t find_cuts(const struct making *m, const struct subset *s, uint16_t *cuts) {
    bool marks[257] = {false};
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct part *const part = &m->parts->list[m->members[s->first + i]];
        if (part->kind != PART_BYTES || part->lo > part->hi) continue;
        marks[part->lo] = marks[part->hi + 1] = true;
    }
    for (uint16_t b = 0; b < 257; b++)
        if (marks[b]) cuts[n++] = b;
    return n;
}

static bool add_edges(struct making *m, size_t subset) {
    uint16_t cuts[257];
    const size_t n_cuts = find_cuts(m, &m->subsets[subset], cuts);
    for (size_t k = 0; k + 1 < n_cuts; k++) {
        bool any = false;
        if (!reserve_subset(m) || !begin_closure(m)) return false;
        const struct subset s = m->subsets[subset];
        if ((m->n_work += s.n) > GRAMMAR_MAX_WORK) return fail(m, OCTET_EUNSUPPORTED);
        for (size_t i = 0; i < s.n; i++) {
            const struct part *const part = &m->parts->list[m->members[s.first + i]];
            if (part->kind != PART_BYTES || part->lo > cuts[k] || part->hi < cuts[k]) continue;
            if (!add_closure(m, part->out)) return false;
            any = true;
        }
        if (!any) continue;
        const uint32_t to = end_closure(m);
        if (!add_edge(m, (uint8_t)cuts[k], (uint8_t)(cuts[k + 1] - 1), to)) return false;
    }
    return true;
}

/* Whether an earlier member calls the rule that member I calls. */
static bool is_repeated(const struct making *m, const struct subset *s, size_t i) {
    const uint32_t rule = m->parts->list[m->members[s->first + i]].rule;
    for (size_t k = 0; k < i; k++) {
        const struct part *const part = &m->parts->list[m->members[s->first + k]];
        if (part->kind == PART_CALL && part->rule == rule) return true;
    }
    return false;
}

static bool add_call(struct making *m, uint32_t rule, uint32_t to) {
    struct grammar *const g = m->g;
    if (g->n_calls >= GRAMMAR_MAX_EDGES) return fail(m, OCTET_EUNSUPPORTED);
    if (!mem_reserve((void **)&g->calls, &g->calls_cap, g->n_calls + 1, sizeof *g->calls))
        return fail(m, OCTET_EMEM);
    g->calls[g->n_calls++] = (struct grammar_call){rule, to};
    return true;
}

static bool add_calls(struct making *m, size_t subset) {
    for (size_t i = 0; i < m->subsets[subset].n; i++) {
        const struct subset s = m->subsets[subset];
        const struct part *const part = &m->parts->list[m->members[s.first + i]];
        if (part->kind != PART_CALL) continue;
        if ((m->n_work += s.n) > GRAMMAR_MAX_WORK) return fail(m, OCTET_EUNSUPPORTED);
        if (is_repeated(m, &s, i)) continue;
        if (!reserve_subset(m) || !begin_closure(m)) return false;
        for (size_t k = i; k < s.n; k++) {
            const struct part *const other = &m->parts->list[m->members[s.first + k]];
            if (other->kind != PART_CALL || other->rule != part->rule) continue;
            if (!add_closure(m, other->out)) return false;
        }
        if (!add_call(m, part->rule, end_closure(m))) return false;
    }
    return true;
}

/* ---- The rule -------------------------------------------------------------------------------- */

static bool add_nodes(struct making *m, uint32_t start) {
    struct grammar *const g = m->g;
    if (!reserve_subset(m) || !begin_closure(m) || !add_closure(m, start)) return false;
    end_closure(m);
    for (size_t i = 0; i < m->n_subsets; i++) {
        // One more than there are: the last one ends the lists of the one before it.
        if (!mem_reserve((void **)&g->nodes, &g->nodes_cap, g->n_nodes + 2, sizeof *g->nodes))
            return fail(m, OCTET_EMEM);
        g->nodes[g->n_nodes] = (struct grammar_node){.edge = (uint32_t)g->n_edges,
                                                     .call = (uint32_t)g->n_calls,
                                                     .cost = GRAMMAR_NEVER,
                                                     .accepts = m->subsets[i].accepts};
        if (!add_edges(m, i) || !add_calls(m, i)) return false;
        g->n_nodes++;
        g->nodes[g->n_nodes] = (struct grammar_node){.edge = (uint32_t)g->n_edges,
                                                     .call = (uint32_t)g->n_calls};
    }
    return true;
}

enum octet_status grammar_determinize(struct grammar *g, struct parts *p, struct piece piece,
                                      uint32_t *start, struct octet_err *err) {
    if (p->status != OCTET_OK) {
        if (p->status == OCTET_EMEM) return octet_fail_memory(err, "a grammar", p->n);
        return octet_fail(err, p->status, "more than %d parts with repetitions written out",
                          GRAMMAR_MAX_PARTS);
    }
    struct making m = {.g = g, .parts = p, .end = piece.end, .first_node = g->n_nodes};
    m.seen = mem_array(p->n, sizeof *m.seen);
    m.todo = mem_array(p->n, sizeof *m.todo);
    // Subsets without members are looked at in it too.
    const bool fine = mem_reserve((void **)&m.members, &m.members_cap, 1, sizeof *m.members);
    if (!m.seen || !m.todo || !fine)
        m.status = OCTET_EMEM;
    else
        add_nodes(&m, piece.start);
    *start = (uint32_t)m.first_node;
    mem_free(m.seen);
    mem_free(m.todo);
    mem_free(m.subsets);
    mem_free(m.members);
    mem_free(m.slots);
    if (m.status == OCTET_EMEM) return octet_fail_memory(err, "a grammar", p->n * sizeof *m.seen);
    if (m.status != OCTET_OK)
        return octet_fail(err, m.status, "too large: more than %d states, or too ambiguous",
                          GRAMMAR_MAX_NODES);
    return OCTET_OK;
}
