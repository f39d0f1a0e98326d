/* What can be said of a grammar only once all its rules are there: that they are, that none begins
 * with itself, which bytes no edge tells apart, and what it costs to get from each node to the end
 * of its rule.
 *
 * Costs are counts of tokens. A byte is one token, where some token is that byte alone; and where
 * the text is nearly fixed, tokens of several bytes are looked for in the trie, which is what makes
 * the cost of a long name close to what a model pays for it. Calls add up. Shortest ways through
 * such a system are found in the order of their costs, as Dijkstra's algorithm does on a graph
 * (Knuth 1977). */
#include <string.h>

#include "text/grammar_impl.h"

enum { MAX_HOPS = 1 << 20, MAX_HOP_STEPS = 1 << 22, HOPS_PER_NODE = 256, HOP_WAYS = 4 };

/* A way of cost 1 from node to node within a rule. */
struct hop {
    uint32_t from, to;
};

struct pricing {
    struct grammar *g;
    struct hop *hops; // (n_hops)
    size_t n_hops, hops_cap;
    size_t n_steps; // down the trie, looking for them
    uint32_t *first_hop;   // (n_nodes + 1) into BY_END: hops that end in a node
    uint32_t *by_end;      // (n_hops)
    uint32_t *owner;       // (n_calls) node that a call is made in
    uint32_t *first_after; // (n_nodes + 1) into AFTER: calls that return to a node
    uint32_t *after;       // (n_calls)
    uint32_t *first_of;    // (n_rules + 1) into OF: calls of a rule
    uint32_t *of;          // (n_calls)
    uint32_t *rule_at;     // (n_nodes) rule that starts there, or GRAMMAR_NONE
    uint32_t *queue;       // heap of nodes, cheapest first
    size_t n_queue, queue_cap;
    uint32_t *at;          // (n_nodes) place in the queue + 1
    bool *final;           // (n_nodes)
};

/* ---- Rules ----------------------------------------------------------------------------------- */

static enum octet_status check_rules(struct grammar *g, struct octet_err *err) {
    g->root = GRAMMAR_NONE;
    for (size_t i = 0; i < g->n_rules; i++) {
        const struct grammar_rule *const rule = &g->rules[i];
        if (rule->start == GRAMMAR_NONE)
            return octet_fail(err, OCTET_EFORMAT, "grammar: line %u: there is no rule '%.60s'",
                              rule->line, rule->name);
        if (strcmp(rule->name, "root") == 0) g->root = (uint32_t)i;
    }
    if (g->root == GRAMMAR_NONE)
        return octet_fail(err, OCTET_EFORMAT, "grammar: there is no rule 'root'");
    return OCTET_OK;
}

static void find_classes(struct grammar *g) {
    bool cuts[257] = {false};
    for (size_t i = 0; i < g->n_edges; i++)
        cuts[g->edges[i].lo] = cuts[g->edges[i].hi + 1] = true;
    for (int b = 0; b < 256; b++) {
        if (b == 0 || cuts[b]) g->class_byte[g->n_classes++] = (uint8_t)b;
        g->class_of[b] = (uint8_t)(g->n_classes - 1);
    }
}

/* ---- Hops of several bytes ------------------------------------------------------------------- */

static bool add_hop(struct pricing *p, uint32_t from, uint32_t to) {
    if (!mem_reserve((void **)&p->hops, &p->hops_cap, p->n_hops + 1, sizeof *p->hops)) return false;
    p->hops[p->n_hops++] = (struct hop){from, to};
    return true;
}

static uint32_t child_of(const struct trie *t, uint32_t node, uint8_t byte) {
    for (uint32_t i = node + 1; i < t->nodes[node].next; i = t->nodes[i].next)
        if (t->nodes[i].byte == byte) return i;
    return (uint32_t)t->n_nodes;
}

/* Goes down the trie along the edges of nodes that leave little choice. */
static bool follow_tokens(struct pricing *p, uint32_t from) {
    struct {
        uint32_t node, at; // of the grammar, of the trie
    } todo[HOPS_PER_NODE];
    const struct grammar *const g = p->g;
    const struct trie *const t = g->trie;
    size_t n_todo = 1;
    todo[0].node = from;
    todo[0].at = GRAMMAR_NONE;
    for (size_t i = 0; i < n_todo && p->n_steps < MAX_HOP_STEPS; i++, p->n_steps++) {
        const struct grammar_node *const node = &g->nodes[todo[i].node];
        if (node[1].edge - node->edge > HOP_WAYS) continue;
        for (uint32_t e = node->edge; e < node[1].edge; e++) {
            if (g->edges[e].hi - g->edges[e].lo >= HOP_WAYS) continue;
            for (int b = g->edges[e].lo; b <= g->edges[e].hi && n_todo < HOPS_PER_NODE; b++) {
                const uint32_t at = todo[i].at == GRAMMAR_NONE
                                        ? t->root[b]
                                        : child_of(t, todo[i].at, (uint8_t)b);
                if (at == t->n_nodes) continue;
                todo[n_todo].node = g->edges[e].to;
                todo[n_todo++].at = at;
                const bool is_token = t->nodes[at].first_token < t->nodes[at + 1].first_token;
                if (is_token && t->nodes[at].depth > 1 && p->n_hops < MAX_HOPS &&
                    !add_hop(p, from, g->edges[e].to))
                    return false;
            }
        }
    }
    return true;
}

static bool is_affordable(const struct trie *t, const struct grammar_edge *e) {
    bool any = !t;
    for (int b = e->lo; b <= e->hi && !any; b++) any = t->has_byte[b];
    return any;
}

static bool find_hops(struct pricing *p) {
    const struct grammar *const g = p->g;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t e = g->nodes[i].edge; e < g->nodes[i + 1].edge; e++)
            if (is_affordable(g->trie, &g->edges[e]) && !add_hop(p, i, g->edges[e].to))
                return false;
        if (g->trie && !follow_tokens(p, i)) return false;
    }
    return true;
}

/* ---- Lists the other way round --------------------------------------------------------------- */

/* Numbers 0 to N-1 by KEY, which STRIDE bytes lie between: FIRST (n_keys + 1), LIST (n). */
static bool sort_by(const void *key, size_t stride, size_t n, size_t n_keys, uint32_t **first,
                    uint32_t **list) {
    *first = mem_array(n_keys + 2, sizeof **first);
    *list = mem_array(n, sizeof **list);
    if (!*first || !*list) return false;
    for (size_t i = 0; i < n; i++)
        (*first)[*(const uint32_t *)(const void *)((const char *)key + i * stride) + 2]++;
    for (size_t k = 2; k < n_keys + 2; k++) (*first)[k] += (*first)[k - 1];
    for (size_t i = 0; i < n; i++)
        (*list)[(*first)[*(const uint32_t *)(const void *)((const char *)key + i * stride) + 1]++] =
            (uint32_t)i;
    return true;
}

static bool prepare(struct pricing *p) {
    const struct grammar *const g = p->g;
    p->owner = mem_array(g->n_calls, sizeof *p->owner);
    p->rule_at = mem_array(g->n_nodes, sizeof *p->rule_at);
    p->at = mem_array(g->n_nodes, sizeof *p->at);
    p->final = mem_array(g->n_nodes, sizeof *p->final);
    if (!p->owner || !p->rule_at || !p->at || !p->final || !find_hops(p)) return false;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        p->rule_at[i] = GRAMMAR_NONE;
        for (uint32_t c = g->nodes[i].call; c < g->nodes[i + 1].call; c++) p->owner[c] = i;
    }
    for (size_t i = 0; i < g->n_rules; i++) p->rule_at[g->rules[i].start] = (uint32_t)i;
    const uint32_t none = 0, *const end = p->n_hops ? &p->hops->to : &none;
    const uint32_t *const to = g->n_calls ? &g->calls->to : &none;
    const uint32_t *const rule = g->n_calls ? &g->calls->rule : &none;
    return sort_by(end, sizeof *p->hops, p->n_hops, g->n_nodes, &p->first_hop, &p->by_end) &&
           sort_by(to, sizeof *g->calls, g->n_calls, g->n_nodes, &p->first_after, &p->after) &&
           sort_by(rule, sizeof *g->calls, g->n_calls, g->n_rules, &p->first_of, &p->of);
}

/* ---- Cheapest first -------------------------------------------------------------------------- */

static void put(struct pricing *p, size_t i, uint32_t node) {
    p->queue[i] = node;
    p->at[node] = (uint32_t)i + 1;
}

static void move_up(struct pricing *p, size_t i, uint32_t node) {
    const struct grammar_node *const nodes = p->g->nodes;
    while (i > 0 && nodes[p->queue[(i - 1) / 2]].cost > nodes[node].cost) {
        put(p, i, p->queue[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(p, i, node);
}

static bool offer(struct pricing *p, uint32_t node, uint64_t cost) {
    struct grammar_node *const n = &p->g->nodes[node];
    if (p->final[node] || cost >= n->cost) return true;
    n->cost = (uint32_t)cost;
    if (p->at[node] > 0) {
        move_up(p, p->at[node] - 1, node);
        return true;
    }
    if (!mem_reserve((void **)&p->queue, &p->queue_cap, p->n_queue + 1, sizeof *p->queue))
        return false;
    move_up(p, p->n_queue++, node);
    return true;
}

static uint32_t take_cheapest(struct pricing *p) {
    const struct grammar_node *const nodes = p->g->nodes;
    const uint32_t cheapest = p->queue[0], last = p->queue[--p->n_queue];
    size_t i = 0;
    while (2 * i + 1 < p->n_queue) {
        size_t child = 2 * i + 1;
        if (child + 1 < p->n_queue &&
            nodes[p->queue[child + 1]].cost < nodes[p->queue[child]].cost)
            child++;
        if (nodes[p->queue[child]].cost >= nodes[last].cost) break;
        put(p, i, p->queue[child]);
        i = child;
    }
    if (p->n_queue > 0) put(p, i, last);
    return cheapest;
}

/* The cost of NODE is known now, and with it that of what leads there. */
static bool settle(struct pricing *p, uint32_t node) {
    const struct grammar *const g = p->g;
    const uint64_t cost = g->nodes[node].cost;
    p->final[node] = true;
    bool fine = true;
    for (uint32_t i = p->first_hop[node]; i < p->first_hop[node + 1]; i++)
        fine &= offer(p, p->hops[p->by_end[i]].from, cost + 1);
    for (uint32_t i = p->first_after[node]; i < p->first_after[node + 1]; i++) {
        const uint32_t call = p->after[i], start = g->rules[g->calls[call].rule].start;
        if (p->final[start]) fine &= offer(p, p->owner[call], cost + g->nodes[start].cost);
    }
    const uint32_t rule = p->rule_at[node];
    if (rule == GRAMMAR_NONE) return fine;
    for (uint32_t i = p->first_of[rule]; i < p->first_of[rule + 1]; i++) {
        const uint32_t call = p->of[i], to = g->calls[call].to;
        if (p->final[to]) fine &= offer(p, p->owner[call], cost + g->nodes[to].cost);
    }
    return fine;
}

static bool price(struct pricing *p) {
    struct grammar *const g = p->g;
    if (!prepare(p)) return false;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        g->nodes[i].cost = GRAMMAR_NEVER;
        if (g->nodes[i].accepts && !offer(p, i, 0)) return false;
    }
    while (p->n_queue > 0)
        if (!settle(p, take_cheapest(p))) return false;
    return true;
}

static enum octet_status find_costs(struct grammar *g, struct octet_err *err) {
    struct pricing p = {.g = g};
    const bool fine = price(&p);
    void *const lists[] = {p.hops,  p.first_hop, p.by_end, p.owner, p.first_after, p.after,
                           p.first_of, p.of,     p.rule_at, p.queue, p.at,         p.final};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) mem_free(lists[i]);
    if (!fine) return octet_fail_memory(err, "a grammar", g->n_nodes * sizeof *g->nodes);
    return OCTET_OK;
}

/* ---- Left recursion -------------------------------------------------------------------------- */

/* Rules on the way: each is looked at once, and meeting one that is still open is a circle. */
struct descent {
    struct grammar *g;
    uint8_t *colour;  // (n_rules) 0: new, 1: open, 2: done
    uint32_t *open;   // (n_rules) rules, outermost first
    uint32_t *resume; // (n_rules) where the list of each goes on
    size_t n_open;
    uint32_t *first;  // (n_rules + 1) into CALLED: rules that one may begin with
    uint32_t *called;
    size_t n_called, called_cap;
    bool *seen; // (n_nodes)
    uint32_t *todo; // (n_nodes)
};

/* Rules that RULE calls before it has read anything. */
static bool list_beginnings(struct descent *d, uint32_t rule) {
    const struct grammar *const g = d->g;
    size_t n_todo = 0;
    d->todo[n_todo++] = g->rules[rule].start;
    d->seen[g->rules[rule].start] = true;
    while (n_todo > 0) {
        const struct grammar_node *const node = &g->nodes[d->todo[--n_todo]];
        for (uint32_t c = node->call; c < node[1].call; c++) {
            const struct grammar_call call = g->calls[c];
            if (!mem_reserve((void **)&d->called, &d->called_cap, d->n_called + 1,
                             sizeof *d->called))
                return false;
            d->called[d->n_called++] = call.rule;
            const bool may_be_empty = g->nodes[g->rules[call.rule].start].cost == 0;
            if (!may_be_empty || d->seen[call.to]) continue;
            d->seen[call.to] = true;
            d->todo[n_todo++] = call.to;
        }
    }
    return true;
}

static bool prepare_descent(struct descent *d) {
    const size_t n_rules = d->g->n_rules, n_nodes = d->g->n_nodes;
    d->colour = mem_alloc(n_rules);
    d->open = mem_array(n_rules, sizeof *d->open);
    d->resume = mem_array(n_rules, sizeof *d->resume);
    d->first = mem_array(n_rules + 1, sizeof *d->first);
    d->seen = mem_array(n_nodes, sizeof *d->seen);
    d->todo = mem_array(n_nodes, sizeof *d->todo);
    if (!d->colour || !d->open || !d->resume || !d->first || !d->seen || !d->todo) return false;
    for (uint32_t i = 0; i < n_rules; i++) {
        d->first[i] = (uint32_t)d->n_called;
        if (!list_beginnings(d, i)) return false;
    }
    d->first[n_rules] = (uint32_t)d->n_called;
    return true;
}

static void enter(struct descent *d, uint32_t rule) {
    d->colour[rule] = 1;
    d->resume[rule] = d->first[rule];
    d->open[d->n_open++] = rule;
}

/* A rule that comes back to itself, or GRAMMAR_NONE. */
static uint32_t find_circle(struct descent *d) {
    for (uint32_t i = 0; i < d->g->n_rules; i++) {
        if (d->colour[i] == 0) enter(d, i);
        while (d->n_open > 0) {
            const uint32_t rule = d->open[d->n_open - 1];
            if (d->resume[rule] == d->first[rule + 1]) {
                d->colour[rule] = 2;
                d->n_open--;
                continue;
            }
            const uint32_t next = d->called[d->resume[rule]++];
            if (d->colour[next] == 1) return next;
            if (d->colour[next] == 0) enter(d, next);
        }
    }
    return GRAMMAR_NONE;
}

static enum octet_status check_recursion(struct grammar *g, struct octet_err *err) {
    struct descent d = {.g = g};
    const bool fine = prepare_descent(&d);
    const uint32_t circle = fine ? find_circle(&d) : GRAMMAR_NONE;
    void *const lists[] = {d.colour, d.open, d.resume, d.first, d.called, d.seen, d.todo};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) mem_free(lists[i]);
    if (!fine) return octet_fail_memory(err, "a grammar", g->n_nodes);
    if (circle == GRAMMAR_NONE) return OCTET_OK;
    return octet_fail(err, OCTET_EFORMAT,
                      "grammar: line %u: rule '%.60s' is left-recursive: it may begin with itself",
                      g->rules[circle].line, g->rules[circle].name);
}

static enum octet_status check_end(struct grammar *g, struct octet_err *err) {
    const uint32_t cost = g->nodes[g->rules[g->root].start].cost;
    if (cost == GRAMMAR_NEVER)
        return octet_fail(err, OCTET_EFORMAT,
                          "grammar: rule 'root' never ends, or only with bytes that no token of "
                          "this model stands for");
    g->max_cost = cost < GRAMMAR_NEVER - GRAMMAR_MORE_COST ? cost + GRAMMAR_MORE_COST : cost;
    return OCTET_OK;
}

enum octet_status grammar_check(struct grammar *g, struct octet_err *err) {
    enum octet_status status = check_rules(g, err);
    if (status == OCTET_OK) status = find_costs(g, err);
    if (status == OCTET_OK) status = check_recursion(g, err);
    if (status == OCTET_OK) status = check_end(g, err);
    if (status == OCTET_OK) find_classes(g);
    return status;
}
