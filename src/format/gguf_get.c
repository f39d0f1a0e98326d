/* Lookups in a GGUF directory and typed reads of its metadata. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "format/gguf_read.h"

const char *gguf_type_name(enum gguf_type type) {
    static const char *const names[GGUF_N_TYPES] = {
        [GGUF_U8] = "u8",         [GGUF_I8] = "i8",       [GGUF_U16] = "u16", [GGUF_I16] = "i16",
        [GGUF_U32] = "u32",       [GGUF_I32] = "i32",     [GGUF_F32] = "f32", [GGUF_BOOL] = "bool",
        [GGUF_STRING] = "string", [GGUF_ARRAY] = "array", [GGUF_U64] = "u64", [GGUF_I64] = "i64",
        [GGUF_F64] = "f64",
    };
    return (size_t)type < GGUF_N_TYPES ? names[type] : "unknown";
}

const char *gguf_path(const struct gguf *g) { return g->parts[0].path; }

static int compare_key(const void *key, const void *entry) {
    const struct gguf_kv *const *kv = entry;
    return strcmp(key, (*kv)->key);
}

static int compare_name(const void *name, const void *entry) {
    const struct gguf_tensor *const *t = entry;
    return strcmp(name, (*t)->name);
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key) {
    const struct gguf_kv **found =
        bsearch(key, g->index->kvs, g->n_kvs, sizeof *g->index->kvs, compare_key);
    return found ? *found : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name) {
    const struct gguf_tensor **found =
        bsearch(name, g->index->tensors, g->n_tensors, sizeof *g->index->tensors, compare_name);
    return found ? *found : NULL;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static uint64_t load_u64(const uint8_t *p) {
    return load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
}

static bool is_integer(enum gguf_type type) {
    return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

static bool is_float(enum gguf_type type) { return type == GGUF_F32 || type == GGUF_F64; }

/* Values beyond INT64_MAX come out as that. */
static int64_t load_int(enum gguf_type type, const uint8_t *p) {
    octet_assert(is_integer(type) || type == GGUF_BOOL);
    switch (type) {
    case GGUF_U8: return *p;
    case GGUF_I8: return (int8_t)*p;
    case GGUF_U16: return load_u16(p);
    case GGUF_I16: return (int16_t)load_u16(p);
    case GGUF_U32: return load_u32(p);
    case GGUF_I32: return (int32_t)load_u32(p);
    case GGUF_I64: return (int64_t)load_u64(p);
    case GGUF_U64: return load_u64(p) > INT64_MAX ? INT64_MAX : (int64_t)load_u64(p);
    default: return *p; // bool
    }
}

static double load_float(enum gguf_type type, const uint8_t *p) {
    if (type == GGUF_F32) return f32_from_bits(load_u32(p));
    if (type != GGUF_F64) return (double)load_int(type, p);
    uint64_t bits = load_u64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

int64_t gguf_array_int(const struct gguf_kv *kv, uint64_t i) {
    octet_assert(i < kv->n);
    return load_int(kv->elem, kv->data + i * gguf_type_bytes(kv->elem));
}

double gguf_array_float(const struct gguf_kv *kv, uint64_t i) {
    octet_assert(i < kv->n);
    return load_float(kv->elem, kv->data + i * gguf_type_bytes(kv->elem));
}

size_t gguf_value_bytes(const struct gguf_kv *kv) {
    if (kv->type == GGUF_STRING) return 8 + (size_t)load_u64(kv->data);
    return (size_t)kv->n * gguf_type_bytes(kv->elem);
}

/* ---- Typed reads ----------------------------------------------------------------------------- */

static enum octet_status find(const struct gguf *g, const char *key, bool required,
                              const struct gguf_kv **kv, struct octet_err *err) {
    *kv = gguf_find(g, key);
    if (*kv || !required) return OCTET_OK;
    return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected a value, found none",
                      gguf_path(g), key);
}

static enum octet_status wrong_type(const struct gguf *g, const struct gguf_kv *kv,
                                    const char *expected, struct octet_err *err) {
    bool array = kv->type == GGUF_ARRAY;
    return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected %s, found %s%s", gguf_path(g),
                      kv->key, expected, array ? "array of " : "",
                      gguf_type_name(array ? kv->elem : kv->type));
}

enum octet_status gguf_get_int(const struct gguf *g, const char *key, bool required, int64_t min,
                               int64_t max, int64_t *out, struct octet_err *err) {
    const struct gguf_kv *kv;
    enum octet_status s = find(g, key, required, &kv, err);
    if (s || !kv) return s;
    if (!is_integer(kv->type)) return wrong_type(g, kv, "an integer", err);
    int64_t value = load_int(kv->type, kv->data);
    if (value < min || value > max)
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected %" PRId64 " to %" PRId64
                          ", found %" PRId64, gguf_path(g), key, min, max, value);
    *out = value;
    return OCTET_OK;
}

enum octet_status gguf_get_float(const struct gguf *g, const char *key, bool required, double *out,
                                 struct octet_err *err) {
    const struct gguf_kv *kv;
    enum octet_status s = find(g, key, required, &kv, err);
    if (s || !kv) return s;
    if (!is_float(kv->type)) return wrong_type(g, kv, "a float", err);
    double value = load_float(kv->type, kv->data);
    if (!isfinite(value))
        return octet_fail(err, OCTET_EFORMAT, "%s: key '%s': expected a finite number, found %f",
                          gguf_path(g), key, value);
    *out = value;
    return OCTET_OK;
}

enum octet_status gguf_get_bool(const struct gguf *g, const char *key, bool required, bool *out,
                                struct octet_err *err) {
    const struct gguf_kv *kv;
    enum octet_status s = find(g, key, required, &kv, err);
    if (s || !kv) return s;
    if (kv->type != GGUF_BOOL) return wrong_type(g, kv, "a bool", err);
    *out = kv->data[0] != 0;
    return OCTET_OK;
}

enum octet_status gguf_get_string(const struct gguf *g, const char *key, bool required,
                                  struct gguf_string *out, struct octet_err *err) {
    const struct gguf_kv *kv;
    enum octet_status s = find(g, key, required, &kv, err);
    if (s || !kv) return s;
    if (kv->type != GGUF_STRING) return wrong_type(g, kv, "a string", err);
    *out = (struct gguf_string){(const char *)kv->data + 8, (size_t)load_u64(kv->data)};
    return OCTET_OK;
}
