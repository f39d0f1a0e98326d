/* base/probe: values that must hold on every machine; speeds are only checked to exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/probe.h"

static void test_clock_does_not_go_back(void **state) {
    (void)state;
    double last = probe_seconds();
    assert_true(last > 0);
    for (int i = 0; i < 1000; i++) {
        const double now = probe_seconds();
        assert_true(now >= last);
        last = now;
    }
}

static void test_memory_sizes_are_plausible(void **state) {
    (void)state;
    const uint64_t total = probe_ram_total();
    assert_true(total > UINT64_C(16) << 20);
    assert_true(probe_ram_available() <= total);
    assert_true(probe_ram_available() > 0);
}

static void test_anonymous_memory_is_part_of_the_peak(void **state) {
    (void)state;
    enum { N = 64 << 20 };
    const uint64_t before = probe_rss_anon();
    char *const block = mem_alloc(N);
    assert_non_null(block);
    memset(block, 1, N);
    assert_true(probe_rss_anon() >= before + N / 2);
    assert_true(probe_rss_peak() >= N);
    mem_free(block);
}

static void test_names_stay_within_their_buffers(void **state) {
    (void)state;
    char text[8];
    memset(text, 'x', sizeof text);
    probe_cpu_name(text, 4);
    assert_true(memchr(text, '\0', 4) != NULL);
    assert_int_equal(text[4], 'x');
    memset(text, 'x', sizeof text);
    probe_cpu_features(text, 4);
    assert_true(memchr(text, '\0', 4) != NULL);
    assert_int_equal(text[4], 'x');
}

static void test_bandwidth_is_measured(void **state) {
    (void)state;
    struct octet_err err;
    for (int n_threads = 1; n_threads <= 3; n_threads += 2) {
        double speed = 0;
        assert_int_equal(probe_read_bandwidth(n_threads, &speed, &err), OCTET_OK);
        assert_true(speed > 1e6);
    }
}

static void test_speeds_of_an_instruction_set_or_the_best_one(void **state) {
    (void)state;
    static const char *const names[] = {NULL, "scalar", "avx2", "?"};
    struct probe_speeds best;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct octet_err err;
        struct probe_speeds speeds;
        // Reading takes longest; how each instruction set does that is tested below.
        if (names[i] == NULL)
            assert_int_equal(probe_measure_speeds(1, names[i], &speeds, &err), OCTET_OK);
        else
            assert_int_equal(probe_arithmetic(1, names[i], &speeds, &err), OCTET_OK);
        assert_true(names[i] == NULL ? speeds.read_bytes > 1e6 : speeds.read_bytes == 0);
        assert_true(speeds.int8_ops > 1e6);
        assert_true(speeds.float_ops > 1e6);
        if (names[i] == NULL) best = speeds;
        // One that the machine has not is answered by the best that it has.
        if (names[i] == NULL || strcmp(speeds.isa, names[i]) != 0) {
            assert_string_equal(speeds.isa, best.isa);
            assert_string_equal(speeds.int8, best.int8);
        }
        if (i == 1) assert_string_equal(speeds.isa, "scalar");
    }
}

static void test_arithmetic_alone_needs_no_buffer(void **state) {
    (void)state;
    struct octet_err err;
    struct probe_speeds speeds;
    const uint64_t peak = probe_rss_peak();
    assert_int_equal(probe_arithmetic(2, "scalar", &speeds, &err), OCTET_OK);
    assert_string_equal(speeds.isa, "scalar");
    assert_true(speeds.read_bytes == 0);
    assert_true(speeds.int8_ops > 1e6);
    assert_true(probe_rss_peak() < peak + (8 << 20));
}

static void test_memory_that_is_there_is_read_in_every_way(void **state) {
    (void)state;
    enum { N = (4 << 20) + 4096 };
    static const char *const names[] = {NULL, "scalar", "avx2"};
    uint8_t *const data = mem_aligned(N);
    assert_non_null(data);
    memset(data, 1, N);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct probe_reader *const reader = probe_reader_open(2, names[i]);
        assert_non_null(reader);
        for (size_t way = 0; way < PROBE_N_WAYS; way++) {
            assert_true(probe_reader_time(reader, way, data, N) > 0);
            assert_true(probe_reader_time(reader, way, data, 4096) == 0);
        }
        probe_reader_close(reader);
    }
    probe_reader_close(NULL);
    mem_free(data);
}

static void test_speeds_survive_failed_allocations(void **state) {
    (void)state;
    for (size_t after = 0; after < 5; after++) {
        struct octet_err err;
        struct probe_speeds speeds = {.read_bytes = 1};
        double speed = 1;
        mem_fail_after(after);
        const enum octet_status status = probe_read_bandwidth(1, &speed, &err);
        const enum octet_status both = probe_measure_speeds(1, NULL, &speeds, &err);
        mem_fail_after(SIZE_MAX);
        assert_int_equal(status, OCTET_EMEM);
        assert_true(speed == 0);
        assert_int_equal(both, OCTET_EMEM);
        assert_non_null(strstr(err.message, "speeds"));
    }
}

static void test_disk_probe_reports_a_missing_folder(void **state) {
    (void)state;
    struct octet_err err;
    double speed = 1;
    assert_int_equal(probe_disk_read("/no/such/folder", &speed, &err), OCTET_EIO);
    assert_non_null(strstr(err.message, "/no/such/folder"));
    assert_true(speed == 0);
}

static void test_disk_probe_measures_or_says_why_not(void **state) {
    (void)state;
    struct octet_err err;
    double speed;
    const enum octet_status status = probe_disk_read("/tmp", &speed, &err);
    assert_true(status == OCTET_OK ? speed > 0 : err.message[0] != '\0');
}

static void test_sandbox_probes_answer(void **state) {
    (void)state;
    assert_in_range(probe_landlock_abi(), 0, 1000);
    (void)probe_user_namespaces();
    (void)probe_seccomp_filters();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_does_not_go_back),
        cmocka_unit_test(test_memory_sizes_are_plausible),
        cmocka_unit_test(test_anonymous_memory_is_part_of_the_peak),
        cmocka_unit_test(test_names_stay_within_their_buffers),
        cmocka_unit_test(test_arithmetic_alone_needs_no_buffer),
        cmocka_unit_test(test_memory_that_is_there_is_read_in_every_way),
        cmocka_unit_test(test_bandwidth_is_measured),
        cmocka_unit_test(test_speeds_of_an_instruction_set_or_the_best_one),
        cmocka_unit_test(test_speeds_survive_failed_allocations),
        cmocka_unit_test(test_disk_probe_reports_a_missing_folder),
        cmocka_unit_test(test_disk_probe_measures_or_says_why_not),
        cmocka_unit_test(test_sandbox_probes_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
