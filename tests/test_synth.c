/* Synthetic models: every combination opens, the bytes depend on the options alone, the scales are
 * as promised, and failures leave nothing behind. Also octet_file_*, which reads them. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/mem.h"
#include "pure_type.h"
#include "temp_folder.h"
#include "text/vocab.h"

static void synth(const char *arch, const char *type, const char *path) {
    struct octet_synth_options o = {.arch = arch, .type = type};
    struct octet_err err = {0};
    if (octet_synth(&o, path, &err) != OCTET_OK) fail_msg("%s %s: %s", arch, type, err.message);
}

static struct gguf *open_file(const char *path) {
    struct gguf *g;
    struct octet_err err = {0};
    if (gguf_open(path, &g, &err) != OCTET_OK) fail_msg("%s", err.message);
    return g;
}

static void expect_type(const struct gguf *g, const char *tensor, enum quant_id type) {
    const struct gguf_tensor *t = gguf_tensor(g, tensor);
    if (!t) fail_msg("no tensor '%s'", tensor);
    assert_string_equal(t->type->name, quant_find(type)->name);
}

static void expect_failure(const struct octet_synth_options *o, const char *path,
                           enum octet_status status, const char *fragment) {
    struct octet_err err = {0};
    assert_int_equal(octet_synth(o, path, &err), status);
    if (!strstr(err.message, fragment)) fail_msg("expected '%s', found: %s", fragment, err.message);
    assert_int_equal(access(path, F_OK), -1);
}

/* 0 where a file can not be read. */
static uint64_t file_hash(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    uint64_t hash = OCTET_HASH_INIT;
    for (int c = getc(f); c != EOF; c = getc(f)) hash = (hash ^ (uint64_t)c) * 0x100000001b3u;
    fclose(f);
    return hash;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bool is_tiny(const char *arch) { return strstr(arch, "-tiny") != NULL; }

static void test_every_tiny_architecture_and_type_opens(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    size_t n = 0;
    for (size_t a = 0; octet_synth_arch(a); a++)
        for (size_t t = 0; octet_synth_type(t) && is_tiny(octet_synth_arch(a)); t++, n++) {
            synth(octet_synth_arch(a), octet_synth_type(t), path);
            struct octet_file *file;
            struct octet_err err = {0};
            assert_int_equal(octet_file_open(path, &file, &err), OCTET_OK);
            if (octet_file_check(file, NULL, NULL, &err) != OCTET_OK) fail_msg("%s", err.message);
            octet_file_close(file);
        }
    assert_true(n > 150);
    assert_true(folder_close(&f));
}

static void test_every_format_has_a_pure_file(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    for (size_t i = 0; quant_at(i); i++) {
        const char *name = quant_at(i)->name;
        assert_non_null(pure_type(name));
        synth("phi-2-tiny", pure_type(name), path);
        struct gguf *g = open_file(path);
        for (size_t t = 0; t < g->n_tensors; t++)
            if (g->tensors[t].n_dims == 2) assert_string_equal(g->tensors[t].type->name, name);
        gguf_close(g);
    }
    assert_true(folder_close(&f));
}

static void test_mixtures_choose_types_by_layer_and_role(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    struct octet_synth_options o = {.arch = "mistral-7b-tiny", .type = "q4_k_m", .n_layers = 32};
    assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
    struct gguf *g = open_file(path);
    expect_type(g, "token_embd.weight", QUANT_Q4_K);
    expect_type(g, "output.weight", QUANT_Q6_K);
    expect_type(g, "output_norm.weight", QUANT_F32);
    for (unsigned i = 0; i < 32; i++) {
        bool more = i < 4 || i >= 28 || i % 3 == 0;
        char name[40];
        snprintf(name, sizeof name, "blk.%u.ffn_down.weight", i);
        expect_type(g, name, more ? QUANT_Q6_K : QUANT_Q4_K);
        snprintf(name, sizeof name, "blk.%u.attn_v.weight", i);
        expect_type(g, name, more ? QUANT_Q6_K : QUANT_Q4_K);
    }
    gguf_close(g);
    o.arch = "mixtral-8x7b-tiny", o.experts_split = true;
    assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
    g = open_file(path);
    expect_type(g, "blk.7.attn_k.weight", QUANT_Q8_0);
    expect_type(g, "blk.7.attn_v.weight", QUANT_Q8_0);
    expect_type(g, "blk.7.attn_output.weight", QUANT_Q5_K);
    expect_type(g, "blk.7.ffn_gate_inp.weight", QUANT_F32);
    expect_type(g, "blk.9.ffn_down.7.weight", QUANT_Q6_K);
    assert_int_equal(g->n_tensors, 995);
    assert_null(gguf_tensor(g, "blk.0.ffn_up_exps.weight"));
    gguf_close(g);
    assert_true(folder_close(&f));
}

static void test_narrow_rows_fall_back_to_small_blocks(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    struct octet_synth_options o = {.arch = "smollm2-135m", .type = "q4_k_m", .n_layers = 2};
    assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
    struct gguf *g = open_file(path);
    expect_type(g, "token_embd.weight", QUANT_Q8_0);
    expect_type(g, "blk.0.attn_q.weight", QUANT_Q5_0);
    expect_type(g, "blk.0.ffn_down.weight", QUANT_Q4_K);
    expect_type(g, "blk.1.ffn_down.weight", QUANT_Q6_K);
    assert_null(gguf_tensor(g, "output.weight"));
    gguf_close(g);
    assert_true(folder_close(&f));
}

static void test_same_seed_gives_same_bytes(void **state) {
    (void)state;
    static const char *const types[] = {"q4_k_m", "f16", "iq2_xxs"};
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    for (size_t i = 0; i < 3; i++) {
        struct octet_synth_options o = {.arch = "mixtral-8x7b-tiny", .type = types[i], .seed = 5};
        assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
        uint64_t first = file_hash(path);
        assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
        assert_true(first == file_hash(path));
        o.seed = 6;
        assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
        assert_true(first != file_hash(path));
    }
    assert_true(folder_close(&f));
}

static uint64_t data_hash(const struct gguf *g, const char *name) {
    const struct gguf_tensor *t = gguf_tensor(g, name);
    assert_non_null(t);
    const uint8_t *data = t->data;
    uint64_t hash = OCTET_HASH_INIT;
    for (size_t i = 0; i < t->bytes; i++) hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}

/* The same weights on every machine and in every version, so that measurements stay comparable. */
static void test_weights_never_change(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    synth("llama-tiny", "q8_0", path);
    struct gguf *g = open_file(path);
    assert_int_equal(data_hash(g, "blk.1.attn_q.weight"), 0xc8d06994ef2651ae);
    assert_int_equal(data_hash(g, "blk.1.attn_norm.weight"), 0x58c0452fcadfdedc);
    gguf_close(g);
    assert_true(folder_close(&f));
}

/* ---- Values ---------------------------------------------------------------------------------- */

static void expect_moments(const struct gguf *g, const char *name, double mean, double sigma,
                           double tolerance) {
    const struct gguf_tensor *t = gguf_tensor(g, name);
    assert_non_null(t);
    size_t n = (size_t)(t->ne[0] * t->ne[1] * t->ne[2]);
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    quant_decode(t->type, t->data, x, n);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    free(x);
    double found = sqrt(squares / (double)n);
    if (fabs(sum / (double)n - mean) > tolerance * sigma || fabs(found - sigma) > tolerance * sigma)
        fail_msg("%s: expected mean %g, deviation %g, found %g, %g", name, mean, sigma,
                 sum / (double)n, found);
}

static void test_weights_have_the_promised_scale(void **state) {
    (void)state;
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_k_m", "q3_k_l"};
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        synth("mistral-7b-tiny", types[i], path);
        struct gguf *g = open_file(path);
        expect_moments(g, "token_embd.weight", 0, 1, 0.1);
        expect_moments(g, "blk.0.attn_q.weight", 0, 1.0 / 16, 0.1);
        expect_moments(g, "blk.0.attn_output.weight", 0, 1.0 / 32, 0.1);
        expect_moments(g, "blk.0.ffn_norm.weight", 1, 0.05, 0.25);
        expect_moments(g, "output.weight", 0, 2.0 / 16, 0.1);
        gguf_close(g);
    }
    assert_true(folder_close(&f));
}

/* ---- Vocabularies ---------------------------------------------------------------------------- */

/* Every ordinary token must come out of encoding its own text after a newline, which joins with
 * nothing. */
static void expect_reachable_tokens(const char *path) {
    struct gguf *g = open_file(path);
    struct vocab *v;
    struct octet_err err = {0};
    if (vocab_load(g, 0, &v, &err) != OCTET_OK) fail_msg("%s", err.message);
    size_t n_checked = 0;
    const struct gguf_kv *types = gguf_find(g, "tokenizer.ggml.token_type");
    for (int32_t id = 0; id < (int32_t)vocab_size(v); id++) {
        const char *bytes;
        size_t n;
        if (gguf_array_int(types, (uint64_t)id) != 1) continue;
        assert_true(vocab_bytes(v, id, false, &bytes, &n));
        if (n < 2) continue;
        char text[80] = "\n";
        memcpy(text + 1, bytes, n);
        struct octet_tokens out = {0};
        assert_int_equal(vocab_encode(v, text, n + 1, 0, &out, &err), OCTET_OK);
        if (out.ids[out.n - 1] != id)
            fail_msg("token %d '%s' comes out as %d", id, text + 1, out.ids[out.n - 1]);
        octet_tokens_free(&out);
        n_checked++;
    }
    assert_true(n_checked > 100);
    vocab_free(v);
    gguf_close(g);
}

static void test_every_token_can_be_reached(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    synth("llama-tiny", "q4_0", path);
    expect_reachable_tokens(path);
    synth("phi-2-tiny", "q4_0", path);
    expect_reachable_tokens(path);
    struct octet_synth_options o = {.arch = "smollm2-135m", .type = "q4_0", .n_layers = 1};
    assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
    expect_reachable_tokens(path);
    assert_true(folder_close(&f));
}

static void test_takes_the_vocabulary_of_another_file(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *source = folder_file(&f, "source.gguf"), *path = folder_file(&f, "m.gguf");
    synth("phi-2-tiny", "q4_0", source);
    struct octet_synth_options o = {.arch = "mistral-7b-tiny", .type = "q4_0", .vocab = source};
    assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
    struct gguf *g = open_file(path), *from = open_file(source);
    struct gguf_string model;
    assert_int_equal(gguf_get_string(g, "tokenizer.ggml.model", true, &model, NULL), OCTET_OK);
    assert_memory_equal(model.p, "gpt2", 4);
    assert_int_equal(gguf_find(g, "tokenizer.ggml.merges")->n,
                     gguf_find(from, "tokenizer.ggml.merges")->n);
    assert_int_equal(gguf_tensor(g, "token_embd.weight")->ne[1],
                     gguf_find(from, "tokenizer.ggml.tokens")->n);
    gguf_close(g);
    gguf_close(from);
    assert_true(folder_close(&f));
}

static void test_promises_the_context_asked_for(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    struct octet_synth_options o = {.arch = "phi-2-tiny", .type = "q4_0", .n_ctx = 8192};
    assert_int_equal(octet_synth(&o, path, NULL), OCTET_OK);
    struct octet_model *model;
    assert_int_equal(octet_model_open(path, NULL, &model, NULL), OCTET_OK);
    struct octet_model_info info;
    octet_model_get_info(model, &info);
    assert_int_equal(info.n_ctx_train, 8192);
    octet_model_close(model);
    assert_true(folder_close(&f));
}

/* ---- Failures -------------------------------------------------------------------------------- */

static void test_rejects_wrong_options(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf"), *large = folder_file(&f, "large.gguf");
    struct octet_synth_options o = {.arch = "mistral", .type = "q4_0"};
    expect_failure(&o, path, OCTET_EARG, "architecture 'mistral': expected one of mixtral-8x7b, ");
    o.arch = "llama-tiny", o.type = "q4";
    expect_failure(&o, path, OCTET_EARG, "type 'q4': expected one of q2_k, ");
    o.type = NULL;
    expect_failure(&o, path, OCTET_EARG, "type ''");
    o.type = "q4_0", o.n_layers = -1;
    expect_failure(&o, path, OCTET_EARG, "layers: expected 0 to 512, found -1");
    o.n_layers = 0, o.n_ctx = -1;
    expect_failure(&o, path, OCTET_EARG, "context: expected 0 or more, found -1");
    o.n_ctx = 0, o.vocab = "/nonexistent.gguf";
    expect_failure(&o, path, OCTET_EIO, "/nonexistent.gguf: No such file");
    o.vocab = NULL;
    expect_failure(&o, "/nonexistent/m.gguf", OCTET_EIO, "No such file");
    o.arch = "smollm2-135m", o.n_layers = 1;
    assert_int_equal(octet_synth(&o, large, NULL), OCTET_OK);
    o.arch = "mistral-7b", o.vocab = large;
    expect_failure(&o, path, OCTET_EARG, "expected a vocabulary of at most 32000 tokens");
    assert_true(folder_close(&f));
}

static bool cancel_at_once(void *user, uint64_t done, uint64_t total) {
    assert_true(done > 0 && done <= total);
    ++*(int *)user;
    return false;
}

static void test_cancelling_leaves_no_file(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    int n_calls = 0;
    struct octet_synth_options o = {.arch = "llama-tiny", .type = "q4_0",
                                    .progress = cancel_at_once, .user = &n_calls};
    expect_failure(&o, folder_file(&f, "m.gguf"), OCTET_ECANCELLED, "cancelled");
    assert_int_equal(n_calls, 1);
    assert_true(folder_close(&f));
}

static void test_full_disk_leaves_no_file(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    struct octet_synth_options o = {.arch = "llama-tiny", .type = "q4_0"};
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct octet_err err = {0};
    enum octet_status s = octet_synth(&o, folder_file(&f, "m.gguf"), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(s, OCTET_EIO);
    assert_non_null(strstr(err.message, "m.gguf.part: can not be written: File too large"));
    assert_int_equal(access(f.files[0], F_OK), -1);
    assert_true(folder_close(&f));
}

static void test_failing_allocations_leave_no_file(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    struct octet_synth_options o = {.arch = "llama-tiny", .type = "q4_0", .n_layers = 1};
    enum octet_status s = OCTET_EMEM;
    for (size_t i = 0; s != OCTET_OK; i++) {
        assert_int_equal(access(path, F_OK), -1);
        mem_fail_after(i);
        s = octet_synth(&o, path, NULL);
        mem_fail_after(SIZE_MAX);
        if (s != OCTET_OK) assert_int_equal(s, OCTET_EMEM);
    }
    assert_true(folder_close(&f));
}

/* ---- octet_file_* ---------------------------------------------------------------------------- */

static void expect_key(const struct octet_file *file, const char *key, const char *type,
                       const char *text) {
    for (size_t i = 0; i < octet_file_n_keys(file); i++) {
        const char *found_key, *found_type;
        char found[100];
        assert_int_equal(octet_file_key(file, i, &found_key, &found_type, found, sizeof found),
                         OCTET_OK);
        if (strcmp(found_key, key) != 0) continue;
        assert_string_equal(found_type, type);
        assert_string_equal(found, text);
        return;
    }
    fail_msg("no key '%s'", key);
}

static void test_file_shows_keys_and_tensors(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    synth("mistral-7b-tiny", "q4_0", path);
    struct octet_file *file;
    assert_int_equal(octet_file_open(path, &file, NULL), OCTET_OK);
    expect_key(file, "general.architecture", "string", "\"llama\"");
    expect_key(file, "llama.block_count", "u32", "2");
    expect_key(file, "llama.attention.sliding_window", "u32", "80");
    expect_key(file, "tokenizer.ggml.add_bos_token", "bool", "true");
    expect_key(file, "tokenizer.ggml.token_type", "array of i32",
               "[2, 3, 3, 6, 6, 6, 6, 6, ... (512)]");
    struct octet_tensor_info t;
    assert_int_equal(octet_file_tensor(file, 0, &t), OCTET_OK);
    assert_string_equal(t.name, "token_embd.weight");
    assert_string_equal(t.type, "Q4_0");
    assert_int_equal(t.dims[1], 512);
    assert_int_equal(t.dims[2], 1);
    assert_int_equal(t.bytes, 256 / 32 * 18 * 512);
    assert_int_equal(octet_file_tensor(file, octet_file_n_tensors(file), &t), OCTET_EARG);
    const char *key, *type;
    char text[8];
    assert_int_equal(octet_file_key(file, octet_file_n_keys(file), &key, &type, text, 8),
                     OCTET_EARG);
    assert_int_equal(octet_file_key(file, 0, &key, &type, text, 5), OCTET_OK);
    assert_string_equal(text, "\"lla");
    assert_int_equal(octet_file_key(file, 0, &key, &type, NULL, 0), OCTET_OK);
    assert_true(octet_file_bytes(file) > t.bytes);
    octet_file_close(file);
    assert_true(folder_close(&f));
}

static void test_file_check_names_row_of_bad_value(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    synth("llama-tiny", "q4_0", path);
    struct gguf *g = open_file(path);
    const struct gguf_tensor *t = gguf_tensor(g, "blk.1.ffn_down.weight");
    long at = (long)(t->offset + 3 * quant_row_bytes(t->type, t->ne[0]) + 18); // second block
    gguf_close(g);
    FILE *out = fopen(path, "r+b");
    assert_non_null(out);
    assert_int_equal(fseek(out, at, SEEK_SET), 0);
    assert_int_equal(fwrite("\xff\x7f", 1, 2, out), 2);
    assert_int_equal(fclose(out), 0);
    struct octet_file *file;
    struct octet_err err;
    assert_int_equal(octet_file_open(path, &file, NULL), OCTET_OK);
    assert_int_equal(octet_file_check(file, NULL, NULL, &err), OCTET_EFORMAT);
    assert_non_null(
        strstr(err.message, "tensor 'blk.1.ffn_down.weight': row 3, element 32: expected"));
    int n_calls = 0;
    assert_int_equal(octet_file_check(file, cancel_at_once, &n_calls, &err), OCTET_ECANCELLED);
    octet_file_close(file);
    assert_true(folder_close(&f));
}

static void test_rejects_every_truncation(void **state) {
    (void)state;
    struct folder f;
    folder_open(&f);
    const char *path = folder_file(&f, "m.gguf");
    synth("phi-2-tiny", "q4_0", path);
    struct gguf *g = open_file(path);
    for (size_t n = 0; n < g->parts[0].n_bytes; n += 1024) {
        struct gguf *cut;
        struct octet_err err = {0};
        assert_int_equal(gguf_parse("cut", g->parts[0].bytes, n, &cut, &err), OCTET_EFORMAT);
        assert_true(strlen(err.message) > 5);
    }
    gguf_close(g);
    assert_true(folder_close(&f));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tiny_architecture_and_type_opens),
        cmocka_unit_test(test_every_format_has_a_pure_file),
        cmocka_unit_test(test_mixtures_choose_types_by_layer_and_role),
        cmocka_unit_test(test_narrow_rows_fall_back_to_small_blocks),
        cmocka_unit_test(test_same_seed_gives_same_bytes),
        cmocka_unit_test(test_weights_never_change),
        cmocka_unit_test(test_weights_have_the_promised_scale),
        cmocka_unit_test(test_every_token_can_be_reached),
        cmocka_unit_test(test_promises_the_context_asked_for),
        cmocka_unit_test(test_takes_the_vocabulary_of_another_file),
        cmocka_unit_test(test_rejects_wrong_options),
        cmocka_unit_test(test_cancelling_leaves_no_file),
        cmocka_unit_test(test_full_disk_leaves_no_file),
        cmocka_unit_test(test_failing_allocations_leave_no_file),
        cmocka_unit_test(test_file_shows_keys_and_tensors),
        cmocka_unit_test(test_rejects_every_truncation),
        cmocka_unit_test(test_file_check_names_row_of_bad_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
