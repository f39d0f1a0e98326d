/* octet doctor: what this machine is, and what will run on it how fast. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/probe.h"
#include "base/status.h"
#include "base/threads.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/plan.h"

enum { PLAN_TOKENS = 4096, N_TYPES = 3 };

struct doctor_args {
    const char *folder;
    bool json;
};

static const struct option_row rows[] = {
    {"dir", 0, OPTION_TEXT, "FOLDER", offsetof(struct doctor_args, folder), 0, 0, false,
     "where the models lie: the disk under it is measured"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct doctor_args, json), 0, 0, false,
     "print one JSON object"},
};

/* Well-known models: millions of parameters, how many of them one token reads (the embedding is
 * looked up, a mixture reads two experts of eight), and the usual Q4_K_M file in megabytes. */
struct known {
    const char *name;
    double params, read_params, q4_megabytes;
    uint64_t kv_bytes_per_token; // f16
};

static const struct known known_models[] = {
    {"smollm2-135m", 134.5, 134.5, 105, 23040},   {"smollm2-360m", 361.8, 361.8, 271, 40960},
    {"tinyllama-1.1b", 1100, 1034, 669, 22528},   {"smollm2-1.7b", 1711, 1711, 1056, 196608},
    {"phi-2", 2780, 2649, 1790, 327680},          {"mistral-7b", 7242, 7111, 4368, 131072},
    {"mixtral-8x7b", 46703, 12748, 26442, 131072},
};

enum { N_KNOWN = sizeof known_models / sizeof known_models[0] };

static const char *const type_names[N_TYPES] = {"q4_k_m", "q8_0", "f16"};

struct prospect {
    uint64_t bytes;
    enum plan_fit fit;
    double limit; // tokens per second, NaN: not known
};

struct doctor {
    char cpu[128], features[256];
    int n_cores;
    struct machine machine; // all cores
    double one_thread;      // bytes per second
    struct probe_speeds speeds; // all cores
    struct octet_err memory_err, disk_err;
    char isa[32];           // "": the self test failed, see self_err
    struct octet_err self_err;
    int landlock;
    bool namespaces, seccomp;
};

/* ---- Examining ------------------------------------------------------------------------------- */

static enum octet_status try_model(const char *path, char isa[32], struct octet_err *err) {
    const struct octet_synth_options synth = {
        .arch = "mistral-7b-tiny", .type = "q4_k_m", .seed = 1};
    enum octet_status status = octet_synth(&synth, path, err);
    if (status != OCTET_OK) return status;
    struct octet_model *model = NULL;
    struct octet_session *session = NULL;
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8};
    status = octet_model_open(path, NULL, &model, err);
    if (status == OCTET_OK) status = octet_session_open(model, NULL, &session, err);
    if (status == OCTET_OK) {
        status = octet_session_sync(session, tokens, sizeof tokens / sizeof tokens[0], err);
    }
    if (status == OCTET_OK) {
        struct octet_model_info info;
        octet_model_get_info(model, &info);
        snprintf(isa, 32, "%s", info.isa);
    }
    octet_session_close(session);
    octet_model_close(model);
    unlink(path);
    return status;
}

/* Runs a tiny model, which also tells which kernels are in use. */
static void self_test(struct doctor *doctor) {
    const char *const temp = getenv("TMPDIR");
    char folder[512], path[540];
    snprintf(folder, sizeof folder, "%.480s/octet-doctor-XXXXXX",
             temp != NULL && temp[0] != '\0' ? temp : "/tmp");
    if (mkdtemp(folder) == NULL) {
        octet_fail(&doctor->self_err, OCTET_EIO, "making the folder %s failed: %s", folder,
                   strerror(errno));
        return;
    }
    snprintf(path, sizeof path, "%s/tiny.gguf", folder);
    try_model(path, doctor->isa, &doctor->self_err);
    rmdir(folder);
}

static void examine(struct doctor *doctor, const char *folder) {
    struct machine *const machine = &doctor->machine;
    probe_cpu_name(doctor->cpu, sizeof doctor->cpu);
    probe_cpu_features(doctor->features, sizeof doctor->features);
    doctor->n_cores = cpu_count();
    machine->ram_total = probe_ram_total();
    machine->ram_available = probe_ram_available();
    probe_read_bandwidth(1, &doctor->one_thread, &doctor->memory_err);
    probe_measure_speeds(doctor->n_cores, NULL, &doctor->speeds, &doctor->memory_err);
    machine->memory_speed = doctor->speeds.read_bytes;
    probe_disk_read(folder, &machine->disk_speed, &doctor->disk_err);
    self_test(doctor);
    doctor->landlock = probe_landlock_abi();
    doctor->namespaces = probe_user_namespaces();
    doctor->seccomp = probe_seccomp_filters();
}

static struct prospect prospect_of(const struct machine *machine, const struct known *known,
                                   int type) {
    const double whole[N_TYPES] = {known->q4_megabytes * 1e6, known->params * 1e6 * 8.5 / 8,
                                   known->params * 1e6 * 2};
    const uint64_t bytes = (uint64_t)whole[type];
    const uint64_t read = (uint64_t)(whole[type] * known->read_params / known->params);
    const uint64_t kv = known->kv_bytes_per_token * PLAN_TOKENS;
    return (struct prospect){bytes, plan_fit(machine, bytes, kv),
                             plan_decode_limit(machine, bytes, read, kv)};
}

/* ---- Reports --------------------------------------------------------------------------------- */

static void print_machine(const struct doctor *doctor, const char *folder) {
    const struct machine *const machine = &doctor->machine;
    char a[16], b[16];
    output_printf("processor        %s, %d cores usable\n",
                  doctor->cpu[0] != '\0' ? doctor->cpu : "unknown", doctor->n_cores);
    output_printf("extensions       %s\n", doctor->features);
    if (doctor->isa[0] != '\0') {
        output_printf("self test        passed, %s kernels\n", doctor->isa);
    } else {
        output_printf("self test        FAILED: %s\n", doctor->self_err.message);
    }
    output_printf("memory           %s, %s free\n",
                  output_bytes((double)machine->ram_total, a),
                  output_bytes((double)machine->ram_available, b));
    if (machine->memory_speed > 0) {
        output_printf("memory reads     %.1f GB/s with 1 thread, %.1f GB/s with %d\n",
                      doctor->one_thread / 1e9, machine->memory_speed / 1e9, doctor->n_cores);
        output_printf("multiply-adds    %.0f Gop/s in int8 (%s), %.0f in single precision\n",
                      doctor->speeds.int8_ops / 1e9, doctor->speeds.int8,
                      doctor->speeds.float_ops / 1e9);
    } else {
        output_printf("memory reads     not measured: %s\n", doctor->memory_err.message);
    }
    if (machine->disk_speed > 0) {
        output_printf("disk reads       %s/s in %s\n", output_bytes(machine->disk_speed, a),
                      folder);
    } else {
        output_printf("disk reads       not measured: %s\n", doctor->disk_err.message);
    }
    output_printf("sandbox layers   user namespaces %s, Landlock ",
                  doctor->namespaces ? "yes" : "no");
    if (doctor->landlock > 0) {
        output_printf("ABI %d", doctor->landlock);
    } else {
        output_printf("no");
    }
    output_printf(", seccomp %s\n", doctor->seccomp ? "yes" : "no");
}

static void print_prospects(const struct machine *machine) {
    output_printf("\nWhat will run here, with a context of %d tokens; tokens/s can not exceed the "
                  "last column:\n\n  %-16s %-8s %9s  %-10s %9s\n", PLAN_TOKENS, "model", "type",
                  "size", "memory", "tokens/s");
    for (size_t i = 0; i < N_KNOWN; i++) {
        for (int type = 0; type < N_TYPES; type++) {
            const struct prospect prospect = prospect_of(machine, &known_models[i], type);
            char size[16], limit[16] = "unknown";
            if (isfinite(prospect.limit)) {
                snprintf(limit, sizeof limit, prospect.limit < 10 ? "%.1f" : "%.0f",
                         prospect.limit);
            }
            output_printf("  %-16s %-8s %9s  %-10s %9s\n", known_models[i].name, type_names[type],
                          output_bytes((double)prospect.bytes, size),
                          plan_fit_text(prospect.fit), limit);
        }
    }
}

static json_t *prospects_json(const struct machine *machine) {
    json_t *const array = json_array();
    for (size_t i = 0; i < N_KNOWN; i++) {
        for (int type = 0; type < N_TYPES; type++) {
            const struct prospect prospect = prospect_of(machine, &known_models[i], type);
            json_array_append_new(
                array, json_pack("{s:s, s:s, s:I, s:s, s:o}", "model", known_models[i].name,
                                 "type", type_names[type], "bytes", (json_int_t)prospect.bytes,
                                 "fit", plan_fit_text(prospect.fit), "limit_tokens_per_s",
                                 json_out_number(prospect.limit)));
        }
    }
    return array;
}

static json_t *speed_json(double per_second) {
    return json_out_number(per_second > 0 ? per_second / 1e9 : (double)NAN);
}

static int print_json(const struct doctor *doctor) {
    const struct machine *const machine = &doctor->machine;
    return json_out_print(json_pack(
        "{s:o, s:s, s:i, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:b, s:i, s:b, s:o}", "cpu",
        json_out_text(doctor->cpu, strlen(doctor->cpu)), "features", doctor->features, "cores",
        doctor->n_cores, "kernels",
        doctor->isa[0] != '\0' ? json_string(doctor->isa) : json_null(), "ram_total_bytes",
        (json_int_t)machine->ram_total, "ram_available_bytes",
        (json_int_t)machine->ram_available, "memory_gb_per_s_1_thread",
        speed_json(doctor->one_thread), "memory_gb_per_s", speed_json(machine->memory_speed),
        "int8_gops", speed_json(doctor->speeds.int8_ops), "float_gops",
        speed_json(doctor->speeds.float_ops), "disk_gb_per_s", speed_json(machine->disk_speed),
        "user_namespaces", (int)doctor->namespaces, "landlock_abi", doctor->landlock, "seccomp",
        (int)doctor->seccomp, "models", prospects_json(machine)));
}

static int doctor_command(const struct command *command, int argc, char **argv) {
    static const struct doctor_args defaults = {.folder = "."};
    struct doctor_args args;
    const struct option_group groups[] = {
        {"Options", rows, sizeof rows / sizeof rows[0], &args, &defaults, sizeof defaults},
    };
    struct arguments arguments;
    const int status = options_parse(command, groups, 1, argc, argv, 0, 0, &arguments);
    if (status != OPTIONS_RUN) return status;
    struct doctor doctor = {.n_cores = 0};
    examine(&doctor, args.folder);
    if (args.json) {
        const int printed = print_json(&doctor);
        return doctor.isa[0] != '\0' ? printed : (int)EXIT_FAILED;
    }
    print_machine(&doctor, args.folder);
    print_prospects(&doctor.machine);
    return doctor.isa[0] != '\0' ? EXIT_DONE : EXIT_FAILED;
}

const struct command cmd_doctor = {
    .name = "doctor",
    .summary = "what will run on this machine, and how fast",
    .usage = "[options]",
    .about = "Measures this machine for a few seconds (memory and disk bandwidth), runs a tiny "
             "model as a self test and tells which well-known models fit and how fast they can "
             "decode at most. Exit status 1 if the self test fails.",
    .examples = "  octet doctor\n"
                "  octet doctor --dir /mnt/models --json\n",
    .run = doctor_command,
};
