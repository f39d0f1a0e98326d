/* See plan.h. */
#include "cli/plan.h"

#include <math.h>

enum plan_fit plan_fit(const struct machine *machine, uint64_t weight_bytes, uint64_t kv_bytes) {
    const double needed = (double)weight_bytes + (double)kv_bytes;
    if (needed <= (double)machine->ram_available) return PLAN_FITS;
    return needed <= (double)machine->ram_total ? PLAN_TIGHT : PLAN_DISK;
}

const char *plan_fit_text(enum plan_fit fit) {
    switch (fit) {
    case PLAN_FITS:
        return "fits";
    case PLAN_TIGHT:
        return "tight";
    case PLAN_DISK:
        break;
    }
    return "from disk";
}

double plan_decode_limit(const struct machine *machine, uint64_t weight_bytes,
                         uint64_t decode_bytes, uint64_t kv_bytes) {
    if (machine->memory_speed <= 0 || decode_bytes == 0) return (double)NAN;
    double seconds = (double)decode_bytes / machine->memory_speed;
    if (plan_fit(machine, weight_bytes, kv_bytes) == PLAN_DISK) {
        if (machine->disk_speed <= 0) return (double)NAN;
        const double kept = fmax(0, (double)machine->ram_total - (double)kv_bytes);
        const double missing = 1 - kept / (double)weight_bytes;
        seconds += missing * (double)decode_bytes / machine->disk_speed;
    }
    return 1 / seconds;
}
