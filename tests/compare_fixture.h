/* A run that nobody made: invented answers of models called fixtures, the same at each call, some
 * of them hostile to whoever shows them. */
#ifndef OCTET_TESTS_COMPARE_FIXTURE_H
#define OCTET_TESTS_COMPARE_FIXTURE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "compare/store.h"

enum { FIXTURE_MODELS = 3 };

/* One answer in the making. */
struct fixture_answer {
    struct buffer text;
    struct span spans[12];
    size_t n_spans;
    struct placeholder placeholders[2];
    struct reading reading;
};

static inline uint32_t fixture_draw(uint32_t *state, uint32_t n) {
    *state = *state * UINT32_C(1664525) + UINT32_C(1013904223);
    return (uint32_t)(((uint64_t)(*state >> 8) * n) >> 24);
}

static inline void fixture_span(struct fixture_answer *answer, enum span_kind kind,
                                const char *bytes, size_t n_bytes) {
    const size_t begin = answer->text.n;
    if (!buffer_append(&answer->text, bytes, n_bytes)) abort();
    answer->spans[answer->n_spans++] = (struct span){begin, answer->text.n, kind};
    size_t *const counts[] = {
        [SPAN_PROSE_BEFORE] = &answer->reading.prose_before_bytes,
        [SPAN_PROSE_AFTER] = &answer->reading.prose_after_bytes,
        [SPAN_CODE] = &answer->reading.code_bytes,
        [SPAN_COMMENT] = &answer->reading.comment_bytes,
        [SPAN_DROPPED] = &answer->reading.dropped_bytes,
    };
    *counts[kind] += n_bytes;
}

static inline void fixture_text(struct fixture_answer *answer, enum span_kind kind,
                                const char *text) {
    fixture_span(answer, kind, text, strlen(text));
}

/* What a page or a terminal must not fall for. */
static inline void fixture_hostile(struct fixture_answer *answer, size_t task) {
    static const char *const texts[] = {
        "</pre></article><script>window.forged = 1; document.title = 'forged'</script>\n",
        "<img src=x onerror=\"window.forged = 1\"><style>*{display:none}</style>\n",
        "\033]0;forged\007\033[2J\033[31mred\033[0m and a bell\007\n",
        "right to left: \xE2\x80\xAE"
        "gpj.exe\xE2\x80\xAC, hidden: a\xE2\x80\x8B"
        "b\n",
        "broken: \xFF\xFE\xC0\x80 and cut \xE2\x82",
        "]]></style></script><!-- <svg onload=alert(1)> ' \" & &amp; \r lone return\n",
    };
    fixture_text(answer, SPAN_PROSE_BEFORE, texts[task % 6]);
}

static inline void fixture_code(struct fixture_answer *answer, size_t task, uint32_t size) {
    char line[160];
    snprintf(line, sizeof line, "def solve_%zu(values, limit=%u):\n", task, size);
    fixture_text(answer, SPAN_CODE, line);
    fixture_text(answer, SPAN_COMMENT, "    # walk over the values once\n");
    struct buffer body = {0};
    for (uint32_t i = 0; i < size; i++) {
        snprintf(line, sizeof line,
                 "    if len(values) > %u and values[%u] < limit:\n"
                 "        limit = values[%u]\n",
                 i, i, i);
        if (!buffer_append_text(&body, line)) abort();
    }
    if (!buffer_append_text(&body, "    return limit\n")) abort();
    fixture_span(answer, SPAN_CODE, body.bytes, body.n);
    buffer_free(&body);
}

static inline void fixture_long_line(struct fixture_answer *answer) {
    enum { N = 1 << 20 };
    char *const line = malloc(N);
    if (!line) abort();
    memset(line, 'x', N);
    fixture_span(answer, SPAN_PROSE_AFTER, line, N);
    free(line);
}

static inline void fixture_write(struct fixture_answer *answer, size_t model, size_t task,
                                 enum funnel state, uint32_t size) {
    *answer = (struct fixture_answer){0};
    if (task % 9 == 4) fixture_hostile(answer, task / 9);
    if (model > 0) {
        fixture_text(answer, SPAN_PROSE_BEFORE,
                     "Sure! Here is a function that does what you asked for. It goes over the "
                     "values and keeps the smallest.\n\n");
    }
    fixture_text(answer, SPAN_PROSE_BEFORE, "```python\n");
    if (state != FUNNEL_NO_CODE) fixture_code(answer, task, size);
    if (state == FUNNEL_HOLLOW) {
        const size_t begin = answer->text.n + 4;
        fixture_text(answer, SPAN_COMMENT,
                     "    # TO"
                     "DO: the rest of the code goes here\n");
        answer->placeholders[0] = (struct placeholder){begin, answer->text.n - 1, "rest of"};
        answer->reading.n_placeholders = 1;
    }
    if (state != FUNNEL_TRUNCATED) fixture_text(answer, SPAN_PROSE_AFTER, "```\n");
    if (model == 2) {
        fixture_text(answer, SPAN_DROPPED, "solve_example = [1, 2, 3]\nprint(solve_example)\n");
        fixture_text(answer, SPAN_PROSE_AFTER, "\nLet me know whether I can help any further.\n");
    }
    if (model == 1 && task == 7) fixture_long_line(answer);
    struct reading *const reading = &answer->reading;
    reading->spans = answer->spans;
    reading->n_spans = answer->n_spans;
    reading->placeholders = answer->placeholders;
    reading->n_units = state != FUNNEL_NO_CODE;
    reading->n_hollow_units = state == FUNNEL_HOLLOW;
    reading->has_code = state != FUNNEL_NO_CODE;
    reading->truncated = state == FUNNEL_TRUNCATED;
    reading->parses = state > FUNNEL_DOES_NOT_PARSE;
    reading->has_entry = state > FUNNEL_ENTRY_MISSING;
    reading->length_ratio = 1 + 0.1 * (double)model;
}

/* Better models fail where worse ones do, mostly, as real ones do. */
static inline enum funnel fixture_state(size_t model, uint32_t hard, uint32_t luck) {
    static const uint32_t plus[] = {690, 655, 430}, base[] = {790, 770, 560};
    const uint32_t level = (hard * 4 + luck) / 5;
    if (level < plus[model]) return FUNNEL_PASSES_PLUS;
    if (level < base[model]) return FUNNEL_PASSES_BASE;
    static const enum funnel rest[] = {
        FUNNEL_FAILS,     FUNNEL_FAILS,          FUNNEL_FAILS,
        FUNNEL_HOLLOW,    FUNNEL_NO_CODE,        FUNNEL_TRUNCATED,
        FUNNEL_TIMES_OUT, FUNNEL_DOES_NOT_PARSE, FUNNEL_ENTRY_MISSING};
    return rest[luck % 9];
}

static inline const char *fixture_model(size_t model) {
    static const char *const names[] = {"fixture-a", "fixture-b", "fixture-c"};
    return names[model];
}

static inline void fixture_put(struct store *store, int64_t run, size_t model, const char *task,
                               size_t i, enum funnel state, uint32_t size) {
    static const double price[] = {9e-6, 1.5e-6, NAN};
    char text_reason[16], text_model[32], text_date[40];
    float gaps[12];
    struct fixture_answer answer;
    fixture_write(&answer, model, i, state, size);
    const int64_t completion = (int64_t)(answer.text.n < 9000 ? answer.text.n / 3 : 3000);
    snprintf(text_reason, sizeof text_reason, state == FUNNEL_TRUNCATED ? "length" : "stop");
    snprintf(text_model, sizeof text_model, "%s-0001", fixture_model(model));
    snprintf(text_date, sizeof text_date, "2024-01-02T03:%02u:%02uZ", (unsigned)(i / 60 % 60),
             (unsigned)(i % 60));
    for (size_t k = 0; k < 12; k++) gaps[k] = (float)(10 + 7 * model + k + i % 5) / 1000.0f;
    struct reply reply = {
        .text = answer.text.bytes,
        .n_bytes = answer.text.n,
        .finish_reason = text_reason,
        .model = text_model,
        .date = text_date,
        .usage = {120 + (int64_t)i % 40, model == 0 ? 64 : 0, completion, 0, model == 2},
        .ttft_s = 0.18 + 0.05 * (double)model + 0.002 * (double)(i % 17),
        .total_s = 0.5 + (double)completion / (40.0 + 30.0 * (double)model),
        .token_gaps_s = gaps,
        .n_gaps = 12};
    struct octet_err err;
    if (store_put_answer(store, run, fixture_model(model), task, 0, &reply, &err) != OCTET_OK) {
        abort();
    }
    char detail[] = "solve([3, 1, 2], 9): expected 1, found 9", output[] = "<b>Trace</b>back\n";
    const bool passes = state >= FUNNEL_PASSES_BASE;
    struct verdict verdict = {.base = passes                      ? GRADE_PASSES
                                      : state == FUNNEL_TIMES_OUT ? GRADE_TIMES_OUT
                                                                  : GRADE_FAILS,
                              .plus = state == FUNNEL_PASSES_PLUS ? GRADE_PASSES : GRADE_FAILS,
                              .has_plus = true,
                              .same_process = i % 50 == 3,
                              .n_tests = 20,
                              .n_passed = passes ? 20 : 7,
                              .detail = detail,
                              .output = output,
                              .seconds = 0.031,
                              .layers = BOX_USER_NS | BOX_NET_NS | BOX_LANDLOCK};
    const double cost =
        price[model] * (double)completion + price[model] / 3 * (double)reply.usage.prompt;
    const struct judged judged = {.state = state,
                                  .reading = &answer.reading,
                                  .verdict = state >= FUNNEL_ENTRY_MISSING ? &verdict : NULL,
                                  .cost = cost,
                                  .currency = isnan(cost) ? NULL : "USD"};
    if (store_put_judged(store, run, fixture_model(model), task, 0, &judged, &err) != OCTET_OK) {
        abort();
    }
    buffer_free(&answer.text);
}

static inline int64_t fixture_begin(struct store *store, const char *key) {
    char text_key[32], set[] = "fixture-set", version[] = "0123456789abcdef",
                       started[] = "2024-01-02T03:00:00Z";
    snprintf(text_key, sizeof text_key, "%s", key);
    struct store_run run,
        wanted = {.key = text_key,
                  .set = set,
                  .set_version = version,
                  .started = started,
                  .models = json_pack(
                      "[{s:s,s:s,s:s,s:{s:s,s:f,s:f,s:s}},{s:s,s:s,s:s,s:n},{s:s,s:s,s:s,s:s,s:n}]",
                      "name", "fixture-a", "kind", "openai", "host", "fixture.invalid", "price",
                      "currency", "USD", "input_per_million", 3.0, "output_per_million", 9.0,
                      "source", "invented for tests", "name", "fixture-b", "kind", "openai", "host",
                      "fixture.invalid", "price", "name", "fixture-c", "kind", "local", "host",
                      "local", "quantization", "Q4_K", "price"),
                  .settings = json_pack("{s:s,s:i,s:f,s:i,s:s}", "engine", "fixture", "max_tokens",
                                        1024, "temperature", 0.0, "seed", 7, "prompt",
                                        "Complete the code.\n<b>{prompt}</b>\n")};
    struct octet_err err;
    if (store_begin(store, &wanted, &run, &err) != OCTET_OK) abort();
    json_decref(wanted.models);
    json_decref(wanted.settings);
    const int64_t id = run.id;
    store_run_free(&run);
    return id;
}

/* Tasks "Fixture/0" and on; one in 80 is known to be wrong and left out. */
static inline void fixture_tasks(struct store *store, int64_t run, size_t n) {
    struct task *const tasks = calloc(n, sizeof *tasks);
    char(*const texts)[2][256] = calloc(n, sizeof *texts);
    char name[] = "fixture-set", version[] = "0123456789abcdef", license[] = "invented";
    if (!tasks || !texts) abort();
    for (size_t i = 0; i < n; i++) {
        snprintf(texts[i][0], sizeof texts[i][0], "Fixture/%zu", i);
        snprintf(texts[i][1], sizeof texts[i][1],
                 "def solve_%zu(values, limit=9):\n    \"\"\"Returns the smallest of the values, "
                 "or the limit.\n    >>> solve_%zu([3, 1, 2])\n    1\n    \"\"\"\n",
                 i, i);
        tasks[i] = (struct task){.id = texts[i][0],
                                 .language = "python",
                                 .prompt = texts[i][1],
                                 .entry = "solve",
                                 .shape = TASK_CODE,
                                 .excluded = i % 80 == 79 ? "its tests are wrong" : NULL};
    }
    const struct task_set set = {
        .name = name, .version = version, .license = license, .tasks = tasks, .n_tasks = n};
    struct octet_err err;
    if (store_put_tasks(store, run, &set, &err) != OCTET_OK) abort();
    free(tasks);
    free(texts);
}

/* A finished run of three models on N tasks; its number. */
static inline int64_t fixture_fill(struct store *store, const char *key, size_t n_tasks) {
    struct octet_err err;
    const int64_t run = fixture_begin(store, key);
    fixture_tasks(store, run, n_tasks);
    uint32_t state = 20240102;
    for (size_t i = 0; i < n_tasks; i++) {
        char task[32];
        snprintf(task, sizeof task, "Fixture/%zu", i);
        const uint32_t hard = fixture_draw(&state, 1000);
        for (size_t m = 0; m < FIXTURE_MODELS; m++) {
            const enum funnel result = fixture_state(m, hard, fixture_draw(&state, 1000));
            fixture_put(store, run, m, task, i, result, 2 + fixture_draw(&state, 9));
        }
    }
    if (store_finish(store, run, &err) != OCTET_OK) abort();
    return run;
}

#endif
