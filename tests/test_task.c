/* compare/task: reading published sets and octet's own files, and refusing what is not right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "compare/task.h"
#include "temp_folder.h"

#define DATA "tests/data/compare/"

static void open_set(const char *what, struct task_set *set) {
    struct octet_err err = {0};
    if (task_set_open(what, set, &err) != OCTET_OK) fail_msg("%s", err.message);
}

static void write_text(const char *path, const char *text) {
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* ---- Published sets -------------------------------------------------------------------------- */

static void test_reads_humaneval(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "HumanEval.jsonl", &set);
    assert_string_equal(set.name, "humaneval");
    assert_string_equal(set.license, "MIT");
    assert_string_equal(set.source, "openai/human-eval");
    assert_int_equal(strlen(set.version), 16);
    assert_int_equal(set.n_tasks, 12);
    const struct task *const task = &set.tasks[0];
    assert_string_equal(task->id, "HumanEval/0");
    assert_string_equal(task->language, "python");
    assert_string_equal(task->entry, "has_close_elements");
    assert_int_equal(task->shape, TASK_CODE);
    assert_int_equal(task->judge, JUDGE_CHECK);
    assert_null(task->suffix);
    assert_null(task->excluded);
    assert_memory_equal(task->reference, task->prompt, strlen(task->prompt));
    assert_true(strlen(task->reference) > strlen(task->prompt));
    task_set_close(&set);
}

static void test_reads_evalplus_packed(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "HumanEvalPlus-Mini.jsonl.gz", &set);
    assert_string_equal(set.name, "humanevalplus-mini");
    assert_string_equal(set.license, "Apache-2.0");
    assert_int_equal(set.n_tasks, 8);
    assert_int_equal(set.tasks[0].judge, JUDGE_CALLS);
    assert_string_equal(set.tasks[0].id, "HumanEval/0");
    task_set_close(&set);
}

static void test_reads_humaneval_x(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "humaneval_js.jsonl", &set);
    assert_string_equal(set.tasks[0].language, "javascript");
    assert_string_equal(set.tasks[0].entry, "hasCloseElements");
    assert_string_equal(set.tasks[4].id, "JavaScript/10");
    assert_string_equal(set.tasks[4].entry, "makePalindrome"); // not its helper
    assert_int_equal(set.tasks[0].judge, JUDGE_CHECK);
    assert_string_equal(set.tasks[7].id, "JavaScript/112");
    assert_non_null(set.tasks[7].excluded);
    task_set_close(&set);
}

static void test_reads_infilling(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "HumanEval-SingleLineInfilling.jsonl", &set);
    const struct task *const task = &set.tasks[0];
    assert_int_equal(task->shape, TASK_HOLE);
    const size_t n = strlen(task->reference), n_suffix = strlen(task->suffix);
    assert_true(n > n_suffix + strlen(task->prompt));
    assert_string_equal(task->reference + n - n_suffix, task->suffix);
    task_set_close(&set);
}

static void test_marks_bad_items_of_mbpp(void **state) {
    (void)state;
    struct task_set set;
    open_set(DATA "fixture-mbppplus.jsonl", &set);
    assert_string_equal(set.source, "evalplus/mbppplus_release");
    size_t n_excluded = 0;
    for (size_t i = 0; i < set.n_tasks; i++) n_excluded += set.tasks[i].excluded != NULL;
    assert_int_equal(n_excluded, 1);
    task_set_close(&set);
}

static void test_keeps_numbers_that_json_cannot_hold(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "numbers.jsonl");
    write_text(path,
               "{\"task_id\": \"HumanEval/1\", \"prompt\": \"\", \"canonical_solution\": \"x\","
               " \"entry_point\": \"f\", \"atol\": 1e-06, \"base_input\": [[NaN, -Infinity],"
               " [123456789012345678901234567890], [\"NaN 123456789012345678901\\\" \\ud800\"]],"
               " \"plus_input\": []}\n");
    struct task_set set;
    open_set(path, &set);
    const json_t *const evalplus = json_object_get(set.tasks[0].tests, "evalplus");
    const char *const row = json_string_value(json_object_get(evalplus, "row"));
    assert_non_null(strstr(row, "[NaN, -Infinity], [123456789012345678901234567890]"));
    task_set_close(&set);
    assert_true(folder_close(&folder));
}

/* ---- octet's own format ---------------------------------------------------------------------- */

static const char own_yaml[] =
    "id: own/1\n"
    "language: c\n"
    "prompt: >-\n  Write a program\n  that adds.\n"
    "reference: |\n  int main(void) { return 0; }\n"
    "wrong:\n  - |\n    int main(void) { return 1; }\n  - int\n"
    "limits: {time: 2.5, memory: 64, disk: 1}\n"
    "files: {\"a.txt\": \"1\\n\", b.txt: ''}\n"
    "cases:\n  - {args: [\"1\"], stdin: \"x\", expect: \"1\", status: 3}\n"
    "---\n"
    "{id: own/2, language: python, prompt: \"p\", entry: f, calls: [{args: [1, 2.5, null, true, "
    "-3, \"4\", 1e3], expect: null}]}\n";

static void test_reads_own_yaml(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "Own.yaml");
    write_text(path, own_yaml);
    struct task_set set;
    open_set(path, &set);
    assert_string_equal(set.name, "own");
    assert_string_equal(set.license, "unknown");
    assert_int_equal(set.n_tasks, 2);
    const struct task *const task = &set.tasks[0];
    assert_string_equal(task->prompt, "Write a program that adds.");
    assert_int_equal(task->shape, TASK_TEXT);
    assert_int_equal(task->judge, JUDGE_PROGRAM);
    assert_int_equal(task->n_wrong, 2);
    assert_string_equal(task->wrong[1], "int");
    assert_int_equal(task->n_files, 2);
    assert_string_equal(task->files[0].path, "a.txt");
    assert_int_equal(task->files[0].n_bytes, 2);
    assert_true(task->limits.wall_s > 2.4 && task->limits.wall_s < 2.6);
    assert_int_equal(task->limits.memory_bytes, 64000000);
    assert_null(task->entry);
    const json_t *const call = json_array_get(json_object_get(set.tasks[1].tests, "calls"), 0);
    char *const args = json_dumps(json_object_get(call, "args"), JSON_COMPACT);
    assert_string_equal(args, "[1,2.5,null,true,-3,\"4\",1000.0]");
    free(args);
    assert_true(json_is_null(json_object_get(call, "expect")));
    task_set_close(&set);
    assert_true(folder_close(&folder));
}

static void test_reads_a_folder_in_order_of_names(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    write_text(folder_file(&folder, "b.json"),
               "[{\"id\": \"b\", \"language\": \"shell\", \"prompt\": \"\","
               " \"cases\": [{\"expect\": \"\"}]}]");
    write_text(folder_file(&folder, "a.yaml"),
               "id: a\nlanguage: sql\nprompt: p\ncases: [{expect: \"\"}]\n");
    write_text(folder_file(&folder, "readme.txt"), "no task");
    struct task_set set;
    open_set(folder.path, &set);
    assert_int_equal(set.n_tasks, 2);
    assert_string_equal(set.tasks[0].id, "a");
    assert_string_equal(set.tasks[1].id, "b");
    task_set_close(&set);
    assert_true(folder_close(&folder));
}

static void test_version_follows_the_contents(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "a.yaml");
    struct task_set first, second, third;
    write_text(path, "{id: a, language: sql, prompt: p, cases: [{expect: x}]}\n");
    open_set(path, &first);
    open_set(path, &second);
    write_text(path, "{id: a, language: sql, prompt: p, cases: [{expect: y}]}\n");
    open_set(path, &third);
    assert_string_equal(first.version, second.version);
    assert_string_not_equal(first.version, third.version);
    task_set_close(&first);
    task_set_close(&second);
    task_set_close(&third);
    assert_true(folder_close(&folder));
}

/* ---- Built-in sets --------------------------------------------------------------------------- */

static size_t count_files(const char *path) {
    DIR *const folder = opendir(path);
    assert_non_null(folder);
    size_t n = 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        n += strstr(entry->d_name, ".yaml") != NULL;
    closedir(folder);
    return n;
}

static void test_built_in_sets_hold_every_file(void **state) {
    (void)state;
    size_t n_sets = 0;
    for (const char *name; (name = task_builtin(n_sets)); n_sets++) {
        char path[64];
        snprintf(path, sizeof path, "tasks/%s", name);
        struct task_set set;
        open_set(name, &set);
        assert_int_equal(set.n_tasks, count_files(path));
        assert_string_equal(set.license, "MIT");
        for (size_t i = 0; i < set.n_tasks; i++) {
            assert_non_null(set.tasks[i].reference);
            assert_true(set.tasks[i].n_wrong > 0);
        }
        task_set_close(&set);
    }
    assert_int_equal(n_sets, 2);
}

/* ---- What is not right ----------------------------------------------------------------------- */

struct refusal {
    const char *name, *text, *message;
};

static void expect_refusals(const struct refusal *cases, size_t n_cases) {
    for (size_t i = 0; i < n_cases; i++) {
        struct folder folder;
        folder_open(&folder);
        const char *const path = folder_file(&folder, cases[i].name);
        write_text(path, cases[i].text);
        struct task_set set;
        struct octet_err err = {0};
        assert_int_not_equal(task_set_open(path, &set, &err), OCTET_OK);
        assert_string_equal(err.message + strlen(folder.path) + 1, cases[i].message);
        assert_true(folder_close(&folder));
    }
}

static void test_names_row_and_field_of_a_row_that_is_wrong(void **state) {
    (void)state;
    static const struct refusal cases[] = {
        {"a.jsonl", "{\"task_id\": \"HumanEval/0\", \"canonical_solution\": \"\"}",
         "a.jsonl: row 1: field 'prompt': expected a text, found nothing"},
        {"a.jsonl", "\n\n{\"task_id\": 7, \"canonical_solution\": \"\", \"prompt\": \"\"}",
         "a.jsonl: row 3: field 'task_id': expected a text, found a number"},
        {"a.jsonl", "[1]", "a.jsonl: row 1: expected a JSON object, found a list"},
        {"a.jsonl", "{oops", "a.jsonl: row 1: expected a JSON object, found no JSON"},
        {"a.jsonl", "{\"question\": 1}",
         "a.jsonl: row 1: field 'canonical_solution': expected a text, found nothing"},
        {"a.jsonl", "{\"task_id\": \"Basic/1\", \"prompt\": \"\", \"declaration\": \"\"}",
         "a.jsonl: row 1: field 'task_id': expected a language and a number such as "
         "\"JavaScript/0\", found \"Basic/1\""},
        {"a.jsonl", "{\"task_id\": \"HumanEval/0\", \"prompt\": \"\", \"base_input\": 3}",
         "a.jsonl: row 1: field 'base_input': expected a list, found a number"},
        {"a.jsonl", "{\"task_id\": \"a\\u0000b\", \"canonical_solution\": \"\"}",
         "a.jsonl: row 1: field 'task_id': expected a text, found one with a NUL byte"},
        {"a.jsonl",
         "{\"id\": \"a\", \"language\": \"python\", \"prompt\": \"p\", \"entry\": \"f\", "
         "\"calls\": [{\"args\": [], \"expect\": 123456789012345678901234567890}]}",
         "a.jsonl: row 1: expected a JSON object, found no JSON"},
        {"a.jsonl",
         "{\"task_id\": \"HumanEval/0\", \"prompt\": \"\", \"base_input\": [], "
         "\"plus_input\": []}",
         "a.jsonl: row 1: field 'atol': expected a number, found nothing"},
        {"a.jsonl", "{\"task_id\": \"x\", \"prompt\": \"\xff\", \"canonical_solution\": \"",
         "a.jsonl: row 1: expected a JSON object, found no JSON"},
        {"a.json", "{", "a.json: expected tasks as JSON, found no JSON"},
        {"a.txt", "", "a.txt: expected .yaml, .json or .jsonl (each also .gz)"},
    };
    expect_refusals(cases, sizeof cases / sizeof cases[0]);
}

static void test_names_the_line_of_yaml_that_is_wrong(void **state) {
    (void)state;
    static const struct refusal cases[] = {
        {"a.yaml", "id: a\nid: b\n", "a.yaml: line 2: a key is there twice"},
        {"a.yaml", "a: &x [1]\nb: *x\n", "a.yaml: line 2: aliases are not supported"},
        {"a.yaml", "a: &x [*x]\n", "a.yaml: line 1: aliases are not supported"},
        {"a.yaml", "a: &x {<<: *x}\n", "a.yaml: line 1: aliases are not supported"},
        {"a.yaml", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
         "a.yaml: line 2: aliases are not supported"},
        {"a.yaml", "a: !!str 1\n", "a.yaml: line 1: tags are not supported"},
        {"a.yaml", "a: 9223372036854775808\n", "a.yaml: line 1: an integer of more than 64 bits"},
        {"a.yaml", "a: -1e999\n", "a.yaml: line 1: a number that is too large"},
        {"a.yaml", "\"a\\0b\": 1\n", "a.yaml: line 1: a key holds a NUL byte"},
        {"a.yaml", "a: [1\nb: 2\n", "a.yaml: line 2: did not find expected ',' or ']'"},
        {"a.yaml", "? [1]\n: 2\n", "a.yaml: line 1: a key is not a text"},
        {"a.yaml", "# nothing\n", "a.yaml: no tasks in it"},
    };
    expect_refusals(cases, sizeof cases / sizeof cases[0]);
}

static void test_names_row_and_field_of_a_task_that_is_wrong(void **state) {
    (void)state;
    static const struct refusal cases[] = {
        {"a.yaml", "id: a\nlanguage: cobol\nprompt: p\ncases: [{expect: a}]",
         "a.yaml: row 1: field 'language': expected python, c, cpp, javascript, go, java, rust, "
         "sql "
         "or shell, found \"cobol\""},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\n",
         "a.yaml: row 1: exactly one of 'calls', 'cases', 'check' and 'test' is needed"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: [{expect: 42}]",
         "a.yaml: row 1: field 'expect': expected a text, found a number"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: [{args: [1], expect: a}]",
         "a.yaml: row 1: field 'args': expected a list of texts, found one with other items"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: [{stdin: a}]",
         "a.yaml: row 1: a case expects nothing"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: []",
         "a.yaml: row 1: field 'cases': expected a list, found nothing"},
        {"a.yaml", "id: a\nlanguage: python\nprompt: p\nentry: f\ncalls: [{args: []}]",
         "a.yaml: row 1: a call needs either 'expect' or 'raises'"},
        {"a.yaml", "id: a\nlanguage: python\nprompt: p\ncalls: [{args: [], expect: 1}]",
         "a.yaml: row 1: 'entry' is needed with 'calls' and 'test'"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: [{expect: a}]\ncolour: red",
         "a.yaml: row 1: field 'colour' is not known"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nlimits: {time: -1}\ncases: [{expect: a}]",
         "a.yaml: row 1: field 'time': expected a number of at least 0, found a number"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nshape: hole\ncases: [{expect: a}]",
         "a.yaml: row 1: 'suffix' is needed with shape 'hole', and only there"},
        {"a.yaml", "[{id: a, language: c, prompt: p, cases: [{expect: a}]}]",
         "a.yaml: row 1: a task is no mapping"},
        {"a.yaml",
         "{id: a, language: c, prompt: p, cases: [{expect: a}]}\n---\n"
         "{id: a, language: c, prompt: p, cases: [{expect: a}]}",
         "a.yaml: row 2: field 'id': \"a\" is there twice"},
        {"a.yaml", "id: \"a\\0b\"\nlanguage: c\nprompt: p\n",
         "a.yaml: row 1: field 'id': expected a text, found one with a NUL byte"},
        {"a.yaml", "id: ''\nlanguage: c\nprompt: p\ncases: [{expect: a}]",
         "a.yaml: row 1: field 'id' is empty"},
        {"a.yaml", "id: [a]\nlanguage: c\nprompt: p\n",
         "a.yaml: row 1: field 'id': expected a text, found a list"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nfiles: {../../etc/passwd: x}\n",
         "a.yaml: row 1: field 'files': expected a mapping of texts by paths beneath the folder, "
         "found one with other items"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nfiles: {/etc/passwd: x}\n",
         "a.yaml: row 1: field 'files': expected a mapping of texts by paths beneath the folder, "
         "found one with other items"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nfiles: {a: 7}\n",
         "a.yaml: row 1: field 'files': expected a mapping of texts by paths beneath the folder, "
         "found one with other items"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nfiles: [a]\n",
         "a.yaml: row 1: field 'files': expected a mapping of texts by paths beneath the folder, "
         "found a list"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncheck: c\nkeep: [a/../../b]\n",
         "a.yaml: row 1: field 'keep': expected a list of paths beneath the folder, found one with "
         "other items"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: [{expect_files: {./a: x}}]\n",
         "a.yaml: row 1: field 'expect_files': expected a mapping of texts by paths beneath the "
         "folder, found one with other items"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncheck: c\nsizes: [1, 2.5]\n",
         "a.yaml: row 1: field 'sizes': expected a list of integers, found one with other items"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: {expect: a}\n",
         "a.yaml: row 1: field 'cases': expected a list, found a mapping"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncases: [a]\n",
         "a.yaml: row 1: field 'cases': expected a mapping, found a text"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nentry: f\ntest: t\n",
         "a.yaml: row 1: 'calls' and 'test' are for python and javascript"},
        {"a.yaml", "id: a\nlanguage: python\nprompt: p\nentry: f\ntest: t\n",
         "a.yaml: row 1: 'reference' is needed"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nshape: round\ncases: [{expect: a}]\n",
         "a.yaml: row 1: field 'shape': expected text, code or hole, found \"round\""},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\ncalls: [{args: null, expect: 1}]\n",
         "a.yaml: row 1: 'entry' is needed with 'calls' and 'test'"},
        {"a.yaml", "id: a\nlanguage: python\nprompt: p\nentry: f\ncalls: [{args: null}]\n",
         "a.yaml: row 1: field 'args': expected a list, found null"},
        {"a.yaml", "id: a\nlanguage: c\nprompt: p\nordered: maybe\ncases: [{expect: a}]\n",
         "a.yaml: row 1: field 'ordered': expected true or false, found a text"},
    };
    expect_refusals(cases, sizeof cases / sizeof cases[0]);
}

static void pack_text(const char *path, const char *text, size_t n_bytes, size_t n_times) {
    gzFile file = gzopen(path, "wb9");
    assert_non_null(file);
    for (size_t i = 0; i < n_times; i++)
        assert_int_equal(gzwrite(file, text, (unsigned)n_bytes), (int)n_bytes);
    assert_int_equal(gzclose(file), Z_OK);
}

static void expect_refused(const char *path, const char *message) {
    struct task_set set;
    struct octet_err err = {0};
    assert_int_equal(task_set_open(path, &set, &err), OCTET_EFORMAT);
    if (!strstr(err.message, message)) fail_msg("%s", err.message);
}

static void test_refuses_packed_files_that_are_not_whole(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "a.yaml.gz");
    const char *const text = "{id: a, language: c, prompt: p, cases: [{expect: a}]}\n";
    pack_text(path, text, strlen(text), 1);
    struct task_set set;
    open_set(path, &set);
    task_set_close(&set);
    struct stat packed;
    assert_int_equal(stat(path, &packed), 0);
    for (off_t n = packed.st_size - 1; n > 2; n--) {
        assert_int_equal(truncate(path, n), 0);
        struct octet_err err = {0};
        assert_int_not_equal(task_set_open(path, &set, &err), OCTET_OK);
    }
    // Every bit matters to the checksum.
    pack_text(path, text, strlen(text), 1);
    FILE *const file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, -8, SEEK_END), 0);
    fputc('x', file);
    assert_int_equal(fclose(file), 0);
    struct octet_err err = {0};
    assert_int_equal(task_set_open(path, &set, &err), OCTET_EIO);
    assert_true(folder_close(&folder));
}

static void test_refuses_packed_files_that_unfold_without_end(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "a.jsonl.gz");
    static char piece[1 << 20];
    memset(piece, ' ', sizeof piece);
    pack_text(path, piece, sizeof piece, 65);
    expect_refused(path, "more than 64 MiB of tasks");
    memset(piece, 0, sizeof piece);
    pack_text(path, piece, sizeof piece, 65);
    expect_refused(path, "holds NUL bytes");
    assert_true(folder_close(&folder));
}

static void test_reads_and_refuses_long_lines(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "a.jsonl");
    static const char begin[] = "{\"id\": \"a\", \"language\": \"c\", \"cases\": [{\"expect\": "
                                "\"\"}], \"prompt\": \"";
    char *const text = calloc(1, N + sizeof begin + 4);
    assert_non_null(text);
    memset(text, 'x', N + sizeof begin);
    memcpy(text, begin, sizeof begin - 1);
    write_text(path, text);
    expect_refused(path, "row 1: expected a JSON object, found no JSON");
    memcpy(text + N, "\"}\n", 4);
    write_text(path, text);
    struct task_set set;
    open_set(path, &set);
    assert_int_equal(strlen(set.tasks[0].prompt), N - (sizeof begin - 1));
    task_set_close(&set);
    memset(text, '[', N);
    write_text(path, text);
    expect_refused(path, "found no JSON");
    free(text);
    assert_true(folder_close(&folder));
}

static void test_refuses_what_is_not_there(void **state) {
    (void)state;
    struct task_set set;
    struct octet_err err = {0};
    assert_int_equal(task_set_open("no-such-set", &set, &err), OCTET_EIO);
    assert_non_null(strstr(err.message, "no-such-set: neither a built-in set"));
}

static void test_finds_pulled_sets(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    char path[160];
    snprintf(path, sizeof path, "%s/octet", folder.path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/octet/tasks", folder.path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/octet/tasks/mine.yaml", folder.path);
    write_text(path, own_yaml);
    char *const before = getenv("XDG_DATA_HOME") ? strdup(getenv("XDG_DATA_HOME")) : NULL;
    setenv("XDG_DATA_HOME", folder.path, 1);
    struct task_set set;
    open_set("mine", &set);
    assert_int_equal(set.n_tasks, 2);
    task_set_close(&set);
    if (before)
        setenv("XDG_DATA_HOME", before, 1);
    else
        unsetenv("XDG_DATA_HOME");
    free(before);
    unlink(path);
    snprintf(path, sizeof path, "%s/octet/tasks", folder.path);
    rmdir(path);
    snprintf(path, sizeof path, "%s/octet", folder.path);
    rmdir(path);
    assert_true(folder_close(&folder));
}

static void test_refuses_deep_nesting(void **state) {
    (void)state;
    struct folder folder;
    folder_open(&folder);
    const char *const path = folder_file(&folder, "deep.yaml");
    char text[2048] = "";
    memset(text, '[', 500);
    write_text(path, text);
    struct task_set set;
    struct octet_err err = {0};
    assert_int_equal(task_set_open(path, &set, &err), OCTET_EFORMAT);
    assert_non_null(strstr(err.message, "nested too deep"));
    assert_true(folder_close(&folder));
}

static void test_survives_every_failed_allocation(void **state) {
    (void)state;
    static const char *const sets[] = {DATA "HumanEval-SingleLineInfilling.jsonl",
                                       DATA "HumanEvalPlus-Mini.jsonl.gz", DATA "attacks.yaml"};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct octet_err err = {0};
        enum octet_status status = OCTET_EMEM;
        for (size_t after = 0; status != OCTET_OK; after++) {
            struct task_set set;
            mem_fail_after(after);
            status = task_set_open(sets[i], &set, &err);
            mem_fail_after(SIZE_MAX);
            if (status == OCTET_OK)
                task_set_close(&set);
            else if (status != OCTET_EMEM)
                fail_msg("allocation %zu: %s", after, err.message);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_humaneval),
        cmocka_unit_test(test_reads_evalplus_packed),
        cmocka_unit_test(test_reads_humaneval_x),
        cmocka_unit_test(test_reads_infilling),
        cmocka_unit_test(test_marks_bad_items_of_mbpp),
        cmocka_unit_test(test_keeps_numbers_that_json_cannot_hold),
        cmocka_unit_test(test_reads_own_yaml),
        cmocka_unit_test(test_reads_a_folder_in_order_of_names),
        cmocka_unit_test(test_version_follows_the_contents),
        cmocka_unit_test(test_built_in_sets_hold_every_file),
        cmocka_unit_test(test_names_row_and_field_of_a_row_that_is_wrong),
        cmocka_unit_test(test_names_the_line_of_yaml_that_is_wrong),
        cmocka_unit_test(test_names_row_and_field_of_a_task_that_is_wrong),
        cmocka_unit_test(test_refuses_packed_files_that_are_not_whole),
        cmocka_unit_test(test_refuses_packed_files_that_unfold_without_end),
        cmocka_unit_test(test_reads_and_refuses_long_lines),
        cmocka_unit_test(test_refuses_what_is_not_there),
        cmocka_unit_test(test_finds_pulled_sets),
        cmocka_unit_test(test_refuses_deep_nesting),
        cmocka_unit_test(test_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
