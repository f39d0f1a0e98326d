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

/* What this machine can do at most: the best of several ways to read a buffer larger than any
 * cache, and of loops of nothing but multiply-adds (2 operations each) in registers. */
struct probe_speeds {
    double read_bytes; // per second
    double int8_ops;   // per second, in dot products of bytes
    double float_ops;  // per second, single precision
    const char *isa;   // whose loops ran, "avx512"
    const char *int8;  // their instruction for bytes
};
/* All of N_THREADS together. ISA: "scalar", "avx2", "avxvnni", "avx512", "neon"; NULL, or one that
 * this machine has not: the best it has. */
enum octet_status probe_measure_speeds(int n_threads, const char *isa, struct probe_speeds *speeds,
                                       struct octet_err *err);
/* The same without reading: read_bytes is 0. */
enum octet_status probe_arithmetic(int n_threads, const char *isa, struct probe_speeds *speeds,
                                   struct octet_err *err);
/* Of these only the bytes per second. */
enum octet_status probe_read_bandwidth(int n_threads, double *bytes_per_second,
                                       struct octet_err *err);

/* Reads memory that is there already, such as the weights of a model, in PROBE_N_WAYS ways. */
enum { PROBE_N_WAYS = 11 };
struct probe_reader;
struct probe_reader *probe_reader_open(int n_threads, const char *isa); // NULL: out of memory
void probe_reader_close(struct probe_reader *reader);
/* Seconds that all threads together need for the N_BYTES at DATA (aligned to 64); 0 where they are
 * too few to be timed. What is beyond the last multiple of 64 KiB is not read. */
double probe_reader_time(struct probe_reader *reader, size_t way, const void *data, size_t n_bytes);

/* Bytes per second of sequential reads, past the page cache, of a temporary file in FOLDER.
 * EUNSUPPORTED where the file system can not read past the cache. */
enum octet_status probe_disk_read(const char *folder, double *bytes_per_second,
                                  struct octet_err *err);

int probe_landlock_abi(void);      // 0: not there
bool probe_user_namespaces(void);  // an ordinary user may make them
bool probe_seccomp_filters(void);

#endif
