/* The fields of a request's JSON body, checked as they are read. null counts as absent, as many
 * clients send it. The first thing that is wrong is kept; read on and look at the end. */
#ifndef OCTET_SERVER_BODY_H
#define OCTET_SERVER_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct body {
    json_t *json; // object; owned
    char wrong[200]; // "": nothing
};

/* False: BYTES is no JSON object; WRONG says why. */
bool body_open(struct body *body, const char *bytes, size_t n_bytes);
void body_close(struct body *body);
__attribute__((format(printf, 2, 3))) void body_complain(struct body *body, const char *fmt, ...);

const json_t *body_get(const struct body *body, const char *key); // NULL: absent
bool body_bool(struct body *body, const char *key, bool otherwise);
/* Numbers that are out of range are wrong. */
double body_number(struct body *body, const char *key, double min, double max, double otherwise);
int64_t body_int(struct body *body, const char *key, int64_t min, int64_t max, int64_t otherwise);
const char *body_text(struct body *body, const char *key); // NULL: absent
/* Strings at KEY, one or a list, told to FN one by one; false from FN is wrong. */
void body_texts(struct body *body, const char *key, bool (*fn)(void *user, const char *text),
                void *user);
/* The object at KEY as a body of its own, which borrows; its WRONG is to be handed on. */
struct body body_inner(const struct body *body, const char *key);

#endif
