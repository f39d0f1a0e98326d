/* See fim_marks.h. */
#include "server/fim_marks.h"

#include <string.h>

#define BAR "\xEF\xBD\x9C"   // a full-width bar
#define BLANK "\xE2\x96\x81" // what stands for a blank in some vocabularies

static const struct family families[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", false, false, "<|file_sep|>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", false, false, "<file_sep>"},
    {"<" BAR "fim" BLANK "begin" BAR ">", "<" BAR "fim" BLANK "hole" BAR ">",
     "<" BAR "fim" BLANK "end" BAR ">", false, false, ""},
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", false, false, ""},
    {"<|prefix|>", "<|suffix|>", "<|middle|>", false, false, ""},
    {"<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", true, false, ""},
    {BLANK "<PRE>", BLANK "<SUF>", BLANK "<MID>", false, true, ""},
    {"<PRE>", "<SUF>", "<MID>", false, true, ""},
    {"[PREFIX]", "[SUFFIX]", "", true, false, ""},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

/* The last family's tokens are in vocabularies of models that were not trained for it, too. */
static const struct family *const in_many = &families[N_FAMILIES - 1];

/* Other marks that end an answer. */
static const char *const enders[] = {
    "<|file_sep|>", "<file_sep>",  "<|file_separator|>", "<|repo_name|>", "<reponame>",
    "<repo_name>",  "<|fim_pad|>", "<fim_pad>",          "<EOT>",         BLANK "<EOT>",
    "<|endoftext|>", "<" BAR "end" BLANK "of" BLANK "sentence" BAR ">",
};
enum { N_ENDERS = sizeof enders / sizeof *enders, N_NAMES = 4 * N_FAMILIES + N_ENDERS };

/* All names of the tables: four of each family, then the enders. */
static const char *name_at(size_t i) {
    if (i >= 4 * N_FAMILIES) return enders[i - 4 * N_FAMILIES];
    const struct family *const f = &families[i / 4];
    const char *const names[] = {f->prefix, f->suffix, f->middle, f->file};
    return names[i % 4];
}

static bool may_be_mark(const char *name) {
    return name[0] == '<' || name[0] == '[' || strncmp(name, BLANK "<", 4) == 0;
}

/* The ids of all names, -1 for those that there are not: one pass over the vocabulary. */
static void find_names(const struct octet_model *model, int32_t *ids) {
    for (size_t i = 0; i < N_NAMES; i++) ids[i] = -1;
    for (int32_t id = 0; (size_t)id < octet_n_tokens(model); id++) {
        const char *const name = octet_token_name(model, id);
        if (!name || !may_be_mark(name)) continue;
        for (size_t i = 0; i < N_NAMES; i++)
            if (strcmp(name, name_at(i)) == 0) ids[i] = id;
    }
}

static void add_end(struct marks *marks, int32_t id) {
    if (id >= 0 && marks->n_ends < JOB_MAX_ENDS) marks->ends[marks->n_ends++] = id;
}

static bool is_codestral(const struct octet_model *model) {
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    return strcasestr(info.name, "codestral") != NULL;
}

struct marks marks_find(const struct octet_model *model, bool forced) {
    int32_t ids[N_NAMES];
    find_names(model, ids);
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const struct family *const f = &families[i];
        const int32_t *const own = &ids[4 * i];
        if (own[0] < 0 || own[1] < 0 || (own[2] < 0 && f->middle[0])) continue;
        if (f == in_many && !forced && !is_codestral(model)) continue;
        struct marks marks = {.family = f, .prefix = own[0], .suffix = own[1], .middle = own[2],
                              .file = own[3]};
        for (size_t k = 0; k < 3; k++) add_end(&marks, own[k]);
        for (size_t k = 0; k < N_ENDERS; k++) add_end(&marks, ids[4 * N_FAMILIES + k]);
        return marks;
    }
    return (struct marks){.prefix = -1, .suffix = -1, .middle = -1, .file = -1};
}

/* ---- In prompts ------------------------------------------------------------------------------ */

/* What lies between the marks A, B and C, in this order; C "": the end. */
static bool split_at(const char *prompt, const char *a, const char *b, const char *c,
                     const char **first, size_t *n_first, const char **second, size_t *n_second) {
    const char *const at_a = strstr(prompt, a);
    const char *const at_b = at_a ? strstr(at_a + strlen(a), b) : NULL;
    const char *const from = at_b ? at_b + strlen(b) : NULL;
    const char *const at_c = !from ? NULL : c[0] ? strstr(from, c) : from + strlen(from);
    if (!at_c) return false;
    *first = at_a + strlen(a);
    *n_first = (size_t)(at_b - *first);
    *second = from;
    *n_second = (size_t)(at_c - from);
    return true;
}

static void drop_first_blank(const char **text, size_t *n) {
    if (*n == 0 || (*text)[0] != ' ') return;
    (*text)++;
    (*n)--;
}

static void drop_last_blank(const char *text, size_t *n) {
    if (*n > 0 && text[*n - 1] == ' ') (*n)--;
}

struct marked marks_split(const char *prompt) {
    struct marked m = {0};
    for (size_t i = 0; i < N_FAMILIES && !m.family; i++) {
        const struct family *const f = &families[i];
        if (split_at(prompt, f->suffix, f->prefix, f->middle, &m.suffix, &m.n_suffix, &m.prefix,
                     &m.n_prefix))
            m.n_before = (size_t)(m.suffix - prompt) - strlen(f->suffix);
        else if (f->middle[0] && split_at(prompt, f->prefix, f->suffix, f->middle, &m.prefix,
                                          &m.n_prefix, &m.suffix, &m.n_suffix))
            m.n_before = (size_t)(m.prefix - prompt) - strlen(f->prefix);
        else
            continue;
        m.family = f;
        const char *const last = m.prefix > m.suffix ? m.prefix + m.n_prefix
                                                     : m.suffix + m.n_suffix;
        m.begun = last + strlen(f->middle);
        if (!f->blanks) continue;
        drop_first_blank(&m.prefix, &m.n_prefix);
        drop_last_blank(m.prefix, &m.n_prefix);
        drop_last_blank(m.suffix, &m.n_suffix);
    }
    return m;
}

size_t marks_next_file(const char *text, size_t n, size_t *n_mark) {
    static const char *const names[] = {"<|file_sep|>", "<file_sep>", "<|file_separator|>"};
    size_t first = n;
    *n_mark = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *const at = memmem(text, n, names[i], strlen(names[i]));
        if (!at || (size_t)(at - text) >= first) continue;
        first = (size_t)(at - text);
        *n_mark = strlen(names[i]);
    }
    return first;
}
