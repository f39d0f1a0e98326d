/* Tabby's API, as its editor plug-ins use it: completions of "segments", settings, events. Its
 * health is that of state.c. */
#include "server/tabby.h"

#include <string.h>

#include "server/asked.h"

/* What its plug-ins expect: a line or a few, and close to the likeliest. */
enum { DEFAULT_TOKENS = 64 };
static const float default_temperature = 0.1f;

/* ---- Writing --------------------------------------------------------------------------------- */

static json_t *whole(struct answer *a) {
    const struct choice *const c = &a->choices[0];
    return json_pack("{s:s, s:[{s:i, s:s}], s:s}", "id", a->id, "choices", "index", 0, "text",
                     c->text.bytes ? c->text.bytes : "", "fim_method",
                     fim_method_name(a->hole->method));
}

static const struct dialect dialect = {.whole = whole}; // it is never streamed

/* ---- Reading --------------------------------------------------------------------------------- */

/* Pieces of other files, the ones that matter most last, as holes want them: lists come with the
 * best piece first. */
static void read_pieces(struct body *segments, const char *key, struct hole *hole) {
    const json_t *const list = body_get(segments, key);
    if (list && !json_is_array(list)) body_complain(segments, "'%s' is not a list", key);
    for (size_t i = json_array_size(list); i > 0; i--) {
        const json_t *const piece = json_array_get(list, i - 1);
        const char *const name = json_string_value(json_object_get(piece, "filepath"));
        const char *const text = json_string_value(json_object_get(piece, "body"));
        if (!text)
            body_complain(segments, "'%s' holds what has no 'body'", key);
        else if (!hole_add_chunk(hole, name ? name : "", text))
            body_complain(segments, "out of memory");
    }
}

static struct hole *read_hole(struct body *body) {
    static const char *const pieces[] = {"relevant_snippets_from_recently_opened_files",
                                         "relevant_snippets_from_changed_files", "declarations"};
    struct body segments = body_inner(body, "segments");
    const char *const prefix = body_text(&segments, "prefix");
    const char *const suffix = body_text(&segments, "suffix");
    const char *const clipboard = body_text(&segments, "clipboard");
    struct hole *const hole = asked_hole(body, prefix, suffix);
    if (!prefix) body_complain(&segments, "'prefix' is missing");
    for (size_t i = 0; hole && i < sizeof pieces / sizeof *pieces; i++)
        read_pieces(&segments, pieces[i], hole);
    if (hole && clipboard && clipboard[0] && !hole_add_chunk(hole, "", clipboard))
        body_complain(&segments, "out of memory");
    if (hole && !hole_set_file(hole, body_text(&segments, "filepath"),
                               body_text(body, "language")))
        body_complain(&segments, "out of memory");
    if (segments.wrong[0]) body_complain(body, "segments: %.150s", segments.wrong);
    return hole;
}

void tabby_complete(struct server *server, struct exchange *exchange, struct lane *lane,
                    struct body *body) {
    struct answer *const answer = answer_new(server, exchange, lane, &dialect, "cmpl-", 1);
    struct job *const job = answer ? asked_job(body, lane, 0) : NULL;
    if (job) {
        answer_add_job(answer, 0, job);
        answer->hole = read_hole(body);
        job->max_tokens = (int32_t)body_int(body, "max_tokens", 0, INT32_MAX, DEFAULT_TOKENS);
        if (!body_get(body, "temperature")) job->sampling.temperature = default_temperature;
        asked_fill(body, lane, answer->hole, job);
    }
    answer_or_refuse(answer, exchange, body);
}

/* ---- Beside completions ---------------------------------------------------------------------- */

static void get_setting(void *user, struct exchange *exchange) {
    (void)user;
    server_reply_json(exchange, 200, json_pack("{s:b}", "disable_client_side_telemetry", 1));
}

/* What a user took or left: nobody here wants to know. */
static void post_event(void *user, struct exchange *exchange) {
    (void)user;
    exchange_reply(exchange, 200, NULL, "", 0);
}

const struct route tabby_routes[] = {
    {"/v1beta/server_setting", HTTPD_GET, false, get_setting},
    {"/v1/events", HTTPD_POST, false, post_event},
    {0},
};
