/* What guards the server's connections: slow requests are let go of (crowd.h), compressed bodies
 * are opened within bounds (packed.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/probe.h"
#include "server/crowd.h"
#include "server/packed.h"

/* ---- Slow requests --------------------------------------------------------------------------- */

struct link {
    struct event_base *base;
    struct bufferevent *connection;
    int client;
};

static void nothing(struct bufferevent *connection, void *arg) { (void)connection, (void)arg; }

static struct link link_open(void) {
    struct link link = {.base = event_base_new()};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    evutil_make_socket_nonblocking(ends[0]);
    link.connection = bufferevent_socket_new(link.base, -1, BEV_OPT_CLOSE_ON_FREE);
    crowd_watch(link.connection);
    bufferevent_setcb(link.connection, nothing, NULL, NULL, NULL);
    bufferevent_setfd(link.connection, ends[0]);
    bufferevent_enable(link.connection, EV_READ);
    link.client = ends[1];
    return link;
}

static void link_close(struct link *link) {
    bufferevent_free(link->connection);
    event_base_free(link->base);
    close(link->client);
}

static void link_send(struct link *link, size_t n_bytes) {
    char bytes[1000] = {0};
    for (size_t n; n_bytes > 0; n_bytes -= n) {
        n = n_bytes < sizeof bytes ? n_bytes : sizeof bytes;
        assert_int_equal(write(link->client, bytes, n), (ssize_t)n);
        event_base_loop(link->base, EVLOOP_NONBLOCK);
    }
}

static void a_request_that_takes_too_long_is_shut(void **state) {
    (void)state;
    struct link link = link_open();
    const double now = probe_seconds();
    char byte;
    link_send(&link, 1);
    assert_int_equal(crowd_sweep(now + 15), 0);
    link_send(&link, 1); // one more does not help
    assert_int_equal(crowd_sweep(now + 25), 1);
    assert_int_equal(read(link.client, &byte, 1), 0);
    assert_int_equal(crowd_sweep(now + 1000), 0);
    link_close(&link);
}

static void a_long_request_may_take_longer(void **state) {
    (void)state;
    struct link link = link_open();
    const double now = probe_seconds();
    link_send(&link, 320000);
    assert_int_equal(crowd_sweep(now + 30), 0);
    assert_int_equal(crowd_sweep(now + 50), 1);
    link_close(&link);
}

static void a_request_that_arrived_may_be_answered_for_long(void **state) {
    (void)state;
    struct link link = link_open();
    const double now = probe_seconds();
    link_send(&link, 10);
    crowd_arrived(bufferevent_getfd(link.connection));
    assert_int_equal(crowd_sweep(now + 1000), 0);
    link_send(&link, 10); // the next one
    assert_int_equal(crowd_sweep(now + 1000), 1);
    link_close(&link);
}

static void an_idle_connection_is_left_alone(void **state) {
    (void)state;
    struct link link = link_open();
    event_base_loop(link.base, EVLOOP_NONBLOCK);
    assert_int_equal(crowd_sweep(probe_seconds() + 1000), 0);
    link_close(&link);
}

static void another_connection_of_the_same_number_is_left_alone(void **state) {
    (void)state;
    struct link link = link_open();
    link_send(&link, 1);
    const int number = bufferevent_getfd(link.connection);
    link_close(&link);
    struct link other = link_open();
    assert_int_equal(bufferevent_getfd(other.connection), number);
    assert_int_equal(crowd_sweep(probe_seconds() + 1000), 0);
    link_close(&other);
}

/* ---- Compressed bodies ----------------------------------------------------------------------- */

enum { N_PLAIN = 50000 };

static size_t pack(unsigned char *out, size_t cap) {
    static unsigned char plain[N_PLAIN];
    for (size_t i = 0; i < N_PLAIN; i++) plain[i] = (unsigned char)(i * i >> 7);
    uLongf n = (uLongf)cap;
    assert_int_equal(compress(out, &n, plain, N_PLAIN), Z_OK);
    return n;
}

static void a_body_is_unpacked_up_to_the_limit(void **state) {
    (void)state;
    static unsigned char packed[2 * N_PLAIN];
    const size_t n = pack(packed, sizeof packed);
    struct buffer out = {NULL, 0, 0};
    assert_int_equal(packed_open("Deflate", (char *)packed, n, N_PLAIN, &out), 0);
    assert_int_equal(out.n, N_PLAIN);
    buffer_free(&out);
    assert_int_equal(packed_open("gzip", (char *)packed, n, N_PLAIN - 1, &out), 413);
    assert_true(out.n < N_PLAIN);
    buffer_free(&out);
    assert_int_equal(packed_open("zstd", (char *)packed, n, N_PLAIN, &out), 415);
}

static void a_damaged_body_is_refused(void **state) {
    (void)state;
    static unsigned char packed[2 * N_PLAIN];
    const size_t n = pack(packed, sizeof packed);
    for (size_t cut = 0; cut < n; cut += 1 + n / 50) {
        struct buffer out = {NULL, 0, 0};
        assert_int_equal(packed_open("gzip", (char *)packed, cut, N_PLAIN, &out), 400);
        buffer_free(&out);
    }
    struct buffer out = {NULL, 0, 0};
    assert_int_equal(packed_open("gzip", (char *)packed, n + 1, N_PLAIN, &out), 400);
    buffer_free(&out);
}

static void no_memory_for_a_body_is_told(void **state) {
    (void)state;
    static unsigned char packed[2 * N_PLAIN];
    const size_t n = pack(packed, sizeof packed);
    for (size_t after = 0;; after++) {
        struct buffer out = {NULL, 0, 0};
        mem_fail_after(after);
        const int status = packed_open("gzip", (char *)packed, n, N_PLAIN, &out);
        mem_fail_after(SIZE_MAX);
        buffer_free(&out);
        if (status == 0) break;
        assert_int_equal(status, 503);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_takes_too_long_is_shut),
        cmocka_unit_test(a_long_request_may_take_longer),
        cmocka_unit_test(a_request_that_arrived_may_be_answered_for_long),
        cmocka_unit_test(an_idle_connection_is_left_alone),
        cmocka_unit_test(another_connection_of_the_same_number_is_left_alone),
        cmocka_unit_test(a_body_is_unpacked_up_to_the_limit),
        cmocka_unit_test(a_damaged_body_is_refused),
        cmocka_unit_test(no_memory_for_a_body_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
