/* Conversations in the words of the template that a model's file brings along.
 *
 * Templates disagree about what they are given: some refuse system messages, some want the
 * arguments of calls as text, some know nothing of tools. What one takes is found out once, by
 * rendering small conversations and looking whether what went in comes out. */
#ifndef OCTET_TEXT_TEMPLATE_CHAT_H
#define OCTET_TEXT_TEMPLATE_CHAT_H

#include "text/template_file.h"
#include "text/vocab.h"

struct template_chat;

/* SET and V outlive it. A template that can not be used is no failure: the problem is kept. */
enum octet_status template_chat_open(const struct template_set *set, const struct vocab *v,
                                     struct template_chat **out, struct octet_err *err);
void template_chat_free(struct template_chat *chat);

bool template_chat_works(const struct template_chat *chat);
bool template_chat_tools(const struct template_chat *chat); // calls and results too
const char *template_chat_problem(const struct template_chat *chat); // NULL: none, or no template

/* As octet_chat_encode_json. */
enum octet_status template_chat_encode(const struct template_chat *chat, const char *variables,
                                       size_t n_bytes, struct octet_tokens *out,
                                       struct octet_err *err);

#endif
