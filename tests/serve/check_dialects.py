"""Ollama's and Anthropic's APIs and OpenAI's responses, as `octet serve` speaks them; for
tests/cli/serve_dialects.sh.

    check_dialects.py OCTET MODEL
"""
import json

from lib import Server, attempt, check, finish, text

HUGE = 1e300
DEEP = json.loads("[" * 200 + "]" * 200)
OPTIONS = {"num_predict": 8, "temperature": 0}
MESSAGES = [{"role": "user", "content": "Hello"}]
IMAGE = "aGVsbG8="


def lines(server, path, body):
    """Content type and parsed lines of an answer."""
    _, headers, answer = server.ask(path, body)
    answer = answer if isinstance(answer, str) else json.dumps(answer)
    return headers["Content-Type"], [json.loads(line) for line in answer.splitlines()]


def named_events(server, path, body):
    """(name, data) of a stream's events."""
    _, headers, answer = server.ask(path, {**body, "stream": True})
    check(f"stream_type_{path}", headers["Content-Type"] == "text/event-stream", answer)
    events = []
    for block in answer.split("\n\n"):
        if block.startswith("event: "):
            name, data = block.split("\n")
            events.append((name[7:], json.loads(data[6:])))
    return events


# ---- Ollama --------------------------------------------------------------------------------------

def test_ollama_chat(server):
    ask = {"messages": MESSAGES, "options": OPTIONS}
    kind, parts = lines(server, "/api/chat", ask)
    check("ollama_streams_by_default", kind == "application/x-ndjson" and parts[-1]["done"] and
          not any(p["done"] for p in parts[:-1]), parts)
    last = parts[-1]
    check("ollama_counts", last["eval_count"] <= 8 and last["prompt_eval_count"] > 0 and
          last["total_duration"] >= last["eval_duration"] >= 0 and
          last["prompt_eval_duration"] > 0 and last["load_duration"] >= 0, last)
    check("ollama_reason", last["done_reason"] in ("stop", "length"), last)
    kind, whole = lines(server, "/api/chat", {**ask, "stream": False})
    content = whole[0]["message"]["content"]
    check("ollama_whole", kind == "application/json" and content ==
          "".join(p["message"]["content"] for p in parts), whole)
    _, cut = lines(server, "/api/chat", {**ask, "stream": False, "options": {
        **OPTIONS, "stop": [content[2:4]]}})
    check("ollama_stop", cut[0]["message"]["content"] == content[:content.index(content[2:4])] and
          cut[0]["done_reason"] == "stop", cut)
    seeded = [lines(server, "/api/chat", {**ask, "stream": False, "options": {
        "num_predict": 8, "temperature": 1, "seed": 5}})[1][0]["message"] for _ in range(2)]
    check("ollama_seed", seeded[0] == seeded[1], seeded)
    _, _, body = server.ask("/api/chat", {"messages": []})
    check("ollama_no_messages_load", body["done_reason"] == "load" and
          body["message"]["role"] == "assistant", body)
    _, _, body = server.ask("/api/chat", {"messages": [], "keep_alive": 0})
    check("ollama_keep_alive_0", body["done_reason"] == "unload", body)
    nothing = {"format": None, "tools": None, "think": None, "keep_alive": None, "options": None,
               "unknown": DEEP}
    for more in (nothing, {"format": "", "tools": [], "think": False, "keep_alive": "5m"},
                 {"keep_alive": -1, "options": {**OPTIONS, "num_ctx": 99999999, "num_gpu": 99}}):
        status, _, body = server.ask("/api/chat", {"messages": MESSAGES, "stream": False,
                                                   "options": OPTIONS, **more})
        check(f"ollama_passes_over_{'_'.join(more)}", status == 200, body)
    status, _, body = server.ask("/api/chat", {**ask, "messages": [
        {"role": "user", "content": "word " * 20000}]})
    check("ollama_overflow", status == 400 and "context_length_exceeded" in body["error"], body)


def test_ollama_generate(server):
    def whole(**more):
        return server.ask("/api/generate", {"stream": False, "options": OPTIONS, **more})[2]

    _, parts = lines(server, "/api/generate", {"prompt": "int main", "raw": True,
                                               "options": OPTIONS})
    _, _, plain = server.ask("/v1/completions", text("int main", max_tokens=8))
    check("ollama_raw_is_raw", "".join(p["response"] for p in parts) ==
          plain["choices"][0]["text"], parts)
    for empty in ({}, {"prompt": ""}, {"prompt": None}, {"model": "tiny:latest"}):
        check(f"ollama_{empty}_loads", whole(**empty).get("done_reason") == "load")
    first = whole(prompt="Hello")
    _, _, chat = server.ask("/api/chat", {"messages": MESSAGES, "stream": False,
                                          "options": OPTIONS})
    check("ollama_prompt_is_a_turn", first["response"] == chat["message"]["content"] or
          first["prompt_eval_count"] < chat["prompt_eval_count"], first)
    said = whole(prompt="Hello", system="Be brief.")
    check("ollama_system", "response" in said, said)
    kept = first["context"]
    check("ollama_context", len(kept) > first["prompt_eval_count"], first)
    second = whole(prompt="Again", context=kept)
    check("ollama_context_goes_on", second["prompt_eval_count"] > len(kept) and
          second["context"][:len(kept)] == kept, second)
    body = whole(prompt="a = ", suffix="\nb")
    check("ollama_suffix", "fim_method" in body and "context" not in body, body)
    check("ollama_suffix_without_prompt", "fim_method" in whole(suffix="\nb"))
    body = whole(prompt="<PRE> a = <SUF>\nb <MID>", raw=True)
    check("ollama_foreign_marks", "fim_method" in body, body)
    check("ollama_warms", whole(prompt="Hello", options={"num_predict": 0})["response"] == "")


def test_ollama_models(server):
    _, _, body = server.ask("/api/show", {"name": "tiny"})
    info = body["model_info"]
    check("ollama_show", info["llama.context_length"] > 0 and info["llama.block_count"] > 0 and
          ".Suffix" in body["template"] and
          body["capabilities"] == ["completion", "insert", "tools"], body)
    check("ollama_parameters", f"num_ctx {info['llama.context_length']}" in
          body["parameters"].splitlines(), body)
    check("ollama_type", body["details"]["quantization_level"] == "Q8_0", body["details"])
    check("ollama_show_of_model", server.ask("/api/show", {"model": "tiny"})[0] == 200)
    _, _, body = server.ask("/api/tags")
    one = body["models"][0]
    check("ollama_tags", one["name"] == "tiny" and one["size"] > 0 and len(one["digest"]) == 64 and
          one["details"]["parameter_size"][-1] in "MB", one)
    _, _, body = server.ask("/api/ps")
    check("ollama_ps", body["models"][0]["digest"] == one["digest"] and
          body["models"][0]["context_length"] == info["llama.context_length"], body)
    check("ollama_version", server.ask("/api/version")[2]["version"] == "0.12.0")


def test_ollama_wrong(server):
    turn = {"messages": MESSAGES}
    prompt = {"prompt": "x"}
    for path, wrong in [
            ("/api/chat", "{"), ("/api/chat", "[]"), ("/api/chat", ""), ("/api/show", [1]),
            ("/api/chat", {"messages": "x"}), ("/api/chat", {"messages": [1]}),
            ("/api/chat", {"messages": {"role": "user"}}), ("/api/chat", {"messages": DEEP}),
            ("/api/chat", {"messages": [{"role": "user", "content": 5}]}),
            ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": [IMAGE]}]}),
            ("/api/chat", {**turn, "options": 5}), ("/api/chat", {**turn, "options": [1]}),
            ("/api/chat", {**turn, "format": "yaml"}), ("/api/chat", {**turn, "stream": 1}),
            ("/api/chat", {**turn, "format": {"type": "object", "not": {}}}),
            ("/api/chat", {**turn, "think": True}), ("/api/chat", {**turn, "think": "high"}),
            ("/api/chat", {**turn, "tools": [{"type": "function"}]}),
            ("/api/chat", {**turn, "keep_alive": [1]}),
            ("/api/generate", {"prompt": 5}), ("/api/generate", {**prompt, "suffix": 5}),
            ("/api/generate", {**prompt, "raw": "yes"}), ("/api/generate", {**prompt, "system": 5}),
            ("/api/generate", {**prompt, "template": 5}),
            ("/api/generate", {**prompt, "images": [IMAGE]}),
            ("/api/generate", {**prompt, "context": "x"}),
            ("/api/generate", {**prompt, "context": [-1]}),
            ("/api/generate", {**prompt, "context": [1 << 40]}),
            ("/api/generate", {**prompt, "context": [[1]]}),
            ("/api/generate", {**prompt, "context": DEEP}),
            ("/api/generate", {**prompt, "raw": True, "system": "x"}),
            ("/api/generate", {**prompt, "raw": True, "context": [1]}),
            ("/api/generate", {**prompt, "raw": True, "template": "x"}),
            ("/api/generate", b'{"prompt": "\xff"}'), ("/api/generate", "{" * 10000)] + [
            (path, {**of, "options": {name: value}})
            for path, of in (("/api/chat", turn), ("/api/generate", prompt))
            for name, value in (("num_predict", "x"), ("num_predict", HUGE), ("temperature", -1),
                                ("temperature", HUGE), ("top_k", 1.5), ("top_p", []),
                                ("stop", 5), ("stop", ["a"] * 100), ("seed", "x"),
                                ("repeat_last_n", HUGE), ("mirostat", {}))]:
        status, _, body = server.ask(path, wrong)
        check(f"ollama_wrong_{path}_{str(wrong)[:60]}", status == 400 and
              isinstance(body.get("error"), str), (status, body))
    check("ollama_no_path", server.ask("/api/nothing", {})[2] == {"error": "no such path"})
    check("ollama_method", server.ask("/api/chat")[0] == 405)


# ---- Anthropic -----------------------------------------------------------------------------------

CLAUDE = {"max_tokens": 8, "temperature": 0, "system": [{"type": "text", "text": "Be brief."}],
          "messages": MESSAGES}


def test_anthropic(server):
    _, _, whole = server.ask("/v1/messages", CLAUDE)
    usage = whole["usage"]
    check("anthropic_message", whole["type"] == "message" and whole["role"] == "assistant" and
          whole["stop_reason"] in ("end_turn", "max_tokens") and whole["stop_sequence"] is None and
          usage["output_tokens"] <= 8, whole)
    said = whole["content"][0]["text"]
    events = named_events(server, "/v1/messages", CLAUDE)
    kinds = [name for name, _ in events if name != "ping"]
    check("anthropic_names", all(name == data["type"] for name, data in events), events)
    check("anthropic_order", kinds[:2] == ["message_start", "content_block_start"] and
          kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"] and
          set(kinds[2:-3]) <= {"content_block_delta"}, kinds)
    check("anthropic_text", said == "".join(data["delta"]["text"] for name, data in events
                                            if name == "content_block_delta"), events)
    start, delta = events[0][1]["message"], events[-2][1]
    check("anthropic_begins_empty", start["content"] == [] and start["stop_reason"] is None, start)
    total = usage["input_tokens"] + usage["cache_read_input_tokens"]
    again = delta["usage"]
    check("anthropic_usage_in_streams", delta["delta"]["stop_reason"] == whole["stop_reason"] and
          again["input_tokens"] + again["cache_read_input_tokens"] == total and
          again["output_tokens"] == usage["output_tokens"], delta)
    _, _, count = server.ask("/v1/messages/count_tokens", CLAUDE)
    check("anthropic_count", count == {"input_tokens": total}, (count, usage))
    _, _, plain = server.ask("/v1/messages", {**CLAUDE, "system": "Be brief."})
    check("anthropic_system_as_text", plain["content"] == whole["content"], plain)
    stop = said[2:4]
    _, _, cut = server.ask("/v1/messages", {**CLAUDE, "stop_sequences": ["never", stop]})
    check("anthropic_stop", cut["stop_reason"] == "stop_sequence" and cut["stop_sequence"] == stop
          and cut["content"][0]["text"] == said[:said.index(stop)], cut)
    for more in ({"tools": [{"name": "x", "input_schema": {}}], "tool_choice": {"type": "auto"}},
                 {"thinking": {"type": "disabled"}, "metadata": {"user_id": "x"}, "top_k": None},
                 {"system": None, "stop_sequences": None, "stream": None}, {"max_tokens": 0},
                 {"messages": [*MESSAGES, {"role": "assistant", "content": [
                     {"type": "thinking", "thinking": "hm", "signature": "x"},
                     {"type": "text", "text": "Well,"}]}]}):
        status, _, body = server.ask("/v1/messages", {**CLAUDE, **more})
        check(f"anthropic_accepts_{'_'.join(more)}", status == 200, body)


def test_anthropic_wrong(server):
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        for wrong in ("{", "[]", {"max_tokens": 5}, {**CLAUDE, "messages": 5},
                      {**CLAUDE, "messages": []},
                      {**CLAUDE, "system": "Be brief.", "messages": []},
                      {**CLAUDE, "messages": DEEP},
                      {**CLAUDE, "system": 5}, {**CLAUDE, "system": [5]},
                      {**CLAUDE, "messages": [{"role": "user", "content": [
                          {"type": "image", "source": {"data": IMAGE}}]}]}):
            status, _, body = server.ask(path, wrong)
            check(f"anthropic_wrong_{path}_{str(wrong)[:60]}", status == 400 and
                  body["type"] == "error" and body["error"]["type"] == "invalid_request_error",
                  (status, body))
    for name, value in (("max_tokens", None), ("max_tokens", "x"), ("max_tokens", HUGE),
                        ("max_tokens", -1), ("stop_sequences", [1]), ("stop_sequences", 5),
                        ("stop_sequences", ["a"] * 100), ("stream", "yes"), ("temperature", "hot"),
                        ("top_p", 2), ("top_k", HUGE), ("tool_choice", {"type": "any"})):
        status, _, body = server.ask("/v1/messages", {**CLAUDE, name: value})
        check(f"anthropic_wrong_{name}_{str(value)[:20]}", status == 400 and
              name in body["error"]["message"], (status, body))
    status, _, body = server.ask("/v1/messages", {**CLAUDE, "messages": [
        {"role": "user", "content": "word " * 20000}]})
    check("anthropic_overflow", status == 400 and
          body["error"]["message"].startswith("prompt is too long"), body)
    check("anthropic_method", server.ask("/v1/messages")[2]["type"] == "error")


# ---- Responses -----------------------------------------------------------------------------------

ASK = {"input": "Hello", "max_output_tokens": 8, "temperature": 0}


def test_responses(server):
    _, _, whole = server.ask("/v1/responses", ASK)
    item = whole["output"][0]
    said = item["content"][0]["text"]
    check("response", whole["object"] == "response" and item["role"] == "assistant" and
          item["content"][0]["type"] == "output_text" and whole["usage"]["total_tokens"] ==
          whole["usage"]["input_tokens"] + whole["usage"]["output_tokens"], whole)
    check("response_status", (whole["status"], whole["incomplete_details"]) in (
        ("completed", None), ("incomplete", {"reason": "max_output_tokens"})), whole)
    _, _, chat = server.ask("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 8,
                                                     "temperature": 0})
    check("response_is_a_chat", chat["choices"][0]["message"]["content"] == said, (chat, said))
    events = named_events(server, "/v1/responses", ASK)
    names = [name for name, _ in events]
    check("response_names", all(name == data["type"] for name, data in events), names)
    check("response_numbers", [data["sequence_number"] for _, data in events] ==
          list(range(len(events))), events)
    check("response_order", names[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added"] and names[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response." + whole["status"]] and
          set(names[4:-4]) <= {"response.output_text.delta"}, names)
    check("response_text", said == "".join(data["delta"] for name, data in events
                                           if name == "response.output_text.delta") ==
          events[-4][1]["text"], events)
    check("response_text_has_chances", all(
        data["logprobs"] == [] for name, data in events if "output_text" in name), events)
    check("response_begins_without_usage", "usage" not in events[0][1]["response"], events[0])
    last = events[-1][1]["response"]
    check("response_ends_whole", last["output"][0]["content"] == item["content"] and
          last["usage"]["output_tokens"] == whole["usage"]["output_tokens"] and
          last["id"] == events[0][1]["response"]["id"], last)
    parts = [{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "Hel"}, {"type": "input_text", "text": "lo"}]}]
    _, _, same = server.ask("/v1/responses", {**ASK, "input": parts})
    check("response_of_items", same["output"][0]["content"] == item["content"], same)
    talk = [{"role": "developer", "content": "Be brief."}, *parts,
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "Yes?", "annotations": []}]},
            {"role": "user", "content": "Go on"}]
    for more in ({"input": talk}, {"instructions": "Be brief."}, {"store": True, "tools": []},
                 {"text": {"format": {"type": "text"}}, "tool_choice": "auto", "metadata": {}},
                 {"previous_response_id": None, "text": None, "reasoning": {"effort": "low"}},
                 {"max_output_tokens": None, "input": "x", "stop": [said[:1]]}):
        status, _, body = server.ask("/v1/responses", {**ASK, **more})
        check(f"response_accepts_{'_'.join(more)}", status == 200 and
              body["object"] == "response", body)


def test_responses_wrong(server):
    for wrong in ("{", "[]", {}, {"input": 5}, {"input": []}, {"input": [5]}, {"input": DEEP},
                  {"input": [{"type": "function_call_output", "output": "x"}]},
                  {"input": [{"type": "item_reference", "id": "x"}]},
                  {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}):
        status, _, body = server.ask("/v1/responses", wrong)
        check(f"response_wrong_{str(wrong)[:60]}", status == 400 and
              isinstance(body["error"]["message"], str), (status, body))
    for name, value in (("max_output_tokens", "x"), ("max_output_tokens", HUGE),
                        ("max_output_tokens", -1), ("instructions", 5), ("stream", "yes"),
                        ("background", True), ("previous_response_id", "resp_1"),
                        ("conversation", "x"), ("prompt", {"id": "x"}), ("text", 5),
                        ("tool_choice", "required"), ("tool_choice", {"type": "function"}),
                        ("temperature", HUGE)):
        status, _, body = server.ask("/v1/responses", {**ASK, name: value})
        check(f"response_wrong_{name}_{str(value)[:20]}", status == 400 and
              name in body["error"]["message"], (status, body))
    for format in ({"type": "xml"}, {"type": "json_schema"}, 5, DEEP):
        status, _, body = server.ask("/v1/responses", {**ASK, "text": {"format": format}})
        check(f"response_wrong_format_{str(format)[:20]}", status == 400, body)


server = Server("--parallel", "2")
for test in (test_ollama_chat, test_ollama_generate, test_ollama_models, test_ollama_wrong,
             test_anthropic, test_anthropic_wrong, test_responses, test_responses_wrong):
    attempt(test, server)
check("still_well", server.ask("/health")[0] == 200)
status, errors = server.stop()
check("no_sanitizer_report", status == 0 and "Sanitizer" not in errors, (status, errors[-2000:]))
finish()
