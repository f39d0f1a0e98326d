/* Which addresses stay on this machine. */
#ifndef OCTET_BASE_HOST_H
#define OCTET_BASE_HOST_H

#include <stdbool.h>

/* HOST as an URL has it. By what it is, not by how it begins: "127.example.com" is anywhere. */
bool host_is_loopback(const char *host);

#endif
