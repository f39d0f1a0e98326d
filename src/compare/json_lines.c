/* See json_lines.h. */
#include "compare/json_lines.h"

#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/status.h"

enum { MAX_LINE = 1 << 20 };

static enum octet_status add_line(const char *path, size_t i_line, const char *line, json_t *rows,
                                  struct octet_err *err) {
    if (line[strspn(line, " \t\r\n")] == '\0') return OCTET_OK;
    json_error_t why;
    json_t *row = json_loads(line, 0, &why);
    if (!row) return octet_fail(err, OCTET_EFORMAT, "%s: line %zu: %s", path, i_line, why.text);
    if (!json_is_object(row)) {
        json_decref(row);
        return octet_fail(err, OCTET_EFORMAT, "%s: line %zu: expected an object", path, i_line);
    }
    return json_array_append_new(rows, row) == 0 ? OCTET_OK : octet_fail_memory(err, "rows", 0);
}

enum octet_status json_lines_read(const char *path, json_t *rows, struct octet_err *err) {
    gzFile file = gzopen(path, "rb"); // reads plain files too
    char *line = mem_alloc(MAX_LINE);
    enum octet_status status = OCTET_OK;
    if (!line)
        status = octet_fail_memory(err, "line", MAX_LINE);
    else if (!file)
        status = octet_fail(err, OCTET_EIO, "%s: cannot be read", path);
    for (size_t i = 1; status == OCTET_OK && gzgets(file, line, MAX_LINE); i++) {
        if (strlen(line) == MAX_LINE - 1)
            status = octet_fail(err, OCTET_EFORMAT, "%s: line %zu: longer than %d bytes", path, i,
                                MAX_LINE);
        else
            status = add_line(path, i, line, rows, err);
    }
    int code = Z_OK;
    if (file) {
        const char *why = gzerror(file, &code);
        if (status == OCTET_OK && code != Z_OK && code != Z_STREAM_END)
            status = octet_fail(err, OCTET_EFORMAT, "%s: %s", path, why);
        gzclose(file);
    }
    mem_free(line);
    return status;
}
