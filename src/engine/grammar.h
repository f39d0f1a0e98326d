/* The grammar behind the public name. */
#ifndef OCTET_ENGINE_GRAMMAR_H
#define OCTET_ENGINE_GRAMMAR_H

#include "text/grammar.h"

struct grammar *octet_grammar_inner(struct octet_grammar *grammar);

#endif
