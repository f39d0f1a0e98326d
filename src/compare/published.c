/* Scores that the makers of models and others published, with where and how, to be shown beside
 * ours. Not comparable digit by digit: the protocols differ by several points. */
#include <string.h>

#include "compare/eval.h"

static const char mixtral_paper[] = "Mixtral paper, table 2 (arXiv 2401.04088)";
static const char gpt4_report[] = "GPT-4 technical report, table 2 (arXiv 2303.08774)";
static const char mistral_docs[] = "Mistral's documentation of its endpoints, 2024-02-25";

static const struct published scores[] = {
    {"arc_easy", "Llama-2 7B", 68.7, "0-shot", mixtral_paper},
    {"arc_easy", "Mistral 7B", 80.5, "0-shot", mixtral_paper},
    {"arc_easy", "Mixtral 8x7B", 83.1, "0-shot", mixtral_paper},
    {"arc_challenge", "Llama-2 7B", 43.2, "0-shot", mixtral_paper},
    {"arc_challenge", "Mistral 7B", 54.9, "0-shot", mixtral_paper},
    {"arc_challenge", "Mixtral 8x7B", 59.7, "0-shot", mixtral_paper},
    {"arc_challenge", "Mixtral 8x7B", 85.8, "25-shot", mistral_docs},
    {"arc_challenge", "GPT-3.5", 85.2, "25-shot", gpt4_report},
    {"arc_challenge", "GPT-4", 96.3, "25-shot", gpt4_report},
    {"piqa", "Llama-2 7B", 77.9, "0-shot", mixtral_paper},
    {"piqa", "Mistral 7B", 82.2, "0-shot", mixtral_paper},
    {"piqa", "Mixtral 8x7B", 83.6, "0-shot", mixtral_paper},
    {"winogrande", "Llama-2 7B", 69.5, "0-shot", mixtral_paper},
    {"winogrande", "Mistral 7B", 74.2, "0-shot", mixtral_paper},
    {"winogrande", "Mixtral 8x7B", 77.2, "0-shot", mixtral_paper},
    {"winogrande", "Mixtral 8x7B", 81.2, "5-shot", mistral_docs},
    {"winogrande", "GPT-3.5", 81.6, "5-shot", gpt4_report},
    {"winogrande", "GPT-4", 87.5, "5-shot", gpt4_report},
    {"gsm8k", "Mistral 7B", 50.0, "8-shot, majority of 8", mixtral_paper},
    {"gsm8k", "Mixtral 8x7B", 74.4, "8-shot, majority of 8", mixtral_paper},
    {"gsm8k", "GPT-3.5", 57.1, "5-shot", gpt4_report},
    {"gsm8k", "GPT-4", 92.0, "5-shot", gpt4_report},
};

const struct published *published_score(const char *set, size_t i) {
    for (size_t j = 0; j < sizeof scores / sizeof *scores; j++) {
        size_t n = strlen(scores[j].set); // "gsm8k_test" is gsm8k
        if (strncmp(scores[j].set, set, n) == 0 && (set[n] == '\0' || set[n] == '_') && i-- == 0)
            return &scores[j];
    }
    return NULL;
}
