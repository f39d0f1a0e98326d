/* The web page at "/": the files of web/, compiled in. It is open to all, since it holds nothing
 * that the repository does not; what it asks the server for wants a key like any other request. */
#include <stdio.h>
#include <string.h>

#include "base/embed.h"
#include "base/hash.h"
#include "server/server.h"

EMBED(web_index, "web/index.html");
EMBED(web_style, "web/style.css");
EMBED(web_icon, "web/icon.svg");
EMBED(web_main, "web/main.js");
EMBED(web_api, "web/api.js");
EMBED(web_chat, "web/chat.js");
EMBED(web_composer, "web/composer.js");
EMBED(web_dom, "web/dom.js");
EMBED(web_fill, "web/fill.js");
EMBED(web_highlight, "web/highlight.js");
EMBED(web_markdown, "web/markdown.js");
EMBED(web_settings, "web/settings.js");
EMBED(web_sidebar, "web/sidebar.js");
EMBED(web_state, "web/state.js");
EMBED(web_store, "web/store.js");

static const char html[] = "text/html; charset=utf-8", css[] = "text/css; charset=utf-8",
                  js[] = "text/javascript; charset=utf-8", svg[] = "image/svg+xml";

static const struct {
    const char *path, *type, *begin, *end;
} files[] = {
    {"/", html, web_index_begin, web_index_end},
    {"/web/style.css", css, web_style_begin, web_style_end},
    {"/web/icon.svg", svg, web_icon_begin, web_icon_end},
    {"/web/main.js", js, web_main_begin, web_main_end},
    {"/web/api.js", js, web_api_begin, web_api_end},
    {"/web/chat.js", js, web_chat_begin, web_chat_end},
    {"/web/composer.js", js, web_composer_begin, web_composer_end},
    {"/web/dom.js", js, web_dom_begin, web_dom_end},
    {"/web/fill.js", js, web_fill_begin, web_fill_end},
    {"/web/highlight.js", js, web_highlight_begin, web_highlight_end},
    {"/web/markdown.js", js, web_markdown_begin, web_markdown_end},
    {"/web/settings.js", js, web_settings_begin, web_settings_end},
    {"/web/sidebar.js", js, web_sidebar_begin, web_sidebar_end},
    {"/web/state.js", js, web_state_begin, web_state_end},
    {"/web/store.js", js, web_store_begin, web_store_end},
};

/* Nothing from elsewhere, nothing inline, no frames around it: whatever a model writes, the browser
 * runs only what is in web/. */
static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
                             "img-src 'self'; connect-src 'self'; base-uri 'none'; "
                             "form-action 'none'; frame-ancestors 'none'";

static void write_tag(const char *bytes, size_t n, char *out, size_t cap) {
    snprintf(out, cap, "\"%016llx\"", (unsigned long long)hash_bytes(HASH_INIT, bytes, n));
}

static void reply_file(struct exchange *exchange, size_t i) {
    const size_t n = (size_t)(files[i].end - files[i].begin);
    const char *const known = exchange_header(exchange, "If-None-Match");
    char tag[24];
    write_tag(files[i].begin, n, tag, sizeof tag);
    exchange_set_header(exchange, "ETag", tag);
    exchange_set_header(exchange, "Cache-Control", "no-cache");
    exchange_set_header(exchange, "Content-Security-Policy", policy);
    exchange_set_header(exchange, "X-Content-Type-Options", "nosniff");
    exchange_set_header(exchange, "Referrer-Policy", "no-referrer");
    if (known && strstr(known, tag))
        exchange_reply(exchange, 304, NULL, "", 0);
    else
        exchange_reply(exchange, 200, files[i].type, files[i].begin, n);
}

static void get_file(void *user, struct exchange *exchange) {
    (void)user;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(files[i].path, exchange_path(exchange)) == 0) {
            reply_file(exchange, i);
            return;
        }
    exchange_error(exchange, 404, "no such path");
}

const struct route page_routes[] = {
    {"/", HTTPD_GET, true, get_file},
    {"/web/*", HTTPD_GET, true, get_file},
    {0},
};
