/* octet inspect: what a model file holds and what running it takes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "base/threads.h"
#include "cli/json_out.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/plan.h"
#include "cli/progress.h"
#include "cli/terminal.h"

enum { VALUE_BYTES = 1 << 16, SHOWN_COLUMNS = 60, MAX_TYPES = 64, DEFAULT_CTX = 4096 };

struct inspect_args {
    bool tensors, json, check;
};

static const struct option_row rows[] = {
    {"tensors", 0, OPTION_FLAG, NULL, offsetof(struct inspect_args, tensors), 0, 0, false,
     "list every tensor"},
    {"check", 0, OPTION_FLAG, NULL, offsetof(struct inspect_args, check), 0, 0, false,
     "read the whole file and look for weights that are no numbers"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct inspect_args, json), 0, 0, false,
     "print one JSON object"},
};

struct type_sum {
    const char *type;
    uint64_t n_tensors, bytes;
};

struct inspection {
    struct inspect_args args;
    struct session_args session_args;
    const char *path;
    struct octet_file *file;
    char *value; // (VALUE_BYTES)
    struct type_sum types[MAX_TYPES];
    size_t n_types;
    bool runs; // the model opens; what is below is known
    struct octet_model_info info;
    struct octet_err why_not;
    struct machine machine;
    uint64_t kv_full; // bytes of an f16 cache for the whole context
    struct octet_memory memory; // of a session as asked for
    uint64_t program; // bytes of this process without the model's file, with its vocabulary
    int32_t n_ctx;
};

/* ---- Gathering ------------------------------------------------------------------------------- */

static void sum_types(struct inspection *inspection) {
    struct octet_tensor_info tensor;
    for (size_t i = 0; i < octet_file_n_tensors(inspection->file); i++) {
        if (octet_file_tensor(inspection->file, i, &tensor) != OCTET_OK) continue;
        size_t k = 0;
        while (k < inspection->n_types && strcmp(inspection->types[k].type, tensor.type) != 0) k++;
        if (k == MAX_TYPES) continue; // there are fewer types
        if (k == inspection->n_types) inspection->types[inspection->n_types++].type = tensor.type;
        inspection->types[k].n_tensors++;
        inspection->types[k].bytes += tensor.bytes;
    }
}

static enum octet_status plan_memory(struct inspection *inspection, struct octet_model *model,
                                     struct octet_err *err) {
    const struct session_args *const args = &inspection->session_args;
    struct octet_session_options options = OCTET_SESSION_OPTIONS_DEFAULTS;
    options.n_ctx = inspection->n_ctx = args->n_ctx;
    options.prefill_chunk = args->prefill_chunk;
    options.kv_type = (enum octet_kv_type)args->kv_type;
    if (args->n_ctx == 0) { // what a session would take, to be told
        const int32_t trained = inspection->info.n_ctx_train;
        options.n_ctx = inspection->n_ctx = trained < DEFAULT_CTX ? trained : DEFAULT_CTX;
    }
    return octet_memory_plan(model, &options, &inspection->memory, err);
}

static enum octet_status make_plan(struct inspection *inspection, struct octet_err *err) {
    struct octet_model *model;
    const struct octet_model_options options = OCTET_MODEL_OPTIONS_DEFAULTS;
    const uint64_t anon = probe_rss_anon();
    inspection->runs = octet_model_open(inspection->path, &options, &model,
                                        &inspection->why_not) == OCTET_OK;
    if (!inspection->runs) return OCTET_OK;
    octet_model_get_info(model, &inspection->info);
    // Only the numbers outlive the model.
    inspection->info.name = inspection->info.arch = inspection->info.isa = "";
    const enum octet_status status = plan_memory(inspection, model, err);
    const uint64_t anon_now = probe_rss_anon();
    if (anon_now > anon) inspection->program += anon_now - anon;
    octet_model_close(model);
    if (status != OCTET_OK) return status;
    const struct octet_model_info *const info = &inspection->info;
    inspection->kv_full = info->kv_bytes_per_token * (uint64_t)info->n_ctx_train;
    struct machine *const machine = &inspection->machine;
    machine->ram_total = probe_ram_total();
    machine->ram_available = probe_ram_available();
    struct octet_err ignored; // an unknown speed is shown as such
    probe_read_bandwidth(cpu_count(), &machine->memory_speed, &ignored);
    return OCTET_OK;
}

static uint64_t peak_bytes(const struct inspection *inspection) {
    const struct octet_memory *const memory = &inspection->memory;
    return memory->weights + memory->kv + memory->workspace + inspection->program;
}

static double decode_limit(const struct inspection *inspection) {
    return plan_decode_limit(&inspection->machine, inspection->info.file_bytes,
                             inspection->info.decode_bytes, inspection->kv_full);
}

/* ---- For people ------------------------------------------------------------------------------ */

static void print_metadata(struct inspection *inspection) {
    output_printf("\nmetadata:\n");
    for (size_t i = 0; i < octet_file_n_keys(inspection->file); i++) {
        const char *key, *type;
        if (octet_file_key(inspection->file, i, &key, &type, inspection->value, VALUE_BYTES) !=
            OCTET_OK) {
            continue;
        }
        const bool cut = strlen(inspection->value) > SHOWN_COLUMNS;
        size_t n = cut ? SHOWN_COLUMNS : strlen(inspection->value);
        while (cut && n > 0 && ((unsigned char)inspection->value[n] & 0xc0) == 0x80) n--;
        output_printf("  %-44s %s %.*s%s\n", key, type, (int)n, inspection->value,
                      cut ? "..." : "");
    }
}

static void print_tensors(const struct inspection *inspection) {
    output_printf("\ntensors:\n");
    for (size_t i = 0; i < octet_file_n_tensors(inspection->file); i++) {
        struct octet_tensor_info tensor;
        if (octet_file_tensor(inspection->file, i, &tensor) != OCTET_OK) continue;
        char dims[96], size[16];
        int n = 0;
        for (uint32_t k = 0; k < tensor.n_dims && k < 4; k++) {
            n += snprintf(dims + n, sizeof dims - (size_t)n, k > 0 ? " x %llu" : "%llu",
                          (unsigned long long)tensor.dims[k]);
        }
        output_printf("  %-40s %-8s %-24s %9s\n", tensor.name, tensor.type, dims,
                      output_bytes((double)tensor.bytes, size));
    }
}

static void print_types(const struct inspection *inspection) {
    char size[16];
    output_printf("\nweights by type:\n");
    for (size_t i = 0; i < inspection->n_types; i++) {
        const struct type_sum *const sum = &inspection->types[i];
        output_printf("  %-8s %6llu tensors %10s\n", sum->type, (unsigned long long)sum->n_tensors,
                      output_bytes((double)sum->bytes, size));
    }
}

static void print_plan(const struct inspection *inspection) {
    const struct octet_model_info *const info = &inspection->info;
    const struct machine *const machine = &inspection->machine;
    char a[16], b[16], c[16];
    output_printf("\non this machine:\n");
    if (!inspection->runs) {
        output_printf("  does not run: %s\n", inspection->why_not.message);
        return;
    }
    output_printf("  weights              %s, of which one token reads %s\n",
                  output_bytes((double)info->file_bytes, a),
                  output_bytes((double)info->decode_bytes, b));
    output_printf("  KV cache (f16)       %s per 1000 tokens, %s for all %d\n",
                  output_bytes(1000 * (double)info->kv_bytes_per_token, a),
                  output_bytes((double)inspection->kv_full, b), info->n_ctx_train);
    const struct octet_memory *const memory = &inspection->memory;
    output_printf("  peak memory          %s with a context of %d tokens in use: %s weights, ",
                  output_bytes((double)peak_bytes(inspection), a), inspection->n_ctx,
                  output_bytes((double)memory->weights, b));
    output_printf("%s KV cache, %s workspace, ", output_bytes((double)memory->kv, a),
                  output_bytes((double)memory->workspace, b));
    output_printf("%s program and vocabulary\n", output_bytes((double)inspection->program, a));
    const enum plan_fit fit = plan_fit(machine, info->file_bytes, inspection->kv_full);
    output_printf("  memory               %s of %s free: %s with the whole context\n",
                  output_bytes((double)machine->ram_available, a),
                  output_bytes((double)machine->ram_total, b), plan_fit_text(fit));
    const double limit = decode_limit(inspection);
    if (isfinite(limit)) {
        output_printf("  decode               at most %.1f tokens/s (reads %s/s measured)\n", limit,
                      output_bytes(machine->memory_speed, c));
    } else {
        output_printf("  decode               limit not known (octet doctor measures the disk)\n");
    }
}

static int print_text(struct inspection *inspection) {
    char size[16];
    output_printf("%s: %s, %zu metadata keys, %zu tensors\n", inspection->path,
                  output_bytes((double)octet_file_bytes(inspection->file), size),
                  octet_file_n_keys(inspection->file), octet_file_n_tensors(inspection->file));
    print_metadata(inspection);
    if (inspection->args.tensors) print_tensors(inspection);
    print_types(inspection);
    print_plan(inspection);
    return EXIT_DONE;
}

/* ---- For programs ---------------------------------------------------------------------------- */

static json_t *metadata_json(struct inspection *inspection) {
    json_t *const object = json_object();
    for (size_t i = 0; i < octet_file_n_keys(inspection->file); i++) {
        const char *key, *type;
        if (octet_file_key(inspection->file, i, &key, &type, inspection->value, VALUE_BYTES) !=
            OCTET_OK) {
            continue;
        }
        // What was cut is no JSON any more and goes out as text.
        json_t *value = json_loads(inspection->value, JSON_DECODE_ANY, NULL);
        if (value == NULL) value = json_out_text(inspection->value, strlen(inspection->value));
        json_object_set_new(object, key, json_pack("{s:s, s:o}", "type", type, "value", value));
    }
    return object;
}

static json_t *tensors_json(const struct inspection *inspection) {
    json_t *const array = json_array();
    for (size_t i = 0; i < octet_file_n_tensors(inspection->file); i++) {
        struct octet_tensor_info tensor;
        if (octet_file_tensor(inspection->file, i, &tensor) != OCTET_OK) continue;
        json_t *const dims = json_array();
        for (uint32_t k = 0; k < tensor.n_dims && k < 4; k++) {
            json_array_append_new(dims, json_integer((json_int_t)tensor.dims[k]));
        }
        json_array_append_new(
            array, json_pack("{s:o, s:s, s:o, s:I, s:I, s:i}", "name",
                             json_out_text(tensor.name, strlen(tensor.name)), "type", tensor.type,
                             "dims", dims, "offset", (json_int_t)tensor.offset, "bytes",
                             (json_int_t)tensor.bytes, "part", (int)tensor.part));
    }
    return array;
}

static json_t *types_json(const struct inspection *inspection) {
    json_t *const object = json_object();
    for (size_t i = 0; i < inspection->n_types; i++) {
        const struct type_sum *const sum = &inspection->types[i];
        json_object_set_new(object, sum->type,
                            json_pack("{s:I, s:I}", "tensors", (json_int_t)sum->n_tensors, "bytes",
                                      (json_int_t)sum->bytes));
    }
    return object;
}

static json_t *plan_json(const struct inspection *inspection) {
    if (!inspection->runs) {
        const char *const reason = inspection->why_not.message;
        return json_pack("{s:b, s:o}", "runs", 0, "reason", json_out_text(reason, strlen(reason)));
    }
    const struct octet_model_info *const info = &inspection->info;
    const struct machine *const machine = &inspection->machine;
    const enum plan_fit fit = plan_fit(machine, info->file_bytes, inspection->kv_full);
    return json_pack("{s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, "
                     "s:o}",
                     "runs", 1, "context_tokens", (int)inspection->n_ctx, "peak_bytes",
                     (json_int_t)peak_bytes(inspection), "kv_bytes",
                     (json_int_t)inspection->memory.kv, "workspace_bytes",
                     (json_int_t)inspection->memory.workspace, "resident_weight_bytes",
                     (json_int_t)inspection->memory.weights, "program_bytes",
                     (json_int_t)inspection->program,
                     "weight_bytes", (json_int_t)info->file_bytes, "decode_bytes",
                     (json_int_t)info->decode_bytes, "kv_bytes_per_token",
                     (json_int_t)info->kv_bytes_per_token, "kv_bytes_full_context",
                     (json_int_t)inspection->kv_full, "ram_total_bytes",
                     (json_int_t)machine->ram_total, "ram_available_bytes",
                     (json_int_t)machine->ram_available, "fit", plan_fit_text(fit),
                     "memory_gb_per_s", json_out_number(machine->memory_speed / 1e9),
                     "decode_limit_tokens_per_s", json_out_number(decode_limit(inspection)));
}

static int print_json(struct inspection *inspection) {
    return json_out_print(json_pack(
        "{s:o, s:I, s:o, s:o, s:o, s:o}", "file",
        json_out_text(inspection->path, strlen(inspection->path)), "bytes",
        (json_int_t)octet_file_bytes(inspection->file), "metadata", metadata_json(inspection),
        "types", types_json(inspection), "tensors", tensors_json(inspection), "plan",
        plan_json(inspection)));
}

/* ---- The command ----------------------------------------------------------------------------- */

static int check_file(const struct octet_file *file) {
    struct progress progress;
    progress_open(&progress, "check", PROGRESS_BYTES);
    struct octet_err err;
    terminal_catch_interrupt();
    const enum octet_status status = octet_file_check(file, progress_step, &progress, &err);
    terminal_release_interrupt();
    progress_close(&progress);
    return status == OCTET_OK ? OPTIONS_RUN : output_failure(&err);
}

static int inspect(struct inspection *inspection) {
    struct octet_err err;
    inspection->program = probe_rss_peak();
    if (octet_file_open(inspection->path, &inspection->file, &err) != OCTET_OK) {
        return output_failure(&err);
    }
    inspection->value = mem_alloc(VALUE_BYTES);
    if (inspection->value == NULL) return output_error("out of memory for the metadata");
    if (inspection->args.check) {
        const int status = check_file(inspection->file);
        if (status != OPTIONS_RUN) return status;
    }
    sum_types(inspection);
    if (make_plan(inspection, &err) != OCTET_OK) return output_failure(&err);
    const int status = inspection->args.json ? print_json(inspection) : print_text(inspection);
    if (inspection->args.check && !inspection->args.json) {
        output_printf("\nchecked: all weights are numbers\n");
    }
    return status;
}

static int inspect_command(const struct command *command, int argc, char **argv) {
    static const struct inspect_args defaults = {false, false, false};
    struct inspection inspection = {.args = defaults};
    const struct option_group groups[] = {
        {"Options", rows, sizeof rows / sizeof rows[0], &inspection.args, &defaults,
         sizeof defaults},
        options_session_group(&inspection.session_args),
    };
    struct arguments arguments;
    int status = options_parse(command, groups, 2, argc, argv, 1, 1, &arguments);
    if (status != OPTIONS_RUN) return status;
    inspection.path = arguments.items[0];
    status = inspect(&inspection);
    mem_free(inspection.value);
    octet_file_close(inspection.file);
    return status;
}

const struct command cmd_inspect = {
    .name = "inspect",
    .summary = "what a model file holds and what running it takes",
    .usage = "FILE [options]",
    .about = "Prints the metadata and the weights of a GGUF file, and what this machine makes of "
             "it: the memory that a session takes at most, whether that fits, and the decode speed "
             "that the measured memory bandwidth allows. Session options change that plan and "
             "nothing else. For a split file name its first part.",
    .examples = "  octet inspect model.gguf\n"
                "  octet inspect --tensors --check model-00001-of-00005.gguf\n"
                "  octet inspect --json -c 2048 --kv q8_0 model.gguf\n",
    .run = inspect_command,
};
