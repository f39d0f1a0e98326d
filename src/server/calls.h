/* Calls of tools within the text of an answer, told apart from the rest while it comes.
 *
 * Known are the forms that models are trained on: `[TOOL_CALLS] [{"name", "arguments"}]` and
 * `[TOOL_CALLS]name{...}` (Mistral), `<tool_call>{...}</tool_call>` (Hermes, Qwen), bare JSON with
 * "parameters", also behind `<|python_tag|>` (Llama), JSON in a fence. A call is told when it is
 * complete and names a tool that there is; what only looks like one is text, and nothing of it is
 * lost. What is told does not depend on how the text was cut into pieces.
 *
 * Who wants it sooner is told of a call when its arguments begin, and of these as they come, where
 * the name stands before them. Should such a call break off, what was told stays told. */
#ifndef OCTET_SERVER_CALLS_H
#define OCTET_SERVER_CALLS_H

#include <jansson.h>

#include "base/buffer.h"
#include "server/call_scan.h"

enum call_form { CALLS_TAGGED, CALLS_MISTRAL, CALLS_PYTHON, CALLS_BARE, N_CALL_FORMS };

/* What stands around calls: of vocabularies where these are control tokens, which no user is to
 * see. */
enum { N_CALL_MARKS = 6 };
const char *calls_mark(size_t i); // i < N_CALL_MARKS
/* What opens a call in a form: "<tool_call>\n", and "" for bare JSON. */
const char *calls_opening(enum call_form form);

/* Zero it, then set what comes first here; calls_free it last. */
struct call_reader {
    const json_t *tools;       // as OpenAI's chats have them; not owned
    unsigned hidden;           // bit i: calls_mark(i) is not to be shown
    bool begun;                // the prompt has opened a call
    enum call_form begun_form; // in this form
    void (*on_text)(void *user, const char *text, size_t n_bytes);
    void (*on_call)(void *user, const char *name, const char *arguments); // a JSON object, as text
    /* All NULL, or what is told instead of a whole call where that is possible. */
    void (*on_begin)(void *user, const char *name);
    void (*on_arguments)(void *user, const char *text, size_t n_bytes); // more of them
    void (*on_end)(void *user, bool complete);                          // false: it broke off
    void *user;

    /* ---- The reader's ------------------------------------------------------------------------ */
    struct buffer held; // from AT on: not told yet
    size_t at;
    enum call_phase { CALL_START, CALL_TEXT, CALL_HEAD, CALL_VALUE, CALL_TAIL } phase;
    enum call_form form;
    bool fenced;
    bool told_text; // other than blanks
    size_t n_calls;
    size_t n_lead, n_mark, n_head; // bytes of blanks, of the mark, and of both with the rest that
                                   // stands before the value
    size_t scanned, depth;         // bytes of the value, brackets that are open there
    bool in_string, escaped;
    char name[CALL_NAME_BYTES]; // that stands before the value, or ""
    struct call_scan scan;      // of the value, with on_begin
    bool scans;                 // it is still of use
    bool telling;               // a call has begun
    size_t n_told, told_to;     // calls of the value that were told; bytes of it
};

bool calls_push(struct call_reader *reader, const char *text, size_t n_bytes); // false: no memory
bool calls_finish(struct call_reader *reader);
void calls_free(struct call_reader *reader);

#endif
