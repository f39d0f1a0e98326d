"""Talks to `octet serve` as clients do, well-behaved and hostile ones; for tests/cli/serve.sh.

    check.py OCTET MODEL SLOW_MODEL FOLDER

Prints "ok NAME" or "FAIL NAME: why" per case.
"""
import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from lib import MODEL, OCTET, Server, attempt, chat, check, finish, text

SLOW, FOLDER = sys.argv[3:5]


def test_shapes(server):
    status, _, body = server.ask("/health")
    check("health", status == 200 and body["status"] == "ok", body)
    status, _, body = server.ask("/v1/models")
    check("models", body["data"][0]["id"] == "tiny" and "max_context_length" in body["data"][0],
          body)
    status, _, body = server.ask("/v1/chat/completions", chat("Hello"))
    answer = body["choices"][0]
    check("chat", status == 200 and answer["message"]["role"] == "assistant" and
          answer["finish_reason"] in ("stop", "length"), body)
    check("no_refusal", answer["message"]["refusal"] is None, answer)  # strict clients look for it
    check("usage_adds_up", body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] +
          body["usage"]["completion_tokens"], body)
    whole = answer["message"]["content"]
    status, headers, events = server.events("/v1/chat/completions", chat("Hello"))
    chunks = [json.loads(event) for event in events[:-1]]
    check("stream_type", headers["Content-Type"] == "text/event-stream", headers)
    check("stream_ends_with_done", events[-1] == "[DONE]", events[-1])
    check("stream_has_the_same_text", "".join(
        c["choices"][0]["delta"].get("content", "") for c in chunks) == whole, events)
    check("chunks_have_finish_reason", all("finish_reason" in c["choices"][0] for c in chunks))
    check("chunks_have_no_usage", all("usage" not in c for c in chunks))
    check("chunks_share_an_id", len({c["id"] for c in chunks}) == 1)
    check("role_comes_first", chunks[0]["choices"][0]["delta"].get("role") == "assistant")
    check("finish_comes_last", chunks[-1]["choices"][0]["finish_reason"] is not None)
    _, _, events = server.events("/v1/chat/completions",
                                 chat("Hello", stream_options={"include_usage": True}))
    last = json.loads(events[-2])
    check("usage_on_request", last["choices"] == [] and last["usage"]["prompt_tokens"] > 0, last)


def test_fields(server):
    def answer(**more):
        return server.ask("/v1/chat/completions", chat("Tell me", **more))

    _, _, plain = answer()
    content = plain["choices"][0]["message"]["content"]
    _, _, two = answer(n=2)
    check("n_gives_choices", [c["index"] for c in two["choices"]] == [0, 1], two)
    check("greedy_choices_agree", two["choices"][0]["message"] == plain["choices"][0]["message"])
    _, _, warm = answer(temperature=1, seed=7, n=2)
    _, _, again = answer(temperature=1, seed=7, n=2)
    check("seed_repeats", [c["message"] for c in warm["choices"]] ==
          [c["message"] for c in again["choices"]])
    check("choices_differ", warm["choices"][0]["message"] != warm["choices"][1]["message"])
    stop = content[2:5]
    _, _, cut = answer(stop=[stop, "never to be seen"])
    check("stop_cuts", cut["choices"][0]["message"]["content"] == content[:content.index(stop)] and
          cut["choices"][0]["finish_reason"] == "stop", cut)
    status, _, _ = answer(stop=None, seed=None, user="x", tools=None, unknown_field={"a": [1]})
    check("null_and_unknown_fields", status == 200, status)
    _, _, parts = server.ask("/v1/chat/completions", {
        **chat(""), "messages": [{"role": "user", "content": [
            {"type": "text", "text": "Tell "}, {"type": "text", "text": "me"}]}]})
    check("parts_are_joined", parts["choices"][0]["message"]["content"] == content, parts)
    _, _, both = answer(max_completion_tokens=3, max_tokens=None)
    check("max_completion_tokens", both["usage"]["completion_tokens"] <= 3, both)
    _, _, chances = answer(logprobs=True, top_logprobs=3)
    tokens = chances["choices"][0]["logprobs"]["content"]
    check("chances", len(tokens) == chances["usage"]["completion_tokens"] and all(
        t["logprob"] == t["top_logprobs"][0]["logprob"] and len(t["top_logprobs"]) == 3
        for t in tokens), tokens[:1])
    _, _, biased = answer(max_tokens=4, logit_bias={"300": 100})
    check("bias", len(set(biased["choices"][0]["message"]["content"])) <= 12, biased)
    _, _, prefix = server.ask("/v1/chat/completions", {**chat(""), "messages": [
        {"role": "user", "content": "Tell me"}, {"role": "assistant", "content": content[:4],
                                                "prefix": True}]})
    check("prefix_is_continued", "choices" in prefix, prefix)


def test_text(server):
    _, _, one = server.ask("/v1/completions", text("int main"))
    check("text", one["object"] == "text_completion" and one["choices"][0]["logprobs"] is None)
    _, _, two = server.ask("/v1/completions", text(["int main", "int main"]))
    check("several_prompts", [c["text"] for c in two["choices"]] ==
          [one["choices"][0]["text"]] * 2, two)
    _, _, events = server.events("/v1/completions", text("int main"))
    check("text_chunks_have_logprobs", all(
        json.loads(e)["choices"][0]["logprobs"] is None for e in events[:-1]), events)
    _, _, echo = server.ask("/v1/completions", text("int main", echo=True, logprobs=1,
                                                    max_tokens=0))
    chances = echo["choices"][0]["logprobs"]
    check("echo_scores_the_prompt", echo["choices"][0]["text"].endswith("int main") and
          chances["token_logprobs"][0] is None and
          all(p <= 0 for p in chances["token_logprobs"][1:]), echo)
    _, _, ids = server.ask("/v1/completions", text([300, 301, 302]))
    check("token_ids", ids["usage"]["prompt_tokens"] == 3, ids)
    _, _, body = server.ask("/v1/completions", text("int main", max_tokens=None))
    check("sixteen_tokens_by_default", body["usage"]["completion_tokens"] <= 16, body)


def test_wrong(server):
    def status(path, body, **more):
        code, headers, answer = server.ask(path, body, **more)
        good = isinstance(answer, dict) and "message" in answer.get("error", {})
        return code if good else (code, answer)

    there = "/v1/chat/completions"
    check("no_json", status(there, "{") == 400)
    check("no_object", status(there, "[1]") == 400)
    check("no_utf8", status(there, b'{"messages": "\xff"}') == 400)
    check("deep_nesting", status(there, "[" * 100000) == 400)
    check("no_messages", status(there, {}) == 400)
    check("empty_messages", status(there, {"messages": []}) == 400)
    check("message_is_no_object", status(there, {"messages": [1]}) == 400)
    check("unknown_role", status(there, {"messages": [{"role": "x", "content": "y"}]}) == 400)
    check("picture", status(there, {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "x"}}]}]}) == 400)
    for field, value in (("temperature", -1), ("temperature", "hot"), ("top_p", 2), ("n", 0),
                         ("n", 1e9), ("max_tokens", "many"), ("max_tokens", 1.5), ("stop", 5),
                         ("stop", ["a"] * 100), ("stream", "yes"), ("seed", [1]),
                         ("logit_bias", {"99999999": 1}), ("top_logprobs", 1000)):
        check(f"wrong_{field}_{str(value)[:8]}", status(there, chat("x", **{field: value})) == 400)
    code, _, answer = server.ask(there, chat("word " * 20000))
    check("overflow", code == 400 and answer["error"]["type"] == "exceed_context_size_error" and
          answer["error"]["code"] == "context_length_exceeded" and
          "context_length_exceeded" in answer["error"]["message"], answer)
    check("codes_are_words", server.ask(there, {})[2]["error"]["code"] is None)
    check("codes_of_llamacpp_are_numbers", server.ask("/infill", "{")[2]["error"]["code"] == 400)
    check("id_outside", status("/v1/completions", text([1 << 40])) == 400)
    check("no_such_path", status("/v1/nothing", {}) == 404)
    check("wrong_method", status(there, None, method="GET") == 405)
    check("ollama_errors_are_texts",
          server.ask("/api/nothing", {})[2] == {"error": "no such path"})
    check("doubled_slash", server.ask("//v1//models/")[0] == 200)
    check("foreign_host", status("/v1/models", None, headers={"Host": "evil.example"}) == 403)
    check("foreign_origin", status("/v1/models", None,
                                   headers={"Origin": "https://evil.example"}) == 403)
    code, headers, _ = server.ask(there, None, {"Origin": "http://localhost:3000",
                                                "Access-Control-Request-Headers": "X-Mine"},
                                  "OPTIONS")
    check("preflight", code == 204 and headers["Access-Control-Allow-Headers"] == "X-Mine" and
          headers["Access-Control-Allow-Origin"] == "http://localhost:3000", headers)
    check("huge_body_is_refused", too_big(server) in (413, None))
    check("still_well", server.ask("/health")[0] == 200)


def test_holes(server):
    hole = {"input_prefix": "def add(a, b):\n", "prompt": "    return ", "n_predict": 16,
            "input_suffix": "\n\nprint(add(1, 2))\n", "temperature": 0}
    for method in ("instruct", "prefix"):
        _, _, body = server.ask("/infill", {**hole, "fim_method": method})
        good = body.get("fim_method") == method and body["stop"] and "timings" in body
        check(f"hole_{method}", good or "no chat format" in str(body), body)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", "/infill", json.dumps(hole))
    raw = connection.getresponse().read()
    check("infill_is_one_compact_line", raw.startswith(b'{"content":"') and b"\n" not in raw, raw)
    _, _, body = server.ask("/infill", {**hole, "n_cmpl": 2})
    check("several_holes_are_a_list", isinstance(body, list) and len(body) == 2, body)
    _, _, body = server.ask("/infill", {**hole, "response_fields": ["content",
                                                                   "timings/prompt_n"]})
    check("chosen_fields", set(body) == {"content", "timings/prompt_n"}, body)
    _, _, body = server.ask("/infill", {"input_prefix": "", "input_suffix": "", "prompt": "x",
                                        "n_predict": 0, "response_fields": [""]})
    check("warm_up", body == {}, body)
    _, _, body = server.ask("/infill", {**hole, "input_extra": [
        {"text": "x = 1\n" * 2000, "filename": "a.py"}, {"text": "y = 2\n", "time": [1]}]})
    check("far_text_is_left_out", body.get("truncated") is True, body)
    _, _, events = server.events("/infill", hole)
    check("infill_streams", json.loads(events[-1])["stop"] is True and
          all(json.loads(e)["stop"] is False for e in events[:-1]), events)
    _, _, body = server.ask("/v1/fim/completions", {"prompt": "a = ", "suffix": "\nb = 2",
                                                    "max_tokens": 8, "random_seed": 3})
    check("fim_is_shaped_like_a_chat", isinstance(body["choices"][0]["message"]["content"], str),
          body)
    _, _, events = server.events("/v1/fim/completions", {"prompt": "a = ", "max_tokens": 8})
    check("fim_pieces_have_texts", all(isinstance(
        json.loads(e)["choices"][0]["delta"]["content"], str) for e in events[:-1]), events)
    _, _, body = server.ask("/v1/completions", text("a = ", suffix="\nb = 2"))
    check("suffix", "fim_method" in body, body)
    _, _, body = server.ask("/v1/completions", text("<fim_prefix>a<fim_suffix>b<fim_middle>"))
    check("foreign_marks", "fim_method" in body, body)
    _, _, body = server.ask("/completion", {"prompt": "int main", "n_predict": 4})
    check("completion", body["stop"] and body["tokens_predicted"] <= 4, body)
    _, _, body = server.ask("/tokenize", {"content": "int main", "with_pieces": True})
    ids = [token["id"] for token in body["tokens"]]
    _, _, body = server.ask("/detokenize", {"tokens": ids})
    check("tokens_and_back", body["content"].strip() == "int main", body)
    _, _, body = server.ask("/apply-template", {"messages": [{"role": "user", "content": "hey"}]})
    check("apply_template", "hey" in body["prompt"], body)
    check("props", server.ask("/props")[2]["default_generation_settings"]["n_ctx"] > 0)
    check("slots", len(server.ask("/slots")[2]) == 4)
    for path, wrong in (("/infill", {"input_extra": [1]}), ("/infill", {"prompt": 5}),
                        ("/infill", {"n_cmpl": 1000}), ("/infill", {"fim_method": "x"}),
                        ("/v1/fim/completions", {}), ("/completion", {"prompt": [[]]}),
                        ("/tokenize", {}), ("/detokenize", {"tokens": ["x"]}),
                        ("/detokenize", {}), ("/apply-template", {"messages": 1})):
        check(f"wrong_{path.strip('/').replace('/', '_')}_{list(wrong) or ''}",
              server.ask(path, wrong)[0] == 400)


def too_big(server):
    """A body that is announced to be larger than allowed; None: the connection was closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Length: 9999999999\r\n\r\n")
        try:
            answer = s.recv(4096)
        except ConnectionError:
            return None
        return int(answer.split()[1]) if answer else None


def begin_stream(server, body):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    data = json.dumps({**body, "stream": True}).encode()
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" %
              len(data) + data)
    return s


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_leaving():
    server = Server("--parallel", "2", model=SLOW)
    name = "octet_requests_cancelled_total"
    before = server.metric(name)
    s = begin_stream(server, text("word " * 1800, max_tokens=5))
    time.sleep(0.05)
    s.close()
    check("leaving_in_prefill_is_noticed", wait_for(lambda: server.metric(name) == before + 1))
    s = begin_stream(server, text("int main", max_tokens=3000, ignore_eos=True))
    s.recv(10)
    s.close()
    check("leaving_in_decode_is_noticed", wait_for(lambda: server.metric(name) == before + 2))
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    for s in slow:
        s.sendall(b"POST /v1/completions HTT")
    check("idle_connections_do_no_harm", server.ask("/health")[0] == 200)
    for s in slow:
        s.close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"\x16\x03\x01" + os.urandom(300) + b"\r\n\r\n")
        s.settimeout(2)
        try:
            s.recv(100)
        except OSError:
            pass
    s = begin_stream(server, text("int main", max_tokens=50, ignore_eos=True))
    s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)  # pipelined
    time.sleep(0.5)
    s.close()
    check("noise_and_pipelining_do_no_harm", server.ask("/health")[0] == 200)
    server.stop()


def test_together(server):
    bodies = [text(f"int function_{i} " * (1 + 7 * i % 40), max_tokens=24, temperature=1, seed=i,
                   ignore_eos=True) for i in range(24)]
    alone = [server.ask("/v1/completions", body)[2]["choices"][0]["text"] for body in bodies]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda body: server.ask("/v1/completions", body), bodies))
    check("company_changes_no_answer",
          [answer[2]["choices"][0]["text"] for answer in together] == alone)


def test_queue():
    server = Server("--parallel", "1", "--queue", "1", model=SLOW)
    body = text("int main", max_tokens=4000, ignore_eos=True)
    sockets = [begin_stream(server, body) for _ in range(2)]
    check("queue_fills", wait_for(lambda: server.metric("octet_requests_active") == 1 and
                                  server.metric("octet_requests_waiting") == 1))
    status, headers, answer = server.ask("/v1/completions", body)
    check("full_queue", status == 503 and headers["Retry-After"] == "1", (status, answer))
    for s in sockets:
        s.close()
    server.stop()


def test_keys():
    path = os.path.join(FOLDER, "keys")
    with open(path, "w") as file:
        file.write("# mine\nfirst-key\nsecond-key\n")
    os.chmod(path, 0o644)
    result = subprocess.run([OCTET, "serve", "-m", MODEL, "--api-key-file", path],
                            capture_output=True, text=True)
    check("key_file_is_private", result.returncode == 1 and "chmod 600" in result.stderr)
    os.chmod(path, 0o600)
    server = Server("--api-key-file", path)
    check("key_is_needed", server.ask("/v1/models")[0] == 401)
    check("wrong_key", server.ask("/v1/models",
                                  headers={"Authorization": "Bearer first-kez"})[0] == 401)
    check("bearer", server.ask("/v1/models",
                               headers={"Authorization": "Bearer second-key"})[0] == 200)
    check("x_api_key", server.ask("/v1/models", headers={"X-Api-Key": "first-key"})[0] == 200)
    check("health_is_open", server.ask("/health")[0] == 200)
    check("page_is_open", server.ask("/")[0] == 200)
    check("preflight_needs_no_key", server.ask(
        "/v1/models", None, {"Origin": "http://localhost"}, "OPTIONS")[0] == 204)
    server.stop()


def test_models():
    server = Server("-m", f"other={MODEL}")
    _, _, body = server.ask("/v1/models")
    check("two_models", [m["id"] for m in body["data"]] == ["tiny", "other"], body)
    for name, expected in (("other", "other"), ("tiny:latest", "tiny"), ("some/OTHER", "other")):
        _, _, body = server.ask("/v1/completions", text("x", model=name))
        check(f"model_{name.replace('/', '_')}", body.get("model") == expected, body)
    status, _, body = server.ask("/v1/completions", text("x", model="gpt-4"))
    check("unknown_model", status == 404 and "gpt-4" in body["error"]["message"], body)
    asks = [text("Tell " * (100 * i + 1), model=name, max_tokens=20) for i in range(3)
            for name in ("tiny", "other")]

    def answers(n):
        with concurrent.futures.ThreadPoolExecutor(n) as pool:
            return [body["choices"][0]["text"] for _, _, body in
                    pool.map(lambda ask: server.ask("/v1/completions", ask), asks)]
    check("models_at_once_answer_as_alone", answers(len(asks)) == answers(1))
    server.stop()


def test_page():
    server = Server("--name", "chat.example")
    status, headers, html = server.ask("/")
    check("page", status == 200 and headers["Content-Type"].startswith("text/html") and
          headers["Content-Security-Policy"].startswith("default-src 'none'; "), (status, headers))
    status, again, rest = server.ask("/", headers={"If-None-Match": headers["ETag"]})
    check("page_known_already", status == 304 and rest == "", (status, rest))
    check("page_takes_no_post", server.ask("/", "x")[0] == 405)
    check("page_has_no_other_files", server.ask("/web/../octet.h")[0] == 404 and
          server.ask("/web/")[0] == 404 and server.ask("/web/none.js")[0] == 404)
    # Every file that the page and its scripts name is there, and no other is in the folder.
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    found, wanted = set(), set(re.findall(r'(?:src|href)="web/([^"]+)"', html))
    while wanted - found:
        name = (wanted - found).pop()
        status, headers, script = server.ask(f"/web/{name}")
        check(f"page_{name}", status == 200 and
              headers["Content-Type"].startswith(types[name.rsplit(".", 1)[1]]), (status, headers))
        found.add(name)
        if name.endswith(".js"):
            wanted |= set(re.findall(r"from\s+'\./([^']+)'", script))
    check("page_has_all_files", found | {"index.html"} == set(os.listdir("web")), found)
    own = {"Host": "chat.example", "Origin": "https://chat.example"}
    check("own_page_may_ask", server.ask("/v1/models", headers=own)[0] == 200)
    check("page_of_another_port_may_not", server.ask(
        "/v1/models", headers={**own, "Origin": "https://chat.example:81"})[0] == 403)
    server.stop()


def test_stopping():
    server = Server()
    s = begin_stream(server, text("int main", max_tokens=60, ignore_eos=True))
    s.recv(10)
    server.process.send_signal(signal.SIGTERM)
    received = b""
    while True:
        part = s.recv(4096)
        received += part
        if not part or b"[DONE]" in received:
            break
    check("answers_are_finished_first", b"[DONE]" in received, received[-200:])
    s.close()
    status, errors = server.stop()
    check("stops_cleanly", status == 0 and "Sanitizer" not in errors, (status, errors))


server = Server("--parallel", "4")
for test in (test_shapes, test_fields, test_text, test_wrong, test_holes, test_together):
    attempt(test, server)
status, errors = server.stop()
check("no_sanitizer_report", status == 0 and "Sanitizer" not in errors, (status, errors[-2000:]))
check("a_line_per_request", "prompt=" in errors and "finish=" in errors)
for test in (test_leaving, test_queue, test_keys, test_models, test_page, test_stopping):
    attempt(test)
finish()
