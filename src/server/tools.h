/* The tools that a request offers to the model, whatever its dialect: read once, checked, and kept
 * as OpenAI's chat API has them, which is also what chat templates take. */
#ifndef OCTET_SERVER_TOOLS_H
#define OCTET_SERVER_TOOLS_H

#include <jansson.h>

#include "octet.h"
#include "server/body.h"
#include "server/calls.h"

struct job;

struct tools {
    json_t *list;     // at least one {"type": "function", "function": {"name", "parameters", ...}}
    bool required;    // the answer is a call
    const char *only; // of this tool, within LIST; NULL: of any
    bool parallel;    // several calls in one answer are fine
    enum call_form form;
    bool taught; // the model's template writes no tools: a system message tells of them
};

/* "tools", "tool_choice" and "parallel_tool_calls" of any dialect. NULL: there are none, none is to
 * be called, or complained about. */
struct tools *tools_read(struct body *body, const struct octet_model *model);
void tools_free(struct tools *tools);

/* What an answer that must be a call is, as a JSON schema; NULL: out of memory. */
json_t *tools_schema(const struct tools *tools);
/* What the system message tells models of tools that know no form of their own, and how calls and
 * results are told there. The caller's: mem_free; NULL: out of memory. */
char *tools_lesson(const struct tools *tools);
char *tools_told_call(const char *name, const json_t *arguments);
char *tools_told_result(const char *result);

/* Makes marks of calls that are control tokens visible in JOB's text; returns their bits, as of
 * call_reader.hidden. */
unsigned tools_show_marks(const struct octet_model *model, struct job *job);

/* A new id for a call: nine letters and digits, as Mistral's templates want them. */
void tools_new_id(char out[10]);

#endif
