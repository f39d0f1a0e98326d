"""Checks `octet serve` with answers held to a form: what each dialect asks by, and what is refused.

The model has random weights, so each text that is right is so because it was held to it.
"""
import json

from lib import Server, attempt, check, finish

SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                           "n": {"type": "integer", "minimum": 1, "maximum": 9}},
          "required": ["name", "n"], "additionalProperties": False}
CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "temperature": 1.5,
        "seed": 3}
OPTIONS = {"num_predict": 60, "temperature": 1.5, "seed": 4}


def is_valid(text):
    value = json.loads(text)
    return (sorted(value) == ["n", "name"] and isinstance(value["name"], str) and
            len(value["name"]) <= 20 and value["n"] in range(1, 10))


def test_chat(server):
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    for seed in range(3):
        _, _, body = server.ask("/v1/chat/completions", {**CHAT, "seed": seed,
                                                         "response_format": form})
        choice = body["choices"][0]
        check(f"chat_schema_{seed}", is_valid(choice["message"]["content"]) and
              choice["finish_reason"] == "stop", body)
    _, _, body = server.ask("/v1/chat/completions", {**CHAT, "response_format": form, "n": 3})
    check("chat_several", all(is_valid(c["message"]["content"]) for c in body["choices"]), body)
    _, _, events = server.events("/v1/chat/completions", {**CHAT, "response_format": form})
    chunks = [json.loads(e) for e in events if e != "[DONE]"]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    check("chat_stream", is_valid(text), text)
    _, _, body = server.ask("/v1/chat/completions",
                            {**CHAT, "response_format": {"type": "json_object"}})
    check("chat_any_object", isinstance(json.loads(body["choices"][0]["message"]["content"]), dict),
          body)
    status, _, body = server.ask("/v1/chat/completions",
                                 {**CHAT, "response_format": {"type": "text"}})
    check("chat_text", status == 200, body)


def test_penalties_and_bias(server):
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    _, _, body = server.ask("/v1/chat/completions", {
        **CHAT, "response_format": form, "frequency_penalty": 2, "logit_bias": {"5": 100}})
    check("chat_with_bias", is_valid(body["choices"][0]["message"]["content"]), body)
    _, _, body = server.ask("/v1/chat/completions", {
        **CHAT, "response_format": form, "ignore_eos": True, "min_tokens": 50})
    check("chat_ignoring_ends", is_valid(body["choices"][0]["message"]["content"]), body)


def test_responses(server):
    ask = {"input": "hi", "max_output_tokens": 60, "temperature": 1.5}
    form = {"type": "json_schema", "name": "x", "schema": SCHEMA}
    _, _, body = server.ask("/v1/responses", {**ask, "text": {"format": form}})
    check("response_schema", is_valid(body["output"][0]["content"][0]["text"]) and
          body["text"]["format"]["type"] == "json_schema", body)
    _, _, body = server.ask("/v1/responses", {**ask, "text": {"format": {"type": "json_object"}}})
    check("response_any_object", isinstance(
        json.loads(body["output"][0]["content"][0]["text"]), dict), body)


def test_ollama(server):
    ask = {"messages": CHAT["messages"], "stream": False, "options": OPTIONS}
    _, _, body = server.ask("/api/chat", {**ask, "format": SCHEMA})
    check("ollama_schema", is_valid(body["message"]["content"]) and
          body["done_reason"] == "stop", body)
    _, _, body = server.ask("/api/chat", {**ask, "format": "json"})
    check("ollama_json", isinstance(json.loads(body["message"]["content"]), dict), body)
    _, _, body = server.ask("/api/generate", {"prompt": "x", "stream": False, "options": OPTIONS,
                                              "format": SCHEMA})
    check("ollama_generate", is_valid(body["response"]), body)


def test_llamacpp(server):
    ask = {"prompt": "x", "n_predict": 60, "temperature": 1.5, "seed": 5}
    _, _, body = server.ask("/completion", {**ask, "json_schema": SCHEMA})
    check("completion_schema", is_valid(body["content"]), body)
    _, _, body = server.ask("/completion", {**ask, "grammar": 'root ::= ("yes" | "no") "!"{2}'})
    check("completion_grammar", body["content"] in ("yes!!", "no!!"), body)
    _, _, body = server.ask("/completion", {**ask, "grammar": "", "stream": False})
    check("completion_empty_grammar", "content" in body, body)
    _, _, body = server.ask("/completion", {**ask, "n_predict": 4, "grammar": 'root ::= [a-z]*'})
    check("completion_cut", len(body["content"]) >= 4 and body["content"].isalpha() and
          body["stop_type"] in ("limit", "eos"), body)


def test_wrong(server):
    prompt, turn = {"prompt": "x"}, {"messages": CHAT["messages"]}
    for path, ask, why in [
            ("/completion", {**prompt, "grammar": "root ::= x"}, "line 1: there is no rule 'x'"),
            ("/completion", {**prompt, "grammar": 5}, "'grammar' is not a string"),
            ("/completion", {**prompt, "grammar": "root ::= [a]", "json_schema": {}}, "two forms"),
            ("/completion", {**prompt, "json_schema": {"not": {}}}, "#: 'not' is not supported"),
            ("/completion", {**prompt, "json_schema": 5}, "neither an object nor a boolean"),
            ("/v1/chat/completions", {**turn, "response_format": {"type": "xml"}}, "json_schema"),
            ("/v1/chat/completions", {**turn, "response_format": {"type": "json_schema"}},
             "no 'schema'"),
            ("/v1/chat/completions", {**turn, "response_format": {
                "type": "json_schema", "json_schema": {"schema": {
                    "properties": {"a": {"contains": {}}}}}}}, "#/properties/a: 'contains'"),
            ("/v1/responses", {"input": "x", "text": {"format": {
                "type": "json_schema", "schema": False}}}, "no value is valid"),
            ("/api/chat", {**turn, "format": {"type": "string", "pattern": "("}}, "'pattern'"),
            ("/api/generate", {**prompt, "format": 3}, "format")]:
        status, _, body = server.ask(path, ask)
        check(f"wrong_{path}_{why[:20]}", status == 400 and why in json.dumps(body), (status, body))


def test_many_schemas(server):
    """More than are kept, and the first one again."""
    for i in [*range(20), 0]:
        _, _, body = server.ask("/completion", {"prompt": "x", "n_predict": 20,
                                                "json_schema": {"const": f"value {i}"}})
        check(f"constant_{i}", body["content"] == f'"value {i}"', body)


server = Server("--parallel", "4")
for test in (test_chat, test_penalties_and_bias, test_responses, test_ollama, test_llamacpp,
             test_wrong, test_many_schemas):
    attempt(test, server)
check("still_well", server.ask("/health")[0] == 200)
status, errors = server.stop()
check("no_sanitizer_report", status == 0 and "Sanitizer" not in errors, (status, errors[-2000:]))
finish()
