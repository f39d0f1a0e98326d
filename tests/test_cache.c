/* The prefix cache: the same bits with and without it, from every fork, within every budget, and
 * when memory runs out. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "octet.h"

enum { N_TOKENS = 300 };

static char dir[] = "/tmp/octet-cache-XXXXXX";
static char path[64];
static struct octet_model *model;
static int32_t tokens[N_TOKENS];

static int set_up(void **state) {
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/mistral.gguf", dir);
    const struct octet_synth_options options = {
        .arch = "mistral-7b-tiny", .type = "q4_k_m", .n_layers = 2, .seed = 7};
    struct octet_err err;
    if (octet_synth(&options, path, &err) != OCTET_OK) fail_msg("%s", err.message);
    const struct octet_model_options model_options = {2, false};
    if (octet_model_open(path, &model_options, &model, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    uint32_t x = 1;
    for (size_t i = 0; i < N_TOKENS; i++) {
        x = x * 1664525 + 1013904223;
        tokens[i] = (int32_t)((x >> 16) % octet_n_tokens(model));
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    octet_model_close(model);
    unlink(path);
    return rmdir(dir);
}

static enum octet_kv_type kv_type = OCTET_KV_F16; // of caches and sessions

static struct octet_cache *open_cache(uint64_t ram_bytes) {
    const struct octet_cache_options options = {.kv_type = kv_type, .ram_bytes = ram_bytes};
    struct octet_cache *cache;
    struct octet_err err;
    if (octet_cache_open(model, &options, &cache, &err) != OCTET_OK) fail_msg("%s", err.message);
    return cache;
}

static struct octet_session *open_session(struct octet_cache *cache) {
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = 320;
    options.kv_type = kv_type;
    options.cache = cache;
    struct octet_session *session;
    struct octet_err err;
    if (octet_session_open(model, &options, &session, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return session;
}

static uint64_t sync_hash(struct octet_session *s, const int32_t *ids, size_t n) {
    struct octet_err err;
    if (octet_session_sync(s, ids, n, &err) != OCTET_OK) fail_msg("%s", err.message);
    assert_int_equal(octet_session_length(s), n);
    return octet_logits_hash(OCTET_HASH_INIT, octet_session_logits(s), octet_n_tokens(model));
}

/* The tokens with another one at FORK and all that follow turned around. */
static void fork_tokens(int32_t *out, size_t fork) {
    memcpy(out, tokens, sizeof tokens);
    for (size_t i = fork; i < N_TOKENS; i++)
        out[i] = (tokens[N_TOKENS - 1 - (i - fork)] + 1) % (int32_t)octet_n_tokens(model);
}

static void test_forks_give_the_same_bits(void **state) {
    (void)state;
    struct octet_cache *cache = open_cache(UINT64_MAX);
    struct octet_session *fresh = open_session(NULL), *first = open_session(cache);
    sync_hash(first, tokens, N_TOKENS);
    for (size_t fork = 1; fork < N_TOKENS; fork += fork < 10 || fork % 64 > 60 ? 1 : 13) {
        int32_t forked[N_TOKENS];
        fork_tokens(forked, fork);
        struct octet_session *s = open_session(cache);
        assert_int_equal(octet_session_reuse(s, forked, N_TOKENS), fork);
        octet_session_clear(fresh);
        assert_int_equal(sync_hash(s, forked, N_TOKENS), sync_hash(fresh, forked, N_TOKENS));
        octet_session_close(s);
    }
    octet_session_clear(fresh); // what the forks wrote has not reached the first session's pages
    assert_int_equal(sync_hash(first, tokens, N_TOKENS), sync_hash(fresh, tokens, N_TOKENS));
    int32_t longer[N_TOKENS + 1];
    memcpy(longer, tokens, sizeof tokens);
    longer[N_TOKENS] = 5;
    assert_int_equal(sync_hash(first, longer, N_TOKENS + 1),
                     sync_hash(fresh, longer, N_TOKENS + 1));
    octet_session_close(first);
    octet_session_close(fresh);
    octet_cache_close(cache);
}

static void test_pages_and_tails_outlive_their_session(void **state) {
    (void)state;
    struct octet_cache *cache = open_cache(UINT64_MAX);
    struct octet_session *s = open_session(cache), *fresh = open_session(NULL);
    sync_hash(s, tokens, 230);
    struct octet_session *other = open_session(cache);
    assert_int_equal(octet_session_reuse(other, tokens, 230), 229); // the last gives the logits
    octet_session_close(other);
    octet_session_close(s);
    struct octet_cache_info info;
    octet_cache_get_info(cache, &info);
    assert_int_equal(info.n_pages, 4);
    s = open_session(cache);
    // Of any page the beginning can be had, unless it is too short to be worth a copy.
    const size_t forks[][2] = {{299, 230}, {210, 210}, {195, 192}, {100, 100}, {66, 64}, {1, 0}};
    for (size_t i = 0; i < sizeof forks / sizeof *forks; i++) {
        int32_t forked[N_TOKENS];
        fork_tokens(forked, forks[i][0]);
        octet_session_clear(s);
        octet_session_clear(fresh);
        assert_int_equal(octet_session_reuse(s, forked, 250), forks[i][1]);
        assert_int_equal(sync_hash(s, forked, 250), sync_hash(fresh, forked, 250));
    }
    octet_session_clear(s);
    assert_int_equal(octet_session_reuse(s, tokens, 192), 191);
    assert_int_equal(octet_session_reuse(s, tokens, 0), 0);
    octet_session_close(s);
    octet_session_close(fresh);
    octet_cache_close(cache);
}

static void test_small_budgets_are_kept_and_change_no_bit(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    const uint64_t page = octet_session_kv_bytes(fresh) / 5;
    for (uint64_t n_pages = 0; n_pages < 6; n_pages++) {
        struct octet_cache *cache = open_cache(n_pages * page);
        struct octet_session *s[2] = {open_session(cache), open_session(cache)};
        uint32_t x = 3;
        for (size_t i = 0; i < 16; i++) {
            x = x * 1664525 + 1013904223;
            int32_t forked[N_TOKENS];
            fork_tokens(forked, (x >> 16) % 4 * 64 + (x >> 24) % 2 * 7);
            const size_t n = 70 + (x >> 18) % 230;
            octet_session_clear(fresh);
            assert_int_equal(sync_hash(s[i % 2], forked, n), sync_hash(fresh, forked, n));
            if (i % 3 == 0) octet_cache_settle(cache);
            struct octet_cache_info info;
            octet_cache_get_info(cache, &info);
            assert_true(info.ram_bytes <= n_pages * page);
        }
        octet_session_close(s[0]);
        octet_session_close(s[1]);
        octet_cache_close(cache);
    }
    octet_session_close(fresh);
}

static void test_the_least_recently_used_goes_first(void **state) {
    (void)state;
    struct octet_session *s = open_session(NULL);
    const uint64_t page = octet_session_kv_bytes(s) / 5;
    octet_session_close(s);
    struct octet_cache *cache = open_cache(3 * page);
    int32_t forked[3][N_TOKENS];
    for (size_t i = 0; i < 3; i++) {
        fork_tokens(forked[i], i);
        s = open_session(cache);
        sync_hash(s, forked[i], 65);
        octet_session_close(s);
    }
    s = open_session(cache);
    assert_int_equal(octet_session_reuse(s, forked[0], 65), 64); // used again
    octet_session_clear(s);
    sync_hash(s, tokens + 100, 65);
    octet_session_clear(s);
    assert_int_equal(octet_session_reuse(s, forked[1], 65), 0);
    assert_int_equal(octet_session_reuse(s, forked[0], 65), 64);
    assert_int_equal(octet_session_reuse(s, forked[2], 65), 64);
    octet_session_close(s);
    octet_cache_close(cache);
}

static void test_a_cache_of_another_kind_is_refused(void **state) {
    (void)state;
    struct octet_cache *cache = open_cache(0);
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.kv_type = OCTET_KV_F32;
    options.cache = cache;
    struct octet_session *s;
    assert_int_equal(octet_session_open(model, &options, &s, NULL), OCTET_EARG);
    octet_cache_close(cache);
    const struct octet_cache_options wrong = {.kv_type = (enum octet_kv_type)9};
    assert_int_equal(octet_cache_open(model, &wrong, &cache, NULL), OCTET_EARG);
}

static void test_out_of_memory_loses_nothing(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    const uint64_t expected = sync_hash(fresh, tokens, 200);
    octet_session_close(fresh);
    bool done = false;
    for (size_t after = 0; !done; after++) {
        struct octet_cache *cache = open_cache(UINT64_MAX);
        struct octet_session *a = open_session(cache), *b = open_session(cache);
        struct octet_err err;
        mem_fail_after(after);
        enum octet_status status = octet_session_sync(a, tokens, 150, &err);
        if (status == OCTET_OK) status = octet_session_sync(b, tokens, 200, &err);
        mem_fail_after(SIZE_MAX);
        done = status == OCTET_OK;
        assert_true(done || status == OCTET_EMEM);
        assert_int_equal(sync_hash(b, tokens, 200), expected);
        assert_int_equal(sync_hash(a, tokens, 200), expected);
        octet_session_close(a);
        octet_session_close(b);
        octet_cache_close(cache);
    }
}

/* ---- On disk --------------------------------------------------------------------------------- */

static char folder[64];

static struct octet_cache *open_disk_cache(uint64_t ram_bytes, uint64_t disk_bytes) {
    const struct octet_cache_options options = {kv_type, ram_bytes, folder, disk_bytes};
    struct octet_cache *cache;
    struct octet_err err;
    snprintf(folder, sizeof folder, "%s/pages", dir);
    if (octet_cache_open(model, &options, &cache, &err) != OCTET_OK)
        fail_msg("%s", err.message);
    return cache;
}

/* Calls FN with the path of every page's file; FN NULL: removes them and the folders. */
static size_t each_file(void (*fn)(const char *file, size_t i)) {
    size_t n = 0;
    DIR *models = opendir(folder);
    if (!models) return 0;
    for (const struct dirent *m; (m = readdir(models)) != NULL;) {
        if (m->d_name[0] == '.') continue;
        char sub[400], file[700];
        snprintf(sub, sizeof sub, "%s/%s", folder, m->d_name);
        DIR *pages = opendir(sub);
        assert_non_null(pages);
        for (const struct dirent *p; (p = readdir(pages)) != NULL;) {
            if (p->d_name[0] == '.') continue;
            snprintf(file, sizeof file, "%s/%s", sub, p->d_name);
            if (fn)
                fn(file, n);
            else
                unlink(file);
            n++;
        }
        closedir(pages);
        if (!fn) rmdir(sub);
    }
    closedir(models);
    if (!fn) rmdir(folder);
    return n;
}

static void leave_file(const char *file, size_t i) { (void)file, (void)i; }

static void fill_disk(const int32_t *ids, size_t n) {
    struct octet_cache *cache = open_disk_cache(UINT64_MAX, UINT64_MAX);
    struct octet_session *s = open_session(cache);
    sync_hash(s, ids, n);
    octet_session_close(s);
    octet_cache_close(cache);
}

/* How many pages and damaged files there were. */
static size_t fetch_all(struct octet_cache *cache) {
    size_t n = 0;
    while (octet_cache_fetch(cache)) n++;
    assert_false(octet_cache_fetch(cache));
    return n;
}

static void test_pages_and_tails_survive_their_cache(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    fill_disk(tokens, N_TOKENS);
    const uint64_t budgets[] = {0, 1, UINT64_MAX}; // pages come when they are needed, or before
    for (size_t i = 0; i < 3; i++) {
        struct octet_cache *cache = open_disk_cache(budgets[i], UINT64_MAX);
        struct octet_session *s = open_session(cache);
        struct octet_cache_info info;
        assert_int_equal(fetch_all(cache), i < 2 ? 0 : 5);
        octet_cache_get_info(cache, &info);
        assert_int_equal(info.n_disk_pages, 5);
        assert_int_equal(info.n_pages, i < 2 ? 0 : 5);
        assert_int_equal(octet_session_reuse(s, tokens, 280), 279);
        octet_session_clear(fresh);
        assert_int_equal(sync_hash(s, tokens, 280), sync_hash(fresh, tokens, 280));
        octet_session_close(s);
        octet_cache_close(cache);
    }
    octet_session_close(fresh);
    assert_int_equal(each_file(NULL), 5);
}

static void test_what_was_used_last_is_fetched_first(void **state) {
    (void)state;
    int32_t other[N_TOKENS];
    fork_tokens(other, 0);
    fill_disk(tokens, 192);
    fill_disk(other, 128);
    struct octet_session *s = open_session(NULL);
    const uint64_t page = octet_session_kv_bytes(s) / 5;
    octet_session_close(s);
    struct octet_tokens held = {0};
    for (size_t n_pages = 0; n_pages < 3; n_pages++) {
        struct octet_cache *cache = open_disk_cache(n_pages * page, UINT64_MAX);
        s = open_session(cache);
        assert_int_equal(fetch_all(cache), n_pages);
        const size_t n = n_pages > 0 ? 64 * n_pages - 1 : 0;
        assert_int_equal(octet_session_resume(s, &held), n);
        assert_int_equal(held.n, n);
        assert_true(n == 0 || memcmp(held.ids, other, n * sizeof *other) == 0);
        octet_session_close(s);
        octet_cache_close(cache);
    }
    octet_tokens_free(&held);
    each_file(NULL);
}

static void test_a_text_that_is_resumed_goes_on_with_the_same_bits(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    const uint64_t expected = sync_hash(fresh, tokens, N_TOKENS);
    octet_session_close(fresh);
    const size_t lengths[] = {90, 127, 128, 129, 220};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        fill_disk(tokens, lengths[i]);
        struct octet_cache *cache = open_disk_cache(UINT64_MAX, UINT64_MAX);
        struct octet_session *s = open_session(cache);
        struct octet_tokens held = {0};
        assert_int_equal(octet_session_resume(s, &held), 0); // nothing is in memory yet
        fetch_all(cache);
        const size_t n = octet_session_resume(s, &held);
        assert_int_equal(n, lengths[i] % 64 == 1 ? lengths[i] - 2 : lengths[i] - 1);
        assert_int_equal(octet_session_length(s), n);
        assert_memory_equal(held.ids, tokens, n * sizeof *tokens);
        // The last token, too, where the page goes on behind it.
        assert_true(octet_session_reuse(s, tokens, N_TOKENS) >= n);
        assert_int_equal(sync_hash(s, tokens, N_TOKENS), expected);
        octet_tokens_free(&held);
        octet_session_close(s);
        octet_cache_close(cache);
        each_file(NULL);
    }
}

/* Pages are used where they lie in files; without memory for a cache, by a session alone. */
static void test_what_a_session_writes_stays_out_of_the_files(void **state) {
    (void)state;
    int32_t forked[N_TOKENS];
    fork_tokens(forked, 80);
    struct octet_session *fresh = open_session(NULL);
    const uint64_t expected = sync_hash(fresh, tokens, 90), other = sync_hash(fresh, forked, 126);
    fill_disk(tokens, 90);
    for (size_t i = 0; i < 2; i++) {
        struct octet_cache *cache = open_disk_cache(i ? UINT64_MAX : 0, UINT64_MAX);
        struct octet_session *s = open_session(cache);
        assert_int_equal(octet_session_reuse(s, forked, 126), 80);
        assert_int_equal(sync_hash(s, forked, 126), other);
        octet_session_clear(s);
        assert_int_equal(octet_session_reuse(s, tokens, 90), 89);
        assert_int_equal(sync_hash(s, tokens, 90), expected);
        octet_session_close(s);
        octet_cache_close(cache);
    }
    octet_session_close(fresh);
    each_file(NULL);
}

static void test_out_of_memory_while_fetching_loses_nothing(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    const uint64_t expected = sync_hash(fresh, tokens, 220);
    octet_session_close(fresh);
    size_t n = 0;
    for (size_t after = 0; n < 209; after++) {
        fill_disk(tokens, 210);
        struct octet_cache *cache = open_disk_cache(UINT64_MAX, UINT64_MAX);
        struct octet_session *s = open_session(cache);
        struct octet_tokens held = {0};
        mem_fail_after(after);
        fetch_all(cache);
        n = octet_session_resume(s, &held);
        mem_fail_after(SIZE_MAX);
        assert_int_equal(sync_hash(s, tokens, 220), expected);
        octet_tokens_free(&held);
        octet_session_close(s);
        octet_cache_close(cache);
        assert_int_equal(each_file(NULL), 4); // files that could not be read are still there
        assert_true(after < 1000);
    }
}

static void test_tails_of_any_length_give_the_same_bits(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    const uint64_t expected = sync_hash(fresh, tokens, 140);
    for (size_t n = 65; n < 128; n += n < 75 || n > 124 ? 1 : 7) {
        fill_disk(tokens, n);
        struct octet_cache *cache = open_disk_cache(0, UINT64_MAX);
        struct octet_session *s = open_session(cache);
        assert_int_equal(octet_session_reuse(s, tokens, 140), n < 72 ? 64 : n);
        assert_int_equal(sync_hash(s, tokens, 140), expected);
        octet_session_close(s);
        octet_cache_close(cache);
        each_file(NULL);
    }
    octet_session_close(fresh);
}

static void test_pages_of_integers_keep_the_bits_too(void **state) {
    for (kv_type = OCTET_KV_Q8_0; kv_type <= OCTET_KV_Q4_0; kv_type++)
        test_pages_and_tails_survive_their_cache(state);
    kv_type = OCTET_KV_Q4_0; // two positions share bytes
    test_forks_give_the_same_bits(state);
    kv_type = OCTET_KV_F16;
}

static void test_a_tail_gives_way_to_what_says_more(void **state) {
    (void)state;
    int32_t edited[N_TOKENS], other[N_TOKENS];
    fork_tokens(edited, 138);
    fork_tokens(other, 129);
    const struct {
        const int32_t *ids;
        size_t n, n_files;
    } steps[] = {
        {tokens, 100, 2}, {tokens, 90, 2}, // a part of the tail that is there
        {tokens, 110, 2}, {tokens, 128, 2}, // longer; the whole block
        {tokens, 140, 3}, {edited, 142, 3}, // instead of the one before its edit
        {other, 145, 4}, // has one token in common with that
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        fill_disk(steps[i].ids, steps[i].n);
        assert_int_equal(each_file(leave_file), steps[i].n_files);
    }
    assert_int_equal(each_file(NULL), 4);
}

static void test_a_pause_keeps_tails_of_sessions_that_go_on(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    struct octet_cache *cache = open_disk_cache(UINT64_MAX, UINT64_MAX);
    struct octet_session *s = open_session(cache), *empty = open_session(cache);
    sync_hash(s, tokens, 100);
    for (size_t i = 0; i < 2; i++) {
        octet_cache_settle(cache);
        struct octet_cache_info info;
        octet_cache_get_info(cache, &info);
        assert_int_equal(info.n_pages, 2);
        assert_int_equal(info.n_disk_pages, 2);
    }
    int32_t forked[N_TOKENS];
    fork_tokens(forked, 90); // what is written now does not reach the tail that was kept
    assert_int_equal(sync_hash(s, forked, 120), sync_hash(fresh, forked, 120));
    octet_session_clear(s);
    assert_int_equal(octet_session_reuse(s, tokens, 101), 100);
    octet_session_clear(fresh);
    assert_int_equal(sync_hash(s, tokens, 101), sync_hash(fresh, tokens, 101));
    octet_session_close(empty);
    octet_session_close(s);
    octet_session_close(fresh);
    octet_cache_close(cache);
    each_file(NULL);
}

static void test_out_of_memory_damages_no_tail(void **state) {
    (void)state;
    struct octet_session *fresh = open_session(NULL);
    const uint64_t expected = sync_hash(fresh, tokens, 90);
    octet_session_close(fresh);
    bool done = false;
    for (size_t after = 0; !done; after++) {
        struct octet_cache *cache = open_disk_cache(UINT64_MAX, UINT64_MAX), *again;
        struct octet_session *s = open_session(cache);
        const struct octet_cache_options options = {OCTET_KV_F16, 0, folder, UINT64_MAX};
        struct octet_err err;
        mem_fail_after(after);
        enum octet_status status = octet_session_sync(s, tokens, 80, &err);
        octet_cache_settle(cache);
        octet_session_close(s);
        octet_cache_close(cache);
        const enum octet_status opened = octet_cache_open(model, &options, &again, &err);
        mem_fail_after(SIZE_MAX);
        done = status == OCTET_OK && opened == OCTET_OK;
        assert_true(status == OCTET_OK || status == OCTET_EMEM);
        assert_true(opened == OCTET_OK || opened == OCTET_EMEM);
        octet_cache_close(again);
        cache = open_disk_cache(0, UINT64_MAX);
        s = open_session(cache);
        const size_t found = octet_session_reuse(s, tokens, 90);
        assert_true(!done || found == 80);
        assert_int_equal(sync_hash(s, tokens, 90), expected);
        octet_session_close(s);
        octet_cache_close(cache);
        each_file(NULL);
    }
}

static void flip_byte(const char *file, size_t i) {
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    const long size = ftell(f), at = (long)(i * 2654435761u % (size_t)size);
    fseek(f, at, SEEK_SET);
    const int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 0x10, f);
    fclose(f);
}

static void flip_data(const char *file, size_t i) {
    (void)i;
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    fseek(f, 5000, SEEK_SET);
    fputs("not what was there", f);
    fclose(f);
}

static void cut_file(const char *file, size_t i) {
    assert_int_equal(truncate(file, (long)i * 100), 0);
}

static void put_garbage(const char *file, size_t i) {
    char other[800];
    snprintf(other, sizeof other, "%s.tmp", file);
    if (i == 0) assert_int_equal(rename(file, other), 0);
}

static void test_damaged_files_are_never_believed(void **state) {
    (void)state;
    void (*const damages[])(const char *, size_t) = {flip_byte, flip_data, cut_file, put_garbage};
    struct octet_session *fresh = open_session(NULL);
    const uint64_t expected = sync_hash(fresh, tokens, N_TOKENS);
    octet_session_close(fresh);
    for (size_t i = 0; i < 8; i++) {
        fill_disk(tokens, N_TOKENS);
        assert_int_equal(each_file(damages[i / 2]), 5);
        struct octet_cache *cache = open_disk_cache(i % 2 ? UINT64_MAX : 0, UINT64_MAX);
        struct octet_session *s = open_session(cache);
        fetch_all(cache);
        assert_true(octet_session_reuse(s, tokens, N_TOKENS) <= (i < 6 ? 0 : 256));
        assert_int_equal(sync_hash(s, tokens, N_TOKENS), expected);
        struct octet_cache_info info;
        octet_cache_get_info(cache, &info);
        assert_true(i >= 6 || info.n_damaged > 0);
        octet_session_close(s);
        octet_cache_close(cache);
        cache = open_disk_cache(0, UINT64_MAX); // mended
        s = open_session(cache);
        assert_int_equal(octet_session_reuse(s, tokens, N_TOKENS), N_TOKENS - 1);
        assert_int_equal(sync_hash(s, tokens, N_TOKENS), expected);
        octet_session_close(s);
        octet_cache_close(cache);
        each_file(NULL);
    }
}

static void test_the_disk_budget_is_kept(void **state) {
    (void)state;
    struct octet_session *s = open_session(NULL), *fresh = open_session(NULL);
    const uint64_t file = octet_session_kv_bytes(s) / 5 + 4096;
    octet_session_close(s);
    struct octet_cache *cache = open_disk_cache(0, 3 * file);
    s = open_session(cache);
    for (size_t i = 0; i < 12; i++) {
        int32_t forked[N_TOKENS];
        fork_tokens(forked, i % 5 * 32);
        octet_session_clear(fresh);
        assert_int_equal(sync_hash(s, forked, N_TOKENS), sync_hash(fresh, forked, N_TOKENS));
        if (i % 3 == 0) octet_cache_settle(cache);
        struct octet_cache_info info;
        octet_cache_get_info(cache, &info);
        assert_true(info.disk_bytes <= 3 * file);
    }
    octet_session_close(s);
    octet_session_close(fresh);
    octet_cache_close(cache);
    assert_true(each_file(NULL) <= 3);
}

static void test_a_folder_that_can_not_be_made_is_an_error(void **state) {
    (void)state;
    const struct octet_cache_options options = {OCTET_KV_F16, 0, "/proc/none/here", 1};
    struct octet_cache *cache;
    struct octet_err err;
    assert_int_equal(octet_cache_open(model, &options, &cache, &err), OCTET_EIO);
    assert_non_null(strstr(err.message, "/proc/none/here"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forks_give_the_same_bits),
        cmocka_unit_test(test_pages_and_tails_outlive_their_session),
        cmocka_unit_test(test_small_budgets_are_kept_and_change_no_bit),
        cmocka_unit_test(test_the_least_recently_used_goes_first),
        cmocka_unit_test(test_a_cache_of_another_kind_is_refused),
        cmocka_unit_test(test_out_of_memory_loses_nothing),
        cmocka_unit_test(test_pages_and_tails_survive_their_cache),
        cmocka_unit_test(test_what_was_used_last_is_fetched_first),
        cmocka_unit_test(test_a_text_that_is_resumed_goes_on_with_the_same_bits),
        cmocka_unit_test(test_what_a_session_writes_stays_out_of_the_files),
        cmocka_unit_test(test_out_of_memory_while_fetching_loses_nothing),
        cmocka_unit_test(test_tails_of_any_length_give_the_same_bits),
        cmocka_unit_test(test_pages_of_integers_keep_the_bits_too),
        cmocka_unit_test(test_a_tail_gives_way_to_what_says_more),
        cmocka_unit_test(test_a_pause_keeps_tails_of_sessions_that_go_on),
        cmocka_unit_test(test_out_of_memory_damages_no_tail),
        cmocka_unit_test(test_damaged_files_are_never_believed),
        cmocka_unit_test(test_the_disk_budget_is_kept),
        cmocka_unit_test(test_a_folder_that_can_not_be_made_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
