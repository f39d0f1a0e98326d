/* Answers kept on disk, one JSON object a line in DIR/answers.jsonl, so that scoring can be
 * repeated without asking anybody again. docs/providers.md describes the fields. */
#ifndef OCTET_COMPARE_RECORD_H
#define OCTET_COMPARE_RECORD_H

#include "compare/provider.h"

struct recorder;

/* Makes DIR where it is missing. Goes on after what is there. */
enum octet_status record_open(const struct provider *provider, const char *dir,
                              struct recorder **out, struct octet_err *err);
/* Appends one line and waits until it is on the disk. */
enum octet_status record_write(struct recorder *recorder, const struct provider *provider,
                               const struct ask *ask, const struct reply *reply,
                               struct octet_err *err);
void record_close(struct recorder *recorder); // NULL is fine

#endif
