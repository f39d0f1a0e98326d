/* Chat templates from fuzzed bytes: the source up to the first NUL, then the variables, or a
 * conversation where there are none. Whatever happens, it must end soon, in a text or a message. */
#include <stdlib.h>
#include <string.h>

#include "octet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \" S \\u00e9 \"},"
    "{\"role\": \"user\", \"content\": \"U\\nx\"},"
    "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"a\", \"function\": "
    "{\"name\": \"f\", \"arguments\": {\"k\": [1, 2.5, null, true]}}}]},"
    "{\"role\": \"tool\", \"content\": \"r\"}], \"tools\": [{\"function\": {\"name\": \"f\"}}],"
    "\"add_generation_prompt\": true, \"bos_token\": \"<s>\", \"eos_token\": \"</s>\", "
    "\"l\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": {}}, \"x\": \"a-b c\", \"n\": 7}";

static void require(bool condition) {
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct octet_template *t;
    struct octet_err err = {OCTET_OK, ""};
    const char *source = (const char *)data, *variables = conversation;
    size_t n_source = strnlen(source, n), n_variables = strlen(conversation), n_text;
    char *text;
    if (octet_template_open(source, n_source, &t, &err)) {
        require(err.status == OCTET_EFORMAT && *err.message);
        return 0;
    }
    if (n_source + 1 < n) {
        variables = source + n_source + 1;
        n_variables = n - n_source - 1;
    }
    enum octet_status status =
        octet_template_render(t, variables, n_variables, &text, &n_text, &err);
    require(status == OCTET_OK || status == OCTET_EARG);
    require((status == OCTET_OK) == (text != NULL) && err.status == status);
    if (text) require(text[n_text] == 0);
    octet_text_free(text);
    octet_template_close(t);
    return 0;
}
