/* What a user may set: on the command line, and from the editor, which has the last word. */
#ifndef OCTET_LSP_SETTINGS_H
#define OCTET_LSP_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum menu { MENU_AUTO, MENU_ON, MENU_OFF };

struct settings {
    int32_t max_tokens;  // of one suggestion
    int32_t debounce_ms; // without typing before the model is asked
    int32_t budget_ms;   // from the first token on, then whole lines are kept; 0: no limit
    int32_t other_files; // open documents of the same language shown to the model
    bool multi_line;
    enum menu menu; // suggestions in the completion menu; AUTO: if the editor has no ghost text
};

/* Sets what JSON has: an object with these names in camel case ("maxTokens", "debounceMs",
 * "budgetMs", "otherFiles", "multiLine", "menu"), or one that has such an object at "octet". What
 * is wrong is left as it was; WRONG (cap) gets a sentence about the last such thing, else "". */
void settings_read(struct settings *settings, const json_t *json, char *wrong, size_t cap);
/* The text at "model", or NULL. */
const char *settings_model(const json_t *json);

#endif
