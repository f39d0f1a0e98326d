"""Tools, as `octet serve` offers them in every dialect; for tests/cli/serve_dialects.sh.

    check_tools.py OCTET MODEL

The model has random weights: where it must call, the schema holds it to it, and what it "says"
otherwise is written by a grammar.
"""
import json
import struct

from lib import MODEL, Server, attempt, check, finish

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
          "required": ["city"], "additionalProperties": False}
PLAIN = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Tells of it.",
                                           "parameters": SCHEMA}},
         {"type": "function", "function": {"name": "get_time"}}]
FLAT = [{"type": "function", "name": "get_weather", "parameters": SCHEMA}, {"type": "web_search"}]
CLAUDES = [{"name": "get_weather", "input_schema": SCHEMA}]
QUESTION = {"role": "user", "content": "Weather?"}
CHAT = {"messages": [QUESTION], "tools": TOOLS, "max_tokens": 60, "temperature": 1.5, "seed": 7}
CITIES = ({"city": "Paris"}, {"city": "Rome"})
CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


def says(text):
    return {"grammar": "root ::= " + json.dumps(text), "max_tokens": 400}


def is_weather(call):
    return (call["function"]["name"] == "get_weather" and call["type"] == "function" and
            json.loads(call["function"]["arguments"]) in CITIES and len(call["id"]) == 9 and
            call["id"].isalnum())


def chunks_of(server, more):
    """The deltas and the finish reason of a streamed chat."""
    _, _, events = server.events("/v1/chat/completions", {**CHAT, **more})
    choices = [json.loads(e)["choices"][0] for e in events if e != "[DONE]"]
    return [c["delta"] for c in choices], choices[-1]["finish_reason"]


def calls_in(deltas):
    """The calls that their pieces make, as clients put them together."""
    calls = []
    for piece in (p for d in deltas for p in d.get("tool_calls", [])):
        if piece["index"] == len(calls):
            calls.append(json.loads(json.dumps(piece)))
        else:
            assert piece["index"] == len(calls) - 1 and set(piece) == {"index", "function"}, piece
            calls[-1]["function"]["arguments"] += piece["function"]["arguments"]
    return calls


# ---- OpenAI --------------------------------------------------------------------------------------

def test_chat(server):
    path = "/v1/chat/completions"
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice in (named, "required", "any"):
        tools = TOOLS if choice == named else TOOLS[:1]
        _, _, body = server.ask(path, {**CHAT, "tools": tools, "tool_choice": choice})
        message = body["choices"][0]["message"]
        check(f"chat_{str(choice)[:8]}", body["choices"][0]["finish_reason"] == "tool_calls" and
              message["content"] is None and is_weather(message["tool_calls"][0]), body)
        deltas, reason = chunks_of(server, {"tools": tools, "tool_choice": choice})
        calls = calls_in(deltas)
        check(f"chat_stream_{str(choice)[:8]}", reason == "tool_calls" and is_weather(calls[0]) and
              calls[0]["index"] == 0 and len(calls) == 1 and
              not any(d.get("content") for d in deltas), deltas)
    _, _, body = server.ask(path, {**CHAT, "tool_choice": named, "n": 3})
    ids = {c["message"]["tool_calls"][0]["id"] for c in body["choices"]}
    check("chat_several", len(ids) == 3, body)
    _, _, body = server.ask(path, {**CHAT, "tools": TOOLS[1:], "tool_choice": "required",
                                   "max_tokens": 300})
    check("chat_without_parameters", body["choices"][0]["message"]["tool_calls"][0]["function"] ==
          {"name": "get_time", "arguments": "{}"}, body)


def test_what_models_write(server):
    two = f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{CALL}</tool_call>"
    deltas, reason = chunks_of(server, says(two))
    calls = calls_in(deltas)
    check("auto_text_then_calls", reason == "tool_calls" and [c["index"] for c in calls] == [0, 1]
          and all(map(is_weather, calls)) and calls[0]["id"] != calls[1]["id"] and
          "".join(d.get("content") or "" for d in deltas) == "Let me see.", deltas)
    _, _, body = server.ask("/v1/chat/completions", {**CHAT, **says(two),
                                                     "parallel_tool_calls": False})
    check("only_one_call", len(body["choices"][0]["message"]["tool_calls"]) == 1 and
          body["choices"][0]["message"]["content"] == "Let me see." and
          body["choices"][0]["finish_reason"] == "tool_calls", body)
    for name, text in (("mistral", f"[TOOL_CALLS] [{CALL}]"), ("bare", CALL),
                       ("fence", f"```json\n{CALL}\n```"),
                       ("llama", CALL.replace("arguments", "parameters"))):
        _, _, body = server.ask("/v1/chat/completions", {**CHAT, **says(text)})
        message = body["choices"][0]["message"]
        check(f"reads_{name}", is_weather(message.get("tool_calls", [None])[0]) and
              message["content"] is None, body)
    for name, text in (("unknown", CALL.replace("get_weather", "rm")), ("prose", "No: " + CALL),
                       ("list", "[1, 2]")):
        deltas, reason = chunks_of(server, says(text))
        check(f"keeps_{name}", reason == "stop" and text == "".join(
            d.get("content") or "" for d in deltas), deltas)
    broken = f"<tool_call>{CALL[:-1]}</tool_call> "
    _, _, body = server.ask("/v1/chat/completions", {**CHAT, **says(broken)})
    check("keeps_broken", body["choices"][0]["message"]["content"] == broken and
          body["choices"][0]["finish_reason"] == "stop", body)
    deltas, reason = chunks_of(server, {**says(CALL), "tool_choice": "none"})
    check("none_is_no_call", reason == "stop" and "".join(
        d.get("content") or "" for d in deltas) == CALL, deltas)
    deltas, reason = chunks_of(server, {**says(two), "max_tokens": 20})
    check("cut_call_is_text", reason == "length" and not any("tool_calls" in d for d in deltas) and
          "".join(d.get("content") or "" for d in deltas).startswith("Let me see.\n<tool"), deltas)


def test_pieces(server):
    path, long = "/v1/chat/completions", json.dumps({"text": "ab \\ \"c\"\n" * 12, "n": [1, {}]})
    tools = [{"type": "function", "function": {"name": "write"}}]
    call = '{"name": "write", "arguments": %s}' % long
    for name, said in (("tagged", f"<tool_call>{call}</tool_call>"), ("bare", call),
                       ("mistral", f"[TOOL_CALLS]write{long}"), ("list", f"[TOOL_CALLS] [{call}]")):
        deltas, reason = chunks_of(server, {**says(said), "tools": tools})
        pieces = [p["function"]["arguments"] for d in deltas for p in d.get("tool_calls", [])]
        calls = calls_in(deltas)
        check(f"{name}_comes_in_pieces", reason == "tool_calls" and len(calls) == 1 and
              json.loads(calls[0]["function"]["arguments"]) == json.loads(long) and
              len(pieces) > 1 and pieces[0] == "", deltas[:3])
    deltas, reason = chunks_of(server, {**says(call), "tools": tools, "max_tokens": 60})
    check("cut_pieces_end_with_length", reason == "length" and long.startswith(
        calls_in(deltas)[0]["function"]["arguments"]), deltas[-3:])
    deltas, reason = chunks_of(server, {**says(call[:-20]), "tools": tools})
    check("broken_pieces_are_no_call", reason == "stop" and long.startswith(
        calls_in(deltas)[0]["function"]["arguments"]), deltas[-3:])
    status, _, text = server.ask(path, {**CHAT, **says(call), "tools": tools, "stream": True},
                                 {"User-Agent": "mistral-client-python/1.0"}.items())
    chunks = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
    calls = [c for chunk in chunks for c in chunk["choices"][0]["delta"].get("tool_calls", [])]
    check("mistrals_clients_get_whole_calls", len(calls) == 1 and
          json.loads(calls[0]["function"]["arguments"]) == json.loads(long), text[:300])


def prompt_of(server, messages, **more):
    _, _, body = server.ask("/apply-template", {"messages": messages, **more})
    return body["prompt"] if "prompt" in body else body


def test_conversations(server):
    call = {"id": "call_1", "type": "function", "function": {
        "name": "get_weather", "arguments": '{"city": "Rome"}'}}
    talk = [QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1",
             "content": [{"type": "text", "text": "sun"}]}]
    prompt = prompt_of(server, talk, tools=TOOLS)
    told = [prompt.find(s) for s in ("You can call tools", '"get_time"', "Weather?", "<tool_call>\n"
                                     '{"name": "get_weather", "arguments": {"city": "Rome"}}',
                                     "<tool_response>\nsun\n</tool_response>")]
    check("prompt_tells_all", -1 not in told and told == sorted(told), prompt)
    check("prompt_without_tools", "You can call" not in prompt_of(server, talk), prompt)
    same = [QUESTION, {"role": "assistant", "tool_calls": [{"function": {
        "name": "get_weather", "arguments": {"city": "Rome"}}}]},
            {"role": "tool", "content": "sun"}]
    check("arguments_as_object_without_ids", prompt_of(server, same, tools=TOOLS) == prompt, prompt)
    status, _, body = server.ask("/v1/chat/completions", {**CHAT, "messages": talk})
    check("chat_after_a_result", status == 200, body)
    for more in ({"tools": 5}, {"tools": [5]}, {"tools": [{"type": "function"}]},
                 {"tools": [{"type": "function", "function": {"name": "x" * 200}}]},
                 {"tools": [{"type": "function", "function": {"name": "x", "parameters": 5}}]},
                 {"tools": TOOLS * 300}, {"tool_choice": "sometimes"}, {"tool_choice": 5},
                 {"tool_choice": {"type": "function", "function": {"name": "rm"}}},
                 {"tool_choice": {"type": "function"}}, {"tool_choice": "required", "tools": []},
                 {"parallel_tool_calls": "yes"}, {"functions": [{"name": "x"}]},
                 {"messages": [{"role": "tool", "content": "x"}]},
                 {"messages": [{"role": "assistant", "tool_calls": [5]}]},
                 {"messages": [{"role": "assistant", "tool_calls": [{"function": {
                     "name": "x", "arguments": "{"}}]}]},
                 {"tool_choice": "required", "tools": [{"type": "function", "function": {
                     "name": "x", "parameters": {"type": "object", "not": {}}}}]}):
        status, _, body = server.ask("/v1/chat/completions", {**CHAT, **more})
        check(f"wrong_{str(more)[:60]}", status == 400 and body["error"]["message"], (status, body))


# ---- The others ----------------------------------------------------------------------------------

def test_ollama(server):
    form = {"type": "object", "properties": {"name": {"const": "get_weather"},
                                             "arguments": SCHEMA},
            "required": ["name", "arguments"], "additionalProperties": False}
    ask = {"messages": [QUESTION], "tools": TOOLS, "format": form,
           "options": {"num_predict": 60, "temperature": 1.5}}
    _, _, body = server.ask("/api/chat", {**ask, "stream": False})
    check("ollama_call", body["message"]["content"] == "" and
          body["message"]["tool_calls"][0]["function"]["arguments"] in CITIES, body)
    _, _, text = server.ask("/api/chat", ask)
    parts = [json.loads(line) for line in text.splitlines()]
    calls = [c for p in parts for c in p["message"].get("tool_calls", [])]
    check("ollama_stream", parts[-1]["done"] and calls[0]["function"]["arguments"] in CITIES, parts)
    talk = [QUESTION, body["message"], {"role": "tool", "tool_name": "get_weather", "content": "x"}]
    status, _, body = server.ask("/api/chat", {**ask, "messages": talk, "format": None,
                                               "stream": False})
    check("ollama_after_a_result", status == 200, body)
    _, _, shown = server.ask("/api/show", {"model": "tiny"})
    check("ollama_can", "tools" in shown["capabilities"], shown)


def test_anthropic(server):
    ask = {"messages": [QUESTION], "tools": CLAUDES, "max_tokens": 60, "temperature": 1,
           "tool_choice": {"type": "any"}}
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        _, _, body = server.ask("/v1/messages", {**ask, "tool_choice": choice})
        block = body["content"][0]
        check(f"anthropic_{choice['type']}", body["stop_reason"] == "tool_use" and
              block["type"] == "tool_use" and block["input"] in CITIES, body)
    _, _, events = server.events("/v1/messages", ask)
    events = [json.loads(e) for e in events if "ping" not in e]
    pieces = [e["delta"]["partial_json"] for e in events if e["type"] == "content_block_delta"]
    check("anthropic_stream", [e["type"] for e in events] == [
        "message_start", "content_block_start", *["content_block_delta"] * len(pieces),
        "content_block_stop", "message_delta", "message_stop"] and len(pieces) > 0 and
          events[1]["content_block"]["type"] == "tool_use" and
          json.loads("".join(pieces)) in CITIES and
          events[-2]["delta"]["stop_reason"] == "tool_use", events)
    talk = [QUESTION, {"role": "assistant", "content": [{"type": "text", "text": "Hm."}, block]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"],
                                          "content": "sun"}, {"type": "text", "text": "So?"}]}]
    del ask["tool_choice"]
    status, _, body = server.ask("/v1/messages", {**ask, "messages": talk})
    check("anthropic_after_a_result", status == 200, body)
    _, _, counted = server.ask("/v1/messages/count_tokens", {**ask, "messages": talk})
    check("anthropic_count", counted["input_tokens"] == body["usage"]["input_tokens"] +
          body["usage"]["cache_read_input_tokens"], (counted, body))


def test_responses(server):
    ask = {"input": "Weather?", "tools": FLAT, "max_output_tokens": 60, "temperature": 1.5,
           "tool_choice": "required"}
    for choice in ("required", {"type": "function", "name": "get_weather"}):
        _, _, body = server.ask("/v1/responses", {**ask, "tool_choice": choice})
        item = body["output"][0]
        check(f"response_{str(choice)[:8]}", item["type"] == "function_call" and
              json.loads(item["arguments"]) in CITIES and body["status"] == "completed" and
              body["tools"] == FLAT, body)
    _, _, events = server.events("/v1/responses", ask)
    events = [json.loads(e) for e in events]
    kinds = [e["type"].removeprefix("response.") for e in events]
    pieces = [e["delta"] for e in events if "delta" in e]
    check("response_stream", kinds == [
        "created", "in_progress", "output_item.added",
        *["function_call_arguments.delta"] * len(pieces), "function_call_arguments.done",
        "output_item.done", "completed"] and len(pieces) > 0 and
          json.loads("".join(pieces)) in CITIES and events[-3]["arguments"] == "".join(pieces) and
          events[-1]["response"]["output"] == [events[-2]["item"]], events)
    talk = [QUESTION, item, {"type": "function_call_output", "call_id": item["call_id"],
                             "output": "sun"}]
    status, _, body = server.ask("/v1/responses", {**ask, "input": talk, "tool_choice": "auto"})
    check("response_after_a_result", status == 200, body)


# ---- Models with templates -----------------------------------------------------------------------

def with_template(name):
    """A copy of the model that has the template of that name."""
    with open(f"tests/data/template/{name}.jinja", "rb") as file:
        template = file.read()
    with open(MODEL, "rb") as file:
        model = file.read()
    key = b"tokenizer.chat_template"
    n = 8 + len(key) + 4 + 8 + len(template) + 4
    template += b"{#" + b" " * (-n % 32) + b"#}"  # so that tensors stay aligned
    pair = (struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(template)) + template)
    n_pairs, = struct.unpack_from("<Q", model, 16)
    path = f"{MODEL}.{name}"
    with open(path, "wb") as file:
        file.write(model[:16] + struct.pack("<Q", n_pairs + 1) + pair + model[24:])
    return path


def test_template(name, told, call, result):
    server = Server(model=with_template(name))
    talk = [{"role": "system", "content": "Be brief."}, QUESTION,
            {"role": "assistant", "content": None, "tool_calls": [{
                "id": "call_of_more_than_nine", "type": "function", "function": {
                    "name": "get_weather", "arguments": '{"city": "Rome"}'}}]},
            {"role": "tool", "tool_call_id": "call_of_more_than_nine", "content": "sun"}]
    prompt = prompt_of(server, talk, tools=TOOLS)
    places = [prompt.find(text) for text in (told, call, result)]
    check(f"{name}_tells_all", -1 not in places and places == sorted(places), prompt)
    check(f"{name}_is_not_taught", "You can call tools" not in prompt, prompt)
    for stream in (False, True):
        ask = {"tools": TOOLS[:1], "tool_choice": "required"}
        if stream:
            deltas, reason = chunks_of(server, ask)
            calls = calls_in(deltas)
        else:
            _, _, body = server.ask("/v1/chat/completions", {**CHAT, **ask})
            calls = body["choices"][0]["message"]["tool_calls"]
            reason = body["choices"][0]["finish_reason"]
        check(f"{name}_required_{stream}", is_weather(calls[0]) and reason == "tool_calls", calls)
    for messages in ([], [{"role": "system", "content": "Be brief."}]):
        status, _, body = server.ask("/v1/chat/completions", {"messages": messages})
        check(f"{name}_wants_a_question_{len(messages)}", status == 400, body)
    status, _, body = server.ask("/v1/messages", {"messages": [], "system": "x", "max_tokens": 5})
    check(f"{name}_wants_a_question_beside_the_system", status == 400, body)
    server.stop()


running = Server()
for test in (test_chat, test_what_models_write, test_pieces, test_conversations, test_ollama,
             test_anthropic, test_responses):
    attempt(test, running)
code, errors = running.stop()
check("server_ends_well", code == 0 and "Sanitizer" not in errors, errors)
attempt(test_template, "mistral-v3", '[AVAILABLE_TOOLS] [{"type": "function"',
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Rome"}, "id": "',
        '[TOOL_RESULTS] {"content": sun, "call_id": "')
attempt(test_template, "qwen2.5", "<tools>",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>',
        "<tool_response>\nsun\n</tool_response>")
attempt(test_template, "llama-3.1", '"name": "get_weather"',
        '{"name": "get_weather", "parameters": {"city": "Rome"}}', "sun")
finish()
