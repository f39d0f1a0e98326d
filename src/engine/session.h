/* What the rest of the engine asks of a session beside octet.h. */
#ifndef OCTET_ENGINE_SESSION_H
#define OCTET_ENGINE_SESSION_H

#include "octet.h"

struct octet_model *session_model(const struct octet_session *session);
/* Who is asked whether a step goes on, or NULL. */
octet_progress_fn session_progress(const struct octet_session *session, void **user);

#endif
