/* Whether a model fits this machine, and the speed it can not exceed. */
#ifndef OCTET_CLI_PLAN_H
#define OCTET_CLI_PLAN_H

#include <stdint.h>

struct machine {
    uint64_t ram_total, ram_available; // bytes, 0: unknown
    double memory_speed, disk_speed;   // bytes read per second, 0: unknown
};

enum plan_fit { PLAN_FITS, PLAN_TIGHT, PLAN_DISK };

/* PLAN_TIGHT: fits, but not beside what else uses memory now. PLAN_DISK: larger than memory, so
 * that every token reads weights from disk. */
enum plan_fit plan_fit(const struct machine *machine, uint64_t weight_bytes, uint64_t kv_bytes);
const char *plan_fit_text(enum plan_fit fit);

/* Most tokens per second, if each reads DECODE_BYTES of the weights. NaN: not known. */
double plan_decode_limit(const struct machine *machine, uint64_t weight_bytes,
                         uint64_t decode_bytes, uint64_t kv_bytes);

#endif
