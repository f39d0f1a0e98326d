/* What requests of several dialects ask in common, read from their bodies into jobs. */
#ifndef OCTET_SERVER_ASKED_H
#define OCTET_SERVER_ASKED_H

#include "server/body.h"
#include "server/fim.h"
#include "server/job.h"
#include "server/lane.h"

/* temperature, top_p, top_k, min_p, typical_p, penalties, DRY, mirostat, seed, logit_bias, stop,
 * ignore_eos under the names that the dialects give them. A seed that is not given is drawn. */
void asked_sampling(struct body *body, const struct lane *lane, struct job *job);

/* A job with sampling read and SAMPLE added to its seed; NULL: out of memory, complained about. */
struct job *asked_job(struct body *body, const struct lane *lane, size_t sample);

/* Holds JOB's answer to what FORMAT asks for: NULL, "" and {"type": "text"} leave it free; "json"
 * and {"type": "json_object"} want a JSON object; {"type": "json_schema"} has a schema at "schema"
 * or "json_schema"/"schema"; any other object is a schema itself. What can not be kept to is
 * complained about, with the reason. Before asked_chat, whose stop strings such an answer does
 * without. */
void asked_format(struct body *body, const json_t *format, struct lane *lane, struct job *job);
/* Holds JOB's answer to a JSON schema: values that are valid under it, as JSON. */
void asked_schema(struct body *body, const json_t *schema, struct lane *lane, struct job *job);
/* Holds JOB's answer to a grammar in GBNF. */
void asked_grammar(struct body *body, const char *grammar, struct lane *lane, struct job *job);

/* Puts what the system says in front of the list "messages" of BODY. NULL: nothing. */
void asked_system(struct body *body, const json_t *content);

/* Texts of a message's content: a string, or parts of which the texts are joined. NULL: something
 * else, complained about. The caller's: mem_free. */
char *asked_content(struct body *body, const json_t *content);

/* The conversation at KEY of BODY as the prompt of JOB, with the stop strings of its format and the
 * tools that BODY offers. A last message of the assistant is what the answer begins with. */
void asked_chat(struct body *body, const char *key, struct lane *lane, struct job *job);
/* A text, or a list of token ids. */
void asked_prompt(struct body *body, const json_t *prompt, const struct lane *lane,
                  struct job *job);

/* A hole between two texts (NULL: ""), with "fim_method", "n_indent" and "language" where BODY has
 * them. NULL: out of memory, complained about. */
struct hole *asked_hole(struct body *body, const char *prefix, const char *suffix);
/* The hole in PROMPT (NULL: none) that another family's marks tell of; NULL: there is none. */
struct hole *asked_rescue(const struct lane *lane, const char *prompt);
/* JOB's prompt from HOLE; the job's max_tokens is read before. Nothing if BODY is wrong already. */
void asked_fill(struct body *body, const struct lane *lane, struct hole *hole, struct job *job);

/* The model that "model" names, or "name" as older clients have it; NULL, complained about: there
 * is none of that name. */
struct server;
struct lane *asked_lane(struct body *body, const struct server *server);

#endif
