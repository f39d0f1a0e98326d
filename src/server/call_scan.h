/* Where the arguments begin and end in calls that come character by character, so that they can be
 * told before the call is complete. That is where the name stands before them and they are an
 * object. */
#ifndef OCTET_SERVER_CALL_SCAN_H
#define OCTET_SERVER_CALL_SCAN_H

#include "server/json_scan.h"

enum { CALL_NAME_BYTES = 129 };

enum call_event {
    CALL_GOES_ON,
    CALL_BEGINS, // its name is known, and this character opens its arguments
    CALL_ENDS,   // this one closes them
    CALL_BREAKS, // this is no JSON
};

struct call_scan {
    char name[CALL_NAME_BYTES]; // of the call at hand, "": not known
    size_t n_items; // of a list, before it
    /* ---- The scanner's ----------------------------------------------------------------------- */
    struct json_scan json;
    size_t level; // brackets that are open around the members of a call
    size_t from;  // where the string at hand begins
    enum { MEMBER_OTHER, MEMBER_NAME, MEMBER_ARGUMENTS } member;
    bool begun, in_arguments;
};

/* Before a value: {"name", "arguments"}, a list of these, or with NAME the arguments alone. */
void call_scan_start(struct call_scan *scan, const char *name);
/* Takes VALUE[AT], where AT counts up from 0. */
enum call_event call_scan_push(struct call_scan *scan, const char *value, size_t at);

#endif
