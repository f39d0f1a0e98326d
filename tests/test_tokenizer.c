/* Encoding and decoding with real vocabularies: published test vectors, round trips, hostile and
 * very long texts, and the stream that puts characters together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <time.h>

#include "base/map.h"
#include "base/mem.h"
#include "vocab_builder.h"

#define DATA "tests/data/tokenizer/"

enum { N_MEGABYTE = 1 << 20 };

/* A quadratic algorithm needs many minutes for a megabyte; ours well below a second. */
static const double longest_seconds = 10;

struct subject {
    const char *name; // file in DATA
    struct gguf *g;
    struct vocab *v;
    bool spm;
};

static struct subject subjects[] = {
    {"mistral-v1", NULL, NULL, true},
    {"mistral-v3", NULL, NULL, true},
    {"phi-2", NULL, NULL, false},
    {"smollm2", NULL, NULL, false},
};
enum { N_SUBJECTS = sizeof subjects / sizeof *subjects };

static int load_subjects(void **state) {
    (void)state;
    for (size_t i = 0; i < N_SUBJECTS; i++) {
        char path[128];
        struct octet_err err;
        snprintf(path, sizeof path, DATA "%s.gguf", subjects[i].name);
        if (gguf_open(path, &subjects[i].g, &err) ||
            vocab_load(subjects[i].g, 0, &subjects[i].v, &err)) {
            print_error("%s\n", err.message);
            return -1;
        }
    }
    return 0;
}

static int free_subjects(void **state) {
    (void)state;
    for (size_t i = 0; i < N_SUBJECTS; i++) {
        vocab_free(subjects[i].v);
        gguf_close(subjects[i].g);
    }
    return 0;
}

static struct subject *subject(const char *name) {
    for (size_t i = 0; i < N_SUBJECTS; i++)
        if (strcmp(subjects[i].name, name) == 0) return &subjects[i];
    fail_msg("no vocabulary %s", name);
    return NULL;
}

/* ---- Vectors --------------------------------------------------------------------------------- */

struct text_file {
    const uint8_t *bytes;
    size_t n, at;
};

static struct text_file open_text(const char *path) {
    struct text_file f = {NULL, 0, 0};
    assert_int_equal(map_open(path, &f.bytes, &f.n, NULL), OCTET_OK);
    return f;
}

/* The bytes up to SEPARATOR, which is skipped; false at the end. */
static bool next_part(struct text_file *f, const char *separator, const char **text, size_t *n) {
    if (f->at >= f->n) return false;
    *text = (const char *)f->bytes + f->at;
    const char *end = memmem(*text, f->n - f->at, separator, strlen(separator));
    assert_non_null(end);
    *n = (size_t)(end - *text);
    f->at += *n + strlen(separator);
    return true;
}

static void expect_line(const struct vocab *v, const char *text, size_t n, const char *line,
                        size_t n_line) {
    struct octet_tokens out = {0};
    char got[4096] = "";
    size_t n_got = 0;
    assert_int_equal(vocab_encode(v, text, n, 0, &out, NULL), OCTET_OK);
    for (size_t i = 0; i < out.n; i++)
        n_got += (size_t)snprintf(got + n_got, sizeof got - n_got, " %d", out.ids[i]);
    if (n_got != n_line || memcmp(got, line, n_line) != 0)
        fail_msg("'%.*s':\n  expected%.*s\n  found   %s", (int)n, text, (int)n_line, line, got);
    octet_tokens_free(&out);
}

static void check_vectors(const struct vocab *v, const char *texts, const char *ids,
                          size_t n_expected) {
    struct text_file in = open_text(texts), out = open_text(ids);
    const char *text, *line;
    size_t n_text, n_line, n = 0;
    while (next_part(&in, "\n__ggml_vocab_test__\n", &text, &n_text)) {
        assert_true(next_part(&out, "\n", &line, &n_line));
        expect_line(v, text, n_text, line, n_line);
        n++;
    }
    assert_int_equal(n, n_expected);
    map_close(in.bytes, in.n);
    map_close(out.bytes, out.n);
}

static void test_matches_the_vectors_of_mistral_v1(void **state) {
    (void)state;
    const struct vocab *v = subject("mistral-v1")->v;
    check_vectors(v, DATA "standard.inp", DATA "standard.mistral-v1.out", 46);
    check_vectors(v, DATA "extra.inp", DATA "extra.mistral-v1.out", 96);
}

static void test_matches_the_vectors_of_mistral_v3(void **state) {
    (void)state;
    const struct vocab *v = subject("mistral-v3")->v;
    check_vectors(v, DATA "standard.inp", DATA "standard.mistral-v3.out", 46);
    check_vectors(v, DATA "extra.inp", DATA "extra.mistral-v3.out", 96);
}

static void test_matches_the_vectors_of_phi_2(void **state) {
    (void)state;
    const struct vocab *v = subject("phi-2")->v;
    check_vectors(v, DATA "standard.inp", DATA "standard.phi-2.out", 46);
    check_vectors(v, DATA "extra.inp", DATA "extra.phi-2.out", 96);
}

static void test_matches_the_vectors_of_smollm(void **state) {
    (void)state;
    check_vectors(subject("smollm2")->v, DATA "standard.inp", DATA "standard.smollm.out", 46);
}

/* GPT-2's vocabulary is Phi-2's without the added tokens. */
static void test_matches_the_vectors_of_gpt_2(void **state) {
    (void)state;
    const struct gguf *phi = subject("phi-2")->g;
    const struct gguf_kv *kv = gguf_find(phi, "tokenizer.ggml.token_type");
    size_t n_bytes = phi->parts[0].n_bytes, types_at = (size_t)(kv->data - phi->parts[0].bytes);
    uint8_t *bytes = malloc(n_bytes);
    assert_non_null(bytes);
    memcpy(bytes, phi->parts[0].bytes, n_bytes);
    for (size_t id = 50257; id < kv->n; id++) bytes[types_at + 4 * id] = 5; // unused
    struct gguf *g;
    struct vocab *v;
    assert_int_equal(gguf_parse("gpt-2", bytes, n_bytes, &g, NULL), OCTET_OK);
    assert_int_equal(vocab_load(g, 0, &v, NULL), OCTET_OK);
    check_vectors(v, DATA "standard.inp", DATA "standard.gpt-2.out", 46);
    check_vectors(v, DATA "extra.inp", DATA "extra.gpt-2.out", 96);
    vocab_free(v);
    gguf_close(g);
    free(bytes);
}

/* ---- Round trips ----------------------------------------------------------------------------- */

/* What decoding gives back: SPM cannot tell U+2581 from a space, and SmolLM2 has no tokens for some
 * bytes. */
static size_t expected_back(const struct subject *s, const char *text, size_t n, char *out) {
    static const char missing[] = "\x04\x06\x13\x14\x16\x1d\xc0\xc1\xf1\xf2\xf5\xf6\xf7\xf8\xf9\xfa"
                                  "\xfb\xfc\xfd\xfe\xff";
    bool lossy = strcmp(s->name, "smollm2") == 0;
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        bool mark = s->spm && n - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        if (!lossy || !memchr(missing, text[i], sizeof missing - 1))
            out[n_out++] = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    return n_out;
}

static void expect_round_trip(const struct subject *s, const char *text, size_t n) {
    struct octet_tokens ids = {0};
    clock_t start = clock();
    assert_int_equal(vocab_encode(s->v, text, n, 0, &ids, NULL), OCTET_OK);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > longest_seconds) fail_msg("%s: %g s for %zu bytes", s->name, seconds, n);

    char *back = malloc(n + 2), *expected = malloc(n + 1);
    assert_non_null(back);
    assert_non_null(expected);
    size_t n_back = 0, n_expected = expected_back(s, text, n, expected);
    for (size_t i = 0; i < ids.n; i++) {
        const char *bytes;
        size_t n_bytes;
        assert_true(vocab_bytes(s->v, ids.ids[i], false, &bytes, &n_bytes));
        assert_true(n_back + n_bytes <= n + 2);
        memcpy(back + n_back, bytes, n_bytes);
        n_back += n_bytes;
    }
    size_t n_prefix = s->spm && n > 0;
    if (n_prefix) assert_int_equal(back[0], ' ');
    assert_int_equal(n_back - n_prefix, n_expected);
    if (n_expected) assert_memory_equal(back + n_prefix, expected, n_expected);
    free(back);
    free(expected);
    octet_tokens_free(&ids);
}

static void round_trip_everywhere(const char *text, size_t n) {
    for (size_t i = 0; i < N_SUBJECTS; i++) expect_round_trip(&subjects[i], text, n);
}

static void test_decodes_what_it_encoded(void **state) {
    (void)state;
    static const char *const files[] = {DATA "standard.inp", DATA "extra.inp"};
    for (size_t i = 0; i < 2; i++) {
        struct text_file in = open_text(files[i]);
        const char *text;
        size_t n;
        while (next_part(&in, "\n__ggml_vocab_test__\n", &text, &n)) round_trip_everywhere(text, n);
        round_trip_everywhere((const char *)in.bytes, in.n);
        map_close(in.bytes, in.n);
    }
}

static void test_keeps_every_byte(void **state) {
    (void)state;
    for (int b = 0; b < 256; b++) {
        const char text[] = {(char)b, 'a', (char)b, (char)b, ' ', (char)b};
        for (size_t n = 1; n <= sizeof text; n++) round_trip_everywhere(text, n);
    }
}

static void test_keeps_truncated_characters_and_nul(void **state) {
    (void)state;
    static const char text[] = "a\xc3 \xe2\x82 \xf0\x9f\x98 \xed\xa0\x80 \xc0\x80 \xf5 a\0b \0";
    for (size_t n = 0; n <= sizeof text; n++) round_trip_everywhere(text, n);
}

static void test_keeps_every_character_of_the_basic_plane(void **state) {
    (void)state;
    char *text = malloc(4 * 0x10000);
    assert_non_null(text);
    size_t n = 0;
    for (unsigned c = 0; c < 0x10000; c++) {
        if (c < 0x80) {
            text[n++] = (char)c;
        } else if (c < 0x800) {
            text[n++] = (char)(0xc0 | c >> 6);
            text[n++] = (char)(0x80 | (c & 0x3f));
        } else { // surrogates too, which are invalid
            text[n++] = (char)(0xe0 | c >> 12);
            text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
            text[n++] = (char)(0x80 | (c & 0x3f));
        }
    }
    round_trip_everywhere(text, n);
    free(text);
}

static void test_keeps_random_bytes(void **state) {
    (void)state;
    uint64_t x = 88172645463325252u;
    char *text = malloc(N_MEGABYTE);
    assert_non_null(text);
    for (size_t i = 0; i < N_MEGABYTE; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        text[i] = (char)(x >> 32);
    }
    round_trip_everywhere(text, N_MEGABYTE);
    free(text);
}

static void test_takes_very_long_runs_of_one_character(void **state) {
    (void)state;
    static const struct { char fill; size_t n; } runs[] = {
        {'a', N_MEGABYTE}, {' ', N_MEGABYTE}, {'\n', 65536}, {'\'', 65536}, {'7', 65536},
        {'.', 65536},      {'\0', 65536},
    };
    char *text = malloc(N_MEGABYTE);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        memset(text, runs[i].fill, runs[i].n);
        round_trip_everywhere(text, runs[i].n);
    }
    free(text);
}

static void test_takes_a_megabyte_of_almost_special_tokens(void **state) {
    (void)state;
    static const char pattern[] = "<|im_start|[REFERENCE_DOC_1[[<|endoftext|\t\t\t  x";
    char *text = malloc(N_MEGABYTE);
    assert_non_null(text);
    for (size_t i = 0; i < N_MEGABYTE; i++) text[i] = pattern[i % (sizeof pattern - 1)];
    round_trip_everywhere(text, N_MEGABYTE);
    free(text);
}

static void test_refuses_texts_too_long_for_its_offsets(void **state) {
    (void)state;
    struct octet_tokens out = {0};
    const struct vocab *v = subject("phi-2")->v;
    assert_int_equal(vocab_encode(v, "", SIZE_MAX, 0, &out, NULL), OCTET_EARG);
    assert_int_equal(out.n, 0);
}

/* ---- Special tokens -------------------------------------------------------------------------- */

static void expect_ids(const char *name, const char *text, unsigned flags, const int32_t *ids,
                       size_t n_ids) {
    struct octet_tokens out = {0};
    const struct vocab *v = subject(name)->v;
    assert_int_equal(vocab_encode(v, text, strlen(text), flags, &out, NULL), OCTET_OK);
    assert_int_equal(out.n, n_ids);
    for (size_t i = 0; i < n_ids; i++) assert_int_equal(out.ids[i], ids[i]);
    octet_tokens_free(&out);
}

static void test_reads_control_tokens_only_when_asked(void **state) {
    (void)state;
    expect_ids("mistral-v3", "[INST]Hello", OCTET_TOKENIZE_SPECIAL, (int32_t[]){3, 23325}, 2);
    expect_ids("smollm2", "<|im_start|><|im_end|>", OCTET_TOKENIZE_SPECIAL, (int32_t[]){1, 2}, 2);
    expect_ids("mistral-v1", "</s>", OCTET_TOKENIZE_SPECIAL | OCTET_TOKENIZE_BOS,
               (int32_t[]){1, 2}, 2);
    expect_ids("phi-2", "<|endoftext|>", OCTET_TOKENIZE_SPECIAL, (int32_t[]){50256}, 1);
    static const char *const names[] = {"<s>", "</s>", "[INST]", "<|im_start|>", "<|endoftext|>",
                                        "<0x0A>"};
    for (size_t i = 0; i < N_SUBJECTS; i++) {
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            struct octet_tokens out = {0};
            const struct vocab *v = subjects[i].v;
            assert_int_equal(vocab_encode(v, names[k], strlen(names[k]), 0, &out, NULL), OCTET_OK);
            assert_true(out.n > 1);
            for (size_t j = 0; j < out.n; j++)
                assert_int_not_equal(out.ids[j], vocab_find(v, names[k], strlen(names[k])));
            octet_tokens_free(&out);
        }
    }
}

static void test_knows_the_ends_and_the_padding(void **state) {
    (void)state;
    const struct vocab *phi = subject("phi-2")->v, *smollm = subject("smollm2")->v;
    assert_int_equal(vocab_size(phi), 51200);
    assert_true(vocab_ends(phi, 50256));
    assert_true(vocab_generable(phi, 50294));
    assert_false(vocab_generable(phi, 50295));
    assert_false(vocab_generable(phi, 51199));
    assert_true(vocab_ends(smollm, 0));
    assert_false(vocab_ends(smollm, 1));
    assert_true(vocab_ends(smollm, 2));
    assert_int_equal(vocab_bos(smollm), 1);
    assert_true(vocab_ends(subject("mistral-v1")->v, 2));
}

/* ---- Stream ---------------------------------------------------------------------------------- */

/* Pushes TEXT in pieces of STEP bytes and flushes. */
static void expect_stream(const char *text, size_t n, const char *expected) {
    for (size_t step = 1; step <= n; step++) {
        struct octet_stream stream = {0};
        char out[256];
        size_t n_out = 0;
        for (size_t i = 0; i < n; i += step) {
            size_t n_piece = n - i < step ? n - i : step;
            n_out += octet_stream_push(&stream, text + i, n_piece, out + n_out);
        }
        n_out += octet_stream_flush(&stream, out + n_out);
        assert_int_equal(octet_stream_flush(&stream, out + n_out), 0);
        out[n_out] = 0;
        assert_string_equal(out, expected);
    }
}

static void test_holds_characters_back_until_complete(void **state) {
    (void)state;
    struct octet_stream stream = {0};
    char out[16];
    assert_int_equal(octet_stream_push(&stream, "a\xf0\x9f", 3, out), 1);
    assert_int_equal(octet_stream_push(&stream, "\x98", 1, out), 0);
    assert_int_equal(octet_stream_push(&stream, "\x80", 1, out), 4);
    assert_memory_equal(out, "\xf0\x9f\x98\x80", 4);
    assert_int_equal(octet_stream_push(&stream, NULL, 0, out), 0);
    assert_int_equal(octet_stream_flush(&stream, out), 0);
    expect_stream("h\xc3\xa9 \xe2\x82\xac", 7, "h\xc3\xa9 \xe2\x82\xac");
}

static void test_replaces_bytes_that_cannot_become_characters(void **state) {
    (void)state;
    static const char replacement[] = "\xef\xbf\xbd";
    static const struct { const char *text, *expected; } cases[] = {
        {"\xff", "R"},           {"\x80\x80", "RR"},     {"\xc3(", "R("},
        {"\xe2\x82", "R"},       {"\xe2\x82x", "Rx"},    {"\xed\xa0\x80", "RRR"},
        {"\xc0\x80", "RR"},      {"\xe0\x9f\xbf", "RRR"}, {"\xf4\x90\x80\x80", "RRRR"},
        {"\xf0\x8f\xbf\xbf", "RRRR"}, {"\xf5", "R"},     {"\xc3\xc3\xa9", "R\xc3\xa9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[64] = "", *end = expected;
        for (const char *c = cases[i].expected; *c; c++) {
            if (*c == 'R')
                end = stpcpy(end, replacement);
            else
                *end++ = *c;
        }
        expect_stream(cases[i].text, strlen(cases[i].text), expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches_the_vectors_of_mistral_v1),
        cmocka_unit_test(test_matches_the_vectors_of_mistral_v3),
        cmocka_unit_test(test_matches_the_vectors_of_phi_2),
        cmocka_unit_test(test_matches_the_vectors_of_smollm),
        cmocka_unit_test(test_matches_the_vectors_of_gpt_2),
        cmocka_unit_test(test_decodes_what_it_encoded),
        cmocka_unit_test(test_keeps_every_byte),
        cmocka_unit_test(test_keeps_truncated_characters_and_nul),
        cmocka_unit_test(test_keeps_every_character_of_the_basic_plane),
        cmocka_unit_test(test_keeps_random_bytes),
        cmocka_unit_test(test_takes_very_long_runs_of_one_character),
        cmocka_unit_test(test_takes_a_megabyte_of_almost_special_tokens),
        cmocka_unit_test(test_refuses_texts_too_long_for_its_offsets),
        cmocka_unit_test(test_reads_control_tokens_only_when_asked),
        cmocka_unit_test(test_knows_the_ends_and_the_padding),
        cmocka_unit_test(test_holds_characters_back_until_complete),
        cmocka_unit_test(test_replaces_bytes_that_cannot_become_characters),
    };
    return cmocka_run_group_tests(tests, load_subjects, free_subjects);
}
