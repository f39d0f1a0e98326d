/* octet box: one program in the sandbox, or what the sandbox is made of here. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "compare/box.h"
#include "compare/visible.h"

enum {
    EXIT_TIME_OUT = 124, // as timeout(1)
    EXIT_MEMORY = 137,   // as a shell tells a process killed by SIGKILL
    EXIT_SIGNAL = 128,   // plus the signal
    MAX_COMMAND = 4096,
};

struct box_args {
    bool probe, unsafe_exec, json;
    float time_s;
    int32_t memory_mb, disk_mb, processes;
    struct text_list files, keep;
};

static const struct option_row rows[] = {
    {"time", 0, OPTION_FLOAT, "SECONDS", offsetof(struct box_args, time_s), 0.01, 1e6, false,
     "end it after so long, be it on the clock or of CPU time"},
    {"memory", 0, OPTION_INT, "MB", offsetof(struct box_args, memory_mb), 1, 1 << 24, false,
     "memory of all its processes together"},
    {"disk", 0, OPTION_INT, "MB", offsetof(struct box_args, disk_mb), 1, 1 << 24, false,
     "size of its work folder"},
    {"processes", 0, OPTION_INT, "N", offsetof(struct box_args, processes), 1, 65536, false,
     "processes and threads at once"},
    {"file", 0, OPTION_TEXTS, "FILE", offsetof(struct box_args, files), 0, 0, false,
     "copy FILE into the work folder"},
    {"keep", 0, OPTION_TEXTS, "FILE", offsetof(struct box_args, keep), 0, 0, false,
     "copy FILE from the work folder to the current one afterwards"},
    {"unsafe-exec", 0, OPTION_FLAG, NULL, offsetof(struct box_args, unsafe_exec), 0, 0, false,
     "run it even where too few walls are to be had"},
    {"probe", 0, OPTION_FLAG, NULL, offsetof(struct box_args, probe), 0, 0, false,
     "run nothing; list the walls this machine grants"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct box_args, json), 0, 0, false,
     "print one JSON object, the program's output within"},
};

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* ---- What there is --------------------------------------------------------------------------- */

static const char *why_missing(const struct box_layers *layers, const char *name) {
    const size_t n = strlen(name);
    for (size_t i = 0; i < BOX_LAYERS; i++) {
        if (strncmp(layers->missing[i], name, n) == 0) return layers->missing[i] + n + 2;
    }
    return "";
}

static json_t *layer_names(unsigned layers) {
    json_t *const names = json_array();
    for (unsigned bit = 0; bit < BOX_LAYERS; bit++) {
        if ((layers & 1u << bit) == 0) continue;
        json_array_append_new(names, json_string(box_layer_name(1u << bit)));
    }
    return names;
}

static int print_probe_json(const struct box_layers *layers) {
    json_t *const missing = json_object();
    for (unsigned bit = 0; bit < BOX_LAYERS; bit++) {
        const char *const name = box_layer_name(1u << bit);
        if (layers->have & 1u << bit) continue;
        json_object_set_new(missing, name, json_string(why_missing(layers, name)));
    }
    return json_out_print(json_pack("{s:b, s:o, s:o, s:i}", "enough", layers->enough, "layers",
                                    layer_names(layers->have), "missing", missing, "landlock_abi",
                                    layers->landlock_abi));
}

static int probe(bool json) {
    const struct box_layers *const layers = box_probe();
    if (json) return print_probe_json(layers);
    for (unsigned bit = 0; bit < BOX_LAYERS; bit++) {
        const char *const name = box_layer_name(1u << bit);
        const bool on = (layers->have & 1u << bit) != 0;
        output_printf("%-4s %-18s %s\n", on ? "yes" : "no", name, box_layer_about(1u << bit));
        if (!on) output_printf("%24s%s\n", "", why_missing(layers, name));
    }
    output_printf(layers->enough
                      ? "\nEnough to run programs nobody vouches for.\n"
                      : "\nNot enough to run programs nobody vouches for: octet refuses without "
                        "--unsafe-exec.\n");
    return EXIT_DONE;
}

/* ---- Files in and out ------------------------------------------------------------------------ */

/* FILES has room for all names. OPTIONS_RUN or an exit status. */
static int read_files(const struct text_list *names, struct box_file *files, struct text *texts) {
    for (size_t i = 0; i < names->n; i++) {
        struct stat stat_of;
        const int status = text_read(&texts[i], names->items[i]);
        if (status != OPTIONS_RUN) return status;
        files[i] = (struct box_file){
            .path = base_name(names->items[i]),
            .bytes = texts[i].bytes,
            .n_bytes = texts[i].n,
            .executable = stat(names->items[i], &stat_of) == 0 && (stat_of.st_mode & S_IXUSR),
        };
    }
    return OPTIONS_RUN;
}

static int write_kept(const struct box_result *result) {
    for (size_t i = 0; i < result->n_kept; i++) {
        const struct box_file *const file = &result->kept[i];
        const char *const name = base_name(file->path);
        const int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
        FILE *const out = fd < 0 ? NULL : fdopen(fd, "wb");
        if (out == NULL) return output_error("%s: writing failed: %s", name, strerror(errno));
        const bool written = fwrite(file->bytes, 1, file->n_bytes, out) == file->n_bytes;
        if (fclose(out) != 0 || !written) return output_error("%s: writing failed", name);
    }
    return EXIT_DONE;
}

/* ---- How it went ----------------------------------------------------------------------------- */

static const char *const end_names[] = {
    [BOX_EXITED] = "exited",         [BOX_SIGNALLED] = "signalled",
    [BOX_TIME_OUT] = "time out",     [BOX_OUT_OF_MEMORY] = "out of memory",
    [BOX_OUT_OF_DISK] = "out of disk", [BOX_CANCELLED] = "cancelled",
};

static int mirrored_status(const struct box_result *result) {
    switch (result->end) {
    case BOX_EXITED: return result->status;
    case BOX_TIME_OUT: return EXIT_TIME_OUT;
    case BOX_OUT_OF_MEMORY: return EXIT_MEMORY;
    case BOX_CANCELLED: return EXIT_INTERRUPTED;
    default: return EXIT_SIGNAL + result->status;
    }
}

static bool print_to(FILE *file, const char *bytes, size_t n_bytes) {
    if (file == stdout) return output_write(bytes, n_bytes);
    return fwrite(bytes, 1, n_bytes, file) == n_bytes;
}

/* Newlines and tabs act as they should, all else is only seen. */
static bool make_visible(struct buffer *visible, const char *bytes, size_t n_bytes) {
    bool fine = true;
    for (size_t i = 0, n; i < n_bytes && fine; i += n + 1) {
        for (n = 0; i + n < n_bytes && bytes[i + n] != '\n' && bytes[i + n] != '\t'; n++) {}
        fine = visible_line(visible, bytes + i, n) &&
               (i + n == n_bytes || buffer_append(visible, bytes + i + n, 1));
    }
    return fine;
}

/* A terminal obeys what it is sent; a file or pipe gets the bytes as they are. */
static void print_stream(FILE *file, const char *bytes, size_t n_bytes, uint64_t total) {
    if (n_bytes > 0 && terminal_is(fileno(file))) {
        struct buffer visible = {NULL, 0, 0};
        if (make_visible(&visible, bytes, n_bytes)) print_to(file, visible.bytes, visible.n);
        buffer_free(&visible);
    } else if (n_bytes > 0) {
        print_to(file, bytes, n_bytes);
    }
    if (total > n_bytes) {
        fprintf(stderr, "octet: %llu more bytes of %s dropped\n",
                (unsigned long long)(total - n_bytes), file == stdout ? "output" : "messages");
    }
}

static int print_json(const struct box_result *result) {
    json_t *const kept = json_array();
    for (size_t i = 0; i < result->n_kept; i++) {
        json_array_append_new(kept, json_string(result->kept[i].path));
    }
    return json_out_print(json_pack(
        "{s:s, s:i, s:o, s:o, s:I, s:I, s:f, s:f, s:I, s:o, s:o}", "end", end_names[result->end],
        "status", result->status, "stdout", json_out_text(result->out, result->n_out), "stderr",
        json_out_text(result->err, result->n_err), "stdout_bytes", (json_int_t)result->out_total,
        "stderr_bytes", (json_int_t)result->err_total, "wall_s", result->wall_s, "cpu_s",
        result->cpu_s, "peak_bytes", (json_int_t)result->peak_bytes, "kept", kept, "layers",
        layer_names(result->layers)));
}

static int report(const struct box_result *result, bool json) {
    if (json) {
        const int status = print_json(result);
        return status == EXIT_DONE ? mirrored_status(result) : status;
    }
    print_stream(stdout, result->out, result->n_out, result->out_total);
    print_stream(stderr, result->err, result->n_err, result->err_total);
    if (result->end != BOX_EXITED) output_error("the program ended: %s", end_names[result->end]);
    return mirrored_status(result);
}

static int run_job(struct box_job *job, bool json) {
    struct box_result result;
    struct octet_err err;
    terminal_catch_interrupt();
    job->cancel = terminal_interrupt_flag();
    const enum octet_status done = box_run(job, &result, &err);
    terminal_release_interrupt();
    if (done != OCTET_OK) return output_failure(&err);
    int status = write_kept(&result);
    if (status == EXIT_DONE) status = report(&result, json);
    box_result_free(&result);
    return status;
}

static int run_box(const struct box_args *args, char **command_line, size_t n_words) {
    struct box_file *const files = mem_array(args->files.n, sizeof *files);
    struct text *const texts = mem_array(args->files.n, sizeof *texts);
    const char **const words = mem_array(n_words + 1, sizeof *words);
    const char **const keep = mem_array(args->keep.n + 1, sizeof *keep);
    int status = OPTIONS_RUN;
    if (files == NULL || texts == NULL || words == NULL || keep == NULL) {
        status = output_error("out of memory for the command");
    } else {
        memcpy(words, command_line, n_words * sizeof *words);
        if (args->keep.n > 0) memcpy(keep, args->keep.items, args->keep.n * sizeof *keep);
        status = read_files(&args->files, files, texts);
    }
    if (status == OPTIONS_RUN) {
        struct box_job job = BOX_JOB_DEFAULTS;
        job.argv = words;
        job.files = files;
        job.n_files = args->files.n;
        job.keep = keep;
        // A terminal stays outside.
        if (!terminal_is(STDIN_FILENO)) job.stdin_fd = STDIN_FILENO;
        job.limits.wall_s = job.limits.cpu_s = (double)args->time_s;
        job.limits.memory_bytes = (uint64_t)args->memory_mb << 20;
        job.limits.disk_bytes = (uint64_t)args->disk_mb << 20;
        job.limits.n_processes = (unsigned)args->processes;
        job.unsafe_exec = args->unsafe_exec;
        status = run_job(&job, args->json);
    }
    for (size_t i = 0; texts != NULL && i < args->files.n; i++) text_free(&texts[i]);
    mem_free(texts);
    mem_free(files);
    mem_free(words);
    mem_free(keep);
    return status;
}

static int box_command(const struct command *command, int argc, char **argv) {
    static const struct box_args defaults = {
        .time_s = 10, .memory_mb = 2048, .disk_mb = 256, .processes = 64};
    struct box_args args;
    const struct option_group groups[] = {
        {"Box", rows, sizeof rows / sizeof rows[0], &args, &defaults, sizeof defaults},
    };
    struct arguments arguments;
    int status = options_parse(command, groups, 1, argc, argv, 0, MAX_COMMAND, &arguments);
    if (status != OPTIONS_RUN) return status;
    if (args.probe) {
        status = arguments.n > 0 ? options_misuse(command, "--probe runs no program")
                                 : probe(args.json);
    } else if (arguments.n == 0) {
        status = options_misuse(command, "no program: octet box -- PROGRAM [ARGUMENT]...");
    } else {
        status = run_box(&args, arguments.items, arguments.n);
    }
    options_free(groups, 1);
    return status;
}

const struct command cmd_box = {
    .name = "box",
    .summary = "run a program nobody vouches for, locked in",
    .usage = "[options] -- PROGRAM [ARGUMENT]...  |  --probe [--json]",
    .about = "Runs a program without network, environment, home or anything to write to but a work "
             "folder in memory, and ends it at its limits. Its exit status becomes octet's; 124 "
             "after a time-out, 137 out of memory. As an ordinary user, as root and in "
             "containers, with every wall the kernel grants; refuses where these are too few.",
    .examples = "  octet box --probe\n"
                "  octet box --file answer.py -- python3 answer.py\n"
                "  octet box --time 60 --file main.c --keep main -- gcc -O2 main.c -o main\n",
    .run = box_command,
};
