/* The price book's files: reading, checking every entry, and adding one. What is wrong is told with
 * the file and the entry. Looking prices up is in prices.c. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/embed.h"
#include "compare/prices.h"

enum { MAX_FILE_BYTES = 4 << 20, MAX_NAME_BYTES = 128, MAX_ALIASES = 64 };

/* ---- Fields ---------------------------------------------------------------------------------- */

struct entry { // one object of a book while it is read
    const char *file, *list; // "prices" or "rates"
    size_t index;
    const json_t *object;
    struct octet_err *err;
};

static const char *text_or(const json_t *object, const char *key, const char *otherwise) {
    const json_t *const value = json_object_get(object, key);
    return json_is_string(value) ? json_string_value(value) : otherwise;
}

/* "FILE: prices[3] (openai gpt-4): ..." */
__attribute__((format(printf, 2, 3))) static enum octet_status
entry_fail(const struct entry *entry, const char *fmt, ...) {
    const bool is_price = strcmp(entry->list, "prices") == 0;
    char what[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return octet_fail(entry->err, OCTET_EFORMAT, "%.200s: %s[%zu] (%.40s %.40s): %s", entry->file,
                      entry->list, entry->index,
                      text_or(entry->object, is_price ? "provider" : "from", "?"),
                      text_or(entry->object, is_price ? "model" : "to", "?"), what);
}

static const char *kind_of(const json_t *value) {
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a truth value";
    case JSON_NULL: break;
    }
    return value ? "null" : "nothing";
}

/* Control characters, the two-byte ones of UTF-8 included, must not get to a terminal. */
static bool has_controls(const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0)) return true;
    }
    return false;
}

/* A text that must be there unless OTHERWISE is given. */
static enum octet_status get_text(const struct entry *entry, const char *key,
                                  const char *otherwise, const char **out) {
    const json_t *const value = json_object_get(entry->object, key);
    *out = otherwise;
    if (otherwise && (!value || json_is_null(value))) return OCTET_OK;
    if (!json_is_string(value)) {
        return entry_fail(entry, "'%s': expected a text, found %s", key, kind_of(value));
    }
    *out = json_string_value(value);
    if (!otherwise && (*out)[0] == '\0') return entry_fail(entry, "'%s' is empty", key);
    if (has_controls(*out)) return entry_fail(entry, "'%s' holds control characters", key);
    return OCTET_OK;
}

static enum octet_status check_name(const struct entry *entry, const char *key, const char *name) {
    if (strlen(name) > MAX_NAME_BYTES) {
        return entry_fail(entry, "'%s' is longer than %d bytes", key, MAX_NAME_BYTES);
    }
    for (const char *c = name; *c; c++) {
        if (*c <= ' ' || *c > '~') {
            return entry_fail(entry, "'%s' may hold printable ASCII without blanks only", key);
        }
    }
    return OCTET_OK;
}

static enum octet_status get_name(const struct entry *entry, const char *key, const char **out) {
    const enum octet_status status = get_text(entry, key, NULL, out);
    return status == OCTET_OK ? check_name(entry, key, *out) : status;
}

static enum octet_status get_currency(const struct entry *entry, const char *key, char out[4]) {
    const char *text;
    const enum octet_status status = get_text(entry, key, NULL, &text);
    if (status != OCTET_OK) return status;
    if (strlen(text) != 3 || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3) {
        return entry_fail(entry, "'%s': expected three capitals such as EUR, found '%.20s'", key,
                          text);
    }
    memcpy(out, text, 4);
    return OCTET_OK;
}

/* MAY_MISS: null and nothing leave *out alone. */
static enum octet_status get_day(const struct entry *entry, const char *key, bool may_miss,
                                 int32_t *out) {
    const json_t *const value = json_object_get(entry->object, key);
    if (may_miss && (!value || json_is_null(value))) return OCTET_OK;
    const char *text;
    const enum octet_status status = get_text(entry, key, NULL, &text);
    if (status != OCTET_OK || day_parse(text, out)) return status;
    return entry_fail(entry, "'%s': expected a date such as 2023-12-13, found '%.20s'", key, text);
}

static enum octet_status get_number(const struct entry *entry, const char *key, bool may_miss,
                                    double *out) {
    const double max = 1e9;
    const json_t *const value = json_object_get(entry->object, key);
    if (may_miss && (!value || json_is_null(value))) return OCTET_OK;
    if (!json_is_number(value)) {
        return entry_fail(entry, "'%s': expected a number, found %s", key, kind_of(value));
    }
    *out = json_number_value(value);
    if (*out >= 0 && *out <= max) return OCTET_OK;
    return entry_fail(entry, "'%s': expected 0 to %g, found %g", key, max, *out);
}

static enum octet_status get_tokens(const struct entry *entry, const char *key, uint64_t *out) {
    const json_t *const value = json_object_get(entry->object, key);
    if (!value || json_is_null(value)) return OCTET_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return entry_fail(entry, "'%s': expected a number of tokens, found %s", key,
                          json_is_integer(value) ? "a negative one" : kind_of(value));
    }
    *out = (uint64_t)json_integer_value(value);
    return OCTET_OK;
}

static enum octet_status check_keys(const struct entry *entry, const char *const *known) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)entry->object, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0) i++;
        if (!known[i]) return entry_fail(entry, "unknown key '%.40s'", key);
    }
    return OCTET_OK;
}

/* ---- Entries --------------------------------------------------------------------------------- */

static enum octet_status read_names(const struct entry *entry, struct price *row) {
    const json_t *const aliases = json_object_get(entry->object, "aliases");
    const size_t n_aliases = json_array_size(aliases);
    if (aliases && (!json_is_array(aliases) || n_aliases > MAX_ALIASES)) {
        return entry_fail(entry, "'aliases': expected a list of at most %d names, found %s",
                          MAX_ALIASES, json_is_array(aliases) ? "more" : kind_of(aliases));
    }
    const char **const names = mem_array(n_aliases + 1, sizeof *names);
    if (!names) return octet_fail_memory(entry->err, "names of a model", n_aliases);
    row->names = names; // released with the row, also when it is not complete
    enum octet_status status = get_name(entry, "model", &names[0]);
    for (size_t i = 0; i < n_aliases && status == OCTET_OK; i++) {
        const json_t *const alias = json_array_get(aliases, i);
        if (!json_is_string(alias) || json_string_length(alias) == 0) {
            return entry_fail(entry, "'aliases': expected names, found %s", kind_of(alias));
        }
        names[i + 1] = json_string_value(alias);
        status = check_name(entry, "aliases", names[i + 1]);
    }
    row->n_names = n_aliases + 1;
    return status;
}

/* Prices are kept per million tokens, whatever unit they are written in. */
static enum octet_status read_amounts(const struct entry *entry, struct price *row) {
    double unit = 0;
    enum octet_status status = get_number(entry, "unit", false, &unit);
    if (status != OCTET_OK) return status;
    if (unit != 1000 && unit != 1000000) {
        return entry_fail(entry, "'unit': expected 1000 or 1000000 tokens, found %g", unit);
    }
    row->cached_input = row->reasoning = NAN;
    status = get_number(entry, "input", false, &row->input);
    if (status == OCTET_OK) status = get_number(entry, "output", false, &row->output);
    if (status == OCTET_OK) status = get_number(entry, "cached_input", true, &row->cached_input);
    if (status == OCTET_OK) status = get_number(entry, "reasoning", true, &row->reasoning);
    if (unit == 1000) {
        row->input *= 1000;
        row->output *= 1000;
        row->cached_input *= 1000;
        row->reasoning *= 1000;
    }
    return status;
}

static enum octet_status read_validity(const struct entry *entry, struct price *row) {
    row->valid_to = DAY_MAX;
    row->prompt_to = UINT64_MAX;
    enum octet_status status = get_day(entry, "valid_from", false, &row->valid_from);
    if (status == OCTET_OK) status = get_day(entry, "valid_to", true, &row->valid_to);
    if (status == OCTET_OK) status = get_tokens(entry, "prompt_above", &row->prompt_above);
    if (status == OCTET_OK) status = get_tokens(entry, "prompt_to", &row->prompt_to);
    if (status != OCTET_OK) return status;
    if (row->valid_to < row->valid_from) {
        return entry_fail(entry, "'valid_to' is before 'valid_from'");
    }
    if (row->prompt_to <= row->prompt_above) {
        return entry_fail(entry, "'prompt_to' is not above 'prompt_above'");
    }
    return OCTET_OK;
}

static enum octet_status read_price(const struct entry *entry, struct price *row) {
    static const char *const known[] = {
        "provider", "model",      "aliases",  "prompt_above", "prompt_to", "currency",
        "unit",     "input",      "output",   "cached_input", "reasoning", "valid_from",
        "valid_to", "source",     "read_on",  "note",         NULL,
    };
    enum octet_status status = check_keys(entry, known);
    if (status == OCTET_OK) status = get_name(entry, "provider", &row->provider);
    if (status == OCTET_OK) status = read_names(entry, row);
    if (status == OCTET_OK) status = get_currency(entry, "currency", row->currency);
    if (status == OCTET_OK) status = read_amounts(entry, row);
    if (status == OCTET_OK) status = read_validity(entry, row);
    if (status == OCTET_OK) status = get_text(entry, "source", NULL, &row->source);
    if (status == OCTET_OK) status = get_day(entry, "read_on", false, &row->read_on);
    if (status == OCTET_OK) status = get_text(entry, "note", "", &row->note);
    return status;
}

static enum octet_status read_rate(const struct entry *entry, struct exchange_rate *rate) {
    static const char *const known[] = {"from", "to", "rate", "date", "source", NULL};
    enum octet_status status = check_keys(entry, known);
    if (status == OCTET_OK) status = get_currency(entry, "from", rate->from);
    if (status == OCTET_OK) status = get_currency(entry, "to", rate->to);
    if (status == OCTET_OK) status = get_number(entry, "rate", false, &rate->rate);
    if (status == OCTET_OK) status = get_day(entry, "date", false, &rate->day);
    if (status == OCTET_OK) status = get_text(entry, "source", NULL, &rate->source);
    if (status != OCTET_OK) return status;
    if (!(rate->rate >= 1e-9)) return entry_fail(entry, "'rate' must be above 0");
    if (strcmp(rate->from, rate->to) == 0) return entry_fail(entry, "the currencies are the same");
    return OCTET_OK;
}

/* ---- Overlaps -------------------------------------------------------------------------------- */

struct claim { // a name's price during a time
    const struct price *row;
    const char *name;
};

static int by_claim(const void *left, const void *right) {
    const struct claim *const a = left, *const b = right;
    int order = strcmp(a->row->provider, b->row->provider);
    if (order == 0) order = strcmp(a->name, b->name);
    if (order == 0) order = strcmp(a->row->currency, b->row->currency);
    if (order == 0) {
        order = (a->row->prompt_above > b->row->prompt_above) -
                (a->row->prompt_above < b->row->prompt_above);
    }
    return order;
}

static int by_claim_and_time(const void *left, const void *right) {
    const struct price *const a = ((const struct claim *)left)->row;
    const struct price *const b = ((const struct claim *)right)->row;
    int order = by_claim(left, right);
    if (order == 0) order = (a->valid_from > b->valid_from) - (a->valid_from < b->valid_from);
    return order;
}

/* Two prices for the same thing on the same day would make a bill a matter of luck. ROWS: those of
 * one file. */
static enum octet_status check_overlaps(const struct price *rows, size_t n_rows, const char *file,
                                        struct octet_err *err) {
    size_t n = 0;
    for (size_t i = 0; i < n_rows; i++) n += rows[i].n_names;
    struct claim *const claims = mem_array(n, sizeof *claims);
    if (!claims) return octet_fail_memory(err, "price rows", n);
    n = 0;
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t k = 0; k < rows[i].n_names; k++) {
            claims[n++] = (struct claim){&rows[i], rows[i].names[k]};
        }
    }
    if (n > 1) qsort(claims, n, sizeof *claims, by_claim_and_time);
    enum octet_status status = OCTET_OK;
    for (size_t i = 1; i < n && status == OCTET_OK; i++) {
        const struct price *a = claims[i - 1].row, *b = claims[i].row;
        if (by_claim(&claims[i - 1], &claims[i]) != 0 || a->valid_to < b->valid_from) continue;
        if (a > b) { // name the earlier entry last: it was fine until the later one came
            const struct price *const earlier = b;
            b = a;
            a = earlier;
        }
        status = octet_fail(err, OCTET_EFORMAT,
                            "%.200s: prices[%zu] (%s %s): overlaps in time with prices[%zu]", file,
                            (size_t)(b - rows), b->provider, claims[i].name, (size_t)(a - rows));
    }
    mem_free(claims);
    return status;
}

/* ---- Files ----------------------------------------------------------------------------------- */

/* The list named KEY, which may be missing. */
static enum octet_status list_of(const json_t *root, const char *key, const char *file,
                                 const json_t **out, struct octet_err *err) {
    *out = json_object_get(root, key);
    if (!*out || json_is_array(*out)) return OCTET_OK;
    return octet_fail(err, OCTET_EFORMAT, "%.200s: '%s': expected a list, found %s", file, key,
                      kind_of(*out));
}

static enum octet_status read_prices(struct price_book *book, const json_t *list, bool added,
                                     const char *file, struct octet_err *err) {
    const size_t n = json_array_size(list), first = book->n_rows;
    if (!mem_reserve((void **)&book->rows, &book->rows_cap, first + n, sizeof *book->rows)) {
        return octet_fail_memory(err, "price rows", n * sizeof *book->rows);
    }
    for (size_t i = 0; i < n; i++) {
        struct price *const row = &book->rows[book->n_rows++];
        *row = (struct price){.added = added};
        const struct entry entry = {file, "prices", i, json_array_get(list, i), err};
        if (!json_is_object(entry.object)) {
            return entry_fail(&entry, "expected an object, found %s", kind_of(entry.object));
        }
        const enum octet_status status = read_price(&entry, row);
        if (status != OCTET_OK) return status;
    }
    return check_overlaps(book->rows + first, n, file, err);
}

static enum octet_status read_rates(struct price_book *book, const json_t *list, const char *file,
                                    struct octet_err *err) {
    const size_t n = json_array_size(list);
    if (!mem_reserve((void **)&book->rates, &book->rates_cap, book->n_rates + n,
                     sizeof *book->rates)) {
        return octet_fail_memory(err, "exchange rates", n * sizeof *book->rates);
    }
    for (size_t i = 0; i < n; i++) {
        const struct entry entry = {file, "rates", i, json_array_get(list, i), err};
        if (!json_is_object(entry.object)) {
            return entry_fail(&entry, "expected an object, found %s", kind_of(entry.object));
        }
        struct exchange_rate rate;
        const enum octet_status status = read_rate(&entry, &rate);
        if (status != OCTET_OK) return status;
        book->rates[book->n_rates++] = rate;
    }
    return OCTET_OK;
}

/* The top object of a book; NULL with the failure told. */
static json_t *parse_root(const char *json, size_t n_bytes, const char *file,
                          struct octet_err *err) {
    json_error_t where;
    json_t *const root = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &where);
    if (!root) {
        octet_fail(err, OCTET_EFORMAT, "%.200s: line %d: %s", file, where.line, where.text);
        return NULL;
    }
    if (json_is_object(root)) return root;
    octet_fail(err, OCTET_EFORMAT, "%.200s: expected an object, found %s", file, kind_of(root));
    json_decref(root);
    return NULL;
}

enum octet_status price_book_parse(struct price_book *book, const char *json, size_t n_bytes,
                                   const char *name, bool added, struct octet_err *err) {
    if (n_bytes > MAX_FILE_BYTES) {
        return octet_fail(err, OCTET_EFORMAT, "%.200s: a price book of more than %d MiB", name,
                          MAX_FILE_BYTES >> 20);
    }
    if (!mem_reserve((void **)&book->roots, &book->roots_cap, book->n_roots + 1,
                     sizeof *book->roots)) {
        return octet_fail_memory(err, "price book", n_bytes);
    }
    json_t *const root = parse_root(json, n_bytes, name, err);
    if (!root) return OCTET_EFORMAT;
    book->roots[book->n_roots++] = root;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (strcmp(key, "prices") != 0 && strcmp(key, "rates") != 0 && strcmp(key, "about") != 0) {
            return octet_fail(err, OCTET_EFORMAT, "%.200s: unknown key '%.40s'", name, key);
        }
    }
    const json_t *prices, *rates;
    enum octet_status status = list_of(root, "prices", name, &prices, err);
    if (status == OCTET_OK) status = list_of(root, "rates", name, &rates, err);
    if (status == OCTET_OK) status = read_prices(book, prices, added, name, err);
    if (status == OCTET_OK) status = read_rates(book, rates, name, err);
    return status;
}

static json_t *amount_json(double amount) {
    return isnan(amount) ? json_null() : json_real(amount);
}

static json_t *day_json(int32_t day) {
    char text[16];
    return day == DAY_MAX ? json_null() : json_string(day_text(day, text));
}

json_t *price_json(const struct price *price) {
    json_t *const aliases = json_array();
    for (size_t i = 1; i < price->n_names; i++) {
        json_array_append_new(aliases, json_string(price->names[i]));
    }
    return json_pack(
        "{ss ss so sI so ss si so so so so so so ss so ss}", "provider", price->provider, "model",
        price->names[0], "aliases", aliases, "prompt_above", (json_int_t)price->prompt_above,
        "prompt_to",
        price->prompt_to == UINT64_MAX ? json_null() : json_integer((json_int_t)price->prompt_to),
        "currency", price->currency, "unit", 1000000, "input", amount_json(price->input),
        "cached_input", amount_json(price->cached_input), "output", amount_json(price->output),
        "reasoning", amount_json(price->reasoning), "valid_from", day_json(price->valid_from),
        "valid_to", day_json(price->valid_to), "source", price->source, "read_on",
        day_json(price->read_on), "note", price->note);
}

/* All of the file at PATH, NULL if there is none; the caller frees it. */
static enum octet_status read_file(const char *path, char **out, size_t *n_bytes,
                                   struct octet_err *err) {
    *out = NULL;
    *n_bytes = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not stop us
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return OCTET_OK;
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        const enum octet_status status =
            octet_fail(err, OCTET_EIO, "%.200s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return status;
    }
    enum octet_status status = OCTET_OK;
    if (!S_ISREG(info.st_mode)) {
        status = octet_fail(err, OCTET_EIO, "%.200s: not a regular file", path);
    } else if (info.st_size > MAX_FILE_BYTES) {
        status = octet_fail(err, OCTET_EFORMAT, "%.200s: a price book of more than %d MiB", path,
                            MAX_FILE_BYTES >> 20);
    } else if (!(*out = mem_alloc((size_t)info.st_size + 1))) {
        status = octet_fail_memory(err, "price book", (size_t)info.st_size);
    }
    while (status == OCTET_OK && *n_bytes < (size_t)info.st_size) {
        const ssize_t n = read(fd, *out + *n_bytes, (size_t)info.st_size - *n_bytes);
        if (n == 0) break; // became shorter meanwhile
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = octet_fail(err, OCTET_EIO, "%.200s: %s", path, strerror(errno));
        else *n_bytes += (size_t)n;
    }
    close(fd);
    if (status != OCTET_OK) {
        mem_free(*out);
        *out = NULL;
    }
    return status;
}

char *price_book_user_path(struct octet_err *err) {
    const char *const config = getenv("XDG_CONFIG_HOME"), *const home = getenv("HOME");
    if (err) *err = (struct octet_err){OCTET_OK, ""};
    const bool has_config = config && config[0] == '/'; // others are to be ignored
    if (!has_config && !(home && home[0])) return NULL;
    const char *const base = has_config ? config : home;
    const char *const rest = has_config ? "/octet/prices.json" : "/.config/octet/prices.json";
    const size_t cap = strlen(base) + strlen(rest) + 1;
    char *const path = mem_alloc(cap);
    if (!path) octet_fail_memory(err, "path of the price book", cap);
    else snprintf(path, cap, "%s%s", base, rest);
    return path;
}

static enum octet_status open_user_book(struct price_book *book, struct octet_err *err) {
    struct octet_err no_path;
    char *const path = price_book_user_path(&no_path);
    if (!path && no_path.status == OCTET_OK) return OCTET_OK;
    if (!path) return octet_fail(err, no_path.status, "%s", no_path.message);
    char *json;
    size_t n_bytes;
    enum octet_status status = read_file(path, &json, &n_bytes, err);
    if (status == OCTET_OK && json) {
        status = price_book_parse(book, json, n_bytes, path, true, err);
    }
    mem_free(json);
    mem_free(path);
    return status;
}

enum octet_status price_book_open(struct price_book *book, struct octet_err *err) {
    *book = (struct price_book){0};
    const struct embedded own = embedded_price_book();
    enum octet_status status = price_book_parse(book, own.begin, (size_t)(own.end - own.begin),
                                                "built-in price book", false, err);
    if (status == OCTET_OK) status = open_user_book(book, err);
    if (status != OCTET_OK) price_book_close(book);
    return status;
}

void price_book_close(struct price_book *book) {
    for (size_t i = 0; i < book->n_rows; i++) mem_free((void *)(uintptr_t)book->rows[i].names);
    for (size_t i = 0; i < book->n_roots; i++) json_decref(book->roots[i]);
    mem_free(book->rows);
    mem_free(book->rates);
    mem_free(book->roots);
    *book = (struct price_book){0};
}

/* ---- Adding ---------------------------------------------------------------------------------- */

/* Opens PATH's folder, made if need be, and waits for others that add to it; < 0 on failure. */
static int lock_folder(const char *path, struct octet_err *err) {
    char *const folder = mem_strdup(path, strlen(path));
    if (!folder) {
        octet_fail_memory(err, "path", strlen(path));
        return -1;
    }
    for (char *c = folder + 1; *c; c++) {
        if (*c != '/') continue;
        *c = '\0';
        mkdir(folder, 0755); // a failure shows when it is opened
        *c = '/';
    }
    char *const slash = strrchr(folder, '/');
    if (slash) *slash = '\0';
    const char *const name = !slash ? "." : folder[0] ? folder : "/";
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        octet_fail(err, OCTET_EIO, "%.200s: %s", name, strerror(errno));
        if (fd >= 0) close(fd);
        fd = -1;
    }
    mem_free(folder);
    return fd;
}

static bool write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        const ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

/* PATH holds either what it held or all of TEXT, whatever happens. */
static enum octet_status replace_file(const char *path, const char *text, struct octet_err *err) {
    const size_t cap = strlen(path) + 8;
    char *const part = mem_alloc(cap);
    if (!part) return octet_fail_memory(err, "path", cap);
    snprintf(part, cap, "%s.XXXXXX", path);
    enum octet_status status = OCTET_OK;
    const int fd = mkostemp(part, O_CLOEXEC);
    bool fine = fd >= 0 && write_all(fd, text, strlen(text)) && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0) fine = false;
    if (!fine || rename(part, path) != 0) {
        status = octet_fail(err, OCTET_EIO, "%.200s: %s", path, strerror(errno));
        if (fd >= 0) unlink(part);
    }
    mem_free(part);
    return status;
}

/* Makes *TEXT, to be given to free(), of the book ROOT with ENTRY at the end of its list KEY. */
static enum octet_status with_entry(json_t *root, const char *key, const char *entry, char **text,
                                    struct octet_err *err) {
    json_t *const object = parse_root(entry, strlen(entry), "new entry", err);
    if (!object) return OCTET_EFORMAT;
    json_t *list = json_object_get(root, key);
    if (!list && json_object_set_new(root, key, json_array()) == 0) {
        list = json_object_get(root, key);
    }
    // A book with another thing in the list's place is refused when it is checked as a whole.
    const bool appended = !json_is_array(list) || json_array_append(list, object) == 0;
    json_decref(object);
    // 15 digits: what was written as 0.1 is written as 0.1 again.
    if (appended) *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    return *text ? OCTET_OK : octet_fail_memory(err, "price book", strlen(entry));
}

/* Under the lock. */
static enum octet_status add_entry(const char *path, const char *key, const char *entry,
                                   struct octet_err *err) {
    char *old, *text = NULL;
    size_t n_old;
    enum octet_status status = read_file(path, &old, &n_old, err);
    if (status != OCTET_OK) return status;
    json_t *const root = old ? parse_root(old, n_old, path, err) : json_object();
    mem_free(old);
    if (!root) return OCTET_EFORMAT;
    status = with_entry(root, key, entry, &text, err);
    json_decref(root);
    struct price_book checked = {0};
    if (status == OCTET_OK) {
        status = price_book_parse(&checked, text, strlen(text), path, true, err);
    }
    price_book_close(&checked);
    if (status == OCTET_OK) status = replace_file(path, text, err);
    free(text);
    return status;
}

enum octet_status price_book_add(const char *path, const char *entry, bool is_rate,
                                 struct octet_err *err) {
    const int folder = lock_folder(path, err);
    if (folder < 0) return OCTET_EIO;
    const enum octet_status status = add_entry(path, is_rate ? "rates" : "prices", entry, err);
    if (status == OCTET_OK) fsync(folder); // the new name, too
    close(folder);
    return status;
}
