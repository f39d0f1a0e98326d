/* Settings of one model that differ from those of the run: KIND:KEY=VALUE:KEY=VALUE in its spec. So
 * a model can be held against itself: another temperature, wording or cache. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "compare/provider.h"

static const struct setting {
    const char *key;
    const char *values; // those allowed, each with blanks around it; NULL: a number from 0 to 2
    bool local_only;
} settings[] = {
    {"prompt", " chat raw ", false},
    {"temp", NULL, false},
    {"kv", " f16 f32 q8_0 q4_0 ", true},
};

enum { N_SETTINGS = sizeof settings / sizeof *settings, MAX_VALUE = 16 };

static bool value_fits(const struct setting *setting, const char *value, size_t n) {
    char padded[MAX_VALUE + 3];
    if (n == 0 || n > MAX_VALUE || memchr(value, ' ', n)) return false;
    snprintf(padded, sizeof padded, " %.*s ", (int)n, value);
    if (setting->values) return strstr(setting->values, padded) != NULL;
    char *end;
    const double number = strtod(padded, &end);
    return strcmp(end, " ") == 0 && number >= 0 && number <= 2;
}

static enum octet_status check_one(const struct provider *provider, const char *text, size_t n,
                                   struct octet_err *err) {
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const struct setting *const s = &settings[i];
        const size_t n_key = strlen(s->key);
        if (n <= n_key || strncmp(text, s->key, n_key) != 0 || text[n_key] != '=') continue;
        if (s->local_only && provider->kind != &provider_local) {
            return octet_fail(err, OCTET_EARG, "%s: only local models have the setting '%s'",
                              provider->name, s->key);
        }
        if (value_fits(s, text + n_key + 1, n - n_key - 1)) return OCTET_OK;
        return octet_fail(err, OCTET_EARG, "%s: the setting '%s' is%s%s", provider->name, s->key,
                          s->values ? " one of" : " a number from 0 to 2",
                          s->values ? s->values : "");
    }
    return octet_fail(err, OCTET_EARG,
                      "%s: unknown setting '%.*s'; there are prompt=, temp= and, for local models, "
                      "kv=",
                      provider->name, (int)(n < 40 ? n : 40), text);
}

enum octet_status provider_check_settings(const struct provider *provider, struct octet_err *err) {
    enum octet_status status = OCTET_OK;
    const char *at = provider->settings;
    while (at && *at && status == OCTET_OK) {
        const size_t n = strcspn(at, ":");
        status = check_one(provider, at, n, err);
        at += n + (at[n] == ':');
    }
    return status;
}

bool provider_setting(const struct provider *provider, const char *key, char *value, size_t cap) {
    const size_t n_key = strlen(key);
    for (const char *at = provider->settings; at && *at;) {
        const size_t n = strcspn(at, ":");
        if (n > n_key && strncmp(at, key, n_key) == 0 && at[n_key] == '=') {
            snprintf(value, cap, "%.*s", (int)(n - n_key - 1), at + n_key + 1);
            return true;
        }
        at += n + (at[n] == ':');
    }
    return false;
}
