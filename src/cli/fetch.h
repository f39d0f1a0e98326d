/* Downloading one large file so that it is either complete and verified, or not there.
 *
 * The bytes collect in PATH.part; PATH.part.meta says which file they belong to, so that a later
 * run goes on where this one was stopped. PATH appears only when size and SHA-256 match. */
#ifndef OCTET_CLI_FETCH_H
#define OCTET_CLI_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "octet.h"

enum fetch_phase { FETCH_DOWNLOADING, FETCH_CHECKING };

struct fetch {
    const char *url;
    const char *path;
    const char *sha256; // 64 lower-case hex digits; NULL: as the server states it
    bool unverified;    // accept a file whose SHA-256 nobody states
    bool check_present; // read a file that is there already, rather than trust its size
    int32_t timeout_seconds;
    int32_t n_retries; // in a row without a byte of progress

    /* Called often; false stops it (OCTET_ECANCELLED), and what is there stays for the next run. */
    bool (*progress)(void *user, enum fetch_phase phase, uint64_t done, uint64_t total);
    void (*note)(void *user, const char *text); // one line: a retry, a new start
    void *user;

    bool was_present; // set: nothing had to be fetched
};

enum octet_status fetch_file(struct fetch *fetch, struct octet_err *err);

#endif
