/* octet eval: choice sets by log-likelihood and word problems, with error bars. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "compare/eval.h"
#include "compare/stats.h"

struct eval_args {
    int32_t limit, max_tokens, n_parallel, kv_type;
    const char *rows;
    bool json;
};

static const struct eval_args defaults = {.max_tokens = 400};

static const struct option_row option_rows[] = {
    {"limit", 0, OPTION_INT, "N", offsetof(struct eval_args, limit), 0, INT32_MAX, false,
     "only the first N rows; 0: all"},
    {"max-tokens", 'n', OPTION_INT, "N", offsetof(struct eval_args, max_tokens), 1, 1 << 16, false,
     "longest answer to a word problem"},
    {"parallel", 0, OPTION_INT, "N", offsetof(struct eval_args, n_parallel), 0, 256, false,
     "word problems answered at the same time; 0: 8"},
    {"kv", 0, OPTION_CHOICE, OPTIONS_KV_TYPES, offsetof(struct eval_args, kv_type), 0, 0, false,
     "number format of the cache, for choices; f32 for exact comparisons"},
    {"rows", 0, OPTION_TEXT, "FILE", offsetof(struct eval_args, rows), 0, 0, false,
     "write what was picked for every row, as JSON lines"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct eval_args, json), 0, 0, false,
     "print one JSON object instead of the table"},
};

struct tally {
    size_t n, acc, acc_norm, acc_bytes;
};

static struct tally count(const struct eval_outcome *outcomes, size_t n) {
    struct tally t = {.n = n};
    for (size_t i = 0; i < n; i++) {
        t.acc += outcomes[i].acc;
        t.acc_norm += outcomes[i].acc_norm;
        t.acc_bytes += outcomes[i].acc_bytes;
    }
    return t;
}

static json_t *score_json(size_t k, size_t n) {
    const struct stats_interval w = stats_wilson(k, n);
    return json_pack("{s:f, s:f, s:f}", "value", (double)k / (double)n, "low", w.low, "high",
                     w.high);
}

static int print_json(const struct eval_set *set, const struct tally *t) {
    json_t *json = json_pack("{s:s, s:I, s:o}", "set", set->name, "n", (json_int_t)t->n, "acc",
                             score_json(t->acc, t->n));
    if (json && set->kind != EVAL_NUMBER) {
        json_object_set_new(json, "acc_norm", score_json(t->acc_norm, t->n));
        json_object_set_new(json, "acc_bytes", score_json(t->acc_bytes, t->n));
    }
    return json_out_print(json);
}

static void print_score(const char *name, size_t k, size_t n) {
    const struct stats_interval w = stats_wilson(k, n);
    output_printf("  %-10s %5.1f %%   %4.1f to %4.1f\n", name, 100 * (double)k / (double)n,
                  100 * w.low, 100 * w.high);
}

static void print_table(const struct eval_set *set, const struct tally *t) {
    output_printf("%s: %zu rows, 95 %% intervals\n", set->name, t->n);
    print_score("acc", t->acc, t->n);
    if (set->kind != EVAL_NUMBER) {
        print_score("acc_norm", t->acc_norm, t->n);
        print_score("acc_bytes", t->acc_bytes, t->n);
    }
    if (published_score(set->name, 0) == NULL) return;
    output_printf("\npublished (other protocols move these by several points)\n");
    const struct published *p;
    for (size_t i = 0; (p = published_score(set->name, i)) != NULL; i++) {
        output_printf("  %-14s %5.1f %%   %s; %s\n", p->model, p->percent, p->protocol, p->source);
    }
}

static int write_rows(const char *path, const struct eval_outcome *outcomes, size_t n) {
    FILE *file = fopen(path, "w");
    if (file == NULL) return output_error("%s: cannot be written", path);
    for (size_t i = 0; i < n; i++) {
        const struct eval_outcome *o = &outcomes[i];
        fprintf(file,
                "{\"row\": %zu, \"picked\": %zu, \"acc\": %d, \"acc_norm\": %d, "
                "\"acc_bytes\": %d}\n",
                i, o->picked, o->acc, o->acc_norm, o->acc_bytes);
    }
    const bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) return output_error("%s: cannot be written", path);
    return EXIT_DONE;
}

static enum octet_status score(const struct model_args *model_args, const struct eval_args *args,
                               const struct eval_set *set, struct eval_outcome *outcomes, size_t n,
                               struct octet_err *err) {
    struct progress progress;
    progress_open(&progress, set->name, PROGRESS_RUNS);
    const struct eval_options options = {
        .max_tokens = args->max_tokens,
        .n_parallel = args->n_parallel,
        .kv_type = (enum octet_kv_type)args->kv_type,
        .cancel = terminal_interrupt_flag(),
        .progress = progress_step,
        .user = &progress,
    };
    enum octet_status status;
    if (set->kind == EVAL_NUMBER) {
        status = eval_numbers(model_args->path, set, &options, outcomes, n, err);
    } else {
        struct octet_model *model = NULL;
        struct octet_model_options model_options = OCTET_MODEL_OPTIONS_DEFAULTS;
        model_options.n_threads = model_args->n_threads;
        status = octet_model_open(model_args->path, &model_options, &model, err);
        if (status == OCTET_OK) status = eval_choices(model, set, &options, outcomes, n, err);
        octet_model_close(model);
    }
    progress_close(&progress);
    return status;
}

static int run_eval(const char *path, const struct model_args *model_args,
                    const struct eval_args *args) {
    struct octet_err err;
    struct eval_set set;
    if (eval_set_open(path, &set, &err) != OCTET_OK) return output_failure(&err);
    size_t n = set.n_rows;
    if (args->limit > 0 && (size_t)args->limit < n) n = (size_t)args->limit;
    struct eval_outcome *outcomes = mem_array(n, sizeof *outcomes);
    int status = EXIT_DONE;
    terminal_catch_interrupt();
    if (outcomes == NULL) {
        status = output_error("out of memory");
    } else if (score(model_args, args, &set, outcomes, n, &err) != OCTET_OK) {
        status = output_failure(&err);
    } else {
        const struct tally t = count(outcomes, n);
        if (args->rows != NULL) status = write_rows(args->rows, outcomes, n);
        if (status == EXIT_DONE && args->json)
            status = print_json(&set, &t);
        else if (status == EXIT_DONE)
            print_table(&set, &t);
    }
    mem_free(outcomes);
    eval_set_close(&set);
    return status;
}

static int run(const struct command *command, int argc, char **argv) {
    struct eval_args args;
    struct model_args model_args;
    struct option_group groups[] = {
        options_model_group(&model_args),
        {"Eval", option_rows, sizeof option_rows / sizeof *option_rows, &args, &defaults,
         sizeof args},
    };
    struct arguments arguments;
    int status = options_parse(command, groups, 2, argc, argv, 1, 1, &arguments);
    if (status != OPTIONS_RUN) return status;
    status = run_eval(arguments.items[0], &model_args, &args);
    options_free(groups, 2);
    return status;
}

const struct command cmd_eval = {
    "eval",
    "choice questions and word problems, with error bars",
    "SET -m MODEL",
    "Scores a model on a file of rows: choices (ARC, PIQA: query, choices, gold), contexts "
    "(WinoGrande: context_options, continuation, gold) by log-likelihood, or word problems (GSM8K: "
    "question, answer) by what the model writes. Numbers that others published for the same set "
    "are shown beside, with protocol and source.",
    "  octet eval arc_easy.jsonl -m model.gguf\n"
    "  octet eval gsm8k_test.jsonl -m model.gguf --limit 200 --json\n",
    run,
};
