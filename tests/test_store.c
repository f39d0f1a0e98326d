/* compare/store: what is put comes back, whole and unchanged, also after accidents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sqlite3.h>
#include <signal.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "compare_fixture.h"
#include "temp_folder.h"

struct place {
    struct folder folder;
    const char *path;
    struct store *store;
    int64_t run;
};

static void place_open(struct place *place) {
    struct octet_err err;
    folder_open(&place->folder);
    place->path = folder_file(&place->folder, "runs.db");
    folder_file(&place->folder, "runs.db-wal");
    folder_file(&place->folder, "runs.db-shm");
    assert_int_equal(store_open(place->path, &place->store, &err), OCTET_OK);
    place->run = fixture_begin(place->store, "key");
    fixture_tasks(place->store, place->run, 3);
}

static void place_close(struct place *place) {
    store_close(place->store);
    assert_true(folder_close(&place->folder));
}

static struct reply sample_reply(char *text, size_t n_bytes) {
    static char reason[] = "stop", model[] = "fixture-0001", date[] = "2024-01-02T03:04:05Z";
    static float gaps[] = {0.010f, 0.0125f};
    return (struct reply){.text = text,
                          .n_bytes = n_bytes,
                          .finish_reason = reason,
                          .model = model,
                          .date = date,
                          .usage = {10, -1, 20, 5, true},
                          .lost = {3, 0, 4, 0, true},
                          .ttft_s = 0.25,
                          .total_s = NAN,
                          .token_gaps_s = gaps,
                          .n_gaps = 2,
                          .n_retries = 1};
}

static enum octet_status put(struct place *place, const char *task, struct reply *reply,
                             struct octet_err *err) {
    return store_put_answer(place->store, place->run, "fixture-a", task, 0, reply, err);
}

static void test_gives_back_an_answer_of_any_bytes(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    place_open(&place);
    char bytes[257];
    for (int i = 0; i < 257; i++) bytes[i] = (char)i;
    struct reply reply = sample_reply(bytes, sizeof bytes), back;
    bool found;
    assert_int_equal(put(&place, "Fixture/1", &reply, &err), OCTET_OK);
    assert_int_equal(
        store_get_answer(place.store, place.run, "fixture-a", "Fixture/1", 0, &found, &back, &err),
        OCTET_OK);
    assert_true(found);
    assert_int_equal(back.n_bytes, sizeof bytes);
    assert_memory_equal(back.text, bytes, sizeof bytes);
    assert_int_equal(back.text[back.n_bytes], '\0');
    assert_string_equal(back.finish_reason, "stop");
    assert_string_equal(back.model, "fixture-0001");
    assert_string_equal(back.date, "2024-01-02T03:04:05Z");
    assert_int_equal(back.usage.prompt, 10);
    assert_int_equal(back.usage.cached, -1);
    assert_int_equal(back.usage.completion, 20);
    assert_true(back.usage.estimated);
    assert_int_equal(back.lost.completion, 4);
    assert_true(back.ttft_s > 0.24 && back.ttft_s < 0.26);
    assert_true(isnan(back.total_s));
    assert_int_equal(back.n_gaps, 2);
    assert_memory_equal(back.token_gaps_s, reply.token_gaps_s, 2 * sizeof(float));
    assert_null(back.error);
    reply_free(&back);
    place_close(&place);
}

static void test_keeps_a_paid_answer_and_replaces_an_error(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    bool found;
    place_open(&place);
    char text[] = "first", other[] = "second", nothing[] = "", error[] = "HTTP 500";
    struct reply failed = sample_reply(nothing, 0), reply = sample_reply(text, 5), back;
    failed.error = error;
    assert_int_equal(put(&place, "Fixture/0", &failed, &err), OCTET_OK);
    assert_int_equal(
        store_get_answer(place.store, place.run, "fixture-a", "Fixture/0", 0, &found, &back, &err),
        OCTET_OK);
    assert_false(found);
    assert_int_equal(put(&place, "Fixture/0", &reply, &err), OCTET_OK);
    reply = sample_reply(other, 6);
    assert_int_equal(put(&place, "Fixture/0", &reply, &err), OCTET_EARG);
    assert_int_equal(put(&place, "Fixture/0", &failed, &err), OCTET_EARG);
    assert_int_equal(
        store_get_answer(place.store, place.run, "fixture-a", "Fixture/0", 0, &found, &back, &err),
        OCTET_OK);
    assert_true(found);
    assert_string_equal(back.text, "first");
    assert_int_equal(back.lost.completion, 8); // of both attempts
    reply_free(&back);
    place_close(&place);
}

static void test_an_answer_outlives_a_killed_program(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    struct reply back;
    bool found;
    place_open(&place);
    store_close(place.store);
    const pid_t child = fork();
    if (child == 0) {
        char text[] = "paid";
        struct reply reply = sample_reply(text, 4);
        if (store_open(place.path, &place.store, &err) != OCTET_OK) _exit(1);
        if (put(&place, "Fixture/2", &reply, &err) != OCTET_OK) _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(store_open(place.path, &place.store, &err), OCTET_OK);
    assert_int_equal(
        store_get_answer(place.store, place.run, "fixture-a", "Fixture/2", 0, &found, &back, &err),
        OCTET_OK);
    assert_true(found);
    reply_free(&back);
    place_close(&place);
}

static void test_goes_on_with_an_unfinished_run_only(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    place_open(&place);
    assert_int_equal(fixture_begin(place.store, "key"), place.run);
    assert_int_not_equal(fixture_begin(place.store, "other key"), place.run);
    assert_int_equal(store_finish(place.store, place.run, &err), OCTET_OK);
    assert_int_not_equal(fixture_begin(place.store, "key"), place.run);
    struct store_run run;
    assert_int_equal(store_get_run(place.store, place.run, &run, &err), OCTET_OK);
    assert_true(run.finished);
    assert_int_equal(json_array_size(run.models), 3);
    store_run_free(&run);
    assert_int_equal(store_get_run(place.store, 99, &run, &err), OCTET_EARG);
    json_t *list;
    assert_int_equal(store_list(place.store, &list, &err), OCTET_OK);
    assert_int_equal(json_array_size(list), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "tasks")), 3);
    json_decref(list);
    place_close(&place);
}

static void test_refuses_names_the_run_does_not_have(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    place_open(&place);
    char text[] = "x";
    struct reply reply = sample_reply(text, 1);
    assert_int_equal(put(&place, "Fixture/77", &reply, &err), OCTET_EARG);
    assert_non_null(strstr(err.message, "Fixture/77"));
    const struct reading reading = {0};
    const struct judged judged = {.reading = &reading, .cost = NAN};
    assert_int_equal(
        store_put_judged(place.store, place.run, "fixture-a", "Fixture/0", 0, &judged, &err),
        OCTET_EARG);
    char key[] = "twins", set[] = "s", date[] = "d";
    struct store_run run, wanted = {.key = key,
                                    .set = set,
                                    .set_version = set,
                                    .started = date,
                                    .models = json_pack("[{s:s},{s:s}]", "name", "a", "name", "a"),
                                    .settings = json_object()};
    assert_int_equal(store_begin(place.store, &wanted, &run, &err), OCTET_EARG);
    assert_non_null(strstr(err.message, "two models"));
    json_decref(wanted.models);
    json_decref(wanted.settings);
    place_close(&place);
}

static void test_moves_spans_where_bytes_become_replacement_characters(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    place_open(&place);
    char text[] = "a\xFF"
                  "b\xC0\xC1"
                  "code"; // code begins at byte 5
    struct reply reply = sample_reply(text, strlen(text));
    assert_int_equal(put(&place, "Fixture/0", &reply, &err), OCTET_OK);
    struct span spans[] = {{0, 5, SPAN_PROSE_BEFORE}, {5, 9, SPAN_CODE}};
    struct placeholder mark = {5, 9, "ellipsis"};
    const struct reading reading = {.spans = spans,
                                    .n_spans = 2,
                                    .placeholders = &mark,
                                    .n_placeholders = 1,
                                    .has_code = true,
                                    .length_ratio = NAN};
    const struct judged judged = {.state = FUNNEL_FAILS, .reading = &reading, .cost = NAN};
    for (int i = 0; i < 2; i++) { // the second replaces the first
        assert_int_equal(
            store_put_judged(place.store, place.run, "fixture-a", "Fixture/0", 0, &judged, &err),
            OCTET_OK);
    }
    json_t *document;
    assert_int_equal(store_export(place.store, place.run, &document, &err), OCTET_OK);
    const json_t *const answer = json_array_get(json_object_get(document, "answers"), 0);
    const char *const clean = json_string_value(json_object_get(answer, "text"));
    assert_string_equal(clean, "a\xEF\xBF\xBD"
                               "b\xEF\xBF\xBD\xEF\xBF\xBD"
                               "code");
    const json_t *const span =
        json_array_get(json_object_get(json_object_get(answer, "judged"), "spans"), 1);
    assert_int_equal(json_integer_value(json_array_get(span, 0)), strlen(clean) - 4);
    assert_int_equal(json_integer_value(json_array_get(span, 1)), strlen(clean));
    assert_string_equal(json_string_value(json_array_get(span, 2)), "code");
    json_decref(document);
    place_close(&place);
}

static void test_exports_verdicts_with_their_answers(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    place_open(&place);
    const int64_t run = fixture_fill(place.store, "filled", 12);
    json_t *document;
    assert_int_equal(store_export(place.store, run, &document, &err), OCTET_OK);
    const json_t *const answers = json_object_get(document, "answers");
    assert_int_equal(json_array_size(answers), 36);
    size_t i;
    const json_t *answer;
    json_array_foreach(answers, i, answer) {
        const json_t *const judged = json_object_get(answer, "judged");
        const char *const name = json_string_value(json_object_get(judged, "state"));
        const json_t *const verdict = json_object_get(judged, "verdict");
        const bool passes = strncmp(name, "passes", 6) == 0;
        if (json_is_object(verdict)) {
            assert_int_equal(passes, json_integer_value(json_object_get(verdict, "passed")) == 20);
        } else {
            assert_false(passes);
        }
    }
    json_decref(document);
    place_close(&place);
}

/* ---- Files that are no good ------------------------------------------------------------------ */

static enum octet_status open_again(const char *path, struct octet_err *err) {
    struct store *store;
    const enum octet_status status = store_open(path, &store, err);
    assert_true((status == OCTET_OK) == (store != NULL));
    store_close(store);
    if (status != OCTET_OK) assert_null(strchr(err->message, '\n'));
    return status;
}

static void run_sql(const char *path, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_refuses_a_newer_schema_and_other_files(void **state) {
    (void)state;
    struct place place;
    struct octet_err err;
    place_open(&place);
    store_close(place.store);
    place.store = NULL;
    assert_int_equal(open_again(place.path, &err), OCTET_OK);
    run_sql(place.path, "PRAGMA user_version = 99");
    assert_int_equal(open_again(place.path, &err), OCTET_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "99"));
    const char *const other = folder_file(&place.folder, "other.db");
    const char *const text = folder_file(&place.folder, "text.db");
    run_sql(other, "CREATE TABLE theirs (x)");
    assert_int_equal(open_again(other, &err), OCTET_EFORMAT);
    FILE *const file = fopen(text, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) fputs("this is no database\n", file);
    fclose(file);
    assert_int_equal(open_again(text, &err), OCTET_EFORMAT);
    assert_int_equal(open_again("/nowhere/at/all.db", &err), OCTET_EIO);
    place_close(&place);
}

static void export_all(const char *path) {
    struct store *store;
    struct octet_err err;
    json_t *document = NULL;
    if (store_open(path, &store, &err) != OCTET_OK) return;
    for (int64_t run = 1; run <= 2; run++) {
        if (store_export(store, run, &document, &err) == OCTET_OK) json_decref(document);
    }
    store_close(store);
}

static void test_survives_a_damaged_file(void **state) {
    (void)state;
    struct place place;
    place_open(&place);
    fixture_fill(place.store, "filled", 8);
    store_close(place.store); // the log is now in the file
    place.store = NULL;
    static char bytes[1 << 20];
    FILE *file = fopen(place.path, "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    const char *const damaged = folder_file(&place.folder, "damaged.db");
    folder_file(&place.folder, "damaged.db-wal");
    folder_file(&place.folder, "damaged.db-shm");
    uint32_t random = 1;
    for (int i = 0; i < 60; i++) {
        file = fopen(damaged, "wb");
        assert_non_null(file);
        const size_t keep = i % 3 == 0 ? fixture_draw(&random, (uint32_t)n) : n;
        assert_int_equal(fwrite(bytes, 1, keep, file), keep);
        for (int k = 0; k < 20 && keep > 200; k++) {
            fseek(file, 100 + (long)fixture_draw(&random, (uint32_t)keep - 100), SEEK_SET);
            fputc((int)fixture_draw(&random, 256), file);
        }
        fclose(file);
        export_all(damaged);
    }
    place_close(&place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gives_back_an_answer_of_any_bytes),
        cmocka_unit_test(test_keeps_a_paid_answer_and_replaces_an_error),
        cmocka_unit_test(test_an_answer_outlives_a_killed_program),
        cmocka_unit_test(test_goes_on_with_an_unfinished_run_only),
        cmocka_unit_test(test_refuses_names_the_run_does_not_have),
        cmocka_unit_test(test_moves_spans_where_bytes_become_replacement_characters),
        cmocka_unit_test(test_exports_verdicts_with_their_answers),
        cmocka_unit_test(test_refuses_a_newer_schema_and_other_files),
        cmocka_unit_test(test_survives_a_damaged_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
