/* What of the host a box shows: the system's programs and libraries, and the installation of the
 * program to run where that lies elsewhere, such as an interpreter under somebody's home. Nothing
 * else of a home becomes visible, so a version manager's stand-in is asked for the real program. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/status.h"
#include "compare/box_impl.h"

#define SYSTEM_PATH "/usr/local/bin:/usr/bin:/bin"

static bool is_beneath(const char *path, const char *folder) {
    const size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool is_folder(const char *path) {
    struct stat stat_of;
    return stat(path, &stat_of) == 0 && S_ISDIR(stat_of.st_mode);
}

static bool is_program(const char *path) {
    struct stat stat_of;
    return stat(path, &stat_of) == 0 && S_ISREG(stat_of.st_mode) && access(path, X_OK) == 0;
}

/* ---- Views ----------------------------------------------------------------------------------- */

static bool is_shown(const struct box_plan *plan, const char *path) {
    for (size_t i = 0; i < plan->n_views; i++) {
        const struct box_view *const view = &plan->views[i];
        if (is_beneath(path, view->path)) return true;
    }
    return false;
}

/* What is not there, and what something else shows, is skipped. */
static enum octet_status show(struct box_plan *plan, const char *path, struct octet_err *err) {
    struct stat stat_of;
    if (lstat(path, &stat_of) != 0 || is_shown(plan, path)) return OCTET_OK;
    if (plan->n_views == BOX_MAX_VIEWS) {
        return octet_fail(err, OCTET_EUNSUPPORTED, "%s: too many paths to show in a box", path);
    }
    struct box_view *const view = &plan->views[plan->n_views];
    *view = (struct box_view){.directory = S_ISDIR(stat_of.st_mode),
                              .device = S_ISCHR(stat_of.st_mode)};
    char target[PATH_MAX];
    const ssize_t n = S_ISLNK(stat_of.st_mode) ? readlink(path, target, sizeof target) : 0;
    if (n > 0) view->link = mem_strdup(target, (size_t)n);
    view->path = mem_strdup(path, strlen(path));
    plan->n_views++;
    if (view->path == NULL || (n > 0 && view->link == NULL)) {
        return octet_fail_memory(err, "the view of a box", strlen(path));
    }
    return OCTET_OK;
}

static enum octet_status show_system(struct box_plan *plan, struct octet_err *err) {
    static const char *const paths[] = {
        "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
        "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
        "/etc/ssl/openssl.cnf", // without secrets, and Node gives up where it may not read it
        "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
    };
    enum octet_status status = OCTET_OK;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0] && status == OCTET_OK; i++) {
        status = show(plan, paths[i], err);
    }
    // Java keeps half of its installation here.
    DIR *const etc = opendir("/etc");
    if (etc == NULL) return status;
    for (const struct dirent *entry; status == OCTET_OK && (entry = readdir(etc)) != NULL;) {
        char path[300];
        if (strncmp(entry->d_name, "java-", 5) != 0) continue;
        snprintf(path, sizeof path, "/etc/%s", entry->d_name);
        status = show(plan, path, err);
    }
    closedir(etc);
    return status;
}

/* ---- Stand-ins: small programs that look up which of several versions is meant --------------- */

struct question {
    const char *name; // of the program; "python" stands for "python3.12", too
    const char *arguments[3];
    const char *beneath; // the answer is a folder with the program here, or NULL: the program
};

static const struct question questions[] = {
    {"python", {"-c", "import sys; print(sys.executable)", NULL}, NULL},
    {"rustc", {"--print", "sysroot", NULL}, "bin/rustc"},
    {"node", {"-p", "process.execPath", NULL}, NULL},
    {"go", {"env", "GOROOT", NULL}, "bin/go"},
};

enum { ANSWER_MS = 10000 };

/* The first line PROGRAM prints, with the caller's environment: it is the caller's own program. */
static bool first_line(const char *program, const char *const arguments[3], char *line,
                       size_t size) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const char *const argv[] = {program, arguments[0], arguments[1], NULL};
    pid_t pid;
    const int failed = posix_spawn(&pid, program, &actions, NULL,
                                   (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    size_t n = 0;
    struct pollfd waiting = {ends[0], POLLIN, 0};
    while (!failed && n < size - 1 && poll(&waiting, 1, ANSWER_MS) > 0) {
        const ssize_t got = read(ends[0], line + n, size - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(ends[0]);
    if (failed) return false;
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    // What still runs after its answer, or without one, is not waited for longer.
    if (strlen(line) == n) kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
    return line[0] == '/';
}

static bool ask(const char *program, const struct question *question, char real[PATH_MAX]) {
    char line[PATH_MAX], path[PATH_MAX + 32];
    if (!first_line(program, question->arguments, line, sizeof line)) return false;
    snprintf(path, sizeof path, question->beneath ? "%s/%s" : "%s", line, question->beneath);
    return is_program(path) && realpath(path, real) != NULL;
}

/* Asking takes a while, so answers are kept as long as the process lives. */
static bool ask_once(const char *program, const char *name, char real[PATH_MAX]) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct answer {
        char program[512], real[PATH_MAX];
    } answers[16];
    static size_t n_answers;
    const struct question *question = NULL;
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        const size_t n = strlen(questions[i].name);
        const char *const rest = name + n;
        if (strncmp(name, questions[i].name, n) == 0 && rest[strspn(rest, "0123456789.")] == '\0') {
            question = &questions[i];
        }
    }
    if (question == NULL) return false;
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_answers && !found; i++) {
        found = strcmp(answers[i].program, program) == 0;
        if (found) strcpy(real, answers[i].real);
    }
    if (!found) {
        found = ask(program, question, real);
        if (found && n_answers < sizeof answers / sizeof answers[0] &&
            strlen(program) < sizeof answers[0].program) {
            strcpy(answers[n_answers].program, program);
            strcpy(answers[n_answers++].real, real);
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- Installations --------------------------------------------------------------------------- */

/* Cuts the last part off; false: there is none. */
static bool cut(char *path) {
    char *const slash = strrchr(path, '/');
    if (slash == NULL || slash == path) return false;
    *slash = '\0';
    return true;
}

/* Too much to show: a home or what contains it, and a hidden folder directly in it, where keys of
 * other programs lie beside ~/.local/bin. */
static bool is_private(const char *folder) {
    struct passwd entry, *user = NULL;
    char text[1024];
    getpwuid_r(getuid(), &entry, text, sizeof text, &user);
    const char *const homes[] = {getenv("HOME"), user == NULL ? NULL : user->pw_dir};
    for (size_t i = 0; i < 2; i++) {
        char home[PATH_MAX];
        if (homes[i] == NULL || realpath(homes[i], home) == NULL) continue;
        if (strcmp(home, "/") == 0) continue;
        if (is_beneath(home, folder)) return true;
        const size_t n = strlen(home);
        if (is_beneath(folder, home) && folder[n + 1] == '.' && !strchr(folder + n + 1, '/')) {
            return true;
        }
    }
    return false;
}

/* The tree that PROGRAM, a real path, needs: PREFIX of PREFIX/bin/PROGRAM where that has libraries,
 * all of a store of packages that refer to each other, else the file alone. */
static void installation_of(const char *program, char tree[PATH_MAX]) {
    static const char *const stores[] = {"/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew"};
    for (size_t i = 0; i < sizeof stores / sizeof stores[0]; i++) {
        if (is_beneath(program, stores[i])) {
            strcpy(tree, stores[i]);
            return;
        }
    }
    char lib[PATH_MAX + 8];
    strcpy(tree, program);
    if (cut(tree)) {
        const char *const last = strrchr(tree, '/');
        const bool in_bin = last != NULL && strcmp(last, "/bin") == 0 && cut(tree);
        snprintf(lib, sizeof lib, "%s/lib", tree);
        if (in_bin && is_folder(lib) && !is_private(tree)) return;
    }
    strcpy(tree, program);
}

/* A Python environment is a folder whose program is a link to the real one elsewhere. */
static bool environment_of(const char *found, char tree[PATH_MAX]) {
    char config[PATH_MAX + 16];
    strcpy(tree, found);
    if (!cut(tree) || !cut(tree)) return false;
    snprintf(config, sizeof config, "%s/pyvenv.cfg", tree);
    return access(config, R_OK) == 0 && !is_private(tree);
}

/* For a user without any rights of its own. */
static bool is_open_to_all(const char *program) {
    char path[PATH_MAX];
    struct stat stat_of;
    if (realpath(program, path) == NULL) return false;
    do {
        if (stat(path, &stat_of) != 0 || !(stat_of.st_mode & S_IXOTH)) return false;
    } while (cut(path));
    return true;
}

static bool find_in_path(const struct box_plan *plan, const char *name, char found[PATH_MAX]) {
    // With mounts of its own a box shows the program wherever it lies.
    const bool as_others = plan->drop && !(plan->layers & BOX_MOUNT_NS);
    const char *path = getenv("PATH");
    if (path == NULL) path = SYSTEM_PATH;
    while (*path != '\0') {
        const size_t n = strcspn(path, ":");
        // Relative folders would mean others inside.
        if (path[0] == '/' && snprintf(found, PATH_MAX, "%.*s/%s", (int)n, path, name) < PATH_MAX &&
            is_program(found) && (!as_others || is_open_to_all(found))) {
            return true;
        }
        path += n + (path[n] == ':');
    }
    return false;
}

static enum octet_status set_environment(struct box_plan *plan, struct octet_err *err) {
    char folder[PATH_MAX], path[PATH_MAX + 64], home[PATH_MAX], temp[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", plan->program);
    const bool extra = plan->program[0] == '/' && cut(folder) && !is_beneath(folder, "/usr");
    snprintf(path, sizeof path, "PATH=%s%s" SYSTEM_PATH, extra ? folder : "", extra ? ":" : "");
    snprintf(home, sizeof home, "HOME=%s", plan->work);
    snprintf(temp, sizeof temp, "TMPDIR=%s", plan->work);
    const char *const all[] = {path, home, temp, "LANG=C.UTF-8"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        plan->environ[i] = mem_strdup(all[i], strlen(all[i]));
        if (plan->environ[i] == NULL) return octet_fail_memory(err, "an environment", 0);
    }
    return OCTET_OK;
}

static enum octet_status find_program(struct box_plan *plan, struct octet_err *err) {
    const char *const name = plan->job->argv[0];
    char found[PATH_MAX], real[PATH_MAX], tree[PATH_MAX];
    if (strchr(name, '/') != NULL && name[0] != '/') {
        plan->program = mem_strdup(name, strlen(name));
        return plan->program ? OCTET_OK : octet_fail_memory(err, "a path", strlen(name));
    }
    if (name[0] != '/') {
        if (!find_in_path(plan, name, found)) {
            return octet_fail(err, OCTET_EIO, "%s: no such program in PATH", name);
        }
    } else {
        snprintf(found, sizeof found, "%s", name);
    }
    if (realpath(found, real) == NULL) {
        return octet_fail(err, OCTET_EIO, "%s: %s", found, strerror(errno));
    }
    enum octet_status status = OCTET_OK;
    // Where the system's folders do not hold it, all of what it is made of has to be shown.
    if (!is_shown(plan, real) || !is_shown(plan, found)) {
        const bool environment = environment_of(found, tree);
        if (environment) status = show(plan, tree, err);
        if (!environment && !is_shown(plan, real)) ask_once(found, strrchr(found, '/') + 1, real);
        installation_of(real, tree);
        if (status == OCTET_OK) status = show(plan, tree, err);
        if (!environment) strcpy(found, real);
    }
    plan->program = mem_strdup(found, strlen(found));
    if (plan->program == NULL) return octet_fail_memory(err, "a path", strlen(found));
    return status;
}

enum octet_status box_plan_tools(struct box_plan *plan, struct octet_err *err) {
    enum octet_status status = show_system(plan, err);
    if (status == OCTET_OK) status = find_program(plan, err);
    if (status == OCTET_OK) status = set_environment(plan, err);
    return status;
}

void box_plan_free(struct box_plan *plan) {
    for (size_t i = 0; i < plan->n_views; i++) {
        mem_free(plan->views[i].path);
        mem_free(plan->views[i].link);
    }
    for (size_t i = 0; i < sizeof plan->environ / sizeof plan->environ[0]; i++) {
        mem_free(plan->environ[i]);
    }
    mem_free(plan->program);
    mem_free(plan->work);
}
