/* Continues a text with the likeliest tokens:  example MODEL.gguf "Once upon a time" */
#include <octet.h>
#include <stdio.h>
#include <string.h>

static int likeliest(const float *logits, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* A character may be spread over several tokens: the stream holds its first bytes back. */
static void print_token(const struct octet_model *model, struct octet_stream *stream, int id) {
    const char *bytes;
    size_t n;
    char text[1024];
    if (octet_token_bytes(model, id, false, &bytes, &n) != OCTET_OK || 3 * n + 12 > sizeof text) {
        return;
    }
    fwrite(text, 1, octet_stream_push(stream, bytes, n, text), stdout);
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct octet_err err = {OCTET_EARG, "usage: example MODEL.gguf TEXT"};
    struct octet_model *model = NULL;
    struct octet_session *session = NULL;
    struct octet_tokens tokens = {0};
    struct octet_stream stream = {0};
    struct octet_model_info info;

    octet_guard_mappings();
    if (argc != 3 || octet_model_open(argv[1], NULL, &model, &err) != OCTET_OK) goto failed;
    octet_model_get_info(model, &info);
    if (octet_tokenize(model, argv[2], strlen(argv[2]), OCTET_TOKENIZE_BOS, &tokens, &err) ||
        octet_session_open(model, NULL, &session, &err)) {
        goto failed;
    }
    fputs(argv[2], stdout);
    for (int i = 0; i < 40; i++) {
        // The session gets all tokens every time, and computes only those it has not seen.
        if (octet_session_sync(session, tokens.ids, tokens.n, &err) != OCTET_OK) goto failed;
        const int id = likeliest(octet_session_logits(session), info.n_vocab);
        if (octet_token_ends(model, id)) break;
        print_token(model, &stream, id);
        if (octet_tokens_push(&tokens, id) != OCTET_OK) goto failed;
    }
    puts("");
    err.status = OCTET_OK;
failed:
    if (err.status != OCTET_OK) fprintf(stderr, "example: %s\n", err.message);
    octet_session_close(session);
    octet_model_close(model);
    octet_tokens_free(&tokens);
    return err.status == OCTET_OK ? 0 : 1;
}
