/* What this machine is and how fast: measured, not assumed. */
#ifndef OCTET_BASE_PROBE_H
#define OCTET_BASE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

double probe_seconds(void); // monotonic clock, arbitrary start, never 0

/* Bytes; 0 where the system does not tell. */
uint64_t probe_ram_total(void);
uint64_t probe_ram_available(void); // could be used now without swapping, cgroup limit included
uint64_t probe_rss_peak(void);      // most this process ever had resident, mapped files included
uint64_t probe_rss_anon(void);      // resident now and backed by no file

/* Model name of the processor, "" if unknown. */
void probe_cpu_name(char *name, size_t cap);
/* Names of the instruction set extensions that matter to kernels, space separated. */
void probe_cpu_features(char *features, size_t cap);

/* Bytes per second that N_THREADS together read from memory: the best of PASSES sums over one
 * buffer larger than any cache. */
enum octet_status probe_read_bandwidth(int n_threads, int passes, double *bytes_per_second,
                                       struct octet_err *err);

/* Bytes per second of sequential reads, past the page cache, of a temporary file in FOLDER.
 * EUNSUPPORTED where the file system can not read past the cache. */
enum octet_status probe_disk_read(const char *folder, double *bytes_per_second,
                                  struct octet_err *err);

int probe_landlock_abi(void);      // 0: not there
bool probe_user_namespaces(void);  // an ordinary user may make them
bool probe_seccomp_filters(void);

#endif
