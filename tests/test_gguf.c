/* The GGUF reader on right, wrong, cut and split files, the writer, and file mappings. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "gguf_bytes.h"
#include "temp_folder.h"

enum { F32 = QUANT_F32, Q4_K = QUANT_Q4_K };

/* ---- Helpers --------------------------------------------------------------------------------- */

/* Parses an exact-size copy, so that the sanitizer sees every read past the end. */
static enum octet_status parse(const struct bytes *b, size_t n, struct octet_err *err) {
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    if (n) memcpy(copy, b->p, n);
    struct gguf *g;
    enum octet_status s = gguf_parse("test.gguf", copy, n, &g, err);
    assert_true((s == OCTET_OK) == (g != NULL));
    gguf_close(g);
    free(copy);
    return s;
}

/* Frees B. The message must be one line that names the file and contains FRAGMENT. */
static void refuse_as(struct bytes *b, enum octet_status status, const char *fragment) {
    struct octet_err err = {0};
    enum octet_status s = parse(b, b->n, &err);
    if (s != status || !strstr(err.message, fragment))
        fail_msg("expected status %d and '%s', found %d: %s", (int)status, fragment, (int)s,
                 err.message);
    assert_int_equal(s, err.status);
    assert_int_equal(strncmp(err.message, "test.gguf: ", 11), 0);
    assert_null(strchr(err.message, '\n'));
    free(b->p);
    *b = (struct bytes){0};
}

static void refuse(struct bytes *b, const char *fragment) { refuse_as(b, OCTET_EFORMAT, fragment); }

static void accept(struct bytes *b) {
    struct octet_err err = {0};
    if (parse(b, b->n, &err) != OCTET_OK) fail_msg("%s", err.message);
    free(b->p);
    *b = (struct bytes){0};
}

/* One key that is to be wrong: everything up to its value type. */
static void begin_one_key(struct bytes *b, const char *key, uint32_t type) {
    put_header(b, 0, 1);
    put_key(b, key, type);
}

/* One tensor "w" as described, then 4 KiB of data. */
static void one_tensor(struct bytes *b, uint32_t n_dims, const uint64_t *ne, uint32_t type,
                       uint64_t offset) {
    put_header(b, 1, 0);
    put_tensor(b, "w", n_dims, ne, type, offset);
    put_pad(b, 32);
    put_zeros(b, 4096);
}

/* A file with every kind of value and three tensors. */
static void valid_file(struct bytes *b) {
    put_header(b, 3, 12);
    put_kv_uint(b, "a.u8", GGUF_U8, 200, 1);
    put_kv_uint(b, "a.i8", GGUF_I8, 0xff, 1);
    put_kv_uint(b, "a.i16", GGUF_I16, 0xfffe, 2);
    put_kv_u32(b, "a.u32", 4000000000u);
    put_kv_uint(b, "a.u64", GGUF_U64, UINT64_MAX, 8);
    put_kv_uint(b, "a.f32", GGUF_F32, 0x3fc00000, 4);
    put_kv_uint(b, "a.nan", GGUF_F32, 0x7fc00000, 4);
    put_kv_uint(b, "a.bool", GGUF_BOOL, 1, 1);
    put_kv_text(b, "a.text", "one \"line\"\nand another");
    put_kv_array(b, "a.texts", GGUF_STRING, 3);
    put_text(b, "");
    put_text(b, "x");
    put_text(b, "yz");
    put_kv_array(b, "a.i32s", GGUF_I32, 10);
    for (uint32_t i = 0; i < 10; i++) put_u32(b, (uint32_t)-(int32_t)i);
    put_kv_array(b, "a.empty", GGUF_F64, 0);
    put_tensor(b, "z.weight", 2, (uint64_t[]){256, 2}, Q4_K, 32);
    put_tensor(b, "a.weight", 1, (uint64_t[]){8}, F32, 0);
    put_tensor(b, "empty", 3, (uint64_t[]){4, 0, 7}, F32, 32);
    put_pad(b, 32);
    put_zeros(b, 32 + 288);
}

static void write_bytes(const char *path, const struct bytes *b) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->p, 1, b->n, f), b->n);
    assert_int_equal(fclose(f), 0);
}

/* ---- Right files ----------------------------------------------------------------------------- */

static void test_reads_keys_and_tensors(void **state) {
    (void)state;
    struct bytes b = {0};
    valid_file(&b);
    struct gguf *g;
    assert_int_equal(gguf_parse("test.gguf", b.p, b.n, &g, NULL), OCTET_OK);
    assert_int_equal(g->n_kvs, 12);
    assert_int_equal(g->n_tensors, 3);
    assert_int_equal(g->alignment, 32);
    const struct gguf_tensor *t = gguf_tensor(g, "z.weight");
    assert_non_null(t);
    assert_int_equal(t->bytes, 288);
    assert_int_equal(t->ne[1], 2);
    assert_int_equal(t->ne[3], 1);
    assert_ptr_equal((const uint8_t *)t->data + t->bytes, b.p + b.n);
    assert_int_equal(gguf_tensor(g, "empty")->bytes, 0);
    assert_null(gguf_tensor(g, "b"));
    const struct gguf_kv *kv = gguf_find(g, "a.texts");
    assert_int_equal(kv->strings[2].n, 2);
    assert_memory_equal(kv->strings[2].p, "yz", 2);
    assert_int_equal(gguf_array_int(gguf_find(g, "a.i32s"), 9), -9);
    assert_true(gguf_array_float(gguf_find(g, "a.i32s"), 9) == -9);
    gguf_close(g);
    free(b.p);
}

static void test_typed_reads_check_type_and_range(void **state) {
    (void)state;
    struct bytes b = {0};
    valid_file(&b);
    struct gguf *g;
    struct octet_err err;
    assert_int_equal(gguf_parse("test.gguf", b.p, b.n, &g, NULL), OCTET_OK);
    int64_t i = 7;
    assert_int_equal(gguf_get_int(g, "a.u8", true, 0, 255, &i, &err), OCTET_OK);
    assert_int_equal(i, 200);
    assert_int_equal(gguf_get_int(g, "a.i8", true, -1, 0, &i, &err), OCTET_OK);
    assert_int_equal(i, -1);
    assert_int_equal(gguf_get_int(g, "a.i16", true, -9, 0, &i, &err), OCTET_OK);
    assert_int_equal(i, -2);
    assert_int_equal(gguf_get_int(g, "a.u32", true, 0, INT64_MAX, &i, &err), OCTET_OK);
    assert_true(i == 4000000000);
    assert_int_equal(gguf_get_int(g, "none", false, 0, 9, &i, &err), OCTET_OK);
    assert_true(i == 4000000000);
    assert_int_equal(gguf_get_int(g, "none", true, 0, 9, &i, &err), OCTET_EFORMAT);
    assert_string_equal(err.message, "test.gguf: key 'none': expected a value, found none");
    assert_int_equal(gguf_get_int(g, "a.u8", true, 1, 100, &i, &err), OCTET_EFORMAT);
    assert_string_equal(err.message, "test.gguf: key 'a.u8': expected 1 to 100, found 200");
    assert_int_equal(gguf_get_int(g, "a.u64", true, 0, 9, &i, &err), OCTET_EFORMAT);
    assert_int_equal(gguf_get_int(g, "a.bool", true, 0, 9, &i, &err), OCTET_EFORMAT);
    assert_string_equal(err.message, "test.gguf: key 'a.bool': expected an integer, found bool");
    assert_int_equal(gguf_get_int(g, "a.i32s", true, 0, 9, &i, &err), OCTET_EFORMAT);
    assert_string_equal(err.message,
                        "test.gguf: key 'a.i32s': expected an integer, found array of i32");
    double x = 0;
    assert_int_equal(gguf_get_float(g, "a.f32", true, &x, &err), OCTET_OK);
    assert_true(x == 1.5);
    assert_int_equal(gguf_get_float(g, "a.nan", true, &x, &err), OCTET_EFORMAT);
    assert_int_equal(gguf_get_float(g, "a.u8", true, &x, &err), OCTET_EFORMAT);
    bool flag = false;
    assert_int_equal(gguf_get_bool(g, "a.bool", true, &flag, &err), OCTET_OK);
    assert_true(flag);
    assert_int_equal(gguf_get_bool(g, "a.u8", true, &flag, &err), OCTET_EFORMAT);
    struct gguf_string text;
    assert_int_equal(gguf_get_string(g, "a.text", true, &text, &err), OCTET_OK);
    assert_int_equal(text.n, 22);
    assert_int_equal(gguf_get_string(g, "a.texts", true, &text, &err), OCTET_EFORMAT);
    gguf_close(g);
    free(b.p);
}

static void test_accepts_version_2_and_own_alignment(void **state) {
    (void)state;
    struct bytes b = {0};
    put_header(&b, 1, 1);
    b.p[4] = 2;
    put_kv_u32(&b, "general.alignment", 1024);
    put_tensor(&b, "w", 1, (uint64_t[]){4}, F32, 1024);
    put_pad(&b, 1024);
    put_zeros(&b, 1024 + 16);
    accept(&b);
}

static void test_accepts_tensors_in_any_order_with_gaps(void **state) {
    (void)state;
    struct bytes b = {0};
    put_header(&b, 2, 0);
    put_tensor(&b, "second", 1, (uint64_t[]){4}, F32, 128);
    put_tensor(&b, "first", 1, (uint64_t[]){4}, F32, 0);
    put_pad(&b, 32);
    put_zeros(&b, 128 + 16);
    accept(&b);
}

static void test_accepts_a_header_without_keys(void **state) {
    (void)state;
    struct bytes b = {0};
    put_header(&b, 0, 0);
    accept(&b);
}

/* The seeds of the fuzz entry: each must get past the checks. */
static void test_accepts_committed_files(void **state) {
    (void)state;
    static const char *const names[] = {"alignment-8", "every-type", "written"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, "tests/data/gguf/%s.gguf", names[i]);
        struct gguf *g;
        struct octet_err err = {0};
        if (gguf_open(path, &g, &err) != OCTET_OK) fail_msg("%s", err.message);
        assert_true(g->n_tensors > 0);
        gguf_close(g);
    }
}

/* ---- Wrong files ----------------------------------------------------------------------------- */

static void test_rejects_wrong_headers(void **state) {
    (void)state;
    struct bytes b = {0};
    refuse(&b, "header: expected 4 bytes");
    put(&b, "GGU", 3);
    refuse(&b, "header: expected 4 bytes");
    put(&b, "GGUF", 4);
    refuse(&b, "header: expected 4 bytes at offset 4, found 0");
    put(&b, "FUGG", 4);
    put_zeros(&b, 20);
    refuse(&b, "expected a GGUF file");
    static const uint32_t versions[] = {0, 1, 4, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        put_header(&b, 0, 0);
        memcpy(b.p + 4, &versions[i], 4);
        refuse_as(&b, OCTET_EUNSUPPORTED, "expected GGUF version 2 or 3");
    }
    put_header(&b, 0, 0);
    memcpy(b.p + 4, "\0\0\0\3", 4);
    refuse_as(&b, OCTET_EUNSUPPORTED, "big-endian");
}

static void test_rejects_impossible_counts(void **state) {
    (void)state;
    struct bytes b = {0};
    static const uint64_t counts[] = {UINT64_MAX, INT64_MAX, 1u << 30};
    for (size_t i = 0; i < 3; i++) {
        put_header(&b, counts[i], 0);
        refuse(&b, "tensors, found");
        put_header(&b, 0, counts[i]);
        refuse(&b, "keys, found");
    }
    put_header(&b, 0, 5);
    refuse(&b, "key 0: expected 8 bytes");
    put_header(&b, 5, 0);
    refuse(&b, "tensor 0: expected 8 bytes");
}

static void test_rejects_wrong_keys(void **state) {
    (void)state;
    struct bytes b = {0};
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_C(1) << 63, 1000};
    for (size_t i = 0; i < 3; i++) {
        put_header(&b, 0, 1);
        put_u64(&b, lengths[i]);
        put(&b, "key", 3);
        refuse(&b, "key 0: expected");
    }
    begin_one_key(&b, "", GGUF_U8);
    refuse(&b, "expected a name of 1 to 65535 bytes, found 0");
    put_header(&b, 0, 1);
    put_u64(&b, 3);
    put(&b, "a\0b", 3);
    refuse(&b, "NUL");
    static const uint32_t types[] = {13, 255, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        begin_one_key(&b, "k", types[i]);
        put_zeros(&b, 16);
        refuse(&b, "key 'k': expected a value type of 0 to 12, found");
    }
    put_header(&b, 0, 3);
    put_kv_u32(&b, "twice", 1);
    put_kv_u32(&b, "once", 1);
    put_kv_u32(&b, "twice", 1);
    refuse(&b, "key 'twice': expected once, found twice");
}

static void test_rejects_wrong_values(void **state) {
    (void)state;
    struct bytes b = {0};
    begin_one_key(&b, "k", GGUF_BOOL);
    put_uint(&b, 2, 1);
    refuse(&b, "key 'k': expected a bool of 0 or 1, found 2");
    begin_one_key(&b, "k", GGUF_STRING);
    put_u64(&b, UINT64_MAX - 7);
    refuse(&b, "key 'k': expected");
    begin_one_key(&b, "k", GGUF_F64);
    put_zeros(&b, 7);
    refuse(&b, "key 'k': expected 8 bytes");
}

static void test_rejects_wrong_arrays(void **state) {
    (void)state;
    struct bytes b = {0};
    put_header(&b, 0, 1);
    put_kv_array(&b, "k", GGUF_BOOL, 2);
    put(&b, "\1\3", 2);
    refuse(&b, "bool");
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_C(1) << 62, UINT64_C(1) << 61, 5};
    static const uint32_t elems[] = {GGUF_U8, GGUF_U32, GGUF_F64, GGUF_STRING};
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++) {
            put_header(&b, 0, 1);
            put_kv_array(&b, "k", elems[j], lengths[i]);
            put_zeros(&b, 4);
            refuse(&b, "key 'k': expected");
        }
    put_header(&b, 0, 1);
    put_kv_array(&b, "k", GGUF_STRING, 2);
    put_text(&b, "fine");
    put_u64(&b, 1u << 30);
    put_zeros(&b, 8);
    refuse(&b, "key 'k': expected 1073741824 bytes");
    put_header(&b, 0, 1);
    put_kv_array(&b, "k", 77, 0);
    refuse(&b, "element type");
    put_header(&b, 0, 1);
    put_kv_array(&b, "k", GGUF_ARRAY, 1000);
    for (int i = 0; i < 1000; i++) {
        put_u32(&b, GGUF_ARRAY);
        put_u64(&b, 1);
    }
    refuse_as(&b, OCTET_EUNSUPPORTED, "array of arrays");
}

static void test_rejects_wrong_alignment(void **state) {
    (void)state;
    struct bytes b = {0};
    static const uint32_t values[] = {0, 3, 48, 1u << 21, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        put_header(&b, 0, 1);
        put_kv_u32(&b, "general.alignment", values[i]);
        refuse(&b, "expected a power of two up to 1048576");
    }
    put_header(&b, 0, 1);
    put_kv_text(&b, "general.alignment", "32");
    refuse(&b, "expected u32, found string");
    put_header(&b, 0, 1);
    put_kv_uint(&b, "general.alignment", GGUF_U64, 32, 8);
    refuse(&b, "expected u32, found u64");
}

static void test_rejects_wrong_tensor_names(void **state) {
    (void)state;
    struct bytes b = {0};
    char name[66] = {0};
    memset(name, 'n', 64);
    put_header(&b, 1, 0);
    put_tensor(&b, name, 1, (uint64_t[]){4}, F32, 0);
    put_pad(&b, 32);
    put_zeros(&b, 16);
    refuse(&b, "expected a name of 1 to 63 bytes, found 64");
    put_header(&b, 1, 0);
    put_tensor(&b, "", 1, (uint64_t[]){4}, F32, 0);
    refuse(&b, "expected a name of 1 to 63 bytes, found 0");
    put_header(&b, 2, 0);
    put_tensor(&b, "w", 1, (uint64_t[]){4}, F32, 0);
    put_tensor(&b, "w", 1, (uint64_t[]){4}, F32, 32);
    put_pad(&b, 32);
    put_zeros(&b, 64);
    refuse(&b, "tensor 'w': expected once, found twice");
}

static void test_rejects_wrong_dimensions(void **state) {
    (void)state;
    struct bytes b = {0};
    const uint64_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    static const uint32_t counts[] = {0, 5, 1000000, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        one_tensor(&b, counts[i], ones, F32, 0);
        refuse(&b, "tensor 'w': expected 1 to 4 dimensions, found");
    }
    static const uint64_t wrong[][3] = {
        {UINT64_MAX, 1, 1},                  // negative
        {4, UINT64_C(1) << 63, 1},           // negative
        {UINT64_C(1) << 32, UINT64_C(1) << 31, 1},
        {4194305, 4194305, 211106198978564}, // the product wraps to 4
        {UINT64_C(1) << 32, 0, UINT64_C(1) << 32},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        one_tensor(&b, 3, wrong[i], F32, 0);
        refuse(&b, "tensor 'w': expected below 2^63 elements");
    }
    one_tensor(&b, 1, (uint64_t[]){UINT64_C(1) << 62}, F32, 0); // bytes wrap to 0
    refuse(&b, "expected at most the");
    one_tensor(&b, 2, (uint64_t[]){1 << 20, 1 << 20}, F32, 0);
    refuse(&b, "expected at most the");
    one_tensor(&b, 1, (uint64_t[]){128}, Q4_K, 0);
    refuse(&b, "expected rows of a multiple of 256 elements (Q4_K), found 128");
    one_tensor(&b, 4, (uint64_t[]){0, 1, 1, 1}, F32, 0);
    accept(&b);
}

static void test_rejects_unknown_types(void **state) {
    (void)state;
    struct bytes b = {0};
    const uint64_t ne[] = {256};
    static const uint32_t removed[] = {4, 5, 31, 32, 33, 36, 37, 38, 9, 15, 24, 40};
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
        one_tensor(&b, 1, ne, removed[i], 0);
        refuse_as(&b, OCTET_EUNSUPPORTED, "is not supported");
    }
    one_tensor(&b, 1, ne, 33, 0);
    refuse_as(&b, OCTET_EUNSUPPORTED, "tensor 'w': type 33 (Q4_0_8_8 (removed)) is not supported");
    one_tensor(&b, 1, ne, 1000, 0);
    refuse(&b, "tensor 'w': type 1000 is unknown");
    one_tensor(&b, 1, ne, UINT32_MAX, 0);
    refuse(&b, "is unknown");
}

static void test_rejects_wrong_offsets(void **state) {
    (void)state;
    struct bytes b = {0};
    const uint64_t ne[] = {1024};
    one_tensor(&b, 1, ne, F32, 0);
    accept(&b);
    one_tensor(&b, 1, ne, F32, 8);
    refuse(&b, "tensor 'w': expected an offset that is a multiple of 32, found 8");
    static const uint64_t beyond[] = {32, UINT64_C(1) << 40, UINT64_MAX - 31, UINT64_MAX - 4095};
    for (size_t i = 0; i < 4; i++) {
        one_tensor(&b, 1, ne, F32, beyond[i]);
        refuse(&b, "incomplete?");
    }
}

static void test_rejects_overlapping_tensors(void **state) {
    (void)state;
    struct bytes b = {0};
    put_header(&b, 3, 0);
    put_tensor(&b, "c", 1, (uint64_t[]){64}, F32, 512);
    put_tensor(&b, "b", 1, (uint64_t[]){16}, F32, 32);
    put_tensor(&b, "a", 1, (uint64_t[]){16}, F32, 0);
    put_pad(&b, 32);
    put_zeros(&b, 1024);
    refuse(&b, "tensor 'b': expected to start behind tensor 'a'");
}

static void test_rejects_parts_held_in_memory(void **state) {
    (void)state;
    struct bytes b = {0};
    put_header(&b, 0, 3);
    put_kv_uint(&b, "split.no", GGUF_U16, 0, 2);
    put_kv_uint(&b, "split.count", GGUF_U16, 2, 2);
    put_kv_u32(&b, "split.tensors.count", 0);
    refuse_as(&b, OCTET_EUNSUPPORTED, "split model");
}

static void test_rejects_every_truncation(void **state) {
    (void)state;
    struct bytes b = {0};
    valid_file(&b);
    for (size_t n = 0; n < b.n; n++) {
        struct octet_err err = {0};
        assert_int_equal(parse(&b, n, &err), OCTET_EFORMAT);
        assert_true(strlen(err.message) > 11);
    }
    accept(&b);
}

static void test_survives_every_changed_byte(void **state) {
    (void)state;
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    struct bytes b = {0};
    valid_file(&b);
    for (size_t i = 0; i < b.n; i++) {
        uint8_t old = b.p[i];
        for (size_t k = 0; k < sizeof values; k++) {
            b.p[i] = values[k];
            parse(&b, b.n, NULL);
        }
        b.p[i] = old;
    }
    accept(&b);
}

static void test_survives_failing_allocations(void **state) {
    (void)state;
    struct bytes b = {0};
    valid_file(&b);
    enum octet_status s = OCTET_EMEM;
    for (size_t i = 0; s != OCTET_OK; i++) {
        struct octet_err err = {0};
        mem_fail_after(i);
        s = parse(&b, b.n, &err);
        mem_fail_after(SIZE_MAX);
        if (s != OCTET_OK) assert_int_equal(s, OCTET_EMEM);
        assert_int_equal(err.status, s);
        assert_true(i < 1000);
    }
    free(b.p);
}

/* Many keys must not take quadratic time; under a sanitizer 65536 of them would take minutes. */
static void test_reads_many_keys(void **state) {
    (void)state;
    struct bytes b = {0};
    enum { N = 65536 };
    put_header(&b, 0, N);
    size_t cap = N * 32;
    b.p = realloc(b.p, cap);
    assert_non_null(b.p);
    for (uint32_t i = 0; i < N; i++) {
        uint8_t entry[8 + 8 + 4 + 1] = {8};
        snprintf((char *)entry + 8, 9, "%08x", i * 2654435761u);
        memset(entry + 16, 0, 5);
        assert_true(b.n + sizeof entry <= cap);
        memcpy(b.p + b.n, entry, sizeof entry);
        b.n += sizeof entry;
    }
    accept(&b);
}

/* ---- Split files ----------------------------------------------------------------------------- */

/* One part with one tensor named NAME (none if NULL). */
static void write_part(const char *path, uint64_t no, uint64_t count, uint32_t total,
                       const char *name) {
    struct bytes b = {0};
    put_header(&b, name ? 1 : 0, 3);
    put_kv_uint(&b, "split.no", GGUF_U16, no, 2);
    put_kv_uint(&b, "split.count", GGUF_U16, count, 2);
    put_kv_uint(&b, "split.tensors.count", GGUF_I32, total, 4);
    if (name) {
        put_tensor(&b, name, 1, (uint64_t[]){8}, F32, 0);
        put_pad(&b, 32);
        put_zeros(&b, 32);
    }
    write_bytes(path, &b);
    free(b.p);
}

static void expect_open_error(const char *path, const char *name, const char *fragment) {
    struct gguf *g;
    struct octet_err err = {0};
    enum octet_status s = gguf_open(path, &g, &err);
    assert_null(g);
    if (s == OCTET_OK || !strstr(err.message, fragment) || !strstr(err.message, name))
        fail_msg("expected '%s' of '%s', found %d: %s", fragment, name, (int)s, err.message);
}

static void test_opens_split_files(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *first = folder_file(&f, "m-00001-of-00003.gguf");
    const char *second = folder_file(&f, "m-00002-of-00003.gguf");
    const char *third = folder_file(&f, "m-00003-of-00003.gguf");
    write_part(first, 0, 3, 2, NULL);
    write_part(second, 1, 3, 2, "b");
    write_part(third, 2, 3, 2, "a");
    struct gguf *g;
    struct octet_err err = {0};
    if (gguf_open(first, &g, &err) != OCTET_OK) fail_msg("%s", err.message);
    assert_int_equal(g->n_parts, 3);
    assert_int_equal(g->n_tensors, 2);
    assert_int_equal(gguf_tensor(g, "a")->part, 2);
    assert_int_equal(gguf_tensor(g, "b")->part, 1);
    gguf_close(g);
    expect_open_error(second, "00002-of", "is part 2 of 3: open ");
    expect_open_error(second, "m-00001-of-00003.gguf", "is part 2 of 3: open ");
    assert_true(folder_close(&f));
}

static void test_rejects_wrong_parts(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *first = folder_file(&f, "m-00001-of-00002.gguf");
    const char *second = folder_file(&f, "m-00002-of-00002.gguf");
    const char *renamed = folder_file(&f, "renamed.gguf");
    write_part(first, 0, 2, 2, "a");
    expect_open_error(first, "00002-of", "No such file or directory");
    write_part(second, 0, 2, 2, "b");
    expect_open_error(first, "00002-of", "found part 1 of 2");
    write_part(second, 1, 3, 2, "b");
    expect_open_error(first, "00002-of", "found part 2 of 3");
    write_part(second, 1, 2, 3, "b");
    expect_open_error(first, "00002-of", "with 3");
    write_part(second, 1, 2, 2, "a");
    expect_open_error(first, "00002-of", "tensor 'a': expected once, found twice");
    write_part(second, 1, 2, 2, NULL);
    expect_open_error(first, "00001-of", "expected the 1 tensors of all parts, found 2");
    write_part(second, 1, 2, 2, "b");
    write_part(first, 2, 2, 2, "a");
    expect_open_error(first, "00001-of", "'split.no': expected 0 to 1, found 2");
    write_part(renamed, 0, 2, 2, "a");
    expect_open_error(renamed, "renamed.gguf", "expected a name ending in -00001-of-00002.gguf");
    write_part(renamed, 1, 2, 2, "a");
    expect_open_error(renamed, "renamed.gguf", "is part 2 of 2: open the first part");
    write_part(renamed, 0, 1, 1, "a");
    struct gguf *g;
    assert_int_equal(gguf_open(renamed, &g, NULL), OCTET_OK);
    gguf_close(g);
    assert_true(folder_close(&f));
}

static void test_split_files_survive_failing_allocations(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *first = folder_file(&f, "m-00001-of-00002.gguf");
    write_part(first, 0, 2, 2, "a");
    write_part(folder_file(&f, "m-00002-of-00002.gguf"), 1, 2, 2, "b");
    enum octet_status s = OCTET_EMEM;
    for (size_t i = 0; s != OCTET_OK; i++) {
        struct gguf *g;
        mem_fail_after(i);
        s = gguf_open(first, &g, NULL);
        mem_fail_after(SIZE_MAX);
        if (s != OCTET_OK) assert_int_equal(s, OCTET_EMEM);
        gguf_close(g);
    }
    assert_true(folder_close(&f));
}

/* ---- Mappings -------------------------------------------------------------------------------- */

static void test_maps_only_regular_files(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *empty = folder_file(&f, "empty.gguf"), *pipe_path = folder_file(&f, "pipe");
    write_bytes(empty, &(struct bytes){(uint8_t[1]){0}, 0});
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    expect_open_error(empty, "empty.gguf", "file is empty");
    expect_open_error(pipe_path, "pipe", "expected a regular file");
    expect_open_error(f.path, f.path, "found a directory");
    expect_open_error("/nonexistent/x.gguf", "/nonexistent/x.gguf", "No such file or directory");
    expect_open_error("/dev/null", "/dev/null", "expected a regular file");
    assert_true(folder_close(&f));
}

/* Runs in a child: maps PATH, cuts it to nothing, reads. */
static void read_truncated(const char *path, int stderr_fd) {
    dup2(stderr_fd, STDERR_FILENO);
    octet_guard_mappings();
    const uint8_t *bytes;
    size_t n_bytes;
    if (map_open(path, &bytes, &n_bytes, NULL) != OCTET_OK || truncate(path, 0) != 0) _exit(3);
    _exit(*(const volatile uint8_t *)bytes == 0 ? 4 : 5);
}

static void test_explains_a_truncated_mapping(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "shrinks.gguf");
    uint8_t data[100] = {1};
    write_bytes(path, &(struct bytes){data, sizeof data});
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) read_truncated(path, fds[1]);
    close(fds[1]);
    char text[512] = "";
    size_t n = 0;
    for (ssize_t got = 1; got > 0; n += (size_t)(got > 0 ? got : 0))
        got = read(fds[0], text + n, sizeof text - 1 - n);
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    char expected[256];
    snprintf(expected, sizeof expected,
             "octet: %s: file was truncated or became unreadable while in use\n", path);
    assert_string_equal(text, expected);
    assert_true(folder_close(&f));
}

/* ---- Writer ---------------------------------------------------------------------------------- */

static enum octet_status write_sample(const char *path, const struct gguf *copy_from,
                                      struct octet_err *err) {
    struct gguf_writer *w;
    enum octet_status s = gguf_writer_open(path, &w, err);
    if (s) return s;
    gguf_put_u32(w, "n", 7);
    gguf_put_f32(w, "x", 2.5f);
    gguf_put_bool(w, "yes", true);
    gguf_put_string(w, "s", "a\0b", 3);
    gguf_put_strings(w, "list", (struct gguf_string[]){{"p", 1}, {"", 0}}, 2);
    gguf_put_f32s(w, "floats", (float[]){1, 2}, 2);
    gguf_put_i32s(w, "ints", (int32_t[]){-1, 2}, 2);
    for (size_t i = 0; copy_from && i < copy_from->n_kvs; i++) gguf_put_copy(w, &copy_from->kvs[i]);
    gguf_put_tensor(w, "one", quant_find(F32), (uint64_t[]){3}, 1);
    gguf_put_tensor(w, "none", quant_find(F32), (uint64_t[]){0}, 1);
    gguf_put_tensor(w, "two", quant_find(Q4_K), (uint64_t[]){256, 2}, 2);
    uint8_t data[288] = {1, 2, 3};
    s = gguf_begin_data(w, NULL, err);
    if (s == OCTET_OK) s = gguf_write_data(w, data, 12, err);
    if (s == OCTET_OK) s = gguf_write_data(w, data, 100, err);
    if (s == OCTET_OK) s = gguf_write_data(w, data + 100, 188, err);
    if (s == OCTET_OK) s = gguf_finish(w, err);
    gguf_writer_close(w);
    return s;
}

static void test_reads_back_what_it_wrote(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "written.gguf");
    struct bytes b = {0};
    valid_file(&b);
    struct gguf *source, *g;
    struct octet_err err = {0};
    assert_int_equal(gguf_parse("source", b.p, b.n, &source, NULL), OCTET_OK);
    if (write_sample(path, source, &err) != OCTET_OK) fail_msg("%s", err.message);
    if (gguf_open(path, &g, &err) != OCTET_OK) fail_msg("%s", err.message);
    assert_int_equal(g->n_kvs, 7 + source->n_kvs);
    struct gguf_string s;
    assert_int_equal(gguf_get_string(g, "s", true, &s, NULL), OCTET_OK);
    assert_memory_equal(s.p, "a\0b", 3);
    assert_int_equal(gguf_get_string(g, "a.text", true, &s, NULL), OCTET_OK);
    assert_int_equal(s.n, 22);
    assert_int_equal(gguf_array_int(gguf_find(g, "a.i32s"), 9), -9);
    assert_int_equal(gguf_find(g, "a.texts")->strings[2].n, 2);
    const struct gguf_tensor *two = gguf_tensor(g, "two");
    assert_int_equal(two->bytes, 288);
    assert_memory_equal(two->data, "\1\2\3", 4);
    gguf_close(g);
    gguf_close(source);
    free(b.p);
    assert_true(folder_close(&f));
}

static void test_failed_writes_leave_no_file(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "written.gguf"),
               *part = folder_file(&f, "written.gguf.part");
    enum octet_status s = OCTET_EMEM;
    for (size_t i = 0; s != OCTET_OK; i++) {
        assert_int_equal(access(path, F_OK), -1);
        mem_fail_after(i);
        s = write_sample(path, NULL, NULL);
        mem_fail_after(SIZE_MAX);
        if (s != OCTET_OK) assert_int_equal(s, OCTET_EMEM);
        assert_int_equal(access(part, F_OK), -1);
    }
    struct octet_err err;
    assert_int_equal(write_sample(f.path, NULL, &err), OCTET_EIO);
    assert_int_equal(write_sample("/nonexistent/x.gguf", NULL, &err), OCTET_EIO);
    assert_non_null(strstr(err.message, "No such file or directory"));
    assert_true(folder_close(&f));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_keys_and_tensors),
        cmocka_unit_test(test_typed_reads_check_type_and_range),
        cmocka_unit_test(test_accepts_version_2_and_own_alignment),
        cmocka_unit_test(test_accepts_tensors_in_any_order_with_gaps),
        cmocka_unit_test(test_accepts_a_header_without_keys),
        cmocka_unit_test(test_accepts_committed_files),
        cmocka_unit_test(test_rejects_wrong_headers),
        cmocka_unit_test(test_rejects_impossible_counts),
        cmocka_unit_test(test_rejects_wrong_keys),
        cmocka_unit_test(test_rejects_wrong_values),
        cmocka_unit_test(test_rejects_wrong_arrays),
        cmocka_unit_test(test_rejects_wrong_alignment),
        cmocka_unit_test(test_rejects_wrong_tensor_names),
        cmocka_unit_test(test_rejects_wrong_dimensions),
        cmocka_unit_test(test_rejects_unknown_types),
        cmocka_unit_test(test_rejects_wrong_offsets),
        cmocka_unit_test(test_rejects_overlapping_tensors),
        cmocka_unit_test(test_rejects_parts_held_in_memory),
        cmocka_unit_test(test_rejects_every_truncation),
        cmocka_unit_test(test_survives_every_changed_byte),
        cmocka_unit_test(test_survives_failing_allocations),
        cmocka_unit_test(test_reads_many_keys),
        cmocka_unit_test(test_opens_split_files),
        cmocka_unit_test(test_rejects_wrong_parts),
        cmocka_unit_test(test_split_files_survive_failing_allocations),
        cmocka_unit_test(test_maps_only_regular_files),
        cmocka_unit_test(test_explains_a_truncated_mapping),
        cmocka_unit_test(test_reads_back_what_it_wrote),
        cmocka_unit_test(test_failed_writes_leave_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
