"""Python's clients, the SDKs of OpenAI, Ollama and Anthropic, litellm, llm: sdks.py BASE_URL BIN

BIN is the folder of the programs that come along with them.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # asks nobody else

import anthropic
import litellm
import ollama
import openai

BASE, BIN = sys.argv[1:3]
litellm.suppress_debug_info = True
CITIES = ["Paris", "Rome"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "enum": CITIES}},
          "required": ["city"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA,
                                           "description": "The weather of a city"}}]
WEATHER = [{"role": "user", "content": "Weather in Paris?"}]
failed = 0


def check(name, good, why=""):
    global failed
    failed += not good
    print(f"ok {name}" if good else f"FAIL {name}: {str(why)[:300]}", flush=True)


def with_openai():
    client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="none", max_retries=0)
    ask = {"model": "octet", "max_tokens": 12, "temperature": 0,
           "messages": [{"role": "user", "content": "Say hello."}]}
    whole = client.chat.completions.create(**ask)
    check("py_openai_chat", whole.choices[0].message.content and whole.usage.total_tokens > 0)
    text = "".join(chunk.choices[0].delta.content or ""
                   for chunk in client.chat.completions.create(**ask, stream=True))
    check("py_openai_stream", text == whole.choices[0].message.content, text)
    answer = client.completions.create(model="octet", prompt="int main", max_tokens=4, logprobs=2)
    check("py_openai_text", len(answer.choices[0].logprobs.tokens) <= 4, answer)
    question = {"model": "octet", "input": "Say hello.", "max_output_tokens": 12, "temperature": 0}
    answer = client.responses.create(**question)
    check("py_openai_response", answer.output_text == whole.choices[0].message.content and
          answer.status in ("completed", "incomplete"), answer)
    events = list(client.responses.create(**question, stream=True))
    check("py_openai_response_stream", answer.output_text == "".join(
        event.delta for event in events if event.type == "response.output_text.delta") and
          events[-1].response.output_text == answer.output_text, events)
    tooled = {**ask, "messages": WEATHER, "tools": TOOLS, "max_tokens": 60}
    answer = client.chat.completions.create(**tooled, tool_choice="required")
    message = answer.choices[0].message
    call = message.tool_calls[0]
    check("py_openai_tool", json.loads(call.function.arguments)["city"] in CITIES and
          answer.choices[0].finish_reason == "tool_calls", answer)
    answer = client.chat.completions.create(**{**tooled, "max_tokens": 12, "messages": [
        *WEATHER, message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]})
    check("py_openai_tool_result", len(answer.choices) == 1, answer)
    with client.chat.completions.stream(**tooled, tool_choice="required") as stream:
        pieces = [event.arguments_delta for event in stream
                  if event.type == "tool_calls.function.arguments.delta"]
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    check("py_openai_tool_stream_pieces", "".join(pieces) == call.function.arguments, pieces)
    check("py_openai_tool_stream", json.loads(call.function.arguments)["city"] in CITIES, call)
    check("py_openai_models", client.models.list().data[0].id)
    try:
        client.chat.completions.create(**{**ask, "messages": []})
        check("py_openai_error", False)
    except openai.BadRequestError as error:
        check("py_openai_error", "messages" in str(error), error)


def with_ollama():
    client = ollama.Client(host=BASE)
    ask = {"model": "any", "messages": [{"role": "user", "content": "Say hello."}],
           "options": {"num_predict": 12, "temperature": 0}}
    whole = client.chat(**ask)
    check("py_ollama_chat", whole.done and whole.message.content, whole)
    text = "".join(part.message.content for part in client.chat(**ask, stream=True))
    check("py_ollama_stream", text == whole.message.content, text)
    parts = list(client.generate("any", "Say hello.", stream=True, options=ask["options"]))
    check("py_ollama_generate", parts[-1].done and len(parts[-1].context) > 0 and
          "".join(part.response for part in parts) == text, parts)
    check("py_ollama_ps", client.ps().models[0].context_length > 0)
    shown = client.show("any").modelinfo
    check("py_ollama_context_length", shown[f"{shown['general.architecture']}.context_length"] > 0)
    try:
        list(client.chat(**ask, stream=True, think=True))
        check("py_ollama_error", False)
    except ollama.ResponseError as error:
        check("py_ollama_error", error.status_code == 400 and "thinking" in error.error, error)
    tooled = {**ask, "messages": WEATHER, "tools": TOOLS,
              "options": {"num_predict": 60, "temperature": 0}}
    form = {"type": "object", "properties": {"name": {"const": "get_weather"}, "arguments": SCHEMA},
            "required": ["name", "arguments"], "additionalProperties": False}
    answer = client.chat(**tooled, format=form)
    check("py_ollama_tool", answer.message.tool_calls[0].function.arguments["city"] in CITIES,
          answer)
    answer = client.chat(**{**tooled, "options": ask["options"], "messages": [
        *WEATHER, answer.message, {"role": "tool", "tool_name": "get_weather", "content": "sun"}]})
    check("py_ollama_tool_result", answer.done, answer)
    check("py_ollama_list", client.list().models[0].details.format == "gguf")
    check("py_ollama_show", "completion" in client.show("any").capabilities)


def with_anthropic():
    client = anthropic.Anthropic(base_url=BASE, api_key="none", max_retries=0)
    ask = {"model": "octet", "max_tokens": 12, "extra_body": {"temperature": 0},
           "messages": [{"role": "user", "content": "Say hello."}]}
    whole = client.messages.create(**ask)
    check("py_anthropic_message", whole.content[0].text, whole)
    counted = client.messages.count_tokens(model="octet", messages=ask["messages"])
    check("py_anthropic_count", counted.input_tokens == whole.usage.input_tokens +
          whole.usage.cache_read_input_tokens, counted)
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
    tooled = {**ask, "messages": WEATHER, "max_tokens": 60, "tool_choice": {"type": "any"},
              "tools": [{"name": "get_weather", "input_schema": SCHEMA}]}
    answer = client.messages.create(**tooled)
    check("py_anthropic_tool", answer.stop_reason == "tool_use" and
          answer.content[0].input["city"] in CITIES, answer)
    with client.messages.stream(**tooled) as stream:
        answer = stream.get_final_message()
    check("py_anthropic_tool_stream", answer.content[0].input["city"] in CITIES, answer)
    del tooled["tool_choice"]
    answer = client.messages.create(**{**tooled, "max_tokens": 12, "messages": [
        *WEATHER, {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [{"type": "tool_result", "content": "sunny",
                                      "tool_use_id": answer.content[0].id}]}]})
    check("py_anthropic_tool_result", answer.content, answer)
    check("py_anthropic_stream", text == whole.content[0].text, text)


def with_litellm():
    messages = [{"role": "user", "content": "Say hello."}]
    for name, base in (("openai", f"{BASE}/v1"), ("ollama_chat", BASE), ("anthropic", BASE)):
        ask = {"model": f"{name}/octet", "api_base": base, "api_key": "none", "max_tokens": 12,
               "temperature": 0, "messages": messages}
        whole = litellm.completion(**ask).choices[0].message.content
        text = "".join(chunk.choices[0].delta.content or ""
                       for chunk in litellm.completion(**ask, stream=True))
        check(f"litellm_{name}", whole and text == whole, (text, whole))
    answer = litellm.text_completion(
        model="text-completion-openai/octet", api_base=f"{BASE}/v1", api_key="none",
        prompt="Once upon", max_tokens=8, temperature=0)
    check("litellm_text", answer.choices[0].text, answer)
    for name, base in (("openai", f"{BASE}/v1"), ("ollama", BASE)):
        answer = litellm.embedding(model=f"{name}/octet", api_base=base, api_key="none",
                                   input=["one", "two"])
        check(f"litellm_{name}_embedding", len(answer.data) == 2 and
              len(answer.data[1]["embedding"]) > 0, answer)


def with_llm():
    """Its program, with octet as one of its own models."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "extra-openai-models.yaml").write_text(
            f"- model_id: octet\n  model_name: octet\n  api_base: {BASE}/v1\n"
            f"  api_key_name: none\n")
        ran = [subprocess.run(
            [f"{BIN}/llm", "prompt", "-m", "octet", "--key", "none", "-o", "max_tokens", "12", "-o",
             "temperature", "0", *more, "Say hello."], env={**os.environ, "LLM_USER_PATH": folder},
            capture_output=True, text=True, timeout=120) for more in ([], ["--no-stream"])]
    check("llm", ran[0].stdout.strip() and ran[0].stdout == ran[1].stdout, ran)


for test in (with_openai, with_ollama, with_anthropic, with_litellm, with_llm):
    try:
        test()
    except Exception as error:  # a client that gives up is a failure of ours
        check(test.__name__, False, repr(error))
sys.exit(failed > 0)
