/* See settings.h. */
#include "lsp/settings.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
    int32_t min, max;
} numbers[] = {
    {"maxTokens", offsetof(struct settings, max_tokens), 1, 4096},
    {"debounceMs", offsetof(struct settings, debounce_ms), 0, 60000},
    {"budgetMs", offsetof(struct settings, budget_ms), 0, 600000},
    {"otherFiles", offsetof(struct settings, other_files), 0, 8},
};

static const char *const menus[] = {"auto", "on", "off"};

static const json_t *own_part(const json_t *json) {
    const json_t *const part = json_object_get(json, "octet");
    return json_is_object(part) ? part : json;
}

static void read_menu(struct settings *settings, const json_t *value, char *wrong, size_t cap) {
    const char *const text = json_string_value(value);
    for (size_t i = 0; text && i < sizeof menus / sizeof *menus; i++)
        if (strcmp(text, menus[i]) == 0) {
            settings->menu = (enum menu)i;
            return;
        }
    snprintf(wrong, cap, "'menu' must be \"auto\", \"on\" or \"off\"");
}

void settings_read(struct settings *settings, const json_t *json, char *wrong, size_t cap) {
    const json_t *const own = own_part(json);
    wrong[0] = '\0';
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const json_t *const value = json_object_get(own, numbers[i].name);
        if (!value) continue;
        const json_int_t n = json_integer_value(value);
        if (json_is_integer(value) && n >= numbers[i].min && n <= numbers[i].max)
            *(int32_t *)(void *)((char *)settings + numbers[i].offset) = (int32_t)n;
        else
            snprintf(wrong, cap, "'%s' must be a whole number from %d to %d", numbers[i].name,
                     numbers[i].min, numbers[i].max);
    }
    const json_t *const lines = json_object_get(own, "multiLine");
    if (json_is_boolean(lines))
        settings->multi_line = json_is_true(lines);
    else if (lines)
        snprintf(wrong, cap, "'multiLine' must be true or false");
    const json_t *const menu = json_object_get(own, "menu");
    if (menu) read_menu(settings, menu, wrong, cap);
}

const char *settings_model(const json_t *json) {
    const char *const name = json_string_value(json_object_get(own_part(json), "model"));
    return name && name[0] ? name : NULL;
}
