/* See chances.h. */
#include "server/chances.h"

#include <math.h>

/* The token's bytes; those that are no UTF-8 become U+FFFD, one for each token. */
static json_t *token_text(const struct octet_model *model, int32_t id) {
    const char *bytes = "";
    size_t n = 0;
    octet_token_bytes(model, id, true, &bytes, &n);
    json_t *const text = json_stringn(bytes, n);
    return text ? text : json_string("\xEF\xBF\xBD");
}

static json_t *token_bytes(const struct octet_model *model, int32_t id) {
    const char *bytes = "";
    size_t n = 0;
    json_t *const list = json_array();
    octet_token_bytes(model, id, true, &bytes, &n);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    return list;
}

static json_t *chance_json(const struct octet_model *model, const struct token_chance *chance) {
    return json_pack("{s:o, s:f, s:o}", "token", token_text(model, chance->id), "logprob",
                     (double)chance->logprob, "bytes", token_bytes(model, chance->id));
}

json_t *chances_chat(const struct octet_model *model, const struct token_report *tokens, size_t n) {
    json_t *const list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *const tops = json_array();
        json_t *const token = chance_json(model, &tokens[i].token);
        for (size_t k = 0; k < tokens[i].n_tops; k++)
            json_array_append_new(tops, chance_json(model, &tokens[i].tops[k]));
        json_object_set_new(token, "top_logprobs", tops);
        json_array_append_new(list, token);
    }
    return json_pack("{s:o, s:n}", "content", list, "refusal");
}

static json_t *tops_json(const struct octet_model *model, const struct token_report *token) {
    json_t *const tops = json_object();
    for (size_t k = token->n_tops; k-- > 0;) { // the likelier of two that read alike stays
        json_t *const text = token_text(model, token->tops[k].id);
        json_object_set_new(tops, json_string_value(text),
                            json_real((double)token->tops[k].logprob));
        json_decref(text);
    }
    return tops;
}

json_t *chances_text(const struct octet_model *model, const struct token_report *tokens,
                     size_t from, size_t n) {
    json_t *const texts = json_array(), *const chances = json_array(), *const tops = json_array(),
                  *const offsets = json_array();
    for (size_t i = from; i < n; i++) {
        const struct token_report *const t = &tokens[i];
        const bool known = !isnan(t->token.logprob);
        json_array_append_new(texts, token_text(model, t->token.id));
        json_array_append_new(chances, known ? json_real((double)t->token.logprob) : json_null());
        json_array_append_new(tops, known ? tops_json(model, t) : json_null());
        json_array_append_new(offsets,
                              json_integer((json_int_t)(i > 0 ? tokens[i - 1].text_end : 0)));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", texts, "token_logprobs", chances,
                     "top_logprobs", tops, "text_offset", offsets);
}
