/* The models of the December 2023 comparison and what replaced them, by name. The ids are the ones
 * the vendors' own lists use, so that the price book knows them; the days of retirement are from
 * the same lists (OpenAI's deprecations page, Mistral's model pages). */
#include "compare/provider.h"

#define OPENAI "openai", "https://api.openai.com/v1"
#define MISTRAL "mistral", "https://api.mistral.ai/v1"

static const struct preset presets[] = {
    {"gpt-4", OPENAI, "gpt-4-0613", "OPENAI_API_KEY", "2026-10-23", "GPT-4, 8k, June 2023"},
    {"gpt-4-turbo", OPENAI, "gpt-4-1106-preview", "OPENAI_API_KEY", "2026-03-26",
     "GPT-4 Turbo, November 2023"},
    {"gpt-3.5-turbo", OPENAI, "gpt-3.5-turbo-1106", "OPENAI_API_KEY", "2026-09-28",
     "GPT-3.5 Turbo, November 2023"},
    {"mistral-tiny", MISTRAL, "mistral-tiny", "MISTRAL_API_KEY", "2025-03-30",
     "Mistral 7B Instruct v0.2; its weights are open"},
    {"mistral-small", MISTRAL, "mistral-small", "MISTRAL_API_KEY", "2025-03-30",
     "Mixtral 8x7B Instruct; its weights are open"},
    {"mistral-medium", MISTRAL, "mistral-medium-2312", "MISTRAL_API_KEY", "2025-06-16",
     "the first Mistral Medium, December 2023"},

    {"gpt-5.6-sol", OPENAI, "gpt-5.6-sol", "OPENAI_API_KEY", NULL, "successor of gpt-4"},
    {"gpt-5.6-terra", OPENAI, "gpt-5.6-terra", "OPENAI_API_KEY", NULL,
     "successor of gpt-3.5-turbo"},
    {"gpt-5.6-luna", OPENAI, "gpt-5.6-luna", "OPENAI_API_KEY", NULL, "the smallest of its family"},
    {"gpt-4.1", OPENAI, "gpt-4.1", "OPENAI_API_KEY", NULL,
     "the last one that does not think first"},
    {"gpt-4o", OPENAI, "gpt-4o", "OPENAI_API_KEY", NULL, "of 2024"},
    {"gpt-4o-mini", OPENAI, "gpt-4o-mini", "OPENAI_API_KEY", NULL, "of 2024, small"},
    {"mistral-small-4", MISTRAL, "mistral-small-2603", "MISTRAL_API_KEY", NULL,
     "successor of mistral-small"},
    {"mistral-medium-3.5", MISTRAL, "mistral-medium-3.5", "MISTRAL_API_KEY", NULL,
     "successor of mistral-medium"},
    {"mistral-large-3", MISTRAL, "mistral-large-2512", "MISTRAL_API_KEY", NULL, "open weights"},
    {"codestral", MISTRAL, "codestral-2508", "MISTRAL_API_KEY", NULL,
     "for code; fills in the middle"},
};

const struct preset *provider_preset(size_t i) {
    return i < sizeof presets / sizeof presets[0] ? &presets[i] : NULL;
}
