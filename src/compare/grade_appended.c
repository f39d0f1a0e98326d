/* Judging by tests that are compiled together with the answer, which languages without calls
 * between processes leave no way around. The verdict needs a successful end and, last on standard
 * output, a random word that the tests' own main writes; words by which an answer could reach that
 * end or bend a comparison are refused. That is weaker than two boxes, and the verdict says so. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/grade_impl.h"
#include "compare/json_text.h"

static const double run_s = 20;

/* ---- Refused words --------------------------------------------------------------------------- */

/* With what would hide such a word from a reader as simple as bare_code. */
static const char *const cpp_words[] = {
    "exit",
    "_exit",
    "_Exit",
    "quick_exit",
    "atexit",
    "on_exit",
    "main",
    "longjmp",
    "constructor",
    "destructor",
    "init_array",
    "asm",
    "__asm__",
    "syscall",
    "fork",
    "vfork",
    "execve",
    "execv",
    "execl",
    "system",
    "popen",
    "dlopen",
    "operator==",
    "operator!=",
    "operator!",
    "__FILE__",
    "##",
    "\\",
    "R\"",
    "u8R\"",
    "uR\"",
    "UR\"",
    "LR\"",
    "%:",
    "__asm",
    "execvp",
    "execvpe",
    "execlp",
    "execle",
    "fexecve",
    "execveat",
    "posix_spawn",
    "posix_spawnp",
    "siglongjmp",
    "pthread_exit",
    "thrd_exit",
    "operator not",
    "__assert",
    "at_quick_exit",
    "__assert_fail",
    "pthread_cancel",
    "__builtin_exit",
    "__destructor__",
    "__builtin__exit",
    "__builtin__Exit",
    "__constructor__",
    "operator not_eq",
    "__builtin_longjmp",
    NULL,
};
static const char *const java_words[] = {
    "exit",          "halt",   "Runtime", "ProcessBuilder",     "Main", "Octet", "reflect",
    "equals(Object", "Unsafe", "setOut",  "setSecurityManager", "\\",   "\"\"",  NULL,
};
static const char *const rust_words[] = {
    "exit",      "main",         "PartialEq", "macro_rules", "asm",          "libc",
    "no_mangle", "link_section", "extern",    "include!",    "include_str!", "include_bytes!",
    "r#",        "r\"",          "br\"",      "br#",         NULL,
};

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* Past the comment that begins at C. In Rust they nest. */
static const char *skip_comment(const char *c, bool rust) {
    if (c[1] == '/') return c + strcspn(c, "\n");
    size_t depth = 0;
    do {
        if (c[0] == '/' && c[1] == '*' && (rust || depth == 0)) {
            depth++;
            c += 2;
        } else if (c[0] == '*' && c[1] == '/') {
            depth--;
            c += 2;
        } else {
            c++;
        }
    } while (*c && depth > 0);
    return c;
}

/* Past the text or character that begins at C. In Rust texts may hold ends of lines. */
static const char *skip_quoted(const char *c, bool rust) {
    const char quote = *c++;
    while (*c && *c != quote && (*c != '\n' || (rust && quote == '"'))) {
        c += *c == '\\' && c[1];
        c++;
    }
    return c + (*c == quote);
}

/* A quote in front of a lifetime, which begins no character. */
static bool is_lifetime(const char *c) {
    if (c[1] == '\\' || c[1] == '\0') return false;
    const char *end = c + 2;
    while (((unsigned char)*end & 0xc0) == 0x80) end++;
    return *end != '\'';
}

/* The length of the number that begins at C; quotes part its digits in C++. */
static size_t number_length(const char *c) {
    size_t n = 1;
    while (is_word(c[n]) || (c[n] == '\'' && is_word(c[n + 1]))) n++;
    return n;
}

/* The code without comments, texts and the blanks that no word needs. */
static char *bare_code(const char *code, bool rust) {
    char *const out = mem_alloc(strlen(code) + 1);
    if (!out) return NULL;
    size_t n = 0;
    bool blank = false;
    for (const char *c = code; *c;) {
        if (isspace((unsigned char)*c)) {
            blank = true;
            c++;
        } else if (c[0] == '/' && (c[1] == '/' || c[1] == '*')) {
            blank = true;
            c = skip_comment(c, rust);
        } else if (*c == '"' || (*c == '\'' && !(rust && is_lifetime(c)))) {
            out[n++] = *c;
            c = skip_quoted(c, rust);
        } else {
            const bool begins = c == code || !is_word(c[-1]);
            if (blank && n > 0 && is_word(out[n - 1]) && is_word(*c)) out[n++] = ' ';
            blank = false;
            const size_t n_copied =
                !rust && begins && isdigit((unsigned char)*c) ? number_length(c) : 1;
            memcpy(out + n, c, n_copied);
            n += n_copied;
            c += n_copied;
        }
    }
    out[n] = '\0';
    return out;
}

/* The first of WORDS that stands by itself in TEXT; NULL: none does. */
static const char *find_word(const char *text, const char *const *words) {
    for (; *words; words++) {
        const size_t n = strlen(*words);
        for (const char *at = strstr(text, *words); at; at = strstr(at + 1, *words)) {
            const bool begins = at == text || !is_word(at[-1]) || !is_word(**words);
            const bool ends = !is_word((*words)[n - 1]) || !is_word(at[n]);
            if (begins && ends) return *words;
        }
    }
    return NULL;
}

/* ---- Sources --------------------------------------------------------------------------------- */

struct appended {
    struct grading *g;
    const char *before, *test;
    char nonce[GRADE_NONCE];
    struct buffer source, extra; // EXTRA: Octet.java
    bool broken;                 // there is no test in the tests
};

static bool append_all(struct buffer *out, const char *const *texts) {
    for (; *texts; texts++)
        if (!buffer_append_text(out, *texts)) return false;
    return true;
}

/* Leaving main's block, and nothing else, writes the word. */
static bool write_cpp(struct appended *a) {
    const char *main_at = strstr(a->test, "main(");
    const char *const brace = main_at ? strchr(main_at, '{') : NULL;
    a->broken = !brace;
    if (!brace) return false;
    struct buffer head = {NULL, 0, 0};
    const bool done =
        buffer_append(&head, a->test, (size_t)(brace + 1 - a->test)) &&
        append_all(&a->source,
                   (const char *const[]){
                       a->before, a->g->code, "\n#include <cstdio>\n#include <exception>\n",
                       "namespace octet { struct end { ~end() { if (!std::uncaught_exception()) {",
                       " std::fputs(\"", a->nonce, "\", stdout); } } }; }\n", head.bytes,
                       " octet::end octet_end;", brace + 1, "\n", NULL});
    buffer_free(&head);
    return done;
}

static bool write_java(struct appended *a) {
    return append_all(&a->source, (const char *const[]){a->g->code, "\n", a->test, "\n", NULL}) &&
           append_all(&a->extra,
                      (const char *const[]){"public class Octet {\n  public static void main(",
                                            "String[] args) throws Throwable {\n",
                                            "    Main.main(args);\n    System.out.print(\"",
                                            a->nonce, "\");\n  }\n}\n", NULL});
}

/* The test functions become plain ones, which a main of ours calls. */
static bool write_rust(struct appended *a) {
    static const char attribute[] = "#[test]", module[] = "#[cfg(test)]";
    struct buffer calls = {NULL, 0, 0};
    bool done = append_all(&a->source, (const char *const[]){a->before, a->g->code, "\n", NULL});
    for (const char *at = a->test; done && *at;) {
        if (strncmp(at, module, sizeof module - 1) == 0) {
            at += sizeof module - 1;
        } else if (strncmp(at, attribute, sizeof attribute - 1) == 0) {
            at += sizeof attribute - 1;
            const char *const name = strstr(at, "fn ");
            const size_t n = name ? strcspn(name + 3, "( \n") : 0;
            a->broken = a->broken || !name;
            done = name && buffer_append_text(&a->source, "pub ") &&
                   buffer_append_text(&calls, "tests::") && buffer_append(&calls, name + 3, n) &&
                   buffer_append_text(&calls, "(); ");
            at += strspn(at, " \t\r\n");
        } else {
            done = buffer_append(&a->source, at++, 1);
        }
    }
    done = done &&
           append_all(&a->source, (const char *const[]){"\nfn main() { ", calls.bytes, "print!(\"",
                                                        a->nonce, "\"); }\n", NULL});
    buffer_free(&calls);
    return done;
}

/* ---- Running --------------------------------------------------------------------------------- */

static enum octet_status judge_end(struct appended *a, const struct box_result *result) {
    const size_t n = strlen(a->nonce);
    const bool marked =
        result->n_out >= n && memcmp(result->out + result->n_out - n, a->nonce, n) == 0;
    const char *const end = grade_end_text(result);
    enum octet_status status = grade_keep_output(a->g, result);
    if (status != OCTET_OK) return status;
    a->g->verdict->n_tests = 1;
    if (result->end == BOX_TIME_OUT) return grade_say(a->g, GRADE_TIMES_OUT, "%s", end);
    if (!end && result->status == 0 && marked) {
        a->g->verdict->n_passed = 1;
        return grade_say(a->g, GRADE_PASSES, "%s", "");
    }
    const size_t n_line = result->err ? strcspn(result->err, "\n") : 0;
    if (end || result->status != 0)
        return grade_say(a->g, GRADE_FAILS, "%s%s%.*s", end ? end : "failed", n_line ? ": " : "",
                         (int)n_line, result->err ? result->err : "");
    return grade_say(a->g, GRADE_FAILS, "ended before the tests did");
}

static enum octet_status run_compiled(struct appended *a) {
    struct grading *const g = a->g;
    const struct grade_language *const language = grade_language(g->task->language);
    struct box_file program;
    struct box_result keeper = {0}, result = {0};
    bool compiled;
    enum octet_status status =
        grade_compile(g, language, a->source.bytes, &compiled, &program, &keeper);
    if (status != OCTET_OK || !compiled) return status;
    struct box_job job = grade_job(g, language->run, run_s);
    job.files = &program;
    job.n_files = 1;
    status = grade_run(g, &job, true, &result);
    if (status == OCTET_OK) status = judge_end(a, &result);
    box_result_free(&result);
    box_result_free(&keeper);
    return status;
}

/* Compiled and run in one box, since nobody knows which class files there will be. */
static enum octet_status run_java(struct appended *a) {
    enum { NOT_COMPILED = 97 };
    static const char *const java_argv[] = {
        "sh", "-c",
        "javac -J-Xmx512m -J-XX:+UseSerialGC -J-XX:TieredStopAtLevel=1 -nowarn Main.java Octet.java"
        " || exit 97; exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp . Octet",
        NULL};
    struct grading *const g = a->g;
    const struct box_file files[] = {{"Main.java", a->source.bytes, a->source.n, false},
                                     {"Octet.java", a->extra.bytes, a->extra.n, false}};
    struct box_job job = grade_job(g, java_argv, 2 * run_s);
    job.files = files;
    job.n_files = 2;
    struct box_result result = {0};
    enum octet_status status = grade_run(g, &job, true, &result);
    if (status == OCTET_OK && result.end == BOX_EXITED && result.status == NOT_COMPILED) {
        status = grade_keep_output(g, &result);
        if (status == OCTET_OK)
            status = grade_say(g, GRADE_NOT_COMPILED, "javac: %.*s", (int)strcspn(result.err, "\n"),
                               result.err);
    } else if (status == OCTET_OK) {
        status = judge_end(a, &result);
    }
    box_result_free(&result);
    return status;
}

/* ---- Languages ------------------------------------------------------------------------------- */

static const struct way {
    const char *language, *tool;
    const char *const *refused;
    bool (*write)(struct appended *a); // false: out of memory, or broken
    enum octet_status (*run)(struct appended *a);
} ways[] = {{"cpp", "g++", cpp_words, write_cpp, run_compiled},
            {"java", "javac", java_words, write_java, run_java},
            {"rust", "rustc", rust_words, write_rust, run_compiled}};

/* The answer repeats the prompt, which may hold words that are refused elsewhere. */
static enum octet_status refuse(struct grading *g, const struct way *way, bool *refused) {
    const size_t n_prompt = strlen(g->task->prompt);
    const bool repeats = strncmp(g->code, g->task->prompt, n_prompt) == 0;
    const char *const own = g->code + (repeats ? n_prompt : 0);
    char *const bare = bare_code(own, strcmp(way->language, "rust") == 0);
    if (!bare) return octet_fail_memory(g->err, "code", strlen(g->code));
    const char *word = find_word(bare, way->refused);
    // Java reads these escapes before anything else: one can end a text or a comment.
    if (strcmp(way->language, "java") == 0 && strstr(own, "\\u")) word = "\\u";
    *refused = word != NULL;
    mem_free(bare);
    if (!word) return OCTET_OK;
    return grade_say(g, GRADE_FAILS, "uses %s, which tests in the same process cannot allow", word);
}

enum octet_status grade_appended(struct grading *g) {
    const struct way *way = ways;
    while (way < ways + sizeof ways / sizeof *ways && strcmp(way->language, g->task->language) != 0)
        way++;
    // Published tests in Go import a module that does not come with the language.
    if (way == ways + sizeof ways / sizeof *ways)
        return grade_say(g, GRADE_NO_TOOL, "no way to run tests in %s", g->task->language);
    if (!grade_has_tool(g, way->tool)) return OCTET_OK;
    g->verdict->same_process = true;
    bool refused = false;
    enum octet_status status = refuse(g, way, &refused);
    if (status != OCTET_OK || refused) return status;
    const json_t *const append = json_object_get(g->task->tests, "append");
    const char *const before = json_text_get(append, "before"), *const test =
                                                                    json_text_get(append, "test");
    struct appended a = {.g = g, .before = before ? before : "", .test = test ? test : ""};
    status = grade_nonce(a.nonce, g->err);
    if (status == OCTET_OK)
        status = way->write(&a) ? way->run(&a)
                 : a.broken     ? grade_say(g, GRADE_FAILS, "the task is broken: no test in it")
                                : octet_fail_memory(g->err, "tests", 0);
    buffer_free(&a.source);
    buffer_free(&a.extra);
    return status;
}
