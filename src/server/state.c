/* What operators look at: health and metrics. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/probe.h"
#include "server/server.h"

/* What Tabby's plug-ins look for at the same path. */
static void add_machine(const struct server *server, json_t *json) {
    char cpu[128];
    struct utsname host;
    if (uname(&host) != 0) strcpy(host.machine, "");
    probe_cpu_name(cpu, sizeof cpu);
    const char *const model = lane_name(server_lane(server, 0));
    json_t *const more = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:[], s:{s:s, s:s, s:s, s:s}}", "model", model,
        "chat_model", model, "device", "cpu", "arch", host.machine, "cpu_info", cpu, "cpu_count",
        (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "cuda_devices", "version", "build_date", "",
        "build_timestamp", "", "git_sha", "", "git_describe", "v" OCTET_VERSION);
    json_object_update(json, more);
    json_decref(more);
}

static void get_health(void *user, struct exchange *exchange) {
    const struct server *const server = user;
    size_t n_active = 0, n_waiting = 0;
    for (size_t i = 0; i < server_n_lanes(server); i++) {
        struct lane_stats stats;
        lane_get_stats(server_lane(server, i), &stats);
        n_active += stats.n_active;
        n_waiting += stats.n_waiting;
    }
    json_t *const json = json_pack("{s:s, s:I, s:I}", "status", "ok", "active",
                                   (json_int_t)n_active, "waiting", (json_int_t)n_waiting);
    add_machine(server, json);
    server_reply_json(exchange, 200, json);
}

/* ---- Prometheus ------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static void add(struct buffer *text, const char *fmt, ...) {
    char line[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    buffer_append_text(text, line);
}

/* What comes before a value: a metric, or a PART of one, of a model. Its name is of any length, and
 * escaped as Prometheus' text format asks. */
static void begin_value(struct buffer *text, const char *metric, const char *part,
                        const char *model, const char *le) {
    buffer_append_text(text, metric);
    buffer_append_text(text, part);
    buffer_append_text(text, "{model=\"");
    for (const char *c = model; *c != '\0'; c++) {
        if (strchr("\\\"\n", *c) != NULL) buffer_append_text(text, "\\");
        buffer_append(text, *c == '\n' ? "n" : c, 1);
    }
    buffer_append_text(text, "\"");
    if (le != NULL) add(text, ",le=\"%s\"", le);
    buffer_append_text(text, "} ");
}

struct metric {
    const char *name, *kind, *help;
    double (*value)(const struct lane_stats *stats);
};

static double n_jobs(const struct lane_stats *s) { return (double)s->n_jobs; }
static double n_cancelled(const struct lane_stats *s) { return (double)s->n_cancelled; }
static double n_failed(const struct lane_stats *s) { return (double)s->n_failed; }
static double n_refused(const struct lane_stats *s) { return (double)s->n_refused; }
static double n_prompt(const struct lane_stats *s) { return (double)s->prompt_tokens; }
static double n_cached(const struct lane_stats *s) { return (double)s->cached_tokens; }
static double n_generated(const struct lane_stats *s) { return (double)s->generated_tokens; }
static double n_drafted(const struct lane_stats *s) { return (double)s->drafted_tokens; }
static double n_accepted(const struct lane_stats *s) { return (double)s->accepted_tokens; }
static double prefill_s(const struct lane_stats *s) { return s->prefill_s; }
static double decode_s(const struct lane_stats *s) { return s->decode_s; }
static double cache_bytes(const struct lane_stats *s) { return (double)s->cache.ram_bytes; }
static double cache_pages(const struct lane_stats *s) { return (double)s->cache.n_pages; }
static double disk_bytes(const struct lane_stats *s) { return (double)s->cache.disk_bytes; }
static double n_damaged(const struct lane_stats *s) { return (double)s->cache.n_damaged; }
static double n_active(const struct lane_stats *s) { return (double)s->n_active; }
static double n_waiting(const struct lane_stats *s) { return (double)s->n_waiting; }

static const struct metric metrics[] = {
    {"octet_requests_total", "counter", "answers asked for", n_jobs},
    {"octet_requests_cancelled_total", "counter", "of which the client went away", n_cancelled},
    {"octet_requests_failed_total", "counter", "of which ended in an error", n_failed},
    {"octet_requests_refused_total", "counter", "turned away by a full queue", n_refused},
    {"octet_prompt_tokens_total", "counter", "tokens of prompts", n_prompt},
    {"octet_prompt_tokens_cached_total", "counter", "of which needed no computing", n_cached},
    {"octet_generated_tokens_total", "counter", "tokens of answers that ended", n_generated},
    {"octet_draft_tokens_total", "counter", "tokens guessed ahead and computed", n_drafted},
    {"octet_draft_tokens_accepted_total", "counter", "of which were found right", n_accepted},
    {"octet_prefill_seconds_total", "counter", "time of steps with prompts only", prefill_s},
    {"octet_decode_seconds_total", "counter", "time of steps with answers", decode_s},
    {"octet_cache_ram_bytes", "gauge", "of the prefix cache", cache_bytes},
    {"octet_cache_pages", "gauge", "of up to 64 tokens each in the prefix cache", cache_pages},
    {"octet_cache_disk_bytes", "gauge", "of the prefix cache's files", disk_bytes},
    {"octet_cache_damaged_total", "counter", "files of it found damaged and removed", n_damaged},
    {"octet_requests_active", "gauge", "being answered", n_active},
    {"octet_requests_waiting", "gauge", "in the queue", n_waiting},
};

static void add_histogram(struct buffer *text, const char *name, const char *model,
                          const struct lane_times *times) {
    unsigned long long n = 0;
    for (size_t i = 0; i < LANE_BUCKETS; i++) {
        char le[32] = "+Inf";
        if (i + 1 < LANE_BUCKETS) snprintf(le, sizeof le, "%g", lane_bucket_s(i));
        n += times->counts[i];
        begin_value(text, name, "_bucket", model, le);
        add(text, "%llu\n", n);
    }
    begin_value(text, name, "_sum", model, NULL);
    add(text, "%.6f\n", times->sum);
    begin_value(text, name, "_count", model, NULL);
    add(text, "%llu\n", n);
}

static void get_metrics(void *user, struct exchange *exchange) {
    const struct server *const server = user;
    const size_t n = server_n_lanes(server);
    struct buffer text = {NULL, 0, 0};
    struct lane_stats stats;
    for (size_t k = 0; k < sizeof metrics / sizeof *metrics; k++) {
        const struct metric *const m = &metrics[k];
        add(&text, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->kind);
        for (size_t i = 0; i < n; i++) {
            lane_get_stats(server_lane(server, i), &stats);
            begin_value(&text, m->name, "", lane_name(server_lane(server, i)), NULL);
            add(&text, "%.9g\n", m->value(&stats));
        }
    }
    static const char *const names[N_LANE_TIMES] = {"octet_queue_seconds", "octet_prefill_seconds",
                                                    "octet_time_to_first_token_seconds",
                                                    "octet_time_per_token_seconds"};
    for (size_t k = 0; k < N_LANE_TIMES; k++) {
        add(&text, "# TYPE %s histogram\n", names[k]);
        for (size_t i = 0; i < n; i++) {
            struct lane *const lane = server_lane(server, i);
            lane_get_stats(lane, &stats);
            add_histogram(&text, names[k], lane_name(lane), &stats.times[k]);
        }
    }
    add(&text, "# TYPE octet_exchanges gauge\noctet_exchanges %zu\n",
        httpd_n_exchanges(server_httpd(server)));
    add(&text, "# TYPE octet_memory_bytes gauge\noctet_memory_bytes %llu\n",
        (unsigned long long)probe_rss_anon());
    exchange_reply(exchange, 200, "text/plain; version=0.0.4", text.bytes ? text.bytes : "",
                   text.n);
    buffer_free(&text);
}

const struct route state_routes[] = {
    {"/health", HTTPD_GET, true, get_health},
    {"/v1/health", HTTPD_GET | HTTPD_POST, true, get_health},
    {"/metrics", HTTPD_GET, false, get_metrics},
    {0},
};
