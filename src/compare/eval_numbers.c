/* Word problems: the model writes its way to a number. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/eval.h"
#include "compare/provider.h"

struct answers {
    const struct eval_set *set;
    const struct eval_options *options;
    struct eval_outcome *out;
    size_t n, n_done;
    struct octet_err error; // of the first question without an answer
};

static bool take_answer(void *user, struct reply *reply) {
    struct answers *a = user;
    struct eval_outcome *out = &a->out[reply->tag];
    double number = eval_last_number(reply->text);
    *out = (struct eval_outcome){.number = number};
    out->acc = out->acc_norm = out->acc_bytes = number == a->set->rows[reply->tag].number;
    if (reply->error && a->error.status == OCTET_OK)
        octet_fail(&a->error, OCTET_EIO, "%s", reply->error);
    reply_free(reply);
    a->n_done++;
    return a->error.status == OCTET_OK &&
           (!a->options->progress || a->options->progress(a->options->user, a->n_done, a->n));
}

static enum octet_status make_asks(const struct eval_set *set, const struct eval_options *options,
                                   bool chat, struct ask *asks, char **prompts, size_t n,
                                   struct octet_err *err) {
    static const char *const stops[] = {"\nQuestion:", NULL};
    for (size_t i = 0; i < n; i++) {
        size_t cap = strlen(set->rows[i].context) + 80;
        prompts[i] = mem_alloc(cap);
        if (!prompts[i]) return octet_fail_memory(err, "prompt", cap);
        const char *question = set->rows[i].context;
        if (chat)
            snprintf(prompts[i], cap, "%s\n\nThink step by step and end with the number alone.",
                     question);
        else
            snprintf(prompts[i], cap, "Question: %s\nAnswer:", question);
        asks[i] = (struct ask){.tag = i,
                               .prompt = prompts[i],
                               .chat = chat,
                               .top_p = 1,
                               .max_tokens = options->max_tokens,
                               .stops = stops};
    }
    return OCTET_OK;
}

enum octet_status eval_numbers(const char *model_path, const struct eval_set *set,
                               const struct eval_options *options, struct eval_outcome *out,
                               size_t n, struct octet_err *err) {
    struct provider_options provider_options = PROVIDER_OPTIONS_DEFAULTS;
    provider_options.n_parallel = options->n_parallel;
    provider_options.cancel = options->cancel;
    struct provider *provider = NULL;
    struct answers answers = {.set = set, .options = options, .out = out, .n = n};
    struct ask *asks = mem_array(n, sizeof *asks);
    char **prompts = mem_array(n, sizeof *prompts);
    enum octet_status status = asks && prompts ? OCTET_OK : octet_fail_memory(err, "asks", n);
    if (status == OCTET_OK) status = provider_open(model_path, &provider_options, &provider, err);
    if (status == OCTET_OK)
        status = make_asks(set, options, provider_skills(provider) & PROVIDER_CHATS, asks, prompts,
                           n, err);
    if (status == OCTET_OK) status = provider_ask(provider, asks, n, take_answer, &answers, err);
    if (status == OCTET_OK && answers.error.status != OCTET_OK)
        status = octet_fail(err, answers.error.status, "%s", answers.error.message);
    if (status == OCTET_OK && answers.n_done < n)
        status = octet_fail(err, OCTET_ECANCELLED, "cancelled");
    provider_close(provider);
    for (size_t i = 0; prompts && i < n; i++) mem_free(prompts[i]);
    mem_free(prompts);
    mem_free(asks);
    return status;
}
