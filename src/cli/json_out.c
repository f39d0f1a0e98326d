/* See json_out.h. */
#include "cli/json_out.h"

#include <math.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "octet.h"

static int write_chunk(const char *bytes, size_t n_bytes, void *user) {
    (void)user;
    return output_write(bytes, n_bytes) ? 0 : -1;
}

int json_out_print(json_t *value) {
    if (value == NULL) return output_error("out of memory for the JSON output");
    // output_finish tells a failed write.
    json_dump_callback(value, write_chunk, NULL, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(value);
    output_write("\n", 1);
    return EXIT_DONE;
}

json_t *json_out_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_out_text(const char *bytes, size_t n_bytes) {
    if (n_bytes > SIZE_MAX / 4) return NULL;
    char *const clean = mem_alloc(3 * n_bytes + 16);
    if (clean == NULL) return NULL;
    struct octet_stream stream = {{0}, 0};
    size_t n = octet_stream_push(&stream, bytes, n_bytes, clean);
    n += octet_stream_flush(&stream, clean + n);
    json_t *const text = json_stringn(clean, n);
    mem_free(clean);
    return text;
}
