/* Mapped files: their bytes, with and without their pages becoming the process's. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/map.h"
#include "octet.h"

enum { N_BYTES = 8 << 20, MARGIN = 1 << 20 };

static char path[] = "/tmp/octet-map-XXXXXX";
static const uint8_t *mapped;
static size_t n_mapped;

static uint8_t byte_at(size_t i) { return (uint8_t)(i * 7 + i / 251); }

static int set_up(void **state) {
    (void)state;
    const int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!file) return -1;
    for (size_t i = 0; i < N_BYTES; i++) fputc(byte_at(i), file);
    if (fclose(file) != 0) return -1;
    return map_open(path, &mapped, &n_mapped, NULL) == OCTET_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    map_close(mapped, n_mapped);
    return unlink(path);
}

/* Bytes of file pages in this process. */
static size_t file_pages(void) {
    unsigned long size, resident, shared = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu %lu", &size, &resident, &shared), 3);
    fclose(file);
    return shared * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_read_copies_what_is_mapped(void **state) {
    (void)state;
    static const size_t at[] = {0, 1, 4095, 4096, 1234567, N_BYTES - 5000};
    uint8_t copy[5000];
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        memset(copy, 0x55, sizeof copy);
        assert_true(map_read(mapped + at[i], sizeof copy, copy));
        for (size_t k = 0; k < sizeof copy; k++) assert_int_equal(copy[k], byte_at(at[i] + k));
    }
}

static void test_read_refuses_what_is_not_there(void **state) {
    (void)state;
    uint8_t copy[16];
    const uint8_t elsewhere[16] = {0};
    assert_false(map_read(elsewhere, sizeof elsewhere, copy));
    assert_false(map_read(mapped + N_BYTES - 8, 16, copy)); // past the end
    char other[] = "/tmp/octet-map-XXXXXX";
    const int fd = mkstemp(other);
    assert_true(fd >= 0 && write(fd, copy, 16) == 16);
    const uint8_t *bytes;
    size_t n_bytes;
    assert_int_equal(map_open(other, &bytes, &n_bytes, NULL), OCTET_OK);
    assert_true(map_read(bytes, 16, copy));
    assert_int_equal(ftruncate(fd, 8), 0);
    assert_false(map_read(bytes, 16, copy));
    map_close(bytes, n_bytes);
    assert_false(map_read(bytes, 8, copy));
    close(fd);
    unlink(other);
}

static void test_closed_mappings_leave_no_file_open(void **state) {
    (void)state;
    const int before = dup(STDIN_FILENO);
    close(before);
    for (int i = 0; i < 3; i++) {
        const uint8_t *bytes;
        size_t n_bytes;
        assert_int_equal(map_open(path, &bytes, &n_bytes, NULL), OCTET_OK);
        map_close(bytes, n_bytes);
        assert_int_not_equal(map_open("/proc/self", &bytes, &n_bytes, NULL), OCTET_OK);
    }
    const int after = dup(STDIN_FILENO);
    close(after);
    assert_int_equal(after, before);
}

static void test_read_leaves_the_pages_alone(void **state) {
    (void)state;
    static uint8_t copy[N_BYTES];
    memset(copy, 1, sizeof copy);
    map_release(mapped, N_BYTES);
    const size_t before = file_pages();
    for (size_t at = 0; at < N_BYTES; at += 4096)
        assert_true(map_read(mapped + at, 4096, copy + at));
    assert_true(file_pages() < before + MARGIN);
    map_populate(mapped, N_BYTES, 0);
#if defined(__x86_64__) // emulators take advice and do nothing
    assert_true(file_pages() >= before + N_BYTES - MARGIN);
    map_release(mapped, N_BYTES);
    assert_true(file_pages() < before + MARGIN);
#endif
    assert_memory_equal(copy, mapped, N_BYTES);
}

static void test_release_of_part_of_a_page_keeps_it(void **state) {
    (void)state;
    map_release(mapped + 100, 200);
    map_release(mapped, 0);
    for (size_t i = 0; i < 8192; i++) assert_int_equal(mapped[i], byte_at(i));
}

static void test_what_is_written_to_a_private_mapping_stays_there(void **state) {
    (void)state;
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    uint8_t *const own = map_private(fd, path, N_BYTES), *const other = map_private(fd, path, 1);
    close(fd);
    assert_non_null(own);
    assert_non_null(other);
    assert_memory_equal(own, mapped, N_BYTES);
    own[0] = own[N_BYTES - 1] = 99;
    assert_int_equal(mapped[0], byte_at(0));
    assert_int_equal(other[0], byte_at(0));
    assert_int_equal(mapped[N_BYTES - 1], byte_at(N_BYTES - 1));
    map_private_close(other, 1);
    map_private_close(own, N_BYTES);
    assert_null(map_private(fd, path, N_BYTES)); // no file
}

/* A process of its own reads a page that was cut off; what it said, and its exit status. */
static int read_cut_off(bool private, const char *name, char *said, size_t cap) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        const int fd = open(name, O_RDWR);
        const uint8_t *bytes = NULL;
        size_t n_bytes = 2 * 4096;
        dup2(ends[1], STDERR_FILENO);
        octet_guard_mappings();
        if (private)
            bytes = map_private(fd, name, n_bytes);
        else
            map_open(name, &bytes, &n_bytes, NULL);
        if (!bytes || ftruncate(fd, 0) != 0) _exit(2);
        _exit(*(const volatile uint8_t *)(bytes + 4096) == 0 ? 3 : 4);
    }
    close(ends[1]);
    FILE *const told = fdopen(ends[0], "r");
    assert_non_null(told);
    said[fread(said, 1, cap - 1, told)] = '\0';
    fclose(told);
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
}

static void test_a_file_that_was_cut_off_is_named(void **state) {
    (void)state;
    for (int private = 0; private < 2; private++) {
        char name[] = "/tmp/octet-map-XXXXXX", said[200];
        const int fd = mkstemp(name);
        assert_true(fd >= 0 && ftruncate(fd, 2 * 4096) == 0);
        assert_int_equal(read_cut_off(private, name, said, sizeof said), 1);
        assert_non_null(strstr(said, name));
        assert_non_null(strstr(said, "truncated"));
        close(fd);
        unlink(name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_copies_what_is_mapped),
        cmocka_unit_test(test_read_refuses_what_is_not_there),
        cmocka_unit_test(test_closed_mappings_leave_no_file_open),
        cmocka_unit_test(test_read_leaves_the_pages_alone),
        cmocka_unit_test(test_what_is_written_to_a_private_mapping_stays_there),
        cmocka_unit_test(test_a_file_that_was_cut_off_is_named),
        cmocka_unit_test(test_release_of_part_of_a_page_keeps_it),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
