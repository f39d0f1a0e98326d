/* The sandbox from outside: what it promises to programs, and that those of tests/box get nowhere.
 * Runs as root, then as an ordinary user where it can become one; both with namespaces and as on
 * machines that grant none. */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "compare/box_impl.h"
#include "temp_folder.h"

enum {
    ORDINARY_USER = 65534,
    N_EVIL = 32,
    MEGABYTE = 1 << 20,
    N_RUNS = 100,
    N_PARALLEL = 20,
    NAMESPACES = BOX_USER_NS | BOX_MOUNT_NS | BOX_PID_NS | BOX_NET_NS | BOX_IPC_NS,
};

/* ---- The programs, read before rights are given up ------------------------------------------- */

static struct box_file evil[N_EVIL];
static size_t n_evil;

static void read_evil_programs(void) {
    DIR *const listing = opendir("tests/box");
    if (listing == NULL) abort();
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (entry->d_name[0] == '.' || n_evil == N_EVIL) continue;
        struct box_file *const file = &evil[n_evil];
        if (box_take_file(dirfd(listing), entry->d_name, MEGABYTE, file)) n_evil++;
    }
    closedir(listing);
}

static const struct box_file *find_evil(const char *name) {
    for (size_t i = 0; i < n_evil; i++) {
        if (strcmp(evil[i].path, name) == 0) return &evil[i];
    }
    fail_msg("tests/box/%s is missing", name);
    return NULL;
}

/* ---- Running --------------------------------------------------------------------------------- */

static struct box_result run(struct box_job job) {
    struct box_result result;
    struct octet_err err = {OCTET_OK, ""};
    if (box_run(&job, &result, &err) != OCTET_OK) fail_msg("%s", err.message);
    return result;
}

static struct box_job shell(const char *const argv[4]) {
    struct box_job job = BOX_JOB_DEFAULTS;
    job.argv = argv;
    return job;
}

#define SHELL(script) shell((const char *const[4]){"sh", "-c", script, NULL})

/* A program of tests/box with up to four arguments. */
static struct box_result run_evil_in(const char *name, const struct box_limits *limits,
                                     const char *const arguments[4]) {
    const struct box_file *const file = find_evil(name);
    const char *const dot = strrchr(name, '.');
    const char *const runner = strcmp(dot, ".py") == 0 ? "python3" : "sh";
    const char *argv[8] = {runner, name};
    for (int i = 0; arguments != NULL && i < 4 && arguments[i] != NULL; i++) {
        argv[2 + i] = arguments[i];
    }
    struct box_job job = BOX_JOB_DEFAULTS;
    job.argv = argv;
    job.files = file;
    job.n_files = 1;
    if (limits != NULL) job.limits = *limits;
    return run(job);
}

static void expect_contained(struct box_result *result) {
    if (strstr(result->out, "BREACH") != NULL || strstr(result->out, "tried") == NULL) {
        fail_msg("end %d status %d: %s%s", (int)result->end, result->status, result->out,
                 result->err);
    }
    box_result_free(result);
}

/* Processes outside that have WORD in their command line, this one not counted. */
static int count_processes(const char *word) {
    int n = 0;
    DIR *const listing = opendir("/proc");
    for (const struct dirent *entry; listing && (entry = readdir(listing)) != NULL;) {
        char path[32], text[1024];
        if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == getpid()) continue;
        snprintf(path, sizeof path, "%.10s/cmdline", entry->d_name);
        const int fd = openat(dirfd(listing), path, O_RDONLY);
        const ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text);
        if (fd >= 0) close(fd);
        if (length > 0 && memmem(text, (size_t)length, word, strlen(word)) != NULL) n++;
    }
    closedir(listing);
    return n;
}

static int count_entries(const char *folder, const char *prefix) {
    int n = 0;
    DIR *const listing = opendir(folder);
    for (const struct dirent *entry; listing && (entry = readdir(listing)) != NULL;) {
        n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    closedir(listing);
    return n;
}

static int count_lines(const char *path) {
    FILE *const file = fopen(path, "r");
    int n = 0;
    for (int c; file && (c = fgetc(file)) != EOF;) n += c == '\n';
    fclose(file);
    return n;
}

static void skip_if_too_weak(void) {
    if (!box_probe()->enough) skip();
}

/* ---- What programs get ----------------------------------------------------------------------- */

static void test_tells_output_and_status(void **state) {
    (void)state;
    skip_if_too_weak();
    struct box_result result = run(SHELL("echo out; echo err >&2; exit 7"));
    assert_int_equal(result.end, BOX_EXITED);
    assert_int_equal(result.status, 7);
    assert_string_equal(result.out, "out\n");
    assert_string_equal(result.err, "err\n");
    assert_int_equal(result.layers, box_probe()->have);
    assert_true(result.wall_s > 0 && result.wall_s < 5);
    box_result_free(&result);
    result = run(SHELL("kill -ABRT $$"));
    assert_int_equal(result.end, BOX_SIGNALLED);
    assert_int_equal(result.status, SIGABRT);
    box_result_free(&result);
}

static void test_takes_files_and_gives_them_back(void **state) {
    (void)state;
    skip_if_too_weak();
    const struct box_file files[] = {
        {"deep/er/in.txt", "hello", 5, false},
        {"run.sh", "#!/bin/sh\ncat - deep/er/in.txt > made/out.txt; printf '\\0x' > bytes\n", 68,
         true},
        {"empty", NULL, 0, false},
    };
    const char *const keep[] = {"none", "made/out.txt", "bytes", "empty", "deep", NULL};
    struct box_job job = SHELL("mkdir made && ./run.sh && test -x run.sh && test ! -x empty");
    job.files = files;
    job.n_files = sizeof files / sizeof files[0];
    job.keep = keep;
    job.stdin_bytes = "in:";
    job.n_stdin = 3;
    struct box_result result = run(job);
    assert_string_equal(result.err, "");
    assert_int_equal(result.status, 0);
    assert_int_equal(result.n_kept, 3);
    assert_string_equal(result.kept[0].path, "made/out.txt");
    assert_string_equal(result.kept[0].bytes, "in:hello");
    assert_int_equal(result.kept[1].n_bytes, 2);
    assert_int_equal(result.kept[2].n_bytes, 0);
    box_result_free(&result);
}

static void test_takes_much_input(void **state) {
    (void)state;
    skip_if_too_weak();
    struct box_job job = SHELL("wc -c; head -c 100000 /dev/zero | wc -c");
    char *const bytes = calloc(1, 3 * MEGABYTE);
    job.stdin_bytes = bytes;
    job.n_stdin = 3 * MEGABYTE;
    struct box_result result = run(job);
    assert_string_equal(result.out, "3145728\n100000\n");
    box_result_free(&result);
    job.argv = (const char *const[]){"true", NULL}; // reads none of it
    result = run(job);
    assert_int_equal(result.status, 0);
    box_result_free(&result);
    free(bytes);
}

static void test_refuses_paths_that_leave(void **state) {
    (void)state;
    static const char *const bad[] = {"",     "/etc/passwd", "..", "a/../b",
                                      "a//b", "./a",         "a/", "../a"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct box_file file = {bad[i], "x", 1, false};
        struct box_job job = SHELL("true");
        job.files = &file;
        job.n_files = 1;
        struct box_result result;
        struct octet_err err;
        assert_int_equal(box_run(&job, &result, &err), OCTET_EARG);
        job.n_files = 0;
        job.keep = (const char *const[]){bad[i], NULL};
        assert_int_equal(box_run(&job, &result, &err), OCTET_EARG);
    }
}

static void test_tells_missing_programs(void **state) {
    (void)state;
    skip_if_too_weak();
    struct box_job job = SHELL("true");
    struct box_result result;
    struct octet_err err;
    job.argv = (const char *const[]){"octet-no-such-program", NULL};
    assert_int_equal(box_run(&job, &result, &err), OCTET_EIO);
    assert_non_null(strstr(err.message, "octet-no-such-program"));
    job.argv = (const char *const[]){"./none", NULL};
    result = run(job);
    assert_int_equal(result.status, 127);
    box_result_free(&result);
    job.files = &(const struct box_file){"none", "text", 4, false};
    job.n_files = 1;
    result = run(job);
    assert_int_equal(result.status, 126);
    box_result_free(&result);
}

static void test_refuses_when_too_weak(void **state) {
    (void)state;
    box_probe_mask(NAMESPACES | BOX_LANDLOCK);
    assert_false(box_probe()->enough);
    struct box_job job = SHELL("echo ran");
    struct box_result result;
    struct octet_err err;
    assert_int_equal(box_run(&job, &result, &err), OCTET_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "--unsafe-exec"));
    assert_non_null(strstr(err.message, box_layer_name(BOX_USER_NS)));
    job.unsafe_exec = true;
    result = run(job);
    assert_string_equal(result.out, "ran\n");
    assert_int_equal(result.layers & (NAMESPACES | BOX_LANDLOCK), 0);
    box_result_free(&result);
    box_probe_mask(BOX_SECCOMP);
    assert_false(box_probe()->enough);
    box_probe_mask(0);
}

static void test_two_boxes_talk(void **state) {
    (void)state;
    skip_if_too_weak();
    int question[2], answer[2];
    assert_int_equal(pipe2(question, O_CLOEXEC) | pipe2(answer, O_CLOEXEC), 0);
    struct box_job asks = SHELL("echo 6 7; read a <&3; echo got $a >&2");
    asks.stdout_fd = question[1];
    asks.extra_fd = answer[0];
    struct box_job answers = SHELL("read a b; echo $((a * b))");
    answers.stdin_fd = question[0];
    answers.stdout_fd = answer[1];
    struct box *first, *second;
    struct octet_err err;
    assert_int_equal(box_start(&asks, &first, &err), OCTET_OK);
    assert_int_equal(box_start(&answers, &second, &err), OCTET_OK);
    for (int i = 0; i < 2; i++) {
        close(question[i]);
        close(answer[i]);
    }
    struct box_result result;
    assert_int_equal(box_finish(first, &result, &err), OCTET_OK);
    assert_string_equal(result.err, "got 42\n");
    box_result_free(&result);
    assert_int_equal(box_finish(second, &result, &err), OCTET_OK);
    box_result_free(&result);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static void test_ends_sleep_and_stop(void **state) {
    (void)state;
    skip_if_too_weak();
    static const char *const scripts[] = {"sleep 300", "kill -STOP $$", "trap '' TERM; sleep 300"};
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct box_job job = SHELL(scripts[i]);
        job.limits.wall_s = 0.3;
        struct box_result result = run(job);
        assert_int_equal(result.end, BOX_TIME_OUT);
        assert_true(result.wall_s < 5);
        box_result_free(&result);
    }
}

static void test_counts_time_of_all_processes(void **state) {
    (void)state;
    skip_if_too_weak();
    struct box_job job = SHELL("for i in 1 2 3 4; do (while :; do :; done) & done; wait");
    job.limits.cpu_s = 0.6;
    job.limits.wall_s = 30;
    struct box_result result = run(job);
    assert_int_equal(result.end, BOX_TIME_OUT);
    assert_true(result.cpu_s > 0.5 && result.cpu_s < 4);
    box_result_free(&result);
}

static void test_ends_memory_bomb(void **state) {
    (void)state;
    skip_if_too_weak();
    const struct box_limits limits = {.memory_bytes = 256 * (uint64_t)MEGABYTE, .wall_s = 20};
    struct box_result result = run_evil_in("memory_bomb.py", &limits, NULL);
    if (result.end != BOX_OUT_OF_MEMORY) fail_msg("%d %s", (int)result.end, result.out);
    assert_null(strstr(result.out, "BREACH"));
    assert_true(result.peak_bytes > 16 * MEGABYTE && result.peak_bytes < 600 * (uint64_t)MEGABYTE);
    box_result_free(&result);
}

static void test_caps_output(void **state) {
    (void)state;
    skip_if_too_weak();
    const struct box_limits limits = {.output_bytes = 1000, .wall_s = 60, .cpu_s = 60};
    struct box_result result = run_evil_in("output_flood.sh", &limits, NULL);
    assert_int_equal(result.end, BOX_EXITED);
    assert_int_equal(result.n_out, 1000);
    assert_int_equal(result.n_err, 1000);
    assert_int_equal(result.out_total, 1000000000);
    assert_int_equal(result.err_total, 20000000);
    box_result_free(&result);
}

static void test_caps_disk(void **state) {
    (void)state;
    skip_if_too_weak();
    const struct box_limits limits = {.disk_bytes = 16 * MEGABYTE};
    struct box_result result = run_evil_in("disk_flood.py", &limits, NULL);
    if (box_probe()->have & BOX_MOUNT_NS) {
        expect_contained(&result);
    } else {
        assert_int_equal(result.end, BOX_OUT_OF_DISK);
        box_result_free(&result);
    }
}

static void test_survives_closed_descriptors(void **state) {
    (void)state;
    skip_if_too_weak();
    const struct box_limits limits = {.wall_s = 0.5};
    struct box_result result = run_evil_in("closed_fds.py", &limits, NULL);
    assert_int_equal(result.end, BOX_TIME_OUT);
    box_result_free(&result);
}

static void *raise_soon(void *flag) {
    usleep(200000);
    *(volatile bool *)flag = true;
    return NULL;
}

static void test_can_be_cancelled(void **state) {
    (void)state;
    skip_if_too_weak();
    static volatile bool cancel;
    cancel = false;
    struct box_job job = SHELL("sleep 300");
    job.cancel = &cancel;
    pthread_t thread;
    pthread_create(&thread, NULL, raise_soon, (void *)(uintptr_t)&cancel);
    struct box_result result = run(job);
    pthread_join(thread, NULL);
    assert_int_equal(result.end, BOX_CANCELLED);
    box_result_free(&result);
}

/* ---- Getting out ----------------------------------------------------------------------------- */

static void test_contains_fork_bomb(void **state) {
    (void)state;
    skip_if_too_weak();
    const struct box_limits limits = {.wall_s = 4, .cpu_s = 20, .n_processes = 40};
    struct box_result result = run_evil_in("fork_bomb.py", &limits, NULL);
    assert_null(strstr(result.out, "BREACH"));
    box_result_free(&result);
    assert_int_equal(count_processes("fork_bomb.py"), 0);
}

static void test_nothing_survives(void **state) {
    (void)state;
    skip_if_too_weak();
    char marker[64];
    snprintf(marker, sizeof marker, "octet-marker-%d", (int)getpid());
    const char *const arguments[4] = {marker};
    struct box_result result = run_evil_in("survive.py", NULL, arguments);
    expect_contained(&result);
    assert_int_equal(count_processes(marker), 0);
}

/* Nobody came: no connection waits, no datagram either. */
static void expect_quiet(int fd) {
    struct pollfd waiting = {fd, POLLIN, 0};
    assert_int_equal(poll(&waiting, 1, 0), 0);
    close(fd);
}

static int listen_inet(int kind, char port[8]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof address;
    const int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, n), 0);
    if (kind == SOCK_STREAM) assert_int_equal(listen(fd, 4), 0);
    getsockname(fd, (struct sockaddr *)&address, &n);
    snprintf(port, 8, "%d", ntohs(address.sin_port));
    return fd;
}

static int listen_unix(const char *name, bool abstract) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + abstract, sizeof address.sun_path - 1, "%s", name);
    const socklen_t n =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void test_reaches_no_network(void **state) {
    (void)state;
    skip_if_too_weak();
    struct folder folder = {.n = 0};
    folder_open(&folder);
    chmod(folder.path, 0777);
    char tcp[8], udp[8], name[32];
    snprintf(name, sizeof name, "octet-test-%d", (int)getpid());
    const char *const path = folder_file(&folder, "socket");
    const int fds[] = {listen_inet(SOCK_STREAM, tcp), listen_inet(SOCK_DGRAM, udp),
                       listen_unix(name, true), listen_unix(path, false)};
    chmod(path, 0777);
    const char *const arguments[4] = {tcp, udp, name, path};
    struct box_result result = run_evil_in("network.py", NULL, arguments);
    expect_contained(&result);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) expect_quiet(fds[i]);
    assert_true(folder_close(&folder));
}

static void write_text(const char *path, const char *text, mode_t mode) {
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static void test_reads_no_secrets(void **state) {
    (void)state;
    skip_if_too_weak();
    struct folder folder = {.n = 0};
    folder_open(&folder);
    chmod(folder.path, 0755);
    const char *const path = folder_file(&folder, "key");
    write_text(path, "octet-planted-secret", 0644);
    setenv("OCTET_TEST_KEY", "octet-planted-secret", 1);
    const int fd = open(path, O_RDWR); // inherited by whoever does not look after itself
    const int high = fcntl(fd, F_DUPFD, 700);
    const char *const arguments[4] = {path};
    struct box_result result = run_evil_in("secrets.py", NULL, arguments);
    close(fd);
    close(high);
    unsetenv("OCTET_TEST_KEY");
    expect_contained(&result);
    assert_true(folder_close(&folder));
}

static void test_writes_nothing_outside(void **state) {
    (void)state;
    skip_if_too_weak();
    struct folder folder = {.n = 0};
    folder_open(&folder);
    chmod(folder.path, 0777);
    const char *const path = folder_file(&folder, "file");
    write_text(path, "as it was", 0666);
    struct stat before, after;
    stat(path, &before);
    const char *const arguments[4] = {folder.path, path};
    struct box_result result = run_evil_in("write_outside.py", NULL, arguments);
    expect_contained(&result);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_mode, after.st_mode);
    assert_int_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
    assert_true(folder_close(&folder));
}

static void test_hurts_no_process(void **state) {
    (void)state;
    skip_if_too_weak();
    const pid_t victim = fork();
    if (victim == 0) {
        pause();
        _exit(0);
    }
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)victim);
    const char *const arguments[4] = {pid};
    struct box_result result = run_evil_in("processes.py", NULL, arguments);
    int status = 0;
    assert_int_equal(waitpid(victim, &status, WNOHANG | WUNTRACED), 0); // neither dead nor stopped
    kill(victim, SIGKILL);
    waitpid(victim, &status, 0);
    expect_contained(&result);
}

static void test_kernel_refuses(void **state) {
    (void)state;
    skip_if_too_weak();
    struct box_job job = BOX_JOB_DEFAULTS;
    const char *const keep[] = {"kernel", NULL};
    job.argv = (const char *const[]){"gcc", "kernel.c", "-o", "kernel", NULL};
    job.files = find_evil("kernel.c");
    job.n_files = 1;
    job.keep = keep;
    struct box_result compiled = run(job);
    if (compiled.n_kept != 1) fail_msg("%s", compiled.err);
    const struct box_file program = {"kernel", compiled.kept[0].bytes, compiled.kept[0].n_bytes,
                                     true};
    job.argv = (const char *const[]){"./kernel", NULL};
    job.files = &program;
    struct box_result result = run(job);
    expect_contained(&result);
    box_result_free(&compiled);
}

static void test_hides_no_memory(void **state) {
    (void)state;
    skip_if_too_weak();
    struct box_result result = run_evil_in("hidden_memory.py", NULL, NULL);
    expect_contained(&result);
}

static void test_boxes_share_nothing(void **state) {
    (void)state;
    skip_if_too_weak();
    for (int i = 0; i < 2; i++) {
        struct box_result result = run_evil_in("shared_memory.py", NULL, NULL);
        expect_contained(&result);
    }
    assert_int_equal(count_entries("/dev/shm", "octet-left"), 0);
}

static void test_odd_files_are_no_trap(void **state) {
    (void)state;
    skip_if_too_weak();
    const int before = count_entries("/tmp", "octet-box-");
    const struct box_file *const file = find_evil("odd_files.py");
    const char *const keep[] = {"kept_link", "kept_fifo", "kept_folder", "kept_sparse",
                                "up/etc/passwd", "closed/file", NULL};
    struct box_job job = BOX_JOB_DEFAULTS;
    job.argv = (const char *const[]){"python3", "odd_files.py", NULL};
    job.files = file;
    job.n_files = 1;
    job.keep = keep;
    job.limits.disk_bytes = 4 * MEGABYTE;
    struct box_result result = run(job);
    for (size_t i = 0; i < result.n_kept; i++) {
        const bool sparse = strcmp(result.kept[i].path, "kept_sparse") == 0;
        assert_true(sparse || strcmp(result.kept[i].path, "closed/file") == 0);
        assert_true(result.kept[i].n_bytes <= 4 * MEGABYTE);
    }
    expect_contained(&result);
    assert_int_equal(count_entries("/tmp", "octet-box-"), before);
}

static void test_output_comes_as_it_is(void **state) {
    (void)state;
    skip_if_too_weak();
    struct box_result result = run_evil_in("escape_codes.sh", NULL, NULL);
    assert_int_equal(result.out[0], 033);
    expect_contained(&result);
}

/* ---- Leaving nothing behind ------------------------------------------------------------------ */

static void test_leaves_nothing_behind(void **state) {
    (void)state;
    skip_if_too_weak();
    const int fds = count_entries("/proc/self/fd", ""), temp = count_entries("/tmp", "octet-box-");
    const int mounts = count_lines("/proc/self/mounts");
    for (int i = 0; i < N_RUNS; i++) {
        struct box_result result = run(SHELL("echo x > file; sleep 300 & :"));
        assert_int_equal(result.end, BOX_EXITED);
        box_result_free(&result);
    }
    assert_int_equal(count_entries("/proc/self/fd", ""), fds);
    assert_int_equal(count_lines("/proc/self/mounts"), mounts);
    assert_int_equal(count_entries("/tmp", "octet-box-"), temp);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    assert_int_equal(errno, ECHILD);
}

static void *run_one(void *argument) {
    const uintptr_t number = (uintptr_t)argument;
    char script[128], expected[32];
    snprintf(script, sizeof script, "echo %zu > f; set -- /proc/$$/fd/*; echo $#; cat f",
             (size_t)number);
    snprintf(expected, sizeof expected, "4\n%zu\n", (size_t)number);
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct box_job job = BOX_JOB_DEFAULTS;
    job.argv = argv;
    bool fine = true;
    for (int i = 0; i < 3 && fine; i++) {
        struct box_result result;
        struct octet_err err;
        fine = box_run(&job, &result, &err) == OCTET_OK && strcmp(result.out, expected) == 0;
        if (!fine) fprintf(stderr, "box %zu: %s\n", (size_t)number, result.out);
        box_result_free(&result);
    }
    return (void *)(uintptr_t)fine;
}

static void test_many_at_once(void **state) {
    (void)state;
    skip_if_too_weak();
    const int fds = count_entries("/proc/self/fd", "");
    pthread_t threads[N_PARALLEL];
    for (uintptr_t i = 0; i < N_PARALLEL; i++) {
        pthread_create(&threads[i], NULL, run_one, (void *)i);
    }
    size_t n_fine = 0;
    for (size_t i = 0; i < N_PARALLEL; i++) {
        void *fine = NULL;
        pthread_join(threads[i], &fine);
        n_fine += fine != NULL;
    }
    assert_int_equal(n_fine, N_PARALLEL);
    assert_int_equal(count_entries("/proc/self/fd", ""), fds);
}

static void test_out_of_memory_is_an_error(void **state) {
    (void)state;
    skip_if_too_weak();
    const int fds = count_entries("/proc/self/fd", ""), temp = count_entries("/tmp", "octet-box-");
    const char *const keep[] = {"f", NULL};
    enum octet_status status = OCTET_EMEM;
    for (size_t after = 0; status == OCTET_EMEM && after < 200; after++) {
        struct box_job job = SHELL("echo x > f; echo y");
        job.keep = keep;
        job.stdin_bytes = "z";
        job.n_stdin = 1;
        struct box_result result;
        struct octet_err err;
        mem_fail_after(after);
        status = box_run(&job, &result, &err);
        mem_fail_after(SIZE_MAX);
        // A kept file that found no memory is missing.
        if (status == OCTET_OK && result.n_kept == 0) status = OCTET_EMEM;
        box_result_free(&result);
    }
    assert_int_equal(status, OCTET_OK);
    assert_int_equal(count_entries("/proc/self/fd", ""), fds);
    assert_int_equal(count_entries("/tmp", "octet-box-"), temp);
}

static void test_names_every_layer(void **state) {
    (void)state;
    for (unsigned bit = 0; bit < BOX_LAYERS; bit++) {
        assert_non_null(box_layer_name(1u << bit));
        assert_non_null(box_layer_about(1u << bit));
    }
    assert_null(box_layer_name(1u << BOX_LAYERS));
}

/* ---- Who runs it ----------------------------------------------------------------------------- */

static int run_all(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tells_output_and_status),
        cmocka_unit_test(test_takes_files_and_gives_them_back),
        cmocka_unit_test(test_takes_much_input),
        cmocka_unit_test(test_refuses_paths_that_leave),
        cmocka_unit_test(test_tells_missing_programs),
        cmocka_unit_test(test_two_boxes_talk),
        cmocka_unit_test(test_ends_sleep_and_stop),
        cmocka_unit_test(test_counts_time_of_all_processes),
        cmocka_unit_test(test_ends_memory_bomb),
        cmocka_unit_test(test_caps_output),
        cmocka_unit_test(test_caps_disk),
        cmocka_unit_test(test_survives_closed_descriptors),
        cmocka_unit_test(test_can_be_cancelled),
        cmocka_unit_test(test_contains_fork_bomb),
        cmocka_unit_test(test_nothing_survives),
        cmocka_unit_test(test_reaches_no_network),
        cmocka_unit_test(test_reads_no_secrets),
        cmocka_unit_test(test_writes_nothing_outside),
        cmocka_unit_test(test_hurts_no_process),
        cmocka_unit_test(test_kernel_refuses),
        cmocka_unit_test(test_hides_no_memory),
        cmocka_unit_test(test_boxes_share_nothing),
        cmocka_unit_test(test_odd_files_are_no_trap),
        cmocka_unit_test(test_output_comes_as_it_is),
        cmocka_unit_test(test_leaves_nothing_behind),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* With what the kernel grants, then as if it granted no namespaces. */
static int run_both_ways(void) {
    box_probe_mask(0);
    const int n_failed = run_all();
    box_probe_mask(NAMESPACES);
    return n_failed + run_all();
}

static int run_as_ordinary_user(void) {
    const pid_t pid = fork();
    if (pid == 0) {
        if (setgid(ORDINARY_USER) != 0 || setuid(ORDINARY_USER) != 0) _exit(1);
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); // else its own /proc belongs to root
        setenv("HOME", "/nonexistent", 1);
        const int n_failed = run_both_ways();
        fflush(NULL);
        _exit(n_failed > 0);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(void) {
    read_evil_programs();
    signal(SIGPIPE, SIG_IGN);
    const int as_user = geteuid() == 0 ? run_as_ordinary_user() : 0;
    const int as_self = run_both_ways();
    for (size_t i = 0; i < n_evil; i++) {
        mem_free((void *)(uintptr_t)evil[i].path);
        mem_free((void *)(uintptr_t)evil[i].bytes);
    }
    if (as_user != 0 || as_self != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_when_too_weak),
        cmocka_unit_test(test_names_every_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
