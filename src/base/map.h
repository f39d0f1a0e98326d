/* Mappings of files, known by name so that a fault inside one can be explained. */
#ifndef OCTET_BASE_MAP_H
#define OCTET_BASE_MAP_H

#include "base/status.h"

/* Maps all of PATH to be read. Empty files and non-regular ones are refused. */
enum octet_status map_open(const char *path, const uint8_t **bytes, size_t *n_bytes,
                           struct octet_err *err);
/* Brings a part of a mapping into memory and the page table, so that reading it later waits for
 * nothing. NEXT_BYTES behind it are asked of the disk meanwhile. */
void map_populate(const uint8_t *bytes, size_t n_bytes, size_t next_bytes);
/* Copies a part of a mapping to OUT through the file, so that its pages, and whole neighbourhoods
 * of them, do not become this process's. False: in no mapping, or the file is shorter by now;
 * reading at the address will do, or tell. */
bool map_read(const uint8_t *bytes, size_t n_bytes, void *out);
/* The opposite of map_populate: whole pages of a part of a mapping are the process's no more. What
 * is read again comes from the file, or from the system's copy of it. */
void map_release(const uint8_t *bytes, size_t n_bytes);
void map_close(const uint8_t *bytes, size_t n_bytes);

/* Maps the first N_BYTES of an open file: what is written there stays in memory. PATH is for
 * explanations. NULL: out of memory, or files like this one can not be mapped. */
uint8_t *map_private(int fd, const char *path, size_t n_bytes);
void map_private_close(uint8_t *bytes, size_t n_bytes);

#endif
