/* JSON that comes character by character (RFC 8259): whether what has come so far is the beginning
 * of a value, and where in it one is. UTF-8 is taken for granted. */
#ifndef OCTET_SERVER_JSON_SCAN_H
#define OCTET_SERVER_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_SCAN_DEPTH = 512 }; // the most brackets that may be open

/* Where one is, which says what may come next. */
enum json_expects {
    SCAN_VALUE,
    SCAN_FIRST_ITEM, // of an array, or its end
    SCAN_FIRST_KEY,  // of an object, or its end
    SCAN_KEY,
    SCAN_COLON,
    SCAN_MORE, // a comma or a closing bracket
    SCAN_STRING,
    SCAN_ESCAPE,
    SCAN_HEX,
    SCAN_LOW, // the backslash of the second half of a pair of surrogates
    SCAN_LOW_U,
    SCAN_LITERAL,
    SCAN_MINUS, // digits after it
    SCAN_ZERO,  // no digits after it
    SCAN_DIGITS,
    SCAN_POINT,
    SCAN_FRACTION,
    SCAN_EXPONENT, // a sign or digits
    SCAN_SIGN,
    SCAN_EXPONENT_DIGITS,
    SCAN_NOTHING, // the value is complete
};

/* Zero before the first character. */
struct json_scan {
    enum json_expects expects;
    size_t depth; // open brackets
    bool in_key;  // SCAN_STRING and its kin: it is one of an object's keys
    /* ---- The scanner's ----------------------------------------------------------------------- */
    uint64_t objects[JSON_SCAN_DEPTH / 64]; // bit: the bracket at that depth is an object's
    const char *literal;                    // what is left of it
    unsigned code, n_hex;                   // of \uXXXX
    bool wants_low;
};

/* Takes C; false: no JSON begins like that. A number at depth 0 has no end. */
bool json_scan_push(struct json_scan *scan, char c);

#endif
